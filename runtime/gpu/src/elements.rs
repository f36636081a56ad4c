//! What each operation computes for one element of its result: the body of `fn element(e: u32) -> u32`.
//!
//! `a(i)`, `b(i)`, `c(i)` are elements of the operands, as bits; `place(e, 8u, n)` is where element `e` lies in operand `n`
//! that was broadcast. The functions stand in `kernels/number.wgsl` and `kernels/math.wgsl`.

use samebit_tensor::{Dtype, Gelu, Op};

/// The body for an operation on each element by itself.
pub(crate) fn one(op: &Op, dtype: Dtype) -> String {
    let value = match (op, dtype) {
        (Op::Neg, Dtype::I32) => "0u - a(e)",
        (Op::Abs, Dtype::I32) => "select(a(e), 0u - a(e), (a(e) & SIGN) != 0u)",
        (Op::Neg, _) => "neg(a(e))",
        (Op::Abs, _) => "size(a(e))",
        (Op::Exp, _) => "exp_of(a(e))",
        (Op::Log, _) => "log_of(a(e))",
        (Op::Sqrt, _) => "root(a(e))",
        (Op::Reciprocal, _) => "div(ONE, a(e))",
        (Op::Tanh, _) => "tanh_of(a(e))",
        (Op::Sigmoid, _) => "sigmoid_of(a(e))",
        (Op::Erf, _) => "erf_of(a(e))",
        (Op::Gelu(Gelu::Erf), _) => "gelu_erf(a(e))",
        (Op::Gelu(Gelu::Tanh), _) => "gelu_tanh(a(e))",
        (Op::Relu, _) => "greater(a(e), 0u)",
        (Op::Clip { .. }, _) => "lesser(greater(a(e), P[5]), P[6])",
        (other, _) => unreachable!("{} is not of one element", other.name()),
    };
    format!("return {value};")
}

/// The body of a conversion.
pub(crate) fn cast(from: Dtype, to: Dtype) -> String {
    let float = match from {
        Dtype::F32 => "canon(a(e))",
        Dtype::F16 => "from_half(a(e))",
        Dtype::I32 | Dtype::I8 | Dtype::U8 => "from_integer(a(e))",
    };
    let is_float = matches!(from, Dtype::F32 | Dtype::F16);
    let value = match to {
        Dtype::F32 => float.to_owned(),
        Dtype::F16 => format!("to_half({float})"),
        _ if !is_float => "a(e)".to_owned(),
        Dtype::I32 => format!("bitcast<u32>(to_integer({float}, false))"),
        Dtype::I8 => format!("bitcast<u32>(clamp(to_integer({float}, false), -128, 127))"),
        Dtype::U8 => format!("bitcast<u32>(clamp(to_integer({float}, false), 0, 255))"),
    };
    format!("return {value};")
}

/// The body for two broadcast operands.
pub(crate) fn two(op: &Op, dtype: Dtype) -> String {
    let value = match (op, dtype == Dtype::I32) {
        (Op::Add, true) => "x + y",
        (Op::Sub, true) => "x - y",
        (Op::Mul, true) => "x * y",
        (Op::Div, true) => "integer_quotient(x, y)",
        (Op::Min, true) => "bitcast<u32>(min(bitcast<i32>(x), bitcast<i32>(y)))",
        (Op::Max, true) => "bitcast<u32>(max(bitcast<i32>(x), bitcast<i32>(y)))",
        (Op::Equal, true) => "select(0u, 1u, x == y)",
        (Op::Less, true) => "select(0u, 1u, bitcast<i32>(x) < bitcast<i32>(y))",
        (Op::Greater, true) => "select(0u, 1u, bitcast<i32>(x) > bitcast<i32>(y))",
        (Op::Add, false) => "add(x, y)",
        (Op::Sub, false) => "sub(x, y)",
        (Op::Mul, false) => "mul(x, y)",
        (Op::Div, false) => "div(x, y)",
        (Op::Min, false) => "lesser(x, y)",
        (Op::Max, false) => "greater(x, y)",
        (Op::Equal, false) => "equal(x, y)",
        (Op::Less, false) => "below(x, y)",
        (Op::Greater, false) => "below(y, x)",
        (other, _) => unreachable!("{} is not of two elements", other.name()),
    };
    format!("let x = a(place(e, 8u, 0u));\n    let y = b(place(e, 8u, 1u));\n    return {value};")
}

/// `Where`.
pub(crate) const CHOOSE: &str = "if (a(place(e, 8u, 0u)) != 0u) {
        return b(place(e, 8u, 1u));
    }
    return c(place(e, 8u, 2u));";

/// `QuantizeLinear`; P[5] elements inside of the axis, P[6] its length, or 1 for one scale.
pub(crate) fn quantize(to: Dtype) -> String {
    let (low, high) = if to == Dtype::I8 { (-128, 127) } else { (0, 255) };
    format!("let at = e / P[5] % P[6];\n    return quantized(a(e), b(at), bitcast<i32>(c(at)), {low}, {high});")
}

/// `DequantizeLinear`; parameters as for [`quantize`].
pub(crate) const DEQUANTIZE: &str = "let at = e / P[5] % P[6];\n    return mul(from_integer(a(e) - c(at)), b(at));";

/// `RotaryEmbedding`; P[5] width, P[6] half of it, P[7] rows of the tables, P[8] whether neighbours are pairs.
pub(crate) const ROTARY: &str = "let column = e % P[5];
    let row = e / P[5];
    let neighbours = P[8] == 1u;
    let pair = select(column % P[6], column / 2u, neighbours);
    let leads = select(column < P[6], column % 2u == 0u, neighbours);
    let at = row % P[7] * P[6] + pair;
    let begin = row * P[5] + select(pair, 2u * pair, neighbours);
    let x = a(begin);
    let y = a(begin + select(P[6], 1u, neighbours));
    if (leads) {
        return sub(mul(x, b(at)), mul(y, c(at)));
    }
    return add(mul(x, c(at)), mul(y, b(at)));";

/// The end of `Gemm`: P[5] alpha, P[6] beta.
pub(crate) const GEMM: &str = "return mul(P[5], a(e));";
/// The same with a third operand.
pub(crate) const GEMM_ADD: &str = "return add(mul(P[5], a(e)), mul(P[6], b(place(e, 8u, 0u))));";

/// Scores of `Attention`: P[5] scale.
pub(crate) const SCORES: &str = "return mul(a(e), P[5]);";
/// The same with a mask.
pub(crate) const SCORES_MASK: &str = "return add(mul(a(e), P[5]), b(place(e, 8u, 0u)));";

/// `Slice` and `Transpose`: P[5] where the first element lies.
pub(crate) const STEPS: &str = "return a(P[5] + place(e, 8u, 0u));";
/// `Gather`.
pub(crate) const GATHER: &str = "return a(gather_place(e, bitcast<i32>(b(gather_index(e)))));";
/// `Concat`, one operand at a time, and which elements are its.
pub(crate) const CONCAT: &str = "return a(concat_place(e));";
/// See [`CONCAT`].
pub(crate) const CONCAT_PRESENT: &str = "concat_at(e) < P[6]";
/// `Pad`: P[5] the element beside.
pub(crate) const PAD: &str = "let at = pad_place(e);
    if (at == 0xffffffffu) {
        return P[5];
    }
    return a(at);";
