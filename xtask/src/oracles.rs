//! `cargo xtask oracles`: the differential tests with two further witnesses.
//!
//! Built with the feature `oracles` of `samebit-differential`, which nothing that is given out has: there wasmi makes every NaN
//! canonical itself, and runs modules whose NaNs the rewriter has left alone; and wasmtime's own interpreter, Pulley, is a third
//! engine that must show what the two show. Reasons: `spec/decisions/0007-oracles.md`.

use crate::shell::{Step, cargo, say};

/// The tests that ask them.
const TESTS: [&str; 2] = ["nan_torture", "differential"];

/// Builds the tests with the oracles and runs them.
pub(crate) fn run(rest: &[String]) -> Step {
    if let Some(other) = rest.first() {
        return Err(format!("oracles takes no {other:?}"));
    }
    say("building both engines with the oracles, which takes minutes the first time, and asking them");
    let mut command = vec!["test", "--locked", "--package", "samebit-differential", "--features", "oracles"];
    TESTS.iter().for_each(|test| command.extend(["--test", test]));
    cargo(&command)
}
