//! How preview1 lays its records out in guest memory, and how a call's arguments are read.
//!
//! Little-endian, no alignment asked for. Every helper checks the whole range before it touches memory.

use crate::{
    Errno, GuestMemory,
    fs::{Inode, Kind},
};

/// Bytes moved at a time between a file or stream and guest memory.
pub(crate) const PIECE: usize = 64 << 10;

/// Most buffers of one read or write. Source: `IOV_MAX` of Linux.
pub(crate) const IOVECS_MAX: u32 = 1024;

/// Bytes of a `filestat`, a `fdstat`, a `prestat`, a `dirent`, a `subscription` and an `event`.
pub(crate) const FILESTAT: u64 = 64;
pub(crate) const FDSTAT: u64 = 24;
pub(crate) const PRESTAT: u64 = 8;
pub(crate) const DIRENT: usize = 24;
pub(crate) const SUBSCRIPTION: u64 = 48;
pub(crate) const EVENT: u64 = 32;

/// File types.
pub(crate) const TYPE_UNKNOWN: u8 = 0;
pub(crate) const TYPE_DIRECTORY: u8 = 3;
pub(crate) const TYPE_REGULAR: u8 = 4;
pub(crate) const TYPE_LINK: u8 = 7;

/// A call's core arguments. One that is missing reads as 0, so that no caller can make this crate panic.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a>(pub(crate) &'a [u64]);

impl Args<'_> {
    /// A 32-bit argument.
    pub(crate) fn int(self, index: usize) -> u32 {
        low32(self.long(index))
    }

    /// A 64-bit argument.
    pub(crate) fn long(self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

/// The low half.
pub(crate) fn low32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The file type of an inode.
pub(crate) const fn file_type(inode: &Inode) -> u8 {
    match inode.kind {
        Kind::File(_) => TYPE_REGULAR,
        Kind::Dir(_) => TYPE_DIRECTORY,
        Kind::Link(_) => TYPE_LINK,
    }
}

/// What `filestat` tells.
pub(crate) struct Filestat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) file_type: u8,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) times: [u64; 3],
}

impl Filestat {
    /// Of an inode. Each mount is a device of its own, from 1.
    pub(crate) fn of(ino: u64, inode: &Inode) -> Self {
        Self {
            dev: u64::from(inode.mount) + 1,
            ino,
            file_type: file_type(inode),
            nlink: inode.nlink,
            size: inode.size(),
            times: [inode.times.atim, inode.times.mtim, inode.times.ctim],
        }
    }

    pub(crate) fn store(&self, at: u32, memory: &mut dyn GuestMemory) -> Result<(), Errno> {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&self.dev.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ino.to_le_bytes());
        bytes[16] = self.file_type;
        bytes[24..32].copy_from_slice(&self.nlink.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_le_bytes());
        for (index, time) in self.times.iter().enumerate() {
            bytes[40 + index * 8..48 + index * 8].copy_from_slice(&time.to_le_bytes());
        }
        Ok(memory.write(at, &bytes)?)
    }
}

/// A buffer of a scattered read or a gathered write.
#[derive(Clone, Copy)]
pub(crate) struct Iovec {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// Buffers with their total length.
pub(crate) struct Iovecs {
    pub(crate) list: Vec<Iovec>,
    pub(crate) total: u32,
}

impl Iovecs {
    /// Hands the buffers' bytes to `take`, piece by piece.
    pub(crate) fn pieces(&self, memory: &dyn GuestMemory, mut take: impl FnMut(&[u8])) -> Result<(), Errno> {
        let mut piece = vec![0; PIECE.min(usize::try_from(self.total).unwrap_or(PIECE))];
        for buffer in &self.list {
            let mut taken = 0;
            while taken < buffer.len {
                let part = piece.len().min(usize::try_from(buffer.len - taken).unwrap_or(usize::MAX));
                memory.read(buffer.at + taken, &mut piece[..part])?;
                take(&piece[..part]);
                taken += low32(part as u64);
            }
        }
        Ok(())
    }
}

/// Reads `count` buffers at `at` and checks each. `Inval` for too many or for more than 32 bits in all.
pub(crate) fn iovecs(at: u32, count: u32, memory: &dyn GuestMemory) -> Result<Iovecs, Errno> {
    memory.check(at, u64::from(count) * 8)?;
    if count > IOVECS_MAX {
        return Err(Errno::Inval);
    }
    let mut list = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut total = 0_u32;
    for index in 0..count {
        let mut record = [0; 8];
        memory.read(at + index * 8, &mut record)?;
        let [a, b, c, d, e, f, g, h] = record;
        let iovec = Iovec { at: u32::from_le_bytes([a, b, c, d]), len: u32::from_le_bytes([e, f, g, h]) };
        memory.check(iovec.at, u64::from(iovec.len))?;
        total = total.checked_add(iovec.len).ok_or(Errno::Inval)?;
        list.push(iovec);
    }
    Ok(Iovecs { list, total })
}

/// How many buffers of a list are read and what they hold together, for the price of a call. A list that is refused
/// unread is free; one with a buffer that is refused costs the reading of it and none of the bytes, which stay where
/// they are.
pub(crate) fn iovecs_priced(at: u32, count: u32, memory: &dyn GuestMemory) -> (u32, u64) {
    if count > IOVECS_MAX || memory.check(at, u64::from(count) * 8).is_err() {
        return (0, 0);
    }
    match iovecs(at, count, memory) {
        Ok(buffers) => (count, u64::from(buffers.total)),
        Err(_) => (count, 0),
    }
}

/// Reads a path or link target of at most `max` bytes: UTF-8.
pub(crate) fn string(at: u32, len: u32, max: usize, memory: &dyn GuestMemory) -> Result<String, Errno> {
    memory.check(at, u64::from(len))?;
    let len = usize::try_from(len).map_err(|_| Errno::NameTooLong)?;
    if len > max {
        return Err(Errno::NameTooLong);
    }
    let mut bytes = vec![0; len];
    memory.read(at, &mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Errno::IlSeq)
}

/// Stores a 32-bit value.
pub(crate) fn store32(at: u32, value: u32, memory: &mut dyn GuestMemory) -> Result<(), Errno> {
    Ok(memory.write(at, &value.to_le_bytes())?)
}

/// Stores a 64-bit value.
pub(crate) fn store64(at: u32, value: u64, memory: &mut dyn GuestMemory) -> Result<(), Errno> {
    Ok(memory.write(at, &value.to_le_bytes())?)
}
