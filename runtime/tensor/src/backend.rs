//! Who computes the graphs that guests send: a [`Backend`]. All of them give the oracle's bits (T2), so which one ran is
//! the host's own affair and never part of a result.

use crate::{Halt, Tensor, cpu, oracle};
use samebit_spec::tensor::{Graph, GraphError, Node, Plan, TensorError};

/// Computes whole graphs.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// What it is, for people: `cpu, AVX-512`, or the adapter and its driver.
    fn describe(&self) -> String;

    /// Why it has given up what it was opened for, so that the CPU now computes in its place; none while it has not.
    fn given_up(&self) -> Option<String> {
        None
    }

    /// The graph's outputs, in its order. `plan` is what [`Graph::plan`] gave for the types of `outside`, and its fuel and
    /// memory are paid for. `stop` is asked between operations, and from block to block of long ones: when it says yes, the run ends as
    /// [`Fault::Stopped`].
    ///
    /// # Errors
    /// [`Failure::Refused`], the same on every backend: an index outside its axis. [`Failure::Fault`]: this host's.
    fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure>;
}

/// Why a planned graph gave no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What the elements decide: the guest gets it as a value.
    #[error(transparent)]
    Refused(#[from] GraphError),
    /// What happened to this host: never a result.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What can happen to a host while it computes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The host ended the run.
    #[error("the host ended the run while tensors were computed")]
    Stopped,
    /// The device went away, had no memory left, or did not end in time.
    #[error("{device}: {reason}")]
    Device {
        /// Which one.
        device: String,
        /// What it or its driver said.
        reason: String,
    },
}

/// The CPU backend: [`cpu::eval`] node by node, on the threads of the current `rayon` pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn describe(&self) -> String {
        format!("cpu, {}", cpu::Level::best())
    }

    fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        evaluate(graph, plan, outside, &Halt::new(stop), |node, inputs, halt| cpu::eval_until(halt, &node.op, inputs))
    }
}

/// The oracle as a backend: slow, for tests and audits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Oracle;

impl Backend for Oracle {
    fn describe(&self) -> String {
        "oracle".to_owned()
    }

    fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        evaluate(graph, plan, outside, &Halt::new(stop), |node, inputs, _| oracle::eval(&node.op, inputs))
    }
}

/// Node by node, each value let go after the last node that reads it.
fn evaluate(
    graph: &Graph,
    plan: &Plan,
    outside: &[Tensor],
    halt: &Halt<'_>,
    mut eval: impl FnMut(&Node, &[&Tensor], &Halt<'_>) -> Result<Vec<Tensor>, TensorError>,
) -> Result<Vec<Tensor>, Failure> {
    let mut last = vec![0; plan.types.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        for value in &node.inputs {
            last[*value as usize] = at;
        }
    }
    for value in &graph.outputs {
        last[*value as usize] = graph.nodes.len();
    }
    let mut values: Vec<Option<Tensor>> = outside.iter().cloned().map(Some).collect();
    let value = |values: &[Option<Tensor>], id: u32| -> Tensor {
        values[id as usize].clone().expect("planned: a value is there until its last reader")
    };
    for (at, node) in graph.nodes.iter().enumerate() {
        if halt.asked() {
            return Err(Fault::Stopped.into());
        }
        let inputs: Vec<Tensor> = node.inputs.iter().map(|id| value(&values, *id)).collect();
        let made = eval(node, &inputs.iter().collect::<Vec<_>>(), halt)
            .map_err(|error| GraphError::Node { node: at, error })?;
        if halt.was_heard() {
            return Err(Fault::Stopped.into());
        }
        drop(inputs);
        for tensor in made {
            let read = last[values.len()] > at;
            values.push(read.then_some(tensor));
        }
        for id in &node.inputs {
            if last[*id as usize] == at {
                values[*id as usize] = None;
            }
        }
    }
    Ok(graph.outputs.iter().map(|id| value(&values, *id)).collect())
}
