//! The calls that walk a path.

use crate::{
    Errno, GuestMemory, Halt, Turn, Wasi,
    data::Data,
    fd::{Fd, What, rights},
    fs::{Body, Ino, Kind},
    functions_fd,
    layout::{self, Args, FILESTAT, Filestat, store32},
    path::{self, LastLink, PATH_MAX, Place},
};
use std::sync::Arc;

/// `lookupflags`: a link at the end of the path is followed.
const FOLLOW: u32 = 1;
/// `oflags`.
const CREAT: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCL: u32 = 4;
const TRUNC: u32 = 8;

impl Wasi {
    /// Walks the path at `at` from descriptor `fd`, which needs `right`.
    fn walk(
        &self,
        fd: u32,
        right: u64,
        (at, len): (u32, u32),
        last: LastLink,
        turn: &Turn<'_>,
    ) -> Result<Place, Errno> {
        turn.memory.check(at, u64::from(len))?;
        let dir = self.fds.get(fd)?.dir(right)?;
        let path = layout::string(at, len, PATH_MAX, turn.memory)?;
        path::walk(&self.fs, dir, &path, last)
    }

    /// `(fd, path, length)`.
    pub(crate) fn path_create_directory(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let right = rights::PATH_CREATE_DIRECTORY;
        let place = self.walk(args.int(0), right, (args.int(1), args.int(2)), LastLink::Taken, turn)?;
        let name = free_name(&place)?;
        self.fs.create_dir(place.dir, name, turn.now)?;
        Ok(())
    }

    /// `(fd, flags, path, length, filestat)`.
    pub(crate) fn path_filestat_get(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(2), u64::from(args.int(3)))?;
        turn.memory.check(args.int(4), FILESTAT)?;
        self.fds.get(args.int(0))?.dir(rights::PATH_FILESTAT_GET)?;
        let last = last_link(args.int(1))?;
        let place = self.walk(args.int(0), rights::PATH_FILESTAT_GET, (args.int(2), args.int(3)), last, turn)?;
        let ino = place.there()?;
        Ok(Filestat::of(ino, self.fs.inode(ino)?).store(args.int(4), turn.memory)?)
    }

    /// `(fd, flags, path, length, atim, mtim, which)`.
    pub(crate) fn path_filestat_set_times(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let right = rights::PATH_FILESTAT_SET_TIMES;
        turn.memory.check(args.int(2), u64::from(args.int(3)))?;
        self.fds.get(args.int(0))?.dir(right)?;
        let last = last_link(args.int(1))?;
        let (atim, mtim) = functions_fd::times(args.long(4), args.long(5), args.int(6), turn.now)?;
        let place = self.walk(args.int(0), right, (args.int(2), args.int(3)), last, turn)?;
        Ok(self.fs.set_times(place.there()?, atim, mtim, turn.now)?)
    }

    /// `(fd, flags, path, length, new_fd, new_path, new_length)`.
    pub(crate) fn path_link(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(5), u64::from(args.int(6)))?;
        let old = (args.int(2), args.int(3));
        turn.memory.check(old.0, u64::from(old.1))?;
        self.fds.get(args.int(0))?.dir(rights::PATH_LINK_SOURCE)?;
        self.fds.get(args.int(4))?.dir(rights::PATH_LINK_TARGET)?;
        let last = last_link(args.int(1))?;
        let old = self.walk(args.int(0), rights::PATH_LINK_SOURCE, old, last, turn)?;
        let new = (args.int(5), args.int(6));
        let new = self.walk(args.int(4), rights::PATH_LINK_TARGET, new, LastLink::Keep, turn)?;
        let ino = old.there()?;
        let name = free_file_name(&new)?;
        Ok(self.fs.link(ino, new.dir, name, turn.now)?)
    }

    /// Bytes of the file that `path_link` would give a further name.
    pub(crate) fn linked(&self, args: Args<'_>, memory: &dyn GuestMemory) -> Option<u64> {
        let last = last_link(args.int(1)).ok()?;
        let dir = self.fds.get(args.int(0)).ok()?.dir(rights::PATH_LINK_SOURCE).ok()?;
        let path = layout::string(args.int(2), args.int(3), PATH_MAX, memory).ok()?;
        let ino = path::walk(&self.fs, dir, &path, last).ok()?.ino?;
        self.fs.writable(ino).ok()?;
        Some(self.fs.inode(ino).ok()?.size())
    }

    /// `(fd, dirflags, path, length, oflags, base, inheriting, fdflags, opened)`.
    pub(crate) fn path_open(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(2), u64::from(args.int(3)))?;
        turn.memory.check(args.int(8), 4)?;
        let holder = self.fds.get(args.int(0))?;
        holder.dir(rights::PATH_OPEN)?;
        let how = Opening::of(args)?;
        holder.need(how.rights())?;
        // Bits that are no right on files or folders (sockets') are let go rather than refused.
        let known = rights::FILE | rights::DIR;
        if (how.base | how.inheriting) & known & !holder.inheriting != 0 {
            return Err(Errno::NotCapable.into());
        }
        self.fds.room()?;
        let place = self.walk(args.int(0), rights::PATH_OPEN, (args.int(2), args.int(3)), how.last_link(), turn)?;
        let ino = match place.ino {
            Some(ino) => self.open_there(ino, &place, &how, turn)?,
            None => self.open_new(&place, &how, turn)?,
        };
        let is_dir = matches!(self.fs.inode(ino)?.kind, Kind::Dir(_));
        let opened = self.fds.open(Fd {
            what: if is_dir { What::Dir { ino } } else { What::File { ino, offset: 0 } },
            base: how.base & if is_dir { rights::DIR } else { rights::FILE },
            inheriting: if is_dir { how.inheriting & known } else { 0 },
            flags: how.flags,
            preopen: None,
        })?;
        Ok(store32(args.int(8), opened, turn.memory)?)
    }

    fn open_there(&mut self, ino: Ino, place: &Place, how: &Opening, turn: &Turn<'_>) -> Result<Ino, Halt> {
        if how.has(CREAT | EXCL) {
            return Err(Errno::Exist.into());
        }
        let writes = how.base & rights::FD_WRITE != 0 || how.has(TRUNC);
        match self.fs.inode(ino)?.kind {
            Kind::Link(_) => return Err(Errno::Loop.into()),
            Kind::Dir(_) if writes || how.has(CREAT) => return Err(Errno::IsDir.into()),
            Kind::Dir(_) => {}
            Kind::File(_) => {
                if how.has(DIRECTORY) || place.wants_dir {
                    return Err(Errno::NotDir.into());
                }
                if writes {
                    self.fs.writable(ino)?;
                }
                if how.has(TRUNC) {
                    self.resize(ino, 0, turn)?;
                }
            }
        }
        Ok(ino)
    }

    fn open_new(&mut self, place: &Place, how: &Opening, turn: &Turn<'_>) -> Result<Ino, Halt> {
        if !how.has(CREAT) {
            return Err(Errno::NoEnt.into());
        }
        let name = match &place.name {
            Some(name) if !place.wants_dir => name,
            Some(_) | None => return Err(Errno::IsDir.into()),
        };
        Ok(self.fs.create(place.dir, name, Kind::File(Body::Own(Data::default())), turn.now)?)
    }

    /// `(fd, path, length, buffer, size, used)`. The target is cut where the buffer ends.
    pub(crate) fn path_readlink(&self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(3), u64::from(args.int(4)))?;
        turn.memory.check(args.int(5), 4)?;
        let path = (args.int(1), args.int(2));
        let place = self.walk(args.int(0), rights::PATH_READLINK, path, LastLink::Stay, turn)?;
        let Kind::Link(target) = &self.fs.inode(place.there()?)?.kind else { return Err(Errno::Inval.into()) };
        let target = target.as_bytes();
        let part = target.len().min(usize::try_from(args.int(4)).unwrap_or(usize::MAX));
        turn.memory.write(args.int(3), &target[..part])?;
        Ok(store32(args.int(5), layout::low32(part as u64), turn.memory)?)
    }

    /// `(fd, path, length)`.
    pub(crate) fn path_remove_directory(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let right = rights::PATH_REMOVE_DIRECTORY;
        let place = self.walk(args.int(0), right, (args.int(1), args.int(2)), LastLink::Keep, turn)?;
        place.there()?;
        let name = place.name.as_deref().ok_or(Errno::Inval)?;
        let removed = self.fs.remove_dir(place.dir, name, turn.now)?;
        self.reap(Some(removed));
        Ok(())
    }

    /// `(fd, path, length, new_fd, new_path, new_length)`.
    pub(crate) fn path_rename(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(4), u64::from(args.int(5)))?;
        let old = (args.int(1), args.int(2));
        turn.memory.check(old.0, u64::from(old.1))?;
        self.fds.get(args.int(0))?.dir(rights::PATH_RENAME_SOURCE)?;
        self.fds.get(args.int(3))?.dir(rights::PATH_RENAME_TARGET)?;
        let old = self.walk(args.int(0), rights::PATH_RENAME_SOURCE, old, LastLink::Keep, turn)?;
        let new = (args.int(4), args.int(5));
        let new = self.walk(args.int(3), rights::PATH_RENAME_TARGET, new, LastLink::Keep, turn)?;
        let (Some(from), Some(to)) = (&old.name, &new.name) else { return Err(Errno::Busy.into()) };
        let ino = old.there()?;
        if new.wants_dir && !matches!(self.fs.inode(ino)?.kind, Kind::Dir(_)) {
            return Err(Errno::NotDir.into());
        }
        let replaced = self.fs.rename((old.dir, from), (new.dir, to), turn.now)?;
        self.reap(replaced);
        Ok(())
    }

    /// `(target, target_length, fd, path, length)`.
    pub(crate) fn path_symlink(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        turn.memory.check(args.int(0), u64::from(args.int(1)))?;
        let path = (args.int(3), args.int(4));
        let place = self.walk(args.int(2), rights::PATH_SYMLINK, path, LastLink::Keep, turn)?;
        let target = layout::string(args.int(0), args.int(1), PATH_MAX, turn.memory)?;
        if target.is_empty() {
            return Err(Errno::NoEnt.into());
        }
        if target.contains('\0') {
            return Err(Errno::Inval.into());
        }
        if target.starts_with('/') {
            return Err(Errno::Perm.into());
        }
        let name = free_file_name(&place)?;
        self.fs.create(place.dir, name, Kind::Link(Arc::from(target)), turn.now)?;
        Ok(())
    }

    /// `(fd, path, length)`.
    pub(crate) fn path_unlink_file(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let right = rights::PATH_UNLINK_FILE;
        let place = self.walk(args.int(0), right, (args.int(1), args.int(2)), LastLink::Keep, turn)?;
        place.there()?;
        let name = place.name.as_deref().ok_or(Errno::IsDir)?;
        let removed = self.fs.unlink(place.dir, name, turn.now)?;
        self.reap(Some(removed));
        Ok(())
    }
}

/// What `path_open` is asked for.
struct Opening {
    follow: bool,
    oflags: u32,
    base: u64,
    inheriting: u64,
    flags: u16,
}

impl Opening {
    fn of(args: Args<'_>) -> Result<Self, Errno> {
        let oflags = args.int(4);
        // A folder is made by another call, and has no bytes to cut.
        let known = oflags & !(CREAT | DIRECTORY | EXCL | TRUNC) == 0;
        if !known || oflags & DIRECTORY != 0 && oflags & (CREAT | TRUNC) != 0 {
            return Err(Errno::Inval);
        }
        Ok(Self {
            follow: last_link(args.int(1))? == LastLink::Follow,
            oflags,
            base: args.long(5),
            inheriting: args.long(6),
            flags: functions_fd::flags(args.int(7))?,
        })
    }

    const fn has(&self, oflags: u32) -> bool {
        self.oflags & oflags == oflags
    }

    /// What the folder's descriptor must allow.
    fn rights(&self) -> u64 {
        let create = if self.has(CREAT) { rights::PATH_CREATE_FILE } else { 0 };
        let trunc = if self.has(TRUNC) { rights::PATH_FILESTAT_SET_SIZE } else { 0 };
        rights::PATH_OPEN | create | trunc
    }

    fn last_link(&self) -> LastLink {
        if self.follow && !self.has(CREAT | EXCL) { LastLink::Follow } else { LastLink::Stay }
    }
}

fn last_link(flags: u32) -> Result<LastLink, Errno> {
    match flags {
        0 => Ok(LastLink::Stay),
        FOLLOW => Ok(LastLink::Follow),
        _ => Err(Errno::Inval),
    }
}

/// The last name of a path under which nothing is yet.
fn free_name(place: &Place) -> Result<&str, Errno> {
    match (&place.name, place.ino) {
        (Some(name), None) => Ok(name),
        (Some(_) | None, _) => Err(Errno::Exist),
    }
}

/// The same for what is no folder: a slash at the end names a folder that is not there.
fn free_file_name(place: &Place) -> Result<&str, Errno> {
    let name = free_name(place)?;
    if place.wants_dir { Err(Errno::NoEnt) } else { Ok(name) }
}
