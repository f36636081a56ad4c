//! What a running module can reach: its memory within the execution's limit, and preview1 behind the meter.

use crate::serve::{Live, Remote};
use samebit_spec::{abi, execution::Trap, unit::Fuel};
use samebit_wasi::{Call, FUNCTIONS, SliceMemory, Stop, Wasi};
use std::sync::Arc;
use wasmtime::{Caller, FuncType, Linker, Memory, ResourceLimiter, Val, ValType};

/// A guest's side of the store.
pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) content: Remote,
    /// Known from instantiation on; no code of the guest runs before that.
    pub(crate) memory: Option<Memory>,
    pub(crate) meter: Meter,
    pub(crate) growth: Growth,
    pub(crate) live: Arc<Live>,
}

/// Fuel of the whole run, told from what the engine has left of the stretch under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Used before this stretch.
    pub(crate) used: u64,
    /// What this stretch may use.
    pub(crate) allowance: u64,
}

impl Meter {
    /// Fuel used by now, when the engine has `left`.
    pub(crate) fn now(self, left: u64) -> u64 {
        self.used.saturating_add(self.allowance.saturating_sub(left))
    }
}

/// Why the guest was left from within a call to the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    #[error("the guest exited with {0}")]
    Exit(u32),
    #[error("the guest trapped: {0:?}")]
    Trap(Trap),
    #[error("the guest is out of fuel")]
    Fuel,
    #[error("{0}")]
    Content(String),
    #[error("{0}")]
    Memory(String),
    #[error("the run was cancelled")]
    Cancelled,
}

/// Decides growth of memory by the execution's limit alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) max_bytes: u64,
}

/// What the engine says when growth would pass 4 GiB, which it finds before it asks the limiter. The same on
/// every host, so the guest gets -1; a test holds the pinned engine to these words.
const BEYOND_TYPE: &str = "memory growth exceeds memory type's limits";

impl ResourceLimiter for Growth {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.max_bytes && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        let reason = error.to_string();
        if reason == BEYOND_TYPE { Ok(()) } else { Err(wasmtime::Error::new(Halt::Memory(reason))) }
    }

    // Tables are bounded at admission and never grow afterwards.
    fn table_growing(&mut self, _current: usize, _desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// Links every function of preview1.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let core = |ty: &samebit_wasi::ValType| match ty {
        samebit_wasi::ValType::I32 => ValType::I32,
        samebit_wasi::ValType::I64 => ValType::I64,
    };
    let mut linker = Linker::new(engine);
    for function in FUNCTIONS {
        let ty = FuncType::new(engine, function.params.iter().map(core), function.result.iter().map(core));
        let call = function.call;
        linker.func_new(abi::WASI_MODULE, function.name, ty, move |mut caller, args, results| {
            let errno = host_call(&mut caller, call, args)?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno);
            }
            Ok(())
        })?;
    }
    Ok(linker)
}

/// Charges a call and then carries it out.
fn host_call(caller: &mut Caller<'_, Guest>, call: Call, args: &[Val]) -> wasmtime::Result<i32> {
    let args: Vec<u64> = args
        .iter()
        .map(|value| match value {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            // No signature of preview1 has another type.
            _ => 0,
        })
        .collect();
    let halt = |halt: Halt| wasmtime::Error::new(halt);
    if caller.data().live.is_cancelled() {
        return Err(halt(Halt::Cancelled));
    }
    let memory = caller.data().memory.ok_or_else(|| halt(Halt::Memory("called before instantiation".into())))?;
    let left = caller.get_fuel()?;
    let (bytes, guest) = memory.data_and_store_mut(&mut *caller);
    let cost = guest.wasi.cost(call, &args, &SliceMemory(bytes)).0;
    let Some(left) = left.checked_sub(cost) else {
        return Err(halt(Halt::Fuel));
    };
    caller.set_fuel(left)?;
    let (bytes, guest) = memory.data_and_store_mut(&mut *caller);
    let used = guest.meter.now(left);
    guest.live.set_fuel(used);
    let done = guest.wasi.call(call, &args, &mut SliceMemory(bytes), &guest.content, Fuel(used));
    done.map(samebit_wasi::Errno::to_i32).map_err(|stop| {
        halt(match stop {
            Stop::Exit(code) => Halt::Exit(code),
            Stop::HostFault(reason) => Halt::Content(reason),
        })
    })
}
