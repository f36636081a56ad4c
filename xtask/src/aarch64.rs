//! `cargo xtask aarch64`: the same receipts on another processor.
//!
//! Builds the runtime's recorded programs and a share of the differential tests for `aarch64`, machine code and
//! interpreter alike, and the golden results of tensors, and runs them under QEMU's user emulation: what
//! `runtime/tests/recorded.txt`, `tests/differential/tests/recorded.rs` and `spec/vectors/tensor` say must come out there too. Installs nothing; where
//! something is missing it says so, and in CI it fails.

use crate::shell::{self, Step, say};
use std::path::{Path, PathBuf};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian's package has that processor's C library.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// Tests that run there: a package and one of its test files.
const TESTS: [(&str, &str); 3] =
    [("samebit-runtime", "recorded"), ("samebit-differential", "recorded"), ("samebit-tensor", "vectors")];

pub(crate) fn run(rest: &[String]) -> Step {
    if let Some(other) = rest.first() {
        return Err(format!("aarch64 takes no {other:?}"));
    }
    if cfg!(target_arch = "aarch64") {
        say("this processor is an aarch64: `cargo xtask test` runs the recorded programs on it");
        return Ok(());
    }
    let missing = missing();
    if !missing.is_empty() {
        let what = missing.join(", ");
        if std::env::var_os("CI").is_some() {
            return Err(format!("for aarch64 there is no {what}; `.ci/run` installs it"));
        }
        say(&format!("LEFT OUT: nothing is run on aarch64, for there is no {what}"));
        say(&format!(
            "on Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; rustup target add {TARGET}"
        ));
        return Ok(());
    }
    let runner = format!("{EMULATOR} -L {SYSROOT}");
    let env = [
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner.as_str()),
    ];
    for (package, test) in TESTS {
        say(&format!("building {package}'s tests `{test}` for aarch64 and running them under {EMULATOR}"));
        shell::run_with(
            "cargo",
            &["test", "--locked", "--target", TARGET, "--package", package, "--test", test],
            &env,
        )?;
    }
    Ok(())
}

/// What is needed and not there.
fn missing() -> Vec<&'static str> {
    let has = |program: &str| shell::quiet(program, &["--version"]).is_some();
    let library = shell::quiet("rustc", &["--print", "target-libdir", "--target", TARGET]);
    [
        ("Rust target aarch64-unknown-linux-gnu", library.is_some_and(|path| PathBuf::from(path.trim()).is_dir())),
        ("aarch64-linux-gnu-gcc", has(LINKER)),
        ("C library in /usr/aarch64-linux-gnu", Path::new(SYSROOT).join("lib").is_dir()),
        ("qemu-aarch64", has(EMULATOR)),
    ]
    .into_iter()
    .filter_map(|(what, is_there)| (!is_there).then_some(what))
    .collect()
}
