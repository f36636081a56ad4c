//! `samebit test`: runs each case of a task twice in the sandbox and once on every other engine, compares the receipts
//! bit for bit, and the result with the expected one.

use super::{
    build,
    run::{Local, Sandbox, engine_parser, job_execution},
};
use crate::{
    exit::Exit,
    report::{Failure, Format, Outcome, Ui},
    text,
};
use samebit_runtime::{EngineKind, Finished, Program};
use samebit_spec::{
    abi,
    content::TreeRef,
    execution::{Access, Outcome as Ended},
    unit::Fuel,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

/// Where a project keeps its cases.
const CASES: &str = "cases";
/// A case's input: a folder, or a single file.
const INPUT: &str = "input";
/// A case's expected result.
const EXPECTED: &str = "expected";

/// Build a task and run each of its cases twice, and once on every other engine, comparing receipts bit for bit.
///
/// A case is a folder cases/NAME with `input`, a folder or a single file, and `expected`: the result as JSON, or for
/// a command its stdout. A case without `expected` only has to end well, each time the same.
///
/// The engines are wasmtime, which compiles, and wasmi, which interprets and takes some ten times as long; a run on
/// either must give the same outcome, output, fuel and state roots.
///
/// Exits 30 when two runs of a case differ, 1 when a result is not the expected one.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit test
  samebit test --engine wasmtime      on this engine alone, twice
  samebit test --bless                writes what each case gives as its expected result
  samebit test ../hello -o json")]
pub struct TestArgs {
    /// The project's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Write the result of each case as its expected one.
    #[arg(long)]
    bless: bool,
    /// Run on this engine alone. Default: on all.
    #[arg(long, value_name = "ENGINE", value_parser = engine_parser())]
    engine: Option<EngineKind>,
}

/// A case: a member of `samebit/test/1`.
#[derive(Serialize)]
struct CaseView {
    case: String,
    verdict: Verdict,
    detail: Option<String>,
    outcome: String,
    output_digest: String,
    /// One for each run.
    receipts: Vec<String>,
    /// What each was run by.
    engines: Vec<&'static str>,
    fuel: u64,
    steps: u32,
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Each time the same, and as expected where something is expected.
    Passed,
    /// Each time the same, and now expected.
    Blessed,
    /// Each time the same, and not as expected.
    Mismatch,
    /// Two runs of the same execution gave two receipts.
    Differs,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Blessed => "blessed",
            Self::Mismatch => "MISMATCH",
            Self::Differs => "DIFFERS",
        }
    }
}

/// Runs the command.
pub fn run(args: TestArgs, ui: &Ui) -> Outcome {
    let cases = cases(&args.path.join(CASES))?;
    let built = build::project(&args.path, ui)?;
    let first = args.engine.unwrap_or_default();
    let others = EngineKind::ALL.into_iter().filter(|engine| args.engine.is_none() && *engine != first);
    let mut stages = Vec::new();
    for engine in [first].into_iter().chain(others) {
        let sandbox = Sandbox::new(engine, ui)?;
        let program = sandbox.load(&built.file.display().to_string(), &built.bytes)?;
        stages.push((sandbox, program));
    }
    let bar = ui.bar(cases.len() as u64, "running cases");
    let mut views = Vec::new();
    for case in &cases {
        views.push(try_case(case, &stages, &built.manifest.name, args.bless, ui)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    say(&built.manifest.name, &views, ui);
    let has = |verdict| views.iter().any(|view: &CaseView| view.verdict == verdict);
    // Two receipts for one execution are evidence against this machine or the engine: the graver finding wins.
    Ok(if has(Verdict::Differs) {
        Exit::OutputsDiffer
    } else if has(Verdict::Mismatch) {
        Exit::Guest(1)
    } else {
        Exit::Done
    })
}

/// The folders of the cases, by name.
fn cases(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let none = || {
        Failure::new(Exit::NotFound, format!("no case in {}", folder.display()))
            .help("a case is a folder cases/NAME with `input`, a file or a folder, and `expected`")
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut cases = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.is_dir() {
            cases.push(path);
        }
    }
    cases.sort();
    if cases.is_empty() { Err(none()) } else { Ok(cases) }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("{}: {error}", path.display()))
}

fn try_case(case: &Path, stages: &[(Sandbox, Program)], name: &str, bless: bool, ui: &Ui) -> Result<CaseView, Failure> {
    let mut content = Local::default();
    let input = case.join(INPUT);
    let tree: TreeRef = if input.exists() {
        content.mount(&input, abi::INPUT_DIR.to_owned(), Access::ReadOnly, ui)?.tree
    } else {
        return Err(Failure::new(Exit::NotFound, format!("{} is not there", input.display()))
            .help("a case has `input`, a file or a folder; an empty folder is an input too"));
    };
    // The first engine runs it again at the end, so that no two runs of one engine follow each other.
    let mut runs: Vec<(EngineKind, Finished)> = Vec::new();
    for (sandbox, program) in stages.iter().chain(stages.first()) {
        let execution = job_execution(program, name, tree);
        runs.push((sandbox.engine(), sandbox.run(program, &execution, &content, ui)?));
    }
    let Some((engine, first)) = runs.first() else {
        return Err(Failure::new(Exit::Environment, "no engine ran it".to_owned()));
    };
    let differing = runs.iter().find_map(|(other, run)| Some((other, difference(first, run)?)));
    let (verdict, detail) = match differing {
        Some((other, what)) => (Verdict::Differs, Some(format!("{engine} and {other} gave {what}"))),
        None => compare(&case.join(EXPECTED), first, bless)?,
    };
    Ok(CaseView {
        case: case.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        verdict,
        detail,
        outcome: text::outcome(&first.receipt.outcome),
        output_digest: first.receipt.output.id().to_string(),
        receipts: runs.iter().map(|(_, run)| run.receipt.id().to_string()).collect(),
        engines: runs.iter().map(|(engine, _)| engine.name()).collect(),
        fuel: first.receipt.fuel.0,
        steps: first.receipt.steps,
    })
}

/// What two runs of one execution disagree about first, in the order in which a reader wants to know.
fn difference(one: &Finished, other: &Finished) -> Option<String> {
    let (a, b) = (&one.receipt, &other.receipt);
    let step = one.history.iter().zip(&other.history).position(|(a, b)| a != b);
    let at = step.map_or(String::new(), |step| format!("; the first state root that differs is that of step {step}"));
    let what = if a.outcome != b.outcome {
        format!("the outcomes {} and {}", text::outcome(&a.outcome), text::outcome(&b.outcome))
    } else if a.output != b.output {
        format!("the outputs {} and {}", a.output.id(), b.output.id())
    } else if a.fuel != b.fuel {
        format!("{} and {} fuel", a.fuel.0, b.fuel.0)
    } else if a != b {
        "different state roots".to_owned()
    } else {
        return None;
    };
    Some(what + &at)
}

/// Compares what a run gave with the file `expected`, or writes it there.
fn compare(expected: &Path, finished: &Finished, bless: bool) -> Result<(Verdict, Option<String>), Failure> {
    if finished.receipt.outcome != (Ended::Exited { code: 0 }) {
        let said = String::from_utf8_lossy(&finished.stderr);
        let mut detail = text::outcome(&finished.receipt.outcome);
        if let Some(line) = said.lines().last() {
            detail = format!("{detail}; stderr ends: {line}");
        }
        return Ok((Verdict::Mismatch, Some(detail)));
    }
    let given = given(finished);
    if bless {
        fs::write(expected, pretty(&given)).map_err(|error| unreadable(expected, &error))?;
        return Ok((Verdict::Blessed, None));
    }
    let wanted = match fs::read(expected) {
        Ok(wanted) => wanted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Verdict::Passed, None)),
        Err(error) => return Err(unreadable(expected, &error)),
    };
    if is_same(&given, &wanted) {
        return Ok((Verdict::Passed, None));
    }
    let shown = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let mut shown: String = text.trim().chars().take(120).collect();
        if shown.len() < text.trim().len() {
            shown.push_str("...");
        }
        shown
    };
    Ok((Verdict::Mismatch, Some(format!("gave {}, expected {}", shown(&given), shown(&wanted)))))
}

/// What a run gave: its typed result, or else its stdout.
fn given(finished: &Finished) -> Cow<'_, [u8]> {
    let result = finished.files.iter().find(|(path, _)| path == abi::RESULT_NAME);
    result.map_or(Cow::Borrowed(&finished.stdout), |(_, bytes)| Cow::Owned(bytes.to_vec()))
}

/// Whether two results are the same: as JSON where both are, so that `expected` may be laid out for people, else
/// byte for byte.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let json = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    match (json(given), json(expected)) {
        (Some(given), Some(expected)) => given == expected,
        _ => given == expected,
    }
}

/// JSON laid out for people; anything else as it is.
fn pretty(given: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(given).and_then(|value| serde_json::to_vec_pretty(&value)) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            bytes
        }
        Err(_) => given.to_vec(),
    }
}

fn say(name: &str, views: &[CaseView], ui: &Ui) {
    let object = serde_json::json!({ "schema": "samebit/test/1", "name": name, "cases": views });
    let shown = || {
        let mut table = text::table(["case", "verdict", "outcome", "steps", "fuel", "output"], &[3, 4]);
        for view in views {
            table.add_row([
                view.case.clone(),
                view.verdict.word().to_owned(),
                view.outcome.clone(),
                view.steps.to_string(),
                text::fuel(Fuel(view.fuel)),
                crate::view::short(&view.output_digest),
            ]);
        }
        table.to_string()
    };
    ui.data(shown, &object);
    if ui.format == Format::Text {
        for view in views {
            if let Some(detail) = &view.detail {
                ui.note(format!("{}: {detail}", view.case));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_compared_as_json_where_they_are_json_and_else_byte_for_byte() {
        assert!(is_same(b"{\"a\":1,\"b\":[2]}", b"{\n  \"b\": [2],\n  \"a\": 1\n}\n"));
        assert!(!is_same(b"{\"a\":1}", b"{\"a\":2}"));
        assert!(!is_same(b"hello\n", b"hello"));
        assert!(is_same(b"\xff", b"\xff"));
    }

    #[test]
    fn what_is_blessed_is_what_is_then_expected() {
        for given in [b"{\"b\":1,\"a\":[1.5e300]}".as_slice(), b"plain text", b"\xff\x00", b""] {
            assert!(is_same(given, &pretty(given)));
        }
    }

    #[test]
    fn two_runs_that_differ_are_told_apart_by_what_matters_most() {
        let finished = |fuel, code, root| {
            let output = samebit_spec::receipt::Output {
                stdout: samebit_spec::content::BlobRef::of(b""),
                tree: samebit_spec::content::Tree::new(Vec::new()).expect("a tree of no files").tree_ref(),
            };
            let history = vec![samebit_spec::id::StateRoot([0; 32]), samebit_spec::id::StateRoot([root; 32])];
            Finished {
                receipt: samebit_spec::receipt::Receipt {
                    execution: samebit_spec::id::ExecutionId([0; 32]),
                    outcome: Ended::Exited { code },
                    output,
                    fuel: Fuel(fuel),
                    steps: 1,
                    history: samebit_spec::state::history_root(&history),
                },
                stdout: Vec::new(),
                stderr: Vec::new(),
                files: Vec::new(),
                tree: samebit_spec::content::Tree::new(Vec::new()).expect("a tree of no files"),
                history,
            }
        };
        let one = finished(5, 0, 1);
        assert_eq!(difference(&one, &finished(5, 0, 1)), None);
        for (other, said) in [
            (finished(6, 1, 2), "outcomes"),
            (finished(6, 0, 2), "5 and 6 fuel"),
            (finished(5, 0, 2), "different state roots; the first state root that differs is that of step 1"),
        ] {
            assert!(difference(&one, &other).expect("they differ").contains(said), "{said}");
        }
    }

    #[test]
    fn a_project_without_cases_is_told_what_a_case_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let failure = cases(&dir.path().join(CASES)).expect_err("there is none");
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.help.expect("advice").contains("cases/NAME"));
    }
}
