//! The commands: four verbs for writing tasks, then nouns. A file each.

mod audit;
mod build;
mod devnet;
mod doctor;
pub mod host;
mod host_bench;
mod job;
mod job_output;
mod job_submit;
mod key;
mod ledger;
mod new;
mod options;
mod replay;
mod run;
mod task;
pub mod tensor;
mod test;
pub mod validator;

use crate::report::{Outcome, Ui};

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Run(run::RunArgs),
    Replay(replay::ReplayArgs),
    Test(test::TestArgs),
    Devnet(devnet::DevnetArgs),
    Task(task::TaskArgs),
    Job(job::JobArgs),
    Host(host::HostArgs),
    Validator(validator::ValidatorArgs),
    Audit(audit::AuditArgs),
    Ledger(ledger::LedgerArgs),
    Key(key::KeyArgs),
    Doctor(doctor::DoctorArgs),
}

impl Command {
    /// Whether it serves until it is told to end; then it keeps a log.
    pub fn is_daemon(&self) -> bool {
        match self {
            Self::Host(args) => args.is_daemon(),
            Self::Validator(args) => args.is_daemon(),
            _ => false,
        }
    }
}

/// Does it.
pub fn run(command: Command, ui: &Ui) -> Outcome {
    match command {
        Command::New(args) => new::run(args, ui),
        Command::Build(args) => build::run(args, ui),
        Command::Run(args) => run::run(args, ui),
        Command::Replay(args) => replay::run(args, ui),
        Command::Test(args) => test::run(args, ui),
        Command::Devnet(args) => devnet::run(args, ui),
        Command::Task(args) => task::run(args, ui),
        Command::Job(args) => job::run(args, ui),
        Command::Host(args) => host::run(args, ui),
        Command::Validator(args) => validator::run(args, ui),
        Command::Audit(args) => audit::run(args, ui),
        Command::Ledger(args) => ledger::run(args, ui),
        Command::Key(args) => key::run(args, ui),
        Command::Doctor(args) => doctor::run(args, ui),
    }
}

/// Where a home keeps what adapters showed at the gate.
const GATES: &str = "gates";

/// Capabilities as text.
fn named(capabilities: &[samebit_gpu::Capability]) -> String {
    let names: Vec<&str> = capabilities.iter().map(|capability| capability.name()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
