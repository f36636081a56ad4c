//! Compiled code that this host made before.
//!
//! Machine code is trusted without a look, so it is taken back only when this host's own compiler wrote it: every
//! entry carries a hash of its bytes that is keyed with a secret of the host's. An entry is for one executable and
//! one engine build, flags and processor features included; any other, a damaged or a foreign one counts as none, and
//! the module is compiled anew and the entry replaced. Where entries are kept is a [`CodeCache`]'s affair: this
//! crate opens no file.
//!
//! What this does not guard against is someone who can read the secret: such a one can already change this program.
#![allow(unsafe_code, reason = "machine code from a cache cannot be checked, only traced to its maker")]

use samebit_spec::id::ExecutableId;
use std::{fmt, hash::Hash, sync::Arc};
use wasmtime::Module;

/// Where compiled code is kept. Losing an entry costs a compile and nothing else.
pub trait CodeCache: Send + Sync {
    /// The entry of this name, whatever became of it.
    fn read(&self, name: &str) -> Option<Vec<u8>>;

    /// Keeps an entry, whole or not at all. A failure is the cache's own affair.
    fn write(&self, name: &str, entry: &[u8]);
}

/// A cache of compiled code, and the secret by which this host knows its own.
#[derive(Clone)]
pub struct Cache {
    entries: Arc<dyn CodeCache>,
    secret: [u8; 32],
    /// The engine that it is opened for.
    engine: [u8; 32],
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// Begins each entry; the number is that of its layout.
const MAGIC: &[u8; 16] = b"samebit-code-001";

/// Length of what comes before the code: magic and tag.
const HEADER: usize = MAGIC.len() + 32;

impl Cache {
    /// A cache that keeps its entries in `entries` and knows them by `secret`, which nobody else may know.
    #[must_use]
    pub fn new(entries: Arc<dyn CodeCache>, secret: [u8; 32]) -> Self {
        Self { entries, secret, engine: [0; 32] }
    }

    /// The same cache, for an engine whose code only an equal one may run.
    pub(crate) fn for_engine(self, compatibility: &impl Hash) -> Self {
        let mut hasher = Blake(blake3::Hasher::new());
        compatibility.hash(&mut hasher);
        Self { engine: *hasher.0.finalize().as_bytes(), ..self }
    }

    /// The executable's code, when this host has made it before with this engine.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, executable: ExecutableId) -> Option<Module> {
        let entry = self.entries.read(&self.name(executable))?;
        let code = self.check(executable, &entry)?;
        // SAFETY: the tag says that these very bytes were given to `store` by a process that knows the secret, for
        // this executable and an engine of the same compatibility hash, and what is given to `store` is what
        // `Module::serialize` gave.
        unsafe { Module::deserialize(engine, code) }.ok()
    }

    /// Keeps what `Module::serialize` gave for the executable.
    pub(crate) fn store(&self, executable: ExecutableId, code: &[u8]) {
        let tag = self.tag(executable, code);
        self.entries.write(&self.name(executable), &[&MAGIC[..], tag.as_bytes(), code].concat());
    }

    /// The code of an entry that is this host's own.
    fn check<'e>(&self, executable: ExecutableId, entry: &'e [u8]) -> Option<&'e [u8]> {
        let (header, code) = entry.split_at_checked(HEADER)?;
        let tag = header.strip_prefix(MAGIC)?;
        let tag = blake3::Hash::from_bytes(tag.try_into().ok()?);
        // In constant time, as `blake3::Hash` compares.
        (tag == self.tag(executable, code)).then_some(code)
    }

    fn tag(&self, executable: ExecutableId, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(MAGIC).update(&executable.0).update(&self.engine).update(code);
        hasher.finalize()
    }

    /// One name for each executable and engine: hexadecimal digits.
    fn name(&self, executable: ExecutableId) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&executable.0).update(&self.engine);
        hasher.finalize().to_hex().to_string()
    }
}

/// Hashes what an engine says of itself with BLAKE3.
struct Blake(blake3::Hasher);

impl std::hash::Hasher for Blake {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.finalize();
        digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, sync::Mutex};

    #[derive(Default)]
    struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);

    impl CodeCache for Shelf {
        fn read(&self, name: &str) -> Option<Vec<u8>> {
            self.0.lock().ok()?.get(name).cloned()
        }

        fn write(&self, name: &str, entry: &[u8]) {
            self.0.lock().expect("nobody panics").insert(name.to_string(), entry.to_vec());
        }
    }

    #[test]
    fn an_entry_counts_for_its_executable_engine_and_host_alone_and_only_as_it_was_written() {
        let shelf = Arc::new(Shelf::default());
        let cache = |secret, engine: u32| Cache::new(Arc::clone(&shelf) as _, [secret; 32]).for_engine(&engine);
        let (one, other) = (ExecutableId([1; 32]), ExecutableId([2; 32]));
        let ours = cache(7, 48);
        ours.store(one, b"code");
        let entry = shelf.read(&ours.name(one)).expect("written");
        assert_eq!(ours.check(one, &entry), Some(&b"code"[..]));
        assert_eq!(ours.check(other, &entry), None, "another executable's");
        assert_eq!(cache(8, 48).check(one, &entry), None, "another host's");
        assert_eq!(cache(7, 49).check(one, &entry), None, "another engine's");
        assert_ne!(cache(7, 49).name(one), ours.name(one));
        for at in 0..entry.len() {
            let mut damaged = entry.clone();
            damaged[at] ^= 1;
            assert_eq!(ours.check(one, &damaged), None, "byte {at} is another");
            assert_eq!(ours.check(one, &entry[..at]), None, "cut at {at}");
        }
        assert_eq!(ours.check(one, &[&entry[..], b"x"].concat()), None, "longer");
    }
}
