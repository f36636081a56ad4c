//! The calls that begin with a descriptor.

use crate::{
    Call, Errno, GuestMemory, Halt, Said, Turn, Wasi,
    clock::EPOCH_NS,
    fd::{FLAG_APPEND, FLAGS, What, rights},
    fs::{Body, Ino, Kind},
    layout::{self, Args, DIRENT, FDSTAT, FILESTAT, Filestat, Iovecs, PIECE, PRESTAT, store32, store64},
};
use samebit_spec::content::BlobRef;

/// Which times a `set_times` call sets: the given one, or now.
const ATIM: u32 = 1;
const ATIM_NOW: u32 = 2;
const MTIM: u32 = 4;
const MTIM_NOW: u32 = 8;

/// The times that flags ask for: access, modification.
pub(crate) fn times(atim: u64, mtim: u64, flags: u32, now: u64) -> Result<(Option<u64>, Option<u64>), Errno> {
    let pick = |given: u32, current: u32, time: u64| match (flags & given != 0, flags & current != 0) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(Some(time)),
        (false, true) => Ok(Some(now)),
        (false, false) => Ok(None),
    };
    if flags & !(ATIM | ATIM_NOW | MTIM | MTIM_NOW) != 0 {
        return Err(Errno::Inval);
    }
    Ok((pick(ATIM, ATIM_NOW, atim)?, pick(MTIM, MTIM_NOW, mtim)?))
}

impl Wasi {
    /// `(fd, offset, length, advice)`. There is nothing to be advised of.
    pub(crate) fn fd_advise(&self, args: Args<'_>) -> Result<(), Halt> {
        self.fds.get(args.int(0))?.file(rights::FD_ADVISE).map_err(not_seekable)?;
        args.long(1).checked_add(args.long(2)).ok_or(Errno::Inval)?;
        if args.int(3) > 5 { Err(Errno::Inval.into()) } else { Ok(()) }
    }

    /// `(fd, offset, length)`.
    pub(crate) fn fd_allocate(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let (ino, _) = self.fds.get(args.int(0))?.file(rights::FD_ALLOCATE).map_err(not_seekable)?;
        if args.long(2) == 0 {
            return Err(Errno::Inval.into());
        }
        let end = args.long(1).checked_add(args.long(2)).ok_or(Errno::FBig)?;
        if end <= self.fs.inode(ino)?.size() {
            return Ok(self.fs.writable(ino)?);
        }
        self.resize(ino, end, turn)
    }

    /// `(fd)`.
    pub(crate) fn fd_close(&mut self, args: Args<'_>) -> Result<(), Halt> {
        let closed = self.fds.close(args.int(0))?;
        self.reap(closed.what.ino());
        Ok(())
    }

    /// `(fd)`. Nothing is cached, so nothing is to do.
    pub(crate) fn fd_sync(&self, args: Args<'_>, right: u64) -> Result<(), Halt> {
        Ok(self.fds.get(args.int(0))?.need(right)?)
    }

    /// `(fd, fdstat)`.
    pub(crate) fn fd_fdstat_get(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(1), FDSTAT)?;
        let fd = self.fds.get(args.int(0))?;
        let mut bytes = [0; 24];
        bytes[0] = match fd.what {
            // Not a terminal, whatever the host's own streams are.
            What::Stdin { .. } | What::Stdout | What::Stderr => layout::TYPE_UNKNOWN,
            What::File { .. } => layout::TYPE_REGULAR,
            What::Dir { .. } => layout::TYPE_DIRECTORY,
        };
        bytes[2..4].copy_from_slice(&fd.flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&fd.base.to_le_bytes());
        bytes[16..24].copy_from_slice(&fd.inheriting.to_le_bytes());
        Ok(turn.memory.write(args.int(1), &bytes)?)
    }

    /// `(fd, flags)`.
    pub(crate) fn fd_fdstat_set_flags(&mut self, args: Args<'_>) -> Result<(), Halt> {
        let fd = self.fds.get_mut(args.int(0))?;
        fd.need(rights::FD_FDSTAT_SET_FLAGS)?;
        fd.flags = flags(args.int(1))?;
        Ok(())
    }

    /// `(fd, base, inheriting)`. Rights are only ever given up.
    pub(crate) fn fd_fdstat_set_rights(&mut self, args: Args<'_>) -> Result<(), Halt> {
        let fd = self.fds.get_mut(args.int(0))?;
        let (base, inheriting) = (args.long(1), args.long(2));
        if base & !fd.base != 0 || inheriting & !fd.inheriting != 0 {
            return Err(Errno::NotCapable.into());
        }
        fd.base = base;
        fd.inheriting = inheriting;
        Ok(())
    }

    /// `(fd, filestat)`.
    pub(crate) fn fd_filestat_get(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(1), FILESTAT)?;
        let fd = self.fds.get(args.int(0))?;
        fd.need(rights::FD_FILESTAT_GET)?;
        let stat = match fd.what {
            What::File { ino, .. } | What::Dir { ino } => Filestat::of(ino, self.fs.inode(ino)?),
            What::Stdin { .. } | What::Stdout | What::Stderr => {
                Filestat { dev: 0, ino: 0, file_type: layout::TYPE_UNKNOWN, nlink: 1, size: 0, times: [EPOCH_NS; 3] }
            }
        };
        Ok(stat.store(args.int(1), turn.memory)?)
    }

    /// `(fd, size)`.
    pub(crate) fn fd_filestat_set_size(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let fd = self.fds.get(args.int(0))?;
        let (ino, _) = fd.file(rights::FD_FILESTAT_SET_SIZE).map_err(not_seekable)?;
        self.resize(ino, place(args.long(1))?, turn)
    }

    /// `(fd, atim, mtim, flags)`.
    pub(crate) fn fd_filestat_set_times(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let fd = self.fds.get(args.int(0))?;
        fd.need(rights::FD_FILESTAT_SET_TIMES)?;
        let ino = fd.what.ino().ok_or(Errno::Inval)?;
        let (atim, mtim) = times(args.long(1), args.long(2), args.int(3), turn.now)?;
        Ok(self.fs.set_times(ino, atim, mtim, turn.now)?)
    }

    /// `(fd, buffers, count, offset, read)`.
    pub(crate) fn fd_pread(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let buffers = layout::iovecs(args.int(1), args.int(2), turn.memory)?;
        turn.memory.check(args.int(4), 4)?;
        let (ino, _) = self.fds.get(args.int(0))?.file(rights::FD_READ | rights::FD_SEEK)?;
        let read = self.read_file(ino, place(args.long(3))?, &buffers, turn)?;
        Ok(store32(args.int(4), read, turn.memory)?)
    }

    /// `(fd, buffers, count, read)`.
    pub(crate) fn fd_read(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let buffers = layout::iovecs(args.int(1), args.int(2), turn.memory)?;
        turn.memory.check(args.int(3), 4)?;
        let fd = self.fds.get(args.int(0))?;
        let (read, offset) = match fd.what {
            What::Dir { .. } => return Err(Errno::IsDir.into()),
            What::Stdout | What::Stderr => return Err(Errno::NotCapable.into()),
            What::Stdin { offset } => {
                fd.need(rights::FD_READ)?;
                (self.scatter(&self.setup.stdin, offset, &buffers, turn)?, offset)
            }
            What::File { ino, offset } => {
                fd.need(rights::FD_READ)?;
                (self.read_file(ino, offset, &buffers, turn)?, offset)
            }
        };
        self.fds.seek(args.int(0), offset.saturating_add(u64::from(read)))?;
        Ok(store32(args.int(3), read, turn.memory)?)
    }

    /// `(fd, buffers, count, offset, written)`.
    pub(crate) fn fd_pwrite(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let buffers = layout::iovecs(args.int(1), args.int(2), turn.memory)?;
        turn.memory.check(args.int(4), 4)?;
        let (ino, _) = self.fds.get(args.int(0))?.file(rights::FD_WRITE | rights::FD_SEEK)?;
        self.write_file(ino, place(args.long(3))?, &buffers, turn)?;
        Ok(store32(args.int(4), buffers.total, turn.memory)?)
    }

    /// `(fd, buffers, count, written)`. All of it is written or nothing.
    pub(crate) fn fd_write(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let buffers = layout::iovecs(args.int(1), args.int(2), turn.memory)?;
        turn.memory.check(args.int(3), 4)?;
        let fd = self.fds.get(args.int(0))?;
        match fd.what {
            What::Dir { .. } => return Err(Errno::IsDir.into()),
            What::Stdin { .. } => return Err(Errno::NotCapable.into()),
            What::Stdout => {
                fd.need(rights::FD_WRITE)?;
                self.stdout.append(&buffers, self.setup.limits.stdout.0, turn.memory)?;
            }
            What::Stderr => {
                fd.need(rights::FD_WRITE)?;
                self.keep_stderr(&buffers, turn)?;
            }
            What::File { ino, offset } => {
                fd.need(rights::FD_WRITE)?;
                let offset = if fd.flags & FLAG_APPEND == 0 { offset } else { self.fs.inode(ino)?.size() };
                self.write_file(ino, offset, &buffers, turn)?;
                self.fds.seek(args.int(0), offset.saturating_add(u64::from(buffers.total)))?;
            }
        }
        Ok(store32(args.int(3), buffers.total, turn.memory)?)
    }

    /// `(fd, prestat)`.
    pub(crate) fn fd_prestat_get(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(1), PRESTAT)?;
        let path = self.fds.get(args.int(0))?.preopen.as_ref().ok_or(Errno::BadF)?;
        let mut bytes = [0; 8];
        bytes[4..].copy_from_slice(&layout::low32(path.len() as u64).to_le_bytes());
        Ok(turn.memory.write(args.int(1), &bytes)?)
    }

    /// `(fd, buffer, length)`.
    pub(crate) fn fd_prestat_dir_name(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(1), u64::from(args.int(2)))?;
        let path = self.fds.get(args.int(0))?.preopen.as_ref().ok_or(Errno::NotDir)?;
        if path.len() as u64 > u64::from(args.int(2)) {
            return Err(Errno::NameTooLong.into());
        }
        Ok(turn.memory.write(args.int(1), path.as_bytes())?)
    }

    /// `(fd, buffer, length, cookie, used)`. The last record is cut where the buffer ends.
    pub(crate) fn fd_readdir(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let (at, len, cookie) = (args.int(1), args.int(2), args.long(3));
        turn.memory.check(at, u64::from(len))?;
        turn.memory.check(args.int(4), 4)?;
        let ino = self.fds.get(args.int(0))?.dir(rights::FD_READDIR)?;
        let dir = self.fs.dir(ino)?;
        let dots = [(1, ".", ino), (2, "..", dir.parent)];
        let entries = dots
            .into_iter()
            .filter(|(next, _, _)| *next > cookie)
            .chain(dir.after(cookie).map(|(name, entry)| (entry.cookie, name, entry.ino)));
        let mut used = 0_u32;
        for (next, name, ino) in entries {
            if used == len {
                break;
            }
            let mut record = Vec::with_capacity(DIRENT + name.len());
            record.extend_from_slice(&next.to_le_bytes());
            record.extend_from_slice(&ino.to_le_bytes());
            record.extend_from_slice(&layout::low32(name.len() as u64).to_le_bytes());
            record.extend_from_slice(&[layout::file_type(self.fs.inode(ino)?), 0, 0, 0]);
            record.extend_from_slice(name.as_bytes());
            let room = usize::try_from(len - used).unwrap_or(usize::MAX);
            record.truncate(room);
            turn.memory.write(at + used, &record)?;
            used += layout::low32(record.len() as u64);
        }
        Ok(store32(args.int(4), used, turn.memory)?)
    }

    /// `(from, to)`. Both are open; `to` is closed.
    pub(crate) fn fd_renumber(&mut self, args: Args<'_>) -> Result<(), Halt> {
        if let Some(closed) = self.fds.renumber(args.int(0), args.int(1))? {
            self.reap(closed.what.ino());
        }
        Ok(())
    }

    /// `(fd, delta, whence, offset)`.
    pub(crate) fn fd_seek(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(3), 8)?;
        let delta = args.long(1).cast_signed();
        // Asking where one is needs less than moving.
        let right = if delta == 0 && args.int(2) == 1 { rights::FD_TELL } else { rights::FD_SEEK };
        let fd = self.fds.get(args.int(0))?;
        let (ino, offset) = match fd.file(right) {
            Err(Errno::NotCapable) => fd.file(rights::FD_SEEK)?,
            other => other?,
        };
        let from = match args.int(2) {
            0 => 0,
            1 => offset,
            2 => self.fs.inode(ino)?.size(),
            _ => return Err(Errno::Inval.into()),
        };
        let to = from.checked_add_signed(delta).ok_or(Errno::Inval)?;
        self.fds.seek(args.int(0), place(to)?)?;
        Ok(store64(args.int(3), to, turn.memory)?)
    }

    /// `(fd, offset)`.
    pub(crate) fn fd_tell(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(1), 8)?;
        let fd = self.fds.get(args.int(0))?;
        let (_, offset) = match fd.file(rights::FD_TELL) {
            Err(Errno::NotCapable) => fd.file(rights::FD_SEEK)?,
            other => other?,
        };
        Ok(store64(args.int(1), offset, turn.memory)?)
    }

    /// Bytes that a call adds to what the guest's files hold, those that it takes from memory aside: holes, copies of
    /// mounted files, further names. A call that will be refused adds none.
    pub(crate) fn growth(&self, call: Call, args: Args<'_>, memory: &dyn GuestMemory) -> u64 {
        self.grown(call, args, memory).unwrap_or(0)
    }

    fn grown(&self, call: Call, args: Args<'_>, memory: &dyn GuestMemory) -> Option<u64> {
        let file = |right| self.fds.get(args.int(0)).ok()?.file(right).ok();
        match call {
            Call::FdFilestatSetSize => self.fs.growth(file(rights::FD_FILESTAT_SET_SIZE)?.0, args.long(1)),
            Call::FdAllocate => {
                let (ino, _) = file(rights::FD_ALLOCATE)?;
                let (size, end) = (self.fs.inode(ino).ok()?.size(), args.long(1).checked_add(args.long(2))?);
                if end > size { self.fs.growth(ino, end) } else { None }
            }
            Call::FdWrite | Call::FdPwrite => {
                let (ino, offset) = file(rights::FD_WRITE)?;
                let size = self.fs.inode(ino).ok()?.size();
                let append = self.fds.get(args.int(0)).ok()?.flags & FLAG_APPEND != 0;
                let offset = match call {
                    Call::FdPwrite => args.long(3),
                    _ if append => size,
                    _ => offset,
                };
                let total = layout::iovecs_priced(args.int(1), args.int(2), memory).1;
                if total == 0 {
                    return None;
                }
                let end = offset.checked_add(total)?;
                Some(self.fs.growth(ino, end.max(size))?.saturating_sub(total))
            }
            Call::PathLink => self.linked(args, memory),
            _ => None,
        }
    }

    /// Ways to pieces of mounted content that a call takes and that are paid for: in a world that mounts more than is
    /// held, to each piece whose beginning is read, to the one that `fd_seek` goes to and to each that `fd_pread` reads.
    pub(crate) fn loads(&self, call: Call, args: Args<'_>, memory: &dyn GuestMemory) -> u64 {
        if self.setup.exceeds { self.ways(call, args, memory).unwrap_or(0) } else { 0 }
    }

    fn ways(&self, call: Call, args: Args<'_>, memory: &dyn GuestMemory) -> Option<u64> {
        let fd = match call {
            Call::FdRead | Call::FdPread | Call::FdSeek => self.fds.get(args.int(0)).ok()?,
            _ => return None,
        };
        let (len, offset) = match fd.what {
            What::Stdin { offset } => (self.setup.stdin.len.0, offset),
            What::File { ino, offset } => match &self.fs.inode(ino).ok()?.kind {
                Kind::File(Body::Mounted(blob)) => (blob.len.0, offset),
                _ => return None,
            },
            What::Stdout | What::Stderr | What::Dir { .. } => return None,
        };
        if call == Call::FdSeek {
            return Some(1);
        }
        let offset = if call == Call::FdPread { args.long(3) } else { offset };
        let total = layout::iovecs_priced(args.int(1), args.int(2), memory).1;
        let end = offset.saturating_add(total).min(len);
        if offset >= end {
            return Some(0);
        }
        let through = end.div_ceil(crate::PIECE);
        // In the middle of a piece a file is where it came to by a way that was paid for.
        let from = if call == Call::FdPread { offset / crate::PIECE } else { offset.div_ceil(crate::PIECE) };
        Some(through.saturating_sub(from))
    }

    /// Lets go of an inode that has neither name nor descriptor any more.
    pub(crate) fn reap(&mut self, ino: Option<Ino>) {
        if let Some(ino) = ino
            && !self.fds.holds(ino)
        {
            self.fs.forget(ino);
        }
    }

    /// Sets a file's length.
    pub(crate) fn resize(&mut self, ino: Ino, len: u64, turn: &Turn<'_>) -> Result<(), Halt> {
        let shelf = &self.shelf;
        // Of a mounted file that is cut no byte behind its new end is had.
        self.fs.resize(ino, len, turn.now, |blob| shelf.copy(blob, len, turn.content))?;
        Ok(())
    }

    fn read_file(&self, ino: Ino, offset: u64, buffers: &Iovecs, turn: &mut Turn<'_>) -> Result<u32, Halt> {
        let Kind::File(body) = &self.fs.inode(ino)?.kind else { return Err(Errno::IsDir.into()) };
        match body {
            Body::Mounted(blob) => self.scatter(blob, offset, buffers, turn),
            Body::Own(data) => {
                let mut piece = vec![0; PIECE.min(usize::try_from(buffers.total).unwrap_or(PIECE))];
                let mut done = 0_u32;
                for buffer in &buffers.list {
                    let mut filled = 0;
                    while filled < buffer.len {
                        let part = piece.len().min(usize::try_from(buffer.len - filled).unwrap_or(usize::MAX));
                        let read = data.read(offset.saturating_add(u64::from(done)), &mut piece[..part]);
                        if read == 0 {
                            return Ok(done);
                        }
                        turn.memory.write(buffer.at + filled, &piece[..read])?;
                        let read = layout::low32(read as u64);
                        filled += read;
                        done += read;
                    }
                }
                Ok(done)
            }
        }
    }

    /// Copies a mounted blob from `offset` into the buffers; returns how many bytes there were.
    fn scatter(&self, blob: &BlobRef, offset: u64, buffers: &Iovecs, turn: &mut Turn<'_>) -> Result<u32, Halt> {
        let mut done = 0_u32;
        for buffer in &buffers.list {
            let mut filled = 0;
            while filled < buffer.len {
                let from = offset.saturating_add(u64::from(done));
                if from >= blob.len.0 {
                    return Ok(done);
                }
                let (bytes, start) = self.shelf.at(blob, from, turn.content)?;
                let part = (bytes.len() - start).min(usize::try_from(buffer.len - filled).unwrap_or(usize::MAX));
                turn.memory.write(buffer.at + filled, &bytes[start..start + part])?;
                let part = layout::low32(part as u64);
                filled += part;
                done += part;
            }
        }
        Ok(done)
    }

    fn write_file(&mut self, ino: Ino, offset: u64, buffers: &Iovecs, turn: &mut Turn<'_>) -> Result<(), Halt> {
        self.fs.writable(ino)?;
        if buffers.total == 0 {
            return Ok(());
        }
        let end = offset.checked_add(u64::from(buffers.total)).ok_or(Errno::FBig)?;
        let len = end.max(self.fs.inode(ino)?.size());
        let shelf = &self.shelf;
        let data = self.fs.resize(ino, len, turn.now, |blob| shelf.copy(blob, len, turn.content))?;
        let mut at = offset;
        buffers.pieces(turn.memory, |piece| {
            data.write(at, piece);
            at += piece.len() as u64;
        })?;
        Ok(())
    }

    /// Keeps what there is room for; the rest is dropped, and the guest is told that all was written.
    fn keep_stderr(&mut self, buffers: &Iovecs, turn: &mut Turn<'_>) -> Result<(), Halt> {
        if let Some(said) = Said::of(buffers, turn.memory)? {
            self.said = Some(said);
            return Ok(());
        }
        let kept = self.setup.stderr_kept;
        let stderr = &mut self.stderr;
        buffers.pieces(turn.memory, |piece| {
            let room = kept.saturating_sub(stderr.len()).min(piece.len());
            stderr.extend_from_slice(&piece[..room]);
        })?;
        Ok(())
    }
}

/// An offset: a signed number to every program that keeps one.
fn place(offset: u64) -> Result<u64, Errno> {
    i64::try_from(offset).map_or(Err(Errno::Inval), |_| Ok(offset))
}

/// The descriptor flags of an argument.
pub(crate) fn flags(given: u32) -> Result<u16, Errno> {
    if given & !FLAGS != 0 {
        return Err(Errno::Inval);
    }
    u16::try_from(given).map_err(|_| Errno::Inval)
}

/// What POSIX answers for a folder where a file's content is meant.
const fn not_seekable(errno: Errno) -> Errno {
    match errno {
        Errno::IsDir => Errno::BadF,
        other => other,
    }
}
