//! Processes of our own making: started apart from the terminal, recognised again later, ended for certain.
//!
//! A process is remembered by its id *and* the moment it started, so that a number that the system has given to
//! somebody else since is never signalled.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its id.
    pub pid: u32,
    /// When it started, in the system's clock ticks since boot; `None` where the system does not tell.
    pub started: Option<u64>,
}

/// What `/proc/PID/stat` tells of a process: its state letter and its start.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, so fields are counted from the last bracket on (proc(5)).
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

impl Mark {
    /// The mark of a process that runs now.
    pub fn of(pid: u32) -> Self {
        Self { pid, started: stat(pid).map(|(_, started)| started) }
    }

    /// Whether this very process still runs. One that has ended and waits to be buried does not.
    pub fn is_running(self) -> bool {
        match (self.started, stat(self.pid)) {
            (Some(then), Some((state, now))) => then == now && state != 'Z' && state != 'X',
            (Some(_), None) => false,
            (None, _) => self.id().is_some_and(|pid| test_kill_process(pid).is_ok()),
        }
    }

    fn id(self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    fn send(self, signal: Signal) {
        if let Some(pid) = self.id().filter(|_| self.is_running()) {
            // It may have ended since: then there is nothing left to do.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Ends processes: SIGTERM to all, then SIGKILL to those that are left after `grace`. Returns how many ran.
pub fn end(marks: &[Mark], grace: Duration) -> usize {
    let running: Vec<Mark> = marks.iter().copied().filter(|mark| mark.is_running()).collect();
    for mark in &running {
        mark.send(Signal::TERM);
    }
    if !wait_for_end(&running, grace) {
        for mark in &running {
            mark.send(Signal::KILL);
        }
        wait_for_end(&running, grace);
    }
    running.len()
}

fn wait_for_end(marks: &[Mark], grace: Duration) -> bool {
    let begun = Instant::now();
    while marks.iter().any(|mark| mark.is_running()) {
        if begun.elapsed() > grace {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    true
}

/// Whether a started process ends with its starter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// It reads its stdin and ends when that does: when the starter ends, however it does.
    Lifeline,
    /// It goes on by itself.
    Free,
}

/// Starts this program again with `args`; what it says goes to the end of the file `log`.
///
/// The child leaves our session by itself ([`leave_session`]), so a Ctrl-C here does not reach it.
pub fn start(args: &[&str], log: &Path, tie: Tie) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdout(log.try_clone()?).stderr(log);
    command.stdin(match tie {
        Tie::Lifeline => Stdio::piped(),
        Tie::Free => Stdio::null(),
    });
    // A daemon is told everything by its arguments and its own files.
    for name in ["SAMEBIT_NETWORK", "SAMEBIT_OUTPUT", "SAMEBIT_LIFELINE"] {
        command.env_remove(name);
    }
    command.spawn()
}

/// Makes this process the leader of a session of its own.
pub fn leave_session() {
    // It fails only for one that already leads a group, as a shell's direct child does: then nothing is to be done.
    let _ = rustix::process::setsid();
}

/// Returns when stdin has ended: the starter is gone.
pub fn stdin_ended() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_not_by_its_number_alone() {
        let own = Mark::of(std::process::id());
        assert!(own.is_running());
        if let Some(started) = own.started {
            let other = Mark { started: Some(started + 1), ..own };
            assert!(!other.is_running(), "a number that was given again is somebody else");
        }
    }

    #[test]
    fn a_stubborn_process_is_ended_and_a_second_time_there_is_nothing_to_do() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; while :; do sleep 0.05; done"])
            .spawn()
            .expect("a shell to start");
        let mark = Mark::of(child.id());
        sleep(Duration::from_millis(100));
        assert_eq!(end(&[mark], Duration::from_millis(200)), 1);
        assert_eq!(end(&[mark], Duration::from_millis(200)), 0);
        assert!(!child.wait().expect("it has ended").success());
    }
}
