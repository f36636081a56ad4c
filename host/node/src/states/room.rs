//! Who may keep states in a folder, and how much room they take.

use super::{StatesError, failed};
use samebit_spec::unit::Bytes;
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What states may take of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// States of a run; at least 2.
    pub states: usize,
    /// Bytes of a run's states.
    pub run: Bytes,
    /// Bytes of all runs' states. The run that was kept least lately goes first.
    pub all: Bytes,
}

impl Room {
    /// What commands and hosts use.
    pub const DEFAULT: Self = Self { states: 32, run: Bytes(1 << 30), all: Bytes(4 << 30) };
}

/// How often a folder that somebody removes meanwhile is made again.
const TRIES: u32 = 16;

/// Leave to keep states in a folder, or to remove it. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Lock {
    /// Locked while it is open.
    file: File,
}

impl Lock {
    /// Makes the folder where it is not there; `None` when another process has it.
    pub(super) fn make(dir: &Path) -> Result<Option<Self>, StatesError> {
        for _ in 0..TRIES {
            match fs::create_dir_all(dir) {
                // It was there when it was to be made, and gone when it was looked at. Of a file in its place this is no tale.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !dir.is_file() => continue,
                made => made.map_err(failed(dir))?,
            }
            match Self::take(dir) {
                // Removed since it was made.
                Err(StatesError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Ok(Taken::Gone) => {}
                Ok(Taken::Held) => return Ok(None),
                Ok(Taken::Ours(lock)) => return Ok(Some(lock)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn take(dir: &Path) -> Result<Taken, StatesError> {
        let path = dir.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Taken::Held),
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
        // Between opening and locking another process may have removed the folder, and a third may have made it again: a
        // lock on a file that nobody finds any more holds nobody off.
        if !is_at(&file, &path) {
            return Ok(Taken::Gone);
        }
        // Its time says when states were last kept here.
        let _ = file.set_modified(std::time::SystemTime::now());
        Ok(Taken::Ours(Self { file }))
    }

    /// Removes the folder that this holds. It goes out of the way in one act, so nobody ever finds a part of it.
    pub(super) fn remove(&self, dir: &Path) -> Result<(), StatesError> {
        let mut name = std::ffi::OsString::from(REMOVED);
        name.push(dir.file_name().unwrap_or_default());
        name.push(format!(".{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let aside = dir.with_file_name(name);
        // What is held is what goes.
        if !is_at(&self.file, &dir.join("lock")) {
            return Ok(());
        }
        fs::rename(dir, &aside).map_err(failed(dir))?;
        fs::remove_dir_all(&aside).map_err(failed(&aside))
    }
}

/// Folders that this process has removed, so that each goes by a name of its own.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Begins the name of a folder that is being removed.
const REMOVED: &str = "removed.";

enum Taken {
    Ours(Lock),
    Held,
    Gone,
}

/// Whether a file is still the one at its path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    let here = id(file.metadata());
    here.is_some() && here == id(fs::metadata(path))
}

/// A file that is open cannot be moved out of the way here.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Removes other runs' states, those kept least lately first, until what is left is small enough. A failure leaves more.
pub(super) fn make_room(root: &Path, own: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let mut runs: Vec<(_, PathBuf, u64)> = Vec::new();
    for dir in entries.flatten().map(|entry| entry.path()) {
        if dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(REMOVED)) {
            // Of a process that ended while it removed it: nobody keeps anything under such a name.
            let _ = fs::remove_dir_all(&dir);
            continue;
        }
        let Ok(files) = fs::read_dir(&dir) else { continue };
        let bytes: u64 = files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        let used = fs::metadata(dir.join("lock")).and_then(|lock| lock.modified()).ok();
        runs.push((used, dir, bytes));
    }
    runs.sort();
    let mut bytes: u64 = runs.iter().map(|run| run.2).sum();
    for (used, dir, len) in runs {
        // Only what this program made has a lock, and only what nobody holds may go. It is held until it has gone.
        if bytes > most
            && dir != own
            && used.is_some()
            && let Ok(Taken::Ours(lock)) = Lock::take(&dir)
        {
            match lock.remove(&dir) {
                Ok(()) => bytes -= len,
                Err(error) => tracing::warn!(%error, "states of another run"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_goes_while_it_is_taken_is_made_again_and_held_by_one_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("run");
        // A process that opened the lock before the folder went and locks it after.
        fs::create_dir_all(&dir).unwrap();
        let late = File::create(dir.join("lock")).unwrap();
        let first = Lock::make(&dir).unwrap().unwrap();
        assert!(Lock::make(&dir).unwrap().is_none());
        first.remove(&dir).unwrap();
        drop(first);
        late.try_lock().unwrap();
        assert!(!is_at(&late, &dir.join("lock")), "nobody finds it");
        let second = Lock::make(&dir).unwrap().unwrap();
        assert!(!is_at(&late, &dir.join("lock")), "another one is there");
        assert!(is_at(&second.file, &dir.join("lock")));
        assert!(matches!(Lock::take(&dir).unwrap(), Taken::Held));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error_and_not_somebody_who_has_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("run");
        fs::write(&file, b"no folder").unwrap();
        assert!(matches!(Lock::make(&file), Err(StatesError::Io { path, .. }) if path == file));
    }

    #[test]
    fn many_that_take_make_and_remove_one_folder_never_hold_it_together() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("run");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let Some(lock) = Lock::make(&dir).unwrap() else { continue };
                        // Whoever holds it is alone with its mark.
                        File::create_new(dir.join("mark")).unwrap();
                        lock.remove(&dir).unwrap();
                    }
                });
            }
        });
        assert!(!dir.exists());
    }
}
