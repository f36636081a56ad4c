//! Tasks whose work comes in small pieces: as many are put into a step as fill it.

use crate::{Step, Steps, input_dir};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::Display,
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A task in pieces: state, made from the input, that each piece takes further. It is a [`Steps`] by itself.
///
/// A piece may be as small as one item of an iterator. The step budget, which comes with the order, decides how many go
/// into a step: about half of it is used, so a piece may cost as much as the other half, however cheap those before it
/// were. The same order makes the same steps on every machine. Under `cargo test` each piece is a step.
///
/// ```
/// # use samebit_sdk as samebit;
/// use samebit::{Pieces, Step};
///
/// /// Adds the numbers below `last`, one in each piece.
/// struct Sum {
///     numbers: std::ops::Range<u64>,
///     sum: u64,
/// }
///
/// #[samebit::task]
/// impl Pieces for Sum {
///     type Input = u64;
///     type Output = u64;
///     type Error = String;
///
///     fn start(last: u64) -> Result<Self, String> {
///         Ok(Self { numbers: 0..last, sum: 0 })
///     }
///
///     fn piece(&mut self) -> Result<Step, String> {
///         Ok(match self.numbers.next() {
///             Some(number) => {
///                 self.sum += number;
///                 Step::More
///             }
///             None => Step::Done,
///         })
///     }
///
///     fn finish(self) -> Result<u64, String> {
///         Ok(self.sum)
///     }
/// }
///
/// # #[cfg(not(target_family = "wasm"))]
/// assert_eq!(samebit::native::run::<Sum>(5).unwrap().0, 10);
/// ```
pub trait Pieces: Sized + 'static {
    /// See [`Steps::Input`].
    type Input: DeserializeOwned + 'static;
    /// See [`Steps::Output`].
    type Output: Serialize;
    /// See [`Steps::Error`].
    type Error: Display;

    /// See [`Steps::start`].
    ///
    /// # Errors
    /// Ends the task as failed.
    fn start(input: Self::Input) -> Result<Self, Self::Error>;

    /// Does the next piece. [`Step::Done`]: there was none.
    ///
    /// # Errors
    /// Ends the task as failed.
    fn piece(&mut self) -> Result<Step, Self::Error>;

    /// See [`Steps::finish`].
    ///
    /// # Errors
    /// Ends the task as failed.
    fn finish(self) -> Result<Self::Output, Self::Error>;
}

impl<T: Pieces> Steps for T {
    type Input = T::Input;
    type Output = T::Output;
    type Error = T::Error;

    fn start(input: Self::Input) -> Result<Self, Self::Error> {
        T::start(input)
    }

    fn step(&mut self) -> Result<Step, Self::Error> {
        let mut pace = Pace::begin();
        loop {
            match self.piece()? {
                Step::Done => return Ok(Step::Done),
                Step::More if pace.is_full() => return Ok(Step::More),
                Step::More => {}
            }
        }
    }

    fn finish(self) -> Result<Self::Output, Self::Error> {
        T::finish(self)
    }
}

/// Tells when a step has done enough: half of its budget, by the clock that counts the task's own work.
///
/// For tasks that loop in [`Steps::step`] themselves; [`Pieces`] does it for its tasks.
#[derive(Debug)]
pub struct Pace {
    /// Work that fills the step, in nanoseconds of the task's clock.
    enough: u64,
    /// Pieces between two looks at the clock, and those left until the next.
    stride: u32,
    left: u32,
    begun: u64,
    last: u64,
}

/// Work between two looks at the clock, in nanoseconds of it: a look costs some two thousand, which is little beside that.
/// Whatever pieces cost, no more than this is done unseen, but for a piece that is dearer itself and for those that turn
/// dearer between two looks.
const LOOK_EVERY: u64 = 65_536;
/// Most pieces between two looks: so many that turn dearer at once fill the half of the smallest budget that is left.
const STRIDE_MAX: u32 = 4096;

impl Pace {
    /// At the beginning of a step.
    #[must_use]
    pub fn begin() -> Self {
        let now = clock::now();
        Self { enough: clock::budget() / 2, stride: 1, left: 1, begun: now, last: now }
    }

    /// Counts a piece that was done; says whether the step has done enough.
    pub fn is_full(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let now = clock::now();
        let took = now.saturating_sub(self.last);
        self.last = now;
        self.stride = stride(self.stride, took);
        self.left = self.stride;
        now.saturating_sub(self.begun) >= self.enough
    }
}

/// How many pieces go before the next look, when the last `stride` took so long.
fn stride(stride: u32, took: u64) -> u32 {
    if took < LOOK_EVERY / 2 {
        stride.saturating_mul(2).min(STRIDE_MAX)
    } else if took <= LOOK_EVERY {
        stride
    } else {
        // What a piece costs now, not what it cost before: the next look is where it is due.
        let piece = (took / u64::from(stride)).max(1);
        u32::try_from(LOOK_EVERY / piece).unwrap_or(STRIDE_MAX).clamp(1, STRIDE_MAX)
    }
}

#[cfg(target_family = "wasm")]
pub(crate) mod clock {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::SystemTime,
    };

    static BUDGET: AtomicU64 = AtomicU64::new(0);

    /// What the host said of the step that begins.
    pub(crate) fn set_budget(budget: i64) {
        BUDGET.store(u64::try_from(budget).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn budget() -> u64 {
        BUDGET.load(Ordering::Relaxed)
    }

    /// Nanoseconds of the task's clock: one for each unit of fuel, and what was slept.
    pub(super) fn now() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(not(target_family = "wasm"))]
mod clock {
    /// Each piece is a step.
    pub(super) fn budget() -> u64 {
        0
    }

    pub(super) fn now() -> u64 {
        0
    }
}

/// A file of the input tree, so many bytes at a time: an input for [`Pieces`] that may be larger than memory.
#[derive(Debug)]
pub struct Chunks {
    file: File,
    len: usize,
}

impl Chunks {
    /// The file at `path`, relative to [`input_dir`], `len` bytes at a time; the last chunk may be shorter.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn open(path: impl AsRef<Path>, len: usize) -> io::Result<Self> {
        Ok(Self { file: File::open(input_dir().join(path))?, len: len.max(1) })
    }
}

impl Iterator for Chunks {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Vec::new();
        match self.file.by_ref().take(self.len as u64).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk)),
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work unseen between two looks, of pieces of which the `n`-th costs `cost(n)`, after the last look before `n`.
    fn most_unseen(pieces: u64, cost: impl Fn(u64) -> u64) -> u64 {
        let (mut width, mut left, mut took, mut most) = (1, 1, 0, 0);
        for piece in 0..pieces {
            took += cost(piece);
            left -= 1;
            if left == 0 {
                most = most.max(took);
                width = stride(width, took);
                (left, took) = (width, 0);
            }
        }
        most.max(took)
    }

    #[test]
    fn pieces_that_become_dearer_at_once_are_seen_before_they_fill_a_step() {
        // 10 nanoseconds each, and from some piece on a thousand times as much.
        for turn in [1, 2, 3, 1000, 100_000, 100_001] {
            let unseen = most_unseen(200_000, |piece| if piece < turn { 10 } else { 10_000 });
            assert!(unseen <= 4096 * 10_000 * 2, "{unseen} from {turn} on");
        }
        // Dear ones are looked at one by one.
        assert_eq!(most_unseen(1000, |_| 1_000_000), 1_000_000);
        assert_eq!(most_unseen(1000, |piece| 20_000 << (piece / 64)), 20_000 << 15);
    }

    #[test]
    fn looks_are_few_beside_cheap_pieces() {
        let mut width = 1;
        let mut looks = 0;
        let mut piece = 0;
        while piece < 1_000_000 {
            piece += u64::from(width);
            width = stride(width, u64::from(width) * 40);
            looks += 1;
        }
        assert!(looks < 1_000_000 / 200 + 10, "{looks} looks");
    }
}
