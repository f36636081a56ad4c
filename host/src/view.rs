//! What the ledger knows of a job, as people and programs read it.
//!
//! Every result carries its *standing*: `provisional` from agreement to the end of the window, `final` after.

use crate::text;
use samebit_market::{summary, words};
use samebit_spec::{
    audit::Audit,
    id::JobId,
    job::{
        Closing, CustodyRefusal, HostRecord, JobPhase, JobRecord, RunPhase, RunRecord, RunRole, UnitPhase, UnitRecord,
    },
    offer::Offer,
    param,
    receipt::Receipt,
    sign::PublicKey,
    task::TaskManifest,
    unit::{BasisPoints, Bytes, Fuel, MicroCredits},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What people call keys: the devnet's hosts, one's own keys.
#[derive(Clone, Debug, Default)]
pub struct Names(pub BTreeMap<PublicKey, String>);

impl Names {
    /// The name, or the key's first digits.
    pub fn of(&self, key: &PublicKey) -> String {
        self.0.get(key).cloned().unwrap_or_else(|| key.short())
    }

    /// The name, where there is one.
    pub fn get(&self, key: &PublicKey) -> Option<String> {
        self.0.get(key).cloned()
    }
}

/// A job: `samebit/job/1`.
#[derive(Serialize)]
pub struct JobView {
    schema: &'static str,
    job: String,
    task: String,
    /// What the task is called.
    pub task_name: String,
    buyer: String,
    posted: u64,
    posted_at: u64,
    closed_at: Option<u64>,
    phase: &'static str,
    closing: Option<String>,
    standing: &'static str,
    replicas: u8,
    price: u64,
    fuel_limit: u64,
    step_budget: u64,
    deadline_ms: u64,
    needs: NeedsView,
    args: Vec<String>,
    seed: String,
    escrow: u64,
    paid: u64,
    bond_per_run: u64,
    audit: u16,
    sealed: bool,
    units: Vec<UnitView>,
}

/// What a job's hosts must offer.
#[derive(Serialize)]
struct NeedsView {
    memory: u64,
    files: u64,
    stdout: u64,
    inputs: u64,
    tensor_ops: u32,
    tensors: String,
}

impl NeedsView {
    fn line(&self) -> String {
        let size = |bytes| text::bytes(Bytes(bytes));
        let tensors = match self.tensor_ops {
            0 => String::new(),
            version => format!("; tensors of version {version} on {}", self.tensors),
        };
        format!("{} of memory, {} of input{tensors}", size(self.memory), size(self.inputs))
    }
}

/// A unit of it.
#[derive(Serialize)]
pub struct UnitView {
    unit: u32,
    input: String,
    phase: &'static str,
    standing: &'static str,
    receipt: Option<String>,
    outcome: Option<String>,
    output: Option<String>,
    fuel: Option<u64>,
    steps: Option<u32>,
    disputed: bool,
    audit: &'static str,
    referees: usize,
    escrow: u64,
    runs: Vec<RunView>,
}

/// A run of it.
#[derive(Serialize)]
pub struct RunView {
    attempt: usize,
    host: String,
    name: Option<String>,
    role: &'static str,
    phase: &'static str,
    drawn_at: u64,
    commitment: Option<String>,
    receipt: Option<String>,
    outcome: Option<String>,
    output: Option<String>,
    fuel: Option<u64>,
    steps: Option<u32>,
    bond: u64,
    paid: u64,
    lost: u64,
}

/// A job in one line: `samebit/jobs/1` holds a list of these.
#[derive(Serialize)]
pub struct JobLine {
    job: String,
    task: String,
    task_name: String,
    buyer: String,
    phase: &'static str,
    closing: Option<String>,
    standing: &'static str,
    units: usize,
    units_final: usize,
    units_provisional: usize,
    units_disputed: usize,
    paid: u64,
}

/// Why a job closed, in words.
pub fn closing(phase: &JobPhase) -> Option<String> {
    let JobPhase::Closed { closing, .. } = phase else { return None };
    Some(match closing {
        Closing::Settled => "settled".to_owned(),
        Closing::Cancelled => "cancelled".to_owned(),
        Closing::Refused { reason } => match reason {
            CustodyRefusal::Missing { blob } => format!("refused: the keeper lacks {blob}"),
            CustodyRefusal::BadTree { unit } => format!("refused: the input of unit {unit} is no sound tree"),
            CustodyRefusal::TooMuchInput { unit } => {
                format!("refused: the files of unit {unit} are more than the order says")
            }
            CustodyRefusal::TooLarge { unit } => format!(
                "refused: up to unit {unit} the units have more different files than a keeper signs for, {} or {} bytes; \
                 submit several jobs",
                param::CUSTODY_FILES_MAX,
                param::CUSTODY_BYTES_MAX.0
            ),
            CustodyRefusal::BadModule => "refused: the module is not admitted".to_owned(),
        },
        Closing::Uncustodied => "no keeper took it into custody in time".to_owned(),
    })
}

/// What a unit's result is worth: `pending`, `provisional`, `final`, or `none` when there will be none.
pub fn unit_standing(phase: &UnitPhase) -> &'static str {
    match phase {
        UnitPhase::Placing
        | UnitPhase::Running
        | UnitPhase::Sealed { .. }
        | UnitPhase::Drawing { .. }
        | UnitPhase::Revealing { .. } => "pending",
        UnitPhase::Agreed { .. } => "provisional",
        UnitPhase::Final { .. } => "final",
        UnitPhase::Undecided | UnitPhase::Expired | UnitPhase::Dropped => "none",
    }
}

/// What the results of all units together are worth.
pub fn job_standing(record: &JobRecord) -> &'static str {
    let standings: BTreeSet<_> = record.units.iter().map(|unit| unit_standing(&unit.phase)).collect();
    ["none", "pending", "provisional"].into_iter().find(|standing| standings.contains(standing)).unwrap_or("final")
}

/// Whether hosts showed receipts that differ, or one did not open its promise.
pub fn is_disputed(unit: &UnitRecord) -> bool {
    let shown: BTreeSet<_> = unit.runs.iter().filter_map(|run| run.receipt.as_ref()).map(Receipt::id).collect();
    shown.len() > 1 || unit.runs.iter().any(|run| matches!(run.phase, RunPhase::Slashed | RunPhase::Unrevealed))
}

/// Hosts that were drawn to decide between receipts, those aside who never showed one.
fn referees(unit: &UnitRecord) -> usize {
    let counted = unit.runs.iter().filter(|run| run.receipt.is_some() || run.phase.is_alive());
    counted.filter(|run| run.role == RunRole::Referee).count()
}

/// What is known of the unit's audit.
const fn audit(unit: &UnitRecord) -> &'static str {
    match unit.audit {
        Audit::Undrawn => "undrawn",
        Audit::Spared { .. } => "spared",
        Audit::Ordered { .. } => "ordered",
    }
}

impl JobView {
    /// Views a job.
    pub fn new(id: &JobId, record: &JobRecord, task: Option<&TaskManifest>, names: &Names) -> Self {
        let task_name = task.map_or("?", |task| task.name.as_str());
        let tensor_ops = task.map_or(0, |task| task.tensor_ops.0);
        let spec = &record.spec;
        Self {
            schema: "samebit/job/1",
            job: id.to_string(),
            task: spec.task.to_string(),
            task_name: task_name.to_owned(),
            buyer: spec.buyer.to_string(),
            posted: record.posted.0,
            posted_at: record.posted_at.0,
            closed_at: match record.phase {
                JobPhase::Closed { at, .. } => Some(at.0),
                JobPhase::Posted { .. } | JobPhase::Open { .. } => None,
            },
            phase: words::job_phase(&record.phase),
            closing: closing(&record.phase),
            standing: job_standing(record),
            replicas: spec.replicas,
            price: spec.price.0,
            fuel_limit: spec.limits.fuel.0,
            step_budget: spec.step_budget.0,
            deadline_ms: spec.deadline.0,
            needs: NeedsView {
                memory: spec.limits.memory.0,
                files: spec.limits.files.0,
                stdout: spec.limits.stdout.0,
                inputs: spec.needs.inputs.0,
                tensor_ops,
                tensors: spec.needs.tensors.to_string(),
            },
            args: spec.args.clone(),
            seed: hex::encode(spec.seed),
            escrow: record.escrow.0,
            paid: record.paid.0,
            bond_per_run: record.bond.0,
            audit: spec.audit.0,
            sealed: spec.seal.is_some(),
            units: (0..)
                .zip(&record.units)
                .zip(&spec.units)
                .map(|((at, unit), input)| UnitView::new(at, input.id.to_string(), unit, names))
                .collect(),
        }
    }

    /// The view of one unit only.
    pub fn only(mut self, unit: u32) -> Self {
        self.units.retain(|view| view.unit == unit);
        self
    }

    /// Whether a unit's result is that the task failed, trapped or used up a limit.
    pub fn went_wrong(&self) -> bool {
        self.units.iter().filter_map(|unit| unit.outcome.as_deref()).any(|outcome| outcome != "exited 0")
    }

    fn checked(&self) -> String {
        let compared = match self.replicas {
            1 => String::from("one host, compared with nobody"),
            count => format!("{count} hosts, compared"),
        };
        match self.audit {
            0 if self.replicas == 1 => String::from("unassured: one host is believed"),
            0 => format!("{compared}; never audited"),
            share => format!("{compared}; audited blind with a chance of {}", BasisPoints(share)),
        }
    }

    /// For people.
    pub fn text(&self, names: &Names) -> String {
        let buyer = self.buyer.parse().map_or_else(|_| self.buyer.clone(), |key: PublicKey| names.of(&key));
        let state = self.closing.clone().unwrap_or_else(|| self.phase.to_owned());
        let head = text::fields(&[
            ("job", self.job.clone()),
            ("task", format!("{} ({})", self.task_name, short(&self.task))),
            ("buyer", buyer),
            ("posted", format!("block {}, {}", self.posted, text::moment(samebit_spec::unit::Time(self.posted_at)))),
            ("state", state),
            ("results", self.standing.to_owned()),
            ("price", format!("{} micro-credits per million fuel, to {}", self.price, each(self.replicas))),
            ("checked", self.checked()),
            ("needs", self.needs.line()),
            ("paid", format!("{} credits", text::credits(MicroCredits(self.paid)))),
            ("escrow", format!("{} credits", text::credits(MicroCredits(self.escrow)))),
        ]);
        let mut table =
            text::table(["unit", "result", "host", "run", "receipt", "outcome", "fuel", "paid", "lost"], &[0, 6, 7, 8]);
        for unit in &self.units {
            if unit.runs.is_empty() {
                table.add_row([unit.unit.to_string(), unit.label()]);
            }
            for (at, run) in unit.runs.iter().enumerate() {
                let first = at == 0;
                table.add_row([
                    if first { unit.unit.to_string() } else { String::new() },
                    if first { unit.label() } else { String::new() },
                    run.name.clone().unwrap_or_else(|| short(&run.host)),
                    if run.role == "replica" { run.phase.to_owned() } else { format!("{}, {}", run.role, run.phase) },
                    run.receipt.as_deref().map(short).unwrap_or_default(),
                    run.outcome.clone().unwrap_or_default(),
                    run.fuel.map(|fuel| text::fuel(Fuel(fuel))).unwrap_or_default(),
                    amount(run.paid),
                    amount(run.lost),
                ]);
            }
        }
        format!("{head}\n\n{table}")
    }
}

impl UnitView {
    fn new(at: u32, input: String, unit: &UnitRecord, names: &Names) -> Self {
        let receipt = summary::upheld_receipt(unit);
        Self {
            unit: at,
            input,
            phase: words::unit_phase(&unit.phase),
            standing: unit_standing(&unit.phase),
            receipt: summary::verdict_of(unit).map(|id| id.to_string()),
            outcome: receipt.map(|receipt| text::outcome(&receipt.outcome)),
            output: receipt.map(|receipt| receipt.output.id().to_string()),
            fuel: receipt.map(|receipt| receipt.fuel.0),
            steps: receipt.map(|receipt| receipt.steps),
            disputed: is_disputed(unit),
            audit: audit(unit),
            referees: referees(unit),
            escrow: unit.escrow.0,
            runs: unit.runs.iter().enumerate().map(|(attempt, run)| RunView::new(attempt, run, names)).collect(),
        }
    }

    fn label(&self) -> String {
        if self.disputed { format!("{}, disputed", self.phase) } else { self.phase.to_owned() }
    }
}

impl RunView {
    fn new(attempt: usize, run: &RunRecord, names: &Names) -> Self {
        let receipt = run.receipt.as_ref();
        Self {
            attempt,
            host: run.host.to_string(),
            name: names.get(&run.host),
            role: words::run_role(run.role),
            phase: words::run_phase(run.phase),
            drawn_at: run.drawn_at.0,
            commitment: run.commitment.map(|commitment| commitment.to_string()),
            receipt: receipt.map(|receipt| receipt.id().to_string()),
            outcome: receipt.map(|receipt| text::outcome(&receipt.outcome)),
            output: receipt.map(|receipt| receipt.output.id().to_string()),
            fuel: receipt.map(|receipt| receipt.fuel.0),
            steps: receipt.map(|receipt| receipt.steps),
            bond: run.bond.0,
            paid: run.paid.0,
            lost: run.lost.0,
        }
    }
}

impl JobLine {
    /// Views a job in one line.
    pub fn new(id: &JobId, record: &JobRecord, task_name: &str) -> Self {
        let standing = |wanted| record.units.iter().filter(|unit| unit_standing(&unit.phase) == wanted).count();
        Self {
            job: id.to_string(),
            task: record.spec.task.to_string(),
            task_name: task_name.to_owned(),
            buyer: record.spec.buyer.to_string(),
            phase: words::job_phase(&record.phase),
            closing: closing(&record.phase),
            standing: job_standing(record),
            units: record.units.len(),
            units_final: standing("final"),
            units_provisional: standing("provisional"),
            units_disputed: record.units.iter().filter(|unit| is_disputed(unit)).count(),
            paid: record.paid.0,
        }
    }

    /// The line's cells: job, task, state, units, final, disputed, paid.
    pub fn cells(&self) -> [String; 7] {
        [
            short(&self.job),
            self.task_name.clone(),
            self.closing.clone().unwrap_or_else(|| self.phase.to_owned()),
            self.units.to_string(),
            self.units_final.to_string(),
            self.units_disputed.to_string(),
            text::credits(MicroCredits(self.paid)),
        ]
    }
}

/// What a host offers to runs.
#[derive(Serialize)]
pub struct OfferView {
    memory: u64,
    files: u64,
    stdout: u64,
    inputs: u64,
    tensor_ops: u32,
    tensors_on: String,
}

impl OfferView {
    /// Views an offer.
    pub fn new(offer: &Offer) -> Self {
        let Offer { profile: _, memory, files, stdout, inputs, tensor_ops, adapter } = offer;
        Self {
            memory: memory.0,
            files: files.0,
            stdout: stdout.0,
            inputs: inputs.0,
            tensor_ops: tensor_ops.0,
            tensors_on: match (adapter, tensor_ops.0) {
                (_, 0) => "nothing".to_owned(),
                (None, _) => "a processor".to_owned(),
                (Some(adapter), _) => adapter.to_string(),
            },
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        let size = |bytes| text::bytes(Bytes(bytes));
        format!(
            "{} of memory, {} of files, {} of stdout, {} of input; tensors of version {} on {}",
            size(self.memory),
            size(self.files),
            size(self.stdout),
            size(self.inputs),
            self.tensor_ops,
            self.tensors_on,
        )
    }
}

/// A host: `samebit/host/1`, and in lists `samebit/hosts/1`.
#[derive(Serialize)]
pub struct HostView {
    /// Its account.
    pub account: String,
    name: Option<String>,
    operator: String,
    ask: u64,
    slots: u16,
    offer: OfferView,
    busy: u32,
    balance: u64,
    bond_free: u64,
    bond_locked: u64,
    unbonding: u64,
    excluded_until: Option<u64>,
    upheld: u32,
    declined: u32,
    lost: u32,
    slashed: u32,
}

impl HostView {
    /// Views a host.
    pub fn new(
        account: &PublicKey,
        host: &HostRecord,
        balance: MicroCredits,
        now: samebit_spec::unit::Time,
        names: &Names,
    ) -> Self {
        Self {
            account: account.to_string(),
            name: names.get(account),
            operator: host.operator.to_string(),
            ask: host.ask.0,
            slots: host.slots,
            offer: OfferView::new(&host.offer),
            busy: host.busy,
            balance: balance.0,
            bond_free: host.bond_free.0,
            bond_locked: host.bond_locked.0,
            unbonding: unbonding(host).0,
            excluded_until: (host.excluded_until > now).then_some(host.excluded_until.0),
            upheld: host.tally.upheld,
            declined: host.tally.declined,
            lost: host.tally.lost,
            slashed: host.tally.slashed,
        }
    }

    /// Orders hosts as people count them: `host-2` before `host-10`.
    pub fn sort_key(&self) -> (usize, String) {
        let name = self.name.clone().unwrap_or_else(|| self.account.clone());
        (name.len(), name)
    }

    /// The line's cells: host, ask, what computes tensors, slots, bond free, bond locked, upheld, declined, lost, slashed, state.
    pub fn cells(&self) -> [String; 11] {
        [
            self.name.clone().unwrap_or_else(|| short(&self.account)),
            self.ask.to_string(),
            self.offer.tensors_on.clone(),
            format!("{}/{}", self.busy, self.slots),
            text::credits(MicroCredits(self.bond_free)),
            text::credits(MicroCredits(self.bond_locked)),
            self.upheld.to_string(),
            self.declined.to_string(),
            self.lost.to_string(),
            self.slashed.to_string(),
            self.state().to_owned(),
        ]
    }

    /// Whether it may be drawn, in a word.
    pub fn state(&self) -> &'static str {
        match (self.excluded_until, self.slots) {
            (Some(_), _) => "excluded",
            (None, 0) => "paused",
            (None, _) => "ready",
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let money = |amount| format!("{} credits", text::credits(MicroCredits(amount)));
        let until = |time| text::moment(samebit_spec::unit::Time(time));
        text::fields(&[
            ("host", self.name.clone().unwrap_or_else(|| short(&self.account))),
            ("account", self.account.clone()),
            ("operator", self.operator.clone()),
            (
                "state",
                self.excluded_until.map_or_else(|| self.state().to_owned(), |t| format!("excluded to {}", until(t))),
            ),
            ("ask", format!("{} micro-credits per million fuel", self.ask)),
            ("offers", self.offer.line()),
            ("runs at once", format!("{}, {} now", self.slots, self.busy)),
            ("balance", money(self.balance)),
            ("bond free", money(self.bond_free)),
            ("bond locked", money(self.bond_locked)),
            ("unbonding", money(self.unbonding)),
            ("upheld", self.upheld.to_string()),
            ("declined", self.declined.to_string()),
            ("lost", self.lost.to_string()),
            ("slashed", self.slashed.to_string()),
        ])
    }
}

fn each(replicas: u8) -> String {
    if replicas == 1 { "one host".to_owned() } else { format!("each of {replicas} hosts") }
}

/// All of a host's bond that is on its way out.
pub fn unbonding(host: &HostRecord) -> MicroCredits {
    host.unbonding.iter().fold(MicroCredits::ZERO, |sum, (_, amount)| sum.saturating_add(*amount))
}

/// `kind-` and the first eight digits of an id.
pub fn short(id: &str) -> String {
    match id.split_once('-') {
        Some((kind, digits)) => format!("{kind}-{}", digits.get(..8).unwrap_or(digits)),
        None => id.to_owned(),
    }
}

fn amount(micro: u64) -> String {
    if micro == 0 { String::new() } else { text::credits(MicroCredits(micro)) }
}
