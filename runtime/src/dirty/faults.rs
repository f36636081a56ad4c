//! What Linux tells of a mapping: which of its pages were written, which are in use, which come from a file.
//!
//! Written pages: a userfaultfd in asynchronous write-protect mode (`UFFD_FEATURE_WP_ASYNC`). `PAGEMAP_SCAN` reads which
//! pages were written since they were protected and protects them again, in one call. No handler runs and no signal is
//! sent: the kernel resolves each first write by itself. Kernel interfaces: `Documentation/admin-guide/mm/pagemap.rst`
//! and `userfaultfd.rst` of Linux 6.7.
//!
//! Protection is invisible to the program whose memory it is, so none of this can change what a guest computes. When the
//! descriptor is closed the kernel takes the protection off.
#![allow(unsafe_code, reason = "system calls on memory that is only named, never accessed; see each block")]

use samebit_spec::state::LEAF_BYTES;
use std::{
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::FileExt,
    },
};

const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;

/// `_IOWR(0xaa, 0x3f, UffdioApi)`.
const UFFDIO_API: u64 = iowr(0xaa, 0x3f, size_of::<UffdioApi>());
/// `_IOWR(0xaa, 0x00, UffdioRegister)`.
const UFFDIO_REGISTER: u64 = iowr(0xaa, 0x00, size_of::<UffdioRegister>());
/// `_IOWR('f', 16, ScanArg)`.
const PAGEMAP_SCAN: u64 = iowr(0x66, 16, size_of::<ScanArg>());

const fn iowr(kind: u64, number: u64, size: usize) -> u64 {
    (3 << 30) | ((size as u64) << 16) | (kind << 8) | number
}

const PM_SCAN_WP_MATCHING: u64 = 1;
const PM_SCAN_CHECK_WPASYNC: u64 = 2;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

/// Of an entry of `/proc/self/pagemap`: present, or swapped out.
const IN_USE: u64 = 1 << 63 | 1 << 62;

/// Regions that one scan gives at a time.
const REGIONS: usize = 512;

/// The part of memory that is still followed when most of it is always written: one in so many bytes.
const SAMPLE: usize = 32;

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// Follows the writes to one mapping.
pub(crate) struct Faults {
    uffd: OwnedFd,
    pagemap: File,
    /// Bytes from the beginning that are followed.
    registered: usize,
    /// The part that alone is followed, where most of memory is always written.
    sample: Option<Range<usize>>,
}

/// Whether this kernel and its rules allow it.
pub(crate) fn available() -> bool {
    Faults::new().is_some()
}

impl Faults {
    pub(crate) fn new() -> Option<Self> {
        if page_size() != Some(LEAF_BYTES) {
            return None;
        }
        let pagemap = File::open("/proc/self/pagemap").ok()?;
        // SAFETY: takes a number and gives a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY) };
        let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the descriptor is new, open and nobody else's.
        let uffd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut api = UffdioApi { api: UFFD_API, features: UFFD_FEATURE_WP_ASYNC, ioctls: 0 };
        // SAFETY: the argument is the structure that this request reads and writes, and outlives the call.
        let done = unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_API as libc::Ioctl, &raw mut api) };
        let faults = Self { uffd, pagemap, registered: 0, sample: None };
        // A scan of nothing tells whether there is such a request.
        (done == 0 && faults.scan(0..0, true, &mut Vec::new())).then_some(faults)
    }

    /// Leaves that were written since the last call, or ever; `None` when the kernel does not say.
    pub(crate) fn written(&mut self, memory: &[u8]) -> Option<Vec<u32>> {
        let base = memory.as_ptr() as usize;
        if !base.is_multiple_of(LEAF_BYTES) || !memory.len().is_multiple_of(LEAF_BYTES) {
            return None;
        }
        if self.registered < memory.len() {
            let (start, len) = (base as u64, memory.len() as u64);
            let mut register = UffdioRegister { start, len, mode: UFFDIO_REGISTER_MODE_WP, ioctls: 0 };
            // SAFETY: the argument is as above. What it does to the range, `memory`, is to have writes noted: reads,
            // writes and their values are as before, so no reference to it is broken.
            let done = unsafe { libc::ioctl(self.uffd.as_raw_fd(), UFFDIO_REGISTER as libc::Ioctl, &raw mut register) };
            if done != 0 {
                return None;
            }
            self.registered = memory.len();
        }
        let range = base..base + memory.len();
        let mut ranges = Vec::new();
        if !self.scan(range.clone(), false, &mut ranges) {
            return None;
        }
        // A guest that writes most of its memory in each step would pay for every first write and save nothing. It is left
        // alone but for a sample, and followed again when the sample is mostly as it was.
        let written = |within: &Range<usize>| -> usize {
            let part = |range: &Range<usize>| range.end.min(within.end).saturating_sub(range.start.max(within.start));
            ranges.iter().map(part).sum()
        };
        let most = |range: &Range<usize>| written(range) > range.len() / 2;
        let alone = range.len() > REGIONS * LEAF_BYTES && most(&range) && self.sample.as_ref().is_none_or(most);
        let protected = if alone {
            let (middle, len) = (range.len() / 2, range.len() / SAMPLE);
            let start = base + middle / LEAF_BYTES * LEAF_BYTES;
            start..start + len.next_multiple_of(LEAF_BYTES)
        } else {
            range
        };
        if !self.scan(protected.clone(), true, &mut Vec::new()) {
            return None;
        }
        self.sample = alone.then_some(protected);
        let mut leaves = Vec::new();
        for range in ranges {
            let (start, end) = ((range.start - base) / LEAF_BYTES, (range.end - base) / LEAF_BYTES);
            leaves.extend((start..end).filter_map(|leaf| u32::try_from(leaf).ok()));
        }
        Some(leaves)
    }

    /// Whether most of memory is left alone.
    #[cfg(test)]
    pub(super) fn samples(&self) -> bool {
        self.sample.is_some()
    }

    /// Ranges of written pages in use; protects them again when told to.
    fn scan(&self, range: Range<usize>, protect: bool, found: &mut Vec<Range<usize>>) -> bool {
        let mut regions = [Region::default(); REGIONS];
        let mut start = range.start as u64;
        let end = range.end as u64;
        loop {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                flags: if protect { PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC } else { PM_SCAN_CHECK_WPASYNC },
                start,
                end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                // A page that was never touched is zero, and is in use once it is written.
                category_mask: PAGE_IS_WRITTEN,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_WRITTEN,
                ..ScanArg::default()
            };
            // SAFETY: the argument is the structure of this request, and names `regions` with its length as the only
            // memory that the call writes. Pages of the range are at most write-protected, which is invisible.
            let filled = unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN as libc::Ioctl, &raw mut arg) };
            let Ok(filled) = usize::try_from(filled) else { return false };
            for region in regions.iter().take(filled) {
                match (usize::try_from(region.start), usize::try_from(region.end)) {
                    (Ok(start), Ok(end)) if range.start <= start && start <= end && end <= range.end => {
                        found.push(start..end);
                    }
                    _ => return false,
                }
            }
            if arg.walk_end >= end {
                return true;
            }
            // What the kernel has not walked it has not protected, so it is asked about next.
            if arg.walk_end <= start {
                return false;
            }
            start = arg.walk_end;
        }
    }
}

fn page_size() -> Option<usize> {
    // SAFETY: takes and gives numbers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}

/// Asks the system for large pages where memory is about to be written whole: the first write of each small one would cost
/// more than the copy. What it answers changes nothing but time.
pub(crate) fn prefer_large_pages(start: *const u8, len: usize) {
    let first = (start as usize).next_multiple_of(LEAF_BYTES);
    let end = (start as usize).saturating_add(len) / LEAF_BYTES * LEAF_BYTES;
    if page_size() == Some(LEAF_BYTES) && first < end {
        // SAFETY: advice on how whole pages within the caller's memory are backed. It never changes what they hold.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}

/// Leaves of a mapping that are in use: present or swapped out.
pub(crate) fn touched(memory: &[u8]) -> Option<Vec<u32>> {
    let base = memory.as_ptr() as usize;
    if page_size() != Some(LEAF_BYTES) || !base.is_multiple_of(LEAF_BYTES) {
        return None;
    }
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    let mut entries = vec![0; memory.len() / LEAF_BYTES * 8];
    pagemap.read_exact_at(&mut entries, (base / LEAF_BYTES * 8) as u64).ok()?;
    let (entries, _) = entries.as_chunks::<8>();
    Some(
        (0..)
            .zip(entries)
            .filter(|(_, entry)| u64::from_ne_bytes(**entry) & IN_USE != 0)
            .map(|(leaf, _)| leaf)
            .collect(),
    )
}

/// Parts of a mapping that come from a file, as ranges of its bytes.
pub(crate) fn mapped_files(memory: &[u8]) -> Option<Vec<Range<usize>>> {
    let base = memory.as_ptr() as usize;
    let all = base..base + memory.len();
    let mut found = Vec::new();
    for line in BufReader::new(File::open("/proc/self/maps").ok()?).lines() {
        // START-END PERMISSIONS OFFSET DEVICE INODE [PATH]
        let line = line.ok()?;
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let inode = words.nth(3)?;
        let (start, end) = (start.max(all.start), end.min(all.end));
        if start < end && inode != "0" {
            found.push(start - base..end - base);
        }
    }
    Some(found)
}

#[cfg(test)]
pub(super) mod tests {
    /// Memory from the system.
    pub(crate) struct Map(*mut u8, usize);

    impl Map {
        pub(crate) fn new(len: usize) -> Option<Self> {
            let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: asks for new memory anywhere.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), len, rights, kind, -1, 0) };
            (at != libc::MAP_FAILED).then_some(Self(at.cast(), len))
        }

        pub(crate) fn bytes(&self) -> &[u8] {
            // SAFETY: the mapping is this value's own, of this length, zeroed by the system.
            unsafe { std::slice::from_raw_parts(self.0, self.1) }
        }

        pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
            // SAFETY: as above, and the only reference.
            unsafe { std::slice::from_raw_parts_mut(self.0, self.1) }
        }
    }

    impl Drop for Map {
        fn drop(&mut self) {
            // SAFETY: the mapping that `new` made, to which no reference is left.
            unsafe { libc::munmap(self.0.cast(), self.1) };
        }
    }
}
