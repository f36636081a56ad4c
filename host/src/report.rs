//! How the program speaks: stdout is data, stderr is narration (`spec/08-commands.md`).

use crate::exit::Exit;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{ErrorKind, IsTerminal, Write},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What stdout carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people. Not a stable interface.
    #[default]
    Text,
    /// One JSON object with a `schema` field.
    Json,
    /// One JSON object per line, as events happen.
    Jsonl,
}

/// A failure in prose: what happened, then the command that helps.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, with the values; a fragment without a full stop.
    pub what: String,
    /// What to do about it, with the command to type.
    pub help: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What every command returns.
pub type Outcome = Result<Exit, Failure>;

/// Where a command writes.
#[derive(Clone, Debug)]
pub struct Ui {
    /// What stdout carries.
    pub format: Format,
    /// No narration and no progress.
    pub quiet: bool,
    /// The network that was asked for; `None` is the devnet that runs here.
    pub network: Option<String>,
    /// The home folder that was asked for.
    pub home: Option<PathBuf>,
    /// Why stdout no longer takes data, once it did not. `main` turns it into the program's end.
    pub broken: Arc<OnceLock<String>>,
}

impl Ui {
    /// Writes narration to stderr.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Writes the command's result to stdout: `text` for people, or `value` as JSON.
    ///
    /// `value` serialises to an object with a field `schema`, such as `"samebit/job/1"`.
    pub fn data(&self, text: impl FnOnce() -> String, value: &impl Serialize) {
        let out = match self.format {
            Format::Text => text(),
            Format::Json => serde_json::to_string_pretty(value).expect("our own types serialise"),
            Format::Jsonl => serde_json::to_string(value).expect("our own types serialise"),
        };
        self.put(format!("{}\n", out.trim_end_matches('\n')).as_bytes());
    }

    /// Writes bytes to stdout as they are. A failure is kept in [`Self::broken`], and nothing is written after it.
    pub fn put(&self, bytes: &[u8]) {
        if self.broken.get().is_some() {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // A closed pipe (`| head`) is the reader's wish, not an error.
            if error.kind() != ErrorKind::BrokenPipe {
                let _ = self.broken.set(error.to_string());
            }
        }
    }

    /// What a command came to, unless its data could not be written.
    pub fn close(&self, outcome: Outcome) -> Outcome {
        match (outcome, self.broken.get()) {
            (Ok(_), Some(error)) => Err(Failure::new(Exit::Environment, format!("cannot write to stdout: {error}"))
                .help("what was printed is not complete; what was done is done")),
            (outcome, _) => outcome,
        }
    }

    /// Writes an event of a longer command: a line of JSON for `-o jsonl`, narration otherwise.
    pub fn event(&self, text: impl AsRef<str>, value: &impl Serialize) {
        match self.format {
            Format::Jsonl => self.data(String::new, value),
            Format::Text | Format::Json => self.note(text),
        }
    }

    /// Writes a failure: prose, and for programs one JSON object, the last line of stderr.
    pub fn failure(&self, failure: &Failure) {
        let (red, plain) = if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        eprintln!("{red}error{plain}: {}", failure.what);
        if let Some(help) = &failure.help {
            eprintln!("  help: {help}");
        }
        if self.format != Format::Text {
            let object = serde_json::json!({
                "schema": "samebit/failure/1",
                "exit": failure.exit.code(),
                "error": failure.what,
                "help": failure.help,
            });
            eprintln!("{object}");
        }
    }

    /// A progress bar of `len` bytes on stderr.
    pub fn bytes_bar(&self, len: u64, label: impl Into<Cow<'static, str>>) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(len), self.target()).with_message(label);
        let template = "{msg:24} {wide_bar} {bytes}/{total_bytes} {elapsed}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is ours"));
        bar
    }

    /// A progress bar of `len` on stderr, or one that draws nothing where nobody would see it.
    pub fn bar(&self, len: u64, label: impl Into<Cow<'static, str>>) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(len), self.target()).with_message(label);
        bar.set_style(
            ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {elapsed}").expect("the template is ours"),
        );
        bar
    }

    /// A spinner on stderr for work of unknown length.
    pub fn spinner(&self, label: impl Into<Cow<'static, str>>) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, self.target()).with_message(label);
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is ours"));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn target(&self) -> ProgressDrawTarget {
        if self.quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        }
    }
}
