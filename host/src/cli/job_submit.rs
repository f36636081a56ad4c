//! `samebit job submit`: from files here to an order on the ledger.

use super::{
    job, options,
    task::{self, Module},
};
use crate::{
    context::{Context, Network, blob_failure},
    draw,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
};
use clap::value_parser;
use samebit_blobs::BlobStore;
use samebit_market::plan::{self, Plan, Risk};
use samebit_spec::{
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::Limits,
    id::{AuditSeal, TaskId},
    job::JobSpec,
    offer::{Needs, TensorNeed},
    param,
    unit::{BasisPoints, Bytes, Fuel, FuelPrice, MicroCredits, Millis},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// Send work to the hosts.
///
/// Each unit is an input of its own and is placed, checked and paid by itself. It lands only on hosts that offer what it needs:
/// memory, room for its input and output, the task's tensor operations, and what --tensor asks. The most that the job can cost is
/// locked when it is posted, and what is not used comes back. Inputs and outputs are public.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("own").args(["inputs", "units_from"]).multiple(true)))]
#[command(after_help = "\
Examples:
  samebit job submit hello --input name.json --wait
  samebit job submit hello.wasm --wait                publishes the module first, when it is new
  samebit job submit census --units-from crates/      a unit for each entry of the folder
  samebit job submit embed --units-from texts/ --into texts --with input=ask.json --with model=minilm/ --tensor gpu
  samebit job submit census --input src/ --at-risk 50 --wait     as many hosts and audits as 50 credits at risk need
  samebit job submit census --input src/ --replicas 3 --seed 00ff -- --verbose")]
pub struct SubmitArgs {
    /// The task: a prefix of its id, its name, a .wasm module or a project's folder.
    task: String,
    /// Input of one unit: a folder is seen at /in, a file at /in/input. May be given again.
    #[arg(long = "input", value_name = "PATH")]
    inputs: Vec<PathBuf>,
    /// Makes each entry of this folder the input of a unit, in the order of their names.
    #[arg(long, value_name = "DIR", conflicts_with = "inputs")]
    units_from: Option<PathBuf>,
    /// Put each unit's own input below this folder of /in, under its own name.
    #[arg(long, value_name = "FOLDER", requires = "own", value_parser = options::below_input)]
    into: Option<String>,
    /// Put this file or folder into the input of every unit, at NAME below /in. May be given again. Sent once.
    #[arg(long = "with", value_name = "NAME=PATH", value_parser = options::shared)]
    shared: Vec<(String, PathBuf)>,
    /// Hosts that run each unit and are compared. Default: 2, or with --at-risk as few as will do.
    #[arg(long, value_name = "K", value_parser = value_parser!(u8).range(1..=i64::from(param::REPLICAS_MAX)))]
    replicas: Option<u8>,
    /// Chance that a unit is run once more, blind, by a host drawn after its own are bound: as 5% or 0.5%.
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = options::share)]
    audit: BasisPoints,
    /// What a wrong result of a unit is worth to somebody, in credits: hosts and audits are chosen so that lying does not pay.
    ///
    /// Reckons with one liar who holds a fifth of all bond. Refused when bonds do not cover it. --replicas is then the least.
    #[arg(long, value_name = "CREDITS", conflicts_with = "audit", value_parser = options::credits)]
    at_risk: Option<MicroCredits>,
    /// Of that, what they gain already when you act on a result before it is final.
    #[arg(long, value_name = "CREDITS", requires = "at_risk", value_parser = options::credits)]
    acted_on: Option<MicroCredits>,
    /// Micro-credits per million fuel, paid to each host.
    #[arg(long, default_value_t = param::PRICE_DEFAULT.0, value_parser = options::price())]
    price: u64,
    /// Most fuel of a run.
    #[arg(long, default_value_t = param::FUEL_DEFAULT.0, value_parser = options::fuel())]
    fuel: u64,
    /// Most bytes of linear memory.
    #[arg(long, value_name = "BYTES", default_value_t = param::MEMORY_DEFAULT.0, value_parser = options::memory())]
    memory: u64,
    /// What must compute its tensors: any, cpu, adapter, gpu or discrete, the last three with kinds as in gpu:f32,i8.
    ///
    /// The bits are the same everywhere. `cpu` excludes the hosts that offer an adapter, though theirs would be the same too.
    /// `adapter` is any that passed the conformance gate, also one that a processor plays; `discrete` is a GPU with memory of
    /// its own. Hosts say what they have, and nobody can check it.
    #[arg(long, value_name = "WHERE", default_value = "any", value_parser = options::tensors)]
    tensor: TensorNeed,
    /// Most fuel of a step.
    #[arg(long, value_name = "FUEL", default_value_t = param::STEP_BUDGET_DEFAULT.0)]
    #[arg(value_parser = options::fuel())]
    step_budget: u64,
    /// Seed of the task's randomness: up to 64 hexadecimal digits. Public. Default: zeros.
    ///
    /// An odd digit gets a zero before it, and what is missing is filled up with zeros at the end: `f` is 0f00...
    #[arg(long, value_name = "HEX", default_value = "", hide_default_value = true, value_parser = options::seed)]
    seed: [u8; 32],
    /// Seconds after which a unit without a result is given up and refunded.
    #[arg(long, value_name = "SECONDS", default_value_t = param::DEADLINE_DEFAULT.0 / 1000)]
    deadline: u64,
    /// A variable of the task's environment. May be given again; of one name the last counts.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = options::variable)]
    env: Vec<(String, String)>,
    /// The key that pays.
    #[arg(long, default_value = "default")]
    key: String,
    /// Post the job even when too few hosts could take it now.
    #[arg(long)]
    anyway: bool,
    /// Wait until every unit has ended.
    #[arg(long)]
    wait: bool,
    /// Longest wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Arguments of the task.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs the command.
pub fn run(args: SubmitArgs, ui: &Ui) -> Outcome {
    let context = Context::new(ui)?;
    let inputs = inputs(&args)?;
    // Without a network there is no use for a key, and none yet where `devnet up` makes it.
    context.invitation()?;
    let key = context.key(&args.key)?;
    let (mut network, store) = (context.connect()?, context.store()?);
    network.expect_account(&args.key, &key)?;
    let (task, module) = task_for(&mut network, &store, &context, &args, ui)?;

    ui.note("inputs and outputs of a job are public");
    let (units, mut blobs, largest) = keep(&store, &inputs, args.into.as_deref(), &args.shared, ui)?;
    blobs.insert(module);

    if args.tensor != TensorNeed::Any && network.task(&task).is_none_or(|task| task.tensor_ops.0 == 0) {
        return Err(Failure::new(Exit::Usage, format!("--tensor: {} computes no tensors", network.task_name(&task)))
            .help("leave it out"));
    }
    let assured = assure(&network, &args, ui)?;
    let state = network.state();
    let buyer = key.public();
    let spec = JobSpec {
        buyer,
        nonce: 0,
        task,
        units,
        args: args.args,
        env: options::last_wins(args.env),
        seed: args.seed,
        limits: Limits { fuel: Fuel(args.fuel), memory: Bytes(args.memory), ..Limits::default() },
        needs: Needs { inputs: largest, tensors: args.tensor },
        step_budget: Fuel(args.step_budget.min(args.fuel)),
        replicas: assured.replicas,
        audit: assured.audit,
        // The order's own is made where its nonce is known.
        seal: (args.wait && assured.audit.0 > 0).then(AuditSeal::default),
        price: FuelPrice(args.price),
        deadline: Millis(args.deadline.saturating_mul(1000)),
        params: state.params().id(),
    };
    afford(&network, &spec, &args.key, ui)?;
    if let Some(shortage) = draw::shortage(network.state(), &spec) {
        if !args.anyway {
            return Err(Failure::new(Exit::Refused, shortage.what).help(shortage.help));
        }
        ui.note(format!("posted all the same: {}", shortage.what));
    }

    let blobs: Vec<_> = blobs.into_iter().collect();
    network.push(&store, &blobs, ui, "upload")?;
    let id = network.post(&key, spec)?;
    ui.note(format!("posted {id}"));
    if args.wait {
        return job::watch(&context, &mut network, &id, Duration::from_secs(args.timeout), ui);
    }
    job::print(&context, &network, &id, None, ui)
}

/// What the units' inputs are. None given: one unit whose input is empty.
fn inputs(args: &SubmitArgs) -> Result<Vec<PathBuf>, Failure> {
    let Some(folder) = &args.units_from else { return Ok(args.inputs.clone()) };
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::NotFound, format!("--units-from {}: {error}", folder.display()));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    // By the bytes of the name, so that units are numbered alike on every machine.
    entries.sort();
    if entries.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("--units-from {} is empty", folder.display())));
    }
    Ok(entries)
}

/// The task and its code; a module that is given as a file is published first.
fn task_for(
    network: &mut Network,
    store: &BlobStore,
    context: &Context,
    args: &SubmitArgs,
    ui: &Ui,
) -> Result<(TaskId, BlobRef), Failure> {
    let path = Path::new(&args.task);
    let is_file = path.extension().is_some_and(|ending| ending == "wasm") || super::build::is_project(path);
    if !is_file {
        let (id, manifest) = task::find(network, &args.task)?;
        if manifest.name == args.task {
            ui.note(format!("{} is {id}, the latest of that name", manifest.name));
        }
        return Ok((id, manifest.module));
    }
    let module = Module::read(path, None, None, ui)?;
    // The same code under another description is the same work: an order takes what is published.
    let known = network.tasks().into_iter().rev();
    if let Some((id, manifest)) = known.into_iter().find(|(_, known)| known.module == module.manifest.module) {
        return Ok((id, manifest.module));
    }
    let (id, _) = task::publish(network, store, &context.key(&args.key)?, &module, ui)?;
    ui.note(format!("published {} as {id}", module.manifest.name));
    Ok((id, module.manifest.module))
}

/// Takes the inputs into the store of this machine. Returns a tree per unit, every blob that keepers need, and the bytes of the
/// files of the largest unit.
fn keep(
    store: &BlobStore,
    inputs: &[PathBuf],
    into: Option<&str>,
    shared: &[(String, PathBuf)],
    ui: &Ui,
) -> Result<(Vec<TreeRef>, BTreeSet<BlobRef>, Bytes), Failure> {
    if inputs.len() > param::UNITS_MAX {
        let what = format!("{} units, at most {} fit in a job", inputs.len(), param::UNITS_MAX);
        return Err(Failure::new(Exit::Usage, what).help("submit several jobs"));
    }
    let (mut manifests, mut files, mut largest) = (BTreeSet::new(), BTreeSet::new(), Bytes::ZERO);
    let mut keep_tree = |tree: &Tree| {
        let named = tree.tree_ref();
        manifests.insert(named.manifest());
        largest = largest.max(tree.total());
        files.extend(tree.files().iter().map(|file| file.blob));
        named
    };
    let mut skipped = 0;
    let mut common = Vec::new();
    for (name, path) in shared {
        let scanned = store.put_path(path).map_err(|error| blob_failure(&error))?;
        skipped += scanned.skipped.len();
        common.extend(moved(&scanned.tree, name, path.is_file()));
    }
    let join = |own: Vec<TreeFile>| {
        let tree = Tree::new(common.iter().cloned().chain(own).collect()).map_err(|error| {
            Failure::new(Exit::Usage, format!("a unit's input and --with do not go together: {error}"))
                .help("each file of /in has one place; `--into` puts a unit's own below a folder")
        })?;
        store.put_tree(&tree).map_err(|error| blob_failure(&error))?;
        Ok::<_, Failure>(tree)
    };
    let mut units = Vec::with_capacity(inputs.len().max(1));
    if inputs.is_empty() {
        units.push(keep_tree(&join(Vec::new())?));
    }
    let bar = ui.bar(inputs.len() as u64, "hashing inputs");
    for input in inputs {
        let scanned = store.put_path(input).map_err(|error| blob_failure(&error))?;
        skipped += scanned.skipped.len();
        let tree = if into.is_none() && shared.is_empty() {
            scanned.tree
        } else {
            join(match (into, input.file_name().and_then(|name| name.to_str())) {
                (None, _) => scanned.tree.files().to_vec(),
                (Some(into), Some(name)) => moved(&scanned.tree, &format!("{into}/{name}"), input.is_file()),
                (Some(into), None) => moved(&scanned.tree, into, input.is_file()),
            })?
        };
        units.push(keep_tree(&tree));
        bar.inc(1);
    }
    bar.finish_and_clear();
    if skipped > 0 {
        let what = text::count(skipped, "entry").replace("entrys", "entries");
        ui.note(format!("left out {what} that are no regular files, such as links"));
    }
    if let Some(failure) = too_large(largest, &files) {
        return Err(failure);
    }
    manifests.extend(files);
    Ok((units, manifests, largest))
}

/// Whether a keeper would not sign for these inputs: the files of the largest unit, and the different files of all.
fn too_large(largest: Bytes, files: &BTreeSet<BlobRef>) -> Option<Failure> {
    if largest > param::INPUTS_MAX {
        let most = text::bytes(param::INPUTS_MAX);
        let what = format!("a unit has {} of files, at most {most} are taken", text::bytes(largest));
        return Some(Failure::new(Exit::Refused, what).help("more, smaller units"));
    }
    let bytes = Bytes(files.iter().fold(0, |bytes: u64, blob| bytes.saturating_add(blob.len.0)));
    let what = if files.len() > param::CUSTODY_FILES_MAX {
        format!("the units have {} different files, a keeper takes {} of a job", files.len(), param::CUSTODY_FILES_MAX)
    } else if bytes > param::CUSTODY_BYTES_MAX {
        let most = text::bytes(param::CUSTODY_BYTES_MAX);
        format!("the units have {} of different files, a keeper takes {most} of a job", text::bytes(bytes))
    } else {
        return None;
    };
    Some(Failure::new(Exit::Refused, what).help("submit several jobs"))
}

/// The files of what was scanned, below `name`, or one file at `name`.
fn moved(tree: &Tree, name: &str, is_file: bool) -> Vec<TreeFile> {
    let at = |file: &TreeFile| if is_file { name.to_owned() } else { format!("{name}/{}", file.path) };
    tree.files().iter().map(|file| TreeFile { path: at(file), blob: file.blob }).collect()
}

/// How many hosts and audits the order asks for.
fn assure(network: &Network, args: &SubmitArgs, ui: &Ui) -> Result<Plan, Failure> {
    let replicas = args.replicas.unwrap_or(param::REPLICAS_DEFAULT);
    let runs = u32::from(replicas) * 10_000 + u32::from(args.audit.0);
    let Some(value) = args.at_risk else {
        let asked = Plan { replicas, audit: args.audit, runs };
        sealing(args, asked.audit, ui);
        return Ok(asked);
    };
    let params = network.state().params();
    let Some(reward) = FuelPrice(args.price).cost(Fuel(args.fuel)) else {
        return Err(
            Failure::new(Exit::Refused, "a run's reward is more than there is money").help("lower --fuel or --price")
        );
    };
    let risk = Risk { value, provisional: args.acted_on.unwrap_or_default().min(value), ..Risk::default() };
    let plan = plan::plan(reward, args.replicas.unwrap_or(1), params, &risk).map_err(|uncovered| {
        let most = text::credits(uncovered.covered);
        Failure::new(
            Exit::Refused,
            format!(
                "--at-risk {}: bonds cover at most {most} credits a unit, with {} and every unit audited",
                text::credits(uncovered.value),
                text::count(uncovered.replicas.into(), "host"),
            ),
        )
        .help("split the work so that less hangs on a unit, or raise --price or --fuel: a run's bond is a multiple of what it earns")
    })?;
    ui.note(format!(
        "for {} credits at risk: {} a unit, each audited with a chance of {}",
        text::credits(value),
        text::count(plan.replicas.into(), "host"),
        plan.audit
    ));
    let (hosts, counted) =
        (network.state().hosts().len(), usize::from(plan.replicas) + 1 + usize::from(params.referees));
    if hosts < counted {
        ui.note(format!(
            "the plan counts on referees, and this network has {}: {counted} are needed before a dispute can be decided",
            text::count(hosts, "host")
        ));
    }
    sealing(args, plan.audit, ui);
    Ok(plan)
}

/// Says who takes part in the draw of audits.
fn sealing(args: &SubmitArgs, audit: BasisPoints, ui: &Ui) {
    if audit.0 == 0 {
        return;
    }
    ui.note(if args.wait {
        "this command takes part in the draw of audits: whatever is drawn while it is away is audited for certain"
    } else {
        "audits are drawn by the validator's beacon alone: with --wait this command takes part in the draw"
    });
}

/// Says what the job may cost, and refuses it here when the ledger would.
fn afford(network: &Network, spec: &JobSpec, key: &str, ui: &Ui) -> Result<(), Failure> {
    let params = network.state().params();
    let count = spec.units.len() as u64;
    let runs = u64::from(spec.replicas) + u64::from(spec.audit.0 > 0) + u64::from(params.referees_all);
    let escrow = spec.reward_max().and_then(|reward| reward.checked_mul(runs)?.checked_mul(count));
    let fees = params.unit_fee.checked_mul(count).and_then(|fees| fees.checked_add(params.post_fee));
    let Some((escrow, fees)) = escrow.zip(fees) else {
        return Err(Failure::new(Exit::Refused, "the job's worst case costs more than there is money")
            .help("lower --fuel, --price or the number of units"));
    };
    let (needs, holds) = (escrow.saturating_add(fees), network.state().balance(&spec.buyer));
    let usual = spec.reward_max().and_then(|reward| {
        reward.checked_mul(u64::from(spec.replicas) + u64::from(spec.audit.0 > 0))?.checked_mul(count)
    });
    ui.note(format!(
        "{}, {} each: at most {} credits when hosts agree, {} when every result is contested; \
         fees {} credits. What is not used comes back.",
        text::count(spec.units.len(), "unit"),
        text::count(usize::from(spec.replicas), "host"),
        text::credits(usual.unwrap_or(MicroCredits::ZERO)),
        text::credits(escrow),
        text::credits(fees),
    ));
    if holds < needs {
        return Err(Failure::new(
            Exit::Refused,
            format!("key {key:?} holds {} credits, the job locks {}", text::credits(holds), text::credits(needs)),
        )
        .help("lower --fuel, --price, --replicas or the number of units, or pay with another --key"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SubmitArgs,
    }

    #[test]
    fn a_place_for_the_units_own_input_needs_such_input() {
        let read =
            |words: &[&str]| Line::try_parse_from([&["submit", "task"], words].concat()).map(|line| line.args.into);
        let refused = read(&["--into", "texts", "--with", "model=model"]).expect_err("nothing would be put there");
        assert!(refused.to_string().contains("--units-from"), "{refused}");
        for given in ["--input", "--units-from"] {
            assert_eq!(read(&["--into", "texts", given, "here"]).expect("enough"), Some("texts".to_owned()));
        }
        read(&["--input", "a", "--input", "b", "--into", "texts"]).expect("an input may be given again");
        assert!(read(&["--input", "a", "--units-from", "b"]).is_err());
    }

    #[test]
    fn inputs_that_no_keeper_signs_for_are_refused_before_they_are_sent() {
        let of = |name: &str, len: u64| BlobRef { len: Bytes(len), ..BlobRef::of(name.as_bytes()) };
        let (half, most) = (param::CUSTODY_BYTES_MAX.0 / 2, param::INPUTS_MAX);
        let mut files = BTreeSet::from([of("one", half), of("two", half)]);
        assert!(too_large(most, &files).is_none());
        assert!(too_large(Bytes(most.0 + 1), &files).expect("a unit").what.contains("a unit has"));
        files.insert(of("three", 1 << 30));
        let refused = too_large(most, &files).expect("all together");
        assert_eq!(refused.what, "the units have 65.00 GiB of different files, a keeper takes 64.00 GiB of a job");
    }
}
