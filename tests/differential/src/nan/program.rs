//! Programs that carry NaNs around.
//!
//! Every program is valid, ends, and never traps: loops count down a budget that all of them share, functions call
//! only functions before them, addresses are small, conversions saturate.

use crate::{
    nan::ENTRY,
    rng::Rng,
    value::{Type, Value},
};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, Ieee32, Ieee64, Instruction as I, MemArg, MemorySection, MemoryType,
    Module, RefType, TableSection, TableType, TypeSection, ValType,
};

/// Loop turns of one call of the entry, all loops together.
const TURNS: i32 = 400;

/// Bytes that the program reads and writes.
const MEMORY: u64 = 2_048;

const TYPES: [Type; 5] = [Type::F32, Type::F64, Type::V128, Type::I32, Type::I64];

/// The global that counts loop turns down.
const BUDGET: u32 = 0;

/// The other globals: two of each type.
const GLOBALS: [Type; 10] =
    [Type::F32, Type::F32, Type::F64, Type::F64, Type::V128, Type::V128, Type::I32, Type::I32, Type::I64, Type::I64];

/// The parameters of the entry.
const ENTRY_PARAMS: [Type; 4] = [Type::F32, Type::F64, Type::V128, Type::I32];

/// Makes a module from a seed.
#[must_use]
pub fn program(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut types = Types::default();
    let mut signatures = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let params = (0..rng.below(4)).map(|_| some_type(&mut rng)).collect();
        let results = (0..1 + rng.below(3)).map(|_| some_type(&mut rng)).collect();
        signatures.push(Signature { params, results });
    }
    let results = (0..1 + rng.below(3)).map(|_| some_type(&mut rng)).collect();
    signatures.push(Signature { params: ENTRY_PARAMS.to_vec(), results });

    let mut code = CodeSection::new();
    for index in 0..signatures.len() {
        let size = 120 + rng.below(400);
        code.function(&Body::new(&mut rng, &mut types, &signatures[..=index], size).write());
    }
    let mut functions = FunctionSection::new();
    for signature in &signatures {
        functions.function(types.index(&signature.params, &signature.results));
    }
    let count = u32::try_from(signatures.len()).unwrap_or(u32::MAX);
    let mut module = Module::new();
    module.section(&types.section());
    module.section(&functions);
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: count.into(),
        maximum: None,
        shared: false,
    });
    module.section(&tables);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None });
    module.section(&memories);
    let mut exports = ExportSection::new();
    let mut globals = GlobalSection::new();
    let mutable = |ty| GlobalType { val_type: val_type(ty), mutable: true, shared: false };
    globals.global(mutable(Type::I32), &ConstExpr::i32_const(0));
    exports.export("memory", ExportKind::Memory, 0);
    exports.export(ENTRY, ExportKind::Func, count - 1);
    for (index, ty) in (1..).zip(GLOBALS) {
        let first = match Value::some(ty, &mut rng) {
            Value::I32(bits) => ConstExpr::i32_const(bits.cast_signed()),
            Value::I64(bits) => ConstExpr::i64_const(bits.cast_signed()),
            Value::F32(bits) => ConstExpr::f32_const(Ieee32::new(bits)),
            Value::F64(bits) => ConstExpr::f64_const(Ieee64::new(bits)),
            Value::V128(bits) => ConstExpr::v128_const(bits.cast_signed()),
        };
        globals.global(mutable(ty), &first);
        exports.export(&format!("g{index}"), ExportKind::Global, index);
    }
    module.section(&globals);
    module.section(&exports);
    let mut elements = ElementSection::new();
    let all: Vec<u32> = (0..count).collect();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));
    module.section(&elements);
    module.section(&code);
    let mut bytes = Vec::new();
    while bytes.len() < 1_024 {
        bytes.extend_from_slice(&Value::some(Type::V128, &mut rng).bits().to_le_bytes());
    }
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(0), bytes);
    module.section(&data);
    module.finish()
}

struct Signature {
    params: Vec<Type>,
    results: Vec<Type>,
}

/// Function types, each once.
#[derive(Default)]
struct Types(Vec<(Vec<Type>, Vec<Type>)>);

impl Types {
    fn index(&mut self, params: &[Type], results: &[Type]) -> u32 {
        let wanted = (params.to_vec(), results.to_vec());
        let at = self.0.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.0.push(wanted);
            self.0.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn section(&self) -> TypeSection {
        let mut section = TypeSection::new();
        for (params, results) in &self.0 {
            section.ty().function(params.iter().copied().map(val_type), results.iter().copied().map(val_type));
        }
        section
    }
}

const fn val_type(ty: Type) -> ValType {
    match ty {
        Type::I32 => ValType::I32,
        Type::I64 => ValType::I64,
        Type::F32 => ValType::F32,
        Type::F64 => ValType::F64,
        Type::V128 => ValType::V128,
    }
}

/// A type, floats more often than integers.
fn some_type(rng: &mut Rng) -> Type {
    rng.pick(&[Type::F32, Type::F32, Type::F32, Type::F64, Type::F64, Type::V128, Type::V128, Type::I32, Type::I64])
}

/// A label that may be branched to, with what it takes. Loops are left by their own counters only.
type Label = Option<Vec<Type>>;

/// A function being written.
struct Body<'g> {
    rng: &'g mut Rng,
    types: &'g mut Types,
    /// Functions that may be called, and this one.
    signatures: &'g [Signature],
    code: Vec<I<'static>>,
    /// All locals, parameters first; `open` are those that anything may write.
    locals: Vec<Type>,
    open: Vec<u32>,
    labels: Vec<Label>,
    /// Instructions that are still to come, about.
    left: i64,
    calls: u32,
    nested: u32,
}

impl<'g> Body<'g> {
    fn new(rng: &'g mut Rng, types: &'g mut Types, signatures: &'g [Signature], size: u64) -> Self {
        let own = &signatures[signatures.len() - 1];
        let mut locals = own.params.clone();
        for ty in TYPES {
            locals.extend(core::iter::repeat_n(ty, if matches!(ty, Type::I32 | Type::I64) { 1 } else { 3 }));
        }
        let open = (0..u32::try_from(locals.len()).unwrap_or(u32::MAX)).collect();
        Self {
            rng,
            types,
            signatures,
            code: Vec::new(),
            locals,
            open,
            labels: Vec::new(),
            left: size.cast_signed(),
            calls: 0,
            nested: 0,
        }
    }

    fn own(&self) -> &'g Signature {
        &self.signatures[self.signatures.len() - 1]
    }

    fn write(mut self) -> Function {
        let own = self.own();
        // A function that only looks like the entry fills the budget too, which ends all the same.
        if own.params == ENTRY_PARAMS {
            self.op(I::I32Const(TURNS));
            self.op(I::GlobalSet(BUDGET));
        }
        self.labels.push(Some(own.results.clone()));
        while self.left > 0 {
            self.statement(3);
        }
        for local in self.open.clone() {
            if self.chance(2) {
                self.show(local);
            }
        }
        for &ty in &own.results {
            self.expression(ty, 3);
        }
        self.op(I::End);
        let params = own.params.len();
        let mut function = Function::new_with_locals_types(self.locals[params..].iter().copied().map(val_type));
        for instruction in &self.code {
            function.instruction(instruction);
        }
        function
    }

    fn op(&mut self, instruction: I<'static>) {
        self.left -= 1;
        self.code.push(instruction);
    }

    fn chance(&mut self, n: u64) -> bool {
        self.rng.one_in(n)
    }

    /// A local of a type that may be written.
    fn local(&mut self, ty: Type) -> u32 {
        let of: Vec<u32> = self.open.iter().copied().filter(|&local| self.locals[local as usize] == ty).collect();
        self.rng.pick(&of)
    }

    /// A local that nothing else writes.
    fn counter(&mut self) -> u32 {
        self.locals.push(Type::I32);
        u32::try_from(self.locals.len() - 1).unwrap_or(u32::MAX)
    }

    fn global(&mut self, ty: Type) -> u32 {
        let of: Vec<u32> = (1..).zip(GLOBALS).filter(|(_, global)| *global == ty).map(|(index, _)| index).collect();
        self.rng.pick(&of)
    }

    fn memarg(&mut self) -> MemArg {
        MemArg { offset: self.rng.below(64), align: 0, memory_index: 0 }
    }

    fn address(&mut self, depth: u32) {
        if depth == 0 || !self.chance(4) {
            let address = i32::try_from(self.rng.below(MEMORY)).unwrap_or(0);
            self.op(I::I32Const(address));
        } else {
            self.expression(Type::I32, depth - 1);
            self.op(I::I32Const(i32::try_from(MEMORY - 1).unwrap_or(0)));
            self.op(I::I32And);
        }
    }

    fn block(&mut self, params: &[Type], results: &[Type]) -> BlockType {
        match (params, results) {
            ([], []) => BlockType::Empty,
            ([], [one]) => BlockType::Result(val_type(*one)),
            _ => BlockType::FunctionType(self.types.index(params, results)),
        }
    }

    /// A condition that holds about as often as not.
    fn condition(&mut self, depth: u32) {
        self.expression(Type::I32, depth);
        if !self.chance(3) {
            self.op(I::I32Const(1));
            self.op(I::I32And);
        }
    }

    // Statements.

    fn statements(&mut self, depth: u32) {
        for _ in 0..=self.rng.below(3) {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        let small = depth == 0 || self.left <= 0;
        match self.rng.below(if small { 8 } else { 20 }) {
            0..3 => {
                let ty = some_type(self.rng);
                self.expression(ty, depth);
                let local = self.local(ty);
                self.op(I::LocalSet(local));
            }
            3..6 => self.store(depth),
            6 => {
                let ty = some_type(self.rng);
                self.expression(ty, depth);
                let global = self.global(ty);
                self.op(I::GlobalSet(global));
            }
            7 => self.swap(),
            8..10 => {
                self.condition(1);
                self.op(I::If(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.statements(depth - 1);
                if self.chance(2) {
                    self.op(I::Else);
                    self.statements(depth - 1);
                }
                self.labels.pop();
                self.op(I::End);
            }
            10..14 => self.turns(depth),
            14 => {
                self.op(I::Block(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.statements(depth - 1);
                self.condition(1);
                self.op(I::BrIf(0));
                self.statements(depth - 1);
                self.labels.pop();
                self.op(I::End);
            }
            15 => self.table(depth),
            16 if self.chance(3) => self.leave(depth),
            16 => {
                let local = self.rng.pick(&self.open.clone());
                self.show(local);
            }
            17 => self.never(depth),
            18 => {
                let ty = some_type(self.rng);
                self.expression(ty, depth);
                self.op(I::Drop);
            }
            _ => {
                let ty = some_type(self.rng);
                self.call(ty, depth);
                let local = self.local(ty);
                self.op(I::LocalSet(local));
            }
        }
    }

    /// Stores a local.
    fn show(&mut self, local: u32) {
        self.address(0);
        self.op(I::LocalGet(local));
        let memarg = self.memarg();
        self.op(match self.locals[local as usize] {
            Type::I32 => I::I32Store(memarg),
            Type::I64 => I::I64Store(memarg),
            Type::F32 => I::F32Store(memarg),
            Type::F64 => I::F64Store(memarg),
            Type::V128 => I::V128Store(memarg),
        });
    }

    fn store(&mut self, depth: u32) {
        self.address(depth);
        let memarg = |body: &mut Self| body.memarg();
        match self.rng.below(12) {
            0..4 => {
                self.expression(Type::F32, depth);
                let memarg = memarg(self);
                self.op(I::F32Store(memarg));
            }
            4..7 => {
                self.expression(Type::F64, depth);
                let memarg = memarg(self);
                self.op(I::F64Store(memarg));
            }
            7..9 => {
                self.expression(Type::V128, depth);
                let memarg = memarg(self);
                self.op(I::V128Store(memarg));
            }
            9 => {
                self.expression(Type::V128, depth);
                let memarg = memarg(self);
                let store = match self.rng.below(4) {
                    0 => I::V128Store8Lane { memarg, lane: self.lane(16) },
                    1 => I::V128Store16Lane { memarg, lane: self.lane(8) },
                    2 => I::V128Store32Lane { memarg, lane: self.lane(4) },
                    _ => I::V128Store64Lane { memarg, lane: self.lane(2) },
                };
                self.op(store);
            }
            10 => {
                self.expression(Type::I32, depth);
                let memarg = memarg(self);
                self.op(I::I32Store(memarg));
            }
            _ => {
                self.expression(Type::I64, depth);
                let memarg = memarg(self);
                self.op(I::I64Store(memarg));
            }
        }
    }

    /// Two locals change places.
    fn swap(&mut self) {
        let ty = self.rng.pick(&[Type::F32, Type::F64, Type::V128]);
        let (one, other) = (self.local(ty), self.local(ty));
        self.op(I::LocalGet(one));
        self.op(I::LocalGet(other));
        self.op(I::LocalSet(one));
        self.op(I::LocalSet(other));
    }

    /// A loop that runs a few times, as long as the budget lasts.
    fn turns(&mut self, depth: u32) {
        let counter = self.counter();
        let turns = i32::try_from(self.rng.below(4)).unwrap_or(0);
        let first = self.chance(2);
        self.op(I::I32Const(turns));
        self.op(I::LocalSet(counter));
        if first {
            self.op(I::Block(BlockType::Empty));
            self.op(I::LocalGet(counter));
            self.op(I::I32Eqz);
            self.op(I::BrIf(0));
            self.labels.push(Some(Vec::new()));
        }
        self.nested += 1;
        self.op(I::Loop(BlockType::Empty));
        self.labels.push(None);
        self.statements(depth - 1);
        self.again(counter);
        self.labels.pop();
        self.op(I::End);
        self.nested -= 1;
        if first {
            self.labels.pop();
            self.op(I::End);
        }
    }

    /// Branches to the innermost label while a counter and the budget last.
    fn again(&mut self, counter: u32) {
        self.op(I::GlobalGet(BUDGET));
        self.op(I::I32Const(1));
        self.op(I::I32Sub);
        self.op(I::GlobalSet(BUDGET));
        self.op(I::LocalGet(counter));
        self.op(I::I32Const(1));
        self.op(I::I32Sub);
        self.op(I::LocalTee(counter));
        self.op(I::I32Const(0));
        self.op(I::I32GtS);
        self.op(I::GlobalGet(BUDGET));
        self.op(I::I32Const(0));
        self.op(I::I32GtS);
        self.op(I::I32And);
        self.op(I::BrIf(0));
    }

    /// One of several ways out of nested blocks.
    fn table(&mut self, depth: u32) {
        let ways = 2 + self.rng.below(2);
        for _ in 0..ways {
            self.op(I::Block(BlockType::Empty));
            self.labels.push(Some(Vec::new()));
        }
        self.statements(depth - 1);
        self.expression(Type::I32, 1);
        let targets: Vec<u32> = (0..3).map(|_| self.below(ways)).collect();
        let default = self.below(ways);
        self.op(I::BrTable(targets.into(), default));
        for _ in 0..ways {
            self.labels.pop();
            self.op(I::End);
            self.statements(depth - 1);
        }
    }

    /// Leaves the function, or a block with values, from within.
    fn leave(&mut self, depth: u32) {
        let labels: Vec<usize> = (0..self.labels.len()).filter(|&at| self.labels[at].is_some()).collect();
        let at = self.rng.pick(&labels);
        let results = self.labels[at].clone().unwrap_or_default();
        let way = u32::try_from(self.labels.len() - 1 - at).unwrap_or(u32::MAX);
        self.condition(1);
        self.op(I::I32Eqz);
        self.expression(Type::I32, 0);
        self.op(I::I32Const(3));
        self.op(I::I32And);
        self.op(I::I32Eqz);
        self.op(I::I32And);
        self.op(I::If(BlockType::Empty));
        self.labels.push(Some(Vec::new()));
        for ty in results {
            self.expression(ty, depth - 1);
        }
        if at == 0 && self.chance(2) {
            self.op(I::Return);
        } else {
            self.op(I::Br(way + 1));
        }
        self.labels.pop();
        self.op(I::End);
    }

    /// Code that is never reached.
    fn never(&mut self, depth: u32) {
        self.op(I::Block(BlockType::Empty));
        self.labels.push(Some(Vec::new()));
        self.statements(depth - 1);
        self.op(I::Br(0));
        match self.rng.below(3) {
            0 => {
                // Operands out of nowhere.
                self.op(I::F64Add);
                self.op(I::F32DemoteF64);
                let local = self.local(Type::F32);
                self.op(I::LocalTee(local));
                self.op(I::Drop);
            }
            1 => {
                self.op(I::Loop(BlockType::Empty));
                self.labels.push(None);
                self.statements(depth - 1);
                self.op(I::Br(0));
                self.labels.pop();
                self.op(I::End);
            }
            _ => self.statements(depth - 1),
        }
        self.labels.pop();
        self.op(I::End);
    }

    // Expressions.

    fn below(&mut self, end: u64) -> u32 {
        u32::try_from(self.rng.below(end)).unwrap_or(0)
    }

    fn lane(&mut self, lanes: u64) -> u8 {
        u8::try_from(self.rng.below(lanes)).unwrap_or(0)
    }

    fn expression(&mut self, ty: Type, depth: u32) {
        if depth == 0 || self.left <= 0 || self.chance(6) {
            return self.leaf(ty);
        }
        let depth = depth - 1;
        match self.rng.below(40) {
            0 | 1 => {
                let local = self.local(ty);
                self.expression(ty, depth);
                self.op(I::LocalTee(local));
            }
            2 | 3 => {
                self.expression(ty, depth);
                self.expression(ty, depth);
                self.condition(depth.min(1));
                self.op(I::Select);
            }
            4 => {
                let block = self.block(&[], &[ty]);
                self.condition(depth.min(1));
                self.op(I::If(block));
                self.labels.push(Some(vec![ty]));
                self.expression(ty, depth);
                self.op(I::Else);
                self.expression(ty, depth);
                self.labels.pop();
                self.op(I::End);
            }
            5 => self.early(ty, depth),
            6 => self.ways(ty, depth),
            7 => self.carried(ty, depth),
            8 => self.pair(ty, depth),
            9 => self.call(ty, depth),
            10 => self.beyond(ty, depth),
            _ => match ty {
                Type::F32 => self.f32(depth),
                Type::F64 => self.f64(depth),
                Type::V128 => self.v128(depth),
                Type::I32 => self.i32(depth),
                Type::I64 => self.i64(depth),
            },
        }
    }

    fn leaf(&mut self, ty: Type) {
        match self.rng.below(8) {
            0 | 1 => {
                let constant = match self.constant(ty) {
                    Value::I32(bits) => I::I32Const(bits.cast_signed()),
                    Value::I64(bits) => I::I64Const(bits.cast_signed()),
                    Value::F32(bits) => I::F32Const(Ieee32::new(bits)),
                    Value::F64(bits) => I::F64Const(Ieee64::new(bits)),
                    Value::V128(bits) => I::V128Const(bits.cast_signed()),
                };
                self.op(constant);
            }
            2 => {
                let global = self.global(ty);
                self.op(I::GlobalGet(global));
            }
            3 => {
                self.address(0);
                let memarg = self.memarg();
                let load = match ty {
                    Type::I32 => I::I32Load(memarg),
                    Type::I64 => I::I64Load(memarg),
                    Type::F32 => I::F32Load(memarg),
                    Type::F64 => I::F64Load(memarg),
                    Type::V128 => match self.rng.below(6) {
                        0 => I::V128Load32Splat(memarg),
                        1 => I::V128Load64Splat(memarg),
                        2 => I::V128Load32Zero(memarg),
                        3 => I::V128Load64Zero(memarg),
                        _ => I::V128Load(memarg),
                    },
                };
                self.op(load);
            }
            _ => {
                let local = self.local(ty);
                self.op(I::LocalGet(local));
            }
        }
    }

    /// A value of a type; a float is as likely as not a NaN, or makes one with another.
    fn constant(&mut self, ty: Type) -> Value {
        let wide = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        let quarter = |exponent: u128| wide & !(exponent) | exponent;
        match (ty, self.rng.below(4)) {
            (Type::F32, 0) => Value::of(ty, quarter(0x7f80_0000)),
            (Type::F64, 0) => Value::of(ty, quarter(0x7ff0_0000_0000_0000)),
            (Type::V128, 0) => Value::of(ty, quarter(0x7f80_0000_7f80_0000_7f80_0000_7f80_0000)),
            (Type::F32, 1) => Value::F32(self.rng.pick(&[0x7f80_0000, 0xff80_0000, 0, 0x7fa0_0000])),
            (Type::F64, 1) => Value::F64(self.rng.pick(&[0x7ff0, 0xfff0, 0, 0x7ff4]) << 48),
            _ => Value::some(ty, self.rng),
        }
    }

    /// A block that a value leaves early.
    fn early(&mut self, ty: Type, depth: u32) {
        let block = self.block(&[], &[ty]);
        self.op(I::Block(block));
        self.labels.push(Some(vec![ty]));
        self.expression(ty, depth);
        self.condition(depth.min(1));
        self.op(I::BrIf(0));
        if self.chance(2) {
            // It goes on with the value that did not leave.
            let local = self.local(ty);
            self.op(I::LocalSet(local));
            self.statement(depth);
            self.expression(ty, depth);
        }
        self.labels.pop();
        self.op(I::End);
    }

    /// A value that leaves one of two blocks.
    fn ways(&mut self, ty: Type, depth: u32) {
        let block = self.block(&[], &[ty]);
        for _ in 0..2 {
            self.op(I::Block(block));
            self.labels.push(Some(vec![ty]));
        }
        self.expression(ty, depth);
        self.expression(Type::I32, depth.min(1));
        let targets: Vec<u32> = (0..2).map(|_| self.below(2)).collect();
        let default = self.below(2);
        self.op(I::BrTable(targets.into(), default));
        self.labels.pop();
        self.op(I::End);
        if self.chance(2) {
            let local = self.local(ty);
            self.op(I::LocalSet(local));
            self.expression(ty, depth);
        }
        self.labels.pop();
        self.op(I::End);
    }

    /// A loop that carries a value on the stack.
    fn carried(&mut self, ty: Type, depth: u32) {
        let counter = self.counter();
        let turns = i32::try_from(self.rng.below(4)).unwrap_or(0);
        self.op(I::I32Const(turns));
        self.op(I::LocalSet(counter));
        self.expression(ty, depth);
        let block = self.block(&[ty], &[ty]);
        self.op(I::Loop(block));
        self.labels.push(None);
        self.nested += 1;
        let local = self.local(ty);
        self.op(I::LocalSet(local));
        self.statement(depth);
        self.expression(ty, depth);
        self.again(counter);
        self.nested -= 1;
        self.labels.pop();
        self.op(I::End);
    }

    /// A block of two results.
    fn pair(&mut self, ty: Type, depth: u32) {
        let other = some_type(self.rng);
        let block = self.block(&[], &[ty, other]);
        self.op(I::Block(block));
        self.labels.push(Some(vec![ty, other]));
        if self.chance(2) {
            self.expression(ty, depth);
            self.expression(other, depth);
            self.condition(0);
            self.op(I::BrIf(0));
            self.op(I::Drop);
            self.op(I::Drop);
        }
        self.expression(ty, depth);
        self.expression(other, depth);
        self.labels.pop();
        self.op(I::End);
        let local = self.local(other);
        self.op(I::LocalSet(local));
    }

    /// A value that may leave an outer block on the way.
    fn beyond(&mut self, ty: Type, depth: u32) {
        self.expression(ty, depth);
        let to: Vec<usize> = (0..self.labels.len())
            .filter(|&at| self.labels[at].as_ref().is_some_and(|takes| takes.as_slice() == [ty]))
            .collect();
        if to.is_empty() {
            return;
        }
        let at = self.rng.pick(&to);
        self.condition(depth.min(1));
        self.op(I::BrIf(u32::try_from(self.labels.len() - 1 - at).unwrap_or(u32::MAX)));
    }

    /// A call of a function before this one whose first result is of the type.
    fn call(&mut self, ty: Type, depth: u32) {
        let before = self.signatures.len() - 1;
        let of: Vec<usize> = (0..before).filter(|&index| self.signatures[index].results[0] == ty).collect();
        if of.is_empty() || self.calls >= 4 || self.nested > 1 {
            return self.leaf(ty);
        }
        self.calls += 1;
        let index = self.rng.pick(&of);
        let signature = &self.signatures[index];
        for &param in &signature.params {
            self.expression(param, depth.min(1));
        }
        let function = u32::try_from(index).unwrap_or(u32::MAX);
        if self.chance(2) {
            self.op(I::Call(function));
        } else {
            let type_index = self.types.index(&signature.params, &signature.results);
            self.op(I::I32Const(function.cast_signed()));
            self.op(I::CallIndirect { type_index, table_index: 0 });
        }
        for &result in signature.results[1..].iter().rev() {
            let local = self.local(result);
            self.op(I::LocalSet(local));
        }
    }

    fn one(&mut self, ty: Type, depth: u32, of: &[I<'static>]) {
        self.expression(ty, depth);
        let at = self.rng.index(of.len());
        self.op(of[at].clone());
    }

    fn two(&mut self, ty: Type, depth: u32, of: &[I<'static>]) {
        self.expression(ty, depth);
        self.one(ty, depth, of);
    }

    fn f32(&mut self, depth: u32) {
        match self.rng.below(20) {
            0..8 => {
                self.two(Type::F32, depth, &[I::F32Add, I::F32Sub, I::F32Mul, I::F32Div, I::F32Min, I::F32Max]);
            }
            8..10 => self.one(Type::F32, depth, &[I::F32Sqrt, I::F32Ceil, I::F32Floor, I::F32Trunc, I::F32Nearest]),
            10..12 => self.one(Type::F32, depth, &[I::F32Neg, I::F32Abs]),
            12 => self.two(Type::F32, depth, &[I::F32Copysign]),
            13..15 => self.one(Type::F64, depth, &[I::F32DemoteF64]),
            15 => self.one(Type::I32, depth, &[I::F32ReinterpretI32]),
            16 => self.one(Type::I32, depth, &[I::F32ConvertI32S, I::F32ConvertI32U]),
            17 => self.one(Type::I64, depth, &[I::F32ConvertI64S, I::F32ConvertI64U]),
            _ => {
                let lane = self.lane(4);
                self.one(Type::V128, depth, &[I::F32x4ExtractLane(lane)]);
            }
        }
    }

    fn f64(&mut self, depth: u32) {
        match self.rng.below(20) {
            0..8 => {
                self.two(Type::F64, depth, &[I::F64Add, I::F64Sub, I::F64Mul, I::F64Div, I::F64Min, I::F64Max]);
            }
            8..10 => self.one(Type::F64, depth, &[I::F64Sqrt, I::F64Ceil, I::F64Floor, I::F64Trunc, I::F64Nearest]),
            10..12 => self.one(Type::F64, depth, &[I::F64Neg, I::F64Abs]),
            12 => self.two(Type::F64, depth, &[I::F64Copysign]),
            13..15 => self.one(Type::F32, depth, &[I::F64PromoteF32]),
            15 => self.one(Type::I64, depth, &[I::F64ReinterpretI64]),
            16 => self.one(Type::I32, depth, &[I::F64ConvertI32S, I::F64ConvertI32U]),
            17 => self.one(Type::I64, depth, &[I::F64ConvertI64S, I::F64ConvertI64U]),
            _ => {
                let lane = self.lane(2);
                self.one(Type::V128, depth, &[I::F64x2ExtractLane(lane)]);
            }
        }
    }

    fn v128(&mut self, depth: u32) {
        let ty = Type::V128;
        match self.rng.below(32) {
            0..6 => {
                self.two(ty, depth, &[I::F32x4Add, I::F32x4Sub, I::F32x4Mul, I::F32x4Div, I::F32x4Min, I::F32x4Max])
            }
            6..11 => {
                self.two(ty, depth, &[I::F64x2Add, I::F64x2Sub, I::F64x2Mul, I::F64x2Div, I::F64x2Min, I::F64x2Max])
            }
            11 => self.two(ty, depth, &[I::F32x4PMin, I::F32x4PMax, I::F64x2PMin, I::F64x2PMax]),
            12 => self.one(ty, depth, &[I::F32x4Sqrt, I::F32x4Ceil, I::F32x4Floor, I::F32x4Trunc, I::F32x4Nearest]),
            13 => self.one(ty, depth, &[I::F64x2Sqrt, I::F64x2Ceil, I::F64x2Floor, I::F64x2Trunc, I::F64x2Nearest]),
            14 => self.one(ty, depth, &[I::F32x4Neg, I::F32x4Abs, I::F64x2Neg, I::F64x2Abs]),
            15 => self.one(ty, depth, &[I::F32x4DemoteF64x2Zero, I::F64x2PromoteLowF32x4]),
            16 => self.one(Type::F32, depth, &[I::F32x4Splat]),
            17 => self.one(Type::F64, depth, &[I::F64x2Splat]),
            18..20 => {
                self.expression(ty, depth);
                let lane = self.lane(4);
                self.one(Type::F32, depth, &[I::F32x4ReplaceLane(lane)]);
            }
            20 => {
                self.expression(ty, depth);
                let lane = self.lane(2);
                self.one(Type::F64, depth, &[I::F64x2ReplaceLane(lane)]);
            }
            21 => {
                self.expression(ty, depth);
                let (lane, half) = (self.lane(4), self.lane(2));
                if self.chance(2) {
                    self.one(Type::I32, depth, &[I::I32x4ReplaceLane(lane)]);
                } else {
                    self.one(Type::I64, depth, &[I::I64x2ReplaceLane(half)]);
                }
            }
            22 => {
                self.address(depth);
                self.expression(ty, depth);
                let memarg = self.memarg();
                let load = match self.rng.below(3) {
                    0 => I::V128Load32Lane { memarg, lane: self.lane(4) },
                    1 => I::V128Load64Lane { memarg, lane: self.lane(2) },
                    _ => I::V128Load8Lane { memarg, lane: self.lane(16) },
                };
                self.op(load);
            }
            23..25 => {
                let lanes = self.shuffle();
                self.two(ty, depth, &[I::I8x16Shuffle(lanes)]);
            }
            25 => {
                self.expression(ty, depth);
                self.two(ty, depth, &[I::V128Bitselect]);
            }
            26 => self.two(ty, depth, &[I::V128And, I::V128Or, I::V128Xor, I::V128AndNot, I::I8x16Swizzle]),
            27 => self.two(ty, depth, &[I::I32x4Add, I::I64x2Sub, I::I16x8MinS, I::I8x16NarrowI16x8U]),
            28 => self.two(ty, depth, &[I::F32x4Eq, I::F32x4Lt, I::F64x2Ne, I::F64x2Ge, I::I32x4GtS]),
            29 => self.one(ty, depth, &[I::V128Not, I::I32x4Abs, I::I64x2Neg, I::I8x16Popcnt]),
            30 => self.one(
                ty,
                depth,
                &[I::F32x4ConvertI32x4S, I::F32x4ConvertI32x4U, I::F64x2ConvertLowI32x4S, I::F64x2ConvertLowI32x4U],
            ),
            _ => self.one(
                ty,
                depth,
                &[
                    I::I32x4TruncSatF32x4S,
                    I::I32x4TruncSatF32x4U,
                    I::I32x4TruncSatF64x2SZero,
                    I::I32x4TruncSatF64x2UZero,
                ],
            ),
        }
    }

    /// Lanes of a shuffle: whole ones of 32 or 64 bits, or any bytes.
    fn shuffle(&mut self) -> [u8; 16] {
        let size = self.rng.pick(&[4_usize, 4, 8, 1]);
        let mut lanes = [0; 16];
        for chunk in lanes.chunks_mut(size) {
            let first = self.rng.index(32 / size) * size;
            for (offset, lane) in chunk.iter_mut().enumerate() {
                *lane = u8::try_from(first + offset).unwrap_or(0);
            }
        }
        lanes
    }

    fn i32(&mut self, depth: u32) {
        match self.rng.below(10) {
            0 => self.one(Type::F32, depth, &[I::I32ReinterpretF32]),
            1 => self.two(Type::F32, depth, &[I::F32Lt, I::F32Eq, I::F32Ne, I::F32Ge]),
            2 => self.two(Type::F64, depth, &[I::F64Lt, I::F64Eq, I::F64Ne, I::F64Ge]),
            3 => self.one(Type::F32, depth, &[I::I32TruncSatF32S, I::I32TruncSatF32U]),
            4 => self.one(Type::F64, depth, &[I::I32TruncSatF64S, I::I32TruncSatF64U]),
            5 => self.two(Type::I32, depth, &[I::I32Add, I::I32Xor, I::I32And, I::I32Shl]),
            6 => {
                let (lane, byte) = (self.lane(4), self.lane(16));
                self.one(Type::V128, depth, &[I::I32x4ExtractLane(lane), I::I8x16ExtractLaneU(byte)]);
            }
            7 => self.one(
                Type::V128,
                depth,
                &[I::I32x4Bitmask, I::V128AnyTrue, I::I32x4AllTrue, I::I8x16Bitmask, I::I64x2AllTrue],
            ),
            8 => self.one(Type::I64, depth, &[I::I32WrapI64]),
            _ => self.one(Type::I32, depth, &[I::I32Eqz, I::I32Extend8S, I::I32Popcnt]),
        }
    }

    fn i64(&mut self, depth: u32) {
        match self.rng.below(6) {
            0 | 1 => self.one(Type::F64, depth, &[I::I64ReinterpretF64]),
            2 => self.one(Type::F32, depth, &[I::I64TruncSatF32S, I::I64TruncSatF32U]),
            3 => self.two(Type::I64, depth, &[I::I64Add, I::I64Xor, I::I64ShrU]),
            4 => {
                let lane = self.lane(2);
                self.one(Type::V128, depth, &[I::I64x2ExtractLane(lane)]);
            }
            _ => self.one(Type::I32, depth, &[I::I64ExtendI32S, I::I64ExtendI32U]),
        }
    }
}
