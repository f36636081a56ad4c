//! Functions of one number (`spec/09-tensor.md`, section 9.2.4): fixed polynomials, each multiplication and addition
//! rounded by itself.
//!
//! The polynomials were fitted by ourselves (weighted least squares on Chebyshev nodes, sharpened after Lawson 1961); how
//! far each function is from the exact result is measured over all numbers by `tests/accuracy.rs`. Everything is
//! written without a branch that depends on the number, so a compiler may turn a loop over them into vector code; the
//! bits do not depend on whether it does.

use crate::number::{NAN, add, canon, div, kept, mul};
use core::f32::consts::{FRAC_1_SQRT_2, LOG2_E};
use samebit_spec::tensor::Gelu;

/// `ln 2` in two parts: the first has nine bits, so that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = f32::from_bits(0xb95e_8083);
/// `1.5 * 2^23`: adding it rounds a small number to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
const ROUND_BITS: i32 = 0x4b40_0000;
/// The nearest to `sqrt(2 / pi)`.
pub(crate) const SQRT_2_OVER_PI: f32 = f32::from_bits(0x3f4c_422a);

/// `(e^r - 1 - r) / r^2` for `|r| <= ln(2) / 2`, within `2^-28` of `e^r`.
const EXP: [u32; 5] = [0x3f00_0000, 0x3e2a_aa47, 0x3d2a_aa2f, 0x3c09_1df0, 0x3ab6_da72];
/// `(ln(1 + f) - f + f^2 / 2) / f^3` for `sqrt(1/2) <= 1 + f < sqrt(2)`.
const LOG: [u32; 9] = [
    0x3eaa_aaa4,
    0xbe80_0003,
    0x3e4c_d25b,
    0xbe2a_ae27,
    0x3e11_9bb3,
    0xbdfe_1107,
    0x3df3_7846,
    0xbdef_1dfc,
    0x3d8a_2b9f,
];
/// `(tanh(x) / x - 1) / x^2` in `x^2`, for `|x| < 0.625`.
const TANH: [u32; 5] = [0xbeaa_aa9a, 0x3e08_83b4, 0xbd5c_2225, 0x3ca9_2b6e, 0xbbbb_5614];
/// `erf(x) / x - 1` in `x^2`, for `|x| < 0.85`.
const ERF_SMALL: [u32; 7] = [0x3e03_75d4, 0xbec0_93a3, 0x3de7_1758, 0xbcdc_0f04, 0x3baa_b601, 0xba58_3e28, 0x38b9_c37e];
/// `ln(1 - erf(x))` for `0.85 <= x <= 4`.
const ERF_LARGE: [u32; 7] = [0xb8db_2f75, 0xbf90_644e, 0xbf22_f2e6, 0xbdd6_11bb, 0x3cb8_79f7, 0xbb4c_551b, 0x3955_9267];

/// Horner's rule from the last coefficient: `(.. (c_n x + c_n-1) x + ..) x + c_0`.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[u32; N], x: f32) -> f32 {
    let mut sum = f32::from_bits(coefficients[N - 1]);
    for coefficient in coefficients[..N - 1].iter().rev() {
        sum = sum * x + f32::from_bits(*coefficient);
    }
    sum
}

#[inline(always)]
pub(crate) fn nan_of(x: f32, otherwise: f32) -> f32 {
    if x.is_nan() { f32::from_bits(NAN) } else { otherwise }
}

/// The bits of `e^x` for `x` from -87 to 89: beyond a binary32 number's when that is too large or below `2^-126`.
#[inline(always)]
pub(crate) fn exp_bits(x: f32) -> i32 {
    let rounded = x * LOG2_E + ROUND;
    let power = rounded - ROUND;
    let exponent = rounded.to_bits().cast_signed().wrapping_sub(ROUND_BITS);
    let rest = (x - power * LN_2_HIGH) - power * LN_2_LOW;
    let close = ((rest * rest) * polynomial(&EXP, rest) + rest) + 1.0;
    close.to_bits().cast_signed().wrapping_add(exponent << 23)
}

/// [`exp`] of a number from -87 to 20, where the result is never too small or too large.
#[inline(always)]
pub(crate) fn exp_near(x: f32) -> f32 {
    f32::from_bits(exp_bits(x).cast_unsigned())
}

/// `e^x`: within 1.01 ULP; `+0` where that is below `2^-125`.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // No subnormal number can arise below, so nothing has to be flushed on the way.
    let near = if x.abs() < 9.313_226e-10 { 0.0 } else { x };
    let low = if near >= -87.0 { near } else { -87.0 };
    let held = if low <= 89.0 { low } else { 89.0 };
    let bits = exp_bits(held);
    let floor = if bits < 0x0100_0000 { 0 } else { bits };
    let held = if bits >= 0x7f80_0000 { 0x7f80_0000 } else { floor };
    nan_of(x, f32::from_bits(held.cast_unsigned()))
}

/// Natural logarithm: within 1 ULP; `-inf` of zero, NaN below it.
#[inline(always)]
#[must_use]
pub fn log(x: f32) -> f32 {
    let x = canon(x);
    let bits = x.to_bits().cast_signed();
    // The exponent that leaves a significand between sqrt(1/2) and sqrt(2).
    let exponent = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(exponent << 23).cast_unsigned()) - 1.0;
    #[expect(clippy::cast_precision_loss, reason = "at most 128 in magnitude")]
    let power = exponent as f32;
    let square = f * f;
    let tail = ((f * square) * polynomial(&LOG, f) + power * LN_2_LOW) - 0.5 * square;
    let value = (f + tail) + power * LN_2_HIGH;
    let large = if x == f32::INFINITY { x } else { value };
    let zero = if x == 0.0 { f32::NEG_INFINITY } else { large };
    let below = if x < 0.0 { f32::from_bits(NAN) } else { zero };
    nan_of(x, below)
}

/// Hyperbolic tangent: within 2 ULP.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let x = canon(x);
    nan_of(x, tanh_of(x))
}

/// [`tanh`] of a canonical number; of a NaN, some number.
#[inline(always)]
fn tanh_of(x: f32) -> f32 {
    tanh_with(x, exp_near(tanh_power(x)))
}

/// What [`tanh_with`] wants the exponential of.
#[inline(always)]
pub(crate) fn tanh_power(x: f32) -> f32 {
    let size = x.abs();
    let held = if size < 10.0 { size } else { 10.0 };
    held + held
}

#[inline(always)]
pub(crate) fn tanh_with(x: f32, power: f32) -> f32 {
    let size = x.abs();
    let large = 1.0 - 2.0 / (power + 1.0);
    // Below 2^-12 the next term is less than half a unit in the last place; from 0.625 on it is not used.
    let mid = if size < 2.441_406_3e-4 { 0.0 } else { size };
    let square = mid * mid;
    let small = mid * (square * polynomial(&TANH, square)) + size;
    let value = if size < 0.625 { small } else { large };
    value.copysign(x)
}

/// `1 / (1 + e^-x)`: within 3 ULP from -86.6 on.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    canon(1.0 / (1.0 + exp(-x)))
}

/// Error function: within 2 ULP from `2^-122` on.
#[inline(always)]
#[must_use]
pub fn erf(x: f32) -> f32 {
    let x = canon(x);
    nan_of(x, erf_of(x))
}

/// [`erf`] of a canonical number; of a NaN, some number.
#[inline(always)]
fn erf_of(x: f32) -> f32 {
    erf_with(x, exp_near(erf_power(x)))
}

/// What [`erf_with`] wants the exponential of: from -16 to 0, so that it is far from both its ends.
#[inline(always)]
pub(crate) fn erf_power(x: f32) -> f32 {
    let size = x.abs();
    polynomial(&ERF_LARGE, if size < 4.0 { size } else { 4.0 })
}

#[inline(always)]
pub(crate) fn erf_with(x: f32, power: f32) -> f32 {
    let size = x.abs();
    // From 0.85 on the small form is not used.
    let square = kept(size * size);
    let small = kept(size * polynomial(&ERF_SMALL, square)) + size;
    let value = if size < 0.85 { small } else { 1.0 - power };
    value.copysign(x)
}

/// `0.5 x (1 + erf(x / sqrt 2))`, or with `tanh(sqrt(2 / pi) (x + 0.044715 x^3))` for the error function.
#[inline(always)]
#[must_use]
pub fn gelu(kind: Gelu, x: f32) -> f32 {
    let half = mul(0.5, x);
    let inner = match kind {
        Gelu::Erf => erf(mul(x, FRAC_1_SQRT_2)),
        Gelu::Tanh => {
            let cube = mul(mul(x, x), x);
            tanh(mul(SQRT_2_OVER_PI, add(x, mul(0.044_715, cube))))
        }
    };
    mul(half, add(1.0, inner))
}

/// `1 / x`.
#[inline(always)]
#[must_use]
pub fn reciprocal(x: f32) -> f32 {
    div(1.0, x)
}
