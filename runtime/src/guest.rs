//! What a running module can reach: preview1 and tensors, behind the meter. The same for every engine.

use crate::{
    engine::PAGE_BYTES,
    serve::{Live, Remote},
    tensors::{Tensors, Turn},
};
use samebit_spec::{tensor::host, unit::Fuel};
use samebit_wasi::{Call, FUNCTIONS, SliceMemory, Stop, Wasi};
use std::sync::Arc;

/// Parameters of the function that has most: one of preview1.
pub(crate) const PARAMS_MAX: usize = {
    let (mut most, mut at) = (0, 0);
    while at < FUNCTIONS.len() {
        if FUNCTIONS[at].params.len() > most {
            most = FUNCTIONS[at].params.len();
        }
        at += 1;
    }
    most
};

/// A function of the host's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostCall {
    Wasi(Call),
    Tensor(host::Call),
}

/// A guest's side of the store.
pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) tensors: Tensors,
    /// Bytes that memory and tensors may have together.
    pub(crate) memory_max: u64,
    /// Pages beyond which memory never grows, whatever is left.
    pub(crate) pages_max: u32,
    pub(crate) content: Remote,
    pub(crate) meter: Meter,
    pub(crate) live: Arc<Live>,
}

/// Fuel of the whole run, told from what the stretch under way has left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Used before this stretch.
    pub(crate) used: u64,
    /// What this stretch may use.
    pub(crate) allowance: u64,
}

impl Meter {
    /// Fuel used by now, when the stretch has `left`.
    pub(crate) fn now(self, left: u64) -> u64 {
        self.used.saturating_add(self.allowance.saturating_sub(left))
    }
}

/// Why the guest was left from within a call to the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    #[error("the guest exited with {0}")]
    Exit(u32),
    #[error("the guest is out of fuel")]
    Fuel,
    #[error("{0}")]
    Content(String),
    #[error("{0}")]
    Device(String),
    #[error("the run was cancelled")]
    Cancelled,
}

impl wasmi::errors::HostError for Halt {}

impl Guest {
    /// Charges a call and then carries it out. `fuel` is what the stretch has left, none of it in the guest's hand;
    /// a call that it does not cover does nothing.
    pub(crate) fn host_call(
        &mut self,
        call: Call,
        args: &[u64],
        memory: &mut [u8],
        fuel: &mut i64,
    ) -> Result<i32, Halt> {
        if self.live.stop.is_set() {
            return Err(Halt::Cancelled);
        }
        let cost = self.wasi.cost(call, args, &SliceMemory(memory)).0;
        let used = pay(cost, fuel, self.meter, &self.live)?;
        let done = self.wasi.call(call, args, &mut SliceMemory(memory), &self.content, Fuel(used));
        if let Some(said) = self.wasi.take_said() {
            self.live.set_said(said);
        }
        done.map(samebit_wasi::Errno::to_i32).map_err(|stop| match stop {
            Stop::Exit(code) => Halt::Exit(code),
            Stop::HostFault(reason) => Halt::Content(reason),
        })
    }

    /// The same of a call on tensors.
    pub(crate) fn tensor_call(
        &mut self,
        call: host::Call,
        args: &[u64],
        memory: &mut [u8],
        fuel: &mut i64,
    ) -> Result<i32, Halt> {
        let live = &self.live;
        if live.stop.is_set() {
            return Err(Halt::Cancelled);
        }
        let meter = self.meter;
        let mut turn = Turn {
            memory: SliceMemory(memory),
            memory_max: self.memory_max,
            wasi: &self.wasi,
            content: &self.content,
            charge: &mut |cost| pay(cost, fuel, meter, live).map(|_| ()),
            stop: &|| live.stop.is_set(),
        };
        self.tensors.call(call, args, &mut turn).map(|answer| answer.0)
    }

    /// Pages that memory may grow to beside the tensors that are live.
    pub(crate) fn pages_left(&self) -> u32 {
        let pages = self.memory_max.saturating_sub(self.tensors.bytes()) / PAGE_BYTES;
        u32::try_from(pages).unwrap_or(u32::MAX).min(self.pages_max)
    }
}

/// Takes `cost` from what the stretch has left; gives what the run has used.
fn pay(cost: u64, fuel: &mut i64, meter: Meter, live: &Live) -> Result<u64, Halt> {
    let left = u64::try_from(*fuel).ok().and_then(|fuel| fuel.checked_sub(cost)).ok_or(Halt::Fuel)?;
    // No more than it was, so it fits.
    *fuel = i64::try_from(left).unwrap_or(i64::MAX);
    let used = meter.now(left);
    live.set_fuel(used);
    Ok(used)
}
