//! Fuel against time: how often each class of instructions is executed, what a class takes, and how far apart
//! guests are that pay the same.
//!
//! Instructions are counted by the rewriter itself, with a table in which one class costs 1 and all others
//! nothing, so what is counted is what is charged. Costs are fitted to times by least squares without negative
//! ones. The fit is advice: the table is decided in `samebit_spec::fuel`, by people.

use crate::{
    clock::min,
    engine::{self, Cache, OnWasmtime, Running, Switches},
    kernels,
    options::{Options, target},
    report::{Peer, Report},
    rewriting::{self, Rewriting},
    tax::say,
};
use samebit_spec::fuel::{Class, FuelTable};
use serde_json::json;
use std::collections::BTreeMap;
use wasmtime::Module;

/// What is counted beside instructions: bytes of bulk operations, pages of growth.
const EXTRA: [&str; 5] = ["bulk byte", "grown page", "joined local", "passed value", "local"];
const COLUMNS: usize = Class::COUNT + EXTRA.len();

/// A kernel is given rounds until it takes this long.
const KERNEL_MS: f64 = 15.0;

/// One guest or kernel.
struct Subject {
    name: &'static str,
    n: i32,
    kernel: bool,
    plain_ms: f64,
    samebit_ms: f64,
    /// How often each class was executed in a call, then the extras.
    counts: [f64; COLUMNS],
}

pub(crate) fn measure(options: &Options) -> Result<(), String> {
    let mut subjects = Vec::new();
    let guests: Vec<(&'static str, Option<i32>, i32)> =
        options.guests.iter().map(|guest| (guest.name, Some(options.size(guest)), i32::MAX)).collect();
    subjects.extend(measure_module(&options.read_module()?, &guests, options)?);
    let kernels: Vec<(&'static str, Option<i32>, i32)> =
        kernels::names().into_iter().map(|(name, most)| (name, None, most)).collect();
    subjects.extend(measure_module(&kernels::module()?, &kernels, options)?);
    let fit_plain = fit(&subjects, |subject| subject.plain_ms);
    let fit_samebit = fit(&subjects, |subject| subject.samebit_ms);
    let mut report = Report::new();
    print_table(options, &subjects, &fit_plain, &fit_samebit, &mut report);
    print_subjects(options, &subjects, &fit_samebit, &mut report);
    write_counts(&subjects)?;
    report.end("fuel", options)
}

/// Writes times and counts as they are, for whoever wants to fit another way.
fn write_counts(subjects: &[Subject]) -> Result<(), String> {
    let lines: String = subjects
        .iter()
        .map(|subject| {
            let counts: BTreeMap<String, f64> = (0..COLUMNS).map(|column| (name_of(column), subject.counts[column])).collect();
            let Subject { name, n, kernel, plain_ms, samebit_ms, .. } = subject;
            let line = json!({"name": name, "n": n, "kernel": kernel, "plain_ms": plain_ms, "samebit_ms": samebit_ms, "counts": counts});
            format!("{line}\n")
        })
        .collect();
    let path = target().join("bench/fuel-counts.jsonl");
    std::fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))
}

/// The table that counts everything once, and for each column one that counts it twice: the difference is how often
/// it was executed. The rewriter may take for granted that work costs something, so nothing here is free.
fn counting_tables() -> (FuelTable, impl Iterator<Item = FuelTable>) {
    let mut once = Class::ALL.into_iter().fold(FuelTable::NOTHING, |table, class| table.with(class, 1));
    (once.grow_page, once.join, once.passed, once.local) = (1, 1, 1, 1);
    let mut extras = [once; EXTRA.len()];
    extras[0].bulk_bytes_log2 = 0;
    extras[1].grow_page = 2;
    extras[2].join = 2;
    extras[3].passed = 2;
    extras[4].local = 2;
    (once, Class::ALL.into_iter().map(move |class| once.with(class, 2)).chain(extras))
}

fn measure_module(
    bytes: &[u8],
    wanted: &[(&'static str, Option<i32>, i32)],
    options: &Options,
) -> Result<Vec<Subject>, String> {
    let cache = Cache::Folder(target().join("bench/cache"));
    let engine = engine::engine(Switches::default())?;
    let plain = engine::compile(&engine, bytes, &cache)?;
    let samebit = engine::compile(&engine, &Rewriting::Whole.apply(bytes)?, &cache)?;
    let mut subjects = time(&plain, &samebit, wanted, options)?;
    let (once, tables) = counting_tables();
    let fuel_by = |table: &FuelTable, subjects: &[Subject]| -> Result<Vec<f64>, String> {
        let counting = engine::compile(&engine, &rewriting::metered(bytes, table)?, &cache)?;
        subjects.iter().map(|subject| fuel_of_call(&counting, subject)).collect()
    };
    let base = fuel_by(&once, &subjects)?;
    for (column, table) in tables.enumerate() {
        let fuel = fuel_by(&table, &subjects)?;
        for ((subject, fuel), base) in subjects.iter_mut().zip(fuel).zip(&base) {
            subject.counts[column] = fuel - base;
        }
    }
    Ok(subjects)
}

/// What a call of a subject is charged on a module.
fn fuel_of_call(counting: &Module, subject: &Subject) -> Result<f64, String> {
    let mut running = OnWasmtime::new(counting, Switches::default(), &format!("run_{}", subject.name))?;
    let say = |error: String| format!("{}: {error}", subject.name);
    // A kernel's counts are those of one round times the rounds, so it need not run them all; enough of them that what comes before the first is nothing.
    let rounds = if subject.kernel && subject.n > 4096 { 4096 } else { subject.n };
    running.call(rounds).map_err(say)?;
    let fuel = running.call(rounds).map_err(say)?.fuel.ok_or("a rewritten module without a meter")?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let fuel = fuel as f64;
    Ok(fuel * f64::from(subject.n) / f64::from(rounds))
}

/// One subject on both sides, and how it is called.
struct Pair {
    name: &'static str,
    n: i32,
    kernel: bool,
    plain: OnWasmtime,
    samebit: OnWasmtime,
    plain_ms: Vec<f64>,
    samebit_ms: Vec<f64>,
}

/// Calls all subjects in turn, repetition after repetition: what the machine's speed does in the meantime, it does
/// to all of them. The least time of each is what counts.
fn time(
    plain: &Module,
    samebit: &Module,
    wanted: &[(&'static str, Option<i32>, i32)],
    options: &Options,
) -> Result<Vec<Subject>, String> {
    let mut pairs = Vec::new();
    for (name, n, most) in wanted {
        let export = format!("run_{name}");
        let say = |error: String| format!("{name}: {error}");
        let mut on_plain = OnWasmtime::new(plain, Switches::default(), &export)?;
        let mut on_samebit = OnWasmtime::new(samebit, Switches::default(), &export)?;
        let mut rounds = n.unwrap_or(1).min(*most);
        // The first call touches the memory.
        on_plain.call(rounds).map_err(say)?;
        while n.is_none() && rounds < *most && on_plain.call(rounds).map_err(say)?.ms < KERNEL_MS {
            rounds = rounds.saturating_mul(2).min(*most);
        }
        on_samebit.call(rounds).map_err(say)?;
        pairs.push(Pair {
            name,
            n: rounds,
            kernel: n.is_none(),
            plain: on_plain,
            samebit: on_samebit,
            plain_ms: Vec::new(),
            samebit_ms: Vec::new(),
        });
    }
    for _ in 0..options.reps {
        for pair in &mut pairs {
            let say = |error: String| format!("{}: {error}", pair.name);
            let left = pair.plain.call(pair.n).map_err(say)?;
            let right = pair.samebit.call(pair.n).map_err(say)?;
            // Where memory begins that was grown into depends on what was grown before.
            if left.checksum != right.checksum && !pair.name.starts_with("grow") {
                return Err(format!("{}: checksum {:#x}, rewritten {:#x}", pair.name, left.checksum, right.checksum));
            }
            pair.plain_ms.push(left.ms);
            pair.samebit_ms.push(right.ms);
        }
    }
    Ok(pairs
        .into_iter()
        .map(|pair| Subject {
            name: pair.name,
            n: pair.n,
            kernel: pair.kernel,
            plain_ms: min(&pair.plain_ms),
            samebit_ms: min(&pair.samebit_ms),
            counts: [0.0; COLUMNS],
        })
        .collect())
}

/// Nanoseconds of each column, none negative, that explain the times with the least relative error, squared.
///
/// Chains whose time is not in their instructions, such as cache misses, mispredicted branches and subnormals, are left out:
/// they would make every load and branch dear.
fn fit(subjects: &[Subject], ms: impl Fn(&Subject) -> f64) -> [f64; COLUMNS] {
    const UNPRICED: [&str; 7] =
        ["chase", "chase_l2", "store_stride", "load_stride", "branch_random", "table_random", "f64_mul_tiny"];
    let rows: Vec<[f64; COLUMNS]> = subjects
        .iter()
        .filter(|subject| !UNPRICED.contains(&subject.name))
        .map(|subject| subject.counts.map(|count| count / (ms(subject) * 1e6)))
        .collect();
    least_squares(&rows)
}

/// The non-negative `x` for which every `row . x` is nearest to 1: coordinate descent, which cannot get stuck
/// because the error is convex.
fn least_squares(rows: &[[f64; COLUMNS]]) -> [f64; COLUMNS] {
    let mut x = [0.0; COLUMNS];
    let mut residual: Vec<f64> = vec![1.0; rows.len()];
    for _ in 0..50_000 {
        for column in 0..COLUMNS {
            let square: f64 = rows.iter().map(|row| row[column] * row[column]).sum();
            if square == 0.0 {
                continue;
            }
            let slope: f64 = rows.iter().zip(&residual).map(|(row, left)| row[column] * left).sum();
            let next = (x[column] + slope / square).max(0.0);
            let step = next - x[column];
            if step != 0.0 {
                x[column] = next;
                for (row, left) in rows.iter().zip(&mut residual) {
                    *left -= row[column] * step;
                }
            }
        }
    }
    x
}

fn cost_of(table: &FuelTable, column: usize) -> f64 {
    match column.checked_sub(Class::COUNT) {
        None => f64::from(table.cost(Class::ALL[column])),
        Some(0) => 0.5_f64.powi(i32::try_from(table.bulk_bytes_log2).unwrap_or(i32::MAX)),
        Some(1) => f64::from(table.grow_page),
        Some(2) => f64::from(table.join),
        Some(3) => f64::from(table.passed),
        Some(_) => f64::from(table.local),
    }
}

fn fuel_of(table: &FuelTable, subject: &Subject) -> f64 {
    subject.counts.iter().enumerate().map(|(column, count)| count * cost_of(table, column)).sum()
}

fn name_of(column: usize) -> String {
    column
        .checked_sub(Class::COUNT)
        .map_or_else(|| format!("{:?}", Class::ALL[column]), |extra| EXTRA[extra].to_owned())
}

fn print_table(
    options: &Options,
    subjects: &[Subject],
    fit_plain: &[f64; COLUMNS],
    fit_samebit: &[f64; COLUMNS],
    report: &mut Report,
) {
    say!(options, "costs, and nanoseconds fitted to plain and to metered time");
    say!(options, "{:16} {:>8} {:>9} {:>9} {:>14}", "class", "cost", "plain ns", "ours ns", "in guests");
    for column in 0..COLUMNS {
        let executed: f64 = subjects.iter().filter(|one| !one.kernel).map(|one| one.counts[column]).sum();
        let (cost, plain, ours) = (cost_of(&options.table, column), fit_plain[column], fit_samebit[column]);
        say!(options, "{:16} {cost:>8.3} {plain:>9.4} {ours:>9.4} {executed:>14.0}", name_of(column));
        report.add(format!("fuel.fit.{}", name_of(column)), ours, "ns", None, options.reps, &format!("costs {cost}"));
    }
}

fn print_subjects(options: &Options, subjects: &[Subject], fit: &[f64; COLUMNS], report: &mut Report) {
    say!(
        options,
        "{:14} {:>11} {:>9} {:>9} {:>10} {:>8} {:>6}  share of fuel",
        "subject",
        "n",
        "plain ms",
        "ours ms",
        "Mfuel",
        "ns/fuel",
        "fit"
    );
    let mut prices = Vec::new();
    for subject in subjects {
        let fuel = fuel_of(&options.table, subject);
        let ns = subject.samebit_ms * 1e6 / fuel;
        let fitted: f64 =
            subject.counts.iter().zip(fit).map(|(count, ns)| count * ns).sum::<f64>() / (subject.samebit_ms * 1e6);
        let mut shares: Vec<(f64, String)> = (0..COLUMNS)
            .map(|column| (subject.counts[column] * cost_of(&options.table, column) / fuel, name_of(column)))
            .collect();
        shares.sort_by(|left, right| right.0.total_cmp(&left.0));
        let shares: String = shares
            .iter()
            .take(5)
            .filter(|(share, _)| *share > 0.02)
            .map(|(share, name)| format!(" {name} {:.0}%", share * 100.0))
            .collect();
        say!(
            options,
            "{:14} {:>11} {:>9.2} {:>9.2} {:>10.3} {ns:>8.4} {fitted:>6.2} {shares}",
            subject.name,
            subject.n,
            subject.plain_ms,
            subject.samebit_ms,
            fuel / 1e6
        );
        let kind = if subject.kernel { "kernel" } else { "guest" };
        report.add(
            format!("fuel.{kind}.{}", subject.name),
            ns,
            "ns/fuel",
            None,
            options.reps,
            &format!("n={}", subject.n),
        );
        prices.push((ns, subject));
    }
    prices.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (what, kernel) in [("guests", false), ("kernels", true)] {
        let these: Vec<_> = prices.iter().filter(|(_, subject)| subject.kernel == kernel).collect();
        let (Some((least, cheapest)), Some((most, dearest))) = (these.first(), these.last()) else { continue };
        let spread = most / least;
        say!(
            options,
            "ns per fuel over {what}: least {least:.4} ({}), most {most:.4} ({}), spread {spread:.2}",
            cheapest.name,
            dearest.name
        );
        let peer = Some(Peer { name: "the one whose fuel takes least time", ratio: spread });
        let case = format!("{} over {}", dearest.name, cheapest.name);
        report.add(format!("fuel.spread.{what}"), spread, "times", peer, options.reps, &case);
    }
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, least_squares};

    #[test]
    fn costs_that_explain_the_times_exactly_are_found_and_none_is_negative() {
        let row = |first: f64, second: f64, third: f64| {
            let mut row = [0.0; COLUMNS];
            row[..3].copy_from_slice(&[first, second, third]);
            row
        };
        // 2a + 3b = 1 and 4a + b = 1: a = 0.2, b = 0.2; the third can only make it worse.
        let found = least_squares(&[row(2.0, 3.0, 1.0), row(4.0, 1.0, 0.0), row(2.0, 3.0, 0.0)]);
        assert!((found[0] - 0.2).abs() < 1e-6 && (found[1] - 0.2).abs() < 1e-6, "{found:?}");
        assert!(found.iter().all(|cost| *cost >= 0.0) && found[2] < 1e-6, "{found:?}");
    }
}
