//! BOINC's adaptive replication, for comparison: a host is replicated until ten results in a row were valid, then with
//! a chance of one in the length of that row; a wrong result ends the row. Source: BOINC's `sched_send.cpp` and
//! `validator.cpp` as read in `market.md`, section 2; nothing is at stake but trust.

use crate::dice::Dice;

/// What came of a workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adaptive {
    /// Runs for each useful one.
    pub overhead: f64,
    /// Share of all results that are wrong and were not found.
    pub undetected: f64,
    /// Profit of a cheater for each of its results, in rewards.
    pub profit: f64,
}

/// `jobs` results of `hosts` hosts, of which a share of `adversary` cheats once its row is at least `patience` long.
/// Honest work costs 0.8 of its reward, cheating nothing.
#[must_use]
pub fn adaptive(hosts: u64, adversary: f64, patience: u64, jobs: u64, seed: u64) -> Adaptive {
    let mut dice = Dice(seed);
    let mut rows = vec![0_u64; usize::try_from(hosts).unwrap_or(1)];
    let cheaters = (hosts as f64 * adversary) as u64;
    let (mut runs, mut wrong, mut theirs, mut profit) = (0_u64, 0_u64, 0_u64, 0.0);
    for _ in 0..jobs {
        let host = dice.roll(hosts);
        let row = &mut rows[usize::try_from(host).unwrap_or(0)];
        let replicated = *row < 10 || dice.roll(*row) == 0;
        let cheats = host < cheaters && *row >= patience.max(10);
        runs += 1 + u64::from(replicated);
        theirs += u64::from(host < cheaters);
        match (cheats, replicated) {
            (true, true) => *row = 0,
            (true, false) => {
                wrong += 1;
                profit += 1.0;
            }
            (false, replicated) => {
                *row += u64::from(replicated);
                profit += if host < cheaters { 0.2 } else { 0.0 };
            }
        }
    }
    Adaptive {
        overhead: runs as f64 / jobs as f64,
        undetected: wrong as f64 / jobs as f64,
        profit: profit / (theirs.max(1)) as f64,
    }
}
