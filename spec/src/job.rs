//! Orders, and what the ledger knows of each (`spec/02-job.md`).

use crate::{
    audit::Audit,
    content::TreeRef,
    execution::{Access, Execution, Limits, Mount, Profile},
    id::{AuditSeal, Beacon, BlobId, Commitment, JobId, ParamsId, ReceiptId, TaskId},
    offer::{Needs, Offer},
    param,
    receipt::Receipt,
    sign::PublicKey,
    task::TaskManifest,
    unit::{BasisPoints, Fuel, FuelPrice, Height, MicroCredits, Millis, Time},
    wire::Hashed,
};
use alloc::{string::String, vec, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// One order. Its hash is the job's id; buyer and nonce make it unique.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct JobSpec {
    /// Who pays.
    pub buyer: PublicKey,
    /// The sequence number of the entry that posts it.
    pub nonce: u64,
    /// What is run.
    pub task: TaskId,
    /// One input tree per unit, 1 to [`param::UNITS_MAX`].
    pub units: Vec<TreeRef>,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Seed of the guest's randomness. Public.
    pub seed: [u8; 32],
    /// What each run may use.
    pub limits: Limits,
    /// What its hosts must offer beside room for that and the task's tensor operations.
    pub needs: Needs,
    /// Fuel per step.
    pub step_budget: Fuel,
    /// How many hosts run each unit, 1 to [`param::REPLICAS_MAX`].
    pub replicas: u8,
    /// The chance with which a unit is run once more, blind, by a host drawn after its hosts are bound. 0: never.
    pub audit: BasisPoints,
    /// Binds the buyer's secrets in that draw. `None`: beacons alone draw, and the buyer need not be there.
    pub seal: Option<AuditSeal>,
    /// What every drawn host is paid.
    pub price: FuelPrice,
    /// How long after the post each unit must be agreed.
    pub deadline: Millis,
    /// The parameter set it is posted under.
    pub params: ParamsId,
}

impl Hashed for JobSpec {
    const CONTEXT: &'static str = "samebit/v1/job-spec";
}

impl JobSpec {
    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        JobId(self.digest())
    }

    /// What a host runs for `unit` of this job: the input at `/in`, read-only. `None` beyond the last unit.
    #[must_use]
    pub fn execution(&self, unit: u32, task: &TaskManifest) -> Option<Execution> {
        let input = *self.units.get(usize::try_from(unit).ok()?)?;
        let mut args = vec![task.name.clone()];
        args.extend(self.args.iter().cloned());
        Some(Execution {
            profile: Profile::Samebit1,
            module: task.module.id,
            mounts: vec![Mount { path: String::from(crate::abi::INPUT_DIR), tree: input, access: Access::ReadOnly }],
            args,
            env: self.env.clone(),
            stdin: crate::content::BlobRef::of(&[]),
            seed: self.seed,
            unit,
            limits: self.limits,
            step_budget: self.step_budget,
            tensor_ops: task.tensor_ops,
        })
    }

    /// The most that one run can earn: the whole fuel limit at the posted price.
    #[must_use]
    pub fn reward_max(&self) -> Option<MicroCredits> {
        self.price.cost(self.limits.fuel)
    }
}

/// One execution of a unit by one host: the `attempt`-th host drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct RunId {
    /// The job.
    pub job: JobId,
    /// The unit within the job.
    pub unit: u32,
    /// Counts the draws of this unit from 0.
    pub attempt: u32,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.unit, self.attempt)
    }
}

/// What the ledger knows of a job.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct JobRecord {
    /// The order.
    pub spec: JobSpec,
    /// The block that holds it.
    pub posted: Height,
    /// That block's time.
    pub posted_at: Time,
    /// Where it stands.
    pub phase: JobPhase,
    /// Money locked for it that is neither paid nor refunded yet.
    pub escrow: MicroCredits,
    /// What its buyer has paid to hosts.
    pub paid: MicroCredits,
    /// Bond that each of its runs locks.
    pub bond: MicroCredits,
    /// Its units, in order.
    pub units: Vec<UnitRecord>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum JobPhase {
    /// Escrow is locked; a keeper has until then to sign that it holds module and inputs.
    Posted {
        /// Custody must be signed before.
        until: Time,
    },
    /// Custody is signed: units are placed, run, compared.
    Open {
        /// The height of the custody entry; draws use later beacons.
        since: Height,
    },
    /// Every unit has ended; nothing is locked any more.
    Closed {
        /// Why.
        closing: Closing,
        /// When.
        at: Time,
    },
}

/// Why a job closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Closing {
    /// Each unit came to its own end.
    Settled,
    /// The buyer withdrew it before custody.
    Cancelled,
    /// The keeper refused custody.
    Refused {
        /// Why.
        reason: CustodyRefusal,
    },
    /// No keeper signed in time.
    Uncustodied,
}

/// Why a keeper would not take a job into custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum CustodyRefusal {
    /// The module or an input is not there.
    Missing {
        /// The first missing blob.
        blob: BlobId,
    },
    /// An input is no sound tree.
    BadTree {
        /// The unit.
        unit: u32,
    },
    /// The module is not admitted by the profile.
    BadModule,
    /// The files of an input are more than the order says.
    TooMuchInput {
        /// The unit.
        unit: u32,
    },
    /// The different files of all units are more than a keeper signs for: [`crate::param::CUSTODY_FILES_MAX`],
    /// [`crate::param::CUSTODY_BYTES_MAX`].
    TooLarge {
        /// The first unit that goes beyond.
        unit: u32,
    },
}

/// What the ledger knows of a unit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UnitRecord {
    /// Where it stands.
    pub phase: UnitPhase,
    /// Its runs; a run's index is its attempt.
    pub runs: Vec<RunRecord>,
    /// Whether it is audited.
    pub audit: Audit,
    /// Escrow of this unit that is not yet paid or refunded.
    pub escrow: MicroCredits,
}

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum UnitPhase {
    /// More hosts are needed than are running.
    Placing,
    /// Enough hosts are drawn; not all have committed.
    Running,
    /// All have committed; the beacon of a later block draws whether the unit is audited.
    Sealed {
        /// That block, or the first after it.
        at: Height,
    },
    /// That beacon is there; the buyer's secret is awaited.
    Drawing {
        /// The beacon.
        beacon: Beacon,
        /// The buyer opens before then, or the unit is audited.
        until: Time,
    },
    /// All have committed; openings are due.
    Revealing {
        /// Before then.
        until: Time,
    },
    /// Receipts agree, or a re-run has decided between them. *Provisional* until the window ends.
    Agreed {
        /// What they agree on.
        receipt: ReceiptId,
        /// The window's end.
        until: Time,
    },
    /// Settled. *Final.*
    Final {
        /// What was agreed on.
        receipt: ReceiptId,
    },
    /// No two receipts agreed after every re-run: the buyer is refunded, nobody is slashed.
    Undecided,
    /// The job's deadline passed first: the buyer is refunded.
    Expired,
    /// The job closed before it was placed.
    Dropped,
}

impl UnitPhase {
    /// Whether nothing happens to the unit any more.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Placing
            | Self::Running
            | Self::Sealed { .. }
            | Self::Drawing { .. }
            | Self::Revealing { .. }
            | Self::Agreed { .. } => false,
            Self::Final { .. } | Self::Undecided | Self::Expired | Self::Dropped => true,
        }
    }
}

/// What the ledger knows of a run.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RunRecord {
    /// The host's account.
    pub host: PublicKey,
    /// Why it was drawn.
    pub role: RunRole,
    /// Beacon of the block that drew it, for whoever recomputes the draw.
    pub drawn: Beacon,
    /// Height of that block.
    pub drawn_at: Height,
    /// Where it stands.
    pub phase: RunPhase,
    /// Before then the host must do what is next, where something is.
    pub deadline: Time,
    /// Bond that is locked for it now.
    pub bond: MicroCredits,
    /// Its promise, once made.
    pub commitment: Option<Commitment>,
    /// Its receipt, once shown.
    pub receipt: Option<Receipt>,
    /// What it was paid.
    pub paid: MicroCredits,
    /// What it lost.
    pub lost: MicroCredits,
}

/// Why a host was drawn for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum RunRole {
    /// One of those ordered.
    Replica,
    /// Drawn after those were bound, before any of them has shown anything.
    Audit,
    /// Drawn because receipts differ.
    Referee,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum RunPhase {
    /// Chosen; must accept or decline.
    Drawn,
    /// Bond locked; must beat or commit.
    Accepted,
    /// Promised; must reveal when all have promised.
    Committed,
    /// Shown; waits for the verdict and the window.
    Revealed,
    /// Ended: said no, at no cost.
    Declined,
    /// Ended: did not answer the draw.
    Lapsed,
    /// Ended: accepted, then fell silent or gave up. Paid the no-show fee.
    Lost,
    /// Ended: promised and did not open. Slashed as a wrong result.
    Unrevealed,
    /// Ended: agreed with the verdict, paid.
    Upheld,
    /// Ended: differed from the verdict. Slashed.
    Slashed,
    /// Ended: the unit ended without a verdict; bond returned, nothing paid.
    Released,
}

impl RunPhase {
    /// Whether the run holds one of its host's slots.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Drawn | Self::Accepted)
    }

    /// Whether the run counts towards the hosts that a unit needs.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Drawn | Self::Accepted | Self::Committed | Self::Revealed)
    }
}

/// What the ledger knows of a host.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HostRecord {
    /// May accept, commit and reveal, never withdraw.
    pub operator: PublicKey,
    /// The least price it works for.
    pub ask: FuelPrice,
    /// Runs it takes at once. 0: paused.
    pub slots: u16,
    /// What a run may ask of it.
    pub offer: Offer,
    /// Bond that no run has locked.
    pub bond_free: MicroCredits,
    /// Bond that runs have locked.
    pub bond_locked: MicroCredits,
    /// Bond on its way out: each amount with the time from which it is the account's again.
    pub unbonding: Vec<(Time, MicroCredits)>,
    /// Height of its last change of bond: it is drawn only for jobs posted later (weights as of the post).
    pub bonded: Height,
    /// Not drawn before then: the price of being slashed, beside the bond.
    pub excluded_until: Time,
    /// Runs in [`RunPhase::is_busy`].
    pub busy: u32,
    /// What became of its runs.
    pub tally: HostTally,
}

/// What became of a host's runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HostTally {
    /// Agreed with the verdict.
    pub upheld: u32,
    /// Declined or not answered.
    pub declined: u32,
    /// Given up after accepting.
    pub lost: u32,
    /// Slashed.
    pub slashed: u32,
}

const _: () = assert!(param::REPLICAS_MAX >= 3);
