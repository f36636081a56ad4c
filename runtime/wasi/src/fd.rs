//! Descriptors: what each stands for, what its holder may do, and the lowest free number.

use crate::{
    Errno,
    fs::{Ino, Root},
};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// Most descriptors open at once. Source: the usual soft limit of Unix systems.
pub(crate) const FDS_MAX: usize = 1024;

/// Rights of preview1, one bit each.
pub(crate) mod rights {
    pub(crate) const FD_DATASYNC: u64 = 1 << 0;
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub(crate) const FD_SYNC: u64 = 1 << 4;
    pub(crate) const FD_TELL: u64 = 1 << 5;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const FD_ADVISE: u64 = 1 << 7;
    pub(crate) const FD_ALLOCATE: u64 = 1 << 8;
    pub(crate) const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
    pub(crate) const PATH_CREATE_FILE: u64 = 1 << 10;
    pub(crate) const PATH_LINK_SOURCE: u64 = 1 << 11;
    pub(crate) const PATH_LINK_TARGET: u64 = 1 << 12;
    pub(crate) const PATH_OPEN: u64 = 1 << 13;
    pub(crate) const FD_READDIR: u64 = 1 << 14;
    pub(crate) const PATH_READLINK: u64 = 1 << 15;
    pub(crate) const PATH_RENAME_SOURCE: u64 = 1 << 16;
    pub(crate) const PATH_RENAME_TARGET: u64 = 1 << 17;
    pub(crate) const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub(crate) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub(crate) const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
    pub(crate) const FD_FILESTAT_GET: u64 = 1 << 21;
    pub(crate) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub(crate) const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    pub(crate) const PATH_SYMLINK: u64 = 1 << 24;
    pub(crate) const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    pub(crate) const PATH_UNLINK_FILE: u64 = 1 << 26;
    pub(crate) const POLL_FD_READWRITE: u64 = 1 << 27;

    /// What a regular file can be opened for.
    pub(crate) const FILE: u64 = FD_DATASYNC
        | FD_READ
        | FD_SEEK
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_TELL
        | FD_WRITE
        | FD_ADVISE
        | FD_ALLOCATE
        | FD_FILESTAT_GET
        | FD_FILESTAT_SET_SIZE
        | FD_FILESTAT_SET_TIMES
        | POLL_FD_READWRITE;

    /// What a folder can be opened for.
    pub(crate) const DIR: u64 = FD_DATASYNC
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_LINK_SOURCE
        | PATH_LINK_TARGET
        | PATH_OPEN
        | FD_READDIR
        | PATH_READLINK
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_GET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_GET
        | FD_FILESTAT_SET_TIMES
        | PATH_SYMLINK
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE
        | POLL_FD_READWRITE;

    pub(crate) const STDIN: u64 = FD_READ | FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | POLL_FD_READWRITE;
    pub(crate) const STDOUT: u64 =
        FD_WRITE | FD_DATASYNC | FD_SYNC | FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | POLL_FD_READWRITE;
}

/// Descriptor flag: every write goes to the end.
pub(crate) const FLAG_APPEND: u16 = 1;
/// All descriptor flags. The others have no effect: nothing blocks and nothing is cached.
pub(crate) const FLAGS: u32 = 31;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum What {
    Stdin { offset: u64 },
    Stdout,
    Stderr,
    File { ino: Ino, offset: u64 },
    Dir { ino: Ino },
}

impl What {
    /// The inode it holds, if any.
    pub(crate) const fn ino(self) -> Option<Ino> {
        match self {
            Self::Stdin { .. } | Self::Stdout | Self::Stderr => None,
            Self::File { ino, .. } | Self::Dir { ino } => Some(ino),
        }
    }
}

/// A descriptor.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Fd {
    pub(crate) what: What,
    pub(crate) base: u64,
    pub(crate) inheriting: u64,
    pub(crate) flags: u16,
    /// The path that a preopened folder is known by.
    pub(crate) preopen: Option<String>,
}

impl Fd {
    /// Refuses when a right is missing.
    pub(crate) fn need(&self, rights: u64) -> Result<(), Errno> {
        if self.base & rights == rights { Ok(()) } else { Err(Errno::NotCapable) }
    }

    /// The folder it stands for, with `rights` on it.
    pub(crate) fn dir(&self, rights: u64) -> Result<Ino, Errno> {
        let What::Dir { ino } = self.what else { return Err(Errno::NotDir) };
        self.need(rights)?;
        Ok(ino)
    }

    /// The regular file it stands for and its offset, with `rights` on it.
    pub(crate) fn file(&self, rights: u64) -> Result<(Ino, u64), Errno> {
        match self.what {
            What::File { ino, offset } => {
                self.need(rights)?;
                Ok((ino, offset))
            }
            What::Dir { .. } => Err(Errno::IsDir),
            What::Stdin { .. } | What::Stdout | What::Stderr => Err(Errno::SPipe),
        }
    }
}

/// All descriptors.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct Fds(BTreeMap<u32, Fd>);

impl Fds {
    /// The three standard ones, then the preopened folders.
    pub(crate) fn new(roots: &[Root]) -> Self {
        let plain = |what, base| Fd { what, base, inheriting: 0, flags: 0, preopen: None };
        let mut fds = vec![
            plain(What::Stdin { offset: 0 }, rights::STDIN),
            plain(What::Stdout, rights::STDOUT),
            plain(What::Stderr, rights::STDOUT),
        ];
        fds.extend(roots.iter().map(|root| Fd {
            what: What::Dir { ino: root.ino },
            base: rights::DIR,
            inheriting: rights::DIR | rights::FILE,
            flags: 0,
            preopen: Some(root.path.to_string()),
        }));
        Self((0..).zip(fds).collect())
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Fd, Errno> {
        self.0.get(&fd).ok_or(Errno::BadF)
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Fd, Errno> {
        self.0.get_mut(&fd).ok_or(Errno::BadF)
    }

    /// Moves a file's or stdin's offset.
    pub(crate) fn seek(&mut self, fd: u32, to: u64) -> Result<(), Errno> {
        match &mut self.get_mut(fd)?.what {
            What::File { offset, .. } | What::Stdin { offset } => *offset = to,
            What::Stdout | What::Stderr | What::Dir { .. } => {}
        }
        Ok(())
    }

    /// Refuses when no number is left.
    pub(crate) fn room(&self) -> Result<(), Errno> {
        if self.0.len() < FDS_MAX { Ok(()) } else { Err(Errno::MFile) }
    }

    /// Gives `fd` the lowest free number.
    pub(crate) fn open(&mut self, fd: Fd) -> Result<u32, Errno> {
        self.room()?;
        let mut number = 0;
        for taken in self.0.keys() {
            if *taken != number {
                break;
            }
            number += 1;
        }
        self.0.insert(number, fd);
        Ok(number)
    }

    pub(crate) fn close(&mut self, fd: u32) -> Result<Fd, Errno> {
        self.0.remove(&fd).ok_or(Errno::BadF)
    }

    /// Moves `from` to `to`, which is open and closed thereby.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Fd>, Errno> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.close(from)?;
        Ok(self.0.insert(to, moved))
    }

    /// Whether a descriptor holds `ino`.
    pub(crate) fn holds(&self, ino: Ino) -> bool {
        self.0.values().any(|fd| fd.what.ino() == Some(ino))
    }
}
