//! Order of a run: instantiate, initialise, step, finish; a root after each; one outcome (`spec/03-execution.md`,
//! sections 4 to 8).
//!
//! A *stretch* is the guest's work between two roots. It runs on an allowance of fuel, and it either ends, and
//! its state is committed, or it does not, and the state before it stands.

use crate::{
    Checkpoint, Content, Finished, Flow, Held, HostFault, Program, Progress, Snapshot, SnapshotError, Tracking,
    dirty::{self, Tracker},
    engine::{CHUNK, Entry, Left, Machine, PAGE_BYTES},
    guest::{Guest, Halt, Meter},
    pages::{Changed, Hash, MemoryTree, ZERO},
    serve::{Live, Remote},
    snapshot::{self, Pages},
    tensors::{Computing, Tensors},
};
use samebit_rewrite::Executable;
use samebit_spec::{
    abi::StepCode,
    content::{BlobRef, Tree, TreeFile, folders_begun},
    execution::{Execution, Limit, Outcome, Trap},
    history,
    id::StateRoot,
    param,
    receipt::{Output, Receipt},
    state::{self, LEAF_BYTES, MemoryRoot, StateImage},
    task::TaskForm,
    tensor::host,
    unit::Fuel,
};
use samebit_wasi::{Config, OutputBytes, Wasi};
use std::sync::Arc;

/// Most pages that any memory may grow to: its last page stays free, so that the end of memory is a number of 32
/// bits.
const PAGES_MAX: u64 = 65_535;

/// Runs `execution` to its outcome on this thread.
pub(crate) fn run(
    program: &Program,
    execution: &Execution,
    remote: &dyn Fn() -> Remote,
    live: &Arc<Live>,
    way: Way,
) -> Result<Finished, HostFault> {
    let executable = &program.executable;
    if execution.module != executable.module.id {
        return Err(HostFault::WrongModule { wanted: execution.module, given: executable.module.id });
    }
    if execution.tensor_ops.0 > host::VERSION {
        return Err(HostFault::TensorOps { wanted: execution.tensor_ops });
    }
    let content = remote();
    let config = world(execution, &content)?;
    let mut tensors = Tensors::new(way.computing.clone(), execution.tensor_ops.0 != 0);
    let (wasi, mut ledger) = match &way.resume {
        None => {
            let wasi = Wasi::new(config);
            let ledger = Committed::blank(execution, &wasi);
            (wasi, ledger)
        }
        Some(snapshot) => {
            let (wanted, found) = (execution.id(), snapshot.execution());
            if wanted != found {
                return Err(SnapshotError::Execution { wanted, found }.into());
            }
            let piece = |hash: &[u8; 32]| {
                let at = snapshot.pieces.get(hash).ok_or_else(|| "it is in none of the packs".to_string())?;
                snapshot.at(*at, &|| "it".to_string()).map_err(|error| error.to_string())
            };
            let (world, live_tensors) = Tensors::split(&snapshot.world)?;
            let wasi =
                Wasi::restore(config, &world, snapshot.image.wasi, &mut { piece }).map_err(SnapshotError::from)?;
            let memory = u64::from(snapshot.image.memory_pages) * PAGE_BYTES;
            let left = execution.limits.memory.0.saturating_sub(memory);
            tensors.restore(&live_tensors, &snapshot.image.tensors, left, &mut { piece })?;
            let history = snapshot.roots.clone();
            let past = history.iter().fold([0; 32], |past, root| history::past(&past, root));
            (wasi, Committed { image: snapshot.image.clone(), history, past })
        }
    };
    if u64::from(executable.memory_min_pages) * PAGE_BYTES > execution.limits.memory.0 {
        ledger.repeat(0, 0);
        return ledger.finish(Outcome::Exhausted { limit: Limit::Memory }, &wasi, &content);
    }
    let own = executable.memory_max_pages.map_or(PAGES_MAX, u64::from).min(PAGES_MAX);
    let guest = Guest {
        wasi,
        tensors,
        memory_max: execution.limits.memory.0,
        pages_max: u32::try_from(own).unwrap_or(u32::MAX),
        content: remote(),
        meter: Meter::default(),
        live: Arc::clone(live),
    };
    if live.stop.is_set() {
        return Err(HostFault::Cancelled);
    }
    let mut run = Run {
        tracker: None,
        tree: MemoryTree::new(),
        changed: Vec::new(),
        told: 0,
        machine: program.code.machine(guest)?,
        execution,
        executable,
        way,
    };
    let outcome = run.drive(&mut ledger, &content)?;
    ledger.finish(outcome, &run.machine.guest().wasi, &content)
}

/// What the guest's world is made of.
fn world(execution: &Execution, content: &Remote) -> Result<Config, HostFault> {
    let mut mounts = Vec::with_capacity(execution.mounts.len());
    for mount in &execution.mounts {
        let tree = content.tree(&mount.tree).map_err(|reason| HostFault::Tree {
            tree: mount.tree,
            path: mount.path.clone(),
            reason,
        })?;
        mounts.push((mount.clone(), tree));
    }
    Ok(Config {
        args: execution.args.clone(),
        env: execution.env.clone(),
        stdin: execution.stdin,
        seed: execution.seed,
        unit: execution.unit,
        mounts,
        limits: execution.limits,
        stderr_kept: param::STDERR_KEPT,
    })
}

/// The last state that was committed to, and the roots up to it.
struct Committed {
    image: StateImage,
    history: Vec<StateRoot>,
    /// What the next state says of them.
    past: [u8; 32],
}

impl Committed {
    /// Before instantiation: no memory, no globals, the world untouched. Not yet in the history.
    fn blank(execution: &Execution, wasi: &Wasi) -> Self {
        let image = StateImage {
            execution: execution.id(),
            step: 0,
            past: [0; 32],
            fuel: Fuel::ZERO,
            memory_pages: 0,
            memory: MemoryRoot::default(),
            globals: Vec::new(),
            dropped_data: Vec::new(),
            dropped_elements: Vec::new(),
            wasi: wasi.root(),
            stdout: wasi.stdout_blob(),
            tensors: Vec::new(),
        };
        Self { image, history: Vec::new(), past: [0; 32] }
    }

    /// Names the state as it is.
    fn push(&mut self) {
        self.image.past = self.past;
        let root = self.image.root();
        self.past = history::past(&self.past, &root);
        self.history.push(root);
    }

    /// Commits to the state before the stretch once more, with the fuel that the stretch used.
    fn repeat(&mut self, step: u32, fuel: u64) {
        self.image.step = step;
        self.image.fuel = Fuel(fuel);
        self.push();
    }

    /// The result. Output is what host calls have written, those of a stretch that did not end included: unlike
    /// memory after a trap it is the same on every processor, and a task that fails late has said why.
    fn finish(self, outcome: Outcome, world: &Wasi, content: &Remote) -> Result<Finished, HostFault> {
        let mut files = world.output_files(content).map_err(|reason| HostFault::Content { reason })?;
        let tree = output_tree(&mut files);
        let (stdout, stderr) = (world.stdout(), world.stderr().to_vec());
        let output = Output { stdout: BlobRef::of(&stdout), tree: tree.tree_ref() };
        let receipt = Receipt {
            execution: self.image.execution,
            outcome,
            output,
            fuel: self.image.fuel,
            steps: self.image.step,
            history: state::history_root(&self.history),
        };
        Ok(Finished { receipt, stdout, stderr, files, tree, history: self.history })
    }
}

/// The tree of the guest's files. A guest may make paths that no tree can hold and more files than a tree may
/// have: the former are left out, of the latter the first by path are kept, and so of folders.
fn output_tree(files: &mut Vec<(String, OutputBytes)>) -> Tree {
    let entry = |(path, bytes): &(String, OutputBytes)| TreeFile { path: path.clone(), blob: bytes.blob() };
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.retain(|file| Tree::new(vec![TreeFile { path: file.0.clone(), blob: BlobRef::default() }]).is_ok());
    files.truncate(param::TREE_FILES_MAX);
    let (mut before, mut folders, mut kept) = ("", 0, 0);
    for (path, _) in files.iter() {
        folders += folders_begun(before, path).count();
        if folders > param::TREE_FOLDERS_MAX {
            break;
        }
        kept += 1;
        before = path;
    }
    files.truncate(kept);
    match Tree::new(files.iter().map(entry).collect()) {
        Ok(tree) => tree,
        // A file system has each path once and nothing below a file, so only a fault of `samebit-wasi` leads here;
        // it would be the same on every host.
        Err(_) => {
            files.clear();
            Tree::new(Vec::new()).unwrap_or_else(|_| unreachable!("a tree of no files breaks no rule"))
        }
    }
}

/// How a stretch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Returned(StepCode),
    Exited(u32),
    Trapped(Trap),
    OutOfFuel(Limit),
}

/// How a run is to be done. No receipt depends on it.
pub(crate) struct Way {
    pub(crate) tracking: Tracking,
    pub(crate) computing: Computing,
    /// Whether states are to be kept.
    pub(crate) keeps: bool,
    pub(crate) resume: Option<Arc<Snapshot>>,
}

/// Memory up to which it is all hashed for every root, in bytes: to follow it would cost more.
const SMALL: usize = 1 << 20;

struct Run<'a> {
    /// Declared before the machine, so that nothing follows its memory any more when that goes.
    tracker: Option<Tracker>,
    tree: MemoryTree,
    /// By leaf: whether it changed since the last checkpoint. Empty when none is to be kept.
    changed: Vec<bool>,
    /// Roots that they have had.
    told: usize,
    machine: Box<dyn Machine>,
    execution: &'a Execution,
    executable: &'a Executable,
    way: Way,
}

impl Run<'_> {
    fn drive(&mut self, ledger: &mut Committed, content: &Remote) -> Result<Outcome, HostFault> {
        let (mut step, mut end) = match self.way.resume.take() {
            None => (0, self.stretch(Self::begin)?),
            Some(snapshot) => {
                self.resume(&snapshot)?;
                self.told = ledger.history.len();
                let step = ledger.image.step;
                if step >= self.execution.limits.steps {
                    return Ok(Outcome::Exhausted { limit: Limit::Steps });
                }
                (step + 1, self.stretch(Self::step)?)
            }
        };
        loop {
            let used = self.machine.guest().meter.used;
            match end {
                End::Returned(_) | End::Exited(_) => self.commit(ledger, step)?,
                End::Trapped(_) | End::OutOfFuel(_) => ledger.repeat(step, used),
            }
            let live = &self.machine.guest().live;
            live.set_step(step);
            live.set_fuel(used);
            let progress = Progress { step, fuel: Fuel(used), root: ledger.history.last().copied() };
            let (flow, wanted) = content.go(progress);
            if flow == Flow::Stop {
                return Err(HostFault::Cancelled);
            }
            if wanted && matches!(end, End::Returned(StepCode::More)) {
                self.checkpoint(ledger, content);
            }
            match end {
                End::Returned(StepCode::More) => {}
                End::Returned(StepCode::Done) => return Ok(Outcome::Exited { code: 0 }),
                End::Returned(StepCode::Failed) => return Ok(Outcome::Failed),
                End::Exited(code) => return Ok(Outcome::Exited { code }),
                End::Trapped(trap) => return Ok(Outcome::Trapped { trap }),
                End::OutOfFuel(limit) => return Ok(Outcome::Exhausted { limit }),
            }
            if step >= self.execution.limits.steps {
                return Ok(Outcome::Exhausted { limit: Limit::Steps });
            }
            step += 1;
            end = self.stretch(Self::step)?;
        }
    }

    /// Up to `s_0`.
    fn begin(&mut self) -> Result<StepCode, Left> {
        self.machine.instantiate(self.pages_max())?;
        self.refill()?;
        if self.executable.start {
            self.enter(Entry::Start)?;
        }
        match self.executable.form {
            TaskForm::Command => Ok(StepCode::More),
            TaskForm::Stepped => {
                self.enter(Entry::Initialize)?;
                let code = self.enter(Entry::Init)?;
                self.conclude(code)
            }
        }
    }

    /// From one root to the next.
    fn step(&mut self) -> Result<StepCode, Left> {
        self.refill()?;
        match self.executable.form {
            TaskForm::Command => {
                self.enter(Entry::Command)?;
                Ok(StepCode::Done)
            }
            TaskForm::Stepped => {
                let budget = i64::try_from(self.execution.step_budget.0).unwrap_or(i64::MAX);
                let code = self.enter(Entry::Step { budget })?;
                self.conclude(code)
            }
        }
    }

    /// Reads a code, and has the result written when the work is done.
    fn conclude(&mut self, code: i32) -> Result<StepCode, Left> {
        let undefined = Left::Trap(Trap::BadStepCode);
        match StepCode::from_i32(code).ok_or(undefined.clone())? {
            StepCode::Done => match StepCode::from_i32(self.enter(Entry::Finish)?) {
                Some(code @ (StepCode::Done | StepCode::Failed)) => Ok(code),
                Some(StepCode::More) | None => Err(undefined),
            },
            code @ (StepCode::More | StepCode::Failed) => Ok(code),
        }
    }

    /// Calls an entry. One that used more than there was has run out, whatever it returned.
    fn enter(&mut self, entry: Entry) -> Result<i32, Left> {
        let code = self.machine.enter(entry)?;
        if self.machine.fuel().is_some_and(i64::is_negative) { Err(Left::Halt(Halt::Fuel)) } else { Ok(code) }
    }

    /// Pages that memory may grow to.
    fn pages_max(&self) -> u32 {
        self.machine.guest().pages_left()
    }

    /// Puts the stretch's allowance where the guest draws from.
    fn refill(&mut self) -> Result<(), HostFault> {
        let allowance = self.machine.guest().meter.allowance;
        self.machine.refill(i64::try_from(allowance).unwrap_or(i64::MAX))
    }

    /// Does `work` on its allowance of fuel and charges it, the state root that follows included.
    fn stretch(&mut self, work: impl FnOnce(&mut Self) -> Result<StepCode, Left>) -> Result<End, HostFault> {
        let used = self.machine.guest().meter.used;
        let rest = self.execution.limits.fuel.0.saturating_sub(used);
        let (allowance, limit) = match self.executable.form {
            TaskForm::Stepped if self.execution.step_budget.0 < rest => (self.execution.step_budget.0, Limit::StepFuel),
            TaskForm::Stepped | TaskForm::Command => (rest, Limit::Fuel),
        };
        self.machine.guest_mut().meter.allowance = allowance;
        let end = match work(self) {
            Ok(code) => End::Returned(code),
            Err(left) => self.classify(left, limit)?,
        };
        // `None` once more was used than there was. Before there is an instance all of it is left.
        let fuel: Option<u64> = self.machine.fuel().map_or(Some(allowance), |fuel| fuel.try_into().ok());
        let (end, left) = match end {
            End::Returned(_) | End::Exited(_) => match fuel.and_then(|fuel| fuel.checked_sub(self.root_fuel())) {
                Some(left) => (end, left),
                None => (End::OutOfFuel(limit), 0),
            },
            // Told after a return, when the meter is exact.
            End::Trapped(Trap::BadStepCode) => (end, fuel.unwrap_or(0)),
            // The guest draws chunk by chunk and loses what it has in hand. One that traps before it has drawn any
            // loses the first all the same, so that no work is free.
            End::Trapped(_) => (end, fuel.unwrap_or(0).min(allowance.saturating_sub(CHUNK))),
            End::OutOfFuel(_) => (end, 0),
        };
        let meter = &mut self.machine.guest_mut().meter;
        meter.used = meter.now(left.min(allowance));
        Ok(end)
    }

    /// What it means that guest code was left. What the profile does not know is this host's fault.
    fn classify(&mut self, left: Left, limit: Limit) -> Result<End, HostFault> {
        let code = self.machine.halt();
        let halted = samebit_rewrite::Halt::from_code(code);
        let trap = match left {
            Left::Fault(fault) => return Err(fault),
            Left::Halt(Halt::Exit(code)) => return Ok(End::Exited(code)),
            Left::Halt(Halt::Fuel) => return Ok(End::OutOfFuel(limit)),
            Left::Halt(Halt::Content(reason)) => return Err(HostFault::Content { reason }),
            Left::Halt(Halt::Device(reason)) => return Err(HostFault::Device { reason }),
            Left::Halt(Halt::Cancelled) => return Err(HostFault::Cancelled),
            Left::Trap(trap) => trap,
        };
        match (trap, halted) {
            // A module that is told to stop leaves as if it had no fuel, by a trap of any kind.
            (_, Some(samebit_rewrite::Halt::Fuel)) if self.machine.guest().live.stop.is_set() => {
                Err(HostFault::Cancelled)
            }
            (_, Some(samebit_rewrite::Halt::Fuel)) => Ok(End::OutOfFuel(limit)),
            (Trap::Unreachable, Some(samebit_rewrite::Halt::Stack)) => Ok(End::Trapped(Trap::StackOverflow)),
            (Trap::Unreachable, Some(samebit_rewrite::Halt::Exception)) => Ok(End::Trapped(Trap::UncaughtException)),
            (Trap::Unreachable, Some(samebit_rewrite::Halt::Memory)) => Err(HostFault::Memory {
                reason: format!("{} bytes could not grow within the limit", self.machine.memory().len()),
            }),
            (trap, None) if code == 0 => Ok(End::Trapped(trap)),
            (trap, _) => Err(HostFault::Unknown { reason: format!("{trap:?} while the module's halt was {code}") }),
        }
    }

    /// What the next root costs.
    fn root_fuel(&self) -> u64 {
        let pages = self.machine.memory().len() as u64 / PAGE_BYTES;
        let guest = self.machine.guest();
        let world = guest.wasi.root_fuel().0.saturating_add(guest.tensors.root_fuel());
        param::ROOT_FUEL.0.saturating_add(pages.saturating_mul(param::ROOT_FUEL_PER_PAGE.0)).saturating_add(world)
    }

    /// Commits to the state as it is.
    fn commit(&mut self, ledger: &mut Committed, step: u32) -> Result<(), HostFault> {
        let globals = self.machine.globals()?;
        self.follow();
        let memory = self.machine.memory();
        let pages = memory.len() as u64 / PAGE_BYTES;
        let unknown = |_| HostFault::Unknown { reason: "a memory beyond 32 bits".into() };
        ledger.image.step = step;
        ledger.image.memory_pages = u32::try_from(pages).map_err(unknown)?;
        ledger.image.memory = self.tree.root();
        ledger.image.globals = globals;
        ledger.image.tensors = self.machine.guest_mut().tensors.marks();
        let guest = self.machine.guest();
        ledger.image.fuel = Fuel(guest.meter.used);
        ledger.image.wasi = guest.wasi.root();
        ledger.image.stdout = guest.wasi.stdout_blob();
        ledger.push();
        Ok(())
    }
}

impl Run<'_> {
    /// Brings the tree up to memory as it is.
    fn follow(&mut self) {
        let memory = self.machine.memory();
        let new = |tracking| Tracker::new(tracking, self.machine.maps_memory(), memory);
        let small = memory.len() <= SMALL;
        let first = match &self.tracker {
            Some(_) => false,
            None if small => true,
            None => {
                self.tracker = Some(new(self.way.tracking));
                true
            }
        };
        let candidates = match &mut self.tracker {
            Some(tracker) => tracker.changed(memory, first),
            None => Changed::All,
        };
        let changed = self.tree.update(memory, &candidates);
        if self.way.keeps {
            let leaves = memory.len() / LEAF_BYTES;
            if self.changed.len() < leaves {
                self.changed.resize(leaves, false);
            }
            for leaf in changed {
                if let Some(slot) = self.changed.get_mut(leaf as usize) {
                    *slot = true;
                }
            }
        }
    }

    /// Hands out what is other than at the last checkpoint that was kept.
    fn checkpoint(&mut self, ledger: &Committed, content: &Remote) {
        let changed = (0..).zip(&self.changed).filter(|(_, changed)| **changed);
        let leaves: Vec<(u32, Hash)> = changed.map(|(leaf, _)| (leaf, self.tree.leaf(leaf))).collect();
        let pages: Vec<u32> = leaves.iter().filter(|leaf| leaf.1 != ZERO).map(|leaf| leaf.0).collect();
        let guest = self.machine.guest();
        let mut world = guest.wasi.save();
        guest.tensors.save(&mut world);
        let roots = ledger.history.get(self.told..).unwrap_or_default().to_vec();
        let (sender, receiver) = Pages::channel();
        let checkpoint = Checkpoint { image: ledger.image.clone(), roots, leaves, pages: receiver, world };
        let held = content.keep(checkpoint, || {
            snapshot::hand_over(self.machine.memory(), &pages, &sender);
            drop(sender);
        });
        if held == Held::Kept {
            self.changed.fill(false);
            self.told = ledger.history.len();
        }
    }

    /// Makes the machine as it was in `snapshot`, every byte of which is checked on the way.
    fn resume(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), HostFault> {
        self.tree = snapshot.tree(self.execution.id())?;
        let misfit = |what| HostFault::Snapshot(SnapshotError::Module { what });
        let (pages, pages_max) = (snapshot.image.memory_pages, self.pages_max());
        if !(self.executable.memory_min_pages..=pages_max).contains(&pages) {
            return Err(misfit("memory of a size that it never has"));
        }
        self.machine.instantiate(pages_max).map_err(|left| match left {
            Left::Fault(fault) => fault,
            Left::Halt(_) | Left::Trap(_) => misfit("it cannot even begin"),
        })?;
        self.machine.grow(pages)?;
        // A state that is mostly other than zero is about to be copied whole.
        let (bytes, memory) = (snapshot.bytes(), self.machine.memory());
        if self.machine.maps_memory() && bytes > SMALL as u64 && bytes > memory.len() as u64 / 2 {
            dirty::prefer_large_pages(memory.as_ptr(), memory.len());
        }
        // What the module's data segments put where the state has zeros.
        let mut tracker = Tracker::new(self.way.tracking, self.machine.maps_memory(), self.machine.memory());
        let begun = match tracker.in_use(self.machine.memory()) {
            Changed::All => (0..pages * 16).collect(),
            Changed::These(these) => these,
        };
        let (memory, _) = self.machine.memory_mut().as_chunks_mut::<LEAF_BYTES>();
        for leaf in begun {
            if self.tree.leaf(leaf) == ZERO
                && let Some(page) = memory.get_mut(leaf as usize)
                && page != &[0; LEAF_BYTES]
            {
                page.fill(0);
            }
        }
        snapshot.fill(self.machine.memory_mut())?;
        if !self.machine.set_globals(&snapshot.image.globals)? {
            return Err(misfit("globals of other types"));
        }
        if self.machine.memory().len() > SMALL {
            // The tree has all of this.
            tracker.changed(self.machine.memory(), true);
            self.tracker = Some(tracker);
        }
        let fuel = snapshot.image.fuel.0;
        self.machine.guest_mut().meter.used = fuel;
        let live = &self.machine.guest().live;
        live.set_step(snapshot.image.step);
        live.set_fuel(fuel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_more_folders_than_a_tree_may_have_are_kept_up_to_that_bound_and_not_dropped_all() {
        let inner = "/d".repeat(100);
        let mut files: Vec<_> = (0..2_000).map(|n| (format!("{n:05}{inner}/f"), Vec::new().into())).collect();
        let tree = output_tree(&mut files);
        assert_eq!(tree.files().len(), param::TREE_FOLDERS_MAX / 101);
        assert_eq!(files.len(), tree.files().len());
    }
}
