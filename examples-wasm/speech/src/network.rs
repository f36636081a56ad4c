//! silero-vad: a Fourier transform as a convolution, four convolutions, a cell of long short-term memory (Hochreiter and
//! Schmidhuber 1997), and one score.

use samebit::tensor::{Result, Safetensors, Tensor, Window, eval};

/// Samples of a chunk.
pub(crate) const CHUNK: usize = 512;
/// Samples before a chunk that are looked at with it.
pub(crate) const CONTEXT: usize = 64;
/// Samples that are mirrored behind a chunk.
const MIRRORED: usize = 64;
const SAMPLES: usize = CONTEXT + CHUNK + MIRRORED;
/// Frequencies of the transform; it gives as many real and as many imaginary parts.
const FREQUENCIES: usize = 129;
const WIDTH: usize = 128;

/// The weights.
#[derive(Debug)]
pub(crate) struct Network {
    transform: Tensor,
    /// Weights, bias and stride.
    convolutions: Vec<(Tensor, Tensor, u32)>,
    from_input: [Tensor; 2],
    from_memory: [Tensor; 2],
    score: [Tensor; 2],
}

/// What the cell remembers, `[1, WIDTH]` each.
#[derive(Debug)]
pub(crate) struct Memory {
    hidden: Tensor,
    cell: Tensor,
}

impl Memory {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { hidden: Tensor::zeros(&[1, WIDTH])?, cell: Tensor::zeros(&[1, WIDTH])? })
    }
}

fn window(kernel: u32, stride: u32, pad: u32) -> Window {
    Window { kernel: vec![kernel], strides: vec![stride], dilations: vec![1], before: vec![pad], after: vec![pad] }
}

impl Network {
    pub(crate) fn new(weights: &Safetensors) -> Result<Self> {
        let convolution = |number: u32, stride: u32| -> Result<(Tensor, Tensor, u32)> {
            let of = |part: &str| weights.tensor(&format!("conv{number}.{part}"));
            Ok((of("weight")?, of("bias")?, stride))
        };
        let score = weights.tensor("final_conv.weight")?.reshape(&[1, WIDTH])?;
        Ok(Self {
            transform: weights.tensor("stft_conv.weight")?,
            convolutions: [(1, 1), (2, 2), (3, 2), (4, 1)]
                .into_iter()
                .map(|(number, stride)| convolution(number, stride))
                .collect::<Result<_>>()?,
            from_input: [weights.tensor("lstm_cell.weight_ih")?, weights.tensor("lstm_cell.bias_ih")?],
            from_memory: [weights.tensor("lstm_cell.weight_hh")?, weights.tensor("lstm_cell.bias_hh")?],
            score: [score, weights.tensor("final_conv.bias")?],
        })
    }

    /// How likely it is that someone speaks in each chunk, after the chunks that `memory` is of.
    pub(crate) fn probabilities(&self, chunks: &[[f32; CONTEXT + CHUNK]], memory: &mut Memory) -> Result<Vec<f32>> {
        let count = chunks.len();
        let samples: Vec<f32> = chunks
            .iter()
            .flat_map(|chunk| chunk.iter().chain(chunk[CHUNK - 1..].iter().rev().skip(1)))
            .copied()
            .collect();
        let x = Tensor::new(&samples, &[count, 1, SAMPLES])?;
        let parts = x.conv(&self.transform, None, &window(256, 128, 0), 1)?;
        let square = |range: std::ops::Range<usize>| {
            let part = parts.slice(1, range)?;
            part.mul(&part)
        };
        let mut x = square(0..FREQUENCIES)?.add(square(FREQUENCIES..2 * FREQUENCIES)?)?.sqrt()?;
        for (weights, bias, stride) in &self.convolutions {
            x = x.conv(weights, Some(bias), &window(3, *stride, 1), 1)?.relu()?;
        }
        let entering = x.reshape(&[count, WIDTH])?.linear(&self.from_input[0], Some(&self.from_input[1]))?;
        let mut seen = Vec::new();
        for chunk in 0..count {
            let remembered = memory.hidden.linear(&self.from_memory[0], Some(&self.from_memory[1]))?;
            let gates = entering.slice(0, chunk..chunk + 1)?.add(&remembered)?;
            let open = gates.sigmoid()?;
            let gate = |of: &Tensor, number: usize| of.slice(1, number * WIDTH..(number + 1) * WIDTH);
            let new = gate(&gates, 2)?.tanh()?;
            memory.cell = gate(&open, 1)?.mul(&memory.cell)?.add(gate(&open, 0)?.mul(&new)?)?;
            memory.hidden = gate(&open, 3)?.mul(memory.cell.tanh()?)?;
            seen.push(memory.hidden.clone());
        }
        // One operation joins 64.
        let some = |some: &[Tensor]| Tensor::concat(&some.iter().collect::<Vec<_>>(), 0);
        let joined = seen.chunks(64).map(some).collect::<Result<Vec<Tensor>>>()?;
        drop(seen);
        let joined = some(&joined)?;
        let made = joined.relu()?.linear(&self.score[0], Some(&self.score[1]))?.sigmoid()?;
        eval(&[&made, &memory.hidden, &memory.cell])?;
        made.to_vec()
    }
}
