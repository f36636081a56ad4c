//! Reads a body once: validates it, holds it against the profile, and notes what the passes after it need to know.

use super::{Form, bounded, invalid};
use crate::{
    At, Counted, Feature, Refusal,
    calls::{LastCalls, Summary},
    function::{Ops, noted},
    lower::Atomic,
    op::{Code, Costs, block},
};
use samebit_spec::param;
use wasmparser::{
    BinaryReaderError, BlockType, BrTable, FrameKind, FrameStack, FuncToValidate, FuncType, FuncValidator,
    FuncValidatorAllocations, FunctionBody, ValidatorResources, VisitOperator, VisitSimdOperator,
};

/// Reads bodies, one after the other.
pub(super) struct Bodies {
    form: Form,
    costs: Costs,
    /// Whether an atomic instruction was met.
    pub(super) atomics: bool,
    /// Locals of all functions read so far.
    locals: u64,
    /// Operators of the first functions.
    pub(super) kept: Ops,
    /// Of the function under way.
    now: Now,
}

/// Most operators that are kept for the passes after this one: with all that is noted of each, less than 100 MB. Those of
/// further functions are read again.
const KEPT_MAX: usize = param::FUNCTION_BYTES_MAX;

/// What is known of a function while it is read.
#[derive(Default)]
struct Now {
    shape: Shape,
    summary: Summary,
    /// The function's index.
    index: u32,
    /// Offset of the body in the module.
    start: usize,
    /// Whether its operators are kept.
    keep: bool,
    /// Operators read so far.
    number: u32,
    last: LastCalls,
    /// Calls in their order: the function, or [`INDIRECT`] or [`LAST`].
    made: Vec<u32>,
    /// Whether the operator just read was a `br_if` to the innermost label.
    to_innermost: bool,
    /// Why the body is refused.
    stop: Option<Stop>,
}

/// A call through a table.
const INDIRECT: u32 = u32::MAX;
/// A last call, of whatever.
const LAST: u32 = u32::MAX - 1;

/// What of the module comes before its code.
#[derive(Clone, Copy)]
pub(super) struct Before<'b> {
    pub(super) types: &'b [FuncType],
    /// Type of each function, imported ones first.
    pub(super) functions: &'b [u32],
    /// Whether there are tags: without one there are no exceptions.
    pub(super) tags: bool,
}

impl Bodies {
    pub(super) fn new(form: Form, costs: Costs) -> Self {
        Self { form, costs, atomics: false, locals: 0, kept: Ops::default(), now: Now::default() }
    }

    /// Makes room for code of this many bytes.
    pub(super) fn code(&mut self, bytes: u32) {
        self.kept.reserve((bytes as usize).min(KEPT_MAX));
    }

    /// Validates a body, instruction by instruction, and refuses what the profile leaves out by its own name.
    pub(super) fn read(
        &mut self,
        before: &Before<'_>,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        allocations: FuncValidatorAllocations,
    ) -> Result<(Summary, FuncValidatorAllocations), Refusal> {
        let ty = function.ty;
        let mut validator = function.into_validator(allocations);
        let index = Some(validator.index());
        let place = |offset| At { function: index, offset };
        let wrong = |error: BinaryReaderError| invalid(index, &error);
        let length = body.range().len() as u64;
        bounded(place(body.range().start), Counted::BodyBytes, length, param::FUNCTION_BYTES_MAX as u64)?;
        self.declared(&mut validator, body)?;
        let now = &mut self.now;
        now.shape.begin(self.form, length, validator.len_locals().into());
        now.summary = Summary { straight: true, ..Summary::default() };
        (now.number, now.to_innermost) = (0, false);
        now.made.clear();
        now.last.clear();
        (now.index, now.start) = (validator.index(), body.range().start);
        // An operator has at least one byte.
        now.keep = self.kept.len() + body.range().len() <= KEPT_MAX;
        let params = before.types.get(ty as usize).map_or(0, |ty| ty.params().len());
        self.kept.begin(params, validator.len_locals().into());
        let (bytes, mut operands) = (body.as_bytes(), 0);
        let mut reader = body.get_binary_reader_for_operators().map_err(wrong)?;
        while !reader.eof() {
            let offset = reader.original_position();
            let valid = validator.visitor(offset);
            reader.visit_operator(&mut Checked { valid, offset, before, bodies: self }).map_err(wrong)?;
            if self.now.stop.is_some()
                && let Some(stop) = self.now.stop.take()
            {
                return Err(match stop {
                    Stop::Invalid(error) => wrong(error),
                    Stop::Refused(refusal) => *refusal,
                });
            }
            if self.now.keep {
                let begin = offset - self.now.start;
                self.kept.spelled(&bytes[begin..], reader.original_position() - offset);
            }
            let height = validator.operand_stack_height();
            if height > operands {
                operands = height;
                bounded(place(offset), Counted::Operands, operands.into(), param::FUNCTION_OPERANDS_MAX)?;
            }
            if self.now.to_innermost {
                self.now.to_innermost = false;
                if validator.get_control_frame(0).is_some_and(|frame| {
                    frame.kind == FrameKind::Loop && !frame.unreachable && frame.height == height as usize
                }) {
                    self.now.summary.clean.push(self.now.number - 1);
                }
            }
        }
        reader.finish_expression(&validator.visitor(reader.original_position())).map_err(wrong)?;
        let mut summary = core::mem::take(&mut self.now.summary);
        let locals = (validator.len_locals() as usize).saturating_sub(params);
        summary.cost += self.now.shape.joined + self.costs.entry(locals);
        summary.stride += summary.cost;
        let extent = self.kept.finish();
        summary.kept = self.now.keep.then_some(extent);
        let made = &self.now.made;
        summary.indirect = crate::function::position(made.iter().filter(|&&call| call == INDIRECT).count());
        summary.calls = made.iter().copied().filter(|&call| call != INDIRECT && call != LAST).collect();
        let slots = u64::from(validator.len_locals()) + u64::from(operands);
        let bytes = param::STACK_FRAME_BYTES + param::STACK_SLOT_BYTES * slots + param::STACK_BODY_BYTES * length;
        summary.height = bytes.div_ceil(param::STACK_UNIT_BYTES);
        Ok((summary, validator.into_allocations()))
    }

    /// Declares a body's locals.
    fn declared(
        &mut self,
        validator: &mut FuncValidator<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), Refusal> {
        let index = Some(validator.index());
        let place = |offset| At { function: index, offset };
        let wrong = |error: BinaryReaderError| invalid(index, &error);
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
        Ok(())
    }

    /// Refuses an instruction that the profile leaves out and that is not lowered.
    #[inline(always)]
    fn allowed(
        &mut self,
        at: At,
        tags: bool,
        code: Code,
        feature: Option<Feature>,
        visitor: &'static str,
    ) -> Result<(), Refusal> {
        match code {
            Code::MemoryInit | Code::DataDrop | Code::ElemDrop => {
                return Err(Refusal::SegmentUse { at, instruction: name(visitor) });
            }
            Code::TableInit | Code::TableCopy | Code::TableSet | Code::TableGrow | Code::TableFill => {
                return Err(Refusal::TableChange { at, instruction: name(visitor) });
            }
            Code::TryTable | Code::Throw | Code::ThrowRef | Code::RefNull | Code::RefIsNull if tags => return Ok(()),
            _ => {}
        }
        match feature {
            None => Ok(()),
            Some(Feature::Threads) if self.form == Form::Published && Atomic::of(code).is_some() => {
                self.atomics = true;
                Ok(())
            }
            Some(feature) => Err(Refusal::Feature { at, feature, what: name(visitor) }),
        }
    }

    /// Notes a table of labels and gives its number.
    fn table(&mut self, targets: &BrTable<'_>) -> u32 {
        self.now.shape.ways += u64::from(targets.len());
        if self.now.keep { self.kept.table(targets) } else { 0 }
    }

    /// Notes what a valid operator means for its function.
    #[inline(always)]
    fn note(&mut self, offset: usize, code: Code, value: u32, before: &Before<'_>) {
        let now = &mut self.now;
        if now.keep {
            self.kept.push(&self.costs, crate::function::position(offset - now.start), code, value);
        }
        let cost = self.costs.own(code);
        now.summary.cost += cost;
        now.number += 1;
        match code {
            Code::Else | Code::End => {}
            Code::Call => {
                let ty = before.functions.get(value as usize).and_then(|&ty| before.types.get(ty as usize));
                now.summary.cost += ty.map_or(0, |ty| self.costs.call(ty));
                now.made.push(value);
            }
            Code::CallIndirect => {
                now.summary.cost += before.types.get(value as usize).map_or(0, |ty| self.costs.call(ty));
                now.summary.straight = false;
                now.made.push(INDIRECT);
            }
            // What a constant length adds is bounded and needs the operator before; it is counted as if it were longest.
            Code::MemoryCopy | Code::MemoryFill => {
                now.summary.straight = false;
                now.summary.stride += self.costs.bytes(param::BULK_CONSTANT_MAX);
            }
            Code::BrIf => {
                now.summary.straight = false;
                now.to_innermost = value == 0;
            }
            code if code.is_event() => now.summary.straight = false,
            _ => {}
        }
        if code.is_event() {
            // Calls are numbered from 1 on, in the order in which they were made.
            for &call in now.last.read(crate::function::position(now.made.len()), code) {
                now.made[call as usize - 1] = LAST;
            }
        }
    }
}

/// Why a body is refused.
enum Stop {
    Invalid(BinaryReaderError),
    Refused(Box<Refusal>),
}

fn refused(refusal: Refusal) -> Stop {
    Stop::Refused(Box::new(refusal))
}

/// Takes one operator from the parser: our own rules first, then the validator's.
struct Checked<'c, V> {
    valid: V,
    /// Of the operator in the module.
    offset: usize,
    before: &'c Before<'c>,
    bodies: &'c mut Bodies,
}

impl<V> Checked<'_, V> {
    /// Our own rules.
    #[inline(always)]
    fn rules(&mut self, code: Code, value: u32, feature: Option<Feature>, visitor: &'static str) -> Result<(), Stop> {
        let at = At { function: Some(self.bodies.now.index), offset: self.offset };
        self.bodies.allowed(at, self.before.tags, code, feature, visitor).map_err(refused)?;
        let bodies = &mut *self.bodies;
        bodies.now.shape.read(at, code, value, self.before, &bodies.costs).map_err(refused)
    }

    /// Goes on when nothing speaks against it.
    #[inline(always)]
    fn take(&mut self, checked: Result<(), Stop>, code: Code, value: u32) {
        match checked {
            Ok(()) => self.bodies.note(self.offset, code, value, self.before),
            Err(stop) => self.bodies.now.stop = Some(stop),
        }
    }
}

impl<V: FrameStack> FrameStack for Checked<'_, V> {
    #[inline(always)]
    fn current_frame(&self) -> Option<FrameKind> {
        self.valid.current_frame()
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

macro_rules! check {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        $(
            #[inline]
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                let value = noted!($op self.bodies, $($($arg)*)?);
                let checked = self.rules(Code::$op, value, feature!($proposal), stringify!($visit));
                let checked = checked.and_then(|()| self.valid.$visit($($($arg),*)?).map_err(Stop::Invalid));
                self.take(checked, Code::$op, value);
            }
        )*
    };
}

macro_rules! check_simd {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        $(
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                let checked = self.rules(Code::$op, 0, feature!($proposal), stringify!($visit));
                let checked = checked.and_then(|()| match self.valid.simd_visitor() {
                    Some(valid) => valid.$visit($($($arg),*)?).map_err(Stop::Invalid),
                    None => Ok(()),
                });
                self.take(checked, Code::$op, 0);
            }
        )*
    };
}

impl<'a, V> VisitOperator<'a> for Checked<'_, V>
where
    V: VisitOperator<'a, Output = Result<(), BinaryReaderError>>,
{
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Self::Output>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(check);
}

impl<'a, V> VisitSimdOperator<'a> for Checked<'_, V>
where
    V: VisitOperator<'a, Output = Result<(), BinaryReaderError>>,
{
    wasmparser::for_each_visit_simd_operator!(check_simd);
}

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

/// What a compiler's work grows with faster than a body's bytes do, while the body is read.
#[derive(Default)]
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
    /// Fuel of all places where paths meet.
    joined: u64,
    /// Parameters and results of all calls.
    passed: u64,
}

impl Shape {
    /// Begins another function.
    fn begin(&mut self, form: Form, bytes: u64, locals: u64) {
        let mut open = core::mem::take(&mut self.open);
        open.clear();
        *self = Self { bytes, published: form == Form::Published, locals, open, ..Self::default() };
    }

    /// Counts a place at which a compiler begins or ends a piece of straight code.
    fn branch(&mut self, at: At) -> Result<(), Refusal> {
        self.branches += u64::from(self.published);
        let max = param::BRANCHES_MAX.min(param::BRANCHES_FREE + self.bytes / param::BRANCHES_BYTES);
        bounded(at, Counted::Branches, self.branches, max)
    }

    /// At the end of a block: each local that it assigns may be a value where its paths meet.
    fn close(&mut self, at: At, costs: &Costs) -> Result<(), Refusal> {
        let Some((is_loop, before)) = self.open.pop() else { return Ok(()) };
        let sets = (self.sets - before).min(self.locals);
        self.joined += costs.joined(sets);
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

    #[inline(always)]
    fn read(&mut self, at: At, code: Code, value: u32, before: &Before<'_>, costs: &Costs) -> Result<(), Refusal> {
        match code {
            Code::Block | Code::If | Code::TryTable => self.open(at, block(value), false, before.types),
            Code::Loop => self.open(at, block(value), true, before.types),
            Code::End => self.close(at, costs),
            // An index of nothing is the validator's to refuse.
            Code::Call => {
                let ty = before.functions.get(value as usize).and_then(|&ty| before.types.get(ty as usize));
                self.call(at, ty)
            }
            Code::CallIndirect => self.call(at, before.types.get(value as usize)),
            Code::Br | Code::BrIf => self.branch(at),
            Code::BrTable => {
                bounded(at, Counted::Ways, self.ways, param::BRANCH_WAYS_MAX)?;
                self.branch(at)
            }
            Code::LocalSet | Code::LocalTee => {
                self.sets += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Counts what a call passes: two bytes may pass hundreds of values.
    fn call(&mut self, at: At, ty: Option<&FuncType>) -> Result<(), Refusal> {
        self.passed += ty.map_or(0, |ty| ty.params().len() as u64 + ty.results().len() as u64);
        bounded(at, Counted::Passed, self.passed, param::PASSED_FREE + self.bytes * param::PASSED_PER_BYTE)
    }

    fn open(&mut self, at: At, ty: BlockType, is_loop: bool, types: &[FuncType]) -> Result<(), Refusal> {
        self.branch(at)?;
        let values = match ty {
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
