//! What each operator does to the floats that it takes and gives, as [`super::lazy`] sees it.

use super::Shape;
use crate::{function::Function, op::Code};

/// Facts that hold for a value in every run. "Eager" is the value that the same place has when every result of
/// arithmetic is made canonical at once; "here" is the value that the code with fewer points has. Facts of a
/// value that may come from either of two places are those that hold at both.
pub(super) type Facts = u16;

/// Here and eager have the same bits.
pub(super) const SAME: Facts = 1;
/// Here and eager are the same numbers, and NaN at the same places, seen as `f32` or as four of them.
pub(super) const NUMBER_4: Facts = 1 << 1;
/// The same, seen as `f64` or as two of them.
pub(super) const NUMBER_2: Facts = 1 << 2;
/// Making it canonical gives the eager bits, as `f32`.
pub(super) const MADE_F32: Facts = 1 << 3;
/// As `f64`.
pub(super) const MADE_F64: Facts = 1 << 4;
/// As `f32x4`.
pub(super) const MADE_F32X4: Facts = 1 << 5;
/// As `f64x2`.
pub(super) const MADE_F64X2: Facts = 1 << 6;
/// A scalar that is not NaN.
pub(super) const NO_NAN: Facts = 1 << 7;
/// A scalar that is finite.
pub(super) const FINITE: Facts = 1 << 8;
/// A scalar that is not zero.
pub(super) const NOT_ZERO: Facts = 1 << 9;

pub(super) const NUMBER: Facts = NUMBER_4 | NUMBER_2;
pub(super) const MADE: Facts = MADE_F32 | MADE_F64 | MADE_F32X4 | MADE_F64X2;
/// Whatever bits it has, they are the eager ones.
pub(super) const EXACT: Facts = SAME | NUMBER;
/// Exact, and making it canonical changes nothing.
pub(super) const FREE: Facts = EXACT | MADE;
pub(super) const ALL: Facts = FREE | NO_NAN | FINITE | NOT_ZERO;

impl Shape {
    pub(super) const fn made(self) -> Facts {
        match self {
            Self::F32 => MADE_F32,
            Self::F64 => MADE_F64,
            Self::F32x4 => MADE_F32X4,
            Self::F64x2 => MADE_F64X2,
        }
    }

    pub(super) const fn number(self) -> Facts {
        match self {
            Self::F32 | Self::F32x4 => NUMBER_4,
            Self::F64 | Self::F64x2 => NUMBER_2,
        }
    }
}

/// What is known of a result of arithmetic when something is known of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Sum,
    Product,
    Quotient,
    /// Rounding, choosing and widening: no NaN comes from numbers, nothing infinite from what is finite.
    Tame,
    /// Narrowing: no NaN comes from a number.
    Narrowing,
    Any,
}

/// What an operator with plain operands does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Makes a new value, whose NaN is canonical in the eager run. Sees whether its operands, of shape `of`, are
    /// NaN, never which.
    Make { shape: Shape, of: Shape, how: Arithmetic },
    /// Gives bits that come from none of its operands' NaN bits, like a comparison.
    Test { of: Shape },
    /// Gives bits of its operands; the facts in `keeps` hold for the result when they hold for all operands.
    Move { keeps: Facts },
    /// The same, and which bits it gives depends on numbers of this shape: `pmin`, `pmax`.
    Choose { of: Shape, keeps: Facts },
    /// `copysign`: the first operand's bits, with a sign that shows the second operand's bits.
    CopySign,
    /// `select`: the last operand is no float.
    Select,
    /// A scalar in each lane.
    Splat { keeps: Facts },
    /// A lane as a scalar of this shape.
    Extract { shape: Shape },
    /// The first operand with a lane replaced by the second, a scalar of this shape.
    Replace { shape: Shape },
    /// The first operand with bits of no float put in whole lanes.
    Insert { vector: usize, keeps: Facts },
    /// Gives numbers from integers.
    Number,
    /// Gives vectors of numbers from lanes of integers, so it sees all bits of its operand.
    Numbers,
    /// A value known here.
    Constant(Facts),
    /// Sees all bits of its operands and gives bits that are the eager ones when those are.
    See,
}

/// What the operator with this index does.
pub(super) fn deed(function: &Function<'_>, at: usize) -> Deed {
    use Arithmetic::{Any, Narrowing, Product, Quotient, Sum, Tame};
    use Code as O;
    use Shape::{F32, F32x4, F64, F64x2};
    const SCALAR: Facts = ALL;
    // What a sign change leaves: a negated canonical NaN is not canonical.
    const SIGNED: Facts = EXACT | NO_NAN | FINITE | NOT_ZERO;
    const LANES_4: Facts = SAME | NUMBER_4 | MADE_F32X4;
    const LANES_2: Facts = SAME | NUMBER_2 | MADE_F64X2;
    let make = |shape, how| Deed::Make { shape, of: shape, how };
    let op = &function.ops[at];
    match op.code {
        O::F32Add | O::F32Sub => make(F32, Sum),
        O::F32Mul => make(F32, Product),
        O::F32Div => make(F32, Quotient),
        O::F32Min | O::F32Max | O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => make(F32, Tame),
        O::F32Sqrt => make(F32, Any),
        O::F32DemoteF64 => Deed::Make { shape: F32, of: F64, how: Narrowing },
        O::F64Add | O::F64Sub => make(F64, Sum),
        O::F64Mul => make(F64, Product),
        O::F64Div => make(F64, Quotient),
        O::F64Min | O::F64Max | O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => make(F64, Tame),
        O::F64Sqrt => make(F64, Any),
        O::F64PromoteF32 => Deed::Make { shape: F64, of: F32, how: Tame },
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
        | O::F32x4Nearest => make(F32x4, Any),
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
        | O::F64x2Nearest => make(F64x2, Any),
        O::F32x4DemoteF64x2Zero => Deed::Make { shape: F32x4, of: F64x2, how: Any },
        O::F64x2PromoteLowF32x4 => Deed::Make { shape: F64x2, of: F32x4, how: Any },

        O::F32Eq
        | O::F32Ne
        | O::F32Lt
        | O::F32Gt
        | O::F32Le
        | O::F32Ge
        | O::I32TruncF32S
        | O::I32TruncF32U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U => Deed::Test { of: F32 },
        O::F64Eq
        | O::F64Ne
        | O::F64Lt
        | O::F64Gt
        | O::F64Le
        | O::F64Ge
        | O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U => Deed::Test { of: F64 },
        O::F32x4Eq
        | O::F32x4Ne
        | O::F32x4Lt
        | O::F32x4Gt
        | O::F32x4Le
        | O::F32x4Ge
        | O::I32x4TruncSatF32x4S
        | O::I32x4TruncSatF32x4U => Deed::Test { of: F32x4 },
        O::F64x2Eq
        | O::F64x2Ne
        | O::F64x2Lt
        | O::F64x2Gt
        | O::F64x2Le
        | O::F64x2Ge
        | O::I32x4TruncSatF64x2SZero
        | O::I32x4TruncSatF64x2UZero => Deed::Test { of: F64x2 },

        // Without a sign a canonical NaN is the canonical NaN.
        O::F32Abs | O::F64Abs => Deed::Move { keeps: SCALAR },
        O::F32Neg | O::F64Neg => Deed::Move { keeps: SIGNED },
        O::F32x4Abs => Deed::Move { keeps: LANES_4 },
        O::F64x2Abs => Deed::Move { keeps: LANES_2 },
        O::F32x4Neg => Deed::Move { keeps: SAME | NUMBER_4 },
        O::F64x2Neg => Deed::Move { keeps: SAME | NUMBER_2 },
        O::F32x4PMin | O::F32x4PMax => Deed::Choose { of: F32x4, keeps: LANES_4 },
        O::F64x2PMin | O::F64x2PMax => Deed::Choose { of: F64x2, keeps: LANES_2 },
        O::I8x16Shuffle => match shuffled(&function.last_bytes(at)) {
            Some(keeps) => Deed::Move { keeps },
            None => Deed::See,
        },
        O::F32Copysign | O::F64Copysign => Deed::CopySign,
        O::Select | O::TypedSelect => Deed::Select,
        O::F32x4Splat => Deed::Splat { keeps: LANES_4 },
        O::F64x2Splat => Deed::Splat { keeps: LANES_2 },
        O::F32x4ExtractLane => Deed::Extract { shape: F32 },
        O::F64x2ExtractLane => Deed::Extract { shape: F64 },
        O::F32x4ReplaceLane => Deed::Replace { shape: F32 },
        O::F64x2ReplaceLane => Deed::Replace { shape: F64 },
        O::I32x4ReplaceLane => Deed::Insert { vector: 0, keeps: SAME | NUMBER_4 },
        O::I64x2ReplaceLane => Deed::Insert { vector: 0, keeps: SAME | NUMBER },
        O::V128Load32Lane => Deed::Insert { vector: 1, keeps: SAME | NUMBER_4 },
        O::V128Load64Lane => Deed::Insert { vector: 1, keeps: SAME | NUMBER },

        O::F32ConvertI32S
        | O::F32ConvertI32U
        | O::F32ConvertI64S
        | O::F32ConvertI64U
        | O::F64ConvertI32S
        | O::F64ConvertI32U
        | O::F64ConvertI64S
        | O::F64ConvertI64U => Deed::Number,
        O::F32x4ConvertI32x4S | O::F32x4ConvertI32x4U => Deed::Numbers,
        O::F64x2ConvertLowI32x4S | O::F64x2ConvertLowI32x4U => Deed::Numbers,

        O::F32Const => Deed::Constant(scalar(f32::from_bits(op.value).into(), op.value == 0x7fc0_0000)),
        O::F64Const => {
            let bits = u64::from_le_bytes(function.last_bytes(at));
            Deed::Constant(scalar(f64::from_bits(bits), bits == 0x7ff8_0000_0000_0000))
        }
        O::V128Const => Deed::Constant(vector(&function.last_bytes(at))),
        _ => Deed::See,
    }
}

/// Facts of a scalar constant.
fn scalar(value: f64, canonical: bool) -> Facts {
    if value.is_nan() {
        return if canonical { FREE } else { EXACT };
    }
    let mut facts = FREE | NO_NAN;
    if value.is_finite() {
        facts |= FINITE;
    }
    if value != 0.0 {
        facts |= NOT_ZERO;
    }
    facts
}

/// Facts of a vector constant.
fn vector(bytes: &[u8; 16]) -> Facts {
    let bits = u128::from_le_bytes(*bytes);
    let canonical_4 = (0..4).all(|lane| {
        let lane = u32::try_from(bits >> (lane * 32) & 0xffff_ffff).unwrap_or(u32::MAX);
        lane == 0x7fc0_0000 || !f32::from_bits(lane).is_nan()
    });
    let canonical_2 = (0..2).all(|lane| {
        let lane = u64::try_from(bits >> (lane * 64) & 0xffff_ffff_ffff_ffff).unwrap_or(u64::MAX);
        lane == 0x7ff8_0000_0000_0000 || !f64::from_bits(lane).is_nan()
    });
    match (canonical_4, canonical_2) {
        // No half of an `f64` NaN, and no canonical `f32` NaN, is in the other shape a NaN of another kind.
        (true, _) => FREE,
        (false, true) => EXACT | MADE_F64X2,
        (false, false) => EXACT,
    }
}

/// What a shuffle keeps, when it moves whole lanes of 32 bits. One that cuts them shows bits.
fn shuffled(lanes: &[u8; 16]) -> Option<Facts> {
    let whole = |size: usize| {
        lanes.chunks(size).all(|chunk| {
            usize::from(chunk[0]).is_multiple_of(size) && (chunk[0]..).zip(chunk).all(|(wanted, &byte)| wanted == byte)
        })
    };
    match (whole(4), whole(8)) {
        (_, true) => Some(SAME | NUMBER | MADE_F32X4 | MADE_F64X2),
        (true, false) => Some(SAME | NUMBER_4 | MADE_F32X4),
        (false, false) => None,
    }
}

/// Operands and results of an operator that takes and gives the same ones everywhere and goes on to the next.
/// `None` for every other, and for operators of features whose flow of control is not followed here.
pub(super) fn arity(code: Code) -> Option<(usize, usize)> {
    macro_rules! followed {
        (mvp $count:expr) => {
            $count
        };
        (sign_extension $count:expr) => {
            $count
        };
        (saturating_float_to_int $count:expr) => {
            $count
        };
        (bulk_memory $count:expr) => {
            $count
        };
        (reference_types $count:expr) => {
            $count
        };
        (simd $count:expr) => {
            $count
        };
        ($other:ident $count:expr) => {
            None
        };
    }
    macro_rules! count {
        (arity custom) => {
            None
        };
        (arity $takes:literal -> $gives:literal) => {
            Some(($takes, $gives))
        };
    }
    macro_rules! arities {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
            match code {
                $(Code::$op => followed!($proposal count!($($arity)*)),)*
            }
        };
    }
    wasmparser::for_each_operator!(arities)
}
