//! The processes that xtask starts, and their certain end.
//!
//! One handler serves Ctrl-C, SIGTERM and SIGHUP: it closes the devnet's lifeline (its stdin), waits for it to
//! take its hosts down, and ends the command that is running. Should this process be killed outright, the
//! kernel closes the lifeline and the devnet ends by itself.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static DEVNET: Mutex<Option<Running>> = Mutex::new(None);
/// The command that runs now, by its process id.
static COMMAND: Mutex<Option<u32>> = Mutex::new(None);

/// For the network to end its processes by itself before it is killed.
const END_GRACE: Duration = Duration::from_secs(20);

struct Running {
    child: Child,
    lifeline: Option<ChildStdin>,
}

fn lock<T>(what: &'static Mutex<T>) -> MutexGuard<'static, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handler.
pub(crate) fn take_down_on_interrupt() -> Result<(), String> {
    ctrlc::set_handler(|| {
        INTERRUPTED.store(true, Ordering::SeqCst);
        if let Some(pid) = *lock(&COMMAND) {
            signal("TERM", pid);
        }
        let ended = end_devnet();
        eprintln!("\ninterrupted; {}", ended.err().unwrap_or_else(|| "every process has ended".to_owned()));
        std::process::exit(130);
    })
    .map_err(|error| format!("cannot watch for Ctrl-C: {error}"))
}

/// The network, as a child that ends when its stdin does.
pub(crate) struct Devnet {
    /// What `devnet up` said of itself.
    pub(crate) about: Value,
}

impl Devnet {
    /// Starts it and waits until it is up.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        let spoken = describe(&command);
        let mut slot = lock(&DEVNET);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{spoken}: {error}"))?;
        let (lifeline, stdout) = (child.stdin.take(), child.stdout.take());
        *slot = Some(Running { child, lifeline });
        drop(slot);
        let mut lines = BufReader::new(stdout.ok_or("the devnet has no stdout")?);
        let mut line = String::new();
        let read = lines.read_line(&mut line);
        // Whatever it says later is read too, so that it never waits on a full pipe.
        std::thread::spawn(move || {
            let mut rest = String::new();
            while lines.read_line(&mut rest).is_ok_and(|count| count > 0) {
                rest.clear();
            }
        });
        let about = read.ok().and_then(|_| serde_json::from_str::<Value>(&line).ok());
        match about {
            Some(about) if about["schema"] == "samebit/devnet/1" => Ok(Self { about }),
            _ => {
                let ended = end_devnet();
                Err(format!("{spoken} did not come up{}", ended.err().map(|e| format!("; {e}")).unwrap_or_default()))
            }
        }
    }

    /// Process ids of validator and hosts.
    pub(crate) fn pids(&self) -> Vec<u64> {
        let hosts = self.about["hosts"].as_array().into_iter().flatten();
        hosts.map(|host| &host["pid"]).chain([&self.about["validator"]["pid"]]).filter_map(Value::as_u64).collect()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        end_devnet()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = end_devnet();
    }
}

fn end_devnet() -> Result<(), String> {
    let mut slot = lock(&DEVNET);
    let Some(running) = slot.as_mut() else { return Ok(()) };
    running.lifeline = None;
    let begun = Instant::now();
    loop {
        match running.child.try_wait() {
            Ok(Some(_)) => {
                *slot = None;
                return Ok(());
            }
            Ok(None) if begun.elapsed() < END_GRACE => sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                let _ = running.child.kill();
                let _ = running.child.wait();
                *slot = None;
                return Err(format!("the devnet did not end within {} s and was killed", END_GRACE.as_secs()));
            }
        }
    }
}

/// Runs a command with its output on the terminal.
pub(crate) fn show(command: &mut Command) -> Result<(), String> {
    let spoken = describe(command);
    let output = wait(command, &spoken)?;
    judge(&output, &spoken)
}

/// Runs a command for its stdout; stderr goes to the terminal.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String, String> {
    let spoken = describe(command);
    let output = wait(command.stdout(Stdio::piped()), &spoken)?;
    judge(&output, &spoken)?;
    String::from_utf8(output.stdout).map_err(|_| format!("{spoken}: stdout is not UTF-8"))
}

/// Runs a command and hides what it says.
pub(crate) fn capture(command: &mut Command) -> Result<Output, String> {
    let spoken = describe(command);
    wait(command.stdout(Stdio::piped()).stderr(Stdio::piped()), &spoken)
}

fn wait(command: &mut Command, spoken: &str) -> Result<Output, String> {
    let mut slot = lock(&COMMAND);
    if INTERRUPTED.load(Ordering::SeqCst) {
        return Err("interrupted".to_owned());
    }
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|error| format!("{spoken}: {error}"))?;
    // A command of ours ends when this pipe does (`SAMEBIT_LIFELINE`), so it is held until the command has ended.
    let _lifeline = child.stdin.take();
    *slot = Some(child.id());
    drop(slot);
    let output = child.wait_with_output();
    *lock(&COMMAND) = None;
    if INTERRUPTED.load(Ordering::SeqCst) {
        // The handler ends this process; nothing more is started or said until then.
        sleep(END_GRACE + Duration::from_secs(5));
    }
    output.map_err(|error| format!("{spoken}: {error}"))
}

fn judge(output: &Output, spoken: &str) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(format!("{spoken}: {}", output.status)) }
}

fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

fn signal(name: &str, pid: u32) {
    // The shell's own `kill`, so that nothing need be installed.
    let _ = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).stderr(Stdio::null()).status();
}

/// Whether a process is there and not merely unburied.
pub(crate) fn is_running(pid: u64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
        Err(_) if std::path::Path::new("/proc/self").exists() => false,
        Err(_) => {
            let probe = Command::new("sh").arg("-c").arg(format!("kill -0 {pid}")).stderr(Stdio::null()).status();
            probe.is_ok_and(|status| status.success())
        }
    }
}
