//! What a run put out, as people and programs are shown it, and the exit code.

use crate::{
    exit::Exit,
    report::{Failure, Format, Outcome, Ui},
    text,
};
use samebit_runtime::{Finished, Program};
use samebit_spec::{
    abi,
    execution::{Limit, Outcome as Ended},
    task::TaskForm,
};
use serde::Serialize;
use std::io::{self, Write};

/// A run: `samebit/run/1`.
#[derive(Serialize)]
pub(super) struct RunView {
    schema: &'static str,
    outcome: &'static str,
    exit_code: Option<u32>,
    trap: Option<String>,
    limit: Option<String>,
    stdout_digest: String,
    stdout_bytes: u64,
    output_digest: String,
    output_tree: String,
    output_files: usize,
    fuel: u64,
    steps: u32,
    state_root: Option<String>,
    history_root: String,
    /// Whether it has a root for each step; a command is one step, and is compared as a whole.
    stepped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resumed_from: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) states_kept: Option<usize>,
    /// States that were to be kept and are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) states_skipped: Option<usize>,
    /// What the task said last of its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<SaidView>,
    execution: String,
    receipt: String,
    module: String,
    engine: String,
}

#[derive(Serialize)]
pub(super) struct SaidView {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) text: String,
}

impl RunView {
    pub(super) fn new(finished: &Finished, program: &Program, engine: &str) -> Self {
        let receipt = &finished.receipt;
        let words = text::outcome(&receipt.outcome);
        let detail = words.split_once(": ").map(|(_, detail)| detail.to_owned());
        let (outcome, exit_code, trap, limit) = match receipt.outcome {
            Ended::Exited { code } => ("exited", Some(code), None, None),
            Ended::Failed => ("failed", None, None, None),
            Ended::Trapped { .. } => ("trapped", None, detail, None),
            Ended::Exhausted { .. } => ("exhausted", None, None, detail),
        };
        Self {
            schema: "samebit/run/1",
            outcome,
            exit_code,
            trap,
            limit,
            stdout_digest: receipt.output.stdout.id.to_string(),
            stdout_bytes: receipt.output.stdout.len.0,
            output_digest: receipt.output.id().to_string(),
            output_tree: receipt.output.tree.id.to_string(),
            output_files: finished.files.len(),
            fuel: receipt.fuel.0,
            steps: receipt.steps,
            state_root: finished.history.last().map(ToString::to_string),
            history_root: receipt.history.to_string(),
            stepped: program.form() == TaskForm::Stepped,
            resumed_from: None,
            states_kept: None,
            states_skipped: None,
            progress: None,
            execution: receipt.execution.to_string(),
            receipt: receipt.id().to_string(),
            module: program.module().id.to_string(),
            engine: engine.to_owned(),
        }
    }
}

/// Shows what the run put out.
pub(super) fn show(finished: &Finished, program: &Program, view: &RunView, kept: bool, ui: &Ui) {
    // What cannot be said on stderr cannot be said at all.
    let _ = io::stderr().lock().write_all(&finished.stderr);
    if ui.format != Format::Text {
        ui.data(String::new, view);
        return;
    }
    ui.put(&finished.stdout);
    let result = finished.files.iter().find(|(path, _)| path == abi::RESULT_NAME);
    if let (TaskForm::Stepped, false, Some((_, result))) = (program.form(), kept, result) {
        ui.put(&[&result.to_vec()[..], b"\n"].concat());
    }
    let receipt = &finished.receipt;
    ui.note(format!(
        "{}, {} fuel, {}, {}",
        text::outcome(&receipt.outcome),
        text::fuel(receipt.fuel),
        match program.form() {
            TaskForm::Stepped => text::count(receipt.steps as usize, "step"),
            TaskForm::Command => "unstepped".to_owned(),
        },
        receipt.output.id().short(),
    ));
}

/// The exit code, or prose for a run that came to no end of its own.
pub(super) fn end(finished: &Finished, has_input: bool, ui: &Ui) -> Outcome {
    let outcome = &finished.receipt.outcome;
    let words = text::outcome(outcome);
    let failure = |exit, help: &str| Err(Failure::new(exit, format!("the task {words}")).help(help));
    match outcome {
        Ended::Exited { code: 0 } => Ok(Exit::Done),
        // A shell sees eight bits; what does not fit must not look like success.
        Ended::Exited { code } => Ok(Exit::Guest(u8::try_from(*code).unwrap_or(u8::MAX))),
        Ended::Failed => {
            if finished.stderr.is_empty() {
                ui.note("the task failed and gave no reason");
            }
            // The SDK names the file that it could not read.
            let input = format!("{}/{}", abi::INPUT_DIR, abi::INPUT_NAME);
            if !has_input && String::from_utf8_lossy(&finished.stderr).contains(&input) {
                ui.note(format!("  help: the task reads {input}: `--input PATH` gives it"));
            }
            Ok(Exit::Guest(1))
        }
        Ended::Trapped { .. } => failure(
            Exit::Trapped,
            "what it wrote to stderr is above; a panic in Rust traps, and so does running out of memory: \
             `--memory BYTES` gives it more",
        ),
        Ended::Exhausted { limit } => {
            let words = words.strip_prefix("exhausted: ").unwrap_or(&words);
            let help = match limit {
                Limit::Fuel => "`--fuel N` gives it more",
                Limit::StepFuel => "`--step-budget FUEL` gives each step more; a stepped task should do less in each",

                Limit::Steps => "a stepped task should do more in each step",
                Limit::Memory => "`--memory BYTES` gives it more",
            };
            Err(Failure::new(Exit::LimitReached, format!("the task used up its {words}")).help(help))
        }
    }
}
