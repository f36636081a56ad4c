//! Checkpoints as bytes: one pack for each (`spec/03-execution.md`, section 12).
//!
//! A pack begins with a manifest, which describes its state whole, and goes on with the chunks that no earlier pack of
//! the run has: pages of memory, pieces of the guest's files and output, pieces of tensors, pieces of the history. A chunk is named by its
//! hash, so any set of packs that has all chunks of a state can give it, and packs can be merged.

use crate::{
    snapshot::{At, Checkpoint, Pages, Snapshot, SnapshotError, Source},
    tensors,
};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::{
    id::StateRoot,
    param,
    state::{LEAF_BYTES, StateImage, memory_leaf},
    wire,
};
use samebit_wasi::{Piece, piece_hash};
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    io::{self, Write},
    sync::Arc,
};

/// Begins each pack; the number is that of its layout.
const MAGIC: &[u8; 16] = b"samebit-pack-001";

/// Magic, length of the manifest, its hash.
const HEADER: usize = MAGIC.len() + 8 + 32;

/// Bytes of the longest chunk: a piece of a tensor. All others are at most [`LEAF_BYTES`].
const CHUNK_MAX: u64 = tensors::PIECE_BYTES;

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
    /// Bytes that the state's pack takes when it alone has all of its chunks, whose lengths `pieces` gives for those of the
    /// world: no more than this. `same` says whether equal pages are looked for, which takes time.
    fn whole(&self, pieces: &[u64], same: bool) -> u64 {
        let pages = match same {
            true => self.leaves.iter().map(|leaf| leaf.1).collect::<HashSet<_>>().len(),
            false => self.leaves.len(),
        };
        // All pieces of the history but the last are full.
        let chunks = pages + self.history.len() + pieces.len();
        let lists = 36 * (self.leaves.len() + chunks) + 32 * (self.history.len() + pieces.len()) + self.world.len();
        let counts = 64 + wire::encode(&self.image).len();
        (HEADER + counts + lists + pages * LEAF_BYTES) as u64 + pieces.iter().sum::<u64>() + self.roots * 32
    }

    /// Every chunk that the state needs.
    fn needs(&self) -> impl Iterator<Item = &Hash> {
        self.history.iter().chain(self.leaves.iter().map(|leaf| &leaf.1)).chain(&self.pieces)
    }

    /// Gives where the chunks begin.
    fn write(&self, out: &mut dyn Write) -> io::Result<u64> {
        let bytes = wire::encode(self);
        out.write_all(MAGIC)?;
        out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        out.write_all(&manifest_hash(&bytes))?;
        out.write_all(&bytes)?;
        Ok((HEADER + bytes.len()) as u64)
    }
}

fn manifest_hash(bytes: &[u8]) -> Hash {
    wire::derive("samebit/v1/pack-manifest", bytes)
}

fn history_piece(bytes: &[u8]) -> Hash {
    wire::derive("samebit/v1/pack-history", bytes)
}

/// A pack: what it says of its state, and where its chunks are. They are held against their hashes when they are used.
#[derive(Clone)]
pub struct Pack {
    manifest: Arc<Manifest>,
    source: Arc<dyn Source>,
    /// Where its chunks begin.
    chunks: u64,
    /// Those that count as not there.
    lost: Arc<BTreeSet<Hash>>,
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pack").field("root", &self.root()).field("step", &self.step()).finish_non_exhaustive()
    }
}

impl Pack {
    /// Reads what one of `len` bytes says of its state.
    ///
    /// # Errors
    /// What its source says, or [`PackError`] as an error's inner one.
    pub fn open(source: Arc<dyn Source>, len: u64) -> io::Result<Self> {
        let refused = |error: PackError| io::Error::new(io::ErrorKind::InvalidData, error);
        let short = |wanted: u64| refused(PackError::Short { found: len, wanted });
        if len < HEADER as u64 {
            return Err(short(HEADER as u64));
        }
        let mut header = [0; HEADER];
        source.read_at(0, &mut header)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(refused(PackError::Magic));
        }
        let (announced, hash) = rest.split_at(8);
        let announced = announced.try_into().map(u64::from_le_bytes).map_err(|_| refused(PackError::Magic))?;
        let end = announced.checked_add(HEADER as u64).ok_or_else(|| short(u64::MAX))?;
        // Nothing is set aside for more bytes than there are.
        if end > len {
            return Err(short(end));
        }
        let mut manifest = vec![0; usize::try_from(announced).map_err(io::Error::other)?];
        source.read_at(HEADER as u64, &mut manifest)?;
        if manifest_hash(&manifest) != hash {
            return Err(refused(PackError::Manifest));
        }
        let manifest: Manifest = wire::decode(&manifest).map_err(|_| refused(PackError::Manifest))?;
        let chunks: u64 = manifest.chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
        let wanted = end.saturating_add(chunks);
        match len.checked_sub(wanted) {
            None => Err(short(wanted)),
            Some(0) => Ok(Self { manifest: Arc::new(manifest), source, chunks: end, lost: Arc::default() }),
            Some(more) => Err(refused(PackError::Long { more })),
        }
    }

    /// One that is in memory.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn read(bytes: Vec<u8>) -> Result<Self, PackError> {
        let len = bytes.len() as u64;
        Self::open(Arc::new(bytes), len).map_err(|error| {
            let refused = error.into_inner().and_then(|inner| inner.downcast::<PackError>().ok());
            refused.map_or(PackError::Short { found: len, wanted: len }, |refused| *refused)
        })
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

    /// Bytes of it, chunks included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks + self.manifest.chunks.iter().map(|chunk| u64::from(chunk.1)).sum::<u64>()
    }

    /// Never: a pack has a manifest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its chunks that are not what their hashes say, or are not there. Reads all of it.
    ///
    /// # Errors
    /// What its source says where bytes that may be there cannot be read now: nothing is known of them.
    pub fn altered(&self) -> io::Result<BTreeSet<Hash>> {
        let mut altered = BTreeSet::new();
        let mut bytes = Vec::new();
        for (hash, offset, len) in self.chunks() {
            if u64::from(len) > CHUNK_MAX {
                altered.insert(hash);
                continue;
            }
            bytes.resize(len as usize, 0);
            let sound = match self.source.read_at(offset, &mut bytes) {
                // A manifest does not say what kind each is.
                Ok(()) if len as usize <= LEAF_BYTES => {
                    let kinds: [fn(&[u8]) -> Hash; 4] = [memory_leaf, piece_hash, history_piece, tensors::piece_hash];
                    kinds.iter().any(|kind| kind(&bytes) == hash)
                }
                Ok(()) => tensors::piece_hash(&bytes) == hash,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
                Err(error) => return Err(error),
            };
            if !sound {
                altered.insert(hash);
            }
        }
        Ok(altered)
    }

    /// The same with `lost` chunks counted as not there, where it cannot be written anew.
    #[must_use]
    pub fn without(&self, lost: &BTreeSet<Hash>) -> Self {
        Self { lost: Arc::new(&*self.lost | lost), ..self.clone() }
    }

    /// Writes it without `lost` chunks.
    ///
    /// # Errors
    /// What its source or `out` says.
    pub fn write_without(&self, lost: &BTreeSet<Hash>, out: &mut dyn Write) -> io::Result<Written> {
        let kept = self.chunks().filter(|chunk| !lost.contains(&chunk.0)).map(|chunk| (self, chunk));
        write_with(&self.manifest, kept.collect(), out)
    }

    /// Its chunks that are not lost, each with where it is.
    fn chunks(&self) -> impl Iterator<Item = (Hash, u64, u32)> {
        let mut at = self.chunks;
        let all = self.manifest.chunks.iter().map(move |(hash, len)| {
            let offset = at;
            at += u64::from(*len);
            (*hash, offset, *len)
        });
        all.filter(|chunk| !self.lost.contains(&chunk.0))
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
        self.0.iter().flat_map(|pack| pack.chunks().map(|chunk| chunk.0)).collect()
    }

    /// Them, by step.
    #[must_use]
    pub fn all(&self) -> &[Pack] {
        &self.0
    }

    /// Of each pack, in order: whether all chunks of its state are there.
    #[must_use]
    pub fn are_whole(&self) -> Vec<bool> {
        // Looked up and never gone through.
        let known: HashSet<Hash> = self.0.iter().flat_map(|pack| pack.chunks().map(|chunk| chunk.0)).collect();
        self.0.iter().map(|pack| pack.manifest.needs().all(|hash| known.contains(hash))).collect()
    }

    /// Puts the state of `root` together. It is held against the root when it is taken up.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn snapshot(&self, root: StateRoot) -> Result<Snapshot, SnapshotError> {
        let missing = |what: String| SnapshotError::Missing { what };
        let own = self.0.iter().position(|pack| pack.root() == root).ok_or_else(|| missing(root.to_string()))?;
        let Manifest { image, roots: count, history, leaves, world, pieces, chunks: _ } = &*self.0[own].manifest;
        // A pack has its chunks in the order of its leaves, so most are found by going along. The rest is looked up, and
        // never gone through.
        let mut along = self.0[own].chunks().peekable();
        let places = OnceCell::new();
        let look_up = |hash: &Hash| {
            let places: &HashMap<Hash, At> = places.get_or_init(|| {
                let mut places = HashMap::new();
                for (number, pack) in self.0.iter().enumerate() {
                    for (hash, offset, len) in pack.chunks() {
                        places.entry(hash).or_insert(At { pack: number, offset, len });
                    }
                }
                places
            });
            places.get(hash).copied()
        };
        let mut find = |hash: &Hash, what: &dyn Fn() -> String| match along.next_if(|chunk| chunk.0 == *hash) {
            Some((_, offset, len)) => Ok(At { pack: own, offset, len }),
            None => look_up(hash).ok_or_else(|| missing(what())),
        };
        let leaves = leaves
            .iter()
            .map(|(leaf, hash)| Ok((*leaf, *hash, find(hash, &|| format!("page {leaf}"))?)))
            .collect::<Result<Vec<_>, SnapshotError>>()?;
        let history = history
            .iter()
            .map(|hash| Ok((*hash, find(hash, &|| "a piece of the history".to_string())?)))
            .collect::<Result<Vec<_>, SnapshotError>>()?;
        let pieces = pieces
            .iter()
            .map(|hash| Ok((*hash, find(hash, &|| "a piece of a file".to_string())?)))
            .collect::<Result<BTreeMap<_, _>, SnapshotError>>()?;
        let packs = self.0.iter().map(|pack| Arc::clone(&pack.source)).collect();
        let (image, world) = (image.clone(), world.clone());
        let mut snapshot = Snapshot { image, roots: Vec::new(), leaves, world, pieces, packs };
        let mut roots = Vec::new();
        for (hash, at) in history {
            let bytes = snapshot.at(at, &|| "a piece of the history".to_string())?;
            if history_piece(&bytes) != hash {
                return Err(SnapshotError::History { what: "a piece of it was altered" });
            }
            roots.extend(bytes.as_chunks::<32>().0.iter().copied().map(StateRoot));
        }
        if roots.len() as u64 != *count {
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

    /// Writes the pack number `heir` anew, with what the states of all packs but number `gone` need of the chunks of these
    /// two and nothing else, so that number `gone` can go. Gives what [`Pack::open`] gives of what was written.
    ///
    /// # Errors
    /// What `out` says.
    pub fn absorb(&self, gone: usize, heir: usize, out: &mut dyn Write) -> io::Result<Written> {
        let (Some(from), Some(into), true) = (self.0.get(gone), self.0.get(heir), gone != heir) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there are no two such packs"));
        };
        // An earlier state may need a chunk of a later pack: a run that was kept at another pace lies over this one.
        let others = self.0.iter().enumerate().filter(|(at, _)| *at != gone);
        let needed: HashSet<&Hash> = others.flat_map(|(_, pack)| pack.manifest.needs()).collect();
        let mut has = HashSet::new();
        let both = into.chunks().map(|chunk| (into, chunk)).chain(from.chunks().map(|chunk| (from, chunk)));
        let kept = both.filter(|(_, chunk)| needed.contains(&chunk.0) && has.insert(chunk.0));
        write_with(&into.manifest, kept.collect(), out)
    }
}

/// A pack and one of its chunks: hash, where, length.
type Chunk<'a> = (&'a Pack, (Hash, u64, u32));

/// Writes a pack of `manifest`'s state that has these chunks.
fn write_with(manifest: &Manifest, chunks: Vec<Chunk<'_>>, out: &mut dyn Write) -> io::Result<Written> {
    let listed = chunks.iter().map(|(_, (hash, _, len))| (*hash, *len)).collect();
    let manifest = Manifest { chunks: listed, ..manifest.clone() };
    let begin = manifest.write(out)?;
    let mut bytes = Vec::new();
    for (pack, (_, offset, len)) in chunks {
        // No chunk is longer, and who says otherwise is not given the memory for it.
        if u64::from(len) > CHUNK_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a chunk of {len} bytes")));
        }
        bytes.resize(len as usize, 0);
        pack.source.read_at(offset, &mut bytes)?;
        out.write_all(&bytes)?;
    }
    Ok(Written { manifest: Arc::new(manifest), chunks: begin })
}

/// A pack that was written, until it is told where it is.
#[derive(Clone, Debug)]
pub struct Written {
    manifest: Arc<Manifest>,
    chunks: u64,
}

impl Written {
    /// The pack, whose bytes `source` has now.
    #[must_use]
    pub fn at(self, source: Arc<dyn Source>) -> Pack {
        Pack { manifest: self.manifest, source, chunks: self.chunks, lost: Arc::default() }
    }
}

/// Makes packs of checkpoints, one after another.
#[derive(Clone, Debug, Default)]
pub struct Packer {
    /// What the last pack said.
    last: Option<Arc<Manifest>>,
    /// The roots of its last piece of history, if that is not full.
    tail: Vec<StateRoot>,
    /// Chunks that are in a pack already.
    known: BTreeSet<Hash>,
}

/// A pack that is about to be written. The packer does not know of it before [`Packer::take`].
#[derive(Debug)]
pub struct Draft<'a> {
    manifest: Manifest,
    /// Of each page in the checkpoint, in order: whether it is written.
    pages: Vec<bool>,
    from: &'a mut Pages,
    /// Pieces of the history and of the world that are written after them.
    history: Vec<Vec<u8>>,
    pieces: Vec<Piece>,
    /// Lengths of all of the world's pieces.
    lens: Vec<u64>,
    tail: Vec<StateRoot>,
}

impl Draft<'_> {
    /// The state.
    #[must_use]
    pub fn root(&self) -> StateRoot {
        self.manifest.image.root()
    }

    /// Steps taken to it.
    #[must_use]
    pub fn step(&self) -> u32 {
        self.manifest.image.step
    }

    /// Whether its pack takes at most `room` bytes when no other has chunks of it; how many if not.
    ///
    /// # Errors
    /// The bytes.
    pub fn fits(&self, room: u64) -> Result<(), u64> {
        if self.manifest.whole(&self.lens, false) <= room {
            return Ok(());
        }
        let whole = self.manifest.whole(&self.lens, true);
        if whole <= room { Ok(()) } else { Err(whole) }
    }

    /// Writes it.
    ///
    /// # Errors
    /// What `out` says; when the checkpoint's pages end early.
    pub fn write(self, out: &mut dyn Write) -> io::Result<Drafted> {
        let chunks = self.manifest.write(out)?;
        let mut wanted = self.pages.iter();
        while let Some(batch) = self.from.next_batch() {
            for page in batch.as_chunks::<LEAF_BYTES>().0 {
                if *wanted.next().ok_or_else(|| io::Error::other("a checkpoint with more pages than leaves"))? {
                    out.write_all(page)?;
                }
            }
        }
        if wanted.next().is_some() {
            return Err(io::Error::other("a checkpoint with fewer pages than leaves"));
        }
        self.history.iter().try_for_each(|piece| out.write_all(piece))?;
        self.pieces.iter().try_for_each(|piece| out.write_all(piece))?;
        Ok(Drafted { written: Written { manifest: Arc::new(self.manifest), chunks }, tail: self.tail })
    }
}

/// A draft that was written.
#[derive(Debug)]
pub struct Drafted {
    written: Written,
    tail: Vec<StateRoot>,
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
        let roots: Vec<Hash> = snapshot.roots.iter().map(|root| root.0).collect();
        let full = roots.len() / PIECE_ROOTS * PIECE_ROOTS;
        let last = Manifest {
            image: snapshot.image.clone(),
            roots: roots.len() as u64,
            history: roots.chunks(PIECE_ROOTS).map(|piece| history_piece(piece.as_flattened())).collect(),
            leaves: snapshot.leaves.iter().map(|leaf| (leaf.0, leaf.1)).collect(),
            world: Vec::new(),
            pieces: BTreeSet::new(),
            chunks: Vec::new(),
        };
        Self { last: Some(Arc::new(last)), tail: snapshot.roots[full..].to_vec(), known: packs.known() }
    }

    /// Takes for known what `packs` have and nothing else: a chunk that went with its pack is written again when a state
    /// needs it again.
    pub fn hold_to(&mut self, packs: &Packs) {
        self.known = packs.known();
    }

    /// The pack of the next checkpoint: what is known already is left out.
    pub fn draft<'a>(&self, checkpoint: &'a mut Checkpoint) -> Draft<'a> {
        let Checkpoint { image, roots, leaves, pages: from, world } = checkpoint;
        let (mut new, mut chunks) = (HashSet::new(), Vec::new());
        let mut fresh = |hash: &Hash, len: usize| {
            let fresh = !self.known.contains(hash) && new.insert(*hash);
            if fresh {
                chunks.push((*hash, u32::try_from(len).unwrap_or(u32::MAX)));
            }
            fresh
        };
        let held = leaves.iter().filter(|leaf| leaf.1 != [0; 32]);
        let pages = held.map(|leaf| fresh(&leaf.1, LEAF_BYTES)).collect();

        let before = self.last.as_deref();
        let count = before.map_or(0, |last| last.roots) + roots.len() as u64;
        let full = before.map_or(0, |last| last.history.len() - usize::from(!self.tail.is_empty()));
        let mut history = before.map_or_else(Vec::new, |last| last.history[..full].to_vec());
        let end: Vec<Hash> = self.tail.iter().chain(&*roots).map(|root| root.0).collect();
        let mut histories = Vec::new();
        for piece in end.chunks(PIECE_ROOTS) {
            let piece = piece.as_flattened();
            let hash = history_piece(piece);
            history.push(hash);
            if fresh(&hash, piece.len()) {
                histories.push(piece.to_vec());
            }
        }
        let tail = end[end.len() / PIECE_ROOTS * PIECE_ROOTS..].iter().copied().map(StateRoot).collect();
        let pieces =
            world.pieces.iter().filter(|(hash, piece)| fresh(hash, piece.len())).map(|(_, piece)| piece.clone());
        let pieces = pieces.collect();
        let manifest = Manifest {
            image: image.clone(),
            roots: count,
            history,
            leaves: merged(before.map_or(&[], |last| &last.leaves), leaves),
            world: world.image.clone(),
            pieces: world.pieces.keys().copied().collect(),
            chunks,
        };
        let lens = world.pieces.values().map(|piece| piece.len() as u64).collect();
        Draft { manifest, pages, from, history: histories, pieces, lens, tail }
    }

    /// Goes on from a draft whose pack is kept.
    pub fn take(&mut self, drafted: Drafted) -> Written {
        let Drafted { written, tail } = drafted;
        self.known.extend(written.manifest.chunks.iter().map(|chunk| chunk.0));
        self.tail = tail;
        self.last = Some(Arc::clone(&written.manifest));
        written
    }

    /// Writes the pack of the next checkpoint and goes on from it.
    ///
    /// # Errors
    /// What `out` says; the packer is as it was.
    pub fn pack(&mut self, checkpoint: &mut Checkpoint, out: &mut dyn Write) -> io::Result<Written> {
        let drafted = self.draft(checkpoint).write(out)?;
        Ok(self.take(drafted))
    }
}

/// Leaves as they were with those that are other now; what is zeros is left out.
fn merged(before: &[(u32, Hash)], changed: &[(u32, Hash)]) -> Vec<(u32, Hash)> {
    let mut leaves = Vec::with_capacity(before.len() + changed.len());
    let mut before = before.iter().peekable();
    for leaf in changed {
        while let Some(same) = before.next_if(|same| same.0 < leaf.0) {
            leaves.push(*same);
        }
        let _ = before.next_if(|same| same.0 == leaf.0);
        if leaf.1 != [0; 32] {
            leaves.push(*leaf);
        }
    }
    leaves.extend(before);
    leaves
}

/// Most steps that a history can have, so that a pack's count is a number of 32 bits.
const _: () = assert!(param::STEPS_MAX < u32::MAX);
