//! Graphs of tensor operations from a seed: hard cases of every operation, further nodes on what they make, and damage to the
//! bytes. A graph is refused, the same twice, or what the fast backend makes of it has the oracle's bits (`spec/09-tensor.md`).

use crate::{compare::Stats, rng::Rng};
use samebit_spec::tensor::{Dtype, Gelu, Graph, Node, Op, TensorType};
use samebit_tensor::{Backend, Cpu, Failure, Oracle, Tensor, cases::cases};

/// Bytes that a graph may make.
const MEMORY: u64 = 64 << 20;
/// Fuel of the dearest graph that is computed: the oracle is slow.
const FUEL: u64 = 20_000_000;

/// Checks the graph of a seed.
///
/// # Errors
/// What is wrong, in words.
pub fn check(seed: u64) -> Result<Stats, String> {
    let mut rng = Rng::new(seed ^ 0x7e50);
    let (graph, outside) = graph(&mut rng);
    let whole = graph.to_bytes();
    if Graph::from_bytes(&whole).ok().as_ref() != Some(&graph) {
        return Err(format!("other than it was sent: {graph:?}"));
    }
    let mut stats = computed(&graph, &outside)?;
    for _ in 0..8 {
        let bytes = damaged(&mut rng, &whole);
        let Ok(graph) = Graph::from_bytes(&bytes) else { continue };
        if graph.to_bytes() != bytes {
            return Err(format!("two encodings of one graph: {bytes:02x?}"));
        }
        stats.add(&computed(&graph, &outside)?);
    }
    Ok(stats)
}

/// Operations with operands that suit them, then some on whatever is there.
fn graph(rng: &mut Rng) -> (Graph, Vec<Tensor>) {
    let all = cases(rng.below(16));
    let (mut outside, mut heads) = (Vec::new(), Vec::new());
    for _ in 0..=rng.below(3) {
        let case = &all[rng.index(all.len())];
        let first = number(outside.len());
        heads.push(Node { op: case.op.clone(), inputs: (first..).take(case.inputs.len()).collect() });
        outside.extend(case.inputs.iter().cloned());
    }
    let mut values = number(outside.len());
    let mut nodes = Vec::new();
    for head in heads {
        values += number(head.op.outputs());
        nodes.push(head);
    }
    for _ in 0..rng.below(6) {
        let op = any_op(rng);
        let count = match op {
            Op::Where => 3,
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::Less | Op::MatMul | Op::Concat { .. } => 2,
            _ => 1,
        };
        // Sometimes one that is not there.
        let known = values as usize + usize::from(rng.one_in(20));
        let inputs = (0..count).map(|_| number(rng.index(known))).collect();
        values += number(op.outputs());
        nodes.push(Node { op, inputs });
    }
    let outputs = (0..=rng.below(4)).map(|_| number(rng.index(values as usize))).collect();
    (Graph { nodes, outputs }, outside)
}

fn any_op(rng: &mut Rng) -> Op {
    let axis = u8::try_from(rng.below(3)).unwrap_or(0);
    match rng.below(20) {
        0 => Op::Neg,
        1 => Op::Exp,
        2 => Op::Tanh,
        3 => Op::Gelu(rng.pick(&[Gelu::Erf, Gelu::Tanh])),
        4 => Op::Cast(rng.pick(&[Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8])),
        5 => Op::Add,
        6 => Op::Sub,
        7 => Op::Mul,
        8 => Op::Div,
        9 => Op::Min,
        10 => Op::Max,
        11 => Op::Less,
        12 => Op::MatMul,
        13 => Op::Softmax { axis },
        14 => Op::ReduceSum { axes: vec![axis], keep: rng.one_in(2) },
        15 => Op::ArgMax { axis, keep: rng.one_in(2) },
        16 => Op::Concat { axis },
        17 => Op::TopK { axis, k: number(rng.index(4)), largest: rng.one_in(2) },
        18 => Op::Where,
        _ => Op::Transpose { order: rng.pick(&[[0, 1], [1, 0]]).to_vec() },
    }
}

/// The bytes after an accident or two.
fn damaged(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(2) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.index(bytes.len());
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.pick(&[0, 1, 2, 3, 0x7f, 0x80, 0xff]),
            2 => bytes.truncate(at),
            _ => {
                bytes.remove(at);
            }
        }
    }
    bytes
}

/// Refused the same twice, or computed with equal bits.
fn computed(graph: &Graph, outside: &[Tensor]) -> Result<Stats, String> {
    let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
    let plan = graph.plan(&types, MEMORY);
    if plan != graph.plan(&types, MEMORY) {
        return Err(format!("planned otherwise the second time: {graph:?}"));
    }
    let Ok(plan) = plan else { return Ok(Stats::default()) };
    if plan.bytes > MEMORY {
        return Err(format!("{} bytes, more than {MEMORY}: {graph:?}", plan.bytes));
    }
    if plan.fuel > FUEL {
        return Ok(Stats::default());
    }
    let run = |backend: &dyn Backend| -> Result<Vec<Tensor>, Failure> { backend.run(graph, &plan, outside, &|| false) };
    let (fast, exact) = (run(&Cpu), run(&Oracle));
    if fast != exact {
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        let said = |of: &Result<Vec<Tensor>, Failure>| match of {
            Ok(made) => format!("{} values", made.len()),
            Err(failure) => failure.to_string(),
        };
        return Err(format!("{} on the CPU, {} by the oracle, or other bits: {names:?}", said(&fast), said(&exact)));
    }
    for (value, made) in graph.outputs.iter().zip(exact.unwrap_or_default()) {
        if *made.of() != plan.types[*value as usize] {
            return Err(format!("value {value} is {}, planned {}", made.of(), plan.types[*value as usize]));
        }
    }
    Ok(Stats { modules: 1, ..Stats::default() })
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
