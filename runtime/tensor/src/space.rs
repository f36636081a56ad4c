//! Windows over one or two spatial axes, in numbers.

use core::ops::Range;
use samebit_spec::tensor::Window;

/// A window over one or two axes, as two: a missing one has length 1.
pub(crate) struct Space {
    /// Lengths of the axes.
    pub(crate) dims: [usize; 2],
    /// Places of the window along them.
    pub(crate) places: [usize; 2],
    /// Lengths of the window.
    pub(crate) kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    before: [usize; 2],
}

impl Space {
    /// Of a window that was checked, over axes of these lengths, with as many places.
    pub(crate) fn new(window: &Window, dims: &[u32], places: &[u32]) -> Self {
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

    /// Where element `at` of the window at `place` lies on an axis; nowhere in the padding.
    pub(crate) fn inside(&self, axis: usize, place: usize, at: usize) -> Option<usize> {
        let padded = place * self.strides[axis] + at * self.dilations[axis];
        padded.checked_sub(self.before[axis]).filter(|at| *at < self.dims[axis])
    }

    /// The elements of the window at `place` that lie on an axis: which of the window, so that those in the padding cost
    /// nothing.
    pub(crate) fn within(&self, axis: usize, place: usize) -> Range<usize> {
        let start = place * self.strides[axis];
        let before = self.before[axis].saturating_sub(start);
        let end = (self.dims[axis] + self.before[axis]).saturating_sub(start);
        let [first, last] = [before, end].map(|reach| reach.div_ceil(self.dilations[axis]).min(self.kernel[axis]));
        first..last.max(first)
    }

    /// Along the last axis, for element `at` of the window: the places at which it lies inside, the element that it meets
    /// at the first of them, and the step from one to the next.
    pub(crate) fn run(&self, at: usize) -> (Range<usize>, usize, usize) {
        let (stride, reach, before) = (self.strides[1], at * self.dilations[1], self.before[1]);
        let first = before.saturating_sub(reach).div_ceil(stride).min(self.places[1]);
        let end = (self.dims[1] + before).saturating_sub(reach).div_ceil(stride).clamp(first, self.places[1]);
        (first..end, (first * stride + reach).saturating_sub(before), stride)
    }
}
