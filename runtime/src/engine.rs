//! What a run needs of an engine, and what removes each source of nondeterminism.
//!
//! The rewritten module carries its own meter, stack height, limit of memory and NaN rule (`samebit-rewrite`), so an
//! engine has nothing to decide: it runs WebAssembly as the specification says, and two engines give the same
//! receipt. [`Engine`] compiles, [`Code`] makes a [`Machine`] for one run, and `run.rs` drives it.
//!
//! | source | what removes it |
//! |---|---|
//! | sign and payload of NaN | the rewriter: arithmetic results are canonical at once, moves keep their bits, as the deterministic profile of Wasm 3.0 has it. The engines' own switches are off |
//! | work done (fuel) | the rewriter: a meter in the module, by the profile's cost table. The engines' own meters decide nothing; the interpreter's cuts its time in slices |
//! | depth of the stack | the rewriter: weighted height, charged before a frame is made. The native stack is larger than any height within the limit needs (`frames.rs`); should it end first, that is a host fault |
//! | growth that fails now and then | the rewriter decides by the execution's limit; growth within it that this machine cannot give is a host fault, never -1 |
//! | interruption by time | there is none: a word that another thread sets when a run is cancelled (`stop.rs`), and a cancelled run has no outcome |
//! | relaxed SIMD | refused at admission, off in the engines |
//! | threads, atomics, shared memory | not compiled in, refused at admission |
//! | kinds of traps | mapped to our closed list, anything else is a host fault |
//! | memory after a trap | never looked at: the state before the step stands |
//! | float conversions, min, max, rounding, fused operations | exact in core Wasm; nothing is fused without relaxed SIMD |
//! | clocks, randomness, files, arguments, environment, polling | `samebit-wasi`, made of the execution alone |
//! | half-done calls | `samebit-wasi` checks every pointer before it acts, and is charged before that |
//! | a start function that runs before the meter | an export after rewriting, called under the meter |
//! | limits of the compiler | the profile's module limits are lower and come first; a compile failure is a host fault |
//! | processor features | code is made for the processor at hand: which instructions it uses changes no result of core Wasm, and frames decide nothing |
//! | memory64, tail calls, exceptions, GC, stack switching, wide arithmetic, page sizes | refused at admission, off or not compiled in |
//! | more than one memory | refused at admission; the engines have it for the word of `stop.rs`, which only compiled code of ours reads |

mod interpreter;
mod native;

use crate::{
    HostFault, Options,
    guest::{Guest, Halt},
};
use samebit_rewrite::Executable;
use samebit_spec::{execution::Trap, param, state::GlobalValue};
use std::{fmt, str::FromStr, sync::Arc};

/// Native stack that guest code may use: what `frames.rs` shows to be enough.
pub(crate) const STACK_BYTES: usize = crate::frames::STACK_BYTES;

/// What the host's own code needs on the guest's thread, above and below the guest.
pub(crate) const STACK_HOST_BYTES: usize = 4 << 20;

/// Bytes of a page of linear memory.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// Fuel that a trap forfeits at most, beside what was used.
pub(crate) const CHUNK: u64 = param::FUEL_CHUNK;

/// Which engine runs a module. Receipts do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKind {
    /// Wasmtime with its optimising compiler, Cranelift.
    #[default]
    Wasmtime,
    /// The interpreter wasmi: makes no machine code, so it needs no memory that is both written and executed.
    Wasmi,
}

impl EngineKind {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Wasmtime, Self::Wasmi];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::Wasmi => "wasmi",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no engine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no engine {given:?}, there are {}", names())]
pub struct UnknownEngine {
    /// What was given.
    pub given: String,
}

fn names() -> String {
    EngineKind::ALL.map(EngineKind::name).join(" and ")
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == given);
        named.ok_or_else(|| UnknownEngine { given: given.to_string() })
    }
}

/// Turns rewritten modules into something that runs.
pub(crate) trait Engine: Send + Sync {
    /// Its name, version and architecture.
    fn build(&self) -> &str;

    /// Compiles a rewritten module.
    fn compile(&self, executable: &Arc<Executable>) -> Result<Arc<dyn Code>, HostFault>;
}

/// A compiled module, for any number of runs at a time.
pub(crate) trait Code: Send + Sync {
    /// A machine for one run, with nothing in it yet.
    fn machine(&self, guest: Guest) -> Result<Box<dyn Machine>, HostFault>;
}

/// One run's instance, by the contract that `samebit-rewrite` states: the meter, the reason of a halt and the limit
/// of memory are globals of the module.
pub(crate) trait Machine {
    /// Makes the instance: memory, globals, table, segments. Runs no code of the guest.
    fn instantiate(&mut self, pages_max: u32) -> Result<(), Left>;

    /// Gives the stretch that begins its fuel, and forgets why the last one halted.
    fn refill(&mut self, fuel: i64) -> Result<(), HostFault>;

    /// Calls an entry; 0 where it gives no code.
    fn enter(&mut self, entry: Entry) -> Result<i32, Left>;

    /// Fuel that is left, as the contract defines it; `None` before there is an instance.
    fn fuel(&mut self) -> Option<i64>;

    /// Why the module halted itself: the contract's code, 0 when it did not.
    fn halt(&mut self) -> i32;

    /// Linear memory; empty before there is an instance.
    fn memory(&self) -> &[u8];

    /// Linear memory, to be written.
    fn memory_mut(&mut self) -> &mut [u8];

    /// Whether memory is mapped for this machine alone, begins with a page of the system's and never moves.
    fn maps_memory(&self) -> bool;

    /// Has memory be `pages` long. It never shrinks.
    fn grow(&mut self, pages: u32) -> Result<(), HostFault>;

    /// Sets the mutable globals of the published module, in index order; `false` when they are others.
    fn set_globals(&mut self, values: &[GlobalValue]) -> Result<bool, HostFault>;

    /// The mutable globals of the published module, in index order.
    fn globals(&mut self) -> Result<Vec<GlobalValue>, HostFault>;

    /// What the guest can reach.
    fn guest(&self) -> &Guest;

    /// What the guest can reach.
    fn guest_mut(&mut self) -> &mut Guest;
}

/// An export that the runtime calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Start,
    Initialize,
    Command,
    Init,
    Step { budget: i64 },
    Finish,
}

impl Entry {
    pub(crate) fn name(self) -> &'static str {
        use samebit_spec::abi;
        match self {
            Self::Start => samebit_rewrite::EXPORT_START,
            Self::Initialize => abi::EXPORT_INITIALIZE,
            Self::Command => abi::EXPORT_COMMAND,
            Self::Init => abi::EXPORT_INIT,
            Self::Step { .. } => abi::EXPORT_STEP,
            Self::Finish => abi::EXPORT_FINISH,
        }
    }
}

/// Why guest code was left before it returned.
#[derive(Clone, Debug)]
pub(crate) enum Left {
    /// A call of the host ended it.
    Halt(Halt),
    /// It did what Wasm forbids, or halted itself: the contract's halt tells them apart.
    Trap(Trap),
    /// The engine or the machine failed.
    Fault(HostFault),
}

impl Left {
    pub(crate) fn unknown(reason: impl fmt::Display) -> Self {
        Self::Fault(HostFault::Unknown { reason: reason.to_string() })
    }
}

impl From<HostFault> for Left {
    fn from(fault: HostFault) -> Self {
        Self::Fault(fault)
    }
}

/// What an export is missing when the rewriter did not write it.
pub(crate) fn missing(name: &str) -> HostFault {
    HostFault::Unknown { reason: format!("the rewritten module has no fitting export {name:?}") }
}

/// Sets an engine up.
pub(crate) fn open(options: &Options) -> Result<Arc<dyn Engine>, HostFault> {
    Ok(match options.engine {
        EngineKind::Wasmtime => Arc::new(native::Native::new(options)?),
        EngineKind::Wasmi => Arc::new(interpreter::Interpreter::new()?),
    })
}
