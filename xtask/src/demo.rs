//! `cargo xtask demo`: a real network on this machine, with a liar in it, from a fresh clone.
//!
//! It builds the program and the example tasks, starts one validator and five hosts as processes of their own,
//! one of which reports wrong outputs, sends them real work, and shows who was paid and who was slashed. It
//! only drives the `samebit` program as a person would; every figure is read from its `-o json` output
//! (`spec/08-commands.md`). It fails when anything is off: a cheater that got away, an honest host that was
//! slashed, money that is not conserved, a process that is left.

mod crates;
mod figures;

use crate::EXAMPLES as TASKS;
use crate::children::{Devnet, capture, stdout_of};
use figures::{Account, Job, credits, table};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const HOSTS: usize = 5;
const CRATES_LEAST: usize = 30;
const CRATES: usize = 32;
/// Further jobs that are sent when chance has drawn the cheater for nothing.
const MORE_JOBS_MAX: usize = 8;
const WASM_TARGET: &str = "wasm32-wasip1";
const WASM_PROFILE: &str = "wasm";

/// What `mandelbrot` renders: a place in the valley of the seahorses.
const VIEW: &str =
    r#"{"width":720,"height":480,"centre":[-0.7453,0.1127],"scale":0.0065,"iterations":1000,"rows_per_step":24}"#;
/// Packing the whole picture into a PNG is one step.
const PICTURE_STEP_BUDGET: &str = "5000000000";

const HELP: &str = "\
cargo xtask demo [--crates N]

Builds everything, then runs a network of one validator and five hosts on this machine, one of which lies.
Leaves target/demo/report.json, mandelbrot.png, census.md and census.csv.

  --crates N   how many real crates to take the census of (default 32, at least 30)";

/// Runs the demo.
///
/// # Errors
/// Prose for people: what did not hold. Every process that was started has ended by then.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let Some(count) = options(args)? else {
        println!("{HELP}");
        return Ok(());
    };
    let begun = Instant::now();
    let place = Place::find()?;
    crate::set_up()?;
    crate::build()?;
    let built = begun.elapsed();
    println!("built in {:.1} s\n", built.as_secs_f64());

    let begun = Instant::now();
    let mut devnet = start(&place)?;
    let story = tell(&place, &devnet, count, built.as_secs_f64(), begun);
    let pids = devnet.pids();
    let stopped = devnet.stop();
    let story = story?;
    stopped?;
    if let Some(pid) = pids.iter().find(|pid| crate::children::is_running(**pid)) {
        return Err(format!("process {pid} of the devnet is still running"));
    }
    println!(
        "\nevery process has ended; {:.1} s after the build\n  {}\n  {}\n  {}\n  {}",
        begun.elapsed().as_secs_f64(),
        place.shown("report.json"),
        place.shown("mandelbrot.png"),
        place.shown("census.md"),
        place.shown("census.csv"),
    );
    if story.is_empty() {
        return Ok(());
    }
    Err(format!("the demo ran, but:\n  - {}", story.join("\n  - ")))
}

fn options(args: &[String]) -> Result<Option<usize>, String> {
    match args {
        [] => Ok(Some(CRATES)),
        [flag] if flag == "--help" || flag == "-h" => Ok(None),
        [flag, number] if flag == "--crates" => match number.parse() {
            Ok(count) if count >= CRATES_LEAST => Ok(Some(count)),
            _ => Err(format!("--crates is {number:?}, expected a number of at least {CRATES_LEAST}")),
        },
        _ => Err(format!("unknown arguments {args:?}\n\n{HELP}")),
    }
}

/// Where things are.
struct Place {
    root: PathBuf,
    demo: PathBuf,
    home: PathBuf,
    program: PathBuf,
    wasm: PathBuf,
    packages: Vec<crates::Package>,
}

impl Place {
    fn find() -> Result<Self, String> {
        let root = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(dir) => PathBuf::from(dir).join(".."),
            None => PathBuf::from("."),
        };
        let root = root.canonicalize().map_err(|error| format!("the workspace folder: {error}"))?;
        let metadata = crates::metadata(&root)?;
        let target = PathBuf::from(metadata["target_directory"].as_str().ok_or("cargo metadata has no target folder")?);
        let demo = target.join("demo");
        fs::create_dir_all(&demo).map_err(|error| format!("{}: {error}", demo.display()))?;
        Ok(Self {
            home: demo.join("home"),
            program: target.join("debug").join(format!("samebit{}", std::env::consts::EXE_SUFFIX)),
            wasm: target.join(WASM_TARGET).join(WASM_PROFILE),
            packages: crates::packages(&metadata),
            demo,
            root,
        })
    }

    fn module(&self, task: &str) -> PathBuf {
        self.wasm.join(format!("{}.wasm", task.replace('-', "_")))
    }

    fn samebit(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("SAMEBIT_HOME", &self.home)
            .env("SAMEBIT_LIFELINE", "1")
            .env_remove("SAMEBIT_NETWORK")
            .current_dir(&self.root)
            .args(args);
        command
    }

    /// Runs a command for its JSON; progress goes to the terminal.
    fn json(&self, args: &[&str]) -> Result<Value, String> {
        let text = stdout_of(self.samebit(&["-o", "json"]).args(args))?;
        serde_json::from_str(&text).map_err(|error| format!("samebit {}: not JSON: {error}", args.join(" ")))
    }

    fn shown(&self, name: &str) -> String {
        let path = self.demo.join(name);
        path.strip_prefix(&self.root).unwrap_or(&path).display().to_string()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), String> {
        let path = self.demo.join(name);
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn start(place: &Place) -> Result<Devnet, String> {
    if place.home.exists() {
        // A demo that was killed took its network down through the lifeline; this is for one that could not.
        let _ = capture(&mut place.samebit(&["-q", "devnet", "down"]));
        fs::remove_dir_all(&place.home).map_err(|error| format!("{}: {error}", place.home.display()))?;
    }
    for stale in ["crates", "results", "picture", "table"] {
        let _ = fs::remove_dir_all(place.demo.join(stale));
    }
    for stale in ["report.json", "mandelbrot.png", "census.md", "census.csv"] {
        let _ = fs::remove_file(place.demo.join(stale));
    }
    let hosts = HOSTS.to_string();
    let mut command = place.samebit(&[
        "-o",
        "jsonl",
        "-q",
        "devnet",
        "up",
        "--foreground",
        "--lifeline",
        "--hosts",
        &hosts,
        "--cheat",
        "wrong-output:1",
    ]);
    // It has a lifeline of its own, and takes its processes down in order when that ends.
    command.env_remove("SAMEBIT_LIFELINE");
    Devnet::start(command)
}

/// Everything between the network's start and its end. Returns what did not hold.
fn tell(place: &Place, devnet: &Devnet, count: usize, built: f64, begun: Instant) -> Result<Vec<String>, String> {
    let network_up = begun.elapsed().as_secs_f64();
    let names = figures::names(&devnet.about);
    let cheaters = figures::cheaters(&devnet.about);
    let before = figures::accounts(&place.json(&["ledger", "show"])?)?;

    let folder = place.demo.join("crates");
    let taken = crates::copy(&place.packages, &folder, count)?;
    if taken.len() < CRATES_LEAST {
        return Err(format!("only {} crates with sources were found, {CRATES_LEAST} are needed", taken.len()));
    }
    println!("\npublished");
    for task in TASKS {
        let module = place.module(task);
        let published = place.json(&["-q", "task", "publish", path(&module)?, "--name", task])?;
        let id = figures::short(published["task"].as_str().unwrap_or_default());
        println!(
            "  {id}  {task}, {} bytes, {}",
            published["module_bytes"],
            published["form"].as_str().unwrap_or_default()
        );
    }

    println!("\nordered: a census of {} crates that cargo fetched for this build, and a picture", taken.len());
    let posted = Instant::now();
    let census = submit(place, &["census", "--units-from", path(&folder)?])?;
    let view = place.demo.join("view.json");
    place.write("view.json", VIEW)?;
    let picture = submit(place, &["mandelbrot", "--input", path(&view)?, "--step-budget", PICTURE_STEP_BUDGET])?;
    let mut jobs = vec![watch(place, "census", &census)?, watch(place, "mandelbrot", &picture)?];
    let first_jobs = posted.elapsed().as_secs_f64();

    let guest = place.demo.join("guest.json");
    for number in 0..MORE_JOBS_MAX {
        if jobs.iter().any(|job| job.slashed().next().is_some()) {
            break;
        }
        println!("chance has not drawn the cheater yet: another job");
        place.write("guest.json", json!({"name": format!("guest {number}")}).to_string())?;
        let more = submit(place, &["hello", "--input", path(&guest)?])?;
        jobs.push(watch(place, "hello", &more)?);
    }

    let results = place.demo.join("results");
    place.json(&["-q", "job", "output", &census, "--results", "--out", path(&results)?])?;
    name_results(&results, &taken)?;
    let reduce = submit(place, &["census-table", "--input", path(&results)?])?;
    jobs.push(watch(place, "census-table", &reduce)?);
    keep_outputs(place, &picture, &reduce)?;
    let all_final = begun.elapsed().as_secs_f64();

    let disputed = jobs.iter().find_map(|job| job.disputed().next().map(|unit| (job.id.clone(), unit.unit)));
    let audit = match &disputed {
        Some((job, unit)) => Some(audit(place, job, *unit)?),
        None => None,
    };
    let verify = place.json(&["ledger", "verify"])?;
    let after = figures::accounts(&place.json(&["ledger", "show"])?)?;

    show_jobs(&jobs, &names);
    show_accounts(&before, &after, &names, &cheaters);
    if let Some((text, _)) = &audit {
        println!("\n{}", text.trim_end());
    }
    println!("\n{}", stdout_of(&mut place.samebit(&["ledger", "verify"]))?.trim_end());

    let wrong = check(&jobs, &names, &cheaters, &verify, &before, &after, audit.as_ref().map(|(_, value)| value));
    let report = json!({
        "schema": "samebit/demo/1",
        "held": wrong.is_empty(),
        "wrong": wrong,
        "seconds": {
            "build": built, "network_up": network_up, "census_and_mandelbrot": first_jobs, "all_final": all_final,
            "whole": begun.elapsed().as_secs_f64(),
        },
        "devnet": devnet.about,
        "crates": taken,
        "jobs": jobs.iter().map(Job::report).collect::<Vec<_>>(),
        "units": jobs.iter().flat_map(|job| job.unit_reports(&names)).collect::<Vec<_>>(),
        "accounts": figures::account_reports(&before, &after, &names, &cheaters),
        "audit": audit.map(|(_, value)| value),
        "ledger": verify,
    });
    place.write("report.json", format!("{:#}\n", report))?;
    Ok(wrong)
}

fn submit(place: &Place, args: &[&str]) -> Result<String, String> {
    let mut all = vec!["-q", "job", "submit"];
    all.extend(args);
    let job = place.json(&all)?;
    let id = job["job"].as_str().ok_or("job submit printed no job id")?.to_owned();
    let units = job["units"].as_array().map_or(0, Vec::len);
    println!("  {}  {}, {units} unit{}", figures::short(&id), args[0], if units == 1 { "" } else { "s" });
    Ok(id)
}

fn watch(place: &Place, name: &str, job: &str) -> Result<Job, String> {
    place.json(&["job", "watch", job, "--timeout", "120"])?;
    Job::read(name, &place.json(&["job", "show", job])?)
}

/// Gives each unit's result its crate's name: the table's task reads the name off the path.
fn name_results(results: &Path, taken: &[String]) -> Result<(), String> {
    for (unit, name) in taken.iter().enumerate() {
        let from = results.join(format!("{unit}.json"));
        fs::rename(&from, results.join(format!("{name}.json")))
            .map_err(|error| format!("the census of {name} has no result at {}: {error}", from.display()))?;
    }
    Ok(())
}

/// Takes the picture and the two tables out of the verified output trees.
fn keep_outputs(place: &Place, picture: &str, reduce: &str) -> Result<(), String> {
    let (picture_dir, table_dir) = (place.demo.join("picture"), place.demo.join("table"));
    place.json(&["-q", "job", "output", picture, "--out", path(&picture_dir)?])?;
    place.json(&["-q", "job", "output", reduce, "--out", path(&table_dir)?])?;
    for (folder, ending, name) in
        [(&picture_dir, "png", "mandelbrot.png"), (&table_dir, "md", "census.md"), (&table_dir, "csv", "census.csv")]
    {
        let found = crates::find_ending(folder, ending)
            .ok_or_else(|| format!("no .{ending} file among the outputs in {}", folder.display()))?;
        fs::copy(&found, place.demo.join(name)).map_err(|error| format!("{}: {error}", found.display()))?;
    }
    Ok(())
}

fn audit(place: &Place, job: &str, unit: u64) -> Result<(String, Value), String> {
    let unit = unit.to_string();
    let text = stdout_of(&mut place.samebit(&["audit", "job", job, "--unit", &unit]))?;
    Ok((text, place.json(&["-q", "audit", "job", job, "--unit", &unit])?))
}

fn show_jobs(jobs: &[Job], names: &BTreeMap<String, String>) {
    let mut rows = vec![
        ["job", "task", "units", "final", "agreed at once", "disputed", "referees", "slashed"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for job in jobs {
        let slashed: Vec<_> = job.slashed().map(|key| figures::name(names, key)).collect();
        rows.push(vec![
            figures::short(&job.id),
            job.name.clone(),
            job.units.len().to_string(),
            job.units.iter().filter(|unit| unit.phase == "final").count().to_string(),
            job.units.iter().filter(|unit| unit.phase == "final" && !unit.disputed).count().to_string(),
            job.disputed().count().to_string(),
            job.units.iter().map(|unit| unit.referees).sum::<u64>().to_string(),
            if slashed.is_empty() { "nobody".to_owned() } else { slashed.join(", ") },
        ]);
    }
    println!("\nverdicts\n{}", table(&rows));
}

fn show_accounts(
    before: &[Account],
    after: &[Account],
    names: &BTreeMap<String, String>,
    cheaters: &BTreeMap<String, String>,
) {
    let head = ["account", "credits before", "bond before", "credits after", "bond after", "change", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for account in after {
        let was = before.iter().find(|was| was.key == account.key);
        let (balance, bond) = was.map_or((0, 0), |was| (was.balance, was.bond()));
        rows.push(vec![
            figures::name(names, &account.key),
            credits(balance),
            credits(bond),
            credits(account.balance),
            credits(account.bond()),
            figures::change(balance + bond, account.balance + account.bond()),
            cheaters.get(&account.key).cloned().unwrap_or_default(),
        ]);
    }
    println!("\nbalances\n{}", table(&rows));
}

/// What must be true of the end. Each sentence that is returned is a failure of the demo.
fn check(
    jobs: &[Job],
    names: &BTreeMap<String, String>,
    cheaters: &BTreeMap<String, String>,
    verify: &Value,
    before: &[Account],
    after: &[Account],
    audit: Option<&Value>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for job in jobs {
        for unit in job.units.iter().filter(|unit| unit.phase != "final") {
            wrong.push(format!("unit {} of {} ended as {}, not final", unit.unit, job.name, unit.phase));
        }
        for unit in job.units.iter().filter(|unit| unit.phase == "final" && unit.outcome != "exited 0") {
            wrong.push(format!("unit {} of {} came back as {:?}", unit.unit, job.name, unit.outcome));
        }
        for host in job.slashed().filter(|host| !cheaters.contains_key(*host)) {
            wrong.push(format!("the honest {} was slashed in {}", figures::name(names, host), job.name));
        }
    }
    for (key, cheat) in cheaters {
        let name = figures::name(names, key);
        if !jobs.iter().any(|job| job.slashed().any(|host| host == key)) {
            wrong.push(format!("{name} ({cheat}) was not slashed"));
        }
        let worth = |accounts: &[Account]| accounts.iter().find(|account| &account.key == key).map(Account::total);
        if worth(after) >= worth(before) {
            wrong.push(format!("{name} ({cheat}) is not poorer than before"));
        }
    }
    if verify["conserved"] != Value::Bool(true) {
        wrong.push("the ledger's money is not conserved".to_owned());
    }
    match audit {
        None => wrong.push("no unit was disputed, so none could be audited".to_owned()),
        Some(audit) if audit["verdict"] != "right" => {
            wrong.push(format!("the audit says that the verdict is {}", audit["verdict"]));
        }
        Some(_) => {}
    }
    wrong
}

fn path(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}
