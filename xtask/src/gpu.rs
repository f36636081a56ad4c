//! `cargo xtask gate` and `cargo xtask bench gpu`: what this machine's adapters compute.
//!
//! Both are `samebit-gpu` (`runtime/gpu/src/bin`), one file that needs nothing beside it: built here, it can be carried to a
//! machine without network and run there with the same words.

use crate::{
    children::stdout_of,
    shell::{Step, cargo, command, say, target},
};
use std::fs;

const PACKAGE: [&str; 5] = ["--locked", "--package", "samebit-gpu", "--bin", "samebit-gpu"];

/// Sends every adapter through the conformance gate.
pub(crate) fn gate(rest: &[String]) -> Step {
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    say("the conformance gate of every adapter");
    let args = if rest.contains(&"--help") { vec!["--", "help"] } else { [&["--", "gate"], &rest[..]].concat() };
    cargo(&[&["run", "--quiet"], &PACKAGE[..], &args].concat())
}

/// Measures every adapter and the CPU, and writes `target/bench/gpu.jsonl`.
pub(crate) fn bench(rest: &[String]) -> Step {
    say("building samebit-gpu with every optimisation");
    cargo(&[&["build", "--quiet", "--profile", "optimised"], &PACKAGE[..]].concat())?;
    let program = target().join("optimised/samebit-gpu");
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let as_json = rest.windows(2).any(|pair| pair == ["-o", "json"]);
    say(&format!("{}: carried to another machine, it measures there", program.display()));
    let mut measure = command(&program.display().to_string());
    measure.arg("bench").args(&rest);
    if !as_json {
        measure.args(["-o", "json"]);
    }
    let figures = stdout_of(&mut measure)?;
    print!("{figures}");
    let folder = target().join("bench");
    let path = folder.join("gpu.jsonl");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, figures))
        .map_err(|error| format!("{}: {error}", path.display()))
}
