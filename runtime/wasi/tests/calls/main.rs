//! Scripts of preview1 calls. `errnos.rs`: each errno that the spec names is given by a call. Here: this crate beside
//! the stock runner. The same calls, in the same order, give the same errnos, the same bytes and the same files, or the
//! difference stands in `spec/06-wasi.md`, section 10, with its reason.
//!
//! The stock runner is wasmtime with its own WASI on a temporary folder, from the Python package index, driven by
//! `peer.py`. Where it cannot be had, for want of Python or of a network, a test says so and ends.

mod differences;
mod errnos;
mod random;
mod script;

use differences::{Pair, explain};
use script::{Line, Ours};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The line that is linked into the runtime as well.
const VERSION: &str = "48.0.0";
/// Worlds of random calls: some fifteen seconds.
const RANDOM_WORLDS: u64 = 400;
const SPEC: &str = include_str!("../../../../spec/06-wasi.md");

fn python(args: &[&str], folder: &Path, path: Option<&Path>) -> Result<(), String> {
    let mut command = Command::new("python3");
    command.args(args).current_dir(folder).stdout(Stdio::null());
    if let Some(path) = path {
        command.env("PYTHONPATH", path);
    }
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The folder with the stock runner; `None`, with the reason told, where it cannot be had.
fn stock() -> Option<PathBuf> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wasmtime-{VERSION}"));
    if kept.join("wasmtime").is_dir() {
        return Some(kept);
    }
    let new = kept.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&new).expect("a folder below target");
    let wanted = format!("wasmtime=={VERSION}");
    let unpack = "import glob, zipfile; zipfile.ZipFile(glob.glob('*.whl')[0]).extractall('.')";
    let got = python(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", &wanted], &new, None)
        .and_then(|()| python(&["-c", unpack], &new, None))
        .and_then(|()| python(&["-c", "import wasmtime"], &new, Some(&new)));
    if let Err(reason) = got {
        eprintln!("LEFT OUT: {wanted} cannot be had: {}", reason.trim());
        return None;
    }
    // Another test may have been first.
    let _ = fs::rename(&new, &kept);
    kept.join("wasmtime").is_dir().then_some(kept)
}

/// What the stock runner answers to each line.
fn answers(stock: &Path, name: &str, lines: &[Line]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder below target");
    let script: String = lines.iter().map(|line| line.to_text() + "\n").collect();
    fs::write(folder.join("script"), script).expect("the script is written");
    fs::write(folder.join("guest.wat"), script::guest()).expect("the guest is written");
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/calls/peer.py");
    python(&[peer, "script", "answers", "worlds", "guest.wat"], &folder, Some(stock)).expect("the stock runner runs");
    let answers = fs::read_to_string(folder.join("answers")).expect("there are answers");
    fs::remove_dir_all(&folder).expect("the folder is ours");
    answers.lines().map(str::to_owned).collect()
}

/// Compares line by line. After a difference that leaves other files or descriptors behind, the rest of that world is
/// not looked at. Returns the differences that were met, by name, and those that the spec does not know.
fn compare(lines: &[Line], stock: &[String]) -> (BTreeSet<&'static str>, Vec<String>) {
    assert_eq!(lines.len(), stock.len(), "an answer to each line");
    let (mut ours, mut apart, mut placed) = (Ours::new(), false, false);
    let (mut met, mut unknown, mut before) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (line, theirs) in lines.iter().zip(stock) {
        if *line == Line::World {
            (apart, placed, before) = (false, false, Vec::new());
        }
        placed |= matches!(line, Line::Call("fd_pwrite", words) if ours.appends(words));
        let lacks = ours.lacks(line);
        let answer = ours.answer(line);
        if apart {
            continue;
        }
        before.push(line);
        let pair = Pair::new(line, &answer, theirs, placed, lacks);
        if pair.same() {
            continue;
        }
        match explain(&pair) {
            Some(name) => {
                met.insert(name);
            }
            None => {
                let way: String = before.iter().map(|line| format!("  {}\n", line.to_text())).collect();
                unknown.push(format!("{way}  ours  {answer}\n  stock {theirs}"));
            }
        }
        apart = pair.parts_the_worlds();
    }
    (met, unknown)
}

#[test]
fn what_the_cases_do_is_what_the_stock_runner_does_or_a_difference_that_the_spec_names() {
    let Some(stock) = stock() else { return };
    let cases = script::cases(include_str!("cases.txt"));
    let lines: Vec<Line> = cases.iter().flat_map(|(_, lines)| lines.clone()).collect();
    let (met, unknown) = compare(&lines, &answers(&stock, "cases", &lines));
    assert!(unknown.is_empty(), "{} differences without a reason:\n{}", unknown.len(), unknown.join("\n\n"));
    // A difference that no case shows any more has no place in the spec.
    let named: BTreeSet<&str> = differences::names().collect();
    assert_eq!(met, named, "every named difference is shown by a case");
}

#[test]
fn random_calls_do_what_the_stock_runner_does_or_differ_as_the_spec_says() {
    let Some(stock) = stock() else { return };
    let lines: Vec<Line> = (0..RANDOM_WORLDS).flat_map(random::world).collect();
    let (_, unknown) = compare(&lines, &answers(&stock, "random", &lines));
    let shown: Vec<String> = unknown.iter().take(50).cloned().collect();
    assert!(unknown.is_empty(), "{} differences without a reason, such as:\n{}", unknown.len(), shown.join("\n\n"));
}

#[test]
fn what_the_official_programs_look_at_is_looked_at_by_cases() {
    let cases = script::cases(include_str!("cases.txt"));
    let mut names: Vec<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
    // The longest first: one name may be a part of another.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let section = SPEC.split("## 6.11").nth(1).expect("section 11 is there");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let listed = row.trim_end_matches('|').rsplit('|').next().expect("two columns").trim();
        // A case's name may hold a comma.
        let mut left = listed.to_owned();
        for name in names.iter().filter(|name| listed.contains(**name)) {
            left = left.replace(name, "");
        }
        assert!(left.chars().all(|letter| ", ".contains(letter)), "no case is named {left:?}: {row}");
    }
}

#[test]
fn each_difference_stands_in_the_spec_and_each_that_stands_there_is_tested() {
    let section =
        SPEC.split("## 6.10").nth(1).and_then(|rest| rest.split("## 6.11").next()).expect("section 10 is there");
    let written: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    assert_eq!(written, differences::names().collect());
}
