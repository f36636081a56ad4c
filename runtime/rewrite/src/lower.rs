//! Turns exceptions and atomic instructions into plain code, before the module is instrumented.
//!
//! C++ needs exceptions, and no two engines have them at the price that we pay: one has none, the other wants a
//! collector for its references. So a module that uses them becomes one that does not, which every engine runs
//! alike. What is admitted is the newer proposal as C++ and Rust emit it: `throw`, `throw_ref` and `try_table`
//! with tags of no parameter or one `i32`. Reasons, and what is refused: `spec/decisions/0006-exceptions.md`.
//!
//! - A global holds the exception in flight: 0, or its tag's index plus one. A second holds its payload.
//! - `throw` sets them and branches to the innermost handler, or to the end of the function, which returns zeros.
//! - After a call of a function from which an exception can escape, a set global branches likewise.
//! - A handler compares tags in order, clears the global and branches with the payload; else it hands on.
//! - An `exnref` is an `i64`: tag plus one above, payload below; 0 is null.
//! - Traps pass every handler, since no code runs after one.
//! - An atomic access to this profile's memory, which no one shares, is a check of its alignment and the plain
//!   access.
//!
//! The pass takes a valid module, is linear in its length apart from sorting each function's calls, keeps no
//! recursion, and is byte-stable. An instruction becomes at most 16 times as long; a function from
//! which an exception can escape grows besides by one zero for each result. What it writes is admitted again, under
//! the profile alone, so no limit and no rule is passed by.

mod atomic;
mod body;
mod survey;

pub(crate) use atomic::Atomic;

use crate::{
    At, Counted, Refusal,
    admit::{bounded, invalid},
    function::OwnTypes,
};
use samebit_spec::param;
use survey::Survey;
use wasm_encoder::{
    CodeSection, ConstExpr, Encode, ExportSection, FunctionSection, GlobalSection, GlobalType, RawSection, TypeSection,
    ValType,
    reencode::{self, Reencode, RoundtripReencoder},
};
use wasmparser::{BinaryReaderError, ExternalKind, Parser, Payload};

/// A module without exceptions and atomics.
pub(crate) struct Lowered {
    pub(crate) bytes: Vec<u8>,
    /// The `i32` global that is not zero while an exception is in flight: after an entry returns, one that nobody
    /// caught.
    pub(crate) exception: Option<u32>,
    /// Where each body was in the module as published.
    bodies: Vec<usize>,
    /// Functions that are imported.
    imported: u32,
}

impl Lowered {
    /// A refusal of the lowered module, with places in the published one.
    pub(crate) fn place(&self, refusal: Refusal) -> Refusal {
        let mapped = |at: At| At {
            function: at.function,
            offset: at
                .function
                .and_then(|function| self.bodies.get(function.checked_sub(self.imported)? as usize).copied())
                .unwrap_or(0),
        };
        match refusal {
            Refusal::TooMany { at, what, count, max } => Refusal::TooMany { at: mapped(at), what, count, max },
            Refusal::Invalid { at, reason } => Refusal::Invalid { at: mapped(at), reason },
            Refusal::Feature { at, feature, what } => Refusal::Feature { at: mapped(at), feature, what },
            other => other,
        }
    }
}

/// Indices of what the pass adds.
#[derive(Clone, Copy)]
struct Added {
    /// The exception in flight.
    exception: u32,
    payload: u32,
    /// `(i64) -> ()`: puts a reference in flight.
    raise: u32,
    /// `() -> (i64)`: takes the exception in flight as a reference.
    take: u32,
}

/// Lowers a valid module.
///
/// # Errors
/// [`Refusal`] for a form of exceptions or references that has no lowering, and for a module that grows beyond
/// its limits.
pub(crate) fn lower(bytes: &[u8]) -> Result<Lowered, Refusal> {
    let survey = Survey::read(bytes)?;
    let functions = u32::try_from(survey.functions.len()).unwrap_or(u32::MAX);
    let added = (!survey.tags.is_empty()).then_some(Added {
        exception: survey.globals,
        payload: survey.globals.saturating_add(1),
        raise: functions,
        take: functions.saturating_add(1),
    });
    let bytes = write(bytes, &survey, added)?;
    Ok(Lowered {
        bytes,
        exception: added.map(|added| added.exception),
        imported: survey.imported,
        bodies: survey.bodies.into_iter().map(|body| body.offset).collect(),
    })
}

fn reading(error: BinaryReaderError) -> Refusal {
    invalid(None, &error)
}

fn encoding(error: reencode::Error) -> Refusal {
    match error {
        reencode::Error::ParseError(error) => reading(error),
        other => Refusal::Invalid { at: At { function: None, offset: 0 }, reason: other.to_string() },
    }
}

/// Types that the pass needs beyond the module's own, each once.
struct Types {
    section: TypeSection,
    count: u32,
    own: OwnTypes,
}

impl Types {
    /// Index of a type of the pass's own.
    fn index(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let (number, is_new) = self.own.number(params, results);
        if is_new {
            self.section.ty().function(params.iter().copied(), results.iter().copied());
        }
        self.count.saturating_add(number)
    }
}

/// A value's type once references to exceptions are numbers.
fn lowered(ty: wasmparser::ValType) -> Result<ValType, Refusal> {
    match ty {
        wasmparser::ValType::Ref(_) => Ok(ValType::I64),
        plain => RoundtripReencoder.val_type(plain).map_err(encoding),
    }
}

fn lowered_all(types: &[wasmparser::ValType]) -> Result<Vec<ValType>, Refusal> {
    types.iter().copied().map(lowered).collect()
}

/// Sections in the order in which a module has them, tags left out.
const ORDER: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];

fn write(bytes: &[u8], survey: &Survey, added: Option<Added>) -> Result<Vec<u8>, Refusal> {
    let pass = &mut RoundtripReencoder;
    let mut types = Types { section: TypeSection::new(), count: 0, own: OwnTypes::default() };
    for ty in &survey.types {
        types.section.ty().function(lowered_all(ty.params())?, lowered_all(ty.results())?);
    }
    types.count = types.section.len();
    let mut globals = GlobalSection::new();
    let mut sections: Vec<Option<Vec<u8>>> = vec![None; 13];
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(reading)? {
            Payload::GlobalSection(section) => pass.parse_global_section(&mut globals, section).map_err(encoding)?,
            Payload::FunctionSection(section) => {
                let mut functions = FunctionSection::new();
                pass.parse_function_section(&mut functions, section).map_err(encoding)?;
                if added.is_some() {
                    functions.function(types.index(&[ValType::I64], &[]));
                    functions.function(types.index(&[], &[ValType::I64]));
                }
                sections[3] = Some(contents(&functions));
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                for export in section {
                    let export = export.map_err(reading)?;
                    // A tag is nothing that a run could use.
                    if export.kind != ExternalKind::Tag {
                        pass.parse_export(&mut exports, export).map_err(encoding)?;
                    }
                }
                sections[7] = Some(contents(&exports));
            }
            Payload::CodeSectionStart { range, .. } => {
                let section = wasmparser::CodeSectionReader::new(wasmparser::BinaryReader::new(
                    bytes.get(range.clone()).unwrap_or_default(),
                    range.start,
                ))
                .map_err(reading)?;
                sections[10] = Some(code(bytes, section, survey, added, &mut types)?);
            }
            Payload::TypeSection(_) | Payload::CodeSectionEntry(_) | Payload::TagSection(_) => {}
            other => {
                if let Some((id, range)) = other.as_section()
                    && ORDER.contains(&id)
                {
                    sections[usize::from(id)] = bytes.get(range).map(<[u8]>::to_vec);
                }
            }
        }
    }
    if added.is_some() {
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(ty, &ConstExpr::i32_const(0));
        globals.global(ty, &ConstExpr::i32_const(0));
    }
    sections[1] = Some(contents(&types.section));
    if !globals.is_empty() {
        sections[6] = Some(contents(&globals));
    }
    let mut module = wasm_encoder::Module::new();
    for id in ORDER {
        if let Some(data) = &sections[usize::from(id)] {
            module.section(&RawSection { id, data });
        }
    }
    let bytes = module.finish();
    if bytes.len() as u64 > param::MODULE_BYTES_MAX.0 {
        return Err(Refusal::Grown { at: At { function: None, offset: 0 }, len: bytes.len() as u64 });
    }
    Ok(bytes)
}

/// A section's bytes without its length.
fn contents(section: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    // The length takes at most five bytes, the last of which has no continuation bit.
    let prefix = bytes.iter().take(5).take_while(|byte| **byte >= 0x80).count() + 1;
    bytes.drain(..prefix.min(bytes.len()));
    bytes
}

fn code(
    bytes: &[u8],
    section: wasmparser::CodeSectionReader<'_>,
    survey: &Survey,
    added: Option<Added>,
    types: &mut Types,
) -> Result<Vec<u8>, Refusal> {
    let mut bodies = CodeSection::new();
    for (index, body) in (survey.imported..).zip(section) {
        let body = body.map_err(reading)?;
        let offset = body.range().start;
        let found = survey.bodies.get(bodies.len() as usize).copied().unwrap_or_default();
        if found.touched || survey.throws(index) {
            let written = body::write(bytes, index, &body, survey, added, types)?;
            let at = At { function: Some(index), offset };
            bounded(at, Counted::BodyBytes, written.len() as u64, param::FUNCTION_BYTES_MAX as u64)?;
            bodies.raw(&written);
        } else {
            bodies.raw(body.as_bytes());
        }
        // Checked while it grows, so that no module takes more memory than its limit and one body.
        if bodies.byte_len() as u64 > param::MODULE_BYTES_MAX.0 {
            let at = At { function: Some(index), offset };
            return Err(Refusal::Grown { at, len: bodies.byte_len() as u64 });
        }
    }
    if let Some(added) = added {
        bodies.raw(&body::raise(added));
        bodies.raw(&body::take(added));
    }
    Ok(contents(&bodies))
}

#[cfg(test)]
mod tests {
    use super::lower;

    /// Bytes that an instruction becomes, at most, per byte that it had.
    const GROWTH_MAX: usize = 16;

    /// Bytes by which a module of `count` times `body` is longer than one without, before and after.
    fn growth(items: &str, open: &str, body: &str, close: &str, count: usize) -> (usize, usize) {
        let module = |count: usize| {
            let text = format!("(module (memory 1) {items} (func {open} {} {close}))", body.repeat(count));
            let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{body}: {error}"));
            let lowered = lower(&bytes).unwrap_or_else(|refusal| panic!("{refusal}")).bytes;
            wasmparser::Validator::new().validate_all(&lowered).unwrap_or_else(|error| panic!("{body}: {error}"));
            (bytes.len(), lowered.len())
        };
        let (none, some) = (module(0), module(count));
        (some.0 - none.0, some.1 - none.1)
    }

    #[test]
    fn an_instruction_becomes_at_most_sixteen_times_as_long() {
        let items = "(tag $e (param i32)) (tag $f) (tag $g) (func $throw (throw $f))";
        // Deep inside, so that labels are long.
        let (open, close) = ("block ".repeat(200), "end ".repeat(200));
        for body in [
            "call $throw ",
            "throw $f ",
            "(throw $e (i32.const 0)) ",
            "(throw_ref (ref.null exn)) ",
            "throw_ref ",
            "(block (try_table (catch $f 0))) ",
            "(block (try_table (catch $f 0) (catch $f 0) (catch $f 0) (catch $f 0) (catch $f 0))) ",
            "(drop (block (result i32) (try_table (catch $e 0)) unreachable)) ",
            "(block (result i32 exnref) (try_table (catch_ref $e 0) (catch_ref $e 0)) unreachable) drop drop ",
            "(drop (block (result exnref) (try_table (catch_all_ref 0)) unreachable)) ",
            "br 0 ",
            "(drop (i64.atomic.load16_u (i32.const 0))) ",
            "(i64.atomic.store offset=3 (i32.const 0) (i64.const 0)) ",
            "(drop (i64.atomic.rmw.cmpxchg offset=1 (i32.const 0) (i64.const 0) (i64.const 0))) ",
            "(drop (i32.atomic.rmw16.xor_u offset=16384 (i32.const 0) (i32.const 0))) ",
            "i32.atomic.rmw.cmpxchg offset=1 drop ",
        ] {
            // In code that is never reached, instructions need no operands.
            let (before, after) = growth(items, &format!("{open} unreachable "), body, &close, 1_000);
            assert!(after <= GROWTH_MAX * before, "{body}: {before} bytes became {after}");
        }
    }
}
