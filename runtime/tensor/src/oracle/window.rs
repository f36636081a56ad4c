//! Windows that slide over space (`spec/09-tensor.md`, section 9.5.4).

use super::{index::each, product::dot};
use crate::{Data, Tensor, number};
use samebit_spec::tensor::{Shape, Window};

/// Where element `at` of the window at `place` lies on the flat spatial axes; `None` in the padding.
fn offset(window: &Window, dims: &[u32], place: &[usize], at: &[usize]) -> Option<usize> {
    let mut flat = 0;
    for axis in 0..dims.len() {
        let padded = place[axis] * window.strides[axis] as usize + at[axis] * window.dilations[axis] as usize;
        let inside = padded.checked_sub(window.before[axis] as usize).filter(|at| *at < dims[axis] as usize)?;
        flat = flat * dims[axis] as usize + inside;
    }
    Some(flat)
}

fn area(dims: &[u32]) -> usize {
    dims.iter().map(|dim| *dim as usize).product()
}

/// A window's places, in row-major order.
fn places(window: &Window) -> Vec<Vec<usize>> {
    each(&Shape::new(&window.kernel).expect("a window of one or two axes")).collect()
}

/// Products in the order of channel, then window; the padding counts as `+0`.
pub(super) fn conv(inputs: &[&Tensor], window: &Window, groups: usize, shape: &Shape) -> Data {
    let [x, weights] = [inputs[0], inputs[1]];
    let dims = &x.dims()[2..];
    let (channels, depth) = (x.dims()[1] as usize, weights.dims()[1] as usize);
    let maps = weights.dims()[0] as usize;
    let places = places(window);
    let of = |index: Vec<usize>| {
        let (batch, map) = (index[0], index[1]);
        let first = map / (maps / groups) * depth;
        let factors = (0..depth).flat_map(|channel| {
            let plane = (batch * channels + first + channel) * area(dims);
            let row = (map * depth + channel) * places.len();
            let place = &index[2..];
            places.iter().enumerate().map(move |(at, within)| {
                let value = offset(window, dims, place, within).map_or(0.0, |at| x.floats()[plane + at]);
                (weights.floats()[row + at], value)
            })
        });
        let value = dot(factors);
        inputs.get(2).map_or(value, |bias| number::add(value, bias.floats()[map]))
    };
    Data::F32(each(shape).map(of).collect())
}

/// The elements of the window at `index`, in order, without padding.
fn members<'a>(
    x: &'a Tensor,
    window: &'a Window,
    places: &'a [Vec<usize>],
    index: &'a [usize],
) -> impl Iterator<Item = f32> + 'a {
    let dims = &x.dims()[2..];
    let plane = (index[0] * x.dims()[1] as usize + index[1]) * area(dims);
    let inside = move |at: &Vec<usize>| offset(window, dims, &index[2..], at).map(|at| x.floats()[plane + at]);
    places.iter().filter_map(inside)
}

pub(super) fn max_pool(x: &Tensor, window: &Window, shape: &Shape) -> Data {
    let places = places(window);
    let of = |index: Vec<usize>| {
        members(x, window, &places, &index)
            .map(number::canon)
            .reduce(number::max)
            .expect("padding is shorter than a window")
    };
    Data::F32(each(shape).map(of).collect())
}

/// Sum from `+0` in the order of the window, then one division.
pub(super) fn average_pool(x: &Tensor, window: &Window, count_padding: bool, shape: &Shape) -> Data {
    let places = places(window);
    let of = |index: Vec<usize>| {
        let (mut total, mut count) = (0.0, 0);
        for value in members(x, window, &places, &index) {
            total += number::addend(value);
            count += 1;
        }
        let count = if count_padding { places.len() } else { count };
        number::div(total, super::along::count(count))
    };
    Data::F32(each(shape).map(of).collect())
}
