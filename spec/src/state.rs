//! A task's state as a root (`spec/03-execution.md`, section 5). A run as a list of roots: [`crate::history`].

pub use crate::history::root as history_root;
use crate::{
    content::BlobRef,
    id::{ExecutionId, StateRoot},
    tensor::TensorType,
    unit::Fuel,
    wire::{self, Hashed},
};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of a leaf of [`memory_root`].
pub const LEAF_BYTES: usize = 4096;

/// Levels of [`memory_root`] above its leaves: 2^20 leaves of 4 KiB are the 4 GiB of a 32-bit memory.
pub const MEMORY_LEVELS: u32 = 20;

/// Root of linear memory. All zero bytes: all memory is zero, whatever its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MemoryRoot(pub [u8; 32]);

/// The value of a mutable global, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum GlobalValue {
    /// An `i32`.
    I32(u32),
    /// An `i64`.
    I64(u64),
    /// An `f32`.
    F32(u32),
    /// An `f64`.
    F64(u64),
    /// A `v128`.
    V128(u128),
}

/// A live tensor, in canonical handle order. There is none before the first handle was given out; from then on the
/// first mark is [`TensorMark::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TensorMark {
    /// The guest's handle; 0 for that of [`TensorMark::next`].
    pub handle: u32,
    /// Hash of dtype, shape and content.
    pub content: [u8; 32],
}

/// Where a tensor's bytes lie that were never in the guest's memory: part of a mounted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct TensorSource {
    /// The file's content.
    pub blob: BlobRef,
    /// Where in it they begin.
    pub offset: u64,
}

impl TensorMark {
    /// The number that the next tensor gets: the guest can tell two states apart by it.
    #[must_use]
    pub fn next(handle: u32) -> Self {
        Self { handle: 0, content: wire::derive("samebit/v1/tensor-next", &handle.to_le_bytes()) }
    }

    /// A tensor of elements; `bytes` are handed to `take` piece by piece.
    #[must_use]
    pub fn of(handle: u32, of: &TensorType, bytes: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("samebit/v1/tensor");
        hasher.update(&wire::encode(of));
        bytes(&mut |piece| {
            hasher.update(piece);
        });
        Self { handle, content: hasher.finalize().into() }
    }

    /// A tensor that is part of a mounted file, by the file's name: its bytes are not hashed again.
    #[must_use]
    pub fn of_source(handle: u32, of: &TensorType, source: &TensorSource) -> Self {
        Self { handle, content: wire::derive("samebit/v1/tensor-source", &wire::encode(&(of, source))) }
    }
}

/// A task's whole state between two steps. Its hash is the state root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateImage {
    /// What is being run.
    pub execution: ExecutionId,
    /// How many steps have been taken. 0: instantiated and initialised, not yet stepped.
    pub step: u32,
    /// The roots before this state's, in one hash: [`crate::history::past`].
    pub past: [u8; 32],
    /// Fuel used so far.
    pub fuel: Fuel,
    /// Size of linear memory, in Wasm pages of 64 KiB.
    pub memory_pages: u32,
    /// Its content.
    pub memory: MemoryRoot,
    /// Mutable globals in index order.
    pub globals: Vec<GlobalValue>,
    /// Indices of data segments that were dropped. Always empty in v1, which refuses passive segments.
    pub dropped_data: Vec<u32>,
    /// Indices of element segments that were dropped. Always empty in v1.
    pub dropped_elements: Vec<u32>,
    /// Hash of the WASI state: file tree, descriptors, clock, randomness counter.
    pub wasi: [u8; 32],
    /// stdout so far.
    pub stdout: BlobRef,
    /// Live tensors, ascending by handle.
    pub tensors: Vec<TensorMark>,
}

impl Hashed for StateImage {
    const CONTEXT: &'static str = "samebit/v1/state-image";
}

impl StateImage {
    /// The state root.
    #[must_use]
    pub fn root(&self) -> StateRoot {
        StateRoot(self.digest())
    }
}

/// Root of a linear memory: a sparse binary tree of [`MEMORY_LEVELS`] levels over 4 KiB leaves.
///
/// A leaf of zeros and a node over two such are 32 zero bytes, so the root does not depend on how much of
/// the tail is zero ([`StateImage::memory_pages`] tells the size). The last leaf is padded with zeros.
/// Time: one BLAKE3 pass over `memory`.
#[must_use]
pub fn memory_root(memory: &[u8]) -> MemoryRoot {
    let mut level: Vec<[u8; 32]> = memory.chunks(LEAF_BYTES).map(memory_leaf).collect();
    for _ in 0..MEMORY_LEVELS {
        level = level.chunks(2).map(|pair| memory_node(&pair[0], pair.get(1).unwrap_or(&[0; 32]))).collect();
        if level.is_empty() {
            return MemoryRoot::default();
        }
    }
    MemoryRoot(level[0])
}

/// Hash of one leaf of at most [`LEAF_BYTES`] bytes.
#[must_use]
pub fn memory_leaf(page: &[u8]) -> [u8; 32] {
    if page.iter().all(|&byte| byte == 0) {
        return [0; 32];
    }
    if page.len() == LEAF_BYTES {
        return wire::derive("samebit/v1/memory-leaf", page);
    }
    let mut padded = [0; LEAF_BYTES];
    padded[..page.len()].copy_from_slice(page);
    wire::derive("samebit/v1/memory-leaf", &padded)
}

/// Hash of the node above `left` and `right`.
#[must_use]
pub fn memory_node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    if left == &[0; 32] && right == &[0; 32] {
        return [0; 32];
    }
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(left);
    pair[32..].copy_from_slice(right);
    wire::derive("samebit/v1/memory-node", &pair)
}
