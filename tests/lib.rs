//! What the journeys share: a devnet of real processes in a folder of its own, and the program as a person
//! types it.
//!
//! A [`Devnet`] ends with the test that started it, however that ends: its processes hold a pipe to the test.

#![forbid(unsafe_code)]

use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// The longest that any wait in a journey may take. The machine may have two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_path_buf()
}

/// Where cargo put this test, and so everything else.
fn target() -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let profile = exe.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
    profile.parent().expect("target").to_path_buf()
}

/// The program under test, built by `cargo xtask test`.
///
/// # Panics
/// When it was not built: a journey without the program would show nothing.
pub fn program() -> PathBuf {
    let path = target().join("debug/samebit");
    assert!(path.is_file(), "{} is missing: run `cargo xtask test`, which builds it", path.display());
    path
}

/// An example task's module, built by `cargo xtask test`.
///
/// # Panics
/// When it was not built.
pub fn guest(name: &str) -> PathBuf {
    let path = target().join("wasm32-wasip1/wasm").join(format!("{}.wasm", name.replace('-', "_")));
    assert!(path.is_file(), "{} is missing: run `cargo xtask test`, which builds it", path.display());
    path
}

/// A folder with its own keys, networks and processes.
pub struct Home {
    folder: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its data.
    pub stdout: Vec<u8>,
    /// Its narration.
    pub stderr: String,
}

impl Ran {
    /// Expects exit code `code`.
    ///
    /// # Panics
    /// With everything that was printed, when it ended otherwise.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", String::from_utf8_lossy(&self.stdout), self.stderr);
        self
    }

    /// The one JSON object on stdout.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            panic!("not JSON ({error}): {}\nstderr: {}", String::from_utf8_lossy(&self.stdout), self.stderr)
        })
    }

    /// stdout as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one.
    ///
    /// # Panics
    /// When the system has no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command of the program in this home.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).env("SAMEBIT_HOME", self.path().join("home")).env_remove("SAMEBIT_NETWORK");
        command.env_remove("SAMEBIT_OUTPUT").current_dir(self.path());
        command
    }

    /// Runs a command to its end, within [`PATIENCE`].
    ///
    /// # Panics
    /// When it does not start or does not end.
    #[track_caller]
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        let child = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let id = child.id();
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let Output { status, stdout, stderr } = match ended.recv_timeout(PATIENCE) {
            Ok(output) => output.expect("the program's output"),
            Err(_) => {
                kill(id);
                panic!("`samebit {}` did not end within {PATIENCE:?}", args.join(" "));
            }
        };
        Ran { code: status.code().unwrap_or(-1), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Runs a command that must succeed and print JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        self.run(&[&["-o", "json"], args].concat()).code(0).json()
    }

    /// Writes a file into the home's folder and gives its path.
    ///
    /// # Panics
    /// When the disk refuses.
    #[track_caller]
    #[must_use]
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        std::fs::write(&path, bytes).expect("writable");
        path.display().to_string()
    }
}

/// Ends a process at once, as a power cut would.
///
/// # Panics
/// When it was not there.
pub fn kill(pid: u32) {
    assert!(signal("-9", pid), "process {pid} was not there to be killed");
}

/// Whether a process is there.
///
/// # Panics
/// When the system has no shell.
#[must_use]
pub fn lives(pid: u32) -> bool {
    signal("-0", pid)
}

/// The shell's own `kill`: a minimal Debian has no other.
fn signal(which: &str, pid: u32) -> bool {
    let status = Command::new("sh").args(["-c", &format!("kill {which} {pid}")]).stderr(Stdio::null()).status();
    status.expect("the system has a shell").success()
}

/// A network of real processes.
pub struct Devnet {
    /// Its folder.
    pub home: Home,
    /// What `devnet up` printed.
    pub banner: Value,
    supervisor: Child,
}

impl Devnet {
    /// Starts one with `hosts` hosts, of which `cheats` (such as `wrong-output:1`) lie.
    ///
    /// # Panics
    /// When it is not up within [`PATIENCE`].
    #[track_caller]
    #[must_use]
    pub fn up(hosts: usize, cheats: &[&str]) -> Self {
        let cheats: Vec<&str> = cheats.iter().flat_map(|cheat| ["--cheat", cheat]).collect();
        Self::up_with(hosts, &cheats)
    }

    /// Starts one with `hosts` hosts and further options of `devnet up`.
    ///
    /// # Panics
    /// When it is not up within [`PATIENCE`].
    #[track_caller]
    #[must_use]
    pub fn up_with(hosts: usize, options: &[&str]) -> Self {
        let home = Home::new();
        let hosts = hosts.to_string();
        let mut args = vec!["-o", "jsonl", "devnet", "up", "--foreground", "--lifeline", "--hosts", &hosts];
        args.extend(options);
        let mut supervisor = home
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdout = supervisor.stdout.take().expect("piped");
        let (line, banner) = mpsc::channel();
        std::thread::spawn(move || {
            for read in BufReader::new(stdout).lines() {
                // The test may have gone: the pipe is read on so that the devnet never blocks on it.
                let _ = line.send(read.expect("text"));
            }
        });
        let Ok(text) = banner.recv_timeout(PATIENCE) else {
            let _ = supervisor.kill();
            let logs = home.run(&["devnet", "status"]);
            panic!("the devnet did not come up: {}\n{}", logs.text(), logs.stderr);
        };
        let banner = serde_json::from_str(&text).expect("the banner is JSON");
        Self { home, banner, supervisor }
    }

    /// Runs a command on this network.
    #[track_caller]
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.home.run(args)
    }

    /// Runs a command that must succeed and print JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        self.home.json(args)
    }

    /// The process of a host by name, or of the `validator`.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        let status = self.json(&["devnet", "status"]);
        let node = if name == "validator" {
            &status["validator"]
        } else {
            status["hosts"].as_array().expect("hosts").iter().find(|host| host["name"] == name).expect("a host")
        };
        node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_else(|| panic!("{name}: {status}"))
    }

    /// The names of hosts with this cheat.
    #[must_use]
    pub fn cheats(&self, kind: &str) -> Vec<String> {
        let hosts = self.banner["hosts"].as_array().expect("hosts");
        hosts
            .iter()
            .filter(|host| host["cheat"] == kind)
            .map(|host| host["name"].as_str().expect("named").to_owned())
            .collect()
    }

    /// Asks again and again until `look` finds what it waits for.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`].
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Replays the chain and expects it to be sound and money conserved.
    #[track_caller]
    pub fn verify(&self) {
        let verified = self.json(&["ledger", "verify"]);
        assert_eq!(verified["conserved"], true, "{verified}");
    }

    /// Every host's record by name.
    #[track_caller]
    #[must_use]
    pub fn hosts(&self) -> Vec<Value> {
        self.json(&["host", "list"])["hosts"].as_array().expect("hosts").clone()
    }

    /// Expects that of all hosts only those in `liars` were slashed.
    #[track_caller]
    pub fn only_slashed_are(&self, liars: &[String]) {
        for host in self.hosts() {
            let name = host["name"].as_str().expect("named").to_owned();
            let slashed = host["slashed"].as_u64().expect("a count") > 0;
            assert!(!slashed || liars.contains(&name), "{name} is honest and was slashed: {host}");
        }
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        // Closing the lifeline takes everything down; waiting makes sure that it did.
        drop(self.supervisor.stdin.take());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if matches!(self.supervisor.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// The units of a job.
///
/// # Panics
/// When `job` is no `samebit/job/1`.
#[must_use]
pub fn units(job: &Value) -> &[Value] {
    job["units"].as_array().unwrap_or_else(|| panic!("no job: {job}"))
}

/// The runs of a unit.
///
/// # Panics
/// When `unit` is none.
#[must_use]
pub fn runs(unit: &Value) -> &[Value] {
    unit["runs"].as_array().unwrap_or_else(|| panic!("no unit: {unit}"))
}
