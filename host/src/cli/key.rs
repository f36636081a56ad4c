//! `samebit key`: makes and shows keys. The secret half never leaves its file.

use crate::{
    context::{Context, key_failure},
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use samebit_node::keys::Keypair;

/// Make and show the keys that hold money and sign.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit key new alice
  samebit key show            the key named `default`
  samebit key list -o json")]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(clap::Subcommand)]
enum KeyCommand {
    /// Make a key and keep it in a file that only you can read. A key that is there is never overwritten.
    #[command(after_help = "Examples:\n  samebit key new alice\n  samebit key new default -o json")]
    New {
        /// Its name: a-z 0-9 - _ . beginning with a letter or digit.
        name: String,
    },
    /// Show a key's public half and where its file is.
    #[command(after_help = "Examples:\n  samebit key show\n  samebit key show alice -o json")]
    Show {
        /// Its name.
        #[arg(default_value = "default")]
        name: String,
    },
    /// List the keys that are here.
    #[command(after_help = "Examples:\n  samebit key list")]
    List,
}

/// Runs the command.
pub fn run(args: KeyArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        KeyCommand::New { name } => {
            let path = context.key_path(&name)?;
            let key = Keypair::generate().map_err(|error| key_failure(&error))?;
            key.write_new(&path).map_err(|error| key_failure(&error))?;
            print(&context, ui, &name)
        }
        KeyCommand::Show { name } => print(&context, ui, &name),
        KeyCommand::List => list(&context, ui),
    }
}

fn print(context: &Context, ui: &Ui, name: &str) -> Outcome {
    let (key, path) = (context.key(name)?.public(), context.key_path(name)?);
    let file = path.display().to_string();
    ui.data(
        || text::fields(&[("name", name.to_owned()), ("key", key.to_string()), ("file", file.clone())]),
        &serde_json::json!({"schema": "samebit/key/1", "name": name, "key": key.to_string(), "file": file}),
    );
    Ok(Exit::Done)
}

fn list(context: &Context, ui: &Ui) -> Outcome {
    let mut keys = Vec::new();
    for name in context.key_names() {
        // One bad file hides no other key.
        keys.push((context.key(&name).map(|key| key.public().to_string()).map_err(|failure| failure.what), name));
    }
    ui.data(
        || {
            let mut table = text::table(["name", "key"], &[]);
            for (key, name) in &keys {
                let shown = key.clone().unwrap_or_else(|error| format!("unreadable: {error}"));
                table.add_row([name.clone(), shown]);
            }
            if keys.is_empty() { "no keys yet: `samebit key new NAME` makes one".to_owned() } else { table.to_string() }
        },
        &serde_json::json!({
            "schema": "samebit/keys/1",
            "keys": keys.iter().map(|(key, name)| serde_json::json!({
                "name": name, "key": key.as_ref().ok(), "error": key.as_ref().err(),
            })).collect::<Vec<_>>(),
        }),
    );
    Ok(Exit::Done)
}

/// A key by the name of one's own, by what people call it, or by a prefix of its digits, among `known`.
pub fn resolve(
    context: &Context,
    given: &str,
    known: impl IntoIterator<Item = samebit_spec::sign::PublicKey>,
) -> Result<samebit_spec::sign::PublicKey, Failure> {
    if context.key_names().iter().any(|name| name == given) {
        return Ok(context.key(given)?.public());
    }
    if let Some((key, _)) = context.names().0.iter().find(|(_, name)| *name == given) {
        return Ok(*key);
    }
    crate::ids::one("key", given, known)
}
