//! Operations on each element by itself (`spec/09-tensor.md`, section 9.5.1).

use super::index::{each, stretched};
use crate::{Data, Tensor, math, number};
use samebit_spec::tensor::{Dtype, Op, Shape};

pub(super) fn one(op: &Op, x: &Tensor) -> Data {
    if let Data::I32(data) = x.data() {
        let negate = matches!(op, Op::Neg);
        return Data::I32(data.iter().map(|x| if negate { x.wrapping_neg() } else { x.wrapping_abs() }).collect());
    }
    Data::F32(x.floats().iter().map(|x| float(op, *x)).collect())
}

pub(crate) fn float(op: &Op, x: f32) -> f32 {
    match op {
        Op::Neg => number::neg(x),
        Op::Abs => number::abs(x),
        Op::Exp => math::exp(x),
        Op::Log => math::log(x),
        Op::Sqrt => number::sqrt(x),
        Op::Reciprocal => math::reciprocal(x),
        Op::Tanh => math::tanh(x),
        Op::Sigmoid => math::sigmoid(x),
        Op::Erf => math::erf(x),
        Op::Gelu(kind) => math::gelu(*kind, x),
        Op::Relu => number::max(x, 0.0),
        Op::Clip { low, high } => number::clip(x, low.value(), high.value()),
        other => unreachable!("{} is not elementwise", other.name()),
    }
}

pub(super) fn two(op: &Op, a: &Tensor, b: &Tensor, shape: &Shape) -> Data {
    let places: Vec<[usize; 2]> =
        each(shape).map(|index| [stretched(&index, &a.of().shape), stretched(&index, &b.of().shape)]).collect();
    match (a.data(), b.data()) {
        (Data::I32(a), Data::I32(b)) => {
            let pairs = places.into_iter().map(|[left, right]| (a[left], b[right]));
            match op {
                Op::Equal => Data::U8(pairs.map(|(a, b)| (a == b).into()).collect()),
                Op::Less => Data::U8(pairs.map(|(a, b)| (a < b).into()).collect()),
                Op::Greater => Data::U8(pairs.map(|(a, b)| (a > b).into()).collect()),
                _ => Data::I32(pairs.map(|(a, b)| integers(op, a, b)).collect()),
            }
        }
        _ => {
            let (a, b) = (a.floats(), b.floats());
            let pairs = places.into_iter().map(|[left, right]| (number::canon(a[left]), number::canon(b[right])));
            match op {
                Op::Equal => Data::U8(pairs.map(|(a, b)| (a == b).into()).collect()),
                Op::Less => Data::U8(pairs.map(|(a, b)| (a < b).into()).collect()),
                Op::Greater => Data::U8(pairs.map(|(a, b)| (a > b).into()).collect()),
                _ => Data::F32(pairs.map(|(a, b)| floats(op, a, b)).collect()),
            }
        }
    }
}

pub(crate) fn floats(op: &Op, a: f32, b: f32) -> f32 {
    match op {
        Op::Add => number::add(a, b),
        Op::Sub => number::sub(a, b),
        Op::Mul => number::mul(a, b),
        Op::Div => number::div(a, b),
        Op::Min => number::min(a, b),
        Op::Max => number::max(a, b),
        other => unreachable!("{} gives no float of two", other.name()),
    }
}

fn integers(op: &Op, a: i32, b: i32) -> i32 {
    match op {
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::Mul => a.wrapping_mul(b),
        Op::Div => number::div_i32(a, b),
        Op::Min => a.min(b),
        Op::Max => a.max(b),
        other => unreachable!("{} gives no integer of two", other.name()),
    }
}

pub(super) fn choose(inputs: &[&Tensor], shape: &Shape) -> Data {
    let [condition, yes, no] = [inputs[0], inputs[1], inputs[2]];
    let Data::U8(flags) = condition.data() else { unreachable!("checked as u8") };
    macro_rules! choose {
        ($kind:ident, $yes:ident, $no:ident) => {
            Data::$kind(
                each(shape)
                    .map(|index| match flags[stretched(&index, &condition.of().shape)] {
                        0 => $no[stretched(&index, &no.of().shape)],
                        _ => $yes[stretched(&index, &yes.of().shape)],
                    })
                    .collect(),
            )
        };
    }
    match (yes.data(), no.data()) {
        (Data::F32(a), Data::F32(b)) => choose!(F32, a, b),
        (Data::F16(a), Data::F16(b)) => choose!(F16, a, b),
        (Data::I32(a), Data::I32(b)) => choose!(I32, a, b),
        (Data::I8(a), Data::I8(b)) => choose!(I8, a, b),
        (Data::U8(a), Data::U8(b)) => choose!(U8, a, b),
        (a, b) => unreachable!("checked as one type, and are {} and {}", a.dtype(), b.dtype()),
    }
}

/// The element as a number of the widest kind that holds it exactly.
enum Wide {
    Float(f32),
    Integer(i32),
}

pub(super) fn cast(x: &Tensor, to: Dtype) -> Data {
    let wide: Vec<Wide> = match x.data() {
        Data::F32(data) => data.iter().map(|x| Wide::Float(number::canon(*x))).collect(),
        Data::F16(data) => data.iter().map(|x| Wide::Float(number::from_half(*x))).collect(),
        Data::I32(data) => data.iter().map(|x| Wide::Integer(*x)).collect(),
        Data::I8(data) => data.iter().map(|x| Wide::Integer((*x).into())).collect(),
        Data::U8(data) => data.iter().map(|x| Wide::Integer((*x).into())).collect(),
    };
    let float = |x: &Wide| match x {
        Wide::Float(x) => *x,
        Wide::Integer(x) => number::from_i32(*x),
    };
    // From a float to bytes saturates, from an integer keeps the low bits.
    let byte = |x: &Wide, low: i32, high: i32| match x {
        Wide::Float(x) => number::to_i32(*x).clamp(low, high),
        Wide::Integer(x) => *x,
    };
    match to {
        Dtype::F32 => Data::F32(wide.iter().map(float).collect()),
        Dtype::F16 => Data::F16(wide.iter().map(|x| number::to_half(float(x))).collect()),
        Dtype::I32 => Data::I32(
            wide.iter()
                .map(|x| match x {
                    Wide::Float(x) => number::to_i32(*x),
                    Wide::Integer(x) => *x,
                })
                .collect(),
        ),
        Dtype::I8 => Data::I8(wide.iter().map(|x| byte(x, -128, 127).to_le_bytes()[0].cast_signed()).collect()),
        Dtype::U8 => Data::U8(wide.iter().map(|x| byte(x, 0, 255).to_le_bytes()[0]).collect()),
    }
}

/// Which scale and zero point belong to each element.
fn along_axis(inputs: &[&Tensor], axis: u8) -> impl Iterator<Item = usize> {
    let per_axis = inputs[1].of().shape.rank() == 1;
    each(&inputs[0].of().shape).map(move |index| if per_axis { index[usize::from(axis)] } else { 0 })
}

pub(super) fn quantize(inputs: &[&Tensor], axis: u8) -> Data {
    let (data, scales) = (inputs[0].floats(), inputs[1].floats());
    let elements = data.iter().zip(along_axis(inputs, axis));
    match inputs[2].data() {
        Data::I8(zeros) => Data::I8(
            elements
                .map(|(x, at)| {
                    number::quantize(*x, scales[at], zeros[at].into(), -128, 127).to_le_bytes()[0].cast_signed()
                })
                .collect(),
        ),
        Data::U8(zeros) => Data::U8(
            elements
                .map(|(x, at)| number::quantize(*x, scales[at], zeros[at].into(), 0, 255).to_le_bytes()[0])
                .collect(),
        ),
        other => unreachable!("checked as bytes, and is {}", other.dtype()),
    }
}

pub(super) fn dequantize(inputs: &[&Tensor], axis: u8) -> Data {
    let (data, zeros) = (widened(inputs[0]), widened(inputs[2]));
    let scales = inputs[1].floats();
    let elements = data.iter().zip(along_axis(inputs, axis));
    Data::F32(elements.map(|(x, at)| number::dequantize(*x, scales[at], zeros[at])).collect())
}

/// Integers of any width as `i32`.
pub(super) fn widened(x: &Tensor) -> Vec<i32> {
    match x.data() {
        Data::I32(data) => data.clone(),
        Data::I8(data) => data.iter().map(|x| (*x).into()).collect(),
        Data::U8(data) => data.iter().map(|x| (*x).into()).collect(),
        other => unreachable!("checked as integers, and is {}", other.dtype()),
    }
}
