//! Admission and instrumentation: a module's bytes in, an [`Executable`] or a [`Refusal`] out.
//!
//! [`prepare`] decides what code the network runs. It is pure and byte-stable: the same module gives the same
//! rewritten bytes on every machine and in every build, because the hash of those bytes, with the profile, is
//! the executable's id. It never compiles or runs anything, and it knows no WASI beyond the signatures in
//! `samebit_spec::wasi`. Rules and their reasons: `spec/03-execution.md`, sections 2 and 3.
//!
//! Exceptions and atomic instructions become plain code first (`lower.rs`).
//!
//! What the rewritten module does beside the module's own work (`spec/03-execution.md`, sections 8 to 10):
//! - it charges fuel, exactly, and stops when none is left (`segments.rs`, `calls.rs`);
//! - it counts stack height, so that the depth of a recursion is the same everywhere;
//! - it makes NaNs canonical (`nan.rs`);
//! - it asks for memory within the execution's limit and nothing else.
//!
//! A runtime drives it through the exports named here and needs no meter, limit or switch of its engine's.
//!
//! Invariants:
//! - A1: what is admitted imports only functions of preview1 and on tensors, with their exact types.
//! - A2: what is admitted has all its state in one exported memory and in mutable globals that the rewritten
//!   module exports: tables do not change, segments are not dropped, nothing is passive.
//! - A3: no admitted code runs before the runtime calls an export.
#![forbid(unsafe_code)]

mod admit;
mod calls;
mod cost;
mod counted;
mod emit;
mod function;
mod instrument;
mod lower;
mod nan;
mod op;
mod refusal;
mod segments;

pub use emit::Halt;
pub use refusal::{At, Counted, Feature, Refusal};

use admit::{Form, Rules};
use samebit_spec::{
    content::BlobRef,
    execution::Profile,
    fuel::{self, FuelTable},
    id::ExecutableId,
    param,
    task::TaskForm,
    wire,
};

/// Name of the exported mutable `i64` global with the fuel that a stretch has left, what is in hand not counted.
///
/// The host sets it to the allowance before it calls in. During a call of the host's, and after a normal return, it
/// is exact; negative means out of fuel. After a trap what was in hand is lost to the guest: fuel used is the
/// allowance less this number, which is then held to be from 0 to the allowance.
pub const EXPORT_FUEL: &str = "__samebit_fuel";
/// Name of the exported mutable `i32` global that tells, after a trap, that the rewriter's code and not the guest's
/// made it, and why: [`Halt`]. The trap itself may be of any kind then. The host sets it to 0 before it calls in.
pub const EXPORT_HALT: &str = "__samebit_halt";
/// Name of the exported mutable `i32` global with the pages that memory may grow to. The host sets it after
/// instantiation and before it calls anything: the least of the execution's limit, the module's own maximum and
/// 65535.
pub const EXPORT_PAGES: &str = "__samebit_pages";
/// Name of the exported memory of one page whose first 4 bytes stop the guest when the host sets all their bits,
/// which another thread of the host may do at any time. The guest looks at them when it takes
/// the next [`param::FUEL_CHUNK`] in hand and then halts with [`Halt::Fuel`]; the host knows that it has stopped it.
pub const EXPORT_STOP: &str = "__samebit_stop";

/// What is done about NaNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nan {
    /// Nothing: NaNs are the processor's.
    Keep,
    /// The result of every operator that makes one is made canonical.
    Eager,
    /// Only what can be seen is made canonical. The same bits as [`Nan::Eager`].
    Lazy,
}

/// What is written into a module. The network knows [`Settings::PROFILE`] only; the others are for measurement and
/// for proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What operators cost.
    pub fuel: FuelTable,
    /// Whether fuel is charged.
    pub meter: bool,
    /// Whether stack height is counted.
    pub stack: bool,
    /// What is done about NaNs.
    pub nan: Nan,
}

impl Settings {
    /// Profile `samebit-1`.
    pub const PROFILE: Self = Self { fuel: fuel::SAMEBIT_1, meter: true, stack: true, nan: Nan::Lazy };
}

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
    /// Whether it imports functions on tensors.
    pub tensors: bool,
    /// Pages of 64 KiB that its memory begins with.
    pub memory_min_pages: u32,
    /// Pages beyond which its memory never grows, where it says so itself.
    pub memory_max_pages: Option<u32>,
    /// Mutable globals in index order. Each is exported as [`global_export`] of its index.
    pub globals: Vec<(u32, GlobalType)>,
    /// Functions of the rewritten module with their stack height in units. Native frames are checked against it.
    pub heights: Vec<(u32, u32)>,
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
    rewrite(bytes, Rules::Task, &Settings::PROFILE)
}

/// Rewrites a module that need not be a task: any functions may be imported, and all functions, memories and
/// globals that it exports stay exported. Its `form` tells nothing. For measurement and for proofs.
///
/// # Errors
/// As [`prepare`], without the rules of a task's form.
pub fn prepare_library(bytes: &[u8], settings: &Settings) -> Result<Executable, Refusal> {
    rewrite(bytes, Rules::Library, settings)
}

fn rewrite(bytes: &[u8], rules: Rules, settings: &Settings) -> Result<Executable, Refusal> {
    if bytes.len() as u64 > param::MODULE_BYTES_MAX.0 {
        return Err(Refusal::TooLarge { len: bytes.len() as u64 });
    }
    let facts = admit::admit(bytes, rules, Form::Published, &settings.fuel)?;
    if !facts.to_lower {
        return finish(bytes, bytes, facts, settings);
    }
    let lowered = lower::lower(bytes)?;
    let plain = admit::admit(&lowered.bytes, rules, Form::Plain, &settings.fuel);
    let facts = plain.map_err(|refusal| lowered.place(refusal))?;
    let facts = admit::Facts { exception: lowered.exception, ..facts };
    finish(bytes, &lowered.bytes, facts, settings).map_err(|refusal| lowered.place(refusal))
}

/// Instruments an admitted module, given as it was published and without exceptions.
fn finish(published: &[u8], plain: &[u8], facts: admit::Facts, settings: &Settings) -> Result<Executable, Refusal> {
    let rewritten = instrument::instrument(plain, &facts, settings)?;
    let profile = wire::encode(&Profile::Samebit1);
    let pieces = [profile.as_slice(), rewritten.bytes.as_slice()];
    let pages = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
    Ok(Executable {
        module: BlobRef::of(published),
        id: ExecutableId(wire::derive_all("samebit/v1/executable", &pieces)),
        bytes: rewritten.bytes,
        form: facts.form,
        imports: facts.imports,
        tensors: facts.tensors,
        memory_min_pages: facts.memory.map_or(0, |memory| pages(memory.initial)),
        memory_max_pages: facts.memory.and_then(|memory| memory.maximum).map(pages),
        globals: facts.mutable_globals,
        heights: rewritten.heights,
        start: facts.start.is_some(),
    })
}
