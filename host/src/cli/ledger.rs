//! `samebit ledger`: the accounts and the chain, as this machine has verified them.

use super::key;
use crate::{
    context::Context,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
    view::{self, Names},
};
use samebit_ledger::{Conservation, LedgerState, LogError, ReplayError, Replayed, replay};
use samebit_spec::{sign::PublicKey, unit::MicroCredits};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Show and check the ledger: accounts, bonds, the chain.
///
/// What is shown was replayed and verified on this machine; the validator is believed in nothing but order.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit ledger show
  samebit ledger account host-3
  samebit ledger verify")]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(clap::Subcommand)]
enum LedgerCommand {
    /// Show height, root, supply and every account.
    #[command(after_help = "Examples:\n  samebit ledger show\n  samebit ledger show -o json")]
    Show,
    /// Show one account.
    #[command(after_help = "Examples:\n  samebit ledger account default\n  samebit ledger account 3f9a -o json")]
    Account {
        /// The account: one of your keys, a host's name on the devnet, or a prefix of the key.
        account: String,
    },
    /// Replay the whole chain from its genesis: every signature, every rule, every root, and the sum of all money.
    #[command(after_help = "\
Exits with 31 when anything does not verify.

Examples:
  samebit ledger verify
  samebit ledger verify --dir ~/.samebit/devnet/validator -o json")]
    Verify {
        /// The folder of a validator, read as it lies on disk, instead of what the network gives.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// An account: `samebit/account/1`, and in lists `samebit/ledger/1`.
#[derive(Serialize)]
struct AccountView {
    key: String,
    name: Option<String>,
    role: &'static str,
    balance: u64,
    bond_free: u64,
    bond_locked: u64,
    unbonding: u64,
    total: u64,
    sequence: u64,
}

impl AccountView {
    fn new(state: &LedgerState, key: &PublicKey, names: &Names) -> Self {
        let host = state.hosts().get(key);
        let (free, locked, unbonding) =
            host.map_or((0, 0, 0), |host| (host.bond_free.0, host.bond_locked.0, view::unbonding(host).0));
        let balance = state.balance(key).0;
        Self {
            key: key.to_string(),
            name: names.get(key),
            role: if host.is_some() { "host" } else { "account" },
            balance,
            bond_free: free,
            bond_locked: locked,
            unbonding,
            total: [balance, free, locked, unbonding].iter().fold(0, |sum: u64, part| sum.saturating_add(*part)),
            sequence: state.sequence(key),
        }
    }

    fn cells(&self) -> [String; 7] {
        let money = |amount| text::credits(MicroCredits(amount));
        [
            self.name.clone().unwrap_or_else(|| view::short(&self.key)),
            self.role.to_owned(),
            money(self.balance),
            money(self.bond_free),
            money(self.bond_locked),
            money(self.unbonding),
            money(self.total),
        ]
    }
}

/// Runs the command.
pub fn run(args: LedgerArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        LedgerCommand::Show => show(&context, ui),
        LedgerCommand::Account { account } => {
            let network = context.connect()?;
            let (state, names) = (network.state(), context.names());
            let known: Vec<PublicKey> = state.accounts().keys().copied().collect();
            let key = key::resolve(&context, &account, known.iter().copied())?;
            if !known.contains(&key) {
                return Err(Failure::new(Exit::NotFound, format!("{key} has no account on this network"))
                    .help("`samebit ledger show` lists the accounts"));
            }
            let view = AccountView::new(state, &key, &names);
            let money = |amount| format!("{} credits", text::credits(MicroCredits(amount)));
            let mut value = serde_json::json!({"schema": "samebit/account/1"});
            if let (Some(fields), Ok(serde_json::Value::Object(own))) =
                (value.as_object_mut(), serde_json::to_value(&view))
            {
                fields.extend(own);
            }
            ui.data(
                || {
                    text::fields(&[
                        ("account", view.key.clone()),
                        ("name", view.name.clone().unwrap_or_default()),
                        ("role", view.role.to_owned()),
                        ("balance", money(view.balance)),
                        ("bond free", money(view.bond_free)),
                        ("bond locked", money(view.bond_locked)),
                        ("unbonding", money(view.unbonding)),
                        ("total", money(view.total)),
                        ("entries", view.sequence.to_string()),
                    ])
                },
                &value,
            );
            Ok(Exit::Done)
        }
        LedgerCommand::Verify { dir } => verify(&context, dir, ui),
    }
}

fn show(context: &Context, ui: &Ui) -> Outcome {
    let network = context.connect()?;
    let (state, names) = (network.state(), context.names());
    let mut accounts: Vec<_> = state.accounts().keys().map(|key| AccountView::new(state, key, &names)).collect();
    accounts.sort_by_key(|view| {
        let name = view.name.clone().unwrap_or_else(|| view.key.clone());
        (view.name.is_none(), name.len(), name)
    });
    let money = state.conservation();
    let genesis = state.genesis();
    let credits = |amount| format!("{} credits", text::credits(amount));
    ui.data(
        || {
            let head = text::fields(&[
                ("network", format!("{} ({})", genesis.network, state.genesis_id())),
                ("ordering", format!("Solo: {} is a trusted coordinator", names.of(&genesis.validator))),
                ("height", state.height().to_string()),
                ("time", text::moment(state.time())),
                ("root", state.root().to_string()),
                ("supply", credits(money.supply)),
                ("in escrow", credits(money.escrow)),
                ("burned", credits(money.burned)),
                ("tasks, jobs", format!("{}, {}", state.tasks().len(), state.jobs().len())),
            ]);
            let heads = ["account", "role", "balance", "bond free", "bond locked", "unbonding", "total"];
            let mut table = text::table(heads, &[2, 3, 4, 5, 6]);
            table.add_rows(accounts.iter().map(AccountView::cells));
            format!("{head}\n\n{table}")
        },
        &serde_json::json!({
            "schema": "samebit/ledger/1",
            "network": genesis.network,
            "genesis": state.genesis_id().to_string(),
            "ordering": "solo",
            "validator": genesis.validator.to_string(),
            "height": state.height().0,
            "time": state.time().0,
            "head": state.head().to_string(),
            "root": state.root().to_string(),
            "supply": money.supply.0,
            "escrow": money.escrow.0,
            "burned": money.burned.0,
            "tasks": state.tasks().len(),
            "jobs": state.jobs().len(),
            "accounts": accounts,
        }),
    );
    Ok(Exit::Done)
}

fn verify(context: &Context, dir: Option<PathBuf>, ui: &Ui) -> Outcome {
    let spinner = ui.spinner("replaying the chain");
    let (source, state, conservation, entries) = match dir {
        Some(dir) => {
            let Replayed { state, conservation, entries, torn, .. } = replay_folder(&dir)?;
            if let Some(torn) = torn {
                let at = format!("segment {}, byte {}", torn.segment, torn.offset);
                ui.note(format!("the last {} bytes ({at}) are of a block that is not there whole", torn.bytes));
            }
            (dir.display().to_string(), state, conservation, Some(entries))
        }
        None => {
            // Without the cache: every block comes from the network and is replayed from the genesis on.
            let network = context.connect_afresh()?;
            let state = network.state().clone();
            let conservation = state.check().map_err(|violation| {
                Failure::new(Exit::LedgerInvalid, format!("block {}: {violation}", state.height()))
            })?;
            ("the network".to_owned(), state, conservation, None)
        }
    };
    spinner.finish_and_clear();
    print_verified(&source, &state, &conservation, entries, ui);
    Ok(Exit::Done)
}

fn print_verified(source: &str, state: &LedgerState, money: &Conservation, entries: Option<u64>, ui: &Ui) {
    let credits = |amount| text::credits(amount);
    ui.data(
        || {
            let parts = format!(
                "{} in accounts + {} in bonds + {} unbonding + {} in escrow + {} burned",
                credits(money.accounts),
                credits(money.bonds_free.saturating_add(money.bonds_locked)),
                credits(money.unbonding),
                credits(money.escrow),
                credits(money.burned),
            );
            text::fields(&[
                ("verified", format!("{} blocks from {source}: every signature, rule and root", state.height())),
                ("network", format!("{} ({})", state.genesis().network, state.genesis_id().short())),
                ("head", state.head().to_string()),
                ("root", state.root().to_string()),
                ("money", parts),
                ("supply", format!("{}: conserved", credits(money.supply))),
            ])
        },
        &serde_json::json!({
            "schema": "samebit/verify/1",
            "network": state.genesis().network,
            "genesis": state.genesis_id().to_string(),
            "height": state.height().0,
            "head": state.head().to_string(),
            "root": state.root().to_string(),
            "entries": entries,
            "accounts": money.accounts.0,
            "bonds_free": money.bonds_free.0,
            "bonds_locked": money.bonds_locked.0,
            "unbonding": money.unbonding.0,
            "escrow": money.escrow.0,
            "burned": money.burned.0,
            "supply": money.supply.0,
            "conserved": money.total() == u128::from(money.supply.0),
        }),
    );
}

/// Replays a ledger folder, or that of the validator whose folder is given.
fn replay_folder(dir: &Path) -> Result<Replayed, Failure> {
    let inner = samebit_node::validator::ledger_dir(dir);
    let folder = if inner.is_dir() { inner } else { dir.to_owned() };
    replay(&folder).map_err(|error| {
        let exit = match &error {
            ReplayError::Log(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Exit::NotFound
            }
            ReplayError::Log(LogError::BadGenesis { reason }) if reason == "missing" => Exit::NotFound,
            ReplayError::Log(LogError::Io { .. } | LogError::Locked) => Exit::Environment,
            ReplayError::Log(_) | ReplayError::Genesis(_) | ReplayError::Block(_) | ReplayError::Violation(_) => {
                Exit::LedgerInvalid
            }
        };
        let failure = Failure::new(exit, format!("{}: {error}", folder.display()));
        if exit == Exit::NotFound {
            failure.help("give the folder of a validator, or its `ledger` folder")
        } else {
            failure
        }
    })
}
