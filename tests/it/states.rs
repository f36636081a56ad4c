//! Runs that are stopped and taken up again by other processes, traces, and steps that are run again alone.

use samebit_tests::{Home, PATIENCE, kill};
use serde_json::Value;
use std::{fs, process::Stdio, time::Instant};

/// `steps` steps of `rounds` rounds; each changes memory, a global and stdout.
fn guest(home: &Home, steps: u32, rounds: u32) -> String {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 64)
            (global $n (mut i32) (i32.const 0)) (global $sum (mut i64) (i64.const 1))
            (data (i32.const 64) "step\n")
            (func (export "_initialize"))
            (func (export "samebit_init") (result i32) (i32.const 1))
            (func (export "samebit_step") (param i64) (result i32) (local $i i32)
                (local.set $i (i32.const {rounds}))
                (loop $again
                    (global.set $sum (i64.add (i64.mul (global.get $sum) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
                    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (i64.store (i32.shl (global.get $n) (i32.const 13)) (global.get $sum))
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 5))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.lt_u (global.get $n) (i32.const {steps})))
            (func (export "samebit_finish") (result i32) (i32.const 0)))"#
    );
    home.write("task.wasm", wat::parse_str(text).expect("the test's own wat"))
}

/// Packs below the home's folder of states.
fn packs(home: &Home) -> Vec<std::path::PathBuf> {
    let runs = fs::read_dir(home.path().join("home/states")).into_iter().flatten().flatten();
    let files = runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten()).map(|file| file.path());
    let mut packs: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "pack")).collect();
    packs.sort();
    packs
}

/// What a run says, without what tells how it was run.
fn result(run: &Value) -> Value {
    let mut run = run.clone();
    let fields = run.as_object_mut().expect("an object");
    for how in ["resumed_from", "states_kept", "engine"] {
        fields.remove(how);
    }
    run
}

#[test]
fn a_run_that_is_killed_loses_nothing_that_was_kept_and_goes_on_in_another_process() {
    let home = Home::new();
    let module = guest(&home, 60, 10_000_000);
    let args = ["-o", "json", "run", "--checkpoint-every", "2", "--fuel", "60000000000"];
    let mut child = home
        .command(&[&args[..], &[&module]].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let begun = Instant::now();
    while packs(&home).len() < 4 {
        assert!(begun.elapsed() < PATIENCE, "no states were kept");
        assert!(child.try_wait().expect("known").is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill(child.id());
    child.wait().expect("it was killed");
    let kept = packs(&home).len();
    let resumed =
        home.json(&["run", "--checkpoint-every", "2", "--fuel", "60000000000", "--resume", "latest", &module]);
    let from = resumed["resumed_from"].as_u64().expect("it was taken up");
    assert!(from >= 2 * (kept as u64 - 1), "{kept} states were kept, it went on after step {from}");
    assert_eq!(resumed["steps"], 60, "{resumed}");

    let whole = home.json(&["run", "--fuel", "60000000000", &module]);
    assert_eq!(result(&whole), result(&resumed));
    // The other engine, from the last state.
    let last = packs(&home).pop().expect("kept");
    let name =
        last.file_stem().expect("named").to_str().expect("utf-8").split_once('-').expect("step and root").1.to_owned();
    let args = ["run", "--fuel", "60000000000", "--resume", &name, "--engine", "wasmi", &module];
    assert_eq!(result(&home.json(&args)), result(&whole));
    home.run(&["run", "--resume", &"0".repeat(64), "--fuel", "60000000000", &module]).code(3);
    home.run(&["run", "--resume", "latest", "--fuel", "50000000000", &module]).code(3);

    let mut bytes = fs::read(&last).expect("readable");
    let at = bytes.len() - 5000;
    bytes[at] ^= 1;
    fs::write(&last, &bytes).expect("writable");
    let refused = home.run(&["run", "--fuel", "60000000000", "--resume", &name, &module]).code(4);
    assert!(refused.stderr.contains("altered"), "{}", refused.stderr);
    fs::write(&last, &bytes[..200]).expect("writable");
    let refused = home.run(&["run", "--fuel", "60000000000", "--resume", &name, &module]).code(4);
    assert!(refused.stderr.contains("cut short"), "{}", refused.stderr);
    // What is there of the others serves, the damaged file is set aside, and what it had is kept again.
    let args = ["-o", "json", "run", "--checkpoint-every", "2", "--fuel", "60000000000", "--resume", "latest", &module];
    let mended = home.run(&args).code(0);
    assert!(mended.stderr.contains("cut short") && mended.stderr.contains("taken up after step"), "{}", mended.stderr);
    assert_eq!(result(&mended.json()), result(&whole));
    assert!(last.with_extension("damaged").exists());
    assert_eq!(packs(&home).pop(), Some(last), "it was kept again");
}

#[test]
fn one_step_is_run_again_from_a_kept_state_and_held_against_the_trace() {
    let home = Home::new();
    let module = guest(&home, 12, 1000);
    let trace = home.path().join("run.trace").display().to_string();
    let run = home.json(&["run", "--checkpoint-every", "5", "--trace", &trace, &module]);
    assert_eq!((&run["steps"], &run["states_kept"], &run["stepped"]), (&12.into(), &3.into(), &true.into()), "{run}");
    home.run(&["run", "--trace", &trace, &module]).code(2);
    let nowhere = home.path().join("no/such/folder/run.trace").display().to_string();
    let refused = home.run(&["run", "--trace", &nowhere, &module]).code(4);
    assert!(refused.stderr.contains("nothing was run"), "{}", refused.stderr);
    let packs_before: Vec<_> = packs(&home).iter().map(|path| fs::read(path).expect("there")).collect();
    for (step, from) in [(0, Value::Null), (1, 0.into()), (5, 0.into()), (8, 5.into()), (12, 10.into())] {
        for engine in ["wasmtime", "wasmi"] {
            let step = step.to_string();
            let replay = home.json(&["replay", "--trace", &trace, "--step", &step, "--engine", engine, &module]);
            assert_eq!((&replay["matches"], &replay["from_step"]), (&true.into(), &from), "{replay}");
            assert_eq!(replay["history_root"], run["history_root"], "{replay}");
        }
    }
    // Without a trace: what the run left, and with that gone what its states say.
    let replay = home.json(&["replay", "--step", "8", &module]);
    assert_eq!(
        (&replay["matches"], &replay["held_against"]),
        (&true.into(), &"run that ended here".into()),
        "{replay}"
    );
    assert_eq!(replay["history_root"], run["history_root"], "{replay}");
    let left = packs(&home)[0].with_file_name("trace");
    fs::remove_file(&left).expect("it was left");
    let replay = home.json(&["replay", "--step", "8", &module]);
    assert_eq!(
        (&replay["matches"], &replay["held_against"]),
        (&true.into(), &"run that was kept here".into()),
        "{replay}"
    );
    home.run(&["replay", "--step", "11", &module]).code(3);
    home.run(&["replay", "--step", "1", "--seed", "07", &module]).code(3);
    let packs_now: Vec<_> = packs(&home).iter().map(|path| fs::read(path).expect("there")).collect();
    assert_eq!(packs_now, packs_before, "nothing was changed by looking");
    let args = ["replay", "--trace", &trace, "--step", "12", &module];
    assert_eq!(home.json(&args)["state_root"], run["state_root"]);
    home.run(&["replay", "--trace", &trace, "--step", "13", &module]).code(3);
    home.run(&["replay", "--trace", &trace, "--step", "3", "--seed", "07", &module]).code(32);

    // A liar's trace: consistent in itself, with one root that no honest machine reaches.
    let mut lie = samebit_spec::history::Trace::decode(&fs::read(&trace).expect("written")).expect("sound");
    lie.roots[7].0[0] ^= 1;
    lie.receipt.history = samebit_spec::history::root(&lie.roots);
    let lied = home.write("lie.trace", lie.encode());
    let replay = home.run(&["-o", "json", "replay", "--trace", &lied, "--step", "7", &module]).code(30).json();
    assert_eq!(replay["matches"], false, "{replay}");
    let mut altered = fs::read(&trace).expect("written");
    let at = altered.len() - 40;
    altered[at] ^= 1;
    let altered = home.write("altered.trace", altered);
    home.run(&["replay", "--trace", &altered, "--step", "7", &module]).code(31);
}

#[test]
fn a_plain_command_is_marked_unstepped() {
    let home = Home::new();
    let text = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    let module = home.write("command.wasm", wat::parse_str(text).expect("the test's own wat"));
    assert_eq!(home.json(&["run", &module])["stepped"], false);
}
