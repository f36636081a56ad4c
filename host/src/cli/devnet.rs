//! `samebit devnet`: a whole network on this machine.

use super::tensor::TensorBackend;
use crate::{
    context::Context,
    devnet::{self, HOSTS_MAX, Place, Wanted},
    exit::Exit,
    process::{self, Tie},
    report::{Failure, Format, Outcome, Ui},
    text,
};
use clap::builder::RangedU64ValueParser;
use samebit_market::agent::Conduct;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

/// Two that agree, and one more to be drawn when one of them was drawn together with a liar.
const HONEST_LEAST: usize = 3;

/// Run a network on this machine: one validator and some hosts, each a process of its own.
///
/// Loopback only. Its one validator is a trusted coordinator (Solo).
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit devnet up --hosts 5 --cheat wrong-output:1
  samebit devnet status
  samebit devnet down")]
pub struct DevnetArgs {
    #[command(subcommand)]
    command: DevnetCommand,
}

#[derive(clap::Subcommand)]
enum DevnetCommand {
    Up(UpArgs),
    /// Show what runs.
    #[command(after_help = "Examples:\n  samebit devnet status\n  samebit devnet status -o json")]
    Status,
    /// End every process of the devnet. The chain is kept; a second time there is nothing to do.
    #[command(after_help = "Examples:\n  samebit devnet down")]
    Down,
}

/// Start the network, or start again the one that was stopped.
///
/// The key `default` holds its money. A devnet that was stopped goes on with its chain.
#[derive(clap::Args)]
#[command(after_help = "\
KIND is wrong-output, lazy-copier, silent, no-show or decliner; `--cheat honest` ends the cheating of a stopped devnet.

Examples:
  samebit devnet up
  samebit devnet up --hosts 7 --cheat wrong-output:1 --cheat lazy-copier:1 --fresh
  samebit devnet up --foreground        ends with Ctrl-C")]
struct UpArgs {
    /// How many hosts. Default: 5, or as many as the stopped devnet has.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=HOSTS_MAX as u64))]
    hosts: Option<usize>,
    /// Let so many hosts lie, one unless COUNT is given. May be given again.
    #[arg(long = "cheat", value_name = "KIND[:COUNT]", value_parser = devnet::cheat)]
    cheats: Vec<(Conduct, usize)>,
    /// What computes the hosts' tensors, as in `host up`; with COUNT, of the first hosts only: gpu:1=2 is adapter 1 for two hosts.
    #[arg(long, value_name = "BACKEND[=COUNT]", value_parser = devnet::backend)]
    tensor_backend: Option<(TensorBackend, Option<usize>)>,
    /// Stay, and take everything down at the end (Ctrl-C, SIGTERM).
    #[arg(long)]
    foreground: bool,
    /// End when stdin does. For programs that start a devnet.
    #[arg(long, requires = "foreground")]
    lifeline: bool,
    /// Begin a new chain, instead of going on with the stopped one: erases its chain, jobs, and the hosts' keys.
    #[arg(long)]
    fresh: bool,
}

/// Runs the command.
pub fn run(args: DevnetArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        DevnetCommand::Up(args) => up(&context, &args, ui),
        DevnetCommand::Status => {
            let place = Place::of(&context);
            let Some(state) = place.load()? else {
                return Err(
                    Failure::new(Exit::NotFound, "there is no devnet here").help("`samebit devnet up` starts one")
                );
            };
            ui.data(|| state.text(&place), &state.view(&place));
            if let Some(name) = state.missing() {
                ui.note(format!(
                    "\ndegraded: {name} has ended; `samebit devnet down` and then `samebit devnet up` start it again"
                ));
            }
            Ok(Exit::Done)
        }
        DevnetCommand::Down => {
            let ended = devnet::down(&context)?;
            let said = if ended == 0 { "nothing ran".to_owned() } else { format!("ended {}", processes(ended)) };
            ui.data(|| said, &serde_json::json!({"schema": "samebit/devnet-down/1", "ended": ended}));
            Ok(Exit::Done)
        }
    }
}

fn processes(count: usize) -> String {
    text::count(count, "process").replace("processs", "processes")
}

fn up(context: &Context, args: &UpArgs, ui: &Ui) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    watch_signals(&stop)?;
    if args.lifeline {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            process::stdin_ended();
            stop.store(true, Ordering::SeqCst);
        });
    }
    let wanted = Wanted {
        hosts: args.hosts,
        cheats: (!args.cheats.is_empty()).then(|| args.cheats.clone()),
        backend: args.tensor_backend,
        fresh: args.fresh,
        tie: if args.foreground { Tie::Lifeline } else { Tie::Free },
    };
    if let Some((backend, _)) = args.tensor_backend.filter(|(backend, _)| *backend != TensorBackend::Cpu) {
        // Once, and not in every host at once: they take up what is kept.
        ui.note(format!("tensors on {backend}: an adapter that is new here goes through the conformance gate first"));
        backend.open(Some(context.home()))?;
    }
    let mut running = devnet::up(context, &wanted, &|| stop.load(Ordering::SeqCst), ui)?;
    let place = running.place().clone();
    ui.data(|| running.state.text(&place), &running.state.view(&place));
    let (honest, all) = running.state.honest();
    if honest < all && honest < HONEST_LEAST {
        ui.note(format!(
            "\n{honest} of {} {} honest: a dispute needs {HONEST_LEAST} to be decided for the truth; \
             `--fresh --hosts {}` gives more",
            text::count(all, "host"),
            if honest == 1 { "is" } else { "are" },
            all - honest + HONEST_LEAST,
        ));
    }
    if !args.foreground {
        let state = running.release();
        if ui.format == Format::Text && state.is_running() {
            ui.note("\ntry: samebit job submit TASK.wasm --wait");
        }
        return Ok(Exit::Done);
    }
    ui.note("up; Ctrl-C takes it down");
    while !stop.load(Ordering::SeqCst) {
        if let Some((name, status)) = running.ended() {
            ui.event(
                format!("{name} has ended ({status})"),
                &serde_json::json!({"schema": "samebit/devnet-event/1", "ended": name, "status": status}),
            );
        }
        sleep(Duration::from_millis(100));
    }
    running.stop()?;
    ui.note("every process has ended");
    Ok(Exit::Done)
}

/// Sets `stop` at Ctrl-C, SIGTERM and SIGHUP.
fn watch_signals(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Environment, format!("cannot watch for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let stop = Arc::clone(stop);
    let (ready, installed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            match crate::daemon::Signals::new() {
                Ok(mut signals) => {
                    let _ = ready.send(Ok(()));
                    signals.any().await;
                    stop.store(true, Ordering::SeqCst);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
    });
    installed.recv().unwrap_or_else(|_| Err(std::io::Error::other("the watching thread ended"))).map_err(failed)
}
