//! Why the native stack never ends before the profile's height does.
use samebit_spec::param;

/// Native stack for frames.
pub(crate) const STACK_BYTES: usize =
    (param::STACK_NATIVE_FACTOR * param::STACK_HEIGHT_MAX * param::STACK_UNIT_BYTES) as usize + (32 << 20);
