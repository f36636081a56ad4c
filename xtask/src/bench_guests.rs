//! `cargo xtask bench tax`, `fuel` and `state`: builds the guests and the bench, and runs it.
//!
//! The bench is a program of its own (`tests/bench`), because what it times must be built with optimisation,
//! while everything else here serves in the profile that the demo and the tests share.

use crate::{
    set_up,
    shell::{Step, cargo, run, say, target},
};

/// The profile that the bench is built with.
const PROFILE: &str = "optimised";

/// Measures what needs no guests: virtual files beside the stock runner's, tensor operations beside their peers.
pub(crate) fn alone(area: &str, rest: &[String]) -> Step {
    if area == "tensor" {
        crate::models::fetch()?;
    }
    say("building the bench; the first time takes minutes");
    cargo(&["build", "--locked", "--profile", PROFILE, "--package", "samebit-bench", "--features", "peers"])?;
    let args: Vec<&str> = [area].into_iter().chain(rest.iter().map(String::as_str)).collect();
    run(&target().join(PROFILE).join("samebit-bench").display().to_string(), &args)
}

/// Measures guests, as `samebit-bench AREA` with the rest of the line.
pub(crate) fn measure(area: &str, rest: &[String]) -> Step {
    say("building the guests for wasm32-unknown-unknown");
    let guests = ["--package", "samebit-bench-guests", "--lib"];
    cargo(&[&["build", "--locked", "--profile", "wasm", "--target", "wasm32-unknown-unknown"], &guests[..]].concat())?;
    if area == "state" {
        say("building mandelbrot for wasm32-wasip1");
        set_up()?;
        cargo(&[
            "build",
            "--locked",
            "--lib",
            "--profile",
            "wasm",
            "--target",
            "wasm32-wasip1",
            "--package",
            "mandelbrot",
        ])?;
    }
    say("building the bench; the first time takes minutes");
    cargo(&["build", "--locked", "--profile", PROFILE, "--package", "samebit-bench"])?;
    say("measuring; other work on this machine makes the figures worse");
    let mut args = vec![area, "--profile", PROFILE];
    args.extend(rest.iter().map(String::as_str));
    run(&target().join(PROFILE).join("samebit-bench").display().to_string(), &args)
}
