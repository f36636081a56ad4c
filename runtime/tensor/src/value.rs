//! A tensor with its elements.

use samebit_spec::tensor::{Dtype, TensorError, TensorType};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::cpu::Packed;

/// Elements in row-major order, by element type.
#[derive(Clone, Debug)]
pub enum Data {
    /// Binary32.
    F32(Vec<f32>),
    /// Binary16, as bits.
    F16(Vec<u16>),
    /// Two's complement.
    I32(Vec<i32>),
    /// Two's complement.
    I8(Vec<i8>),
    /// Unsigned.
    U8(Vec<u8>),
}

impl Data {
    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F16(_) => Dtype::F16,
            Self::I32(_) => Dtype::I32,
            Self::I8(_) => Dtype::I8,
            Self::U8(_) => Dtype::U8,
        }
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::F16(data) => data.len(),
            Self::I32(data) => data.len(),
            Self::I8(data) => data.len(),
            Self::U8(data) => data.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An immutable tensor; a clone shares its elements.
#[derive(Clone, Debug)]
pub struct Tensor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    of: TensorType,
    /// Shared with the same elements under other dimensions.
    data: Arc<Data>,
    /// The form in which a product reads it as its right operand, made at the first product and kept.
    packed: OnceLock<Kept>,
}

/// Bytes or elements that do not make a tensor of the type they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of} has {expected} bytes, not {found}")]
pub struct WrongLength {
    of: TensorType,
    expected: u64,
    found: u64,
}

impl Tensor {
    /// A tensor of these elements.
    ///
    /// # Errors
    /// [`WrongLength`] when they are not as many as `of` says, or of another type.
    pub fn new(of: TensorType, data: Data) -> Result<Self, WrongLength> {
        let found = data.len() as u64 * data.dtype().size();
        if data.dtype() != of.dtype || data.len() as u64 != of.shape.elements() {
            return Err(WrongLength { expected: of.bytes(), of, found });
        }
        Ok(Self::made(of, data))
    }

    /// A tensor of `f32` elements.
    ///
    /// # Errors
    /// A shape beyond the limits. The number of elements must be the product of `dims`.
    ///
    /// # Panics
    /// When it is not: this is for tests and constants.
    pub fn f32(dims: &[u32], data: &[f32]) -> Result<Self, TensorError> {
        let of = TensorType::new(Dtype::F32, dims)?;
        assert_eq!(of.shape.elements(), data.len() as u64, "elements of {of}");
        Ok(Self::made(of, Data::F32(data.to_vec())))
    }

    /// What a backend made itself.
    pub(crate) fn made(of: TensorType, data: Data) -> Self {
        debug_assert!(data.dtype() == of.dtype && data.len() as u64 == of.shape.elements(), "{of}");
        Self(Arc::new(Inner { of, data: Arc::new(data), packed: OnceLock::new() }))
    }

    /// Reads little-endian elements without gaps.
    ///
    /// # Errors
    /// [`WrongLength`] when there are too few or too many bytes.
    pub fn from_bytes(of: TensorType, bytes: &[u8]) -> Result<Self, WrongLength> {
        if bytes.len() as u64 != of.bytes() {
            return Err(WrongLength { expected: of.bytes(), of, found: bytes.len() as u64 });
        }
        let data = match of.dtype {
            Dtype::F32 => Data::F32(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Dtype::F16 => Data::F16(bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()),
            Dtype::I32 => Data::I32(bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()),
            Dtype::I8 => Data::I8(bytes.iter().map(|byte| byte.cast_signed()).collect()),
            Dtype::U8 => Data::U8(bytes.to_vec()),
        };
        Ok(Self::made(of, data))
    }

    /// The elements as little-endian bytes without gaps.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match &*self.0.data {
            Data::F32(data) => data.iter().flat_map(|element| element.to_le_bytes()).collect(),
            Data::F16(data) => data.iter().flat_map(|element| element.to_le_bytes()).collect(),
            Data::I32(data) => data.iter().flat_map(|element| element.to_le_bytes()).collect(),
            Data::I8(data) => data.iter().map(|element| element.cast_unsigned()).collect(),
            Data::U8(data) => data.clone(),
        }
    }

    /// Hands `len` bytes of [`Self::to_bytes`] from `offset` on to `take`, piece by piece, without making all of them.
    /// What lies beyond the end is left out.
    pub fn bytes(&self, offset: u64, len: u64, take: &mut dyn FnMut(&[u8])) {
        /// Elements turned into bytes at a time.
        const PIECE: usize = 16 << 10;
        fn pieces<T: Copy, const N: usize>(
            data: &[T],
            range: std::ops::Range<usize>,
            bytes: fn(T) -> [u8; N],
            take: &mut dyn FnMut(&[u8]),
        ) {
            let (first, end) = (range.start / N, range.end.div_ceil(N));
            for (at, elements) in (first..end).step_by(PIECE).zip(data[first..end].chunks(PIECE)) {
                let piece: Vec<u8> = elements.iter().flat_map(|element| bytes(*element)).collect();
                let from = range.start.saturating_sub(at * N);
                let to = (range.end - at * N).min(piece.len());
                take(&piece[from..to]);
            }
        }
        let all = self.of().bytes();
        let place = |at: u64| usize::try_from(at.min(all)).unwrap_or(usize::MAX);
        let range = place(offset)..place(offset.saturating_add(len));
        if range.is_empty() {
            return;
        }
        match &*self.0.data {
            Data::F32(data) => pieces(data, range, f32::to_le_bytes, take),
            Data::F16(data) => pieces(data, range, u16::to_le_bytes, take),
            Data::I32(data) => pieces(data, range, i32::to_le_bytes, take),
            Data::I8(data) => pieces(data, range, i8::to_le_bytes, take),
            Data::U8(data) => take(&data[range]),
        }
    }

    /// Element type and shape.
    #[must_use]
    pub fn of(&self) -> &TensorType {
        &self.0.of
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[u32] {
        self.0.of.shape.dims()
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.0.data
    }

    /// The elements, shared: what keeps a copy of them elsewhere (a device's memory) knows them again by their place.
    #[must_use]
    pub fn shared(&self) -> &Arc<Data> {
        &self.0.data
    }

    /// The same elements under other dimensions, without a copy.
    pub(crate) fn reshaped(&self, of: TensorType) -> Self {
        debug_assert!(of.dtype == self.0.of.dtype && of.bytes() == self.0.of.bytes(), "{of}");
        Self(Arc::new(Inner { of, data: Arc::clone(&self.0.data), packed: OnceLock::new() }))
    }

    /// A tensor of no elements.
    pub(crate) fn empty(of: TensorType) -> Self {
        let data = match of.dtype {
            Dtype::F32 => Data::F32(Vec::new()),
            Dtype::F16 => Data::F16(Vec::new()),
            Dtype::I32 => Data::I32(Vec::new()),
            Dtype::I8 => Data::I8(Vec::new()),
            Dtype::U8 => Data::U8(Vec::new()),
        };
        Self::made(of, data)
    }

    /// The elements of an `f32` tensor.
    ///
    /// # Panics
    /// Of another one: [`samebit_spec::tensor::infer`] has checked what an operation reads.
    pub(crate) fn floats(&self) -> &[f32] {
        match &*self.0.data {
            Data::F32(data) => data,
            other => unreachable!("checked as f32, and is {}", other.dtype()),
        }
    }

    /// The elements of an `i32` tensor.
    ///
    /// # Panics
    /// Of another one, as [`Self::floats`].
    pub(crate) fn integers(&self) -> &[i32] {
        match &*self.0.data {
            Data::I32(data) => data,
            other => unreachable!("checked as i32, and is {}", other.dtype()),
        }
    }

    /// The kept layout, made by `pack` when there is none; `None` when all that are kept would become more than
    /// [`LAYOUTS_MAX`] by its `bytes`, which is known before anything is made. Two threads may make it at once and one of
    /// them be kept: a lock held while threads of the pool work would wait for itself.
    pub(crate) fn packed(&self, bytes: u64, pack: impl FnOnce() -> Packed) -> Option<&Packed> {
        let kept = match self.0.packed.get() {
            Some(kept) => kept,
            None => {
                let kept = Kept { room: Room::take(bytes)?, packed: pack() };
                self.0.packed.get_or_init(|| kept)
            }
        };
        Some(&kept.packed)
    }
}

/// Bytes of all layouts that a process keeps with its tensors, at most (`spec/09-tensor.md`, section 9.6).
const LAYOUTS_MAX: u64 = 1 << 30;

/// Bytes of those that are kept.
static LAYOUTS: AtomicU64 = AtomicU64::new(0);

/// A layout, and its part of [`LAYOUTS_MAX`].
#[derive(Debug)]
struct Kept {
    packed: Packed,
    #[expect(dead_code, reason = "held until the layout goes")]
    room: Room,
}

/// Bytes of [`LAYOUTS_MAX`], given back when dropped.
#[derive(Debug)]
struct Room(u64);

impl Room {
    fn take(bytes: u64) -> Option<Self> {
        let more = |held: u64| held.checked_add(bytes).filter(|held| *held <= LAYOUTS_MAX);
        LAYOUTS.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then(|| Self(bytes))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        LAYOUTS.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Equal types and equal bits: two NaN of one payload are the same, `-0` and `+0` are not.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.of() == other.of() && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Tensor {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_that_finds_no_room_is_not_made() {
        let tensor = Tensor::f32(&[1], &[1.0]).expect("small");
        for bytes in [LAYOUTS_MAX + 1, u64::MAX] {
            assert!(tensor.packed(bytes, || unreachable!("there is no room")).is_none());
        }
        let room = Room::take(LAYOUTS_MAX / 2 + 1).expect("half of it");
        assert!(Room::take(LAYOUTS_MAX / 2 + 1).is_none(), "more than there is");
        drop(room);
        assert!(Room::take(LAYOUTS_MAX / 2 + 1).is_some(), "given back");
    }
}
