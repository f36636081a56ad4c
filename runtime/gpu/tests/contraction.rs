//! What an optimiser makes of the kernels: protected products stay unfused, and the unprotected one is fused, which shows
//! that the test can fail. Needs no adapter: SPIR-V goes through `spirv-val` and `spirv-opt -O` of spirv-tools.

use samebit_gpu::{Mac, spirv};
use std::{
    fs,
    io::ErrorKind,
    path::Path,
    process::{Command, Output},
};

/// How often instructions of a module are there: products, sums, fused ones.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Counts {
    products: usize,
    sums: usize,
    fused: usize,
}

fn counts(words: &[u32]) -> Counts {
    let mut counts = Counts { products: 0, sums: 0, fused: 0 };
    let mut at = 5;
    while at < words.len() {
        let (len, op) = ((words[at] >> 16) as usize, words[at] & 0xffff);
        match op {
            133 => counts.products += 1,
            129 => counts.sums += 1,
            // OpExtInst with GLSL.std.450's Fma.
            12 if words[at + 4] == 50 => counts.fused += 1,
            _ => {}
        }
        at += len;
    }
    counts
}

fn tool(name: &str, args: &[&Path]) -> Option<Output> {
    let mut command = Command::new(name);
    if name == "spirv-opt" {
        command.args(["--target-env=vulkan1.1", "-O"]).arg(args[0]).arg("-o").arg(args[1]);
    } else {
        command.args(["--target-env", "vulkan1.1"]).args(args);
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let must = ["CI", "SAMEBIT_REQUIRE_GPU"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!must, "{name} is not there, and in CI it has to be: `.ci/run` installs spirv-tools");
            println!("LEFT OUT: {name} is not there, so no kernel was looked at (Debian: spirv-tools)");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// The module after `spirv-opt -O`, and both checked by `spirv-val`.
fn optimised(folder: &Path, name: &str, words: &[u32]) -> Option<Vec<u32>> {
    let (from, to) = (folder.join(format!("{name}.spv")), folder.join(format!("{name}.opt.spv")));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(&from, bytes).expect("a module is written");
    for (program, args) in [("spirv-val", vec![&*from]), ("spirv-opt", vec![&*from, &*to]), ("spirv-val", vec![&*to])] {
        let output = tool(program, &args)?;
        assert!(output.status.success(), "{program} {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let bytes = fs::read(&to).expect("spirv-opt wrote it");
    Some(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

#[test]
fn protected_products_stay_unfused_and_the_unprotected_one_is_fused() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = |mac| spirv::product(mac).expect("our own kernel");
    let Some(plain) = optimised(folder.path(), "plain", &module(Mac::Plain)) else { return };
    let (before, after) = (counts(&module(Mac::Plain)), counts(&plain));
    assert_eq!(before.fused, 0, "{before:?}");
    assert!(after.fused > 0 && after.products < before.products, "nothing was fused: {before:?} {after:?}");
    for mac in Mac::F32 {
        let before = counts(&module(mac));
        let after = counts(&optimised(folder.path(), mac.name(), &module(mac)).expect("the tools are there"));
        let wanted = if mac == Mac::Fma { 4 } else { 0 };
        // Two results along rows and columns: four products and sums in the loop, whatever else the kernel does.
        assert_eq!(after.fused, wanted, "{mac:?}: {before:?} {after:?}");
        assert!(after.sums >= 4 && after.products + after.fused >= 4, "{mac:?}: {after:?}");
    }
}

#[test]
fn no_other_kernel_is_fused_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let kernels = spirv::kernels();
    assert!(kernels.len() > 60, "{}", kernels.len());
    for (name, words) in kernels {
        let words = words.unwrap_or_else(|error| panic!("{name}: {error}"));
        let Some(after) = optimised(folder.path(), &name, &words) else { return };
        assert_eq!(counts(&words).fused, 0, "{name}");
        assert_eq!(counts(&after).fused, 0, "{name}: {:?}", counts(&after));
    }
}
