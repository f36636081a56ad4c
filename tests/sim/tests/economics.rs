//! The closed forms of `spec/04-verification.md`, section 11, against the real ledger.
#![allow(missing_docs, reason = "a test")]

use samebit_sim::{boinc, economics};
use samebit_spec::unit::BasisPoints;

/// Few worlds, for every build, with enough audits that one left out would show; `cargo xtask sim economics` prints the table.
#[test]
fn what_is_measured_is_within_three_sigma_of_the_closed_forms() {
    for (tier, audit) in [(("spot", 1), 6_000), (("standard", 2), 10_000)] {
        let row = economics::measure(tier, BasisPoints(audit), 0.2, 160, 11);
        assert!(row.sigmas.is_some_and(|sigmas| sigmas < 3.0), "{row:?}");
        assert!(row.profit < 0.0, "{row:?}");
    }
    let honest = economics::measure(("spot", 1), economics::planned(1), 0.0, 120, 12);
    assert_eq!((honest.lied, honest.slashed), (0, 0), "{honest:?}");
    assert!(honest.overhead < 1.25, "{honest:?}");
}

/// The condition has two sides: without audits the same lies pay better than work.
#[test]
fn without_audits_lying_pays() {
    let row = economics::measure(("unassured", 1), BasisPoints(0), 0.2, 120, 13);
    assert!(row.profit > 0.2 && row.undetected > 0.1, "{row:?}");
}

/// The figures of `market.md`, section 2: 1.0142 after 10 000 jobs of one honest host; a host that cheats after ten gets
/// nearly half of its results through.
#[test]
fn boincs_rule_is_modelled_as_it_was_studied() {
    let honest = boinc::adaptive(1, 0.0, 10, 10_000, 3);
    assert!((honest.overhead - 1.0142).abs() < 0.003, "{honest:?}");
    let cheats = boinc::adaptive(1, 1.0, 10, 20_000, 3);
    assert!((cheats.undetected - 0.45).abs() < 0.03, "{cheats:?}");
}
