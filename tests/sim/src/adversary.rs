//! How simulated hosts behave: honest ones and one type for each adversary (`spec/04-verification.md`, section 7).
//!
//! Each is a [`Mind`] around the real [`HostAgent`]: it may answer without working, show something else than it got,
//! and change what is sent. What must hold for it at the end is its [`Claim`].

use samebit_ledger::market::agent::{Effect, HostAgent, View, falsify};
use samebit_spec::{
    content::BlobRef,
    entry::Body,
    id::{Commitment, HistoryRoot},
    job::{HostTally, RunId, RunPhase, RunRole, UnitRecord},
    receipt::{self, Receipt},
    sign::PublicKey,
    unit::{Fuel, MicroCredits},
    wire,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What must be true of a host when the world ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// By the rules: never slashed, and not poorer.
    Honest,
    /// By the rules on bad machinery: never slashed; it may pay for what it gave up.
    Unlucky,
    /// It has cheated and is poorer than those who worked.
    Poorer,
    /// It gets nothing for what it does, and loses nothing.
    Nothing,
    /// Together with its partners it is poorer than as many who worked.
    PoorerTogether,
    /// It has not come to lie, or together with its partners it is poorer.
    PoorerIfFound,
    /// What it does changes nothing: it is paid for its honest runs.
    InVain,
}

/// A run that a mind decides about.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Which.
    pub run: RunId,
    /// Whose.
    pub host: PublicKey,
    /// Why it was drawn.
    pub role: RunRole,
    /// Its unit.
    pub unit: &'a UnitRecord,
    /// Hosts ordered for it.
    pub replicas: u8,
    /// The accounts of one owner, this host's among them if it has any partners.
    pub cabal: &'a BTreeSet<PublicKey>,
    /// What became of the host's runs.
    pub tally: HostTally,
}

impl Case<'_> {
    /// Whether every replica of the unit that is alive belongs to the cabal.
    fn all_ours(&self) -> bool {
        let mut replicas =
            self.unit.runs.iter().filter(|run| run.role == RunRole::Replica && run.phase.is_alive()).peekable();
        let complete = self.unit.runs.iter().filter(|run| run.role == RunRole::Replica && run.phase.is_alive()).count()
            >= usize::from(self.replicas);
        complete && replicas.peek().is_some() && replicas.all(|run| self.cabal.contains(&run.host))
    }

    /// The receipt that a party of the unit has shown first.
    fn shown(&self) -> Option<&Receipt> {
        self.unit.runs.iter().filter(|run| run.phase == RunPhase::Revealed).find_map(|run| run.receipt.as_ref())
    }
}

/// What a mind sees when it may change what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The ledger, as its agent saw it.
    pub view: &'a View<'a>,
    /// Its agent.
    pub agent: &'a HostAgent,
    /// The accounts of its owner.
    pub cabal: &'a BTreeSet<PublicKey>,
}

/// What a mind does with a run that it is to execute.
#[derive(Clone, Debug)]
pub enum Work {
    /// Runs it.
    Run,
    /// Answers without running it.
    Fake(Box<Receipt>),
}

/// How a host behaves.
pub trait Mind: fmt::Debug {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What must hold at the end.
    fn claim(&self) -> Claim;

    /// Whether it has done by now what it is there for.
    fn has_acted(&self, tally: &HostTally) -> bool {
        match self.claim() {
            Claim::Honest | Claim::Unlucky | Claim::Nothing | Claim::InVain => true,
            Claim::Poorer | Claim::PoorerTogether | Claim::PoorerIfFound => tally.slashed > 0,
        }
    }

    /// Whether it runs what it accepted. `truth` is what running it would give.
    fn work(&mut self, _case: &Case<'_>, _truth: &Receipt) -> Work {
        Work::Run
    }

    /// What it shows of a run that it did.
    fn show(&mut self, _case: &Case<'_>, truth: Receipt) -> Receipt {
        truth
    }

    /// What it sends of what an honest host would do.
    fn edit(&mut self, effects: Vec<Effect>, _sight: &Sight<'_>) -> Vec<Effect> {
        effects
    }
}

/// A mind with nothing but a name.
macro_rules! mind {
    ($(#[$doc:meta])* $type:ident, $name:literal, $claim:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $type;

        impl Mind for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn claim(&self) -> Claim {
                Claim::$claim
            }

            $($body)*
        }
    };
}

mind! {
    /// By the rules.
    Honest, "honest", Honest {}
}
mind! {
    /// By the rules, ten times as slow as others.
    Slow, "slow", Honest {}
}
mind! {
    /// By the rules, with a power supply that fails; its disk does not.
    PowerCut, "power-cut", Unlucky {}
}
mind! {
    /// By the rules, behind a link that is cut in one direction for a while.
    Eclipsed, "eclipse", Unlucky {}
}
mind! {
    /// Runs the task and shows another output.
    WrongOutput, "wrong-output", Poorer {
        fn show(&mut self, _case: &Case<'_>, truth: Receipt) -> Receipt {
            falsify(truth)
        }
    }
}
mind! {
    /// Lies wherever it is drawn, to keep referees busy.
    DisputeSpammer, "dispute-spammer", Poorer {
        fn has_acted(&self, tally: &HostTally) -> bool {
            tally.slashed >= 5
        }

        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            let mut lie = truth;
            lie.output.stdout = BlobRef::of(&wire::encode(&case.run));
            lie
        }
    }
}
mind! {
    /// The right output, out of a history with one wrong step.
    TamperOneStep, "tamper-one-step", Poorer {
        fn show(&mut self, _case: &Case<'_>, truth: Receipt) -> Receipt {
            let history = HistoryRoot(wire::derive("sim tampered", &truth.history.0));
            Receipt { history, ..truth }
        }
    }
}
mind! {
    /// Runs nothing and commits to a guess.
    LazyGuesser, "lazy-guesser", Poorer {
        fn work(&mut self, _case: &Case<'_>, truth: &Receipt) -> Work {
            Work::Fake(Box::new(guess(truth)))
        }
    }
}
mind! {
    /// Runs nothing as an auditor: who would notice?
    LazyAuditor, "lazy-auditor", Poorer {
        fn work(&mut self, case: &Case<'_>, truth: &Receipt) -> Work {
            if case.role == RunRole::Audit { Work::Fake(Box::new(guess(truth))) } else { Work::Run }
        }
    }
}
mind! {
    /// As a referee, repeats what the first party has shown instead of running it.
    LazyReferee, "lazy-referee", Poorer {
        fn work(&mut self, case: &Case<'_>, _truth: &Receipt) -> Work {
            let shown = case.shown().filter(|_| case.role == RunRole::Referee);
            shown.map_or(Work::Run, |receipt| Work::Fake(Box::new(receipt.clone())))
        }
    }
}
mind! {
    /// Commits and never reveals.
    Withholder, "withholder", Poorer {
        fn edit(&mut self, effects: Vec<Effect>, _sight: &Sight<'_>) -> Vec<Effect> {
            without(effects, |body| matches!(body, Body::RunReveal { .. }))
        }
    }
}
mind! {
    /// Accepts and is never heard of again.
    NoShow, "no-show", Poorer {
        fn has_acted(&self, tally: &HostTally) -> bool {
            tally.lost > 0
        }

        fn edit(&mut self, effects: Vec<Effect>, _sight: &Sight<'_>) -> Vec<Effect> {
            without(effects, |body| !matches!(body, Body::RunAccept { .. }))
        }
    }
}
mind! {
    /// Declines everything.
    Decliner, "decliner", Nothing {
        fn edit(&mut self, effects: Vec<Effect>, _sight: &Sight<'_>) -> Vec<Effect> {
            let decline = |effect| match effect {
                Effect::Submit(Body::RunAccept { run }) => Effect::Submit(Body::RunDecline { run }),
                other => other,
            };
            effects.into_iter().map(decline).collect()
        }
    }
}
mind! {
    /// Copies the commitment of another host, and opens it with that host's receipt.
    LazyCopier, "lazy-copier", Poorer {
        fn edit(&mut self, effects: Vec<Effect>, sight: &Sight<'_>) -> Vec<Effect> {
            let copy = |run: &RunId| {
                let seen = sight.view.runs.iter().find(|seen| seen.run == *run)?;
                let mut others = seen.unit.runs.iter().filter(|other| other.host != seen.record.host);
                others.find_map(|other| other.commitment)
            };
            let stolen = |run: &RunId| {
                let seen = sight.view.runs.iter().find(|seen| seen.run == *run)?;
                let mut others = seen.unit.runs.iter().filter(|other| other.host != seen.record.host);
                others.find_map(|other| other.receipt.clone())
            };
            let replace = |effect| match effect {
                Effect::Submit(Body::RunCommit { run, commitment }) => {
                    Some(Effect::Submit(Body::RunCommit { run, commitment: copy(&run).unwrap_or(commitment) }))
                }
                Effect::Submit(Body::RunReveal { run, receipt, engine, .. }) => {
                    let receipt = stolen(&run).unwrap_or(receipt);
                    Some(Effect::Submit(Body::RunReveal { run, salt: sight.agent.salt(&run), receipt, engine }))
                }
                other => Some(other),
            };
            effects.into_iter().filter_map(replace).collect()
        }
    }
}
mind! {
    /// Commits to a heartbeat's mark, of which it has seen that nobody else can tell what it hides.
    HeartbeatPeeker, "heartbeat-peeker", Poorer {
        fn edit(&mut self, effects: Vec<Effect>, sight: &Sight<'_>) -> Vec<Effect> {
            let replace = |effect| match effect {
                Effect::Submit(Body::RunCommit { run, .. }) => {
                    let mark = receipt::heartbeat_mark(&sight.agent.salt(&run), &samebit_spec::id::StateRoot([5; 32]));
                    Effect::Submit(Body::RunCommit { run, commitment: Commitment(mark) })
                }
                other => other,
            };
            effects.into_iter().map(replace).collect()
        }
    }
}
mind! {
    /// Accepts what its bond does not cover.
    OvercommittedBond, "overcommitted-bond", InVain {
        fn edit(&mut self, effects: Vec<Effect>, _sight: &Sight<'_>) -> Vec<Effect> {
            let insist = |effect| match effect {
                Effect::Submit(Body::RunDecline { run }) => Effect::Submit(Body::RunAccept { run }),
                other => other,
            };
            effects.into_iter().map(insist).collect()
        }
    }
}
mind! {
    /// Changes its ask whenever it looks.
    AskSpammer, "ask-spammer", InVain {
        fn edit(&mut self, mut effects: Vec<Effect>, sight: &Sight<'_>) -> Vec<Effect> {
            let ask = samebit_spec::unit::FuelPrice(1 + sight.view.now.0 % 10);
            let offer = samebit_spec::offer::Offer::default();
            effects.extend([0, 1].map(|n| {
                let ask = samebit_spec::unit::FuelPrice(ask.0.max(1) + n);
                Effect::Submit(Body::HostUpdate { ask, slots: 3, offer })
            }));
            effects
        }
    }
}
mind! {
    /// Works by the rules until it is trusted, then lies.
    TrustThenCheat, "trust-then-cheat", Poorer {
        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            if case.tally.upheld >= 5 { falsify(truth) } else { truth }
        }
    }
}
mind! {
    /// Of one owner: when no stranger is among the replicas of a unit, all say the same lie and run nothing; an auditor or
    /// referee of theirs says so too.
    ColludingReplicas, "colluding-replicas", PoorerTogether {
        fn work(&mut self, case: &Case<'_>, truth: &Receipt) -> Work {
            if case.all_ours() { Work::Fake(Box::new(falsify(truth.clone()))) } else { Work::Run }
        }

        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            collude(case, truth)
        }
    }
}
mind! {
    /// The same over many hosts with little bond each.
    Sybils, "sybils", PoorerTogether {
        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            collude(case, truth)
        }
    }
}
mind! {
    /// The same, and whoever of them is drawn beside a stranger declines, for another draw.
    ReRoller, "re-roller", PoorerIfFound {
        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            collude(case, truth)
        }

        fn edit(&mut self, effects: Vec<Effect>, sight: &Sight<'_>) -> Vec<Effect> {
            let strangers = |run: &RunId| {
                let seen = sight.view.runs.iter().find(|seen| seen.run == *run);
                seen.is_some_and(|seen| seen.unit.runs.iter().any(|other| !sight.cabal.contains(&other.host) && other.phase.is_alive()))
            };
            let choose = |effect| match effect {
                Effect::Submit(Body::RunAccept { run }) if strangers(&run) && run.attempt < 4 => {
                    Effect::Submit(Body::RunDecline { run })
                }
                other => other,
            };
            effects.into_iter().map(choose).collect()
        }
    }
}
mind! {
    /// Works by the rules as a replica; as an auditor or referee it sides with the lie of those who pay it.
    BoughtAuditor, "bought-auditor", PoorerIfFound {
        fn has_acted(&self, _tally: &HostTally) -> bool {
            true
        }

        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            if case.role == RunRole::Replica { truth } else { collude(case, truth) }
        }
    }
}
mind! {
    /// Lies while its partner tells the truth and collects what a liar's bond leaves.
    SelfSlasher, "self-slasher", PoorerTogether {
        fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
            let partner = |run: &samebit_spec::job::RunRecord| run.host != case.host && case.cabal.contains(&run.host);
            if case.unit.runs.iter().any(partner) && case.cabal.first() == Some(&case.host) { falsify(truth) } else { truth }
        }
    }
}
mind! {
    /// Its owner is the buyer too, and orders work of itself.
    WashTrader, "wash-trader", PoorerTogether {
        fn has_acted(&self, _tally: &HostTally) -> bool {
            true
        }
    }
}

/// Every name, for the command line and the tests.
pub const NAMES: [&str; 26] = [
    "honest",
    "slow",
    "power-cut",
    "eclipse",
    "wrong-output",
    "dispute-spammer",
    "tamper-one-step",
    "lazy-guesser",
    "lazy-auditor",
    "lazy-referee",
    "withholder",
    "no-show",
    "decliner",
    "lazy-copier",
    "heartbeat-peeker",
    "equivocator",
    "overcommitted-bond",
    "ask-spammer",
    "trust-then-cheat",
    "colluding-replicas",
    "sybils",
    "re-roller",
    "bought-auditor",
    "self-slasher",
    "wash-trader",
    "beacon-watcher",
];

/// The mind of that name.
#[must_use]
pub fn named(name: &str) -> Option<Box<dyn Mind>> {
    Some(match name {
        "honest" => Box::new(Honest),
        "slow" => Box::new(Slow),
        "power-cut" => Box::new(PowerCut),
        "eclipse" => Box::new(Eclipsed),
        "wrong-output" => Box::new(WrongOutput),
        "dispute-spammer" => Box::new(DisputeSpammer),
        "tamper-one-step" => Box::new(TamperOneStep),
        "lazy-guesser" => Box::new(LazyGuesser),
        "lazy-auditor" => Box::new(LazyAuditor),
        "lazy-referee" => Box::new(LazyReferee),
        "withholder" => Box::new(Withholder),
        "no-show" => Box::new(NoShow),
        "decliner" => Box::new(Decliner),
        "lazy-copier" => Box::new(LazyCopier),
        "heartbeat-peeker" => Box::new(HeartbeatPeeker),
        "equivocator" => Box::new(Equivocator::default()),
        "overcommitted-bond" => Box::new(OvercommittedBond),
        "ask-spammer" => Box::new(AskSpammer),
        "trust-then-cheat" => Box::new(TrustThenCheat),
        "colluding-replicas" => Box::new(ColludingReplicas),
        "sybils" => Box::new(Sybils),
        "re-roller" => Box::new(ReRoller),
        "bought-auditor" => Box::new(BoughtAuditor),
        "self-slasher" => Box::new(SelfSlasher),
        "wash-trader" => Box::new(WashTrader),
        "beacon-watcher" => Box::new(BeaconWatcher::default()),
        _ => return None,
    })
}

/// Commits to the truth and to a lie, and opens the lie.
#[derive(Clone, Debug, Default)]
pub struct Equivocator {
    truths: BTreeMap<RunId, Receipt>,
}

impl Mind for Equivocator {
    fn name(&self) -> &'static str {
        "equivocator"
    }

    fn claim(&self) -> Claim {
        Claim::Poorer
    }

    fn show(&mut self, case: &Case<'_>, truth: Receipt) -> Receipt {
        self.truths.insert(case.run, truth.clone());
        truth
    }

    fn edit(&mut self, effects: Vec<Effect>, sight: &Sight<'_>) -> Vec<Effect> {
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Submit(Body::RunCommit { run, commitment }) => {
                    sent.push(Effect::Submit(Body::RunCommit { run, commitment }));
                    let host = sight.view.runs.iter().find(|seen| seen.run == run).map(|seen| seen.record.host);
                    if let (Some(host), Some(truth)) = (host, self.truths.get(&run)) {
                        let lie = falsify(truth.clone()).id();
                        let commitment = receipt::commitment(&run, &host, &sight.agent.salt(&run), lie);
                        sent.push(Effect::Submit(Body::RunCommit { run, commitment }));
                    }
                }
                Effect::Submit(Body::RunReveal { run, salt, receipt, engine }) => {
                    let receipt = falsify(receipt);
                    sent.push(Effect::Submit(Body::RunReveal { run, salt, receipt, engine }));
                }
                other => sent.push(other),
            }
        }
        sent
    }
}

/// Takes its promise back in the moment between its commitment and the draw, and lies when it does not: it hopes to know
/// the draw from the beacon.
#[derive(Clone, Debug, Default)]
pub struct BeaconWatcher {
    tried: BTreeMap<RunId, u32>,
}

impl Mind for BeaconWatcher {
    fn name(&self) -> &'static str {
        "beacon-watcher"
    }

    fn claim(&self) -> Claim {
        Claim::Poorer
    }

    fn show(&mut self, _case: &Case<'_>, truth: Receipt) -> Receipt {
        falsify(truth)
    }

    fn edit(&mut self, mut effects: Vec<Effect>, sight: &Sight<'_>) -> Vec<Effect> {
        for seen in &sight.view.runs {
            let drawing = matches!(seen.unit.phase, samebit_spec::job::UnitPhase::Drawing { .. });
            if seen.record.phase == RunPhase::Committed && drawing {
                let tried = self.tried.entry(seen.run).or_default();
                *tried += 1;
                if *tried == 1 {
                    effects.push(Effect::Submit(Body::RunWithdraw { run: seen.run }));
                }
            }
        }
        effects
    }
}

/// What one who has not run the task may think it gives.
fn guess(truth: &Receipt) -> Receipt {
    let stdout = BlobRef::of(b"a guess");
    let output = samebit_spec::receipt::Output { stdout, ..truth.output };
    Receipt { output, fuel: Fuel(truth.fuel.0 / 2 + 1), ..truth.clone() }
}

fn collude(case: &Case<'_>, truth: Receipt) -> Receipt {
    if case.all_ours() { falsify(truth) } else { truth }
}

fn without(effects: Vec<Effect>, drop: impl Fn(&Body) -> bool) -> Vec<Effect> {
    let stays = |effect: &Effect| !matches!(effect, Effect::Submit(body) if drop(body));
    effects.into_iter().filter(stays).collect()
}

/// The bond that a host of this name has, where it is not the usual one.
#[must_use]
pub fn bond_of(name: &str, usual: MicroCredits) -> MicroCredits {
    match name {
        "sybils" => MicroCredits(usual.0 / 5),
        // Enough for one run, of three that it takes at once.
        "overcommitted-bond" => MicroCredits(30_000),
        _ => usual,
    }
}
