//! What determinism costs, measured: `cargo xtask bench tax`, `bench fuel`, `bench bombs`, `bench files`,
//! `bench state` and `bench tensor`.
//!
//! Guests run on every engine and setting in turn, in one process, timed by the thread's own processor time.
//! The bench decides nothing that a job can see: it reports figures, and fails when two variants of a guest
//! disagree on a checksum. Method and figures of the fuel table: `spec/fuel-calibration.md`.

mod bombs;
mod clock;
mod engine;
mod files;
mod fuel;
mod kernels;
mod minilm;
mod options;
mod report;
mod rewriting;
mod startup;
mod state;
mod tax;
mod tensor;
mod variant;

use options::{Area, Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("bombs", rest)) = args.split_first().map(|(area, rest)| (area.as_str(), rest)) {
        return ended(bombs::measure(rest));
    }
    if let Some(("files", rest)) = args.split_first().map(|(area, rest)| (area.as_str(), rest)) {
        return ended(files::measure(rest));
    }
    if let Some(("tensor", rest)) = args.split_first().map(|(area, rest)| (area.as_str(), rest)) {
        return ended(tensor::measure(rest));
    }
    let options = match Options::parse(args.into_iter()) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    // A guest may use all the native stack that the engine allows it, and the native guests recurse too.
    let measured = std::thread::Builder::new()
        .stack_size(engine::STACK_BYTES + (16 << 20))
        .spawn(move || match options.area {
            Area::Tax => tax::measure(&options),
            Area::Fuel => fuel::measure(&options),
            Area::State => state::measure(&options),
        })
        .map_err(|error| error.to_string())
        .and_then(|thread| thread.join().unwrap_or_else(|_| Err("the measuring thread panicked".into())));
    ended(measured)
}

fn ended(measured: Result<(), String>) -> ExitCode {
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}
