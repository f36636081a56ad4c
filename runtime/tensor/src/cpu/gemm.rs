//! Products of floats: `C = A B`, each element summed over ascending `k`, product and sum rounded apart.
//!
//! Blocking follows Goto and van de Geijn ("Anatomy of High-Performance Matrix Multiplication", 2008), but that the
//! sums of a block begin with what the blocks before it left in `C`, so that the order over `k` stays one.

use super::{
    Level, Packed, elementwise, moves,
    simd::{Kind, leveled},
};
use crate::{Data, Halt, Tensor, number};
use rayon::prelude::*;
use samebit_spec::tensor::{Dtype, Op, Shape, TensorType};

/// Steps over `k` between two visits of `C`: a panel of the right operand stays in the first cache.
const DEPTH: usize = 384;
/// Rows of the left operand that stay in the second cache: whole tiles of any height.
const BLOCK: usize = 96;
/// Rows of which each thread should have some tiles: a multiple of the heights of tiles.
pub(super) const TALL: usize = 24;
/// Products below this many multiplications are not worth a second thread.
const PARALLEL_MACS: usize = 1 << 18;
/// Operands with fewer elements are packed anew each time.
const KEPT_ELEMENTS: usize = 4096;
/// Bytes that products of a stack lay out at a time, where several of them take one right operand.
const SHARED_MAX: u64 = 16 << 20;

/// Columns of a tile: as many as leave the sums of a tile in registers.
fn width(level: Level) -> usize {
    match level.0 {
        Kind::Baseline => NARROW,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => NARROW,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx512Vnni => WIDE,
    }
}

const NARROW: usize = 16;
const WIDE: usize = 32;
/// Numbers of a line of the caches, on the processors that are common.
const LINE: usize = 16;

/// Whether so many columns are laid out in at most a quarter more room than their own.
pub(super) fn hardly_padded(level: Level, n: usize) -> bool {
    n.next_multiple_of(width(level)) - n <= n / 4
}

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
    blocks: Panels,
}

impl Columns {
    pub(super) fn new(level: Level, from: &Matrix<'_>) -> Self {
        let width = width(level);
        let padded = from.n.next_multiple_of(width);
        let mut blocks = Panels::new(padded * from.k);
        for start in (0..from.k).step_by(DEPTH) {
            let depth = DEPTH.min(from.k - start);
            from.fill(level, start, &mut blocks[start * padded..(start + depth) * padded]);
        }
        Self { k: from.k, n: from.n, width, turned: from.turned, blocks }
    }

    /// Bytes of the layout of a right operand `[k, n]`.
    pub(super) fn bytes(level: Level, [k, n]: [usize; 2]) -> u64 {
        (k * n.next_multiple_of(width(level)) * size_of::<f32>()) as u64
    }
}

/// Numbers that begin with a line of the caches: a load across two of them takes twice as long.
#[derive(Debug)]
struct Panels {
    held: Vec<f32>,
    first: usize,
    len: usize,
}

impl Panels {
    /// Zeros.
    fn new(len: usize) -> Self {
        let held = vec![0.0f32; len + LINE];
        let first = held.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Self { held, first, len }
    }
}

impl core::ops::Deref for Panels {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.held[self.first..self.first + self.len]
    }
}

impl core::ops::DerefMut for Panels {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.held[self.first..self.first + self.len]
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
    /// The steps from `start` on as panels, in a room of zeros that they fill but for the padding.
    fn fill(&self, level: Level, start: usize, panels: &mut [f32]) {
        let (k, n, width) = (self.k, self.n, width(level));
        let depth = DEPTH.min(k - start);
        let fill = |(at, panel): (usize, &mut [f32])| {
            let first = at * width;
            let own = width.min(n - first);
            if self.turned {
                // Some steps at a time, so that the lines they go to stay in the first cache.
                turn(level, &self.data[first * k + start..], k, own, width, panel);
            } else {
                strip(level, &self.data[start * n + first..], n, own, width, panel);
            }
        };
        if depth * n >= 1 << 16 {
            panels.par_chunks_mut(depth * width).enumerate().for_each(fill);
        } else {
            panels.chunks_mut(depth * width).enumerate().for_each(fill);
        }
    }
}

leveled! {
    /// Rows as the rows of a panel, factors flushed: the first `own` numbers of each.
    fn strip(from: &[f32], stride: usize, own: usize, width: usize, panel: &mut [f32]) {
        for (to, from) in panel.chunks_exact_mut(width).zip(from.chunks(stride)) {
            for (to, from) in to.iter_mut().zip(&from[..own]) {
                *to = number::factor(*from);
            }
        }
    }
}

leveled! {
    /// Rows as the columns of a panel, factors flushed: `own` rows, some steps at a time, so that what they become stays in
    /// the first cache.
    fn turn(from: &[f32], stride: usize, own: usize, width: usize, panel: &mut [f32]) {
        for (block, panel) in panel.chunks_mut(LINE * width).enumerate() {
            for column in 0..own {
                let source = &from[column * stride + block * LINE..];
                let mut line = [0.0; LINE];
                let len = LINE.min(panel.len() / width);
                for (to, from) in line.iter_mut().zip(&source[..len]) {
                    *to = number::factor(*from);
                }
                for (to, from) in panel.chunks_exact_mut(width).zip(line) {
                    to[column] = from;
                }
            }
        }
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
    /// Adds the steps of `panel` to one tile; `rows` are of the left operand and as long. What comes `ahead` is fetched on
    /// the way.
    fn tile<const ROWS: usize, const COLUMNS: usize>(
        rows: &[&[f32]; ROWS],
        panel: &[f32],
        ahead: &[f32],
        sums: &mut Sums<ROWS, COLUMNS>,
    ) {
        let (steps, _) = panel.as_chunks::<COLUMNS>();
        let mut lines = [&[][..]; ROWS];
        for (line, row) in lines.iter_mut().zip(rows) {
            *line = &row[..steps.len()];
        }
        let mut held = sums.0;
        let pace = ahead.len() / steps.len().max(1);
        for (k, right) in steps.iter().enumerate() {
            fetch(ahead, k * pace);
            fetch(ahead, k * pace + LINE);
            for (line, sums) in lines.iter().zip(&mut held) {
                let left = line[k];
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum += left * *right;
                }
            }
        }
        sums.0 = held;
    }
}

/// The sums of a tile.
#[repr(align(64))]
pub(super) struct Sums<const ROWS: usize, const COLUMNS: usize>([[f32; COLUMNS]; ROWS]);

/// Asks for the line of a place, so that it is near when it is read.
#[inline(always)]
fn fetch(ahead: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "a hint to the processor")]
    // SAFETY: SSE, which every processor of the architecture has; a hint reads nothing and traps at no address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(ahead.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (ahead, at);
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

/// What becomes of a whole sum: `alpha` times it, then a number of its column added.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// Nothing for 1.
    pub(super) alpha: Option<f32>,
    /// As many as there are columns, up to whole panels; none for nothing.
    pub(super) bias: &'a [f32],
}

impl Finish<'_> {
    pub(super) const NONE: Self = Finish { alpha: None, bias: &[] };
}

/// Some columns of `C` and their panels.
struct Target<'a> {
    c: &'a mut [f32],
    /// From one row of `c` to the next: its columns.
    stride: usize,
    /// Panels of the right operand, `[depth, width]` each.
    panels: &'a [f32],
    finish: Finish<'a>,
    halt: &'a Halt<'a>,
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
type TileRow = fn(Level, Steps, &[f32], Side<'_>, Corner<'_>, &mut [f32]) -> usize;

/// A panel, and the part of the next one to fetch meanwhile.
#[derive(Clone, Copy)]
struct Side<'a> {
    panel: &'a [f32],
    next: &'a [f32],
}

/// Where a tile lies in its block of `C`.
#[derive(Clone, Copy)]
struct Corner<'a> {
    top: usize,
    column: usize,
    stride: usize,
    finish: Finish<'a>,
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
    let (stride, finish) = (target.stride, target.finish);
    let mut flushed = vec![0.0; BLOCK.min(a.len() / k) * depth];
    for (rows, c) in a.chunks(BLOCK * k).zip(target.c.chunks_mut(BLOCK * stride)) {
        let height = rows.len() / k;
        let flushed = &mut flushed[..height * depth];
        copy(level, rows, k, start, depth, flushed);
        let mut panels = target.panels.chunks_exact(depth * COLUMNS).enumerate().peekable();
        while let Some((at, panel)) = panels.next() {
            if target.halt.asked() {
                return;
            }
            let next = panels.peek().map_or(&[][..], |(_, next)| next);
            let column = at * COLUMNS;
            let mut top = 0;
            while top < height {
                let corner = Corner { top, column, stride, finish };
                top += tall(height - top)(level, steps, flushed, Side { panel, next }, corner, c);
            }
        }
    }
}

fn tile_row<const ROWS: usize, const COLUMNS: usize>(
    level: Level,
    Steps { start, depth, k }: Steps,
    flushed: &[f32],
    Side { panel, next }: Side<'_>,
    Corner { top, column, stride, finish }: Corner<'_>,
    c: &mut [f32],
) -> usize {
    let width = COLUMNS.min(stride - column);
    let height = flushed.len() / depth;
    let count = ROWS.min(height - top);
    let mut lines = [&[][..]; ROWS];
    for (row, line) in lines.iter_mut().enumerate() {
        // Rows that are not there repeat the last one; what they give is dropped.
        let row = top + row.min(count - 1);
        *line = &flushed[row * depth..(row + 1) * depth];
    }
    let mut sums = Sums([[0.0; COLUMNS]; ROWS]);
    let places = (0..count).map(|row| (top + row) * stride + column);
    if start > 0 {
        for (sums, at) in sums.0.iter_mut().zip(places.clone()) {
            match c[at..at + width].first_chunk::<COLUMNS>() {
                Some(whole) => *sums = *whole,
                None => sums[..width].copy_from_slice(&c[at..at + width]),
            }
        }
    }
    // Each tile of a panel fetches its share of the next one.
    let share = |row: usize| next.len() / height * row;
    tile(level, &lines, panel, &next[share(top)..share(top + count)], &mut sums);
    if start + depth == k {
        let bias = finish.bias.get(column..).and_then(<[f32]>::first_chunk::<COLUMNS>);
        match (finish.alpha, bias) {
            (None, None) => canonical(level, &mut sums),
            (alpha, bias) => finished(level, &mut sums, alpha.unwrap_or(1.0), bias.unwrap_or(&[-0.0; COLUMNS])),
        }
    }
    for (sums, at) in sums.0.iter().zip(places) {
        let to = &mut c[at..at + width];
        match to.first_chunk_mut::<COLUMNS>() {
            Some(whole) => *whole = *sums,
            None => to.copy_from_slice(&sums[..width]),
        }
    }
    count
}

leveled! {
    /// The end of a sum: one NaN.
    fn canonical<const ROWS: usize, const COLUMNS: usize>(sums: &mut Sums<ROWS, COLUMNS>) {
        for sum in sums.0.as_flattened_mut() {
            *sum = number::canon(*sum);
        }
    }
}

leveled! {
    /// The end of a sum that is multiplied and added to. A product with 1 and a sum with `-0` change nothing.
    fn finished<const ROWS: usize, const COLUMNS: usize>(
        sums: &mut Sums<ROWS, COLUMNS>,
        alpha: f32,
        bias: &[f32; COLUMNS],
    ) {
        for sums in &mut sums.0 {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum = number::add(number::mul(alpha, *sum), *bias);
            }
        }
    }
}

/// `[m, k] x [k, n] -> [m, n]`, on the threads of the current pool. What `c` holds before is of no meaning, unless `k` is 0.
pub(super) fn multiply(level: Level, halt: &Halt<'_>, a: &[f32], b: Right<'_>, finish: Finish<'_>, c: &mut [f32]) {
    let (k, n) = match b {
        Right::Kept(columns) => (columns.k, columns.n),
        Right::Given(matrix) => (matrix.k, matrix.n),
    };
    if c.is_empty() {
        return;
    }
    if k == 0 {
        // Empty sums are zeros.
        for row in c.chunks_mut(n) {
            for (at, sum) in row.iter_mut().enumerate() {
                let bias = finish.bias.get(at).map_or(-0.0, |bias| *bias);
                *sum = number::add(number::mul(finish.alpha.unwrap_or(1.0), 0.0), bias);
            }
        }
        return;
    }
    let padded = n.next_multiple_of(width(level));
    let mut room = Panels::new(if matches!(b, Right::Given(_)) { padded * DEPTH.min(k) } else { 0 });
    for start in (0..k).step_by(DEPTH) {
        if halt.asked() {
            return;
        }
        let steps = Steps { start, depth: DEPTH.min(k - start), k };
        let panels = match b {
            Right::Kept(columns) => {
                debug_assert_eq!(columns.width, width(level));
                &columns.blocks[start * padded..(start + steps.depth) * padded]
            }
            Right::Given(matrix) => {
                let room = &mut room[..padded * steps.depth];
                if start > 0 {
                    room.fill(0.0);
                }
                matrix.fill(level, start, room);
                room
            }
        };
        share(level, a, steps, Target { c: &mut *c, stride: n, panels, finish, halt });
    }
}

/// Gives each thread some rows of `C`, or some columns when there are few rows.
fn share(level: Level, a: &[f32], steps: Steps, mut whole: Target<'_>) {
    let (k, n) = (steps.k, whole.stride);
    let m = whole.c.len() / n;
    let threads = rayon::current_num_threads();
    if threads == 1 || m * steps.depth * n < PARALLEL_MACS {
        return block(level, a, steps, &mut whole);
    }
    let Target { c, panels, finish, halt, .. } = whole;
    if m >= threads * TALL {
        let rows = (m / threads).next_multiple_of(TALL).min(BLOCK);
        let parts = c.par_chunks_mut(rows * n).zip(a.par_chunks(rows * k));
        return parts.for_each(|(c, a)| block(level, a, steps, &mut Target { c, stride: n, panels, finish, halt }));
    }
    let width = width(level);
    let step = n.div_ceil(width).div_ceil(threads);
    let parts: Vec<(usize, usize, Vec<f32>)> = panels
        .par_chunks(step * width * steps.depth)
        .enumerate()
        .map(|(at, panels)| {
            let left = at * step * width;
            let stride = (step * width).min(n - left);
            let finish = Finish { bias: finish.bias.get(left..).unwrap_or_default(), ..finish };
            // The sums so far, in a room of their own.
            let mut part: Vec<f32> = c.chunks(n).flat_map(|row| row[left..left + stride].iter().copied()).collect();
            block(level, a, steps, &mut Target { c: &mut part, stride, panels, finish, halt });
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
fn by_matrix(
    level: Level,
    halt: &Halt<'_>,
    rows: &[f32],
    b: &Tensor,
    matrix: &Matrix<'_>,
    finish: Finish<'_>,
    c: &mut [f32],
) {
    let Matrix { k, n, turned, .. } = *matrix;
    if k * n >= KEPT_ELEMENTS
        && hardly_padded(level, n)
        && let Some(Packed::Floats(kept)) =
            b.packed(Columns::bytes(level, [k, n]), || Packed::Floats(Columns::new(level, matrix)))
        && kept.turned == turned
        && (kept.k, kept.n, kept.width) == (k, n, width(level))
    {
        return multiply(level, halt, rows, Right::Kept(kept), finish, c);
    }
    multiply(level, halt, rows, Right::Given(matrix), finish, c);
}

pub(super) fn widened(level: Level, x: &Tensor) -> std::borrow::Cow<'_, [f32]> {
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

pub(super) fn matmul(level: Level, halt: &Halt<'_>, a: &Tensor, b: &Tensor, shape: &Shape) -> Data {
    let (left, right) = (&a.of().shape, &b.of().shape);
    let ([.., m, k], [.., n]) = (left.dims(), right.dims()) else { unreachable!("checked") };
    let [m, k, n] = [*m, *k, *n].map(|len| len as usize);
    let mut c = vec![0.0; usize::try_from(shape.elements()).expect("below 2^31")];
    let rows = widened(level, a);
    if right.rank() == 2 {
        // One right operand for the whole stack: one tall product.
        let data = widened(level, b);
        by_matrix(level, halt, &rows, b, &Matrix { data: &data, k, n, turned: false }, Finish::NONE, &mut c);
        return Data::F32(c);
    }
    let columns = widened(level, b);
    let picks = [Stack::of(shape, left), Stack::of(shape, right)];
    products(level, halt, [&rows, &columns], [m, k, n], &picks, false, &mut c);
    Data::F32(c)
}

/// A stack of products; `picks` say which matrices each of them takes.
pub(super) fn products(
    level: Level,
    halt: &Halt<'_>,
    [a, b]: [&[f32]; 2],
    [m, k, n]: [usize; 3],
    picks: &[Stack; 2],
    turned: bool,
    c: &mut [f32],
) {
    if m * n == 0 {
        return;
    }
    let one = |(at, c): (usize, &mut [f32])| {
        if halt.asked() {
            return;
        }
        let [left, right] = [picks[0].matrix(at), picks[1].matrix(at)];
        let matrix = Matrix { data: &b[right * k * n..(right + 1) * k * n], k, n, turned };
        let rows = &a[left * m * k..(left + 1) * m * k];
        multiply(level, halt, rows, Right::Given(&matrix), Finish::NONE, c);
    };
    if c.len() * k < PARALLEL_MACS {
        return c.chunks_mut(m * n).enumerate().for_each(one);
    }
    let count = at_once(level, [c.len() / (m * n), b.len() / (k * n)], [k, n]);
    for (first, c) in c.chunks_mut(count * m * n).enumerate() {
        c.par_chunks_mut(m * n).enumerate().for_each(|(at, c)| one((first * count + at, c)));
    }
}

/// How many products of a stack are computed side by side: all of them where each takes a right operand of its own, whose
/// layouts are together hardly more than those; else as many as lay out at most [`SHARED_MAX`] bytes, and at least one.
fn at_once(level: Level, [products, matrices]: [usize; 2], [k, n]: [usize; 2]) -> usize {
    if products <= matrices {
        return products;
    }
    let most = SHARED_MAX / Columns::bytes(level, [DEPTH.min(k), n]);
    usize::try_from(most).unwrap_or(usize::MAX).clamp(1, products)
}

pub(super) fn gemm(
    level: Level,
    halt: &Halt<'_>,
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
    // `beta c` of 1 is `c` as a number, and `add` reads it as one.
    let scaled = |x: &f32| if beta.to_bits() == 1f32.to_bits() { *x } else { number::mul(beta, *x) };
    let addend = inputs.get(2).map(|addend| addend.floats());
    // One number for each column can be added to a tile at its end.
    let by_column =
        |addend: &&[f32]| addend.len() == n && inputs[2].dims().last().is_some_and(|last| *last as usize == n);
    let mut bias: Vec<f32> = addend.filter(by_column).into_iter().flatten().map(scaled).collect();
    let added = !bias.is_empty();
    if added {
        bias.resize(n.next_multiple_of(width(level)), 0.0);
    }
    let alpha = (alpha.to_bits() != 1f32.to_bits()).then_some(alpha);
    let matrix = Matrix { data: inputs[1].floats(), k, n, turned: flip_b };
    by_matrix(level, halt, &rows, inputs[1], &matrix, Finish { alpha, bias: &bias }, &mut c);
    let Some(addend) = addend.filter(|_| !added) else { return Data::F32(c) };
    let product = Tensor::made(of.clone(), Data::F32(c));
    let addend = Tensor::made(inputs[2].of().clone(), Data::F32(addend.iter().map(scaled).collect()));
    elementwise::two(level, &Op::Add, &product, &addend, &of.shape)
}

#[cfg(test)]
mod tests {
    use super::{Level, SHARED_MAX, at_once};

    #[test]
    fn products_that_share_a_right_operand_lay_out_little_at_a_time() {
        for level in Level::available() {
            assert_eq!(at_once(level, [400, 400], [384, 1 << 20]), 400, "each has its own, at {level}");
            assert_eq!(at_once(level, [400, 1], [384, 1 << 20]), 1, "one is larger than all may be, at {level}");
            assert_eq!(at_once(level, [400, 20], [64, 64]), 400, "all are small, at {level}");
            let some = at_once(level, [400, 200], [5000, 1024]);
            assert!((2..400).contains(&some), "{some} at {level}");
            assert!(some as u64 * 384 * 1024 * 4 <= SHARED_MAX, "{some} at {level}");
        }
    }
}
