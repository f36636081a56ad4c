//! Re-executes a job from what the network makes public, and says of every shown receipt whether it is right.
//!
//! It trusts neither hosts nor validator: the ledger was replayed here, content is fetched by hash, and the runs
//! happen on this machine. Where something is missing it accuses nobody: [`Ours::CannotTell`].

use crate::{
    client::{Client, ClientError},
    content::StoreContent,
};
use samebit_blobs::BlobStore;
use samebit_runtime::{Flow, LoadError, Program, Runtime};
use samebit_spec::{
    execution::Execution,
    id::{JobId, ReceiptId},
    job::{JobRecord, RunId, RunPhase, UnitPhase},
    receipt::Receipt,
    sign::PublicKey,
    unit::Fuel,
};

/// Why an audit could not begin.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No such job.
    #[error("{job} is not known")]
    JobUnknown {
        /// The job.
        job: JobId,
    },
    /// The job has no such unit.
    #[error("{job} has {units} units, there is no unit {unit}")]
    UnitUnknown {
        /// The job.
        job: JobId,
        /// What was asked for.
        unit: u32,
        /// How many there are.
        units: usize,
    },
    /// The network or its chain.
    #[error("{0}")]
    Client(#[from] ClientError),
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The module is being fetched and compiled.
    Loading,
    /// A unit begins: the `done`-th of `units`.
    Unit {
        /// Its index in the job.
        unit: u32,
        /// How many are done.
        done: usize,
        /// How many there are to do.
        units: usize,
    },
    /// Its run has used so much fuel.
    Running {
        /// Its index in the job.
        unit: u32,
        /// Fuel used so far.
        fuel: Fuel,
    },
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The job.
    pub job: JobId,
    /// Each unit that was looked at.
    pub units: Vec<UnitReport>,
}

/// What it found of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitReport {
    /// Its index in the job.
    pub unit: u32,
    /// What this machine got.
    pub ours: Ours,
    /// What the ledger holds to be right, where it has decided.
    pub ledger: Option<ReceiptId>,
    /// Every run that showed a receipt or was punished for showing none.
    pub runs: Vec<RunReport>,
}

/// What this machine got of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ours {
    /// This receipt.
    Receipt(Receipt),
    /// None: something is missing here or on the network.
    CannotTell {
        /// What.
        why: String,
    },
}

/// What an audit found of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// Its host.
    pub host: PublicKey,
    /// What it showed.
    pub receipt: Option<Receipt>,
    /// What this machine says of it.
    pub ours: Verdict,
    /// What the ledger says of it.
    pub ledger: Verdict,
    /// Which fields differ from ours.
    pub differs: Vec<&'static str>,
}

/// What is said of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its receipt is the execution's.
    Right,
    /// Its receipt is not.
    Wrong,
    /// It showed none.
    NoReceipt,
    /// Nothing is said.
    Undecided,
}

impl Report {
    /// Whether a shown receipt is not what this machine got.
    #[must_use]
    pub fn any_wrong(&self) -> bool {
        self.runs().any(|run| run.ours == Verdict::Wrong)
    }

    /// Whether the ledger upheld what this machine finds wrong, or punished what it finds right.
    #[must_use]
    pub fn ledger_wrong(&self) -> bool {
        self.runs().any(|run| {
            matches!((run.ours, run.ledger), (Verdict::Wrong, Verdict::Right) | (Verdict::Right, Verdict::Wrong))
        })
    }

    /// Whether some unit could not be re-executed.
    #[must_use]
    pub fn cannot_tell(&self) -> bool {
        self.units.iter().any(|unit| matches!(unit.ours, Ours::CannotTell { .. }))
    }

    fn runs(&self) -> impl Iterator<Item = &RunReport> {
        self.units.iter().flat_map(|unit| &unit.runs)
    }
}

/// Audits `job`, all of it or the chosen `units`. `store` keeps what is fetched.
///
/// # Errors
/// [`AuditError`] when there is nothing to audit. What goes wrong with a unit is in its report.
pub fn audit(
    client: &mut Client,
    store: &BlobStore,
    runtime: &Runtime,
    job: JobId,
    units: Option<&[u32]>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let state = client.sync()?;
    let record = state.jobs().get(&job).cloned().ok_or(AuditError::JobUnknown { job })?;
    let task = state.tasks().get(&record.spec.task).map(|task| task.manifest.clone());
    let all: Vec<u32> = (0..u32::try_from(record.units.len()).unwrap_or(u32::MAX)).collect();
    let chosen = units.unwrap_or(&all);
    if let Some(&unit) = chosen.iter().find(|unit| !all.contains(unit)) {
        return Err(AuditError::UnitUnknown { job, unit, units: all.len() });
    }
    progress(Progress::Loading);
    let program = match &task {
        Some(task) => client.fetch(&task.module, store).map_err(|error| error.to_string()).and_then(|()| {
            let bytes = store.read(&task.module).map_err(|error| error.to_string())?;
            runtime.load(&bytes).map_err(|error| match error {
                LoadError::Refused(refusal) => format!("the module is refused: {refusal}"),
                LoadError::Fault(fault) => fault.to_string(),
            })
        }),
        None => Err(format!("{} is not published", record.spec.task)),
    };
    let mut reports = Vec::with_capacity(chosen.len());
    for (done, &unit) in chosen.iter().enumerate() {
        progress(Progress::Unit { unit, done, units: chosen.len() });
        let execution = task.as_ref().and_then(|task| record.spec.execution(unit, task));
        let ours = match (&program, execution) {
            (Ok(program), Some(execution)) => {
                match execute(client, store, runtime, program, &execution, &mut |fuel| {
                    progress(Progress::Running { unit, fuel });
                }) {
                    Ok(receipt) => Ours::Receipt(receipt),
                    Err(why) => Ours::CannotTell { why },
                }
            }
            (Err(why), _) => Ours::CannotTell { why: why.clone() },
            (Ok(_), None) => Ours::CannotTell { why: format!("unit {unit} has no execution") },
        };
        reports.push(judge(job, &record, unit, ours));
    }
    Ok(Report { job, units: reports })
}

fn execute(
    client: &mut Client,
    store: &BlobStore,
    runtime: &Runtime,
    program: &Program,
    execution: &Execution,
    on_fuel: &mut dyn FnMut(Fuel),
) -> Result<Receipt, String> {
    for mount in &execution.mounts {
        client.fetch_tree(&mount.tree, store).map_err(|error| error.to_string())?;
    }
    if execution.stdin.len.0 == 0 {
        store.put(&[]).map_err(|error| error.to_string())?;
    } else {
        client.fetch(&execution.stdin, store).map_err(|error| error.to_string())?;
    }
    let content = StoreContent(store.clone());
    let finished = runtime.run(program, execution, &content, &mut |progress| {
        on_fuel(progress.fuel);
        Flow::Go
    });
    finished.map(|finished| finished.receipt).map_err(|fault| fault.to_string())
}

fn judge(job: JobId, record: &JobRecord, unit: u32, ours: Ours) -> UnitReport {
    let held = &record.units[unit as usize];
    let ledger = match held.phase {
        UnitPhase::Agreed { receipt, .. } | UnitPhase::Final { receipt } => Some(receipt),
        UnitPhase::Placing
        | UnitPhase::Running
        | UnitPhase::Sealed { .. }
        | UnitPhase::Drawing { .. }
        | UnitPhase::Revealing { .. }
        | UnitPhase::Undecided
        | UnitPhase::Expired
        | UnitPhase::Dropped => None,
    };
    let shown = held.runs.iter().zip(0_u32..).filter(|(run, _)| {
        run.receipt.is_some() || matches!(run.phase, RunPhase::Unrevealed | RunPhase::Slashed | RunPhase::Upheld)
    });
    let runs = shown.map(|(run, attempt)| {
        let differs = match (&ours, &run.receipt) {
            (Ours::Receipt(own), Some(shown)) => differences(own, shown),
            (Ours::CannotTell { .. }, _) | (_, None) => Vec::new(),
        };
        let own = match (&ours, &run.receipt) {
            (_, None) => Verdict::NoReceipt,
            (Ours::CannotTell { .. }, Some(_)) => Verdict::Undecided,
            (Ours::Receipt(own), Some(shown)) if own.id() == shown.id() => Verdict::Right,
            (Ours::Receipt(_), Some(_)) => Verdict::Wrong,
        };
        let said = match (run.phase, ledger, &run.receipt) {
            (RunPhase::Upheld, _, _) => Verdict::Right,
            (RunPhase::Slashed, _, _) => Verdict::Wrong,
            (RunPhase::Unrevealed, _, _) | (_, _, None) => Verdict::NoReceipt,
            (_, Some(held), Some(shown)) if shown.id() == held => Verdict::Right,
            (_, Some(_), Some(_)) => Verdict::Wrong,
            (_, None, Some(_)) => Verdict::Undecided,
        };
        let id = RunId { job, unit, attempt };
        RunReport { run: id, host: run.host, receipt: run.receipt.clone(), ours: own, ledger: said, differs }
    });
    let runs = runs.collect();
    UnitReport { unit, ours, ledger, runs }
}

fn differences(own: &Receipt, shown: &Receipt) -> Vec<&'static str> {
    let fields = [
        ("execution", own.execution != shown.execution),
        ("outcome", own.outcome != shown.outcome),
        ("stdout", own.output.stdout != shown.output.stdout),
        ("files", own.output.tree != shown.output.tree),
        ("fuel", own.fuel != shown.fuel),
        ("steps", own.steps != shown.steps),
        ("history", own.history != shown.history),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
