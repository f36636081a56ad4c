//! Room for results: written once, in steps that stay in the first caches.
//!
//! A result is not zeroed before it is computed: for what is bound by memory that would be one pass of three.

use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements that a kernel makes at a time: their operands and they stay in the caches of one core.
pub(super) const STEP: usize = 1 << 12;
/// Results below this many elements are not worth a second thread.
const PARALLEL: usize = 1 << 15;

/// Steps of more elements leave the caches anyway, and would double the memory: their room is the result's.
const LARGE: usize = 1 << 16;

/// `len` elements, of which `act` makes those from its first argument on, at most `step` at a time, on the threads of the
/// current pool. What `act` finds in its room is of no meaning.
pub(super) fn filled<T: Copy + Default + Send + Sync>(
    len: usize,
    step: usize,
    act: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    if step > LARGE {
        let mut made = vec![T::default(); len];
        made.par_chunks_mut(step).enumerate().for_each(|(at, to)| act(at * step, to));
        return made;
    }
    let mut made = Vec::with_capacity(len);
    if len == 0 {
        return made;
    }
    let spare = &mut made.spare_capacity_mut()[..len];
    let room = || vec![T::default(); step.min(len)];
    let one = |room: &mut Vec<T>, (at, to): (usize, &mut [MaybeUninit<T>])| {
        let room = &mut room[..to.len()];
        act(at * step, room);
        to.write_copy_of_slice(room);
    };
    if len >= PARALLEL && rayon::current_num_threads() > 1 {
        spare.par_chunks_mut(step).enumerate().for_each_init(room, one);
    } else {
        let mut room = room();
        spare.chunks_mut(step).enumerate().for_each(|part| one(&mut room, part));
    }
    // SAFETY: the chunks are all of `spare`, which is the first `len` elements of the vector's capacity, and each was
    // written whole by `write_copy_of_slice`; a panic of `act` leaves this function before it, with no element.
    #[expect(unsafe_code, reason = "the elements were written one by one")]
    unsafe {
        made.set_len(len);
    }
    made
}
