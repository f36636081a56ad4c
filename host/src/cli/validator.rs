//! `samebit validator`: begins a chain, orders its entries, keeps its content.

use crate::{
    context::{Context, key_failure, read_file},
    daemon::{self, Ties},
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use samebit_node::{daemon::Announce, keys::Keypair, validator};
use samebit_spec::{
    block::Genesis,
    param::Params,
    sign::PublicKey,
    task::is_name,
    unit::{Bytes, MicroCredits, Time},
    wire,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The chain's beginning, in the validator's folder.
pub const GENESIS_FILE: &str = "genesis.bin";
/// The key that signs blocks.
pub const SIGNER_FILE: &str = "validator.key";
/// How to join, for everyone else.
pub const INVITATION_FILE: &str = "invitation.json";
const PEER_FILE: &str = "peer.key";
const GENESIS_BYTES_MAX: Bytes = Bytes(1 << 20);
/// Content that is kept for others unless told otherwise: 32 GiB.
const QUOTA_DEFAULT: u64 = 32 << 30;
const LISTEN_DEFAULT: [&str; 2] = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"];

/// Begin a network, and order its entries.
///
/// The one validator of a network (Solo) is a trusted coordinator: it cannot forge an entry or change a rule, since
/// everyone replays its blocks, but it can delay entries or leave them out.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit validator init --dir ./net --network ours --account key-3f9a...:1000
  samebit validator up --dir ./net --listen /ip4/0.0.0.0/tcp/7700")]
pub struct ValidatorArgs {
    #[command(subcommand)]
    command: ValidatorCommand,
}

#[derive(clap::Subcommand)]
enum ValidatorCommand {
    Init(InitArgs),
    Up(UpArgs),
}

/// Make a chain: the validator's key and the genesis, in a new folder.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit validator init --dir ./net --network ours --account alice:1000000 --account key-3f9a...:2000")]
struct InitArgs {
    /// The validator's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The network's name.
    #[arg(long, value_name = "NAME")]
    network: String,
    /// An account of the genesis with its credits: one of your keys, or a whole public key. May be given again.
    #[arg(long = "account", value_name = "KEY:CREDITS", required = true)]
    accounts: Vec<String>,
    /// Windows and deadlines of seconds, for a network on one machine, instead of those for strangers.
    #[arg(long)]
    short_windows: bool,
}

/// Order entries and keep content until told to end (Ctrl-C, SIGTERM).
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  samebit validator up --dir ./net\n  samebit validator up --dir ./net --listen /ip4/0.0.0.0/tcp/7700"
)]
struct UpArgs {
    /// The validator's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where to listen. May be given again. Default: free ports of the loopback interface, by QUIC and TCP.
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Bytes of content to keep for others.
    #[arg(long, value_name = "BYTES", default_value_t = QUOTA_DEFAULT)]
    quota: u64,
    #[command(flatten)]
    ties: Ties,
}

impl ValidatorArgs {
    /// Whether it serves until it is told to end.
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, ValidatorCommand::Up(_))
    }
}

/// Runs the command.
pub fn run(args: ValidatorArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        ValidatorCommand::Init(args) => init(&context, &args, ui),
        ValidatorCommand::Up(args) => up(args),
    }
}

fn up(args: UpArgs) -> Outcome {
    let path = args.dir.join(GENESIS_FILE);
    let genesis: Genesis = wire::decode(&read_file(&path, GENESIS_BYTES_MAX)?)
        .map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", path.display())))?;
    let key = |read: Result<Keypair, _>| read.map_err(|error| key_failure(&error));
    let listen = if args.listen.is_empty() { LISTEN_DEFAULT.map(str::to_owned).to_vec() } else { args.listen };
    let config = validator::Config {
        genesis,
        signer: key(Keypair::read(&args.dir.join(SIGNER_FILE)))?,
        peer: key(Keypair::read_or_make(&args.dir.join(PEER_FILE)))?,
        listen,
        invitation: Some(args.dir.join(INVITATION_FILE)),
        quota: Bytes(args.quota),
        announce: Announce::Stdout,
        dir: args.dir,
    };
    daemon::serve(&args.ties, |shutdown| validator::run(config, shutdown))
}

fn init(context: &Context, args: &InitArgs, ui: &Ui) -> Outcome {
    if !is_name(&args.network) {
        return Err(Failure::new(Exit::Usage, format!("{:?} is no name for a network", args.network))
            .help("a-z 0-9 - _ . beginning with a letter or digit"));
    }
    if args.dir.join(GENESIS_FILE).exists() {
        return Err(Failure::new(Exit::Environment, format!("{} holds a chain already", args.dir.display()))
            .help(format!("`samebit validator up --dir {}` goes on with it", args.dir.display())));
    }
    let mut accounts = Vec::new();
    for given in &args.accounts {
        accounts.push(account(context, given)?);
    }
    let signer = Keypair::read_or_make(&args.dir.join(SIGNER_FILE)).map_err(|error| key_failure(&error))?;
    let params = if args.short_windows { Params::DEVNET } else { Params::PUBLIC };
    let genesis = make_genesis(&args.network, signer.public(), params, accounts);
    // The ledger's own check, so that a genesis that no one could follow is never written.
    samebit_ledger::LedgerState::new(&genesis)
        .map_err(|error| Failure::new(Exit::Usage, format!("the genesis would not be sound: {error}")))?;
    write_genesis(&args.dir, &genesis)?;
    let dir = args.dir.display().to_string();
    ui.data(
        || {
            text::fields(&[
                ("network", genesis.network.clone()),
                ("genesis", genesis.id().to_string()),
                ("validator", genesis.validator.to_string()),
                ("ordering", "Solo: the validator is a trusted coordinator".to_owned()),
                ("start it", format!("samebit validator up --dir {dir}")),
            ])
        },
        &serde_json::json!({
            "schema": "samebit/validator/1", "network": genesis.network, "genesis": genesis.id().to_string(),
            "validator": genesis.validator.to_string(), "ordering": "solo", "dir": dir,
        }),
    );
    Ok(Exit::Done)
}

/// Reads `KEY:CREDITS`.
fn account(context: &Context, given: &str) -> Result<(PublicKey, MicroCredits), Failure> {
    let wrong = |why: &str| Failure::new(Exit::Usage, format!("--account {given:?}: {why}"));
    let (key, credits) = given.rsplit_once(':').ok_or_else(|| wrong("expected KEY:CREDITS"))?;
    let key = match key.parse() {
        Ok(key) => key,
        Err(_) => context.key(key)?.public(),
    };
    let amount = credits.parse::<u64>().ok().and_then(|credits| credits.checked_mul(1_000_000));
    Ok((key, MicroCredits(amount.ok_or_else(|| wrong("the credits are no whole number that fits"))?)))
}

/// A genesis of now.
pub fn make_genesis(
    network: &str,
    validator: PublicKey,
    params: Params,
    mut accounts: Vec<(PublicKey, MicroCredits)>,
) -> Genesis {
    accounts.sort();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Genesis {
        network: network.to_owned(),
        time: Time(u64::try_from(now).unwrap_or(u64::MAX)),
        validator,
        params,
        accounts,
    }
}

/// Writes the genesis where `validator up` reads it.
pub fn write_genesis(dir: &Path, genesis: &Genesis) -> Result<(), Failure> {
    let (path, draft) = (dir.join(GENESIS_FILE), dir.join("genesis.draft"));
    fs::write(&draft, wire::encode(genesis))
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", path.display())))
}
