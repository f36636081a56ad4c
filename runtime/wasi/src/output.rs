//! The bytes of a file that a run leaves, as the guest's world held them: parts that are shared with it and never put
//! together, so that an output takes no memory beside what the guest filled, and its holes take none.

use crate::data::Data;
use samebit_spec::{content::BlobRef, id::BlobId, unit::Bytes};
use std::{fmt, sync::Arc};

/// A file's bytes, in parts.
#[derive(Clone)]
pub struct OutputBytes(Held);

#[derive(Clone)]
enum Held {
    /// The guest's own.
    Own(Data),
    /// Those of a blob: read from a mount, or given.
    Blob(BlobRef, Vec<Arc<[u8]>>),
}

/// Bytes that are hashed at a time: parts are too small to be hashed as fast as the processor can.
const HASHED: usize = 64 << 10;

impl OutputBytes {
    pub(crate) fn own(data: Data) -> Self {
        Self(Held::Own(data))
    }

    /// Those of `blob`, which the caller has held against its length.
    pub(crate) fn mounted(blob: BlobRef, pieces: Vec<Arc<[u8]>>) -> Self {
        Self(Held::Blob(blob, pieces))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Held::Own(data) => data.len(),
            Held::Blob(blob, _) => blob.len.0,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them in order, some at a time. No part is empty.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (own, pieces) = match &self.0 {
            Held::Own(data) => (Some(data.parts()), &[][..]),
            Held::Blob(_, pieces) => (None, pieces.as_slice()),
        };
        let parts = own.into_iter().flatten().chain(pieces.iter().map(|piece| &**piece));
        parts.filter(|part| !part.is_empty())
    }

    /// All of them at once, for whoever knows that they are few.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        self.parts().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// Names them. Reads them once through, unless they were a blob before.
    #[must_use]
    pub fn blob(&self) -> BlobRef {
        let data = match &self.0 {
            Held::Blob(blob, _) => return *blob,
            Held::Own(data) => data,
        };
        let mut hasher = blake3::Hasher::new();
        let mut waiting = Vec::with_capacity(HASHED);
        for part in data.parts() {
            waiting.extend_from_slice(part);
            if waiting.len() >= HASHED {
                hasher.update(&waiting);
                waiting.clear();
            }
        }
        hasher.update(&waiting);
        BlobRef { id: BlobId(*hasher.finalize().as_bytes()), len: Bytes(data.len()) }
    }
}

impl From<Vec<u8>> for OutputBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Held::Blob(BlobRef::of(&bytes), vec![bytes.into()]))
    }
}

impl PartialEq for OutputBytes {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.blob() == other.blob()
    }
}

impl Eq for OutputBytes {}

impl fmt::Debug for OutputBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {}", self.len(), self.blob().id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::CHUNK;

    #[test]
    fn parts_are_the_bytes_in_order_holes_included_and_have_the_name_of_the_whole() {
        let (whole, tail) = (CHUNK as u64, 70_000_u64);
        for (len, writes) in [
            (0, vec![]),
            (5, vec![(0, &b"hello"[..])]),
            (2 * whole, vec![(whole - 2, &b"abcd"[..])]),
            (tail, vec![(tail - 3, &b"end"[..]), (7, b"x")]),
            (3 * whole + 1, vec![]),
        ] {
            let mut data = Data::default();
            data.set_len(len);
            for (at, bytes) in &writes {
                data.write(*at, bytes);
            }
            let mut expected = vec![0; usize::try_from(len).unwrap()];
            for (at, bytes) in writes {
                let at = usize::try_from(at).unwrap();
                expected[at..at + bytes.len()].copy_from_slice(bytes);
            }
            let output = OutputBytes::own(data);
            assert!(output.parts().all(|part| !part.is_empty() && part.len() <= CHUNK));
            assert_eq!((output.len(), output.to_vec()), (len, expected.clone()));
            assert_eq!(output.blob(), BlobRef::of(&expected));
            assert_eq!(output, OutputBytes::from(expected));
            assert_ne!(output, OutputBytes::from(b"another".to_vec()));
        }
    }
}
