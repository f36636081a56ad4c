//! Why a tensor could not be made or read.

use samebit_spec::tensor::{TensorError, TensorType, host::Answer};
use std::{fmt, io, path::PathBuf};

/// Why a tensor could not be made or read. Nothing was computed, and every operand is as it was.
#[derive(Debug)]
pub enum Error {
    /// Operands that do not go together, found before anything was computed.
    Operands {
        /// The operation, as it is called here.
        op: &'static str,
        /// What it was given.
        operands: Vec<TensorType>,
        /// What is wrong.
        source: TensorError,
    },
    /// Elements that are not as many as the shape has, or of another type than asked for.
    Elements {
        /// What the tensor is.
        of: TensorType,
        /// What was given or asked for.
        found: String,
    },
    /// An axis that the tensor does not have.
    Axis {
        /// The operation.
        op: &'static str,
        /// What the tensor is.
        of: TensorType,
        /// The axis, as it was given.
        axis: isize,
    },
    /// The host refused.
    Host {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        answer: Answer,
    },
    /// A file that cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is not what it should be.
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What operations on tensors give.
pub type Result<T> = std::result::Result<T, Error>;

fn list(types: &[TensorType]) -> String {
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "nothing".to_string(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operands { op, operands, source } => {
                write!(f, "{op}: {}: ", list(operands))?;
                match (source, operands.as_slice()) {
                    (TensorError::Shape { op: "MatMul" | "MatMulInteger" | "Gemm", left, right, .. }, [_, _, ..])
                        if left.rank() >= 2 && right.rank() >= 2 && *op != "linear" =>
                    {
                        let (left, right) = (left.dims(), right.dims());
                        match (left[left.len() - 1], right[right.len() - 2]) {
                            (one, other) if one != other => write!(f, "inner dimensions {one} and {other}"),
                            _ => write!(f, "outer dimensions do not stretch to each other"),
                        }
                    }
                    (TensorError::Shape { reason, .. }, _) => f.write_str(reason),
                    (TensorError::Dtype { operand, expected, found, .. }, _) => {
                        write!(f, "operand {operand} is {found}, not {expected}")
                    }
                    (TensorError::Attribute { attribute, found, reason, .. }, _) => {
                        write!(f, "{attribute} is {found}: {reason}")
                    }
                    (other, _) => other.fmt(f),
                }
            }
            Self::Elements { of, found } => {
                write!(f, "{of} has {} elements of {}, not {found}", of.shape.elements(), of.dtype)
            }
            Self::Axis { op, of, axis } => write!(f, "{op}: {of} has no axis {axis}"),
            Self::Host { what, answer } => write!(f, "{what}: {} (answer {})", answer.meaning(), answer.0),
            Self::File { path, source } => write!(f, "reading {}: {source}", path.display()),
            Self::Malformed { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Operands { source, .. } => Some(source),
            Self::File { source, .. } => Some(source),
            Self::Elements { .. } | Self::Axis { .. } | Self::Host { .. } | Self::Malformed { .. } => None,
        }
    }
}

/// Shapes that are none, as an error of what was asked.
pub(crate) fn shape(op: &'static str) -> impl FnOnce(TensorError) -> Error {
    move |source| Error::Operands { op, operands: Vec::new(), source }
}
