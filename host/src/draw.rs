//! Which hosts could be drawn for a job, by the ledger as it was verified here.
//!
//! It decides nothing: the ledger draws (`spec/04-verification.md`). It says beforehand, and while a unit waits, why
//! there are too few.

use crate::text;
use samebit_ledger::LedgerState;
use samebit_market::lifecycle::{Cost, missing};
use samebit_spec::{
    id::JobId,
    job::{HostRecord, JobPhase, JobRecord, JobSpec, RunRecord, UnitPhase},
    offer::{Lack, TensorNeed, lack},
    task::TaskManifest,
    unit::{MicroCredits, Time},
};
use std::collections::BTreeMap;

/// Too few hosts for a job that is to be posted.
pub struct Shortage {
    /// What is missing, with the counts.
    pub what: String,
    /// The smallest change that would do.
    pub help: String,
}

/// Why a host is not to be had for an order and a bond, whatever it does at the moment.
fn hindrance(
    host: &HostRecord,
    now: Time,
    spec: &JobSpec,
    task: &TaskManifest,
    bond: MicroCredits,
) -> Option<&'static str> {
    if let Some(lack) = lack(&host.offer, spec, task) {
        Some(lacking(&lack))
    } else if host.slots == 0 {
        Some("paused")
    } else if host.excluded_until > now {
        Some("excluded")
    } else if host.ask > spec.price {
        Some("asking for more")
    } else if host.bond_free.saturating_add(host.bond_locked) < bond {
        // What is locked now comes back: such a host is busy, not out of reach.
        Some("without enough bond")
    } else {
        None
    }
}

/// What hosts lack, as a group.
fn lacking(lack: &Lack) -> &'static str {
    match lack {
        Lack::Profile => "of another profile",
        Lack::Room { what: "memory", .. } => "not offering the memory",
        Lack::Room { what: "inputs", .. } => "not offering room for the input",
        Lack::Room { .. } => "not offering room for the output",
        Lack::TensorOps { .. } => "not offering the tensor operations",
        Lack::Device { .. } => "not offering what must compute the tensors",
    }
}

/// How near a host with this lack is: what it offers of it.
fn nearness(lack: &Lack) -> (u64, u32) {
    match lack {
        Lack::Profile => (0, 0),
        Lack::Room { offers, .. } => (offers.0, 0),
        Lack::TensorOps { offers, .. } => (offers.0.into(), 0),
        Lack::Device { offers: None, .. } => (0, 0),
        Lack::Device { offers: Some(offers), .. } => (1 + offers.class as u64, offers.kinds.0.count_ones()),
    }
}

/// What the hosts that lack something lack, the closest of them: `no host offers 2.00 GiB of memory, the closest 1.00 GiB`.
/// None when `wanted` hosts lack nothing. Those that `had` a run of the unit are not counted: none is drawn twice.
fn wanting(
    state: &LedgerState,
    spec: &JobSpec,
    task: &TaskManifest,
    wanted: usize,
    had: &[RunRecord],
) -> Option<(String, Lack)> {
    let others = state.hosts().iter().filter(|(account, _)| had.iter().all(|run| run.host != **account));
    let others: Vec<Option<Lack>> = others.map(|(_, host)| lack(&host.offer, spec, task)).collect();
    let all = others.len();
    let mut lacks: Vec<Lack> = others.into_iter().flatten().collect();
    if all - lacks.len() >= wanted {
        return None;
    }
    // The most of them lack the same; of those the closest one speaks.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for lack in &lacks {
        *counts.entry(lacking(lack)).or_default() += 1;
    }
    let (kind, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    lacks.retain(|lack| lacking(lack) == kind);
    let closest = lacks.into_iter().max_by_key(nearness)?;
    let who = match (count == all, had.is_empty()) {
        (true, true) => "no host offers",
        (true, false) => "no other host offers",
        (false, _) => "too few hosts offer",
    };
    let closest_of = if count == all { "the closest" } else { "the closest of the others" };
    let said = match &closest {
        Lack::Profile => format!("{who} the profile"),
        Lack::Room { what, needs, offers } => {
            format!("{who} {} of {what}, {closest_of} {}", text::bytes(*needs), text::bytes(*offers))
        }
        Lack::TensorOps { needs, .. } => format!("{who} tensor operations of version {}", needs.0),
        Lack::Device { needs, offers } => {
            let offers = offers.map_or_else(|| "a processor".to_owned(), |offers| offers.to_string());
            format!("{who} tensors on {needs}, {closest_of} on {offers}")
        }
    };
    Some((said, closest))
}

fn listed(reasons: &BTreeMap<&str, usize>) -> String {
    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

/// Whether fewer hosts than its units need could be drawn for a job that is not posted yet: its replicas, and where an audit may
/// be drawn one more, for an auditor is none of them.
pub fn shortage(state: &LedgerState, spec: &JobSpec) -> Option<Shortage> {
    let task = &state.tasks().get(&spec.task)?.manifest;
    let audits = usize::from(spec.audit.0 > 0);
    let (now, wanted) = (state.time(), usize::from(spec.replicas) + audits);
    let reach = |spec: &JobSpec| {
        let bond = Cost::of(spec, state.params())?.bond;
        Some(state.hosts().values().filter(|host| hindrance(host, now, spec, task, bond).is_none()).count())
    };
    let reached = reach(spec)?;
    if reached >= wanted {
        return None;
    }
    let bond = Cost::of(spec, state.params())?.bond;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for host in state.hosts().values() {
        if let Some(reason) = hindrance(host, now, spec, task, bond) {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let all = text::count(state.hosts().len(), "host");
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", listed(&reasons)) };
    let of_them = if audits > 0 { ", one of them for an audit" } else { "" };
    let mut what = format!("each unit needs {wanted}{of_them}, and {reached} of {all} could be drawn{why}");
    let wanting = wanting(state, spec, task, wanted, &[]);
    if let Some((said, _)) = &wanting {
        what += &format!("; {said}");
    }
    if reasons.contains_key("asking for more")
        && let Some(cheapest) = state.hosts().values().map(|host| host.ask).min()
    {
        what += &format!("; the job pays {}, the cheapest asks {}", spec.price.0, cheapest.0);
    }
    if reasons.contains_key("without enough bond") {
        what += &format!("; a run locks a bond of {} credits", text::credits(bond));
    }
    // The lowest price at which enough hosts are left; a higher price asks for a larger bond too.
    let mut asks: Vec<_> = state.hosts().values().map(|host| host.ask).filter(|ask| *ask > spec.price).collect();
    asks.sort();
    let price = asks.into_iter().find(|ask| reach(&JobSpec { price: *ask, ..spec.clone() }) >= Some(wanted));
    let change = if let Some(price) = price {
        format!("`--price {}` reaches enough hosts", price.0)
    } else if let Some((_, lack)) = wanting {
        smaller(state, spec, &lack, &|spec| reach(spec) >= Some(wanted))
    } else if reached > audits {
        let unaudited = if audits > 0 { ", or no audit" } else { "" };
        format!("`--replicas {}` is what can be had{unaudited}", reached - audits)
    } else if reached > 0 {
        "without an audit `--replicas 1` is what can be had".to_owned()
    } else if reasons.contains_key("without enough bond") {
        "a lower `--fuel` or `--price` needs less bond".to_owned()
    } else {
        "`samebit host list` shows what each host asks and when it is free".to_owned()
    };
    Some(Shortage { what, help: format!("{change}; `--anyway` posts the job and waits for hosts") })
}

/// The change of an order that finds hosts for it which lack something of it now.
fn smaller(state: &LedgerState, spec: &JobSpec, lack: &Lack, enough: &dyn Fn(&JobSpec) -> bool) -> String {
    match lack {
        Lack::Room { what: "memory", .. } => {
            let mut offered: Vec<_> = state.hosts().values().map(|host| host.offer.memory).collect();
            offered.sort_unstable();
            let most = offered.into_iter().rev().find(|memory| {
                let mut less = spec.clone();
                less.limits.memory = *memory;
                enough(&less)
            });
            match most {
                Some(memory) => format!("`--memory {memory}` reaches enough hosts"),
                None => "`samebit host list` shows the hosts".to_owned(),
            }
        }
        Lack::Room { what: "inputs", .. } => "smaller units reach more hosts".to_owned(),
        Lack::Device { .. } => {
            let mut any = spec.clone();
            any.needs.tensors = TensorNeed::Any;
            if enough(&any) {
                "`--tensor any` reaches enough hosts, with the same bits".to_owned()
            } else {
                "`samebit host list` shows what computes each host's tensors".to_owned()
            }
        }
        Lack::Profile | Lack::Room { .. } | Lack::TensorOps { .. } => {
            "`samebit host show` says what a host offers".to_owned()
        }
    }
}

/// Why a unit of the job waits for hosts, when one does; with `always` also when enough hosts could take it now.
pub fn placing(state: &LedgerState, id: &JobId, always: bool) -> Option<String> {
    let record = state.jobs().get(id).filter(|record| matches!(record.phase, JobPhase::Open { .. }))?;
    let waits = record.units.iter().enumerate().filter(|(_, unit)| unit.phase == UnitPhase::Placing);
    let (at, unit) = waits.clone().next()?;
    let (reasons, free) = reasons(state, record, at);
    let wanted = missing(record, u32::try_from(at).ok()?, state.params());
    if !always && free >= wanted {
        return None;
    }
    let hosts = text::count(state.hosts().len(), "host");
    let until = Time(record.posted_at.0.saturating_add(record.spec.deadline.0));
    let others = match waits.count() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let task = state.tasks().get(&record.spec.task).map(|task| &task.manifest);
    let wanting = task.and_then(|task| wanting(state, &record.spec, task, wanted, &unit.runs));
    let wanting = wanting.map_or_else(String::new, |(said, _)| format!("; {said}"));
    Some(format!(
        "  unit {at}{others} waits for a host, {wanted} more needed; of {hosts}: {}{wanting}; if none is found it is refunded at {}",
        listed(&reasons),
        text::moment(until),
    ))
}

/// What keeps each host from a unit, counted, and how many nothing does.
fn reasons(state: &LedgerState, record: &JobRecord, at: usize) -> (BTreeMap<&'static str, usize>, usize) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut free = 0;
    let Some(task) = state.tasks().get(&record.spec.task) else { return (reasons, free) };
    for (account, host) in state.hosts() {
        // The rules of the draw (`spec/04-verification.md`), in the order in which they are easiest to understand.
        let reason = if record.units[at].runs.iter().any(|run| run.host == *account) {
            "drawn for it before"
        } else if let Some(reason) = hindrance(host, state.time(), &record.spec, &task.manifest, record.bond) {
            reason
        } else if host.bonded >= record.posted {
            "with a bond that changed after the job was posted"
        } else if host.bond_free < record.bond {
            "without enough free bond now"
        } else if host.busy >= u32::from(host.slots) {
            "busy"
        } else {
            free += 1;
            "free to take it now"
        };
        *reasons.entry(reason).or_default() += 1;
    }
    (reasons, free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_ledger::{LogError, Solo, Store};
    use samebit_node::keys::Keypair;
    use samebit_spec::{
        block::{Block, Genesis},
        content::{BlobRef, TreeRef},
        entry::{Body, Entry, SignedEntry},
        execution::{Limits, TensorOps},
        id::Commitment,
        job::RunId,
        offer::{Needs, Offer},
        param::{self, Params},
        sign::{Domain, Signer as _},
        task::TaskForm,
        unit::{BasisPoints, Bytes, FuelPrice, Height, Millis},
        wire::Hashed,
    };

    const NOW: Time = Time(1_000_000);
    const VALIDATOR: u8 = 1;
    const BUYER: u8 = 2;
    /// The first host; its operator is 100 further on.
    const HOST: u8 = 10;
    const OPERATOR: u8 = 100;

    /// Blocks in memory.
    #[derive(Default)]
    struct Blocks(Vec<Block>);

    impl Store for Blocks {
        fn append(&mut self, block: &Block) -> Result<(), LogError> {
            self.0.push(block.clone());
            Ok(())
        }

        fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
            Ok(height.0.checked_sub(1).and_then(|at| self.0.get(usize::try_from(at).ok()?)).cloned())
        }
    }

    fn key(number: u8) -> Keypair {
        Keypair::from_seed(&[number; 32])
    }

    fn submit(solo: &mut Solo<Blocks>, signer: u8, body: Body) {
        let (signer, state) = (key(signer), solo.state());
        let (genesis, sequence) = (state.genesis_id(), state.sequence(&signer.public()));
        let entry = Entry { genesis, signer: signer.public(), sequence, body };
        let signature = signer.sign(Domain::Entry, genesis, entry.digest());
        let proposed = solo.propose(NOW, vec![SignedEntry { entry, signature }]).expect("the store works");
        assert!(proposed.results.iter().all(Result::is_ok), "{:?}", proposed.results);
        while solo.propose(NOW, Vec::new()).expect("the store works").block.is_some() {}
    }

    fn manifest() -> TaskManifest {
        TaskManifest {
            name: "count".into(),
            module: BlobRef::of(b"count"),
            form: TaskForm::Command,
            about: String::new(),
            tensor_ops: TensorOps(0),
        }
    }

    /// A network with a host for each offer.
    fn network(offers: &[Offer]) -> Solo<Blocks> {
        let hosts = (HOST..).zip(offers);
        let mut accounts: Vec<_> =
            [BUYER].into_iter().chain(hosts.clone().map(|(host, _)| host)).map(|number| key(number).public()).collect();
        accounts.sort_unstable();
        let genesis = Genesis {
            network: "test".into(),
            time: NOW,
            validator: key(VALIDATOR).public(),
            params: Params::DEVNET,
            accounts: accounts.into_iter().map(|account| (account, MicroCredits(1_000_000_000))).collect(),
        };
        let state = LedgerState::new(&genesis).expect("a sound genesis");
        let mut solo = Solo::with_store(state, Blocks::default(), Box::new(key(VALIDATOR))).expect("it validates");
        submit(&mut solo, BUYER, Body::TaskPublish { manifest: manifest() });
        for (host, offer) in hosts {
            let (operator, bond) = (key(host + OPERATOR).public(), MicroCredits(100_000_000));
            let body = Body::HostRegister { operator, ask: FuelPrice(1), slots: 2, offer: *offer, bond };
            submit(&mut solo, host, body);
        }
        solo
    }

    fn order(state: &LedgerState, audit: u16) -> JobSpec {
        JobSpec {
            buyer: key(BUYER).public(),
            nonce: state.sequence(&key(BUYER).public()),
            task: manifest().id(),
            units: vec![TreeRef::default()],
            args: vec![],
            env: vec![],
            seed: [0; 32],
            limits: Limits { fuel: samebit_spec::unit::Fuel(100_000_000), ..Limits::default() },
            needs: Needs::default(),
            step_budget: param::STEP_BUDGET_DEFAULT.min(samebit_spec::unit::Fuel(100_000_000)),
            replicas: 2,
            audit: BasisPoints(audit),
            seal: None,
            price: FuelPrice(10),
            deadline: Millis(60_000),
            params: Params::DEVNET.id(),
        }
    }

    #[test]
    fn a_job_that_may_be_audited_needs_a_host_more_than_replicas() {
        let little = Offer { memory: Bytes(1 << 20), ..Offer::default() };
        let two = network(&[Offer::default(); 2]);
        assert!(shortage(two.state(), &order(two.state(), 0)).is_none());
        let found = shortage(two.state(), &order(two.state(), 1)).expect("nobody is left to audit");
        assert_eq!(found.what, "each unit needs 3, one of them for an audit, and 2 of 2 hosts could be drawn");
        assert!(found.help.starts_with("`--replicas 1` is what can be had, or no audit"), "{}", found.help);

        let third = network(&[Offer::default(), Offer::default(), little]);
        let found = shortage(third.state(), &order(third.state(), 1)).expect("the third has too little memory");
        assert!(found.what.contains("1 not offering the memory; too few hosts offer 512.00 MiB"), "{}", found.what);
        assert!(found.help.starts_with("`--memory 1048576` reaches enough hosts"), "{}", found.help);

        let three = network(&[Offer::default(); 3]);
        assert!(shortage(three.state(), &order(three.state(), 10_000)).is_none());
    }

    /// Two of these hosts run a unit that is certain to be audited, and commit.
    fn audited(offers: &[Offer]) -> (Solo<Blocks>, JobId) {
        let mut solo = network(offers);
        let spec = order(solo.state(), 10_000);
        let job = spec.id();
        submit(&mut solo, BUYER, Body::JobPost { spec });
        submit(&mut solo, VALIDATOR, Body::CustodySign { job });
        let drawn: Vec<_> = solo.state().jobs()[&job].units[0].runs.iter().map(|run| run.host).collect();
        assert_eq!(drawn.len(), 2, "the replicas");
        for (attempt, host) in (0..).zip(&drawn) {
            let run = RunId { job, unit: 0, attempt };
            let operator = (HOST..).find(|number| key(*number).public() == *host).expect("a host") + OPERATOR;
            submit(&mut solo, operator, Body::RunAccept { run });
            submit(&mut solo, operator, Body::RunCommit { run, commitment: Commitment([operator; 32]) });
        }
        (solo, job)
    }

    #[test]
    fn a_unit_that_waits_for_its_auditor_says_so() {
        let (solo, job) = audited(&[Offer::default(); 2]);
        let why = placing(solo.state(), &job, false).expect("nobody is left to audit");
        assert!(why.contains("unit 0 waits for a host, 1 more needed; of 2 hosts: 2 drawn for it before;"), "{why}");

        let little = Offer { memory: Bytes(1 << 20), ..Offer::default() };
        let (solo, job) = audited(&[Offer::default(), Offer::default(), little]);
        let why = placing(solo.state(), &job, false).expect("the third has too little memory");
        assert!(why.contains("2 drawn for it before, 1 not offering the memory"), "{why}");
        assert!(why.contains("; no other host offers 512.00 MiB of memory, the closest 1.00 MiB"), "{why}");

        let (solo, job) = audited(&[Offer::default(); 3]);
        assert_eq!(placing(solo.state(), &job, false), None, "the third was drawn");
    }
}
