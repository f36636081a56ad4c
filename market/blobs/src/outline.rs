//! The inner hashes of a blob: what lets a part of it be checked without the rest.
//!
//! BLAKE3 hashes a tree. An [`Outline`] keeps the tree's nodes over each [`Outline::PIECE`] bytes, 32 bytes a piece, and
//! is made in the one pass that hashes the blob. It is trusted because it was made here and its root is the blob's id.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use samebit_spec::{content::BlobRef, id::BlobId, unit::Bytes};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    sync::Arc,
};

/// The hashes of a blob's pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    blob: BlobRef,
    /// Of each piece; empty where the blob is a single one.
    pieces: Vec<ChainingValue>,
}

impl Outline {
    /// Bytes of a piece: a whole subtree of BLAKE3, whose leaves have 1024 bytes.
    pub(crate) const PIECE: usize = 64 << 10;

    /// Reads to the end, holding one piece at a time.
    pub(crate) fn of(file: &mut impl Read) -> std::io::Result<Self> {
        let mut piece = vec![0; Self::PIECE];
        let (mut pieces, mut len) = (Vec::new(), 0_u64);
        let mut filled = fill(file, &mut piece)?;
        let mut next = vec![0; Self::PIECE];
        let more = if filled == Self::PIECE { fill(file, &mut next)? } else { 0 };
        if more == 0 {
            let blob = BlobRef::of(&piece[..filled]);
            return Ok(Self { blob, pieces });
        }
        std::mem::swap(&mut piece, &mut next);
        pieces.push(node(&next, 0));
        len += filled as u64;
        filled = more;
        while filled > 0 {
            pieces.push(node(&piece[..filled], len));
            len += filled as u64;
            filled = if filled == Self::PIECE { fill(file, &mut piece)? } else { 0 };
        }
        let (left, right) = halves(&pieces);
        let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
        Ok(Self { blob: BlobRef { id: BlobId(*root.as_bytes()), len: Bytes(len) }, pieces })
    }

    /// The blob.
    pub(crate) const fn blob(&self) -> BlobRef {
        self.blob
    }

    /// Whether `bytes` are the piece at `index`.
    pub(crate) fn holds(&self, index: u64, bytes: &[u8]) -> bool {
        if self.pieces.is_empty() {
            return index == 0 && BlobRef::of(bytes) == self.blob;
        }
        let start = index.saturating_mul(Self::PIECE as u64);
        let whole = self.blob.len.0.saturating_sub(start).min(Self::PIECE as u64);
        let piece = usize::try_from(index).ok().and_then(|index| self.pieces.get(index));
        bytes.len() as u64 == whole && piece.is_some_and(|piece| node(bytes, start) == *piece)
    }
}

/// Outlines in memory. Beyond the room they have, the one that was longest unused goes, never the newest.
#[derive(Debug, Default)]
pub(crate) struct Outlines {
    /// Each with when it was used last, in uses of any.
    held: BTreeMap<BlobId, (u64, Arc<Outline>)>,
    uses: u64,
    pieces: usize,
}

impl Outlines {
    /// Pieces of all outlines together: 128 MiB of hashes, of 256 GiB of blobs.
    const PIECES_MAX: usize = 4 << 20;

    pub(crate) fn get(&mut self, blob: &BlobId) -> Option<Arc<Outline>> {
        self.uses += 1;
        let (used, outline) = self.held.get_mut(blob)?;
        *used = self.uses;
        Some(Arc::clone(outline))
    }

    pub(crate) fn insert(&mut self, outline: Arc<Outline>) {
        self.insert_within(outline, Self::PIECES_MAX);
    }

    fn insert_within(&mut self, outline: Arc<Outline>, most: usize) {
        self.uses += 1;
        self.pieces += outline.pieces.len();
        let blob = outline.blob.id;
        if let Some((_, old)) = self.held.insert(blob, (self.uses, outline)) {
            self.pieces -= old.pieces.len();
        }
        while self.pieces > most && self.held.len() > 1 {
            let Some(oldest) = self.held.iter().min_by_key(|(_, (used, _))| *used).map(|(blob, _)| *blob) else {
                return;
            };
            if let Some((_, gone)) = self.held.remove(&oldest) {
                self.pieces -= gone.pieces.len();
            }
        }
    }
}

/// Reads until `into` is full or the file ends.
fn fill(file: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn node(bytes: &[u8], start: u64) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// The children of a node over two pieces or more: the left one is as large a power of two as fits.
fn halves(pieces: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    pieces.split_at(pieces.len().next_power_of_two() / 2)
}

fn subtree(pieces: &[ChainingValue]) -> ChainingValue {
    if let [piece] = pieces {
        return *piece;
    }
    let (left, right) = halves(pieces);
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_that_was_longest_unused_goes_and_never_the_newest() {
        let outline = |byte: u8| Arc::new(Outline::of(&mut &*vec![byte; 3 * Outline::PIECE]).unwrap());
        let all: Vec<Arc<Outline>> = (0..20).map(outline).collect();
        let mut outlines = Outlines::default();
        for outline in &all {
            // Room for four of them; the first is used all the time.
            outlines.insert_within(Arc::clone(outline), 12);
            assert_eq!(outlines.get(&outline.blob.id).as_ref(), Some(outline), "the newest");
            assert!(outlines.get(&all[0].blob.id).is_some(), "what is in use");
        }
        assert_eq!((outlines.held.len(), outlines.pieces), (4, 12));
    }

    #[test]
    fn an_outline_names_the_blob_and_tells_its_pieces_from_others() {
        let bytes: Vec<u8> = (0..7 * Outline::PIECE + 5).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
        let piece = Outline::PIECE;
        for len in [0, 1, 1024, piece - 1, piece, piece + 1, 2 * piece, 3 * piece - 1, 4 * piece, 7 * piece + 5] {
            let whole = &bytes[..len];
            let outline = Outline::of(&mut &whole[..]).expect("memory can be read");
            assert_eq!(outline.blob(), BlobRef::of(whole), "{len} bytes");
            for (index, part) in (0..).zip(whole.chunks(piece)) {
                assert!(outline.holds(index, part), "{len} bytes, piece {index}");
                assert!(!outline.holds(index + 1, part), "{len} bytes, piece {index} elsewhere");
                let mut other = part.to_vec();
                other[part.len() / 2] ^= 1;
                assert!(!outline.holds(index, &other), "{len} bytes, piece {index} changed");
                assert!(!outline.holds(index, &part[..part.len() - 1]), "{len} bytes, piece {index} cut");
            }
        }
    }
}
