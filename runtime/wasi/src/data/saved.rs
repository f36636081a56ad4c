//! A file's bytes as a list of chunk hashes, the chunks themselves apart.

use super::{CHUNK, Data};
use crate::saved::{Pieces, RestoreError, Shelved};
use borsh::{BorshDeserialize, BorshSerialize};

/// Length and the chunks that are not all zeros, by index.
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct SavedData {
    len: u64,
    chunks: Vec<(u64, [u8; 32])>,
}

impl Data {
    pub(crate) fn save(&self, pieces: &mut Pieces) -> SavedData {
        let mut chunks = Vec::new();
        for (index, chunk) in &self.chunks {
            if let Some(hash) = chunk.hash() {
                let end = chunk.bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                pieces.give(hash, chunk, end);
                chunks.push((*index, hash));
            }
        }
        SavedData { len: self.len, chunks }
    }

    /// Takes memory for chunks that are given and for nothing else.
    pub(crate) fn restore(saved: &SavedData, shelved: &mut Shelved<'_>) -> Result<Self, RestoreError> {
        let mut data = Self::default();
        data.set_len(saved.len);
        for (index, hash) in &saved.chunks {
            let bytes = shelved.take(hash)?;
            let at = index.checked_mul(CHUNK as u64).filter(|at| *at < saved.len);
            let at = at.ok_or(RestoreError::Unsound { what: "a chunk behind its file's end" })?;
            if bytes.len() > CHUNK {
                return Err(RestoreError::Unsound { what: "a chunk that is too long" });
            }
            data.write(at, &bytes);
        }
        Ok(data)
    }
}
