//! What it costs to have a history: a checkpoint of a large memory, a run in steps beside the same run in one, and the
//! way from a kept state to its first step. Through the runtime's own interface, as a host uses it.
//!
//! Times of histories are the process's processor time, all threads together; the others are wall time, because what is
//! timed begins on one thread and ends on another. Medians are given, and every figure has a peer in the same run: a
//! BLAKE3 pass, the run in one step, a copy of the same bytes.

use crate::{
    clock::{median, min, process_ms},
    options::{Options, Part, target},
    report::{Peer, Report},
    tax::say,
};
use samebit_runtime::{
    Checkpoint, Content, EngineKind, Flow, Held, Keep, Orders, Program, Runtime, Snapshot, Source, Tracking,
    pack::{Pack, Packer, Packs},
};
use samebit_spec::{
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::{Access, Execution, Limits, Mount, Outcome, Profile, TensorOps},
    param,
    unit::{Bytes, Fuel},
};
use std::{cell::Cell, fs, sync::Arc, time::Instant};

/// The memory that is measured.
const MEMORY: usize = 64 << 20;
/// Pages of 4 KiB that a step writes.
const DIRTY: usize = 256;
/// Fuel of a step at the SDK's default cadence: half of the step budget (`samebit_sdk::Pieces`).
const CADENCE: u64 = param::STEP_BUDGET_DEFAULT.0 / 2;

pub(crate) fn measure(options: &Options) -> Result<(), String> {
    let mut report = Report::new();
    for part in &options.parts {
        match part {
            Part::Checkpoint => checkpoint(options, &mut report)?,
            Part::Resume => resume(options, &mut report)?,
            Part::History => history(options, &mut report)?,
        }
    }
    report.end("state", options)
}

/// Fills 64 MiB with numbers; each step writes `DIRTY` pages evenly apart, and when `n` steps are done asks for stdin.
fn writer(steps: u32) -> String {
    let stride = MEMORY / DIRTY;
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") {pages})
            (global $n (mut i32) (i32.const 0))
            (func (export "_initialize"))
            (func (export "samebit_init") (result i32) (local $at i32)
                (loop $again
                    (i64.store (local.get $at) (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9e3779b97f4a7c15)))
                    (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {MEMORY}))))
                (i32.const 1))
            (func (export "samebit_step") (param i64) (result i32) (local $at i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (if (i32.eq (global.get $n) (i32.const {steps})) (then
                    (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 8))
                    (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
                    (return (i32.const 0))))
                (loop $again
                    (i32.store (i32.add (local.get $at) (i32.const 40)) (global.get $n))
                    (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const {stride}))) (i32.const {MEMORY}))))
                (i32.const 1))
            (func (export "samebit_finish") (result i32) (i32.const 0)))"#,
        pages = MEMORY >> 16,
    )
}

/// Writes all of 64 MiB `rounds` times in each of `steps` steps, half of the leaves with what was there.
fn heavy(rounds: u64, steps: u64) -> String {
    format!(
        r#"(module
            (memory (export "memory") {pages})
            (global $n (mut i64) (i64.const 0))
            (func (export "_initialize"))
            (func (export "samebit_init") (result i32) (i32.const 1))
            (func $round (param $k i64) (local $at i32)
                (loop $again
                    (i64.store (local.get $at)
                        (i64.add (i64.rotl (i64.load (local.get $at)) (i64.const 7)) (i64.xor (local.get $k) (i64.extend_i32_u (local.get $at)))))
                    (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {MEMORY})))))
            (func (export "samebit_step") (param i64) (result i32) (local $left i64)
                (local.set $left (i64.const {rounds}))
                (loop $again
                    (call $round (local.get $left))
                    (br_if $again (i32.eqz (i64.eqz (local.tee $left (i64.sub (local.get $left) (i64.const 1)))))))
                (global.set $n (i64.add (global.get $n) (i64.const 1)))
                (i64.lt_u (global.get $n) (i64.const {steps})))
            (func (export "samebit_finish") (result i32) (i32.const 0)))"#,
        pages = MEMORY >> 16,
    )
}

/// Content in memory, and when stdin was asked for.
struct Store {
    stdin: Arc<[u8]>,
    tree: Tree,
    input: Vec<u8>,
    asked: Cell<Option<Instant>>,
}

impl Store {
    fn new(input: Vec<u8>) -> Result<Self, String> {
        let file = TreeFile { path: "input".into(), blob: BlobRef::of(&input) };
        let tree = Tree::new(vec![file]).map_err(|error| error.to_string())?;
        Ok(Self { stdin: Arc::from(&b"go"[..]), tree, input, asked: Cell::new(None) })
    }
}

impl Content for Store {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if *blob == BlobRef::of(&self.stdin) {
            self.asked.set(Some(Instant::now()));
            return Ok(Arc::clone(&self.stdin));
        }
        Ok(Arc::from(self.input.as_slice()))
    }

    fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
        Ok(self.tree.clone())
    }
}

fn execution(program: &Program, store: &Store, step_budget: u64) -> Execution {
    let limits = Limits { fuel: param::FUEL_MAX, memory: Bytes(256 << 20), ..Limits::default() };
    Execution {
        profile: Profile::Samebit1,
        module: program.module().id,
        mounts: vec![Mount { path: "/in".into(), tree: store.tree.tree_ref(), access: Access::ReadOnly }],
        args: vec!["bench".into()],
        env: Vec::new(),
        stdin: BlobRef::of(&store.stdin),
        seed: [0; 32],
        unit: 0,
        limits,
        step_budget: Fuel(step_budget),
        tensor_ops: TensorOps(0),
    }
}

fn runtime(tracking: Option<Tracking>) -> Result<Runtime, String> {
    let options = samebit_runtime::Options { engine: EngineKind::Wasmtime, tracking, ..Default::default() };
    Runtime::open(&options).map_err(|error| error.to_string())
}

fn load(runtime: &Runtime, text: &str) -> Result<Program, String> {
    let bytes = wat::parse_str(text).map_err(|error| error.to_string())?;
    runtime.load(&bytes).map_err(|error| error.to_string())
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A pack on disk.
struct Disk(fs::File);

impl Source for Disk {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, into, offset)
    }
}

/// Keeps states in memory.
#[derive(Default)]
struct Packing {
    every: u32,
    packer: Packer,
    packs: Vec<Pack>,
    /// Bytes of the last.
    last: Arc<Vec<u8>>,
}

impl Keep for Packing {
    fn wants(&mut self, step: u32) -> bool {
        step.is_multiple_of(self.every)
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        let mut bytes = Vec::new();
        let Ok(written) = self.packer.pack(checkpoint, &mut bytes) else { return Held::Refused };
        let bytes = Arc::new(bytes);
        self.packs.push(written.at(Arc::<Vec<u8>>::clone(&bytes)));
        self.last = bytes;
        Held::Kept
    }
}

/// Time from root to root, when hardly anything else is done.
fn checkpoint(options: &Options, report: &mut Report) -> Result<(), String> {
    let steps = if options.quick { 20 } else { 120 };
    let buffer: Vec<u8> = (0..MEMORY).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    let store = Store::new(Vec::new())?;
    let full_pass = || {
        let begun = Instant::now();
        std::hint::black_box(blake3::hash(std::hint::black_box(&buffer)));
        ms(begun)
    };
    let best = Tracking::best();
    for tracking in Tracking::ALL.into_iter().filter(|tracking| *tracking >= best) {
        let runtime = runtime(Some(tracking))?;
        let program = load(&runtime, &writer(steps + 1))?;
        let execution = execution(&program, &store, param::FUEL_MAX.0);
        for kept in [false, true] {
            let (mut roots, mut passes) = (Vec::new(), Vec::new());
            let mut last: Option<Instant> = None;
            let mut packing = Packing { every: 1, ..Packing::default() };
            let orders = Orders { keep: kept.then_some(&mut packing as &mut dyn Keep), ..Orders::default() };
            let finished = runtime.run_with(&program, &execution, &store, orders, &mut |progress| {
                if progress.root.is_some() {
                    if let Some(last) = last {
                        roots.push(ms(last));
                    }
                    if progress.step % 10 == 0 {
                        passes.push(full_pass());
                    }
                    last = Some(Instant::now());
                }
                Flow::Go
            });
            finished.map_err(|error| error.to_string())?;
            // The first root after the first is the one that begins to follow memory; the last step writes nothing.
            let roots = &roots[1.min(roots.len())..roots.len().saturating_sub(1)];
            let (value, pass) = (median(roots), median(&passes));
            let name = match (tracking == best, kept) {
                (true, false) => "checkpoint.ms".to_owned(),
                (true, true) => "checkpoint.kept_ms".to_owned(),
                (false, kept) => format!("checkpoint.{tracking}{}_ms", if kept { ".kept" } else { "" }),
            };
            let case = format!("64 MiB, {DIRTY} pages of 4 KiB written, step and root; pages found by {tracking}");
            say!(options, "{name:28} {value:8.3} ms (least {:.3}); one BLAKE3 pass {pass:.2} ms; {case}", min(roots));
            let peer = Some(Peer { name: "one BLAKE3 pass over 64 MiB, same run", ratio: value / pass });
            report.add(name, value, "ms", peer, roots.len(), &case);
        }
    }
    Ok(())
}

/// Time from a pack in the page cache, and from one in memory, to the first call that the first step makes.
fn resume(options: &Options, report: &mut Report) -> Result<(), String> {
    let runs = if options.quick { 5 } else { 30 };
    let store = Store::new(Vec::new())?;
    let runtime = runtime(None)?;
    let program = load(&runtime, &writer(1))?;
    let execution = execution(&program, &store, param::FUEL_MAX.0);
    let mut packing = Packing { every: 1, ..Packing::default() };
    let orders = Orders { keep: Some(&mut packing), ..Orders::default() };
    let whole = runtime.run_with(&program, &execution, &store, orders, &mut |_| Flow::Go);
    let whole = whole.map_err(|error| error.to_string())?;
    let path = target().join("bench/state.pack");
    fs::create_dir_all(target().join("bench")).map_err(|error| error.to_string())?;
    fs::write(&path, &*packing.last).map_err(|error| format!("{}: {error}", path.display()))?;
    let packs = Packs::new(packing.packs);
    let root = whole.history[0];
    let (mut from_disk, mut from_memory, mut copies, mut fresh) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let source: Vec<u8> = (0..MEMORY).map(|at| u8::try_from(at % 249).unwrap_or(0)).collect();
    let mut sink = vec![1_u8; MEMORY];
    for _ in 0..runs {
        let begun = Instant::now();
        sink.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&mut sink);
        copies.push(ms(begun));
        let begun = Instant::now();
        std::hint::black_box(source.clone());
        fresh.push(ms(begun));
        for (disk, times) in [(true, &mut from_disk), (false, &mut from_memory)] {
            let begun = Instant::now();
            let snapshot: Snapshot = if disk {
                let read = fs::File::open(&path).and_then(|file| {
                    let len = file.metadata()?.len();
                    Pack::open(Arc::new(Disk(file)), len)
                });
                Packs::new(vec![read.map_err(|error| format!("{}: {error}", path.display()))?]).snapshot(root)
            } else {
                packs.snapshot(root)
            }
            .map_err(|error| error.to_string())?;
            store.asked.set(None);
            let orders = Orders { resume: Some(Arc::new(snapshot)), ..Orders::default() };
            let finished = runtime.run_with(&program, &execution, &store, orders, &mut |_| Flow::Go);
            if finished.map_err(|error| error.to_string())? != whole {
                return Err("a run that was taken up ended otherwise".into());
            }
            let asked = store.asked.get().ok_or("the first step did not begin")?;
            times.push(asked.duration_since(begun).as_secs_f64() * 1e3);
        }
    }
    let _ = fs::remove_file(&path);
    let (copy, fresh) = (median(&copies), median(&fresh));
    for (name, times, case) in [
        ("resume.pack_ratio", &from_disk, "64 MiB, from a pack in the page cache to the first step's first call"),
        ("resume.ratio", &from_memory, "64 MiB, from a pack in memory to the first step's first call"),
    ] {
        let value = median(times);
        // Each is held against the copy just before it: other work on the machine comes and goes.
        let ratios: Vec<f64> = times.iter().zip(&copies).map(|(time, copy)| time / copy).collect();
        let ratio = median(&ratios);
        say!(
            options,
            "{name:28} {ratio:.2} of a copy: {value:.2} ms (least {:.2}), copy {copy:.2} ms (least {:.2}), copy to fresh \
             memory {fresh:.2} ms; {case}",
            min(times),
            min(&copies)
        );
        let peer = Some(Peer { name: "copying 64 MiB to memory in use, just before it, median", ratio });
        report.add(name.to_owned(), value, "ms", peer, runs, case);
    }
    let peer = Some(Peer { name: "copying 64 MiB to memory in use, same run", ratio: fresh / copy });
    report.add(
        "resume.fresh_copy_ms".to_owned(),
        fresh,
        "ms",
        peer,
        runs,
        "copying 64 MiB to memory that is not in use yet",
    );
    Ok(())
}

/// The same work in steps of the default cadence and in one step.
fn history(options: &Options, report: &mut Report) -> Result<(), String> {
    let (runs, steps) = if options.quick { (3, 4) } else { (7, 8) };
    let runtime = runtime(None)?;
    let path = target().join("wasm32-wasip1/wasm/mandelbrot.wasm");
    let bytes = fs::read(&path)
        .map_err(|error| format!("{}: {error}\n  help: `cargo xtask bench state` builds it", path.display()))?;
    let program = runtime.load(&bytes).map_err(|error| error.to_string())?;
    let rows = 480_u64;
    let view = |rows_per_step: u64| {
        let text = format!(
            r#"{{"width":640,"height":{rows},"centre":[-0.745,0.11],"scale":0.02,"iterations":6000,"samples":2,"rows_per_step":{rows_per_step}}}"#
        );
        Store::new(text.into_bytes())
    };
    let fuel = timed_run(&runtime, &program, &view(rows)?)?.1;
    let per_step = (rows * CADENCE / fuel).clamp(1, rows);
    compare(options, report, "mandelbrot", runs, &runtime, (&program, &view(per_step)?), (&program, &view(rows)?))?;

    let store = Store::new(Vec::new())?;
    let one = timed_run(&runtime, &load(&runtime, &heavy(1, 1))?, &store)?.1;
    let ten = timed_run(&runtime, &load(&runtime, &heavy(11, 1))?, &store)?.1;
    let rounds = (CADENCE * 10 / (ten - one)).max(1);
    let stepped = load(&runtime, &heavy(rounds, steps))?;
    // The same rounds: the number that each is given does not matter to the time.
    let whole = load(&runtime, &heavy(rounds * steps, 1))?;
    compare(options, report, "all of 64 MiB", runs, &runtime, (&stepped, &store), (&whole, &store))
}

fn timed_run(runtime: &Runtime, program: &Program, store: &Store) -> Result<(f64, u64, u32), String> {
    let execution = execution(program, store, param::FUEL_MAX.0);
    let begun = process_ms();
    let finished = runtime.run(program, &execution, store, &mut |_| Flow::Go).map_err(|error| error.to_string())?;
    match finished.receipt.outcome {
        Outcome::Exited { code: 0 } => Ok((process_ms() - begun, finished.receipt.fuel.0, finished.receipt.steps)),
        other => Err(format!("a guest ended as {other:?}: {}", String::from_utf8_lossy(&finished.stderr))),
    }
}

fn compare(
    options: &Options,
    report: &mut Report,
    name: &str,
    runs: usize,
    runtime: &Runtime,
    stepped: (&Program, &Store),
    whole: (&Program, &Store),
) -> Result<(), String> {
    let (mut on, mut off, mut ratios, mut steps) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for run in 0..runs {
        // Either is first every other time, and each is held against its neighbour: other work on the machine comes and goes.
        let before = if run % 2 == 0 { None } else { Some(timed_run(runtime, whole.0, whole.1)?.0) };
        let (time, _, taken) = timed_run(runtime, stepped.0, stepped.1)?;
        let other = before.map_or_else(|| timed_run(runtime, whole.0, whole.1).map(|run| run.0), Ok)?;
        on.push(time);
        off.push(other);
        ratios.push(time / other);
        steps = taken;
    }
    let (value, peer, ratio, least) = (median(&on), median(&off), median(&ratios), min(&on) / min(&off));
    let case = format!(
        "{name}, {steps} steps, a root each, pages found by {}, processor time; by least times {least:.3}",
        runtime.tracking()
    );
    say!(options, "history.ratio {ratio:.3}: {value:.0} ms in steps, {peer:.0} ms in one; {case}");
    let peer = Some(Peer { name: "the same work in one step just before or after it, median", ratio });
    report.add("history.ratio".to_owned(), value, "ms", peer, runs, &case);
    Ok(())
}
