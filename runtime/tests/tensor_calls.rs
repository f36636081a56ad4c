//! Calls on tensors with arguments that nobody means: each has an answer, the same on both engines, and the host lives.

mod support;

use samebit_spec::{
    execution::{Execution, Limits, Outcome, TensorOps},
    tensor::{Bits, Dtype, Gelu, Graph, Node, Op, host::Answer},
    unit::{Bytes, Fuel},
    wire,
};
use support::{Store, execution, load, mount, run_in};

/// Where the guest puts its file: first what calls point to, then the calls.
const POINTED: u32 = 4096;
const CALLS: u32 = 8192;
const CALL: usize = 32;

/// Makes the calls that its input lists, and writes each answer to stdout.
fn guest() -> String {
    let arg = |at: u32| format!("(i32.load (i32.add (local.get $at) (i32.const {at})))");
    let long = format!("(i64.extend_i32_s {})", arg(8));
    let args: Vec<String> = (1..=6).map(|at| arg(at * 4)).collect();
    format!(
        r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "samebit_tensor" "create" (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "from_file" (func $from_file (param i32 i64 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "submit" (func $submit (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "describe" (func $describe (param i32 i32) (result i32)))
    (import "samebit_tensor" "read" (func $read (param i32 i64 i32 i32) (result i32)))
    (import "samebit_tensor" "drop" (func $drop (param i32) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 20) "data")
    (func $do (param $at i32) (result i32)
        (block $c5 (block $c4 (block $c3 (block $c2 (block $c1 (block $c0
            (br_table $c0 $c1 $c2 $c3 $c4 $c5 (i32.load (local.get $at))))
            (return (call $create {a0} {a1} {a2} {a3} {a4} {a5})))
            (return (call $from_file {a0} {long} {a2} {a3} {a4} {a5})))
            (return (call $submit {a0} {a1} {a2} {a3} {a4} {a5})))
            (return (call $describe {a0} {a1})))
            (return (call $read {a0} {long} {a2} {a3})))
        (call $drop {a0}))
    (func (export "_start") (local $at i32) (local $end i32)
        (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 20) (i32.const 4) (i32.const 0)
             (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 24)) (then unreachable))
        (i32.store (i32.const 8) (i32.const {POINTED}))
        (i32.store (i32.const 12) (i32.const 60000))
        (if (call $fd_read (i32.load (i32.const 24)) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))
        (local.set $end (i32.add (i32.const {POINTED}) (i32.load (i32.const 16))))
        (local.set $at (i32.const {CALLS}))
        (loop $more
            (if (i32.lt_u (local.get $at) (local.get $end)) (then
                (i32.store8 (i32.const 40) (call $do (local.get $at)))
                (i32.store (i32.const 8) (i32.const 40))
                (i32.store (i32.const 12) (i32.const 1))
                (if (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))
                (local.set $at (i32.add (local.get $at) (i32.const {CALL})))
                (br $more))))))"#,
        a0 = args[0],
        a1 = args[1],
        a2 = args[2],
        a3 = args[3],
        a4 = args[4],
        a5 = args[5],
    )
}

/// Numbers that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).expect("below 32 bits")
    }

    fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.below(u32::try_from(some.len()).expect("few")) as usize].clone()
    }

    /// An argument: a small number, a place in memory, or one that is far out.
    fn argument(&mut self) -> u32 {
        match self.below(8) {
            0..=3 => self.below(10),
            4 | 5 => self.of(&[POINTED, POINTED + 64, POINTED + 128, POINTED + 256, POINTED + 512, 64, 24, 96]),
            6 => self.below(131_072),
            _ => self.of(&[131_071, 131_072, u32::MAX, 1 << 31, (1 << 31) - 1, u32::MAX - 3, 4096, 4097, 1 << 20]),
        }
    }

    fn op(&mut self) -> Op {
        let axis = u8::try_from(self.below(4)).expect("small");
        let axes = vec![axis];
        let some = |dice: &mut Self| (0..dice.below(4)).map(|_| dice.argument()).collect::<Vec<u32>>();
        match self.below(16) {
            0 => Op::Add,
            1 => Op::MatMul,
            2 => Op::Gelu(Gelu::Erf),
            3 => Op::Softmax { axis },
            4 => Op::ReduceSum { axes, keep: self.below(2) == 0 },
            5 => Op::Reshape { dims: some(self) },
            6 => Op::Gather { axis },
            7 => Op::Concat { axis },
            8 => Op::Slice { starts: some(self), ends: some(self), steps: some(self) },
            9 => Op::Pad {
                before: vec![self.of(&[1, 1 << 19])],
                after: vec![self.below(9)],
                value: Bits(self.argument()),
            },
            10 => Op::Cast(self.of(&[Dtype::F32, Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8])),
            11 => Op::TopK { axis, k: self.argument(), largest: true },
            12 => Op::Transpose { order: vec![axis, 1 - axis.min(1)] },
            13 => Op::Attention { scale: Bits(self.argument()) },
            14 => Op::Where,
            _ => Op::QuantizeLinear { axis },
        }
    }

    fn graph(&mut self) -> Vec<u8> {
        let nodes = (0..self.below(6))
            .map(|_| Node { op: self.op(), inputs: (0..1 + self.below(3)).map(|_| self.below(6)).collect() })
            .collect();
        wire::encode(&Graph { nodes, outputs: (0..self.below(4)).map(|_| self.below(8)).collect() })
    }
}

#[test]
fn calls_that_nobody_means_have_answers_that_are_the_same_everywhere() {
    let program = load(&guest());
    let mut seen = [0_u32; 256];
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut pointed = vec![0; (CALLS - POINTED) as usize];
        for word in pointed.as_chunks_mut::<4>().0.iter_mut().take(64) {
            *word = dice.below(9).to_le_bytes();
        }
        let graph = match seed % 4 {
            // More than the limit, of a vector of one.
            0 => {
                pointed[..4].copy_from_slice(&1_u32.to_le_bytes());
                let op = Op::Pad { before: vec![1 << 19], after: vec![0], value: Bits(0) };
                wire::encode(&Graph { nodes: vec![Node { op, inputs: vec![0] }], outputs: vec![1] })
            }
            _ => dice.graph(),
        };
        pointed[512..512 + graph.len()].copy_from_slice(&graph);
        let mut calls = Vec::new();
        for _ in 0..40 {
            let mut args: [u32; 8] = std::array::from_fn(|_| dice.argument());
            args[0] = dice.below(7);
            // Half of the calls mean something, or nothing would ever be made.
            match dice.below(8) {
                0 => args[..7].copy_from_slice(&[
                    0,
                    1 + dice.below(5),
                    POINTED,
                    dice.below(3),
                    POINTED,
                    dice.below(65),
                    96,
                ]),
                4 => args[..7].copy_from_slice(&[0, 1, POINTED, 1, POINTED, 4, 96]),
                1 => args[..7].copy_from_slice(&[0, 1, POINTED, 0, POINTED, 4, 96]),
                2 => args[..7].copy_from_slice(&[1, 4, dice.below(9), 1, POINTED, dice.below(3), 96]),
                3 => {
                    let len = u32::try_from(graph.len()).expect("short");
                    let (count, room) = (dice.below(4), dice.below(4));
                    args[..7].copy_from_slice(&[2, POINTED + 512, len, POINTED, count, 96, room]);
                }
                _ => {}
            }
            calls.extend(args.iter().flat_map(|word| word.to_le_bytes()));
        }
        let mut store = Store::default();
        let tree = store.tree(&[("data", &[pointed, calls].concat())]);
        let limits = Limits { fuel: Fuel(2_000_000_000_000), memory: Bytes(1 << 20), ..Limits::default() };
        let execution =
            Execution { mounts: vec![mount("/in", tree)], limits, tensor_ops: TensorOps(1), ..execution(&program) };
        let finished = run_in(&program, &execution, &store).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 }, "seed {seed}");
        assert_eq!(finished.stdout.len(), 40, "seed {seed}");
        for answer in finished.stdout {
            assert!(!Answer(answer.into()).meaning().contains("version 1"), "seed {seed}: {answer}");
            seen[usize::from(answer)] += 1;
        }
    }
    // The dice reach what they are to reach.
    for answer in [0, 1, 2, 3, 16, 17, 18, 32, 33, 35, 36, 37] {
        assert!(seen[answer] > 0, "answer {answer} was never given: {seen:?}");
    }
}
