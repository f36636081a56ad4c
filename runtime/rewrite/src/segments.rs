//! Where fuel is charged, and how much (`spec/03-execution.md`, section 8).
//!
//! Operators that are executed equally often make one *segment*: it is charged once, where it begins. A call does
//! not end a segment, and neither does a branch to code that surely traps. Code after a join belongs to the
//! segment before the fork when every path from there reaches it. What is executed is what is charged, exactly,
//! whenever the function returns.

use crate::{
    calls::{LastCalls, Plan},
    counted::{Counted, counted},
    function::{Event, Function, position},
    op::Code,
};

/// One charge, made before an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The operator before which it is made.
    pub(crate) before: u32,
    /// Fuel.
    pub(crate) cost: u64,
    /// How the meter is looked at.
    pub(crate) look: Look,
    /// The loop before which it stands and whose iterations it is for, where they can be counted.
    pub(crate) counted: Option<Counted>,
}

/// How the meter is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Not at all.
    No,
    /// By code that calls nothing: a call on a loop's cold path makes the compiler keep the loop's values in memory.
    Inline,
    /// By code that calls a function of the rewriter's when there is something to do.
    Call,
}

/// The charges of a body, by operator, and what its end does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Charges {
    pub(crate) list: Vec<Charge>,
    /// Whether the meter is looked at when the function returns.
    pub(crate) at_end: bool,
    /// Calls that nothing but `unreachable` follows, by operator.
    pub(crate) last_calls: Vec<u32>,
}

/// What calls of a function cost its caller.
pub(crate) trait Callees {
    /// The plan of a function by its index; `None` for an imported one.
    fn plan(&self, function: u32) -> Option<Plan>;
    /// What it adds to a direct call that it passes as many values as it does.
    fn passed(&self, function: u32) -> u64;
    /// The same of an indirect call of this type.
    fn passed_indirectly(&self, ty: u32) -> u64;
}

/// Index of a segment.
type Segment = usize;

struct Open {
    /// The segment of what comes next at this level; `None` where nothing can come.
    now: Option<Segment>,
    /// The segment that the construct was entered from.
    from: Option<Segment>,
    kind: Kind,
    /// The segment of this level in which a branch to the construct's end was first met.
    joined: Option<Segment>,
    /// A branch that surely leads to a trap goes to the construct's end.
    doomed: bool,
    /// The last branch that leaves the construct for one further out, and the outermost that any such goes to.
    escape: u32,
    escape_to: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    /// Without its `else` so far.
    If,
    /// With what the first arm left.
    Else(Option<Segment>),
}

/// Memory for one body after the other.
#[derive(Default)]
pub(crate) struct Room {
    open: Vec<Open>,
    charges: Vec<Charge>,
    levels: Vec<Level>,
    doomed: Vec<u32>,
    others: Vec<u32>,
}

impl Room {
    /// Takes the list of a body's charges for those of the next.
    pub(crate) fn take_back(&mut self, list: Vec<Charge>) {
        self.charges = list;
    }
}

struct Walk {
    open: Vec<Open>,
    charges: Vec<Charge>,
    /// How the meter is looked at in segments that need no look of their own.
    look: Look,
}

impl Walk {
    fn segment(&mut self, before: usize) -> Segment {
        let look = self.look;
        self.looking(before, look)
    }

    fn looking(&mut self, before: usize, look: Look) -> Segment {
        self.charges.push(Charge { before: position(before), cost: 0, look, counted: None });
        self.charges.len() - 1
    }

    fn enter(&mut self, kind: Kind, from: Option<Segment>, now: Option<Segment>) {
        let outside = self.open.len();
        self.open.push(Open { now, from, kind, joined: None, doomed: false, escape: 0, escape_to: outside });
    }

    fn now(&self) -> Option<Segment> {
        self.open.last().and_then(|open| open.now)
    }

    fn set_now(&mut self, now: Option<Segment>) {
        if let Some(open) = self.open.last_mut() {
            open.now = now;
        }
    }

    /// Notes a branch at `at` by `depth` levels.
    fn branch(&mut self, at: usize, depth: u32, doomed: bool) {
        let innermost = self.open.len() - 1;
        let target = innermost - depth as usize;
        if doomed {
            self.open[target].doomed = true;
            return;
        }
        if target < innermost {
            let inner = &mut self.open[innermost];
            inner.escape = position(at);
            inner.escape_to = inner.escape_to.min(target);
        }
        let open = &mut self.open[target];
        if open.kind != Kind::Loop && open.joined.is_none() {
            open.joined = open.now;
        }
    }

    /// Closes the innermost construct at its `end` and says in which segment what follows is.
    fn leave(&mut self, at: usize) {
        let Some(open) = self.open.pop() else { return };
        let level = self.open.len();
        let escaped = open.escape_to < level;
        if let Some(outer) = self.open.last_mut().filter(|_| escaped && open.escape_to + 1 < level) {
            outer.escape = outer.escape.max(open.escape);
            outer.escape_to = outer.escape_to.min(open.escape_to);
        }
        let follows = match open.kind {
            Kind::Loop if escaped => open.now,
            Kind::Loop => open.now.and(open.from),
            Kind::Block => match open.joined {
                None => open.now,
                Some(first) if !escaped || open.escape < self.charges[first].before => Some(first),
                Some(_) => Some(self.segment(at + 1)),
            },
            Kind::If if !escaped => open.from,
            Kind::If => open.from.map(|_| self.segment(at + 1)),
            Kind::Else(first) => match (first, open.now, open.joined) {
                (None, None, None) => None,
                _ if !escaped => open.from,
                (Some(only), None, None) | (None, Some(only), None) => Some(only),
                _ => Some(self.segment(at + 1)),
            },
        };
        let follows = match follows {
            None if open.doomed => Some(self.segment(at + 1)),
            follows => follows,
        };
        self.set_now(follows);
    }
}

/// The charges of a body that has a meter.
///
/// `entry`: what the first segment costs besides. `clean`: as [`crate::calls::Summary::clean`].
pub(crate) fn charges(
    function: &Function<'_>,
    plan: Plan,
    callees: &impl Callees,
    entry: u64,
    clean: &[u32],
    room: &mut Room,
) -> Charges {
    let last = calls(function, &mut room.others);
    doomed(function, &mut room.levels, &mut room.doomed);
    let (doomed, others) = (&room.doomed, &room.others);
    let look = if plan.dense { Look::Call } else { Look::No };
    let (mut open, mut charges) = (core::mem::take(&mut room.open), core::mem::take(&mut room.charges));
    open.clear();
    charges.clear();
    let mut walk = Walk { open, charges, look };
    let first = walk.looking(0, if plan.bounded { look } else { Look::Call });
    walk.enter(Kind::Block, Some(first), Some(first));
    walk.charges[first].cost = entry;
    // The first call whose callee may recurse. On the way back from a deep recursion what is charged after such a
    // call adds up, so the function looks at the meter when it returns.
    let (mut unbounded, mut at_end): (Option<usize>, bool) = (None, false);
    let mut looks = Vec::new();
    let (mut last_call, mut doomed) = (last.iter().copied().peekable(), doomed.iter().rev().copied().peekable());
    for op in function.events {
        let at = op.op as usize;
        let now = walk.now();
        if let Some(now) = now {
            let passed = match op.code {
                Code::Call => callees.passed(op.value),
                Code::CallIndirect => callees.passed_indirectly(op.value),
                _ => 0,
            };
            walk.charges[now].cost += u64::from(op.cost) + passed;
        }
        match op.code {
            Code::Block => walk.enter(Kind::Block, now, now),
            Code::Loop => {
                let inside = others.partition_point(|&call| (call as usize) < at);
                let has_calls = others.get(inside).is_some_and(|&call| call < op.end);
                let look = if has_calls { Look::Call } else { Look::Inline };
                let header = now.map(|_| match counted(function, at, op.end as usize, clean) {
                    Some(counted) => {
                        let header = walk.looking(at, look);
                        walk.charges[header].counted = Some(counted);
                        header
                    }
                    None => walk.looking(at + 1, look),
                });
                if let Some(header) = header {
                    walk.charges[header].cost += u64::from(op.joined);
                }
                walk.enter(Kind::Loop, now, header);
            }
            Code::If => {
                let arm = now.map(|_| walk.segment(at + 1));
                walk.enter(Kind::If, now, arm);
            }
            Code::Else => {
                if let Some(open) = walk.open.last() {
                    let (from, first) = (open.from, open.now);
                    let arm = from.map(|_| walk.segment(at + 1));
                    if let Some(open) = walk.open.last_mut() {
                        (open.kind, open.now) = (Kind::Else(first), arm);
                    }
                }
            }
            Code::End => {
                walk.leave(at);
                if let Some(follows) = walk.now() {
                    walk.charges[follows].cost += u64::from(op.joined);
                }
            }
            Code::Br => {
                if now.is_some() {
                    walk.branch(at, op.value, false);
                }
                walk.set_now(None);
            }
            Code::BrIf => {
                let ends_in_trap = doomed.next_if_eq(&position(at)).is_some();
                if now.is_some() {
                    walk.branch(at, op.value, ends_in_trap);
                    if !ends_in_trap {
                        let after = walk.segment(at + 1);
                        walk.set_now(Some(after));
                    }
                }
            }
            Code::BrTable => {
                if now.is_some() {
                    for &label in function.labels(op.value) {
                        walk.branch(at, label, false);
                    }
                }
                walk.set_now(None);
            }
            Code::Return => {
                if now.is_some() {
                    let depth = position(walk.open.len() - 1);
                    walk.branch(at, depth, false);
                }
                walk.set_now(None);
            }
            Code::Unreachable => walk.set_now(None),
            Code::Call | Code::CallIndirect if last_call.next_if_eq(&position(at)).is_some() => {}
            Code::Call => {
                // An import comes back with a chunk in hand.
                if let Some(callee) = callees.plan(op.value) {
                    if let (Some(now), Some(flat)) = (now, callee.flat) {
                        walk.charges[now].cost += flat;
                    }
                    at_end |= unbounded.is_some() && callee.bounded && callee.flat.is_none();
                    if !callee.bounded {
                        unbounded = unbounded.or(Some(at));
                        // It looks whenever this segment is executed, so the segment need not.
                        if let Some(now) = now.filter(|&now| now != first && !plan.dense) {
                            walk.charges[now].look = Look::No;
                        }
                    }
                    let is_dear = plan.dense || callee.bounded && callee.stride > plan.look_beyond;
                    if is_dear && callee.flat.is_none() && now.is_some() {
                        looks.push(Charge { before: position(at + 1), cost: 0, look: Look::Call, counted: None });
                    }
                }
            }
            Code::CallIndirect => unbounded = unbounded.or(Some(at)),
            _ => {}
        }
    }
    if let Some(call) = unbounded {
        let adds_up = |charge: &Charge| charge.cost > 0 && charge.look == Look::No && charge.before as usize > call;
        at_end |= walk.charges.iter().any(adds_up);
    }
    // A segment without cost needs no look: whatever goes on for long charges something. But others count on the look
    // of a function that is not bounded when it is entered.
    let entry = |charge: &Charge| charge.before == 0 && charge.look == Look::Call && !plan.bounded;
    walk.charges.retain(|charge| charge.cost > 0 || entry(charge));
    // They were made in the order of their operators.
    if !looks.is_empty() {
        walk.charges.append(&mut looks);
        walk.charges.sort_by_key(|charge| charge.before);
    }
    room.open = walk.open;
    Charges { list: walk.charges, at_end, last_calls: last }
}

/// The calls of a body that nothing but `unreachable` follows, by operator. All others go to `others`, what the rewriter
/// makes calls of its own functions included.
fn calls(function: &Function<'_>, others: &mut Vec<u32>) -> Vec<u32> {
    let mut reader = LastCalls::default();
    let mut last = Vec::new();
    others.clear();
    for &Event { op, code, .. } in function.events {
        last.extend_from_slice(reader.read(op, code));
        if matches!(code, Code::Call | Code::CallIndirect | Code::MemoryGrow | Code::MemoryCopy | Code::MemoryFill) {
            others.push(op);
        }
    }
    if !last.is_empty() {
        others.retain(|call| last.binary_search(call).is_err());
    }
    last
}

/// The `br_if`s whose label leads to `unreachable` and nowhere else, the last one first.
///
/// Reads the body backwards: code is doomed when all that can follow it ends in `unreachable`, without a loop.
fn doomed(function: &Function<'_>, levels: &mut Vec<Level>, branches: &mut Vec<u32>) {
    levels.clear();
    branches.clear();
    if !function.events.iter().any(|op| op.code == Code::Unreachable) {
        return;
    }
    // Of what follows the operator looked at.
    let mut next = false;
    for op in function.events.iter().rev() {
        let target = |levels: &[Level], depth: u32| {
            levels.len().checked_sub(1 + depth as usize).is_some_and(|level| levels[level].label)
        };
        next = match op.code {
            Code::End if levels.is_empty() => {
                levels.push(Level { label: false, after: false, otherwise: None });
                false
            }
            Code::End => {
                levels.push(Level { label: next && !op.ends_loop, after: next, otherwise: None });
                next
            }
            Code::Else => match levels.last_mut() {
                Some(level) => {
                    level.otherwise = Some(next);
                    level.after
                }
                None => false,
            },
            Code::Block | Code::Loop => {
                levels.pop();
                next
            }
            Code::If => match levels.pop() {
                Some(level) => next && level.otherwise.unwrap_or(level.after),
                None => false,
            },
            Code::Br => target(levels, op.value),
            Code::BrIf => {
                let is_doomed = target(levels, op.value);
                if is_doomed {
                    branches.push(op.op);
                }
                is_doomed && next
            }
            Code::BrTable => function.labels(op.value).iter().all(|&depth| target(levels, depth)),
            Code::Return => false,
            Code::Unreachable => true,
            _ => next,
        };
    }
}

/// An open construct, read backwards.
struct Level {
    /// Whether a branch to it is doomed.
    label: bool,
    /// Whether what follows its end is.
    after: bool,
    otherwise: Option<bool>,
}
