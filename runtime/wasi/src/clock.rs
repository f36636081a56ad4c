//! Virtual time and public randomness: functions of fuel and seed.

use crate::Errno;
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_spec::unit::Fuel;

/// When every run begins: 2000-01-01T00:00:00Z, in nanoseconds since 1970. Also the time of mounted files.
pub const EPOCH_NS: u64 = 946_684_800_000_000_000;

/// What `clock_res_get` answers for every clock, in nanoseconds.
pub(crate) const RESOLUTION_NS: u64 = 1;

/// The clocks of preview1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockId {
    /// Wall time.
    Realtime,
    /// Time that never goes back. The same as wall time here.
    Monotonic,
    /// Fuel used, in nanoseconds: time spent asleep is not in it.
    Cpu,
}

impl ClockId {
    pub(crate) fn of(id: u32) -> Result<Self, Errno> {
        match id {
            0 => Ok(Self::Realtime),
            1 => Ok(Self::Monotonic),
            2 | 3 => Ok(Self::Cpu),
            _ => Err(Errno::Inval),
        }
    }
}

/// The clock: one nanosecond for each unit of fuel, and what was slept.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
pub(crate) struct Clock {
    slept: u64,
    last: u64,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self { slept: 0, last: EPOCH_NS }
    }

    /// The moment of a call, later than that of the call before it. Held at the end of time.
    pub(crate) fn tick(&mut self, fuel: Fuel) -> u64 {
        let now = EPOCH_NS.saturating_add(fuel.0).saturating_add(self.slept);
        self.last = now.max(self.last.saturating_add(1));
        self.last
    }

    /// Lets time pass until `deadline`, if that is still ahead.
    pub(crate) fn sleep_until(&mut self, deadline: u64) {
        if deadline > self.last {
            self.slept = self.slept.saturating_add(deadline - self.last);
            self.last = deadline;
        }
    }
}

/// The stream that `random_get` reads: BLAKE3 XOF under its own context, over seed and unit.
pub(crate) fn random(seed: &[u8; 32], unit: u32, at: u64) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("samebit/v1/wasi-random");
    hasher.update(seed);
    hasher.update(&unit.to_le_bytes());
    let mut stream = hasher.finalize_xof();
    stream.set_position(at);
    stream
}
