//! A second meter, as simple as can be: before every instruction its cost is added to an exported global, and where paths
//! meet what that costs.
//!
//! It shares the cost table with the rewriter and nothing else: classes are found by the instructions' names, there are
//! no segments, and nothing is charged before it is executed. Chapter 03 of the spec, section 8, says that the
//! rewriter's fuel of every call that returns is this number.

use samebit_spec::fuel::{Class, FuelTable};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction, MemorySection, Module, StartSection,
    TableSection, TypeSection, ValType,
    reencode::{Error, Reencode, RoundtripReencoder},
};
use wasmparser::{Operator, Parser, Payload};

/// Name of the exported global that counts.
pub const EXPORT_COUNT: &str = "naive fuel";

macro_rules! names {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        fn visitor(operator: &Operator<'_>) -> &'static str {
            match operator {
                $(Operator::$op { .. } => stringify!($visit),)*
                _ => "visit_unknown",
            }
        }
    };
}

wasmparser::for_each_operator!(names);

/// The class of an instruction by its name, such as `i32_div_u`.
#[must_use]
pub fn class(name: &str) -> Class {
    let (shape, rest) = name.split_once('_').unwrap_or((name, ""));
    let has = |parts: &[&str]| parts.iter().any(|part| rest.split('_').any(|word| word == *part));
    let begins = |parts: &[&str]| parts.iter().any(|part| rest.starts_with(part));
    match name {
        "if" | "br" | "br_if" | "return" => return Class::Branch,
        "br_table" => return Class::BranchTable,
        "call" => return Class::Call,
        "call_indirect" => return Class::CallIndirect,
        "global_get" | "global_set" => return Class::Global,
        "memory_size" => return Class::MemorySize,
        "memory_grow" => return Class::MemoryGrow,
        "memory_copy" | "memory_fill" => return Class::MemoryBulk,
        "select" | "typed_select" => return Class::Integer,
        "local_set" | "local_tee" => return Class::Assign,
        _ => {}
    }
    match shape {
        _ if has(&["const"]) => Class::Free,
        _ if has(&["reinterpret"]) => Class::Integer,
        "v128" if begins(&["load", "store"]) => Class::VectorMemory,
        _ if begins(&["load"]) => Class::Load,
        _ if begins(&["store"]) => Class::Store,
        "i32" | "i64" if begins(&["trunc"]) => Class::Convert,
        "i32" | "i64" if begins(&["mul", "clz", "ctz", "popcnt"]) => Class::Multiply,
        "i32" | "i64" if begins(&["div", "rem"]) => Class::Divide,
        "i32" | "i64" => Class::Integer,
        "f32" | "f64" if begins(&["convert", "demote", "promote"]) => Class::Convert,
        "f32" | "f64" if begins(&["min", "max"]) => Class::FloatMinMax,
        "f32" | "f64" if begins(&["div", "sqrt"]) => Class::FloatDivide,
        "f32" | "f64" if begins(&["ceil", "floor", "trunc", "nearest"]) => Class::FloatRound,
        "f32" | "f64" => Class::Float,
        "f32x4" | "f64x2"
            if begins(&[
                "div", "sqrt", "min", "max", "ceil", "floor", "trunc", "nearest", "convert", "demote", "promote",
            ]) =>
        {
            Class::VectorDivide
        }
        "i32x4" if begins(&["trunc"]) => Class::VectorDivide,
        "i32x4" | "i64x2" if begins(&["mul"]) => Class::VectorDivide,
        "f32x4" | "f64x2" => Class::Vector,
        "i8x16" if begins(&["shl", "shr", "popcnt", "swizzle"]) => Class::VectorMultiply,
        "i64x2" if begins(&["shr_s"]) => Class::VectorMultiply,
        "i16x8" | "i32x4" | "i64x2" if begins(&["mul", "extmul", "dot", "q15mulr"]) => Class::VectorMultiply,
        "i8x16" | "i16x8" | "i32x4" | "i64x2" | "v128" => Class::Vector,
        _ => Class::Free,
    }
}

/// What one instruction costs by itself.
fn cost(operator: &Operator<'_>, table: &FuelTable) -> u64 {
    let visitor = visitor(operator);
    table.cost(class(visitor.strip_prefix("visit_").unwrap_or(visitor))).into()
}

/// The module with a counter beside every instruction.
///
/// # Errors
/// What the encoder says of a module that is not valid.
pub fn count(wasm: &[u8], table: &FuelTable) -> Result<Vec<u8>, Error> {
    let pass = &mut RoundtripReencoder;
    let (mut types, mut imports, mut functions) = (TypeSection::new(), ImportSection::new(), FunctionSection::new());
    let (mut tables, mut memories, mut globals) = (TableSection::new(), MemorySection::new(), GlobalSection::new());
    let (mut exports, mut elements, mut data) = (ExportSection::new(), ElementSection::new(), DataSection::new());
    let (mut code, mut start) = (CodeSection::new(), None);
    // Parameters and results of each type, and the type of each function.
    let (mut arities, mut callees, mut next) = (Vec::new(), Vec::new(), 0);
    let mut counter = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for ty in section.clone().into_iter_err_on_gc_types() {
                    let ty = ty?;
                    arities.push((ty.params().len(), ty.results().len()));
                }
                pass.parse_type_section(&mut types, section)?;
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if let wasmparser::TypeRef::Func(ty) = import?.ty {
                        callees.push(ty);
                    }
                }
                next = callees.len();
                pass.parse_import_section(&mut imports, section)?;
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    callees.push(ty?);
                }
                pass.parse_function_section(&mut functions, section)?;
            }
            Payload::TableSection(section) => pass.parse_table_section(&mut tables, section)?,
            Payload::MemorySection(section) => pass.parse_memory_section(&mut memories, section)?,
            Payload::GlobalSection(section) => {
                counter = section.count();
                pass.parse_global_section(&mut globals, section)?;
            }
            Payload::ExportSection(section) => pass.parse_export_section(&mut exports, section)?,
            Payload::StartSection { func, .. } => start = Some(StartSection { function_index: func }),
            Payload::ElementSection(section) => pass.parse_element_section(&mut elements, section)?,
            Payload::DataSection(section) => pass.parse_data_section(&mut data, section)?,
            Payload::CodeSectionEntry(body) => {
                let params = callees.get(next).and_then(|&ty| arities.get(ty as usize)).map_or(0, |arity| arity.0);
                let types = Arities { types: &arities, functions: &callees };
                code.function(&counted(&body, params, counter, table, &types)?);
                next += 1;
            }
            _ => {}
        }
    }
    globals.global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
    exports.export(EXPORT_COUNT, ExportKind::Global, counter);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
    module.section(&globals).section(&exports);
    if let Some(start) = start {
        module.section(&start);
    }
    module.section(&elements).section(&code).section(&data);
    Ok(module.finish())
}

/// How many values calls pass.
struct Arities<'a> {
    /// Parameters and results of each type.
    types: &'a [(usize, usize)],
    /// Type of each function.
    functions: &'a [u32],
}

impl Arities<'_> {
    /// Parameters and results together of a call; none when the operator is no call.
    fn passed(&self, operator: &Operator<'_>) -> Option<u64> {
        let ty = match operator {
            Operator::Call { function_index } => self.functions.get(*function_index as usize).copied()?,
            Operator::CallIndirect { type_index, .. } => *type_index,
            _ => return None,
        };
        self.types.get(ty as usize).map(|(params, results)| (params + results) as u64)
    }
}

/// Of each operator of a body, by its number: how many locals are assigned at most within the construct that it begins, if it
/// is a `loop`, or ends, if it is the `end` of a `block` or `if`.
fn meetings(body: &wasmparser::FunctionBody<'_>, locals: u64) -> Result<Vec<Option<u64>>, Error> {
    let operators = body.get_operators_reader()?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut found = vec![None; operators.len()];
    let mut open = Vec::new();
    for (number, operator) in operators.iter().enumerate() {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(number),
            Operator::End => {
                let Some(begin) = open.pop() else { continue };
                let assigns = |operator: &&Operator<'_>| {
                    matches!(operator, Operator::LocalSet { .. } | Operator::LocalTee { .. })
                };
                let assigned = operators[begin..number].iter().filter(assigns).count() as u64;
                let at = if matches!(operators[begin], Operator::Loop { .. }) { begin } else { number };
                found[at] = Some(assigned.min(locals));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn counted(
    body: &wasmparser::FunctionBody<'_>,
    params: usize,
    counter: u32,
    table: &FuelTable,
    types: &Arities<'_>,
) -> Result<Function, Error> {
    let pass = &mut RoundtripReencoder;
    let (mut locals, mut count) = (Vec::new(), u32::try_from(params).unwrap_or(u32::MAX));
    for group in body.get_locals_reader()? {
        let (many, ty) = group?;
        count += many;
        locals.push((many, pass.val_type(ty)?));
    }
    let (operand, result) = (count, count + 1);
    locals.push((2, ValType::I32));
    let mut function = Function::new(locals);
    let mut operators = body.get_operators_reader()?;
    let add = |function: &mut Function, cost: u64| {
        if cost > 0 {
            function
                .instruction(&Instruction::GlobalGet(counter))
                .instruction(&Instruction::I64Const(cost.cast_signed()))
                .instruction(&Instruction::I64Add)
                .instruction(&Instruction::GlobalSet(counter));
        }
    };
    add(&mut function, table.entry(u64::from(count) - params as u64));
    let mut meetings = meetings(body, count.into())?.into_iter();
    let scaled = |function: &mut Function, local: u32, scale: &[Instruction<'static>]| {
        function.instruction(&Instruction::GlobalGet(counter));
        function.instruction(&Instruction::LocalGet(local)).instruction(&Instruction::I64ExtendI32U);
        for instruction in scale {
            function.instruction(instruction);
        }
        function.instruction(&Instruction::I64Add).instruction(&Instruction::GlobalSet(counter));
    };
    while !operators.eof() {
        let operator = operators.read()?;
        let passed = types.passed(&operator).map_or(0, |passed| table.call(passed));
        add(&mut function, cost(&operator, table) + passed);
        let meeting = meetings.next().flatten().map_or(0, |assigned| table.joined(assigned));
        match operator {
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } => {
                function.instruction(&Instruction::LocalSet(operand));
                let shift = Instruction::I64Const(table.bulk_bytes_log2.into());
                scaled(&mut function, operand, &[shift, Instruction::I64ShrU]);
                function.instruction(&Instruction::LocalGet(operand));
                function.instruction(&pass.instruction(operator)?);
            }
            Operator::MemoryGrow { .. } => {
                function.instruction(&Instruction::LocalTee(operand));
                function.instruction(&pass.instruction(operator)?);
                function.instruction(&Instruction::LocalTee(result)).instruction(&Instruction::I32Const(-1));
                function.instruction(&Instruction::I32Ne).instruction(&Instruction::If(BlockType::Empty));
                let pages = Instruction::I64Const(table.grow_page.into());
                scaled(&mut function, operand, &[pages, Instruction::I64Mul]);
                function.instruction(&Instruction::End).instruction(&Instruction::LocalGet(result));
            }
            operator => {
                function.instruction(&pass.instruction(operator)?);
            }
        }
        add(&mut function, meeting);
    }
    Ok(function)
}

/// What traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// `unreachable`, which makes what leads to it doomed.
    Unreachable,
    /// A division by zero, which a segment goes past.
    Division,
}

/// How many instructions the bodies of a module have.
///
/// # Errors
/// What the reader says of a module that is not valid.
pub fn instructions(wasm: &[u8]) -> Result<usize, Error> {
    let mut count = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            count += body.get_operators_reader()?.into_iter().count();
        }
    }
    Ok(count)
}

/// The module with a trap before the instruction with this number, counted through all bodies.
///
/// # Errors
/// What the encoder says of a module that is not valid.
pub fn plant(wasm: &[u8], at: usize, what: Planted) -> Result<Vec<u8>, Error> {
    let mut module = Module::new();
    Planting { left: Some(at), what }.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

struct Planting {
    /// Instructions before the place.
    left: Option<usize>,
    what: Planted,
}

impl Reencode for Planting {
    type Error = core::convert::Infallible;

    fn parse_function_body(&mut self, code: &mut CodeSection, body: wasmparser::FunctionBody<'_>) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for operator in body.get_operators_reader()? {
            if self.left == Some(0) {
                match self.what {
                    Planted::Unreachable => function.instruction(&Instruction::Unreachable),
                    Planted::Division => function
                        .instruction(&Instruction::I32Const(1))
                        .instruction(&Instruction::I32Const(0))
                        .instruction(&Instruction::I32DivU)
                        .instruction(&Instruction::Drop),
                };
            }
            self.left = self.left.and_then(|left| left.checked_sub(1));
            function.instruction(&self.instruction(operator?)?);
        }
        code.function(&function);
        Ok(())
    }
}
