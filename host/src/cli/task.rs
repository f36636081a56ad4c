//! `samebit task`: publishes code and shows what is published.

use super::build;
use crate::{
    context::{Context, Network, read_file},
    exit::Exit,
    ids,
    report::{Failure, Outcome, Ui},
    text,
};
use samebit_blobs::BlobStore;
use samebit_node::keys::Keypair;
use samebit_runtime::inspect;
use samebit_spec::{
    content::BlobRef,
    entry::Body,
    id::TaskId,
    param,
    task::{TaskForm, TaskManifest, is_name},
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Publish code, and show what is published.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit task publish target/wasm32-wasip1/wasm/hello.wasm
  samebit task publish . --name hello --about 'greets whoever it is given'
  samebit task list
  samebit task show hello")]
pub struct TaskArgs {
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(clap::Subcommand)]
enum TaskCommand {
    Publish(PublishArgs),
    /// Show a task: its id, code, form, who published it.
    #[command(after_help = "Examples:\n  samebit task show hello\n  samebit task show 3f9a -o json")]
    Show {
        /// The task: a prefix of its id, or its name (the latest of that name).
        task: String,
    },
    /// List every published task.
    #[command(after_help = "Examples:\n  samebit task list\n  samebit task list -o json")]
    List,
}

/// Publish a module: it is checked for admission, sent to the keeper, and named by its hash. The code is public.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit task publish hello.wasm
  samebit task publish ./hello --name hello       builds the project first")]
struct PublishArgs {
    /// A .wasm module, or the folder of a task's project.
    path: PathBuf,
    /// Its name. Default: the file's or the project's.
    #[arg(long)]
    name: Option<String>,
    /// One line for people. Default: the project's.
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
    /// The key that signs.
    #[arg(long, default_value = "default")]
    key: String,
}

/// A task: `samebit/task/1`.
#[derive(Serialize)]
struct TaskView {
    schema: &'static str,
    task: String,
    name: String,
    about: String,
    form: &'static str,
    module: String,
    module_bytes: u64,
    newly_published: Option<bool>,
}

impl TaskView {
    fn new(id: &TaskId, manifest: &TaskManifest, newly_published: Option<bool>) -> Self {
        Self {
            schema: "samebit/task/1",
            task: id.to_string(),
            name: manifest.name.clone(),
            about: manifest.about.clone(),
            form: match manifest.form {
                TaskForm::Stepped => "stepped",
                TaskForm::Command => "command",
            },
            module: manifest.module.id.to_string(),
            module_bytes: manifest.module.len.0,
            newly_published,
        }
    }

    fn text(&self) -> String {
        let mut pairs = vec![
            ("task", self.task.clone()),
            ("name", self.name.clone()),
            ("form", self.form.to_owned()),
            ("module", self.module.clone()),
            ("size", text::bytes(samebit_spec::unit::Bytes(self.module_bytes))),
        ];
        if !self.about.is_empty() {
            pairs.push(("about", self.about.clone()));
        }
        if self.newly_published == Some(false) {
            pairs.push(("note", "it was published before".to_owned()));
        }
        text::fields(&pairs)
    }
}

/// Runs the command.
pub fn run(args: TaskArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    match args.command {
        TaskCommand::Publish(args) => {
            // Without a network there is no use for a key, and none yet where `devnet up` makes it.
            context.invitation()?;
            let key = context.key(&args.key)?;
            let module = Module::read(&args.path, args.name, args.about, ui)?;
            let (mut network, store) = (context.connect()?, context.store()?);
            network.expect_account(&args.key, &key)?;
            let (id, newly) = publish(&mut network, &store, &key, &module, ui)?;
            let view = TaskView::new(&id, &module.manifest, Some(newly));
            ui.data(|| view.text(), &view);
            Ok(Exit::Done)
        }
        TaskCommand::Show { task } => {
            let network = context.connect()?;
            let (id, manifest) = find(&network, &task)?;
            let view = TaskView::new(&id, &manifest, None);
            ui.data(|| view.text(), &view);
            Ok(Exit::Done)
        }
        TaskCommand::List => {
            let network = context.connect()?;
            let views: Vec<_> =
                network.tasks().into_iter().map(|(id, manifest)| TaskView::new(&id, &manifest, None)).collect();
            ui.data(
                || {
                    let mut table = text::table(["task", "name", "form", "size", "about"], &[3]);
                    for view in &views {
                        table.add_row([
                            crate::view::short(&view.task),
                            view.name.clone(),
                            view.form.to_owned(),
                            text::bytes(samebit_spec::unit::Bytes(view.module_bytes)),
                            view.about.clone(),
                        ]);
                    }
                    if views.is_empty() { "nothing is published yet".to_owned() } else { table.to_string() }
                },
                &serde_json::json!({"schema": "samebit/tasks/1", "tasks": views}),
            );
            Ok(Exit::Done)
        }
    }
}

/// A module that is admitted, with the manifest it would be published under.
pub struct Module {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is published.
    pub manifest: TaskManifest,
}

impl Module {
    /// Reads a .wasm file, or builds a project's, and checks that hosts would admit it.
    pub fn read(path: &Path, name: Option<String>, about: Option<String>, ui: &Ui) -> Result<Self, Failure> {
        let (bytes, form, tensor_ops, own_name, own_about) = if path.is_dir() {
            let built = build::project(path, ui)?;
            let TaskManifest { name, form, about, tensor_ops, .. } = built.manifest;
            (built.bytes, form, tensor_ops, name, about)
        } else {
            let bytes = read_file(path, param::MODULE_BYTES_MAX)?;
            let seen = inspect(&bytes).map_err(|refusal| {
                Failure::new(Exit::ModuleRefused, format!("{} is refused: {refusal}", path.display())).help(
                    "a task imports only wasi_snapshot_preview1 and samebit_tensor; `samebit build` checks a project",
                )
            })?;
            (bytes, seen.form, seen.tensor_ops, name_of(path), String::new())
        };
        let (name, about) = (name.unwrap_or(own_name), about.unwrap_or(own_about));
        if !is_name(&name) {
            return Err(Failure::new(Exit::Usage, format!("{name:?} is no name for a task"))
                .help("give `--name`: a-z 0-9 - _ . beginning with a letter or digit"));
        }
        if about.len() > param::ABOUT_MAX || about.chars().any(char::is_control) {
            let max = param::ABOUT_MAX;
            return Err(Failure::new(Exit::Usage, format!("--about is one line of at most {max} bytes")));
        }
        let manifest = TaskManifest { name, module: BlobRef::of(&bytes), form, about, tensor_ops };
        Ok(Self { bytes, manifest })
    }
}

/// A file's name as a task's: lower case, `_` as `-`, without the ending.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    stem.replace('_', "-")
}

/// Sends the module to the keeper and publishes its manifest, unless that is done. Returns whether it was not.
pub fn publish(
    network: &mut Network,
    store: &BlobStore,
    key: &Keypair,
    module: &Module,
    ui: &Ui,
) -> Result<(TaskId, bool), Failure> {
    let blob = store.put(&module.bytes).map_err(|error| crate::context::blob_failure(&error))?;
    network.push(store, &[blob], ui, "module")?;
    let id = module.manifest.id();
    if network.tasks().iter().any(|(known, _)| *known == id) {
        return Ok((id, false));
    }
    network.submit(key, Body::TaskPublish { manifest: module.manifest.clone() })?;
    Ok((id, true))
}

/// A published task by id, by a prefix of it, or by name; of several with a name the latest.
pub fn find(network: &Network, given: &str) -> Result<(TaskId, TaskManifest), Failure> {
    let tasks = network.tasks();
    if let Some(found) = tasks.iter().rev().find(|(_, manifest)| manifest.name == given) {
        return Ok(found.clone());
    }
    let id = ids::one("task", given, tasks.iter().map(|(id, _)| *id))?;
    let found = tasks.into_iter().find(|(known, _)| *known == id);
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("no task {given:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_task() {
        for (file, name) in [("a/census_table.wasm", "census-table"), ("Hello.wasm", "hello"), ("x.y.wasm", "x.y")] {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
