//! Replays the validator's blocks, verifying each, so that a node knows the ledger without trusting who sent it.
//!
//! The only trust is in the genesis: every block must carry the validator's signature, its entries theirs, and
//! replaying them must give the root that the header states. What was verified is kept in a cache file, which
//! is verified again when it is read.

use samebit_ledger::{ApplyError, GenesisError, LedgerState};
use samebit_net::{FrameStream, Lane, Link};
use samebit_spec::{
    block::{Block, Genesis},
    id::BlockId,
    message::Follow,
    param,
    sign::Domain,
    unit::Height,
    wire::{self, Hashed},
};
use std::{
    fs::{File, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// A chain may rest for so long before the stream is opened anew.
const REST: Duration = Duration::from_secs(600);
/// For sending the wish to follow.
const SEND: Duration = Duration::from_secs(10);
/// Pause before a lost stream is opened again.
const AGAIN: Duration = Duration::from_millis(150);
/// Blocks that may wait to be applied.
const AHEAD: usize = 64;

/// Why blocks could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The genesis breaks its own rules.
    #[error("genesis: {0}")]
    Genesis(GenesisError),
    /// A block is not the validator's, or its replay differs. The state is as before it.
    #[error("{0}")]
    Block(ApplyError),
    /// The validator has signed two blocks of one height, which it must never do: the chain has forked.
    #[error("the validator signed two blocks of height {height}: {ours}, which was followed, and {other}")]
    Equivocated {
        /// Which height.
        height: Height,
        /// The block that was applied.
        ours: BlockId,
        /// The one that is shown, or built on, now.
        other: BlockId,
    },
    /// The cache cannot be used.
    #[error("chain cache {}: {source}", path.display())]
    Cache {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A ledger state that grows by verified blocks only.
#[derive(Debug)]
pub struct Follower {
    state: LedgerState,
    cache: Option<Cache>,
}

impl Follower {
    /// Starts at the genesis and replays what `cache` holds of the chain. Another process that uses the same
    /// cache has it to itself; this one then does without.
    ///
    /// # Errors
    /// [`FollowError::Genesis`], [`FollowError::Cache`].
    pub fn open(genesis: &Genesis, cache: Option<&Path>) -> Result<Self, FollowError> {
        let mut state = LedgerState::new(genesis).map_err(FollowError::Genesis)?;
        let Some(folder) = cache else { return Ok(Self { state, cache: None }) };
        // A network that was made anew under an old name is another chain.
        let path = folder.join(format!("{}.blocks", genesis.id()));
        let cache = Cache::open(&path, &mut state).map_err(|source| FollowError::Cache { path, source })?;
        Ok(Self { state, cache })
    }

    /// The ledger as far as it was verified.
    #[must_use]
    pub fn state(&self) -> &LedgerState {
        &self.state
    }

    /// The height that is wanted next.
    #[must_use]
    pub fn next(&self) -> Height {
        Height(self.state.height().0 + 1)
    }

    /// Verifies and applies the next block. One that was applied before is passed over.
    ///
    /// # Errors
    /// [`FollowError::Block`] and [`FollowError::Equivocated`], the state is unchanged; [`FollowError::Cache`], the state has the block.
    pub fn take(&mut self, block: &Block) -> Result<(), FollowError> {
        self.equivocation(block)?;
        if block.header.height <= self.state.height() && self.state.height() != Height::ZERO {
            return Ok(());
        }
        self.state.apply_block(block).map_err(FollowError::Block)?;
        match &mut self.cache {
            Some(cache) => {
                cache.append(block).map_err(|source| FollowError::Cache { path: cache.path.clone(), source })
            }
            None => Ok(()),
        }
    }

    /// Whether a block that the validator signed is another one of the head's height, or builds on one.
    fn equivocation(&self, block: &Block) -> Result<(), FollowError> {
        let (height, ours, header) = (self.state.height(), self.state.head(), &block.header);
        let other = if header.height == height {
            header.id()
        } else if header.height == self.next() {
            header.parent
        } else {
            return Ok(());
        };
        let genesis = self.state.genesis();
        let signed = || genesis.validator.verify(Domain::Block, genesis.id(), header.digest(), &block.signature);
        if height == Height::ZERO || other == ours || signed().is_err() {
            return Ok(());
        }
        Err(FollowError::Equivocated { height, ours, other })
    }
}

/// Verified blocks in a file: each with its length and BLAKE3. Not synced: what is lost is fetched again.
#[derive(Debug)]
struct Cache {
    path: PathBuf,
    file: File,
}

impl Cache {
    /// Replays the file into `state` and cuts off whatever does not belong. `None`: another process has it.
    fn open(path: &Path, state: &mut LedgerState) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut good = 0;
        while let Some((block, len)) = read_record(&mut reader) {
            if state.apply_block(&block).is_err() {
                break;
            }
            good += len;
        }
        let mut file = reader.into_inner();
        file.set_len(good)?;
        file.seek(SeekFrom::Start(good))?;
        Ok(Some(Self { path: path.to_path_buf(), file }))
    }

    fn append(&mut self, block: &Block) -> io::Result<()> {
        let bytes = wire::encode(block);
        let len = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut record = len.to_le_bytes().to_vec();
        record.extend_from_slice(&samebit_spec::content::BlobRef::of(&bytes).id.0);
        record.extend_from_slice(&bytes);
        self.file.write_all(&record)
    }
}

/// The next whole and sound record, with its length in the file.
fn read_record(reader: &mut impl Read) -> Option<(Block, u64)> {
    let (mut len, mut hash) = ([0; 4], [0; 32]);
    reader.read_exact(&mut len).ok()?;
    reader.read_exact(&mut hash).ok()?;
    let len = usize::try_from(u32::from_le_bytes(len)).ok().filter(|&len| len <= param::BLOCK_BYTES_MAX)?;
    let mut bytes = Vec::new();
    reader.take(len as u64).read_to_end(&mut bytes).ok()?;
    let sound = bytes.len() == len && samebit_spec::content::BlobRef::of(&bytes).id.0 == hash;
    let block = sound.then(|| wire::decode(&bytes).ok()).flatten()?;
    Some((block, len as u64 + 36))
}

/// Reads blocks from `from` on, across lost connections, until the receiver has gone. `trouble` holds why the
/// stream last broke, for whoever waits in vain.
pub(crate) fn stream(link: Link, from: Height) -> (mpsc::Receiver<Block>, watch::Receiver<Option<String>>) {
    let (blocks, receiver) = mpsc::channel(AHEAD);
    let (told, trouble) = watch::channel(None);
    tokio::spawn(async move {
        let mut next = from;
        while !blocks.is_closed() {
            let broke = tokio::select! {
                broke = read(&link, &mut next, &blocks, &told) => broke,
                () = blocks.closed() => return,
            };
            tracing::debug!(reason = broke, "block stream ended");
            told.send_replace(Some(broke));
            tokio::time::sleep(AGAIN).await;
        }
    });
    (receiver, trouble)
}

async fn read(
    link: &Link,
    next: &mut Height,
    blocks: &mpsc::Sender<Block>,
    told: &watch::Sender<Option<String>>,
) -> String {
    let mut stream: FrameStream = match link.open(Lane::Blocks).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    if let Err(error) = stream.send(&Follow { from: *next }, SEND).await {
        return error.to_string();
    }
    loop {
        let block = match stream.receive::<Block>(param::BLOCK_BYTES_MAX, REST).await {
            Ok(Some(block)) => block,
            Ok(None) => return String::from("the validator ended the stream"),
            Err(error) => return error.to_string(),
        };
        if block.header.height != *next {
            return format!("block {} where {} is due", block.header.height, *next);
        }
        *next = Height(next.0 + 1);
        told.send_replace(None);
        if blocks.send(block).await.is_err() {
            return String::from("nobody listens");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keypair;
    use samebit_ledger::Solo;
    use samebit_spec::{
        entry::{Body, Entry, SignedEntry},
        param::Params,
        sign::Signer,
        unit::{MicroCredits, Time},
    };

    #[test]
    fn a_validator_that_forks_its_chain_is_caught_with_both_blocks_named() {
        let dir = tempfile::tempdir().unwrap();
        let (validator, payer) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let genesis = Genesis {
            network: String::from("test"),
            time: Time(1),
            validator: validator.public(),
            params: Params::DEVNET,
            accounts: vec![(payer.public(), MicroCredits(1_000))],
        };
        let chain = |name: &str, amount| {
            let mut solo = Solo::open(&dir.path().join(name), &genesis, Box::new(validator.clone())).unwrap();
            [0, 1].map(|sequence| {
                let body = Body::Transfer { to: validator.public(), amount: MicroCredits(amount) };
                let entry = Entry { genesis: genesis.id(), signer: payer.public(), sequence, body };
                let signature = payer.sign(Domain::Entry, genesis.id(), entry.id().0);
                solo.propose(Time(2), vec![SignedEntry { entry, signature }]).unwrap().block.unwrap()
            })
        };
        let (one, two) = (chain("one", 1), chain("two", 2));
        let mut follower = Follower::open(&genesis, None).unwrap();
        follower.take(&one[0]).unwrap();
        let names_both = |error: FollowError| {
            let (own, foreign) = (one[0].header.id(), two[0].header.id());
            matches!(error, FollowError::Equivocated { ours, other, .. } if (ours, other) == (own, foreign))
        };
        assert!(names_both(follower.take(&two[0]).unwrap_err()));
        assert!(names_both(follower.take(&two[1]).unwrap_err()));
        let mut forged = two[0].clone();
        forged.signature = one[0].signature;
        follower.take(&forged).unwrap();
        follower.take(&one[1]).unwrap();
    }
}
