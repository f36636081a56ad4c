//! A world between two steps as bytes, and back.
//!
//! What the execution says is not in it, mounts and their content included: a world is restored on top of a new one of
//! the same [`Config`]. Bytes of files and of stdout are handed over in pieces of at most 4 KiB by their hashes, so that
//! two saves share what did not change between them, and no byte is copied to save it. Whether what was restored is what was saved is told by
//! [`Wasi::root`], which covers all of it but stderr.

use crate::{
    Config, Stdout, Wasi,
    clock::Clock,
    data::{Chunk, Data, SavedData},
    fd::Fds,
    fs::SavedFs,
};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::wire::{self, DecodeError};
use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc};

/// A saved world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Everything but the pieces.
    pub image: Vec<u8>,
    /// The pieces that it names, by hash: [`piece_hash`].
    pub pieces: BTreeMap<[u8; 32], Piece>,
}

/// A piece, shared with the world that it is of until that writes to it.
#[derive(Clone)]
pub struct Piece {
    chunk: Arc<Chunk>,
    len: usize,
}

impl Piece {
    /// A piece of something else that is kept with a world.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { chunk: Arc::new(Chunk::of(bytes)), len }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.chunk.bytes(self.len)
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece of {} bytes", self.len)
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Piece {}

/// Hash of a piece: its bytes without trailing zeros, of which it has none.
#[must_use]
pub fn piece_hash(piece: &[u8]) -> [u8; 32] {
    wire::derive("samebit/v1/wasi-chunk", piece)
}

/// Why bytes are no world of this execution. Nothing was restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They are not the encoding of one.
    #[error("the world's image: {0}")]
    Decode(#[from] DecodeError),
    /// A piece cannot be had, or is another.
    #[error("piece {hash} of the world: {reason}", hash = samebit_spec::id::BlobId(*.hash))]
    Piece {
        /// Which.
        hash: [u8; 32],
        /// Why.
        reason: String,
    },
    /// They describe what no world is.
    #[error("the world's image has {what}")]
    Unsound {
        /// What is wrong.
        what: &'static str,
    },
    /// They are of another world.
    #[error("the world's image is of another state")]
    Other,
}

/// Where pieces go.
#[derive(Default)]
pub(crate) struct Pieces(BTreeMap<[u8; 32], Piece>);

impl Pieces {
    /// The first `len` bytes of a chunk.
    pub(crate) fn give(&mut self, hash: [u8; 32], chunk: &Arc<Chunk>, len: usize) {
        self.0.entry(hash).or_insert_with(|| Piece { chunk: Arc::clone(chunk), len });
    }
}

/// A piece's bytes, or why it cannot be had.
type Taken = Result<Vec<u8>, String>;

/// Where pieces come from.
pub(crate) struct Shelved<'a>(&'a mut dyn FnMut(&[u8; 32]) -> Taken);

impl Shelved<'_> {
    pub(crate) fn take(&mut self, hash: &[u8; 32]) -> Result<Vec<u8>, RestoreError> {
        let refused = |reason: String| RestoreError::Piece { hash: *hash, reason };
        let bytes = (self.0)(hash).map_err(refused)?;
        if piece_hash(&bytes) == *hash { Ok(bytes) } else { Err(refused("its bytes were altered".into())) }
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Image {
    files: SavedFs,
    fds: Fds,
    clock: Clock,
    drawn: u64,
    stdout: SavedData,
    stderr: Vec<u8>,
}

impl Wasi {
    /// The world as bytes.
    #[must_use]
    pub fn save(&self) -> Saved {
        // Whoever adds a field decides here whether a run that is taken up again needs it.
        let Self { setup: _, fs, fds, clock, drawn, stdout, stderr, said: _, shelf: _ } = self;
        let mut given = Pieces::default();
        let image = Image {
            files: fs.save(&mut given),
            fds: fds.clone(),
            clock: *clock,
            drawn: *drawn,
            stdout: stdout.data.save(&mut given),
            stderr: stderr.clone(),
        };
        Saved { image: wire::encode(&image), pieces: given.0 }
    }

    /// The world of `config` as it was when `image` was saved, whose root was `root`.
    ///
    /// # Errors
    /// [`RestoreError`] when the image is not that of this world and root.
    pub fn restore(
        config: Config,
        image: &[u8],
        root: [u8; 32],
        piece: &mut dyn FnMut(&[u8; 32]) -> Taken,
    ) -> Result<Self, RestoreError> {
        let (stdout_max, stderr_kept) = (config.limits.stdout.0, config.stderr_kept);
        let Image { files, fds, clock, drawn, stdout, stderr } = wire::decode(image)?;
        let mut shelved = Shelved(piece);
        let mut world = Self::new(config);
        world.fs.restore(files, &mut shelved)?;
        let data = Data::restore(&stdout, &mut shelved)?;
        // Both are kept whole, so neither may be longer than a run can make it.
        if data.len() > stdout_max || stderr.len() > stderr_kept {
            return Err(RestoreError::Unsound { what: "more output than its limit" });
        }
        let mut hasher = blake3::Hasher::new();
        let (mut at, mut buffer) = (0, [0; 4096]);
        loop {
            let read = data.read(at, &mut buffer);
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            at += read as u64;
        }
        world.stdout = Stdout { data: Arc::new(data), hasher };
        (world.fds, world.clock, world.drawn, world.stderr) = (fds, clock, drawn, stderr);
        if world.root() == root { Ok(world) } else { Err(RestoreError::Other) }
    }
}
