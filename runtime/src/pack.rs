//! Checkpoints as bytes: one pack for each (`spec/03-execution.md`, section 12).
//!
//! A pack begins with a manifest, which describes its state whole, and goes on with the chunks that no earlier pack of
//! the run has: pages of memory, pieces of the guest's files and output, pieces of the history. A chunk is named by its
//! hash, so any set of packs that has all chunks of a state can give it, and packs can be merged.

use crate::{
    dirty,
    snapshot::{At, Checkpoint, Snapshot, SnapshotError},
};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::{
    id::StateRoot,
    param,
    state::{LEAF_BYTES, StateImage},
    wire,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Read, Write},
    sync::Arc,
};

/// Begins each pack; the number is that of its layout.
const MAGIC: &[u8; 16] = b"samebit-pack-001";

/// Magic, length of the manifest, its hash.
const HEADER: usize = MAGIC.len() + 8 + 32;

/// Roots of a piece of history.
const PIECE_ROOTS: usize = LEAF_BYTES / 32;

type Hash = [u8; 32];

/// Why bytes are no pack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// They end before what they announce.
    #[error("the pack is cut short: {found} bytes, at least {wanted} announced")]
    Short {
        /// How many there are.
        found: u64,
        /// How many there should be.
        wanted: u64,
    },
    /// More bytes than announced.
    #[error("the pack has {more} bytes more than it announces")]
    Long {
        /// How many.
        more: u64,
    },
    /// They do not begin as one.
    #[error("it does not begin as a pack does")]
    Magic,
    /// The manifest is another than its hash says, or none.
    #[error("the pack's manifest was altered")]
    Manifest,
}

/// What a pack says of its state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Manifest {
    image: StateImage,
    /// How many roots the history has.
    roots: u64,
    /// Its pieces, in order.
    history: Vec<Hash>,
    /// Leaves of memory that are not zeros, ascending.
    leaves: Vec<(u32, Hash)>,
    /// The guest's world.
    world: Vec<u8>,
    /// Its pieces.
    pieces: BTreeSet<Hash>,
    /// The chunks in this pack, in order, with their lengths.
    chunks: Vec<(Hash, u32)>,
}

impl Manifest {
    /// Every chunk that the state needs.
    fn needs(&self) -> impl Iterator<Item = &Hash> {
        self.history.iter().chain(self.leaves.iter().map(|leaf| &leaf.1)).chain(&self.pieces)
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = wire::encode(self);
        out.write_all(MAGIC)?;
        out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        out.write_all(&manifest_hash(&bytes))?;
        out.write_all(&bytes)
    }
}

fn manifest_hash(bytes: &[u8]) -> Hash {
    wire::derive("samebit/v1/pack-manifest", bytes)
}

fn history_piece(bytes: &[u8]) -> Hash {
    wire::derive("samebit/v1/pack-history", bytes)
}

/// A pack that was read. Its chunks are held against their hashes when they are used.
#[derive(Clone, Debug)]
pub struct Pack {
    manifest: Manifest,
    bytes: Arc<Vec<u8>>,
    /// Where its chunks begin.
    chunks: usize,
}

impl Pack {
    /// Reads one of `len` bytes from a file.
    ///
    /// # Errors
    /// What the file says, or [`PackError`] as its source.
    pub fn read_from(file: &mut dyn Read, len: u64) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
        dirty::prefer_large_pages(bytes.as_ptr(), bytes.capacity());
        file.take(len).read_to_end(&mut bytes)?;
        Self::read(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn read(bytes: Vec<u8>) -> Result<Self, PackError> {
        let short = |wanted: usize| PackError::Short { found: bytes.len() as u64, wanted: wanted as u64 };
        let header = bytes.get(..HEADER).ok_or_else(|| short(HEADER))?;
        let (magic, rest) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(PackError::Magic);
        }
        let (len, hash) = rest.split_at(8);
        let len = len.try_into().map(u64::from_le_bytes).map_err(|_| PackError::Magic)?;
        let end = usize::try_from(len).ok().and_then(|len| len.checked_add(HEADER)).ok_or_else(|| short(usize::MAX))?;
        let manifest = bytes.get(HEADER..end).ok_or_else(|| short(end))?;
        if manifest_hash(manifest) != hash {
            return Err(PackError::Manifest);
        }
        let manifest: Manifest = wire::decode(manifest).map_err(|_| PackError::Manifest)?;
        let chunks: u64 = manifest.chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
        let (found, wanted) = (bytes.len() as u64, (end as u64).saturating_add(chunks));
        match found.checked_sub(wanted) {
            None => return Err(PackError::Short { found, wanted }),
            Some(0) => {}
            Some(more) => return Err(PackError::Long { more }),
        }
        Ok(Self { manifest, bytes: Arc::new(bytes), chunks: end })
    }

    /// The state that it describes.
    #[must_use]
    pub fn root(&self) -> StateRoot {
        self.manifest.image.root()
    }

    /// Steps taken to it.
    #[must_use]
    pub fn step(&self) -> u32 {
        self.manifest.image.step
    }

    /// Lets go of the chunks, and keeps what it says of its state.
    pub fn lighten(&mut self) {
        self.bytes = Arc::new(self.bytes[..self.chunks.min(self.bytes.len())].to_vec());
    }

    /// The pack itself; without its chunks where it was lightened.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of it, chunks included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks as u64 + self.manifest.chunks.iter().map(|chunk| u64::from(chunk.1)).sum::<u64>()
    }

    /// Never: a pack has a manifest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its chunks, each with where it is.
    fn chunks(&self) -> impl Iterator<Item = (Hash, usize, usize)> {
        let mut at = self.chunks;
        self.manifest.chunks.iter().map(move |(hash, len)| {
            let offset = at;
            at += *len as usize;
            (*hash, offset, *len as usize)
        })
    }
}

/// The packs of a run.
#[derive(Clone, Debug, Default)]
pub struct Packs(Vec<Pack>);

impl Packs {
    /// These, in any order.
    #[must_use]
    pub fn new(mut packs: Vec<Pack>) -> Self {
        packs.sort_by_key(Pack::step);
        Self(packs)
    }

    fn known(&self) -> BTreeSet<Hash> {
        self.0.iter().flat_map(|pack| pack.manifest.chunks.iter().map(|chunk| chunk.0)).collect()
    }

    /// Them, by step.
    #[must_use]
    pub fn all(&self) -> &[Pack] {
        &self.0
    }

    /// Puts the state of `root` together. It is held against the root when it is taken up.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn snapshot(&self, root: StateRoot) -> Result<Snapshot, SnapshotError> {
        let missing = |what: String| SnapshotError::Missing { what };
        let pack = self.0.iter().find(|pack| pack.root() == root).ok_or_else(|| missing(root.to_string()))?;
        // Looked up and never gone through.
        let mut places = HashMap::new();
        for (number, pack) in self.0.iter().enumerate() {
            for (hash, offset, len) in pack.chunks() {
                places.entry(hash).or_insert(At { pack: number, offset, len });
            }
        }
        let Manifest { image, roots: count, history, leaves, world, pieces, chunks: _ } = pack.manifest.clone();
        let find = |hash: &Hash, what: &dyn Fn() -> String| places.get(hash).copied().ok_or_else(|| missing(what()));
        let leaves = leaves
            .into_iter()
            .map(|(leaf, hash)| Ok((leaf, hash, find(&hash, &|| format!("page {leaf}"))?)))
            .collect::<Result<Vec<_>, SnapshotError>>()?;
        let pieces = pieces
            .into_iter()
            .map(|hash| Ok((hash, find(&hash, &|| "a piece of a file".to_string())?)))
            .collect::<Result<BTreeMap<_, _>, SnapshotError>>()?;
        let packs = self.0.iter().map(|pack| Arc::clone(&pack.bytes)).collect();
        let mut snapshot = Snapshot { image, roots: Vec::new(), leaves, world, pieces, packs };
        let mut roots = Vec::new();
        for piece in &history {
            let at = find(piece, &|| "a piece of the history".to_string())?;
            let bytes = snapshot.at(at).unwrap_or_default();
            let altered = SnapshotError::History { what: "a piece of it was altered" };
            if history_piece(bytes) != *piece {
                return Err(altered);
            }
            roots.extend(bytes.as_chunks::<32>().0.iter().copied().map(StateRoot));
        }
        if roots.len() as u64 != count {
            return Err(SnapshotError::History { what: "it has another length than it says" });
        }
        snapshot.roots = roots;
        Ok(snapshot)
    }

    /// The latest state at or before `step`.
    #[must_use]
    pub fn nearest(&self, step: u32) -> Option<StateRoot> {
        self.0.iter().rev().find(|pack| pack.step() <= step).map(Pack::root)
    }

    /// Writes the pack after the `number`-th anew, with the chunks of that one which another one needs, so that the
    /// `number`-th can go.
    ///
    /// # Errors
    /// What `out` says.
    pub fn absorb(&self, number: usize, out: &mut dyn Write) -> io::Result<()> {
        let (Some(gone), Some(heir)) = (self.0.get(number), self.0.get(number + 1)) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no pack comes after it"));
        };
        // An earlier state may need a chunk of a later pack: a run that was kept at another pace lies over this one.
        let others = self.0.iter().enumerate().filter(|(at, _)| *at != number);
        let needed: BTreeSet<&Hash> = others.flat_map(|(_, pack)| pack.manifest.needs()).collect();
        let has: BTreeSet<Hash> = heir.manifest.chunks.iter().map(|chunk| chunk.0).collect();
        let moved = gone.chunks().filter(|chunk| needed.contains(&chunk.0) && !has.contains(&chunk.0));
        let moved: Vec<_> = moved.collect();
        let mut manifest = heir.manifest.clone();
        let lens = moved.iter().map(|(hash, _, len)| (*hash, u32::try_from(*len).unwrap_or(u32::MAX)));
        manifest.chunks.extend(lens);
        manifest.write(out)?;
        out.write_all(&heir.bytes[heir.chunks..])?;
        for (_, offset, len) in moved {
            let chunk = gone.bytes.get(offset..offset + len);
            out.write_all(chunk.ok_or_else(|| io::Error::other("the pack that goes was lightened"))?)?;
        }
        Ok(())
    }
}

/// Makes packs of checkpoints, one after another.
#[derive(Clone, Debug, Default)]
pub struct Packer {
    leaves: BTreeMap<u32, Hash>,
    roots: Vec<StateRoot>,
    /// Chunks that are in a pack already.
    known: BTreeSet<Hash>,
}

impl Packer {
    /// For a run from its beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a run from its beginning, where `packs` of the same execution are kept already.
    #[must_use]
    pub fn over(packs: &Packs) -> Self {
        Self { known: packs.known(), ..Self::default() }
    }

    /// For a run that is taken up at `snapshot`, whose packs `packs` are kept.
    #[must_use]
    pub fn after(snapshot: &Snapshot, packs: &Packs) -> Self {
        Self {
            leaves: snapshot.leaves.iter().map(|leaf| (leaf.0, leaf.1)).collect(),
            roots: snapshot.roots.clone(),
            known: packs.known(),
        }
    }

    /// Takes for known what `packs` have and nothing else: a chunk that went with its pack is written again when a state
    /// needs it again.
    pub fn hold_to(&mut self, packs: &Packs) {
        self.known = packs.known();
    }

    /// Writes the pack of the next checkpoint. After an error the packer is of no further use.
    ///
    /// # Errors
    /// What `out` says.
    pub fn pack(&mut self, checkpoint: Checkpoint, out: &mut dyn Write) -> io::Result<()> {
        let Checkpoint { image, roots, leaves, pages, world } = checkpoint;
        let mut new: Vec<(Hash, &[u8])> = Vec::new();
        let mut pages = pages.as_chunks::<LEAF_BYTES>().0.iter();
        for (leaf, hash) in leaves {
            if hash == [0; 32] {
                self.leaves.remove(&leaf);
                continue;
            }
            let page = pages.next().ok_or_else(|| io::Error::other("a checkpoint with fewer pages than leaves"))?;
            self.leaves.insert(leaf, hash);
            if self.known.insert(hash) {
                new.push((hash, page));
            }
        }
        self.roots.extend(roots);
        let flat: Vec<Hash> = self.roots.iter().map(|root| root.0).collect();
        let mut history = Vec::new();
        for piece in flat.chunks(PIECE_ROOTS) {
            let piece = piece.as_flattened();
            let hash = history_piece(piece);
            history.push(hash);
            if self.known.insert(hash) {
                new.push((hash, piece));
            }
        }
        for (hash, piece) in &world.pieces {
            if self.known.insert(*hash) {
                new.push((*hash, piece));
            }
        }
        let chunks = new.iter().map(|(hash, bytes)| (*hash, u32::try_from(bytes.len()).unwrap_or(u32::MAX))).collect();
        let leaves = self.leaves.iter().map(|(leaf, hash)| (*leaf, *hash)).collect();
        let roots = self.roots.len() as u64;
        let manifest = Manifest { image, roots, history, leaves, world: world.image, pieces: world.named, chunks };
        manifest.write(out)?;
        new.into_iter().try_for_each(|(_, bytes)| out.write_all(bytes))
    }
}

/// Most steps that a history can have, so that a pack's count is a number of 32 bits.
const _: () = assert!(param::STEPS_MAX < u32::MAX);
