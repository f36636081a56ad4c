//! Why the native stack never ends before the profile's height does.
//!
//! A function of the rewritten module has a height in units (`samebit_rewrite::Executable::heights`), and a guest that
//! would stack more than [`param::STACK_HEIGHT_MAX`] of them traps by itself. That must come before the native stack
//! ends, for any admitted module. The bound, in bytes of native stack:
//!
//! - F1: the frame of a function of height *h* is at most *h* times [`UNIT_BYTES`]. This file reads each frame from
//!   the compiled code and refuses code that breaks it, as this host's fault, before anything runs. Nothing is
//!   inlined, so a frame belongs to one function.
//! - F2: heights that are counted sum to at most `STACK_HEIGHT_MAX`, for a function that would pass it is left before it
//!   calls anything.
//! - F3: functions that count no height form one chain of at most [`param::STACK_SHALLOW_MAX`], at the top.
//! - F4: a frame is made before its height is counted, so there may be one more: of at most [`FRAME_BYTES_MAX`], which
//!   is also checked.
//! - F5: functions that the rewriter adds have small frames, and the entry and at most two others are there at a time.
//!
//! So [`STACK_BYTES`] suffices. The engine looks at the native stack all the same, at each entry; should it end first,
//! this file or the compiler is wrong, and the run is a host fault and has no outcome.
//!
//! How a frame is read: Cranelift begins each function that has a frame or calls anything with a comparison of the
//! stack pointer with a limit plus the size of the frame, after the frame pointer is pushed. That number is read here.
//! It is what the pinned version of the compiler emits for `x86_64` and `aarch64`; a function that begins in another
//! way is refused. On other processors nothing is read and F1 is not checked.

use crate::HostFault;
use samebit_rewrite::Executable;
use samebit_spec::param;
use std::collections::BTreeMap;
use wasmtime::Module;

/// Bytes of native stack for each unit of height.
const UNIT_BYTES: u64 = param::STACK_NATIVE_FACTOR * param::STACK_UNIT_BYTES;

/// Largest frame of any function.
const FRAME_BYTES_MAX: u64 = 24 << 20;

/// Largest frame of a function that has no height of its own.
const ADDED_BYTES_MAX: u64 = 16 << 10;

/// Return address and frame pointer.
const LINK_BYTES: u64 = 16;

/// Native stack that guest code may use.
#[allow(clippy::cast_possible_truncation, reason = "less than 2^30, as the assertion says")]
pub(crate) const STACK_BYTES: usize = {
    let counted = UNIT_BYTES * (param::STACK_HEIGHT_MAX + param::STACK_SHALLOW_MAX);
    let bytes = counted + FRAME_BYTES_MAX + 4 * ADDED_BYTES_MAX;
    assert!(bytes < 1 << 30);
    bytes as usize
};

/// Checks F1 and F4 on compiled code.
///
/// # Errors
/// [`HostFault::Compile`] for the first function whose frame is larger than its height allows.
pub(crate) fn check(module: &Module, executable: &Executable) -> Result<(), HostFault> {
    let Some(read) = READER else { return Ok(()) };
    let heights: BTreeMap<u32, u32> = executable.heights.iter().copied().collect();
    let text = module.text();
    let refused = |function: u32, what: String| {
        Err(HostFault::Compile { module: executable.module.id, reason: format!("function {function}: {what}") })
    };
    for function in module.functions() {
        let index = function.index.as_u32();
        let code = text.get(function.offset..function.offset.saturating_add(function.len)).unwrap_or_default();
        let Some(frame) = read(code) else {
            let begin: Vec<String> = code.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
            return refused(index, format!("its frame cannot be told from {}", begin.join(" ")));
        };
        let frame = frame.saturating_add(LINK_BYTES);
        let allowed = heights.get(&index).map_or(ADDED_BYTES_MAX, |height| UNIT_BYTES.saturating_mul((*height).into()));
        let allowed = allowed.min(FRAME_BYTES_MAX);
        if frame > allowed {
            return refused(index, format!("a frame of {frame} bytes, its height allows {allowed}"));
        }
    }
    Ok(())
}

/// Tells the frame of a function from its code, without [`LINK_BYTES`].
type Reader = fn(&[u8]) -> Option<u64>;

const READER: Option<Reader> = if cfg!(target_arch = "x86_64") {
    Some(x86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(aarch64)
} else {
    None
};

fn x86_64(code: &[u8]) -> Option<u64> {
    // push rbp; mov rbp, rsp
    let code = code.strip_prefix(&[0x55, 0x48, 0x89, 0xe5])?;
    // mov r10, [rdi + 8]
    let Some(code) = code.strip_prefix(&[0x4c, 0x8b, 0x57, 0x08]) else { return Some(0) };
    // mov r10, [r10 + offset]
    let code = match code {
        [0x4d, 0x8b, 0x12, rest @ ..] | [0x4d, 0x8b, 0x52, _, rest @ ..] => rest,
        [0x4d, 0x8b, 0x92, _, _, _, _, rest @ ..] => rest,
        _ => return None,
    };
    // cmp r10, rsp; ja: alone without a frame, and before the sum where that might pass the end of all addresses.
    let (compared, code) = match code {
        [0x4c, 0x3b, 0xd4, 0x0f, 0x87, _, _, _, _, rest @ ..] => (true, rest),
        code => (false, code),
    };
    match code {
        // add r10, size
        [0x49, 0x83, 0xc2, size, ..] => u64::try_from(size.cast_signed()).ok(),
        [0x49, 0x81, 0xc2, a, b, c, d, ..] => u64::try_from(i32::from_le_bytes([*a, *b, *c, *d])).ok(),
        _ if compared => Some(0),
        _ => None,
    }
}

fn aarch64(code: &[u8]) -> Option<u64> {
    let (words, _) = code.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    // stp x29, x30, [sp, #-16]!; mov x29, sp
    if (words.next()?, words.next()?) != (0xa9bf_7bfd, 0x9100_03fd) {
        return None;
    }
    // A load to x16, from an offset that is scaled or not.
    let loads = |word: u32| word & 0xffc0_001f == 0xf940_0010 || word & 0xffe0_0c1f == 0xf840_0010;
    let Some(first) = words.next() else { return Some(0) };
    // The limit is two loads away: ldr x16, [context, #8]; ldr x16, [x16, offset].
    if !loads(first) {
        return Some(0);
    }
    let second = words.next()?;
    if !loads(second) || (second >> 5) & 31 != 16 {
        return Some(0);
    }
    // cmp sp, x16 and a branch, as above.
    const COMPARE: u32 = 0xeb30_63ff;
    let (mut word, mut compared) = (words.next()?, false);
    if word == COMPARE {
        compared = true;
        let branch = words.next()?;
        // b.cond
        if branch & 0xff00_0010 != 0x5400_0000 {
            return None;
        }
        match words.next() {
            Some(next) => word = next,
            None => return Some(0),
        }
        // udf, where the branch goes around a trap
        if word >> 16 == 0 {
            word = words.next()?;
        }
    }
    // add x16, x16, #size
    if word & 0xff80_03ff == 0x9100_0210 {
        return Some(u64::from((word >> 10) & 0xfff) << if word & 1 << 22 == 0 { 0 } else { 12 });
    }
    // mov x17, #size, in parts; add x16, x16, x17
    let mut size = None;
    loop {
        let part = || u64::from((word >> 5) & 0xffff) << (16 * ((word >> 21) & 3));
        match word {
            0x8b31_6210 => return size,
            _ if word & 0xff80_001f == 0xd280_0011 => size = Some(part()),
            _ if word & 0xff80_001f == 0x9280_0011 => size = Some(!part()),
            _ if word & 0xff80_001f == 0xf280_0011 => size = Some(size? | part()),
            _ if word & 0xff80_03ff == 0xb200_03f1 => size = Some(ones(word)?),
            _ => return (compared && size.is_none()).then_some(0),
        }
        word = words.next()?;
    }
}

/// The immediate of a logical instruction of 64 bits: a run of ones, turned right and repeated.
fn ones(word: u32) -> Option<u64> {
    let (n, rotate, length) = ((word >> 22) & 1, (word >> 16) & 63, (word >> 10) & 63);
    let width = 1_u32 << (31_u32.checked_sub(((n << 6) | (!length & 63)).leading_zeros())?);
    let (run, rotate) = ((length & (width - 1)) + 1, rotate & (width - 1));
    if run > width || width > 64 {
        return None;
    }
    let mut bits = u64::MAX >> (64 - run);
    if rotate > 0 {
        let mask = u64::MAX >> (64 - width);
        bits = ((bits >> rotate) | (bits << (width - rotate))) & mask;
    }
    let mut size = width;
    while size < 64 {
        bits |= bits << size;
        size *= 2;
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_on_x86_64_is_what_the_limit_of_the_stack_is_compared_with() {
        let begin = [0x55, 0x48, 0x89, 0xe5];
        let limit = [0x4c, 0x8b, 0x57, 0x08, 0x4d, 0x8b, 0x52, 0x18];
        let compare = [0x4c, 0x3b, 0xd4, 0x0f, 0x87, 1, 2, 3, 4];
        let code = |parts: &[&[u8]]| x86_64(&parts.concat());
        assert_eq!(code(&[&begin, &[0xc3]]), Some(0), "neither frame nor call");
        assert_eq!(code(&[&begin, &limit, &compare, &[0xe8]]), Some(0), "a call and no frame");
        assert_eq!(code(&[&begin, &limit, &[0x49, 0x83, 0xc2, 0x70], &compare]), Some(0x70));
        assert_eq!(code(&[&begin, &limit, &[0x49, 0x81, 0xc2, 0x30, 2, 0, 0], &compare]), Some(0x230));
        assert_eq!(code(&[&begin, &limit, &compare, &[0x49, 0x81, 0xc2, 0, 0, 1, 0], &compare]), Some(0x1_0000));
        for unknown in
            [&[][..], &[0x48, 0x81, 0xec], &[&begin[..], &limit, &[0x90]].concat(), &[&begin[..], &limit[..4]].concat()]
        {
            assert_eq!(x86_64(unknown), None, "{unknown:02x?}");
        }
    }

    #[test]
    fn a_frame_on_aarch64_is_what_the_limit_of_the_stack_is_compared_with() {
        let code = |words: &[u32]| aarch64(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        let begin = [0xa9bf_7bfd, 0x9100_03fd];
        let with = |rest: &[u32]| code(&[&begin[..], &[0xf840_8050, 0xf840_c210], rest].concat());
        let compare = [0xeb30_63ff, 0x5400_0623];
        assert_eq!(code(&[&begin[..], &[0xd65f_03c0]].concat()), Some(0), "neither frame nor call");
        assert_eq!(with(&[&compare[..], &[0x9400_0000]].concat()), Some(0), "a call and no frame");
        assert_eq!(with(&[0x9101_8210, 0xeb30_63ff]), Some(0x60), "add x16, x16, #0x60");
        assert_eq!(with(&[0x9140_0a10, 0xeb30_63ff]), Some(0x2000), "add x16, x16, #2, lsl 12");
        assert_eq!(with(&[0xd282_0211, 0x8b31_6210]), Some(0x1010), "movz x17, #0x1010");
        assert_eq!(with(&[&compare[..], &[0xd282_0211, 0xf2a0_0031, 0x8b31_6210]].concat()), Some(0x1_1010), "movk");
        assert_eq!(
            with(&[&compare[..], &[0xb27c_33f1, 0x8b31_6210]].concat()),
            Some(0x1_fff0),
            "orr x17, xzr, #0x1fff0"
        );
        for unknown in [&[][..], &[0xd65f_03c0], &[0xa9bf_7bfd]] {
            assert_eq!(code(unknown), None, "{unknown:08x?}");
        }
        assert_eq!(with(&[0xd503_201f]), None, "a nop where the size should be");
    }

    #[test]
    fn a_repeated_run_of_ones_is_read_as_the_processor_reads_it() {
        for (word, value) in [
            (0xb200_03f1_u32, 0x0000_0001_0000_0001_u64),
            (0xb240_03f1, 1),
            (0xb240_7ff1, 0xffff_ffff),
            (0xb27c_33f1, 0x1_fff0),
            (0xb200_f3f1, 0x5555_5555_5555_5555),
        ] {
            assert_eq!(ones(word), Some(value), "{word:08x}");
        }
    }
}
