//! One word for each phase, the same in refusals, tables and logs (`spec/02-job.md`, section 3).

use samebit_spec::job::{Closing, JobPhase, RunPhase, RunRole, UnitPhase};

/// Where a job stands.
#[must_use]
pub const fn job_phase(phase: &JobPhase) -> &'static str {
    match phase {
        JobPhase::Posted { .. } => "posted",
        JobPhase::Open { .. } => "open",
        JobPhase::Closed { closing: Closing::Settled, .. } => "settled",
        JobPhase::Closed { closing: Closing::Cancelled, .. } => "cancelled",
        JobPhase::Closed { closing: Closing::Refused { .. }, .. } => "refused",
        JobPhase::Closed { closing: Closing::Uncustodied, .. } => "uncustodied",
    }
}

/// Where a unit stands.
#[must_use]
pub const fn unit_phase(phase: &UnitPhase) -> &'static str {
    match phase {
        UnitPhase::Placing => "placing",
        UnitPhase::Running => "running",
        UnitPhase::Sealed { .. } => "sealed",
        UnitPhase::Drawing { .. } => "drawing",
        UnitPhase::Revealing { .. } => "revealing",
        UnitPhase::Agreed { .. } => "provisional",
        UnitPhase::Final { .. } => "final",
        UnitPhase::Undecided => "undecided",
        UnitPhase::Expired => "expired",
        UnitPhase::Dropped => "dropped",
    }
}

/// Why a host was drawn.
#[must_use]
pub const fn run_role(role: RunRole) -> &'static str {
    match role {
        RunRole::Replica => "replica",
        RunRole::Audit => "audit",
        RunRole::Referee => "referee",
    }
}

/// Where a run stands.
#[must_use]
pub const fn run_phase(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Drawn => "drawn",
        RunPhase::Accepted => "accepted",
        RunPhase::Committed => "committed",
        RunPhase::Revealed => "revealed",
        RunPhase::Declined => "declined",
        RunPhase::Lapsed => "lapsed",
        RunPhase::Lost => "lost",
        RunPhase::Unrevealed => "unrevealed",
        RunPhase::Upheld => "upheld",
        RunPhase::Slashed => "slashed",
        RunPhase::Released => "released",
    }
}
