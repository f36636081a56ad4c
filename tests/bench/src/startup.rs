//! Start-up: a stored module is mapped, an instance is made of it, and dropped.

use crate::{
    clock::{median, min, timed},
    engine::{self, Cache, Switches},
    options::{Options, target},
    report::{PLAIN, Peer, Report},
    rewriting::Rewriting,
    tax::say,
};
use std::fs;
use wasmtime::{Engine, InstancePre, Linker, Module, Store};

const RUNS: usize = 1000;

struct Subject {
    name: &'static str,
    engine: Engine,
    pre: InstancePre<()>,
    times: Vec<f64>,
}

pub(crate) fn measure(bytes: &[u8], options: &Options, report: &mut Report) -> Result<(), String> {
    let rewritten = Rewriting::Whole.apply(bytes)?;
    let folder = target().join("bench/cache");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut subjects = Vec::new();
    for (name, bytes, pooling) in [
        ("plain.on-demand", bytes, false),
        ("samebit.on-demand", &rewritten[..], false),
        ("plain.pooling", bytes, true),
        ("samebit.pooling", &rewritten[..], true),
    ] {
        let engine = engine::engine(Switches { pooling, ..Switches::default() })?;
        let compiled =
            engine::compile(&engine, bytes, &Cache::Off)?.serialize().map_err(|error| format!("{error:#}"))?;
        let path = folder.join(format!("start-{}.cwasm", std::process::id()));
        fs::write(&path, &compiled).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut mapping = Vec::new();
        for _ in 0..20 {
            let (mapped, ms) = timed(|| engine::deserialize(&engine, &path));
            mapped?;
            mapping.push(ms * 1e3);
        }
        let module = engine::deserialize(&engine, &path)?;
        let _ = fs::remove_file(&path);
        let case = format!("{} bytes of machine code and data", compiled.len());
        say!(options, "mapping {name}: {:.0} us, {case}", median(&mapping));
        report.add(format!("start.map.{name}"), median(&mapping), "us", None, mapping.len(), &case);
        subjects.push(Subject { name, pre: pre(&engine, &module)?, engine, times: Vec::new() });
    }
    for _ in 0..RUNS {
        for subject in &mut subjects {
            let (made, ms) = timed(|| {
                let mut store = Store::new(&subject.engine, ());
                subject.pre.instantiate(&mut store).map(|_| ())
            });
            made.map_err(|error| format!("{}: {error:#}", subject.name))?;
            subject.times.push(ms * 1e3);
        }
    }
    for subject in &subjects {
        let plain = &subjects[if subject.name.ends_with("pooling") { 2 } else { 0 }].times;
        let (middle, least) = (median(&subject.times), min(&subject.times));
        say!(options, "instantiate and drop, {}: median {middle:.1} us, least {least:.1}", subject.name);
        let peer = Some(Peer { name: PLAIN, ratio: middle / median(plain) });
        let case = "store, instance of the guests' module, drop; thread CPU time";
        report.add(format!("start.{}", subject.name), middle, "us", peer, RUNS, case);
    }
    Ok(())
}

fn pre(engine: &Engine, module: &Module) -> Result<InstancePre<()>, String> {
    Linker::new(engine).instantiate_pre(module).map_err(|error| format!("{error:#}"))
}
