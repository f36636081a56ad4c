//! A run's state between two steps, to be taken up again (`spec/03-execution.md`, section 12).
//!
//! A run hands out [`Checkpoint`]s: what is other than at the last one that was kept. Somebody keeps them ([`Keep`]); this
//! crate opens no file. Packs (`pack.rs`) are their form as bytes. A [`Snapshot`] is a whole state again, put together
//! from packs, and every byte of it is held against the state's root before the run goes on. Neither way is all of memory
//! held a second time: pages go from the machine to the pack, and from the pack into the machine, some at a time.

use crate::pages::{Hash, Hasher, MemoryTree, ZERO};
use samebit_spec::{
    history,
    id::{ExecutionId, StateRoot},
    state::{LEAF_BYTES, StateImage},
};
use samebit_wasi::{RestoreError, Saved};
use std::{
    collections::BTreeMap,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

/// What a state is other than at the last checkpoint that was kept, or than blank.
#[derive(Debug)]
pub struct Checkpoint {
    /// The state's image; its root names it.
    pub image: StateImage,
    /// Roots since the last checkpoint that was kept, this state's the last.
    pub roots: Vec<StateRoot>,
    /// Leaves of memory that are other than they were, ascending. Zeros: all zeros.
    pub leaves: Vec<(u32, [u8; 32])>,
    /// The bytes of those that are not zeros.
    pub pages: Pages,
    /// The guest's world and its tensors.
    pub world: Saved,
}

/// Pages that a checkpoint holds, in the order of their leaves, some at a time. The run waits until all were taken or the
/// rest is not wanted.
#[derive(Debug)]
pub struct Pages(Receiver<Vec<u8>>);

/// Pages that are handed over at a time.
const BATCH: usize = 128;

impl Pages {
    /// A way for pages from the guest's thread to the keeper's.
    pub(crate) fn channel() -> (SyncSender<Vec<u8>>, Self) {
        let (sender, receiver) = mpsc::sync_channel(2);
        (sender, Self(receiver))
    }

    /// The next ones, one after another; `None` when there are no more.
    pub fn next_batch(&mut self) -> Option<Vec<u8>> {
        self.0.recv().ok()
    }
}

/// Hands `leaves` of `memory` over, until they are all taken or nobody takes them any more.
pub(crate) fn hand_over(memory: &[u8], leaves: &[u32], to: &SyncSender<Vec<u8>>) {
    let (pages, _) = memory.as_chunks::<LEAF_BYTES>();
    for leaves in leaves.chunks(BATCH) {
        let mut batch = Vec::with_capacity(leaves.len() * LEAF_BYTES);
        for leaf in leaves {
            if let Some(page) = pages.get(*leaf as usize) {
                batch.extend_from_slice(page);
            }
        }
        if to.send(batch).is_err() {
            return;
        }
    }
}

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is kept: the next one need not have what it has.
    Kept,
    /// It is not. The run goes on, and the next one has again what this one had.
    Refused,
}

/// Keeps checkpoints of a run under way. Called on the thread that started the run.
pub trait Keep {
    /// Whether the state after `step` is to be kept.
    fn wants(&mut self, step: u32) -> bool;

    /// Keeps it, or does not. What was kept before stays either way, and why not is for the keeper to say.
    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held;
}

/// Bytes of a pack, wherever they are.
pub trait Source: Send + Sync {
    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When there are not that many, or they cannot be had.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = start.checked_add(into.len()).and_then(|end| self.get(start..end));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a snapshot is not taken up. Nothing was run, or nothing of it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is of another execution.
    #[error("it is a state of {found}, not of {wanted}")]
    Execution {
        /// What is to be run.
        wanted: ExecutionId,
        /// What it is of.
        found: ExecutionId,
    },
    /// Its image is another than its name says.
    #[error("its image is that of {found}, not of {wanted}")]
    Root {
        /// The name.
        wanted: StateRoot,
        /// What the image gives.
        found: StateRoot,
    },
    /// Its list of leaves is not that of its image.
    #[error("its table of pages was altered: it is not the one that {root} commits to")]
    Table {
        /// The state.
        root: StateRoot,
    },
    /// A page is another than its hash says.
    #[error("page {leaf} of 4096 bytes, at {address:#x}, was altered", address = u64::from(*.leaf) * LEAF_BYTES as u64)]
    Page {
        /// Which, counted from the beginning of memory.
        leaf: u32,
    },
    /// Its history is not one that ends in it.
    #[error("its history does not end in it: {what}")]
    History {
        /// What is wrong.
        what: &'static str,
    },
    /// Bytes of it cannot be read.
    #[error("{what} cannot be read: {reason}")]
    Read {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// Something that it names is in none of the packs.
    #[error("{what} is in none of the packs: one is missing or was cut short")]
    Missing {
        /// What.
        what: String,
    },
    /// It does not fit the module.
    #[error("it does not fit the module: {what}")]
    Module {
        /// What is wrong.
        what: &'static str,
    },
    /// Its tensors.
    #[error("its tensors: {what}")]
    Tensors {
        /// What is wrong.
        what: String,
    },
    /// The guest's world.
    #[error(transparent)]
    World(#[from] RestoreError),
}

/// Where bytes are: in which pack, and there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) pack: usize,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

/// A whole state. Made by [`crate::pack::Packs::snapshot`].
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) image: StateImage,
    pub(crate) roots: Vec<StateRoot>,
    /// Leaves that are not zeros, ascending.
    pub(crate) leaves: Vec<(u32, Hash, At)>,
    pub(crate) world: Vec<u8>,
    pub(crate) pieces: BTreeMap<Hash, At>,
    pub(crate) packs: Vec<Arc<dyn Source>>,
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Snapshot").field("root", &self.root()).field("step", &self.image.step).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The state that it is.
    #[must_use]
    pub fn root(&self) -> StateRoot {
        self.image.root()
    }

    /// Steps taken.
    #[must_use]
    pub fn step(&self) -> u32 {
        self.image.step
    }

    /// The execution that it is a state of.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        self.image.execution
    }

    /// The roots up to it, its own the last.
    #[must_use]
    pub fn roots(&self) -> &[StateRoot] {
        &self.roots
    }

    /// The roots up to it, held against it: it binds them all.
    ///
    /// # Errors
    /// [`SnapshotError::History`] when they are others.
    pub fn history(&self) -> Result<&[StateRoot], SnapshotError> {
        let history = |what| Err(SnapshotError::History { what });
        if self.roots.len() as u64 != u64::from(self.image.step) + 1 || self.roots.len() > 1 << history::HISTORY_LEVELS
        {
            return history("it has not one root for each step");
        }
        let Some((last, before)) = self.roots.split_last() else { return history("it has no roots") };
        if *last != self.root() {
            return history("its last root is another");
        }
        if before.iter().fold(ZERO, |past, root| history::past(&past, root)) != self.image.past {
            return history("the roots before its last are others");
        }
        Ok(&self.roots)
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.leaves.len() * LEAF_BYTES) as u64
    }

    /// The bytes at a place; `what` they are is for the error.
    pub(crate) fn at(&self, at: At, what: &dyn Fn() -> String) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![0; at.len as usize];
        self.read(at, &mut bytes, what).map(|()| bytes)
    }

    fn read(&self, at: At, into: &mut [u8], what: &dyn Fn() -> String) -> Result<(), SnapshotError> {
        let failed = |reason: String| SnapshotError::Read { what: what(), reason };
        let source = self.packs.get(at.pack).ok_or_else(|| failed("its pack is gone".to_string()))?;
        source.read_at(at.offset, into).map_err(|error| failed(error.to_string()))
    }

    /// The tree over its memory, from the table of its leaves.
    ///
    /// # Errors
    /// [`SnapshotError::Table`] when it is not the image's; [`SnapshotError::Execution`] and
    /// [`SnapshotError::History`] likewise. Pages are not looked at.
    pub(crate) fn tree(&self, execution: ExecutionId) -> Result<MemoryTree, SnapshotError> {
        if self.image.execution != execution {
            return Err(SnapshotError::Execution { wanted: execution, found: self.image.execution });
        }
        // The image binds the roots before it, and is itself bound by the root that it was asked for by.
        self.history()?;
        let table = SnapshotError::Table { root: self.root() };
        let len = self.image.memory_pages as usize * 16;
        let ascending = self.leaves.is_sorted_by(|left, right| left.0 < right.0);
        let sound = self.leaves.iter().all(|leaf| (leaf.0 as usize) < len && leaf.1 != ZERO);
        if !ascending || !sound || len > 1 << 20 {
            return Err(table);
        }
        let tree = MemoryTree::of(self.leaves.iter().map(|leaf| (leaf.0, leaf.1)), len);
        if tree.root() == self.image.memory { Ok(tree) } else { Err(table) }
    }

    /// Copies the leaves into `memory`, each held against its hash.
    ///
    /// # Errors
    /// [`SnapshotError::Page`] for one that is another, [`SnapshotError::Read`] for one that cannot be had; `memory` is of
    /// no use then.
    pub(crate) fn fill(&self, memory: &mut [u8]) -> Result<(), SnapshotError> {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        let share = self.leaves.len().div_ceil(threads).max(SHARE_MIN);
        let mut shares = Vec::new();
        let (mut rest, mut begun) = (memory, 0);
        for leaves in self.leaves.chunks(share) {
            // Up to its last leaf: the next share begins behind it, for leaves ascend.
            let Some(last) = leaves.last() else { continue };
            let end = (last.0 as usize + 1) * LEAF_BYTES;
            let part = end.checked_sub(begun).filter(|len| *len <= rest.len());
            let part = part.ok_or(SnapshotError::Table { root: self.root() })?;
            let (part, behind) = rest.split_at_mut(part);
            shares.push((leaves, part, begun));
            (rest, begun) = (behind, end);
        }
        thread::scope(|scope| {
            let own = shares.pop();
            let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || self.fill_share(share))).collect();
            let mut done = own.map_or(Ok(()), |own| self.fill_share(own));
            // The first in the order of memory is the one that is told.
            for other in others.into_iter().rev() {
                match other.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => done = Err(error),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })
    }

    /// `memory` begins at the byte `begun` of all memory.
    fn fill_share(&self, (leaves, memory, begun): Share<'_>) -> Result<(), SnapshotError> {
        let hasher = Hasher::new();
        let mut hashes = Vec::new();
        let place = |leaf: u32| leaf as usize * LEAF_BYTES - begun;
        for batch in leaves.chunks(64) {
            let mut at = 0;
            while let Some((first, _, from)) = batch.get(at) {
                // Leaves that lie behind one another in memory and in the pack are read at once.
                let next = |(number, leaf): &(usize, &(u32, Hash, At))| {
                    leaf.0 as usize == *first as usize + number
                        && leaf.2.pack == from.pack
                        && leaf.2.offset == from.offset + (number * LEAF_BYTES) as u64
                };
                let run = batch[at..].iter().enumerate().take_while(next).count();
                let into = memory.get_mut(place(*first)..place(*first) + run * LEAF_BYTES);
                let altered = SnapshotError::Page { leaf: *first };
                if from.len as usize != LEAF_BYTES {
                    return Err(altered);
                }
                self.read(*from, into.ok_or(altered)?, &|| format!("page {first}"))?;
                at += run;
            }
            let pages = batch.iter().map(|leaf| memory.get(place(leaf.0)..).and_then(<[u8]>::first_chunk));
            let pages: Option<Vec<&[u8; LEAF_BYTES]>> = pages.collect();
            hashes.clear();
            hasher.leaves(&pages.unwrap_or_default(), &mut hashes);
            for (number, (leaf, hash, _)) in batch.iter().enumerate() {
                if hashes.get(number) != Some(hash) {
                    return Err(SnapshotError::Page { leaf: *leaf });
                }
            }
        }
        Ok(())
    }
}

/// Leaves, the part of memory that they go to, and where in all memory that begins.
type Share<'a> = (&'a [(u32, Hash, At)], &'a mut [u8], usize);

/// Most threads that a state is taken up by: more do not copy faster.
const THREADS_MAX: usize = 4;
/// Fewest leaves that are worth a thread: a megabyte.
const SHARE_MIN: usize = 256;
