//! Fuel is what was executed, no trap is free of it, and a limit changes an outcome once.

use samebit_differential::{
    compare::{self, Stats},
    guest::{End, Engine, Guest},
    on_big_stack,
    program::{self, Size},
    smith,
    value::Value,
};
use samebit_spec::param;

/// Shapes of control flow at which segments begin, end and join. Each exports `f` of an `i32`.
const SHAPES: [&str; 15] = [
    // Straight, flat.
    "(func (export \"f\") (param i32) (result i32) (i32.mul (i32.add (local.get 0) (i32.const 1)) (i32.const 3)))",
    // A flat callee, a bounded one, and code after both.
    "(func $flat (param i32) (result i32) (i32.div_u (local.get 0) (i32.const 3)))
     (func $bounded (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.rem_u (local.get 0) (i32.const 5))) (else (i32.const 2))))
     (func (export \"f\") (param i32) (result i32) (i32.add (call $bounded (call $flat (local.get 0))) (i32.mul (local.get 0) (i32.const 7))))",
    // Arms that cost differently, and a join.
    "(func (export \"f\") (param i32) (result i32) (local i32)
      (if (i32.and (local.get 0) (i32.const 1)) (then (local.set 1 (i32.div_u (local.get 0) (i32.const 3)))) (else (local.set 1 (i32.const 4))))
      (i32.mul (local.get 1) (local.get 1)))",
    // A loop tested at its foot.
    "(func (export \"f\") (param i32) (result i32) (local i32 i32)
      (loop $l (local.set 1 (i32.add (local.get 1) (i32.mul (local.get 2) (local.get 0))))
        (local.set 2 (i32.add (local.get 2) (i32.const 1))) (br_if $l (i32.lt_u (local.get 2) (i32.const 9))))
      (i32.xor (local.get 1) (i32.const 5)))",
    // A loop left from two levels within, to a join further out.
    "(func (export \"f\") (param i32) (result i32) (local i32)
      (block $out (loop $l (block $next
          (br_if $next (i32.and (local.get 1) (i32.const 1)))
          (br_if $out (i32.gt_u (local.get 1) (local.get 0)))
          (local.set 1 (i32.add (local.get 1) (i32.mul (i32.const 1) (i32.const 1)))))
        (local.set 1 (i32.add (local.get 1) (i32.const 1))) (br_if $l (i32.lt_u (local.get 1) (i32.const 20)))))
      (i32.rem_u (local.get 1) (i32.const 7)))",
    // br_table to several ends.
    "(func (export \"f\") (param i32) (result i32) (local i32)
      (block $c (block $b (block $a (br_table $a $b $c (local.get 0)))
          (local.set 1 (i32.div_u (i32.const 100) (i32.const 7))))
        (local.set 1 (i32.add (local.get 1) (i32.const 1))))
      (i32.mul (local.get 1) (i32.const 2)))",
    // A return from within a loop in a block.
    "(func (export \"f\") (param i32) (result i32) (local i32)
      (loop $l (if (i32.eq (local.get 1) (i32.const 6)) (then (return (i32.mul (local.get 1) (local.get 0)))))
        (local.set 1 (i32.add (local.get 1) (i32.const 1))) (br $l)) unreachable)",
    // A check that panics out of two levels, and code that it skips.
    "(func (export \"f\") (param i32) (result i32) (local i32)
      (block $ok (block $panic
          (br_if $panic (i32.gt_u (local.get 0) (i32.const 50)))
          (local.set 1 (i32.div_u (i32.const 99) (i32.add (local.get 0) (i32.const 1))))
          (br_if $panic (i32.eq (local.get 1) (i32.const 12345)))
          (local.set 1 (i32.mul (local.get 1) (local.get 1))) (br $ok))
        (local.set 1 (i32.mul (local.get 1) (i32.const 3))) unreachable)
      (i32.add (local.get 1) (i32.const 1)))",
    // Recursion, and code after the call.
    "(func $f (export \"f\") (param i32) (result i32)
      (if (result i32) (i32.le_u (local.get 0) (i32.const 1)) (then (i32.const 1))
        (else (i32.mul (local.get 0) (call $f (i32.sub (local.get 0) (i32.const 1)))))))",
    // Through the table, and a host call.
    "(type $t (func (param i32) (result i32))) (table 2 funcref) (elem (i32.const 0) $flat $deep)
     (func $flat (type $t) (i32.add (local.get 0) (i32.const 1)))
     (func $deep (type $t) (call $note (local.get 0)) (i32.mul (local.get 0) (i32.const 3)))
     (func (export \"f\") (param i32) (result i32)
       (i32.add (call_indirect (type $t) (local.get 0) (i32.const 0)) (call_indirect (type $t) (local.get 0) (i32.const 1))))",
    // Lengths that are constant, and lengths that are not; then growth that succeeds and growth that is refused.
    "(func (export \"f\") (param i32) (result i32)
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 100))
      (memory.copy (i32.const 500) (i32.const 0) (i32.mul (local.get 0) (i32.const 40)))
      (i32.load (i32.const 500)))",
    "(func (export \"f\") (param i32) (result i32)
      (drop (memory.grow (i32.const 1))) (i32.add (memory.grow (i32.const 1000)) (memory.grow (i32.const 0))))",
    // Loops whose iterations are counted before they begin: down to nothing by ones, up to a local by fours.
    "(func (export \"f\") (param i32) (result i32) (local i32 i32)
      (local.set 1 (i32.const 13))
      (loop $l (local.set 2 (i32.mul (i32.add (local.get 2) (local.get 0)) (i32.const 3)))
        (br_if $l (local.tee 1 (i32.add (local.get 1) (i32.const -1)))))
      (i32.xor (local.get 2) (i32.const 5)))",
    "(func (export \"f\") (param i32) (result i32) (local i32 i32 i32)
      (local.set 3 (i32.add (i32.shl (i32.and (local.get 0) (i32.const 7)) (i32.const 2)) (i32.const 4)))
      (loop $l (local.set 2 (i32.add (local.get 2) (i32.div_u (local.get 1) (i32.const 3))))
        (br_if $l (i32.ne (local.tee 1 (i32.add (local.get 1) (i32.const 4))) (local.get 3))))
      (i32.mul (local.get 2) (i32.const 7)))",
    // Branches that carry values, out of nested blocks.
    "(func (export \"f\") (param i32) (result i32)
      (block $a (result i32) (i32.add (i32.const 1) (block $b (result i32)
        (drop (br_if $a (i32.const 5) (i32.eq (local.get 0) (i32.const 1))))
        (drop (br_if $b (i32.const 6) (i32.eq (local.get 0) (i32.const 2))))
        (i32.div_u (i32.const 77) (i32.const 7))))))",
];

/// Shapes of which more is assigned, passed or declared than is without a price. Each exports `f` of an `i32`.
fn wide_shapes() -> Vec<String> {
    let sets = |from: usize, to: usize| -> String {
        (from..to).map(|at| format!("(local.set {at} (i32.add (local.get {at}) (i32.const {at})))")).collect()
    };
    let f = |body: &str| {
        let locals = " i32".repeat(99);
        format!("(func (export \"f\") (param i32) (result i32) (local{locals}) {body} (local.get 70))")
    };
    let many = sets(2, 90);
    let next = "(local.tee 1 (i32.add (local.get 1) (i32.const 1)))";
    vec![
        // A loop that is not counted, and one that is.
        f(&format!("(loop $l {many} (br_if $l (i32.lt_u {next} (i32.and (local.get 0) (i32.const 15)))))")),
        f(&format!("(loop $l {many} (br_if $l (i32.ne {next} (i32.const 10))))")),
        // Assignments that a branch passes over, within a loop and within an arm.
        f(&format!(
            "(loop $l (block $b (br_if $b (i32.and (local.get 1) (i32.const 1))) {many})
               (br_if $l (i32.lt_u {next} (i32.and (local.get 0) (i32.const 15)))))"
        )),
        // Two arms together, with and without a way out, and one alone.
        f(&format!("(if (local.get 0) (then {}) (else {}))", sets(2, 50), sets(50, 95))),
        f(&format!(
            "(block $out (if (i32.and (local.get 0) (i32.const 1)) (then {} (br_if $out (i32.and (local.get 0) (i32.const 2))))
               (else {})) (local.set 70 (i32.mul (local.get 70) (i32.const 3))))",
            sets(2, 50),
            sets(50, 95)
        )),
        f(&format!("(if (i32.and (local.get 0) (i32.const 1)) (then {many}))")),
        f(&format!("(if (i32.and (local.get 0) (i32.const 1)) (then {many} (return (i32.const 5))) (else {}))", sets(3, 9))),
        // A table to the ends of blocks inside one another, more of which is assigned the further out.
        f(&format!(
            "(loop $l (block $c (block $b (block $a {} (br_table $a $b $c (i32.rem_u (local.get 1) (i32.const 3)))) {} (br $c)) {})
               (br_if $l (i32.lt_u {next} (i32.and (local.get 0) (i32.const 15)))))",
            sets(2, 66),
            sets(66, 80),
            sets(80, 98)
        )),
        // Blocks that end in a trap or are left for good, and a loop that is left from within.
        f(&format!(
            "(block $ok (block $panic (br_if $panic (i32.gt_u (i32.and (local.get 0) (i32.const 63)) (i32.const 50))) {many} (br $ok)) {} unreachable)",
            sets(2, 80)
        )),
        f(&format!("(block $out (loop $l {many} (br_if $out (i32.gt_u {next} (i32.and (local.get 0) (i32.const 15)))) (br $l)))")),
        // The same local again and again is one; a loop without a way back begins once.
        f(&format!("(loop $l {})", sets(2, 30).repeat(5))),
        f(&format!("(block $b {})", sets(2, 30).repeat(5))),
        // Calls that pass much, direct, flat, through the table and to a function with many locals.
        {
            let (params, results) = (" i32".repeat(20), " i32".repeat(12));
            let args = "(local.get 0)".repeat(20);
            let give = "(i32.const 3)".repeat(12);
            let drops = "drop ".repeat(11);
            format!(
                "(type $wide (func (param{params}) (result{results}))) (table 2 funcref) (elem (i32.const 0) $flat $not)
                 (func $flat (type $wide) {give})
                 (func $not (type $wide) (if (local.get 0) (then (return {give}))) {give})
                 (func $locals (param i32) (result i32) (local{}) (i32.add (local.get 0) (i32.const 2)))
                 (func $deep (param i32) (result i32) (local{})
                   (if (result i32) (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 1))))
                 (func (export \"f\") (param i32) (result i32)
                   (i32.add (call $deep (i32.and (local.get 0) (i32.const 7))) (call $locals (i32.const 3))) drop
                   (call $flat {args}) {drops} drop (call $not {args}) {drops} drop
                   (call_indirect (type $wide) {args} (i32.and (local.get 0) (i32.const 1))) {drops})",
                " i64".repeat(70),
                " f64".repeat(200),
            )
        },
    ]
}

fn shape(body: &str) -> Vec<u8> {
    let text = format!(
        "(module (import \"env\" \"note\" (func $note (param i32))) (memory (export \"memory\") 1)
           (global (export \"g\") (mut i32) (i32.const 0)) {body})"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_a_call_is_charged_is_what_it_executed() {
    let stats = on_big_stack(|| {
        let mut stats = Stats::default();
        let wide = wide_shapes();
        for body in SHAPES.into_iter().chain(wide.iter().map(String::as_str)) {
            let wasm = shape(body);
            for seed in 0..4 {
                stats.add(&compare::fuel(&wasm, seed).unwrap_or_else(|what| panic!("{what}\n{body}")));
            }
        }
        for seed in 0..120 {
            let wasm = if seed % 4 == 0 { smith::module(seed).ok() } else { None };
            let wasm = wasm.unwrap_or_else(|| program::module(seed, Size::MIDDLE));
            match compare::fuel(&wasm, seed) {
                Ok(seen) => stats.add(&seen),
                Err(what) => panic!("{what}\nprogram {seed}"),
            }
        }
        stats
    });
    println!("{stats:?}");
    assert!(stats.counted > 600, "{stats:?}");
}

/// Each callee costs less than a function that needs no look may, and all of them many times what is ever in hand: without
/// looks between them the meter would run over into the stack's height.
#[test]
fn many_calls_of_functions_that_do_not_look_are_charged_exactly() {
    let function = |name: &str, steps: usize| {
        let steps = "(local.set 0 (i32.div_u (local.get 0) (i32.const 1)))".repeat(steps);
        format!("(func ${name} (param i32) (result i32) (if (i32.const 1) (then {steps})) (local.get 0))")
    };
    let calls = |name: &str, count: usize| format!("(local.set 0 (call ${name} (local.get 0)))").repeat(count);
    let (large, small) = (function("large", 1_900), function("small", 150));
    let own = "(local.set 0 (i32.div_u (local.get 0) (i32.const 1)))".repeat(7_000);
    let f = |body: &str| format!("(func (export \"f\") (param i32) (result i32) {body} (local.get 0))");
    let shapes = [
        format!("{large} {}", f(&calls("large", 60))),
        format!("{small} {}", f(&calls("small", 900))),
        // Dear and cheap calls, some in arms that are not taken together.
        format!(
            "{large} {small} {}",
            f(&format!(
                "{} (if (i32.and (local.get 0) (i32.const 1)) (then {}) (else {})) {}",
                calls("small", 60),
                calls("large", 20),
                calls("large", 25),
                calls("small", 300)
            ))
        ),
        // The function's own instructions leave no room for a call.
        format!("{large} {}", f(&format!("{own} {} {own}", calls("large", 20)))),
    ];
    let stats = on_big_stack(move || {
        let mut stats = Stats::default();
        for (index, body) in shapes.iter().enumerate() {
            stats.add(&compare::fuel(&shape(body), 1).unwrap_or_else(|what| panic!("{what}, shape {index}")));
        }
        stats
    });
    println!("{stats:?}");
    assert!(stats.counted >= 4, "{stats:?}");
}

#[test]
fn a_trap_anywhere_costs_the_same_on_both_engines_and_never_less_than_the_work_before_it() {
    let stats = on_big_stack(|| {
        let mut stats = Stats::default();
        for body in SHAPES {
            for arg in [2, 5] {
                let seen = compare::trap_everywhere(&shape(body), "f", &[Value::I32(arg)]);
                stats.add(&seen.unwrap_or_else(|what| panic!("f({arg}): {what}\n{body}")));
            }
        }
        stats
    });
    println!("{stats:?}");
    assert!(stats.trapped > 400 && stats.returned > 50, "{stats:?}");
}

#[test]
fn every_limit_below_the_total_ends_out_of_fuel_and_every_other_in_the_result() {
    let total = on_big_stack(|| {
        let mut total = 0;
        // Growth costs more than can be swept.
        for body in SHAPES.into_iter().filter(|body| !body.contains("memory.grow")) {
            for arg in [0, 1, 2, 7] {
                let swept = compare::sweep(&shape(body), "f", &[Value::I32(arg)], 20_000);
                total += swept.unwrap_or_else(|what| panic!("f({arg}): {what}\n{body}"));
            }
        }
        total
    });
    println!("{total} limits");
    assert!(total > 2_000, "{total}");
}

/// A loop of some chunks: limits around each chunk, and around the total.
#[test]
fn limits_around_chunks_end_alike_on_both_engines_and_change_the_outcome_once() {
    on_big_stack(|| {
        let wasm = shape(
            "(func $f (export \"f\") (param i32) (result i32) (local i32)
               (loop $l (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 5)) (local.get 0)))
                 (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1))",
        );
        let executable = compare::prepare(&wasm).unwrap_or_else(|what| panic!("{what}"));
        let args = [Value::I32(600_000)];
        let seen = |engine, allowance| {
            let mut guest = Guest::rewritten(engine, &executable, 1).unwrap_or_else(|failure| panic!("{failure}"));
            guest.call("f", &args, allowance)
        };
        let full = seen(Engine::BOTH[0], 1 << 40);
        assert!(matches!(full.end, End::Returned(_)) && full.fuel > 2 * param::FUEL_CHUNK, "{full:?}");
        let mut limits: Vec<u64> = (0..=full.fuel / param::FUEL_CHUNK + 1)
            .flat_map(|chunk| (0..3).map(move |by| (chunk * param::FUEL_CHUNK + by).saturating_sub(1)))
            .chain(full.fuel - 2..full.fuel + 3)
            .collect();
        limits.sort_unstable();
        for limit in limits {
            let both = Engine::BOTH.map(|engine| seen(engine, limit));
            assert_eq!(both[0], both[1], "given {limit}");
            let wanted = if limit < full.fuel { (End::Fuel, limit) } else { (full.end.clone(), full.fuel) };
            assert_eq!((both[0].end.clone(), both[0].fuel), wanted, "given {limit} of {}", full.fuel);
        }
    });
}

#[test]
fn memory_that_a_machine_does_not_have_is_its_own_fault_and_never_an_answer() {
    on_big_stack(|| {
        let wasm = shape("(func (export \"f\") (param i32) (result i32) (memory.grow (local.get 0)))");
        let executable = compare::prepare(&wasm).unwrap_or_else(|what| panic!("{what}"));
        for engine in Engine::BOTH {
            let mut guest = Guest::rewritten(engine, &executable, 10).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(guest.call("f", &[Value::I32(2)], 1 << 30).end, End::Returned(vec![Value::I32(1)]));
            guest.host().limit(4);
            assert_eq!(guest.call("f", &[Value::I32(2)], 1 << 30).end, End::Memory, "{engine:?}: within the limit");
            let refused = guest.call("f", &[Value::I32(20)], 1 << 30).end;
            assert_eq!(refused, End::Returned(vec![Value::I32(u32::MAX)]), "{engine:?}: beyond the limit");
        }
    });
}
