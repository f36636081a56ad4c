//! Products of bytes: exact, modulo `2^32`, so any order gives the same bits.
//!
//! Two steps of `k` lie side by side as 16-bit numbers in one `i32`: x86-64 multiplies such pairs and adds the two
//! products in one instruction since SSE2 (`pmaddwd`).

use super::{Level, Packed, gemm::stack, simd::Kind};
use crate::{Data, Tensor};
use rayon::prelude::*;
use samebit_spec::tensor::Shape;

/// Rows of a tile.
const ROWS: usize = 6;
/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 20;
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

/// A right operand as panels of some columns, zero points taken off: `[k / 2, width]` pairs, padded with zeros.
#[derive(Debug)]
pub struct Columns {
    k: usize,
    n: usize,
    width: usize,
    zero: i32,
    panels: Vec<i32>,
}

/// Elements less their zero point.
fn shifted(x: &Tensor, zero: i32) -> Vec<i16> {
    let zero = i16::try_from(zero).expect("checked as a byte");
    match x.data() {
        Data::I8(data) => data.iter().map(|x| i16::from(*x) - zero).collect(),
        Data::U8(data) => data.iter().map(|x| i16::from(*x) - zero).collect(),
        other => unreachable!("checked as bytes, and is {}", other.dtype()),
    }
}

/// Two steps in one number, the earlier one low.
#[inline(always)]
fn pair(even: i16, odd: i16) -> i32 {
    i32::from(even) & 0xffff | i32::from(odd) << 16
}

impl Columns {
    fn new(level: Level, b: &[i16], k: usize, n: usize, zero: i32) -> Self {
        let (pairs, width) = (k.div_ceil(2), width(level));
        let mut panels = vec![0; n.div_ceil(width) * width * pairs];
        if n == 0 || k == 0 {
            return Self { k, n, width, zero, panels };
        }
        let nothing = vec![0; n];
        for (at, panel) in panels.chunks_exact_mut(pairs * width).enumerate() {
            let first = at * width;
            let own = width.min(n - first);
            for (step, to) in panel.chunks_exact_mut(width).enumerate() {
                let even = &b[2 * step * n + first..][..own];
                let odd = if 2 * step + 1 < k { &b[(2 * step + 1) * n + first..][..own] } else { &nothing[..own] };
                for (to, (even, odd)) in to.iter_mut().zip(even.iter().zip(odd)) {
                    *to = pair(*even, *odd);
                }
            }
        }
        Self { k, n, width, zero, panels }
    }
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

fn multiply(level: Level, a: &[i16], b: &Columns, c: &mut [i32]) {
    match b.width {
        8 => tiles::<8>(level, a, b, c),
        16 => tiles::<16>(level, a, b, c),
        _ => tiles::<32>(level, a, b, c),
    }
}

fn tiles<const COLUMNS: usize>(level: Level, a: &[i16], b: &Columns, c: &mut [i32]) {
    let (k, n) = (b.k, b.n);
    if c.is_empty() || k == 0 {
        return;
    }
    let pairs = k.div_ceil(2);
    // Whole tiles, as many as stay in the second cache.
    let height = 16 * ROWS;
    let part = |(c, a): (&mut [i32], &[i16])| {
        let mut held = vec![0; height.min(a.len() / k).next_multiple_of(ROWS) * pairs];
        for (c, a) in c.chunks_mut(height * n).zip(a.chunks(height * k)) {
            for (to, from) in held.chunks_exact_mut(pairs).zip(a.chunks_exact(k)) {
                let (whole, rest) = from.as_chunks::<2>();
                for (to, [even, odd]) in to.iter_mut().zip(whole) {
                    *to = pair(*even, *odd);
                }
                if let [last] = rest {
                    to[pairs - 1] = pair(*last, 0);
                }
            }
            let rows = a.len() / k;
            for start in (0..pairs).step_by(DEPTH) {
                let depth = DEPTH.min(pairs - start);
                for (at, panel) in b.panels.chunks_exact(pairs * COLUMNS).enumerate() {
                    let right = &panel[start * COLUMNS..(start + depth) * COLUMNS];
                    let left = at * COLUMNS;
                    let own = COLUMNS.min(n - left);
                    for top in (0..rows).step_by(ROWS) {
                        let mut lines = [&[][..]; ROWS];
                        for (row, line) in lines.iter_mut().enumerate() {
                            // Rows that are not there hold what an earlier block left; what they give is dropped.
                            let from = (top + row) * pairs + start;
                            *line = &held[from..from + depth];
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
    };
    let threads = rayon::current_num_threads();
    if threads > 1 && c.len() * k >= PARALLEL_MACS {
        let rows = (c.len() / n).div_ceil(threads).next_multiple_of(ROWS);
        c.par_chunks_mut(rows * n).zip(a.par_chunks(rows * k)).for_each(part);
    } else {
        part((c, a));
    }
}

pub(super) fn matmul(level: Level, a: &Tensor, b: &Tensor, zeros: [i32; 2], shape: &Shape) -> Data {
    let (left, right) = (&a.of().shape, &b.of().shape);
    let ([.., m, k], [.., n]) = (left.dims(), right.dims()) else { unreachable!("checked") };
    let [m, k, n] = [*m, *k, *n].map(|len| len as usize);
    let mut c = vec![0; usize::try_from(shape.elements()).expect("below 2^31")];
    let rows = shifted(a, zeros[0]);
    if right.rank() == 2 {
        let pack = || Columns::new(level, &shifted(b, zeros[1]), k, n, zeros[1]);
        match b.packed(|| Packed::Bytes(pack())) {
            Packed::Bytes(kept) if kept.zero == zeros[1] && (kept.k, kept.n, kept.width) == (k, n, width(level)) => {
                multiply(level, &rows, kept, &mut c);
            }
            _ => multiply(level, &rows, &pack(), &mut c),
        }
        return Data::I32(c);
    }
    let columns = shifted(b, zeros[1]);
    if m * n > 0 {
        let picks = stack(shape, left).into_iter().zip(stack(shape, right));
        for (c, (left, right)) in c.chunks_exact_mut(m * n).zip(picks) {
            let columns = Columns::new(level, &columns[right * k * n..(right + 1) * k * n], k, n, zeros[1]);
            multiply(level, &rows[left * m * k..(left + 1) * m * k], &columns, c);
        }
    }
    Data::I32(c)
}
