//! The guest's files: one table of inodes, in which the mounts are a shared base that never changes and all
//! that the guest did lies over it.
//!
//! Invariants:
//! - W2: `bytes` and `entries` are what the guest made, and never exceed the limits.
//! - F1: every entry of a directory names an inode that exists; an inode without entries exists only while a
//!   descriptor holds it.

mod saved;

pub(crate) use saved::SavedFs;

use crate::{Errno, Halt, data::Data};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile},
    execution::{Access, Limits, Mount},
    param, wire,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Number of an inode: how many were made before it, from 1.
pub(crate) type Ino = u64;

/// Longest name that a guest may give, in bytes. Source: what every common file system allows.
pub(crate) const NAME_MAX: usize = 255;
/// Deepest folder that a guest may make something in. Bounds every walk towards the root.
pub(crate) const DEPTH_MAX: usize = 128;
/// Cookies up to here are `.` and `..`; a directory's first entry has the next one.
pub(crate) const COOKIE_DOTS: u64 = 2;

/// When an inode was read, changed in content, and changed at all. Nanoseconds of the virtual clock.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
pub(crate) struct Times {
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

impl Times {
    pub(crate) const fn all(now: u64) -> Self {
        Self { atim: now, mtim: now, ctim: now }
    }
}

/// What a file holds.
#[derive(Clone)]
pub(crate) enum Body {
    /// A mounted blob that nobody has written to.
    Mounted(BlobRef),
    /// The guest's own bytes.
    Own(Data),
}

/// A name in a directory.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
pub(crate) struct Entry {
    pub(crate) ino: Ino,
    pub(crate) cookie: u64,
    /// Whether the guest made it, so that it counts towards the limit.
    pub(crate) made: bool,
}

/// A directory.
#[derive(Clone)]
pub(crate) struct Dir {
    pub(crate) parent: Ino,
    pub(crate) names: BTreeMap<Arc<str>, Entry>,
    order: BTreeMap<u64, Arc<str>>,
    next_cookie: u64,
}

impl Dir {
    fn new(parent: Ino) -> Self {
        Self { parent, names: BTreeMap::new(), order: BTreeMap::new(), next_cookie: COOKIE_DOTS + 1 }
    }

    fn insert(&mut self, name: &str, ino: Ino, made: bool) {
        let name: Arc<str> = Arc::from(name);
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.order.insert(cookie, Arc::clone(&name));
        self.names.insert(name, Entry { ino, cookie, made });
    }

    fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.names.remove(name)?;
        self.order.remove(&entry.cookie);
        Some(entry)
    }

    /// Entries behind `cookie`, in the order of their cookies.
    pub(crate) fn after(&self, cookie: u64) -> impl Iterator<Item = (&str, Entry)> {
        let from = cookie.saturating_add(1);
        self.order.range(from..).filter_map(|(_, name)| Some((&**name, *self.names.get(name)?)))
    }

    /// Numbers the entries anew in the order of their names, as a mount's are.
    fn renumber(&mut self) {
        self.order.clear();
        self.next_cookie = COOKIE_DOTS + 1;
        for (name, entry) in &mut self.names {
            entry.cookie = self.next_cookie;
            self.order.insert(self.next_cookie, Arc::clone(name));
            self.next_cookie += 1;
        }
    }
}

/// What an inode is.
#[derive(Clone)]
pub(crate) enum Kind {
    File(Body),
    Dir(Dir),
    Link(Arc<str>),
}

/// An inode.
#[derive(Clone)]
pub(crate) struct Inode {
    pub(crate) mount: u16,
    pub(crate) nlink: u64,
    pub(crate) times: Times,
    pub(crate) kind: Kind,
}

impl Inode {
    /// Length as `filestat` reports it.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(Body::Mounted(blob)) => blob.len.0,
            Kind::File(Body::Own(data)) => data.len(),
            Kind::Dir(_) => 0,
            Kind::Link(target) => target.len() as u64,
        }
    }

    /// Bytes that count towards the limit. Each name of a file counts, because the output holds it once for
    /// each; a mounted file's first name was not the guest's doing.
    fn charge(&self) -> u64 {
        match &self.kind {
            Kind::File(Body::Mounted(blob)) => blob.len.0.saturating_mul(self.nlink.saturating_sub(1)),
            Kind::File(Body::Own(data)) => data.len().saturating_mul(self.nlink.max(1)),
            Kind::Dir(_) => 0,
            Kind::Link(target) => (target.len() as u64).saturating_mul(self.nlink.max(1)),
        }
    }
}

/// An inode with its hash, which lasts until it is next edited.
#[derive(Clone)]
struct Node {
    inode: Inode,
    hash: OnceLock<[u8; 32]>,
}

#[derive(BorshSerialize)]
enum KindImage<'a> {
    Mounted(BlobRef),
    Own([u8; 32]),
    Dir { parent: Ino, next_cookie: u64, entries: Vec<(&'a str, Entry)> },
    Link(&'a str),
}

impl Node {
    fn new(inode: Inode) -> Self {
        Self { inode, hash: OnceLock::new() }
    }

    fn hash(&self) -> [u8; 32] {
        *self.hash.get_or_init(|| {
            let kind = match &self.inode.kind {
                Kind::File(Body::Mounted(blob)) => KindImage::Mounted(*blob),
                Kind::File(Body::Own(data)) => KindImage::Own(data.hash()),
                Kind::Dir(dir) => KindImage::Dir {
                    parent: dir.parent,
                    next_cookie: dir.next_cookie,
                    entries: dir.names.iter().map(|(name, entry)| (&**name, *entry)).collect(),
                },
                Kind::Link(target) => KindImage::Link(target),
            };
            let image = (self.inode.mount, self.inode.nlink, self.inode.times, kind);
            wire::derive("samebit/v1/wasi-inode", &wire::encode(&image))
        })
    }
}

/// A preopened folder.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) path: Arc<str>,
    pub(crate) ino: Ino,
    access: Access,
}

/// The mounts as they were at the beginning.
struct Base {
    nodes: Vec<Arc<Node>>,
    roots: Vec<Root>,
    hash: [u8; 32],
}

/// What lies over the base. `None`: an inode of the base that is gone.
#[derive(Clone, Default)]
struct Over {
    nodes: BTreeMap<Ino, Option<Arc<Node>>>,
    hash: OnceLock<[u8; 32]>,
    /// Entries of all folders in `nodes`.
    listed: u64,
}

/// The files.
#[derive(Clone)]
pub(crate) struct Fs {
    base: Arc<Base>,
    over: Arc<Over>,
    next_ino: Ino,
    bytes: u64,
    bytes_max: u64,
    entries: u64,
    entries_max: u64,
}

impl Fs {
    /// The mounts in order, then an empty `/out` unless one of them is there.
    pub(crate) fn new(mounts: &[(Mount, Tree)], limits: &Limits, epoch: u64) -> Self {
        let mut inodes = Vec::new();
        let mut roots = Vec::new();
        for (mount, tree) in mounts {
            let ino = plant(&mut inodes, roots.len(), tree.files(), epoch);
            roots.push(Root { path: Arc::from(mount.path.as_str()), ino, access: mount.access });
        }
        if !mounts.iter().any(|(mount, _)| mount.path == abi::OUTPUT_DIR) {
            let ino = plant(&mut inodes, roots.len(), &[], epoch);
            roots.push(Root { path: Arc::from(abi::OUTPUT_DIR), ino, access: Access::CopyOnWrite });
        }
        for inode in &mut inodes {
            if let Kind::Dir(dir) = &mut inode.kind {
                dir.renumber();
            }
        }
        let nodes: Vec<Arc<Node>> = inodes.into_iter().map(|inode| Arc::new(Node::new(inode))).collect();
        let hashes: Vec<[u8; 32]> = nodes.iter().map(|node| node.hash()).collect();
        let image: Vec<(&str, Ino, Access)> = roots.iter().map(|root| (&*root.path, root.ino, root.access)).collect();
        let hash = wire::derive("samebit/v1/wasi-base", &wire::encode(&(image, hashes)));
        Self {
            next_ino: nodes.len() as u64 + 1,
            base: Arc::new(Base { nodes, roots, hash }),
            over: Arc::new(Over::default()),
            bytes: 0,
            bytes_max: limits.files.0,
            entries: 0,
            entries_max: u64::from(limits.inodes),
        }
    }

    /// The preopened folders, in order.
    pub(crate) fn roots(&self) -> &[Root] {
        &self.base.roots
    }

    /// Hash of every file, folder and link, and of what counts towards the limits.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let over = *self.over.hash.get_or_init(|| {
            let nodes: Vec<(Ino, Option<[u8; 32]>)> =
                self.over.nodes.iter().map(|(ino, node)| (*ino, node.as_ref().map(|node| node.hash()))).collect();
            wire::derive("samebit/v1/wasi-over", &wire::encode(&nodes))
        });
        let image = (self.base.hash, over, self.next_ino, self.bytes, self.entries);
        wire::derive("samebit/v1/wasi-files", &wire::encode(&image))
    }

    /// What a root depends on: inodes over the base, entries of the folders among them, bytes of the guest's files.
    pub(crate) fn weight(&self) -> (u64, u64, u64) {
        (self.over.nodes.len() as u64, self.over.listed, self.bytes)
    }

    /// Bytes that count towards the limit when `ino` gets `len` bytes, beyond those that count now. `None` when it
    /// would be refused.
    pub(crate) fn growth(&self, ino: Ino, len: u64) -> Option<u64> {
        self.writable(ino).ok()?;
        let inode = self.inode(ino).ok()?;
        let Kind::File(_) = inode.kind else { return None };
        let added = len.saturating_mul(inode.nlink.max(1)).saturating_sub(inode.charge());
        (self.bytes.saturating_add(added) <= self.bytes_max).then_some(added)
    }

    fn node(&self, ino: Ino) -> Option<&Arc<Node>> {
        match self.over.nodes.get(&ino) {
            Some(node) => node.as_ref(),
            None => self.base.nodes.get(usize::try_from(ino).ok()?.checked_sub(1)?),
        }
    }

    /// An inode. `Io` would mean that F1 is broken.
    pub(crate) fn inode(&self, ino: Ino) -> Result<&Inode, Errno> {
        self.node(ino).map(|node| &node.inode).ok_or(Errno::Io)
    }

    /// A directory.
    pub(crate) fn dir(&self, ino: Ino) -> Result<&Dir, Errno> {
        match &self.inode(ino)?.kind {
            Kind::Dir(dir) => Ok(dir),
            Kind::File(_) | Kind::Link(_) => Err(Errno::NotDir),
        }
    }

    fn edit(&mut self, ino: Ino) -> Result<&mut Inode, Errno> {
        let node = Arc::clone(self.node(ino).ok_or(Errno::Io)?);
        let over = Arc::make_mut(&mut self.over);
        over.hash = OnceLock::new();
        let slot = over.nodes.entry(ino).or_insert(None);
        // The clone above must not count as a second owner, or every edit would copy the node.
        if slot.is_some() {
            drop(node);
        } else {
            if let Kind::Dir(dir) = &node.inode.kind {
                over.listed += dir.names.len() as u64;
            }
            *slot = Some(node);
        }
        let node = Arc::make_mut(slot.as_mut().ok_or(Errno::Io)?);
        node.hash = OnceLock::new();
        Ok(&mut node.inode)
    }

    fn edit_dir(&mut self, ino: Ino, now: u64) -> Result<&mut Dir, Errno> {
        let inode = self.edit(ino)?;
        inode.times.mtim = now;
        inode.times.ctim = now;
        match &mut inode.kind {
            Kind::Dir(dir) => Ok(dir),
            Kind::File(_) | Kind::Link(_) => Err(Errno::NotDir),
        }
    }

    fn enter(&mut self, dir: Ino, name: &str, (ino, made): (Ino, bool), now: u64) -> Result<(), Errno> {
        self.edit_dir(dir, now)?.insert(name, ino, made);
        Arc::make_mut(&mut self.over).listed += 1;
        Ok(())
    }

    fn leave(&mut self, dir: Ino, name: &str, now: u64) -> Result<Option<Entry>, Errno> {
        let entry = self.edit_dir(dir, now)?.remove(name);
        if entry.is_some() {
            let over = Arc::make_mut(&mut self.over);
            over.listed = over.listed.saturating_sub(1);
        }
        Ok(entry)
    }

    /// Refuses what lies below a read-only mount.
    pub(crate) fn writable(&self, ino: Ino) -> Result<(), Errno> {
        let mount = self.inode(ino)?.mount;
        match self.base.roots.get(usize::from(mount)).map(|root| root.access) {
            Some(Access::CopyOnWrite) => Ok(()),
            Some(Access::ReadOnly) | None => Err(Errno::RoFs),
        }
    }

    /// Replaces a charge of `before` bytes by one of `after`, if the limit allows it.
    fn recharge(&mut self, before: u64, after: u64) -> Result<(), Errno> {
        let bytes = self.bytes.saturating_sub(before).saturating_add(after);
        if after > before && bytes > self.bytes_max {
            return Err(Errno::DQuot);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Whether something may be made in `dir`: it still exists, is writable and not too deep.
    fn may_add(&self, dir: Ino) -> Result<(), Errno> {
        if self.inode(dir)?.nlink == 0 {
            return Err(Errno::NoEnt);
        }
        self.writable(dir)?;
        let mut at = dir;
        for _ in 0..DEPTH_MAX {
            let parent = self.dir(at)?.parent;
            if parent == at {
                return Ok(());
            }
            at = parent;
        }
        Err(Errno::NameTooLong)
    }

    /// Makes `kind` under a name that is free.
    pub(crate) fn create(&mut self, dir: Ino, name: &str, kind: Kind, now: u64) -> Result<Ino, Errno> {
        self.may_add(dir)?;
        if self.entries >= self.entries_max {
            return Err(Errno::DQuot);
        }
        let is_dir = matches!(kind, Kind::Dir(_));
        let nlink = if is_dir { 2 } else { 1 };
        let inode = Inode { mount: self.inode(dir)?.mount, nlink, times: Times::all(now), kind };
        self.recharge(0, inode.charge())?;
        let ino = self.next_ino;
        self.next_ino += 1;
        self.entries += 1;
        self.enter(dir, name, (ino, true), now)?;
        if is_dir {
            self.edit(dir)?.nlink += 1;
        }
        let over = Arc::make_mut(&mut self.over);
        over.hash = OnceLock::new();
        over.nodes.insert(ino, Some(Arc::new(Node::new(inode))));
        Ok(ino)
    }

    /// Makes an empty folder under a name that is free.
    pub(crate) fn create_dir(&mut self, dir: Ino, name: &str, now: u64) -> Result<Ino, Errno> {
        self.create(dir, name, Kind::Dir(Dir::new(dir)), now)
    }

    /// Gives a file or link a further name, which is free.
    pub(crate) fn link(&mut self, ino: Ino, dir: Ino, name: &str, now: u64) -> Result<(), Errno> {
        self.may_add(dir)?;
        let inode = self.inode(ino)?;
        if inode.mount != self.inode(dir)?.mount {
            return Err(Errno::XDev);
        }
        if matches!(inode.kind, Kind::Dir(_)) {
            return Err(Errno::Perm);
        }
        if self.entries >= self.entries_max {
            return Err(Errno::DQuot);
        }
        let mut linked = inode.clone();
        linked.nlink = linked.nlink.saturating_add(1);
        let (before, after) = (inode.charge(), linked.charge());
        self.recharge(before, after)?;
        self.entries += 1;
        let inode = self.edit(ino)?;
        inode.nlink = linked.nlink;
        inode.times.ctim = now;
        self.enter(dir, name, (ino, true), now)?;
        Ok(())
    }

    /// Removes a name of a file or link. The inode may be left without one: see [`Fs::forget`].
    pub(crate) fn unlink(&mut self, dir: Ino, name: &str, now: u64) -> Result<Ino, Errno> {
        self.writable(dir)?;
        let entry = *self.dir(dir)?.names.get(name).ok_or(Errno::NoEnt)?;
        if matches!(self.inode(entry.ino)?.kind, Kind::Dir(_)) {
            return Err(Errno::IsDir);
        }
        self.drop_entry(dir, name, now)?;
        Ok(entry.ino)
    }

    /// Removes an empty folder. See [`Fs::forget`].
    pub(crate) fn remove_dir(&mut self, dir: Ino, name: &str, now: u64) -> Result<Ino, Errno> {
        let entry = *self.dir(dir)?.names.get(name).ok_or(Errno::NoEnt)?;
        let emptied = self.dir(entry.ino)?.names.is_empty();
        self.writable(dir)?;
        if !emptied {
            return Err(Errno::NotEmpty);
        }
        self.drop_entry(dir, name, now)?;
        Ok(entry.ino)
    }

    /// Takes a name away and counts it back. A folder must be empty.
    fn drop_entry(&mut self, dir: Ino, name: &str, now: u64) -> Result<(), Errno> {
        let Some(entry) = self.leave(dir, name, now)? else { return Err(Errno::NoEnt) };
        if entry.made {
            self.entries = self.entries.saturating_sub(1);
        }
        let inode = self.edit(entry.ino)?;
        let before = inode.charge();
        inode.times.ctim = now;
        let is_dir = matches!(inode.kind, Kind::Dir(_));
        inode.nlink = if is_dir { 0 } else { inode.nlink.saturating_sub(1) };
        let after = inode.charge();
        if is_dir {
            let parent = self.edit(dir)?;
            parent.nlink = parent.nlink.saturating_sub(1);
        }
        self.recharge(before, after)
    }

    /// Moves a name. Returns the inode that it replaced, if any: see [`Fs::forget`].
    pub(crate) fn rename(&mut self, from: (Ino, &str), to: (Ino, &str), now: u64) -> Result<Option<Ino>, Errno> {
        let entry = *self.dir(from.0)?.names.get(from.1).ok_or(Errno::NoEnt)?;
        self.writable(from.0)?;
        self.may_add(to.0)?;
        if self.inode(from.0)?.mount != self.inode(to.0)?.mount {
            return Err(Errno::XDev);
        }
        let is_dir = matches!(self.inode(entry.ino)?.kind, Kind::Dir(_));
        if is_dir && self.is_within(to.0, entry.ino)? {
            return Err(Errno::Inval);
        }
        let replaced = self.dir(to.0)?.names.get(to.1).map(|entry| entry.ino);
        if let Some(replaced) = replaced {
            if replaced == entry.ino {
                return Ok(None);
            }
            match (&self.inode(replaced)?.kind, is_dir) {
                (Kind::Dir(dir), true) if !dir.names.is_empty() => return Err(Errno::NotEmpty),
                (Kind::Dir(_), false) if self.is_within(from.0, replaced)? => return Err(Errno::NotEmpty),
                (Kind::Dir(_), true) | (Kind::File(_) | Kind::Link(_), false) => {}
                (Kind::Dir(_), false) => return Err(Errno::IsDir),
                (Kind::File(_) | Kind::Link(_), true) => return Err(Errno::NotDir),
            }
            self.drop_entry(to.0, to.1, now)?;
        }
        self.leave(from.0, from.1, now)?;
        self.enter(to.0, to.1, (entry.ino, entry.made), now)?;
        if is_dir && from.0 != to.0 {
            let left = self.edit(from.0)?;
            left.nlink = left.nlink.saturating_sub(1);
            self.edit(to.0)?.nlink += 1;
        }
        let moved = self.edit(entry.ino)?;
        moved.times.ctim = now;
        if let Kind::Dir(dir) = &mut moved.kind {
            dir.parent = to.0;
        }
        Ok(replaced)
    }

    /// Whether a folder is `above` or lies in it. The walk ends because `may_add` bounded the depth.
    fn is_within(&self, folder: Ino, above: Ino) -> Result<bool, Errno> {
        let mut at = folder;
        loop {
            if at == above {
                return Ok(true);
            }
            let parent = self.dir(at)?.parent;
            if parent == at {
                return Ok(false);
            }
            at = parent;
        }
    }

    /// Lets go of an inode that has no name. The caller knows that no descriptor holds it.
    pub(crate) fn forget(&mut self, ino: Ino) {
        let Some(node) = self.node(ino) else { return };
        if node.inode.nlink > 0 {
            return;
        }
        self.bytes = self.bytes.saturating_sub(node.inode.charge());
        let over = Arc::make_mut(&mut self.over);
        over.hash = OnceLock::new();
        if usize::try_from(ino).is_ok_and(|ino| ino <= self.base.nodes.len()) {
            over.nodes.insert(ino, None);
        } else {
            over.nodes.remove(&ino);
        }
    }

    /// Sets access and modification times; `None` leaves one as it is.
    pub(crate) fn set_times(&mut self, ino: Ino, atim: Option<u64>, mtim: Option<u64>, now: u64) -> Result<(), Errno> {
        self.writable(ino)?;
        let times = &mut self.edit(ino)?.times;
        times.atim = atim.unwrap_or(times.atim);
        times.mtim = mtim.unwrap_or(times.mtim);
        times.ctim = now;
        Ok(())
    }

    /// A file's own bytes, `len` of them from now on. A mounted file becomes a copy, read through `load`.
    pub(crate) fn resize(
        &mut self,
        ino: Ino,
        len: u64,
        now: u64,
        load: impl FnOnce(&BlobRef) -> Result<Data, Halt>,
    ) -> Result<&mut Data, Halt> {
        self.writable(ino)?;
        let inode = self.inode(ino)?;
        let Kind::File(body) = &inode.kind else { return Err(Errno::IsDir.into()) };
        let before = inode.charge();
        let after = len.saturating_mul(inode.nlink.max(1));
        if after > before && self.bytes.saturating_sub(before).saturating_add(after) > self.bytes_max {
            return Err(Errno::DQuot.into());
        }
        let copy = match body {
            // Nothing of the mounted bytes is left, so they need not be had.
            Body::Mounted(_) if len == 0 => Some(Data::default()),
            Body::Mounted(blob) => Some(load(blob)?),
            Body::Own(_) => None,
        };
        self.recharge(before, after)?;
        let inode = self.edit(ino)?;
        inode.times.mtim = now;
        inode.times.ctim = now;
        let Kind::File(body) = &mut inode.kind else { return Err(Errno::IsDir.into()) };
        if let Some(copy) = copy {
            *body = Body::Own(copy);
        }
        let Body::Own(data) = body else { return Err(Errno::Io.into()) };
        if data.len() != len {
            data.set_len(len);
        }
        Ok(data)
    }

    /// The regular files below the root at `path`, by relative path, sorted. A path that no tree can hold is
    /// left out, and so is what comes after [`param::TREE_FILES_MAX`] files.
    pub(crate) fn files_below(&self, path: &str) -> Vec<(String, Body)> {
        let Some(root) = self.base.roots.iter().find(|root| &*root.path == path) else { return Vec::new() };
        let mut found = BTreeMap::new();
        let mut folders = vec![(root.ino, String::new())];
        while let Some((ino, prefix)) = folders.pop() {
            let Ok(dir) = self.dir(ino) else { continue };
            for (name, entry) in &dir.names {
                let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
                if path.len() > param::TREE_PATH_MAX {
                    continue;
                }
                match self.inode(entry.ino).map(|inode| &inode.kind) {
                    Ok(Kind::File(body)) => {
                        found.insert(path, body.clone());
                    }
                    Ok(Kind::Dir(_)) => folders.push((entry.ino, path)),
                    Ok(Kind::Link(_)) | Err(_) => {}
                }
            }
        }
        found.into_iter().take(param::TREE_FILES_MAX).collect()
    }
}

/// Adds the inodes of a mount; returns its root.
fn plant(inodes: &mut Vec<Inode>, mount: usize, files: &[TreeFile], epoch: u64) -> Ino {
    // A job has one mount and a command line a few: more than 65535 cannot be written down.
    let mount = u16::try_from(mount).unwrap_or(u16::MAX);
    let times = Times::all(epoch);
    let root = inodes.len() as Ino + 1;
    inodes.push(Inode { mount, nlink: 2, times, kind: Kind::Dir(Dir::new(root)) });
    for file in files {
        let mut at = root;
        let mut parts = file.path.split('/').peekable();
        while let Some(part) = parts.next() {
            let next = inodes.len() as Ino + 1;
            let is_file = parts.peek().is_none();
            let Some(Inode { kind: Kind::Dir(dir), nlink, .. }) = slot(inodes, at) else { break };
            if let Some(entry) = dir.names.get(part) {
                at = entry.ino;
                continue;
            }
            dir.insert(part, next, false);
            if !is_file {
                *nlink += 1;
            }
            let kind = if is_file { Kind::File(Body::Mounted(file.blob)) } else { Kind::Dir(Dir::new(at)) };
            inodes.push(Inode { mount, nlink: if is_file { 1 } else { 2 }, times, kind });
            at = next;
        }
    }
    root
}

fn slot(inodes: &mut [Inode], ino: Ino) -> Option<&mut Inode> {
    inodes.get_mut(usize::try_from(ino).ok()?.checked_sub(1)?)
}
