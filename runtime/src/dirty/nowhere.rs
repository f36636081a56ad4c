//! Where the kernel does not tell which pages were written.

use std::{convert::Infallible, ops::Range};

/// There is none.
pub(crate) struct Faults(Infallible);

pub(crate) fn available() -> bool {
    false
}

impl Faults {
    pub(crate) fn new() -> Option<Self> {
        None
    }

    pub(crate) fn written(&mut self, _: &[u8]) -> Option<Vec<u32>> {
        match self.0 {}
    }
}

pub(crate) fn prefer_large_pages(_: *const u8, _: usize) {}

pub(crate) fn touched(_: &[u8]) -> Option<Vec<u32>> {
    None
}

pub(crate) fn mapped_files(_: &[u8]) -> Option<Vec<Range<usize>>> {
    None
}

#[cfg(test)]
pub(super) mod tests {
    pub(crate) struct Map(std::convert::Infallible);

    impl Map {
        pub(crate) fn new(_: usize) -> Option<Self> {
            None
        }

        pub(crate) fn bytes(&self) -> &[u8] {
            match self.0 {}
        }

        pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
            match self.0 {}
        }
    }
}
