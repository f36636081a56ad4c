//! Secret keys: made, kept in files, asked to sign.
//!
//! The only module of the workspace that sees a secret key. A key file holds 64 hexadecimal digits (the
//! ed25519 seed of RFC 8032) and a line end, is readable by its owner alone, and is never overwritten.

use ed25519_dalek::{Signer as _, SigningKey};
use samebit_spec::sign::{PublicKey, Signature, Signer};
use std::{
    fmt,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// An ed25519 key pair. Debug output shows the public half only; the secret is wiped when dropped.
#[derive(Clone)]
pub struct Keypair {
    secret: SigningKey,
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.public())
    }
}

/// Why a key could not be read, made or kept. No key file was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No such file.
    #[error("no key at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("key file {} has mode {mode:03o}, others can read it; it must be 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 hexadecimal digits. The content is not repeated here: it may be a secret.
    #[error("key file {} does not hold 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A key is there already.
    #[error("{} exists and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness: {reason}")]
    Randomness {
        /// What it said.
        reason: String,
    },
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Keypair {
    /// Makes a new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Randomness { reason: error.to_string() })?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a known seed, for tests and fixed networks.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { secret: SigningKey::from_bytes(seed) }
    }

    /// The secret seed. Whoever has it is the key.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.secret.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.secret.verifying_key().to_bytes())
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::Exposed`], [`KeyError::Malformed`], [`KeyError::Io`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => KeyError::Missing { path: path.to_path_buf() },
            _ => KeyError::Io { path: path.to_path_buf(), source },
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path: path.to_path_buf(), mode });
            }
        }
        let text = std::fs::read(path).map_err(io)?;
        let digits = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut seed = [0; 32];
        hex::decode_to_slice(digits, &mut seed).map_err(|_| KeyError::Malformed { path: path.to_path_buf() })?;
        Ok(Self::from_seed(&seed))
    }

    /// Keeps the key in a new file of mode 0600, complete or not at all.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::Io`].
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let io = |source: io::Error| match source.kind() {
            ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_path_buf() },
            _ => KeyError::Io { path: path.to_path_buf(), source },
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let tmp = path.with_extension(format!("tmp-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&tmp).and_then(|mut file| {
            file.write_all(format!("{}\n", hex::encode(self.seed())).as_bytes())?;
            file.sync_all()?;
            // A hard link, unlike a rename, refuses to replace a key that is there.
            std::fs::hard_link(&tmp, path)
        });
        let _ = std::fs::remove_file(&tmp);
        written.and_then(|()| crate::invitation::sync_folder_of(path)).map_err(io)
    }

    /// Reads the key at `path`, or makes one there.
    ///
    /// # Errors
    /// As [`Keypair::read`] and [`Keypair::write_new`].
    pub fn read_or_make(path: &Path) -> Result<Self, KeyError> {
        match Self::read(path) {
            Err(KeyError::Missing { .. }) => {
                let key = Self::generate()?;
                key.write_new(path)?;
                Ok(key)
            }
            read => read,
        }
    }
}

impl Signer for Keypair {
    fn public(&self) -> PublicKey {
        self.public()
    }

    fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        Signature(self.secret.sign(bytes).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{id::GenesisId, sign::Domain};

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/alice.key");
        let key = Keypair::read_or_make(&path).unwrap();
        assert_eq!(Keypair::read(&path).unwrap().public(), key.public());
        assert!(matches!(Keypair::generate().unwrap().write_new(&path), Err(KeyError::Exists { .. })));
        assert_eq!(Keypair::read_or_make(&path).unwrap().public(), key.public());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(Keypair::read(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        Keypair::generate().unwrap().write_new(&path).unwrap();
        std::fs::write(&path, "not a secret").unwrap();
        let error = Keypair::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }));
        assert!(!error.to_string().contains("not a secret"));
        assert!(matches!(Keypair::read(&dir.path().join("none")), Err(KeyError::Missing { .. })));
    }

    #[test]
    fn signatures_satisfy_the_rules_the_ledger_checks_by() {
        let (key, chain) = (Keypair::from_seed(&[7; 32]), GenesisId([1; 32]));
        let signature = key.sign(Domain::Entry, chain, [2; 32]);
        key.public().verify(Domain::Entry, chain, [2; 32], &signature).unwrap();
        assert!(key.public().verify(Domain::Block, chain, [2; 32], &signature).is_err());
        assert!(!format!("{key:?}").contains(&hex::encode(key.seed())));
    }
}
