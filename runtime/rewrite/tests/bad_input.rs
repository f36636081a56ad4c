//! What a few bytes could make a compiler do is refused before a compiler sees it, and no bytes make the rewriter
//! panic.
//!
//! Beside each case stands what it cost before its limit was set: seconds of one core of the compiler (wasmtime, the
//! rewritten module) for the module's bytes. The rewriter itself took at most 0.2 s and 13 MB for each of them, at the
//! test profile's optimisation.

mod support;

use samebit_rewrite::{Counted, Refusal, prepare};
use samebit_spec::param;
use support::wasm;

/// A command with a function of this body, whose index is 0.
fn function(items: &str, body: &str) -> Vec<u8> {
    wasm(&format!(r#"(module (memory (export "memory") 1) {items} (func {body}) (func (export "_start")))"#))
}

fn refused(bytes: &[u8]) -> (Counted, Option<u32>, u64, u64) {
    match prepare(bytes) {
        Err(Refusal::TooMany { at, what, count, max }) => {
            assert!(at.offset > 8 && count > max, "{what}: {count} of {max} at {at}");
            (what, at.function, count, max)
        }
        Err(other) => panic!("{other}"),
        Ok(executable) => panic!("admitted, {} bytes", executable.bytes.len()),
    }
}

/// Every local is read and written once.
fn change(locals: usize) -> String {
    (0..locals).map(|n| format!("(local.set {n} (i32.add (local.get {n}) (i32.const 1)))")).collect()
}

fn nest(open: &str, depth: usize, inside: &str, close: &str) -> String {
    format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn loops_that_carry_many_locals_are_refused() {
    let loops = |locals: usize, depth: usize| {
        let body = nest("loop ", depth, &change(locals), "(br_if 0 (local.get 0)) end ");
        function("", &format!("(local {}) {body}", "i32 ".repeat(locals)))
    };
    // 90 kB, more than 160 s; 9 kB, 68 s; 9 kB, 6 s; 18 kB, 3.3 s.
    for (locals, depth) in [(10_000, 6), (1_000, 64), (1_000, 16), (2_000, 4)] {
        let (what, function, ..) = refused(&loops(locals, depth));
        assert_eq!((what, function), (Counted::LoopSets, Some(0)), "{locals} locals, {depth} loops");
    }
    // 2 kB of ordinary loops.
    assert!(prepare(&loops(100, 10)).is_ok());
    // Beside one another they add up.
    let beside = format!("(local {}) {}", "i32 ".repeat(300), format!("loop {} end ", change(300)).repeat(40));
    assert!(prepare(&function("", &beside)).is_ok(), "as many assignments as a body of that length may have");
}

#[test]
fn the_length_of_a_body_buys_only_so_many_carried_locals() {
    let many = format!("loop loop loop loop {} end end end end ", change(9_000));
    let body = format!("(local {}) {many} {}", "i32 ".repeat(9_000), "nop ".repeat(1_000_000));
    let (what, function, _, max) = refused(&function("", &body));
    assert_eq!((what, function, max), (Counted::LoopSets, Some(0), param::LOOP_SETS_MAX));
}

#[test]
fn branches_around_many_assignments_are_refused() {
    // 140 kB, 12 s.
    let body = nest("(local.get 0) if ", 256, &change(10_000), "end ");
    let (what, place, _, max) = refused(&function("", &format!("(local {}) {body}", "i32 ".repeat(10_000))));
    assert_eq!((what, place), (Counted::BlockSets, Some(0)));
    assert!(max > param::BLOCK_SETS_FREE);
}

#[test]
fn constants_that_are_programs_are_refused() {
    let sum = |terms: usize| format!("(i32.const 1){}", "(i32.const 1)(i32.add)".repeat(terms));
    let item = |text: String| {
        wasm(&format!(r#"(module (memory (export "memory") 1) (table 1 funcref) {text} (func (export "_start")))"#))
    };
    for text in [
        format!("(global i32 {})", sum(100)),
        format!("(data (offset {}) \"x\")", sum(100)),
        format!("(elem (offset {}) func)", sum(100)),
    ] {
        assert_eq!(refused(&item(text)).0, Counted::ConstantBytes);
    }
    assert!(prepare(&item(format!("(global i32 {})", sum(10)))).is_ok());
    // A megabyte of it: read once, refused.
    let (what, function, count, max) = refused(&item(format!("(global i32 {})", sum(300_000))));
    assert_eq!((what, function, max), (Counted::ConstantBytes, None, param::CONSTANT_BYTES_MAX));
    assert!(count > 800_000);
}

#[test]
fn lists_that_claim_more_than_they_hold_are_refused_without_being_believed() {
    let mut many = b"\0asm\x01\0\0\0".to_vec();
    for (id, what) in [(1, "types"), (2, "imports"), (3, "functions"), (6, "globals"), (7, "exports"), (9, "elements")]
    {
        let mut bytes = many.clone();
        // Four thousand million of them in six bytes.
        bytes.extend_from_slice(&[id, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(prepare(&bytes).is_err(), "{what}");
    }
    // A body that says that it is longer than the module.
    many.extend_from_slice(&[1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    assert!(prepare(&many).is_err());
    // Locals of all numbers of one type.
    let locals = function("", "(local i64)");
    let at = locals.windows(3).position(|bytes| bytes == [1, 1, 0x7e]).expect("the group of locals");
    let mut bytes = locals[..=at].to_vec();
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    bytes.extend_from_slice(&locals[at + 2..]);
    assert!(prepare(&bytes).is_err());
}

#[test]
fn what_is_deep_is_read_without_recursion() {
    // Deeper than any native stack would bear if blocks or handlers were read by recursion.
    for open in ["block ", "loop ", "(local.get 0) if "] {
        let deep = function("", &format!("(local i32) {}", nest(open, 100_000, "", "end ")));
        assert!(matches!(refused(&deep).0, Counted::Nesting | Counted::NestedLoops));
    }
    let tries = |depth: usize| {
        let body = nest("block try_table (catch $e 0) ", depth, "(throw $e)", "end end ");
        function("(tag $e) (tag $f)", &body)
    };
    assert_eq!(refused(&tries(100_000)).0, Counted::Nesting);
    // A handler adds a block: the lowered module meets the limit at two thirds of the depth.
    assert!(prepare(&tries(1_300)).is_ok());
    let (what, function, ..) = refused(&tries(2_000));
    assert_eq!((what, function), (Counted::Nesting, Some(0)));
}

/// Modules in which something of everything is used.
fn seeds() -> Vec<Vec<u8>> {
    [
        r#"(module (memory (export "memory") 1) (func (export "_start")))"#,
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2 17) (global $sp (mut i32) (i32.const 65536))
            (table 3 funcref) (elem (i32.const 1) $begin $start) (data (i32.const 8) "\10\00\00\00\03\00\00\00hi\0a")
            (func $begin (global.set $sp (i32.const 1024)))
            (func $start (export "_start") (call_indirect (i32.const 1))
                (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
            (start $begin))"#,
        r#"(module (memory (export "memory") 1) (tag $e (param i32)) (tag $f)
            (func $f (param i32) (result i32) (local $x exnref) (local f64)
                (block $out
                (block $h (result i32 exnref)
                    (try_table (result i32) (catch_ref $e $h) (catch_all $out)
                        (if (local.get 0) (then (throw $e (local.get 0))))
                        (call $f (i32.const 1)))
                    (return))
                (local.set $x)
                (drop)
                (loop (br_table 0 1 (i32.atomic.rmw.add offset=4 (i32.const 8) (i32.const 1))))
                (throw_ref (local.get $x)))
                (i32.const 3))
            (func (export "_start") (drop (call $f (i32.const 0)))))"#,
        r#"(module (memory (export "memory") 1) (global $v (mut v128) (v128.const i32x4 1 2 3 4))
            (func (export "_initialize")) (func (export "samebit_init") (result i32) i32.const 1)
            (func (export "samebit_step") (param i64) (result i32)
                (global.set $v (f32x4.add (global.get $v) (f32x4.splat (f32.const 7))))
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 16))
                (drop (memory.grow (i32.const 1)))
                (f64.store (i32.const 8) (f64.sqrt (f64.load (i32.const 0)))) i32.const 0)
            (func (export "samebit_finish") (result i32) i32.const 0))"#,
    ]
    .map(wasm)
    .to_vec()
}

/// What is admitted is rewritten to a valid module, twice the same.
fn rewrite_never_panics(bytes: &[u8]) -> bool {
    let Ok(executable) = prepare(bytes) else { return false };
    assert_eq!(prepare(bytes).expect("as before").bytes, executable.bytes);
    let features = wasmparser::WasmFeatures::WASM2
        | wasmparser::WasmFeatures::EXTENDED_CONST
        | wasmparser::WasmFeatures::MULTI_MEMORY;
    wasmparser::Validator::new_with_features(features)
        .validate_all(&executable.bytes)
        .unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
    true
}

#[test]
fn no_byte_that_is_changed_left_out_or_said_twice_makes_the_rewriter_panic() {
    let mut admitted = 0_u32;
    for seed in seeds() {
        assert!(rewrite_never_panics(&seed));
        for at in 0..seed.len() {
            for byte in [0, 1, 0x40, 0x69, 0x7f, 0x80, 0xff, seed[at] ^ 1, seed[at].wrapping_add(1)] {
                let mut bytes = seed.clone();
                bytes[at] = byte;
                admitted += u32::from(rewrite_never_panics(&bytes));
            }
            let mut bytes = seed.clone();
            bytes.remove(at);
            admitted += u32::from(rewrite_never_panics(&bytes));
            bytes = seed.clone();
            bytes.insert(at, seed[at]);
            admitted += u32::from(rewrite_never_panics(&bytes));
        }
    }
    // Some accidents leave a module that is admitted: these were rewritten and checked too.
    assert!(admitted > 100, "{admitted}");
}
