//! Windows that slide over space (`spec/09-tensor.md`, section 9.5.4).

use super::{index::each, product::dot};
use crate::{Data, Tensor, number, space::Space};
use samebit_spec::tensor::{Shape, Window};

fn area(dims: [usize; 2]) -> usize {
    dims[0] * dims[1]
}

/// The place of an element of the result on both axes.
fn place(index: &[usize]) -> [usize; 2] {
    match *index {
        [one] => [0, one],
        [one, other] => [one, other],
        _ => unreachable!("checked as one or two axes"),
    }
}

/// Products in the order of channel, then window; the padding counts as `+0`.
pub(super) fn conv(inputs: &[&Tensor], window: &Window, groups: usize, shape: &Shape) -> Data {
    let [x, weights] = [inputs[0], inputs[1]];
    let space = Space::new(window, &x.dims()[2..], &shape.dims()[2..]);
    let (channels, depth) = (x.dims()[1] as usize, weights.dims()[1] as usize);
    let maps = weights.dims()[0] as usize;
    let kernel = area(space.kernel);
    let of = |index: Vec<usize>| {
        let (batch, map) = (index[0], index[1]);
        let [line, column] = place(&index[2..]);
        let first = map / (maps / groups) * depth;
        let factors = (0..depth * kernel).map(|at| {
            let (channel, at) = (at / kernel, at % kernel);
            let plane = (batch * channels + first + channel) * area(space.dims);
            let y = space.inside(0, line, at / space.kernel[1]);
            let x_at = space.inside(1, column, at % space.kernel[1]);
            let value = y.zip(x_at).map_or(0.0, |(y, at)| x.floats()[plane + y * space.dims[1] + at]);
            (weights.floats()[(map * depth + channel) * kernel + at], value)
        });
        let value = dot(factors);
        inputs.get(2).map_or(value, |bias| number::add(value, bias.floats()[map]))
    };
    Data::F32(each(shape).map(of).collect())
}

/// The elements of the window at `index`, in order, without padding.
fn members<'a>(x: &'a Tensor, space: &'a Space, index: &[usize]) -> impl Iterator<Item = f32> + 'a {
    let plane = (index[0] * x.dims()[1] as usize + index[1]) * area(space.dims);
    let [line, column] = place(&index[2..]);
    let of_line = move |high: usize| {
        let y = space.inside(0, line, high).expect("within");
        space.within(1, column).map(move |wide| {
            let at = space.inside(1, column, wide).expect("within");
            x.floats()[plane + y * space.dims[1] + at]
        })
    };
    space.within(0, line).flat_map(of_line)
}

pub(super) fn max_pool(x: &Tensor, window: &Window, shape: &Shape) -> Data {
    let space = Space::new(window, &x.dims()[2..], &shape.dims()[2..]);
    let of = |index: Vec<usize>| {
        members(x, &space, &index).map(number::canon).reduce(number::max).expect("padding is shorter than a window")
    };
    Data::F32(each(shape).map(of).collect())
}

/// Sum from `+0` in the order of the window, then one division.
pub(super) fn average_pool(x: &Tensor, window: &Window, count_padding: bool, shape: &Shape) -> Data {
    let space = Space::new(window, &x.dims()[2..], &shape.dims()[2..]);
    let of = |index: Vec<usize>| {
        let (mut total, mut count) = (0.0, 0);
        for value in members(x, &space, &index) {
            total += number::addend(value);
            count += 1;
        }
        let count = if count_padding { area(space.kernel) } else { count };
        number::div(total, super::along::count(count))
    };
    Data::F32(each(shape).map(of).collect())
}
