//! A function's body, read once: its operators, the types they work on, and where each block begins and ends.

use crate::op::{Code, Costs, Op, constant_length, may_be_odd};
use core::ops::Range;
use std::collections::BTreeMap;
use wasm_encoder::Encode as _;
use wasmparser::{
    BinaryReaderError, BlockType, BrTable, FrameKind, FrameStack, FuncType, FunctionBody, ValType, VisitOperator,
    VisitSimdOperator,
};

/// The types that operators refer to by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Types<'t> {
    pub(crate) types: &'t [FuncType],
    /// Type of each function, imported ones first.
    pub(crate) functions: &'t [u32],
}

impl<'t> Types<'t> {
    /// Type with this index. The module was validated, so a type that is asked for exists.
    pub(crate) fn ty(&self, index: u32) -> &'t FuncType {
        &self.types[index as usize]
    }

    /// Type of the function with this index.
    pub(crate) fn function(&self, index: u32) -> &'t FuncType {
        self.ty(self.functions[index as usize])
    }

    /// What a block takes from the stack.
    pub(crate) fn block_params(&self, block: BlockType) -> &'t [ValType] {
        match block {
            BlockType::Empty | BlockType::Type(_) => &[],
            BlockType::FuncType(index) => self.ty(index).params(),
        }
    }

    /// How many values a block leaves on the stack.
    pub(crate) fn block_results(&self, block: BlockType) -> usize {
        match block {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(index) => self.ty(index).results().len(),
        }
    }
}

/// An operator that is no straight-line code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Its index.
    pub(crate) op: u32,
    pub(crate) code: Code,
    /// As [`Op::value`].
    pub(crate) value: u32,
    /// Of a `block`, `loop`, `if` and `else`: the index of its `end` (of an `if` with `else`: of the `else`). Else 0.
    pub(crate) end: u32,
    /// Of an `end`: whether a `loop` is what it ends.
    pub(crate) ends_loop: bool,
    /// Fuel of the operators since the last event, and its own.
    pub(crate) cost: u32,
    /// Fuel of what comes after it, whenever it is reached: of a `loop` that an iteration begins, of the `end` of a `block`
    /// or `if` that paths meet.
    pub(crate) joined: u32,
}

/// Operators of bodies, read one after the other into the same memory.
#[derive(Default)]
pub(crate) struct Ops {
    ops: Vec<Op>,
    events: Vec<Event>,
    /// Those that may be written otherwise than they were, but for names of locals that are one byte before and after.
    marks: Vec<u32>,
    /// Bytes that are such a name, of locals that are no parameters.
    names: Vec<u32>,
    /// Labels of all `br_table`s, the default of each last, and where those of each end.
    labels: Vec<u32>,
    tables: Vec<u32>,
    /// Of the body under way: where it began, the events that opened blocks which have not ended, each with the
    /// assignments before it, fuel since the last event, assignments so far, and the function's parameters and locals.
    now: Extent,
    open: Vec<(usize, u64)>,
    cost: u64,
    assigned: u64,
    params: u32,
    locals: u64,
}

/// Where in [`Ops`] a body is, and what is known of all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    ops: Range<usize>,
    events: Range<usize>,
    marks: Range<usize>,
    names: Range<usize>,
    tables: Range<usize>,
    /// Whether the body is left in another way than over its end.
    leaves_early: bool,
    /// Whether an operator may make a NaN.
    makes_nan: bool,
}

impl Ops {
    /// Operators of all bodies that it holds.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Makes room for code of this many bytes, as compilers write it: memory that grows is copied.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.ops.reserve(bytes / 2 + bytes / 16);
        self.events.reserve(bytes / 6);
        self.marks.reserve(bytes / 16);
        self.names.reserve(bytes / 4);
    }

    /// Forgets all bodies.
    pub(crate) fn clear(&mut self) {
        self.ops.clear();
        self.events.clear();
        self.marks.clear();
        self.names.clear();
        self.labels.clear();
        self.tables.clear();
    }

    /// Reads a valid body.
    pub(crate) fn read(
        &mut self,
        ty: &FuncType,
        body: &FunctionBody<'_>,
        costs: &Costs,
    ) -> Result<Extent, BinaryReaderError> {
        let mut locals = ty.params().len() as u64;
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
        }
        self.begin(ty.params().len(), locals);
        let mut reader = body.get_binary_reader_for_operators()?;
        let (bytes, start) = (body.as_bytes(), body.range().start);
        while !reader.eof() {
            let at = reader.original_position() - start;
            reader.visit_operator(&mut Collect { ops: self, costs, at: position(at) })?;
            self.spelled(&bytes[at..], reader.original_position() - start - at);
        }
        Ok(self.finish())
    }

    /// Begins a body with so many parameters, and so many locals with them.
    pub(crate) fn begin(&mut self, params: usize, locals: u64) {
        (self.params, self.locals) = (position(params), locals);
        self.now = Extent {
            ops: self.ops.len()..0,
            events: self.events.len()..0,
            marks: self.marks.len()..0,
            names: self.names.len()..0,
            tables: self.tables.len()..0,
            ..Extent::default()
        };
        self.open.clear();
        (self.cost, self.assigned) = (0, 0);
    }

    /// Ends a body.
    pub(crate) fn finish(&mut self) -> Extent {
        self.mark_last();
        self.now.ops.end = self.ops.len();
        self.now.events.end = self.events.len();
        self.now.marks.end = self.marks.len();
        self.now.names.end = self.names.len();
        self.now.tables.end = self.tables.len();
        self.now.clone()
    }

    /// Notes a table of labels and gives its number.
    pub(crate) fn table(&mut self, targets: &BrTable<'_>) -> u32 {
        // What cannot be read is refused before anybody asks for it.
        self.labels.extend(targets.targets().flatten().chain([targets.default()]));
        self.tables.push(position(self.labels.len()));
        position(self.tables.len() - 1)
    }

    /// Notes the next operator.
    #[inline(always)]
    pub(crate) fn push(&mut self, costs: &Costs, at: u32, code: Code, value: u32) {
        self.cost += costs.own(code);
        if code.makes_nan() {
            self.now.makes_nan = true;
        }
        if code.names_local() && value >= self.params {
            if value < NAME_MAX {
                self.names.push(at + 1);
            } else {
                self.mark();
            }
        }
        self.assigned += u64::from(code.assigns());
        let op = Op { code, value, at };
        if code.is_rewritten() || code == Code::Loop && op.passes_values() {
            self.mark();
        }
        self.ops.push(op);
        if code.is_event() {
            self.event(costs, code, value);
        }
    }

    /// Notes that the next operator may be written otherwise.
    fn mark(&mut self) {
        self.marks.push(position(self.ops.len() - self.now.ops.start));
    }

    /// Notes how the last operator was spelled: by the first `len` bytes.
    #[inline(always)]
    pub(crate) fn spelled(&mut self, bytes: &[u8], len: usize) {
        if may_be_odd(bytes, len) {
            self.mark_last();
            let last = self.ops.last().map_or(0, |op| op.at);
            if self.names[self.now.names.start..].last() == Some(&(last + 1)) {
                self.names.pop();
            }
        }
    }

    /// Notes that the last operator may be written otherwise.
    fn mark_last(&mut self) {
        let Some(last) = (self.ops.len() - self.now.ops.start).checked_sub(1) else { return };
        if self.marks[self.now.marks.start..].last() != Some(&position(last)) {
            self.marks.push(position(last));
        }
    }

    fn event(&mut self, costs: &Costs, code: Code, value: u32) {
        let body = &self.ops[self.now.ops.start..];
        let at = body.len() - 1;
        let op = position(at);
        let (mut ends_loop, mut joined) = (false, 0);
        match code {
            Code::Block | Code::Loop | Code::If => self.open.push((self.events.len(), self.assigned)),
            Code::Else => {
                let mut before = self.assigned;
                if let Some((begin, assigned)) = self.open.pop() {
                    self.events[begin].end = op;
                    before = assigned;
                }
                self.open.push((self.events.len(), before));
            }
            Code::End => {
                if let Some((begin, before)) = self.open.pop() {
                    let cost = fuel(costs.joined((self.assigned - before).min(self.locals)));
                    let begin = &mut self.events[begin];
                    begin.end = op;
                    ends_loop = begin.code == Code::Loop;
                    if ends_loop {
                        begin.joined = cost;
                    } else {
                        joined = cost;
                    }
                }
            }
            Code::Return => {
                self.now.leaves_early = true;
                self.ops[self.now.ops.start + at].value = position(self.open.len());
            }
            Code::Br | Code::BrIf => self.now.leaves_early |= value as usize == self.open.len(),
            Code::BrTable => {
                let own = position(self.open.len());
                self.now.leaves_early |= labels(&self.labels, &self.tables, value).contains(&own);
            }
            Code::MemoryCopy | Code::MemoryFill => {
                let before = at.checked_sub(1).map(|before| &body[before]);
                self.cost += constant_length(before, &body[at]).map_or(0, |length| costs.bytes(length));
            }
            _ => {}
        }
        let cost = fuel(core::mem::take(&mut self.cost));
        self.events.push(Event { op, code, value, end: 0, ends_loop, cost, joined });
    }
}

/// Locals below it have a name of one byte, also when the meter comes before them.
const NAME_MAX: u32 = 0x7f;

/// The labels of a table.
fn labels<'o>(labels: &'o [u32], tables: &[u32], table: u32) -> &'o [u32] {
    let table = table as usize;
    let first = table.checked_sub(1).map_or(0, |before| tables[before]);
    &labels[first as usize..tables[table] as usize]
}

/// A body of an admitted module.
#[derive(Clone, Copy)]
pub(crate) struct Function<'a> {
    pub(crate) params: &'a [ValType],
    pub(crate) results: &'a [ValType],
    /// Type of each local, parameters first.
    pub(crate) locals: &'a [ValType],
    /// All operators, the function's own `end` last.
    pub(crate) ops: &'a [Op],
    /// Those of them that are no straight-line code.
    pub(crate) events: &'a [Event],
    /// Those that may be written otherwise than they were. All others are as the encoder spells them.
    pub(crate) marks: &'a [u32],
    /// Bytes of the body that name a local which is no parameter, in operators that are not marked. All are below 127.
    pub(crate) names: &'a [u32],
    /// Whether the body is left in another way than over its end.
    pub(crate) leaves_early: bool,
    /// Whether an operator may make a NaN.
    pub(crate) makes_nan: bool,
    bytes: &'a [u8],
    labels: &'a [u32],
    tables: &'a [u32],
}

impl<'a> Function<'a> {
    /// The body that is at `extent` of `ops`. `locals` is memory for its locals.
    pub(crate) fn new(
        ty: &'a FuncType,
        body: &FunctionBody<'a>,
        (ops, extent): (&'a Ops, &Extent),
        locals: &'a mut Vec<ValType>,
    ) -> Result<Self, BinaryReaderError> {
        locals.clear();
        locals.extend_from_slice(ty.params());
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals.extend(core::iter::repeat_n(ty, count as usize));
        }
        Ok(Self {
            params: ty.params(),
            results: ty.results(),
            locals,
            ops: &ops.ops[extent.ops.clone()],
            events: &ops.events[extent.events.clone()],
            marks: &ops.marks[extent.marks.clone()],
            names: &ops.names[extent.names.clone()],
            leaves_early: extent.leaves_early,
            makes_nan: extent.makes_nan,
            bytes: body.as_bytes(),
            labels: &ops.labels,
            tables: &ops.tables[..extent.tables.end],
        })
    }

    /// The labels of a `br_table` by its number, the default last.
    pub(crate) fn labels(&self, table: u32) -> &'a [u32] {
        labels(self.labels, self.tables, table)
    }

    /// Where an operator ends within the body.
    pub(crate) fn end(&self, at: usize) -> usize {
        self.ops.get(at + 1).map_or(self.bytes.len(), |next| next.at as usize)
    }

    /// Bytes of the body.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    /// How an operator is spelled.
    pub(crate) fn spelled(&self, at: usize) -> &'a [u8] {
        self.bytes(self.ops[at].at as usize..self.end(at))
    }

    /// The last `N` bytes of an operator.
    pub(crate) fn last_bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.spelled(at).last_chunk().copied().unwrap_or([0; N])
    }
}

/// Takes one operator from the parser.
struct Collect<'c> {
    ops: &'c mut Ops,
    costs: &'c Costs,
    at: u32,
}

impl FrameStack for Collect<'_> {
    #[inline(always)]
    fn current_frame(&self) -> Option<FrameKind> {
        // The body is valid, so whatever asks is where it may be: an `else` in an `if`.
        Some(FrameKind::If)
    }
}

/// The number of an operator, its labels noted.
macro_rules! noted {
    (BrTable $ops:expr, $targets:ident) => {
        $ops.table(&$targets)
    };
    ($op:ident $ops:expr, $($arg:ident)*) => {
        $crate::op::number!($op $($arg)*)
    };
}
pub(crate) use noted;

macro_rules! collect {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        $(
            #[allow(unused_variables, reason = "most operands are copied with the operator's bytes")]
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                let value = noted!($op self.ops, $($($arg)*)?);
                self.ops.push(self.costs, self.at, Code::$op, value);
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Collect<'_> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(collect);
}

impl<'a> VisitSimdOperator<'a> for Collect<'_> {
    wasmparser::for_each_visit_simd_operator!(collect);
}

/// Index of an operator. A body has at most `FUNCTION_BYTES_MAX` bytes, so it fits.
pub(crate) fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Fuel of a part of a body, which is below 2^30 for all of it.
fn fuel(cost: u64) -> u32 {
    u32::try_from(cost).unwrap_or(u32::MAX)
}

/// Function types of the rewriter's own, each once, in the order in which they were asked for. A module can ask for as
/// many as it has bodies, so none is looked for by going through the others.
#[derive(Default)]
pub(crate) struct OwnTypes {
    list: Vec<(Vec<wasm_encoder::ValType>, Vec<wasm_encoder::ValType>)>,
    /// By their encoding.
    known: BTreeMap<Vec<u8>, u32>,
}

impl OwnTypes {
    /// The number of a type, and whether it is new.
    pub(crate) fn number(
        &mut self,
        params: &[wasm_encoder::ValType],
        results: &[wasm_encoder::ValType],
    ) -> (u32, bool) {
        let mut key = Vec::new();
        params.encode(&mut key);
        results.encode(&mut key);
        if let Some(number) = self.known.get(&key) {
            return (*number, false);
        }
        let number = position(self.list.len());
        self.known.insert(key, number);
        self.list.push((params.to_vec(), results.to_vec()));
        (number, true)
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> &[(Vec<wasm_encoder::ValType>, Vec<wasm_encoder::ValType>)] {
        &self.list
    }
}
