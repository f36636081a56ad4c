//! What the guest did to its files, as plain values. The mounts are not in it: they are made of the execution again.

use super::{Body, Dir, Entry, Fs, Ino, Inode, Kind, Node, Over, Times};
use crate::{
    data::{Data, SavedData},
    saved::{Pieces, RestoreError, Shelved},
};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::content::BlobRef;
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct SavedFs {
    over: Vec<(Ino, Option<SavedInode>)>,
    next_ino: Ino,
    bytes: u64,
    entries: u64,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct SavedInode {
    mount: u16,
    nlink: u64,
    times: Times,
    kind: SavedKind,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum SavedKind {
    Mounted(BlobRef),
    Own(SavedData),
    Dir { parent: Ino, next_cookie: u64, entries: Vec<(String, Entry)> },
    Link(String),
}

impl Fs {
    pub(crate) fn save(&self, pieces: &mut Pieces) -> SavedFs {
        let mut over = Vec::with_capacity(self.over.nodes.len());
        for (ino, node) in &self.over.nodes {
            let saved = node.as_ref().map(|node| {
                let Inode { mount, nlink, times, kind } = &node.inode;
                let kind = match kind {
                    Kind::File(Body::Mounted(blob)) => SavedKind::Mounted(*blob),
                    Kind::File(Body::Own(data)) => SavedKind::Own(data.save(pieces)),
                    Kind::Dir(dir) => SavedKind::Dir {
                        parent: dir.parent,
                        next_cookie: dir.next_cookie,
                        entries: dir.names.iter().map(|(name, entry)| (name.to_string(), *entry)).collect(),
                    },
                    Kind::Link(target) => SavedKind::Link(target.to_string()),
                };
                SavedInode { mount: *mount, nlink: *nlink, times: *times, kind }
            });
            over.push((*ino, saved));
        }
        SavedFs { over, next_ino: self.next_ino, bytes: self.bytes, entries: self.entries }
    }

    /// Puts what was saved over the mounts. Whether it is sound is for the caller to tell by the root.
    pub(crate) fn restore(&mut self, saved: SavedFs, shelved: &mut Shelved<'_>) -> Result<(), RestoreError> {
        let SavedFs { over, next_ino, bytes, entries } = saved;
        let (mut nodes, mut listed) = (BTreeMap::new(), 0);
        for (ino, saved) in over {
            let node = match saved {
                None => None,
                Some(SavedInode { mount, nlink, times, kind }) => {
                    let kind = match kind {
                        SavedKind::Mounted(blob) => Kind::File(Body::Mounted(blob)),
                        SavedKind::Own(data) => Kind::File(Body::Own(Data::restore(&data, shelved)?)),
                        SavedKind::Dir { parent, next_cookie, entries } => {
                            listed += entries.len() as u64;
                            let mut dir = Dir::new(parent);
                            dir.next_cookie = next_cookie;
                            for (name, entry) in entries {
                                let name: Arc<str> = Arc::from(name);
                                let twice = dir.order.insert(entry.cookie, Arc::clone(&name)).is_some();
                                if twice | dir.names.insert(name, entry).is_some() {
                                    return Err(RestoreError::Unsound { what: "a name that is in a folder twice" });
                                }
                            }
                            Kind::Dir(dir)
                        }
                        SavedKind::Link(target) => Kind::Link(Arc::from(target)),
                    };
                    Some(Arc::new(Node::new(Inode { mount, nlink, times, kind })))
                }
            };
            if nodes.insert(ino, node).is_some() {
                return Err(RestoreError::Unsound { what: "an inode that is there twice" });
            }
        }
        self.over = Arc::new(Over { nodes, hash: OnceLock::new(), listed });
        (self.next_ino, self.bytes, self.entries) = (next_ino, bytes, entries);
        Ok(())
    }
}
