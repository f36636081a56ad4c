//! Modules that end: structured programs with every shape of control flow, calls, loops that count, and few traps.
//!
//! wasm-smith finds what nobody thought of; most of its programs trap or run for ever. These return, so that the fuel of
//! whole executions can be compared, and they have what segments are about: branches out of several levels, `br_table`,
//! returns from within, arms that trap, joins after all of these.

use crate::{rng::Rng, value::Type};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, Ieee32, Ieee64, ImportSection, Instruction as I, MemArg, MemorySection,
    MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

/// Names of the imports: a note, and a small number.
const IMPORTS: u32 = 2;
/// Bytes of memory that programs use.
const MEMORY: u64 = 1 << 16;

/// How large a program is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Functions, at most.
    pub functions: usize,
    /// Statements of a body, at most.
    pub statements: u32,
    /// Times that a loop goes round, at most.
    pub rounds: u64,
}

impl Size {
    /// A few dozen instructions.
    pub const SMALL: Self = Self { functions: 2, statements: 5, rounds: 2 };
    /// Some hundreds.
    pub const MIDDLE: Self = Self { functions: 6, statements: 14, rounds: 5 };
}

const TYPES: [Type; 5] = [Type::I32, Type::I64, Type::F32, Type::F64, Type::V128];

const fn val(ty: Type) -> ValType {
    match ty {
        Type::I32 => ValType::I32,
        Type::I64 => ValType::I64,
        Type::F32 => ValType::F32,
        Type::F64 => ValType::F64,
        Type::V128 => ValType::V128,
    }
}

struct Signature {
    params: Vec<Type>,
    results: Vec<Type>,
}

/// The program of a seed. Its functions are exported as `f0`, `f1` and so on.
#[must_use]
pub fn module(seed: u64, size: Size) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ 0x9706);
    let count = 1 + rng.index(size.functions);
    let some_types =
        |rng: &mut Rng, most: u64| -> Vec<Type> { (0..rng.below(most)).map(|_| rng.pick(&TYPES)).collect() };
    let signatures: Vec<Signature> = (0..count)
        .map(|_| {
            let mut params = vec![Type::I32];
            params.extend(some_types(&mut rng, 4));
            Signature { params, results: some_types(&mut rng, 3) }
        })
        .collect();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut functions = FunctionSection::new();
    for (index, signature) in (IMPORTS..).zip(&signatures) {
        types.ty().function(signature.params.iter().copied().map(val), signature.results.iter().copied().map(val));
        functions.function(index);
    }
    let mut next_type = IMPORTS + small(count);
    let mut code = CodeSection::new();
    let mut more_types = Vec::new();
    for index in 0..count {
        let mut body = Body::new(&mut rng, &signatures, index, size, next_type, &mut more_types);
        body.write();
        let (locals, instructions) = (body.locals[signatures[index].params.len()..].to_vec(), body.code);
        let mut function = Function::new_with_locals_types(locals.into_iter().map(val));
        for instruction in &instructions {
            function.instruction(instruction);
        }
        code.function(&function);
        next_type = IMPORTS + small(count) + small(more_types.len());
    }
    for (params, results) in &more_types {
        types.ty().function(params.iter().copied().map(val), results.iter().copied().map(val));
    }
    let mut imports = ImportSection::new();
    imports.import("env", "note", EntityType::Function(0)).import("env", "small", EntityType::Function(1));
    let mut tables = TableSection::new();
    let size = small(count) + 1;
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: size.into(),
        maximum: Some(size.into()),
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: Some(8), memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    for ty in TYPES {
        let zero = match ty {
            Type::I32 => ConstExpr::i32_const(3),
            Type::I64 => ConstExpr::i64_const(5),
            Type::F32 => ConstExpr::f32_const(Ieee32::new(0x3f80_0000)),
            Type::F64 => ConstExpr::f64_const(Ieee64::new(0)),
            Type::V128 => ConstExpr::v128_const(7),
        };
        globals.global(GlobalType { val_type: val(ty), mutable: true, shared: false }, &zero);
    }
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    for index in 0..count {
        exports.export(&format!("f{index}"), ExportKind::Func, IMPORTS + small(index));
    }
    let mut elements = ElementSection::new();
    let held: Vec<u32> = (0..count).map(|index| IMPORTS + small(index)).collect();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(held.into()));
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
    module.section(&globals).section(&exports).section(&elements).section(&code);
    module.finish()
}

fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// A place that a branch can go to, and the values that it takes there.
#[derive(Clone)]
struct Label {
    carries: Vec<Type>,
    open: bool,
}

struct Body<'g> {
    rng: &'g mut Rng,
    signatures: &'g [Signature],
    index: usize,
    size: Size,
    first_type: u32,
    types: &'g mut Vec<(Vec<Type>, Vec<Type>)>,
    types_before: usize,
    locals: Vec<Type>,
    labels: Vec<Label>,
    code: Vec<I<'static>>,
    calls: u32,
    loops: u32,
    /// Locals that count loops.
    hidden: Vec<u32>,
}

impl<'g> Body<'g> {
    fn new(
        rng: &'g mut Rng,
        signatures: &'g [Signature],
        index: usize,
        size: Size,
        first_type: u32,
        types: &'g mut Vec<(Vec<Type>, Vec<Type>)>,
    ) -> Self {
        let mut locals = signatures[index].params.clone();
        locals.extend(TYPES);
        locals.extend((0..rng.below(4)).map(|_| rng.pick(&TYPES)));
        let types_before = types.len();
        Self {
            rng,
            signatures,
            index,
            size,
            first_type,
            types,
            types_before,
            locals,
            labels: Vec::new(),
            code: Vec::new(),
            calls: 3,
            loops: 0,
            hidden: Vec::new(),
        }
    }

    fn write(&mut self) {
        // The first parameter bounds a recursion.
        self.put(I::LocalGet(0)).put(I::I32Const(7)).put(I::I32And).put(I::LocalSet(0));
        let results = self.signatures[self.index].results.clone();
        self.labels.push(Label { carries: results.clone(), open: true });
        let statements = 1 + self.rng.below(self.size.statements.into());
        for _ in 0..statements {
            self.statement(3);
        }
        for &ty in &results {
            self.expression(ty, 2);
        }
        self.put(I::End);
    }

    fn put(&mut self, instruction: I<'static>) -> &mut Self {
        self.code.push(instruction);
        self
    }

    fn one_of(&mut self, of: &[I<'static>]) -> I<'static> {
        of[self.rng.index(of.len())].clone()
    }

    fn block_type(&mut self, params: &[Type], results: &[Type]) -> BlockType {
        match (params, results) {
            ([], []) => BlockType::Empty,
            ([], [one]) => BlockType::Result(val(*one)),
            _ => {
                self.types.push((params.to_vec(), results.to_vec()));
                BlockType::FunctionType(self.first_type + small(self.types.len() - 1 - self.types_before))
            }
        }
    }

    fn local(&mut self, ty: Type) -> Option<u32> {
        let free = |local: usize| !self.hidden.contains(&small(local));
        let of: Vec<usize> = (0..self.locals.len()).filter(|&local| self.locals[local] == ty && free(local)).collect();
        (!of.is_empty()).then(|| small(of[self.rng.index(of.len())]))
    }

    /// A local that nothing else writes.
    fn fresh(&mut self, ty: Type) -> u32 {
        self.locals.push(ty);
        small(self.locals.len() - 1)
    }

    fn statements(&mut self, depth: u32) {
        for _ in 0..=self.rng.below(2) {
            self.statement(depth);
        }
    }

    fn enter(&mut self, instruction: I<'static>, carries: Vec<Type>, open: bool) {
        self.put(instruction);
        self.labels.push(Label { carries, open });
    }

    fn leave(&mut self) {
        self.labels.pop();
        self.put(I::End);
    }

    /// Some label that a branch may go to, and how far out it is.
    fn some_label(&mut self) -> (u32, Vec<Type>) {
        let open: Vec<usize> = (0..self.labels.len()).filter(|&label| self.labels[label].open).collect();
        let label = open[self.rng.index(open.len())];
        (small(self.labels.len() - 1 - label), self.labels[label].carries.clone())
    }

    fn statement(&mut self, depth: u32) {
        let kinds = if depth == 0 { 6 } else { 17 };
        match self.rng.below(kinds) {
            0 | 1 => {
                let ty = self.rng.pick(&TYPES);
                self.expression(ty, 2);
                match self.local(ty) {
                    Some(local) if local != 0 => self.put(I::LocalSet(local)),
                    _ => self.put(I::Drop),
                };
            }
            2 => self.store(),
            3 => {
                let global = self.rng.index(TYPES.len());
                self.expression(TYPES[global], 2);
                self.put(I::GlobalSet(small(global)));
            }
            4 => self.call(None),
            5 => self.bulk(),
            6 => {
                self.condition();
                self.enter(I::If(BlockType::Empty), Vec::new(), true);
                self.statements(depth - 1);
                if self.rng.one_in(2) {
                    self.put(I::Else);
                    self.statements(depth - 1);
                }
                self.leave();
            }
            7 | 8 => {
                self.enter(I::Block(BlockType::Empty), Vec::new(), true);
                self.statements(depth - 1);
                self.branch_if();
                self.statements(depth - 1);
                self.leave();
            }
            9 | 10 => self.count(depth),
            11 => self.table(depth),
            12 => {
                // An arm that leaves the function.
                self.condition();
                self.enter(I::If(BlockType::Empty), Vec::new(), true);
                for ty in self.signatures[self.index].results.clone() {
                    self.expression(ty, 1);
                }
                self.put(I::Return);
                self.leave();
            }
            13 => {
                // A check that panics: rare, and it goes out of several levels.
                self.enter(I::Block(BlockType::Empty), Vec::new(), true);
                self.enter(I::Block(BlockType::Empty), Vec::new(), false);
                self.statements(depth - 1);
                self.expression(Type::I32, 1);
                self.put(I::I32Const(0x1234_5678)).put(I::I32Eq).put(I::BrIf(0));
                self.statements(depth - 1);
                self.put(I::Br(1));
                self.leave();
                self.store();
                self.put(I::Unreachable);
                self.leave();
            }
            14 => self.branch_if(),
            15 => {
                // What follows a branch is never executed.
                self.condition();
                self.enter(I::If(BlockType::Empty), Vec::new(), true);
                let (out, carries) = self.some_label();
                for ty in carries {
                    self.expression(ty, 1);
                }
                self.put(I::Br(out));
                self.statements(depth - 1);
                self.leave();
            }
            _ => {
                let ty = self.rng.pick(&TYPES);
                self.expression(ty, 3);
                self.put(I::Drop);
            }
        }
    }

    fn branch_if(&mut self) {
        let (out, carries) = self.some_label();
        for &ty in &carries {
            self.expression(ty, 1);
        }
        self.condition();
        self.put(I::BrIf(out));
        for _ in carries {
            self.put(I::Drop);
        }
    }

    fn condition(&mut self) {
        self.expression(Type::I32, 2);
        let mask = self.rng.pick(&[1, 3, 7]);
        self.put(I::I32Const(mask)).put(I::I32And);
        if self.rng.one_in(2) {
            self.put(I::I32Eqz);
        }
    }

    /// A loop that goes round a bounded number of times, tested at its head or at its foot.
    fn count(&mut self, depth: u32) {
        if self.loops >= 2 {
            return self.statement(0);
        }
        self.loops += 1;
        let rounds = i32::try_from(1 + self.rng.below(self.size.rounds)).unwrap_or(1);
        // Only this code may write it.
        let hidden = self.fresh(Type::I32);
        self.hidden.push(hidden);
        self.put(I::I32Const(0)).put(I::LocalSet(hidden));
        let step = |body: &mut Self| {
            body.put(I::LocalGet(hidden)).put(I::I32Const(1)).put(I::I32Add).put(I::LocalTee(hidden));
            body.put(I::I32Const(rounds));
        };
        if self.rng.one_in(2) {
            self.enter(I::Block(BlockType::Empty), Vec::new(), true);
            self.enter(I::Loop(BlockType::Empty), Vec::new(), true);
            step(self);
            self.put(I::I32GtU).put(I::BrIf(1));
            self.statements(depth - 1);
            self.put(I::Br(0));
            self.leave();
            self.leave();
        } else {
            self.enter(I::Loop(BlockType::Empty), Vec::new(), false);
            self.statements(depth - 1);
            step(self);
            self.put(I::I32LtU).put(I::BrIf(0));
            self.leave();
        }
        self.loops -= 1;
    }

    fn table(&mut self, depth: u32) {
        let ways = 2 + self.rng.index(3);
        for _ in 0..ways {
            self.enter(I::Block(BlockType::Empty), Vec::new(), true);
        }
        self.expression(Type::I32, 1);
        self.put(I::I32Const(7)).put(I::I32And);
        let targets: Vec<u32> = (0..self.rng.below(6)).map(|_| small(self.rng.index(ways))).collect();
        let default = small(self.rng.index(ways));
        self.put(I::BrTable(targets.into(), default));
        for _ in 0..ways {
            self.leave();
            self.statements(depth - 1);
        }
    }

    fn store(&mut self) {
        self.address();
        let ty = self.rng.pick(&TYPES);
        self.expression(ty, 2);
        let at = |align| MemArg { offset: 8, align, memory_index: 0 };
        let instruction = match (ty, self.rng.below(3)) {
            (Type::I32, 0) => I::I32Store8(at(0)),
            (Type::I32, _) => I::I32Store(at(2)),
            (Type::I64, 0) => I::I64Store32(at(2)),
            (Type::I64, _) => I::I64Store(at(3)),
            (Type::F32, _) => I::F32Store(at(2)),
            (Type::F64, _) => I::F64Store(at(3)),
            (Type::V128, _) => I::V128Store(at(4)),
        };
        self.put(instruction);
    }

    /// An address at which any access is inside memory.
    fn address(&mut self) {
        self.expression(Type::I32, 1);
        self.put(I::I32Const(0x7fff)).put(I::I32And);
    }

    fn bulk(&mut self) {
        match self.rng.below(4) {
            0 => {
                self.address();
                self.expression(Type::I32, 1);
                self.length();
                self.put(I::MemoryFill(0));
            }
            1 => {
                self.address();
                self.address();
                self.length();
                self.put(I::MemoryCopy { src_mem: 0, dst_mem: 0 });
            }
            2 => {
                let pages = self.rng.pick(&[0, 1, 1, 9]);
                self.put(I::I32Const(pages)).put(I::MemoryGrow(0)).put(I::Drop);
            }
            _ => {
                self.put(I::MemorySize(0)).put(I::Call(0));
            }
        }
    }

    /// A constant length, or one that is known when it is executed.
    fn length(&mut self) {
        if self.rng.one_in(2) {
            let length = self.rng.pick(&[0, 5, 100, 1024, 1025, 9_000]);
            self.put(I::I32Const(length));
        } else {
            self.expression(Type::I32, 1);
            self.put(I::I32Const(0x3fff)).put(I::I32And);
        }
    }

    /// A call whose results go, but for one of type `wanted`.
    fn call(&mut self, wanted: Option<Type>) {
        if self.calls == 0 || self.loops > 1 {
            match wanted {
                Some(ty) => self.constant(ty),
                None => {
                    self.expression(Type::I32, 0);
                    self.put(I::Call(0));
                }
            }
            return;
        }
        self.calls -= 1;
        let callee = self.rng.index(self.index + 1);
        let (params, results) = (self.signatures[callee].params.clone(), self.signatures[callee].results.clone());
        let recursive = callee == self.index;
        if recursive {
            // Only while the first parameter is not yet 0, and not in a loop.
            if self.loops > 0 {
                return match wanted {
                    Some(ty) => self.constant(ty),
                    None => {
                        self.put(I::Nop);
                    }
                };
            }
            let results = wanted.map_or(BlockType::Empty, |ty| BlockType::Result(val(ty)));
            self.put(I::LocalGet(0));
            self.enter(I::If(results), wanted.into_iter().collect(), true);
        }
        for (at, &ty) in params.iter().enumerate() {
            if at == 0 && recursive {
                self.put(I::LocalGet(0)).put(I::I32Const(1)).put(I::I32Sub);
            } else {
                self.expression(ty, 1);
            }
        }
        if self.rng.one_in(3) {
            self.put(I::I32Const(callee.try_into().unwrap_or(0)));
            self.put(I::CallIndirect { type_index: IMPORTS + small(callee), table_index: 0 });
        } else {
            self.put(I::Call(IMPORTS + small(callee)));
        }
        for _ in results {
            self.put(I::Drop);
        }
        if let Some(ty) = wanted {
            self.expression(ty, 0);
        }
        if recursive {
            if let Some(ty) = wanted {
                self.put(I::Else);
                self.constant(ty);
            }
            self.leave();
        }
    }

    fn constant(&mut self, ty: Type) {
        let bits = self.rng.next_u64();
        #[expect(clippy::cast_possible_truncation, reason = "some bits of some number")]
        let instruction = match ty {
            Type::I32 => I::I32Const((bits >> self.rng.below(60)) as i32),
            Type::I64 => I::I64Const((bits >> self.rng.below(60)).cast_signed()),
            Type::F32 => I::F32Const(Ieee32::new(bits as u32)),
            Type::F64 => I::F64Const(Ieee64::new(bits)),
            Type::V128 => I::V128Const((u128::from(bits) << 64 | u128::from(self.rng.next_u64())).cast_signed()),
        };
        self.put(instruction);
    }

    fn expression(&mut self, ty: Type, depth: u32) {
        match if depth == 0 { self.rng.below(3) } else { self.rng.below(14) } {
            0 => self.constant(ty),
            1 | 2 => match self.local(ty) {
                Some(local) => {
                    self.put(I::LocalGet(local));
                }
                None => self.constant(ty),
            },
            3 => {
                let global = TYPES.iter().position(|one| *one == ty).unwrap_or(0);
                self.put(I::GlobalGet(small(global)));
            }
            4 => {
                self.expression(ty, depth - 1);
                if let Some(local) = self.local(ty).filter(|local| *local != 0) {
                    self.put(I::LocalTee(local));
                }
            }
            5 => {
                self.address();
                let at = |align| MemArg { offset: 16, align, memory_index: 0 };
                let instruction = match ty {
                    Type::I32 => self.one_of(&[I::I32Load(at(2)), I::I32Load8S(at(0)), I::I32Load16U(at(1))]),
                    Type::I64 => self.one_of(&[I::I64Load(at(3)), I::I64Load32U(at(2))]),
                    Type::F32 => I::F32Load(at(2)),
                    Type::F64 => I::F64Load(at(3)),
                    Type::V128 => self.one_of(&[I::V128Load(at(4)), I::V128Load32Splat(at(2))]),
                };
                self.put(instruction);
            }
            6 => {
                self.expression(ty, depth - 1);
                self.expression(ty, depth - 1);
                self.expression(Type::I32, depth - 1);
                self.put(I::Select);
            }
            7 => {
                self.condition();
                let block = self.block_type(&[], &[ty]);
                self.enter(I::If(block), vec![ty], true);
                self.expression(ty, depth - 1);
                self.put(I::Else);
                self.expression(ty, depth - 1);
                self.leave();
            }
            8 => {
                // A block that is left with a value.
                let block = self.block_type(&[], &[ty]);
                self.enter(I::Block(block), vec![ty], true);
                self.expression(ty, depth - 1);
                self.condition();
                self.put(I::BrIf(0)).put(I::Drop);
                self.expression(ty, depth - 1);
                self.leave();
            }
            9 => {
                // A block that takes and gives two values.
                let block = self.block_type(&[ty, Type::I32], &[Type::I32, ty]);
                self.expression(ty, depth - 1);
                self.expression(Type::I32, depth - 1);
                let (one, other) = (self.fresh(ty), self.fresh(Type::I32));
                self.enter(I::Block(block), vec![Type::I32, ty], true);
                self.put(I::LocalSet(other)).put(I::LocalSet(one)).put(I::LocalGet(other)).put(I::LocalGet(one));
                self.condition();
                self.put(I::BrIf(0));
                self.leave();
                self.put(I::LocalSet(one)).put(I::Drop).put(I::LocalGet(one));
            }
            10 => self.call(Some(ty)),
            _ => {
                let table = operators(ty);
                let (operands, instruction) = table[self.rng.index(table.len())].clone();
                for &operand in operands {
                    self.expression(operand, depth - 1);
                }
                if matches!(instruction, I::I32DivU | I::I32RemS | I::I64DivU | I::I64RemU) {
                    // Never by zero.
                    match ty {
                        Type::I64 => self.put(I::I64Const(1)).put(I::I64Or),
                        _ => self.put(I::I32Const(1)).put(I::I32Or),
                    };
                }
                self.put(instruction);
            }
        }
    }
}

/// Operators that give a type, with what they take. None traps, but for divisions, whose divisor is made odd.
fn operators(ty: Type) -> Vec<(&'static [Type], I<'static>)> {
    const I1: &[Type] = &[Type::I32];
    const I2: &[Type] = &[Type::I32, Type::I32];
    const L1: &[Type] = &[Type::I64];
    const L2: &[Type] = &[Type::I64, Type::I64];
    const F1: &[Type] = &[Type::F32];
    const F2: &[Type] = &[Type::F32, Type::F32];
    const D1: &[Type] = &[Type::F64];
    const D2: &[Type] = &[Type::F64, Type::F64];
    const V1: &[Type] = &[Type::V128];
    const V2: &[Type] = &[Type::V128, Type::V128];
    match ty {
        Type::I32 => vec![
            (I2, I::I32Add),
            (I2, I::I32Sub),
            (I2, I::I32Mul),
            (I2, I::I32DivU),
            (I2, I::I32RemS),
            (I2, I::I32Xor),
            (I2, I::I32Rotl),
            (I2, I::I32LtS),
            (I1, I::I32Popcnt),
            (I1, I::I32Eqz),
            (I1, I::I32Extend8S),
            (L1, I::I32WrapI64),
            (L2, I::I64GtU),
            (F2, I::F32Lt),
            (D2, I::F64Ge),
            (F1, I::I32TruncSatF32S),
            (F1, I::I32ReinterpretF32),
            (V1, I::I32x4ExtractLane(2)),
            (V1, I::I8x16Bitmask),
            (V1, I::V128AnyTrue),
        ],
        Type::I64 => vec![
            (L2, I::I64Add),
            (L2, I::I64Mul),
            (L2, I::I64DivU),
            (L2, I::I64RemU),
            (L2, I::I64ShrU),
            (L1, I::I64Clz),
            (I1, I::I64ExtendI32U),
            (D1, I::I64TruncSatF64U),
            (D1, I::I64ReinterpretF64),
            (V1, I::I64x2ExtractLane(1)),
        ],
        Type::F32 => vec![
            (F2, I::F32Add),
            (F2, I::F32Sub),
            (F2, I::F32Mul),
            (F2, I::F32Div),
            (F2, I::F32Min),
            (F2, I::F32Max),
            (F2, I::F32Copysign),
            (F1, I::F32Sqrt),
            (F1, I::F32Neg),
            (F1, I::F32Nearest),
            (I1, I::F32ConvertI32S),
            (D1, I::F32DemoteF64),
            (V1, I::F32x4ExtractLane(3)),
        ],
        Type::F64 => vec![
            (D2, I::F64Add),
            (D2, I::F64Mul),
            (D2, I::F64Div),
            (D2, I::F64Max),
            (D1, I::F64Sqrt),
            (D1, I::F64Abs),
            (D1, I::F64Floor),
            (F1, I::F64PromoteF32),
            (L1, I::F64ConvertI64U),
            (V1, I::F64x2ExtractLane(0)),
        ],
        Type::V128 => vec![
            (V2, I::I32x4Add),
            (V2, I::I16x8Mul),
            (V2, I::I8x16Swizzle),
            (V2, I::F32x4Mul),
            (V2, I::F32x4Min),
            (V2, I::F64x2Div),
            (V2, I::F32x4PMax),
            (V2, I::I32x4DotI16x8S),
            (V2, I::I8x16NarrowI16x8S),
            (V2, I::V128Xor),
            (V1, I::F32x4Sqrt),
            (V1, I::F64x2Nearest),
            (V1, I::F64x2PromoteLowF32x4),
            (V1, I::I32x4TruncSatF32x4U),
            (F1, I::F32x4Splat),
            (D1, I::F64x2Splat),
            (I1, I::I8x16Splat),
        ],
    }
}

const _: () = assert!(MEMORY > 0x7fff + 0x3fff + 64);
