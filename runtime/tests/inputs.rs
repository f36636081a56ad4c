//! Inputs and outputs that are larger than anybody wants to hold: only what a guest reads is fetched, and only what it wrote
//! is held, on every engine.

mod support;

use samebit_runtime::{Content, PIECE};
use samebit_spec::{
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::Outcome,
    id::BlobId,
    unit::{Bytes, Fuel},
};
use std::{cell::RefCell, collections::BTreeSet, fs, sync::Arc};
use support::{Store, command, execution, load, mount, run_in};

const GIB: u64 = 1 << 30;

/// A file of 2 GiB of which each piece is its own number, over and over; nobody has it whole.
struct Large {
    tree: Tree,
    asked: RefCell<BTreeSet<u64>>,
}

impl Content for Large {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if blob.len == Bytes::ZERO { Ok(Arc::from([])) } else { Err(format!("{} was asked for whole", blob.id)) }
    }

    fn piece(&self, _: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        assert!(self.asked.borrow_mut().insert(index), "piece {index} was asked for again");
        let number = index.to_le_bytes();
        Ok(Some((0..PIECE).map(|at| number[usize::try_from(at % 8).unwrap_or(0)]).collect()))
    }

    fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
        Ok(self.tree.clone())
    }
}

#[test]
fn a_megabyte_read_of_two_gigabytes_costs_a_megabyte() {
    // Reads 16 buffers of 64 KiB from 1.5 GiB on, twice, and exits with the number of the last piece it saw.
    let guest = load(
        r#"(module
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_pread"
                (func $pread (param i32 i32 i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 2)
            (data (i32.const 0) "large")
            (data (i32.const 16) "\00\00\01\00\00\00\01\00")
            (func (export "_start") (local $at i64) (local $times i32)
                (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0)
                        (i64.const 6) (i64.const 0) (i32.const 0) (i32.const 32))
                    (then unreachable))
                (loop $again
                    (local.set $at (i64.const 0x60000000))
                    (loop $more
                        (if (call $pread (i32.load (i32.const 32)) (i32.const 16) (i32.const 1) (local.get $at)
                                (i32.const 40))
                            (then unreachable))
                        (if (i32.ne (i32.load (i32.const 40)) (i32.const 0x10000)) (then unreachable))
                        (local.set $at (i64.add (local.get $at) (i64.const 0x10000)))
                        (br_if $more (i64.lt_u (local.get $at) (i64.const 0x60100000))))
                    (local.set $times (i32.add (local.get $times) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $times) (i32.const 2))))
                (call $exit (i32.load (i32.const 0x10000)))))"#,
    );
    let blob = BlobRef { id: BlobId([9; 32]), len: Bytes(2 * GIB) };
    let tree = Tree::new(vec![TreeFile { path: "large".to_owned(), blob }]).expect("a tree of one file");
    let mut execution = execution(&guest);
    execution.mounts = vec![mount("/in", tree.tree_ref())];
    let mut receipts = Vec::new();
    for (runtime, program) in guest.each() {
        let large = Large { tree: tree.clone(), asked: RefCell::default() };
        let finished = runtime
            .run(program, &execution, &large, &mut |_| samebit_runtime::Flow::Go)
            .unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0x600f });
        assert_eq!(large.asked.into_inner(), (0x6000..0x6010).collect(), "one megabyte, each piece once");
        receipts.push(finished.receipt);
    }
    assert!(receipts.windows(2).all(|pair| pair[0] == pair[1]), "the same on every engine");
}

/// The most memory that this process ever had at a time, in bytes; `None` where the system does not say.
fn most_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[test]
fn half_a_gigabyte_of_which_hardly_a_byte_was_written_is_put_out_without_being_held() {
    // Makes `/out/f` half a gigabyte long and writes its middle.
    let import = r#"(import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))"#;
    let body = "(if (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 1)
             (i64.const 0x400044) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
         (call $must (call $size (i32.load (i32.const 32)) (i64.const 0x20000000)))
         (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (i32.const 3))
         (call $must (call $pwrite (i32.load (i32.const 32)) (i32.const 8) (i32.const 1) (i64.const 0x10000ffe) (i32.const 16)))";
    let items = r#"(data (i32.const 64) "fil") (func $must (param $errno i32) (call $leave (local.get $errno)))
        (func $leave (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))"#;
    let program = load(&command(items, body).replacen("(module ", &format!("(module {import}"), 1));
    let mut execution = execution(&program);
    execution.limits.files = Bytes(GIB / 2);
    execution.limits.fuel = Fuel(40_000_000_000);
    execution.step_budget = execution.limits.fuel;
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
    let (path, bytes) = &finished.files[0];
    assert_eq!((path.as_str(), bytes.len()), ("f", GIB / 2));
    let mut at = 0;
    for part in bytes.parts() {
        if part == &[0; 4096][..part.len()] {
            at += part.len() as u64;
            continue;
        }
        let middle = 0x1000_0ffe;
        for (index, byte) in part.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            let place = usize::try_from(at + index as u64 - middle).expect("behind the middle's beginning");
            assert_eq!(Some(byte), b"fil".get(place));
        }
        at += part.len() as u64;
    }
    assert_eq!((at, finished.tree.files()[0].blob), (GIB / 2, bytes.blob()));
    match most_memory() {
        Some(most) => assert!(most < GIB / 4, "{most} bytes were in use at once"),
        None => eprintln!("LEFT OUT: this system does not say how much memory was in use"),
    }
}
