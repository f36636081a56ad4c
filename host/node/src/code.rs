//! Compiled code on disk, so that a module is compiled once on a machine.
//!
//! ```text
//! secret.key   by which this host knows what its own compiler wrote; mode 0600
//! code/NAME    one module for one engine build
//! ```
//!
//! What is read here is trusted only after `samebit-runtime` has found the host's secret in it. A folder that cannot
//! be used means that modules are compiled each time, and nothing else.

use crate::keys::{KeyError, Keypair};
use samebit_runtime::{Cache, CodeCache};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Most bytes of code that are kept. What was written first goes first.
const BYTES_MAX: u64 = 1 << 30;

/// The cache of compiled code in the folder `dir`, which is made when it is not there; `None` where it cannot be used.
#[must_use]
pub fn cache(dir: &Path) -> Option<Cache> {
    let code = dir.join("code");
    let opened = make(&code)
        .map_err(|error| error.to_string())
        .and_then(|()| secret(&dir.join("secret.key")).map_err(|error| error.to_string()));
    match opened {
        Ok(secret) => Some(Cache::new(Arc::new(Folder { dir: code, max: BYTES_MAX }), secret.seed())),
        Err(reason) => {
            tracing::warn!("compiled code is not kept in {}: {reason}", dir.display());
            None
        }
    }
}

/// The host's secret. Of two processes that make it at the same time one reads what the other made.
fn secret(path: &Path) -> Result<Keypair, KeyError> {
    Keypair::read_or_make(path).or_else(|_| Keypair::read(path))
}

/// Makes a folder that its owner alone can enter.
fn make(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

struct Folder {
    dir: PathBuf,
    max: u64,
}

impl Folder {
    fn try_write(&self, name: &str, entry: &[u8]) -> io::Result<()> {
        // One name for each write, so that neither two threads nor two processes share one.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let partial = self.dir.join(format!("{name}.{}.{number}.partial", std::process::id()));
        let written = fs::write(&partial, entry).and_then(|()| fs::rename(&partial, self.dir.join(name)));
        if written.is_err() {
            // Ours alone: nobody else makes this name.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// Removes what was written first until what is left is small enough.
    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let (entry, path) = entry.and_then(|entry| Ok((entry.metadata()?, entry.path())))?;
            if entry.is_file() {
                entries.push((entry.modified()?, path, entry.len()));
            }
        }
        entries.sort();
        let mut bytes: u64 = entries.iter().map(|entry| entry.2).sum();
        for (_, path, len) in entries {
            if bytes <= self.max {
                break;
            }
            fs::remove_file(path)?;
            bytes -= len;
        }
        Ok(())
    }
}

impl CodeCache for Folder {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.join(name)).ok()
    }

    fn write(&self, name: &str, entry: &[u8]) {
        if let Err(error) = self.try_write(name, entry).and_then(|()| self.prune()) {
            tracing::warn!("compiled code was not kept in {}: {error}", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_runtime::{Options, Runtime};

    const MODULE: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(dir.join("code")).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    #[test]
    fn a_module_is_compiled_once_and_a_damaged_file_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let load = || {
            let cache = cache(dir.path());
            assert!(cache.is_some());
            let runtime = Runtime::open(&Options { cache, ..Options::default() }).unwrap();
            runtime.load(&wat::parse_str(MODULE).unwrap()).unwrap();
        };
        load();
        let written = files(dir.path());
        let [(path, bytes)] = &written[..] else { panic!("{} files", written.len()) };
        // A file of another date stays: it was read and not made again.
        let before = fs::metadata(path).unwrap().modified().unwrap();
        load();
        assert_eq!(fs::metadata(path).unwrap().modified().unwrap(), before);
        for damaged in [&bytes[..bytes.len() / 2], b"", &[&bytes[..], b"more"].concat()] {
            fs::write(path, damaged).unwrap();
            load();
            assert_eq!(files(dir.path()), written);
        }
    }

    #[test]
    fn what_was_written_first_goes_first_when_there_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder { dir: dir.path().to_path_buf(), max: 250 };
        for (day, name) in ["old", "middle", "new"].into_iter().enumerate() {
            folder.write(name, &[7; 100]);
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400 * (day as u64 + 1));
            let file = fs::File::options().write(true).open(dir.path().join(name)).unwrap();
            file.set_modified(time).unwrap();
        }
        folder.prune().unwrap();
        assert_eq!((folder.read("old"), folder.read("middle").map(|entry| entry.len())), (None, Some(100)));
        assert!(folder.read("new").is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_no_cache() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(cache(&dir.path().join("file")).is_none());
    }
}
