//! Small programs that between them end in every way and use every part of the profile.

use super::{command, stepped};
use samebit_spec::{
    execution::Execution,
    unit::{Bytes, Fuel},
};

/// A program and what its execution has of its own.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) change: fn(&mut Execution),
}

fn plain(name: &'static str, text: String) -> Case {
    Case { name, text, change: |_| {} }
}

/// Counts `$n` down to zero around `body`.
fn count(times: u32, body: &str) -> String {
    format!(
        "(local $n i32) (local.set $n (i32.const {times}))
         (loop $again {body} (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))"
    )
}

/// A function with `locals` values that all live across its call of itself.
pub(crate) fn wide(locals: usize) -> String {
    let set: String = (0..locals)
        .map(|local| format!("(local.set {} (i64.mul (local.get 0) (i64.const {})))\n", local + 1, 2 * local + 3))
        .collect();
    let sum: String = (0..locals).map(|local| format!("(local.get {}) i64.xor\n", local + 1)).collect();
    format!(
        "(func $wide (param i64) (result i64) (local {})
            {set} (call $wide (i64.add (local.get 0) (i64.const 1))) {sum})",
        "i64 ".repeat(locals)
    )
}

/// Every program.
pub(crate) fn cases() -> Vec<Case> {
    let table = r"(type $void (func)) (table 4 funcref) (elem (i32.const 0) $number $again)
        (func $number (result i32) i32.const 1) (func $again call_again)";
    let table = table.replace("call_again", "(call_indirect (type $void) (i32.const 1))");
    let floats = r#"(data (i32.const 128) "\00\00\00\00\00\00\80\7f\34\12\a0\ff\00\00\c0\7f\01\00\00\00\ff\ff\7f\ff\db\0f\49\40\00\00\00\80")"#;
    let mut cases = vec![
        plain("ends", command("", "")),
        plain(
            "prints and exits",
            command(
                r#"(data (i32.const 64) "bye")"#,
                "(call $put (i32.const 1) (i32.const 64) (i32.const 3)) (call $exit (i32.const 7)) unreachable",
            ),
        ),
        plain("fails", stepped("", "(i32.const 1)", "(i32.const 2)", "(i32.const 0)")),
        plain("says an undefined code", stepped("", "(i32.const 3)", "(i32.const 1)", "(i32.const 0)")),
        plain("has nothing left to do", stepped("", "(i32.const 0)", "unreachable", "(i32.const 0)")),
        plain("unreachable", command("", "unreachable")),
        plain("load outside", command("", "(drop (i32.load (i32.const -4)))")),
        plain("store across the end", command("", "(i64.store (i32.const 65532) (i64.const -1))")),
        plain("fill outside", command("", "(memory.fill (i32.const 65535) (i32.const 1) (i32.const 2))")),
        plain("copy outside", command("", "(memory.copy (i32.const 0) (i32.const 65535) (i32.const 2))")),
        plain("segment outside", command(r#"(data (i32.const 65535) "xy")"#, "")),
        plain("element outside", command("(table 1 funcref) (elem (i32.const 1) $f) (func $f)", "")),
        plain("table outside", command(&table, "(call_indirect (type $void) (i32.const 4))")),
        plain("null in the table", command(&table, "(call_indirect (type $void) (i32.const 3))")),
        plain("another type", command(&table, "(call_indirect (type $void) (i32.const 0))")),
        plain("integer overflow", command("", "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))")),
        plain("division by zero", command("", "(drop (i64.rem_u (i64.const 1) (i64.const 0)))")),
        plain("no integer", command("", "(drop (i32.trunc_f64_s (f64.const nan)))")),
        plain(
            "recursion",
            command("(func $f (param i64) (call $f (local.get 0)) (call $f (local.get 0)))", "(call $f (i64.const 0))"),
        ),
        plain("mutual recursion", command("(func $f (call $g)) (func $g (call $f) (call $f))", "(call $f)")),
        plain("recursion through the table", command(&table, "(call_indirect (type $void) (i32.const 1))")),
        plain("recursion of wide frames", command(&wide(300), "(drop (call $wide (i64.const 1)))")),
        plain(
            "recursion that returns",
            command(
                "(func $fib (param i32) (result i32)
                    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                        (then (local.get 0))
                        (else (i32.add
                            (call $fib (i32.sub (local.get 0) (i32.const 1)))
                            (call $fib (i32.sub (local.get 0) (i32.const 2)))))))",
                "(call $exit (call $fib (i32.const 17)))",
            ),
        ),
        plain(
            "a start function",
            command("(global $g (mut i32) (i32.const 1)) (func $s (global.set $g (i32.const 2))) (start $s)", ""),
        ),
        Case {
            name: "no end",
            text: command("", "(loop (br 0))"),
            change: |execution| execution.limits.fuel = Fuel(3_000_000),
        },
        Case {
            name: "a step without end",
            text: stepped("", "(i32.const 1)", "(loop (br 0)) (i32.const 0)", "(i32.const 0)"),
            change: |execution| execution.step_budget = Fuel(2_500_000),
        },
        Case {
            name: "steps without end",
            text: stepped(
                "(global $n (mut i64) (i64.const 0))",
                "(i32.const 1)",
                "(global.set $n (i64.add (global.get $n) (local.get $budget))) (i32.const 1)",
                "(i32.const 0)",
            ),
            change: |execution| execution.limits.steps = 5,
        },
        Case {
            name: "larger than its memory",
            text: command("", ""),
            change: |execution| execution.limits.memory = Bytes(65_535),
        },
        Case {
            name: "grows to its limit",
            text: command(
                "",
                &format!(
                    "{} (call $exit (i32.add (memory.size) (i32.shl (memory.grow (i32.const 1)) (i32.const 16))))",
                    count(12, "(drop (memory.grow (i32.const 3)))")
                ),
            ),
            change: |execution| execution.limits.memory = Bytes(30 * 65_536 + 1),
        },
        plain(
            "asks the world",
            command(
                "",
                "(if (call $clock (i32.const 0) (i64.const 1) (i32.const 64)) (then unreachable))
                 (if (call $random (i32.const 72) (i32.const 16)) (then unreachable))
                 (if (call $args (i32.const 88) (i32.const 92)) (then unreachable))
                 (if (call $environ (i32.const 96) (i32.const 100)) (then unreachable))
                 (call $put (i32.const 1) (i32.const 64) (i32.const 40))",
            ),
        ),
        plain(
            "prints until it traps",
            stepped(
                r#"(global $n (mut i32) (i32.const 0)) (data (i32.const 64) "abc")"#,
                "(i32.const 1)",
                "(call $put (i32.const 1) (i32.add (i32.const 64) (global.get $n)) (i32.const 1))
                 (if (i32.eq (global.get $n) (i32.const 2)) (then unreachable))
                 (global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.const 1)",
                "(i32.const 0)",
            ),
        ),
        Case {
            name: "a call that is not paid for",
            text: command(
                "",
                "(call $put (i32.const 1) (i32.const 0) (i32.const 4)) (call $put (i32.const 1) (i32.const 0) (i32.const 65536))",
            ),
            change: |execution| execution.limits.fuel = Fuel(600_000),
        },
        plain(
            "globals of each type",
            stepped(
                "(global $i (mut i32) (i32.const -1)) (global $l (mut i64) (i64.const -1))
                 (global $f (mut f32) (f32.const 1)) (global $d (mut f64) (f64.const 1))
                 (global $v (mut v128) (v128.const i32x4 1 2 3 4))",
                "(i32.const 1)",
                "(global.set $f (f32.div (f32.const 0) (f32.sub (global.get $f) (global.get $f))))
                 (global.set $d (f64.sqrt (f64.sub (global.get $d) (f64.const 2))))
                 (global.set $v (f32x4.sqrt (f32x4.neg (global.get $v))))
                 (global.set $l (i64.reinterpret_f64 (global.get $d)))
                 (global.set $i (i32.reinterpret_f32 (f32.neg (global.get $f)))) (i32.const 0)",
                "(i32.const 0)",
            ),
        ),
        plain(
            "moves of memory",
            command(
                "",
                &format!(
                    "{} (memory.copy (i32.const 3) (i32.const 0) (i32.const 4096))
                     (memory.copy (i32.const 0) (i32.const 5) (i32.const 1000))
                     (memory.fill (i32.const 100) (i32.const 0x1ff) (i32.const 77))
                     (call $put (i32.const 1) (i32.const 0) (i32.const 4096))",
                    count(4096, "(i32.store8 (local.get $n) (i32.mul (local.get $n) (i32.const 7)))")
                ),
            ),
        ),
    ];
    // Each operator on pairs of floats, infinities and NaNs with payloads among them; its bits are printed.
    let scalar = ["add", "sub", "mul", "div", "min", "max", "copysign"];
    let unary = ["sqrt", "ceil", "floor", "trunc", "nearest", "abs", "neg"];
    let pairs = |store: &dyn Fn(usize, &str, &str) -> String| -> String {
        (0..8)
            .flat_map(|a| (0..8).map(move |b| (a, b)))
            .enumerate()
            .map(|(at, (a, b))| {
                store(
                    at,
                    &format!("(f32.load (i32.const {}))", 128 + 4 * a),
                    &format!("(f32.load (i32.const {}))", 128 + 4 * b),
                )
            })
            .collect()
    };
    let print = |bytes: usize| format!("(call $put (i32.const 1) (i32.const 1024) (i32.const {bytes}))");
    let all32: String = scalar
        .iter()
        .chain(&unary)
        .map(|op| {
            let stores = pairs(&|at, a, b| {
                let value = if unary.contains(op) { format!("(f32.{op} {a})") } else { format!("(f32.{op} {a} {b})") };
                format!("(f32.store (i32.const {}) {value})", 1024 + 4 * at)
            });
            stores + &print(256)
        })
        .collect();
    cases.push(plain("floats of 32 bits", command(floats, &all32)));
    let all64: String = scalar
        .iter()
        .chain(&unary)
        .map(|op| {
            let stores = pairs(&|at, a, b| {
                let (a, b) = (format!("(f64.promote_f32 {a})"), format!("(f64.promote_f32 {b})"));
                let value = if unary.contains(op) { format!("(f64.{op} {a})") } else { format!("(f64.{op} {a} {b})") };
                format!("(f64.store (i32.const {}) {value})", 1024 + 8 * at)
            });
            stores + &print(512)
        })
        .collect();
    cases.push(plain("floats of 64 bits", command(floats, &all64)));
    let vectors: String = ["f32x4", "f64x2"]
        .iter()
        .flat_map(|shape| {
            let wide = ["add", "sub", "mul", "div", "min", "max", "pmin", "pmax", "eq", "lt"];
            wide.iter()
                .map(|op| (op, true))
                .chain(unary.iter().map(|op| (op, false)))
                .map(move |(op, two)| {
                    let load = |at: usize| format!("(v128.load (i32.const {}))", 128 + at);
                    (0..4)
                        .map(|at| {
                            let value = if two {
                                format!("({shape}.{op} {} {})", load(4 * at), load(16))
                            } else {
                                format!("({shape}.{op} {})", load(4 * at))
                            };
                            format!("(v128.store (i32.const {}) {value})", 1024 + 16 * at)
                        })
                        .collect::<String>()
                        + "(call $put (i32.const 1) (i32.const 1024) (i32.const 64))"
                })
                .collect::<Vec<_>>()
        })
        .collect();
    cases.push(plain("vectors of floats", command(floats, &vectors)));
    let integers: String = [
        "i8x16.add_sat_s",
        "i8x16.narrow_i16x8_u",
        "i8x16.swizzle",
        "i16x8.mul",
        "i16x8.q15mulr_sat_s",
        "i16x8.extmul_high_i8x16_s",
        "i32x4.dot_i16x8_s",
        "i32x4.min_u",
        "i64x2.mul",
        "i64x2.gt_s",
        "v128.andnot",
        "i8x16.avgr_u",
    ]
    .iter()
    .map(|op| {
        format!(
            "(v128.store (i32.const 1024) ({op} (v128.load (i32.const 128)) (v128.load (i32.const 144)))) {}",
            print(16)
        )
    })
    .collect();
    cases.push(plain("vectors of integers", command(floats, &integers)));
    // A state of 64 bits that every operator stirs.
    let stir = "(local.set $x (i64.add (i64.rotl (i64.mul (i64.xor (local.get $x) (i64.extend_i32_u (local.get $n)))
            (i64.const 0x9E3779B97F4A7C15)) (i64.extend_i32_u (i32.clz (local.get $n)))) (i64.popcnt (local.get $x))))
         (local.set $x (i64.xor (local.get $x) (i64.div_u (local.get $x) (i64.or (i64.extend_i32_s (local.get $n)) (i64.const 1)))))
         (local.set $x (i64.sub (local.get $x) (i64.rem_s (local.get $x) (i64.const 1000003))))
         (local.set $x (i64.add (local.get $x) (i64.shr_s (local.get $x) (i64.extend_i32_u (i32.ctz (local.get $n))))))";
    cases.push(plain(
        "integers",
        command(
            "",
            &format!("(local $x i64) {} (i64.store (i32.const 1024) (local.get $x)) {}", count(5_000, stir), print(8)),
        ),
    ));
    let switch =
        "(block $d (block $c (block $b (block $a (br_table $a $b $c $d (i32.and (local.get $n) (i32.const 7))))
            (local.set $x (i64.add (local.get $x) (i64.const 3))) (br $d))
            (local.set $x (i64.mul (local.get $x) (i64.const 5))) (br $d))
            (local.set $x (i64.xor (local.get $x) (i64.const 77))))";
    cases.push(plain(
        "a switch",
        command(
            "",
            &format!(
                "(local $x i64) {} (i64.store (i32.const 1024) (local.get $x)) {}",
                count(5_000, switch),
                print(8)
            ),
        ),
    ));
    cases
}
