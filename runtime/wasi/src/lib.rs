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
mod errno;
mod memory;

pub use call::{Call, FUNCTIONS, Function, ValType};
pub use errno::Errno;
pub use memory::{BadPointer, GuestMemory, SliceMemory};

use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::{Limits, Mount, Trap},
    unit::Fuel,
};
use std::sync::Arc;

/// Where mounted content comes from. Its bytes are verified before they are handed out.
pub trait Content {
    /// The whole blob.
    ///
    /// # Errors
    /// Why it cannot be had: a host fault, never something a guest sees.
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String>;

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
    /// The guest did what has no errno.
    Trap(Trap),
    /// Content that the configuration names cannot be had. Never an outcome.
    HostFault(String),
}

/// A guest's world. Cheap to clone: contents are shared until they are written.
#[derive(Clone, Debug)]
pub struct Wasi {}

impl Wasi {
    /// A new world at its beginning.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let _ = config;
        Self {}
    }

    /// Fuel of a call: charged by the runtime before [`Wasi::call`]. Reads lengths from memory, acts on nothing.
    #[must_use]
    pub fn cost(&self, call: Call, args: &[u64], memory: &dyn GuestMemory) -> Fuel {
        let _ = (call, args, memory);
        Fuel(0)
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
        let _ = (call, args, memory, content, fuel_used);
        Ok(Errno::NoSys)
    }

    /// Hash of the whole state: `StateImage::wasi`.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        [0; 32]
    }

    /// stdout so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Names stdout so far without copying or hashing it again: `StateImage::stdout`.
    #[must_use]
    pub fn stdout_blob(&self) -> BlobRef {
        BlobRef::of(&[])
    }

    /// The first bytes of stderr, for people. Not part of the root.
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        &[]
    }

    /// The regular files below `/out`, by path relative to it, sorted.
    ///
    /// # Errors
    /// Why a mounted file's content cannot be had: a host fault.
    pub fn output_files(&self, content: &dyn Content) -> Result<Vec<(String, Vec<u8>)>, String> {
        let _ = content;
        Ok(Vec::new())
    }
}
