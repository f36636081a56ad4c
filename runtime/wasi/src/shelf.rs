//! Mounted content, loaded piece by piece when it is first read, each piece once.
//!
//! A cache that all snapshots of a world share: no answer and no root depends on it (W3).

use crate::{Content, Halt, PIECE, Stop, data::Data};
use samebit_spec::{content::BlobRef, id::BlobId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Loaded content.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Loaded>>);

#[derive(Default)]
struct Loaded {
    /// Blobs that fit one piece, and those of a content that gives no pieces.
    wholes: BTreeMap<BlobId, Arc<[u8]>>,
    pieces: BTreeMap<(BlobId, u64), Arc<[u8]>>,
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

    /// Hands all bytes to `take`, with their offsets. Keeps only what a content gives whole.
    fn each(&self, blob: &BlobRef, content: &dyn Content, mut take: impl FnMut(u64, &[u8])) -> Result<(), Halt> {
        let mut offset = 0;
        while offset < blob.len.0 {
            let (bytes, start) = self.load(blob, offset, content, false)?;
            take(offset, &bytes[start..]);
            offset += (bytes.len() - start) as u64;
        }
        Ok(())
    }

    /// A copy that can be written to.
    pub(crate) fn copy(&self, blob: &BlobRef, content: &dyn Content) -> Result<Data, Halt> {
        let mut data = Data::default();
        data.set_len(blob.len.0);
        self.each(blob, content, |offset, bytes| data.write(offset, bytes))?;
        Ok(data)
    }

    /// All bytes.
    pub(crate) fn whole(&self, blob: &BlobRef, content: &dyn Content) -> Result<Vec<u8>, Halt> {
        let mut whole = Vec::new();
        self.each(blob, content, |_, bytes| whole.extend_from_slice(bytes))?;
        Ok(whole)
    }

    fn load(&self, blob: &BlobRef, offset: u64, content: &dyn Content, keep: bool) -> Result<(Arc<[u8]>, usize), Halt> {
        let place = |offset: u64| usize::try_from(offset).map_err(|_| fault(format!("{} is too long", blob.id)));
        let index = offset / PIECE;
        {
            let loaded = self.loaded();
            if let Some(bytes) = loaded.wholes.get(&blob.id) {
                return Ok((Arc::clone(bytes), place(offset)?));
            }
            if let Some(bytes) = loaded.pieces.get(&(blob.id, index)) {
                return Ok((Arc::clone(bytes), place(offset % PIECE)?));
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
                self.loaded().pieces.insert((blob.id, index), Arc::clone(&bytes));
            }
            return Ok((bytes, place(offset % PIECE)?));
        }
        let bytes = sized(content.read(blob).map_err(fault)?, blob.len.0)?;
        self.loaded().wholes.insert(blob.id, Arc::clone(&bytes));
        Ok((bytes, place(offset)?))
    }
}
