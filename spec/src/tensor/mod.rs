//! `samebit:tensor`: element types, shapes, operations and graphs (`spec/09-tensor.md`).
//!
//! What a guest sends and a host checks before it computes: which operations exist, which operands they take, what
//! comes out ([`infer`]), and what it costs ([`fuel`]). No arithmetic on elements happens here, so a guest and a host
//! without any backend agree on every refusal.

mod fuel;
mod graph;
pub mod host;
mod infer;
mod op;

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

pub use fuel::{fuel, scratch};
pub use graph::{Graph, GraphError, Node, Plan, ValueId};
pub use infer::{broadcast, infer, strides, window_len};
pub use op::{Bits, Gelu, Op, Window};

/// Most dimensions of a tensor.
pub const RANK_MAX: usize = 8;
/// Most elements of one tensor. Source: indices of kernels are 32 bits, signed in ONNX's own integer outputs.
pub const ELEMENTS_MAX: u64 = (1 << 31) - 1;
/// Most nodes of one graph.
pub const NODES_MAX: usize = 4096;
/// Most values that one graph takes from outside, and most that it gives back.
pub const GRAPH_VALUES_MAX: usize = 4096;
/// Most encoded bytes of one graph.
pub const GRAPH_BYTES_MAX: usize = 1 << 20;
/// Most operands of one node: what `Concat` may join.
pub const OPERANDS_MAX: usize = 64;

/// What an element is.
///
/// `U8` is also the result of comparisons and the condition of [`Op::Where`]: 0 is false, everything else true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32 = 1,
    /// IEEE 754 binary16: stored, converted and multiplied, nothing else.
    F16 = 2,
    /// Two's complement, wrapping.
    I32 = 3,
    /// Two's complement.
    I8 = 4,
    /// Unsigned; also booleans.
    U8 = 5,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> u64 {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// The type whose number crosses the boundary as `code`.
    #[must_use]
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            1 => Some(Self::F32),
            2 => Some(Self::F16),
            3 => Some(Self::I32),
            4 => Some(Self::I8),
            5 => Some(Self::U8),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I32 => "i32",
            Self::I8 => "i8",
            Self::U8 => "u8",
        })
    }
}

/// Lengths of a tensor's dimensions, outermost first; elements lie in row-major order. No dimension is a scalar, a
/// dimension of 0 an empty tensor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Shape(Vec<u32>);

impl Shape {
    /// A shape of these dimensions.
    ///
    /// # Errors
    /// [`TensorError::Rank`] beyond [`RANK_MAX`], [`TensorError::TooManyElements`] beyond [`ELEMENTS_MAX`].
    pub fn new(dims: &[u32]) -> Result<Self, TensorError> {
        let shape = Self(dims.to_vec());
        shape.check()?;
        Ok(shape)
    }

    /// The shape of one number.
    #[must_use]
    pub const fn scalar() -> Self {
        Self(Vec::new())
    }

    /// Whether a decoded shape keeps the limits of [`Shape::new`].
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn check(&self) -> Result<(), TensorError> {
        if self.0.len() > RANK_MAX {
            return Err(TensorError::Rank { rank: self.0.len() });
        }
        // A zero anywhere makes the tensor empty; the other dimensions are bounded all the same, so that no product
        // of some of them overflows later.
        let product = self.0.iter().try_fold(1u64, |product, dim| {
            product.checked_mul(u64::from(*dim).max(1)).filter(|product| *product <= ELEMENTS_MAX)
        });
        product.map(|_| ()).ok_or_else(|| TensorError::TooManyElements { shape: self.clone() })
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[u32] {
        &self.0
    }

    /// How many dimensions there are.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// How many elements there are: the product of the dimensions, 1 for a scalar.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.0.iter().map(|dim| u64::from(*dim)).product()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// As `[2, 3]`.
impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// What a tensor is, without its elements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct TensorType {
    /// Type of each element.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Shape,
}

impl TensorType {
    /// A type of this element type and these dimensions.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn new(dtype: Dtype, dims: &[u32]) -> Result<Self, TensorError> {
        Ok(Self { dtype, shape: Shape::new(dims)? })
    }

    /// Bytes of the elements, without gaps.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shape.elements() * self.dtype.size()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.dtype, self.shape)
    }
}

/// Why an operation is refused. Each is a value that the guest gets, the same on every host; nothing was computed and
/// every operand is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Too many dimensions.
    #[error("{rank} dimensions: at most {RANK_MAX}")]
    Rank {
        /// How many were asked.
        rank: usize,
    },
    /// The product of the dimensions is beyond what one tensor holds.
    #[error("{shape} has more than {ELEMENTS_MAX} elements")]
    TooManyElements {
        /// The dimensions.
        shape: Shape,
    },
    /// A wrong number of operands.
    #[error("{op} takes {expected} operands, not {found}")]
    Operands {
        /// ONNX name of the operation.
        op: &'static str,
        /// How many it takes.
        expected: &'static str,
        /// How many there are.
        found: usize,
    },
    /// An operand whose element type the operation does not take there.
    #[error("{op}: operand {operand} is {found}, not {expected}")]
    Dtype {
        /// ONNX name of the operation.
        op: &'static str,
        /// Which operand, from 0.
        operand: usize,
        /// What it takes.
        expected: &'static str,
        /// What it got.
        found: Dtype,
    },
    /// Operands whose shapes do not go together, or a shape that the operation cannot work on.
    #[error("{op}: {reason}: {left} and {right}")]
    Shape {
        /// ONNX name of the operation.
        op: &'static str,
        /// What must hold.
        reason: &'static str,
        /// One shape.
        left: Shape,
        /// The other, or what the attributes ask for.
        right: Shape,
    },
    /// An attribute outside its range.
    #[error("{op}: {attribute} is {found}: {reason}")]
    Attribute {
        /// ONNX name of the operation.
        op: &'static str,
        /// Name of the attribute.
        attribute: &'static str,
        /// Its value.
        found: i64,
        /// What must hold.
        reason: &'static str,
    },
    /// An index that points outside the axis it selects from. Only known when the elements are read.
    #[error("{op}: index {index} at {position} is outside an axis of {len}")]
    Index {
        /// ONNX name of the operation.
        op: &'static str,
        /// The first such index in row-major order.
        index: i32,
        /// Where it stands.
        position: u64,
        /// Length of the axis.
        len: u32,
    },
}

impl TensorError {
    /// The number that crosses the boundary to the guest (`spec/09-tensor.md`, section 9.3).
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::Rank { .. } | Self::Shape { .. } => 1,
            Self::TooManyElements { .. } => 2,
            Self::Dtype { .. } => 3,
            Self::Operands { .. } => 4,
            Self::Attribute { .. } => 5,
            Self::Index { .. } => 6,
        }
    }
}
