//! Processor time of this thread: what other processes take of the machine is not in it.

/// Milliseconds of processor time that this thread has used.
#[expect(clippy::cast_precision_loss, reason = "seconds of a process are far below 2^52")]
#[expect(unsafe_code, reason = "the standard library has no clock of a thread's own time")]
pub(crate) fn thread_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of this frame, which the call writes and does not keep.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "the clock of this thread cannot be read");
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Milliseconds of processor time that all threads of this process have used.
#[expect(clippy::cast_precision_loss, reason = "seconds of a process are far below 2^52")]
#[expect(unsafe_code, reason = "the standard library has no clock of a process's own time")]
pub(crate) fn process_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of this frame, which the call writes and does not keep.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "the clock of this process cannot be read");
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// What `work` gives, and the milliseconds that it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = thread_ms();
    let done = work();
    (done, thread_ms() - begun)
}

/// The middle value, of an even count the lower one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The least value.
pub(crate) fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The geometric mean.
#[expect(clippy::cast_precision_loss, reason = "a few values")]
pub(crate) fn geomean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::{geomean, median, min};

    #[test]
    fn the_middle_the_least_and_the_geometric_mean_are_what_they_say() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 3.0, 1.0, 2.0]), 2.0);
        assert_eq!(min(&[3.0, 1.0, 2.0]), 1.0);
        assert!((geomean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
    }
}
