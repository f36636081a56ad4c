//! What the exports made by [`crate::task`] call. Not for tasks to use.

use crate::{
    Step, Steps, TaskError, error,
    io::{read_input, write_result},
};
use samebit_spec::abi::StepCode;
use serde::{Serialize, de::DeserializeOwned};
use std::{cell::RefCell, fmt::Display, thread::LocalKey};

/// Where a task's state is between calls.
pub type Slot<T> = LocalKey<RefCell<Option<T>>>;

/// `samebit_init` of a stepped task.
pub fn init<T: Steps>(slot: &'static Slot<T>) -> i32 {
    code(StepCode::More, || {
        if slot.with_borrow(Option::is_some) {
            return Err(TaskError::OutOfTurn);
        }
        let task = T::start(read_input()?).map_err(error::task)?;
        slot.set(Some(task));
        Ok(())
    })
}

/// `samebit_step` of a stepped task.
pub fn step<T: Steps>(slot: &'static Slot<T>, budget: i64) -> i32 {
    crate::pieces::clock::set_budget(budget);
    slot.with_borrow_mut(|task| match task.as_mut().map(T::step) {
        Some(Ok(Step::More)) => StepCode::More.to_i32(),
        Some(Ok(Step::Done)) => StepCode::Done.to_i32(),
        Some(Err(message)) => fail(&error::task(message)),
        None => fail(&TaskError::OutOfTurn),
    })
}

/// `samebit_finish` of a stepped task.
pub fn finish<T: Steps>(slot: &'static Slot<T>) -> i32 {
    code(StepCode::Done, || {
        let task = slot.take().ok_or(TaskError::OutOfTurn)?;
        write_result(&task.finish().map_err(error::task)?)
    })
}

/// `samebit_step` of a plain function: all of it in one step.
pub fn call<I, O, E>(function: impl FnOnce(I) -> Result<O, E>) -> i32
where
    I: DeserializeOwned + 'static,
    O: Serialize,
    E: Display,
{
    code(StepCode::Done, || write_result(&function(read_input()?).map_err(error::task)?))
}

/// `samebit_init` of a plain function, which has nothing to make ready.
pub const READY: i32 = StepCode::More.to_i32();
/// `samebit_finish` of a plain function, which has written its result already.
pub const FINISHED: i32 = StepCode::Done.to_i32();

fn code(good: StepCode, work: impl FnOnce() -> Result<(), TaskError>) -> i32 {
    match work() {
        Ok(()) => good.to_i32(),
        Err(error) => fail(&error),
    }
}

fn fail(error: &TaskError) -> i32 {
    eprintln!("error: {error}");
    StepCode::Failed.to_i32()
}

/// The entry that a host calls before any other.
#[allow(unsafe_code, reason = "exports and imports by symbol name are unsafe; there is no other way to make them")]
mod start {
    use std::sync::atomic::{AtomicBool, Ordering};

    unsafe extern "C" {
        /// Made by the linker: calls the constructors of the C library and of Rust.
        fn __wasm_call_ctors();
    }

    /// Calls the constructors once.
    ///
    /// Because this names `__wasm_call_ctors`, the linker wraps no export in a constructor and destructor call of
    /// its own, which would tear the state down after each step.
    // SAFETY: no other symbol of the program has this name, and the signature is that of the ABI.
    #[unsafe(no_mangle)]
    extern "C" fn _initialize() {
        static CALLED: AtomicBool = AtomicBool::new(false);
        if !CALLED.swap(true, Ordering::Relaxed) {
            // SAFETY: the linker defines it with this signature, and it is called once, before anything else.
            unsafe { __wasm_call_ctors() }
        }
    }
}
