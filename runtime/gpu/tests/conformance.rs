//! Every operation on every adapter: the bits of the oracle and of the CPU backend.

mod shared;

use samebit_gpu::{Accelerator, Capability, Checked, FAULTS_MAX, Gpu, Options, Report};
use samebit_tensor::{
    Backend, Bits, Cpu, Data, Dtype, Failure, Fault, Graph, Node, Op, Oracle, Tensor, TensorType, Window,
    cases::{Case, Numbers, Source, cases},
    cpu,
};
use shared::{open, present};
use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

/// One graph of independent nodes, with all their results, as a backend computes it.
fn together(backend: &dyn Backend, cases: &[&Case]) -> Result<Vec<Vec<Tensor>>, Failure> {
    let (mut outside, mut nodes) = (Vec::new(), Vec::new());
    for case in cases {
        let first = u32::try_from(outside.len()).expect("a few");
        outside.extend(case.inputs.iter().cloned());
        nodes.push(Node { op: case.op.clone(), inputs: (first..).take(case.inputs.len()).collect() });
    }
    let first = u32::try_from(outside.len()).expect("a few");
    let count: u32 = nodes.iter().map(|node| u32::try_from(node.op.outputs()).expect("one or two")).sum();
    let graph = Graph { nodes, outputs: (first..first + count).collect() };
    let mut made = run(backend, &graph, &outside)?.into_iter();
    Ok(cases.iter().map(|case| made.by_ref().take(case.op.outputs()).collect()).collect())
}

fn run(backend: &dyn Backend, graph: &Graph, outside: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
    let plan = graph.plan(&types, u64::MAX).expect("a graph that goes together");
    backend.run(graph, &plan, outside, NEVER)
}

fn hold(gpu: &Gpu, cases: &[Case]) {
    let mut by_op: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    cases.iter().for_each(|case| by_op.entry(case.op.name()).or_default().push(case));
    for cases in by_op.values() {
        let made = together(gpu, cases).unwrap_or_else(|failure| panic!("{}: {failure}", cases[0].name));
        for (case, made) in cases.iter().zip(made) {
            let inputs: Vec<&Tensor> = case.inputs.iter().collect();
            let wanted = cpu::eval(&case.op, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            assert!(made == wanted, "{} differs from the CPU's bits", case.name);
        }
    }
}

#[test]
fn the_gate_finds_the_stored_bits_in_every_operation_and_variant() {
    for adapter in present() {
        // Nothing is kept: this one really runs.
        let gpu = Gpu::open(&adapter, Options::default()).expect("an adapter opens");
        let report = gpu.report();
        assert!(!report.kept && report.refused.is_empty(), "{report:#?}");
        assert_eq!(gpu.capabilities(), [Capability::F32, Capability::F16, Capability::I8]);
        assert_eq!(report.operations.len(), 49, "48 operations, one of them of two kinds of products: {report:#?}");
        assert!(report.operations.values().all(|operation| operation.cases > 0 && operation.failure.is_none()));
        assert!(report.trials.iter().all(|trial| trial.cases > 10), "{report:#?}");
        println!("{}", gpu.describe());
    }
}

/// What was kept counts for the same adapter, driver and kernels, and only as long as it can be read.
#[test]
fn a_gate_is_passed_once_and_again_when_the_kernels_or_the_driver_are_others() {
    for adapter in present() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options { gate_folder: Some(folder.path().to_path_buf()), ..Options::default() };
        let opened = || Gpu::open(&adapter, options.clone()).expect("an adapter opens");
        let first = opened();
        assert!(!first.report().kept);
        let second = opened();
        assert!(second.report().kept && second.capabilities() == first.capabilities());
        let kept: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("read").path()).collect();
        let [path] = &kept[..] else { panic!("one report: {kept:?}") };
        let text = fs::read_to_string(path).expect("a report");
        for (field, value) in [("kernels", &first.report().kernels), ("driver", &first.report().driver)] {
            let other = text.replace(&format!("\"{field}\": \"{value}\""), &format!("\"{field}\": \"another\""));
            assert_ne!(other, text, "{field}");
            fs::write(path, other).expect("written");
            assert!(!opened().report().kept, "a report of another {field} is not taken");
        }
        fs::write(path, "{ torn").expect("written");
        assert!(!opened().report().kept);
        // Wrong bits in service: the report is there to be read, and counts no more until the gate is passed anew.
        second.found_wrong("Exp had other bits than on the CPU");
        let void = Report::kept(&adapter, folder.path()).expect("a report");
        assert_eq!(void.wrong_since.as_deref(), Some("Exp had other bits than on the CPU"));
        let anew = opened();
        assert!(!anew.report().kept && anew.report().wrong_since.is_none());
        assert_eq!(anew.report().wrong_before, void.wrong_since);
        assert!(opened().report().kept);
    }
}

#[test]
fn random_and_hard_operands_give_the_bits_of_the_cpu() {
    for adapter in present() {
        let gpu = open(&adapter, Options::default());
        for seed in [2, 3] {
            hold(&gpu, &cases(seed));
        }
    }
}

#[test]
fn tensors_in_many_buffers_and_work_in_many_parts_give_the_same_bits() {
    for adapter in present() {
        let options =
            Options { piece_words: Some(8192), work_per_submission: 1 << 16, inner_max: 48, ..Options::default() };
        hold(&open(&adapter, options), &cases(4));
    }
}

#[test]
fn shapes_at_the_edges_of_tiles_give_the_bits_of_the_cpu() {
    let mut source = Source::new(11);
    let mut list = Vec::new();
    for (rows, inner, columns) in [
        (1, 1000, 1),
        (1, 64, 500),
        (500, 33, 1),
        (32, 32, 32),
        (33, 17, 33),
        (64, 16, 64),
        (256, 9, 256),
        (300, 65, 257),
    ] {
        let inputs =
            vec![source.floats(&[rows, inner], Numbers::Wide), source.floats(&[inner, columns], Numbers::Special)];
        list.push(Case { name: format!("MatMul {rows} {inner} {columns}"), op: Op::MatMul, inputs });
        let bytes = [[rows, inner], [inner, columns]].map(|dims| source.tensor(Dtype::U8, &dims, Numbers::Moderate));
        let op = Op::MatMulInteger { a_zero: 255, b_zero: 1 };
        list.push(Case { name: format!("MatMulInteger {rows} {inner} {columns}"), op, inputs: bytes.to_vec() });
    }
    for len in [1, 63, 64, 65, 127, 128, 4097] {
        let x = source.floats(&[3, len], Numbers::Special);
        list.push(Case { name: format!("Softmax {len}"), op: Op::Softmax { axis: 1 }, inputs: vec![x.clone()] });
        let op = Op::ReduceSum { axes: vec![1], keep: false };
        list.push(Case { name: format!("ReduceSum {len}"), op, inputs: vec![x.clone()] });
        let op = Op::TopK { axis: 1, k: len.min(70), largest: len % 2 == 0 };
        list.push(Case { name: format!("TopK {len}"), op, inputs: vec![x] });
    }
    for adapter in present() {
        hold(&open(&adapter, Options::default()), &list);
    }
}

fn window(kernel: &[u32], strides: &[u32], dilations: &[u32], before: &[u32], after: &[u32]) -> Window {
    let [kernel, strides, dilations, before, after] = [kernel, strides, dilations, before, after].map(<[u32]>::to_vec);
    Window { kernel, strides, dilations, before, after }
}

/// Sums of places, strides, dilations and padding up to 2^31 - 1, where an axis with its padding ends.
#[test]
fn windows_with_padding_strides_and_dilations_of_billions_give_the_bits_of_the_cpu() {
    const FAR: u32 = 1 << 30;
    let mut source = Source::new(17);
    let mut list = Vec::new();
    for (data, weights, window) in [
        // Padding on both sides, of all that there can be.
        (&[1, 2, 5][..], &[3, 2, 2][..], window(&[2], &[FAR / 2], &[FAR - 1], &[FAR], &[FAR - 6])),
        (&[1, 2, 5], &[3, 2, 2], window(&[2], &[FAR], &[2], &[FAR - 2], &[FAR - 4])),
        (&[1, 2, 5], &[3, 2, 3], window(&[3], &[3], &[FAR - 1], &[FAR - 1], &[FAR - 5])),
        (&[2, 1, 7], &[1, 1, 3], window(&[3], &[u32::MAX], &[FAR - 2], &[FAR - 3], &[FAR - 7])),
        // One place, which neither a stride nor a dilation moves.
        (&[1, 1, 3], &[1, 1, 1], window(&[1], &[u32::MAX], &[u32::MAX], &[0], &[0])),
        (&[1, 1, 4], &[2, 1, 1], window(&[1], &[FAR - 1], &[u32::MAX], &[FAR - 1], &[FAR - 5])),
        (&[1, 1, 4, 5], &[2, 1, 2, 2], window(&[2, 2], &[FAR, 1], &[FAR, 1 << 29], &[FAR, 1 << 29], &[FAR - 5, 3])),
        (&[1, 1, 4, 5], &[2, 1, 2, 2], window(&[2, 2], &[2, FAR - 1], &[3, FAR - 1], &[1, FAR - 1], &[2, FAR - 5])),
    ] {
        let name = format!("Conv {data:?} {window:?}");
        let inputs = vec![source.floats(data, Numbers::Wide), source.floats(weights, Numbers::Wide)];
        list.push(Case { name, op: Op::Conv { window, groups: 1 }, inputs });
    }
    for (data, window) in [
        // Dilations step over what is there; padding is as long as a window that is much longer than the axis.
        (&[2, 2, 9][..], window(&[2], &[u32::MAX], &[8], &[0], &[0])),
        (&[2, 2, 9], window(&[1], &[4], &[u32::MAX], &[0], &[0])),
        (&[1, 2, 9], window(&[1 << 16], &[3], &[1], &[(1 << 16) - 1], &[(1 << 16) - 9])),
        (&[1, 2, 3, 4], window(&[1 << 8, 1 << 8], &[1, 250], &[1, 1], &[255, 255], &[255, 250])),
        // More elements than one dispatch meets.
        (&[1, 1, 40_000], window(&[39_998], &[1], &[1], &[0], &[1])),
        (&[1, 2, 200, 190], window(&[198, 180], &[1, 7], &[1, 1], &[10, 3], &[0, 5])),
        (&[1, 1, 90, 70], window(&[30, 20], &[9, 8], &[3, 3], &[0, 0], &[0, 0])),
    ] {
        for numbers in [Numbers::Wide, Numbers::Special] {
            let x = source.floats(data, numbers);
            let name = format!("{numbers:?} {data:?} {window:?}");
            list.push(Case {
                name: format!("MaxPool {name}"),
                op: Op::MaxPool(window.clone()),
                inputs: vec![x.clone()],
            });
            for count_padding in [false, true] {
                let op = Op::AveragePool { window: window.clone(), count_padding };
                list.push(Case { name: format!("AveragePool {name}"), op, inputs: vec![x.clone()] });
            }
        }
    }
    for adapter in present() {
        hold(&open(&adapter, Options::default()), &list);
        // Every pool in many parts.
        let parts = Options { inner_max: 1000, work_per_submission: 1 << 22, ..Options::default() };
        hold(&open(&adapter, parts), &list);
    }
}

/// One window over 2^20 elements is many short submissions: a host that stops is heard between them.
#[test]
fn a_pool_of_one_huge_window_is_cut() {
    let x = Source::new(19).floats(&[1, 1, (1 << 20) + 2], Numbers::Wide);
    let op = Op::AveragePool { window: window(&[1 << 20], &[1], &[1], &[0], &[0]), count_padding: false };
    let graph = Graph { nodes: vec![Node { op, inputs: vec![0] }], outputs: vec![1] };
    let plan = graph.plan(&[x.of().clone()], u64::MAX).expect("a graph that goes together");
    let outside = [x];
    for adapter in present() {
        let gpu = open(&adapter, Options { work_per_submission: 1 << 20, ..Options::default() });
        let asked = AtomicU32::new(0);
        let counted = gpu.run(&graph, &plan, &outside, &|| {
            asked.fetch_add(1, Ordering::Relaxed);
            false
        });
        assert_eq!(counted, run(&Cpu, &graph, &outside));
        assert!(asked.into_inner() >= 64, "a submission for each 2^14 elements");
        let asked = AtomicU32::new(0);
        let stopped = gpu.run(&graph, &plan, &outside, &|| asked.fetch_add(1, Ordering::Relaxed) >= 9);
        assert_eq!(stopped, Err(Failure::Fault(Fault::Stopped)));
        assert_eq!(run(&gpu, &graph, &outside), run(&Cpu, &graph, &outside));
    }
}

#[test]
fn what_an_adapter_cannot_do_is_declined_before_anything_is_computed() {
    let declines = |gpu: &Gpu, op: Op, dims: &[u32]| {
        let of = TensorType::new(Dtype::F32, dims).expect("a shape");
        let graph = Graph { nodes: vec![Node { op, inputs: vec![0] }], outputs: vec![1] };
        let plan = graph.plan(&[of], u64::MAX).expect("a graph that goes together");
        gpu.declines(&graph, &plan)
    };
    for adapter in present() {
        let gpu = open(&adapter, Options::default());
        assert_eq!(declines(&gpu, Op::Exp, &[1 << 20]), None);
        assert_eq!(declines(&gpu, Op::Softmax { axis: 1 }, &[1 << 4, 1 << 20]), None);
        // A line is not cut.
        let why = declines(&gpu, Op::Softmax { axis: 0 }, &[1 << 27]).expect("too long");
        assert!(why.starts_with("Softmax: one piece of work of"), "{why}");
        let pieces = open(&adapter, Options { piece_words: Some(4), ..Options::default() });
        let why = declines(&pieces, Op::Exp, &[1 << 22]).expect("2^21 buffers");
        assert!(why.starts_with("Exp: 2097153 buffers for one kernel, and the adapter binds"), "{why}");
        // However often that comes, it is no reason to give a healthy adapter up.
        let checked = Checked::new(pieces, 1);
        let exp = Graph { nodes: vec![Node { op: Op::Exp, inputs: vec![0] }], outputs: vec![1] };
        let large = [Source::new(23).floats(&[1 << 22], Numbers::Moderate)];
        let small = [Source::new(23).floats(&[16], Numbers::Moderate)];
        let right = run(&Cpu, &exp, &large);
        for _ in 0..=FAULTS_MAX {
            assert!(run(&checked, &exp, &large) == right);
        }
        assert_eq!(run(&checked, &exp, &small), run(&Cpu, &exp, &small));
        assert_eq!((checked.declined(), checked.checks(), checked.faults()), (FAULTS_MAX + 1, 1, 0));
        assert!(checked.withdrawn().is_none() && checked.describe().contains(&why), "{}", checked.describe());
    }
}

/// Every function of one number on a sample of all of them, and division on pairs.
#[test]
fn functions_of_numbers_from_the_whole_range_give_the_bits_of_the_cpu() {
    let of = TensorType::new(Dtype::F32, &[1 << 16]).expect("a small shape");
    let bits: Vec<u32> =
        (0..1 << 16).map(|at: u32| (at << 16).wrapping_add(at.wrapping_mul(0x9e37_79b9) >> 16)).collect();
    let tensor = |step: u32| {
        let data = bits.iter().map(|bits| f32::from_bits(bits.wrapping_mul(step))).collect();
        Tensor::new(of.clone(), Data::F32(data)).expect("as many as the shape says")
    };
    let (x, y) = (tensor(1), tensor(2_654_435_761));
    let one = [
        Op::Exp,
        Op::Log,
        Op::Sqrt,
        Op::Reciprocal,
        Op::Tanh,
        Op::Sigmoid,
        Op::Erf,
        Op::Gelu(samebit_tensor::Gelu::Erf),
        Op::Gelu(samebit_tensor::Gelu::Tanh),
        Op::Cast(Dtype::F16),
        Op::Cast(Dtype::I32),
    ];
    let mut list: Vec<Case> =
        one.into_iter().map(|op| Case { name: op.name().to_owned(), op, inputs: vec![x.clone()] }).collect();
    for op in [Op::Add, Op::Sub, Op::Mul, Op::Div] {
        list.push(Case { name: op.name().to_owned(), op, inputs: vec![x.clone(), y.clone()] });
    }
    for adapter in present() {
        hold(&open(&adapter, Options::default()), &list);
    }
}

/// A block of a transformer, as one graph: what a model sends.
#[test]
fn a_graph_of_many_operations_is_one_run_with_the_bits_of_the_oracle() {
    let mut source = Source::new(21);
    let mut floats = |dims: &[u32]| source.floats(dims, Numbers::Moderate);
    let outside = vec![
        floats(&[40, 32]),
        Tensor::new(TensorType::new(Dtype::I32, &[9]).expect("small"), Data::I32(vec![3, 39, 0, -1, 7, 7, 20, 5, -40]))
            .expect("nine"),
        floats(&[32, 32]),
        floats(&[32]),
        floats(&[32]),
        floats(&[32]),
    ];
    let node = |op: Op, inputs: &[u32]| Node { op, inputs: inputs.to_vec() };
    let graph = Graph {
        nodes: vec![
            node(Op::Gather { axis: 0 }, &[0, 1]),
            node(Op::MatMul, &[6, 2]),
            node(Op::Add, &[7, 3]),
            node(Op::Reshape { dims: vec![9, 4, 8] }, &[8]),
            node(Op::Transpose { order: vec![1, 0, 2] }, &[9]),
            node(Op::Attention { scale: 0.353_553_4.into() }, &[10, 10, 10]),
            node(Op::Transpose { order: vec![1, 0, 2] }, &[11]),
            node(Op::Reshape { dims: vec![9, 32] }, &[12]),
            node(Op::Add, &[13, 6]),
            node(Op::LayerNormalization { axis: 1, epsilon: 1e-12.into() }, &[14, 4, 5]),
            node(Op::Gelu(samebit_tensor::Gelu::Erf), &[15]),
            node(Op::ReduceMean { axes: vec![0], keep: false }, &[16]),
        ],
        outputs: vec![17, 15, 0, 17],
    };
    for adapter in present() {
        let gpu = open(&adapter, Options::default());
        // Twice: the second finds weights and buffers of the first.
        for _ in 0..2 {
            assert_eq!(run(&gpu, &graph, &outside), run(&Oracle, &graph, &outside));
        }
        // A result goes into the next graph from where it is.
        let first = run(&gpu, &graph, &outside).expect("computed");
        let next = Graph { nodes: vec![node(Op::Exp, &[0])], outputs: vec![1] };
        assert_eq!(run(&gpu, &next, &first[..1]), run(&Cpu, &next, &first[..1]));
    }
}

#[test]
fn an_index_outside_its_axis_is_refused_as_on_the_cpu() {
    let x = Tensor::f32(&[3, 2], &[1.0; 6]).expect("small");
    let none = Tensor::f32(&[3, 0], &[]).expect("small");
    let indices = |list: &[i32]| {
        let of = TensorType::new(Dtype::I32, &[u32::try_from(list.len()).expect("a few")]).expect("small");
        Tensor::new(of, Data::I32(list.to_vec())).expect("as many")
    };
    let outside = vec![x, indices(&[0, -3, 2]), indices(&[1, 3, -4, 9]), none, indices(&[i32::MIN, i32::MAX])];
    let gather = |inputs: [u32; 2]| Node { op: Op::Gather { axis: 0 }, inputs: inputs.to_vec() };
    let graphs = [
        vec![gather([0, 1]), gather([0, 2]), gather([0, 4])],
        vec![gather([3, 1]), gather([3, 4])],
        vec![gather([0, 4]), gather([0, 2])],
    ];
    for adapter in present() {
        let gpu = open(&adapter, Options::default());
        for nodes in &graphs {
            let graph = Graph { nodes: nodes.clone(), outputs: vec![5] };
            let refused = run(&gpu, &graph, &outside);
            assert!(matches!(&refused, Err(Failure::Refused(error)) if error.code() == 6), "{refused:?}");
            assert_eq!(refused, run(&Cpu, &graph, &outside));
        }
        // And nothing is left of it for the next run.
        let graph = Graph { nodes: vec![gather([0, 1])], outputs: vec![5] };
        assert_eq!(run(&gpu, &graph, &outside), run(&Cpu, &graph, &outside));
    }
}

#[test]
fn a_host_that_stops_is_heard_and_a_missed_deadline_is_a_fault() {
    let mut source = Source::new(31);
    let outside = [source.floats(&[256, 256], Numbers::Moderate)];
    let types = [outside[0].of().clone()];
    let nodes = (0..30).map(|at| Node { op: Op::MatMul, inputs: vec![0, at] }).collect();
    let graph = Graph { nodes, outputs: vec![30] };
    let plan = graph.plan(&types, u64::MAX).expect("a graph that goes together");
    for adapter in present() {
        let gpu = open(&adapter, Options { work_per_submission: 1 << 20, ..Options::default() });
        let asked = AtomicU32::new(0);
        let stopped = gpu.run(&graph, &plan, &outside, &|| asked.fetch_add(1, Ordering::Relaxed) >= 2);
        assert_eq!(stopped, Err(Failure::Fault(Fault::Stopped)));
        // It serves the next one.
        let small = Graph { nodes: vec![Node { op: Op::Neg, inputs: vec![0] }], outputs: vec![1] };
        assert_eq!(run(&gpu, &small, &outside), run(&Cpu, &small, &outside));

        let hasty = open(&adapter, Options { deadline: Duration::ZERO, ..Options::default() });
        let late = hasty.run(&graph, &plan, &outside, NEVER);
        let Err(Failure::Fault(Fault::Device { device, reason })) = late else { panic!("{late:?}") };
        assert_eq!(device, adapter.name());
        assert!(reason.contains("no answer within"), "{reason}");
        // A device that did not answer is not asked again.
        assert!(matches!(run(&hasty, &small, &outside), Err(Failure::Fault(Fault::Device { .. }))));
    }
}

#[test]
fn more_memory_than_there_is_is_a_fault_and_the_device_serves_on() {
    let outside = [Tensor::f32(&[1, 1], &[1.0]).expect("small")];
    // 64 values of 4 GiB, each read once all of them are there.
    let side = (1 << 15) - 1;
    let pad = Op::Pad { before: vec![0, 0], after: vec![side, side - 1], value: Bits(0) };
    let reduce = Op::ReduceMax { axes: vec![], keep: false };
    let mut nodes = vec![Node { op: pad, inputs: vec![0] }; 64];
    nodes.extend((1..65).map(|value| Node { op: reduce.clone(), inputs: vec![value] }));
    let graph = Graph { nodes, outputs: (65..129).collect() };
    for adapter in present() {
        if !adapter.has_own_memory() {
            println!("LEFT OUT: {} has the host's memory, which this test must not fill", adapter.name());
            continue;
        }
        let gpu = open(&adapter, Options::default());
        let full = run(&gpu, &graph, &outside);
        assert!(matches!(full, Err(Failure::Fault(Fault::Device { .. }))), "256 GiB on the way");
        let small = Graph { nodes: vec![Node { op: Op::Neg, inputs: vec![0] }], outputs: vec![1] };
        assert_eq!(run(&gpu, &small, &outside), run(&Cpu, &small, &outside));
    }
}
