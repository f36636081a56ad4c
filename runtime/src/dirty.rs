//! Which leaves of memory may have changed since the last root, found by the best means that the machine has.
//!
//! No root depends on the means: `pages.rs` hashes what is named here and keeps the rest, and a leaf that is named for
//! nothing has the hash that it had. What may never happen is a leaf that changed and is not named; so whatever a means
//! does not know, it names.
//!
//! - [`Tracking::Faults`]: the kernel write-protects what is hashed and notes each first write after it (`faults.rs`).
//!   A root costs what was written, and a first write about a microsecond.
//! - [`Tracking::Compare`]: a copy of memory as it was. A root costs a comparison, and the run twice its memory.
//! - [`Tracking::Hash`]: nothing is kept. A root costs a hash of all memory that is in use.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod faults;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
#[path = "dirty/nowhere.rs"]
mod faults;

pub(crate) use faults::prefer_large_pages;

use crate::pages::Changed;
use samebit_spec::state::LEAF_BYTES;
use std::{fmt, ops::Range};

/// How a host finds the pages that a step wrote. No root and no receipt depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracking {
    /// The kernel notes first writes: userfaultfd write protection, read back by `PAGEMAP_SCAN`. Linux 6.7; needs no
    /// privilege, but may be forbidden in a container.
    Faults,
    /// Comparison with a copy.
    Compare,
    /// All memory in use is hashed.
    Hash,
}

impl Tracking {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Faults, Self::Compare, Self::Hash];

    /// The best that this machine has.
    #[must_use]
    pub fn best() -> Self {
        if faults::available() { Self::Faults } else { Self::Compare }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::Compare => "compare",
            Self::Hash => "hash",
        }
    }
}

impl fmt::Display for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Follows one run's memory.
pub(crate) struct Tracker {
    means: Means,
    /// Whether memory is mapped for this run alone, from a page's beginning on.
    mapped: bool,
    /// Where memory was mapped from a file when it was made: its data segments, of which untouched pages may be other
    /// than zero. `None`: not known.
    filed: Option<Vec<Range<usize>>>,
}

enum Means {
    Faults(faults::Faults),
    Compare(Vec<u8>),
    Hash,
}

impl Tracker {
    /// For a memory that nothing follows yet. `mapped` says that it is mapped for this run alone and never moves.
    pub(crate) fn new(wanted: Tracking, mapped: bool, memory: &[u8]) -> Self {
        let means = match wanted {
            Tracking::Faults if mapped => {
                faults::Faults::new().map_or_else(|| Means::Compare(Vec::new()), Means::Faults)
            }
            Tracking::Faults | Tracking::Compare => Means::Compare(Vec::new()),
            Tracking::Hash => Means::Hash,
        };
        let filed = mapped.then(|| faults::mapped_files(memory)).flatten();
        Self { means, mapped, filed }
    }

    /// What may have changed since this was called last; when it is called `first`, what may be other than zero.
    pub(crate) fn changed(&mut self, memory: &[u8], first: bool) -> Changed {
        if let Means::Faults(faults) = &mut self.means {
            if let Some(mut written) = faults.written(memory) {
                let known = self.filed.as_ref();
                match (first, known) {
                    (false, _) => {}
                    (true, Some(filed)) => written = merged(written, filed, memory.len()),
                    (true, None) => return Changed::All,
                }
                return Changed::These(written);
            }
            // The kernel says no more. What was followed so far is lost, so all is looked at once.
            let mut copy = Vec::new();
            compare(&mut copy, memory, self.in_use(memory));
            self.means = Means::Compare(copy);
            return Changed::All;
        }
        let candidates = self.in_use(memory);
        match &mut self.means {
            Means::Compare(copy) if first => {
                compare(copy, memory, candidates.clone());
                candidates
            }
            Means::Compare(copy) => Changed::These(compare(copy, memory, candidates)),
            Means::Faults(_) | Means::Hash => candidates,
        }
    }

    /// Leaves that may be other than zero.
    pub(crate) fn in_use(&self, memory: &[u8]) -> Changed {
        match (self.mapped, &self.filed) {
            (true, Some(filed)) => match faults::touched(memory) {
                Some(touched) => Changed::These(merged(touched, filed, memory.len())),
                None => Changed::All,
            },
            (true, None) | (false, _) => Changed::All,
        }
    }
}

/// Of the candidates those that differ from the copy, which then holds memory as it is. What was no candidate is zero
/// in both.
fn compare(copy: &mut Vec<u8>, memory: &[u8], candidates: Changed) -> Vec<u32> {
    if copy.len() < memory.len() {
        // Zeroed by the system: what is not written takes no memory.
        let mut longer = vec![0; memory.len()];
        longer[..copy.len()].copy_from_slice(copy);
        *copy = longer;
    }
    let (leaves, _) = memory.as_chunks::<LEAF_BYTES>();
    let (copies, _) = copy.as_chunks_mut::<LEAF_BYTES>();
    let mut differs = |index: &u32| match (leaves.get(*index as usize), copies.get_mut(*index as usize)) {
        (Some(leaf), Some(copy)) if leaf != copy => {
            *copy = *leaf;
            true
        }
        _ => false,
    };
    match candidates {
        Changed::All => (0..).take(leaves.len()).filter(&mut differs).collect(),
        Changed::These(mut these) => {
            these.retain(&mut differs);
            these
        }
    }
}

/// `leaves` and those in `ranges` of bytes, ascending, each once.
fn merged(mut leaves: Vec<u32>, ranges: &[Range<usize>], len: usize) -> Vec<u32> {
    for range in ranges {
        let (start, end) = (range.start / LEAF_BYTES, range.end.min(len).div_ceil(LEAF_BYTES));
        leaves.extend((start..end).filter_map(|leaf| u32::try_from(leaf).ok()));
    }
    leaves.sort_unstable();
    leaves.dedup();
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_names_what_differs_from_it_and_then_holds_it() {
        let mut tracker = Tracker::new(Tracking::Compare, false, &[]);
        let mut memory = vec![0; 3 << 16];
        assert_eq!(tracker.changed(&memory, true), Changed::All, "nothing is known yet");
        memory[5 * LEAF_BYTES] = 1;
        memory[7 * LEAF_BYTES - 1] = 1;
        assert_eq!(tracker.changed(&memory, false), Changed::These(vec![5, 6]));
        assert_eq!(tracker.changed(&memory, false), Changed::These(vec![]));
        memory.resize(4 << 16, 0);
        memory[(3 << 16) + 1] = 1;
        memory[5 * LEAF_BYTES] = 0;
        assert_eq!(tracker.changed(&memory, false), Changed::These(vec![5, 48]));
    }

    #[test]
    fn memory_that_is_always_written_is_left_alone_but_for_a_sample_and_followed_again_when_that_is_quiet() {
        const LEAVES: u32 = 2048;
        let Some(mut map) = faults::tests::Map::new(LEAVES as usize * LEAF_BYTES) else { return };
        let mut tracker = Tracker::new(Tracking::Faults, true, map.bytes());
        let Means::Faults(_) = &tracker.means else {
            eprintln!("LEFT OUT: this kernel notes no writes");
            return;
        };
        let write = |map: &mut faults::tests::Map, leaves: &mut dyn Iterator<Item = u32>, value: u8| {
            for leaf in leaves {
                map.bytes_mut()[leaf as usize * LEAF_BYTES + 9] = value;
            }
        };
        let named =
            |tracker: &mut Tracker, map: &faults::tests::Map, first: bool| match tracker.changed(map.bytes(), first) {
                Changed::All => panic!("the kernel says what was written"),
                Changed::These(these) => these,
            };
        let sampled = |tracker: &Tracker| matches!(&tracker.means, Means::Faults(faults) if faults.samples());
        write(&mut map, &mut (0..LEAVES), 1);
        assert_eq!(named(&mut tracker, &map, true).len(), LEAVES as usize);
        assert!(sampled(&tracker), "all was written at once");
        // Whatever is written now, nothing that was is left out: not in the sample, not beside it, not at its ends.
        for round in 2..6 {
            let quiet = round % 2 == 0;
            let wrote: Vec<u32> = (0..LEAVES).filter(|leaf| !quiet || leaf % 2 == 0 || leaf % 64 == 63).collect();
            write(&mut map, &mut wrote.iter().copied(), round);
            let these = named(&mut tracker, &map, false);
            assert!(wrote.iter().all(|leaf| these.binary_search(leaf).is_ok()), "round {round}");
            assert!(sampled(&tracker), "round {round}");
        }
        // A step that leaves the sample alone: the next is followed leaf by leaf.
        write(&mut map, &mut [0, 5, LEAVES - 1].into_iter(), 7);
        let these = named(&mut tracker, &map, false);
        assert!([0, 5, LEAVES - 1].iter().all(|leaf| these.binary_search(leaf).is_ok()));
        assert!(!sampled(&tracker), "it is followed again");
        write(&mut map, &mut [7, LEAVES / 2].into_iter(), 8);
        assert_eq!(named(&mut tracker, &map, false), [7, LEAVES / 2]);
    }

    #[test]
    fn every_means_names_at_least_what_was_written() {
        for tracking in Tracking::ALL {
            let map = faults::tests::Map::new(64 << 16);
            let Some(mut map) = map else { return };
            let mut tracker = Tracker::new(tracking, true, map.bytes());
            let named = |changed: Changed| match changed {
                Changed::All => (0..1024).collect(),
                Changed::These(these) => these,
            };
            map.bytes_mut()[9 * LEAF_BYTES] = 1;
            assert!(named(tracker.changed(map.bytes(), true)).contains(&9), "{tracking}");
            for round in 0..50 {
                let leaf = (round * 37) % 1024;
                map.bytes_mut()[leaf as usize * LEAF_BYTES + 5] ^= 1;
                let these = named(tracker.changed(map.bytes(), false));
                assert!(these.contains(&leaf), "{tracking}: {leaf} is not in {these:?}");
                if tracking != Tracking::Hash && matches!(tracker.means, Means::Compare(_) | Means::Faults(_)) {
                    assert!(these.len() <= 2, "{tracking}: {these:?}");
                }
            }
        }
    }
}
