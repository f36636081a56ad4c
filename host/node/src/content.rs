//! What a guest reads, for the runtime: verified bytes out of a store or a folder.

use samebit_blobs::{BlobStore, Folder};
use samebit_runtime::Content;
use samebit_spec::content::{BlobRef, Tree, TreeRef};
use std::sync::Arc;

/// A store as the content of an execution.
#[derive(Clone, Debug)]
pub struct StoreContent(pub BlobStore);

impl Content for StoreContent {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        self.0.read(blob).map(Arc::from).map_err(|error| error.to_string())
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        self.0.tree(tree).map_err(|error| error.to_string())
    }
}

/// A user's folder as the content of an execution, read where it lies.
#[derive(Debug)]
pub struct FolderContent(pub Folder);

impl Content for FolderContent {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        self.0.read(blob).map(Arc::from).map_err(|error| error.to_string())
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        if *tree == self.0.tree_ref() {
            Ok(self.0.tree().clone())
        } else {
            Err(format!("{} is not the tree of this folder", tree.id))
        }
    }
}
