//! Exceptions mean after lowering what they mean in WebAssembly: each program's trace is what an engine with
//! exceptions of its own prints for the program as published.

mod support;

use samebit_rewrite::{Counted, Feature, Refusal, prepare};
use support::{Ended, run, wasm};

/// A program: `say` writes down a number; the trace is all of them.
fn program(items: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (global $said (mut i32) (i32.const 0))
            (func $say (param i32)
                (i32.store (i32.mul (global.get $said) (i32.const 4)) (local.get 0))
                (global.set $said (i32.add (global.get $said) (i32.const 1))))
            {items})"#
    )
}

/// A command whose `_start` is `body`, after `items`.
fn command(items: &str, body: &str) -> String {
    program(&format!(r#"{items} (func (export "_start") {body})"#))
}

fn check(name: &str, text: &str, ended: Ended, trace: &[i32]) {
    let found = run(&wasm(text));
    assert_eq!((found.ended, found.trace.as_slice()), (ended, trace), "{name}\n{text}");
}

/// One tag as C++ has it, and a function that throws it.
const CPP: &str = "(tag $e (param i32)) (func $throw (param i32) (throw $e (local.get 0)))";

/// Three tags, so that handlers must compare.
const TAGS: &str = "(tag $a) (tag $b (param i32)) (tag $c (param i32))
    (func $throw (param i32)
        (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $a)))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $b (i32.const 20))))
        (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $c (i32.const 30)))))";

#[test]
fn a_thrown_value_reaches_its_handler() {
    let body = "(block $h (result i32)
            (try_table (catch $e $h) (throw $e (i32.const 7)) (call $say (i32.const 99)))
            (call $say (i32.const 98)) (return))
        (call $say)";
    check("in one function", &command(CPP, body), Ended::Returned, &[7]);
    let body = "(block $h (result i32)
            (try_table (catch $e $h) (call $throw (i32.const 8)) (call $say (i32.const 99)))
            (call $say (i32.const 98)) (return))
        (call $say)";
    check("from a callee", &command(CPP, body), Ended::Returned, &[8]);
}

#[test]
fn an_exception_passes_through_frames_and_skips_the_rest_of_each() {
    let items = format!(
        "{CPP}
         (func $one (param i32) (result i64) (call $say (i32.const 1)) (call $throw (local.get 0))
            (call $say (i32.const 91)) (i64.const 1))
         (func $two (param i32) (result f32 v128) (call $say (i32.const 2)) (drop (call $one (local.get 0)))
            (call $say (i32.const 92)) (f32.const 1) (v128.const i64x2 1 1))
         (func $three (param i32) (result f64) (call $say (i32.const 3)) (call $two (local.get 0)) drop drop
            (call $say (i32.const 93)) (f64.const 1))"
    );
    let body = "(block $h (result i32)
            (try_table (catch $e $h) (drop (call $three (i32.const 5))) (call $say (i32.const 94)))
            (return))
        (call $say)";
    check("three frames", &command(&items, body), Ended::Returned, &[3, 2, 1, 5]);
}

#[test]
fn clauses_are_tried_in_order_and_an_exception_that_fits_none_goes_on() {
    let items = format!(
        "{TAGS} (func $try (param i32)
            (block $all (block $b (result i32) (block $a
                (try_table (catch_all $all)
                    (try_table (catch $a $a) (catch $b $b) (call $throw (local.get 0)))
                    (call $say (i32.const 0)) (return))
                unreachable)
                (call $say (i32.const 1)) (return))
                (call $say) (return))
            (call $say (i32.const 4)))"
    );
    let body =
        "(call $try (i32.const 0)) (call $try (i32.const 1)) (call $try (i32.const 2)) (call $try (i32.const 3))";
    check("each tag", &command(&items, body), Ended::Returned, &[0, 1, 20, 4]);
    let first = "(block $one (block $two
            (try_table (catch $a $two) (catch $a $one) (catch_all $one) (throw $a)))
            (call $say (i32.const 2)) (return))
        (call $say (i32.const 1))";
    check("the first of two that fit", &command(TAGS, first), Ended::Returned, &[2]);
    let all_first = "(block $one (block $two
            (try_table (catch_all $one) (catch $a $two) (throw $a)))
            (call $say (i32.const 2)) (return))
        (call $say (i32.const 1))";
    check("catch_all before the tag", &command(TAGS, all_first), Ended::Returned, &[1]);
}

#[test]
fn a_try_table_without_clauses_is_a_block() {
    let body = "(block $h (result i32)
            (try_table (catch $e $h) (try_table (call $throw (i32.const 3))) (call $say (i32.const 99))) (return))
        (call $say)";
    check("inside another", &command(CPP, body), Ended::Returned, &[3]);
    let body =
        "(drop (i32.const 0) (try_table (param i32) (result i32) (i32.add (i32.const 1)))) (call $say (i32.const 6))";
    check("with a parameter", &command(CPP, body), Ended::Returned, &[6]);
}

#[test]
fn blocks_that_take_and_give_values_keep_them() {
    let body = "(i32.const 10) (i32.const 1)
        (block $h (param i32) (result i32)
            (try_table (param i32) (result i32) (catch $e $h)
                (if (param i32) (result i32) (i32.eqz (i32.const 0)) (then (i32.add (i32.const 2))) (else (throw $e)))
                (call $throw (i32.add (i32.const 4)))
                (i32.const 50)))
        (call $say (i32.add))";
    check("beneath a handler", &command(CPP, body), Ended::Returned, &[17]);
    let body = "(i32.const 10)
        (try_table (result i32) (catch $e 0) (i32.const 5) (call $throw (i32.const 6)))
        (call $say (i32.add))";
    // The label of a clause is counted from outside the `try_table`: 0 is the function here, which has no result.
    assert!(matches!(prepare(&wasm(&command(CPP, body))), Err(Refusal::Invalid { .. })));
}

#[test]
fn branches_leave_a_try_table_for_where_they_meant_to_go() {
    let items = format!(
        "{CPP} (func $go (param i32) (result i32)
            (block $two (block $one (block $zero
                (block $h (result i32)
                    (try_table (catch $e $h)
                        (block $inner
                            (try_table (catch_all $inner)
                                (br_table $inner $zero $one $two (local.get 0)))
                            (unreachable))
                        (if (i32.eq (local.get 0) (i32.const 0)) (then (return (i32.const 100))))
                        (br_if $two (i32.const 1)))
                    (return (i32.const 99)))
                (return))
                (return (i32.const 101)))
                (return (i32.const 102)))
            (i32.const 103))"
    );
    let body = "(call $say (call $go (i32.const 0))) (call $say (call $go (i32.const 1)))
        (call $say (call $go (i32.const 2))) (call $say (call $go (i32.const 3)))";
    check("br_table out of two", &command(&items, body), Ended::Returned, &[100, 101, 102, 103]);
    let items = format!(
        "{CPP} (func $f (param i32) (result i32)
            (block $h (result i32)
                (try_table (result i32) (catch $e $h)
                    (br_if 1 (i32.const 41) (i32.eqz (local.get 0)))
                    (drop)
                    (call $throw (i32.const 42))
                    (br 2 (i32.const 43))))
            (i32.add (i32.const 1000)))"
    );
    let body = "(call $say (call $f (i32.const 0))) (call $say (call $f (i32.const 1)))";
    check("br to a handler and to the function", &command(&items, body), Ended::Returned, &[1041, 1042]);
    let items = format!("{CPP} (func $f (result i32) (br 0 (i32.const 5)) (call $throw (i32.const 1)))");
    check("br to the end of a function that throws", &command(&items, "(call $say (call $f))"), Ended::Returned, &[5]);
}

#[test]
fn a_handler_may_be_a_loop() {
    let body = "(local $n i32)
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (call $say (local.get $n))
            (block $h (result i32)
                (try_table (catch_all $again) (catch $e $h)
                    (if (i32.lt_u (local.get $n) (i32.const 4)) (then (call $throw (local.get $n))))
                    (return))
                unreachable)
            drop)";
    check("until it no longer throws", &command(CPP, body), Ended::Returned, &[1, 2, 3, 4]);
    let body = "(local $n i32)
        (loop $l (block $h (result i32)
            (try_table (catch $e $h) (call $throw (local.get $n)) (unreachable)) (unreachable))
            (call $say)
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $n) (i32.const 3))))";
    check("one each turn", &command(CPP, body), Ended::Returned, &[0, 1, 2]);
}

#[test]
fn a_caught_reference_can_be_thrown_again_now_or_later() {
    let items = format!(
        "{CPP} (func $cleanup (param i32)
            (block $h (result exnref)
                (try_table (catch_all_ref $h) (call $throw (local.get 0)))
                (return))
            (call $say (i32.const 1)) (throw_ref))"
    );
    let body = "(block $h (result i32) (try_table (catch $e $h) (call $cleanup (i32.const 33))) (return)) (call $say)";
    check("cleanup", &command(&items, body), Ended::Returned, &[1, 33]);
    let body = "(local $kept exnref)
        (block $h (result i32 exnref)
            (try_table (catch_ref $e $h) (call $throw (i32.const -5)))
            (unreachable))
        (local.set $kept) (call $say)
        (block $h (result i32) (try_table (catch $e $h) (call $throw (i32.const 6))) (unreachable)) (call $say)
        (block $h (result i32) (try_table (catch $e $h) (throw_ref (local.get $kept))) (unreachable)) (call $say)
        (block $h (result exnref) (try_table (catch_all_ref $h) (throw_ref (local.get $kept))) (unreachable))
        (call $say (ref.is_null))
        (call $say (ref.is_null (ref.null exn)))";
    check("kept in a local", &command(CPP, body), Ended::Returned, &[-5, 6, -5, 0, 1]);
}

#[test]
fn a_reference_keeps_its_own_tag() {
    let items = format!(
        "{TAGS} (func $again (param i32)
            (block $h (result exnref) (try_table (catch_all_ref $h) (call $throw (local.get 0))) (return))
            (throw_ref))
         (func $which (param i32)
            (block $c (result i32) (block $b (result i32) (block $a
                (try_table (catch $a $a) (catch $b $b) (catch $c $c) (call $again (local.get 0)))
                (call $say (i32.const 0)) (return))
                (call $say (i32.const 1)) (return))
                (call $say) (return))
            (call $say))"
    );
    let body = "(call $which (i32.const 0)) (call $which (i32.const 1)) (call $which (i32.const 2)) (call $which (i32.const 3))";
    check("three tags", &command(&items, body), Ended::Returned, &[0, 1, 20, 30]);
}

#[test]
fn cleanups_run_from_the_inside_out() {
    let items = format!(
        "{CPP} (func $nest (param i32)
            (block $h (result exnref)
                (try_table (catch_all_ref $h)
                    (if (i32.eqz (local.get 0)) (then (call $throw (i32.const 77))))
                    (call $nest (i32.sub (local.get 0) (i32.const 1))))
                (unreachable))
            (call $say (local.get 0)) (throw_ref))"
    );
    let body = "(block $h (result i32) (try_table (catch $e $h) (call $nest (i32.const 4))) (return)) (call $say)";
    check("five frames", &command(&items, body), Ended::Returned, &[0, 1, 2, 3, 4, 77]);
}

#[test]
fn a_handler_that_throws_is_not_its_own_handler() {
    let body = "(block $outer (result i32)
            (try_table (catch $e $outer)
                (block $h (result i32) (try_table (catch $e $h) (call $throw (i32.const 1))) (unreachable))
                (call $throw (i32.add (i32.const 1))))
            (unreachable))
        (call $say)";
    check("the outer one is", &command(CPP, body), Ended::Returned, &[2]);
}

#[test]
fn exceptions_pass_through_indirect_calls() {
    let items = format!(
        "{CPP} (type $t (func (param i32))) (type $u (func (param i32) (result i32)))
         (table funcref (elem $throw $calm $id))
         (func $calm (param i32) (call $say (local.get 0)))
         (func $id (param i32) (result i32) (local.get 0))
         (func $via (param i32) (call_indirect (type $t) (i32.const 5) (local.get 0)) (call $say (i32.const 2)))"
    );
    let body = "(call $via (i32.const 1))
        (call $say (call_indirect (type $u) (i32.const 8) (i32.const 2)))
        (block $h (result i32) (try_table (catch $e $h) (call $via (i32.const 0))) (return)) (call $say)
        (call $via (i32.const 2))";
    check("by table", &command(&items, body), Ended::Trapped, &[5, 2, 8, 5]);
}

#[test]
fn mutual_recursion_throws_from_any_depth() {
    let items = format!(
        "{CPP} (func $even (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (call $throw (i32.const 1000)))) (call $odd (i32.sub (local.get 0) (i32.const 1))))
         (func $odd (param i32) (result i32) (i32.add (i32.const 1) (call $even (i32.sub (local.get 0) (i32.const 1)))))"
    );
    let body =
        "(block $h (result i32) (try_table (catch $e $h) (drop (call $even (i32.const 2000)))) (return)) (call $say)";
    check("2000 frames", &command(&items, body), Ended::Returned, &[1000]);
}

#[test]
fn an_exception_that_nobody_catches_has_its_own_end() {
    let body = "(call $say (i32.const 1)) (call $throw (i32.const 5)) (call $say (i32.const 2))";
    check("from the entry", &command(CPP, body), Ended::Uncaught, &[1]);
    let body = "(block $h (try_table (catch $a $h) (call $throw (i32.const 3)))) (call $say (i32.const 2))";
    check("of another tag", &command(TAGS, body), Ended::Uncaught, &[]);
    let start = program(&format!(
        r#"{CPP} (func $s (call $throw (i32.const 1))) (start $s) (func (export "_start") (call $say (i32.const 1)))"#
    ));
    check("from the start function", &start, Ended::Uncaught, &[]);
}

#[test]
fn no_handler_takes_a_trap() {
    for trap in [
        "unreachable",
        "(drop (i32.div_u (i32.const 1) (global.get $zero)))",
        "(drop (i32.load (i32.const -1)))",
        "(drop (i32.trunc_f32_s (f32.const nan)))",
        "(throw_ref (ref.null exn))",
        "(drop (i32.atomic.load (i32.const 2)))",
    ] {
        let items =
            format!("{CPP} (global $zero (mut i32) (i32.const 0)) (func $f {trap} (call $throw (i32.const 1)))");
        let body = "(block $h (try_table (catch_all $h) (call $f))) (call $say (i32.const 1))";
        check(trap, &command(&items, body), Ended::Trapped, &[]);
    }
}

#[test]
fn code_after_a_throw_may_be_anything_valid() {
    let body = "(block $h (result i32)
            (try_table (result i32) (catch $e $h)
                (throw $e (i32.const 4)) (br_table 0 0) (i32.add) (drop) (throw_ref) (call $throw) (ref.is_null)))
        (call $say)";
    check("dead code", &command(CPP, body), Ended::Returned, &[4]);
}

#[test]
fn what_a_function_returns_is_untouched_when_it_does_not_throw() {
    let items = format!(
        "{CPP} (func $maybe (param i32) (result i32 i64)
            (if (i32.eqz (local.get 0)) (then (call $throw (i32.const 3))))
            (i32.mul (local.get 0) (i32.const 2)) (i64.const 9))
         (func $use (param i32) (result i32)
            (call $maybe (local.get 0)) (i32.wrap_i64) (i32.add) (i32.const 100) (i32.add))"
    );
    let body = "(call $say (call $use (i32.const 1)))
        (block $h (result i32) (try_table (catch $e $h) (call $say (call $use (i32.const 0)))) (return)) (call $say)";
    check("two results", &command(&items, body), Ended::Returned, &[111, 3]);
}

#[test]
fn atomics_on_a_memory_of_ones_own_are_plain_accesses() {
    let body = "
        (i32.store (i32.const 4096) (i32.const 0x01020304))
        (call $say (i32.atomic.rmw.add offset=4096 (i32.const 0) (i32.const 5)))
        (call $say (i32.atomic.load offset=4092 (i32.const 4)))
        (call $say (i32.atomic.rmw8.sub_u (i32.const 4096) (i32.const 10)))
        (call $say (i32.atomic.rmw16.xchg_u (i32.const 4098) (i32.const -1)))
        (call $say (i32.atomic.rmw.cmpxchg (i32.const 4096) (i32.const 1) (i32.const 2)))
        (call $say (i32.atomic.load (i32.const 4096)))
        (call $say (i32.atomic.rmw.cmpxchg (i32.const 4096) (i32.const 0xffff03ff) (i32.const 12)))
        (i64.atomic.store32 (i32.const 4100) (i64.const 0x1_0000_0003))
        (call $say (i32.wrap_i64 (i64.atomic.rmw.xor (i32.const 4096) (i64.const 6))))
        (call $say (i32.wrap_i64 (i64.shr_u (i64.atomic.load (i32.const 4096)) (i64.const 32))))
        (call $say (i32.load8_u (i32.const 4096)))
        (call $say (i32.wrap_i64 (i64.atomic.rmw8.and_u (i32.const 4096) (i64.const 3))))
        (call $say (i32.wrap_i64 (i64.atomic.rmw32.or_u (i32.const 4096) (i64.const 0x55))))
        (call $say (i32.wrap_i64 (i64.atomic.rmw.cmpxchg (i32.const 4096) (i64.const 0x3_0000_0057) (i64.const -7))))
        (atomic.fence)
        (call $say (i32.atomic.load8_u (i32.const 4103)))";
    let trace =
        [0x0102_0304, 0x0102_0309, 9, 0x0102, 0xffff_03ff_u32 as i32, 0xffff_03ff_u32 as i32, 0xffff_03ff_u32 as i32];
    let rest = [12, 3, 10, 10, 2, 0x57, 0xff];
    check("each kind", &command("", body), Ended::Returned, &[&trace[..], &rest[..]].concat());
    check("misaligned", &command("", "(i64.atomic.store offset=1 (i32.const 3) (i64.const 0))"), Ended::Trapped, &[]);
    check(
        "aligned by its offset",
        &command("", "(i64.atomic.store offset=5 (i32.const 3) (i64.const 0))"),
        Ended::Returned,
        &[],
    );
    check("outside", &command("", "(drop (i32.atomic.rmw.add (i32.const -4) (i32.const 0)))"), Ended::Trapped, &[]);
}

fn refused(text: &str) -> (Feature, Option<u32>, String) {
    match prepare(&wasm(text)) {
        Err(Refusal::Feature { at, feature, what }) => {
            assert!(at.offset > 8, "{text}");
            (feature, at.function, what)
        }
        other => panic!("{other:?}\n{text}"),
    }
}

#[test]
fn what_has_no_lowering_is_refused_by_its_name() {
    let exceptions = [
        ("(tag $e (param i64))", "", None, "a tag with parameters (i64)"),
        ("(tag $e (param i32 i32))", "", None, "a tag with parameters (i32 i32)"),
        ("(tag $e) (func (param exnref))", "", None, "an exception reference in a function's type"),
        (
            "(tag $e) (type $t (func (result exnref))) (table 1 funcref)",
            "(drop (call_indirect (type $t) (i32.const 0)))",
            Some(1),
            "an exception reference in a function's type",
        ),
        ("(tag $e) (global exnref (ref.null exn))", "", None, "a global that holds an exception reference"),
        ("(tag $e) (table 1 exnref)", "", None, "a table of exception references"),
    ];
    for (items, body, function, what) in exceptions {
        assert_eq!(refused(&command(items, body)), (Feature::Exceptions, function, what.to_string()), "{items}");
    }
    for (body, what) in
        [("try end", "try"), ("try catch $e end", "try"), ("rethrow 0", "rethrow"), ("try delegate 0", "try")]
    {
        // The older proposal, whichever of its instructions comes first.
        let (feature, function, found) = refused(&command("(tag $e)", body));
        assert_eq!((feature, function, found.as_str()), (Feature::Exceptions, Some(1), what), "{body}");
    }
    for (items, body, what) in [
        ("(tag $e)", "(local funcref)", "a value of type funcref"),
        ("(tag $e)", "(drop (ref.null func))", "ref.null"),
        ("(tag $e)", "(block (result funcref) unreachable) drop", "a value of type funcref"),
        ("(tag $e) (table 1 funcref)", "(drop (table.size 0))", "table.size"),
    ] {
        let (feature, function, found) = refused(&command(items, body));
        assert_eq!((feature, function, found.as_str()), (Feature::References, Some(1), what), "{body}");
    }
    for (body, what) in [
        ("(drop (memory.atomic.notify (i32.const 0) (i32.const 0)))", "memory.atomic.notify"),
        ("(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))", "memory.atomic.wait32"),
        ("(drop (i32.atomic.rmw8.cmpxchg_u (i32.const 0) (i32.const 0) (i32.const 0)))", "i32.atomic.rmw8.cmpxchg_u"),
    ] {
        let (feature, function, found) = refused(&command("", body));
        assert_eq!((feature, function, found.as_str()), (Feature::Threads, Some(1), what), "{body}");
    }
}

#[test]
fn exceptions_without_a_tag_of_ones_own_are_refused() {
    // Nothing could ever be thrown: a module like that comes from no compiler.
    let (feature, function, _) = refused(&command("", "(try_table)"));
    assert_eq!((feature, function), (Feature::Exceptions, Some(1)));
    let imported = r#"(module (import "wasi_snapshot_preview1" "fd_write" (tag)) (memory (export "memory") 1)
        (func (export "_start")))"#;
    match prepare(&wasm(imported)) {
        Err(Refusal::Invalid { reason, .. }) => assert!(reason.contains("exceptions"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let both = imported.replace("(memory", "(tag) (memory");
    assert!(matches!(prepare(&wasm(&both)), Err(Refusal::Import { .. })));
}

#[test]
fn a_tag_may_be_exported_and_is_left_out() {
    let text = command(r#"(tag (export "__cpp_exception") (param i32))"#, "(call $say (i32.const 1))");
    check("an exported tag", &text, Ended::Returned, &[1]);
}

#[test]
fn a_body_that_grows_beyond_its_limit_is_refused_where_it_was() {
    let text = command(CPP, &"(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 0)))".repeat(60_000));
    match prepare(&wasm(&text)) {
        Err(Refusal::TooMany { at, what: Counted::BodyBytes, count, max }) => {
            assert_eq!(at.function, Some(2));
            assert!(at.offset > 8 && count > max);
        }
        other => panic!("{:?}", other.map(|executable| executable.bytes.len())),
    }
}
