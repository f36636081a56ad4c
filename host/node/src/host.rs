//! A host's daemon: follows the chain, runs what it was drawn for, commits, reveals.
//!
//! The mind is [`samebit_market::agent::HostAgent`]; this module gives it the ledger to look at and carries out
//! what it wants. It dials out only, holds the operator's key and never needs the account's once registered.

use crate::{
    daemon::{Announce, NodeError, Shutdown},
    executor::{Done, Executor, Running},
    follower::{self, FollowError, Follower},
    keys::Keypair,
    shelf::Shelf,
};
use samebit_blobs::BlobStore;
use samebit_market::agent::{Conduct, Effect, HostAgent};
use samebit_net::{Link, NetConfig, NetError, Remote};
use samebit_runtime::Runtime;
use samebit_spec::{
    block::{Block, Invitation},
    entry::{Body, Entry, SignedEntry},
    id::GenesisId,
    job::RunId,
    message::{Request, Response},
    refusal::Refusal,
    sign::{Domain, PublicKey, Signer},
    unit::{FuelPrice, Height, MicroCredits, Millis},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, Semaphore, mpsc};

/// How often the agent looks, block or no block.
const TICK: Duration = Duration::from_millis(200);
/// Pause before the validator is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// An entry is tried for so long; then the agent decides anew.
const SUBMIT: Duration = Duration::from_secs(4);
/// Entries and results that may wait.
const WAITING: usize = 1024;
/// Between two clean-ups of old receipts.
const TIDY: Duration = Duration::from_secs(30);

/// What a host needs.
#[derive(Debug)]
pub struct Config {
    /// Its folder: content, receipts, salts.
    pub dir: PathBuf,
    /// The network.
    pub invitation: Invitation,
    /// The account that is the host: needed once, to register.
    pub account: Option<Keypair>,
    /// Acts for the host.
    pub operator: Keypair,
    /// Names it on the network, and nothing else.
    pub peer: Keypair,
    /// Least price.
    pub ask: FuelPrice,
    /// Runs at once.
    pub slots: u16,
    /// Bond to register with.
    pub bond: MicroCredits,
    /// How it behaves.
    pub conduct: Conduct,
    /// Whom it tells that it is ready.
    pub announce: Announce,
}

/// Serves until told to end.
///
/// # Errors
/// [`NodeError`] when it cannot start, cannot become a host, or is shown a chain that does not verify. A
/// validator that is away is waited for.
pub async fn run(config: Config, mut shutdown: Shutdown) -> Result<(), NodeError> {
    let serving = serve(config);
    tokio::select! {
        result = serving => result,
        () = shutdown.told() => {
            tracing::info!("host ends");
            Ok(())
        }
    }
}

async fn serve(config: Config) -> Result<(), NodeError> {
    let Config { dir, invitation, account, operator, peer, ask, slots, bond, conduct, announce } = config;
    let io = |path: &std::path::Path| {
        let path = path.to_path_buf();
        move |source| NodeError::Io { path, source }
    };
    let runtime = Runtime::new()?;
    let store = BlobStore::open_cache(&dir.join("blobs"))?;
    let shelf = Shelf::open(&dir.join("runs")).map_err(io(&dir))?;
    let salt_key = Keypair::read_or_make(&dir.join("salt.key"))?.seed();

    let remote = Remote::parse(&invitation.addresses)?;
    let (net, _events) = samebit_net::start(NetConfig::dialler(peer.seed())).await?;
    let name = net.peer().to_string();
    let link = Link::new(net, remote);
    let follower = Follower::open(&invitation.genesis, Some(&dir.join("chain")))?;
    let head = head(&link, invitation.genesis.id()).await?;
    let (blocks, _trouble) = follower::stream(link.clone(), follower.next());
    let mut chain = Chain { follower, blocks, heard: Instant::now() };
    chain.reach(head).await?;

    let host = register(&link, &mut chain, account.as_ref(), &operator, ask, slots, bond).await?;
    let mut agent = HostAgent::new(host, salt_key, runtime.engine_build().to_string(), conduct);
    for (run, receipt) in shelf.all().map_err(io(&dir))? {
        agent.restore(run, receipt);
    }
    let (done, results) = mpsc::channel(WAITING);
    let (fates_in, fates) = mpsc::channel(WAITING);
    let submitter = Submitter { link: link.clone(), key: operator, genesis: invitation.genesis.id() };
    let executor = Executor {
        link,
        store,
        runtime,
        shelf,
        slots: Arc::new(Semaphore::new(usize::from(slots.max(1)))),
        programs: Arc::new(Mutex::new(VecDeque::new())),
        lies: agent.lies(),
        done,
    };
    let (bodies, wanted) = mpsc::channel(WAITING);
    let sequence = chain.follower.state().sequence(&submitter.key.public());
    tokio::spawn(submitter.run(sequence, wanted, fates_in));
    announce.say("host", name, &host, &[]);
    tracing::info!(%host, %conduct, slots, "host ready");
    let mind = Mind { host, agent, executor, running: BTreeMap::new(), bodies, tidied: Instant::now() };
    mind.live(chain, results, fates).await
}

/// Asks where the chain is, as long as it takes.
async fn head(link: &Link, own: GenesisId) -> Result<Height, NodeError> {
    loop {
        match link.request(Request::Status).await {
            Ok(Response::Status(status)) if status.genesis == own => return Ok(status.height),
            Ok(Response::Status(status)) => return Err(NodeError::WrongChain { own, given: status.genesis }),
            Ok(other) => tracing::warn!(?other, "answer to a status request"),
            Err(NetError::Closed) => return Err(NetError::Closed.into()),
            Err(error) => tracing::debug!(%error, "waiting for the validator"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The verified ledger and the stream that feeds it.
struct Chain {
    follower: Follower,
    blocks: mpsc::Receiver<Block>,
    /// When the last block came.
    heard: Instant,
}

impl Chain {
    async fn next(&mut self) -> Result<(), NodeError> {
        let block = self.blocks.recv().await.ok_or(NetError::Closed)?;
        self.take(&block)?;
        while let Ok(block) = self.blocks.try_recv() {
            self.take(&block)?;
        }
        Ok(())
    }

    fn take(&mut self, block: &Block) -> Result<(), NodeError> {
        self.heard = Instant::now();
        match self.follower.take(block) {
            Err(FollowError::Cache { path, source }) => {
                tracing::warn!(path = %path.display(), %source, "chain cache");
                Ok(())
            }
            taken => Ok(taken?),
        }
    }

    async fn reach(&mut self, height: Height) -> Result<(), NodeError> {
        while self.follower.state().height() < height {
            self.next().await?;
        }
        Ok(())
    }
}

/// Makes sure that the operator acts for a host, registering the account where needed.
async fn register(
    link: &Link,
    chain: &mut Chain,
    account: Option<&Keypair>,
    operator: &Keypair,
    ask: FuelPrice,
    slots: u16,
    bond: MicroCredits,
) -> Result<PublicKey, NodeError> {
    let own = operator.public();
    loop {
        let state = chain.follower.state();
        if let Some(host) = state.host_of_operator(&own) {
            let as_wanted = state.hosts().get(&host).is_none_or(|record| (record.ask, record.slots) == (ask, slots));
            if as_wanted {
                return Ok(host);
            }
            submit_now(link, chain, operator, Body::HostUpdate { ask, slots }).await?;
            continue;
        }
        let Some(account) = account else { return Err(NodeError::NotRegistered { operator: own }) };
        if let Some(record) = state.hosts().get(&account.public()) {
            let (account, registered) = (account.public(), record.operator);
            return Err(NodeError::OtherOperator { account, registered, operator: own });
        }
        submit_now(link, chain, account, Body::HostRegister { operator: own, ask, slots, bond }).await?;
    }
}

/// Submits and waits for the block. A sequence that has moved is tried anew by the caller's loop.
async fn submit_now(link: &Link, chain: &mut Chain, key: &Keypair, body: Body) -> Result<(), NodeError> {
    let state = chain.follower.state();
    let signed = sign(key, state.genesis_id(), state.sequence(&key.public()), body);
    loop {
        match link.request(Request::Submit(signed.clone())).await {
            Ok(Response::Included { height, .. } | Response::Refused(Refusal::Replayed { height, .. })) => {
                return chain.reach(height).await;
            }
            Ok(Response::Refused(Refusal::Sequence { .. })) => {
                let head = head(link, chain.follower.state().genesis_id()).await?;
                return chain.reach(head).await;
            }
            Ok(Response::Refused(refusal)) => return Err(NodeError::Refused(refusal)),
            Ok(other) => tracing::warn!(?other, "answer to an entry"),
            Err(NetError::Closed) => return Err(NetError::Closed.into()),
            Err(error) => tracing::debug!(%error, "waiting for the validator"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn sign(key: &Keypair, genesis: GenesisId, sequence: u64, body: Body) -> SignedEntry {
    let entry = Entry { genesis, signer: key.public(), sequence, body };
    let signature = key.sign(Domain::Entry, genesis, entry.id().0);
    SignedEntry { entry, signature }
}

/// Sends the operator's entries one after another, since each needs the next sequence number.
struct Submitter {
    link: Link,
    key: Keypair,
    genesis: GenesisId,
}

impl Submitter {
    async fn run(
        self,
        mut sequence: u64,
        mut bodies: mpsc::Receiver<Body>,
        fates: mpsc::Sender<(Body, Result<(), Refusal>)>,
    ) {
        while let Some(body) = bodies.recv().await {
            let until = Instant::now() + SUBMIT;
            // An entry without an answer may be in the chain; then the next one hears its own number.
            let fate = loop {
                let signed = sign(&self.key, self.genesis, sequence, body.clone());
                match self.link.request(Request::Submit(signed)).await {
                    Ok(Response::Included { .. } | Response::Refused(Refusal::Replayed { .. })) => {
                        sequence += 1;
                        break Some(Ok(()));
                    }
                    Ok(Response::Refused(Refusal::Sequence { expected, .. })) if expected != sequence => {
                        sequence = expected;
                    }
                    Ok(Response::Refused(refusal)) => break Some(Err(refusal)),
                    Ok(other) => tracing::debug!(?other, "answer to an entry"),
                    Err(error) => tracing::debug!(%error, "entry not delivered"),
                }
                if Instant::now() >= until {
                    break None;
                }
                tokio::time::sleep(AGAIN).await;
            };
            if let Some(fate) = fate
                && fates.send((body, fate)).await.is_err()
            {
                return;
            }
        }
    }
}

/// The agent with its hands.
struct Mind {
    host: PublicKey,
    agent: HostAgent,
    executor: Executor,
    running: BTreeMap<RunId, Running>,
    bodies: mpsc::Sender<Body>,
    tidied: Instant,
}

impl Mind {
    async fn live(
        mut self,
        mut chain: Chain,
        mut results: mpsc::Receiver<Done>,
        mut fates: mpsc::Receiver<(Body, Result<(), Refusal>)>,
    ) -> Result<(), NodeError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.think(&chain);
            tokio::select! {
                heard = chain.next() => heard?,
                Some(done) = results.recv() => self.on_done(done),
                Some((body, fate)) = fates.recv() => {
                    if let Err(refusal) = fate {
                        tracing::info!(?body, %refusal, "entry refused");
                        self.agent.on_refused(&body, &refusal);
                    }
                }
                _ = tick.tick() => {}
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Progress { run, root, fuel } => {
                if let Some(root) = root {
                    self.agent.on_progress(run, root, fuel);
                }
            }
            Done::Finished { run, receipt } => {
                tracing::info!(%run, receipt = ?receipt.id(), outcome = ?receipt.outcome, "run finished");
                self.running.remove(&run);
                self.agent.on_finished(run, receipt);
            }
            Done::Fault { run, reason } => {
                tracing::warn!(%run, reason, "run given up");
                self.running.remove(&run);
                self.agent.on_fault(run);
            }
        }
    }

    fn think(&mut self, chain: &Chain) {
        let state = chain.follower.state();
        // Ledger time, moved on by what has passed here since the last block.
        let passed = u64::try_from(chain.heard.elapsed().as_millis()).unwrap_or(u64::MAX);
        let view = state.host_view(&self.host, state.time().after(Millis(passed)));
        let alive: BTreeSet<RunId> = view.runs.iter().map(|run| run.run).collect();
        for effect in self.agent.observe(&view) {
            match effect {
                Effect::Submit(body) => {
                    // With no room the agent wants it again after a while.
                    let _ = self.bodies.try_send(body);
                }
                Effect::Execute { run, execution, module } => {
                    tracing::info!(%run, "run begins");
                    self.running.insert(run, self.executor.start(run, execution, module));
                }
                Effect::Stop { run } => {
                    tracing::info!(%run, "run no longer wanted");
                    self.running.remove(&run);
                }
            }
        }
        if self.tidied.elapsed() > TIDY {
            self.tidied = Instant::now();
            if let Err(error) = self.executor.shelf.retain(&alive) {
                tracing::warn!(%error, "old receipts");
            }
        }
    }
}
