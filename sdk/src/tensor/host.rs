//! The host's functions, as a compiled task calls them (`spec/09-tensor.md`, section 9.7).

#![allow(unsafe_code, reason = "imports are unsafe to call; there is no other way to call them")]

use samebit_spec::tensor::{TensorType, host::Answer};
use std::{fs::File, os::fd::AsRawFd};

#[link(wasm_import_module = "samebit_tensor")]
unsafe extern "C" {
    #[link_name = "create"]
    fn raw_create(dtype: i32, dims: *const u32, rank: usize, bytes: *const u8, len: usize, handle: *mut u32) -> i32;
    #[link_name = "from_file"]
    fn raw_from_file(fd: i32, offset: u64, dtype: i32, dims: *const u32, rank: usize, handle: *mut u32) -> i32;
    #[link_name = "submit"]
    fn raw_submit(
        graph: *const u8,
        len: usize,
        outside: *const u32,
        count: usize,
        results: *mut u32,
        room: usize,
    ) -> i32;
    #[link_name = "read"]
    fn raw_read(handle: u32, offset: u64, into: *mut u8, len: usize) -> i32;
    #[link_name = "drop"]
    fn raw_drop(handle: u32) -> i32;
}

fn done(answer: i32) -> Result<(), Answer> {
    if answer == 0 { Ok(()) } else { Err(Answer(answer)) }
}

pub(crate) fn create(of: &TensorType, bytes: &[u8]) -> Result<u32, Answer> {
    let (dims, mut handle) = (of.shape.dims(), 0);
    // SAFETY: the host reads `dims` and `bytes` and writes `handle`, all of the given lengths, and keeps no pointer.
    done(unsafe {
        raw_create(of.dtype as i32, dims.as_ptr(), dims.len(), bytes.as_ptr(), bytes.len(), &raw mut handle)
    })?;
    Ok(handle)
}

pub(crate) fn from_file(file: &File, offset: u64, of: &TensorType) -> Result<u32, Answer> {
    let (dims, mut handle) = (of.shape.dims(), 0);
    // SAFETY: as above; the descriptor is open for as long as `file` is borrowed.
    done(unsafe {
        raw_from_file(file.as_raw_fd(), offset, of.dtype as i32, dims.as_ptr(), dims.len(), &raw mut handle)
    })?;
    Ok(handle)
}

pub(crate) fn submit(graph: &[u8], outside: &[u32], room: usize) -> Result<Vec<u32>, Answer> {
    let mut results = vec![0; room];
    // SAFETY: the host reads `graph` and `outside` and writes at most `room` numbers.
    done(unsafe {
        raw_submit(graph.as_ptr(), graph.len(), outside.as_ptr(), outside.len(), results.as_mut_ptr(), room)
    })?;
    Ok(results)
}

pub(crate) fn read(handle: u32, offset: u64, into: &mut [u8]) -> Result<(), Answer> {
    // SAFETY: the host writes at most the length of `into`.
    done(unsafe { raw_read(handle, offset, into.as_mut_ptr(), into.len()) })
}

pub(crate) fn drop(handle: u32) {
    // SAFETY: no pointer is passed. A handle that is gone is an answer that nobody needs.
    let _ = unsafe { raw_drop(handle) };
}
