//! Tasks on folders of this machine, as `cargo test` of a project runs them.

use samebit_sdk::{self as samebit, Chunks, Pieces, Step, Steps, TaskError, native};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

#[derive(Deserialize)]
struct Range {
    last: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Total {
    sum: u64,
}

struct Sum {
    next: u64,
    last: u64,
    sum: u64,
}

#[samebit::task]
impl Steps for Sum {
    type Input = Range;
    type Output = Total;
    type Error = String;

    fn start(range: Range) -> Result<Self, String> {
        if range.last > 1_000 {
            Err(format!("last is {}", range.last))
        } else {
            Ok(Self { next: 0, last: range.last, sum: 0 })
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        self.sum += self.next;
        self.next += 1;
        Ok(if self.next > self.last { Step::Done } else { Step::More })
    }

    fn finish(self) -> Result<Total, String> {
        Ok(Total { sum: self.sum })
    }
}

/// Runs [`Sum`] on an input file of these bytes.
fn sum(input: Option<&str>) -> (Result<u32, TaskError>, Option<String>) {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if let Some(input) = input {
        fs::write(from.path().join("input"), input).unwrap();
    }
    let steps = native::run_on::<Sum>(from.path(), to.path());
    (steps, fs::read_to_string(to.path().join("result")).ok())
}

#[test]
fn a_task_reads_its_input_and_leaves_its_result_as_a_host_would_have_it() {
    let (steps, result) = sum(Some(r#"{"last": 4}"#));
    assert_eq!((steps.unwrap(), result.as_deref()), (5, Some(r#"{"sum":10}"#)));
}

#[test]
fn an_input_that_is_missing_or_malformed_is_named_with_its_path_and_leaves_no_result() {
    let cases = [
        (None, "reading the input"),
        (Some("{"), "EOF while parsing"),
        (Some(r#"{"last": "x"}"#), "expected u64 at line 1 column 12"),
        (Some(r#"{"last": 1} x"#), "trailing characters"),
    ];
    for (input, reason) in cases {
        let (error, result) = sum(input);
        let error = error.expect_err("no such input is taken").to_string();
        assert!(error.contains(reason) && error.contains("input"), "{input:?}: {error}");
        assert_eq!(result, None);
    }
}

#[test]
fn a_task_that_gives_up_says_why_and_leaves_no_result() {
    let (error, result) = sum(Some(r#"{"last": 1001}"#));
    assert_eq!(error.expect_err("too large").to_string(), "last is 1001");
    assert_eq!(result, None);
}

#[samebit::task]
fn count_files() -> Result<usize, std::io::Error> {
    Ok(fs::read_dir(samebit::input_dir())?.count())
}

#[test]
fn a_task_without_typed_input_looks_into_its_input_folder() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["a", "b"] {
        fs::write(from.path().join(name), name).unwrap();
    }
    native::call_on(from.path(), to.path(), |(): ()| count_files()).unwrap();
    assert_eq!(fs::read_to_string(to.path().join("result")).unwrap(), "2");
}

#[test]
fn folders_are_shown_to_one_test_at_a_time_and_put_back() {
    let outside = samebit::input_dir();
    native::within(Path::new("a"), Path::new("b"), || {
        assert_eq!((samebit::input_dir(), samebit::output_dir()), ("a".into(), "b".into()));
        native::within(Path::new("c"), Path::new("d"), || assert_eq!(samebit::input_dir(), Path::new("c")));
        assert_eq!(samebit::input_dir(), Path::new("a"));
    });
    assert_eq!(samebit::input_dir(), outside);
    assert_eq!(outside, Path::new("/in"));
}

/// Counts bytes of the input, chunk by chunk.
struct Bytes {
    chunks: samebit::Chunks,
    bytes: u64,
}

impl samebit::Pieces for Bytes {
    type Input = ();
    type Output = u64;
    type Error = std::io::Error;

    fn start((): ()) -> Result<Self, Self::Error> {
        Ok(Self { chunks: samebit::Chunks::open("data", 1000)?, bytes: 0 })
    }

    fn piece(&mut self) -> Result<Step, Self::Error> {
        Ok(match self.chunks.next().transpose()? {
            Some(chunk) => {
                assert!(chunk.len() == 1000 || self.bytes == 2000);
                self.bytes += chunk.len() as u64;
                Step::More
            }
            None => Step::Done,
        })
    }

    fn finish(self) -> Result<u64, Self::Error> {
        Ok(self.bytes)
    }
}

#[test]
fn a_task_in_pieces_steps_by_itself_through_an_input_that_it_never_holds_whole() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("data"), [7; 2300]).unwrap();
    assert_eq!(native::run_on::<Bytes>(from.path(), to.path()).unwrap(), 4);
    assert_eq!(fs::read_to_string(to.path().join("result")).unwrap(), "2300");
    assert!(matches!(native::run_on::<Bytes>(to.path(), to.path()), Err(TaskError::Task { .. })));
}

/// Counts the lines of `/in/log`, which may be larger than memory. The README's example.
struct Lines {
    chunks: Chunks,
    lines: u64,
}

impl Pieces for Lines {
    type Input = ();
    type Output = u64;
    type Error = std::io::Error;

    fn start(_: ()) -> Result<Self, Self::Error> {
        Ok(Self { chunks: Chunks::open("log", 1 << 20)?, lines: 0 })
    }

    fn piece(&mut self) -> Result<Step, Self::Error> {
        let Some(chunk) = self.chunks.next() else { return Ok(Step::Done) };
        self.lines += chunk?.iter().filter(|byte| **byte == b'\n').count() as u64;
        samebit::progress(self.lines, 0, "lines");
        Ok(Step::More)
    }

    fn finish(self) -> Result<u64, Self::Error> {
        Ok(self.lines)
    }
}

#[test]
fn a_file_in_chunks_is_counted_a_piece_at_a_time() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(input.path().join("log"), "a line\n".repeat(400_000)).unwrap();
    assert_eq!(native::run_on::<Lines>(input.path(), output.path()).unwrap(), 4, "three chunks and the end");
    assert_eq!(std::fs::read(output.path().join("result")).unwrap(), b"400000");
}
