//! What must hold of the meter, the stack and a stopped run, on every engine alike.

mod support;

use samebit_runtime::{Allocator, Cache, CodeCache, EngineKind, Flow, HostFault, Options, Runtime};
use samebit_spec::{
    execution::{Limit, Limits, Outcome, Trap},
    param,
    unit::{Bytes, Fuel},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Store, command, everywhere, execution, load, programs, run_in, stepped, wasm};

/// Outcome and fuel at each limit of fuel.
fn sweep(text: &str, limits: impl Iterator<Item = u64>) -> Vec<(u64, Outcome, Fuel)> {
    let program = load(text);
    let mut small = execution(&program);
    limits
        .map(|limit| {
            small.limits.fuel = Fuel(limit);
            let finished = run_in(&program, &small, &Store::default()).expect("an outcome");
            assert!(finished.receipt.fuel <= Fuel(limit), "R3 at {limit}");
            (limit, finished.receipt.outcome, finished.receipt.fuel)
        })
        .collect()
}

#[test]
fn as_the_limit_of_fuel_rises_the_outcome_changes_once_and_what_is_used_no_more() {
    let counting = "(local $n i32) (loop (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 9))))";
    for text in [
        command("", counting),
        command(
            "(func $f (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))",
            "(drop (call $f (i32.const 2)))",
        ),
        stepped("", "(i32.const 1)", "(i32.const 0)", "(i32.const 0)"),
    ] {
        let program = load(&text);
        let whole = run_in(&program, &execution(&program), &Store::default()).expect("an outcome").receipt;
        assert_eq!(whole.outcome, Outcome::Exited { code: 0 });
        let used = whole.fuel.0;
        for (limit, outcome, fuel) in sweep(&text, (used - 150..used + 3).chain([0, 1, 239_999, 240_000, 240_001])) {
            let wanted = if limit < used {
                (Outcome::Exhausted { limit: Limit::Fuel }, Fuel(limit))
            } else {
                (whole.outcome, whole.fuel)
            };
            assert_eq!((outcome, fuel), wanted, "limit {limit} of {used}\n{text}");
        }
    }
}

#[test]
fn a_trap_costs_a_chunk_at_least_and_never_more_than_there_was() {
    let chunk = param::FUEL_CHUNK;
    for (text, chunks) in [
        (command("", "unreachable"), 1),
        (command("(func $f (if (i32.const 1) (then unreachable)))", "(call $f)"), 1),
        (
            command(
                "",
                "(local $n i32) (loop (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $n) (i32.const 1000)))) unreachable",
            ),
            1,
        ),
    ] {
        let program = load(&text);
        let root = run_in(&program, &execution(&program), &Store::default()).expect("an outcome");
        let before = root.receipt.fuel.0 - chunks * chunk;
        for (limit, outcome, fuel) in
            sweep(&text, [before + 1, before + chunk - 1, before + chunk, 19_000_000].into_iter())
        {
            assert_eq!(outcome, Outcome::Trapped { trap: Trap::Unreachable });
            assert_eq!(fuel.0, limit.min(before + chunk), "{limit}\n{text}");
        }
        assert!((240_000..280_000).contains(&before), "{before}");
    }
    // An undefined code is told after the call has returned, so the meter is exact.
    let program = load(&stepped("", "(i32.const 3)", "(i32.const 1)", "(i32.const 0)"));
    let finished = run_in(&program, &execution(&program), &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Trapped { trap: Trap::BadStepCode });
    assert!(finished.receipt.fuel.0 < 1_000, "{}", finished.receipt.fuel);
}

#[test]
fn no_recursion_reaches_the_end_of_the_native_stack() {
    let recursions = [
        command("(func $f (call $f) (call $f))", "(call $f)"),
        command(
            "(func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))",
            "(drop (call $f (i32.const 1)))",
        ),
        command(&programs::wide(9), "(drop (call $wide (i64.const 1)))"),
        command(&programs::wide(2_000), "(drop (call $wide (i64.const 1)))"),
        command(&programs::wide(9_900), "(drop (call $wide (i64.const 1)))"),
        // Host calls at every depth.
        command("(func $f (drop (call $yield)) (call $f) (drop (call $yield)))", "(call $f)"),
    ];
    for text in recursions {
        let program = load(&text);
        let mut deep = execution(&program);
        deep.limits.fuel = Fuel(10_000_000_000);
        let finished = run_in(&program, &deep, &Store::default()).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(
            finished.receipt.outcome,
            Outcome::Trapped { trap: Trap::StackOverflow },
            "{}",
            &text[text.len() - 60..]
        );
    }
}

#[test]
fn memory_grows_to_every_limit_alike() {
    let text =
        command("", "(call $exit (i32.add (i32.mul (memory.grow (i32.const 5)) (i32.const 1000)) (memory.size)))");
    let program = load(&text);
    for (bytes, code) in [(65_536, 1_u32), (6 * 65_536 - 1, 1), (6 * 65_536, 1_006), (4 << 30, 1_006)] {
        let mut limited = execution(&program);
        limited.limits.memory = Bytes(bytes);
        let finished = run_in(&program, &limited, &Store::default()).expect("an outcome");
        // -1 times 1000 and a page, in 32 bits.
        let wanted = if code == 1 { 1_u32.wrapping_sub(1_000) } else { code };
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code: wanted }, "{bytes}");
    }
}

#[test]
fn a_run_that_is_stopped_ends_soon_wherever_it_is_and_the_next_is_as_if_it_had_not_been() {
    let busy = [
        command("", "(loop (br 0))"),
        command(
            "(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 1))))))",
            "(call $f (i32.const 60))",
        ),
        command("", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))"),
        command("", "(loop (drop (call $yield)) (br 0))"),
        // Loops whose turns are known and paid for before they begin.
        command(
            "(func $count (local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.ne (local.get 0) (i32.const 10000000)))))",
            "(loop (call $count) (br 0))",
        ),
        command(
            "(func $count (local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.ne (local.get 0) (i32.const 0)))))",
            "(loop (call $count) (br 0))",
        ),
    ];
    let next = load(&command(
        "",
        "(loop $l (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (br_if $l (i32.lt_u (i32.load (i32.const 0)) (i32.const 1000))))",
    ));
    let before = run_in(&next, &execution(&next), &Store::default()).expect("an outcome");
    for text in busy {
        let program = load(&text);
        let mut long = execution(&program);
        long.limits = Limits { fuel: param::FUEL_MAX, ..long.limits };
        let stopped = everywhere(&program, |runtime, program| {
            let mut stop =
                |progress: samebit_runtime::Progress| if progress.root.is_none() { Flow::Stop } else { Flow::Go };
            runtime.run(program, &long, &Store::default(), &mut stop)
        });
        assert_eq!(stopped, Err(HostFault::Cancelled), "{text}");
        assert_eq!(run_in(&next, &execution(&next), &Store::default()).as_ref(), Ok(&before));
    }
    // Their threads are gone too, in far less time than their fuel would last.
    #[cfg(target_os = "linux")]
    for _ in 0..500 {
        let tasks = std::fs::read_dir("/proc/self/task").expect("this process has threads");
        let guests = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim() == "samebit-guest");
        if guests.count() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    #[cfg(target_os = "linux")]
    panic!("a stopped guest still runs");
}

/// Entries in memory, and how often each was asked for and found.
#[derive(Default)]
struct Shelf {
    entries: Mutex<BTreeMap<String, Vec<u8>>>,
    found: Mutex<usize>,
}

impl CodeCache for Shelf {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let entry = self.entries.lock().expect("nobody panics").get(name).cloned();
        *self.found.lock().expect("nobody panics") += usize::from(entry.is_some());
        entry
    }

    fn write(&self, name: &str, entry: &[u8]) {
        self.entries.lock().expect("nobody panics").insert(name.to_string(), entry.to_vec());
    }
}

#[test]
fn code_from_the_cache_gives_the_same_receipt_and_damaged_code_is_made_anew() {
    let shelf = Arc::new(Shelf::default());
    let text = command("", "(call $exit (i32.const 5))");
    let runtime = || {
        let cache = Some(Cache::new(Arc::clone(&shelf) as _, [3; 32]));
        Runtime::open(&Options { cache, ..Options::default() }).expect("this machine has an engine")
    };
    let fresh = load(&text);
    let wanted = run_in(&fresh, &execution(&fresh), &Store::default()).expect("an outcome");
    let check = |found: usize| {
        let runtime = runtime();
        let program = runtime.load(&wasm(&text)).expect("admitted");
        let finished = runtime.run(&program, &execution(&fresh), &Store::default(), &mut |_| Flow::Go);
        assert_eq!(finished.as_ref(), Ok(&wanted));
        assert_eq!(*shelf.found.lock().expect("nobody panics"), found);
    };
    check(0);
    let whole = shelf.entries.lock().expect("nobody panics").clone();
    assert_eq!(whole.len(), 1);
    check(1);
    for damage in [|entry: &mut Vec<u8>| entry[100] ^= 1, |entry: &mut Vec<u8>| entry.truncate(40), Vec::clear] {
        shelf.entries.lock().expect("nobody panics").values_mut().for_each(damage);
        let found = *shelf.found.lock().expect("nobody panics");
        check(found + 1);
        assert_eq!(*shelf.entries.lock().expect("nobody panics"), whole, "the entry is as it was");
    }
}

#[test]
fn pooled_instances_give_the_same_receipt_and_one_too_many_is_a_host_fault() {
    let options = Options { allocator: Allocator::Pooling { instances: 1 }, ..Options::default() };
    let pooled = Runtime::open(&options).expect("this machine has the address space");
    for text in [
        command("", "(call $exit (memory.grow (i32.const 2)))"),
        command("(func $f (call $f) (call $f))", "(call $f)"),
        command("(data (i32.const 9) \"x\")", "(call $exit (i32.load8_u (i32.const 9)))"),
    ] {
        let program = load(&text);
        let wanted = run_in(&program, &execution(&program), &Store::default()).expect("an outcome");
        let program = pooled.load(&wasm(&text)).expect("admitted");
        for _ in 0..3 {
            let given = pooled.run(&program, &execution(&load(&text)), &Store::default(), &mut |_| Flow::Go);
            assert_eq!(given.as_ref(), Ok(&wanted));
        }
    }
    let busy = pooled.load(&wasm(&command("", "(loop (br 0))"))).expect("admitted");
    let mut long = execution(&load(&command("", "(loop (br 0))")));
    long.limits.fuel = param::FUEL_MAX;
    let mut second = None;
    let first = pooled.run(&busy, &long, &Store::default(), &mut |progress| {
        if progress.root.is_none() {
            let inner = pooled.run(&busy, &long, &Store::default(), &mut |_| Flow::Stop);
            second = Some(inner);
            return Flow::Stop;
        }
        Flow::Go
    });
    assert_eq!(first, Err(HostFault::Cancelled));
    assert!(matches!(second, Some(Err(HostFault::Memory { .. }))), "{second:?}");
}

#[test]
fn the_interpreter_has_neither_code_to_keep_nor_instances_to_pool() {
    let shelf = Arc::new(Shelf::default());
    let options = Options {
        engine: EngineKind::Wasmi,
        allocator: Allocator::Pooling { instances: 1 },
        cache: Some(Cache::new(Arc::clone(&shelf) as _, [3; 32])),
        tracking: None,
        backend: None,
    };
    let runtime = Runtime::open(&options).expect("this machine has an engine");
    runtime.load(&wasm(&command("", ""))).expect("admitted");
    assert!(shelf.entries.lock().expect("nobody panics").is_empty());
}
