//! Why a module is not admitted: one case per rule, each with the place and the values.

use core::fmt;
use samebit_spec::{abi, param};

/// A place in the module as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The function, by index, where the place is inside one.
    pub function: Option<u32>,
    /// Offset in bytes from the beginning of the module.
    pub offset: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function {
            Some(function) => write!(f, "function {function}, offset {:#x}", self.offset),
            None => write!(f, "offset {:#x}", self.offset),
        }
    }
}

/// What a module has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Function types.
    Types,
    /// Parameters of a function type.
    Parameters,
    /// Results of a function type.
    Results,
    /// Imports.
    Imports,
    /// Functions that the module defines.
    Functions,
    /// Tables.
    Tables,
    /// Elements of all tables.
    TableElements,
    /// Pages that memory begins with.
    MemoryPages,
    /// Globals.
    Globals,
    /// Tags of exceptions.
    Tags,
    /// Exports.
    Exports,
    /// Element segments.
    ElementSegments,
    /// Elements of all element segments.
    Elements,
    /// Data segments.
    DataSegments,
    /// Bytes of all data segments.
    DataBytes,
    /// Locals of a function.
    Locals,
    /// Locals of all functions.
    ModuleLocals,
    /// Operands of a function.
    Operands,
    /// Bytes of a function's body.
    BodyBytes,
    /// Parameters and results of a block.
    BlockValues,
    /// Parameters and results of all blocks of a function beyond one each.
    FunctionBlockValues,
    /// Blocks inside one another.
    Nesting,
    /// Loops inside one another.
    NestedLoops,
    /// Blocks, loops and branches of a function.
    Branches,
    /// Ways of a function's branch tables.
    Ways,
    /// Bytes of a function's body once it is rewritten.
    RewrittenBytes,
    /// Blocks, loops and branches of a function once it is rewritten.
    RewrittenBranches,
    /// The same of all functions.
    ModuleBranches,
    /// Parameters and results of all calls of a function.
    Passed,
    /// Assignments to locals within loops.
    LoopSets,
    /// Assignments to locals within blocks.
    BlockSets,
    /// Bytes of an initial value or of a segment's offset.
    ConstantBytes,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Types => "function types",
            Self::Parameters => "parameters of a function type",
            Self::Results => "results of a function type",
            Self::Imports => "imports",
            Self::Functions => "functions",
            Self::Tables => "tables",
            Self::TableElements => "table elements",
            Self::MemoryPages => "memory pages at the beginning",
            Self::Globals => "globals",
            Self::Tags => "tags of exceptions",
            Self::Exports => "exports",
            Self::ElementSegments => "element segments",
            Self::Elements => "elements of all segments",
            Self::DataSegments => "data segments",
            Self::DataBytes => "bytes of data segments",
            Self::Locals => "locals of a function",
            Self::ModuleLocals => "locals of all functions",
            Self::Operands => "operands on the stack at once",
            Self::BodyBytes => "bytes of a function's body",
            Self::BlockValues => "parameters and results of a block",
            Self::FunctionBlockValues => "parameters and results of a function's blocks, one of each block not counted",
            Self::Nesting => "blocks inside one another",
            Self::NestedLoops => "loops inside one another",
            Self::Branches => "blocks, loops and branches of a function",
            Self::Ways => "ways of a function's branch tables",
            Self::RewrittenBytes => "bytes of a function's body once it is rewritten",
            Self::RewrittenBranches => "blocks, loops and branches of a function once it is rewritten",
            Self::ModuleBranches => "blocks, loops and branches of all functions once they are rewritten",
            Self::Passed => "parameters and results of a function's calls",
            Self::LoopSets => "assignments to locals within a function's loops, once for each local and loop",
            Self::BlockSets => "assignments to locals within a function's blocks, once for each local and block",
            Self::ConstantBytes => "bytes of a constant expression",
        })
    }
}

/// A part of WebAssembly that profile `samebit-1` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The component model.
    Components,
    /// Shared memory, and atomics that need one.
    Threads,
    /// Relaxed SIMD.
    RelaxedSimd,
    /// 64-bit memories and tables.
    Memory64,
    /// More than one memory.
    MultiMemory,
    /// Tail calls.
    TailCalls,
    /// Exceptions of the older kind, and of the newer kind what has no lowering.
    Exceptions,
    /// Garbage-collected types.
    Gc,
    /// References as values, those to exceptions aside.
    References,
    /// Memory pages of other sizes.
    CustomPageSizes,
    /// 128-bit arithmetic.
    WideArithmetic,
    /// Stack switching.
    StackSwitching,
    /// Anything newer.
    Other,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Components => "components",
            Self::Threads => "threads",
            Self::RelaxedSimd => "relaxed SIMD",
            Self::Memory64 => "64-bit memory",
            Self::MultiMemory => "second memory",
            Self::TailCalls => "tail calls",
            Self::Exceptions => "exceptions of this form",
            Self::Gc => "garbage-collected types",
            Self::References => "references of this kind",
            Self::CustomPageSizes => "custom page sizes",
            Self::WideArithmetic => "wide arithmetic",
            Self::StackSwitching => "stack switching",
            Self::Other => "such instruction",
        })
    }
}

/// Why a module is not admitted. Nothing was compiled and nothing ran.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than any module may be; nothing of it was read.
    #[error("the module is {len} bytes long, at most {max}", max = param::MODULE_BYTES_MAX)]
    TooLarge {
        /// How long it is.
        len: u64,
    },
    /// Too long once its exceptions and atomics are plain code.
    #[error(
        "{at}: without exceptions and atomics the module is {len} bytes long or more, at most {max}",
        max = param::MODULE_BYTES_MAX
    )]
    Grown {
        /// Where it passed the limit.
        at: At,
        /// How long it was there.
        len: u64,
    },
    /// More of something than the profile allows.
    #[error("{at}: {count} {what}, at most {max}")]
    TooMany {
        /// Where.
        at: At,
        /// Of what.
        what: Counted,
        /// How many there are.
        count: u64,
        /// How many are allowed.
        max: u64,
    },
    /// Not a valid module of the profile, in the validator's words.
    #[error("{at}: not a valid module: {reason}")]
    Invalid {
        /// Where.
        at: At,
        /// The validator's words.
        reason: String,
    },
    /// A feature outside the profile, whose name stands behind "has no".
    #[error("{at}: profile samebit-1 has no {feature} ({what})")]
    Feature {
        /// Where.
        at: At,
        /// Which.
        feature: Feature,
        /// The instruction or item that needs it.
        what: String,
    },
    /// An import that is none of the host's functions.
    #[error(
        "{at}: import {module:?} {name:?} does not exist: a task may import functions of {wasi} and {tensor} and nothing \
         else",
        wasi = abi::WASI_MODULE,
        tensor = abi::TENSOR_MODULE
    )]
    Import {
        /// Where.
        at: At,
        /// Module that it is imported from.
        module: String,
        /// Its name.
        name: String,
    },
    /// A name of the host's that is imported with another type.
    #[error("{at}: import {name:?} is {found}, the host has it as {wanted}")]
    ImportType {
        /// Where.
        at: At,
        /// Its name.
        name: String,
        /// The type that the host gives it.
        wanted: String,
        /// The type that the module gives it.
        found: String,
    },
    /// No memory, or none of the name that WASI functions use.
    #[error("the module has no memory of its own exported as `{name}`", name = abi::EXPORT_MEMORY)]
    Memory,
    /// An export whose name is the rewriter's to give.
    #[error("{at}: export {name:?} begins with the reserved prefix {prefix:?}", prefix = abi::RESERVED_PREFIX)]
    Reserved {
        /// Where.
        at: At,
        /// Its name.
        name: String,
    },
    /// An instruction that changes a table. Tables are not part of a state root.
    #[error("{at}: `{instruction}` changes a table, which profile samebit-1 does not allow")]
    TableChange {
        /// Where.
        at: At,
        /// Which.
        instruction: String,
    },
    /// An instruction that uses or drops a segment. Dropped segments would be state.
    #[error("{at}: `{instruction}` uses segments at run time, which profile samebit-1 does not allow")]
    SegmentUse {
        /// Where.
        at: At,
        /// Which.
        instruction: String,
    },
    /// A segment that is not written at instantiation.
    #[error("{at}: {kind} segment {index} is not active, which profile samebit-1 does not allow")]
    Passive {
        /// Where.
        at: At,
        /// `data` or `element`.
        kind: &'static str,
        /// Which.
        index: u32,
    },
    /// Neither form of task.
    #[error(
        "the module exports neither `{command}` nor `{step}`: it is no task",
        command = abi::EXPORT_COMMAND,
        step = abi::EXPORT_STEP
    )]
    NoEntry,
    /// Both forms of task.
    #[error(
        "{at}: the module exports both `{command}` and `{name}`: a task has one form",
        command = abi::EXPORT_COMMAND
    )]
    TwoForms {
        /// Where the stepped export is.
        at: At,
        /// The stepped export.
        name: &'static str,
    },
    /// A stepped task without one of its exports. Without `_initialize` the linker has wrapped every export in
    /// constructor and destructor calls, so that no step would leave a state to go on from.
    #[error("a stepped task exports `{name}`, this module does not{hint}", hint = hint(name))]
    ExportMissing {
        /// Which.
        name: &'static str,
    },
    /// An entry that is no function of the module, or one of another type.
    #[error("{at}: export `{name}` is {found}, a task has it as {wanted}")]
    ExportType {
        /// Where the export is.
        at: At,
        /// Which.
        name: &'static str,
        /// What the form wants.
        wanted: &'static str,
        /// What the module has.
        found: String,
    },
}

fn hint(name: &str) -> &'static str {
    if name == abi::EXPORT_INITIALIZE {
        ": its steps are wrapped in constructor calls; build it with the SDK or export a reactor's `_initialize`"
    } else {
        ""
    }
}
