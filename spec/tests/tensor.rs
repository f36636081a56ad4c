//! What is refused before any element is read, and what comes out: the rules that a guest and every host share.

use proptest::prelude::*;
use samebit_spec::tensor::{Bits, Dtype, Gelu, Graph, GraphError, Node, Op, Shape, TensorType, Window, fuel, infer};

fn of(text: &str) -> TensorType {
    let (name, dims) = text.split_once('[').expect("as f32[2, 3]");
    let dtype = [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8]
        .into_iter()
        .find(|dtype| dtype.to_string() == name)
        .expect("a known element type");
    let dims: Vec<u32> = dims.trim_end_matches(']').split(',').filter_map(|dim| dim.trim().parse().ok()).collect();
    TensorType { dtype, shape: Shape::new(&dims).expect("within limits") }
}

/// Each row: operation, operands, result or refusal.
#[track_caller]
fn check(op: &Op, operands: &str, expected: &str) {
    let operands: Vec<TensorType> =
        operands.split(';').filter(|text| !text.trim().is_empty()).map(|text| of(text.trim())).collect();
    let operands: Vec<&TensorType> = operands.iter().collect();
    let found = match infer(op, &operands) {
        Ok(types) => types.iter().map(TensorType::to_string).collect::<Vec<String>>().join("; "),
        Err(error) => format!("{}: {error}", error.code()),
    };
    assert_eq!(found, expected, "{op:?}");
}

fn window(kernel: &[u32], before: &[u32]) -> Window {
    let ones = vec![1; kernel.len()];
    Window {
        kernel: kernel.to_vec(),
        strides: ones.clone(),
        dilations: ones,
        before: before.to_vec(),
        after: vec![0; kernel.len()],
    }
}

#[test]
fn elements_keep_their_shape_and_two_operands_broadcast() {
    check(&Op::Exp, "f32[2, 3]", "f32[2, 3]");
    check(&Op::Exp, "i32[2]", "3: Exp: operand 0 is i32, not f32");
    check(&Op::Neg, "i32[2]", "i32[2]");
    check(&Op::Gelu(Gelu::Erf), "f32[2]; f32[2]", "4: Gelu takes 1 operands, not 2");
    check(&Op::Add, "f32[4, 1, 9]; f32[6, 1]", "f32[4, 6, 9]");
    check(&Op::Add, "f32[0, 3]; f32[1, 3]", "f32[0, 3]");
    check(&Op::Add, "f32[2]; f32[3]", "1: Add: lengths are equal or 1: [2] and [3]");
    check(&Op::Add, "f32[2]; i32[2]", "3: Add: operand 1 is i32, not the type of the other operand");
    check(&Op::Add, "i8[2]; i8[2]", "3: Add: operand 0 is i8, not f32 or i32");
    check(&Op::Less, "f32[2]; f32[]", "u8[2]");
    check(&Op::Where, "u8[2, 1]; f16[3]; f16[]", "f16[2, 3]");
    check(&Op::Add, "f32[65536, 1]; f32[1, 65536]", "2: [65536, 65536] has more than 2147483647 elements");
}

#[test]
fn products_join_inner_lengths() {
    check(&Op::MatMul, "f32[2, 1, 4, 8]; f32[3, 8, 5]", "f32[2, 3, 4, 5]");
    check(&Op::MatMul, "f16[4, 8]; f16[8, 5]", "f32[4, 5]");
    check(&Op::MatMul, "f32[4, 8]; f32[7, 5]", "1: MatMul: one inner length: [4, 8] and [7, 5]");
    check(&Op::MatMul, "f32[8]; f32[8, 5]", "1: MatMul: at least two axes: [8] and [8, 5]");
    check(&Op::MatMul, "i8[4, 8]; i8[8, 5]", "3: MatMul: operand 0 is i8, not f32 or f16");
    check(&Op::MatMulInteger { a_zero: 255, b_zero: -128 }, "u8[4, 8]; i8[8, 5]", "i32[4, 5]");
    check(
        &Op::MatMulInteger { a_zero: 0, b_zero: 128 },
        "u8[4, 8]; i8[8, 5]",
        "5: MatMulInteger: b_zero is 128: a value of its operand's type",
    );
    let gemm = |transpose_b| Op::Gemm { alpha: 1.0.into(), beta: 1.0.into(), transpose_a: false, transpose_b };
    check(&gemm(true), "f32[4, 8]; f32[5, 8]; f32[5]", "f32[4, 5]");
    check(&gemm(false), "f32[4, 8]; f32[5, 8]", "1: Gemm: two matrices with one inner length: [4, 8] and [5, 8]");
    check(
        &gemm(true),
        "f32[1, 8]; f32[5, 8]; f32[2, 5]",
        "1: Gemm: the third operand stretches to the product: [2, 5] and [1, 5]",
    );
    let attention = Op::Attention { scale: 0.125.into() };
    check(&attention, "f32[2, 7, 8]; f32[2, 9, 8]; f32[2, 9, 5]; f32[1, 9]", "f32[2, 7, 5]");
    check(
        &attention,
        "f32[7, 8]; f32[9, 8]; f32[9, 5]; f32[2, 7, 9]",
        "1: Attention: the mask stretches to the scores: [2, 7, 9] and [7, 9]",
    );
    check(
        &Op::RotaryEmbedding { interleaved: true },
        "f32[5, 7]; f32[5, 3]; f32[5, 3]",
        "1: RotaryEmbedding: an even last axis: [5, 7] and []",
    );
}

#[test]
fn windows_fit_or_are_refused() {
    let conv = |groups, kernel: &[u32]| Op::Conv { window: window(kernel, &vec![1; kernel.len()]), groups };
    check(&conv(1, &[3]), "f32[2, 3, 17]; f32[4, 3, 3]; f32[4]", "f32[2, 4, 16]");
    check(&conv(2, &[3, 3]), "f32[1, 4, 9, 8]; f32[6, 2, 3, 3]", "f32[1, 6, 8, 7]");
    check(
        &conv(0, &[3]),
        "f32[2, 3, 17]; f32[4, 3, 3]",
        "5: Conv: groups is 0: divides the channels and the maps of the weights",
    );
    check(
        &conv(1, &[3]),
        "f32[2, 3, 17]; f32[4, 3, 5]",
        "1: Conv: weights are [m, c / groups] and the window: [4, 3, 5] and [3]",
    );
    check(&conv(1, &[9]), "f32[2, 3, 4]; f32[4, 3, 9]", "5: Conv: kernel is 9: fits the padded axis");
    check(&conv(1, &[3]), "f32[3, 17]; f32[4, 3, 3]", "1: Conv: one or two spatial axes behind [n, c]: [3, 17] and []");
    check(&Op::MaxPool(window(&[2], &[2])), "f32[1, 1, 9]", "5: MaxPool: before is 2: less than the kernel");
    check(&Op::MaxPool(window(&[0], &[0])), "f32[1, 1, 9]", "5: MaxPool: kernel is 0: at least 1");
    let dilated = Window { dilations: vec![2], ..window(&[3], &[1]) };
    check(&Op::MaxPool(dilated), "f32[1, 1, 9]", "5: MaxPool: dilations is 2: 1 where a pooling is padded");
    check(&Op::MaxPool(window(&[2], &[1])), "f32[1, 1, 0]", "5: MaxPool: kernel is 2: fits the padded axis");
    let both = Window { after: vec![1], ..window(&[2], &[1]) };
    check(&Op::MaxPool(both), "f32[1, 1, 0]", "1: MaxPool: something to pool: [1, 1, 0] and []");
    let wide = window(&[65_536, 65_536], &[65_535, 65_535]);
    check(&Op::MaxPool(wide), "f32[1, 1, 2, 2]", "2: [65536, 65536] has more than 2147483647 elements");
    let huge = Window { dilations: vec![u32::MAX], ..window(&[u32::MAX], &[u32::MAX]) };
    check(
        &Op::AveragePool { window: huge, count_padding: true },
        "f32[1, 1, 9]",
        "2: [4294967295] has more than 2147483647 elements",
    );
}

#[test]
fn axes_are_the_operands_own() {
    check(&Op::Softmax { axis: 2 }, "f32[2, 3]", "5: Softmax: axis is 2: one of the operand's");
    check(&Op::LayerNormalization { axis: 1, epsilon: Bits(0) }, "f32[2, 3]; f32[3]; f32[3]", "f32[2, 3]");
    check(
        &Op::LayerNormalization { axis: 1, epsilon: Bits(0) },
        "f32[2, 3]; f32[2]; f32[3]",
        "1: LayerNormalization: scale and bias have the normalised dimensions: [2] and [3]",
    );
    check(&Op::ReduceSum { axes: vec![0, 2], keep: true }, "f32[2, 3, 4]", "f32[1, 3, 1]");
    check(&Op::ReduceSum { axes: vec![], keep: false }, "f32[2, 3, 4]", "f32[]");
    check(
        &Op::ReduceSum { axes: vec![1, 1], keep: false },
        "f32[2, 3]",
        "5: ReduceSum: axes is 1: ascending, each once",
    );
    check(&Op::ReduceSum { axes: vec![1], keep: false }, "f32[2, 0]", "f32[2]");
    check(
        &Op::ReduceMax { axes: vec![1], keep: false },
        "f32[2, 0]",
        "1: ReduceMax: something to reduce: [2, 0] and []",
    );
    check(&Op::ReduceMean { axes: vec![], keep: false }, "i32[2]", "3: ReduceMean: operand 0 is i32, not f32");
    check(&Op::ArgMax { axis: 0, keep: false }, "i32[2, 3]", "i32[3]");
    check(&Op::TopK { axis: 1, k: 2, largest: true }, "f32[2, 3]", "f32[2, 2]; i32[2, 2]");
    check(&Op::TopK { axis: 1, k: 4, largest: true }, "f32[2, 3]", "5: TopK: k is 4: at most the length of the axis");
    check(&Op::QuantizeLinear { axis: 1 }, "f32[2, 3]; f32[3]; i8[3]", "i8[2, 3]");
    check(
        &Op::QuantizeLinear { axis: 0 },
        "f32[2, 3]; f32[3]; u8[3]",
        "1: QuantizeLinear: scale is a scalar or has the length of the axis: [3] and [2, 3]",
    );
    check(
        &Op::DequantizeLinear { axis: 0 },
        "u8[2]; f32[]; i8[]",
        "3: DequantizeLinear: operand 2 is i8, not the type of the other operand",
    );
}

#[test]
fn moves_take_any_element_type() {
    check(&Op::Gather { axis: 1 }, "u8[4, 6, 5]; i32[2, 3]", "u8[4, 2, 3, 5]");
    check(&Op::Gather { axis: 0 }, "u8[4]; f32[2]", "3: Gather: operand 1 is f32, not i32");
    check(&Op::Concat { axis: 1 }, "f16[2, 3]; f16[2, 4]; f16[2, 0]", "f16[2, 7]");
    check(
        &Op::Concat { axis: 1 },
        "f16[2, 3]; f16[3, 3]",
        "1: Concat: the same lengths but for the joined axis: [2, 3] and [3, 3]",
    );
    let slice = |start, end, step| Op::Slice { starts: vec![start], ends: vec![end], steps: vec![step] };
    check(&slice(1, 6, 2), "i8[6]", "i8[3]");
    check(&slice(6, 6, 1), "i8[6]", "i8[0]");
    check(&slice(1, 7, 1), "i8[6]", "5: Slice: ends is 7: at most the length of the axis");
    check(&slice(4, 3, 1), "i8[6]", "5: Slice: starts is 4: at most the end");
    check(&slice(1, 3, 0), "i8[6]", "5: Slice: steps is 0: at least 1");
    check(&Op::Transpose { order: vec![2, 0, 1] }, "f32[4, 6, 5]", "f32[5, 4, 6]");
    check(&Op::Transpose { order: vec![0, 0, 1] }, "f32[4, 6, 5]", "5: Transpose: order is 3: names every axis once");
    check(&Op::Reshape { dims: vec![8, 15] }, "f32[4, 6, 5]", "f32[8, 15]");
    check(&Op::Reshape { dims: vec![7] }, "f32[6]", "1: Reshape: the number of elements stays: [6] and [7]");
    check(&Op::Reshape { dims: vec![1; 9] }, "f32[1]", "1: 9 dimensions: at most 8");
    let pad = Op::Pad { before: vec![u32::MAX], after: vec![1], value: Bits(0) };
    check(&pad, "f32[6]", "2: [6] has more than 2147483647 elements");
}

#[test]
fn a_graph_is_refused_at_its_first_fault() {
    let outside = [of("f32[2, 3]"), of("f32[3, 4]")];
    let node = |op, inputs: &[u32]| Node { op, inputs: inputs.to_vec() };
    let good = Graph { nodes: vec![node(Op::MatMul, &[0, 1]), node(Op::Relu, &[2])], outputs: vec![3] };
    let plan = good.plan(&outside, 1 << 20).expect("a good graph");
    assert_eq!(plan.types[3], of("f32[2, 4]"));
    assert_eq!(plan.bytes, 64);
    let forward = Graph { nodes: vec![node(Op::Relu, &[2])], outputs: vec![] };
    assert_eq!(forward.plan(&outside, 1 << 20), Err(GraphError::UnknownValue { node: 0, value: 2, known: 2 }));
    let output = Graph { nodes: vec![], outputs: vec![7] };
    assert_eq!(output.plan(&outside, 1 << 20), Err(GraphError::UnknownValue { node: 0, value: 7, known: 2 }));
    assert_eq!(good.plan(&outside, 40), Err(GraphError::Memory { node: 1, needed: 64, most: 40 }));
    let wrong = Graph { nodes: vec![node(Op::Relu, &[0]), node(Op::MatMul, &[1, 0])], outputs: vec![] };
    let error = wrong.plan(&outside, 1 << 20).expect_err("inner lengths differ");
    assert_eq!((error.code(), error.to_string().as_str()), (1, "node 1: MatMul: one inner length: [3, 4] and [2, 3]"));
    let attention = Graph { nodes: vec![node(Op::Attention { scale: 1.0.into() }, &[0, 0, 1])], outputs: vec![] };
    let long = [of("f32[1000, 2]"), of("f32[1000, 1]")];
    assert_eq!(
        attention.plan(&long, 1 << 20),
        Err(GraphError::Memory { node: 0, needed: 4_000 + 12_000_000, most: 1 << 20 })
    );
    let many = Graph { nodes: vec![node(Op::Relu, &[0]); 4097], outputs: vec![] };
    assert_eq!(many.plan(&outside, 1 << 20).expect_err("too many nodes").code(), 16);
}

#[test]
fn fuel_grows_with_the_work_and_never_overflows() {
    let cost = |op: &Op, operands: &[&str]| {
        let operands: Vec<TensorType> = operands.iter().map(|text| of(text)).collect();
        let operands: Vec<&TensorType> = operands.iter().collect();
        fuel(op, &operands, &infer(op, &operands).expect("a good operation"))
    };
    // 64^3 products at half a fuel, three matrices of 16 KiB, the base.
    assert_eq!(cost(&Op::MatMul, &["f32[64, 64]", "f32[64, 64]"]), 64 * 64 * 64 / 2 + 3 * 16_384 + 2_000);
    assert_eq!(cost(&Op::Reshape { dims: vec![4096] }, &["f32[64, 64]"]), 2_000);
    // A row taken out of a large table costs what is taken.
    assert_eq!(cost(&Op::Gather { axis: 0 }, &["f32[1000000, 16]", "i32[2]"]), 2 * 2 * 64 + 2 * 4 + 2_000);
    // Scores are work even where nothing comes of them.
    let attention = Op::Attention { scale: 1.0.into() };
    assert!(cost(&attention, &["f32[4000, 4]", "f32[4000, 4]", "f32[4000, 0]"]) > 4_000 * 4_000 * 12);
    let largest = cost(&Op::MatMul, &["f32[46340, 46340]", "f32[46340, 46340]"]);
    assert!(largest > 46_340u64.pow(3) / 2, "{largest}");
    let deep = cost(&Op::MatMul, &["f32[1, 2147483647]", "f32[2147483647, 1]"]);
    assert!(deep > 1 << 30, "{deep}");
}

proptest! {
    /// Whatever bytes a guest sends as a graph: one graph has one encoding, and a plan keeps what it promises.
    #[test]
    fn any_bytes_are_a_graph_or_none(
        ops in prop::collection::vec((0usize..6, any::<[u8; 2]>()), 0..6),
        accidents in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        most in prop_oneof![Just(0u64), 0u64..200, Just(1 << 30)],
    ) {
        let pick = |at: usize| [
            Op::Relu,
            Op::Add,
            Op::Cast(Dtype::F16),
            Op::TopK { axis: 1, k: 2, largest: true },
            Op::Transpose { order: vec![1, 0] },
            Op::MatMul,
        ][at].clone();
        let nodes = ops.into_iter().enumerate().map(|(at, (op, inputs))| {
            let known = at + 2;
            let count = if matches!(op, 1 | 5) { 2 } else { 1 };
            let inputs = inputs[..count].iter().map(|id| u32::try_from(usize::from(*id) % known).unwrap_or(0)).collect();
            Node { op: pick(op), inputs }
        });
        let graph = Graph { nodes: nodes.collect(), outputs: vec![0, 1] };
        let mut bytes = graph.to_bytes();
        prop_assert_eq!(Graph::from_bytes(&bytes).expect("as it was sent"), graph);
        for (place, byte) in accidents {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(graph) = Graph::from_bytes(&bytes) {
            prop_assert_eq!(graph.to_bytes(), bytes, "two encodings of one graph");
            let outside = [of("f32[2, 3]"), of("i32[4]")];
            if let Ok(plan) = graph.plan(&outside, most) {
                let made: u64 = plan.types[outside.len()..].iter().map(TensorType::bytes).sum();
                prop_assert!(made <= plan.bytes && plan.bytes <= most, "{} made, {} planned, {} left", made, plan.bytes, most);
                prop_assert_eq!(plan.types.len(), outside.len() + graph.nodes.iter().map(|node| node.op.outputs()).sum::<usize>());
                prop_assert!(plan.fuel >= 2_000 * graph.nodes.len() as u64);
                prop_assert!(graph.outputs.iter().all(|value| (*value as usize) < plan.types.len()));
            }
        }
    }

    /// NumPy's broadcasting is symmetric.
    #[test]
    fn broadcasting_does_not_ask_which_side_an_operand_is_on(
        left in prop::collection::vec(0u32..4, 0..5),
        right in prop::collection::vec(0u32..4, 0..5),
    ) {
        let [left, right] = [left, right].map(|dims| TensorType::new(Dtype::F32, &dims).expect("small"));
        let one = infer(&Op::Add, &[&left, &right]);
        let other = infer(&Op::Add, &[&right, &left]);
        prop_assert_eq!(one.is_ok(), other.is_ok());
        if let (Ok(one), Ok(other)) = (one, other) {
            prop_assert_eq!(one, other);
        }
    }
}
