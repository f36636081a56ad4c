//! The simulator's commands. `cargo xtask sim` builds and starts it.

use samebit_sim::{economics, scene, world};
use std::{process::ExitCode, time::Instant};

const HELP: &str = "\
cargo xtask sim COMMAND

  list                       every adversary
  run NAME [--seed N]        the world of one adversary, with what became of everybody
  seeds [--count N]          the worlds of all adversaries, N seeds in all; says which does not hold, and its replay
  speed [--hosts N]          virtual seconds to each second of this machine
  economics [--jobs N] [--seed N] [--tax X] [-o json]
                             what each assurance costs and whether lying pays, against the closed forms and BOINC

Examples:
  cargo xtask sim run wrong-output --seed 7
  cargo xtask sim seeds --count 10000
  cargo xtask sim economics --jobs 1500
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match command(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

fn command(args: &[String]) -> Result<(), String> {
    let option = |name: &str, default: u64| -> Result<u64, String> {
        let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(default) };
        let text = args.get(at + 1).ok_or_else(|| format!("{name} wants a number"))?;
        text.parse().map_err(|_| format!("{name} wants a number, not {text:?}"))
    };
    match args.first().map(String::as_str) {
        Some("list") => {
            scene::names().for_each(|name| println!("{name}"));
            Ok(())
        }
        Some("run") => one(args.get(1).map_or("", String::as_str), option("--seed", 1)?),
        Some("seeds") => seeds(option("--count", 200)?),
        Some("speed") => speed(option("--hosts", 50)?),
        Some("economics") => {
            let tax = args.iter().position(|arg| arg == "--tax").and_then(|at| args.get(at + 1)?.parse().ok());
            let rows = economics::table(option("--jobs", 600)?, option("--seed", 1)?);
            if args.iter().any(|arg| arg == "json") {
                economics::values(&rows).iter().for_each(|value| println!("{value}"));
            } else {
                print!("{}", economics::text(&rows, tax.unwrap_or(1.0), option("--seed", 1)?));
            }
            let far = rows.iter().find(|row| row.sigmas.is_some_and(|sigmas| sigmas > 3.0));
            far.map_or(Ok(()), |row| Err(format!("{row:?} is more than 3 sigma from its closed form")))
        }
        _ => {
            print!("{HELP}");
            Ok(())
        }
    }
}

fn one(name: &str, seed: u64) -> Result<(), String> {
    let plan =
        scene::of(name, seed).ok_or_else(|| format!("no adversary is called {name:?}; see `cargo xtask sim list`"))?;
    let end = world::run(&plan);
    print!("{}", end.table());
    println!("events {}", hex(&end.events));
    scene::judge(&plan, &end)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seeds(count: u64) -> Result<(), String> {
    let started = Instant::now();
    let names: Vec<_> = scene::names().collect();
    let mut failed = 0;
    for (n, name) in (0..count).zip(names.iter().cycle()) {
        let plan = scene::of(name, n).expect("a name of the list");
        if let Err(what) = scene::judge(&plan, &world::run(&plan)) {
            failed += 1;
            eprintln!("{name}, seed {n}: {what}\n  replay: {}", scene::replay(name, n));
        }
        if n % 500 == 499 {
            eprintln!("{} of {count} worlds, {failed} do not hold, {:.0} s", n + 1, started.elapsed().as_secs_f64());
        }
    }
    println!("{count} worlds of {} adversaries, {failed} do not hold", names.len());
    if failed == 0 { Ok(()) } else { Err(format!("{failed} worlds do not hold")) }
}

fn speed(hosts: u64) -> Result<(), String> {
    let mut plan = world::Plan::honest(usize::try_from(hosts).map_err(|_| "too many hosts")?, 1);
    // All hosts busy with runs of minutes, under the windows of a public network.
    (plan.jobs, plan.patience, plan.at_once, plan.replicas) =
        (hosts * 8, 0, usize::try_from(hosts / 4).unwrap_or(1), Some(2));
    plan.work = (600_000, 1_200_000);
    plan.audit = samebit_spec::unit::BasisPoints(1_000);
    plan.params = samebit_spec::param::Params::PUBLIC;
    plan.deadline = samebit_spec::unit::Millis(7_200_000);
    let started = Instant::now();
    let end = world::run(&plan);
    let real = started.elapsed().as_secs_f64();
    let virtual_s = end.took as f64 / 1e3;
    println!(
        "{hosts} hosts, {} jobs, {} entries, {} blocks: {virtual_s:.0} virtual s in {real:.2} s, {:.0} times real time",
        end.jobs,
        end.entries,
        end.blocks.len(),
        virtual_s / real
    );
    end.broken.map_or(Ok(()), Err)
}
