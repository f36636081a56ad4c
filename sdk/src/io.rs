//! Where input and output are, and their typed form.

use crate::TaskError;
use samebit_spec::abi;
use serde::{Serialize, de::DeserializeOwned};
use std::{any::TypeId, path::PathBuf};

/// The job's input tree: `/in` on a host, the folder of `native::within` in a test.
#[must_use]
pub fn input_dir() -> PathBuf {
    #[cfg(not(target_family = "wasm"))]
    if let Some(dir) = crate::native::input() {
        return dir;
    }
    PathBuf::from(abi::INPUT_DIR)
}

/// Where the task leaves files: `/out` on a host, the folder of `native::within` in a test.
#[must_use]
pub fn output_dir() -> PathBuf {
    #[cfg(not(target_family = "wasm"))]
    if let Some(dir) = crate::native::output() {
        return dir;
    }
    PathBuf::from(abi::OUTPUT_DIR)
}

/// Reads the typed input; `()` reads nothing.
pub(crate) fn read_input<I: DeserializeOwned + 'static>() -> Result<I, TaskError> {
    let path = input_dir().join(abi::INPUT_NAME);
    let bytes = if TypeId::of::<I>() == TypeId::of::<()>() {
        // The JSON form of `()`.
        b"null".to_vec()
    } else {
        std::fs::read(&path).map_err(|source| TaskError::Input { path: path.clone(), source })?
    };
    serde_json::from_slice(&bytes).map_err(|source| TaskError::Malformed { path, source })
}

/// Writes the typed result.
pub(crate) fn write_result(result: &impl Serialize) -> Result<(), TaskError> {
    let bytes = serde_json::to_vec(result).map_err(|source| TaskError::Unwritable { source })?;
    let path = output_dir().join(abi::RESULT_NAME);
    std::fs::write(&path, bytes).map_err(|source| TaskError::Result { path, source })
}
