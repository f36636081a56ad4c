//! Operations along axes (`spec/09-tensor.md`, section 9.5.3).

use super::index::Axis;
use crate::{Data, Tensor, math, number};
use samebit_spec::tensor::{Op, TensorType, strides};

/// Lanes of [`sum`].
pub(crate) const LANES: usize = 64;

/// Sum of many: element `i` goes to lane `i mod 64` in order, and the lanes are added pairwise, those 32 apart first.
pub(crate) fn sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (at, value) in values.enumerate() {
        lanes[at % LANES] += number::addend(value);
    }
    number::canon(tree(&mut lanes))
}

pub(crate) fn tree(lanes: &mut [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// How many there are, as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "rounding is the rule")]
pub(crate) fn count(len: usize) -> f32 {
    len as f32
}

pub(super) fn softmax(x: &Tensor, axis: usize) -> Data {
    let (axis, data) = (Axis::of(&x.of().shape, axis), x.floats());
    let mut made = vec![0.0; data.len()];
    for line in 0..axis.lines() {
        let line = axis.line(line);
        let Some(greatest) = line.clone().map(|at| number::canon(data[at])).reduce(number::max) else { continue };
        let powers: Vec<f32> = line.clone().map(|at| math::exp(number::sub(data[at], greatest))).collect();
        let total = sum(powers.iter().copied());
        for (at, power) in line.zip(powers) {
            made[at] = number::div(power, total);
        }
    }
    Data::F32(made)
}

pub(super) fn layer_norm(inputs: &[&Tensor], axis: usize, epsilon: f32) -> Data {
    let rows = rows(inputs[0], axis);
    let [data, scale, bias] = [inputs[0], inputs[1], inputs[2]].map(Tensor::floats);
    let mut made = Vec::with_capacity(data.len());
    for row in data.chunks_exact(rows.max(1)) {
        let mean = number::div(sum(row.iter().copied()), count(rows));
        let apart: Vec<f32> = row.iter().map(|x| number::sub(*x, mean)).collect();
        let root = spread(&apart, epsilon);
        for (at, x) in apart.into_iter().enumerate() {
            made.push(number::add(number::mul(number::mul(x, root), scale[at]), bias[at]));
        }
    }
    Data::F32(made)
}

pub(super) fn rms_norm(inputs: &[&Tensor], axis: usize, epsilon: f32) -> Data {
    let rows = rows(inputs[0], axis);
    let [data, scale] = [inputs[0], inputs[1]].map(Tensor::floats);
    let mut made = Vec::with_capacity(data.len());
    for row in data.chunks_exact(rows.max(1)) {
        let root = spread(row, epsilon);
        made.extend(row.iter().zip(scale).map(|(x, scale)| number::mul(number::mul(*x, root), *scale)));
    }
    Data::F32(made)
}

/// `1 / sqrt(mean of squares + epsilon)`.
fn spread(row: &[f32], epsilon: f32) -> f32 {
    let squares = sum(row.iter().map(|x| number::factor(*x) * number::factor(*x)));
    math::reciprocal(number::sqrt(number::add(number::div(squares, count(row.len())), epsilon)))
}

/// Elements of what is normalised together.
fn rows(x: &Tensor, axis: usize) -> usize {
    x.dims()[axis..].iter().map(|dim| *dim as usize).product()
}

pub(super) fn reduce(op: &Op, x: &Tensor, axes: &[u8], of: &TensorType) -> Data {
    let shape = &x.of().shape;
    let goes = |axis: usize| axes.is_empty() || axes.iter().any(|given| usize::from(*given) == axis);
    // Offsets of the first element of each group, and of the members of a group behind its first, both in row-major
    // order.
    let steps = strides(shape);
    let offsets = |wanted: bool| {
        let mut offsets = vec![0usize];
        for axis in (0..shape.rank()).filter(|axis| goes(*axis) == wanted) {
            let (len, step) = (shape.dims()[axis] as usize, steps[axis]);
            offsets = offsets.iter().flat_map(|base| (0..len).map(move |at| base + at * step)).collect();
        }
        offsets
    };
    let (groups, members) = (offsets(false), offsets(true));
    debug_assert_eq!(groups.len() as u64, of.shape.elements());
    let members = &members;
    if let Data::I32(data) = x.data() {
        let of = |first: &usize| -> i32 {
            let values = members.iter().map(|at| data[first + at]);
            match op {
                Op::ReduceSum { .. } => values.fold(0, i32::wrapping_add),
                Op::ReduceMax { .. } => values.max().expect("not empty"),
                _ => values.min().expect("not empty"),
            }
        };
        return Data::I32(groups.iter().map(of).collect());
    }
    let data = x.floats();
    let of = |first: &usize| -> f32 {
        let values = members.iter().map(|at| data[first + at]);
        match op {
            Op::ReduceSum { .. } => sum(values),
            Op::ReduceMean { .. } => number::div(sum(values), count(members.len())),
            Op::ReduceMax { .. } => values.map(number::canon).reduce(number::max).expect("not empty"),
            _ => values.map(number::canon).reduce(number::min).expect("not empty"),
        }
    };
    Data::F32(groups.iter().map(of).collect())
}

/// The order in which elements are greater or less: integers as they are, floats by [`number::key`].
fn keys(x: &Tensor) -> Vec<i32> {
    match x.data() {
        Data::I32(data) => data.clone(),
        _ => x.floats().iter().map(|x| number::key(*x)).collect(),
    }
}

pub(super) fn arg_max(x: &Tensor, axis: usize) -> Data {
    let (axis, keys) = (Axis::of(&x.of().shape, axis), keys(x));
    let of = |line: usize| {
        let best =
            axis.line(line).enumerate().reduce(|best, next| if keys[next.1] > keys[best.1] { next } else { best });
        i32::try_from(best.expect("not empty").0).expect("an axis is shorter than 2^31")
    };
    Data::I32((0..axis.lines()).map(of).collect())
}

pub(super) fn top_k(x: &Tensor, axis: usize, k: usize, largest: bool) -> [Data; 2] {
    let (axis, keys) = (Axis::of(&x.of().shape, axis), keys(x));
    let mut places = vec![0; axis.outer * k * axis.inner];
    let mut indices = vec![0; places.len()];
    let nan = number::key(f32::NAN);
    let is_float = matches!(x.data(), Data::F32(_));
    for line in 0..axis.lines() {
        let mut order: Vec<(usize, usize)> = axis.line(line).enumerate().collect();
        // A stable sort leaves equal ones in the order of their indices. NaN is the greatest, and the last of the
        // least.
        order.sort_by_key(|(_, at)| {
            let key = i64::from(keys[*at]);
            match (largest, is_float && keys[*at] == nan) {
                (true, _) => -key,
                (false, true) => i64::MAX,
                (false, false) => key,
            }
        });
        for (rank, (index, at)) in order.into_iter().take(k).enumerate() {
            let place = (line / axis.inner * k + rank) * axis.inner + line % axis.inner;
            places[place] = at;
            indices[place] = i32::try_from(index).expect("an axis is shorter than 2^31");
        }
    }
    let values = match x.data() {
        Data::I32(data) => Data::I32(places.into_iter().map(|at| data[at]).collect()),
        _ => Data::F32(places.into_iter().map(|at| number::canon(x.floats()[at])).collect()),
    };
    [values, Data::I32(indices)]
}
