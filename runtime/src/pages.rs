//! The hash tree over linear memory, kept from root to root (`spec/03-execution.md`, section 5).
//!
//! Only leaves that may have changed are hashed again, and of the nodes above them only their ancestors. What may have
//! changed is for `dirty.rs` to say; a leaf too many costs time and nothing else, so the root does not depend on it.
//!
//! Leaves and nodes are hashed many at a time, as wide as the processor is. The values are those of
//! `samebit_spec::state`, which tests compare.

use blake3::{
    IncrementCounter,
    platform::{MAX_SIMD_DEGREE, Platform},
};
use samebit_spec::state::{LEAF_BYTES, MEMORY_LEVELS, MemoryRoot};

/// A hash. Zeros: all is zero below it.
pub(crate) type Hash = [u8; 32];

pub(crate) const ZERO: Hash = [0; 32];

/// Leaves that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Any of them.
    All,
    /// These, ascending, and no others.
    These(Vec<u32>),
}

// What BLAKE3's compression is told (its paper, section 2.2).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;
const DERIVE_KEY_MATERIAL: u8 = 64;

const CHUNK_BYTES: usize = 1024;
const CHUNKS: usize = LEAF_BYTES / CHUNK_BYTES;
const BLOCK_BYTES: usize = 64;

/// Leaves or nodes that are hashed together.
const WIDE: usize = MAX_SIMD_DEGREE;

/// Hashes leaves and nodes under their contexts.
pub(crate) struct Hasher {
    platform: Platform,
    leaf: [u32; 8],
    node: [u32; 8],
}

impl Hasher {
    pub(crate) fn new() -> Self {
        let key = |context| {
            let key = blake3::hazmat::hash_derive_key_context(context);
            let mut words = [0; 8];
            for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            words
        };
        Self { platform: Platform::detect(), leaf: key("samebit/v1/memory-leaf"), node: key("samebit/v1/memory-node") }
    }

    /// Hashes of whole leaves, none of which is all zeros.
    pub(crate) fn leaves(&self, leaves: &[&[u8; LEAF_BYTES]], out: &mut Vec<Hash>) {
        for leaves in leaves.chunks(WIDE) {
            let mut chunks = [[ZERO; WIDE]; CHUNKS];
            for (counter, chunks) in (0..).zip(&mut chunks) {
                let mut inputs: [&[u8; CHUNK_BYTES]; WIDE] = [&[0; CHUNK_BYTES]; WIDE];
                for (input, leaf) in inputs.iter_mut().zip(leaves) {
                    *input = &leaf.as_chunks::<CHUNK_BYTES>().0[counter];
                }
                let inputs = &inputs[..leaves.len()];
                // Each leaf is a message of its own, so the first chunk of each has number 0.
                self.hash(inputs, &self.leaf, counter as u64, 0, (CHUNK_START, CHUNK_END), chunks);
            }
            let mut pairs = [[ZERO; WIDE]; 2];
            for (pairs, halves) in pairs.iter_mut().zip(chunks.as_chunks::<2>().0) {
                self.parents(&self.leaf, &halves[0], &halves[1], leaves.len(), PARENT, pairs);
            }
            let mut tops = [ZERO; WIDE];
            self.parents(&self.leaf, &pairs[0], &pairs[1], leaves.len(), PARENT | ROOT, &mut tops);
            out.extend(&tops[..leaves.len()]);
        }
    }

    /// Hashes of nodes over pairs, none of which is of two zeros.
    fn nodes(&self, pairs: &[[u8; BLOCK_BYTES]], out: &mut Vec<Hash>) {
        for pairs in pairs.chunks(WIDE) {
            let mut inputs = [&pairs[0]; WIDE];
            for (input, pair) in inputs.iter_mut().zip(pairs) {
                *input = pair;
            }
            let mut hashes = [ZERO; WIDE];
            let ends = (CHUNK_START, CHUNK_END | ROOT);
            self.hash(&inputs[..pairs.len()], &self.node, 0, 0, ends, &mut hashes);
            out.extend(&hashes[..pairs.len()]);
        }
    }

    fn parents(&self, key: &[u32; 8], left: &[Hash], right: &[Hash], count: usize, flags: u8, out: &mut [Hash; WIDE]) {
        let mut blocks = [[0; BLOCK_BYTES]; WIDE];
        for ((block, left), right) in blocks.iter_mut().zip(left).zip(right) {
            block[..32].copy_from_slice(left);
            block[32..].copy_from_slice(right);
        }
        let inputs: [&[u8; BLOCK_BYTES]; WIDE] = std::array::from_fn(|at| &blocks[at]);
        self.hash(&inputs[..count], key, 0, flags, (0, 0), out);
    }

    fn hash<const N: usize>(
        &self,
        inputs: &[&[u8; N]],
        key: &[u32; 8],
        counter: u64,
        flags: u8,
        (start, end): (u8, u8),
        out: &mut [Hash; WIDE],
    ) {
        let flags = flags | DERIVE_KEY_MATERIAL;
        let out = out.as_flattened_mut();
        self.platform.hash_many(inputs, key, counter, IncrementCounter::No, flags, start, end, out);
    }
}

/// The tree.
pub(crate) struct MemoryTree {
    hasher: Hasher,
    /// From the leaves up, as long as memory is; what is beyond is zero.
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    /// Over no memory.
    pub(crate) fn new() -> Self {
        Self { hasher: Hasher::new(), levels: vec![Vec::new(); MEMORY_LEVELS as usize + 1] }
    }

    /// Over leaves whose hashes are known, ascending by index, of a memory of `len` leaves.
    pub(crate) fn of(leaves: impl Iterator<Item = (u32, Hash)>, len: usize) -> Self {
        let mut tree = Self::new();
        tree.resize(len);
        let mut changed = Vec::new();
        for (index, hash) in leaves {
            if let Some(leaf) = tree.levels[0].get_mut(index as usize) {
                *leaf = hash;
                changed.push(index);
            }
        }
        tree.rise(&changed);
        tree
    }

    /// The root as of the last update.
    pub(crate) fn root(&self) -> MemoryRoot {
        MemoryRoot(self.levels.last().and_then(|top| top.first()).copied().unwrap_or(ZERO))
    }

    /// Hash of a leaf.
    pub(crate) fn leaf(&self, index: u32) -> Hash {
        self.levels[0].get(index as usize).copied().unwrap_or(ZERO)
    }

    /// Takes memory as it is; gives the leaves that are other than they were, ascending.
    pub(crate) fn update(&mut self, memory: &[u8], changed: &Changed) -> Vec<u32> {
        // Memory is whole pages of 64 KiB.
        let (leaves, _) = memory.as_chunks::<LEAF_BYTES>();
        self.resize(leaves.len());
        let mut found = Vec::new();
        let mut batch = Batch { indices: [0; WIDE], leaves: Vec::with_capacity(WIDE), hashes: Vec::new() };
        let mut look = |tree: &mut Self, index: u32| {
            let Some(leaf) = leaves.get(index as usize) else { return };
            if is_zero(leaf) {
                tree.set(index, ZERO, &mut found);
                return;
            }
            batch.indices[batch.leaves.len()] = index;
            batch.leaves.push(leaf);
            if batch.leaves.len() == WIDE {
                batch.flush(tree, &mut found);
            }
        };
        match changed {
            Changed::All => (0..).take(leaves.len()).for_each(|index| look(self, index)),
            Changed::These(these) => these.iter().for_each(|index| look(self, *index)),
        }
        batch.flush(self, &mut found);
        // Leaves of zeros were set at once, the others batch by batch.
        found.sort_unstable();
        self.rise(&found);
        found
    }

    fn set(&mut self, index: u32, hash: Hash, found: &mut Vec<u32>) {
        let leaf = &mut self.levels[0][index as usize];
        if *leaf != hash {
            *leaf = hash;
            found.push(index);
        }
    }

    /// Memory grows and never shrinks.
    fn resize(&mut self, leaves: usize) {
        let mut len = leaves;
        for level in &mut self.levels {
            if level.len() < len {
                level.resize(len, ZERO);
            }
            len = len.div_ceil(2);
        }
    }

    /// Hashes the ancestors of `changed` again.
    fn rise(&mut self, changed: &[u32]) {
        let mut changed = changed.to_vec();
        let (mut pairs, mut places, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for above in 1..self.levels.len() {
            for index in &mut changed {
                *index /= 2;
            }
            changed.dedup();
            let (below, level) = self.levels.split_at_mut(above);
            let (Some(below), Some(level)) = (below.last(), level.first_mut()) else { return };
            pairs.clear();
            places.clear();
            for &index in &changed {
                let child = |side: usize| below.get(2 * index as usize + side).unwrap_or(&ZERO);
                let (left, right) = (child(0), child(1));
                if left == &ZERO && right == &ZERO {
                    level[index as usize] = ZERO;
                    continue;
                }
                let mut pair = [0; BLOCK_BYTES];
                pair[..32].copy_from_slice(left);
                pair[32..].copy_from_slice(right);
                pairs.push(pair);
                places.push(index);
            }
            hashes.clear();
            self.hasher.nodes(&pairs, &mut hashes);
            for (place, hash) in places.iter().zip(&hashes) {
                level[*place as usize] = *hash;
            }
        }
    }
}

/// Leaves that wait to be hashed together.
struct Batch<'a> {
    indices: [u32; WIDE],
    leaves: Vec<&'a [u8; LEAF_BYTES]>,
    hashes: Vec<Hash>,
}

impl Batch<'_> {
    fn flush(&mut self, tree: &mut MemoryTree, found: &mut Vec<u32>) {
        self.hashes.clear();
        tree.hasher.leaves(&self.leaves, &mut self.hashes);
        for (index, hash) in self.indices.iter().zip(&self.hashes) {
            tree.set(*index, *hash, found);
        }
        self.leaves.clear();
    }
}

fn is_zero(leaf: &[u8; LEAF_BYTES]) -> bool {
    leaf == &[0; LEAF_BYTES]
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::state::{memory_leaf, memory_root};

    /// Bytes that depend on their place; every third leaf is zeros.
    fn memory(pages: usize) -> Vec<u8> {
        let mut memory = vec![0; pages << 16];
        for (number, leaf) in memory.chunks_mut(LEAF_BYTES).enumerate().filter(|(number, _)| number % 3 != 1) {
            for (at, byte) in leaf.iter_mut().enumerate() {
                *byte = u8::try_from((number * 31 + at * 7) % 251).expect("below 251");
            }
        }
        memory
    }

    #[test]
    fn many_leaves_hashed_together_have_the_hashes_of_the_specification() {
        let memory = memory(3);
        let leaves: Vec<&[u8; LEAF_BYTES]> = memory.as_chunks().0.iter().filter(|leaf| !is_zero(leaf)).collect();
        for count in [1, 3, 8, 16, 17, leaves.len()] {
            let mut hashes = Vec::new();
            Hasher::new().leaves(&leaves[..count], &mut hashes);
            let expected: Vec<Hash> = leaves[..count].iter().map(|leaf| memory_leaf(&leaf[..])).collect();
            assert_eq!(hashes, expected);
        }
    }

    #[test]
    fn the_root_is_the_same_whatever_was_said_to_have_changed() {
        let mut bytes = memory(2);
        let (mut told, mut all) = (MemoryTree::new(), MemoryTree::new());
        told.update(&bytes, &Changed::All);
        for round in 0..40_u8 {
            if round % 9 == 8 {
                bytes.resize(bytes.len() + (1 << 16), 0);
            }
            let leaves = bytes.len() / LEAF_BYTES;
            let mut these = Vec::new();
            for pick in 0..usize::from(round % 5) {
                let leaf = (usize::from(round) * 7 + pick * 11) % leaves;
                // Sometimes zeros, sometimes what was there already.
                let value = if round % 4 == 0 { 0 } else { round };
                bytes[leaf * LEAF_BYTES..][..LEAF_BYTES].fill(value);
                these.push(u32::try_from(leaf).expect("small"));
                these.push(u32::try_from((leaf + 1) % leaves).expect("small"));
            }
            these.sort_unstable();
            these.dedup();
            let changed = told.update(&bytes, &Changed::These(these.clone()));
            assert!(changed.iter().all(|index| these.contains(index)));
            all.update(&bytes, &Changed::All);
            assert_eq!(told.root(), all.root());
            assert_eq!(told.root(), memory_root(&bytes));
        }
        let leaves = (0..).zip(&told.levels[0]).map(|(index, hash)| (index, *hash)).filter(|leaf| leaf.1 != ZERO);
        assert_eq!(MemoryTree::of(leaves, bytes.len() / LEAF_BYTES).root(), told.root());
    }

    #[test]
    fn memory_of_zeros_of_any_size_has_the_root_of_none() {
        let mut tree = MemoryTree::new();
        assert_eq!(tree.root(), MemoryRoot::default());
        assert_eq!(tree.update(&vec![0; 5 << 16], &Changed::All), Vec::<u32>::new());
        assert_eq!(tree.root(), MemoryRoot::default());
    }
}
