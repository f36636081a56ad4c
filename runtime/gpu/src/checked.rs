//! A backend that is believed only as long as it is right.
//!
//! One run in so many, an operation of it is computed again on the CPU. When the bits differ, the backend is not used again
//! and everything from then on is computed on the CPU, so a device that begins to err costs no host its bond; and it is
//! [told](Accelerator::found_wrong), so that a restart does not believe what it showed before. A refusal is
//! always computed again: it is a result too, and says nothing that could be compared in part. A run that ends in a fault
//! of the device is computed on the CPU too; after [`FAULTS_MAX`] such runs in a row the device is given up. A graph that it
//! [declines](Accelerator::declines) goes to the CPU and is nothing against it.

use crate::memory::lock;
use samebit_tensor::{Backend, Cpu, Failure, Fault, Graph, GraphError, Halt, Plan, Tensor, cpu};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// A backend that does not take every graph.
pub trait Accelerator: Backend {
    /// Why it does not take this one, before anything is computed; none when it does.
    fn declines(&self, graph: &Graph, plan: &Plan) -> Option<String>;

    /// It had other bits than the CPU: what it passed before counts no more. A fault is not such a thing.
    fn found_wrong(&self, why: &str);
}

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
    declined: AtomicU64,
    /// Why the last of them was.
    declined_for: Mutex<String>,
    withdrawn: Mutex<Option<String>>,
}

impl<B: Accelerator> Checked<B> {
    /// Checks one run in `every`, at least one in one.
    pub fn new(inner: B, every: u64) -> Self {
        Self {
            inner,
            every: every.max(1),
            runs: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            faults_in_a_row: AtomicU64::new(0),
            declined: AtomicU64::new(0),
            declined_for: Mutex::default(),
            withdrawn: Mutex::default(),
        }
    }

    /// The backend that is checked.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Why it is not used any more; none while it is.
    pub fn withdrawn(&self) -> Option<String> {
        lock(&self.withdrawn).clone()
    }

    /// How many operations were computed again.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// How many runs the device failed, which the CPU then computed.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// How many runs the device did not take, which the CPU computed.
    pub fn declined(&self) -> u64 {
        self.declined.load(Ordering::Relaxed)
    }

    fn withdraw(&self, why: String) {
        lock(&self.withdrawn).get_or_insert(why);
    }

    /// Gives the device up for wrong bits.
    fn refuted(&self, why: String) {
        self.inner.found_wrong(&why);
        self.withdraw(why);
    }

    /// What the CPU says to a graph that the device refused.
    fn refused(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
        error: &GraphError,
    ) -> Result<Vec<Tensor>, Failure> {
        let right = Cpu.run(graph, plan, outside, stop);
        match &right {
            Err(Failure::Refused(wanted)) if wanted == error => {}
            // Nothing is known of it.
            Err(Failure::Fault(_)) => {}
            Err(Failure::Refused(wanted)) => {
                self.refuted(format!("refused a graph with {error:?}, the CPU with {wanted:?}"))
            }
            Ok(_) => self.refuted(format!("refused a graph that the CPU computes: {error}")),
        }
        right
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
        let operands: Vec<&Tensor> = more.iter().collect();
        let halt = Halt::new(stop);
        let wanted = cpu::eval_until(&halt, &chosen.op, &operands);
        if halt.was_heard() {
            // What the CPU has of it is not whole, and says nothing of the backend.
            return Err(Fault::Stopped.into());
        }
        self.checks.fetch_add(1, Ordering::Relaxed);
        match wanted {
            Ok(wanted) if wanted == results => return Ok(made),
            Ok(_) => self.refuted(format!("{} had other bits than on the CPU", chosen.op.name())),
            Err(error) => self.refuted(format!("{} had a result, and the CPU refuses: {error}", chosen.op.name())),
        }
        Cpu.run(graph, plan, outside, stop)
    }
}

impl<B: Accelerator> Backend for Checked<B> {
    fn describe(&self) -> String {
        match self.withdrawn() {
            None => {
                let faults = self.faults();
                let failed = if faults == 0 {
                    String::new()
                } else {
                    format!(", {faults} runs computed on the CPU after faults")
                };
                let declined = self.declined();
                let left = if declined == 0 {
                    String::new()
                } else {
                    format!(", {declined} runs left to the CPU, the last for: {}", lock(&self.declined_for))
                };
                format!("{}, one run in {} checked{failed}{left}", self.inner.describe(), self.every)
            }
            Some(why) => format!("{}, in the place of {}: {why}", Cpu.describe(), self.inner.describe()),
        }
    }

    fn given_up(&self) -> Option<String> {
        self.withdrawn()
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
        if let Some(why) = self.inner.declines(graph, plan) {
            self.declined.fetch_add(1, Ordering::Relaxed);
            *lock(&self.declined_for) = why;
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
            return match &made {
                Err(Failure::Refused(error)) => self.refused(graph, plan, outside, stop, error),
                _ => made,
            };
        };
        // What the device cannot do now, the CPU can; the host hears of it through `describe`.
        self.faults.fetch_add(1, Ordering::Relaxed);
        if self.faults_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX {
            self.withdraw(format!("{device}: {reason}"));
        }
        Cpu.run(graph, plan, outside, stop)
    }
}
