//! One canonical encoding (`spec/07-wire.md`): borsh, decoded strictly, hashed under a context of its own.
//!
//! Two values of different types never share a hash, because each type has its own BLAKE3 `derive_key`
//! context; one value has one encoding, because decoding refuses trailing bytes and unsorted maps.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// A type with a canonical hash. The context string is part of the protocol.
pub trait Hashed: BorshSerialize {
    /// BLAKE3 `derive_key` context. Unique per type.
    const CONTEXT: &'static str;

    /// Hash of the canonical bytes under [`Self::CONTEXT`].
    fn digest(&self) -> [u8; 32] {
        derive(Self::CONTEXT, &encode(self))
    }
}

/// BLAKE3 in `derive_key` mode over `bytes` (BLAKE3 paper, section 2.3).
#[must_use]
pub fn derive(context: &str, bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, bytes)
}

/// The same over several pieces, one after the other.
#[must_use]
pub fn derive_all(context: &str, pieces: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize().into()
}

/// The canonical bytes of a value.
///
/// # Panics
/// Never for the types of this crate: writing to memory cannot fail and no length exceeds `u32`, which
/// every constructor's limits ensure.
#[must_use]
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.serialize(&mut bytes).expect("writing to memory cannot fail");
    bytes
}

/// Reads a value from exactly `bytes`.
///
/// # Errors
/// [`DecodeError`] when the bytes end early, are left over, hold an unknown variant or an unsorted map.
pub fn decode<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::try_from_slice(bytes).map_err(|error| DecodeError { len: bytes.len(), reason: alloc::format!("{error}") })
}

/// Why bytes are not a value. Nothing was built from them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes are not a canonical value: {reason}")]
pub struct DecodeError {
    /// How many bytes were offered.
    pub len: usize,
    /// What borsh says of them.
    pub reason: alloc::string::String,
}
