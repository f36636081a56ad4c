//! What `cargo xtask fuzz` runs and what its crash files replay.
//!
//! A case is a few bytes, and what a target does with them is a function of the bytes alone. For the targets that make
//! modules of a seed the bytes are the seed; `rewrite` takes any bytes as a module.

use crate::{
    compare::{self, Stats},
    nan,
    program::{self, Size},
    rng::Rng,
    smith, stack, state, tensor, wasi,
};
use std::{fs, path::PathBuf};

/// A thing that can be fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any bytes: the rewriter admits or refuses, and what it admits both engines accept.
    Rewrite,
    /// wasm-smith's modules and our own, across engines and against the original.
    Differential,
    /// Fuel against the naive meter.
    Fuel,
    /// Recursions of random frames, across engines and settings.
    Stack,
    /// Programs that make NaNs and look at their bits: lazy, eager and the engine's own switch.
    Nan,
    /// Kept states, traces and proofs that were altered: refused, or without a part in any result.
    State,
    /// Hostile calls of preview1.
    Wasi,
    /// Graphs of tensor operations, whole and damaged: refused, or the oracle's bits.
    Tensor,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Rewrite, Self::Differential, Self::Fuel, Self::Stack, Self::Nan, Self::State, Self::Wasi, Self::Tensor];

    /// Its name on the command line and of its folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::Differential => "differential",
            Self::Fuel => "fuel",
            Self::Stack => "stack",
            Self::Nan => "nan",
            Self::State => "state",
            Self::Wasi => "wasi",
            Self::Tensor => "tensor",
        }
    }

    /// The target of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The bytes of a case that a seed chooses.
    #[must_use]
    pub fn case(self, seed: u64) -> Vec<u8> {
        match self {
            Self::Rewrite => mutated(seed),
            Self::State => state::case(seed),
            Self::Differential | Self::Fuel | Self::Stack | Self::Nan | Self::Wasi | Self::Tensor => {
                seed.to_le_bytes().to_vec()
            }
        }
    }

    /// Runs a case.
    ///
    /// # Errors
    /// What is wrong, in words. A panic is wrong as well, and the caller's to catch.
    pub fn run(self, case: &[u8]) -> Result<Stats, String> {
        let mut bytes = [0; 8];
        for (place, byte) in bytes.iter_mut().zip(case) {
            *place = *byte;
        }
        let seed = u64::from_le_bytes(bytes);
        match self {
            Self::Rewrite => rewrite(case),
            Self::State => state::check(case),
            Self::Differential if seed.is_multiple_of(4) => {
                compare::differential(&program::module(seed, Size::MIDDLE), seed)
            }
            Self::Differential => compare::differential(&smith(seed), seed),
            Self::Fuel if seed.is_multiple_of(3) => compare::fuel(&smith(seed), seed),
            Self::Fuel => compare::fuel(&program::module(seed, Size::MIDDLE), seed),
            Self::Stack => stack::random(seed),
            Self::Nan => nan::check(seed).map(|()| Stats { modules: 1, ..Stats::default() }),
            Self::Wasi => wasi::check(seed),
            Self::Tensor => tensor::check(seed),
        }
    }

    /// Where its cases of a kind, `corpus` or `crashes`, are kept.
    #[must_use]
    pub fn folder(self, kind: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind).join(self.name())
    }

    /// The cases that are kept, by file name.
    #[must_use]
    pub fn kept(self, kind: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let Ok(folder) = fs::read_dir(self.folder(kind)) else { return Vec::new() };
        let mut cases: Vec<(PathBuf, Vec<u8>)> = folder
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let bytes = fs::read(&path).ok()?;
                Some((path, bytes))
            })
            .collect();
        cases.sort();
        cases
    }
}

/// wasm-smith's module, or for the few seeds of which it makes none, ours.
fn smith(seed: u64) -> Vec<u8> {
    smith::module(seed).unwrap_or_else(|_| program::module(seed, Size::MIDDLE))
}

/// A module, or what is left of one after some accidents; sometimes no module at all.
fn mutated(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ 0xb17e);
    if rng.one_in(20) {
        let len = rng.index(400);
        return [b"\0asm\x01\0\0\0".as_slice(), &rng.bytes(len)].concat();
    }
    let mut bytes = match rng.below(3) {
        0 => program::module(rng.next_u64(), Size::SMALL),
        _ => smith::module(rng.next_u64()).unwrap_or_default(),
    };
    for _ in 0..rng.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.index(bytes.len());
        match rng.below(5) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x0b, 0x41, 0x6a, 0xfd, 0xfc]),
            2 => bytes.truncate(at),
            3 => {
                let end = (at + rng.index(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + rng.index(16)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = rng.index(bytes.len());
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

/// The rewriter ends, gives the same twice, and what it admits is a module to both engines.
fn rewrite(bytes: &[u8]) -> Result<Stats, String> {
    let task = samebit_rewrite::prepare(bytes);
    let library = compare::prepare(bytes);
    if task.is_ok() && library.is_err() {
        return Err(format!("a task that is no library: {library:?}"));
    }
    let Ok(executable) = library else { return Ok(Stats::default()) };
    if compare::prepare(bytes).as_ref() != Ok(&executable) {
        return Err("rewritten otherwise the second time".to_owned());
    }
    compare::accepted(&executable)?;
    Ok(Stats { modules: 1, ..Stats::default() })
}
