//! The one configuration of the engine, and what it does about each source of nondeterminism.
//!
//! | source | what removes it |
//! |---|---|
//! | sign and payload of NaN | `cranelift_nan_canonicalization`: arithmetic results are canonical at once, moves keep their bits, as the deterministic profile of Wasm 3.0 has it. Stands in for the rewriter's own pass |
//! | relaxed SIMD | refused at admission, off in the engine |
//! | threads, atomics, shared memory | not compiled in, refused at admission |
//! | growth that fails now and then | the limit decides first ([`crate::guest`]); growth within it that this machine cannot give is a host fault, never -1 |
//! | depth of the stack | [`STACK_BYTES`] of native stack, the same everywhere. Frame sizes are the compiler's, so the depth at which a guest overflows is the same only for one engine build and one architecture. Stands in until the rewriter counts stack height |
//! | work done (fuel) | the engine's own fuel, on a pinned version with its own costs. Exact where the guest calls, returns or executes `unreachable`; a step that ends in another trap is charged all it could have used. Stands in until the rewriter meters |
//! | interruption by time | the epoch moves only when a run is cancelled; a run that was not goes on as if nothing had been. The checks cost no fuel, and a cancelled run has no outcome |
//! | kinds of traps | mapped to our closed list, anything else is a host fault ([`crate::run`]) |
//! | memory after a trap | never looked at: the state before the step stands |
//! | float conversions, min, max, rounding, fused operations | exact in core Wasm; nothing is fused without relaxed SIMD |
//! | clocks, randomness, files, arguments, environment, polling | `samebit-wasi`, made of the execution alone |
//! | half-done calls | `samebit-wasi` checks every pointer before it acts, and is charged before that |
//! | a start function that runs before the meter | an export after rewriting, called under the meter |
//! | limits of the compiler | the profile's module limits are lower and come first; a compile failure is a host fault |
//! | processor features | code is made for the architecture's baseline and never for the processor at hand, so frames have the same size on all processors of one architecture |
//! | memory64, multi-memory, tail calls, exceptions, GC, stack switching, wide arithmetic, page sizes | refused at admission, off or not compiled in |

use crate::{HostFault, guest, guest::Guest};
use samebit_rewrite::Executable;
use wasmtime::{Config, Linker, Module, OptLevel, Strategy};

/// The engine's version, as the workspace pins it.
const VERSION: &str = "48.0.8";

/// Native stack that a guest may use.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// What the host's own code needs on the guest's thread, above and below the guest.
pub(crate) const STACK_HOST_BYTES: usize = 4 << 20;

/// The engine with preview1 linked to it.
pub(crate) struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    build: String,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("build", &self.build).finish_non_exhaustive()
    }
}

/// The baseline of this architecture. Naming a target is what keeps the compiler from asking the processor what
/// else it can do.
const TARGET: Option<&str> = if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
    Some("x86_64-unknown-linux-gnu")
} else if cfg!(all(target_arch = "aarch64", target_os = "linux")) {
    Some("aarch64-unknown-linux-gnu")
} else if cfg!(all(target_arch = "x86_64", target_os = "macos")) {
    Some("x86_64-apple-darwin")
} else if cfg!(all(target_arch = "aarch64", target_os = "macos")) {
    Some("aarch64-apple-darwin")
} else if cfg!(all(target_arch = "x86_64", target_os = "windows")) {
    Some("x86_64-pc-windows-msvc")
} else {
    None
};

fn config() -> Result<Config, HostFault> {
    let target = TARGET.ok_or(HostFault::Platform { arch: std::env::consts::ARCH, os: std::env::consts::OS })?;
    let mut config = Config::new();
    config.target(target).map_err(|error| HostFault::Engine { reason: format!("{error:#}") })?;
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // Semantics: what samebit-1 leaves out is off, although admission refuses it before.
        .cranelift_nan_canonicalization(true)
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_extended_const(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        .wasm_shared_everything_threads(false)
        .shared_memory(false)
        // Meter.
        .consume_fuel(true)
        // Cancellation.
        .epoch_interruption(true)
        // Stack. The second number only has to be no smaller: nothing runs asynchronously.
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(STACK_BYTES + STACK_HOST_BYTES)
        // Growth never moves memory, so it fails at instantiation or not at all.
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_init_cow(true)
        // Nobody reads a guest's backtrace: stderr is where a task explains itself.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false);
    Ok(config)
}

impl Engine {
    pub(crate) fn new() -> Result<Self, HostFault> {
        let fault = |error: wasmtime::Error| HostFault::Engine { reason: format!("{error:#}") };
        let engine = wasmtime::Engine::new(&config()?).map_err(fault)?;
        let linker = guest::linker(&engine).map_err(fault)?;
        Ok(Self { engine, linker, build: format!("wasmtime-{VERSION} {}", std::env::consts::ARCH) })
    }

    pub(crate) fn build(&self) -> &str {
        &self.build
    }

    pub(crate) fn linker(&self) -> &Linker<Guest> {
        &self.linker
    }

    /// Makes every guest of this engine ask whether it is cancelled, at its next loop or call.
    pub(crate) fn nudge(&self) {
        self.engine.increment_epoch();
    }

    pub(crate) fn compile(&self, executable: &Executable) -> Result<Module, HostFault> {
        Module::from_binary(&self.engine, &executable.bytes)
            .map_err(|error| HostFault::Compile { module: executable.module.id, reason: format!("{error:#}") })
    }
}
