//! The price of the guarantee, from the real ledger and the real minds: one table, and the closed forms of
//! `spec/04-verification.md`, section 11, held against it.

use crate::{
    boinc,
    scene::STRICT,
    world::{End, Plan, REWARD, run, truth},
};
use samebit_ledger::market::{
    plan::{self, Risk},
    verdict::Panel,
};
use samebit_spec::{
    job::{RunPhase, RunRole, UnitRecord},
    receipt::Receipt,
    unit::{BasisPoints, MicroCredits, Millis},
};
use serde_json::{Value, json};

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The assurance.
    pub tier: &'static str,
    /// Hosts for each unit.
    pub replicas: u8,
    /// The chance of an audit.
    pub audit: BasisPoints,
    /// Share of all bond that lies whenever it holds all replicas.
    pub adversary: f64,
    /// Compute for each useful one.
    pub overhead: f64,
    /// Ledger entries of a unit.
    pub records: f64,
    /// Share of final results that are wrong.
    pub undetected: f64,
    /// An adversary's profit for each of its runs, in mean rewards; honest work earns 0.2.
    pub profit: f64,
    /// The closed form of that.
    pub expected: f64,
    /// The furthest that a measured share is from its closed form, in standard deviations. None where fewer than ten lies
    /// are expected to be found: too few to say.
    pub sigmas: Option<f64>,
    /// Units that the adversary held whole, and lied about.
    pub lied: u64,
    /// Of those, where it was slashed.
    pub slashed: u64,
    /// Of those, which became final.
    pub believed: u64,
}

/// The assurances, with hosts each.
pub const TIERS: [(&str, u8); 3] = [("spot", 1), ("standard", 2), ("critical", 3)];

/// A world of fifty hosts, a share of which lies together whenever it can.
#[must_use]
pub fn world(replicas: u8, audit: BasisPoints, adversary: f64, jobs: u64, seed: u64) -> Plan {
    let mut plan = Plan::honest(50, seed);
    let cheats = (50.0 * adversary).round() as usize;
    for host in plan.hosts.iter_mut().take(cheats) {
        *host = String::from("colluding-replicas");
    }
    plan.cabal = (0..cheats).collect();
    (plan.jobs, plan.patience, plan.at_once, plan.units) = (jobs, 0, 12, 4);
    (plan.replicas, plan.audit, plan.fast) = (Some(replicas), audit, true);
    plan.params = STRICT;
    // So that every draw is from the same hosts.
    plan.params.exclusion = Millis(0);
    plan.params.window = Millis(100);
    plan
}

/// The chance of an audit that is planned for `replicas` hosts when nothing but the work is to be gained.
#[must_use]
pub fn planned(replicas: u8) -> BasisPoints {
    plan::least_audit(replicas, MicroCredits(REWARD), &STRICT, &Risk::default()).unwrap_or(BasisPoints(10_000))
}

/// One row, of about `jobs` times two and a half units.
#[must_use]
pub fn measure((tier, replicas): (&'static str, u8), audit: BasisPoints, adversary: f64, jobs: u64, seed: u64) -> Row {
    let end = run(&world(replicas, audit, adversary, jobs, seed));
    assert_eq!(end.broken, None, "{}", end.table());
    row(tier, replicas, audit, adversary, &end)
}

fn row(tier: &'static str, replicas: u8, audit: BasisPoints, adversary: f64, end: &End) -> Row {
    let cabal: Vec<_> = end.hosts.iter().filter(|host| host.name == "colluding-replicas").collect();
    let mut counts = Counts::default();
    for (id, job) in end.state.jobs() {
        for (unit, number) in job.units.iter().zip(0..) {
            let execution = end.state.execution(id, number).expect("a unit of the job");
            counts.add(unit, &truth(&execution));
        }
    }
    let audited = f64::from(audit.0) / 10_000.0;
    let share = BasisPoints((adversary * 10_000.0) as u16);
    let decided = f64::from(plan::decided(Panel::of(&STRICT), replicas.into(), share).0) / 10_000.0;
    let honest = auditors(adversary, replicas);
    let found = audited * honest;
    let lied = counts.lied as f64;
    let off = |seen: u64, chance: f64| {
        let sigma = (lied * chance * (1.0 - chance)).sqrt().max(1.0);
        (seen as f64 - lied * chance).abs() / sigma
    };
    let profit: i128 = cabal.iter().map(|host| host.gain - host.cost).sum();
    let runs: u64 = cabal.iter().map(|host| u64::from(host.tally.upheld) + u64::from(host.tally.slashed)).sum();
    let reward = end.useful as f64 * 10.0 / 1e6 / (end.finals.max(1)) as f64;
    let bond = (STRICT.bond_multiple * REWARD) as f64 / reward;
    let k = f64::from(replicas);
    // Of a unit that it holds: paid for nothing when not found, slashed when found and decided.
    let lie = k * ((1.0 - found) - found * decided * bond);
    let others = runs as f64 - k * lied;
    let expected = (lie * lied + 0.2 * others.max(0.0)) / (runs.max(1)) as f64;
    let profit = profit as f64 / reward / (runs.max(1)) as f64;
    // What varies is how many lies are found: each costs the bonds of all.
    let chance = found * decided;
    let spread = k * bond * (lied * chance * (1.0 - chance)).sqrt() / (runs.max(1)) as f64;
    // Its auditors and referees who sided with the lie lose their bonds too, which the form leaves out.
    let sided = counts.sided as f64 * bond / (runs.max(1)) as f64;
    let drift = if lied > 0.0 { (profit + sided - expected).abs() / spread.max(0.01) } else { 0.0 };
    Row {
        tier,
        replicas,
        audit,
        adversary,
        overhead: end.spent as f64 / (end.useful.max(1)) as f64,
        records: end.entries as f64 / (end.finals + end.without).max(1) as f64,
        undetected: end.lies_final as f64 / (end.finals.max(1)) as f64,
        profit,
        expected,
        sigmas: (lied * chance >= 10.0)
            .then(|| off(counts.believed, 1.0 - found).max(off(counts.slashed, chance)).max(drift)),
        lied: counts.lied,
        slashed: counts.slashed,
        believed: counts.believed,
    }
}

/// The share of auditors that are strangers to a cabal that holds all `replicas` of a unit: of fifty hosts of equal bond,
/// those are out.
fn auditors(adversary: f64, replicas: u8) -> f64 {
    let (all, cabal, k) = (50.0, (50.0 * adversary).round(), f64::from(replicas));
    1.0 - (cabal - k).max(0.0) / (all - k)
}

#[derive(Default)]
struct Counts {
    lied: u64,
    slashed: u64,
    believed: u64,
    /// Bonds of the liars' auditors and referees that were lost.
    sided: u64,
}

impl Counts {
    fn add(&mut self, unit: &UnitRecord, truth: &Receipt) {
        let parties = || unit.runs.iter().filter(|run| run.role == RunRole::Replica && run.receipt.is_some());
        let lies = parties().count() > 0 && parties().all(|run| run.receipt.as_ref() != Some(truth));
        if !lies {
            return;
        }
        self.lied += 1;
        self.slashed += u64::from(parties().all(|run| run.phase == RunPhase::Slashed));
        let sided = unit.runs.iter().filter(|run| run.role != RunRole::Replica && run.phase == RunPhase::Slashed);
        self.sided += sided.count() as u64;
        self.believed += u64::from(parties().all(|run| run.phase == RunPhase::Upheld));
    }
}

/// The whole table: each assurance as it is planned, honest and with adversaries, and `spot` with a quarter of the audits
/// that are planned, where lying pays.
#[must_use]
pub fn table(jobs: u64, seed: u64) -> Vec<Row> {
    let cells = TIERS.iter().flat_map(|tier| [0.0, 0.1, 0.2].map(|adversary| (*tier, planned(tier.1), adversary)));
    let short = (("audited less", 1), BasisPoints(planned(1).0 / 4), 0.2);
    cells.chain([short]).map(|(tier, audit, adversary)| measure(tier, audit, adversary, jobs, seed)).collect()
}

/// The table for people. `tax` is what metering, stack, NaN and hashing cost a run, by `cargo xtask bench tax`.
#[must_use]
pub fn text(rows: &[Row], tax: f64, seed: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "tier          k       p  liars  compute  with tax  records  wrong and final  liar's profit  closed form  sigmas\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<12} {:>2} {:>7} {:>5.0}%  {:>7.3}  {:>8.3}  {:>7.1}  {:>15.5}  {:>13.3}  {:>11.3}  {:>7}",
            row.tier,
            row.replicas,
            row.audit.to_string(),
            row.adversary * 100.0,
            row.overhead,
            row.overhead * tax,
            row.records,
            row.undetected,
            row.profit,
            row.expected,
            row.sigmas.map_or_else(|| String::from("too few"), |sigmas| format!("{sigmas:.2}"))
        );
    }
    for (adversary, patience) in [(0.0, 10), (0.2, 10), (0.2, 50), (0.2, 100)] {
        let peer = boinc::adaptive(50, adversary, patience, 100_000, seed);
        let _ = writeln!(
            text,
            "BOINC adaptive, cheats after {patience:<3} {:>5.0}%  {:>5.3}         -        -  {:>15.5}  {:>13.3}",
            adversary * 100.0,
            peer.overhead,
            peer.undetected,
            peer.profit
        );
    }
    text
}

/// The table for programs.
#[must_use]
pub fn values(rows: &[Row]) -> Vec<Value> {
    let value = |row: &Row| {
        json!({
            "tier": row.tier, "replicas": row.replicas, "audit": row.audit.0, "adversary": row.adversary,
            "overhead": row.overhead, "records": row.records, "undetected": row.undetected, "profit": row.profit,
            "expected": row.expected, "sigmas": row.sigmas, "lied": row.lied, "slashed": row.slashed,
            "believed": row.believed,
        })
    };
    rows.iter().map(value).collect()
}
