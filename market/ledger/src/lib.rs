//! The ledger: who owns what, which jobs stand where, and the log that proves it (`spec/05-settlement.md`).
//!
//! [`LedgerState`] is a pure state machine: blocks in, state out, no clock and no I/O. [`BlockLog`] is the only
//! thing on disk; state is rebuilt from it. [`Solo`] orders entries into blocks with one key (a trusted
//! coordinator). The rules of jobs are `samebit-market`'s; this crate carries their money effects out. It knows
//! no Wasm and no network.
//!
//! Invariants, checked after every block:
//! - L1: money is neither made nor lost: accounts, bonds, escrows and what was burned add up to the supply.
//! - L2: no bond leaves before its window: a run's bond is locked from acceptance to the unit's end, and what is
//!   withdrawn waits out the unbonding time.
//! - L3: replaying the blocks gives the same root.
//! - L4: every obligation is funded when it is made: escrow covers the worst case, bond covers the slash.
#![forbid(unsafe_code)]

mod apply;
mod audit;
mod genesis;
mod log;
mod solo;
mod state;
mod table;

pub use apply::ApplyError;
pub use audit::{Conservation, Violation};
pub use genesis::GenesisError;
pub use log::{BlockLog, LogError, Torn};
pub use samebit_market as market;
pub use solo::{Ordering, Proposed, ReplayError, Replayed, Solo, SoloError, Store, replay};
pub use state::{LedgerState, TaskRecord};
