//! Order of a run: instantiate, initialise, step, finish; a root after each; one outcome (`spec/03-execution.md`,
//! sections 4 to 8).
//!
//! A *stretch* is the guest's work between two roots. It runs on an allowance of fuel, and it either ends, and
//! its state is committed, or it does not, and the state before it stands.

use crate::{
    Content, Finished, Flow, HostFault, Program, Progress,
    engine::Engine,
    guest::{Growth, Guest, Halt, Meter},
    serve::{Live, Remote},
};
use samebit_rewrite::{EXPORT_START, global_export};
use samebit_spec::{
    abi::{self, StepCode},
    content::{BlobRef, Tree, TreeFile, folders_begun},
    execution::{Execution, Limit, Outcome, TensorOps, Trap},
    id::StateRoot,
    param,
    receipt::{Output, Receipt},
    state::{self, GlobalValue, MemoryRoot, StateImage},
    task::TaskForm,
    unit::Fuel,
};
use samebit_wasi::{Config, Wasi};
use std::sync::Arc;
use wasmtime::{Global, Instance, Memory, Store, UpdateDeadline, Val, WasmParams, WasmResults};

const PAGE_BYTES: u64 = 64 << 10;

/// Runs `execution` to its outcome on this thread.
pub(crate) fn run(
    engine: &Engine,
    program: &Program,
    execution: &Execution,
    remote: &dyn Fn() -> Remote,
    live: &Arc<Live>,
) -> Result<Finished, HostFault> {
    let executable = &program.executable;
    if execution.module != executable.module.id {
        return Err(HostFault::WrongModule { wanted: execution.module, given: executable.module.id });
    }
    if execution.tensor_ops != TensorOps(0) {
        return Err(HostFault::TensorOps { wanted: execution.tensor_ops });
    }
    let content = remote();
    let wasi = world(execution, &content)?;
    let mut ledger = Committed::blank(execution, &wasi);
    if u64::from(executable.memory_min_pages) * PAGE_BYTES > execution.limits.memory.0 {
        ledger.repeat(0, 0);
        return ledger.finish(Outcome::Exhausted { limit: Limit::Memory }, &wasi, &content);
    }
    let guest = Guest {
        wasi,
        content: remote(),
        memory: None,
        meter: Meter::default(),
        growth: Growth { max_bytes: execution.limits.memory.0 },
        live: Arc::clone(live),
    };
    let mut store = Store::new(program.module.engine(), guest);
    store.limiter(|guest| &mut guest.growth);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|guest| match guest.data().live.is_cancelled() {
        true => Err(wasmtime::Error::new(Halt::Cancelled)),
        // Another run of this engine was.
        false => Ok(UpdateDeadline::Continue(1)),
    });
    // The epoch that a cancellation before this moved is part of the deadline.
    if live.is_cancelled() {
        return Err(HostFault::Cancelled);
    }
    let mut machine = Machine { store, execution, form: executable.form, parts: None };
    let outcome = machine.drive(engine, program, &mut ledger, &content)?;
    ledger.finish(outcome, &machine.store.data().wasi, &content)
}

/// The guest's world at its beginning.
fn world(execution: &Execution, content: &Remote) -> Result<Wasi, HostFault> {
    let mut mounts = Vec::with_capacity(execution.mounts.len());
    for mount in &execution.mounts {
        let tree = content.tree(&mount.tree).map_err(|reason| HostFault::Tree {
            tree: mount.tree,
            path: mount.path.clone(),
            reason,
        })?;
        mounts.push((mount.clone(), tree));
    }
    Ok(Wasi::new(Config {
        args: execution.args.clone(),
        env: execution.env.clone(),
        stdin: execution.stdin,
        seed: execution.seed,
        unit: execution.unit,
        mounts,
        limits: execution.limits,
        stderr_kept: param::STDERR_KEPT,
    }))
}

/// The last state that was committed to, and the roots up to it.
struct Committed {
    image: StateImage,
    history: Vec<StateRoot>,
}

impl Committed {
    /// Before instantiation: no memory, no globals, the world untouched. Not yet in the history.
    fn blank(execution: &Execution, wasi: &Wasi) -> Self {
        let image = StateImage {
            execution: execution.id(),
            step: 0,
            fuel: Fuel::ZERO,
            memory_pages: 0,
            memory: MemoryRoot::default(),
            globals: Vec::new(),
            dropped_data: Vec::new(),
            dropped_elements: Vec::new(),
            wasi: wasi.root(),
            stdout: wasi.stdout_blob(),
            tensors: Vec::new(),
        };
        Self { image, history: Vec::new() }
    }

    /// Commits to the state before the stretch once more, with the fuel that the stretch used.
    fn repeat(&mut self, step: u32, fuel: u64) {
        self.image.step = step;
        self.image.fuel = Fuel(fuel);
        self.history.push(self.image.root());
    }

    /// The result. Output is what host calls have written, those of a stretch that did not end included: unlike
    /// memory after a trap it is the same on every processor, and a task that fails late has said why.
    fn finish(self, outcome: Outcome, world: &Wasi, content: &Remote) -> Result<Finished, HostFault> {
        let mut files = world.output_files(content).map_err(|reason| HostFault::Content { reason })?;
        let tree = output_tree(&mut files);
        let (stdout, stderr) = (world.stdout(), world.stderr().to_vec());
        let output = Output { stdout: BlobRef::of(&stdout), tree: tree.tree_ref() };
        let receipt = Receipt {
            execution: self.image.execution,
            outcome,
            output,
            fuel: self.image.fuel,
            steps: self.image.step,
            history: state::history_root(&self.history),
        };
        Ok(Finished { receipt, stdout, stderr, files, tree, history: self.history })
    }
}

/// The tree of the guest's files. A guest may make paths that no tree can hold and more files than a tree may
/// have: the former are left out, of the latter the first by path are kept, and so of folders.
fn output_tree(files: &mut Vec<(String, Vec<u8>)>) -> Tree {
    let entry = |(path, bytes): &(String, Vec<u8>)| TreeFile { path: path.clone(), blob: BlobRef::of(bytes) };
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.retain(|file| Tree::new(vec![TreeFile { path: file.0.clone(), blob: BlobRef::default() }]).is_ok());
    files.truncate(param::TREE_FILES_MAX);
    let (mut before, mut folders, mut kept) = ("", 0, 0);
    for (path, _) in files.iter() {
        folders += folders_begun(before, path).count();
        if folders > param::TREE_FOLDERS_MAX {
            break;
        }
        kept += 1;
        before = path;
    }
    files.truncate(kept);
    match Tree::new(files.iter().map(entry).collect()) {
        Ok(tree) => tree,
        // A file system has each path once and nothing below a file, so only a fault of `samebit-wasi` leads here;
        // it would be the same on every host.
        Err(_) => {
            files.clear();
            Tree::new(Vec::new()).unwrap_or_else(|_| unreachable!("a tree of no files breaks no rule"))
        }
    }
}

/// How a stretch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Returned(StepCode),
    Exited(u32),
    Trapped(Trap),
    OutOfFuel(Limit),
}

/// What is known of an instance: where its state is.
struct Parts {
    instance: Instance,
    memory: Memory,
    globals: Vec<Global>,
}

struct Machine<'a> {
    store: Store<Guest>,
    execution: &'a Execution,
    form: TaskForm,
    parts: Option<Parts>,
}

impl Machine<'_> {
    fn drive(
        &mut self,
        engine: &Engine,
        program: &Program,
        ledger: &mut Committed,
        content: &Remote,
    ) -> Result<Outcome, HostFault> {
        let mut step = 0;
        let mut end = self.stretch(|machine| machine.begin(engine, program))?;
        loop {
            let used = self.store.data().meter.used;
            match end {
                End::Returned(_) | End::Exited(_) => self.commit(ledger, step)?,
                End::Trapped(_) | End::OutOfFuel(_) => ledger.repeat(step, used),
            }
            let live = &self.store.data().live;
            live.set_step(step);
            live.set_fuel(used);
            let progress = Progress { step, fuel: Fuel(used), root: ledger.history.last().copied() };
            if content.go(progress) == Flow::Stop {
                return Err(HostFault::Cancelled);
            }
            match end {
                End::Returned(StepCode::More) => {}
                End::Returned(StepCode::Done) => return Ok(Outcome::Exited { code: 0 }),
                End::Returned(StepCode::Failed) => return Ok(Outcome::Failed),
                End::Exited(code) => return Ok(Outcome::Exited { code }),
                End::Trapped(trap) => return Ok(Outcome::Trapped { trap }),
                End::OutOfFuel(limit) => return Ok(Outcome::Exhausted { limit }),
            }
            if step >= self.execution.limits.steps {
                return Ok(Outcome::Exhausted { limit: Limit::Steps });
            }
            step += 1;
            end = self.stretch(Self::step)?;
        }
    }

    /// Up to `s_0`.
    fn begin(&mut self, engine: &Engine, program: &Program) -> wasmtime::Result<StepCode> {
        // Segments outside memory or table trap as the guest's doing; short of that, an admitted module within
        // its limits fails to instantiate only for want of memory.
        let instance = engine.linker().instantiate(&mut self.store, &program.module).map_err(|error| {
            let known = error.is::<wasmtime::Trap>() || error.is::<Halt>();
            if known { error } else { wasmtime::Error::new(Halt::Memory(format!("{error:#}"))) }
        })?;
        let missing = |name: &str| wasmtime::Error::msg(format!("the rewritten module has no export {name:?}"));
        let memory =
            instance.get_memory(&mut self.store, abi::EXPORT_MEMORY).ok_or_else(|| missing(abi::EXPORT_MEMORY))?;
        let mut globals = Vec::with_capacity(program.executable.globals.len());
        for &(index, _) in &program.executable.globals {
            let name = global_export(index);
            globals.push(instance.get_global(&mut self.store, &name).ok_or_else(|| missing(&name))?);
        }
        self.store.data_mut().memory = Some(memory);
        self.parts = Some(Parts { instance, memory, globals });
        if program.executable.start {
            self.call::<(), ()>(EXPORT_START, ())?;
        }
        match self.form {
            TaskForm::Command => Ok(StepCode::More),
            TaskForm::Stepped => {
                self.call::<(), ()>(abi::EXPORT_INITIALIZE, ())?;
                let code = self.call::<(), i32>(abi::EXPORT_INIT, ())?;
                self.conclude(code)
            }
        }
    }

    /// From one root to the next.
    fn step(&mut self) -> wasmtime::Result<StepCode> {
        match self.form {
            TaskForm::Command => {
                self.call::<(), ()>(abi::EXPORT_COMMAND, ())?;
                Ok(StepCode::Done)
            }
            TaskForm::Stepped => {
                let budget = i64::try_from(self.execution.step_budget.0).unwrap_or(i64::MAX);
                let code = self.call::<i64, i32>(abi::EXPORT_STEP, budget)?;
                self.conclude(code)
            }
        }
    }

    /// Reads a code, and has the result written when the work is done.
    fn conclude(&mut self, code: i32) -> wasmtime::Result<StepCode> {
        let undefined = || wasmtime::Error::new(Halt::Trap(Trap::BadStepCode));
        match StepCode::from_i32(code).ok_or_else(undefined)? {
            StepCode::Done => match StepCode::from_i32(self.call::<(), i32>(abi::EXPORT_FINISH, ())?) {
                Some(code @ (StepCode::Done | StepCode::Failed)) => Ok(code),
                Some(StepCode::More) | None => Err(undefined()),
            },
            code @ (StepCode::More | StepCode::Failed) => Ok(code),
        }
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, params: P) -> wasmtime::Result<R> {
        let instance = self.parts.as_ref().map(|parts| parts.instance);
        let instance = instance.ok_or_else(|| wasmtime::Error::msg("called before instantiation"))?;
        instance.get_typed_func::<P, R>(&mut self.store, name)?.call(&mut self.store, params)
    }

    /// Does `work` on its allowance of fuel and charges it, the state root that follows included.
    fn stretch(&mut self, work: impl FnOnce(&mut Self) -> wasmtime::Result<StepCode>) -> Result<End, HostFault> {
        let unknown = |error: wasmtime::Error| HostFault::Unknown { reason: format!("{error:#}") };
        let used = self.store.data().meter.used;
        let rest = self.execution.limits.fuel.0.saturating_sub(used);
        let (allowance, limit) = match self.form {
            TaskForm::Stepped if self.execution.step_budget.0 < rest => (self.execution.step_budget.0, Limit::StepFuel),
            TaskForm::Stepped | TaskForm::Command => (rest, Limit::Fuel),
        };
        self.store.data_mut().meter.allowance = allowance;
        self.store.set_fuel(allowance).map_err(unknown)?;
        let end = match work(self) {
            Ok(code) => End::Returned(code),
            Err(error) => classify(error, limit)?,
        };
        let left = self.store.get_fuel().map_err(unknown)?.min(allowance);
        let (end, left) = match end {
            End::Returned(_) | End::Exited(_) => match left.checked_sub(self.root_fuel()) {
                Some(left) => (end, left),
                None => (End::OutOfFuel(limit), 0),
            },
            End::Trapped(trap) if is_metered(trap) => (end, left),
            End::Trapped(_) | End::OutOfFuel(_) => (end, 0),
        };
        let meter = &mut self.store.data_mut().meter;
        meter.used = meter.now(left);
        Ok(end)
    }

    /// What the next root costs.
    fn root_fuel(&self) -> u64 {
        let pages = self.parts.as_ref().map_or(0, |parts| parts.memory.size(&self.store));
        let world = self.store.data().wasi.root_fuel().0;
        param::ROOT_FUEL.0.saturating_add(pages.saturating_mul(param::ROOT_FUEL_PER_PAGE.0)).saturating_add(world)
    }

    /// Commits to the state as it is.
    fn commit(&mut self, ledger: &mut Committed, step: u32) -> Result<(), HostFault> {
        let unknown = |reason: &str| HostFault::Unknown { reason: reason.to_string() };
        let parts = self.parts.as_ref().ok_or_else(|| unknown("a state without an instance"))?;
        let mut globals = Vec::with_capacity(parts.globals.len());
        for global in &parts.globals {
            globals.push(match global.get(&mut self.store) {
                Val::I32(value) => GlobalValue::I32(value.cast_unsigned()),
                Val::I64(value) => GlobalValue::I64(value.cast_unsigned()),
                Val::F32(bits) => GlobalValue::F32(bits),
                Val::F64(bits) => GlobalValue::F64(bits),
                Val::V128(value) => GlobalValue::V128(value.as_u128()),
                _ => return Err(unknown("a global that holds a reference")),
            });
        }
        let pages = parts.memory.size(&self.store);
        let memory = state::memory_root(parts.memory.data(&self.store));
        let guest = self.store.data();
        ledger.image.step = step;
        ledger.image.fuel = Fuel(guest.meter.used);
        ledger.image.memory_pages = u32::try_from(pages).map_err(|_| unknown("a memory beyond 32 bits"))?;
        ledger.image.memory = memory;
        ledger.image.globals = globals;
        ledger.image.wasi = guest.wasi.root();
        ledger.image.stdout = guest.wasi.stdout_blob();
        ledger.history.push(ledger.image.root());
        Ok(())
    }
}

/// What an error of the engine means. What the profile does not know is this host's fault.
fn classify(error: wasmtime::Error, limit: Limit) -> Result<End, HostFault> {
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return match halt.clone() {
            Halt::Exit(code) => Ok(End::Exited(code)),
            Halt::Trap(trap) => Ok(End::Trapped(trap)),
            Halt::Fuel => Ok(End::OutOfFuel(limit)),
            Halt::Content(reason) => Err(HostFault::Content { reason }),
            Halt::Memory(reason) => Err(HostFault::Memory { reason }),
            Halt::Cancelled => Err(HostFault::Cancelled),
        };
    }
    let unknown = || HostFault::Unknown { reason: format!("{error:#}") };
    let trap = error.downcast_ref::<wasmtime::Trap>().ok_or_else(unknown)?;
    Ok(End::Trapped(match trap {
        wasmtime::Trap::OutOfFuel => return Ok(End::OutOfFuel(limit)),
        wasmtime::Trap::UnreachableCodeReached => Trap::Unreachable,
        wasmtime::Trap::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        wasmtime::Trap::TableOutOfBounds => Trap::TableOutOfBounds,
        wasmtime::Trap::IndirectCallToNull => Trap::IndirectCallToNull,
        wasmtime::Trap::BadSignature => Trap::BadSignature,
        wasmtime::Trap::IntegerOverflow => Trap::IntegerOverflow,
        wasmtime::Trap::IntegerDivisionByZero => Trap::DivisionByZero,
        wasmtime::Trap::BadConversionToInteger => Trap::BadConversionToInteger,
        wasmtime::Trap::StackOverflow => Trap::StackOverflow,
        _ => return Err(unknown()),
    }))
}

/// Whether the engine's meter is exact where this trap strikes: it is brought up to date at calls and at
/// `unreachable`, and nowhere else. Without it a long loop that ends in a division by zero would be free.
fn is_metered(trap: Trap) -> bool {
    match trap {
        Trap::Unreachable
        | Trap::TableOutOfBounds
        | Trap::IndirectCallToNull
        | Trap::BadSignature
        | Trap::StackOverflow
        | Trap::BadStepCode => true,
        Trap::MemoryOutOfBounds | Trap::IntegerOverflow | Trap::DivisionByZero | Trap::BadConversionToInteger => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_more_folders_than_a_tree_may_have_are_kept_up_to_that_bound_and_not_dropped_all() {
        let inner = "/d".repeat(100);
        let mut files: Vec<_> = (0..2_000).map(|n| (format!("{n:05}{inner}/f"), Vec::new())).collect();
        let tree = output_tree(&mut files);
        assert_eq!(tree.files().len(), param::TREE_FOLDERS_MAX / 101);
        assert_eq!(files.len(), tree.files().len());
    }
}
