//! Reads a module once and decides whether the profile admits it. Writes nothing.
//!
//! Our own limits come before the validator's, section by section, so that no limit of a library decides what
//! is admitted and no count is trusted before it is bounded.

use crate::{
    At, Counted, Feature, GlobalType, Refusal,
    calls::{LastCalls, Summary},
    cost,
    lower::Atomic,
};
use samebit_spec::{
    abi,
    fuel::{Class, FuelTable},
    param,
    task::TaskForm,
    wasi::{self, CoreType, Signature},
};
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{
    BinaryReaderError, BlockType, ConstExpr, DataKind, ElementItems, ElementKind, Encoding, ExternalKind, FrameKind,
    FuncToValidate, FuncType, FuncValidatorAllocations, FunctionBody, MemoryType, Operator, Parser, Payload, TypeRef,
    ValType, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

/// Which rules apply beside those of the features and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// A task's: its form, its memory, and preview1 as the only imports.
    Task,
    /// None: any functions may be imported, and all exports are kept.
    Library,
}

/// An export that the rewritten module keeps.
pub(crate) struct Exported {
    pub(crate) name: String,
    pub(crate) kind: ExternalKind,
    pub(crate) index: u32,
}

/// What the rest of [`crate::prepare`] needs to know of an admitted module.
pub(crate) struct Facts {
    pub(crate) form: TaskForm,
    pub(crate) imports: Vec<String>,
    pub(crate) memory: Option<MemoryType>,
    pub(crate) mutable_globals: Vec<(u32, GlobalType)>,
    pub(crate) start: Option<u32>,
    pub(crate) types: Vec<FuncType>,
    /// Type of each function, imported ones first.
    pub(crate) functions: Vec<u32>,
    pub(crate) imported: u32,
    /// Type of each global.
    pub(crate) globals: Vec<ValType>,
    pub(crate) exports: Vec<Exported>,
    /// Functions that tables hold.
    pub(crate) table_functions: Vec<u32>,
    /// Of the functions that the module defines.
    pub(crate) summaries: Vec<Summary>,
    /// Whether it has exceptions or atomics.
    pub(crate) to_lower: bool,
    /// The global that is not 0 while an exception is in flight. Known once it is lowered.
    pub(crate) exception: Option<u32>,
}

/// Everything that profile `samebit-1` has of WebAssembly. A call's table index may be spelled in more bytes
/// than it needs, as Rust 1.95 does; reference types themselves are left out.
fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::SIMD
        | WasmFeatures::FLOATS
        | WasmFeatures::EXTENDED_CONST
}

/// Which of a module's two forms is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it was published: it may have exceptions and atomics, which `lower.rs` turns into plain code.
    Published,
    /// Without them.
    Plain,
}

/// What a published module may have besides, to be lowered.
fn lowered_features(bytes: &[u8]) -> WasmFeatures {
    // Tags come before code. What cannot be read is refused in its turn.
    let before_code = Parser::new(0).parse_all(bytes).map_while(Result::ok);
    let tags = before_code
        .take_while(|payload| !matches!(payload, Payload::CodeSectionStart { .. }))
        .any(|payload| matches!(payload, Payload::TagSection(_)));
    let exceptions = WasmFeatures::EXCEPTIONS | WasmFeatures::REFERENCE_TYPES;
    if tags { WasmFeatures::THREADS | exceptions } else { WasmFeatures::THREADS }
}

pub(crate) fn admit(bytes: &[u8], rules: Rules, form: Form, fuel: &FuelTable) -> Result<Facts, Refusal> {
    let more = match form {
        Form::Published => lowered_features(bytes),
        Form::Plain => WasmFeatures::empty(),
    };
    let mut validator = Validator::new_with_features(features() | more);
    let mut allocations = FuncValidatorAllocations::default();
    let mut reader = Reader::new(rules, form, *fuel);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(None, &error))?;
        reader.limits(&payload)?;
        let valid = validator.payload(&payload).map_err(|error| invalid(None, &error))?;
        if let ValidPayload::Func(function, body) = valid {
            allocations = reader.function_body(function, &body, allocations)?;
        }
        // All that is said outside bodies comes before them, and is far cheaper to check.
        if matches!(payload, Payload::CodeSectionStart { .. }) {
            reader.check()?;
        }
        reader.take(payload)?;
    }
    reader.facts()
}

/// The validator's error at its own offset.
pub(crate) fn invalid(function: Option<u32>, error: &BinaryReaderError) -> Refusal {
    // Some of its words are laid out over lines.
    let reason = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    Refusal::Invalid { at: At { function, offset: error.offset() }, reason }
}

fn at(offset: usize) -> At {
    At { function: None, offset }
}

pub(crate) fn bounded(at: At, what: Counted, count: u64, max: u64) -> Result<(), Refusal> {
    if count <= max { Ok(()) } else { Err(Refusal::TooMany { at, what, count, max }) }
}

/// Collects what later sections and [`Facts`] refer to.
struct Reader {
    rules: Rules,
    form: Form,
    /// Tags: without one there are no exceptions.
    tags: u32,
    atomics: bool,
    fuel: FuelTable,
    types: Vec<FuncType>,
    /// Type of each function, imported ones first.
    functions: Vec<u32>,
    imported: usize,
    imports: BTreeSet<String>,
    memory: Option<MemoryType>,
    globals: Vec<ValType>,
    mutable_globals: Vec<(u32, GlobalType)>,
    /// Kind, index, and where the export is.
    exports: BTreeMap<String, (ExternalKind, u32, At)>,
    /// Names of exports in their order.
    export_names: Vec<String>,
    start: Option<u32>,
    table_functions: Vec<u32>,
    table_elements: u64,
    data_bytes: u64,
    /// Of all functions read so far.
    locals: u64,
    summaries: Vec<Summary>,
}

impl Reader {
    fn new(rules: Rules, form: Form, fuel: FuelTable) -> Self {
        Self {
            rules,
            form,
            tags: 0,
            atomics: false,
            fuel,
            types: Vec::new(),
            functions: Vec::new(),
            imported: 0,
            imports: BTreeSet::new(),
            memory: None,
            globals: Vec::new(),
            mutable_globals: Vec::new(),
            exports: BTreeMap::new(),
            export_names: Vec::new(),
            start: None,
            table_functions: Vec::new(),
            table_elements: 0,
            data_bytes: 0,
            locals: 0,
            summaries: Vec::new(),
        }
    }

    /// Bounds a section's counts and refuses kinds outside the profile, before the validator reads it.
    fn limits(&self, payload: &Payload<'_>) -> Result<(), Refusal> {
        let count = |offset: usize, what, count: u32, max: u32| bounded(at(offset), what, count.into(), max.into());
        let feature =
            |offset, feature, what: &str| Err(Refusal::Feature { at: at(offset), feature, what: what.to_string() });
        match payload {
            Payload::Version { encoding: Encoding::Component, range, .. } => {
                feature(range.start, Feature::Components, "the file is a component")
            }
            Payload::TypeSection(section) => {
                count(section.range().start, Counted::Types, section.count(), param::MODULE_TYPES_MAX)?;
                for group in section.clone().into_iter_with_offsets() {
                    let (offset, group) = group.map_err(|error| invalid(None, &error))?;
                    if group.is_explicit_rec_group() {
                        return feature(offset, Feature::Gc, "a recursive type group");
                    }
                    for ty in group.types() {
                        match &ty.composite_type.inner {
                            wasmparser::CompositeInnerType::Func(ty) => signature_limits(at(offset), ty)?,
                            wasmparser::CompositeInnerType::Cont(_) => {
                                return feature(offset, Feature::StackSwitching, "a continuation type");
                            }
                            wasmparser::CompositeInnerType::Array(_) | wasmparser::CompositeInnerType::Struct(_) => {
                                return feature(offset, Feature::Gc, "a struct or array type");
                            }
                        }
                    }
                }
                Ok(())
            }
            Payload::ImportSection(section) => {
                count(section.range().start, Counted::Imports, section.count(), param::MODULE_IMPORTS_MAX)
            }
            Payload::FunctionSection(section) => {
                count(section.range().start, Counted::Functions, section.count(), param::MODULE_FUNCTIONS_MAX)
            }
            Payload::CodeSectionStart { count: functions, range, .. } => {
                count(range.start, Counted::Functions, *functions, param::MODULE_FUNCTIONS_MAX)
            }
            Payload::TableSection(section) => {
                count(section.range().start, Counted::Tables, section.count(), param::MODULE_TABLES_MAX)
            }
            Payload::MemorySection(section) => {
                if section.count() > 1 {
                    let many = format!("{} memories", section.count());
                    return feature(section.range().start, Feature::MultiMemory, &many);
                }
                for memory in section.clone().into_iter_with_offsets() {
                    let (offset, memory) = memory.map_err(|error| invalid(None, &error))?;
                    if memory.memory64 {
                        return feature(offset, Feature::Memory64, "a 64-bit memory");
                    }
                    if memory.shared {
                        return feature(offset, Feature::Threads, "a shared memory");
                    }
                    if memory.page_size_log2.is_some() {
                        return feature(offset, Feature::CustomPageSizes, "a memory with its own page size");
                    }
                    bounded(at(offset), Counted::MemoryPages, memory.initial, param::MEMORY_PAGES_MAX)?;
                }
                Ok(())
            }
            Payload::TagSection(section) => match self.form {
                Form::Published => count(section.range().start, Counted::Tags, section.count(), param::MODULE_TAGS_MAX),
                Form::Plain => feature(section.range().start, Feature::Exceptions, "a tag section"),
            },
            Payload::GlobalSection(section) => {
                count(section.range().start, Counted::Globals, section.count(), param::MODULE_GLOBALS_MAX)
            }
            Payload::ExportSection(section) => {
                count(section.range().start, Counted::Exports, section.count(), param::MODULE_EXPORTS_MAX)
            }
            Payload::ElementSection(section) => {
                count(section.range().start, Counted::ElementSegments, section.count(), param::ELEMENT_SEGMENTS_MAX)?;
                let mut elements = 0_u64;
                for element in section.clone().into_iter_with_offsets() {
                    let (offset, element) = element.map_err(|error| invalid(None, &error))?;
                    let more = match &element.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    elements = elements.saturating_add(more.into());
                    bounded(at(offset), Counted::Elements, elements, param::ELEMENTS_MAX)?;
                }
                Ok(())
            }
            Payload::DataSection(section) => {
                count(section.range().start, Counted::DataSegments, section.count(), param::DATA_SEGMENTS_MAX)
            }
            Payload::DataCountSection { count: segments, range } => {
                count(range.start, Counted::DataSegments, *segments, param::DATA_SEGMENTS_MAX)
            }
            _ => Ok(()),
        }
    }

    /// Reads a valid section's facts and applies the profile's rules to it.
    fn take(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        let reading = |error: BinaryReaderError| invalid(None, &error);
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    self.types.push(ty.map_err(reading)?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports_with_offsets() {
                    let (offset, import) = import.map_err(reading)?;
                    self.import(at(offset), import.module, import.name, import.ty)?;
                }
                self.imported = self.functions.len();
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty.map_err(reading)?);
                }
            }
            Payload::TableSection(section) => {
                for table in section.into_iter_with_offsets() {
                    let (offset, table) = table.map_err(reading)?;
                    self.table_elements = self.table_elements.saturating_add(table.ty.initial);
                    bounded(at(offset), Counted::TableElements, self.table_elements, param::TABLE_ELEMENTS_MAX)?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memory = Some(memory.map_err(reading)?);
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in (0..).zip(section.into_iter_with_offsets()) {
                    let (offset, global) = global.map_err(reading)?;
                    self.globals.push(global.ty.content_type);
                    constant(at(offset), &global.init_expr)?;
                    if global.ty.mutable {
                        self.mutable_globals.push((index, global_type(at(offset), global.ty.content_type)?));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section.into_iter_with_offsets() {
                    let (offset, export) = export.map_err(reading)?;
                    if export.name.starts_with(abi::RESERVED_PREFIX) {
                        return Err(Refusal::Reserved { at: at(offset), name: export.name.to_string() });
                    }
                    self.exports.insert(export.name.to_string(), (export.kind, export.index, at(offset)));
                    self.export_names.push(export.name.to_string());
                }
            }
            Payload::TagSection(section) => self.tags = section.count(),
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => {
                for (index, element) in (0..).zip(section.into_iter_with_offsets()) {
                    let (offset, element) = element.map_err(reading)?;
                    let ElementKind::Active { offset_expr, .. } = &element.kind else {
                        return Err(Refusal::Passive { at: at(offset), kind: "element", index });
                    };
                    constant(at(offset), offset_expr)?;
                    match element.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.table_functions.push(function.map_err(reading)?);
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                for operator in expression.map_err(reading)?.get_operators_reader() {
                                    if let Operator::RefFunc { function_index } = operator.map_err(reading)? {
                                        self.table_functions.push(function_index);
                                    }
                                }
                            }
                        }
                    }
                }
            }
            Payload::DataSection(section) => {
                for (index, data) in (0..).zip(section.into_iter_with_offsets()) {
                    let (offset, data) = data.map_err(reading)?;
                    let DataKind::Active { offset_expr, .. } = &data.kind else {
                        return Err(Refusal::Passive { at: at(offset), kind: "data", index });
                    };
                    constant(at(offset), offset_expr)?;
                    self.data_bytes = self.data_bytes.saturating_add(data.data.len() as u64);
                    bounded(at(offset), Counted::DataBytes, self.data_bytes, param::DATA_BYTES_MAX)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, at: At, module: &str, name: &str, ty: TypeRef) -> Result<(), Refusal> {
        let unknown = || Refusal::Import { at, module: module.to_string(), name: name.to_string() };
        if self.rules == Rules::Library {
            let TypeRef::Func(index) = ty else { return Err(unknown()) };
            self.functions.push(index);
            return Ok(());
        }
        if module != abi::WASI_MODULE {
            return Err(unknown());
        }
        let wanted = wasi::signature(name).ok_or_else(unknown)?;
        // An import of another kind under a known name is no preview1 function either.
        let TypeRef::Func(index) = ty else { return Err(unknown()) };
        let found = self.types.get(index as usize).ok_or_else(unknown)?;
        if !is_signature(found, wanted) {
            return Err(Refusal::ImportType {
                at,
                name: name.to_string(),
                wanted: wanted_text(wanted),
                found: type_text(found),
            });
        }
        self.imports.insert(name.to_string());
        self.functions.push(index);
        Ok(())
    }

    /// Applies the rules about memory and exports, which need every section before the code.
    fn check(&self) -> Result<TaskForm, Refusal> {
        match (self.rules, self.memory, self.exports.get(abi::EXPORT_MEMORY)) {
            (Rules::Library, ..) => Ok(TaskForm::Command),
            (Rules::Task, Some(_), Some((ExternalKind::Memory, 0, _))) => self.form(),
            (Rules::Task, ..) => Err(Refusal::Memory),
        }
    }

    fn facts(self) -> Result<Facts, Refusal> {
        let form = self.check()?;
        let kept = |name: &str| match (self.rules, form) {
            (Rules::Library, _) => true,
            (Rules::Task, TaskForm::Command) => [abi::EXPORT_COMMAND, abi::EXPORT_MEMORY].contains(&name),
            (Rules::Task, TaskForm::Stepped) => {
                let entries = [abi::EXPORT_INITIALIZE, abi::EXPORT_INIT, abi::EXPORT_STEP, abi::EXPORT_FINISH];
                name == abi::EXPORT_MEMORY || entries.contains(&name)
            }
        };
        let exports = self
            .export_names
            .iter()
            .filter(|name| kept(name))
            .filter_map(|name| {
                self.exports.get(name).map(|&(kind, index, _)| Exported { name: name.clone(), kind, index })
            })
            .collect();
        Ok(Facts {
            form,
            exports,
            imports: self.imports.into_iter().collect(),
            memory: self.memory,
            mutable_globals: self.mutable_globals,
            start: self.start,
            types: self.types,
            imported: crate::function::position(self.imported),
            functions: self.functions,
            globals: self.globals,
            table_functions: self.table_functions,
            summaries: self.summaries,
            to_lower: self.tags > 0 || self.atomics,
            exception: None,
        })
    }

    /// Refuses an instruction that the profile leaves out and that is not lowered.
    fn allowed(&mut self, at: At, operator: &Operator<'_>) -> Result<(), Refusal> {
        let (feature, visitor) = family(operator);
        let instruction = || name(visitor);
        match operator {
            Operator::MemoryInit { .. } | Operator::DataDrop { .. } | Operator::ElemDrop { .. } => {
                return Err(Refusal::SegmentUse { at, instruction: instruction() });
            }
            Operator::TableInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. } => return Err(Refusal::TableChange { at, instruction: instruction() }),
            Operator::TryTable { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::RefNull { .. }
            | Operator::RefIsNull
                if self.tags > 0 =>
            {
                return Ok(());
            }
            _ => {}
        }
        match feature {
            None => Ok(()),
            Some(Feature::Threads) if self.form == Form::Published && Atomic::of(operator).is_some() => {
                self.atomics = true;
                Ok(())
            }
            Some(feature) => Err(Refusal::Feature { at, feature, what: instruction() }),
        }
    }

    /// Validates a body, instruction by instruction, and refuses what the profile leaves out by its own name.
    fn function_body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        allocations: FuncValidatorAllocations,
    ) -> Result<FuncValidatorAllocations, Refusal> {
        let mut validator = function.into_validator(allocations);
        let index = Some(validator.index());
        let place = |offset| At { function: index, offset };
        let wrong = |error: BinaryReaderError| invalid(index, &error);
        let start = body.range().start;
        bounded(place(start), Counted::BodyBytes, body.range().len() as u64, param::FUNCTION_BYTES_MAX as u64)?;
        let mut locals = 0_u64;
        let mut groups = body.get_locals_reader().map_err(wrong)?;
        for _ in 0..groups.get_count() {
            let offset = groups.original_position();
            let (count, ty) = groups.read().map_err(wrong)?;
            locals += u64::from(count);
            bounded(place(offset), Counted::Locals, locals, param::FUNCTION_LOCALS_MAX.into())?;
            self.locals += u64::from(count);
            bounded(place(offset), Counted::ModuleLocals, self.locals, param::MODULE_LOCALS_MAX)?;
            validator.define_locals(offset, count, ty).map_err(wrong)?;
        }
        let mut operators = body.get_operators_reader().map_err(wrong)?;
        let mut shape = Shape::new(self.form, body.range().len() as u64, validator.len_locals().into());
        let mut summary = Summary { straight: true, ..Summary::default() };
        let (mut operands, mut number) = (0, 0_u32);
        let mut last = LastCalls::default();
        let mut made: Vec<Option<u32>> = Vec::new();
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset().map_err(wrong)?;
            self.allowed(place(offset), &operator)?;
            shape.read(place(offset), &operator, &self.types)?;
            validator.op(offset, &operator).map_err(wrong)?;
            operands = operands.max(validator.operand_stack_height());
            bounded(place(offset), Counted::Operands, operands.into(), param::FUNCTION_OPERANDS_MAX)?;
            if matches!(operator, Operator::BrIf { relative_depth: 0 })
                && validator.get_control_frame(0).is_some_and(|frame| {
                    frame.kind == FrameKind::Loop
                        && !frame.unreachable
                        && frame.height == validator.operand_stack_height() as usize
                })
            {
                summary.clean.push(number);
            }
            number += 1;
            summarise(&mut summary, &operator, &self.fuel);
            match operator {
                Operator::Call { function_index } => made.push(Some(function_index)),
                Operator::CallIndirect { .. } => made.push(None),
                _ => {}
            }
            for call in last.read(made.len(), &operator) {
                // Numbered from 1 on, in the order in which they were made.
                made[call - 1] = Some(u32::MAX);
            }
        }
        operators.finish().map_err(wrong)?;
        summary.indirect = crate::function::position(made.iter().filter(|call| call.is_none()).count());
        summary.calls = made.into_iter().flatten().filter(|&call| call != u32::MAX).collect();
        let slots = u64::from(validator.len_locals()) + u64::from(operands);
        let bytes = param::STACK_FRAME_BYTES
            + param::STACK_SLOT_BYTES * slots
            + param::STACK_BODY_BYTES * body.range().len() as u64;
        summary.height = bytes.div_ceil(param::STACK_UNIT_BYTES);
        self.summaries.push(summary);
        Ok(validator.into_allocations())
    }

    fn form(&self) -> Result<TaskForm, Refusal> {
        const STEPPED: [(&str, &str, &[ValType], &[ValType]); 4] = [
            (abi::EXPORT_INITIALIZE, "a function () -> ()", &[], &[]),
            (abi::EXPORT_INIT, "a function () -> (i32)", &[], &[ValType::I32]),
            (abi::EXPORT_STEP, "a function (i64) -> (i32)", &[ValType::I64], &[ValType::I32]),
            (abi::EXPORT_FINISH, "a function () -> (i32)", &[], &[ValType::I32]),
        ];
        // `_initialize` alone makes no task: every reactor has it.
        let stepped = STEPPED[1..].iter().find_map(|entry| Some((entry.0, self.exports.get(entry.0)?.2)));
        if self.exports.contains_key(abi::EXPORT_COMMAND) {
            if let Some((name, at)) = stepped {
                return Err(Refusal::TwoForms { at, name });
            }
            self.entry(abi::EXPORT_COMMAND, "a function () -> ()", &[], &[])?;
            return Ok(TaskForm::Command);
        }
        if stepped.is_none() {
            return Err(Refusal::NoEntry);
        }
        for (name, wanted, params, results) in STEPPED {
            self.entry(name, wanted, params, results)?;
        }
        Ok(TaskForm::Stepped)
    }

    fn entry(
        &self,
        name: &'static str,
        wanted: &'static str,
        params: &[ValType],
        results: &[ValType],
    ) -> Result<(), Refusal> {
        let &(kind, index, at) = self.exports.get(name).ok_or(Refusal::ExportMissing { name })?;
        let wrong = |found: String| Err(Refusal::ExportType { at, name, wanted, found });
        if kind != ExternalKind::Func {
            return wrong(format!("a {kind:?}").to_lowercase());
        }
        if (index as usize) < self.imported {
            return wrong("an imported function".to_string());
        }
        let ty = self.functions.get(index as usize).and_then(|&ty| self.types.get(ty as usize));
        match ty {
            Some(ty) if ty.params() == params && ty.results() == results => Ok(()),
            Some(ty) => wrong(format!("a function {}", type_text(ty))),
            None => wrong("a function without a type".to_string()),
        }
    }
}

/// Adds an operator to what is known of its function.
fn summarise(summary: &mut Summary, operator: &Operator<'_>, fuel: &FuelTable) {
    let class = cost::class(operator);
    // What a constant length adds is bounded and needs the operator before; it is counted as if it were longest.
    let bulk = if class == Class::MemoryBulk { u64::from(param::BULK_CONSTANT_MAX >> fuel.bulk_bytes_log2) } else { 0 };
    summary.stride += u64::from(fuel.cost(class)) + bulk;
    summary.cost += u64::from(fuel.cost(class));
    match operator {
        Operator::CallIndirect { .. }
        | Operator::Unreachable
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::BrTable { .. }
        | Operator::Return
        | Operator::MemoryGrow { .. }
        | Operator::MemoryCopy { .. }
        | Operator::MemoryFill { .. } => summary.straight = false,
        _ => {}
    }
}

/// Bounds what is computed at instantiation, which no fuel pays.
fn constant(at: At, expression: &ConstExpr<'_>) -> Result<(), Refusal> {
    let bytes = expression.get_binary_reader().bytes_remaining() as u64;
    bounded(at, Counted::ConstantBytes, bytes, param::CONSTANT_BYTES_MAX)
}

fn signature_limits(at: At, ty: &FuncType) -> Result<(), Refusal> {
    bounded(at, Counted::Parameters, ty.params().len() as u64, param::PARAMETERS_MAX)?;
    bounded(at, Counted::Results, ty.results().len() as u64, param::RESULTS_MAX)
}

fn global_type(at: At, ty: ValType) -> Result<GlobalType, Refusal> {
    Ok(match ty {
        ValType::I32 => GlobalType::I32,
        ValType::I64 => GlobalType::I64,
        ValType::F32 => GlobalType::F32,
        ValType::F64 => GlobalType::F64,
        ValType::V128 => GlobalType::V128,
        ValType::Ref(_) => {
            let what = "a mutable global that holds a reference".to_string();
            return Err(Refusal::Feature { at, feature: Feature::References, what });
        }
    })
}

fn core(ty: CoreType) -> ValType {
    match ty {
        CoreType::I32 => ValType::I32,
        CoreType::I64 => ValType::I64,
    }
}

fn is_signature(found: &FuncType, wanted: &Signature) -> bool {
    found.params().iter().copied().eq(wanted.params.iter().copied().map(core))
        && found.results().iter().copied().eq(wanted.result.into_iter().map(core))
}

fn list(types: impl Iterator<Item = ValType>) -> String {
    types.map(|ty| ty.to_string()).collect::<Vec<_>>().join(" ")
}

fn type_text(ty: &FuncType) -> String {
    format!("({}) -> ({})", list(ty.params().iter().copied()), list(ty.results().iter().copied()))
}

fn wanted_text(ty: &Signature) -> String {
    let params = ty.params.iter().copied().map(core);
    format!("({}) -> ({})", list(params), list(ty.result.into_iter().map(core)))
}

/// What a compiler's work grows with faster than a body's bytes do, while the body is read.
struct Shape {
    /// Bytes of the body.
    bytes: u64,
    /// Whether branches are counted: lowering adds one for each call from which an exception can escape.
    published: bool,
    /// Parameters and locals of the function.
    locals: u64,
    /// The open blocks: whether each is a loop, and the assignments before it.
    open: Vec<(bool, u64)>,
    loops: u64,
    /// Blocks, loops and branches.
    branches: u64,
    /// Ways of all branch tables.
    ways: u64,
    /// Parameters and results of all blocks.
    values: u64,
    /// Assignments to locals so far.
    sets: u64,
    /// Assignments within each loop, summed over all loops; of one loop at most one for each local.
    loop_sets: u64,
    /// The same of blocks and branches.
    block_sets: u64,
}

impl Shape {
    fn new(form: Form, bytes: u64, locals: u64) -> Self {
        Self {
            published: form == Form::Published,
            bytes,
            locals,
            open: Vec::new(),
            loops: 0,
            branches: 0,
            ways: 0,
            values: 0,
            sets: 0,
            loop_sets: 0,
            block_sets: 0,
        }
    }

    /// At the end of a block: each local that it assigns may be a value where its paths meet.
    fn close(&mut self, at: At) -> Result<(), Refusal> {
        let Some((is_loop, before)) = self.open.pop() else { return Ok(()) };
        let sets = (self.sets - before).min(self.locals);
        if is_loop {
            self.loops -= 1;
            self.loop_sets += sets;
            let max = param::LOOP_SETS_MAX.min(param::LOOP_SETS_FREE + self.bytes / param::LOOP_SETS_BYTES);
            bounded(at, Counted::LoopSets, self.loop_sets, max)
        } else {
            self.block_sets += sets;
            let max = param::BLOCK_SETS_FREE + self.bytes * param::BLOCK_SETS_PER_BYTE;
            bounded(at, Counted::BlockSets, self.block_sets, max)
        }
    }

    /// Counts a place at which a compiler begins or ends a piece of straight code.
    fn branch(&mut self, at: At) -> Result<(), Refusal> {
        self.branches += u64::from(self.published);
        let max = param::BRANCHES_MAX.min(param::BRANCHES_FREE + self.bytes / param::BRANCHES_BYTES);
        bounded(at, Counted::Branches, self.branches, max)
    }

    fn read(&mut self, at: At, operator: &Operator<'_>, types: &[FuncType]) -> Result<(), Refusal> {
        let (blockty, is_loop) = match *operator {
            Operator::Block { blockty } | Operator::If { blockty } => (blockty, false),
            Operator::TryTable { ref try_table } => (try_table.ty, false),
            Operator::Loop { blockty } => (blockty, true),
            Operator::End => return self.close(at),
            Operator::LocalSet { .. } | Operator::LocalTee { .. } => {
                self.sets += 1;
                return Ok(());
            }
            Operator::Br { .. } | Operator::BrIf { .. } => return self.branch(at),
            Operator::BrTable { ref targets } => {
                self.ways += u64::from(targets.len());
                bounded(at, Counted::Ways, self.ways, param::BRANCH_WAYS_MAX)?;
                return self.branch(at);
            }
            _ => return Ok(()),
        };
        self.branch(at)?;
        let values = match blockty {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            // An index of no type is the validator's to refuse.
            BlockType::FuncType(index) => {
                types.get(index as usize).map_or(0, |ty| ty.params().len() as u64 + ty.results().len() as u64)
            }
        };
        bounded(at, Counted::BlockValues, values, param::BLOCK_VALUES_MAX)?;
        // One value is what compilers emit; blocks that pass more are counted together.
        self.values += values.saturating_sub(1);
        bounded(at, Counted::FunctionBlockValues, self.values, param::FUNCTION_BLOCK_VALUES_MAX)?;
        self.open.push((is_loop, self.sets));
        self.loops += u64::from(is_loop);
        bounded(at, Counted::Nesting, self.open.len() as u64, param::NESTING_MAX)?;
        bounded(at, Counted::NestedLoops, self.loops, param::NESTED_LOOPS_MAX)
    }
}

macro_rules! feature {
    (mvp) => {
        None
    };
    (sign_extension) => {
        None
    };
    (saturating_float_to_int) => {
        None
    };
    (bulk_memory) => {
        None
    };
    (simd) => {
        None
    };
    (reference_types) => {
        Some(Feature::References)
    };
    (function_references) => {
        Some(Feature::References)
    };
    (gc) => {
        Some(Feature::Gc)
    };
    (custom_descriptors) => {
        Some(Feature::Gc)
    };
    (tail_call) => {
        Some(Feature::TailCalls)
    };
    (threads) => {
        Some(Feature::Threads)
    };
    (shared_everything_threads) => {
        Some(Feature::Threads)
    };
    (relaxed_simd) => {
        Some(Feature::RelaxedSimd)
    };
    (exceptions) => {
        Some(Feature::Exceptions)
    };
    (legacy_exceptions) => {
        Some(Feature::Exceptions)
    };
    (stack_switching) => {
        Some(Feature::StackSwitching)
    };
    (wide_arithmetic) => {
        Some(Feature::WideArithmetic)
    };
    ($other:ident) => {
        Some(Feature::Other)
    };
}

macro_rules! families {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        /// The feature that an instruction needs beyond the profile, and the name of its visitor.
        fn family(operator: &Operator<'_>) -> (Option<Feature>, &'static str) {
            match operator {
                $(Operator::$op { .. } => (feature!($proposal), stringify!($visit)),)*
                _ => (Some(Feature::Other), "visit_unknown"),
            }
        }
    };
}

wasmparser::for_each_operator!(families);

/// The instruction's name in the text format, from that of its visitor: `memory.init` from `visit_memory_init`.
fn name(visitor: &str) -> String {
    const GROUPS: [&str; 21] = [
        "i32", "i64", "f32", "f64", "v128", "i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2", "memory", "table",
        "ref", "elem", "data", "struct", "array", "any", "extern", "i31",
    ];
    let name = visitor.strip_prefix("visit_").unwrap_or(visitor);
    let Some((group, rest)) = name.split_once('_').filter(|(group, _)| GROUPS.contains(group)) else {
        return name.to_string();
    };
    let Some(atomic) = rest.strip_prefix("atomic_") else { return format!("{group}.{rest}") };
    match atomic.split_once('_') {
        Some((width, deed)) if width.starts_with("rmw") => format!("{group}.atomic.{width}.{deed}"),
        _ => format!("{group}.atomic.{atomic}"),
    }
}
