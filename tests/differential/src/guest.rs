//! One module on one engine, driven as a runtime drives it, and everything that can be seen of each call.

use crate::{
    machine::{Export, Failure, Host, HostCall, Imports, Instance, Interpreter, Machine, Native, Tuning},
    value::{Type, Value},
};
use samebit_rewrite::{EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_START, EXPORT_STOP, Executable, Halt};
use samebit_spec::{abi, execution::Trap, param};
use wasm_encoder::{
    ExportKind, ExportSection, RawSection, SectionId,
    reencode::{self, Reencode, RoundtripReencoder},
};

/// Which engine, and which of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// wasmtime.
    Wasmtime(Tuning),
    /// wasmi, for originals.
    WasmiOriginal,
    /// wasmi, for rewritten modules.
    Wasmi,
}

impl Engine {
    /// The two engines as the runtime sets them up.
    pub const BOTH: [Self; 2] = [Self::Wasmtime(Tuning::Rewritten), Self::Wasmi];

    /// A third, for rewritten modules, where this program was built with it.
    pub const THIRD: Option<Self> = if cfg!(feature = "oracles") { Some(Self::Wasmtime(Tuning::Pulley)) } else { None };

    /// An engine without instances.
    #[must_use]
    pub fn machine(self, imports: Imports) -> Box<dyn Machine> {
        match self {
            Self::Wasmtime(tuning) => Box::new(Native::new(tuning, imports)),
            Self::WasmiOriginal => Box::new(Interpreter::original(imports)),
            Self::Wasmi => Box::new(Interpreter::rewritten(imports)),
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With these results.
    Returned(Vec<Value>),
    /// With a trap of the closed list.
    Trapped(Trap),
    /// Out of fuel.
    Fuel,
    /// The machine did not give memory within the limit.
    Memory,
    /// In a way that must not happen to a rewritten module.
    Fault(Failure),
}

/// What stands after a call that returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Exported globals by name, those that the rewriter exports included.
    pub globals: Vec<(String, Value)>,
    /// Exported memories by name: length in bytes, and hash.
    pub memories: Vec<(String, usize, blake3::Hash)>,
}

impl State {
    /// Without what the rewriter exports.
    #[must_use]
    pub fn published(&self) -> Self {
        let own = |name: &str| !name.starts_with(abi::RESERVED_PREFIX);
        Self {
            globals: self.globals.iter().filter(|global| own(&global.0)).cloned().collect(),
            memories: self.memories.iter().filter(|memory| own(&memory.0)).cloned().collect(),
        }
    }
}

/// Everything that can be seen of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How it ended.
    pub end: End,
    /// Fuel that it is charged, of a module that counts fuel.
    pub fuel: u64,
    /// Fuel that the pool shows, below zero when more was used than allowed.
    pub pool: i64,
    /// The host calls that it made.
    pub calls: Vec<HostCall>,
    /// What stands, when it returned. After anything else memory is never looked at.
    pub state: Option<State>,
}

/// An instance that is called.
pub struct Guest {
    /// Where it runs.
    pub machine: Box<dyn Machine>,
    instance: Instance,
    metered: bool,
}

impl core::fmt::Debug for Guest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Guest").field("metered", &self.metered).finish_non_exhaustive()
    }
}

/// Pages that a memory may have: 4 GiB less one, which no module asks for in a number that an `i32` holds.
const PAGES_MAX: u32 = 65_535;

impl Guest {
    /// Instantiates a rewritten module whose memory may have so many pages.
    ///
    /// # Errors
    /// What instantiation ends in.
    pub fn rewritten(engine: Engine, executable: &Executable, pages: u32) -> Result<Self, Failure> {
        let mut machine = engine.machine(Imports::AnyFunction);
        let instance = machine.instantiate(&executable.bytes)?;
        let pages = pages.min(PAGES_MAX).min(executable.memory_max_pages.unwrap_or(PAGES_MAX));
        machine.set(instance, EXPORT_PAGES, Value::I32(pages));
        Ok(Self { machine, instance, metered: true })
    }

    /// Instantiates an original, which the engine's own limiter keeps to so many pages.
    ///
    /// # Errors
    /// What instantiation ends in.
    pub fn original(engine: Engine, wasm: &[u8], pages: u32) -> Result<Self, Failure> {
        let mut machine = engine.machine(Imports::AnyFunction);
        machine.host().limit(pages as usize);
        let instance = machine.instantiate(wasm)?;
        Ok(Self { machine, instance, metered: false })
    }

    /// Instantiates an original whose start function is called as the rewritten module's is: by an export.
    ///
    /// # Errors
    /// What instantiation ends in.
    pub fn original_unstarted(engine: Engine, wasm: &[u8], pages: u32) -> Result<Self, Failure> {
        let wasm = Self::without_start(wasm).map_err(|error| Failure::Module(error.to_string()))?;
        Self::original(engine, &wasm, pages)
    }

    /// The module with its start section turned into an export, and nothing else changed.
    ///
    /// # Errors
    /// What the encoder says of a module that is not valid.
    pub fn without_start(wasm: &[u8]) -> Result<Vec<u8>, reencode::Error> {
        let mut start = None;
        let mut exports = ExportSection::new();
        for payload in wasmparser::Parser::new(0).parse_all(wasm) {
            match payload? {
                wasmparser::Payload::StartSection { func, .. } => start = Some(func),
                wasmparser::Payload::ExportSection(section) => {
                    RoundtripReencoder.parse_export_section(&mut exports, section)?;
                }
                _ => {}
            }
        }
        let Some(start) = start else { return Ok(wasm.to_vec()) };
        exports.export(EXPORT_START, ExportKind::Func, start);
        let (mut module, mut exported) = (wasm_encoder::Module::new(), false);
        for payload in wasmparser::Parser::new(0).parse_all(wasm) {
            let Some((id, range)) = payload?.as_section() else { continue };
            if id >= SectionId::Export as u8 && !exported {
                module.section(&exports);
                exported = true;
            }
            if id != SectionId::Start as u8 && id != SectionId::Export as u8 {
                module.section(&RawSection { id, data: wasm.get(range).unwrap_or_default() });
            }
        }
        Ok(module.finish())
    }

    /// Functions that it exports and that take numbers and vectors only.
    pub fn functions(&mut self) -> Vec<(String, Vec<Type>)> {
        let exports = self.machine.exports(self.instance);
        exports
            .into_iter()
            .filter_map(|(name, export)| match export {
                Export::Function(params, _) if !name.starts_with(abi::RESERVED_PREFIX) => Some((name, params)),
                _ => None,
            })
            .collect()
    }

    /// The world that it sees.
    pub fn host(&mut self) -> &mut Host {
        self.machine.host()
    }

    /// An exported global.
    pub fn global(&mut self, name: &str) -> Option<Value> {
        self.machine.get(self.instance, name)
    }

    /// Calls an export with an allowance of fuel, which an original does not know.
    pub fn call(&mut self, name: &str, args: &[Value], allowance: u64) -> Seen {
        let first = self.machine.host().calls.len();
        if self.metered {
            self.machine.set(self.instance, EXPORT_FUEL, Value::I64(allowance));
            self.machine.set(self.instance, EXPORT_HALT, Value::I32(0));
        }
        let done = self.machine.call(self.instance, name, args);
        let calls = self.machine.host().calls.split_off(first);
        // The number of calls is part of what the host answers.
        self.machine.host().calls.extend(calls.iter().cloned());
        let pool = match self.machine.get(self.instance, EXPORT_FUEL) {
            Some(Value::I64(pool)) if self.metered => pool.cast_signed(),
            _ => 0,
        };
        let end = self.end(done, pool);
        let left = u64::try_from(pool).unwrap_or(0).min(allowance);
        let used = match &end {
            End::Fuel => allowance,
            // What is in hand is lost, and a chunk at least, as the runtime has it.
            End::Trapped(_) => (allowance - left).max(param::FUEL_CHUNK.min(allowance)),
            _ => allowance - left,
        };
        let state = matches!(end, End::Returned(_)).then(|| self.state());
        Seen { end, fuel: if self.metered { used } else { 0 }, pool, calls, state }
    }

    fn end(&mut self, done: Result<Vec<Value>, Failure>, pool: i64) -> End {
        let halt = match self.machine.get(self.instance, EXPORT_HALT) {
            Some(Value::I32(code)) if self.metered => Halt::from_code(code.cast_signed()),
            _ => None,
        };
        match done {
            Ok(_) if self.metered && pool < 0 => End::Fuel,
            Ok(results) => End::Returned(results),
            Err(Failure::Trap(_)) if matches!(halt, Some(Halt::Fuel)) => End::Fuel,
            Err(Failure::Trap(Trap::Unreachable)) => match halt {
                None => End::Trapped(Trap::Unreachable),
                Some(Halt::Fuel) => End::Fuel,
                Some(Halt::Stack) => End::Trapped(Trap::StackOverflow),
                Some(Halt::Memory) => End::Memory,
                Some(Halt::Exception) => End::Trapped(Trap::UncaughtException),
            },
            // The engine's own stack must never be the first to end.
            Err(Failure::Trap(Trap::StackOverflow)) if self.metered => End::Fault(Failure::Trap(Trap::StackOverflow)),
            Err(Failure::Trap(trap)) => End::Trapped(trap),
            Err(Failure::HostFuel) => End::Fuel,
            Err(other) => End::Fault(other),
        }
    }

    fn state(&mut self) -> State {
        let (mut globals, mut memories) = (Vec::new(), Vec::new());
        for (name, export) in self.machine.exports(self.instance) {
            match export {
                Export::Global(_) if ![EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES].contains(&name.as_str()) => {
                    if let Some(value) = self.machine.get(self.instance, &name) {
                        globals.push((name, value));
                    }
                }
                Export::Memory if name != EXPORT_STOP => {
                    let (mut len, mut hash) = (0, blake3::hash(&[]));
                    self.machine.memory(self.instance, &name, &mut |bytes| {
                        (len, hash) = (bytes.len(), blake3::hash(bytes));
                    });
                    memories.push((name, len, hash));
                }
                _ => {}
            }
        }
        State { globals, memories }
    }
}
