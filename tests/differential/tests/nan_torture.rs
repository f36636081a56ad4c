//! The lazy NaN pass gives the bits of the deterministic profile, however NaNs are made, moved and shown.

use samebit_differential::nan;

/// Seeds of a test run. `SAMEBIT_NAN_SEEDS` asks for more; `cargo xtask fuzz` runs as long as one likes.
const SEEDS: u64 = 240;

/// Parts that are run at the same time.
const PARTS: u64 = 4;

fn part(part: u64) {
    let seeds = std::env::var("SAMEBIT_NAN_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in (part..seeds).step_by(4) {
        if let Err(difference) = nan::check(seed) {
            panic!("{difference}");
        }
    }
}

#[test]
fn programs_full_of_nans_are_bit_equal_in_every_way_to_run_them_1_of_4() {
    part(0);
}

#[test]
fn programs_full_of_nans_are_bit_equal_in_every_way_to_run_them_2_of_4() {
    part(1);
}

#[test]
fn programs_full_of_nans_are_bit_equal_in_every_way_to_run_them_3_of_4() {
    part(2);
}

#[test]
fn programs_full_of_nans_are_bit_equal_in_every_way_to_run_them_4_of_4() {
    part(PARTS - 1);
}
