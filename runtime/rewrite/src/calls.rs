//! The call graph: which functions count stack height, which look at the meter when entered, and which cost a
//! constant, so that their callers pay for them (`spec/03-execution.md`, sections 8 and 10).

use crate::{function::Extent, op::Code};
use samebit_spec::param;

/// What a body is to its callers. Made while the body is validated.
///
/// Its *last* calls are left out: those that nothing but `unreachable` follows. They account for themselves where
/// they are made, so that a function is not judged by what it does when it panics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// Functions that it calls by index, once for each call.
    pub(crate) calls: Vec<u32>,
    /// Calls through a table.
    pub(crate) indirect: u32,
    /// Whether it is straight-line code without growth or lengths known only at run time.
    pub(crate) straight: bool,
    /// Fuel of all its operators together, and what lengths known only at run time may add between two looks.
    pub(crate) stride: u64,
    /// Fuel of all its operators.
    pub(crate) cost: u64,
    /// Stack height, in units.
    pub(crate) height: u64,
    /// Branches back to the beginning of the innermost loop, by operator, that leave nothing on its stack when they
    /// are not taken.
    pub(crate) clean: Vec<u32>,
    /// Where its operators are, when they were kept.
    pub(crate) kept: Option<Extent>,
}

/// How a function is called and what it does when it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Its cost, when its callers pay it and it knows no meter.
    pub(crate) flat: Option<u64>,
    /// Whether it ends a chain of calls within [`param::STACK_SHALLOW_MAX`] and counts no height.
    pub(crate) shallow: bool,
    /// Whether all it does, calls included, is bounded, so that neither it nor its caller looks at the meter for it.
    pub(crate) bounded: bool,
    /// Most fuel of a call of it while it is bounded.
    pub(crate) stride: u64,
    /// Whether its own code alone may pass what is charged between two looks, so that it looks at the meter wherever it
    /// charges.
    pub(crate) dense: bool,
    /// Bounded functions of more fuel than this are looked after when it calls them: all others together, and one of
    /// these, stay within what is charged between two looks.
    pub(crate) look_beyond: u64,
    /// Stack height, in units.
    pub(crate) height: u64,
}

/// Most fuel of a bounded function, its calls included.
const BOUNDED_MAX: u64 = param::METER_STRIDE_MAX / 8;

/// Most fuel of a function, what it calls without a look included: the other half is that of a function that it called
/// and that has just returned.
const UNLOOKED_MAX: u64 = param::METER_STRIDE_MAX / 2;

/// Tells last calls from others while operators go by in their order.
#[derive(Debug, Default)]
pub(crate) struct LastCalls {
    /// Calls that so far nothing but straight-line code has followed.
    recent: Vec<u32>,
    /// Whether they have turned out to be last.
    told: bool,
}

impl LastCalls {
    /// Begins another body.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
        self.told = false;
    }

    /// Takes the next operator, with a number of the caller's choice, and gives the calls that turn out to be last.
    #[inline(always)]
    pub(crate) fn read(&mut self, number: u32, code: Code) -> &[u32] {
        if core::mem::take(&mut self.told) {
            self.recent.clear();
        }
        match code {
            Code::Call | Code::CallIndirect => self.recent.push(number),
            Code::Unreachable => {
                self.told = true;
                return &self.recent;
            }
            Code::If | Code::Else | Code::Loop | Code::Br | Code::BrIf | Code::BrTable | Code::Return => {
                self.recent.clear();
            }
            _ => {}
        }
        &[]
    }
}

/// Plans for the functions that the module defines; `summaries[0]` is of function `imported`.
pub(crate) fn plan(summaries: &[Summary], imported: u32) -> Vec<Plan> {
    let mut plans: Vec<Plan> = summaries
        .iter()
        .map(|summary| Plan {
            flat: None,
            shallow: false,
            bounded: false,
            stride: 0,
            dense: false,
            look_beyond: u64::MAX,
            height: summary.height,
        })
        .collect();
    // Height of the call tree of a function that is shallow.
    let mut depths = vec![0_u64; summaries.len()];
    for component in components(summaries, imported) {
        let recursive =
            component.len() > 1 || component.iter().any(|&one| summaries[one].calls.contains(&(global(one, imported))));
        for &one in &component {
            let summary = &summaries[one];
            let (mut shallow, mut bounded, mut flat) = (!recursive, !recursive, summary.straight && !recursive);
            if summary.indirect > 0 {
                (shallow, bounded, flat) = (false, false, false);
            }
            let (mut depth, mut stride, mut cost) = (0_u64, summary.stride, summary.cost);
            for &callee in &summary.calls {
                let Some(callee) = callee.checked_sub(imported).map(|callee| callee as usize) else {
                    // The host charges its own work, and its caller comes back with a chunk in hand; the stack that it needs is kept apart.
                    flat = false;
                    depth = depth.max(1);
                    continue;
                };
                shallow &= plans[callee].shallow;
                bounded &= plans[callee].bounded;
                depth = depth.max(depths[callee]);
                stride = stride.saturating_add(plans[callee].stride);
                match plans[callee].flat {
                    Some(more) => cost = cost.saturating_add(more),
                    None => flat = false,
                }
            }
            depth = depth.saturating_add(summary.height);
            depths[one] = depth;
            let plan = &mut plans[one];
            plan.shallow = shallow && depth <= param::STACK_SHALLOW_MAX;
            plan.bounded = bounded && stride <= BOUNDED_MAX;
            plan.stride = stride;
            plan.flat = (flat && plan.shallow && plan.bounded).then_some(cost);
        }
    }
    let mut called = Vec::new();
    for (one, summary) in summaries.iter().enumerate() {
        called.clear();
        let mut own = summary.stride;
        for callee in summary.calls.iter().filter_map(|callee| callee.checked_sub(imported)) {
            let callee = &plans[callee as usize];
            if callee.flat.is_some() {
                own = own.saturating_add(callee.stride);
            } else if callee.bounded {
                called.push(callee.stride);
            }
        }
        (plans[one].dense, plans[one].look_beyond) = looks(own, &mut called);
    }
    plans
}

/// Whether a function of `own` fuel that calls bounded functions of these looks wherever it charges, and beyond which of
/// these it looks after a call.
fn looks(own: u64, called: &mut [u64]) -> (bool, u64) {
    if called.iter().fold(own, |sum, &stride| sum.saturating_add(stride)) <= UNLOOKED_MAX {
        return (false, u64::MAX);
    }
    let Some(mut left) = (UNLOOKED_MAX - BOUNDED_MAX).checked_sub(own) else { return (true, 0) };
    // The more calls need no look the better, and the small ones are those that a look costs most.
    called.sort_unstable();
    for &stride in &*called {
        match left.checked_sub(stride) {
            Some(less) => left = less,
            None => return (false, stride.saturating_sub(1)),
        }
    }
    (false, u64::MAX)
}

fn global(one: usize, imported: u32) -> u32 {
    crate::function::position(one).saturating_add(imported)
}

/// Strongly connected components, callees before callers (Tarjan 1972, without recursion).
fn components(summaries: &[Summary], imported: u32) -> Vec<Vec<usize>> {
    const UNSEEN: u32 = u32::MAX;
    let count = summaries.len();
    let (mut order, mut low, mut open) = (vec![UNSEEN; count], vec![0_u32; count], vec![false; count]);
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0_u32);
    // A function under way, and the call of it that is looked at next.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in 0..count {
        if order[root] != UNSEEN {
            continue;
        }
        path.push((root, 0));
        while let Some(&mut (one, ref mut at)) = path.last_mut() {
            if *at == 0 {
                order[one] = next;
                low[one] = next;
                next += 1;
                stack.push(one);
                open[one] = true;
            }
            let callee = summaries[one].calls.get(*at).copied();
            *at += 1;
            match callee {
                Some(callee) => {
                    let Some(callee) = callee.checked_sub(imported).map(|callee| callee as usize) else { continue };
                    if order[callee] == UNSEEN {
                        path.push((callee, 0));
                    } else if open[callee] {
                        low[one] = low[one].min(order[callee]);
                    }
                }
                None => {
                    path.pop();
                    if let Some(&(caller, _)) = path.last() {
                        low[caller] = low[caller].min(low[one]);
                    }
                    if low[one] == order[one] {
                        let mut component = Vec::new();
                        while let Some(member) = stack.pop() {
                            open[member] = false;
                            component.push(member);
                            if member == one {
                                break;
                            }
                        }
                        found.push(component);
                    }
                }
            }
        }
    }
    found
}
