//! A host's hands: brings content, loads modules, runs executions, sends outputs to the keeper.
//!
//! A run ends in a [`Done`]. What this machine or the network could not do is a fault and never a result.

use crate::{
    content::StoreContent,
    shelf::Shelf,
    states,
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
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{OnceCell, Semaphore, mpsc},
    task::{JoinError, spawn_blocking},
};

/// Compiled modules that are kept.
const PROGRAMS: usize = 8;
/// Pauses between tries to get or send content.
const AGAIN_LEAST: Duration = Duration::from_millis(200);
const AGAIN_MOST: Duration = Duration::from_secs(3);
/// Pause before an output that was refused is offered again.
const OFFER: Duration = Duration::from_secs(5);
/// Between two looks whether a run that waits for its module is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// Modules that are remembered as failing.
const BAD: usize = 1024;
/// Between two states of a run that are kept, so that a restart loses at most so much work.
const KEEP: Duration = Duration::from_secs(30);
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

/// Compiled modules, and those that do not load here.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    cells: VecDeque<(BlobId, Arc<OnceCell<Program>>)>,
    bad: BTreeMap<BlobId, String>,
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
            || matches!(
                error,
                // Wrong bytes came from a bad copy at the keeper, which sets it aside; its buyer can send another.
                TransferError::Blob(BlobError::Missing { .. } | BlobError::Corrupt { .. } | BlobError::Mismatch { .. })
            );
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
    /// Where states of runs under way are kept.
    pub(crate) states: PathBuf,
    /// Runs at once.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) programs: Arc<Mutex<Programs>>,
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
    /// Starts a run. `until`: when an output that nobody keeps is given up, rather than promised; `None` where it
    /// was promised before. However it ends, something is told, unless it was stopped.
    pub(crate) fn start(&self, run: RunId, execution: Execution, module: BlobRef, until: Option<Instant>) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (executor, stopped) = (self.clone(), Arc::clone(&stop));
        let work = async move { executor.attempt(run, &execution, &module, until, &stopped).await };
        report(run, Arc::clone(&stop), self.done.clone(), work);
        Running(stop)
    }

    /// Why runs of this module would fail here, if that is known.
    pub(crate) fn bad(&self, module: &BlobId) -> Option<String> {
        self.programs().bad.get(module).cloned()
    }

    fn programs(&self) -> std::sync::MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(
        &self,
        run: RunId,
        execution: &Execution,
        module: &BlobRef,
        until: Option<Instant>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Receipt, Fault> {
        let mut tries = 0;
        let mut finished = loop {
            // Until the ledger ends the run, content may still come.
            persist(stop, "fetching", || self.fetch(execution, module)).await?;
            let program = match self.program(module, stop).await {
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
        let receipt = finished.receipt.clone();
        let outputs = self.keep_output(finished).await?;
        self.send_output(&outputs, until, stop).await?;
        // From the commitment on this host owes the receipt, so it is on disk first.
        let (shelf, kept) = (self.shelf.clone(), receipt.clone());
        match spawn_blocking(move || shelf.keep(&run, &kept)).await {
            Ok(Ok(())) => Ok(receipt),
            Ok(Err(error)) => Err(Fault::Lasting(format!("keeping the receipt: {error}"))),
            Err(error) => Err(ended_early(&error)),
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

    /// The compiled module; compiled once, however many units want it, while other runs go on.
    async fn program(&self, module: &BlobRef, stop: &AtomicBool) -> Result<Program, Fault> {
        let cell = {
            let mut programs = self.programs();
            if let Some(reason) = programs.bad.get(&module.id) {
                return Err(Fault::Lasting(reason.clone()));
            }
            match programs.cells.iter().find(|(id, _)| *id == module.id) {
                Some((_, cell)) => Arc::clone(cell),
                None => {
                    if programs.cells.len() >= PROGRAMS {
                        programs.cells.pop_front();
                    }
                    let cell = Arc::new(OnceCell::new());
                    programs.cells.push_back((module.id, Arc::clone(&cell)));
                    cell
                }
            }
        };
        // On a task of its own: a run that is stopped meanwhile does not make the others begin anew.
        let (executor, wanted) = (self.clone(), *module);
        let loading = tokio::spawn(async move { cell.get_or_try_init(|| executor.load(wanted)).await.cloned() });
        tokio::select! {
            loaded = loading => loaded.unwrap_or_else(|error| Err(ended_early(&error))),
            () = stopped(stop) => Err(Fault::Stopped),
        }
    }

    async fn load(&self, module: BlobRef) -> Result<Program, Fault> {
        // A compilation needs a processor as a run does.
        let Ok(_slot) = self.slots.acquire().await else { return Err(Fault::Stopped) };
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        let loaded = spawn_blocking(move || {
            let bytes = store.read(&module).map_err(|error| Fault::from(TransferError::from(error)))?;
            Ok::<_, Fault>(runtime.load(&bytes).map_err(|error| match error {
                LoadError::Refused(refusal) => format!("the module is refused: {refusal}"),
                LoadError::Fault(fault) => fault.to_string(),
            }))
        });
        let reason = match loaded.await {
            Ok(loaded) => match loaded? {
                Ok(program) => return Ok(program),
                Err(reason) => reason,
            },
            Err(error) if error.is_panic() => String::from("compiling the module panicked"),
            Err(_) => return Err(Fault::Stopped),
        };
        let mut programs = self.programs();
        if programs.bad.len() >= BAD {
            programs.bad.pop_first();
        }
        programs.bad.insert(module.id, reason.clone());
        Err(Fault::Lasting(reason))
    }

    async fn execute(
        &self,
        run: RunId,
        execution: &Execution,
        program: Program,
        stop: &Arc<AtomicBool>,
    ) -> Result<Finished, Fault> {
        let (runtime, content, execution) = (self.runtime.clone(), StoreContent(self.store.clone()), execution.clone());
        let (stop, done, kept) = (Arc::clone(stop), self.done.clone(), self.states.clone());
        let ran = spawn_blocking(move || {
            states::run(&kept, KEEP, (&runtime, &program), &execution, &content, &mut |progress| {
                // Progress that finds no room is overtaken by the next.
                let _ = done.try_send(Done::Progress { run, root: progress.root, fuel: progress.fuel });
                if stop.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Go }
            })
        });
        match ran.await {
            Ok(Ok(finished)) => Ok(finished),
            Ok(Err(HostFault::Cancelled)) => Err(Fault::Stopped),
            Err(error) => Err(ended_early(&error)),
            // Content that went bad on this disk was set aside, and can be had again.
            Ok(Err(fault @ (HostFault::Content { .. } | HostFault::Tree { .. }))) => {
                Err(Fault::Passing(fault.to_string()))
            }
            Ok(Err(fault)) => Err(Fault::Lasting(fault.to_string())),
        }
    }

    async fn keep_output(&self, finished: Finished) -> Result<Vec<BlobRef>, Fault> {
        let store = self.store.clone();
        let kept = transfer::blocking(move || keep_output(&store, finished)).await;
        kept.map_err(|error| Fault::Lasting(error.to_string()))
    }

    /// A keeper that is full now may have room later. What nobody keeps is not promised: the run is given up.
    async fn send_output(&self, outputs: &[BlobRef], until: Option<Instant>, stop: &AtomicBool) -> Result<(), Fault> {
        loop {
            let refused = std::sync::Mutex::new(None);
            persist(stop, "sending", || async {
                let lacking = transfer::missing(&self.link, outputs).await?;
                match transfer::offer_all(&self.link, &self.store, lacking, &Moved::default()).await {
                    Err(TransferError::RefusedBlob { blob, len }) => {
                        *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((blob, len));
                        Ok(())
                    }
                    sent => sent,
                }
            })
            .await?;
            let Some((blob, len)) = refused.into_inner().unwrap_or_else(PoisonError::into_inner) else {
                return Ok(());
            };
            let reason = format!("the keeper does not keep {blob} ({len} bytes) of the output");
            match until {
                // It was there when it was promised, or the promise stands anyway: the receipt is owed.
                None => {
                    tracing::warn!(reason, "output not kept");
                    return Ok(());
                }
                Some(until) if Instant::now() + OFFER >= until => return Err(Fault::Lasting(reason)),
                Some(_) => tracing::warn!(reason, "again"),
            }
            tokio::select! {
                () = tokio::time::sleep(OFFER) => {}
                () = stopped(stop) => return Err(Fault::Stopped),
            }
        }
    }
}

/// Waits for `work` and tells how it went, even if it panics: a run of which nothing is heard would stay under way
/// for ever in the mind of the host, and be answered for.
fn report(
    run: RunId,
    stop: Arc<AtomicBool>,
    done: mpsc::Sender<Done>,
    work: impl Future<Output = Result<Receipt, Fault>> + Send + 'static,
) {
    let work = tokio::spawn(work);
    tokio::spawn(async move {
        let reason = match work.await {
            Ok(Ok(receipt)) => {
                let _ = done.send(Done::Finished { run, receipt }).await;
                return;
            }
            Ok(Err(_)) if stop.load(Ordering::Relaxed) => return,
            Ok(Err(Fault::Passing(reason) | Fault::Lasting(reason))) => reason,
            Ok(Err(Fault::Stopped)) => String::from("it ended before its time"),
            Err(error) if error.is_panic() => String::from("this host's own code panicked"),
            Err(_) => String::from("it was cancelled"),
        };
        let _ = done.send(Done::Fault { run, reason }).await;
    });
}

/// Longest file that is held in one piece while it is stored.
const WHOLE_MAX: u64 = 1 << 20;

/// Stores what a run put out, and names it. Large files go part by part.
fn keep_output(store: &BlobStore, finished: Finished) -> Result<Vec<BlobRef>, BlobError> {
    let Finished { stdout, files, tree, .. } = finished;
    let small = files.iter().filter(|(_, bytes)| bytes.len() <= WHOLE_MAX).map(|(_, bytes)| bytes.to_vec());
    let mut kept = store.put_many([stdout, tree.to_bytes()].into_iter().chain(small))?;
    for ((_, bytes), listed) in files.iter().zip(tree.files()).filter(|file| file.0.1.len() > WHOLE_MAX) {
        if !store.has(&listed.blob) {
            let mut writer = store.writer(listed.blob)?;
            bytes.parts().try_for_each(|part| writer.write(part))?;
            writer.finish()?;
        }
        kept.push(listed.blob);
    }
    Ok(kept)
}

/// What a task's or closure's early end means: only a daemon that ends cancels them.
fn ended_early(error: &JoinError) -> Fault {
    if error.is_panic() { Fault::Lasting(String::from("this host's own code panicked")) } else { Fault::Stopped }
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
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
        Some((_, bytes)) => {
            let mut bent = bytes.to_vec();
            bend(&mut bent);
            *bytes = bent.into();
        }
        None => bend(&mut finished.stdout),
    }
    let files = finished.files.iter();
    let files = files.map(|(path, bytes)| TreeFile { path: path.clone(), blob: bytes.blob() }).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::id::JobId;

    #[test]
    fn a_run_that_panics_or_ends_for_no_reason_is_a_fault_and_one_that_was_stopped_is_silent() {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            let (done, mut told) = mpsc::channel(4);
            let run = |attempt| RunId { job: JobId([1; 32]), unit: 0, attempt };
            let going = || Arc::new(AtomicBool::new(false));
            report(run(0), going(), done.clone(), async { panic!("a bug") });
            assert!(matches!(told.recv().await, Some(Done::Fault { run: of, .. }) if of == run(0)));
            report(run(1), going(), done.clone(), async { Err(Fault::Stopped) });
            assert!(matches!(told.recv().await, Some(Done::Fault { run: of, .. }) if of == run(1)));
            report(run(2), Arc::new(AtomicBool::new(true)), done, async { Err(Fault::Stopped) });
            assert!(told.recv().await.is_none(), "whoever stopped it wants to hear nothing");
        });
    }

    #[test]
    fn wrong_bytes_from_the_keeper_are_asked_for_again_and_not_a_reason_to_withdraw() {
        let error = BlobError::Mismatch { expected: BlobRef::of(b"right"), found: String::from("wrong") };
        assert!(matches!(Fault::from(TransferError::Blob(error)), Fault::Passing(_)));
        let error = BlobError::Exists { path: "there".into() };
        assert!(matches!(Fault::from(TransferError::Blob(error)), Fault::Lasting(_)));
    }
}
