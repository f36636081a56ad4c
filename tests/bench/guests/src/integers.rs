//! Guests that work on integers, memory and calls.

use crate::data::{Checksum, Numbers, count, prose};
use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
    hint::black_box,
};

/// SHA-256 of `n` quarters of a MiB.
#[unsafe(no_mangle)]
pub extern "C" fn run_sha256(n: i32) -> i64 {
    let block: Vec<u8> = prose(256 << 10).into_bytes();
    let mut hasher = sha2::Sha256::new();
    for _ in 0..count(n) {
        hasher.update(&block);
    }
    let mut sum = Checksum::new();
    sum.add_bytes(&hasher.finalize());
    sum.end()
}

/// BLAKE3 of `n` quarters of a MiB.
#[unsafe(no_mangle)]
pub extern "C" fn run_blake3(n: i32) -> i64 {
    let block: Vec<u8> = prose(256 << 10).into_bytes();
    let mut hasher = blake3::Hasher::new();
    for _ in 0..count(n) {
        hasher.update(&block);
    }
    let mut sum = Checksum::new();
    sum.add_bytes(hasher.finalize().as_bytes());
    sum.end()
}

/// Sorts `n` numbers.
#[unsafe(no_mangle)]
pub extern "C" fn run_sort(n: i32) -> i64 {
    let mut numbers = Numbers::new();
    let mut values: Vec<u64> = (0..count(n)).map(|_| numbers.draw()).collect();
    values.sort_unstable();
    let mut sum = Checksum::new();
    for value in values.iter().step_by(97) {
        sum.add(*value);
    }
    sum.add(values.len() as u64);
    sum.end()
}

#[derive(Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    tags: Vec<String>,
    share: f64,
    parent: Option<u32>,
    place: Place,
}

#[derive(Serialize, Deserialize)]
struct Place {
    x: i32,
    y: i32,
    label: String,
}

/// Writes `n` objects as JSON, reads them typed and untyped, and writes them again.
#[unsafe(no_mangle)]
pub extern "C" fn run_json(n: i32) -> i64 {
    let mut numbers = Numbers::new();
    let words = prose(4096);
    let words: Vec<&str> = words.split_whitespace().collect();
    let word =
        |numbers: &mut Numbers| words[usize::try_from(numbers.below(words.len() as u64)).unwrap_or(0)].to_owned();
    let rows: Vec<Row> = (0..n.max(0))
        .map(|index| Row {
            id: u64::from(index.unsigned_abs()) * 7919,
            name: word(&mut numbers) + " \"" + &word(&mut numbers) + "\"\n",
            tags: (0..numbers.below(4)).map(|_| word(&mut numbers)).collect(),
            share: numbers.unit(),
            parent: (index % 3 == 0).then_some(index.unsigned_abs()),
            place: Place { x: index, y: -index, label: word(&mut numbers) },
        })
        .collect();
    let text = serde_json::to_string(&rows).unwrap_or_default();
    let again: Vec<Row> = serde_json::from_str(&text).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    let mut sum = Checksum::new();
    sum.add(again.iter().map(|row| row.id ^ row.share.to_bits()).fold(0, u64::wrapping_add));
    sum.add(text.len() as u64);
    sum.add_bytes(&pretty.as_bytes()[..pretty.len().min(10_000)]);
    sum.add(pretty.len() as u64);
    sum.end()
}

/// Captures from `n` lines of a log.
#[unsafe(no_mangle)]
pub extern "C" fn run_regex(n: i32) -> i64 {
    let mut numbers = Numbers::new();
    let mut log = String::new();
    for _ in 0..count(n) {
        let (a, b, c, d) = (numbers.below(256), numbers.below(256), numbers.below(1000), numbers.below(60));
        let path = if a % 3 == 0 { "/job/reveal" } else { "/blob/put" };
        let line = format!(
            "10.0.{a}.{b} - [2026-11-{:02}T12:{d:02}:07Z] \"GET {path}?id={c} HTTP/1.1\" {} {c}\n",
            a % 28 + 1,
            200 + b
        );
        log.push_str(&line);
    }
    let Ok(pattern) = regex::Regex::new(
        r#"(?m)^(?P<address>\d+\.\d+\.\d+\.\d+) \S+ \[(?P<date>[^T]+)T(?P<time>[\d:]+)Z\] "(?P<verb>[A-Z]+) (?P<path>/\w+/(?:put|reveal))\?id=(\d+) [^"]*" (?P<code>\d{3}) (\d+)$"#,
    ) else {
        return 0;
    };
    let mut sum = Checksum::new();
    for found in pattern.captures_iter(&log) {
        sum.add(found["address"].len() as u64);
        sum.add_bytes(found["time"].as_bytes());
        sum.add(found["path"].len() as u64);
        sum.add_bytes(found["code"].as_bytes());
    }
    sum.add(log.len() as u64);
    sum.end()
}

fn fib(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fib(n - 1) + fib(n - 2) }
}

/// The `n`th Fibonacci number by two calls each.
#[unsafe(no_mangle)]
pub extern "C" fn run_fib(n: i32) -> i64 {
    fib(black_box(n).unsigned_abs()).cast_signed()
}

fn queens(all: u32, columns: u32, left: u32, right: u32) -> u64 {
    if columns == all {
        return 1;
    }
    let mut found = 0;
    let mut free = all & !(columns | left | right);
    while free != 0 {
        let place = free & free.wrapping_neg();
        free ^= place;
        found += queens(all, columns | place, (left | place) << 1, (right | place) >> 1);
    }
    found
}

/// In how many ways do `n` queens leave each other alone, `n` to 4 times over.
#[unsafe(no_mangle)]
pub extern "C" fn run_queens(n: i32) -> i64 {
    let mut sum = Checksum::new();
    for size in [n, n - 1, n, n - 2] {
        sum.add(queens((1 << black_box(size.clamp(1, 31))) - 1, 0, 0, 0));
    }
    sum.end()
}

struct Node {
    left: Option<Box<Node>>,
    right: Option<Box<Node>>,
}

fn grow(depth: u32) -> Option<Box<Node>> {
    (depth > 0).then(|| Box::new(Node { left: grow(depth - 1), right: grow(depth - 1) }))
}

fn weigh(node: Option<&Node>) -> u64 {
    node.map_or(0, |node| 1 + weigh(node.left.as_deref()) + weigh(node.right.as_deref()))
}

/// Makes, counts and drops `n` binary trees of depth 14.
#[unsafe(no_mangle)]
pub extern "C" fn run_trees(n: i32) -> i64 {
    let mut sum = Checksum::new();
    for index in 0..count(n) {
        let tree = grow(14 - u32::from(index % 2 == 1));
        sum.add(weigh(tree.as_deref()));
    }
    sum.end()
}

/// Inserts, finds and removes `n` keys of a hash map with the standard library's hash, and counts words.
#[unsafe(no_mangle)]
pub extern "C" fn run_hashmap(n: i32) -> i64 {
    let mut numbers = Numbers::new();
    let mut map: HashMap<u64, u64, BuildHasherDefault<DefaultHasher>> = HashMap::default();
    let mut sum = Checksum::new();
    let limit = count(n).max(1) as u64;
    for index in 0..count(n) as u64 {
        *map.entry(numbers.below(limit)).or_insert(0) += index;
        if let Some(found) = map.get(&numbers.below(limit)) {
            sum.add(*found);
        }
        if index % 4 == 0
            && let Some(gone) = map.remove(&numbers.below(limit))
        {
            sum.add(gone);
        }
    }
    let text = prose(count(n) * 2);
    let mut words: HashMap<&str, u64, BuildHasherDefault<DefaultHasher>> = HashMap::default();
    for word in text.split_whitespace() {
        *words.entry(word).or_default() += 1;
    }
    sum.add(words.get("ledger").copied().unwrap_or_default());
    sum.add(map.len() as u64);
    sum.end()
}

/// Compresses `n` bytes of prose and gets them back.
#[unsafe(no_mangle)]
pub extern "C" fn run_deflate(n: i32) -> i64 {
    let text = prose(count(n));
    let packed = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 6);
    let back = miniz_oxide::inflate::decompress_to_vec(&packed).unwrap_or_default();
    let mut sum = Checksum::new();
    sum.add(u64::from(back == text.as_bytes()));
    sum.add(packed.len() as u64);
    sum.add_bytes(&packed[..packed.len().min(10_000)]);
    sum.add(back.len() as u64);
    sum.end()
}
