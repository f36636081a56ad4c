//! What each call costs in fuel, from its arguments alone (`spec/06-wasi.md`, section 7).
//!
//! The figures hold for half a nanosecond a unit, which is what straight-line code takes on the machines
//! that the profile was measured on, and are rounded up so that no call is cheaper than its work.

use crate::{Call, GuestMemory, layout};
use samebit_spec::unit::Fuel;

/// Of every call: leaving and entering the guest.
pub const CALL: u64 = 500;
/// Of a call that walks a path or changes names, on top.
pub const PATH: u64 = 5_000;
/// Of each byte of a path or link target: it may be a folder to look up.
pub const PATH_BYTE: u64 = 50;
/// Of a call that changes a file, on top: a chunk may have to be copied.
pub const WRITE: u64 = 2_000;
/// Of each buffer of a read or write.
pub const IOVEC: u64 = 50;
/// Of each byte that a call may put into guest memory.
pub const READ_BYTE: u64 = 1;
/// Of each byte that a call takes from guest memory: it is stored and hashed.
pub const WRITE_BYTE: u64 = 2;
/// Of each random byte.
pub const RANDOM_BYTE: u64 = 2;
/// Of each subscription of `poll_oneoff`.
pub const SUBSCRIPTION: u64 = 200;
/// Of a call that closes a descriptor or gives one out: the others are looked through.
pub const DESCRIPTOR: u64 = 2_000;

/// Fuel of a call. Held at `u64::MAX`.
///
/// `setup_bytes` is what arguments and environment take in guest memory.
pub(crate) fn cost(call: Call, args: &[u64], memory: &dyn GuestMemory, setup_bytes: u64) -> Fuel {
    let args = layout::Args(args);
    let bytes = |index: usize, price: u64| u64::from(args.int(index)).saturating_mul(price);
    let buffers = |price: u64| {
        let count = args.int(2);
        let total = layout::iovecs_total(args.int(1), count, memory);
        u64::from(count.min(layout::IOVECS_MAX)) * IOVEC + total.saturating_mul(price)
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
