//! The developer's own commands: `new`, `build`, `test` and `run` on real modules.

use samebit_tests::{Home, guest};
use serde_json::Value;
use std::fs;

fn wat(home: &Home, name: &str, text: &str) -> String {
    home.write(name, wat::parse_str(text).expect("the test's own wat"))
}

/// A command whose `_start` is `body`, with memory and `proc_exit`.
fn command(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 64) "hello\n")
            (func $say
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func (export "_start") {body}))"#
    )
}

#[test]
fn a_new_project_builds_and_passes_its_own_tests() {
    let home = Home::new();
    for template in ["hello", "stepped"] {
        let name = format!("my-{template}");
        home.run(&["new", &name, "--template", template]).code(0);
        let project = home.path().join(&name).display().to_string();
        let built = home.json(&["build", &project]);
        assert_eq!(built["name"], name.as_str(), "{built}");
        assert!(built["task"].as_str().is_some_and(|id| id.starts_with("task-")), "{built}");
        home.run(&["test", &project]).code(0);
        home.run(&["new", &name]).code(4);
    }
}

#[test]
fn a_new_project_passes_cargo_test_natively() {
    let home = Home::new();
    home.run(&["new", "native"]).code(0);
    let status = std::process::Command::new("cargo")
        .args(["test", "--quiet"])
        .current_dir(home.path().join("native"))
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn a_plain_command_passes_its_stdout_and_exit_code_through() {
    let home = Home::new();
    let module = wat(&home, "say.wasm", &command("(call $say) (call $exit (i32.const 7))"));
    let ran = home.run(&["run", &module]).code(7);
    assert_eq!(ran.stdout, b"hello\n");
    let module = wat(&home, "ok.wasm", &command("(call $say)"));
    assert_eq!(home.run(&["run", &module]).code(0).stdout, b"hello\n");
}

#[test]
fn a_trap_ends_with_20_and_a_limit_with_21() {
    let home = Home::new();
    let trap = wat(&home, "trap.wasm", &command("(call $say) unreachable"));
    home.run(&["run", &trap]).code(20);
    let json = home.run(&["-o", "json", "run", &trap]).code(20).json();
    assert_eq!(json["trap"], "unreachable", "{json}");
    let endless = wat(&home, "endless.wasm", &command("(loop $again (br $again))"));
    home.run(&["run", "--fuel", "1000000", &endless]).code(21);
    let json = home.run(&["-o", "json", "run", "--fuel", "1000000", &endless]).code(21).json();
    assert_eq!(json["limit"], "fuel", "{json}");
    assert_eq!(json["fuel"], 1_000_000, "{json}");
}

#[test]
fn one_json_object_says_all_that_hosts_would_agree_on() {
    let home = Home::new();
    let module = wat(&home, "say.wasm", &command("(call $say) (call $exit (i32.const 3))"));
    let args = ["-o", "json", "run", "--seed", &"ab".repeat(32), &module, "--", "one", "two"];
    let first = home.run(&args).code(3).json();
    let second = home.run(&args).code(3).json();
    assert_eq!(first, second, "two runs give the same bits");
    assert_eq!(first["outcome"], "exited");
    assert_eq!(first["exit_code"], 3);
    for field in ["stdout_digest", "output_digest", "state_root", "fuel"] {
        assert!(!first[field].is_null(), "{field} is missing: {first}");
    }
    let other = home.run(&["-o", "json", "run", &module, "--", "one"]).code(3).json();
    assert_ne!(first["execution"], other["execution"], "arguments are part of the execution");
    assert_eq!(first["stdout_digest"], other["stdout_digest"]);
}

/// A command that reads `note.txt` of its first folder, appends to it there, and copies it to `/out/copy.txt`.
const COPIER: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "note.txt")
    (data (i32.const 96) "copy.txt")
    (data (i32.const 128) "!")
    (func $must (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
    (func (export "_start")
        ;; the file, readable and writable: rights fd_read | fd_seek | fd_write
        (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 8) (i32.const 0)
            (i64.const 70) (i64.const 70) (i32.const 0) (i32.const 200)))
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 512))
        (call $must (call $read (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 16) (i32.const 128)) (i32.store (i32.const 20) (i32.const 1))
        (call $must (call $write (i32.load (i32.const 200)) (i32.const 16) (i32.const 1) (i32.const 24)))
        ;; /out is the folder after the mounts
        (call $must (call $open (i32.const 4) (i32.const 0) (i32.const 96) (i32.const 8) (i32.const 1)
            (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 204)))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (call $must (call $write (i32.load (i32.const 204)) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn a_folder_is_seen_as_a_copy_and_out_is_exported() {
    let home = Home::new();
    let note = home.write("work/note.txt", "the note");
    let module = wat(&home, "copier.wasm", COPIER);
    let folder = home.path().join("work").display().to_string();
    let out = home.path().join("result").display().to_string();
    home.run(&["run", "--dir", &format!("{folder}::/data"), "--out", &out, &module]).code(0);
    assert_eq!(fs::read_to_string(home.path().join("result/copy.txt")).expect("exported"), "the note");
    assert_eq!(fs::read_to_string(note).expect("there"), "the note", "the host's file is untouched");
}

#[test]
fn nothing_of_the_host_is_visible_to_a_guest() {
    let home = Home::new();
    // Counts environment variables and arguments, and exits with their sum: args are the program's name only.
    let module = wat(
        &home,
        "count.wasm",
        r#"(module
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (drop (call $env (i32.const 0) (i32.const 4)))
                (drop (call $args (i32.const 8) (i32.const 12)))
                (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 32)))
                (drop (call $random (i32.const 40) (i32.const 16)))
                (i32.store (i32.const 64) (i32.const 32)) (i32.store (i32.const 68) (i32.const 24))
                (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72)))
                (call $exit (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 8))))))"#,
    );
    let first = home.run(&["run", &module]).code(1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let second = home.run(&["run", &module]).code(1);
    assert_eq!(first.stdout, second.stdout, "clock and randomness are the execution's own");
    assert_eq!(first.stdout.len(), 24);
    let with = home.run(&["run", "--env", "A=1", "--env", "B=2", &module, "--", "x"]).code(4);
    assert_eq!(with.stdout[..8], first.stdout[..8], "the clock does not depend on the environment");
    let seeded = home.run(&["run", "--seed", &"01".repeat(32), &module]).code(1);
    assert_ne!(seeded.stdout[8..], first.stdout[8..], "randomness comes from the seed");
}

#[test]
fn modules_that_hosts_would_refuse_are_refused_here_with_the_reason() {
    let home = Home::new();
    let refused = |name: &str, bytes: &[u8], reason: &str| {
        let module = home.write(name, bytes);
        let ran = home.run(&["run", &module]).code(22);
        assert!(ran.stderr.contains(reason), "{name}: {}", ran.stderr);
    };
    let text = |text: &str| wat::parse_str(text).expect("wat");
    refused(
        "import.wasm",
        &text(r#"(module (import "env" "now" (func)) (memory (export "memory") 1) (func (export "_start")))"#),
        "now",
    );
    refused(
        "threads.wasm",
        &text(r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#),
        "threads",
    );
    refused("garbage.wasm", b"this is no module", "magic");
    let whole = fs::read(guest("hello")).expect("built");
    refused("truncated.wasm", &whole[..whole.len() - 100], "");
    home.run(&["run", "no-such-file.wasm"]).code(3);
}

#[test]
fn every_command_has_help_with_an_example() {
    let home = Home::new();
    let top = home.run(&["--help"]).code(0).text();
    let nouns: &[(&str, &[&str])] = &[
        ("new", &[]),
        ("build", &[]),
        ("run", &[]),
        ("test", &[]),
        ("devnet", &["up", "status", "down"]),
        ("task", &["publish", "show", "list"]),
        ("job", &["submit", "show", "list", "watch", "output", "cancel"]),
        ("host", &["up", "list", "show", "bench"]),
        ("validator", &["init", "up"]),
        ("audit", &["job"]),
        ("ledger", &["show", "account", "verify"]),
        ("key", &["new", "show", "list"]),
        ("doctor", &[]),
    ];
    for (noun, verbs) in nouns {
        assert!(top.contains(noun), "`samebit --help` does not name {noun}");
        let calls: Vec<Vec<&str>> =
            if verbs.is_empty() { vec![vec![noun]] } else { verbs.iter().map(|verb| vec![*noun, *verb]).collect() };
        for call in calls {
            let help = home.run(&[&call[..], &["--help"]].concat()).code(0).text();
            assert!(help.contains("Example"), "`samebit {} --help` has no example", call.join(" "));
        }
    }
}

#[test]
fn keys_are_made_once_and_readable_by_their_owner_only() {
    let home = Home::new();
    let made = home.json(&["key", "new", "alice"]);
    let shown = home.json(&["key", "show", "alice"]);
    assert_eq!(made["key"], shown["key"]);
    let file = made["file"].as_str().expect("a path");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    home.run(&["key", "new", "alice"]).code(4);
    assert_eq!(home.json(&["key", "show", "alice"])["key"], shown["key"], "the first key is still there");
    home.run(&["key", "show", "bob"]).code(3);
}

#[test]
fn doctor_says_what_is_there_and_what_mends_the_rest() {
    let home = Home::new();
    let ran = home.run(&["-o", "json", "doctor"]);
    let report: Value = ran.json();
    for check in report["checks"].as_array().expect("checks") {
        let failed = check["state"] == "failed";
        assert!(!failed || check["help"].as_str().is_some_and(|help| !help.is_empty()), "{check}");
    }
    assert_eq!(ran.code, if report["ok"] == true { 0 } else { 4 }, "{report}");
}

#[test]
fn host_bench_tells_what_this_machine_offers_with_figures() {
    let home = Home::new();
    let report = home.json(&["host", "bench", "--cpu", "--side", "64"]);
    assert_eq!((report["cpu"]["side"].as_u64(), report["adapters"].as_array().map(Vec::len)), (Some(64), Some(0)));
    for figure in ["f32_gflops", "f16_gflops", "i8_gops", "copy_gbytes"] {
        assert!(report["cpu"][figure].as_f64().is_some_and(|figure| figure > 0.0), "{report}");
    }
    let text = home.run(&["host", "bench", "--cpu", "--side", "64"]).code(0).text();
    assert!(text.contains("offers f32, f16, i8") && text.contains("computed on the CPU"), "{text}");
    home.run(&["host", "bench", "--side", "0"]).code(2);
}

#[test]
fn a_devnet_that_cannot_be_made_costs_nothing_of_the_old_one() {
    let home = Home::new();
    let kept = home.write("home/networks/devnet/kept", "the old chain");
    for args in [&["--fresh", "--hosts", "2", "--cheat", "wrong-output:3"][..], &["--fresh", "--cheat", "silent:9"]] {
        let ran = home.run(&[&["devnet", "up"], args].concat()).code(2);
        assert!(ran.stderr.contains("--cheat names"), "{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(kept).expect("untouched"), "the old chain");
    assert!(!home.path().join("home/keys").exists(), "no key was made for it");
}

#[test]
fn data_that_could_not_be_written_is_no_success() {
    let home = Home::new();
    let module = wat(&home, "say.wasm", &command("(call $say)"));
    for args in [&["run", &module][..], &["-o", "json", "run", &module], &["key", "list"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let ended = home.command(args).stdout(full).output().expect("the program starts");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("stdout"), "{args:?}: {said}");
    }
}

#[test]
fn fuel_above_a_step_s_default_reaches_a_plain_function() {
    let home = Home::new();
    let endless = wat(&home, "endless.wasm", &command("(loop $again (br $again))"));
    let limit = |args: &[&str]| {
        let all = [&["-o", "json", "run"], args, &[endless.as_str()]].concat();
        home.run(&all).code(21).json()
    };
    let more = limit(&["--fuel", "2100000000"]);
    assert_eq!((&more["limit"], &more["fuel"]), (&"fuel".into(), &2_100_000_000_u64.into()), "{more}");
    home.run(&["run", "--fuel", "0", &endless]).code(2);
    home.run(&["run", "--memory", "0", &endless]).code(2);
}

#[test]
fn a_folder_is_asked_for_where_a_folder_is_shown() {
    let home = Home::new();
    let module = wat(&home, "say.wasm", &command("(call $say)"));
    let file = home.write("note.txt", "a note");
    let ran = home.run(&["run", "--dir", &file, &module]).code(2);
    assert!(ran.stderr.contains("not a folder"), "{}", ran.stderr);
    let nested = [".::/a", ".::/a/b"];
    home.run(&["run", "--dir", nested[0], "--dir", nested[1], &module]).code(2);
}

#[test]
fn a_task_that_lacks_its_input_is_told_the_option() {
    let home = Home::new();
    let ran = home.run(&["run", &guest("hello").display().to_string()]).code(1);
    assert!(ran.stderr.contains("--input PATH"), "{}", ran.stderr);
}

#[test]
fn what_a_task_says_of_its_progress_is_shown_and_is_no_part_of_what_it_puts_out() {
    let home = Home::new();
    let view = r#"{"width":60,"height":40,"iterations":50,"rows_per_step":8,"centre":[-0.5,0],"scale":3}"#;
    let input = home.write("view.json", view);
    let module = guest("mandelbrot").display().to_string();
    let run = home.json(&["run", "--input", &input, &module]);
    assert_eq!(run["progress"], serde_json::json!({ "done": 40, "total": 40, "text": "rows" }), "{run}");
    assert_eq!(run["steps"], 5, "{run}");
    let text = home.run(&["run", "--input", &input, &module]).code(0);
    assert!(!text.stderr.contains("progress") && !text.stderr.contains("40 rows"), "{}", text.stderr);
    // Where it was stopped does not matter: the last line is the same, and the receipt is that of a run nobody watched.
    let kept = home.json(&["run", "--checkpoint-every", "1", "--input", &input, &module]);
    let resumed = home.json(&["run", "--resume", "latest", "--input", &input, &module]);
    assert_eq!((&kept["progress"], &resumed["progress"]), (&run["progress"], &run["progress"]));
    assert_eq!((&kept["receipt"], &resumed["receipt"]), (&run["receipt"], &run["receipt"]));
    let interpreted = home.json(&["run", "--engine", "wasmi", "--input", &input, &module]);
    assert_eq!((&interpreted["progress"], &interpreted["receipt"]), (&run["progress"], &run["receipt"]));
}
