//! Convolution as a product: each window becomes a column, in the order in which the spec sums it.

use super::{
    Level, elementwise,
    gemm::{self, Matrix, Right},
};
use crate::{Data, Tensor, space::Space};
use core::ops::Range;
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType, Window};

/// Most elements of columns at a time: a small input may have far more windows than elements.
const COLUMNS_MAX: usize = 1 << 20;

pub(super) fn conv(level: Level, inputs: &[&Tensor], window: &Window, groups: usize, shape: &Shape) -> Data {
    let [x, weights] = [inputs[0], inputs[1]];
    let (channels, depth, maps) = (x.dims()[1] as usize, weights.dims()[1] as usize, weights.dims()[0] as usize);
    let space = Space::new(window, &x.dims()[2..], &shape.dims()[2..]);
    let inner = depth * space.kernel.iter().product::<usize>();
    let mut made = vec![0.0; usize::try_from(shape.elements()).expect("below 2^31")];
    let plane = space.dims.iter().product::<usize>();
    let area = space.places.iter().product::<usize>();
    if made.is_empty() {
        return Data::F32(made);
    }
    let own = maps / groups;
    let step = (COLUMNS_MAX / inner.max(1)).clamp(1, area);
    for (at, made) in made.chunks_exact_mut(own * area).enumerate() {
        let (batch, group) = (at / groups, at % groups);
        let first = (batch * channels + group * depth) * plane;
        let rows = &weights.floats()[group * own * inner..(group + 1) * own * inner];
        for start in (0..area).step_by(step) {
            let count = step.min(area - start);
            let columns = space.columns(&x.floats()[first..first + depth * plane], depth, start..start + count);
            let matrix = Matrix { data: &columns, k: inner, n: count, turned: false };
            let mut part = vec![0.0; own * count];
            gemm::multiply(level, rows, Right::Given(&matrix), &mut part);
            for (to, from) in made.chunks_exact_mut(area).zip(part.chunks_exact(count)) {
                to[start..start + count].copy_from_slice(from);
            }
        }
    }
    let Some(bias) = inputs.get(2) else { return Data::F32(made) };
    let product = Tensor::made(TensorType { dtype: Dtype::F32, shape: shape.clone() }, Data::F32(made));
    // A bias for each map stretches over space.
    let mut dims = vec![1; shape.rank() - 1];
    dims[0] = bias.dims()[0];
    let stretched = TensorType { dtype: Dtype::F32, shape: Shape::new(&dims).expect("the same elements") };
    elementwise::two(level, &Op::Add, &product, &Tensor::made(stretched, bias.data().clone()), shape)
}

impl Space {
    /// `[channels * kernel, places]` for some of the places of the result: the element that each place of the kernel
    /// meets there, `+0` in the padding.
    fn columns(&self, data: &[f32], channels: usize, places: Range<usize>) -> Vec<f32> {
        let kernel = self.kernel[0] * self.kernel[1];
        let area = self.dims[0] * self.dims[1];
        let mut columns = vec![0.0; channels * kernel * places.len()];
        if area == 0 {
            // There is nothing but padding.
            return columns;
        }
        let mut rows = columns.chunks_exact_mut(places.len());
        for plane in data.chunks_exact(area) {
            for at in 0..kernel {
                let (high, wide) = (at / self.kernel[1], at % self.kernel[1]);
                let row = rows.next().expect("a row for each place of the kernel");
                for (to, place) in row.iter_mut().zip(places.clone()) {
                    let (line, place) = (place / self.places[1], place % self.places[1]);
                    let inside = self.inside(0, line, high).zip(self.inside(1, place, wide));
                    *to = inside.map_or(0.0, |(y, x)| plane[y * self.dims[1] + x]);
                }
            }
        }
        columns
    }
}
