//! How fast a point leaves.

/// Squared distance beyond which a point has left. Far out, so that neighbouring points get neighbouring colours.
const FAR: f64 = 65_536.0;

/// What became of a point.
pub(crate) struct Escape {
    /// Iterations that were done.
    pub(crate) iterations: u32,
    /// When it left, in iterations and parts of one; `None` when it stayed.
    pub(crate) smooth: Option<f64>,
}

/// Iterates `z * z + c` from 0, at most `most` times.
pub(crate) fn escape(re: f64, im: f64, most: u32) -> Escape {
    if is_inside(re, im) {
        return Escape { iterations: 0, smooth: None };
    }
    let (mut x, mut y) = (0.0f64, 0.0f64);
    for iterations in 0..most {
        let (xx, yy) = (x * x, y * y);
        let distance = xx + yy;
        if distance > FAR {
            // log2(log2(|z|) / log2(bailout)): how far into the last iteration it left.
            let part = log2(log2(distance) / 16.0);
            return Escape { iterations, smooth: Some(f64::from(iterations) + 1.0 - part) };
        }
        y = 2.0 * x * y + im;
        x = xx - yy + re;
    }
    Escape { iterations: most, smooth: None }
}

/// Whether the point is in the cardioid or in the largest disc, where iterating would only take time.
fn is_inside(re: f64, im: f64) -> bool {
    let (from_cusp, squared) = (re - 0.25, im * im);
    let q = from_cusp * from_cusp + squared;
    q * (q + from_cusp) <= 0.25 * squared || (re + 1.0) * (re + 1.0) + squared <= 0.0625
}

/// Logarithm to base 2 of a positive, normal number: the exponent, and a series for the rest, in an order that is
/// the same everywhere. Good to about nine digits, which colours do not exhaust.
pub(crate) fn log2(value: f64) -> f64 {
    let bits = value.to_bits();
    let exponent = f64::from(u32::try_from(bits >> 52 & 0x7ff).unwrap_or(0)) - 1023.0;
    let rest = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let t = (rest - 1.0) / (rest + 1.0);
    let square = t * t;
    let (mut power, mut sum) = (t, 0.0);
    for odd in [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0] {
        sum += power / odd;
        power *= square;
    }
    exponent + sum * (2.0 * std::f64::consts::LOG2_E)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_good_enough_for_colours() {
        for value in [1.0, 1.5, 1.999_999, 2.0, 3.0, 10.0, 65_536.0, 1e9, 0.75] {
            let value: f64 = value;
            assert!((log2(value) - value.log2()).abs() < 1e-8, "log2 of {value}");
        }
    }

    #[test]
    fn colours_flow_where_the_count_of_iterations_jumps() {
        let mut last = escape(0.5, 0.0, 1_000).smooth.unwrap();
        let mut jumps = 0;
        for tick in 1..4_000 {
            let next = escape(0.5 + f64::from(tick) / 2_000.0, 0.0, 1_000).smooth.unwrap();
            assert!((next - last).abs() < 0.05, "at {tick}: {last} then {next}");
            jumps += u32::from(next.floor() != last.floor());
            last = next;
        }
        assert!(jumps > 0, "the path crosses bands");
    }
}
