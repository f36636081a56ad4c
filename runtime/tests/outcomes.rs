//! Every way in which a run ends has its outcome, its fuel and its output.

mod support;

use samebit_runtime::{Flow, HostFault, LoadError, Refusal, inspect};
use samebit_spec::{
    execution::{Limit, Limits, Outcome, TensorOps, Trap},
    id::BlobId,
    param,
    task::TaskForm,
    unit::{Bytes, Fuel},
};
use support::{
    Store, command, execution, exit_code, load, mount, outcome, run, run_in, runtime, stepped, wasm, watched,
};

#[test]
fn a_command_prints_and_exits_with_zero() {
    let finished =
        run(&command(r#"(data (i32.const 64) "hello\n")"#, "(call $put (i32.const 1) (i32.const 64) (i32.const 6))"));
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
    assert_eq!(finished.stdout, b"hello\n");
    assert_eq!((finished.receipt.steps, finished.history.len()), (1, 2));
    assert!(finished.receipt.fuel > Fuel(2 * (param::ROOT_FUEL.0 + param::ROOT_FUEL_PER_PAGE.0)));
}

#[test]
fn an_exit_code_is_the_outcome_and_what_was_printed_before_it_stays() {
    let text = command(
        r#"(data (i32.const 64) "bye")"#,
        "(call $put (i32.const 1) (i32.const 64) (i32.const 3)) (call $exit (i32.const 7)) unreachable",
    );
    let finished = run(&text);
    assert_eq!((finished.receipt.outcome, finished.stdout.as_slice()), (Outcome::Exited { code: 7 }, &b"bye"[..]));
}

#[test]
fn each_trap_of_the_engine_has_its_own_code() {
    let table =
        "(type $void (func)) (table 2 funcref) (elem (i32.const 0) $number) (func $number (result i32) i32.const 1)";
    for (trap, items, body) in [
        (Trap::Unreachable, "", "unreachable"),
        (Trap::MemoryOutOfBounds, "", "(drop (i32.load (i32.const -4)))"),
        (Trap::MemoryOutOfBounds, "", "(memory.fill (i32.const 65535) (i32.const 0) (i32.const 2))"),
        (Trap::TableOutOfBounds, table, "(call_indirect (type $void) (i32.const 2))"),
        (Trap::IndirectCallToNull, table, "(call_indirect (type $void) (i32.const 1))"),
        (Trap::BadSignature, table, "(call_indirect (type $void) (i32.const 0))"),
        (Trap::IntegerOverflow, "", "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
        (Trap::DivisionByZero, "", "(drop (i64.rem_u (i64.const 1) (i64.const 0)))"),
        (Trap::BadConversionToInteger, "", "(drop (i32.trunc_f64_s (f64.const nan)))"),
        (
            Trap::StackOverflow,
            "(func $f (param i64) (call $f (local.get 0)) (call $f (local.get 0)))",
            "(call $f (i64.const 0))",
        ),
    ] {
        assert_eq!(outcome(&command(items, body)), Outcome::Trapped { trap }, "{body}");
    }
}

#[test]
fn an_active_segment_outside_memory_is_a_trap_before_the_first_state() {
    let finished = run(&command(r#"(data (i32.const 65535) "xy")"#, ""));
    assert_eq!(finished.receipt.outcome, Outcome::Trapped { trap: Trap::MemoryOutOfBounds });
    assert_eq!((finished.receipt.steps, finished.history.len()), (0, 1));
}

#[test]
fn a_code_that_the_abi_does_not_define_is_a_trap() {
    let bad = Outcome::Trapped { trap: Trap::BadStepCode };
    let more = "(i32.const 1)";
    assert_eq!(outcome(&stepped("", "(i32.const 3)", more, "(i32.const 0)")), bad);
    assert_eq!(outcome(&stepped("", more, "(i32.const -1)", "(i32.const 0)")), bad);
    // Nothing can be left to do after the result was to be written.
    assert_eq!(outcome(&stepped("", more, "(i32.const 0)", "(i32.const 1)")), bad);
}

#[test]
fn a_task_that_gives_up_has_failed_and_its_reason_is_on_stderr() {
    let items = r#"(data (i32.const 64) "no input")"#;
    let say = "(call $put (i32.const 2) (i32.const 64) (i32.const 8)) (i32.const 2)";
    for text in [
        stepped(items, say, "(i32.const 0)", "(i32.const 0)"),
        stepped(items, "(i32.const 1)", say, "(i32.const 0)"),
        stepped(items, "(i32.const 1)", "(i32.const 0)", say),
    ] {
        let finished = run(&text);
        assert_eq!(finished.receipt.outcome, Outcome::Failed);
        assert_eq!(finished.stderr, b"no input");
    }
}

#[test]
fn what_a_trapping_guest_said_on_stderr_is_kept_for_people() {
    let say = "(call $put (i32.const 2) (i32.const 64) (i32.const 4)) unreachable";
    assert_eq!(run(&command(r#"(data (i32.const 64) "oops")"#, say)).stderr, b"oops");
}

#[test]
fn a_loop_without_end_uses_up_all_fuel_and_not_more() {
    let finished = run(&command("", "(loop (br 0))"));
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Fuel });
    assert_eq!(finished.receipt.fuel, Fuel(40_000_000));
    assert_eq!(finished.receipt.steps, 1);
}

#[test]
fn a_step_beyond_its_budget_is_an_overrun_that_leaves_the_rest_of_the_fuel() {
    let text = stepped("", "(i32.const 1)", "(loop (br 0)) (i32.const 0)", "(i32.const 0)");
    let program = load(&text);
    let execution = execution(&program);
    let (finished, seen) = watched(&program, &execution);
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::StepFuel });
    assert_eq!(finished.receipt.fuel.0, seen[0].fuel.0 + execution.step_budget.0);
    assert!(finished.receipt.fuel < execution.limits.fuel);
}

#[test]
fn initialisation_has_a_steps_budget_too() {
    let finished = run(&stepped("", "(loop (br 0)) (i32.const 1)", "(i32.const 0)", "(i32.const 0)"));
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::StepFuel });
    assert_eq!((finished.receipt.fuel, finished.receipt.steps), (Fuel(2_000_000), 0));
}

#[test]
fn the_last_step_has_no_more_than_the_run_has_left() {
    let text = stepped("", "(i32.const 1)", "(loop (br 0)) (i32.const 0)", "(i32.const 0)");
    let program = load(&text);
    let mut execution = execution(&program);
    execution.limits.fuel = Fuel(1_500_000);
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Fuel });
    assert_eq!(finished.receipt.fuel, Fuel(1_500_000));
}

#[test]
fn a_state_that_cannot_be_paid_for_is_not_committed() {
    let program = load(&command("", ""));
    let mut execution = execution(&program);
    execution.limits.fuel = Fuel(param::ROOT_FUEL.0);
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Fuel });
    assert_eq!((finished.receipt.steps, finished.receipt.fuel), (0, param::ROOT_FUEL));
}

#[test]
fn a_call_that_cannot_be_paid_for_does_nothing() {
    let text = command(
        "",
        "(call $put (i32.const 1) (i32.const 0) (i32.const 4)) (call $put (i32.const 1) (i32.const 0) (i32.const 65536))",
    );
    let program = load(&text);
    let mut execution = execution(&program);
    execution.limits.fuel = Fuel(600_000);
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Fuel });
    assert_eq!(finished.stdout.len(), 4, "the call that was paid for wrote, the other wrote nothing");
}

#[test]
fn work_before_a_trap_is_charged_wherever_the_trap_strikes() {
    let loops = "(local $n i64) (loop (local.set $n (i64.add (local.get $n) (i64.const 1)))
        (br_if 0 (i64.lt_u (local.get $n) (i64.const 1000000))))";
    for last in ["unreachable", "(drop (i64.div_u (local.get $n) (i64.const 0)))"] {
        let finished = run(&command("", &format!("{loops} {last}")));
        assert!(finished.receipt.fuel > Fuel(1_000_000), "{last}: {}", finished.receipt.fuel);
    }
}

#[test]
fn a_task_that_never_ends_its_steps_is_stopped_at_their_limit() {
    let program = load(&stepped("", "(i32.const 1)", "(i32.const 1)", "(i32.const 0)"));
    let mut execution = execution(&program);
    execution.limits.steps = 3;
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Steps });
    assert_eq!((finished.receipt.steps, finished.history.len()), (3, 4));
}

#[test]
fn work_that_is_done_at_once_takes_no_step_and_still_writes_its_result() {
    let finished = run(&stepped(
        r#"(data (i32.const 64) "result")"#,
        "(i32.const 0)",
        "unreachable",
        "(call $put (i32.const 1) (i32.const 64) (i32.const 6)) (i32.const 0)",
    ));
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
    assert_eq!((finished.receipt.steps, finished.stdout.as_slice()), (0, &b"result"[..]));
}

#[test]
fn growth_ends_at_the_executions_limit_at_the_modules_own_and_at_four_gigabytes() {
    let grow = |pages: i64| format!("(call $exit (memory.grow (i32.const {pages})))");
    let refused = u32::MAX;
    assert_eq!(exit_code(&command("", &grow(1))), 1);
    let program = load(&command("", &grow(3)));
    let mut small = execution(&program);
    for (pages, code) in [(4, 1), (3, refused)] {
        small.limits.memory = Bytes(pages * 65_536);
        let finished = run_in(&program, &small, &Store::default()).expect("an outcome");
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code });
    }
    let own = command("", &grow(2)).replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 1 2)"#);
    assert_eq!(exit_code(&own), refused);
    for pages in [65_535, 65_536, -1] {
        assert_eq!(exit_code(&command("", &grow(pages))), refused, "{pages}");
    }
}

#[test]
fn a_module_larger_than_its_memory_limit_has_an_outcome_and_never_starts() {
    let program = load(&command("(func $s unreachable) (start $s)", ""));
    let mut execution = execution(&program);
    execution.limits.memory = Bytes(65_535);
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Memory });
    assert_eq!((finished.receipt.steps, finished.receipt.fuel, finished.history.len()), (0, Fuel(0), 1));
}

#[test]
fn a_start_function_runs_under_the_meter() {
    let finished = run(&command("(func $s (loop (br 0))) (start $s)", ""));
    assert_eq!(finished.receipt.outcome, Outcome::Exhausted { limit: Limit::Fuel });
    assert_eq!(finished.receipt.steps, 0);
}

#[test]
fn a_refused_module_never_becomes_a_program() {
    let bytes = wasm(r#"(module (import "env" "now" (func)) (memory (export "memory") 1) (func (export "_start")))"#);
    assert!(matches!(runtime().load(&bytes), Err(LoadError::Refused(Refusal::Import { .. }))));
    assert!(matches!(inspect(&bytes), Err(Refusal::Import { .. })));
    assert!(matches!(runtime().load(&bytes[..20]), Err(LoadError::Refused(Refusal::Invalid { .. }))));
}

#[test]
fn an_inspection_tells_what_a_program_is() {
    let text = stepped("", "(i32.const 1)", "(i32.const 0)", "(i32.const 0)");
    let (inspection, program) = (inspect(&wasm(&text)).expect("admitted"), load(&text));
    assert_eq!((inspection.form, program.form()), (TaskForm::Stepped, TaskForm::Stepped));
    assert_eq!((inspection.module, inspection.executable), (program.module(), program.executable()));
    assert_eq!((inspection.memory_min_pages, inspection.memory_max_pages), (1, None));
    assert_eq!(inspection.imports.len(), 10);
}

#[test]
fn the_table_of_admission_and_the_linked_functions_are_the_same() {
    use samebit_spec::wasi::{CoreType, SIGNATURES};
    use samebit_wasi::{FUNCTIONS, ValType};
    let core = |ty: ValType| if ty == ValType::I32 { CoreType::I32 } else { CoreType::I64 };
    assert_eq!(SIGNATURES.len(), FUNCTIONS.len());
    for (signature, function) in SIGNATURES.iter().zip(FUNCTIONS) {
        assert_eq!(signature.name, function.name);
        assert!(signature.params.iter().copied().eq(function.params.iter().copied().map(core)), "{}", function.name);
        assert_eq!(signature.result, function.result.map(core), "{}", function.name);
    }
}

#[test]
fn a_missing_tree_or_input_is_this_hosts_fault_and_is_named() {
    let open = command(
        r#"(data (i32.const 64) "data")"#,
        "(local $fd i32)
         (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 0)
             (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
         (i32.store (i32.const 8) (i32.const 128)) (i32.store (i32.const 12) (i32.const 16))
         (call $exit (call $fd_read (i32.load (i32.const 32)) (i32.const 8) (i32.const 1) (i32.const 16)))",
    );
    let program = load(&open);
    let mut store = Store::default();
    let tree = store.tree(&[("data", b"four")]);
    let mut execution = execution(&program);
    execution.mounts = vec![mount("/in", tree)];
    let read = run_in(&program, &execution, &store).expect("an outcome");
    assert_eq!(read.receipt.outcome, Outcome::Exited { code: 0 });

    let blob = samebit_spec::content::BlobRef::of(b"four");
    store.lose(&blob);
    let fault = run_in(&program, &execution, &store).expect_err("the blob is gone");
    assert!(matches!(fault, HostFault::Content { .. }), "{fault}");
    assert!(fault.to_string().contains(&blob.id.to_string()), "{fault}");

    let fault = run_in(&program, &execution, &Store::default()).expect_err("the tree is gone");
    assert!(matches!(&fault, HostFault::Tree { path, .. } if path == "/in"), "{fault}");
    assert!(fault.to_string().contains(&tree.id.to_string()), "{fault}");
}

#[test]
fn a_program_or_tensor_version_that_the_execution_does_not_name_is_a_host_fault() {
    let program = load(&command("", ""));
    let mut other = execution(&program);
    other.module = BlobId([1; 32]);
    assert!(matches!(run_in(&program, &other, &Store::default()), Err(HostFault::WrongModule { .. })));
    let mut tensors = execution(&program);
    tensors.tensor_ops = TensorOps(2);
    assert!(matches!(run_in(&program, &tensors, &Store::default()), Err(HostFault::TensorOps { .. })));
}

#[test]
fn a_watch_that_says_stop_ends_the_run_between_steps_and_within_one() {
    let steps = load(&stepped("", "(i32.const 1)", "(i32.const 1)", "(i32.const 0)"));
    for (runtime, program) in steps.each() {
        let mut seen = 0;
        let stopped = runtime.run(program, &execution(&steps), &Store::default(), &mut |progress| {
            seen += u32::from(progress.root.is_some());
            if seen == 3 { Flow::Stop } else { Flow::Go }
        });
        assert_eq!((stopped, seen), (Err(HostFault::Cancelled), 3));
    }

    let busy = load(&command("", "(loop (drop (call $yield)) (br 0))"));
    let mut long = execution(&busy);
    long.limits = Limits { fuel: param::FUEL_MAX, ..long.limits };
    for (runtime, program) in busy.each() {
        let mut alive = false;
        let stopped = runtime.run(program, &long, &Store::default(), &mut |progress| {
            let within = progress.root.is_none();
            alive |= within && progress.fuel > Fuel(0);
            if within { Flow::Stop } else { Flow::Go }
        });
        assert_eq!((stopped, alive), (Err(HostFault::Cancelled), true));
    }
}

/// Threads of this process that run a guest.
#[cfg(target_os = "linux")]
fn guests() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this process has threads");
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| name.trim() == "samebit-guest").count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_cancelled_guest_that_never_calls_the_host_gives_its_core_back_and_others_go_on() {
    // Run in a process of its own, so that no other test's guest is counted.
    const INNER: &str = "SAMEBIT_TEST_ALONE";
    if std::env::var_os(INNER).is_none() {
        let name = "a_cancelled_guest_that_never_calls_the_host_gives_its_core_back_and_others_go_on";
        let program = std::env::current_exe().expect("this program");
        let done = std::process::Command::new(program).args(["--exact", name]).env(INNER, "1").output();
        let done = done.expect("this program runs again");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        return;
    }
    let busy = load(&command("", "(loop (br 0))"));
    let mut long = execution(&busy);
    long.limits.fuel = param::FUEL_MAX;
    let other = load(&command(
        "",
        "(local $n i64) (loop (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if 0 (i64.lt_u (local.get $n) (i64.const 20000000))))",
    ));
    let mut steady = execution(&other);
    steady.limits.fuel = Fuel(10_000_000_000);
    let alone = run_in(&other, &steady, &Store::default()).expect("an outcome");
    let beside = std::thread::spawn(move || run_in(&other, &steady, &Store::default()));
    for (runtime, program) in busy.each() {
        let mut stop =
            |progress: samebit_runtime::Progress| if progress.root.is_none() { Flow::Stop } else { Flow::Go };
        assert_eq!(runtime.run(program, &long, &Store::default(), &mut stop), Err(HostFault::Cancelled));
    }
    let beside = beside.join().expect("it ran").expect("an outcome");
    assert_eq!(beside.receipt, alone.receipt, "cancelling one run changes nothing of another");
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while guests() > 0 {
        assert!(std::time::Instant::now() < patience, "{} guests still run", guests());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn files_that_nobody_wrote_a_byte_of_are_paid_for() {
    // Extends a file by 32 MiB.
    let items = r#"(data (i32.const 64) "f")"#;
    let body = "(if (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 1)
             (i64.const 0x400040) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
         (call $exit (call $size (i32.load (i32.const 32)) (i64.const 0x2000000)))";
    let text = command(items, body);
    let import =
        r#"(import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))"#;
    let text = text.replacen("(module ", &format!("(module {import}"), 1);
    let program = load(&text);
    let mut execution = execution(&program);
    execution.limits.fuel = Fuel(800_000_000);
    let finished = run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
    assert_eq!(finished.files[0].1.len(), 32 << 20);
    assert!(finished.receipt.fuel > Fuel(64 << 20), "{}", finished.receipt.fuel);
}
