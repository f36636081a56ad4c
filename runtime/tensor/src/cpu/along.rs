//! Operations along the last axes: rows that lie together.

use super::{Level, forms, room, simd::leveled};
use crate::{
    Data, Tensor, math, number,
    oracle::{LANES, count, tree},
};

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

pub(super) fn softmax(level: Level, x: &Tensor) -> Data {
    let len = x.dims().last().map_or(1, |len| *len as usize);
    if level.fuses() {
        return by_rows(x.floats(), len, |from, to| softmax_rows::<true>(level, from, to, len));
    }
    by_rows(x.floats(), len, |from, to| softmax_rows::<false>(level, from, to, len))
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
