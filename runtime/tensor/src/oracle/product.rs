//! Sums of products (`spec/09-tensor.md`, section 9.5.2): inner index ascending, one rounding for the product and one for
//! the sum, never fused.

use super::{
    elementwise::widened,
    index::{each, stretched},
    moves,
};
use crate::{Data, Tensor, number};
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType};

/// `+0 + a_0 b_0 + a_1 b_1 + ..`, in this order, of factors as they come.
pub(super) fn dot(pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
    number::canon(pairs.fold(0.0, |sum, (a, b)| sum + number::factor(a) * number::factor(b)))
}

/// Where row `m` of the left and column `n` of the right operand begin, for an index `[.., m, n]` of the product.
fn starts(index: &[usize], a: &Shape, b: &Shape) -> [usize; 2] {
    let (outer, [m, n]) = index.split_last_chunk::<2>().expect("a product has two axes");
    [matrix(outer, a) + m * inner_len(a), matrix(outer, b) + n]
}

/// Where the matrix at `outer` begins in a stack of them, of which axes of length 1 stretch.
fn matrix(outer: &[usize], shape: &Shape) -> usize {
    let (stack, [rows, columns]) = shape.dims().split_last_chunk::<2>().expect("an operand has two axes");
    let stack = Shape::new(stack).expect("a part of a shape");
    stretched(outer, &stack) * *rows as usize * *columns as usize
}

fn inner_len(shape: &Shape) -> usize {
    shape.dims()[shape.rank() - 1] as usize
}

pub(super) fn matmul(a: &Tensor, b: &Tensor, shape: &Shape) -> Data {
    let (left, right) = (as_floats(a), as_floats(b));
    let (a, b) = (&a.of().shape, &b.of().shape);
    let (inner, width) = (inner_len(a), inner_len(b));
    Data::F32(
        each(shape)
            .map(|index| {
                let [row, column] = starts(&index, a, b);
                dot((0..inner).map(|k| (left[row + k], right[column + k * width])))
            })
            .collect(),
    )
}

fn as_floats(x: &Tensor) -> Vec<f32> {
    match x.data() {
        Data::F16(data) => data.iter().map(|x| number::from_half(*x)).collect(),
        _ => x.floats().to_vec(),
    }
}

pub(super) fn integers(a: &Tensor, b: &Tensor, zeros: [i32; 2], shape: &Shape) -> Data {
    let (left, right) = (widened(a), widened(b));
    let (a, b) = (&a.of().shape, &b.of().shape);
    let (inner, width) = (inner_len(a), inner_len(b));
    Data::I32(
        each(shape)
            .map(|index| {
                let [row, column] = starts(&index, a, b);
                (0..inner).fold(0i32, |sum, k| {
                    sum.wrapping_add((left[row + k] - zeros[0]) * (right[column + k * width] - zeros[1]))
                })
            })
            .collect(),
    )
}

pub(super) fn gemm(inputs: &[&Tensor], [alpha, beta]: [f32; 2], [flip_a, flip_b]: [bool; 2], shape: &Shape) -> Data {
    let turned = |x: &Tensor, flip: bool| if flip { transposed(x) } else { x.clone() };
    let product = matmul(&turned(inputs[0], flip_a), &turned(inputs[1], flip_b), shape);
    let Data::F32(product) = product else { unreachable!("a product of floats") };
    let scaled = product.into_iter().map(|x| number::mul(alpha, x));
    let Some(addend) = inputs.get(2) else { return Data::F32(scaled.collect()) };
    let places = each(shape).map(|index| stretched(&index, &addend.of().shape));
    Data::F32(scaled.zip(places).map(|(x, at)| number::add(x, number::mul(beta, addend.floats()[at]))).collect())
}

fn transposed(x: &Tensor) -> Tensor {
    let rank = x.of().shape.rank();
    let mut order: Vec<u8> = (0..u8::try_from(rank).expect("at most eight axes")).collect();
    order.swap(rank - 1, rank - 2);
    let mut dims = x.dims().to_vec();
    dims.swap(rank - 1, rank - 2);
    let shape = Shape::new(&dims).expect("the same elements");
    let data = moves::transpose(x, &order, &shape);
    Tensor::made(TensorType { dtype: x.of().dtype, shape }, data)
}

/// The composition that defines it: product, scale, mask, softmax, product.
pub(super) fn attention(inputs: &[&Tensor], scale: f32, of: &TensorType) -> Data {
    let run = |op: &Op, inputs: &[&Tensor]| super::eval(op, inputs).expect("checked as a whole").remove(0);
    let mut scores = run(&Op::MatMul, &[inputs[0], &transposed(inputs[1])]);
    let factor = Tensor::made(TensorType { dtype: Dtype::F32, shape: Shape::scalar() }, Data::F32(vec![scale]));
    scores = run(&Op::Mul, &[&scores, &factor]);
    if let Some(mask) = inputs.get(3) {
        scores = run(&Op::Add, &[&scores, mask]);
    }
    let axis = u8::try_from(scores.of().shape.rank() - 1).expect("at most eight axes");
    let weights = run(&Op::Softmax { axis }, &[&scores]);
    matmul(&weights, inputs[2], &of.shape)
}

pub(super) fn rotary(inputs: &[&Tensor], interleaved: bool) -> Data {
    let [x, cos, sin] = [inputs[0], inputs[1], inputs[2]].map(Tensor::floats);
    let [.., len, width] = *inputs[0].dims() else { unreachable!("checked") };
    let (len, width) = (len as usize, width as usize);
    let half = width / 2;
    let mut turned = vec![0.0; x.len()];
    for (row, values) in x.chunks_exact(width.max(1)).enumerate() {
        for pair in 0..half {
            let (first, second) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
            let at = row % len * half + pair;
            let (a, b) = (values[first], values[second]);
            turned[row * width + first] = number::sub(number::mul(a, cos[at]), number::mul(b, sin[at]));
            turned[row * width + second] = number::add(number::mul(a, sin[at]), number::mul(b, cos[at]));
        }
    }
    Data::F32(turned)
}
