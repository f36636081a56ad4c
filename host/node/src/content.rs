//! What a guest reads, for the runtime: verified bytes out of a store.

use samebit_blobs::BlobStore;
use samebit_runtime::Content;
use samebit_spec::content::{BlobRef, Tree, TreeRef};
use std::sync::Arc;

const _: () = assert!(samebit_blobs::PIECE as u64 == samebit_runtime::PIECE, "a piece is one thing");

/// A store as the content of an execution.
#[derive(Clone, Debug)]
pub struct StoreContent(pub BlobStore);

impl Content for StoreContent {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        self.0.read(blob).map(Arc::from).map_err(|error| error.to_string())
    }

    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        self.0.read_piece(blob, index).map(|bytes| Some(bytes.into())).map_err(|error| error.to_string())
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        self.0.tree(tree).map_err(|error| error.to_string())
    }
}
