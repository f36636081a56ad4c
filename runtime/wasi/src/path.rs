//! Walks a path from a descriptor's folder, link by link, and never out of that folder.

use crate::{
    Errno,
    fs::{Fs, Ino, Kind, NAME_MAX},
};

/// Longest path, links expanded, in bytes. Source: POSIX `PATH_MAX` of Linux.
pub(crate) const PATH_MAX: usize = 4096;
/// Most links followed on one walk. Source: Linux.
pub(crate) const LINKS_MAX: usize = 40;

/// What becomes of a link at the very end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLink {
    /// It is followed.
    Follow,
    /// It is the thing named, unless a slash after it asks for a folder.
    Stay,
    /// It is the thing named; a slash after it is an error. For calls that change names.
    Keep,
    /// It is the thing named, and so is a file, slash or not. For the name of a folder that is to be made.
    Taken,
}

/// Where a path leads.
pub(crate) struct Place {
    /// The folder that holds the last name.
    pub(crate) dir: Ino,
    /// The last name; `None` when the path ends in `.` or `..`, which name `dir` itself.
    pub(crate) name: Option<String>,
    /// What has that name now.
    pub(crate) ino: Option<Ino>,
    /// Whether the path asks for a folder, by a slash at its end.
    pub(crate) wants_dir: bool,
}

impl Place {
    /// The inode, which must be there.
    pub(crate) fn there(&self) -> Result<Ino, Errno> {
        self.ino.ok_or(Errno::NoEnt)
    }
}

/// Walks `path` from folder `start`.
///
/// `Perm` for an absolute path or link and for `..` out of `start`: what is above it does not exist for the
/// holder of that descriptor.
pub(crate) fn walk(fs: &Fs, start: Ino, path: &str, last: LastLink) -> Result<Place, Errno> {
    if path.is_empty() {
        return Err(Errno::NoEnt);
    }
    if path.len() > PATH_MAX {
        return Err(Errno::NameTooLong);
    }
    if path.contains('\0') {
        return Err(Errno::Inval);
    }
    if fs.inode(start)?.nlink == 0 && path != "." {
        return Err(Errno::NoEnt);
    }
    let mut trail = vec![start];
    let mut todo = Vec::new();
    let mut wants_dir = push_parts(&mut todo, path)?;
    let mut room = PATH_MAX - path.len();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        let at = *trail.last().ok_or(Errno::Perm)?;
        if part == ".." {
            trail.pop();
            if trail.is_empty() {
                return Err(Errno::Perm);
            }
            continue;
        }
        let is_last = todo.is_empty();
        let Some(entry) = fs.dir(at)?.names.get(part.as_str()) else {
            if part.len() > NAME_MAX {
                return Err(Errno::NameTooLong);
            }
            if is_last {
                return Ok(Place { dir: at, name: Some(part), ino: None, wants_dir });
            }
            return Err(Errno::NoEnt);
        };
        let ino = entry.ino;
        match &fs.inode(ino)?.kind {
            Kind::Dir(_) if !is_last => trail.push(ino),
            Kind::File(_) if !is_last || wants_dir && last != LastLink::Taken => return Err(Errno::NotDir),
            Kind::Dir(_) | Kind::File(_) => {
                return Ok(Place { dir: at, name: Some(part), ino: Some(ino), wants_dir });
            }
            Kind::Link(target) => {
                let follow = match last {
                    LastLink::Follow => true,
                    LastLink::Stay => !is_last || wants_dir,
                    LastLink::Keep | LastLink::Taken => !is_last,
                };
                if !follow {
                    if wants_dir && last != LastLink::Taken {
                        return Err(Errno::NotDir);
                    }
                    return Ok(Place { dir: at, name: Some(part), ino: Some(ino), wants_dir });
                }
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::Loop);
                }
                room = room.checked_sub(target.len()).ok_or(Errno::NameTooLong)?;
                let target_wants_dir = push_parts(&mut todo, target)?;
                wants_dir |= is_last && target_wants_dir;
            }
        }
    }
    let dir = *trail.last().ok_or(Errno::Perm)?;
    Ok(Place { dir, name: None, ino: Some(dir), wants_dir })
}

/// Puts the parts of `path` on the stack, first one on top. Tells whether it asks for a folder.
fn push_parts(todo: &mut Vec<String>, path: &str) -> Result<bool, Errno> {
    if path.starts_with('/') {
        return Err(Errno::Perm);
    }
    todo.extend(path.rsplit('/').filter(|part| !part.is_empty() && *part != ".").map(String::from));
    Ok(matches!(path.rsplit('/').next(), Some("" | "." | "..")))
}
