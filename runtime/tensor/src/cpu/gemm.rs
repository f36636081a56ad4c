//! Products of floats: `C = A B`, each element summed over ascending `k`, product and sum rounded apart.
//!
//! Blocking follows Goto and van de Geijn ("Anatomy of High-Performance Matrix Multiplication", 2008), but that the
//! sums of a block begin with what the blocks before it left in `C`, so that the order over `k` stays one.

use super::{
    Level, Packed, along, elementwise, moves, room,
    simd::{Kind, leveled},
};
use crate::{Data, Tensor, number};
use rayon::prelude::*;
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType};

/// Steps over `k` between two visits of `C`: a panel of the right operand stays in the first cache.
const DEPTH: usize = 384;
/// Rows of the left operand that stay in the second cache: whole tiles of any height.
const BLOCK: usize = 96;
/// Rows of which each thread should have some tiles: a multiple of the heights of tiles.
const TALL: usize = 24;
/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 18;
/// Operands with fewer elements are packed anew each time.
const KEPT_ELEMENTS: usize = 4096;

/// Columns of a tile: as many as leave the sums of a tile in registers.
fn width(level: Level) -> usize {
    match level.0 {
        Kind::Baseline => NARROW,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => NARROW,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => WIDE,
    }
}

const NARROW: usize = 16;
const WIDE: usize = 32;

/// A right operand in blocks of [`DEPTH`] steps over `k`, each block as panels of some columns: `[depth, width]`, padded
/// with zeros.
#[derive(Debug)]
pub struct Columns {
    k: usize,
    n: usize,
    /// Columns of a panel.
    width: usize,
    /// Whether it was given as `[n, k]`.
    turned: bool,
    blocks: Vec<f32>,
}

impl Columns {
    fn new(level: Level, from: &Matrix<'_>) -> Self {
        let width = width(level);
        let blocks = (0..from.k).step_by(DEPTH).flat_map(|start| from.block(width, start)).collect();
        Self { k: from.k, n: from.n, width, turned: from.turned, blocks }
    }
}

/// A right operand as it was given: `[k, n]`, or `[n, k]` when turned.
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) turned: bool,
}

impl Matrix<'_> {
    /// The steps from `start` on, as panels.
    fn block(&self, width: usize, start: usize) -> Vec<f32> {
        let (k, n) = (self.k, self.n);
        let depth = DEPTH.min(k - start);
        let mut panels = vec![0.0; n.div_ceil(width) * width * depth];
        let fill = |(at, panel): (usize, &mut [f32])| {
            let first = at * width;
            let own = width.min(n - first);
            if self.turned {
                for column in 0..own {
                    let source = &self.data[(first + column) * k + start..][..depth];
                    for (to, from) in panel[column..].iter_mut().step_by(width).zip(source) {
                        *to = number::factor(*from);
                    }
                }
            } else {
                let rows = self.data[start * n + first..].chunks(n);
                for (to, from) in panel.chunks_exact_mut(width).zip(rows) {
                    for (to, from) in to.iter_mut().zip(&from[..own]) {
                        *to = number::factor(*from);
                    }
                }
            }
        };
        if depth * n >= 1 << 16 {
            panels.par_chunks_mut(depth * width).enumerate().for_each(fill);
        } else {
            panels.chunks_mut(depth * width).enumerate().for_each(fill);
        }
        panels
    }
}

/// Where a right operand comes from.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Laid out before.
    Kept(&'a Columns),
    /// Laid out block by block, on the way: never more than one block at a time.
    Given(&'a Matrix<'a>),
}

leveled! {
    /// Adds the steps of `panel` to one tile; `rows` are of the left operand and as long.
    fn tile<const ROWS: usize, const COLUMNS: usize>(
        rows: &[&[f32]; ROWS],
        panel: &[f32],
        sums: &mut [[f32; COLUMNS]; ROWS],
    ) {
        let (steps, _) = panel.as_chunks::<COLUMNS>();
        let mut lines = [&[][..]; ROWS];
        for (line, row) in lines.iter_mut().zip(rows) {
            *line = &row[..steps.len()];
        }
        let mut held = *sums;
        for (k, right) in steps.iter().enumerate() {
            for (line, sums) in lines.iter().zip(&mut held) {
                let left = line[k];
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum += left * *right;
                }
            }
        }
        *sums = held;
    }
}

leveled! {
    /// Copies a block of the left operand, row after row, factors flushed.
    fn copy(from: &[f32], stride: usize, first: usize, depth: usize, to: &mut [f32]) {
        for (to, from) in to.chunks_exact_mut(depth).zip(from.chunks(stride)) {
            for (to, from) in to.iter_mut().zip(&from[first..first + depth]) {
                *to = number::factor(*from);
            }
        }
    }
}

/// The steps over `k` from `start` on, of `k` in all.
#[derive(Clone, Copy)]
struct Steps {
    start: usize,
    depth: usize,
    k: usize,
}

/// Some columns of `C` and their panels.
struct Target<'a> {
    c: &'a mut [f32],
    /// From one row of `c` to the next: its columns.
    stride: usize,
    /// Panels of the right operand, `[depth, width]` each.
    panels: &'a [f32],
}

/// Adds some steps of the rows of `a` (`[m, k]`) times the panels to the target.
fn block(level: Level, a: &[f32], steps: Steps, target: &mut Target<'_>) {
    match width(level) {
        WIDE => tiles::<WIDE>(level, a, steps, target, |left| match left {
            9.. => tile_row::<12, WIDE>,
            5..=8 => tile_row::<8, WIDE>,
            2..=4 => tile_row::<4, WIDE>,
            _ => tile_row::<1, WIDE>,
        }),
        _ => tiles::<NARROW>(level, a, steps, target, |left| match left {
            5.. => tile_row::<6, NARROW>,
            2..=4 => tile_row::<4, NARROW>,
            _ => tile_row::<1, NARROW>,
        }),
    }
}

/// Rows of a block from one place on, as many as a tile takes, times a panel: how many they were.
type TileRow = fn(Level, Steps, &[f32], &[f32], Corner, &mut [f32]) -> usize;

/// Where a tile lies in its block of `C`.
#[derive(Clone, Copy)]
struct Corner {
    top: usize,
    column: usize,
    stride: usize,
}

/// `tall` says which tile suits so many rows that are left: a tile's unused rows cost as much as its used ones.
fn tiles<const COLUMNS: usize>(
    level: Level,
    a: &[f32],
    steps: Steps,
    target: &mut Target<'_>,
    tall: impl Fn(usize) -> TileRow,
) {
    let Steps { start, depth, k } = steps;
    let stride = target.stride;
    let mut flushed = vec![0.0; BLOCK.min(a.len() / k) * depth];
    for (rows, c) in a.chunks(BLOCK * k).zip(target.c.chunks_mut(BLOCK * stride)) {
        let height = rows.len() / k;
        let flushed = &mut flushed[..height * depth];
        copy(level, rows, k, start, depth, flushed);
        for (panel, right) in target.panels.chunks_exact(depth * COLUMNS).enumerate() {
            let column = panel * COLUMNS;
            let mut top = 0;
            while top < height {
                top += tall(height - top)(level, steps, flushed, right, Corner { top, column, stride }, c);
            }
        }
    }
}

fn tile_row<const ROWS: usize, const COLUMNS: usize>(
    level: Level,
    Steps { start, depth, k }: Steps,
    flushed: &[f32],
    right: &[f32],
    Corner { top, column, stride }: Corner,
    c: &mut [f32],
) -> usize {
    let width = COLUMNS.min(stride - column);
    let count = ROWS.min(flushed.len() / depth - top);
    let mut lines = [&[][..]; ROWS];
    for (row, line) in lines.iter_mut().enumerate() {
        // Rows that are not there repeat the last one; what they give is dropped.
        let row = top + row.min(count - 1);
        *line = &flushed[row * depth..(row + 1) * depth];
    }
    let mut sums = [[0.0; COLUMNS]; ROWS];
    let places = (0..count).map(|row| (top + row) * stride + column);
    if start > 0 {
        for (sums, at) in sums.iter_mut().zip(places.clone()) {
            sums[..width].copy_from_slice(&c[at..at + width]);
        }
    }
    tile(level, &lines, right, &mut sums);
    if start + depth == k {
        canonical(level, &mut sums);
    }
    for (sums, at) in sums.iter().zip(places) {
        c[at..at + width].copy_from_slice(&sums[..width]);
    }
    count
}

leveled! {
    /// The end of a sum: one NaN.
    fn canonical<const ROWS: usize, const COLUMNS: usize>(sums: &mut [[f32; COLUMNS]; ROWS]) {
        for sum in sums.as_flattened_mut() {
            *sum = number::canon(*sum);
        }
    }
}

/// `[m, k] x [k, n] -> [m, n]`, on the threads of the current pool. `c` begins as zeros.
pub(super) fn multiply(level: Level, a: &[f32], b: Right<'_>, c: &mut [f32]) {
    let (k, n) = match b {
        Right::Kept(columns) => (columns.k, columns.n),
        Right::Given(matrix) => (matrix.k, matrix.n),
    };
    if c.is_empty() || k == 0 {
        // An empty sum is zero.
        return;
    }
    let padded = n.div_ceil(width(level)) * width(level);
    for start in (0..k).step_by(DEPTH) {
        let steps = Steps { start, depth: DEPTH.min(k - start), k };
        match b {
            Right::Kept(columns) => {
                debug_assert_eq!(columns.width, width(level));
                let panels = &columns.blocks[start * padded..(start + steps.depth) * padded];
                share(level, a, panels, steps, n, c);
            }
            Right::Given(matrix) => share(level, a, &matrix.block(width(level), start), steps, n, c),
        }
    }
}

/// Gives each thread some rows of `C`, or some columns when there are few rows.
fn share(level: Level, a: &[f32], panels: &[f32], steps: Steps, n: usize, c: &mut [f32]) {
    let k = steps.k;
    let m = c.len() / n;
    let threads = rayon::current_num_threads();
    if threads == 1 || m * steps.depth * n < PARALLEL_MACS {
        return block(level, a, steps, &mut Target { c, stride: n, panels });
    }
    if m >= threads * TALL {
        let rows = (m / threads).next_multiple_of(TALL).min(BLOCK);
        let parts = c.par_chunks_mut(rows * n).zip(a.par_chunks(rows * k));
        return parts.for_each(|(c, a)| block(level, a, steps, &mut Target { c, stride: n, panels }));
    }
    let width = width(level);
    let step = n.div_ceil(width).div_ceil(threads);
    let parts: Vec<(usize, usize, Vec<f32>)> = panels
        .par_chunks(step * width * steps.depth)
        .enumerate()
        .map(|(at, panels)| {
            let left = at * step * width;
            let stride = (step * width).min(n - left);
            // The sums so far, in a room of their own.
            let mut part: Vec<f32> = c.chunks(n).flat_map(|row| row[left..left + stride].iter().copied()).collect();
            block(level, a, steps, &mut Target { c: &mut part, stride, panels });
            (left, stride, part)
        })
        .collect();
    for (left, stride, part) in parts {
        for (to, from) in c.chunks_mut(n).zip(part.chunks(stride)) {
            to[left..left + stride].copy_from_slice(from);
        }
    }
}

/// Multiplies by one matrix, whose layout is kept with the tensor when it is of some size and hardly padded.
fn by_matrix(level: Level, rows: &[f32], b: &Tensor, [k, n]: [usize; 2], turned: bool, c: &mut [f32]) {
    let data = widened(level, b);
    let matrix = Matrix { data: &data, k, n, turned };
    let padded = n.next_multiple_of(width(level));
    if k * n >= KEPT_ELEMENTS
        && padded - n <= n / 4
        && let Packed::Floats(kept) = b.packed(|| Packed::Floats(Columns::new(level, &matrix)))
        && kept.turned == turned
        && (kept.k, kept.n, kept.width) == (k, n, width(level))
    {
        return multiply(level, rows, Right::Kept(kept), c);
    }
    multiply(level, rows, Right::Given(&matrix), c);
}

fn widened(level: Level, x: &Tensor) -> std::borrow::Cow<'_, [f32]> {
    match x.data() {
        Data::F16(_) => match elementwise::cast(level, x, Dtype::F32) {
            Data::F32(data) => data.into(),
            other => unreachable!("cast to f32, and is {}", other.dtype()),
        },
        _ => x.floats().into(),
    }
}

/// Which matrix of an operand each matrix of a stacked product takes.
pub(super) struct Stack {
    /// Outer axes of the product, innermost last: length, and the operand's step along it.
    axes: Vec<(usize, usize)>,
}

impl Stack {
    pub(super) fn of(shape: &Shape, operand: &Shape) -> Self {
        let outer = &shape.dims()[..shape.rank() - 2];
        let own = &operand.dims()[..operand.rank() - 2];
        let skipped = outer.len() - own.len();
        let mut step = 1;
        let mut axes: Vec<(usize, usize)> = outer.iter().map(|len| (*len as usize, 0)).collect();
        for (axis, len) in own.iter().enumerate().rev() {
            if *len != 1 {
                axes[axis + skipped].1 = step;
            }
            step *= *len as usize;
        }
        Self { axes }
    }

    pub(super) fn matrix(&self, mut product: usize) -> usize {
        let mut matrix = 0;
        for (len, step) in self.axes.iter().rev() {
            matrix += product % len * step;
            product /= len;
        }
        matrix
    }
}

pub(super) fn matmul(level: Level, a: &Tensor, b: &Tensor, shape: &Shape) -> Data {
    let (left, right) = (&a.of().shape, &b.of().shape);
    let ([.., m, k], [.., n]) = (left.dims(), right.dims()) else { unreachable!("checked") };
    let [m, k, n] = [*m, *k, *n].map(|len| len as usize);
    let mut c = vec![0.0; usize::try_from(shape.elements()).expect("below 2^31")];
    let rows = widened(level, a);
    if right.rank() == 2 {
        // One right operand for the whole stack: one tall product.
        by_matrix(level, &rows, b, [k, n], false, &mut c);
        return Data::F32(c);
    }
    let columns = widened(level, b);
    products(level, &rows, &columns, [m, k, n], &[Stack::of(shape, left), Stack::of(shape, right)], false, &mut c);
    Data::F32(c)
}

/// A stack of products; `picks` say which matrices each of them takes.
fn products(
    level: Level,
    a: &[f32],
    b: &[f32],
    [m, k, n]: [usize; 3],
    picks: &[Stack; 2],
    turned: bool,
    c: &mut [f32],
) {
    if m * n == 0 {
        return;
    }
    let one = |(at, c): (usize, &mut [f32])| {
        let [left, right] = [picks[0].matrix(at), picks[1].matrix(at)];
        let matrix = Matrix { data: &b[right * k * n..(right + 1) * k * n], k, n, turned };
        multiply(level, &a[left * m * k..(left + 1) * m * k], Right::Given(&matrix), c);
    };
    if c.len() * k >= PARALLEL_MACS {
        c.par_chunks_mut(m * n).enumerate().for_each(one);
    } else {
        c.chunks_mut(m * n).enumerate().for_each(one);
    }
}

pub(super) fn gemm(
    level: Level,
    inputs: &[&Tensor],
    [alpha, beta]: [f32; 2],
    [flip_a, flip_b]: [bool; 2],
    of: &TensorType,
) -> Data {
    let [m, n] = *of.shape.dims() else { unreachable!("checked") };
    let [m, n] = [m as usize, n as usize];
    let k = inputs[0].dims()[usize::from(!flip_a)] as usize;
    let rows: std::borrow::Cow<'_, [f32]> =
        if flip_a { moves::turned(inputs[0].floats(), k, m).into() } else { inputs[0].floats().into() };
    let mut c = vec![0.0; m * n];
    by_matrix(level, &rows, inputs[1], [k, n], flip_b, &mut c);
    if alpha.to_bits() != 1f32.to_bits() {
        elementwise::scale(level, &mut c, alpha);
    }
    let Some(addend) = inputs.get(2) else { return Data::F32(c) };
    let product = Tensor::made(of.clone(), Data::F32(c));
    if beta.to_bits() == 1f32.to_bits() {
        // `beta c` is `c` as a number, and `Add` reads it as one.
        return elementwise::two(level, &Op::Add, &product, addend, &of.shape);
    }
    let scaled = addend.floats().iter().map(|x| number::mul(beta, *x)).collect();
    let scaled = Tensor::made(addend.of().clone(), Data::F32(scaled));
    elementwise::two(level, &Op::Add, &product, &scaled, &of.shape)
}

pub(super) fn attention(level: Level, inputs: &[&Tensor], scale: f32, shape: &Shape) -> Data {
    let [query, key, value] = [inputs[0], inputs[1], inputs[2]];
    let ([.., len, depth], [.., keys, _]) = (query.dims(), key.dims()) else { unreachable!("checked") };
    let [len, depth, keys] = [*len, *depth, *keys].map(|len| len as usize);
    let flipped = {
        let mut dims = key.dims().to_vec();
        let rank = dims.len();
        dims.swap(rank - 1, rank - 2);
        TensorType { dtype: Dtype::F32, shape: Shape::new(&dims).expect("the same elements") }
    };
    let of = samebit_spec::tensor::infer(&Op::MatMul, &[query.of(), &flipped]).expect("checked").remove(0);
    let mut scores = vec![0.0; usize::try_from(of.shape.elements()).expect("below 2^31")];
    let picks = [Stack::of(&of.shape, &query.of().shape), Stack::of(&of.shape, &key.of().shape)];
    products(level, query.floats(), key.floats(), [len, depth, keys], &picks, true, &mut scores);
    elementwise::scale(level, &mut scores, scale);
    let mut scores = Tensor::made(of.clone(), Data::F32(scores));
    if let Some(mask) = inputs.get(3) {
        scores = Tensor::made(of.clone(), elementwise::two(level, &Op::Add, &scores, mask, &of.shape));
    }
    let weights = along::softmax(level, &scores, of.shape.rank() - 1);
    let weights = Tensor::made(of, weights);
    matmul(level, &weights, value, shape)
}

leveled! {
    /// Pairs that lie half a row apart.
    fn rotate(row: &[f32], cos: &[f32], sin: &[f32], to: &mut [f32]) {
        let (a, b) = row.split_at(cos.len());
        let (to_a, to_b) = to.split_at_mut(cos.len());
        for ((a, b), ((cos, sin), (to_a, to_b))) in a.iter().zip(b).zip(cos.iter().zip(sin).zip(to_a.iter_mut().zip(to_b))) {
            *to_a = number::sub(number::mul(*a, *cos), number::mul(*b, *sin));
            *to_b = number::add(number::mul(*a, *sin), number::mul(*b, *cos));
        }
    }
}

leveled! {
    /// Pairs of neighbours.
    fn rotate_neighbours(row: &[f32], cos: &[f32], sin: &[f32], to: &mut [f32]) {
        let (pairs, _) = row.as_chunks::<2>();
        let (to, _) = to.as_chunks_mut::<2>();
        for (([a, b], to), (cos, sin)) in pairs.iter().zip(to).zip(cos.iter().zip(sin)) {
            *to = [
                number::sub(number::mul(*a, *cos), number::mul(*b, *sin)),
                number::add(number::mul(*a, *sin), number::mul(*b, *cos)),
            ];
        }
    }
}

pub(super) fn rotary(level: Level, inputs: &[&Tensor], interleaved: bool) -> Data {
    let [x, cos, sin] = [inputs[0], inputs[1], inputs[2]].map(Tensor::floats);
    let [.., len, width] = *inputs[0].dims() else { unreachable!("checked") };
    let (len, width) = (len as usize, width as usize);
    let half = width / 2;
    let step = (room::STEP / width).max(1) * width;
    Data::F32(room::filled(x.len(), step, |at, to| {
        for (row, (to, from)) in to.chunks_exact_mut(width).zip(x[at..].chunks_exact(width)).enumerate() {
            let angles = (at / width + row) % len * half;
            let (cos, sin) = (&cos[angles..angles + half], &sin[angles..angles + half]);
            if interleaved {
                rotate_neighbours(level, from, cos, sin, to);
            } else {
                rotate(level, from, cos, sin, to);
            }
        }
    }))
}
