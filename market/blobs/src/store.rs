//! The store itself: names, atomic writes, verified reads.

use crate::{
    BlobError, Scanned, folder, io,
    outline::{Outline, Outlines},
};
use cap_std::{
    ambient_authority,
    fs::{Dir, File, OpenOptions},
};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    id::BlobId,
    param,
    unit::Bytes,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Bytes read or written at once.
pub(crate) const CHUNK: usize = 256 << 10;
/// Files up to this size are held whole, so that many of them share their syncs.
const SMALL: u64 = 4 << 20;
/// Files, and bytes, of a batch that is synced together.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: usize = 64 << 20;
/// Threads that sync a batch: the journal of the file system commits concurrent syncs together.
const SYNCERS: usize = 16;
/// A temporary file older than this has no living writer.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A folder of blobs: `blobs/ab/cdef…` by hexadecimal id, `tmp/` for what is being written, `aside/` for what
/// was found corrupt. Cheap to clone; several processes may share one folder.
#[derive(Clone, Debug)]
pub struct BlobStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    blobs: Dir,
    tmp: Dir,
    aside: Dir,
    /// Bytes that may be kept, and those that are or are about to be. `None`: no limit and no count.
    quota: Option<u64>,
    used: AtomicU64,
    /// Whether a kept blob survives a power cut.
    durable: bool,
    /// Of large blobs that were read in pieces, each made by reading the blob through once.
    outlines: Mutex<Outlines>,
}

static NEXT_TMP: AtomicU64 = AtomicU64::new(0);

impl BlobStore {
    /// Opens the store at `path`, making it where there is none.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the folder cannot be made or read.
    pub fn open(path: &Path) -> Result<Self, BlobError> {
        Self::open_with(path, None, true)
    }

    /// Opens the store and refuses to keep more than `quota` bytes in it.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the folder cannot be made or read.
    pub fn open_bounded(path: &Path, quota: Bytes) -> Result<Self, BlobError> {
        Self::open_with(path, Some(quota.0), true)
    }

    /// Opens a store of content that can be had again: nothing is synced. A power cut may leave files that
    /// are not what their names say, which B2 turns into missing blobs.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the folder cannot be made or read.
    pub fn open_cache(path: &Path) -> Result<Self, BlobError> {
        Self::open_with(path, None, false)
    }

    fn open_with(path: &Path, quota: Option<u64>, durable: bool) -> Result<Self, BlobError> {
        Dir::create_ambient_dir_all(path, ambient_authority()).map_err(io("making", path))?;
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(io("opening", path))?;
        let sub = |name: &str| -> Result<Dir, BlobError> {
            root.create_dir_all(name).map_err(io("making", path.join(name)))?;
            root.open_dir(name).map_err(io("opening", path.join(name)))
        };
        let inner = Inner {
            path: path.to_path_buf(),
            blobs: sub("blobs")?,
            tmp: sub("tmp")?,
            aside: sub("aside")?,
            quota,
            used: AtomicU64::new(0),
            durable,
            outlines: Mutex::default(),
        };
        inner.sweep();
        if quota.is_some() {
            inner.used.store(inner.measure()?, Ordering::Relaxed);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Keeps `bytes` durably and names them.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::Quota`], [`BlobError::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let blob = BlobRef::of(bytes);
        if self.has(&blob) {
            return Ok(blob);
        }
        let mut writer = self.writer(blob)?;
        writer.write(bytes)?;
        writer.finish()?;
        Ok(blob)
    }

    /// Keeps many small blobs durably; their syncs are shared, so thousands take seconds.
    ///
    /// # Errors
    /// As [`BlobStore::put`]. Blobs of earlier batches stay kept, which is harmless: they have their names.
    pub fn put_many(&self, blobs: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<BlobRef>, BlobError> {
        let mut batch = Batch::new(self);
        blobs
            .into_iter()
            .map(|bytes| batch.add(&bytes))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|names| batch.finish().map(|()| names))
    }

    /// Starts writing the blob `expected`, whose bytes are checked at the end.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::Quota`], [`BlobError::Io`].
    pub fn writer(&self, expected: BlobRef) -> Result<BlobWriter, BlobError> {
        let max = param::BLOB_BYTES_MAX;
        if expected.len > max {
            return Err(BlobError::TooLarge { given: expected.len, max });
        }
        let claim = self.claim(expected.len)?;
        let (name, file) = self.inner.tmp_file()?;
        Ok(BlobWriter {
            tmp: Tmp { store: self.clone(), name, claim },
            file,
            hasher: blake3::Hasher::new(),
            expected,
            written: 0,
        })
    }

    /// Whether a file of that name and length is there. [`BlobStore::verify`] also reads it.
    #[must_use]
    pub fn has(&self, blob: &BlobRef) -> bool {
        self.len(&blob.id) == Some(blob.len)
    }

    /// The length of a blob that is here.
    #[must_use]
    pub fn len(&self, id: &BlobId) -> Option<Bytes> {
        let metadata = self.inner.blobs.metadata(name_of(id)).ok()?;
        metadata.is_file().then_some(Bytes(metadata.len()))
    }

    /// The bytes of a blob, hashed again.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Length`], [`BlobError::Corrupt`], [`BlobError::Io`].
    pub fn read(&self, blob: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let mut file = self.open_expecting(blob)?;
        let mut bytes = Vec::new();
        // One byte more than expected shows a file that grew under our hands.
        (&mut file)
            .take(blob.len.0.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(io("reading", self.at(&blob.id)))?;
        let found = BlobRef::of(&bytes);
        if found == *blob { Ok(bytes) } else { Err(self.set_aside(&blob.id, &found)) }
    }

    /// The piece at `index` of a blob, hashed again: [`crate::PIECE`] bytes, or what is left of the blob. The first
    /// one reads the blob through, holding none of it.
    ///
    /// # Errors
    /// As [`BlobStore::read`]; an index behind the blob's end is [`BlobError::Missing`] too.
    pub fn read_piece(&self, blob: &BlobRef, index: u64) -> Result<Vec<u8>, BlobError> {
        if index.saturating_mul(Outline::PIECE as u64) >= blob.len.0.max(1) {
            return Err(BlobError::Missing { blob: blob.id });
        }
        let mut file = self.open_expecting(blob)?;
        let known = self.outlines().get(&blob.id);
        let outline = match known {
            Some(outline) => outline,
            None => {
                let made = Outline::of(&mut file).map_err(io("reading", self.at(&blob.id)))?;
                if made.blob() != *blob {
                    return Err(self.set_aside(&blob.id, &made.blob()));
                }
                let made = Arc::new(made);
                self.outlines().insert(Arc::clone(&made));
                made
            }
        };
        let bytes = read_piece(&mut file, index).map_err(io("reading", self.at(&blob.id)))?;
        if outline.holds(index, &bytes) {
            return Ok(bytes);
        }
        // The file is no longer what was read through: B2.
        let mut file = self.open_expecting(blob)?;
        let found = hash_file(&mut file).map_err(io("reading", self.at(&blob.id)))?;
        Err(self.set_aside(&blob.id, &found))
    }

    fn outlines(&self) -> std::sync::MutexGuard<'_, Outlines> {
        self.inner.outlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a blob through and checks it, without holding it.
    ///
    /// # Errors
    /// As [`BlobStore::read`].
    pub fn verify(&self, blob: &BlobRef) -> Result<(), BlobError> {
        let mut file = self.open_expecting(blob)?;
        let found = hash_file(&mut file).map_err(io("reading", self.at(&blob.id)))?;
        if found == *blob { Ok(()) } else { Err(self.set_aside(&blob.id, &found)) }
    }

    /// The open file of a blob and its length, for sending it on. The bytes are *not* verified: whoever
    /// receives them hashes them.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Io`].
    pub fn open_file(&self, id: &BlobId) -> Result<(std::fs::File, Bytes), BlobError> {
        let file = match self.inner.blobs.open(name_of(id)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(BlobError::Missing { blob: *id }),
            Err(error) => return Err(io("opening", self.at(id))(error)),
        };
        let len = file.metadata().map_err(io("opening", self.at(id)))?.len();
        Ok((file.into_std(), Bytes(len)))
    }

    /// Reads a tree's manifest.
    ///
    /// # Errors
    /// As [`BlobStore::read`], and [`BlobError::Tree`] when the blob is no manifest.
    pub fn tree(&self, tree: &TreeRef) -> Result<Tree, BlobError> {
        if tree.len.0 > param::TREE_MANIFEST_MAX.0 {
            return Err(BlobError::TooLarge { given: tree.len, max: Bytes(param::TREE_MANIFEST_MAX.0) });
        }
        Ok(Tree::from_bytes(&self.read(&tree.manifest())?)?)
    }

    /// Keeps a tree's manifest; its files are kept one by one.
    ///
    /// # Errors
    /// As [`BlobStore::put`].
    pub fn put_tree(&self, tree: &Tree) -> Result<TreeRef, BlobError> {
        self.put(&tree.to_bytes())?;
        Ok(tree.tree_ref())
    }

    /// Keeps a folder with everything below it, or a single file as the tree whose one file is named
    /// [`samebit_spec::abi::INPUT_NAME`].
    ///
    /// # Errors
    /// [`BlobError::NotAFile`], [`BlobError::Tree`], [`BlobError::Quota`], [`BlobError::Io`].
    pub fn put_path(&self, path: &Path) -> Result<Scanned, BlobError> {
        let mut batch = Batch::new(self);
        let scanned = folder::walk(path, &mut |file, len, at| {
            if len <= SMALL {
                let mut bytes = Vec::new();
                file.take(SMALL + 1).read_to_end(&mut bytes).map_err(io("reading", at))?;
                if bytes.len() as u64 <= SMALL {
                    return batch.add(&bytes);
                }
                return Err(BlobError::Changed { path: at.to_path_buf() });
            }
            self.copy_in(file, at)
        })?;
        batch.add(&scanned.tree.to_bytes())?;
        batch.finish()?;
        Ok(scanned)
    }

    /// Writes a tree's files into the new folder `to`, which appears only when it is complete.
    ///
    /// # Errors
    /// [`BlobError::Exists`] when `to` is there and not an empty folder, and as [`BlobStore::read`].
    pub fn export_tree(&self, tree: &TreeRef, to: &Path) -> Result<(), BlobError> {
        folder::export(self, &self.tree(tree)?, to)
    }

    /// Copies a large file in, hashing on the way.
    fn copy_in(&self, file: &mut File, at: &Path) -> Result<BlobRef, BlobError> {
        let max = param::BLOB_BYTES_MAX;
        let len = file.metadata().map_err(io("reading", at))?.len();
        if len > max.0 {
            return Err(BlobError::TooLarge { given: Bytes(len), max });
        }
        let claim = self.claim(Bytes(len))?;
        let (name, mut out) = self.inner.tmp_file()?;
        let tmp = Tmp { store: self.clone(), name, claim };
        let mut hasher = blake3::Hasher::new();
        let (mut chunk, mut copied) = (vec![0; CHUNK], 0_u64);
        loop {
            let count = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(io("reading", at)(error)),
            };
            copied += count as u64;
            if copied > len {
                return Err(BlobError::Changed { path: at.to_path_buf() });
            }
            hasher.update(&chunk[..count]);
            out.write_all(&chunk[..count]).map_err(io("writing", &self.inner.path))?;
        }
        if copied != len {
            return Err(BlobError::Changed { path: at.to_path_buf() });
        }
        let blob = BlobRef { id: BlobId(*hasher.finalize().as_bytes()), len: Bytes(len) };
        tmp.keep(&out, &blob)?;
        Ok(blob)
    }

    fn open_expecting(&self, blob: &BlobRef) -> Result<std::fs::File, BlobError> {
        let (file, len) = self.open_file(&blob.id)?;
        if len == blob.len {
            return Ok(file);
        }
        // Either the reference is wrong or the file is: its own hash tells.
        let mut file = file;
        let found = hash_file(&mut file).map_err(io("reading", self.at(&blob.id)))?;
        if found.id == blob.id {
            Err(BlobError::Length { blob: *blob, len })
        } else {
            Err(self.set_aside(&blob.id, &found))
        }
    }

    fn set_aside(&self, id: &BlobId, found: &BlobRef) -> BlobError {
        let inner = &self.inner;
        let name = format!("{}-{}", hex(id), unique());
        let aside = inner.path.join("aside").join(&name);
        match inner.blobs.rename(name_of(id), &inner.aside, &name) {
            Ok(()) => {
                inner.release(found.len.0);
                BlobError::Corrupt { blob: *id, found: format!("{} bytes, {}", found.len, found.id), aside }
            }
            Err(source) => BlobError::Io { doing: "moving a corrupt blob to", path: aside, source },
        }
    }

    fn at(&self, id: &BlobId) -> PathBuf {
        self.inner.path.join("blobs").join(name_of(id))
    }

    /// Sets `len` bytes of the quota aside until they are kept or given back.
    fn claim(&self, len: Bytes) -> Result<u64, BlobError> {
        let Some(quota) = self.inner.quota else { return Ok(0) };
        let claimed = self.inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(len.0).filter(|&sum| sum <= quota)
        });
        match claimed {
            Ok(_) => Ok(len.0),
            Err(used) => Err(BlobError::Quota { needs: len, free: Bytes(quota.saturating_sub(used)) }),
        }
    }
}

impl Inner {
    fn tmp_file(&self) -> Result<(String, File), BlobError> {
        let name = unique();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = self.tmp.open_with(&name, &options).map_err(io("making", self.path.join("tmp").join(&name)))?;
        Ok((name, file))
    }

    /// Removes temporary files that no living process can still be writing. Failing to is no harm.
    fn sweep(&self) {
        let Ok(entries) = self.tmp.entries() else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.into_std().elapsed());
            if matches!(age, Ok(Ok(age)) if age > STALE) {
                let _ = self.tmp.remove_file(entry.file_name());
            }
        }
    }

    fn measure(&self) -> Result<u64, BlobError> {
        let at = self.path.join("blobs");
        let mut sum = 0_u64;
        for shard in self.blobs.entries().map_err(io("reading", &at))? {
            let shard = shard.map_err(io("reading", &at))?;
            let Ok(dir) = shard.open_dir() else { continue };
            for entry in dir.entries().map_err(io("reading", &at))? {
                let entry = entry.map_err(io("reading", &at))?;
                sum = sum.saturating_add(entry.metadata().map(|metadata| metadata.len()).unwrap_or(0));
            }
        }
        Ok(sum)
    }

    fn release(&self, bytes: u64) {
        if self.quota.is_some() {
            let _ =
                self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)));
        }
    }

    /// Makes the folder a blob's file lives in. Returns its name.
    fn shard(&self, id: &BlobId) -> Result<String, BlobError> {
        let shard = hex(id)[..2].to_string();
        match self.blobs.create_dir(&shard) {
            Ok(()) => {
                if self.durable {
                    sync_dir(&self.blobs, ".").map_err(io("syncing", &self.path))?;
                }
                Ok(shard)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(shard),
            Err(error) => Err(io("making", self.path.join("blobs").join(shard))(error)),
        }
    }
}

/// A temporary file that is removed unless it is kept.
#[derive(Debug)]
struct Tmp {
    store: BlobStore,
    name: String,
    /// Bytes claimed of the quota.
    claim: u64,
}

impl Tmp {
    /// B1: syncs the file, then gives it its name.
    fn keep(self, file: &File, blob: &BlobRef) -> Result<(), BlobError> {
        if self.store.inner.durable {
            file.sync_data().map_err(io("syncing", self.store.at(&blob.id)))?;
        }
        let store = self.store.clone();
        store.inner.sync_shard(&self.rename(blob)?)
    }

    /// Gives a synced file its name and returns the folder that is to be synced.
    fn rename(mut self, blob: &BlobRef) -> Result<String, BlobError> {
        let store = self.store.clone();
        let known = store.len(&blob.id).is_some();
        let shard = store.inner.shard(&blob.id)?;
        store
            .inner
            .tmp
            .rename(&self.name, &store.inner.blobs, name_of(&blob.id))
            .map_err(io("naming", store.at(&blob.id)))?;
        // The file has gone from `tmp`; a blob that was there already was counted then.
        self.name.clear();
        if !known {
            self.claim = 0;
        }
        Ok(shard)
    }
}

impl Drop for Tmp {
    fn drop(&mut self) {
        self.store.inner.release(self.claim);
        if !self.name.is_empty() {
            let _ = self.store.inner.tmp.remove_file(&self.name);
        }
    }
}

impl Inner {
    fn sync_shard(&self, shard: &str) -> Result<(), BlobError> {
        if !self.durable {
            return Ok(());
        }
        sync_dir(&self.blobs, shard).map_err(io("syncing", self.path.join("blobs").join(shard)))
    }
}

/// Writes one blob whose name is known beforehand. Dropped before [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    tmp: Tmp,
    file: File,
    hasher: blake3::Hasher,
    expected: BlobRef,
    written: u64,
}

impl BlobWriter {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] as soon as there are more than promised, [`BlobError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let written = self.written + bytes.len() as u64;
        if written > self.expected.len.0 {
            return Err(BlobError::Mismatch { expected: self.expected, found: format!("at least {written} bytes") });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(io("writing", self.tmp.store.at(&self.expected.id)))?;
        self.written = written;
        Ok(())
    }

    /// Checks length and hash, syncs, and gives the blob its name.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when the bytes are not the promised ones, [`BlobError::Io`].
    pub fn finish(self) -> Result<BlobRef, BlobError> {
        let found = BlobRef { id: BlobId(*self.hasher.finalize().as_bytes()), len: Bytes(self.written) };
        if found != self.expected {
            let found = format!("{} bytes, {}", found.len, found.id);
            return Err(BlobError::Mismatch { expected: self.expected, found });
        }
        self.tmp.keep(&self.file, &found)?;
        Ok(found)
    }
}

/// Small blobs on their way in: written at once, synced together, named together.
struct Batch<'a> {
    store: &'a BlobStore,
    waiting: BTreeMap<BlobRef, (Tmp, File)>,
    bytes: usize,
    /// Folders with new names that are not synced yet. B1 holds without: a lost name is a missing blob.
    shards: BTreeSet<String>,
}

impl<'a> Batch<'a> {
    fn new(store: &'a BlobStore) -> Self {
        Self { store, waiting: BTreeMap::new(), bytes: 0, shards: BTreeSet::new() }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let blob = BlobRef::of(bytes);
        if self.store.has(&blob) || self.waiting.contains_key(&blob) {
            return Ok(blob);
        }
        let claim = self.store.claim(blob.len)?;
        let (name, mut file) = self.store.inner.tmp_file()?;
        let tmp = Tmp { store: self.store.clone(), name, claim };
        file.write_all(bytes).map_err(io("writing", self.store.at(&blob.id)))?;
        self.waiting.insert(blob, (tmp, file));
        self.bytes += bytes.len();
        if self.waiting.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(blob)
    }

    /// Makes everything added durable.
    fn finish(mut self) -> Result<(), BlobError> {
        self.flush()?;
        let shards: Vec<String> = std::mem::take(&mut self.shards).into_iter().collect();
        together(&shards, |shard| self.store.inner.sync_shard(shard))
    }

    fn flush(&mut self) -> Result<(), BlobError> {
        let waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        self.bytes = 0;
        let syncing = if self.store.inner.durable { &waiting[..] } else { &[] };
        together(syncing, |(blob, (_, file))| file.sync_data().map_err(io("syncing", self.store.at(&blob.id))))?;
        for (blob, (tmp, _)) in waiting {
            self.shards.insert(tmp.rename(&blob)?);
        }
        Ok(())
    }
}

/// Does `act` to all items from several threads, since a file system commits concurrent syncs as one.
fn together<T: Sync>(items: &[T], act: impl Fn(&T) -> Result<(), BlobError> + Sync) -> Result<(), BlobError> {
    let share = items.len().div_ceil(SYNCERS).max(1);
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> =
            items.chunks(share).map(|items| scope.spawn(move || items.iter().try_for_each(act))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Reads a file to its end. Time: one BLAKE3 pass.
pub(crate) fn hash_file(file: &mut impl Read) -> std::io::Result<BlobRef> {
    let mut hasher = blake3::Hasher::new();
    let (mut chunk, mut len) = (vec![0; CHUNK], 0_u64);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(BlobRef { id: BlobId(*hasher.finalize().as_bytes()), len: Bytes(len) }),
            Ok(count) => {
                hasher.update(&chunk[..count]);
                len += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a file has of the piece at `index`.
pub(crate) fn read_piece(file: &mut (impl Read + Seek), index: u64) -> std::io::Result<Vec<u8>> {
    let piece = Outline::PIECE as u64;
    file.seek(SeekFrom::Start(index.saturating_mul(piece)))?;
    let mut bytes = Vec::with_capacity(Outline::PIECE);
    file.take(piece).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the names in a folder durable. Directory handles are for path look-up only, so it is opened again.
pub(crate) fn sync_dir(dir: &Dir, name: &str) -> std::io::Result<()> {
    dir.open(name)?.sync_all()
}

/// A name that no other writer of this machine uses: process, time, counter.
pub(crate) fn unique() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let count = NEXT_TMP.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}", std::process::id(), since.as_nanos())
}

fn hex(id: &BlobId) -> String {
    // `blob-` and 64 digits.
    id.to_string().split_off(BlobId::KIND.len() + 1)
}

fn name_of(id: &BlobId) -> String {
    let mut name = hex(id);
    name.insert(2, '/');
    name
}
