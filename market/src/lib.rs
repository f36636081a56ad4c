//! The market's rules as pure functions of what the ledger knows (`spec/04-verification.md`).
//!
//! Nothing here does I/O, reads a clock, draws randomness or knows a network or a store: time, beacons and
//! entries come in as arguments, money effects and entries to submit come out. The ledger and the daemons
//! carry them out; the scripted runs in `tests/sim` drive the same code over virtual time.
//!
//! - [`lifecycle`]: one job, from post to close.
//! - [`sortition`]: which hosts run a unit.
//! - [`verdict`]: what revealed receipts say.
//! - [`plan`]: how many hosts and audits an order needs.
//! - [`agent`]: the mind of a host, honest or not; [`buyer`]: that of a buyer.
//! - [`summary`], [`words`]: the same records for people.
#![forbid(unsafe_code)]

pub mod agent;
pub mod buyer;
pub mod lifecycle;
pub mod plan;
pub mod sortition;
pub mod summary;
pub mod verdict;
pub mod words;
