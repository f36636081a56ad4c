//! Orders entries into blocks with one key (`spec/05-settlement.md`, section 1).
//!
//! *Solo is a trusted coordinator*: it cannot forge an entry, change a rule or make money, since everyone replays
//! its blocks; it can leave entries out, delay them, choose block times and grind beacons.

use crate::{
    apply::ApplyError,
    audit::{Conservation, Violation},
    genesis::GenesisError,
    log::{BlockLog, LogError, Reader, Torn},
    state::LedgerState,
};
use samebit_spec::{
    block::{Block, Genesis, Header, beacon_digest, entries_root},
    entry::SignedEntry,
    id::EntryId,
    param::BLOCK_ENTRIES_MAX,
    refusal::Refusal,
    sign::{Domain, PublicKey, Signature, Signer},
    unit::{Height, Time},
};
use std::path::Path;

/// Makes blocks out of entries.
pub trait Ordering {
    /// The state after the last block.
    fn state(&self) -> &LedgerState;

    /// Makes a block at `now` of the entries that the rules allow, and keeps it.
    ///
    /// # Errors
    /// [`SoloError`]; the state is then what it was.
    fn propose(&mut self, now: Time, entries: Vec<SignedEntry>) -> Result<Proposed, SoloError>;

    /// The block at `height`.
    ///
    /// # Errors
    /// [`LogError`] when the disk fails.
    fn block(&self, height: Height) -> Result<Option<Block>, LogError>;
}

/// Where [`Solo`] keeps its blocks: a [`BlockLog`], or a failing disk in tests.
pub trait Store {
    /// Keeps a block durably.
    ///
    /// # Errors
    /// [`LogError`] when it may not be there.
    fn append(&mut self, block: &Block) -> Result<(), LogError>;

    /// Reads one.
    ///
    /// # Errors
    /// [`LogError`] when the disk fails.
    fn block(&self, height: Height) -> Result<Option<Block>, LogError>;
}

impl Store for BlockLog {
    fn append(&mut self, block: &Block) -> Result<(), LogError> {
        Self::append(self, block)
    }

    fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
        Self::block(self, height)
    }
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The block, durable; `None` when nothing would have changed.
    pub block: Option<Block>,
    /// Each entry's fate, in the order given.
    pub results: Vec<Result<EntryId, Refusal>>,
}

/// Why no block was made. The state is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SoloError {
    /// The genesis begins no chain.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The key is not the chain's validator.
    #[error("the key is {given}, the chain's validator is {validator}")]
    NotTheValidator {
        /// The chain's.
        validator: PublicKey,
        /// The key's.
        given: PublicKey,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A stored block does not follow from those before it.
    #[error("stored block: {0}")]
    Stored(#[from] ApplyError),
    /// More entries at once than a block holds.
    #[error("{given} entries, a block holds {max}", max = BLOCK_ENTRIES_MAX)]
    TooMany {
        /// How many were given.
        given: usize,
    },
}

/// The one validator of a chain.
pub struct Solo<L = BlockLog> {
    state: LedgerState,
    log: L,
    signer: Box<dyn Signer + Send>,
}

impl Solo {
    /// Opens the chain of `genesis` in `dir`, replaying what is there.
    ///
    /// # Errors
    /// [`SoloError`] when the folder, a block in it, or the key is not this chain's.
    pub fn open(dir: &Path, genesis: &Genesis, signer: Box<dyn Signer + Send>) -> Result<Self, SoloError> {
        let state = LedgerState::new(genesis)?;
        let mut solo = Self::with_store(state, BlockLog::open(dir, genesis)?, signer)?;
        for block in solo.log.blocks() {
            solo.state.apply_block(&block?)?;
        }
        Ok(solo)
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> &BlockLog {
        &self.log
    }
}

impl<L: Store> Solo<L> {
    /// A validator whose `state` is that of the blocks in `log`.
    ///
    /// # Errors
    /// [`SoloError::NotTheValidator`].
    pub fn with_store(state: LedgerState, log: L, signer: Box<dyn Signer + Send>) -> Result<Self, SoloError> {
        let (validator, given) = (state.genesis().validator, signer.public());
        if validator != given {
            return Err(SoloError::NotTheValidator { validator, given });
        }
        Ok(Self { state, log, signer })
    }

    /// The state after the last block.
    #[must_use]
    pub const fn state(&self) -> &LedgerState {
        &self.state
    }

    /// Makes a block at `now`, or at its parent's time where that is later, of the entries that the rules allow.
    /// The block is durable before this returns. No block is made when no entry was allowed, no timer is due and
    /// no unit can be placed.
    ///
    /// # Errors
    /// [`SoloError`]; the state is then what it was.
    pub fn propose(&mut self, now: Time, entries: Vec<SignedEntry>) -> Result<Proposed, SoloError> {
        if entries.len() > BLOCK_ENTRIES_MAX {
            return Err(SoloError::TooMany { given: entries.len() });
        }
        let time = now.max(self.state.time());
        let height = Height(self.state.height().0 + 1);
        let (genesis, parent) = (self.state.genesis_id(), self.state.head());
        let due = self.state.is_due(time);
        if entries.is_empty() && !due {
            return Ok(Proposed { block: None, results: Vec::new() });
        }
        let beacon_proof = self.signer.sign(Domain::Beacon, genesis, beacon_digest(self.state.beacon(), height));
        let mut header = Header {
            genesis,
            height,
            time,
            parent,
            entries: [0; 32],
            state: samebit_spec::id::LedgerRoot::default(),
            beacon_proof,
        };
        self.state.begin_block(height, time, header.beacon());
        let mut results = Vec::with_capacity(entries.len());
        let mut allowed = Vec::with_capacity(entries.len());
        for signed in entries {
            let result = self.state.apply(&signed).map(|()| signed.entry.id());
            if result.is_ok() {
                allowed.push(signed);
            }
            results.push(result);
        }
        if allowed.is_empty() && !due {
            self.state.abandon_block();
            return Ok(Proposed { block: None, results });
        }
        header.entries = entries_root(&allowed);
        header.state = self.state.root();
        let signature: Signature =
            self.signer.sign(Domain::Block, genesis, samebit_spec::wire::Hashed::digest(&header));
        let block = Block { header, signature, entries: allowed };
        if let Err(error) = self.log.append(&block) {
            self.state.abandon_block();
            return Err(error.into());
        }
        self.state.finish_block(block.header.id());
        Ok(Proposed { block: Some(block), results })
    }

    /// Ends the validator and hands its state on.
    #[must_use]
    pub fn into_state(self) -> LedgerState {
        self.state
    }
}

impl<L: Store> Ordering for Solo<L> {
    fn state(&self) -> &LedgerState {
        self.state()
    }

    fn propose(&mut self, now: Time, entries: Vec<SignedEntry>) -> Result<Proposed, SoloError> {
        self.propose(now, entries)
    }

    fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
        self.log.block(height)
    }
}

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The state after the last block.
    pub state: LedgerState,
    /// Blocks replayed.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Where the supply is.
    pub conservation: Conservation,
    /// A last record that is not there whole.
    pub torn: Option<Torn>,
}

/// Why a folder does not prove its state.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read, or is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its genesis begins no chain.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A block does not follow from those before it.
    #[error(transparent)]
    Block(#[from] ApplyError),
    /// Money does not add up.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// Replays a ledger folder from its genesis, checking every signature, rule and root. Neither locks nor changes
/// the folder, so that a running validator's can be checked.
///
/// # Errors
/// [`ReplayError`] naming the first thing that does not hold.
pub fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    let reader = Reader::open(path)?;
    let mut state = LedgerState::new(&reader.genesis)?;
    let (mut blocks, mut entries) = (0, 0);
    for block in reader.blocks() {
        let block = block?;
        state.apply_block(&block)?;
        blocks += 1;
        entries += block.entries.len() as u64;
    }
    let conservation = state.check()?;
    Ok(Replayed { state, blocks, entries, conservation, torn: reader.scan.torn })
}
