//! The rewriter against two engines, a naive meter and the WebAssembly specification's own test suite.
//!
//! Decides nothing of the protocol: it runs modules, original and rewritten, on wasmtime and on wasmi, and compares
//! what can be seen. What must be equal is chapter 03 of the spec; `tests/` of this crate holds the sizes that fit a
//! test run, `cargo xtask fuzz` runs the same checks for as long as one likes.

pub mod compare;
pub mod guest;
pub mod machine;
pub mod naive;
pub mod nan;
pub mod program;
pub mod rng;
pub mod smith;
pub mod stack;
mod state;
pub mod suite;
pub mod targets;
pub mod tensor;
pub mod value;
pub mod wasi;

/// Runs `work` on a thread whose native stack holds what compiled code may use, and the host's own need.
///
/// # Panics
/// When `work` does, with what it said.
pub fn on_big_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new()
        .name("guest".to_owned())
        .stack_size(machine::STACK_BYTES + (64 << 20))
        .spawn(work)
        .expect("a thread with a large stack");
    match thread.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
