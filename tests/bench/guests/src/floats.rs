//! Guests that work on scalar floats.

use crate::data::{Checksum, Numbers, count};
use std::hint::black_box;

pub(crate) const SIDE: usize = 256;

/// Two square matrices of [`SIDE`] rows.
#[expect(clippy::cast_possible_truncation, reason = "single precision is what is multiplied")]
pub(crate) fn matrices() -> (Vec<f32>, Vec<f32>) {
    let mut numbers = Numbers::new();
    let mut matrix = || (0..SIDE * SIDE).map(|_| numbers.unit() as f32).collect();
    (matrix(), matrix())
}

pub(crate) fn checksum(values: &[f32]) -> i64 {
    let mut sum = Checksum::new();
    for value in values.iter().step_by(13) {
        sum.add(u64::from(value.to_bits()));
    }
    sum.end()
}

/// Multiplies matrices `n` times, row by row: each product is added to an element in memory.
#[unsafe(no_mangle)]
pub extern "C" fn run_matmul(n: i32) -> i64 {
    let (a, b) = matrices();
    let mut c = vec![0.0_f32; SIDE * SIDE];
    for _ in 0..count(n) {
        for i in 0..SIDE {
            let row = &mut c[i * SIDE..][..SIDE];
            for k in 0..SIDE {
                let factor = a[i * SIDE + k];
                let other = &b[k * SIDE..][..SIDE];
                for j in 0..SIDE {
                    row[j] += factor * other[j];
                }
            }
        }
        black_box(&mut c);
    }
    checksum(&c)
}

struct Body {
    x: f64,
    y: f64,
    z: f64,
    vx: f64,
    vy: f64,
    vz: f64,
    mass: f64,
}

const SUN: f64 = 39.478_417_604_357_43;
const DAYS: f64 = 365.24;

fn body([x, y, z]: [f64; 3], speed: [f64; 3], mass: f64) -> Body {
    let [vx, vy, vz] = speed.map(|speed| speed * DAYS);
    Body { x, y, z, vx, vy, vz, mass: mass * SUN }
}

#[rustfmt::skip]
fn bodies() -> [Body; 5] {
    [
        body([0.0; 3], [0.0; 3], 1.0),
        body([4.841_431_442_464_721, -1.160_320_044_027_428_4, -0.103_622_044_471_123_11],
             [0.001_660_076_642_744_037, 0.007_699_011_184_197_404, -0.000_069_046_001_697_206_3], 0.000_954_791_938_424_326_6),
        body([8.343_366_718_244_58, 4.124_798_564_124_305, -0.403_523_417_114_321_4],
             [-0.002_767_425_107_268_624, 0.004_998_528_012_349_172, 0.000_023_041_729_757_376_393], 0.000_285_885_980_666_130_8),
        body([12.894_369_562_139_13, -15.111_151_401_698_631, -0.223_307_578_892_655_73],
             [0.002_964_601_375_647_616, 0.002_378_471_739_594_809_5, -0.000_029_658_956_854_023_756], 0.000_043_662_440_433_515_63),
        body([15.379_697_114_850_917, -25.919_314_609_987_964, 0.179_258_772_950_371_18],
             [0.002_680_677_724_903_893_2, 0.001_628_241_700_382_423, -0.000_095_159_225_451_971_59], 0.000_051_513_890_204_661_145),
    ]
}

fn advance(bodies: &mut [Body; 5], dt: f64) {
    for i in 0..5 {
        let (before, after) = bodies.split_at_mut(i + 1);
        let this = &mut before[i];
        for other in after {
            let (dx, dy, dz) = (this.x - other.x, this.y - other.y, this.z - other.z);
            let square = dx * dx + dy * dy + dz * dz;
            let pull = dt / (square * square.sqrt());
            this.vx -= dx * other.mass * pull;
            this.vy -= dy * other.mass * pull;
            this.vz -= dz * other.mass * pull;
            other.vx += dx * this.mass * pull;
            other.vy += dy * this.mass * pull;
            other.vz += dz * this.mass * pull;
        }
    }
    for body in bodies {
        body.x += dt * body.vx;
        body.y += dt * body.vy;
        body.z += dt * body.vz;
    }
}

/// Sun and four planets for `n` steps.
#[unsafe(no_mangle)]
pub extern "C" fn run_nbody(n: i32) -> i64 {
    let mut bodies = bodies();
    for _ in 0..count(n) {
        advance(&mut bodies, 0.01);
    }
    let mut sum = Checksum::new();
    for body in &bodies {
        for value in [body.x, body.y, body.z, body.vx, body.vy, body.vz] {
            sum.add(value.to_bits());
        }
    }
    sum.end()
}

/// The Mandelbrot set on `n` by `n` points.
#[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
#[unsafe(no_mangle)]
pub extern "C" fn run_mandelbrot(n: i32) -> i64 {
    let mut sum = Checksum::new();
    let side = count(n);
    for row in 0..side {
        for column in 0..side {
            let (cx, cy) = (column as f64 * 3.0 / side as f64 - 2.0, row as f64 * 2.0 / side as f64 - 1.0);
            let (mut x, mut y, mut steps) = (0.0_f64, 0.0_f64, 0_u64);
            while steps < 200 && x * x + y * y <= 4.0 {
                (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
                steps += 1;
            }
            sum.add(steps);
        }
    }
    sum.end()
}

#[derive(Clone, Copy)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// The roots of unity, from square roots alone: `sin` differs between libraries.
fn roots(size: usize) -> Vec<Complex> {
    let (mut re, mut im, mut order) = (-1.0_f64, 0.0_f64, 2);
    while order < size {
        (re, im) = (((1.0 + re) / 2.0).sqrt(), -((1.0 - re) / 2.0).sqrt());
        order *= 2;
    }
    let first = Complex { re, im };
    let mut roots = vec![Complex { re: 1.0, im: 0.0 }; size / 2];
    for index in 1..size / 2 {
        let half = roots[index / 2].times(roots[index / 2]);
        roots[index] = if index % 2 == 1 { half.times(first) } else { half };
    }
    roots
}

/// Transforms 32768 points `n` times, with scaling in between.
#[unsafe(no_mangle)]
pub extern "C" fn run_fft(n: i32) -> i64 {
    const SIZE: usize = 1 << 15;
    let mut numbers = Numbers::new();
    let mut values: Vec<Complex> = (0..SIZE).map(|_| Complex { re: numbers.unit(), im: numbers.unit() }).collect();
    let roots = roots(SIZE);
    for _ in 0..count(n) {
        for index in 0..SIZE {
            let swapped = index.reverse_bits() >> (usize::BITS - SIZE.trailing_zeros());
            if index < swapped {
                values.swap(index, swapped);
            }
        }
        let mut half = 1;
        while half < SIZE {
            let stride = SIZE / (2 * half);
            for start in (0..SIZE).step_by(2 * half) {
                for offset in 0..half {
                    let (low, high) =
                        (values[start + offset], values[start + offset + half].times(roots[offset * stride]));
                    values[start + offset] = Complex { re: low.re + high.re, im: low.im + high.im };
                    values[start + offset + half] = Complex { re: low.re - high.re, im: low.im - high.im };
                }
            }
            half *= 2;
        }
        for value in &mut values {
            value.re /= 181.0;
            value.im /= 181.0;
        }
    }
    let mut sum = Checksum::new();
    for value in values.iter().step_by(7) {
        sum.add(value.re.to_bits());
        sum.add(value.im.to_bits());
    }
    sum.end()
}
