//! `invitation.json`: how to join a network, as a file that a person can read and send.
//!
//! The genesis travels as the hexadecimal digits of its canonical bytes, because its hash is the chain's id;
//! the fields beside it are for people and must agree with it.

use samebit_spec::{
    block::{Genesis, Invitation},
    wire,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The file's `schema`.
pub const SCHEMA: &str = "samebit/invitation/1";
/// Largest file that is read: a genesis of some thousand accounts.
const BYTES_MAX: u64 = 1 << 20;
/// Most addresses that are read.
const ADDRESSES_MAX: usize = 64;

/// Why a file is no invitation.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// No such file.
    #[error("no invitation at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Not what this version writes.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    schema: String,
    network: String,
    chain: String,
    validator: String,
    addresses: Vec<String>,
    genesis: String,
}

/// The invitation as text.
#[must_use]
pub fn to_json(invitation: &Invitation) -> String {
    let Invitation { genesis, addresses } = invitation;
    let form = Form {
        schema: SCHEMA.to_string(),
        network: genesis.network.clone(),
        chain: genesis.id().to_string(),
        validator: genesis.validator.to_string(),
        addresses: addresses.clone(),
        genesis: hex::encode(wire::encode(genesis)),
    };
    let mut text = serde_json::to_string_pretty(&form).expect("strings serialise");
    text.push('\n');
    text
}

/// Reads an invitation strictly.
///
/// # Errors
/// What is wrong with the text.
pub fn from_json(text: &str) -> Result<Invitation, String> {
    let form: Form = serde_json::from_str(text).map_err(|error| format!("not an invitation: {error}"))?;
    if form.schema != SCHEMA {
        return Err(format!("schema is {:?}, expected {SCHEMA:?}", form.schema));
    }
    if form.addresses.is_empty() || form.addresses.len() > ADDRESSES_MAX {
        return Err(format!("{} addresses, expected 1 to {ADDRESSES_MAX}", form.addresses.len()));
    }
    let bytes = hex::decode(&form.genesis).map_err(|error| format!("genesis: {error}"))?;
    let genesis: Genesis = wire::decode(&bytes).map_err(|error| format!("genesis: {error}"))?;
    let agrees = |name: &str, told: &str, is: &str| {
        if told == is { Ok(()) } else { Err(format!("{name} is {told:?}, the genesis says {is:?}")) }
    };
    agrees("network", &form.network, &genesis.network)?;
    agrees("chain", &form.chain, &genesis.id().to_string())?;
    agrees("validator", &form.validator, &genesis.validator.to_string())?;
    Ok(Invitation { genesis, addresses: form.addresses })
}

/// Reads an invitation file.
///
/// # Errors
/// [`InvitationError`].
pub fn read(path: &Path) -> Result<Invitation, InvitationError> {
    let io = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => InvitationError::Missing { path: path.to_path_buf() },
        _ => InvitationError::Io { path: path.to_path_buf(), source },
    };
    let malformed = |reason: String| InvitationError::Malformed { path: path.to_path_buf(), reason };
    let len = std::fs::metadata(path).map_err(io)?.len();
    if len > BYTES_MAX {
        return Err(malformed(format!("{len} bytes, at most {BYTES_MAX}")));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let text = String::from_utf8(bytes).map_err(|_| malformed(String::from("not UTF-8")))?;
    from_json(&text).map_err(malformed)
}

/// Writes an invitation file, complete or not at all.
///
/// # Errors
/// [`InvitationError::Io`].
pub fn write(path: &Path, invitation: &Invitation) -> Result<(), InvitationError> {
    replace(path, to_json(invitation).as_bytes())
        .map_err(|source| InvitationError::Io { path: path.to_path_buf(), source })
}

/// Puts `bytes` at `path` by way of a temporary file, so that a reader sees the old or the new, and the
/// new after a power cut too once this has returned.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let tmp = path.with_extension(format!("tmp-{}", std::process::id()));
    let written = std::fs::File::create(&tmp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&tmp, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&tmp);
    }
    written.and_then(|()| sync_folder_of(path))
}

/// Makes the name of a file durable, which syncing the file does not.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        std::fs::File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{
        param::Params,
        sign::PublicKey,
        unit::{MicroCredits, Time},
    };

    fn sample() -> Invitation {
        let validator = crate::keys::Keypair::from_seed(&[1; 32]).public();
        let genesis = Genesis {
            network: String::from("devnet"),
            time: Time(1),
            validator,
            params: Params::DEVNET,
            accounts: vec![(PublicKey([9; 32]), MicroCredits(5))],
        };
        Invitation { genesis, addresses: vec![String::from("/ip4/127.0.0.1/tcp/1")] }
    }

    #[test]
    fn an_invitation_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("networks/devnet/invitation.json");
        write(&path, &sample()).unwrap();
        assert_eq!(read(&path).unwrap(), sample());
        assert!(matches!(read(&dir.path().join("none")), Err(InvitationError::Missing { .. })));
    }

    #[test]
    fn an_invitation_that_contradicts_its_genesis_is_refused() {
        let good = to_json(&sample());
        let other = sample().genesis.id().to_string().replace('a', "b");
        for (from, to) in [
            ("devnet", "mainnet"),
            (sample().genesis.id().to_string().as_str(), other.as_str()),
            ("samebit/invitation/1", "samebit/invitation/2"),
            ("\"addresses\"", "\"adresses\""),
            ("\"/ip4/127.0.0.1/tcp/1\"", ""),
        ] {
            assert!(from_json(&good.replace(from, to)).is_err(), "{from} -> {to}");
        }
        assert!(from_json(&good[..good.len() / 2]).is_err());
    }
}
