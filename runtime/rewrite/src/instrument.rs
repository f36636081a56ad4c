//! Writes the module that the engine runs. Consensus code: its output is hashed into the executable's id.
//!
//! Sections are encoded anew, so that two spellings of a number give one module. Custom sections carry no
//! meaning and are left out, and so are exports that nobody calls. Every function takes the meter as its last
//! parameter and gives it back as its last result, but for those whose cost is a constant. What is added comes
//! after what the module has, so no index of the module's changes.

use crate::{
    At, Counted, EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_START, EXPORT_STOP, Refusal, Settings,
    admit::{Exported, Facts, bounded, invalid},
    calls::{self, Plan},
    emit::{self, Added, Code, Halt, Parts, Targets},
    function::{Function, Ops, OwnTypes, Types, position},
    global_export, nan,
    op::Costs,
    segments::{self, Callees, Charges, Look},
};
use samebit_spec::param;
use std::collections::BTreeMap;
use wasm_encoder::{
    BlockType, BranchHints, ConstExpr, DataSection, ElementSection, Encode, ExportKind, ExportSection, FunctionSection,
    GlobalSection, GlobalType, ImportSection, Instruction, MemorySection, MemoryType, Module, RawSection, Section as _,
    SectionId, TableSection, TypeSection, ValType,
    reencode::{self, Reencode, RoundtripReencoder},
};
use wasmparser::{BinaryReader, BinaryReaderError, CodeSectionReader, ExternalKind, FuncType, Parser, Payload};

/// The rewritten module, and the height of each function of it that was the module's own.
pub(crate) struct Rewritten {
    pub(crate) bytes: Vec<u8>,
    pub(crate) heights: Vec<(u32, u32)>,
}

/// Encodes an admitted module.
pub(crate) fn instrument(bytes: &[u8], facts: &Facts, settings: &Settings) -> Result<Rewritten, Refusal> {
    House::new(facts, settings).encode(bytes).map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal,
        Stop::Error(reencode::Error::ParseError(error)) => invalid(None, &error),
        Stop::Error(other) => Refusal::Invalid { at: At { function: None, offset: 0 }, reason: other.to_string() },
    })
}

/// Why a module is not encoded.
enum Stop {
    /// It becomes more than it may be.
    Refused(Refusal),
    /// What no admitted module gives.
    Error(reencode::Error),
}

impl From<reencode::Error> for Stop {
    fn from(error: reencode::Error) -> Self {
        Self::Error(error)
    }
}

impl From<BinaryReaderError> for Stop {
    fn from(error: BinaryReaderError) -> Self {
        Self::Error(error.into())
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Holds what a body has become, at `at` and once `was` bytes long, against its limits, and all bodies so far.
fn bound(at: At, was: usize, bytes: usize, branches: u64, all: u64) -> Result<(), Refusal> {
    let most = param::REWRITTEN_BRANCHES_FREE + was as u64 / param::REWRITTEN_BRANCHES_BYTES;
    bounded(at, Counted::RewrittenBytes, bytes as u64, param::REWRITTEN_FUNCTION_BYTES_MAX)?;
    bounded(at, Counted::RewrittenBranches, branches, most.min(param::REWRITTEN_BRANCHES_MAX))?;
    bounded(at, Counted::ModuleBranches, all, param::MODULE_BRANCHES_MAX)
}

/// Units of stack height of a function that the rewriter adds.
const ADDED_HEIGHT: u32 = 8;

/// Most fuel of a `memory.copy` or `memory.fill` that is paid from what is in hand.
const BULK_IN_HAND_MAX: i64 = 1 << 12;

/// Memory that one body after another is read into.
#[derive(Default)]
struct Room {
    ops: Ops,
    locals: Vec<wasmparser::ValType>,
    walk: segments::Room,
    code: Code,
}

/// A function that the rewriter adds, in the order in which they follow the module's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extra {
    Draw,
    Enter,
    Last,
    Copy,
    Fill,
    Grow,
    /// Gives the fuel in hand back and calls an import.
    Import(u32),
    /// A function of constant cost, with a meter.
    Stub(u32),
    /// An entry, with its own type.
    Entry(u32),
}

struct House<'f> {
    facts: &'f Facts,
    settings: &'f Settings,
    costs: Costs,
    plans: Vec<Plan>,
    added: Added,
    extras: Vec<Extra>,
    indices: BTreeMap<Extra, u32>,
    /// Types beside the module's own and their metered forms.
    types: OwnTypes,
    has_memory: bool,
}

impl Callees for House<'_> {
    fn plan(&self, function: u32) -> Option<Plan> {
        function.checked_sub(self.facts.imported).map(|own| self.plans[own as usize])
    }

    fn passed(&self, function: u32) -> u64 {
        self.costs.call(self.func_type(function))
    }

    fn passed_indirectly(&self, ty: u32) -> u64 {
        self.costs.call(&self.facts.types[ty as usize])
    }
}

impl Targets for House<'_> {
    fn target(&self, function: u32) -> (u32, bool) {
        match self.plan(function) {
            None => (self.index(Extra::Import(function)), true),
            Some(plan) => (function, plan.flat.is_none()),
        }
    }

    fn is_light(&self, function: u32) -> bool {
        self.plan(function).is_none_or(|plan| plan.flat.is_some())
    }
}

/// Renames functions to those that take the meter, for tables.
struct Tables<'h, 'f>(&'h House<'f>);

impl Reencode for Tables<'_, '_> {
    type Error = core::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error<Self::Error>> {
        Ok(self.0.metered(function))
    }
}

fn val_type(ty: wasmparser::ValType) -> Result<ValType, reencode::Error> {
    RoundtripReencoder.val_type(ty)
}

impl<'f> House<'f> {
    fn new(facts: &'f Facts, settings: &'f Settings) -> Self {
        let plans = calls::plan(&facts.summaries, facts.imported);
        let own_types = position(facts.types.len());
        let functions = position(facts.functions.len());
        let globals = position(facts.globals.len());
        let mut house = Self {
            facts,
            settings,
            costs: Costs::new(&settings.fuel),
            plans,
            added: Added {
                pool: globals,
                halt: globals + 1,
                pages: globals + 2,
                stop: u32::from(facts.memory.is_some()),
                draw: functions,
                enter: functions + 1,
                last: functions + 2,
                copy: functions + 3,
                fill: functions + 4,
                grow: functions + 5,
                metered: own_types,
            },
            extras: Vec::new(),
            indices: BTreeMap::new(),
            types: OwnTypes::default(),
            has_memory: facts.memory.is_some(),
        };
        let mut extras = vec![Extra::Draw, Extra::Enter, Extra::Last];
        if house.has_memory {
            extras.extend([Extra::Copy, Extra::Fill, Extra::Grow]);
        }
        extras.extend((0..facts.imported).map(Extra::Import));
        let mut stubs: Vec<u32> = facts
            .table_functions
            .iter()
            .chain(house.entries().map(|entry| entry.1).collect::<Vec<_>>().iter())
            .copied()
            .filter(|&function| house.plan(function).is_some_and(|plan| plan.flat.is_some()))
            .collect();
        stubs.sort_unstable();
        stubs.dedup();
        extras.extend(stubs.into_iter().map(Extra::Stub));
        let mut entries: Vec<u32> = house.entries().map(|entry| entry.1).collect();
        entries.sort_unstable();
        entries.dedup();
        extras.extend(entries.into_iter().map(Extra::Entry));
        for extra in extras {
            let index = functions + position(house.extras.len());
            house.indices.insert(extra, index);
            house.extras.push(extra);
        }
        house
    }

    /// Functions that the host may call, with the names of their exports.
    fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        let start = self.facts.start.map(|function| (EXPORT_START, function));
        let exported = self.facts.exports.iter().filter_map(|Exported { name, kind, index }| {
            (*kind == ExternalKind::Func).then_some((name.as_str(), *index))
        });
        exported.chain(start)
    }

    fn index(&self, extra: Extra) -> u32 {
        // Every extra that is asked for was made in `new`; an index of none would not validate.
        self.indices.get(&extra).copied().unwrap_or(u32::MAX)
    }

    /// The function that takes the meter and does what `function` does.
    fn metered(&self, function: u32) -> u32 {
        match self.plan(function) {
            None => self.index(Extra::Import(function)),
            Some(plan) if plan.flat.is_some() => self.index(Extra::Stub(function)),
            Some(_) => function,
        }
    }

    fn ty(&self, function: u32) -> u32 {
        self.facts.functions[function as usize]
    }

    fn func_type(&self, function: u32) -> &FuncType {
        &self.facts.types[self.ty(function) as usize]
    }

    /// Index of a type of the rewriter's own.
    fn own_type(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        self.added.metered * 2 + self.types.number(params, results).0
    }

    fn encode(&mut self, bytes: &[u8]) -> Result<Rewritten, Stop> {
        // Bodies first: they say which further types there are.
        let mut hints = BranchHints::new();
        let mut code = Vec::with_capacity(bytes.len() * 2);
        (self.facts.summaries.len() + self.extras.len()).encode(&mut code);
        let (mut heights, mut branches) = (Vec::new(), 0);
        let mut next = self.facts.imported;
        let mut room = Room::default();
        for payload in Parser::new(0).parse_all(bytes) {
            if let Payload::CodeSectionStart { range, .. } = payload? {
                let section = bytes.get(range.clone()).ok_or(reencode::Error::InvalidCodeSectionSize)?;
                for body in CodeSectionReader::new(BinaryReader::new(section, range.start))? {
                    let (body, before) = (body?, code.len());
                    let own = self.body(next, &body, &mut room, &mut code)?;
                    hint(&mut hints, next, &mut room.code);
                    branches += own;
                    let (at, was) = (At { function: Some(next), offset: body.range().start }, body.range().len());
                    bound(at, was, code.len() - before, own, branches)?;
                    heights.push((next, self.height(next)));
                    next += 1;
                }
            }
        }
        for extra in self.extras.clone() {
            hint(&mut hints, next, &mut self.extra(extra, &mut code));
            heights.push((next, ADDED_HEIGHT));
            next += 1;
        }
        let mut module = Vec::with_capacity(code.len() + bytes.len() / 4);
        module.extend_from_slice(&Module::HEADER);
        let pass = &mut RoundtripReencoder;
        // Sections in their order; those that the module may lack and we need are made where they belong.
        let mut done = Done::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ImportSection(section) => {
                    self.up_to(&mut module, &mut done, Section::Imports)?;
                    let mut imports = ImportSection::new();
                    pass.parse_import_section(&mut imports, section)?;
                    imports.append_to(&mut module);
                }
                Payload::TableSection(section) => {
                    self.up_to(&mut module, &mut done, Section::Tables)?;
                    let mut tables = TableSection::new();
                    pass.parse_table_section(&mut tables, section)?;
                    tables.append_to(&mut module);
                }
                Payload::GlobalSection(section) => {
                    self.up_to(&mut module, &mut done, Section::Globals)?;
                    let mut globals = GlobalSection::new();
                    pass.parse_global_section(&mut globals, section)?;
                    self.globals(&mut globals);
                    globals.append_to(&mut module);
                    done.globals = true;
                }
                Payload::ElementSection(section) => {
                    self.up_to(&mut module, &mut done, Section::Elements)?;
                    let mut elements = ElementSection::new();
                    Tables(self).parse_element_section(&mut elements, section).map_err(|error| match error {
                        reencode::Error::ParseError(error) => reencode::Error::ParseError(error),
                        _ => reencode::Error::InvalidConstExpr,
                    })?;
                    elements.append_to(&mut module);
                }
                Payload::CodeSectionStart { .. } => {
                    self.up_to(&mut module, &mut done, Section::Code)?;
                    Self::code(&mut module, &code, &hints);
                    done.code = true;
                }
                Payload::DataSection(section) => {
                    self.up_to(&mut module, &mut done, Section::Code)?;
                    if !done.code {
                        Self::code(&mut module, &code, &hints);
                        done.code = true;
                    }
                    let mut data = DataSection::new();
                    pass.parse_data_section(&mut data, section)?;
                    data.append_to(&mut module);
                }
                // Types, functions, memories and exports are written by us in their places; the start section lives
                // on as an export, custom sections are left out, and admission has refused every other kind.
                _ => {}
            }
        }
        self.up_to(&mut module, &mut done, Section::Code)?;
        if !done.code {
            Self::code(&mut module, &code, &hints);
        }
        Ok(Rewritten { bytes: module, heights })
    }

    fn code(module: &mut Vec<u8>, code: &[u8], hints: &BranchHints) {
        if !hints.is_empty() {
            hints.append_to(module);
        }
        RawSection { id: SectionId::Code.into(), data: code }.append_to(module);
    }

    /// Writes the sections of ours that come before `section`.
    fn up_to(&mut self, module: &mut Vec<u8>, done: &mut Done, section: Section) -> Result<(), reencode::Error> {
        if !done.types {
            done.types = true;
            self.type_section()?.append_to(module);
        }
        if section >= Section::Tables && !done.functions {
            done.functions = true;
            self.function_section()?.append_to(module);
        }
        if section >= Section::Globals && !done.memories {
            done.memories = true;
            self.memory_section().append_to(module);
        }
        if section > Section::Globals && !done.globals {
            done.globals = true;
            let mut globals = GlobalSection::new();
            self.globals(&mut globals);
            globals.append_to(module);
        }
        if section >= Section::Elements && !done.exports {
            done.exports = true;
            self.export_section().append_to(module);
        }
        Ok(())
    }

    fn type_section(&self) -> Result<TypeSection, reencode::Error> {
        let mut types = TypeSection::new();
        for metered in [false, true] {
            for ty in &self.facts.types {
                let more = metered.then_some(ValType::I64);
                let of = |list: &[wasmparser::ValType]| -> Result<Vec<ValType>, reencode::Error> {
                    list.iter().copied().map(val_type).chain(more.map(Ok)).collect()
                };
                types.ty().function(of(ty.params())?, of(ty.results())?);
            }
        }
        for (params, results) in self.types.all() {
            types.ty().function(params.iter().copied(), results.iter().copied());
        }
        Ok(types)
    }

    fn function_section(&mut self) -> Result<FunctionSection, reencode::Error> {
        let mut functions = FunctionSection::new();
        for own in self.facts.imported..position(self.facts.functions.len()) {
            let flat = self.plan(own).is_some_and(|plan| plan.flat.is_some());
            functions.function(self.ty(own) + if flat { 0 } else { self.added.metered });
        }
        for extra in self.extras.clone() {
            functions.function(self.extra_type(extra));
        }
        Ok(functions)
    }

    fn extra_type(&mut self, extra: Extra) -> u32 {
        match extra {
            Extra::Copy | Extra::Fill => {
                self.own_type(&[ValType::I32, ValType::I32, ValType::I32, ValType::I64], &[ValType::I64])
            }
            Extra::Draw | Extra::Enter | Extra::Last => self.own_type(&[ValType::I64], &[ValType::I64]),
            Extra::Grow => self.own_type(&[ValType::I32, ValType::I64], &[ValType::I32, ValType::I64]),
            Extra::Import(function) | Extra::Stub(function) => self.ty(function) + self.added.metered,
            Extra::Entry(function) => self.ty(function),
        }
    }

    fn memory_section(&self) -> MemorySection {
        let mut memories = MemorySection::new();
        let memory =
            |minimum, maximum| MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None };
        if let Some(own) = self.facts.memory {
            memories.memory(memory(own.initial, own.maximum));
        }
        memories.memory(memory(1, Some(1)));
        memories
    }

    fn globals(&self, globals: &mut GlobalSection) {
        let global = |val_type| GlobalType { val_type, mutable: true, shared: false };
        globals.global(global(ValType::I64), &ConstExpr::i64_const(0));
        globals.global(global(ValType::I32), &ConstExpr::i32_const(0));
        globals.global(global(ValType::I32), &ConstExpr::i32_const(0));
    }

    fn export_section(&self) -> ExportSection {
        let mut exports = ExportSection::new();
        for Exported { name, kind, index } in &self.facts.exports {
            match kind {
                ExternalKind::Func => exports.export(name, ExportKind::Func, self.index(Extra::Entry(*index))),
                ExternalKind::Memory => exports.export(name, ExportKind::Memory, *index),
                ExternalKind::Global => exports.export(name, ExportKind::Global, *index),
                // A table's functions take the meter, so only the module itself can call them.
                ExternalKind::Table | ExternalKind::Tag | ExternalKind::FuncExact => continue,
            };
        }
        for &(index, _) in &self.facts.mutable_globals {
            exports.export(&global_export(index), ExportKind::Global, index);
        }
        if let Some(start) = self.facts.start {
            exports.export(EXPORT_START, ExportKind::Func, self.index(Extra::Entry(start)));
        }
        exports.export(EXPORT_FUEL, ExportKind::Global, self.added.pool);
        exports.export(EXPORT_HALT, ExportKind::Global, self.added.halt);
        exports.export(EXPORT_PAGES, ExportKind::Global, self.added.pages);
        exports.export(EXPORT_STOP, ExportKind::Memory, self.added.stop);
        exports
    }

    fn height(&self, function: u32) -> u32 {
        self.plan(function).map_or(ADDED_HEIGHT, |plan| u32::try_from(plan.height).unwrap_or(u32::MAX))
    }

    /// One of the module's own bodies.
    fn body(
        &mut self,
        index: u32,
        body: &wasmparser::FunctionBody<'_>,
        room: &mut Room,
        section: &mut Vec<u8>,
    ) -> Result<u64, reencode::Error> {
        let facts = self.facts;
        let types = Types { types: &facts.types, functions: &facts.functions };
        let summary = &facts.summaries[(index - facts.imported) as usize];
        let again;
        let kept = match &summary.kept {
            Some(extent) => (&facts.kept, extent),
            None => {
                room.ops.clear();
                again = room.ops.read(types.function(index), body, &self.costs)?;
                (&room.ops, &again)
            }
        };
        let function = &Function::new(types.function(index), body, kept, &mut room.locals)?;
        let plan = self.plans[(index - self.facts.imported) as usize];
        let mut charges = Charges::default();
        if plan.flat.is_none() {
            let entry = self.costs.entry(function.locals.len() - function.params.len());
            charges = segments::charges(function, plan, self, entry, &summary.clean, &mut room.walk);
            if !self.settings.meter {
                charges = Charges { last_calls: charges.last_calls, ..Charges::default() };
            }
        }
        let points = nan::points(function, &types, self.settings.nan);
        let block = if function.leaves_early {
            Some(match function.results {
                [] => BlockType::Empty,
                [one] => BlockType::Result(val_type(*one)?),
                many => {
                    let many = many.iter().copied().map(val_type).collect::<Result<Vec<_>, _>>()?;
                    BlockType::FunctionType(self.own_type(&[], &many))
                }
            })
        } else {
            None
        };
        let parts = Parts {
            plan,
            charges: &charges,
            points: &points,
            added: &self.added,
            targets: &*self,
            block,
            stack: self.settings.stack,
        };
        let branches = emit::body(function, &parts, &mut room.code, section)?;
        room.walk.take_back(charges.list);
        Ok(branches)
    }

    /// A body of ours.
    fn extra(&mut self, extra: Extra, section: &mut Vec<u8>) -> Code {
        // Its type may be one that nothing else has.
        self.extra_type(extra);
        let added = self.added;
        let mut code = Code::default();
        let mut locals = Vec::new();
        match extra {
            Extra::Draw => {
                code.draw(0, &added).get(0).end();
            }
            // Fuel comes first, as where the two are looked at apart.
            Extra::Enter => {
                code.look(0, Look::Inline, &added).stack(0, &added).get(0).end();
            }
            // Of the callee nothing is known, and the caller's callers have counted on knowing it: the height of all
            // the shallow functions that may be on the stack, never given back, and a look at the meter.
            Extra::Last => {
                if self.settings.stack {
                    let height = param::STACK_SHALLOW_MAX << (param::METER_FUEL_SIGN + 1);
                    code.adjust(0, -height.cast_signed());
                }
                if self.settings.meter {
                    code.look(0, Look::Inline, &added);
                }
                code.stack(0, &added).get(0).end();
            }
            Extra::Copy | Extra::Fill => {
                let (length, meter) = (2, 3);
                locals.push(ValType::I64);
                let cost = 4;
                code.get(length).op(&Instruction::I64ExtendI32U).i64(self.settings.fuel.bulk_bytes_log2.into());
                code.op(&Instruction::I64ShrU).set(cost);
                if self.settings.meter {
                    code.get(cost).i64(BULK_IN_HAND_MAX).op(&Instruction::I64GtU);
                    code.op(&Instruction::If(BlockType::Empty));
                    self.pay(&mut code, cost, meter);
                    code.op(&Instruction::Else).get(meter).get(cost).op(&Instruction::I64Sub).set(meter).end();
                    code.look(meter, Look::Inline, &added);
                }
                code.get(0).get(1).get(length);
                code.op(&match extra {
                    Extra::Copy => Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 },
                    _ => Instruction::MemoryFill(0),
                });
                code.get(meter).end();
            }
            Extra::Grow => {
                let (delta, meter, cost) = (0, 1, 2);
                locals.push(ValType::I64);
                // Growth by nothing is a question, growth past the limit is refused, neither costs more.
                code.get(delta).op(&Instruction::I64ExtendI32U).op(&Instruction::MemorySize(0));
                code.op(&Instruction::I64ExtendI32U).op(&Instruction::I64Add).op(&Instruction::GlobalGet(added.pages));
                code.op(&Instruction::I64ExtendI32U).op(&Instruction::I64GtU).op(&Instruction::If(BlockType::Empty));
                code.op(&Instruction::MemorySize(0)).op(&Instruction::I32Const(-1)).get(delta);
                code.op(&Instruction::I32Eqz).op(&Instruction::Select).get(meter).op(&Instruction::Return).end();
                code.get(delta).op(&Instruction::I64ExtendI32U).i64(self.settings.fuel.grow_page.into());
                code.op(&Instruction::I64Mul).set(cost);
                self.pay(&mut code, cost, meter);
                code.get(delta).op(&Instruction::MemoryGrow(0)).op(&Instruction::LocalTee(delta));
                code.op(&Instruction::I32Const(-1)).op(&Instruction::I32Eq).rarely().halt(&added, Halt::Memory).end();
                code.get(delta).get(meter).end();
            }
            Extra::Import(function) => {
                let params = position(self.func_type(function).params().len());
                let meter = params;
                self.give_back(&mut code, meter);
                (0..params).for_each(|param| {
                    code.get(param);
                });
                code.op(&Instruction::Call(function)).get(meter);
                self.take(&mut code);
                code.end();
            }
            Extra::Stub(function) => {
                let params = position(self.func_type(function).params().len());
                let flat = self.plan(function).and_then(|plan| plan.flat).unwrap_or(0);
                (0..params).for_each(|param| {
                    code.get(param);
                });
                code.op(&Instruction::Call(function)).get(params);
                if self.settings.meter {
                    code.i64(flat.cast_signed()).op(&Instruction::I64Sub);
                }
                code.end();
            }
            Extra::Entry(function) => {
                let params = position(self.func_type(function).params().len());
                locals.push(ValType::I64);
                let meter = params;
                (0..params).for_each(|param| {
                    code.get(param);
                });
                let height = param::STACK_HEIGHT_MAX << (param::METER_FUEL_SIGN + 1);
                code.i64(height.cast_signed());
                self.take(&mut code);
                code.op(&Instruction::Call(self.metered(function))).set(meter);
                self.give_back(&mut code, meter);
                if let Some(exception) = self.facts.exception {
                    let pool = self.added.pool;
                    code.op(&Instruction::GlobalGet(exception)).rarely();
                    code.op(&Instruction::GlobalGet(pool)).i64(0).op(&Instruction::I64LtS);
                    code.rarely().halt(&self.added, Halt::Fuel).end();
                    code.halt(&self.added, Halt::Exception).end();
                }
                code.end();
            }
        }
        code.finish(&locals, section);
        code
    }

    /// Gives the fuel in hand back to the pool, or takes from it what is owed.
    fn give_back(&self, code: &mut Code, meter: u32) {
        let pool = self.added.pool;
        code.op(&Instruction::GlobalGet(pool)).in_hand(meter).op(&Instruction::I64Add);
        code.op(&Instruction::GlobalSet(pool));
        code.get(meter).in_hand(meter).op(&Instruction::I64Sub).set(meter);
    }

    /// Takes a chunk in hand, with the meter on top of the stack: whatever is done from here on is paid for, also when it
    /// ends in a trap.
    fn take(&self, code: &mut Code) {
        if self.settings.meter {
            code.op(&Instruction::Call(self.added.draw));
        }
    }

    /// Charges what may be more than is ever in hand, and takes a chunk.
    fn pay(&self, code: &mut Code, cost: u32, meter: u32) {
        if !self.settings.meter {
            return;
        }
        let pool = self.added.pool;
        self.give_back(code, meter);
        code.op(&Instruction::GlobalGet(pool)).get(cost).op(&Instruction::I64Sub).op(&Instruction::GlobalSet(pool));
        code.draw(meter, &self.added);
    }
}

fn hint(all: &mut BranchHints, function: u32, code: &mut Code) {
    let hints = code.hints();
    if hints.len() > 0 {
        all.function_hints(function, hints);
    }
}

/// What of the rewriter's own sections has been written.
#[derive(Default)]
struct Done {
    types: bool,
    functions: bool,
    memories: bool,
    globals: bool,
    exports: bool,
    code: bool,
}

/// Sections in the order of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Imports,
    Tables,
    Globals,
    Elements,
    Code,
}
