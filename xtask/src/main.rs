//! The workspace's own commands: `cargo xtask demo`, `test`, `lint`, `vectors`, `bench`.
//!
//! Each does its own set-up on a machine that has only Rust, says what it does before it does it, and ends
//! with the exit code of what failed.

mod aarch64;
mod bench;
mod bench_guests;
mod children;
mod demo;
mod fuzz;
mod gpu;
mod models;
mod oracles;
mod shell;
mod sim;

use shell::{Step, cargo, has_cargo_command, root, say};
use std::{path::PathBuf, process::ExitCode};

const HELP: &str = "\
cargo xtask COMMAND

  demo               build, start a devnet of 1 validator and 5 hosts (one lies), run real jobs, settle, audit
  test [FILTER]      set up and run every test
  lint               formatting, clippy without warnings, licences and sources of dependencies
  vectors            write spec/vectors/ anew after a deliberate change of the protocol
  aarch64            run the recorded programs on that processor, emulated: the same receipts
  models             fetch the weights that examples compute with, and hold them against their hashes
  oracles            random modules and NaNs once more, with wasmi's own canonical NaNs and a third engine
  programs           run other people's programs, yosys among them, which takes minutes to compile the first time
  gate [OPTIONS]     send every adapter of this machine through the conformance gate; `gate --help` lists its options
  bench AREA         measure; AREA: market, tax, fuel, bombs, state, files, tensor, gpu. Writes target/bench/AREA.jsonl
  sim COMMAND        scripted worlds of named adversaries, what assurance costs; `sim help` lists the commands
  fuzz [TARGET]      random modules, original and rewritten, on both engines; TARGET: rewrite, differential, fuel,
                     stack, nan, state, wasi, tensor. --seconds N or --runs N; a failure is kept and replayed by `test`

Examples:
  cargo xtask demo
  cargo xtask test
  cargo xtask test lazy_copier
  cargo xtask bench market
  cargo xtask bench tax -o json
  cargo xtask gate -o json
  cargo xtask bench gpu --side 1024
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = args.split_first().map_or(("help", &[][..]), |(first, rest)| (first.as_str(), rest));
    if let Err(what) = children::take_down_on_interrupt() {
        eprintln!("error: {what}");
        return ExitCode::FAILURE;
    }
    let done = match command {
        "demo" => demo::run(rest),
        "test" => test(rest),
        "lint" => lint(),
        "vectors" => vectors(),
        "aarch64" => aarch64::run(rest),
        "gate" => gpu::gate(rest),
        "bench" => bench::run(rest),
        "fuzz" => fuzz::run(rest),
        "oracles" => oracles::run(rest),
        "programs" => programs(),
        "sim" => sim::run(rest),
        "models" => models::fetch(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("no command {other:?}\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Runs other people's programs as a user would, those included that are too large for `test`.
fn programs() -> Step {
    set_up()?;
    say("building the program");
    cargo(&["build", "--locked", "--package", "samebit"])?;
    let test = ["test", "--locked", "--package", "samebit-tests", "--test", "programs", "--", "--nocapture"];
    shell::run_with("cargo", &test, &[("SAMEBIT_PROGRAMS", "all")])
}

/// The example tasks, in the order in which they are built.
pub(crate) const EXAMPLES: [&str; 4] = ["hello", "mandelbrot", "census", "census-table"];

/// Those that compute with tensors. They are built by themselves: cargo gives crates that are built together the
/// features of all of them, and a task's bytes are not to depend on its neighbours.
const TENSOR_EXAMPLES: [&str; 3] = ["embed", "speech", "train"];

/// Adds the Wasm target where it is missing.
pub(crate) fn set_up() -> Step {
    let missing = !shell::quiet("rustc", &["--print", "target-libdir", "--target", "wasm32-wasip1"])
        .is_some_and(|folder| PathBuf::from(folder.trim()).is_dir());
    if missing {
        say("adding the target wasm32-wasip1");
        shell::run("rustup", &["target", "add", "wasm32-wasip1"])?;
    }
    Ok(())
}

/// Builds the program and the example tasks.
pub(crate) fn build() -> Step {
    say("building samebit");
    cargo(&["build", "--locked", "--package", "samebit"])?;
    say("building the example tasks for wasm32-wasip1");
    for together in [&EXAMPLES[..], &TENSOR_EXAMPLES] {
        let mut args = vec!["build", "--locked", "--lib", "--profile", "wasm", "--target", "wasm32-wasip1"];
        args.extend(together.iter().flat_map(|example| ["--package", example]));
        cargo(&args)?;
    }
    Ok(())
}

fn test(filter: &[String]) -> Step {
    set_up()?;
    build()?;
    models::fetch()?;
    let filter: Vec<&str> = filter.iter().map(String::as_str).collect();
    if filter.is_empty() {
        say("running the documentation's examples");
        cargo(&["test", "--locked", "--workspace", "--doc", "--quiet"])?;
    }
    if has_cargo_command("nextest") {
        say("running the tests with cargo-nextest");
        return cargo(&[&["nextest", "run", "--locked", "--workspace"], &filter[..]].concat());
    }
    say("running the tests with cargo test (cargo-nextest is not installed)");
    cargo(&[&["test", "--locked", "--workspace", "--all-targets", "--no-fail-fast"], &filter[..]].concat())
}

fn lint() -> Step {
    say("checking the formatting");
    cargo(&["fmt", "--all", "--check"])?;
    say("checking with clippy");
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    if has_cargo_command("deny") {
        say("checking licences, bans and sources of dependencies");
        return cargo(&["deny", "check", "bans", "licenses", "sources"]);
    }
    if std::env::var_os("CI").is_some() {
        return Err("cargo-deny is not installed; `.ci/run` installs it".into());
    }
    say("LEFT OUT: deny.toml is not checked, cargo-deny is not installed: `cargo install --locked cargo-deny`");
    Ok(())
}

fn vectors() -> Step {
    say("writing spec/vectors/ anew");
    shell::run_with(
        "cargo",
        &["test", "--quiet", "--package", "samebit-spec", "--features", "types", "--test", "vectors", "every_hashed"],
        &[("SAMEBIT_WRITE_VECTORS", "1")],
    )?;
    shell::run_with(
        "cargo",
        &["test", "--quiet", "--package", "samebit-tensor", "--test", "vectors"],
        &[("SAMEBIT_WRITE_VECTORS", "1")],
    )?;
    shell::run("git", &["-C", &root().display().to_string(), "status", "--short", "spec/vectors"])
}
