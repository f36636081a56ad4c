//! The commands: four verbs for writing tasks, then nouns. A file each.

mod devnet;
mod doctor;
mod host;
mod job;
mod job_output;
mod job_submit;
mod key;
mod ledger;
mod task;

use crate::report::{Outcome, Ui};

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    Devnet(devnet::DevnetArgs),
    Task(task::TaskArgs),
    Job(job::JobArgs),
    Host(host::HostArgs),
    Ledger(ledger::LedgerArgs),
    Key(key::KeyArgs),
    Doctor(doctor::DoctorArgs),
}

impl Command {
    /// Whether it serves until it is told to end; then it keeps a log.
    pub fn is_daemon(&self) -> bool {
        match self {
            Self::Host(args) => args.is_daemon(),
            _ => false,
        }
    }
}

/// Does it.
pub fn run(command: Command, ui: &Ui) -> Outcome {
    match command {
        Command::Devnet(args) => devnet::run(args, ui),
        Command::Task(args) => task::run(args, ui),
        Command::Job(args) => job::run(args, ui),
        Command::Host(args) => host::run(args, ui),
        Command::Ledger(args) => ledger::run(args, ui),
        Command::Key(args) => key::run(args, ui),
        Command::Doctor(args) => doctor::run(args, ui),
    }
}
