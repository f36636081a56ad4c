//! Runs the daemons of `host up` and `validator up`: signals, lifeline, session.

use crate::{
    exit::Exit,
    process,
    report::{Failure, Outcome, Ui},
};
use samebit_node::daemon::{NodeError, Shutdown};
use std::{io, sync::Arc, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// For work in a thread, such as a guest in the middle of a step, to notice the end.
const LAST_WORK: Duration = Duration::from_millis(500);

/// The signals that ask a process to end.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen. Needs a runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at the first.
    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// From now on Ctrl-C says `failure` and ends the program with its exit code. Only for work that may be dropped at any
/// moment; where signals cannot be watched, Ctrl-C ends the program as it always does.
pub fn at_interrupt(ui: &Ui, failure: Failure) {
    let ui = ui.clone();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    std::thread::spawn(move || {
        let interrupted = runtime.block_on(async {
            match signal(SignalKind::interrupt()) {
                Ok(mut interrupt) => interrupt.recv().await,
                Err(_) => None,
            }
        });
        if interrupted.is_some() {
            ui.failure(&failure);
            std::process::exit(i32::from(failure.exit.code()));
        }
    });
}

/// How a daemon hangs together with whoever started it.
#[derive(clap::Args)]
pub struct Ties {
    /// End when stdin does.
    #[arg(long, hide = true)]
    lifeline: bool,
    /// Leave the terminal's session.
    #[arg(long, hide = true)]
    apart: bool,
}

/// Serves until a signal comes, the lifeline ends, or the daemon does.
pub fn serve<F>(ties: &Ties, daemon: impl FnOnce(Shutdown) -> F) -> Outcome
where
    F: Future<Output = Result<(), NodeError>>,
{
    if ties.apart {
        process::leave_session();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot_start)?;
    let (stop, shutdown) = Shutdown::new();
    let stop = Arc::new(stop);
    if ties.lifeline {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            process::stdin_ended();
            stop.now();
        });
    }
    let result = runtime.block_on(async {
        let mut signals = Signals::new().map_err(cannot_start)?;
        let told = Arc::clone(&stop);
        tokio::spawn(async move {
            signals.any().await;
            told.now();
        });
        daemon(shutdown).await.map_err(|error| node_failure(&error))
    });
    runtime.shutdown_timeout(LAST_WORK);
    result.map(|()| Exit::Done)
}

fn cannot_start(error: io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("cannot start: {error}"))
}

/// Prose for why a daemon could not start, or had to end.
fn node_failure(error: &NodeError) -> Failure {
    let exit = match error {
        NodeError::Net(_) => Exit::Unreachable,
        NodeError::Chain(_) | NodeError::WrongChain { .. } | NodeError::Ledger(_) => Exit::LedgerInvalid,
        NodeError::Refused(_) => Exit::Refused,
        _ => Exit::Environment,
    };
    Failure::new(exit, error.to_string())
}
