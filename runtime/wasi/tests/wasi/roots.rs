//! The root names the whole state and nothing beside it.

use crate::support::*;
use samebit_spec::content::BlobRef;
use samebit_wasi::{Errno, Wasi};
use std::collections::BTreeSet;

#[test]
fn the_root_does_not_tell_whether_a_mounted_file_was_loaded() {
    let (mut cold, mut warm) = (Guest::new(), Guest::new());
    // A snapshot shares what was loaded with the world it was taken of, and nothing else.
    let beginning = warm.wasi.clone();
    warm.content(3, "a.txt").unwrap();
    warm.wasi = beginning;
    warm.fuel = 0;
    assert_eq!(cold.wasi.root(), warm.wasi.root());
    for guest in [&mut cold, &mut warm] {
        guest.stat(3, "a.txt").unwrap();
    }
    assert_eq!((*cold.shelf.reads.borrow(), *warm.shelf.reads.borrow()), (0, 1));
    assert_eq!(cold.wasi.root(), warm.wasi.root());
    for guest in [&mut cold, &mut warm] {
        guest.content(3, "a.txt").unwrap();
    }
    assert_eq!((*cold.shelf.reads.borrow(), *warm.shelf.reads.borrow()), (1, 1));
    assert_eq!(cold.wasi.root(), warm.wasi.root());
}

#[test]
fn every_part_of_the_state_moves_the_root() {
    let mut guest = Guest::new();
    let mut roots = BTreeSet::new();
    let mut note = |what: &str, wasi: &Wasi| assert!(roots.insert(wasi.root()), "{what} left the root as it was");
    note("beginning", &guest.wasi);
    guest.ok("sched_yield", &[]);
    note("the clock", &guest.wasi);
    guest.write(1, b"x");
    note("stdout", &guest.wasi);
    guest.ok("random_get", &[0, 1]);
    note("randomness", &guest.wasi);
    guest.read(0, 1).unwrap();
    note("stdin", &guest.wasi);
    let fd = guest.open(5, "f", CREAT).unwrap();
    note("a new file", &guest.wasi);
    guest.seek(fd, 9, 0).unwrap();
    note("an offset", &guest.wasi);
    guest.pwrite(fd, b"y", 0);
    note("content", &guest.wasi);
    guest.close(fd);
    note("a closed descriptor", &guest.wasi);
}

#[test]
fn stderr_is_not_part_of_the_root() {
    let (mut quiet, mut loud) = (Guest::new(), Guest::new());
    loud.write(2, b"a word to people");
    quiet.ok("sched_yield", &[]);
    assert_eq!(quiet.settled(), loud.settled());
    loud.write(1, b"a word to the network");
    assert_ne!(quiet.settled(), loud.settled());
}

#[test]
fn worlds_of_different_configurations_begin_at_different_roots() {
    type Change = fn(&mut samebit_wasi::Config);
    let changes: [Change; 10] = [
        |_| {},
        |config| config.args.push("x".into()),
        |config| config.env.clear(),
        |config| config.stdin = BlobRef::of(b"other"),
        |config| config.seed[0] ^= 1,
        |config| config.unit += 1,
        |config| config.mounts.truncate(1),
        |config| config.mounts[0].0.path = "/other".into(),
        |config| config.limits.stdout.0 += 1,
        |config| config.mounts[0].0.access = samebit_spec::execution::Access::CopyOnWrite,
    ];
    let roots: BTreeSet<_> = changes.into_iter().map(|change| Guest::with(change).wasi.root()).collect();
    assert_eq!(roots.len(), 10);
}

#[test]
fn a_snapshot_is_not_touched_by_what_comes_after_it() {
    let mut guest = Guest::new();
    guest.file(5, "f", b"before");
    guest.write(1, b"before");
    let snapshot = guest.wasi.clone();
    let root = snapshot.root();
    guest.file(5, "f", b"after!");
    guest.file(4, "a.txt", b"changed");
    assert_eq!(guest.mkdir(5, "d"), Errno::Success);
    assert_eq!(guest.unlink(4, "deep-er"), Errno::Success);
    guest.write(1, b" after");
    assert_eq!(snapshot.root(), root);
    assert_ne!(guest.wasi.root(), root);
    assert_eq!(snapshot.stdout(), b"before");
    guest.wasi = snapshot;
    assert_eq!(guest.content(5, "f").unwrap(), b"before");
    assert_eq!(guest.content(4, "a.txt").unwrap(), b"first");
    assert_eq!(guest.content(4, "deep-er").unwrap(), b"beside");
}

/// Pins the state's encoding: a change of it is a change of the protocol and needs a new profile.
#[test]
fn the_first_root_of_a_known_world_is_pinned() {
    let mut guest = Guest::new();
    guest.file(5, "f", b"content");
    guest.write(1, b"out");
    let root: String = guest.wasi.root().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(root, "9b8d3d458480a25a3bf16a1aa75165f80083e3d1544c7f2f787ea9dab3da2008");
}
