//! How a run is stopped from another thread.
//!
//! A rewritten module looks at one word of a memory of its own, `__samebit_stop`, whenever it takes more fuel in
//! hand, and leaves as if it had none when the word is negative. Nobody stores to that memory but [`Stop::set`], and
//! the word has no part in any outcome: a run that was stopped has none. An engine that interprets looks at
//! [`Stop::is_set`] instead.
//!
//! A wish to end a run passes three layers, each with a word of its own:
//! 1. The caller answers [`Flow::Stop`](crate::Flow) when it is asked how to go on (`serve.rs`, on its thread).
//! 2. [`Stop`] carries that to the guest's thread: the word here for code that the guest runs, and while a graph of tensor
//!    operations is computed the question that its backend asks, which in the CPU backend is `samebit_tensor`'s `Halt`.
//! 3. There the guest is left through [`Halt::Cancelled`](crate::guest::Halt) from within a call to the host, or, in its own
//!    code, by the trap that also ends its fuel.
//!
//! Whichever way, the caller gets [`HostFault::Cancelled`](crate::HostFault) and no outcome. The other causes in `guest::Halt`,
//! and `samebit_rewrite`'s `Halt` (why rewritten code traps of its own accord), are the guest's or the machine's own.
//!
//! This is the crate's unsafe boundary towards a running guest. The word lies in memory that the store owns, so
//! [`Stoppable`] owns both, and nothing outside this file sees the pointer.
#![allow(unsafe_code, reason = "writes a word that compiled code reads; each block says why it holds")]

use samebit_rewrite::EXPORT_STOP;
use std::{
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};
use wasmtime::{AsContext, AsContextMut, Instance, Store, StoreContext, StoreContextMut};

/// A run's stop sign, seen from every thread.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    is_set: AtomicBool,
    /// Where a compiled guest looks. `Some` only while the store that owns the word is alive.
    word: Mutex<Option<Word>>,
}

/// The word that a compiled guest reads.
#[derive(Debug)]
struct Word(NonNull<AtomicI64>);

// SAFETY: the pointer is only ever used behind `Stop::word`'s lock, to store to an atomic, which any thread may do.
unsafe impl Send for Word {}

impl Stop {
    /// Has the run end soon. It stays so.
    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        let word = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = word.as_ref() {
            // SAFETY: `Stoppable::arm` put a valid, aligned pointer there, and its drop takes it away, under this
            // lock, before the store and with it the memory goes. No reference to that memory is ever made in
            // Rust; compiled code reads it by plain aligned loads of a word, which the processor does in one.
            unsafe { word.0.as_ref() }.store(-1, Ordering::Relaxed);
        }
    }

    /// Whether the run is to end.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }
}

/// A store that can be stopped from another thread.
pub(crate) struct Stoppable<T: 'static> {
    /// Declared first, so dropped first: the word is gone from its [`Stop`] before the store is.
    armed: Option<Armed>,
    store: Store<T>,
}

/// Takes the word away when dropped.
struct Armed(Arc<Stop>);

impl Drop for Armed {
    fn drop(&mut self) {
        *self.0.word.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<T: 'static> Stoppable<T> {
    pub(crate) fn new(store: Store<T>) -> Self {
        Self { armed: None, store }
    }

    /// Shows `stop` the word of `instance`, which was made in this store. A sign that is set already is passed on.
    ///
    /// # Errors
    /// Why the instance has no such word: only a module that the rewriter did not write has none.
    pub(crate) fn arm(&mut self, instance: &Instance, stop: &Arc<Stop>) -> Result<(), String> {
        let missing = || format!("the rewritten module has no memory {EXPORT_STOP:?} of one fixed page");
        let memory = instance.get_memory(&mut self.store, EXPORT_STOP).ok_or_else(missing)?;
        // A memory that is as large as it may become never moves.
        if memory.size(&self.store) != 1 || memory.ty(&self.store).maximum() != Some(1) {
            return Err(missing());
        }
        let word = NonNull::new(memory.data_ptr(&self.store)).ok_or_else(missing)?.cast::<AtomicI64>();
        if !word.is_aligned() {
            return Err(missing());
        }
        // Taken away first where a word of an earlier instance is there, so that only one is ever to be cleared.
        self.armed = None;
        *stop.word.lock().unwrap_or_else(PoisonError::into_inner) = Some(Word(word));
        self.armed = Some(Armed(Arc::clone(stop)));
        // `set` may have come between the run's beginning and the lines above.
        if stop.is_set() {
            stop.set();
        }
        Ok(())
    }

    /// What the store carries.
    pub(crate) fn data(&self) -> &T {
        self.store.data()
    }

    /// What the store carries.
    pub(crate) fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }
}

// Contexts, and never `&mut Store`: nobody can take the store out and drop it before its word is taken away.
impl<T: 'static> AsContext for Stoppable<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        self.store.as_context()
    }
}

impl<T: 'static> AsContextMut for Stoppable<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}
