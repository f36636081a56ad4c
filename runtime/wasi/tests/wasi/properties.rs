//! Any calls with any arguments: no panic, no limit passed, the same root twice.

use crate::support::*;
use proptest::prelude::*;
use samebit_spec::{
    execution::Access,
    unit::{Bytes, Fuel},
};
use samebit_wasi::{Config, Errno, FUNCTIONS, GuestMemory, RestoreError, SliceMemory, Wasi};

/// Numbers that calls trip over, and the ones that let them succeed.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0_u64..12,
        3 => (0_u64..24).prop_map(|index| index * 64),
        2 => Just(0x100),
        1 => Just(u64::from(OUT)),
        1 => Just(u64::from(NOWHERE)),
        1 => Just(MEMORY as u64 - 4),
        1 => any::<u32>().prop_map(u64::from),
        1 => any::<u64>(),
        1 => Just(ALL),
        1 => Just(u64::MAX),
    ]
}

fn calls() -> impl Strategy<Value = Vec<(usize, Vec<u64>)>> {
    prop::collection::vec((0..FUNCTIONS.len(), prop::collection::vec(argument(), 9)), 1..120)
}

/// Memory where short paths, buffer tables and subscriptions lie at multiples of 64.
fn memory(noise: u64) -> Vec<u8> {
    let mut memory = vec![0; MEMORY];
    let paths: [&[u8]; 12] = [b"a.txt", b"d", b"d/e", b"f", b"..", b"deep/er", b"s/x", b".", b"f/", b"g", b"s", b"/x"];
    for (index, path) in paths.iter().enumerate() {
        memory[index * 64..index * 64 + path.len()].copy_from_slice(path);
    }
    for (index, turn) in (12..24).zip(12_u32..) {
        let at = index * 64;
        memory[at..at + 8].copy_from_slice(&(noise.rotate_left(turn) & 0x0000_0fff_0000_ffff).to_le_bytes());
        memory[at + 8] = noise.to_le_bytes()[index % 8] % 3;
    }
    memory
}

struct Trace {
    roots: Vec<[u8; 32]>,
    memory: Vec<u8>,
    files: Vec<(String, samebit_wasi::OutputBytes)>,
}

fn tight(config: &mut Config) {
    config.limits.files = Bytes(10_000);
    config.limits.stdout = Bytes(5_000);
    config.limits.inodes = 6;
}

/// What the guest's world is made of.
fn world() -> Config {
    let mut config = config();
    config.mounts.push(mount("/in", Access::ReadOnly, INPUT));
    config.mounts.push(mount("/data", Access::CopyOnWrite, INPUT));
    tight(&mut config);
    config
}

fn run(calls: &[(usize, Vec<u64>)], noise: u64) -> Trace {
    let mut guest = Guest::with(tight);
    guest.memory = memory(noise);
    let mut roots = Vec::new();
    let mut snapshots = Vec::new();
    for (index, args) in calls {
        let function = &FUNCTIONS[*index];
        if function.name == "proc_exit" {
            continue;
        }
        let before = guest.settled();
        if guest.call(function.name, &args[..function.params.len()]) != Errno::Success {
            assert_eq!(guest.settled(), before, "W1: {} {args:?}", function.name);
        }
        roots.push(guest.wasi.root());
        snapshots.push(guest.wasi.clone());
    }
    // A world that is saved and restored is the one that it was: its root, its streams, its files, and what it does next.
    let saved = guest.wasi.save();
    for (hash, piece) in &saved.pieces {
        assert_eq!(samebit_wasi::piece_hash(piece), *hash);
    }
    let root = guest.wasi.root();
    let mut restored = Wasi::restore(world(), &saved.image, root, &mut |hash| {
        saved.pieces.get(hash).map(|piece| piece.to_vec()).ok_or_else(|| "it was not saved".to_string())
    })
    .unwrap();
    assert_eq!((restored.root(), restored.save()), (root, saved.clone()));
    assert_eq!((restored.stdout(), restored.stderr()), (guest.wasi.stdout(), guest.wasi.stderr()));
    assert_eq!(restored.output_files(&guest.shelf), guest.wasi.output_files(&guest.shelf));
    let (mut memories, fuel) = ([guest.memory.clone(), guest.memory.clone()], Fuel(guest.fuel + 1_000_000));
    let mut original = guest.wasi.clone();
    for (index, args) in calls.iter().filter(|(index, _)| FUNCTIONS[*index].name != "proc_exit") {
        let function = &FUNCTIONS[*index];
        let args = &args[..function.params.len()];
        let [one, two] = &mut memories;
        let first = original.call(function.call, args, &mut SliceMemory(one), &guest.shelf, fuel);
        let second = restored.call(function.call, args, &mut SliceMemory(two), &guest.shelf, fuel);
        assert_eq!((first, original.root()), (second, restored.root()), "{} {args:?}", function.name);
    }
    assert_eq!(memories[0], memories[1]);
    // Each piece is needed, and no other passes for it.
    if let Some(missing) = saved.pieces.keys().next() {
        let refused = |found: Option<Vec<u8>>| {
            let mut piece = |hash: &[u8; 32]| match hash == missing {
                true => found.clone().ok_or_else(|| "gone".to_string()),
                false => Ok(saved.pieces[hash].to_vec()),
            };
            Wasi::restore(world(), &saved.image, root, &mut piece).unwrap_err()
        };
        assert!(matches!(refused(None), RestoreError::Piece { .. }));
        assert!(matches!(refused(Some(b"another".to_vec())), RestoreError::Piece { .. }));
    }
    // Each snapshot still has the root that it had when it was taken.
    for (snapshot, root) in snapshots.iter().zip(&roots) {
        assert_eq!(snapshot.root(), *root);
    }
    let files = guest.wasi.output_files(&guest.shelf).unwrap();
    assert!(guest.wasi.stdout().len() <= 5_000);
    assert!(guest.wasi.stderr().len() <= 16);
    assert!(files.iter().map(|(_, bytes)| bytes.len()).sum::<u64>() <= 10_000, "W2");
    assert!(files.len() <= 6, "W2");
    Trace { roots, memory: guest.memory, files }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_calls_are_survived_and_give_the_same_roots_twice(calls in calls(), noise: u64) {
        let (first, second) = (run(&calls, noise), run(&calls, noise));
        prop_assert_eq!(first.roots, second.roots);
        prop_assert_eq!(first.memory, second.memory);
        prop_assert_eq!(first.files, second.files);
    }

    /// Chunked files beside a plain vector.
    #[test]
    fn a_file_holds_what_a_vector_would(
        writes in prop::collection::vec((0_u64..20_000, 0_usize..5_000, any::<u8>(), any::<bool>()), 1..12)
    ) {
        let mut guest = Guest::new();
        let fd = guest.open(5, "f", CREAT).unwrap();
        let mut model: Vec<u8> = Vec::new();
        for (offset, len, byte, cut) in writes {
            if cut {
                guest.ok("fd_filestat_set_size", &[fd.into(), offset]);
                model.resize(usize::try_from(offset).unwrap(), 0);
            } else {
                guest.pwrite(fd, &vec![byte; len], offset);
                let start = usize::try_from(offset).unwrap();
                if len > 0 {
                    let end = model.len().max(start + len);
                    model.resize(end, 0);
                    model[start..start + len].fill(byte);
                }
            }
        }
        prop_assert_eq!(guest.content(5, "f").unwrap(), model);
    }

    #[test]
    fn an_access_outside_memory_stores_nothing(at: u32, len in 0_usize..100, size in 0_usize..200) {
        let mut bytes = vec![0; size];
        let mut memory = SliceMemory(&mut bytes);
        let fits = at as usize + len <= size;
        prop_assert_eq!(memory.write(at, &vec![1; len]).is_ok(), fits);
        prop_assert_eq!(memory.check(at, len as u64).is_ok(), fits);
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == 1).count(), if fits { len } else { 0 });
    }
}
