//! The ledger's folder: durable, locked, cut where it was torn, refused where it is damaged.
mod town;

use samebit_ledger::{BlockLog, LogError, Solo, SoloError, replay};
use samebit_spec::{
    entry::{Body, Entry},
    sign::Signer,
    unit::{Height, MicroCredits, Millis},
};
use std::{fs, path::Path};
use tempfile::TempDir;
use town::{Key, START, genesis, key, sign_entry};

const SEGMENT: &str = "blocks-00000000.log";

fn open(path: &Path) -> Solo {
    Solo::open(path, &genesis(), Box::new(Key::named("val"))).expect("a sound folder")
}

/// `count` blocks of one transfer each.
fn grow(solo: &mut Solo, count: u64) {
    let alice = Key::named("alice");
    for _ in 0..count {
        let state = solo.state();
        let (sequence, now) = (state.sequence(&alice.public()), state.time().after(Millis(10)));
        let body = Body::Transfer { to: key("bob"), amount: MicroCredits(1) };
        let entry = Entry { genesis: state.genesis_id(), signer: alice.public(), sequence, body };
        let proposed = solo.propose(now, vec![sign_entry(&alice, entry)]).expect("the disk works");
        assert!(proposed.block.is_some());
    }
}

/// A folder of five blocks, and where each record begins.
fn five() -> (TempDir, Vec<usize>) {
    let folder = TempDir::new().expect("a folder");
    let mut starts = vec![0];
    let mut solo = open(folder.path());
    for _ in 0..5 {
        grow(&mut solo, 1);
        starts.push(fs::read(folder.path().join(SEGMENT)).expect("a segment").len());
    }
    (folder, starts)
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let mut solo = open(folder.path());
    grow(&mut solo, 7);
    let (root, head) = (solo.state().root(), solo.state().head());
    drop(solo);
    let mut solo = open(folder.path());
    assert_eq!((solo.state().root(), solo.state().head(), solo.log().cut()), (root, head, None));
    grow(&mut solo, 3);
    assert_eq!(solo.log().len(), Height(10));
    let block = solo.log().block(Height(4)).expect("the disk works").expect("block 4");
    assert_eq!(block.header.height, Height(4));
    assert!(solo.log().block(Height(0)).expect("the disk works").is_none());
    assert!(solo.log().block(Height(11)).expect("the disk works").is_none());
    // A running validator's folder can be verified from outside.
    let replayed = replay(folder.path()).expect("a sound folder");
    assert_eq!(replayed.state.root(), solo.state().root());
    assert_eq!((replayed.blocks, replayed.entries, replayed.torn), (10, 10, None));
    assert_eq!(replayed.conservation.total(), u128::from(replayed.conservation.supply.0));
}

#[test]
fn two_validators_cannot_open_one_folder() {
    let (folder, _) = five();
    let first = open(folder.path());
    let second = Solo::open(folder.path(), &genesis(), Box::new(Key::named("val")));
    assert!(matches!(second.err(), Some(SoloError::Log(LogError::Locked))));
    drop(first);
    open(folder.path());
}

#[test]
fn a_folder_is_of_one_chain() {
    let (folder, _) = five();
    let mut other = genesis();
    other.network = String::from("other");
    assert!(matches!(BlockLog::open(folder.path(), &other), Err(LogError::WrongGenesis { .. })));
    assert_eq!(BlockLog::existing(folder.path()).expect("a sound folder").genesis(), &genesis());
    fs::write(folder.path().join("genesis.borsh"), b"garbage").expect("a write");
    assert!(matches!(BlockLog::existing(folder.path()), Err(LogError::BadGenesis { .. })));
    fs::remove_file(folder.path().join("genesis.borsh")).expect("a removal");
    assert!(matches!(BlockLog::open(folder.path(), &genesis()), Err(LogError::BadGenesis { .. })));
    assert!(matches!(BlockLog::existing(&folder.path().join("nowhere")), Err(LogError::Io { .. })));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_chain_goes_on() {
    let (folder, starts) = five();
    let path = folder.path().join(SEGMENT);
    let whole = fs::read(&path).expect("a segment");
    for end in starts[4] + 1..whole.len() {
        fs::write(&path, &whole[..end]).expect("a write");
        let torn = replay(folder.path()).expect("a sound chain").torn.expect("a torn tail");
        assert_eq!((torn.offset, torn.bytes), (starts[4] as u64, (end - starts[4]) as u64));
        assert_eq!(fs::read(&path).expect("a segment").len(), end, "verifying changes nothing");
        // Opening costs several syncs, so only some ends are opened.
        if end % 29 == 0 {
            let mut solo = open(folder.path());
            assert_eq!((solo.state().height(), solo.log().cut()), (Height(4), Some(torn)));
            grow(&mut solo, 2);
            drop(solo);
            assert_eq!(replay(folder.path()).expect("a sound chain").blocks, 6);
        }
    }
    // A crash may leave a file that grew but was not filled.
    let mut grown = whole[..starts[5]].to_vec();
    grown.extend([0; 500]);
    fs::write(&path, &grown).expect("a write");
    let solo = open(folder.path());
    assert_eq!(solo.state().height(), Height(5));
}

/// The last block too: it was acknowledged as the others were, and a second one at its height would fork the chain.
#[test]
fn a_bit_that_flips_in_an_acknowledged_block_is_named_and_nothing_is_cut() {
    let (folder, starts) = five();
    let path = folder.path().join(SEGMENT);
    let whole = fs::read(&path).expect("a segment");
    // Lengths, hashes and bodies alike; every bit of the heads of the last two.
    let heads = [starts[3], starts[4]].into_iter().flat_map(|start| start..start + 6);
    let every = heads.flat_map(|at| (0..8).map(move |bit| (at, bit)));
    for (at, bit) in (0..whole.len()).step_by(7).map(|at| (at, 4)).chain(every) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&path, &flipped).expect("a write");
        let record = starts.iter().rev().find(|start| **start <= at).copied().expect("a record");
        let error = BlockLog::open(folder.path(), &genesis()).expect_err("a damaged log");
        let LogError::Corrupt { segment: 0, offset, .. } = error else { panic!("byte {at}: {error}") };
        assert_eq!(offset, record as u64, "byte {at}");
        assert!(replay(folder.path()).is_err());
        assert_eq!(fs::read(&path).expect("a segment"), flipped, "nothing is changed");
    }
    fs::write(&path, &whole).expect("a write");
    assert_eq!(open(folder.path()).state().height(), Height(5));
}

#[test]
fn a_block_that_another_hand_wrote_is_refused_by_the_replay() {
    // The log itself is sound; what it holds is not the validator's.
    let (folder, _) = five();
    let log = BlockLog::existing(folder.path()).expect("a sound folder");
    let blocks: Vec<_> = log.blocks().map(|block| block.expect("a block")).collect();
    let elsewhere = TempDir::new().expect("a folder");
    let mut forged = BlockLog::open(elsewhere.path(), &genesis()).expect("a folder");
    assert!(matches!(forged.append(&blocks[1]), Err(LogError::NotNext { .. })));
    let mut first = blocks[0].clone();
    first.header.time = START.after(Millis(99));
    forged.append(&first).expect("the disk works");
    drop(forged);
    assert!(replay(elsewhere.path()).is_err());
    let opened = Solo::open(elsewhere.path(), &genesis(), Box::new(Key::named("val")));
    assert!(matches!(opened.err(), Some(SoloError::Stored(_))));
}
