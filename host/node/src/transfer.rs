//! Moves blobs between a store and the keeper, several at once (`spec/07-wire.md`, section 6).
//!
//! Many small files travel side by side on a few streams, so that neither round trips nor syncs add up. What
//! arrives is hashed before it gets a name; what is pushed is asked about first.

use samebit_blobs::{BlobError, BlobStore};
use samebit_net::{FrameStream, Lane, Link, NetError, StreamError};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    id::BlobId,
    message::{BlobAnswer, BlobRequest, Request, Response},
    param,
    unit::Bytes,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    task::{JoinSet, spawn_blocking},
};

/// Streams that carry blobs side by side.
const LANES: usize = 12;
/// Bytes that are read or written at once; a blob up to this size is held whole.
const CHUNK: usize = 256 << 10;
/// For any single piece to move.
const PIECE: Duration = Duration::from_secs(30);
/// For a large blob to be hashed and synced at the other end.
const KEEP: Duration = Duration::from_secs(120);
/// Bytes of an encoded [`BlobRequest`] or [`BlobAnswer`], at most.
pub(crate) const BLOB_FRAME_MAX: usize = 64;
/// Streams that a lane opens in a row without moving a blob.
const TRIES: usize = 6;

/// Why content did not get where it should.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The keeper does not have it.
    #[error("the keeper does not have {blob}")]
    MissingBlob {
        /// Which.
        blob: BlobId,
    },
    /// The keeper would not take it: full, too long, or the bytes are not the blob's.
    #[error("the keeper refused {blob} ({len} bytes)")]
    RefusedBlob {
        /// Which.
        blob: BlobId,
        /// How long.
        len: Bytes,
    },
    /// The keeper sent something else than it was asked for.
    #[error("the keeper's answer for {blob} is wrong: {reason}")]
    WrongAnswer {
        /// For which blob.
        blob: BlobId,
        /// How.
        reason: String,
    },
    /// Our own store.
    #[error("{0}")]
    Blob(#[from] BlobError),
    /// The connection.
    #[error("{0}")]
    Net(#[from] NetError),
    /// A stream.
    #[error("{0}")]
    Stream(#[from] StreamError),
}

impl TransferError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::MissingBlob { .. } | Self::Stream(_) | Self::WrongAnswer { .. } => true,
            Self::Net(error) => !matches!(error, NetError::Closed | NetError::Address { .. }),
            Self::RefusedBlob { .. } | Self::Blob(_) => false,
        }
    }
}

/// Counts the bytes that have moved, for progress bars.
pub(crate) type Moved = Arc<AtomicU64>;

/// Which of `blobs` the keeper lacks, each once.
pub(crate) async fn missing(link: &Link, blobs: &[BlobRef]) -> Result<Vec<BlobRef>, TransferError> {
    let wanted: Vec<BlobRef> = blobs.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let mut lacking = Vec::new();
    for asked in wanted.chunks(param::MISSING_MAX) {
        let ids = asked.iter().map(|blob| blob.id).collect();
        match link.request(Request::Missing(ids)).await? {
            Response::Missing(ids) => {
                let ids: BTreeSet<_> = ids.into_iter().collect();
                lacking.extend(asked.iter().filter(|blob| ids.contains(&blob.id)));
            }
            Response::Failed(reason) => return Err(NetError::Lost { reason }.into()),
            other => return Err(NetError::Protocol { reason: format!("answer to Missing: {other:?}") }.into()),
        }
    }
    Ok(lacking)
}

/// Which way blobs go.
#[derive(Clone, Copy)]
enum Way {
    /// The first refusal ends it.
    Push,
    /// A refused blob is passed over until the others are there.
    Offer,
    Fetch,
}

/// Sends `blobs` from `store`. Ask [`missing`] first.
pub(crate) async fn put_all(
    link: &Link,
    store: &BlobStore,
    blobs: Vec<BlobRef>,
    moved: &Moved,
) -> Result<(), TransferError> {
    lanes(Way::Push, link, store, blobs, moved).await
}

/// Like [`put_all`], but one that is refused does not keep the others from being sent; the first refusal is told
/// at the end.
pub(crate) async fn offer_all(
    link: &Link,
    store: &BlobStore,
    blobs: Vec<BlobRef>,
    moved: &Moved,
) -> Result<(), TransferError> {
    lanes(Way::Offer, link, store, blobs, moved).await
}

/// Brings `blobs` into `store`. Those that are there are not asked for.
pub(crate) async fn get_all(
    link: &Link,
    store: &BlobStore,
    blobs: Vec<BlobRef>,
    moved: &Moved,
) -> Result<(), TransferError> {
    let lacking = blobs.into_iter().collect::<BTreeSet<_>>().into_iter().filter(|blob| !store.has(blob)).collect();
    lanes(Way::Fetch, link, store, lacking, moved).await
}

/// Brings a tree's manifest and all its files into `store`.
pub(crate) async fn get_tree(
    link: &Link,
    store: &BlobStore,
    tree: &TreeRef,
    moved: &Moved,
) -> Result<Tree, TransferError> {
    get_all(link, store, vec![tree.manifest()], moved).await?;
    let tree = store.tree(tree)?;
    get_all(link, store, tree.files().iter().map(|file| file.blob).collect(), moved).await?;
    Ok(tree)
}

async fn lanes(
    way: Way,
    link: &Link,
    store: &BlobStore,
    mut blobs: Vec<BlobRef>,
    moved: &Moved,
) -> Result<(), TransferError> {
    // Taken from the end: the largest first, so that none is left to the last lane alone.
    blobs.sort_by_key(|blob| blob.len);
    let lanes = blobs.len().min(LANES);
    let queue = Arc::new(Mutex::new(blobs));
    let mut running = JoinSet::new();
    for _ in 0..lanes {
        running.spawn(lane(way, link.clone(), store.clone(), Arc::clone(&queue), Arc::clone(moved)));
    }
    let mut refused = None;
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(Err(error @ TransferError::RefusedBlob { .. })) if matches!(way, Way::Offer) => {
                refused.get_or_insert(error);
            }
            Ok(result) => result?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(NetError::Closed.into()),
        }
    }
    refused.map_or(Ok(()), Err)
}

async fn lane(
    way: Way,
    link: Link,
    store: BlobStore,
    queue: Arc<Mutex<Vec<BlobRef>>>,
    moved: Moved,
) -> Result<(), TransferError> {
    let blobs = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let mut open: Option<FrameStream> = None;
    let mut refused = None;
    let mut tries = 0;
    loop {
        let Some(blob) = blobs().pop() else { break };
        let result = match &mut open {
            Some(stream) => match way {
                Way::Push | Way::Offer => put_one(stream, &store, &blob).await,
                Way::Fetch => get_one(stream, &store, &blob).await,
            },
            None => match link.open(Lane::Blobs).await {
                Ok(stream) => {
                    open = Some(stream);
                    blobs().push(blob);
                    continue;
                }
                Err(error) => Err(error.into()),
            },
        };
        match result {
            Ok(()) => {
                tries = 0;
                moved.fetch_add(blob.len.0, Ordering::Relaxed);
            }
            // The keeper may have ended the stream with its refusal.
            Err(error @ TransferError::RefusedBlob { .. }) if matches!(way, Way::Offer) => {
                open = None;
                refused.get_or_insert(error);
            }
            // A stream may be refused when many are opened at once, or break with its connection. Another lane
            // may take the blob meanwhile.
            Err(TransferError::Stream(_) | TransferError::Net(NetError::Lost { .. })) if tries < TRIES => {
                open = None;
                blobs().push(blob);
                tries += 1;
                tokio::time::sleep(Duration::from_millis(25 << tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(mut stream) = open {
        let _ = stream.close(PIECE).await;
    }
    refused.map_or(Ok(()), Err)
}

async fn put_one(stream: &mut FrameStream, store: &BlobStore, blob: &BlobRef) -> Result<(), TransferError> {
    let sent = async {
        stream.send(&BlobRequest::Put { id: blob.id, len: blob.len }, PIECE).await?;
        send_content(stream, store, blob).await
    }
    .await;
    // A keeper that refuses says so and ends the stream, so a failure to send may have an answer waiting.
    let answer = match &sent {
        Ok(()) => stream.receive::<BlobAnswer>(BLOB_FRAME_MAX, KEEP).await,
        Err(TransferError::Stream(_)) => stream.receive::<BlobAnswer>(BLOB_FRAME_MAX, Duration::from_secs(1)).await,
        Err(_) => Ok(None),
    };
    match answer {
        Ok(Some(BlobAnswer::Refused)) => Err(TransferError::RefusedBlob { blob: blob.id, len: blob.len }),
        Ok(Some(BlobAnswer::Kept)) => sent,
        Ok(Some(other)) => Err(TransferError::WrongAnswer { blob: blob.id, reason: format!("{other:?} to a put") }),
        Ok(None) => sent.and(Err(StreamError::Broken { reason: String::from("ended before its answer") }.into())),
        Err(error) => sent.and(Err(error.into())),
    }
}

async fn get_one(stream: &mut FrameStream, store: &BlobStore, blob: &BlobRef) -> Result<(), TransferError> {
    stream.send(&BlobRequest::Get { id: blob.id }, PIECE).await?;
    match stream.receive::<BlobAnswer>(BLOB_FRAME_MAX, KEEP).await? {
        Some(BlobAnswer::Found { len }) if len == blob.len => receive_content(stream, store, blob).await,
        Some(BlobAnswer::Unknown) => Err(TransferError::MissingBlob { blob: blob.id }),
        Some(other) => Err(TransferError::WrongAnswer { blob: blob.id, reason: format!("{other:?} to a get") }),
        None => Err(StreamError::Broken { reason: String::from("ended before its answer") }.into()),
    }
}

/// Sends a blob's bytes. A small one is verified first. A large one is hashed on its way: if it is not the blob, its
/// last bytes are not sent, so that nobody takes it for whole, and the store sets it aside.
pub(crate) async fn send_content(
    stream: &mut FrameStream,
    store: &BlobStore,
    blob: &BlobRef,
) -> Result<(), TransferError> {
    let wanted = *blob;
    if blob.len.0 <= CHUNK as u64 {
        let store = store.clone();
        let bytes = blocking(move || store.read(&wanted)).await?;
        stream.write_raw(&bytes, PIECE).await?;
        return Ok(stream.flush(PIECE).await?);
    }
    let opened = store.clone();
    let (file, len) = blocking(move || opened.open_file(&wanted.id)).await?;
    if len != blob.len {
        return Err(BlobError::Length { blob: *blob, len }.into());
    }
    let mut file = tokio::fs::File::from_std(file);
    let mut hasher = blake3::Hasher::new();
    let (mut chunk, mut left) = (vec![0; CHUNK], len.0);
    while left > 0 {
        let want = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let io = |source| BlobError::Io { doing: "reading", path: blob.id.to_string().into(), source };
        let count = file.read(&mut chunk[..want]).await.map_err(io)?;
        if count == 0 {
            return Err(BlobError::Length { blob: *blob, len: Bytes(len.0 - left) }.into());
        }
        hasher.update(&chunk[..count]);
        left -= count as u64;
        if left == 0 && *hasher.finalize().as_bytes() != blob.id.0 {
            let store = store.clone();
            blocking(move || store.verify(&wanted)).await?;
            // The disk gave other bytes at the second reading.
            return Err(StreamError::Broken { reason: format!("{} was not read whole", wanted.id) }.into());
        }
        stream.write_raw(&chunk[..count], PIECE).await?;
    }
    Ok(stream.flush(PIECE).await?)
}

/// Receives exactly the bytes of `blob` and keeps them if they are its bytes.
pub(crate) async fn receive_content(
    stream: &mut FrameStream,
    store: &BlobStore,
    blob: &BlobRef,
) -> Result<(), TransferError> {
    let (store, expected) = (store.clone(), *blob);
    let mut writer = Some(blocking(move || store.writer(expected)).await?);
    let (mut chunk, mut left) = (Vec::new(), blob.len.0);
    while left > 0 {
        // The buffer grows with what came, not with what was claimed.
        let want = CHUNK.min(usize::try_from(left).unwrap_or(usize::MAX));
        chunk.resize(want, 0);
        let mut filled = 0;
        while filled < want {
            filled += stream.read_raw(&mut chunk[filled..], PIECE).await?;
        }
        left -= filled as u64;
        let (bytes, mut own) = (std::mem::take(&mut chunk), writer.take());
        (writer, chunk) = blocking(move || {
            if let Some(writer) = &mut own {
                writer.write(&bytes)?;
            }
            Ok((own, bytes))
        })
        .await?;
    }
    blocking(move || writer.map_or(Ok(()), |writer| writer.finish().map(|_| ()))).await
}

/// Reads and drops `len` bytes, so that a stream stays in step after a refusal.
pub(crate) async fn drain(stream: &mut FrameStream, len: Bytes) -> Result<(), TransferError> {
    let (mut chunk, mut left) = (vec![0; CHUNK], len.0);
    while left > 0 {
        let want = CHUNK.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= stream.read_raw(&mut chunk[..want], PIECE).await? as u64;
    }
    Ok(())
}

/// Does file work off the threads that serve the network.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, TransferError> {
    match spawn_blocking(act).await {
        Ok(result) => Ok(result?),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down; whoever waits is going too.
        Err(_) => Err(NetError::Closed.into()),
    }
}
