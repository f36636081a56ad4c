//! The WebAssembly specification's test files, original and rewritten, on both engines.

use samebit_differential::{
    guest::Engine,
    machine::Tuning,
    on_big_stack,
    suite::{self, NOT_BUILT, Report, Way},
};
use std::{collections::BTreeMap, path::Path};

const WAYS: [Way; 4] = [
    Way { engine: Engine::Wasmtime(Tuning::Rewritten), rewritten: true },
    Way { engine: Engine::Wasmi, rewritten: true },
    Way { engine: Engine::Wasmtime(Tuning::Original), rewritten: false },
    Way { engine: Engine::WasmiOriginal, rewritten: false },
];

/// In how many tests the files are run, so that processors share them.
const SHARES: usize = 4;

/// What is recorded of every file: assertions that hold, and what is excluded and why.
fn record() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite.txt");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn share(share: usize) -> BTreeMap<String, Report> {
    on_big_stack(move || {
        let mut reports = BTreeMap::new();
        for (index, (name, file)) in suite::files().into_iter().enumerate() {
            if index % SHARES != share {
                continue;
            }
            // The original is there to show that the files are read rightly: on one engine of the two in turn.
            let ways = [WAYS[0], WAYS[1], WAYS[2 + index / SHARES % 2]];
            let all: Vec<Report> = ways
                .iter()
                .map(|&way| {
                    let report = suite::run(&file, way).unwrap_or_else(|what| panic!("{name}: {what}"));
                    assert!(report.failed.is_empty(), "{name}, {way:?}: {:#?}", report.failed);
                    report
                })
                .collect();
            assert_eq!(all[0], all[1], "{name}, the engines");
            for (report, way) in all.iter().zip(ways).skip(2) {
                // An original that its engine is not built for is not run; all others show the same.
                if !report.excluded.contains_key(NOT_BUILT) {
                    assert_eq!(*report, all[0], "{name}, {way:?}");
                }
            }
            reports.insert(name, all.into_iter().next().unwrap_or_default());
        }
        reports
    })
}

fn check(number: usize) {
    let record = record();
    let recorded: BTreeMap<&str, &str> =
        record.lines().filter_map(|line| Some((line.split_once(": ")?.0, line))).collect();
    let reports = share(number);
    let mut news = String::new();
    for (name, report) in &reports {
        let line = report.line(name);
        if recorded.get(name.as_str()).copied() != Some(line.as_str()) {
            news.push_str(&line);
            news.push('\n');
        }
    }
    assert!(news.is_empty(), "other than in tests/suite.txt:\n{news}");
    assert!(reports.len() > 40, "only {} files", reports.len());
}

#[test]
fn the_first_quarter_of_the_specifications_tests_holds_on_both_engines() {
    check(0);
}

#[test]
fn the_second_quarter_of_the_specifications_tests_holds_on_both_engines() {
    check(1);
}

#[test]
fn the_third_quarter_of_the_specifications_tests_holds_on_both_engines() {
    check(2);
}

#[test]
fn the_last_quarter_of_the_specifications_tests_holds_on_both_engines() {
    check(3);
}

/// Nothing is recorded that is no longer run, and nothing is run that is not recorded.
#[test]
fn the_record_names_every_file_and_no_other() {
    let files: Vec<String> = suite::files().into_iter().map(|file| file.0).collect();
    let mut sorted: Vec<&str> = files.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let record = record();
    let mut recorded: Vec<&str> = record.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    recorded.sort_unstable();
    assert_eq!(sorted, recorded);
}
