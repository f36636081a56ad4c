//! One face for both engines: instances, calls, globals, memory, and a host whose functions leave a trace.
//!
//! A machine knows nothing of the rewriter but the export that holds the fuel, which a host function reads and charges
//! as the runtime's do. Every import is answered by a function whose results are a function of its name, arguments and
//! how often the host was called, so that two runs of one module meet the same world.

use crate::value::{Type, Value};
use core::fmt;
use samebit_spec::execution::Trap;

pub use interpreter::Interpreter;
pub use native::{Native, Tuning};

/// Native stack that compiled code may use, as the runtime has it.
pub const STACK_BYTES: usize = 256 << 20;

/// An instance of a machine.
pub type Instance = usize;

/// Why something did not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A trap of the closed list.
    Trap(Trap),
    /// A host function found less fuel than it costs.
    HostFuel,
    /// The original's watchdog: it did not end by itself.
    Watchdog,
    /// What the module imports is not there, or of another type.
    Link(String),
    /// The engine refuses the module.
    Module(String),
    /// Anything else that an engine says.
    Engine(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A call of a host function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// `module.name`.
    pub name: String,
    /// What it was given.
    pub args: Vec<Value>,
    /// What it gave.
    pub results: Vec<Value>,
    /// The fuel that it found, where the module counts fuel.
    pub pool: Option<i64>,
}

/// What modules may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imports {
    /// Any function.
    AnyFunction,
    /// The functions of the specification's `spectest`, and what was registered.
    Spectest,
}

/// The world outside a module.
pub struct Host {
    /// What was called, in order.
    pub calls: Vec<HostCall>,
    /// Fuel that each call costs.
    pub call_cost: i64,
    /// Lowest address of the native stack at which a host function was called.
    pub stack_lowest: usize,
    /// Highest such address.
    pub stack_highest: usize,
    imports: Imports,
    /// Bytes that memory may have by the engine's own limiter.
    bytes_max: usize,
    limits: wasmi::StoreLimits,
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Host {
    /// A host that was never called.
    #[must_use]
    pub fn new(imports: Imports) -> Self {
        Self {
            calls: Vec::new(),
            call_cost: 0,
            stack_lowest: usize::MAX,
            stack_highest: 0,
            imports,
            bytes_max: usize::MAX,
            limits: wasmi::StoreLimits::default(),
        }
    }

    /// Lets the engine's own limiter refuse memory beyond so many pages.
    pub fn limit(&mut self, pages: usize) {
        self.bytes_max = pages << 16;
        self.limits = wasmi::StoreLimitsBuilder::new()
            .memory_size(self.bytes_max)
            .instances(usize::MAX)
            .memories(usize::MAX)
            .tables(usize::MAX)
            .build();
    }

    /// Answers a call. `pool` is the fuel that the module shows; what is left of it comes back.
    fn answer(&mut self, name: &str, args: Vec<Value>, types: &[Type], pool: Option<i64>) -> Result<Answer, Failure> {
        let here = core::ptr::from_ref(&types) as usize;
        self.stack_lowest = self.stack_lowest.min(here);
        self.stack_highest = self.stack_highest.max(here);
        let left = pool.map(|pool| pool.wrapping_sub(self.call_cost));
        if left.is_some_and(|left| left < 0) {
            return Err(Failure::HostFuel);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(name.as_bytes()).update(&(self.calls.len() as u64).to_le_bytes());
        for arg in &args {
            hasher.update(&arg.bits().to_le_bytes());
        }
        let mut bits = hasher.finalize_xof();
        let results: Vec<Value> = types
            .iter()
            .map(|&ty| {
                let mut next = [0; 16];
                bits.fill(&mut next);
                // Small integers more often, so that loops and lengths made of them end.
                let wide = u128::from_le_bytes(next);
                let small = matches!(ty, Type::I32 | Type::I64) && next[15] & 1 == 0;
                Value::of(ty, if small { wide & 0xff } else { wide })
            })
            .collect();
        self.calls.push(HostCall { name: name.to_owned(), args, results: results.clone(), pool });
        Ok(Answer { results, left })
    }
}

/// What a host function answers.
struct Answer {
    results: Vec<Value>,
    left: Option<i64>,
}

/// What an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// A function of numbers and vectors.
    Function(Vec<Type>, Vec<Type>),
    /// A global of a number or vector.
    Global(Type),
    /// A memory.
    Memory,
    /// A table, or something of a reference type.
    Other,
}

/// An engine with its instances.
pub trait Machine {
    /// Compiles, links and instantiates a module.
    ///
    /// # Errors
    /// [`Failure::Module`], [`Failure::Link`], or what its start or its segments ended in.
    fn instantiate(&mut self, wasm: &[u8]) -> Result<Instance, Failure>;
    /// Lets later modules import an instance's exports from this name.
    fn register(&mut self, name: &str, instance: Instance);
    /// Calls an exported function.
    ///
    /// # Errors
    /// What it ended in.
    fn call(&mut self, instance: Instance, name: &str, args: &[Value]) -> Result<Vec<Value>, Failure>;
    /// The exports of an instance, by name.
    fn exports(&mut self, instance: Instance) -> Vec<(String, Export)>;
    /// An exported global.
    fn get(&mut self, instance: Instance, name: &str) -> Option<Value>;
    /// Sets an exported mutable global. False where there is none of this type.
    fn set(&mut self, instance: Instance, name: &str, value: Value) -> bool;
    /// Shows the bytes of an exported memory. False where there is none.
    fn memory(&mut self, instance: Instance, name: &str, look: &mut dyn FnMut(&mut [u8])) -> bool;
    /// The world outside.
    fn host(&mut self) -> &mut Host;
    /// Gives the original's watchdog so much.
    fn watch(&mut self, fuel: u64);
}

/// What a host function of the machine ends a run with.
#[derive(Clone, Debug)]
struct Stop(Failure);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl core::error::Error for Stop {}
impl wasmi::errors::HostError for Stop {}

/// The functions of `spectest`, by name and parameters. None has a result.
const SPECTEST: [(&str, &[Type]); 7] = [
    ("print", &[]),
    ("print_i32", &[Type::I32]),
    ("print_i64", &[Type::I64]),
    ("print_f32", &[Type::F32]),
    ("print_f64", &[Type::F64]),
    ("print_i32_f32", &[Type::I32, Type::F32]),
    ("print_f64_f64", &[Type::F64, Type::F64]),
];

/// Whether the host has this function.
fn has(imports: Imports, module: &str, name: &str, params: &[Type], results: &[Type]) -> bool {
    match imports {
        Imports::AnyFunction => true,
        Imports::Spectest => {
            module == "spectest"
                && results.is_empty()
                && SPECTEST.iter().any(|(known, types)| *known == name && *types == params)
        }
    }
}

mod native {
    use super::{Export, Failure, Host, Imports, Instance, Machine, STACK_BYTES, Stop, has};
    use crate::value::{Type, Value};
    use samebit_rewrite::EXPORT_FUEL;
    use samebit_spec::execution::Trap;
    use std::{cell::RefCell, collections::VecDeque, sync::OnceLock};
    use wasmtime::{
        AsContextMut, Config, Engine, Extern, ExternType, Linker, Module, OptLevel, ResourceLimiter, Store, Val,
        ValType,
    };

    /// How wasmtime compiles.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Tuning {
        /// For originals: its own canonical NaN, and its fuel as a watchdog.
        Original,
        /// For rewritten modules, as the runtime has it.
        Rewritten,
        /// The same without optimisation.
        Unoptimised,
        /// The same for the architecture's baseline instead of the processor at hand.
        Baseline,
        /// The same for the bytecode of wasmtime's interpreter, which is there with the feature `oracles`.
        Pulley,
    }

    impl Tuning {
        const ALL: [Self; 5] = [Self::Original, Self::Rewritten, Self::Unoptimised, Self::Baseline, Self::Pulley];

        fn engine(self) -> &'static Engine {
            static ENGINES: [OnceLock<Engine>; 5] = [const { OnceLock::new() }; 5];
            let index = Self::ALL.iter().position(|one| *one == self).unwrap_or_default();
            ENGINES[index].get_or_init(|| Engine::new(&self.config()).expect("this configuration is one of wasmtime's"))
        }

        /// Compiles a module, or takes it from the last few that this thread has compiled.
        fn module(self, wasm: &[u8]) -> Result<Module, Failure> {
            thread_local! {
                static LAST: RefCell<VecDeque<(Tuning, blake3::Hash, Module)>> = const { RefCell::new(VecDeque::new()) };
            }
            let hash = blake3::hash(wasm);
            LAST.with_borrow_mut(|last| {
                if let Some((.., known)) = last.iter().find(|known| known.0 == self && known.1 == hash) {
                    return Ok(known.clone());
                }
                let module =
                    Module::from_binary(self.engine(), wasm).map_err(|error| Failure::Module(format!("{error:#}")))?;
                last.push_back((self, hash, module.clone()));
                if last.len() > 8 {
                    last.pop_front();
                }
                Ok(module)
            })
        }

        fn config(self) -> Config {
            let mut config = Config::new();
            if self == Self::Baseline {
                let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
                config.target(&target).expect("tests run on Linux");
            }
            if self == Self::Pulley {
                config.target("pulley64").expect("wasmtime knows its interpreter");
            }
            let original = self == Self::Original;
            config
                .cranelift_opt_level(if self == Self::Unoptimised { OptLevel::None } else { OptLevel::Speed })
                .cranelift_nan_canonicalization(original)
                .consume_fuel(original)
                .wasm_multi_memory(!original)
                .wasm_branch_hinting(!original)
                .wasm_simd(true)
                .wasm_bulk_memory(true)
                .wasm_multi_value(true)
                .wasm_extended_const(true)
                .wasm_relaxed_simd(false)
                .wasm_memory64(false)
                .wasm_tail_call(false)
                .wasm_custom_page_sizes(false)
                .wasm_wide_arithmetic(false)
                .max_wasm_stack(STACK_BYTES)
                .async_stack_size(STACK_BYTES + (4 << 20))
                .memory_reservation(4 << 30)
                .memory_guard_size(32 << 20)
                .wasm_backtrace_max_frames(None)
                .native_unwind_info(false)
                .parallel_compilation(false);
            config
        }
    }

    impl ResourceLimiter for Host {
        fn memory_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
            Ok(desired <= self.bytes_max)
        }

        fn table_growing(&mut self, _current: usize, _desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
            Ok(true)
        }
    }

    /// wasmtime.
    pub struct Native {
        tuning: Tuning,
        store: Store<Host>,
        linker: Linker<Host>,
        instances: Vec<(Module, wasmtime::Instance)>,
    }

    impl core::fmt::Debug for Native {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.debug_struct("Native").field("tuning", &self.tuning).finish_non_exhaustive()
        }
    }

    impl Native {
        /// An engine without instances.
        #[must_use]
        pub fn new(tuning: Tuning, imports: Imports) -> Self {
            let engine = tuning.engine();
            let mut store = Store::new(engine, Host::new(imports));
            store.limiter(|host| host);
            let mut machine = Self { tuning, store, linker: Linker::new(engine), instances: Vec::new() };
            machine.linker.allow_shadowing(true);
            machine.watch(u64::MAX / 2);
            machine
        }

        fn find(&mut self, instance: Instance, name: &str) -> Option<Extern> {
            let found = self.instances.get(instance)?.1;
            found.get_export(&mut self.store, name)
        }
    }

    fn ty(ty: &ValType) -> Option<Type> {
        Some(match ty {
            ValType::I32 => Type::I32,
            ValType::I64 => Type::I64,
            ValType::F32 => Type::F32,
            ValType::F64 => Type::F64,
            ValType::V128 => Type::V128,
            ValType::Ref(_) => return None,
        })
    }

    fn lift(value: &Val) -> Option<Value> {
        Some(match value {
            Val::I32(value) => Value::I32(value.cast_unsigned()),
            Val::I64(value) => Value::I64(value.cast_unsigned()),
            Val::F32(bits) => Value::F32(*bits),
            Val::F64(bits) => Value::F64(*bits),
            Val::V128(value) => Value::V128(value.as_u128()),
            _ => return None,
        })
    }

    fn lower(value: Value) -> Val {
        match value {
            Value::I32(value) => Val::I32(value.cast_signed()),
            Value::I64(value) => Val::I64(value.cast_signed()),
            Value::F32(bits) => Val::F32(bits),
            Value::F64(bits) => Val::F64(bits),
            Value::V128(bits) => Val::V128(bits.into()),
        }
    }

    fn failure(error: &wasmtime::Error) -> Failure {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return stop.0.clone();
        }
        let Some(trap) = error.downcast_ref::<wasmtime::Trap>() else {
            return Failure::Engine(format!("{error:#}"));
        };
        Failure::Trap(match trap {
            wasmtime::Trap::UnreachableCodeReached => Trap::Unreachable,
            wasmtime::Trap::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
            wasmtime::Trap::TableOutOfBounds => Trap::TableOutOfBounds,
            wasmtime::Trap::IndirectCallToNull => Trap::IndirectCallToNull,
            wasmtime::Trap::BadSignature => Trap::BadSignature,
            wasmtime::Trap::IntegerOverflow => Trap::IntegerOverflow,
            wasmtime::Trap::IntegerDivisionByZero => Trap::DivisionByZero,
            wasmtime::Trap::BadConversionToInteger => Trap::BadConversionToInteger,
            wasmtime::Trap::StackOverflow => Trap::StackOverflow,
            wasmtime::Trap::OutOfFuel => return Failure::Watchdog,
            other => return Failure::Engine(format!("{other:?}")),
        })
    }

    impl Machine for Native {
        fn instantiate(&mut self, wasm: &[u8]) -> Result<Instance, Failure> {
            let module = self.tuning.module(wasm)?;
            for import in module.imports() {
                let (from, name) = (import.module().to_owned(), import.name().to_owned());
                let ExternType::Func(function) = import.ty() else { continue };
                let params: Option<Vec<Type>> = function.params().map(|one| ty(&one)).collect();
                let results: Option<Vec<Type>> = function.results().map(|one| ty(&one)).collect();
                let (Some(params), Some(results)) = (params, results) else { continue };
                if self.linker.get(&mut self.store, &from, &name).is_ok()
                    || !has(self.store.data().imports, &from, &name, &params, &results)
                {
                    continue;
                }
                let full = format!("{from}.{name}");
                let answer = move |mut caller: wasmtime::Caller<'_, Host>, args: &[Val], out: &mut [Val]| {
                    let pool = caller.get_export(EXPORT_FUEL).and_then(Extern::into_global);
                    let found = pool.and_then(|pool| pool.get(caller.as_context_mut()).i64());
                    let args: Vec<Value> = args.iter().filter_map(lift).collect();
                    let answer = caller
                        .data_mut()
                        .answer(&full, args, &results, found)
                        .map_err(|failure| wasmtime::Error::new(Stop(failure)))?;
                    if let (Some(pool), Some(left)) = (pool, answer.left) {
                        pool.set(caller.as_context_mut(), Val::I64(left))?;
                    }
                    for (place, result) in out.iter_mut().zip(answer.results) {
                        *place = lower(result);
                    }
                    Ok(())
                };
                let function = wasmtime::Func::new(&mut self.store, function, answer);
                self.linker
                    .define(&self.store, &from, &name, function)
                    .map_err(|error| Failure::Link(format!("{error:#}")))?;
            }
            let ready = self.linker.instantiate_pre(&module).map_err(|error| Failure::Link(format!("{error:#}")))?;
            let instance = ready.instantiate(&mut self.store).map_err(|error| match failure(&error) {
                Failure::Engine(reason) => Failure::Link(reason),
                other => other,
            })?;
            self.instances.push((module, instance));
            Ok(self.instances.len() - 1)
        }

        fn register(&mut self, name: &str, instance: Instance) {
            if let Some((_, instance)) = self.instances.get(instance) {
                let _ = self.linker.instance(&mut self.store, name, *instance);
            }
        }

        fn call(&mut self, instance: Instance, name: &str, args: &[Value]) -> Result<Vec<Value>, Failure> {
            let missing = || Failure::Engine(format!("no function {name}"));
            let function = self.find(instance, name).and_then(Extern::into_func).ok_or_else(missing)?;
            let args: Vec<Val> = args.iter().map(|&arg| lower(arg)).collect();
            let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
            function.call(&mut self.store, &args, &mut results).map_err(|error| failure(&error))?;
            Ok(results.iter().filter_map(lift).collect())
        }

        fn exports(&mut self, instance: Instance) -> Vec<(String, Export)> {
            let Some((module, _)) = self.instances.get(instance) else { return Vec::new() };
            let export = |of: ExternType| match of {
                ExternType::Func(function) => {
                    let params: Option<Vec<Type>> = function.params().map(|one| ty(&one)).collect();
                    let results: Option<Vec<Type>> = function.results().map(|one| ty(&one)).collect();
                    params.zip(results).map_or(Export::Other, |(params, results)| Export::Function(params, results))
                }
                ExternType::Global(global) => ty(global.content()).map_or(Export::Other, Export::Global),
                ExternType::Memory(_) => Export::Memory,
                _ => Export::Other,
            };
            let mut exports: Vec<(String, Export)> =
                module.exports().map(|one| (one.name().to_owned(), export(one.ty()))).collect();
            exports.sort_by(|one, other| one.0.cmp(&other.0));
            exports
        }

        fn get(&mut self, instance: Instance, name: &str) -> Option<Value> {
            let global = self.find(instance, name)?.into_global()?;
            lift(&global.get(&mut self.store))
        }

        fn set(&mut self, instance: Instance, name: &str, value: Value) -> bool {
            let Some(global) = self.find(instance, name).and_then(Extern::into_global) else { return false };
            global.set(&mut self.store, lower(value)).is_ok()
        }

        fn memory(&mut self, instance: Instance, name: &str, look: &mut dyn FnMut(&mut [u8])) -> bool {
            let Some(memory) = self.find(instance, name).and_then(Extern::into_memory) else { return false };
            look(memory.data_mut(&mut self.store));
            true
        }

        fn host(&mut self) -> &mut Host {
            self.store.data_mut()
        }

        fn watch(&mut self, fuel: u64) {
            if self.tuning == Tuning::Original {
                self.store.set_fuel(fuel).expect("originals run with the engine's fuel on");
            }
        }
    }
}

mod interpreter {
    use super::{Export, Failure, Host, Imports, Instance, Machine, Stop, has};
    use crate::value::{Type, Value};
    use samebit_rewrite::EXPORT_FUEL;
    use samebit_spec::execution::Trap;
    use std::sync::OnceLock;
    use wasmi::{
        AsContextMut, Config, Engine, Extern, ExternType, F32, F64, Linker, Module, Store, TrapCode, V128, Val,
        ValType,
        errors::{ErrorKind, InstantiationError},
    };

    /// Calls that may be on wasmi's stack: more than the profile's height has units.
    const DEPTH_MAX: usize = 1 << 20;

    fn engine(original: bool) -> &'static Engine {
        static ENGINES: [OnceLock<Engine>; 2] = [const { OnceLock::new() }; 2];
        ENGINES[usize::from(original)].get_or_init(|| {
            let mut config = Config::default();
            config
                .consume_fuel(original)
                .wasm_multi_memory(!original)
                .wasm_relaxed_simd(false)
                .wasm_tail_call(false)
                .wasm_custom_page_sizes(false)
                .wasm_wide_arithmetic(false)
                .set_max_recursion_depth(if original { 10_000 } else { DEPTH_MAX })
                .set_max_stack_height(if original { 64 << 20 } else { 4 << 30 });
            Engine::new(&config)
        })
    }

    /// wasmi.
    pub struct Interpreter {
        original: bool,
        store: Store<Host>,
        linker: Linker<Host>,
        instances: Vec<(Module, wasmi::Instance)>,
    }

    impl core::fmt::Debug for Interpreter {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.debug_struct("Interpreter").field("original", &self.original).finish_non_exhaustive()
        }
    }

    impl Interpreter {
        /// An engine without instances, for rewritten modules.
        #[must_use]
        pub fn rewritten(imports: Imports) -> Self {
            Self::new(false, imports)
        }

        /// The same for originals, with wasmi's own fuel as a watchdog.
        #[must_use]
        pub fn original(imports: Imports) -> Self {
            Self::new(true, imports)
        }

        fn new(original: bool, imports: Imports) -> Self {
            let engine = engine(original);
            let mut store = Store::new(engine, Host::new(imports));
            store.limiter(|host| &mut host.limits);
            let mut linker = Linker::new(engine);
            linker.allow_shadowing(true);
            let mut machine = Self { original, store, linker, instances: Vec::new() };
            machine.watch(u64::MAX / 2);
            machine
        }

        fn find(&self, instance: Instance, name: &str) -> Option<Extern> {
            self.instances.get(instance)?.1.get_export(&self.store, name)
        }
    }

    fn ty(ty: ValType) -> Option<Type> {
        Some(match ty {
            ValType::I32 => Type::I32,
            ValType::I64 => Type::I64,
            ValType::F32 => Type::F32,
            ValType::F64 => Type::F64,
            ValType::V128 => Type::V128,
            _ => return None,
        })
    }

    fn lift(value: &Val) -> Option<Value> {
        Some(match value {
            Val::I32(value) => Value::I32(value.cast_unsigned()),
            Val::I64(value) => Value::I64(value.cast_unsigned()),
            Val::F32(value) => Value::F32(value.to_bits()),
            Val::F64(value) => Value::F64(value.to_bits()),
            Val::V128(value) => Value::V128(value.as_u128()),
            _ => return None,
        })
    }

    fn lower(value: Value) -> Val {
        match value {
            Value::I32(value) => Val::I32(value.cast_signed()),
            Value::I64(value) => Val::I64(value.cast_signed()),
            Value::F32(bits) => Val::F32(F32::from_bits(bits)),
            Value::F64(bits) => Val::F64(F64::from_bits(bits)),
            Value::V128(bits) => Val::V128(V128::from(bits)),
        }
    }

    fn failure(error: &wasmi::Error) -> Failure {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return stop.0.clone();
        }
        if let ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) = error.kind() {
            return Failure::Trap(Trap::TableOutOfBounds);
        }
        let Some(trap) = error.as_trap_code() else { return Failure::Engine(error.to_string()) };
        Failure::Trap(match trap {
            TrapCode::UnreachableCodeReached => Trap::Unreachable,
            TrapCode::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
            TrapCode::TableOutOfBounds => Trap::TableOutOfBounds,
            TrapCode::IndirectCallToNull => Trap::IndirectCallToNull,
            TrapCode::BadSignature => Trap::BadSignature,
            TrapCode::IntegerOverflow => Trap::IntegerOverflow,
            TrapCode::IntegerDivisionByZero => Trap::DivisionByZero,
            TrapCode::BadConversionToInteger => Trap::BadConversionToInteger,
            TrapCode::StackOverflow => Trap::StackOverflow,
            TrapCode::OutOfFuel => return Failure::Watchdog,
            other => return Failure::Engine(format!("{other:?}")),
        })
    }

    impl Machine for Interpreter {
        fn instantiate(&mut self, wasm: &[u8]) -> Result<Instance, Failure> {
            let module =
                Module::new(engine(self.original), wasm).map_err(|error| Failure::Module(error.to_string()))?;
            for import in module.imports() {
                let (from, name) = (import.module().to_owned(), import.name().to_owned());
                let ExternType::Func(function) = import.ty() else { continue };
                let params: Option<Vec<Type>> = function.params().iter().map(|&one| ty(one)).collect();
                let results: Option<Vec<Type>> = function.results().iter().map(|&one| ty(one)).collect();
                let (Some(params), Some(results)) = (params, results) else { continue };
                if self.linker.get(&self.store, &from, &name).is_some()
                    || !has(self.store.data().imports, &from, &name, &params, &results)
                {
                    continue;
                }
                let full = format!("{from}.{name}");
                let answer = move |mut caller: wasmi::Caller<'_, Host>, args: &[Val], out: &mut [Val]| {
                    let pool = caller.get_export(EXPORT_FUEL).and_then(Extern::into_global);
                    let found = pool.and_then(|pool| pool.get(&caller).i64());
                    let args: Vec<Value> = args.iter().filter_map(lift).collect();
                    let answer = caller
                        .data_mut()
                        .answer(&full, args, &results, found)
                        .map_err(|failure| wasmi::Error::host(Stop(failure)))?;
                    if let (Some(pool), Some(left)) = (pool, answer.left) {
                        pool.set(caller.as_context_mut(), Val::I64(left))
                            .map_err(|error| wasmi::Error::new(error.to_string()))?;
                    }
                    for (place, result) in out.iter_mut().zip(answer.results) {
                        *place = lower(result);
                    }
                    Ok(())
                };
                let function = wasmi::Func::new(&mut self.store, function.clone(), answer);
                self.linker.define(&from, &name, function).map_err(|error| Failure::Link(error.to_string()))?;
            }
            let instance =
                self.linker.instantiate_and_start(&mut self.store, &module).map_err(|error| match failure(&error) {
                    Failure::Engine(reason) => Failure::Link(reason),
                    other => other,
                })?;
            self.instances.push((module, instance));
            Ok(self.instances.len() - 1)
        }

        fn register(&mut self, name: &str, instance: Instance) {
            if let Some((_, instance)) = self.instances.get(instance) {
                let _ = self.linker.instance(&mut self.store, name, *instance);
            }
        }

        fn call(&mut self, instance: Instance, name: &str, args: &[Value]) -> Result<Vec<Value>, Failure> {
            let missing = || Failure::Engine(format!("no function {name}"));
            let function = self.find(instance, name).and_then(Extern::into_func).ok_or_else(missing)?;
            let args: Vec<Val> = args.iter().map(|&arg| lower(arg)).collect();
            let mut results: Vec<Val> =
                function.ty(&self.store).results().iter().map(|&ty| Val::default_for_ty(ty)).collect();
            function.call(&mut self.store, &args, &mut results).map_err(|error| failure(&error))?;
            Ok(results.iter().filter_map(lift).collect())
        }

        fn exports(&mut self, instance: Instance) -> Vec<(String, Export)> {
            let Some((module, _)) = self.instances.get(instance) else { return Vec::new() };
            let export = |of: &ExternType| match of {
                ExternType::Func(function) => {
                    let params: Option<Vec<Type>> = function.params().iter().map(|&one| ty(one)).collect();
                    let results: Option<Vec<Type>> = function.results().iter().map(|&one| ty(one)).collect();
                    params.zip(results).map_or(Export::Other, |(params, results)| Export::Function(params, results))
                }
                ExternType::Global(global) => ty(global.content()).map_or(Export::Other, Export::Global),
                ExternType::Memory(_) => Export::Memory,
                ExternType::Table(_) => Export::Other,
            };
            let mut exports: Vec<(String, Export)> =
                module.exports().map(|one| (one.name().to_owned(), export(one.ty()))).collect();
            exports.sort_by(|one, other| one.0.cmp(&other.0));
            exports
        }

        fn get(&mut self, instance: Instance, name: &str) -> Option<Value> {
            lift(&self.find(instance, name)?.into_global()?.get(&self.store))
        }

        fn set(&mut self, instance: Instance, name: &str, value: Value) -> bool {
            let Some(global) = self.find(instance, name).and_then(Extern::into_global) else { return false };
            global.set(&mut self.store, lower(value)).is_ok()
        }

        fn memory(&mut self, instance: Instance, name: &str, look: &mut dyn FnMut(&mut [u8])) -> bool {
            let Some(memory) = self.find(instance, name).and_then(Extern::into_memory) else { return false };
            look(memory.data_mut(&mut self.store));
            true
        }

        fn host(&mut self) -> &mut Host {
            self.store.data_mut()
        }

        fn watch(&mut self, fuel: u64) {
            if self.original {
                self.store.set_fuel(fuel).expect("originals run with the engine's fuel on");
            }
        }
    }
}
