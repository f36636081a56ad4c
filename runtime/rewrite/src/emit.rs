//! Writes one body with its charges, its stack height and its canonical floats.
//!
//! Consensus code: what it writes is hashed into the executable's id.

use crate::{
    calls::Plan,
    counted::{Bound, Counted},
    function::{Function, position},
    nan::{Point, Shape},
    op::{Code as Op, constant_length},
    segments::{Charge, Charges, Look},
};
use samebit_spec::param;
use wasm_encoder::{
    BlockType, BranchHint, Encode, Ieee32, Ieee64, Instruction, MemArg, ValType,
    reencode::{Error, Reencode, RoundtripReencoder},
};
use wasmparser::{BinaryReader, OperatorsReader};

/// NaN that arithmetic makes, as an `f32`.
const CANON32: u32 = 0x7fc0_0000;
/// NaN that arithmetic makes, as an `f64`.
const CANON64: u64 = 0x7ff8_0000_0000_0000;

/// What is written most often, as its byte.
const END: u8 = 0x0b;
const CALL: u8 = 0x10;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const I64_CONST: u8 = 0x42;
const I64_ADD: u8 = 0x7c;

/// Indices of what the rewriter adds to a module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// Global: fuel of the stretch that is not in hand.
    pub(crate) pool: u32,
    /// Global: why the guest was halted.
    pub(crate) halt: u32,
    /// Global: pages that memory may grow to.
    pub(crate) pages: u32,
    /// Memory: the flag that stops the guest.
    pub(crate) stop: u32,
    /// Function: `memory.copy` of the guest's memory.
    pub(crate) copy: u32,
    /// Function: `memory.fill`.
    pub(crate) fill: u32,
    /// Function: `memory.grow`.
    pub(crate) grow: u32,
    /// Function: takes the next chunk in hand.
    pub(crate) draw: u32,
    /// Function: what an entry does that finds no fuel in hand or no height left.
    pub(crate) enter: u32,
    /// Function: what comes before a call that only `unreachable` follows.
    pub(crate) last: u32,
    /// Added to the index of a function type: the same type with a meter.
    pub(crate) metered: u32,
}

/// Why the rewritten module executes `unreachable` of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// No fuel is left, or the host has raised the stop flag. The trap is one of any kind.
    Fuel,
    /// The stack is as high as the profile allows.
    Stack,
    /// The machine did not give memory within the limit.
    Memory,
    /// An entry ended with an exception that nobody caught.
    Exception,
}

impl Halt {
    /// The value of the global [`crate::EXPORT_HALT`].
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Fuel => -1,
            Self::Stack => 2,
            Self::Memory => 3,
            Self::Exception => 5,
        }
    }

    /// Reads that value; `None` when the guest was not halted.
    #[must_use]
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            ..=-1 => Some(Self::Fuel),
            2 => Some(Self::Stack),
            3 => Some(Self::Memory),
            5 => Some(Self::Exception),
            _ => None,
        }
    }
}

/// Instructions of a body, with the hints about their branches. One body after the other is written into the same memory.
#[derive(Debug, Default)]
pub(crate) struct Code {
    bytes: Vec<u8>,
    /// Branches of which it is known where they nearly always go.
    hints: Vec<BranchHint>,
    /// Blocks, loops and branches that are not the guest's own; those of the guest besides, once a body is begun.
    branches: u64,
    /// The two ways to look at the meter, as they were written last.
    inline: Template,
    call: Template,
}

/// How the meter is looked at, ready to be copied.
#[derive(Debug, Default)]
struct Template {
    /// The local that it is written for; of no use when `bytes` are empty.
    meter: u32,
    bytes: Vec<u8>,
    /// Where its branch is.
    hint: u32,
}

impl Code {
    /// Begins another body, which has so many blocks, loops and branches of its own, and about as many bytes as are said.
    fn begin(&mut self, branches: u64, bytes: usize) {
        self.bytes.clear();
        self.bytes.reserve(bytes);
        self.hints.clear();
        self.branches = branches;
    }

    /// Hints about the body that was finished last.
    pub(crate) fn hints(&mut self) -> impl ExactSizeIterator<Item = BranchHint> + '_ {
        self.hints.drain(..)
    }

    pub(crate) fn op(&mut self, instruction: &Instruction<'_>) -> &mut Self {
        use Instruction as I;
        let branches = matches!(instruction, I::Block(_) | I::Loop(_) | I::If(_) | I::Br(_) | I::BrIf(_));
        self.branches += u64::from(branches);
        instruction.encode(&mut self.bytes);
        self
    }

    pub(crate) fn get(&mut self, local: u32) -> &mut Self {
        self.named(LOCAL_GET, local)
    }

    pub(crate) fn set(&mut self, local: u32) -> &mut Self {
        self.named(LOCAL_SET, local)
    }

    fn call(&mut self, function: u32) -> &mut Self {
        self.named(CALL, function)
    }

    /// An instruction of one byte that names something by its index.
    fn named(&mut self, code: u8, index: u32) -> &mut Self {
        match u8::try_from(index) {
            Ok(short @ ..0x80) => self.bytes.extend_from_slice(&[code, short]),
            _ => {
                self.bytes.push(code);
                index.encode(&mut self.bytes);
            }
        }
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes.push(I64_CONST);
        value.encode(&mut self.bytes);
        self
    }

    /// The next instruction is a branch that is nearly always, or nearly never, taken.
    fn hint(&mut self, taken: bool) -> &mut Self {
        self.hints
            .push(BranchHint { branch_func_offset: position(self.bytes.len()), branch_hint_value: u32::from(taken) });
        self
    }

    /// An `if` that is nearly never entered.
    pub(crate) fn rarely(&mut self) -> &mut Self {
        self.hint(false).op(&Instruction::If(BlockType::Empty))
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.bytes.push(END);
        self
    }

    /// Leaves the guest for good.
    pub(crate) fn halt(&mut self, added: &Added, why: Halt) -> &mut Self {
        self.op(&Instruction::I32Const(why.code()))
            .op(&Instruction::GlobalSet(added.halt))
            .op(&Instruction::Unreachable)
    }

    /// Fuel in hand, as an `i64`.
    pub(crate) fn in_hand(&mut self, meter: u32) -> &mut Self {
        let shift = i64::from(63 - param::METER_FUEL_SIGN);
        self.get(meter).i64(shift).op(&Instruction::I64Shl).i64(shift).op(&Instruction::I64ShrS)
    }

    /// Changes the meter by `by`.
    pub(crate) fn adjust(&mut self, meter: u32, by: i64) -> &mut Self {
        self.get(meter).i64(by).bytes.push(I64_ADD);
        self.set(meter)
    }

    /// Takes the next chunk in hand, in any case, or leaves the guest for good.
    ///
    /// Without a branch: a compiler would lay what follows one on the hot path of the loop that this is in. The
    /// sign of the pool and the stop flag make an address, 0 or one that the memory does not have.
    pub(crate) fn draw(&mut self, meter: u32, added: &Added) -> &mut Self {
        let at = |align| MemArg { offset: 0, align, memory_index: added.stop };
        self.op(&Instruction::GlobalGet(added.pool)).i64(63).op(&Instruction::I64ShrS).op(&Instruction::I32WrapI64);
        self.op(&Instruction::I32Const(0)).op(&Instruction::I32Load(at(2))).op(&Instruction::I32Or);
        self.op(&Instruction::GlobalSet(added.halt)).op(&Instruction::GlobalGet(added.halt));
        self.op(&Instruction::I32Load8U(at(0))).op(&Instruction::Drop);
        self.op(&Instruction::GlobalGet(added.pool))
            .i64(param::FUEL_CHUNK.cast_signed())
            .op(&Instruction::I64Sub)
            .op(&Instruction::GlobalSet(added.pool));
        self.adjust(meter, param::FUEL_CHUNK.cast_signed())
    }

    /// Takes the next chunk in hand when none is left.
    pub(crate) fn look(&mut self, meter: u32, look: Look, added: &Added) -> &mut Self {
        let template = match look {
            Look::No => return self,
            Look::Inline => &self.inline,
            Look::Call => &self.call,
        };
        if template.meter == meter && !template.bytes.is_empty() {
            let begin = position(self.bytes.len());
            self.hints.push(BranchHint { branch_func_offset: begin + template.hint, branch_hint_value: 0 });
            self.bytes.extend_from_slice(&template.bytes);
            self.branches += 1;
            return self;
        }
        let begin = self.bytes.len();
        self.get(meter).op(&Instruction::I32WrapI64).op(&Instruction::I32Const(1 << param::METER_FUEL_SIGN));
        self.op(&Instruction::I32And).rarely();
        match look {
            Look::Call => self.get(meter).call(added.draw).set(meter),
            Look::Inline | Look::No => self.draw(meter, added),
        };
        self.end();
        let hint = self.hints.last().map_or(0, |hint| hint.branch_func_offset) - position(begin);
        let written = Template { meter, bytes: self.bytes[begin..].to_vec(), hint };
        *if look == Look::Call { &mut self.call } else { &mut self.inline } = written;
        self
    }

    /// Halts when no height is left.
    pub(crate) fn stack(&mut self, meter: u32, added: &Added) -> &mut Self {
        self.get(meter).i64(0).op(&Instruction::I64LtS).rarely().halt(added, Halt::Stack).end()
    }

    fn charge(&mut self, meter: u32, mut cost: u64, look: Look, added: &Added) {
        // A segment of a very long body may cost more than is ever in hand.
        let most = param::METER_STRIDE_MAX / 2;
        while cost > most {
            self.adjust(meter, -most.cast_signed());
            self.look(meter, Look::Call, added);
            cost -= most;
        }
        if cost > 0 {
            self.adjust(meter, -cost.cast_signed());
        }
        self.look(meter, look, added);
    }

    /// Adds the body to a code section, after its length, and gives its blocks, loops and branches.
    pub(crate) fn finish(&mut self, locals: &[ValType], section: &mut Vec<u8>) -> u64 {
        let mut groups: Vec<(u32, ValType)> = Vec::new();
        for &ty in locals {
            match groups.last_mut() {
                Some((count, last)) if *last == ty => *count += 1,
                _ => groups.push((1, ty)),
            }
        }
        let mut declared = Vec::with_capacity(16);
        position(groups.len()).encode(&mut declared);
        for (count, ty) in groups {
            count.encode(&mut declared);
            ty.encode(&mut declared);
        }
        (declared.len() + self.bytes.len()).encode(section);
        section.extend_from_slice(&declared);
        section.extend_from_slice(&self.bytes);
        for hint in &mut self.hints {
            hint.branch_func_offset += position(declared.len());
        }
        self.branches
    }
}

/// Extra locals of a body, made when they are first needed.
struct Scratch {
    first: u32,
    types: Vec<ValType>,
}

impl Scratch {
    fn local(&mut self, ty: ValType) -> u32 {
        let at = self.types.iter().position(|known| *known == ty).unwrap_or_else(|| {
            self.types.push(ty);
            self.types.len() - 1
        });
        self.first + position(at)
    }
}

/// How calls of a function are written.
pub(crate) trait Targets {
    /// The index to call, and whether it takes the meter.
    fn target(&self, function: u32) -> (u32, bool);
    /// Whether it calls nothing but the host, if anything, and costs little.
    fn is_light(&self, function: u32) -> bool;
}

/// What a body is written with.
pub(crate) struct Parts<'p, T> {
    pub(crate) plan: Plan,
    pub(crate) charges: &'p Charges,
    pub(crate) points: &'p [Point],
    pub(crate) added: &'p Added,
    pub(crate) targets: &'p T,
    /// Type of a block with the function's results, when the body leaves it from within.
    pub(crate) block: Option<BlockType>,
    /// Whether stack height is counted.
    pub(crate) stack: bool,
}

/// Writes a function, by way of `code`, and gives its blocks, loops and branches.
pub(crate) fn body<T: Targets>(
    function: &Function<'_>,
    parts: &Parts<'_, T>,
    code: &mut Code,
    section: &mut Vec<u8>,
) -> Result<u64, Error> {
    let metered = parts.plan.flat.is_none();
    let params = position(function.params.len());
    let shift = u32::from(metered);
    code.begin(own(function), function.ops.len() * 4);
    let mut writer = Writer {
        function,
        parts,
        pass: RoundtripReencoder,
        code,
        scratch: Scratch { first: position(function.locals.len()) + shift, types: Vec::new() },
        metered,
        meter: params,
        counts: metered && parts.stack && !parts.plan.shallow,
        last_calls: parts.charges.last_calls.iter().copied().peekable(),
        mark: 0,
        name: 0,
    };
    writer.write()?;
    let mut locals = Vec::with_capacity(function.locals.len() + writer.scratch.types.len());
    for ty in &function.locals[function.params.len()..] {
        locals.push(writer.pass.val_type(*ty)?);
    }
    locals.extend(writer.scratch.types);
    Ok(writer.code.finish(&locals, section))
}

/// Blocks, loops and branches of a body as it was.
fn own(function: &Function<'_>) -> u64 {
    let branches = |code| matches!(code, Op::Block | Op::Loop | Op::If | Op::Br | Op::BrIf | Op::BrTable);
    function.events.iter().filter(|event| branches(event.code)).count() as u64
}

struct Writer<'w, T> {
    function: &'w Function<'w>,
    parts: &'w Parts<'w, T>,
    pass: RoundtripReencoder,
    code: &'w mut Code,
    scratch: Scratch,
    /// Whether the function takes the meter, and as which local.
    metered: bool,
    meter: u32,
    /// Whether it counts its height.
    counts: bool,
    last_calls: core::iter::Peekable<core::iter::Copied<core::slice::Iter<'w, u32>>>,
    /// The next of the function's marks, and of its names.
    mark: usize,
    name: usize,
}

impl<T: Targets> Writer<'_, T> {
    fn height(&self) -> i64 {
        (self.parts.plan.height << (param::METER_FUEL_SIGN + 1)).cast_signed()
    }

    fn local(&self, index: u32) -> u32 {
        if index < self.meter { index } else { index + u32::from(self.metered) }
    }

    fn write(&mut self) -> Result<(), Error> {
        let (meter, added) = (self.meter, self.parts.added);
        let mut charges = self.parts.charges.list.iter().peekable();
        // At the entry height and fuel are one subtraction.
        let mut entry = if self.counts { self.height() } else { 0 };
        let mut entry_look = Look::No;
        while let Some(charge) = charges.next_if(|charge| charge.before == 0 && charge.counted.is_none()) {
            if charge.cost <= param::METER_STRIDE_MAX / 2 {
                entry += charge.cost.cast_signed();
                entry_look = charge.look;
            } else {
                self.code.charge(meter, charge.cost, charge.look, added);
            }
        }
        if self.metered && entry != 0 {
            self.code.adjust(meter, -entry);
        }
        if self.counts && entry_look == Look::Call {
            // One test for both.
            let either = i64::MIN | 1 << param::METER_FUEL_SIGN;
            self.code.get(meter).i64(either).op(&Instruction::I64And).i64(0).op(&Instruction::I64Ne).rarely();
            self.code.get(meter).call(added.enter).set(meter).end();
        } else {
            self.code.look(meter, entry_look, added);
            if self.counts {
                self.code.stack(meter, added);
            }
        }
        if let Some(block) = self.parts.block.filter(|_| self.metered) {
            self.code.op(&Instruction::Block(block));
        }
        let (mut charges, mut points) = (charges.copied(), self.parts.points);
        let (mut charge, mut at) = (charges.next(), 0);
        while at < self.function.ops.len() {
            let mut counted = None;
            while let Some(due) = charge.filter(|charge| charge.before as usize <= at) {
                match due.counted {
                    Some(loops) => counted = Some((due, loops)),
                    None => self.code.charge(meter, due.cost, due.look, added),
                }
                charge = charges.next();
            }
            let end = match counted {
                Some((charge, loops)) => {
                    self.counted(at, &charge, &loops)?;
                    points = after(points, loops.branch);
                    loops.branch + 1
                }
                None => charge.map_or(self.function.ops.len(), |charge| charge.before as usize),
            };
            if counted.is_none() {
                points = self.between(at, end, points)?;
            }
            at = end;
        }
        Ok(())
    }

    /// The operators from one to before another, and the points that are left then.
    fn between<'p>(&mut self, begin: usize, end: usize, mut points: &'p [Point]) -> Result<&'p [Point], Error> {
        let (function, marks) = (self.function, self.function.marks);
        self.mark += marks[self.mark..].iter().take_while(|&&mark| (mark as usize) < begin).count();
        // What stays as it is is copied together, up to what does not.
        let mut from = function.ops[begin].at as usize;
        loop {
            let mark = marks.get(self.mark).map_or(usize::MAX, |&mark| mark as usize);
            let point = points.first().map_or(usize::MAX, |point| point.op as usize);
            let at = mark.min(point);
            if at >= end {
                break;
            }
            if at == mark {
                self.copy(from..function.ops[at].at as usize);
                self.op(at)?;
                self.mark += 1;
            } else {
                self.copy(from..function.end(at));
            }
            from = function.end(at);
            while let Some((point, rest)) = points.split_first()
                && point.op as usize == at
            {
                canonical(self.code, &mut self.scratch, point.shape);
                points = rest;
            }
        }
        self.copy(from..function.end(end - 1));
        Ok(points)
    }

    /// Bytes of the body as they are, but for the names of locals that come after the meter.
    fn copy(&mut self, range: core::ops::Range<usize>) {
        let (from, copied) = (range.start, self.code.bytes.len());
        self.code.bytes.extend_from_slice(self.function.bytes(range));
        if !self.metered {
            return;
        }
        let new = &mut self.code.bytes[copied..];
        let names = &self.function.names[self.name..];
        let mut count = 0;
        for &name in names {
            let Some(name) = new.get_mut((name as usize).wrapping_sub(from)) else { break };
            *name += 1;
            count += 1;
        }
        self.name += count;
    }

    /// A counted loop: all its iterations are charged, if they are at hand, and the loop knows no meter; otherwise
    /// the loop is written as any other.
    fn counted(&mut self, at: usize, charge: &Charge, loops: &Counted) -> Result<(), Error> {
        let (meter, added) = (self.meter, self.parts.added);
        let (distance, total) = (self.scratch.local(ValType::I32), self.scratch.local(ValType::I64));
        let (changed, mark, name) = (self.local(loops.local), self.mark, self.name);
        self.code.op(&Instruction::Block(BlockType::Empty)).op(&Instruction::Block(BlockType::Empty));
        // From here to the bound, in steps, less one step: a distance of nothing is all the way round.
        let bound = match loops.bound {
            Bound::Constant(value) => Instruction::I32Const(value),
            Bound::Local(local) => Instruction::LocalGet(self.local(local)),
        };
        if loops.down {
            self.code.get(changed).op(&bound);
        } else {
            self.code.op(&bound).get(changed);
        }
        self.code.op(&Instruction::I32Sub);
        if loops.log2 > 0 {
            // A bound that the steps pass over is never met.
            self.code.op(&Instruction::LocalTee(distance)).op(&Instruction::I32Const((1 << loops.log2) - 1));
            self.code.op(&Instruction::I32And);
            self.code.hint(false).op(&Instruction::BrIf(0)).get(distance);
        }
        let log2 = loops.log2.cast_signed();
        self.code.op(&Instruction::I32Const(1_i32.wrapping_shl(loops.log2))).op(&Instruction::I32Sub);
        if log2 > 0 {
            self.code.op(&Instruction::I32Const(log2)).op(&Instruction::I32ShrU);
        }
        let cost = charge.cost.cast_signed();
        self.code.op(&Instruction::I64ExtendI32U).i64(1).op(&Instruction::I64Add);
        self.code.i64(cost).op(&Instruction::I64Mul).op(&Instruction::LocalTee(total));
        // What is more than is ever in hand comes from the pool, if it is there; all but a chunk, which is then more than
        // is in hand, so that the look below takes it from the pool as well and hears whether the host wants a stop.
        let most = (param::METER_STRIDE_MAX / 2).cast_signed();
        self.code.i64(most).op(&Instruction::I64GtU).rarely();
        self.code.get(total).op(&Instruction::GlobalGet(added.pool)).op(&Instruction::I64GtS);
        self.code.get(total).i64(param::COUNTED_FUEL_MAX.cast_signed()).op(&Instruction::I64GtS);
        self.code.op(&Instruction::I32Or).op(&Instruction::BrIf(1));
        let chunk = param::FUEL_CHUNK.cast_signed();
        self.code.op(&Instruction::GlobalGet(added.pool)).get(total).op(&Instruction::I64Sub).i64(chunk);
        self.code.op(&Instruction::I64Add).op(&Instruction::GlobalSet(added.pool)).i64(chunk).set(total).end();
        self.code.get(meter).get(total).op(&Instruction::I64Sub).set(meter);
        self.code.look(meter, Look::Inline, added);
        self.code.op(&Instruction::Loop(BlockType::Empty));
        self.between(at + 1, loops.branch, after(self.parts.points, at))?;
        self.code.op(&Instruction::BrIf(0)).end().op(&Instruction::Br(1)).end();
        self.code.op(&Instruction::Loop(BlockType::Empty));
        self.code.charge(meter, charge.cost, charge.look, added);
        (self.mark, self.name) = (mark, name);
        self.between(at + 1, loops.branch, after(self.parts.points, at))?;
        self.code.op(&Instruction::BrIf(0)).end().end();
        // What follows the branch stays inside of something, so that its own branches go where they went.
        let block = self.pass.block_type(self.function.ops[at].block())?;
        self.code.op(&Instruction::Block(block));
        Ok(())
    }

    /// One operator.
    fn op(&mut self, at: usize) -> Result<(), Error> {
        let (meter, added, targets) = (self.meter, self.parts.added, self.parts.targets);
        let ops = self.function.ops;
        let op = &ops[at];
        // Whether nobody has counted on what its last calls do.
        let unknown = self.metered && (self.parts.plan.shallow || self.parts.plan.bounded);
        match op.code {
            Op::LocalGet | Op::LocalSet | Op::LocalTee => {
                let local = self.local(op.value);
                self.code.named(self.function.spelled(at)[0], local);
            }
            Op::Return if self.metered => {
                self.code.op(&Instruction::Br(op.value));
            }
            Op::Call => {
                let is_last = self.last_calls.next_if_eq(&position(at)).is_some();
                if is_last && unknown && !targets.is_light(op.value) {
                    self.code.get(meter).call(added.last).set(meter);
                }
                let (target, takes) = targets.target(op.value);
                if takes {
                    self.code.get(meter).call(target).set(meter);
                } else {
                    self.code.call(target);
                }
            }
            Op::CallIndirect => {
                if self.last_calls.next_if_eq(&position(at)).is_some() && unknown {
                    self.code.get(meter).call(added.last).set(meter);
                }
                let element = self.scratch.local(ValType::I32);
                self.code.set(element).get(meter).get(element);
                let type_index = op.value + added.metered;
                // A module has one table at most.
                self.code.op(&Instruction::CallIndirect { type_index, table_index: 0 }).set(meter);
            }
            Op::MemoryCopy if constant_length(at.checked_sub(1).map(|before| &ops[before]), op).is_none() => {
                self.code.get(meter).call(added.copy).set(meter);
            }
            Op::MemoryFill if constant_length(at.checked_sub(1).map(|before| &ops[before]), op).is_none() => {
                self.code.get(meter).call(added.fill).set(meter);
            }
            Op::MemoryGrow => {
                self.code.get(meter).call(added.grow).set(meter);
            }
            Op::Select if self.compared(at) => {
                let condition = self.scratch.local(ValType::I32);
                self.code.set(condition).get(condition).op(&Instruction::Select);
            }
            Op::End if at + 1 == ops.len() => self.end(),
            Op::Loop => {
                // wasmi 2.0.0 loses a value that lies below a loop's parameters when it is also in a local, unless
                // a block begins before.
                if op.passes_values() {
                    self.code.op(&Instruction::Block(BlockType::Empty)).end();
                }
                self.same(at)?;
            }
            _ => self.same(at)?,
        }
        Ok(())
    }

    /// The function's own `end`.
    fn end(&mut self) {
        let (meter, added) = (self.meter, self.parts.added);
        if self.metered {
            if self.parts.block.is_some() {
                self.code.end();
            }
            if self.parts.charges.at_end {
                self.code.look(meter, Look::Call, added);
            }
            self.code.get(meter);
            if self.counts {
                let height = self.height();
                self.code.i64(height).op(&Instruction::I64Add);
            }
        }
        self.code.end();
    }

    /// An operator that stays what it is, as the encoder spells it.
    fn same(&mut self, at: usize) -> Result<(), Error> {
        let bytes = self.function.spelled(at);
        if self.function.ops[at].code.is_plain(bytes) {
            self.code.bytes.extend_from_slice(bytes);
        } else {
            let operator = OperatorsReader::new(BinaryReader::new(bytes, 0)).read()?;
            self.pass.instruction(operator)?.encode(&mut self.code.bytes);
        }
        Ok(())
    }

    /// Whether the operator before is a comparison. wasmi 2.0.0 makes one operation of a comparison and the `select`
    /// after it; a local between them keeps them apart and costs a compiler nothing.
    fn compared(&self, at: usize) -> bool {
        // What does nothing is not in wasmi's code either.
        self.function.ops[..at].iter().rfind(|op| op.code != Op::Nop).is_some_and(|op| op.code.compares())
    }
}

/// The points after an operator's own.
fn after(points: &[Point], op: usize) -> &[Point] {
    &points[points.partition_point(|point| point.op as usize <= op)..]
}

/// Makes the top of the stack canonical. A comparison with itself that is false for a NaN alone needs one flag of
/// the processor; `ne` would need two.
fn canonical(code: &mut Code, scratch: &mut Scratch, shape: Shape) {
    let scalar = |code: &mut Code, local: u32, same: &Instruction<'_>, canon: &Instruction<'_>| {
        code.set(local).op(&Instruction::Block(BlockType::Empty)).get(local).get(local).op(same);
        code.hint(true).op(&Instruction::BrIf(0)).op(canon).set(local).end().get(local);
    };
    let vector = |code: &mut Code, local: u32, same: &Instruction<'_>, canon: u128| {
        code.op(&Instruction::LocalTee(local)).op(&Instruction::V128Const(canon.cast_signed()));
        code.get(local).get(local).op(same).op(&Instruction::V128Bitselect);
    };
    match shape {
        Shape::F32 => {
            let local = scratch.local(ValType::F32);
            scalar(code, local, &Instruction::F32Ge, &Instruction::F32Const(Ieee32::new(CANON32)));
        }
        Shape::F64 => {
            let local = scratch.local(ValType::F64);
            scalar(code, local, &Instruction::F64Ge, &Instruction::F64Const(Ieee64::new(CANON64)));
        }
        Shape::F32x4 => {
            let lane = u128::from(CANON32);
            let local = scratch.local(ValType::V128);
            vector(code, local, &Instruction::F32x4Eq, lane | lane << 32 | lane << 64 | lane << 96);
        }
        Shape::F64x2 => {
            let lane = u128::from(CANON64);
            let local = scratch.local(ValType::V128);
            vector(code, local, &Instruction::F64x2Eq, lane | lane << 64);
        }
    }
}
