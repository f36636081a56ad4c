//! Adds everything up: L1, and that every locked micro-credit has a run or a unit it is locked for.

use crate::state::LedgerState;
use samebit_spec::{
    id::JobId,
    job::{JobPhase, RunPhase},
    sign::PublicKey,
    unit::MicroCredits,
};
use std::collections::BTreeMap;

/// Where the whole supply is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conservation {
    /// In accounts.
    pub accounts: MicroCredits,
    /// In bonds that no run has locked.
    pub bonds_free: MicroCredits,
    /// In bonds that runs have locked.
    pub bonds_locked: MicroCredits,
    /// In bonds on their way out.
    pub unbonding: MicroCredits,
    /// Locked for jobs.
    pub escrow: MicroCredits,
    /// Destroyed by fees and slashes.
    pub burned: MicroCredits,
    /// What genesis gave out.
    pub supply: MicroCredits,
}

impl Conservation {
    /// Everything but [`Self::supply`], which it must equal.
    #[must_use]
    pub fn total(&self) -> u128 {
        [self.accounts, self.bonds_free, self.bonds_locked, self.unbonding, self.escrow, self.burned]
            .iter()
            .map(|amount| u128::from(amount.0))
            .sum()
    }
}

/// What does not add up. Only a mistake of ours can cause one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// L1.
    #[error("L1: {total} micro-credits are accounted for, the supply is {supply}")]
    Supply {
        /// What was found.
        total: u128,
        /// What there must be.
        supply: MicroCredits,
    },
    /// A job's escrow is not its units', or a closed job has some. J1.
    #[error("J1: {job} holds escrow {held}, its units {units}")]
    Escrow {
        /// The job.
        job: JobId,
        /// What its record holds.
        held: MicroCredits,
        /// What its units hold; zero when it is closed.
        units: MicroCredits,
    },
    /// A host's locked bond is not its runs'. L2.
    #[error("L2: host {host} has {held} locked, its runs {runs}")]
    Bond {
        /// The host.
        host: PublicKey,
        /// What its record holds.
        held: MicroCredits,
        /// What its runs hold.
        runs: MicroCredits,
    },
    /// A host's count of busy slots is not its runs'.
    #[error("host {host} has {held} busy slots, its runs {runs}")]
    Busy {
        /// The host.
        host: PublicKey,
        /// What its record holds.
        held: u32,
        /// What its runs need.
        runs: u32,
    },
    /// A job that has not closed, or a unit of it that has not ended, waits for nothing: money would freeze.
    #[error("J3: {job} is not closed and has no timer")]
    Frozen {
        /// The job.
        job: JobId,
    },
}

impl LedgerState {
    /// Adds up where the supply is. Time: one pass over accounts, hosts and jobs.
    #[must_use]
    pub fn conservation(&self) -> Conservation {
        fn sum(amounts: impl Iterator<Item = MicroCredits>) -> MicroCredits {
            amounts.fold(MicroCredits::ZERO, MicroCredits::saturating_add)
        }
        let hosts = || self.hosts().values();
        Conservation {
            accounts: sum(self.accounts().values().copied()),
            bonds_free: sum(hosts().map(|host| host.bond_free)),
            bonds_locked: sum(hosts().map(|host| host.bond_locked)),
            unbonding: sum(hosts().flat_map(|host| host.unbonding.iter().map(|(_, amount)| *amount))),
            escrow: sum(self.jobs().values().map(|job| job.escrow)),
            burned: self.burned(),
            supply: self.supply(),
        }
    }

    /// Checks L1 and that bonds, slots and escrows are those of runs and units.
    ///
    /// # Errors
    /// [`Violation`] for the first that is not.
    pub fn check(&self) -> Result<Conservation, Violation> {
        let conservation = self.conservation();
        let (total, supply) = (conservation.total(), conservation.supply);
        if total != u128::from(supply.0) {
            return Err(Violation::Supply { total, supply });
        }
        let mut locked: BTreeMap<PublicKey, (MicroCredits, u32)> = BTreeMap::new();
        for (job, record) in self.jobs() {
            let closed = matches!(record.phase, JobPhase::Closed { .. });
            let units = record.units.iter().fold(MicroCredits::ZERO, |sum, unit| sum.saturating_add(unit.escrow));
            if units != record.escrow || (closed && record.escrow != MicroCredits::ZERO) {
                return Err(Violation::Escrow { job: *job, held: record.escrow, units });
            }
            let waits = |unit| self.has_timer(*job, unit);
            let moves = match record.phase {
                JobPhase::Posted { .. } => waits(None),
                JobPhase::Open { .. } => {
                    (0..).zip(&record.units).all(|(at, unit)| unit.phase.has_ended() || waits(Some(at)))
                }
                JobPhase::Closed { .. } => true,
            };
            if !moves {
                return Err(Violation::Frozen { job: *job });
            }
            for run in record.units.iter().flat_map(|unit| &unit.runs) {
                let (bond, busy) = locked.entry(run.host).or_default();
                *bond = bond.saturating_add(run.bond);
                *busy += u32::from(run.phase.is_busy());
                let holds = matches!(run.phase, RunPhase::Accepted | RunPhase::Committed | RunPhase::Revealed);
                let expected = if holds { record.bond } else { MicroCredits::ZERO };
                if run.bond != expected {
                    return Err(Violation::Bond { host: run.host, held: run.bond, runs: expected });
                }
            }
        }
        for (host, record) in self.hosts() {
            let (runs, busy) = locked.get(host).copied().unwrap_or_default();
            if runs != record.bond_locked {
                return Err(Violation::Bond { host: *host, held: record.bond_locked, runs });
            }
            if busy != record.busy {
                return Err(Violation::Busy { host: *host, held: record.busy, runs: busy });
            }
        }
        Ok(conservation)
    }
}
