//! Trains a classifier of handwritten digits: a layer, a rectifier, a layer, cross entropy, stochastic gradient descent.
//!
//! Some updates in each step. Every host gives the same weights to the bit, so that a run can be taken up on another one, and
//! each step be held against the root that the host committed to. At the end the network is made one of eight-bit integers
//! too, and both are asked about rows that neither has seen.
#![forbid(unsafe_code)]

mod digits;
mod eight_bits;
mod network;
mod picture;

use digits::{CLASSES, Digits, PIXELS};
use eight_bits::EightBits;
use network::{Network, safetensors};
use samebit::{
    Step, Steps, output_dir,
    serde::{Deserialize, Serialize},
    tensor::{self, Tensor},
};
use std::fs;

/// The curve of the loss in the output tree.
pub const CURVE: &str = "loss.png";
/// The weights in the output tree.
pub const MODEL: &str = "model.safetensors";
/// Those of eight bits, and what they stand for.
pub const MODEL_INT8: &str = "model-int8.safetensors";

/// Every fifth row is kept for the test.
const HELD_OUT: usize = 5;

/// How to train.
#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "samebit::serde", deny_unknown_fields, default)]
pub struct Plan {
    /// Units of the hidden layer.
    pub hidden: u32,
    /// Rows of one update.
    pub batch: u32,
    /// Part of the gradient that is taken off the weights.
    pub rate: f32,
    /// Updates in all.
    pub updates: u32,
    /// Updates of one step.
    pub updates_per_step: u32,
    /// Where the first weights and the order of the rows come from.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { hidden: 48, batch: 32, rate: 0.3, updates: 600, updates_per_step: 20, seed: 1 }
    }
}

/// What came out.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "samebit::serde")]
pub struct Trained {
    /// Rows that were trained on.
    pub trained_on: usize,
    /// Rows that were kept for the test.
    pub tested_on: usize,
    /// Of those, how many were told right.
    pub right: usize,
    /// How many are told right in eight bits.
    pub right_int8: usize,
    /// How many are told the same, right or wrong.
    pub alike_int8: usize,
    /// Mean loss of the first ten updates, and of the last.
    pub loss: [f32; 2],
    /// The curve in the output tree.
    pub curve: String,
    /// The weights in the output tree.
    pub model: String,
    /// Those of eight bits.
    pub model_int8: String,
}

/// The training so far.
#[samebit::task]
pub struct Train {
    plan: Plan,
    digits: Digits,
    /// Pixels of the rows that are trained on, `[rows, pixels]`.
    rows: Tensor,
    network: Network,
    random: Random,
    /// Rows that are still to come before all were seen once more.
    order: Vec<usize>,
    losses: Vec<f32>,
}

impl Steps for Train {
    type Input = Plan;
    type Output = Trained;
    type Error = String;

    fn start(plan: Plan) -> Result<Self, String> {
        within("hidden", plan.hidden, 4096)?;
        within("batch", plan.batch, 4096)?;
        within("updates", plan.updates, 1_000_000)?;
        within("updates_per_step", plan.updates_per_step, 100)?;
        if !(plan.rate > 0.0 && plan.rate <= 10.0) {
            return Err(format!("rate is {}, allowed above 0, at most 10", plan.rate));
        }
        let digits = Digits::read()?;
        if digits.len() < HELD_OUT {
            return Err(format!("{} rows: at least {HELD_OUT}, of which one is kept for the test", digits.len()));
        }
        Self::new(plan, digits).map_err(text)
    }

    fn step(&mut self) -> Result<Step, String> {
        let left = self.plan.updates as usize - self.losses.len();
        self.update(left.min(self.plan.updates_per_step as usize)).map_err(text)?;
        Ok(if self.losses.len() == self.plan.updates as usize { Step::Done } else { Step::More })
    }

    fn finish(self) -> Result<Trained, String> {
        let small = EightBits::new(&self.network, &self.rows).map_err(text)?;
        let (x, labels) = self.kept().map_err(text)?;
        let told = told(&self.network.scores(&x).map_err(text)?).map_err(text)?;
        let told_int8 = self::told(&small.scores(&x).map_err(text)?).map_err(text)?;
        let model = safetensors(&self.network.parts().map_err(text)?);
        let model_int8 = safetensors(&small.parts().map_err(text)?);
        for (name, bytes) in [(CURVE, picture::curve(&self.losses)?), (MODEL, model), (MODEL_INT8, model_int8)] {
            let path = output_dir().join(name);
            fs::write(&path, bytes).map_err(|error| format!("writing {}: {error}", path.display()))?;
        }
        let tested_on = self.digits.len() / HELD_OUT;
        let ten = self.losses.len().min(10);
        Ok(Trained {
            trained_on: self.digits.len() - tested_on,
            tested_on,
            right: alike(&told, &labels),
            right_int8: alike(&told_int8, &labels),
            alike_int8: alike(&told_int8, &told),
            loss: [mean(&self.losses[..ten]), mean(&self.losses[self.losses.len() - ten..])],
            curve: CURVE.into(),
            model: MODEL.into(),
            model_int8: MODEL_INT8.into(),
        })
    }
}

impl Train {
    fn new(plan: Plan, digits: Digits) -> tensor::Result<Self> {
        let mut random = Random(plan.seed ^ 0x9e37_79b9_7f4a_7c15);
        let network = Network::new(&mut random, plan.hidden as usize)?;
        let trained: Vec<usize> = (0..digits.len()).filter(|row| !is_held_out(*row)).collect();
        let rows = Tensor::new(&digits.pixels(&trained), &[trained.len(), PIXELS])?;
        tensor::eval(&[&rows])?;
        Ok(Self { plan, digits, rows, network, random, order: Vec::new(), losses: Vec::new() })
    }

    /// Some updates in one graph.
    fn update(&mut self, count: usize) -> tensor::Result<()> {
        let mut losses = Vec::new();
        for _ in 0..count {
            let (rows, labels) = self.batch();
            let picked = rows.iter().map(|row| i32::try_from(*row).unwrap_or(i32::MAX)).collect::<Vec<i32>>();
            let x = self.rows.gather(0, &Tensor::new(&picked, &[picked.len()])?)?;
            let mut wanted = vec![0f32; labels.len() * CLASSES];
            for (row, label) in labels.iter().enumerate() {
                wanted[row * CLASSES + usize::from(*label)] = 1.0;
            }
            let wanted = Tensor::new(&wanted, &[labels.len(), CLASSES])?;
            losses.push(self.network.update(&x, &wanted, self.plan.rate)?);
        }
        let all: Vec<&Tensor> = losses.iter().chain(self.network.weights()).collect();
        tensor::eval(&all)?;
        for loss in losses {
            self.losses.push(loss.item()?);
        }
        Ok(())
    }

    /// The next rows among those that are trained on, and what they show.
    fn batch(&mut self) -> (Vec<usize>, Vec<u8>) {
        let mut rows = Vec::new();
        while rows.len() < self.plan.batch as usize {
            if self.order.is_empty() {
                self.order = (0..self.rows.dims()[0]).collect();
                // Fisher and Yates.
                for at in (1..self.order.len()).rev() {
                    let other = self.random.below(at + 1);
                    self.order.swap(at, other);
                }
            }
            rows.extend(self.order.pop());
        }
        // Row n of those that are trained on, where every fifth is left out.
        let labels = rows.iter().map(|row| self.digits.label(row / (HELD_OUT - 1) * HELD_OUT + row % (HELD_OUT - 1)));
        let labels = labels.collect();
        (rows, labels)
    }

    /// The rows that were kept for the test, and what they show.
    fn kept(&self) -> tensor::Result<(Tensor, Vec<i32>)> {
        let kept: Vec<usize> = (0..self.digits.len()).filter(|row| is_held_out(*row)).collect();
        let labels = kept.iter().map(|row| self.digits.label(*row).into()).collect();
        Ok((Tensor::new(&self.digits.pixels(&kept), &[kept.len(), PIXELS])?, labels))
    }
}

/// The likeliest class of each row of scores.
fn told(scores: &Tensor) -> tensor::Result<Vec<i32>> {
    scores.argmax(1)?.to_vec()
}

fn alike(one: &[i32], other: &[i32]) -> usize {
    one.iter().zip(other).filter(|(one, other)| one == other).count()
}

fn is_held_out(row: usize) -> bool {
    row % HELD_OUT == HELD_OUT - 1
}

/// A generator that is the same everywhere: xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, len: usize) -> usize {
        usize::try_from((self.next() >> 33) % len.max(1) as u64).unwrap_or(0)
    }

    /// A number from -1 to 1.
    fn number(&mut self) -> f32 {
        let bits = u16::try_from(self.next() >> 48).unwrap_or(0);
        f32::from(bits) / 32768.0 - 1.0
    }
}

fn mean(numbers: &[f32]) -> f32 {
    let count = u16::try_from(numbers.len()).unwrap_or(u16::MAX).max(1);
    numbers.iter().sum::<f32>() / f32::from(count)
}

fn within(field: &str, given: u32, most: u32) -> Result<(), String> {
    if (1..=most).contains(&given) { Ok(()) } else { Err(format!("{field} is {given}, allowed 1 to {most}")) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits() -> Digits {
        Digits::parse(include_str!("../cases/hundred/input/digits.csv")).unwrap()
    }

    fn trained(plan: Plan) -> Train {
        let mut task = Train::new(plan, digits()).unwrap();
        while task.step().unwrap() == Step::More {}
        task
    }

    #[test]
    fn the_loss_falls_and_rows_that_were_never_seen_are_told() {
        let task = trained(Plan { updates: 200, batch: 16, ..Plan::default() });
        assert!(mean(&task.losses[190..]) < 0.2 * mean(&task.losses[..10]), "{:?}", task.losses);
        let (x, labels) = task.kept().unwrap();
        let small = EightBits::new(&task.network, &task.rows).unwrap();
        for scores in [task.network.scores(&x).unwrap(), small.scores(&x).unwrap()] {
            let right = alike(&told(&scores).unwrap(), &labels);
            assert!(right * 10 > labels.len() * 6, "{right} of {}", labels.len());
        }
    }

    #[test]
    fn the_size_of_a_step_changes_no_bit_of_the_weights() {
        let plan = Plan { updates: 12, batch: 16, hidden: 8, ..Plan::default() };
        let weights = |per_step: u32| {
            let task = trained(Plan { updates_per_step: per_step, ..plan.clone() });
            safetensors(&task.network.parts().unwrap())
        };
        assert_eq!(weights(1), weights(12));
        assert_eq!(weights(5), weights(12));
    }

    #[test]
    fn the_labels_of_a_batch_are_those_of_its_rows() {
        let mut task = Train::new(Plan { batch: 80, ..Plan::default() }, digits()).unwrap();
        let pixels = task.rows.to_vec::<f32>().unwrap();
        let (rows, labels) = task.batch();
        for (row, label) in rows.into_iter().zip(labels) {
            let pixels = &pixels[row * PIXELS..(row + 1) * PIXELS];
            let same = (0..task.digits.len()).find(|at| task.digits.pixels(&[*at]) == pixels).unwrap();
            assert_eq!(task.digits.label(same), label);
        }
    }

    #[test]
    fn a_plan_out_of_bounds_is_refused_with_its_value() {
        let refused = |plan| Train::start(plan).map(|_| ()).unwrap_err();
        assert_eq!(refused(Plan { batch: 0, ..Plan::default() }), "batch is 0, allowed 1 to 4096");
        assert_eq!(refused(Plan { rate: f32::NAN, ..Plan::default() }), "rate is NaN, allowed above 0, at most 10");
    }
}
