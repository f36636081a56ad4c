//! `samebit host`: lends this machine, and shows who does.

use super::key;
use crate::{
    context::Context,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
    view::HostView,
};
use samebit_market::agent::Conduct;
use std::path::PathBuf;

/// Lend this machine to the network, and see which hosts there are.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit host list
  samebit host show host-3
  samebit host up --dir ./my-host")]
pub struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(clap::Subcommand)]
enum HostCommand {
    Up(UpArgs),
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
#[command(after_help = "Examples:\n  samebit host up --dir ./my-host --network invitation.json")]
pub struct UpArgs {
    /// The host's folder.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Lie, to see what becomes of it. For networks of one's own.
    #[arg(long, value_name = "KIND")]
    pub cheat: Option<Conduct>,
    /// End when stdin does.
    #[arg(long, hide = true)]
    pub lifeline: bool,
    /// Leave the terminal's session.
    #[arg(long, hide = true)]
    pub apart: bool,
}

impl HostArgs {
    /// Whether it serves until it is told to end.
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, HostCommand::Up(_))
    }
}

/// Runs the command.
pub fn run(args: HostArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        HostCommand::Up(_) => unreachable!(),
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
                        "busy",
                        "bond free",
                        "bond locked",
                        "upheld",
                        "declined",
                        "lost",
                        "slashed",
                        "state",
                    ];
                    let mut table = text::table(heads, &[1, 2, 3, 4, 5, 6, 7, 8]);
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
