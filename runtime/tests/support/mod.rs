//! Guests as text, content in memory, and runs of them: each on every engine, and the same on each.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod programs;

use samebit_runtime::{Content, EngineKind, Finished, Flow, HostFault, Program, Progress, Runtime};
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

/// One of each engine for all tests of a file.
pub(crate) fn runtimes() -> &'static [Runtime] {
    static RUNTIMES: OnceLock<Vec<Runtime>> = OnceLock::new();
    let runtime = |kind| Runtime::with(kind).expect("this machine has the engine");
    RUNTIMES.get_or_init(|| EngineKind::ALL.map(runtime).to_vec())
}

/// The default engine.
pub(crate) fn runtime() -> &'static Runtime {
    &runtimes()[0]
}

/// A guest on every engine.
pub(crate) struct Loaded(Vec<Program>);

impl std::ops::Deref for Loaded {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.0[0]
    }
}

impl Loaded {
    /// Each engine with its program.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static Runtime, &Program)> {
        runtimes().iter().zip(&self.0)
    }
}

pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(crate) fn load(text: &str) -> Loaded {
    let bytes = wasm(text);
    Loaded(runtimes().iter().map(|on| on.load(&bytes).unwrap_or_else(|error| panic!("{error}\n{text}"))).collect())
}

pub(crate) fn load_bytes(bytes: &[u8]) -> Loaded {
    Loaded(runtimes().iter().map(|on| on.load(bytes).unwrap_or_else(|error| panic!("{error}"))).collect())
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
        limits: Limits { fuel: Fuel(40_000_000), ..Limits::default() },
        step_budget: Fuel(2_000_000),
        tensor_ops: TensorOps(0),
    }
}

pub(crate) fn mount(path: &str, tree: TreeRef) -> Mount {
    Mount { path: path.into(), tree, access: Access::ReadOnly }
}

/// Runs on every engine, and gives what all of them gave.
pub(crate) fn run_in(program: &Loaded, execution: &Execution, store: &Store) -> Result<Finished, HostFault> {
    everywhere(program, |runtime, program| runtime.run(program, execution, store, &mut |_| Flow::Go))
}

/// What `run` gives on every engine: where it is an outcome, it is the same in everything.
pub(crate) fn everywhere<T: PartialEq + std::fmt::Debug>(
    program: &Loaded,
    mut run: impl FnMut(&Runtime, &Program) -> Result<T, HostFault>,
) -> Result<T, HostFault> {
    let mut first: Option<Result<T, HostFault>> = None;
    for (runtime, program) in program.each() {
        let given = run(runtime, program);
        match (&first, &given) {
            (None, _) => first = Some(given),
            (Some(Ok(first)), Ok(given)) => assert_eq!(first, given, "on {}", runtime.engine()),
            // What a machine could not do is told in each engine's own words.
            (Some(Err(_)), Err(_)) => {}
            (first, given) => panic!("on {}: {given:?}, before it: {first:?}", runtime.engine()),
        }
    }
    first.expect("there is an engine")
}

/// Runs and also gives every root that was reported.
pub(crate) fn watched(program: &Loaded, execution: &Execution) -> (Finished, Vec<Progress>) {
    let store = Store::default();
    let run = everywhere(program, |runtime, program| {
        let mut seen = Vec::new();
        let finished = runtime.run(program, execution, &store, &mut |progress| {
            if progress.root.is_some() {
                seen.push(progress);
            }
            Flow::Go
        })?;
        Ok((finished, seen))
    });
    run.expect("an outcome")
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
