//! For each adversary, the world in which it shows what it is, and what must hold at that world's end.

use crate::{
    adversary::{self, Claim},
    world::{Buyer, Cut, End, HostEnd, Plan},
};
use samebit_spec::{
    param::Params,
    unit::{BasisPoints, MicroCredits, Millis},
};

/// Adversaries that are not hosts.
pub const OTHERS: [&str; 5] =
    ["griefing-buyer", "non-paying-buyer", "withholding-buyer", "nondeterministic-task", "custody-withholder"];

/// The devnet's windows with the referees of a public network.
pub const STRICT: Params = Params {
    referees: Params::PUBLIC.referees,
    referees_all: Params::PUBLIC.referees_all,
    referees_agree: Params::PUBLIC.referees_agree,
    ..Params::DEVNET
};

/// Every adversary that [`of`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    adversary::NAMES.into_iter().chain(OTHERS)
}

/// The world of `name`. `None` for a name that is not in [`names`].
#[must_use]
pub fn of(name: &str, seed: u64) -> Option<Plan> {
    let mut plan = Plan::honest(18, seed);
    plan.params = STRICT;
    (plan.loss, plan.duplicates, plan.restarts) = (3, 3, 3);
    (plan.audit, plan.sealed) = (BasisPoints(5_000), seed.is_multiple_of(2));
    let turn = |by: u64| usize::try_from((seed + by) % 18).unwrap_or(0);
    let place = |plan: &mut Plan, count: u64, name: &str| {
        for n in 0..count {
            plan.hosts[turn(n * 4)] = name.to_owned();
        }
    };
    match name {
        "griefing-buyer" => plan.buyer = Buyer::Griefing,
        "non-paying-buyer" => plan.buyer = Buyer::NonPaying,
        "withholding-buyer" => (plan.buyer, plan.sealed) = (Buyer::Withholding, true),
        "nondeterministic-task" => (plan.buyer, plan.replicas) = (Buyer::Nondeterministic, Some(2)),
        "custody-withholder" => plan.custody_withheld = true,
        "colluding-replicas" | "sybils" | "re-roller" | "self-slasher" | "wash-trader" | "bought-auditor" => {
            (plan.replicas, plan.audit, plan.patience) = (Some(2), BasisPoints(10_000), 400);
            if name == "re-roller" {
                plan.patience = 100;
            }
            let count = if name == "self-slasher" { 2 } else { 4 };
            place(&mut plan, count, name);
            if name == "bought-auditor" {
                // Two who lie as replicas, two who look the other way.
                plan.hosts[turn(0)] = String::from("colluding-replicas");
                plan.hosts[turn(4)] = String::from("colluding-replicas");
            }
            if name == "sybils" {
                plan.hosts.extend(vec![name.to_owned(); 6]);
            }
            // Whoever is bought is not of the liars' own: it is judged by itself.
            let ours = |kind: &String| kind == if name == "bought-auditor" { "colluding-replicas" } else { name };
            plan.cabal = plan.hosts.iter().enumerate().filter(|(_, kind)| ours(kind)).map(|(n, _)| n).collect();
        }
        "eclipse" => {
            place(&mut plan, 1, name);
            // Shorter than the time to reveal, longer than the time to accept.
            let cut =
                |n: u64| Cut { host: turn(0), from: n * 15_000, to: n * 15_000 + 6_000, outward: n.is_multiple_of(2) };
            plan.cuts = (0..40).map(cut).collect();
        }
        "power-cut" => {
            place(&mut plan, 6, name);
            plan.restarts = 500;
        }
        "lazy-auditor" | "beacon-watcher" => {
            (plan.audit, plan.patience, plan.sealed) = (BasisPoints(10_000), 400, true);
            place(&mut plan, 1, name);
        }
        // It is met only where another host lies.
        "lazy-referee" => {
            (plan.replicas, plan.patience) = (Some(2), 2_000);
            place(&mut plan, 1, name);
            plan.hosts[turn(7)] = String::from("dispute-spammer");
            plan.params.exclusion = Millis(0);
        }
        "honest" | "slow" => place(&mut plan, 3, name),
        "decliner" | "no-show" | "ask-spammer" => place(&mut plan, 1, name),
        "overcommitted-bond" => {
            place(&mut plan, 1, name);
            (plan.params.bond_least, plan.jobs) = (MicroCredits(20_000), 20);
        }
        "dispute-spammer" => {
            (plan.replicas, plan.patience) = (Some(2), 400);
            place(&mut plan, 1, name);
            plan.params.exclusion = Millis(0);
        }
        _ => {
            adversary::named(name)?;
            (plan.replicas, plan.patience) = (Some(2), 400);
            place(&mut plan, 1, name);
        }
    }
    Some(plan)
}

/// What must hold of every world at its end.
///
/// # Errors
/// What does not, in words.
pub fn judge(plan: &Plan, end: &End) -> Result<(), String> {
    if let Some(broken) = &end.broken {
        return Err(format!("broken: {broken}"));
    }
    let works = plan.buyer == Buyer::Honest && !plan.custody_withheld;
    if works && end.finals == 0 {
        return Err(String::from("nothing was settled"));
    }
    let cabal: i128 = plan.cabal.iter().map(|n| end.hosts[*n].gain).sum();
    // What honest work brought each of those who did it.
    let honest: Vec<i128> = end.hosts.iter().filter(|host| host.claim == Claim::Honest).map(|host| host.gain).collect();
    let usual = honest.iter().sum::<i128>() / i128::try_from(honest.len().max(1)).unwrap_or(1);
    let together = usual * i128::try_from(plan.cabal.len()).unwrap_or(0);
    let washed = plan.hosts.iter().any(|kind| kind == "wash-trader");
    for (n, host) in end.hosts.iter().enumerate() {
        let HostEnd { claim, gain, tally, name, .. } = host;
        let holds = match claim {
            Claim::Honest => tally.slashed == 0 && *gain >= 0,
            Claim::Unlucky | Claim::InVain => tally.slashed == 0,
            Claim::Nothing => *gain == 0 && tally.slashed == 0,
            Claim::Poorer => *gain < usual,
            Claim::PoorerTogether if washed => cabal + end.buyer_gain < 0,
            Claim::PoorerTogether => cabal < together,
            Claim::PoorerIfFound if *name == "bought-auditor" => *gain < usual || tally.slashed == 0,
            Claim::PoorerIfFound => cabal < together || plan.cabal.iter().all(|n| end.hosts[*n].tally.slashed == 0),
        };
        // Nobody is named where no two hosts get the same.
        let expected = if plan.buyer == Buyer::Nondeterministic { tally.slashed == 0 } else { holds };
        if !expected {
            return Err(format!("h{n} ({name}) ended as it must not: {claim:?}"));
        }
    }
    if end.buyer_gain > 0 {
        return Err(format!("the buyer has gained {}", end.buyer_gain));
    }
    if end.lies_believed > 0 {
        return Err(format!("{} units that liars did not hold whole ended with a lie", end.lies_believed));
    }
    Ok(())
}

/// The command that plays a world again.
#[must_use]
pub fn replay(name: &str, seed: u64) -> String {
    format!("cargo xtask sim run {name} --seed {seed}")
}
