//! Tensor operations with the same bits on every machine (`spec/09-tensor.md`).
//!
//! [`oracle`] computes each operation as the text tells it, slowly; [`cpu`] computes the same bits fast. Neither reads
//! anything but its operands: no clock, no number of processors, no instruction set shows in a result.
//!
//! Invariants:
//! - T1: every arithmetic result is canonical: one NaN, no subnormal number.
//! - T2: a backend's result equals the oracle's, bit by bit, for any operands.
//! - T3: what the types of operands decide is refused before anything is computed.
#![deny(unsafe_op_in_unsafe_fn)]

mod backend;
pub mod cases;
pub mod cpu;
mod halt;
pub mod math;
pub mod number;
pub mod oracle;
mod space;
mod value;

pub use backend::{Backend, Cpu, Failure, Fault, Oracle};
pub use halt::Halt;
pub use samebit_spec::tensor::{
    Bits, Dtype, Gelu, Graph, GraphError, Node, Op, Plan, Shape, TensorError, TensorType, Window,
};
pub use value::{Data, Tensor, WrongLength};
