//! Operators as the passes after validation see them: a code without operands, and one number beside it.
//!
//! Whatever is said of an operator by its kind alone is a table by code, filled by the compiler.

use crate::{cost, nan};
use samebit_spec::{
    fuel::{Class, FuelTable},
    param,
};
use wasmparser::{BlockType, FuncType, Operator, ValType};

macro_rules! codes {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        /// Every operator that the parser knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub(crate) enum Code {
            $($op),*
        }

        impl Code {
            const ALL: &[Self] = &[$(Self::$op),*];

            /// The code of an operator that the parser made.
            pub(crate) fn of(operator: &Operator<'_>) -> Self {
                match operator {
                    $(Operator::$op { .. } => Self::$op,)*
                    // The parser makes no other.
                    _ => Self::Unreachable,
                }
            }
        }
    };
}

wasmparser::for_each_operator!(codes);

/// How many codes there are.
pub(crate) const CODES: usize = Code::ALL.len();

/// It branches, calls, or costs what is known only at run time; all else is straight-line code.
const EVENT: u8 = 1;
/// Its result may be a NaN that the specification leaves open.
const MAKES_NAN: u8 = 1 << 1;
/// It takes an address: alignment and offset follow its code.
const ADDRESS: u8 = 1 << 2;
/// It compares scalars.
const COMPARES: u8 = 1 << 3;
/// Its number is a signed one.
const SIGNED: u8 = 1 << 4;
/// It names a local.
const LOCAL: u8 = 1 << 5;
/// The rewriter may write it otherwise than it was: what returns, calls or selects.
const REWRITTEN: u8 = 1 << 6;
/// It assigns a local.
const ASSIGNS: u8 = 1 << 7;

static CLASSES: [Class; CODES] = {
    let mut classes = [Class::Free; CODES];
    let mut at = 0;
    while at < CODES {
        classes[at] = cost::class(Code::ALL[at]);
        at += 1;
    }
    classes
};

static FLAGS: [u8; CODES] = {
    let mut flags = [0; CODES];
    let mut at = 0;
    while at < CODES {
        let code = Code::ALL[at];
        flags[at] = flags_of(code) | if nan::makes_nan(code).is_some() { MAKES_NAN } else { 0 };
        at += 1;
    }
    flags
};

const fn flags_of(code: Code) -> u8 {
    use Code as C;
    let address =
        if matches!(cost::class(code), Class::Load | Class::Store | Class::VectorMemory) { ADDRESS } else { 0 };
    address
        | match code {
            C::Block | C::Loop | C::If => EVENT | SIGNED,
            C::Else | C::End | C::Br | C::BrIf | C::BrTable | C::Unreachable => EVENT,
            C::Return | C::Call | C::CallIndirect | C::MemoryGrow | C::MemoryCopy | C::MemoryFill => EVENT | REWRITTEN,
            C::Select => REWRITTEN,
            C::LocalGet => LOCAL,
            C::LocalSet | C::LocalTee => LOCAL | ASSIGNS,
            C::I32Const | C::I64Const => SIGNED,
            C::I32Eqz
            | C::I32Eq
            | C::I32Ne
            | C::I32LtS
            | C::I32LtU
            | C::I32GtS
            | C::I32GtU
            | C::I32LeS
            | C::I32LeU
            | C::I32GeS
            | C::I32GeU
            | C::I64Eqz
            | C::I64Eq
            | C::I64Ne
            | C::I64LtS
            | C::I64LtU
            | C::I64GtS
            | C::I64GtU
            | C::I64LeS
            | C::I64LeU
            | C::I64GeS
            | C::I64GeU
            | C::F32Eq
            | C::F32Ne
            | C::F32Lt
            | C::F32Gt
            | C::F32Le
            | C::F32Ge
            | C::F64Eq
            | C::F64Ne
            | C::F64Lt
            | C::F64Gt
            | C::F64Le
            | C::F64Ge => COMPARES,
            _ => 0,
        }
}

impl Code {
    #[inline(always)]
    fn has(self, flag: u8) -> bool {
        FLAGS[self as usize] & flag != 0
    }

    /// Whether it branches, calls, or costs what is known only at run time.
    #[inline(always)]
    pub(crate) fn is_event(self) -> bool {
        self.has(EVENT)
    }

    /// Whether its result may be a NaN that the specification leaves open.
    #[inline(always)]
    pub(crate) fn makes_nan(self) -> bool {
        self.has(MAKES_NAN)
    }

    /// Whether it names a local.
    #[inline(always)]
    pub(crate) fn names_local(self) -> bool {
        self.has(LOCAL)
    }

    /// Whether it assigns a local.
    #[inline(always)]
    pub(crate) fn assigns(self) -> bool {
        self.has(ASSIGNS)
    }

    /// Whether the rewriter may write it otherwise than it was, locals aside.
    #[inline(always)]
    pub(crate) fn is_rewritten(self) -> bool {
        self.has(REWRITTEN)
    }

    /// Whether it compares scalars.
    pub(crate) fn compares(self) -> bool {
        self.has(COMPARES)
    }

    /// Whether these bytes of an operator with this code are how the encoder spells it. May say no of bytes that are.
    #[inline]
    pub(crate) fn is_plain(self, bytes: &[u8]) -> bool {
        let [first, rest @ ..] = bytes else { return false };
        if rest.is_empty() {
            return true;
        }
        if self.has(SIGNED) {
            let [.., before, last] = rest else { return true };
            let sign = if before & 0x40 == 0 { 0 } else { 0x7f };
            return *last != sign;
        }
        // A memory may be named in an address, although there is but one.
        let address = usize::from(*first >= 0xfc);
        if self.has(ADDRESS) && rest.get(address).is_none_or(|flags| flags & 0x40 != 0) {
            return false;
        }
        // A last byte of nothing is more than the number needs.
        let mut before = 0;
        for &byte in rest {
            if byte == 0 && before >= 0x80 {
                return false;
            }
            before = byte;
        }
        true
    }
}

/// Whether the first `len` bytes may be no operator as the encoder spells it. Says yes of some that are, and never no of
/// one that is not: whatever it says yes of is for [`Code::is_plain`] to look at.
#[inline(always)]
pub(crate) fn may_be_odd(bytes: &[u8], len: usize) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    // Two bytes without a prefix are an operator and a number below 128.
    if len <= 2 {
        return len == 2 && bytes.first().is_none_or(|&code| code >= 0xfc);
    }
    let Some(&word) = bytes.first_chunk::<8>().filter(|_| len <= 8) else { return true };
    let word = u64::from_le_bytes(word);
    // A byte that goes on and then one that says nothing more: 0, or a sign that was there already.
    let goes_on = word & TOPS;
    let negative = goes_on & (word << 1);
    let idle = ((goes_on << 8) & zeros(word)) | ((negative << 8) & zeros(word ^ (ONES * 0x7f)));
    let idle = idle << (64 - 8 * len);
    // An address that names its memory: of a load or store, or of whatever has a prefix.
    let address = word & 0xff;
    let named = address.wrapping_sub(0x28) < 0x17 && word & 0x4000 != 0 || address >= 0xfc;
    idle != 0 || named
}

/// What each code costs by a table.
pub(crate) struct Costs {
    own: [u32; CODES],
    table: FuelTable,
}

impl Costs {
    pub(crate) fn new(table: &FuelTable) -> Self {
        Self { own: CLASSES.map(|class| table.cost(class)), table: *table }
    }

    /// Fuel of an operator without what its length adds.
    #[inline(always)]
    pub(crate) fn own(&self, code: Code) -> u64 {
        self.own[code as usize].into()
    }

    /// What a length of bytes adds.
    pub(crate) fn bytes(&self, length: u32) -> u64 {
        (length >> self.table.bulk_bytes_log2).into()
    }

    /// What it adds to a call that it has this type.
    pub(crate) fn call(&self, ty: &FuncType) -> u64 {
        self.table.call(ty.params().len() as u64 + ty.results().len() as u64)
    }

    /// What the first segment of a function with this many locals costs besides, parameters not counted.
    pub(crate) fn entry(&self, locals: usize) -> u64 {
        self.table.entry(locals as u64)
    }

    /// What it costs that paths meet at which this many locals are assigned.
    pub(crate) fn joined(&self, assigned: u64) -> u64 {
        self.table.joined(assigned)
    }
}

/// One operator of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) code: Code,
    /// The local, function, type or label that it names, a block's type ([`Op::block`]), the bits of an `i32` or `f32`
    /// constant, which table of labels is its own, or how many blocks a `return` leaves. 0 when it has none of these.
    pub(crate) value: u32,
    /// Its first byte within the body.
    pub(crate) at: u32,
}

/// The number beside an operator's code, from its name and operands as a visitor has them; tables of labels aside.
macro_rules! number {
    (LocalGet $local:ident) => {
        $local
    };
    (LocalSet $local:ident) => {
        $local
    };
    (LocalTee $local:ident) => {
        $local
    };
    (Br $depth:ident) => {
        $depth
    };
    (BrIf $depth:ident) => {
        $depth
    };
    (Call $function:ident) => {
        $function
    };
    (CallIndirect $ty:ident $table:ident) => {
        $ty
    };
    (I32Const $value:ident) => {
        $value.cast_unsigned()
    };
    (F32Const $value:ident) => {
        $value.bits()
    };
    (Block $ty:ident) => {
        $crate::op::packed($ty)
    };
    (Loop $ty:ident) => {
        $crate::op::packed($ty)
    };
    (If $ty:ident) => {
        $crate::op::packed($ty)
    };
    (TryTable $table:ident) => {
        $crate::op::packed($table.ty)
    };
    ($($other:ident)*) => {
        0
    };
}
pub(crate) use number;

/// The types that a block can have besides those of functions, from the greatest number down.
const SIMPLE: [BlockType; 6] = [
    BlockType::Empty,
    BlockType::Type(ValType::I32),
    BlockType::Type(ValType::I64),
    BlockType::Type(ValType::F32),
    BlockType::Type(ValType::F64),
    BlockType::Type(ValType::V128),
];

pub(crate) fn packed(ty: BlockType) -> u32 {
    let simple = match ty {
        BlockType::FuncType(index) => return index,
        BlockType::Empty => 0,
        BlockType::Type(ValType::I32) => 1,
        BlockType::Type(ValType::I64) => 2,
        BlockType::Type(ValType::F32) => 3,
        BlockType::Type(ValType::F64) => 4,
        // No block of an admitted body gives a reference once it is lowered.
        BlockType::Type(ValType::V128 | ValType::Ref(_)) => 5,
    };
    u32::MAX - simple
}

/// The type of a block from its number.
pub(crate) fn block(packed: u32) -> BlockType {
    SIMPLE.get((u32::MAX - packed) as usize).copied().unwrap_or(BlockType::FuncType(packed))
}

impl Op {
    /// A block's type.
    pub(crate) fn block(&self) -> BlockType {
        block(self.value)
    }

    /// Whether it is a block that may take parameters or give several results.
    #[inline(always)]
    pub(crate) fn passes_values(&self) -> bool {
        matches!(self.block(), BlockType::FuncType(_))
    }

    /// An `i32` constant.
    pub(crate) fn i32(&self) -> i32 {
        self.value.cast_signed()
    }
}

/// The length of a `memory.copy` or `memory.fill` that is a constant small enough to be charged with its segment.
/// `before` is the operator before it.
pub(crate) fn constant_length(before: Option<&Op>, op: &Op) -> Option<u32> {
    match (before, op.code) {
        (Some(length @ Op { code: Code::I32Const, .. }), Code::MemoryCopy | Code::MemoryFill) => {
            u32::try_from(length.i32()).ok().filter(|length| *length <= param::BULK_CONSTANT_MAX)
        }
        _ => None,
    }
}
