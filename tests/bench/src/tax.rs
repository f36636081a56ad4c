//! The deterministic tax: time of each guest on each variant over its time on plain wasmtime.
//!
//! Per repetition every variant is called once, and the repetitions begin with another variant each time, so
//! that a machine that slows down slows all of them. Instances are warm: memory is there before the first timed
//! call. Integer guests are averaged apart, because their goal is stricter.

use crate::{
    clock::{geomean, median, min, timed},
    engine::{self, Cache},
    options::{Options, Section, target},
    report::{PLAIN, Peer, Report},
    rewriting::Rewriting,
    startup,
    variant::{Ready, Variant, prepare},
};
use samebit_bench_guests::{Guest, Work};
use std::collections::BTreeMap;

/// Times of one guest on one variant.
struct Times {
    ms: Vec<f64>,
    /// Of the first call.
    fuel: Option<i64>,
}

/// What a guest took, by variant.
type Measured = BTreeMap<Variant, Times>;

pub(crate) fn measure(options: &Options) -> Result<(), String> {
    let bytes = options.read_module()?;
    let mut report = Report::new();
    let has = |section| options.sections.contains(&section);
    if has(Section::Run) {
        run(&bytes, options, &mut report)?;
    }
    if has(Section::Compile) {
        compile(&bytes, options, &mut report)?;
    }
    if has(Section::Rewrite) {
        rewrite(&bytes, options, &mut report)?;
    }
    if has(Section::Start) {
        startup::measure(&bytes, options, &mut report)?;
    }
    report.end("tax", options)
}

/// Prints unless JSON was asked for.
macro_rules! say {
    ($options:expr, $($what:tt)*) => {
        if !$options.json {
            println!($($what)*);
        }
    };
}
pub(crate) use say;

/// Calls a guest on every variant in turn.
fn measure_guest(
    guest: &Guest,
    n: i32,
    ready: &BTreeMap<Variant, Ready>,
    options: &Options,
) -> Result<Measured, String> {
    let mut running = Vec::new();
    let mut expected = None;
    for (variant, ready) in ready {
        let say = |error: String| format!("{} on {}: {error}", guest.name, variant.name());
        let mut instance = ready.start(guest).map_err(say)?;
        // The first call touches the memory, so that no timed one does. An interpreter's would take long.
        let first = instance.call(n).map_err(say)?;
        let checksum = *expected.get_or_insert(first.checksum);
        if first.checksum != checksum {
            return Err(say(format!("checksum {:#x}, {checksum:#x} on the others", first.checksum)));
        }
        let ms = if *variant == Variant::Wasmi { vec![first.ms] } else { Vec::new() };
        let times = Times { ms, fuel: first.fuel };
        running.push((*variant, instance, times));
    }
    let count = running.len();
    for rep in 0..options.reps {
        for turn in 0..count {
            let (variant, instance, times) = &mut running[(rep + turn) % count];
            if *variant == Variant::Wasmi && times.ms.len() >= options.wasmi_reps {
                continue;
            }
            let call = instance.call(n).map_err(|error| format!("{} on {}: {error}", guest.name, variant.name()))?;
            if Some(call.checksum) != expected {
                return Err(format!("{} on {}: another checksum when called again", guest.name, variant.name()));
            }
            times.ms.push(call.ms);
        }
    }
    let fuels: Vec<(Variant, i64)> = running
        .iter()
        .filter(|(variant, ..)| *variant != Variant::OurNan)
        .filter_map(|(variant, _, times)| Some((*variant, times.fuel?)))
        .collect();
    if let Some(((first, fuel), (other, differs))) =
        fuels.first().and_then(|first| Some((*first, *fuels.iter().find(|(_, fuel)| *fuel != first.1)?)))
    {
        return Err(format!("{}: {fuel} fuel on {}, {differs} on {}", guest.name, first.name(), other.name()));
    }
    Ok(running.into_iter().map(|(variant, _, times)| (variant, times)).collect())
}

fn run(bytes: &[u8], options: &Options, report: &mut Report) -> Result<(), String> {
    let ready = prepare(bytes, &options.variants, &Cache::Folder(target().join("bench/cache")))?;
    let variants: Vec<Variant> = options.variants.iter().copied().filter(|one| *one != Variant::Plain).collect();
    say!(
        options,
        "median of {} ratios to plain wasmtime / least over least, thread CPU time; program: {}",
        options.reps,
        options.profile
    );
    let heads: String = variants.iter().map(|variant| format!(" {:>12}", variant.name())).collect();
    say!(options, "{:12} {:>9}{heads}", "guest", "plain ms");
    let mut all: Vec<(Guest, Measured)> = Vec::new();
    for guest in &options.guests {
        let n = options.size(guest);
        let measured = measure_guest(guest, n, &ready, options)?;
        let plain = &measured[&Variant::Plain];
        let mut line = format!("{:12} {:>9.2}", guest.name, median(&plain.ms));
        let case = format!("{} n={n}", guest.name);
        report.add(format!("run.plain.{}", guest.name), median(&plain.ms), "ms", None, plain.ms.len(), &case);
        for variant in &variants {
            let times = &measured[variant];
            let (ratio, least) = ratios(times, plain);
            line += &format!(" {ratio:>6.3}/{least:.3}");
            let metric = format!("run.{}.{}", variant.name(), guest.name);
            report.add(metric, median(&times.ms), "ms", Some(Peer { name: PLAIN, ratio }), times.ms.len(), &case);
            let metric = format!("run.{}.{}.min", variant.name(), guest.name);
            report.add(metric, min(&times.ms), "ms", Some(Peer { name: PLAIN, ratio: least }), times.ms.len(), &case);
        }
        say!(options, "{line}");
        all.push((*guest, measured));
    }
    means(&all, &variants, options, report);
    fairness(&ready, options, report)?;
    code_size(&ready, options, report);
    Ok(())
}

/// The median of the ratios within each repetition, and least over least. Calls of one repetition are near in time,
/// so that what the machine does to one it does to the other.
fn ratios(times: &Times, plain: &Times) -> (f64, f64) {
    let pairs: Vec<f64> = if times.ms.len() == plain.ms.len() {
        times.ms.iter().zip(&plain.ms).map(|(ours, theirs)| ours / theirs).collect()
    } else {
        vec![median(&times.ms) / median(&plain.ms)]
    };
    (median(&pairs), min(&times.ms) / min(&plain.ms))
}

fn means(all: &[(Guest, Measured)], variants: &[Variant], options: &Options, report: &mut Report) {
    let sets: [(&str, &dyn Fn(Work) -> bool); 3] = [
        ("geomean", &|_| true),
        ("integers", &|work| work == Work::Integers),
        ("floats", &|work| work == Work::Floats),
    ];
    for (name, belongs) in sets {
        let guests: Vec<_> = all.iter().filter(|(guest, _)| belongs(guest.work)).collect();
        if guests.is_empty() {
            continue;
        }
        let mut line = format!("{name:12} {:>9}", "");
        for variant in variants {
            let pairs: Vec<(f64, f64)> =
                guests.iter().map(|(_, measured)| ratios(&measured[variant], &measured[&Variant::Plain])).collect();
            let ratio = geomean(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
            let least = geomean(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
            line += &format!(" {ratio:>6.3}/{least:.3}");
            let case = format!("geometric mean of {} guests", guests.len());
            for (suffix, ratio) in [("", ratio), (".min", least)] {
                let metric = format!("run.{}.{name}{suffix}", variant.name());
                report.add(metric, ratio, "times plain", Some(Peer { name: PLAIN, ratio }), options.reps, &case);
            }
        }
        say!(options, "{line}");
    }
    if let Some((guest, worst)) = all
        .iter()
        .filter_map(|(guest, measured)| {
            Some((guest, ratios(measured.get(&Variant::Samebit)?, &measured[&Variant::Plain]).0))
        })
        .max_by(|left, right| left.1.total_cmp(&right.1))
    {
        say!(options, "worst guest of samebit: {} {worst:.3}", guest.name);
        report.add(
            "run.samebit.worst".into(),
            worst,
            "times plain",
            Some(Peer { name: PLAIN, ratio: worst }),
            options.reps,
            guest.name,
        );
    }
}

/// Nanoseconds of a unit of fuel for each guest, and dearest over cheapest: all guests in turn, repetition after
/// repetition, so that they are compared at the same speed of the machine. The least time of each counts.
fn fairness(ready: &BTreeMap<Variant, Ready>, options: &Options, report: &mut Report) -> Result<(), String> {
    let Some(ready) = ready.get(&Variant::Samebit) else { return Ok(()) };
    let mut running = Vec::new();
    for guest in &options.guests {
        let mut instance = ready.start(guest)?;
        instance.call(options.size(guest))?;
        running.push((guest, instance, f64::INFINITY, 0.0));
    }
    for _ in 0..options.reps {
        for (guest, instance, least, fuel) in &mut running {
            let call = instance.call(options.size(guest))?;
            *least = least.min(call.ms);
            #[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
            let used = call.fuel.unwrap_or_default() as f64;
            *fuel = used;
        }
    }
    let mut prices: Vec<(f64, &str)> = Vec::new();
    for (guest, _, least, fuel) in &running {
        let (ns, case) = (least * 1e6 / fuel, format!("{} n={}", guest.name, options.size(guest)));
        report.add(format!("fuel.{}", guest.name), *fuel, "fuel", None, 1, &case);
        report.add(format!("fuel.{}.ns", guest.name), ns, "ns/fuel", None, options.reps, &case);
        prices.push((ns, guest.name));
    }
    prices.sort_by(|left, right| left.0.total_cmp(&right.0));
    let list: String = prices.iter().map(|(ns, name)| format!(" {name} {ns:.3}")).collect();
    say!(options, "ns per fuel:{list}");
    let (Some((least, cheapest)), Some((most, dearest))) = (prices.first(), prices.last()) else { return Ok(()) };
    let spread = most / least;
    say!(options, "spread of ns per fuel, {dearest} over {cheapest}: {spread:.2}");
    let peer = Peer { name: "the guest whose fuel takes least time", ratio: spread };
    report.add("fuel.spread".into(), spread, "times", Some(peer), options.reps, &format!("{dearest} over {cheapest}"));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
fn code_size(ready: &BTreeMap<Variant, Ready>, options: &Options, report: &mut Report) {
    let size = |variant| match ready.get(&variant) {
        Some(Ready::Wasmtime { module, wasm_bytes, .. }) => Some((module.text().len() as f64, *wasm_bytes as f64)),
        _ => None,
    };
    let Some((plain, plain_wasm)) = size(Variant::Plain) else { return };
    let mut line = format!("{:12} {:>8.0}K", "code", plain / 1024.0);
    let mut wasm_line = format!("{:12} {:>8.0}K", "module", plain_wasm / 1024.0);
    for variant in options.variants.iter().filter(|one| **one != Variant::Plain) {
        let Some((code, wasm)) = size(*variant) else {
            line += &format!(" {:>12}", "");
            wasm_line += &format!(" {:>12}", "");
            continue;
        };
        line += &format!(" {:>12.3}", code / plain);
        wasm_line += &format!(" {:>12.3}", wasm / plain_wasm);
        let peer = Some(Peer { name: PLAIN, ratio: code / plain });
        report.add(format!("code.{}", variant.name()), code, "bytes", peer, 1, "all guests");
        let peer = Some(Peer { name: PLAIN, ratio: wasm / plain_wasm });
        report.add(format!("module.{}", variant.name()), wasm, "bytes", peer, 1, "all guests");
    }
    say!(options, "{line}");
    say!(options, "{wasm_line}");
}

/// Compiles the whole module, on one thread, each variant in turn.
#[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
fn compile(bytes: &[u8], options: &Options, report: &mut Report) -> Result<(), String> {
    let variants: Vec<Variant> = options
        .variants
        .iter()
        .copied()
        .filter(|one| {
            matches!(
                one,
                Variant::Plain
                    | Variant::Samebit
                    | Variant::Stock
                    | Variant::OurFuel
                    | Variant::OurEager
                    | Variant::OurNan
            )
        })
        .collect();
    let modules = variants
        .iter()
        .map(|variant| variant.rewriting().map_or_else(|| Ok(bytes.to_vec()), |rewriting| rewriting.apply(bytes)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for _ in 0..options.reps {
        for (index, variant) in variants.iter().enumerate() {
            let engine = engine::engine(variant.switches())?;
            let (module, ms) = timed(|| engine::compile(&engine, &modules[index], &Cache::Off));
            module?;
            times[index].push(ms);
        }
    }
    let plain = times[0].clone();
    let case = format!("{} bytes, one thread", bytes.len());
    say!(
        options,
        "compile of {case}: plain {:.0} ms, {:.2} MB/s",
        median(&plain),
        bytes.len() as f64 / median(&plain) / 1e3
    );
    report.add("compile.plain".into(), median(&plain), "ms", None, options.reps, &case);
    for (variant, times) in variants.iter().zip(&times).skip(1) {
        let (ratio, least) = (median(times) / median(&plain), min(times) / min(&plain));
        say!(options, "  {:12} {ratio:.3}/{least:.3}", variant.name());
        let peer = Some(Peer { name: PLAIN, ratio });
        report.add(format!("compile.{}", variant.name()), median(times), "ms", peer, options.reps, &case);
        let peer = Some(Peer { name: PLAIN, ratio: least });
        report.add(format!("compile.{}.min", variant.name()), min(times), "ms", peer, options.reps, &case);
    }
    Ok(())
}

/// Admission and rewriting, in bytes of the module a second.
#[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
fn rewrite(bytes: &[u8], options: &Options, report: &mut Report) -> Result<(), String> {
    let mut modules = vec![("guests".to_owned(), bytes.to_vec())];
    modules.push(("kernels".to_owned(), crate::kernels::module()?));
    for name in ["hello", "census_table", "mandelbrot"] {
        let path = target().join("wasm32-wasip1/wasm").join(format!("{name}.wasm"));
        if let Ok(bytes) = std::fs::read(&path) {
            modules.push((name.to_owned(), bytes));
        }
    }
    for (name, bytes) in &modules {
        let mut times = Vec::new();
        // Small modules are rewritten more often, so that each has its tenth of a second.
        for _ in 0..(4 << 20) / bytes.len().max(1 << 12) + options.reps {
            let (done, ms) = timed(|| Rewriting::Whole.apply(bytes));
            done.map_err(|error| format!("{name}: {error}"))?;
            times.push(ms);
        }
        let speed = |ms: f64| bytes.len() as f64 / ms / 1e3;
        let case = format!("{name}, {} bytes", bytes.len());
        say!(options, "rewriting {case}: {:.1} MB/s (best {:.1})", speed(median(&times)), speed(min(&times)));
        report.add(format!("rewrite.{name}"), speed(median(&times)), "MB/s", None, times.len(), &case);
        report.add(format!("rewrite.{name}.best"), speed(min(&times)), "MB/s", None, times.len(), &case);
    }
    Ok(())
}
