//! Random modules: the rewritten module on both engines, and against the original.

use samebit_differential::{
    compare::{self, Stats},
    on_big_stack, smith,
};

/// Modules of each share; `cargo xtask fuzz differential` runs as many as one likes.
const MODULES: u64 = 60;

fn share(first: u64) -> Stats {
    on_big_stack(move || {
        let mut stats = Stats::default();
        for seed in first..first + MODULES {
            let Ok(wasm) = smith::module(seed) else { continue };
            match compare::differential(&wasm, seed) {
                Ok(seen) => stats.add(&seen),
                Err(what) => panic!("{what}\nreplay: cargo xtask fuzz differential --seed {seed}"),
            }
        }
        stats
    })
}

#[test]
fn random_modules_end_alike_on_both_engines_and_as_the_original() {
    let stats = share(0);
    println!("{stats:?}");
}
