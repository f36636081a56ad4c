//! What this machine's adapters compute, told without the rest of Samebit: one file that can be carried to a machine
//! without network. `cargo xtask gate` and `cargo xtask bench gpu` run it.

use samebit_gpu::{Adapter, Gpu, Options, Report, adapters, cpu_figures};
use serde_json::json;
use std::process::ExitCode;

const HELP: &str = "\
samebit-gpu COMMAND [-o json] [--adapter NAME] [--side N]

  gate     run the conformance gate on every adapter: which bits are right, what is offered, what is not and why
  bench    products of f32, f16 and i8, copy and softmax, on every adapter and the CPU
  list     the adapters

  -o json          one object for each adapter, a line each
  --adapter NAME   only adapters whose name contains this
  --side N         side of the square products of `bench` (4096; 512 where a processor plays the GPU)

Ends with 1 when an adapter fails the gate for something, and with 3 when there is no adapter.

Examples:
  samebit-gpu gate
  samebit-gpu gate -o json --adapter NVIDIA
  samebit-gpu bench -o json --side 1024
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut words = args.iter().map(String::as_str);
    let command = words.next().unwrap_or("help");
    let (mut as_json, mut wanted, mut side) = (false, String::new(), None);
    while let Some(word) = words.next() {
        match (word, words.next()) {
            ("-o", Some("json")) => as_json = true,
            ("--adapter", Some(name)) => wanted = name.to_lowercase(),
            ("--side", Some(number)) if number.parse().is_ok_and(|side: u32| side > 0) => side = number.parse().ok(),
            (other, _) => {
                eprintln!("error: {other:?} is no option, or lacks its value\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let found: Vec<Adapter> =
        adapters().into_iter().filter(|adapter| adapter.name().to_lowercase().contains(&wanted)).collect();
    match command {
        "list" => found.iter().for_each(|adapter| println!("{}, {}", adapter.name(), adapter.driver())),
        "gate" | "bench" => {
            if command == "bench" {
                cpu(as_json, side);
            }
            let mut passed = true;
            for adapter in &found {
                passed &= one(command, adapter, as_json, side);
            }
            if !passed {
                return ExitCode::FAILURE;
            }
        }
        "help" | "--help" | "-h" => print!("{HELP}"),
        other => {
            eprintln!("error: no command {other:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    }
    if found.is_empty() && !matches!(command, "help" | "--help" | "-h") {
        eprintln!("no adapter: Debian's mesa-vulkan-drivers has one that a processor plays");
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

fn cpu(as_json: bool, side: Option<u32>) {
    let figures = cpu_figures(side.map(|side| side.min(2048)));
    if as_json {
        println!("{}", json!({ "cpu": figures }));
        return;
    }
    println!("{} ({} threads), {2} x {2}", figures.backend, figures.threads, figures.side);
    println!("  f32 {:.1} GFLOP/s, f16 {:.1}, i8 {:.1} Gop/s", figures.f32_gflops, figures.f16_gflops, figures.i8_gops);
    println!("  copy {:.1} GB/s", figures.copy_gbytes);
}

/// One adapter through the gate, and measured; whether it passed everything.
fn one(command: &str, adapter: &Adapter, as_json: bool, side: Option<u32>) -> bool {
    let gpu = match Gpu::open(adapter, Options::default()) {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("error: {error}");
            return false;
        }
    };
    let report = gpu.report();
    if command == "gate" {
        if as_json {
            println!("{}", json!({ "gate": report }));
        } else {
            print(report);
        }
        return report.refused.is_empty();
    }
    let figures = match gpu.figures(side) {
        Ok(figures) => figures,
        Err(fault) => {
            eprintln!("error: {fault}");
            return false;
        }
    };
    if as_json {
        println!(
            "{}",
            json!({ "adapter": report.adapter, "driver": report.driver, "choice": report.choice, "figures": figures })
        );
        return report.refused.is_empty();
    }
    let told = |figure: Option<f64>| figure.map_or("not offered".to_owned(), |figure| format!("{figure:.1}"));
    println!("{}, {}, {2} x {2}", report.adapter, report.driver, figures.side);
    println!(
        "  f32 {} GFLOP/s, f16 {}, i8 {} Gop/s",
        told(figures.f32_gflops),
        told(figures.f16_gflops),
        told(figures.i8_gops)
    );
    println!("  copy {:.1} GB/s, softmax {}", figures.copy_gbytes, told(figures.softmax_gbytes));
    report.refused.is_empty()
}

fn print(report: &Report) {
    println!("{}, {}", report.adapter, report.driver);
    println!("  kernels {}, {:.1} s", &report.kernels[..16], report.seconds);
    for trial in &report.trials {
        let speed = trial.gigaflops.map_or(String::new(), |speed| format!(", {speed:.1} GFLOP/s"));
        let said =
            trial.failure.as_ref().map_or(format!("the oracle's bits{speed}"), |failure| format!("NOT: {failure}"));
        println!("  {} {:<15} {} cases: {said}", trial.capability.name(), trial.variant, trial.cases);
    }
    let failed: Vec<String> = report
        .operations
        .iter()
        .filter_map(|(name, result)| result.failure.as_ref().map(|failure| format!("  {name} NOT: {failure}")))
        .collect();
    let cases: usize = report.operations.values().map(|result| result.cases).sum();
    println!("  {} operations, {cases} cases, {} with other bits", report.operations.len(), failed.len());
    failed.iter().for_each(|line| println!("{line}"));
    let offers: Vec<&str> = report.choice.capabilities().into_iter().map(samebit_gpu::Capability::name).collect();
    println!("  offers: {}", if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") });
    for (capability, why) in &report.refused {
        println!("  not {capability}: {why}");
    }
}
