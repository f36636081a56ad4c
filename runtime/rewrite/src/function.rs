//! A function's body, read once: its operators, the types they work on, and where each block begins and ends.

use wasmparser::{BinaryReaderError, BlockType, FuncType, FunctionBody, Operator, ValType};

/// The types that operators refer to by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Types<'t> {
    pub(crate) types: &'t [FuncType],
    /// Type of each function, imported ones first.
    pub(crate) functions: &'t [u32],
}

impl<'t> Types<'t> {
    /// Type with this index. The module was validated, so a type that is asked for exists.
    pub(crate) fn ty(&self, index: u32) -> &'t FuncType {
        &self.types[index as usize]
    }

    /// Type of the function with this index.
    pub(crate) fn function(&self, index: u32) -> &'t FuncType {
        self.ty(self.functions[index as usize])
    }

    /// What a block takes from the stack.
    pub(crate) fn block_params(&self, block: BlockType) -> &'t [ValType] {
        match block {
            BlockType::Empty | BlockType::Type(_) => &[],
            BlockType::FuncType(index) => self.ty(index).params(),
        }
    }

    /// What a block leaves on the stack.
    pub(crate) fn block_results(&self, block: BlockType) -> Vec<ValType> {
        match block {
            BlockType::Empty => Vec::new(),
            BlockType::Type(ty) => vec![ty],
            BlockType::FuncType(index) => self.ty(index).results().to_vec(),
        }
    }
}

/// A body of an admitted module.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) params: Vec<ValType>,
    pub(crate) results: Vec<ValType>,
    /// Type of each local, parameters first.
    pub(crate) locals: Vec<ValType>,
    /// All operators, the function's own `end` last.
    pub(crate) ops: Vec<Operator<'a>>,
    /// For each `block`, `loop`, `if` and `else`: the index of its `end` (of an `if` with `else`: of the `else`).
    /// For each `end`: the index of the `block`, `loop`, `if` or `else` that it ends. 0 elsewhere.
    pub(crate) ends: Vec<u32>,
}

impl<'a> Function<'a> {
    /// Whether the body is left in another way than over its end.
    pub(crate) fn leaves_early(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Operator::Return)) || branches_to_own(&self.ops)
    }

    pub(crate) fn read(index: u32, body: &FunctionBody<'a>, types: &Types<'_>) -> Result<Self, BinaryReaderError> {
        let ty = types.function(index);
        let mut locals = ty.params().to_vec();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals.extend(core::iter::repeat_n(ty, count as usize));
        }
        let mut ops = Vec::with_capacity(body.range().len() / 2);
        let mut ends = Vec::with_capacity(body.range().len() / 2);
        let mut open: Vec<usize> = Vec::new();
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let op = operators.read()?;
            let at = ops.len();
            let mut pair = 0;
            match op {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(at),
                Operator::Else => {
                    if let Some(begin) = open.pop() {
                        ends[begin] = position(at);
                    }
                    open.push(at);
                }
                Operator::End => {
                    if let Some(begin) = open.pop() {
                        ends[begin] = position(at);
                        pair = position(begin);
                    }
                }
                _ => {}
            }
            ops.push(op);
            ends.push(pair);
        }
        operators.finish()?;
        Ok(Self { params: ty.params().to_vec(), results: ty.results().to_vec(), locals, ops, ends })
    }
}

/// Whether operators within a construct branch to its own label.
pub(crate) fn branches_to_own(ops: &[Operator<'_>]) -> bool {
    let mut depth = 0_u32;
    ops.iter().any(|op| {
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth = depth.saturating_sub(1),
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => return *relative_depth == depth,
            Operator::BrTable { targets } => {
                return targets.default() == depth || targets.targets().flatten().any(|target| target == depth);
            }
            _ => {}
        }
        false
    })
}

/// Index of an operator. A body has at most `FUNCTION_BYTES_MAX` bytes, so it fits.
pub(crate) fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
