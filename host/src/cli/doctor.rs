//! `samebit doctor`: looks at what everything else relies on, and names the command that mends it.

use crate::{
    context::Context,
    exit::Exit,
    report::{Outcome, Ui},
    text,
};
use samebit_runtime::{Content, Runtime, Tracking};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::{Execution, Limits, Profile, TensorOps},
    param,
    receipt::Receipt,
    unit::Bytes,
};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    sync::Arc,
    time::Instant,
};

/// Check this machine: folders, keys, engine, Wasm target, network, adapters for tensors.
#[derive(clap::Args)]
#[command(after_help = "\
Exits with 4 when a check fails. Each failure names the command that mends it.

Examples:
  samebit doctor
  samebit doctor -o json")]
pub struct DoctorArgs {}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Failed,
    Skipped,
}

/// What one look found.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), help: None }
    }

    fn failed(name: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, state: State::Failed, found: found.into(), help: Some(help.into()) }
    }
}

/// Runs the command.
pub fn run(_: DoctorArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    let home = context.home();
    let mut checks = vec![
        home_check(home),
        key_check(&context),
        disk_check(home),
        engine_check(),
        tracking_check(),
        target_check(),
        network_check(&context),
    ];
    checks.extend(adapter_checks(home));
    let failed = checks.iter().any(|check| check.state == State::Failed);
    ui.data(
        || {
            let mut lines = Vec::new();
            for check in &checks {
                let state = match check.state {
                    State::Ok => "ok",
                    State::Failed => "FAILED",
                    State::Skipped => "skipped",
                };
                lines.push(format!("{state:8}{:12}{}", check.name, check.found));
                lines.extend(check.help.iter().map(|help| format!("{:8}{:12}mend it: {help}", "", "")));
            }
            lines.join("\n")
        },
        &serde_json::json!({"schema": "samebit/doctor/1", "ok": !failed, "checks": checks}),
    );
    Ok(if failed { Exit::Environment } else { Exit::Done })
}

fn home_check(home: &Path) -> Check {
    const NAME: &str = "home";
    let probe = home.join(format!(".doctor-{}", std::process::id()));
    let done =
        fs::create_dir_all(home).and_then(|()| fs::write(&probe, b"samebit")).and_then(|()| fs::remove_file(&probe));
    match done {
        Ok(()) => Check::ok(NAME, format!("{} can be written", home.display())),
        Err(error) => Check::failed(
            NAME,
            format!("{}: {error}", home.display()),
            "give the folder to your user, or set SAMEBIT_HOME to one that you own",
        ),
    }
}

fn key_check(context: &Context) -> Check {
    const NAME: &str = "keys";
    let folder = context.keys_dir();
    let Ok(entries) = fs::read_dir(&folder) else {
        return Check { state: State::Skipped, ..Check::ok(NAME, "none yet: `samebit key new NAME` makes one") };
    };
    let mut count = 0;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_file()) {
        count += 1;
        if let Some(mode) = open_to_others(&path) {
            return Check::failed(
                NAME,
                format!("{} can be read by others (mode {mode:o})", path.display()),
                format!("chmod 600 {}", path.display()),
            );
        }
    }
    Check::ok(NAME, format!("{} in {}, readable by you alone", text::count(count, "key"), folder.display()))
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> Option<u32> {
    None
}

/// The ledger's commit point is one flush to disk: whether that works, and how long it takes.
fn disk_check(home: &Path) -> Check {
    const NAME: &str = "disk";
    const FLUSHES: u32 = 8;
    let probe = home.join(format!(".doctor-disk-{}", std::process::id()));
    let flush = || -> std::io::Result<u128> {
        let mut file = File::create(&probe)?;
        let begun = Instant::now();
        for _ in 0..FLUSHES {
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
        }
        Ok(begun.elapsed().as_micros() / u128::from(FLUSHES))
    };
    let done = flush();
    let _ = fs::remove_file(&probe);
    match done {
        Ok(micros) => Check::ok(NAME, format!("a flush takes {}.{:03} ms", micros / 1000, micros % 1000)),
        Err(error) => Check::failed(
            NAME,
            format!("flushing a file fails: {error}"),
            "free some space, or set SAMEBIT_HOME to another disk",
        ),
    }
}

/// How the pages are found that a step wrote. Any way will do; one is quicker.
fn tracking_check() -> Check {
    let found = match Tracking::best() {
        Tracking::Faults => "the kernel notes which pages a step writes: a checkpoint costs what was written",
        Tracking::Compare => {
            "this kernel, or its rules here, note no written pages (userfaultfd, PAGEMAP_SCAN): memory is compared with a copy"
        }
        Tracking::Hash => "all memory is hashed for each checkpoint",
    };
    Check::ok("tracking", format!("{}: {found}", Tracking::best()))
}

/// What each adapter showed at the conformance gate. An adapter that offers nothing is no failure: the CPU serves.
fn adapter_checks(home: &Path) -> Vec<Check> {
    const NAME: &str = "adapter";
    const BENCH: &str = "`samebit host bench` sends it through the gate";
    let found = samebit_gpu::adapters();
    if found.is_empty() {
        return vec![Check {
            name: NAME,
            state: State::Skipped,
            found: "none: tensors are computed on the CPU".to_owned(),
            help: None,
        }];
    }
    let check = |adapter: &samebit_gpu::Adapter| {
        let name = format!("{}, {}", adapter.name(), adapter.driver());
        let Some(report) = samebit_gpu::Report::kept(adapter, &home.join(super::GATES)) else {
            let found = format!("{name}: not tried with this driver and these kernels");
            return Check { name: NAME, state: State::Skipped, found, help: Some(BENCH.to_owned()) };
        };
        if let Some(why) = &report.wrong_since {
            let found = format!(
                "{name}: offers nothing, found wrong in service: {why}; the next start sends it through the gate anew"
            );
            return Check { name: NAME, state: State::Skipped, found, help: Some(BENCH.to_owned()) };
        }
        let mut found = format!("{name}: offers {}", super::named(&report.choice.capabilities()));
        for (capability, why) in &report.refused {
            found.push_str(&format!("; not {capability}: {why}"));
        }
        if let Some(why) = &report.wrong_before {
            found.push_str(&format!("; passed anew after it was found wrong in service: {why}"));
        }
        Check::ok(NAME, found)
    };
    found.iter().map(check).collect()
}

fn target_check() -> Check {
    const NAME: &str = "wasm target";
    const TARGET: &str = "wasm32-wasip1";
    match Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output() {
        Err(error) => Check::failed(
            NAME,
            format!("no rustc ({error}): tasks cannot be built here, everything else works"),
            "install Rust from https://rustup.rs",
        ),
        Ok(output) if Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() => {
            Check::ok(NAME, format!("{TARGET} is installed"))
        }
        Ok(_) => Check::failed(NAME, format!("{TARGET} is not installed"), format!("rustup target add {TARGET}")),
    }
}

fn network_check(context: &Context) -> Check {
    const NAME: &str = "network";
    if !context.has_network() {
        return Check {
            state: State::Skipped,
            ..Check::ok(NAME, "none is running: `samebit devnet up` starts one here")
        };
    }
    match context.connect() {
        Ok(network) => {
            let state = network.state();
            Check::ok(NAME, format!("{} answers, block {} verified", state.genesis().network, state.height()))
        }
        Err(failure) => Check::failed(
            NAME,
            failure.what,
            failure.help.unwrap_or_else(|| "`samebit devnet status` shows what runs".to_owned()),
        ),
    }
}

/// A command that stores the square root of two and a NaN:
///
/// ```wat
/// (module (memory (export "memory") 1)
///   (func (export "_start")
///     (f64.store (i32.const 0) (f64.sqrt (f64.const 2)))
///     (f64.store (i32.const 8) (f64.div (f64.const 0) (f64.const 0)))))
/// ```
const MODULE: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version
    0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // types: () -> ()
    0x03, 0x02, 0x01, 0x00, // functions
    0x05, 0x03, 0x01, 0x00, 0x01, // memory: one page
    0x07, 0x13, 0x02, // exports
    0x06, b'm', b'e', b'm', b'o', b'r', b'y', 0x02, 0x00, //
    0x06, b'_', b's', b't', b'a', b'r', b't', 0x00, 0x00, //
    0x0a, 0x2b, 0x01, 0x29, 0x00, // code: one body
    0x41, 0x00, 0x44, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x9f, 0x39, 0x03, 0x00, // sqrt(2) at 0
    0x41, 0x08, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x39, 0x03, 0x00, // 0/0 at 8
    0x0b,
];

struct Nothing;

impl Content for Nothing {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if *blob == BlobRef::of(&[]) { Ok(Arc::from([])) } else { Err(format!("{} is not here", blob.id)) }
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        Err(format!("{} is not here", tree.id))
    }
}

fn engine_check() -> Check {
    const NAME: &str = "engine";
    let begun = Instant::now();
    match (self_test(), self_test()) {
        (Ok((engine, first)), Ok((_, second))) if first == second => {
            let millis = begun.elapsed().as_millis();
            Check::ok(NAME, format!("{engine}: two runs, the same {} ({millis} ms)", first.id().short()))
        }
        (Ok((engine, first)), Ok((_, second))) => Check::failed(
            NAME,
            format!("{engine}: two runs of one module gave {} and {}", first.id(), second.id()),
            "do not host on this machine; report it with the output of `samebit doctor -o json`",
        ),
        (Err(error), _) | (_, Err(error)) => {
            Check::failed(NAME, error, "report it with the output of `samebit doctor -o json`")
        }
    }
}

fn self_test() -> Result<(String, Receipt), String> {
    let runtime = Runtime::new().map_err(|fault| fault.to_string())?;
    let program = runtime.load(MODULE).map_err(|error| error.to_string())?;
    let execution = Execution {
        profile: Profile::Samebit1,
        module: BlobRef::of(MODULE).id,
        mounts: Vec::new(),
        args: vec!["doctor".to_owned()],
        env: Vec::new(),
        stdin: BlobRef::of(&[]),
        seed: [0; 32],
        unit: 0,
        limits: Limits { memory: Bytes(1 << 20), ..Limits::default() },
        step_budget: param::STEP_BUDGET_DEFAULT,
        tensor_ops: TensorOps(0),
    };
    let finished = runtime
        .run(&program, &execution, &Nothing, &mut |_| samebit_runtime::Flow::Go)
        .map_err(|fault| fault.to_string())?;
    if finished.receipt.outcome != (samebit_spec::execution::Outcome::Exited { code: 0 }) {
        return Err(format!("the self-test {}", text::outcome(&finished.receipt.outcome)));
    }
    Ok((runtime.engine_build().to_owned(), finished.receipt))
}
