//! `samebit job`: orders and what became of them.

use super::{job_output::OutputArgs, job_submit::SubmitArgs};
use crate::{
    context::{Context, Network, buyer_of},
    daemon::at_interrupt,
    draw,
    exit::Exit,
    ids,
    report::{Failure, Format, Outcome, Ui},
    text,
    view::{self, JobLine, JobView},
};
use samebit_ledger::LedgerState;
use samebit_market::{summary, words};
use samebit_spec::{
    entry::Body,
    execution::Outcome as RunOutcome,
    id::JobId,
    job::{JobPhase, JobRecord},
    unit::Millis,
};
use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

/// A chain that makes no block for so long stands still.
const STILL: Duration = Duration::from_secs(4);

/// Send work to the hosts, and follow it to its end.
#[derive(clap::Args)]
#[command(after_help = "\
A result is `provisional` from the moment that hosts agree until the window ends, and `final` after it.

Examples:
  samebit job submit hello --input name.json --wait
  samebit job list
  samebit job show 3f9a
  samebit job output 3f9a --out results/")]
pub struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(clap::Subcommand)]
enum JobCommand {
    Submit(SubmitArgs),
    /// Show a job: its units, the hosts of each, receipts, payments.
    #[command(after_help = "Examples:\n  samebit job show 3f9a\n  samebit job show 3f9a --unit 2 -o json")]
    Show {
        /// The job, by a prefix of its id.
        job: String,
        /// This unit only.
        #[arg(long, value_name = "N")]
        unit: Option<u32>,
    },
    /// List jobs, the latest last.
    #[command(after_help = "Examples:\n  samebit job list\n  samebit job list --key alice -o json")]
    List {
        /// Only those that this key pays for.
        #[arg(long)]
        key: Option<String>,
    },
    /// Wait until every unit of a job has ended, and show it. With -o jsonl each change is a line.
    #[command(after_help = "\
Exits with 0 when every unit is final, 7 when one ended without a result, 6 when the wait was too long.

Examples:
  samebit job watch 3f9a
  samebit job watch 3f9a --timeout 60 -o jsonl")]
    Watch {
        /// The job, by a prefix of its id.
        job: String,
        /// Longest wait, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        timeout: u64,
    },
    /// Withdraw a job that no keeper has taken into custody yet.
    #[command(after_help = "Examples:\n  samebit job cancel 3f9a")]
    Cancel {
        /// The job, by a prefix of its id.
        job: String,
        /// The key that posted it.
        #[arg(long, default_value = "default")]
        key: String,
    },
    Output(OutputArgs),
}

/// Runs the command.
pub fn run(args: JobArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        JobCommand::Submit(args) => super::job_submit::run(args, ui),
        JobCommand::Output(args) => super::job_output::run(args, ui),
        JobCommand::Show { job, unit } => {
            let network = context.connect()?;
            let id = find(&network, &job)?;
            print(&context, &network, &id, unit, ui)
        }
        JobCommand::List { key } => {
            let key = key.map(|name| context.key(&name)).transpose()?.map(|key| key.public());
            let network = context.connect()?;
            let mut jobs: Vec<_> = network.state().jobs().iter().collect();
            jobs.retain(|(_, record)| key.is_none_or(|key| record.spec.buyer == key));
            jobs.sort_by_key(|(id, record)| (record.posted, **id));
            let lines: Vec<_> = jobs
                .iter()
                .map(|(id, record)| JobLine::new(id, record, &network.task_name(&record.spec.task)))
                .collect();
            ui.data(
                || {
                    let heads = ["job", "task", "state", "units", "final", "disputed", "paid"];
                    let mut table = text::table(heads, &[3, 4, 5, 6]);
                    table.add_rows(lines.iter().map(JobLine::cells));
                    if lines.is_empty() { "no jobs yet".to_owned() } else { table.to_string() }
                },
                &serde_json::json!({"schema": "samebit/jobs/1", "jobs": lines}),
            );
            Ok(Exit::Done)
        }
        JobCommand::Watch { job, timeout } => {
            let mut network = context.connect()?;
            let id = find(&network, &job)?;
            watch(&context, &mut network, &id, Duration::from_secs(timeout), ui)
        }
        JobCommand::Cancel { job, key } => {
            let key = context.key(&key)?;
            let mut network = context.connect()?;
            let id = find(&network, &job)?;
            network.submit(&key, Body::JobCancel { job: id })?;
            print(&context, &network, &id, None, ui)
        }
    }
}

/// The job that a prefix names.
pub fn find(network: &Network, given: &str) -> Result<JobId, Failure> {
    ids::one("job", given, network.state().jobs().keys().copied())
}

/// The record of a job.
pub fn record<'a>(network: &'a Network, id: &JobId) -> Result<&'a JobRecord, Failure> {
    network.state().jobs().get(id).ok_or_else(|| Failure::new(Exit::NotFound, format!("no {id} on this network")))
}

/// Shows a job, or one unit of it.
pub fn print(context: &Context, network: &Network, id: &JobId, unit: Option<u32>, ui: &Ui) -> Outcome {
    let record = record(network, id)?;
    let names = context.names();
    let mut view = JobView::new(id, record, network.task(&record.spec.task), &names);
    if let Some(unit) = unit {
        unit_of(record, id, unit)?;
        view = view.only(unit);
    }
    ui.data(|| view.text(&names), &view);
    if let Some(why) = draw::placing(network.state(), id, false) {
        ui.note(why);
    }
    if ui.format == Format::Text && view.went_wrong() {
        ui.note(format!(
            "`samebit run --input PATH {}` with a unit's input shows what it wrote to stderr",
            view.task_name
        ));
    }
    Ok(Exit::Done)
}

/// Fails for a unit that the job does not have.
pub fn unit_of(record: &JobRecord, id: &JobId, unit: u32) -> Result<usize, Failure> {
    let count = record.units.len();
    let at = usize::try_from(unit).ok().filter(|at| *at < count);
    at.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{} has units 0 to {}, not {unit}", id.short(), count.saturating_sub(1)))
    })
}

/// Waits for the job's end with progress, then shows it.
pub fn watch(context: &Context, network: &mut Network, id: &JobId, timeout: Duration, ui: &Ui) -> Outcome {
    let units = record(network, id)?.units.len() as u64;
    let stopped = Failure::new(Exit::Interrupted, format!("interrupted; {} goes on", id.short()));
    at_interrupt(ui, stopped.help(format!("`samebit job watch {}` watches it again", id.short())));
    let bar = ui.bar(units, format!("{} waits for custody", id.short()));
    let mut last = BTreeMap::new();
    let mut plain = Plain::default();
    let mut look = |state: &LedgerState| {
        let record = state.jobs().get(id)?;
        report_changes(&mut last, id, record, state.height().0, ui);
        let standing = |wanted| record.units.iter().filter(|unit| view::unit_standing(&unit.phase) == wanted).count();
        let (done, provisional) = (standing("final") + standing("none"), standing("provisional"));
        bar.set_position(done as u64);
        let disputed = record.units.iter().filter(|unit| view::is_disputed(unit)).count();
        plain.say(ui, || {
            let agreed = standing("final");
            format!("  {}: {agreed} of {units} final, {provisional} provisional, {disputed} disputed", id.short())
        });
        bar.set_message(match record.phase {
            JobPhase::Posted { .. } => format!("{} waits for custody", id.short()),
            _ if disputed > 0 => format!("{provisional} provisional, {disputed} disputed"),
            _ => format!("{provisional} provisional"),
        });
        matches!(record.phase, JobPhase::Closed { .. }).then_some(())
    };
    let buyer = record(network, id)?.spec.buyer;
    let key = context.key_names().iter().filter_map(|name| context.key(name).ok()).find(|key| key.public() == buyer);
    let genesis = network.state().genesis_id();
    let mut mind = key.as_ref().map(|key| buyer_of(genesis, key));
    let begun = Instant::now();
    let mut explained = None;
    let ended = loop {
        let left = timeout.saturating_sub(begun.elapsed());
        let mut awaited = Vec::new();
        let turn = network.wait(left.min(STILL), |state| {
            let retry = Millis(state.params().open.0 / 4);
            let own = state.jobs().get_key_value(id).into_iter();
            awaited = mind.as_mut().map(|mind| mind.observe(own, state.time(), retry)).unwrap_or_default();
            look(state).map(|()| true).or_else(|| (!awaited.is_empty()).then_some(false))
        });
        match turn {
            Ok(false) => {
                let Some(key) = &key else { continue };
                for body in awaited {
                    // Too late, or another of our processes was sooner: the ledger has drawn without it.
                    if let Err(failure) = network.submit(key, body)
                        && failure.exit != Exit::Refused
                    {
                        break;
                    }
                }
            }
            // A chain that stands still is waiting for something: for hosts, more often than not.
            Err(failure) if failure.exit == Exit::TimedOut && left > STILL => {
                let why = draw::placing(network.state(), id, true);
                if why != explained
                    && let Some(why) = &why
                {
                    bar.suspend(|| ui.note(why));
                }
                explained = why;
            }
            ended => break ended.map(|_| ()),
        }
    };
    bar.finish_and_clear();
    if let Err(mut failure) = ended {
        if failure.exit == Exit::TimedOut {
            failure.what = format!("{} has not ended after {} s", id.short(), timeout.as_secs());
            failure.help = Some(format!("`samebit job show {}` says where it stands; it goes on", id.short()));
        }
        return Err(failure);
    }
    if ui.format != Format::Jsonl {
        print(context, network, id, None, ui)?;
    }
    let record = record(network, id)?;
    if let Some(tally) = tally(record) {
        ui.note(tally);
    }
    let without = record.units.iter().filter(|unit| view::unit_standing(&unit.phase) == "none").count();
    if without > 0 {
        let why = view::closing(&record.phase).unwrap_or_default();
        return Err(Failure::new(
            Exit::Refused,
            format!("{} of {} ended without a result ({why})", text::count(without, "unit"), id.short()),
        )
        .help(format!("`samebit job show {}` says how each ended; the buyer was refunded", id.short())));
    }
    Ok(Exit::Done)
}

/// How the units ended, when not every one exited with 0.
fn tally(record: &JobRecord) -> Option<String> {
    let mut ends: Vec<(&str, usize)> =
        ["exited 0", "exited otherwise", "failed", "trapped", "exhausted", "without a result"]
            .map(|end| (end, 0))
            .into();
    for unit in &record.units {
        let at = match summary::upheld_receipt(unit).map(|receipt| receipt.outcome) {
            Some(RunOutcome::Exited { code: 0 }) => 0,
            Some(RunOutcome::Exited { .. }) => 1,
            Some(RunOutcome::Failed) => 2,
            Some(RunOutcome::Trapped { .. }) => 3,
            Some(RunOutcome::Exhausted { .. }) => 4,
            None => 5,
        };
        ends[at].1 += 1;
    }
    if ends[0].1 == record.units.len() {
        return None;
    }
    let said: Vec<_> =
        ends.iter().filter(|(_, count)| *count > 0).map(|(end, count)| format!("{count} {end}")).collect();
    Some(format!("{}: {}", text::count(record.units.len(), "unit"), said.join(", ")))
}

/// Progress where there is no terminal to draw a bar on: a line now and then, when something has changed.
#[derive(Default)]
struct Plain {
    last: Option<(Instant, String)>,
}

impl Plain {
    const PAUSE: Duration = Duration::from_secs(1);

    fn say(&mut self, ui: &Ui, line: impl FnOnce() -> String) {
        let too_early = self.last.as_ref().is_some_and(|(when, _)| when.elapsed() < Self::PAUSE);
        if std::io::stderr().is_terminal() || too_early {
            return;
        }
        let line = line();
        if self.last.as_ref().is_none_or(|(_, said)| *said != line) {
            ui.note(&line);
            self.last = Some((Instant::now(), line));
        }
    }
}

/// For -o jsonl: a line for each unit whose phase has changed.
fn report_changes(last: &mut BTreeMap<u32, &'static str>, id: &JobId, record: &JobRecord, height: u64, ui: &Ui) {
    if ui.format != Format::Jsonl {
        return;
    }
    for (at, unit) in (0..).zip(&record.units) {
        let phase = words::unit_phase(&unit.phase);
        if last.insert(at, phase) != Some(phase) {
            ui.data(
                String::new,
                &serde_json::json!({
                    "schema": "samebit/job-event/1", "job": id.to_string(), "unit": at, "phase": phase,
                    "standing": view::unit_standing(&unit.phase), "disputed": view::is_disputed(unit),
                    "height": height,
                }),
            );
        }
    }
}
