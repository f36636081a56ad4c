//! Mounted content, loaded piece by piece when it is first read.
//!
//! A cache that all snapshots of a world share: no answer and no root depends on it (W3). It holds at most
//! [`LOADED_MAX`]; what was read least lately is let go, and loaded again when it is read again. A world whose mounts fit
//! loads each piece once; in a larger one each way to a piece is paid for (`spec/06-wasi.md`, section 6.7).

use crate::{Content, Halt, PIECE, Stop, data::Data};
use samebit_spec::{content::BlobRef, id::BlobId, param};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of mounted content that are held at a time. One blob of a content that gives no pieces may be longer.
pub const LOADED_MAX: u64 = param::CONTENT_LOADED_MAX.0;

/// Loaded content.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Loaded>>);

/// A piece by its index, or a whole blob: one that fits a piece, or of a content that gives no pieces.
type Part = (BlobId, Option<u64>);

#[derive(Default)]
struct Loaded {
    parts: BTreeMap<Part, (Arc<[u8]>, u64)>,
    /// The parts by when they were last read.
    order: BTreeMap<u64, Part>,
    reads: u64,
    bytes: u64,
}

impl Loaded {
    fn get(&mut self, part: Part) -> Option<Arc<[u8]>> {
        let (bytes, last) = self.parts.get_mut(&part)?;
        self.order.remove(last);
        self.reads += 1;
        *last = self.reads;
        self.order.insert(self.reads, part);
        Some(Arc::clone(bytes))
    }

    fn put(&mut self, part: Part, bytes: &Arc<[u8]>) {
        self.bytes += bytes.len() as u64;
        self.reads += 1;
        if let Some((before, last)) = self.parts.insert(part, (Arc::clone(bytes), self.reads)) {
            self.bytes -= before.len() as u64;
            self.order.remove(&last);
        }
        self.order.insert(self.reads, part);
        while self.bytes > LOADED_MAX && self.parts.len() > 1 {
            let Some((_, gone)) = self.order.pop_first() else { return };
            if let Some((bytes, _)) = self.parts.remove(&gone) {
                self.bytes -= bytes.len() as u64;
            }
        }
    }
}

fn fault(reason: String) -> Halt {
    Halt::Stop(Stop::HostFault(reason))
}

impl Shelf {
    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of `blob`, which is longer than `offset`, and where in them `offset` is.
    pub(crate) fn at(&self, blob: &BlobRef, offset: u64, content: &dyn Content) -> Result<(Arc<[u8]>, usize), Halt> {
        self.load(blob, offset, content, true)
    }

    /// The same, and a piece is not kept.
    pub(crate) fn passing(
        &self,
        blob: &BlobRef,
        offset: u64,
        content: &dyn Content,
    ) -> Result<(Arc<[u8]>, usize), Halt> {
        self.load(blob, offset, content, false)
    }

    /// Hands the first `len` bytes to `take`, with their offsets. Keeps only what a content gives whole.
    fn each(
        &self,
        blob: &BlobRef,
        len: u64,
        content: &dyn Content,
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<(), Halt> {
        let (mut offset, len) = (0, len.min(blob.len.0));
        while offset < len {
            let (bytes, start) = self.load(blob, offset, content, false)?;
            let rest = usize::try_from(len - offset).unwrap_or(usize::MAX);
            let bytes = &bytes[start..];
            let bytes = &bytes[..bytes.len().min(rest)];
            take(offset, bytes);
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    /// A copy of the first `len` bytes, or of all there are, that can be written to.
    pub(crate) fn copy(&self, blob: &BlobRef, len: u64, content: &dyn Content) -> Result<Data, Halt> {
        let mut data = Data::default();
        data.set_len(len.min(blob.len.0));
        self.each(blob, len, content, |offset, bytes| data.write(offset, bytes))?;
        Ok(data)
    }

    /// All bytes, as they are given.
    pub(crate) fn whole(&self, blob: &BlobRef, content: &dyn Content) -> Result<Vec<Arc<[u8]>>, Halt> {
        let (mut pieces, mut offset) = (Vec::new(), 0);
        while offset < blob.len.0 {
            let (bytes, start) = self.load(blob, offset, content, false)?;
            offset += (bytes.len() - start) as u64;
            pieces.push(if start == 0 { bytes } else { Arc::from(&bytes[start..]) });
        }
        Ok(pieces)
    }

    fn load(&self, blob: &BlobRef, offset: u64, content: &dyn Content, keep: bool) -> Result<(Arc<[u8]>, usize), Halt> {
        let place = |offset: u64| usize::try_from(offset).map_err(|_| fault(format!("{} is too long", blob.id)));
        let index = offset / PIECE;
        {
            let mut loaded = self.loaded();
            if let Some(bytes) = loaded.get((blob.id, None)) {
                return Ok((bytes, place(offset)?));
            }
            if let Some(bytes) = loaded.get((blob.id, Some(index))) {
                return Ok((bytes, place(offset % PIECE)?));
            }
        }
        let sized = |bytes: Arc<[u8]>, len: u64| {
            let wrong = || fault(format!("{} has {} bytes where there should be {len}", blob.id, bytes.len()));
            if bytes.len() as u64 == len { Ok(Arc::clone(&bytes)) } else { Err(wrong()) }
        };
        let piece = if blob.len.0 > PIECE { content.piece(blob, index).map_err(fault)? } else { None };
        if let Some(bytes) = piece {
            let bytes = sized(bytes, PIECE.min(blob.len.0 - index * PIECE))?;
            if keep {
                self.loaded().put((blob.id, Some(index)), &bytes);
            }
            return Ok((bytes, place(offset % PIECE)?));
        }
        let bytes = sized(content.read(blob).map_err(fault)?, blob.len.0)?;
        self.loaded().put((blob.id, None), &bytes);
        Ok((bytes, place(offset)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{
        content::{Tree, TreeRef},
        unit::Bytes,
    };
    use std::cell::Cell;

    /// Pieces of zeros; counts them.
    struct Zeros(Cell<u64>);

    impl Content for Zeros {
        fn read(&self, _: &BlobRef) -> Result<Arc<[u8]>, String> {
            Err("by pieces alone".into())
        }

        fn piece(&self, _: &BlobRef, _: u64) -> Result<Option<Arc<[u8]>>, String> {
            self.0.set(self.0.get() + 1);
            Ok(Some([0; 64 << 10].into()))
        }

        fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
            Err("none".into())
        }
    }

    #[test]
    fn what_was_read_least_lately_is_let_go_and_loaded_again() {
        let (shelf, zeros) = (Shelf::default(), Zeros(Cell::new(0)));
        let fit = LOADED_MAX / PIECE;
        let blob = BlobRef { id: BlobId([1; 32]), len: Bytes(4 * LOADED_MAX) };
        let read = |index: u64| {
            shelf.at(&blob, index * PIECE + 5, &zeros).map(|(bytes, start)| (bytes.len(), start)).expect("there");
            (zeros.0.get(), shelf.loaded().bytes)
        };
        for index in 0..fit {
            assert_eq!(read(index), (index + 1, (index + 1) * PIECE));
        }
        assert_eq!(read(0), (fit, LOADED_MAX), "it is held");
        assert_eq!(read(fit), (fit + 1, LOADED_MAX), "the second goes, for the first was read again");
        assert_eq!(read(0), (fit + 1, LOADED_MAX));
        assert_eq!(read(1), (fit + 2, LOADED_MAX));
        let loaded = shelf.loaded();
        assert_eq!(loaded.order.len(), loaded.parts.len());
    }
}
