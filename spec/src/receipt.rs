//! What a host promises and shows (`spec/04-verification.md`, sections 2 and 3).

use crate::{
    content::{BlobRef, TreeRef},
    execution::Outcome,
    id::{Commitment, ExecutionId, HistoryRoot, OutputDigest, ReceiptId},
    job::RunId,
    sign::PublicKey,
    unit::Fuel,
    wire::{self, Hashed},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// What a run put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Output {
    /// Standard output.
    pub stdout: BlobRef,
    /// The files of `/out`, the task's typed result among them.
    pub tree: TreeRef,
}

impl Hashed for Output {
    const CONTEXT: &'static str = "samebit/v1/output";
}

impl Output {
    /// The output's digest.
    #[must_use]
    pub fn id(&self) -> OutputDigest {
        OutputDigest(self.digest())
    }
}

/// A run's result. Equal, bit for bit, for every honest host of a unit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// What was run.
    pub execution: ExecutionId,
    /// How it ended.
    pub outcome: Outcome,
    /// What it put out, up to where it ended.
    pub output: Output,
    /// Work it took.
    pub fuel: Fuel,
    /// Steps it took. 1 for a command.
    pub steps: u32,
    /// Its state roots.
    pub history: HistoryRoot,
}

impl Hashed for Receipt {
    const CONTEXT: &'static str = "samebit/v1/receipt";
}

impl Receipt {
    /// The receipt's id: what replicas are compared by.
    #[must_use]
    pub fn id(&self) -> ReceiptId {
        ReceiptId(self.digest())
    }
}

/// Hides a receipt until it is opened. Kept secret by its host until the reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Salt(pub [u8; 32]);

/// The promise of `receipt` by `host` for `run`.
///
/// Bound to run and host: a copied commitment cannot be opened by the copier.
#[must_use]
pub fn commitment(run: &RunId, host: &PublicKey, salt: &Salt, receipt: ReceiptId) -> Commitment {
    Commitment(wire::derive("samebit/v1/commitment", &wire::encode(&(run, host, salt, receipt))))
}

/// A sign of life during a run: hides the state root that the host has reached.
#[must_use]
pub fn heartbeat_mark(salt: &Salt, root: &crate::id::StateRoot) -> [u8; 32] {
    wire::derive("samebit/v1/heartbeat", &wire::encode(&(salt, root)))
}
