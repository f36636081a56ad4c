//! Content by hash: blobs and trees of blobs (`spec/01-task.md`, section 4).

use crate::{
    id::{BlobId, TreeId},
    param,
    unit::Bytes,
    wire,
};
use alloc::{string::String, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};

/// A blob by hash and length, so that a reader knows what it is about to fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct BlobRef {
    /// BLAKE3 of the bytes.
    pub id: BlobId,
    /// How many bytes.
    pub len: Bytes,
}

impl BlobRef {
    /// Names the blob that `bytes` are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { id: BlobId(*blake3::hash(bytes).as_bytes()), len: Bytes(bytes.len() as u64) }
    }
}

/// A tree by hash of its manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct TreeRef {
    /// BLAKE3 of the manifest's bytes.
    pub id: TreeId,
    /// Length of the manifest, not of the files.
    pub len: Bytes,
}

impl TreeRef {
    /// The blob that holds the manifest: trees are stored and sent as blobs.
    #[must_use]
    pub const fn manifest(&self) -> BlobRef {
        BlobRef { id: BlobId(self.id.0), len: self.len }
    }
}

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct TreeFile {
    /// Path within the tree: `/` between parts, no empty part, no `.` and no `..`, at most
    /// [`param::TREE_PATH_MAX`] bytes and [`param::TREE_DEPTH_MAX`] parts.
    pub path: String,
    /// Its content.
    pub blob: BlobRef,
}

/// A manifest: files by path, sorted by the bytes of the path, each path once, none inside another.
/// Empty folders are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    files: Vec<TreeFile>,
}

/// The first bytes of every manifest, so that a tree is never mistaken for a file.
pub const TREE_MAGIC: [u8; 16] = *b"samebit/v1/tree\n";

/// Why files do not form a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Empty, absolute, too long, or with an empty, `.` or `..` part or a NUL.
    #[error("path {path:?} is not allowed in a tree")]
    Path {
        /// The refused path.
        path: String,
    },
    /// Out of order, twice, or below a file.
    #[error("path {path:?} follows {before:?}: paths are sorted, each once, none below a file")]
    Order {
        /// The path that breaks the order.
        path: String,
        /// The one before it.
        before: String,
    },
    /// More than [`param::TREE_FILES_MAX`].
    #[error("{count} files, at most {max}", max = param::TREE_FILES_MAX)]
    Count {
        /// How many there are.
        count: usize,
    },
    /// More parts than [`param::TREE_DEPTH_MAX`].
    #[error("path {path:?} has {parts} parts, at most {max} are allowed in a tree", max = param::TREE_DEPTH_MAX)]
    Deep {
        /// The refused path.
        path: String,
        /// How many parts it has.
        parts: usize,
    },
    /// More distinct folders than [`param::TREE_FOLDERS_MAX`].
    #[error("with {path:?} there are {count} folders, at most {max}", max = param::TREE_FOLDERS_MAX)]
    Folders {
        /// The first path, in order, that passes the bound.
        path: String,
        /// How many folders there are up to it.
        count: usize,
    },
    /// Not a manifest at all.
    #[error("not a tree manifest: {reason}")]
    Manifest {
        /// Why.
        reason: String,
    },
}

impl Tree {
    /// Builds a tree from files in any order.
    ///
    /// # Errors
    /// [`TreeError`] for the first path, count or clash that the format refuses.
    pub fn new(mut files: Vec<TreeFile>) -> Result<Self, TreeError> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self::checked(files)
    }

    /// The files, sorted by path.
    #[must_use]
    pub fn files(&self) -> &[TreeFile] {
        &self.files
    }

    /// Bytes of all files together, held at `u64::MAX`.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.files.iter().fold(Bytes::ZERO, |sum, file| sum.saturating_add(file.blob.len))
    }

    /// The manifest's canonical bytes: [`TREE_MAGIC`], then the files in borsh.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = TREE_MAGIC.to_vec();
        bytes.extend_from_slice(&wire::encode(&self.files));
        bytes
    }

    /// Names this tree.
    #[must_use]
    pub fn tree_ref(&self) -> TreeRef {
        let blob = BlobRef::of(&self.to_bytes());
        TreeRef { id: TreeId(blob.id.0), len: blob.len }
    }

    /// Reads a manifest strictly.
    ///
    /// # Errors
    /// [`TreeError`] when the bytes are no manifest or break a rule of the format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TreeError> {
        let rest = bytes
            .strip_prefix(&TREE_MAGIC)
            .ok_or_else(|| TreeError::Manifest { reason: String::from("it does not begin with the tree magic") })?;
        let files: Vec<TreeFile> =
            wire::decode(rest).map_err(|error| TreeError::Manifest { reason: alloc::format!("{error}") })?;
        Self::checked(files)
    }

    fn checked(files: Vec<TreeFile>) -> Result<Self, TreeError> {
        if files.len() > param::TREE_FILES_MAX {
            return Err(TreeError::Count { count: files.len() });
        }
        for file in &files {
            check_path(&file.path)?;
        }
        // A file's children sort directly after it only up to bytes below '/', so every prefix is looked up.
        for pair in files.windows(2) {
            if pair[0].path >= pair[1].path {
                return Err(TreeError::Order { path: pair[1].path.clone(), before: pair[0].path.clone() });
            }
        }
        let (mut before, mut folders) = ("", 0);
        for file in &files {
            // The folders that the file before is in too were looked at with it.
            for folder in folders_begun(before, &file.path) {
                folders += 1;
                if files.binary_search_by(|other| other.path.as_str().cmp(folder)).is_ok() {
                    return Err(TreeError::Order { path: file.path.clone(), before: String::from(folder) });
                }
            }
            if folders > param::TREE_FOLDERS_MAX {
                return Err(TreeError::Folders { path: file.path.clone(), count: folders });
            }
            before = &file.path;
        }
        Ok(Self { files })
    }
}

/// The folders of `path`, outermost first, that `before` does not lie in. Over sorted paths these are each folder
/// of the tree once, because paths with a common beginning stand together.
pub fn folders_begun<'a>(before: &str, path: &'a str) -> impl Iterator<Item = &'a str> {
    let same = before.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
    path.match_indices('/').map(|(at, _)| at).filter(move |at| *at >= same).map(|at| &path[..at])
}

fn check_path(path: &str) -> Result<(), TreeError> {
    let sound = !path.is_empty()
        && path.len() <= param::TREE_PATH_MAX
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !sound {
        return Err(TreeError::Path { path: String::from(path) });
    }
    let parts = path.split('/').count();
    if parts > param::TREE_DEPTH_MAX {
        return Err(TreeError::Deep { path: String::from(path), parts });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: impl Iterator<Item = String>) -> Result<Tree, TreeError> {
        Tree::new(paths.map(|path| TreeFile { path, blob: BlobRef::default() }).collect())
    }

    #[test]
    fn a_path_has_no_more_parts_than_a_guest_could_make() {
        let deep = |parts: usize| core::iter::once(alloc::vec!["d"; parts].join("/"));
        assert!(tree(deep(param::TREE_DEPTH_MAX)).is_ok());
        assert!(matches!(tree(deep(129)), Err(TreeError::Deep { parts: 129, .. })));
    }

    #[test]
    fn a_small_manifest_cannot_make_folders_without_end() {
        let inner = "/d".repeat(100);
        let wide = |files: usize| (0..files).map(|n| alloc::format!("{n:05}{inner}/f")).collect::<Vec<_>>().into_iter();
        let most = param::TREE_FOLDERS_MAX / 101;
        assert!(tree(wide(most)).is_ok());
        let path = alloc::format!("{most:05}{inner}/f");
        assert_eq!(tree(wide(most + 1)), Err(TreeError::Folders { path, count: (most + 1) * 101 }));
    }

    #[test]
    fn a_file_below_a_file_is_refused_however_far_apart_they_stand() {
        let paths = ["a", "a-b", "a.c", "a/b/c"].map(String::from).into_iter();
        assert!(matches!(tree(paths), Err(TreeError::Order { before, .. }) if before == "a"));
        let paths = ["a/b", "a/b/c", "a/d"].map(String::from).into_iter();
        assert!(matches!(tree(paths), Err(TreeError::Order { before, .. }) if before == "a/b"));
    }
}
