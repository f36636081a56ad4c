//! `samebit replay`: runs one step of a traced run again, alone, and compares the state that it leads to.

use super::run::{self, GuestArgs, Prepared};
use crate::{
    context::read_file,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use samebit_node::states::States;
use samebit_runtime::{Flow, HostFault, Orders};
use samebit_spec::{
    history::{HistoryProof, Trace},
    id::StateRoot,
    unit::Bytes,
};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};

/// Largest trace that is read: a run of most steps.
const TRACE_MAX: Bytes = Bytes(1 << 30);

/// Run one step of a traced run again and compare the state that it leads to.
///
/// Begins at the latest state before the step that was kept (`samebit run --checkpoint-every`) and that the trace has
/// too, and else at the run's beginning. Takes the options that the run was given: they make the same execution, or the
/// trace is of another. Exits with 30 when the states differ.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit run --checkpoint-every 10 --trace long.trace --input data long.wasm
  samebit replay --trace long.trace --step 42 --input data long.wasm
  samebit replay --trace long.trace --step 42 --engine wasmi --input data long.wasm   the other engine's word")]
pub struct ReplayArgs {
    /// What `samebit run --trace` wrote.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
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
    execution: String,
}

/// Runs the command.
pub fn run(args: ReplayArgs, ui: &Ui) -> Outcome {
    let ReplayArgs { trace: path, step, guest } = args;
    let trace = Trace::decode(&read_file(&path, TRACE_MAX)?).map_err(|error| {
        Failure::new(Exit::LedgerInvalid, format!("{} is refused: {error}", path.display()))
            .help("it was altered or cut short after it was written")
    })?;
    let (Some(wanted), Some(proof)) =
        (trace.roots.get(step as usize).copied(), HistoryProof::open(&trace.roots, u64::from(step)))
    else {
        let last = trace.roots.len().saturating_sub(1);
        return Err(Failure::new(Exit::NotFound, format!("the trace has no step {step}, its last is {last}")));
    };
    let prepared = run::prepare(guest, ui)?;
    if prepared.execution.id() != trace.receipt.execution {
        let what = format!("{} is of {}, this is {}", path.display(), trace.receipt.execution, prepared.execution.id());
        return Err(Failure::new(Exit::CannotTell, what)
            .help("give the module, arguments, input, seed and limits that the run was given"));
    }
    let (from_step, found) = again(&prepared, &trace, step)?;
    let matches = found == wanted;
    let view = ReplayView {
        schema: "samebit/replay/1",
        step,
        from_step,
        state_root: found.to_string(),
        trace_root: wanted.to_string(),
        matches,
        proof: hex::encode(samebit_spec::wire::encode(&proof)),
        history_root: trace.receipt.history.to_string(),
        execution: trace.receipt.execution.to_string(),
    };
    ui.data(
        || {
            let from = from_step.map_or("the beginning".to_owned(), |from| format!("the state after step {from}"));
            let same = if matches { "the same as in the trace" } else { "NOT the one in the trace" };
            let pairs = [
                ("step", step.to_string()),
                ("run from", from),
                ("state", view.state_root.clone()),
                ("trace", view.trace_root.clone()),
                ("result", same.to_owned()),
            ];
            text::fields(&pairs)
        },
        &view,
    );
    Ok(if matches { Exit::Done } else { Exit::OutputsDiffer })
}

/// The state after `step`, and the one that the run was begun at.
fn again(prepared: &Prepared, trace: &Trace, step: u32) -> Result<(Option<u32>, StateRoot), Failure> {
    let Prepared { sandbox, program, execution, content, states } = prepared;
    let mut snapshot = None;
    if States::are_there(states, execution.id()) {
        let mut kept = run::open_states(states, execution, None)?;
        let agreed = |root: &StateRoot, at: u32| trace.roots.get(at as usize) == Some(root);
        let nearest = kept.kept().into_iter().rev().find(|kept| kept.step < step && agreed(&kept.root, kept.step));
        if let Some(nearest) = nearest {
            snapshot = Some(kept.resume(nearest.root).map_err(|error| run::states_failure(&error))?);
        }
    }
    let from = snapshot.as_ref().map(samebit_runtime::Snapshot::step);
    let mut reached = None;
    let orders = Orders { resume: snapshot.map(Arc::new), keep: None };
    let ran = sandbox.run_while(program, execution, content, orders, &mut |progress| match progress.root {
        Some(root) if progress.step == step => {
            reached = Some(root);
            Flow::Stop
        }
        _ => Flow::Go,
    });
    match (reached, ran) {
        (Some(root), _) => Ok((from, root)),
        (None, Ok(finished)) => Err(Failure::new(
            Exit::OutputsDiffer,
            format!("the run ends after step {}, the trace goes on to step {step}", finished.receipt.steps),
        )),
        (None, Err(HostFault::Cancelled)) => Err(Failure::new(Exit::Bug, "the run ended before its step")),
        (None, Err(fault)) => Err(run::fault_failure(&fault)),
    }
}
