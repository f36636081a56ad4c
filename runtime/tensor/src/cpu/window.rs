//! Windows. A convolution of many maps is a product: each window becomes a column, in the order in which the spec sums
//! it. All else goes line by line: for one place of the window, the elements that it meets along a line of the result.

use super::{
    Level, along, elementwise,
    gemm::{self, Finish, Matrix, Right},
    room,
    simd::leveled,
};
use crate::{Data, Halt, Tensor, number, space::Space};
use core::ops::Range;
use rayon::prelude::*;
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType, Window};

/// Most elements of columns at a time: a small input may have far more windows than elements.
const COLUMNS_MAX: usize = 1 << 20;

/// With fewer maps to a group a product is not worth its columns.
const NARROW_MAPS: usize = 4;

pub(super) fn conv(
    level: Level,
    halt: &Halt<'_>,
    inputs: &[&Tensor],
    window: &Window,
    groups: usize,
    shape: &Shape,
) -> Data {
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
    if own < NARROW_MAPS && plane > 0 {
        narrow(level, halt, inputs, &space, groups, &mut made);
        return biased(level, inputs, shape, made);
    }
    for (at, made) in made.chunks_exact_mut(own * area).enumerate() {
        let (batch, group) = (at / groups, at % groups);
        let first = (batch * channels + group * depth) * plane;
        let rows = &weights.floats()[group * own * inner..(group + 1) * own * inner];
        for start in (0..area).step_by(step) {
            if halt.asked() {
                break;
            }
            let count = step.min(area - start);
            let columns = space.columns(&x.floats()[first..first + depth * plane], depth, start..start + count);
            let matrix = Matrix { data: &columns, k: inner, n: count, turned: false };
            let mut part = vec![0.0; own * count];
            gemm::multiply(level, halt, rows, Right::Given(&matrix), Finish::NONE, &mut part);
            for (to, from) in made.chunks_exact_mut(area).zip(part.chunks_exact(count)) {
                to[start..start + count].copy_from_slice(from);
            }
        }
    }
    biased(level, inputs, shape, made)
}

fn biased(level: Level, inputs: &[&Tensor], shape: &Shape, made: Vec<f32>) -> Data {
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
        if area == 0 || places.is_empty() {
            // There is nothing but padding.
            return columns;
        }
        let mut rows = columns.chunks_exact_mut(places.len());
        for plane in data.chunks_exact(area) {
            for at in 0..kernel {
                let (high, wide) = (at / self.kernel[1], at % self.kernel[1]);
                let row = rows.next().expect("a row for each place of the kernel");
                let (run, first, step) = self.run(wide);
                let mut to = &mut row[..];
                let mut place = places.start;
                while !to.is_empty() {
                    // What is left of one line of places.
                    let (line, column) = (place / self.places[1], place % self.places[1]);
                    let len = to.len().min(self.places[1] - column);
                    let (now, later) = to.split_at_mut(len);
                    let within = run.start.clamp(column, column + len)..run.end.clamp(column, column + len);
                    if let Some(y) = self.inside(0, line, high).filter(|_| !within.is_empty()) {
                        let from = &plane[y * self.dims[1]..][..self.dims[1]];
                        let from = &from[first + (within.start - run.start) * step..];
                        let now = &mut now[within.start - column..within.end - column];
                        match step {
                            1 => now.copy_from_slice(&from[..now.len()]),
                            _ => now.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
                        }
                    }
                    (to, place) = (later, place + len);
                }
            }
        }
        columns
    }
}

leveled! {
    /// Adds `weight` times every `step`th element.
    fn accumulate(from: &[f32], step: usize, weight: f32, to: &mut [f32]) {
        if step == 1 {
            for (to, from) in to.iter_mut().zip(from) {
                *to += weight * *from;
            }
        } else {
            for (to, from) in to.iter_mut().zip(from.iter().step_by(step)) {
                *to += weight * *from;
            }
        }
    }
}

leveled! {
    fn factors(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = number::factor(*from);
        }
    }
}

/// A convolution of few maps to a group: each sum walks over its own channels, line after line.
fn narrow(level: Level, halt: &Halt<'_>, inputs: &[&Tensor], space: &Space, groups: usize, made: &mut [f32]) {
    let [x, weights] = [inputs[0], inputs[1]];
    let (channels, depth, maps) = (x.dims()[1] as usize, weights.dims()[1] as usize, weights.dims()[0] as usize);
    let plane = space.dims[0] * space.dims[1];
    let area = space.places[0] * space.places[1];
    let kernel = space.kernel[0] * space.kernel[1];
    let held = room::filled(x.floats().len(), room::STEP, |at, to| factors(level, &x.floats()[at..at + to.len()], to));
    made.par_chunks_exact_mut(area).enumerate().for_each(|(at, made)| {
        let (batch, map) = (at / maps, at % maps);
        let first = (batch * channels + map / (maps / groups) * depth) * plane;
        for (line, to) in made.chunks_exact_mut(space.places[1]).enumerate() {
            for channel in 0..depth {
                if halt.asked() {
                    return;
                }
                for at in 0..kernel {
                    let weight = number::factor(weights.floats()[(map * depth + channel) * kernel + at]);
                    let (run, start, step) = space.run(at % space.kernel[1]);
                    let y = space.inside(0, line, at / space.kernel[1]);
                    let run = if y.is_some() { run } else { 0..0 };
                    if !weight.is_finite() {
                        // In the padding it meets zeros.
                        to[..run.start].fill(f32::NAN);
                        to[run.end..].fill(f32::NAN);
                    }
                    if let Some(y) = y.filter(|_| !run.is_empty()) {
                        let from = &held[first + channel * plane + y * space.dims[1]..][..space.dims[1]];
                        accumulate(level, &from[start..], step, weight, &mut to[run]);
                    }
                }
            }
            to.iter_mut().for_each(|sum| *sum = number::canon(*sum));
        }
    });
}

leveled! {
    fn greatest(from: &[f32], step: usize, to: &mut [i32]) {
        if step == 1 {
            for (to, from) in to.iter_mut().zip(from) {
                *to = number::key(*from).max(*to);
            }
        } else {
            for (to, from) in to.iter_mut().zip(from.iter().step_by(step)) {
                *to = number::key(*from).max(*to);
            }
        }
    }
}

leveled! {
    fn add_all(from: &[f32], step: usize, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from.iter().step_by(step)) {
            *to += number::addend(*from);
        }
    }
}

/// Each line of the result: `act` gets its number within its plane, the plane's elements, and the line.
fn by_lines(x: &Tensor, space: &Space, shape: &Shape, act: impl Fn(usize, &[f32], &mut [f32]) + Sync) -> Data {
    let [plane, width] = [space.dims[0] * space.dims[1], space.places[1]];
    let elements = usize::try_from(shape.elements()).expect("below 2^31");
    let lines = (room::STEP / width).max(1);
    Data::F32(room::filled(elements, lines * width, |at, to| {
        for (line, to) in to.chunks_exact_mut(width).enumerate() {
            let line = at / width + line;
            let from = &x.floats()[line / space.places[0] * plane..][..plane];
            act(line % space.places[0], from, to);
        }
    }))
}

/// For each place of the window that lies inside at `line`, in row-major order: where its elements begin, the step from one
/// to the next, and which places of the line meet them.
fn parts(space: &Space, line: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> + '_ {
    space.within(0, line).flat_map(move |high| {
        let y = space.inside(0, line, high).expect("within");
        (0..space.kernel[1]).filter_map(move |wide| {
            let (run, start, step) = space.run(wide);
            (!run.is_empty()).then_some((y * space.dims[1] + start, step, run))
        })
    })
}

pub(super) fn max_pool(level: Level, halt: &Halt<'_>, x: &Tensor, window: &Window, shape: &Shape) -> Data {
    let space = Space::new(window, &x.dims()[2..], &shape.dims()[2..]);
    by_lines(x, &space, shape, |line, plane, to| {
        let mut keys = vec![i32::MIN; to.len()];
        for (start, step, run) in parts(&space, line).take_while(|_| !halt.asked()) {
            greatest(level, &plane[start..], step, &mut keys[run]);
        }
        for (to, key) in to.iter_mut().zip(keys) {
            *to = along::of_key(key);
        }
    })
}

pub(super) fn average_pool(
    level: Level,
    halt: &Halt<'_>,
    x: &Tensor,
    window: &Window,
    count_padding: bool,
    shape: &Shape,
) -> Data {
    let space = Space::new(window, &x.dims()[2..], &shape.dims()[2..]);
    let short = |len: usize| u32::try_from(len).expect("a window of fewer than 2^31 elements");
    let wide: Vec<u32> = (0..space.places[1]).map(|place| short(space.within(1, place).len())).collect();
    by_lines(x, &space, shape, |line, plane, to| {
        to.fill(0.0);
        for (start, step, run) in parts(&space, line).take_while(|_| !halt.asked()) {
            add_all(level, &plane[start..], step, &mut to[run]);
        }
        if count_padding {
            divide(level, &vec![short(space.kernel[1]); to.len()], short(space.kernel[0]), to);
        } else {
            divide(level, &wide, short(space.within(0, line).len()), to);
        }
    })
}

leveled! {
    /// Divides by the number of elements: `high` lines of as many as `wide` says.
    fn divide(wide: &[u32], high: u32, to: &mut [f32]) {
        for (to, wide) in to.iter_mut().zip(wide) {
            #[expect(clippy::cast_precision_loss, reason = "rounding is the rule")]
            let count = (*wide * high) as f32;
            *to = number::div(*to, count);
        }
    }
}
