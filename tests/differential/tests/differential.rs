//! Random modules: the rewritten module on both engines, and against the original.

use samebit_differential::{compare::Stats, on_big_stack, targets::Target};

/// Modules of each share; `cargo xtask fuzz differential` runs as many as one likes.
const MODULES: u64 = 70;

fn share(number: u64) {
    let stats = on_big_stack(move || {
        let mut stats = Stats::default();
        for seed in number * MODULES..(number + 1) * MODULES {
            match Target::Differential.run(&seed.to_le_bytes()) {
                Ok(seen) => stats.add(&seen),
                Err(what) => panic!("{what}\nreplay: cargo xtask fuzz differential --seed {seed}"),
            }
        }
        stats
    });
    println!("{stats:?}");
    let enough = stats.modules == MODULES && stats.originals > 4 * MODULES && stats.trapped > 20 && stats.fuel > 20;
    assert!(enough, "too little was compared: {stats:?}");
}

#[test]
fn random_modules_end_alike_on_both_engines_and_as_the_original_1() {
    share(0);
}

#[test]
fn random_modules_end_alike_on_both_engines_and_as_the_original_2() {
    share(1);
}

#[test]
fn random_modules_end_alike_on_both_engines_and_as_the_original_3() {
    share(2);
}

#[test]
fn random_modules_end_alike_on_both_engines_and_as_the_original_4() {
    share(3);
}

#[test]
fn damaged_modules_are_admitted_or_refused_and_never_break_the_rewriter() {
    let stats = on_big_stack(|| {
        let mut stats = Stats::default();
        for seed in 0..600 {
            let seen = Target::Rewrite.run(&Target::Rewrite.case(seed));
            stats.add(&seen.unwrap_or_else(|what| panic!("{what}\nreplay: cargo xtask fuzz rewrite --seed {seed}")));
        }
        stats
    });
    assert!((50..550).contains(&stats.modules), "of 600 damaged modules {} are admitted", stats.modules);
}
