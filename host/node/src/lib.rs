//! The daemons, and what every command uses to speak to them.
//!
//! A node gives the market's minds a body: network, clock, disk, runtime. It decides nothing that the ledger
//! decides, and believes nothing that it did not verify: blocks are replayed, content is hashed, and only the
//! genesis of the invitation is trusted. Protocols: `spec/07-wire.md`.
//!
//! - [`validator`]: orders entries, keeps content, signs custody. One per network (*Solo*).
//! - [`host`]: follows the chain, runs what it was drawn for, commits, reveals.
//! - [`client`]: what commands use; [`follower`] is the verified replay below it and below hosts.
//! - [`audit`]: re-executes a job from public data.
//! - [`keys`], [`home`], [`invitation`], [`code`], [`states`]: files of a person's machine.
//! - [`daemon`]: start, readiness, end.
#![forbid(unsafe_code)]

pub mod audit;
pub mod client;
pub mod code;
pub mod content;
pub mod daemon;
mod executor;
pub mod follower;
pub mod home;
pub mod host;
pub mod invitation;
mod keeper;
pub mod keys;
mod ordering;
mod serve;
mod shelf;
pub mod states;
mod transfer;
pub mod validator;

pub use transfer::TransferError;
