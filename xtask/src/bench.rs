//! `cargo xtask bench AREA`: measures, prints a table and writes `target/bench/AREA.jsonl`.
//!
//! One object a line: `{"metric","value","unit","peer","ratio","runs","case"}`; `ratio` is ours over the
//! peer's in the same run. Machines are noisy: the ratio is what may be compared.

use crate::{
    EXAMPLES, bench_guests, build,
    children::{Devnet, stdout_of},
    gpu, set_up,
    shell::{Step, say, target},
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command, time::Instant};

const JOBS: usize = 50;

/// Measures `AREA`.
pub(crate) fn run(args: &[String]) -> Step {
    match args {
        [area] if area == "market" => market(),
        [area, rest @ ..] if ["tax", "fuel", "bombs", "state"].contains(&area.as_str()) => {
            bench_guests::measure(area, rest)
        }
        [area, rest @ ..] if area == "gpu" => gpu::bench(rest),
        [area, rest @ ..] if ["files", "tensor"].contains(&area.as_str()) => bench_guests::alone(area, rest),
        _ => {
            Err("usage: cargo xtask bench market|tax|fuel|bombs|state|files|tensor|gpu; `tax --help` lists its options"
                .into())
        }
    }
}

/// Time from submit to final of `hello`, job after job on an idle devnet of one validator and five hosts.
fn market() -> Step {
    set_up()?;
    build()?;
    let folder = target().join("bench");
    let home = folder.join("home");
    if home.exists() {
        fs::remove_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    }
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let module = target().join("wasm32-wasip1/wasm").join(format!("{}.wasm", EXAMPLES[0]));
    let samebit = |args: &[&str]| {
        let mut command = Command::new(target().join("debug/samebit"));
        command.args(args).env("SAMEBIT_HOME", &home).env_remove("SAMEBIT_NETWORK").env_remove("SAMEBIT_OUTPUT");
        command
    };
    say("starting a devnet of 1 validator and 5 hosts");
    let mut devnet =
        Devnet::start(samebit(&["-o", "jsonl", "-q", "devnet", "up", "--foreground", "--lifeline", "--hosts", "5"]))?;
    let figures = submit_all(&samebit, &home, &module);
    devnet.stop()?;
    let figures = figures?;
    let mut lines = String::new();
    for figure in &figures {
        lines.push_str(&figure.to_string());
        lines.push('\n');
        println!(
            "{:28} {:>10} {:4} {:>8} of {}",
            figure["metric"].as_str().unwrap_or_default(),
            figure["value"].to_string(),
            figure["unit"].as_str().unwrap_or_default(),
            figure["ratio"].to_string(),
            figure["peer"].as_str().unwrap_or_default(),
        );
    }
    let path = folder.join("market.jsonl");
    fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))
}

fn submit_all(samebit: &dyn Fn(&[&str]) -> Command, home: &Path, module: &Path) -> Result<Vec<Value>, String> {
    let module = module.display().to_string();
    let mut local = Vec::new();
    let mut waited = Vec::new();
    let mut ledger = Vec::new();
    for job in 0..JOBS {
        let input = home.join(format!("{job}.json"));
        fs::write(&input, format!("{{\"name\":\"buyer {job}\"}}"))
            .map_err(|error| format!("{}: {error}", input.display()))?;
        let input = input.display().to_string();

        let begun = Instant::now();
        stdout_of(&mut samebit(&["-q", "-o", "json", "run", "--input", &input, &module]))?;
        local.push(begun.elapsed().as_secs_f64() * 1000.0);

        let begun = Instant::now();
        let shown =
            stdout_of(&mut samebit(&["-q", "-o", "json", "job", "submit", &module, "--input", &input, "--wait"]))?;
        waited.push(begun.elapsed().as_secs_f64() * 1000.0);
        let shown: Value = serde_json::from_str(&shown).map_err(|error| format!("job submit: {error}"))?;
        if shown["standing"] != "final" {
            return Err(format!("job {job} ended as {}", shown["standing"]));
        }
        let (Some(posted), Some(closed)) = (shown["posted_at"].as_u64(), shown["closed_at"].as_u64()) else {
            return Err(format!("job {job} has no times"));
        };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a job are far below 2^52")]
        ledger.push((closed - posted) as f64);
        eprint!("\r{} of {JOBS} jobs", job + 1);
    }
    eprintln!();
    let peer = percentile(&mut local, 50);
    let figure = |metric: &str, value: f64| {
        json!({
            "metric": metric,
            "value": round(value),
            "unit": "ms",
            "peer": "samebit run of the same task and input, p50",
            "ratio": round(value / peer),
            "runs": JOBS,
            "case": "hello, k = 2, idle devnet of 1 validator and 5 hosts, window 1000 ms",
        })
    };
    Ok(vec![
        figure("submit_to_final.p50_ms", percentile(&mut waited, 50)),
        figure("submit_to_final.p99_ms", percentile(&mut waited, 99)),
        figure("posted_to_closed.p50_ms", percentile(&mut ledger, 50)),
        figure("local_run.p50_ms", peer),
    ])
}

/// The nearest-rank percentile.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).saturating_sub(1)]
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
