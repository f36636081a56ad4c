//! Reads a module once and decides whether the profile admits it. Writes nothing.
//!
//! Our own limits come before the validator's, section by section, so that no limit of a library decides what
//! is admitted and no count is trusted before it is bounded.

mod body;

use crate::{At, Counted, Feature, GlobalType, Refusal, calls::Summary, function::Ops, op::Costs};
use body::{Before, Bodies};
use samebit_spec::{
    abi,
    fuel::FuelTable,
    param,
    task::TaskForm,
    tensor::host,
    wasi::{self, CoreType, Signature},
};
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{
    BinaryReaderError, ConstExpr, DataKind, ElementItems, ElementKind, Encoding, ExternalKind, FuncType,
    FuncValidatorAllocations, MemoryType, Operator, Parser, Payload, TypeRef, ValType, ValidPayload, Validator,
    WasmFeatures,
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
    pub(crate) tensors: bool,
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
    /// Operators of the functions whose summaries say so.
    pub(crate) kept: Ops,
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
    let mut reader = Reader::new(rules, form);
    let mut bodies = Bodies::new(form, Costs::new(fuel));
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(None, &error))?;
        reader.limits(&payload)?;
        let valid = validator.payload(&payload).map_err(|error| invalid(None, &error))?;
        if let ValidPayload::Func(function, body) = valid {
            let before = Before { types: &reader.types, functions: &reader.functions, tags: reader.tags > 0 };
            let summary;
            (summary, allocations) = bodies.read(&before, function, &body, allocations)?;
            reader.summaries.push(summary);
        }
        // All that is said outside bodies comes before them, and is far cheaper to check.
        if let Payload::CodeSectionStart { size, .. } = payload {
            reader.check()?;
            bodies.code(size);
        }
        reader.take(payload)?;
    }
    reader.facts(bodies)
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
    types: Vec<FuncType>,
    /// Type of each function, imported ones first.
    functions: Vec<u32>,
    imported: usize,
    imports: BTreeSet<String>,
    /// Whether functions on tensors are among the imports.
    tensors: bool,
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
    summaries: Vec<Summary>,
}

impl Reader {
    fn new(rules: Rules, form: Form) -> Self {
        Self {
            rules,
            form,
            tags: 0,
            types: Vec::new(),
            functions: Vec::new(),
            imported: 0,
            imports: BTreeSet::new(),
            tensors: false,
            memory: None,
            globals: Vec::new(),
            mutable_globals: Vec::new(),
            exports: BTreeMap::new(),
            export_names: Vec::new(),
            start: None,
            table_functions: Vec::new(),
            table_elements: 0,
            data_bytes: 0,
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
        let wanted = match module {
            abi::WASI_MODULE => wasi::signature(name),
            abi::TENSOR_MODULE => host::signature(name),
            _ => None,
        };
        let wanted = wanted.ok_or_else(unknown)?;
        // An import of another kind under a known name is none of these functions either.
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
        if module == abi::TENSOR_MODULE {
            self.tensors = true;
        } else {
            self.imports.insert(name.to_string());
        }
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

    fn facts(self, bodies: Bodies) -> Result<Facts, Refusal> {
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
            tensors: self.tensors,
            memory: self.memory,
            mutable_globals: self.mutable_globals,
            start: self.start,
            types: self.types,
            imported: crate::function::position(self.imported),
            functions: self.functions,
            globals: self.globals,
            table_functions: self.table_functions,
            summaries: self.summaries,
            to_lower: self.tags > 0 || bodies.atomics,
            kept: bodies.kept,
            exception: None,
        })
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
