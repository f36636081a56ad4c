//! What the speed of guests is measured on.
//!
//! One module for `wasm32-unknown-unknown` without imports, from crates that people use and from kernels. Each
//! `run_NAME(n)` does work that grows with `n` and returns a checksum, the same on every engine and natively: the
//! same source is the `native` column. No guest makes a NaN, reads a clock or draws a random number, and none
//! depends on the order of a hash map or on a library's `sin`.
#![allow(unsafe_code, reason = "exports have names that the linker knows; v128 is loaded from and stored to slices")]

mod data;
mod floats;
mod integers;
mod interpreter;
mod vectors;

pub use floats::{run_fft, run_mandelbrot, run_matmul, run_nbody};
pub use integers::{
    run_blake3, run_deflate, run_fib, run_hashmap, run_json, run_queens, run_regex, run_sha256, run_sort, run_trees,
};
pub use interpreter::run_vm;
pub use vectors::{run_gemm_simd, run_matmul_simd};

/// What a guest spends its time on. The goal for integer guests is stricter, and they are averaged apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Integers, memory and calls.
    Integers,
    /// Floats or vectors of floats.
    Floats,
}

/// One exported function and how it is run.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// The export is `run_NAME`.
    pub name: &'static str,
    /// The same code, built natively.
    pub native: extern "C" fn(i32) -> i64,
    /// What it spends its time on.
    pub work: Work,
    /// `n` for a run of about a tenth of a second.
    pub size: i32,
    /// `n` for a run of about a fiftieth of a second.
    pub size_quick: i32,
}

/// All of them.
#[rustfmt::skip]
pub const GUESTS: &[Guest] = &[
    Guest { name: "sha256", native: run_sha256, work: Work::Integers, size: 50, size_quick: 8 },
    Guest { name: "blake3", native: run_blake3, work: Work::Integers, size: 100, size_quick: 20 },
    Guest { name: "sort", native: run_sort, work: Work::Integers, size: 2_000_000, size_quick: 400_000 },
    Guest { name: "json", native: run_json, work: Work::Integers, size: 16_000, size_quick: 4_000 },
    Guest { name: "regex", native: run_regex, work: Work::Integers, size: 20_000, size_quick: 4_000 },
    Guest { name: "fib", native: run_fib, work: Work::Integers, size: 36, size_quick: 32 },
    Guest { name: "queens", native: run_queens, work: Work::Integers, size: 13, size_quick: 12 },
    Guest { name: "trees", native: run_trees, work: Work::Integers, size: 150, size_quick: 30 },
    Guest { name: "hashmap", native: run_hashmap, work: Work::Integers, size: 500_000, size_quick: 100_000 },
    Guest { name: "deflate", native: run_deflate, work: Work::Integers, size: 800_000, size_quick: 200_000 },
    Guest { name: "vm", native: run_vm, work: Work::Integers, size: 1_000_000, size_quick: 200_000 },
    Guest { name: "matmul", native: run_matmul, work: Work::Floats, size: 6, size_quick: 1 },
    Guest { name: "matmul_simd", native: run_matmul_simd, work: Work::Floats, size: 15, size_quick: 3 },
    Guest { name: "gemm_simd", native: run_gemm_simd, work: Work::Floats, size: 25, size_quick: 5 },
    Guest { name: "nbody", native: run_nbody, work: Work::Floats, size: 500_000, size_quick: 100_000 },
    Guest { name: "mandelbrot", native: run_mandelbrot, work: Work::Floats, size: 500, size_quick: 250 },
    Guest { name: "fft", native: run_fft, work: Work::Floats, size: 30, size_quick: 6 },
];

#[cfg(test)]
mod tests {
    use super::GUESTS;

    #[test]
    fn a_guest_gives_the_same_checksum_every_time_and_another_for_another_size() {
        for guest in GUESTS {
            let size = match guest.name {
                "fib" | "queens" => 8,
                "trees" => 2,
                "mandelbrot" => 20,
                _ => (guest.size_quick / 50).max(1),
            };
            let first = (guest.native)(size);
            assert_eq!(first, (guest.native)(size), "{}", guest.name);
            let other = if guest.name == "queens" { size + 1 } else { size * 2 };
            assert_ne!(first, (guest.native)(other), "{}", guest.name);
        }
    }
}
