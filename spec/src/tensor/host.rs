//! The functions by which a guest reaches its tensors: import module [`MODULE`] (`spec/09-tensor.md`, section 9.7).

use super::{GRAPH_BYTES_MAX, GRAPH_VALUES_MAX, TensorType, ValueId};

/// The import module.
pub const MODULE: &str = crate::abi::TENSOR_MODULE;
/// The version that these functions serve: the only one that an execution may ask for, beside none.
pub const VERSION: u32 = 1;
/// Most tensors that are live at a time.
pub const TENSORS_MAX: usize = 1 << 16;
/// The first handle; each further one is the next number, and none is given out twice.
pub const HANDLE_FIRST: u32 = 1;
/// Bytes of what `describe` writes: element type, number of dimensions, eight dimensions.
pub const DESCRIPTION_BYTES: u32 = 40;

/// Fuel of every call: leaving and entering the guest.
pub const CALL: u64 = 2_000;
/// Fuel of each tensor that a call may make.
pub const HANDLE: u64 = 8_000;
/// Fuel of each byte that a tensor takes from memory or from a file.
pub const STORED_BYTE: u64 = 8;
/// Fuel of each piece of a file that a tensor lies in, if its bytes do not cost more: the piece is read and hashed whole.
pub const FILE_PIECE: u64 = 400_000;
/// Bytes of such a piece.
pub const FILE_PIECE_BYTES: u64 = 64 << 10;
/// Fuel of each byte that `read` may put into memory.
pub const READ_BYTE: u64 = 4;
/// Fuel of each byte of a graph: read, checked node by node.
pub const GRAPH_BYTE: u64 = 256;
/// Fuel of each handle that a graph takes its values by.
pub const OUTSIDE: u64 = 200;
/// Fuel of each live tensor at each state root: it is listed with its hash.
pub const ROOT_TENSOR: u64 = 240;
/// Fuel of each byte of a live tensor at the first root that it meets: it is hashed.
pub const ROOT_BYTE: u64 = 4;

/// What a call gives the guest; nothing was done unless it is [`Answer::DONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer(pub i32);

impl Answer {
    /// It was done.
    pub const DONE: Self = Self(0);
    /// Too many dimensions ([`super::TensorError::code`], as the numbers up to 18).
    pub const RANK: Self = Self(1);
    /// Too many elements.
    pub const ELEMENTS: Self = Self(2);
    /// A number that no element type has.
    pub const DTYPE: Self = Self(3);
    /// A graph with too many bytes, values from outside or results.
    pub const TOO_LARGE: Self = Self(16);
    /// More memory than the job has left.
    pub const MEMORY: Self = Self(18);
    /// Bytes outside the guest's memory.
    pub const POINTER: Self = Self(32);
    /// A handle that was never given out, or whose tensor was dropped.
    pub const HANDLE: Self = Self(33);
    /// More live tensors than [`TENSORS_MAX`], or no number left for another.
    pub const HANDLES: Self = Self(34);
    /// Bytes or values that are not as many as they must be, or beyond the end of a tensor or file.
    pub const LENGTH: Self = Self(35);
    /// Bytes that are no graph.
    pub const ENCODING: Self = Self(36);
    /// A descriptor that is no open file which may be read.
    pub const FILE: Self = Self(37);
    /// The execution offers no tensor operations.
    pub const NOT_OFFERED: Self = Self(38);

    /// What it says, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0 => "done",
            1 => "shapes do not go together, or there are too many dimensions",
            2 => "too many elements",
            3 => "the element type does not fit",
            4 => "a wrong number of operands",
            5 => "an attribute is out of its range",
            6 => "an index is outside its axis",
            16 => "too many nodes, values or bytes",
            17 => "a value that is not there",
            18 => "more memory than the job has left",
            32 => "a pointer leads outside memory",
            33 => "the tensor was dropped, or never there",
            34 => "too many tensors are live",
            35 => "a length does not fit",
            36 => "the bytes are no graph",
            37 => "the descriptor is no file that may be read",
            38 => "the job offers no tensor operations",
            _ => "an answer that version 1 does not have",
        }
    }
}

/// Numbers of the functions, in the order of [`FUNCTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `create(dtype, dims, rank, bytes, len, handle)`.
    Create,
    /// `from_file(fd, offset, dtype, dims, rank, handle)`.
    FromFile,
    /// `submit(graph, len, outside, count, results, room)`.
    Submit,
    /// `describe(handle, into)`.
    Describe,
    /// `read(handle, offset, into, len)`.
    Read,
    /// `drop(handle)`.
    Drop,
}

/// Fuel of one call, before a graph's own, from its arguments and, where they tell a type, that.
#[must_use]
pub fn cost(call: Call, args: &[u64], of: Option<&TensorType>) -> u64 {
    let int = |at: usize| args.get(at).map_or(0, |arg| arg & u64::from(u32::MAX));
    // What is beyond its limit is refused unread.
    let values = |at: usize| int(at).min(GRAPH_VALUES_MAX as u64);
    let stored = of.map_or(0, TensorType::bytes).saturating_mul(STORED_BYTE);
    CALL + match call {
        Call::Create => HANDLE + int(4) * STORED_BYTE,
        Call::FromFile => {
            let offset = args.get(1).copied().unwrap_or(0);
            let pieces = of.map_or(0, |of| pieces(offset, of.bytes()));
            HANDLE.saturating_add(stored.max(pieces.saturating_mul(FILE_PIECE)))
        }
        Call::Submit => int(1).min(GRAPH_BYTES_MAX as u64) * GRAPH_BYTE + values(3) * OUTSIDE + values(5) * HANDLE,
        Call::Describe => 0,
        Call::Read => int(3) * READ_BYTE,
        Call::Drop => CALL,
    }
}

/// Pieces of a file that `len` bytes from `offset` on lie in.
fn pieces(offset: u64, len: u64) -> u64 {
    let Some(last) = len.checked_sub(1) else { return 0 };
    offset.saturating_add(last) / FILE_PIECE_BYTES - offset / FILE_PIECE_BYTES + 1
}

/// What a guest's own numbering of a graph's values and a handle have in common is their width.
const _: () = assert!(size_of::<ValueId>() == size_of::<u32>());

/// Import names with their core types.
#[cfg(feature = "types")]
mod functions {
    use super::Call;
    use crate::wasi::{CoreType, CoreType::I32, CoreType::I64, Signature};

    /// One function.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Function {
        /// Which.
        pub call: Call,
        /// Its import name and core type; the result is an answer.
        pub signature: Signature,
    }

    const fn function(call: Call, name: &'static str, params: &'static [CoreType]) -> Function {
        Function { call, signature: Signature { name, params, result: Some(I32) } }
    }

    /// All of them.
    pub const FUNCTIONS: &[Function] = &[
        function(Call::Create, "create", &[I32, I32, I32, I32, I32, I32]),
        function(Call::FromFile, "from_file", &[I32, I64, I32, I32, I32, I32]),
        function(Call::Submit, "submit", &[I32, I32, I32, I32, I32, I32]),
        function(Call::Describe, "describe", &[I32, I32]),
        function(Call::Read, "read", &[I32, I64, I32, I32]),
        function(Call::Drop, "drop", &[I32]),
    ];

    /// The function of this name.
    #[must_use]
    pub fn signature(name: &str) -> Option<&'static Signature> {
        FUNCTIONS.iter().map(|function| &function.signature).find(|signature| signature.name == name)
    }
}

#[cfg(feature = "types")]
pub use functions::{FUNCTIONS, Function, signature};
