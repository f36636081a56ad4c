//! How a host's wish to end a run reaches what computes.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the host ends the run: asked between operations, and from block to block of those that may take long. An operation
/// that hears it leaves its result as it is; whoever asked for the operation asks [`Self::was_heard`] and drops that result.
pub struct Halt<'a> {
    ask: &'a (dyn Fn() -> bool + Sync),
    heard: AtomicBool,
}

impl<'a> Halt<'a> {
    /// Of a question that is asked until it is answered with yes.
    pub fn new(ask: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { ask, heard: AtomicBool::new(false) }
    }

    /// Whether to go no further.
    pub fn asked(&self) -> bool {
        if self.was_heard() {
            return true;
        }
        let now = (self.ask)();
        if now {
            self.heard.store(true, Ordering::Relaxed);
        }
        now
    }

    /// Whether an answer was yes, so that a result may not be whole.
    pub fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Halt<'static> {
    /// Nobody ends it.
    #[must_use]
    pub fn never() -> Self {
        Self::new(&|| false)
    }
}

impl core::fmt::Debug for Halt<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Halt").field("heard", &self.was_heard()).finish_non_exhaustive()
    }
}
