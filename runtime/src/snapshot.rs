//! A run's state between two steps, to be taken up again (`spec/03-execution.md`, section 12).
//!
//! A run hands out [`Checkpoint`]s: what is other than at the checkpoint before. Somebody keeps them ([`Keep`]); this
//! crate opens no file. Packs (`pack.rs`) are their form as bytes. A [`Snapshot`] is a whole state again, put together
//! from packs, and every byte of it is held against the state's root before anything that follows from it is told.

use crate::pages::{Hash, Hasher, MemoryTree, ZERO};
use samebit_spec::{
    history,
    id::{ExecutionId, StateRoot},
    state::{LEAF_BYTES, StateImage},
};
use samebit_wasi::{RestoreError, Saved};
use std::{collections::BTreeMap, sync::Arc};

/// What a state is other than at the checkpoint before it, or than blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The state's image; its root names it.
    pub image: StateImage,
    /// Roots since the checkpoint before, this state's the last.
    pub roots: Vec<StateRoot>,
    /// Leaves of memory that are other than they were, ascending. Zeros: all zeros.
    pub leaves: Vec<(u32, [u8; 32])>,
    /// The bytes of those that are not zeros, one after another.
    pub pages: Vec<u8>,
    /// The guest's world and its tensors, without pieces that were handed out before.
    pub world: Saved,
}

/// Keeps checkpoints of a run under way. Called on the thread that started the run.
pub trait Keep {
    /// Whether the state after `step` is to be kept.
    fn wants(&mut self, step: u32) -> bool;

    /// Keeps it.
    ///
    /// # Errors
    /// Why it cannot: the run ends as [`crate::HostFault::Keep`], and what was kept before stays.
    fn keep(&mut self, checkpoint: Checkpoint) -> Result<(), String>;
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
    pub(crate) offset: usize,
    pub(crate) len: usize,
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
    pub(crate) packs: Vec<Arc<Vec<u8>>>,
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

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.leaves.len() * LEAF_BYTES) as u64
    }

    pub(crate) fn at(&self, at: At) -> Option<&[u8]> {
        self.packs.get(at.pack)?.get(at.offset..at.offset.checked_add(at.len)?)
    }

    pub(crate) fn page(&self, at: At) -> Option<&[u8; LEAF_BYTES]> {
        self.at(at)?.try_into().ok()
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
        let history = |what| Err(SnapshotError::History { what });
        if self.roots.len() as u64 != u64::from(self.image.step) + 1 || self.roots.len() > 1 << history::HISTORY_LEVELS
        {
            return history("it has not one root for each step");
        }
        if self.roots.last() != Some(&self.root()) {
            return history("its last root is another");
        }
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

    /// Holds every page against its hash.
    ///
    /// # Errors
    /// [`SnapshotError::Page`] for the first that is another.
    pub fn check_pages(&self) -> Result<(), SnapshotError> {
        let hasher = Hasher::new();
        let mut hashes = Vec::new();
        for leaves in self.leaves.chunks(64) {
            let mut pages = Vec::with_capacity(leaves.len());
            for (leaf, _, at) in leaves {
                pages.push(self.page(*at).ok_or(SnapshotError::Page { leaf: *leaf })?);
            }
            hashes.clear();
            hasher.leaves(&pages, &mut hashes);
            for ((leaf, hash, _), found) in leaves.iter().zip(&hashes) {
                if hash != found {
                    return Err(SnapshotError::Page { leaf: *leaf });
                }
            }
        }
        Ok(())
    }
}
