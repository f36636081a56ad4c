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
    unit::{FuelPrice, MicroCredits, Time},
};
use std::collections::BTreeMap;

/// Too few hosts for a job that is to be posted.
pub struct Shortage {
    /// What is missing, with the counts.
    pub what: String,
    /// The smallest change that would do.
    pub help: String,
}

/// Why a host is not to be had for a price and a bond, whatever it does at the moment.
fn hindrance(host: &HostRecord, now: Time, price: FuelPrice, bond: MicroCredits) -> Option<&'static str> {
    if host.slots == 0 {
        Some("paused")
    } else if host.excluded_until > now {
        Some("excluded")
    } else if host.ask > price {
        Some("asking for more")
    } else if host.bond_free.saturating_add(host.bond_locked) < bond {
        // What is locked now comes back: such a host is busy, not out of reach.
        Some("without enough bond")
    } else {
        None
    }
}

fn listed(reasons: &BTreeMap<&str, usize>) -> String {
    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

/// Whether fewer hosts than replicas could be drawn for a job that is not posted yet.
pub fn shortage(state: &LedgerState, spec: &JobSpec) -> Option<Shortage> {
    let (now, wanted) = (state.time(), usize::from(spec.replicas));
    let reach = |spec: &JobSpec| {
        let bond = Cost::of(spec, state.params())?.bond;
        Some(state.hosts().values().filter(|host| hindrance(host, now, spec.price, bond).is_none()).count())
    };
    let reached = reach(spec)?;
    if reached >= wanted {
        return None;
    }
    let bond = Cost::of(spec, state.params())?.bond;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for host in state.hosts().values() {
        if let Some(reason) = hindrance(host, now, spec.price, bond) {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let all = text::count(state.hosts().len(), "host");
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", listed(&reasons)) };
    let mut what = format!("each unit needs {wanted}, and {reached} of {all} could be drawn{why}");
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
    } else if reached > 0 {
        format!("`--replicas {reached}` is what can be had")
    } else if reasons.contains_key("without enough bond") {
        "a lower `--fuel` or `--price` needs less bond".to_owned()
    } else {
        "`samebit host list` shows what each host asks and when it is free".to_owned()
    };
    Some(Shortage { what, help: format!("{change}; `--anyway` posts the job and waits for hosts") })
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
    Some(format!(
        "  unit {at}{others} waits for a host, {} needed; of {hosts}: {}; if none is found it is refunded at {}",
        record.spec.replicas,
        listed(&reasons),
        text::moment(until),
    ))
}

/// What keeps each host from a unit, counted, and how many nothing does.
fn reasons(state: &LedgerState, record: &JobRecord, at: usize) -> (BTreeMap<&'static str, usize>, usize) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut free = 0;
    for (account, host) in state.hosts() {
        // The rules of the draw (`spec/04-verification.md`), in the order in which they are easiest to understand.
        let reason = if record.units[at].runs.iter().any(|run| run.host == *account) {
            "drawn for it before"
        } else if let Some(reason) = hindrance(host, state.time(), record.spec.price, record.bond) {
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
