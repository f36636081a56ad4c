//! Real input: the sources of the crates that cargo has just fetched for this very build.

use crate::children::stdout_of;
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Sources of a crate below or above these sizes make a dull or a slow unit.
const BYTES_LEAST: u64 = 20 << 10;
const BYTES_MOST: u64 = 1 << 20;
const FILES_MOST: usize = 400;

/// A crate of the registry with its unpacked sources.
pub(crate) struct Package {
    name: String,
    folder: PathBuf,
}

/// What cargo knows of this workspace on this platform.
pub(crate) fn metadata(root: &Path) -> Result<Value, String> {
    let version = stdout_of(Command::new("rustc").current_dir(root).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
    let text = stdout_of(crate::shell::command("cargo").args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]))?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

/// The registry's crates in it, by name.
pub(crate) fn packages(metadata: &Value) -> Vec<Package> {
    let mut all: Vec<_> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["source"].as_str().is_some_and(|source| source.starts_with("registry+")))
        .filter_map(|package| {
            let name = format!("{}-{}", package["name"].as_str()?, package["version"].as_str()?);
            let folder = Path::new(package["manifest_path"].as_str()?).parent()?.to_owned();
            Some(Package { name, folder })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Copies `count` crates of moderate size, spread evenly over the alphabet, and returns their names in order.
pub(crate) fn copy(packages: &[Package], into: &Path, count: usize) -> Result<Vec<String>, String> {
    let moderate: Vec<_> = packages.iter().filter(|package| is_moderate(&package.folder)).collect();
    let count = count.min(moderate.len());
    let mut taken = Vec::with_capacity(count);
    for at in 0..count {
        let package = moderate[at * moderate.len() / count];
        copy_tree(&package.folder, &into.join(&package.name))
            .map_err(|error| format!("copying {}: {error}", package.folder.display()))?;
        taken.push(package.name.clone());
    }
    // Units are numbered in the order of their folders' names, by bytes.
    taken.sort();
    Ok(taken)
}

fn is_moderate(folder: &Path) -> bool {
    let mut sum = (0, 0);
    measure(folder, &mut sum).is_ok() && (BYTES_LEAST..=BYTES_MOST).contains(&sum.0) && sum.1 <= FILES_MOST
}

fn measure(folder: &Path, sum: &mut (u64, usize)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            measure(&entry.path(), sum)?;
        } else if kind.is_file() {
            sum.0 += entry.metadata()?.len();
            sum.1 += 1;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() && entry.file_name() != ".cargo-ok" {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The first file below `folder` whose name ends so, folders in order of name.
pub(crate) fn find_ending(folder: &Path, ending: &str) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() {
            return find_ending(&path, ending);
        }
        path.extension().is_some_and(|found| found == ending).then_some(path)
    })
}
