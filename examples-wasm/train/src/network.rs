//! Two layers with a rectifier between them, and one update by gradient descent.

use crate::{
    Random,
    digits::{CLASSES, PIXELS},
};
use samebit::tensor::{Dtype, Result, Tensor};
use serde_json::json;

/// Weights as models store them: `[out, in]`, and a bias `[out]` for each layer.
#[derive(Debug)]
pub(crate) struct Network {
    weights: [Tensor; 4],
}

/// Their names in the model file.
const NAMES: [&str; 4] = ["hidden.weight", "hidden.bias", "scores.weight", "scores.bias"];

impl Network {
    /// First weights after He et al. 2015, spread evenly; biases of zero.
    pub(crate) fn new(random: &mut Random, hidden: usize) -> Result<Self> {
        let mut layer = |to: usize, from: usize| {
            let spread = (6.0 / u16::try_from(from).map_or(f32::INFINITY, f32::from)).sqrt();
            let numbers: Vec<f32> = (0..to * from).map(|_| random.number() * spread).collect();
            Tensor::new(&numbers, &[to, from])
        };
        let weights =
            [layer(hidden, PIXELS)?, Tensor::zeros(&[hidden])?, layer(CLASSES, hidden)?, Tensor::zeros(&[CLASSES])?];
        Ok(Self { weights })
    }

    pub(crate) fn weights(&self) -> &[Tensor; 4] {
        &self.weights
    }

    /// What the hidden layer makes of `x [rows, pixels]`.
    pub(crate) fn hidden(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weights[0], Some(&self.weights[1]))?.relu()
    }

    /// `x [rows, pixels]` to `[rows, classes]`, the greatest for the likeliest.
    pub(crate) fn scores(&self, x: &Tensor) -> Result<Tensor> {
        self.hidden(x)?.linear(&self.weights[2], Some(&self.weights[3]))
    }

    /// The gradient of the mean cross entropy by each of the weights, and the cross entropy itself, for rows `x` of which
    /// `wanted [rows, classes]` is 1 at the right class.
    pub(crate) fn gradient(&self, x: &Tensor, wanted: &Tensor) -> Result<([Tensor; 4], Tensor)> {
        let hidden = self.hidden(x)?;
        let likely = hidden.linear(&self.weights[2], Some(&self.weights[3]))?.softmax(1)?;
        // Held off zero, whose logarithm is infinite.
        let loss = likely.mul(wanted)?.sum(&[1])?.clip(1e-30, 1.0)?.log()?.mean(&[])?.neg()?;
        let rows = u16::try_from(x.dims()[0]).map_or(f32::INFINITY, f32::from);
        let by_scores = likely.sub(wanted)?.mul(1.0 / rows)?;
        let by_hidden = hidden.greater(0.0)?.select(by_scores.matmul(&self.weights[2])?, 0.0)?;
        let turned = |of: &Tensor, by: &Tensor| of.gemm(by, None, (1.0, 0.0), (true, false));
        let by_weights =
            [turned(&by_hidden, x)?, by_hidden.sum(&[0])?, turned(&by_scores, &hidden)?, by_scores.sum(&[0])?];
        Ok((by_weights, loss))
    }

    /// Takes `rate` times the gradient off the weights; gives the loss before.
    pub(crate) fn update(&mut self, x: &Tensor, wanted: &Tensor, rate: f32) -> Result<Tensor> {
        let (gradient, loss) = self.gradient(x, wanted)?;
        for (weights, gradient) in self.weights.iter_mut().zip(gradient) {
            *weights = weights.sub(gradient.mul(rate)?)?;
        }
        Ok(loss)
    }

    /// What the model's file holds.
    pub(crate) fn parts(&self) -> Result<Vec<Part>> {
        let part = |(name, weights): (&&str, &Tensor)| {
            let bytes = weights.to_vec::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect();
            Ok(Part { name: (*name).to_string(), dtype: Dtype::F32, dims: weights.dims(), bytes })
        };
        NAMES.iter().zip(&self.weights).map(part).collect()
    }
}

/// A tensor of a model's file.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) dims: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A file of the format safetensors: length of the header, header, the parts' bytes one behind the other.
pub(crate) fn safetensors(parts: &[Part]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut start = 0;
    for Part { name, dtype, dims, bytes } in parts {
        let end = start + bytes.len();
        let dtype = dtype.to_string().to_uppercase();
        header.insert(name.clone(), json!({"dtype": dtype, "shape": dims, "data_offsets": [start, end]}));
        start = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(parts.iter().flat_map(|part| &part.bytes));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss after one number of one tensor of weights moved by `by`.
    fn loss(network: &Network, [of, at]: [usize; 2], by: f32, [x, wanted]: [&Tensor; 2]) -> f32 {
        let mut moved = Network { weights: network.weights.clone() };
        let mut numbers = moved.weights[of].to_vec::<f32>().unwrap();
        numbers[at] += by;
        moved.weights[of] = Tensor::new(&numbers, &moved.weights[of].dims()).unwrap();
        moved.gradient(x, wanted).unwrap().1.item().unwrap()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut random = Random(7);
        let network = Network::new(&mut random, 6).unwrap();
        let pixels: Vec<f32> = (0..5 * PIXELS).map(|_| random.number()).collect();
        let x = Tensor::new(&pixels, &[5, PIXELS]).unwrap();
        let mut wanted = vec![0f32; 5 * CLASSES];
        for row in 0..5 {
            wanted[row * CLASSES + random.below(CLASSES)] = 1.0;
        }
        let wanted = Tensor::new(&wanted, &[5, CLASSES]).unwrap();
        let (gradient, _) = network.gradient(&x, &wanted).unwrap();
        for (of, gradient) in gradient.iter().enumerate() {
            let slopes = gradient.to_vec::<f32>().unwrap();
            for at in (0..slopes.len()).step_by(slopes.len().div_ceil(17)) {
                let near = |by| loss(&network, [of, at], by, [&x, &wanted]);
                let slope = (near(0.01) - near(-0.01)) / 0.02;
                assert!((slope - slopes[at]).abs() < 2e-3 + 0.05 * slope.abs(), "{of}, {at}: {slope}, {}", slopes[at]);
            }
        }
    }

    #[test]
    fn the_model_is_read_again_as_it_was_written() {
        let network = Network::new(&mut Random(3), 5).unwrap();
        let path = std::env::temp_dir().join(format!("samebit-train-{}.safetensors", std::process::id()));
        std::fs::write(&path, safetensors(&network.parts().unwrap())).unwrap();
        let file = samebit::tensor::Safetensors::open(&path).unwrap();
        for (name, weights) in NAMES.iter().zip(&network.weights) {
            let read = file.tensor(name).unwrap();
            assert_eq!(read.dims(), weights.dims());
            assert_eq!(read.to_vec::<f32>().unwrap(), weights.to_vec::<f32>().unwrap());
        }
        std::fs::remove_file(path).unwrap();
    }
}
