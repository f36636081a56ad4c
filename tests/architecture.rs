//! The house, as an ordinary test: which crate may name which (`ARCHITECTURE.md`).
//!
//! Reads `cargo metadata` and fails on an edge that the plan does not allow, on a dependency that enters at a
//! second crate, and on a crate that the plan does not know.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
};

/// Our crates, each with those of ours that it may name.
const EDGES: &[(&str, &[&str])] = &[
    ("samebit-spec", &[]),
    ("samebit-rewrite", &["samebit-spec"]),
    ("samebit-wasi", &["samebit-spec"]),
    ("samebit-tensor", &["samebit-spec"]),
    ("samebit-gpu", &["samebit-tensor"]),
    ("samebit-runtime", &["samebit-rewrite", "samebit-tensor", "samebit-wasi", "samebit-spec"]),
    ("samebit-sdk-macros", &[]),
    ("samebit-sdk", &["samebit-sdk-macros", "samebit-spec", "samebit-tensor"]),
    ("samebit-market", &["samebit-spec"]),
    ("samebit-ledger", &["samebit-market", "samebit-spec"]),
    ("samebit-blobs", &["samebit-spec"]),
    ("samebit-net", &["samebit-spec"]),
    (
        "samebit-node",
        &["samebit-ledger", "samebit-market", "samebit-runtime", "samebit-blobs", "samebit-net", "samebit-spec"],
    ),
    (
        "samebit",
        &[
            "samebit-node",
            "samebit-ledger",
            "samebit-market",
            "samebit-runtime",
            "samebit-gpu",
            "samebit-blobs",
            "samebit-spec",
        ],
    ),
    ("hello", &["samebit-sdk"]),
    ("mandelbrot", &["samebit-sdk"]),
    ("census", &["samebit-sdk"]),
    ("census-table", &["samebit-sdk"]),
    ("embed", &["samebit-sdk"]),
    ("speech", &["samebit-sdk"]),
    ("train", &["samebit-sdk"]),
    (
        "samebit-tests",
        &[
            "samebit-spec",
            "samebit-market",
            "samebit-ledger",
            "samebit-runtime",
            "samebit-blobs",
            "samebit-net",
            "samebit-node",
        ],
    ),
    ("samebit-sim", &["samebit-ledger", "samebit-market", "samebit-spec"]),
    ("samebit-bench-guests", &[]),
    (
        "samebit-bench",
        &[
            "embed",
            "samebit-bench-guests",
            "samebit-rewrite",
            "samebit-runtime",
            "samebit-sdk",
            "samebit-spec",
            "samebit-tensor",
        ],
    ),
    ("samebit-differential", &["samebit-rewrite", "samebit-runtime", "samebit-spec", "samebit-tensor", "samebit-wasi"]),
    ("xtask", &[]),
];

/// Dependencies that enter at one crate, and where.
const ENTRANCES: &[(&str, &str)] = &[
    ("wasmtime", "samebit-runtime"),
    ("wasmi", "samebit-runtime"),
    ("wasmparser", "samebit-rewrite"),
    ("wasm-encoder", "samebit-rewrite"),
    ("rayon", "samebit-tensor"),
    ("wgpu", "samebit-gpu"),
    ("naga", "samebit-gpu"),
    ("libp2p", "samebit-net"),
    ("libp2p-stream", "samebit-net"),
    ("ed25519-zebra", "samebit-spec"),
    ("curve25519-dalek", "samebit-spec"),
    ("ed25519-dalek", "samebit-node"),
    ("getrandom", "samebit-node"),
    ("clap", "samebit"),
    ("indicatif", "samebit"),
    ("comfy-table", "samebit"),
    ("include_dir", "samebit"),
];

/// Crates that are no part of the product and name such a dependency directly. The bench runs engines with switches that
/// the runtime does not have; the simulator signs with keys of its own, and has no node.
const MEASURING: &[&str] = &["samebit-tests", "samebit-sim", "samebit-bench", "samebit-differential"];

/// A crate of the workspace, as `cargo metadata` describes it.
struct Package {
    name: String,
    manifest: PathBuf,
    license: Option<String>,
    edges: Vec<Value>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata gives text here").to_owned()
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(samebit_tests::root())
        .output()
        .expect("cargo metadata runs in this workspace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() >= EDGES.len(), "only {} crates", packages.len());
    packages
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            manifest: text(&package["manifest_path"]).into(),
            license: package["license"].as_str().map(str::to_owned),
            edges: package["dependencies"].as_array().expect("dependencies").clone(),
        })
        .collect()
}

/// What a crate names outside its tests and build script.
fn normal(package: &Package) -> BTreeSet<String> {
    package.edges.iter().filter(|edge| edge["kind"].is_null()).map(|edge| text(&edge["name"])).collect()
}

#[test]
fn every_crate_names_only_those_below_it() {
    let plan: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for package in &packages {
        let allowed = plan
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("{} is not in the plan: add its room", package.name));
        for named in normal(package).iter().filter(|name| ours.contains(name.as_str())) {
            assert!(allowed.contains(&named.as_str()), "{} may not name {named} (ARCHITECTURE.md)", package.name);
        }
    }
    for room in plan.keys() {
        assert!(ours.contains(room), "the plan has an empty room: {room}");
    }
}

#[test]
fn every_large_dependency_enters_at_one_crate() {
    let entrances: BTreeMap<&str, &str> = ENTRANCES.iter().copied().collect();
    let mut entered = BTreeSet::new();
    for package in packages().iter().filter(|package| !MEASURING.contains(&package.name.as_str())) {
        for name in normal(package) {
            if let Some(at) = entrances.get(name.as_str()) {
                assert_eq!(package.name, *at, "{name} enters at {at} only (ARCHITECTURE.md)");
                entered.insert(name);
            }
        }
    }
    for name in entrances.keys() {
        assert!(entered.contains(*name), "{name} is listed as entering somewhere, but nothing names it");
    }
}

#[test]
fn a_guest_sees_only_the_abi_of_the_spec() {
    let packages = packages();
    let sdk = packages.iter().find(|package| package.name == "samebit-sdk").expect("the sdk");
    let spec = sdk.edges.iter().find(|edge| edge["name"] == "samebit-spec").expect("the sdk names the spec");
    assert_eq!(spec["uses_default_features"], false, "the sdk takes the spec without its default features");
    assert_eq!(spec["features"].as_array().map(Vec::len), Some(0), "the sdk takes no feature of the spec: {spec}");
}

#[test]
fn every_crate_obeys_the_workspace_lints() {
    for package in packages() {
        let manifest = std::fs::read_to_string(&package.manifest).expect("manifests are readable");
        let compact: String = manifest.split_whitespace().collect();
        assert!(compact.contains("[lints]workspace=true"), "{} does not take the workspace's lints", package.name);
        assert_eq!(package.license.as_deref(), Some("Apache-2.0"), "licence of {}", package.name);
    }
}

/// Words that may not appear in the sources of crates whose code every node must repeat bit for bit.
const FORBIDDEN: &[(&str, &str)] = &[
    ("HashMap", "iteration order differs between runs: use BTreeMap"),
    ("HashSet", "iteration order differs between runs: use BTreeSet"),
    ("Instant::now", "no clock: time comes in as an event"),
    ("SystemTime", "no clock: time comes in as an event"),
    ("thread::", "no thread"),
    ("std::env", "no environment"),
    ("std::net", "no network"),
    ("std::fs", "no files"),
    ("RandomState", "no randomness"),
    ("getrandom", "no randomness: it comes in as an event"),
];

#[test]
fn protocol_code_has_no_clock_no_randomness_and_no_unordered_map() {
    let root = samebit_tests::root();
    let mut looked_at = 0;
    for folder in
        ["spec/src", "runtime/rewrite/src", "runtime/wasi/src", "runtime/tensor/src", "market/src", "market/ledger/src"]
    {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for found in std::fs::read_dir(&folder).expect("a source folder").map(|found| found.expect("readable")) {
                let path = found.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // The ledger's log is where it meets the disk; its state machine is everything else.
                if path.ends_with("market/ledger/src/log.rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("utf-8 source");
                for (number, line) in text.lines().enumerate() {
                    let code = line.split("//").next().unwrap_or_default();
                    for (word, reason) in FORBIDDEN {
                        assert!(!code.contains(word), "{}:{}: {word}: {reason}", path.display(), number + 1);
                    }
                }
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 10, "only {looked_at} files were looked at");
}
