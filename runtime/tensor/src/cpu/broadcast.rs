//! Broadcast operands as rows: runs of the result along which each operand gives a run of the same length or one number.

use super::room;
use core::ops::Range;
use samebit_spec::tensor::{Shape, strides};

/// A broadcast result of `N` operands as rows.
pub(super) struct Rows<const N: usize> {
    /// Elements of a row.
    len: usize,
    elements: usize,
    /// Elements that each operand gives to a row: `len` or 1.
    taken: [usize; N],
    /// Outer axes, innermost last: length, and each operand's step.
    outer: Vec<(usize, [usize; N])>,
}

impl<const N: usize> Rows<N> {
    pub(super) fn of(shape: &Shape, operands: [&Shape; N]) -> Self {
        // Steps of the operands along each axis of the result, 0 where one stretches.
        let steps = operands.map(|operand| {
            let skipped = shape.rank() - operand.rank();
            let own = strides(operand);
            (0..shape.rank())
                .map(|axis| {
                    axis.checked_sub(skipped).filter(|axis| operand.dims()[*axis] != 1).map_or(0, |axis| own[axis])
                })
                .collect::<Vec<usize>>()
        });
        let step_of = |axis: usize| core::array::from_fn::<usize, N, _>(|of| steps[of][axis]);
        let mut axes: Vec<(usize, [usize; N])> = (0..shape.rank())
            .map(|axis| (shape.dims()[axis] as usize, step_of(axis)))
            .filter(|(len, _)| *len != 1)
            .collect();
        // Axes that all operands walk in one go become one row.
        let mut taken = [1; N];
        let mut len = 1;
        while let Some((dim, steps)) = axes.last().copied() {
            let goes_on = |of: usize| match steps[of] {
                0 => taken[of] == 1,
                step => step == len && taken[of] == len,
            };
            if !(0..N).all(goes_on) {
                break;
            }
            axes.pop();
            len *= dim;
            for of in 0..N {
                if steps[of] != 0 {
                    taken[of] = len;
                }
            }
        }
        Self { len, elements: usize::try_from(shape.elements()).expect("below 2^31"), taken, outer: axes }
    }

    fn offsets(&self, mut row: usize) -> [usize; N] {
        let mut offsets = [0; N];
        for (len, steps) in self.outer.iter().rev() {
            let at = row % len;
            row /= len;
            for (offset, step) in offsets.iter_mut().zip(steps) {
                *offset += at * step;
            }
        }
        offsets
    }

    /// The result: `act` makes some of its elements from as many of each operand, or from one.
    pub(super) fn made<R: Copy + Default + Send + Sync>(
        &self,
        act: impl Fn([Range<usize>; N], &mut [R]) + Sync,
    ) -> Vec<R> {
        room::filled(self.elements, room::STEP, |at, mut to| {
            let (mut row, mut column) = (at / self.len, at % self.len);
            while !to.is_empty() {
                let len = to.len().min(self.len - column);
                let (now, later) = to.split_at_mut(len);
                let offsets = self.offsets(row);
                let part = |of: usize| match self.taken[of] {
                    1 => offsets[of]..offsets[of] + 1,
                    _ => offsets[of] + column..offsets[of] + column + len,
                };
                act(core::array::from_fn(part), now);
                (row, column, to) = (row + 1, 0, later);
            }
        })
    }
}

/// Acts on pairs of elements, of which either side may be one number for all.
#[inline(always)]
pub(super) fn pairs<A: Copy, B: Copy, R>(left: &[A], right: &[B], to: &mut [R], of: impl Fn(A, B) -> R) {
    match (left, right) {
        ([single], right) if to.len() != 1 => {
            for (to, right) in to.iter_mut().zip(right) {
                *to = of(*single, *right);
            }
        }
        (left, [single]) if to.len() != 1 => {
            for (to, left) in to.iter_mut().zip(left) {
                *to = of(*left, *single);
            }
        }
        (left, right) => {
            for (to, (left, right)) in to.iter_mut().zip(left.iter().zip(right)) {
                *to = of(*left, *right);
            }
        }
    }
}
