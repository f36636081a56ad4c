//! Tasks that do their work in steps.

use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Display;

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// There is more to do: [`Steps::step`] is called again.
    More,
    /// The work is complete: [`Steps::finish`] is called.
    Done,
}

/// A task in steps: state, made from the input, that each step takes further.
///
/// ```
/// # use samebit_sdk as samebit;
/// use samebit::{Step, Steps};
///
/// /// Adds the numbers from 1 to `last`, a thousand in each step.
/// #[samebit::task]
/// struct Sum {
///     next: u64,
///     last: u64,
///     sum: u64,
/// }
///
/// impl Steps for Sum {
///     type Input = u64;
///     type Output = u64;
///     type Error = String;
///
///     fn start(last: u64) -> Result<Self, String> {
///         Ok(Self { next: 1, last, sum: 0 })
///     }
///
///     fn step(&mut self) -> Result<Step, String> {
///         let end = self.last.min(self.next + 999);
///         self.sum += (self.next..=end).sum::<u64>();
///         self.next = end + 1;
///         Ok(if self.next > self.last { Step::Done } else { Step::More })
///     }
///
///     fn finish(self) -> Result<u64, String> {
///         Ok(self.sum)
///     }
/// }
///
/// # #[cfg(not(target_family = "wasm"))]
/// assert_eq!(samebit::native::run::<Sum>(4_000).unwrap(), (8_002_000, 4));
/// ```
pub trait Steps: Sized + 'static {
    /// The typed input, read from the file `input` of the input tree. `()` reads nothing: such a task looks into
    /// [`crate::input_dir`] by itself.
    type Input: DeserializeOwned + 'static;
    /// The typed result, written to the file `result` of the output tree.
    type Output: Serialize;
    /// Why the task cannot go on. Printed to stderr.
    type Error: Display;

    /// Makes the state. Belongs to the first step, and is held to its budget.
    ///
    /// # Errors
    /// Ends the task as failed.
    fn start(input: Self::Input) -> Result<Self, Self::Error>;

    /// Does one step of work. Called at least once.
    ///
    /// # Errors
    /// Ends the task as failed.
    fn step(&mut self) -> Result<Step, Self::Error>;

    /// Gives the result. Belongs to the last step, and is held to its budget.
    ///
    /// # Errors
    /// Ends the task as failed.
    fn finish(self) -> Result<Self::Output, Self::Error>;
}
