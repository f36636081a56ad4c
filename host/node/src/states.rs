//! States of runs on disk, so that a run can be taken up again and one of its steps be run alone.
//!
//! ```text
//! EXECUTION/lock             held by the process that keeps states there
//! EXECUTION/STEP-ROOT.pack   one state: what earlier packs do not have of it
//! ```
//!
//! A pack is written under another name, flushed and renamed, so it is there whole or not at all, whatever happens. Of a
//! run so many states are kept, spread evenly; one that goes leaves to the next what later ones need of it. What is read
//! is held against hashes by `samebit-runtime`, so a damaged file costs a state and never a wrong result. Layout of packs:
//! `spec/03-execution.md`, section 12.

use samebit_runtime::{
    Checkpoint, Content, Finished, Flow, HostFault, Keep, Orders, Program, Progress, Runtime, Snapshot, SnapshotError,
    pack::{Pack, PackError, Packer, Packs},
};
use samebit_spec::{
    execution::Execution,
    id::{ExecutionId, StateRoot},
    task::TaskForm,
    unit::Bytes,
};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// What states may take of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// States of a run; at least 2.
    pub states: usize,
    /// Bytes of a run's states.
    pub run: Bytes,
    /// Bytes of all runs' states. The run that was kept least lately goes first.
    pub all: Bytes,
}

impl Room {
    /// What commands and hosts use.
    pub const DEFAULT: Self = Self { states: 32, run: Bytes(1 << 30), all: Bytes(4 << 30) };
}

/// Why states cannot be kept or had. What was kept before stays.
#[derive(Debug, thiserror::Error)]
pub enum StatesError {
    /// The disk or the system.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process keeps states of the same execution.
    #[error("{path} is in use by another run of the same execution", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file is no pack.
    #[error("{path} is refused: {error}", path = .path.display())]
    Pack {
        /// Which.
        path: PathBuf,
        /// Why.
        error: PackError,
    },
    /// The packs do not give the state.
    #[error("the state is refused: {0}")]
    Snapshot(#[from] SnapshotError),
    /// No such state was kept.
    #[error("{root} was not kept: {kept}")]
    Unknown {
        /// What was asked for.
        root: StateRoot,
        /// What there is.
        kept: String,
    },
    /// One state takes more than there is room for.
    #[error("the state after step {step} takes {bytes} bytes, there is room for {room}")]
    Large {
        /// Which.
        step: u32,
        /// What it takes.
        bytes: u64,
        /// What it may take.
        room: u64,
    },
}

/// A state that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Steps taken.
    pub step: u32,
    /// Its name.
    pub root: StateRoot,
    /// Bytes of its pack.
    pub bytes: u64,
}

/// The states of one execution.
#[derive(Debug)]
pub struct States {
    dir: PathBuf,
    room: Room,
    every: u32,
    packer: Packer,
    /// By step. Their chunks are on disk and not here.
    packs: Packs,
    /// Released when this is dropped, or the process ends however it may.
    _lock: File,
}

impl States {
    /// Those of `execution` below `root`, which are made where there are none. Every `every`-th state is to be kept.
    /// Removes what other runs kept where there is too much.
    ///
    /// # Errors
    /// [`StatesError::Io`], [`StatesError::InUse`]; [`StatesError::Pack`] for a file that is no pack.
    pub fn open(root: &Path, execution: ExecutionId, every: u32, room: Room) -> Result<Self, StatesError> {
        let dir = root.join(hex::encode(execution.0));
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            |source| StatesError::Io { path, source }
        };
        fs::create_dir_all(&dir).map_err(failed(&dir))?;
        let lock = lock(&dir)?.ok_or_else(|| StatesError::InUse { path: dir.clone() })?;
        make_room(root, &dir, room.all.0);
        let mut packs = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed(&dir))? {
            let path = entry.map_err(failed(&dir))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                // Of a process that ended while it wrote.
                Some("partial") => fs::remove_file(&path).map_err(failed(&path))?,
                Some("pack") => {
                    let mut pack = read(&path)?;
                    pack.lighten();
                    packs.push(pack);
                }
                _ => {}
            }
        }
        let packs = Packs::new(packs);
        Ok(Self { dir, room, every: every.max(1), packer: Packer::over(&packs), packs, _lock: lock })
    }

    /// Whether there is anything of `execution` below `root`.
    #[must_use]
    pub fn are_there(root: &Path, execution: ExecutionId) -> bool {
        root.join(hex::encode(execution.0)).is_dir()
    }

    /// What is kept, by step.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |pack: &Pack| Kept { step: pack.step(), root: pack.root(), bytes: pack.len() };
        self.packs.all().iter().map(kept).collect()
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A state, and what is kept from now on follows it.
    ///
    /// # Errors
    /// [`StatesError`].
    pub fn resume(&mut self, root: StateRoot) -> Result<Snapshot, StatesError> {
        if !self.packs.all().iter().any(|pack| pack.root() == root) {
            let kept = self.kept();
            let kept = kept.iter().map(|kept| format!("{} after step {}", kept.root.short(), kept.step));
            let kept = kept.collect::<Vec<_>>().join(", ");
            let kept = if kept.is_empty() { "nothing is".to_string() } else { format!("there are {kept}") };
            return Err(StatesError::Unknown { root, kept });
        }
        let whole = self.packs.all().iter().map(|pack| read(&self.path(pack))).collect::<Result<Vec<_>, _>>()?;
        let snapshot = Packs::new(whole).snapshot(root)?;
        self.packer = Packer::after(&snapshot, &self.packs);
        Ok(snapshot)
    }

    fn path(&self, pack: &Pack) -> PathBuf {
        self.dir.join(format!("{:08}-{}.pack", pack.step(), hex::encode(pack.root().0)))
    }

    /// Writes a pack whole or not at all.
    fn write(&self, pack: &Pack) -> Result<(), StatesError> {
        let path = self.path(pack);
        let partial = path.with_extension("partial");
        let written = (|| {
            let mut file = File::create(&partial)?;
            file.write_all(pack.as_bytes())?;
            file.sync_data()?;
            fs::rename(&partial, &path)?;
            File::open(&self.dir)?.sync_all()
        })();
        written.map_err(|source| {
            // Ours alone: the folder is locked.
            let _ = fs::remove_file(&partial);
            StatesError::Io { path, source }
        })
    }

    fn add(&mut self, checkpoint: Checkpoint) -> Result<(), StatesError> {
        let (step, root) = (checkpoint.image.step, checkpoint.image.root());
        let mut bytes = Vec::new();
        let path = self.dir.clone();
        self.packer.pack(checkpoint, &mut bytes).map_err(|source| StatesError::Io { path: path.clone(), source })?;
        if self.packs.all().iter().any(|pack| pack.root() == root) {
            // Kept by an earlier process; what it needs is in the packs that are there.
            return Ok(());
        }
        let mut pack = Pack::read(bytes).map_err(|error| StatesError::Pack { path, error })?;
        if pack.len() > self.room.run.0 {
            return Err(StatesError::Large { step, bytes: pack.len(), room: self.room.run.0 });
        }
        self.write(&pack)?;
        pack.lighten();
        let mut packs = self.packs.all().to_vec();
        packs.push(pack);
        self.packs = Packs::new(packs);
        self.thin(step)
    }

    /// Lets states go until there are few enough.
    fn thin(&mut self, step: u32) -> Result<(), StatesError> {
        loop {
            let packs = self.packs.all();
            let bytes: u64 = packs.iter().map(Pack::len).sum();
            if packs.len() <= self.room.states.max(2) && bytes <= self.room.run.0 {
                return Ok(());
            }
            // The one without which the gap is least; never the last. What is before the first is run again from the
            // beginning, as if a state were kept there.
            let before = |at: usize| at.checked_sub(1).map_or(0, |before| packs[before].step());
            let gap = |at: &usize| packs[at + 1].step() - before(*at);
            let Some(gone) = (0..packs.len().saturating_sub(1)).min_by_key(gap) else {
                return Err(StatesError::Large { step, bytes, room: self.room.run.0 });
            };
            self.drop_pack(gone)?;
        }
    }

    fn drop_pack(&mut self, gone: usize) -> Result<(), StatesError> {
        let mut packs = self.packs.all().to_vec();
        for pack in packs.iter_mut().skip(gone).take(2) {
            *pack = read(&self.path(pack))?;
        }
        let packs = Packs::new(packs);
        let mut bytes = Vec::new();
        let path = self.dir.clone();
        packs.absorb(gone, &mut bytes).map_err(|source| StatesError::Io { path: path.clone(), source })?;
        let mut heir = Pack::read(bytes).map_err(|error| StatesError::Pack { path, error })?;
        self.write(&heir)?;
        let old = self.path(&packs.all()[gone]);
        fs::remove_file(&old).map_err(|source| StatesError::Io { path: old, source })?;
        heir.lighten();
        let mut packs = self.packs.all().to_vec();
        packs.splice(gone..gone + 2, [heir]);
        self.packs = Packs::new(packs);
        self.packer.hold_to(&self.packs);
        Ok(())
    }

    /// Removes everything that is kept of this execution.
    ///
    /// # Errors
    /// [`StatesError::Io`].
    pub fn remove(self) -> Result<(), StatesError> {
        fs::remove_dir_all(&self.dir).map_err(|source| StatesError::Io { path: self.dir.clone(), source })
    }
}

impl Keep for States {
    fn wants(&mut self, step: u32) -> bool {
        step.is_multiple_of(self.every)
    }

    fn keep(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        self.add(checkpoint).map_err(|error| error.to_string())
    }
}

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
    let id = execution.id();
    let mut states = match States::open(root, id, 1, Room::DEFAULT) {
        Ok(states) => states,
        Err(error) => {
            tracing::warn!(%error, "no states are kept of this run");
            if matches!(error, StatesError::Pack { .. }) {
                // Nobody else has it open, for the lock came first.
                let _ = fs::remove_dir_all(root.join(hex::encode(id.0)));
            }
            return plain(watch);
        }
    };
    let latest = states.kept().last().map(|kept| kept.root);
    let resume = latest.and_then(|latest| match states.resume(latest) {
        Ok(snapshot) => Some(Arc::new(snapshot)),
        Err(error) => {
            tracing::warn!(%error, "the run begins anew");
            None
        }
    });
    if let Some(snapshot) = &resume {
        tracing::info!(execution = %id, step = snapshot.step(), "run taken up");
    }
    let mut timed = Timed { states, last: Instant::now(), pause, failed: false };
    let orders = Orders { resume, keep: Some(&mut timed) };
    match runtime.run_with(program, execution, content, orders, watch) {
        Err(HostFault::Snapshot(error)) => {
            tracing::warn!(%error, "the run begins anew");
            let _ = timed.states.remove();
            plain(watch)
        }
        Err(fault) => Err(fault),
        Ok(finished) => {
            if let Err(error) = timed.states.remove() {
                tracing::warn!(%error, "states of a run that is done");
            }
            Ok(finished)
        }
    }
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

    fn keep(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        if let Err(error) = self.states.add(checkpoint) {
            tracing::warn!(%error, "no more states are kept of this run");
            self.failed = true;
        }
        self.last = Instant::now();
        Ok(())
    }
}

fn read(path: &Path) -> Result<Pack, StatesError> {
    let read = File::open(path).and_then(|mut file| {
        let len = file.metadata()?.len();
        Pack::read_from(&mut file, len)
    });
    read.map_err(|source| {
        let path = path.to_path_buf();
        match source.get_ref().and_then(|error| error.downcast_ref::<PackError>()) {
            Some(error) => StatesError::Pack { path, error: error.clone() },
            None => StatesError::Io { path, source },
        }
    })
}

/// Locks a folder; `None` when another process has.
fn lock(dir: &Path) -> Result<Option<File>, StatesError> {
    let path = dir.join("lock");
    let failed = |source| StatesError::Io { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            // Its time says when states were last kept here.
            let _ = file.set_modified(std::time::SystemTime::now());
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Removes other runs' states, those kept least lately first, until what is left is small enough. A failure leaves more.
fn make_room(root: &Path, own: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let mut runs = Vec::new();
    for dir in entries.flatten().map(|entry| entry.path()) {
        let Ok(files) = fs::read_dir(&dir) else { continue };
        let bytes: u64 = files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        let used = fs::metadata(dir.join("lock")).and_then(|lock| lock.modified()).ok();
        runs.push((used, dir, bytes));
    }
    runs.sort();
    let mut bytes: u64 = runs.iter().map(|run| run.2).sum();
    for (used, dir, len) in runs {
        // Only what this program made has a lock, and only what nobody holds may go.
        if bytes > most && dir != own && used.is_some() && matches!(lock(&dir), Ok(Some(_))) {
            match fs::remove_dir_all(&dir) {
                Ok(()) => bytes -= len,
                Err(error) => tracing::warn!("{}: {error}", dir.display()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_runtime::EngineKind;
    use samebit_spec::{
        content::{BlobRef, Tree, TreeRef},
        execution::{Limits, Profile, TensorOps},
        unit::Fuel,
    };

    /// 40 steps, each of which writes two pages of 2 MiB, one of them the same each time.
    const GUEST: &str = r#"(module (memory (export "memory") 32) (global $n (mut i32) (i32.const 0))
        (func (export "_initialize")) (func (export "samebit_init") (result i32) (i32.const 1))
        (func (export "samebit_step") (param i64) (result i32)
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (i32.store (i32.const 64) (global.get $n))
            (i32.store (i32.shl (global.get $n) (i32.const 12)) (global.get $n))
            (i32.lt_u (global.get $n) (i32.const 40)))
        (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

    /// The same, but that a page comes back to what it was six steps before.
    const RETURNING: &str = r#"(module (memory (export "memory") 32) (global $n (mut i32) (i32.const 0))
        (func (export "_initialize")) (func (export "samebit_init") (result i32) (i32.const 1))
        (func (export "samebit_step") (param i64) (result i32)
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (i32.store (i32.const 64) (i32.rem_u (global.get $n) (i32.const 6)))
            (i32.lt_u (global.get $n) (i32.const 40)))
        (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

    struct Nothing;

    impl Content for Nothing {
        fn read(&self, _: &BlobRef) -> Result<Arc<[u8]>, String> {
            Err("there is none".into())
        }

        fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
            Err("there is none".into())
        }
    }

    fn load() -> (Runtime, Program, Execution) {
        guest(GUEST)
    }

    fn guest(text: &str) -> (Runtime, Program, Execution) {
        let runtime = Runtime::with(EngineKind::Wasmi).unwrap();
        let program = runtime.load(&wat::parse_str(text).unwrap()).unwrap();
        let execution = Execution {
            profile: Profile::Samebit1,
            module: program.module().id,
            mounts: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: BlobRef::of(&[]),
            seed: [1; 32],
            unit: 0,
            limits: Limits::default(),
            step_budget: Fuel(1_000_000_000),
            tensor_ops: TensorOps(0),
        };
        (runtime, program, execution)
    }

    fn go(
        on: &(Runtime, Program, Execution),
        resume: Option<Snapshot>,
        keep: &mut dyn Keep,
        until: u32,
    ) -> Result<Finished, HostFault> {
        let orders = Orders { resume: resume.map(Arc::new), keep: Some(keep) };
        let watch = &mut |progress: samebit_runtime::Progress| {
            if progress.root.is_some() && progress.step > until { Flow::Stop } else { Flow::Go }
        };
        on.0.run_with(&on.1, &on.2, &Nothing, orders, watch)
    }

    #[test]
    fn a_run_that_ended_early_goes_on_in_another_process_where_it_was_kept_last() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let open = || States::open(root.path(), on.2.id(), 3, Room { states: 4, ..Room::DEFAULT });
        let mut states = open().unwrap();
        assert!(matches!(open(), Err(StatesError::InUse { .. })));
        assert_eq!(go(&on, None, &mut states, 20), Err(HostFault::Cancelled));
        drop(states);
        fs::write(root.path().join(hex::encode(on.2.id().0)).join("00000021.partial"), b"half a pack").unwrap();
        let mut states = open().unwrap();
        let steps: Vec<u32> = states.kept().iter().map(|kept| kept.step).collect();
        assert_eq!((steps.len(), steps.last()), (4, Some(&18)), "{steps:?}");
        let last = states.kept()[3].root;
        let snapshot = states.resume(last).unwrap();
        let resumed = go(&on, Some(snapshot), &mut states, 99).unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut fresh = States::open(other.path(), on.2.id(), 1, Room::DEFAULT).unwrap();
        assert_eq!(go(&on, None, &mut fresh, 99).unwrap(), resumed);
        assert_eq!(states.kept().last().map(|kept| kept.step), Some(39));
        assert_eq!(fresh.kept().len(), Room::DEFAULT.states);
        let missing = states.resume(StateRoot([9; 32])).unwrap_err();
        assert!(matches!(&missing, StatesError::Unknown { kept, .. } if kept.contains("after step 39")), "{missing}");
        states.remove().unwrap();
        assert!(!States::are_there(root.path(), on.2.id()));
    }

    /// Every state that is listed can be taken up, to the same receipt.
    fn each_can_be_taken_up(on: &(Runtime, Program, Execution), root: &Path, room: Room) {
        // No state is wanted on the way.
        let open = || States::open(root, on.2.id(), 1000, room).unwrap();
        let kept = open().kept();
        assert!(kept.len() >= 2, "{kept:?}");
        let mut receipts = Vec::new();
        for Kept { step, root, .. } in kept {
            let mut states = open();
            let snapshot = states.resume(root).unwrap_or_else(|error| panic!("step {step}: {error}"));
            receipts
                .push(go(on, Some(snapshot), &mut states, 99).unwrap_or_else(|fault| panic!("step {step}: {fault}")));
        }
        assert!(receipts.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_page_that_comes_back_to_an_old_value_is_kept_again_when_its_pack_has_gone() {
        let on = guest(RETURNING);
        let room = Room { states: 4, ..Room::DEFAULT };
        for until in [9, 16, 25, 31, 38] {
            let root = tempfile::tempdir().unwrap();
            let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
            assert_eq!(go(&on, None, &mut states, until), Err(HostFault::Cancelled));
            drop(states);
            each_can_be_taken_up(&on, root.path(), room);
        }
    }

    #[test]
    fn states_of_a_run_at_another_pace_do_not_break_those_that_are_there() {
        for on in [load(), guest(RETURNING)] {
            let root = tempfile::tempdir().unwrap();
            let room = Room { states: 5, ..Room::DEFAULT };
            for every in [10, 7, 3] {
                let mut states = States::open(root.path(), on.2.id(), every, room).unwrap();
                go(&on, None, &mut states, 99).unwrap();
            }
            each_can_be_taken_up(&on, root.path(), room);
        }
    }

    #[test]
    fn a_host_goes_on_where_it_was_stopped_and_keeps_nothing_of_a_run_that_is_done() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let host = |until: u32| {
            let mut steps = Vec::new();
            let watch = &mut |progress: Progress| {
                if progress.root.is_some() {
                    steps.push(progress.step);
                }
                if progress.root.is_some() && progress.step > until { Flow::Stop } else { Flow::Go }
            };
            let ran = run(root.path(), Duration::ZERO, (&on.0, &on.1), &on.2, &Nothing, watch);
            (ran, steps)
        };
        let (stopped, steps) = host(10);
        assert_eq!((stopped, steps.len()), (Err(HostFault::Cancelled), 12));
        let dir = root.path().join(hex::encode(on.2.id().0));
        let (whole, steps) = host(99);
        assert_eq!((steps[0], whole.as_ref().unwrap().receipt.steps), (11, 40));
        assert!(!dir.exists(), "a run that is done");
        // What cannot be used is done without.
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("00000001-00.pack"), b"no pack").unwrap();
        assert_eq!(host(99).0, whole);
        let held = States::open(root.path(), on.2.id(), 1, Room::DEFAULT).unwrap();
        assert_eq!(host(99).0, whole);
        drop(held);
    }

    #[test]
    fn states_never_take_more_room_than_they_are_given() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let room = Room { states: 32, run: Bytes(100_000), all: Bytes(300_000) };
        let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
        // 40 pages of 4 KiB are more than there is room for, whichever states go.
        let fault = go(&on, None, &mut states, 99).unwrap_err();
        assert!(matches!(&fault, HostFault::Keep { reason, .. } if reason.contains("room for 100000")), "{fault}");
        let bytes: u64 = states.kept().iter().map(|kept| kept.bytes).sum();
        assert!(bytes > 0);
        drop(states);
        let other = Execution { unit: 1, ..on.2.clone() };
        let tight = Room { all: Bytes(1), ..room };
        let _open = States::open(root.path(), other.id(), 1, tight).unwrap();
        assert!(!States::are_there(root.path(), on.2.id()), "another run's states made room");
    }

    #[test]
    fn a_damaged_file_is_named_and_a_damaged_page_refused() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let open = || States::open(root.path(), on.2.id(), 30, Room::DEFAULT);
        let mut states = open().unwrap();
        let whole = go(&on, None, &mut states, 99).unwrap();
        let path = states.path(states.packs.all().last().unwrap());
        drop(states);
        let bytes = fs::read(&path).unwrap();
        let mut altered = bytes.clone();
        // Chunks end with the history's; a page of memory is before it.
        let at = bytes.len() - 2 * 4096;
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        let mut states = open().unwrap();
        let snapshot = states.resume(whole.history[30]).unwrap();
        let fault = go(&on, Some(snapshot), &mut states, 99).unwrap_err();
        assert!(fault.to_string().contains("page "), "{fault}");
        drop(states);
        fs::write(&path, &bytes[..100]).unwrap();
        let error = open().unwrap_err();
        assert!(error.to_string().contains("cut short") && error.to_string().contains(".pack"), "{error}");
    }
}
