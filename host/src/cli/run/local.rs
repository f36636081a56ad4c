//! The user's folders and stdin as a guest's content, read where they lie.

use crate::{
    context::blob_failure,
    exit::Exit,
    report::{Failure, Ui},
    text,
};
use samebit_blobs::{BlobError, Folder};
use samebit_runtime::Content;
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::{Access, Mount},
    param,
    unit::Bytes,
};
use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// The user's folders as content.
pub(in crate::cli) struct Local {
    folders: Vec<Folder>,
    pub(super) stdin_ref: BlobRef,
    /// stdin from a regular file, read where it lies.
    stdin_file: Option<Folder>,
    /// stdin from anything else.
    stdin: Arc<[u8]>,
}

impl Default for Local {
    fn default() -> Self {
        Self { folders: Vec::new(), stdin_ref: BlobRef::of(&[]), stdin_file: None, stdin: Arc::from([]) }
    }
}

impl Local {
    /// Reads what is at `host` and mounts it at `guest`.
    pub(in crate::cli) fn mount(
        &mut self,
        host: &Path,
        guest: String,
        access: Access,
        ui: &Ui,
    ) -> Result<Mount, Failure> {
        let folder = Folder::scan(host).map_err(|error| match &error {
            BlobError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Failure::new(Exit::NotFound, format!("{} is not there", host.display()))
            }
            _ => blob_failure(&error),
        })?;
        for skipped in &folder.scanned().skipped {
            let path = host.join(&skipped.path);
            ui.note(format!("left out: {} ({})", path.display(), skipped.reason));
        }
        let tree = folder.tree_ref();
        self.folders.push(folder);
        Ok(Mount { path: guest, tree, access })
    }

    /// Takes what is at `path` as stdin.
    pub(super) fn take_stdin(&mut self, path: &Path) -> Result<(), Failure> {
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= param::FILES_DEFAULT.0) {
            let folder = Folder::scan(path).map_err(|error| blob_failure(&error))?;
            self.stdin_ref = folder.tree().files().first().map_or_else(|| BlobRef::of(&[]), |file| file.blob);
            self.stdin_file = Some(folder);
        } else {
            self.stdin = read_stdin(path)?.into();
            self.stdin_ref = BlobRef::of(&self.stdin);
        }
        Ok(())
    }

    /// What `read` gives of the folder that has the blob.
    fn find<T>(&self, blob: &BlobRef, read: impl Fn(&Folder) -> Result<T, BlobError>) -> Result<T, String> {
        for folder in self.folders.iter().chain(&self.stdin_file) {
            match read(folder) {
                Ok(found) => return Ok(found),
                Err(BlobError::Missing { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("{} is in none of the folders", blob.id))
    }
}

impl Content for Local {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if self.stdin_file.is_none() && self.stdin_ref == *blob {
            return Ok(self.stdin.clone());
        }
        self.find(blob, |folder| folder.read(blob)).map(Arc::from)
    }

    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        if self.stdin_file.is_none() && self.stdin_ref == *blob {
            return Ok(None);
        }
        self.find(blob, |folder| folder.read_piece(blob, index)).map(|bytes| Some(bytes.into()))
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        let folder = self.folders.iter().find(|folder| folder.tree_ref() == *tree);
        folder.map(|folder| folder.tree().clone()).ok_or_else(|| format!("{} is no folder that is shown", tree.id))
    }
}

fn read_stdin(path: &Path) -> Result<Vec<u8>, Failure> {
    let max = param::FILES_DEFAULT.0;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Environment };
        return Err(Failure::new(exit, format!("{}: {error}", path.display())));
    }
    if bytes.len() as u64 > max {
        let what = format!("{} is larger than {}", path.display(), text::bytes(Bytes(max)));
        return Err(Failure::new(Exit::Usage, what).help("give larger data as files: `--dir DIR`"));
    }
    Ok(bytes)
}
