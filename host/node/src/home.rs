//! Where a person's keys, networks and content are kept: `$SAMEBIT_HOME`, or `~/.samebit`.
//!
//! ```text
//! keys/NAME.key                  secret keys, mode 0600
//! networks/NAME/invitation.json  how to join
//! networks/NAME/chain/           blocks that were verified, so that the next command need not ask again
//! blobs/                         content that was pushed or fetched
//! devnet/                        what `samebit devnet` runs
//! cache/                         compiled code; may be removed at any time
//! states/                        states of runs, to be taken up again; likewise
//! ```

use crate::{
    invitation::{self, InvitationError},
    keys::{KeyError, Keypair},
};
use samebit_spec::block::Invitation;
use std::path::{Path, PathBuf};

/// A person's folder. Nothing is made before it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Why the folder, or something by name in it, is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// Neither `SAMEBIT_HOME` nor `HOME` is set.
    #[error("neither SAMEBIT_HOME nor HOME is set")]
    NoHome,
    /// Not a name for a key or network.
    #[error("{name:?} is not a name: 1 to 63 of a-z 0-9 - _ . beginning with a letter or digit")]
    Name {
        /// The refused name.
        name: String,
    },
}

impl Home {
    /// The folder that the environment names.
    ///
    /// # Errors
    /// [`HomeError::NoHome`].
    pub fn from_env() -> Result<Self, HomeError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("SAMEBIT_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".samebit")))
            .map(Self::at)
            .ok_or(HomeError::NoHome)
    }

    /// The folder at `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where the key `name` is or would be.
    ///
    /// # Errors
    /// [`HomeError::Name`].
    pub fn key_path(&self, name: &str) -> Result<PathBuf, HomeError> {
        Ok(self.root.join("keys").join(format!("{}.key", sound(name)?)))
    }

    /// Names of the keys that are there, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join("keys")) else { return Vec::new() };
        let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".key")?.to_string());
        let mut names: Vec<_> = entries.flatten().filter_map(name).filter(|name| sound(name).is_ok()).collect();
        names.sort();
        names
    }

    /// Reads the key `name`.
    ///
    /// # Errors
    /// [`KeyError`]; a name that is none is [`KeyError::Missing`] too, since no such file can be there.
    pub fn key(&self, name: &str) -> Result<Keypair, KeyError> {
        match self.key_path(name) {
            Ok(path) => Keypair::read(&path),
            Err(_) => Err(KeyError::Missing { path: self.root.join("keys").join(name) }),
        }
    }

    /// Names of the networks that were joined, sorted.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join("networks")) else { return Vec::new() };
        let joined = |name: &String| self.invitation_path(name).is_ok_and(|path| path.is_file());
        let mut names: Vec<_> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(joined).collect();
        names.sort();
        names
    }

    /// The folder of the network `name`.
    ///
    /// # Errors
    /// [`HomeError::Name`].
    pub fn network_dir(&self, name: &str) -> Result<PathBuf, HomeError> {
        Ok(self.root.join("networks").join(sound(name)?))
    }

    /// Where the network's invitation is.
    ///
    /// # Errors
    /// [`HomeError::Name`].
    pub fn invitation_path(&self, name: &str) -> Result<PathBuf, HomeError> {
        Ok(self.network_dir(name)?.join("invitation.json"))
    }

    /// Reads the network's invitation.
    ///
    /// # Errors
    /// [`InvitationError`].
    pub fn invitation(&self, name: &str) -> Result<Invitation, InvitationError> {
        match self.invitation_path(name) {
            Ok(path) => invitation::read(&path),
            Err(_) => Err(InvitationError::Missing { path: self.root.join("networks").join(name) }),
        }
    }

    /// Where verified blocks of the network are kept.
    ///
    /// # Errors
    /// [`HomeError::Name`].
    pub fn chain_dir(&self, name: &str) -> Result<PathBuf, HomeError> {
        Ok(self.network_dir(name)?.join("chain"))
    }

    /// Where content is kept.
    #[must_use]
    pub fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where compiled code is kept.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where states of runs are kept.
    #[must_use]
    pub fn states_dir(&self) -> PathBuf {
        self.root.join("states")
    }

    /// Where `samebit devnet` keeps its processes.
    #[must_use]
    pub fn devnet_dir(&self) -> PathBuf {
        self.root.join("devnet")
    }
}

/// Names of keys and networks obey the rule for tasks, so that none is a path.
fn sound(name: &str) -> Result<&str, HomeError> {
    if samebit_spec::task::is_name(name) { Ok(name) } else { Err(HomeError::Name { name: name.to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        let home = Home::at("/somewhere");
        for name in ["", "..", "../x", "a/b", "A", ".hidden", "/etc/passwd", "x\0"] {
            assert!(home.key_path(name).is_err(), "{name:?}");
            assert!(matches!(home.key(name), Err(KeyError::Missing { .. })));
        }
        assert_eq!(home.key_path("alice").unwrap(), Path::new("/somewhere/keys/alice.key"));
    }

    #[test]
    fn keys_are_listed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        assert_eq!(home.keys(), Vec::<String>::new());
        for name in ["bob", "alice"] {
            Keypair::read_or_make(&home.key_path(name).unwrap()).unwrap();
        }
        std::fs::write(dir.path().join("keys/readme"), "x").unwrap();
        assert_eq!(home.keys(), ["alice", "bob"]);
    }
}
