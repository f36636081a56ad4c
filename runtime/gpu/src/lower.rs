//! From an operation to dispatches: which kernels, over which operands, with which parameters.
//!
//! What is decided here is only where elements lie and how work is cut; what is computed with them stands in
//! [`crate::elements`] and `kernels/`.

use crate::{
    elements,
    gate::Choice,
    kernels::{Kind, Reduction},
    memory::Block,
};
use samebit_tensor::{Dtype, Op, Shape, TensorType, Window};
use std::sync::Arc;

/// A value on the device.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) of: TensorType,
    pub(crate) block: Arc<Block>,
}

/// One kernel over operands, in as many groups as it needs.
pub(crate) struct Dispatch<'a> {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<&'a Value>,
    pub(crate) outputs: Vec<&'a Value>,
    /// P[4].
    pub(crate) count: u32,
    /// From P[5] on.
    pub(crate) params: Vec<u32>,
    pub(crate) groups: u64,
    /// Steps of each group, roughly: for cutting long work.
    pub(crate) cost: u64,
}

/// What takes dispatches: it makes values and runs kernels, in order.
pub(crate) trait Sink {
    /// Why it could not.
    type Error;
    /// A value of this type, with any elements.
    fn value(&mut self, of: TensorType) -> Result<Value, Self::Error>;
    /// Runs a kernel after all that came before.
    fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), Self::Error>;
    /// Longest inner axis of one product, most elements of one pool.
    fn inner_max(&self) -> u32;
}

/// Runs a node: its results.
pub(crate) fn node<S: Sink>(
    sink: &mut S,
    choice: &Choice,
    at: u32,
    op: &Op,
    inputs: &[Value],
    outputs: &[TensorType],
) -> Result<Vec<Value>, S::Error> {
    if let Op::Reshape { .. } = op {
        return Ok(vec![Value { of: outputs[0].clone(), block: Arc::clone(&inputs[0].block) }]);
    }
    if let Op::Gather { axis } = op {
        // Indices are checked even where nothing is picked.
        check(sink, &inputs[1], inputs[0].of.shape.dims()[usize::from(*axis)], at)?;
    }
    let made = outputs.iter().map(|of| sink.value(of.clone())).collect::<Result<Vec<Value>, S::Error>>()?;
    if made.iter().all(|value| value.of.shape.elements() == 0) {
        return Ok(made);
    }
    let out = &made[0];
    let x = &inputs[0];
    let dims = x.of.shape.dims();
    match op {
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
        | Op::Relu => each(sink, elements::one(op, x.of.dtype), &[x], out, vec![])?,
        Op::Clip { low, high } => each(sink, elements::one(op, x.of.dtype), &[x], out, vec![low.0, high.0])?,
        Op::Cast(to) => each(sink, elements::cast(x.of.dtype, *to), &[x], out, vec![])?,
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::Equal | Op::Less | Op::Greater => {
            let places = broadcast(&out.of.shape, &[&x.of.shape, &inputs[1].of.shape]);
            each(sink, elements::two(op, x.of.dtype), &[x, &inputs[1]], out, after(&[], places))?;
        }
        Op::Where => {
            let shapes: Vec<&Shape> = inputs.iter().map(|input| &input.of.shape).collect();
            let places = broadcast(&out.of.shape, &shapes);
            each(sink, elements::CHOOSE.to_owned(), &inputs.iter().collect::<Vec<_>>(), out, after(&[], places))?;
        }
        Op::QuantizeLinear { axis } | Op::DequantizeLinear { axis } => {
            let body = match op {
                Op::QuantizeLinear { .. } => elements::quantize(out.of.dtype),
                _ => elements::DEQUANTIZE.to_owned(),
            };
            let axis = usize::from(*axis);
            let params = match inputs[1].of.shape.dims() {
                [len] => vec![product(&dims[axis + 1..]), *len],
                _ => vec![1, 1],
            };
            each(sink, body, &inputs.iter().collect::<Vec<_>>(), out, params)?;
        }
        Op::MatMul => matmul(sink, choice, [x, &inputs[1]], out)?,
        Op::MatMulInteger { a_zero, b_zero } => integers(sink, choice, [x, &inputs[1]], [*a_zero, *b_zero], out)?,
        Op::Gemm { alpha, beta, transpose_a, transpose_b } => {
            let raw = sink.value(out.of.clone())?;
            let sizes = out.of.shape.dims();
            let inner = if *transpose_a { dims[0] } else { dims[1] };
            let steps = [turned(sizes[0], inner, *transpose_a), turned(inner, sizes[1], *transpose_b)];
            let params = ProductParams {
                rows: sizes[0],
                columns: sizes[1],
                inner,
                steps,
                conv: false,
                rest: places(&[], &[vec![], vec![]]),
                stacks: 1,
            };
            floats(sink, choice, [x, &inputs[1]], None, &raw, &params)?;
            match inputs.get(2) {
                None => each(sink, elements::GEMM.to_owned(), &[&raw], out, vec![alpha.0, beta.0])?,
                Some(addend) => {
                    let places = broadcast(&out.of.shape, &[&addend.of.shape]);
                    let params = after(&[alpha.0, beta.0], places);
                    each(sink, elements::GEMM_ADD.to_owned(), &[&raw, addend], out, params)?;
                }
            }
        }
        Op::Conv { window, groups } => conv(sink, choice, inputs, window, *groups, out)?,
        Op::Attention { scale } => attention(sink, choice, inputs, scale.0, out)?,
        Op::RotaryEmbedding { interleaved } => {
            let [.., len, width] = *dims else { unreachable!("checked") };
            let params = vec![width, width / 2, len, u32::from(*interleaved)];
            each(sink, elements::ROTARY.to_owned(), &inputs.iter().collect::<Vec<_>>(), out, params)?;
        }
        Op::Softmax { axis } => softmax(sink, x, usize::from(*axis), out)?,
        Op::LayerNormalization { axis, epsilon } | Op::RmsNormalization { axis, epsilon } => {
            let (lines, len) = dims.split_at(usize::from(*axis));
            let (lines, len) = (product(lines), product(len));
            sink.dispatch(Dispatch {
                kind: Kind::Norm { centred: matches!(op, Op::LayerNormalization { .. }) },
                inputs: inputs.iter().collect(),
                outputs: vec![out],
                count: lines,
                params: vec![len, epsilon.0],
                groups: lines.into(),
                cost: u64::from(len) * 200 + 1000,
            })?;
        }
        Op::ReduceSum { axes, .. }
        | Op::ReduceMean { axes, .. }
        | Op::ReduceMax { axes, .. }
        | Op::ReduceMin { axes, .. } => reduce(sink, op, x, axes, out)?,
        Op::ArgMax { axis, .. } => pick(sink, x, usize::from(*axis), 1, true, &[out])?,
        Op::TopK { axis, k, largest } => {
            pick(sink, x, usize::from(*axis), *k, *largest, &[out, &made[1]])?;
        }
        Op::MaxPool(window) => pool(sink, "pooled max", x, window, out)?,
        Op::AveragePool { window, count_padding: false } => pool(sink, "pooled mean", x, window, out)?,
        Op::AveragePool { window, .. } => pool(sink, "pooled mean with padding", x, window, out)?,
        Op::Gather { axis } => {
            let axis = usize::from(*axis);
            let params = vec![dims[axis], product(&dims[axis + 1..]), count(&inputs[1].of)];
            each(sink, elements::GATHER.to_owned(), &[x, &inputs[1]], out, params)?;
        }
        Op::Concat { axis } => {
            let axis = usize::from(*axis);
            let mut start = 0;
            for input in inputs {
                let len = input.of.shape.dims()[axis];
                let inner = product(&out.of.shape.dims()[axis + 1..]);
                if count(&input.of) > 0 {
                    some(
                        sink,
                        Kind::Each { element: elements::CONCAT.to_owned(), present: Some(elements::CONCAT_PRESENT) },
                        &[input],
                        out,
                        vec![start, len, inner, out.of.shape.dims()[axis]],
                    )?;
                }
                start += len;
            }
        }
        Op::Slice { starts, steps, .. } => {
            let strides = strides(dims);
            let first: u32 = starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
            let along: Vec<u32> = steps.iter().zip(&strides).map(|(step, stride)| step.wrapping_mul(*stride)).collect();
            let places = places(out.of.shape.dims(), &[along]);
            each(sink, elements::STEPS.to_owned(), &[x], out, after(&[first], places))?;
        }
        Op::Transpose { order } => {
            let strides = strides(dims);
            let along: Vec<u32> = order.iter().map(|axis| strides[usize::from(*axis)]).collect();
            let places = places(out.of.shape.dims(), &[along]);
            each(sink, elements::STEPS.to_owned(), &[x], out, after(&[0], places))?;
        }
        Op::Pad { before, value, .. } => {
            let mut params = vec![value.0, 0, 0, u32::try_from(dims.len()).expect("at most eight axes")];
            params.extend(out.of.shape.dims());
            params.extend(before);
            params.extend(dims);
            each(sink, elements::PAD.to_owned(), &[x], out, params)?;
        }
        Op::Reshape { .. } => unreachable!("done before"),
    }
    Ok(made)
}

fn each<S: Sink>(
    sink: &mut S,
    element: String,
    inputs: &[&Value],
    out: &Value,
    params: Vec<u32>,
) -> Result<(), S::Error> {
    some(sink, Kind::Each { element, present: None }, inputs, out, params)
}

fn some<S: Sink>(sink: &mut S, kind: Kind, inputs: &[&Value], out: &Value, params: Vec<u32>) -> Result<(), S::Error> {
    by_words(sink, kind, inputs, out, params, 100)
}

/// With so many steps of each thread, which makes one word.
fn by_words<S: Sink>(
    sink: &mut S,
    kind: Kind,
    inputs: &[&Value],
    out: &Value,
    params: Vec<u32>,
    steps: u64,
) -> Result<(), S::Error> {
    sink.dispatch(Dispatch {
        kind,
        inputs: inputs.to_vec(),
        outputs: vec![out],
        count: count(&out.of),
        params,
        groups: out.of.bytes().div_ceil(4 * 64),
        cost: 64 * steps,
    })
}

fn check<S: Sink>(sink: &mut S, indices: &Value, len: u32, node: u32) -> Result<(), S::Error> {
    let count = count(&indices.of);
    if count == 0 {
        return Ok(());
    }
    sink.dispatch(Dispatch {
        kind: Kind::Check,
        inputs: vec![indices],
        outputs: vec![],
        count,
        params: vec![len, node],
        groups: u64::from(count).div_ceil(64),
        cost: 64 * 10,
    })
}

/// Lengths and steps of the two factors of a product.
struct ProductParams {
    rows: u32,
    columns: u32,
    inner: u32,
    /// Of `a` along rows and inner, of `b` along inner and columns.
    steps: [[u32; 2]; 2],
    /// Whether the right factor is what a window sees.
    conv: bool,
    /// What follows: how the stacks lie, or how the window does.
    rest: Vec<u32>,
    stacks: u32,
}

/// Steps along the rows and columns of a matrix that is stored as it is, or turned.
const fn turned(rows: u32, columns: u32, flip: bool) -> [u32; 2] {
    if flip { [1, rows] } else { [columns, 1] }
}

fn matmul<S: Sink>(sink: &mut S, choice: &Choice, [a, b]: [&Value; 2], out: &Value) -> Result<(), S::Error> {
    let params = product_of([&a.of.shape, &b.of.shape], &out.of.shape, false);
    floats(sink, choice, [a, b], None, out, &params)
}

/// Of stacks of matrices, the right ones turned or not.
fn product_of([a, b]: [&Shape; 2], out: &Shape, flip_b: bool) -> ProductParams {
    let (outer, [rows, columns]) = out.dims().split_last_chunk::<2>().expect("a product has two axes");
    let inner = a.dims()[a.rank() - 1];
    let stack = |shape: &Shape| Shape::new(&shape.dims()[..shape.rank() - 2]).expect("a part of a shape");
    let outer = Shape::new(outer).expect("a part of a shape");
    let sizes = [rows * inner, inner * columns];
    let along: Vec<Vec<u32>> = [stack(a), stack(b)]
        .iter()
        .zip(sizes)
        .map(|(stack, size)| stretched(&outer, stack).into_iter().map(|step| step * size).collect())
        .collect();
    ProductParams {
        rows: *rows,
        columns: *columns,
        inner,
        steps: [turned(*rows, inner, false), turned(inner, *columns, flip_b)],
        conv: false,
        rest: places(outer.dims(), &along),
        stacks: product(outer.dims()),
    }
}

fn floats<S: Sink>(
    sink: &mut S,
    choice: &Choice,
    factors: [&Value; 2],
    bias: Option<&Value>,
    out: &Value,
    params: &ProductParams,
) -> Result<(), S::Error> {
    let mac = if factors[0].of.dtype == Dtype::F16 { choice.f16 } else { choice.f32 };
    let mac = mac.expect("the capability is there");
    let mut inputs = factors.to_vec();
    inputs.extend(bias);
    let size = tile_size(params.rows, params.columns);
    let tiles = [params.rows.div_ceil(16 * size), params.columns.div_ceil(16 * size)];
    let groups = u64::from(params.stacks) * u64::from(tiles[0]) * u64::from(tiles[1]);
    let step = sink.inner_max().max(1);
    let mut first = 0u32;
    loop {
        let end = first.saturating_add(step).min(params.inner);
        let [[a_row, a_inner], [b_inner, b_column]] = params.steps;
        let mut list = vec![params.rows, params.columns, first, end, params.inner, tiles[0], tiles[1]];
        list.extend([a_row, a_inner, b_inner, b_column]);
        // From P[16] for a convolution, from P[18] otherwise.
        if !params.conv {
            list.extend([0, 0]);
        }
        list.extend(&params.rest);
        sink.dispatch(Dispatch {
            kind: Kind::Product { mac, conv: params.conv, bias: bias.is_some(), size },
            inputs: inputs.clone(),
            outputs: vec![out],
            count: u32::try_from(groups).expect("fewer groups than elements"),
            params: list,
            groups,
            cost: u64::from(end - first + 16) * u64::from(256 * size * size),
        })?;
        first = end;
        if first == params.inner {
            return Ok(());
        }
    }
}

/// Results of a thread along each side of its tile.
const fn tile_size(rows: u32, columns: u32) -> u32 {
    match (rows, columns) {
        (256.., 256..) => 8,
        (33.., 33..) => 4,
        _ => 2,
    }
}

fn integers<S: Sink>(
    sink: &mut S,
    choice: &Choice,
    factors: [&Value; 2],
    zeros: [i32; 2],
    out: &Value,
) -> Result<(), S::Error> {
    let params = product_of([&factors[0].of.shape, &factors[1].of.shape], &out.of.shape, false);
    let size = tile_size(params.rows, params.columns);
    let tiles = [params.rows.div_ceil(16 * size), params.columns.div_ceil(16 * size)];
    let groups = u64::from(params.stacks) * u64::from(tiles[0]) * u64::from(tiles[1]);
    let [[a_row, a_inner], [b_inner, b_column]] = params.steps;
    let mut list = vec![params.rows, params.columns, 0, params.inner, params.inner, tiles[0], tiles[1]];
    list.extend([a_row, a_inner, b_inner, b_column]);
    for (zero, factor) in zeros.into_iter().zip(factors) {
        let less = if factor.of.dtype == Dtype::U8 { 128 } else { 0 };
        list.push((zero - less).cast_unsigned());
    }
    list.extend(&params.rest);
    sink.dispatch(Dispatch {
        kind: Kind::Bytes { dot: choice.i8.expect("the capability is there"), size },
        inputs: factors.to_vec(),
        outputs: vec![out],
        count: u32::try_from(groups).expect("fewer groups than elements"),
        params: list,
        groups,
        cost: u64::from(params.inner + 32) * u64::from(64 * size * size),
    })
}

/// Parameters of a window over one or two axes, from P[16] on.
fn space(x: &[u32], places: &[u32], window: &Window) -> Vec<u32> {
    let two = |list: &[u32], missing: u32| match *list {
        [one] => [missing, one],
        [one, other] => [one, other],
        _ => unreachable!("checked as one or two axes"),
    };
    [
        two(&x[2..], 1),
        two(&places[2..], 1),
        two(&window.kernel, 1),
        two(&window.strides, 1),
        two(&window.dilations, 1),
        two(&window.before, 0),
    ]
    .concat()
}

fn conv<S: Sink>(
    sink: &mut S,
    choice: &Choice,
    inputs: &[Value],
    window: &Window,
    groups: u32,
    out: &Value,
) -> Result<(), S::Error> {
    let [x, weights] = [&inputs[0], &inputs[1]];
    let [dims, kernel, places] = [x, weights, out].map(|value| value.of.shape.dims());
    let params = ProductParams {
        rows: kernel[0] / groups,
        columns: product(&places[2..]),
        inner: product(&kernel[1..]),
        steps: [[0; 2]; 2],
        conv: true,
        rest: [space(dims, places, window), vec![groups, kernel[1]]].concat(),
        stacks: dims[0] * groups,
    };
    floats(sink, choice, [weights, x], inputs.get(2), out, &params)
}

/// The composition that defines it, each step a kernel.
fn attention<S: Sink>(
    sink: &mut S,
    choice: &Choice,
    inputs: &[Value],
    scale: u32,
    out: &Value,
) -> Result<(), S::Error> {
    let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
    let [queries, keys] = [q, k].map(|value| value.of.shape.dims());
    // As the product broadcasts its outer axes.
    let rank = queries.len().max(keys.len());
    let axis = |dims: &[u32], at: usize| (at + dims.len()).checked_sub(rank).map_or(1, |at| dims[at]);
    let mut shape: Vec<u32> = (0..rank - 2)
        .map(|at| match [axis(queries, at), axis(keys, at)] {
            [1, other] | [other, _] => other,
        })
        .collect();
    shape.extend([queries[queries.len() - 2], keys[keys.len() - 2]]);
    let of = TensorType::new(Dtype::F32, &shape).expect("checked as a whole");
    if of.shape.elements() > 0 {
        let (scores, scaled, weights) = (sink.value(of.clone())?, sink.value(of.clone())?, sink.value(of.clone())?);
        floats(sink, choice, [q, k], None, &scores, &product_of([&q.of.shape, &k.of.shape], &of.shape, true))?;
        match inputs.get(3) {
            None => each(sink, elements::SCORES.to_owned(), &[&scores], &scaled, vec![scale])?,
            Some(mask) => {
                let params = after(&[scale], broadcast(&of.shape, &[&mask.of.shape]));
                each(sink, elements::SCORES_MASK.to_owned(), &[&scores, mask], &scaled, params)?;
            }
        }
        drop(scores);
        softmax(sink, &scaled, rank - 1, &weights)?;
        return matmul(sink, choice, [&weights, v], out);
    }
    let weights = sink.value(of)?;
    matmul(sink, choice, [&weights, v], out)
}

fn softmax<S: Sink>(sink: &mut S, x: &Value, axis: usize, out: &Value) -> Result<(), S::Error> {
    let [outer, len, inner] = axes(x.of.shape.dims(), axis);
    sink.dispatch(Dispatch {
        kind: Kind::Softmax,
        inputs: vec![x],
        outputs: vec![out],
        count: outer * inner,
        params: vec![len, inner],
        groups: u64::from(outer) * u64::from(inner),
        cost: u64::from(len) * 300 + 1000,
    })
}

fn reduce<S: Sink>(sink: &mut S, op: &Op, x: &Value, axes: &[u8], out: &Value) -> Result<(), S::Error> {
    let how = match op {
        Op::ReduceSum { .. } => Reduction::Sum,
        Op::ReduceMean { .. } => Reduction::Mean,
        Op::ReduceMax { .. } => Reduction::Max,
        _ => Reduction::Min,
    };
    let dims = x.of.shape.dims();
    let steps = strides(dims);
    let goes = |axis: usize| axes.is_empty() || axes.iter().any(|given| usize::from(*given) == axis);
    let told = |wanted: bool| -> Vec<u32> {
        let chosen: Vec<usize> = (0..dims.len()).filter(|axis| goes(*axis) == wanted).collect();
        places(
            &chosen.iter().map(|axis| dims[*axis]).collect::<Vec<_>>(),
            &[chosen.iter().map(|axis| steps[*axis]).collect()],
        )
    };
    let members: u32 = product(&(0..dims.len()).filter(|axis| goes(*axis)).map(|axis| dims[axis]).collect::<Vec<_>>());
    let (stay, go) = (told(false), told(true));
    let first = 8;
    let mut params = vec![members, first, first + u32::try_from(stay.len()).expect("a few")];
    params.extend(&stay);
    params.extend(&go);
    let groups = count(&out.of);
    sink.dispatch(Dispatch {
        kind: Kind::Reduce(how),
        inputs: vec![x],
        outputs: vec![out],
        count: groups,
        params,
        groups: groups.into(),
        cost: u64::from(members) * 50 + 1000,
    })
}

/// Most steps of one dispatch of [`pick`], so that a long line with many rounds is no single long one.
const PICK_STEPS: u64 = 1 << 26;

fn pick<S: Sink>(
    sink: &mut S,
    x: &Value,
    axis: usize,
    rounds: u32,
    largest: bool,
    outputs: &[&Value],
) -> Result<(), S::Error> {
    let [outer, len, inner] = axes(x.of.shape.dims(), axis);
    let at_once = u32::try_from((PICK_STEPS / u64::from(len.max(1))).max(1)).unwrap_or(u32::MAX);
    let mut first = 0u32;
    while first < rounds {
        let end = first.saturating_add(at_once).min(rounds);
        sink.dispatch(Dispatch {
            kind: Kind::Pick { values: outputs.len() == 2 },
            inputs: vec![x],
            outputs: outputs.to_vec(),
            count: outer * inner,
            params: vec![len, inner, first, end, rounds, u32::from(largest)],
            groups: u64::from(outer) * u64::from(inner),
            cost: u64::from(len + 100) * u64::from(end - first) * 10,
        })?;
        first = end;
    }
    Ok(())
}

/// Most elements under a window of one dispatch: a thread meets them one after the other, so a large window is no single
/// long dispatch.
const POOL_MEMBERS: u32 = 1 << 14;

fn pool<S: Sink>(sink: &mut S, which: &str, x: &Value, window: &Window, out: &Value) -> Result<(), S::Error> {
    let dims = x.of.shape.dims();
    // Padding is not walked through.
    let members: u32 = window.kernel.iter().zip(&dims[2..]).map(|(kernel, dim)| kernel.min(dim)).product();
    let space = space(dims, out.of.shape.dims(), window);
    let step = sink.inner_max().clamp(1, POOL_MEMBERS);
    let mut first = 0u32;
    while first < members {
        let end = first.saturating_add(step).min(members);
        let mut params = vec![first, end, u32::from(end == members)];
        params.resize(11, 0);
        params.extend(&space);
        let kind = Kind::Each { element: which.to_owned(), present: None };
        by_words(sink, kind, &[x], out, params, 100 + 20 * u64::from(end - first))?;
        first = end;
    }
    Ok(())
}

fn count(of: &TensorType) -> u32 {
    u32::try_from(of.shape.elements()).expect("a tensor has fewer than 2^31 elements")
}

fn product(dims: &[u32]) -> u32 {
    dims.iter().product()
}

/// Elements outside of an axis, along it, inside of it.
fn axes(dims: &[u32], axis: usize) -> [u32; 3] {
    [product(&dims[..axis]), dims[axis], product(&dims[axis + 1..])]
}

/// Steps from one element to the next along each axis.
fn strides(dims: &[u32]) -> Vec<u32> {
    let mut step = 1u32;
    let mut steps: Vec<u32> = dims
        .iter()
        .rev()
        .map(|dim| {
            let here = step;
            step = step.wrapping_mul(*dim);
            here
        })
        .collect();
    steps.reverse();
    steps
}

/// Steps through an operand along the axes of a result that it is stretched to.
fn stretched(to: &Shape, operand: &Shape) -> Vec<u32> {
    let own = strides(operand.dims());
    let missing = to.rank() - operand.rank();
    (0..to.rank())
        .map(|axis| match axis.checked_sub(missing) {
            Some(axis) if operand.dims()[axis] != 1 => own[axis],
            _ => 0,
        })
        .collect()
}

/// Where elements of broadcast operands lie, for `place` in `kernels/index.wgsl`.
fn broadcast(to: &Shape, operands: &[&Shape]) -> Vec<u32> {
    places(to.dims(), &operands.iter().map(|operand| stretched(to, operand)).collect::<Vec<_>>())
}

/// Lengths of axes, then the steps of each operand along them. Axes that lie behind one another in all operands are told as
/// one, axes of length 1 not at all.
fn places(dims: &[u32], steps: &[Vec<u32>]) -> Vec<u32> {
    let mut lengths: Vec<u32> = Vec::new();
    let mut along: Vec<Vec<u32>> = vec![Vec::new(); steps.len()];
    for (axis, dim) in dims.iter().enumerate().filter(|(_, dim)| **dim != 1) {
        let joins = !lengths.is_empty()
            && along.iter().zip(steps).all(|(along, steps)| along.last() == Some(&steps[axis].wrapping_mul(*dim)));
        if joins {
            *lengths.last_mut().expect("not empty") *= dim;
            for (along, steps) in along.iter_mut().zip(steps) {
                *along.last_mut().expect("not empty") = steps[axis];
            }
        } else {
            lengths.push(*dim);
            for (along, steps) in along.iter_mut().zip(steps) {
                along.push(steps[axis]);
            }
        }
    }
    let mut list = vec![u32::try_from(lengths.len()).expect("at most eight axes")];
    list.extend(lengths);
    list.extend(along.concat());
    list
}

/// Parameters from P[5] on, with `places` from P[8] on.
fn after(first: &[u32], places: Vec<u32>) -> Vec<u32> {
    let mut params = first.to_vec();
    params.resize(3, 0);
    params.extend(places);
    params
}
