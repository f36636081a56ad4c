//! `samebit replay`: runs one step of an earlier run again, alone, and compares the state that it leads to.

use super::run::{self, GuestArgs, Prepared};
use crate::{
    context::read_file,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use samebit_node::states::{Kept, States};
use samebit_runtime::{Flow, HostFault, Orders};
use samebit_spec::{
    history::{self, HistoryProof, Trace},
    id::StateRoot,
    unit::Bytes,
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest trace that is read: a run of most steps.
const TRACE_MAX: Bytes = Bytes(1 << 30);

/// Run one step of an earlier run again and compare the state that it leads to.
///
/// Takes the options that the run was given: they make the same execution. What the run reached is in a trace (`samebit
/// run --trace`), or in what a run with --checkpoint-every kept here, which is looked at and never changed. Begins at the
/// latest kept state before the step, and else at the run's beginning. Exits with 30 when the states differ.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit run --checkpoint-every 10 --input data long.wasm
  samebit replay --step 42 --input data long.wasm
  samebit replay --step 42 --engine wasmi --input data long.wasm               the other engine's word
  samebit replay --trace theirs.trace --step 42 --input data long.wasm         against another machine's run")]
pub struct ReplayArgs {
    /// What `samebit run --trace` wrote. Default: what a run with --checkpoint-every kept here.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Which step: 0 is everything before the first.
    #[arg(long, value_name = "I")]
    step: u32,
    #[command(flatten)]
    guest: GuestArgs,
}

/// A step that was run again: `samebit/replay/1`.
#[derive(Serialize)]
struct ReplayView {
    schema: &'static str,
    step: u32,
    /// The state it was begun at; steps from there on were run.
    from_step: Option<u32>,
    state_root: String,
    trace_root: String,
    matches: bool,
    /// That the trace's root is the one that its receipt commits to, for those who have the receipt alone.
    proof: String,
    history_root: String,
    /// `trace`, `run that ended here` or `run that was kept here`.
    held_against: &'static str,
    execution: String,
}

/// Runs the command.
pub fn run(args: ReplayArgs, ui: &Ui) -> Outcome {
    let ReplayArgs { trace, step, guest } = args;
    let trace = trace.map(|path| read_trace(&path).map(|trace| (path, trace))).transpose()?;
    let prepared = run::prepare(guest, ui)?;
    let (roots, whose) = match trace {
        Some((path, trace)) if prepared.execution.id() != trace.receipt.execution => {
            let (theirs, ours) = (trace.receipt.execution, prepared.execution.id());
            return Err(Failure::new(Exit::CannotTell, format!("{} is of {theirs}, this is {ours}", path.display()))
                .help("give the module, arguments, input, seed and limits that the run was given"));
        }
        Some((_, trace)) => (trace.roots, "trace"),
        None => kept_roots(&prepared, ui)?,
    };
    let (Some(wanted), Some(proof)) = (roots.get(step as usize).copied(), HistoryProof::open(&roots, u64::from(step)))
    else {
        let last = roots.len().saturating_sub(1);
        return Err(Failure::new(Exit::NotFound, format!("the {whose} has no step {step}, its last is {last}")));
    };
    let (from_step, found) = again(&prepared, &roots, step, ui)?;
    let matches = found == wanted;
    let view = ReplayView {
        schema: "samebit/replay/1",
        step,
        from_step,
        state_root: found.to_string(),
        trace_root: wanted.to_string(),
        matches,
        proof: hex::encode(samebit_spec::wire::encode(&proof)),
        history_root: history::root(&roots).to_string(),
        held_against: whose,
        execution: prepared.execution.id().to_string(),
    };
    ui.data(
        || {
            let from = from_step.map_or("the beginning".to_owned(), |from| format!("the state after step {from}"));
            let same =
                if matches { format!("the same as in the {whose}") } else { format!("NOT the one in the {whose}") };
            let pairs = [
                ("step", step.to_string()),
                ("run from", from),
                ("state", view.state_root.clone()),
                ("was", view.trace_root.clone()),
                ("result", same),
            ];
            text::fields(&pairs)
        },
        &view,
    );
    Ok(if matches { Exit::Done } else { Exit::OutputsDiffer })
}

fn read_trace(path: &Path) -> Result<Trace, Failure> {
    Trace::decode(&read_file(path, TRACE_MAX)?).map_err(|error| {
        Failure::new(Exit::LedgerInvalid, format!("{} is refused: {error}", path.display()))
            .help("it was altered or cut short after it was written")
    })
}

/// The roots of the run that ended here last, or those up to the latest state of one that did not.
fn kept_roots(prepared: &Prepared, ui: &Ui) -> Result<(Vec<StateRoot>, &'static str), Failure> {
    let mut kept = look(prepared)?;
    run::say_damaged(kept.damaged(), ui);
    if let Some(trace) = kept.trace().filter(|trace| trace.receipt.execution == prepared.execution.id()) {
        return Ok((trace.roots, "run that ended here"));
    }
    for state in kept.kept().into_iter().rev() {
        let snapshot = kept.resume(state.root).map_err(|error| run::states_failure(&error));
        if let Ok(roots) = snapshot.as_ref().map_err(|_| ()).and_then(|snapshot| snapshot.history().map_err(|_| ())) {
            return Ok((roots.to_vec(), "run that was kept here"));
        }
    }
    Err(Failure::new(Exit::NotFound, "no run of this execution was kept here").help(
        "`samebit run --checkpoint-every N` with the same options keeps one, or give --trace what `samebit run --trace` \
         wrote",
    ))
}

fn look(prepared: &Prepared) -> Result<States, Failure> {
    States::look(&prepared.states, prepared.execution.id()).map_err(|error| run::states_failure(&error))
}

/// The state after `step`, and the one that the run was begun at: the latest before it that `roots` have too and that can
/// be taken up.
fn again(prepared: &Prepared, roots: &[StateRoot], step: u32, ui: &Ui) -> Result<(Option<u32>, StateRoot), Failure> {
    let Prepared { sandbox, program, execution, content, states: _ } = prepared;
    let agreed = |kept: &Kept| kept.step < step && roots.get(kept.step as usize) == Some(&kept.root);
    let mut kept = look(prepared)?;
    let mut candidates: Vec<Kept> = kept.kept().into_iter().filter(agreed).collect();
    loop {
        let snapshot = match candidates.pop() {
            Some(nearest) => match kept.resume(nearest.root) {
                Ok(snapshot) => Some(snapshot),
                Err(error) => {
                    ui.note(format!("the state after step {} is passed over: {error}", nearest.step));
                    continue;
                }
            },
            None => None,
        };
        let from = snapshot.as_ref().map(samebit_runtime::Snapshot::step);
        let mut reached = None;
        let orders = Orders { resume: snapshot.map(Arc::new), ..Orders::default() };
        let ran = sandbox.run_while(program, execution, content, orders, &mut |progress| match progress.root {
            Some(root) if progress.step == step => {
                reached = Some(root);
                Flow::Stop
            }
            _ => Flow::Go,
        });
        return match (reached, ran) {
            (Some(root), _) => Ok((from, root)),
            (None, Err(HostFault::Snapshot(error))) if from.is_some() => {
                ui.note(format!("the state after step {} is passed over: {error}", from.unwrap_or_default()));
                continue;
            }
            (None, Ok(finished)) => Err(Failure::new(
                Exit::OutputsDiffer,
                format!("the run ends after step {}, the other goes on to step {step}", finished.receipt.steps),
            )),
            (None, Err(HostFault::Cancelled)) => Err(Failure::new(Exit::Bug, "the run ended before its step")),
            (None, Err(fault)) => Err(run::fault_failure(&fault)),
        };
    }
}
