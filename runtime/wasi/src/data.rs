//! The bytes of a file that the guest has written: chunks shared between snapshots, hashed once each.
//!
//! A write touches the chunks it covers and no others, so neither a snapshot nor a root costs the whole
//! file again. Chunks that were never written are absent and read as zeros.

mod saved;

pub(crate) use saved::SavedData;

use samebit_spec::wire;
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 4096;

/// What a hole reads as.
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A chunk's bytes as far as they were written; what is missing up to [`CHUNK`] is zeros.
#[derive(Clone, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    hash: OnceLock<Option<[u8; 32]>>,
}

impl Chunk {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, hash: OnceLock::new() }
    }

    /// The first bytes that were written.
    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        &self.bytes[..len.min(self.bytes.len())]
    }

    /// Hash of the bytes without trailing zeros; `None` when nothing is left, so that a chunk of zeros and an
    /// absent one are the same.
    fn hash(&self) -> Option<[u8; 32]> {
        *self.hash.get_or_init(|| {
            let end = self.bytes.iter().rposition(|&byte| byte != 0)? + 1;
            Some(wire::derive("samebit/v1/wasi-chunk", &self.bytes[..end]))
        })
    }
}

/// A sparse run of bytes.
#[derive(Clone, Default)]
pub(crate) struct Data {
    len: u64,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    hash: OnceLock<[u8; 32]>,
}

impl Data {
    /// Length in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Copies what there is from `offset` into `into`; returns how many bytes.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(into.len());
        let into = &mut into[..there];
        let mut done = 0;
        while done < into.len() {
            let (index, start) = split(offset + done as u64);
            let part = (CHUNK - start).min(into.len() - done);
            let target = &mut into[done..done + part];
            target.fill(0);
            if let Some(chunk) = self.chunks.get(&index) {
                let written = chunk.bytes.get(start..).unwrap_or(&[]);
                let copied = written.len().min(part);
                target[..copied].copy_from_slice(&written[..copied]);
            }
            done += part;
        }
        there
    }

    /// Stores `bytes` at `offset`. What would lie beyond the length is left out: the caller sets it before.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[..room];
        if bytes.is_empty() {
            return;
        }
        self.hash = OnceLock::new();
        let mut done = 0;
        while done < bytes.len() {
            let (index, start) = split(offset + done as u64);
            let part = (CHUNK - start).min(bytes.len() - done);
            let chunk = Arc::make_mut(self.chunks.entry(index).or_default());
            chunk.hash = OnceLock::new();
            if chunk.bytes.len() < start + part {
                chunk.bytes.resize(start + part, 0);
            }
            chunk.bytes[start..start + part].copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
    }

    /// Cuts or extends with zeros. Costs no memory for what is added.
    pub(crate) fn set_len(&mut self, len: u64) {
        self.hash = OnceLock::new();
        if len < self.len {
            let (index, start) = split(len);
            let beyond = if start == 0 { index } else { index + 1 };
            self.chunks.split_off(&beyond);
            if start > 0
                && let Some(chunk) = self.chunks.get_mut(&index)
                && chunk.bytes.len() > start
            {
                let chunk = Arc::make_mut(chunk);
                chunk.hash = OnceLock::new();
                chunk.bytes.truncate(start);
            }
        }
        self.len = len;
    }

    /// Hash of length and content.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hash.get_or_init(|| {
            let chunks: Vec<(u64, [u8; 32])> =
                self.chunks.iter().filter_map(|(index, chunk)| Some((*index, chunk.hash()?))).collect();
            wire::derive("samebit/v1/wasi-file", &wire::encode(&(self.len, chunks)))
        })
    }

    /// All bytes in order, at most a chunk at a time; some parts are empty.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len.div_ceil(CHUNK as u64)).flat_map(|index| {
            let there = usize::try_from(self.len - index * CHUNK as u64).unwrap_or(usize::MAX).min(CHUNK);
            let written = self.chunks.get(&index).map_or(&[][..], |chunk| chunk.bytes(there));
            [written, &ZEROS[..there - written.len()]]
        })
    }

    /// All bytes.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read(0, &mut bytes);
        bytes
    }
}

fn split(offset: u64) -> (u64, usize) {
    let start = usize::try_from(offset % CHUNK as u64).unwrap_or(0);
    (offset / CHUNK as u64, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Data {
        fn of(bytes: &[u8]) -> Self {
            let mut data = Self::default();
            data.set_len(bytes.len() as u64);
            data.write(0, bytes);
            data
        }
    }

    #[test]
    fn a_write_across_chunks_reads_back_and_holes_are_zeros() {
        let mut data = Data::default();
        data.set_len(3 * CHUNK as u64);
        data.write(CHUNK as u64 - 2, b"abcd");
        let mut read = [9; 8];
        assert_eq!(data.read(CHUNK as u64 - 4, &mut read), 8);
        assert_eq!(&read, b"\0\0abcd\0\0");
        assert_eq!(data.read(3 * CHUNK as u64 - 3, &mut read), 3);
    }

    #[test]
    fn equal_bytes_have_equal_hashes_however_they_came_about() {
        let mut zeros = Data::default();
        zeros.set_len(10_000);
        let mut written = zeros.clone();
        written.write(5000, &[0; 100]);
        assert_eq!(zeros.hash(), written.hash());
        let mut cut = Data::of(b"hello world");
        cut.set_len(5);
        assert_eq!(cut.hash(), Data::of(b"hello").hash());
        cut.set_len(6);
        assert_ne!(cut.hash(), Data::of(b"hello").hash());
        assert_eq!(cut.to_vec(), b"hello\0");
    }
}
