//! Device memory: tensors in pieces that a binding can hold, buffers that are used again, and copies of tensors that stay.

use samebit_tensor::{Data, Tensor};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A tensor's words on the device, in pieces of `2^piece` words of which the last may be shorter. Its buffers go back to the pool
/// with its last owner; work that was recorded before then is submitted before any that reuses them.
pub(crate) struct Block {
    pub(crate) pieces: Vec<wgpu::Buffer>,
    /// Bytes of each piece but the last.
    pub(crate) piece_bytes: u64,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Block").field("pieces", &self.pieces.len()).field("bytes", &self.bytes()).finish()
    }
}

impl Block {
    /// Bytes of device memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(wgpu::Buffer::size).sum()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.give(self.pieces.drain(..));
    }
}

/// Buffers that nobody uses, by size.
#[derive(Debug)]
pub(crate) struct Pool {
    device: wgpu::Device,
    /// Binary logarithm of the words of a piece.
    pub(crate) piece: u32,
    /// Most bytes that are kept unused.
    kept_max: u64,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    by_size: BTreeMap<u64, Vec<wgpu::Buffer>>,
    bytes: u64,
}

/// A lock of state that stays whole whatever happened to a thread that held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(crate) fn new(device: wgpu::Device, piece: u32, kept_max: u64) -> Arc<Self> {
        Arc::new(Self { device, piece, kept_max, free: Mutex::default() })
    }

    /// Memory for this many bytes, with anything in it.
    pub(crate) fn block(self: &Arc<Self>, bytes: u64) -> Block {
        let piece_bytes = 4u64 << self.piece;
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while rest > piece_bytes {
            pieces.push(self.buffer(piece_bytes));
            rest -= piece_bytes;
        }
        pieces.push(self.buffer(rest));
        Block { pieces, piece_bytes, pool: Arc::clone(self) }
    }

    /// In how many pieces so many bytes lie.
    pub(crate) fn pieces(&self, bytes: u64) -> u64 {
        bytes.div_ceil(4u64 << self.piece).max(1)
    }

    /// A block without memory, for values that are only spoken of.
    pub(crate) fn nowhere(self: &Arc<Self>) -> Block {
        Block { pieces: Vec::new(), piece_bytes: 4u64 << self.piece, pool: Arc::clone(self) }
    }

    fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        let size = rounded(bytes).min((4u64 << self.piece).max(bytes.next_multiple_of(16)));
        let mut free = lock(&self.free);
        if let Some(buffer) = free.by_size.get_mut(&size).and_then(Vec::pop) {
            free.bytes -= size;
            return buffer;
        }
        drop(free);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    fn give(&self, buffers: impl Iterator<Item = wgpu::Buffer>) {
        let mut free = lock(&self.free);
        for buffer in buffers {
            if free.bytes + buffer.size() <= self.kept_max {
                free.bytes += buffer.size();
                free.by_size.entry(buffer.size()).or_default().push(buffer);
            }
        }
    }

    /// Lets every unused buffer go.
    pub(crate) fn clear(&self) {
        *lock(&self.free) = Free::default();
    }
}

/// Sizes of buffers: at most an eighth more than asked, so that few sizes serve many tensors.
fn rounded(bytes: u64) -> u64 {
    let step = (bytes.max(128).next_power_of_two() / 16).max(16);
    bytes.max(16).next_multiple_of(step)
}

/// Tensors of the host with a copy on the device: weights are sent once. An entry goes when the host drops the tensor, or
/// when there are too many bytes, the one unused for longest first.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    entries: BTreeMap<usize, Entry>,
    clock: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    /// Keeps the address from being another tensor's.
    elements: Weak<Data>,
    block: Arc<Block>,
    used: u64,
}

fn address(tensor: &Tensor) -> usize {
    Arc::as_ptr(tensor.shared()).addr()
}

impl Kept {
    /// The copy of a tensor.
    pub(crate) fn find(&mut self, tensor: &Tensor) -> Option<Arc<Block>> {
        self.clock += 1;
        let entry = self.entries.get_mut(&address(tensor))?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.block))
    }

    /// Keeps a copy of a tensor.
    pub(crate) fn insert(&mut self, tensor: &Tensor, block: &Arc<Block>) {
        self.clock += 1;
        self.bytes += block.bytes();
        let entry = Entry { elements: Arc::downgrade(tensor.shared()), block: Arc::clone(block), used: self.clock };
        if let Some(old) = self.entries.insert(address(tensor), entry) {
            self.bytes -= old.block.bytes();
        }
    }

    /// Lets go what nobody can ask for again, and what is beyond `most` bytes.
    pub(crate) fn trim(&mut self, most: u64) {
        self.entries.retain(|_, entry| entry.elements.strong_count() > 0);
        self.bytes = self.entries.values().map(|entry| entry.block.bytes()).sum();
        while self.bytes > most {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(address, _)| *address);
            let Some(entry) = oldest.and_then(|address| self.entries.remove(&address)) else { break };
            self.bytes -= entry.block.bytes();
        }
    }
}
