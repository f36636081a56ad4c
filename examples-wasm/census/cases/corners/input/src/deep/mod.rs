/// # Safety
/// `unsafe` in a comment is no use of it; the one below is.
pub unsafe fn careful(at: *mut u32) {
    *at = /* unsafe */ 7;
}

pub const BYTES: &[u8] = br##"unsafe "# still raw"##;
