//! `samebit new`: writes a task's project that builds and passes its own tests.
//!
//! The SDK is in this program and is copied into the project's `vendor/`, so that a project needs nothing of ours
//! from a registry and stays as it is when this program changes.

use crate::{
    exit::Exit,
    report::{Failure, Outcome, Ui},
};
use include_dir::{Dir, include_dir};
use samebit_spec::param;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/templates");
static SDK: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/src");
static MACROS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/macros/src");
static TENSOR_SPEC: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../spec/src/tensor");
static TENSOR: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../runtime/tensor/src");
const ABI: &str = include_str!("../../../spec/src/abi.rs");
/// Which versions of the libraries below the SDK this program was built and tested with.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Names that cargo or the language keeps, or that the project's own dependencies have.
const TAKEN: [&str; 70] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "samebit",
    "samebit-sdk",
    "samebit-sdk-macros",
    "samebit-spec",
    "samebit-tensor",
    "self",
    "serde",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "syn",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "nul",
    "con",
];

/// Write a new task's project: it builds, and passes its own tests.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit new hello
  samebit new primes --template stepped
  samebit new hello --sdk ../samebit/sdk      takes the SDK from a folder instead of copying it")]
pub struct NewArgs {
    /// The project's name, and its folder's: a-z 0-9 - _ beginning with a letter.
    name: String,
    /// What it begins with.
    #[arg(short, long, value_enum, default_value = "hello")]
    template: Template,
    /// Take the SDK from this folder instead of copying it into vendor/.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// What a project begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Template {
    /// One function, typed input and output.
    Hello,
    /// A struct that works in steps.
    Stepped,
}

impl Template {
    const fn folder(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Stepped => "stepped",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Hello => "Greets by name",
            Self::Stepped => "Counts the primes below a limit",
        }
    }
}

/// Why no project was written. Nothing is left over.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error("{name:?} is no name for a project: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("{} is there and is no empty folder", path.display())]
    Exists { path: PathBuf },
    #[error("no SDK in {}: it has no Cargo.toml", path.display())]
    NoSdk { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl NewError {
    fn failure(self) -> Failure {
        let what = self.to_string();
        match self {
            Self::Name { .. } => {
                Failure::new(Exit::Usage, what).help("for example `samebit new hello` or `samebit new my-task`")
            }
            Self::Exists { .. } => {
                Failure::new(Exit::Environment, what).help("choose another name: nothing is overwritten")
            }
            Self::NoSdk { .. } => Failure::new(Exit::NotFound, what).help("leave `--sdk` out to copy the SDK in"),
            Self::Io { .. } => Failure::new(Exit::Environment, what),
        }
    }
}

/// A new project: `samebit/new/1`.
#[derive(Serialize)]
struct NewView {
    schema: &'static str,
    name: String,
    path: String,
    files: usize,
}

/// Runs the command.
pub fn run(args: NewArgs, ui: &Ui) -> Outcome {
    let files = project(&args.name, args.template, args.sdk.as_deref())
        .and_then(|files| write(Path::new(&args.name), &files).map(|()| files.len()))
        .map_err(NewError::failure)?;
    let view = NewView { schema: "samebit/new/1", path: args.name.clone(), name: args.name, files };
    ui.data(|| format!("wrote {}/, {} files", view.path, view.files), &view);
    ui.note(format!("next: cd {} && samebit test", view.path));
    Ok(Exit::Done)
}

/// Every file of a new project by path.
fn project(name: &str, template: Template, sdk: Option<&Path>) -> Result<Vec<(String, String)>, NewError> {
    check_name(name)?;
    let mut files = Vec::new();
    let sdk = match sdk {
        Some(path) => {
            let source = |source| NewError::Io { path: path.to_path_buf(), source };
            let path = std::path::absolute(path).map_err(source)?;
            if !path.join("Cargo.toml").is_file() {
                return Err(NewError::NoSdk { path });
            }
            path.display().to_string()
        }
        None => {
            vendor(&mut files);
            "vendor/samebit-sdk".to_owned()
        }
    };
    files.push(("Cargo.lock".to_owned(), lock(name)));
    let values = [
        ("{{name}}", name.to_owned()),
        ("{{function}}", name.replace('-', "_")),
        ("{{about}}", template.about().to_owned()),
        // Within quotes of TOML, as JSON writes it.
        ("{{sdk}}", serde_json::Value::from(sdk).to_string().trim_matches('"').to_owned()),
    ];
    for folder in ["common", template.folder()] {
        for (path, text) in texts(TEMPLATES.get_dir(folder), folder) {
            let path = match path.strip_suffix(".in").unwrap_or(&path) {
                "gitignore" => ".gitignore".to_owned(),
                path => path.to_owned(),
            };
            files.push((path, values.iter().fold(text, |text, (key, value)| text.replace(key, value))));
        }
    }
    Ok(files)
}

/// The SDK as crates that stand alone.
fn vendor(files: &mut Vec<(String, String)>) {
    let manifest = |name: &str| vendored(name).expect("the templates are in this program");
    for (name, sources) in [("samebit-sdk", &SDK), ("samebit-sdk-macros", &MACROS), ("samebit-tensor", &TENSOR)] {
        files.push((format!("vendor/{name}/Cargo.toml"), manifest(name)));
        for (path, text) in texts(Some(sources), "") {
            files.push((format!("vendor/{name}/src/{path}"), text));
        }
    }
    files.push(("vendor/samebit-spec/Cargo.toml".to_owned(), manifest("samebit-spec")));
    let spec = TEMPLATES.get_file("vendor/samebit-spec.rs.in").and_then(|file| file.contents_utf8());
    let spec = spec.expect("the templates are in this program");
    files.push(("vendor/samebit-spec/src/lib.rs".to_owned(), spec.to_owned()));
    files.push(("vendor/samebit-spec/src/abi.rs".to_owned(), ABI.to_owned()));
    for (path, text) in texts(Some(&TENSOR_SPEC), "") {
        files.push((format!("vendor/samebit-spec/src/tensor/{path}"), text));
    }
}

/// What libraries need only with features that this program asks for and a task does not.
const UNASKED: [(&str, &[&str]); 4] = [
    ("borsh", &["bytes"]),
    ("hashbrown", &["foldhash", "serde", "serde_core"]),
    ("indexmap", &["serde", "serde_core"]),
    ("once_cell", &["critical-section", "portable-atomic"]),
];

/// The manifest of a crate that is copied.
fn vendored(name: &str) -> Option<String> {
    let text = TEMPLATES.get_file(format!("vendor/{name}.toml.in"))?.contents_utf8()?;
    Some(text.replace("{{version}}", env!("CARGO_PKG_VERSION")))
}

/// The part of this program's own lock file that a project needs, so that the same sources make the same module,
/// and so the same task id, wherever and whenever they are built.
fn lock(name: &str) -> String {
    let field = |block: &str, field: &str| -> Option<String> {
        let line = block.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    // Of a dependency that occurs in several versions, the lock says which.
    let needs = |block: &str| -> Vec<String> {
        let lines = block.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        lines.map(str::to_owned).collect()
    };
    let blocks: Vec<&str> = LOCK.split("\n[[package]]\n").skip(1).map(str::trim_end).collect();
    let mut kept: BTreeMap<(String, String), String> = BTreeMap::new();
    let own = format!("name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"samebit-sdk\",\n \"serde\",\n]");
    kept.insert((name.to_owned(), "0.1.0".to_owned()), own.clone());
    let mut wanted = needs(&own);
    while let Some(want) = wanted.pop() {
        let mut parts = want.split(' ');
        let (want, version) = (parts.next().unwrap_or_default(), parts.next());
        for block in &blocks {
            let (Some(own), Some(own_version)) = (field(block, "name"), field(block, "version")) else { continue };
            if own != want || version.is_some_and(|version| version != own_version) {
                continue;
            }
            // The copies have fewer needs than our own crates: no tests, and of the specification the ABI only.
            let block = match vendored(&own) {
                Some(manifest) => {
                    narrowed(block, |need| manifest.lines().any(|line| line.split(' ').next() == Some(need)))
                }
                None => {
                    let unasked = UNASKED.iter().find(|(name, _)| *name == own).map_or(&[][..], |(_, needs)| needs);
                    narrowed(block, |need| !unasked.contains(&need))
                }
            };
            if kept.insert((own, own_version), block.clone()).is_none() {
                wanted.extend(needs(&block));
            }
        }
    }
    // A version stands beside a name only where there are several.
    let versions = |name: &str| kept.keys().filter(|(kept, _)| kept == name).count();
    let plain = |line: &str| match line.strip_prefix(" \"").and_then(|need| need.split_once(' ')) {
        Some((name, _)) if versions(name) == 1 => format!(" \"{name}\","),
        _ => line.to_owned(),
    };
    let block = |block: &String| block.lines().map(plain).collect::<Vec<_>>().join("\n");
    let blocks: Vec<String> = kept.values().map(|kept| format!("[[package]]\n{}\n", block(kept))).collect();
    format!(
        "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = 4\n\n{}",
        blocks.join("\n")
    )
}

/// A block of the lock file with only those dependencies that `has` says yes to.
fn narrowed(block: &str, has: impl Fn(&str) -> bool) -> String {
    let name = |line: &str| line.trim_start_matches(" \"").split(['"', ' ']).next().unwrap_or_default().to_owned();
    let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with(" \"") || has(&name(line))).collect();
    lines.join("\n").replace("\ndependencies = [\n]", "")
}

/// Every text below a folder of this program, by path relative to `prefix`.
fn texts(folder: Option<&Dir<'_>>, prefix: &str) -> Vec<(String, String)> {
    let folder = folder.expect("the templates are in this program");
    let mut found: Vec<(String, String)> = folder
        .files()
        .map(|file| {
            let path = file.path().strip_prefix(prefix).unwrap_or(file.path()).display().to_string();
            (path, file.contents_utf8().expect("our own templates are text").to_owned())
        })
        .collect();
    for below in folder.dirs() {
        found.extend(texts(Some(below), prefix));
    }
    found
}

/// Cargo's rules for a package's name, ours for a task's, and what a Rust function may be called.
fn check_name(name: &str) -> Result<(), NewError> {
    let refuse = |reason| Err(NewError::Name { name: name.to_owned(), reason });
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > param::NAME_MAX {
        return refuse("it is longer than 63 bytes");
    }
    if !name.bytes().all(plain) {
        return refuse("only a-z 0-9 - _ are allowed");
    }
    if !name.as_bytes()[0].is_ascii_lowercase() {
        return refuse("it begins with a letter");
    }
    if TAKEN.contains(&name) || TAKEN.contains(&name.replace('-', "_").as_str()) {
        return refuse("Rust, cargo or the SDK has taken it");
    }
    Ok(())
}

/// Writes all files or none: into a folder beside `to`, which then gets its name.
fn write(to: &Path, files: &[(String, String)]) -> Result<(), NewError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| NewError::Io { path, source }
    };
    let to = std::path::absolute(to).map_err(failed(to))?;
    let is_free = match fs::read_dir(&to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(NewError::Exists { path: to });
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let partial = to.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::create_dir(&partial).map_err(failed(&partial))?;
    let written = files
        .iter()
        .try_for_each(|(path, text)| {
            let at = partial.join(path);
            fs::create_dir_all(at.parent().unwrap_or(&partial)).and_then(|()| fs::write(&at, text)).map_err(failed(&at))
        })
        .and_then(|()| fs::rename(&partial, &to).map_err(failed(&to)));
    if written.is_err() {
        // Ours alone: nobody else makes this name.
        let _ = fs::remove_dir_all(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_would_refuse_are_refused_first() {
        for name in ["hello", "my-task", "a1_b"] {
            check_name(name).unwrap_or_else(|error| panic!("{error}"));
        }
        let long = "a".repeat(64);
        let refused = [
            "",
            "Hello",
            "1st",
            "-x",
            "_x",
            "a b",
            "a/b",
            "../x",
            ".",
            "é",
            "fn",
            "test",
            "serde",
            "proc-macro",
            &long,
        ];
        for name in refused {
            let error = check_name(name).expect_err(name);
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn a_project_is_written_whole_and_no_placeholder_is_left() {
        for template in [Template::Hello, Template::Stepped] {
            let files = project("my-task", template, None).expect("a project");
            let dir = tempfile::tempdir().expect("a folder");
            write(&dir.path().join("my-task"), &files).expect("written");
            for path in
                ["Cargo.toml", ".gitignore", "src/lib.rs", "rust-toolchain.toml", "vendor/samebit-spec/src/abi.rs"]
            {
                assert!(dir.path().join("my-task").join(path).is_file(), "{path}");
            }
            for (path, text) in &files {
                assert!(!text.contains("{{") || path.starts_with("vendor/"), "{path}:\n{text}");
                assert!(!path.ends_with(".in") && !text.contains(".workspace = true"), "{path}");
            }
            assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left over");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = dir.path().join("mine");
        fs::create_dir(&at).expect("made");
        fs::write(at.join("notes"), "keep").expect("written");
        let error = write(&at, &project("mine", Template::Hello, None).expect("a project")).expect_err("refused");
        assert!(matches!(error, NewError::Exists { .. }));
        assert_eq!(fs::read(at.join("notes")).expect("still there"), b"keep");
        assert_eq!(fs::read_dir(&at).expect("listed").count(), 1);
    }

    #[test]
    fn an_sdk_that_is_not_there_is_named() {
        let error = project("x", Template::Hello, Some(Path::new("/nowhere/at/all"))).expect_err("refused");
        assert!(error.to_string().contains("/nowhere/at/all"));
    }

    #[test]
    fn the_lock_file_is_whole() {
        let lock = lock("my-task");
        let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
        for name in ["my-task", "samebit-sdk", "samebit-sdk-macros", "samebit-spec", "serde", "serde_json", "syn"] {
            assert!(names.contains(&format!("\"{name}\"").as_str()), "{name} is missing:\n{lock}");
        }
        for needed in lock.lines().filter_map(|line| line.strip_prefix(" \"")) {
            let name = needed.trim_end_matches("\",").split(' ').next().unwrap_or_default();
            assert!(names.contains(&format!("\"{name}\"").as_str()), "{name} is needed and missing:\n{lock}");
        }
        for name in ["blake3", "tempfile", "bytes", "foldhash"] {
            assert!(!names.contains(&format!("\"{name}\"").as_str()), "a task does not need {name}");
        }
    }

    /// The crates that are copied take the same libraries as those they are copied from.
    #[test]
    fn the_copied_crates_name_every_library_that_their_sources_use() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let crates =
            [("sdk", "samebit-sdk"), ("sdk/macros", "samebit-sdk-macros"), ("runtime/tensor", "samebit-tensor")];
        for (manifest, copy) in crates {
            let own = fs::read_to_string(root.join(manifest).join("Cargo.toml")).expect("readable");
            let files = project("x", Template::Hello, None).expect("a project");
            let path = format!("vendor/{copy}/Cargo.toml");
            let copied = &files.iter().find(|(at, _)| *at == path).expect("copied").1;
            let names = |text: &str| -> Vec<String> {
                let lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
                let lines = lines.take_while(|line| !line.starts_with('['));
                let mut names: Vec<String> =
                    lines.filter_map(|line| Some(line.split(['.', ' ']).next()?.to_owned())).collect();
                names.retain(|name| !name.is_empty());
                names.sort();
                names
            };
            assert_eq!(names(copied), names(&own), "{copy}");
        }
    }
}
