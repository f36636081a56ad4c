//! Packs that turn out to be damaged: what is sound of them goes on serving, and the damaged file is set aside for people.
//!
//! Files that are set aside take room as well: of a run at most [`ASIDE_MAX`] stay, and together no more bytes than its
//! states may take, but for the last one.

use super::{States, StatesError, disk::PackFile, failed};
use samebit_spec::id::StateRoot;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Damaged files of a run that stay.
const ASIDE_MAX: usize = 4;

/// What such a file is called behind its name.
const ASIDE: &str = "damaged";

/// A pack that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl States {
    /// After the state of `root` was refused: reads all packs whole and sets the damaged ones aside, or the state's own
    /// where each chunk is what it says. What is kept afterwards does not need them.
    ///
    /// # Errors
    /// [`StatesError::Io`].
    pub fn mend(&mut self, root: StateRoot) -> Result<(), StatesError> {
        let mut sound = Vec::new();
        let mut found = false;
        for pack in self.packs.all().to_vec() {
            let path = self.path(&pack);
            let lost = pack.altered().map_err(failed(&path))?;
            if lost.is_empty() {
                sound.push(pack);
                continue;
            }
            found = true;
            let why = format!("{} of its chunks were altered or are not there", lost.len());
            if self.lock.is_none() {
                // What is sound of it serves, though nobody may write it anew.
                self.damaged.push(Damaged { path, why });
                sound.push(pack.without(&lost));
                continue;
            }
            // The states that need none of those stay. The pack has its own name until what is sound of it has it.
            let aside = path.with_extension(ASIDE);
            copy(&path, &aside).map_err(failed(&path))?;
            let (written, file) = self.write(&path, |out| pack.write_without(&lost, out))?;
            self.bound_aside(&aside);
            self.damaged.push(Damaged { path: aside, why });
            sound.push(written.at(Arc::new(PackFile(file))));
        }
        if !found {
            for own in sound.extract_if(.., |pack| pack.root() == root).collect::<Vec<_>>() {
                self.set_aside(self.path(&own), "its parts do not give the state that it names".to_string())?;
            }
        }
        self.hold(sound)
    }

    pub(super) fn set_aside(&mut self, path: PathBuf, why: String) -> Result<(), StatesError> {
        let path = if self.lock.is_some() {
            let aside = path.with_extension(ASIDE);
            fs::rename(&path, &aside).map_err(failed(&path))?;
            self.bound_aside(&aside);
            aside
        } else {
            path
        };
        self.damaged.push(Damaged { path, why });
        Ok(())
    }

    /// Removes files that were set aside, the oldest first, until there are few enough; never the `last`. One that cannot
    /// be removed stays: it is in nobody's way.
    fn bound_aside(&self, last: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let paths = entries.flatten().map(|entry| entry.path());
        let others = paths.filter(|path| path != last && path.extension().is_some_and(|kind| kind == ASIDE));
        let mut others: Vec<_> = others
            .filter_map(|path| {
                let found = fs::metadata(&path).ok()?;
                Some((found.modified().ok(), path, found.len()))
            })
            .collect();
        others.sort();
        let own = fs::metadata(last).map_or(0, |found| found.len());
        let mut bytes = own + others.iter().map(|other| other.2).sum::<u64>();
        let mut count = others.len() + 1;
        for (_, path, len) in others {
            if count <= ASIDE_MAX && bytes <= self.room.run.0 {
                return;
            }
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a damaged pack");
            }
            (count, bytes) = (count - 1, bytes - len);
        }
    }
}

/// A second name for a file, or a copy of it where the file system has no such names.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}
