//! Loops whose iterations can be counted before they begin (`spec/03-execution.md`, section 8).
//!
//! Such a loop begins with straight-line code and one branch back to its beginning, and what follows that branch is
//! left for good; it goes on until a local that each iteration changes by a power of two meets a value that no
//! iteration changes. When the fuel for all its iterations is at hand, they are charged together and the loop itself
//! knows no meter.

use crate::function::{Function, branches_to_own};
use wasmparser::{BlockType, Operator, ValType};

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

/// The loop that begins at `at`, when it is a counted one.
pub(crate) fn counted(function: &Function<'_>, at: usize, clean: &[u32]) -> Option<Counted> {
    let ops = &function.ops;
    let end = function.ends[at] as usize;
    let long = ops[at + 1..end].iter().take(BODY_MAX).take_while(|op| is_straight(op)).count();
    let branch = at + 1 + long;
    let straight = &ops[at + 1..branch];
    let params = !matches!(ops[at], Operator::Loop { blockty: BlockType::Empty | BlockType::Type(_) });
    if params || !matches!(ops[branch], Operator::BrIf { relative_depth: 0 }) || end - branch > REST_MAX {
        return None;
    }
    // The iteration leaves nothing on the stack for what follows, and what follows does not come back.
    clean.binary_search(&crate::function::position(branch)).ok()?;
    if branches_to_own(&ops[branch + 1..end]) {
        return None;
    }
    // The condition, read backwards: `local != bound`, or `local` for a bound of zero.
    let (other, changed) = match straight {
        [.., Operator::I32Ne] => {
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
    let [Operator::LocalGet { local_index }, Operator::I32Const { value }, Operator::I32Add] =
        straight.get(place.checked_sub(3)?..place)?
    else {
        return None;
    };
    let step = value.unsigned_abs();
    (*local_index == changed && step.is_power_of_two() && *value != i32::MIN).then_some(Counted {
        local: changed,
        down: *value < 0,
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
fn operand(ops: &[Operator<'_>]) -> Option<(Value, usize)> {
    match ops {
        [.., Operator::I32Const { value }] => Some((Value::Fixed(Bound::Constant(*value)), ops.len() - 1)),
        [
            ..,
            Operator::LocalGet { local_index: from },
            Operator::I32Const { .. },
            Operator::I32Add,
            Operator::LocalTee { local_index },
        ] if from == local_index => Some((Value::Changed(*local_index), ops.len() - 4)),
        [.., Operator::LocalGet { local_index }] => Some((Value::Local(*local_index), ops.len() - 1)),
        _ => None,
    }
}

fn is_set(op: &Operator<'_>, local: u32) -> bool {
    matches!(op, Operator::LocalSet { local_index } | Operator::LocalTee { local_index } if *local_index == local)
}

fn sets(ops: &[Operator<'_>], local: u32) -> usize {
    ops.iter().filter(|op| is_set(op, local)).count()
}

/// Whether an operator neither branches nor calls, and costs the same every time.
fn is_straight(op: &Operator<'_>) -> bool {
    !matches!(
        op,
        Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::MemoryGrow { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
    )
}
