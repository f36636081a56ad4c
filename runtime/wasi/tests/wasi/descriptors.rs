//! Descriptors, rights and pointers.

use crate::support::*;
use samebit_spec::execution::Access;
use samebit_wasi::{Call, Errno, FUNCTIONS, Stop, ValType};

#[test]
fn there_are_forty_six_functions_and_each_is_found_by_its_name() {
    assert_eq!(FUNCTIONS.len(), 46);
    for (index, function) in FUNCTIONS.iter().enumerate() {
        assert_eq!(Call::by_name(function.name), Some(function.call));
        assert_eq!(function.call as usize, index);
        let result = if function.name == "proc_exit" { None } else { Some(ValType::I32) };
        assert_eq!(function.result, result, "{}", function.name);
    }
    assert_eq!(Call::by_name("fd_explode"), None);
}

#[test]
fn errno_numbers_are_those_of_preview1() {
    for (errno, number) in [
        (Errno::Success, 0),
        (Errno::Acces, 2),
        (Errno::BadF, 8),
        (Errno::DQuot, 19),
        (Errno::Exist, 20),
        (Errno::Fault, 21),
        (Errno::FBig, 22),
        (Errno::IlSeq, 25),
        (Errno::Inval, 28),
        (Errno::IsDir, 31),
        (Errno::Loop, 32),
        (Errno::MFile, 33),
        (Errno::NameTooLong, 37),
        (Errno::NoEnt, 44),
        (Errno::NoSys, 52),
        (Errno::NotDir, 54),
        (Errno::NotEmpty, 55),
        (Errno::NotSock, 57),
        (Errno::NotSup, 58),
        (Errno::Perm, 63),
        (Errno::RoFs, 69),
        (Errno::SPipe, 70),
        (Errno::XDev, 75),
        (Errno::NotCapable, 76),
    ] {
        assert_eq!(errno.to_i32(), number, "{errno:?}");
    }
    assert_eq!(Errno::ALL.len(), 77);
}

#[test]
fn preopened_folders_are_the_mounts_in_order_and_then_out() {
    let mut guest = Guest::new();
    let mut names = Vec::new();
    for fd in 3.. {
        if guest.call("fd_prestat_get", &[fd, OUT.into()]) != Errno::Success {
            break;
        }
        let len = guest.u32(OUT + 4);
        guest.ok("fd_prestat_dir_name", &[fd, 0x9_0000, u64::from(len) + 3]);
        names.push(String::from_utf8(guest.bytes(0x9_0000, len as usize).to_vec()).unwrap());
        assert_eq!(guest.call("fd_prestat_dir_name", &[fd, 0x9_0000, u64::from(len) - 1]), Errno::NameTooLong);
    }
    assert_eq!(names, ["/in", "/data", "/out"]);
    for (fd, errno) in [(0, Errno::NotDir), (2, Errno::NotDir), (6, Errno::BadF)] {
        assert_eq!(guest.call("fd_prestat_get", &[fd, OUT.into()]), Errno::BadF);
        assert_eq!(guest.call("fd_prestat_dir_name", &[fd, OUT.into(), 9]), errno);
    }
}

#[test]
fn a_descriptor_gets_the_lowest_free_number() {
    let mut guest = Guest::new();
    assert_eq!(guest.open(5, "a", CREAT), Ok(6));
    assert_eq!(guest.open(5, "b", CREAT), Ok(7));
    assert_eq!(guest.close(6), Errno::Success);
    assert_eq!(guest.close(6), Errno::BadF);
    assert_eq!(guest.close(0), Errno::Success);
    assert_eq!(guest.open(5, "c", CREAT), Ok(0));
    assert_eq!(guest.open(5, "d", CREAT), Ok(6));
    assert_eq!(guest.open(5, "e", CREAT), Ok(8));
}

#[test]
fn renumbering_replaces_an_open_descriptor() {
    let mut guest = Guest::new();
    guest.file(5, "a", b"a");
    let from = guest.open(5, "a", 0).unwrap();
    let to = guest.open(5, "b", CREAT).unwrap();
    guest.ok("fd_renumber", &[from.into(), to.into()]);
    assert_eq!(guest.read(to, 9).unwrap(), b"a");
    assert_eq!(guest.read(from, 9), Err(Errno::BadF));
    assert_eq!(guest.call("fd_renumber", &[to.into(), from.into()]), Errno::BadF);
    assert_eq!(guest.call("fd_renumber", &[from.into(), to.into()]), Errno::BadF);
    guest.ok("fd_renumber", &[to.into(), to.into()]);
    guest.ok("fd_renumber", &[to.into(), 1]);
    assert_eq!(guest.write(1, b"to the file"), Errno::Success);
    assert_eq!(guest.wasi.stdout(), b"");
}

#[test]
fn no_more_than_1024_descriptors_are_open() {
    let mut guest = Guest::new();
    for _ in 6..1024 {
        assert!(guest.open_as(3, "a.txt", 0, READ).is_ok());
    }
    assert_eq!(guest.open_as(3, "a.txt", 0, READ), Err(Errno::MFile));
    assert_eq!(guest.open_as(5, "new", CREAT, READ), Err(Errno::MFile));
    assert_eq!(guest.stat(5, "new"), Err(Errno::NoEnt), "a refused open makes no file");
}

#[test]
fn rights_are_inherited_kept_and_only_given_up() {
    let mut guest = Guest::new();
    guest.file(5, "f", b"text");
    let fd = guest.open_as(5, "f", 0, READ | SEEK | TELL).unwrap();
    guest.ok("fd_fdstat_get", &[fd.into(), OUT.into()]);
    assert_eq!(guest.bytes(OUT, 1), [4]);
    assert_eq!((guest.u64(OUT + 8), guest.u64(OUT + 16)), (READ | SEEK | TELL, 0));
    assert_eq!(guest.write(fd, b"x"), Errno::NotCapable);
    assert_eq!(guest.fstat(fd), Err(Errno::NotCapable));
    for (name, args) in [
        ("fd_sync", &[u64::from(fd)][..]),
        ("fd_datasync", &[fd.into()]),
        ("fd_allocate", &[fd.into(), 0, 1]),
        ("fd_advise", &[fd.into(), 0, 1, 0]),
        ("fd_filestat_set_size", &[fd.into(), 1]),
        ("fd_filestat_set_times", &[fd.into(), 0, 0, 1]),
        ("fd_fdstat_set_flags", &[fd.into(), 0]),
        ("fd_fdstat_set_rights", &[fd.into(), READ | WRITE, 0]),
        ("fd_fdstat_set_rights", &[fd.into(), READ, READ]),
    ] {
        assert_eq!(guest.call(name, args), Errno::NotCapable, "{name}");
    }
    guest.ok("fd_fdstat_set_rights", &[fd.into(), SEEK, 0]);
    assert_eq!(guest.read(fd, 1), Err(Errno::NotCapable));
    assert_eq!(guest.seek(fd, 2, 0), Ok(2));

    let dir = guest.open_with(5, 0, ".", DIRECTORY, DIR, READ, 0).unwrap();
    assert_eq!(guest.open_as(dir, "f", 0, WRITE), Err(Errno::NotCapable));
    let fd = guest.open_as(dir, "f", 0, READ).unwrap();
    assert_eq!(guest.read(fd, 4).unwrap(), b"text");
    guest.ok("fd_fdstat_set_rights", &[dir.into(), 1 << 14, 0]);
    assert_eq!(guest.mkdir(dir, "x"), Errno::NotCapable);
    assert_eq!(guest.open_as(dir, "f", 0, 0), Err(Errno::NotCapable));
    assert_eq!(guest.names(dir), ["f"]);
}

#[test]
fn a_folder_descriptor_is_no_file_and_a_file_descriptor_no_folder() {
    let mut guest = Guest::new();
    assert_eq!(guest.read(5, 1), Err(Errno::IsDir));
    assert_eq!(guest.pread(5, 1, 0), Err(Errno::IsDir));
    assert_eq!(guest.write(5, b"x"), Errno::IsDir);
    assert_eq!(guest.pwrite(5, b"x", 0), Errno::IsDir);
    assert_eq!(guest.seek(5, 0, 1), Err(Errno::IsDir));
    assert_eq!(guest.call("fd_tell", &[5, OUT.into()]), Errno::IsDir);
    assert_eq!(guest.call("fd_allocate", &[5, 0, 1]), Errno::BadF);
    let fd = guest.open(5, "f", CREAT).unwrap();
    assert_eq!(guest.open(fd, "g", CREAT), Err(Errno::NotDir));
    assert_eq!(guest.mkdir(fd, "g"), Errno::NotDir);
}

#[test]
fn a_descriptor_that_is_not_open_is_refused_everywhere() {
    let mut guest = Guest::new();
    for function in FUNCTIONS {
        let name = function.name;
        if !(name.starts_with("fd_") || name.starts_with("path_") || name.starts_with("sock_")) {
            continue;
        }
        let mut args = vec![0; function.params.len()];
        let at = usize::from(name == "path_symlink") * 2;
        args[at] = 99;
        assert_eq!(guest.call(name, &args), Errno::BadF, "{name}");
    }
}

#[test]
fn a_pointer_outside_memory_is_a_fault_and_nothing_happens() {
    // For each function its pointers; the other arguments would make the call succeed.
    let ok: u64 = 0x100;
    let cases: &[(&str, &[u64], &[usize])] = &[
        ("args_get", &[ok, ok], &[0, 1]),
        ("args_sizes_get", &[ok, ok], &[0, 1]),
        ("environ_get", &[ok, ok], &[0, 1]),
        ("environ_sizes_get", &[ok, ok], &[0, 1]),
        ("clock_res_get", &[0, ok], &[1]),
        ("clock_time_get", &[0, 0, ok], &[2]),
        ("fd_fdstat_get", &[1, ok], &[1]),
        ("fd_filestat_get", &[5, ok], &[1]),
        ("fd_pread", &[6, ok, 1, 0, ok], &[1, 4]),
        ("fd_prestat_get", &[3, ok], &[1]),
        ("fd_prestat_dir_name", &[3, ok, 20], &[1]),
        ("fd_pwrite", &[6, ok, 1, 0, ok], &[1, 4]),
        ("fd_read", &[0, ok, 1, ok], &[1, 3]),
        ("fd_readdir", &[5, ok, 99, 0, ok], &[1, 4]),
        ("fd_seek", &[6, 3, 0, ok], &[3]),
        ("fd_tell", &[6, ok], &[1]),
        ("fd_write", &[1, ok, 1, ok], &[1, 3]),
        ("path_create_directory", &[5, ok, 20], &[1]),
        ("path_filestat_get", &[5, 0, ok, 20, ok], &[2, 4]),
        ("path_filestat_set_times", &[5, 0, ok, 20, 0, 0, 1], &[2]),
        ("path_link", &[5, 0, ok, 20, 5, ok, 20], &[2, 5]),
        ("path_open", &[5, 0, ok, 20, 1, 0, 0, 0, ok], &[2, 8]),
        ("path_readlink", &[5, ok, 20, ok, 20, ok], &[1, 3, 5]),
        ("path_remove_directory", &[5, ok, 20], &[1]),
        ("path_rename", &[5, ok, 20, 5, ok, 20], &[1, 4]),
        ("path_symlink", &[ok, 20, 5, ok, 20], &[0, 3]),
        ("path_unlink_file", &[5, ok, 20], &[1]),
        ("poll_oneoff", &[ok, ok, 1, ok], &[0, 1, 3]),
        ("random_get", &[ok, 20], &[0]),
    ];
    for (name, args, pointers) in cases {
        for pointer in *pointers {
            let mut guest = Guest::new();
            assert_eq!(guest.open(5, "f", CREAT), Ok(6));
            let before = guest.settled();
            let mut args = args.to_vec();
            args[*pointer] = NOWHERE.into();
            assert_eq!(guest.call(name, &args), Errno::Fault, "{name} {pointer}");
            assert_eq!(guest.settled(), before, "{name} changed something");
        }
    }
}

#[test]
fn buffers_are_bounded_in_number_and_total() {
    let mut guest = Guest::new();
    let huge = guest.put(&[0, 0, 0, 0, 0, 0, 8, 0].repeat(1024)).0;
    assert_eq!(guest.call("fd_write", &[1, huge, 1025, OUT.into()]), Errno::Inval);
    guest.ok("fd_write", &[2, huge, 1024, OUT.into()]);
    assert_eq!(guest.u32(OUT), 512 << 20);
    assert_eq!(guest.wasi.stderr(), [0; 16]);
    assert_eq!(guest.call("fd_write", &[1, huge, 1024, OUT.into()]), Errno::DQuot);
    assert_eq!(guest.call("fd_write", &[1, huge, u32::MAX.into(), OUT.into()]), Errno::Fault);
    let over = guest.put(&[0, 0, 0, 0, 0, 0, 0, 1]).0;
    assert_eq!(guest.call("fd_read", &[0, over, 1, OUT.into()]), Errno::Fault);
}

#[test]
fn sockets_do_not_exist() {
    let mut guest = Guest::new();
    assert_eq!(guest.call("sock_accept", &[0, 0, OUT.into()]), Errno::NotSock);
    assert_eq!(guest.call("sock_recv", &[3, 0, 0, 0, OUT.into(), OUT.into()]), Errno::NotSock);
    assert_eq!(guest.call("sock_send", &[1, 0, 0, 0, OUT.into()]), Errno::NotSock);
    assert_eq!(guest.call("sock_shutdown", &[0, 0]), Errno::NotSock);
}

#[test]
fn exit_stops_the_run_with_its_code() {
    let mut guest = Guest::new();
    assert_eq!(guest.try_call("proc_exit", &[42]), Err(Stop::Exit(42)));
    assert_eq!(guest.call("proc_raise", &[6]), Errno::NotSup);
    guest.ok("sched_yield", &[]);
}

#[test]
fn a_mount_at_the_working_folder_is_called_dot() {
    let mut guest = Guest::with(|config| config.mounts = vec![mount(".", Access::CopyOnWrite, INPUT)]);
    guest.ok("fd_prestat_get", &[3, OUT.into()]);
    assert_eq!(guest.u32(OUT + 4), 1);
    assert_eq!(guest.content(3, "a.txt").unwrap(), b"first");
}

#[test]
fn a_line_of_progress_is_for_people_and_no_part_of_stderr_or_of_the_state() {
    let mut guest = Guest::new();
    guest.write(2, b"said");
    let (fuel, root) = (guest.fuel, guest.settled());
    assert_eq!(guest.write(2, b"\x1eprogress 3 10 rows\n"), Errno::Success);
    let price = guest.fuel - fuel;
    assert_eq!((guest.wasi.stderr(), guest.settled()), (&b"said"[..], root));
    let said = guest.wasi.take_said().unwrap();
    assert_eq!((said.done, said.total, said.text.as_str()), (3, 10, "rows"));
    assert_eq!(guest.wasi.take_said(), None, "it is told once");
    let fuel = guest.fuel;
    assert_eq!(guest.write(2, b" progress 3 10 rows\n"), Errno::Success);
    assert_eq!(guest.fuel - fuel, price, "any other line costs the same");
    assert_eq!(guest.wasi.take_said(), None);
    assert_eq!(guest.wasi.stderr(), b"said progress 3 ");
    assert_eq!(guest.write(1, b"\x1eprogress 3 10 rows\n"), Errno::Success);
    assert_eq!((guest.wasi.stdout().len(), guest.wasi.take_said()), (20, None), "stdout is output whatever it holds");
}
