//! Which hosts could be drawn for a job, by the ledger as it was verified here.
//!
//! It decides nothing: the ledger draws (`spec/04-verification.md`). It says beforehand, and while a unit waits, why
//! there are too few.

use crate::text;
use samebit_ledger::LedgerState;
use samebit_market::lifecycle::Cost;
use samebit_spec::{
    id::JobId,
    job::{HostRecord, JobPhase, JobRecord, JobSpec, UnitPhase},
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
fn wanting(state: &LedgerState, spec: &JobSpec, task: &TaskManifest) -> Option<(String, Lack)> {
    let mut lacks: Vec<Lack> = state.hosts().values().filter_map(|host| lack(&host.offer, spec, task)).collect();
    if state.hosts().len() - lacks.len() >= usize::from(spec.replicas) {
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
    let who = if count == state.hosts().len() { "no host offers" } else { "too few hosts offer" };
    let said = match &closest {
        Lack::Profile => format!("{who} the profile"),
        Lack::Room { what, needs, offers } => {
            format!("{who} {} of {what}, the closest of the others {}", text::bytes(*needs), text::bytes(*offers))
        }
        Lack::TensorOps { needs, .. } => format!("{who} tensor operations of version {}", needs.0),
        Lack::Device { needs, offers } => {
            let offers = offers.map_or_else(|| "a processor".to_owned(), |offers| offers.to_string());
            format!("{who} tensors on {needs}, the closest of the others on {offers}")
        }
    };
    Some((said, closest))
}

fn listed(reasons: &BTreeMap<&str, usize>) -> String {
    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

/// Whether fewer hosts than replicas could be drawn for a job that is not posted yet.
pub fn shortage(state: &LedgerState, spec: &JobSpec) -> Option<Shortage> {
    let task = &state.tasks().get(&spec.task)?.manifest;
    let (now, wanted) = (state.time(), usize::from(spec.replicas));
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
    let mut what = format!("each unit needs {wanted}, and {reached} of {all} could be drawn{why}");
    let wanting = wanting(state, spec, task);
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
    } else if reached > 0 {
        format!("`--replicas {reached}` is what can be had")
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
    let (at, _) = waits.clone().next()?;
    let (reasons, free) = reasons(state, record, at);
    let alive = record.units[at].runs.iter().filter(|run| run.phase.is_alive()).count();
    if !always && alive + free >= usize::from(record.spec.replicas) {
        return None;
    }
    let hosts = text::count(state.hosts().len(), "host");
    let until = Time(record.posted_at.0.saturating_add(record.spec.deadline.0));
    let others = match waits.count() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let task = state.tasks().get(&record.spec.task).map(|task| &task.manifest);
    let wanting = task.and_then(|task| wanting(state, &record.spec, task));
    let wanting = wanting.map_or_else(String::new, |(said, _)| format!("; {said}"));
    Some(format!(
        "  unit {at}{others} waits for a host, {} needed; of {hosts}: {}{wanting}; if none is found it is refunded at {}",
        record.spec.replicas,
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
