//! Guests that work on `v128`. Natively they use the same four lanes, so that the sums are the same bits.

use crate::{
    data::count,
    floats::{SIDE, checksum, matrices},
};
use std::hint::black_box;

/// Four lanes on Wasm.
#[cfg(target_arch = "wasm32")]
mod lanes {
    pub(super) use core::arch::wasm32::v128 as V;
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128_load, v128_store};

    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn splat(value: f32) -> V {
        f32x4_splat(value)
    }
    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn load(from: &[f32; 4]) -> V {
        // SAFETY: sixteen bytes are borrowed, and v128.load needs no alignment.
        unsafe { v128_load(from.as_ptr().cast()) }
    }
    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn store(to: &mut [f32; 4], value: V) {
        // SAFETY: sixteen bytes are borrowed mutably, and v128.store needs no alignment.
        unsafe { v128_store(to.as_mut_ptr().cast(), value) }
    }
    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn fold(sum: V, left: V, right: V) -> V {
        f32x4_add(sum, f32x4_mul(left, right))
    }
}

/// Four lanes on x86-64, whose baseline has them.
#[cfg(target_arch = "x86_64")]
mod lanes {
    pub(super) use core::arch::x86_64::__m128 as V;
    use core::arch::x86_64::{_mm_add_ps, _mm_loadu_ps, _mm_mul_ps, _mm_set1_ps, _mm_storeu_ps};

    #[inline]
    #[target_feature(enable = "sse")]
    pub(super) fn splat(value: f32) -> V {
        _mm_set1_ps(value)
    }
    #[inline]
    #[target_feature(enable = "sse")]
    pub(super) fn load(from: &[f32; 4]) -> V {
        // SAFETY: sixteen bytes are borrowed, and the load needs no alignment.
        unsafe { _mm_loadu_ps(from.as_ptr()) }
    }
    #[inline]
    #[target_feature(enable = "sse")]
    pub(super) fn store(to: &mut [f32; 4], value: V) {
        // SAFETY: sixteen bytes are borrowed mutably, and the store needs no alignment.
        unsafe { _mm_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline]
    #[target_feature(enable = "sse")]
    pub(super) fn fold(sum: V, left: V, right: V) -> V {
        _mm_add_ps(sum, _mm_mul_ps(left, right))
    }
}

/// Four lanes elsewhere: the compiler knows what to do with them.
#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
mod lanes {
    pub(super) type V = [f32; 4];

    pub(super) fn splat(value: f32) -> V {
        [value; 4]
    }
    pub(super) fn load(from: &[f32; 4]) -> V {
        *from
    }
    pub(super) fn store(to: &mut [f32; 4], value: V) {
        *to = value;
    }
    pub(super) fn fold(sum: V, left: V, right: V) -> V {
        [0, 1, 2, 3].map(|lane| sum[lane] + left[lane] * right[lane])
    }
}

/// Calls a function that needs four lanes.
macro_rules! with_vectors {
    ($call:expr) => {{
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 processor has SSE.
        unsafe {
            $call
        }
        #[cfg(not(target_arch = "x86_64"))]
        $call
    }};
}

use lanes::{V, fold, load, splat, store};

fn quads(values: &[f32]) -> Vec<[f32; 4]> {
    values.chunks_exact(4).map(|quad| [quad[0], quad[1], quad[2], quad[3]]).collect()
}

const QUADS: usize = SIDE / 4;

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn add_product(a: &[f32], b: &[[f32; 4]], c: &mut [[f32; 4]]) {
    for i in 0..SIDE {
        let row = &mut c[i * QUADS..][..QUADS];
        for k in 0..SIDE {
            let factor = splat(a[i * SIDE + k]);
            let other = &b[k * QUADS..][..QUADS];
            for j in 0..QUADS {
                let sum = fold(load(&row[j]), factor, load(&other[j]));
                store(&mut row[j], sum);
            }
        }
    }
}

/// Multiplies matrices `n` times, row by row: each product is added to four elements in memory.
#[unsafe(no_mangle)]
pub extern "C" fn run_matmul_simd(n: i32) -> i64 {
    let (a, b) = matrices();
    let b = quads(&b);
    let mut c = vec![[0.0_f32; 4]; SIDE * QUADS];
    for _ in 0..count(n) {
        with_vectors!(add_product(&a, &b, &mut c));
        black_box(&mut c);
    }
    checksum(c.as_flattened())
}

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn add_product_blocked(a: &[f32], b: &[[f32; 4]], c: &mut [[f32; 4]]) {
    for i in (0..SIDE).step_by(2) {
        let (upper, lower) = (&a[i * SIDE..][..SIDE], &a[(i + 1) * SIDE..][..SIDE]);
        for j in (0..QUADS).step_by(2) {
            let mut sums: [V; 4] =
                [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(row, quad)| load(&c[(i + row) * QUADS + j + quad]));
            for k in 0..SIDE {
                let (left, right) = (load(&b[k * QUADS + j]), load(&b[k * QUADS + j + 1]));
                let (x, y) = (splat(upper[k]), splat(lower[k]));
                sums =
                    [fold(sums[0], x, left), fold(sums[1], x, right), fold(sums[2], y, left), fold(sums[3], y, right)];
            }
            for (index, sum) in sums.into_iter().enumerate() {
                store(&mut c[(i + index / 2) * QUADS + j + index % 2], sum);
            }
        }
    }
}

/// Multiplies matrices `n` times in blocks of two rows and eight columns, whose sums stay in registers.
#[unsafe(no_mangle)]
pub extern "C" fn run_gemm_simd(n: i32) -> i64 {
    let (a, b) = matrices();
    let b = quads(&b);
    let mut c = vec![[0.0_f32; 4]; SIDE * QUADS];
    for _ in 0..count(n) {
        with_vectors!(add_product_blocked(&a, &b, &mut c));
        black_box(&mut c);
    }
    checksum(c.as_flattened())
}
