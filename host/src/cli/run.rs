//! `samebit run`: runs a module here, in the sandbox that hosts use, and shows what they would sign.
//!
//! Nothing is sent. The guest sees what the options give it and nothing else of this machine; folders are shown as
//! they are when the run begins, and no write of the guest reaches them.

mod guest;
mod local;
mod output;
mod sandbox;
mod shown;

pub(super) use guest::{GuestArgs, Prepared, engine_parser, job_execution, prepare};
pub(super) use local::Local;
pub(super) use sandbox::{Sandbox, fault_failure};

use crate::{
    daemon::at_interrupt,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use output::{check_out, check_trace, write_out, write_trace};
use samebit_node::states::{self, Damaged, Keeper, Room, States, StatesError};
use samebit_runtime::{Checkpoint, Held, HostFault, Keep, Orders, Said, Snapshot};
use samebit_spec::{
    history::Trace,
    id::{IdError, StateRoot},
};
use shown::{RunView, SaidView, end, show};
use std::{path::PathBuf, sync::Arc};

/// Run a module or a task here, in the sandbox that hosts use.
///
/// Takes any WASI command too, whoever compiled it. Its stdout and stderr pass through, and so does its exit code
/// (255 for anything above); a task that fails exits 1, a trap 20, a limit 21. A stepped task's result is printed
/// unless --out takes it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit run --input cases/ada/input target/samebit/hello.wasm
  samebit run --out picture --input cases/whole/input .     builds the project here first
  samebit run --dir . --env LANG=C cat.wasm -- README.md    a folder, copy-on-write
  samebit run --fuel 1000000 -o json loop.wasm              outcome, digests, fuel and state root as one object
  samebit run --engine wasmi loop.wasm                      interpreted: slower, and the same in every bit
  samebit run --checkpoint-every 10 long.wasm               keeps a state every ten steps; after a power cut:
  samebit run --checkpoint-every 10 --resume latest long.wasm
  samebit run --trace long.trace long.wasm                  every state root, for disputes and other machines
  samebit replay --step 42 long.wasm                        one step of what --checkpoint-every kept, run again")]
pub struct RunArgs {
    /// Where the files of /out go: a folder that is new or empty.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the state after every N steps, so that the run can be taken up there. At most 32 states and 1 GiB stay.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: Option<u32>,
    /// Begin at a state that an earlier run of the same execution kept: its root, or `latest`.
    #[arg(long, value_name = "ROOT|latest")]
    resume: Option<Wanted>,
    /// Write the receipt and every state root to a file that is new.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestArgs,
}

/// Which state a run begins at.
#[derive(Clone, Copy)]
enum Wanted {
    Latest,
    Root(StateRoot),
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            _ => text.parse().map(Self::Root).map_err(|error: IdError| error.to_string()),
        }
    }
}

/// Runs the command.
pub fn run(args: RunArgs, ui: &Ui) -> Outcome {
    let RunArgs { out, checkpoint_every, resume, trace, guest } = args;
    // Everything that can be refused is refused before the work is done.
    if let Some(out) = &out {
        check_out(out)?;
    }
    if let Some(trace) = &trace {
        check_trace(trace)?;
    }
    let has_input = guest.input.is_some();
    let prepared = prepare(guest, ui)?;
    let Prepared { sandbox, program, execution, content, states } = &prepared;
    let mut keeper = match (checkpoint_every, &resume) {
        (None, None) => None,
        (None, Some(_)) => Some(States::look(states, execution.id())),
        (Some(every), _) => Some(States::open(states, execution.id(), every, Room::DEFAULT)),
    }
    .transpose()
    .map_err(|error| states_failure(&error))?
    .map(|states| Noted { states, keeps: checkpoint_every.is_some(), skipped: 0, ui });
    let left = if checkpoint_every.is_some() {
        "interrupted; `--resume latest` goes on where the last state was kept"
    } else {
        "interrupted; nothing was sent and nothing is kept"
    };
    at_interrupt(ui, Failure::new(Exit::Interrupted, left));
    let (mut resumed, mut said) = (None, None);
    let mut go = |orders: Orders<'_>| {
        resumed = orders.resume.as_ref().map(|snapshot| snapshot.step());
        sandbox.run_shown(program, execution, content, orders, ui, &mut said)
    };
    let ran = match (resume, &mut keeper) {
        (Some(Wanted::Latest), Some(keeper)) => {
            let damaged = keeper.states.damaged();
            if keeper.states.kept().is_empty() && damaged.is_empty() {
                return Err(Failure::new(Exit::NotFound, "no state of this execution was kept").help(
                    "the same module, arguments, input, seed and limits make the same execution; --checkpoint-every \
                     keeps states",
                ));
            }
            say_damaged(damaged, ui);
            states::run_on(keeper, go, &mut |what| ui.note(what))
        }
        (Some(Wanted::Root(root)), Some(keeper)) => {
            let snapshot = taken_up(root, &mut keeper.states)?;
            ui.note(format!("taken up after {}", text::count(snapshot.step() as usize, "step")));
            let ran = go(Orders { resume: Some(Arc::new(snapshot)), keep: Some(keeper), ..Orders::default() });
            if let Err(HostFault::Snapshot(_)) = ran
                && keeper.states.mend(root).is_ok()
            {
                say_damaged(keeper.states.damaged(), ui);
            }
            ran
        }
        (None, Some(keeper)) => {
            say_damaged(keeper.states.damaged(), ui);
            go(Orders { keep: Some(keeper), ..Orders::default() })
        }
        (_, None) => go(Orders::default()),
    };
    let finished = ran.map_err(|fault| fault_failure(&fault))?;

    if let Some(out) = &out {
        write_out(out, &finished.files)?;
    }
    let whole = Trace { receipt: finished.receipt.clone(), roots: finished.history.clone() };
    if let Some(trace) = &trace {
        write_trace(trace, &whole)?;
    }
    let keeper = keeper.filter(|keeper| keeper.keeps);
    if let Some(keeper) = &keeper
        && let Err(error) = keeper.states.leave_trace(&whole)
    {
        ui.note(format!("`samebit replay` will need --trace: {error}"));
    }
    let mut view = RunView::new(&finished, program, sandbox.runtime.engine_build());
    view.resumed_from = resumed;
    view.states_kept = keeper.as_ref().map(|keeper| keeper.states.kept().len());
    view.states_skipped = keeper.map(|keeper| keeper.skipped).filter(|skipped| *skipped > 0);
    view.progress = said.map(|Said { done, total, text }| SaidView { done, total, text });
    show(&finished, program, &view, out.is_some(), ui);
    end(&finished, has_input, ui)
}

/// Keeps states and says of each that it does not keep; the run goes on.
struct Noted<'a> {
    states: States,
    keeps: bool,
    skipped: usize,
    ui: &'a Ui,
}

impl Keep for Noted<'_> {
    fn wants(&mut self, step: u32) -> bool {
        self.keeps && self.states.wants(step)
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        match self.states.add(checkpoint) {
            Ok(()) => Held::Kept,
            Err(error) => {
                self.skipped += 1;
                self.ui.note(format!("not kept: {error}"));
                Held::Refused
            }
        }
    }
}

impl Keeper for Noted<'_> {
    fn states(&mut self) -> &mut States {
        &mut self.states
    }
}

pub(super) fn say_damaged(damaged: Vec<Damaged>, ui: &Ui) {
    for Damaged { path, why } in damaged {
        ui.note(format!("{} cannot be used: {why}", path.display()));
    }
}

/// Prose for states that cannot be kept or had.
pub(super) fn states_failure(error: &StatesError) -> Failure {
    let (exit, help) = match error {
        StatesError::Unknown { .. } => (Exit::NotFound, "`--resume latest` takes what was kept last"),
        StatesError::InUse { .. } => (Exit::Refused, "wait for it to end, or give --states another folder"),
        StatesError::Snapshot(_) => {
            (Exit::Environment, "a file was damaged; `--resume latest` takes the latest state that can be had")
        }
        StatesError::Large { .. } => (Exit::Environment, "run it without --checkpoint-every"),
        StatesError::Io { .. } => (Exit::Environment, "give --states a folder that can be written"),
    };
    Failure::new(exit, error.to_string()).help(help)
}

fn taken_up(root: StateRoot, kept: &mut States) -> Result<Snapshot, Failure> {
    let damaged = kept.damaged();
    kept.resume(root).map_err(|error| match (&error, damaged.first()) {
        (StatesError::Unknown { .. }, Some(Damaged { path, why })) => {
            let what = format!("{error}, and {} cannot be used: {why}", path.display());
            Failure::new(Exit::Environment, what).help("`--resume latest` takes the latest state that can be had")
        }
        _ => states_failure(&error),
    })
}
