//! A world between two steps as bytes, and back.
//!
//! What the execution says is not in it, mounts and their content included: a world is restored on top of a new one of
//! the same [`Config`]. Bytes of files and of stdout are handed over in pieces of at most 4 KiB by their hashes, so that
//! two saves share what did not change between them. Whether what was restored is what was saved is told by
//! [`Wasi::root`], which covers all of it but stderr.

use crate::{
    Config, Stdout, Wasi,
    clock::Clock,
    data::{Data, SavedData},
    fd::Fds,
    fs::SavedFs,
};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::wire::{self, DecodeError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A saved world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Everything but the pieces.
    pub image: Vec<u8>,
    /// The pieces that it names, by hash: [`piece_hash`].
    pub named: BTreeSet<[u8; 32]>,
    /// Those of them that were not known.
    pub pieces: BTreeMap<[u8; 32], Vec<u8>>,
}

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
pub(crate) struct Pieces<'a> {
    named: BTreeSet<[u8; 32]>,
    given: BTreeMap<[u8; 32], Vec<u8>>,
    known: &'a dyn Fn(&[u8; 32]) -> bool,
}

impl Pieces<'_> {
    pub(crate) fn give(&mut self, hash: [u8; 32], bytes: &[u8]) {
        if self.named.insert(hash) && !(self.known)(&hash) {
            self.given.insert(hash, bytes.to_vec());
        }
    }
}

/// A piece, or why it cannot be had.
type Piece = Result<Vec<u8>, String>;

/// Where pieces come from.
pub(crate) struct Shelved<'a>(&'a mut dyn FnMut(&[u8; 32]) -> Piece);

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
    /// The world as bytes. Pieces that `known` has are named and left out.
    #[must_use]
    pub fn save(&self, known: &dyn Fn(&[u8; 32]) -> bool) -> Saved {
        // Whoever adds a field decides here whether a run that is taken up again needs it.
        let Self { setup: _, fs, fds, clock, drawn, stdout, stderr, shelf: _ } = self;
        let mut given = Pieces { named: BTreeSet::new(), given: BTreeMap::new(), known };
        let image = Image {
            files: fs.save(&mut given),
            fds: fds.clone(),
            clock: *clock,
            drawn: *drawn,
            stdout: stdout.data.save(&mut given),
            stderr: stderr.clone(),
        };
        Saved { image: wire::encode(&image), named: given.named, pieces: given.given }
    }

    /// The world of `config` as it was when `image` was saved, whose root was `root`.
    ///
    /// # Errors
    /// [`RestoreError`] when the image is not that of this world and root.
    pub fn restore(
        config: Config,
        image: &[u8],
        root: [u8; 32],
        piece: &mut dyn FnMut(&[u8; 32]) -> Piece,
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
