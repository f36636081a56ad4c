//! Keys and signatures: ed25519 checked by the ZIP-215 rules (`spec/07-wire.md`, section 3).
//!
//! Every signature covers a domain, the chain and the hash of what is signed, so none can be replayed as
//! another type's or on another chain. Single and batch checks accept the same set (ZIP-215), so no
//! crafted signature can split nodes.

use crate::id::GenesisId;
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_zebra::VerificationKey;

/// What a signature is for. The text is part of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A ledger entry, by an account or operator key.
    Entry,
    /// A block header, by the validator.
    Block,
    /// A block's beacon, by the validator.
    Beacon,
}

impl Domain {
    /// The prefix that is signed.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Entry => b"samebit/v1/sign/entry\0",
            Self::Block => b"samebit/v1/sign/block\0",
            Self::Beacon => b"samebit/v1/sign/beacon\0",
        }
    }
}

/// The bytes that are signed: the domain's prefix, the chain, the digest.
#[must_use]
pub fn signing_bytes(domain: Domain, genesis: GenesisId, digest: [u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(domain.prefix().len() + 64);
    bytes.extend_from_slice(domain.prefix());
    bytes.extend_from_slice(&genesis.0);
    bytes.extend_from_slice(&digest);
    bytes
}

/// An ed25519 public key. Names an account, an operator or a validator.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// `key-` and the first eight hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        alloc::format!("key-{}", hex::encode(&self.0[..4]))
    }

    /// Whether the key may be registered: a curve point of large order.
    ///
    /// # Errors
    /// [`SignatureError::Key`] for bytes that are no point, and for the small-order points under which one
    /// signature fits every message.
    pub fn check(&self) -> Result<(), SignatureError> {
        match CompressedEdwardsY(self.0).decompress() {
            Some(point) if !point.is_small_order() => Ok(()),
            Some(_) | None => Err(SignatureError::Key { key: *self }),
        }
    }

    /// Checks `signature` over `digest` in `domain` on the chain `genesis`.
    ///
    /// # Errors
    /// [`SignatureError`] when the key is no point or the signature does not fit.
    pub fn verify(
        &self,
        domain: Domain,
        genesis: GenesisId,
        digest: [u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let key = VerificationKey::try_from(self.0).map_err(|_| SignatureError::Key { key: *self })?;
        key.verify(&signature.0.into(), &signing_bytes(domain, genesis, digest))
            .map_err(|_| SignatureError::Forged { key: *self })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key-{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for PublicKey {
    type Err = crate::id::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("key-").unwrap_or(text), &mut bytes)
            .map(|()| Self(bytes))
            .map_err(|_| crate::id::IdError { kind: "key", text: text.to_string() })
    }
}

/// An ed25519 signature. Never part of an id: many encodings may fit one message.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signature-{}", hex::encode(&self.0[..4]))
    }
}

/// Why a signature or a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
pub enum SignatureError {
    /// Not a curve point, or one of small order.
    #[error("{key} is not a usable ed25519 key")]
    Key {
        /// The refused key.
        key: PublicKey,
    },
    /// The signature does not fit the key, the message, the domain or the chain.
    #[error("signature does not verify under {key}")]
    Forged {
        /// The key it was checked under.
        key: PublicKey,
    },
}

/// Whoever holds a secret key. The protocol's crates ask it to sign and never see the key.
pub trait Signer {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// Signs exactly `bytes` (RFC 8032, deterministic).
    fn sign_bytes(&self, bytes: &[u8]) -> Signature;

    /// Signs `digest` in `domain` on the chain `genesis`.
    fn sign(&self, domain: Domain, genesis: GenesisId, digest: [u8; 32]) -> Signature {
        self.sign_bytes(&signing_bytes(domain, genesis, digest))
    }
}
