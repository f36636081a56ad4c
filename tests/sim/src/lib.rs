//! A seeded world around the real ledger, the real minds of hosts and the real buyer's part: virtual time, links that
//! delay, lose, repeat and reorder, hosts of different speed that crash, and adversaries, one type each
//! (`spec/04-verification.md`, section 7).
//!
//! One thread, no clock: the same [`world::Plan`] gives the same blocks. Nothing of the protocol is here; a rule that the
//! simulation needs is a rule of `samebit-market` or `samebit-ledger`.

#![allow(clippy::cast_possible_truncation, reason = "shares of a few hosts, all small")]

pub mod adversary;
pub mod boinc;
pub mod dice;
pub mod economics;
pub mod scene;
pub mod world;
