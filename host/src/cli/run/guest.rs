//! What `samebit run` and `samebit replay` are asked for, made into an execution with all that it takes to run it here.

use super::{Local, Sandbox};
use crate::{
    cli::{build, options, task, tensor::TensorBackend},
    context::{Context, blob_failure, read_file},
    exit::Exit,
    report::{Failure, Ui},
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use samebit_runtime::{EngineKind, Program};
use samebit_spec::{
    abi,
    content::{BlobRef, TreeRef},
    execution::{Access, Execution, Limits, Mount, Profile},
    param,
    unit::{Bytes, Fuel},
};
use std::path::{Path, PathBuf};

// What the help below says.
const _: () = assert!(
    param::FUEL_DEFAULT.0 == 80_000_000_000
        && param::STEP_BUDGET_DEFAULT.0 == 16_000_000_000
        && param::MEMORY_DEFAULT.0 == 512 << 20
);

/// What makes an execution: `samebit run` and `samebit replay` have it in common.
#[derive(clap::Args)]
pub(in crate::cli) struct GuestArgs {
    /// Show a folder to the guest, copy-on-write: what it writes there ends with the run.
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    dirs: Vec<String>,
    /// The job's input, at /in, read-only: a folder, or a single file, which becomes /in/input.
    #[arg(long, value_name = "PATH")]
    pub(super) input: Option<PathBuf>,
    /// A variable of the guest's environment. May be given again; of one name the last counts.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = options::variable)]
    env: Vec<(String, String)>,
    /// The guest's stdin. Default: empty.
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Most fuel that the run may use. Default: 80 G.
    #[arg(long, value_name = "FUEL", value_parser = options::fuel())]
    fuel: Option<u64>,
    /// Most fuel of one step; a plain function is one step. Default: 16 G, as of a job, and at most what --fuel gives.
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
    /// What computes tensors: `cpu`, `oracle` (as the specification words it: slow), `gpu`, `gpu:N`, or `auto` for the first GPU that passes the gate for everything, else the CPU. The bits are the same.
    #[arg(long, value_name = "BACKEND", default_value = "cpu")]
    tensor_backend: TensorBackend,
    /// A .wasm file, a project's folder, or a task of the network by name or id.
    #[arg(value_name = "MODULE.wasm|TASK")]
    module: String,
    /// The guest's arguments.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Takes an engine's name and lists them in the help.
pub(in crate::cli) fn engine_parser() -> impl TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new(EngineKind::ALL.map(EngineKind::name)).try_map(|name| name.parse::<EngineKind>())
}

/// An execution with all that it takes to run it here.
pub(in crate::cli) struct Prepared {
    pub(in crate::cli) sandbox: Sandbox,
    pub(in crate::cli) program: Program,
    pub(in crate::cli) execution: Execution,
    pub(in crate::cli) content: Local,
    /// Where states are kept.
    pub(in crate::cli) states: PathBuf,
}

/// Makes an execution of what was asked for.
pub(in crate::cli) fn prepare(guest: GuestArgs, ui: &Ui) -> Result<Prepared, Failure> {
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

/// The job that a network would make of these files and default options: what `samebit test` runs.
pub(in crate::cli) fn job_execution(program: &Program, name: &str, input: TreeRef) -> Execution {
    let (args, env, step_budget) = (Vec::new(), Vec::new(), param::STEP_BUDGET_DEFAULT);
    let world = World { args, env, seed: [0; 32], limits: Limits::default(), step_budget };
    let mount = Mount { path: abi::INPUT_DIR.to_owned(), tree: input, access: Access::ReadOnly };
    world.execution(program, name, vec![mount], BlobRef::of(&[]))
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
}
