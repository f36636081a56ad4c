//! T2: every backend gives the oracle's bits, for every operation, on every instruction set and number of threads.

use samebit_tensor::{
    Dtype, Op, Tensor,
    cases::{Case, Numbers, Source, cases},
    cpu::{self, Level},
    oracle,
};
use std::collections::BTreeSet;

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
const SUM: u64 = 0xd70d_aac1_9a7e_994b;
