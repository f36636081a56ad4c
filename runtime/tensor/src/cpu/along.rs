//! Operations along the last axes: rows that lie together.

use super::{Level, forms, moves, room, simd::leveled};
use crate::{
    Data, Tensor, math, number,
    oracle::{LANES, count, tree},
};
use rayon::prelude::*;
use samebit_spec::tensor::{Op, Shape};
use std::borrow::Cow;

/// Sum of a row in the spec's order: 64 lanes, then the tree.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += number::addend(of(*value));
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += number::addend(of(*value));
    }
    number::canon(tree(&mut lanes))
}

leveled! {
    fn softmax_rows<const FUSES: bool>(from: &[f32], to: &mut [f32], len: usize) {
        for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
            let greatest = greatest(from);
            if !greatest.is_finite() {
                // A NaN, or an infinite difference of its own, makes the total a NaN and so every quotient.
                to.fill(f32::from_bits(number::NAN));
                continue;
            }
            // Numbers that count as zero, and differences that would, are all of size below 2^-30 or far from each
            // other: the exponential cannot tell them from what the spec puts in their place.
            for (to, from) in to.iter_mut().zip(from) {
                *to = forms::exp_below(*from - greatest);
            }
            let total = sum(to, |x| x);
            match Divisor::new(total).filter(|_| FUSES) {
                Some(divisor) => {
                    for value in to {
                        *value = divisor.of(*value);
                    }
                }
                None => {
                    for value in to {
                        *value = number::kept(*value / total);
                    }
                }
            }
        }
    }
}

/// Division by one number from 1 on, of numbers from 0 to 1: a product with its reciprocal, mended once. After
/// Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990, theorem 7: the mended quotient
/// is the correctly rounded one if the reciprocal is, and the divisor's bits are not all ones.
struct Divisor {
    by: f32,
    reciprocal: f32,
}

impl Divisor {
    /// Operands become larger by this, so that what the quotient lacks is not too small a number.
    const UP: f32 = f32::from_bits((127 + 64) << 23);
    const DOWN: f32 = f32::from_bits((127 - 64) << 23);

    #[inline(always)]
    fn new(by: f32) -> Option<Self> {
        let fraction = by.to_bits() & 0x007f_ffff;
        ((1.0..4_294_967_296.0).contains(&by) && fraction != 0x007f_ffff).then(|| Self { by, reciprocal: 1.0 / by })
    }

    #[inline(always)]
    fn of(&self, value: f32) -> f32 {
        let value = value * Self::UP;
        let near = value * self.reciprocal;
        let lacking = (-near).mul_add(self.by, value);
        number::kept(lacking.mul_add(self.reciprocal, near) * Self::DOWN)
    }
}

/// The greatest of a row; NaN when one of its numbers is.
#[inline(always)]
fn greatest(row: &[f32]) -> f32 {
    let greater = |held: f32, x: f32| if x > held { x } else { held };
    let size = |x: f32| x.to_bits() & 0x7fff_ffff;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut sizes = [0; LANES];
    let mut each = |row: &[f32]| {
        for ((lane, largest), x) in lanes.iter_mut().zip(&mut sizes).zip(row) {
            *lane = greater(*lane, *x);
            *largest = size(*x).max(*largest);
        }
    };
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        each(chunk);
    }
    each(rest);
    if sizes.into_iter().fold(0, u32::max) > size(f32::INFINITY) {
        return f32::NAN;
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, greater)
}

leveled! {
    /// `scale` and `bias` are canonical.
    fn layer_norm_rows(from: &[f32], to: &mut [f32], scale: &[f32], bias: &[f32], epsilon: f32) {
        let len = scale.len();
        for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
            let mean = number::div(sum(from, |x| x), count(len));
            let squares = squares(to, from, |from| number::kept(number::kept(from) - mean));
            let root = root(squares, len, epsilon);
            for (to, (scale, bias)) in to.iter_mut().zip(scale.iter().zip(bias)) {
                *to = number::canon(number::kept(number::kept(*to * root) * *scale) + *bias);
            }
        }
    }
}

leveled! {
    /// `scale` is canonical.
    fn rms_norm_rows(from: &[f32], to: &mut [f32], scale: &[f32], epsilon: f32) {
        let len = scale.len();
        for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
            let squares = squares(to, from, number::kept);
            let root = root(squares, len, epsilon);
            for (to, scale) in to.iter_mut().zip(scale) {
                *to = number::canon(number::kept(*to * root) * *scale);
            }
        }
    }
}

/// Puts what `of` makes of each number in its place and gives the sum of the squares, in the order of [`sum`].
#[inline(always)]
fn squares(to: &mut [f32], from: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = from.as_chunks::<LANES>();
    let (to_whole, to_rest) = to.as_chunks_mut::<LANES>();
    // A square of a factor is 2^-102 or more, or zero: it needs no flush as an addend.
    let mut each = |to: &mut [f32], from: &[f32]| {
        for (lane, (to, from)) in lanes.iter_mut().zip(to.iter_mut().zip(from)) {
            *to = of(*from);
            let factor = number::factor(*to);
            *lane += factor * factor;
        }
    };
    for (to, from) in to_whole.iter_mut().zip(whole) {
        each(to, from);
    }
    each(to_rest, rest);
    number::canon(tree(&mut lanes))
}

#[inline(always)]
fn root(squares: f32, len: usize, epsilon: f32) -> f32 {
    math::reciprocal(number::sqrt(number::add(number::div(squares, count(len)), epsilon)))
}

/// Acts on chunks of whole rows of `len`, on several threads when there is enough.
fn by_rows(from: &[f32], len: usize, act: impl Fn(&[f32], &mut [f32]) + Sync) -> Data {
    let step = len * (room::STEP / len.max(1)).max(1);
    Data::F32(room::filled(from.len(), step, |at, to| act(&from[at..at + to.len()], to)))
}

/// Of rows of `len` that lie together.
pub(super) fn softmax_of(level: Level, from: &[f32], to: &mut [f32], len: usize) {
    match level.fuses() {
        true => softmax_rows::<true>(level, from, to, len),
        false => softmax_rows::<false>(level, from, to, len),
    }
}

pub(super) fn softmax(level: Level, x: &Tensor, axis: usize) -> Data {
    let lines = Lines::of(x, axis);
    let act = |from: &[f32], to: &mut [f32]| softmax_of(level, from, to, lines.len);
    let rows = lines.as_rows(x.floats());
    let Data::F32(made) = by_rows(&rows, lines.len, act) else { unreachable!("made as f32") };
    Data::F32(lines.back(made))
}

pub(super) fn layer_norm(level: Level, inputs: &[&Tensor], axis: usize, epsilon: f32) -> Data {
    let [scale, bias] = [inputs[1], inputs[2]].map(canonical);
    by_rows(inputs[0].floats(), rows(inputs[0], axis), |from, to| {
        layer_norm_rows(level, from, to, &scale, &bias, epsilon);
    })
}

pub(super) fn rms_norm(level: Level, inputs: &[&Tensor], axis: usize, epsilon: f32) -> Data {
    let scale = canonical(inputs[1]);
    by_rows(inputs[0].floats(), rows(inputs[0], axis), |from, to| rms_norm_rows(level, from, to, &scale, epsilon))
}

fn canonical(x: &Tensor) -> Vec<f32> {
    x.floats().iter().map(|x| number::canon(*x)).collect()
}

fn rows(x: &Tensor, axis: usize) -> usize {
    x.dims()[axis..].iter().map(|dim| *dim as usize).product()
}

/// A tensor as lines along one axis: `[outer, len, inner]`.
struct Lines {
    len: usize,
    inner: usize,
}

impl Lines {
    fn of(x: &Tensor, axis: usize) -> Self {
        let dims = x.dims();
        Self { len: dims[axis] as usize, inner: dims[axis + 1..].iter().map(|len| *len as usize).product() }
    }

    /// Each line's elements together.
    fn as_rows<'a, T: Copy + Default>(&self, from: &'a [T]) -> Cow<'a, [T]> {
        if self.inner == 1 {
            return from.into();
        }
        let planes = from.chunks_exact(self.len * self.inner);
        planes.flat_map(|plane| moves::turned(plane, self.len, self.inner)).collect::<Vec<T>>().into()
    }

    /// Rows as long as lines, or of another length, back in the order of the tensor.
    fn back<T: Copy + Default>(&self, rows: Vec<T>) -> Vec<T> {
        self.back_of(rows, self.len)
    }

    fn back_of<T: Copy + Default>(&self, rows: Vec<T>, len: usize) -> Vec<T> {
        if self.inner == 1 || len == 1 {
            return rows;
        }
        rows.chunks_exact(len * self.inner).flat_map(|plane| moves::turned(plane, self.inner, len)).collect()
    }
}

leveled! {
    fn row_sums(from: &[f32], len: usize, to: &mut [f32]) {
        for (to, row) in to.iter_mut().zip(from.chunks_exact(len)) {
            *to = sum(row, |x| x);
        }
    }
}

leveled! {
    /// The greatest key of each row, or the least one.
    fn row_keys<const GREATEST: bool>(from: &[f32], len: usize, to: &mut [i32]) {
        for (to, row) in to.iter_mut().zip(from.chunks_exact(len)) {
            let mut held = [if GREATEST { i32::MIN } else { i32::MAX }; LANES];
            let mut each = |row: &[f32]| {
                for (held, x) in held.iter_mut().zip(row) {
                    let key = number::key(*x);
                    *held = if GREATEST { key.max(*held) } else { key.min(*held) };
                }
            };
            let (whole, rest) = row.as_chunks::<LANES>();
            for chunk in whole {
                each(chunk);
            }
            each(rest);
            let first = held[0];
            *to = held.into_iter().fold(first, |a, b| if GREATEST { a.max(b) } else { a.min(b) });
        }
    }
}

/// The canonical number with this place in the order of all.
#[inline(always)]
pub(super) fn of_key(key: i32) -> f32 {
    f32::from_bits((if key < 0 { key ^ i32::MAX } else { key }).cast_unsigned())
}

pub(super) fn reduce(level: Level, op: &Op, x: &Tensor, axes: &[u8]) -> Data {
    let shape = &x.of().shape;
    let goes = |axis: &u8| axes.is_empty() || axes.contains(axis);
    let (goes, stays): (Vec<u8>, Vec<u8>) = (0u8..).take(shape.rank()).partition(goes);
    let len: usize = goes.iter().map(|axis| shape.dims()[usize::from(*axis)] as usize).product();
    let order: Vec<u8> = stays.iter().chain(&goes).copied().collect();
    let dims: Vec<u32> = order.iter().map(|axis| shape.dims()[usize::from(*axis)]).collect();
    let target = Shape::new(&dims).expect("the same elements");
    if let Data::I32(data) = x.data() {
        let rows = moves::moved(data, shape, &order, &target);
        let of = |row: &[i32]| match op {
            Op::ReduceSum { .. } => row.iter().copied().fold(0, i32::wrapping_add),
            Op::ReduceMax { .. } => row.iter().copied().fold(i32::MIN, i32::max),
            _ => row.iter().copied().fold(i32::MAX, i32::min),
        };
        if len == 0 {
            return Data::I32(vec![0; stays.iter().map(|axis| shape.dims()[usize::from(*axis)] as usize).product()]);
        }
        return Data::I32(rows.chunks_exact(len).map(of).collect());
    }
    let rows: Cow<'_, [f32]> =
        if order.is_sorted() { x.floats().into() } else { moves::moved(x.floats(), shape, &order, &target).into() };
    let lines = stays.iter().map(|axis| shape.dims()[usize::from(*axis)] as usize).product();
    if len == 0 {
        // Only a sum is taken of nothing.
        return Data::F32(vec![0.0; lines]);
    }
    let step = (room::STEP / len).max(1);
    let part = |at: usize, to: usize| &rows[at * len..(at + to) * len];
    Data::F32(match op {
        Op::ReduceSum { .. } => room::filled(lines, step, |at, to| row_sums(level, part(at, to.len()), len, to)),
        Op::ReduceMean { .. } => room::filled(lines, step, |at, to| {
            row_sums(level, part(at, to.len()), len, to);
            to.iter_mut().for_each(|sum| *sum = number::div(*sum, count(len)));
        }),
        Op::ReduceMax { .. } => keys::<true>(level, &rows, len).into_iter().map(of_key).collect(),
        _ => {
            // A NaN is the greatest, and makes the least one too.
            let nan = number::key(f32::NAN);
            let greatest = keys::<true>(level, &rows, len);
            let least = keys::<false>(level, &rows, len);
            let one = |(least, greatest)| of_key(if greatest == nan { nan } else { least });
            least.into_iter().zip(greatest).map(one).collect()
        }
    })
}

fn keys<const GREATEST: bool>(level: Level, rows: &[f32], len: usize) -> Vec<i32> {
    room::filled(rows.len() / len, (room::STEP / len).max(1), |at, to: &mut [i32]| {
        row_keys::<GREATEST>(level, &rows[at * len..(at + to.len()) * len], len, to);
    })
}

pub(super) fn arg_max(level: Level, x: &Tensor, axis: usize) -> Data {
    let lines = Lines::of(x, axis);
    let index = |at: Option<usize>| i32::try_from(at.expect("not empty")).expect("an axis is shorter than 2^31");
    if let Data::I32(data) = x.data() {
        let of = |row: &[i32]| {
            let greatest = row.iter().max();
            index(row.iter().position(|x| Some(x) == greatest))
        };
        return Data::I32(lines.as_rows(data).chunks_exact(lines.len).map(of).collect());
    }
    let rows = lines.as_rows(x.floats());
    let greatest = keys::<true>(level, &rows, lines.len);
    let of = |(row, key): (&[f32], i32)| index(row.iter().position(|x| number::key(*x) == key));
    Data::I32(rows.chunks_exact(lines.len).zip(greatest).map(of).collect())
}

pub(super) fn top_k(x: &Tensor, axis: usize, k: usize, largest: bool) -> [Data; 2] {
    let lines = Lines::of(x, axis);
    let nan = number::key(f32::NAN);
    // Each element as its rank's bits above its index: all different, the wanted ones the least.
    let ranked = |key: i32, is_nan: bool, at: usize| {
        let ascending = key.cast_unsigned() ^ 0x8000_0000;
        let rank = match (largest, is_nan) {
            (true, _) => u32::MAX - ascending,
            (false, true) => u32::MAX,
            (false, false) => ascending,
        };
        (u64::from(rank) << 32) | at as u64
    };
    let low = |place: u64| u32::try_from(place & 0xffff_ffff).expect("32 bits");
    let is_float = matches!(x.data(), Data::F32(_));
    let key_of = |line: &Line<'_>, at: usize| match line {
        Line::Floats(row) => number::key(row[at]),
        Line::Integers(row) => row[at],
    };
    // Of each row the ranks, in room of the thread's own.
    let best = |room: &mut Vec<u64>, line: &Line<'_>, (keys, indices): (&mut [i32], &mut [i32])| {
        room.clear();
        room.extend((0..lines.len).map(|at| {
            let key = key_of(line, at);
            ranked(key, is_float && key == nan, at)
        }));
        if k < room.len() {
            room.select_nth_unstable(k - 1);
        }
        room[..k].sort_unstable();
        for ((key, index), place) in keys.iter_mut().zip(indices).zip(room.iter()) {
            *key = key_of(line, low(*place) as usize);
            *index = low(*place).cast_signed();
        }
    };
    let count = usize::try_from(x.of().shape.elements()).expect("below 2^31") / lines.len * k;
    let (mut keys, mut indices) = (vec![0; count], vec![0; count]);
    let made = keys.par_chunks_exact_mut(k).zip(indices.par_chunks_exact_mut(k));
    match x.data() {
        Data::I32(data) => {
            let rows = lines.as_rows(data);
            made.zip(rows.par_chunks_exact(lines.len))
                .for_each_init(Vec::new, |room, (made, row)| best(room, &Line::Integers(row), made));
        }
        _ => {
            let rows = lines.as_rows(x.floats());
            made.zip(rows.par_chunks_exact(lines.len))
                .for_each_init(Vec::new, |room, (made, row)| best(room, &Line::Floats(row), made));
        }
    }
    let indices = Data::I32(lines.back_of(indices, k));
    let keys = lines.back_of(keys, k);
    match is_float {
        true => [Data::F32(keys.into_iter().map(of_key).collect()), indices],
        false => [Data::I32(keys), indices],
    }
}

/// A row whose elements are compared.
enum Line<'a> {
    Floats(&'a [f32]),
    Integers(&'a [i32]),
}

#[cfg(test)]
mod tests {
    use super::Divisor;
    use crate::number;

    #[test]
    fn the_mended_quotient_is_the_correctly_rounded_one() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state >> 32).expect("32 bits")
        };
        for _ in 0..2_000_000 {
            // Exponents from 0 to 31, and down to the least that is kept; fractions with few or many ones.
            let fraction = |bits: u32| match bits % 4 {
                0 => (bits >> 9) & (bits << 3) & 0x007f_ffff,
                1 => ((bits >> 9) | (bits << 3)) & 0x007f_ffff,
                _ => bits >> 9,
            };
            let by = f32::from_bits(((127 + next() % 32) << 23) | fraction(next()));
            let value = f32::from_bits(((2 + next() % 125) << 23) | fraction(next()));
            let Some(divisor) = Divisor::new(by) else { continue };
            let expected = number::div(value, by);
            assert_eq!(divisor.of(value).to_bits(), expected.to_bits(), "{value:e} / {by:e}");
        }
        assert_eq!(Divisor::new(4.0).map(|four| four.of(0.0)), Some(0.0));
        assert!(Divisor::new(f32::from_bits(0x3fff_ffff)).is_none(), "a divisor whose bits are all ones");
    }
}
