//! Attention: two products and a softmax between them, one matrix after another, so that its scores stay in the caches.

use super::{
    Level, along, elementwise,
    gemm::{self, Columns, Finish, Matrix, Right, Stack},
    room,
    simd::leveled,
};
use crate::{Data, Halt, Tensor, number};
use rayon::prelude::*;
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType};

/// Scores that are held at a time, and as many of their softmax: they stay in the second cache.
const SCORES: usize = 1 << 15;
/// Attentions below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 18;

pub(super) fn attention(level: Level, halt: &Halt<'_>, inputs: &[&Tensor], scale: f32, shape: &Shape) -> Data {
    let [query, key, value] = [inputs[0], inputs[1], inputs[2]];
    let flipped = {
        let mut dims = key.dims().to_vec();
        let rank = dims.len();
        dims.swap(rank - 1, rank - 2);
        TensorType { dtype: Dtype::F32, shape: Shape::new(&dims).expect("the same elements") }
    };
    let scores = samebit_spec::tensor::infer(&Op::MatMul, &[query.of(), &flipped]).expect("checked").remove(0);
    let some = scores.shape.elements() > 0 && !query.floats().is_empty();
    // Nothing is added to the scores.
    if inputs.len() == 3 && some && layouts(level, [query, key, value].map(|x| &x.of().shape), shape).is_some() {
        return by_matrix(level, halt, [query, key, value], scale, shape);
    }
    whole(level, halt, inputs, scale, scores, shape)
}

/// Bytes of all keys and values as [`by_matrix`] lays them out: each matrix once, in room that is at most a quarter more than
/// their own, however many threads there are (`spec/09-tensor.md`, section 9.6). None where it would be more: where the padding
/// is, and where several matrices of the result take one of them.
fn layouts(level: Level, [query, key, value]: [&Shape; 3], shape: &Shape) -> Option<u64> {
    let outer = |shape: &Shape| shape.dims()[..shape.rank() - 2].iter().map(|len| u64::from(*len)).product::<u64>();
    let ([.., depth], [.., keys, width]) = (query.dims(), value.dims()) else { unreachable!("checked") };
    let [depth, keys, width] = [*depth, *keys, *width].map(|len| len as usize);
    let matrices = outer(shape);
    let one_each = [key, value].into_iter().all(|operand| outer(operand) == matrices);
    let each = Columns::bytes(level, [depth, keys]) + Columns::bytes(level, [keys, width]);
    let fits = [keys, width].into_iter().all(|columns| gemm::hardly_padded(level, columns));
    (one_each && fits).then_some(matrices * each)
}

/// Matrix after matrix, some rows of its scores at a time.
fn by_matrix(level: Level, halt: &Halt<'_>, of: [&Tensor; 3], scale: f32, shape: &Shape) -> Data {
    let [query, key, value] = of.map(Tensor::floats);
    let ([.., len, depth], [.., keys, width]) = (of[0].dims(), of[2].dims()) else { unreachable!("checked") };
    let [len, depth, keys, width] = [*len, *depth, *keys, *width].map(|len| len as usize);
    let picks = of.map(|operand| Stack::of(shape, &operand.of().shape));
    let mut made = vec![0.0; usize::try_from(shape.elements()).expect("below 2^31")];
    let rows = (SCORES / keys).clamp(1, len).next_multiple_of(gemm::TALL).min(len);
    let finish = Finish { alpha: Some(scale), bias: &[] };
    let one = |(at, made): (usize, &mut [f32])| {
        if halt.asked() {
            return;
        }
        let [query_at, key_at, value_at] = [0, 1, 2].map(|of| picks[of].matrix(at));
        let part = |at: usize, size: usize| at * size..(at + 1) * size;
        let data = &key[part(key_at, keys * depth)];
        let turned = Columns::new(level, &Matrix { data, k: depth, n: keys, turned: true });
        let data = &value[part(value_at, keys * width)];
        let values = Columns::new(level, &Matrix { data, k: keys, n: width, turned: false });
        let query = &query[part(query_at, len * depth)];
        let mut scores = vec![0.0; rows * keys];
        let mut weights = vec![0.0; rows * keys];
        for (query, made) in query.chunks(rows * depth).zip(made.chunks_mut(rows * width)) {
            if halt.asked() {
                return;
            }
            let count = made.len() / width * keys;
            let (scores, weights) = (&mut scores[..count], &mut weights[..count]);
            gemm::multiply(level, halt, query, Right::Kept(&turned), finish, scores);
            if halt.asked() {
                return;
            }
            along::softmax_of(level, scores, weights, keys);
            gemm::multiply(level, halt, weights, Right::Kept(&values), Finish::NONE, made);
        }
    };
    if made.len() * keys >= PARALLEL_MACS {
        made.par_chunks_mut(len * width).enumerate().for_each(one);
    } else {
        made.chunks_mut(len * width).enumerate().for_each(one);
    }
    Data::F32(made)
}

/// All scores at once: any mask, any outer axes.
fn whole(level: Level, halt: &Halt<'_>, inputs: &[&Tensor], scale: f32, of: TensorType, shape: &Shape) -> Data {
    let [query, key, value] = [inputs[0], inputs[1], inputs[2]];
    let ([.., len, depth], [.., keys, _]) = (query.dims(), key.dims()) else { unreachable!("checked") };
    let [len, depth, keys] = [*len, *depth, *keys].map(|len| len as usize);
    // What is left as it is when the host ends the run.
    let unmade = || Data::F32(vec![0.0; usize::try_from(shape.elements()).expect("below 2^31")]);
    let mut scores = vec![0.0; usize::try_from(of.shape.elements()).expect("below 2^31")];
    let picks = [Stack::of(&of.shape, &query.of().shape), Stack::of(&of.shape, &key.of().shape)];
    gemm::products(level, halt, [query.floats(), key.floats()], [len, depth, keys], &picks, true, &mut scores);
    if halt.asked() {
        return unmade();
    }
    elementwise::scale(level, &mut scores, scale);
    let mut scores = Tensor::made(of.clone(), Data::F32(scores));
    if let Some(mask) = inputs.get(3) {
        scores = Tensor::made(of.clone(), elementwise::two(level, &Op::Add, &scores, mask, &of.shape));
    }
    if halt.asked() {
        return unmade();
    }
    let weights = along::softmax(level, &scores, of.shape.rank() - 1);
    gemm::matmul(level, halt, &Tensor::made(of, weights), value, shape)
}

leveled! {
    /// Pairs that lie half a row apart.
    fn rotate(row: &[f32], cos: &[f32], sin: &[f32], to: &mut [f32]) {
        let (a, b) = row.split_at(cos.len());
        let (to_a, to_b) = to.split_at_mut(cos.len());
        for ((a, b), ((cos, sin), (to_a, to_b))) in a.iter().zip(b).zip(cos.iter().zip(sin).zip(to_a.iter_mut().zip(to_b))) {
            *to_a = number::sub(number::mul(*a, *cos), number::mul(*b, *sin));
            *to_b = number::add(number::mul(*a, *sin), number::mul(*b, *cos));
        }
    }
}

leveled! {
    /// Pairs of neighbours.
    fn rotate_neighbours(row: &[f32], cos: &[f32], sin: &[f32], to: &mut [f32]) {
        let (pairs, _) = row.as_chunks::<2>();
        let (to, _) = to.as_chunks_mut::<2>();
        for (([a, b], to), (cos, sin)) in pairs.iter().zip(to).zip(cos.iter().zip(sin)) {
            *to = [
                number::sub(number::mul(*a, *cos), number::mul(*b, *sin)),
                number::add(number::mul(*a, *sin), number::mul(*b, *cos)),
            ];
        }
    }
}

pub(super) fn rotary(level: Level, inputs: &[&Tensor], interleaved: bool) -> Data {
    let [x, cos, sin] = [inputs[0], inputs[1], inputs[2]].map(Tensor::floats);
    let [.., len, width] = *inputs[0].dims() else { unreachable!("checked") };
    let (len, width) = (len as usize, width as usize);
    let half = width / 2;
    let step = (room::STEP / width).max(1) * width;
    Data::F32(room::filled(x.len(), step, |at, to| {
        for (row, (to, from)) in to.chunks_exact_mut(width).zip(x[at..].chunks_exact(width)).enumerate() {
            let angles = (at / width + row) % len * half;
            let (cos, sin) = (&cos[angles..angles + half], &sin[angles..angles + half]);
            if interleaved {
                rotate_neighbours(level, from, cos, sin, to);
            } else {
                rotate(level, from, cos, sin, to);
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::{Level, layouts};
    use samebit_spec::tensor::Shape;

    /// What is laid out for `[len, depth]` queries of some matrices, by the outer axes of keys and values.
    fn laid_out(level: Level, [key, value]: [u32; 2], [keys, depth, width]: [u32; 3]) -> Option<u64> {
        let shape = |dims: [u32; 3]| Shape::new(&dims).expect("within limits");
        let operands = [shape([6, 5, depth]), shape([key, keys, depth]), shape([value, keys, width])];
        layouts(level, operands.each_ref(), &shape([6, 5, width]))
    }

    #[test]
    fn keys_and_values_are_laid_out_whole_only_in_about_their_own_room() {
        for level in Level::available() {
            // One key with a long vector would be padded to a whole panel of them; so would values of one column.
            assert_eq!(laid_out(level, [6, 6], [1, 1 << 25, 64]), None, "{level}");
            assert_eq!(laid_out(level, [6, 6], [1 << 20, 64, 1]), None, "{level}");
            // What several matrices of the result take would be laid out for each of them.
            assert_eq!(laid_out(level, [1, 6], [512, 64, 64]), None, "{level}");
            assert_eq!(laid_out(level, [6, 1], [512, 64, 64]), None, "{level}");
            assert_eq!(laid_out(level, [6, 6], [512, 64, 64]), Some(6 * 2 * 512 * 64 * 4), "{level}");
            for keys in 1..200 {
                for width in 1..100 {
                    let Some(bytes) = laid_out(level, [6, 6], [keys, 48, width]) else { continue };
                    let own = u64::from(6 * keys * (48 + width)) * 4;
                    assert!(bytes <= own + own / 4, "{keys} keys, {width} columns at {level}: {bytes} for {own}");
                }
            }
        }
    }
}
