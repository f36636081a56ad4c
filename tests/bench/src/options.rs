//! The bench's command line.

use crate::{rewriting, variant::Variant};
use samebit_bench_guests::{GUESTS, Guest};
use samebit_spec::fuel::{Class, FuelTable};
use std::path::PathBuf;

const USAGE: &str = "\
usage: samebit-bench tax|fuel|state [OPTIONS]

  --quick            small sizes, and no compile and start-up figures
  --reps N           timed calls of each variant (9)
  --wasmi-reps N     timed calls on wasmi (1)
  --guest A,B        only these guests (all)
  --variants A,B     only these, beside plain (all)
  --sections A,B     of run, compile, rewrite, start (all; with --quick: run, rewrite)
  --parts A,B        state: of checkpoint, resume, history (all)
  --set CLASS=COST   fuel: judge another cost; comma-separated, also bulk=LOG2,
                     page=COST, join=COST, passed=COST, local=COST
  --module PATH      the guests' module (target/wasm32-unknown-unknown/wasm/samebit_bench_guests.wasm)
  --profile NAME     only says in the figures which profile built this program
  -o json            print the figures as JSON instead of a table";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// Time of guests on every variant, compile, rewriting, start-up.
    Tax,
    /// Time against counted instructions.
    Fuel,
    /// Checkpoints, histories, taking up.
    State,
}

/// A part of [`Area::Tax`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Run,
    Compile,
    Rewrite,
    Start,
}

impl Section {
    const ALL: [(&str, Self); 4] =
        [("run", Self::Run), ("compile", Self::Compile), ("rewrite", Self::Rewrite), ("start", Self::Start)];
}

/// A part of [`Area::State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Checkpoint,
    Resume,
    History,
}

impl Part {
    const ALL: [(&str, Self); 3] =
        [("checkpoint", Self::Checkpoint), ("resume", Self::Resume), ("history", Self::History)];
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) area: Area,
    pub(crate) quick: bool,
    pub(crate) reps: usize,
    pub(crate) wasmi_reps: usize,
    pub(crate) guests: Vec<Guest>,
    pub(crate) variants: Vec<Variant>,
    pub(crate) sections: Vec<Section>,
    pub(crate) parts: Vec<Part>,
    pub(crate) table: FuelTable,
    pub(crate) module: PathBuf,
    pub(crate) profile: String,
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = args;
        let area = match args.next().as_deref() {
            Some("tax") => Area::Tax,
            Some("fuel") => Area::Fuel,
            Some("state") => Area::State,
            _ => return Err(USAGE.into()),
        };
        let mut options = Self {
            area,
            quick: false,
            reps: 9,
            wasmi_reps: 1,
            guests: GUESTS.to_vec(),
            variants: Variant::ALL.to_vec(),
            sections: Vec::new(),
            parts: Part::ALL.map(|(_, part)| part).to_vec(),
            table: rewriting::TABLE,
            module: target().join("wasm32-unknown-unknown/wasm/samebit_bench_guests.wasm"),
            profile: if cfg!(debug_assertions) { "dev".into() } else { "optimised".into() },
            json: false,
        };
        while let Some(name) = args.next() {
            if name == "--quick" {
                options.quick = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{name}: no value\n{USAGE}"))?;
            match name.as_str() {
                "--reps" => options.reps = count(&name, &value)?,
                "--wasmi-reps" => options.wasmi_reps = count(&name, &value)?,
                "--guest" | "--guests" => options.guests = each(&value, guest)?,
                "--variants" => {
                    let asked = each(&value, variant)?;
                    options.variants.retain(|one| *one == Variant::Plain || asked.contains(one));
                }
                "--sections" => options.sections = each(&value, section)?,
                "--parts" => options.parts = each(&value, part)?,
                "--set" => options.table = value.split(',').try_fold(options.table, set)?,
                "--module" => options.module = value.into(),
                "--profile" => options.profile = value,
                "-o" if value == "json" => options.json = true,
                "-o" if value == "table" => options.json = false,
                _ => return Err(format!("no option {name} {value}\n{USAGE}")),
            }
        }
        if options.sections.is_empty() {
            options.sections = Section::ALL.iter().map(|(_, section)| *section).collect();
            if options.quick {
                options.sections.retain(|section| matches!(section, Section::Run | Section::Rewrite));
            }
        }
        Ok(options)
    }

    /// The guests' module.
    pub(crate) fn read_module(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.module).map_err(|error| {
            format!(
                "{}: {error}\n  help: `cargo build --package samebit-bench-guests --lib --profile wasm --target wasm32-unknown-unknown`",
                self.module.display()
            )
        })
    }

    /// How much work a guest is given.
    pub(crate) fn size(&self, guest: &Guest) -> i32 {
        if self.quick { guest.size_quick } else { guest.size }
    }
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

fn count(name: &str, value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{name} {value}: not a count")),
    }
}

fn each<T>(list: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.split(',').map(parse).collect()
}

fn guest(name: &str) -> Result<Guest, String> {
    let known = || GUESTS.iter().map(|guest| guest.name).collect::<Vec<_>>().join(" ");
    GUESTS
        .iter()
        .find(|guest| guest.name == name)
        .copied()
        .ok_or_else(|| format!("no guest {name}; there are {}", known()))
}

fn variant(name: &str) -> Result<Variant, String> {
    let known = || Variant::ALL.map(Variant::name).join(" ");
    Variant::ALL
        .into_iter()
        .find(|one| one.name() == name)
        .ok_or_else(|| format!("no variant {name}; there are {}", known()))
}

fn section(name: &str) -> Result<Section, String> {
    Section::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, section)| *section)
        .ok_or_else(|| format!("no section {name}"))
}

fn part(name: &str) -> Result<Part, String> {
    let found = Part::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, part)| *part).ok_or_else(|| format!("no part {name}"))
}

/// One `CLASS=COST` on top of a table.
fn set(mut table: FuelTable, assignment: &str) -> Result<FuelTable, String> {
    let (name, cost) = assignment.split_once('=').ok_or_else(|| format!("{assignment}: not CLASS=COST"))?;
    let cost: u32 = cost.parse().map_err(|error| format!("{assignment}: {error}"))?;
    match name {
        "bulk" => {
            table.bulk_bytes_log2 = cost.min(31);
            Ok(table)
        }
        "page" | "join" | "passed" | "local" => {
            match name {
                "page" => table.grow_page = cost,
                "join" => table.join = cost,
                "passed" => table.passed = cost,
                _ => table.local = cost,
            }
            Ok(table)
        }
        _ => {
            let class = Class::ALL.into_iter().find(|class| format!("{class:?}").eq_ignore_ascii_case(name));
            Ok(table.with(class.ok_or_else(|| format!("no class {name}; there are {:?}", Class::ALL))?, cost))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, Section};
    use crate::{rewriting, variant::Variant};
    use samebit_spec::fuel::Class;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn the_peer_of_every_ratio_is_always_measured() {
        let options = parse("tax --variants stock --guest fib,sort --quick").expect("a good line");
        assert_eq!(options.variants, [Variant::Plain, Variant::Stock]);
        assert_eq!(options.guests.iter().map(|guest| guest.name).collect::<Vec<_>>(), ["fib", "sort"]);
        assert_eq!(options.sections, [Section::Run, Section::Rewrite]);
    }

    #[test]
    fn a_cost_is_set_by_the_name_of_its_class() {
        let options = parse("fuel --set load=7,bulk=3").expect("a good line");
        assert_eq!(options.table.cost(Class::Load), 7);
        assert_eq!(options.table.bulk_bytes_log2, 3);
        assert_eq!(options.table.cost(Class::Store), rewriting::TABLE.cost(Class::Store));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("tax --guest nobody", "nobody"),
            ("tax --variants x", "no variant x"),
            ("tax --reps 0", "--reps 0"),
            ("fuel --set load", "load"),
            ("fuel --set weight=3", "weight"),
        ] {
            assert!(parse(line).expect_err("a bad line").contains(word), "{line}");
        }
    }
}
