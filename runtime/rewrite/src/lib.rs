//! Admission and instrumentation: a module's bytes in, an [`Executable`] or a [`Refusal`] out.
//!
//! [`prepare`] decides what code the network runs. It is pure and byte-stable: the same module gives the same
//! rewritten bytes on every machine and in every build, because the hash of those bytes, with the profile, is
//! the executable's id. It never compiles or runs anything, and it knows no WASI beyond the signatures in
//! `samebit_spec::wasi`. Rules and their reasons: `spec/03-execution.md`, sections 2 and 3.
//!
//! This is the seam for metering, stack height and NaN: a pass that needs them works on function bodies in
//! `instrument.rs`, between validation and encoding. Today bodies are re-encoded as they are and the
//! engine's own fuel and NaN switches stand in.
//!
//! Invariants:
//! - A1: what is admitted imports only preview1 functions with their exact types.
//! - A2: what is admitted has all its state in one exported memory and in mutable globals that the rewritten
//!   module exports: tables do not change, segments are not dropped, nothing is passive.
//! - A3: no admitted code runs before the runtime calls an export.
#![forbid(unsafe_code)]

mod admit;
mod instrument;
mod refusal;

pub use refusal::{At, Counted, Feature, Refusal};

use samebit_spec::{content::BlobRef, execution::Profile, id::ExecutableId, param, task::TaskForm, wire};

/// Name of the export that a start section is turned into.
pub const EXPORT_START: &str = "__samebit_start";

/// Name of the export of the mutable global with this index.
#[must_use]
pub fn global_export(index: u32) -> String {
    format!("__samebit_g{index}")
}

/// Type of a mutable global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalType {
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `v128`.
    V128,
}

/// A module as the engine runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// The published module.
    pub module: BlobRef,
    /// The rewritten module.
    pub bytes: Vec<u8>,
    /// Hash of profile and rewritten module.
    pub id: ExecutableId,
    /// How it is entered.
    pub form: TaskForm,
    /// Names of the preview1 functions that it imports, sorted, each once.
    pub imports: Vec<String>,
    /// Pages of 64 KiB that its memory begins with.
    pub memory_min_pages: u32,
    /// Pages beyond which its memory never grows, where it says so itself.
    pub memory_max_pages: Option<u32>,
    /// Mutable globals in index order. Each is exported as [`global_export`] of its index.
    pub globals: Vec<(u32, GlobalType)>,
    /// Whether it had a start section, now the export [`EXPORT_START`].
    pub start: bool,
}

/// Admits and rewrites a module.
///
/// Time and memory are linear in the module's length, which is checked first.
///
/// # Errors
/// [`Refusal`] for the first rule that the module breaks, in the order of its bytes; memory and entries
/// are checked before the first body. The same module is refused for the same reason everywhere.
pub fn prepare(bytes: &[u8]) -> Result<Executable, Refusal> {
    if bytes.len() as u64 > param::MODULE_BYTES_MAX.0 {
        return Err(Refusal::TooLarge { len: bytes.len() as u64 });
    }
    let facts = admit::admit(bytes)?;
    let rewritten = instrument::instrument(bytes, &facts)?;
    let mut preimage = wire::encode(&Profile::Samebit1);
    preimage.extend_from_slice(&rewritten);
    Ok(Executable {
        module: BlobRef::of(bytes),
        id: ExecutableId(wire::derive("samebit/v1/executable", &preimage)),
        bytes: rewritten,
        form: facts.form,
        imports: facts.imports,
        memory_min_pages: facts.memory_min_pages,
        memory_max_pages: facts.memory_max_pages,
        globals: facts.globals,
        start: facts.start.is_some(),
    })
}
