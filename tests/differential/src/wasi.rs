//! Hostile calls of preview1: any function with any numbers, on a memory whose every corner has a path, a list of
//! buffers or nonsense in it. A call must end with an errno or stop the guest; one that is refused leaves no trace
//! but the clock; the same calls give the same world; nothing passes the limits.

use crate::{compare::Stats, rng::Rng};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::{Access, Limits, Mount},
    unit::{Bytes, Fuel},
};
use samebit_wasi::{Config, Content, Errno, FUNCTIONS, SliceMemory, Stop, ValType, Wasi, cost};
use std::sync::Arc;

const CALLS: usize = 60;
const MEMORY: usize = 128 << 10;
const INPUT: &[u8] = b"what the input holds";
/// Where lists of buffers are, and where paths are.
const LISTS: u32 = 0x4000;
const PATHS: u32 = 0x6000;
const SLOT: u32 = 64;
/// Any part of one is a path that means something.
const TEXTS: [&str; 10] = [
    "a/b/a/b/../b/./a//b/",
    "../../a",
    "/a/b",
    "l/l/l/l/l/l/l/",
    "d/d/d/d/d/d",
    "deep/file",
    "s\0s",
    "\u{fffd}\u{fffd}",
    "",
    ".",
];

struct Given;

impl Content for Given {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if *blob == BlobRef::of(INPUT) { Ok(INPUT.into()) } else { Err("nothing else is mounted".to_owned()) }
    }

    fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
        Err("trees are given".to_owned())
    }
}

/// A world and its memory.
#[derive(Clone)]
struct Guest {
    wasi: Wasi,
    memory: Vec<u8>,
    fuel: u64,
}

fn limits() -> Limits {
    Limits { files: Bytes(64 << 10), stdout: Bytes(4 << 10), inodes: 24, ..Limits::default() }
}

impl Guest {
    fn new(seed: u64) -> Result<Self, String> {
        let file = |path: &str| TreeFile { path: path.to_owned(), blob: BlobRef::of(INPUT) };
        let tree = Tree::new(["a", "d/d/a", "deep/file"].map(file).to_vec()).map_err(|error| error.to_string())?;
        let mount = |path: &str, access| (Mount { path: path.to_owned(), tree: tree.tree_ref(), access }, tree.clone());
        let wasi = Wasi::new(Config {
            args: vec!["guest".to_owned(), "ä".repeat(40)],
            env: vec![("NAME".to_owned(), "value".to_owned())],
            stdin: BlobRef::of(INPUT),
            seed: [u8::try_from(seed & 0xff).unwrap_or(0); 32],
            unit: 0,
            mounts: vec![mount(abi::INPUT_DIR, Access::ReadOnly), mount("/data", Access::CopyOnWrite)],
            limits: limits(),
            stderr_kept: 64,
        });
        let mut rng = Rng::new(seed ^ 0xf11e);
        let mut memory = vec![0; MEMORY];
        for (index, place) in memory[LISTS as usize..][..0x1000].chunks_mut(8).enumerate() {
            let sound = (0x8000 + u32::try_from(index).unwrap_or(0) * 16, u32::try_from(rng.below(40)).unwrap_or(0));
            let (at, len) = match rng.below(12) {
                // Over the list itself, out of memory, up to the last address, and past it.
                0 => (LISTS, 64),
                1 => (0xffff_fff0, 0xffff_ffff),
                2 => (1, 0xffff_ffff),
                3 => (u32::try_from(MEMORY).unwrap_or(0) - 1, 1),
                4 => (0, u32::try_from(MEMORY).unwrap_or(0)),
                _ => sound,
            };
            place[..4].copy_from_slice(&at.to_le_bytes());
            place[4..].copy_from_slice(&len.to_le_bytes());
        }
        for (index, text) in TEXTS.iter().enumerate() {
            let at = PATHS as usize + index * SLOT as usize;
            memory[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        memory[0x7000..0x7100].copy_from_slice(&rng.bytes(0x100));
        Ok(Self { wasi, memory, fuel: 0 })
    }

    fn call(&mut self, function: usize, args: &[u64]) -> Result<Errno, Stop> {
        let call = FUNCTIONS[function].call;
        let price = self.wasi.cost(call, args, &SliceMemory(&mut self.memory)).0;
        self.fuel = self.fuel.saturating_add(price.max(cost::CALL));
        self.wasi.call(call, args, &mut SliceMemory(&mut self.memory), &Given, Fuel(self.fuel))
    }

    /// The root once the clock has been brought to one late moment.
    fn settled(&self) -> [u8; 32] {
        let mut wasi = self.wasi.clone();
        let late = Fuel(u64::MAX);
        // It cannot be refused, and has no other effect.
        let _ = wasi.call(samebit_wasi::Call::SchedYield, &[], &mut SliceMemory(&mut []), &Given, late);
        wasi.root()
    }

    fn within_limits(&self) -> Result<(), String> {
        let files = self.wasi.output_files(&Given)?;
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let limits = limits();
        if bytes > limits.files.0 {
            return Err(format!("{bytes} bytes of output"));
        }
        if files.len() > limits.inodes as usize {
            return Err(format!("{} files of output", files.len()));
        }
        let stdout = self.wasi.stdout().len();
        if stdout as u64 > limits.stdout.0 { Err(format!("{stdout} bytes of stdout")) } else { Ok(()) }
    }
}

/// A 32-bit argument of any kind.
fn word(rng: &mut Rng) -> u64 {
    match rng.below(16) {
        0..=4 => rng.below(9),
        5 | 6 => u64::from(PATHS) + rng.below(TEXTS.len() as u64) * u64::from(SLOT) + rng.below(2),
        7 | 8 => u64::from(LISTS) + rng.below(0x1000),
        9 | 10 => 1 + rng.below(24),
        11 => 0x7000 + rng.below(0x200),
        12 => MEMORY as u64 - rng.below(70),
        13 => 0xffff_ffff - rng.below(70),
        14 => rng.next_u64() & 0xffff_ffff,
        _ => 0x1_0000,
    }
}

/// A 64-bit one: rights, offsets, lengths, times.
fn long(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 | 1 => 0x0fff_ffff,
        2 => rng.below(100),
        3 => 0x08e0_01ff,
        4 => u64::MAX - rng.below(100),
        5 => (1 << 63) - rng.below(3) + rng.below(3),
        6 => 1 << rng.below(64),
        _ => rng.next_u64(),
    }
}

/// Arguments that are likely to mean something for calls with a path, and any for the others.
fn arguments(rng: &mut Rng, function: usize) -> Vec<u64> {
    let function = &FUNCTIONS[function];
    let mut args: Vec<u64> =
        function.params.iter().map(|ty| if *ty == ValType::I32 { word(rng) } else { long(rng) }).collect();
    let (fds, paths): (&[usize], &[usize]) = match function.name {
        "path_open" | "path_filestat_get" | "path_filestat_set_times" => (&[0], &[2]),
        "path_link" => (&[0, 4], &[2, 5]),
        "path_rename" => (&[0, 3], &[1, 4]),
        "path_symlink" => (&[2], &[0, 3]),
        name if name.starts_with("path_") => (&[0], &[1]),
        _ => (&[], &[]),
    };
    if !rng.one_in(6) {
        for at in fds {
            args[*at] = 3 + rng.below(6);
        }
        for at in paths {
            args[*at] = u64::from(PATHS) + rng.below(TEXTS.len() as u64) * u64::from(SLOT);
            args[*at + 1] = 1 + rng.below(20);
        }
        if function.name == "path_open" {
            (args[1], args[4], args[7], args[8]) = (rng.below(2), rng.below(16), rng.below(3), 0x1_0000);
        }
    }
    args
}

/// Runs the world of a seed.
///
/// # Errors
/// What does not hold.
pub fn check(seed: u64) -> Result<Stats, String> {
    let mut rng = Rng::new(seed);
    let (mut guest, mut twin) = (Guest::new(seed)?, Guest::new(seed)?);
    let mut stats = Stats { modules: 1, ..Stats::default() };
    for _ in 0..CALLS {
        let function = rng.index(FUNCTIONS.len());
        let function = if rng.one_in(3) { path_open() } else { function };
        let args = arguments(&mut rng, function);
        let name = FUNCTIONS[function].name;
        let before = guest.settled();
        let ended = guest.call(function, &args);
        stats.host_calls += 1;
        if twin.call(function, &args) != ended {
            return Err(format!("{name} {args:x?} ended otherwise the second time"));
        }
        match ended {
            Ok(Errno::Success) => stats.returned += 1,
            Ok(errno) if guest.settled() != before => return Err(format!("{name} {args:x?}: {errno:?} left a trace")),
            Ok(_) => {}
            Err(Stop::Exit(_)) => continue,
            Err(Stop::HostFault(reason)) => return Err(format!("{name} {args:x?}: {reason}")),
        }
    }
    if (guest.wasi.root(), &guest.memory) != (twin.wasi.root(), &twin.memory) {
        return Err("two worlds of the same calls differ".to_owned());
    }
    guest.within_limits().map(|()| stats)
}

fn path_open() -> usize {
    samebit_wasi::Call::PathOpen as usize
}
