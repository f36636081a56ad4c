//! Every example task gives its recorded output, twice, in the sandbox that hosts use.

use samebit_tests::{Home, guest, root};
use std::fs;

/// A guest that is built but not tried does not pass: every folder of `examples-wasm/` must be here.
const GUESTS: [&str; 5] = ["census", "census-table", "hello", "mandelbrot", "train"];
/// Those that compute with a model that is fetched, which `it/embed.rs` and `it/models.rs` try.
const TENSOR_GUESTS: [&str; 2] = ["embed", "speech"];

#[test]
fn every_example_is_tried() {
    let mut found: Vec<String> = fs::read_dir(root().join("examples-wasm"))
        .expect("the examples")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("utf-8"))
        .collect();
    found.sort();
    let mut tried = [&GUESTS[..], &TENSOR_GUESTS].concat();
    tried.sort_unstable();
    assert_eq!(found, tried);
}

#[test]
fn every_example_gives_its_recorded_digest_twice() {
    let home = Home::new();
    for name in GUESTS {
        let folder = root().join("examples-wasm").join(name);
        let recorded = fs::read_to_string(folder.join("digest.txt")).expect("a recorded digest");
        let mut cases = 0;
        for line in recorded.lines().filter(|line| !line.is_empty()) {
            let (case, digest) = line.split_once(' ').expect("case and digest");
            let input = folder.join("cases").join(case).join("input").display().to_string();
            let module = guest(name).display().to_string();
            let args = ["run", "--input", input.as_str(), module.as_str()];
            let first = home.json(&args);
            let second = home.json(&args);
            assert_eq!(first, second, "{name}/{case}: two runs differ");
            assert_eq!(first["output_digest"], digest.trim(), "{name}/{case}");
            cases += 1;
        }
        assert!(cases > 0, "{name} records no case");
    }
}
