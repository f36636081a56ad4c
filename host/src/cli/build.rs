//! `samebit build`: compiles a task's project and says whether hosts would take it.
//!
//! [`project`] is what other commands call when they are given a project's folder instead of a module.

use crate::{
    context::read_file,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use samebit_runtime::{Inspection, Refusal, inspect};
use samebit_spec::{
    content::BlobRef,
    param,
    task::{TaskForm, TaskManifest, is_name},
    unit::Bytes,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What tasks are compiled for.
const TARGET: &str = "wasm32-wasip1";

/// Compile a task, check that hosts would admit it, and show what would be published.
///
/// The module is compiled by cargo in the release profile and copied to target/samebit/NAME.wasm.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit build                       the project in this folder
  samebit build ../hello
  samebit build -o json               task id, size, imports and memory for programs")]
pub struct BuildArgs {
    /// The project's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
}

/// A project that was compiled and is admitted.
pub struct Built {
    /// Where the module is.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What would be published: name and description are those of the package.
    pub manifest: TaskManifest,
    /// What admission says of it.
    pub inspection: Inspection,
}

/// A build: `samebit/build/1`.
#[derive(Serialize)]
struct BuildView {
    schema: &'static str,
    task: String,
    name: String,
    about: String,
    form: &'static str,
    module: String,
    module_bytes: u64,
    executable: String,
    imports: Vec<String>,
    memory_min_bytes: u64,
    memory_max_bytes: Option<u64>,
    file: String,
}

impl BuildView {
    fn new(built: &Built) -> Self {
        let page = |pages: u32| u64::from(pages) << 16;
        let (manifest, seen) = (&built.manifest, &built.inspection);
        Self {
            schema: "samebit/build/1",
            task: manifest.id().to_string(),
            name: manifest.name.clone(),
            about: manifest.about.clone(),
            form: form(seen.form),
            module: manifest.module.id.to_string(),
            module_bytes: manifest.module.len.0,
            executable: seen.executable.to_string(),
            imports: seen.imports.clone(),
            memory_min_bytes: page(seen.memory_min_pages),
            memory_max_bytes: seen.memory_max_pages.map(page),
            file: built.file.display().to_string(),
        }
    }

    fn text(&self) -> String {
        let size = |bytes| text::bytes(Bytes(bytes));
        let most = self.memory_max_bytes.map_or_else(|| "the job's limit".to_owned(), size);
        text::fields(&[
            ("task", self.task.clone()),
            ("name", self.name.clone()),
            ("form", self.form.to_owned()),
            ("module", self.module.clone()),
            ("size", size(self.module_bytes)),
            ("memory", format!("{} at first, at most {most}", size(self.memory_min_bytes))),
            ("imports", self.imports.join(" ")),
            ("file", self.file.clone()),
        ])
    }
}

/// A form's word.
fn form(form: TaskForm) -> &'static str {
    match form {
        TaskForm::Stepped => "stepped",
        TaskForm::Command => "command",
    }
}

/// Runs the command.
pub fn run(args: BuildArgs, ui: &Ui) -> Outcome {
    let view = BuildView::new(&project(&args.path, ui)?);
    ui.data(|| view.text(), &view);
    Ok(Exit::Done)
}

/// Compiles the project in `dir`, checks admission, and leaves the module in `target/samebit/`.
///
/// # Errors
/// Exit 3 without a project, 4 when it does not compile, 22 when hosts would refuse it.
pub fn project(dir: &Path, ui: &Ui) -> Result<Built, Failure> {
    let package = Package::read(dir)?;
    has_target(dir)?;
    ui.note(format!("compiling {} for {TARGET}", package.name));
    let artifact = compile(dir, &package, ui)?;
    let bytes = read_file(&artifact, param::MODULE_BYTES_MAX)?;
    let inspection = inspect(&bytes).map_err(|refusal| {
        Failure::new(Exit::ModuleRefused, format!("no host would take {}: {}", package.name, line_of(&refusal))).help(
            "a task imports only wasi_snapshot_preview1 and exports what #[samebit::task] makes, or _start; \
             `samebit new` writes one that does",
        )
    })?;
    let file = package.target.join("samebit").join(format!("{}.wasm", package.name));
    keep(&file, &bytes).map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", file.display())))?;
    let Package { name, about, .. } = package;
    let manifest = TaskManifest {
        name,
        module: BlobRef::of(&bytes),
        form: inspection.form,
        about,
        tensor_ops: inspection.tensor_ops,
    };
    Ok(Built { file, bytes, manifest, inspection })
}

/// Whether `path` is a folder with a cargo project.
pub fn is_project(path: &Path) -> bool {
    path.join("Cargo.toml").is_file()
}

/// A refusal on one line, however the library that found it laid it out.
pub(super) fn line_of(refusal: &Refusal) -> String {
    refusal.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What cargo says of a project.
struct Package {
    /// Cargo's own id of it.
    id: String,
    name: String,
    about: String,
    /// Cargo's target folder.
    target: PathBuf,
    /// The workspace's root, or the project's.
    root: PathBuf,
}

impl Package {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let manifest = dir.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(Failure::new(Exit::NotFound, format!("no Cargo.toml in {}", dir.display()))
                .help("`samebit new NAME` writes a project; `samebit build DIR` takes another folder"));
        }
        let output = cargo(dir)
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path", "Cargo.toml"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| no_cargo(&error))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(
                Exit::Environment,
                format!("cargo cannot read {}: {}", manifest.display(), words.trim()),
            ));
        }
        let strange = || Failure::new(Exit::Environment, "cargo's metadata is not what this program understands");
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|_| strange())?;
        let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let wanted = manifest.canonicalize().map_err(|_| strange())?;
        let is_wanted = |package: &&Value| {
            let path = field(package, "manifest_path").map(PathBuf::from);
            path.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == wanted)
        };
        let packages = metadata.get("packages").and_then(Value::as_array).ok_or_else(strange)?;
        let Some(package) = packages.iter().find(is_wanted) else {
            return Err(Failure::new(Exit::NotFound, format!("{} describes no package", manifest.display()))
                .help("name the folder of one member of the workspace"));
        };
        let name = field(package, "name").ok_or_else(strange)?.to_lowercase();
        if !is_name(&name) {
            return Err(Failure::new(Exit::Usage, format!("{name:?} is no name for a task"))
                .help("rename the package: at most 63 of a-z 0-9 - _ beginning with a letter"));
        }
        Ok(Self {
            id: field(package, "id").ok_or_else(strange)?,
            name,
            about: one_line(&field(package, "description").unwrap_or_default()),
            target: field(&metadata, "target_directory").ok_or_else(strange)?.into(),
            root: field(&metadata, "workspace_root").ok_or_else(strange)?.into(),
        })
    }
}

/// Text as a manifest may have it: one line, shortened at a character.
fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|next| !next.is_control());
    while line.len() > param::ABOUT_MAX {
        line.pop();
    }
    line
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(dir);
    command
}

fn no_cargo(error: &io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("cargo cannot be started: {error}"))
        .help("tasks are compiled by Rust: https://rustup.rs installs it")
}

/// Looks for the target's standard library where the project's compiler keeps it.
fn has_target(dir: &Path) -> Result<(), Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc).current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(output) = output else {
        // Cargo will say what is wrong better than a guess could.
        return Ok(());
    };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && !folder.is_dir() {
        return Err(Failure::new(Exit::Environment, format!("the compiler has no target {TARGET}"))
            .help(format!("rustup target add {TARGET}")));
    }
    Ok(())
}

/// Runs cargo and returns the module that it made of `package`.
fn compile(dir: &Path, package: &Package, ui: &Ui) -> Result<PathBuf, Failure> {
    let mut command = cargo(dir);
    command
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .args(["--manifest-path", "Cargo.toml", "--config"])
        .arg(format!("target.{TARGET}.rustflags = [{}]", remap(package).join(", ")));
    if ui.quiet {
        command.arg("--quiet");
    }
    // Cargo's progress and the compiler's messages go to stderr as they come.
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| no_cargo(&error))?;
    if !output.status.success() {
        return Err(Failure::new(Exit::Environment, format!("{} does not compile", package.name))
            .help("the compiler's messages are above"));
    }
    artifact(&output.stdout, &package.id).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("cargo made no module of {}", package.name))
            .help("Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`, or a `src/main.rs`")
    })
}

/// The last module among cargo's messages that belongs to `package`.
fn artifact(messages: &[u8], package: &str) -> Option<PathBuf> {
    let is_ours = |message: &Value| {
        message.get("reason").and_then(Value::as_str) == Some("compiler-artifact")
            && message.get("package_id").and_then(Value::as_str) == Some(package)
    };
    let modules = |message: Value| -> Vec<PathBuf> {
        let files = message.get("filenames").and_then(Value::as_array).cloned().unwrap_or_default();
        let paths = files.iter().filter_map(Value::as_str).map(PathBuf::from);
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect()
    };
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(is_ours)
        .flat_map(modules)
        .next_back()
}

/// Flags that keep this machine's paths out of the module: they are nobody's business, and the same source would
/// be another task elsewhere.
fn remap(package: &Package) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = Vec::new();
    for (from, to) in [(home, "/cargo"), (Some(package.root.clone()), "/task")] {
        if let Some(from) = from.as_deref().and_then(Path::to_str) {
            // A JSON string is a TOML string too.
            flags.push(Value::from(format!("--remap-path-prefix={from}={to}")).to_string());
        }
    }
    flags
}

/// Writes the whole file or nothing.
fn keep(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.{}", std::process::id()));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, file));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_among_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","package_id":"other","filenames":["/t/other.wasm"]}
not json
{"reason":"compiler-artifact","package_id":"ours","filenames":["/t/libours.rlib","/t/ours.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(artifact(messages, "ours"), Some("/t/ours.wasm".into()));
        assert_eq!(artifact(messages, "nobody"), None);
        assert_eq!(artifact(b"\xff\n{}\n[]", "ours"), None);
    }

    #[test]
    fn a_description_is_one_line_of_bounded_length() {
        assert_eq!(one_line(" two\nlines "), "two lines");
        assert_eq!(one_line(&"é".repeat(300)).len(), param::ABOUT_MAX);
    }

    #[test]
    fn a_folder_without_a_project_is_not_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let failure = Package::read(dir.path()).err().expect("there is no project");
        assert_eq!(failure.exit, Exit::NotFound);
    }

    #[test]
    fn a_module_is_kept_whole_and_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("deep").join("x.wasm");
        for bytes in [b"one".as_slice(), b"two"] {
            keep(&file, bytes).expect("written");
            assert_eq!(fs::read(&file).expect("there"), bytes);
        }
        assert_eq!(fs::read_dir(file.parent().expect("a folder")).expect("listed").count(), 1);
    }
}
