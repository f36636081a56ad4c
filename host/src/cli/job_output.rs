//! `samebit job output`: fetches what hosts agreed on, checks it against the receipt, hands it over.

use super::job;
use crate::{
    context::{Context, Network, blob_failure},
    exit::Exit,
    report::{Failure, Format, Outcome, Ui},
    text, view,
};
use samebit_blobs::BlobStore;
use samebit_market::{summary, words};
use samebit_spec::{
    abi,
    content::Tree,
    id::{JobId, ReceiptId},
    job::JobRecord,
    receipt::Receipt,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Longest text that is put into a JSON object as it is.
const INLINE_MAX: u64 = 1 << 20;

/// Fetch what the hosts of a job agreed on, and check every byte against the receipt.
///
/// Without --out the result of a single unit is printed: what the task returned, or else its stdout.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  samebit job output 3f9a                      prints the one unit's result
  samebit job output 3f9a --unit 2 --out out/  writes out/2/ with every file of unit 2, out/2.stdout
  samebit job output 3f9a --out out/           writes out/0/, out/1/, ...
  samebit job output 3f9a --results --out r/   writes r/0.json, r/1.json, ... with what each unit returned")]
pub struct OutputArgs {
    /// The job, by a prefix of its id.
    job: String,
    /// This unit only.
    #[arg(long, value_name = "N")]
    unit: Option<u32>,
    /// The folder to write to; what is there is not overwritten.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write only what each unit returned, as DIR/UNIT.json. Units that returned nothing are named on stderr.
    #[arg(long, requires = "out")]
    results: bool,
}

/// A unit's output: a member of `samebit/output/1`.
#[derive(Serialize)]
struct OutputView {
    unit: u32,
    standing: &'static str,
    receipt: String,
    outcome: String,
    fuel: u64,
    output: String,
    stdout: Option<String>,
    stdout_blob: String,
    stdout_bytes: u64,
    result: Option<Value>,
    files: Vec<FileView>,
    written: Option<String>,
}

#[derive(Serialize)]
struct FileView {
    path: String,
    blob: String,
    bytes: u64,
}

/// A unit's output, fetched and verified.
struct Fetched {
    unit: u32,
    standing: &'static str,
    id: ReceiptId,
    receipt: Receipt,
    tree: Tree,
}

/// Runs the command.
pub fn run(args: OutputArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    let (mut network, store) = (context.connect()?, context.store()?);
    let id = job::find(&network, &args.job)?;
    let record = job::record(&network, &id)?.clone();
    let units: Vec<u32> = match args.unit {
        Some(unit) => job::unit_of(&record, &id, unit).map(|_| vec![unit])?,
        None => (0..).zip(&record.units).map(|(at, _)| at).collect(),
    };
    if args.out.is_none() && units.len() > 1 && ui.format == Format::Text {
        let what = format!("{} has {} units", id.short(), units.len());
        return Err(
            Failure::new(Exit::Usage, what).help("choose one with `--unit N`, or write them all with `--out DIR`")
        );
    }
    let bar = ui.bar(units.len() as u64, "fetching outputs");
    let mut views = Vec::new();
    let mut without = Vec::new();
    for unit in units {
        let fetched = match fetch(&mut network, &store, &id, &record, unit) {
            Ok(fetched) => fetched,
            // One unit that came to nothing hides the results of no other.
            Err(failure) if args.results && failure.exit == Exit::NotFound => {
                without.push(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if args.results && fetched.result(&store)?.is_none() {
            let outcome = text::outcome(&fetched.receipt.outcome);
            without.push(Failure::new(Exit::NotFound, format!("unit {unit} returned nothing ({outcome})")).help(
                "without `--results` every file that it wrote is kept; `samebit run --input PATH TASK` shows its stderr",
            ));
            continue;
        }
        let written = args.out.as_deref().map(|out| fetched.write(&store, out, args.results)).transpose()?;
        if written.is_none() && ui.format == Format::Text {
            fetched.print(&store, ui)?;
        }
        views.push(fetched.view(&store, written)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    for failure in &without {
        ui.note(&failure.what);
    }
    if views.is_empty()
        && let Some(failure) = without.into_iter().next()
    {
        return Err(failure);
    }
    say(&views, &id, args.out.as_deref(), ui);
    Ok(Exit::Done)
}

fn say(views: &[OutputView], id: &JobId, out: Option<&Path>, ui: &Ui) {
    let provisional = views.iter().any(|view| view.standing == "provisional");
    let standing = if provisional { "provisional: the window has not ended" } else { "final" };
    ui.note(format!("{}: {}, {standing}", id.short(), text::count(views.len(), "verified output")));
    if ui.format == Format::Text && views.iter().any(|view| view.outcome != "exited 0") {
        ui.note("a unit did not exit with 0: `samebit run --input PATH TASK` with its input shows its stderr");
    }
    let object = serde_json::json!({"schema": "samebit/output/1", "job": id.to_string(), "units": views});
    match (ui.format, out) {
        (Format::Json | Format::Jsonl, _) => ui.data(String::new, &object),
        (Format::Text, Some(_)) => {
            let mut lines = Vec::new();
            for view in views {
                lines.extend(view.written.iter().map(|path| format!("{path}  {}", view.outcome)));
            }
            ui.data(|| lines.join("\n"), &object);
        }
        (Format::Text, None) => {}
    }
}

/// Fetches one unit's agreed output; each blob is checked against its hash on the way.
fn fetch(
    network: &mut Network,
    store: &BlobStore,
    id: &JobId,
    record: &JobRecord,
    unit: u32,
) -> Result<Fetched, Failure> {
    let unit_record = &record.units[job::unit_of(record, id, unit)?];
    let Some(receipt) = summary::upheld_receipt(unit_record) else {
        let phase = words::unit_phase(&unit_record.phase);
        return Err(Failure::new(
            Exit::NotFound,
            format!("unit {unit} of {} has no result: it is {phase}", id.short()),
        )
        .help(format!("`samebit job watch {}` waits for it", id.short())));
    };
    let tree = network.fetch_tree(&receipt.output.tree, store)?;
    network.fetch(&receipt.output.stdout, store)?;
    Ok(Fetched {
        unit,
        standing: view::unit_standing(&unit_record.phase),
        id: receipt.id(),
        receipt: receipt.clone(),
        tree,
    })
}

impl Fetched {
    /// What the task returned, where it returned something.
    fn result(&self, store: &BlobStore) -> Result<Option<Vec<u8>>, Failure> {
        let Some(file) = self.tree.files().iter().find(|file| file.path == abi::RESULT_NAME) else { return Ok(None) };
        store.read(&file.blob).map(Some).map_err(|error| blob_failure(&error))
    }

    fn stdout(&self, store: &BlobStore) -> Result<Vec<u8>, Failure> {
        store.read(&self.receipt.output.stdout).map_err(|error| blob_failure(&error))
    }

    fn print(&self, store: &BlobStore, ui: &Ui) -> Result<(), Failure> {
        let stdout = self.stdout(store)?;
        let mut bytes = match self.result(store)? {
            Some(result) => result,
            None => stdout,
        };
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        ui.put(&bytes);
        Ok(())
    }

    fn write(&self, store: &BlobStore, out: &Path, results: bool) -> Result<String, Failure> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| Failure::new(Exit::Environment, format!("{path}: {error}"))
        };
        fs::create_dir_all(out).map_err(io(out))?;
        if results {
            let path = out.join(format!("{}.json", self.unit));
            // The caller has looked: a unit that returned nothing does not come here.
            write_new(&path, &self.result(store)?.unwrap_or_default())?;
            return Ok(path.display().to_string());
        }
        let folder = out.join(self.unit.to_string());
        store.export_tree(&self.receipt.output.tree, &folder).map_err(|error| blob_failure(&error))?;
        let stdout = self.stdout(store)?;
        if !stdout.is_empty() {
            write_new(&out.join(format!("{}.stdout", self.unit)), &stdout)?;
        }
        Ok(folder.display().to_string())
    }

    fn view(&self, store: &BlobStore, written: Option<String>) -> Result<OutputView, Failure> {
        let output = &self.receipt.output;
        let inline = output.stdout.len.0 <= INLINE_MAX;
        let stdout = if inline { String::from_utf8(self.stdout(store)?).ok() } else { None };
        let result = self.result(store)?.filter(|bytes| bytes.len() as u64 <= INLINE_MAX);
        Ok(OutputView {
            unit: self.unit,
            standing: self.standing,
            receipt: self.id.to_string(),
            outcome: text::outcome(&self.receipt.outcome),
            fuel: self.receipt.fuel.0,
            output: output.id().to_string(),
            stdout,
            stdout_blob: output.stdout.id.to_string(),
            stdout_bytes: output.stdout.len.0,
            result: result.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            files: self.tree.files().iter().map(FileView::new).collect(),
            written,
        })
    }
}

impl FileView {
    fn new(file: &samebit_spec::content::TreeFile) -> Self {
        Self { path: file.path.clone(), blob: file.blob.id.to_string(), bytes: file.blob.len.0 }
    }
}

/// Writes a file that is not there yet, complete or not at all.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        Failure::new(Exit::Environment, format!("{}: {error}", path.display())).help("give `--out` a new folder")
    };
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path).map_err(failure)?;
    file.write_all(bytes).map_err(|error| {
        let _ = fs::remove_file(path);
        failure(error)
    })
}
