//! Files, folders, links and paths.

use crate::support::*;
use samebit_spec::content::BlobRef;
use samebit_wasi::{EPOCH_NS, Errno, PIECE};

const IN: u32 = 3;
const WORK: u32 = 4;
const OUT_DIR: u32 = 5;

#[test]
fn a_mounted_file_reads_as_published() {
    let mut guest = Guest::new();
    assert_eq!(guest.content(IN, "a.txt").unwrap(), b"first");
    assert_eq!(guest.content(IN, "deep/er/file").unwrap(), b"far down");
    assert_eq!(guest.content(IN, "empty").unwrap(), b"");
    let stat = guest.stat(IN, "a.txt").unwrap();
    assert_eq!((stat.dev, stat.kind, stat.nlink, stat.size, stat.mtim), (1, 4, 1, 5, EPOCH_NS));
    assert_eq!(guest.stat(IN, "deep").unwrap().nlink, 3);
}

#[test]
fn a_mounted_file_is_loaded_when_first_read_and_once() {
    let mut guest = Guest::new();
    guest.stat(IN, "a.txt").unwrap();
    let fd = guest.open(WORK, "a.txt", 0).unwrap();
    assert_eq!(*guest.shelf.reads.borrow(), 0);
    assert_eq!(guest.read(fd, 2).unwrap(), b"fi");
    assert_eq!(guest.read(fd, 20).unwrap(), b"rst");
    assert_eq!(guest.content(IN, "a.txt").unwrap(), b"first");
    assert_eq!(*guest.shelf.reads.borrow(), 1);
}

/// Five pieces and a bit, no two alike.
fn large() -> Vec<u8> {
    (0..5 * PIECE + 1000).map(|at| u8::try_from((at * at / 977) % 251).unwrap()).collect()
}

#[test]
fn of_a_large_file_only_the_pieces_that_are_read_are_loaded_and_each_once() {
    let large = large();
    let mut guest = Guest::with_large(&large);
    let fd = guest.open_as(IN, "large", 0, READ | SEEK).unwrap();
    let middle = 3 * PIECE - 7;
    for _ in 0..2 {
        let at = usize::try_from(middle).unwrap();
        assert_eq!(guest.pread(fd, 20, middle).unwrap(), large[at..at + 20], "across two pieces");
    }
    assert_eq!(guest.pread(fd, 2000, 5 * PIECE + 990).unwrap(), large[large.len() - 10..]);
    assert_eq!(guest.pread(fd, 9, 6 * PIECE).unwrap(), b"");
    assert_eq!(*guest.shelf.pieces.borrow(), [2, 3, 5]);
    assert_eq!(*guest.shelf.reads.borrow(), 0);
}

#[test]
fn a_root_is_the_same_whole_or_in_pieces() {
    let large = large();
    let roots = [false, true].map(|in_pieces| {
        let mut guest = Guest::with_large(&large);
        guest.shelf.in_pieces = in_pieces;
        let fd = guest.open_as(IN, "large", 0, READ).unwrap();
        guest.read(fd, 50_000).unwrap();
        let fd = guest.open(WORK, "large", 0).unwrap();
        assert_eq!(guest.pwrite(fd, b"written", PIECE), Errno::Success);
        let at = usize::try_from(PIECE).unwrap();
        assert_eq!(guest.pread(fd, 14, PIECE).unwrap(), [b"written", &large[at + 7..at + 14]].concat());
        guest.wasi.root()
    });
    assert_eq!(roots[0], roots[1]);
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let mut guest = Guest::new();
    let rofs = Err(Errno::RoFs);
    assert_eq!(guest.open(IN, "a.txt", 0), rofs);
    assert_eq!(guest.open_as(IN, "a.txt", TRUNC, READ), rofs);
    assert_eq!(guest.open_as(IN, "new", CREAT, READ), rofs);
    assert_eq!(guest.mkdir(IN, "new"), Errno::RoFs);
    assert_eq!(guest.unlink(IN, "a.txt"), Errno::RoFs);
    assert_eq!(guest.rmdir(IN, "deep/er"), Errno::RoFs);
    assert_eq!(guest.rename(IN, "a.txt", IN, "b.txt"), Errno::RoFs);
    assert_eq!(guest.rename(IN, "a.txt", OUT_DIR, "b.txt"), Errno::RoFs);
    assert_eq!(guest.rename(OUT_DIR, "none", IN, "b.txt"), Errno::NoEnt);
    assert_eq!(guest.link(IN, "a.txt", IN, "b.txt"), Errno::RoFs);
    assert_eq!(guest.symlink("a.txt", IN, "b.txt"), Errno::RoFs);
    let (at, len) = guest.put(b"a.txt");
    assert_eq!(guest.call("path_filestat_set_times", &[3, 0, at, len, 1, 1, 5]), Errno::RoFs);
    let fd = guest.open_as(IN, "a.txt", 0, FILE & !WRITE).unwrap();
    assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 1]), Errno::RoFs);
    assert_eq!(guest.call("fd_allocate", &[fd.into(), 0, 1]), Errno::RoFs);
    assert_eq!(guest.content(IN, "a.txt").unwrap(), b"first");
}

#[test]
fn a_copy_on_write_mount_changes_for_this_run_only() {
    let mut guest = Guest::new();
    let fd = guest.open(WORK, "a.txt", 0).unwrap();
    assert_eq!(guest.pwrite(fd, b"XY", 1), Errno::Success);
    assert_eq!(guest.content(WORK, "a.txt").unwrap(), b"fXYst");
    assert_eq!(guest.content(IN, "a.txt").unwrap(), b"first", "the other mount of the same tree is untouched");
    assert_eq!(guest.unlink(WORK, "deep-er"), Errno::Success);
    assert_eq!(guest.content(WORK, "deep-er"), Err(Errno::NoEnt));
    assert_eq!(guest.content(IN, "deep-er").unwrap(), b"beside");
}

#[test]
fn truncating_a_mounted_file_does_not_load_it() {
    let mut guest = Guest::new();
    let fd = guest.open(WORK, "a.txt", TRUNC).unwrap();
    assert_eq!(guest.fstat(fd).unwrap().size, 0);
    assert_eq!(*guest.shelf.reads.borrow(), 0);
}

#[test]
fn missing_content_is_a_host_fault_and_no_errno() {
    let mut guest = Guest::with(|config| {
        config.mounts[0] = mount("/in", samebit_spec::execution::Access::ReadOnly, &[("gone", b"not on the shelf")]);
    });
    let fd = guest.open_as(IN, "gone", 0, READ).unwrap();
    let (table, _) = guest.put(&[0, 0, 9, 0, 4, 0, 0, 0]);
    let stop = guest.try_call("fd_read", &[fd.into(), table, 1, OUT.into()]).unwrap_err();
    assert!(matches!(stop, samebit_wasi::Stop::HostFault(reason) if reason.contains("is missing")));
}

#[test]
fn open_creates_truncates_and_excludes_as_asked() {
    let mut guest = Guest::new();
    assert_eq!(guest.open(OUT_DIR, "f", 0), Err(Errno::NoEnt));
    guest.file(OUT_DIR, "f", b"hello");
    assert_eq!(guest.open(OUT_DIR, "f", CREAT | EXCL), Err(Errno::Exist));
    let fd = guest.open(OUT_DIR, "f", CREAT).unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"hello");
    guest.open(OUT_DIR, "f", TRUNC).unwrap();
    assert_eq!(guest.stat(OUT_DIR, "f").unwrap().size, 0);
    assert_eq!(guest.open(OUT_DIR, "f", DIRECTORY), Err(Errno::NotDir));
    assert_eq!(guest.open(OUT_DIR, "f/", 0), Err(Errno::NotDir));
    assert_eq!(guest.open(OUT_DIR, "g/", CREAT), Err(Errno::IsDir));
    assert_eq!(guest.open(OUT_DIR, "g", CREAT | DIRECTORY), Err(Errno::Inval));
    assert_eq!(guest.open(OUT_DIR, "g", 16), Err(Errno::Inval));
    assert_eq!(guest.open(IN, "deep", 0), Err(Errno::IsDir), "a folder cannot be opened for writing");
    assert!(guest.open_as(IN, "deep", DIRECTORY, READ).is_ok());
}

#[test]
fn reads_and_writes_move_the_offset_and_positioned_ones_do_not() {
    let mut guest = Guest::new();
    let fd = guest.open(OUT_DIR, "f", CREAT).unwrap();
    assert_eq!(guest.write(fd, b"0123456789"), Errno::Success);
    assert_eq!(guest.seek(fd, 0, 1), Ok(10));
    assert_eq!(guest.seek(fd, -4, 2), Ok(6));
    assert_eq!(guest.pread(fd, 3, 1).unwrap(), b"123");
    assert_eq!(guest.pwrite(fd, b"ab", 0), Errno::Success);
    assert_eq!(guest.read(fd, 99).unwrap(), b"6789");
    assert_eq!(guest.seek(fd, -11, 1), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, 0, 3), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, i64::MAX, 1), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, 12, 0), Ok(12));
    assert_eq!(guest.read(fd, 5).unwrap(), b"");
    assert_eq!(guest.write(fd, b"z"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "f").unwrap(), b"ab23456789\0\0z");
    guest.ok("fd_tell", &[fd.into(), OUT.into()]);
    assert_eq!(guest.u64(OUT), 13);
}

#[test]
fn append_writes_at_the_end_until_it_is_switched_off() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "f", b"one");
    let fd = guest.open_with(OUT_DIR, 0, "f", 0, FILE, 0, 1).unwrap();
    assert_eq!(guest.write(fd, b"two"), Errno::Success);
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    assert_eq!(guest.write(fd, b"three"), Errno::Success);
    guest.ok("fd_fdstat_set_flags", &[fd.into(), 0]);
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    assert_eq!(guest.write(fd, b"ONE"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "f").unwrap(), b"ONEtwothree");
    assert_eq!(guest.call("fd_fdstat_set_flags", &[fd.into(), 32]), Errno::Inval);
}

#[test]
fn sizes_are_set_and_allocated() {
    let mut guest = Guest::new();
    let fd = guest.open(OUT_DIR, "f", CREAT).unwrap();
    guest.ok("fd_allocate", &[fd.into(), 0, 100]);
    guest.ok("fd_allocate", &[fd.into(), 10, 10]);
    assert_eq!(guest.fstat(fd).unwrap().size, 100);
    guest.ok("fd_allocate", &[fd.into(), 90, 20]);
    assert_eq!(guest.fstat(fd).unwrap().size, 110);
    assert_eq!(guest.call("fd_allocate", &[fd.into(), 0, 0]), Errno::Inval);
    assert_eq!(guest.call("fd_allocate", &[fd.into(), u64::MAX, 2]), Errno::FBig);
    guest.ok("fd_filestat_set_size", &[fd.into(), 3]);
    assert_eq!(guest.content(OUT_DIR, "f").unwrap(), [0; 3]);
    guest.ok("fd_advise", &[fd.into(), 0, 9, 5]);
    assert_eq!(guest.call("fd_advise", &[fd.into(), 0, 9, 6]), Errno::Inval);
    assert_eq!(guest.call("fd_advise", &[fd.into(), u64::MAX, 9, 0]), Errno::Inval);
    guest.ok("fd_sync", &[fd.into()]);
    guest.ok("fd_datasync", &[fd.into()]);
}

#[test]
fn times_are_virtual_and_can_be_set() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "f", b"");
    let made = guest.stat(OUT_DIR, "f").unwrap();
    assert!(made.mtim > EPOCH_NS && made.mtim == made.atim);
    let (at, len) = guest.put(b"f");
    guest.ok("path_filestat_set_times", &[5, 0, at, len, 11, 22, 4]);
    let set = guest.stat(OUT_DIR, "f").unwrap();
    assert_eq!((set.atim, set.mtim), (made.atim, 22));
    assert!(set.ctim > made.ctim);
    assert_eq!(guest.call("path_filestat_set_times", &[5, 0, at, len, 0, 0, 3]), Errno::Inval);
    assert_eq!(guest.call("path_filestat_set_times", &[5, 0, at, len, 0, 0, 16]), Errno::Inval);
    let fd = guest.open(OUT_DIR, "f", 0).unwrap();
    guest.ok("fd_filestat_set_times", &[fd.into(), 1, 2, 1 | 8]);
    let set = guest.fstat(fd).unwrap();
    assert_eq!(set.atim, 1);
    assert!(set.mtim > made.mtim);
}

#[test]
fn paths_stay_below_their_descriptor() {
    let mut guest = Guest::new();
    for path in ["/a.txt", "..", "../in/a.txt", "deep/../../in", "deep/er/../../../x"] {
        assert_eq!(guest.stat(IN, path), Err(Errno::Perm), "{path}");
    }
    assert_eq!(guest.content(IN, "deep/.//er/../../deep/er///./file").unwrap(), b"far down");
    for (path, errno) in [("", Errno::NoEnt), ("a\0", Errno::Inval), ("a.txt/x", Errno::NotDir), ("x/y", Errno::NoEnt)]
    {
        assert_eq!(guest.stat(IN, path), Err(errno), "{path:?}");
    }
    assert_eq!(guest.stat(IN, &"x".repeat(256)), Err(Errno::NameTooLong));
    assert_eq!(guest.stat(IN, &"x/".repeat(2049)), Err(Errno::NameTooLong));
    let (at, _) = guest.put(&[0xff, 0xfe]);
    assert_eq!(guest.call("path_create_directory", &[5, at, 2]), Errno::IlSeq);
}

#[test]
fn links_are_followed_within_the_folder_and_not_for_ever() {
    let mut guest = Guest::new();
    assert_eq!(guest.mkdir(OUT_DIR, "d"), Errno::Success);
    guest.file(OUT_DIR, "d/f", b"here");
    assert_eq!(guest.symlink("d/f", OUT_DIR, "to-file"), Errno::Success);
    assert_eq!(guest.symlink("d", OUT_DIR, "to-dir"), Errno::Success);
    assert_eq!(guest.symlink("../..", OUT_DIR, "d/out"), Errno::Success);
    assert_eq!(guest.symlink("loop", OUT_DIR, "loop"), Errno::Success);
    assert_eq!(guest.symlink("nowhere", OUT_DIR, "dangling"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "to-file").unwrap(), b"here");
    assert_eq!(guest.content(OUT_DIR, "to-dir/f").unwrap(), b"here");
    assert_eq!(guest.stat(OUT_DIR, "to-dir/out/x"), Err(Errno::Perm));
    assert_eq!(guest.open(OUT_DIR, "loop", 0), Err(Errno::Loop));
    assert_eq!(guest.open_with(OUT_DIR, 0, "to-file", 0, READ, 0, 0), Err(Errno::Loop));
    assert_eq!(guest.open_with(OUT_DIR, 0, "to-dir", DIRECTORY, 0, 0, 0), Err(Errno::Loop));
    assert_eq!(guest.open(OUT_DIR, "dangling", CREAT | EXCL), Err(Errno::Exist));
    guest.file(OUT_DIR, "dangling", b"made");
    assert_eq!(guest.content(OUT_DIR, "nowhere").unwrap(), b"made");
    assert_eq!(guest.stat(OUT_DIR, "to-file").unwrap().kind, 7);
    assert_eq!(guest.readlink(OUT_DIR, "to-file", 99).unwrap(), "d/f");
    assert_eq!(guest.readlink(OUT_DIR, "to-file", 2).unwrap(), "d/");
    assert_eq!(guest.readlink(OUT_DIR, "d", 9), Err(Errno::Inval));
    assert_eq!(guest.symlink("/abs", OUT_DIR, "s"), Errno::Perm);
    assert_eq!(guest.symlink("", OUT_DIR, "s"), Errno::NoEnt);
    assert_eq!(guest.symlink("x", OUT_DIR, "d"), Errno::Exist);
    assert_eq!(guest.symlink("x", OUT_DIR, "s/"), Errno::NoEnt);
}

#[test]
fn a_chain_of_forty_links_is_followed_and_one_of_forty_one_is_not() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "l0", b"end");
    for index in 1..=41 {
        assert_eq!(guest.symlink(&format!("l{}", index - 1), OUT_DIR, &format!("l{index}")), Errno::Success);
    }
    assert_eq!(guest.content(OUT_DIR, "l40").unwrap(), b"end");
    assert_eq!(guest.content(OUT_DIR, "l41"), Err(Errno::Loop));
}

#[test]
fn hard_links_share_one_file() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "f", b"same");
    assert_eq!(guest.link(OUT_DIR, "f", OUT_DIR, "g"), Errno::Success);
    assert_eq!(guest.stat(OUT_DIR, "f").unwrap(), guest.stat(OUT_DIR, "g").unwrap());
    assert_eq!(guest.stat(OUT_DIR, "g").unwrap().nlink, 2);
    assert_eq!(guest.unlink(OUT_DIR, "f"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "g").unwrap(), b"same");
    assert_eq!(guest.link(OUT_DIR, "g", OUT_DIR, "g"), Errno::Exist);
    assert_eq!(guest.link(OUT_DIR, "g", OUT_DIR, "h/"), Errno::NoEnt);
    assert_eq!(guest.link(OUT_DIR, "f", OUT_DIR, "h"), Errno::NoEnt);
    assert_eq!(guest.mkdir(OUT_DIR, "d"), Errno::Success);
    assert_eq!(guest.link(OUT_DIR, "d", OUT_DIR, "e"), Errno::Perm);
    assert_eq!(guest.link(WORK, "a.txt", OUT_DIR, "h"), Errno::XDev);
}

#[test]
fn folders_are_made_and_removed_when_empty() {
    let mut guest = Guest::new();
    assert_eq!(guest.mkdir(OUT_DIR, "d/"), Errno::Success);
    assert_eq!(guest.mkdir(OUT_DIR, "d"), Errno::Exist);
    assert_eq!(guest.mkdir(OUT_DIR, "."), Errno::Exist);
    assert_eq!(guest.mkdir(OUT_DIR, "x/y"), Errno::NoEnt);
    guest.file(OUT_DIR, "d/f", b"");
    assert_eq!(guest.rmdir(OUT_DIR, "d"), Errno::NotEmpty);
    assert_eq!(guest.rmdir(OUT_DIR, "d/f"), Errno::NotDir);
    assert_eq!(guest.unlink(OUT_DIR, "d"), Errno::IsDir);
    assert_eq!(guest.unlink(OUT_DIR, "d/"), Errno::IsDir);
    assert_eq!(guest.unlink(OUT_DIR, "d/f/"), Errno::NotDir);
    assert_eq!(guest.unlink(OUT_DIR, "d/f"), Errno::Success);
    assert_eq!(guest.rmdir(OUT_DIR, "."), Errno::Inval);
    assert_eq!(guest.rmdir(OUT_DIR, "d/"), Errno::Success);
    assert_eq!(guest.rmdir(OUT_DIR, "d"), Errno::NoEnt);
}

#[test]
fn nothing_can_be_made_in_a_folder_that_was_removed() {
    let mut guest = Guest::new();
    assert_eq!(guest.mkdir(OUT_DIR, "d"), Errno::Success);
    let fd = guest.open_with(OUT_DIR, 0, "d", DIRECTORY, DIR, ALL, 0).unwrap();
    assert_eq!(guest.rmdir(OUT_DIR, "d"), Errno::Success);
    assert_eq!(guest.open(fd, "f", CREAT), Err(Errno::NoEnt));
    assert_eq!(guest.fstat(fd).unwrap().nlink, 0);
    assert_eq!(guest.names(fd), Vec::<String>::new());
}

#[test]
fn rename_moves_and_replaces_as_posix_says() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "f", b"f");
    guest.file(OUT_DIR, "g", b"g");
    for dir in ["d", "e", "full"] {
        assert_eq!(guest.mkdir(OUT_DIR, dir), Errno::Success);
    }
    guest.file(OUT_DIR, "full/x", b"x");
    assert_eq!(guest.rename(OUT_DIR, "f", OUT_DIR, "g"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "g").unwrap(), b"f");
    assert_eq!(guest.rename(OUT_DIR, "f", OUT_DIR, "h"), Errno::NoEnt);
    assert_eq!(guest.rename(OUT_DIR, "g", OUT_DIR, "d"), Errno::IsDir);
    assert_eq!(guest.rename(OUT_DIR, "d", OUT_DIR, "g"), Errno::NotDir);
    assert_eq!(guest.rename(OUT_DIR, "g", OUT_DIR, "h/"), Errno::NotDir);
    assert_eq!(guest.rename(OUT_DIR, "d", OUT_DIR, "full"), Errno::NotEmpty);
    assert_eq!(guest.rename(OUT_DIR, "d", OUT_DIR, "d/in"), Errno::Inval);
    assert_eq!(guest.rename(OUT_DIR, "full/", OUT_DIR, "d/"), Errno::Success);
    assert_eq!(guest.rename(OUT_DIR, "d", OUT_DIR, "e/d"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "e/d/x").unwrap(), b"x");
    assert_eq!(guest.rename(OUT_DIR, "e", OUT_DIR, "e/d/x/y"), Errno::NotDir);
    assert_eq!(guest.rename(OUT_DIR, "e", OUT_DIR, "e/d/y"), Errno::Inval);
    assert_eq!(guest.rename(OUT_DIR, ".", OUT_DIR, "q"), Errno::Busy);
    assert_eq!(guest.rename(OUT_DIR, "g", WORK, "g"), Errno::XDev);
    assert_eq!(guest.rename(OUT_DIR, "g", OUT_DIR, "g"), Errno::Success);
    assert_eq!(guest.names(OUT_DIR), ["e", "g"], "a name is listed where it was last given");
}

#[test]
fn a_file_without_a_name_lives_as_long_as_its_descriptor() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "f", b"ghost");
    let fd = guest.open(OUT_DIR, "f", 0).unwrap();
    assert_eq!(guest.unlink(OUT_DIR, "f"), Errno::Success);
    assert_eq!(guest.content(OUT_DIR, "f"), Err(Errno::NoEnt));
    assert_eq!(guest.read(fd, 9).unwrap(), b"ghost");
    assert_eq!(guest.fstat(fd).unwrap().nlink, 0);
    assert_eq!(guest.close(fd), Errno::Success);
}

#[test]
fn a_mounted_folder_lists_its_names_in_order() {
    let mut guest = Guest::new();
    let (entries, used) = guest.readdir(IN, 0, 0x1000);
    let listed: Vec<(&str, u64, u8)> = entries.iter().map(|(name, next, kind)| (name.as_str(), *next, *kind)).collect();
    assert_eq!(
        listed,
        [(".", 1, 3), ("..", 2, 3), ("a.txt", 3, 4), ("deep", 4, 3), ("deep-er", 5, 4), ("empty", 6, 4)]
    );
    assert!(used < 0x1000, "an answer that does not fill the buffer is the last");
}

#[test]
fn a_listing_goes_on_where_it_stopped_while_files_are_removed() {
    let mut guest = Guest::new();
    for index in 0..200 {
        guest.file(OUT_DIR, &format!("file.{index}"), b"");
    }
    let (mut cookie, mut removed) = (2, 0);
    loop {
        let (entries, used) = guest.readdir(OUT_DIR, cookie, 256);
        for (name, next, _) in &entries {
            assert_eq!(guest.unlink(OUT_DIR, name), Errno::Success);
            cookie = *next;
            removed += 1;
        }
        if used < 256 {
            break;
        }
    }
    assert_eq!(removed, 200);
    assert_eq!(guest.names(OUT_DIR), Vec::<String>::new());
}

#[test]
fn a_short_buffer_cuts_the_last_record() {
    let mut guest = Guest::new();
    let (entries, used) = guest.readdir(IN, 2, 30);
    assert_eq!((entries.len(), used), (1, 30));
    let (entries, used) = guest.readdir(IN, 2, 10);
    assert_eq!((entries.len(), used), (0, 10));
    let fd = guest.open_as(IN, "a.txt", 0, READ).unwrap();
    assert_eq!(guest.call("fd_readdir", &[fd.into(), 0, 10, 0, OUT.into()]), Errno::NotDir);
}

#[test]
fn the_output_is_the_regular_files_of_out_in_order() {
    let mut guest = Guest::new();
    guest.file(OUT_DIR, "z", b"last");
    assert_eq!(guest.mkdir(OUT_DIR, "d"), Errno::Success);
    assert_eq!(guest.mkdir(OUT_DIR, "none"), Errno::Success);
    guest.file(OUT_DIR, "d/f", b"deep");
    assert_eq!(guest.link(OUT_DIR, "z", OUT_DIR, "again"), Errno::Success);
    assert_eq!(guest.symlink("z", OUT_DIR, "soft"), Errno::Success);
    let files = guest.wasi.output_files(&guest.shelf).unwrap();
    let listed: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.to_vec())).collect();
    let expected = [("again", "last"), ("d/f", "deep"), ("z", "last")];
    assert_eq!(listed, expected.map(|(path, bytes)| (path, bytes.as_bytes().to_vec())));
}

#[test]
fn a_mount_at_out_is_the_output() {
    let mut guest = Guest::with(|config| config.mounts[1].0.path = "/out".into());
    guest.file(WORK, "new", b"made");
    assert_eq!(guest.unlink(WORK, "a.txt"), Errno::Success);
    assert_eq!(guest.stat(OUT_DIR, "x"), Err(Errno::BadF), "there is no second one");
    let files = guest.wasi.output_files(&guest.shelf).unwrap();
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["deep-er", "deep/er/file", "empty", "new"]);
    let contents: Vec<Vec<u8>> = files.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    assert_eq!(contents, [&b"beside"[..], b"far down", b"", b"made"]);
    assert!(files.iter().all(|(_, bytes)| bytes.blob() == BlobRef::of(&bytes.to_vec())));
}
