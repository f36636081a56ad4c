//! A function's body, read once: its operators, the types they work on, and where each block begins and ends.

use crate::op::{Code, Costs, Op, constant_length, number};
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
    /// Fuel of the operators since the last event, and its own.
    pub(crate) cost: u64,
}

/// A body of an admitted module. One is read after another into the same memory.
#[derive(Default)]
pub(crate) struct Function<'a> {
    pub(crate) params: &'a [ValType],
    pub(crate) results: &'a [ValType],
    /// Type of each local, parameters first.
    pub(crate) locals: Vec<ValType>,
    /// All operators, the function's own `end` last.
    pub(crate) ops: Vec<Op>,
    /// Those of them that are no straight-line code.
    pub(crate) events: Vec<Event>,
    /// Whether the body is left in another way than over its end.
    pub(crate) leaves_early: bool,
    /// Whether an operator may make a NaN.
    pub(crate) makes_nan: bool,
    bytes: &'a [u8],
    /// Labels of all `br_table`s, the default of each last, and where those of each end.
    labels: Vec<u32>,
    tables: Vec<u32>,
    /// Blocks that have begun and not ended.
    open: Vec<u32>,
    /// Fuel since the last event.
    cost: u64,
}

impl<'a> Function<'a> {
    /// Reads a valid body.
    pub(crate) fn read(
        &mut self,
        index: u32,
        body: &FunctionBody<'a>,
        types: &Types<'a>,
        costs: &Costs,
    ) -> Result<(), BinaryReaderError> {
        let ty = types.function(index);
        (self.params, self.results, self.bytes) = (ty.params(), ty.results(), body.as_bytes());
        self.locals.clear();
        self.locals.extend_from_slice(ty.params());
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            self.locals.extend(core::iter::repeat_n(ty, count as usize));
        }
        self.ops.clear();
        self.events.clear();
        self.labels.clear();
        self.tables.clear();
        self.open.clear();
        (self.leaves_early, self.makes_nan, self.cost) = (false, false, 0);
        let mut reader = body.get_binary_reader_for_operators()?;
        let start = body.range().start;
        while !reader.eof() {
            let at = position(reader.original_position() - start);
            reader.visit_operator(&mut Collect { function: self, costs, at })?;
        }
        Ok(())
    }

    /// The labels of a `br_table`, the default last.
    pub(crate) fn labels(&self, table: &Op) -> &[u32] {
        let index = table.value as usize;
        let first = index.checked_sub(1).map_or(0, |before| self.tables[before]);
        &self.labels[first as usize..self.tables[index] as usize]
    }

    /// How an operator is spelled.
    pub(crate) fn bytes(&self, at: usize) -> &'a [u8] {
        let end = self.ops.get(at + 1).map_or(self.bytes.len(), |next| next.at as usize);
        &self.bytes[self.ops[at].at as usize..end]
    }

    /// The last `N` bytes of an operator.
    pub(crate) fn last_bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes(at).last_chunk().copied().unwrap_or([0; N])
    }

    /// Notes a table of labels and gives its number.
    fn table(&mut self, targets: &BrTable<'_>) -> u32 {
        // The body was read before, so its labels can be read again.
        self.labels.extend(targets.targets().flatten().chain([targets.default()]));
        self.tables.push(position(self.labels.len()));
        position(self.tables.len() - 1)
    }

    #[inline(always)]
    fn push(&mut self, costs: &Costs, at: u32, code: Code, value: u32) {
        self.cost += costs.own(code);
        self.makes_nan |= code.makes_nan();
        self.ops.push(Op { code, value, pair: 0, at });
        if code.is_event() {
            self.event(costs, code, value);
        }
    }

    fn event(&mut self, costs: &Costs, code: Code, label: u32) {
        let at = self.ops.len() - 1;
        let op = position(at);
        match code {
            Code::Block | Code::Loop | Code::If => self.open.push(op),
            Code::Else => {
                if let Some(begin) = self.open.pop() {
                    self.ops[begin as usize].pair = op;
                }
                self.open.push(op);
            }
            Code::End => {
                if let Some(begin) = self.open.pop() {
                    self.ops[begin as usize].pair = op;
                    self.ops[at].pair = begin;
                }
            }
            Code::Return => self.leaves_early = true,
            Code::Br | Code::BrIf => self.leaves_early |= label as usize == self.open.len(),
            Code::BrTable => {
                let own = position(self.open.len());
                let table = self.ops[at];
                self.leaves_early |= self.labels(&table).contains(&own);
            }
            Code::MemoryCopy | Code::MemoryFill => {
                let before = at.checked_sub(1).map(|before| &self.ops[before]);
                self.cost += constant_length(before, &self.ops[at]).map_or(0, |length| costs.bytes(length));
            }
            _ => {}
        }
        self.events.push(Event { op, cost: core::mem::take(&mut self.cost) });
    }
}

/// Takes one operator from the parser.
struct Collect<'c, 'a> {
    function: &'c mut Function<'a>,
    costs: &'c Costs,
    at: u32,
}

impl FrameStack for Collect<'_, '_> {
    #[inline(always)]
    fn current_frame(&self) -> Option<FrameKind> {
        // The body is valid, so whatever asks is where it may be: an `else` in an `if`.
        Some(FrameKind::If)
    }
}

/// The number of an operator, its labels noted.
macro_rules! noted {
    (BrTable $self:ident $targets:ident) => {
        $self.function.table(&$targets)
    };
    ($op:ident $self:ident $($arg:ident)*) => {
        number!($op $($arg)*)
    };
}

macro_rules! collect {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        $(
            #[allow(unused_variables, reason = "most operands are copied with the operator's bytes")]
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                let value = noted!($op self $($($arg)*)?);
                self.function.push(self.costs, self.at, Code::$op, value);
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Collect<'_, 'a> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(collect);
}

impl<'a> VisitSimdOperator<'a> for Collect<'_, 'a> {
    wasmparser::for_each_visit_simd_operator!(collect);
}

/// Index of an operator. A body has at most `FUNCTION_BYTES_MAX` bytes, so it fits.
pub(crate) fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
