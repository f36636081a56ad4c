//! Operations on each element by itself, and transposition.

use super::{Level, forms, room, simd::leveled};
use crate::{Data, Tensor, math, number};
use samebit_spec::tensor::{Gelu, Op, Shape, strides};

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

/// A kernel on two rows of equal length, and one on a row and a number of either side.
macro_rules! zip {
    ($name:ident, |$a:ident, $b:ident| $body:expr) => {
        leveled! {
            fn $name(left: &[f32], right: &[f32], to: &mut [f32]) {
                match (left, right) {
                    ([single], right) if to.len() != 1 => {
                        let $a = *single;
                        for (to, right) in to.iter_mut().zip(right) {
                            let $b = *right;
                            *to = $body;
                        }
                    }
                    (left, [single]) if to.len() != 1 => {
                        let $b = *single;
                        for (to, left) in to.iter_mut().zip(left) {
                            let $a = *left;
                            *to = $body;
                        }
                    }
                    (left, right) => {
                        for (to, (left, right)) in to.iter_mut().zip(left.iter().zip(right)) {
                            let ($a, $b) = (*left, *right);
                            *to = $body;
                        }
                    }
                }
            }
        }
    };
}

zip!(add, |a, b| number::add(a, b));
zip!(sub, |a, b| number::sub(a, b));
zip!(mul, |a, b| number::mul(a, b));
zip!(div, |a, b| number::div(a, b));
zip!(min, |a, b| number::min(a, b));
zip!(max, |a, b| number::max(a, b));

pub(super) fn two(level: Level, op: &Op, a: &Tensor, b: &Tensor, shape: &Shape) -> Data {
    let (left, right) = (a.floats(), b.floats());
    let elements = usize::try_from(shape.elements()).expect("below 2^31");
    let act = |left: &[f32], right: &[f32], to: &mut [f32]| match op {
        Op::Add => add(level, left, right, to),
        Op::Sub => sub(level, left, right, to),
        Op::Mul => mul(level, left, right, to),
        Op::Div => div(level, left, right, to),
        Op::Min => min(level, left, right, to),
        Op::Max => max(level, left, right, to),
        other => unreachable!("{} gives no float of two", other.name()),
    };
    if elements == 0 {
        return Data::F32(Vec::new());
    }
    let rows = Rows::of(shape, [&a.of().shape, &b.of().shape]);
    if rows.count == 1 {
        let part = |data: &'_ [f32], at: usize, len: usize| if data.len() == 1 { 0..1 } else { at..at + len };
        return Data::F32(room::filled(elements, room::STEP, |at, to| {
            let len = to.len();
            act(&left[part(left, at, len)], &right[part(right, at, len)], to);
        }));
    }
    let rows = &rows;
    Data::F32(room::filled(elements, room::STEP, |at, mut to| {
        let (mut row, mut column) = (at / rows.len, at % rows.len);
        while !to.is_empty() {
            let len = to.len().min(rows.len - column);
            let (now, later) = to.split_at_mut(len);
            let offsets = rows.offsets(row);
            let [left, right] = [(left, 0), (right, 1)].map(|(data, of)| {
                if rows.taken[of] == 1 { &data[offsets[of]..][..1] } else { &data[offsets[of] + column..][..len] }
            });
            act(left, right, now);
            (row, column, to) = (row + 1, 0, later);
        }
    }))
}

/// A broadcast result as rows, of which each operand gives a run of the same length or one number.
struct Rows {
    /// Elements of a row.
    len: usize,
    count: usize,
    /// Elements that each operand gives to a row: `len` or 1.
    taken: [usize; 2],
    /// Outer axes, innermost last: length, and each operand's step.
    outer: Vec<(usize, [usize; 2])>,
}

impl Rows {
    fn of(shape: &Shape, operands: [&Shape; 2]) -> Self {
        // Steps of both operands along each axis of the result, 0 where one stretches.
        let steps = operands.map(|operand| {
            let skipped = shape.rank() - operand.rank();
            let own = strides(operand);
            (0..shape.rank())
                .map(|axis| {
                    axis.checked_sub(skipped).filter(|axis| operand.dims()[*axis] != 1).map_or(0, |axis| own[axis])
                })
                .collect::<Vec<usize>>()
        });
        let mut axes: Vec<(usize, [usize; 2])> = (0..shape.rank())
            .map(|axis| (shape.dims()[axis] as usize, [steps[0][axis], steps[1][axis]]))
            .filter(|(len, _)| *len != 1)
            .collect();
        // Axes that both operands walk in one go become one row.
        let mut taken = [1, 1];
        let mut len = 1;
        while let Some((dim, steps)) = axes.last().copied() {
            let goes_on = |of: usize| match steps[of] {
                0 => taken[of] == 1,
                step => step == len && taken[of] == len,
            };
            if !(goes_on(0) && goes_on(1)) {
                break;
            }
            axes.pop();
            len *= dim;
            for of in 0..2 {
                if steps[of] != 0 {
                    taken[of] = len;
                }
            }
        }
        let count = axes.iter().map(|(len, _)| len).product();
        Self { len, count, taken, outer: axes }
    }

    fn offsets(&self, mut row: usize) -> [usize; 2] {
        let mut offsets = [0, 0];
        for (len, steps) in self.outer.iter().rev() {
            let at = row % len;
            row /= len;
            offsets[0] += at * steps[0];
            offsets[1] += at * steps[1];
        }
        offsets
    }
}

/// `[rows, columns]` as `[columns, rows]`, in blocks that stay in the cache.
pub(super) fn turned<T: Copy + Default>(from: &[T], rows: usize, columns: usize) -> Vec<T> {
    const SIDE: usize = 32;
    let mut to = vec![T::default(); from.len()];
    for top in (0..rows).step_by(SIDE) {
        for left in (0..columns).step_by(SIDE) {
            for row in top..(top + SIDE).min(rows) {
                for column in left..(left + SIDE).min(columns) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
    to
}

pub(super) fn transpose(x: &Tensor, order: &[u8], shape: &Shape) -> Data {
    match x.data() {
        Data::F32(data) => Data::F32(moved(data, &x.of().shape, order, shape)),
        Data::F16(data) => Data::F16(moved(data, &x.of().shape, order, shape)),
        Data::I32(data) => Data::I32(moved(data, &x.of().shape, order, shape)),
        Data::I8(data) => Data::I8(moved(data, &x.of().shape, order, shape)),
        Data::U8(data) => Data::U8(moved(data, &x.of().shape, order, shape)),
    }
}

fn moved<T: Copy>(from: &[T], own: &Shape, order: &[u8], shape: &Shape) -> Vec<T> {
    let steps = strides(own);
    let axes: Vec<(usize, usize)> = order
        .iter()
        .zip(shape.dims())
        .map(|(axis, len)| (*len as usize, steps[usize::from(*axis)]))
        .filter(|(len, _)| *len != 1)
        .collect();
    let Some(((len, step), outer)) = axes.split_last() else { return from.to_vec() };
    let mut to = Vec::with_capacity(from.len());
    if from.is_empty() {
        return to;
    }
    let mut index = vec![0; outer.len()];
    let mut start = 0;
    loop {
        if *step == 1 {
            to.extend_from_slice(&from[start..start + len]);
        } else {
            to.extend(from[start..].iter().step_by(*step).take(*len));
        }
        // The next row: the innermost outer axis that has one.
        let mut axis = outer.len();
        loop {
            let Some(next) = axis.checked_sub(1) else { return to };
            axis = next;
            index[axis] += 1;
            start += outer[axis].1;
            if index[axis] < outer[axis].0 {
                break;
            }
            start -= outer[axis].1 * outer[axis].0;
            index[axis] = 0;
        }
    }
}
