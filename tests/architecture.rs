//! The house, as an ordinary test: which crate may name which (`ARCHITECTURE.md`).
//!
//! Reads `cargo metadata` and fails on an edge that the plan does not allow, on a dependency that enters at a
//! second crate, and on a crate that the plan does not know.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

/// Our crates, each with those of ours that it may name.
const EDGES: &[(&str, &[&str])] = &[
    ("samebit-spec", &[]),
    ("samebit-rewrite", &["samebit-spec"]),
    ("samebit-wasi", &["samebit-spec"]),
    ("samebit-runtime", &["samebit-rewrite", "samebit-wasi", "samebit-spec"]),
    ("samebit-sdk-macros", &[]),
    ("samebit-sdk", &["samebit-sdk-macros", "samebit-spec"]),
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
            "samebit-blobs",
            "samebit-net",
            "samebit-spec",
        ],
    ),
    ("hello", &["samebit-sdk"]),
    ("mandelbrot", &["samebit-sdk"]),
    ("census", &["samebit-sdk"]),
    ("census-table", &["samebit-sdk"]),
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
    ("xtask", &[]),
];

/// Dependencies that enter at one crate, and where.
const ENTRANCES: &[(&str, &str)] = &[
    ("wasmtime", "samebit-runtime"),
    ("wasmparser", "samebit-rewrite"),
    ("wasm-encoder", "samebit-rewrite"),
    ("libp2p", "samebit-net"),
    ("libp2p-stream", "samebit-net"),
    ("ed25519-zebra", "samebit-spec"),
    ("curve25519-dalek", "samebit-spec"),
    ("ed25519-dalek", "samebit-node"),
    ("getrandom", "samebit-node"),
    ("clap", "samebit"),
    ("miette", "samebit"),
    ("indicatif", "samebit"),
    ("comfy-table", "samebit"),
    ("include_dir", "samebit"),
];

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo metadata runs in this workspace")
}

fn normal(package: &Package) -> impl Iterator<Item = &str> {
    package.dependencies.iter().filter(|edge| edge.kind == DependencyKind::Normal).map(|edge| edge.name.as_str())
}

#[test]
fn every_crate_names_only_those_below_it() {
    let plan: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        let allowed = plan
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("{} is not in the plan: add its room", package.name));
        for named in normal(package).filter(|name| ours.contains(name)) {
            assert!(allowed.contains(&named), "{} may not name {named} (ARCHITECTURE.md)", package.name);
        }
    }
    for room in plan.keys() {
        assert!(ours.contains(room), "the plan has an empty room: {room}");
    }
}

#[test]
fn every_large_dependency_enters_at_one_crate() {
    let entrances: BTreeMap<&str, &str> = ENTRANCES.iter().copied().collect();
    let metadata = metadata();
    let mut entered = BTreeSet::new();
    for package in metadata.packages.iter().filter(|package| package.name.as_str() != "samebit-tests") {
        for name in normal(package) {
            if let Some(at) = entrances.get(name) {
                assert_eq!(package.name.as_str(), *at, "{name} enters at {at} only (ARCHITECTURE.md)");
                entered.insert(name);
            }
        }
    }
    for name in entrances.keys() {
        assert!(entered.contains(name), "{name} is listed as entering somewhere, but nothing names it");
    }
}

#[test]
fn a_guest_sees_only_the_abi_of_the_spec() {
    let metadata = metadata();
    let sdk = metadata.packages.iter().find(|package| package.name.as_str() == "samebit-sdk").expect("the sdk");
    let spec = sdk.dependencies.iter().find(|edge| edge.name == "samebit-spec").expect("names the spec");
    assert!(!spec.uses_default_features, "the sdk takes the spec without its default features");
    assert!(spec.features.is_empty(), "the sdk takes no feature of the spec, found {:?}", spec.features);
}

#[test]
fn every_crate_obeys_the_workspace_lints() {
    let metadata = metadata();
    for package in &metadata.packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("manifests are readable");
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
    ("getrandom", "no randomness: it comes in as an event"),
];

#[test]
fn protocol_code_has_no_clock_no_randomness_and_no_unordered_map() {
    let metadata = metadata();
    let root = &metadata.workspace_root;
    let mut looked_at = 0;
    for folder in ["spec/src", "runtime/rewrite/src", "runtime/wasi/src", "market/src"] {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for found in std::fs::read_dir(&folder).expect("a source folder").map(|found| found.expect("readable")) {
                let path = found.path();
                if path.is_dir() {
                    folders.push(path.try_into().expect("utf-8"));
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
