//! The rewriter is consensus code: these modules become these bytes, on every machine and in every build.
//!
//! A change here is a change of the profile: every executable id of the network changes with it.

use samebit_rewrite::prepare;
use samebit_spec::param::FUNCTION_BYTES_MAX;

#[test]
fn known_modules_have_their_recorded_executable_ids() {
    let recorded = [
        (
            r#"(module (memory (export "memory") 1) (func (export "_start")))"#,
            "exec-fc1fd48ad3e071a3b2bee8b025abcb9f2524be6de4efeddc88ddf3a815284906",
        ),
        (
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 2 17)
                (global $sp (mut i32) (i32.const 65536))
                (global $scale (mut f64) (f64.const 0.5))
                (table 3 funcref) (elem (i32.const 1) $begin $start)
                (data (i32.const 8) "\10\00\00\00\03\00\00\00hi\0a")
                (func $begin (global.set $sp (i32.const 1024)))
                (func $start (export "_start")
                    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
                (start $begin))"#,
            "exec-8fc0fd7ff0c262ed1a6e33e0c393766d1e3bd3ee6d227f09b4c3f08f08fd85f1",
        ),
        (
            r#"(module (memory (export "memory") 1)
                (global $n (mut i64) (i64.const 0)) (global $v (mut v128) (v128.const i32x4 1 2 3 4))
                (func (export "_initialize"))
                (func (export "samebit_init") (result i32) i32.const 1)
                (func (export "samebit_step") (param i64) (result i32)
                    (global.set $n (i64.add (global.get $n) (i64.const 1)))
                    (global.set $v (i32x4.add (global.get $v) (i32x4.splat (i32.const 7))))
                    (block (br_if 0 (i64.lt_u (global.get $n) (i64.const 9))) (return (i32.const 0)))
                    (memory.fill (i32.const 0) (i32.const 1) (i32.const 16))
                    i32.const 1)
                (func (export "samebit_finish") (result i32) i32.const 0))"#,
            "exec-7e98abcb3582c4970453d62177b681c8e5f50ab3a0a5514fc87ede19440f3561",
        ),
    ];
    let id = |text: &str| prepare(&wat::parse_str(text).expect("text")).expect("admitted").id.to_string();
    assert_eq!(recorded.map(|(text, _)| id(text)), recorded.map(|(_, id)| id.to_string()));
}

/// A command whose only other function, with a parameter and a local, has this body.
fn with_body(code: &[u8]) -> Vec<u8> {
    use wasm_encoder::{
        CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
        Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
    };
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], []);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1).function(0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    globals
        .global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0))
        .global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, 0).export("memory", ExportKind::Memory, 0);
    let mut bodies = CodeSection::new();
    let mut start = Function::new([]);
    start.instruction(&Instruction::I32Const(7)).instruction(&Instruction::Call(1)).instruction(&Instruction::End);
    let mut body = Function::new([(1, ValType::I32)]);
    body.raw(code.iter().copied()).instruction(&Instruction::End);
    let mut empty = Function::new([]);
    // Not straight-line code, so that a call of it has a meter.
    empty.instruction(&Instruction::Nop).instruction(&Instruction::Return).instruction(&Instruction::End);
    bodies.function(&start).function(&body).function(&empty);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&globals).section(&exports);
    module.section(&bodies);
    module.finish()
}

#[test]
fn two_spellings_of_an_instruction_give_one_executable() {
    /// What is spelled; code before, the instruction as short as it can be and longer, code after.
    type Spelling<'a> = (&'a str, &'a [u8], &'a [u8], &'a [u8], &'a [u8]);
    let spellings: [Spelling<'_>; 22] = [
        ("i32.const 100", &[], &[0x41, 0xe4, 0x00], &[0x41, 0xe4, 0x80, 0x80, 0x80, 0x00], &[0x1a]),
        ("i32.const -1", &[], &[0x41, 0x7f], &[0x41, 0xff, 0xff, 0x7f], &[0x1a]),
        ("i32.const -65", &[], &[0x41, 0xbf, 0x7f], &[0x41, 0xbf, 0xff, 0x7f], &[0x1a]),
        ("i64.const -1", &[], &[0x42, 0x7f], &[0x42, 0xff, 0x7f], &[0x1a]),
        ("i64.const 0", &[], &[0x42, 0x00], &[0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], &[0x1a]),
        ("local.get of a parameter", &[], &[0x20, 0x00], &[0x20, 0x80, 0x00], &[0x1a]),
        ("local.get", &[], &[0x20, 0x01], &[0x20, 0x81, 0x80, 0x00], &[0x1a]),
        ("local.set", &[0x41, 0x01], &[0x21, 0x00], &[0x21, 0x80, 0x00], &[]),
        ("i32.load", &[0x41, 0x00], &[0x28, 0x02, 0x00], &[0x28, 0x82, 0x00, 0x80, 0x00], &[0x1a]),
        ("i32.load of the memory 0", &[0x41, 0x00], &[0x28, 0x02, 0x08], &[0x28, 0x42, 0x00, 0x08], &[0x1a]),
        ("i32.load8_u", &[0x41, 0x00], &[0x2d, 0x00, 0x80, 0x01], &[0x2d, 0x00, 0x80, 0x81, 0x00], &[0x1a]),
        ("i64.store", &[0x41, 0x00, 0x42, 0x00], &[0x37, 0x03, 0x08], &[0x37, 0x83, 0x00, 0x88, 0x80, 0x00], &[]),
        ("v128.load", &[0x41, 0x00], &[0xfd, 0x00, 0x04, 0x00], &[0xfd, 0x80, 0x00, 0x84, 0x00, 0x80, 0x00], &[0x1a]),
        (
            "v128.load of the memory 0",
            &[0x41, 0x00],
            &[0xfd, 0x00, 0x04, 0x00],
            &[0xfd, 0x00, 0x44, 0x00, 0x00],
            &[0x1a],
        ),
        ("v128.not", &[0x41, 0x00, 0xfd, 0x0f], &[0xfd, 0x4d], &[0xfd, 0xcd, 0x00], &[0x1a]),
        ("global.get", &[], &[0x23, 0x01], &[0x23, 0x81, 0x80, 0x80, 0x80, 0x00], &[0x1a]),
        ("memory.size", &[], &[0x3f, 0x00], &[0x3f, 0x80, 0x00], &[0x1a]),
        ("memory.fill", &[0x41, 0, 0x41, 0, 0x41, 9], &[0xfc, 0x0b, 0x00], &[0xfc, 0x8b, 0x00, 0x80, 0x00], &[]),
        ("call", &[], &[0x10, 0x02], &[0x10, 0x82, 0x80, 0x80, 0x80, 0x00], &[]),
        ("block of a type", &[], &[0x02, 0x00], &[0x02, 0x80, 0x80, 0x00], &[0x0b]),
        ("br_if", &[0x02, 0x40, 0x20, 0x00], &[0x0d, 0x00], &[0x0d, 0x80, 0x00], &[0x0b]),
        (
            "br_table",
            &[0x02, 0x40, 0x20, 0x00],
            &[0x0e, 0x01, 0x00, 0x00],
            &[0x0e, 0x81, 0x00, 0x80, 0x00, 0x80, 0x80, 0x00],
            &[0x0b],
        ),
    ];
    for (name, before, short, long, after) in spellings {
        let rewritten = |spelled: &[u8]| {
            let executable = prepare(&with_body(&[before, spelled, after].concat()));
            executable.unwrap_or_else(|refusal| panic!("{name}: {refusal}")).bytes
        };
        assert_eq!(rewritten(short), rewritten(long), "{name}");
    }
}

#[test]
fn constants_keep_every_bit_whatever_their_bytes_look_like() {
    // Bytes that would be a number spelled too long, and that come out as they went in.
    let constants: [&[u8]; 4] = [
        &[0x43, 0x80, 0x00, 0xff, 0x7f],
        &[0x44, 0x80, 0x00, 0x80, 0x00, 0xff, 0x7f, 0x80, 0x00],
        &[0xfd, 0x0c, 0x80, 0x00, 0xff, 0x7f, 0x80, 0x00, 0xff, 0x7f, 0x80, 0x00, 0xff, 0x7f, 0x80, 0x00, 0xff, 0x7f],
        &[0x41, 0x80, 0x80, 0x80, 0x80, 0x78],
    ];
    for constant in constants {
        let bytes = prepare(&with_body(&[constant, &[0x1a]].concat())).expect("admitted").bytes;
        assert!(bytes.windows(constant.len()).any(|window| window == constant), "{constant:02x?}");
    }
}

#[test]
fn a_body_after_more_code_than_is_kept_becomes_what_it_becomes_alone() {
    // `$f` as it is rewritten after two functions of so many instructions.
    let rewritten = |instructions: usize| {
        let filler = "nop ".repeat(instructions);
        let text = format!(
            r#"(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) $f)
                (func (export "_start") (call $f (i32.const 3)))
                (func {filler}) (func {filler})
                (func $f (param i32) (local f64 i32)
                    (block (block (block (br_table 0 1 2 0 (local.get 0))) (local.set 0 (i32.const 0)))
                        (if (local.get 0) (then (return)) (else (call_indirect (i32.const 0)))))
                    (loop
                        (local.set 1 (f64.add (local.get 1) (f64.const 0.5)))
                        (f64.store (i32.const 8) (local.get 1))
                        (br_if 0 (i32.ne (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 9))))
                    (memory.fill (i32.const 0) (i32.const 1) (i32.const 64))
                    (memory.copy (i32.const 0) (i32.const 1) (local.get 0))
                    (drop (memory.grow (select (i32.const 1) (i32.const 0) (i32.eqz (local.get 0)))))
                    (block (br_if 0 (local.get 2)) (call $f (i32.const 1)) unreachable)))"#
        );
        let bytes = prepare(&wat::parse_str(&text).expect("text")).expect("admitted").bytes;
        let bodies =
            wasmparser::Parser::new(0).parse_all(&bytes).filter_map(|payload| match payload.expect("payload") {
                wasmparser::Payload::CodeSectionEntry(body) => Some(body.as_bytes().to_vec()),
                _ => None,
            });
        bodies.collect::<Vec<_>>().swap_remove(3)
    };
    // As many are kept as the longest body can have.
    assert_eq!(rewritten(1), rewritten(FUNCTION_BYTES_MAX - 16));
}
