//! Operations that move elements, by runs that lie together.

use crate::{Data, Tensor, oracle};
use samebit_spec::tensor::{Shape, TensorError, strides};

/// Starts of runs along the outer axes, in row-major order: for each index, `first` and `steps` apart.
fn starts(dims: &[usize], first: usize, steps: &[usize], mut act: impl FnMut(usize)) {
    let mut index = vec![0; dims.len()];
    let mut start = first;
    loop {
        act(start);
        let mut axis = dims.len();
        loop {
            let Some(next) = axis.checked_sub(1) else { return };
            axis = next;
            index[axis] += 1;
            start += steps[axis];
            if index[axis] < dims[axis] {
                break;
            }
            start -= steps[axis] * dims[axis];
            index[axis] = 0;
        }
    }
}

/// The same move of elements of any type.
macro_rules! each_type {
    ($data:expr, |$from:ident| $body:expr) => {
        match $data {
            Data::F32($from) => Data::F32($body),
            Data::F16($from) => Data::F16($body),
            Data::I32($from) => Data::I32($body),
            Data::I8($from) => Data::I8($body),
            Data::U8($from) => Data::U8($body),
        }
    };
}

pub(super) fn slice(x: &Tensor, first: &[u32], steps: &[u32], shape: &Shape) -> Data {
    let lengths = strides(&x.of().shape);
    let dims: Vec<usize> = shape.dims().iter().map(|len| *len as usize).collect();
    let start = first.iter().zip(&lengths).map(|(at, len)| *at as usize * len).sum();
    let strides: Vec<usize> = steps.iter().zip(&lengths).map(|(step, len)| *step as usize * len).collect();
    let elements = dims.iter().product();
    let (Some((len, outer)), Some((step, outer_steps))) = (dims.split_last(), strides.split_last()) else {
        return x.data().clone();
    };
    each_type!(x.data(), |from| {
        let mut to = Vec::with_capacity(elements);
        starts(outer, start, outer_steps, |start| match step {
            1 => to.extend_from_slice(&from[start..start + len]),
            _ => to.extend(from[start..].iter().step_by(*step).take(*len)),
        });
        to
    })
}

pub(super) fn pad(x: &Tensor, before: &[u32], value: u32, shape: &Shape) -> Data {
    let lengths = strides(shape);
    let dims: Vec<usize> = x.dims().iter().map(|len| *len as usize).collect();
    let start = before.iter().zip(&lengths).map(|(at, len)| *at as usize * len).sum();
    let elements = usize::try_from(shape.elements()).expect("below 2^31");
    let (len, outer, steps) = match (dims.split_last(), lengths.split_last()) {
        (Some((len, outer)), Some((_, steps))) => (*len, outer, steps),
        _ => return x.data().clone(),
    };
    macro_rules! fill {
        ($kind:ident, $from:ident, $value:expr) => {{
            let mut to = vec![$value; elements];
            if !$from.is_empty() {
                let mut rows = $from.chunks_exact(len);
                starts(outer, start, steps, |start| {
                    to[start..start + len].copy_from_slice(rows.next().expect("a row for each"));
                });
            }
            Data::$kind(to)
        }};
    }
    let [low, next, ..] = value.to_le_bytes();
    match x.data() {
        Data::F32(from) => fill!(F32, from, f32::from_bits(value)),
        Data::F16(from) => fill!(F16, from, u16::from_le_bytes([low, next])),
        Data::I32(from) => fill!(I32, from, value.cast_signed()),
        Data::I8(from) => fill!(I8, from, low.cast_signed()),
        Data::U8(from) => fill!(U8, from, low),
    }
}

pub(super) fn gather(x: &Tensor, indices: &Tensor, axis: usize) -> Result<Data, TensorError> {
    let dims = x.dims();
    let picked = indices.integers();
    oracle::check(picked, dims[axis])?;
    let len = i64::from(dims[axis]);
    let place = |index: &i32| usize::try_from(i64::from(*index).rem_euclid(len)).expect("inside the axis");
    let inner: usize = dims[axis + 1..].iter().map(|len| *len as usize).product();
    let outer: usize = dims[..axis].iter().map(|len| *len as usize).product();
    let run = dims[axis] as usize * inner;
    Ok(each_type!(x.data(), |from| {
        let mut to = Vec::with_capacity(outer * picked.len() * inner);
        for outer in 0..outer {
            let from = &from[outer * run..(outer + 1) * run];
            match inner {
                1 => to.extend(picked.iter().map(|at| from[place(at)])),
                _ => picked.iter().for_each(|at| to.extend_from_slice(&from[place(at) * inner..][..inner])),
            }
        }
        to
    }))
}

pub(super) fn transpose(x: &Tensor, order: &[u8], shape: &Shape) -> Data {
    each_type!(x.data(), |from| moved(from, &x.of().shape, order, shape))
}

/// The elements of a tensor of shape `own` under the axes in `order`, whose lengths are `shape`'s.
pub(super) fn moved<T: Copy + Default>(from: &[T], own: &Shape, order: &[u8], shape: &Shape) -> Vec<T> {
    let steps = strides(own);
    let axes: Vec<(usize, usize)> = order
        .iter()
        .zip(shape.dims())
        .map(|(axis, len)| (*len as usize, steps[usize::from(*axis)]))
        .filter(|(len, _)| *len != 1)
        .collect();
    if from.is_empty() {
        return Vec::new();
    }
    match *axes {
        [] => return from.to_vec(),
        [(columns, 1), (rows, step)] if step == columns => return turned(from, rows, columns),
        _ => {}
    }
    let (dims, strides): (Vec<usize>, Vec<usize>) = axes.into_iter().unzip();
    let (Some((len, outer)), Some((step, outer_steps))) = (dims.split_last(), strides.split_last()) else {
        unreachable!("some axes are left")
    };
    let mut to = Vec::with_capacity(from.len());
    starts(outer, 0, outer_steps, |start| match step {
        1 => to.extend_from_slice(&from[start..start + len]),
        _ => to.extend(from[start..].iter().step_by(*step).take(*len)),
    });
    to
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
