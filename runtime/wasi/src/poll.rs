//! `poll_oneoff`: descriptors are ready at once; with only clocks to wait for, virtual time passes.

use crate::{
    Errno, Halt, Turn, Wasi,
    clock::ClockId,
    fd::What,
    layout::{Args, EVENT, SUBSCRIPTION, store32},
};

/// Most subscriptions of one call. Source: far above the number of descriptors.
const SUBSCRIPTIONS_MAX: u32 = 4096;

const TAG_CLOCK: u8 = 0;
const TAG_READ: u8 = 1;
const TAG_WRITE: u8 = 2;
/// `subclockflags`: the deadline is a moment, not a span.
const ABSOLUTE: u16 = 1;

/// A subscription as far as it can be answered.
enum Waiting {
    /// Answered now.
    Ready { errno: Errno, bytes: u64 },
    /// Answered at a moment.
    Until(u64),
}

impl Wasi {
    /// `(subscriptions, events, count, stored)`.
    pub(crate) fn poll_oneoff(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let (from, to, count) = (args.int(0), args.int(1), args.int(2));
        turn.memory.check(from, u64::from(count) * SUBSCRIPTION)?;
        turn.memory.check(to, u64::from(count) * EVENT)?;
        turn.memory.check(args.int(3), 4)?;
        if count == 0 || count > SUBSCRIPTIONS_MAX {
            return Err(Errno::Inval.into());
        }
        // All are read before an event is stored: the two ranges may overlap.
        let mut waiting = Vec::new();
        for index in 0..count {
            let mut record = [0; 48];
            turn.memory.read(from + index * 48, &mut record)?;
            waiting.push((head(&record), self.waiting(&record, turn)?));
        }
        let deadline = waiting.iter().try_fold(u64::MAX, |least, (_, waiting)| match waiting {
            Waiting::Ready { .. } => None,
            Waiting::Until(deadline) => Some(least.min(*deadline)),
        });
        // `None`: something is ready, so nobody sleeps.
        let now = deadline.map_or(turn.now, |deadline| deadline.max(turn.now));
        self.clock.sleep_until(now);
        let mut stored = 0;
        for (head, waiting) in &waiting {
            let (errno, bytes) = match waiting {
                Waiting::Ready { errno, bytes } => (*errno, *bytes),
                Waiting::Until(deadline) if *deadline <= now => (Errno::Success, 0),
                Waiting::Until(_) => continue,
            };
            let mut event = [0; 32];
            event[..8].copy_from_slice(&head.userdata);
            event[8..10].copy_from_slice(&errno.to_u16().to_le_bytes());
            event[10] = head.tag;
            event[16..24].copy_from_slice(&bytes.to_le_bytes());
            turn.memory.write(to + stored * 32, &event)?;
            stored += 1;
        }
        Ok(store32(args.int(3), stored, turn.memory)?)
    }

    fn waiting(&self, record: &[u8; 48], turn: &Turn<'_>) -> Result<Waiting, Errno> {
        match record[8] {
            TAG_CLOCK => {
                let (timeout, flags) = (word(record, 24), u16::from_le_bytes([record[40], record[41]]));
                match ClockId::of(word32(record, 16)) {
                    Ok(ClockId::Realtime | ClockId::Monotonic) => {}
                    // It stands still while its owner sleeps.
                    Ok(ClockId::Cpu) => return Ok(Waiting::Ready { errno: Errno::NotSup, bytes: 0 }),
                    Err(errno) => return Ok(Waiting::Ready { errno, bytes: 0 }),
                }
                if flags & !ABSOLUTE != 0 {
                    return Err(Errno::Inval);
                }
                let absolute = flags & ABSOLUTE != 0;
                Ok(Waiting::Until(if absolute { timeout } else { turn.now.saturating_add(timeout) }))
            }
            tag @ (TAG_READ | TAG_WRITE) => Ok(match self.ready_bytes(word32(record, 16), tag == TAG_READ) {
                Ok(bytes) => Waiting::Ready { errno: Errno::Success, bytes },
                Err(errno) => Waiting::Ready { errno, bytes: 0 },
            }),
            _ => Err(Errno::Inval),
        }
    }

    /// How many bytes a descriptor has to read; 0 for one to write to.
    fn ready_bytes(&self, fd: u32, read: bool) -> Result<u64, Errno> {
        let what = self.fds.get(fd)?.what;
        Ok(match what {
            What::Stdin { offset } if read => self.setup.stdin.len.0.saturating_sub(offset),
            What::File { ino, offset } if read => self.fs.inode(ino)?.size().saturating_sub(offset),
            What::Stdin { .. } | What::File { .. } | What::Stdout | What::Stderr | What::Dir { .. } => 0,
        })
    }
}

/// What an event repeats of its subscription.
struct Head {
    userdata: [u8; 8],
    tag: u8,
}

fn head(record: &[u8; 48]) -> Head {
    Head { userdata: word(record, 0).to_le_bytes(), tag: record[8] }
}

fn word(record: &[u8; 48], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn word32(record: &[u8; 48], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&record[at..at + 4]);
    u32::from_le_bytes(bytes)
}
