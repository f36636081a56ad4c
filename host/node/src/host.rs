//! A host's daemon: follows the chain, runs what it was drawn for, commits, reveals.
//!
//! The mind is [`samebit_market::agent::HostAgent`]; this module gives it the ledger to look at and carries out
//! what it wants. It dials out only, holds the operator's key and never needs the account's once registered.

use crate::{
    code,
    daemon::{Announce, NodeError, Shutdown},
    executor::{Done, Executor, Programs, Running},
    follower::{self, FollowError, Follower},
    keys::{KeyError, Keypair},
    shelf::Shelf,
};
use samebit_blobs::BlobStore;
use samebit_ledger::LedgerState;
use samebit_market::agent::{Conduct, Effect, HostAgent, View};
use samebit_net::{Link, NetConfig, NetError, Remote};
use samebit_runtime::{Backend, Options, Runtime};
use samebit_spec::{
    block::{Block, Invitation},
    entry::{Body, Entry, SignedEntry},
    id::GenesisId,
    job::{HostRecord, RunId, RunPhase},
    message::{Request, Response},
    offer::{Offer, lack},
    refusal::Refusal,
    sign::{Domain, PublicKey, Signer},
    unit::{FuelPrice, Height, MicroCredits, Millis},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc};

/// How often the agent looks, block or no block.
const TICK: Duration = Duration::from_millis(200);
/// Pause before the validator is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// An entry is tried for so long; then the agent decides anew.
const SUBMIT: Duration = Duration::from_secs(4);
/// For the answer to an entry: a quarter of the shortest deadline, within these.
const ASK_LEAST: Duration = Duration::from_millis(500);
const ASK_MOST: Duration = Duration::from_secs(4);
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
    /// What it gives to a run: told on the ledger, and a run that asks for more is declined.
    pub offer: Offer,
    /// What computes tensors; the CPU unless said otherwise. The offer's adapter must be this one.
    pub backend: Option<Arc<dyn Backend>>,
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
    let Config { dir, invitation, account, operator, peer, ask, slots, bond, conduct, offer, backend, announce } =
        config;
    let io = |path: &std::path::Path| {
        let path = path.to_path_buf();
        move |source| NodeError::Io { path, source }
    };
    let runtime = Runtime::open(&Options { cache: code::cache(&dir.join("cache")), backend, ..Options::default() })?;
    let store = BlobStore::open_cache(&dir.join("blobs"))?;
    let salt_key = salt_key(&dir)?.seed();
    let shelf = Shelf::open(&dir.join("runs")).map_err(io(&dir))?;

    let remote = Remote::parse(&invitation.addresses)?;
    let (net, _events) = samebit_net::start(NetConfig::dialler(peer.seed())).await?;
    let name = net.peer().to_string();
    let link = Link::new(net, remote);
    let follower = Follower::open(&invitation.genesis, Some(&dir.join("chain")))?;
    let head = head(&link, invitation.genesis.id()).await?;
    let (blocks, _trouble) = follower::stream(link.clone(), follower.next());
    let mut chain = Chain { follower, blocks, heard: Instant::now() };
    chain.reach(head).await?;

    let standing = Standing { ask, slots, offer };
    let host = register(&link, &mut chain, account.as_ref(), &operator, standing, bond).await?;
    let mut agent = HostAgent::new(host, salt_key, runtime.engine_build().to_string(), conduct);
    for (run, receipt) in shelf.all().map_err(io(&dir))? {
        agent.restore(run, receipt);
    }
    let (done, results) = mpsc::channel(WAITING);
    let (fates_in, fates) = mpsc::channel(WAITING);
    let params = &invitation.genesis.params;
    let shortest = params.accept.min(params.heartbeat).min(params.reveal);
    let ask = Duration::from_millis(shortest.0 / 4).clamp(ASK_LEAST, ASK_MOST);
    let submitter = Submitter { link: link.clone(), key: operator, genesis: invitation.genesis.id(), ask };
    let executor = Executor {
        link,
        store,
        runtime,
        shelf,
        states: dir.join("states"),
        slots: Arc::new(Semaphore::new(usize::from(slots.max(1)))),
        programs: Arc::new(Mutex::new(Programs::default())),
        lies: agent.lies(),
        done,
    };
    let (bodies, wanted) = mpsc::channel(WAITING);
    let sequence = chain.follower.state().sequence(&submitter.key.public());
    tokio::spawn(submitter.run(sequence, wanted, fates_in));
    announce.say("host", name, &host, &[]);
    let tensors = executor.runtime.backend().describe();
    tracing::info!(%host, %conduct, slots, tensors, "host ready");
    let mind = Mind {
        host,
        agent,
        standing,
        executor,
        running: BTreeMap::new(),
        bodies,
        tidied: Instant::now(),
        offered: None,
    };
    mind.live(chain, results, fates).await
}

/// The secret behind this host's commitments. It is made before the folder of receipts, so it is never missing
/// beside that, and a new one there would open nothing.
fn salt_key(dir: &Path) -> Result<Keypair, NodeError> {
    let (salt, runs) = (dir.join("salt.key"), dir.join("runs"));
    match Keypair::read(&salt) {
        Err(KeyError::Missing { .. }) if runs.exists() => Err(NodeError::SaltGone { salt, runs }),
        _ => Ok(Keypair::read_or_make(&salt)?),
    }
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

/// What the ledger is told of a host, and told anew when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    ask: FuelPrice,
    slots: u16,
    offer: Offer,
}

impl Standing {
    fn of(record: &HostRecord) -> Self {
        Self { ask: record.ask, slots: record.slots, offer: record.offer }
    }

    fn update(self) -> Body {
        Body::HostUpdate { ask: self.ask, slots: self.slots, offer: self.offer }
    }
}

/// Makes sure that the operator acts for a host, registering the account where needed.
async fn register(
    link: &Link,
    chain: &mut Chain,
    account: Option<&Keypair>,
    operator: &Keypair,
    standing: Standing,
    bond: MicroCredits,
) -> Result<PublicKey, NodeError> {
    let own = operator.public();
    loop {
        let state = chain.follower.state();
        if let Some(host) = state.host_of_operator(&own) {
            let as_wanted = state.hosts().get(&host).is_none_or(|record| Standing::of(record) == standing);
            if as_wanted {
                return Ok(host);
            }
            submit_now(link, chain, operator, standing.update()).await?;
            continue;
        }
        let Some(account) = account else { return Err(NodeError::NotRegistered { operator: own }) };
        if let Some(record) = state.hosts().get(&account.public()) {
            let (account, registered) = (account.public(), record.operator);
            return Err(NodeError::OtherOperator { account, registered, operator: own });
        }
        let Standing { ask, slots, offer } = standing;
        submit_now(link, chain, account, Body::HostRegister { operator: own, ask, slots, offer, bond }).await?;
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

/// Sends the operator's entries one after another, since each needs the next sequence number: the most urgent first.
struct Submitter {
    link: Link,
    key: Keypair,
    genesis: GenesisId,
    /// For an answer: a fraction of the shortest deadline on the ledger.
    ask: Duration,
}

impl Submitter {
    async fn run(
        self,
        mut sequence: u64,
        mut bodies: mpsc::Receiver<Body>,
        fates: mpsc::Sender<(Body, Result<(), Refusal>)>,
    ) {
        let mut queue = Queue::default();
        loop {
            while let Ok(body) = bodies.try_recv() {
                queue.add(body, Instant::now());
            }
            queue.drop_stale(Instant::now());
            let Some(body) = queue.most_urgent() else {
                let Some(body) = bodies.recv().await else { return };
                queue.add(body, Instant::now());
                continue;
            };
            // An entry without an answer may be in the chain; then the next one hears its own number.
            let signed = sign(&self.key, self.genesis, sequence, body.clone());
            let asked = tokio::time::timeout(self.ask, self.link.request(Request::Submit(signed))).await;
            let fate = match asked {
                Ok(Ok(Response::Included { .. } | Response::Refused(Refusal::Replayed { .. }))) => {
                    sequence += 1;
                    Some(Ok(()))
                }
                Ok(Ok(Response::Refused(Refusal::Sequence { expected, .. }))) if expected != sequence => {
                    sequence = expected;
                    continue;
                }
                Ok(Ok(Response::Refused(refusal))) => Some(Err(refusal)),
                Ok(Ok(other)) => {
                    tracing::debug!(?other, "answer to an entry");
                    None
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "entry not delivered");
                    None
                }
                Err(_) => {
                    tracing::debug!("no answer to an entry yet");
                    None
                }
            };
            match fate {
                Some(fate) => {
                    queue.remove(&body);
                    if fates.send((body, fate)).await.is_err() {
                        return;
                    }
                }
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

/// Entries that wait to be sent, each run's of one kind once.
#[derive(Debug, Default)]
struct Queue(Vec<(Instant, Body)>);

impl Queue {
    fn add(&mut self, body: Body, now: Instant) {
        let place = kind(&body);
        match self.0.iter_mut().find(|(_, waiting)| kind(waiting) == place) {
            // The newest heartbeat says the most; the mind gives the others anew when they took too long.
            Some(waiting) => *waiting = (now, body),
            None => self.0.push((now, body)),
        }
    }

    /// The mind decides anew about what could not be sent in time.
    fn drop_stale(&mut self, now: Instant) {
        self.0.retain(|(since, _)| now.duration_since(*since) < SUBMIT);
    }

    fn most_urgent(&self) -> Option<Body> {
        // The first of the least: what waits longest goes first.
        self.0.iter().min_by_key(|(_, body)| kind(body).0).map(|(_, body)| body.clone())
    }

    fn remove(&mut self, body: &Body) {
        self.0.retain(|(_, waiting)| waiting != body);
    }
}

/// How urgent an entry is, and its run. A reveal or commit that is late costs a bond or the work; a heartbeat is worth
/// the least, since the next one makes up for it.
fn kind(body: &Body) -> (u8, Option<RunId>) {
    match body {
        Body::RunReveal { run, .. } => (0, Some(*run)),
        Body::RunCommit { run, .. } => (1, Some(*run)),
        Body::RunWithdraw { run } => (2, Some(*run)),
        Body::RunAccept { run } | Body::RunDecline { run } => (3, Some(*run)),
        Body::RunHeartbeat { run, .. } => (4, Some(*run)),
        _ => (5, None),
    }
}

/// The agent with its hands.
struct Mind {
    host: PublicKey,
    agent: HostAgent,
    standing: Standing,
    executor: Executor,
    running: BTreeMap<RunId, Running>,
    bodies: mpsc::Sender<Body>,
    tidied: Instant,
    /// When the ledger was last told of another offer.
    offered: Option<Instant>,
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

    /// Declines what the agent would accept, where it is known that the run would fail here or ask too much.
    fn policy(&self, body: Body, view: &View<'_>) -> Body {
        let Body::RunAccept { run } = body else { return body };
        let Some(seen) = view.runs.iter().find(|seen| seen.run == run) else { return body };
        let lacking = lack(&self.standing.offer, &seen.job.spec, seen.task).map(|lack| lack.to_string());
        let reason = lacking.or_else(|| self.executor.bad(&seen.task.module.id));
        match reason {
            Some(reason) => {
                tracing::info!(%run, reason, "run declined");
                Body::RunDecline { run }
            }
            None => body,
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

    /// Takes an adapter that was found wrong, or failed again and again, out of the offer. What runs goes on on the CPU.
    fn offer(&mut self, state: &LedgerState) {
        if self.standing.offer.adapter.is_some()
            && let Some(reason) = self.executor.runtime.backend().given_up()
        {
            tracing::warn!(reason, "the adapter is not offered any more, tensors are computed on the CPU");
            self.standing.offer.adapter = None;
        }
        let told = state.hosts().get(&self.host).is_none_or(|record| Standing::of(record) == self.standing);
        let waits = self.offered.is_some_and(|at| at.elapsed() < SUBMIT);
        if !told && !waits && self.bodies.try_send(self.standing.update()).is_ok() {
            self.offered = Some(Instant::now());
        }
    }

    fn think(&mut self, chain: &Chain) {
        let state = chain.follower.state();
        self.offer(state);
        // Ledger time, moved on by what has passed here since the last block.
        let passed = u64::try_from(chain.heard.elapsed().as_millis()).unwrap_or(u64::MAX);
        let view = state.host_view(&self.host, state.time().after(Millis(passed)));
        let alive: BTreeSet<RunId> = view.runs.iter().map(|run| run.run).collect();
        for effect in self.agent.observe(&view) {
            match effect {
                Effect::Submit(body) => {
                    let body = self.policy(body, &view);
                    // With no room the agent wants it again after a while.
                    let _ = self.bodies.try_send(body);
                }
                Effect::Execute { run, execution, module } => {
                    tracing::info!(%run, "run begins");
                    let until = promise(&view, run);
                    self.running.insert(run, self.executor.start(run, execution, module, until));
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

/// When a run that has promised nothing yet is given up if its output is kept nowhere: shortly before the unit's time
/// is over. `None`: it has promised.
fn promise(view: &View<'_>, run: RunId) -> Option<Instant> {
    let seen = view.runs.iter().find(|seen| seen.run == run).filter(|seen| seen.record.phase == RunPhase::Accepted)?;
    let end = seen.job.posted_at.after(seen.job.spec.deadline);
    let left = end.0.saturating_sub(view.now.0).saturating_sub(view.params.heartbeat.0);
    Some(Instant::now() + Duration::from_millis(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{id::JobId, unit::Fuel};

    #[test]
    fn reveals_and_commits_overtake_heartbeats_and_an_old_heartbeat_is_never_sent() {
        let run = |unit| RunId { job: JobId([1; 32]), unit, attempt: 0 };
        let beat = |unit, fuel| Body::RunHeartbeat { run: run(unit), mark: Default::default(), fuel: Fuel(fuel) };
        let commit = Body::RunCommit { run: run(7), commitment: Default::default() };
        let (mut queue, start) = (Queue::default(), Instant::now());
        for unit in 0..3 {
            queue.add(beat(unit, 1), start);
        }
        queue.add(beat(0, 2), start + Duration::from_secs(1));
        queue.add(Body::RunAccept { run: run(5) }, start);
        queue.add(commit.clone(), start + Duration::from_secs(1));
        assert_eq!(queue.most_urgent(), Some(commit.clone()));
        queue.remove(&commit);
        assert_eq!(queue.most_urgent(), Some(Body::RunAccept { run: run(5) }));
        queue.drop_stale(start + SUBMIT);
        assert_eq!(queue.0.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>(), [beat(0, 2)]);
    }

    #[test]
    fn a_host_whose_salt_is_gone_says_so_and_makes_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let made = salt_key(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("runs")).unwrap();
        assert_eq!(salt_key(dir.path()).unwrap().seed(), made.seed());
        std::fs::remove_file(dir.path().join("salt.key")).unwrap();
        assert!(matches!(salt_key(dir.path()), Err(NodeError::SaltGone { .. })));
        assert!(!dir.path().join("salt.key").exists());
    }
}
