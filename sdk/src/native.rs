//! Runs tasks under `cargo test`, on typed values or on folders, as a host would.
//!
//! It is the same code on another machine, not a sandbox: `samebit test` runs the compiled task as hosts do.

use crate::{
    Step, Steps, TaskError, error,
    io::{read_input, write_result},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    cell::RefCell,
    fmt::Display,
    path::{Path, PathBuf},
};

thread_local! {
    /// Input and output folder of the running test.
    static DIRS: RefCell<Option<(PathBuf, PathBuf)>> = const { RefCell::new(None) };
}

pub(crate) fn input() -> Option<PathBuf> {
    DIRS.with_borrow(|dirs| dirs.as_ref().map(|(input, _)| input.clone()))
}

pub(crate) fn output() -> Option<PathBuf> {
    DIRS.with_borrow(|dirs| dirs.as_ref().map(|(_, output)| output.clone()))
}

/// Does `work` with `input` as [`crate::input_dir`] and `output` as [`crate::output_dir`], on this thread.
pub fn within<R>(input: &Path, output: &Path, work: impl FnOnce() -> R) -> R {
    /// Puts back what was there, on a panic too.
    struct Restore(Option<(PathBuf, PathBuf)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DIRS.set(self.0.take());
        }
    }
    let _restore = Restore(DIRS.replace(Some((input.to_path_buf(), output.to_path_buf()))));
    work()
}

/// Runs a stepped task on a typed value; gives its result and how many steps it took.
///
/// # Errors
/// [`TaskError::Task`] when the task fails.
pub fn run<T: Steps>(input: T::Input) -> Result<(T::Output, u32), TaskError> {
    let mut task = T::start(input).map_err(error::task)?;
    let mut steps = 1;
    while task.step().map_err(error::task)? == Step::More {
        steps += 1;
    }
    Ok((task.finish().map_err(error::task)?, steps))
}

/// Runs a stepped task as a host would: reads its typed input from the folder `input`, writes its result into the
/// folder `output`, and gives how many steps it took.
///
/// # Errors
/// [`TaskError`], as the task would print it.
pub fn run_on<T: Steps>(input: &Path, output: &Path) -> Result<u32, TaskError> {
    within(input, output, || {
        let (result, steps) = run::<T>(read_input()?)?;
        write_result(&result).map(|()| steps)
    })
}

/// Runs a plain function as a host would: reads its typed input from the folder `input` and writes its result into
/// the folder `output`.
///
/// # Errors
/// [`TaskError`], as the task would print it.
pub fn call_on<I, O, E>(input: &Path, output: &Path, function: impl FnOnce(I) -> Result<O, E>) -> Result<(), TaskError>
where
    I: DeserializeOwned + 'static,
    O: Serialize,
    E: Display,
{
    within(input, output, || write_result(&function(read_input()?).map_err(error::task)?))
}
