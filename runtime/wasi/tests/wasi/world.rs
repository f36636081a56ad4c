//! Arguments, environment, standard streams, clock, randomness and polling.

use crate::support::*;
use samebit_wasi::{EPOCH_NS, Errno};

fn strings(guest: &mut Guest, sizes: &str, get: &str) -> Vec<String> {
    guest.ok(sizes, &[OUT.into(), u64::from(OUT) + 4]);
    let (count, len) = (guest.u32(OUT), guest.u32(OUT + 4));
    guest.ok(get, &[0x9_0000, 0xa_0000]);
    let text = guest.bytes(0xa_0000, len as usize).to_vec();
    assert_eq!(text.last(), Some(&0));
    (0..count)
        .map(|index| {
            let at = guest.u32(0x9_0000 + index * 4) - 0xa_0000;
            let string = text[at as usize..].split(|byte| *byte == 0).next().unwrap();
            String::from_utf8(string.to_vec()).unwrap()
        })
        .collect()
}

#[test]
fn a_guest_sees_its_arguments_and_environment_in_order() {
    let mut guest = Guest::new();
    assert_eq!(strings(&mut guest, "args_sizes_get", "args_get"), ["task", "héllo"]);
    assert_eq!(strings(&mut guest, "environ_sizes_get", "environ_get"), ["A=1", "B="]);
}

#[test]
fn stdin_is_read_once_through_and_cannot_be_sought() {
    let mut guest = Guest::new();
    assert_eq!(guest.read(0, 4).unwrap(), b"from");
    assert_eq!(guest.read(0, 99).unwrap(), b" stdin");
    assert_eq!(guest.read(0, 99).unwrap(), b"");
    assert_eq!(guest.write(0, b"x"), Errno::NotCapable);
    for fd in 0..3 {
        assert_eq!(guest.seek(fd, 0, 0), Err(Errno::SPipe));
        assert_eq!(guest.pread(fd, 1, 0), Err(Errno::SPipe));
        assert_eq!(guest.call("fd_tell", &[fd.into(), OUT.into()]), Errno::SPipe);
        assert_eq!(guest.fstat(fd).unwrap().kind, 0);
        guest.ok("fd_fdstat_get", &[fd.into(), OUT.into()]);
        assert_eq!(guest.bytes(OUT, 1), [0], "no stream is a terminal");
    }
    assert_eq!(guest.read(1, 1), Err(Errno::NotCapable));
}

#[test]
fn stdout_is_kept_and_named_and_stderr_is_kept_up_to_its_bound() {
    let mut guest = Guest::new();
    assert_eq!(guest.write(1, b"hello "), Errno::Success);
    assert_eq!(guest.write(1, b"world"), Errno::Success);
    assert_eq!(guest.write(2, b"0123456789"), Errno::Success);
    assert_eq!(guest.write(2, b"0123456789"), Errno::Success);
    assert_eq!(guest.wasi.stdout(), b"hello world");
    assert_eq!(guest.wasi.stdout_blob(), samebit_spec::content::BlobRef::of(b"hello world"));
    assert_eq!(guest.wasi.stderr(), b"0123456789012345");
}

fn now(guest: &mut Guest, clock: u64) -> u64 {
    guest.ok("clock_time_get", &[clock, 0, OUT.into()]);
    guest.u64(OUT)
}

#[test]
fn the_clock_is_the_epoch_and_a_nanosecond_for_each_fuel() {
    let mut guest = Guest::new();
    guest.fuel = 1_000;
    let first = now(&mut guest, 0);
    assert_eq!(first, EPOCH_NS + guest.fuel);
    guest.fuel += 5_000_000;
    assert_eq!(now(&mut guest, 1), EPOCH_NS + guest.fuel);
    assert_eq!(now(&mut guest, 2), guest.fuel);
    assert_eq!(now(&mut guest, 3), guest.fuel);
    assert_eq!(guest.call("clock_time_get", &[4, 0, OUT.into()]), Errno::Inval);
    guest.ok("clock_res_get", &[0, OUT.into()]);
    assert_eq!(guest.u64(OUT), 1);
    assert_eq!(guest.call("clock_res_get", &[9, OUT.into()]), Errno::Inval);
}

#[test]
fn time_goes_forward_even_when_no_fuel_is_charged() {
    let mut guest = Guest::new();
    let mut memory = samebit_wasi::SliceMemory(&mut guest.memory);
    let mut last = 0;
    for _ in 0..3 {
        let call = samebit_wasi::Call::ClockTimeGet;
        let fuel = samebit_spec::unit::Fuel(7);
        guest.wasi.call(call, &[0, 0, OUT.into()], &mut memory, &guest.shelf, fuel).unwrap();
        let at = OUT as usize;
        let time = u64::from_le_bytes(memory.0[at..at + 8].try_into().unwrap());
        assert!(time > last);
        last = time;
    }
}

#[test]
fn randomness_is_a_function_of_seed_and_unit_and_never_repeats() {
    let draw = |change: fn(&mut samebit_wasi::Config), parts: &[u64]| {
        let mut guest = Guest::with(change);
        let mut drawn = Vec::new();
        for part in parts {
            guest.ok("random_get", &[0x9_0000, *part]);
            drawn.extend_from_slice(guest.bytes(0x9_0000, usize::try_from(*part).unwrap()));
        }
        drawn
    };
    let whole = draw(|_| {}, &[100_000]);
    assert_eq!(whole, draw(|_| {}, &[1, 0, 63, 64, 99_872]), "one stream, however it is cut");
    assert_ne!(whole[..32], whole[32..64]);
    assert_ne!(whole[..32], draw(|config| config.seed = [8; 32], &[32])[..]);
    assert_ne!(whole[..32], draw(|config| config.unit = 4, &[32])[..]);
}

/// A subscription: userdata, tag, then what the tag asks for.
fn clock_sub(userdata: u64, clock: u32, timeout: u64, flags: u16) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&userdata.to_le_bytes());
    bytes[16..20].copy_from_slice(&clock.to_le_bytes());
    bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
    bytes[40..42].copy_from_slice(&flags.to_le_bytes());
    bytes
}

fn fd_sub(userdata: u64, tag: u8, fd: u32) -> [u8; 48] {
    let mut bytes = clock_sub(userdata, fd, 0, 0);
    bytes[8] = tag;
    bytes
}

/// Events as (userdata, errno, type, bytes).
fn poll(guest: &mut Guest, subs: &[[u8; 48]]) -> Result<Vec<(u64, u16, u8, u64)>, Errno> {
    let (at, _) = guest.put(&subs.concat());
    // Events over the subscriptions: all of these are read first.
    match guest.call("poll_oneoff", &[at, at, subs.len() as u64, OUT.into()]) {
        Errno::Success => {}
        errno => return Err(errno),
    }
    let at = u32::try_from(at).unwrap();
    Ok((0..guest.u32(OUT))
        .map(|index| {
            let at = at + index * 32;
            let errno = u16::from_le_bytes(guest.bytes(at + 8, 2).try_into().unwrap());
            (guest.u64(at), errno, guest.bytes(at + 10, 1)[0], guest.u64(at + 16))
        })
        .collect())
}

#[test]
fn sleeping_moves_virtual_time_to_the_earliest_deadline() {
    let mut guest = Guest::new();
    let before = now(&mut guest, 1);
    let hour = 3_600_000_000_000;
    let subs = [clock_sub(1, 1, 2 * hour, 0), clock_sub(2, 0, hour, 0), clock_sub(3, 1, before + hour, 1)];
    let events = poll(&mut guest, &subs).unwrap();
    assert_eq!(events, [(3, 0, 0, 0)], "the absolute one is a few nanoseconds earlier");
    let after = now(&mut guest, 1);
    assert!(after >= before + hour && after < before + hour + 1_000_000);
    assert_eq!(now(&mut guest, 2), guest.fuel, "sleeping is no work");
    assert_eq!(poll(&mut guest, &[clock_sub(4, 1, 5, 1)]).unwrap(), [(4, 0, 0, 0)], "a past deadline is due");
    assert!(now(&mut guest, 1) < after + 1_000_000);
}

#[test]
fn descriptors_are_ready_at_once_and_nobody_sleeps() {
    let mut guest = Guest::new();
    let fd = guest.open_as(3, "a.txt", 0, READ).unwrap();
    let before = now(&mut guest, 1);
    let subs = [
        clock_sub(1, 1, u64::MAX, 0),
        fd_sub(2, 1, 0),
        fd_sub(3, 2, 1),
        fd_sub(4, 1, fd),
        fd_sub(5, 1, 77),
        clock_sub(6, 0, 1, 1),
    ];
    let events = poll(&mut guest, &subs).unwrap();
    assert_eq!(events, [(2, 0, 1, 10), (3, 0, 2, 0), (4, 0, 1, 5), (5, 8, 1, 0), (6, 0, 0, 0)]);
    assert!(now(&mut guest, 1) < before + 1_000_000);
}

#[test]
fn a_poll_that_means_nothing_is_refused() {
    let mut guest = Guest::new();
    assert_eq!(guest.call("poll_oneoff", &[0, 0, 0, OUT.into()]), Errno::Inval);
    assert_eq!(guest.call("poll_oneoff", &[0, 0, 4097, OUT.into()]), Errno::Inval);
    assert_eq!(poll(&mut guest, &[fd_sub(1, 9, 0)]), Err(Errno::Inval));
    assert_eq!(poll(&mut guest, &[clock_sub(1, 1, 0, 2)]), Err(Errno::Inval));
    assert_eq!(poll(&mut guest, &[clock_sub(1, 2, 0, 0)]).unwrap(), [(1, 58, 0, 0)]);
    assert_eq!(poll(&mut guest, &[clock_sub(1, 8, 0, 0)]).unwrap(), [(1, 28, 0, 0)]);
}

#[test]
fn the_end_of_time_is_survived() {
    let mut guest = Guest::new();
    poll(&mut guest, &[clock_sub(1, 1, u64::MAX, 0)]).unwrap();
    assert_eq!(now(&mut guest, 1), u64::MAX);
    poll(&mut guest, &[clock_sub(1, 1, u64::MAX, 0)]).unwrap();
    guest.file(5, "late", b"x");
    assert_eq!(guest.stat(5, "late").unwrap().mtim, u64::MAX);
}
