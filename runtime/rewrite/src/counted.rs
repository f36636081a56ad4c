//! Loops whose iterations can be counted before they begin (`spec/03-execution.md`, section 8).
//!
//! Such a loop begins with straight-line code and one branch back to its beginning, and what follows that branch is
//! left for good; it goes on until a local that each iteration changes by a power of two meets a value that no
//! iteration changes. When the fuel for all its iterations is at hand, they are charged together and the loop itself
//! knows no meter.

use crate::{
    function::Function,
    op::{Code, Op},
};
use wasmparser::{BlockType, ValType};

/// Longest iteration of a counted loop, in operators: it is written twice.
const BODY_MAX: usize = 256;

/// Most operators between a counted loop's branch and its end.
const REST_MAX: usize = 64;

/// What the local is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Constant(i32),
    Local(u32),
}

/// How often a loop is executed: until `local`, changed by 2 to the `log2` up or down each time, is `bound`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) local: u32,
    pub(crate) down: bool,
    pub(crate) log2: u32,
    pub(crate) bound: Bound,
    /// The operator that goes back to the beginning.
    pub(crate) branch: usize,
}

/// The loop that begins at `at` and ends at `end`, when it is a counted one.
pub(crate) fn counted(function: &Function<'_>, at: usize, end: usize, clean: &[u32]) -> Option<Counted> {
    let ops = function.ops;
    let long = ops[at + 1..end].iter().take(BODY_MAX).take_while(|op| !op.code.is_event()).count();
    let branch = at + 1 + long;
    let straight = &ops[at + 1..branch];
    let params = !matches!(ops[at].block(), BlockType::Empty | BlockType::Type(_));
    if params || !matches!(ops[branch], Op { code: Code::BrIf, value: 0, .. }) || end - branch > REST_MAX {
        return None;
    }
    // The iteration leaves nothing on the stack for what follows, and what follows does not come back.
    clean.binary_search(&crate::function::position(branch)).ok()?;
    if branches_to_own(function, branch + 1..end) {
        return None;
    }
    // The condition, read backwards: `local != bound`, or `local` for a bound of zero.
    let (other, changed) = match straight {
        [.., Op { code: Code::I32Ne, .. }] => {
            let compared = &straight[..straight.len() - 1];
            let (second, before) = operand(compared)?;
            let (first, _) = operand(&compared[..before])?;
            match (first, second) {
                (Value::Changed(local), Value::Fixed(bound)) | (Value::Fixed(bound), Value::Changed(local)) => {
                    (bound, local)
                }
                (Value::Local(one), Value::Fixed(bound)) | (Value::Fixed(bound), Value::Local(one)) => (bound, one),
                (Value::Changed(one), Value::Local(two)) | (Value::Local(two), Value::Changed(one)) => {
                    (Bound::Local(two), one)
                }
                (Value::Local(one), Value::Local(two)) => match (sets(straight, one), sets(straight, two)) {
                    (1, 0) => (Bound::Local(two), one),
                    (0, 1) => (Bound::Local(one), two),
                    _ => return None,
                },
                _ => return None,
            }
        }
        _ => match operand(straight)?.0 {
            Value::Changed(local) | Value::Local(local) => (Bound::Constant(0), local),
            Value::Fixed(_) => return None,
        },
    };
    if matches!(other, Bound::Local(local) if local == changed || sets(straight, local) > 0) {
        return None;
    }
    if sets(straight, changed) != 1 || function.locals.get(changed as usize) != Some(&ValType::I32) {
        return None;
    }
    let place = straight.iter().position(|op| is_set(op, changed))?;
    let [get, step, Op { code: Code::I32Add, .. }] = straight.get(place.checked_sub(3)?..place)? else { return None };
    if (get.code, step.code) != (Code::LocalGet, Code::I32Const) {
        return None;
    }
    let (value, step) = (step.i32(), step.i32().unsigned_abs());
    (get.value == changed && step.is_power_of_two() && value != i32::MIN).then_some(Counted {
        local: changed,
        down: value < 0,
        log2: step.trailing_zeros(),
        bound: other,
        branch,
    })
}

/// What the last operators of straight-line code leave on the stack.
enum Value {
    /// The local that was just changed.
    Changed(u32),
    Local(u32),
    Fixed(Bound),
}

/// The last operand and the index at which its operators begin.
fn operand(ops: &[Op]) -> Option<(Value, usize)> {
    let (last, before) = ops.split_last()?;
    match last.code {
        Code::I32Const => Some((Value::Fixed(Bound::Constant(last.i32())), before.len())),
        Code::LocalTee => {
            let [.., get, step, add] = before else { return None };
            let changes = (get.code, step.code, add.code) == (Code::LocalGet, Code::I32Const, Code::I32Add);
            (changes && get.value == last.value).then_some((Value::Changed(last.value), before.len() - 3))
        }
        Code::LocalGet => Some((Value::Local(last.value), before.len())),
        _ => None,
    }
}

/// Whether operators within a construct branch to its own label.
fn branches_to_own(function: &Function<'_>, within: core::ops::Range<usize>) -> bool {
    let mut depth = 0_u32;
    function.ops[within].iter().any(|op| {
        match op.code {
            Code::Block | Code::Loop | Code::If => depth += 1,
            Code::End => depth = depth.saturating_sub(1),
            Code::Br | Code::BrIf => return op.value == depth,
            Code::BrTable => return function.labels(op.value).contains(&depth),
            _ => {}
        }
        false
    })
}

fn is_set(op: &Op, local: u32) -> bool {
    matches!(op.code, Code::LocalSet | Code::LocalTee) && op.value == local
}

fn sets(ops: &[Op], local: u32) -> usize {
    ops.iter().filter(|op| is_set(op, local)).count()
}
