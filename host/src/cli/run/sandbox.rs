//! The sandbox that hosts use, in this process, and prose for what this machine could not do.

use crate::{
    cli::{build, tensor::TensorBackend},
    context::Context,
    exit::Exit,
    report::{Failure, Ui},
    text,
};
use indicatif::ProgressBar;
use samebit_node::code;
use samebit_runtime::{
    Content, EngineKind, Finished, Flow, HostFault, Keep, LoadError, Options, Orders, Program, Progress, Runtime, Said,
};
use samebit_spec::{execution::Execution, task::TaskForm};
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

/// How long a run is before its progress is shown.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The sandbox that hosts use, in this process.
pub(in crate::cli) struct Sandbox {
    pub(super) runtime: Runtime,
}

impl Sandbox {
    /// Sets an engine up. Code that it compiles is kept where the home folder can be used.
    pub(in crate::cli) fn new(engine: EngineKind, ui: &Ui) -> Result<Self, Failure> {
        Self::with(engine, TensorBackend::default(), ui)
    }

    /// The same, with what computes tensors.
    pub(super) fn with(engine: EngineKind, tensors: TensorBackend, ui: &Ui) -> Result<Self, Failure> {
        let context = Context::new(ui).ok();
        let backend = Some(tensors.open(context.as_ref().map(Context::home))?);
        let cache = context.and_then(|context| code::cache(&context.home_dir().cache_dir()));
        let options = Options { engine, cache, backend, ..Options::default() };
        Ok(Self { runtime: Runtime::open(&options).map_err(|fault| fault_failure(&fault))? })
    }

    /// Which engine it is.
    pub(in crate::cli) fn engine(&self) -> EngineKind {
        self.runtime.engine()
    }

    /// Compiles a module; `shown` is what people know it as.
    pub(in crate::cli) fn load(&self, shown: &str, bytes: &[u8]) -> Result<Program, Failure> {
        self.runtime.load(bytes).map_err(|error| match error {
            LoadError::Refused(refusal) => {
                Failure::new(Exit::ModuleRefused, format!("{shown} is refused: {}", build::line_of(&refusal)))
                    .help("no host would take it either; it must be compiled for wasm32-wasip1")
            }
            LoadError::Fault(fault) => fault_failure(&fault),
        })
    }

    /// Runs an execution as `orders` say, for as long as `watch` wants.
    pub(in crate::cli) fn run_while(
        &self,
        program: &Program,
        execution: &Execution,
        content: &dyn Content,
        orders: Orders<'_>,
        watch: &mut dyn FnMut(Progress) -> Flow,
    ) -> Result<Finished, HostFault> {
        self.runtime.run_with(program, execution, content, orders, watch)
    }

    /// Runs an execution to its outcome; shows how far it is when it takes longer than a second.
    pub(in crate::cli) fn run(
        &self,
        program: &Program,
        execution: &Execution,
        content: &dyn Content,
        ui: &Ui,
    ) -> Result<Finished, Failure> {
        self.run_shown(program, execution, content, Orders::default(), ui, &mut None)
            .map_err(|fault| fault_failure(&fault))
    }

    /// The same, as `orders` say; leaves in `said` what the guest said last of its progress.
    pub(super) fn run_shown(
        &self,
        program: &Program,
        execution: &Execution,
        content: &dyn Content,
        orders: Orders<'_>,
        ui: &Ui,
        said: &mut Option<Said>,
    ) -> Result<Finished, HostFault> {
        let begun = Instant::now();
        let mut bar: Option<ProgressBar> = None;
        let heard = RefCell::new(said);
        let mut hear = |said: Said| **heard.borrow_mut() = Some(said);
        let Orders { resume, keep, hear: _ } = orders;
        // What hears lives shorter than what keeps.
        let keep = keep.map(|keep| keep as &mut dyn Keep);
        let orders = Orders { resume, keep, hear: Some(&mut hear) };
        let finished = self.runtime.run_with(program, execution, content, orders, &mut |progress| {
            if begun.elapsed() > QUIET_TIME {
                let bar = bar.get_or_insert_with(|| ui.spinner("running"));
                let share = u128::from(progress.fuel.0) * 100 / u128::from(execution.limits.fuel.0.max(1));
                let steps = match program.form() {
                    TaskForm::Stepped => format!("step {}, ", progress.step),
                    TaskForm::Command => String::new(),
                };
                let said = match &**heard.borrow() {
                    Some(Said { done, total: 0, text }) => format!("; {done} done {text}"),
                    Some(Said { done, total, text }) => format!("; {done} of {total} {text}"),
                    None => String::new(),
                };
                let fuel = text::fuel(progress.fuel);
                bar.set_message(format!("running: {steps}{fuel} fuel, {share} % of its limit{said}"));
            }
            Flow::Go
        });
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        finished
    }
}

/// Prose for what this machine could not do.
pub(in crate::cli) fn fault_failure(fault: &HostFault) -> Failure {
    if let HostFault::Snapshot(_) = fault {
        return Failure::new(Exit::Environment, fault.to_string())
            .help("nothing that follows from it was told; without --resume the run begins at its beginning");
    }
    Failure::new(Exit::Environment, format!("this machine could not run it: {fault}"))
        .help("this says nothing about the task; `samebit doctor` checks this machine")
}
