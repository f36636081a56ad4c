//! Operations on each element by itself.

use super::{
    Level,
    broadcast::{Rows, pairs},
    forms, room,
    simd::leveled,
};
use crate::{Data, Tensor, math, number};
use samebit_spec::tensor::{Dtype, Gelu, Op, Shape, TensorType};

/// One kernel for each function, so that the compiler sees which one is in the loop.
macro_rules! map {
    ($name:ident, |$x:ident| $body:expr) => {
        leveled! {
            fn $name(from: &[f32], to: &mut [f32]) {
                for (to, from) in to.iter_mut().zip(from) {
                    let $x = *from;
                    *to = $body;
                }
            }
        }
    };
}

map!(neg, |x| number::neg(x));
map!(abs, |x| number::abs(x));
map!(exp, |x| math::exp(x));
map!(log, |x| math::log(x));
map!(sqrt, |x| number::sqrt(x));
map!(reciprocal, |x| math::reciprocal(x));
map!(sigmoid, |x| math::sigmoid(x));
map!(relu, |x| number::max(x, 0.0));

/// One kernel for each function that goes stage by stage.
macro_rules! staged {
    ($name:ident, $form:path) => {
        leveled! {
            fn $name(from: &[f32], to: &mut [f32]) {
                $form(from, to);
            }
        }
    };
}

staged!(tanh, forms::tanh);
staged!(erf, forms::erf);
staged!(gelu_erf, forms::gelu);
staged!(gelu_tanh, forms::gelu_tanh);

leveled! {
    fn clip(from: &[f32], low: f32, high: f32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = number::clip(*from, low, high);
        }
    }
}

leveled! {
    /// Multiplies in place.
    fn scale(data: &mut [f32], factor: f32) {
        for value in data {
            *value = number::mul(*value, factor);
        }
    }
}

pub(super) fn one(level: Level, op: &Op, x: &Tensor) -> Data {
    if let Data::I32(data) = x.data() {
        let negate = matches!(op, Op::Neg);
        return Data::I32(data.iter().map(|x| if negate { x.wrapping_neg() } else { x.wrapping_abs() }).collect());
    }
    let from = x.floats();
    let act = |from: &[f32], to: &mut [f32]| match op {
        Op::Neg => neg(level, from, to),
        Op::Abs => abs(level, from, to),
        Op::Exp => exp(level, from, to),
        Op::Log => log(level, from, to),
        Op::Sqrt => sqrt(level, from, to),
        Op::Reciprocal => reciprocal(level, from, to),
        Op::Tanh => tanh(level, from, to),
        Op::Sigmoid => sigmoid(level, from, to),
        Op::Erf => erf(level, from, to),
        Op::Gelu(Gelu::Erf) => gelu_erf(level, from, to),
        Op::Gelu(Gelu::Tanh) => gelu_tanh(level, from, to),
        Op::Relu => relu(level, from, to),
        Op::Clip { low, high } => clip(level, from, low.value(), high.value(), to),
        other => unreachable!("{} is not elementwise", other.name()),
    };
    Data::F32(room::filled(from.len(), room::STEP, |at, to| act(&from[at..at + to.len()], to)))
}

/// A kernel on two rows, of which either may be one number.
macro_rules! zip {
    ($name:ident: $from:ty => $to:ty, |$a:ident, $b:ident| $body:expr) => {
        leveled! {
            fn $name(left: &[$from], right: &[$from], to: &mut [$to]) {
                pairs(left, right, to, |$a, $b| $body);
            }
        }
    };
}

zip!(add: f32 => f32, |a, b| number::add(a, b));
zip!(sub: f32 => f32, |a, b| number::sub(a, b));
zip!(mul: f32 => f32, |a, b| number::mul(a, b));
zip!(div: f32 => f32, |a, b| number::div(a, b));
zip!(min: f32 => f32, |a, b| number::min(a, b));
zip!(max: f32 => f32, |a, b| number::max(a, b));
zip!(equal: f32 => u8, |a, b| (number::kept(a) == number::kept(b)).into());
zip!(less: f32 => u8, |a, b| (number::kept(a) < number::kept(b)).into());
zip!(greater: f32 => u8, |a, b| (number::kept(a) > number::kept(b)).into());
zip!(add_integers: i32 => i32, |a, b| a.wrapping_add(b));
zip!(sub_integers: i32 => i32, |a, b| a.wrapping_sub(b));
zip!(mul_integers: i32 => i32, |a, b| a.wrapping_mul(b));
zip!(div_integers: i32 => i32, |a, b| number::div_i32(a, b));
zip!(min_integers: i32 => i32, |a, b| a.min(b));
zip!(max_integers: i32 => i32, |a, b| a.max(b));
zip!(equal_integers: i32 => u8, |a, b| (a == b).into());
zip!(less_integers: i32 => u8, |a, b| (a < b).into());
zip!(greater_integers: i32 => u8, |a, b| (a > b).into());

pub(super) fn two(level: Level, op: &Op, a: &Tensor, b: &Tensor, shape: &Shape) -> Data {
    let rows = Rows::of(shape, [&a.of().shape, &b.of().shape]);
    macro_rules! by {
        ($kind:ident, $left:ident, $right:ident, $kernel:ident) => {
            Data::$kind(rows.made(|[left, right], to| $kernel(level, &$left[left], &$right[right], to)))
        };
    }
    match (a.data(), b.data()) {
        (Data::I32(a), Data::I32(b)) => match op {
            Op::Add => by!(I32, a, b, add_integers),
            Op::Sub => by!(I32, a, b, sub_integers),
            Op::Mul => by!(I32, a, b, mul_integers),
            Op::Div => by!(I32, a, b, div_integers),
            Op::Min => by!(I32, a, b, min_integers),
            Op::Max => by!(I32, a, b, max_integers),
            Op::Equal => by!(U8, a, b, equal_integers),
            Op::Less => by!(U8, a, b, less_integers),
            Op::Greater => by!(U8, a, b, greater_integers),
            other => unreachable!("{} is not of two", other.name()),
        },
        _ => {
            let (a, b) = (a.floats(), b.floats());
            match op {
                Op::Add => by!(F32, a, b, add),
                Op::Sub => by!(F32, a, b, sub),
                Op::Mul => by!(F32, a, b, mul),
                Op::Div => by!(F32, a, b, div),
                Op::Min => by!(F32, a, b, min),
                Op::Max => by!(F32, a, b, max),
                Op::Equal => by!(U8, a, b, equal),
                Op::Less => by!(U8, a, b, less),
                Op::Greater => by!(U8, a, b, greater),
                other => unreachable!("{} is not of two", other.name()),
            }
        }
    }
}

/// A kernel that takes one of two elements, of which either side may be one for all.
macro_rules! choice {
    ($name:ident: $kind:ty) => {
        leveled! {
            fn $name(flags: &[u8], yes: &[$kind], no: &[$kind], to: &mut [$kind]) {
                match (flags, yes, no) {
                    ([flag], yes, no) if to.len() != 1 => match if *flag == 0 { no } else { yes } {
                        [single] => to.fill(*single),
                        chosen => to.copy_from_slice(chosen),
                    },
                    (flags, [yes], no) if to.len() != 1 => {
                        pairs(flags, no, to, |flag, no| if flag == 0 { no } else { *yes });
                    }
                    (flags, yes, [no]) if to.len() != 1 => {
                        pairs(flags, yes, to, |flag, yes| if flag == 0 { *no } else { yes });
                    }
                    (flags, yes, no) => {
                        for ((to, flag), (yes, no)) in to.iter_mut().zip(flags).zip(yes.iter().zip(no)) {
                            *to = if *flag == 0 { *no } else { *yes };
                        }
                    }
                }
            }
        }
    };
}

choice!(choose_f32: f32);
choice!(choose_f16: u16);
choice!(choose_i32: i32);
choice!(choose_i8: i8);
choice!(choose_u8: u8);

pub(super) fn choose(level: Level, inputs: &[&Tensor], shape: &Shape) -> Data {
    let [condition, yes, no] = [inputs[0], inputs[1], inputs[2]];
    let Data::U8(flags) = condition.data() else { unreachable!("checked as u8") };
    let rows = Rows::of(shape, [&condition.of().shape, &yes.of().shape, &no.of().shape]);
    macro_rules! by {
        ($kind:ident, $yes:ident, $no:ident, $kernel:ident) => {
            Data::$kind(rows.made(|[flags_at, yes_at, no_at], to| {
                $kernel(level, &flags[flags_at], &$yes[yes_at], &$no[no_at], to);
            }))
        };
    }
    match (yes.data(), no.data()) {
        (Data::F32(a), Data::F32(b)) => by!(F32, a, b, choose_f32),
        (Data::F16(a), Data::F16(b)) => by!(F16, a, b, choose_f16),
        (Data::I32(a), Data::I32(b)) => by!(I32, a, b, choose_i32),
        (Data::I8(a), Data::I8(b)) => by!(I8, a, b, choose_i8),
        (Data::U8(a), Data::U8(b)) => by!(U8, a, b, choose_u8),
        (a, b) => unreachable!("checked as one type, and are {} and {}", a.dtype(), b.dtype()),
    }
}

/// A kernel from one element type to another.
macro_rules! convert {
    ($name:ident: $from:ty => $to:ty, |$x:ident| $body:expr) => {
        leveled! {
            fn $name(from: &[$from], to: &mut [$to]) {
                for (to, from) in to.iter_mut().zip(from) {
                    let $x = *from;
                    *to = $body;
                }
            }
        }
    };
}

convert!(canonical: f32 => f32, |x| number::canon(x));
convert!(halves: f32 => u16, |x| forms::to_half(x));
convert!(integers: f32 => i32, |x| number::to_i32(x));
convert!(signed: f32 => i8, |x| low_bits(number::to_i32(x).clamp(-128, 127)).cast_signed());
convert!(unsigned: f32 => u8, |x| low_bits(number::to_i32(x).clamp(0, 255)));
convert!(from_halves: u16 => f32, |x| forms::from_half(x));
convert!(from_integers: i32 => f32, |x| number::from_i32(x));
convert!(from_signed: i8 => f32, |x| x.into());
convert!(from_unsigned: u8 => f32, |x| x.into());

#[inline(always)]
fn low_bits(x: i32) -> u8 {
    x.to_le_bytes()[0]
}

/// The elements under another type, from `f16` and to it through `f32`.
pub(super) fn cast(level: Level, x: &Tensor, to: Dtype) -> Data {
    macro_rules! by {
        ($kind:ident, $from:ident, $kernel:ident) => {
            Data::$kind(room::filled($from.len(), room::STEP, |at, to: &mut [_]| {
                $kernel(level, &$from[at..at + to.len()], to);
            }))
        };
    }
    macro_rules! each {
        ($kind:ident, $from:ident, |$x:ident| $body:expr) => {
            Data::$kind($from.iter().map(|$x| $body).collect())
        };
    }
    match (x.data(), to) {
        (Data::F32(from), Dtype::F32) => by!(F32, from, canonical),
        (Data::F32(from), Dtype::F16) => by!(F16, from, halves),
        (Data::F32(from), Dtype::I32) => by!(I32, from, integers),
        (Data::F32(from), Dtype::I8) => by!(I8, from, signed),
        (Data::F32(from), Dtype::U8) => by!(U8, from, unsigned),
        (Data::F16(from), Dtype::F32) => by!(F32, from, from_halves),
        (Data::I32(from), Dtype::F32) => by!(F32, from, from_integers),
        (Data::I8(from), Dtype::F32) => by!(F32, from, from_signed),
        (Data::U8(from), Dtype::F32) => by!(F32, from, from_unsigned),
        (Data::I32(from), Dtype::I32) => Data::I32(from.clone()),
        (Data::I32(from), Dtype::I8) => each!(I8, from, |x| low_bits(*x).cast_signed()),
        (Data::I32(from), Dtype::U8) => each!(U8, from, |x| low_bits(*x)),
        (Data::I8(from), Dtype::I32) => each!(I32, from, |x| (*x).into()),
        (Data::U8(from), Dtype::I32) => each!(I32, from, |x| (*x).into()),
        (Data::I8(from), Dtype::I8) => Data::I8(from.clone()),
        (Data::U8(from), Dtype::U8) => Data::U8(from.clone()),
        (Data::I8(from), Dtype::U8) => each!(U8, from, |x| x.cast_unsigned()),
        (Data::U8(from), Dtype::I8) => each!(I8, from, |x| x.cast_signed()),
        (Data::F16(_) | Data::I32(_) | Data::I8(_) | Data::U8(_), _) => {
            let wide = TensorType { dtype: Dtype::F32, shape: x.of().shape.clone() };
            cast(level, &Tensor::made(wide, cast(level, x, Dtype::F32)), to)
        }
    }
}

leveled! {
    fn quantize_signed(from: &[f32], scale: f32, zero: i32, to: &mut [i8]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = low_bits(number::quantize(*from, scale, zero, -128, 127)).cast_signed();
        }
    }
}

leveled! {
    fn quantize_unsigned(from: &[f32], scale: f32, zero: i32, to: &mut [u8]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = low_bits(number::quantize(*from, scale, zero, 0, 255));
        }
    }
}

leveled! {
    fn dequantize_signed(from: &[i8], scale: f32, zero: i32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = number::dequantize((*from).into(), scale, zero);
        }
    }
}

leveled! {
    fn dequantize_unsigned(from: &[u8], scale: f32, zero: i32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = number::dequantize((*from).into(), scale, zero);
        }
    }
}

leveled! {
    fn dequantize_integers(from: &[i32], scale: f32, zero: i32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = number::dequantize(*from, scale, zero);
        }
    }
}

/// `act` on each run of elements with one scale and zero point: where it begins, and which scale.
fn by_scale<R: Copy + Default + Send + Sync>(
    inputs: &[&Tensor],
    axis: u8,
    act: impl Fn(usize, usize, &mut [R]) + Sync,
) -> Vec<R> {
    let dims = inputs[0].dims();
    let elements = usize::try_from(inputs[0].of().shape.elements()).expect("below 2^31");
    let per_axis = inputs[1].of().shape.rank() == 1;
    let inner: usize = dims[usize::from(axis).min(dims.len())..].iter().skip(1).map(|dim| *dim as usize).product();
    let (run, scales) = if per_axis { (inner, dims[usize::from(axis)] as usize) } else { (elements, 1) };
    room::filled(elements, room::STEP, |at, mut to| {
        let mut start = at;
        while !to.is_empty() {
            let len = to.len().min(run - start % run);
            let (now, later) = to.split_at_mut(len);
            act(start, start / run % scales, now);
            (start, to) = (start + len, later);
        }
    })
}

pub(super) fn quantize(level: Level, inputs: &[&Tensor], axis: u8) -> Data {
    let (from, scales) = (inputs[0].floats(), inputs[1].floats());
    match inputs[2].data() {
        Data::I8(zeros) => Data::I8(by_scale(inputs, axis, |at, of, to| {
            quantize_signed(level, &from[at..at + to.len()], scales[of], zeros[of].into(), to);
        })),
        Data::U8(zeros) => Data::U8(by_scale(inputs, axis, |at, of, to| {
            quantize_unsigned(level, &from[at..at + to.len()], scales[of], zeros[of].into(), to);
        })),
        other => unreachable!("checked as bytes, and is {}", other.dtype()),
    }
}

pub(super) fn dequantize(level: Level, inputs: &[&Tensor], axis: u8) -> Data {
    let scales = inputs[1].floats();
    macro_rules! by {
        ($from:ident, $zeros:ident, $kernel:ident) => {
            by_scale(inputs, axis, |at, of, to| {
                $kernel(level, &$from[at..at + to.len()], scales[of], $zeros[of].into(), to);
            })
        };
    }
    Data::F32(match (inputs[0].data(), inputs[2].data()) {
        (Data::I8(from), Data::I8(zeros)) => by!(from, zeros, dequantize_signed),
        (Data::U8(from), Data::U8(zeros)) => by!(from, zeros, dequantize_unsigned),
        (Data::I32(from), Data::I32(zeros)) => by!(from, zeros, dequantize_integers),
        (from, zeros) => unreachable!("checked as integers, and are {} and {}", from.dtype(), zeros.dtype()),
    })
}
