//! Random histories: money is conserved, refused entries leave no trace, everything ends, replay agrees.
mod town;

use proptest::prelude::*;
use samebit_ledger::LedgerState;
use samebit_spec::{job::JobPhase, sign::Signature, unit::MicroCredits};
use town::{Town, genesis, hosts};

/// A line for [`Town::line`], or something that no line says.
#[derive(Clone, Debug)]
enum Step {
    Line(String),
    /// The entry of the line with a spoilt signature.
    Forged(String),
}

fn run() -> impl Strategy<Value = String> {
    // Mostly runs that exist, now and then one that does not.
    (0_u8..4, 0_u8..3, prop_oneof![9 => 0_u8..7, 1 => 7_u8..12]).prop_map(|(j, u, a)| format!("j{j}/{u}/{a}"))
}

fn audit() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just("audit=5000"), Just("audit=10000"), Just("audit=5000 sealed"), Just("audit=10001")]
}

fn line() -> impl Strategy<Value = String> {
    let letter = prop_oneof![6 => Just("a"), 2 => Just("b"), 1 => Just("c")];
    let who = prop_oneof![Just("alice"), Just("bob"), Just("h1"), Just("h2"), Just("nobody")];
    let host = (1_u8..7).prop_map(|n| format!("h{n}"));
    let amount = prop_oneof![Just(0_u64), 1_u64..30_000_000, Just(999_999_999), Just(u64::MAX)];
    prop_oneof![
        3 => (0_u8..4, 0_u8..5, 1_u8..4, prop_oneof![Just(3_000_u32), Just(60_000), Just(0)], audit()).prop_map(
            |(j, k, units, deadline, audit)| format!("post alice j{j} k={k} units={units} deadline={deadline} {audit}")
        ),
        2 => run().prop_map(|run| format!("open {run}")),
        3 => (0_u8..4).prop_map(|j| format!("sign j{j}")),
        1 => (0_u8..4).prop_map(|j| format!("refuse j{j}")),
        1 => (who.clone(), 0_u8..4).prop_map(|(who, j)| format!("cancel {who} j{j}")),
        6 => run().prop_map(|run| format!("accept {run}")),
        1 => run().prop_map(|run| format!("decline {run}")),
        1 => run().prop_map(|run| format!("beat {run}")),
        1 => run().prop_map(|run| format!("withdraw {run}")),
        6 => (run(), letter.clone()).prop_map(|(run, letter)| format!("commit {run} {letter}")),
        6 => (run(), letter).prop_map(|(run, letter)| format!("reveal {run} {letter}")),
        1 => (run(), host.clone()).prop_map(|(run, host)| format!("accept {run} as {host}")),
        1 => (who.clone(), who, amount.clone()).prop_map(|(from, to, amount)| format!("transfer {from} {to} {amount}")),
        1 => (host.clone(), amount.clone()).prop_map(|(host, amount)| format!("bond {host} {amount}")),
        1 => (host.clone(), amount.clone()).prop_map(|(host, amount)| format!("unbond {host} {amount}")),
        1 => (host.clone(), 0_u8..12, 0_u8..4).prop_map(|(host, ask, slots)| format!("update {host} {ask} {slots}")),
        1 => (host, amount).prop_map(|(host, amount)| format!("register {host} 5 3 {amount}")),
        1 => Just(String::from("again")),
        3 => (0_u64..9_000).prop_map(|span| format!("wait {span}")),
        1 => (0_u64..90_000).prop_map(|span| format!("jump {span}")),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![20 => line().prop_map(Step::Line), 1 => line().prop_map(Step::Forged)]
}

/// Jobs that the history can speak of from its first line on.
fn opening() -> String {
    hosts(7)
        + "
        post alice j0 k=2 units=2       | ok
        post alice j1 k=1 audit=7000 sealed | ok
        post alice j2 k=3 deadline=9000 | ok
        post alice j3 k=2               | ok
        sign j0                         | ok
        sign j1                         | ok
        sign j2                         | ok
        "
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// [`Town`] checks after every entry that the invariants hold and that a refused one changed nothing.
    #[test]
    fn money_is_neither_made_nor_lost_nor_frozen(steps in prop::collection::vec(step(), 0..90)) {
        let mut town = Town::new();
        town::go_on(&mut town, &opening());
        for step in &steps {
            match step {
                Step::Line(line) => { town.line(line); }
                Step::Forged(line) => {
                    let Some(mut signed) = town.draft(line) else { continue };
                    signed.signature = Signature([7; 64]);
                    prop_assert!(town.submit(signed).is_err());
                }
            }
        }
        // Nobody says anything any more.
        town.run_out();
        let state = town.state();
        for (id, job) in state.jobs() {
            prop_assert!(matches!(job.phase, JobPhase::Closed { .. }), "{} never ends", id);
            prop_assert_eq!(job.escrow, MicroCredits::ZERO);
        }
        for (key, host) in state.hosts() {
            prop_assert_eq!(host.bond_locked, MicroCredits::ZERO, "bond of {} is frozen", key);
            prop_assert_eq!(host.busy, 0);
            prop_assert!(host.unbonding.is_empty());
        }
        prop_assert!(state.check().is_ok());
        town.replay();
    }
}

/// Undoing is exact at every block of a rich history, not only for the entry that failed.
#[test]
fn a_block_that_is_taken_back_was_never_there() {
    let mut town = Town::new();
    town::go_on(&mut town, &opening());
    for line in
        ["accept j0/0/0", "accept j0/0/1", "commit j0/0/0 a", "commit j0/0/1 b", "reveal j0/0/0 a", "reveal j0/0/1 b"]
    {
        assert_eq!(town.line(line), "ok", "{line}");
    }
    town.wait(70_000);
    let blocks = town.store.0.borrow().blocks.clone();
    let mut state = LedgerState::new(&genesis()).expect("a sound genesis");
    for block in &blocks {
        let (root, timer, wants) = (state.root(), state.next_timer(), state.wants_block());
        state.begin_block(block.header.height, block.header.time, block.header.beacon());
        for signed in &block.entries {
            state.apply(signed).expect("an entry of the chain");
        }
        assert_eq!(state.root(), block.header.state);
        state.abandon_block();
        assert_eq!((state.root(), state.next_timer(), state.wants_block()), (root, timer, wants));
        state.check().expect("the invariants hold");
        state.apply_block(block).expect("a block of the chain");
    }
}
