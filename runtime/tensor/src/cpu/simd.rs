//! Which vector instructions a kernel is compiled for. A kernel is written once, as plain loops; each level is a copy
//! of it that the compiler may turn into wider instructions. The step into such a copy is
//! unsafe code; the map (`ARCHITECTURE.md`) lists what else is.

/// A set of vector instructions that this processor has: there is no other way to get one than to ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(super) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What every processor of the architecture has.
    Baseline,
    /// AVX2 of x86-64, with its fused operations.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 of x86-64: its foundation and its bytes and words.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same and products of bytes in fours (VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Level {
    /// All that this processor has, the narrowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "nothing wider is known there"))]
        let mut levels = vec![Self(Kind::Baseline)];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            levels.push(Self(Kind::Avx2));
            if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw") {
                levels.push(Self(Kind::Avx512));
                if std::arch::is_x86_feature_detected!("avx512vnni") {
                    levels.push(Self(Kind::Avx512Vnni));
                }
            }
        }
        levels
    }

    /// Whether it rounds a product and a sum at once: where it does not, that costs a call.
    pub(super) fn fuses(self) -> bool {
        self.0 != Kind::Baseline || cfg!(target_arch = "aarch64")
    }

    /// The widest that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self(Kind::Baseline))
    }
}

impl core::fmt::Display for Level {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self.0 {
            Kind::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "AVX-512 VNNI",
        })
    }
}

/// Defines a function whose first parameter is a [`Level`] and whose body is compiled once for each.
///
/// What the body calls must be `#[inline(always)]`, or it stays at the baseline.
macro_rules! leveled {
    ($(#[$meta:meta])* fn $name:ident $(<$(const $const:ident: $kind:ty),+>)? ($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "a kernel takes its operands apart")]
        pub(super) fn $name $(<$(const $const: $kind),+>)? (level: $crate::cpu::Level, $($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn plain $(<$(const $const: $kind),+>)? ($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$(const $const: $kind),+>)? ($($arg: $type),*) $(-> $out)? {
                plain $(::<$($const),+>)? ($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw")]
            fn avx512 $(<$(const $const: $kind),+>)? ($($arg: $type),*) $(-> $out)? {
                plain $(::<$($const),+>)? ($($arg),*)
            }
            match level.0 {
                $crate::cpu::simd::Kind::Baseline => plain $(::<$($const),+>)? ($($arg),*),
                // SAFETY: a `Level` of this kind exists only where the processor said that it has the instructions.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "the step into a copy for wider instructions")]
                $crate::cpu::simd::Kind::Avx2 => unsafe { avx2 $(::<$($const),+>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "the step into a copy for wider instructions")]
                $crate::cpu::simd::Kind::Avx512 | $crate::cpu::simd::Kind::Avx512Vnni => unsafe { avx512 $(::<$($const),+>)? ($($arg),*) },
            }
        }
    };
}

pub(super) use leveled;
