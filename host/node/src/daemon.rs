//! How a daemon starts, says that it is ready, and ends.

use crate::{follower::FollowError, invitation::InvitationError, keys::KeyError};
use samebit_blobs::BlobError;
use samebit_ledger::SoloError;
use samebit_net::NetError;
use samebit_runtime::HostFault;
use samebit_spec::{id::GenesisId, refusal::Refusal, sign::PublicKey};
use serde::Serialize;
use std::{io, io::Write, path::PathBuf};
use tokio::sync::{oneshot, watch};

/// Why a daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The network.
    #[error("{0}")]
    Net(#[from] NetError),
    /// The content store.
    #[error("{0}")]
    Blob(#[from] BlobError),
    /// A key file.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The ledger's log or rules.
    #[error("{0}")]
    Ledger(#[from] SoloError),
    /// The chain that it follows.
    #[error("{0}")]
    Chain(#[from] FollowError),
    /// The invitation could not be written.
    #[error("{0}")]
    Invitation(#[from] InvitationError),
    /// The engine.
    #[error("{0}")]
    Runtime(#[from] HostFault),
    /// The ledger would not register this host.
    #[error("the ledger refused to register this host: {0}")]
    Refused(Refusal),
    /// Not a host, and without the account's key it cannot become one.
    #[error("{operator} acts for no host, and the account's key is not here to register one")]
    NotRegistered {
        /// This node's operator key.
        operator: PublicKey,
    },
    /// The account is a host already, with another operator.
    #[error("{account} is a host with operator {registered}, this node has {operator}")]
    OtherOperator {
        /// The account.
        account: PublicKey,
        /// The operator on the ledger.
        registered: PublicKey,
        /// This node's.
        operator: PublicKey,
    },
    /// A host ran in this folder, and the secret that opens its commitments is not there any more.
    #[error(
        "{} is gone, though a host ran here: what that host has committed to cannot be revealed without it, and is \
         slashed. Put the file back; if nothing of the host awaits its reveal, remove {} and start again",
        salt.display(),
        runs.display()
    )]
    SaltGone {
        /// The secret.
        salt: PathBuf,
        /// The folder of receipts, which was made after it.
        runs: PathBuf,
    },
    /// Whoever answers is on another chain.
    #[error("the network is {given}, the invitation is for {own}")]
    WrongChain {
        /// The invitation's.
        own: GenesisId,
        /// The network's.
        given: GenesisId,
    },
    /// The operating system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Tells a daemon to end. All clones learn of it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Ends daemons: once told, or dropped.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Shutdown {
    /// A pair: whoever holds the [`Stop`] ends whoever holds the [`Shutdown`].
    #[must_use]
    pub fn new() -> (Stop, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stop(sender), Self(receiver))
    }

    /// Returns when it is time to end.
    pub async fn told(&mut self) {
        // An error means that the other half has gone, which says the same.
        let _ = self.0.wait_for(|told| *told).await;
    }
}

impl Stop {
    /// Ends them.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

/// Whom a daemon tells that it is ready.
#[derive(Debug)]
pub enum Announce {
    /// Nobody.
    Quiet,
    /// Whoever reads stdout: one line of JSON.
    Stdout,
    /// Whoever started it in this process.
    Tell(oneshot::Sender<Announcement>),
}

/// What a daemon says once it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Announcement {
    /// `samebit/ready/1`.
    pub schema: &'static str,
    /// `validator` or `host`.
    pub role: &'static str,
    /// Its process.
    pub pid: u32,
    /// Its peer name.
    pub peer: String,
    /// The validator's key, or the host's account.
    pub key: String,
    /// Where it listens; empty for a host, which dials out.
    pub addresses: Vec<String>,
}

impl Announce {
    pub(crate) fn say(self, role: &'static str, peer: String, key: &PublicKey, addresses: &[String]) {
        let announcement = Announcement {
            schema: "samebit/ready/1",
            role,
            pid: std::process::id(),
            peer,
            key: key.to_string(),
            addresses: addresses.to_vec(),
        };
        match self {
            Self::Quiet => {}
            Self::Stdout => {
                let line = serde_json::to_string(&announcement).expect("strings and numbers serialise");
                let mut out = io::stdout().lock();
                // Nobody may be reading, which is no reason to end.
                let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            }
            Self::Tell(sender) => {
                let _ = sender.send(announcement);
            }
        }
    }
}

/// Runs a daemon until it ends by itself or SIGINT or SIGTERM comes.
///
/// # Errors
/// The daemon's own, and [`NodeError::Io`] when the process has no threads or signals to give.
pub fn until_signal<F>(daemon: impl FnOnce(Shutdown) -> F) -> Result<(), NodeError>
where
    F: Future<Output = Result<(), NodeError>>,
{
    let io = |source| NodeError::Io { path: PathBuf::from("starting"), source };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(io)?;
    let (stop, shutdown) = Shutdown::new();
    let result = runtime.block_on(async {
        tokio::spawn(async move {
            signalled().await;
            stop.now();
        });
        daemon(shutdown).await
    });
    // A guest in the middle of a step is left to end with the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    result
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signalled() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
