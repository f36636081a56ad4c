//! Keeps blobs and trees by the hash of their bytes, in files.
//!
//! A [`BlobStore`] is a folder of content-addressed files; a [`Folder`] is a user's own folder read as a tree
//! without copying it. Both give only bytes that hash to the name they were asked for. The store decides
//! nothing about who may read or write, and never follows a symbolic link out of its folder: every access
//! goes through a `cap_std` directory handle. Format of trees: `spec/01-task.md`, section 4.
//!
//! Invariants:
//! - B1: a file under a blob's name was complete and hashed, and synced unless the store is a cache, before it
//!   got that name.
//! - B2: bytes are hashed again whenever they are read; a file that changed on disk is moved aside and named.
//! - B3: nothing is skipped in silence: whatever is no regular file with a sound name is listed in
//!   [`Scanned::skipped`].
#![forbid(unsafe_code)]

mod folder;
mod outline;
mod store;

pub use folder::{Folder, Reason, Scanned, Skipped};
pub use store::{BlobStore, BlobWriter};

/// Bytes of a piece: what a large blob can be read by, each piece checked alone.
pub const PIECE: usize = outline::Outline::PIECE;

use samebit_spec::{
    content::{BlobRef, TreeError},
    id::BlobId,
    unit::Bytes,
};
use std::{io, path::PathBuf};

/// Why the store could not do what it was asked. Nothing is half written whenever one is returned.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Not here.
    #[error("{blob} is not in the store")]
    Missing {
        /// Which.
        blob: BlobId,
    },
    /// B2. The file on disk is not what its name says. It was moved to `aside`, so the blob is now missing.
    #[error("{blob} is corrupt on disk ({found}), moved to {}", aside.display())]
    Corrupt {
        /// Which.
        blob: BlobId,
        /// What was found instead.
        found: String,
        /// Where the bytes are now, for whoever wants to look.
        aside: PathBuf,
    },
    /// Bytes offered under a name are not those of the name. Nothing was kept.
    #[error("bytes offered as {} are {found}", expected.id)]
    Mismatch {
        /// What was promised.
        expected: BlobRef,
        /// What came.
        found: String,
    },
    /// A blob is there, with another length than asked for: the reference is not of any blob.
    #[error("{} has {len} bytes, the reference says {}", blob.id, blob.len)]
    Length {
        /// The reference.
        blob: BlobRef,
        /// The length on disk.
        len: Bytes,
    },
    /// Longer than any blob may be, or than a reader wants to hold in memory.
    #[error("{given} bytes are too many, at most {max}")]
    TooLarge {
        /// How many.
        given: Bytes,
        /// How many are allowed.
        max: Bytes,
    },
    /// The store is full.
    #[error("store is full: {needs} bytes more do not fit, {free} are free")]
    Quota {
        /// What was to be added.
        needs: Bytes,
        /// What is left.
        free: Bytes,
    },
    /// Files that form no tree, or a manifest that is none.
    #[error("{0}")]
    Tree(#[from] TreeError),
    /// Neither a regular file nor a folder, or a path without a last part.
    #[error("{} is neither a file nor a folder", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Refused to write over what is there.
    #[error("{} exists and is not empty", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A file changed while it was read.
    #[error("{} changed since it was scanned", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, such as `reading`.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Names an I/O error's deed and place.
fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.into();
    move |source| BlobError::Io { doing, path, source }
}
