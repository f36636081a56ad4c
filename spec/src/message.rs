//! What peers say to each other (`spec/07-wire.md`, section 4).
//!
//! Control messages are at most [`crate::param::MESSAGE_BYTES_MAX`] bytes. Blocks and blobs travel on
//! streams of their own, in frames.

use crate::{
    block::Genesis,
    entry::SignedEntry,
    id::{BlobId, BlockId, EntryId, GenesisId},
    refusal::Refusal,
    unit::{Bytes, Height, Time},
};
use alloc::{string::String, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};

/// Protocol of [`Request`] and [`Response`].
pub const CONTROL_PROTOCOL: &str = "/samebit/control/1";
/// Protocol on which a follower sends a [`Follow`] and then reads blocks, one per frame.
pub const BLOCKS_PROTOCOL: &str = "/samebit/blocks/1";
/// Protocol on which a peer sends one [`BlobRequest`] per frame and reads or writes the bytes.
pub const BLOB_PROTOCOL: &str = "/samebit/blob/1";

/// What may be asked of the validator.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Where the chain is.
    Status,
    /// What the chain began with.
    Genesis,
    /// Write this to the ledger.
    Submit(SignedEntry),
    /// Which of these blobs are not here? At most [`crate::param::MISSING_MAX`].
    Missing(Vec<BlobId>),
}

/// What the validator answers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Response {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Genesis`].
    Genesis(Genesis),
    /// To [`Request::Submit`]: durable in that block.
    Included {
        /// The entry.
        entry: EntryId,
        /// Where it is.
        height: Height,
    },
    /// To [`Request::Submit`]: the ledger is unchanged.
    Refused(Refusal),
    /// To [`Request::Missing`], in the order asked.
    Missing(Vec<BlobId>),
    /// The request could not be served, and why.
    Failed(String),
}

/// Where a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Status {
    /// The chain.
    pub genesis: GenesisId,
    /// Its height.
    pub height: Height,
    /// Its last block.
    pub head: BlockId,
    /// That block's time.
    pub time: Time,
}

/// Asks for blocks from a height on, those to come included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Follow {
    /// The first block wanted.
    pub from: Height,
}

/// Asks to read or write one blob. Several may follow each other on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BlobRequest {
    /// Answered by a [`BlobAnswer`] and, when found, exactly that many bytes.
    Get {
        /// Which.
        id: BlobId,
    },
    /// Followed by exactly `len` bytes, answered by a [`BlobAnswer`].
    Put {
        /// Which.
        id: BlobId,
        /// How long; at most [`crate::param::BLOB_BYTES_MAX`].
        len: Bytes,
    },
}

/// What the keeper answers to a [`BlobRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BlobAnswer {
    /// To a get: the bytes follow.
    Found {
        /// How many.
        len: Bytes,
    },
    /// To a put: kept, durably.
    Kept,
    /// To a get: not here.
    Unknown,
    /// To a put: too long, or the bytes do not hash to the id. Nothing was kept.
    Refused,
}
