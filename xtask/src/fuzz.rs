//! `cargo xtask fuzz [TARGET] [--seconds N | --runs N]`: the checks of `tests/differential` for as long as one likes.
//!
//! Builds the fuzzer in the development profile, so that overflow checks and assertions are on, and hands it the
//! arguments. A failure writes its case below `tests/fuzz/crashes`, where `cargo xtask test` replays it from then on.

use crate::shell::{Step, cargo, say};

/// Runs the fuzzer.
pub(crate) fn run(args: &[String]) -> Step {
    say("building the fuzzer");
    let mut command =
        vec!["run", "--locked", "--quiet", "--package", "samebit-differential", "--bin", "samebit-fuzz", "--"];
    command.extend(args.iter().map(String::as_str));
    cargo(&command)
}
