//! The pure function's argument (`spec/03-execution.md`, section 1).
//!
//! [`Execution`] holds everything that an outcome depends on and nothing else. Its hash heads every state
//! root, so two hosts that ran different things can never agree by accident.

use crate::{
    content::{BlobRef, TreeRef},
    id::{BlobId, ExecutionId},
    param,
    unit::{Bytes, Fuel},
    wire::Hashed,
};
use alloc::{string::String, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};

/// The semantics that a run obeys. A profile is text and vectors; engine builds implement it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Profile {
    /// `samebit-1`: Wasm 3.0 deterministic profile without threads, relaxed SIMD, 64-bit memory, tail calls,
    /// exceptions, GC; virtual WASI preview1.
    Samebit1,
}

/// Version of the tensor operations that a run may call. 0: none are offered; a host function then answers so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct TensorOps(pub u32);

/// Whether a guest may write below a mount. Writes never reach the mounted content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Access {
    /// Writing is refused with `EROFS`.
    ReadOnly,
    /// Writing changes a copy that ends with the run.
    CopyOnWrite,
}

/// A tree that the guest sees at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Mount {
    /// Name of the preopened folder, without a trailing slash: an absolute guest path, `.` for the guest's working
    /// folder, or any relative name, as given to `--dir`.
    pub path: String,
    /// What is there.
    pub tree: TreeRef,
    /// Whether it may be written over.
    pub access: Access,
}

/// What a run may use. Each limit's passing is a deterministic outcome, not a host fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Limits {
    /// Metered work of the whole run.
    pub fuel: Fuel,
    /// Linear memory. Growth beyond it gives the guest -1, as Wasm defines.
    pub memory: Bytes,
    /// Bytes of `/out` and of copies on write together; beyond it a write fails with `EDQUOT`.
    pub files: Bytes,
    /// Files, folders and links that the guest may make.
    pub inodes: u32,
    /// Bytes of stdout; beyond it a write fails with `EDQUOT`.
    pub stdout: Bytes,
    /// Steps of a stepped task.
    pub steps: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: param::FUEL_DEFAULT,
            memory: param::MEMORY_DEFAULT,
            files: param::FILES_DEFAULT,
            inodes: param::INODES_DEFAULT,
            stdout: param::STDOUT_DEFAULT,
            steps: param::STEPS_MAX,
        }
    }
}

/// Everything that an outcome depends on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Execution {
    /// The semantics.
    pub profile: Profile,
    /// The module as published, before rewriting.
    pub module: BlobId,
    /// What the guest sees of the world, sorted as its file descriptors are numbered.
    pub mounts: Vec<Mount>,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment, in the order in which the guest sees it.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: BlobRef,
    /// Seed of the guest's randomness. Public.
    pub seed: [u8; 32],
    /// Which unit of its job this is.
    pub unit: u32,
    /// What it may use.
    pub limits: Limits,
    /// Fuel that a stretch of a stepped task may use: instantiation with `_initialize` and `samebit_init`, then each
    /// `samebit_step`, with `samebit_finish` where that follows. Enforced by the meter. Never a host's choice.
    pub step_budget: Fuel,
    /// Tensor operations on offer.
    pub tensor_ops: TensorOps,
}

impl Hashed for Execution {
    const CONTEXT: &'static str = "samebit/v1/execution";
}

impl Execution {
    /// The execution's id, the header of each of its state roots.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        ExecutionId(self.digest())
    }
}

/// How a run ended. Each is a result like any other: deterministic, metered, paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// The task finished, or the command ended, with this exit code. A stepped task that finished has 0.
    Exited {
        /// As the guest gave it.
        code: u32,
    },
    /// The task said that it cannot go on (`samebit_*` returned 2). Its reason is on stderr.
    Failed,
    /// The guest did what Wasm forbids.
    Trapped {
        /// What it did.
        trap: Trap,
    },
    /// The guest used up a limit of its [`Limits`].
    Exhausted {
        /// Which one.
        limit: Limit,
    },
}

/// The closed list of traps. Engines' own trap kinds map to it; what does not is a host fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Trap {
    /// `unreachable` was executed, as Rust's `panic = "abort"` does.
    Unreachable,
    /// A load or store outside linear memory.
    MemoryOutOfBounds,
    /// A table access outside the table.
    TableOutOfBounds,
    /// An indirect call to a null element.
    IndirectCallToNull,
    /// An indirect call to a function of another type.
    BadSignature,
    /// Integer overflow, as in `i32::MIN / -1`.
    IntegerOverflow,
    /// Integer division by zero.
    DivisionByZero,
    /// A float that no integer of the wanted type can hold.
    BadConversionToInteger,
    /// The stack limit of the profile.
    StackOverflow,
    /// `samebit_init`, `_step` or `_finish` returned a code that the ABI does not define.
    BadStepCode,
    /// An exception that nobody caught.
    UncaughtException,
}

/// Which limit a run used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Limit {
    /// [`Limits::fuel`].
    Fuel,
    /// [`Execution::step_budget`] in one step (*step overrun*).
    StepFuel,
    /// [`Limits::steps`].
    Steps,
    /// [`Limits::memory`] is less than the memory that the module begins with. Later growth gives -1 instead.
    Memory,
}
