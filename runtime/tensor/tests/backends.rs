//! T2: every backend gives the oracle's bits, for every operation, on every instruction set and number of threads.

use samebit_tensor::{
    Backend, Cpu, Data, Dtype, Failure, Fault, Graph, GraphError, Halt, Node, Op, Oracle, Tensor, TensorType, Window,
    cases::{Case, Numbers, Source, cases},
    cpu::{self, Level},
    oracle,
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Cases that are large enough for several threads and blocks.
fn large() -> Vec<Case> {
    let mut source = Source::new(7);
    let mut made = Vec::new();
    let mut push = |op: Op, inputs: Vec<Tensor>| made.push(Case { name: format!("{} large", op.name()), op, inputs });
    for of in [Numbers::Wide, Numbers::Special] {
        for [m, k, n] in [[100, 530, 70], [5, 700, 200], [210, 257, 17]] {
            push(Op::MatMul, vec![source.floats(&[m, k], of), source.floats(&[k, n], of)]);
        }
        push(Op::MatMul, vec![source.floats(&[4, 40, 60], of), source.floats(&[4, 60, 50], of)]);
        let x = source.floats(&[40, 2000], of);
        for op in [Op::Exp, Op::Relu, Op::Softmax { axis: 1 }] {
            push(op, vec![x.clone()]);
        }
        for dims in [&[2000][..], &[40, 1], &[], &[40, 2000]] {
            let other = source.floats(dims, of);
            push(Op::Add, vec![x.clone(), other.clone()]);
            push(Op::Div, vec![other, x.clone()]);
        }
        let row = source.floats(&[2000], of);
        push(Op::LayerNormalization { axis: 1, epsilon: 1e-5.into() }, vec![x.clone(), row.clone(), row.clone()]);
        push(Op::RmsNormalization { axis: 1, epsilon: 1e-5.into() }, vec![x, row]);
    }
    let bytes = [&[150, 301][..], &[301, 90]].map(|dims| source.tensor(Dtype::I8, dims, Numbers::Moderate)).to_vec();
    push(Op::MatMulInteger { a_zero: 7, b_zero: -128 }, bytes);
    made
}

fn check(case: &Case, level: Level) {
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    let expected = oracle::eval(&case.op, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    // Twice: the second time a packed operand is taken from the first.
    for turn in 0..2 {
        let found = cpu::eval_at(level, &case.op, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(found.len(), expected.len(), "{}", case.name);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.of(), expected.of(), "{}", case.name);
            let (found, expected) = (found.to_bytes(), expected.to_bytes());
            if let Some(at) = found.iter().zip(&expected).position(|(found, expected)| found != expected) {
                panic!("{} at {level}, turn {turn}: byte {at} of {} differs", case.name, expected.len());
            }
        }
    }
}

#[test]
fn the_fast_backend_gives_the_bits_of_the_oracle_on_every_instruction_set() {
    for level in Level::available() {
        eprintln!("level {level}");
        for case in cases(1).iter().chain(&cases(2)) {
            check(case, level);
        }
    }
}

#[test]
fn the_fast_backend_gives_the_bits_of_the_oracle_on_any_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        pool.install(|| large().iter().for_each(|case| check(case, Level::best())));
    }
}

/// A dimension of 0 makes a tensor empty and leaves the others as large as they may be: nothing may walk over them.
#[test]
fn what_has_no_elements_is_done_at_once_whatever_its_other_dimensions_are() {
    const MOST: u32 = (1 << 31) - 1;
    let empty = |dims: &[u32]| Tensor::f32(dims, &[]).expect("within limits");
    let indices = |dims: &[u32], data: Vec<i32>| {
        let of = TensorType::new(Dtype::I32, dims).expect("within limits");
        Tensor::new(of, Data::I32(data)).expect("as many as there are")
    };
    let small = Tensor::f32(&[1, 1, 1], &[1.0]).expect("within limits");
    let wide = empty(&[MOST, 0]);
    let window = |kernel: u32, before: u32| Window {
        kernel: vec![kernel],
        strides: vec![1],
        dilations: vec![1],
        before: vec![before],
        after: vec![0],
    };
    let pool = Window { kernel: vec![46_340; 2], before: vec![46_339; 2], ..square() };
    let list: Vec<(Op, Vec<Tensor>)> = vec![
        (Op::Concat { axis: 1 }, vec![wide.clone(); 64]),
        (Op::Reshape { dims: vec![MOST, 0] }, vec![empty(&[0])]),
        (Op::Gather { axis: 1 }, vec![empty(&[46_340, 1, 0]), indices(&[46_340], vec![0; 46_340])]),
        (Op::MatMul, vec![empty(&[MOST, 0, 1]), small.clone()]),
        (Op::Attention { scale: 1.0.into() }, vec![empty(&[MOST, 0, 1]), small.clone(), small.clone()]),
        (Op::ReduceSum { axes: vec![2], keep: false }, vec![empty(&[MOST, 0, 1])]),
        (Op::Softmax { axis: 0 }, vec![empty(&[0, MOST])]),
        (Op::TopK { axis: 1, k: 0, largest: true }, vec![wide.clone()]),
        (Op::Transpose { order: vec![1, 0] }, vec![wide]),
        (Op::Conv { window: window(1, 40), groups: 1 }, vec![empty(&[1, 1, 0]), small]),
        // One element, and a window that lies in the padding but for that.
        (Op::MaxPool(pool.clone()), vec![Tensor::f32(&[1, 1, 1, 1], &[-2.0]).expect("within limits")]),
        (
            Op::AveragePool { window: pool, count_padding: true },
            vec![Tensor::f32(&[1, 1, 1, 1], &[-2.0]).expect("within limits")],
        ),
    ];
    for (op, inputs) in list {
        let name = format!("{} of {}", op.name(), inputs[0].of());
        check(&Case { name, op, inputs }, Level::best());
    }
    let outside = oracle::eval(&Op::Gather { axis: 1 }, &[&empty(&[0, 7]), &indices(&[2], vec![3, 9])]);
    assert_eq!(outside.expect_err("9 is behind the end").to_string(), "Gather: index 9 at 1 is outside an axis of 7");
}

fn square() -> Window {
    Window { kernel: vec![1; 2], strides: vec![1; 2], dilations: vec![1; 2], before: vec![0; 2], after: vec![0; 2] }
}

#[test]
fn every_operation_has_a_case() {
    let covered: BTreeSet<&str> = cases(0).iter().map(|case| case.op.name()).collect();
    let all = "Abs Add ArgMax Attention AveragePool Cast Clip Concat Conv DequantizeLinear Div Equal Erf Exp Gather Gelu \
               Gemm Greater LayerNormalization Less Log MatMul MatMulInteger Max MaxPool Min Mul Neg Pad QuantizeLinear \
               RMSNormalization Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape RotaryEmbedding Sigmoid \
               Slice Softmax Sqrt Sub Tanh TopK Transpose Where";
    assert_eq!(covered, all.split_whitespace().collect());
}

#[test]
fn a_case_names_the_same_numbers_on_every_machine() {
    let bytes: Vec<u8> = cases(1).iter().flat_map(|case| case.inputs.iter().flat_map(Tensor::to_bytes)).collect();
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(sum, SUM, "{sum:#x}");
}

/// FNV-1a of all operands of `cases(1)`.
const SUM: u64 = 0xb957_f95b_cb4d_622e;

/// A layer with a value that two nodes read, one that none reads, and an output that is also an operand.
fn layer() -> (Graph, Vec<Tensor>) {
    let mut source = Source::new(3);
    let outside = [&[9, 30][..], &[30, 12], &[12]].map(|dims| source.floats(dims, Numbers::Moderate)).to_vec();
    let node = |op, inputs: &[u32]| Node { op, inputs: inputs.to_vec() };
    let nodes = vec![
        node(Op::MatMul, &[0, 1]),
        node(Op::Exp, &[0]),
        node(Op::Add, &[3, 2]),
        node(Op::Softmax { axis: 1 }, &[5]),
        node(Op::Mul, &[5, 6]),
    ];
    (Graph { nodes, outputs: vec![7, 5, 0] }, outside)
}

#[test]
fn a_graph_has_the_same_outputs_on_the_cpu_and_by_the_oracle() {
    let (graph, outside) = layer();
    let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
    let plan = graph.plan(&types, u64::MAX).expect("a layer");
    let run = |backend: &dyn Backend| -> Vec<Vec<u8>> {
        let made = backend.run(&graph, &plan, &outside, &|| false).expect("a layer");
        made.iter().map(Tensor::to_bytes).collect()
    };
    let made = run(&Cpu);
    assert_eq!(made, run(&Oracle));
    assert_eq!(made[2], outside[0].to_bytes(), "a value from outside may come back");
    assert_eq!(Cpu.run(&graph, &plan, &outside, &|| true), Err(Failure::Fault(Fault::Stopped)));
}

/// One node may be as long as its fuel: what takes long hears a stop from block to block.
#[test]
fn a_stop_is_heard_within_long_operations_and_what_they_made_is_no_result() {
    let mut source = Source::new(11);
    let mut floats = |dims: &[u32]| source.floats(dims, Numbers::Moderate);
    let (matrix, stack, image) = (floats(&[130, 130]), floats(&[3, 130, 130]), floats(&[1, 8, 24, 24]));
    let (weights, one_by_one, heads) = (floats(&[8, 8, 3, 3]), floats(&[8, 1, 3, 3]), floats(&[4, 40, 16]));
    let mask = floats(&[40, 40]);
    let bytes = source.tensor(Dtype::I8, &[130, 130], Numbers::Moderate);
    let window = Window { kernel: vec![3; 2], ..square() };
    let gemm = Op::Gemm { alpha: 0.5.into(), beta: 1.0.into(), transpose_a: true, transpose_b: true };
    for (op, inputs) in [
        (Op::MatMul, vec![&matrix, &matrix]),
        (Op::MatMul, vec![&stack, &stack]),
        (gemm, vec![&matrix, &matrix]),
        (Op::MatMulInteger { a_zero: 3, b_zero: -4 }, vec![&bytes, &bytes]),
        (Op::Conv { window: window.clone(), groups: 1 }, vec![&image, &weights]),
        (Op::Conv { window: window.clone(), groups: 8 }, vec![&image, &one_by_one]),
        (Op::Attention { scale: 0.25.into() }, vec![&heads, &heads, &heads]),
        (Op::Attention { scale: 0.25.into() }, vec![&heads, &heads, &heads, &mask]),
        (Op::MaxPool(window.clone()), vec![&image]),
        (Op::AveragePool { window, count_padding: true }, vec![&image]),
    ] {
        let name = op.name();
        let outside: Vec<Tensor> = inputs.into_iter().cloned().collect();
        let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
        let values = u32::try_from(outside.len()).expect("few");
        let graph = Graph { nodes: vec![Node { op, inputs: (0..values).collect() }], outputs: vec![values] };
        let plan = graph.plan(&types, u64::MAX).expect("types go together");
        // A stop that is said for the first time at the `n`th question is heard, whichever that is, and only then.
        let asked = AtomicUsize::new(0);
        let run = |stop_at: usize| {
            asked.store(0, Ordering::Relaxed);
            Cpu.run(&graph, &plan, &outside, &|| asked.fetch_add(1, Ordering::Relaxed) + 1 == stop_at)
        };
        let expected = Oracle.run(&graph, &plan, &outside, &|| false);
        assert_eq!(run(usize::MAX), expected, "{name}");
        let questions = asked.load(Ordering::Relaxed);
        assert!(questions >= 3, "{name} asks {questions} times");
        for stop_at in [1, 2, questions / 2 + 1, questions] {
            assert_eq!(run(stop_at), Err(Failure::Fault(Fault::Stopped)), "{name}, at question {stop_at}");
        }
        assert_eq!(run(usize::MAX), expected, "{name}, after it was stopped");
    }
}

/// A kernel that asks once and then computes everything hears a stop too late: what was not made yet at the question stays
/// unmade.
#[test]
fn what_was_not_computed_when_a_stop_is_said_is_not_computed_after_it() {
    let mut source = Source::new(12);
    let mut floats = |dims: &[u32]| source.floats(dims, Numbers::Moderate);
    let (matrix, stack, image) = (floats(&[130, 130]), floats(&[6, 130, 130]), floats(&[2, 8, 24, 24]));
    let (weights, one_by_one, heads) = (floats(&[8, 8, 3, 3]), floats(&[8, 1, 3, 3]), floats(&[6, 64, 32]));
    // One head of several blocks of rows, and values that are padded too much to be laid out whole.
    let (head, narrow, mask) = (floats(&[300, 64]), floats(&[6, 64, 5]), floats(&[64, 64]));
    let keys = floats(&[704, 64]);
    let bytes = source.tensor(Dtype::I8, &[130, 130], Numbers::Moderate);
    let many = source.tensor(Dtype::U8, &[6, 130, 130], Numbers::Moderate);
    let window = Window { kernel: vec![3; 2], ..square() };
    let gemm = Op::Gemm { alpha: 0.5.into(), beta: 1.0.into(), transpose_a: true, transpose_b: true };
    let attention = Op::Attention { scale: 0.25.into() };
    let integer = Op::MatMulInteger { a_zero: 3, b_zero: 4 };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    for (op, inputs) in [
        (Op::MatMul, vec![&matrix, &matrix]),
        (Op::MatMul, vec![&stack, &stack]),
        (gemm, vec![&matrix, &matrix]),
        (integer.clone(), vec![&bytes, &bytes]),
        (integer, vec![&many, &many]),
        (Op::Conv { window: window.clone(), groups: 1 }, vec![&image, &weights]),
        (Op::Conv { window: window.clone(), groups: 8 }, vec![&image, &one_by_one]),
        (attention.clone(), vec![&heads, &heads, &heads]),
        (attention.clone(), vec![&heads, &heads, &narrow]),
        (attention.clone(), vec![&head, &keys, &keys]),
        (attention, vec![&heads, &heads, &heads, &mask]),
        (Op::MaxPool(window.clone()), vec![&image]),
        (Op::AveragePool { window, count_padding: true }, vec![&image]),
    ] {
        let name = format!("{} of {}", op.name(), inputs[0].of());
        let asked = AtomicUsize::new(0);
        let run = |stop_at: usize| {
            asked.store(0, Ordering::Relaxed);
            let ask = || asked.fetch_add(1, Ordering::Relaxed) + 1 == stop_at;
            let halt = Halt::new(&ask);
            let made = one.install(|| cpu::eval_until(&halt, &op, &inputs)).expect("types go together").remove(0);
            (made, halt.was_heard())
        };
        let (expected, heard) = run(usize::MAX);
        assert!(!heard, "{name}");
        let questions = asked.load(Ordering::Relaxed);
        assert!(questions >= 10, "{name} asks {questions} times");
        let words = |tensor: &Tensor| tensor.to_bytes().as_chunks::<4>().0.to_vec();
        let expected = words(&expected);
        // Elements that are what they should be: by chance a few of those that were never computed.
        let done = |stop_at: usize| {
            let (made, heard) = run(stop_at);
            assert!(heard, "{name}, at question {stop_at}");
            words(&made).iter().zip(&expected).filter(|(made, expected)| made == expected).count()
        };
        let all = expected.len();
        assert!(done(1) <= all / 100, "{name}: {} of {all} after the first question", done(1));
        let half = done(questions / 2);
        assert!(half <= all * 3 / 4, "{name}: {half} of {all} at half of its {questions} questions");
    }
}

#[test]
fn an_index_outside_its_axis_names_its_node() {
    let of = TensorType::new(Dtype::I32, &[2]).expect("small");
    let outside = vec![
        Tensor::f32(&[3], &[1.0, 2.0, 3.0]).expect("small"),
        Tensor::new(of, Data::I32(vec![0, 3])).expect("small"),
    ];
    let gather = Node { op: Op::Gather { axis: 0 }, inputs: vec![2, 1] };
    let graph = Graph { nodes: vec![Node { op: Op::Neg, inputs: vec![0] }, gather], outputs: vec![3] };
    let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
    let plan = graph.plan(&types, u64::MAX).expect("types go together");
    for backend in [&Cpu as &dyn Backend, &Oracle] {
        match backend.run(&graph, &plan, &outside, &|| false) {
            Err(Failure::Refused(GraphError::Node { node: 1, error })) => assert_eq!(error.code(), 6, "{error}"),
            other => panic!("{}: {other:?}", backend.describe()),
        }
    }
}
