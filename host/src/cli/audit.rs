//! `samebit audit`: runs a job's units again here, from the network's public data, and says who was right.

use super::job;
use crate::{
    context::{Context, client_failure},
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
    view::{self, Names},
};
use samebit_market::words;
use samebit_node::{
    audit::{self, AuditError, Ours, Progress, Report, RunReport, UnitReport},
    code,
};
use samebit_runtime::{Options, Runtime};
use samebit_spec::{
    id::JobId,
    job::{JobRecord, RunPhase},
    receipt::Receipt,
};
use serde::Serialize;

/// Run a job again from public data, and say which hosts were right.
#[derive(clap::Args)]
#[command(after_help = "\
Exits with 0 when the ledger's verdict is right, 30 when it is wrong, 32 when this machine cannot tell.

Examples:
  samebit audit job 3f9a
  samebit audit job 3f9a --unit 2 -o json")]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(clap::Subcommand)]
enum AuditCommand {
    /// Re-execute a job's units and compare with what every host showed.
    #[command(after_help = "Examples:\n  samebit audit job 3f9a\n  samebit audit job 3f9a --unit 2 -o json")]
    Job {
        /// The job, by a prefix of its id.
        job: String,
        /// This unit only.
        #[arg(long, value_name = "N")]
        unit: Option<u32>,
    },
}

/// A unit's audit: a member of `samebit/audit/1`.
#[derive(Serialize)]
struct UnitAudit {
    unit: u32,
    phase: &'static str,
    verdict: &'static str,
    own_receipt: Option<String>,
    ledger_receipt: Option<String>,
    outcome: Option<String>,
    fuel: Option<u64>,
    why: Option<String>,
    runs: Vec<RunAudit>,
}

/// A run's audit.
#[derive(Serialize)]
struct RunAudit {
    attempt: u32,
    host: String,
    name: Option<String>,
    phase: &'static str,
    receipt: Option<String>,
    right: Option<bool>,
    ledger: Option<bool>,
    differs: Vec<&'static str>,
}

/// Runs the command.
pub fn run(args: AuditArgs, ui: &Ui) -> Outcome {
    let AuditCommand::Job { job, unit } = args.command;
    let context = Context::new(ui)?;
    let (mut network, store) = (context.connect()?, context.store()?);
    let id = job::find(&network, &job)?;
    let record = job::record(&network, &id)?.clone();
    if let Some(unit) = unit {
        job::unit_of(&record, &id, unit)?;
    }
    let task_name = network.task_name(&record.spec.task);
    let options = Options { cache: code::cache(&context.home_dir().cache_dir()), ..Options::default() };
    let runtime = Runtime::open(&options).map_err(|fault| Failure::new(Exit::CannotTell, fault.to_string()))?;
    let bar = ui.bar(1, "fetching and compiling");
    let chosen = unit.map(|unit| [unit]);
    let chosen = chosen.as_ref().map(<[u32; 1]>::as_slice);
    let report = audit::audit(network.client(), &store, &runtime, id, chosen, &mut |progress| match progress {
        Progress::Loading => {}
        Progress::Unit { unit, done, units } => {
            bar.set_length(units as u64);
            bar.set_position(done as u64);
            bar.set_message(format!("running unit {unit}"));
        }
        Progress::Running { unit, fuel } => bar.set_message(format!("running unit {unit}: {}", text::fuel(fuel))),
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| match &error {
        AuditError::JobUnknown { .. } | AuditError::UnitUnknown { .. } => {
            Failure::new(Exit::NotFound, error.to_string())
        }
        AuditError::Client(error) => client_failure(error),
    })?;
    let names = context.names();
    let audits: Vec<_> = report.units.iter().map(|unit| UnitAudit::new(&record, unit, &names)).collect();
    let (verdict, exit) = judge(&report);
    ui.data(
        || text(&id, &task_name, &runtime, verdict, &audits),
        &serde_json::json!({
            "schema": "samebit/audit/1",
            "job": id.to_string(),
            "task_name": task_name,
            "engine": runtime.engine_build(),
            "verdict": verdict,
            "units": audits,
        }),
    );
    Ok(exit)
}

/// One wrong verdict is one too many; one that is unknown leaves the whole unknown.
fn judge(report: &Report) -> (&'static str, Exit) {
    match (report.ledger_wrong(), report.cannot_tell()) {
        (true, _) => ("wrong", Exit::OutputsDiffer),
        (false, true) => ("cannot-tell", Exit::CannotTell),
        (false, false) => ("right", Exit::Done),
    }
}

impl UnitAudit {
    fn new(record: &JobRecord, unit: &UnitReport, names: &Names) -> Self {
        let (own, why) = match &unit.ours {
            Ours::Receipt(receipt) => (Some(receipt), None),
            Ours::CannotTell { why } => (None, Some(why.clone())),
        };
        let phases: Vec<RunPhase> = record
            .units
            .get(unit.unit as usize)
            .map(|held| held.runs.iter().map(|run| run.phase).collect())
            .unwrap_or_default();
        let alone = Report { job: JobId::default(), units: vec![unit.clone()] };
        Self {
            unit: unit.unit,
            phase: record.units.get(unit.unit as usize).map_or("", |held| words::unit_phase(&held.phase)),
            verdict: judge(&alone).0,
            own_receipt: own.map(|receipt| receipt.id().to_string()),
            ledger_receipt: unit.ledger.map(|id| id.to_string()),
            outcome: own.map(|receipt| text::outcome(&receipt.outcome)),
            fuel: own.map(|receipt| receipt.fuel.0),
            why,
            runs: unit.runs.iter().map(|run| RunAudit::new(run, &phases, names)).collect(),
        }
    }
}

impl RunAudit {
    fn new(run: &RunReport, phases: &[RunPhase], names: &Names) -> Self {
        let said = |verdict| match verdict {
            audit::Verdict::Right => Some(true),
            audit::Verdict::Wrong => Some(false),
            audit::Verdict::NoReceipt | audit::Verdict::Undecided => None,
        };
        Self {
            attempt: run.run.attempt,
            host: run.host.to_string(),
            name: names.get(&run.host),
            phase: phases.get(run.run.attempt as usize).map_or("", |phase| words::run_phase(*phase)),
            receipt: run.receipt.as_ref().map(|receipt: &Receipt| receipt.id().to_string()),
            right: said(run.ours),
            ledger: said(run.ledger),
            differs: run.differs.clone(),
        }
    }

    fn finding(&self) -> String {
        match (self.right, self.differs.is_empty()) {
            (Some(true), _) => "right".to_owned(),
            (Some(false), true) => "WRONG".to_owned(),
            (Some(false), false) => format!("WRONG: {} differ", self.differs.join(", ")),
            (None, _) => String::new(),
        }
    }
}

fn text(job: &JobId, task_name: &str, runtime: &Runtime, verdict: &str, audits: &[UnitAudit]) -> String {
    let mut table = text::table(["unit", "host", "run", "receipt", "audit"], &[0]);
    let mut notes = Vec::new();
    for audit in audits {
        let own = audit.own_receipt.as_deref().map(view::short).unwrap_or_default();
        let outcome = audit.outcome.clone().unwrap_or_else(|| "cannot tell".to_owned());
        table.add_row([audit.unit.to_string(), "this machine".to_owned(), outcome, own]);
        for run in &audit.runs {
            table.add_row([
                String::new(),
                run.name.clone().unwrap_or_else(|| view::short(&run.host)),
                run.phase.to_owned(),
                run.receipt.as_deref().map(view::short).unwrap_or_default(),
                run.finding(),
            ]);
        }
        notes.extend(audit.why.iter().map(|why| format!("unit {}: {why}", audit.unit)));
    }
    let done = format!("{} re-executed here with {}", text::count(audits.len(), "unit"), runtime.engine_build());
    let said = match verdict {
        "right" => format!("the ledger's verdict is right: {done}"),
        "wrong" => format!("THE LEDGER'S VERDICT IS WRONG: {done}"),
        _ => "this machine cannot tell, and accuses nobody".to_owned(),
    };
    let notes = if notes.is_empty() { String::new() } else { format!("\n{}", notes.join("\n")) };
    format!("audit of {} ({task_name})\n\n{table}\n\n{said}{notes}", job.short())
}
