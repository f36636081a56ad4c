//! What calls and roots cost in fuel (`spec/06-wasi.md`, sections 7 and 8).
//!
//! The figures count half nanoseconds of the machines that the profile was measured on, and are rounded up so that no call
//! is cheaper than its work.

use crate::{Call, GuestMemory, layout};
use samebit_spec::unit::Fuel;

/// Fuel of half a nanosecond (`spec/fuel-calibration.md`).
pub const UNIT: u64 = 4;

/// Of every call: leaving and entering the guest.
pub const CALL: u64 = 500 * UNIT;
/// Of a call that walks a path or changes names, on top.
pub const PATH: u64 = 5_000 * UNIT;
/// Of each byte of a path or link target: it may be a folder to look up.
pub const PATH_BYTE: u64 = 50 * UNIT;
/// Of a call that changes a file, on top: a chunk may have to be copied.
pub const WRITE: u64 = 2_000 * UNIT;
/// Of each buffer of a read or write.
pub const IOVEC: u64 = 50 * UNIT;
/// Of each byte that a call may put into guest memory.
pub const READ_BYTE: u64 = UNIT;
/// Of each byte that a call takes from guest memory: it is stored and hashed.
pub const WRITE_BYTE: u64 = 2 * UNIT;
/// Of each byte that a call adds to what the guest's files hold beside those it takes from memory: it is hashed
/// and given out in the end, zero or not.
pub const GROWTH_BYTE: u64 = 2 * UNIT;
/// Of each way to a piece of mounted content that may have been let go, in a world that mounts more than is held: 64 KiB
/// are read and hashed.
pub const LOAD: u64 = 100_000 * UNIT;
/// Of each random byte.
pub const RANDOM_BYTE: u64 = 2 * UNIT;
/// Of each subscription of `poll_oneoff`.
pub const SUBSCRIPTION: u64 = 200 * UNIT;
/// Of a call that closes a descriptor or gives one out: the others are looked through.
pub const DESCRIPTOR: u64 = 2_000 * UNIT;

/// Of each inode over the mounts, at each root: it is listed with its hash.
pub const ROOT_INODE: u64 = 60 * UNIT;
/// Of each entry of the folders among them: a folder is hashed whole when one of its entries changes.
pub const ROOT_ENTRY: u64 = 60 * UNIT;
/// Of each 4096 bytes that the guest's files hold: a file's list of chunks is hashed whole when one changes.
pub const ROOT_CHUNK: u64 = 60 * UNIT;
/// Of each open descriptor.
pub const ROOT_DESCRIPTOR: u64 = 60 * UNIT;

/// Fuel of a call, growth of files aside. Held at `u64::MAX`.
///
/// `setup_bytes` is what arguments and environment take in guest memory.
pub(crate) fn cost(call: Call, args: &[u64], memory: &dyn GuestMemory, setup_bytes: u64) -> Fuel {
    let args = layout::Args(args);
    let bytes = |index: usize, price: u64| u64::from(args.int(index)).saturating_mul(price);
    let buffers = |price: u64| {
        let (read, total) = layout::iovecs_priced(args.int(1), args.int(2), memory);
        u64::from(read) * IOVEC + total.saturating_mul(price)
    };
    let path = |lengths: &[usize]| lengths.iter().fold(PATH, |sum, index| sum.saturating_add(bytes(*index, PATH_BYTE)));
    let rest = match call {
        Call::ArgsGet | Call::EnvironGet => setup_bytes.saturating_mul(READ_BYTE),
        Call::ArgsSizesGet
        | Call::EnvironSizesGet
        | Call::ClockResGet
        | Call::ClockTimeGet
        | Call::FdAdvise
        | Call::FdDatasync
        | Call::FdFdstatGet
        | Call::FdFdstatSetFlags
        | Call::FdFdstatSetRights
        | Call::FdFilestatGet
        | Call::FdPrestatGet
        | Call::FdSeek
        | Call::FdSync
        | Call::FdTell
        | Call::ProcExit
        | Call::ProcRaise
        | Call::SchedYield
        | Call::SockAccept
        | Call::SockRecv
        | Call::SockSend
        | Call::SockShutdown => 0,
        Call::FdClose | Call::FdRenumber => DESCRIPTOR,
        Call::FdAllocate | Call::FdFilestatSetSize | Call::FdFilestatSetTimes => WRITE,
        Call::FdPrestatDirName => bytes(2, READ_BYTE),
        Call::FdRead | Call::FdPread => buffers(READ_BYTE),
        Call::FdWrite | Call::FdPwrite => WRITE.saturating_add(buffers(WRITE_BYTE)),
        Call::FdReaddir => PATH.saturating_add(bytes(2, READ_BYTE)),
        Call::PathCreateDirectory | Call::PathRemoveDirectory | Call::PathUnlinkFile => path(&[2]) + DESCRIPTOR,
        Call::PathFilestatGet | Call::PathFilestatSetTimes => path(&[3]),
        Call::PathLink => path(&[3, 6]),
        Call::PathOpen => path(&[3]).saturating_add(WRITE + DESCRIPTOR),
        Call::PathReadlink => path(&[2]).saturating_add(bytes(4, READ_BYTE)),
        Call::PathRename => path(&[2, 5]).saturating_add(DESCRIPTOR),
        Call::PathSymlink => path(&[1, 4]),
        Call::PollOneoff => bytes(2, SUBSCRIPTION),
        Call::RandomGet => bytes(1, RANDOM_BYTE),
    };
    Fuel(CALL.saturating_add(rest))
}
