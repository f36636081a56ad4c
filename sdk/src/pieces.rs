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
/// into a step: about half of it is used, so a piece may cost as much as the other half. The same order makes the same
/// steps on every machine. Under `cargo test` each piece is a step.
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

/// A look at the clock costs some hundreds of fuel: it should be little beside the pieces between two looks.
const LOOKS: u64 = 256;

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
        if took < self.enough / LOOKS {
            self.stride = self.stride.saturating_mul(2);
        } else if took > self.enough / (LOOKS / 8) {
            self.stride = (self.stride / 2).max(1);
        }
        self.left = self.stride;
        now.saturating_sub(self.begun) >= self.enough
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
