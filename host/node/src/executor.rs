//! A host's hands: brings content, loads modules, runs executions, sends outputs to the keeper.
//!
//! A run ends in a [`Done`]. What this machine or the network could not do is a fault and never a result.

use crate::{
    content::StoreContent,
    shelf::Shelf,
    transfer::{self, Moved, TransferError},
};
use samebit_blobs::{BlobError, BlobStore};
use samebit_net::Link;
use samebit_runtime::{Finished, Flow, HostFault, LoadError, Program, Runtime};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile},
    execution::Execution,
    id::{BlobId, StateRoot},
    job::RunId,
    receipt::{Output, Receipt},
    unit::Fuel,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::spawn_blocking,
};

/// Compiled modules that are kept.
const PROGRAMS: usize = 8;
/// Pauses between tries to get or send content.
const AGAIN_LEAST: Duration = Duration::from_millis(200);
const AGAIN_MOST: Duration = Duration::from_secs(3);
/// Runs of one execution whose content went bad on this disk, before it is given up.
const TRIES: usize = 3;

/// What the executor tells.
#[derive(Debug)]
pub(crate) enum Done {
    /// A root was reached.
    Progress { run: RunId, root: Option<StateRoot>, fuel: Fuel },
    /// There is a receipt; it and its output are safe.
    Finished { run: RunId, receipt: Receipt },
    /// There will be none.
    Fault { run: RunId, reason: String },
}

/// Why an attempt has no receipt.
enum Fault {
    /// Trying again may help.
    Passing(String),
    /// It will not.
    Lasting(String),
    /// Nobody wants it any more.
    Stopped,
}

impl From<TransferError> for Fault {
    fn from(error: TransferError) -> Self {
        let passing = error.may_pass()
            || matches!(error, TransferError::Blob(BlobError::Missing { .. } | BlobError::Corrupt { .. }));
        if passing { Self::Passing(error.to_string()) } else { Self::Lasting(error.to_string()) }
    }
}

/// Runs executions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) link: Link,
    pub(crate) store: BlobStore,
    pub(crate) runtime: Runtime,
    pub(crate) shelf: Shelf,
    /// Runs at once.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) programs: Arc<Mutex<VecDeque<(BlobId, Program)>>>,
    /// Whether it shows what it did not compute.
    pub(crate) lies: bool,
    pub(crate) done: mpsc::Sender<Done>,
}

/// A run under way. Dropped, it is stopped.
pub(crate) struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Executor {
    /// Starts a run.
    pub(crate) fn start(&self, run: RunId, execution: Execution, module: BlobRef) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (executor, stopped) = (self.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let done = match executor.attempt(run, &execution, &module, &stopped).await {
                Ok(receipt) => Done::Finished { run, receipt },
                Err(Fault::Stopped) => return,
                Err(Fault::Passing(reason) | Fault::Lasting(reason)) => Done::Fault { run, reason },
            };
            let _ = executor.done.send(done).await;
        });
        Running(stop)
    }

    async fn attempt(
        &self,
        run: RunId,
        execution: &Execution,
        module: &BlobRef,
        stop: &Arc<AtomicBool>,
    ) -> Result<Receipt, Fault> {
        let mut tries = 0;
        let mut finished = loop {
            // Until the ledger ends the run, content may still come.
            persist(stop, "fetching", || self.fetch(execution, module)).await?;
            let program = match self.program(module).await {
                Err(Fault::Passing(reason)) if tries < TRIES => {
                    tracing::warn!(%run, reason, "again");
                    tries += 1;
                    continue;
                }
                program => program?,
            };
            let Ok(_slot) = self.slots.acquire().await else { return Err(Fault::Stopped) };
            match self.execute(run, execution, program, stop).await {
                Err(Fault::Passing(reason)) if tries < TRIES => tracing::warn!(%run, reason, "again"),
                finished => break finished?,
            }
            tries += 1;
        };
        if self.lies {
            falsify(&mut finished);
        }
        let outputs = self.keep_output(&finished).await?;
        persist(stop, "sending", || self.send_output(&outputs)).await?;
        // From the commitment on this host owes the receipt, so it is on disk first.
        let (shelf, receipt) = (self.shelf.clone(), finished.receipt.clone());
        let kept = spawn_blocking(move || shelf.keep(&run, &receipt)).await;
        match kept {
            Ok(Ok(())) => Ok(finished.receipt),
            Ok(Err(error)) => Err(Fault::Lasting(format!("keeping the receipt: {error}"))),
            Err(_) => Err(Fault::Stopped),
        }
    }

    async fn fetch(&self, execution: &Execution, module: &BlobRef) -> Result<(), TransferError> {
        let moved = Moved::default();
        let wanted = [*module, execution.stdin].into_iter().filter(|blob| blob.len.0 > 0).collect();
        transfer::get_all(&self.link, &self.store, wanted, &moved).await?;
        if execution.stdin.len.0 == 0 {
            let store = self.store.clone();
            transfer::blocking(move || store.put(&[])).await?;
        }
        for mount in &execution.mounts {
            transfer::get_tree(&self.link, &self.store, &mount.tree, &moved).await?;
        }
        Ok(())
    }

    /// The compiled module; compiled once, however many units want it.
    async fn program(&self, module: &BlobRef) -> Result<Program, Fault> {
        let mut programs = self.programs.lock().await;
        if let Some((_, program)) = programs.iter().find(|(id, _)| *id == module.id) {
            return Ok(program.clone());
        }
        let (store, runtime, wanted) = (self.store.clone(), self.runtime.clone(), *module);
        let loaded = spawn_blocking(move || {
            let bytes = store.read(&wanted).map_err(|error| Fault::from(TransferError::from(error)))?;
            runtime.load(&bytes).map_err(|error| match error {
                LoadError::Refused(refusal) => Fault::Lasting(format!("the module is refused: {refusal}")),
                LoadError::Fault(fault) => Fault::Lasting(fault.to_string()),
            })
        });
        let program = loaded.await.unwrap_or(Err(Fault::Stopped))?;
        if programs.len() >= PROGRAMS {
            programs.pop_front();
        }
        programs.push_back((module.id, program.clone()));
        Ok(program)
    }

    async fn execute(
        &self,
        run: RunId,
        execution: &Execution,
        program: Program,
        stop: &Arc<AtomicBool>,
    ) -> Result<Finished, Fault> {
        let (runtime, content, execution) = (self.runtime.clone(), StoreContent(self.store.clone()), execution.clone());
        let (stop, done) = (Arc::clone(stop), self.done.clone());
        let ran = spawn_blocking(move || {
            runtime.run(&program, &execution, &content, &mut |progress| {
                // Progress that finds no room is overtaken by the next.
                let _ = done.try_send(Done::Progress { run, root: progress.root, fuel: progress.fuel });
                if stop.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Go }
            })
        });
        match ran.await {
            Ok(Ok(finished)) => Ok(finished),
            Ok(Err(HostFault::Cancelled)) | Err(_) => Err(Fault::Stopped),
            // Content that went bad on this disk was set aside, and can be had again.
            Ok(Err(fault @ (HostFault::Content { .. } | HostFault::Tree { .. }))) => {
                Err(Fault::Passing(fault.to_string()))
            }
            Ok(Err(fault)) => Err(Fault::Lasting(fault.to_string())),
        }
    }

    async fn keep_output(&self, finished: &Finished) -> Result<Vec<BlobRef>, Fault> {
        let mut blobs = vec![finished.stdout.clone(), finished.tree.to_bytes()];
        blobs.extend(finished.files.iter().map(|(_, bytes)| bytes.clone()));
        let store = self.store.clone();
        transfer::blocking(move || store.put_many(blobs)).await.map_err(|error| Fault::Lasting(error.to_string()))
    }

    async fn send_output(&self, outputs: &[BlobRef]) -> Result<(), TransferError> {
        let lacking = transfer::missing(&self.link, outputs).await?;
        match transfer::put_all(&self.link, &self.store, lacking, &Moved::default()).await {
            // A keeper that is full costs the buyer the output, not this host the work.
            Err(error @ TransferError::RefusedBlob { .. }) => {
                tracing::warn!(%error, "output not kept");
                Ok(())
            }
            sent => sent,
        }
    }
}

/// Tries until it works, cannot work, or nobody wants it any more.
async fn persist<F>(stop: &AtomicBool, what: &str, act: impl Fn() -> F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), TransferError>>,
{
    let mut pause = AGAIN_LEAST;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Fault::Stopped);
        }
        match act().await.map_err(Fault::from) {
            Err(Fault::Passing(reason)) => tracing::debug!(what, reason, "again"),
            other => return other,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MOST);
    }
}

/// Turns an honest result into a lie with real bytes behind it, so that an auditor can fetch and disprove it.
fn falsify(finished: &mut Finished) {
    let result = finished.files.iter_mut().find(|(path, bytes)| path == abi::RESULT_NAME && !bytes.is_empty());
    match result {
        Some((_, bytes)) => bend(bytes),
        None => bend(&mut finished.stdout),
    }
    let files = finished.files.iter();
    let files = files.map(|(path, bytes)| TreeFile { path: path.clone(), blob: BlobRef::of(bytes) }).collect();
    // The same paths as before, so they form a tree.
    if let Ok(tree) = Tree::new(files) {
        finished.tree = tree;
    }
    finished.receipt.output = Output { stdout: BlobRef::of(&finished.stdout), tree: finished.tree.tree_ref() };
}

/// Changes a digit, or else a byte, or adds one.
fn bend(bytes: &mut Vec<u8>) {
    if let Some(digit) = bytes.iter_mut().find(|byte| byte.is_ascii_digit()) {
        *digit = b'0' + (*digit - b'0' + 1) % 10;
    } else if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    } else {
        bytes.push(b'!');
    }
}
