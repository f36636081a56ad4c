//! Reads a module once, before it is written: what its types are, what each body uses, and from which functions an
//! exception can escape.

use super::{atomic, reading};
use crate::{At, Feature, Refusal, admit::invalid, op::Code};
use std::collections::BTreeMap;
use wasmparser::{
    AbstractHeapType, BlockType, Catch, ElementItems, FuncType, FunctionBody, HeapType, Operator, Parser, Payload,
    RefType, ValType,
};

/// A tag of the profile.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    /// Whether it has a parameter, one `i32`.
    pub(super) payload: bool,
}

/// What the first reading found of a body.
#[derive(Clone, Copy, Default)]
pub(super) struct Body {
    pub(super) offset: usize,
    /// Whether it has anything to lower besides calls.
    pub(super) touched: bool,
    /// Locals that its atomic accesses need.
    pub(super) temporaries: atomic::Temporaries,
}

pub(super) struct Survey {
    pub(super) types: Vec<FuncType>,
    /// Type of each function, imported ones first.
    pub(super) functions: Vec<u32>,
    pub(super) imported: u32,
    pub(super) globals: u32,
    pub(super) tags: Vec<Tag>,
    pub(super) bodies: Vec<Body>,
    /// For each type, the first type that is equal to it.
    classes: Vec<u32>,
    /// For each function, then for each class of types: whether a call of it can end with an exception.
    throwing: Vec<bool>,
}

impl Survey {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut survey = Self {
            types: Vec::new(),
            functions: Vec::new(),
            imported: 0,
            globals: 0,
            tags: Vec::new(),
            bodies: Vec::new(),
            classes: Vec::new(),
            throwing: Vec::new(),
        };
        let mut calls = Calls::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(reading)? {
                Payload::TypeSection(section) => {
                    let at = place(None, section.range().start);
                    for ty in section.into_iter_err_on_gc_types() {
                        let ty = ty.map_err(reading)?;
                        ty.params().iter().chain(ty.results()).try_for_each(|ty| exceptions_only(at, *ty))?;
                        survey.types.push(ty);
                    }
                    survey.classify();
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        if let wasmparser::TypeRef::Func(ty) = import.map_err(reading)?.ty {
                            survey.functions.push(ty);
                        }
                    }
                    survey.imported = u32::try_from(survey.functions.len()).unwrap_or(u32::MAX);
                }
                Payload::FunctionSection(section) => {
                    for function in section.into_iter_with_offsets() {
                        let (offset, ty) = function.map_err(reading)?;
                        survey.plain_signature(place(None, offset), ty)?;
                        survey.functions.push(ty);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section.into_iter_with_offsets() {
                        let (offset, table) = table.map_err(reading)?;
                        if table.ty.element_type != RefType::FUNCREF {
                            return Err(exception(place(None, offset), "a table of exception references"));
                        }
                    }
                }
                Payload::TagSection(section) => {
                    for tag in section.into_iter_with_offsets() {
                        let (offset, tag) = tag.map_err(reading)?;
                        survey.tag(place(None, offset), tag.func_type_idx)?;
                    }
                }
                Payload::GlobalSection(section) => {
                    survey.globals = section.count();
                    for global in section.into_iter_with_offsets() {
                        let (offset, global) = global.map_err(reading)?;
                        if let ValType::Ref(_) = global.ty.content_type {
                            exceptions_only(place(None, offset), global.ty.content_type)?;
                            return Err(exception(place(None, offset), "a global that holds an exception reference"));
                        }
                    }
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        match element.map_err(reading)?.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    survey.in_table(&mut calls, function.map_err(reading)?);
                                }
                            }
                            ElementItems::Expressions(_, expressions) => {
                                for expression in expressions {
                                    for operator in expression.map_err(reading)?.get_operators_reader() {
                                        if let Operator::RefFunc { function_index } = operator.map_err(reading)? {
                                            survey.in_table(&mut calls, function_index);
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => survey.body(&mut calls, &body)?,
                _ => {}
            }
        }
        survey.throwing = calls.throwing(survey.functions.len() + survey.types.len());
        Ok(survey)
    }

    /// Whether an exception can escape from the function with this index.
    pub(super) fn throws(&self, function: u32) -> bool {
        self.throwing.get(function as usize).copied().unwrap_or(false)
    }

    /// Whether one can escape from an indirect call of this type.
    pub(super) fn throws_indirectly(&self, ty: u32) -> bool {
        self.throwing.get(self.class(ty) as usize).copied().unwrap_or(false)
    }

    /// Whether a handler with these clauses takes every exception.
    pub(super) fn takes_all(&self, catches: &[Catch]) -> bool {
        catches.iter().any(|catch| match catch {
            Catch::All { .. } | Catch::AllRef { .. } => true,
            Catch::One { .. } | Catch::OneRef { .. } => self.tags.len() == 1,
        })
    }

    fn classify(&mut self) {
        let mut first = BTreeMap::new();
        for (index, ty) in (0_u32..).zip(&self.types) {
            self.classes.push(*first.entry(ty).or_insert(index));
        }
    }

    /// The node of a class of types, after the functions.
    fn class(&self, ty: u32) -> u32 {
        let class = self.classes.get(ty as usize).copied().unwrap_or(ty);
        u32::try_from(self.functions.len()).unwrap_or(u32::MAX).saturating_add(class)
    }

    /// Functions pass no references: as numbers they could meet another type in an indirect call.
    fn plain_signature(&self, at: At, ty: u32) -> Result<(), Refusal> {
        let Some(ty) = self.types.get(ty as usize) else { return Ok(()) };
        if ty.params().iter().chain(ty.results()).any(|ty| ty.is_reference_type()) {
            return Err(exception(at, "an exception reference in a function's type"));
        }
        Ok(())
    }

    fn tag(&mut self, at: At, ty: u32) -> Result<(), Refusal> {
        let params = self.types.get(ty as usize).map_or(&[][..], FuncType::params);
        let payload = match params {
            [] => false,
            [ValType::I32] => true,
            other => {
                let types: Vec<String> = other.iter().map(ToString::to_string).collect();
                return Err(exception(at, &format!("a tag with parameters ({})", types.join(" "))));
            }
        };
        self.tags.push(Tag { payload });
        Ok(())
    }

    /// An indirect call of its type may be a call of this function.
    fn in_table(&self, calls: &mut Calls, function: u32) {
        if let Some(&ty) = self.functions.get(function as usize) {
            calls.edges.push(Edge { callee: function, caller: self.class(ty) });
        }
    }

    fn body(&mut self, calls: &mut Calls, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let function = self.imported.saturating_add(u32::try_from(self.bodies.len()).unwrap_or(u32::MAX));
        let mut found = Body { offset: body.range().start, ..Body::default() };
        let wrong = |error| invalid(Some(function), &error);
        let mut locals = body.get_locals_reader().map_err(wrong)?;
        for _ in 0..locals.get_count() {
            let offset = locals.original_position();
            let (_, ty) = locals.read().map_err(wrong)?;
            exceptions_only(place(Some(function), offset), ty)?;
            found.touched |= ty.is_reference_type();
        }
        // For each open block: whether an exception within it stays within the function.
        let mut closed = vec![false];
        let mut callees = Vec::new();
        let mut throws = false;
        let mut operators = body.get_operators_reader().map_err(wrong)?;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset().map_err(wrong)?;
            let at = place(Some(function), offset);
            let inside = closed.last().copied().unwrap_or(false);
            match &operator {
                Operator::Call { function_index } if !inside => callees.push(*function_index),
                Operator::CallIndirect { type_index, .. } => {
                    self.plain_signature(at, *type_index)?;
                    if !inside {
                        callees.push(self.class(*type_index));
                    }
                }
                Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                    closed.push(inside);
                    found.touched |= block_of_reference(at, *blockty)?;
                }
                Operator::TryTable { try_table } => {
                    closed.push(inside || self.takes_all(&try_table.catches));
                    block_of_reference(at, try_table.ty)?;
                    found.touched = true;
                }
                Operator::Throw { .. } | Operator::ThrowRef => {
                    found.touched = true;
                    throws |= !inside;
                }
                Operator::RefNull { hty } => match hty {
                    HeapType::Abstract { shared: false, ty: AbstractHeapType::Exn } => found.touched = true,
                    _ => return Err(references(at, "ref.null")),
                },
                // No other reference is a value.
                Operator::RefIsNull => found.touched = true,
                Operator::End => {
                    closed.pop();
                }
                other => {
                    if let Some(atomic) = atomic::Atomic::of(Code::of(other)) {
                        found.touched = true;
                        found.temporaries.add(atomic);
                    }
                }
            }
        }
        callees.sort_unstable();
        callees.dedup();
        calls.edges.extend(callees.into_iter().map(|callee| Edge { callee, caller: function }));
        if throws {
            calls.throwers.push(function);
        }
        self.bodies.push(found);
        Ok(())
    }
}

fn place(function: Option<u32>, offset: usize) -> At {
    At { function, offset }
}

fn exception(at: At, what: &str) -> Refusal {
    Refusal::Feature { at, feature: Feature::Exceptions, what: what.to_string() }
}

fn references(at: At, what: &str) -> Refusal {
    Refusal::Feature { at, feature: Feature::References, what: what.to_string() }
}

/// Refuses a reference to anything but an exception.
fn exceptions_only(at: At, ty: ValType) -> Result<(), Refusal> {
    match ty {
        ValType::Ref(reference) => match reference.heap_type() {
            HeapType::Abstract { shared: false, ty: AbstractHeapType::Exn } => Ok(()),
            _ => Err(references(at, &format!("a value of type {ty}"))),
        },
        _ => Ok(()),
    }
}

/// Whether a block's type is a reference to an exception.
fn block_of_reference(at: At, block: BlockType) -> Result<bool, Refusal> {
    match block {
        BlockType::Type(ty) => exceptions_only(at, ty).map(|()| ty.is_reference_type()),
        BlockType::Empty | BlockType::FuncType(_) => Ok(false),
    }
}

/// `caller` calls `callee` where an exception would escape from `caller`.
#[derive(Clone, Copy)]
struct Edge {
    callee: u32,
    caller: u32,
}

#[derive(Default)]
struct Calls {
    edges: Vec<Edge>,
    throwers: Vec<u32>,
}

impl Calls {
    /// From which nodes an exception can escape: the throwers, and whoever calls one.
    fn throwing(mut self, nodes: usize) -> Vec<bool> {
        self.edges.sort_unstable_by_key(|edge| edge.callee);
        let mut throwing = vec![false; nodes];
        let mut open = self.throwers;
        while let Some(node) = open.pop() {
            let Some(known) = throwing.get_mut(node as usize) else { continue };
            if core::mem::replace(known, true) {
                continue;
            }
            let first = self.edges.partition_point(|edge| edge.callee < node);
            open.extend(self.edges[first..].iter().take_while(|edge| edge.callee == node).map(|edge| edge.caller));
        }
        throwing
    }
}
