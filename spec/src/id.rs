//! Identifiers: 32 bytes each, a type each, written as `kind-hex`.

use alloc::string::{String, ToString};
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};

/// Why text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id: expected {kind}- and 64 hexadecimal digits")]
pub struct IdError {
    /// What was asked for, such as `job`.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The word before the dash.
            pub const KIND: &'static str = $kind;

            /// `kind-` and the first eight hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                alloc::format!("{}-{}", $kind, hex::encode(&self.0[..4]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}-{}", $kind, hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix(concat!($kind, "-")).unwrap_or(text);
                let mut bytes = [0; 32];
                hex::decode_to_slice(digits, &mut bytes)
                    .map(|()| Self(bytes))
                    .map_err(|_| IdError { kind: $kind, text: text.to_string() })
            }
        }
    };
}

id! {
    /// Plain BLAKE3 of a blob's bytes, so that any BLAKE3 tool can check it.
    BlobId, "blob"
}
id! {
    /// Plain BLAKE3 of a tree manifest's canonical bytes ([`crate::content::Tree`]).
    TreeId, "tree"
}
id! {
    /// Identifies a published task: hash of its [`crate::task::TaskManifest`].
    TaskId, "task"
}
id! {
    /// Identifies a job: hash of its [`crate::job::JobSpec`].
    JobId, "job"
}
id! {
    /// Identifies a signed entry: hash of its unsigned part, so that a changed signature is the same entry.
    EntryId, "entry"
}
id! {
    /// Identifies a block: hash of its header.
    BlockId, "block"
}
id! {
    /// Identifies a chain: hash of its [`crate::block::Genesis`].
    GenesisId, "genesis"
}
id! {
    /// Identifies a parameter set: hash of [`crate::param::Params`].
    ParamsId, "params"
}
id! {
    /// Identifies a rewritten module under a profile.
    ExecutableId, "exec"
}
id! {
    /// Hash of an [`crate::execution::Execution`]: everything an outcome depends on.
    ExecutionId, "execution"
}
id! {
    /// Hash of a task's whole state after a step ([`crate::state::StateImage`]).
    StateRoot, "state"
}
id! {
    /// Hash of a run's list of state roots ([`crate::state::history_root`]).
    HistoryRoot, "history"
}
id! {
    /// Hash of what a run put out ([`crate::receipt::Output`]).
    OutputDigest, "output"
}
id! {
    /// Hash of a [`crate::receipt::Receipt`]; equal for all honest hosts of a unit.
    ReceiptId, "receipt"
}
id! {
    /// A host's salted promise of a receipt.
    Commitment, "commit"
}
id! {
    /// Root of the buyer's secrets for the draw of audits ([`crate::audit`]).
    AuditSeal, "seal"
}
id! {
    /// Hash of the ledger's whole state after a block.
    LedgerRoot, "ledger"
}
id! {
    /// Public randomness of a block.
    Beacon, "beacon"
}
