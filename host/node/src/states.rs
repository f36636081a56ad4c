//! States of runs on disk, so that a run can be taken up again and one of its steps be run alone.
//!
//! ```text
//! EXECUTION/lock             held by the process that keeps states there
//! EXECUTION/STEP-ROOT.pack   one state: what earlier packs do not have of it
//! EXECUTION/*.damaged        packs that were found altered or cut short, set aside for people; few of them
//! EXECUTION/trace            receipt and roots of the run that ended there last
//! ```
//!
//! A pack is written under another name, flushed and renamed, so it is there whole or not at all, whatever happens. Of a
//! run so many states are kept, spread evenly; one that goes leaves to the others what they need of it. What is read
//! is held against hashes by `samebit-runtime`, so a damaged file costs the states that need it and never a wrong result:
//! it is set aside, and another state or the run's beginning serves. Layout of packs: `spec/03-execution.md`, section 12.

mod disk;
mod mend;
mod room;
mod run;
#[cfg(test)]
mod tests;

pub use mend::Damaged;
pub use room::Room;
pub use run::{Keeper, run, run_on};

use disk::{PackFile, open_pack, refusal};
use room::Lock;
use samebit_runtime::{
    Checkpoint, Held, Keep, Snapshot, SnapshotError,
    pack::{Pack, Packer, Packs, Written},
};
use samebit_spec::{
    history::Trace,
    id::{ExecutionId, StateRoot},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
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

    fn path(&self, pack: &Pack) -> PathBuf {
        self.name(pack.step(), pack.root())
    }

    fn name(&self, step: u32, root: StateRoot) -> PathBuf {
        self.dir.join(format!("{step:08}-{}.pack", hex::encode(root.0)))
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
