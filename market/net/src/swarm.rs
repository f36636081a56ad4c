//! The task that owns the swarm, and the handle that speaks to it.

use crate::{FrameStream, Lane, NetConfig, NetError, NetEvent, PeerName, Remote, codec::Codec};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, connection_limits,
    core::transport::ListenerId,
    identify, identity,
    multiaddr::Protocol,
    noise, ping,
    request_response::{self, OutboundFailure, OutboundRequestId, ProtocolSupport, ResponseChannel},
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts, dial_opts::PeerCondition},
    tcp, yamux,
};
use libp2p_stream::{Control, OpenStreamError};
use samebit_spec::{
    message::{CONTROL_PROTOCOL, Request, Response},
    param, wire,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Within which a connection is made, all addresses together.
const DIAL: Duration = Duration::from_secs(8);
/// Within which a stream is opened and its protocol agreed on.
const OPEN: Duration = Duration::from_secs(5);
/// For peers to be told that we go.
const PART: Duration = Duration::from_millis(500);
/// A connection on which nothing happens, pings apart, is closed.
const IDLE: Duration = Duration::from_secs(60);
/// A TCP peer whose machine has gone is noticed after some of these.
const PING: Duration = Duration::from_secs(5);
const PONG: Duration = Duration::from_secs(10);
/// A QUIC peer that has died is noticed after this, in milliseconds: no packet tells of it. Shorter than a
/// heartbeat's deadline, so that a validator's restart costs no host its run.
const QUIC_SILENCE: u32 = 4_000;
/// Connections of one peer: both transports, and some that are about to close.
const PER_PEER: u32 = 8;
/// Streams on one connection, and those that peers may hold open to us: of one peer, and together.
const STREAMS_PER_CONNECTION: usize = 128;
const STREAMS_PER_PEER: u32 = 64;
const STREAMS: u32 = 1024;
/// Requests and streams that wait for the node. Beyond it a peer is told to come back.
const WAITING: usize = 256;

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    control: request_response::Behaviour<Codec>,
    streams: libp2p_stream::Behaviour,
}

type Reply<T> = oneshot::Sender<Result<T, NetError>>;

/// Who waits for a connection, and the addresses it named.
type Dialling = (Vec<String>, Reply<()>);

enum Command {
    Dial { remote: Remote, reply: Reply<()> },
    Request { peer: PeerId, request: Box<Request>, reply: Reply<Response> },
    Respond { channel: ResponseChannel<Response>, response: Box<Response> },
    End { ended: oneshot::Sender<()> },
}

/// Speaks to the network task. Cheap to clone; the task ends when the last handle has gone.
#[derive(Clone)]
pub struct NetHandle {
    commands: mpsc::Sender<Command>,
    control: Control,
    peer: PeerName,
    addresses: Arc<Vec<String>>,
    request: Duration,
}

impl std::fmt::Debug for NetHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetHandle({})", self.peer)
    }
}

impl NetHandle {
    /// This node's own name.
    #[must_use]
    pub fn peer(&self) -> PeerName {
        self.peer
    }

    /// Where this node listens, its name included, QUIC first.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Connects, unless a connection is there. QUIC is tried first, TCP a little later.
    ///
    /// # Errors
    /// [`NetError::Unreachable`], [`NetError::Closed`].
    pub async fn connect(&self, remote: &Remote) -> Result<(), NetError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Dial { remote: remote.clone(), reply }).await?;
        let late = || NetError::Unreachable {
            addresses: remote.addresses().to_vec(),
            reason: format!("no connection within {DIAL:?}"),
        };
        match timeout(DIAL, answer).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(_)) => Err(NetError::Closed),
            Err(_) => Err(late()),
        }
    }

    /// Asks a connected peer.
    ///
    /// # Errors
    /// [`NetError::TooLong`] before anything is sent; [`NetError::Timeout`], [`NetError::Lost`],
    /// [`NetError::Protocol`], [`NetError::Closed`].
    pub async fn request(&self, peer: PeerName, request: Request) -> Result<Response, NetError> {
        let (given, max) = (wire::encode(&request).len(), param::MESSAGE_BYTES_MAX);
        if given > max {
            return Err(NetError::TooLong { given, max });
        }
        let what = name_of(&request);
        let (reply, answer) = oneshot::channel();
        self.command(Command::Request { peer: peer.0, request: Box::new(request), reply }).await?;
        // The swarm's own deadline answers first; this one holds even when its event is lost.
        let within = self.request + Duration::from_secs(2);
        match timeout(within, answer).await {
            Ok(Ok(Err(NetError::Timeout { within, .. }))) => Err(NetError::Timeout { what, within }),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NetError::Closed),
            Err(_) => Err(NetError::Timeout { what, within }),
        }
    }

    /// Opens a stream to a connected peer.
    ///
    /// # Errors
    /// [`NetError::Timeout`], [`NetError::Lost`], [`NetError::Protocol`].
    pub async fn open(&self, peer: PeerName, lane: Lane) -> Result<FrameStream, NetError> {
        let mut control = self.control.clone();
        let opening = control.open_stream(peer.0, StreamProtocol::new(lane.protocol()));
        match timeout(OPEN, opening).await {
            Ok(Ok(stream)) => Ok(FrameStream::new(stream, None)),
            Ok(Err(error @ OpenStreamError::UnsupportedProtocol(_))) => {
                Err(NetError::Protocol { reason: error.to_string() })
            }
            Ok(Err(error)) => Err(NetError::Lost { reason: error.to_string() }),
            Err(_) => Err(NetError::Timeout { what: "opening a stream", within: OPEN }),
        }
    }

    /// Ends the task, telling every peer so that none waits for us. Other handles are of no use afterwards.
    pub async fn end(self) {
        let (ended, done) = oneshot::channel();
        if self.command(Command::End { ended }).await.is_ok() {
            let _ = done.await;
        }
    }

    async fn command(&self, command: Command) -> Result<(), NetError> {
        self.commands.send(command).await.map_err(|_| NetError::Closed)
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Status => "a status request",
        Request::Genesis => "a genesis request",
        Request::Submit(_) => "an entry",
        Request::Missing(_) => "a question for missing blobs",
    }
}

/// Where the answer to a request goes.
pub struct Responder {
    channel: ResponseChannel<Response>,
    commands: mpsc::WeakSender<Command>,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Responder")
    }
}

impl Responder {
    /// Answers. A peer that has gone meanwhile hears nothing, which is no error of ours.
    pub async fn respond(self, response: Response) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Respond { channel: self.channel, response: Box::new(response) }).await;
        }
    }
}

/// A stream's place among those that peers may hold open to us.
pub(crate) struct Place {
    peer: PeerId,
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    taken: u32,
    by_peer: BTreeMap<PeerId, u32>,
}

impl Place {
    fn take(places: &Arc<Mutex<Places>>, peer: PeerId) -> Option<Self> {
        let mut open = places.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.by_peer.get(&peer).copied().unwrap_or(0);
        if open.taken >= STREAMS || own >= STREAMS_PER_PEER {
            return None;
        }
        open.taken += 1;
        open.by_peer.insert(peer, own + 1);
        Some(Self { peer, places: Arc::clone(places) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        open.taken = open.taken.saturating_sub(1);
        if let Some(own) = open.by_peer.get_mut(&self.peer) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

/// Starts the network task on the current tokio runtime and waits until every address is listened on.
///
/// # Errors
/// [`NetError::Address`], [`NetError::Listen`].
pub async fn start(config: NetConfig) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), NetError> {
    let mut swarm = build(&config)?;
    let control = swarm.behaviour().streams.new_control();
    let addresses = listen(&mut swarm, &config.listen).await?;
    let (events_in, events_out) = mpsc::channel(WAITING);
    let (commands_in, commands_out) = mpsc::channel(WAITING);
    let places = Arc::new(Mutex::new(Places::default()));
    for lane in [Lane::Blocks, Lane::Blobs] {
        if config.inbound_max > 0 {
            accept(lane, control.clone(), &places, events_in.clone())?;
        }
    }
    let task = Task {
        commands: commands_in.downgrade(),
        events: events_in,
        dials: BTreeMap::new(),
        requests: BTreeMap::new(),
        request: config.request,
        swarm,
    };
    let peer = PeerName(*task.swarm.local_peer_id());
    tokio::spawn(task.run(commands_out));
    let handle =
        NetHandle { commands: commands_in, control, peer, addresses: Arc::new(addresses), request: config.request };
    Ok((handle, events_out))
}

fn build(config: &NetConfig) -> Result<Swarm<Behaviour>, NetError> {
    let unusable = |reason: String| NetError::Protocol { reason };
    let mut seed = config.seed;
    let key = identity::Keypair::ed25519_from_bytes(&mut seed).map_err(|error| unusable(error.to_string()))?;
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_established_incoming(Some(config.inbound_max))
        .with_max_pending_incoming(Some(config.inbound_max.min(128)))
        .with_max_pending_outgoing(Some(64))
        .with_max_established_per_peer(Some(PER_PEER));
    let identify = identify::Config::new(String::from("/samebit/1"), key.public())
        .with_agent_version(format!("samebit/{}", env!("CARGO_PKG_VERSION")))
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    let control = request_response::Behaviour::with_codec(
        Codec,
        [(StreamProtocol::new(CONTROL_PROTOCOL), ProtocolSupport::Full)],
        request_response::Config::default()
            .with_request_timeout(config.request)
            .with_max_concurrent_streams(STREAMS_PER_CONNECTION),
    );
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING).with_timeout(PONG)),
        control,
        streams: libp2p_stream::Behaviour::new(),
    };
    let yamux = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_PER_CONNECTION);
        config
    };
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux)
        .map_err(|error| unusable(error.to_string()))?
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = u32::try_from(STREAMS_PER_CONNECTION).unwrap_or(128);
            quic.max_stream_data = 2 << 20;
            quic.max_connection_data = 8 << 20;
            quic.max_idle_timeout = QUIC_SILENCE;
            quic.keep_alive_interval = Duration::from_secs(1);
            quic
        })
        .with_behaviour(|_| behaviour)
        .map_err(|error| unusable(error.to_string()))?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE).with_smart_dial())
        .build())
}

async fn listen(swarm: &mut Swarm<Behaviour>, wanted: &[String]) -> Result<Vec<String>, NetError> {
    let mut waiting: Vec<(ListenerId, String)> = Vec::new();
    for text in wanted {
        let address: Multiaddr = text.parse().map_err(|error: libp2p::multiaddr::Error| NetError::Address {
            address: text.clone(),
            reason: error.to_string(),
        })?;
        let failed = |reason: String| NetError::Listen { address: text.clone(), reason };
        let id = swarm.listen_on(address).map_err(|error| failed(error.to_string()))?;
        waiting.push((id, text.clone()));
    }
    let peer = *swarm.local_peer_id();
    let mut found: Vec<Multiaddr> = Vec::new();
    while !waiting.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                waiting.retain(|(id, _)| *id != listener_id);
                found.push(address.with(Protocol::P2p(peer)));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let address =
                    waiting.iter().find(|(id, _)| *id == listener_id).map(|(_, text)| text.clone()).unwrap_or_default();
                let reason = reason.err().map_or_else(|| String::from("closed"), |error| error.to_string());
                return Err(NetError::Listen { address, reason });
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            _ => {}
        }
    }
    let is_tcp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    found.sort_by_key(is_tcp);
    Ok(found.iter().map(ToString::to_string).collect())
}

/// Takes inbound streams of one lane as fast as they come: the swarm keeps only one waiting.
fn accept(
    lane: Lane,
    mut control: Control,
    places: &Arc<Mutex<Places>>,
    events: mpsc::Sender<NetEvent>,
) -> Result<(), NetError> {
    let protocol = StreamProtocol::new(lane.protocol());
    let mut incoming = control.accept(protocol).map_err(|error| NetError::Protocol { reason: error.to_string() })?;
    let places = Arc::clone(places);
    tokio::spawn(async move {
        while let Some((peer, stream)) = incoming.next().await {
            let stream: Stream = stream;
            let Some(place) = Place::take(&places, peer) else {
                tracing::debug!(%peer, ?lane, "too many streams, refused");
                continue;
            };
            let stream = FrameStream::new(stream, Some(place));
            match events.try_send(NetEvent::Stream { peer: PeerName(peer), lane, stream }) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => tracing::debug!(%peer, ?lane, "busy, stream refused"),
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    });
    Ok(())
}

struct Task {
    swarm: Swarm<Behaviour>,
    commands: mpsc::WeakSender<Command>,
    events: mpsc::Sender<NetEvent>,
    dials: BTreeMap<PeerId, Vec<Dialling>>,
    requests: BTreeMap<OutboundRequestId, Reply<Response>>,
    request: Duration,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::End { ended }) => {
                        self.part().await;
                        let _ = ended.send(());
                        return;
                    }
                    Some(command) => self.on_command(command),
                    None => return self.part().await,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    /// Closes every connection. Dropping the swarm alone would leave them open and unanswered.
    async fn part(&mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _ = timeout(PART, closing).await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::End { .. } => {}
            Command::Dial { remote, reply } => self.dial(&remote, reply),
            Command::Request { peer, request, reply } => {
                if !self.swarm.is_connected(&peer) {
                    let _ = reply.send(Err(NetError::Lost { reason: format!("not connected to {peer}") }));
                    return;
                }
                let id = self.swarm.behaviour_mut().control.send_request(&peer, *request);
                self.requests.insert(id, reply);
            }
            Command::Respond { channel, response } => {
                if self.swarm.behaviour_mut().control.send_response(channel, *response).is_err() {
                    tracing::debug!("peer left before its answer");
                }
            }
        }
    }

    fn dial(&mut self, remote: &Remote, reply: Reply<()>) {
        let peer = remote.peer().0;
        if self.swarm.is_connected(&peer) {
            let _ = reply.send(Ok(()));
            return;
        }
        if let Some(waiting) = self.dials.get_mut(&peer) {
            waiting.push((remote.addresses().to_vec(), reply));
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Disconnected)
            .addresses(remote.multiaddresses().to_vec())
            .build();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(peer, vec![(remote.addresses().to_vec(), reply)]);
            }
            Err(error) => {
                let reason = short(&error);
                let _ = reply.send(Err(NetError::Unreachable { addresses: remote.addresses().to_vec(), reason }));
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "connected");
                for (_, reply) in self.dials.remove(&peer_id).unwrap_or_default() {
                    let _ = reply.send(Ok(()));
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                let reason = short(&error);
                tracing::debug!(%peer, reason, "cannot connect");
                for (addresses, reply) in self.dials.remove(&peer).unwrap_or_default() {
                    let _ = reply.send(Err(NetError::Unreachable { addresses, reason: reason.clone() }));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = ?cause, "disconnected");
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection refused");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Control(event)) => self.on_control(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, connection, result })) => {
                self.on_ping(peer, connection, result.is_err());
            }
            SwarmEvent::ListenerClosed { reason, .. } => tracing::warn!(?reason, "listener closed"),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            _ => {}
        }
    }

    fn on_ping(&mut self, peer: PeerId, connection: ConnectionId, failed: bool) {
        if failed {
            tracing::debug!(%peer, "no answer to a ping, closing");
            self.swarm.close_connection(connection);
        }
    }

    fn on_control(&mut self, event: request_response::Event<Request, Response>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let responder = Responder { channel, commands: self.commands.clone() };
                let event = NetEvent::Request { peer: PeerName(peer), request, responder };
                if let Err(mpsc::error::TrySendError::Full(NetEvent::Request { responder, .. })) =
                    self.events.try_send(event)
                {
                    let busy = Response::Failed(String::from("busy, come back later"));
                    let _ = self.swarm.behaviour_mut().control.send_response(responder.channel, busy);
                }
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(reply) = self.requests.remove(&request_id) {
                    let _ = reply.send(Ok(response));
                }
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "request failed");
                let error = match error {
                    OutboundFailure::Timeout => NetError::Timeout { what: "a request", within: self.request },
                    OutboundFailure::UnsupportedProtocols => NetError::Protocol { reason: error.to_string() },
                    OutboundFailure::Io(ref io) if io.kind() == std::io::ErrorKind::InvalidData => {
                        NetError::Protocol { reason: io.to_string() }
                    }
                    OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed | OutboundFailure::Io(_) => {
                        NetError::Lost { reason: error.to_string() }
                    }
                };
                if let Some(reply) = self.requests.remove(&request_id) {
                    let _ = reply.send(Err(error));
                }
            }
            Event::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "inbound request failed"),
            Event::ResponseSent { .. } => {}
        }
    }
}

/// The last part of libp2p's many-line errors.
fn short(error: &impl std::error::Error) -> String {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(400).collect()
}
