//! Real swarms on loopback, well-behaved and not.

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{StreamProtocol, SwarmBuilder, noise, swarm::SwarmEvent, yamux};
use samebit_net::{Lane, Link, NetConfig, NetError, NetEvent, NetHandle, Remote, StreamError, start};
use samebit_spec::{
    id::{BlobId, BlockId, GenesisId},
    message::{BLOB_PROTOCOL, BLOCKS_PROTOCOL, CONTROL_PROTOCOL, Follow, Request, Response, Status},
    param,
    unit::{Height, Time},
};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const SOON: Duration = Duration::from_secs(10);

fn status() -> Status {
    Status { genesis: GenesisId([1; 32]), height: Height(7), head: BlockId([2; 32]), time: Time(9) }
}

/// Answers status requests, echoes `Missing`, stays silent on `Genesis`; on a stream sends a follower's wish back.
async fn server(seed: u8, listen: &[&str]) -> Remote {
    let listen = listen.iter().map(ToString::to_string).collect();
    let config = NetConfig::listener([seed; 32], listen);
    let (handle, events) = start(config).await.unwrap();
    let remote = Remote::parse(handle.addresses()).unwrap();
    tokio::spawn(serve(handle, events));
    remote
}

async fn serve(_handle: NetHandle, mut events: mpsc::Receiver<NetEvent>) {
    let mut held = Vec::new();
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Request { request: Request::Status, responder, .. } => {
                responder.respond(Response::Status(status())).await;
            }
            NetEvent::Request { request: Request::Missing(ids), responder, .. } => {
                responder.respond(Response::Missing(ids)).await;
            }
            NetEvent::Request { responder, .. } => held.push(responder),
            NetEvent::Stream { mut stream, .. } => {
                tokio::spawn(async move {
                    while let Ok(Some(follow)) = stream.receive::<Follow>(64, Duration::from_secs(2)).await {
                        if stream.send(&follow, SOON).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    }
}

async fn client(seed: u8, remote: &Remote) -> Link {
    let config = NetConfig { request: Duration::from_secs(2), ..NetConfig::dialler([seed; 32]) };
    let (handle, _) = start(config).await.unwrap();
    Link::new(handle, remote.clone())
}

async fn works(link: &Link) {
    assert_eq!(link.request(Request::Status).await, Ok(Response::Status(status())));
    for lane in [Lane::Blocks, Lane::Blobs] {
        let mut stream = link.open(lane).await.unwrap();
        for height in [1, 2] {
            let follow = Follow { from: Height(height) };
            stream.send(&follow, SOON).await.unwrap();
            assert_eq!(stream.receive::<Follow>(64, SOON).await, Ok(Some(follow)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_streams_work_over_quic_and_over_tcp() {
    for (seed, listen) in [(1, vec![QUIC]), (2, vec![TCP]), (3, vec![TCP, QUIC])] {
        let remote = server(seed, &listen).await;
        assert!(remote.addresses()[0].contains("quic") || listen == [TCP], "QUIC comes first");
        works(&client(seed + 100, &remote).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_serves_where_quic_does_not_get_through() {
    let remote = server(4, &[TCP]).await;
    let name = remote.peer();
    // Nothing answers there.
    let dead = format!("/ip4/127.0.0.1/udp/9/quic-v1/p2p/{name}");
    let both = Remote::parse(&[dead, remote.addresses()[0].clone()]).unwrap();
    timeout(Duration::from_secs(4), works(&client(104, &both).await)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_on_either_side() {
    let remote = server(5, &[QUIC]).await;
    let link = client(105, &remote).await;
    let most = (param::MESSAGE_BYTES_MAX - 5) / 32;
    let fits = vec![BlobId([3; 32]); most];
    assert_eq!(link.request(Request::Missing(fits.clone())).await, Ok(Response::Missing(fits)));
    let too_many = link.request(Request::Missing(vec![BlobId([3; 32]); most + 1])).await;
    assert!(matches!(too_many, Err(NetError::TooLong { .. })), "{too_many:?}");

    let mut stream = link.open(Lane::Blocks).await.unwrap();
    stream.send(&Follow { from: Height(1) }, SOON).await.unwrap();
    assert!(matches!(stream.receive::<Follow>(4, SOON).await, Err(StreamError::TooLong { given: 8, max: 4 })));
    works(&link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_given_up_and_a_dead_one_is_unreachable() {
    let remote = server(6, &[TCP]).await;
    let link = client(106, &remote).await;
    let silent = timeout(SOON, link.request(Request::Genesis)).await.unwrap();
    assert!(matches!(silent, Err(NetError::Timeout { .. })), "{silent:?}");
    let mut stream = link.open(Lane::Blobs).await.unwrap();
    let within = Duration::from_millis(300);
    assert_eq!(stream.receive::<Follow>(64, within).await, Err(StreamError::Silent { within }));
    // The server, for its part, ends a stream on which nothing comes.
    assert!(!matches!(stream.receive::<Follow>(64, SOON).await, Err(StreamError::Silent { .. })));
    works(&link).await;

    let name = remote.peer();
    let nobody = Remote::parse(&[format!("/ip4/127.0.0.1/tcp/9/p2p/{name}")]).unwrap();
    let refused = timeout(SOON, client(107, &nobody).await.request(Request::Status)).await.unwrap();
    assert!(matches!(&refused, Err(NetError::Unreachable { addresses, .. }) if addresses == nobody.addresses()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_key_than_its_address_says_is_not_believed() {
    let remote = server(7, &[TCP]).await;
    let other = server(8, &[TCP]).await.peer();
    let lie = remote.addresses()[0].replace(&remote.peer().to_string(), &other.to_string());
    let link = client(108, &Remote::parse(&[lie]).unwrap()).await;
    assert!(matches!(link.request(Request::Status).await, Err(NetError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_finds_a_peer_that_restarts() {
    for (seed, listen) in [(9, TCP), (10, QUIC)] {
        restarts(seed, listen).await;
    }
}

async fn restarts(seed: u8, listen: &str) {
    let (handle, events) = start(NetConfig::listener([seed; 32], vec![listen.into()])).await.unwrap();
    let remote = Remote::parse(handle.addresses()).unwrap();
    let listen = vec![handle.addresses()[0].split("/p2p/").next().unwrap().to_string()];
    let task = tokio::spawn(serve(handle, events));
    let link = client(100 + seed, &remote).await;
    works(&link).await;
    task.abort();
    let _ = task.await;
    let (handle, events) = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        match start(NetConfig::listener([seed; 32], listen.clone())).await {
            Ok(started) => break started,
            Err(error) => eprintln!("{error}"),
        }
    };
    tokio::spawn(serve(handle, events));
    let back = async { while link.request(Request::Status).await.is_err() {} };
    timeout(Duration::from_secs(20), back).await.unwrap();
    works(&link).await;
}

#[test]
fn addresses_that_name_no_peer_are_refused() {
    let name = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let good = format!("/ip4/127.0.0.1/tcp/1/p2p/{name}");
    assert_eq!(Remote::parse(std::slice::from_ref(&good)).unwrap().peer().to_string(), name);
    for bad in ["", "nonsense", "/ip4/127.0.0.1/tcp/1", "/ip4/999.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/x"] {
        assert!(matches!(Remote::parse(&[bad.into()]), Err(NetError::Address { .. })), "{bad:?}");
    }
    assert!(matches!(Remote::parse(&[]), Err(NetError::Address { .. })));
}

/// A peer that opens every protocol and says nonsense on it, or starts and says nothing more.
async fn garbage(remote: &Remote) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(Default::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .build();
    let control = swarm.behaviour().new_control();
    swarm.dial(remote.addresses()[0].parse::<libp2p::Multiaddr>().unwrap()).unwrap();
    let peer = loop {
        if let SwarmEvent::ConnectionEstablished { peer_id, .. } = swarm.select_next_some().await {
            break peer_id;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let payloads: [Vec<u8>; 7] = [
        vec![],
        vec![0],
        vec![0xff; 4],
        vec![0xff; 100_000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [&3_u32.to_le_bytes()[..], &[200, 1, 2]].concat(),
        // A request for more missing blobs than follow, within a frame of an honest length.
        [&9_u32.to_le_bytes()[..], &[3], &u32::MAX.to_le_bytes(), &[0; 4]].concat(),
    ];
    for protocol in [CONTROL_PROTOCOL, BLOCKS_PROTOCOL, BLOB_PROTOCOL] {
        for payload in &payloads {
            for ends in [true, false] {
                let mut control = control.clone();
                let Ok(mut stream) = control.open_stream(peer, StreamProtocol::new(protocol)).await else { continue };
                let _ = stream.write_all(payload).await;
                let _ = stream.flush().await;
                if ends {
                    let _ = stream.close().await;
                    let mut rest = Vec::new();
                    let _ = timeout(Duration::from_millis(200), stream.read_to_end(&mut rest)).await;
                } else {
                    tokio::spawn(async move {
                        tokio::time::sleep(SOON).await;
                        drop(stream);
                    });
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_protocol_leaves_the_node_serving_others() {
    for (seed, listen) in [(20, QUIC), (21, TCP)] {
        let remote = server(seed, &[listen]).await;
        let link = client(seed + 100, &remote).await;
        works(&link).await;
        timeout(Duration::from_secs(60), garbage(&remote)).await.unwrap();
        works(&link).await;
        works(&client(seed + 150, &remote).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_handshake_leave_the_node_serving_others() {
    use std::io::Write;
    let remote = server(30, &[TCP, QUIC]).await;
    let port = |kind: &str| {
        let address = remote.addresses().iter().find(|address| address.contains(kind)).unwrap();
        address.split('/').nth(4).unwrap().parse::<u16>().unwrap()
    };
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut held = Vec::new();
    for fill in 0..32_u8 {
        udp.send_to(&vec![fill.wrapping_mul(37); 1200], ("127.0.0.1", port("/udp/"))).unwrap();
        let mut tcp = std::net::TcpStream::connect(("127.0.0.1", port("/tcp/"))).unwrap();
        let _ = tcp.write_all(&vec![fill; 4096]);
        held.push(tcp);
    }
    works(&client(130, &remote).await).await;
}
