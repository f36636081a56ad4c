//! `cargo xtask bench bombs`: what adversarial and enormous modules cost before they are refused, and what those that
//! are admitted cost both engines.
//!
//! Each module has a process of its own, so that its peak of memory is its own. Time is the thread's processor time:
//! rewriting has one thread, and compilation is told to. Outcomes are asserted by this module's tests, time and memory
//! are only stated. Limits: `spec/src/param.rs`.

mod modules;

use crate::{
    clock::timed,
    engine::{self, Cache, Switches},
};
use modules::{BOMBS, Wanted};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const USAGE: &str = "usage: samebit-bench bombs [--only WORDS | --module FILE] [-o json]";

/// How long a module may take, by the clock on the wall.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures all modules, or those in whose names some words are.
pub(crate) fn measure(args: &[String]) -> Result<(), String> {
    let (mut only, mut json) = (String::new(), false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--one", Some(name)) => return one(name),
            ("--module", Some(path)) => return file(path),
            ("--only", Some(words)) => only.clone_from(words),
            ("-o", Some(format)) => json = format == "json",
            // Says which profile built this program; the table does not.
            ("--profile", Some(_)) => {}
            _ => return Err(USAGE.into()),
        }
    }
    if !json {
        println!(
            "{:66} {:>9} {:>9} {:>8} {:>9} {:>9} {:>8} {:>9} {:>8}",
            "module", "kB", "rewrite", "MB more", "kB then", "wasmtime", "MB more", "wasmi", "MB more"
        );
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for bomb in BOMBS.iter().filter(|bomb| bomb.name.contains(&only)) {
        let figure = match child(&program, bomb.name) {
            Ok(figure) => figure,
            Err(what) => {
                eprintln!("{}: {what}", bomb.name);
                failed.push(bomb.name);
                continue;
            }
        };
        if !json {
            row(bomb.name, &figure);
        }
        figures.push(figure);
    }
    let folder = crate::options::target().join("bench");
    let lines: String = figures.iter().map(|figure| format!("{figure}\n")).collect();
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("bombs.jsonl"), lines))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    if json {
        println!("{}", Value::Array(figures));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// Measures one module in a process of its own, which is ended when it takes too long.
fn child(program: &Path, name: &str) -> Result<Value, String> {
    let said = |error: std::io::Error| format!("{}: {error}", program.display());
    let mut child = Command::new(program)
        .args(["bombs", "--one", name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(said)?;
    let begun = Instant::now();
    while child.try_wait().map_err(said)?.is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().map_err(said)?;
            child.wait().map_err(said)?;
            return Err(format!("not done after {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(said)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn row(name: &str, figure: &Value) {
    let number = |key: &str, unit: &str| match figure[key].as_f64() {
        Some(number) => format!("{number:.0}{unit}"),
        None => "-".into(),
    };
    println!(
        "{name:66} {:>9} {:>9} {:>8} {:>9} {:>9} {:>8} {:>9} {:>8}",
        number("kb", ""),
        number("rewrite_ms", " ms"),
        number("rewrite_mb", ""),
        number("rewritten_kb", ""),
        number("wasmtime_ms", " ms"),
        number("wasmtime_mb", ""),
        number("wasmi_ms", " ms"),
        number("wasmi_mb", ""),
    );
    if let Some(refusal) = figure["refusal"].as_str() {
        println!("    {refusal}");
    }
}

/// Measures one module in this process, and prints its figures.
fn one(name: &str) -> Result<(), String> {
    let bomb = BOMBS.iter().find(|bomb| bomb.name == name).ok_or_else(|| format!("no module {name:?}"))?;
    let figure = figure(name, (bomb.make)())?;
    match (bomb.wanted, figure["refusal"].as_str()) {
        (Wanted::Admitted, Some(refusal)) => return Err(format!("refused: {refusal}")),
        (Wanted::Refused(words), None) => return Err(format!("admitted, where {words:?} is wanted")),
        (Wanted::Refused(words), Some(refusal)) if !refusal.contains(words) => {
            return Err(format!("refused, but not for {words:?}: {refusal}"));
        }
        _ => println!("{figure}"),
    }
    Ok(())
}

/// Measures a module of one's own.
fn file(path: &str) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    println!("{}", figure(path, bytes)?);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "lengths of modules are far below 2^52")]
fn figure(name: &str, bytes: Vec<u8>) -> Result<Value, String> {
    let (prepared, ms, mb) = measured(|| samebit_rewrite::prepare(&bytes))?;
    let mut figure = json!({ "case": name, "kb": bytes.len() as f64 / 1e3, "rewrite_ms": ms, "rewrite_mb": mb });
    drop(bytes);
    match prepared {
        Ok(executable) => {
            figure["rewritten_kb"] = json!(executable.bytes.len() as f64 / 1e3);
            let engine = engine::engine(Switches::default())?;
            let (code, ms, mb) = measured(|| engine::compile(&engine, &executable.bytes, &Cache::Off))?;
            (figure["wasmtime_ms"], figure["wasmtime_mb"]) = (json!(ms), json!(mb));
            drop(code?);
            let (code, ms, mb) = measured(|| engine::translate(&executable.bytes))?;
            (figure["wasmi_ms"], figure["wasmi_mb"]) = (json!(ms), json!(mb));
            drop(code?);
        }
        Err(refusal) => figure["refusal"] = json!(refusal.to_string()),
    }
    Ok(figure)
}

/// What `work` gives, the milliseconds that it takes, and the megabytes by which the process grows meanwhile at most.
fn measured<T>(work: impl FnOnce() -> T) -> Result<(T, f64, f64), String> {
    // The peak is counted anew from here on.
    fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("/proc/self/clear_refs: {error}"))?;
    let before = status("VmRSS:")?;
    let (done, ms) = timed(work);
    Ok((done, ms, (status("VmHWM:")? - before).max(0.0)))
}

/// A figure of this process, in megabytes.
fn status(name: &str) -> Result<f64, String> {
    let text = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes: Option<f64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.map(|kilobytes| kilobytes / 1e3).ok_or_else(|| format!("no {name} in /proc/self/status"))
}

#[cfg(test)]
mod tests {
    use super::modules::{BOMBS, Wanted};

    /// In time and memory that no test states: `cargo xtask bench bombs` does, and compiles what is admitted.
    #[test]
    fn what_is_too_much_is_refused_for_that_and_what_is_within_the_limits_is_admitted() {
        for bomb in BOMBS {
            match (samebit_rewrite::prepare(&(bomb.make)()), bomb.wanted) {
                (Ok(_), Wanted::Admitted) => {}
                (Err(refusal), Wanted::Refused(words)) => {
                    assert!(refusal.to_string().contains(words), "{}: {refusal}, where {words:?} is wanted", bomb.name);
                }
                (Ok(_), Wanted::Refused(words)) => panic!("{}: admitted, where {words:?} is wanted", bomb.name),
                (Err(refusal), Wanted::Admitted) => panic!("{}: {refusal}", bomb.name),
            }
        }
    }
}
