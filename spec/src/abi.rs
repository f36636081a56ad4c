//! What a guest and its host agree on: export names, step codes and well-known paths (`spec/03-execution.md`,
//! section 3).

/// Runs once, before any other export of a stepped task. Calls the C++/Rust constructors.
pub const EXPORT_INITIALIZE: &str = "_initialize";
/// Builds the task's state from its input: `() -> i32`, a [`StepCode`] where [`StepCode::More`] means ready.
pub const EXPORT_INIT: &str = "samebit_init";
/// Does one step of work: `(budget: i64) -> i32`, a [`StepCode`]. `budget` is in fuel units.
pub const EXPORT_STEP: &str = "samebit_step";
/// Writes the result: `() -> i32`, a [`StepCode`] where [`StepCode::Done`] means written.
pub const EXPORT_FINISH: &str = "samebit_finish";
/// The entry of a plain WASI command, which is one step (*unstepped*).
pub const EXPORT_COMMAND: &str = "_start";
/// The linear memory that WASI functions read and write.
pub const EXPORT_MEMORY: &str = "memory";
/// Exports whose name begins so are made by the rewriter; a module that brings one is refused.
pub const RESERVED_PREFIX: &str = "__samebit_";

/// The import module of WASI's functions.
pub const WASI_MODULE: &str = "wasi_snapshot_preview1";
/// The import module of the functions on tensors (`spec/09-tensor.md`, section 9.7). There is no other.
pub const TENSOR_MODULE: &str = "samebit_tensor";

/// Where a job's input tree is mounted, read-only.
pub const INPUT_DIR: &str = "/in";
/// The file of the input tree that the SDK reads as the task's typed input.
pub const INPUT_FILE: &str = "/in/input";
/// Where a task leaves files; the only writable place that survives a run.
pub const OUTPUT_DIR: &str = "/out";
/// Where the SDK writes the task's typed return value.
pub const RESULT_FILE: &str = "/out/result";
/// The name of [`INPUT_FILE`] within its tree.
pub const INPUT_NAME: &str = "input";
/// The name of [`RESULT_FILE`] within its tree.
pub const RESULT_NAME: &str = "result";

/// How a line on stderr begins that tells of progress and is no part of stderr (`spec/06-wasi.md`, section 6.6).
pub const PROGRESS_MARK: &[u8] = b"\x1eprogress ";
/// Most bytes of the text in such a line.
pub const PROGRESS_TEXT_MAX: usize = 200;

/// What `samebit_init`, `samebit_step` and `samebit_finish` return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepCode {
    /// The work is complete.
    Done,
    /// Call `samebit_step` again.
    More,
    /// The task refuses to go on and has said why on stderr.
    Failed,
}

impl StepCode {
    /// The code as it crosses the boundary.
    #[must_use]
    pub const fn to_i32(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::More => 1,
            Self::Failed => 2,
        }
    }

    /// Reads a code that a guest returned; `None` for anything this chapter does not define.
    #[must_use]
    pub const fn from_i32(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Done),
            1 => Some(Self::More),
            2 => Some(Self::Failed),
            _ => None,
        }
    }
}
