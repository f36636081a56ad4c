//! A backend that is believed only as long as it is right.
//!
//! One run in so many, an operation of it is computed again on the CPU. When the bits differ, the backend is not used again
//! and everything from then on is computed on the CPU, so a device that begins to err costs no host its bond. A run that
//! ends in a fault of the device is computed on the CPU too; after [`FAULTS_MAX`] such runs in a row the device is given up.

use samebit_tensor::{Backend, Cpu, Failure, Fault, Graph, GraphError, Plan, Tensor, cpu};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Runs in a row that a device may fail.
pub const FAULTS_MAX: u64 = 3;

/// A backend with spot checks.
#[derive(Debug)]
pub struct Checked<B> {
    inner: B,
    /// One run in this many is checked.
    every: u64,
    runs: AtomicU64,
    checks: AtomicU64,
    faults: AtomicU64,
    faults_in_a_row: AtomicU64,
    withdrawn: Mutex<Option<String>>,
}

impl<B: Backend> Checked<B> {
    /// Checks one run in `every`, at least one in one.
    pub fn new(inner: B, every: u64) -> Self {
        Self {
            inner,
            every: every.max(1),
            runs: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            faults_in_a_row: AtomicU64::new(0),
            withdrawn: Mutex::default(),
        }
    }

    /// The backend that is checked.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Why it is not used any more; none while it is.
    pub fn withdrawn(&self) -> Option<String> {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many operations were computed again.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// How many runs the device failed, which the CPU then computed.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Runs the graph with one node's operands and results among its outputs, and compares.
    fn checked(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
        node: usize,
    ) -> Result<Vec<Tensor>, Failure> {
        let mut asked = graph.clone();
        let chosen = &graph.nodes[node];
        let before: usize = graph.nodes[..node].iter().map(|node| node.op.outputs()).sum();
        let first = u32::try_from(outside.len() + before).expect("a graph is small");
        asked.outputs.extend(&chosen.inputs);
        asked.outputs.extend((first..).take(chosen.op.outputs()));
        let mut made = self.inner.run(&asked, plan, outside, stop)?;
        let mut more = made.split_off(graph.outputs.len());
        let results = more.split_off(chosen.inputs.len());
        self.checks.fetch_add(1, Ordering::Relaxed);
        let operands: Vec<&Tensor> = more.iter().collect();
        let wanted = cpu::eval(&chosen.op, &operands).map_err(|error| GraphError::Node { node, error })?;
        if wanted == results {
            return Ok(made);
        }
        let why = format!("{} had other bits than on the CPU", chosen.op.name());
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        Cpu.run(graph, plan, outside, stop)
    }
}

impl<B: Backend> Backend for Checked<B> {
    fn describe(&self) -> String {
        match self.withdrawn() {
            None => {
                let faults = self.faults();
                let failed = if faults == 0 {
                    String::new()
                } else {
                    format!(", {faults} runs computed on the CPU after faults")
                };
                format!("{}, one run in {} checked{failed}", self.inner.describe(), self.every)
            }
            Some(why) => format!("{}, in the place of {}: {why}", Cpu.describe(), self.inner.describe()),
        }
    }

    fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        if self.withdrawn().is_some() {
            return Cpu.run(graph, plan, outside, stop);
        }
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        // Which run and which node is nobody's to foresee; it decides nothing about a result.
        let draw = RandomState::new().hash_one(run);
        let drawn = draw.is_multiple_of(self.every) && !graph.nodes.is_empty();
        let made = if drawn {
            let node = usize::try_from(draw / self.every % graph.nodes.len() as u64).expect("below a length");
            self.checked(graph, plan, outside, stop, node)
        } else {
            self.inner.run(graph, plan, outside, stop)
        };
        let Err(Failure::Fault(Fault::Device { device, reason })) = &made else {
            self.faults_in_a_row.store(0, Ordering::Relaxed);
            return made;
        };
        // What the device cannot do now, the CPU can; the host hears of it through `describe`.
        self.faults.fetch_add(1, Ordering::Relaxed);
        if self.faults_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX {
            let why = format!("{device}: {reason}");
            self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        }
        Cpu.run(graph, plan, outside, stop)
    }
}
