//! From the time at which a point left to a colour.

use crate::escape::log2;

/// Colours around the wheel, each a place from 0 to 1 and red, green, blue from 0 to 1.
const STOPS: [(f64, [f64; 3]); 7] = [
    (0.0, [0.01, 0.02, 0.10]),
    (0.16, [0.05, 0.22, 0.52]),
    (0.34, [0.38, 0.72, 0.88]),
    (0.48, [0.98, 0.98, 0.90]),
    (0.64, [0.99, 0.68, 0.12]),
    (0.84, [0.48, 0.09, 0.10]),
    (1.0, [0.01, 0.02, 0.10]),
];

/// The colour of a point that left at `smooth`, as light from 0 to 1.
pub(crate) fn of(smooth: f64) -> [f64; 3] {
    // Near the set the time grows without end, so the wheel turns by its logarithm.
    let turn = log2(if smooth > 1.0 { smooth } else { 1.0 }) * 0.42;
    let place = turn - turn.floor();
    for pair in STOPS.windows(2) {
        let ((from, a), (to, b)) = (pair[0], pair[1]);
        if place <= to {
            let t = (place - from) / (to - from);
            let eased = t * t * (3.0 - 2.0 * t);
            return [0, 1, 2].map(|part| a[part] + (b[part] - a[part]) * eased);
        }
    }
    STOPS[0].1
}

/// Light as a byte.
pub(crate) fn byte(light: f64) -> u8 {
    // A conversion from float to integer is held at the ends, and NaN is 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held at the ends, as said above")]
    let byte = (light * 255.0 + 0.5) as u8;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_closes() {
        assert_eq!(STOPS[0].1, STOPS[STOPS.len() - 1].1);
        assert!(STOPS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn every_colour_is_light_between_black_and_white() {
        for tick in 0..10_000 {
            assert!(of(f64::from(tick) / 7.0).iter().all(|part| (0.0..=1.0).contains(part)), "at {tick}");
        }
    }
}
