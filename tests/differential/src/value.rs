//! Values as bits: two values are equal when every engine would show the same bytes for them.

use crate::rng::Rng;
use core::fmt;

/// Type of a value that an admitted module can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `v128`.
    V128,
}

/// A value, floats and vectors by their bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `i32`.
    I32(u32),
    /// `i64`.
    I64(u64),
    /// Bits of an `f32`.
    F32(u32),
    /// Bits of an `f64`.
    F64(u64),
    /// Bits of a `v128`, lane 0 lowest.
    V128(u128),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32(bits) => write!(f, "i32:{bits:#x}"),
            Self::I64(bits) => write!(f, "i64:{bits:#x}"),
            Self::F32(bits) => write!(f, "f32:{bits:#010x}"),
            Self::F64(bits) => write!(f, "f64:{bits:#018x}"),
            Self::V128(bits) => write!(f, "v128:{bits:#034x}"),
        }
    }
}

/// Bits of floats at which arithmetic has corners.
const F32S: [u32; 14] = [
    0,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xff8a_bcde,
    0x0000_0001,
    0x007f_ffff,
    0x4f00_0000,
    0xcf00_0001,
];

/// The same of doubles.
const F64S: [u64; 13] = [
    0,
    0x8000_0000_0000_0000,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff4_5678_9abc_def0,
    1,
    0x41e0_0000_0000_0000,
    0xc3e0_0000_0000_0001,
];

impl Value {
    /// Type of the value.
    #[must_use]
    pub const fn ty(self) -> Type {
        match self {
            Self::I32(_) => Type::I32,
            Self::I64(_) => Type::I64,
            Self::F32(_) => Type::F32,
            Self::F64(_) => Type::F64,
            Self::V128(_) => Type::V128,
        }
    }

    /// The value of a type with these low bits.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is asked for")]
    pub const fn of(ty: Type, bits: u128) -> Self {
        match ty {
            Type::I32 => Self::I32(bits as u32),
            Type::I64 => Self::I64(bits as u64),
            Type::F32 => Self::F32(bits as u32),
            Type::F64 => Self::F64(bits as u64),
            Type::V128 => Self::V128(bits),
        }
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        match self {
            Self::I32(bits) | Self::F32(bits) => bits as u128,
            Self::I64(bits) | Self::F64(bits) => bits as u128,
            Self::V128(bits) => bits,
        }
    }

    /// Some value of a type, corners more often than chance has it.
    pub fn some(ty: Type, rng: &mut Rng) -> Self {
        let wide = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        match ty {
            Type::I32 | Type::I64 => match rng.below(4) {
                0 => Self::of(ty, u128::from(rng.below(20))),
                1 => Self::of(ty, u128::MAX - u128::from(rng.below(4))),
                2 => Self::of(ty, 1 << rng.below(64)),
                _ => Self::of(ty, wide),
            },
            Type::F32 => match rng.below(3) {
                0 => Self::of(ty, wide),
                _ => Self::F32(rng.pick(&F32S)),
            },
            Type::F64 => match rng.below(3) {
                0 => Self::of(ty, wide),
                _ => Self::F64(rng.pick(&F64S)),
            },
            Type::V128 => match rng.below(3) {
                0 => Self::V128(wide),
                1 => Self::V128((0..4).fold(0, |lanes, _| lanes << 32 | u128::from(rng.pick(&F32S)))),
                _ => Self::V128((0..2).fold(0, |lanes, _| lanes << 64 | u128::from(rng.pick(&F64S)))),
            },
        }
    }
}
