//! The guest's thread, and what it asks of the caller's: content, and leave to go on.
//!
//! Machine code needs a native stack of a known size, so the guest gets a thread of its own. The caller's [`Content`] and
//! watch stay where they are and need not be `Send`.

use crate::{
    Checkpoint, Content, Finished, Flow, Held, HostFault, Keep, Orders, Program, Progress, Said, Tracking,
    engine::{STACK_BYTES, STACK_HOST_BYTES},
    run::{self, Way},
    stop::Stop,
    tensors::Computing,
};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::Execution,
    unit::Fuel,
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// How often the watch is called while nothing happens. Has no part in any outcome.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// What both threads see of a run under way.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) stop: Arc<Stop>,
    fuel: AtomicU64,
    step: AtomicU32,
    said: Mutex<Option<Said>>,
}

impl Live {
    pub(crate) fn set_fuel(&self, fuel: u64) {
        self.fuel.store(fuel, Ordering::Relaxed);
    }

    pub(crate) fn set_step(&self, step: u32) {
        self.step.store(step, Ordering::Relaxed);
    }

    pub(crate) fn set_said(&self, said: Said) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    fn take_said(&self) -> Option<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn progress(&self) -> Progress {
        Progress { step: self.step.load(Ordering::Relaxed), fuel: Fuel(self.fuel.load(Ordering::Relaxed)), root: None }
    }
}

/// What the guest's thread asks.
enum Ask {
    Blob(BlobRef, Sender<Result<Arc<[u8]>, String>>),
    Piece(BlobRef, u64, Sender<Result<Option<Arc<[u8]>>, String>>),
    Tree(TreeRef, Sender<Result<Tree, String>>),
    Go(Progress, Sender<(Flow, bool)>),
    Keep(Box<Checkpoint>, Sender<Held>),
    Done(Box<Result<Finished, HostFault>>),
}

/// The caller, seen from the guest's thread.
pub(crate) struct Remote {
    asks: Sender<Ask>,
}

impl Remote {
    fn ask<T>(&self, ask: impl FnOnce(Sender<T>) -> Ask) -> Option<T> {
        let (answer, wait) = mpsc::channel();
        self.asks.send(ask(answer)).ok()?;
        wait.recv().ok()
    }

    /// Shows progress and asks whether to go on, and whether to keep this state. A caller that is gone means no.
    pub(crate) fn go(&self, progress: Progress) -> (Flow, bool) {
        self.ask(|answer| Ask::Go(progress, answer)).unwrap_or((Flow::Stop, false))
    }

    /// Has a state kept; `feed` hands its pages over meanwhile.
    pub(crate) fn keep(&self, checkpoint: Checkpoint, feed: impl FnOnce()) -> Held {
        let (answer, wait) = mpsc::channel();
        if self.asks.send(Ask::Keep(Box::new(checkpoint), answer)).is_err() {
            return Held::Refused;
        }
        feed();
        wait.recv().unwrap_or(Held::Refused)
    }
}

fn gone() -> String {
    "the run's caller is gone".to_string()
}

impl Content for Remote {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        let bytes = self
            .ask(|answer| Ask::Blob(*blob, answer))
            .unwrap_or_else(|| Err(gone()))
            .map_err(|reason| format!("{} of {} bytes: {reason}", blob.id, blob.len))?;
        if bytes.len() as u64 == blob.len.0 {
            Ok(bytes)
        } else {
            Err(format!("{} of {} bytes: {} bytes were given", blob.id, blob.len, bytes.len()))
        }
    }

    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        self.ask(|answer| Ask::Piece(*blob, index, answer))
            .unwrap_or_else(|| Err(gone()))
            .map_err(|reason| format!("{} of {} bytes, piece {index}: {reason}", blob.id, blob.len))
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        let given = self.ask(|answer| Ask::Tree(*tree, answer)).unwrap_or_else(|| Err(gone()))?;
        if given.tree_ref() == *tree { Ok(given) } else { Err(format!("{} was given", given.tree_ref().id)) }
    }
}

/// Runs on a new thread and answers it from this one until it is done.
pub(crate) fn serve(
    program: &Program,
    execution: &Execution,
    content: &dyn Content,
    (tracking, computing): (Tracking, &Computing),
    orders: Orders<'_>,
    watch: &mut dyn FnMut(Progress) -> Flow,
) -> Result<Finished, HostFault> {
    let Orders { resume, keep, hear } = orders;
    let keeps = keep.is_some();
    let live = Arc::new(Live::default());
    let (asks, answers) = mpsc::channel();
    let guest = {
        let (program, execution, live) = (program.clone(), execution.clone(), Arc::clone(&live));
        let computing = computing.clone();
        move || {
            let remote = || Remote { asks: asks.clone() };
            let way = Way { tracking, computing, keeps, resume };
            let done = run::run(&program, &execution, &remote, &live, way);
            // Nobody is left to tell when the caller has cancelled.
            let _ = asks.send(Ask::Done(Box::new(done)));
        }
    };
    thread::Builder::new()
        .name("samebit-guest".to_string())
        .stack_size(STACK_BYTES + STACK_HOST_BYTES)
        .spawn(guest)
        .map_err(|error| HostFault::Thread { reason: error.to_string() })?;
    // Also when the caller's content or watch panics: the guest must not go on without it.
    let _cancelling = Cancelling(&live.stop);
    answer(&answers, &live, content, keep, hear, watch)
}

/// Cancels the run when its caller is done with it, however that came.
struct Cancelling<'a>(&'a Stop);

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn answer(
    asks: &Receiver<Ask>,
    live: &Live,
    content: &dyn Content,
    mut keep: Option<&mut dyn Keep>,
    mut hear: Option<&mut dyn FnMut(Said)>,
    watch: &mut dyn FnMut(Progress) -> Flow,
) -> Result<Finished, HostFault> {
    // A guest that stopped waiting for its answer has ended, and says so next.
    loop {
        let asked = asks.recv_timeout(TICK);
        if let (Some(hear), Ok(Ask::Go(..) | Ask::Done(_)) | Err(RecvTimeoutError::Timeout)) = (&mut hear, &asked)
            && let Some(said) = live.take_said()
        {
            hear(said);
        }
        match asked {
            Ok(Ask::Blob(blob, answer)) => {
                let _ = answer.send(content.read(&blob));
            }
            Ok(Ask::Piece(blob, index, answer)) => {
                let _ = answer.send(content.piece(&blob, index));
            }
            Ok(Ask::Tree(tree, answer)) => {
                let _ = answer.send(content.tree(&tree));
            }
            Ok(Ask::Go(progress, answer)) => {
                let flow = watch(progress);
                let wanted = keep.as_mut().is_some_and(|keep| keep.wants(progress.step));
                let _ = answer.send((flow, wanted));
            }
            Ok(Ask::Keep(mut checkpoint, answer)) => {
                let held = keep.as_mut().map_or(Held::Refused, |keep| keep.keep(&mut checkpoint));
                // Pages that were not wanted are not waited for.
                drop(checkpoint);
                let _ = answer.send(held);
            }
            Ok(Ask::Done(done)) => return *done,
            Err(RecvTimeoutError::Timeout) => match watch(live.progress()) {
                Flow::Go => {}
                Flow::Stop => return Err(HostFault::Cancelled),
            },
            Err(RecvTimeoutError::Disconnected) => {
                return Err(HostFault::Thread { reason: "it ended without an answer".to_string() });
            }
        }
    }
}
