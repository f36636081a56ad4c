//! A lasting link to one remote node: dials when needed, and not too often.

use crate::{FrameStream, Lane, NetError, NetHandle, PeerName};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use samebit_spec::message::{Request, Response};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// First pause after a failed dial, and the longest: each failure doubles it.
const PAUSE_LEAST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// A node that is reached at one or several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    peer: PeerName,
    addresses: Vec<Multiaddr>,
    text: Vec<String>,
}

impl Remote {
    /// Reads the addresses of one peer, each ending in `/p2p/NAME`.
    ///
    /// # Errors
    /// [`NetError::Address`] for text that is no multiaddress, has no name, or names another peer.
    pub fn parse(addresses: &[String]) -> Result<Self, NetError> {
        let mut remote: Option<PeerId> = None;
        let mut parsed = Vec::new();
        for text in addresses {
            let refuse = |reason: &str| NetError::Address { address: text.clone(), reason: reason.to_string() };
            let address: Multiaddr =
                text.parse().map_err(|error: libp2p::multiaddr::Error| refuse(&error.to_string()))?;
            let Some(Protocol::P2p(peer)) = address.iter().last() else {
                return Err(refuse("it does not end in /p2p/ and the peer's name"));
            };
            if remote.is_some_and(|known| known != peer) {
                return Err(refuse("it names another peer than the address before it"));
            }
            remote = Some(peer);
            parsed.push(address);
        }
        let missing = || NetError::Address { address: String::new(), reason: String::from("there is none") };
        Ok(Self { peer: PeerName(remote.ok_or_else(missing)?), addresses: parsed, text: addresses.to_vec() })
    }

    /// The peer's name.
    #[must_use]
    pub fn peer(&self) -> PeerName {
        self.peer
    }

    /// The addresses as they were given.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.text
    }

    pub(crate) fn multiaddresses(&self) -> &[Multiaddr] {
        &self.addresses
    }
}

/// A handle and a remote. Cheap to clone; clones share the pause between dials.
#[derive(Clone, Debug)]
pub struct Link {
    net: NetHandle,
    remote: Remote,
    pause: Arc<Mutex<Pause>>,
}

#[derive(Debug)]
struct Pause {
    next: Duration,
    until: Option<Instant>,
}

impl Link {
    /// A link that is not yet dialled.
    #[must_use]
    pub fn new(net: NetHandle, remote: Remote) -> Self {
        let pause = Arc::new(Mutex::new(Pause { next: PAUSE_LEAST, until: None }));
        Self { net, remote, pause }
    }

    /// The other end.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Connects unless connected, after the pause that earlier failures have earned.
    ///
    /// # Errors
    /// [`NetError::Unreachable`], [`NetError::Closed`].
    pub async fn connect(&self) -> Result<(), NetError> {
        let until = self.pause().until;
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
        let connected = self.net.connect(&self.remote).await;
        let mut pause = self.pause();
        if connected.is_ok() {
            *pause = Pause { next: PAUSE_LEAST, until: None };
        } else {
            pause.until = Some(Instant::now() + pause.next);
            pause.next = (pause.next * 2).min(PAUSE_MOST);
        }
        drop(pause);
        connected
    }

    /// Asks, connecting first where needed.
    ///
    /// # Errors
    /// As [`Link::connect`] and [`NetHandle::request`].
    pub async fn request(&self, request: Request) -> Result<Response, NetError> {
        self.connect().await?;
        self.net.request(self.remote.peer, request).await
    }

    /// Opens a stream, connecting first where needed.
    ///
    /// # Errors
    /// As [`Link::connect`] and [`NetHandle::open`].
    pub async fn open(&self, lane: Lane) -> Result<FrameStream, NetError> {
        self.connect().await?;
        self.net.open(self.remote.peer, lane).await
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
