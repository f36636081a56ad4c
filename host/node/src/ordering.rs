//! The thread that makes blocks: the only one that touches the ledger's state and log.
//!
//! Entries that have arrived go into a block at once and together, so that one sync serves all of them. A block
//! is made without entries when a deadline passes or a unit can be placed. A submitter hears of its entry only
//! after the block is durable.

use crate::keys::Keypair;
use samebit_ledger::{LedgerState, Ordering as _, Solo, SoloError};
use samebit_spec::{
    content::BlobRef,
    entry::{Body, Entry, SignedEntry},
    id::{EntryId, JobId},
    job::JobSpec,
    message::Status,
    param,
    refusal::Refusal,
    sign::{Domain, Signer},
    unit::{Height, Time},
    wire,
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, PoisonError, RwLock, mpsc},
    time::{Duration, SystemTime},
};
use tokio::sync::{oneshot, watch};

/// Entries that may wait for a block.
const WAITING: usize = 4096;
/// Longest sleep, so that a changed clock is noticed.
const SLEEP: Duration = Duration::from_secs(1);
/// Pause after a wake-up that made no block.
const IDLE: Duration = Duration::from_millis(20);
/// Encoded blocks that are kept in memory for followers: their count and bytes. Older ones are read again.
const RECENT_BLOCKS: usize = 8192;
const RECENT_BYTES: usize = 64 << 20;
/// Blocks, and bytes of them, that are read from disk between two blocks that are made. A single block may be longer.
const READ: u64 = 64;
const READ_BYTES: usize = 4 << 20;
/// Followers that may wait for blocks from disk; further ones ask again.
const READERS: usize = 256;

/// What became of an entry.
pub(crate) type Fate = Result<(EntryId, Height), Refusal>;

/// Where encoded blocks are wanted.
pub(crate) type Blocks = oneshot::Sender<Vec<Arc<[u8]>>>;

pub(crate) enum Order {
    /// Someone's entry.
    Submit { signed: Box<SignedEntry>, fate: oneshot::Sender<Fate> },
    /// The validator's own, signed when its turn comes.
    Own { body: Box<Body>, fate: oneshot::Sender<Fate> },
    /// Blocks that have left memory.
    Read { from: Height, blocks: Blocks },
    /// The daemon ends: the log is closed.
    End,
}

/// A job that waits for the keeper.
#[derive(Clone, Debug)]
pub(crate) struct Awaiting {
    pub(crate) job: JobId,
    pub(crate) spec: JobSpec,
    pub(crate) module: Option<BlobRef>,
}

/// What others see of the chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) head: watch::Sender<Status>,
    recent: RwLock<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Height of the first.
    first: u64,
    bytes: usize,
    blocks: VecDeque<Arc<[u8]>>,
}

impl Chain {
    fn new(state: &LedgerState) -> Self {
        let recent = Recent { first: state.height().0 + 1, ..Recent::default() };
        Self { head: watch::channel(status(state)).0, recent: RwLock::new(recent) }
    }

    /// The block at `height` if it is in memory.
    pub(crate) fn recent(&self, height: Height) -> Option<Arc<[u8]>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let at = height.0.checked_sub(recent.first)?;
        recent.blocks.get(usize::try_from(at).ok()?).cloned()
    }

    fn publish(&self, block: &samebit_spec::block::Block, state: &LedgerState) {
        let bytes: Arc<[u8]> = wire::encode(block).into();
        {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            recent.bytes += bytes.len();
            recent.blocks.push_back(bytes);
            while recent.blocks.len() > RECENT_BLOCKS || recent.bytes > RECENT_BYTES {
                let Some(old) = recent.blocks.pop_front() else { break };
                recent.bytes -= old.len();
                recent.first += 1;
            }
        }
        self.head.send_replace(status(state));
    }
}

fn status(state: &LedgerState) -> Status {
    Status { genesis: state.genesis_id(), height: state.height(), head: state.head(), time: state.time() }
}

/// Speaks to the ordering thread. It ends when the last handle has gone.
#[derive(Clone)]
pub(crate) struct Orders(mpsc::SyncSender<Order>);

impl Orders {
    /// Hands an order over; `false` when too many wait or the thread has ended.
    pub(crate) fn give(&self, order: Order) -> bool {
        self.0.try_send(order).is_ok()
    }
}

/// Starts the thread. `ended` hears how it went.
pub(crate) fn start(
    solo: Solo,
    signer: Keypair,
    custody: tokio::sync::mpsc::Sender<Awaiting>,
) -> (Orders, Arc<Chain>, oneshot::Receiver<Result<(), SoloError>>) {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let (end, ended) = oneshot::channel();
    let chain = Arc::new(Chain::new(solo.state()));
    let thread =
        Thread { solo, signer, chain: Arc::clone(&chain), custody, told: BTreeSet::new(), reads: VecDeque::new() };
    let run = move || {
        let _ = end.send(thread.run(&receiver));
    };
    // Without a thread the receiver of `ended` sees the sender dropped, which ends the validator.
    let _ = std::thread::Builder::new().name(String::from("samebit-ordering")).spawn(run);
    (Orders(sender), chain, ended)
}

struct Thread {
    solo: Solo,
    signer: Keypair,
    chain: Arc<Chain>,
    custody: tokio::sync::mpsc::Sender<Awaiting>,
    /// Jobs that the keeper was told of.
    told: BTreeSet<JobId>,
    /// Followers that wait for blocks from disk. One is served between two proposals, so that none is held up.
    reads: VecDeque<(Height, Blocks)>,
}

impl Thread {
    fn run(mut self, orders: &mpsc::Receiver<Order>) -> Result<(), SoloError> {
        loop {
            self.tell_keeper();
            let first = match orders.recv_timeout(self.pause()) {
                Ok(order) => Some(order),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let woke_for_order = first.is_some() || !self.reads.is_empty();
            let mut batch = Batch::new(&self.solo, &self.signer);
            for order in first.into_iter().chain(orders.try_iter()).take(param::BLOCK_ENTRIES_MAX) {
                batch.add(order);
            }
            let Batch { entries, fates, ends, reads, .. } = batch;
            // Those beyond are dropped, which tells them to ask again.
            let room = READERS.saturating_sub(self.reads.len());
            self.reads.extend(reads.into_iter().take(room));
            let proposed = self.solo.propose(now(), entries)?;
            let height = self.solo.state().height();
            if let Some(block) = &proposed.block {
                self.chain.publish(block, self.solo.state());
            } else if !woke_for_order {
                std::thread::sleep(IDLE);
            }
            for (fate, result) in fates.into_iter().zip(proposed.results) {
                // A submitter that has gone asks again.
                let _ = fate.send(result.map(|entry| (entry, height)));
            }
            if ends {
                return Ok(());
            }
            if let Some((from, blocks)) = self.reads.pop_front()
                && !blocks.is_closed()
            {
                let _ = blocks.send(read(&self.solo, from));
            }
        }
    }

    /// Until something is due.
    fn pause(&self) -> Duration {
        let state = self.solo.state();
        if state.wants_block() || !self.reads.is_empty() {
            return Duration::ZERO;
        }
        let due = state.next_timer().map_or(SLEEP, |at| Duration::from_millis(at.0.saturating_sub(now().0)));
        due.min(SLEEP)
    }

    fn tell_keeper(&mut self) {
        let state = self.solo.state();
        let mut waiting = BTreeSet::new();
        for (job, record) in state.awaiting_custody() {
            let module = state.tasks().get(&record.spec.task).map(|task| task.manifest.module);
            let awaiting = || Awaiting { job: *job, spec: record.spec.clone(), module };
            // One that does not fit now is told at the next wake-up.
            if self.told.contains(job) || self.custody.try_send(awaiting()).is_ok() {
                waiting.insert(*job);
            }
        }
        self.told = waiting;
    }
}

/// Entries on their way into one block.
struct Batch<'a> {
    solo: &'a Solo,
    signer: &'a Keypair,
    own: u64,
    ends: bool,
    entries: Vec<SignedEntry>,
    fates: Vec<oneshot::Sender<Fate>>,
    reads: Vec<(Height, Blocks)>,
}

impl<'a> Batch<'a> {
    fn new(solo: &'a Solo, signer: &'a Keypair) -> Self {
        Self { solo, signer, own: 0, ends: false, entries: Vec::new(), fates: Vec::new(), reads: Vec::new() }
    }

    fn add(&mut self, order: Order) {
        match order {
            Order::Submit { signed, fate } => {
                self.entries.push(*signed);
                self.fates.push(fate);
            }
            Order::Own { body, fate } => {
                let (state, signer) = (self.solo.state(), self.signer.public());
                let (genesis, sequence) = (state.genesis_id(), state.sequence(&signer) + self.own);
                let entry = Entry { genesis, signer, sequence, body: *body };
                let signature = self.signer.sign(Domain::Entry, genesis, entry.id().0);
                self.own += 1;
                self.entries.push(SignedEntry { entry, signature });
                self.fates.push(fate);
            }
            Order::Read { from, blocks } => self.reads.push((from, blocks)),
            Order::End => self.ends = true,
        }
    }
}

fn read(solo: &Solo, from: Height) -> Vec<Arc<[u8]>> {
    let (mut blocks, mut bytes): (Vec<Arc<[u8]>>, usize) = (Vec::new(), 0);
    for height in from.0..from.0.saturating_add(READ) {
        match solo.block(Height(height)) {
            Ok(Some(block)) => {
                let block = wire::encode(&block);
                bytes += block.len();
                blocks.push(block.into());
                if bytes >= READ_BYTES {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(height, %error, "cannot read a block");
                break;
            }
        }
    }
    blocks
}

pub(crate) fn now() -> Time {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
