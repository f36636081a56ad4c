//! What went wrong with this host, as opposed to the task: never a result, never paid, never a reason to doubt
//! a receipt. The run goes elsewhere or is tried again.

use crate::SnapshotError;
use samebit_rewrite::Refusal;
use samebit_spec::{content::TreeRef, execution::TensorOps, id::BlobId};

/// Why there is no receipt. Nothing of the run is left over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// The engine could not be set up on this machine.
    #[error("the engine cannot be set up: {reason}")]
    Engine {
        /// The engine's words.
        reason: String,
    },
    /// An admitted module did not compile, which says something about the engine and nothing about the task.
    #[error("{module} was admitted and does not compile: {reason}")]
    Compile {
        /// Which module.
        module: BlobId,
        /// The compiler's words.
        reason: String,
    },
    /// The program in hand is not the one that the execution names.
    #[error("the execution runs {wanted}, the program is {given}")]
    WrongModule {
        /// What the execution names.
        wanted: BlobId,
        /// What was given.
        given: BlobId,
    },
    /// The execution wants tensor operations that this build does not have.
    #[error("the execution wants tensor operations of version {}, this build has version {}", wanted.0, samebit_spec::tensor::host::VERSION)]
    TensorOps {
        /// What it wants.
        wanted: TensorOps,
    },
    /// A mounted tree cannot be had.
    #[error("{tree} at {path:?} cannot be read: {reason}", tree = .tree.id)]
    Tree {
        /// Which.
        tree: TreeRef,
        /// Where the guest would see it.
        path: String,
        /// Why.
        reason: String,
    },
    /// Content that the execution names cannot be had.
    #[error("content of the execution cannot be read: {reason}")]
    Content {
        /// Which blob, and why.
        reason: String,
    },
    /// What computes tensors failed, as a device that went away does.
    #[error("tensors could not be computed: {reason}")]
    Device {
        /// Which device, and what it or its driver said.
        reason: String,
    },
    /// Memory within the guest's limit could not be given to it.
    #[error("this machine could not give the guest its memory: {reason}")]
    Memory {
        /// The engine's words.
        reason: String,
    },
    /// The engine stopped the guest in a way that the profile does not know.
    #[error("the engine stopped the guest in a way that no outcome describes: {reason}")]
    Unknown {
        /// The engine's words.
        reason: String,
    },
    /// The guest's thread could not be started, or ended without an answer.
    #[error("the guest's thread failed: {reason}")]
    Thread {
        /// Why.
        reason: String,
    },
    /// The state that the run was to be taken up at is not sound.
    #[error("the snapshot is refused: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The caller's watch said stop.
    #[error("the run was cancelled")]
    Cancelled,
}

/// Why a module cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The profile does not admit it, on any host.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This host cannot compile it.
    #[error(transparent)]
    Fault(#[from] HostFault),
}
