//! A receipt depends on its execution and on nothing else, and its roots are what the chapter says they are.

mod support;

use samebit_runtime::{EngineKind, Flow};
use samebit_spec::{
    content::BlobRef,
    execution::{Execution, Outcome, Trap},
    state::{self, GlobalValue, StateImage},
    unit::Fuel,
};
use samebit_wasi::{Config, Wasi};
use support::{Store, command, execution, exit_code, load, run, run_in, stepped, watched};

/// Prints its clock, 16 random bytes and how many arguments and variables it sees.
fn curious() -> String {
    command(
        "",
        "(if (call $clock (i32.const 0) (i64.const 1) (i32.const 64)) (then unreachable))
         (if (call $random (i32.const 72) (i32.const 16)) (then unreachable))
         (if (call $args (i32.const 88) (i32.const 92)) (then unreachable))
         (if (call $environ (i32.const 96) (i32.const 100)) (then unreachable))
         (call $put (i32.const 1) (i32.const 64) (i32.const 40))",
    )
}

#[test]
fn two_runs_of_an_execution_are_equal_in_everything() {
    let program = load(&curious());
    let execution = execution(&program);
    let first = run_in(&program, &execution, &Store::default()).expect("an outcome");
    // Time passes on the host, and the second run has another engine and another compile.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let fresh = samebit_runtime::Runtime::new().expect("this machine has an engine");
    let again = fresh.load(&support::wasm(&curious())).expect("admitted");
    let second = fresh.run(&again, &execution, &Store::default(), &mut |_| Flow::Go).expect("an outcome");
    assert_eq!(first, second);
}

#[test]
fn the_hosts_environment_time_and_folders_are_invisible() {
    assert!(std::env::vars().count() > 0, "the test needs a host with an environment");
    let finished = run(&curious());
    let number = |at: usize| u32::from_le_bytes(finished.stdout[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(number(24), 1, "one argument, as the execution says");
    assert_eq!(number(32), 0, "no variable, as the execution says");
    let clock = u64::from_le_bytes(finished.stdout[..8].try_into().expect("eight bytes"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    assert!(now.abs_diff(clock.into()) > 86_400_000_000_000, "the guest saw the host's clock: {clock}");
    // Whatever descriptor it tries, a path of the host leads nowhere.
    for path in ["/etc/passwd", "etc/passwd", "../../../etc/passwd", "Cargo.toml", "/proc/self/environ"] {
        for fd in 0..8 {
            let text = command(
                &format!(r#"(data (i32.const 64) "{path}")"#),
                &format!(
                    "(call $exit (call $path_open (i32.const {fd}) (i32.const 0) (i32.const 64) (i32.const {}) \
                     (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)))",
                    path.len()
                ),
            );
            assert_ne!(exit_code(&text), 0, "{path} opened below descriptor {fd}");
        }
    }
}

#[test]
fn everything_that_an_outcome_depends_on_changes_the_execution_and_its_history() {
    let program = load(&curious());
    let plain = execution(&program);
    let changes: [fn(&mut Execution); 8] = [
        |execution| execution.seed[0] ^= 1,
        |execution| execution.args.push("more".into()),
        |execution| execution.env.push(("A".into(), "b".into())),
        |execution| execution.unit = 1,
        |execution| execution.stdin = BlobRef::of(b"input"),
        |execution| execution.limits.fuel.0 += 1,
        |execution| execution.limits.memory.0 += 1,
        |execution| execution.step_budget.0 += 1,
    ];
    let base = run_in(&program, &plain, &Store::default()).expect("an outcome").receipt;
    let mut ids = vec![base.execution];
    for change in changes {
        let mut other = plain.clone();
        change(&mut other);
        let receipt = run_in(&program, &other, &Store::default()).expect("an outcome").receipt;
        assert_eq!(receipt.execution, other.id());
        assert_ne!(receipt.history, base.history);
        ids.push(receipt.execution);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 9);
}

#[test]
fn randomness_follows_the_seed_and_the_unit() {
    let program = load(&curious());
    let random = |change: fn(&mut Execution)| {
        let mut execution = execution(&program);
        change(&mut execution);
        run_in(&program, &execution, &Store::default()).expect("an outcome").stdout[8..24].to_vec()
    };
    let plain = random(|_| {});
    assert_eq!(plain, random(|execution| execution.env.push(("A".into(), "b".into()))));
    assert_ne!(plain, random(|execution| execution.seed = [8; 32]));
    assert_ne!(plain, random(|execution| execution.unit = 1));
}

/// Counts in memory and in a global, and in its third step writes over both and traps.
const COUNTER: &str = r#"(module
    (memory (export "memory") 1)
    (global i32 (i32.const 5))
    (global $steps (mut i32) (i32.const 0))
    (global $half (mut f64) (f64.const 0.5))
    (global $lanes (mut v128) (v128.const i64x2 1 2))
    (data (i32.const 5000) "kept")
    (func $begin (i32.store8 (i32.const 0) (i32.const 0xff)))
    (start $begin)
    (func (export "_initialize"))
    (func (export "samebit_init") (result i32) (i32.const 1))
    (func (export "samebit_step") (param i64) (result i32)
        (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
        (i32.store (i32.const 8) (global.get $steps))
        (if (i32.eq (global.get $steps) (i32.const 3)) (then
            (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 65536))
            unreachable))
        (i32.const 1))
    (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

#[test]
fn each_root_is_the_hash_of_the_state_image_and_a_trapped_step_leaves_the_image_before_it() {
    let program = load(COUNTER);
    let execution = execution(&program);
    let (finished, seen) = watched(&program, &execution);
    assert_eq!(finished.receipt.outcome, Outcome::Trapped { trap: Trap::Unreachable });
    assert_eq!((finished.receipt.steps, finished.history.len()), (3, 4));
    let wasi = Wasi::new(Config {
        args: execution.args.clone(),
        env: Vec::new(),
        stdin: execution.stdin,
        seed: execution.seed,
        unit: 0,
        mounts: Vec::new(),
        limits: execution.limits,
        stderr_kept: 0,
    });
    let mut past = [0; 32];
    for ((index, root), progress) in (0_u32..).zip(&finished.history).zip(&seen) {
        // The third step's root has its number and its fuel, and the state that the second left.
        let count = index.min(2);
        let mut memory = vec![0; 65_536];
        memory[0] = 0xff;
        memory[8..12].copy_from_slice(&count.to_le_bytes());
        memory[5000..5004].copy_from_slice(b"kept");
        let image = StateImage {
            execution: execution.id(),
            step: index,
            past,
            fuel: progress.fuel,
            memory_pages: 1,
            memory: state::memory_root(&memory),
            globals: vec![GlobalValue::I32(count), GlobalValue::F64(0.5_f64.to_bits()), GlobalValue::V128(1 | 2 << 64)],
            dropped_data: Vec::new(),
            dropped_elements: Vec::new(),
            wasi: wasi.root(),
            stdout: BlobRef::of(&[]),
            tensors: Vec::new(),
        };
        assert_eq!(image.root(), *root, "root {index}");
        past = samebit_spec::history::past(&past, root);
        assert_eq!(progress.root, Some(*root));
        assert_eq!(progress.step, index);
    }
    assert_eq!(finished.receipt.history, state::history_root(&finished.history));
    assert_eq!(finished.receipt.fuel, seen[3].fuel);
    assert!(seen[3].fuel > seen[2].fuel, "the work of the trapped step is charged");
}

#[test]
fn what_a_trapping_step_wrote_before_the_trap_is_output_though_its_state_is_dropped() {
    let text = stepped(
        r#"(global $n (mut i32) (i32.const 0)) (data (i32.const 64) "abc")"#,
        "(i32.const 1)",
        "(call $put (i32.const 1) (i32.add (i32.const 64) (global.get $n)) (i32.const 1))
         (if (i32.eq (global.get $n) (i32.const 2)) (then unreachable))
         (global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.const 1)",
        "(i32.const 0)",
    );
    let finished = run(&text);
    assert_eq!(finished.receipt.outcome, Outcome::Trapped { trap: Trap::Unreachable });
    assert_eq!(finished.stdout, b"abc");
    assert_eq!(finished.receipt.output.stdout, BlobRef::of(b"abc"));
}

#[test]
fn files_of_a_trapping_step_are_output_too() {
    // Each step makes `/out/a`, `/out/b` and so on; the third makes its own and traps.
    let text = stepped(
        r#"(global $n (mut i32) (i32.const 0)) (data (i32.const 64) "abc")"#,
        "(i32.const 1)",
        "(if (call $path_open (i32.const 3) (i32.const 0) (i32.add (i32.const 64) (global.get $n)) (i32.const 1)
             (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
         (call $put (i32.load (i32.const 32)) (i32.const 64) (i32.const 3))
         (drop (call $fd_close (i32.load (i32.const 32))))
         (if (i32.eq (global.get $n) (i32.const 2)) (then unreachable))
         (global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.const 1)",
        "(i32.const 0)",
    );
    let finished = run(&text);
    assert_eq!(finished.receipt.outcome, Outcome::Trapped { trap: Trap::Unreachable });
    let expected = ["a", "b", "c"].map(|name| (name.to_string(), b"abc".to_vec().into()));
    assert_eq!(finished.files, expected);
    assert_eq!(finished.receipt.output.tree, finished.tree.tree_ref());
    assert_eq!(finished.tree.files().len(), 3);
}

#[test]
fn n_steps_have_n_and_one_roots_and_no_two_are_equal() {
    for steps in [1, 2, 17] {
        let text = stepped(
            "(global $n (mut i32) (i32.const 0))",
            "(i32.const 1)",
            &format!(
                "(global.set $n (i32.add (global.get $n) (i32.const 1)))
                 (i32.lt_u (global.get $n) (i32.const {steps}))"
            ),
            "(i32.const 0)",
        );
        let program = load(&text);
        let mut small = execution(&program);
        small.step_budget = Fuel(400_000);
        let finished = run_in(&program, &small, &Store::default()).expect("an outcome");
        assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
        assert_eq!((finished.receipt.steps, finished.history.len()), (steps, steps as usize + 1));
        let mut roots = finished.history.clone();
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), finished.history.len());
    }
}

#[test]
fn a_step_is_told_the_executions_budget() {
    let text = stepped(
        "",
        "(i32.const 1)",
        "(if (i64.ne (local.get $budget) (i64.const 2000000)) (then unreachable)) (i32.const 0)",
        "(i32.const 0)",
    );
    assert_eq!(run(&text).receipt.outcome, Outcome::Exited { code: 0 });
}

#[test]
fn arithmetic_gives_the_canonical_nan_and_moves_keep_every_bit() {
    let zero = "(f32.load (i32.const 128))";
    let big = "(f32.load (i32.const 132))";
    let odd = "(f32.load (i32.const 136))";
    let data = r#"(data (i32.const 128) "\00\00\00\00\00\00\80\7f\34\12\a0\ff")"#;
    for (bits, value) in [
        (0x7fc0_0000, format!("(f32.div {zero} {zero})")),
        (0x7fc0_0000, format!("(f32.sub {big} {big})")),
        (0x7fc0_0000, format!("(f32.mul {zero} {big})")),
        (0x7fc0_0000, format!("(f32.sqrt (f32.neg {big}))")),
        // A NaN with a payload goes in, the canonical one comes out.
        (0x7fc0_0000, format!("(f32.add {odd} {big})")),
        (0x7fc0_0000, format!("(f32.min {odd} {zero})")),
        (0x7fc0_0000, format!("(f32.demote_f64 (f64.promote_f32 {odd}))")),
        // Sign and moves are no arithmetic.
        (0xffc0_0000, format!("(f32.neg (f32.div {zero} {zero}))")),
        (0x7fa0_1234, format!("(f32.abs {odd})")),
        (0xffa0_1234, odd.to_string()),
        (0x7fa0_1234, format!("(f32.copysign {odd} {zero})")),
        (0x7fc0_0000, format!("(f32x4.extract_lane 2 (f32x4.div (f32x4.splat {zero}) (f32x4.splat {zero})))")),
    ] {
        let text = command(data, &format!("(call $exit (i32.reinterpret_f32 {value}))"));
        assert_eq!(exit_code(&text), bits, "{value}");
    }
    let wide = "(f64.sub (f64.promote_f32 (f32.load (i32.const 132))) (f64.promote_f32 (f32.load (i32.const 132))))";
    let high = format!("(call $exit (i32.wrap_i64 (i64.shr_u (i64.reinterpret_f64 {wide}) (i64.const 32))))");
    assert_eq!(exit_code(&command(data, &high)), 0x7ff8_0000);
}

#[test]
fn an_engine_names_its_build() {
    let lock = include_str!("../../Cargo.lock");
    for runtime in support::runtimes() {
        let (build, name) = (runtime.engine_build(), runtime.engine().name());
        let rest = build.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        let version = rest.and_then(|rest| rest.split(' ').next()).expect("NAME-VERSION ARCH");
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{build}");
        assert!(build.ends_with(std::env::consts::ARCH), "{build}");
    }
}

#[test]
fn an_engine_is_chosen_by_its_name() {
    for kind in EngineKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(samebit_runtime::Runtime::with(kind).expect("this machine has the engine").engine(), kind);
    }
    let unknown = "v8".parse::<EngineKind>().expect_err("no such engine");
    assert!(unknown.to_string().contains("wasmi"), "{unknown}");
}
