//! How far each function is from the exact result, over binary32: what `spec/09-tensor.md`, section 9.2.4, states.
//!
//! The reference is binary64, whose own error is far below a unit of binary32. Every 251st number is tried here; all
//! of them when `SAMEBIT_ACCURACY=all` is set, which takes minutes.

use samebit_tensor::{Gelu, math, number};

/// The largest distance in units in the last place over all canonical numbers between `from` and `to`.
fn worst(of: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32) -> (f64, f32) {
    let step = if std::env::var_os("SAMEBIT_ACCURACY").is_some_and(|value| value == "all") { 1 } else { 251 };
    let mut worst = (0.0, 0.0);
    for bits in (0..=u32::MAX).step_by(step) {
        let x = f32::from_bits(bits);
        if !(from..=to).contains(&x) || number::canon(x).to_bits() != bits {
            continue;
        }
        let (found, exact) = (f64::from(of(x)), exact(f64::from(x)));
        let distance = if exact.abs() < f64::from(2f32.powi(-125)) && found == 0.0 || found == exact {
            0.0
        } else {
            (found - exact).abs() / unit(exact)
        };
        if distance > worst.0 || distance.is_nan() {
            worst = (distance, x);
        }
    }
    worst
}

/// One unit in the last place of binary32 at `x`.
fn unit(x: f64) -> f64 {
    2f64.powf(x.abs().log2().floor().clamp(-126.0, 127.0) - 23.0)
}

#[track_caller]
fn check(of: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32, bound: f64) {
    let (distance, at) = worst(of, exact, from, to);
    eprintln!("worst {distance:.3} ULP at {at:e}");
    assert!(distance <= bound, "{distance} ULP at {at:e} ({:#010x}), bound {bound}", at.to_bits());
}

const LARGEST: f32 = f32::MAX;

#[test]
fn the_exponential_is_within_its_bound() {
    check(math::exp, f64::exp, -LARGEST, 88.722_8, 1.01);
}

#[test]
fn the_logarithm_is_within_its_bound() {
    check(math::log, f64::ln, 2f32.powi(-125), LARGEST, 1.0);
}

#[test]
fn the_hyperbolic_tangent_is_within_its_bound() {
    check(math::tanh, f64::tanh, -LARGEST, LARGEST, 2.0);
}

#[test]
fn the_sigmoid_is_within_its_bound() {
    check(math::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -86.6, LARGEST, 3.0);
}

#[test]
fn the_error_function_is_within_its_bound() {
    check(math::erf, libm::erf, 2f32.powi(-122), LARGEST, 2.0);
    check(math::erf, libm::erf, -LARGEST, -2f32.powi(-122), 2.0);
}

/// Below zero the sum of one and the error function cancels, as ONNX's own definition does: there the bound is of the
/// distance itself, in parts of `|x|`.
#[test]
fn the_gaussian_unit_is_within_its_bound() {
    let exact = |x: f64| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
    check(|x| math::gelu(Gelu::Erf, x), exact, 0.0, LARGEST, 4.0);
    for bits in (0x8000_0000..=0xff7f_ffffu32).step_by(251) {
        let x = f32::from_bits(bits);
        let found = f64::from(math::gelu(Gelu::Erf, x));
        assert!((found - exact(x.into())).abs() <= f64::from(x).abs() * 2f64.powi(-24) + 2f64.powi(-125), "at {x:e}");
    }
}

#[test]
fn the_gaussian_unit_by_the_hyperbolic_tangent_is_within_its_bound() {
    let exact = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh());
    check(|x| math::gelu(Gelu::Tanh, x), exact, 0.0, LARGEST, 2.0);
    for bits in (0x8000_0000..=0xff7f_ffffu32).step_by(251) {
        let x = f32::from_bits(bits);
        let found = f64::from(math::gelu(Gelu::Tanh, x));
        let distance = (found - exact(f64::from(x))).abs();
        let bound = f64::from(x.abs()) * 2f64.powi(-22) + f64::from(2f32.powi(-125));
        assert!(distance <= bound, "{distance:e} at {x:e}, bound {bound:e}");
    }
}

#[test]
fn special_numbers_have_the_values_of_ieee_754() {
    let nan = f32::from_bits(number::NAN);
    for (found, expected) in [
        (math::exp(f32::INFINITY), f32::INFINITY),
        (math::exp(f32::NEG_INFINITY), 0.0),
        (math::exp(-0.0), 1.0),
        (math::exp(89.0), f32::INFINITY),
        (math::exp(-100.0), 0.0),
        (math::exp(f32::from_bits(0xffc0_1234)), nan),
        (math::log(0.0), f32::NEG_INFINITY),
        (math::log(-0.0), f32::NEG_INFINITY),
        (math::log(1.0), 0.0),
        (math::log(-1.0), nan),
        (math::log(f32::INFINITY), f32::INFINITY),
        (math::tanh(f32::NEG_INFINITY), -1.0),
        (math::tanh(-0.0), -0.0),
        (math::erf(f32::INFINITY), 1.0),
        (math::erf(-0.0), -0.0),
        (math::sigmoid(f32::NEG_INFINITY), 0.0),
        (math::sigmoid(0.0), 0.5),
        (math::gelu(Gelu::Erf, f32::INFINITY), f32::INFINITY),
        (math::gelu(Gelu::Erf, -0.0), -0.0),
        (math::gelu(Gelu::Tanh, f32::from_bits(0x7f80_0001)), nan),
        (number::sqrt(-1.0), nan),
        (number::sqrt(-0.0), -0.0),
        (number::div(0.0, 0.0), nan),
        (number::neg(f32::from_bits(0x7fc0_0000)), nan),
        (number::add(f32::INFINITY, f32::NEG_INFINITY), nan),
        // One binade above the smallest normal number all is zero.
        (number::add(f32::MIN_POSITIVE, 0.0), 0.0),
        (number::neg(f32::from_bits(1)), -0.0),
        (number::mul(2f32.powi(-63), 2f32.powi(-63)), 0.0),
        (number::mul(2f32.powi(-63), 2f32.powi(-62)), 2f32.powi(-125)),
        (number::max(-0.0, 0.0), 0.0),
        (number::min(f32::NAN, 1.0), nan),
        (number::max(f32::NEG_INFINITY, f32::NAN), nan),
    ] {
        assert_eq!(found.to_bits(), expected.to_bits(), "{found:e} for {expected:e}");
    }
}

#[test]
fn a_half_comes_back_from_a_number_as_it_went() {
    for bits in 0..=u16::MAX {
        let wide = number::from_half(bits);
        let expected = if wide.is_nan() { 0x7e00 } else { bits };
        assert_eq!(number::to_half(wide), expected, "{bits:#06x}");
    }
}

#[test]
fn a_number_becomes_the_nearest_half() {
    for bits in (0..=u16::MAX).filter(|bits| bits & 0x7fff < 0x7bff) {
        let (low, high) = (number::from_half(bits), number::from_half(bits + 1));
        let middle = low + (high - low) / 2.0;
        let even = if bits & 1 == 0 { bits } else { bits + 1 };
        assert_eq!(number::to_half(middle), even, "halfway from {bits:#06x}");
        let toward = |bits: u32, up: bool| f32::from_bits(if up { bits + 1 } else { bits - 1 });
        assert_eq!(number::to_half(toward(middle.to_bits(), false)), bits, "below the middle from {bits:#06x}");
        assert_eq!(number::to_half(toward(middle.to_bits(), true)), bits + 1, "above the middle from {bits:#06x}");
    }
    assert_eq!(number::to_half(65_519.996), 0x7bff);
    assert_eq!(number::to_half(65_520.0), 0x7c00);
}
