//! Virtual files beside real ones: `cargo xtask bench files`.
//!
//! The same commands run here, in the sandbox that hosts use, and on the stock runner: wasmtime of the same line with
//! its own WASI on a folder of memory, from the Python package index. Each is timed by its process's processor time, the
//! least of some runs, once with its loop and once without; a figure is the difference. A ratio is the stock runner's
//! time over ours: above 1 we are faster. Where the stock runner cannot be had the figures stand without a ratio.

use crate::{
    clock::process_ms,
    options::target,
    report::{self, Peer},
};
use samebit_runtime::{Content, Flow, Program, Runtime};
use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::{Access, Execution, Limits, Mount, Outcome, Profile, TensorOps},
    unit::{Bytes, Fuel},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

const VERSION: &str = "48.0.0";
const RUNS: usize = 3;
const NAMES: usize = 10_000;
const LARGE: usize = 64 << 20;
const MIB: usize = 1 << 20;

/// A command: what it does once and `count` times.
struct Case {
    name: &'static str,
    what: &'static str,
    count: usize,
    /// Its text with `COUNT` in it.
    guest: String,
}

/// Opens `path` of `dir` as `$fd` before the loop, which runs `COUNT` times with `$i` from 0.
fn guest(dir: u32, path: &str, oflags: u32, rights: u64, prepare: &str, each: &str) -> String {
    let len = path.len();
    format!(
        r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_pread" (func $fd_pread (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
    (memory (export "memory") 64)
    (data (i32.const 0) "{path}")
    (func $good (param i32) (if (local.get 0) (then unreachable)))
    (func $open (param $dir i32) (param $at i32) (param $len i32) (param $oflags i32) (param $rights i64) (result i32)
        (call $good (call $path_open (local.get $dir) (i32.const 0) (local.get $at) (local.get $len)
            (local.get $oflags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 128)))
        (i32.load (i32.const 128)))
    ;; A list of one buffer at 64, of `len` bytes at 1 MiB.
    (func $buffer (param $len i32)
        (i32.store (i32.const 64) (i32.const 0x100000))
        (i32.store (i32.const 68) (local.get $len)))
    (func (export "_start") (local $fd i32) (local $i i32) (local $cookie i64) (local $at i32) (local $end i32)
        (local.set $fd (call $open (i32.const {dir}) (i32.const 0) (i32.const {len}) (i32.const {oflags})
            (i64.const {rights})))
        {prepare}
        (block $done (loop $more
            (br_if $done (i32.ge_u (local.get $i) (i32.const COUNT)))
            {each}
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $more)))))"#
    )
}

/// Moves `len` bytes at ever new places of a file of 64 MiB, in as many calls as the runner needs.
fn moving(call: &str, len: usize) -> String {
    format!(
        "(local.set $at (i32.const 0))
        (loop $rest
            (call $buffer (i32.sub (i32.const {len}) (local.get $at)))
            (call $good (call ${call} (local.get $fd) (i32.const 64) (i32.const 1)
                (i64.extend_i32_u (i32.add (local.get $at)
                    (i32.and (i32.mul (local.get $i) (i32.const {len})) (i32.const {}))))
                (i32.const 136)))
            (if (i32.eqz (i32.load (i32.const 136))) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.load (i32.const 136))))
            (br_if $rest (i32.lt_u (local.get $at) (i32.const {len}))))",
        LARGE - 1
    )
}

fn cases() -> Vec<Case> {
    const READ: u64 = 6;
    const BOTH: u64 = 6 | 1 << 6;
    let (given, out) = (3, 4);
    // Makes the file whole first, so that reads find bytes and writes find room.
    let filled = format!(
        "(call $buffer (i32.const {MIB}))
        (memory.fill (i32.const 0x100000) (i32.const 7) (i32.const {MIB}))
        (loop $fill
            (call $good (call $fd_pwrite (local.get $fd) (i32.const 64) (i32.const 1)
                (i64.extend_i32_u (local.get $at)) (i32.const 136)))
            (local.set $at (i32.add (local.get $at) (i32.const {MIB})))
            (br_if $fill (i32.lt_u (local.get $at) (i32.const {LARGE}))))"
    );
    let sized = |len: usize| format!("{filled} (call $buffer (i32.const {len}))");
    let listing = "(local.set $cookie (i64.const 0))
        (loop $page
            (call $good (call $fd_readdir (local.get $fd) (i32.const 0x100000) (i32.const 65536) (local.get $cookie)
                (i32.const 136)))
            (local.set $at (i32.const 0x100000))
            (local.set $end (i32.add (local.get $at) (i32.load (i32.const 136))))
            (block $cut (loop $entry
                (br_if $cut (i32.gt_u (i32.add (local.get $at) (i32.const 24)) (local.get $end)))
                (local.set $cookie (i64.load (local.get $at)))
                (local.set $at (i32.add (i32.add (local.get $at) (i32.const 24))
                    (i32.load offset=16 (local.get $at))))
                (br $entry)))
            (br_if $page (i32.eq (i32.load (i32.const 136)) (i32.const 65536))))";
    // `names/f00000` and so on: five digits at 39.
    let opening = "(i64.store (i32.const 32) (i64.load (i32.const 0)))
        (i32.store8 (i32.const 37) (i32.const 0x2f))
        (i32.store8 (i32.const 38) (i32.const 0x66))
        (local.set $end (i32.rem_u (local.get $i) (i32.const 10000)))
        (local.set $at (i32.const 43))
        (loop $digit
            (i32.store8 (local.get $at) (i32.add (i32.const 0x30) (i32.rem_u (local.get $end) (i32.const 10))))
            (local.set $end (i32.div_u (local.get $end) (i32.const 10)))
            (local.set $at (i32.sub (local.get $at) (i32.const 1)))
            (br_if $digit (i32.gt_u (local.get $at) (i32.const 38))))
        (call $good (call $fd_close (call $open (i32.const 3) (i32.const 32) (i32.const 12) (i32.const 0)
            (i64.const 2))))";
    let case = |name, what, count, guest| Case { name, what, count, guest };
    let small = 4096;
    vec![
        case(
            "write.1MiB",
            "1 MiB calls to a file of 64 MiB",
            256,
            guest(out, "f", 1, BOTH, &sized(MIB), &moving("fd_pwrite", MIB)),
        ),
        case(
            "write.4KiB",
            "4 KiB calls to a file of 64 MiB",
            65_536,
            guest(out, "f", 1, BOTH, &sized(small), &moving("fd_pwrite", small)),
        ),
        case(
            "read.1MiB",
            "1 MiB calls, a file the guest wrote",
            256,
            guest(out, "f", 1, BOTH, &sized(MIB), &moving("fd_pread", MIB)),
        ),
        case(
            "read.4KiB",
            "4 KiB calls, a file the guest wrote",
            65_536,
            guest(out, "f", 1, BOTH, &sized(small), &moving("fd_pread", small)),
        ),
        case(
            "input.1MiB",
            "1 MiB calls, a mounted file of 64 MiB",
            256,
            guest(given, "large", 0, READ, &format!("(call $buffer (i32.const {MIB}))"), &moving("fd_pread", MIB)),
        ),
        case(
            "input.4KiB",
            "4 KiB calls, a mounted file of 64 MiB",
            65_536,
            guest(given, "large", 0, READ, &format!("(call $buffer (i32.const {small}))"), &moving("fd_pread", small)),
        ),
        case(
            "readdir",
            // The stock runner looks at the whole folder again for each page: at 4 KiB it takes minutes.
            "a whole listing of 10000 names, 64 KiB at a time",
            1,
            guest(given, "names", 2, 1 << 14, "", listing),
        ),
        case(
            "open",
            "open and close of one of 10000 files by name",
            100_000,
            guest(given, "names", 2, 1 << 14, "", opening),
        ),
    ]
}

/// The mounted files.
struct Given {
    blobs: BTreeMap<BlobRef, Arc<[u8]>>,
    tree: Tree,
}

impl Given {
    fn new() -> Result<Self, String> {
        let contents: Vec<(String, Vec<u8>)> = (0..NAMES)
            .map(|number| (format!("names/f{number:05}"), format!("{number}").into_bytes()))
            .chain([("large".to_owned(), vec![5; LARGE])])
            .collect();
        let mut files: Vec<TreeFile> =
            contents.iter().map(|(path, bytes)| TreeFile { path: path.clone(), blob: BlobRef::of(bytes) }).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let blobs = contents.into_iter().map(|(_, bytes)| (BlobRef::of(&bytes), Arc::from(bytes))).collect();
        Ok(Self { blobs, tree: Tree::new(files).map_err(|error| error.to_string())? })
    }

    /// The same on a disk of memory.
    fn lay_out(&self, folder: &Path) -> Result<(), String> {
        for file in self.tree.files() {
            let at = folder.join("in").join(&file.path);
            let bytes = self.blobs.get(&file.blob).ok_or("a file without bytes")?;
            fs::create_dir_all(at.parent().unwrap_or(folder))
                .and_then(|()| fs::write(&at, bytes))
                .map_err(|error| format!("{}: {error}", at.display()))?;
        }
        Ok(())
    }
}

impl Content for Given {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        if blob.len == Bytes::ZERO {
            return Ok(Arc::from([]));
        }
        self.blobs.get(blob).cloned().ok_or_else(|| format!("{} is missing", blob.id))
    }

    fn piece(&self, blob: &BlobRef, index: u64) -> Result<Option<Arc<[u8]>>, String> {
        let piece = usize::try_from(samebit_runtime::PIECE).map_err(|error| error.to_string())?;
        let start = usize::try_from(index).map_err(|error| error.to_string())? * piece;
        let bytes = self.blobs.get(blob).ok_or_else(|| format!("{} is missing", blob.id))?;
        Ok(Some(bytes[start..bytes.len().min(start + piece)].into()))
    }

    fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
        Ok(self.tree.clone())
    }
}

fn execution(program: &Program, given: &Given) -> Execution {
    let fuel = Fuel(1_000_000_000_000);
    Execution {
        profile: Profile::Samebit1,
        module: program.module().id,
        mounts: vec![Mount { path: abi::INPUT_DIR.to_owned(), tree: given.tree.tree_ref(), access: Access::ReadOnly }],
        args: vec!["bench".to_owned()],
        env: Vec::new(),
        stdin: BlobRef::of(&[]),
        seed: [0; 32],
        unit: 0,
        limits: Limits { fuel, ..Limits::default() },
        step_budget: fuel,
        tensor_ops: TensorOps(0),
    }
}

/// The least milliseconds of a command here.
fn ours(runtime: &Runtime, text: &str, given: &Given) -> Result<f64, String> {
    let bytes = wat::parse_str(text).map_err(|error| error.to_string())?;
    let program = runtime.load(&bytes).map_err(|error| error.to_string())?;
    let execution = execution(&program, given);
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let begun = process_ms();
        let ended = runtime.run(&program, &execution, given, &mut |_| Flow::Go).map_err(|fault| fault.to_string())?;
        least = least.min(process_ms() - begun);
        if ended.receipt.outcome != (Outcome::Exited { code: 0 }) {
            return Err(format!("the guest ended as {:?}", ended.receipt.outcome));
        }
    }
    Ok(least)
}

/// The folder with the stock runner, fetched once.
fn fetch() -> Result<PathBuf, String> {
    let kept = target().join("bench").join(format!("wasmtime-{VERSION}"));
    if kept.join("wasmtime").is_dir() {
        return Ok(kept);
    }
    fs::create_dir_all(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    let wanted = format!("wasmtime=={VERSION}");
    let folder = kept.display().to_string();
    python(&["-m", "pip", "install", "--quiet", "--no-deps", "--target", &folder, &wanted], None)?;
    Ok(kept)
}

fn python(args: &[&str], path: Option<&Path>) -> Result<String, String> {
    let mut command = Command::new("python3");
    command.args(args);
    if let Some(path) = path {
        command.env("PYTHONPATH", path);
    }
    let output = command.output().map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Guests, written out, on the stock runner.
struct Stock {
    package: PathBuf,
    folder: PathBuf,
}

impl Stock {
    fn new(given: &Given) -> Result<Self, String> {
        let package = fetch()?;
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = base.join(format!("samebit-bench-{}", std::process::id()));
        given.lay_out(&folder)?;
        fs::write(folder.join("peer.py"), include_str!("files/peer.py")).map_err(|error| error.to_string())?;
        Ok(Self { package, folder })
    }

    fn times(&self, guests: &[String]) -> Result<Vec<f64>, String> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut args = vec![at("peer.py"), self.folder.display().to_string(), RUNS.to_string()];
        for (index, guest) in guests.iter().enumerate() {
            let path = at(&format!("{index}.wat"));
            fs::write(&path, guest).map_err(|error| format!("{path}: {error}"))?;
            args.push(path);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let printed = python(&args, Some(&self.package))?;
        printed.lines().map(|line| line.parse().map_err(|_| format!("{line:?} is no time"))).collect()
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        // Ours alone: the name has this process's number.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Measures and reports: all cases, or those that `--only NAME,NAME` names; `-o json` prints objects.
pub(crate) fn measure(args: &[String]) -> Result<(), String> {
    let (mut json, mut only) = (false, Vec::new());
    for pair in args.chunks(2) {
        match pair.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["-o", "json"] => json = true,
            ["--only", names] => only = names.split(',').collect(),
            _ => {
                return Err(format!("usage: samebit-bench files [-o json] [--only NAME,NAME], not {}", pair.join(" ")));
            }
        }
    }
    let given = Given::new()?;
    let runtime = Runtime::new().map_err(|fault| fault.to_string())?;
    let stock =
        Stock::new(&given).map_err(|reason| eprintln!("LEFT OUT: the stock runner cannot be had: {reason}")).ok();
    let mut report = report::Report::new();
    for case in cases().into_iter().filter(|case| only.is_empty() || only.contains(&case.name)) {
        let guests = ["0".to_owned(), case.count.to_string()].map(|count| case.guest.replace("COUNT", &count));
        let mut mine = [0.0; 2];
        for (time, guest) in mine.iter_mut().zip(&guests) {
            *time = ours(&runtime, guest, &given).map_err(|reason| format!("{}: {reason}", case.name))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let each = |times: &[f64]| (times[1] - times[0]) * 1e3 / case.count as f64;
        let peer = match &stock {
            Some(stock) => Some(each(&stock.times(&guests).map_err(|reason| format!("{}: {reason}", case.name))?)),
            None => None,
        };
        let us = each(&mine);
        let ratio = peer.map(|peer| Peer { name: "wasmtime's own WASI on tmpfs, same run", ratio: peer / us });
        if !json {
            let shown = peer.map_or_else(String::new, |peer| format!(", stock {peer:.3} us, ratio {:.2}", peer / us));
            println!("{:12} {us:.3} us{shown}    {}", case.name, case.what);
        }
        report.add(format!("files.{}", case.name), us, "us", ratio, RUNS, case.what);
    }
    report.write(if only.is_empty() { "files" } else { "files-part" }, json)
}
