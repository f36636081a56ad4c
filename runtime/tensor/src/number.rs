//! Arithmetic on single numbers (`spec/09-tensor.md`, section 9.2): binary32 with one NaN and without subnormal numbers.
//!
//! Every function takes any bits and gives a canonical number. The rules are such that a processor that flushes
//! subnormal numbers and one that keeps them, before or after rounding, give the same bits: whatever is smaller than
//! `2^-125`, one binade above the smallest normal number, counts as zero.

/// The only NaN that arithmetic gives.
pub const NAN: u32 = 0x7fc0_0000;

const SIGN: u32 = 0x8000_0000;
const MAGNITUDE: u32 = 0x7fff_ffff;
const INFINITY: u32 = 0x7f80_0000;
/// The bits that only a number of `2^-125` and more has: exponents from 2 on.
const NORMAL: u32 = 0x7f00_0000;
/// `2^-51`: below it a factor of a sum of products is zero, so that every rounded product is a multiple of `2^-125`.
const LEAST_FACTOR: u32 = 76 << 23;
/// `2^-102`: below it an addend of a long sum is zero, so that every rounded sum is a multiple of `2^-125`.
const LEAST_ADDEND: u32 = 25 << 23;

/// The number that `x` stands for: zero of the same sign below `2^-125`, [`NAN`] for any NaN.
#[inline(always)]
#[must_use]
pub fn canon(x: f32) -> f32 {
    one_nan(kept(x))
}

/// A NaN becomes [`NAN`], all else stays.
#[inline(always)]
#[must_use]
pub(crate) fn one_nan(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(NAN) } else { x }
}

/// Zero of the same sign below `2^-125`; a NaN stays as it is. In a row of operations this is enough at each of them, if
/// the last result becomes canonical: no operation but a comparison loses a NaN.
#[inline(always)]
#[must_use]
pub(crate) fn kept(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & NORMAL == 0 { bits & SIGN } else { bits })
}

/// A factor of a sum of products: zero of the same sign below `2^-51`. A NaN stays one; the end of the sum makes it canonical.
#[inline(always)]
#[must_use]
pub fn factor(x: f32) -> f32 {
    f32::from_bits(flush(x.to_bits(), LEAST_FACTOR))
}

/// An addend of a long sum: zero of the same sign below `2^-102`.
#[inline(always)]
#[must_use]
pub fn addend(x: f32) -> f32 {
    f32::from_bits(flush(x.to_bits(), LEAST_ADDEND))
}

#[inline(always)]
fn flush(bits: u32, least: u32) -> u32 {
    if bits & MAGNITUDE < least { bits & SIGN } else { bits }
}

/// `a + b`, rounded to nearest, ties to even.
#[inline(always)]
#[must_use]
pub fn add(a: f32, b: f32) -> f32 {
    canon(canon(a) + canon(b))
}

/// `a - b`.
#[inline(always)]
#[must_use]
pub fn sub(a: f32, b: f32) -> f32 {
    canon(canon(a) - canon(b))
}

/// `a * b`.
#[inline(always)]
#[must_use]
pub fn mul(a: f32, b: f32) -> f32 {
    canon(canon(a) * canon(b))
}

/// `a / b`, correctly rounded.
#[inline(always)]
#[must_use]
pub fn div(a: f32, b: f32) -> f32 {
    canon(canon(a) / canon(b))
}

/// The square root, correctly rounded; NaN below zero, `-0` of `-0`.
#[inline(always)]
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    canon(canon(x).sqrt())
}

/// `-x`; a NaN has no sign.
#[inline(always)]
#[must_use]
pub fn neg(x: f32) -> f32 {
    canon(-canon(x))
}

/// `|x|`.
#[inline(always)]
#[must_use]
pub fn abs(x: f32) -> f32 {
    canon(x).abs()
}

/// The place of a canonical number in the order of all: ascending, `-0` before `+0`, NaN behind infinity.
#[inline(always)]
#[must_use]
pub fn key(x: f32) -> i32 {
    let bits = canon(x).to_bits().cast_signed();
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// The greater of two; NaN when one is.
#[inline(always)]
#[must_use]
pub fn max(a: f32, b: f32) -> f32 {
    if key(b) > key(a) { canon(b) } else { canon(a) }
}

/// The lesser of two; NaN when one is.
#[inline(always)]
#[must_use]
pub fn min(a: f32, b: f32) -> f32 {
    let least = if key(b) < key(a) { canon(b) } else { canon(a) };
    if a.is_nan() || b.is_nan() { f32::from_bits(NAN) } else { least }
}

/// `min(max(x, low), high)`.
#[inline(always)]
#[must_use]
pub fn clip(x: f32, low: f32, high: f32) -> f32 {
    min(max(x, low), high)
}

/// The number of a binary16 number; exact. Its subnormal numbers are normal ones here.
#[inline(always)]
#[must_use]
pub fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let wide = match magnitude {
        0 => 0,
        // A subnormal number counts units of 2^-24.
        1..=0x03ff => {
            let high = 31 - magnitude.leading_zeros();
            ((high + 103) << 23) | ((magnitude << (23 - high)) & 0x007f_ffff)
        }
        0x0400..=0x7bff => (magnitude << 13) + (112 << 23),
        0x7c00 => INFINITY,
        _ => return f32::from_bits(NAN),
    };
    f32::from_bits(sign | wide)
}

/// The nearest binary16 number, ties to even; infinity beyond the largest, `0x7e00` for NaN.
#[inline(always)]
#[must_use]
pub fn to_half(x: f32) -> u16 {
    let bits = canon(x).to_bits();
    let sign = u16::try_from((bits & SIGN) >> 16).expect("one bit");
    let magnitude = bits & MAGNITUDE;
    if magnitude > INFINITY {
        return 0x7e00;
    }
    // 2^16 - 2^4, halfway between the largest number and what would follow it.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    let (kept, rest, half) = if magnitude >= 113 << 23 {
        ((magnitude - (112 << 23)) >> 13, magnitude & 0x1fff, 0x1000)
    } else {
        // In units of 2^-24; what is below half of one is zero.
        let shift = 126 - (magnitude >> 23);
        if shift > 24 {
            return sign;
        }
        let significand = (magnitude & 0x007f_ffff) | 0x0080_0000;
        (significand >> shift, significand & ((1 << shift) - 1), 1 << (shift - 1))
    };
    let up = rest > half || (rest == half && kept & 1 == 1);
    sign | u16::try_from(kept + u32::from(up)).expect("at most infinity's bits")
}

/// Towards zero, held to the range of `i32`; 0 for NaN.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "saturating is the rule")]
pub fn to_i32(x: f32) -> i32 {
    canon(x) as i32
}

/// The nearest number, ties to even.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "rounding is the rule")]
pub fn from_i32(x: i32) -> f32 {
    x as f32
}

/// `saturate(round(x / scale) + zero)` between `low` and `high`; `zero` for a NaN.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "saturating is the rule")]
pub fn quantize(x: f32, scale: f32, zero: i32, low: i32, high: i32) -> i32 {
    (div(x, scale).round_ties_even() as i32).saturating_add(zero).clamp(low, high)
}

/// `(x - zero) * scale`.
#[inline(always)]
#[must_use]
pub fn dequantize(x: i32, scale: f32, zero: i32) -> f32 {
    mul(from_i32(x.wrapping_sub(zero)), scale)
}

/// Quotient towards zero; 0 for a division by zero, `i32::MIN` for `i32::MIN / -1`.
#[inline(always)]
#[must_use]
pub fn div_i32(a: i32, b: i32) -> i32 {
    if b == 0 { 0 } else { a.wrapping_div(b) }
}
