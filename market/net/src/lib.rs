//! The network: what peers send becomes events, what we want becomes effects (`spec/07-wire.md`).
//!
//! One task owns the libp2p swarm: QUIC, and TCP with noise and yamux. Control messages are answered through a
//! [`Responder`]; blocks and blobs travel on streams of length-prefixed frames ([`FrameStream`]). The crate
//! decides nothing about what is asked: it bounds it, decodes it strictly and hands it on. It never gives a
//! peer's key a meaning on the ledger.
//!
//! Invariants:
//! - N1: nothing is allocated for a length that a peer merely claims.
//! - N2: every wait on a peer ends at a deadline.
//! - N3: whatever a peer sends ends in an event or a dropped stream, never in a panic.
#![forbid(unsafe_code)]

mod codec;
mod frame;
mod link;
mod swarm;

pub use frame::{FrameStream, StreamError};
pub use link::{Link, Remote};
pub use swarm::{NetHandle, Responder, start};

use libp2p::PeerId;
use samebit_spec::message::{BLOB_PROTOCOL, BLOCKS_PROTOCOL, Request};
use std::{fmt, time::Duration};

/// How a node takes part.
#[derive(Clone)]
pub struct NetConfig {
    /// Secret seed of the peer key: neither an account's nor an operator's.
    pub seed: [u8; 32],
    /// Multiaddresses to listen on, such as `/ip4/127.0.0.1/udp/0/quic-v1`. None: only dials out.
    pub listen: Vec<String>,
    /// Connections that others may hold open to us together.
    pub inbound_max: u32,
    /// Within which a request is answered, or given up.
    pub request: Duration,
}

impl NetConfig {
    /// A node that only dials out.
    #[must_use]
    pub fn dialler(seed: [u8; 32]) -> Self {
        Self { seed, listen: Vec::new(), inbound_max: 0, request: Duration::from_secs(10) }
    }

    /// A node that others dial.
    #[must_use]
    pub fn listener(seed: [u8; 32], listen: Vec<String>) -> Self {
        Self { seed, listen, inbound_max: 512, request: Duration::from_secs(10) }
    }
}

impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig").field("listen", &self.listen).field("inbound_max", &self.inbound_max).finish()
    }
}

/// A peer, by the hash of its peer key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(pub(crate) PeerId);

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// [`BLOCKS_PROTOCOL`].
    Blocks,
    /// [`BLOB_PROTOCOL`].
    Blobs,
}

impl Lane {
    /// The protocol's name on the wire.
    #[must_use]
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Blocks => BLOCKS_PROTOCOL,
            Self::Blobs => BLOB_PROTOCOL,
        }
    }
}

/// What a peer wants of us.
#[derive(Debug)]
pub enum NetEvent {
    /// A control request, decoded.
    Request {
        /// Who asks.
        peer: PeerName,
        /// What.
        request: Request,
        /// Where the answer goes. Dropped, the peer is told nothing and gives up by its deadline.
        responder: Responder,
    },
    /// A stream was opened to us.
    Stream {
        /// By whom.
        peer: PeerName,
        /// For what.
        lane: Lane,
        /// The stream.
        stream: FrameStream,
    },
}

/// Why the network could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Not a multiaddress, or one without the peer's name.
    #[error("{address:?} is no address of a peer: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// Cannot listen there.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// Nobody could be reached at any of the addresses.
    #[error("no answer at {}: {reason}", addresses.join(", "))]
    Unreachable {
        /// Where.
        addresses: Vec<String>,
        /// Why, as far as known.
        reason: String,
    },
    /// Not answered in time. Whether the peer acted on the request is not known.
    #[error("{what} was not answered within {within:?}")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        within: Duration,
    },
    /// The connection or stream ended first. Whether the peer acted on the request is not known.
    #[error("connection lost: {reason}")]
    Lost {
        /// What is known of it.
        reason: String,
    },
    /// The peer does not speak the protocol, or not as `spec/07-wire.md` says.
    #[error("peer does not follow the protocol: {reason}")]
    Protocol {
        /// How.
        reason: String,
    },
    /// Our own message is longer than a peer would take.
    #[error("message of {given} bytes, at most {max}")]
    TooLong {
        /// How long.
        given: usize,
        /// The most.
        max: usize,
    },
    /// This node's network task has ended.
    #[error("this node's network has shut down")]
    Closed,
}
