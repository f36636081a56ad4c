//! Hard operands for every operation: what the vectors, the tests of backends and the conformance gate run.
//!
//! The list is the same on every machine: numbers come from a fixed generator, and a case's name says its operation and
//! what is hard about it.

use crate::{Data, Tensor};
use samebit_spec::tensor::{Bits, Dtype, Gelu, Op, Shape, TensorType, Window};

/// An operation with operands.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the operation, then of what is hard.
    pub name: String,
    /// The operation.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<Tensor>,
}

/// Which numbers a tensor is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Between -4 and 4.
    Moderate,
    /// Any sign, exponents over 240 binades.
    Wide,
    /// One in four from a list of edges: zeros, subnormal numbers, the thresholds of the spec and their neighbours,
    /// infinities, NaNs with payloads.
    Special,
    /// Pairs that cancel but for their last bits.
    Cancelling,
}

impl Numbers {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Moderate, Self::Wide, Self::Special, Self::Cancelling];
}

/// Numbers from a seed: xorshift64* (Vigna 2016).
#[derive(Clone, Debug)]
pub struct Source(u64);

const EDGES: [u32; 26] = [
    0x0000_0000, // 0
    0x8000_0000, // -0
    0x0000_0001, // the smallest subnormal number
    0x807f_ffff, // the largest subnormal number, negative
    0x0080_0000, // 2^-126
    0x80ff_ffff, // below 2^-125
    0x0100_0000, // 2^-125
    0x8100_0001, // above it
    0x0c7f_ffff, // below 2^-102
    0x0c80_0000, // 2^-102
    0x25ff_ffff, // below 2^-51
    0xa600_0000, // -2^-51
    0x2600_0001, // above it
    0x3f80_0000, // 1
    0xbf80_0000, // -1
    0x3f80_0001, // above 1
    0x3f7f_ffff, // below 1
    0x42b1_7218, // ln of the largest number
    0xc2ad_496b, // ln 2^-125
    0x4b80_0000, // 2^24
    0x7f7f_ffff, // the largest
    0xff7f_ffff, // the least
    0x7f80_0000, // infinity
    0xff80_0000, // -infinity
    0x7fc0_0000, // NaN
    0xff80_0001, // a NaN with another sign and payload
];

impl Source {
    /// Numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.bits() % end
    }

    fn moderate(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 2_097_152.0 - 4.0
    }

    fn wide(&mut self) -> f32 {
        let exponent = 7 + self.below(240);
        f32::from_bits((self.bits() & 0x807f_ffff) | (exponent << 23))
    }

    fn number(&mut self, of: Numbers) -> f32 {
        match of {
            Numbers::Moderate | Numbers::Cancelling => self.moderate(),
            Numbers::Wide => self.wide(),
            Numbers::Special => match self.below(4) {
                0 => f32::from_bits(EDGES[self.bits() as usize % EDGES.len()]),
                1 => self.wide(),
                _ => self.moderate(),
            },
        }
    }

    /// A tensor of `f32`.
    pub fn floats(&mut self, dims: &[u32], of: Numbers) -> Tensor {
        let of_type = typed(Dtype::F32, dims);
        let count = of_type.shape.elements();
        let mut data: Vec<f32> = (0..count).map(|_| self.number(of)).collect();
        if of == Numbers::Cancelling {
            // Each odd element is nearly the negative of the one before it.
            for pair in data.as_chunks_mut::<2>().0 {
                pair[1] = f32::from_bits((-pair[0]).to_bits() ^ (self.bits() & 3));
            }
        }
        Tensor::new(of_type, Data::F32(data)).expect("as many as the shape says")
    }

    /// A tensor of any element type.
    pub fn tensor(&mut self, dtype: Dtype, dims: &[u32], of: Numbers) -> Tensor {
        let of_type = typed(dtype, dims);
        let count = usize::try_from(of_type.shape.elements()).expect("small");
        let data = match dtype {
            Dtype::F32 => return self.floats(dims, of),
            Dtype::F16 => Data::F16((0..count).map(|_| self.half(of)).collect()),
            Dtype::I32 => Data::I32((0..count).map(|_| self.bits().cast_signed() >> self.below(32)).collect()),
            Dtype::I8 => Data::I8((0..count).map(|_| self.byte().cast_signed()).collect()),
            Dtype::U8 => Data::U8((0..count).map(|_| self.byte()).collect()),
        };
        Tensor::new(of_type, data).expect("as many as the shape says")
    }

    fn half(&mut self, of: Numbers) -> u16 {
        if of == Numbers::Moderate {
            crate::number::to_half(self.moderate())
        } else {
            u16::from_le_bytes([self.byte(), self.byte()])
        }
    }

    fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    /// Indices between `-len` and `len - 1`.
    pub fn indices(&mut self, dims: &[u32], len: u32) -> Tensor {
        let of_type = typed(Dtype::I32, dims);
        let count = of_type.shape.elements();
        let data = (0..count).map(|_| self.below(2 * len).cast_signed() - len.cast_signed()).collect();
        Tensor::new(of_type, Data::I32(data)).expect("as many as the shape says")
    }
}

fn typed(dtype: Dtype, dims: &[u32]) -> TensorType {
    TensorType { dtype, shape: Shape::new(dims).expect("shapes of cases are small") }
}

/// The list: `seed` varies the numbers, never the operations and shapes.
#[must_use]
pub fn cases(seed: u64) -> Vec<Case> {
    let mut list = List { cases: Vec::new(), source: Source::new(seed) };
    list.elementwise();
    list.products();
    list.windows();
    list.along();
    list.quantised();
    list.moves();
    list.edges();
    list.cases
}

struct List {
    cases: Vec<Case>,
    source: Source,
}

impl List {
    fn push(&mut self, what: &str, op: Op, inputs: Vec<Tensor>) {
        self.cases.push(Case { name: format!("{} {what}", op.name()), op, inputs });
    }

    fn elementwise(&mut self) {
        let one = [
            Op::Neg,
            Op::Abs,
            Op::Exp,
            Op::Log,
            Op::Sqrt,
            Op::Reciprocal,
            Op::Tanh,
            Op::Sigmoid,
            Op::Erf,
            Op::Gelu(Gelu::Erf),
            Op::Gelu(Gelu::Tanh),
            Op::Relu,
            Op::Clip { low: (-0.5).into(), high: 1.25.into() },
            Op::Cast(Dtype::F16),
            Op::Cast(Dtype::I32),
            Op::Cast(Dtype::I8),
            Op::Cast(Dtype::U8),
        ];
        for op in one {
            for of in Numbers::ALL {
                let x = self.source.floats(&[5, 67], of);
                self.push(&format!("{of:?}"), op.clone(), vec![x]);
            }
            let empty = self.source.floats(&[3, 0], Numbers::Moderate);
            self.push("empty", op, vec![empty]);
        }
        for (from, to) in [Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8]
            .into_iter()
            .flat_map(|from| [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8].map(|to| (from, to)))
        {
            let x = self.source.tensor(from, &[257], Numbers::Special);
            self.push(&format!("from {from} to {to}"), Op::Cast(to), vec![x]);
        }
        let two = [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Min, Op::Max, Op::Equal, Op::Less, Op::Greater];
        let shapes: [[&[u32]; 2]; 7] = [
            [&[3, 5, 7], &[3, 5, 7]],
            [&[3, 5, 7], &[]],
            [&[], &[11]],
            [&[4, 33], &[33]],
            [&[4, 1, 9], &[6, 1]],
            [&[2, 1, 3, 1], &[4, 1, 5]],
            [&[0, 3], &[1, 3]],
        ];
        for op in two {
            for [left, right] in shapes {
                for of in [Numbers::Special, Numbers::Cancelling] {
                    let inputs = vec![self.source.floats(left, of), self.source.floats(right, of)];
                    self.push(&format!("{of:?} {left:?} {right:?}"), op.clone(), inputs);
                }
            }
            for dtype in [Dtype::F32, Dtype::I32] {
                let left = self.source.tensor(dtype, &[521], Numbers::Wide);
                let right = self.source.tensor(dtype, &[521], Numbers::Wide);
                self.push(&format!("{dtype} Wide"), op.clone(), vec![left, right]);
            }
        }
        for op in [Op::Neg, Op::Abs] {
            let x = self.source.tensor(Dtype::I32, &[65], Numbers::Moderate);
            self.push("i32", op, vec![x]);
        }
        for dtype in [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8] {
            let mut flags = self.source.tensor(Dtype::U8, &[4, 1, 9], Numbers::Moderate);
            if let Data::U8(data) = flags.data() {
                let data = data.iter().map(|flag| flag & 1).collect();
                flags = Tensor::new(flags.of().clone(), Data::U8(data)).expect("the same shape");
            }
            let yes = self.source.tensor(dtype, &[6, 1], Numbers::Special);
            let no = self.source.tensor(dtype, &[9], Numbers::Special);
            self.push(&format!("{dtype}"), Op::Where, vec![flags, yes, no]);
        }
    }

    fn products(&mut self) {
        let shapes: [[&[u32]; 2]; 10] = [
            [&[1, 1], &[1, 1]],
            [&[6, 16], &[16, 16]],
            [&[7, 3], &[3, 17]],
            [&[13, 300], &[300, 33]],
            [&[129, 67], &[67, 51]],
            [&[2, 3, 5, 9], &[2, 3, 9, 4]],
            [&[3, 5, 9], &[9, 20]],
            [&[2, 1, 4, 8], &[3, 8, 5]],
            [&[5, 0], &[0, 7]],
            [&[0, 4], &[4, 3]],
        ];
        for [left, right] in shapes {
            for of in Numbers::ALL {
                let inputs = vec![self.source.floats(left, of), self.source.floats(right, of)];
                self.push(&format!("f32 {of:?} {left:?} {right:?}"), Op::MatMul, inputs);
            }
            let inputs = [left, right].map(|dims| self.source.tensor(Dtype::F16, dims, Numbers::Special)).to_vec();
            self.push(&format!("f16 {left:?} {right:?}"), Op::MatMul, inputs);
            for (a, b, zeros) in [(Dtype::I8, Dtype::I8, [-3, 5]), (Dtype::U8, Dtype::I8, [128, 0])] {
                let inputs = vec![
                    self.source.tensor(a, left, Numbers::Moderate),
                    self.source.tensor(b, right, Numbers::Moderate),
                ];
                let op = Op::MatMulInteger { a_zero: zeros[0], b_zero: zeros[1] };
                self.push(&format!("{a} {b} {left:?} {right:?}"), op, inputs);
            }
        }
        for (at, addend) in
            [None, Some(&[][..]), Some(&[19][..]), Some(&[9, 1][..]), Some(&[9, 19][..])].into_iter().enumerate()
        {
            let (flip_a, flip_b) = (at % 2 == 1, at / 2 % 2 == 1);
            let left: &[u32] = if flip_a { &[70, 9] } else { &[9, 70] };
            let right: &[u32] = if flip_b { &[19, 70] } else { &[70, 19] };
            for (of, alpha, beta) in [(Numbers::Special, 1.0, 1.0), (Numbers::Moderate, 0.75, -1.5)] {
                let mut inputs = vec![self.source.floats(left, of), self.source.floats(right, of)];
                inputs.extend(addend.map(|dims| self.source.floats(dims, of)));
                let op = Op::Gemm { alpha: alpha.into(), beta: beta.into(), transpose_a: flip_a, transpose_b: flip_b };
                self.push(&format!("{of:?} {at}"), op, inputs);
            }
        }
        for (of, mask) in [(Numbers::Moderate, true), (Numbers::Special, false), (Numbers::Cancelling, true)] {
            let mut inputs = vec![
                self.source.floats(&[2, 3, 7, 8], of),
                self.source.floats(&[2, 3, 10, 8], of),
                self.source.floats(&[2, 3, 10, 5], of),
            ];
            inputs.extend(mask.then(|| self.source.floats(&[2, 1, 1, 10], of)));
            self.push(&format!("{of:?}"), Op::Attention { scale: 0.353_553_4.into() }, inputs);
        }
        for interleaved in [false, true] {
            let inputs = vec![
                self.source.floats(&[2, 5, 12], Numbers::Special),
                self.source.floats(&[5, 6], Numbers::Special),
                self.source.floats(&[5, 6], Numbers::Moderate),
            ];
            self.push(&format!("interleaved {interleaved}"), Op::RotaryEmbedding { interleaved }, inputs);
        }
    }

    fn windows(&mut self) {
        let window = |kernel: &[u32], strides: &[u32], dilations: &[u32], before: &[u32], after: &[u32]| Window {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            dilations: dilations.to_vec(),
            before: before.to_vec(),
            after: after.to_vec(),
        };
        let convolutions: [(&[u32], &[u32], u32, Window); 5] = [
            (&[2, 3, 17], &[4, 3, 5], 1, window(&[5], &[2], &[1], &[2], &[1])),
            (&[1, 4, 9, 8], &[6, 4, 3, 3], 1, window(&[3, 3], &[1, 1], &[1, 1], &[1, 1], &[1, 1])),
            (&[2, 4, 9, 8], &[4, 1, 3, 2], 4, window(&[3, 2], &[2, 1], &[1, 2], &[0, 1], &[2, 0])),
            (&[1, 6, 5, 5], &[4, 3, 1, 1], 2, window(&[1, 1], &[1, 1], &[1, 1], &[0, 0], &[0, 0])),
            (&[0, 2, 6], &[3, 2, 3], 1, window(&[3], &[1], &[1], &[0], &[0])),
        ];
        for (at, (data, weights, groups, window)) in convolutions.into_iter().enumerate() {
            for of in [Numbers::Moderate, Numbers::Special] {
                let mut inputs = vec![self.source.floats(data, of), self.source.floats(weights, of)];
                inputs.extend((at % 2 == 0).then(|| self.source.floats(&weights[..1], of)));
                self.push(&format!("{of:?} {data:?} {weights:?}"), Op::Conv { window: window.clone(), groups }, inputs);
            }
        }
        let pools: [(&[u32], Window); 3] = [
            (&[2, 3, 17], window(&[4], &[2], &[1], &[1], &[2])),
            (&[1, 2, 9, 8], window(&[3, 2], &[2, 2], &[1, 1], &[1, 0], &[1, 1])),
            (&[2, 2, 9, 8], window(&[2, 3], &[1, 2], &[2, 2], &[0, 0], &[0, 0])),
        ];
        for (data, window) in pools {
            for of in [Numbers::Moderate, Numbers::Special] {
                let x = self.source.floats(data, of);
                self.push(&format!("{of:?} {data:?}"), Op::MaxPool(window.clone()), vec![x.clone()]);
                for count_padding in [false, true] {
                    let op = Op::AveragePool { window: window.clone(), count_padding };
                    self.push(&format!("{of:?} {data:?} {count_padding}"), op, vec![x.clone()]);
                }
            }
        }
    }

    fn along(&mut self) {
        for of in Numbers::ALL {
            for (dims, axis) in [(&[3, 77][..], 1), (&[2, 200, 3], 1), (&[5, 1], 1), (&[2, 64], 0), (&[3, 0], 1)] {
                let x = self.source.floats(dims, of);
                self.push(&format!("{of:?} {dims:?} {axis}"), Op::Softmax { axis }, vec![x]);
            }
            for (dims, axis) in [(&[3, 77][..], 1), (&[2, 3, 130], 1), (&[4, 384], 1), (&[0, 5], 1)] {
                let row = &dims[usize::from(axis)..];
                let (x, scale, bias) =
                    (self.source.floats(dims, of), self.source.floats(row, of), self.source.floats(row, of));
                let epsilon = Bits::from(1e-12);
                self.push(
                    &format!("{of:?} {dims:?}"),
                    Op::LayerNormalization { axis, epsilon },
                    vec![x.clone(), scale.clone(), bias],
                );
                self.push(
                    &format!("{of:?} {dims:?}"),
                    Op::RmsNormalization { axis, epsilon: 1e-6.into() },
                    vec![x, scale],
                );
            }
            for (dims, axes) in [(&[3, 150][..], &[1][..]), (&[3, 5, 70], &[0, 2]), (&[4, 9], &[]), (&[2, 3], &[0])] {
                for keep in [false, true] {
                    let axes = axes.to_vec();
                    let name = format!("{of:?} {dims:?} {axes:?} {keep}");
                    for op in [
                        Op::ReduceSum { axes: axes.clone(), keep },
                        Op::ReduceMean { axes: axes.clone(), keep },
                        Op::ReduceMax { axes: axes.clone(), keep },
                        Op::ReduceMin { axes: axes.clone(), keep },
                    ] {
                        let x = self.source.floats(dims, of);
                        self.push(&name, op, vec![x]);
                    }
                }
            }
            for dtype in [Dtype::F32, Dtype::I32] {
                let x = self.source.tensor(dtype, &[3, 41, 2], of);
                self.push(&format!("{dtype} {of:?}"), Op::ArgMax { axis: 1, keep: false }, vec![x.clone()]);
                for largest in [false, true] {
                    self.push(
                        &format!("{dtype} {of:?} {largest}"),
                        Op::TopK { axis: 1, k: 7, largest },
                        vec![x.clone()],
                    );
                }
            }
        }
        let ties = Tensor::f32(&[6], &[1.0, f32::NAN, 1.0, -0.0, 0.0, f32::NAN]).expect("a small shape");
        for largest in [false, true] {
            self.push(&format!("ties {largest}"), Op::TopK { axis: 0, k: 6, largest }, vec![ties.clone()]);
        }
        self.push("ties", Op::ArgMax { axis: 0, keep: true }, vec![ties]);
        let empty = self.source.floats(&[2, 0], Numbers::Moderate);
        self.push("of nothing", Op::ReduceSum { axes: vec![1], keep: false }, vec![empty]);
        let x = self.source.tensor(Dtype::I32, &[7, 9], Numbers::Moderate);
        for op in [
            Op::ReduceSum { axes: vec![0], keep: false },
            Op::ReduceMax { axes: vec![1], keep: true },
            Op::ReduceMin { axes: vec![], keep: false },
        ] {
            self.push("i32", op, vec![x.clone()]);
        }
    }

    fn quantised(&mut self) {
        for dtype in [Dtype::I8, Dtype::U8] {
            for of in [Numbers::Moderate, Numbers::Special] {
                for (axis, row) in [(0, &[][..]), (1, &[9])] {
                    let x = self.source.floats(&[4, 9], of);
                    let scale = self.source.floats(row, of);
                    let zero = self.source.tensor(dtype, row, of);
                    self.push(
                        &format!("{dtype} {of:?} {row:?}"),
                        Op::QuantizeLinear { axis },
                        vec![x, scale.clone(), zero.clone()],
                    );
                    let x = self.source.tensor(dtype, &[4, 9], of);
                    self.push(&format!("{dtype} {of:?} {row:?}"), Op::DequantizeLinear { axis }, vec![x, scale, zero]);
                }
            }
        }
        let inputs = vec![
            self.source.tensor(Dtype::I32, &[33], Numbers::Moderate),
            self.source.floats(&[], Numbers::Moderate),
            self.source.tensor(Dtype::I32, &[], Numbers::Moderate),
        ];
        self.push("i32", Op::DequantizeLinear { axis: 0 }, inputs);
    }

    fn moves(&mut self) {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8] {
            let x = self.source.tensor(dtype, &[4, 6, 5], Numbers::Special);
            let name = dtype.to_string();
            for (axis, dims) in [(0, &[3, 2][..]), (1, &[7]), (2, &[])] {
                let indices = self.source.indices(dims, x.dims()[usize::from(axis)]);
                self.push(&format!("{name} {axis}"), Op::Gather { axis }, vec![x.clone(), indices]);
            }
            for axis in 0..3 {
                let mut dims = [4, 6, 5];
                dims[usize::from(axis)] = 2;
                let other = self.source.tensor(dtype, &dims, Numbers::Special);
                self.push(&format!("{name} {axis}"), Op::Concat { axis }, vec![x.clone(), other, x.clone()]);
            }
            let op = Op::Slice { starts: vec![1, 0, 4], ends: vec![4, 6, 5], steps: vec![2, 4, 1] };
            self.push(&name, op, vec![x.clone()]);
            for order in [[2, 0, 1], [0, 2, 1], [0, 1, 2]] {
                self.push(&format!("{name} {order:?}"), Op::Transpose { order: order.to_vec() }, vec![x.clone()]);
            }
            self.push(&name, Op::Reshape { dims: vec![8, 15] }, vec![x.clone()]);
            let op = Op::Pad { before: vec![0, 2, 1], after: vec![1, 0, 3], value: Bits(0x7fc0_1201) };
            self.push(&name, op, vec![x]);
        }
        let empty = self.source.floats(&[0, 4], Numbers::Moderate);
        let op = Op::Pad { before: vec![1, 0], after: vec![1, 0], value: Bits(0) };
        self.push("of nothing", op, vec![empty.clone()]);
        self.push("of nothing", Op::Transpose { order: vec![1, 0] }, vec![empty]);
    }

    /// The last ones, so that what was added did not change the numbers of the others.
    fn edges(&mut self) {
        let attentions = [
            // No keys, no depth, no columns, no rows.
            ([&[2u32, 4][..], &[0, 4], &[0, 3]], None),
            ([&[3, 2, 4], &[3, 0, 4], &[3, 0, 5]], None),
            ([&[2, 4], &[0, 4], &[0, 3]], Some(&[2, 0][..])),
            ([&[2, 0], &[3, 0], &[3, 4]], None),
            ([&[2, 4], &[3, 4], &[3, 0]], None),
            ([&[0, 4], &[3, 4], &[3, 2]], None),
            ([&[1, 1], &[1, 1], &[1, 1]], None),
            ([&[1, 4], &[1, 4], &[1, 3]], None),
            // One matrix whose scores are many, so that its rows go to several threads.
            ([&[200, 16], &[512, 16], &[512, 32]], None),
        ];
        for (operands, mask) in attentions {
            let mut inputs: Vec<Tensor> =
                operands.iter().map(|dims| self.source.floats(dims, Numbers::Moderate)).collect();
            inputs.extend(mask.map(|dims| self.source.floats(dims, Numbers::Moderate)));
            let name = format!("{operands:?} {mask:?}");
            self.push(&name, Op::Attention { scale: 0.5.into() }, inputs);
        }
        // Right operands whose layout is kept: several blocks over `k`, and hardly any padding.
        for of in [Numbers::Moderate, Numbers::Special] {
            let inputs = vec![self.source.floats(&[7, 400], of), self.source.floats(&[400, 31], of)];
            self.push(&format!("f32 {of:?} kept"), Op::MatMul, inputs);
        }
        for (a, zeros) in [(Dtype::I8, [-3, 128]), (Dtype::U8, [128, 7])] {
            for n in [31, 64] {
                let inputs = vec![
                    self.source.tensor(a, &[13, 1030], Numbers::Moderate),
                    self.source.tensor(Dtype::U8, &[1030, n], Numbers::Moderate),
                ];
                let op = Op::MatMulInteger { a_zero: zeros[0], b_zero: zeros[1] };
                self.push(&format!("{a} u8 kept {n}"), op, inputs);
            }
        }
    }
}
