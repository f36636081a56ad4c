//! Products of bytes: exact, modulo `2^32`, so any order gives the same bits.

use super::{Level, Packed, gemm::stack, simd::leveled};
use crate::{Data, Tensor};
use rayon::prelude::*;
use samebit_spec::tensor::Shape;

/// Rows of a tile.
const ROWS: usize = 4;
/// Columns of a tile.
const COLUMNS: usize = 16;
/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 20;

/// A right operand as panels of [`COLUMNS`] columns of 16-bit numbers, zero points taken off, two steps of `k` side by
/// side: `[k / 2, COLUMNS, 2]`, padded with zeros.
#[derive(Debug)]
pub struct Columns {
    k: usize,
    n: usize,
    zero: i32,
    panels: Vec<i16>,
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

impl Columns {
    fn new(b: &[i16], k: usize, n: usize, zero: i32) -> Self {
        let pairs = k.div_ceil(2);
        let mut panels = vec![0; n.div_ceil(COLUMNS) * COLUMNS * 2 * pairs];
        for (step, row) in b.chunks_exact(n.max(1)).enumerate() {
            for (column, value) in row.iter().enumerate() {
                let panel = column / COLUMNS * pairs * COLUMNS * 2;
                panels[panel + (step / 2 * COLUMNS + column % COLUMNS) * 2 + step % 2] = *value;
            }
        }
        Self { k, n, zero, panels }
    }
}

leveled! {
    /// One tile; `rows` are of the left operand with an even number of steps.
    fn tile(rows: &[&[i16]; ROWS], panel: &[i16]) -> [[i32; COLUMNS]; ROWS] {
        let (steps, _) = panel.as_chunks::<{ COLUMNS * 2 }>();
        let rows = rows.map(|row| &row[..steps.len() * 2]);
        let mut sums = [[0i32; COLUMNS]; ROWS];
        for (pair, right) in steps.iter().enumerate() {
            for (row, sums) in rows.iter().zip(&mut sums) {
                let (even, odd) = (i32::from(row[2 * pair]), i32::from(row[2 * pair + 1]));
                for (column, sum) in sums.iter_mut().enumerate() {
                    let products = even * i32::from(right[2 * column]) + odd * i32::from(right[2 * column + 1]);
                    *sum = sum.wrapping_add(products);
                }
            }
        }
        sums
    }
}

fn multiply(level: Level, a: &[i16], b: &Columns, c: &mut [i32]) {
    let (k, n) = (b.k, b.n);
    if c.is_empty() || k == 0 {
        return;
    }
    let even = k.next_multiple_of(2);
    let panel = even * COLUMNS;
    let part = |(c, a): (&mut [i32], &[i16])| {
        let mut held = vec![0; ROWS * even];
        for (c, a) in c.chunks_mut(ROWS * n).zip(a.chunks(ROWS * k)) {
            let count = a.len() / k;
            for (to, from) in held.chunks_exact_mut(even).zip(a.chunks_exact(k)) {
                to[..k].copy_from_slice(from);
            }
            let rows: [&[i16]; ROWS] = core::array::from_fn(|row| &held[row * even..(row + 1) * even]);
            for (at, right) in b.panels.chunks_exact(panel).enumerate() {
                let sums = tile(level, &rows, right);
                let left = at * COLUMNS;
                let width = COLUMNS.min(n - left);
                for (row, sums) in sums.iter().take(count).enumerate() {
                    c[row * n + left..row * n + left + width].copy_from_slice(&sums[..width]);
                }
            }
        }
    };
    if c.len() * k >= PARALLEL_MACS {
        let rows = 8 * ROWS;
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
        let pack = || Columns::new(&shifted(b, zeros[1]), k, n, zeros[1]);
        match b.packed(|| Packed::Bytes(pack())) {
            Packed::Bytes(kept) if kept.zero == zeros[1] && (kept.k, kept.n) == (k, n) => {
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
            let columns = Columns::new(&columns[right * k * n..(right + 1) * k * n], k, n, zeros[1]);
            multiply(level, &rows[left * m * k..(left + 1) * m * k], &columns, c);
        }
    }
    Data::I32(c)
}
