//! Guest memory as this crate sees it: bytes at 32-bit addresses, every access checked.

use crate::errno::Errno;

/// An access outside guest memory. Nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at {at:#x} lead outside guest memory")]
pub struct BadPointer {
    /// The first address.
    pub at: u32,
    /// How many bytes were wanted.
    pub len: u64,
}

impl From<BadPointer> for Errno {
    fn from(_: BadPointer) -> Self {
        Self::Fault
    }
}

/// A guest's linear memory. An access is whole or refused.
pub trait GuestMemory {
    /// Size in bytes.
    fn len(&self) -> usize;

    /// Whether the memory has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` from address `at`.
    ///
    /// # Errors
    /// [`BadPointer`] when a byte of the range is outside memory.
    fn read(&self, at: u32, into: &mut [u8]) -> Result<(), BadPointer>;

    /// Stores `bytes` at address `at`.
    ///
    /// # Errors
    /// [`BadPointer`] when a byte of the range is outside memory; then none is stored.
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), BadPointer>;

    /// Checks that `len` bytes at `at` are inside memory.
    ///
    /// # Errors
    /// [`BadPointer`] when they are not.
    fn check(&self, at: u32, len: u64) -> Result<(), BadPointer> {
        let end = u64::from(at).checked_add(len).ok_or(BadPointer { at, len })?;
        // A 32-bit address space ends at 4 GiB, whatever the memory says of itself.
        if end <= (self.len() as u64).min(1 << 32) { Ok(()) } else { Err(BadPointer { at, len }) }
    }
}

/// A memory that is one slice, as wasmtime shows it and as the tests make it.
impl GuestMemory for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read(&self, at: u32, into: &mut [u8]) -> Result<(), BadPointer> {
        let bad = BadPointer { at, len: into.len() as u64 };
        let start = usize::try_from(at).map_err(|_| bad)?;
        let end = start.checked_add(into.len()).ok_or(bad)?;
        into.copy_from_slice(self.get(start..end).ok_or(bad)?);
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), BadPointer> {
        let bad = BadPointer { at, len: bytes.len() as u64 };
        let start = usize::try_from(at).map_err(|_| bad)?;
        let end = start.checked_add(bytes.len()).ok_or(bad)?;
        self.get_mut(start..end).ok_or(bad)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// A slice by reference, so that `&mut wrapper` is a `&mut dyn GuestMemory`.
#[derive(Debug)]
pub struct SliceMemory<'a>(pub &'a mut [u8]);

impl GuestMemory for SliceMemory<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, at: u32, into: &mut [u8]) -> Result<(), BadPointer> {
        GuestMemory::read(&*self.0, at, into)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), BadPointer> {
        GuestMemory::write(&mut *self.0, at, bytes)
    }
}
