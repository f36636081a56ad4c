//! Wasmtime: rewritten modules as machine code.
//!
//! Code is made for the processor at hand. The engine's own fuel, epochs and NaN switch are off, for the module
//! brings its own; more than one memory is on for the word by which a run is stopped.

use super::{Code, Engine, Entry, Left, Machine, STACK_BYTES, STACK_HOST_BYTES, missing};
use crate::{
    Allocator, HostFault, Options,
    cache::Cache,
    frames,
    guest::{Guest, Halt, HostCall, PARAMS_MAX},
    stop::Stoppable,
};
use samebit_rewrite::{EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, Executable, global_export};
use samebit_spec::{abi, execution::Trap, state::GlobalValue, tensor::host, wasi::CoreType};
use samebit_wasi::FUNCTIONS;
use std::sync::Arc;
use wasmtime::{
    Caller, Config, FuncType, Global, Inlining, Instance, InstanceAllocationStrategy, InstancePre, Linker, Memory,
    Module, OptLevel, PoolingAllocationConfig, Store, Strategy, Val, ValType, WasmParams, WasmResults,
};

/// The engine's version, as the workspace pins it.
const VERSION: &str = "48.0.8";

/// The engine with preview1 linked to it.
pub(crate) struct Native {
    engine: wasmtime::Engine,
    linker: Linker<Data>,
    build: String,
    cache: Option<Cache>,
}

/// What the store carries.
struct Data {
    guest: Guest,
    /// Known from instantiation on; no code of the guest runs before that.
    cells: Option<Cells>,
}

/// Where the contract's parts are.
#[derive(Clone, Copy)]
struct Cells {
    memory: Memory,
    fuel: Global,
    halt: Global,
    pages: Global,
}

fn config(allocator: Allocator) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // A frame belongs to one function, whose weight was charged for it (`frames.rs`).
        .compiler_inlining(Inlining::No)
        // Semantics: what samebit-1 leaves out is off, although admission refuses it before.
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_extended_const(true)
        .wasm_multi_memory(true)
        .wasm_branch_hinting(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        .wasm_shared_everything_threads(false)
        .shared_memory(false)
        // The module brings its own.
        .cranelift_nan_canonicalization(false)
        .consume_fuel(false)
        .epoch_interruption(false)
        // The second number only has to be no smaller: nothing runs asynchronously.
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(STACK_BYTES + STACK_HOST_BYTES)
        // Growth never moves memory, so what it needs is set aside at instantiation or not at all.
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_may_move(false)
        .memory_init_cow(true)
        // Nobody reads a guest's backtrace: stderr is where a task explains itself.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    if let Allocator::Pooling { instances } = allocator {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(instances)
            .total_memories(instances.saturating_mul(2))
            .total_tables(instances)
            .max_memories_per_module(2)
            .max_tables_per_module(1)
            .table_elements(usize::try_from(samebit_spec::param::TABLE_ELEMENTS_MAX).unwrap_or(usize::MAX))
            .max_core_instance_size(1 << 20)
            .max_memory_size(4 << 30);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

impl Native {
    pub(crate) fn new(options: &Options) -> Result<Self, HostFault> {
        let fault = |error: wasmtime::Error| HostFault::Engine { reason: format!("{error:#}") };
        let engine = wasmtime::Engine::new(&config(options.allocator)).map_err(fault)?;
        let linker = linker(&engine).map_err(fault)?;
        let build = format!("wasmtime-{VERSION} {}", std::env::consts::ARCH);
        let cache = options.cache.clone().map(|cache| cache.for_engine(&engine.precompile_compatibility_hash()));
        Ok(Self { engine, linker, build, cache })
    }

    /// Compiled code: the host's own from before, or made anew.
    fn module(&self, executable: &Executable) -> Result<Module, HostFault> {
        let fault =
            |error: wasmtime::Error| HostFault::Compile { module: executable.module.id, reason: format!("{error:#}") };
        if let Some(cache) = &self.cache
            && let Some(module) = cache.load(&self.engine, executable.id)
        {
            return Ok(module);
        }
        let module = Module::from_binary(&self.engine, &executable.bytes).map_err(fault)?;
        frames::check(&module, executable)?;
        if let Some(cache) = &self.cache {
            cache.store(executable.id, &module.serialize().map_err(fault)?);
        }
        Ok(module)
    }
}

impl Engine for Native {
    fn build(&self) -> &str {
        &self.build
    }

    fn compile(&self, executable: &Arc<Executable>) -> Result<Arc<dyn Code>, HostFault> {
        let module = self.module(executable)?;
        let pre = self
            .linker
            .instantiate_pre(&module)
            .map_err(|error| HostFault::Compile { module: executable.module.id, reason: format!("{error:#}") })?;
        Ok(Arc::new(NativeCode { pre, executable: Arc::clone(executable) }))
    }
}

struct NativeCode {
    pre: InstancePre<Data>,
    executable: Arc<Executable>,
}

impl Code for NativeCode {
    fn machine(&self, guest: Guest) -> Result<Box<dyn Machine>, HostFault> {
        let store = Store::new(self.pre.module().engine(), Data { guest, cells: None });
        Ok(Box::new(NativeMachine {
            store: Stoppable::new(store),
            pre: self.pre.clone(),
            executable: Arc::clone(&self.executable),
            instance: None,
            globals: Vec::new(),
        }))
    }
}

struct NativeMachine {
    store: Stoppable<Data>,
    pre: InstancePre<Data>,
    executable: Arc<Executable>,
    instance: Option<Instance>,
    globals: Vec<Global>,
}

impl NativeMachine {
    fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, params: P) -> Result<R, Left> {
        let instance = self.instance.ok_or_else(|| Left::unknown("called before instantiation"))?;
        let function = instance.get_typed_func::<P, R>(&mut self.store, name).map_err(|_| missing(name))?;
        function.call(&mut self.store, params).map_err(|error| left(&error))
    }
}

impl Machine for NativeMachine {
    fn instantiate(&mut self, pages_max: u32) -> Result<(), Left> {
        // Segments outside memory or table trap as the guest's doing; short of that, an admitted module within
        // its limits fails to instantiate only for want of memory.
        let instance = self.pre.instantiate(&mut self.store).map_err(|error| {
            if error.is::<wasmtime::Trap>() {
                left(&error)
            } else {
                Left::Fault(HostFault::Memory { reason: format!("{error:#}") })
            }
        })?;
        let store = &mut self.store;
        let memory = instance.get_memory(&mut *store, abi::EXPORT_MEMORY).ok_or_else(|| missing(abi::EXPORT_MEMORY))?;
        let mut global = |name: &str| instance.get_global(&mut *store, name).ok_or_else(|| missing(name));
        let (fuel, halt, pages) = (global(EXPORT_FUEL)?, global(EXPORT_HALT)?, global(EXPORT_PAGES)?);
        for &(index, _) in &self.executable.globals {
            self.globals.push(global(&global_export(index))?);
        }
        pages.set(&mut *store, Val::I32(pages_max.cast_signed())).map_err(Left::unknown)?;
        store.data_mut().cells = Some(Cells { memory, fuel, halt, pages });
        let stop = Arc::clone(&store.data().guest.live.stop);
        store.arm(&instance, &stop).map_err(Left::unknown)?;
        self.instance = Some(instance);
        Ok(())
    }

    fn refill(&mut self, fuel: i64) -> Result<(), HostFault> {
        let unknown = |reason: String| HostFault::Unknown { reason };
        let cells = self.store.data().cells.ok_or_else(|| unknown("refilled before instantiation".into()))?;
        cells.fuel.set(&mut self.store, Val::I64(fuel)).map_err(|error| unknown(error.to_string()))?;
        cells.halt.set(&mut self.store, Val::I32(0)).map_err(|error| unknown(error.to_string()))
    }

    fn enter(&mut self, entry: Entry) -> Result<i32, Left> {
        match entry {
            Entry::Start | Entry::Initialize | Entry::Command => self.call::<(), ()>(entry.name(), ()).map(|()| 0),
            Entry::Init | Entry::Finish => self.call::<(), i32>(entry.name(), ()),
            Entry::Step { budget } => self.call::<i64, i32>(entry.name(), budget),
        }
    }

    fn fuel(&mut self) -> Option<i64> {
        let cells = self.store.data().cells?;
        cells.fuel.get(&mut self.store).i64()
    }

    fn halt(&mut self) -> i32 {
        let cells = self.store.data().cells;
        cells.and_then(|cells| cells.halt.get(&mut self.store).i32()).unwrap_or(0)
    }

    fn memory(&self) -> &[u8] {
        self.store.data().cells.map_or(&[], |cells| cells.memory.data(&self.store))
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        match self.store.data().cells {
            Some(cells) => cells.memory.data_mut(&mut self.store),
            None => &mut [],
        }
    }

    fn maps_memory(&self) -> bool {
        true
    }

    fn grow(&mut self, pages: u32) -> Result<(), HostFault> {
        let memory = |reason: String| HostFault::Memory { reason };
        let cells = self.store.data().cells.ok_or_else(|| memory("grown before instantiation".into()))?;
        let more = u64::from(pages).saturating_sub(cells.memory.size(&self.store));
        cells.memory.grow(&mut self.store, more).map(|_| ()).map_err(|error| memory(error.to_string()))
    }

    fn set_globals(&mut self, values: &[GlobalValue]) -> Result<bool, HostFault> {
        if values.len() != self.globals.len() {
            return Ok(false);
        }
        for (global, value) in self.globals.iter().zip(values) {
            let value = match *value {
                GlobalValue::I32(value) => Val::I32(value.cast_signed()),
                GlobalValue::I64(value) => Val::I64(value.cast_signed()),
                GlobalValue::F32(bits) => Val::F32(bits),
                GlobalValue::F64(bits) => Val::F64(bits),
                GlobalValue::V128(value) => Val::V128(value.into()),
            };
            if global.set(&mut self.store, value).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn globals(&mut self) -> Result<Vec<GlobalValue>, HostFault> {
        let mut values = Vec::with_capacity(self.globals.len());
        for global in &self.globals {
            values.push(match global.get(&mut self.store) {
                Val::I32(value) => GlobalValue::I32(value.cast_unsigned()),
                Val::I64(value) => GlobalValue::I64(value.cast_unsigned()),
                Val::F32(bits) => GlobalValue::F32(bits),
                Val::F64(bits) => GlobalValue::F64(bits),
                Val::V128(value) => GlobalValue::V128(value.as_u128()),
                _ => return Err(HostFault::Unknown { reason: "a global that holds a reference".into() }),
            });
        }
        Ok(values)
    }

    fn guest(&self) -> &Guest {
        &self.store.data().guest
    }

    fn guest_mut(&mut self) -> &mut Guest {
        &mut self.store.data_mut().guest
    }
}

/// What an error of the engine means.
fn left(error: &wasmtime::Error) -> Left {
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return Left::Halt(halt.clone());
    }
    let Some(trap) = error.downcast_ref::<wasmtime::Trap>() else {
        return Left::unknown(format!("{error:#}"));
    };
    Left::Trap(match trap {
        wasmtime::Trap::UnreachableCodeReached => Trap::Unreachable,
        wasmtime::Trap::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        wasmtime::Trap::TableOutOfBounds => Trap::TableOutOfBounds,
        wasmtime::Trap::IndirectCallToNull => Trap::IndirectCallToNull,
        wasmtime::Trap::BadSignature => Trap::BadSignature,
        wasmtime::Trap::IntegerOverflow => Trap::IntegerOverflow,
        wasmtime::Trap::IntegerDivisionByZero => Trap::DivisionByZero,
        wasmtime::Trap::BadConversionToInteger => Trap::BadConversionToInteger,
        // The profile's height ends first; the engine's stack ending is this host's failure.
        wasmtime::Trap::StackOverflow => {
            return Left::unknown(format!("{STACK_BYTES} bytes of native stack ended before the profile's height"));
        }
        _ => return Left::unknown(format!("{error:#}")),
    })
}

/// Links every function of preview1, and those on tensors.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Data>> {
    let core = |ty: &samebit_wasi::ValType| match ty {
        samebit_wasi::ValType::I32 => ValType::I32,
        samebit_wasi::ValType::I64 => ValType::I64,
    };
    let mut linker = Linker::new(engine);
    for function in FUNCTIONS {
        let ty = FuncType::new(engine, function.params.iter().map(core), function.result.iter().map(core));
        let call = function.call;
        linker.func_new(abi::WASI_MODULE, function.name, ty, move |mut caller, args, results| {
            let errno = host_call(&mut caller, HostCall::Wasi(call), args)?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno);
            }
            Ok(())
        })?;
    }
    let core = |ty: &CoreType| match ty {
        CoreType::I32 => ValType::I32,
        CoreType::I64 => ValType::I64,
    };
    for host::Function { call, signature } in host::FUNCTIONS {
        let ty = FuncType::new(engine, signature.params.iter().map(core), signature.result.iter().map(core));
        linker.func_new(abi::TENSOR_MODULE, signature.name, ty, move |mut caller, args, results| {
            let answer = host_call(&mut caller, HostCall::Tensor(*call), args)?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(answer);
            }
            Ok(())
        })?;
    }
    Ok(linker)
}

fn host_call(caller: &mut Caller<'_, Data>, call: HostCall, args: &[Val]) -> wasmtime::Result<i32> {
    let mut plain = [0; PARAMS_MAX];
    for (plain, value) in plain.iter_mut().zip(args) {
        *plain = match value {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            // No signature of the host's functions has another type.
            _ => 0,
        };
    }
    let cells = caller.data().cells.ok_or_else(|| wasmtime::Error::msg("a call before instantiation"))?;
    let mut fuel = cells.fuel.get(&mut *caller).i64().unwrap_or(-1);
    let (bytes, data) = cells.memory.data_and_store_mut(&mut *caller);
    let plain = &plain[..args.len().min(plain.len())];
    let done = match call {
        HostCall::Wasi(call) => data.guest.host_call(call, plain, bytes, &mut fuel),
        HostCall::Tensor(call) => data.guest.tensor_call(call, plain, bytes, &mut fuel),
    };
    let pages = data.guest.pages_left();
    cells.fuel.set(&mut *caller, Val::I64(fuel))?;
    if matches!(call, HostCall::Tensor(_)) {
        cells.pages.set(&mut *caller, Val::I32(pages.cast_signed()))?;
    }
    done.map_err(wasmtime::Error::new)
}
