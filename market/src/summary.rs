//! Counts a job's record for tables and progress bars. Decides nothing.

use samebit_spec::{
    id::ReceiptId,
    job::{JobRecord, RunPhase, UnitPhase, UnitRecord},
    receipt::Receipt,
    unit::{Fuel, MicroCredits},
};

/// A job in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Units of the job.
    pub units: usize,
    /// Units that wait for hosts.
    pub placing: usize,
    /// Units whose hosts work.
    pub running: usize,
    /// Units of which it is being drawn whether they are audited.
    pub drawing: usize,
    /// Units whose openings are due.
    pub revealing: usize,
    /// Units with a provisional result.
    pub agreed: usize,
    /// Units with a final result.
    pub finals: usize,
    /// Units without a verdict after every re-run.
    pub undecided: usize,
    /// Units that the deadline overtook.
    pub expired: usize,
    /// Units of a job that closed before it was placed.
    pub dropped: usize,
    /// Units that were or are audited.
    pub audited: usize,
    /// Runs that were ever drawn.
    pub runs: usize,
    /// Runs that have committed, whatever became of them.
    pub commits: usize,
    /// Runs that were slashed, for a wrong receipt or for none.
    pub slashed: usize,
    /// Runs that were accepted and given up.
    pub lost: usize,
    /// Units whose hosts revealed different receipts.
    pub disputed: usize,
    /// Fuel of the upheld receipt of each decided unit.
    pub fuel: Fuel,
    /// Paid to hosts by the buyer.
    pub paid: MicroCredits,
    /// Still locked.
    pub escrow: MicroCredits,
}

impl Summary {
    /// Counts `record`.
    #[must_use]
    pub fn of(record: &JobRecord) -> Self {
        let mut summary =
            Self { units: record.units.len(), paid: record.paid, escrow: record.escrow, ..Self::default() };
        for unit in &record.units {
            match unit.phase {
                UnitPhase::Placing => summary.placing += 1,
                UnitPhase::Running => summary.running += 1,
                UnitPhase::Sealed { .. } | UnitPhase::Drawing { .. } => summary.drawing += 1,
                UnitPhase::Revealing { .. } => summary.revealing += 1,
                UnitPhase::Agreed { .. } => summary.agreed += 1,
                UnitPhase::Final { .. } => summary.finals += 1,
                UnitPhase::Undecided => summary.undecided += 1,
                UnitPhase::Expired => summary.expired += 1,
                UnitPhase::Dropped => summary.dropped += 1,
            }
            summary.audited += usize::from(unit.audit.is_ordered());
            summary.runs += unit.runs.len();
            summary.disputed += usize::from(is_disputed(unit));
            for run in &unit.runs {
                summary.commits += usize::from(run.commitment.is_some());
                match run.phase {
                    RunPhase::Slashed | RunPhase::Unrevealed => summary.slashed += 1,
                    RunPhase::Lost => summary.lost += 1,
                    RunPhase::Drawn
                    | RunPhase::Accepted
                    | RunPhase::Committed
                    | RunPhase::Revealed
                    | RunPhase::Declined
                    | RunPhase::Lapsed
                    | RunPhase::Upheld
                    | RunPhase::Released => {}
                }
            }
            if let Some(receipt) = upheld_receipt(unit) {
                summary.fuel = summary.fuel.saturating_add(receipt.fuel);
            }
        }
        summary
    }

    /// Units that have come to their end.
    #[must_use]
    pub const fn ended(&self) -> usize {
        self.finals + self.undecided + self.expired + self.dropped
    }
}

/// The receipt that a unit's verdict names, provisional or final.
#[must_use]
pub fn upheld_receipt(unit: &UnitRecord) -> Option<&Receipt> {
    let id = verdict_of(unit)?;
    unit.runs.iter().filter_map(|run| run.receipt.as_ref()).find(|receipt| receipt.id() == id)
}

/// The id of that receipt.
#[must_use]
pub const fn verdict_of(unit: &UnitRecord) -> Option<ReceiptId> {
    match unit.phase {
        UnitPhase::Agreed { receipt, .. } | UnitPhase::Final { receipt } => Some(receipt),
        UnitPhase::Placing
        | UnitPhase::Running
        | UnitPhase::Sealed { .. }
        | UnitPhase::Drawing { .. }
        | UnitPhase::Revealing { .. }
        | UnitPhase::Undecided
        | UnitPhase::Expired
        | UnitPhase::Dropped => None,
    }
}

/// Whether two hosts of the unit revealed different receipts.
#[must_use]
pub fn is_disputed(unit: &UnitRecord) -> bool {
    let mut receipts = unit.runs.iter().filter_map(|run| run.receipt.as_ref());
    receipts.next().is_some_and(|first| receipts.any(|other| other != first))
}
