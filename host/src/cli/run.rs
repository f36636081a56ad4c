//! `samebit run`: runs a module here, in the sandbox that hosts use, and shows what they would sign.
//!
//! Nothing is sent. The guest sees what the options give it and nothing else of this machine; folders are shown as
//! they are when the run begins, and no write of the guest reaches them.

use super::{build, options, task, tensor::TensorBackend};
use crate::{
    context::{Context, blob_failure, read_file},
    daemon::at_interrupt,
    exit::Exit,
    report::{Failure, Format, Outcome, Ui},
    text,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::ProgressBar;
use samebit_blobs::{BlobError, Folder};
use samebit_node::{
    code,
    states::{self, Damaged, Keeper, Room, States, StatesError},
};
use samebit_runtime::{
    Checkpoint, Content, EngineKind, Finished, Flow, Held, HostFault, Keep, LoadError, Options, Orders, Program,
    Progress, Runtime, Said, Snapshot,
};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeRef},
    execution::{Access, Execution, Limit, Limits, Mount, Outcome as Ended, Profile},
    history::Trace,
    id::{IdError, StateRoot},
    param,
    task::TaskForm,
    unit::{Bytes, Fuel},
};
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a run is before its progress is shown.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// Run a module or a task here, in the sandbox that hosts use.
///
/// Takes any WASI command too, whoever compiled it. Its stdout and stderr pass through, and so does its exit code
/// (255 for anything above); a task that fails exits 1, a trap 20, a limit 21. A stepped task's result is printed
/// unless --out takes it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit run --input cases/ada/input target/samebit/hello.wasm
  samebit run --out picture --input cases/whole/input .     builds the project here first
  samebit run --dir . --env LANG=C cat.wasm -- README.md    a folder, copy-on-write
  samebit run --fuel 1000000 -o json loop.wasm              outcome, digests, fuel and state root as one object
  samebit run --engine wasmi loop.wasm                      interpreted: slower, and the same in every bit
  samebit run --checkpoint-every 10 long.wasm               keeps a state every ten steps; after a power cut:
  samebit run --checkpoint-every 10 --resume latest long.wasm
  samebit run --trace long.trace long.wasm                  every state root, for disputes and other machines
  samebit replay --step 42 long.wasm                        one step of what --checkpoint-every kept, run again")]
pub struct RunArgs {
    /// Where the files of /out go: a folder that is new or empty.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the state after every N steps, so that the run can be taken up there. At most 32 states and 1 GiB stay.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: Option<u32>,
    /// Begin at a state that an earlier run of the same execution kept: its root, or `latest`.
    #[arg(long, value_name = "ROOT|latest")]
    resume: Option<Wanted>,
    /// Write the receipt and every state root to a file that is new.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestArgs,
}

/// Which state a run begins at.
#[derive(Clone, Copy)]
enum Wanted {
    Latest,
    Root(StateRoot),
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            _ => text.parse().map(Self::Root).map_err(|error: IdError| error.to_string()),
        }
    }
}

/// What makes an execution: `samebit run` and `samebit replay` have it in common.
#[derive(clap::Args)]
pub(super) struct GuestArgs {
    /// Show a folder to the guest, copy-on-write: what it writes there ends with the run.
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    dirs: Vec<String>,
    /// The job's input, at /in, read-only: a folder, or a single file, which becomes /in/input.
    #[arg(long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// A variable of the guest's environment. May be given again; of one name the last counts.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = options::variable)]
    env: Vec<(String, String)>,
    /// The guest's stdin. Default: empty.
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Most fuel that the run may use. Default: 80 G.
    #[arg(long, value_name = "FUEL", value_parser = options::fuel())]
    fuel: Option<u64>,
    /// Most fuel of one step; a plain function is one step. Default: 8 G, as of a job, and at most what --fuel gives.
    #[arg(long, value_name = "FUEL", value_parser = options::fuel())]
    step_budget: Option<u64>,
    /// Most linear memory. Default: 512 MiB.
    #[arg(long, value_name = "BYTES", value_parser = options::memory())]
    memory: Option<u64>,
    /// Seed of the guest's randomness: up to 64 hexadecimal digits. Default: zeros.
    ///
    /// An odd digit gets a zero before it, and what is missing is filled up with zeros at the end: `f` is 0f00...
    #[arg(long, value_name = "HEX", default_value = "", hide_default_value = true, value_parser = options::seed)]
    seed: [u8; 32],
    /// Where kept states are. Default: `states` in the home folder.
    #[arg(long, value_name = "DIR")]
    states: Option<PathBuf>,
    /// What runs it: `wasmtime` compiles, `wasmi` interprets. Outcome, output, fuel and state roots are the same.
    #[arg(long, value_name = "ENGINE", default_value_t, value_parser = engine_parser())]
    engine: EngineKind,
    /// What computes tensors: `cpu`, `oracle` (as the specification words it: slow), `gpu` or `gpu:N`. The bits are the same.
    #[arg(long, value_name = "BACKEND", default_value = "cpu")]
    tensor_backend: TensorBackend,
    /// A .wasm file, a project's folder, or a task of the network by name or id.
    #[arg(value_name = "MODULE.wasm|TASK")]
    module: String,
    /// The guest's arguments.
    #[arg(last = true)]
    args: Vec<String>,
}

/// A run: `samebit/run/1`.
#[derive(Serialize)]
struct RunView {
    schema: &'static str,
    outcome: &'static str,
    exit_code: Option<u32>,
    trap: Option<String>,
    limit: Option<String>,
    stdout_digest: String,
    stdout_bytes: u64,
    output_digest: String,
    output_tree: String,
    output_files: usize,
    fuel: u64,
    steps: u32,
    state_root: Option<String>,
    history_root: String,
    /// Whether it has a root for each step; a command is one step, and is compared as a whole.
    stepped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    states_kept: Option<usize>,
    /// States that were to be kept and are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    states_skipped: Option<usize>,
    /// What the task said last of its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<SaidView>,
    execution: String,
    receipt: String,
    module: String,
    engine: String,
}

#[derive(Serialize)]
struct SaidView {
    done: u64,
    total: u64,
    text: String,
}

impl RunView {
    fn new(finished: &Finished, program: &Program, engine: &str) -> Self {
        let receipt = &finished.receipt;
        let words = text::outcome(&receipt.outcome);
        let detail = words.split_once(": ").map(|(_, detail)| detail.to_owned());
        let (outcome, exit_code, trap, limit) = match receipt.outcome {
            Ended::Exited { code } => ("exited", Some(code), None, None),
            Ended::Failed => ("failed", None, None, None),
            Ended::Trapped { .. } => ("trapped", None, detail, None),
            Ended::Exhausted { .. } => ("exhausted", None, None, detail),
        };
        Self {
            schema: "samebit/run/1",
            outcome,
            exit_code,
            trap,
            limit,
            stdout_digest: receipt.output.stdout.id.to_string(),
            stdout_bytes: receipt.output.stdout.len.0,
            output_digest: receipt.output.id().to_string(),
            output_tree: receipt.output.tree.id.to_string(),
            output_files: finished.files.len(),
            fuel: receipt.fuel.0,
            steps: receipt.steps,
            state_root: finished.history.last().map(ToString::to_string),
            history_root: receipt.history.to_string(),
            stepped: program.form() == TaskForm::Stepped,
            resumed_from: None,
            states_kept: None,
            states_skipped: None,
            progress: None,
            execution: receipt.execution.to_string(),
            receipt: receipt.id().to_string(),
            module: program.module().id.to_string(),
            engine: engine.to_owned(),
        }
    }
}

/// Takes an engine's name and lists them in the help.
pub(super) fn engine_parser() -> impl TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new(EngineKind::ALL.map(EngineKind::name)).try_map(|name| name.parse::<EngineKind>())
}

/// Runs the command.
pub fn run(args: RunArgs, ui: &Ui) -> Outcome {
    let RunArgs { out, checkpoint_every, resume, trace, guest } = args;
    // Everything that can be refused is refused before the work is done.
    if let Some(out) = &out {
        check_out(out)?;
    }
    if let Some(trace) = &trace {
        check_trace(trace)?;
    }
    let has_input = guest.input.is_some();
    let prepared = prepare(guest, ui)?;
    let Prepared { sandbox, program, execution, content, states } = &prepared;
    let mut keeper = match (checkpoint_every, &resume) {
        (None, None) => None,
        (None, Some(_)) => Some(States::look(states, execution.id())),
        (Some(every), _) => Some(States::open(states, execution.id(), every, Room::DEFAULT)),
    }
    .transpose()
    .map_err(|error| states_failure(&error))?
    .map(|states| Noted { states, keeps: checkpoint_every.is_some(), skipped: 0, ui });
    let left = if checkpoint_every.is_some() {
        "interrupted; `--resume latest` goes on where the last state was kept"
    } else {
        "interrupted; nothing was sent and nothing is kept"
    };
    at_interrupt(ui, Failure::new(Exit::Interrupted, left));
    let (mut resumed, mut said) = (None, None);
    let mut go = |orders: Orders<'_>| {
        resumed = orders.resume.as_ref().map(|snapshot| snapshot.step());
        sandbox.run_shown(program, execution, content, orders, ui, &mut said)
    };
    let ran = match (resume, &mut keeper) {
        (Some(Wanted::Latest), Some(keeper)) => {
            let damaged = keeper.states.damaged();
            if keeper.states.kept().is_empty() && damaged.is_empty() {
                return Err(Failure::new(Exit::NotFound, "no state of this execution was kept").help(
                    "the same module, arguments, input, seed and limits make the same execution; --checkpoint-every \
                     keeps states",
                ));
            }
            say_damaged(damaged, ui);
            states::run_on(keeper, go, &mut |what| ui.note(what))
        }
        (Some(Wanted::Root(root)), Some(keeper)) => {
            let snapshot = taken_up(root, &mut keeper.states)?;
            ui.note(format!("taken up after {}", text::count(snapshot.step() as usize, "step")));
            let ran = go(Orders { resume: Some(Arc::new(snapshot)), keep: Some(keeper), ..Orders::default() });
            if let Err(HostFault::Snapshot(_)) = ran
                && keeper.states.mend(root).is_ok()
            {
                say_damaged(keeper.states.damaged(), ui);
            }
            ran
        }
        (None, Some(keeper)) => {
            say_damaged(keeper.states.damaged(), ui);
            go(Orders { keep: Some(keeper), ..Orders::default() })
        }
        (_, None) => go(Orders::default()),
    };
    let finished = ran.map_err(|fault| fault_failure(&fault))?;

    if let Some(out) = &out {
        write_out(out, &finished.files)?;
    }
    let whole = Trace { receipt: finished.receipt.clone(), roots: finished.history.clone() };
    if let Some(trace) = &trace {
        write_trace(trace, &whole)?;
    }
    let keeper = keeper.filter(|keeper| keeper.keeps);
    if let Some(keeper) = &keeper
        && let Err(error) = keeper.states.leave_trace(&whole)
    {
        ui.note(format!("`samebit replay` will need --trace: {error}"));
    }
    let view = RunView {
        resumed_from: resumed,
        states_kept: keeper.as_ref().map(|keeper| keeper.states.kept().len()),
        states_skipped: keeper.map(|keeper| keeper.skipped).filter(|skipped| *skipped > 0),
        progress: said.map(|Said { done, total, text }| SaidView { done, total, text }),
        ..RunView::new(&finished, program, sandbox.runtime.engine_build())
    };
    show(&finished, program, &view, out.is_some(), ui);
    end(&finished, has_input, ui)
}

/// Keeps states and says of each that it does not keep; the run goes on.
struct Noted<'a> {
    states: States,
    keeps: bool,
    skipped: usize,
    ui: &'a Ui,
}

impl Keep for Noted<'_> {
    fn wants(&mut self, step: u32) -> bool {
        self.keeps && self.states.wants(step)
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        match self.states.add(checkpoint) {
            Ok(()) => Held::Kept,
            Err(error) => {
                self.skipped += 1;
                self.ui.note(format!("not kept: {error}"));
                Held::Refused
            }
        }
    }
}

impl Keeper for Noted<'_> {
    fn states(&mut self) -> &mut States {
        &mut self.states
    }
}

pub(super) fn say_damaged(damaged: Vec<Damaged>, ui: &Ui) {
    for Damaged { path, why } in damaged {
        ui.note(format!("{} cannot be used: {why}", path.display()));
    }
}

/// An execution with all that it takes to run it here.
pub(super) struct Prepared {
    pub(super) sandbox: Sandbox,
    pub(super) program: Program,
    pub(super) execution: Execution,
    pub(super) content: Local,
    /// Where states are kept.
    pub(super) states: PathBuf,
}

/// Makes an execution of what was asked for.
pub(super) fn prepare(guest: GuestArgs, ui: &Ui) -> Result<Prepared, Failure> {
    let GuestArgs {
        dirs,
        input,
        env,
        stdin,
        fuel,
        step_budget,
        memory,
        seed,
        states,
        engine,
        tensor_backend,
        module,
        args,
    } = guest;
    let limits = limits(fuel, memory);
    let step_budget = step_budget.map_or(param::STEP_BUDGET_DEFAULT, Fuel).min(limits.fuel);
    let world = World { args, env: options::last_wins(env), seed, limits, step_budget };
    check_args(&world)?;
    let mut content = Local::default();
    let mut mounts = Vec::new();
    if let Some(input) = &input {
        mounts.push(content.mount(input, abi::INPUT_DIR.to_owned(), Access::ReadOnly, ui)?);
    }
    let dirs = dirs.iter().map(|dir| mapping(dir)).collect::<Result<Vec<_>, _>>()?;
    let own = [abi::INPUT_DIR, abi::OUTPUT_DIR].map(str::to_owned);
    check_mounts(&own.into_iter().chain(dirs.iter().map(|(_, guest)| guest.clone())).collect::<Vec<_>>())?;
    for (host, guest) in dirs {
        if host.is_file() {
            return Err(Failure::new(Exit::Usage, format!("--dir {}: it is not a folder", host.display()))
                .help("`--input PATH` takes a file, `--dir` the folder that it is in"));
        }
        mounts.push(content.mount(host, guest, Access::CopyOnWrite, ui)?);
    }
    if let Some(stdin) = &stdin {
        content.take_stdin(stdin)?;
    }
    let (name, bytes) = module_of(&module, ui)?;

    let sandbox = Sandbox::with(engine, tensor_backend, ui)?;
    let program = sandbox.load(&module, &bytes)?;
    let execution = world.execution(&program, &name, mounts, content.stdin_ref);
    let states = match states {
        Some(states) => states,
        None => Context::new(ui).map(|context| context.home_dir().states_dir())?,
    };
    Ok(Prepared { sandbox, program, execution, content, states })
}

/// Prose for states that cannot be kept or had.
pub(super) fn states_failure(error: &StatesError) -> Failure {
    let (exit, help) = match error {
        StatesError::Unknown { .. } => (Exit::NotFound, "`--resume latest` takes what was kept last"),
        StatesError::InUse { .. } => (Exit::Refused, "wait for it to end, or give --states another folder"),
        StatesError::Snapshot(_) => {
            (Exit::Environment, "a file was damaged; `--resume latest` takes the latest state that can be had")
        }
        StatesError::Large { .. } => (Exit::Environment, "run it without --checkpoint-every"),
        StatesError::Io { .. } => (Exit::Environment, "give --states a folder that can be written"),
    };
    Failure::new(exit, error.to_string()).help(help)
}

fn taken_up(root: StateRoot, kept: &mut States) -> Result<Snapshot, Failure> {
    let damaged = kept.damaged();
    kept.resume(root).map_err(|error| match (&error, damaged.first()) {
        (StatesError::Unknown { .. }, Some(Damaged { path, why })) => {
            let what = format!("{error}, and {} cannot be used: {why}", path.display());
            Failure::new(Exit::Environment, what).help("`--resume latest` takes the latest state that can be had")
        }
        _ => states_failure(&error),
    })
}

/// Refuses a trace that could not be written once the work is done.
fn check_trace(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::new(Exit::Usage, format!("{} is there", path.display()))
            .help("choose another file for --trace: nothing is overwritten"));
    }
    let partial = partial(path);
    let tried = fs::File::create_new(&partial).and_then(|_| fs::remove_file(&partial));
    tried.map_err(|error| {
        Failure::new(Exit::Environment, format!("{}: {error}", path.display()))
            .help("give --trace a file in a folder that is there and can be written; nothing was run")
    })
}

/// A name that nobody else makes.
fn partial(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.partial", std::process::id()))
}

/// Writes the history whole or not at all.
fn write_trace(path: &Path, trace: &Trace) -> Result<(), Failure> {
    let partial = partial(path);
    let written = fs::write(&partial, trace.encode()).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // Ours alone: nobody else makes this name.
        let _ = fs::remove_file(&partial);
        Failure::new(Exit::Environment, format!("{}: {error}", path.display()))
    })
}

/// What a run is given besides content.
struct World {
    args: Vec<String>,
    env: Vec<(String, String)>,
    seed: [u8; 32],
    limits: Limits,
    step_budget: Fuel,
}

impl World {
    fn execution(self, program: &Program, name: &str, mounts: Vec<Mount>, stdin: BlobRef) -> Execution {
        let Self { args, env, seed, limits, step_budget } = self;
        let mut all = vec![name.to_owned()];
        all.extend(args);
        Execution {
            profile: Profile::Samebit1,
            module: program.module().id,
            mounts,
            args: all,
            env,
            stdin,
            seed,
            unit: 0,
            limits,
            step_budget,
            tensor_ops: program.tensor_ops(),
        }
    }
}

/// The sandbox that hosts use, in this process.
pub(super) struct Sandbox {
    runtime: Runtime,
}

impl Sandbox {
    /// Sets an engine up. Code that it compiles is kept where the home folder can be used.
    pub(super) fn new(engine: EngineKind, ui: &Ui) -> Result<Self, Failure> {
        Self::with(engine, TensorBackend::default(), ui)
    }

    /// The same, with what computes tensors.
    fn with(engine: EngineKind, tensors: TensorBackend, ui: &Ui) -> Result<Self, Failure> {
        let context = Context::new(ui).ok();
        let backend = Some(tensors.open(context.as_ref().map(Context::home))?);
        let cache = context.and_then(|context| code::cache(&context.home_dir().cache_dir()));
        let options = Options { engine, cache, backend, ..Options::default() };
        Ok(Self { runtime: Runtime::open(&options).map_err(|fault| fault_failure(&fault))? })
    }

    /// Which engine it is.
    pub(super) fn engine(&self) -> EngineKind {
        self.runtime.engine()
    }

    /// Compiles a module; `shown` is what people know it as.
    pub(super) fn load(&self, shown: &str, bytes: &[u8]) -> Result<Program, Failure> {
        self.runtime.load(bytes).map_err(|error| match error {
            LoadError::Refused(refusal) => {
                Failure::new(Exit::ModuleRefused, format!("{shown} is refused: {}", build::line_of(&refusal)))
                    .help("no host would take it either; it must be compiled for wasm32-wasip1")
            }
            LoadError::Fault(fault) => fault_failure(&fault),
        })
    }

    /// Runs an execution as `orders` say, for as long as `watch` wants.
    pub(super) fn run_while(
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
    pub(super) fn run(
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
    fn run_shown(
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

/// The job that a network would make of these files and default options: what `samebit test` runs.
pub(super) fn job_execution(program: &Program, name: &str, input: TreeRef) -> Execution {
    let (args, env, step_budget) = (Vec::new(), Vec::new(), param::STEP_BUDGET_DEFAULT);
    let world = World { args, env, seed: [0; 32], limits: Limits::default(), step_budget };
    let mount = Mount { path: abi::INPUT_DIR.to_owned(), tree: input, access: Access::ReadOnly };
    world.execution(program, name, vec![mount], BlobRef::of(&[]))
}

/// The user's folders as content.
pub(super) struct Local {
    folders: Vec<Folder>,
    stdin_ref: BlobRef,
    /// stdin from a regular file, read where it lies.
    stdin_file: Option<Folder>,
    /// stdin from anything else.
    stdin: Arc<[u8]>,
}

impl Default for Local {
    fn default() -> Self {
        Self { folders: Vec::new(), stdin_ref: BlobRef::of(&[]), stdin_file: None, stdin: Arc::from([]) }
    }
}

impl Local {
    /// Reads what is at `host` and mounts it at `guest`.
    pub(super) fn mount(&mut self, host: &Path, guest: String, access: Access, ui: &Ui) -> Result<Mount, Failure> {
        let folder = Folder::scan(host).map_err(|error| match &error {
            BlobError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Failure::new(Exit::NotFound, format!("{} is not there", host.display()))
            }
            _ => blob_failure(&error),
        })?;
        for skipped in &folder.scanned().skipped {
            let path = host.join(&skipped.path);
            ui.note(format!("left out: {} ({})", path.display(), skipped.reason));
        }
        let tree = folder.tree_ref();
        self.folders.push(folder);
        Ok(Mount { path: guest, tree, access })
    }
}

impl Local {
    /// Takes what is at `path` as stdin.
    fn take_stdin(&mut self, path: &Path) -> Result<(), Failure> {
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= param::FILES_DEFAULT.0) {
            let folder = Folder::scan(path).map_err(|error| blob_failure(&error))?;
            self.stdin_ref = folder.tree().files().first().map_or_else(|| BlobRef::of(&[]), |file| file.blob);
            self.stdin_file = Some(folder);
        } else {
            self.stdin = read_stdin(path)?.into();
            self.stdin_ref = BlobRef::of(&self.stdin);
        }
        Ok(())
    }

    /// What `read` gives of the folder that has the blob.
    fn find<T>(&self, blob: &BlobRef, read: impl Fn(&Folder) -> Result<T, BlobError>) -> Result<T, String> {
        for folder in self.folders.iter().chain(&self.stdin_file) {
            match read(folder) {
                Ok(found) => return Ok(found),
                Err(BlobError::Missing { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("{} is in none of the folders", blob.id))
    }
}

impl Content for Local {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if self.stdin_file.is_none() && self.stdin_ref == *blob {
            return Ok(self.stdin.clone());
        }
        self.find(blob, |folder| folder.read(blob)).map(Arc::from)
    }

    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        if self.stdin_file.is_none() && self.stdin_ref == *blob {
            return Ok(None);
        }
        self.find(blob, |folder| folder.read_piece(blob, index)).map(|bytes| Some(bytes.into()))
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        let folder = self.folders.iter().find(|folder| folder.tree_ref() == *tree);
        folder.map(|folder| folder.tree().clone()).ok_or_else(|| format!("{} is no folder that is shown", tree.id))
    }
}

/// Prose for what this machine could not do.
pub(super) fn fault_failure(fault: &HostFault) -> Failure {
    if let HostFault::Snapshot(_) = fault {
        return Failure::new(Exit::Environment, fault.to_string())
            .help("nothing that follows from it was told; without --resume the run begins at its beginning");
    }
    Failure::new(Exit::Environment, format!("this machine could not run it: {fault}"))
        .help("this says nothing about the task; `samebit doctor` checks this machine")
}

/// The module that was asked for, and the name it is run under.
fn module_of(given: &str, ui: &Ui) -> Result<(String, Vec<u8>), Failure> {
    let path = Path::new(given);
    if path.is_dir() {
        let built = build::project(path, ui)?;
        return Ok((built.manifest.name, built.bytes));
    }
    if path.is_file() {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
        return Ok((stem, read_file(path, param::MODULE_BYTES_MAX)?));
    }
    if path.extension().is_some_and(|extension| extension == "wasm") || given.contains('/') {
        return Err(Failure::new(Exit::NotFound, format!("{given} is not there"))
            .help("`samebit build` compiles a project and says where its module is"));
    }
    let context = Context::new(ui)?;
    if !context.has_network() {
        return Err(Failure::new(Exit::NotFound, format!("{given:?} is neither a file nor a folder here"))
            .help("a task by name or id needs a network: `samebit devnet up` starts one, `--network FILE` joins one"));
    }
    let (mut network, store) = (context.connect()?, context.store()?);
    let (_, manifest) = task::find(&network, given)?;
    network.fetch(&manifest.module, &store)?;
    let bytes = store.read(&manifest.module).map_err(|error| blob_failure(&error))?;
    Ok((manifest.name, bytes))
}

/// `HOST` or `HOST::GUEST`.
fn mapping(given: &str) -> Result<(&Path, String), Failure> {
    let (host, guest) = given.split_once("::").unwrap_or((given, given));
    let guest = if guest.len() > 1 { guest.trim_end_matches('/') } else { guest };
    if host.is_empty() || guest.is_empty() || guest.contains('\0') {
        return Err(Failure::new(Exit::Usage, format!("--dir {given:?} is not HOST[::GUEST]"))
            .help("for example `--dir .` or `--dir data::/data`"));
    }
    if [abi::INPUT_DIR, abi::OUTPUT_DIR].contains(&guest) {
        return Err(Failure::new(Exit::Usage, format!("{guest} is not free for --dir"))
            .help("`--input PATH` fills /in, `--out DIR` takes /out"));
    }
    Ok((Path::new(host), guest.to_owned()))
}

/// Refuses mount points that climb or of which one lies in another: the guest would see neither as it is meant.
fn check_mounts(guests: &[String]) -> Result<(), Failure> {
    let refused =
        |what: String| Failure::new(Exit::Usage, what).help("`--dir HOST::GUEST` gives each a place of its own");
    let mut seen: Vec<(Vec<&str>, bool, &str)> = Vec::new();
    for guest in guests {
        let parts: Vec<_> = guest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(refused(format!("--dir cannot show a folder at {guest}: `..` is no place of the guest's")));
        }
        let rooted = guest.starts_with('/');
        for (other, other_rooted, name) in &seen {
            // `.` and `/` are looked up last, so other mounts may stand beside them.
            let meet = parts == *other
                || (!parts.is_empty() && !other.is_empty() && (parts.starts_with(other) || other.starts_with(&parts)));
            if rooted == *other_rooted && meet {
                return Err(refused(format!("--dir cannot show folders at both {name} and {guest}")));
            }
        }
        seen.push((parts, rooted, guest));
    }
    Ok(())
}

fn limits(fuel: Option<u64>, memory: Option<u64>) -> Limits {
    let defaults = Limits::default();
    Limits { fuel: fuel.map_or(defaults.fuel, Fuel), memory: memory.map_or(defaults.memory, Bytes), ..defaults }
}

/// Arguments and environment are held to what a job may have, so that what runs here can be ordered.
fn check_args(world: &World) -> Result<(), Failure> {
    let env = world.env.iter().map(|(name, value)| name.len() + value.len());
    let bytes: usize = world.args.iter().map(String::len).chain(env).sum();
    let count = world.args.len() + world.env.len();
    if bytes > param::ARGS_BYTES_MAX || count > param::ARGS_MAX {
        let (most, many) = (param::ARGS_BYTES_MAX, param::ARGS_MAX);
        let what =
            format!("{count} arguments and variables of {bytes} bytes are too many, at most {many} of {most} bytes");
        return Err(Failure::new(Exit::Usage, what).help("give larger data as files: `--input PATH` or `--dir DIR`"));
    }
    Ok(())
}

fn read_stdin(path: &Path) -> Result<Vec<u8>, Failure> {
    let max = param::FILES_DEFAULT.0;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Environment };
        return Err(Failure::new(exit, format!("{}: {error}", path.display())));
    }
    if bytes.len() as u64 > max {
        let what = format!("{} is larger than {}", path.display(), text::bytes(Bytes(max)));
        return Err(Failure::new(Exit::Usage, what).help("give larger data as files: `--dir DIR`"));
    }
    Ok(bytes)
}

/// Refuses an output folder with something in it.
fn check_out(out: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(out).is_ok_and(|found| found.file_type().is_symlink()) {
        return Err(Failure::new(Exit::Usage, format!("{} is a symbolic link", out.display()))
            .help("give --out the folder itself, new or empty: a link is not followed"));
    }
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("{} is there and is no empty folder", out.display()))
        .help("choose another folder for --out: nothing is overwritten"))
}

/// Writes all files or none: into a folder beside `out`, which then gets its name.
fn write_out(out: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let written = (|| -> io::Result<()> {
        let out = std::path::absolute(out)?;
        let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a folder's name"));
        };
        fs::create_dir_all(parent)?;
        let partial = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        fs::create_dir(&partial)?;
        let done = write_files(&partial, files).and_then(|()| fs::rename(&partial, &out));
        if done.is_err() {
            // Ours alone: nobody else makes this name.
            let _ = fs::remove_dir_all(&partial);
        }
        done
    })();
    written.map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", out.display())))
}

fn write_files(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut made = BTreeSet::new();
    for (path, bytes) in files {
        // The sandbox gives sound relative paths; whatever is not one is refused here again.
        let sound = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !sound || Path::new(path).is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path:?} leaves the folder")));
        }
        let at = folder.join(path);
        if let Some(parent) = at.parent()
            && made.insert(parent.to_path_buf())
        {
            fs::create_dir_all(parent)?;
        }
        fs::File::create_new(&at)?.write_all(bytes)?;
    }
    Ok(())
}

/// Shows what the run put out.
fn show(finished: &Finished, program: &Program, view: &RunView, kept: bool, ui: &Ui) {
    // What cannot be said on stderr cannot be said at all.
    let _ = io::stderr().lock().write_all(&finished.stderr);
    if ui.format != Format::Text {
        ui.data(String::new, view);
        return;
    }
    ui.put(&finished.stdout);
    let result = finished.files.iter().find(|(path, _)| path == abi::RESULT_NAME);
    if let (TaskForm::Stepped, false, Some((_, result))) = (program.form(), kept, result) {
        ui.put(&[&result[..], b"\n"].concat());
    }
    let receipt = &finished.receipt;
    ui.note(format!(
        "{}, {} fuel, {}, {}",
        text::outcome(&receipt.outcome),
        text::fuel(receipt.fuel),
        match program.form() {
            TaskForm::Stepped => text::count(receipt.steps as usize, "step"),
            TaskForm::Command => "unstepped".to_owned(),
        },
        receipt.output.id().short(),
    ));
}

/// The exit code, or prose for a run that came to no end of its own.
fn end(finished: &Finished, has_input: bool, ui: &Ui) -> Outcome {
    let outcome = &finished.receipt.outcome;
    let words = text::outcome(outcome);
    let failure = |exit, help: &str| Err(Failure::new(exit, format!("the task {words}")).help(help));
    match outcome {
        Ended::Exited { code: 0 } => Ok(Exit::Done),
        // A shell sees eight bits; what does not fit must not look like success.
        Ended::Exited { code } => Ok(Exit::Guest(u8::try_from(*code).unwrap_or(u8::MAX))),
        Ended::Failed => {
            if finished.stderr.is_empty() {
                ui.note("the task failed and gave no reason");
            }
            // The SDK names the file that it could not read.
            let input = format!("{}/{}", abi::INPUT_DIR, abi::INPUT_NAME);
            if !has_input && String::from_utf8_lossy(&finished.stderr).contains(&input) {
                ui.note(format!("  help: the task reads {input}: `--input PATH` gives it"));
            }
            Ok(Exit::Guest(1))
        }
        Ended::Trapped { .. } => failure(
            Exit::Trapped,
            "what it wrote to stderr is above; a panic in Rust traps, and so does running out of memory: \
             `--memory BYTES` gives it more",
        ),
        Ended::Exhausted { limit } => {
            let words = words.strip_prefix("exhausted: ").unwrap_or(&words);
            let help = match limit {
                Limit::Fuel => "`--fuel N` gives it more",
                Limit::StepFuel => "`--step-budget FUEL` gives each step more; a stepped task should do less in each",

                Limit::Steps => "a stepped task should do more in each step",
                Limit::Memory => "`--memory BYTES` gives it more",
            };
            Err(Failure::new(Exit::LimitReached, format!("the task used up its {words}")).help(help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_shown_under_its_own_name_unless_another_is_given() {
        let cases = [(".", ".", "."), ("data/", "data/", "data"), ("a::/b/", "a", "/b"), ("/", "/", "/")];
        for (given, host, guest) in cases {
            assert_eq!(mapping(given).expect("sound"), (Path::new(host), guest.to_owned()), "{given}");
        }
        for given in ["", "::", "a::", "::b", "a::/in", "a::/out/"] {
            assert_eq!(mapping(given).expect_err("refused").exit, Exit::Usage, "{given}");
        }
    }

    #[test]
    fn mounts_that_meet_or_climb_are_refused() {
        let guests = |paths: &[&str]| check_mounts(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        for paths in [&["."][..], &["/data", "/database"], &["a/b", "a-b"], &["/in", "/data"], &["./a", "b"]] {
            guests(paths).unwrap_or_else(|failure| panic!("{paths:?}: {}", failure.what));
        }
        for paths in [&["../a"][..], &["/a/../b"], &["/a", "/a"], &["/a", "/a/b"], &["./a", "a"], &["/in/x", "/in"]] {
            assert_eq!(guests(paths).expect_err("refused").exit, Exit::Usage, "{paths:?}");
        }
    }

    #[test]
    fn output_is_written_whole_into_a_new_folder_and_never_over_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("out");
        let files = [("a/b".to_owned(), b"1".to_vec()), ("c".to_owned(), b"2".to_vec())];
        check_out(&out).expect("it is new");
        write_out(&out, &files).expect("written");
        assert_eq!(fs::read(out.join("a/b")).expect("there"), b"1");
        assert_eq!(check_out(&out).expect_err("it is not empty").exit, Exit::Usage);
        let hostile = [("c".to_owned(), b"2".to_vec()), ("../c".to_owned(), b"3".to_vec())];
        write_out(&dir.path().join("other"), &hostile).expect_err("it leaves the folder");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left over");
    }
}
