//! Figures, as JSON lines in `target/bench/` and on stdout.

use crate::options::{Options, target};
use serde_json::{Value, json};
use std::fs;

/// All figures of a run.
pub(crate) struct Report {
    figures: Vec<Value>,
}

/// What a figure is compared to.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) ratio: f64,
}

/// The peer of most figures.
pub(crate) const PLAIN: &str = "plain wasmtime, same run";

impl Report {
    pub(crate) fn new() -> Self {
        Self { figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, metric: String, value: f64, unit: &str, peer: Option<Peer>, runs: usize, case: &str) {
        self.figures.push(json!({
            "metric": metric,
            "value": round(value),
            "unit": unit,
            "peer": peer.map(|peer| peer.name),
            "ratio": peer.map(|peer| round(peer.ratio)),
            "runs": runs,
            "case": case,
        }));
    }

    /// Writes `target/bench/AREA.jsonl`, and prints the figures where JSON was asked for. A quick run or one of
    /// chosen guests or parts writes `AREA-part.jsonl` instead.
    pub(crate) fn end(&self, area: &str, options: &Options) -> Result<(), String> {
        let whole =
            !options.quick && options.parts.len() == 3 && options.guests.len() == samebit_bench_guests::GUESTS.len();
        let name = if whole { area.to_owned() } else { format!("{area}-part") };
        self.write(&name, options.json)
    }

    /// Writes `target/bench/NAME.jsonl`, and prints the figures where JSON was asked for.
    pub(crate) fn write(&self, name: &str, json: bool) -> Result<(), String> {
        let folder = target().join("bench");
        let path = folder.join(format!("{name}.jsonl"));
        let lines: String = self.figures.iter().map(|figure| format!("{figure}\n")).collect();
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, lines))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if json {
            println!("{}", Value::Array(self.figures.clone()));
        }
        Ok(())
    }
}

/// Four significant digits, or whole numbers above them.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the exponent of a double is small")]
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 12);
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn a_figure_has_four_digits_and_large_ones_are_whole() {
        assert_eq!(round(1.234_56), 1.235);
        assert_eq!(round(0.000_123_456), 0.000_123_5);
        assert_eq!(round(123_456.7), 123_457.0);
        assert_eq!(round(0.0), 0.0);
    }
}
