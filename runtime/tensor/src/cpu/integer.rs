//! Products of bytes: exact, modulo `2^32`, so any order gives the same bits.
//!
//! Two steps of `k` lie side by side as 16-bit numbers in one `i32`: x86-64 multiplies such pairs and adds the two
//! products in one instruction since SSE2 (`pmaddwd`).

use super::{Level, Packed, gemm::Stack, simd::Kind};
use crate::{Data, Tensor};
use rayon::prelude::*;
use samebit_spec::tensor::Shape;

/// Rows of a tile.
const ROWS: usize = 6;
/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 20;
/// Operands with fewer elements are laid out anew each time.
const KEPT_ELEMENTS: usize = 4096;
/// Steps over `k`, in pairs, between two visits of `C`: a panel of the right operand stays in the first cache.
const DEPTH: usize = 256;

/// Columns of a tile: two registers.
fn width(level: Level) -> usize {
    match level.0 {
        Kind::Baseline => 8,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => 16,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => 32,
    }
}

/// A right operand, zero points taken off, in blocks of [`DEPTH`] pairs of steps, each block as panels of some columns:
/// `[pairs, width]`, padded with zeros.
#[derive(Debug)]
pub struct Columns {
    k: usize,
    n: usize,
    width: usize,
    zero: i32,
    blocks: Vec<i32>,
}

/// Bytes less their zero point, as they were given.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    data: &'a Data,
    zero: i16,
    /// The first of them.
    first: usize,
}

impl<'a> Bytes<'a> {
    fn new(x: &'a Tensor, zero: i32) -> Self {
        Self { data: x.data(), zero: i16::try_from(zero).expect("checked as a byte"), first: 0 }
    }

    fn from(self, first: usize) -> Self {
        Self { first: self.first + first, ..self }
    }

    #[inline(always)]
    fn at(&self, at: usize) -> i16 {
        match self.data {
            Data::I8(data) => i16::from(data[self.first + at]) - self.zero,
            Data::U8(data) => i16::from(data[self.first + at]) - self.zero,
            other => unreachable!("checked as bytes, and is {}", other.dtype()),
        }
    }

    /// Two steps in one number, the earlier one low; nothing where there is no later one.
    #[inline(always)]
    fn pair(&self, even: usize, odd: Option<usize>) -> i32 {
        i32::from(self.at(even)) & 0xffff | odd.map_or(0, |odd| i32::from(self.at(odd)) << 16)
    }
}

/// A right operand as it was given, `[k, n]`.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    bytes: Bytes<'a>,
    k: usize,
    n: usize,
}

impl Matrix<'_> {
    /// The pairs from `start` on, as panels.
    fn block(&self, width: usize, start: usize) -> Vec<i32> {
        let (k, n) = (self.k, self.n);
        let depth = DEPTH.min(k.div_ceil(2) - start);
        let mut panels = vec![0; n.div_ceil(width) * width * depth];
        for (at, panel) in panels.chunks_exact_mut(depth * width).enumerate() {
            let first = at * width;
            let own = width.min(n - first);
            for (step, to) in panel.chunks_exact_mut(width).enumerate() {
                let even = 2 * (start + step);
                let (row, next) = (even * n + first, (even + 1 < k).then_some((even + 1) * n + first));
                for (column, to) in to[..own].iter_mut().enumerate() {
                    *to = self.bytes.pair(row + column, next.map(|next| next + column));
                }
            }
        }
        panels
    }
}

/// Where a right operand comes from: laid out before, or on the way, never more than one block at a time.
#[derive(Clone, Copy)]
enum Right<'a> {
    Kept(&'a Columns),
    Given(Matrix<'a>),
}

/// Adds the pairs of `panel` to one tile; `rows` are of the left operand and as long.
fn tile<const COLUMNS: usize>(level: Level, rows: &[&[i32]; ROWS], panel: &[i32], sums: &mut [[i32; COLUMNS]; ROWS]) {
    match level.0 {
        Kind::Baseline => plain(rows, panel, sums),
        // SAFETY: a `Level` of this kind exists only where the processor said that it has the instructions.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the step into a copy for wider instructions")]
        Kind::Avx2 => unsafe { x86::avx2(rows, panel, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the step into a copy for wider instructions")]
        Kind::Avx512 => unsafe { x86::avx512(rows, panel, sums) },
    }
}

fn plain<const COLUMNS: usize>(rows: &[&[i32]; ROWS], panel: &[i32], sums: &mut [[i32; COLUMNS]; ROWS]) {
    let halves = |pair: i32| ((pair << 16) >> 16, pair >> 16);
    for (step, right) in panel.as_chunks::<COLUMNS>().0.iter().enumerate() {
        for (row, sums) in rows.iter().zip(&mut *sums) {
            let (even, odd) = halves(row[step]);
            for (sum, right) in sums.iter_mut().zip(right) {
                let (low, high) = halves(*right);
                *sum = sum.wrapping_add((even * low).wrapping_add(odd * high));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::ROWS;
    use core::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi32, _mm512_add_epi32, _mm512_madd_epi16,
        _mm512_set1_epi32,
    };

    macro_rules! tile {
        ($name:ident, $features:literal, $vector:ty, $lanes:literal, $splat:ident, $madd:ident, $add:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<const COLUMNS: usize>(
                rows: &[&[i32]; ROWS],
                panel: &[i32],
                sums: &mut [[i32; COLUMNS]; ROWS],
            ) {
                const { assert!(size_of::<$vector>() == $lanes * size_of::<i32>()) };
                #[inline(always)]
                #[expect(unsafe_code, reason = "a load")]
                fn load(from: &[i32; $lanes]) -> $vector {
                    // SAFETY: as many bytes as the vector has, asserted above; any bits are a vector, and the read asks
                    // for no alignment.
                    unsafe { from.as_ptr().cast::<$vector>().read_unaligned() }
                }
                #[inline(always)]
                #[expect(unsafe_code, reason = "a store")]
                fn store(to: &mut [i32; $lanes], vector: $vector) {
                    // SAFETY: as for the load, and `to` is borrowed for writing.
                    unsafe { to.as_mut_ptr().cast::<$vector>().write_unaligned(vector) }
                }
                // Two registers for each row; a tile of another width is our own mistake.
                assert_eq!(COLUMNS, 2 * $lanes);
                let (steps, _) = panel.as_chunks::<$lanes>();
                let (steps, _) = steps.as_chunks::<2>();
                let mut lines = [&[][..]; ROWS];
                for (line, row) in lines.iter_mut().zip(rows) {
                    *line = &row[..steps.len()];
                }
                let mut held = [[$splat(0); 2]; ROWS];
                for (held, sums) in held.iter_mut().zip(&*sums) {
                    for (held, sums) in held.iter_mut().zip(sums.as_chunks::<$lanes>().0) {
                        *held = load(sums);
                    }
                }
                for (step, [first, second]) in steps.iter().enumerate() {
                    let right = [load(first), load(second)];
                    for (line, held) in lines.iter().zip(&mut held) {
                        let left = $splat(line[step]);
                        held[0] = $add(held[0], $madd(left, right[0]));
                        held[1] = $add(held[1], $madd(left, right[1]));
                    }
                }
                for (held, sums) in held.iter().zip(sums) {
                    for (held, sums) in held.iter().zip(sums.as_chunks_mut::<$lanes>().0) {
                        store(sums, *held);
                    }
                }
            }
        };
    }

    tile!(avx2, "avx2", __m256i, 8, _mm256_set1_epi32, _mm256_madd_epi16, _mm256_add_epi32);
    tile!(avx512, "avx512f,avx512bw", __m512i, 16, _mm512_set1_epi32, _mm512_madd_epi16, _mm512_add_epi32);
}

fn multiply(level: Level, a: Bytes<'_>, b: Right<'_>, [k, n]: [usize; 2], c: &mut [i32]) {
    let width = width(level);
    let padded = n.div_ceil(width) * width;
    let pairs = k.div_ceil(2);
    for start in (0..pairs).step_by(DEPTH) {
        let depth = DEPTH.min(pairs - start);
        let held;
        let panels = match b {
            Right::Kept(columns) => &columns.blocks[start * padded..(start + depth) * padded],
            Right::Given(matrix) => {
                held = matrix.block(width, start);
                &held[..]
            }
        };
        let part = |first: usize, c: &mut [i32]| {
            let steps = Steps { start, depth, k, n };
            match width {
                8 => tiles::<8>(level, a.from(first * k), panels, steps, c),
                16 => tiles::<16>(level, a.from(first * k), panels, steps, c),
                _ => tiles::<32>(level, a.from(first * k), panels, steps, c),
            }
        };
        let threads = rayon::current_num_threads();
        if threads > 1 && c.len() * depth >= PARALLEL_MACS {
            let rows = (c.len() / n).div_ceil(threads).next_multiple_of(ROWS);
            c.par_chunks_mut(rows * n).enumerate().for_each(|(at, c)| part(at * rows, c));
        } else {
            part(0, c);
        }
    }
}

/// The pairs from `start` on, `depth` of them, of rows of `k` elements.
#[derive(Clone, Copy)]
struct Steps {
    start: usize,
    depth: usize,
    k: usize,
    n: usize,
}

fn tiles<const COLUMNS: usize>(level: Level, a: Bytes<'_>, panels: &[i32], steps: Steps, c: &mut [i32]) {
    let Steps { start, depth, k, n } = steps;
    // Whole tiles, as many as stay in the second cache.
    let height = 16 * ROWS;
    let mut held = vec![0; height * depth];
    for (block, c) in c.chunks_mut(height * n).enumerate() {
        let rows = c.len() / n;
        for (row, to) in held.chunks_exact_mut(depth).take(rows).enumerate() {
            let from = (block * height + row) * k;
            for (step, to) in to.iter_mut().enumerate() {
                let even = 2 * (start + step);
                *to = a.pair(from + even, (even + 1 < k).then_some(from + even + 1));
            }
        }
        for (at, right) in panels.chunks_exact(depth * COLUMNS).enumerate() {
            let left = at * COLUMNS;
            let own = COLUMNS.min(n - left);
            for top in (0..rows).step_by(ROWS) {
                let mut lines = [&[][..]; ROWS];
                for (row, line) in lines.iter_mut().enumerate() {
                    // Rows that are not there hold what an earlier block left; what they give is dropped.
                    *line = &held[(top + row) * depth..(top + row + 1) * depth];
                }
                let mut sums = [[0; COLUMNS]; ROWS];
                let places = (top..rows.min(top + ROWS)).map(|row| row * n + left);
                if start > 0 {
                    for (sums, place) in sums.iter_mut().zip(places.clone()) {
                        sums[..own].copy_from_slice(&c[place..place + own]);
                    }
                }
                tile(level, &lines, right, &mut sums);
                for (sums, place) in sums.iter().zip(places) {
                    c[place..place + own].copy_from_slice(&sums[..own]);
                }
            }
        }
    }
}

pub(super) fn matmul(level: Level, a: &Tensor, b: &Tensor, zeros: [i32; 2], shape: &Shape) -> Data {
    let (left, right) = (&a.of().shape, &b.of().shape);
    let ([.., m, k], [.., n]) = (left.dims(), right.dims()) else { unreachable!("checked") };
    let [m, k, n] = [*m, *k, *n].map(|len| len as usize);
    let mut c = vec![0; usize::try_from(shape.elements()).expect("below 2^31")];
    if c.is_empty() || k == 0 {
        // An empty sum is zero.
        return Data::I32(c);
    }
    let (rows, bytes) = (Bytes::new(a, zeros[0]), Bytes::new(b, zeros[1]));
    let matrix = Matrix { bytes, k, n };
    if right.rank() > 2 {
        let picks = [left, right].map(|operand| Stack::of(shape, operand));
        for (at, c) in c.chunks_exact_mut(m * n).enumerate() {
            let [left, right] = [picks[0].matrix(at), picks[1].matrix(at)];
            let matrix = Matrix { bytes: bytes.from(right * k * n), ..matrix };
            multiply(level, rows.from(left * m * k), Right::Given(matrix), [k, n], c);
        }
        return Data::I32(c);
    }
    let width = width(level);
    let pack = || {
        let blocks = (0..k.div_ceil(2)).step_by(DEPTH).flat_map(|start| matrix.block(width, start)).collect();
        Packed::Bytes(Columns { k, n, width, zero: zeros[1], blocks })
    };
    let right = if k * n >= KEPT_ELEMENTS
        && n.next_multiple_of(width) - n <= n / 4
        && let Packed::Bytes(kept) = b.packed(pack)
        && (kept.k, kept.n, kept.width, kept.zero) == (k, n, width, zeros[1])
    {
        Right::Kept(kept)
    } else {
        Right::Given(matrix)
    };
    multiply(level, rows, right, [k, n], &mut c);
    Data::I32(c)
}
