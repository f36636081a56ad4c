//! The validator's daemon: orders entries, serves blocks, keeps content.
//!
//! *Solo is a trusted coordinator*: it cannot forge an entry or change a rule, since everyone replays its
//! blocks; it can delay or leave out. Killed at any moment it loses nothing that it has acknowledged: its state
//! is the replay of its log.

use crate::{
    daemon::{Announce, NodeError, Shutdown},
    invitation, keeper,
    keys::Keypair,
    ordering,
    serve::Server,
};
use samebit_blobs::BlobStore;
use samebit_ledger::Solo;
use samebit_net::{NetConfig, NetError};
use samebit_spec::{
    block::{Genesis, Invitation},
    unit::{Bytes, Time},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Jobs that may wait for the keeper.
const AWAITING: usize = 1024;

/// For the last block to be kept.
const END: Duration = Duration::from_secs(10);
/// A clock that is behind the chain by more is told of.
const DRIFT: Duration = Duration::from_secs(60);

/// What a validator needs.
#[derive(Debug)]
pub struct Config {
    /// Its folder: ledger, content, where it listened last.
    pub dir: PathBuf,
    /// The chain.
    pub genesis: Genesis,
    /// The key that the genesis names.
    pub signer: Keypair,
    /// Names it on the network, and nothing else.
    pub peer: Keypair,
    /// Multiaddresses. Port 0 picks a free one, and the same again after a restart.
    pub listen: Vec<String>,
    /// Where to write how to join.
    pub invitation: Option<PathBuf>,
    /// Bytes of content that it keeps for others.
    pub quota: Bytes,
    /// Whom it tells that it is ready.
    pub announce: Announce,
}

/// Where a validator in `dir` keeps its ledger.
#[must_use]
pub fn ledger_dir(dir: &Path) -> PathBuf {
    dir.join("ledger")
}

/// Where a validator in `dir` keeps content.
#[must_use]
pub fn blobs_dir(dir: &Path) -> PathBuf {
    dir.join("blobs")
}

/// Serves until told to end.
///
/// # Errors
/// [`NodeError`] when it cannot start, and when its disk fails: it never acknowledges what it did not keep.
pub async fn run(config: Config, mut shutdown: Shutdown) -> Result<(), NodeError> {
    let store = BlobStore::open_bounded(&blobs_dir(&config.dir), config.quota)?;
    let solo = Solo::open(&ledger_dir(&config.dir), &config.genesis, Box::new(config.signer.clone()))?;
    tracing::info!(height = %solo.state().height(), head = ?solo.state().head(), "ledger replayed");
    if let Some(torn) = solo.log().cut() {
        let (segment, offset, bytes) = (torn.segment, torn.offset, torn.bytes);
        tracing::warn!(segment, offset, bytes, "cut off a last block that was not there whole");
    }
    if let Some(behind) = clock_behind(solo.state().time(), ordering::now()) {
        tracing::warn!(
            seconds = behind.as_secs(),
            "the clock is behind the last block: ledger time stands still, and no deadline passes, until it is caught up"
        );
    }

    let (custody, awaiting) = tokio::sync::mpsc::channel(AWAITING);
    let (orders, chain, mut ended) = ordering::start(solo, config.signer.clone(), custody);
    let keeping = keeper::run(awaiting, orders.clone(), store.clone(), config.genesis.params.custody);
    let keeper = tokio::spawn(keeping);

    let (net, mut events) = listen(&config).await?;
    let invited = Invitation { genesis: config.genesis.clone(), addresses: net.addresses().to_vec() };
    if let Some(path) = &config.invitation {
        invitation::write(path, &invited)?;
    }
    let server = Server { genesis: Arc::new(config.genesis), chain, orders: orders.clone(), store };
    config.announce.say("validator", net.peer().to_string(), &config.signer.public(), net.addresses());

    let result = loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => server.take(event),
                None => break Err(NetError::Closed.into()),
            },
            result = &mut ended => break match result {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(NetError::Closed.into()),
            },
            () = shutdown.told() => {
                // The thread ends after the block under way; without it the folder would stay locked.
                let ended = async { if orders.give(ordering::Order::End) { let _ = (&mut ended).await; } };
                let _ = tokio::time::timeout(END, ended).await;
                break Ok(());
            }
        }
    };
    keeper.abort();
    net.end().await;
    tracing::info!("validator ends");
    result
}

/// How far the clock is behind the chain, where that is no longer a matter of ordinary drift.
fn clock_behind(head: Time, now: Time) -> Option<Duration> {
    let behind = Duration::from_millis(head.0.saturating_sub(now.0));
    (behind > DRIFT).then_some(behind)
}

/// Listens where it listened before, so that an old invitation stays good; elsewhere only if that is taken.
async fn listen(
    config: &Config,
) -> Result<(samebit_net::NetHandle, tokio::sync::mpsc::Receiver<samebit_net::NetEvent>), NodeError> {
    let file = config.dir.join("listen");
    let seed = config.peer.seed();
    let before: Vec<String> =
        std::fs::read_to_string(&file).unwrap_or_default().lines().map(String::from).take(16).collect();
    let any_port = config.listen.iter().all(|address| address.split('/').any(|part| part == "0"));
    let started = if any_port && before.len() == config.listen.len() && !before.is_empty() {
        match samebit_net::start(NetConfig::listener(seed, before)).await {
            Err(error @ (NetError::Listen { .. } | NetError::Address { .. })) => {
                tracing::warn!(%error, "cannot listen where I did before");
                samebit_net::start(NetConfig::listener(seed, config.listen.clone())).await
            }
            started => started,
        }
    } else {
        samebit_net::start(NetConfig::listener(seed, config.listen.clone())).await
    };
    let (net, events) = started?;
    let bare = |address: &String| address.split("/p2p/").next().unwrap_or_default().to_string();
    let lines = net.addresses().iter().map(bare).collect::<Vec<_>>().join("\n");
    invitation::replace(&file, lines.as_bytes()).map_err(|source| NodeError::Io { path: file, source })?;
    Ok((net, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_far_behind_the_chain_is_told_of_and_one_ahead_is_not() {
        assert_eq!(clock_behind(Time(100_000), Time(1_000)), Some(Duration::from_secs(99)));
        assert_eq!(clock_behind(Time(60_000), Time(0)), None);
        assert_eq!(clock_behind(Time(0), Time(1_000_000)), None);
    }
}
