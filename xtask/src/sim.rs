//! `cargo xtask sim`: the simulator's own commands, built first.

use crate::shell::{Step, cargo};

/// Builds the simulator and hands the words on.
pub(crate) fn run(args: &[String]) -> Step {
    let mut words = vec!["run", "--quiet", "--locked", "--package", "samebit-sim", "--"];
    words.extend(args.iter().map(String::as_str));
    cargo(&words)
}
