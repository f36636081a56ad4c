//! Why a task ends without a result.

use std::{fmt, io, path::PathBuf};

/// Why a task ends without a result. The message goes to stderr.
#[derive(Debug)]
pub enum TaskError {
    /// The typed input cannot be read.
    Input {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The typed input is not what the task takes.
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// The result has no JSON form, such as a map whose keys are no strings.
    Unwritable {
        /// Why.
        source: serde_json::Error,
    },
    /// The result cannot be written.
    Result {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The task's own `Err`.
    Task {
        /// What it said.
        message: String,
    },
    /// `samebit_step` or `samebit_finish` was called on a task that has not begun, or has ended.
    OutOfTurn,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { path, source } => write!(f, "reading the input {}: {source}", path.display()),
            Self::Malformed { path, source } => {
                write!(f, "the input {} is not what this task takes: {source}", path.display())
            }
            Self::Unwritable { source } => write!(f, "the result has no JSON form: {source}"),
            Self::Result { path, source } => write!(f, "writing the result {}: {source}", path.display()),
            Self::Task { message } => f.write_str(message),
            Self::OutOfTurn => f.write_str("called out of turn: init once, steps until done, then finish once"),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input { source, .. } | Self::Result { source, .. } => Some(source),
            Self::Malformed { source, .. } | Self::Unwritable { source } => Some(source),
            Self::Task { .. } | Self::OutOfTurn => None,
        }
    }
}

/// The task's own `Err` as ours.
pub(crate) fn task(error: impl fmt::Display) -> TaskError {
    TaskError::Task { message: error.to_string() }
}
