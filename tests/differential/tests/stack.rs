//! A recursion is as deep on every engine and setting, and native stack never ends before its height does.

use samebit_differential::{
    on_big_stack,
    stack::{self, Depth, Frame, NATIVE_RATIO_MAX},
    value::Type,
};

const ALL: [Type; 5] = [Type::I32, Type::I64, Type::F32, Type::F64, Type::V128];

/// Frames that a compiler finds hard, by what makes them so.
fn frames() -> Vec<(&'static str, Frame)> {
    let plain = Frame::PLAIN;
    let every = |count| ALL.map(|ty| (ty, count)).to_vec();
    vec![
        ("nothing", plain.clone()),
        ("through the table", Frame { indirect: true, ..plain.clone() }),
        ("300 vectors in locals", Frame { locals: vec![(Type::V128, 300)], ..plain.clone() }),
        ("every type in locals", Frame { locals: every(60), ..plain.clone() }),
        ("300 vectors on the operand stack", Frame { operands: vec![(Type::V128, 300)], ..plain.clone() }),
        ("every type on the operand stack", Frame { operands: every(60), ..plain.clone() }),
        ("60 parameters", Frame { params: (0..60).map(|at| ALL[at % 5]).collect(), ..plain.clone() }),
        ("60 vector parameters", Frame { params: vec![Type::V128; 60], ..plain.clone() }),
        ("60 parameters through the table", Frame { params: vec![Type::I64; 60], indirect: true, ..plain.clone() }),
        ("2000 products that are computed twice", Frame { shared: 2_000, ..plain.clone() }),
        ("2000 constants that are used twice", Frame { constants: 2_000, ..plain.clone() }),
        (
            "all of it",
            Frame {
                locals: every(40),
                operands: every(40),
                params: vec![Type::V128; 20],
                shared: 500,
                constants: 500,
                indirect: true,
            },
        ),
    ]
}

/// Recursions that are not one function's. Each exports `down` and counts entries.
const SHAPES: [(&str, &str); 4] = [
    (
        "two functions in turn, one of them heavy",
        "(func $down (export \"down\") (param i32) (result i32) (call $in)
           (if (i32.eqz (local.get 0)) (then (call $probe) (return (i32.const 1))))
           (i32.add (call $heavy (i32.sub (local.get 0) (i32.const 1)) (v128.const i64x2 1 2)) (i32.const 1)))
         (func $heavy (param i32 v128) (result i32) (local v128 v128 v128 v128 v128 v128 v128 v128 v128 v128) (call $in)
           (if (i32.eqz (local.get 0)) (then (call $probe) (return (i32.const 1))))
           (i32.add (call $down (i32.sub (local.get 0) (i32.const 1))) (i8x16.bitmask (local.get 1))))",
    ),
    (
        "calls from ten levels of blocks",
        "(func $down (export \"down\") (param i32) (result i32) (call $in)
           (if (i32.eqz (local.get 0)) (then (call $probe) (return (i32.const 1))))
           (block (block (block (block (block (block (block (block (block (block
             (global.set $s (call $down (i32.sub (local.get 0) (i32.const 1))))))))))))))
           (i32.add (global.get $s) (local.get 0)))",
    ),
    (
        "a branch table of 3000 ways around the call",
        "(func $down (export \"down\") (param i32) (result i32) (call $in)
           (if (i32.eqz (local.get 0)) (then (call $probe) (return (i32.const 1))))
           (block $b (block $a (br_table WAYS $b (local.get 0))) (global.set $s (i32.const 3)))
           (i32.add (call $down (i32.sub (local.get 0) (i32.const 1))) (global.get $s)))",
    ),
    (
        "many results of the call",
        "(type $r (func (param i32) (result i64 i64 i64 i64 i64 i64 i64 i64 v128 v128 v128 v128 i32)))
         (func $many (type $r) (call $in)
           (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)
           (v128.const i64x2 1 2) (v128.const i64x2 1 2) (v128.const i64x2 1 2) (v128.const i64x2 1 2)
           (if (result i32) (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1)))) (else (call $probe) (i32.const 1))))
         (func $down (export \"down\") (param i32) (result i32)
           (call $many (local.get 0)) (global.set $s) drop drop drop drop drop drop drop drop drop drop drop drop (global.get $s))",
    ),
];

fn shape(body: &str) -> Vec<u8> {
    let body = body.replace("WAYS", &"$a $b ".repeat(1_500));
    let text = format!(
        "(module (import \"env\" \"probe\" (func $probe)) (memory 1)
           (global $entered (export \"entered\") (mut i64) (i64.const 0)) (global $s (mut i32) (i32.const 0))
           (func $in (global.set $entered (i64.add (global.get $entered) (i64.const 1)))) {body})"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn check(name: &str, depth: Result<Depth, String>) -> f64 {
    let depth = depth.unwrap_or_else(|what| panic!("{name}: {what}"));
    println!("{name}: {} calls, {} bytes, {:.3} for each byte of height", depth.entered, depth.native, depth.ratio());
    assert!(depth.entered > 10 && depth.ratio() <= NATIVE_RATIO_MAX, "{name}: {depth:?}");
    depth.ratio()
}

#[test]
fn a_recursion_of_hard_frames_is_as_deep_everywhere_and_never_ends_by_native_stack() {
    let worst = on_big_stack(|| {
        let mut worst: f64 = 0.0;
        for (name, frame) in frames() {
            let wasm = wat::parse_str(stack::module(&frame)).unwrap_or_else(|error| panic!("{name}: {error}"));
            worst = worst.max(check(name, stack::everywhere(&wasm)));
        }
        worst
    });
    println!("worst: {worst:.3} bytes of native stack for each byte of height, of {NATIVE_RATIO_MAX}");
}

#[test]
fn recursions_over_several_functions_are_as_deep_everywhere() {
    on_big_stack(|| {
        for (name, body) in SHAPES {
            check(name, stack::everywhere(&shape(body)));
        }
    });
}

#[test]
fn recursions_of_random_frames_are_as_deep_everywhere() {
    on_big_stack(|| {
        for seed in 0..12 {
            stack::random(seed).unwrap_or_else(|what| panic!("{what}\nreplay: cargo xtask fuzz stack --seed {seed}"));
        }
    });
}
