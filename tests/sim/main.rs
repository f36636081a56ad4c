//! Cheaters at every position among honest hosts, over the real ledger and the real minds of hosts
//! (`spec/04-verification.md`, section 7).
//!
//! What is claimed: a cheater that stands alone ends poorer than it began, no honest host is slashed or poorer,
//! no compared unit ends with a lie, every job closes, money is conserved, and the same plan gives the same root.
//! What is not: that replicas resist hosts who collude.
#![allow(missing_docs, reason = "a test")]

mod world;

use samebit_ledger::{LedgerState, market::agent::Conduct};
use samebit_spec::{
    execution::TensorOps,
    offer::{AdapterClass, AdapterOffer, Kinds, Needs, Offer, TensorNeed, lack},
    unit::Bytes,
};
use world::{End, Mix, Plan, run, run_mixed};

fn alone(conduct: Conduct, position: usize, hosts: usize, seed: u64) -> Plan {
    let mut conducts = vec![Conduct::Honest; hosts];
    conducts[position] = conduct;
    Plan { hosts: conducts, seed, jobs: 6, loss: 5, restarts: 5, faults: 0, replicas: None, late: None, outage: None }
}

/// `conduct:position:hosts:seed`, as failures print it.
fn parse(text: &str) -> Option<Plan> {
    let mut parts = text.split(':');
    let conduct = parts.next()?.parse().ok()?;
    let mut number = || parts.next()?.parse().ok();
    let (position, hosts, seed) = (number()?, number()?, number()?);
    let fits = |count: u64| usize::try_from(count).ok();
    (position < hosts).then_some(())?;
    Some(alone(conduct, fits(position)?, fits(hosts)?, seed))
}

/// What must hold of every world in which cheaters do not collude.
#[track_caller]
fn judge(plan: &Plan, replay: &str) -> End {
    let end = run(plan);
    let fail = |what: String| -> ! {
        panic!(
            "{what}\n{}\nreplay: SAMEBIT_SIM={replay} cargo test -p samebit-tests --test sim one_run -- --nocapture",
            end.table()
        )
    };
    if let Err(violation) = end.state.check() {
        fail(violation.to_string());
    }
    if end.lies_believed > 0 {
        fail(format!("{} compared units ended with a lie", end.lies_believed));
    }
    if end.finals == 0 {
        fail(String::from("nothing was settled"));
    }
    for (n, host) in end.hosts.iter().enumerate() {
        let sound = match host.conduct {
            Conduct::Honest => host.gain >= 0 && host.slashed == 0 && host.lost == 0,
            Conduct::Decliner => host.gain == 0 && host.slashed == 0 && host.declined > 0,
            Conduct::NoShow => host.gain < 0 && host.slashed == 0 && host.lost > 0,
            Conduct::WrongOutput | Conduct::LazyCopier | Conduct::Silent => host.gain < 0 && host.slashed > 0,
        };
        if !sound {
            fail(format!("h{n} ({}) ended as it must not", host.conduct));
        }
    }
    end
}

fn every_position(conduct: Conduct) {
    for hosts in 5..=8 {
        for position in 0..hosts {
            let seed = (hosts * 10 + position) as u64;
            judge(&alone(conduct, position, hosts, seed), &format!("{conduct}:{position}:{hosts}:{seed}"));
        }
    }
}

#[test]
fn a_host_that_shows_wrong_outputs_ends_poorer_than_it_began() {
    every_position(Conduct::WrongOutput);
}

/// Every host is drawn for every unit, so there is nobody for a re-run.
#[test]
fn a_liar_among_as_many_hosts_as_replicas_ends_poorer_and_the_honest_are_paid() {
    for hosts in 3..=5 {
        for position in 0..hosts {
            let seed = (hosts * 10 + position) as u64;
            let mut plan = alone(Conduct::WrongOutput, position, hosts, seed);
            (plan.jobs, plan.loss, plan.restarts) = (1, 0, 0);
            plan.replicas = u8::try_from(hosts).ok();
            let end = judge(&plan, "(in code: as many replicas as hosts)");
            let honest = end.hosts.iter().filter(|host| host.conduct == Conduct::Honest);
            assert!(honest.clone().all(|host| host.gain > 0 && host.upheld > 0), "{}", end.table());
        }
    }
}

#[test]
fn a_liar_that_commits_just_before_the_deadline_ends_poorer_than_it_began() {
    for seed in 0..4 {
        let mut plan = alone(Conduct::WrongOutput, 2, 6, seed);
        (plan.jobs, plan.loss, plan.restarts) = (3, 0, 0);
        (plan.replicas, plan.late) = (Some(2), Some(600));
        judge(&plan, "(in code: late)");
    }
}

#[test]
fn a_lazy_copier_ends_poorer_than_it_began() {
    every_position(Conduct::LazyCopier);
}

#[test]
fn a_host_that_never_reveals_ends_poorer_than_it_began() {
    every_position(Conduct::Silent);
}

#[test]
fn a_host_that_accepts_and_vanishes_ends_poorer_than_it_began() {
    every_position(Conduct::NoShow);
}

#[test]
fn a_host_that_declines_everything_neither_gains_nor_loses() {
    every_position(Conduct::Decliner);
}

#[test]
fn honest_hosts_all_earn_and_nobody_is_punished() {
    let mut plan = alone(Conduct::Honest, 0, 5, 1);
    plan.jobs = 20;
    let end = judge(&plan, "honest:0:5:1");
    assert!(end.hosts.iter().all(|host| host.gain > 0 && host.upheld > 0), "{}", end.table());
}

#[test]
fn one_cheater_of_each_kind_at_once_harms_no_honest_host() {
    for seed in 0..6 {
        let mut hosts = vec![Conduct::Honest; 5];
        hosts.extend(Conduct::ALL);
        let plan =
            Plan { hosts, seed, jobs: 9, loss: 5, restarts: 5, faults: 0, replicas: None, late: None, outage: None };
        judge(&plan, "(in code: one of each)");
    }
}

#[test]
fn a_validator_that_stands_still_costs_no_honest_host_anything() {
    for seed in 0..6 {
        // Long beyond every deadline of the devnet, at moments when runs are drawn, accepted or being revealed.
        let mut plan = alone(Conduct::Honest, 0, 5, seed);
        plan.outage = Some((1_500 + 900 * seed, 61_500 + 900 * seed));
        let end = judge(&plan, &format!("honest:0:5:{seed}"));
        assert!(end.took > 60_000, "the outage was lived through");
    }
}

#[test]
fn a_bad_network_and_restarts_cost_no_honest_host_anything() {
    for seed in 0..6 {
        let mut plan = alone(Conduct::WrongOutput, 2, 6, seed);
        (plan.loss, plan.restarts) = (20, 50);
        let end = run(&plan);
        let honest = end.hosts.iter().filter(|host| host.conduct == Conduct::Honest);
        assert!(honest.clone().all(|host| host.slashed == 0 && host.lost == 0), "seed {seed}\n{}", end.table());
    }
}

#[test]
fn the_same_seed_gives_the_same_root_and_another_seed_another() {
    let plan = alone(Conduct::LazyCopier, 1, 6, 42);
    let (first, second) = (run(&plan), run(&plan));
    assert_eq!(first.root, second.root);
    assert_eq!(first.blocks, second.blocks);
    assert_ne!(first.root, run(&alone(Conduct::LazyCopier, 1, 6, 43)).root);
}

/// L3 over a whole life: the blocks alone make the state.
#[test]
fn the_blocks_of_a_run_replay_to_its_root() {
    let end = run(&alone(Conduct::WrongOutput, 3, 7, 7));
    let mut state = LedgerState::new(end.state.genesis()).expect("its own genesis");
    for block in &end.blocks {
        state.apply_block(block).expect("a block that was made can be applied");
    }
    assert_eq!(state.root(), end.root);
}

#[test]
fn a_host_fault_costs_a_fee_and_is_never_a_result() {
    let mut plan = alone(Conduct::Honest, 0, 6, 3);
    (plan.jobs, plan.faults) = (12, 15);
    let end = run(&plan);
    let lost: u32 = end.hosts.iter().map(|host| host.lost).sum();
    assert!(lost > 0 && end.finals > 0, "{}", end.table());
    assert!(end.hosts.iter().all(|host| host.slashed == 0), "{}", end.table());
    assert_eq!(end.lies_believed, 0);
}

/// Large machines, small ones, adapters, and one host that only says that it has one.
#[test]
fn mixed_hosts_get_the_jobs_that_they_offer_to_take_and_a_boaster_pays_for_what_it_gives_back() {
    let adapter = AdapterOffer { class: AdapterClass::Discrete, kinds: Kinds::ALL };
    let small = Offer { memory: Bytes(512 << 20), ..Offer::default() };
    let gpu = Offer { adapter: Some(adapter), ..Offer::default() };
    let needs = |tensors| Needs { inputs: Bytes(1), tensors };
    let mix = Mix {
        offers: vec![small, small, small, gpu, gpu, gpu, Offer::default(), Offer::default(), gpu],
        needs: vec![
            (Bytes(1 << 20), needs(TensorNeed::Any)),
            (Bytes(1 << 20), needs(TensorNeed::Adapter(AdapterOffer { kinds: Kinds::F32, ..adapter }))),
            (Bytes(1 << 30), needs(TensorNeed::Any)),
            (Bytes(1 << 20), needs(TensorNeed::Cpu)),
        ],
        tensor_ops: TensorOps(1),
        boasters: [8].into(),
    };
    for seed in 0..4 {
        let mut plan = alone(Conduct::Honest, 0, mix.offers.len(), seed);
        (plan.jobs, plan.replicas) = (16, Some(2));
        let end = run_mixed(&plan, &mix);
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
        assert_eq!(end.lies_believed, 0, "seed {seed}");
        for (n, host) in end.hosts.iter().enumerate() {
            let boasts = mix.boasters.contains(&n);
            assert_eq!(host.slashed, 0, "a want of machinery is no lie: h{n}, seed {seed}\n{}", end.table());
            assert_eq!(host.lost > 0, boasts, "h{n}, seed {seed}\n{}", end.table());
        }
    }
}

/// The run that `SAMEBIT_SIM` names, or one of a liar, with its table.
#[test]
fn one_run() {
    let text = std::env::var("SAMEBIT_SIM").unwrap_or_else(|_| String::from("wrong-output:0:5:1"));
    let plan = parse(&text).unwrap_or_else(|| panic!("{text} is not conduct:position:hosts:seed"));
    println!("{}", judge(&plan, &text).table());
}
