//! Wasmi: rewritten modules as an interpreter runs them.
//!
//! An auditor's second opinion: no code in common with the compiler, and no machine code made. Its own fuel is on
//! only to get the thread back now and then: a slice that is used up is followed by the next, unless the run was
//! stopped. That is done by resuming the call where it stands, so it changes nothing that the guest can see.
//! Interpreted loads are Rust's own, so the word of `stop.rs`, which another thread writes, is not used.

use super::{Code, Engine, Entry, Left, Machine, missing};
use crate::{
    HostFault,
    guest::{Guest, Halt, HostCall, PARAMS_MAX},
};
use samebit_rewrite::{EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, Executable, global_export};
use samebit_spec::{abi, execution::Trap, param, state::GlobalValue, tensor::host, wasi::CoreType};
use samebit_wasi::FUNCTIONS;
use std::sync::Arc;
use wasmi::{
    Caller, CompilationMode, Config, FuncType, Global, Instance, Linker, Memory, Module, ResumableCall, Store,
    TrapCode, Val, ValType,
    errors::{ErrorKind, InstantiationError},
};

/// The engine's version, as the workspace pins it.
const VERSION: &str = "2.0.0";

/// The interpreter's own fuel between two looks at whether the run was stopped: some hundredths of a second.
const SLICE: u64 = 10_000_000;

/// Calls inside one another: more than the profile's height allows, as each takes at least a unit.
const DEPTH_MAX: usize = 4 << 20;

/// Bytes of the interpreter's own stack of values: as `frames.rs` has it for machine code.
const VALUES_BYTES_MAX: usize = super::STACK_BYTES;

// Every counted frame is at least a unit high.
const _: () = assert!(DEPTH_MAX as u64 > 2 * param::STACK_HEIGHT_MAX);

/// The engine with preview1 linked to it.
pub(crate) struct Interpreter {
    engine: wasmi::Engine,
    linker: Arc<Linker<Data>>,
    build: String,
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

fn config() -> Config {
    let mut config = Config::default();
    config.set_max_stack_height(VALUES_BYTES_MAX);
    config
        .set_min_stack_height(64 << 10)
        .set_max_recursion_depth(DEPTH_MAX)
        .set_max_cached_stacks(0)
        // Semantics: what samebit-1 leaves out is off, although admission refuses it before.
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_extended_const(true)
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_reference_types(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .allow_start_fn(false)
        .ignore_custom_sections(true)
        // A function that does not translate is told at load, as with the compiler.
        .compilation_mode(CompilationMode::Eager)
        .consume_fuel(true);
    config
}

impl Interpreter {
    pub(crate) fn new() -> Result<Self, HostFault> {
        let engine = wasmi::Engine::new(&config());
        let linker = linker(&engine).map_err(|error| HostFault::Engine { reason: error.to_string() })?;
        let build = format!("wasmi-{VERSION} {}", std::env::consts::ARCH);
        Ok(Self { engine, linker: Arc::new(linker), build })
    }
}

impl Engine for Interpreter {
    fn build(&self) -> &str {
        &self.build
    }

    fn compile(&self, executable: &Arc<Executable>) -> Result<Arc<dyn Code>, HostFault> {
        let module = Module::new(&self.engine, &executable.bytes)
            .map_err(|error| HostFault::Compile { module: executable.module.id, reason: error.to_string() })?;
        Ok(Arc::new(Interpreted { module, linker: Arc::clone(&self.linker), executable: Arc::clone(executable) }))
    }
}

struct Interpreted {
    module: Module,
    linker: Arc<Linker<Data>>,
    executable: Arc<Executable>,
}

impl Code for Interpreted {
    fn machine(&self, guest: Guest) -> Result<Box<dyn Machine>, HostFault> {
        Ok(Box::new(InterpretedMachine {
            store: Store::new(self.module.engine(), Data { guest, cells: None }),
            module: self.module.clone(),
            linker: Arc::clone(&self.linker),
            executable: Arc::clone(&self.executable),
            instance: None,
            globals: Vec::new(),
        }))
    }
}

struct InterpretedMachine {
    store: Store<Data>,
    module: Module,
    linker: Arc<Linker<Data>>,
    executable: Arc<Executable>,
    instance: Option<Instance>,
    globals: Vec<Global>,
}

impl InterpretedMachine {
    /// Calls slice after slice until the function returns or is left.
    fn call(&mut self, name: &str, params: &[Val], results: &mut [Val]) -> Result<(), Left> {
        let instance = self.instance.ok_or_else(|| Left::unknown("called before instantiation"))?;
        let function = instance.get_func(&self.store, name).ok_or_else(|| missing(name))?;
        self.slice(SLICE)?;
        let mut call = function.call_resumable(&mut self.store, params, results).map_err(|error| left(&error))?;
        loop {
            match call {
                ResumableCall::Finished => return Ok(()),
                ResumableCall::HostTrap(stopped) => return Err(left(stopped.host_error())),
                ResumableCall::OutOfFuel(stopped) => {
                    // A bulk operation may need more than a slice at once.
                    self.slice(SLICE.max(stopped.required_fuel()))?;
                    call = stopped.resume(&mut self.store, results).map_err(|error| left(&error))?;
                }
            }
        }
    }

    /// Gives the interpreter a slice of its own fuel.
    fn slice(&mut self, fuel: u64) -> Result<(), Left> {
        if self.store.data().guest.live.stop.is_set() {
            return Err(Left::Halt(Halt::Cancelled));
        }
        self.store.set_fuel(fuel).map_err(Left::unknown)
    }
}

impl Machine for InterpretedMachine {
    fn instantiate(&mut self, pages_max: u32) -> Result<(), Left> {
        self.slice(u64::MAX)?;
        // Segments outside memory or table trap as the guest's doing; short of that, an admitted module within
        // its limits fails to instantiate only for want of memory.
        let instance = self.linker.instantiate_and_start(&mut self.store, &self.module).map_err(|error| {
            let outside =
                matches!(error.kind(), ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }));
            let known = if outside { Some(Trap::TableOutOfBounds) } else { trap(&error) }.map(Left::Trap);
            known.unwrap_or_else(|| Left::Fault(HostFault::Memory { reason: error.to_string() }))
        })?;
        let memory = instance.get_memory(&self.store, abi::EXPORT_MEMORY).ok_or_else(|| missing(abi::EXPORT_MEMORY))?;
        let global = |name: &str| instance.get_global(&self.store, name).ok_or_else(|| missing(name));
        let (fuel, halt, pages) = (global(EXPORT_FUEL)?, global(EXPORT_HALT)?, global(EXPORT_PAGES)?);
        for &(index, _) in &self.executable.globals {
            self.globals.push(global(&global_export(index))?);
        }
        pages.set(&mut self.store, Val::I32(pages_max.cast_signed())).map_err(Left::unknown)?;
        self.store.data_mut().cells = Some(Cells { memory, fuel, halt, pages });
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
        let mut code = [Val::I32(0)];
        match entry {
            Entry::Start | Entry::Initialize | Entry::Command => self.call(entry.name(), &[], &mut [])?,
            Entry::Init | Entry::Finish => self.call(entry.name(), &[], &mut code)?,
            Entry::Step { budget } => self.call(entry.name(), &[Val::I64(budget)], &mut code)?,
        }
        match code {
            [Val::I32(code)] => Ok(code),
            _ => Err(missing(entry.name()).into()),
        }
    }

    fn fuel(&mut self) -> Option<i64> {
        let cells = self.store.data().cells?;
        i64_of(&cells.fuel.get(&self.store))
    }

    fn halt(&mut self) -> i32 {
        match self.store.data().cells.map(|cells| cells.halt.get(&self.store)) {
            Some(Val::I32(halt)) => halt,
            _ => 0,
        }
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
        false
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
                GlobalValue::F32(bits) => Val::F32(wasmi::F32::from_bits(bits)),
                GlobalValue::F64(bits) => Val::F64(wasmi::F64::from_bits(bits)),
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
            values.push(match global.get(&self.store) {
                Val::I32(value) => GlobalValue::I32(value.cast_unsigned()),
                Val::I64(value) => GlobalValue::I64(value.cast_unsigned()),
                Val::F32(value) => GlobalValue::F32(value.to_bits()),
                Val::F64(value) => GlobalValue::F64(value.to_bits()),
                Val::V128(value) => GlobalValue::V128(value.as_u128()),
                Val::FuncRef(_) | Val::ExternRef(_) => {
                    return Err(HostFault::Unknown { reason: "a global that holds a reference".into() });
                }
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

fn i64_of(value: &Val) -> Option<i64> {
    match value {
        Val::I64(value) => Some(*value),
        _ => None,
    }
}

/// What an error of the engine means.
fn left(error: &wasmi::Error) -> Left {
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return Left::Halt(halt.clone());
    }
    trap(error).map_or_else(|| Left::unknown(error), Left::Trap)
}

/// The profile's trap, where it is one. The interpreter's own limits are this host's failure.
fn trap(error: &wasmi::Error) -> Option<Trap> {
    Some(match error.as_trap_code()? {
        TrapCode::UnreachableCodeReached => Trap::Unreachable,
        TrapCode::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        TrapCode::TableOutOfBounds => Trap::TableOutOfBounds,
        TrapCode::IndirectCallToNull => Trap::IndirectCallToNull,
        TrapCode::BadSignature => Trap::BadSignature,
        TrapCode::IntegerOverflow => Trap::IntegerOverflow,
        TrapCode::IntegerDivisionByZero => Trap::DivisionByZero,
        TrapCode::BadConversionToInteger => Trap::BadConversionToInteger,
        TrapCode::StackOverflow
        | TrapCode::OutOfFuel
        | TrapCode::GrowthOperationLimited
        | TrapCode::OutOfSystemMemory => return None,
    })
}

/// Links every function of preview1, and those on tensors.
fn linker(engine: &wasmi::Engine) -> Result<Linker<Data>, wasmi::Error> {
    let core = |ty: &samebit_wasi::ValType| match ty {
        samebit_wasi::ValType::I32 => ValType::I32,
        samebit_wasi::ValType::I64 => ValType::I64,
    };
    let mut linker = Linker::new(engine);
    for function in FUNCTIONS {
        let ty = FuncType::new(function.params.iter().map(core), function.result.iter().map(core));
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
        let ty = FuncType::new(signature.params.iter().map(core), signature.result.iter().map(core));
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

fn host_call(caller: &mut Caller<'_, Data>, call: HostCall, args: &[Val]) -> Result<i32, wasmi::Error> {
    let mut plain = [0; PARAMS_MAX];
    for (plain, value) in plain.iter_mut().zip(args) {
        *plain = match value {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            // No signature of the host's functions has another type.
            _ => 0,
        };
    }
    let cells = caller.data().cells.ok_or_else(|| wasmi::Error::new("a call before instantiation"))?;
    let mut fuel = i64_of(&cells.fuel.get(&*caller)).unwrap_or(-1);
    let (bytes, data) = cells.memory.data_and_store_mut(&mut *caller);
    let plain = &plain[..args.len().min(plain.len())];
    let done = match call {
        HostCall::Wasi(call) => data.guest.host_call(call, plain, bytes, &mut fuel),
        HostCall::Tensor(call) => data.guest.tensor_call(call, plain, bytes, &mut fuel),
    };
    let pages = data.guest.pages_left();
    let wrong = |error: &dyn std::fmt::Display| wasmi::Error::new(error.to_string());
    cells.fuel.set(&mut *caller, Val::I64(fuel)).map_err(|error| wrong(&error))?;
    if matches!(call, HostCall::Tensor(_)) {
        cells.pages.set(&mut *caller, Val::I32(pages.cast_signed())).map_err(|error| wrong(&error))?;
    }
    done.map_err(wasmi::Error::host)
}
