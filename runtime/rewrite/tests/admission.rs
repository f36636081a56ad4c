//! Every rule of admission refuses what breaks it, and says where and with which values.

use samebit_rewrite::{
    At, Counted, EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_STOP, Executable, Feature, GlobalType, Refusal, prepare,
};
use samebit_spec::{
    param,
    task::TaskForm,
    wasi::{CoreType, SIGNATURES},
};

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A command with `items` in it.
fn command(items: &str) -> String {
    format!(r#"(module {items} (memory (export "memory") 1) (func (export "_start")))"#)
}

fn admitted(text: &str) -> Executable {
    prepare(&wasm(text)).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

fn refused(text: &str) -> Refusal {
    prepare(&wasm(text)).expect_err(text)
}

fn refused_feature(text: &str) -> (Feature, Option<u32>) {
    match refused(text) {
        Refusal::Feature { at, feature, .. } => (feature, at.function),
        other => panic!("{other}\n{text}"),
    }
}

const STEPPED: &str = r#"(module (memory (export "memory") 1)
    (func (export "_initialize"))
    (func (export "samebit_init") (result i32) i32.const 1)
    (func (export "samebit_step") (param i64) (result i32) i32.const 0)
    (func (export "samebit_finish") (result i32) i32.const 0))"#;

#[test]
fn a_command_and_a_stepped_task_are_admitted_for_what_they_are() {
    assert_eq!(admitted(&command("")).form, TaskForm::Command);
    assert_eq!(admitted(STEPPED).form, TaskForm::Stepped);
}

#[test]
fn every_function_of_preview1_may_be_imported_with_its_own_type_and_no_other() {
    assert_eq!(SIGNATURES.len(), 46);
    let text = |params: &str, result: &str, name: &str| {
        command(&format!(r#"(import "wasi_snapshot_preview1" "{name}" (func (param {params}) (result {result})))"#))
    };
    for signature in SIGNATURES {
        let params: Vec<&str> =
            signature.params.iter().map(|ty| if *ty == CoreType::I32 { "i32" } else { "i64" }).collect();
        let result = if signature.result.is_some() { "i32" } else { "" };
        let right = admitted(&text(&params.join(" "), result, signature.name));
        assert_eq!(right.imports, [signature.name]);
        let wrong = refused(&text(&params.join(" "), "f32", signature.name));
        assert!(matches!(&wrong, Refusal::ImportType { name, .. } if name == signature.name), "{wrong}");
    }
}

#[test]
fn an_import_from_elsewhere_or_of_an_unknown_name_is_refused_by_its_name() {
    let other = refused(&command(r#"(import "env" "system" (func (param i32) (result i32)))"#));
    assert!(matches!(&other, Refusal::Import { module, name, .. } if module == "env" && name == "system"));
    assert!(other.to_string().contains("env") && other.to_string().contains("system"), "{other}");
    let unknown = refused(&command(r#"(import "wasi_snapshot_preview1" "fork" (func))"#));
    assert!(matches!(unknown, Refusal::Import { .. }), "{unknown}");
}

#[test]
fn memory_tables_and_globals_are_never_imported() {
    for item in ["(memory 1)", "(global i32)", "(table 1 funcref)"] {
        let text = format!(r#"(module (import "wasi_snapshot_preview1" "fd_write" {item}) (func (export "_start")))"#);
        assert!(matches!(refused(&text), Refusal::Import { .. }), "{item}");
    }
}

#[test]
fn a_module_without_its_own_memory_under_its_name_is_refused() {
    assert_eq!(refused(r#"(module (func (export "_start")))"#), Refusal::Memory);
    assert_eq!(refused(r#"(module (memory (export "mem") 1) (func (export "_start")))"#), Refusal::Memory);
    let function = r#"(module (memory 1) (func (export "memory")) (func (export "_start")))"#;
    assert_eq!(refused(function), Refusal::Memory);
}

#[test]
fn a_module_that_is_no_task_or_two_tasks_is_refused() {
    assert_eq!(refused(r#"(module (memory (export "memory") 1))"#), Refusal::NoEntry);
    let reactor = r#"(module (memory (export "memory") 1) (func (export "_initialize")))"#;
    assert_eq!(refused(reactor), Refusal::NoEntry);
    let both = STEPPED.replace("(module", r#"(module (func (export "_start"))"#);
    assert!(matches!(refused(&both), Refusal::TwoForms { name: "samebit_init", .. }));
}

#[test]
fn a_stepped_task_needs_each_of_its_exports() {
    for (name, line) in [
        ("_initialize", r#"(func (export "_initialize"))"#),
        ("samebit_init", r#"(func (export "samebit_init") (result i32) i32.const 1)"#),
        ("samebit_step", r#"(func (export "samebit_step") (param i64) (result i32) i32.const 0)"#),
        ("samebit_finish", r#"(func (export "samebit_finish") (result i32) i32.const 0)"#),
    ] {
        assert_eq!(refused(&STEPPED.replace(line, "")), Refusal::ExportMissing { name });
    }
}

#[test]
fn steps_that_the_linker_wrapped_are_refused_with_the_way_out() {
    let text = refused(&STEPPED.replace(r#"(func (export "_initialize"))"#, "")).to_string();
    assert!(text.contains("_initialize") && text.contains("SDK"), "{text}");
}

#[test]
fn entries_of_another_type_or_kind_are_refused() {
    let wrong = refused(&STEPPED.replace("(param i64) (result i32)", "(param i32) (result i32)"));
    match &wrong {
        Refusal::ExportType { name, wanted, found, .. } => assert_eq!(
            (*name, *wanted, found.as_str()),
            ("samebit_step", "a function (i64) -> (i32)", "a function (i32) -> (i32)")
        ),
        other => panic!("{other}"),
    }
    let global = r#"(module (memory (export "memory") 1) (global (export "_start") i32 (i32.const 0)))"#;
    assert!(matches!(refused(global), Refusal::ExportType { name: "_start", .. }));
    let imported = STEPPED.replace(
        r#"(module (memory (export "memory") 1)"#,
        r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func $y (result i32)))
           (memory (export "memory") 1) (export "samebit_init" (func $y))"#,
    );
    let imported = imported.replace(r#"(func (export "samebit_init") (result i32) i32.const 1)"#, "");
    assert!(matches!(refused(&imported), Refusal::ExportType { name: "samebit_init", .. }));
}

#[test]
fn names_that_the_rewriter_gives_are_not_the_modules_to_use() {
    let text = command(r#"(func (export "__samebit_start"))"#);
    assert!(matches!(refused(&text), Refusal::Reserved { name, .. } if name == "__samebit_start"));
}

#[test]
fn instructions_that_change_tables_are_refused_where_they_stand() {
    for (name, body) in [
        ("table.set", "(table.set $t (i32.const 0) (ref.null func))"),
        ("table.grow", "(drop (table.grow $t (ref.null func) (i32.const 1)))"),
        ("table.fill", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))"),
        ("table.copy", "(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0))"),
        ("table.init", "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0))"),
    ] {
        // `ref.null` would be refused first as a reference; the order of instructions decides.
        let text = command(&format!("(table $t 1 funcref) (elem $e (i32.const 0) func) (func {body})"));
        match refused(&text) {
            Refusal::TableChange { at, instruction } => {
                assert_eq!((instruction.as_str(), at.function), (name, Some(0)));
            }
            Refusal::Feature { feature: Feature::References, .. } => assert!(body.contains("ref.null"), "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn segments_that_outlive_instantiation_are_refused() {
    for (name, body) in [
        ("memory.init", "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))"),
        ("data.drop", "(data.drop $d)"),
        ("elem.drop", "(elem.drop $e)"),
    ] {
        let items = r#"(table $t 1 funcref) (elem $e (i32.const 0) func) (data $d (i32.const 0) "x")"#;
        let refusal = refused(&command(&format!("{items} (func {body})")));
        match refusal {
            Refusal::SegmentUse { at: At { function: Some(0), offset }, instruction } => {
                assert_eq!(instruction, name);
                assert!(offset > 8);
            }
            other => panic!("{name}: {other}"),
        }
    }
    let data = refused(&command(r#"(data (i32.const 0) "a") (data "passive")"#));
    assert!(matches!(data, Refusal::Passive { kind: "data", index: 1, .. }), "{data}");
    let element = refused(&command("(func $f) (elem func $f)"));
    assert!(matches!(element, Refusal::Passive { kind: "element", index: 0, .. }), "{element}");
}

#[test]
fn every_feature_outside_the_profile_is_refused_by_its_own_name() {
    // The comment marks the cases whose place is within a function.
    let body = |items: &str, body: &str| command(&format!("{items} (func (;inside;) {body})"));
    for (feature, text) in [
        (Feature::Threads, body("", "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))")),
        (Feature::Threads, r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#.into()),
        (
            Feature::RelaxedSimd,
            body(
                "",
                "(drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
            ),
        ),
        (Feature::Memory64, r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#.into()),
        (Feature::MultiMemory, command("(memory 1)")),
        (
            Feature::CustomPageSizes,
            r#"(module (memory (export "memory") 1 (pagesize 1)) (func (export "_start")))"#.into(),
        ),
        (Feature::TailCalls, body("(func $f)", "(return_call $f)")),
        (Feature::Exceptions, command("(tag (param i64))")),
        (Feature::Exceptions, body("", "(try_table)")),
        (Feature::Gc, command("(type (struct (field i32)))")),
        (Feature::Gc, command("(rec (type (func)) (type (func)))")),
        (Feature::Gc, body("", "(drop (i31.get_s (ref.i31 (i32.const 0))))")),
        (Feature::References, body("", "(drop (ref.is_null (ref.null func)))")),
        (Feature::References, body("(table $t 1 funcref)", "(drop (table.size $t))")),
        (
            Feature::WideArithmetic,
            body("", "(i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)) drop drop"),
        ),
        (Feature::StackSwitching, command("(type $f (func)) (type (cont $f))")),
        (Feature::Components, "(component)".into()),
    ] {
        let (found, function) = refused_feature(&text);
        assert_eq!(found, feature, "{text}");
        assert_eq!(function.is_some(), text.contains("inside"), "{text}");
    }
}

#[test]
fn counts_beyond_the_profiles_limits_are_refused_with_both_numbers() {
    let many = |what: &str, count: u64| what.repeat(usize::try_from(count).expect("small"));
    let over = |max: u32| u64::from(max) + 1;
    for (wanted, text) in [
        (Counted::Types, command(&many("(type (func))", over(param::MODULE_TYPES_MAX)))),
        (Counted::Parameters, command(&format!("(type (func (param {})))", many("i32 ", 256)))),
        (Counted::Results, command(&format!("(type (func (result {})))", many("i32 ", 256)))),
        (
            Counted::Imports,
            command(&many(
                r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#,
                over(param::MODULE_IMPORTS_MAX),
            )),
        ),
        (Counted::Functions, command(&many("(func)", over(param::MODULE_FUNCTIONS_MAX)))),
        (Counted::Tables, command(&many("(table 1 funcref)", over(param::MODULE_TABLES_MAX)))),
        (Counted::TableElements, command("(table 1000001 funcref)")),
        (Counted::MemoryPages, r#"(module (memory (export "memory") 65536) (func (export "_start")))"#.into()),
        (Counted::Tags, command(&many("(tag)", over(param::MODULE_TAGS_MAX)))),
        (Counted::Globals, command(&many("(global i32 (i32.const 0))", over(param::MODULE_GLOBALS_MAX)))),
        (
            Counted::Exports,
            command(
                &(0..=param::MODULE_EXPORTS_MAX).map(|n| format!(r#"(export "e{n}" (func 0))"#)).collect::<String>(),
            ),
        ),
        (
            Counted::ElementSegments,
            command(&format!(
                "(table 1 funcref) {}",
                many("(elem (i32.const 0) func)", over(param::ELEMENT_SEGMENTS_MAX))
            )),
        ),
        (Counted::DataSegments, command(&many(r#"(data (i32.const 0) "")"#, over(param::DATA_SEGMENTS_MAX)))),
        (Counted::Locals, command(&format!("(func (local {}))", many("i64 ", over(param::FUNCTION_LOCALS_MAX))))),
        (Counted::BodyBytes, command(&format!("(func {})", many("nop ", param::FUNCTION_BYTES_MAX as u64 + 1)))),
    ] {
        match refused(&text) {
            Refusal::TooMany { what, count, max, .. } => {
                assert_eq!(what, wanted);
                assert!(count > max, "{what}: {count} of {max}");
            }
            other => panic!("{wanted}: {other}"),
        }
    }
}

#[test]
fn data_beyond_its_limit_is_refused() {
    // Built by hand: a text of 64 MiB takes the text parser longer than the test is worth.
    let len = usize::try_from(param::DATA_BYTES_MAX).expect("fits") + 1;
    let mut bytes = wasm(&command(""));
    let mut segment = vec![1, 0, 0x41, 0, 0x0b];
    leb(&mut segment, len);
    bytes.push(11);
    leb(&mut bytes, segment.len() + len);
    bytes.extend_from_slice(&segment);
    bytes.resize(bytes.len() + len, 0);
    let refusal = prepare(&bytes).expect_err("too much data");
    assert!(matches!(refusal, Refusal::TooMany { what: Counted::DataBytes, .. }), "{refusal}");
}

fn leb(into: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        into.push(0x80 | u8::try_from(value & 0x7f).expect("seven bits"));
        value >>= 7;
    }
    into.push(u8::try_from(value).expect("seven bits"));
}

#[test]
fn a_huge_module_is_refused_by_its_length_alone() {
    let len = usize::try_from(param::MODULE_BYTES_MAX.0).expect("fits") + 1;
    assert_eq!(prepare(&vec![0; len]), Err(Refusal::TooLarge { len: len as u64 }));
}

#[test]
fn bytes_that_are_no_module_and_every_truncation_are_refused_without_a_panic() {
    for bytes in [&b""[..], b"\0asm", b"#!/bin/sh\n", b"\0asm\x02\0\0\0"] {
        assert!(matches!(prepare(bytes), Err(Refusal::Invalid { .. })), "{bytes:?}");
    }
    let whole = wasm(STEPPED);
    for end in 0..whole.len() {
        assert!(prepare(&whole[..end]).is_err(), "the first {end} bytes were admitted");
    }
}

#[test]
fn a_type_error_is_refused_with_its_function_and_offset() {
    let refusal = refused(&command("(func) (func (result i32) i64.const 1)"));
    match &refusal {
        Refusal::Invalid { at: At { function: Some(1), offset }, .. } => assert!(*offset > 8),
        other => panic!("{other}"),
    }
    assert!(refusal.to_string().starts_with("function 1, offset 0x"), "{refusal}");
}

#[test]
fn a_mutable_global_becomes_an_export_and_a_start_function_becomes_callable() {
    let executable = admitted(&command(
        r#"(global i32 (i32.const 1)) (global (mut i64) (i64.const 2)) (global (mut v128) (v128.const i64x2 3 4))
           (func $s) (start $s)"#,
    ));
    assert_eq!(executable.globals, [(1, GlobalType::I64), (2, GlobalType::V128)]);
    assert!(executable.start);
    let exports: Vec<String> = wasmparser::Parser::new(0)
        .parse_all(&executable.bytes)
        .filter_map(|payload| match payload.expect("valid") {
            wasmparser::Payload::ExportSection(section) => Some(section),
            wasmparser::Payload::StartSection { .. } => panic!("the start section is still there"),
            _ => None,
        })
        .flat_map(|section| section.into_iter().map(|export| export.expect("valid").name.to_string()))
        .collect();
    assert_eq!(exports[..5], ["memory", "_start", "__samebit_g1", "__samebit_g2", "__samebit_start"]);
    assert_eq!(exports[5..], [EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_STOP]);
}

#[test]
fn a_rewritten_module_is_valid_and_says_the_same_without_its_custom_sections() {
    let mut bytes = wasm(&command("(func $named (local i32) local.get 0 drop)"));
    let plain = prepare(&bytes).expect("admitted");
    wasmparser::Validator::new().validate_all(&plain.bytes).expect("the rewritten module is valid");
    bytes.extend_from_slice(&[0, 6, 4, b'n', b'o', b't', b'e', 1]);
    let noted = prepare(&bytes).expect("admitted");
    assert_eq!(noted.bytes, plain.bytes);
    assert_ne!(noted.module, plain.module);
}

/// Refused for too much of something in the function with this index, at a place inside it.
fn refused_count(text: &str, function: u32) -> (Counted, u64, u64) {
    match refused(text) {
        Refusal::TooMany { at, what, count, max } => {
            assert_eq!(at.function, Some(function));
            assert!(at.offset > 0);
            (what, count, max)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn blocks_that_pass_many_values_are_refused_before_a_compiler_meets_them() {
    let body = |values: usize, blocks: usize| {
        let (i32s, push, drop) = ("i32 ".repeat(values), "i32.const 1 ".repeat(values), "drop ".repeat(values));
        let blocks = "block (type $t) end ".repeat(blocks);
        command(&format!("(type $t (func (param {i32s}) (result {i32s}))) (func {push} {blocks} {drop})"))
    };
    admitted(&body(8, 1_000));
    assert_eq!(refused_count(&body(9, 1), 0), (Counted::BlockValues, 18, param::BLOCK_VALUES_MAX));
    let (what, _, max) = refused_count(&body(8, 1_200), 0);
    assert_eq!((what, max), (Counted::FunctionBlockValues, param::FUNCTION_BLOCK_VALUES_MAX));
    let results = command(&format!("(type (func (result {})))", "i32 ".repeat(17)));
    assert!(matches!(refused(&results), Refusal::TooMany { what: Counted::Results, count: 17, max: 16, .. }));
}

#[test]
fn depth_of_blocks_and_of_loops_is_bounded() {
    let nest =
        |open: &str, depth: usize| command(&format!("(func) (func {} {})", open.repeat(depth), "end ".repeat(depth)));
    admitted(&nest("block ", 4_096));
    assert_eq!(refused_count(&nest("block ", 5_000), 1), (Counted::Nesting, 4_097, param::NESTING_MAX));
    admitted(&nest("loop ", 256));
    assert_eq!(refused_count(&nest("loop ", 5_000), 1), (Counted::NestedLoops, 257, param::NESTED_LOOPS_MAX));
    // Side by side they do not count.
    admitted(&command(&format!("(func {})", "loop end ".repeat(5_000))));
}

#[test]
fn a_small_module_cannot_declare_locals_without_end() {
    let functions = |count: usize| command(&format!("(func (local {}))", "i64 ".repeat(10_000)).repeat(count));
    admitted(&functions(200));
    assert_eq!(refused_count(&functions(201), 200), (Counted::ModuleLocals, 2_010_000, param::MODULE_LOCALS_MAX));
}

#[test]
fn what_is_said_outside_bodies_is_checked_before_any_body() {
    let bad_body = "(func (result i32) i64.const 1)";
    let text = format!(r#"(module {bad_body} (memory (export "memory") 1))"#);
    assert_eq!(refused(&text), Refusal::NoEntry);
    assert_eq!(refused(&format!(r#"(module {bad_body} (func (export "_start")))"#)), Refusal::Memory);
}
