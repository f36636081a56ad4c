//! Where a float must be made canonical (`spec/03-execution.md`, section 9).
//!
//! The semantics are the deterministic profile of Wasm 3.0: the NaN that arithmetic makes is canonical at once;
//! `neg`, `abs`, `copysign`, loads, stores, moves, `select`, `pmin` and `pmax` keep bits. [`points`] names the
//! operators after which the top of the stack is made canonical. Two ways give the same bits at every place that
//! can see them:
//!
//! - [`Nan::Eager`]: after every operator that makes a NaN.
//! - [`Nan::Lazy`]: only where a value can be seen.

mod lazy;
mod operators;
#[cfg(test)]
mod tests;

use crate::{
    Nan,
    function::{Function, Types, position},
    op::{Code, Op},
};

/// How a value is made canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// After the operator with this index the top of the stack is made canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) op: u32,
    pub(crate) shape: Shape,
}

/// The points of a function, by operator.
pub(crate) fn points(function: &Function<'_>, types: &Types<'_>, nan: Nan) -> Vec<Point> {
    match nan {
        _ if !function.makes_nan => Vec::new(),
        Nan::Keep => Vec::new(),
        Nan::Eager => eager(function),
        Nan::Lazy => lazy::points(function, types).unwrap_or_else(|| eager(function)),
    }
}

fn eager(function: &Function<'_>) -> Vec<Point> {
    let makes = |(at, op): (usize, &Op)| makes_nan(op.code).map(|shape| Point { op: position(at), shape });
    function.ops.iter().enumerate().filter_map(makes).collect()
}

/// The shape of the result of an operator whose result may be a NaN that the specification leaves open.
pub(crate) const fn makes_nan(code: Code) -> Option<Shape> {
    use Code as O;
    Some(match code {
        O::F32Add
        | O::F32Sub
        | O::F32Mul
        | O::F32Div
        | O::F32Min
        | O::F32Max
        | O::F32Sqrt
        | O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest
        | O::F32DemoteF64 => Shape::F32,
        O::F64Add
        | O::F64Sub
        | O::F64Mul
        | O::F64Div
        | O::F64Min
        | O::F64Max
        | O::F64Sqrt
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest
        | O::F64PromoteF32 => Shape::F64,
        O::F32x4Add
        | O::F32x4Sub
        | O::F32x4Mul
        | O::F32x4Div
        | O::F32x4Min
        | O::F32x4Max
        | O::F32x4Sqrt
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F32x4DemoteF64x2Zero => Shape::F32x4,
        O::F64x2Add
        | O::F64x2Sub
        | O::F64x2Mul
        | O::F64x2Div
        | O::F64x2Min
        | O::F64x2Max
        | O::F64x2Sqrt
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest
        | O::F64x2PromoteLowF32x4 => Shape::F64x2,
        _ => return None,
    })
}
