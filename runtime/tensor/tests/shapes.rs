//! T2 over random attributes: whatever a window, an axis or a broadcast may be, the fast backend gives the oracle's bits.

use proptest::{prelude::*, sample::subsequence};
use samebit_tensor::{
    Data, Dtype, Op, Tensor, TensorType, Window,
    cases::{Numbers, Source},
    cpu::{self, Level},
    oracle,
};

#[track_caller]
fn same(op: &Op, inputs: &[Tensor]) -> Result<(), TestCaseError> {
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    // What does not go together is refused by both, and is not what is tried here.
    let Ok(expected) = oracle::eval(op, &inputs) else {
        prop_assert!(cpu::eval(op, &inputs).is_err());
        return Ok(());
    };
    let types: Vec<&TensorType> = inputs.iter().map(|input| input.of()).collect();
    for level in Level::available() {
        // Tensors of its own for each level: a layout that is kept with one is of the level that made it.
        let anew = |input: &&Tensor| Tensor::from_bytes(input.of().clone(), &input.to_bytes()).expect("as many");
        let own: Vec<Tensor> = inputs.iter().map(anew).collect();
        let own: Vec<&Tensor> = own.iter().collect();
        for turn in 0..2 {
            let found = cpu::eval_at(level, op, &own).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&found, &expected, "{:?} of {:?} at {}, turn {}", op, types, level, turn);
        }
    }
    Ok(())
}

/// Dimensions whose product is small.
fn dims(rank: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![4 => 1u32..8, 1 => 60u32..140], rank)
        .prop_filter("small", |dims| dims.iter().product::<u32>() < 40_000)
}

/// Rows, steps and columns of a product: those at the edges of tiles, panels and blocks included.
fn sizes() -> impl Strategy<Value = [u32; 3]> {
    let short = || prop_oneof![6 => 1u32..40, 1 => 90u32..130];
    let deep = prop_oneof![5 => 1u32..40, 1 => 380u32..400, 1 => 1020u32..1030];
    (short(), deep, short()).prop_map(|(m, k, n)| [m, k, n])
}

fn numbers() -> impl Strategy<Value = Numbers> {
    prop_oneof![Just(Numbers::Moderate), Just(Numbers::Special), Just(Numbers::Wide)]
}

fn window(axes: usize) -> impl Strategy<Value = Window> {
    let each = |range: core::ops::Range<u32>| prop::collection::vec(range, axes);
    (each(1..5), each(1..4), each(1..4), each(0..4), each(0..4))
        .prop_map(|(kernel, strides, dilations, before, after)| Window { kernel, strides, dilations, before, after })
}

fn any_dtype() -> impl Strategy<Value = Dtype> {
    prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn products_of_floats_of_any_size_with_whatever_is_added(
        [m, k, n] in sizes(),
        (flips, alpha, beta) in (any::<[bool; 2]>(), prop_oneof![Just(1.0f32), Just(-0.5)], prop_oneof![Just(1.0f32), Just(3.0)]),
        of in numbers(),
        added in 0usize..6,
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let [a, b] = [(flips[0], [m, k]), (flips[1], [k, n])]
            .map(|(flip, [rows, columns])| source.floats(&if flip { [columns, rows] } else { [rows, columns] }, of));
        let addend = [None, Some(vec![]), Some(vec![n]), Some(vec![1, n]), Some(vec![m, 1]), Some(vec![m, n])][added].clone();
        let op = Op::Gemm { alpha: alpha.into(), beta: beta.into(), transpose_a: flips[0], transpose_b: flips[1] };
        let inputs: Vec<Tensor> = [a, b].into_iter().chain(addend.map(|dims| source.floats(&dims, of))).collect();
        same(&op, &inputs)?;
    }

    #[test]
    fn products_of_bytes_of_any_size_and_sign(
        [m, k, n] in sizes(),
        signs in any::<[bool; 2]>(),
        zeros in any::<[u8; 2]>(),
        stack in prop_oneof![2 => Just(None), 1 => (1u32..3).prop_map(Some)],
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let mut bytes = |signed: bool, dims: [u32; 2]| {
            let dims: Vec<u32> = stack.into_iter().chain(dims).collect();
            source.tensor(if signed { Dtype::I8 } else { Dtype::U8 }, &dims, Numbers::Moderate)
        };
        let inputs = [bytes(signs[0], [m, k]), bytes(signs[1], [k, n])];
        let [a_zero, b_zero] = [0, 1].map(|of| match signs[of] {
            true => i32::from(zeros[of].cast_signed()),
            false => i32::from(zeros[of]),
        });
        same(&Op::MatMulInteger { a_zero, b_zero }, &inputs)?;
    }

    #[test]
    fn attention_of_any_size_with_and_without_a_mask(
        [len, keys, depth, width] in prop::array::uniform4(prop_oneof![5 => 0u32..20, 1 => Just(64), 1 => 90u32..200]),
        outer in prop::sample::select(vec![[1u32, 1, 1], [3, 3, 3], [3, 1, 1], [1, 3, 1], [1, 1, 3], [3, 3, 1]]),
        mask in prop::sample::select(vec![0usize, 0, 0, 1, 2]),
        of in numbers(),
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let mut inputs = vec![
            source.floats(&[outer[0], len, depth], of),
            source.floats(&[outer[1], keys, depth], of),
            source.floats(&[outer[2], keys, width], of),
        ];
        match mask {
            0 => {}
            1 => inputs.push(source.floats(&[keys], of)),
            _ => inputs.push(source.floats(&[len, keys], of)),
        }
        same(&Op::Attention { scale: 0.25.into() }, &inputs)?;
    }

    #[test]
    fn convolutions_and_pools_of_any_window(
        (window, space) in (1usize..3).prop_flat_map(|axes| (window(axes), prop::collection::vec(1u32..24, axes))),
        of in numbers(),
        (groups, depth, own, batch) in (1u32..4, 1u32..4, 1u32..7, 1u32..3),
        bias in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let shape = |outer: [u32; 2], inner: &[u32]| outer.iter().chain(inner).copied().collect::<Vec<u32>>();
        let x = source.floats(&shape([batch, groups * depth], &space), of);
        let weights = source.floats(&shape([groups * own, depth], &window.kernel), of);
        let mut inputs = vec![x.clone(), weights];
        if bias {
            inputs.push(source.floats(&[groups * own], of));
        }
        same(&Op::Conv { window: window.clone(), groups }, &inputs)?;
        same(&Op::MaxPool(window.clone()), std::slice::from_ref(&x))?;
        for count_padding in [false, true] {
            same(&Op::AveragePool { window: window.clone(), count_padding }, std::slice::from_ref(&x))?;
        }
    }

    #[test]
    fn reductions_and_selections_along_any_axes(
        (dims, axes) in dims(1..5).prop_flat_map(|dims| {
            let axes: Vec<u8> = (0u8..).take(dims.len()).collect();
            (Just(dims), subsequence(axes.clone(), 0..=axes.len()))
        }),
        of in numbers(),
        integers in any::<bool>(),
        share in 0.0f64..1.0,
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let x = if integers { source.tensor(Dtype::I32, &dims, of) } else { source.floats(&dims, of) };
        let x = std::slice::from_ref(&x);
        let keep = seed % 2 == 0;
        same(&Op::ReduceSum { axes: axes.clone(), keep }, x)?;
        same(&Op::ReduceMean { axes: axes.clone(), keep }, x)?;
        same(&Op::ReduceMax { axes: axes.clone(), keep }, x)?;
        same(&Op::ReduceMin { axes, keep }, x)?;
        for (axis, len) in (0u8..).zip(&dims) {
            same(&Op::ArgMax { axis, keep }, x)?;
            same(&Op::Softmax { axis }, x)?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
            let k = (f64::from(*len) * share) as u32;
            for largest in [false, true] {
                same(&Op::TopK { axis, k, largest }, x)?;
            }
        }
    }

    #[test]
    fn operands_that_stretch_in_any_way(
        (dims, masks) in dims(0..5).prop_flat_map(|dims| {
            let len = dims.len();
            (Just(dims), prop::collection::vec((prop::collection::vec(any::<bool>(), len), 0..=len), 3))
        }),
        dtype in any_dtype(),
        of in numbers(),
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let shapes: Vec<Vec<u32>> = masks
            .into_iter()
            .map(|(stretch, skipped)| {
                let own = dims.iter().zip(stretch).map(|(len, one)| if one { 1 } else { *len });
                own.skip(skipped).collect()
            })
            .collect();
        let [flags, left, right] = [Dtype::U8, dtype, dtype];
        // Few flags are zero by chance.
        let mut flags = source.tensor(flags, &shapes[0], of);
        if let Data::U8(data) = flags.data() {
            let data = data.iter().map(|flag| flag % 2).collect();
            flags = Tensor::new(flags.of().clone(), Data::U8(data)).expect("as many");
        }
        let (left, right) = (source.tensor(left, &shapes[1], of), source.tensor(right, &shapes[2], of));
        same(&Op::Where, &[flags, left.clone(), right.clone()])?;
        for op in [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Min, Op::Max, Op::Equal, Op::Less, Op::Greater] {
            same(&op, &[left.clone(), right.clone()])?;
        }
    }

    #[test]
    fn moves_and_casts_of_any_type(
        dims in dims(0..5),
        dtype in any_dtype(),
        of in numbers(),
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let mut next = {
            let mut state = seed | 1;
            move |below: u32| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u32::try_from((state >> 33) % u64::from(below.max(1))).expect("below 2^32")
            }
        };
        let x = source.tensor(dtype, &dims, of);
        let x = std::slice::from_ref(&x);
        let mut order: Vec<u8> = (0u8..).take(dims.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, next(u32::try_from(at).expect("few") + 1) as usize);
        }
        same(&Op::Transpose { order }, x)?;
        let starts: Vec<u32> = dims.iter().map(|len| next(*len)).collect();
        let ends = starts.iter().zip(&dims).map(|(start, len)| start + next(len - start + 1)).collect();
        let steps = dims.iter().map(|_| 1 + next(3)).collect();
        same(&Op::Slice { starts, ends, steps }, x)?;
        let [before, after] = [(); 2].map(|()| dims.iter().map(|_| next(3)).collect::<Vec<u32>>());
        same(&Op::Pad { before, after, value: samebit_tensor::Bits(next(u32::MAX)) }, x)?;
        for to in [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8] {
            same(&Op::Cast(to), x)?;
        }
        for (axis, len) in (0u8..).zip(&dims) {
            let picks: Vec<i32> = (0..next(20)).map(|_| next(2 * len).cast_signed() - len.cast_signed()).collect();
            let count = u32::try_from(picks.len()).expect("few");
            let of = TensorType::new(Dtype::I32, &[count]).expect("small");
            same(&Op::Gather { axis }, &[x[0].clone(), Tensor::new(of, Data::I32(picks)).expect("as many")])?;
        }
    }

    #[test]
    fn scales_along_any_axis_and_angles_of_any_width(
        dims in dims(1..4),
        of in numbers(),
        per_axis in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut source = Source::new(seed);
        let x = source.floats(&dims, of);
        for (axis, len) in (0u8..).zip(&dims) {
            let scales: &[u32] = if per_axis { &[*len] } else { &[] };
            let scale = source.floats(scales, of);
            for zero in [Dtype::I8, Dtype::U8] {
                let zero = source.tensor(zero, scales, Numbers::Wide);
                same(&Op::QuantizeLinear { axis }, &[x.clone(), scale.clone(), zero])?;
            }
            for dtype in [Dtype::I8, Dtype::U8, Dtype::I32] {
                let [bytes, zero] = [&dims[..], scales].map(|dims| source.tensor(dtype, dims, Numbers::Wide));
                same(&Op::DequantizeLinear { axis }, &[bytes, scale.clone(), zero])?;
            }
        }
        let width = 2 * dims[0];
        let rotated = source.floats(&[2, 3, width], of);
        let [cos, sin] = [(); 2].map(|()| source.floats(&[3, dims[0]], of));
        for interleaved in [false, true] {
            same(&Op::RotaryEmbedding { interleaved }, &[rotated.clone(), cos.clone(), sin.clone()])?;
        }
    }
}
