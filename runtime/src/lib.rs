//! Runs an [`Execution`] and gives its [`Receipt`]: the same one, bit for bit, on every host.
//!
//! [`Runtime::load`] admits, rewrites and compiles a module. [`Runtime::run`] runs it in its virtual world and
//! commits to its state after each step. An [`Outcome`](samebit_spec::execution::Outcome) is the task's doing;
//! whatever this machine could not do is a [`HostFault`] and never an outcome. The crate opens no file, reads
//! no clock and knows no money. Rules and their reasons: `spec/03-execution.md`.
//!
//! - `engine.rs`: what a run needs of an engine, and what removes each source of nondeterminism; `engine/native.rs` and
//!   `engine/interpreter.rs` are the two there are.
//! - `guest.rs`: what a running module can reach: preview1 and tensors, behind the meter.
//! - `tensors.rs`: the functions on tensors, on whichever backend.
//! - `run.rs`: order of a run, roots, outcome.
//! - `serve.rs`: the guest's thread, and content and watch on the caller's.
//! - `stop.rs`: how a run is stopped from another thread, and the layers that such a wish passes.
//! - `frames.rs`: why the native stack never ends before the profile's height does.
//! - `cache.rs`: compiled code that this host made before.
//! - `pages.rs`: the hash tree over memory; `dirty.rs`: what of it may have changed.
//! - `snapshot.rs`: states that are kept and taken up again; `pack.rs`: their form as bytes.
//!
//! Invariants:
//! - R1: a receipt depends on its execution and on nothing else.
//! - R2: a step that does not end leaves the state before it; memory after a trap is never looked at.
//! - R3: fuel used never exceeds the execution's limit, and no step's its budget.
//!
//! Unsafe code is in `stop.rs`, `cache.rs` and `dirty/faults.rs` and nowhere else.
#![deny(unsafe_code)]

mod cache;
mod dirty;
mod engine;
mod fault;
mod frames;
mod guest;
pub mod pack;
mod pages;
mod run;
mod serve;
mod snapshot;
mod stop;
mod tensors;

pub use cache::{Cache, CodeCache};
pub use dirty::Tracking;
pub use engine::{EngineKind, UnknownEngine};
pub use fault::{HostFault, LoadError};
pub use samebit_rewrite::{Executable, Refusal};
pub use samebit_tensor::{Backend, Cpu, Oracle};
/// What a [`Backend`] is written with.
pub mod backend {
    pub use samebit_tensor::{Failure, Fault, Tensor};
}

pub use samebit_wasi::{Content, OutputBytes, PIECE, Piece, Said, Saved};
pub use snapshot::{Checkpoint, Held, Keep, Pages, Snapshot, SnapshotError, Source};

use engine::{Code, Engine};
use samebit_spec::{
    content::{BlobRef, Tree},
    execution::{Execution, TensorOps},
    id::{ExecutableId, StateRoot},
    receipt::Receipt,
    task::TaskForm,
    tensor::host,
    unit::Fuel,
};
use std::sync::Arc;
use tensors::Computing;

/// What admission says of a module, without compiling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// How it is entered.
    pub form: TaskForm,
    /// Names of the preview1 functions that it imports, sorted.
    pub imports: Vec<String>,
    /// The version of tensor operations that it needs; 0 for one that imports no function on tensors.
    pub tensor_ops: TensorOps,
    /// Pages of 64 KiB that its memory begins with.
    pub memory_min_pages: u32,
    /// Pages beyond which it never grows, where it says so itself.
    pub memory_max_pages: Option<u32>,
    /// The published module.
    pub module: BlobRef,
    /// The module as it runs.
    pub executable: ExecutableId,
}

/// Reads a module as a host would before taking it.
///
/// # Errors
/// [`Refusal`] when the profile does not admit it.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Refusal> {
    let executable = samebit_rewrite::prepare(bytes)?;
    Ok(Inspection {
        form: executable.form,
        tensor_ops: tensor_ops(&executable),
        imports: executable.imports,
        memory_min_pages: executable.memory_min_pages,
        memory_max_pages: executable.memory_max_pages,
        module: executable.module,
        executable: executable.id,
    })
}

/// The version of tensor operations that a module needs.
fn tensor_ops(executable: &Executable) -> TensorOps {
    TensorOps(if executable.tensors { host::VERSION } else { 0 })
}

/// How an engine is set up. No receipt depends on any of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which engine.
    pub engine: EngineKind,
    /// Where instances get their memory from. The interpreter has its own way.
    pub allocator: Allocator,
    /// Where compiled code is kept. The interpreter makes none.
    pub cache: Option<Cache>,
    /// How the pages are found that a step wrote; the best means there is unless said otherwise. The interpreter's
    /// memory cannot be followed by the kernel, and is compared with a copy instead.
    pub tracking: Option<Tracking>,
    /// Who computes tensors; the CPU unless said otherwise.
    pub backend: Option<Arc<dyn Backend>>,
}

/// What a run is to do beside running.
#[derive(Default)]
pub struct Orders<'a> {
    /// Begin here and not at the beginning.
    pub resume: Option<Arc<Snapshot>>,
    /// Keeps states on the way.
    pub keep: Option<&'a mut dyn Keep>,
    /// Hears what the guest says of its progress: the last of it, at each root and a few times a second.
    pub hear: Option<&'a mut dyn FnMut(Said)>,
}

impl core::fmt::Debug for Orders<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Orders").field("resume", &self.resume).finish_non_exhaustive()
    }
}

/// Where instances get their memory from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocator {
    /// From the machine, when they are made.
    #[default]
    OnDemand,
    /// From address space that is set aside when the engine is set up, 8 GiB for each instance.
    Pooling {
        /// Most instances at a time. One more is a host fault.
        instances: u32,
    },
}

/// An engine. One per process is enough; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    engine: Arc<dyn Engine>,
    kind: EngineKind,
    tracking: Tracking,
    computing: Computing,
}

impl core::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runtime").field("build", &self.engine.build()).finish_non_exhaustive()
    }
}

/// A compiled module. Cheap to clone, so that a host keeps it for the next unit. It runs on the engine that it was
/// loaded with.
#[derive(Clone)]
pub struct Program {
    code: Arc<dyn Code>,
    executable: Arc<Executable>,
}

impl core::fmt::Debug for Program {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Program").field("executable", &self.executable.id).finish_non_exhaustive()
    }
}

impl Program {
    /// How it is entered.
    #[must_use]
    pub fn form(&self) -> TaskForm {
        self.executable.form
    }

    /// The published module that it was compiled from.
    #[must_use]
    pub fn module(&self) -> BlobRef {
        self.executable.module
    }

    /// The version of tensor operations that it needs; 0 for one that imports no function on tensors.
    #[must_use]
    pub fn tensor_ops(&self) -> TensorOps {
        tensor_ops(&self.executable)
    }

    /// The rewritten module, for [`Runtime::compile`] on another engine.
    #[must_use]
    pub fn executable_of(&self) -> Arc<Executable> {
        Arc::clone(&self.executable)
    }

    /// The rewritten module's id.
    #[must_use]
    pub fn executable(&self) -> ExecutableId {
        self.executable.id
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps taken.
    pub step: u32,
    /// Fuel used, as far as it is known.
    pub fuel: Fuel,
    /// The state root just reached; `None` when the run only shows that it is alive.
    pub root: Option<StateRoot>,
}

/// What the caller wants of a run under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Go,
    /// End it: [`HostFault::Cancelled`].
    Stop,
}

/// A run that has an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What the network compares.
    pub receipt: Receipt,
    /// stdout when the run ended, with what a stretch that did not end wrote before it trapped.
    pub stdout: Vec<u8>,
    /// The first bytes of stderr, for people, those of a trapping step included. Not part of any hash.
    pub stderr: Vec<u8>,
    /// The files of `/out` when the run ended, likewise, by path relative to it, sorted: those of `tree`, in its order.
    pub files: Vec<(String, OutputBytes)>,
    /// The same as a tree.
    pub tree: Tree,
    /// The state roots that the receipt commits to.
    pub history: Vec<StateRoot>,
}

impl Runtime {
    /// Sets the default engine up.
    ///
    /// # Errors
    /// [`HostFault::Engine`] on a machine that the engine does not support.
    pub fn new() -> Result<Self, HostFault> {
        Self::with(EngineKind::default())
    }

    /// Sets an engine up.
    ///
    /// # Errors
    /// [`HostFault::Engine`] on a machine that the engine does not support.
    pub fn with(engine: EngineKind) -> Result<Self, HostFault> {
        Self::open(&Options { engine, ..Options::default() })
    }

    /// Sets an engine up as `options` say.
    ///
    /// # Errors
    /// [`HostFault::Engine`] on a machine that the engine does not support, or that has too little address space.
    pub fn open(options: &Options) -> Result<Self, HostFault> {
        let tracking = options.tracking.unwrap_or_else(Tracking::best);
        let backend = options.backend.clone().unwrap_or_else(|| Arc::new(Cpu));
        let computing = Computing::new(backend);
        Ok(Self { engine: engine::open(options)?, kind: options.engine, tracking, computing })
    }

    /// Who computes tensors.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        &*self.computing.backend
    }

    /// How it finds the pages that a step wrote.
    #[must_use]
    pub fn tracking(&self) -> Tracking {
        match (self.kind, self.tracking) {
            (EngineKind::Wasmi, Tracking::Faults) => Tracking::Compare,
            (_, tracking) => tracking,
        }
    }

    /// Which engine it is.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.kind
    }

    /// The engine's build, such as `wasmtime-48.0.8 x86_64`. Not part of a receipt.
    #[must_use]
    pub fn engine_build(&self) -> &str {
        self.engine.build()
    }

    /// Admits, rewrites and compiles a module.
    ///
    /// # Errors
    /// [`LoadError::Refused`] when the profile does not admit it, [`LoadError::Fault`] when this host cannot
    /// compile it.
    pub fn load(&self, bytes: &[u8]) -> Result<Program, LoadError> {
        self.compile(Arc::new(samebit_rewrite::prepare(bytes)?))
    }

    /// Compiles a module that was admitted and rewritten before.
    ///
    /// # Errors
    /// [`LoadError::Fault`] when this host cannot compile it.
    pub fn compile(&self, executable: Arc<Executable>) -> Result<Program, LoadError> {
        let code = self.engine.compile(&executable)?;
        Ok(Program { code, executable })
    }

    /// Runs `execution` to its outcome.
    ///
    /// The guest runs on a thread of its own; `content` and `watch` are called on the caller's. `watch` is
    /// called after each state root, and a few times a second between them with `root: None`. A run that is
    /// stopped inside a step ends there for the caller; its thread ends at the guest's next loop, call or call
    /// of the host.
    ///
    /// # Errors
    /// [`HostFault`] when there is no outcome. Nothing of the run is kept.
    pub fn run(
        &self,
        program: &Program,
        execution: &Execution,
        content: &dyn Content,
        watch: &mut dyn FnMut(Progress) -> Flow,
    ) -> Result<Finished, HostFault> {
        self.run_with(program, execution, content, Orders::default(), watch)
    }

    /// Runs `execution` to its outcome, as `orders` say: from a state that was kept, or keeping states. The receipt is
    /// the same whichever.
    ///
    /// # Errors
    /// [`HostFault`] when there is no outcome; [`HostFault::Snapshot`] when the state to begin at was altered or is of
    /// another execution. Nothing that follows from such a state is told.
    pub fn run_with(
        &self,
        program: &Program,
        execution: &Execution,
        content: &dyn Content,
        orders: Orders<'_>,
        watch: &mut dyn FnMut(Progress) -> Flow,
    ) -> Result<Finished, HostFault> {
        serve::serve(program, execution, content, (self.tracking(), &self.computing), orders, watch)
    }
}
