//! Every way to end, on every engine and every processor, to the same receipt and roots: those in `recorded.txt`.
//!
//! The same file is checked natively and, in CI, on `aarch64`. After a deliberate change of the profile
//! `SAMEBIT_WRITE_RECORDED=1` writes it anew.

mod support;

use support::{Store, execution, load, programs, run_in};

/// One line for each program.
fn lines() -> Vec<String> {
    let line = |case: programs::Case| {
        let program = load(&case.text);
        let mut execution = execution(&program);
        (case.change)(&mut execution);
        let finished =
            run_in(&program, &execution, &Store::default()).unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
        let receipt = &finished.receipt;
        format!(
            "{} | {:?} | fuel {} | steps {} | output {} | executable {} | last root {} | receipt {}",
            case.name,
            receipt.outcome,
            receipt.fuel.0,
            receipt.steps,
            receipt.output.id(),
            program.executable(),
            finished.history.last().expect("there is a root"),
            receipt.id(),
        )
    };
    programs::cases().into_iter().map(line).collect()
}

#[test]
fn every_program_ends_on_every_engine_and_processor_as_it_is_recorded() {
    let given = lines();
    if std::env::var_os("SAMEBIT_WRITE_RECORDED").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded.txt");
        std::fs::write(path, given.join("\n") + "\n").expect("the file can be written");
        return;
    }
    let recorded: Vec<&str> = include_str!("recorded.txt").lines().collect();
    for (given, recorded) in given.iter().zip(&recorded) {
        assert_eq!(given, recorded, "SAMEBIT_WRITE_RECORDED=1 writes recorded.txt anew after a change of the profile");
    }
    assert_eq!(given.len(), recorded.len(), "one line for each program");
}
