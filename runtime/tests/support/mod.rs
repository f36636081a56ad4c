//! Guests as text, content in memory, and runs of them.
#![allow(dead_code, reason = "each test file uses its part")]

use samebit_runtime::{Content, Finished, Flow, HostFault, Program, Progress, Runtime};
use samebit_spec::{
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::{Access, Execution, Limits, Mount, Outcome, Profile, TensorOps},
    id::BlobId,
    unit::Fuel,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Blobs and trees by name.
#[derive(Default)]
pub(crate) struct Store {
    blobs: BTreeMap<BlobId, Arc<[u8]>>,
    trees: BTreeMap<TreeRef, Tree>,
}

impl Store {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> BlobRef {
        let blob = BlobRef::of(bytes);
        self.blobs.insert(blob.id, bytes.into());
        blob
    }

    pub(crate) fn tree(&mut self, files: &[(&str, &[u8])]) -> TreeRef {
        let file = |(path, bytes): &(&str, &[u8])| TreeFile { path: (*path).to_string(), blob: self.put(bytes) };
        let files = files.iter().map(file).collect();
        let tree = Tree::new(files).expect("a sound tree");
        let name = tree.tree_ref();
        self.trees.insert(name, tree);
        name
    }

    pub(crate) fn lose(&mut self, blob: &BlobRef) {
        self.blobs.remove(&blob.id);
    }
}

impl Content for Store {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        self.blobs.get(&blob.id).cloned().ok_or_else(|| "not in this store".to_string())
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        self.trees.get(tree).cloned().ok_or_else(|| "not in this store".to_string())
    }
}

/// One engine for all tests of a file.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("this machine has an engine"))
}

pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(crate) fn load(text: &str) -> Program {
    runtime().load(&wasm(text)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Preview1 functions that the guests below use.
const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    ;; Writes `len` bytes at `at` to descriptor `fd`, by an iovec at 8 and a count at 16.
    (func $put (param $fd i32) (param $at i32) (param $len i32)
        (i32.store (i32.const 8) (local.get $at))
        (i32.store (i32.const 12) (local.get $len))
        (if (call $fd_write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable)))"#;

/// A command with the imports above.
pub(crate) fn command(items: &str, body: &str) -> String {
    format!(r#"(module {IMPORTS} {items} (func (export "_start") {body}))"#)
}

/// A stepped task with the imports above. `step` leaves a code.
pub(crate) fn stepped(items: &str, init: &str, step: &str, finish: &str) -> String {
    format!(
        r#"(module {IMPORTS} {items}
            (func (export "_initialize"))
            (func (export "samebit_init") (result i32) {init})
            (func (export "samebit_step") (param $budget i64) (result i32) {step})
            (func (export "samebit_finish") (result i32) {finish}))"#
    )
}

/// A small execution of `program`.
pub(crate) fn execution(program: &Program) -> Execution {
    Execution {
        profile: Profile::Samebit1,
        module: program.module().id,
        mounts: Vec::new(),
        args: vec!["task".into()],
        env: Vec::new(),
        stdin: BlobRef::of(&[]),
        seed: [7; 32],
        unit: 0,
        limits: Limits { fuel: Fuel(100_000_000), ..Limits::default() },
        step_budget: Fuel(10_000_000),
        tensor_ops: TensorOps(0),
    }
}

pub(crate) fn mount(path: &str, tree: TreeRef) -> Mount {
    Mount { path: path.into(), tree, access: Access::ReadOnly }
}

pub(crate) fn run_in(program: &Program, execution: &Execution, store: &Store) -> Result<Finished, HostFault> {
    runtime().run(program, execution, store, &mut |_| Flow::Go)
}

/// Runs and also gives every root that was reported.
pub(crate) fn watched(program: &Program, execution: &Execution) -> (Finished, Vec<Progress>) {
    let mut seen = Vec::new();
    let finished = runtime()
        .run(program, execution, &Store::default(), &mut |progress| {
            if progress.root.is_some() {
                seen.push(progress);
            }
            Flow::Go
        })
        .expect("an outcome");
    (finished, seen)
}

/// Runs a guest as it is.
pub(crate) fn run(text: &str) -> Finished {
    let program = load(text);
    run_in(&program, &execution(&program), &Store::default()).unwrap_or_else(|fault| panic!("{fault}\n{text}"))
}

pub(crate) fn outcome(text: &str) -> Outcome {
    run(text).receipt.outcome
}

/// The exit code of a guest that ends with one.
pub(crate) fn exit_code(text: &str) -> u32 {
    match outcome(text) {
        Outcome::Exited { code } => code,
        other => panic!("{other:?}\n{text}"),
    }
}
