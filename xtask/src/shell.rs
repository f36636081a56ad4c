//! Starting other programs and saying so.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// What every step returns: nothing, or what failed.
pub(crate) type Step = Result<(), String>;

/// Says on stderr what comes next.
pub(crate) fn say(what: &str) {
    eprintln!("==> {what}");
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// A command in the workspace, without the variables that cargo set for this program: build scripts watch
/// some of them, and would run again at each change between `cargo` and `cargo xtask`.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(args: &[&str]) -> Step {
    run("cargo", args)
}

/// Runs a program in the workspace, its output shown.
pub(crate) fn run(program: &str, args: &[&str]) -> Step {
    run_with(program, args, &[])
}

/// Runs a program with further environment.
pub(crate) fn run_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Step {
    crate::children::show(command(program).args(args).envs(env.iter().copied()))
}

/// What a program prints, or `None` when it is not there or fails.
pub(crate) fn quiet(program: &str, args: &[&str]) -> Option<String> {
    let output = command(program).args(args).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `cargo NAME` exists.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    quiet("cargo", &[name, "--version"]).is_some()
}
