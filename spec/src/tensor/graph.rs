//! A small graph of operations: what one call of a guest computes (`spec/09-tensor.md`, section 9.3).
//!
//! Values are numbered: first those from outside, then each node's in order. A node names only values before it, so a
//! graph has no cycle by construction.

use super::{GRAPH_VALUES_MAX, NODES_MAX, Op, TensorError, TensorType, fuel, infer, scratch};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Number of a value within its graph.
pub type ValueId = u32;

/// One operation on earlier values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// On what.
    pub inputs: Vec<ValueId>,
}

/// Operations in the order in which they are computed, and which values come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Graph {
    /// Operations.
    pub nodes: Vec<Node>,
    /// Values that come back, in this order.
    pub outputs: Vec<ValueId>,
}

/// Why a graph is refused. Nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// More nodes or values than one graph may have.
    #[error("{what}: {found}, at most {most}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// A value that is not there yet, or never.
    #[error("node {node} names value {value}, and {known} are known before it")]
    UnknownValue {
        /// Which node; the number of nodes for an output of the graph.
        node: usize,
        /// The value.
        value: ValueId,
        /// How many values there are at that point.
        known: usize,
    },
    /// A node that does not go with its operands.
    #[error("node {node}: {error}")]
    Node {
        /// Which node.
        node: usize,
        /// Why.
        error: TensorError,
    },
    /// The values of the graph need more bytes than the job may hold.
    #[error("node {node} brings the tensors of this graph to {needed} bytes, and {most} are left to the job")]
    Memory {
        /// The node whose value is one too many.
        node: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        most: u64,
    },
}

impl GraphError {
    /// The number that crosses the boundary to the guest (`spec/09-tensor.md`, section 9.3).
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::TooLarge { .. } => 16,
            Self::UnknownValue { .. } => 17,
            Self::Node { error, .. } => error.code(),
            Self::Memory { .. } => 18,
        }
    }
}

/// A graph that was checked: what each value is, and what the whole costs. Known before anything is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Type of each value, those from outside first.
    pub types: Vec<TensorType>,
    /// Fuel of all nodes.
    pub fuel: u64,
    /// Bytes of all values that the nodes make, and of what is made on the way to the node that makes most.
    pub bytes: u64,
}

impl Graph {
    /// Checks the graph for values from outside of these types, of which the nodes may make `bytes_max` bytes.
    ///
    /// # Errors
    /// A [`GraphError`] that names the first node at fault.
    pub fn plan(&self, outside: &[TensorType], bytes_max: u64) -> Result<Plan, GraphError> {
        for (what, found, most) in [
            ("nodes", self.nodes.len(), NODES_MAX),
            ("values from outside", outside.len(), GRAPH_VALUES_MAX),
            ("outputs", self.outputs.len(), GRAPH_VALUES_MAX),
        ] {
            if found > most {
                return Err(GraphError::TooLarge { what, found, most });
            }
        }
        let mut plan = Plan { types: outside.to_vec(), fuel: 0, bytes: 0 };
        let mut on_the_way = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            let made = {
                let operands = node
                    .inputs
                    .iter()
                    .map(|value| named(&plan.types, at, *value))
                    .collect::<Result<Vec<&TensorType>, GraphError>>()?;
                let made = infer(&node.op, &operands).map_err(|error| GraphError::Node { node: at, error })?;
                plan.fuel = plan.fuel.saturating_add(fuel(&node.op, &operands, &made));
                on_the_way = scratch(&node.op, &operands).max(on_the_way);
                made
            };
            for value in &made {
                plan.bytes = plan.bytes.saturating_add(value.bytes());
            }
            let needed = plan.bytes.saturating_add(on_the_way);
            if needed > bytes_max {
                return Err(GraphError::Memory { node: at, needed, most: bytes_max });
            }
            plan.types.extend(made);
        }
        plan.bytes = plan.bytes.saturating_add(on_the_way);
        for value in &self.outputs {
            named(&plan.types, self.nodes.len(), *value)?;
        }
        Ok(plan)
    }
}

fn named(types: &[TensorType], node: usize, value: ValueId) -> Result<&TensorType, GraphError> {
    types.get(value as usize).ok_or(GraphError::UnknownValue { node, value, known: types.len() })
}

impl Graph {
    /// The bytes that a guest hands over.
    ///
    /// # Panics
    /// Never: no list of a graph is as long as 32 bits can count.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to memory cannot fail")
    }

    /// Reads a graph from exactly `bytes`. It is not checked yet.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, borsh::io::Error> {
        Self::try_from_slice(bytes)
    }
}
