//! Blocks, and the genesis they grow from (`spec/05-settlement.md`, section 1).

use crate::{
    entry::SignedEntry,
    id::{Beacon, BlockId, GenesisId, LedgerRoot},
    param::Params,
    sign::{Domain, PublicKey, Signature, SignatureError},
    unit::{Height, MicroCredits, Time},
    wire::{self, Hashed},
};
use alloc::{string::String, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};

/// Where a chain begins: who orders it, what the rules are, who holds the whole supply.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// For people, such as `devnet`.
    pub network: String,
    /// When it was made; the first block is not earlier.
    pub time: Time,
    /// The one key that orders blocks (*Solo*: a trusted coordinator) and keeps content.
    pub validator: PublicKey,
    /// The rules.
    pub params: Params,
    /// The whole supply, sorted by key, each once. Nothing is minted later.
    pub accounts: Vec<(PublicKey, MicroCredits)>,
}

impl Hashed for Genesis {
    const CONTEXT: &'static str = "samebit/v1/genesis";
}

impl Genesis {
    /// The chain's id.
    #[must_use]
    pub fn id(&self) -> GenesisId {
        GenesisId(self.digest())
    }
}

/// What a validator signs of a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The chain.
    pub genesis: GenesisId,
    /// Its place.
    pub height: Height,
    /// Its time, not before its parent's.
    pub time: Time,
    /// The block before; all zero bytes at height 1.
    pub parent: BlockId,
    /// [`entries_root`] of its entries.
    pub entries: [u8; 32],
    /// The ledger's state after it.
    pub state: LedgerRoot,
    /// Validator's signature that the beacon is made of, in [`Domain::Beacon`].
    pub beacon_proof: Signature,
}

impl Hashed for Header {
    const CONTEXT: &'static str = "samebit/v1/header";
}

impl Header {
    /// The block's id.
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId(self.digest())
    }

    /// The block's public randomness: hash of [`Header::beacon_proof`].
    #[must_use]
    pub fn beacon(&self) -> Beacon {
        Beacon(wire::derive("samebit/v1/beacon", &self.beacon_proof.0))
    }
}

/// What the validator signs in [`Domain::Beacon`] for the block at `height` after the beacon `before`.
///
/// The chain of beacons is fixed by the key alone. An ed25519 signer can make more than one valid signature,
/// so this binds an honest validator and not a dishonest one: Solo is a trusted coordinator.
#[must_use]
pub fn beacon_digest(before: Beacon, height: Height) -> [u8; 32] {
    wire::derive("samebit/v1/beacon-input", &wire::encode(&(before, height)))
}

/// The commitment to a block's entries: their ids and signatures in order.
#[must_use]
pub fn entries_root(entries: &[SignedEntry]) -> [u8; 32] {
    let marks: Vec<_> = entries.iter().map(|signed| (signed.entry.id(), signed.signature)).collect();
    wire::derive("samebit/v1/entries", &wire::encode(&marks))
}

/// A block: what is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What is signed.
    pub header: Header,
    /// By the validator, in [`Domain::Block`].
    pub signature: Signature,
    /// In the order in which they were applied.
    pub entries: Vec<SignedEntry>,
}

impl Block {
    /// Checks the validator's signatures over header and beacon, and that the entries are those of the header.
    /// The entries' own signatures and the state root are the ledger's to check.
    ///
    /// # Errors
    /// [`BlockError`] naming what does not fit.
    pub fn verify(&self, validator: &PublicKey, before: Beacon) -> Result<(), BlockError> {
        let header = &self.header;
        let height = header.height;
        validator
            .verify(Domain::Block, header.genesis, header.digest(), &self.signature)
            .map_err(|source| BlockError::Signature { height, source })?;
        validator
            .verify(Domain::Beacon, header.genesis, beacon_digest(before, height), &header.beacon_proof)
            .map_err(|source| BlockError::Beacon { height, source })?;
        if entries_root(&self.entries) != header.entries {
            return Err(BlockError::Entries { height });
        }
        Ok(())
    }
}

/// Why a block is not the validator's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The header's signature.
    #[error("block {height}: {source}")]
    Signature {
        /// The block.
        height: Height,
        /// What is wrong.
        source: SignatureError,
    },
    /// The beacon's signature.
    #[error("block {height}: beacon: {source}")]
    Beacon {
        /// The block.
        height: Height,
        /// What is wrong.
        source: SignatureError,
    },
    /// The entries are not those that the header names.
    #[error("block {height}: entries do not match the header")]
    Entries {
        /// The block.
        height: Height,
    },
}

/// How to join a network: written by whoever runs it, read by everyone else.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Invitation {
    /// The chain.
    pub genesis: Genesis,
    /// Multiaddresses of the validator, its peer id included.
    pub addresses: Vec<String>,
}
