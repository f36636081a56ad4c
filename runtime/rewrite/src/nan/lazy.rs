//! Where floats must be made canonical when only what is seen counts.
//!
//! A function is read as a graph of values: each result of arithmetic, each move, and each place where the values
//! of several ways meet is a node. Two things are found out about a node.
//!
//! Forwards, what is known of its bits ([`Facts`]): a result of arithmetic is eager's once it is made canonical,
//! at any later time, as long as only moves lie between. What was loaded, passed or returned has eager's bits and
//! must keep them. Where both meet, neither holds.
//!
//! Backwards, whether its bits are seen: by a store, a call, a global, a result, an integer's view. Arithmetic and
//! comparisons see whether a value is NaN and never which NaN, so they want nothing.
//!
//! Between a result of arithmetic whose bits are seen and every place that sees them there must be a point. It may
//! stand wherever the value is on top of the stack and known to become eager's: best outside loops.
//!
//! Time and memory are linear in the body: a function in which the search for the writers of locals takes more
//! steps than [`STEPS_PER_OPERATOR`] allows is made canonical eagerly.
//!
//! Invariants:
//! - N1: every way from a result of arithmetic that is not known to be a number to a place that sees bits has a
//!   point on it.
//! - N2: a point changes no value but one whose eager bits are the canonical ones.

mod graph;

use super::{
    Point,
    operators::{ALL, Deed, EXACT, FINITE, FREE, Facts, NO_NAN, NOT_ZERO, arity, deed},
};
use crate::{
    function::{Function, Types, position},
    op::{Code, Op},
};
use graph::{Graph, Kind, NOWHERE, Node};
use std::collections::BTreeMap;
use wasmparser::{BlockType, ValType};

/// Steps that finding the writers of locals may take for each operator, and those that every function has.
const STEPS_PER_OPERATOR: usize = 16;
const STEPS_FREE: usize = 4_096;

/// The points of a function, by operator. `None` when it is too tangled to be looked at.
pub(super) fn points(function: &Function<'_>, types: &Types<'_>) -> Option<Vec<Point>> {
    let mut reader = Reader::new(function, types);
    for (at, op) in function.ops.iter().enumerate() {
        reader.read(position(at), op)?;
    }
    let read = reader.resolve()?;
    Some(read.graph.points(&read.seen, &read.tested))
}

/// A place in the code: a block and an operator in it. What is written before the operator is written.
#[derive(Clone, Copy, Debug)]
struct Place {
    block: u32,
    at: u32,
}

/// The operators of a `block`, `loop` or `if`, and the place before it.
#[derive(Clone, Copy, Debug)]
struct Construct {
    begin: u32,
    end: u32,
    before: Place,
}

/// How control comes to a block of straight code.
#[derive(Clone, Debug)]
enum Way {
    /// The function's beginning.
    Entry,
    /// From one place.
    One(Place),
    /// From the ends of a construct, or from before and within a loop.
    Many { of: Construct, from: Vec<Place> },
    /// Out of a loop at its end.
    Out { of: Construct, from: Place },
}

struct Block {
    /// Its first operator.
    first: u32,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Function,
    Block,
    If,
    Else,
    /// With the block that begins with it and the first of the nodes for its parameters.
    Loop {
        block: u32,
        parameters: Node,
    },
}

/// An open construct.
struct Frame {
    label: Label,
    begin: u32,
    before: Place,
    /// Height of the stack below its parameters.
    height: usize,
    parameters: Vec<Node>,
    results: usize,
    /// Branches to its label, and the values they bring, one after the other.
    from: Vec<Place>,
    brought: Vec<Node>,
    /// The last operator that branched to it, since a `br_table` may name it often.
    branched: u32,
}

struct Reader<'f> {
    function: &'f Function<'f>,
    types: &'f Types<'f>,
    graph: Graph,
    constants: BTreeMap<Facts, Node>,
    stack: Vec<Node>,
    frames: Vec<Frame>,
    blocks: Vec<Block>,
    block: u32,
    /// Whether the code being read can be reached, and how many constructs are open in code that cannot.
    live: bool,
    dead: usize,
    loops: u32,
    /// For each local of floats, its writes in order.
    writes: Vec<Vec<(u32, Node)>>,
    /// Nodes whose input is a local at a place.
    gets: Vec<(Node, u32, Place)>,
    seen: Vec<Node>,
    tested: Vec<(Node, Facts)>,
}

/// A graph and who looks at it.
struct Read {
    graph: Graph,
    /// Nodes whose bits are seen.
    seen: Vec<Node>,
    /// Nodes of which it must be known in this way whether they are NaN.
    tested: Vec<(Node, Facts)>,
}

fn floats(ty: ValType) -> bool {
    matches!(ty, ValType::F32 | ValType::F64 | ValType::V128)
}

impl<'f> Reader<'f> {
    fn new(function: &'f Function<'f>, types: &'f Types<'f>) -> Self {
        let entry = Frame {
            label: Label::Function,
            begin: 0,
            before: Place { block: 0, at: 0 },
            height: 0,
            parameters: Vec::new(),
            results: function.results.len(),
            from: Vec::new(),
            brought: Vec::new(),
            branched: NOWHERE,
        };
        Self {
            function,
            types,
            graph: Graph::default(),
            constants: BTreeMap::new(),
            stack: Vec::new(),
            frames: vec![entry],
            blocks: vec![Block { first: 0, way: Way::Entry }],
            block: 0,
            live: true,
            dead: 0,
            loops: 0,
            writes: vec![Vec::new(); function.locals.len()],
            gets: Vec::new(),
            seen: Vec::new(),
            tested: Vec::new(),
        }
    }

    fn constant(&mut self, facts: Facts) -> Node {
        let graph = &mut self.graph;
        *self.constants.entry(facts).or_insert_with(|| graph.add(Kind::Constant(facts), &[], NOWHERE, 0))
    }

    fn exact(&mut self) -> Node {
        self.constant(EXACT)
    }

    fn pop(&mut self) -> Node {
        match self.stack.pop() {
            Some(node) => node,
            // Cannot happen in a valid body: what cannot be reached is not read.
            None => self.exact(),
        }
    }

    /// Takes the values on top of the stack, the deepest first.
    fn pop_many(&mut self, count: usize) -> Vec<Node> {
        self.stack.split_off(self.stack.len().saturating_sub(count))
    }

    fn push(&mut self, kind: Kind, inputs: &[Node], at: u32) {
        let node = self.graph.add(kind, inputs, at, self.loops);
        self.stack.push(node);
    }

    fn push_exact(&mut self, count: usize) {
        let exact = self.exact();
        self.stack.extend(core::iter::repeat_n(exact, count));
    }

    fn see(&mut self, count: usize) {
        let nodes = self.pop_many(count);
        self.seen.extend(nodes);
    }

    fn place(&self, at: u32) -> Place {
        Place { block: self.block, at }
    }

    fn enter(&mut self, first: u32, way: Way) {
        self.block = position(self.blocks.len());
        self.blocks.push(Block { first, way });
    }

    /// Reads one operator. `None` for one whose flow of control is not known here.
    fn read(&mut self, at: u32, op: &Op) -> Option<()> {
        if !self.live {
            match op.code {
                Code::Block | Code::Loop | Code::If => self.dead += 1,
                Code::Else if self.dead == 0 => self.otherwise(at),
                Code::End if self.dead == 0 => self.end(at),
                Code::End => self.dead -= 1,
                // Also in dead code: what opens a construct that is not known here would be taken for no construct.
                _ => {
                    arity_or_control(op.code)?;
                }
            }
            return Some(());
        }
        match op.code {
            Code::Block => self.open(at, Label::Block, op.block()),
            Code::If => {
                self.pop();
                self.open(at, Label::If, op.block());
            }
            Code::Loop => self.open(at, Label::Loop { block: 0, parameters: 0 }, op.block()),
            Code::Else => self.otherwise(at),
            Code::End => self.end(at),
            Code::Br => {
                self.branch(at, op.value);
                self.live = false;
            }
            Code::BrIf => {
                self.pop();
                self.branch(at, op.value);
            }
            Code::BrTable => {
                self.pop();
                for &label in self.function.labels(op.value) {
                    self.branch(at, label);
                }
                self.live = false;
            }
            Code::Return => {
                self.see(self.function.results.len());
                self.live = false;
            }
            Code::Unreachable => self.live = false,
            Code::Call => {
                let ty = self.types.function(op.value);
                self.see(ty.params().len());
                self.push_exact(ty.results().len());
            }
            Code::CallIndirect => {
                let ty = self.types.ty(op.value);
                self.pop();
                self.see(ty.params().len());
                self.push_exact(ty.results().len());
            }
            Code::Drop => {
                self.pop();
            }
            Code::LocalGet => self.get(at, op.value),
            Code::LocalSet => {
                let node = self.pop();
                self.write(at, op.value, node);
            }
            Code::LocalTee => {
                let node = self.pop();
                self.write(at, op.value, node);
                if matches!(self.graph.values[node as usize].kind, Kind::Constant(_)) {
                    self.stack.push(node);
                } else {
                    self.push(Kind::Move { keeps: ALL }, &[node], at);
                }
            }
            _ => self.plain(at, op.code)?,
        }
        Some(())
    }

    /// Reads an operator that works on the top of the stack only.
    fn plain(&mut self, at: u32, code: Code) -> Option<()> {
        let (takes, gives) = arity(code)?;
        match deed(self.function, at as usize) {
            Deed::Make { shape, of, how } => {
                let operands = self.pop_many(takes);
                self.tested.extend(operands.iter().map(|&node| (node, of.number())));
                self.push(Kind::Make { shape, how }, &operands, at);
            }
            Deed::Test { of } => {
                let operands = self.pop_many(takes);
                self.tested.extend(operands.iter().map(|&node| (node, of.number())));
                self.push_exact(gives);
            }
            Deed::Move { keeps } => {
                let operands = self.pop_many(takes);
                self.push(Kind::Move { keeps }, &operands, at);
            }
            Deed::Choose { of, keeps } => {
                let operands = self.pop_many(takes);
                self.tested.extend(operands.iter().map(|&node| (node, of.number())));
                self.push(Kind::Move { keeps }, &operands, at);
            }
            Deed::CopySign => {
                self.see(1);
                let magnitude = self.pop();
                self.push(Kind::Move { keeps: EXACT | NO_NAN | FINITE | NOT_ZERO }, &[magnitude], at);
            }
            Deed::Select => {
                self.pop();
                let operands = self.pop_many(2);
                self.push(Kind::Move { keeps: ALL }, &operands, at);
            }
            Deed::Splat { keeps } => {
                let operand = self.pop();
                self.push(Kind::Splat { keeps }, &[operand], at);
            }
            Deed::Extract { shape } => {
                let operand = self.pop();
                self.push(Kind::Extract { shape }, &[operand], at);
            }
            Deed::Replace { shape } => {
                let operands = self.pop_many(2);
                self.push(Kind::Replace { shape }, &operands, at);
            }
            Deed::Insert { vector, keeps } => {
                let operands = self.pop_many(2);
                self.push(Kind::Move { keeps }, &operands[vector..=vector], at);
            }
            Deed::Number => {
                self.pop();
                let node = self.constant(FREE | NO_NAN | FINITE);
                self.stack.push(node);
            }
            Deed::Numbers => {
                self.see(1);
                let node = self.constant(FREE);
                self.stack.push(node);
            }
            Deed::Constant(facts) => {
                let node = self.constant(facts);
                self.stack.push(node);
            }
            Deed::See => {
                self.see(takes);
                self.push_exact(gives);
            }
        }
        Some(())
    }

    fn get(&mut self, at: u32, local: u32) {
        let index = local as usize;
        if !floats(self.function.locals[index]) {
            return self.push_exact(1);
        }
        self.push(Kind::Move { keeps: ALL }, &[], at);
        let node = position(self.graph.values.len() - 1);
        self.gets.push((node, local, self.place(at)));
    }

    fn write(&mut self, at: u32, local: u32, node: Node) {
        if floats(self.function.locals[local as usize]) {
            self.writes[local as usize].push((at, node));
        }
    }

    fn open(&mut self, at: u32, label: Label, ty: BlockType) {
        let parameters = self.pop_many(self.types.block_params(ty).len());
        let (height, before) = (self.stack.len(), self.place(at));
        let label = match label {
            Label::Loop { .. } => {
                self.loops += 1;
                let of = Construct { begin: at, end: at, before };
                self.enter(at, Way::Many { of, from: vec![before] });
                let first = position(self.graph.values.len());
                for _ in &parameters {
                    self.push(Kind::Move { keeps: ALL }, &[], NOWHERE);
                }
                Label::Loop { block: self.block, parameters: first }
            }
            label => {
                self.stack.extend_from_slice(&parameters);
                label
            }
        };
        self.frames.push(Frame {
            label,
            begin: at,
            before,
            height,
            parameters,
            results: self.types.block_results(ty),
            from: Vec::new(),
            brought: Vec::new(),
            branched: NOWHERE,
        });
    }

    fn branch(&mut self, at: u32, depth: u32) {
        let place = self.place(at);
        let Some(index) = self.frames.len().checked_sub(1 + depth as usize) else { return };
        let frame = &mut self.frames[index];
        if core::mem::replace(&mut frame.branched, at) == at {
            return;
        }
        let count = if matches!(frame.label, Label::Loop { .. }) { frame.parameters.len() } else { frame.results };
        let brought = &self.stack[self.stack.len().saturating_sub(count)..];
        if frame.label == Label::Function {
            self.seen.extend_from_slice(brought);
        } else {
            frame.from.push(place);
            frame.brought.extend_from_slice(brought);
        }
    }

    /// Takes the values that flow out of the innermost construct's end along with those of branches to it.
    fn fall(&mut self, at: u32, frame: &mut Frame) {
        if self.live {
            frame.from.push(self.place(at));
            let results = self.pop_many(frame.results);
            frame.brought.extend(results);
        }
    }

    fn otherwise(&mut self, at: u32) {
        let Some(mut frame) = self.frames.pop() else { return };
        self.fall(at, &mut frame);
        self.stack.truncate(frame.height);
        self.stack.extend_from_slice(&frame.parameters);
        frame.label = Label::Else;
        self.enter(at, Way::One(frame.before));
        self.frames.push(frame);
        self.live = true;
    }

    fn end(&mut self, at: u32) {
        let Some(mut frame) = self.frames.pop() else { return };
        let of = Construct { begin: frame.begin, end: at, before: frame.before };
        match frame.label {
            Label::Function => {
                if self.live {
                    self.see(frame.results);
                }
                self.live = false;
            }
            Label::Loop { block, parameters } => {
                self.loops -= 1;
                let count = frame.parameters.len();
                for (index, (&parameter, node)) in frame.parameters.iter().zip(parameters..).enumerate() {
                    let back = frame.brought.iter().skip(index).step_by(count.max(1)).copied();
                    self.graph.connect(node, core::iter::once(parameter).chain(back));
                }
                let mut from = vec![frame.before];
                from.append(&mut frame.from);
                self.blocks[block as usize].way = Way::Many { of, from };
                if self.live {
                    let from = self.place(at);
                    self.enter(at, Way::Out { of, from });
                }
            }
            Label::Block | Label::If | Label::Else => {
                let straight = self.live && frame.from.is_empty() && frame.label == Label::Block;
                if straight {
                    return;
                }
                self.fall(at, &mut frame);
                if frame.label == Label::If {
                    frame.from.push(frame.before);
                    frame.brought.extend_from_slice(&frame.parameters);
                }
                self.stack.truncate(frame.height);
                self.live = !frame.from.is_empty();
                if !self.live {
                    return;
                }
                if let [from] = frame.from[..] {
                    self.enter(at, Way::One(from));
                } else {
                    self.enter(at, Way::Many { of, from: frame.from });
                }
                for index in 0..frame.results {
                    let inputs: Vec<Node> = frame.brought.iter().skip(index).step_by(frame.results).copied().collect();
                    let site = if index + 1 == frame.results { at } else { NOWHERE };
                    self.push(Kind::Move { keeps: ALL }, &inputs, site);
                }
            }
        }
    }

    /// Finds the writers of every local that is read.
    fn resolve(mut self) -> Option<Read> {
        let (zero, exact) = (self.constant(FREE | NO_NAN | FINITE), self.exact());
        let mut writers = Writers {
            parameters: self.function.params.len(),
            blocks: &self.blocks,
            writes: &self.writes,
            zero,
            exact,
            entries: BTreeMap::new(),
            merges: Vec::new(),
            steps: self.function.ops.len().saturating_mul(STEPS_PER_OPERATOR).saturating_add(STEPS_FREE),
        };
        for &(node, local, place) in &self.gets {
            let writer = writers.at(&mut self.graph, local, place)?;
            self.graph.connect(node, [writer]);
        }
        let mut next = 0;
        while let Some(&(node, local, block)) = writers.merges.get(next) {
            next += 1;
            let from: &[Place] = match &self.blocks[block as usize].way {
                Way::Many { from, .. } => from,
                Way::Out { from, .. } | Way::One(from) => core::slice::from_ref(from),
                Way::Entry => &[],
            };
            let mut inputs = Vec::with_capacity(from.len());
            for &place in from {
                inputs.push(writers.at(&mut self.graph, local, place)?);
            }
            self.graph.connect(node, inputs);
        }
        Some(Read { graph: self.graph, seen: self.seen, tested: self.tested })
    }
}

/// Whether this is an operator that dead code may have without opening a construct.
fn arity_or_control(code: Code) -> Option<()> {
    match code {
        Code::Br | Code::BrIf | Code::BrTable | Code::Return | Code::Call | Code::CallIndirect | Code::Else => Some(()),
        _ => arity(code).map(|_| ()),
    }
}

/// Finds which node a local holds at a place.
struct Writers<'r> {
    parameters: usize,
    blocks: &'r [Block],
    writes: &'r [Vec<(u32, Node)>],
    zero: Node,
    exact: Node,
    /// What a local holds at the beginning of a block.
    entries: BTreeMap<(u32, u32), Node>,
    /// Nodes for places where several writers meet, whose inputs are yet to be found.
    merges: Vec<(Node, u32, u32)>,
    steps: usize,
}

impl Writers<'_> {
    fn at(&mut self, graph: &mut Graph, local: u32, mut place: Place) -> Option<Node> {
        let writes = &self.writes[local as usize];
        let mut trail = Vec::new();
        let node = loop {
            self.steps = self.steps.checked_sub(1)?;
            let block = &self.blocks[place.block as usize];
            let before = writes.partition_point(|&(at, _)| at < place.at);
            if let Some(&(at, node)) = before.checked_sub(1).and_then(|last| writes.get(last))
                && at >= block.first
            {
                break node;
            }
            // Nothing was written anywhere before, and nothing can come around a loop.
            if writes.is_empty() {
                break self.first(local);
            }
            if let Some(&node) = self.entries.get(&(local, place.block)) {
                break node;
            }
            trail.push(place.block);
            match &block.way {
                Way::Entry => break self.first(local),
                Way::One(from) => place = *from,
                Way::Many { of, .. } | Way::Out { of, .. } => {
                    let within = writes.partition_point(|&(at, _)| at <= of.begin);
                    if writes.get(within).is_some_and(|&(at, _)| at < of.end) {
                        let node = graph.add(Kind::Move { keeps: ALL }, &[], NOWHERE, 0);
                        self.merges.push((node, local, place.block));
                        break node;
                    }
                    place = of.before;
                }
            }
        };
        for block in trail {
            self.steps = self.steps.checked_sub(1)?;
            self.entries.insert((local, block), node);
        }
        Some(node)
    }

    /// What a local holds when the function begins.
    fn first(&self, local: u32) -> Node {
        if (local as usize) < self.parameters { self.exact } else { self.zero }
    }
}
