//! Every adversary in its world, and what must hold of each world's end (`spec/04-verification.md`, section 7).
//!
//! What is claimed: whoever cheats ends poorer, no honest host is slashed, no compared or audited unit ends with a lie
//! where liars do not hold it whole, every job closes, money is conserved, and the same seed gives the same events.
#![allow(missing_docs, reason = "a test")]

use samebit_ledger::LedgerState;
use samebit_sim::{
    scene::{self, judge, replay},
    world::{End, Plan, run},
};
use samebit_spec::{
    execution::TensorOps,
    job::RunRole,
    offer::{AdapterClass, AdapterOffer, Kinds, Needs, Offer, TensorNeed, lack},
    unit::{BasisPoints, Bytes},
};

#[track_caller]
fn must_hold(plan: &Plan, how: &str) -> End {
    let end = run(plan);
    if let Err(what) = judge(plan, &end) {
        panic!("{what}\n{}\nreplay: {how}", end.table());
    }
    end
}

/// 200 worlds in two halves: each of the adversaries about six times.
#[track_caller]
fn whoever_cheats(seeds: std::ops::Range<u64>) {
    let names: Vec<_> = scene::names().collect();
    for (seed, name) in seeds.zip(names.iter().cycle()) {
        let plan = scene::of(name, seed).expect("a name of the list");
        must_hold(&plan, &replay(name, seed));
    }
}

#[test]
fn whoever_cheats_ends_poorer_and_no_honest_host_does() {
    whoever_cheats(0..100);
}

#[test]
fn whoever_cheats_ends_poorer_with_other_seeds_too() {
    whoever_cheats(100..200);
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_seed_others() {
    let plan = scene::of("lazy-copier", 42).expect("known");
    let (first, second) = (run(&plan), run(&plan));
    assert_eq!(first.events, second.events);
    assert_eq!(first.blocks, second.blocks);
    assert_ne!(first.events, run(&scene::of("lazy-copier", 43).expect("known")).events);
}

/// L3 over a whole life: the blocks alone make the state.
#[test]
fn the_blocks_of_a_world_replay_to_its_root() {
    let end = run(&scene::of("wrong-output", 7).expect("known"));
    let mut state = LedgerState::new(end.state.genesis()).expect("its own genesis");
    for block in &end.blocks {
        state.apply_block(block).expect("a block that was made can be applied");
    }
    assert_eq!(state.root(), end.root);
}

#[test]
fn a_liar_stands_at_any_place_among_few_hosts_under_the_devnets_rules() {
    for kind in ["wrong-output", "lazy-copier", "withholder", "no-show", "tamper-one-step"] {
        for hosts in 5..=8 {
            for position in 0..hosts {
                let seed = (hosts * 10 + position) as u64;
                let mut plan = Plan::honest(hosts, seed);
                plan.hosts[position] = kind.to_owned();
                (plan.loss, plan.restarts) = (5, 5);
                let replicas = if kind == "lazy-copier" { Some(2) } else { None };
                plan.replicas = replicas;
                must_hold(&plan, &format!("(in code: {kind} at {position} of {hosts})"));
            }
        }
    }
}

#[test]
fn one_replica_that_lies_is_found_by_its_auditor() {
    let mut plan = Plan::honest(6, 5);
    plan.hosts[2] = String::from("wrong-output");
    (plan.replicas, plan.audit, plan.sealed) = (Some(1), BasisPoints(10_000), true);
    let end = must_hold(&plan, "(in code: audited)");
    assert_eq!(end.lies_final, 0, "{}", end.table());
    let audits = end.state.jobs().values().flat_map(|job| &job.units).flat_map(|unit| &unit.runs);
    assert!(audits.filter(|run| run.role == RunRole::Audit).count() >= end.finals);
}

#[test]
fn a_liar_that_commits_just_before_the_deadline_ends_poorer_than_it_began() {
    for seed in 0..4 {
        let mut plan = Plan::honest(6, seed);
        plan.hosts[2] = String::from("wrong-output");
        (plan.jobs, plan.replicas, plan.late) = (3, Some(2), Some(600));
        must_hold(&plan, "(in code: late)");
    }
}

/// Every host is drawn for every unit, so there is nobody to referee: nobody is named, and nobody is paid.
#[test]
fn among_as_many_hosts_as_replicas_a_lie_is_never_paid_and_no_bond_is_lost() {
    for hosts in 3..=5 {
        for position in 0..hosts {
            let mut plan = Plan::honest(hosts, (hosts * 10 + position) as u64);
            plan.hosts[position] = String::from("wrong-output");
            (plan.jobs, plan.patience, plan.replicas) = (1, 0, u8::try_from(hosts).ok());
            let end = run(&plan);
            assert_eq!(end.broken, None, "{}", end.table());
            assert_eq!(end.finals, 0, "{}", end.table());
            assert!(end.hosts.iter().all(|host| host.gain == 0 && host.tally.slashed == 0), "{}", end.table());
        }
    }
}

#[test]
fn a_validator_that_stands_still_costs_no_honest_host_anything() {
    for seed in 0..6 {
        // Long beyond every deadline of the devnet, at moments when runs are drawn, accepted or being revealed.
        let mut plan = Plan::honest(6, seed);
        (plan.audit, plan.sealed) = (BasisPoints(5_000), true);
        plan.outage = Some((1_500 + 900 * seed, 61_500 + 900 * seed));
        let end = must_hold(&plan, "(in code: outage)");
        assert!(end.took > 60_000, "the outage was lived through");
        assert!(end.hosts.iter().all(|host| host.tally.lost == 0), "{}", end.table());
    }
}

#[test]
fn a_bad_network_and_restarts_cost_no_honest_host_its_bond() {
    for seed in 0..6 {
        let mut plan = Plan::honest(8, seed);
        plan.hosts[2] = String::from("wrong-output");
        (plan.loss, plan.duplicates, plan.restarts, plan.delay) = (20, 20, 50, 400);
        let end = run(&plan);
        assert_eq!(end.broken, None, "seed {seed}\n{}", end.table());
    }
}

#[test]
fn a_host_fault_costs_a_fee_and_is_never_a_result() {
    let mut plan = Plan::honest(6, 3);
    (plan.jobs, plan.faults) = (12, 15);
    let end = run(&plan);
    let lost: u32 = end.hosts.iter().map(|host| host.tally.lost).sum();
    assert!(lost > 0 && end.finals > 0, "{}", end.table());
    assert!(end.hosts.iter().all(|host| host.tally.slashed == 0), "{}", end.table());
    assert_eq!((end.lies_final, end.broken), (0, None));
}

/// The buyer is away: audits cost it more, and keep nobody from their money.
#[test]
fn a_buyer_that_never_opens_is_audited_each_time_and_pays_for_it() {
    let end = must_hold(&scene::of("withholding-buyer", 4).expect("known"), &replay("withholding-buyer", 4));
    let units = || end.state.jobs().values().flat_map(|job| &job.units);
    assert!(units().all(|unit| unit.audit.is_ordered()));
    assert!(end.finals > 0 && end.without == 0, "{}", end.table());
}

/// No referees agree, so nobody is named: the buyer has its money back and no host loses its bond.
#[test]
fn a_task_that_is_not_deterministic_costs_no_host_its_bond() {
    let plan = scene::of("nondeterministic-task", 3).expect("known");
    let end = must_hold(&plan, &replay("nondeterministic-task", 3));
    assert!(end.hosts.iter().all(|host| host.tally.slashed == 0), "{}", end.table());
    assert_eq!(end.finals, 0, "{}", end.table());
}

/// Large machines, small ones, adapters, and one host that only says that it has one.
#[test]
fn mixed_hosts_get_the_jobs_that_they_offer_to_take_and_a_boaster_pays_for_what_it_gives_back() {
    let adapter = AdapterOffer { class: AdapterClass::Discrete, kinds: Kinds::ALL };
    let small = Offer { memory: Bytes(512 << 20), ..Offer::default() };
    let gpu = Offer { adapter: Some(adapter), ..Offer::default() };
    let needs = |tensors| Needs { inputs: Bytes(1), tensors };
    for seed in 0..4 {
        let mut plan = Plan::honest(9, seed);
        plan.offers = vec![small, small, small, gpu, gpu, gpu, Offer::default(), Offer::default(), gpu];
        plan.needs = vec![
            (Bytes(1 << 20), needs(TensorNeed::Any)),
            (Bytes(1 << 20), needs(TensorNeed::Adapter(AdapterOffer { kinds: Kinds::F32, ..adapter }))),
            (Bytes(1 << 30), needs(TensorNeed::Any)),
            (Bytes(1 << 20), needs(TensorNeed::Cpu)),
        ];
        plan.tensor_ops = TensorOps(1);
        plan.boasters = [8].into();
        (plan.jobs, plan.replicas) = (16, Some(2));
        let end = run(&plan);
        assert_eq!(end.broken, None, "seed {seed}\n{}", end.table());
        let runs = end.state.jobs().values().flat_map(|job| {
            let task = &end.state.tasks()[&job.spec.task].manifest;
            let hosts = job.units.iter().flat_map(|unit| &unit.runs).map(|run| &end.state.hosts()[&run.host].offer);
            hosts.map(move |offer| (offer, &job.spec, task)).collect::<Vec<_>>()
        });
        let (mut on_adapters, mut all) = (0, 0);
        for (offer, spec, task) in runs {
            assert_eq!(lack(offer, spec, task), None, "seed {seed}");
            on_adapters += usize::from(matches!(spec.needs.tensors, TensorNeed::Adapter(_)));
            all += 1;
        }
        assert!(on_adapters >= 8 && all > 32, "seed {seed}: {on_adapters} of {all}");
        assert_eq!(end.lies_final, 0, "seed {seed}");
        for (n, host) in end.hosts.iter().enumerate() {
            assert_eq!(host.tally.slashed, 0, "a want of machinery is no lie: h{n}, seed {seed}\n{}", end.table());
            assert_eq!(host.tally.lost > 0, plan.boasters.contains(&n), "h{n}, seed {seed}\n{}", end.table());
        }
    }
}
