//! Hostile calls of preview1, as many worlds as a test run has time for; `cargo xtask fuzz wasi` makes more.

use samebit_differential::wasi;

#[test]
fn hostile_calls_are_refused_without_a_trace_or_done_within_the_limits() {
    let mut done = 0;
    for seed in 0..400 {
        let stats = wasi::check(seed).unwrap_or_else(|what| {
            panic!("{what}\nreplay: cargo xtask fuzz wasi --seed {seed}");
        });
        done += stats.returned;
    }
    // Worlds in which everything is refused would show little.
    assert!(done > 2000, "{done} calls succeeded");
}
