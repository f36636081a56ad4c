//! Shorter forms of `math`'s functions, with the same bits for every operand: what a definition guards against, and cannot
//! happen here, is left out, and NaNs become one at the end. The tests below compare every number, or every 997th.
//!
//! Long functions are computed stage by stage over some numbers at a time: the operations on one number wait for each
//! other, and a processor looks only so far ahead for those on the next.

use crate::{
    math::{self, erf_power, erf_with, exp_near, nan_of, tanh_power, tanh_with},
    number::{NAN, canon, kept},
};
use core::f32::consts::FRAC_1_SQRT_2;

/// Numbers of one turn through the stages.
const TURN: usize = 256;

/// `after(x, y, exp(exponent(y)))` with `y = before(x)`, where the exponential is neither too small nor too large.
#[inline(always)]
fn staged(
    from: &[f32],
    to: &mut [f32],
    before: impl Fn(f32) -> f32,
    exponent: impl Fn(f32) -> f32,
    after: impl Fn(f32, f32, f32) -> f32,
) {
    let mut held = [0.0f32; TURN];
    for (from, to) in from.chunks(TURN).zip(to.chunks_mut(TURN)) {
        for ((from, held), to) in from.iter().zip(&mut held).zip(to.iter_mut()) {
            *held = before(*from);
            *to = exponent(*held);
        }
        for to in to.iter_mut() {
            *to = exp_near(*to);
        }
        for ((from, held), to) in from.iter().zip(&held).zip(to.iter_mut()) {
            *to = after(*from, *held, *to);
        }
    }
}

/// [`math::gelu`] by the error function.
#[inline(always)]
pub(super) fn gelu(from: &[f32], to: &mut [f32]) {
    staged(
        from,
        to,
        |x| kept(kept(x) * FRAC_1_SQRT_2),
        erf_power,
        |x, inner, power| canon(kept(0.5 * kept(x)) * (1.0 + erf_with(inner, power))),
    );
}

/// [`math::gelu`] by the hyperbolic tangent.
#[inline(always)]
pub(super) fn gelu_tanh(from: &[f32], to: &mut [f32]) {
    let inner = |x: f32| {
        let x = kept(x);
        let cube = kept(kept(x * x) * x);
        kept(math::SQRT_2_OVER_PI * kept(x + kept(0.044_715 * cube)))
    };
    staged(from, to, inner, tanh_power, |x, inner, power| canon(kept(0.5 * kept(x)) * (1.0 + tanh_with(inner, power))));
}

/// [`math::erf`].
#[inline(always)]
pub(super) fn erf(from: &[f32], to: &mut [f32]) {
    staged(from, to, kept, erf_power, |x, inner, power| nan_of(x, erf_with(inner, power)));
}

/// [`math::tanh`].
#[inline(always)]
pub(super) fn tanh(from: &[f32], to: &mut [f32]) {
    staged(from, to, kept, tanh_power, |x, inner, power| nan_of(x, tanh_with(inner, power)));
}

/// [`math::exp`] of a number that is not above 0, nor a NaN.
#[inline(always)]
pub(super) fn exp_below(x: f32) -> f32 {
    let held = if x >= -87.0 { x } else { -87.0 };
    let bits = math::exp_bits(held);
    f32::from_bits(if bits < 0x0100_0000 { 0 } else { bits.cast_unsigned() })
}

/// [`crate::number::from_half`]: a binary16 number's bits are those of a number `2^112` too small.
#[inline(always)]
pub(super) fn from_half(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let finite = if magnitude >= 0x7c00 { f32::INFINITY.to_bits() } else { scaled.to_bits() };
    let signed = finite | (u32::from(bits & 0x8000) << 16);
    f32::from_bits(if magnitude > 0x7c00 { NAN } else { signed })
}

/// [`crate::number::to_half`].
#[inline(always)]
pub(super) fn to_half(x: f32) -> u16 {
    let bits = kept(x).to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Rounding adds a half, less the least bit where the kept ones are even.
    let normal = (magnitude.wrapping_sub(112 << 23).wrapping_add(0x0fff + ((magnitude >> 13) & 1))) >> 13;
    // The last place of 0.5 is a binary16 number's least: the sum rounds to it.
    let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < 113 << 23 { small } else { normal };
    let held = if magnitude >= 0x477f_f000 { 0x7c00 } else { finite };
    let signed = held | ((bits >> 16) & 0x8000);
    let half = if magnitude > f32::INFINITY.to_bits() { 0x7e00 } else { signed };
    (half & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::tensor::Gelu;

    type Form = (fn(&[f32], &mut [f32]), fn(f32) -> f32);

    fn exp_to_zero(from: &[f32], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = exp_below(if *from <= 0.0 { *from } else { -(from.abs().min(200.0)) });
        }
    }

    fn halved(from: &[f32], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = f32::from_bits(to_half(*from).into());
        }
    }

    /// Forms and what they are forms of.
    const FORMS: [(&str, Form); 6] = [
        ("gelu", (gelu, |x| math::gelu(Gelu::Erf, x))),
        ("gelu by tanh", (gelu_tanh, |x| math::gelu(Gelu::Tanh, x))),
        ("erf", (erf, math::erf)),
        ("tanh", (tanh, math::tanh)),
        ("exp up to zero", (exp_to_zero, |x| math::exp(if x <= 0.0 { x } else { -(x.abs().min(200.0)) }))),
        ("to f16", (halved, |x| f32::from_bits(crate::number::to_half(x).into()))),
    ];

    /// Every `step`th number, some hundred at a time, the last turn being short.
    #[track_caller]
    fn same(step: usize) {
        for (name, (form, defined)) in FORMS {
            let mut numbers = (0..=u32::MAX).step_by(step).map(f32::from_bits);
            loop {
                let from: Vec<f32> = numbers.by_ref().take(TURN * 3 + 17).collect();
                if from.is_empty() {
                    break;
                }
                let mut to = vec![1.0; from.len()];
                form(&from, &mut to);
                for (x, found) in from.iter().zip(to) {
                    assert_eq!(found.to_bits(), defined(*x).to_bits(), "{name} of {:#010x}", x.to_bits());
                }
            }
        }
    }

    #[test]
    fn short_forms_have_the_bits_of_their_definitions() {
        same(997);
    }

    #[test]
    #[ignore = "four thousand million numbers for each form take minutes: --run-ignored all"]
    fn short_forms_have_the_bits_of_their_definitions_for_every_number() {
        same(1);
    }

    #[test]
    fn every_half_has_the_bits_of_its_definition() {
        for bits in 0..=u16::MAX {
            assert_eq!(from_half(bits).to_bits(), crate::number::from_half(bits).to_bits(), "of {bits:#06x}");
        }
    }
}
