//! Spot checks in service, on a backend that errs: no adapter is needed for that.

use samebit_gpu::{Accelerator, Checked, FAULTS_MAX};
use samebit_tensor::{
    Backend, Cpu, Data, Dtype, Failure, Fault, Graph, GraphError, Node, Op, Plan, Tensor, TensorError, TensorType,
};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

/// The CPU backend, until it errs in the last bit of everything, is lost, does not take a graph, refuses what is right or
/// computes what is refused.
#[derive(Debug, Default)]
struct Frail {
    errs: AtomicBool,
    lost: AtomicBool,
    declines: AtomicBool,
    refuses: AtomicBool,
    lenient: AtomicBool,
    /// Whether a run of it has ended.
    ended: AtomicBool,
    /// What it was told.
    wrong: Mutex<Vec<String>>,
}

impl Accelerator for Frail {
    fn declines(&self, _: &Graph, _: &Plan) -> Option<String> {
        self.declines.load(Ordering::Relaxed).then(|| "too many buffers".to_owned())
    }

    fn found_wrong(&self, why: &str) {
        self.wrong.lock().expect("no panic").push(why.to_owned());
    }
}

impl Backend for Frail {
    fn describe(&self) -> String {
        "frail".to_owned()
    }

    fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Fault::Device { device: "frail".to_owned(), reason: "lost".to_owned() }.into());
        }
        if self.refuses.load(Ordering::Relaxed) {
            return Err(refusal(-7).into());
        }
        let mut made = match Cpu.run(graph, plan, outside, stop) {
            Err(Failure::Refused(_)) if self.lenient.load(Ordering::Relaxed) => {
                let given = graph.outputs.iter().map(|id| outside.get(*id as usize).cloned());
                return Ok(given.map(|given| given.unwrap_or_else(zeros)).collect());
            }
            made => made?,
        };
        self.ended.store(true, Ordering::Relaxed);
        if self.errs.load(Ordering::Relaxed) {
            for (tensor, id) in made.iter_mut().zip(&graph.outputs).filter(|(_, id)| **id as usize >= outside.len()) {
                let Data::F32(data) = tensor.data() else { panic!("{id} is f32 here") };
                let data = data.iter().map(|x| f32::from_bits(x.to_bits() ^ 1)).collect();
                *tensor = Tensor::new(tensor.of().clone(), Data::F32(data)).expect("the same shape");
            }
        }
        Ok(made)
    }
}

/// The first index of a Gather over an axis of 3 lies outside.
fn refusal(index: i32) -> GraphError {
    GraphError::Node { node: 0, error: TensorError::Index { op: "Gather", index, position: 0, len: 3 } }
}

fn zeros() -> Tensor {
    Tensor::f32(&[1], &[0.0]).expect("small")
}

/// A graph that the CPU refuses, for its index is 3 on an axis of 3; with 2 it is computed.
fn gather(index: i32) -> (Graph, Plan, Vec<Tensor>) {
    let indices = TensorType::new(Dtype::I32, &[1]).expect("small");
    let outside = vec![
        Tensor::f32(&[3], &[0.5, -1.0, 2.0]).expect("small"),
        Tensor::new(indices, Data::I32(vec![index])).expect("one"),
    ];
    let graph = Graph { nodes: vec![Node { op: Op::Gather { axis: 0 }, inputs: vec![0, 1] }], outputs: vec![2] };
    let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
    let plan = graph.plan(&types, u64::MAX).expect("a graph that goes together");
    (graph, plan, outside)
}

fn graph() -> (Graph, Plan, Vec<Tensor>) {
    let outside = vec![Tensor::f32(&[4], &[0.5, -1.0, 2.0, f32::NAN]).expect("small")];
    let nodes = vec![
        Node { op: Op::Exp, inputs: vec![0] },
        Node { op: Op::Add, inputs: vec![0, 1] },
        Node { op: Op::Mul, inputs: vec![2, 1] },
    ];
    let graph = Graph { nodes, outputs: vec![3] };
    let plan = graph.plan(&[outside[0].of().clone()], u64::MAX).expect("a graph that goes together");
    (graph, plan, outside)
}

#[test]
fn a_backend_that_errs_is_found_out_and_its_result_is_never_given() {
    let (graph, plan, outside) = graph();
    let right = Cpu.run(&graph, &plan, &outside, NEVER).expect("computed");
    let checked = Checked::new(Frail::default(), 1);
    for _ in 0..20 {
        assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    }
    assert_eq!((checked.checks(), checked.withdrawn()), (20, None));
    checked.inner().errs.store(true, Ordering::Relaxed);
    for _ in 0..20 {
        assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    }
    let why = checked.withdrawn().expect("found out");
    assert!(why.contains("other bits than on the CPU"), "{why}");
    assert!(checked.describe().contains(&why), "{}", checked.describe());
    assert_eq!(checked.checks(), 21, "it is not asked again");
    assert_eq!(*checked.inner().wrong.lock().expect("no panic"), [why], "it is told once");
}

/// The CPU is stopped in the middle of what it computes again: that is no result to hold a backend against.
#[test]
fn a_stop_during_a_check_ends_the_run_and_is_nothing_against_the_backend() {
    let outside = vec![Tensor::f32(&[40, 40], &[0.5; 1600]).expect("small")];
    let graph = Graph { nodes: vec![Node { op: Op::MatMul, inputs: vec![0, 0] }], outputs: vec![1] };
    let plan = graph.plan(&[outside[0].of().clone()], u64::MAX).expect("a product of squares");
    let checked = Checked::new(Frail::default(), 1);
    let stop = || checked.inner().ended.load(Ordering::Relaxed);
    assert_eq!(checked.run(&graph, &plan, &outside, &stop), Err(Failure::Fault(Fault::Stopped)));
    assert_eq!((checked.checks(), checked.withdrawn()), (0, None));
    assert!(checked.run(&graph, &plan, &outside, NEVER).is_ok(), "and it is still asked");
    assert_eq!((checked.checks(), checked.withdrawn()), (1, None));
}

#[test]
fn one_run_in_many_is_checked() {
    let (graph, plan, outside) = graph();
    let checked = Checked::new(Frail::default(), 16);
    for _ in 0..4000 {
        checked.run(&graph, &plan, &outside, NEVER).expect("computed");
    }
    // 250 are expected; further away than 125 is one chance in 10^14.
    assert!((125..375).contains(&checked.checks()), "{}", checked.checks());
}

#[test]
fn a_device_that_is_lost_is_replaced_by_the_cpu() {
    let (graph, plan, outside) = graph();
    let checked = Checked::new(Frail::default(), 1000);
    let right = Cpu.run(&graph, &plan, &outside, NEVER).expect("computed");
    // A run now and then is no reason to give a device up.
    for lost in [true, true, false, true, true] {
        checked.inner().lost.store(lost, Ordering::Relaxed);
        assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    }
    assert_eq!((checked.faults(), checked.withdrawn()), (4, None));
    assert!(checked.describe().contains("4 runs computed on the CPU"), "{}", checked.describe());
    assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    assert_eq!(FAULTS_MAX, 3);
    assert_eq!(checked.withdrawn().as_deref(), Some("frail: lost"));
    assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    assert_eq!(checked.faults(), 5, "it is not asked again");
    assert!(checked.inner().wrong.lock().expect("no panic").is_empty(), "a fault is no wrong bit");
}

#[test]
fn a_graph_that_a_device_does_not_take_is_computed_on_the_cpu_and_is_nothing_against_it() {
    let (graph, plan, outside) = graph();
    let right = Cpu.run(&graph, &plan, &outside, NEVER).expect("computed");
    let checked = Checked::new(Frail::default(), 1);
    // It would be lost if it were asked.
    for flag in [&checked.inner().declines, &checked.inner().lost] {
        flag.store(true, Ordering::Relaxed);
    }
    for _ in 0..2 * FAULTS_MAX {
        assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    }
    assert_eq!((checked.declined(), checked.faults(), checked.withdrawn()), (2 * FAULTS_MAX, 0, None));
    let told = checked.describe();
    assert!(told.contains("6 runs left to the CPU, the last for: too many buffers"), "{told}");
    // And it neither adds to the faults in a row nor ends them.
    for declines in [false, false, true, false] {
        checked.inner().declines.store(declines, Ordering::Relaxed);
        assert_eq!(checked.withdrawn(), None);
        assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    }
    assert_eq!((checked.faults(), checked.withdrawn().as_deref()), (3, Some("frail: lost")));
}

#[test]
fn a_refusal_of_the_device_is_believed_only_when_the_cpu_refuses_the_same() {
    // Even where next to nothing is checked.
    let checked = Checked::new(Frail::default(), u64::MAX);
    let (graph, plan, outside) = gather(3);
    for _ in 0..20 {
        assert_eq!(checked.run(&graph, &plan, &outside, NEVER), Err(refusal(3).into()));
    }
    assert_eq!(checked.withdrawn(), None);
    // Of another index than the one that is outside.
    checked.inner().refuses.store(true, Ordering::Relaxed);
    assert_eq!(checked.run(&graph, &plan, &outside, NEVER), Err(refusal(3).into()));
    let why = checked.withdrawn().expect("found out");
    assert!(why.contains("the CPU with"), "{why}");

    let checked = Checked::new(Frail::default(), u64::MAX);
    checked.inner().refuses.store(true, Ordering::Relaxed);
    let (graph, plan, outside) = gather(2);
    let right = Cpu.run(&graph, &plan, &outside, NEVER).expect("computed");
    // A host that stops while the CPU computes has found out nothing.
    assert_eq!(checked.run(&graph, &plan, &outside, &|| true), Err(Failure::Fault(Fault::Stopped)));
    assert_eq!(checked.withdrawn(), None);
    assert_eq!(checked.run(&graph, &plan, &outside, NEVER).expect("computed"), right);
    let why = checked.withdrawn().expect("found out");
    assert!(why.contains("refused a graph that the CPU computes"), "{why}");
}

#[test]
fn a_device_that_computes_what_the_cpu_refuses_is_found_out() {
    let checked = Checked::new(Frail::default(), 1);
    let (graph, plan, outside) = gather(3);
    checked.inner().lenient.store(true, Ordering::Relaxed);
    assert_eq!(checked.run(&graph, &plan, &outside, NEVER), Err(refusal(3).into()));
    let why = checked.withdrawn().expect("found out");
    assert!(why.contains("Gather had a result, and the CPU refuses"), "{why}");
}
