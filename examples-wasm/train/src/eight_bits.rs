//! The network in eight bits: made of a trained one, not trained itself.
//!
//! Weights are `i8` with a scale for each unit, activations `i8` with one scale that a look at the rows that were trained on
//! gives. Products are exact sums of integers; only their scales and the biases are in floats.

use crate::network::{Network, Part};
use samebit::tensor::{Dtype, Result, Tensor, quantise};

/// One layer: `x` in, a sum for each unit out.
#[derive(Debug)]
struct Layer {
    /// `[in, out]`.
    weights: Tensor,
    /// What 1 of the weights of each unit stands for.
    scale: Tensor,
    /// What 1 of the activations that come in stands for.
    scale_in: Tensor,
    /// What 1 of each unit's sums stands for.
    scale_out: Tensor,
    bias: Tensor,
}

impl Layer {
    /// Of weights `[out, in]`, for activations like these.
    fn new(weights: &Tensor, bias: &Tensor, like: &Tensor) -> Result<Self> {
        let small = quantise(weights, Some(0))?;
        let scale_in = quantise(like, None)?.scale;
        let scale_out = small.scale.mul(&scale_in)?;
        let weights = small.values.transpose(0, 1)?;
        Ok(Self { weights, scale: small.scale, scale_in, scale_out, bias: bias.clone() })
    }

    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.quantize_linear(&self.scale_in, &Tensor::scalar(0_i8)?, 0)?;
        let sums = x.matmul_integer(&self.weights, 0, 0)?;
        let zeros = Tensor::full(0_i32, &self.scale_out.dims())?;
        sums.dequantize_linear(&self.scale_out, &zeros, 1)?.add(&self.bias)
    }
}

/// Both layers.
#[derive(Debug)]
pub(crate) struct EightBits {
    layers: [Layer; 2],
}

impl EightBits {
    /// Of a trained network, for activations as those that `rows [rows, pixels]` lead to.
    pub(crate) fn new(network: &Network, rows: &Tensor) -> Result<Self> {
        let [hidden, hidden_bias, scores, scores_bias] = network.weights();
        let layers = [Layer::new(hidden, hidden_bias, rows)?, Layer::new(scores, scores_bias, &network.hidden(rows)?)?];
        Ok(Self { layers })
    }

    /// `x [rows, pixels]` to `[rows, classes]`, the greatest for the likeliest.
    pub(crate) fn scores(&self, x: &Tensor) -> Result<Tensor> {
        self.layers[1].of(&self.layers[0].of(x)?.relu()?)
    }

    /// What the model's file holds.
    pub(crate) fn parts(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (layer, name) in self.layers.iter().zip(["hidden", "scores"]) {
            for (what, tensor) in [
                ("weight", &layer.weights.transpose(0, 1)?),
                ("weight.scale", &layer.scale),
                ("input.scale", &layer.scale_in),
                ("bias", &layer.bias),
            ] {
                let bytes = match tensor.dtype() {
                    Dtype::I8 => tensor.to_vec::<i8>()?.into_iter().map(i8::cast_unsigned).collect(),
                    _ => tensor.to_vec::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
                };
                parts.push(Part { name: format!("{name}.{what}"), dtype: tensor.dtype(), dims: tensor.dims(), bytes });
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, digits::PIXELS};

    fn pixels(random: &mut Random, rows: usize) -> Tensor {
        let pixels: Vec<f32> = (0..rows * PIXELS).map(|_| random.number().abs()).collect();
        Tensor::new(&pixels, &[rows, PIXELS]).unwrap()
    }

    #[test]
    fn its_scores_are_near_those_of_the_network_it_was_made_of_and_not_the_same() {
        let mut random = Random(11);
        let network = Network::new(&mut random, 24).unwrap();
        let rows = pixels(&mut random, 50);
        let small = EightBits::new(&network, &rows).unwrap();
        let [whole, small] = [network.scores(&rows), small.scores(&rows)].map(|scores| scores.unwrap());
        let [whole, small] = [whole, small].map(|scores| scores.to_vec::<f32>().unwrap());
        let size = whole.iter().fold(0f32, |size, score| size.max(score.abs()));
        let furthest = whole.iter().zip(&small).fold(0f32, |far, (one, other)| far.max((one - other).abs()));
        assert!(furthest > 0.0 && furthest < 0.03 * size, "{furthest} of {size}");
    }

    #[test]
    fn an_activation_beyond_those_it_was_made_for_counts_as_the_greatest_of_them() {
        let mut random = Random(5);
        let network = Network::new(&mut random, 8).unwrap();
        let rows = pixels(&mut random, 20);
        let small = EightBits::new(&network, &rows).unwrap();
        let greatest: f32 = rows.max(&[]).unwrap().item().unwrap();
        let [held, beyond] = [greatest, 3.0].map(|ink| {
            let x = Tensor::full(ink, &[1, PIXELS]).unwrap();
            small.layers[0].of(&x).unwrap().to_vec::<f32>().unwrap()
        });
        assert_eq!(held, beyond);
    }
}
