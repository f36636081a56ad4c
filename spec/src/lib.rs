//! The protocol of Samebit: every type that is hashed, signed, sent or stored, and every number that
//! hosts, buyers and validators must agree on.
//!
//! The chapters beside this crate (`spec/NN-*.md`) are normative; the types here are their exact form and
//! `spec/vectors/` holds golden bytes of each. The crate does no I/O, reads no clock and knows no other
//! crate of ours. Without features only [`abi`] is left, which is all that a guest needs; one that computes on tensors
//! takes the feature `tensor` as well.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod abi;

#[cfg(feature = "types")]
pub mod audit;
#[cfg(feature = "types")]
pub mod block;
#[cfg(feature = "types")]
pub mod content;
#[cfg(feature = "types")]
pub mod entry;
#[cfg(feature = "types")]
pub mod execution;
#[cfg(feature = "types")]
pub mod fuel;
#[cfg(feature = "types")]
pub mod history;
#[cfg(feature = "types")]
pub mod id;
#[cfg(feature = "types")]
pub mod job;
#[cfg(feature = "types")]
pub mod message;
#[cfg(feature = "types")]
pub mod offer;
#[cfg(feature = "types")]
pub mod param;
#[cfg(feature = "types")]
pub mod receipt;
#[cfg(feature = "types")]
pub mod refusal;
#[cfg(feature = "types")]
pub mod sign;
#[cfg(feature = "types")]
pub mod state;
#[cfg(feature = "types")]
pub mod task;
#[cfg(feature = "tensor")]
pub mod tensor;
#[cfg(feature = "types")]
pub mod unit;
#[cfg(feature = "types")]
pub mod wasi;
#[cfg(feature = "types")]
pub mod wire;
