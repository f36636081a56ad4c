//! The lazy NaN pass gives the bits of the deterministic profile, however NaNs are made, moved and shown.

use samebit_differential::{
    guest::{Engine, Guest},
    nan,
    value::Value,
};
use samebit_rewrite::{Settings, prepare_library};

/// Seeds of a test run. `SAMEBIT_NAN_SEEDS` asks for more; `cargo xtask fuzz` runs as long as one likes.
const SEEDS: u64 = 240;

/// Parts that are run at the same time.
const PARTS: usize = 4;

fn part(part: u64) {
    let seeds = std::env::var("SAMEBIT_NAN_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in (part..seeds).step_by(PARTS) {
        if let Err(difference) = nan::check(seed) {
            panic!("{difference}");
        }
    }
}

#[test]
fn programs_full_of_nans_show_the_same_bits_however_they_run_1_of_4() {
    part(0);
}

#[test]
fn programs_full_of_nans_show_the_same_bits_however_they_run_2_of_4() {
    part(1);
}

#[test]
fn programs_full_of_nans_show_the_same_bits_however_they_run_3_of_4() {
    part(2);
}

#[test]
fn programs_full_of_nans_show_the_same_bits_however_they_run_4_of_4() {
    part(3);
}

/// Programs that once differed, by the seeds that earlier generators made them from: integers made of the lanes of a
/// vector whose NaNs were not yet canonical (548, 648); what wasmi got wrong, as below (199, 298, 688, 951).
#[test]
fn programs_that_once_differed_do_so_no_more() {
    let programs: [(u64, &[u8]); 6] = [
        (199, include_bytes!("nan/199.wasm")),
        (298, include_bytes!("nan/298.wasm")),
        (548, include_bytes!("nan/548.wasm")),
        (648, include_bytes!("nan/648.wasm")),
        (688, include_bytes!("nan/688.wasm")),
        (951, include_bytes!("nan/951.wasm")),
    ];
    for (seed, wasm) in programs {
        if let Err(difference) = nan::compare(wasm, seed) {
            panic!("{seed}: {difference}");
        }
    }
}

/// Otherwise the tests above would tell nothing.
#[test]
fn half_of_these_programs_show_their_nans_when_nothing_is_done_about_them() {
    let shown = (0..40).filter(|&seed| nan::shows(seed).expect("it runs")).count();
    assert!(shown >= 16, "{shown} of 40");
}

/// What wasmi 2.0.0 gets wrong, in few instructions, and the rewriter keeps from it.
#[test]
fn instructions_that_wasmi_gets_wrong_are_kept_from_it() {
    let bodies = [
        "(select (f64.const 1) (f64.const 5) (i32.eqz (local.get 0)))",
        "(select (f64.const 1) (f64.const 5) (i32.ne (i32.const 0) (local.get 0)))",
        "(select (f64.const 1) (f64.const 5) (block (result i32) (i32.eqz (local.get 0))))",
        "(f64.const 1) (f64.const 5) (i32.eqz (local.get 0)) nop select",
        "(i32.eqz (local.get 0)) (local.set 2) (select (f64.const 1) (f64.const 5) (local.get 2))",
        "(local.tee 1 (f64.add (f64.convert_i32_s (local.get 0)) (f64.const 10)))
            (local.get 3) (loop (param f64) (result f64)) f64.sub",
        "(local.tee 1 (f64.add (f64.convert_i32_s (local.get 0)) (f64.const 10)))
            (local.set 2 (i32.const 2))
            (local.get 3)
            (loop (param f64) (result f64)
                (f64.add (f64.const 1))
                (br_if 0 (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))
            f64.sub",
    ];
    for body in bodies {
        let text = format!(r#"(module (func (export "run") (param i32) (result f64) (local f64 i32 f64) {body}))"#);
        let wasm = wat::parse_str(&text).expect("text");
        let executable = prepare_library(&wasm, &Settings::PROFILE).expect("admitted");
        for argument in [0, 1] {
            let [native, interpreted] = Engine::BOTH.map(|engine| {
                let mut guest = Guest::rewritten(engine, &executable, 1).expect("instantiated");
                guest.call("run", &[Value::I32(argument)], 1 << 20)
            });
            assert_eq!(native, interpreted, "{body} of {argument}");
        }
    }
}
