//! Virtual WASI preview1: the world of a guest, made of its [`Config`] and of nothing else.
//!
//! A [`Wasi`] holds files, descriptors, clock and randomness as plain values. It does no I/O and reads no
//! clock: contents of mounted files come through [`Content`], guest memory through [`GuestMemory`], time
//! from the fuel that the caller reports. The same calls on the same configuration give the same answers
//! and the same [`Wasi::root`] on every machine. Rules and their reasons: `spec/06-wasi.md`.
//!
//! Invariants:
//! - W1: a call that ends with an errno other than success has changed nothing but the clock.
//! - W2: bytes and inodes that the guest made never exceed its limits.
//! - W3: the root does not depend on which mounted files happen to be loaded.
#![forbid(unsafe_code)]

mod call;
mod clock;
pub mod cost;
mod data;
mod errno;
mod fd;
mod fs;
mod functions;
mod functions_fd;
mod functions_path;
mod layout;
mod memory;
mod output;
mod path;
mod poll;
mod ranges;
mod said;
mod saved;
mod shelf;

pub use call::{Call, FUNCTIONS, Function, ValType};
pub use clock::EPOCH_NS;
pub use errno::Errno;
pub use memory::{BadPointer, GuestMemory, SliceMemory};
pub use output::OutputBytes;
pub use ranges::FileBytes;
pub use said::Said;
pub use saved::{Piece, RestoreError, Saved, piece_hash};
pub use shelf::LOADED_MAX;

use clock::Clock;
use data::Data;
use fd::Fds;
use fs::{Body, Fs};
use layout::{Args, Iovecs};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeRef},
    execution::{Limits, Mount},
    id::BlobId,
    unit::{Bytes, Fuel},
    wire,
};
use shelf::Shelf;
use std::{fmt, sync::Arc};

/// Bytes that a mounted file is loaded by.
pub const PIECE: u64 = 64 << 10;

/// Where mounted content comes from. Its bytes are verified before they are handed out.
pub trait Content {
    /// The whole blob.
    ///
    /// # Errors
    /// Why it cannot be had: a host fault, never something a guest sees.
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String>;

    /// The piece at `index` of a blob: [`PIECE`] bytes from `index * PIECE` on, or what is left of it. `None` where
    /// blobs are only given whole.
    ///
    /// # Errors
    /// Why it cannot be had: a host fault, never something a guest sees.
    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        let _ = (blob, index);
        Ok(None)
    }

    /// A tree by its reference.
    ///
    /// # Errors
    /// Why it cannot be had: a host fault, never something a guest sees.
    fn tree(&self, tree: &TreeRef) -> Result<Tree, String>;
}

/// Everything that a guest's world is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Standard input, read through [`Content`] when the guest first reads it.
    pub stdin: BlobRef,
    /// Seed of the randomness.
    pub seed: [u8; 32],
    /// Which unit of its job this is.
    pub unit: u32,
    /// Mounts with their trees, in the order of their descriptors.
    pub mounts: Vec<(Mount, Tree)>,
    /// Limits on stdout, file bytes and inodes; the others are not this crate's.
    pub limits: Limits,
    /// Bytes of stderr that are kept.
    pub stderr_kept: usize,
}

/// Why a call does not return to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `proc_exit` with this code.
    Exit(u32),
    /// Content that the configuration names cannot be had. Never an outcome.
    HostFault(String),
}

/// How a call ends inside this crate.
#[derive(Debug)]
pub(crate) enum Halt {
    Errno(Errno),
    Stop(Stop),
}

impl From<Errno> for Halt {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<BadPointer> for Halt {
    fn from(_: BadPointer) -> Self {
        Self::Errno(Errno::Fault)
    }
}

/// What a call may look at beside the world.
pub(crate) struct Turn<'a> {
    memory: &'a mut dyn GuestMemory,
    content: &'a dyn Content,
    now: u64,
    fuel: Fuel,
}

/// What never changes during a run.
struct Setup {
    args: Vec<String>,
    /// As `NAME=value`.
    env: Vec<String>,
    stdin: BlobRef,
    seed: [u8; 32],
    unit: u32,
    limits: Limits,
    stderr_kept: usize,
    /// Whether the mounts and stdin are more than is held of them.
    exceeds: bool,
    hash: [u8; 32],
}

/// stdout so far, hashed as it grows.
#[derive(Clone, Default)]
struct Stdout {
    data: Arc<Data>,
    hasher: blake3::Hasher,
}

impl Stdout {
    /// Appends all of the buffers, or nothing when that would pass `limit`.
    fn append(&mut self, buffers: &Iovecs, limit: u64, memory: &dyn GuestMemory) -> Result<(), Halt> {
        let len = self.data.len().saturating_add(u64::from(buffers.total));
        if len > limit {
            return Err(Errno::DQuot.into());
        }
        let mut at = self.data.len();
        let data = Arc::make_mut(&mut self.data);
        data.set_len(len);
        buffers.pieces(memory, |piece| {
            data.write(at, piece);
            self.hasher.update(piece);
            at += piece.len() as u64;
        })?;
        Ok(())
    }
}

/// A guest's world. Cheap to clone: contents are shared until they are written.
#[derive(Clone)]
pub struct Wasi {
    setup: Arc<Setup>,
    fs: Fs,
    fds: Fds,
    clock: Clock,
    /// Random bytes drawn so far.
    drawn: u64,
    stdout: Stdout,
    stderr: Vec<u8>,
    /// What the guest said last of its progress, until somebody takes it.
    said: Option<Said>,
    shelf: Shelf,
}

impl fmt::Debug for Wasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wasi").field("root", &self.root()).finish_non_exhaustive()
    }
}

impl Wasi {
    /// A new world at its beginning.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { args, env, stdin, seed, unit, mounts, limits, stderr_kept } = config;
        let listed: Vec<&Mount> = mounts.iter().map(|(mount, _)| mount).collect();
        let image = (&args, &env, stdin, seed, unit, listed, limits);
        let hash = wire::derive("samebit/v1/wasi-setup", &wire::encode(&image));
        let files = mounts.iter().flat_map(|(_, tree)| tree.files());
        let mounted = files.fold(stdin.len.0, |sum, file| sum.saturating_add(file.blob.len.0));
        let exceeds = mounted > LOADED_MAX;
        let fs = Fs::new(&mounts, &limits, EPOCH_NS);
        let env = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self {
            fds: Fds::new(fs.roots()),
            fs,
            setup: Arc::new(Setup { args, env, stdin, seed, unit, limits, stderr_kept, exceeds, hash }),
            clock: Clock::new(),
            drawn: 0,
            stdout: Stdout::default(),
            stderr: Vec::new(),
            said: None,
            shelf: Shelf::default(),
        }
    }

    /// Fuel of a call: charged by the runtime before [`Wasi::call`]. Reads lengths from memory and of files, acts
    /// on nothing.
    #[must_use]
    pub fn cost(&self, call: Call, args: &[u64], memory: &dyn GuestMemory) -> Fuel {
        let strings = match call {
            Call::ArgsGet => &self.setup.args,
            _ => &self.setup.env,
        };
        let setup_bytes = functions::bytes_of(strings).saturating_add(strings.len() as u64 * 4);
        let growth = self.growth(call, Args(args), memory).saturating_mul(cost::GROWTH_BYTE);
        let loads = self.loads(call, Args(args), memory).saturating_mul(cost::LOAD);
        Fuel(cost::cost(call, args, memory, setup_bytes).0.saturating_add(growth).saturating_add(loads))
    }

    /// Fuel of the next [`Wasi::root`]: what it may have to hash again or list. Takes no longer the more there is.
    #[must_use]
    pub fn root_fuel(&self) -> Fuel {
        let (inodes, entries, bytes) = self.fs.weight();
        let files = inodes.saturating_mul(cost::ROOT_INODE).saturating_add(entries.saturating_mul(cost::ROOT_ENTRY));
        let chunks = bytes.div_ceil(data::CHUNK as u64).saturating_mul(cost::ROOT_CHUNK);
        let fds = (self.fds.len() as u64).saturating_mul(cost::ROOT_DESCRIPTOR);
        Fuel(files.saturating_add(chunks).saturating_add(fds))
    }

    /// Carries out a call. `args` are the core arguments, i32 ones zero-extended; `fuel_used` is the whole
    /// run's fuel so far, this call's cost included: it drives the clock.
    ///
    /// # Errors
    /// [`Stop`] when the call does not return to the guest.
    pub fn call(
        &mut self,
        call: Call,
        args: &[u64],
        memory: &mut dyn GuestMemory,
        content: &dyn Content,
        fuel_used: Fuel,
    ) -> Result<Errno, Stop> {
        let now = self.clock.tick(fuel_used);
        let mut turn = Turn { memory, content, now, fuel: fuel_used };
        match self.dispatch(call, Args(args), &mut turn) {
            Ok(()) => Ok(Errno::Success),
            Err(Halt::Errno(errno)) => Ok(errno),
            Err(Halt::Stop(stop)) => Err(stop),
        }
    }

    /// Hash of the whole state: `StateImage::wasi`.
    ///
    /// Covers what the world was made of, files, descriptors, clock, randomness and stdout; not stderr, which
    /// is for people. Only what changed since the last root is hashed again.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let image = (self.setup.hash, self.fs.hash(), &self.fds, self.clock, self.drawn, self.stdout_blob());
        wire::derive("samebit/v1/wasi", &wire::encode(&image))
    }

    /// stdout so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.data.to_vec()
    }

    /// Names stdout so far without copying or hashing it again: `StateImage::stdout`.
    #[must_use]
    pub fn stdout_blob(&self) -> BlobRef {
        let id = BlobId(*self.stdout.hasher.finalize().as_bytes());
        BlobRef { id, len: Bytes(self.stdout.data.len()) }
    }

    /// The first bytes of stderr, for people. Not part of the root.
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// What the guest has said of its progress since this was called last. Part of nothing.
    pub fn take_said(&mut self) -> Option<Said> {
        self.said.take()
    }

    /// The regular files below `/out`, by path relative to it, sorted: what a tree can hold of them. A file
    /// with several names is there under each; links are not. The bytes are shared with this world.
    ///
    /// # Errors
    /// Why a mounted file's content cannot be had: a host fault.
    pub fn output_files(&self, content: &dyn Content) -> Result<Vec<(String, OutputBytes)>, String> {
        let mut files = Vec::new();
        for (path, body) in self.fs.files_below(abi::OUTPUT_DIR) {
            let bytes = match body {
                Body::Own(data) => OutputBytes::own(data),
                Body::Mounted(blob) => match self.shelf.whole(&blob, content) {
                    Ok(pieces) => OutputBytes::mounted(blob, pieces),
                    Err(Halt::Stop(Stop::HostFault(reason))) => return Err(reason),
                    Err(other) => return Err(format!("{} cannot be read: {other:?}", blob.id)),
                },
            };
            files.push((path, bytes));
        }
        Ok(files)
    }
}
