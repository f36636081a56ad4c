//! Parts of files as the host itself needs them: for what a guest names by descriptor and never reads.

use crate::{
    Content, Errno, Halt, PIECE, Stop, Wasi,
    fd::rights,
    fs::{Body, Kind},
};
use samebit_spec::{content::BlobRef, unit::Bytes};

/// What an open file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileBytes {
    /// A mounted blob that nobody has written to.
    Mounted(BlobRef),
    /// So many bytes of the guest's own.
    Own(Bytes),
}

impl FileBytes {
    /// How long it is.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Mounted(blob) => blob.len.0,
            Self::Own(len) => len.0,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Wasi {
    /// What the open file `fd` holds.
    ///
    /// # Errors
    /// As a read of it would: it is not open, no regular file, or may not be read.
    pub fn file_bytes(&self, fd: u32) -> Result<FileBytes, Errno> {
        let (ino, _) = self.fds.get(fd)?.file(rights::FD_READ)?;
        match &self.fs.inode(ino)?.kind {
            Kind::File(Body::Mounted(blob)) => Ok(FileBytes::Mounted(*blob)),
            Kind::File(Body::Own(data)) => Ok(FileBytes::Own(Bytes(data.len()))),
            Kind::Dir(_) | Kind::Link(_) => Err(Errno::IsDir),
        }
    }

    /// Bytes of the guest's own file `fd` from `offset` on: `into.len()`, or fewer at its end.
    ///
    /// # Errors
    /// As [`Self::file_bytes`]; also of a mounted file.
    pub fn own_bytes(&self, fd: u32, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let (ino, _) = self.fds.get(fd)?.file(rights::FD_READ)?;
        match &self.fs.inode(ino)?.kind {
            Kind::File(Body::Own(data)) => Ok(data.read(offset, into)),
            Kind::File(Body::Mounted(_)) | Kind::Dir(_) | Kind::Link(_) => Err(Errno::Inval),
        }
    }

    /// Bytes of a mounted blob from `offset` on: `len`, or fewer at its end. Loaded piece by piece. The pieces are kept, as of a
    /// read, where less than one is asked for: the next one asked for may lie in the same.
    ///
    /// # Errors
    /// Why it cannot be had: a host fault.
    pub fn blob_bytes(&self, blob: &BlobRef, offset: u64, len: u64, content: &dyn Content) -> Result<Vec<u8>, String> {
        let end = offset.saturating_add(len).min(blob.len.0);
        let mut bytes = Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        let mut at = offset;
        while at < end {
            let loaded =
                if len < PIECE { self.shelf.at(blob, at, content) } else { self.shelf.passing(blob, at, content) };
            let (piece, start) = loaded.map_err(|halt| match halt {
                Halt::Stop(Stop::HostFault(reason)) => reason,
                other => format!("{} cannot be read: {other:?}", blob.id),
            })?;
            let part = (piece.len() - start).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            bytes.extend_from_slice(&piece[start..start + part]);
            at += part as u64;
        }
        Ok(bytes)
    }
}
