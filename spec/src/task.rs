//! Published code (`spec/01-task.md`).

use crate::{content::BlobRef, execution::TensorOps, id::TaskId, param, tensor::host, wire::Hashed};
use alloc::string::String;
use borsh::{BorshDeserialize, BorshSerialize};

/// How a module is entered, read off its exports at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum TaskForm {
    /// Exports of [`crate::abi`]: a history of state roots, one per step.
    Stepped,
    /// `_start`: one step, *unstepped*.
    Command,
}

/// What is published: a name for people, the code by hash.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskManifest {
    /// 1 to [`param::NAME_MAX`] bytes of `a-z 0-9 - _ .`, beginning with a letter or digit.
    pub name: String,
    /// The module as its author compiled it, before any rewriting.
    pub module: BlobRef,
    /// How it is entered.
    pub form: TaskForm,
    /// One line for people, at most [`param::ABOUT_MAX`] bytes.
    pub about: String,
    /// The tensor operations that it needs, read off its imports at admission: 0 when it imports none.
    pub tensor_ops: TensorOps,
}

impl Hashed for TaskManifest {
    const CONTEXT: &'static str = "samebit/v1/task-manifest";
}

impl TaskManifest {
    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId(self.digest())
    }

    /// Whether name, description, module length and version of tensor operations are within their limits.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        is_name(&self.name)
            && self.about.len() <= param::ABOUT_MAX
            && !self.about.chars().any(char::is_control)
            && self.module.len <= param::MODULE_BYTES_MAX
            && self.tensor_ops.0 <= host::VERSION
    }
}

/// Whether `name` may name a task.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    !name.is_empty()
        && name.len() <= param::NAME_MAX
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}
