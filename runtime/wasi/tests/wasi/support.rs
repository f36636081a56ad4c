//! A guest: memory, a world, mounted content, and calls by name.

use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::{Access, Limits, Mount},
    unit::Fuel,
};
use samebit_wasi::{Call, Config, Content, Errno, PIECE, SliceMemory, Stop, Wasi};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

pub(crate) const MEMORY: usize = 1 << 20;
/// Where answers go.
pub(crate) const OUT: u32 = 0x1_0000;
/// A pointer that leads nowhere.
pub(crate) const NOWHERE: u32 = 0xffff_fff0;

pub(crate) const READ: u64 = 1 << 1;
pub(crate) const SEEK: u64 = 1 << 2;
pub(crate) const TELL: u64 = 1 << 5;
pub(crate) const WRITE: u64 = 1 << 6;
/// What a program opens a regular file with.
pub(crate) const FILE: u64 = 0x08e0_01ff;
/// All rights of a folder and of what it holds.
pub(crate) const ALL: u64 = 0x0fff_ffff;
/// All rights of a folder.
pub(crate) const DIR: u64 = 0x0fbf_fe19;

pub(crate) const CREAT: u32 = 1;
pub(crate) const DIRECTORY: u32 = 2;
pub(crate) const EXCL: u32 = 4;
pub(crate) const TRUNC: u32 = 8;

/// Blobs by hash, and how often they were read.
#[derive(Default)]
pub(crate) struct Shelf {
    blobs: BTreeMap<BlobRef, Arc<[u8]>>,
    pub(crate) reads: RefCell<u32>,
    /// Whether blobs are given in pieces, and which were.
    pub(crate) in_pieces: bool,
    pub(crate) pieces: RefCell<Vec<u64>>,
}

impl Content for Shelf {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        *self.reads.borrow_mut() += 1;
        self.blobs.get(blob).cloned().ok_or_else(|| format!("{} is missing", blob.id))
    }

    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        let Some(bytes) = self.blobs.get(blob).filter(|_| self.in_pieces) else { return Ok(None) };
        self.pieces.borrow_mut().push(index);
        let pieces = bytes.chunks(usize::try_from(PIECE).unwrap());
        let mut at = pieces.skip(usize::try_from(index).unwrap());
        at.next().map(|piece| Some(piece.into())).ok_or_else(|| format!("no piece {index}"))
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        Err(format!("{} is not asked for here", tree.id))
    }
}

pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) shelf: Shelf,
    pub(crate) memory: Vec<u8>,
    pub(crate) fuel: u64,
    next: u32,
}

/// What `filestat` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) kind: u8,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

pub(crate) fn config() -> Config {
    Config {
        args: vec!["task".into(), "héllo".into()],
        env: vec![("A".into(), "1".into()), ("B".into(), String::new())],
        stdin: BlobRef::of(b"from stdin"),
        seed: [7; 32],
        unit: 3,
        mounts: Vec::new(),
        limits: Limits::default(),
        stderr_kept: 16,
    }
}

/// The mount of these files at `path`.
pub(crate) fn mount(path: &str, access: Access, files: &[(&str, &[u8])]) -> (Mount, Tree) {
    let files = files.iter().map(|(path, bytes)| TreeFile { path: (*path).into(), blob: BlobRef::of(bytes) });
    let tree = Tree::new(files.collect()).expect("the files form a tree");
    (Mount { path: path.into(), tree: tree.tree_ref(), access }, tree)
}

pub(crate) const INPUT: &[(&str, &[u8])] =
    &[("a.txt", b"first"), ("deep/er/file", b"far down"), ("deep-er", b"beside"), ("empty", b"")];

impl Guest {
    /// `/in` read-only at 3, `/data` copy-on-write at 4, `/out` at 5.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        config.mounts.push(mount(abi::INPUT_DIR, Access::ReadOnly, INPUT));
        config.mounts.push(mount("/data", Access::CopyOnWrite, INPUT));
        change(&mut config);
        let mut shelf = Shelf::default();
        let contents = INPUT.iter().map(|(_, bytes)| *bytes).chain([&b"from stdin"[..]]);
        shelf.blobs.extend(contents.map(|bytes| (BlobRef::of(bytes), Arc::from(bytes))));
        Self { wasi: Wasi::new(config), shelf, memory: vec![0; MEMORY], fuel: 0, next: 0x2_0000 }
    }

    /// A guest with one large file, `/in/large` at 3 and `/data/large` at 4, whose content comes in pieces.
    pub(crate) fn with_large(bytes: &[u8]) -> Self {
        let mut guest = Self::with(|config| {
            let large = [("large", bytes)];
            config.mounts = vec![mount("/in", Access::ReadOnly, &large), mount("/data", Access::CopyOnWrite, &large)];
        });
        guest.shelf.in_pieces = true;
        guest.shelf.blobs.insert(BlobRef::of(bytes), Arc::from(bytes));
        guest
    }

    pub(crate) fn try_call(&mut self, name: &str, args: &[u64]) -> Result<Errno, Stop> {
        let call = Call::by_name(name).expect("a function of preview1");
        assert_eq!(args.len(), call.function().params.len(), "arguments of {name}");
        self.fuel += self.wasi.cost(call, args, &SliceMemory(&mut self.memory)).0;
        let mut memory = SliceMemory(&mut self.memory);
        self.wasi.call(call, args, &mut memory, &self.shelf, Fuel(self.fuel))
    }

    pub(crate) fn call(&mut self, name: &str, args: &[u64]) -> Errno {
        self.try_call(name, args).expect("the call returns to the guest")
    }

    /// The root once the clock has been brought to one late moment, so that only other differences are left.
    pub(crate) fn settled(&self) -> [u8; 32] {
        let mut wasi = self.wasi.clone();
        let mut memory = SliceMemory(&mut []);
        wasi.call(Call::SchedYield, &[], &mut memory, &self.shelf, Fuel(1 << 60)).expect("it returns");
        wasi.root()
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, name: &str, args: &[u64]) {
        assert_eq!(self.call(name, args), Errno::Success, "{name} {args:?}");
    }

    /// Puts bytes somewhere into memory: address and length.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> (u64, u64) {
        let at = self.next as usize;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.next += u32::try_from(bytes.len()).unwrap();
        if self.next > 0x8_0000 {
            self.next = 0x2_0000;
        }
        (at as u64, bytes.len() as u64)
    }

    pub(crate) fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub(crate) fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    pub(crate) fn bytes(&self, at: u32, len: usize) -> &[u8] {
        &self.memory[at as usize..at as usize + len]
    }

    /// `path_open`, following links.
    pub(crate) fn open_as(&mut self, dir: u32, path: &str, oflags: u32, rights: u64) -> Result<u32, Errno> {
        self.open_with(dir, 1, path, oflags, rights, 0, 0)
    }

    #[expect(clippy::too_many_arguments, reason = "these are the arguments of the call")]
    pub(crate) fn open_with(
        &mut self,
        dir: u32,
        lookup: u32,
        path: &str,
        oflags: u32,
        base: u64,
        inheriting: u64,
        flags: u32,
    ) -> Result<u32, Errno> {
        let (at, len) = self.put(path.as_bytes());
        let args = [dir.into(), lookup.into(), at, len, oflags.into(), base, inheriting, flags.into(), OUT.into()];
        match self.call("path_open", &args) {
            Errno::Success => Ok(self.u32(OUT)),
            errno => Err(errno),
        }
    }

    pub(crate) fn open(&mut self, dir: u32, path: &str, oflags: u32) -> Result<u32, Errno> {
        self.open_as(dir, path, oflags, FILE)
    }

    fn buffers(&mut self, parts: &[(u64, u64)]) -> (u64, u64) {
        let mut table = Vec::new();
        for (at, len) in parts {
            table.extend_from_slice(&u32::try_from(*at).unwrap().to_le_bytes());
            table.extend_from_slice(&u32::try_from(*len).unwrap().to_le_bytes());
        }
        (self.put(&table).0, parts.len() as u64)
    }

    pub(crate) fn write(&mut self, fd: u32, bytes: &[u8]) -> Errno {
        let half = bytes.len() / 2;
        let parts = [self.put(&bytes[..half]), self.put(&bytes[half..])];
        let (at, count) = self.buffers(&parts);
        let errno = self.call("fd_write", &[fd.into(), at, count, OUT.into()]);
        if errno == Errno::Success {
            assert_eq!(self.u32(OUT) as usize, bytes.len(), "all is written or nothing");
        }
        errno
    }

    pub(crate) fn pwrite(&mut self, fd: u32, bytes: &[u8], offset: u64) -> Errno {
        let part = self.put(bytes);
        let (at, count) = self.buffers(&[part]);
        self.call("fd_pwrite", &[fd.into(), at, count, offset, OUT.into()])
    }

    /// Reads into two buffers, of 3 bytes and of the rest.
    pub(crate) fn read(&mut self, fd: u32, len: usize) -> Result<Vec<u8>, Errno> {
        let at = 0x9_0000;
        let first = len.min(3) as u64;
        let (table, count) = self.buffers(&[(at, first), (at + first, len as u64 - first)]);
        match self.call("fd_read", &[fd.into(), table, count, OUT.into()]) {
            Errno::Success => Ok(self.bytes(0x9_0000, self.u32(OUT) as usize).to_vec()),
            errno => Err(errno),
        }
    }

    pub(crate) fn pread(&mut self, fd: u32, len: usize, offset: u64) -> Result<Vec<u8>, Errno> {
        let (table, count) = self.buffers(&[(0x9_0000, len as u64)]);
        match self.call("fd_pread", &[fd.into(), table, count, offset, OUT.into()]) {
            Errno::Success => Ok(self.bytes(0x9_0000, self.u32(OUT) as usize).to_vec()),
            errno => Err(errno),
        }
    }

    pub(crate) fn seek(&mut self, fd: u32, delta: i64, whence: u32) -> Result<u64, Errno> {
        match self.call("fd_seek", &[fd.into(), delta.cast_unsigned(), whence.into(), OUT.into()]) {
            Errno::Success => Ok(self.u64(OUT)),
            errno => Err(errno),
        }
    }

    pub(crate) fn close(&mut self, fd: u32) -> Errno {
        self.call("fd_close", &[fd.into()])
    }

    fn stat_at(&self, at: u32) -> Stat {
        Stat {
            dev: self.u64(at),
            ino: self.u64(at + 8),
            kind: self.bytes(at + 16, 1)[0],
            nlink: self.u64(at + 24),
            size: self.u64(at + 32),
            atim: self.u64(at + 40),
            mtim: self.u64(at + 48),
            ctim: self.u64(at + 56),
        }
    }

    pub(crate) fn stat(&mut self, dir: u32, path: &str) -> Result<Stat, Errno> {
        let (at, len) = self.put(path.as_bytes());
        match self.call("path_filestat_get", &[dir.into(), 0, at, len, OUT.into()]) {
            Errno::Success => Ok(self.stat_at(OUT)),
            errno => Err(errno),
        }
    }

    pub(crate) fn fstat(&mut self, fd: u32) -> Result<Stat, Errno> {
        match self.call("fd_filestat_get", &[fd.into(), OUT.into()]) {
            Errno::Success => Ok(self.stat_at(OUT)),
            errno => Err(errno),
        }
    }

    /// A call that takes descriptor and path.
    pub(crate) fn at(&mut self, name: &str, dir: u32, path: &str) -> Errno {
        let (at, len) = self.put(path.as_bytes());
        self.call(name, &[dir.into(), at, len])
    }

    pub(crate) fn mkdir(&mut self, dir: u32, path: &str) -> Errno {
        self.at("path_create_directory", dir, path)
    }

    pub(crate) fn unlink(&mut self, dir: u32, path: &str) -> Errno {
        self.at("path_unlink_file", dir, path)
    }

    pub(crate) fn rmdir(&mut self, dir: u32, path: &str) -> Errno {
        self.at("path_remove_directory", dir, path)
    }

    pub(crate) fn rename(&mut self, dir: u32, old: &str, new_dir: u32, new: &str) -> Errno {
        let (old, new) = (self.put(old.as_bytes()), self.put(new.as_bytes()));
        self.call("path_rename", &[dir.into(), old.0, old.1, new_dir.into(), new.0, new.1])
    }

    pub(crate) fn link(&mut self, dir: u32, old: &str, new_dir: u32, new: &str) -> Errno {
        let (old, new) = (self.put(old.as_bytes()), self.put(new.as_bytes()));
        self.call("path_link", &[dir.into(), 0, old.0, old.1, new_dir.into(), new.0, new.1])
    }

    pub(crate) fn symlink(&mut self, target: &str, dir: u32, path: &str) -> Errno {
        let (target, path) = (self.put(target.as_bytes()), self.put(path.as_bytes()));
        self.call("path_symlink", &[target.0, target.1, dir.into(), path.0, path.1])
    }

    pub(crate) fn readlink(&mut self, dir: u32, path: &str, room: u64) -> Result<String, Errno> {
        let (at, len) = self.put(path.as_bytes());
        match self.call("path_readlink", &[dir.into(), at, len, 0x9_0000, room, OUT.into()]) {
            Errno::Success => {
                let used = self.u32(OUT) as usize;
                Ok(String::from_utf8(self.bytes(0x9_0000, used).to_vec()).unwrap())
            }
            errno => Err(errno),
        }
    }

    /// Makes a file of these bytes.
    #[track_caller]
    pub(crate) fn file(&mut self, dir: u32, path: &str, bytes: &[u8]) {
        let fd = self.open(dir, path, CREAT | TRUNC).expect("the file can be made");
        assert_eq!(self.write(fd, bytes), Errno::Success);
        assert_eq!(self.close(fd), Errno::Success);
    }

    /// A file's bytes.
    pub(crate) fn content(&mut self, dir: u32, path: &str) -> Result<Vec<u8>, Errno> {
        let fd = self.open_as(dir, path, 0, READ)?;
        let bytes = self.read(fd, 0x1_0000);
        assert_eq!(self.close(fd), Errno::Success);
        bytes
    }

    /// One `fd_readdir`: names with their cookies and types, and how many bytes were used.
    pub(crate) fn readdir(&mut self, fd: u32, cookie: u64, room: u32) -> (Vec<(String, u64, u8)>, u32) {
        let at = 0xa_0000;
        self.ok("fd_readdir", &[fd.into(), at, room.into(), cookie, OUT.into()]);
        let used = self.u32(OUT);
        let mut rest = self.bytes(0xa_0000, used as usize).to_vec();
        let mut entries = Vec::new();
        while rest.len() >= 24 {
            let len = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
            if rest.len() < 24 + len {
                break;
            }
            let name = String::from_utf8(rest[24..24 + len].to_vec()).unwrap();
            entries.push((name, u64::from_le_bytes(rest[..8].try_into().unwrap()), rest[20]));
            rest.drain(..24 + len);
        }
        (entries, used)
    }

    /// All names of a folder but the dots.
    pub(crate) fn names(&mut self, dir: u32) -> Vec<String> {
        let (entries, _) = self.readdir(dir, 2, 0x1_0000);
        entries.into_iter().map(|(name, _, _)| name).collect()
    }
}
