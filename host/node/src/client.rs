//! What every command uses: a connection to a network, a verified copy of its ledger, and what can be asked.
//!
//! A [`Client`] blocks; it has a runtime of its own and must not be called from async code. Whatever it says of
//! the ledger it has replayed and verified itself.

use crate::{
    follower::{self, FollowError, Follower},
    keys::Keypair,
    transfer::{self, Moved, TransferError},
};
use samebit_blobs::{BlobError, BlobStore};
use samebit_ledger::LedgerState;
use samebit_net::{Link, NetConfig, NetError, Remote};
use samebit_spec::{
    block::{Block, Invitation},
    content::{BlobRef, Tree, TreeRef},
    entry::{Body, Entry, SignedEntry},
    id::{BlobId, BlockId, EntryId, GenesisId},
    message::{Request, Response, Status},
    refusal::Refusal,
    sign::{Domain, Signer},
    unit::Height,
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};

/// For reaching the validator, with every pause between tries.
const REACH: Duration = Duration::from_secs(5);
/// For the blocks up to a known height to arrive.
const CATCH_UP: Duration = Duration::from_secs(60);
/// For an entry to be included, with every try.
const INCLUDE: Duration = Duration::from_secs(30);
/// Times an entry is made anew because its signer's sequence had moved.
const RENUMBER: usize = 8;

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the invitation's addresses.
    #[error("no answer at {}: {reason}", addresses.join(", "))]
    Unreachable {
        /// The addresses.
        addresses: Vec<String>,
        /// Why, as far as known.
        reason: String,
    },
    /// The ledger refused the entry and is unchanged.
    #[error("{0}")]
    Refused(Refusal),
    /// It did not happen in time. Asking again is safe.
    #[error("{what} did not happen within {within:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
    },
    /// Whoever answers is on another chain than the invitation's.
    #[error("the network is {given}, the invitation is for {own}")]
    WrongChain {
        /// The invitation's.
        own: GenesisId,
        /// The network's.
        given: GenesisId,
    },
    /// The chain does not verify.
    #[error("{0}")]
    BadChain(FollowError),
    /// The validator shows another block than the one it signed before.
    #[error("block {height} was {verified}, the validator now says {told}: it signed two chains")]
    Equivocation {
        /// Which.
        height: Height,
        /// What was verified.
        verified: BlockId,
        /// What the validator says.
        told: BlockId,
    },
    /// The keeper does not have it.
    #[error("the network does not have {blob}")]
    MissingBlob {
        /// Which.
        blob: BlobId,
    },
    /// Content did not get where it should.
    #[error("{0}")]
    Transfer(TransferError),
    /// The store on this machine.
    #[error("{0}")]
    Blob(#[from] BlobError),
    /// The validator answered something that makes no sense.
    #[error("the validator answered out of turn: {reason}")]
    Protocol {
        /// What.
        reason: String,
    },
    /// This machine: no thread, no socket, no randomness.
    #[error("{reason}")]
    Environment {
        /// What is lacking.
        reason: String,
    },
}

impl From<TransferError> for ClientError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::MissingBlob { blob } => Self::MissingBlob { blob },
            TransferError::Blob(error) => Self::Blob(error),
            TransferError::Net(error) => error.into(),
            error => Self::Transfer(error),
        }
    }
}

impl From<NetError> for ClientError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Unreachable { addresses, reason } => Self::Unreachable { addresses, reason },
            NetError::Timeout { what, within } => Self::Timeout { what: format!("an answer to {what}"), within },
            NetError::Protocol { reason } => Self::Protocol { reason },
            error => Self::Environment { reason: error.to_string() },
        }
    }
}

/// What a push moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Blobs that the keeper lacked and now has.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A connection to a network with a verified copy of its ledger.
pub struct Client {
    runtime: Runtime,
    link: Link,
    follower: Follower,
    blocks: mpsc::Receiver<Block>,
    trouble: watch::Receiver<Option<String>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("remote", self.link.remote()).field("height", &self.state().height()).finish()
    }
}

impl Client {
    /// Connects to the network of `invitation` and checks that it is the invitation's. Blocks that were verified
    /// before are read from `cache`, a folder, and new ones kept there.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::WrongChain`], [`ClientError::BadChain`],
    /// [`ClientError::Environment`].
    pub fn connect(invitation: &Invitation, cache: Option<&Path>) -> Result<Self, ClientError> {
        let environment = |reason: String| ClientError::Environment { reason };
        let remote = Remote::parse(&invitation.addresses)?;
        let follower = Follower::open(&invitation.genesis, cache).map_err(ClientError::BadChain)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("samebit-client")
            .enable_all()
            .build()
            .map_err(|error| environment(error.to_string()))?;
        // A command's peer key means nothing to anyone, so each command has a new one.
        let seed = Keypair::generate().map_err(|error| environment(error.to_string()))?.seed();
        let (link, status) = runtime.block_on(async {
            let (net, _) = samebit_net::start(NetConfig::dialler(seed)).await?;
            let link = Link::new(net, remote);
            let status = ask(&link, &Request::Status, REACH, |response| match response {
                Response::Status(status) => Ok(status),
                other => Err(Box::new(other)),
            })
            .await?;
            Ok::<_, ClientError>((link, status))
        })?;
        let own = invitation.genesis.id();
        if status.genesis != own {
            return Err(ClientError::WrongChain { own, given: status.genesis });
        }
        let from = follower.next();
        let (blocks, trouble) = {
            let _inside = runtime.enter();
            follower::stream(link.clone(), from)
        };
        Ok(Self { runtime, link, follower, blocks, trouble })
    }

    /// The ledger as far as it was verified.
    #[must_use]
    pub fn state(&self) -> &LedgerState {
        self.follower.state()
    }

    /// Where the validator says the chain is.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Protocol`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        let request = ask(&self.link, &Request::Status, REACH, |response| match response {
            Response::Status(status) => Ok(status),
            other => Err(Box::new(other)),
        });
        self.runtime.block_on(request)
    }

    /// Catches up with the validator's head as it is now, verifying every block.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::BadChain`], [`ClientError::Equivocation`],
    /// [`ClientError::Timeout`].
    pub fn sync(&mut self) -> Result<&LedgerState, ClientError> {
        let status = self.status()?;
        self.reach(status.height)?;
        if self.state().height() == status.height && self.state().head() != status.head {
            let (height, verified, told) = (status.height, self.state().head(), status.head);
            return Err(ClientError::Equivocation { height, verified, told });
        }
        Ok(self.state())
    }

    /// Looks at the ledger now and after every block until `look` has found what it looks for.
    ///
    /// A validator that is gone for a while only makes this wait longer.
    ///
    /// # Errors
    /// [`ClientError::Timeout`], [`ClientError::BadChain`].
    pub fn wait<T>(
        &mut self,
        timeout: Duration,
        mut look: impl FnMut(&LedgerState) -> Option<T>,
    ) -> Result<T, ClientError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(found) = look(self.state()) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            let next = self.runtime.block_on(async { tokio::time::timeout(left, self.blocks.recv()).await });
            match next {
                Ok(Some(block)) => self.take(&block)?,
                Ok(None) => return Err(ClientError::Environment { reason: String::from("the network task ended") }),
                Err(_) => {
                    let what = match self.trouble.borrow().as_deref() {
                        Some(reason) => format!("what was waited for (no blocks come: {reason})"),
                        None => String::from("what was waited for"),
                    };
                    return Err(ClientError::Timeout { what, within: timeout });
                }
            }
        }
    }

    /// Signs `body` with the next sequence number of `key`, sends it, and returns when it is in a block that was
    /// verified here. A lost answer is asked for again with the same entry, which the ledger takes once.
    ///
    /// # Errors
    /// [`ClientError::Refused`], the ledger is unchanged; [`ClientError::Timeout`], it is not known whether the
    /// entry was included; [`ClientError::Unreachable`]; [`ClientError::BadChain`].
    pub fn submit(&mut self, key: &Keypair, body: Body) -> Result<(EntryId, Height), ClientError> {
        self.submit_with(key, |_| body.clone())
    }

    /// As [`Client::submit`], for a body that contains its own sequence number.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub fn submit_with(
        &mut self,
        key: &Keypair,
        mut body: impl FnMut(u64) -> Body,
    ) -> Result<(EntryId, Height), ClientError> {
        let genesis = self.sync()?.genesis_id();
        let mut renumbered = 0;
        loop {
            let signer = key.public();
            let sequence = self.state().sequence(&signer);
            let entry = Entry { genesis, signer, sequence, body: body(sequence) };
            let id = entry.id();
            let signature = key.sign(Domain::Entry, genesis, id.0);
            let request = Request::Submit(SignedEntry { entry, signature });
            let sent = ask(&self.link, &request, INCLUDE, |response| match response {
                Response::Included { entry, height } => Ok(Ok((entry, height))),
                Response::Refused(refusal) => Ok(Err(refusal)),
                other => Err(Box::new(other)),
            });
            match self.runtime.block_on(sent)? {
                Ok((entry, height)) if entry == id => {
                    self.reach(height)?;
                    return Ok((id, height));
                }
                Ok((entry, _)) => return Err(ClientError::Protocol { reason: format!("{entry} included for {id}") }),
                Err(Refusal::Replayed { entry, height }) if entry == id => {
                    self.reach(height)?;
                    return Ok((id, height));
                }
                // Another process signs with the same key.
                Err(Refusal::Sequence { .. }) if renumbered < RENUMBER => {
                    renumbered += 1;
                    self.sync()?;
                }
                Err(refusal) => return Err(ClientError::Refused(refusal)),
            }
        }
    }

    /// Sends those of `blobs` that the keeper lacks. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// [`ClientError::Blob`] when `store` lacks one or it is corrupt, [`ClientError::Transfer`],
    /// [`ClientError::Unreachable`].
    pub fn push(
        &mut self,
        store: &BlobStore,
        blobs: &[BlobRef],
        progress: impl Fn(u64, u64),
    ) -> Result<Pushed, ClientError> {
        let lacking = self.runtime.block_on(transfer::missing(&self.link, blobs))?;
        let bytes = lacking.iter().map(|blob| blob.len.0).sum();
        let (pushed, moved) = (Pushed { blobs: lacking.len(), bytes }, Moved::default());
        let (link, store, counter) = (self.link.clone(), store.clone(), Arc::clone(&moved));
        let work = async move { transfer::put_all(&link, &store, lacking, &counter).await };
        self.watched(work, &moved, |done| progress(done, bytes))?;
        Ok(pushed)
    }

    /// Sends trees: their manifests and every file of theirs, where the keeper lacks them.
    ///
    /// # Errors
    /// As [`Client::push`].
    pub fn push_trees(
        &mut self,
        store: &BlobStore,
        trees: &[TreeRef],
        progress: impl Fn(u64, u64),
    ) -> Result<Pushed, ClientError> {
        let mut blobs = BTreeSet::new();
        for tree in trees {
            blobs.insert(tree.manifest());
            blobs.extend(store.tree(tree)?.files().iter().map(|file| file.blob));
        }
        self.push(store, &blobs.into_iter().collect::<Vec<_>>(), progress)
    }

    /// Brings a blob into `store`, unless it is there.
    ///
    /// # Errors
    /// [`ClientError::MissingBlob`], [`ClientError::Transfer`], [`ClientError::Blob`].
    pub fn fetch(&mut self, blob: &BlobRef, store: &BlobStore) -> Result<(), ClientError> {
        let moved = Moved::default();
        let fetching = transfer::get_all(&self.link, store, vec![*blob], &moved);
        Ok(self.runtime.block_on(fetching)?)
    }

    /// Brings a tree's manifest and files into `store`, unless they are there.
    ///
    /// # Errors
    /// As [`Client::fetch`], and [`ClientError::Blob`] for a manifest that is none.
    pub fn fetch_tree(&mut self, tree: &TreeRef, store: &BlobStore) -> Result<Tree, ClientError> {
        self.fetch_tree_with(tree, store, |_| ())
    }

    /// As [`Client::fetch_tree`]; `progress` is told bytes done.
    ///
    /// # Errors
    /// As [`Client::fetch_tree`].
    pub fn fetch_tree_with(
        &mut self,
        tree: &TreeRef,
        store: &BlobStore,
        progress: impl Fn(u64),
    ) -> Result<Tree, ClientError> {
        let moved = Moved::default();
        let (link, store, tree, counter) = (self.link.clone(), store.clone(), *tree, Arc::clone(&moved));
        let work = async move { transfer::get_tree(&link, &store, &tree, &counter).await };
        self.watched(work, &moved, progress)
    }

    /// Runs a transfer, telling of its progress now and then.
    fn watched<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TransferError>> + Send + 'static,
        moved: &Moved,
        progress: impl Fn(u64),
    ) -> Result<T, ClientError> {
        self.runtime.block_on(async {
            let mut work = Box::pin(work);
            loop {
                let turn = tokio::time::timeout(Duration::from_millis(100), &mut work).await;
                progress(moved.load(Ordering::Relaxed));
                if let Ok(done) = turn {
                    return Ok(done?);
                }
            }
        })
    }

    /// Applies blocks until `height` is reached.
    fn reach(&mut self, height: Height) -> Result<(), ClientError> {
        let reached = self.wait(CATCH_UP, |state| (state.height() >= height).then_some(()));
        reached.map_err(|error| match error {
            ClientError::Timeout { within, .. } => ClientError::Timeout { what: format!("block {height}"), within },
            error => error,
        })
    }

    fn take(&mut self, block: &Block) -> Result<(), ClientError> {
        match self.follower.take(block) {
            // A full disk costs the next command some time, not this one its answer.
            Err(FollowError::Cache { path, source }) => {
                tracing::warn!(path = %path.display(), %source, "chain cache");
                Ok(())
            }
            taken => taken.map_err(ClientError::BadChain),
        }
    }
}

/// Asks until there is an answer that `read` takes, across lost connections and a busy validator.
async fn ask<T>(
    link: &Link,
    request: &Request,
    within: Duration,
    read: impl Fn(Response) -> Result<T, Box<Response>>,
) -> Result<T, ClientError> {
    let until = Instant::now() + within;
    loop {
        let error: ClientError = match link.request(request.clone()).await {
            Ok(response) => match read(response) {
                Ok(answer) => return Ok(answer),
                Err(other) => match *other {
                    Response::Failed(reason) => ClientError::Protocol { reason },
                    other => return Err(ClientError::Protocol { reason: format!("{other:?}") }),
                },
            },
            Err(error @ (NetError::TooLong { .. } | NetError::Closed | NetError::Protocol { .. })) => {
                return Err(error.into());
            }
            Err(NetError::Lost { reason }) => {
                ClientError::Unreachable { addresses: link.remote().addresses().to_vec(), reason }
            }
            Err(error) => error.into(),
        };
        if Instant::now() >= until {
            return Err(error);
        }
        tracing::debug!(%error, "asking again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
