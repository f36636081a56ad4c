//! The `samebit` program: the command line, and the place where the crates are put together.
//!
//! It decides nothing of the protocol. stdout is data, stderr is narration, and every failure is prose that ends
//! with the command that helps. The commands, their JSON and the exit codes: `spec/08-commands.md`.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a program exports nothing: `pub` marks what its other modules may use")]

mod cli;
mod context;
mod daemon;
mod devnet;
mod draw;
mod exit;
mod ids;
mod process;
mod report;
mod text;
mod view;

use clap::Parser;
use exit::Exit;
use report::{Format, Ui};
use std::{panic::AssertUnwindSafe, path::PathBuf, process::ExitCode, sync::Arc};
use tracing_subscriber::EnvFilter;

/// The same bits on every machine, or the host is not paid.
///
/// Publish a WebAssembly task, send it real input, and let hosts that nobody trusts run it: results are compared bit
/// for bit, paid or slashed on a ledger that anyone can check again.
#[derive(clap::Parser)]
#[command(name = "samebit", version, arg_required_else_help = true, propagate_version = true)]
#[command(after_help = "\
Examples:
  samebit devnet up --cheat wrong-output:1     a network on this machine, with a liar in it
  samebit new hello && cd hello                a task that builds and passes its own tests
  samebit run hello.wasm -- Ada                run it here, in the sandbox the hosts use
  samebit job submit hello.wasm --wait         send it to the hosts
  samebit audit job 3f9a                       run it again and say who was right
  samebit ledger verify                        replay the ledger and check every signature

Exit codes:
   0 done                          20 the task trapped
   1 a bug in samebit              21 a limit was used up (fuel, step fuel, steps,
   2 usage                            memory at start)
   3 not found                     22 the module is refused
   4 settings or environment       30 outputs differ: evidence of a wrong result
   5 network unreachable           31 ledger or signature does not verify
   6 waited too long               32 cannot tell: inputs missing
   7 refused: funds, no eligible  130 interrupted
     host, policy                     `samebit run` passes the guest's own code through")]
struct Args {
    /// What stdout carries.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    #[arg(env = "SAMEBIT_OUTPUT", hide_env = true)]
    output: Format,
    /// No narration and no progress on stderr.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// The network: `devnet`, or the file of an invitation. Default: the devnet that runs here.
    #[arg(long, global = true, value_name = "NAME|FILE", env = "SAMEBIT_NETWORK")]
    network: Option<String>,
    /// Where keys, networks and caches are kept. Default: ~/.samebit.
    #[arg(long, global = true, value_name = "DIR", env = "SAMEBIT_HOME")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: cli::Command,
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: this is a bug in samebit: {panic}");
        eprintln!("  help: please report it with the command that you typed");
    }));
    let args = Args::parse();
    if std::env::var_os("SAMEBIT_LIFELINE").is_some() {
        // For programs that start commands: a command whose starter is gone, however it went, waits for nobody.
        std::thread::spawn(|| {
            process::stdin_ended();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        });
    }
    let daemon = args.command.is_daemon();
    let filter = EnvFilter::try_from_env("SAMEBIT_LOG")
        .unwrap_or_else(|_| EnvFilter::new(if daemon { "info,libp2p=warn" } else { "off" }));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let ui =
        Ui { format: args.output, quiet: args.quiet, network: args.network, home: args.home, broken: Arc::default() };
    match std::panic::catch_unwind(AssertUnwindSafe(|| ui.close(cli::run(args.command, &ui)))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => {
            ui.failure(&failure);
            failure.exit.into()
        }
        Err(_) => Exit::Bug.into(),
    }
}
