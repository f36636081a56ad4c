//! Models as tasks: one that listens, one that learns. The same bits on both engines, and where a run is taken up again.

use samebit_tests::{Home, guest, root};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// A folder that `cargo xtask models` leaves; `None`, said aloud, where it was not fetched.
fn fetched(name: &str) -> Option<PathBuf> {
    let folder = root().join("target/models").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: `cargo xtask models`", folder.display());
    eprintln!("LEFT OUT: {} is missing: `cargo xtask models` fetches it", folder.display());
    None
}

/// What a run says, without what tells how it was run.
fn result(mut run: Value) -> Value {
    for how in ["resumed_from", "states_kept", "engine"] {
        run[how] = Value::Null;
    }
    run
}

#[test]
fn a_network_with_a_memory_hears_the_same_on_both_engines() {
    let (Some(model), Some(recording)) = (fetched("silero-vad-6.2.3"), fetched("pyannote.audio-3.3.2")) else { return };
    let home = Home::new();
    let input = home.path().join("in");
    fs::create_dir_all(input.join("model")).expect("a folder");
    let weights = "silero_vad_16k.safetensors";
    fs::copy(model.join(weights), input.join("model").join(weights)).expect("copied");
    fs::copy(recording.join("sample.wav"), input.join("recording.wav")).expect("copied");
    fs::write(input.join("input"), "{}").expect("written");
    let (input, module) = (input.display().to_string(), guest("speech").display().to_string());
    let run = |args: &[&str]| result(home.json(&[&["run", "--input", &input], args, &[&module]].concat()));
    let first = run(&["--out", "out"]);
    assert_eq!(first["steps"], 8, "{first}");
    let said = fs::read_to_string(home.path().join("out/result")).expect("a result");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!((2..=4).contains(&said["segments"].as_array().expect("segments").len()), "{said}");
    assert_eq!(run(&["--engine", "wasmi"]), first);
}

#[test]
fn training_is_taken_up_on_the_other_engine_with_the_same_weights() {
    let Some(digits) = fetched("scikit-learn-1.7.2") else { return };
    let home = Home::new();
    let input = home.path().join("in");
    fs::create_dir_all(&input).expect("a folder");
    fs::copy(digits.join("digits.csv.gz"), input.join("digits.csv.gz")).expect("copied");
    fs::write(input.join("input"), r#"{"updates": 300}"#).expect("written");
    let (input, module) = (input.display().to_string(), guest("train").display().to_string());
    let run = |args: &[&str]| home.json(&[&["run", "--input", &input], args, &[&module]].concat());
    let whole = run(&["--out", "out", "--checkpoint-every", "4"]);
    assert_eq!(whole["steps"], 15, "{whole}");
    let told = fs::read_to_string(home.path().join("out/result")).expect("a result");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let [right, of] = ["right", "tested_on"].map(|key| told[key].as_u64().expect("a number"));
    assert!(right * 10 >= of * 9, "{told}");
    // In eight bits nearly all are told as before.
    let [right, alike] = ["right_int8", "alike_int8"].map(|key| told[key].as_u64().expect("a number"));
    assert!(right * 10 >= of * 9 && alike * 100 >= of * 97, "{told}");
    assert!(home.path().join("out/model-int8.safetensors").is_file());
    let resumed = run(&["--engine", "wasmi", "--resume", "latest"]);
    assert!(resumed["resumed_from"].as_u64().is_some_and(|step| step >= 4), "{resumed}");
    assert_eq!(result(resumed), result(whole));
}

#[test]
fn floats_and_eight_bits_have_the_same_bits_whatever_computes() {
    let home = Home::new();
    let case = root().join("examples-wasm/train/cases/hundred/input").display().to_string();
    let module = guest("train").display().to_string();
    let run = |args: &[&str], threads: &str| {
        let args = [&["run", "-o", "json", "--input", case.as_str()], args, &[module.as_str()]].concat();
        let output = home.command(&args).env("RAYON_NUM_THREADS", threads).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        result(serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    let first = run(&["--out", "out"], "1");
    let told = fs::read_to_string(home.path().join("out/result")).expect("a result");
    assert!(told.contains("right_int8"), "{told}");
    assert_eq!(run(&[], "2"), first);
    assert_eq!(run(&["--engine", "wasmi"], "2"), first);
    assert_eq!(run(&["--tensor-backend", "oracle"], "1"), first);
}

#[test]
fn an_adapter_gives_the_bits_of_the_processor() {
    let home = Home::new();
    let case = root().join("examples-wasm/train/cases/hundred/input").display().to_string();
    let module = guest("train").display().to_string();
    let args = ["-o", "json", "run", "--input", &case, "--tensor-backend", "gpu", &module];
    let output = home.command(&args).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("this machine has 0 adapters") {
        assert!(std::env::var_os("SAMEBIT_REQUIRE_GPU").is_none(), "{said}");
        eprintln!("LEFT OUT: no run on an adapter, this machine has none: {said}");
        return;
    }
    assert!(output.status.success(), "{said}");
    let on_adapter: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let on_processor = home.json(&["run", "--input", &case, &module]);
    assert_eq!(result(on_adapter), result(on_processor));
}
