//! NaN torture: programs that make, keep, hide and show NaNs in every way that a guest has, and the proof that the
//! rewriter's lazy pass gives the bits of the deterministic profile.
//!
//! [`program`] makes a module from a seed. [`check`] runs it
//! - as published on wasmtime, whose own compiler makes every NaN canonical: what must be seen;
//! - rewritten eagerly and lazily, on both engines;
//! - rewritten lazily and [`scramble`]d: after every operator whose NaN the specification leaves open the NaN becomes
//!   another one, at random. A processor makes few of the NaNs that it may make; this makes all of them.
//!
//! With the feature `oracles` wasmi makes every NaN canonical itself, and then it also runs
//! - rewritten with nothing done about NaNs, which is its own word on the deterministic profile;
//!
//! and wasmtime's interpreter runs what was rewritten lazily.
//!
//! After each call results, globals and memory are compared bit for bit.

mod program;
mod scramble;

pub use program::program;
pub use scramble::scramble;

use crate::{
    guest::{End, Engine, Guest, State},
    machine::Tuning,
    rng::Rng,
    value::{Type, Value},
};
use samebit_rewrite::{Executable, Nan, Settings, prepare_library};

/// The export that is called.
pub const ENTRY: &str = "run";

/// Calls of each program, one after the other on the same instance.
const CALLS: u32 = 3;

/// More than any program uses.
const ALLOWANCE: u64 = 1 << 40;

/// More memory than any program has.
const PAGES: u32 = 16;

/// What can be seen of a call.
type Sight = (End, Option<State>);

/// Compares the program of a seed with itself, in every way that it may run.
///
/// # Errors
/// The first difference, in words.
pub fn check(seed: u64) -> Result<(), String> {
    compare(&program(seed), seed).map_err(|difference| format!("seed {seed}: {difference}"))
}

/// Compares a module that exports [`ENTRY`].
///
/// # Errors
/// The first difference, in words.
pub fn compare(wasm: &[u8], seed: u64) -> Result<(), String> {
    let prepare = |nan| {
        prepare_library(wasm, &Settings { nan, ..Settings::PROFILE }).map_err(|refusal| format!("refused: {refusal}"))
    };
    let (eager, lazy) = (prepare(Nan::Eager)?, prepare(Nan::Lazy)?);
    let scrambled = |executable: &Executable| -> Result<Executable, String> {
        let bytes = scramble(&executable.bytes, seed).map_err(|error| format!("scrambled: {error}"))?;
        Ok(Executable { bytes, ..executable.clone() })
    };
    let start = |name, guest: Result<Guest, _>| match guest {
        Ok(guest) => Ok((name, guest)),
        Err(failure) => Err(format!("{name}: {failure}")),
    };
    let native = Engine::Wasmtime(Tuning::Rewritten);
    let mut published = Guest::original(Engine::Wasmtime(Tuning::Original), wasm, PAGES)
        .map_err(|failure| format!("published: {failure}"))?;
    let mut guests = vec![
        start("lazy on wasmtime", Guest::rewritten(native, &lazy, PAGES))?,
        start("lazy on wasmi", Guest::rewritten(Engine::Wasmi, &lazy, PAGES))?,
        start("eager on wasmi", Guest::rewritten(Engine::Wasmi, &eager, PAGES))?,
        start("lazy on wasmi, scrambled", Guest::rewritten(Engine::Wasmi, &scrambled(&lazy)?, PAGES))?,
    ];
    // What wasmi runs as bytes, wasmtime compiles: in turn, since that takes longest.
    guests.push(match seed % 4 {
        0 => start("eager on wasmtime", Guest::rewritten(native, &eager, PAGES))?,
        1 => start("lazy on wasmtime, scrambled", Guest::rewritten(native, &scrambled(&lazy)?, PAGES))?,
        2 => start("lazy on wasmtime, unoptimised", {
            Guest::rewritten(Engine::Wasmtime(Tuning::Unoptimised), &lazy, PAGES)
        })?,
        _ => start("eager on wasmi, scrambled", Guest::rewritten(Engine::Wasmi, &scrambled(&eager)?, PAGES))?,
    });
    if cfg!(feature = "oracles") {
        guests.push(start("kept, on a wasmi that makes NaNs canonical", {
            Guest::rewritten(Engine::Wasmi, &prepare(Nan::Keep)?, PAGES)
        })?);
    }
    if let Some(third) = Engine::THIRD {
        guests.push(start("lazy on the third engine", Guest::rewritten(third, &lazy, PAGES))?);
        guests.push(start("eager on the third engine", Guest::rewritten(third, &eager, PAGES))?);
    }
    let mut rng = Rng::new(seed ^ 0x00a1_1a5e);
    for call in 0..CALLS {
        let args = [Type::F32, Type::F64, Type::V128, Type::I32].map(|ty| Value::some(ty, &mut rng));
        let wanted = look(&mut published, &args);
        if !matches!(wanted.0, End::Returned(_)) {
            return Err(format!("call {call}: as published it ended with {:?}", wanted.0));
        }
        for (name, guest) in &mut guests {
            let found = look(guest, &args);
            if found != wanted {
                return Err(format!("call {call}, {name}: {found:?}, where as published {wanted:?}"));
            }
        }
    }
    Ok(())
}

/// Whether the program of a seed shows other bits when nothing is done about its NaNs.
///
/// # Errors
/// What keeps it from running.
pub fn shows(seed: u64) -> Result<bool, String> {
    let wasm = program(seed);
    let keep = prepare_library(&wasm, &Settings { nan: Nan::Keep, ..Settings::PROFILE })
        .map_err(|refusal| format!("refused: {refusal}"))?;
    let bytes = scramble(&keep.bytes, seed).map_err(|error| format!("scrambled: {error}"))?;
    let kept = Guest::rewritten(Engine::Wasmi, &Executable { bytes, ..keep }, PAGES);
    let mut kept = kept.map_err(|failure| failure.to_string())?;
    let published = Guest::original(Engine::Wasmtime(Tuning::Original), &wasm, PAGES);
    let mut published = published.map_err(|failure| failure.to_string())?;
    let mut rng = Rng::new(seed);
    let args = [Type::F32, Type::F64, Type::V128, Type::I32].map(|ty| Value::some(ty, &mut rng));
    Ok(look(&mut kept, &args) != look(&mut published, &args))
}

fn look(guest: &mut Guest, args: &[Value]) -> Sight {
    let seen = guest.call(ENTRY, args, ALLOWANCE);
    (seen.end, seen.state.map(|state| state.published()))
}
