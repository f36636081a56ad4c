//! How fast this machine computes: what a host offers, in numbers.

use crate::{
    Gpu,
    gate::{Capability, product_speed},
    kernels::Kind,
    lower::{Dispatch, Sink},
};
use samebit_tensor::{
    Backend, Cpu, Dtype, Fault, Op, Tensor, TensorType,
    cases::{Numbers, Source},
    cpu,
};
use serde::Serialize;
use std::time::Instant;

/// Figures of an adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Side of the square products.
    pub side: u32,
    /// 10^9 operations a second of a product of `f32`, where that is offered.
    pub f32_gflops: Option<f64>,
    /// The same of `f16`.
    pub f16_gflops: Option<f64>,
    /// The same of `i8`.
    pub i8_gops: Option<f64>,
    /// 10^9 bytes a second, read and written by a copy.
    pub copy_gbytes: f64,
    /// 10^9 bytes a second, read and written by a softmax over rows of 1024.
    pub softmax_gbytes: Option<f64>,
}

/// Figures of the CPU backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuFigures {
    /// What computed.
    pub backend: String,
    /// Threads of the pool.
    pub threads: usize,
    /// As [`Figures::side`].
    pub side: u32,
    /// As [`Figures::f32_gflops`].
    pub f32_gflops: f64,
    /// As [`Figures::f16_gflops`].
    pub f16_gflops: f64,
    /// As [`Figures::i8_gops`].
    pub i8_gops: f64,
    /// As [`Figures::copy_gbytes`].
    pub copy_gbytes: f64,
}

const ROUNDS: u32 = 3;

impl Gpu {
    /// Measures this adapter, with products of `side` x `side`; of 4096, or of 512 where a processor plays the GPU, when
    /// there is none. Transfers are not in it.
    ///
    /// # Errors
    /// [`Fault::Device`].
    pub fn figures(&self, side: Option<u32>) -> Result<Figures, Fault> {
        let side = side.unwrap_or(if self.software { 512 } else { 4096 });
        let has = self.capabilities();
        let product = |capability: Capability| -> Result<Option<f64>, Fault> {
            let choice = &self.report.choice;
            has.contains(&capability).then(|| product_speed(&self.device, choice, capability, side, ROUNDS)).transpose()
        };
        let words: u32 = if self.software { 1 << 22 } else { 1 << 27 };
        let of = TensorType::new(Dtype::F32, &[words / 1024, 1024]).expect("a small shape");
        let bytes = 2.0 * f64::from(words) * 4.0;
        let copy = self.device.time(std::slice::from_ref(&of), ROUNDS, |run, values| {
            let out = run.value(of.clone())?;
            run.dispatch(Dispatch {
                kind: Kind::Copy,
                inputs: vec![&values[0]],
                outputs: vec![&out],
                count: words,
                params: vec![],
                groups: u64::from(words).div_ceil(64),
                cost: 64,
            })
        })?;
        let softmax = has
            .contains(&Capability::F32)
            .then(|| {
                self.device.time(std::slice::from_ref(&of), ROUNDS, |run, values| {
                    let op = Op::Softmax { axis: 1 };
                    crate::lower::node(run, &self.report.choice, 0, &op, values, std::slice::from_ref(&of)).map(|_| ())
                })
            })
            .transpose()?;
        Ok(Figures {
            side,
            f32_gflops: product(Capability::F32)?,
            f16_gflops: product(Capability::F16)?,
            i8_gops: product(Capability::I8)?,
            copy_gbytes: bytes / copy / 1e9,
            softmax_gbytes: softmax.map(|seconds| bytes / seconds / 1e9),
        })
    }
}

/// Measures the CPU backend on the current pool's threads.
#[must_use]
pub fn cpu_figures(side: Option<u32>) -> CpuFigures {
    let side = side.unwrap_or(512);
    let mut source = Source::new(7);
    let product = |op: &Op, inputs: [Tensor; 2]| {
        let seconds = best(|| {
            cpu::eval(op, &[&inputs[0], &inputs[1]]).expect("a product of squares");
        });
        2.0 * f64::from(side).powi(3) / seconds / 1e9
    };
    let dims = [side, side];
    let mut pair = |dtype| [(); 2].map(|()| source.tensor(dtype, &dims, Numbers::Moderate));
    let (floats, halves, bytes) = (pair(Dtype::F32), pair(Dtype::F16), pair(Dtype::I8));
    let words = vec![1u32; 1 << 24];
    let mut copied = vec![0u32; words.len()];
    let copy = best(|| {
        copied.copy_from_slice(std::hint::black_box(&words));
        std::hint::black_box(&mut copied);
    });
    CpuFigures {
        backend: Cpu.describe(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        side,
        f32_gflops: product(&Op::MatMul, floats),
        f16_gflops: product(&Op::MatMul, halves),
        i8_gops: product(&Op::MatMulInteger { a_zero: 0, b_zero: 0 }, bytes),
        copy_gbytes: 2.0 * 4.0 * f64::from(1 << 24) / copy / 1e9,
    }
}

/// Seconds of the fastest of a few rounds, after one to warm up.
fn best(mut work: impl FnMut()) -> f64 {
    (0..=ROUNDS).fold(f64::MAX, |best, _| {
        let begun = Instant::now();
        work();
        best.min(begun.elapsed().as_secs_f64())
    })
}
