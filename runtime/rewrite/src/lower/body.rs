//! Writes one body without exceptions and atomics.
//!
//! Whatever is the same is copied byte for byte. A `try_table` becomes two blocks: the outer one is what the
//! `try_table` was, the inner one ends where its handler begins. The whole of a function from which an exception
//! can escape stands in one more block, whose end returns zeros. So labels move, and every branch is counted anew.

use super::{
    Added, Types, atomic, encoding, lowered, lowered_all,
    survey::{Body, Survey},
};
use crate::{Refusal, admit::invalid, op::Code};
use wasm_encoder::{BlockType, Encode, Instruction, ValType, reencode::Reencode, reencode::RoundtripReencoder};
use wasmparser::{BinaryReaderError, Catch, FunctionBody, Operator};

pub(super) fn write(
    module: &[u8],
    index: u32,
    body: &FunctionBody<'_>,
    survey: &Survey,
    added: Option<Added>,
    types: &mut Types,
) -> Result<Vec<u8>, Refusal> {
    let wrong = |error: BinaryReaderError| invalid(Some(index), &error);
    let found = survey.bodies.get(index.saturating_sub(survey.imported) as usize).copied().unwrap_or_default();
    let ty = survey.functions.get(index as usize).and_then(|ty| survey.types.get(*ty as usize));
    let mut writer = Writer {
        index,
        survey,
        added,
        types,
        found,
        first_temporary: ty.map_or(0, |ty| u32::try_from(ty.params().len()).unwrap_or(u32::MAX)),
        results: lowered_all(ty.map_or(&[], |ty| ty.results()))?,
        out: Vec::with_capacity(body.range().len() * 2),
        frames: Vec::new(),
        labels: 0,
    };
    writer.locals(body)?;
    writer.open_function(survey.throws(index));
    let mut operators = body.get_operators_reader().map_err(wrong)?;
    while !operators.eof() {
        let (operator, start) = operators.read_with_offset().map_err(wrong)?;
        let encoded = module.get(start..operators.original_position()).unwrap_or_default();
        writer.operator(&operator, encoded)?;
    }
    Ok(writer.out)
}

/// `(i64) -> ()`: puts a reference in flight. Null is a trap.
pub(super) fn raise(added: Added) -> Vec<u8> {
    helper(&[
        Instruction::LocalGet(0),
        Instruction::I64Eqz,
        Instruction::If(BlockType::Empty),
        Instruction::Unreachable,
        Instruction::End,
        Instruction::LocalGet(0),
        Instruction::I64Const(32),
        Instruction::I64ShrU,
        Instruction::I32WrapI64,
        Instruction::GlobalSet(added.exception),
        Instruction::LocalGet(0),
        Instruction::I32WrapI64,
        Instruction::GlobalSet(added.payload),
        Instruction::End,
    ])
}

/// `() -> (i64)`: takes the exception in flight as a reference.
pub(super) fn take(added: Added) -> Vec<u8> {
    helper(&[
        Instruction::GlobalGet(added.exception),
        Instruction::I64ExtendI32U,
        Instruction::I64Const(32),
        Instruction::I64Shl,
        Instruction::GlobalGet(added.payload),
        Instruction::I64ExtendI32U,
        Instruction::I64Or,
        Instruction::I32Const(0),
        Instruction::GlobalSet(added.exception),
        Instruction::End,
    ])
}

fn helper(instructions: &[Instruction<'_>]) -> Vec<u8> {
    let mut out = vec![0];
    instructions.iter().for_each(|instruction| instruction.encode(&mut out));
    out
}

/// An open block of the module as published.
struct Frame {
    /// Its label in what is written, counted from the outermost.
    label: u32,
    /// The label to which an exception within it branches.
    landing: Option<u32>,
    /// Of a `try_table` with a handler: its clauses.
    catches: Vec<Catch>,
}

struct Writer<'w> {
    index: u32,
    survey: &'w Survey,
    added: Option<Added>,
    types: &'w mut Types,
    found: Body,
    /// Index of the first local that is added for atomic accesses.
    first_temporary: u32,
    results: Vec<ValType>,
    out: Vec<u8>,
    frames: Vec<Frame>,
    /// Labels that are open in what is written.
    labels: u32,
}

impl Writer<'_> {
    fn op(&mut self, instruction: &Instruction<'_>) {
        instruction.encode(&mut self.out);
    }

    fn locals(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let wrong = |error: BinaryReaderError| invalid(Some(self.index), &error);
        let mut groups = Vec::new();
        for group in body.get_locals_reader().map_err(wrong)? {
            let (count, ty) = group.map_err(wrong)?;
            groups.push((count, lowered(ty)?));
            self.first_temporary = self.first_temporary.saturating_add(count);
        }
        groups.extend(self.found.temporaries.groups());
        u32::try_from(groups.len()).unwrap_or(u32::MAX).encode(&mut self.out);
        for (count, ty) in groups {
            count.encode(&mut self.out);
            ty.encode(&mut self.out);
        }
        Ok(())
    }

    fn open_function(&mut self, throws: bool) {
        self.labels = 1;
        let landing = throws.then(|| {
            self.op(&Instruction::Block(BlockType::Empty));
            self.labels += 1;
            self.labels - 1
        });
        self.frames.push(Frame { label: 0, landing, catches: Vec::new() });
    }

    fn landing(&self) -> Option<u32> {
        self.frames.last().and_then(|frame| frame.landing)
    }

    /// Depth, as a branch here says it, of a label.
    fn depth(&self, label: u32) -> u32 {
        (self.labels - 1).saturating_sub(label)
    }

    /// Depth of what was `depth` in the module as published, `skipped` innermost frames aside.
    fn branch(&self, depth: u32, skipped: usize) -> u32 {
        let frame = self.frames.len().checked_sub(1 + skipped + depth as usize).and_then(|at| self.frames.get(at));
        frame.map_or(depth, |frame| self.depth(frame.label))
    }

    fn operator(&mut self, operator: &Operator<'_>, encoded: &[u8]) -> Result<(), Refusal> {
        let index = self.index;
        let wrong = |error: BinaryReaderError| invalid(Some(index), &error);
        match operator {
            Operator::Block { blockty } => {
                let ty = self.block(*blockty)?;
                self.op(&Instruction::Block(ty));
                self.open();
            }
            Operator::Loop { blockty } => {
                let ty = self.block(*blockty)?;
                self.op(&Instruction::Loop(ty));
                self.open();
            }
            Operator::If { blockty } => {
                let ty = self.block(*blockty)?;
                self.op(&Instruction::If(ty));
                self.open();
            }
            Operator::TryTable { try_table } => {
                let ty = self.block(try_table.ty)?;
                self.op(&Instruction::Block(ty));
                self.open();
                if !try_table.catches.is_empty() {
                    self.open_handled(try_table)?;
                }
            }
            Operator::End => self.close(),
            Operator::Br { relative_depth } => self.op(&Instruction::Br(self.branch(*relative_depth, 0))),
            Operator::BrIf { relative_depth } => self.op(&Instruction::BrIf(self.branch(*relative_depth, 0))),
            Operator::BrTable { targets } => {
                let depths: Vec<u32> = targets
                    .targets()
                    .map(|target| target.map(|depth| self.branch(depth, 0)))
                    .collect::<Result<_, _>>()
                    .map_err(wrong)?;
                let default = self.branch(targets.default(), 0);
                self.op(&Instruction::BrTable(depths.into(), default));
            }
            Operator::Call { function_index } => {
                self.out.extend_from_slice(encoded);
                self.pass_on(self.survey.throws(*function_index));
            }
            Operator::CallIndirect { type_index, .. } => {
                self.out.extend_from_slice(encoded);
                self.pass_on(self.survey.throws_indirectly(*type_index));
            }
            Operator::Throw { tag_index } => self.throw(*tag_index),
            Operator::ThrowRef => {
                if let Some(added) = self.added {
                    self.op(&Instruction::Call(added.raise));
                }
                self.leave();
            }
            Operator::RefNull { .. } => self.op(&Instruction::I64Const(0)),
            Operator::RefIsNull => self.op(&Instruction::I64Eqz),
            other => match atomic::Atomic::of(Code::of(other)) {
                Some(_) => {
                    atomic::write(&mut self.out, encoded, self.found.temporaries, self.first_temporary)
                        .map_err(wrong)?;
                }
                None => self.out.extend_from_slice(encoded),
            },
        }
        Ok(())
    }

    fn block(&self, ty: wasmparser::BlockType) -> Result<BlockType, Refusal> {
        match ty {
            wasmparser::BlockType::Type(ty) => Ok(BlockType::Result(lowered(ty)?)),
            other => RoundtripReencoder.block_type(other).map_err(encoding),
        }
    }

    fn open(&mut self) {
        let landing = self.landing();
        self.frames.push(Frame { label: self.labels, landing, catches: Vec::new() });
        self.labels += 1;
    }

    /// Opens, inside the block that the `try_table` has become, the one that ends at its handler.
    fn open_handled(&mut self, try_table: &wasmparser::TryTable) -> Result<(), Refusal> {
        let params = match try_table.ty {
            wasmparser::BlockType::FuncType(ty) => {
                lowered_all(self.survey.types.get(ty as usize).map_or(&[], |ty| ty.params()))?
            }
            wasmparser::BlockType::Empty | wasmparser::BlockType::Type(_) => Vec::new(),
        };
        let inner =
            if params.is_empty() { BlockType::Empty } else { BlockType::FunctionType(self.types.index(&params, &[])) };
        self.op(&Instruction::Block(inner));
        let landing = self.labels;
        self.labels += 1;
        if let Some(frame) = self.frames.last_mut() {
            frame.landing = Some(landing);
            frame.catches.clone_from(&try_table.catches);
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        if self.frames.len() == 1 {
            if frame.landing.is_some() {
                self.op(&Instruction::Return);
                self.op(&Instruction::End);
                for ty in core::mem::take(&mut self.results) {
                    self.op(&zero(ty));
                }
            }
            self.labels = 0;
        } else if frame.catches.is_empty() {
            self.labels -= 1;
        } else {
            self.handler();
        }
        self.frames.pop();
        self.op(&Instruction::End);
    }

    /// Ends the inner block of a `try_table` and writes its handler.
    fn handler(&mut self) {
        let (Some(frame), Some(added)) = (self.frames.last_mut(), self.added) else { return };
        let (outer, catches) = (frame.label, core::mem::take(&mut frame.catches));
        // What ended without an exception leaves the handler out.
        self.op(&Instruction::Br(self.depth(outer)));
        self.op(&Instruction::End);
        self.labels -= 1;
        let only_tag = self.survey.tags.len() == 1;
        let mut taken = false;
        for catch in &catches {
            let (tag, by_reference, label) = match *catch {
                Catch::One { tag, label } => (Some(tag), false, label),
                Catch::OneRef { tag, label } => (Some(tag), true, label),
                Catch::All { label } => (None, false, label),
                Catch::AllRef { label } => (None, true, label),
            };
            let tested = tag.filter(|_| !only_tag);
            if let Some(tag) = tested {
                self.op(&Instruction::GlobalGet(added.exception));
                self.op(&Instruction::I32Const(in_flight(tag)));
                self.op(&Instruction::I32Eq);
                self.op(&Instruction::If(BlockType::Empty));
                self.labels += 1;
            }
            if tag.and_then(|tag| self.survey.tags.get(tag as usize)).is_some_and(|tag| tag.payload) {
                self.op(&Instruction::GlobalGet(added.payload));
            }
            if by_reference {
                self.op(&Instruction::Call(added.take));
            } else {
                self.op(&Instruction::I32Const(0));
                self.op(&Instruction::GlobalSet(added.exception));
            }
            // A clause's label is counted from outside the `try_table`.
            self.op(&Instruction::Br(self.branch(label, 1)));
            if tested.is_some() {
                self.op(&Instruction::End);
                self.labels -= 1;
            } else {
                taken = true;
                break;
            }
        }
        if !taken {
            let outside = self.frames.len().checked_sub(2).and_then(|at| self.frames.get(at));
            match outside.and_then(|frame| frame.landing) {
                Some(landing) => self.op(&Instruction::Br(self.depth(landing))),
                // Nothing in the block can throw.
                None => self.op(&Instruction::Unreachable),
            }
        }
        self.labels -= 1;
    }

    fn throw(&mut self, tag: u32) {
        let Some(added) = self.added else { return };
        if self.survey.tags.get(tag as usize).is_some_and(|tag| tag.payload) {
            self.op(&Instruction::GlobalSet(added.payload));
        }
        self.op(&Instruction::I32Const(in_flight(tag)));
        self.op(&Instruction::GlobalSet(added.exception));
        self.leave();
    }

    /// Branches to where an exception here goes.
    fn leave(&mut self) {
        match self.landing() {
            Some(landing) => self.op(&Instruction::Br(self.depth(landing))),
            None => self.op(&Instruction::Unreachable),
        }
    }

    /// After a call: branches likewise when it ended with an exception.
    fn pass_on(&mut self, throws: bool) {
        if let (true, Some(added), Some(landing)) = (throws, self.added, self.landing()) {
            self.op(&Instruction::GlobalGet(added.exception));
            self.op(&Instruction::BrIf(self.depth(landing)));
        }
    }
}

/// What the global holds while an exception of this tag is in flight.
fn in_flight(tag: u32) -> i32 {
    i32::try_from(tag).unwrap_or(i32::MAX).saturating_add(1)
}

fn zero(ty: ValType) -> Instruction<'static> {
    match ty {
        ValType::I32 => Instruction::I32Const(0),
        ValType::I64 | ValType::Ref(_) => Instruction::I64Const(0),
        ValType::F32 => Instruction::F32Const(0.0.into()),
        ValType::F64 => Instruction::F64Const(0.0.into()),
        ValType::V128 => Instruction::V128Const(0),
    }
}
