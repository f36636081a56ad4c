//! States of runs on disk, so that a run can be taken up again and one of its steps be run alone.
//!
//! ```text
//! EXECUTION/lock             held by the process that keeps states there
//! EXECUTION/STEP-ROOT.pack   one state: what earlier packs do not have of it
//! EXECUTION/*.damaged        a pack that was found altered or cut short, set aside for people
//! EXECUTION/trace            receipt and roots of the run that ended there last
//! ```
//!
//! A pack is written under another name, flushed and renamed, so it is there whole or not at all, whatever happens. Of a
//! run so many states are kept, spread evenly; one that goes leaves to the others what they need of it. What is read
//! is held against hashes by `samebit-runtime`, so a damaged file costs the states that need it and never a wrong result:
//! it is set aside, and another state or the run's beginning serves. Layout of packs: `spec/03-execution.md`, section 12.

mod room;

pub use room::Room;

use room::Lock;
use samebit_runtime::{
    Checkpoint, Content, Finished, Flow, Held, HostFault, Keep, Orders, Program, Progress, Runtime, Snapshot,
    SnapshotError, Source,
    pack::{Pack, PackError, Packer, Packs, Written},
};
use samebit_spec::{
    execution::Execution,
    history::Trace,
    id::{ExecutionId, StateRoot},
    task::TaskForm,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

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

/// A pack that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
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
    /// Which of them are states: all chunks of those are there.
    whole: Vec<bool>,
    damaged: Vec<Damaged>,
    /// Released when this is dropped, or the process ends however it may. `None`: only looked at.
    lock: Option<Lock>,
}

/// A pack's file.
struct PackFile(File);

impl Source for PackFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, into, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.0, into, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += read as u64;
            into = &mut into[read..];
        }
        Ok(())
    }
}

/// A second name for a file, or a copy of it where the file system has no such names.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StatesError {
    let path = path.to_path_buf();
    |source| StatesError::Io { path, source }
}

impl States {
    /// Those of `execution` below `root`, which are made where there are none. Every `every`-th state is to be kept.
    /// Removes what other runs kept where there is too much. Packs that are damaged are set aside ([`States::damaged`]),
    /// and with them go the states that cannot do without them.
    ///
    /// # Errors
    /// [`StatesError::Io`], [`StatesError::InUse`].
    pub fn open(root: &Path, execution: ExecutionId, every: u32, room: Room) -> Result<Self, StatesError> {
        let dir = root.join(hex::encode(execution.0));
        let lock = Lock::make(&dir)?.ok_or_else(|| StatesError::InUse { path: dir.clone() })?;
        room::make_room(root, &dir, room.all.0);
        Self::read(dir, every, room, Some(lock))
    }

    /// The same, only to be looked at: nothing is made, locked, removed or set aside. What another process removes
    /// meanwhile is not there.
    ///
    /// # Errors
    /// [`StatesError::Io`].
    pub fn look(root: &Path, execution: ExecutionId) -> Result<Self, StatesError> {
        Self::read(root.join(hex::encode(execution.0)), 1, Room::DEFAULT, None)
    }

    fn read(dir: PathBuf, every: u32, room: Room, lock: Option<Lock>) -> Result<Self, StatesError> {
        let (mut packs, mut damaged) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries.map_err(failed(&dir))?),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(failed(&dir))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                // Of a process that ended while it wrote.
                Some("partial") if lock.is_some() => fs::remove_file(&path).map_err(failed(&path))?,
                Some("pack") => match open_pack(&path) {
                    Ok(pack) => packs.push(pack),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => match refusal(&error) {
                        Some(why) => damaged.push(Damaged { path, why }),
                        None => return Err(failed(&path)(error)),
                    },
                },
                _ => {}
            }
        }
        let mut states = Self {
            dir,
            room,
            every: every.max(1),
            packer: Packer::new(),
            packs: Packs::default(),
            whole: Vec::new(),
            damaged: Vec::new(),
            lock,
        };
        for Damaged { path, why } in damaged {
            states.set_aside(path, why)?;
        }
        states.hold(packs)?;
        Ok(states)
    }

    /// Takes these packs for those that are there. Where this process keeps states, those that lack something go.
    fn hold(&mut self, packs: Vec<Pack>) -> Result<(), StatesError> {
        self.packs = Packs::new(packs);
        self.whole = self.packs.are_whole();
        while self.lock.is_some()
            && let Some(gone) = self.whole.iter().position(|whole| !whole)
        {
            match self.whole.iter().position(|whole| *whole) {
                // Others may need a chunk of it.
                Some(heir) => self.merge(gone, heir)?,
                None => {
                    for pack in self.packs.all() {
                        let path = self.path(pack);
                        fs::remove_file(&path).map_err(failed(&path))?;
                    }
                    self.packs = Packs::default();
                }
            }
            self.whole = self.packs.are_whole();
        }
        self.packer = Packer::over(&self.packs);
        Ok(())
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
        self.packs.all().iter().zip(&self.whole).filter(|(_, whole)| **whole).map(|(pack, _)| kept(pack)).collect()
    }

    /// Packs that were found damaged since this was asked last.
    pub fn damaged(&mut self) -> Vec<Damaged> {
        std::mem::take(&mut self.damaged)
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A state, and what is kept from now on follows it.
    ///
    /// # Errors
    /// [`StatesError::Unknown`], [`StatesError::Snapshot`].
    pub fn resume(&mut self, root: StateRoot) -> Result<Snapshot, StatesError> {
        let all = self.kept();
        if !all.iter().any(|kept| kept.root == root) {
            let kept = all.iter().map(|kept| format!("{} after step {}", kept.root.short(), kept.step));
            let kept = kept.collect::<Vec<_>>().join(", ");
            let kept = if kept.is_empty() { "nothing is".to_string() } else { format!("there are {kept}") };
            return Err(StatesError::Unknown { root, kept });
        }
        let snapshot = self.packs.snapshot(root)?;
        self.packer = Packer::after(&snapshot, &self.packs);
        Ok(snapshot)
    }

    /// After the state of `root` was refused: reads all packs whole and sets the damaged ones aside, or the state's own
    /// where each chunk is what it says. What is kept afterwards does not need them.
    ///
    /// # Errors
    /// [`StatesError::Io`].
    pub fn mend(&mut self, root: StateRoot) -> Result<(), StatesError> {
        let mut sound = Vec::new();
        let mut found = false;
        for pack in self.packs.all().to_vec() {
            let path = self.path(&pack);
            let lost = pack.altered().map_err(failed(&path))?;
            if lost.is_empty() {
                sound.push(pack);
                continue;
            }
            found = true;
            let why = format!("{} of its chunks were altered or are not there", lost.len());
            if self.lock.is_none() {
                self.damaged.push(Damaged { path, why });
                continue;
            }
            // The states that need none of those stay. The pack has its own name until what is sound of it has it.
            let aside = path.with_extension("damaged");
            copy(&path, &aside).map_err(failed(&path))?;
            let (written, file) = self.write(&path, |out| pack.write_without(&lost, out))?;
            self.damaged.push(Damaged { path: aside, why });
            sound.push(written.at(Arc::new(PackFile(file))));
        }
        if !found {
            for own in sound.extract_if(.., |pack| pack.root() == root).collect::<Vec<_>>() {
                self.set_aside(self.path(&own), "its parts do not give the state that it names".to_string())?;
            }
        }
        self.hold(sound)
    }

    fn set_aside(&mut self, path: PathBuf, why: String) -> Result<(), StatesError> {
        let path = if self.lock.is_some() {
            let aside = path.with_extension("damaged");
            fs::rename(&path, &aside).map_err(failed(&path))?;
            aside
        } else {
            path
        };
        self.damaged.push(Damaged { path, why });
        Ok(())
    }

    fn path(&self, pack: &Pack) -> PathBuf {
        self.name(pack.step(), pack.root())
    }

    fn name(&self, step: u32, root: StateRoot) -> PathBuf {
        self.dir.join(format!("{step:08}-{}.pack", hex::encode(root.0)))
    }

    /// Writes a file whole or not at all; gives it to be read.
    fn write<T>(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<(T, File), StatesError> {
        let partial = path.with_extension("partial");
        let written = (|| {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&partial)?;
            let mut buffered = BufWriter::with_capacity(1 << 18, &file);
            let done = write(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            file.sync_data()?;
            fs::rename(&partial, path)?;
            File::open(&self.dir)?.sync_all()?;
            Ok((done, file))
        })();
        written.map_err(|source| {
            // Ours alone: the folder is locked.
            let _ = fs::remove_file(&partial);
            StatesError::Io { path: path.to_path_buf(), source }
        })
    }

    /// Keeps a state, and lets others go until there are few enough.
    ///
    /// # Errors
    /// [`StatesError::Large`], [`StatesError::Io`]: it is not kept, and all that was kept before is.
    pub fn add(&mut self, checkpoint: &mut Checkpoint) -> Result<(), StatesError> {
        let draft = self.packer.draft(checkpoint);
        let (step, root) = (draft.step(), draft.root());
        draft.fits(self.room.run.0).map_err(|bytes| StatesError::Large { step, bytes, room: self.room.run.0 })?;
        if self.packs.all().iter().any(|pack| pack.root() == root) {
            // Kept by an earlier process; what it needs is in the packs that are there.
            let drafted = draft.write(&mut io::sink()).map_err(failed(&self.dir))?;
            let _ = self.packer.take(drafted);
            return Ok(());
        }
        let (drafted, file) = self.write(&self.name(step, root), |out| draft.write(out))?;
        let pack = self.packer.take(drafted).at(Arc::new(PackFile(file)));
        let mut packs = self.packs.all().to_vec();
        packs.push(pack);
        self.packs = Packs::new(packs);
        self.whole = vec![true; self.packs.all().len()];
        if let Err(error) = self.thin() {
            // The state is there. Whether there is too much is looked at again with the next.
            tracing::warn!(%error, "too many states are kept");
        }
        Ok(())
    }

    /// Lets states go until there are few enough. The last alone always is: `add` has looked.
    fn thin(&mut self) -> Result<(), StatesError> {
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
            let Some(gone) = (0..packs.len().saturating_sub(1)).min_by_key(gap) else { return Ok(()) };
            self.merge(gone, gone + 1)?;
            self.packer.hold_to(&self.packs);
        }
    }

    /// Lets a pack go; another takes over what is needed of it.
    fn merge(&mut self, gone: usize, heir: usize) -> Result<(), StatesError> {
        let all = self.packs.all();
        let (Some(from), Some(into)) = (all.get(gone), all.get(heir)) else { return Ok(()) };
        let old = self.path(from);
        let (written, file): (Written, File) =
            self.write(&self.path(into), |out| self.packs.absorb(gone, heir, out))?;
        fs::remove_file(&old).map_err(failed(&old))?;
        let mut packs = all.to_vec();
        packs[heir] = written.at(Arc::new(PackFile(file)));
        packs.remove(gone);
        self.packs = Packs::new(packs);
        self.whole = self.packs.are_whole();
        Ok(())
    }

    /// Leaves the receipt and the roots of a run that has ended, for whoever runs one of its steps again. One that takes
    /// more room than the states may is not left.
    ///
    /// # Errors
    /// [`StatesError::Io`].
    pub fn leave_trace(&self, trace: &Trace) -> Result<(), StatesError> {
        let bytes = trace.encode();
        if bytes.len() as u64 > self.room.run.0 {
            return Ok(());
        }
        self.write(&self.dir.join("trace"), |out| out.write_all(&bytes)).map(|_| ())
    }

    /// What the last run that ended here left; `None` where none did, or what it left was altered.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        let path = self.dir.join("trace");
        if fs::metadata(&path).ok()?.len() > self.room.run.0 {
            return None;
        }
        Trace::decode(&fs::read(path).ok()?).ok()
    }

    /// Removes everything that is kept of this execution.
    ///
    /// # Errors
    /// [`StatesError::Io`].
    pub fn remove(self) -> Result<(), StatesError> {
        match &self.lock {
            Some(lock) => lock.remove(&self.dir),
            None => Ok(()),
        }
    }
}

impl Keep for States {
    fn wants(&mut self, step: u32) -> bool {
        step.is_multiple_of(self.every)
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        match self.add(checkpoint) {
            Ok(()) => Held::Kept,
            Err(error) => {
                tracing::warn!(%error, "a state is not kept");
                Held::Refused
            }
        }
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

fn open_pack(path: &Path) -> io::Result<Pack> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Pack::open(Arc::new(PackFile(file)), len)
}

/// Why a file is no pack, where that is what an error says.
fn refusal(error: &io::Error) -> Option<String> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<PackError>()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_runtime::EngineKind;
    use samebit_spec::{
        content::{BlobRef, Tree, TreeRef},
        execution::{Limits, Profile, TensorOps},
        unit::{Bytes, Fuel},
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
        let orders = Orders { resume: resume.map(Arc::new), keep: Some(keep), ..Orders::default() };
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

    fn bytes_on_disk(states: &States) -> u64 {
        let files = fs::read_dir(states.dir()).unwrap().map(|file| file.unwrap());
        let packs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "pack"));
        packs.map(|file| file.metadata().unwrap().len()).sum()
    }

    #[test]
    fn states_never_take_more_room_than_they_are_given_and_one_that_does_not_fit_ends_nothing() {
        let on = load();
        let fresh = tempfile::tempdir().unwrap();
        let mut all = States::open(fresh.path(), on.2.id(), 1, Room::DEFAULT).unwrap();
        let whole = go(&on, None, &mut all, 99).unwrap();
        // 40 pages of 4 KiB are more than there is room for, whichever states go; the first ones fit.
        for room in [1_000, 20_000, 100_000, 150_000] {
            let root = tempfile::tempdir().unwrap();
            let room = Room { states: 32, run: Bytes(room), all: Bytes(300_000) };
            let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
            assert_eq!(go(&on, None, &mut states, 99).unwrap(), whole, "{room:?}");
            let kept = states.kept();
            assert_eq!(kept.iter().map(|kept| kept.bytes).sum::<u64>(), bytes_on_disk(&states));
            assert!(bytes_on_disk(&states) <= room.run.0, "{room:?}: {kept:?}");
            // A state of n pages takes about 4.2 kB each, so the last that fits is known.
            let last = kept.last().map_or(0, |kept| u64::from(kept.step));
            assert!(last * 4_000 <= room.run.0 && (last + 3) * 4_500 > room.run.0, "{room:?}: {kept:?}");
            drop(states);
            for kept in kept {
                let mut states = States::open(root.path(), on.2.id(), 99, room).unwrap();
                let snapshot = states.resume(kept.root).unwrap();
                assert_eq!(go(&on, Some(snapshot), &mut states, 99).unwrap(), whole, "{kept:?}");
            }
            let other = Execution { unit: 1, ..on.2.clone() };
            let tight = Room { all: Bytes(1), ..room };
            let _open = States::open(root.path(), other.id(), 1, tight).unwrap();
            assert!(!States::are_there(root.path(), on.2.id()), "another run's states made room");
        }
    }

    /// Packs of steps 0, 10, 20 and 30, and what the run gave.
    fn four(root: &Path, on: &(Runtime, Program, Execution)) -> (Finished, Vec<PathBuf>) {
        let mut states = States::open(root, on.2.id(), 10, Room::DEFAULT).unwrap();
        let whole = go(on, None, &mut states, 99).unwrap();
        let paths: Vec<_> = states.packs.all().iter().map(|pack| states.path(pack)).collect();
        assert_eq!(paths.len(), 4);
        (whole, paths)
    }

    fn steps(states: &States) -> Vec<u32> {
        states.kept().iter().map(|kept| kept.step).collect()
    }

    #[test]
    fn a_pack_that_is_cut_short_is_set_aside_and_the_states_before_it_serve() {
        // The first one has nothing that the others need.
        let cases = [
            (3, vec![0, 10, 20], vec![0, 10, 20, 30]),
            (2, vec![0, 10], vec![0, 10, 20, 30]),
            (1, vec![0], vec![0, 10, 20, 30]),
            (0, vec![10, 20, 30], vec![10, 20, 30]),
        ];
        for (cut, left, then) in cases {
            let root = tempfile::tempdir().unwrap();
            let on = load();
            let (whole, paths) = four(root.path(), &on);
            let bytes = fs::read(&paths[cut]).unwrap();
            fs::write(&paths[cut], &bytes[..100]).unwrap();
            let mut looked = States::look(root.path(), on.2.id()).unwrap();
            assert_eq!((steps(&looked), looked.damaged().len()), (left.clone(), 1));
            assert!(paths[cut].exists(), "looking changes nothing");
            let mut states = States::open(root.path(), on.2.id(), 10, Room::DEFAULT).unwrap();
            assert_eq!(steps(&states), left);
            let damaged = states.damaged();
            assert!(damaged[0].why.contains("cut short") && damaged[0].path.exists() && !paths[cut].exists());
            let mut said = Vec::new();
            let watch = &mut |_: Progress| Flow::Go;
            let run = |orders: Orders<'_>| on.0.run_with(&on.1, &on.2, &Nothing, orders, watch);
            assert_eq!(run_on(&mut states, run, &mut |what| said.push(what)).unwrap(), whole);
            assert_eq!(
                said,
                left.last().map(|step| format!("taken up after step {step}")).into_iter().collect::<Vec<_>>()
            );
            assert_eq!(steps(&states), then, "what was lost was kept again");
            drop(states);
            each_can_be_taken_up(&on, root.path(), Room::DEFAULT);
        }
    }

    #[test]
    fn an_altered_page_costs_the_states_that_need_it_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let (whole, paths) = four(root.path(), &on);
        // The page that each step writes anew: the states after this one have it otherwise.
        let altered = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let end = 56 + usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().unwrap())).unwrap();
            bytes[end + 64] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        altered(&paths[1]);
        let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
        assert_eq!(steps(&states), [0, 10, 20, 30], "it is not seen before it is read");
        let snapshot = states.resume(whole.history[10]).unwrap();
        let fault = go(&on, Some(snapshot), &mut states, 99).unwrap_err();
        assert!(fault.to_string().contains("page 0 of 4096 bytes"), "{fault}");
        states.mend(whole.history[10]).unwrap();
        assert_eq!((steps(&states), states.damaged().len()), (vec![0, 20, 30], 1));
        drop(states);
        each_can_be_taken_up(&on, root.path(), Room::DEFAULT);

        altered(&paths[3]);
        let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
        let mut said = Vec::new();
        let watch = &mut |_: Progress| Flow::Go;
        let run = |orders: Orders<'_>| on.0.run_with(&on.1, &on.2, &Nothing, orders, watch);
        assert_eq!(run_on(&mut states, run, &mut |what| said.push(what)).unwrap(), whole);
        assert!(said[1].contains("the state after step 30 is refused: page 0"), "{said:?}");
        assert_eq!(said.last().map(String::as_str), Some("taken up after step 20"));
        assert_eq!(steps(&states), [0, 20]);
    }

    #[test]
    fn where_there_is_no_room_to_mend_a_pack_it_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let (whole, paths) = four(root.path(), &on);
        let mut bytes = fs::read(&paths[1]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&paths[1], &bytes).unwrap();
        let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
        let partial = paths[1].with_extension("partial");
        fs::create_dir(&partial).unwrap();
        let refused = states.mend(whole.history[10]).unwrap_err();
        assert!(matches!(refused, StatesError::Io { .. }), "{refused}");
        assert_eq!(fs::read(&paths[1]).unwrap(), bytes, "its sound chunks are there still");
        fs::remove_dir(&partial).unwrap();
        states.mend(whole.history[10]).unwrap();
        let damaged = paths[1].with_extension("damaged");
        assert_eq!(fs::read(&damaged).unwrap(), bytes);
        drop(states);
        let states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
        assert!(steps(&states).contains(&30), "{:?}", steps(&states));
    }

    /// Each step makes a tensor of 70 000 bytes that begins with the step's number, and ends the one before it.
    const TENSORS: &str = r#"(module
        (import "samebit_tensor" "create" (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "samebit_tensor" "drop" (func $drop (param i32) (result i32)))
        (memory (export "memory") 2) (global $n (mut i32) (i32.const 0))
        (data (i32.const 64) "\70\11\01\00")
        (func (export "_initialize")) (func (export "samebit_init") (result i32) (i32.const 1))
        (func (export "samebit_step") (param i64) (result i32)
            (drop (call $drop (global.get $n)))
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (i32.store (i32.const 4096) (global.get $n))
            (if (call $create (i32.const 5) (i32.const 64) (i32.const 1) (i32.const 4096) (i32.const 70000) (i32.const 128))
                (then unreachable))
            (i32.lt_u (global.get $n) (i32.const 40)))
        (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

    #[test]
    fn states_with_tensors_are_thinned_and_mended_like_any_others() {
        let root = tempfile::tempdir().unwrap();
        let (runtime, program, execution) = guest(TENSORS);
        let on = (runtime, program, Execution { tensor_ops: TensorOps(1), ..execution });
        let (_, paths) = four(root.path(), &on);
        each_can_be_taken_up(&on, root.path(), Room::DEFAULT);
        // The last piece of a pack: of the tensor, which no other state has.
        let mut bytes = fs::read(&paths[2]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&paths[2], &bytes).unwrap();
        let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
        let altered = states.kept()[2].root;
        states.mend(altered).unwrap();
        let damaged = states.damaged();
        assert!(matches!(&*damaged, [one] if one.why.starts_with("1 of its chunks")), "{damaged:?}");
        drop(states);

        let root = tempfile::tempdir().unwrap();
        let room = Room { states: 4, ..Room::DEFAULT };
        let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
        go(&on, None, &mut states, 99).unwrap();
        assert_eq!((states.kept().len(), files(&states)), (4, 4));
        drop(states);
        each_can_be_taken_up(&on, root.path(), room);
    }

    fn files(states: &States) -> usize {
        let files = fs::read_dir(states.dir()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "pack")).count()
    }

    #[test]
    fn what_a_run_left_is_there_for_whoever_looks_and_nothing_else_is() {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        assert!(States::look(root.path(), on.2.id()).unwrap().kept().is_empty());
        assert!(!States::are_there(root.path(), on.2.id()), "looking makes nothing");
        let mut states = States::open(root.path(), on.2.id(), 10, Room::DEFAULT).unwrap();
        let whole = go(&on, None, &mut states, 99).unwrap();
        let trace = Trace { receipt: whole.receipt, roots: whole.history };
        states.leave_trace(&trace).unwrap();
        // The run's own process has it open still.
        let looked = States::look(root.path(), on.2.id()).unwrap();
        assert_eq!((looked.trace(), steps(&looked)), (Some(trace), vec![0, 10, 20, 30]));
        fs::write(states.dir().join("trace"), b"no trace").unwrap();
        assert_eq!(looked.trace(), None);
    }
}
