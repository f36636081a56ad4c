//! Kernels that are bad for a meter: each spends its time on one kind of instruction, in a chain where every
//! one waits for the one before, or on what the caches and the predictor cannot help with.
//!
//! No job looks like this by accident. They bound what a fuel unit may take when somebody wants it to.

use std::fmt::Write as _;

/// Times that a body is repeated in its loop.
const UNROLL: usize = 16;

/// One kernel: a name, and the functions that it is made of.
struct Kernel {
    name: &'static str,
    text: String,
}

/// Names of all kernels, each with the most rounds of a call: what grows memory cannot do so for ever.
pub(crate) fn names() -> Vec<(&'static str, i32)> {
    let most = |name| match name {
        "grow" => 1000,
        "grow_64" => 16,
        _ => i32::MAX,
    };
    kernels().iter().map(|kernel| (kernel.name, most(kernel.name))).collect()
}

/// The module, in which `run_NAME(n)` does `n` rounds.
pub(crate) fn module() -> Result<Vec<u8>, String> {
    let mut text = String::from("(module (memory (export \"memory\") 1100 65535)\n");
    text += SHARED;
    for kernel in kernels() {
        text += &kernel.text;
    }
    text += ")";
    wat::parse_str(&text).map_err(|error| format!("kernels: {error}"))
}

/// `run_NAME`, whose loop repeats `body` over locals `x` and `y`, which begin as `first`.
fn chain(name: &'static str, kind: &str, first: &str, body: &str) -> Kernel {
    looped(name, kind, first, first, body, UNROLL)
}

fn unrolled(name: &'static str, kind: &str, first: &str, body: &str, times: usize) -> Kernel {
    looped(name, kind, first, first, body, times)
}

/// What `x` and `y` begin as comes from globals that could change, or the compiler would fold the chain.
fn looped(name: &'static str, kind: &str, first: &str, other: &str, body: &str, times: usize) -> Kernel {
    let result = match kind {
        "i32" => "(i64.extend_i32_u (local.get $x))",
        "i64" => "(local.get $x)",
        "f32" => "(i64.extend_i32_u (i32.reinterpret_f32 (local.get $x)))",
        "f64" => "(i64.reinterpret_f64 (local.get $x))",
        _ => "(i64x2.extract_lane 0 (local.get $x))",
    };
    let body = body.repeat(times);
    let text = format!(
        "(global $x_{name} (mut {kind}) ({first})) (global $y_{name} (mut {kind}) ({other}))
         (func (export \"run_{name}\") (param $n i32) (result i64) (local $x {kind}) (local $y {kind}) (local $i i32)
           (local.set $x (global.get $x_{name})) (local.set $y (global.get $y_{name}))
           (loop $l {body}
             (local.set $n (i32.sub (local.get $n) (i32.const 1)))
             (br_if $l (i32.gt_s (local.get $n) (i32.const 0))))
           {result})\n"
    );
    Kernel { name, text }
}

/// A chain of one binary instruction on `x` and a number.
fn binary(name: &'static str, kind: &str, first: &str, instruction: &str, number: &str) -> Kernel {
    let body = format!("(local.set $x ({kind}.{instruction} (local.get $x) (local.get $y)))\n");
    looped(name, kind, first, &format!("{kind}.const {number}"), &body, UNROLL)
}

/// A chain of one unary instruction on `x`.
fn unary(name: &'static str, kind: &str, first: &str, instruction: &str) -> Kernel {
    chain(name, kind, first, &format!("(local.set $x ({instruction} (local.get $x)))\n"))
}

/// A chain of one vector instruction on `x` and `y`.
fn vector(name: &'static str, first: &str, instruction: &str) -> Kernel {
    chain(name, "v128", first, &format!("(local.set $x ({instruction} (local.get $x) (local.get $y)))\n"))
}

const LANES: &str = "v128.const i32x4 0x3f8ccccd 0x3f9d70a4 0x3fa66666 0x3f8a3d71";

fn kernels() -> Vec<Kernel> {
    let mut all = vec![
        unrolled("loop", "i32", "i32.const 1", "", 1),
        binary("add", "i64", "i64.const 1", "add", "12345"),
        chain(
            "add_wide",
            "i32",
            "i32.const 1",
            "(local.set $x (i32.add (local.get $x) (local.get $n))) (local.set $y (i32.xor (local.get $y) (local.get $n)))
             (local.set $i (i32.or (local.get $i) (local.get $n)))\n",
        ),
        binary("rotate", "i64", "i64.const 1", "rotl", "7"),
        unary("popcnt", "i64", "i64.const 1", "i64.popcnt"),
        unary("clz", "i64", "i64.const 1", "i64.clz"),
        binary("mul", "i64", "i64.const 3", "mul", "6364136223846793005"),
        chain(
            "div64",
            "i64",
            "i64.const 0x7fffffffffffff01",
            "(local.set $x (i64.or (i64.div_u (local.get $y) (local.get $x)) (i64.const 3)))\n",
        ),
        chain(
            "rem64",
            "i64",
            "i64.const 0x7fffffffffffff01",
            "(local.set $x (i64.or (i64.rem_s (local.get $y) (local.get $x)) (i64.const 0x10001)))\n",
        ),
        chain(
            "div32",
            "i32",
            "i32.const 0x7fffff01",
            "(local.set $x (i32.or (i32.div_s (local.get $y) (local.get $x)) (i32.const 3)))\n",
        ),
        chain(
            "select",
            "i64",
            "i64.const 1",
            "(local.set $x (select (local.get $x) (i64.const 77) (i64.ne (local.get $x) (i64.const 5))))\n",
        ),
        chain(
            "branch_random",
            "i64",
            "i64.const 88172645463325252",
            "(local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
             (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
             (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
             (if (i32.wrap_i64 (i64.and (local.get $x) (i64.const 1)))
               (then (i32.store (i32.const 64) (local.get $n))) (else (i32.store8 (i32.const 72) (local.get $n))))\n",
        ),
        chain(
            "branch_steady",
            "i32",
            "i32.const 1",
            "(block $b (br_if $b (i32.eq (local.get $n) (local.get $x))) (local.set $y (i32.add (local.get $y) (i32.const 1))))\n",
        ),
        branch_table("table_random", "(local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
             (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
             (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))"),
        branch_table("table_steady", "(local.set $x (i64.add (local.get $x) (i64.const 1)))"),
        chain("load_near", "i32", "i32.const 0", "(local.set $x (i32.load offset=1024 (local.get $x)))\n"),
        chain("load_wide", "i64", "i64.const 0", "(local.set $x (i64.add (local.get $x) (i64.load offset=1024 (i32.const 8))))\n"),
        chase("chase", 20, 64),
        chase("chase_l2", 12, 64),
        chain("store_near", "i64", "i64.const 1", "(i64.store offset=2048 (i32.const 8) (local.get $x))\n"),
        stride("store_stride", "(i64.store offset=65536 (local.get $i) (local.get $x))"),
        stride("load_stride", "(local.set $x (i64.add (local.get $x) (i64.load offset=65536 (local.get $i))))"),
        chain("global", "i64", "i64.const 1", "(global.set $g (i64.add (global.get $g) (local.get $x)))\n"),
        chain("call", "i64", "i64.const 1", "(local.set $x (call $tiny (local.get $x)))\n"),
        chain("call_deep", "i64", "i64.const 1", "(local.set $x (call $deep (local.get $x) (i32.const 20)))\n"),
        chain(
            "call_indirect",
            "i64",
            "i64.const 1",
            "(local.set $x (call_indirect (type $unary) (local.get $x) (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 3))))\n",
        ),
        binary("f64_add", "f64", "f64.const 1.5", "add", "1.0009765625"),
        binary("f64_mul", "f64", "f64.const 1.5", "mul", "0.99999999999"),
        binary("f64_mul_tiny", "f64", "f64.const 0x1p-1070", "mul", "0.99999999999"),
        binary("f32_add", "f32", "f32.const 1.5", "add", "1.0009765625"),
        binary("f64_min", "f64", "f64.const 1.5", "min", "2.25"),
        binary("f64_max", "f64", "f64.const 1.5", "max", "-2.25"),
        chain("f64_div", "f64", "f64.const 1.7", "(local.set $x (f64.div (local.get $y) (local.get $x)))\n"),
        unary("f64_sqrt", "f64", "f64.const 3.7", "f64.sqrt"),
        unary("f32_sqrt", "f32", "f32.const 3.7", "f32.sqrt"),
        unary("f64_floor", "f64", "f64.const 3.7", "f64.floor"),
        unary("f64_nearest", "f64", "f64.const 3.7", "f64.nearest"),
        unary("f64_neg", "f64", "f64.const 3.7", "f64.neg"),
        chain(
            "f64_less",
            "f64",
            "f64.const 3.7",
            "(local.set $i (i32.add (local.get $i) (f64.lt (local.get $x) (f64.convert_i32_s (local.get $i)))))\n",
        ),
        chain("convert", "f64", "f64.const 3.7", "(local.set $x (f64.convert_i64_s (i64.trunc_f64_s (local.get $x))))\n"),
        chain("convert_sat", "f64", "f64.const 3.7", "(local.set $x (f64.convert_i64_s (i64.trunc_sat_f64_s (local.get $x))))\n"),
        chain("convert_u", "f64", "f64.const 3.7", "(local.set $x (f64.convert_i64_u (i64.trunc_f64_u (local.get $x))))\n"),
        chain("demote", "f64", "f64.const 3.7", "(local.set $x (f64.promote_f32 (f32.demote_f64 (local.get $x))))\n"),
        vector("v_add", LANES, "i32x4.add"),
        vector("v_swizzle", "v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 0", "i8x16.swizzle"),
        vector("v_mul16", LANES, "i16x8.mul"),
        vector("v_mul32", LANES, "i32x4.mul"),
        vector("v_mul64", LANES, "i64x2.mul"),
        vector("v_dot", LANES, "i32x4.dot_i16x8_s"),
        vector("v_q15", LANES, "i16x8.q15mulr_sat_s"),
        vector("v_narrow", LANES, "i8x16.narrow_i16x8_s"),
        vector("v_fadd", LANES, "f32x4.add"),
        vector("v_fmul", LANES, "f32x4.mul"),
        chain("v_fdiv", "v128", LANES, "(local.set $x (f32x4.div (local.get $y) (local.get $x)))\n"),
        vector("v_fmin", LANES, "f32x4.min"),
        vector("v_fpmin", LANES, "f32x4.pmin"),
        chain("v_ddiv", "v128", LANES, "(local.set $x (f64x2.div (local.get $y) (local.get $x)))\n"),
        unary("v_dsqrt", "v128", LANES, "f64x2.sqrt"),
        unary("v_fsqrt", "v128", LANES, "f32x4.sqrt"),
        unary("v_ffloor", "v128", LANES, "f32x4.floor"),
        unary("v_popcnt", "v128", LANES, "i8x16.popcnt"),
        unary("v_trunc_u", "v128", LANES, "i32x4.trunc_sat_f32x4_u"),
        unary("v_convert_u", "v128", LANES, "f32x4.convert_i32x4_u"),
        chain("v_shl8", "v128", LANES, "(local.set $x (i8x16.shl (local.get $x) (local.get $n)))\n"),
        chain("v_shr64", "v128", LANES, "(local.set $x (i64x2.shr_s (local.get $x) (local.get $n)))\n"),
        chain(
            "v_lane",
            "v128",
            LANES,
            "(local.set $x (i32x4.replace_lane 1 (local.get $x) (i32x4.extract_lane 2 (local.get $x))))\n",
        ),
        chain("v_bitmask", "v128", LANES, "(local.set $x (i8x16.splat (i8x16.bitmask (local.get $x))))\n"),
        chain("v_memory", "v128", LANES, "(v128.store offset=2048 (i32.const 16) (v128.xor (local.get $y) (v128.load offset=2048 (i32.const 16))))\n"),
        chain("memory_size", "i32", "i32.const 0", "(local.set $x (i32.add (local.get $x) (memory.size)))\n"),
        chain(
            "reinterpret",
            "i64",
            "i64.const 1",
            "(local.set $x (i64.add (i64.reinterpret_f64 (f64.neg (f64.reinterpret_i64 (local.get $x)))) (i64.const 1)))\n",
        ),
        carried("locals_turned", 1_000, &Carried::Turned),
        carried("locals_passed", 1_000, &Carried::Passed),
        carried("locals_armed", 1_000, &Carried::Armed),
        carried("locals_armed_64", 64, &Carried::Armed),
        wide("call_wide", 255),
        grow("grow", 1),
        grow("grow_64", 64),
    ];
    for (name, bytes) in [
        ("copy_0", 0),
        ("copy_16", 16),
        ("copy_256", 256),
        ("copy_4k", 4 << 10),
        ("copy_64k", 64 << 10),
        ("copy_16m", 16 << 20),
    ] {
        all.push(bulk(
            name,
            &format!(
                "(memory.copy (i32.const 0x2000000) (i32.const 65536) (i32.add (local.get $x) (i32.const {bytes})))"
            ),
        ));
    }
    for (name, bytes) in
        [("fill_16", 16), ("fill_256", 256), ("fill_4k", 4 << 10), ("fill_64k", 64 << 10), ("fill_16m", 16 << 20)]
    {
        all.push(bulk(
            name,
            &format!("(memory.fill (i32.const 0x2000000) (i32.const 7) (i32.add (local.get $x) (i32.const {bytes})))"),
        ));
    }
    all
}

/// A bulk instruction whose length the compiler does not know.
fn bulk(name: &'static str, instruction: &str) -> Kernel {
    unrolled(name, "i32", "i32.const 0", &format!("{instruction}\n"), 1)
}

/// One table of 16 targets a round.
fn branch_table(name: &'static str, next: &str) -> Kernel {
    let mut body = String::from("(block $t16 ");
    for target in (0..16).rev() {
        let _ = write!(body, "(block $t{target} ");
    }
    body += "(br_table $t0 $t1 $t2 $t3 $t4 $t5 $t6 $t7 $t8 $t9 $t10 $t11 $t12 $t13 $t14 $t15 (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 15)))";
    for target in 0..16 {
        let _ = writeln!(body, ") (i32.store (i32.const {}) (local.get $n)) (br $t16)", 128 + 8 * target);
    }
    body += ")";
    unrolled(name, "i64", "i64.const 88172645463325252", &format!("{next} {body}"), 1)
}

/// Follows addresses through `2^log2` cells, each `bytes` long, in an order that no prefetcher guesses.
fn chase(name: &'static str, log2: u32, bytes: u32) -> Kernel {
    let cells = 1_u32 << log2;
    let kernel = chain(name, "i32", "i32.const 65536", "(local.set $x (i32.load (local.get $x)))\n");
    let setup = format!(
        "(global $ready_{name} (mut i32) (i32.const 0))
         (func $setup_{name} (local $i i32)
           (if (global.get $ready_{name}) (then (return)))
           (global.set $ready_{name} (i32.const 1))
           (loop $l
             (i32.store offset=65536 (i32.mul (local.get $i) (i32.const {bytes}))
               (i32.add (i32.const 65536) (i32.mul (i32.const {bytes})
                 (i32.and (i32.add (i32.mul (local.get $i) (i32.const 1664525)) (i32.const 1013904223)) (i32.const {mask})))))
             (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {cells})))))\n",
        mask = cells - 1,
    );
    let text = kernel.text.replacen("(loop $l", &format!("(call $setup_{name}) (loop $l"), 1);
    Kernel { name, text: setup + &text }
}

/// Touches a new cache line each time, through 64 MiB.
fn stride(name: &'static str, touch: &str) -> Kernel {
    chain(
        name,
        "i64",
        "i64.const 1",
        &format!("{touch} (local.set $i (i32.and (i32.add (local.get $i) (i32.const 4160)) (i32.const 0x3ffffc0)))\n"),
    )
}

/// What a loop does to the numbers that it carries.
enum Carried {
    /// Each becomes the next one's in every round.
    Turned,
    /// A branch passes over that: no round assigns anything.
    Passed,
    /// That is an arm which is never entered, so that a compiler may move the numbers in the other one.
    Armed,
}

/// A loop that carries `count` numbers.
fn carried(name: &'static str, count: usize, how: &Carried) -> Kernel {
    let each = |of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<String>();
    let locals = each(&|at| format!("(local $v{at} i64)"));
    let first = each(&|at| format!("(local.set $v{at} (i64.load offset={} (i32.const 0)))\n", 8 * at));
    let sum = each(&|at| format!("(local.set $x (i64.xor (local.get $x) (local.get $v{at})))\n"));
    let last = count - 1;
    let next =
        |at: usize| if at == last { String::new() } else { format!("local.get $v{} local.set $v{at}\n", at + 1) };
    let turned = format!("local.get $v0 {} local.set $v{last}", each(&next));
    let never = "(i32.eq (local.get $n) (i32.load (i32.const 0x10000)))";
    let body = match how {
        Carried::Turned => turned,
        Carried::Passed => format!("(block $b (br_if $b (i32.eqz {never})) {turned})"),
        Carried::Armed => format!("(if {never} (then {turned}) (else (nop)))"),
    };
    let text = format!(
        "(func (export \"run_{name}\") (param $n i32) (result i64) {locals} (local $x i64)
           {first}
           (loop $l {body}
             (br_if $l (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
           {sum} (local.get $x))\n"
    );
    Kernel { name, text }
}

/// Calls of a function with `count` parameters.
fn wide(name: &'static str, count: usize) -> Kernel {
    let others = "(local.get $y)".repeat(count - 1);
    let kernel =
        chain(name, "i64", "i64.const 1", &format!("(local.set $x (call $wide_{name} (local.get $x) {others}))\n"));
    let params = " i64".repeat(count);
    let last = count - 1;
    let callee =
        format!("(func $wide_{name} (param{params}) (result i64) (i64.add (local.get 0) (local.get {last})))\n");
    Kernel { name, text: callee + &kernel.text }
}

/// Functions, a table and a global that kernels use.
const SHARED: &str = "
    (type $unary (func (param i64) (result i64)))
    (global $g (mut i64) (i64.const 0))
    (table 4 4 funcref) (elem (i32.const 0) $tiny $tiny2 $tiny3 $tiny)
    (func $tiny (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
    (func $tiny2 (param i64) (result i64) (i64.add (local.get 0) (i64.const 3)))
    (func $tiny3 (param i64) (result i64) (i64.add (local.get 0) (i64.const 2)))
    (func $deep (param i64 i32) (result i64)
      (if (result i64) (local.get 1)
        (then (i64.add (call $deep (local.get 0) (i32.sub (local.get 1) (i32.const 1))) (i64.const 1)))
        (else (local.get 0))))\n";

/// Grows memory, at most 60000 pages in all, and touches what it got.
fn grow(name: &'static str, pages: u32) -> Kernel {
    let body = format!(
        "(local.set $x (i32.mul (memory.grow (i32.const {pages})) (i32.const 65536)))
         (if (i32.lt_s (local.get $x) (i32.const 0)) (then (return (i64.const -1))))
         (local.set $i (i32.const 0))
         (loop $t
           (i32.store8 (i32.add (local.get $x) (local.get $i)) (i32.const 1))
           (br_if $t (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const {bytes}))))\n",
        bytes = pages * 65536,
    );
    unrolled(name, "i32", "i32.const 0", &body, 1)
}

#[cfg(test)]
mod tests {
    use super::{module, names};

    #[test]
    fn every_kernel_is_exported_and_valid() {
        let bytes = module().expect("the text is a module");
        let module = wasmi::Module::new(&wasmi::Engine::default(), &bytes).expect("the module is valid");
        let exports: Vec<String> = module.exports().map(|export| export.name().to_owned()).collect();
        for (name, _) in names() {
            assert!(exports.contains(&format!("run_{name}")), "{name}");
        }
    }
}
