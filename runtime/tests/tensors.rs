//! What a guest can do with tensors, and what it cannot: the same answers, fuel and roots on both engines and on every
//! backend, whatever it asks.

mod support;

use samebit_runtime::{
    Backend, Checkpoint, Content, Cpu, EngineKind, Finished, Flow, Held, HostFault, Keep, Options, Oracle, Orders,
    PIECE, Runtime,
    pack::{Pack, Packer, Packs},
};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::{Execution, Limit, Limits, Outcome, TensorOps},
    state::TensorMark,
    tensor::{Dtype, Gelu, Graph, Node, Op, Plan, Shape, TensorType},
    unit::{Bytes, Fuel},
    wire,
};
use samebit_tensor::{Failure, Fault, Tensor};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use support::{Loaded, Store, execution, load, mount};

const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "samebit_tensor" "create" (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "from_file" (func $from_file (param i32 i64 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "submit" (func $submit (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "describe" (func $describe (param i32 i32) (result i32)))
    (import "samebit_tensor" "read" (func $read (param i32 i64 i32 i32) (result i32)))
    (import "samebit_tensor" "drop" (func $drop (param i32) (result i32)))
    (memory (export "memory") 1)
    ;; Answers are written to stdout, one byte each.
    (func $say (param $answer i32)
        (i32.store8 (i32.const 40) (local.get $answer))
        (call $put (i32.const 40) (i32.const 1)))
    (func $put (param $at i32) (param $len i32)
        (i32.store (i32.const 8) (local.get $at))
        (i32.store (i32.const 12) (local.get $len))
        (if (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable)))
    ;; The file of the mount: its descriptor.
    (func $open (result i32)
        (i32.store (i32.const 20) (i32.const 0x6174_6164))
        (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 20) (i32.const 4) (i32.const 0)
             (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 24)) (then unreachable))
        (i32.load (i32.const 24)))"#;

fn command(items: &str, body: &str) -> String {
    format!(r#"(module {IMPORTS} {items} (func (export "_start") {body}))"#)
}

fn stepped(items: &str, init: &str, step: &str) -> String {
    format!(
        r#"(module {IMPORTS} {items}
            (func (export "_initialize"))
            (func (export "samebit_init") (result i32) {init})
            (func (export "samebit_step") (param $budget i64) (result i32) {step})
            (func (export "samebit_finish") (result i32) (i32.const 0)))"#
    )
}

/// Bytes as a data segment.
fn data(at: u32, bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{text}\")")
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn graph(nodes: &[(Op, &[u32])], outputs: &[u32]) -> Vec<u8> {
    let nodes = nodes.iter().map(|(op, inputs)| Node { op: op.clone(), inputs: inputs.to_vec() }).collect();
    wire::encode(&Graph { nodes, outputs: outputs.to_vec() })
}

fn asking(program: &Loaded) -> Execution {
    assert_eq!(program.tensor_ops(), TensorOps(1));
    Execution { tensor_ops: TensorOps(1), ..execution(program) }
}

/// Runs on both engines, each with both backends of the processor: all the same.
fn run_on_all(program: &Loaded, execution: &Execution, store: &Store) -> Result<Finished, HostFault> {
    let mut first: Option<Result<Finished, HostFault>> = None;
    for engine in EngineKind::ALL {
        for backend in [Arc::new(Cpu) as Arc<dyn Backend>, Arc::new(Oracle)] {
            let runtime = Runtime::open(&Options { engine, backend: Some(backend), ..Options::default() }).unwrap();
            let program = runtime.compile(program.executable_of()).unwrap();
            let given = runtime.run(&program, execution, store, &mut |_| Flow::Go);
            match &first {
                None => first = Some(given),
                Some(first) => assert_eq!(first, &given, "{engine}, {}", runtime.backend().describe()),
            }
        }
    }
    first.expect("there is an engine")
}

fn run(text: &str) -> Finished {
    let program = load(text);
    // Enough for a call that names 4 GiB, which is paid for before it is refused.
    let limits = Limits { fuel: Fuel(100_000_000_000), ..Limits::default() };
    run_on_all(&program, &Execution { limits, ..asking(&program) }, &Store::default())
        .unwrap_or_else(|fault| panic!("{fault}\n{text}"))
}

/// What calls answer, one after another.
#[track_caller]
fn answers(items: &str, calls: &str, expected: &[u8]) {
    let body: String =
        calls.split(';').map(str::trim).filter(|call| !call.is_empty()).fold(String::new(), |all, call| {
            // A call that is not said is one that must go well.
            match call.strip_prefix('!') {
                Some(call) => all + &format!("(if ({call}) (then unreachable))\n"),
                None => all + &format!("(call $say ({call}))\n"),
            }
        });
    let finished = run(&command(items, &body));
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 }, "{body}");
    assert_eq!(finished.stdout, expected, "{body}");
}

/// `[2, 3]` at 64 of six floats at 128; its handle at 256.
fn matrix() -> String {
    data(64, &words(&[2, 3])) + &data(128, &floats(&[1.0, 2.0, 3.0, -4.0, 5.0, 0.5]))
}

const MATRIX: &str =
    "call $create (i32.const 1) (i32.const 64) (i32.const 2) (i32.const 128) (i32.const 24) (i32.const 256)";

#[test]
fn a_graph_is_computed_in_one_call_and_its_result_is_read_in_parts() {
    let square = graph(
        &[(Op::Transpose { order: vec![1, 0] }, &[0]), (Op::MatMul, &[0, 1]), (Op::Gelu(Gelu::Erf), &[2])],
        &[2, 3],
    );
    let finished = run(&command(
        &(matrix() + &data(512, &square)),
        &format!(
            "(call $say ({MATRIX}))
             (call $say (call $submit (i32.const 512) (i32.const {}) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const 2)))
             (call $say (call $describe (i32.const 2) (i32.const 300)))
             (call $say (call $read (i32.const 2) (i64.const 4) (i32.const 400) (i32.const 12)))
             (call $say (call $drop (i32.const 2)))
             (call $put (i32.const 256) (i32.const 12))
             (call $put (i32.const 300) (i32.const 40))
             (call $put (i32.const 400) (i32.const 12))",
            square.len()
        ),
    ));
    let mut expected = vec![0; 5];
    expected.extend(words(&[1, 2, 3]));
    expected.extend(words(&[1, 2, 2, 2, 0, 0, 0, 0, 0, 0]));
    expected.extend(floats(&[7.5, 7.5, 41.25]));
    assert_eq!(finished.stdout, expected);
}

#[test]
fn every_pointer_that_leads_outside_memory_is_answered_and_nothing_is_made() {
    let end = "(i32.const 65533)";
    let far = "(i32.const -4)";
    let add = graph(&[(Op::Add, &[0, 0])], &[1]);
    let len = add.len();
    let mut calls = vec![format!("!{MATRIX}")];
    for bad in [end, far] {
        calls.extend([
            format!("call $create (i32.const 1) {bad} (i32.const 2) (i32.const 128) (i32.const 24) (i32.const 256)"),
            format!("call $create (i32.const 1) (i32.const 64) (i32.const 2) {bad} (i32.const 24) (i32.const 256)"),
            format!("call $create (i32.const 1) (i32.const 64) (i32.const 2) (i32.const 128) (i32.const 24) {bad}"),
            "call $create (i32.const 1) (i32.const 64) (i32.const 2) (i32.const 128) (i32.const -1) (i32.const 256)"
                .to_string(),
            format!("call $from_file (i32.const 9) (i64.const 0) (i32.const 1) {bad} (i32.const 2) (i32.const 256)"),
            format!("call $from_file (i32.const 9) (i64.const 0) (i32.const 1) (i32.const 64) (i32.const 2) {bad}"),
            format!("call $submit {bad} (i32.const {len}) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const 1)"),
            format!("call $submit (i32.const 512) (i32.const {len}) {bad} (i32.const 1) (i32.const 260) (i32.const 1)"),
            format!("call $submit (i32.const 512) (i32.const {len}) (i32.const 256) (i32.const 1) {bad} (i32.const 1)"),
            format!("call $describe (i32.const 1) {bad}"),
            format!("call $read (i32.const 1) (i64.const 0) {bad} (i32.const 24)"),
        ]);
    }
    // Nothing was made: the next handle is the second.
    calls.push(format!("!{MATRIX}"));
    calls.push("call $drop (i32.const 2)".into());
    calls.push("call $drop (i32.const 3)".into());
    let mut expected = [32; 22].to_vec();
    expected.extend([0, 33]);
    answers(&(matrix() + &data(512, &add)), &calls.join(";"), &expected);
}

#[test]
fn handles_that_were_dropped_or_never_given_and_lengths_that_do_not_fit_are_answers() {
    let add = graph(&[(Op::Add, &[0, 1])], &[2]);
    let len = add.len();
    let submit = |count, room| {
        format!(
            "call $submit (i32.const 512) (i32.const {len}) (i32.const 600) (i32.const {count}) (i32.const 700) (i32.const {room})"
        )
    };
    let create = |dtype, rank, bytes| {
        format!(
            "call $create (i32.const {dtype}) (i32.const 64) (i32.const {rank}) (i32.const 128) (i32.const {bytes}) (i32.const 256)"
        )
    };
    let calls = [
        format!("!{MATRIX}"),
        format!("!{MATRIX}"),
        submit(2, 1),
        "call $drop (i32.const 2)".into(),
        "call $drop (i32.const 2)".into(),
        submit(2, 1),
        "call $describe (i32.const 2) (i32.const 700)".into(),
        "call $read (i32.const 2) (i64.const 0) (i32.const 700) (i32.const 4)".into(),
        "call $drop (i32.const 0)".into(),
        "call $drop (i32.const -1)".into(),
        "call $read (i32.const 1) (i64.const 1) (i32.const 700) (i32.const 24)".into(),
        "call $read (i32.const 1) (i64.const -1) (i32.const 700) (i32.const 4)".into(),
        create(1, 2, 20),
        create(0, 2, 24),
        create(6, 2, 24),
        create(1, 9, 24),
        create(1, -1, 24),
        // [2, 3, ...]: what follows in memory is zeros, so the tensor is empty.
        create(1, 8, 24),
        create(1, 8, 0),
    ];
    let expected = [0, 0, 33, 33, 33, 33, 33, 33, 35, 35, 35, 3, 3, 1, 1, 35, 0];
    answers(&(matrix() + &data(512, &add) + &data(600, &words(&[1, 2]))), &calls.join(";"), &expected);
}

#[test]
fn graphs_that_are_none_that_name_what_is_not_there_or_ask_for_too_much_are_answers() {
    let cases: Vec<(Vec<u8>, u32, u8)> = vec![
        (graph(&[(Op::Add, &[0, 0])], &[1]), 1, 0),
        // A cycle cannot be written: a node names what comes before it.
        (graph(&[(Op::Add, &[0, 2]), (Op::Add, &[1, 0])], &[1]), 1, 17),
        (graph(&[(Op::Add, &[0, 1])], &[1]), 1, 17),
        (graph(&[], &[7]), 1, 17),
        (graph(&[(Op::MatMul, &[0, 0])], &[1]), 1, 1),
        (graph(&[(Op::Add, &[0])], &[1]), 1, 4),
        (graph(&[(Op::MatMulInteger { a_zero: 0, b_zero: 0 }, &[0, 0])], &[1]), 1, 3),
        (graph(&[(Op::Softmax { axis: 9 }, &[0])], &[1]), 1, 5),
        (graph(&[(Op::Reshape { dims: vec![1 << 16, 1 << 16] }, &[0])], &[1]), 1, 2),
        (graph(&[(Op::Pad { before: vec![0, 1 << 28], after: vec![0, 0], value: 0.0.into() }, &[0])], &[1]), 1, 18),
        (graph(&[(Op::Add, &[0, 0])], &[1]), 0, 35),
        (graph(&[(Op::Add, &[0, 0])], &[1]), 2, 35),
        (graph(&[(Op::Cast(Dtype::I32), &[0]), (Op::Gather { axis: 0 }, &[0, 1])], &[2]), 1, 6),
        (vec![0xff; 40], 1, 36),
        (graph(&[(Op::Add, &[0, 0])], &[1])[1..].to_vec(), 1, 36),
        ([graph(&[(Op::Add, &[0, 0])], &[1]), vec![0]].concat(), 1, 36),
        // As many nodes as fit 64 KiB, all of nothing.
        (vec![0; 60_000], 1, 36),
    ];
    for (bytes, room, expected) in cases {
        let bytes_at = if bytes.len() > 1_000 { 1_024 } else { 512 };
        answers(
            &(matrix() + &data(bytes_at, &bytes[..bytes.len().min(1_000)])),
            &format!(
                "!{MATRIX}; call $submit (i32.const {bytes_at}) (i32.const {}) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const {room})",
                bytes.len()
            ),
            &[expected],
        );
    }
    answers(
        &matrix(),
        "call $submit (i32.const 0) (i32.const 1048577) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0);
         call $submit (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 4097) (i32.const 0) (i32.const 0);
         call $submit (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1);
         call $submit (i32.const 2000) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)",
        &[16, 16, 16, 0],
    );
}

#[test]
fn a_million_handles_are_refused_at_the_limit_and_dropping_them_makes_room_but_no_number_comes_again() {
    let text = command(
        "(global $n (mut i32) (i32.const 0)) (global $last (mut i32) (i32.const 0))",
        "(loop $more
            (global.set $last (call $create (i32.const 1) (i32.const 64) (i32.const 0) (i32.const 128) (i32.const 4) (i32.const 256)))
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (global.get $n) (i32.const 1000000))))
         (call $say (global.get $last))
         (call $say (call $drop (i32.const 65536)))
         (call $say (call $create (i32.const 1) (i32.const 64) (i32.const 0) (i32.const 128) (i32.const 4) (i32.const 256)))
         (call $put (i32.const 256) (i32.const 4))",
    );
    let program = load(&text);
    let execution =
        Execution { limits: Limits { fuel: Fuel(20_000_000_000), ..Limits::default() }, ..asking(&program) };
    for (runtime, program) in program.each() {
        let finished = runtime.run(program, &execution, &Store::default(), &mut |_| Flow::Go).unwrap();
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
        assert_eq!(finished.stdout, [vec![34, 0, 0], words(&[65_537])].concat(), "{}", runtime.engine());
    }
}

#[test]
fn tensors_and_linear_memory_share_one_limit_either_way() {
    // 4 MiB: one page of memory, then three tensors of a MiB, then a fourth that does not fit beside the page.
    let mib = |into| {
        format!(
            "call $submit (i32.const 512) (i32.const LEN) (i32.const 256) (i32.const 1) (i32.const {into}) (i32.const 1)"
        )
    };
    let pad = graph(&[(Op::Pad { before: vec![0], after: vec![(1 << 18) - 1], value: 0.0.into() }, &[0])], &[1]);
    let calls = [
        "(call $say (call $create (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 128) (i32.const 4) (i32.const 256)))".into(),
        format!("(call $say ({}))", mib(260)),
        format!("(call $say ({}))", mib(264)),
        format!("(call $say ({}))", mib(268)),
        format!("(call $say ({}))", mib(272)),
        // 14 pages are left; the limit of one tensor is 4 bytes short of the fifteenth.
        "(call $say (memory.grow (i32.const 15)))".into(),
        "(call $say (memory.grow (i32.const 14)))".into(),
        "(call $say (memory.grow (i32.const 0)))".into(),
        "(call $say (memory.grow (i32.const 1)))".into(),
        "(call $say (call $drop (i32.const 2)))".into(),
        "(call $say (memory.grow (i32.const 1)))".into(),
        format!("(call $say ({}))", mib(272)),
    ];
    let text =
        command(&(data(64, &words(&[1])) + &data(512, &pad)), &calls.join("\n").replace("LEN", &pad.len().to_string()));
    let program = load(&text);
    let limits = Limits { memory: Bytes(4 << 20), fuel: Fuel(200_000_000), ..Limits::default() };
    let finished = run_on_all(&program, &Execution { limits, ..asking(&program) }, &Store::default()).unwrap();
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
    assert_eq!(finished.stdout, [0, 0, 0, 0, 18, 255, 1, 15, 255, 0, 15, 18]);
}

#[test]
fn a_graph_that_the_fuel_does_not_cover_is_not_computed() {
    #[derive(Debug)]
    struct Never;
    impl Backend for Never {
        fn describe(&self) -> String {
            "never".into()
        }
        fn run(
            &self,
            _: &Graph,
            _: &Plan,
            _: &[Tensor],
            _: &(dyn Fn() -> bool + Sync),
        ) -> Result<Vec<Tensor>, Failure> {
            unreachable!("it was not paid for")
        }
    }
    let grow = graph(
        &[(Op::Pad { before: vec![0, 0], after: vec![998, 997], value: 0.5.into() }, &[0]), (Op::MatMul, &[1, 1])],
        &[2],
    );
    let program = load(&command(
        &(matrix() + &data(512, &grow)),
        &format!(
            "(call $say ({MATRIX}))
             (call $say (call $submit (i32.const 512) (i32.const {}) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const 1)))",
            grow.len()
        ),
    ));
    for engine in EngineKind::ALL {
        let runtime = Runtime::open(&Options { engine, backend: Some(Arc::new(Never)), ..Options::default() }).unwrap();
        let program = runtime.compile(program.executable_of()).unwrap();
        let execution = Execution { tensor_ops: TensorOps(1), ..execution(&program) };
        let finished = runtime.run(&program, &execution, &Store::default(), &mut |_| Flow::Go).unwrap();
        assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Fuel }, "{engine}");
        assert_eq!(finished.receipt.fuel, execution.limits.fuel);
        assert_eq!(finished.stdout, [0]);
    }
}

#[test]
fn what_a_device_does_is_a_host_fault_and_a_stop_reaches_a_graph_that_runs() {
    #[derive(Debug)]
    struct Lost;
    impl Backend for Lost {
        fn describe(&self) -> String {
            "lost".into()
        }
        fn run(
            &self,
            _: &Graph,
            _: &Plan,
            _: &[Tensor],
            _: &(dyn Fn() -> bool + Sync),
        ) -> Result<Vec<Tensor>, Failure> {
            Err(Fault::Device { device: "adapter 3".into(), reason: "it was unplugged".into() }.into())
        }
    }
    /// Computes for as long as nobody stops it.
    #[derive(Debug)]
    struct Slow;
    impl Backend for Slow {
        fn describe(&self) -> String {
            "slow".into()
        }
        fn run(
            &self,
            _: &Graph,
            _: &Plan,
            _: &[Tensor],
            stop: &(dyn Fn() -> bool + Sync),
        ) -> Result<Vec<Tensor>, Failure> {
            while !stop() {
                std::thread::yield_now();
            }
            Err(Fault::Stopped.into())
        }
    }
    let add = graph(&[(Op::Add, &[0, 0])], &[1]);
    let program = load(&command(
        &(matrix() + &data(512, &add)),
        &format!(
            "(call $say ({MATRIX}))
             (call $say (call $submit (i32.const 512) (i32.const {}) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const 1)))",
            add.len()
        ),
    ));
    let run = |backend: Arc<dyn Backend>, flow| {
        EngineKind::ALL.map(|engine| {
            let options = Options { engine, backend: Some(Arc::clone(&backend)), ..Options::default() };
            let runtime = Runtime::open(&options).unwrap();
            let program = runtime.compile(program.executable_of()).unwrap();
            let execution = Execution { tensor_ops: TensorOps(1), ..execution(&program) };
            // The first root is told before the command begins.
            runtime.run(&program, &execution, &Store::default(), &mut |progress| {
                if progress.root.is_some() { Flow::Go } else { flow }
            })
        })
    };
    for given in run(Arc::new(Lost), Flow::Go) {
        let fault = given.expect_err("no outcome");
        assert!(matches!(&fault, HostFault::Device { reason } if reason.contains("unplugged")), "{fault}");
    }
    for given in run(Arc::new(Slow), Flow::Stop) {
        assert_eq!(given.expect_err("no outcome"), HostFault::Cancelled);
    }
}

#[test]
fn an_execution_that_offers_no_tensors_answers_so_and_a_version_that_nobody_knows_is_a_host_fault() {
    let program = load(&command(&matrix(), &format!("(call $say ({MATRIX})) (call $say (call $drop (i32.const 1)))")));
    let none = Execution { tensor_ops: TensorOps(0), ..asking(&program) };
    assert_eq!(run_on_all(&program, &none, &Store::default()).unwrap().stdout, [38, 38]);
    let later = Execution { tensor_ops: TensorOps(2), ..asking(&program) };
    assert!(matches!(run_on_all(&program, &later, &Store::default()), Err(HostFault::TensorOps { .. })));
}

/// A mount with a file of 300 000 bytes.
fn mounted(store: &mut Store, execution: Execution) -> (Execution, Vec<u8>) {
    let bytes: Vec<u8> = (0..75_000_u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    let tree = store.tree(&[("data", &bytes)]);
    (Execution { mounts: vec![mount("/in", tree)], ..execution }, bytes)
}

#[test]
fn a_tensor_of_a_mounted_file_holds_its_bytes_and_what_is_no_such_file_is_an_answer() {
    let of = |fd: &str, offset: i64, dims: u32| {
        format!(
            "(call $say (call $from_file {fd} (i64.const {offset}) (i32.const 1) (i32.const {dims}) (i32.const 1) (i32.const 256)))"
        )
    };
    let text = command(
        &(data(64, &words(&[50_000])) + &data(68, &words(&[75_000]))),
        &[
            "(local $fd i32) (local.set $fd (call $open))".to_string(),
            of("(local.get $fd)", 70_000, 64),
            "(call $say (call $read (i32.const 1) (i64.const 130000) (i32.const 300) (i32.const 8)))".into(),
            "(call $put (i32.const 300) (i32.const 8))".into(),
            of("(local.get $fd)", 0, 68),
            of("(local.get $fd)", 4, 68),
            of("(local.get $fd)", -1, 68),
            of("(i32.const 0)", 0, 64),
            of("(i32.const 3)", 0, 64),
            of("(i32.const 77)", 0, 64),
        ]
        .join("\n"),
    );
    let program = load(&text);
    let mut store = Store::default();
    let (execution, bytes) = mounted(&mut store, asking(&program));
    let finished = run_on_all(&program, &execution, &store).unwrap();
    let mut expected = vec![0, 0];
    expected.extend(&bytes[200_000..200_008]);
    expected.extend([0, 35, 35, 37, 37, 37]);
    assert_eq!(finished.stdout, expected);
}

/// Four steps: weights of a file, a state tensor that each step adds to, one that comes and goes.
fn training() -> (Loaded, Store, Execution) {
    let add = graph(&[(Op::Add, &[0, 1]), (Op::Neg, &[0])], &[2, 3]);
    let text = stepped(
        &(data(64, &words(&[50_000])) + &data(512, &add) + "(global $n (mut i32) (i32.const 0))"),
        "(call $say (call $from_file (call $open) (i64.const 4) (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 256)))
         (i32.store (i32.const 260) (i32.load (i32.const 256)))
         (i32.const 1)",
        &format!(
            "(local $old i32)
             (local.set $old (i32.load (i32.const 260)))
             (call $say (call $submit (i32.const 512) (i32.const {}) (i32.const 256) (i32.const 2) (i32.const 600) (i32.const 2)))
             (i32.store (i32.const 260) (i32.load (i32.const 600)))
             (call $say (call $drop (i32.load (i32.const 604))))
             (if (i32.ne (local.get $old) (i32.const 1)) (then (call $say (call $drop (local.get $old)))))
             (global.set $n (i32.add (global.get $n) (i32.const 1)))
             (call $say (call $read (i32.load (i32.const 260)) (i64.const 400) (i32.const 700) (i32.const 8)))
             (call $put (i32.const 700) (i32.const 8))
             (i32.lt_u (global.get $n) (i32.const 4))",
            add.len()
        ),
    );
    let program = load(&text);
    let mut store = Store::default();
    let limits = Limits { fuel: Fuel(200_000_000), ..Limits::default() };
    let (execution, _) = mounted(&mut store, Execution { limits, step_budget: Fuel(50_000_000), ..asking(&program) });
    (program, store, execution)
}

/// Keeps every state.
#[derive(Default)]
struct Keeping {
    packer: Packer,
    packs: Vec<Vec<u8>>,
    images: Vec<Vec<TensorMark>>,
}

impl Keep for Keeping {
    fn wants(&mut self, _: u32) -> bool {
        true
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        self.images.push(checkpoint.image.tensors.clone());
        let mut bytes = Vec::new();
        self.packer.pack(checkpoint, &mut bytes).expect("memory takes all");
        self.packs.push(bytes);
        Held::Kept
    }
}

#[test]
fn live_tensors_are_in_every_root_and_a_run_taken_up_on_the_other_engine_gives_the_same() {
    let (program, store, execution) = training();
    let whole = run_on_all(&program, &execution, &store).unwrap();
    assert_eq!(whole.receipt.outcome, Outcome::Exited { code: 0 });
    assert_eq!(whole.receipt.steps, 4);
    let mut keeping = Keeping::default();
    let (runtime, on) = program.each().next().unwrap();
    let orders = Orders { keep: Some(&mut keeping), ..Orders::default() };
    let kept = runtime.run_with(on, &execution, &store, orders, &mut |_| Flow::Go).unwrap();
    assert_eq!(kept, whole);

    // The weights' mark is that of the file's name and never changes; the sum's does.
    let of = TensorType { dtype: Dtype::F32, shape: Shape::new(&[50_000]).unwrap() };
    let weights: Vec<TensorMark> = keeping.images.iter().map(|marks| marks[1]).collect();
    assert!(weights.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(keeping.images[0], [TensorMark::next(2), weights[0]]);
    let sum: Vec<u8> = (1..=50_000_u32).flat_map(|n| (2.0 * n as f32).to_le_bytes()).collect();
    let first = TensorMark::of(2, &of, |take| take(&sum));
    assert_eq!(keeping.images[1], [TensorMark::next(4), weights[0], first]);

    for number in 0..keeping.packs.len() {
        let packs = keeping.packs[..=number].iter().map(|bytes| Pack::read(bytes.clone()).unwrap()).collect();
        let packs = Packs::new(packs);
        for (runtime, program) in program.each() {
            let snapshot = packs.snapshot(whole.history[number]).unwrap();
            let orders = Orders { resume: Some(Arc::new(snapshot)), ..Orders::default() };
            let resumed = runtime.run_with(program, &execution, &store, orders, &mut |_| Flow::Go).unwrap();
            assert_eq!(resumed, whole, "after step {number} on {}", runtime.engine());
        }
    }
}

#[test]
fn packs_of_states_with_tensors_are_sound_and_one_takes_over_what_another_has_or_is_written_without_what_was_lost() {
    let (program, store, execution) = training();
    let mut keeping = Keeping::default();
    let (runtime, on) = program.each().next().unwrap();
    let orders = Orders { keep: Some(&mut keeping), ..Orders::default() };
    let whole = runtime.run_with(on, &execution, &store, orders, &mut |_| Flow::Go).unwrap();
    let packs: Vec<Pack> = keeping.packs.iter().map(|bytes| Pack::read(bytes.clone()).unwrap()).collect();
    for pack in &packs {
        assert_eq!(pack.altered().unwrap(), BTreeSet::new(), "step {}", pack.step());
    }
    // The last bytes of a pack with a tensor are its last piece's.
    let mut bytes = keeping.packs[1].clone();
    *bytes.last_mut().unwrap() ^= 1;
    let altered = Pack::read(bytes).unwrap();
    let lost = altered.altered().unwrap();
    assert_eq!(lost.len(), 1);
    let mut without = Vec::new();
    altered.write_without(&lost, &mut without).unwrap();
    assert_eq!(Pack::read(without).unwrap().altered().unwrap(), BTreeSet::new());

    let mut bytes = Vec::new();
    Packs::new(packs.clone()).absorb(2, 3, &mut bytes).unwrap();
    let heir = Pack::read(bytes).unwrap();
    assert_eq!(heir.altered().unwrap(), BTreeSet::new());
    let left = Packs::new(vec![packs[0].clone(), packs[1].clone(), heir]);
    for (number, root) in whole.history.iter().enumerate().filter(|(number, _)| [0, 1, 3].contains(number)) {
        let orders = Orders { resume: Some(Arc::new(left.snapshot(*root).unwrap())), ..Orders::default() };
        let resumed = runtime.run_with(on, &execution, &store, orders, &mut |_| Flow::Go).unwrap();
        assert_eq!(resumed, whole, "after step {number}");
    }
}

/// A store that gives pieces, and counts them.
struct Counting<'a> {
    bytes: &'a [u8],
    store: &'a Store,
    pieces: AtomicU64,
}

impl Content for Counting<'_> {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        self.store.read(blob)
    }

    fn piece(&self, _: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        let (_, rest) = self.bytes.split_at(usize::try_from(index * PIECE).unwrap());
        Ok(Some(rest[..rest.len().min(usize::try_from(PIECE).unwrap())].into()))
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        self.store.tree(tree)
    }
}

#[test]
fn small_tensors_of_one_piece_of_a_file_load_it_once_and_each_pays_for_it() {
    const TENSORS: u64 = 500;
    let text = command(
        &data(64, &words(&[1])),
        &format!(
            "(local $fd i32) (local $n i64) (local.set $fd (call $open))
             (loop $more
                (if (call $from_file (local.get $fd) (local.get $n) (i32.const 5) (i32.const 64) (i32.const 1) (i32.const 256))
                    (then unreachable))
                (if (call $read (i32.load (i32.const 256)) (i64.const 0) (i32.const 300) (i32.const 1)) (then unreachable))
                (local.set $n (i64.add (local.get $n) (i64.const 1)))
                (br_if $more (i64.lt_u (local.get $n) (i64.const {TENSORS}))))"
        ),
    );
    let program = load(&text);
    let mut store = Store::default();
    let limits = Limits { fuel: Fuel(1_000_000_000), ..Limits::default() };
    let (execution, bytes) = mounted(&mut store, Execution { limits, ..asking(&program) });
    let mut fuel = Vec::new();
    for (runtime, on) in program.each() {
        let counting = Counting { bytes: &bytes, store: &store, pieces: AtomicU64::new(0) };
        let finished = runtime.run(on, &execution, &counting, &mut |_| Flow::Go).unwrap();
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
        assert_eq!(counting.pieces.into_inner(), 1, "{}", runtime.engine());
        fuel.push(finished.receipt.fuel);
    }
    assert!(fuel.iter().all(|one| one.0 > TENSORS * 400_000 && *one == fuel[0]), "{fuel:?}");
}

#[test]
fn weights_are_neither_hashed_nor_kept_and_unchanged_tensors_cost_a_root_nothing() {
    let (program, store, execution) = training();
    let mut keeping = Keeping::default();
    let (runtime, on) = program.each().next().unwrap();
    let orders = Orders { keep: Some(&mut keeping), ..Orders::default() };
    runtime.run_with(on, &execution, &store, orders, &mut |_| Flow::Go).unwrap();
    // The state before the first step has the weights alone.
    assert!(keeping.packs[0].len() < 20_000, "{} bytes", keeping.packs[0].len());
    assert!(keeping.packs[1].len() > 200_000, "{} bytes", keeping.packs[1].len());
}

#[test]
fn a_task_without_tensors_has_no_marks_of_them() {
    let program = load(&command("", "(call $say (i32.const 1))"));
    let with = run_on_all(&program, &asking(&program), &Store::default()).unwrap();
    let without = run_on_all(&program, &Execution { tensor_ops: TensorOps(0), ..asking(&program) }, &Store::default());
    let without = without.unwrap();
    assert_ne!(with.receipt.execution, without.receipt.execution);
    assert_eq!((with.receipt.fuel, &with.stdout), (without.receipt.fuel, &without.stdout));
}
