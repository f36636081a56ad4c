//! Folders of the user: read as trees, and written from trees.

use crate::{
    BlobError, BlobStore, io,
    outline::Outline,
    store::{read_piece, sync_dir, unique},
};
use cap_std::{
    ambient_authority,
    fs::{Dir, File, OpenOptions},
};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile, TreeRef},
    id::BlobId,
    param,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// A folder as a tree, and what of it the tree cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Every regular file with a sound name.
    pub tree: Tree,
    /// B3: everything else, in the order of their paths.
    pub skipped: Vec<Skipped>,
}

impl Scanned {
    /// Names the tree.
    #[must_use]
    pub fn tree_ref(&self) -> TreeRef {
        self.tree.tree_ref()
    }
}

/// Something that a tree cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Where it is, relative to the folder.
    pub path: PathBuf,
    /// Why it is not in the tree.
    pub reason: Reason,
}

/// Why something is not in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A symbolic link: what it points to may be elsewhere, or differ on another machine.
    Symlink,
    /// A socket, pipe or device.
    Special,
    /// Its name is not UTF-8.
    Name,
    /// Its path is longer than [`param::TREE_PATH_MAX`].
    TooLong,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Symlink => "symbolic link",
            Self::Special => "not a regular file",
            Self::Name => "name is not UTF-8",
            Self::TooLong => "path is too long",
        })
    }
}

/// What is done with each file of a walk: the open file, its length, where it is.
type OnFile<'a> = dyn FnMut(&mut File, u64, &Path) -> Result<BlobRef, BlobError> + 'a;

/// Walks `path`, a folder or a single file, in the order of names.
pub(crate) fn walk(path: &Path, on_file: &mut OnFile<'_>) -> Result<Scanned, BlobError> {
    let metadata = std::fs::metadata(path).map_err(io("reading", path))?;
    let mut walk = Walk { root: path, files: Vec::new(), skipped: Vec::new(), on_file };
    if metadata.is_file() {
        let mut file = File::open_ambient(path, ambient_authority()).map_err(io("opening", path))?;
        walk.file(&mut file, path, abi::INPUT_NAME)?;
    } else if metadata.is_dir() {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(io("opening", path))?;
        walk.dir(&dir, "")?;
    } else {
        return Err(BlobError::NotAFile { path: path.to_path_buf() });
    }
    walk.skipped.sort();
    Ok(Scanned { tree: Tree::new(walk.files)?, skipped: walk.skipped })
}

struct Walk<'a, 'b> {
    root: &'a Path,
    files: Vec<TreeFile>,
    skipped: Vec<Skipped>,
    on_file: &'a mut OnFile<'b>,
}

impl Walk<'_, '_> {
    /// Depth is bounded: each level adds at least two bytes to a path of at most [`param::TREE_PATH_MAX`].
    fn dir(&mut self, dir: &Dir, prefix: &str) -> Result<(), BlobError> {
        let at = self.root.join(prefix);
        let mut names: Vec<OsString> = Vec::new();
        for entry in dir.entries().map_err(io("reading", &at))? {
            names.push(entry.map_err(io("reading", &at))?.file_name());
        }
        names.sort();
        for name in names {
            let Some(utf8) = name.to_str() else {
                self.skip(Path::new(prefix).join(&name), Reason::Name);
                continue;
            };
            let path = if prefix.is_empty() { utf8.to_string() } else { format!("{prefix}/{utf8}") };
            let at = self.root.join(&path);
            let kind = dir.symlink_metadata(&name).map_err(io("reading", &at))?.file_type();
            if kind.is_symlink() {
                self.skip(path, Reason::Symlink);
            } else if !kind.is_dir() && !kind.is_file() {
                self.skip(path, Reason::Special);
            } else if path.len() > param::TREE_PATH_MAX {
                self.skip(path, Reason::TooLong);
            } else if kind.is_dir() {
                let below = dir.open_dir(&name).map_err(io("opening", &at))?;
                self.dir(&below, &path)?;
            } else {
                let mut file = dir.open(&name).map_err(io("opening", &at))?;
                self.file(&mut file, &at, &path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &mut File, at: &Path, path: &str) -> Result<(), BlobError> {
        if self.files.len() >= param::TREE_FILES_MAX {
            return Err(samebit_spec::content::TreeError::Count { count: self.files.len() + 1 }.into());
        }
        let len = file.metadata().map_err(io("reading", at))?.len();
        let blob = (self.on_file)(file, len, at)?;
        self.files.push(TreeFile { path: path.to_string(), blob });
        Ok(())
    }

    fn skip(&mut self, path: impl Into<PathBuf>, reason: Reason) {
        self.skipped.push(Skipped { path: path.into(), reason });
    }
}

/// A user's folder, or single file, read as a tree where it lies. Nothing is copied and nothing written.
#[derive(Debug)]
pub struct Folder {
    scanned: Scanned,
    tree_ref: TreeRef,
    manifest: Vec<u8>,
    paths: BTreeMap<BlobId, PathBuf>,
    outlines: BTreeMap<BlobId, Outline>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Dir(Dir),
    /// A single file has no folder handle that shows only it, so it is opened by its path.
    File(PathBuf),
}

impl Folder {
    /// Reads and hashes everything below `path`.
    ///
    /// # Errors
    /// [`BlobError::NotAFile`], [`BlobError::Tree`], [`BlobError::Io`].
    pub fn scan(path: &Path) -> Result<Self, BlobError> {
        let mut outlines = BTreeMap::new();
        let scanned = walk(path, &mut |file, _, at| {
            let outline = Outline::of(file).map_err(io("reading", at))?;
            let blob = outline.blob();
            outlines.insert(blob.id, outline);
            Ok(blob)
        })?;
        let source = if path.is_dir() {
            Source::Dir(Dir::open_ambient_dir(path, ambient_authority()).map_err(io("opening", path))?)
        } else {
            Source::File(path.to_path_buf())
        };
        let paths = scanned.tree.files().iter().map(|file| (file.blob.id, PathBuf::from(&file.path))).collect();
        let (manifest, tree_ref) = (scanned.tree.to_bytes(), scanned.tree_ref());
        Ok(Self { scanned, tree_ref, manifest, paths, outlines, source })
    }

    /// The tree, and what it leaves out.
    #[must_use]
    pub fn scanned(&self) -> &Scanned {
        &self.scanned
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.scanned.tree
    }

    /// Names the tree.
    #[must_use]
    pub fn tree_ref(&self) -> TreeRef {
        self.tree_ref
    }

    /// The bytes of one of its files, or of its manifest, hashed again.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when the blob is not of this folder, [`BlobError::Changed`] when the file is no
    /// longer what was scanned, [`BlobError::Io`].
    pub fn read(&self, blob: &BlobRef) -> Result<Vec<u8>, BlobError> {
        if *blob == self.tree_ref.manifest() {
            return Ok(self.manifest.clone());
        }
        let (path, mut file) = self.open(&blob.id)?;
        let mut bytes = Vec::new();
        (&mut file).take(blob.len.0.saturating_add(1)).read_to_end(&mut bytes).map_err(io("reading", path))?;
        if BlobRef::of(&bytes) == *blob { Ok(bytes) } else { Err(BlobError::Changed { path: path.clone() }) }
    }

    /// The piece at `index` of one of its files, hashed again: [`crate::PIECE`] bytes, or what is left of the file.
    ///
    /// # Errors
    /// As [`Folder::read`]; an index behind the file's end is [`BlobError::Changed`] too.
    pub fn read_piece(&self, blob: &BlobRef, index: u64) -> Result<Vec<u8>, BlobError> {
        let (path, mut file) = self.open(&blob.id)?;
        let outline = self.outlines.get(&blob.id).ok_or(BlobError::Missing { blob: blob.id })?;
        let bytes = read_piece(&mut file, index).map_err(io("reading", path))?;
        if outline.holds(index, &bytes) { Ok(bytes) } else { Err(BlobError::Changed { path: path.clone() }) }
    }

    fn open(&self, id: &BlobId) -> Result<(&PathBuf, File), BlobError> {
        let path = self.paths.get(id).ok_or(BlobError::Missing { blob: *id })?;
        let file = match &self.source {
            Source::Dir(dir) => dir.open(path),
            Source::File(path) => File::open_ambient(path, ambient_authority()),
        };
        Ok((path, file.map_err(io("opening", path))?))
    }
}

/// Writes `tree` into a new folder beside `to`, then renames it there.
pub(crate) fn export(store: &BlobStore, tree: &Tree, to: &Path) -> Result<(), BlobError> {
    let name = to.file_name().ok_or_else(|| BlobError::NotAFile { path: to.to_path_buf() })?;
    let above = match to.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        Some(_) | None => Path::new("."),
    };
    Dir::create_ambient_dir_all(above, ambient_authority()).map_err(io("making", above))?;
    let parent = Dir::open_ambient_dir(above, ambient_authority()).map_err(io("opening", above))?;
    if let Ok(metadata) = parent.symlink_metadata(name) {
        let empty = metadata.is_dir() && parent.read_dir(name).map_err(io("reading", to))?.next().is_none();
        if !empty {
            return Err(BlobError::Exists { path: to.to_path_buf() });
        }
    }
    let tmp = format!(".samebit-{}", unique());
    parent.create_dir(&tmp).map_err(io("making", above.join(&tmp)))?;
    let written = parent
        .open_dir(&tmp)
        .map_err(io("opening", above.join(&tmp)))
        .and_then(|dir| write_files(store, tree, &dir, to))
        .and_then(|()| parent.rename(&tmp, &parent, name).map_err(io("naming", to)))
        .and_then(|()| sync_dir(&parent, ".").map_err(io("syncing", above)));
    if written.is_err() {
        // What is left is ours alone, under a name nobody else uses.
        let _ = parent.remove_dir_all(&tmp);
    }
    written
}

fn write_files(store: &BlobStore, tree: &Tree, dir: &Dir, to: &Path) -> Result<(), BlobError> {
    for file in tree.files() {
        let at = to.join(&file.path);
        if let Some((folder, _)) = file.path.rsplit_once('/') {
            dir.create_dir_all(folder).map_err(io("making", &at))?;
        }
        // The handle refuses every path that leaves the folder; the tree's own rules refuse them before.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut out = dir.open_with(&file.path, &options).map_err(io("making", &at))?;
        out.write_all(&store.read(&file.blob)?).map_err(io("writing", &at))?;
    }
    Ok(())
}
