//! Tensor operations on GPUs with the oracle's bits (`spec/09-tensor.md`), through wgpu.
//!
//! Shader languages promise too little for that: compilers may fuse a product with a sum, reorder, flush and assume that
//! there is no NaN. So every kernel is built such that an integer instruction, which no compiler may skip, stands between
//! float operations, or (for products, where that would cost) in several protected variants; and no adapter is believed:
//! the [conformance gate](Report) runs stored hard cases through every kernel of an adapter and driver first, takes the fastest
//! variant whose bits are the oracle's, and leaves out the capability of which none passes. In service [`Checked`] computes
//! one operation of some runs again on the CPU.
//!
//! Every operation of the chapter has a kernel. What an adapter does not take (a capability that it did not show, more buffers
//! than it binds, a piece of work that cannot be cut short) it [declines](Accelerator::declines) before anything is computed;
//! [`Checked`] gives that to the CPU and says so.
//!
//! Invariants:
//! - G1: a result has the oracle's bits, or there is none.
//! - G2: a lost device, memory that runs out, a missed deadline are [`samebit_tensor::Fault::Device`]: never a result, never a panic.
//! - G3: an index outside its axis is refused as on every backend.

mod adapter;
mod checked;
mod device;
mod elements;
mod figures;
mod gate;
mod kernels;
mod lower;
mod memory;
pub mod spirv;

pub use adapter::{Adapter, OpenError, adapters};
pub use checked::{Accelerator, Checked, FAULTS_MAX};
pub use figures::{CpuFigures, Figures, cpu_figures};
pub use gate::{Capability, Choice, OpResult, Report, Trial};
pub use kernels::{Dot, Mac};

use samebit_tensor::{Backend, Dtype, Failure, Fault, Graph, Op, Plan, Tensor};
use std::{path::PathBuf, time::Duration};

/// How an adapter is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time without an answer from the device.
    pub deadline: Duration,
    /// Bytes of tensors that stay on the device between runs.
    pub kept_bytes: u64,
    /// Words of one buffer, a power of two; what the adapter binds when there is none. Larger tensors lie in several.
    pub piece_words: Option<u32>,
    /// Steps of one submission, roughly; what the kind of adapter can do in a tenth of a second.
    pub work_per_submission: u64,
    /// Longest inner axis of one dispatch of a product, and most elements under a window in one of a pool.
    pub inner_max: u32,
    /// Where passed gates are kept, for each adapter, driver and version of the kernels; nowhere when there is none.
    pub gate_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            kept_bytes: 4 << 30,
            piece_words: None,
            work_per_submission: 1 << 33,
            inner_max: 1 << 20,
            gate_folder: None,
        }
    }
}

/// An open adapter that has gone through the gate.
#[derive(Debug)]
pub struct Gpu {
    adapter: Adapter,
    gate_folder: Option<PathBuf>,
    device: device::Device,
    driver: String,
    software: bool,
    report: Report,
}

impl Gpu {
    /// Opens an adapter and sends it through the gate, unless it has passed before and was not found wrong since.
    ///
    /// # Errors
    /// [`OpenError::Refused`] when the driver gives no device. An adapter that passes nothing opens: its report says why.
    pub fn open(adapter: &Adapter, options: Options) -> Result<Self, OpenError> {
        let folder = options.gate_folder.clone();
        let device = device::Device::open(adapter, options)?;
        let report = gate::pass(adapter, &device, folder.as_deref());
        Ok(Self {
            adapter: adapter.clone(),
            gate_folder: folder,
            device,
            driver: adapter.driver(),
            software: adapter.is_software(),
            report,
        })
    }

    /// What the gate found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What this adapter is used for.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability> {
        self.report.choice.capabilities()
    }

    /// The capability that a graph needs and this adapter does not have, and why.
    fn lacks(&self, graph: &Graph, plan: &Plan) -> Option<String> {
        let has = self.capabilities();
        graph
            .nodes
            .iter()
            .map(|node| match node.op {
                Op::MatMulInteger { .. } => Capability::I8,
                Op::MatMul if node.inputs.first().map(|at| plan.types[*at as usize].dtype) == Some(Dtype::F16) => {
                    Capability::F16
                }
                _ => Capability::F32,
            })
            .find(|needed| !has.contains(needed))
            .map(|lacking| {
                let why = self.report.refused.get(lacking.name()).map_or("", String::as_str);
                format!("does not offer {}: {why}", lacking.name())
            })
    }
}

impl Accelerator for Gpu {
    fn declines(&self, graph: &Graph, plan: &Plan) -> Option<String> {
        self.lacks(graph, plan).or_else(|| self.device.declines(&self.report.choice, graph, plan))
    }

    /// The kept report counts no more: whoever opens the adapter next sends it through the gate anew.
    fn found_wrong(&self, why: &str) {
        if let Some(folder) = &self.gate_folder {
            self.report.refute(&self.adapter, folder, why);
        }
    }
}

impl Backend for Gpu {
    fn describe(&self) -> String {
        let capabilities: Vec<&str> = self.capabilities().into_iter().map(Capability::name).collect();
        format!("{}, {}: every operation of {}", self.device.name, self.driver, capabilities.join(", "))
    }

    fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        if let Some(lacking) = self.lacks(graph, plan) {
            return Err(self.device.fault(lacking).into());
        }
        self.device.run(&self.report.choice, graph, plan, outside, stop)
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused { adapter, reason } => Self::Device { device: adapter, reason },
        }
    }
}
