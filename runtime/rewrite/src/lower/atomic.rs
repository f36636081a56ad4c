//! Atomic accesses to a memory that nobody shares.
//!
//! They are numbered regularly: nine operations, each over the same seven accesses.

use crate::op::Code;
use wasm_encoder::{BlockType, Encode, Instruction, ValType};
use wasmparser::BinaryReader;

/// An access: what it reads and writes, and the plain instructions that do so.
#[derive(Clone, Copy)]
struct Access {
    align: u32,
    wide: bool,
    load: u8,
    store: u8,
}

/// In the order of the proposal's numbers.
const ACCESSES: [Access; 7] = [
    Access { align: 2, wide: false, load: 0x28, store: 0x36 },
    Access { align: 3, wide: true, load: 0x29, store: 0x37 },
    Access { align: 0, wide: false, load: 0x2d, store: 0x3a },
    Access { align: 1, wide: false, load: 0x2f, store: 0x3b },
    Access { align: 0, wide: true, load: 0x31, store: 0x3c },
    Access { align: 1, wide: true, load: 0x33, store: 0x3d },
    Access { align: 2, wide: true, load: 0x35, store: 0x3e },
];

const PREFIX: u8 = 0xfe;
const FENCE: u32 = 0x03;
/// The first access of the first operation.
const FIRST: u32 = 0x10;

#[derive(Clone, Copy)]
enum Deed {
    Load,
    Store,
    /// Reads, computes and writes, by the plain instructions for 32 and 64 bits.
    Modify(u8, u8),
    Exchange,
    CompareExchange,
}

/// In the order of the proposal's numbers.
const DEEDS: [Deed; 9] = [
    Deed::Load,
    Deed::Store,
    Deed::Modify(0x6a, 0x7c),
    Deed::Modify(0x6b, 0x7d),
    Deed::Modify(0x71, 0x83),
    Deed::Modify(0x72, 0x84),
    Deed::Modify(0x73, 0x85),
    Deed::Exchange,
    Deed::CompareExchange,
];

/// An atomic instruction that has a lowering.
#[derive(Clone, Copy)]
pub(crate) enum Atomic {
    Fence,
    Access { wide: bool },
}

impl Atomic {
    /// The atomic instruction that `code` is. Waiting and waking need other threads, and engines differ in
    /// how a narrow comparison takes the value that it expects: these have no lowering.
    pub(crate) fn of(code: Code) -> Option<Self> {
        use Code as O;
        let access = |wide| Some(Self::Access { wide });
        match code {
            O::AtomicFence => Some(Self::Fence),
            O::I32AtomicLoad
            | O::I32AtomicLoad8U
            | O::I32AtomicLoad16U
            | O::I32AtomicStore
            | O::I32AtomicStore8
            | O::I32AtomicStore16
            | O::I32AtomicRmwAdd
            | O::I32AtomicRmw8AddU
            | O::I32AtomicRmw16AddU
            | O::I32AtomicRmwSub
            | O::I32AtomicRmw8SubU
            | O::I32AtomicRmw16SubU
            | O::I32AtomicRmwAnd
            | O::I32AtomicRmw8AndU
            | O::I32AtomicRmw16AndU
            | O::I32AtomicRmwOr
            | O::I32AtomicRmw8OrU
            | O::I32AtomicRmw16OrU
            | O::I32AtomicRmwXor
            | O::I32AtomicRmw8XorU
            | O::I32AtomicRmw16XorU
            | O::I32AtomicRmwXchg
            | O::I32AtomicRmw8XchgU
            | O::I32AtomicRmw16XchgU
            | O::I32AtomicRmwCmpxchg => access(false),
            O::I64AtomicLoad
            | O::I64AtomicLoad8U
            | O::I64AtomicLoad16U
            | O::I64AtomicLoad32U
            | O::I64AtomicStore
            | O::I64AtomicStore8
            | O::I64AtomicStore16
            | O::I64AtomicStore32
            | O::I64AtomicRmwAdd
            | O::I64AtomicRmw8AddU
            | O::I64AtomicRmw16AddU
            | O::I64AtomicRmw32AddU
            | O::I64AtomicRmwSub
            | O::I64AtomicRmw8SubU
            | O::I64AtomicRmw16SubU
            | O::I64AtomicRmw32SubU
            | O::I64AtomicRmwAnd
            | O::I64AtomicRmw8AndU
            | O::I64AtomicRmw16AndU
            | O::I64AtomicRmw32AndU
            | O::I64AtomicRmwOr
            | O::I64AtomicRmw8OrU
            | O::I64AtomicRmw16OrU
            | O::I64AtomicRmw32OrU
            | O::I64AtomicRmwXor
            | O::I64AtomicRmw8XorU
            | O::I64AtomicRmw16XorU
            | O::I64AtomicRmw32XorU
            | O::I64AtomicRmwXchg
            | O::I64AtomicRmw8XchgU
            | O::I64AtomicRmw16XchgU
            | O::I64AtomicRmw32XchgU
            | O::I64AtomicRmwCmpxchg => access(true),
            _ => None,
        }
    }
}

/// Locals that a body's accesses need: one address, and three values for each width that is used.
#[derive(Clone, Copy, Default)]
pub(super) struct Temporaries {
    narrow: bool,
    wide: bool,
}

impl Temporaries {
    pub(super) fn add(&mut self, atomic: Atomic) {
        match atomic {
            Atomic::Fence => {}
            Atomic::Access { wide } => {
                self.narrow |= !wide;
                self.wide |= wide;
            }
        }
    }

    /// The locals to add, in groups.
    pub(super) fn groups(self) -> Vec<(u32, ValType)> {
        let mut groups = Vec::new();
        if self.narrow || self.wide {
            groups.push((if self.narrow { 4 } else { 1 }, ValType::I32));
        }
        if self.wide {
            groups.push((3, ValType::I64));
        }
        groups
    }

    /// Indices of address, value, old value and expected value, where the added locals begin at `first`.
    fn indices(self, first: u32, wide: bool) -> [u32; 4] {
        let value = first + if wide && self.narrow { 4 } else { 1 };
        [first, value, value + 1, value + 2]
    }
}

/// Writes the plain form of an atomic instruction, given as it is encoded. `first` is the index of the first added
/// local.
pub(super) fn write(
    into: &mut Vec<u8>,
    encoded: &[u8],
    temporaries: Temporaries,
    first: u32,
) -> Result<(), wasmparser::BinaryReaderError> {
    let mut reader = BinaryReader::new(encoded, 0);
    debug_assert_eq!(encoded.first(), Some(&PREFIX));
    reader.read_u8()?;
    let number = reader.read_var_u32()?;
    if number == FENCE {
        return Ok(());
    }
    let number = number.saturating_sub(FIRST) as usize;
    let (Some(deed), Some(access)) = (DEEDS.get(number / ACCESSES.len()), ACCESSES.get(number % ACCESSES.len())) else {
        return Ok(());
    };
    reader.read_var_u32()?; // Alignment: an atomic access has its own and no other.
    let offset = reader.read_var_u32()?;
    let [address, value, old, expected] = temporaries.indices(first, access.wide);
    let mut out = Out { into, access: *access, offset };
    match deed {
        Deed::Load => {
            out.op(Instruction::LocalSet(address));
            out.aligned(address);
            out.op(Instruction::LocalGet(address));
            out.memory(access.load);
        }
        Deed::Store => {
            out.op(Instruction::LocalSet(value));
            out.op(Instruction::LocalSet(address));
            out.aligned(address);
            out.op(Instruction::LocalGet(address));
            out.op(Instruction::LocalGet(value));
            out.memory(access.store);
        }
        Deed::Modify(narrow, wide) => {
            out.read(address, value, old);
            out.op(Instruction::LocalGet(address));
            out.op(Instruction::LocalGet(old));
            out.op(Instruction::LocalGet(value));
            out.into.push(if access.wide { *wide } else { *narrow });
            out.memory(access.store);
            out.op(Instruction::LocalGet(old));
        }
        Deed::Exchange => {
            out.read(address, value, old);
            out.op(Instruction::LocalGet(address));
            out.op(Instruction::LocalGet(value));
            out.memory(access.store);
            out.op(Instruction::LocalGet(old));
        }
        Deed::CompareExchange => {
            out.op(Instruction::LocalSet(value));
            out.read(address, expected, old);
            out.op(Instruction::LocalGet(old));
            out.op(Instruction::LocalGet(expected));
            out.op(if access.wide { Instruction::I64Eq } else { Instruction::I32Eq });
            out.op(Instruction::If(BlockType::Empty));
            out.op(Instruction::LocalGet(address));
            out.op(Instruction::LocalGet(value));
            out.memory(access.store);
            out.op(Instruction::End);
            out.op(Instruction::LocalGet(old));
        }
    }
    Ok(())
}

struct Out<'o> {
    into: &'o mut Vec<u8>,
    access: Access,
    offset: u32,
}

impl Out<'_> {
    fn op(&mut self, instruction: Instruction<'_>) {
        instruction.encode(self.into);
    }

    fn memory(&mut self, opcode: u8) {
        self.into.push(opcode);
        self.access.align.encode(self.into);
        self.offset.encode(self.into);
    }

    /// Takes address and value from the stack and reads the old value.
    fn read(&mut self, address: u32, value: u32, old: u32) {
        self.op(Instruction::LocalSet(value));
        self.op(Instruction::LocalSet(address));
        self.aligned(address);
        self.op(Instruction::LocalGet(address));
        self.memory(self.access.load);
        self.op(Instruction::LocalSet(old));
    }

    /// Traps where the address, offset included, is not a multiple of the access's size.
    fn aligned(&mut self, address: u32) {
        let mask = (1 << self.access.align) - 1;
        if mask == 0 {
            return;
        }
        self.op(Instruction::LocalGet(address));
        // Three bits at most: no sign.
        let rest = i32::try_from(self.offset & mask).unwrap_or(0);
        if rest != 0 {
            self.op(Instruction::I32Const(rest));
            self.op(Instruction::I32Add);
        }
        self.op(Instruction::I32Const(i32::try_from(mask).unwrap_or(0)));
        self.op(Instruction::I32And);
        self.op(Instruction::If(BlockType::Empty));
        self.op(Instruction::Unreachable);
        self.op(Instruction::End);
    }
}
