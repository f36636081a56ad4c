//! Products of bytes: exact, modulo `2^32`, so any order gives the same bits.
//!
//! Some steps of `k` lie side by side in one `i32`, as x86-64 multiplies and adds them in one instruction: two as 16-bit
//! numbers since SSE2 (`pmaddwd`), or four as bytes where there is VNNI (`vpdpbusd`).

use super::{Level, Packed, gemm::Stack, simd::Kind};
use crate::{Data, Halt, Tensor};
use rayon::prelude::*;
use samebit_spec::tensor::Shape;

/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 20;
/// Operands with fewer elements are laid out anew each time.
const KEPT_ELEMENTS: usize = 4096;
/// Numbers of `i32` over `k` between two visits of `C`: a panel of the right operand stays in the first caches.
const DEPTH: usize = 256;
/// Rows of the left operand that stay in the second cache: whole tiles of any height.
const BLOCK: usize = 96;
/// Rows of a tile: as many as leave its sums in registers.
const SHORT: usize = 6;
/// Where a product and its sum are one instruction, more of them have to be under way.
const TALL: usize = 12;

/// Columns of a tile: two registers.
fn width(level: Level) -> usize {
    match level.0 {
        Kind::Baseline => 8,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => 16,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx512Vnni => 32,
    }
}

/// Steps over `k` in one `i32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// As 16-bit numbers, zero points taken off.
    Two,
    /// As bytes, those of the left operand unsigned, those of the right one signed; what their zero points and the change
    /// of sign make is where the sums begin.
    Four,
}

impl Group {
    fn of(level: Level) -> Self {
        match level.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => Self::Four,
            _ => Self::Two,
        }
    }

    /// Numbers of `i32` for so many steps.
    fn count(self, k: usize) -> usize {
        match self {
            Self::Two => k.div_ceil(2),
            Self::Four => k.div_ceil(4),
        }
    }
}

/// A right operand in blocks of [`DEPTH`] numbers over `k`, each block as panels of some columns: `[numbers, width]`, padded
/// with zeros.
#[derive(Debug)]
pub struct Columns {
    k: usize,
    n: usize,
    width: usize,
    group: Group,
    zero: i16,
    flip: u8,
    blocks: Vec<i32>,
    /// Of each column's bytes, where they are in fours.
    sums: Vec<i32>,
}

impl Columns {
    fn new(level: Level, matrix: &Matrix<'_>) -> Self {
        let (k, n, width, group) = (matrix.k, matrix.n, width(level), Group::of(level));
        let (padded, numbers) = (n.next_multiple_of(width), group.count(k));
        let mut blocks = vec![0; numbers * padded];
        for start in (0..numbers).step_by(DEPTH) {
            let depth = DEPTH.min(numbers - start);
            matrix.fill(group, width, start, &mut blocks[start * padded..(start + depth) * padded]);
        }
        let (zero, flip) = (matrix.bytes.zero, matrix.bytes.flip);
        Self { k, n, width, group, zero, flip, blocks, sums: matrix.sums(group) }
    }

    /// Bytes of the layout of a right operand `[k, n]`.
    fn bytes(level: Level, [k, n]: [usize; 2]) -> u64 {
        let group = Group::of(level);
        let sums = if group == Group::Four { n } else { 0 };
        ((group.count(k) * n.next_multiple_of(width(level)) + sums) * size_of::<i32>()) as u64
    }
}

/// Bytes as they were given.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    data: &'a Data,
    zero: i16,
    /// 128 where the sign has to be changed for [`Group::Four`], else 0.
    flip: u8,
    /// The first of them.
    first: usize,
}

impl<'a> Bytes<'a> {
    /// Of a left operand.
    fn left(x: &'a Tensor, zero: i32) -> Self {
        Self::new(x, zero, matches!(x.data(), Data::I8(_)))
    }

    /// Of a right operand.
    fn right(x: &'a Tensor, zero: i32) -> Self {
        Self::new(x, zero, matches!(x.data(), Data::U8(_)))
    }

    fn new(x: &'a Tensor, zero: i32, flips: bool) -> Self {
        let zero = i16::try_from(zero).expect("checked as a byte");
        Self { data: x.data(), zero, flip: if flips { 128 } else { 0 }, first: 0 }
    }

    fn from(self, first: usize) -> Self {
        Self { first: self.first + first, ..self }
    }

    /// The byte as a number less its zero point.
    #[inline(always)]
    fn at(&self, at: usize) -> i16 {
        match self.data {
            Data::I8(data) => i16::from(data[self.first + at]) - self.zero,
            Data::U8(data) => i16::from(data[self.first + at]) - self.zero,
            other => unreachable!("checked as bytes, and is {}", other.dtype()),
        }
    }

    /// The byte's bits, of the other sign where that is needed.
    #[inline(always)]
    fn bits(&self, at: usize) -> u8 {
        self.flip
            ^ match self.data {
                Data::I8(data) => data[self.first + at].cast_unsigned(),
                Data::U8(data) => data[self.first + at],
                other => unreachable!("checked as bytes, and is {}", other.dtype()),
            }
    }

    /// Two steps in one number, the earlier one low; nothing where there is no later one.
    #[inline(always)]
    fn pair(&self, even: usize, odd: Option<usize>) -> i32 {
        i32::from(self.at(even)) & 0xffff | odd.map_or(0, |odd| i32::from(self.at(odd)) << 16)
    }

    /// The numbers of a row of `k` bytes from `start` on.
    fn row(&self, group: Group, from: usize, k: usize, start: usize, to: &mut [i32]) {
        if group == Group::Two {
            for (step, to) in to.iter_mut().enumerate() {
                let even = 2 * (start + step);
                *to = self.pair(from + even, (even + 1 < k).then_some(from + even + 1));
            }
            return;
        }
        let first = self.first + from + 4 * start;
        let len = (k - 4 * start).min(4 * to.len());
        let flip = i32::from_ne_bytes([self.flip; 4]);
        let (whole, rest) = to.split_at_mut(len / 4);
        match self.data {
            Data::I8(data) => {
                let (data, _) = data[first..first + len].as_chunks::<4>();
                for (to, from) in whole.iter_mut().zip(data) {
                    *to = i32::from_le_bytes(from.map(i8::cast_unsigned)) ^ flip;
                }
            }
            Data::U8(data) => {
                let (data, _) = data[first..first + len].as_chunks::<4>();
                for (to, from) in whole.iter_mut().zip(data) {
                    *to = i32::from_le_bytes(*from) ^ flip;
                }
            }
            other => unreachable!("checked as bytes, and is {}", other.dtype()),
        }
        if let Some(last) = rest.first_mut() {
            let at = from + 4 * (start + len / 4);
            *last =
                i32::from_le_bytes(core::array::from_fn(|step| if step < len % 4 { self.bits(at + step) } else { 0 }));
        }
    }

    /// The sum of the bytes of a row of `k`, as [`Group::Four`] has them on the left.
    fn row_sum(&self, from: usize, k: usize) -> i32 {
        (from..from + k).fold(0i32, |sum, at| sum.wrapping_add(self.bits(at).into()))
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
    /// The numbers from `start` on as panels, in a room of zeros that they fill but for the padding.
    fn fill(&self, group: Group, width: usize, start: usize, panels: &mut [i32]) {
        let (k, n) = (self.k, self.n);
        let depth = DEPTH.min(group.count(k) - start);
        for (at, panel) in panels.chunks_exact_mut(depth * width).enumerate() {
            let first = at * width;
            let own = width.min(n - first);
            for (step, to) in panel.chunks_exact_mut(width).enumerate() {
                match group {
                    Group::Two => {
                        let even = 2 * (start + step);
                        let (row, next) = (even * n + first, (even + 1 < k).then_some((even + 1) * n + first));
                        for (column, to) in to[..own].iter_mut().enumerate() {
                            *to = self.bytes.pair(row + column, next.map(|next| next + column));
                        }
                    }
                    Group::Four => {
                        let top = 4 * (start + step);
                        for (column, to) in to[..own].iter_mut().enumerate() {
                            let bits = |row: usize| match top + row < k {
                                true => self.bytes.bits((top + row) * n + first + column),
                                false => 0,
                            };
                            *to = i32::from_le_bytes(core::array::from_fn(bits));
                        }
                    }
                }
            }
        }
    }

    /// The sum of each column's bytes, as [`Group::Four`] has them on the right.
    fn sums(&self, group: Group) -> Vec<i32> {
        if group == Group::Two {
            return Vec::new();
        }
        let mut sums = vec![0i32; self.n];
        for row in 0..self.k {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_add(self.bytes.bits(row * self.n + column).cast_signed().into());
            }
        }
        sums
    }
}

/// Where a right operand comes from: laid out before, or on the way, never more than one block at a time.
#[derive(Clone, Copy)]
enum Right<'a> {
    Kept(&'a Columns),
    Given(Matrix<'a>),
}

/// Adds the numbers of `panel` to one tile; `rows` are of the left operand and as long.
fn tile<const ROWS: usize, const COLUMNS: usize>(
    level: Level,
    rows: &[&[i32]; ROWS],
    panel: &[i32],
    sums: &mut [[i32; COLUMNS]; ROWS],
) {
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
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the step into a copy for wider instructions")]
        Kind::Avx512Vnni => unsafe { x86::avx512_vnni(rows, panel, sums) },
    }
}

fn plain<const ROWS: usize, const COLUMNS: usize>(
    rows: &[&[i32]; ROWS],
    panel: &[i32],
    sums: &mut [[i32; COLUMNS]; ROWS],
) {
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
    use core::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi32, _mm512_add_epi32,
        _mm512_dpbusd_epi32, _mm512_madd_epi16, _mm512_set1_epi32,
    };

    macro_rules! tile {
        ($name:ident, $features:literal, $vector:ty, $lanes:literal, $splat:ident, |$sum:ident, $left:ident, $right:ident| $add:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<const ROWS: usize, const COLUMNS: usize>(
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
                        let $left = $splat(line[step]);
                        for (held, $right) in held.iter_mut().zip(right) {
                            let $sum = *held;
                            *held = $add;
                        }
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

    tile!(avx2, "avx2", __m256i, 8, _mm256_set1_epi32, |sum, left, right| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(left, right))
    });
    tile!(avx512, "avx512f,avx512bw", __m512i, 16, _mm512_set1_epi32, |sum, left, right| {
        _mm512_add_epi32(sum, _mm512_madd_epi16(left, right))
    });
    tile!(avx512_vnni, "avx512f,avx512bw,avx512vnni", __m512i, 16, _mm512_set1_epi32, |sum, left, right| {
        _mm512_dpbusd_epi32(sum, left, right)
    });
}

/// `[m, k] x [k, n] -> [m, n]`, on the threads of the current pool; `c` begins as zeros.
fn multiply(level: Level, halt: &Halt<'_>, a: Bytes<'_>, b: Right<'_>, [k, n]: [usize; 2], c: &mut [i32]) {
    let (width, group) = (width(level), Group::of(level));
    let padded = n.div_ceil(width) * width;
    let numbers = group.count(k);
    if halt.asked() {
        return;
    }
    if group == Group::Four {
        let made;
        let (zero, sums) = match b {
            Right::Kept(columns) => (columns.zero - i16::from(columns.flip), &columns.sums),
            Right::Given(matrix) => {
                made = matrix.sums(group);
                (matrix.bytes.zero - i16::from(matrix.bytes.flip), &made)
            }
        };
        begin(halt, a, zero, sums, [k, n], c);
    }
    for start in (0..numbers).step_by(DEPTH) {
        if halt.asked() {
            return;
        }
        let depth = DEPTH.min(numbers - start);
        let held;
        let panels = match b {
            Right::Kept(columns) => &columns.blocks[start * padded..(start + depth) * padded],
            Right::Given(matrix) => {
                let mut room = vec![0; padded * depth];
                matrix.fill(group, width, start, &mut room);
                held = room;
                &held[..]
            }
        };
        let part = |first: usize, c: &mut [i32]| {
            let steps = Steps { group, start, depth, k, n };
            let a = a.from(first * k);
            match (width, group) {
                (8, _) => tiles::<SHORT, 8>(level, halt, a, panels, steps, c),
                (16, _) => tiles::<SHORT, 16>(level, halt, a, panels, steps, c),
                (_, Group::Two) => tiles::<SHORT, 32>(level, halt, a, panels, steps, c),
                (_, Group::Four) => tiles::<TALL, 32>(level, halt, a, panels, steps, c),
            }
        };
        let threads = rayon::current_num_threads();
        if threads > 1 && c.len() * depth >= PARALLEL_MACS {
            let rows = (c.len() / n).div_ceil(threads).next_multiple_of(TALL);
            c.par_chunks_mut(rows * n).enumerate().for_each(|(at, c)| part(at * rows, c));
        } else {
            part(0, c);
        }
    }
}

/// Where sums of bytes in fours begin: with `x` and `y` as they are multiplied and `p` and `q` what is to be taken off them,
/// `sum (x - p)(y - q)` is `sum x y`, less `q sum x`, less `p sum y`, and `k p q`.
fn begin(halt: &Halt<'_>, a: Bytes<'_>, right_off: i16, sums: &[i32], [k, n]: [usize; 2], c: &mut [i32]) {
    let (p, q) = (i32::from(a.zero) + i32::from(a.flip), i32::from(right_off));
    let steps = u32::try_from(k).expect("an axis is shorter than 2^31").cast_signed();
    for (row, c) in c.chunks_mut(n).enumerate() {
        if halt.asked() {
            return;
        }
        let own = if q == 0 { 0 } else { q.wrapping_mul(a.row_sum(row * k, k)) };
        let both = steps.wrapping_mul(p.wrapping_mul(q)).wrapping_sub(own);
        for (to, sum) in c.iter_mut().zip(sums) {
            *to = both.wrapping_sub(p.wrapping_mul(*sum));
        }
    }
}

/// The numbers from `start` on, `depth` of them, of rows of `k` elements.
#[derive(Clone, Copy)]
struct Steps {
    group: Group,
    start: usize,
    depth: usize,
    k: usize,
    n: usize,
}

fn tiles<const ROWS: usize, const COLUMNS: usize>(
    level: Level,
    halt: &Halt<'_>,
    a: Bytes<'_>,
    panels: &[i32],
    steps: Steps,
    c: &mut [i32],
) {
    let Steps { group, start, depth, k, n } = steps;
    let mut held = vec![0; BLOCK.min((c.len() / n).next_multiple_of(ROWS)) * depth];
    for (block, c) in c.chunks_mut(BLOCK * n).enumerate() {
        let rows = c.len() / n;
        for (row, to) in held.chunks_exact_mut(depth).take(rows).enumerate() {
            a.row(group, (block * BLOCK + row) * k, k, start, to);
        }
        for (at, right) in panels.chunks_exact(depth * COLUMNS).enumerate() {
            if halt.asked() {
                return;
            }
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
                for (sums, place) in sums.iter_mut().zip(places.clone()) {
                    let from = &c[place..place + own];
                    match from.first_chunk::<COLUMNS>() {
                        Some(whole) => *sums = *whole,
                        None => sums[..own].copy_from_slice(from),
                    }
                }
                tile(level, &lines, right, &mut sums);
                for (sums, place) in sums.iter().zip(places) {
                    let to = &mut c[place..place + own];
                    match to.first_chunk_mut::<COLUMNS>() {
                        Some(whole) => *whole = *sums,
                        None => to.copy_from_slice(&sums[..own]),
                    }
                }
            }
        }
    }
}

pub(super) fn matmul(level: Level, halt: &Halt<'_>, a: &Tensor, b: &Tensor, zeros: [i32; 2], shape: &Shape) -> Data {
    let (left, right) = (&a.of().shape, &b.of().shape);
    let ([.., m, k], [.., n]) = (left.dims(), right.dims()) else { unreachable!("checked") };
    let [m, k, n] = [*m, *k, *n].map(|len| len as usize);
    let mut c = vec![0; usize::try_from(shape.elements()).expect("below 2^31")];
    if c.is_empty() || k == 0 {
        // An empty sum is zero.
        return Data::I32(c);
    }
    let (rows, bytes) = (Bytes::left(a, zeros[0]), Bytes::right(b, zeros[1]));
    let matrix = Matrix { bytes, k, n };
    if right.rank() > 2 {
        let picks = [left, right].map(|operand| Stack::of(shape, operand));
        for (at, c) in c.chunks_exact_mut(m * n).enumerate() {
            if halt.asked() {
                break;
            }
            let [left, right] = [picks[0].matrix(at), picks[1].matrix(at)];
            let matrix = Matrix { bytes: bytes.from(right * k * n), ..matrix };
            multiply(level, halt, rows.from(left * m * k), Right::Given(matrix), [k, n], c);
        }
        return Data::I32(c);
    }
    let (width, group) = (width(level), Group::of(level));
    let padded = n.next_multiple_of(width);
    let right = if k * n >= KEPT_ELEMENTS
        && padded - n <= n / 4
        && let Some(Packed::Bytes(kept)) =
            b.packed(Columns::bytes(level, [k, n]), || Packed::Bytes(Columns::new(level, &matrix)))
        && (kept.k, kept.n, kept.width, kept.group, kept.zero) == (k, n, width, group, bytes.zero)
    {
        Right::Kept(kept)
    } else {
        Right::Given(matrix)
    };
    multiply(level, halt, rows, right, [k, n], &mut c);
    Data::I32(c)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Columns, Level, Matrix};
    use crate::{
        Dtype,
        cases::{Numbers, Source},
    };

    #[test]
    fn a_layout_takes_the_bytes_that_are_counted_for_it() {
        for level in Level::available() {
            for [k, n] in [[1, 8], [1030, 31], [2100, 96], [3, 5000]] {
                let dims = [k, n].map(|len| u32::try_from(len).expect("small"));
                let x = Source::new(5).tensor(Dtype::U8, &dims, Numbers::Moderate);
                let made = Columns::new(level, &Matrix { bytes: Bytes::right(&x, 7), k, n });
                let held = (made.blocks.capacity() + made.sums.capacity()) * size_of::<i32>();
                assert_eq!(held as u64, Columns::bytes(level, [k, n]), "[{k}, {n}] at {level}");
            }
        }
    }
}
