//! Where the points of small functions stand.

use super::{Point, points};
use crate::{
    Nan,
    function::{Function, Ops, Types},
    op::Costs,
};
use wasmparser::{Parser, Payload, TypeRef};

/// The points of all functions: the operator's index in its function, and its name.
fn found(text: &str, nan: Nan) -> Vec<String> {
    let bytes = wat::parse_str(text).expect("text");
    let (mut types, mut functions, mut imported) = (Vec::new(), Vec::new(), 0);
    let mut names = Vec::new();
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.expect("payload") {
            Payload::TypeSection(section) => {
                types.extend(section.into_iter_err_on_gc_types().map(|ty| ty.expect("type")));
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) = import.expect("import").ty {
                        functions.push(ty);
                        imported += 1;
                    }
                }
            }
            Payload::FunctionSection(section) => functions.extend(section.into_iter().map(|ty| ty.expect("function"))),
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    let types = Types { types: &types, functions: &functions };
    for (index, body) in (imported..).zip(&bodies) {
        let (mut ops, mut locals) = (Ops::default(), Vec::new());
        let extent = ops.read(types.function(index), body, &Costs::new(&samebit_spec::fuel::SAMEBIT_1)).expect("body");
        let function = Function::new(types.function(index), body, (&ops, &extent), &mut locals).expect("locals");
        for Point { op, shape } in points(&function, &types, nan) {
            let code = function.ops[op as usize].code;
            names.push(format!("{op} {code:?} {shape:?}"));
        }
    }
    names
}

/// Checks the points of a function with this body, all in a module that has what bodies need.
fn check(function: &str, wanted: &[&str]) {
    let text = format!(
        r#"(module
            (memory 1)
            (global $g32 (mut f32) (f32.const 0)) (global $g64 (mut f64) (f64.const 0))
            (table 1 funcref)
            (type $unary (func (param f64) (result f64)))
            {function}
            (func $id (param f64) (result f64) local.get 0)
            (func $take (param f64)))"#
    );
    assert_eq!(found(&text, Nan::Lazy), wanted, "{function}");
}

#[test]
fn what_nobody_sees_is_left_alone() {
    check("(func (param f64 f64) (result i32) (f64.lt (f64.add (local.get 0) (local.get 1)) (f64.const 1)))", &[]);
    check("(func (param f64) (drop (f64.sqrt (local.get 0))))", &[]);
    check("(func (param f64) (result i32) (i32.trunc_sat_f64_s (f64.neg (f64.sqrt (local.get 0)))))", &[]);
}

#[test]
fn only_the_last_of_a_chain_is_made_canonical() {
    check(
        "(func (param f64 f64) (result f64)
            (f64.add (f64.mul (local.get 0) (local.get 1)) (f64.sqrt (local.get 1))))",
        &["5 F64Add F64"],
    );
}

#[test]
fn numbers_from_integers_need_nothing() {
    check("(func (param i32) (result f64) (f64.mul (f64.convert_i32_s (local.get 0)) (f64.const 0.5)))", &[]);
    check("(func (param i32) (result f64) (f64.div (f64.convert_i32_s (local.get 0)) (f64.const 3)))", &[]);
    check("(func (param i64) (result f32) (f32.demote_f64 (f64.floor (f64.convert_i64_u (local.get 0)))))", &[]);
    // Nothing divided by nothing, and infinity less infinity.
    check(
        "(func (param i32) (result f64) (f64.div (f64.convert_i32_s (local.get 0)) (f64.const 0)))",
        &["3 F64Div F64"],
    );
    check(
        "(func (param i32) (result f64) (local f64)
            (local.set 1 (f64.div (f64.convert_i32_s (local.get 0)) (f64.const 3)))
            (f64.sub (f64.mul (local.get 1) (local.get 1)) (f64.mul (local.get 1) (local.get 1))))",
        &["11 F64Sub F64"],
    );
    // A sum of numbers may become infinite, and stays so.
    check(
        "(func (param i32) (result f64) (local f64)
            (loop
                (local.set 1 (f64.add (local.get 1) (f64.convert_i32_s (local.get 0))))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get 1))",
        &[],
    );
}

#[test]
fn a_sum_that_is_stored_after_its_loop_costs_nothing_in_the_loop() {
    check(
        "(func (param i32) (result f64) (local f64)
            (loop
                (local.set 1 (f64.add (local.get 1) (f64.load (local.get 0))))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 8)))))
            (local.get 1))",
        &["12 LocalGet F64"],
    );
}

#[test]
fn a_store_in_a_loop_is_made_canonical_where_it_is_computed() {
    check(
        "(func (param i32 f64)
            (loop
                (f64.store (local.get 0)
                    (f64.add (f64.load offset=64 (local.get 0)) (f64.mul (local.get 1) (f64.load (local.get 0)))))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 8))))))",
        &["8 F64Add F64"],
    );
}

#[test]
fn a_loaded_value_keeps_its_bits_where_a_computed_one_meets_it() {
    check(
        "(func (param i32 f64) (result f64) (local f64)
            (local.set 2 (f64.load (local.get 0)))
            (if (local.get 0) (then (local.set 2 (f64.mul (local.get 1) (local.get 1)))))
            (local.get 2))",
        &["7 F64Mul F64"],
    );
    check(
        "(func (param i32 f64) (result f64)
            (if (result f64) (local.get 0) (then (f64.load (local.get 0))) (else (f64.sqrt (local.get 1)))))",
        &["6 F64Sqrt F64"],
    );
    check(
        "(func (param i32 f64) (result f64)
            (select (f64.load (local.get 0)) (f64.sqrt (local.get 1)) (local.get 0)))",
        &["3 F64Sqrt F64"],
    );
}

#[test]
fn two_computed_values_are_made_canonical_where_they_meet() {
    check(
        "(func (param i32 f64) (result f64)
            (if (result f64) (local.get 0) (then (f64.floor (local.get 1))) (else (f64.sqrt (local.get 1)))))",
        &["7 End F64"],
    );
    check(
        "(func (param i32 f64) (result f64)
            (select (f64.floor (local.get 1)) (f64.sqrt (local.get 1)) (local.get 0)))",
        &["5 Select F64"],
    );
}

#[test]
fn a_loaded_and_a_computed_value_that_swap_places_in_a_loop() {
    check(
        "(func (param i32 f64) (result f64) (local f64 f64)
            (local.set 2 (f64.sqrt (local.get 1)))
            (loop
                (local.set 3 (local.get 1)) (local.set 1 (local.get 2)) (local.set 2 (local.get 3))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get 1))",
        &["1 F64Sqrt F64"],
    );
    // Of two computed values, either may be seen, and is seen outside.
    check(
        "(func (param i32 f64) (result f64) (local f64 f64)
            (local.set 2 (f64.sqrt (local.get 1)))
            (local.set 1 (f64.floor (local.get 1)))
            (loop
                (local.set 3 (local.get 1)) (local.set 1 (local.get 2)) (local.set 2 (local.get 3))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get 1))",
        &["19 LocalGet F64"],
    );
}

#[test]
fn a_sum_that_begins_with_a_loaded_value_is_kept_apart_from_it() {
    // The loop runs at least once: what comes out of it was computed.
    check(
        "(func (param i32) (result f64) (local f64)
            (local.set 1 (f64.load (local.get 0)))
            (loop
                (local.set 1 (f64.add (local.get 1) (f64.load (local.get 0))))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 8)))))
            (local.get 1))",
        &["15 LocalGet F64"],
    );
}

#[test]
fn a_sign_that_was_changed_is_seen_with_its_operand() {
    check("(func (param f64) (result f64) (f64.neg (f64.abs (f64.sqrt (local.get 0)))))", &["1 F64Sqrt F64"]);
    check("(func (param f64) (result f64) (f64.abs (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
    check("(func (param f64) (result f64) (f64.neg (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
    // The sign of `copysign` shows in a number too, so it is seen even when only arithmetic follows.
    check(
        "(func (param f64) (result i32)
            (f64.lt (f64.copysign (f64.sqrt (local.get 0)) (f64.floor (local.get 0))) (f64.const 0)))",
        &["3 F64Floor F64"],
    );
    check("(func (param f64) (result f64) (f64.copysign (f64.sqrt (local.get 0)) (local.get 0)))", &["1 F64Sqrt F64"]);
}

#[test]
fn values_that_leave_the_function_are_canonical() {
    check("(func (param f64) (global.set $g64 (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
    check("(func (param f64) (call $take (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
    check(
        "(func (param f64) (result f64)
            (call_indirect (type $unary) (f64.sqrt (local.get 0)) (i32.const 0)))",
        &["1 F64Sqrt F64"],
    );
    check("(func (param f64) (result i64) (i64.reinterpret_f64 (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
    check("(func (param f64) (result f64) (call $id (local.get 0)))", &[]);
    check("(func (param f64) (result f64) (return (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
    check("(func (param f64) (result f64) (br 0 (f64.sqrt (local.get 0))))", &["1 F64Sqrt F64"]);
}

#[test]
fn branches_carry_values_to_where_they_meet() {
    check(
        "(func (param i32 f64) (result f64)
            (block $b (result f64)
                (br_table $b $b (f64.sqrt (local.get 1)) (local.get 0))))",
        &["2 F64Sqrt F64"],
    );
    check(
        "(func (param i32 f64) (result f64)
            (block $outer (result f64)
                (block $inner (result f64)
                    (br_table $inner $outer $inner (f64.sqrt (local.get 1)) (local.get 0)))
                drop
                local.get 1))",
        &["3 F64Sqrt F64"],
    );
    check(
        "(func (param i32 f64) (result f64)
            (block $b (result f64)
                (drop (br_if $b (f64.sqrt (local.get 1)) (local.get 0)))
                (f64.floor (local.get 1))))",
        &["8 End F64"],
    );
}

#[test]
fn a_value_seen_in_many_places_is_made_canonical_once() {
    check(
        "(func (param i32 f64) (local f64)
            (local.set 2 (f64.sqrt (local.get 1)))
            (f64.store (local.get 0) (local.get 2))
            (f64.store offset=8 (local.get 0) (local.get 2)))",
        &["1 F64Sqrt F64"],
    );
    check(
        "(func (param i32 f64) (local f64)
            (f64.store (local.get 0) (local.tee 2 (f64.sqrt (local.get 1))))
            (global.set $g64 (local.get 2)))",
        &["2 F64Sqrt F64"],
    );
}

#[test]
fn code_that_is_never_reached_is_left_alone() {
    check(
        "(func (param f64) (result f64)
            (block (return (local.get 0)) (block (drop (f64.sqrt (local.get 0)))) (loop (br 0)))
            (f64.sqrt (local.get 0)))",
        &[],
    );
    check(
        "(func (param f64) (result f64)
            (if (result f64) (i32.const 1) (then unreachable) (else (f64.sqrt (local.get 0)))))",
        &["5 F64Sqrt F64"],
    );
}

#[test]
fn vectors_are_made_canonical_in_the_shape_that_made_them() {
    check(
        "(func (param v128) (result v128) (f32x4.add (local.get 0) (f32x4.sqrt (local.get 0))))",
        &["3 F32x4Add F32x4"],
    );
    // Halves of an f64 are seen as they are.
    check(
        "(func (param v128) (result i32)
            (f32x4.extract_lane 1 (f64x2.sqrt (local.get 0))) f32.const 1 f32.lt)",
        &["1 F64x2Sqrt F64x2"],
    );
    check(
        "(func (param v128) (result f32) (f32x4.extract_lane 1 (f32x4.sqrt (local.get 0))))",
        &["2 F32x4ExtractLane F32"],
    );
    check(
        "(func (param v128) (result v128) (i32x4.add (f32x4.sqrt (local.get 0)) (local.get 0)))",
        &["1 F32x4Sqrt F32x4"],
    );
    check(
        "(func (param v128) (result v128) (f64x2.convert_low_i32x4_u (f32x4.sqrt (local.get 0))))",
        &["1 F32x4Sqrt F32x4"],
    );
    check(
        "(func (param i32 v128) (result v128)
            (select (f32x4.sqrt (local.get 1)) (f64x2.sqrt (local.get 1)) (local.get 0)))",
        &["1 F32x4Sqrt F32x4", "3 F64x2Sqrt F64x2"],
    );
    check(
        "(func (param v128 f32) (result v128)
            (f32x4.replace_lane 2 (f32x4.sqrt (local.get 0)) (f32.sqrt (local.get 1))))",
        &["4 F32x4ReplaceLane F32x4"],
    );
    check(
        "(func (param v128 f32) (result v128) (f32x4.replace_lane 2 (local.get 0) (f32.sqrt (local.get 1))))",
        &["2 F32Sqrt F32"],
    );
    // Whole lanes may move, parts of lanes may not.
    check(
        "(func (param v128) (result v128)
            (i8x16.shuffle 4 5 6 7 0 1 2 3 20 21 22 23 16 17 18 19
                (f32x4.sqrt (local.get 0)) (f32x4.floor (local.get 0))))",
        &["4 I8x16Shuffle F32x4"],
    );
    check(
        "(func (param v128) (result i32)
            (i32x4.all_true (i8x16.shuffle 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 0
                (f32x4.sqrt (local.get 0)) (local.get 0))))",
        &["1 F32x4Sqrt F32x4"],
    );
    check(
        "(func (param v128) (result v128) (f32x4.pmin (f32x4.sqrt (local.get 0)) (local.get 0)))",
        &["1 F32x4Sqrt F32x4"],
    );
}

#[test]
fn a_vector_that_is_stored_and_goes_on_is_made_canonical_off_its_way() {
    check(
        "(func (param i32 v128) (local v128)
            (loop
                (v128.store (local.get 0) (local.tee 2 (f32x4.add (local.get 2) (local.get 1))))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 16))))))",
        &["5 LocalTee F32x4"],
    );
}

#[test]
fn eager_is_after_every_operator_that_makes_a_nan() {
    let text = "(module (func (param f64 f64) (result f64)
        (f64.neg (f64.add (f64.mul (local.get 0) (local.get 1)) (f64.sqrt (local.get 1))))))";
    assert_eq!(found(text, Nan::Eager), ["2 F64Mul F64", "4 F64Sqrt F64", "5 F64Add F64"]);
    assert!(found(text, Nan::Keep).is_empty());
}

/// Bodies of the greatest length, nesting and number of locals, where the search for writers is longest.
#[test]
fn a_function_too_tangled_to_look_at_is_made_canonical_at_once() {
    let locals = "f64 ".repeat(2_000);
    // Every block writes each local on one way, so that each local has a node at the end of each block.
    let mut body = String::new();
    for local in 0..2_000 {
        body.push_str(&format!("(local.set {local} (f64.sqrt (local.get {local})))"));
    }
    let mut text = format!("(module (func (local {locals}) (local $i i32)");
    for _ in 0..400 {
        text.push_str("(block (br_if 0 (local.get $i)) (br_if 0 (local.get $i))");
    }
    text.push_str(&body);
    for _ in 0..400 {
        text.push(')');
    }
    for local in 0..2_000 {
        text.push_str(&format!("(drop (i64.reinterpret_f64 (local.get {local})))"));
    }
    text.push_str("))");
    assert_eq!(found(&text, Nan::Lazy), found(&text, Nan::Eager));
}

/// A deep nest is followed without recursion.
#[test]
fn nests_of_the_greatest_depth_are_followed() {
    let mut text = "(module (func (param i32 f64) (result f64)".to_string();
    text.push_str(&"(block (result f64) ".repeat(4_096));
    text.push_str("(f64.sqrt (local.get 1))");
    text.push_str(&" (br_if 0 (local.get 0)))".repeat(4_096));
    text.push_str("))");
    let points = found(&text, Nan::Lazy);
    assert_eq!(points.len(), 1, "{points:?}");
}
