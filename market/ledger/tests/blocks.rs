//! Blocks from somebody else, and disks that fail: the state stays what it was.
mod town;

use samebit_ledger::{ApplyError, LedgerState, Solo, SoloError};
use samebit_spec::{
    block::{Block, BlockError, beacon_digest, entries_root},
    entry::Body,
    id::{BlockId, GenesisId, LedgerRoot},
    sign::{Domain, Signature, Signer},
    unit::{Height, MicroCredits, Time},
    wire::Hashed,
};
use town::{Key, Town, check, genesis, hosts, key};

/// A chain of which all but the last block are applied, and that block: a transfer.
fn on_the_brink() -> (LedgerState, Block) {
    let town = check(&(hosts(2) + "post alice j k=1 | ok\n sign j | ok\n transfer alice bob 7 | ok"));
    let blocks = town.store.0.borrow().blocks.clone();
    let mut state = LedgerState::new(&genesis()).expect("a sound genesis");
    let (last, before) = blocks.split_last().expect("a chain");
    for block in before {
        state.apply_block(block).expect("a block of the chain");
    }
    (state, last.clone())
}

/// Signs what the change made, as a validator that lies would.
fn resigned(mut block: Block) -> Block {
    let val = Key::named("val");
    block.header.entries = entries_root(&block.entries);
    block.signature = val.sign(Domain::Block, block.header.genesis, block.header.digest());
    block
}

#[test]
fn a_block_that_does_not_follow_changes_nothing() {
    let (mut state, good) = on_the_brink();
    let root = state.root();
    let mut refuse = |block: Block| {
        let error = state.apply_block(&block).expect_err("a bad block");
        assert_eq!(state.root(), root, "{error} left a trace");
        assert_eq!(state.height().0 + 1, good.header.height.0);
        error
    };
    let changed = |change: &dyn Fn(&mut Block)| {
        let mut block = good.clone();
        change(&mut block);
        block
    };

    let other = changed(&|block| block.header.genesis = GenesisId([1; 32]));
    assert!(matches!(refuse(resigned(other)), ApplyError::Chain { .. }));
    let other = changed(&|block| block.header.height = Height(block.header.height.0 + 1));
    assert!(matches!(refuse(resigned(other)), ApplyError::Height { .. }));
    let other = changed(&|block| block.header.parent = BlockId([1; 32]));
    assert!(matches!(refuse(resigned(other)), ApplyError::Parent { .. }));
    let other = changed(&|block| block.header.time = Time(0));
    assert!(matches!(refuse(resigned(other)), ApplyError::Time { .. }));
    let other = changed(&|block| block.entries = vec![block.entries[0].clone(); 1025]);
    assert!(matches!(refuse(resigned(other)), ApplyError::Entries { count: 1025, .. }));
    let other = changed(&|block| block.signature = Signature([0; 64]));
    assert!(matches!(refuse(other), ApplyError::Block(BlockError::Signature { .. })));
    let other = changed(&|block| {
        let bob = Key::named("bob");
        block.signature = bob.sign(Domain::Block, block.header.genesis, block.header.digest());
    });
    assert!(matches!(refuse(other), ApplyError::Block(BlockError::Signature { .. })));
    // A beacon of another height, rightly signed.
    let other = changed(&|block| {
        let digest = beacon_digest(samebit_spec::id::Beacon::default(), Height(9));
        block.header.beacon_proof = Key::named("val").sign(Domain::Beacon, block.header.genesis, digest);
    });
    assert!(matches!(refuse(resigned(other)), ApplyError::Block(BlockError::Beacon { .. })));
    let other = changed(&|block| block.entries.clear());
    assert!(matches!(refuse(other), ApplyError::Block(BlockError::Entries { .. })));
    // The validator puts in what nobody signed.
    let other = changed(&|block| {
        block.entries[0].entry.body = Body::Transfer { to: key("bob"), amount: MicroCredits(8) };
    });
    assert!(matches!(refuse(resigned(other)), ApplyError::Entry { .. }));
    // ... or the same entry twice ...
    let other = changed(&|block| block.entries.push(block.entries[0].clone()));
    assert!(matches!(refuse(resigned(other)), ApplyError::Entry { .. }));
    // ... or claims a state that is not.
    let other = changed(&|block| block.header.state = LedgerRoot([1; 32]));
    assert!(matches!(refuse(resigned(other)), ApplyError::Root { .. }));

    assert_eq!(state.apply_block(&good), Ok(()));
    assert!(matches!(state.apply_block(&good), Err(ApplyError::Height { .. })), "once");
}

#[test]
fn a_disk_that_fails_changes_nothing_and_the_entry_can_be_sent_again() {
    let mut town = Town::new();
    town::go_on(&mut town, &(hosts(2) + "post alice j k=1 | ok\n sign j | ok\n accept j/0/0 | ok"));
    let (root, head, height) = (town.state().root(), town.state().head(), town.state().height());
    let signed = town.sign("alice", Body::Transfer { to: key("bob"), amount: MicroCredits(5) });
    town.store.0.borrow_mut().broken = true;
    // Long enough for the run to be lost, too.
    let late = town.now.after(samebit_spec::unit::Millis(2_000));
    let error = town.solo.propose(late, vec![signed.clone()]).expect_err("the disk is broken");
    assert!(matches!(error, SoloError::Log(_)));
    assert_eq!((town.state().root(), town.state().head(), town.state().height()), (root, head, height));
    assert_eq!(town.line("run j/0/0"), "accepted");
    town.store.0.borrow_mut().broken = false;
    assert_eq!(town.submit(signed), Ok(()));
    town.replay();
}

/// Pinned: another value here splits every chain.
#[test]
fn the_root_of_a_history_is_the_same_for_ever() {
    let (mut state, last) = on_the_brink();
    state.apply_block(&last).expect("a block of the chain");
    let pinned = "ledger-cb5a4d04e4460fba9c69867cf7191017e6e4604b0ed398a973084a4e74377102";
    assert_eq!(state.root().to_string(), pinned);
}

#[test]
fn no_block_is_made_when_nothing_would_change() {
    let mut town = Town::new();
    let blocks = town.store.0.borrow().blocks.len();
    for _ in 0..10 {
        town.wait(3_600_000);
    }
    assert_eq!(town.store.0.borrow().blocks.len(), blocks);
    assert_eq!(town.state().next_timer(), None);
}

#[test]
fn more_entries_than_a_block_holds_are_not_taken() {
    let mut town = Town::new();
    let signed = town.sign("alice", Body::Transfer { to: key("bob"), amount: MicroCredits(5) });
    let now = town.now;
    let error = town.solo.propose(now, vec![signed; 1025]).expect_err("too many");
    assert!(matches!(error, SoloError::TooMany { given: 1025 }));
    assert_eq!(town.state().height(), Height(0));
}

#[test]
fn only_the_validator_validates() {
    let state = LedgerState::new(&genesis()).expect("a sound genesis");
    let result = Solo::with_store(state, town::Shared::default(), Box::new(Key::named("bob")));
    assert!(matches!(result.err(), Some(SoloError::NotTheValidator { .. })));
}
