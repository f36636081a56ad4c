//! Recursions whose frames a compiler finds hard: how deep they go, and how much native stack each unit of height takes.

use crate::{
    compare::{Stats, prepare},
    guest::{End, Engine, Guest},
    machine::Tuning,
    rng::Rng,
    value::{Type, Value},
};
use core::fmt::Write;
use samebit_spec::{execution::Trap, param};

/// Settings and engines on which the depth at the limit must be the same.
pub const EVERYWHERE: [Engine; 4] = [
    Engine::Wasmtime(Tuning::Rewritten),
    Engine::Wasmtime(Tuning::Unoptimised),
    Engine::Wasmtime(Tuning::Baseline),
    Engine::Wasmi,
];

/// What was seen of a recursion on one engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depth {
    /// Calls of the recursive function that were entered before the height's limit.
    pub entered: u64,
    /// Native stack between the first and the deepest call, in bytes.
    pub native: usize,
}

impl Depth {
    /// Bytes of native stack for each byte of height, at the height's limit.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    pub fn ratio(&self) -> f64 {
        self.native as f64 / (param::STACK_HEIGHT_MAX * param::STACK_UNIT_BYTES) as f64
    }
}

/// Recurses to the height's limit.
///
/// The module exports `down`, which takes how far to go and calls `probe` of the host at the bottom and counts its
/// entries in a global named `entered`.
///
/// # Errors
/// When it ends in another way than it must, or the native stack is the first to end.
pub fn depth(wasm: &[u8], engine: Engine) -> Result<Depth, String> {
    let executable = prepare(wasm)?;
    let fuel = 1 << 40;
    let begin = || Guest::rewritten(engine, &executable, 65_535).map_err(|failure| format!("{engine:?}: {failure}"));
    let mut guest = begin()?;
    let seen = guest.call("down", &[Value::I32(u32::MAX)], fuel);
    if seen.end != End::Trapped(Trap::StackOverflow) {
        return Err(format!("{engine:?}: {:?} and no overflow", seen.end));
    }
    let Some(Value::I64(entered)) = guest.global("entered") else { return Err("no global `entered`".to_owned()) };
    // Once more, to just above the limit, where the host looks at the stack.
    let mut guest = begin()?;
    guest.call("down", &[Value::I32(0)], fuel);
    let highest = guest.host().stack_highest;
    let bottom = u32::try_from(entered.saturating_sub(2)).unwrap_or(u32::MAX - 1);
    let seen = guest.call("down", &[Value::I32(bottom)], fuel);
    match seen.end {
        End::Returned(_) => Ok(Depth { entered, native: highest - guest.host().stack_lowest.min(highest) }),
        other => Err(format!("{engine:?}: {other:?} at a depth of {bottom} of {entered}")),
    }
}

/// The same depth on every engine and setting.
///
/// # Errors
/// The first difference, or what [`depth`] says.
pub fn everywhere(wasm: &[u8]) -> Result<Depth, String> {
    let mut worst: Option<Depth> = None;
    for engine in EVERYWHERE {
        let here = depth(wasm, engine)?;
        worst = Some(match worst {
            Some(before) if before.entered != here.entered => {
                return Err(format!("{engine:?}: depth {}, elsewhere {}", here.entered, before.entered));
            }
            Some(before) if before.native >= here.native || engine == Engine::Wasmi => before,
            _ => here,
        });
    }
    worst.ok_or_else(|| "nowhere".to_owned())
}

/// What the recursive function of a frame keeps alive across its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Locals of each type that are read after the call, and written from the parameter before it.
    pub locals: Vec<(Type, u32)>,
    /// Operands of each type that lie on the stack during the call.
    pub operands: Vec<(Type, u32)>,
    /// Parameters beside the depth.
    pub params: Vec<Type>,
    /// Different values that are computed before the call and again after it, so that a compiler keeps them.
    pub shared: u32,
    /// The same, as addresses of loads with a constant each.
    pub constants: u32,
    /// Whether it calls itself through the table.
    pub indirect: bool,
}

impl Frame {
    /// The smallest.
    pub const PLAIN: Self =
        Self { locals: Vec::new(), operands: Vec::new(), params: Vec::new(), shared: 0, constants: 0, indirect: false };
}

const fn name(ty: Type) -> &'static str {
    match ty {
        Type::I32 => "i32",
        Type::I64 => "i64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::V128 => "v128",
    }
}

/// Some value of a type that depends on the depth.
fn made(ty: Type, salt: u32) -> String {
    let depth = format!("(i32.xor (local.get 0) (i32.const {salt}))");
    match ty {
        Type::I32 => depth,
        Type::I64 => format!("(i64.extend_i32_u {depth})"),
        Type::F32 => format!("(f32.convert_i32_s {depth})"),
        Type::F64 => format!("(f64.convert_i32_s {depth})"),
        Type::V128 => format!("(i32x4.splat {depth})"),
    }
}

/// Turns a value into an `i32` that depends on all of it.
const fn folded(ty: Type) -> &'static str {
    match ty {
        Type::I32 => "",
        Type::I64 => "i32.wrap_i64",
        Type::F32 => "i32.reinterpret_f32",
        Type::F64 => "i64.reinterpret_f64 i32.wrap_i64",
        Type::V128 => "i8x16.bitmask",
    }
}

/// The module of a frame, in text.
#[must_use]
pub fn module(frame: &Frame) -> String {
    let params: String = frame.params.iter().map(|&ty| format!(" (param {})", name(ty))).collect();
    let (mut locals, mut before, mut after) = (String::new(), String::new(), String::new());
    let mut next = 1 + frame.params.len();
    let mut salt = 1;
    for &(ty, count) in &frame.locals {
        for _ in 0..count {
            let _ = write!(locals, " {}", name(ty));
            let _ = writeln!(before, "(local.set {next} {})", made(ty, salt));
            let _ = writeln!(after, "local.get {next} {} i32.add", folded(ty));
            (next, salt) = (next + 1, salt + 7);
        }
    }
    let locals = if locals.is_empty() { locals } else { format!("(local{locals})") };
    let mut shared = String::new();
    for index in 0..frame.shared {
        let _ = writeln!(
            shared,
            "(i32.store (i32.const {}) (i32.mul (local.get 0) (i32.const {})))",
            index % 64 * 4,
            index * 2 + 3
        );
    }
    for index in 0..frame.constants {
        let _ = writeln!(
            shared,
            "(i64.store (i32.const {}) (i64.const {}))",
            index % 64 * 8,
            u64::from(index) * 0x1_0001_0001 + 0x7fff_ffff
        );
    }
    let (mut operands, mut popped) = (String::new(), String::new());
    for &(ty, count) in &frame.operands {
        for _ in 0..count {
            let _ = writeln!(operands, "{}", made(ty, salt));
            // Operands come off in reverse, each below the sum.
            popped.insert_str(0, &format!("{} global.get $sum i32.add global.set $sum\n", folded(ty)));
            salt += 5;
        }
    }
    let more: String =
        frame.params.iter().enumerate().map(|(index, &ty)| made(ty, 90 + u32::try_from(index).unwrap_or(0))).collect();
    let call = if frame.indirect { "(call_indirect (type $down) (i32.const 0))" } else { "(call $down)" };
    format!(
        r#"(module
  (type $down (func (param i32){params} (result i32)))
  (import "env" "probe" (func $probe))
  (memory (export "memory") 1)
  (table 1 funcref) (elem (i32.const 0) $down)
  (global $entered (export "entered") (mut i64) (i64.const 0))
  (global $sum (mut i32) (i32.const 0))
  (func $down (type $down)
    {locals}
    (global.set $entered (i64.add (global.get $entered) (i64.const 1)))
    (if (i32.eqz (local.get 0)) (then (call $probe) (return (i32.const 1))))
    {before}{shared}{operands}
    (i32.sub (local.get 0) (i32.const 1)) {more} {call}
    global.set $sum
    {popped}{shared}
    global.get $sum
    {after})
  (func (export "down") (param i32) (result i32) local.get 0 {more} call $down)
)"#
    )
}

/// A recursion with a frame that the seed chooses.
///
/// # Errors
/// What [`everywhere`] says.
pub fn random(seed: u64) -> Result<Stats, String> {
    const TYPES: [Type; 5] = [Type::I32, Type::I64, Type::F32, Type::F64, Type::V128];
    let mut rng = Rng::new(seed ^ 0x57ac);
    let groups = |rng: &mut Rng, most: u64| -> Vec<(Type, u32)> {
        (0..rng.below(4)).map(|_| (rng.pick(&TYPES), u32::try_from(rng.below(most)).unwrap_or(0))).collect()
    };
    let frame = Frame {
        locals: groups(&mut rng, 60),
        operands: groups(&mut rng, 60),
        params: (0..rng.below(12)).map(|_| rng.pick(&TYPES)).collect(),
        shared: if rng.one_in(3) { u32::try_from(rng.below(300)).unwrap_or(0) } else { 0 },
        constants: if rng.one_in(3) { u32::try_from(rng.below(300)).unwrap_or(0) } else { 0 },
        indirect: rng.one_in(3),
    };
    let wasm = wat::parse_str(module(&frame)).map_err(|error| format!("{frame:?}: {error}"))?;
    let depth = everywhere(&wasm).map_err(|what| format!("{frame:?}: {what}"))?;
    if depth.ratio() > NATIVE_RATIO_MAX {
        return Err(format!("{frame:?}: {:.2} bytes of native stack for each of height", depth.ratio()));
    }
    Ok(Stats { modules: 1, calls: 12, stack: 4, ..Stats::default() })
}

/// Most bytes of native stack that a byte of height may take.
#[expect(clippy::cast_precision_loss, reason = "a small number")]
pub const NATIVE_RATIO_MAX: f64 = param::STACK_NATIVE_FACTOR as f64;
