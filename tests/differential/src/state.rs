//! Kept states, traces and history proofs that somebody altered: refused, or without a part in any result.

use crate::{compare::Stats, rng::Rng};
use samebit_runtime::{
    Checkpoint, Content, EngineKind, Finished, Flow, Held, HostFault, Keep, Orders, Program, Runtime,
    pack::{Pack, Packer, Packs},
};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::{Execution, Limits, Profile, TensorOps},
    history::{HistoryProof, Trace},
    unit::Fuel,
    wire,
};
use std::sync::{Arc, OnceLock};

/// A step writes memory, a global, a file and stdout; there are six.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (global $n (mut i32) (i32.const 0)) (global $f (mut f64) (f64.const 3))
    (data (i32.const 64) "file line\n")
    (func (export "_initialize"))
    (func (export "samebit_init") (result i32)
        (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 1)
            (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 32))
        (i32.add (i32.const 1)))
    (func $put (param $fd i32) (param $len i32)
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (local.get $len))
        (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "samebit_step") (param i64) (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (global.set $f (f64.sqrt (global.get $f)))
        (i32.store (i32.shl (global.get $n) (i32.const 13)) (global.get $n))
        (call $put (i32.const 1) (i32.const 10))
        (call $put (i32.load (i32.const 32)) (i32.const 5000))
        (i32.lt_u (global.get $n) (i32.const 6)))
    (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

struct Nothing;

impl Content for Nothing {
    fn read(&self, _: &BlobRef) -> Result<Arc<[u8]>, String> {
        Err("there is none".to_owned())
    }

    fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
        Err("there is none".to_owned())
    }
}

/// An honest run, and what was kept of it.
struct Honest {
    runtime: Runtime,
    program: Program,
    execution: Execution,
    finished: Finished,
    packs: Vec<Vec<u8>>,
}

struct Packing {
    packer: Packer,
    packs: Vec<Vec<u8>>,
}

impl Keep for Packing {
    fn wants(&mut self, _: u32) -> bool {
        true
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        let mut bytes = Vec::new();
        self.packer.pack(checkpoint, &mut bytes).expect("memory takes all");
        self.packs.push(bytes);
        Held::Kept
    }
}

fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(|| {
        let runtime = Runtime::with(EngineKind::Wasmi).expect("the interpreter runs anywhere");
        let program = runtime.load(&wat::parse_str(GUEST).expect("our own text")).expect("admitted");
        let execution = Execution {
            profile: Profile::Samebit1,
            module: program.module().id,
            mounts: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: BlobRef::of(&[]),
            seed: [3; 32],
            unit: 0,
            limits: Limits::default(),
            step_budget: Fuel(100_000_000),
            tensor_ops: TensorOps(0),
        };
        let mut packing = Packing { packer: Packer::new(), packs: Vec::new() };
        let orders = Orders { keep: Some(&mut packing), ..Orders::default() };
        let finished = runtime.run_with(&program, &execution, &Nothing, orders, &mut |_| Flow::Go).expect("an outcome");
        Honest { runtime, program, execution, finished, packs: packing.packs }
    })
}

/// A kind of bytes (0 a pack, 1 a trace, 2 a proof), then the bytes after some accidents. Half of the packs have their
/// manifest sealed again, as somebody would who alters one on purpose.
pub(crate) fn case(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ 0x57a7e);
    let honest = honest();
    let kind = rng.pick(&[0, 0, 0, 1, 2]);
    let mut bytes = match kind {
        0 => honest.packs[rng.index(honest.packs.len())].clone(),
        1 => Trace { receipt: honest.finished.receipt.clone(), roots: honest.finished.history.clone() }.encode(),
        _ => {
            let index = rng.below(honest.finished.history.len() as u64);
            wire::encode(&HistoryProof::open(&honest.finished.history, index).expect("it is that long"))
        }
    };
    let manifest = manifest_end(&bytes).unwrap_or(0);
    for _ in 0..rng.below(5) {
        if bytes.is_empty() {
            break;
        }
        // Where it is read first there is most to be got wrong.
        let within = if kind == 0 && manifest > 0 && !rng.one_in(4) { manifest.min(bytes.len()) } else { bytes.len() };
        let at = rng.index(within);
        match rng.below(5) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 if rng.one_in(4) => bytes.truncate(at),
            2 | 3 => {
                let end = (at + 1 + rng.index(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let len = rng.index(8);
                let more = rng.bytes(len);
                bytes.splice(at..at, more);
            }
        }
    }
    if kind == 0 && rng.one_in(2) {
        // The length as well, so that what was put in or taken out is part of it.
        let len = (bytes.len().min(manifest)).saturating_sub(HEADER) as u64;
        if let Some(place) = bytes.get_mut(16..24) {
            place.copy_from_slice(&len.to_le_bytes());
        }
        if let Some(end) = manifest_end(&bytes)
            && let Some(manifest) = bytes.get(HEADER..end)
        {
            let hash = wire::derive("samebit/v1/pack-manifest", manifest);
            bytes[24..HEADER].copy_from_slice(&hash);
        }
    }
    [&[kind][..], &bytes].concat()
}

/// Bytes of a pack before its manifest.
const HEADER: usize = 56;

fn manifest_end(bytes: &[u8]) -> Option<usize> {
    let len = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
    usize::try_from(len).ok()?.checked_add(HEADER)
}

/// Reads the bytes; what is not refused has to give what an honest run gives.
pub(crate) fn check(case: &[u8]) -> Result<Stats, String> {
    let Some((kind, bytes)) = case.split_first() else { return Ok(Stats::default()) };
    let honest = honest();
    let accepted = match kind {
        0 => pack(honest, bytes)?,
        1 => match Trace::decode(bytes) {
            Ok(trace) if trace.encode() != bytes => return Err("a trace of another form was taken".to_owned()),
            Ok(_) => true,
            Err(_) => false,
        },
        _ => {
            match HistoryProof::decode(bytes).map(|proof| (proof.index, proof.verify(honest.finished.receipt.history)))
            {
                Ok((index, Ok(root))) => {
                    let real = usize::try_from(index).ok().and_then(|index| honest.finished.history.get(index));
                    if real != Some(&root) {
                        return Err(format!("a proof shows {root} at {index}, which is {real:?}"));
                    }
                    true
                }
                _ => false,
            }
        }
    };
    Ok(Stats { modules: u64::from(accepted), ..Stats::default() })
}

fn pack(honest: &Honest, bytes: &[u8]) -> Result<bool, String> {
    let Ok(pack) = Pack::read(bytes.to_vec()) else { return Ok(false) };
    let root = pack.root();
    let mut packs = vec![pack];
    for other in &honest.packs {
        let other = Pack::read(other.clone()).map_err(|error| format!("an honest pack: {error}"))?;
        if other.root() != root {
            packs.push(other);
        }
    }
    let packs = Packs::new(packs);
    for gone in 0..packs.all().len() - 1 {
        // Whatever it is told, merging ends.
        let _ = packs.absorb(gone, gone + 1, &mut std::io::sink());
    }
    let Ok(snapshot) = packs.snapshot(root) else { return Ok(false) };
    let orders = Orders { resume: Some(Arc::new(snapshot)), ..Orders::default() };
    let ran = honest.runtime.run_with(&honest.program, &honest.execution, &Nothing, orders, &mut |_| Flow::Go);
    match ran {
        // stderr is for people and no part of a state's root.
        Ok(finished) if finished.receipt == honest.finished.receipt && finished.files == honest.finished.files => {
            Ok(true)
        }
        Ok(finished) => {
            Err(format!("an altered state led to {:?}, not to {:?}", finished.receipt, honest.finished.receipt))
        }
        Err(HostFault::Snapshot(_)) => Ok(false),
        Err(fault) => Err(format!("an altered state led to: {fault}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_altered_is_refused_and_what_was_not_is_taken() {
        let mut taken = 0;
        for seed in 0..600 {
            taken += check(&case(seed)).unwrap_or_else(|what| panic!("seed {seed}: {what}")).modules;
        }
        // One case in five has no accident at all.
        assert!((60..400).contains(&taken), "{taken} of 600 were taken");
    }
}
