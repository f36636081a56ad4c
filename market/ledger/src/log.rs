//! The block log: the one thing on disk that everything is rebuilt from (`spec/05-settlement.md`, section 6).
//!
//! A folder with `genesis.borsh`, an exclusive `lock` and segments `blocks-NNNNNNNN.log`. A record is the length
//! of the block's bytes (`u32`, little-endian), their hash, the bytes. [`BlockLog::append`] ends with one
//! `fdatasync`; a block that it returned for is there after a power cut.
//!
//! A crash while appending leaves a last record that is shorter than its length says, or zeros where the file grew
//! and was not filled. [`BlockLog::open`] cuts those and says so ([`BlockLog::cut`]). Everything else that is bad was
//! once whole, the last record too: opening is refused, naming the place, and nothing is changed. A validator that
//! went on from there would sign a second block at a height that others have seen.
//!
//! The file `signed` names a block that was there at the last opening, segment or [`MARK_EVERY`] blocks, and is
//! written whole or not at all after that block was durable. A folder that lost that block is not opened either.

use borsh::{BorshDeserialize, BorshSerialize};
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions},
};
use samebit_spec::{
    block::{Block, Genesis},
    id::{BlockId, GenesisId},
    param::BLOCK_BYTES_MAX,
    unit::Height,
    wire,
};
use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// A segment is not appended to once it is this long.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Length and hash.
const HEAD_BYTES: usize = 36;
const GENESIS: &str = "genesis.borsh";
const SIGNED: &str = "signed";
/// After so many blocks `signed` is written anew: its two syncs are then small beside those of the blocks.
const MARK_EVERY: u64 = 256;

/// Why a log cannot be opened, read or written. The folder holds what it held, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// While doing what.
        what: String,
        /// Its reason.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the ledger folder is in use by another process")]
    Locked,
    /// The folder is of another chain.
    #[error("the folder holds {own}, asked for {given}")]
    WrongGenesis {
        /// What it holds.
        own: GenesisId,
        /// What was asked for.
        given: GenesisId,
    },
    /// No genesis where one is needed, or bytes that are none.
    #[error("{GENESIS}: {reason}")]
    BadGenesis {
        /// Why.
        reason: String,
    },
    /// A record that was once whole is damaged.
    #[error(
        "segment {segment} is damaged at byte {offset}: {reason}; nothing was changed. `samebit ledger verify --dir` \
         names the place; restore the folder from a copy, or take the blocks from whoever follows the network"
    )]
    Corrupt {
        /// The segment.
        segment: u32,
        /// Where its bad record begins.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// Segments are not numbered from 0 without a gap.
    #[error("segment {segment} is missing; restore the folder from a copy")]
    Missing {
        /// The segment.
        segment: u32,
    },
    /// The folder holds less than it once did, or something else.
    #[error(
        "the folder once held block {promised}, {id}, and now holds {held} blocks without it; nothing was changed. \
         Restore the folder from a copy, or take the blocks from whoever follows the network"
    )]
    Lost {
        /// The block that it held.
        promised: Height,
        /// Its id.
        id: BlockId,
        /// How many blocks it holds.
        held: Height,
    },
    /// The file that names a block which must be there is damaged.
    #[error("{SIGNED} is damaged; restore it from a copy")]
    BadMark,
    /// The block is larger than a block may be.
    #[error("block {height} has {bytes} bytes, at most {max}", max = BLOCK_BYTES_MAX)]
    TooLarge {
        /// The block.
        height: Height,
        /// How many bytes.
        bytes: usize,
    },
    /// The block is not the next one.
    #[error("block {given} does not follow {len} blocks")]
    NotNext {
        /// How many the log holds.
        len: Height,
        /// The block.
        given: Height,
    },
    /// An append failed before, so what the disk holds is not known: open the folder anew.
    #[error("an earlier write failed; the log takes no more blocks until it is opened anew")]
    Poisoned,
}

impl LogError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A last record that was not written whole, and was cut off or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its segment.
    pub segment: u32,
    /// Where it began.
    pub offset: u64,
    /// How many bytes of it there were.
    pub bytes: u64,
}

/// A block that was durable once.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize)]
struct Mark {
    height: Height,
    id: BlockId,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u32,
    offset: u64,
}

/// What a scan of a folder found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    index: Vec<Place>,
    segment: u32,
    end: u64,
    pub(crate) torn: Option<Torn>,
}

/// An open, locked block log.
#[derive(Debug)]
pub struct BlockLog {
    dir: Dir,
    genesis: Genesis,
    index: Vec<Place>,
    tail: File,
    segment: u32,
    end: u64,
    segment_bytes: u64,
    cut: Option<Torn>,
    poisoned: bool,
    /// Held while the log is open.
    _lock: File,
}

impl BlockLog {
    /// Opens the log of `genesis` in the folder `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`LogError`]; a folder of another chain or with a damaged record is left as it is.
    pub fn open(path: &Path, genesis: &Genesis) -> Result<Self, LogError> {
        Dir::create_ambient_dir_all(path, ambient_authority()).map_err(LogError::io("making the ledger folder"))?;
        let dir = open_dir(path)?;
        let lock = lock(&dir)?;
        match read_genesis(&dir)? {
            Some(own) if own != *genesis => Err(LogError::WrongGenesis { own: own.id(), given: genesis.id() }),
            Some(_) => Self::finish(dir, lock, genesis.clone()),
            None if dir.exists(segment_name(0)) => {
                Err(LogError::BadGenesis { reason: String::from("missing beside blocks") })
            }
            None => {
                write_genesis(&dir, genesis)?;
                Self::finish(dir, lock, genesis.clone())
            }
        }
    }

    /// Opens the log that the folder `path` holds, whichever chain's it is.
    ///
    /// # Errors
    /// [`LogError`], as for [`Self::open`].
    pub fn existing(path: &Path) -> Result<Self, LogError> {
        let dir = open_dir(path)?;
        let lock = lock(&dir)?;
        let genesis = read_genesis(&dir)?.ok_or_else(|| LogError::BadGenesis { reason: String::from("missing") })?;
        Self::finish(dir, lock, genesis)
    }

    fn finish(dir: Dir, lock: File, genesis: Genesis) -> Result<Self, LogError> {
        let scan = scan(&dir, genesis.id())?;
        keeps_promise(&dir, read_mark(&dir)?, &scan)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let name = segment_name(scan.segment);
        let tail = dir.open_with(&name, &options).map_err(LogError::io(format!("opening {name}")))?.into_std();
        if scan.torn.is_some() {
            tail.set_len(scan.end).and_then(|()| tail.sync_all()).map_err(LogError::io(format!("cutting {name}")))?;
        }
        sync_dir(&dir)?;
        if let Some((place, height)) = scan.index.last().zip(u64::try_from(scan.index.len()).ok()) {
            let height = Height(height);
            write_mark(&dir, Mark { height, id: read_block(&dir, place, height)?.header.id() })?;
        }
        Ok(Self {
            dir,
            genesis,
            index: scan.index,
            tail,
            segment: scan.segment,
            end: scan.end,
            segment_bytes: SEGMENT_BYTES,
            cut: scan.torn,
            poisoned: false,
            _lock: lock,
        })
    }

    /// What the chain began with.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// How many blocks it holds: the height of the last.
    #[must_use]
    pub fn len(&self) -> Height {
        Height(self.index.len() as u64)
    }

    /// Whether it holds no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What opening has cut off.
    #[must_use]
    pub const fn cut(&self) -> Option<Torn> {
        self.cut
    }

    /// Writes a block; it is durable when this returns.
    ///
    /// # Errors
    /// [`LogError`]. After [`LogError::Io`] the block may or may not be there, and every further append is
    /// refused until the folder is opened anew.
    pub fn append(&mut self, block: &Block) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        let height = block.header.height;
        if height.0 != self.len().0 + 1 {
            return Err(LogError::NotNext { len: self.len(), given: height });
        }
        let body = wire::encode(block);
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BLOCK_BYTES_MAX);
        let Some(length) = length else { return Err(LogError::TooLarge { height, bytes: body.len() }) };
        let mut record = Vec::with_capacity(HEAD_BYTES + body.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&record_hash(&body));
        record.extend_from_slice(&body);
        // From here on a failure leaves the disk in doubt: a sync that failed once may hide lost bytes.
        self.poisoned = true;
        if self.end >= self.segment_bytes {
            self.begin_segment()?;
        }
        let name = segment_name(self.segment);
        self.tail
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.tail.write_all(&record))
            .and_then(|()| self.tail.sync_data())
            .map_err(LogError::io(format!("appending block {height} to {name}")))?;
        let begins_segment = self.end == 0;
        self.index.push(Place { segment: self.segment, offset: self.end });
        self.end += record.len() as u64;
        // The block is durable and must be told of, whatever becomes of the mark: a failure here is the next
        // append's, which the log, still poisoned, refuses.
        let marked = if begins_segment || height.0.is_multiple_of(MARK_EVERY) {
            write_mark(&self.dir, Mark { height, id: block.header.id() }).is_ok()
        } else {
            true
        };
        self.poisoned = !marked;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        let name = segment_name(self.segment + 1);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        self.tail = self.dir.open_with(&name, &options).map_err(LogError::io(format!("making {name}")))?.into_std();
        sync_dir(&self.dir)?;
        (self.segment, self.end) = (self.segment + 1, 0);
        Ok(())
    }

    /// Reads the block at `height`; `None` beyond the last and for height 0.
    ///
    /// # Errors
    /// [`LogError`] when the disk fails or no longer holds what it held.
    pub fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
        let place = height.0.checked_sub(1).and_then(|at| self.index.get(usize::try_from(at).ok()?));
        place.map(|place| read_block(&self.dir, place, height)).transpose()
    }

    /// Every block in order.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Block, LogError>> + '_ {
        self.index.iter().zip(1..).map(|(place, height)| read_block(&self.dir, place, Height(height)))
    }
}

/// Reads a folder without locking or changing it.
pub(crate) struct Reader {
    dir: Dir,
    pub(crate) genesis: Genesis,
    pub(crate) scan: Scan,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let dir = open_dir(path)?;
        let genesis = read_genesis(&dir)?.ok_or_else(|| LogError::BadGenesis { reason: String::from("missing") })?;
        // Before the scan, since a running validator may write both.
        let mark = read_mark(&dir)?;
        let scan = scan(&dir, genesis.id())?;
        keeps_promise(&dir, mark, &scan)?;
        Ok(Self { dir, genesis, scan })
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Result<Block, LogError>> + '_ {
        self.scan.index.iter().zip(1..).map(|(place, height)| read_block(&self.dir, place, Height(height)))
    }
}

fn open_dir(path: &Path) -> Result<Dir, LogError> {
    Dir::open_ambient_dir(path, ambient_authority())
        .map_err(LogError::io(format!("opening the ledger folder {}", path.display())))
}

fn lock(dir: &Dir) -> Result<File, LogError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let file = dir.open_with("lock", &options).map_err(LogError::io("opening the lock file"))?.into_std();
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked),
        Err(TryLockError::Error(source)) => {
            Err(LogError::Io { what: String::from("locking the ledger folder"), source })
        }
    }
}

fn read_genesis(dir: &Dir) -> Result<Option<Genesis>, LogError> {
    match dir.read(GENESIS) {
        Ok(bytes) => wire::decode(&bytes).map(Some).map_err(|error| LogError::BadGenesis { reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::Io { what: format!("reading {GENESIS}"), source }),
    }
}

fn write_genesis(dir: &Dir, genesis: &Genesis) -> Result<(), LogError> {
    replace(dir, GENESIS, &wire::encode(genesis))
}

/// Written whole or not at all: under another name first, synced, renamed.
fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let fresh = format!("{name}.new");
    let write = || {
        let mut file = dir.create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        dir.rename(&fresh, dir, name)
    };
    write().map_err(LogError::io(format!("writing {name}")))?;
    sync_dir(dir)
}

fn mark_hash(mark: &[u8]) -> [u8; 32] {
    wire::derive("samebit/v1/log-signed", mark)
}

fn write_mark(dir: &Dir, mark: Mark) -> Result<(), LogError> {
    let mut bytes = wire::encode(&mark);
    bytes.extend_from_slice(&mark_hash(&bytes));
    replace(dir, SIGNED, &bytes)
}

/// `None` where there is none, as before the first block.
fn read_mark(dir: &Dir) -> Result<Option<Mark>, LogError> {
    let bytes = match dir.read(SIGNED) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LogError::Io { what: format!("reading {SIGNED}"), source }),
    };
    let (mark, hash) = bytes.split_last_chunk::<32>().ok_or(LogError::BadMark)?;
    if mark_hash(mark) != *hash {
        return Err(LogError::BadMark);
    }
    wire::decode(mark).map(Some).map_err(|_| LogError::BadMark)
}

/// The block that was there once still is.
fn keeps_promise(dir: &Dir, mark: Option<Mark>, scan: &Scan) -> Result<(), LogError> {
    let Some(Mark { height, id }) = mark else { return Ok(()) };
    let lost = || LogError::Lost { promised: height, id, held: Height(scan.index.len() as u64) };
    let place = height.0.checked_sub(1).and_then(|at| scan.index.get(usize::try_from(at).ok()?)).ok_or_else(lost)?;
    if read_block(dir, place, height)?.header.id() == id { Ok(()) } else { Err(lost()) }
}

/// Names are durable only once their folder is.
fn sync_dir(dir: &Dir) -> Result<(), LogError> {
    if cfg!(unix) {
        // The handle itself is opened for paths alone and cannot be synced.
        let sync = || dir.open(".")?.sync_all();
        sync().map_err(LogError::io("syncing the ledger folder"))?;
    }
    Ok(())
}

fn segment_name(segment: u32) -> String {
    format!("blocks-{segment:08}.log")
}

fn record_hash(body: &[u8]) -> [u8; 32] {
    wire::derive("samebit/v1/log-record", body)
}

/// Checks every record of every segment.
fn scan(dir: &Dir, genesis: GenesisId) -> Result<Scan, LogError> {
    let mut segments: Vec<u32> = Vec::new();
    for entry in dir.entries().map_err(LogError::io("listing the ledger folder"))? {
        let name = entry.map_err(LogError::io("listing the ledger folder"))?.file_name();
        let number: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix("blocks-")?.strip_suffix(".log")?.parse().ok());
        segments.extend(number);
    }
    segments.sort_unstable();
    let mut found = Scan::default();
    for (at, &segment) in segments.iter().enumerate() {
        let expected = u32::try_from(at).unwrap_or(u32::MAX);
        if segment != expected {
            return Err(LogError::Missing { segment: expected });
        }
        let name = segment_name(segment);
        let bytes = dir.read(&name).map_err(LogError::io(format!("reading {name}")))?;
        let mut offset = 0;
        while offset < bytes.len() {
            match record(&bytes, offset) {
                Ok(end) => {
                    found.index.push(Place { segment, offset: offset as u64 });
                    offset = end;
                }
                Err(Bad { reason, unfinished }) => {
                    let last = at + 1 == segments.len();
                    if !last || !unfinished || follows(&bytes, offset, genesis) {
                        return Err(LogError::Corrupt { segment, offset: offset as u64, reason });
                    }
                    let rest = (bytes.len() - offset) as u64;
                    found.torn = Some(Torn { segment, offset: offset as u64, bytes: rest });
                    break;
                }
            }
        }
        (found.segment, found.end) = (segment, offset as u64);
    }
    Ok(found)
}

/// Why a record is bad.
struct Bad {
    reason: &'static str,
    /// It looks as a write that was cut off leaves it.
    unfinished: bool,
}

/// The end of the sound record at `offset`.
fn record(bytes: &[u8], offset: usize) -> Result<usize, Bad> {
    let rest = &bytes[offset..];
    let unfinished = |reason| Err(Bad { reason, unfinished: true });
    let damaged = |reason| Err(Bad { reason, unfinished: false });
    if rest.iter().all(|byte| *byte == 0) {
        return unfinished("it is zeros");
    }
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return unfinished("its head is cut short") };
    let Some((hash, rest)) = rest.split_first_chunk::<32>() else { return unfinished("its head is cut short") };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > BLOCK_BYTES_MAX {
        return damaged("its length is impossible");
    }
    match rest.get(..length) {
        Some(body) if record_hash(body) == *hash => Ok(offset + HEAD_BYTES + length),
        Some(_) => damaged("its hash does not fit"),
        // Only the length is bad where what is there has the hash.
        None if record_hash(rest) == *hash => damaged("its length does not fit"),
        None => unfinished("it is cut short"),
    }
}

/// Whether a sound record begins anywhere after the bad one at `offset`. A block begins with its chain's id, so
/// only places in front of that id are looked at.
fn follows(bytes: &[u8], offset: usize, genesis: GenesisId) -> bool {
    let from = (offset + 1 + HEAD_BYTES).min(bytes.len());
    let marks = bytes[from..].windows(32).enumerate().filter(|(_, window)| *window == genesis.0);
    marks.into_iter().any(|(at, _)| record(bytes, from + at - HEAD_BYTES).is_ok())
}

fn read_block(dir: &Dir, place: &Place, height: Height) -> Result<Block, LogError> {
    let corrupt = |reason| LogError::Corrupt { segment: place.segment, offset: place.offset, reason };
    let name = segment_name(place.segment);
    let read = || {
        let mut file = dir.open(&name)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head)?;
        let (length, hash) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
        let mut body = Vec::new();
        file.take(u64::from(length)).read_to_end(&mut body)?;
        io::Result::Ok((hash.to_vec(), body))
    };
    let (hash, body) = read().map_err(LogError::io(format!("reading block {height} from {name}")))?;
    if record_hash(&body)[..] != hash[..] {
        return Err(corrupt("its hash does not fit"));
    }
    let block: Block = wire::decode(&body).map_err(|_| corrupt("it is no block"))?;
    if block.header.height == height { Ok(block) } else { Err(corrupt("it is another block")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{
        block::{Header, entries_root},
        id::{BlockId, LedgerRoot},
        param::Params,
        sign::{PublicKey, Signature},
        unit::Time,
    };
    use tempfile::TempDir;

    fn genesis() -> Genesis {
        Genesis {
            network: String::from("log"),
            time: Time(1),
            validator: PublicKey([1; 32]),
            params: Params::DEVNET,
            accounts: Vec::new(),
        }
    }

    /// The log checks no signature, so any will do.
    fn block(height: u64) -> Block {
        let header = Header {
            genesis: genesis().id(),
            height: Height(height),
            time: Time(height),
            parent: BlockId([2; 32]),
            entries: entries_root(&[]),
            state: LedgerRoot([3; 32]),
            beacon_proof: Signature([4; 64]),
        };
        Block { header, signature: Signature([5; 64]), entries: Vec::new() }
    }

    /// Twelve blocks, four to a segment.
    fn three_segments() -> TempDir {
        let folder = TempDir::new().expect("a folder");
        let mut log = BlockLog::open(folder.path(), &genesis()).expect("a new log");
        log.segment_bytes = 3 * (HEAD_BYTES + wire::encode(&block(1)).len()) as u64 + 1;
        for height in 1..=12 {
            log.append(&block(height)).expect("the disk works");
        }
        folder
    }

    #[test]
    fn a_log_of_several_segments_reads_as_one() {
        let folder = three_segments();
        assert!(folder.path().join(segment_name(2)).exists() && !folder.path().join(segment_name(3)).exists());
        let mut log = BlockLog::existing(folder.path()).expect("a sound log");
        assert_eq!(log.len(), Height(12));
        let heights: Vec<u64> = log.blocks().map(|block| block.expect("a block").header.height.0).collect();
        assert_eq!(heights, (1..=12).collect::<Vec<_>>());
        log.append(&block(13)).expect("the disk works");
        assert_eq!(log.block(Height(13)).expect("the disk works"), Some(block(13)));
    }

    #[test]
    fn only_the_last_segment_may_be_torn_and_none_may_be_missing() {
        let folder = three_segments();
        let middle = folder.path().join(segment_name(1));
        let whole = std::fs::read(&middle).expect("a segment");
        std::fs::write(&middle, &whole[..whole.len() - 1]).expect("a write");
        let error = BlockLog::existing(folder.path()).expect_err("a damaged log");
        assert!(matches!(error, LogError::Corrupt { segment: 1, .. }), "{error}");
        std::fs::remove_file(&middle).expect("a removal");
        let error = BlockLog::existing(folder.path()).expect_err("a damaged log");
        assert!(matches!(error, LogError::Missing { segment: 1 }), "{error}");
    }

    #[test]
    fn a_folder_without_a_block_that_it_once_held_is_not_opened() {
        let folder = three_segments();
        drop(BlockLog::existing(folder.path()).expect("a sound log"));
        let last = folder.path().join(segment_name(2));
        let whole = std::fs::read(&last).expect("a segment");
        // The last segment goes, then all of them, then it is there with its last record cut short.
        let refused = |held: u64| {
            let before = std::fs::read_dir(folder.path()).expect("a folder").count();
            let error = BlockLog::open(folder.path(), &genesis()).expect_err("a block is missing");
            let LogError::Lost { promised: Height(12), id, held: found } = error else { panic!("{error}") };
            assert_eq!((id, found), (block(12).header.id(), Height(held)));
            assert!(Reader::open(folder.path()).is_err());
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), before, "nothing is changed");
        };
        std::fs::remove_file(&last).expect("a removal");
        refused(8);
        std::fs::write(&last, &whole[..whole.len() - 1]).expect("a write");
        refused(11);
        assert_eq!(std::fs::read(&last).expect("a segment").len(), whole.len() - 1, "nothing is cut");
        std::fs::write(&last, &whole).expect("a write");
        BlockLog::existing(folder.path()).expect("a sound log again");
        for segment in 0..3 {
            std::fs::remove_file(folder.path().join(segment_name(segment))).expect("a removal");
        }
        refused(0);
        let mark = folder.path().join(SIGNED);
        let mut bytes = std::fs::read(&mark).expect("a mark");
        bytes[3] ^= 1;
        std::fs::write(&mark, &bytes).expect("a write");
        assert!(matches!(BlockLog::existing(folder.path()), Err(LogError::BadMark)));
    }

    #[test]
    fn the_mark_keeps_up_with_the_blocks_without_an_opening() {
        let folder = three_segments();
        let dir = open_dir(folder.path()).expect("a folder");
        let mark = read_mark(&dir).expect("a mark").expect("a mark");
        assert_eq!((mark.height, mark.id), (Height(9), block(9).header.id()), "the first of the last segment");
        let elsewhere = TempDir::new().expect("a folder");
        let mut log = BlockLog::open(elsewhere.path(), &genesis()).expect("a new log");
        for height in 1..=MARK_EVERY {
            log.append(&block(height)).expect("the disk works");
        }
        let dir = open_dir(elsewhere.path()).expect("a folder");
        assert_eq!(read_mark(&dir).expect("a mark").expect("a mark").height, Height(MARK_EVERY));
    }

    #[test]
    fn after_a_failed_write_nothing_is_appended_until_the_log_is_opened_anew() {
        let folder = TempDir::new().expect("a folder");
        let mut log = BlockLog::open(folder.path(), &genesis()).expect("a new log");
        log.append(&block(1)).expect("the disk works");
        // A handle that cannot be written is as near to a full disk as a test gets.
        log.tail = File::open(folder.path().join(segment_name(0))).expect("a segment");
        assert!(matches!(log.append(&block(2)), Err(LogError::Io { .. })));
        assert!(matches!(log.append(&block(2)), Err(LogError::Poisoned)));
        assert_eq!(log.len(), Height(1));
        drop(log);
        let mut log = BlockLog::existing(folder.path()).expect("a sound log");
        log.append(&block(2)).expect("the disk works");
        assert_eq!(log.len(), Height(2));
    }
}
