//! What instructions cost (`spec/03-execution.md`, section 8; measured as `spec/fuel-calibration.md` tells).
//!
//! The table is part of profile `samebit-1`: another table is another profile. Which instruction is of which
//! class is the rewriter's to know, by the names of the WebAssembly specification.

/// Instructions that cost the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// What a compiler turns into no work of its own: `block`, `loop`, `end`, `else`, `nop`, `drop`, constants,
    /// `local.get`, `unreachable`.
    Free,
    /// `local.set`, `local.tee`: a move at worst, and nothing where a compiler finds out.
    Assign,
    /// Integer arithmetic, comparison, bits, shifts, extension and wrapping; reinterpretation; `select`.
    Integer,
    /// Integer multiplication, `clz`, `ctz`, `popcnt`.
    Multiply,
    /// Integer division and remainder.
    Divide,
    /// `br`, `br_if`, `if`, `return`.
    Branch,
    /// `br_table`.
    BranchTable,
    /// Loads of integers and floats.
    Load,
    /// Stores of integers and floats.
    Store,
    /// `global.get`, `global.set`.
    Global,
    /// `call`.
    Call,
    /// `call_indirect`.
    CallIndirect,
    /// Float addition, subtraction, multiplication, comparison, sign.
    Float,
    /// Float `min` and `max`.
    FloatMinMax,
    /// Float division and square root.
    FloatDivide,
    /// `ceil`, `floor`, `trunc`, `nearest`.
    FloatRound,
    /// Conversions between floats and integers, promotion and demotion.
    Convert,
    /// Vector instructions that are none of the following.
    Vector,
    /// Vector multiplication of lanes up to 16 bits, dot products, shifts of bytes, `popcnt`, `swizzle`.
    VectorMultiply,
    /// Vector division, square root, rounding, float `min` and `max`, conversions, multiplication of larger integers.
    VectorDivide,
    /// Vector loads and stores.
    VectorMemory,
    /// `memory.size`.
    MemorySize,
    /// `memory.copy` and `memory.fill`, beside their length.
    MemoryBulk,
    /// `memory.grow`, beside the pages.
    MemoryGrow,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 24;

    /// All of them, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Free,
        Self::Assign,
        Self::Integer,
        Self::Multiply,
        Self::Divide,
        Self::Branch,
        Self::BranchTable,
        Self::Load,
        Self::Store,
        Self::Global,
        Self::Call,
        Self::CallIndirect,
        Self::Float,
        Self::FloatMinMax,
        Self::FloatDivide,
        Self::FloatRound,
        Self::Convert,
        Self::Vector,
        Self::VectorMultiply,
        Self::VectorDivide,
        Self::VectorMemory,
        Self::MemorySize,
        Self::MemoryBulk,
        Self::MemoryGrow,
    ];
}

/// Fuel of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuelTable {
    cost: [u32; Class::COUNT],
    /// Bytes of `memory.copy` and `memory.fill` for one fuel, as a power of two.
    pub bulk_bytes_log2: u32,
    /// Fuel of each page of 64 KiB that memory grows by.
    pub grow_page: u32,
    /// Fuel of each local beyond [`JOIN_FREE`] that a construct assigns, where its paths meet.
    pub join: u32,
    /// Fuel of each parameter and result of a call beyond [`PASSED_FREE`].
    pub passed: u32,
    /// Fuel of each local of a function, parameters aside, beyond [`LOCALS_FREE`], when it is called.
    pub local: u32,
}

/// Locals that a construct may assign without a price. Source: `spec/fuel-calibration.md`: what compilers emit seldom has more,
/// and their moves take less than the branch that is paid.
pub const JOIN_FREE: u64 = 64;
/// Parameters and results that a call may pass without a price. Source: as many as there are registers for them.
pub const PASSED_FREE: u64 = 8;
/// Locals that a function may have without a price.
pub const LOCALS_FREE: u64 = 64;

impl FuelTable {
    /// The most that an instruction may cost: a function's body then costs less than 2^29.
    pub const COST_MAX: u32 = 200;

    /// A table in which every class costs nothing.
    pub const NOTHING: Self =
        Self { cost: [0; Class::COUNT], bulk_bytes_log2: 31, grow_page: 0, join: 0, passed: 0, local: 0 };

    /// What it costs that the paths of a construct meet which assigns this many locals.
    #[must_use]
    pub const fn joined(&self, assigned: u64) -> u64 {
        assigned.saturating_sub(JOIN_FREE) * self.join as u64
    }

    /// What a call costs, beside its class, that has this many parameters and results together.
    #[must_use]
    pub const fn call(&self, passed: u64) -> u64 {
        passed.saturating_sub(PASSED_FREE) * self.passed as u64
    }

    /// What it costs to enter a function with this many locals, parameters not counted.
    #[must_use]
    pub const fn entry(&self, locals: u64) -> u64 {
        locals.saturating_sub(LOCALS_FREE) * self.local as u64
    }

    /// What an instruction of `class` costs.
    #[must_use]
    pub const fn cost(&self, class: Class) -> u32 {
        self.cost[class as usize]
    }

    /// The table with another cost for `class`, at most [`FuelTable::COST_MAX`].
    #[must_use]
    pub const fn with(mut self, class: Class, cost: u32) -> Self {
        self.cost[class as usize] = if cost < Self::COST_MAX { cost } else { Self::COST_MAX };
        self
    }
}

/// The table of profile `samebit-1`. Source: `spec/fuel-calibration.md`; a fuel is some 0.13 ns of a core of 2025.
pub const SAMEBIT_1: FuelTable =
    FuelTable { cost: [0; Class::COUNT], bulk_bytes_log2: 3, grow_page: 262_144, join: 1, passed: 2, local: 1 }
        .with(Class::Assign, 1)
        .with(Class::Integer, 1)
        .with(Class::Multiply, 4)
        .with(Class::Divide, 30)
        .with(Class::Branch, 4)
        .with(Class::BranchTable, 5)
        .with(Class::Load, 2)
        .with(Class::Store, 2)
        .with(Class::Global, 2)
        .with(Class::Call, 20)
        .with(Class::CallIndirect, 24)
        .with(Class::Float, 1)
        .with(Class::FloatMinMax, 8)
        .with(Class::FloatDivide, 14)
        .with(Class::FloatRound, 8)
        .with(Class::Convert, 7)
        .with(Class::Vector, 2)
        .with(Class::VectorMultiply, 6)
        .with(Class::VectorDivide, 18)
        .with(Class::VectorMemory, 2)
        .with(Class::MemorySize, 2)
        .with(Class::MemoryBulk, 30)
        .with(Class::MemoryGrow, 200);
