//! What a guest may make is bounded, and what a call costs grows with what it asks for.

use crate::support::*;
use samebit_spec::{content::BlobRef, execution::Access, unit::Bytes};
use samebit_wasi::{Call, Errno, GuestMemory, SliceMemory, cost};

#[test]
fn stdout_beyond_its_limit_is_refused_whole() {
    let mut guest = Guest::with(|config| config.limits.stdout = Bytes(10));
    assert_eq!(guest.write(1, b"12345678"), Errno::Success);
    assert_eq!(guest.write(1, b"abc"), Errno::DQuot);
    assert_eq!(guest.wasi.stdout(), b"12345678");
    assert_eq!(guest.write(1, b"90"), Errno::Success);
    assert_eq!(guest.write(1, b""), Errno::Success);
    assert_eq!(guest.wasi.stdout(), b"1234567890");
}

#[test]
fn file_bytes_are_bounded_however_they_come_about() {
    let mut guest = Guest::with(|config| config.limits.files = Bytes(100));
    let fd = guest.open(5, "f", CREAT).unwrap();
    assert_eq!(guest.write(fd, &[1; 60]), Errno::Success);
    assert_eq!(guest.write(fd, &[1; 41]), Errno::DQuot);
    assert_eq!(guest.fstat(fd).unwrap().size, 60, "nothing of a refused write is there");
    assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 101]), Errno::DQuot);
    assert_eq!(guest.call("fd_allocate", &[fd.into(), 0, 101]), Errno::DQuot);
    assert_eq!(guest.pwrite(fd, b"x", 1 << 40), Errno::DQuot);
    assert_eq!(guest.link(5, "f", 5, "g"), Errno::DQuot, "the output would hold the bytes twice");
    assert_eq!(guest.symlink(&"x".repeat(41), 5, "s"), Errno::DQuot);
    guest.ok("fd_filestat_set_size", &[fd.into(), 50]);
    assert_eq!(guest.link(5, "f", 5, "g"), Errno::Success);
    assert_eq!(guest.pwrite(fd, b"x", 50), Errno::DQuot);
    assert_eq!(guest.unlink(5, "g"), Errno::Success);
    assert_eq!(guest.pwrite(fd, b"x", 50), Errno::Success);
    assert_eq!(guest.unlink(5, "f"), Errno::Success);
    assert_eq!(guest.symlink(&"x".repeat(60), 5, "s"), Errno::DQuot, "the open file still counts");
    assert_eq!(guest.close(fd), Errno::Success);
    assert_eq!(guest.symlink(&"x".repeat(60), 5, "s"), Errno::Success);
}

#[test]
fn a_copy_of_a_mounted_file_counts_whole() {
    let mut guest = Guest::with(|config| {
        config.limits.files = Bytes(6);
        config.mounts[1] = mount("/data", Access::CopyOnWrite, INPUT);
    });
    let small = guest.open(4, "a.txt", 0).unwrap();
    let large = guest.open(4, "deep/er/file", 0).unwrap();
    assert_eq!(guest.pwrite(large, b"x", 0), Errno::DQuot);
    assert_eq!(guest.pwrite(small, b"x", 0), Errno::Success);
    assert_eq!(guest.content(4, "deep/er/file").unwrap(), b"far down");
    assert_eq!(guest.pwrite(small, b"xy", 5), Errno::DQuot);
    assert_eq!(guest.link(4, "deep/er/file", 4, "b"), Errno::DQuot);
}

#[test]
fn inodes_are_bounded_and_come_back_when_removed() {
    let mut guest = Guest::with(|config| config.limits.inodes = 3);
    assert_eq!(guest.mkdir(5, "d"), Errno::Success);
    guest.file(5, "f", b"");
    assert_eq!(guest.symlink("f", 5, "s"), Errno::Success);
    assert_eq!(guest.open(5, "g", CREAT), Err(Errno::DQuot));
    assert_eq!(guest.mkdir(5, "e"), Errno::DQuot);
    assert_eq!(guest.link(5, "f", 5, "h"), Errno::DQuot);
    assert_eq!(guest.symlink("f", 5, "t"), Errno::DQuot);
    assert_eq!(guest.rename(5, "f", 5, "g"), Errno::Success, "moving makes nothing");
    assert_eq!(guest.unlink(4, "a.txt"), Errno::Success);
    assert_eq!(guest.mkdir(5, "e"), Errno::DQuot, "a mounted file was not counted");
    assert_eq!(guest.rename(5, "g", 5, "s"), Errno::Success);
    assert_eq!(guest.mkdir(5, "e"), Errno::Success, "the replaced link was");
}

#[test]
fn tiny_files_without_end_meet_the_quota_and_nothing_else() {
    let mut guest = Guest::new();
    let limit = samebit_spec::execution::Limits::default().inodes;
    for number in 0..limit {
        assert_eq!(guest.symlink("t", 5, &format!("{number}")), Errno::Success, "{number}");
    }
    assert_eq!(guest.symlink("t", 5, "one more"), Errno::DQuot);
    assert_eq!(guest.mkdir(5, "one more"), Errno::DQuot);
    assert_eq!(guest.unlink(5, "77"), Errno::Success);
    assert_eq!(guest.mkdir(5, "one more"), Errno::Success);
}

#[test]
fn a_million_tiny_files_are_a_million_files_where_the_order_says_so_and_then_the_quota() {
    let most = samebit_spec::param::INODES_MAX;
    assert!(most > 1_000_000);
    let mut guest = Guest::with(|config| config.limits.inodes = most);
    let before = guest.wasi.root_fuel().0;
    for number in 0..most {
        let fd = guest.open(5, &format!("{number:07}"), CREAT).unwrap();
        if number % 1000 == 0 {
            assert_eq!(guest.write(fd, b"x"), Errno::Success);
        }
        assert_eq!(guest.close(fd), Errno::Success);
    }
    assert_eq!(guest.open(5, "one more", CREAT), Err(Errno::DQuot));
    // Each root is paid by what it lists, and two of the same files are one.
    let chunks = 1049_u64.div_ceil(4096);
    let listed = (cost::ROOT_INODE + cost::ROOT_ENTRY) * u64::from(most) + cost::ROOT_INODE + chunks * cost::ROOT_CHUNK;
    assert_eq!(guest.wasi.root_fuel().0 - before, listed);
    assert_eq!(guest.settled(), guest.settled());
    assert_eq!(guest.content(5, "0123000").unwrap(), b"x");
    let (names, _) = guest.readdir(5, u64::from(most), 200);
    assert_eq!(names.last().map(|(name, ..)| name.as_str()), Some("1048575"));
    assert_eq!(guest.wasi.output_files(&guest.shelf).unwrap().len(), samebit_spec::param::TREE_FILES_MAX);
}

#[test]
fn a_mounted_file_that_is_cut_is_read_up_to_its_new_end_alone() {
    let bytes: Vec<u8> = (0..10 * 65_536_u32).map(|at| at.to_le_bytes()[usize::from(at % 2 == 0)]).collect();
    let mut guest = Guest::with_large(&bytes);
    let fd = guest.open(4, "large", 0).unwrap();
    let spent = guest.fuel;
    guest.ok("fd_filestat_set_size", &[fd.into(), 70_000]);
    assert_eq!(*guest.shelf.pieces.borrow(), [0, 1]);
    // What is copied is what is paid for, beside the call.
    assert_eq!(guest.fuel - spent, cost::CALL + cost::WRITE + cost::GROWTH_BYTE * 70_000);
    assert_eq!(guest.pread(fd, 70_001, 0).unwrap(), &bytes[..70_000]);
    guest.ok("fd_filestat_set_size", &[fd.into(), 70_010]);
    assert_eq!(guest.pread(fd, 20, 69_995).unwrap(), [&bytes[69_995..70_000], &[0; 10]].concat());
}

#[test]
fn ways_to_pieces_are_paid_for_where_a_world_mounts_more_than_is_held() {
    // One buffer of 200,000 bytes.
    let mut memory = vec![0; 300_000];
    memory[0..4].copy_from_slice(&1000_u32.to_le_bytes());
    memory[4..8].copy_from_slice(&200_000_u32.to_le_bytes());
    let mut prices = |stdin: u64| {
        let mut guest = Guest::with(|config| config.stdin = BlobRef { len: Bytes(stdin), ..config.stdin });
        let fd = guest.open_as(3, "a.txt", 0, READ | SEEK).unwrap().into();
        let mut price = |call: Call, args: &[u64]| guest.wasi.cost(call, args, &SliceMemory(&mut memory)).0;
        [
            price(Call::FdRead, &[0, 0, 1, 8]),
            price(Call::FdSeek, &[fd, 0, 0, 8]),
            price(Call::FdPread, &[fd, 0, 1, 3, 8]),
            price(Call::FdPread, &[fd, 0, 1, 1 << 40, 8]),
            price(Call::FdWrite, &[1, 0, 1, 8]),
        ]
    };
    let held = prices(samebit_wasi::LOADED_MAX - 1000);
    let read = cost::CALL + cost::IOVEC + 200_000 * cost::READ_BYTE;
    assert_eq!(held[..4], [read, cost::CALL, read, read]);
    // The first four pieces of stdin, the one that is sought, the one that is read; behind the end there is none.
    let ways = prices(samebit_wasi::LOADED_MAX + 1);
    let more: Vec<u64> = ways.iter().zip(held).map(|(more, less)| more - less).collect();
    assert_eq!(more, [4 * cost::LOAD, cost::LOAD, cost::LOAD, 0, 0]);
}

#[test]
fn folders_nest_to_a_bounded_depth() {
    let mut guest = Guest::new();
    let mut dir = 5;
    let mut depth = 0;
    loop {
        match guest.mkdir(dir, "d") {
            Errno::Success => {}
            errno => {
                assert_eq!(errno, Errno::NameTooLong);
                break;
            }
        }
        let next = guest.open_with(dir, 0, "d", DIRECTORY, DIR, ALL, 0).unwrap();
        if dir != 5 {
            assert_eq!(guest.close(dir), Errno::Success);
        }
        dir = next;
        depth += 1;
    }
    assert_eq!(depth, 128);
}

#[test]
fn a_sparse_file_reads_as_zeros_and_costs_its_size() {
    let mut guest = Guest::with(|config| config.limits.files = Bytes(4 << 30));
    let fd = guest.open(5, "f", CREAT).unwrap();
    guest.ok("fd_filestat_set_size", &[fd.into(), 4 << 30]);
    assert_eq!(guest.pread(fd, 8, (4 << 30) - 4).unwrap(), [0; 4]);
    assert_eq!(guest.symlink("x", 5, "s"), Errno::DQuot);
    let long = guest.settled();
    guest.ok("fd_filestat_set_size", &[fd.into(), (4 << 30) - 1]);
    assert_ne!(guest.settled(), long);
}

#[test]
fn a_call_costs_more_the_more_it_moves() {
    let mut guest = Guest::new();
    let table = guest.put(&[0, 0, 0, 0, 0, 4, 0, 0]).0;
    let mut memory = vec![0; MEMORY];
    memory.copy_from_slice(&guest.memory);
    let memory = SliceMemory(&mut memory);
    let price = |call: Call, args: &[u64]| guest.wasi.cost(call, args, &memory).0;
    assert_eq!(price(Call::SchedYield, &[]), cost::CALL);
    assert_eq!(price(Call::RandomGet, &[0, 1000]), cost::CALL + 1000 * cost::RANDOM_BYTE);
    assert_eq!(price(Call::FdRead, &[0, table, 1, 0]), cost::CALL + cost::IOVEC + 1024 * cost::READ_BYTE);
    assert_eq!(
        price(Call::FdWrite, &[1, table, 1, 0]),
        cost::CALL + cost::WRITE + cost::IOVEC + 1024 * cost::WRITE_BYTE
    );
    assert_eq!(price(Call::PollOneoff, &[0, 0, 3, 0]), cost::CALL + 3 * cost::SUBSCRIPTION);
    assert!(price(Call::PathRename, &[5, 0, 10, 5, 0, 20]) > price(Call::PathUnlinkFile, &[5, 0, 10]));
    // Hostile lengths are priced, never added up past the end.
    for function in samebit_wasi::FUNCTIONS {
        let args = vec![u64::MAX; function.params.len()];
        assert!(price(function.call, &args) >= cost::CALL);
        assert!(price(function.call, &[]) >= cost::CALL);
    }
    assert_eq!(memory.len(), MEMORY);
}

/// Fuel of a call as the guest would pay it now.
fn price(guest: &mut Guest, name: &str, args: &[u64]) -> u64 {
    let call = Call::by_name(name).expect("a function of preview1");
    guest.wasi.cost(call, args, &SliceMemory(&mut guest.memory)).0
}

#[test]
fn bytes_that_a_file_grows_by_are_paid_like_bytes_written() {
    let mut guest = Guest::with(|config| config.limits.files = Bytes(1 << 30));
    let fd: u64 = guest.open(5, "f", CREAT).unwrap().into();
    let base = cost::CALL + cost::WRITE;
    let big = 256 << 20;
    let grown = base + big * cost::GROWTH_BYTE;
    assert_eq!(price(&mut guest, "fd_filestat_set_size", &[fd, big]), grown);
    assert_eq!(price(&mut guest, "fd_allocate", &[fd, big - 1, 1]), grown);
    let table = guest.put(&[0, 0, 0, 0, 4, 0, 0, 0]).0;
    let written = base + cost::IOVEC + 4 * cost::WRITE_BYTE;
    assert_eq!(price(&mut guest, "fd_pwrite", &[fd, table, 1, 0, 0]), written, "its bytes are paid once");
    assert_eq!(price(&mut guest, "fd_pwrite", &[fd, table, 1, big, 0]), written + big * cost::GROWTH_BYTE);
    guest.ok("fd_seek", &[fd, big, 0, 64]);
    assert_eq!(price(&mut guest, "fd_write", &[fd, table, 1, 0]), written + big * cost::GROWTH_BYTE);
    // What will be refused adds nothing.
    assert_eq!(price(&mut guest, "fd_filestat_set_size", &[fd, 2 << 30]), base);
    guest.ok("fd_filestat_set_size", &[fd, big]);
    assert_eq!(price(&mut guest, "fd_filestat_set_size", &[fd, big]), base, "nothing is added any more");
    assert_eq!(price(&mut guest, "fd_filestat_set_size", &[fd, 1]), base);
    let (old, len) = guest.put(b"f");
    let link = price(&mut guest, "path_link", &[5, 0, old, len, 5, 0, 1]);
    assert!(link > big * cost::GROWTH_BYTE, "a further name is given out once more");
}

#[test]
fn a_root_is_paid_by_what_it_lists() {
    let mut guest = Guest::new();
    let blank = guest.wasi.root_fuel().0;
    for n in 0..100 {
        guest.file(5, &format!("f{n}"), b"");
    }
    let many = guest.wasi.root_fuel().0;
    assert!(many >= blank + 100 * (cost::ROOT_INODE + cost::ROOT_ENTRY), "{blank} {many}");
    for n in 0..100 {
        assert_eq!(guest.rename(5, &format!("f{n}"), 5, &format!("g{n}")), Errno::Success);
    }
    assert_eq!(guest.wasi.root_fuel().0, many, "moving makes nothing");
    for n in 0..100 {
        assert_eq!(guest.unlink(5, &format!("g{n}")), Errno::Success);
    }
    let emptied = guest.wasi.root_fuel().0;
    assert!(emptied <= blank + 2 * cost::ROOT_INODE, "{blank} {emptied}");
    // A folder of a mount is hashed whole once one of its entries has changed.
    let before = guest.wasi.root_fuel().0;
    assert_eq!(guest.unlink(4, "empty"), Errno::Success);
    let after = guest.wasi.root_fuel().0;
    assert_eq!(after, before + 2 * cost::ROOT_INODE + 3 * cost::ROOT_ENTRY, "the root's three other entries");
}

#[test]
fn buffers_that_will_be_refused_cost_none_of_their_bytes() {
    let mut guest = Guest::new();
    let outside = (MEMORY as u64).to_le_bytes();
    let mut bad = [outside[0], outside[1], outside[2], outside[3], 0, 0, 0, 0x7f];
    let table = guest.put(&bad).0;
    assert_eq!(price(&mut guest, "fd_read", &[0, table, 1, 0]), cost::CALL + cost::IOVEC);
    bad[..4].fill(0);
    let long = guest.put(&bad).0;
    assert_eq!(price(&mut guest, "fd_read", &[0, long, 1, 0]), cost::CALL + cost::IOVEC);
    assert_eq!(price(&mut guest, "fd_read", &[0, table, 1025, 0]), cost::CALL);
    assert_eq!(price(&mut guest, "fd_read", &[0, MEMORY as u64, 1, 0]), cost::CALL);
    assert_eq!(price(&mut guest, "fd_write", &[1, MEMORY as u64, 1, 0]), cost::CALL + cost::WRITE);
}
