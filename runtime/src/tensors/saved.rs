//! Live tensors between two steps as bytes, and back (`spec/03-execution.md`, section 12).
//!
//! What is part of a mounted file is kept by the file's name; of all others the bytes are kept, in pieces by their hashes.
//! Whether what comes back is what was kept is told by the state's marks, which are made again of all of it.

use super::{Held, Live, Tensors};
use crate::SnapshotError;
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::{
    state::{TensorMark, TensorSource},
    tensor::{TensorType, host},
    wire,
};
use samebit_tensor::Tensor;
use samebit_wasi::{Piece as KeptPiece, Saved};
use std::collections::BTreeMap;

/// Bytes of a piece.
pub(crate) const PIECE_BYTES: u64 = 64 << 10;

#[derive(BorshSerialize, BorshDeserialize)]
struct Image {
    next: u64,
    live: Vec<(u32, TensorType, Kept)>,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Kept {
    Pieces(Vec<[u8; 32]>),
    Source(TensorSource),
}

/// A piece, or why it cannot be had.
type Piece = Result<Vec<u8>, String>;

/// The name of a piece.
pub(crate) fn piece_hash(piece: &[u8]) -> [u8; 32] {
    wire::derive("samebit/v1/pack-tensor", piece)
}

impl Tensors {
    /// Adds them to what is kept of the world.
    pub(crate) fn save(&self, world: &mut Saved) {
        let mut live = Vec::with_capacity(self.live.len());
        for (handle, one) in &self.live {
            let kept = match &one.held {
                Held::There(source) | Held::Loaded(source, _) => Kept::Source(*source),
                Held::Here(tensor) => {
                    let mut hashes = Vec::new();
                    let mut at = 0;
                    while at < one.of.bytes() {
                        let mut piece = Vec::new();
                        tensor.bytes(at, PIECE_BYTES, &mut |bytes| piece.extend_from_slice(bytes));
                        at += piece.len() as u64;
                        let hash = piece_hash(&piece);
                        hashes.push(hash);
                        world.pieces.insert(hash, KeptPiece::of(piece));
                    }
                    Kept::Pieces(hashes)
                }
            };
            live.push((*handle, one.of.clone(), kept));
        }
        let image = wire::encode(&Image { next: self.next, live });
        world.image = wire::encode(&(std::mem::take(&mut world.image), image));
    }

    /// Takes what [`Self::save`] added away again: the world's own image and that of the tensors.
    pub(crate) fn split(image: &[u8]) -> Result<(Vec<u8>, Vec<u8>), SnapshotError> {
        wire::decode(image).map_err(|error| SnapshotError::World(error.into()))
    }

    /// Brings them back as they were when `marks` were made.
    ///
    /// # Errors
    /// [`SnapshotError::Tensors`] when they are not those of the marks, or take more than `bytes_max`.
    pub(crate) fn restore(
        &mut self,
        image: &[u8],
        marks: &[TensorMark],
        bytes_max: u64,
        piece: &mut dyn FnMut(&[u8; 32]) -> Piece,
    ) -> Result<(), SnapshotError> {
        let refused = |what: String| SnapshotError::Tensors { what };
        let Image { next, live } = wire::decode(image).map_err(|error| refused(error.to_string()))?;
        let mut bytes: u64 = 0;
        for (_, of, _) in &live {
            of.shape.check().map_err(|error| refused(error.to_string()))?;
            bytes = bytes.saturating_add(of.bytes());
        }
        if bytes > bytes_max || live.len() > host::TENSORS_MAX {
            return Err(refused(format!("{} tensors of {bytes} bytes, beyond the limit", live.len())));
        }
        // No run gives out others: what is listed twice or before the first would be counted and not marked.
        let ascending = live.is_sorted_by(|left, right| left.0 < right.0);
        if !ascending || live.first().is_some_and(|first| first.0 < host::HANDLE_FIRST) {
            return Err(refused("their handles are none that a run gives out, one after another".to_string()));
        }
        if marks.is_empty() && !live.is_empty() {
            return Err(refused("there are some, and the state has none".to_string()));
        }
        let mut restored = BTreeMap::new();
        for (handle, of, kept) in live {
            let held = match kept {
                Kept::Source(source) => Held::There(source),
                Kept::Pieces(hashes) => {
                    let mut bytes = Vec::new();
                    for hash in &hashes {
                        let piece = piece(hash).map_err(|reason| refused(format!("a piece: {reason}")))?;
                        if piece_hash(&piece) != *hash || (bytes.len() + piece.len()) as u64 > of.bytes() {
                            return Err(refused(format!("a piece of tensor {handle} was altered")));
                        }
                        bytes.extend_from_slice(&piece);
                    }
                    Held::Here(Tensor::from_bytes(of.clone(), &bytes).map_err(|error| refused(error.to_string()))?)
                }
            };
            let mut one = Live { of, held, mark: None };
            one.mark = Some(one.mark(handle));
            restored.insert(handle, one);
        }
        let next_after = restored.keys().next_back().map_or(u64::from(host::HANDLE_FIRST), |last| u64::from(*last) + 1);
        if next < next_after || next > u64::from(u32::MAX) {
            return Err(refused("a next handle that was given out".to_string()));
        }
        (self.live, self.next, self.bytes, self.fresh) = (restored, next, bytes, 0);
        if self.marks() == marks { Ok(()) } else { Err(refused("they are of another state".to_string())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::Computing;
    use samebit_spec::{
        content::BlobRef,
        tensor::{Dtype, Shape},
    };
    use samebit_tensor::Cpu;
    use std::sync::Arc;

    fn restored(next: u64, handles: &[u32], marks: &[TensorMark]) -> Result<Tensors, SnapshotError> {
        let source = TensorSource { blob: BlobRef::of(b"a file"), offset: 0 };
        let one = |handle: &u32| (*handle, four(), Kept::Source(source));
        let image = wire::encode(&Image { next, live: handles.iter().map(one).collect() });
        let mut tensors = Tensors::new(Computing::new(Arc::new(Cpu)), true);
        tensors.restore(&image, marks, 1 << 20, &mut |_| Err("there is none".to_string()))?;
        Ok(tensors)
    }

    fn four() -> TensorType {
        TensorType { dtype: Dtype::U8, shape: Shape::new(&[4]).unwrap() }
    }

    fn mark(handle: u32) -> TensorMark {
        TensorMark::of_source(handle, &four(), &TensorSource { blob: BlobRef::of(b"a file"), offset: 0 })
    }

    #[test]
    fn handles_that_a_run_cannot_have_given_out_are_refused_even_where_the_marks_are_the_same() {
        let marks = [TensorMark::next(4), mark(1), mark(3)];
        let sound = restored(4, &[1, 3], &marks).unwrap();
        assert_eq!((sound.bytes, sound.live.len(), sound.next), (8, 2, 4));
        assert!(restored(1, &[], &[]).unwrap().live.is_empty());
        let forged: [(u64, &[u32], &[TensorMark]); 6] = [
            // Twice the same: what is live would be counted twice.
            (4, &[1, 3, 3], &marks),
            (4, &[3, 1], &marks),
            // None was given out, and one is live.
            (1, &[0], &[]),
            (4, &[0, 1, 3], &[TensorMark::next(4), mark(0), mark(1), mark(3)]),
            (3, &[1, 3], &[TensorMark::next(3), mark(1), mark(3)]),
            (0, &[], &[]),
        ];
        for (next, handles, marks) in forged {
            let refused = restored(next, handles, marks).err();
            assert!(matches!(refused, Some(SnapshotError::Tensors { .. })), "{next}, {handles:?}: {refused:?}");
        }
    }
}
