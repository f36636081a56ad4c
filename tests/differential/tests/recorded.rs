//! The same on every processor: what random programs, NaN torture, limits of fuel and recursions show on both engines has
//! one hash, which is recorded in `recorded.txt`. `cargo xtask aarch64` runs this file on another processor. Where a change of
//! the rewriter or of costs is meant to change a hash, the failure prints the line that is to stand there.

use samebit_differential::{
    compare,
    guest::{Engine, Guest},
    nan, on_big_stack,
    program::{self, Size},
    rng::Rng,
    smith,
    stack::{self, Frame},
    value::{Type, Value},
};

const RECORDED: &str = include_str!("recorded.txt");

/// Rewrites a module and calls its functions on both engines; the hash is of all that is seen.
fn seen(wasm: &[u8], seed: u64, allowances: &[u64], fixed: Option<Value>, into: &mut blake3::Hasher) {
    let executable = compare::prepare(wasm).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    let pages = executable.memory_min_pages + 2;
    let all = Engine::BOTH.map(|engine| {
        let mut shown = String::new();
        for &allowance in allowances {
            let mut rng = Rng::new(seed ^ 0x5a3e);
            let mut guest = match Guest::rewritten(engine, &executable, pages) {
                Ok(guest) => guest,
                // A segment outside its memory or table.
                Err(failure) => {
                    shown.push_str(&format!("{failure}\n"));
                    continue;
                }
            };
            let functions = guest.functions();
            for (name, params) in functions.into_iter().take(6) {
                let args: Vec<Value> = match fixed {
                    Some(value) => vec![value],
                    None => params.iter().map(|&ty| Value::some(ty, &mut rng)).collect(),
                };
                shown.push_str(&format!("{name} {:?}\n", guest.call(&name, &args, allowance)));
            }
        }
        shown
    });
    assert_eq!(all[0], all[1], "seed {seed}, the engines");
    into.update(all[0].as_bytes());
}

fn check(name: &str, work: impl FnOnce(&mut blake3::Hasher) + Send + 'static) {
    let hash = on_big_stack(move || {
        let mut hasher = blake3::Hasher::new();
        work(&mut hasher);
        hasher.finalize().to_hex()[..32].to_owned()
    });
    let found = format!("{name} {hash}");
    assert!(RECORDED.lines().any(|line| line == found), "in recorded.txt there is no line {found:?}");
}

#[test]
fn random_modules_show_what_is_recorded() {
    check("modules", |into| {
        for seed in 0..12 {
            let wasm = if seed % 2 == 0 { smith::module(seed).ok() } else { None };
            let wasm = wasm.unwrap_or_else(|| program::module(seed, Size::SMALL));
            seen(&wasm, seed, &[2_000, 3 << 20], None, into);
        }
    });
}

#[test]
fn programs_full_of_nans_show_what_is_recorded() {
    check("nans", |into| (0..8).for_each(|seed| seen(&nan::program(seed), seed, &[1 << 40], None, into)));
}

#[test]
fn limits_of_fuel_show_what_is_recorded() {
    check("fuel", |into| {
        let limits: Vec<u64> = (0..60).map(|step| step * step * 7).chain([1 << 20, (1 << 20) + 1, 1 << 22]).collect();
        for seed in [3, 7] {
            seen(&program::module(seed, Size::SMALL), seed, &limits, None, into);
        }
    });
}

#[test]
fn recursions_are_as_deep_as_is_recorded() {
    check("stack", |into| {
        let hard = Frame {
            locals: vec![(Type::V128, 40), (Type::F64, 20)],
            operands: vec![(Type::V128, 20), (Type::I64, 20)],
            params: vec![Type::F32, Type::V128],
            shared: 50,
            constants: 50,
            indirect: true,
        };
        for (seed, frame) in [(0, Frame::PLAIN), (1, hard)] {
            let wasm = wat::parse_str(stack::module(&frame)).unwrap_or_else(|error| panic!("{error}"));
            seen(&wasm, seed, &[1 << 40], Some(Value::I32(u32::MAX)), into);
        }
    });
}
