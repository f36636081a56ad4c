//! Spot checks in service, on a backend that errs: no adapter is needed for that.

use samebit_gpu::{Checked, FAULTS_MAX};
use samebit_tensor::{Backend, Cpu, Data, Failure, Fault, Graph, Node, Op, Plan, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

/// The CPU backend, until it errs in the last bit of everything or is lost.
#[derive(Debug, Default)]
struct Frail {
    errs: AtomicBool,
    lost: AtomicBool,
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
        let mut made = Cpu.run(graph, plan, outside, stop)?;
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
}
