//! The words of a job's rules: what it may look at, what happens to it, what the ledger must do, and what it costs.

use samebit_spec::{
    audit::AuditOpening,
    id::{Beacon, Commitment, JobId},
    job::{CustodyRefusal, JobSpec, RunId},
    param::Params,
    receipt::{Receipt, Salt},
    sign::PublicKey,
    task::TaskManifest,
    unit::{Height, MicroCredits, Millis, Time},
};

/// What a job's rules may look at besides its record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The rules that the job was posted under.
    pub params: &'a Params,
    /// The block's time.
    pub now: Time,
    /// The block's height.
    pub height: Height,
    /// The job.
    pub job: JobId,
    /// What it runs.
    pub task: &'a TaskManifest,
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A keeper holds module and inputs.
    CustodySigned,
    /// A keeper cannot.
    CustodyRefused {
        /// Why.
        reason: CustodyRefusal,
    },
    /// The buyer withdraws it.
    Cancelled,
    /// The block's beacon drew these hosts for a unit.
    Drawn {
        /// Which.
        unit: u32,
        /// Who, none of them in the unit before.
        hosts: &'a [PublicKey],
        /// By which beacon.
        beacon: Beacon,
    },
    /// The beacon of a block that a unit waited for.
    Beacon {
        /// The unit.
        unit: u32,
        /// The beacon.
        beacon: Beacon,
    },
    /// The buyer opens its secret in the draw of a unit's audit.
    AuditOpened {
        /// The unit.
        unit: u32,
        /// The secret, and that it is the job's.
        opening: &'a AuditOpening,
    },
    /// A host acts on its run.
    Deed {
        /// Which.
        run: RunId,
        /// Who signed.
        signer: PublicKey,
        /// For which host the signer acts.
        host: PublicKey,
        /// What.
        deed: Deed<'a>,
    },
    /// Time has come for the job itself (`None`) or a unit.
    Due {
        /// Which.
        unit: Option<u32>,
    },
    /// The chain stood still for this long: nobody could speak, so whoever must speak gets that time back.
    Stalled {
        /// How long.
        gap: Millis,
    },
}

/// What a host does with its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// Takes it.
    Accept {
        /// What of the host's bond is free now.
        bond_free: MicroCredits,
    },
    /// Leaves it.
    Decline,
    /// Is alive.
    Heartbeat,
    /// Gives it up.
    Withdraw,
    /// Promises.
    Commit {
        /// What.
        commitment: Commitment,
    },
    /// Opens the promise.
    Reveal {
        /// The secret.
        salt: &'a Salt,
        /// The receipt.
        receipt: &'a Receipt,
        /// The engine build.
        engine: &'a str,
    },
}

/// What the ledger must do to its accounts, hosts and timers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// The host has one run more to answer; `bond` will be asked for.
    Draw {
        /// The host.
        host: PublicKey,
        /// What acceptance locks.
        bond: MicroCredits,
    },
    /// A drawn run ended unanswered, declined or unneeded: the slot is free, nothing was locked.
    Undraw {
        /// The host.
        host: PublicKey,
        /// What acceptance would have locked.
        bond: MicroCredits,
    },
    /// Free bond becomes locked; the run was drawn before.
    Lock {
        /// The host.
        host: PublicKey,
        /// How much.
        bond: MicroCredits,
    },
    /// The host's slot is free again.
    Rest {
        /// The host.
        host: PublicKey,
    },
    /// Locked bond becomes free.
    Unlock {
        /// The host.
        host: PublicKey,
        /// How much.
        amount: MicroCredits,
    },
    /// Locked bond is destroyed.
    Burn {
        /// The host.
        host: PublicKey,
        /// How much.
        amount: MicroCredits,
    },
    /// Locked bond becomes the job's escrow, whose record has it already.
    Compensate {
        /// The host.
        host: PublicKey,
        /// How much.
        amount: MicroCredits,
    },
    /// Locked bond becomes another host's money.
    Share {
        /// Whose bond.
        host: PublicKey,
        /// Whose account.
        to: PublicKey,
        /// How much.
        amount: MicroCredits,
    },
    /// Escrow becomes a host's money; the record has it no more.
    Pay {
        /// Whose account.
        to: PublicKey,
        /// How much.
        amount: MicroCredits,
    },
    /// Escrow becomes the buyer's money again; the record has it no more.
    Refund {
        /// How much.
        amount: MicroCredits,
    },
    /// The host is not drawn before then.
    Exclude {
        /// The host.
        host: PublicKey,
        /// Until when.
        until: Time,
    },
    /// The host's tally grows.
    Count {
        /// The host.
        host: PublicKey,
        /// By which.
        fate: Fate,
    },
    /// The one timer of the job itself (`None`) or of a unit is now this.
    Timer {
        /// Which.
        unit: Option<u32>,
        /// When, if ever.
        due: Option<Due>,
    },
}

/// What became of a run, as [`samebit_spec::job::HostTally`] counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Agreed with the verdict.
    Upheld,
    /// Declined or not answered.
    Declined,
    /// Given up.
    Lost,
    /// Slashed.
    Slashed,
}

/// A moment at which something happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When.
    pub at: Time,
    /// Whether somebody's silence until then has a consequence for them.
    pub awaited: bool,
}

/// What a post costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Burned.
    pub fees: MicroCredits,
    /// Locked for each unit: the worst case, every replica, the audit where one may be drawn, and every referee, at the
    /// full fuel limit.
    pub escrow_per_unit: MicroCredits,
    /// Locked in all.
    pub escrow: MicroCredits,
    /// What each run locks of its host's bond.
    pub bond: MicroCredits,
}

impl Cost {
    /// Computes it. `None` when a sum does not fit [`MicroCredits`].
    #[must_use]
    pub fn of(spec: &JobSpec, params: &Params) -> Option<Self> {
        let units = u64::try_from(spec.units.len()).ok()?;
        let reward = spec.reward_max()?;
        let audits = u64::from(spec.audit.0 > 0);
        let escrow_per_unit = reward.checked_mul(u64::from(spec.replicas) + audits + u64::from(params.referees_all))?;
        let cost = Self {
            fees: params.post_fee.checked_add(params.unit_fee.checked_mul(units)?)?,
            escrow_per_unit,
            escrow: escrow_per_unit.checked_mul(units)?,
            bond: reward.checked_mul(params.bond_multiple)?,
        };
        cost.total()?;
        Some(cost)
    }

    /// What leaves the buyer's account.
    #[must_use]
    pub fn total(&self) -> Option<MicroCredits> {
        self.fees.checked_add(self.escrow)
    }
}
