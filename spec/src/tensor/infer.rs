//! Which operands an operation takes, and what comes out (`spec/09-tensor.md`, section 9.4).
//!
//! Checks come in the order of the spec: number of operands, element types, attributes, shapes; so every host refuses
//! for the same reason.

use super::{Dtype, Op, RANK_MAX, Shape, TensorError, TensorType, Window};
use alloc::{vec, vec::Vec};

/// The types of what `op` gives for operands of these types.
///
/// # Errors
/// A [`TensorError`] that names the operation, the operand or attribute, and its value.
pub fn infer(op: &Op, inputs: &[&TensorType]) -> Result<Vec<TensorType>, TensorError> {
    count(op, inputs.len())?;
    let name = op.name();
    let one = |dtype, shape| Ok(vec![TensorType { dtype, shape }]);
    match op {
        Op::Exp
        | Op::Log
        | Op::Sqrt
        | Op::Reciprocal
        | Op::Tanh
        | Op::Sigmoid
        | Op::Erf
        | Op::Gelu(_)
        | Op::Relu
        | Op::Clip { .. } => {
            is(name, inputs, 0, Dtype::F32)?;
            one(Dtype::F32, inputs[0].shape.clone())
        }
        Op::Neg | Op::Abs => {
            arithmetic(name, inputs, 0)?;
            one(inputs[0].dtype, inputs[0].shape.clone())
        }
        Op::Cast(to) => one(*to, inputs[0].shape.clone()),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max => {
            arithmetic(name, inputs, 0)?;
            same(name, inputs, 0, 1)?;
            one(inputs[0].dtype, broadcast(name, &inputs[0].shape, &inputs[1].shape)?)
        }
        Op::Equal | Op::Less | Op::Greater => {
            arithmetic(name, inputs, 0)?;
            same(name, inputs, 0, 1)?;
            one(Dtype::U8, broadcast(name, &inputs[0].shape, &inputs[1].shape)?)
        }
        Op::Where => {
            is(name, inputs, 0, Dtype::U8)?;
            same(name, inputs, 1, 2)?;
            let values = broadcast(name, &inputs[1].shape, &inputs[2].shape)?;
            one(inputs[1].dtype, broadcast(name, &inputs[0].shape, &values)?)
        }
        Op::MatMul => {
            if !matches!(inputs[0].dtype, Dtype::F32 | Dtype::F16) {
                return Err(dtype(name, inputs, 0, "f32 or f16"));
            }
            same(name, inputs, 0, 1)?;
            one(Dtype::F32, product(name, &inputs[0].shape, &inputs[1].shape)?)
        }
        Op::MatMulInteger { a_zero, b_zero } => {
            for (operand, (attribute, zero)) in [("a_zero", *a_zero), ("b_zero", *b_zero)].into_iter().enumerate() {
                byte(name, inputs, operand)?;
                zero_fits(name, attribute, zero, inputs[operand].dtype)?;
            }
            one(Dtype::I32, product(name, &inputs[0].shape, &inputs[1].shape)?)
        }
        Op::Gemm { transpose_a, transpose_b, .. } => gemm(name, inputs, *transpose_a, *transpose_b),
        Op::Conv { window, groups } => conv(name, inputs, window, *groups),
        Op::Attention { .. } => attention(name, inputs),
        Op::RotaryEmbedding { .. } => rotary(name, inputs),
        Op::QuantizeLinear { axis } => {
            is(name, inputs, 0, Dtype::F32)?;
            is(name, inputs, 1, Dtype::F32)?;
            byte(name, inputs, 2)?;
            per_axis(name, inputs, *axis)?;
            one(inputs[2].dtype, inputs[0].shape.clone())
        }
        Op::DequantizeLinear { axis } => {
            if !matches!(inputs[0].dtype, Dtype::I8 | Dtype::U8 | Dtype::I32) {
                return Err(dtype(name, inputs, 0, "i8, u8 or i32"));
            }
            is(name, inputs, 1, Dtype::F32)?;
            same(name, inputs, 0, 2)?;
            per_axis(name, inputs, *axis)?;
            one(Dtype::F32, inputs[0].shape.clone())
        }
        Op::Softmax { axis } => {
            is(name, inputs, 0, Dtype::F32)?;
            within(name, *axis, &inputs[0].shape)?;
            one(Dtype::F32, inputs[0].shape.clone())
        }
        Op::LayerNormalization { axis, .. } | Op::RmsNormalization { axis, .. } => {
            for operand in 0..inputs.len() {
                is(name, inputs, operand, Dtype::F32)?;
            }
            within(name, *axis, &inputs[0].shape)?;
            let normalised = &inputs[0].shape.dims()[usize::from(*axis)..];
            for input in &inputs[1..] {
                if input.shape.dims() != normalised {
                    let right = Shape::new(normalised)?;
                    return Err(shapes(name, "scale and bias have the normalised dimensions", &input.shape, right));
                }
            }
            one(Dtype::F32, inputs[0].shape.clone())
        }
        Op::ReduceSum { axes, keep } | Op::ReduceMax { axes, keep } | Op::ReduceMin { axes, keep } => {
            arithmetic(name, inputs, 0)?;
            one(inputs[0].dtype, reduced(op, &inputs[0].shape, axes, *keep)?)
        }
        Op::ReduceMean { axes, keep } => {
            is(name, inputs, 0, Dtype::F32)?;
            one(Dtype::F32, reduced(op, &inputs[0].shape, axes, *keep)?)
        }
        Op::ArgMax { axis, keep } => {
            arithmetic(name, inputs, 0)?;
            one(Dtype::I32, reduced(op, &inputs[0].shape, &[*axis], *keep)?)
        }
        Op::TopK { axis, k, .. } => {
            arithmetic(name, inputs, 0)?;
            within(name, *axis, &inputs[0].shape)?;
            let mut dims = inputs[0].shape.dims().to_vec();
            if *k > dims[usize::from(*axis)] {
                return Err(attribute(name, "k", (*k).into(), "at most the length of the axis"));
            }
            dims[usize::from(*axis)] = *k;
            let shape = Shape::new(&dims)?;
            Ok(vec![
                TensorType { dtype: inputs[0].dtype, shape: shape.clone() },
                TensorType { dtype: Dtype::I32, shape },
            ])
        }
        Op::MaxPool(window) | Op::AveragePool { window, .. } => {
            is(name, inputs, 0, Dtype::F32)?;
            pool(name, inputs, window)
        }
        Op::Gather { axis } => {
            is(name, inputs, 1, Dtype::I32)?;
            within(name, *axis, &inputs[0].shape)?;
            let (axis, data) = (usize::from(*axis), inputs[0].shape.dims());
            let dims = [&data[..axis], inputs[1].shape.dims(), &data[axis + 1..]].concat();
            one(inputs[0].dtype, Shape::new(&dims)?)
        }
        Op::Concat { axis } => concat(name, inputs, *axis),
        Op::Slice { starts, ends, steps } => slice(name, inputs, [starts, ends, steps]),
        Op::Transpose { order } => {
            let shape = &inputs[0].shape;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if order.len() != shape.rank() || sorted.iter().enumerate().any(|(at, axis)| usize::from(*axis) != at) {
                return Err(attribute(name, "order", order.len() as i64, "names every axis once"));
            }
            let dims: Vec<u32> = order.iter().map(|axis| shape.dims()[usize::from(*axis)]).collect();
            one(inputs[0].dtype, Shape::new(&dims)?)
        }
        Op::Reshape { dims } => {
            let shape = Shape::new(dims)?;
            if shape.elements() != inputs[0].shape.elements() {
                return Err(shapes(name, "the number of elements stays", &inputs[0].shape, shape));
            }
            one(inputs[0].dtype, shape)
        }
        Op::Pad { before, after, .. } => {
            let dims = inputs[0].shape.dims();
            lengths(name, "before", before, dims.len())?;
            lengths(name, "after", after, dims.len())?;
            let padded: Option<Vec<u32>> = dims
                .iter()
                .zip(before.iter().zip(after))
                .map(|(dim, (before, after))| dim.checked_add(*before)?.checked_add(*after))
                .collect();
            let too_many = || TensorError::TooManyElements { shape: inputs[0].shape.clone() };
            one(inputs[0].dtype, Shape::new(&padded.ok_or_else(too_many)?)?)
        }
    }
}

/// The shape of two operands after NumPy's broadcasting: aligned at the last axis, where a length of 1 stretches.
///
/// # Errors
/// [`TensorError::Shape`] when two lengths differ and neither is 1; [`TensorError::TooManyElements`].
pub fn broadcast(op: &'static str, left: &Shape, right: &Shape) -> Result<Shape, TensorError> {
    let rank = left.rank().max(right.rank());
    let dim = |shape: &Shape, at: usize| (at + shape.rank()).checked_sub(rank).map_or(1, |at| shape.dims()[at]);
    let mut dims = Vec::with_capacity(rank);
    for at in 0..rank {
        match (dim(left, at), dim(right, at)) {
            (1, other) | (other, 1) => dims.push(other),
            (one, other) if one == other => dims.push(one),
            _ => return Err(shapes(op, "lengths are equal or 1", left, right.clone())),
        }
    }
    Shape::new(&dims)
}

/// From one element to the next along each axis, in elements, for a row-major tensor.
#[must_use]
pub fn strides(shape: &Shape) -> Vec<usize> {
    let mut strides = vec![1; shape.rank()];
    for axis in (1..shape.rank()).rev() {
        strides[axis - 1] = strides[axis] * shape.dims()[axis] as usize;
    }
    strides
}

/// How many windows fit on spatial axis `at` of length `len`; `None` when not even one does.
#[must_use]
pub fn window_len(window: &Window, at: usize, len: u32) -> Option<u32> {
    let reach = u64::from(window.dilations[at]) * u64::from(window.kernel[at] - 1) + 1;
    let padded = u64::from(len) + u64::from(window.before[at]) + u64::from(window.after[at]);
    let more = padded.checked_sub(reach)? / u64::from(window.strides[at]);
    u32::try_from(more + 1).ok()
}

fn count(op: &Op, found: usize) -> Result<(), TensorError> {
    let (least, most, expected) = match op {
        Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Min
        | Op::Max
        | Op::Equal
        | Op::Less
        | Op::Greater
        | Op::MatMul
        | Op::MatMulInteger { .. }
        | Op::Gather { .. }
        | Op::RmsNormalization { .. } => (2, 2, "2"),
        Op::Where
        | Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::LayerNormalization { .. }
        | Op::RotaryEmbedding { .. } => (3, 3, "3"),
        Op::Gemm { .. } | Op::Conv { .. } => (2, 3, "2 or 3"),
        Op::Attention { .. } => (3, 4, "3 or 4"),
        Op::Concat { .. } => (1, super::OPERANDS_MAX, "1 to 64"),
        Op::Neg
        | Op::Abs
        | Op::Exp
        | Op::Log
        | Op::Sqrt
        | Op::Reciprocal
        | Op::Tanh
        | Op::Sigmoid
        | Op::Erf
        | Op::Gelu(_)
        | Op::Relu
        | Op::Clip { .. }
        | Op::Cast(_)
        | Op::Softmax { .. }
        | Op::ReduceSum { .. }
        | Op::ReduceMean { .. }
        | Op::ReduceMax { .. }
        | Op::ReduceMin { .. }
        | Op::ArgMax { .. }
        | Op::TopK { .. }
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::Slice { .. }
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Pad { .. } => (1, 1, "1"),
    };
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(TensorError::Operands { op: op.name(), expected, found })
}

fn gemm(
    name: &'static str,
    inputs: &[&TensorType],
    flip_a: bool,
    flip_b: bool,
) -> Result<Vec<TensorType>, TensorError> {
    for operand in 0..inputs.len() {
        is(name, inputs, operand, Dtype::F32)?;
    }
    let (left, right) = (&inputs[0].shape, &inputs[1].shape);
    let flat = |shape: &Shape, flip: bool| match *shape.dims() {
        [rows, columns] => Some(if flip { [columns, rows] } else { [rows, columns] }),
        _ => None,
    };
    let ends = flat(left, flip_a).zip(flat(right, flip_b));
    let Some(([m, _], [_, n])) = ends.filter(|([_, k], [other, _])| k == other) else {
        return Err(shapes(name, "two matrices with one inner length", left, right.clone()));
    };
    let shape = Shape::new(&[m, n])?;
    if let Some(addend) = inputs.get(2)
        && broadcast(name, &addend.shape, &shape)? != shape
    {
        return Err(shapes(name, "the third operand stretches to the product", &addend.shape, shape));
    }
    Ok(vec![TensorType { dtype: Dtype::F32, shape }])
}

fn conv(
    name: &'static str,
    inputs: &[&TensorType],
    window: &Window,
    groups: u32,
) -> Result<Vec<TensorType>, TensorError> {
    for operand in 0..inputs.len() {
        is(name, inputs, operand, Dtype::F32)?;
    }
    let (data, weights) = (&inputs[0].shape, &inputs[1].shape);
    let spatial = spatial(name, window, data)?;
    if weights.rank() != data.rank() || weights.dims()[2..] != window.kernel {
        let right = Shape::new(&window.kernel)?;
        return Err(shapes(name, "weights are [m, c / groups] and the window", weights, right));
    }
    let [batch, channels, maps, depth] = [data.dims()[0], data.dims()[1], weights.dims()[0], weights.dims()[1]];
    if groups == 0 || maps % groups != 0 || u64::from(depth) * u64::from(groups) != u64::from(channels) {
        return Err(attribute(name, "groups", groups.into(), "divides the channels and the maps of the weights"));
    }
    if let Some(bias) = inputs.get(2)
        && bias.shape.dims() != [maps]
    {
        return Err(shapes(name, "a bias for each map", &bias.shape, Shape::new(&[maps])?));
    }
    // The columns of the composition are an operand of a product like any other, so they keep its limit.
    Shape::new(&[&[depth, groups], &*window.kernel, &*spatial].concat())?;
    let dims = [&[batch, maps], &*spatial].concat();
    Ok(vec![TensorType { dtype: Dtype::F32, shape: Shape::new(&dims)? }])
}

fn pool(name: &'static str, inputs: &[&TensorType], window: &Window) -> Result<Vec<TensorType>, TensorError> {
    let shape = &inputs[0].shape;
    let spatial = spatial(name, window, shape)?;
    if shape.dims()[2..].contains(&0) {
        return Err(shapes(name, "something to pool", shape, Shape::scalar()));
    }
    for (at, kernel) in window.kernel.iter().enumerate() {
        for (attribute, found) in [("before", window.before[at]), ("after", window.after[at])] {
            // So that every window holds an element.
            if found >= *kernel {
                return Err(self::attribute(name, attribute, found.into(), "less than the kernel"));
            }
        }
        // A dilated window may step over all of a short axis.
        if window.dilations[at] > 1 && (window.before[at] | window.after[at]) != 0 {
            let found = window.dilations[at].into();
            return Err(attribute(name, "dilations", found, "1 where a pooling is padded"));
        }
    }
    let dims = [&shape.dims()[..2], &*spatial].concat();
    Ok(vec![TensorType { dtype: Dtype::F32, shape: Shape::new(&dims)? }])
}

/// Checks a window against `[n, c, ..]` and gives the lengths of the spatial axes of the result.
fn spatial(name: &'static str, window: &Window, data: &Shape) -> Result<Vec<u32>, TensorError> {
    if !matches!(data.rank(), 3 | 4) {
        return Err(shapes(name, "one or two spatial axes behind [n, c]", data, Shape::scalar()));
    }
    let axes = data.rank() - 2;
    for (attribute, list) in [
        ("kernel", &window.kernel),
        ("strides", &window.strides),
        ("dilations", &window.dilations),
        ("before", &window.before),
        ("after", &window.after),
    ] {
        lengths(name, attribute, list, axes)?;
    }
    for (attribute, list) in
        [("kernel", &window.kernel), ("strides", &window.strides), ("dilations", &window.dilations)]
    {
        if list.contains(&0) {
            return Err(self::attribute(name, attribute, 0, "at least 1"));
        }
    }
    Shape::new(&window.kernel)?;
    for at in 0..axes {
        let padded = u64::from(data.dims()[at + 2]) + u64::from(window.before[at]) + u64::from(window.after[at]);
        if padded > super::ELEMENTS_MAX {
            // Places are numbered in 32 bits, on every backend.
            let found = window.before[at].max(window.after[at]).into();
            return Err(self::attribute(name, "padding", found, "leaves an axis of fewer than 2^31 with it"));
        }
    }
    (0..axes)
        .map(|at| {
            window_len(window, at, data.dims()[at + 2])
                .ok_or_else(|| attribute(name, "kernel", window.kernel[at].into(), "fits the padded axis"))
        })
        .collect()
}

fn attention(name: &'static str, inputs: &[&TensorType]) -> Result<Vec<TensorType>, TensorError> {
    for operand in 0..inputs.len() {
        is(name, inputs, operand, Dtype::F32)?;
    }
    let [query, key, value] = [&inputs[0].shape, &inputs[1].shape, &inputs[2].shape];
    let flipped = flip(name, key)?;
    let scores = product(name, query, &flipped)?;
    if let Some(mask) = inputs.get(3)
        && broadcast(name, &mask.shape, &scores)? != scores
    {
        return Err(shapes(name, "the mask stretches to the scores", &mask.shape, scores));
    }
    Ok(vec![TensorType { dtype: Dtype::F32, shape: product(name, &scores, value)? }])
}

fn flip(name: &'static str, shape: &Shape) -> Result<Shape, TensorError> {
    let mut dims = shape.dims().to_vec();
    let [.., rows, columns] = dims.as_mut_slice() else {
        return Err(shapes(name, "at least two axes", shape, Shape::scalar()));
    };
    core::mem::swap(rows, columns);
    Shape::new(&dims)
}

fn rotary(name: &'static str, inputs: &[&TensorType]) -> Result<Vec<TensorType>, TensorError> {
    for operand in 0..inputs.len() {
        is(name, inputs, operand, Dtype::F32)?;
    }
    let shape = &inputs[0].shape;
    let [.., len, width] = *shape.dims() else {
        return Err(shapes(name, "at least two axes", shape, Shape::scalar()));
    };
    if width % 2 != 0 {
        return Err(shapes(name, "an even last axis", shape, Shape::scalar()));
    }
    for table in &inputs[1..] {
        if table.shape.dims() != [len, width / 2] {
            return Err(shapes(name, "cos and sin are [l, d / 2]", &table.shape, Shape::new(&[len, width / 2])?));
        }
    }
    Ok(vec![TensorType { dtype: Dtype::F32, shape: shape.clone() }])
}

fn concat(name: &'static str, inputs: &[&TensorType], axis: u8) -> Result<Vec<TensorType>, TensorError> {
    for operand in 1..inputs.len() {
        same(name, inputs, 0, operand)?;
    }
    let first = &inputs[0].shape;
    within(name, axis, first)?;
    let at = usize::from(axis);
    let mut dims = first.dims().to_vec();
    for input in &inputs[1..] {
        let mut other = input.shape.dims().to_vec();
        if other.len() != dims.len() {
            return Err(shapes(name, "the same number of axes", first, input.shape.clone()));
        }
        let joined = dims[at].checked_add(core::mem::replace(&mut other[at], dims[at]));
        if other != dims {
            return Err(shapes(name, "the same lengths but for the joined axis", first, input.shape.clone()));
        }
        dims[at] = joined.ok_or_else(|| TensorError::TooManyElements { shape: first.clone() })?;
    }
    Ok(vec![TensorType { dtype: inputs[0].dtype, shape: Shape::new(&dims)? }])
}

fn slice(name: &'static str, inputs: &[&TensorType], lists: [&Vec<u32>; 3]) -> Result<Vec<TensorType>, TensorError> {
    let shape = &inputs[0].shape;
    for (attribute, list) in ["starts", "ends", "steps"].into_iter().zip(lists) {
        lengths(name, attribute, list, shape.rank())?;
    }
    let [starts, ends, steps] = lists;
    let mut dims = Vec::with_capacity(shape.rank());
    for (axis, len) in shape.dims().iter().enumerate() {
        if ends[axis] > *len {
            return Err(attribute(name, "ends", ends[axis].into(), "at most the length of the axis"));
        }
        if starts[axis] > ends[axis] {
            return Err(attribute(name, "starts", starts[axis].into(), "at most the end"));
        }
        if steps[axis] == 0 {
            return Err(attribute(name, "steps", 0, "at least 1"));
        }
        dims.push((ends[axis] - starts[axis]).div_ceil(steps[axis]));
    }
    Ok(vec![TensorType { dtype: inputs[0].dtype, shape: Shape::new(&dims)? }])
}

/// Elements of the scores of `Attention`, which [`infer`] has accepted.
pub(super) fn scores(query: &Shape, key: &Shape) -> u64 {
    let name = "Attention";
    flip(name, key).and_then(|key| product(name, query, &key)).map_or(u64::MAX, |scores| scores.elements())
}

/// `[.., m, k] x [.., k, n] -> [.., m, n]`, outer axes broadcast.
fn product(name: &'static str, left: &Shape, right: &Shape) -> Result<Shape, TensorError> {
    let ([outer_left @ .., m, k], [outer_right @ .., other, n]) = (left.dims(), right.dims()) else {
        return Err(shapes(name, "at least two axes", left, right.clone()));
    };
    if k != other {
        return Err(shapes(name, "one inner length", left, right.clone()));
    }
    let outer = broadcast(name, &Shape::new(outer_left)?, &Shape::new(outer_right)?)?;
    Shape::new(&[outer.dims(), &[*m, *n]].concat())
}

fn reduced(op: &Op, shape: &Shape, axes: &[u8], keep: bool) -> Result<Shape, TensorError> {
    let name = op.name();
    for pair in axes.windows(2) {
        if pair[0] >= pair[1] {
            return Err(attribute(name, "axes", pair[1].into(), "ascending, each once"));
        }
    }
    for axis in axes {
        within(name, *axis, shape)?;
    }
    let goes = |axis: usize| axes.is_empty() || axes.iter().any(|given| usize::from(*given) == axis);
    // An empty sum is 0; an empty maximum has no value.
    let empty = (0..shape.rank()).any(|axis| goes(axis) && shape.dims()[axis] == 0);
    if empty && !matches!(op, Op::ReduceSum { .. }) {
        return Err(shapes(name, "something to reduce", shape, Shape::scalar()));
    }
    let dims: Vec<u32> = (0..shape.rank())
        .filter_map(|axis| if goes(axis) { keep.then_some(1) } else { Some(shape.dims()[axis]) })
        .collect();
    Shape::new(&dims)
}

/// Scale and zero point are both scalars or both of the length of `axis`.
fn per_axis(name: &'static str, inputs: &[&TensorType], axis: u8) -> Result<(), TensorError> {
    let [data, scale, zero] = [&inputs[0].shape, &inputs[1].shape, &inputs[2].shape];
    if scale != zero {
        return Err(shapes(name, "scale and zero point have one shape", scale, zero.clone()));
    }
    if scale.rank() == 0 {
        return Ok(());
    }
    within(name, axis, data)?;
    if scale.dims() != [data.dims()[usize::from(axis)]] {
        return Err(shapes(name, "scale is a scalar or has the length of the axis", scale, data.clone()));
    }
    Ok(())
}

fn zero_fits(name: &'static str, which: &'static str, zero: i32, of: Dtype) -> Result<(), TensorError> {
    let fits = if of == Dtype::I8 { i8::try_from(zero).is_ok() } else { u8::try_from(zero).is_ok() };
    if fits { Ok(()) } else { Err(attribute(name, which, zero.into(), "a value of its operand's type")) }
}

fn within(name: &'static str, axis: u8, shape: &Shape) -> Result<(), TensorError> {
    if usize::from(axis) < shape.rank() {
        return Ok(());
    }
    Err(attribute(name, "axis", axis.into(), "one of the operand's"))
}

fn lengths(name: &'static str, which: &'static str, list: &[u32], expected: usize) -> Result<(), TensorError> {
    debug_assert!(expected <= RANK_MAX);
    if list.len() == expected {
        return Ok(());
    }
    Err(attribute(name, which, list.len() as i64, "one number per axis"))
}

fn is(name: &'static str, inputs: &[&TensorType], operand: usize, wanted: Dtype) -> Result<(), TensorError> {
    if inputs[operand].dtype == wanted {
        return Ok(());
    }
    let expected = match wanted {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::I32 => "i32",
        Dtype::I8 => "i8",
        Dtype::U8 => "u8",
    };
    Err(dtype(name, inputs, operand, expected))
}

fn arithmetic(name: &'static str, inputs: &[&TensorType], operand: usize) -> Result<(), TensorError> {
    if matches!(inputs[operand].dtype, Dtype::F32 | Dtype::I32) {
        return Ok(());
    }
    Err(dtype(name, inputs, operand, "f32 or i32"))
}

fn byte(name: &'static str, inputs: &[&TensorType], operand: usize) -> Result<(), TensorError> {
    if matches!(inputs[operand].dtype, Dtype::I8 | Dtype::U8) {
        return Ok(());
    }
    Err(dtype(name, inputs, operand, "i8 or u8"))
}

fn same(name: &'static str, inputs: &[&TensorType], one: usize, other: usize) -> Result<(), TensorError> {
    if inputs[one].dtype == inputs[other].dtype {
        return Ok(());
    }
    Err(dtype(name, inputs, other, "the type of the other operand"))
}

fn dtype(op: &'static str, inputs: &[&TensorType], operand: usize, expected: &'static str) -> TensorError {
    TensorError::Dtype { op, operand, expected, found: inputs[operand].dtype }
}

fn shapes(op: &'static str, reason: &'static str, left: &Shape, right: Shape) -> TensorError {
    TensorError::Shape { op, reason, left: left.clone(), right }
}

fn attribute(op: &'static str, attribute: &'static str, found: i64, reason: &'static str) -> TensorError {
    TensorError::Attribute { op, attribute, found, reason }
}
