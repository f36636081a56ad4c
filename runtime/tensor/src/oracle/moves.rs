//! Operations that move elements and keep their bits (`spec/09-tensor.md`, section 9.5.5).

use super::{
    index::{Axis, each},
    pick,
};
use crate::{Data, Tensor};
use samebit_spec::tensor::{Shape, TensorError, strides};

pub(super) fn gather(x: &Tensor, indices: &Tensor, axis: usize) -> Result<Data, TensorError> {
    let axis = Axis::of(&x.of().shape, axis);
    let len = u32::try_from(axis.len).expect("an axis is shorter than 2^31");
    let picked = picked(indices.integers(), len)?;
    let picked = &picked;
    let offsets = (0..axis.outer).flat_map(|outer| {
        picked.iter().flat_map(move |at| {
            let start = (outer * axis.len + at) * axis.inner;
            start..start + axis.inner
        })
    });
    Ok(pick(x, offsets))
}

/// Indices counted from the end brought to the front, each inside the axis.
fn picked(indices: &[i32], len: u32) -> Result<Vec<usize>, TensorError> {
    indices.iter().enumerate().map(|(position, index)| inside(position, *index, len)).collect()
}

/// Whether every index is inside the axis.
pub(crate) fn check(indices: &[i32], len: u32) -> Result<(), TensorError> {
    indices.iter().enumerate().try_for_each(|(position, index)| inside(position, *index, len).map(|_| ()))
}

fn inside(position: usize, index: i32, len: u32) -> Result<usize, TensorError> {
    let from_front = i64::from(index) + if index < 0 { i64::from(len) } else { 0 };
    usize::try_from(from_front).ok().filter(|at| *at < len as usize).ok_or(TensorError::Index {
        op: "Gather",
        index,
        position: position as u64,
        len,
    })
}

pub(super) fn concat(inputs: &[&Tensor], axis: usize) -> Data {
    let axes: Vec<Axis> = inputs.iter().map(|input| Axis::of(&input.of().shape, axis)).collect();
    macro_rules! join {
        ($kind:ident) => {{
            let mut joined = Vec::new();
            for outer in 0..axes[0].outer {
                for (input, axis) in inputs.iter().zip(&axes) {
                    let Data::$kind(data) = input.data() else { unreachable!("checked as one type") };
                    let run = axis.len * axis.inner;
                    joined.extend_from_slice(&data[outer * run..(outer + 1) * run]);
                }
            }
            Data::$kind(joined)
        }};
    }
    match inputs[0].data() {
        Data::F32(_) => join!(F32),
        Data::F16(_) => join!(F16),
        Data::I32(_) => join!(I32),
        Data::I8(_) => join!(I8),
        Data::U8(_) => join!(U8),
    }
}

pub(super) fn slice(x: &Tensor, starts: &[u32], steps: &[u32], shape: &Shape) -> Data {
    let lengths = strides(&x.of().shape);
    pick(
        x,
        each(shape).map(|index| {
            (0..index.len())
                .map(|axis| (starts[axis] as usize + index[axis] * steps[axis] as usize) * lengths[axis])
                .sum()
        }),
    )
}

pub(super) fn transpose(x: &Tensor, order: &[u8], shape: &Shape) -> Data {
    let lengths = strides(&x.of().shape);
    let offset = |index: Vec<usize>| index.iter().zip(order).map(|(at, axis)| at * lengths[usize::from(*axis)]).sum();
    pick(x, each(shape).map(offset))
}

pub(super) fn pad(x: &Tensor, before: &[u32], value: u32, shape: &Shape) -> Data {
    let lengths = strides(&x.of().shape);
    let dims = x.dims();
    let place = |index: Vec<usize>| {
        let mut offset = 0;
        for (axis, at) in index.into_iter().enumerate() {
            let inside = at.checked_sub(before[axis] as usize).filter(|at| *at < dims[axis] as usize)?;
            offset += inside * lengths[axis];
        }
        Some(offset)
    };
    macro_rules! fill {
        ($kind:ident, $data:ident, $value:expr) => {{
            let value = $value;
            Data::$kind(each(shape).map(|index| place(index).map_or(value, |at| $data[at])).collect())
        }};
    }
    let [low, next, ..] = value.to_le_bytes();
    match x.data() {
        Data::F32(data) => fill!(F32, data, f32::from_bits(value)),
        Data::F16(data) => fill!(F16, data, u16::from_le_bytes([low, next])),
        Data::I32(data) => fill!(I32, data, value.cast_signed()),
        Data::I8(data) => fill!(I8, data, low.cast_signed()),
        Data::U8(data) => fill!(U8, data, low),
    }
}
