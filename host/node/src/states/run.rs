//! Runs that keep states and go on from them: as a host does, and as whoever has a way of keeping of its own.

use super::{Damaged, Room, States, StatesError};
use samebit_runtime::{Checkpoint, Content, Finished, Flow, Held, HostFault, Keep, Orders, Program, Progress, Runtime};
use samebit_spec::{execution::Execution, task::TaskForm};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Runs an execution as a host does: from the state that an earlier process kept last, keeping one every `pause`, and none
/// any more once there is a receipt. States that cannot be kept or taken up are done without: the run is the host's
/// duty, and they only save it time.
///
/// # Errors
/// [`HostFault`], as [`Runtime::run`] has it.
pub fn run(
    root: &Path,
    pause: Duration,
    (runtime, program): (&Runtime, &Program),
    execution: &Execution,
    content: &dyn Content,
    watch: &mut dyn FnMut(Progress) -> Flow,
) -> Result<Finished, HostFault> {
    let plain = |watch: &mut dyn FnMut(Progress) -> Flow| runtime.run(program, execution, content, watch);
    if program.form() == TaskForm::Command {
        return plain(watch);
    }
    let states = match States::open(root, execution.id(), 1, Room::DEFAULT) {
        Ok(states) => states,
        Err(error) => {
            tracing::warn!(%error, "no states are kept of this run");
            return plain(watch);
        }
    };
    let mut timed = Timed { states, last: Instant::now(), pause, failed: false };
    let ran = run_on(&mut timed, |orders| runtime.run_with(program, execution, content, orders, watch), &mut |said| {
        tracing::warn!(execution = %execution.id(), "{said}");
    });
    if ran.is_ok()
        && let Err(error) = timed.states.remove()
    {
        tracing::warn!(%error, "states of a run that is done");
    }
    ran
}

/// Whatever has states and keeps them in a way of its own.
pub trait Keeper: Keep {
    /// The states.
    fn states(&mut self) -> &mut States;
}

impl Keeper for States {
    fn states(&mut self) -> &mut States {
        self
    }
}

/// Runs from the latest state that can be taken up, and from the beginning when there is none. Packs that turn out to be
/// damaged are set aside, and an earlier state is tried; `say` tells of it.
///
/// # Errors
/// [`HostFault`] of the run, [`HostFault::Snapshot`] when damaged packs cannot be set aside.
pub fn run_on(
    keeper: &mut dyn Keeper,
    mut run: impl FnMut(Orders<'_>) -> Result<Finished, HostFault>,
    say: &mut dyn FnMut(String),
) -> Result<Finished, HostFault> {
    loop {
        for Damaged { path, why } in keeper.states().damaged() {
            say(format!("{} cannot be used: {why}", path.display()));
        }
        let Some(latest) = keeper.states().kept().last().copied() else {
            return run(Orders { resume: None, keep: Some(as_keep(keeper)), ..Orders::default() });
        };
        let refused = match keeper.states().resume(latest.root) {
            Ok(snapshot) => {
                say(format!("taken up after step {}", latest.step));
                let orders =
                    Orders { resume: Some(Arc::new(snapshot)), keep: Some(as_keep(keeper)), ..Orders::default() };
                match run(orders) {
                    Err(HostFault::Snapshot(refused)) => refused,
                    ended => return ended,
                }
            }
            Err(StatesError::Snapshot(refused)) => refused,
            Err(error) => {
                say(format!("{error}: the run begins anew"));
                return run(Orders { resume: None, keep: Some(as_keep(keeper)), ..Orders::default() });
            }
        };
        say(format!("the state after step {} is refused: {refused}", latest.step));
        if let Err(error) = keeper.states().mend(latest.root) {
            say(format!("{error}"));
            return Err(refused.into());
        }
    }
}

fn as_keep(keeper: &mut dyn Keeper) -> &mut dyn Keep {
    keeper
}

/// Keeps a state now and then. One that cannot be kept is the last that is tried.
struct Timed {
    states: States,
    last: Instant,
    pause: Duration,
    failed: bool,
}

impl Keep for Timed {
    fn wants(&mut self, _: u32) -> bool {
        !self.failed && self.last.elapsed() >= self.pause
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        let held = self.states.keep(checkpoint);
        self.failed = held == Held::Refused;
        self.last = Instant::now();
        held
    }
}

impl Keeper for Timed {
    fn states(&mut self) -> &mut States {
        &mut self.states
    }
}
