//! Operations along the last axes: rows that lie together.

use super::{Level, simd::leveled};
use crate::{
    Data, Tensor, math, number,
    oracle::{LANES, count, tree},
};
use rayon::prelude::*;

/// Elements that one thread takes at a time, in whole rows.
const CHUNK: usize = 1 << 14;

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
    fn softmax_rows(from: &[f32], to: &mut [f32], len: usize) {
        for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
            let greatest = greatest(from);
            // Numbers that count as zero, and differences that would, are all of size below 2^-30 or far from each
            // other: the exponential cannot tell them from what the spec puts in their place. A NaN in the row, or
            // two infinities, makes the total a NaN and so every quotient.
            for (to, from) in to.iter_mut().zip(from) {
                *to = math::exp(*from - greatest);
            }
            let total = sum(to, |x| x);
            for value in to {
                *value = number::canon(*value / total);
            }
        }
    }
}

/// The greatest of a row, NaNs left out, of which `-inf` is the least.
#[inline(always)]
fn greatest(row: &[f32]) -> f32 {
    let greater = |held: &mut f32, x: f32| *held = if x > *held { x } else { *held };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            greater(lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        greater(lane, *x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |mut held, x| {
        greater(&mut held, x);
        held
    })
}

leveled! {
    fn layer_norm_rows(from: &[f32], to: &mut [f32], scale: &[f32], bias: &[f32], epsilon: f32) {
        let len = scale.len();
        for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
            let mean = number::div(sum(from, |x| x), count(len));
            for (to, from) in to.iter_mut().zip(from) {
                *to = number::sub(*from, mean);
            }
            let root = spread(to, epsilon);
            for (to, (scale, bias)) in to.iter_mut().zip(scale.iter().zip(bias)) {
                *to = number::add(number::mul(number::mul(*to, root), *scale), *bias);
            }
        }
    }
}

leveled! {
    fn rms_norm_rows(from: &[f32], to: &mut [f32], scale: &[f32], epsilon: f32) {
        let len = scale.len();
        for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
            let root = spread(from, epsilon);
            for (to, (from, scale)) in to.iter_mut().zip(from.iter().zip(scale)) {
                *to = number::mul(number::mul(*from, root), *scale);
            }
        }
    }
}

#[inline(always)]
fn spread(row: &[f32], epsilon: f32) -> f32 {
    let squares = sum(row, |x| number::factor(x) * number::factor(x));
    math::reciprocal(number::sqrt(number::add(number::div(squares, count(row.len())), epsilon)))
}

/// Acts on chunks of whole rows of `len`, on several threads when there is enough.
fn by_rows(from: &[f32], len: usize, act: impl Fn(&[f32], &mut [f32]) + Sync) -> Data {
    let mut to = vec![0.0; from.len()];
    if from.is_empty() {
        return Data::F32(to);
    }
    let step = len * (CHUNK / len).max(1);
    if from.len() > step {
        to.par_chunks_mut(step).zip(from.par_chunks(step)).for_each(|(to, from)| act(from, to));
    } else {
        act(from, &mut to);
    }
    Data::F32(to)
}

pub(super) fn softmax(level: Level, x: &Tensor) -> Data {
    let len = x.dims().last().map_or(1, |len| *len as usize);
    by_rows(x.floats(), len, |from, to| softmax_rows(level, from, to, len))
}

pub(super) fn layer_norm(level: Level, inputs: &[&Tensor], axis: usize, epsilon: f32) -> Data {
    let [data, scale, bias] = [inputs[0], inputs[1], inputs[2]].map(Tensor::floats);
    by_rows(data, rows(inputs[0], axis), |from, to| layer_norm_rows(level, from, to, scale, bias, epsilon))
}

pub(super) fn rms_norm(level: Level, inputs: &[&Tensor], axis: usize, epsilon: f32) -> Data {
    let [data, scale] = [inputs[0], inputs[1]].map(Tensor::floats);
    by_rows(data, rows(inputs[0], axis), |from, to| rms_norm_rows(level, from, to, scale, epsilon))
}

fn rows(x: &Tensor, axis: usize) -> usize {
    x.dims()[axis..].iter().map(|dim| *dim as usize).product()
}
