//! `cargo xtask fuzz`: runs one target, or all in turn, for as long as it is told.

use samebit_differential::{compare::Stats, on_big_stack, targets::Target};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

const HELP: &str = "\
cargo xtask fuzz [TARGET] [--seconds N | --runs N] [--seed N] [--replay FILE]

Targets: rewrite, differential, fuel, stack, nan, state, wasi, tensor; all in turn without one. Without a limit: 60 seconds each.
";

struct Order {
    targets: Vec<Target>,
    seconds: u64,
    runs: u64,
    seed: u64,
    replay: Option<String>,
}

fn order() -> Result<Order, String> {
    let mut order = Order { targets: Target::ALL.to_vec(), seconds: 60, runs: u64::MAX, seed: 0, replay: None };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    order.seed = now << 20;
    let mut args = std::env::args().skip(1);
    let number = |text: Option<String>, name: &str| -> Result<u64, String> {
        text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{name} takes a number\n\n{HELP}"))
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => order.seconds = number(args.next(), "--seconds")?,
            "--runs" => (order.runs, order.seconds) = (number(args.next(), "--runs")?, u64::MAX / 2),
            "--seed" => {
                order.seed = number(args.next(), "--seed")?;
                (order.runs, order.seconds) = (order.runs.min(1), u64::MAX / 2);
            }
            "--first" => order.seed = number(args.next(), "--first")?,
            "--replay" => order.replay = Some(args.next().ok_or("--replay takes a file")?),
            "--help" | "-h" => return Err(HELP.to_owned()),
            name => {
                let target = Target::named(name).ok_or_else(|| format!("no target {name:?}\n\n{HELP}"))?;
                order.targets = vec![target];
            }
        }
    }
    Ok(order)
}

/// Prints the record of the specification's test files, and what does not hold.
fn suite() -> Result<(), String> {
    use samebit_differential::{guest::Engine, machine::Tuning, suite};
    let mut failed = Vec::new();
    for (name, file) in suite::files() {
        let rewritten = suite::Way { engine: Engine::Wasmtime(Tuning::Rewritten), rewritten: true };
        let report = suite::run(&file, rewritten)?;
        println!("{}", report.line(&name));
        failed.extend(report.failed.iter().map(|what| format!("{name}: {what}")));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Runs a case, a panic being one way to fail.
fn run(target: Target, case: &[u8]) -> Result<Stats, String> {
    catch_unwind(AssertUnwindSafe(|| target.run(case))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", said.unwrap_or("without words")))
    })
}

fn fuzz(target: Target, order: &Order) -> Result<(), String> {
    let began = Instant::now();
    let (mut stats, mut runs) = (Stats::default(), 0);
    println!("{}: from seed {}", target.name(), order.seed);
    while runs < order.runs && began.elapsed() < Duration::from_secs(order.seconds) {
        let seed = order.seed.wrapping_add(runs);
        let case = target.case(seed);
        match run(target, &case) {
            Ok(seen) => stats.add(&seen),
            Err(what) => {
                let folder = target.folder("crashes");
                let path = folder.join(format!("{seed:016x}"));
                fs::create_dir_all(&folder)
                    .and_then(|()| fs::write(&path, &case))
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let name = target.name();
                return Err(format!(
                    "{name}, seed {seed}: {what}\nreplay: cargo xtask fuzz {name} --replay tests/fuzz/crashes/{name}/{seed:016x}"
                ));
            }
        }
        runs += 1;
    }
    println!("{}: {runs} runs in {:.0} s: {stats:?}", target.name(), began.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> ExitCode {
    let done = on_big_stack(|| {
        if std::env::args().nth(1).as_deref() == Some("--suite") {
            return suite();
        }
        let order = order()?;
        if let (Some(path), [target]) = (&order.replay, order.targets.as_slice()) {
            let case = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
            return run(*target, &case).map(|stats| println!("{path}: passes: {stats:?}"));
        }
        order.targets.iter().try_for_each(|&target| fuzz(target, &order))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}
