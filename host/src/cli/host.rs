//! `samebit host`: lends this machine, and shows who does.

use super::{
    host_bench, key, options,
    tensor::{self, TensorBackend},
};
use crate::{
    context::{Context, key_failure},
    daemon::{self, Ties},
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
    view::HostView,
};
use samebit_market::agent::Conduct;
use samebit_node::{daemon::Announce, host, keys::Keypair};
use samebit_spec::{
    offer::Offer,
    param,
    unit::{Bytes, FuelPrice, MicroCredits},
};
use std::path::PathBuf;

/// Holds the money and the bond.
pub const ACCOUNT_FILE: &str = "account.key";
/// Acts for the host.
pub const OPERATOR_FILE: &str = "operator.key";
/// Names it on the network.
pub const PEER_FILE: &str = "peer.key";

/// Runs at once unless told otherwise.
pub(super) const SLOTS_DEFAULT: u16 = 2;
/// Half of what a job pays unless its buyer says otherwise.
const ASK_DEFAULT: u64 = param::PRICE_DEFAULT.0 / 2;
/// A thousand credits: runs of the default limits for some two hundred at once.
const BOND_DEFAULT: u64 = 1_000_000_000;

/// Lend this machine to the network, and see which hosts there are.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit host list
  samebit host show host-3
  samebit host bench
  samebit host up --dir ./my-host")]
pub struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(clap::Subcommand)]
enum HostCommand {
    Up(UpArgs),
    Bench(host_bench::BenchArgs),
    /// List the hosts: what they ask, what they have bonded, what became of their runs.
    #[command(after_help = "Examples:\n  samebit host list\n  samebit host list -o json")]
    List,
    /// Show a host.
    #[command(after_help = "Examples:\n  samebit host show host-3\n  samebit host show 3f9a -o json")]
    Show {
        /// The host: its name on the devnet, one of your keys, or a prefix of its account.
        host: String,
    },
}

/// Serve as a host until told to end (Ctrl-C, SIGTERM).
///
/// The folder holds the keys, the store and what a restart needs. It dials out only: no port need be open.
#[derive(clap::Args)]
#[command(after_help = "\
What it offers is told on the ledger, and only jobs that need no more land here. An
adapter is offered for what it passed the conformance gate for; one run in 64 on it is
checked on the processor, and one that errs or fails is taken out of the offer. One
with wrong bits goes through the gate anew before it is offered again.

Examples:
  samebit host up --dir ./my-host --network invitation.json
  samebit host up --dir ./my-host --tensor-backend gpu --memory 4000000000")]
pub struct UpArgs {
    /// The host's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Least price: micro-credits per million fuel.
    #[arg(long, default_value_t = ASK_DEFAULT)]
    ask: u64,
    /// Runs at once.
    #[arg(long, default_value_t = SLOTS_DEFAULT)]
    slots: u16,
    /// Micro-credits to bond when it registers.
    #[arg(long, default_value_t = BOND_DEFAULT)]
    bond: u64,
    /// Lie, to see what becomes of it. For networks of one's own.
    #[arg(long, value_name = "KIND")]
    cheat: Option<Conduct>,
    /// What computes tensors: cpu, gpu, gpu:N, or auto for the first GPU that passes the gate for everything.
    #[arg(long, value_name = "BACKEND", default_value_t, value_parser = tensor::of_a_host)]
    tensor_backend: TensorBackend,
    /// Most bytes of linear memory and tensors that a run may ask for.
    #[arg(long, value_name = "BYTES", default_value_t = param::OFFERED_MEMORY_DEFAULT.0, value_parser = options::memory())]
    memory: u64,
    /// Most bytes of files that a run may write.
    #[arg(long, value_name = "BYTES", default_value_t = param::OFFERED_FILES_DEFAULT.0, value_parser = options::files())]
    files: u64,
    /// Most bytes of files in the input of a run.
    #[arg(long, value_name = "BYTES", default_value_t = param::INPUTS_MAX.0, value_parser = options::inputs())]
    inputs: u64,
    #[command(flatten)]
    ties: Ties,
}

impl HostArgs {
    /// Whether it serves until it is told to end.
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, HostCommand::Up(_))
    }
}

fn up(context: &Context, args: UpArgs) -> Outcome {
    let (invitation, _) = context.invitation()?;
    let key = |name: &str| Keypair::read_or_make(&args.dir.join(name)).map_err(|error| key_failure(&error));
    // Once it is registered a host works without its account's key, which may then be kept elsewhere.
    let account_path = args.dir.join(ACCOUNT_FILE);
    let operator_known = args.dir.join(OPERATOR_FILE).is_file();
    let account = if operator_known && !account_path.is_file() { None } else { Some(key(ACCOUNT_FILE)?) };
    // On an adapter that was never seen before this is the gate, which takes a minute.
    let (backend, adapter) = args.tensor_backend.open_offering(Some(context.home()))?;
    if adapter.is_none() && matches!(args.tensor_backend, TensorBackend::Gpu(_)) {
        let what = format!("tensor backend {}: it passed the gate for nothing", args.tensor_backend);
        return Err(Failure::new(Exit::Environment, what).help("`samebit host bench` says why; `--tensor-backend cpu`"));
    }
    let offer = Offer {
        memory: Bytes(args.memory),
        files: Bytes(args.files),
        inputs: Bytes(args.inputs),
        adapter,
        ..Offer::default()
    };
    let config = host::Config {
        invitation,
        account,
        operator: key(OPERATOR_FILE)?,
        peer: key(PEER_FILE)?,
        ask: FuelPrice(args.ask),
        slots: args.slots,
        bond: MicroCredits(args.bond),
        conduct: args.cheat.unwrap_or_default(),
        offer,
        backend: Some(backend),
        announce: Announce::Stdout,
        dir: args.dir,
    };
    daemon::serve(&args.ties, |shutdown| host::run(config, shutdown))
}

/// Runs the command.
pub fn run(args: HostArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        HostCommand::Up(args) => up(&context, args),
        HostCommand::Bench(args) => host_bench::run(&args, &context, ui),
        HostCommand::List => {
            let network = context.connect()?;
            let (state, names) = (network.state(), context.names());
            let view = |(account, host)| HostView::new(account, host, state.balance(account), state.time(), &names);
            let mut hosts: Vec<_> = state.hosts().iter().map(view).collect();
            hosts.sort_by_key(HostView::sort_key);
            ui.data(
                || {
                    let heads = [
                        "host",
                        "ask",
                        "tensors on",
                        "busy",
                        "bond free",
                        "bond locked",
                        "upheld",
                        "declined",
                        "lost",
                        "slashed",
                        "state",
                    ];
                    let mut table = text::table(heads, &[1, 3, 4, 5, 6, 7, 8, 9]);
                    table.add_rows(hosts.iter().map(HostView::cells));
                    if hosts.is_empty() { "no hosts yet".to_owned() } else { table.to_string() }
                },
                &serde_json::json!({"schema": "samebit/hosts/1", "hosts": hosts}),
            );
            Ok(Exit::Done)
        }
        HostCommand::Show { host } => {
            let network = context.connect()?;
            let state = network.state();
            let account = key::resolve(&context, &host, state.hosts().keys().copied())?;
            let record = state.hosts().get(&account).ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("{account} is no host")).help("`samebit host list` shows them")
            })?;
            let view = HostView::new(&account, record, state.balance(&account), state.time(), &context.names());
            let mut value = serde_json::json!({"schema": "samebit/host/1"});
            if let (Some(fields), Ok(serde_json::Value::Object(own))) =
                (value.as_object_mut(), serde_json::to_value(&view))
            {
                fields.extend(own);
            }
            ui.data(|| view.text(), &value);
            Ok(Exit::Done)
        }
    }
}
