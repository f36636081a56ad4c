//! The two engines, as the runtime sets them up, with the switches of the stock recipe beside.
//!
//! The configuration follows `runtime/src/engine.rs`: speed, the processor's own features, memory reserved whole.
//! What a variant adds is in [`Switches`] and nothing else, so that a ratio measures what it names.

use crate::{
    clock::timed,
    rewriting::{EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_START},
};
use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::PathBuf,
};
use wasmtime::{
    Config, Engine, Global, InstanceAllocationStrategy, Linker, Module, OptLevel, PoolingAllocationConfig, Store, Val,
};

/// More fuel than any guest uses.
const ALLOWANCE: i64 = 1 << 50;
/// More pages than any guest asks for.
const PAGES: i32 = 65_535;
/// Native stack of a guest.
pub(crate) const STACK_BYTES: usize = 256 << 20;

/// What wasmtime is asked to do itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    pub(crate) fuel: bool,
    pub(crate) nan: bool,
    pub(crate) epoch: bool,
    /// Instances from a pool instead of fresh mappings.
    pub(crate) pooling: bool,
}

/// Where wasmtime keeps what it has compiled.
pub(crate) enum Cache {
    /// Nowhere: compile.
    Off,
    /// A folder of this bench's own.
    Folder(PathBuf),
}

pub(crate) fn engine(switches: Switches) -> Result<Engine, String> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(switches.nan)
        .consume_fuel(switches.fuel)
        .epoch_interruption(switches.epoch)
        .wasm_branch_hinting(true)
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(STACK_BYTES + (4 << 20))
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .parallel_compilation(false);
    if switches.pooling {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(4)
            .total_memories(8)
            .max_memories_per_module(2)
            .total_tables(4)
            .table_elements(100_000)
            .max_core_instance_size(16 << 20)
            .max_memory_size(4 << 30);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    Engine::new(&config).map_err(|error| format!("wasmtime: {error:#}"))
}

/// Compiles, or takes what an earlier run of this bench compiled.
pub(crate) fn compile(engine: &Engine, bytes: &[u8], cache: &Cache) -> Result<Module, String> {
    let fresh = || Module::from_binary(engine, bytes).map_err(|error| format!("compile: {error:#}"));
    let Cache::Folder(folder) = cache else { return fresh() };
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let path = folder.join(format!("{}-{:016x}.cwasm", &blake3::hash(bytes).to_hex()[..32], hasher.finish()));
    if path.is_file() {
        return deserialize(engine, &path);
    }
    let module = fresh()?;
    let compiled = module.serialize().map_err(|error| format!("serialize: {error:#}"))?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let unfinished = path.with_extension(format!("{}", std::process::id()));
    fs::write(&unfinished, compiled).map_err(|error| format!("{}: {error}", unfinished.display()))?;
    fs::rename(&unfinished, &path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(module)
}

/// Maps compiled code that [`compile`] wrote.
#[expect(unsafe_code, reason = "wasmtime trusts compiled code: it was written by this bench into the target folder")]
pub(crate) fn deserialize(engine: &Engine, path: &std::path::Path) -> Result<Module, String> {
    // SAFETY: the file was serialised by this program with the same engine settings, as its name says.
    unsafe { Module::deserialize_file(engine, path) }.map_err(|error| format!("{}: {error:#}", path.display()))
}

/// What a call gave and took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) checksum: i64,
    pub(crate) ms: f64,
    /// What the rewritten module counted.
    pub(crate) fuel: Option<i64>,
}

/// An instance whose functions can be called again and again.
pub(crate) trait Running {
    /// Calls `run_NAME(n)`.
    fn call(&mut self, n: i32) -> Result<Call, String>;
}

/// The same code, built natively.
pub(crate) struct Native(pub(crate) extern "C" fn(i32) -> i64);

impl Running for Native {
    fn call(&mut self, n: i32) -> Result<Call, String> {
        let (checksum, ms) = timed(|| (self.0)(n));
        Ok(Call { checksum, ms, fuel: None })
    }
}

/// An instance on wasmtime.
pub(crate) struct OnWasmtime {
    store: Store<()>,
    run: wasmtime::TypedFunc<i32, i64>,
    pool: Option<Global>,
    halt: Option<Global>,
    stock_fuel: bool,
}

impl OnWasmtime {
    pub(crate) fn new(module: &Module, switches: Switches, export: &str) -> Result<Self, String> {
        let say = |error: wasmtime::Error| format!("{export}: {error:#}");
        let mut store = Store::new(module.engine(), ());
        if switches.fuel {
            store.set_fuel(u64::MAX).map_err(say)?;
        }
        if switches.epoch {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let instance = Linker::new(module.engine()).instantiate(&mut store, module).map_err(say)?;
        let pool = instance.get_global(&mut store, EXPORT_FUEL);
        let halt = instance.get_global(&mut store, EXPORT_HALT);
        if let Some(pool) = pool {
            pool.set(&mut store, Val::I64(ALLOWANCE)).map_err(say)?;
        }
        if let Some(pages) = instance.get_global(&mut store, EXPORT_PAGES) {
            pages.set(&mut store, Val::I32(PAGES)).map_err(say)?;
        }
        if let Some(start) = instance.get_func(&mut store, EXPORT_START) {
            start.call(&mut store, &[], &mut []).map_err(say)?;
        }
        let run = instance.get_typed_func(&mut store, export).map_err(say)?;
        Ok(Self { store, run, pool, halt, stock_fuel: switches.fuel })
    }
}

impl Running for OnWasmtime {
    fn call(&mut self, n: i32) -> Result<Call, String> {
        let say = |error: wasmtime::Error| format!("{error:#}");
        if self.stock_fuel {
            self.store.set_fuel(u64::MAX).map_err(say)?;
        }
        if let Some(pool) = self.pool {
            pool.set(&mut self.store, Val::I64(ALLOWANCE)).map_err(say)?;
        }
        let (checksum, ms) = timed(|| self.run.call(&mut self.store, n));
        let checksum = match (checksum, self.halt) {
            (Ok(checksum), _) => checksum,
            (Err(error), Some(halt)) => {
                return Err(format!("halt {:?}: {error:#}", halt.get(&mut self.store).i32()));
            }
            (Err(error), None) => return Err(say(error)),
        };
        let fuel = self.pool.map(|pool| ALLOWANCE - pool.get(&mut self.store).unwrap_i64());
        Ok(Call { checksum, ms, fuel })
    }
}

/// An instance on wasmi.
pub(crate) struct OnWasmi {
    store: wasmi::Store<()>,
    run: wasmi::TypedFunc<i32, i64>,
    pool: Option<wasmi::Global>,
}

/// wasmi's module, translated before anything is timed.
pub(crate) fn translate(bytes: &[u8]) -> Result<wasmi::Module, String> {
    let mut config = wasmi::Config::default();
    config
        .wasm_multi_memory(true)
        .compilation_mode(wasmi::CompilationMode::Eager)
        .set_max_recursion_depth(1_000_000)
        .set_max_stack_height(512 << 20);
    wasmi::Module::new(&wasmi::Engine::new(&config), bytes).map_err(|error| format!("wasmi: {error}"))
}

impl OnWasmi {
    pub(crate) fn new(module: &wasmi::Module, export: &str) -> Result<Self, String> {
        let say = |error: wasmi::Error| format!("{export}: {error}");
        let mut store = wasmi::Store::new(module.engine(), ());
        let instance = wasmi::Linker::new(module.engine()).instantiate_and_start(&mut store, module).map_err(say)?;
        let pool = instance.get_global(&store, EXPORT_FUEL);
        if let Some(pool) = pool {
            pool.set(&mut store, wasmi::Val::I64(ALLOWANCE)).map_err(|error| format!("{export}: {error}"))?;
        }
        if let Some(pages) = instance.get_global(&store, EXPORT_PAGES) {
            pages.set(&mut store, wasmi::Val::I32(PAGES)).map_err(|error| format!("{export}: {error}"))?;
        }
        if let Some(start) = instance.get_func(&store, EXPORT_START) {
            start.call(&mut store, &[], &mut []).map_err(say)?;
        }
        let run = instance.get_typed_func(&store, export).map_err(say)?;
        Ok(Self { store, run, pool })
    }
}

impl Running for OnWasmi {
    fn call(&mut self, n: i32) -> Result<Call, String> {
        if let Some(pool) = self.pool {
            pool.set(&mut self.store, wasmi::Val::I64(ALLOWANCE)).map_err(|error| error.to_string())?;
        }
        let (checksum, ms) = timed(|| self.run.call(&mut self.store, n));
        let checksum = checksum.map_err(|error| format!("wasmi: {error}"))?;
        let fuel = self.pool.and_then(|pool| pool.get(&self.store).i64()).map(|left| ALLOWANCE - left);
        Ok(Call { checksum, ms, fuel })
    }
}
