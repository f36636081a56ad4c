//! Every way to be refused, as a person reads it: the function, the byte and the reason.
//!
//! The lists at the top match each enum without a wildcard, so a new case does not compile until it is named here,
//! and a named one without a module that is refused for it fails the test.

use samebit_rewrite::{At, Counted, Feature, Refusal, prepare};
use std::collections::BTreeSet;

/// The variants of an enum, and which of them a value is.
macro_rules! variants {
    ($list:ident, $name:ident, $ty:ty: $($variant:ident)*) => {
        const $list: &[&str] = &[$(stringify!($variant)),*];
        fn $name(value: &$ty) -> &'static str {
            type This = $ty;
            match value { $(This::$variant { .. } => stringify!($variant)),* }
        }
    };
}

variants!(REFUSALS, refusal_name, Refusal:
    TooLarge Grown TooMany Invalid Feature Import ImportType Memory Reserved TableChange SegmentUse Passive NoEntry
    TwoForms ExportMissing ExportType);

variants!(COUNTED, counted_name, Counted:
    Types Parameters Results Imports Functions Tables TableElements MemoryPages Globals Tags Exports ElementSegments
    Elements DataSegments DataBytes Locals ModuleLocals Operands BodyBytes BlockValues FunctionBlockValues Nesting NestedLoops
    Branches Ways RewrittenBytes RewrittenBranches ModuleBranches Passed LoopSets BlockSets ConstantBytes);

variants!(FEATURES, feature_name, Feature:
    Components Threads RelaxedSimd Memory64 MultiMemory TailCalls Exceptions Gc References CustomPageSizes WideArithmetic
    StackSwitching Other);

/// The place that a refusal names. Some are about what is not there, or about the module as a whole.
fn place(refusal: &Refusal) -> Option<At> {
    match refusal {
        Refusal::Grown { at, .. }
        | Refusal::TooMany { at, .. }
        | Refusal::Invalid { at, .. }
        | Refusal::Feature { at, .. }
        | Refusal::Import { at, .. }
        | Refusal::ImportType { at, .. }
        | Refusal::Reserved { at, .. }
        | Refusal::TableChange { at, .. }
        | Refusal::SegmentUse { at, .. }
        | Refusal::Passive { at, .. }
        | Refusal::TwoForms { at, .. }
        | Refusal::ExportType { at, .. } => Some(*at),
        Refusal::TooLarge { .. } | Refusal::Memory | Refusal::NoEntry | Refusal::ExportMissing { .. } => None,
    }
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{}", text.get(..500).unwrap_or(text)))
}

/// A command with `items` in it, whose entry comes last.
fn command(items: &str) -> Vec<u8> {
    wasm(&format!(r#"(module {items} (memory (export "memory") 1) (func (export "_start")))"#))
}

/// A command whose function 0 has nothing to say and whose function 1 has this body.
fn body(items: &str, body: &str) -> Vec<u8> {
    command(&format!("{items} (func) (func {body})"))
}

fn stepped(change: impl Fn(&str) -> String) -> Vec<u8> {
    wasm(&change(
        r#"(module (memory (export "memory") 1)
            (func (export "_initialize"))
            (func (export "samebit_init") (result i32) i32.const 1)
            (func (export "samebit_step") (param i64) (result i32) i32.const 0)
            (func (export "samebit_finish") (result i32) i32.const 0))"#,
    ))
}

/// A command with so many functions that each call function 1 so many times, which is no straight-line code: each call is
/// followed by a look at the meter where they are many.
fn called(functions: u32, calls: usize) -> Vec<u8> {
    use wasm_encoder::{
        CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction, MemorySection, MemoryType,
        Module, TypeSection,
    };
    let (mut types, mut list, mut memories) = (TypeSection::new(), FunctionSection::new(), MemorySection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    types.ty().function([], []);
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, 0);
    let mut calling = Function::new([]);
    calling.raw([0x10, 1].repeat(calls)).instruction(&Instruction::End);
    let mut called = Function::new([]);
    called.instruction(&Instruction::Nop).instruction(&Instruction::Return).instruction(&Instruction::End);
    let mut start = Function::new([]);
    start.instruction(&Instruction::End);
    for function in [start, called].iter().chain((0..functions).map(|_| &calling)) {
        list.function(0);
        code.function(function);
    }
    let mut module = Module::new();
    module.section(&types).section(&list).section(&memories).section(&exports).section(&code);
    module.finish()
}

/// Locals that are all read and written once.
fn change(locals: usize) -> String {
    (0..locals).map(|n| format!("(local.set {n} (i32.add (local.get {n}) (i32.const 1)))")).collect()
}

/// A module that is refused, what is said, and the first bytes at the place that is named.
type Case = (Vec<u8>, &'static str, &'static [u8]);

fn too_many() -> Vec<Case> {
    let sched = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
    let values = |count: usize, blocks: usize| {
        let (i32s, push, drop) = ("i32 ".repeat(count), "i32.const 1 ".repeat(count), "drop ".repeat(count));
        let blocks = "block (type $t) end ".repeat(blocks);
        body(&format!("(type $t (func (param {i32s}) (result {i32s})))"), &format!("{push} {blocks} {drop}"))
    };
    let exports: String = (0..10_000).map(|n| format!(r#"(export "e{n}" (func 0))"#)).collect();
    vec![
        (command(&"(type (func))".repeat(20_001)), "offset 0xc: 20001 function types, at most 20000", &[0xa1, 0x9c]),
        (
            command(&format!("(type (func (param {})))", "i32 ".repeat(256))),
            "offset 0xc: 256 parameters of a function type, at most 255",
            &[0x60, 0x80, 0x02],
        ),
        (
            command(&format!("(type (func (result {})))", "i32 ".repeat(17))),
            "offset 0xb: 17 results of a function type, at most 16",
            &[0x60, 0x00, 0x11],
        ),
        (command(&sched.repeat(257)), "offset 0x15: 257 imports, at most 256", &[0x81, 0x02]),
        (command(&"(func)".repeat(200_000)), "offset 0x12: 200001 functions, at most 200000", &[0xc1, 0x9a]),
        (command("(table 1 funcref) (table 1 funcref)"), "offset 0x14: 2 tables, at most 1", &[0x02, 0x70]),
        (command("(table 1000001 funcref)"), "offset 0x15: 1000001 table elements, at most 1000000", &[0x70, 0x00]),
        (
            wasm(r#"(module (memory (export "memory") 65536) (func (export "_start")))"#),
            "offset 0x15: 65536 memory pages at the beginning, at most 65535",
            &[0x00, 0x80],
        ),
        (
            command(&"(global i32 (i32.const 0))".repeat(1_025)),
            "offset 0x1a: 1025 globals, at most 1024",
            &[0x81, 0x08],
        ),
        (command(&"(tag)".repeat(257)), "offset 0x1a: 257 tags of exceptions, at most 256", &[0x81, 0x02]),
        (command(&exports), "offset 0x1b: 10002 exports, at most 10000", &[0x92, 0x4e]),
        (
            command(&format!("(table 1 funcref) {}", "(elem (i32.const 0) func)".repeat(10_001))),
            "offset 0x36: 10001 element segments, at most 10000",
            &[0x91, 0x4e],
        ),
        (
            command(&format!(
                "(table 1 funcref) {}",
                format!("(elem (i32.const 0) func {})", "0 ".repeat(10_000)).repeat(101)
            )),
            "offset 0xf44cf: 1010000 elements of all segments, at most 1000000",
            &[0x00, 0x41, 0x00, 0x0b],
        ),
        (
            command(&r#"(data (i32.const 0) "")"#.repeat(100_001)),
            "offset 0x36: 100001 data segments, at most 100000",
            &[0xa1, 0x8d],
        ),
        (data((64 << 20) + 1), "offset 0x38: 67108865 bytes of data segments, at most 67108864", &[0x00]),
        (
            body("", &format!("(local {})", "i64 f64 ".repeat(5_001))),
            "function 1, offset 0x4e5b: 10001 locals of a function, at most 10000",
            &[0x01, 0x7e],
        ),
        (
            command(&format!("(func (local {}))", "i64 ".repeat(10_000)).repeat(201)),
            "function 200, offset 0x5af: 2010000 locals of all functions, at most 2000000",
            &[0x90, 0x4e, 0x7e],
        ),
        (
            body("", &"i32.const 0 ".repeat(16_385)),
            "function 1, offset 0x803a: 16385 operands on the stack at once, at most 16384",
            &[0x41, 0x00],
        ),
        (
            body("", &"nop ".repeat((2 << 20) + 1)),
            "function 1, offset 0x3b: 2097155 bytes of a function's body, at most 2097152",
            &[0x00, 0x01],
        ),
        (values(9, 1), "function 1, offset 0x5d: 18 parameters and results of a block, at most 16", &[0x02, 0x00]),
        (
            values(8, 1_200),
            "function 1, offset 0xd27: 16395 parameters and results of a function's blocks, one of each block not counted, at most 16384",
            &[0x02, 0x00],
        ),
        (
            body("", &format!("{} {}", "block ".repeat(4_097), "end ".repeat(4_097))),
            "function 1, offset 0x2038: 4097 blocks inside one another, at most 4096",
            &[0x02, 0x40],
        ),
        (
            body("", &format!("{} {}", "loop ".repeat(257), "end ".repeat(257))),
            "function 1, offset 0x238: 257 loops inside one another, at most 256",
            &[0x03, 0x40],
        ),
        (
            body("", &"block end ".repeat(5_100)),
            "function 1, offset 0x3b6c: 5053 blocks, loops and branches of a function, at most 5052",
            &[0x02, 0x40],
        ),
        (
            body("", &format!("(br_table {} (i32.const 0))", "0 ".repeat(32_770))),
            "function 1, offset 0x3c: 32769 ways of a function's branch tables, at most 32768",
            &[0x0e, 0x81],
        ),
        (
            body(
                "(global $v v128 (v128.const i64x2 0 0))",
                &format!("(global.get $v) {} drop", "f32x4.sqrt i8x16.abs ".repeat(400_000)),
            ),
            "function 1, offset 0x# bytes of a function's body once it is rewritten, at most 7000000",
            &[0x00, 0x23],
        ),
        (
            called(1, 20_000),
            "function 2, offset 0x# blocks, loops and branches of a function once it is rewritten, at most 18192",
            &[0x00, 0x10, 0x01],
        ),
        (
            called(800, 16_000),
            "function # blocks, loops and branches of all functions once they are rewritten, at most 12582912",
            &[0x00, 0x10, 0x01],
        ),
        (
            body(
                "",
                &format!(
                    "{} {} {}) (func $twelve (param {n}) (result {n}) unreachable",
                    "i32.const 0 ".repeat(12),
                    "call $twelve ".repeat(1_000),
                    "drop ".repeat(12),
                    n = "i32 ".repeat(12)
                ),
            ),
            "function 1, offset 0x# parameters and results of a function's calls, at most 18422",
            &[0x10, 0x02],
        ),
        (
            body(
                "",
                &format!(
                    "(local {}) {} {} {}",
                    "i32 ".repeat(1_000),
                    "loop ".repeat(16),
                    change(1_000),
                    "end ".repeat(16)
                ),
            ),
            "function 1, offset 0x2287: 5000 assignments to locals within a function's loops, once for each local and loop, at most 4247",
            &[0x0b, 0x0b],
        ),
        (
            body(
                "",
                &format!(
                    "(local {}) {} {} {}",
                    "i32 ".repeat(5_000),
                    "block ".repeat(256),
                    change(5_000),
                    "end ".repeat(256)
                ),
            ),
            "function 1, offset 0xb12c: 200000 assignments to locals within a function's blocks, once for each local and block, at most 198452",
            &[0x0b, 0x0b],
        ),
        (
            command(&format!("(global i32 (i32.const 1){})", "(i32.const 1)(i32.add)".repeat(90))),
            "offset 0x1b: 273 bytes of a constant expression, at most 256",
            &[0x7f, 0x00],
        ),
    ]
}

fn features() -> Vec<Case> {
    let entry = r#"(func (export "_start"))"#;
    vec![
        (
            wasm("(component)"),
            "offset 0x0: profile samebit-1 has no components (the file is a component)",
            &[0x00, 0x61, 0x73, 0x6d, 0x0d],
        ),
        (
            wasm(&format!(r#"(module (memory (export "memory") 1 1 shared) {entry})"#)),
            "offset 0x15: profile samebit-1 has no threads (a shared memory)",
            &[0x03, 0x01],
        ),
        (
            body("", "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))"),
            "function 1, offset 0x3a: profile samebit-1 has no threads (memory.atomic.notify)",
            &[0xfe, 0x00],
        ),
        (
            body(
                "(global $v v128 (v128.const i64x2 0 0))",
                "(drop (i8x16.relaxed_swizzle (global.get $v) (global.get $v)))",
            ),
            "function 1, offset 0x52: profile samebit-1 has no relaxed SIMD (i8x16.relaxed_swizzle)",
            &[0xfd, 0x80],
        ),
        (
            wasm(&format!(r#"(module (memory (export "memory") i64 1) {entry})"#)),
            "offset 0x15: profile samebit-1 has no 64-bit memory (a 64-bit memory)",
            &[0x04, 0x01],
        ),
        (command("(memory 1)"), "offset 0x14: profile samebit-1 has no second memory (2 memories)", &[0x02, 0x00]),
        (
            body("", "(return_call 0)"),
            "function 1, offset 0x36: profile samebit-1 has no tail calls (return_call)",
            &[0x12, 0x00],
        ),
        (
            command("(tag (param i64))"),
            "offset 0x1e: profile samebit-1 has no exceptions of this form (a tag with parameters (i64))",
            &[0x00, 0x00],
        ),
        (
            body("", "(try_table)"),
            "function 1, offset 0x36: profile samebit-1 has no exceptions of this form (try_table)",
            &[0x1f, 0x40],
        ),
        (
            body("(tag)", "try catch 0 end"),
            "function 1, offset 0x3b: profile samebit-1 has no exceptions of this form (try)",
            &[0x06, 0x40],
        ),
        (
            command("(type (struct (field i32)))"),
            "offset 0xb: profile samebit-1 has no garbage-collected types (a struct or array type)",
            &[0x5f, 0x01],
        ),
        (
            command("(rec (type (func)) (type (func)))"),
            "offset 0xb: profile samebit-1 has no garbage-collected types (a recursive type group)",
            &[0x4e, 0x02],
        ),
        (
            body("", "(drop (i31.get_s (ref.i31 (i32.const 0))))"),
            "function 1, offset 0x38: profile samebit-1 has no garbage-collected types (ref.i31)",
            &[0xfb, 0x1c],
        ),
        (
            body("", "(drop (ref.null func))"),
            "function 1, offset 0x36: profile samebit-1 has no references of this kind (ref.null)",
            &[0xd0, 0x70],
        ),
        (
            wasm(&format!(r#"(module (memory (export "memory") 1 (pagesize 1)) {entry})"#)),
            "offset 0x15: profile samebit-1 has no custom page sizes (a memory with its own page size)",
            &[0x08, 0x01],
        ),
        (
            body("", "(i64.mul_wide_s (i64.const 0) (i64.const 0)) drop drop"),
            "function 1, offset 0x3a: profile samebit-1 has no wide arithmetic (i64.mul_wide_s)",
            &[0xfc, 0x15],
        ),
        (
            command("(type $f (func)) (type (cont $f))"),
            "offset 0xe: profile samebit-1 has no stack switching (a continuation type)",
            &[0x5d, 0x00],
        ),
        (
            body("", "(memory.discard (i32.const 0) (i32.const 0))"),
            "function 1, offset 0x3a: profile samebit-1 has no such instruction (memory.discard)",
            &[0xfc, 0x12],
        ),
    ]
}

fn rules() -> Vec<Case> {
    let nothing = |text: &str| text.replace(r#"(func (export "_initialize"))"#, "");
    vec![
        (
            grown(),
            "function 48, offset 0xafc98c: without exceptions and atomics the module is 101136392 bytes long or more, at most 100663296",
            &[0x00, 0x00],
        ),
        (vec![0; (96 << 20) + 1], "the module is 100663297 bytes long, at most 100663296", &[]),
        (
            b"#!/bin/sh\n".to_vec(),
            "offset 0x0: not a valid module: magic header not detected: bad magic number - expected=[ 0x0, 0x61, 0x73, 0x6d, ] actual=[ 0x23, 0x21, 0x2f, 0x62, ]",
            &[0x23, 0x21],
        ),
        (
            b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f".to_vec(),
            "offset 0xe: not a valid module: unexpected end-of-file",
            &[],
        ),
        (
            body("", "(result i32) i64.const 1"),
            "function 1, offset 0x3c: not a valid module: type mismatch: expected i32, found i64",
            &[0x0b],
        ),
        (
            command(r#"(import "env" "system" (func (param i32) (result i32)))"#),
            r#"offset 0x16: import "env" "system" does not exist: a task may import functions of wasi_snapshot_preview1 and samebit_tensor and nothing else"#,
            &[0x03, 0x65],
        ),
        (
            command(r#"(import "wasi_snapshot_preview1" "fork" (func))"#),
            r#"offset 0x11: import "wasi_snapshot_preview1" "fork" does not exist: a task may import functions of wasi_snapshot_preview1 and samebit_tensor and nothing else"#,
            &[0x16, 0x77],
        ),
        (
            command(r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))"#),
            r#"offset 0x15: import "proc_exit" is (i64) -> (), the host has it as (i32) -> ()"#,
            &[0x16, 0x77],
        ),
        (wasm(r#"(module (func (export "_start")))"#), "the module has no memory of its own exported as `memory`", &[]),
        (
            command(r#"(func (export "__samebit_fuel"))"#),
            r#"offset 0x1b: export "__samebit_fuel" begins with the reserved prefix "__samebit_""#,
            &[0x0e, 0x5f],
        ),
        (
            body("(table $t 1 funcref)", "(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0))"),
            "function 1, offset 0x42: `table.copy` changes a table, which profile samebit-1 does not allow",
            &[0xfc, 0x0e],
        ),
        (
            body("", "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))) (data $d (i32.const 0) \"x\""),
            "function 1, offset 0x3f: `memory.init` uses segments at run time, which profile samebit-1 does not allow",
            &[0xfc, 0x08],
        ),
        (
            command(r#"(data (i32.const 0) "a") (data "passive")"#),
            "offset 0x3b: data segment 1 is not active, which profile samebit-1 does not allow",
            &[0x01, 0x07],
        ),
        (
            command("(func $f) (table 1 funcref) (elem (i32.const 0) $f) (elem declare func $f)"),
            "offset 0x3c: element segment 1 is not active, which profile samebit-1 does not allow",
            &[0x03, 0x00],
        ),
        (
            wasm(r#"(module (memory (export "memory") 1) (func (export "main")))"#),
            "the module exports neither `_start` nor `samebit_step`: it is no task",
            &[],
        ),
        (
            stepped(|text| text.replace("(module", r#"(module (func (export "_start"))"#)),
            "offset 0x47: the module exports both `_start` and `samebit_init`: a task has one form",
            &[0x0c, 0x73],
        ),
        (
            stepped(nothing),
            "a stepped task exports `_initialize`, this module does not: its steps are wrapped in constructor calls; build it with the SDK or export a reactor's `_initialize`",
            &[],
        ),
        (
            stepped(|text| text.replace(r#"(func (export "samebit_finish") (result i32) i32.const 0)"#, "")),
            "a stepped task exports `samebit_finish`, this module does not",
            &[],
        ),
        (
            stepped(|text| text.replace("(param i64) (result i32)", "(param i32) (result i32)")),
            "offset 0x4c: export `samebit_step` is a function (i32) -> (i32), a task has it as a function (i64) -> (i32)",
            &[0x0c, 0x73],
        ),
        (
            wasm(r#"(module (memory (export "memory") 1) (global (export "_start") i32 (i32.const 0)))"#),
            "offset 0x21: export `_start` is a global, a task has it as a function () -> ()",
            &[0x06, 0x5f],
        ),
    ]
}

fn section(bytes: &mut Vec<u8>, id: u8, contents: &[u8]) {
    bytes.push(id);
    leb(bytes, contents.len());
    bytes.extend_from_slice(contents);
}

fn leb(into: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        into.push(0x80 | u8::try_from(value & 0x7f).expect("seven bits"));
        value >>= 7;
    }
    into.push(u8::try_from(value).expect("seven bits"));
}

/// A command with one data segment of so many bytes.
fn data(len: usize) -> Vec<u8> {
    let mut bytes = command("");
    let mut contents = vec![1, 0, 0x41, 0, 0x0b];
    leb(&mut contents, len);
    contents.resize(contents.len() + len, 0);
    section(&mut bytes, 11, &contents);
    bytes
}

/// A module of twelve megabytes that lowering makes longer than any module may be.
fn grown() -> Vec<u8> {
    const FUNCTIONS: u8 = 51;
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    section(&mut bytes, 1, &[1, 0x60, 0, 0]);
    section(&mut bytes, 3, &[&[FUNCTIONS][..], &[0; FUNCTIONS as usize]].concat());
    section(&mut bytes, 5, &[1, 0, 1]);
    section(&mut bytes, 13, &[1, 0, 0]);
    section(&mut bytes, 7, &[&[2, 6][..], b"memory", &[2, 0, 6], b"_start", &[0, 0]].concat());
    // `unreachable`, and `i32.atomic.rmw.cmpxchg offset=1 drop` that is never reached.
    let body = [&[0, 0][..], &[0xfe, 0x48, 2, 1, 0x1a].repeat(48_000), &[0x0b]].concat();
    let mut code = vec![FUNCTIONS];
    for _ in 0..FUNCTIONS {
        leb(&mut code, body.len());
        code.extend_from_slice(&body);
    }
    section(&mut bytes, 10, &code);
    bytes
}

/// Whether it says `text`, in which a `#` stands for what depends on the rewriter's encoding.
fn reads(said: &str, text: &str) -> bool {
    match text.split_once('#') {
        Some((before, after)) => said.starts_with(before) && said.ends_with(after),
        None => said == text,
    }
}

#[test]
fn every_refusal_names_its_place_and_its_reason() {
    let mut seen = BTreeSet::new();
    let mut wrong = String::new();
    for (bytes, text, there) in [rules(), features(), too_many()].concat() {
        let refusal = prepare(&bytes).err().unwrap_or_else(|| panic!("admitted: {text}"));
        seen.insert(("refusal", refusal_name(&refusal)));
        match &refusal {
            Refusal::TooMany { what, .. } => seen.insert(("count", counted_name(what))),
            Refusal::Feature { feature, .. } => seen.insert(("feature", feature_name(feature))),
            _ => false,
        };
        let found = place(&refusal).and_then(|at| bytes.get(at.offset..)).unwrap_or_default();
        if !reads(&refusal.to_string(), text)
            || !found.starts_with(there)
            || place(&refusal).is_none() && !there.is_empty()
        {
            wrong.push_str(&format!("{text}\n    {refusal}\n    {:02x?}\n", found.get(..6).unwrap_or(found)));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    for (kind, list) in [("refusal", REFUSALS), ("count", COUNTED), ("feature", FEATURES)] {
        for name in list {
            assert!(seen.contains(&(kind, *name)), "no module is refused for {kind} {name}");
        }
    }
}
