//! Values of a function and where they come from: what is known of each, whose bits are seen, and where points go.

use super::super::{
    Point, Shape,
    operators::{
        ALL, Arithmetic, EXACT, FINITE, FREE, Facts, MADE, MADE_F32, MADE_F32X4, MADE_F64, MADE_F64X2, NO_NAN,
        NOT_ZERO, NUMBER, SAME,
    },
};
use crate::function::position;

/// Nodes that are looked at to find out what points before a node would cost.
const LOOK_BACK: usize = 64;

/// How many times more often each loop is thought to run than what is around it, as a power of two.
const LOOP_SHIFT: u32 = 3;

/// Index of a node.
pub(super) type Node = u32;

/// No operator.
pub(super) const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Constant(Facts),
    Make {
        shape: Shape,
        how: Arithmetic,
    },
    /// What all inputs have in common, as far as it is kept.
    Move {
        keeps: Facts,
    },
    Splat {
        keeps: Facts,
    },
    Extract {
        shape: Shape,
    },
    Replace {
        shape: Shape,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) kind: Kind,
    /// Its inputs are `edges[begin..end]`.
    begin: u32,
    end: u32,
    /// The operator after which it is on top of the stack.
    site: u32,
    /// Loops around it.
    loops: u32,
}

#[derive(Default)]
pub(super) struct Graph {
    pub(super) values: Vec<Value>,
    edges: Vec<Node>,
}

impl Graph {
    pub(super) fn add(&mut self, kind: Kind, inputs: &[Node], site: u32, loops: u32) -> Node {
        let begin = position(self.edges.len());
        self.edges.extend_from_slice(inputs);
        self.values.push(Value { kind, begin, end: position(self.edges.len()), site, loops });
        position(self.values.len() - 1)
    }

    /// Gives a node its inputs, once they are known.
    pub(super) fn connect(&mut self, node: Node, inputs: impl IntoIterator<Item = Node>) {
        let begin = position(self.edges.len());
        self.edges.extend(inputs);
        let end = position(self.edges.len());
        let value = &mut self.values[node as usize];
        (value.begin, value.end) = (begin, end);
    }

    pub(super) fn inputs(&self, node: Node) -> &[Node] {
        let value = &self.values[node as usize];
        &self.edges[value.begin as usize..value.end as usize]
    }
}

/// Facts of a vector with this scalar in a lane.
fn lifted(facts: Facts) -> Facts {
    let mut vector = facts & EXACT;
    if facts & MADE_F32 != 0 {
        vector |= MADE_F32X4;
    }
    if facts & MADE_F64 != 0 {
        vector |= MADE_F64X2;
    }
    vector
}

/// What follows from facts.
fn closed(mut facts: Facts) -> Facts {
    if facts & SAME != 0 {
        facts |= NUMBER;
        if facts & NO_NAN != 0 {
            facts |= MADE;
        }
        // The upper half of an `f64` NaN is an `f32` NaN other than the canonical one.
        if facts & MADE_F32X4 != 0 {
            facts |= MADE_F64X2;
        }
    }
    facts
}

impl Graph {
    /// What is known of a node when this is known of its inputs, and it is not made canonical itself.
    fn coming(&self, node: Node, facts: &[Facts]) -> Facts {
        let of = |input: &Node| facts[*input as usize];
        let inputs = self.inputs(node);
        let all = || inputs.iter().fold(ALL, |all, input| all & of(input));
        closed(match self.values[node as usize].kind {
            Kind::Constant(facts) => facts,
            Kind::Make { shape, how } => made(shape, how, inputs.first().map_or(0, of), inputs.get(1).map_or(ALL, of)),
            Kind::Move { keeps } => all() & keeps,
            Kind::Splat { keeps } => lifted(all()) & keeps,
            Kind::Extract { shape } => {
                let vector = all();
                let (wide, made) = if shape == Shape::F32 { (MADE_F32X4, MADE_F32) } else { (MADE_F64X2, MADE_F64) };
                vector & (SAME | shape.number()) | if vector & wide != 0 { made } else { 0 }
            }
            Kind::Replace { shape } => {
                let keeps = if shape == Shape::F32 { MADE_F32X4 } else { MADE_F64X2 } | SAME | shape.number();
                inputs.first().map_or(0, of) & inputs.get(1).map_or(0, |input| lifted(of(input))) & keeps
            }
        })
    }

    /// The facts that hold for every node when those marked are made canonical: the most that agree with each
    /// other. Facts only ever fall, so each node is looked at as often as its inputs have facts.
    fn facts(&self, canonical: &[bool]) -> Vec<Facts> {
        let count = self.values.len();
        let mut first = vec![0_u32; count + 1];
        for node in 0..count {
            for &input in self.inputs(position(node)) {
                first[input as usize + 1] += 1;
            }
        }
        for node in 0..count {
            first[node + 1] += first[node];
        }
        let mut users = vec![0; self.edges.len()];
        let mut next = first.clone();
        for node in 0..count {
            for &input in self.inputs(position(node)) {
                users[next[input as usize] as usize] = position(node);
                next[input as usize] += 1;
            }
        }
        let mut facts = vec![ALL; count];
        let mut waiting = vec![true; count];
        let mut queue: std::collections::VecDeque<Node> = (0..position(count)).collect();
        while let Some(node) = queue.pop_front() {
            let index = node as usize;
            waiting[index] = false;
            let mut now = self.coming(node, &facts);
            if canonical[index] {
                now = closed(now | SAME);
            }
            if now == facts[index] {
                continue;
            }
            facts[index] = now;
            for &user in &users[first[index] as usize..first[index + 1] as usize] {
                if !core::mem::replace(&mut waiting[user as usize], true) {
                    queue.push_back(user);
                }
            }
        }
        facts
    }

    /// The shape in which this node is made canonical, if that is possible and right.
    fn shape(&self, node: Node, facts: &[Facts]) -> Option<Shape> {
        let value = &self.values[node as usize];
        if value.site == NOWHERE {
            return None;
        }
        let made = facts[node as usize];
        [Shape::F32, Shape::F64, Shape::F32x4, Shape::F64x2].into_iter().find(|shape| made & shape.made() != 0)
    }

    /// What a point after this node costs: how often its code is thought to run, and how much is done there.
    fn weight(&self, node: Node, facts: &[Facts]) -> u64 {
        let vector = facts[node as usize] & (MADE_F32X4 | MADE_F64X2) != 0;
        (if vector { 3 } else { 2 }) << (LOOP_SHIFT * self.values[node as usize].loops.min(8))
    }

    /// What points before this node would cost. `None` when that is not found out by looking at a few nodes.
    fn before(&self, node: Node, facts: &[Facts], settled: &[bool]) -> Option<u64> {
        let (limit, mut cost) = (self.weight(node, facts), 0);
        let (mut seen, mut next) = (vec![node], 0);
        while let Some(&at) = seen.get(next) {
            next += 1;
            for &input in self.inputs(at) {
                let index = input as usize;
                if facts[index] & SAME != 0 || settled[index] || seen.contains(&input) {
                    continue;
                }
                let makes = matches!(self.values[index].kind, Kind::Make { .. });
                if makes || self.weight(input, facts) <= limit && self.shape(input, facts).is_some() {
                    cost += self.weight(input, facts);
                } else {
                    if seen.len() >= LOOK_BACK {
                        return None;
                    }
                    seen.push(input);
                }
            }
        }
        Some(cost)
    }

    /// The points that make all bits that are seen eager's.
    pub(super) fn points(&self, seen: &[Node], tested: &[(Node, Facts)]) -> Vec<Point> {
        let count = self.values.len();
        let facts = self.facts(&vec![false; count]);
        let mut canonical = vec![false; count];
        let mut settled = vec![false; count];
        // A test that needs more than is known wants all bits.
        let unknown =
            tested.iter().filter(|&&(node, number)| facts[node as usize] & number == 0).map(|&(node, _)| node);
        let mut wanted: Vec<Node> = seen.iter().copied().chain(unknown).collect();
        wanted.reverse();
        while let Some(node) = wanted.pop() {
            let index = node as usize;
            if facts[index] & SAME != 0 || core::mem::replace(&mut settled[index], true) {
                continue;
            }
            let shape = self.shape(node, &facts);
            let here = match self.values[index].kind {
                Kind::Make { .. } => true,
                _ => shape.is_some_and(|shape| {
                    let before = self.before(node, &facts, &settled);
                    before.is_none_or(|before| match shape {
                        // Taken for a branch that is never taken: it costs the same everywhere.
                        Shape::F32 | Shape::F64 => before > self.weight(node, &facts),
                        // It takes time on the way: better not where the value is computed with.
                        Shape::F32x4 | Shape::F64x2 => before >= self.weight(node, &facts),
                    })
                }),
            };
            if here {
                canonical[index] = true;
            } else {
                wanted.extend(self.inputs(node));
            }
        }
        // A point is of no use where others already stand on every way to it.
        let with = self.facts(&canonical);
        let mut points: Vec<Point> = (0..position(count))
            .filter(|&node| canonical[node as usize] && self.coming(node, &with) & SAME == 0)
            .filter_map(|node| {
                let shape = self.shape(node, &facts)?;
                Some(Point { op: self.values[node as usize].site, shape })
            })
            .collect();
        points.sort_unstable();
        points
    }
}

/// Facts of a result of arithmetic.
fn made(shape: Shape, how: Arithmetic, left: Facts, right: Facts) -> Facts {
    let both = left & right;
    let has = |facts: Facts, what: Facts| facts & what == what;
    let scale = FINITE | NOT_ZERO;
    let (number, finite) = match how {
        Arithmetic::Sum => (has(both, NO_NAN) && has(left | right, FINITE), false),
        Arithmetic::Product => {
            (has(both, FINITE) || has(both, NO_NAN) && (has(left, scale) || has(right, scale)), false)
        }
        Arithmetic::Quotient => (has(left, NO_NAN) && has(right, scale), false),
        Arithmetic::Tame => (has(both, NO_NAN), has(both, FINITE)),
        Arithmetic::Narrowing => (has(both, NO_NAN), false),
        Arithmetic::Any => (false, false),
    };
    let mut facts = shape.made() | shape.number();
    if number {
        facts |= FREE | NO_NAN;
    }
    if number && finite {
        facts |= FINITE;
    }
    facts
}
