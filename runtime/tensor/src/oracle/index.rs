//! Walking over the elements of a tensor in row-major order.

use samebit_spec::tensor::{Shape, strides};

/// Every multi-index of `shape`, in row-major order.
pub(super) fn each(shape: &Shape) -> impl Iterator<Item = Vec<usize>> {
    let dims: Vec<usize> = shape.dims().iter().map(|dim| *dim as usize).collect();
    let count: usize = dims.iter().product();
    (0..count).map(move |flat| {
        let mut rest = flat;
        let mut index: Vec<usize> = dims
            .iter()
            .rev()
            .map(|dim| {
                let at = rest % dim;
                rest /= dim;
                at
            })
            .collect();
        index.reverse();
        index
    })
}

/// Where the element at `index` of a broadcast result lies in an operand of this shape.
pub(super) fn stretched(index: &[usize], shape: &Shape) -> usize {
    let skipped = index.len() - shape.rank();
    let steps = strides(shape);
    (0..shape.rank()).filter(|axis| shape.dims()[*axis] != 1).map(|axis| index[axis + skipped] * steps[axis]).sum()
}

/// An axis of a tensor with what lies outside and inside of it: `[outer, len, inner]`.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) outer: usize,
    pub(super) len: usize,
    pub(super) inner: usize,
}

impl Axis {
    pub(super) fn of(shape: &Shape, axis: usize) -> Self {
        let product = |dims: &[u32]| dims.iter().map(|dim| *dim as usize).product();
        let dims = shape.dims();
        Self { outer: product(&dims[..axis]), len: dims[axis] as usize, inner: product(&dims[axis + 1..]) }
    }

    /// Offsets of the elements of one line, in order. Lines are numbered in row-major order of what is outside and
    /// inside.
    pub(super) fn line(self, number: usize) -> impl Iterator<Item = usize> + Clone {
        let start = number / self.inner * self.len * self.inner + number % self.inner;
        (0..self.len).map(move |at| start + at * self.inner)
    }

    pub(super) fn lines(self) -> usize {
        self.outer * self.inner
    }
}
