//! Convolution as a product: each window becomes a column, in the order in which the spec sums it.

use super::{Level, elementwise, gemm};
use crate::{Data, Tensor};
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType, Window};

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
    for (at, made) in made.chunks_exact_mut(own * area).enumerate() {
        let (batch, group) = (at / groups, at % groups);
        let first = (batch * channels + group * depth) * plane;
        let columns = space.columns(&x.floats()[first..first + depth * plane], depth);
        let columns = gemm::Columns::new(level, &columns, inner, area, false);
        let rows = &weights.floats()[group * own * inner..(group + 1) * own * inner];
        gemm::multiply(level, rows, &columns, made);
    }
    let Some(bias) = inputs.get(2) else { return Data::F32(made) };
    let product = Tensor::made(TensorType { dtype: Dtype::F32, shape: shape.clone() }, Data::F32(made));
    // A bias for each map stretches over space.
    let mut dims = vec![1; shape.rank() - 1];
    dims[0] = bias.dims()[0];
    let stretched = TensorType { dtype: Dtype::F32, shape: Shape::new(&dims).expect("the same elements") };
    elementwise::two(level, &Op::Add, &product, &Tensor::made(stretched, bias.data().clone()), shape)
}

/// A window over one or two axes, as two: a missing one has length 1.
struct Space {
    dims: [usize; 2],
    places: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    before: [usize; 2],
}

impl Space {
    fn new(window: &Window, dims: &[u32], places: &[u32]) -> Self {
        let two = |list: &[u32], missing: usize| match *list {
            [one] => [missing, one as usize],
            [one, other] => [one as usize, other as usize],
            _ => unreachable!("checked as one or two axes"),
        };
        Self {
            dims: two(dims, 1),
            places: two(places, 1),
            kernel: two(&window.kernel, 1),
            strides: two(&window.strides, 1),
            dilations: two(&window.dilations, 1),
            before: two(&window.before, 0),
        }
    }

    /// `[depth * kernel, places]`: the element that each place of the kernel meets at each place of the result, `+0` in
    /// the padding.
    fn columns(&self, data: &[f32], depth: usize) -> Vec<f32> {
        let area: usize = self.places.iter().product();
        let mut columns = vec![0.0; depth * self.kernel[0] * self.kernel[1] * area];
        let mut rows = columns.chunks_exact_mut(self.places[1]);
        for plane in data.chunks_exact(self.dims[0] * self.dims[1]).take(depth) {
            for (high, wide) in (0..self.kernel[0]).flat_map(|high| (0..self.kernel[1]).map(move |wide| (high, wide))) {
                for line in 0..self.places[0] {
                    let row = rows.next().expect("a row for each place");
                    let Some(y) = self.inside(0, line, high) else { continue };
                    let source = &plane[y * self.dims[1]..(y + 1) * self.dims[1]];
                    for (place, to) in row.iter_mut().enumerate() {
                        if let Some(x) = self.inside(1, place, wide) {
                            *to = source[x];
                        }
                    }
                }
            }
        }
        columns
    }

    fn inside(&self, axis: usize, place: usize, at: usize) -> Option<usize> {
        let padded = place * self.strides[axis] + at * self.dilations[axis];
        padded.checked_sub(self.before[axis]).filter(|at| *at < self.dims[axis])
    }
}
