//! What the validator answers to peers. Nothing that a peer sends or leaves unsaid holds up anyone else.

use crate::{
    ordering::{Chain, Order, Orders},
    transfer::{self, BLOB_FRAME_MAX, TransferError},
};
use samebit_blobs::{BlobError, BlobStore};
use samebit_net::{FrameStream, Lane, NetEvent, Responder, StreamError};
use samebit_spec::{
    block::Genesis,
    content::BlobRef,
    entry::SignedEntry,
    message::{BlobAnswer, BlobRequest, Follow, Request, Response},
    param,
    unit::{Bytes, Height},
    wire,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// For an entry to be ordered.
const ORDER: Duration = Duration::from_secs(8);
/// For a follower to say from where.
const WISH: Duration = Duration::from_secs(10);
/// For a block to be taken by a follower.
const TAKE: Duration = Duration::from_secs(30);
/// A blob stream without a request is ended after this.
const REST: Duration = Duration::from_secs(60);
/// A refused blob of this size is still read, so that the stream can be used on.
const DRAIN: Bytes = Bytes(16 << 20);

/// What serving needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) chain: Arc<Chain>,
    pub(crate) orders: Orders,
    pub(crate) store: BlobStore,
}

impl Server {
    /// Serves one event on a task of its own.
    pub(crate) fn take(&self, event: NetEvent) {
        let server = self.clone();
        match event {
            NetEvent::Request { request, responder, .. } => {
                tokio::spawn(async move { server.answer(request, responder).await });
            }
            NetEvent::Stream { peer, lane: Lane::Blocks, stream } => {
                tokio::spawn(async move {
                    if let Err(error) = server.blocks(stream).await {
                        tracing::debug!(%peer, %error, "block stream ended");
                    }
                });
            }
            NetEvent::Stream { peer, lane: Lane::Blobs, stream } => {
                tokio::spawn(async move {
                    if let Err(error) = server.blobs(stream).await {
                        tracing::debug!(%peer, %error, "blob stream ended");
                    }
                });
            }
        }
    }

    async fn answer(&self, request: Request, responder: Responder) {
        let response = match request {
            Request::Status => Response::Status(*self.chain.head.borrow()),
            Request::Genesis => Response::Genesis((*self.genesis).clone()),
            Request::Submit(signed) => self.submit(signed).await,
            Request::Missing(ids) if ids.len() > param::MISSING_MAX => {
                Response::Failed(format!("{} blobs asked about, at most {}", ids.len(), param::MISSING_MAX))
            }
            Request::Missing(mut ids) => {
                let store = self.store.clone();
                let looked = transfer::blocking(move || {
                    ids.retain(|id| store.len(id).is_none());
                    Ok(ids)
                });
                looked.await.map_or_else(|error| Response::Failed(error.to_string()), Response::Missing)
            }
        };
        responder.respond(response).await;
    }

    async fn submit(&self, signed: SignedEntry) -> Response {
        let (given, max) = (wire::encode(&signed).len(), param::ENTRY_BYTES_MAX);
        if given > max {
            return Response::Failed(format!("entry of {given} bytes, at most {max}"));
        }
        let (fate, answer) = oneshot::channel();
        if !self.orders.give(Order::Submit { signed: Box::new(signed), fate }) {
            return Response::Failed(String::from("busy, come back later"));
        }
        match tokio::time::timeout(ORDER, answer).await {
            Ok(Ok(Ok((entry, height)))) => Response::Included { entry, height },
            Ok(Ok(Err(refusal))) => Response::Refused(refusal),
            Ok(Err(_)) => Response::Failed(String::from("shutting down")),
            Err(_) => Response::Failed(String::from("busy, come back later")),
        }
    }

    async fn blocks(&self, mut stream: FrameStream) -> Result<(), StreamError> {
        let Some(Follow { from }) = stream.receive(BLOB_FRAME_MAX, WISH).await? else { return Ok(()) };
        let mut next = Height(from.0.max(1));
        let mut head = self.chain.head.subscribe();
        loop {
            let height = head.borrow_and_update().height;
            while next <= height {
                for block in self.read(next).await {
                    stream.send_bytes(&block, TAKE).await?;
                    next = Height(next.0 + 1);
                }
            }
            tokio::select! {
                changed = head.changed() => if changed.is_err() { return Ok(()) },
                () = stream.ended() => return Ok(()),
            }
        }
    }

    /// At least one block from `height` on, which is at most the head.
    async fn read(&self, height: Height) -> Vec<Arc<[u8]>> {
        if let Some(block) = self.chain.recent(height) {
            return vec![block];
        }
        let (blocks, read) = oneshot::channel();
        if self.orders.give(Order::Read { from: height, blocks })
            && let Ok(blocks) = read.await
        {
            return blocks;
        }
        // Too many wait; so does this follower.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Vec::new()
    }

    async fn blobs(&self, mut stream: FrameStream) -> Result<(), TransferError> {
        loop {
            let Some(request) = stream.receive(BLOB_FRAME_MAX, REST).await? else { return Ok(()) };
            match request {
                BlobRequest::Get { id } => {
                    let Some(len) = self.store.len(&id) else {
                        stream.send(&BlobAnswer::Unknown, TAKE).await?;
                        continue;
                    };
                    stream.send(&BlobAnswer::Found { len }, TAKE).await?;
                    transfer::send_content(&mut stream, &self.store, &BlobRef { id, len }).await?;
                }
                BlobRequest::Put { id, len } => self.keep(&mut stream, &BlobRef { id, len }).await?,
            }
        }
    }

    async fn keep(&self, stream: &mut FrameStream, blob: &BlobRef) -> Result<(), TransferError> {
        if self.store.has(blob) {
            if blob.len <= DRAIN {
                transfer::drain(stream, blob.len).await?;
            }
            return Ok(stream.send(&BlobAnswer::Kept, TAKE).await?);
        }
        match transfer::receive_content(stream, &self.store, blob).await {
            Ok(()) => Ok(stream.send(&BlobAnswer::Kept, TAKE).await?),
            // All its bytes were read, so the stream is in step.
            Err(TransferError::Blob(BlobError::Mismatch { .. })) => Ok(stream.send(&BlobAnswer::Refused, TAKE).await?),
            // None of its bytes were.
            Err(TransferError::Blob(error @ (BlobError::TooLarge { .. } | BlobError::Quota { .. }))) => {
                tracing::debug!(%error, "blob refused");
                stream.send(&BlobAnswer::Refused, TAKE).await?;
                if blob.len <= DRAIN { transfer::drain(stream, blob.len).await } else { Err(error.into()) }
            }
            Err(error) => Err(error),
        }
    }
}
