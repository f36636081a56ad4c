//! The adapters that tests run on.
#![allow(dead_code, reason = "each file of tests uses a part")]

use samebit_gpu::{Adapter, Gpu, Options, adapters};
use std::{fs, path::PathBuf};

/// Every adapter of this machine. None: said aloud, and a failure where one has to be.
pub(crate) fn present() -> Vec<Adapter> {
    let found = adapters();
    if found.is_empty() {
        let must = ["CI", "SAMEBIT_REQUIRE_GPU"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!must, "no adapter, and in CI there has to be one: `.ci/run` installs mesa-vulkan-drivers");
        println!("LEFT OUT: no adapter on this machine, so nothing ran on one (Debian: mesa-vulkan-drivers)");
    }
    found
}

/// An adapter that has passed the gate, which is kept for the other tests: each is a process of its own.
pub(crate) fn open(adapter: &Adapter, options: Options) -> Gpu {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gates");
    fs::create_dir_all(&folder).expect("the folder of kept gates");
    let lock = fs::File::create(folder.join("lock")).expect("a lock beside the gates");
    lock.lock().expect("a lock is granted");
    let gpu = Gpu::open(adapter, Options { gate_folder: Some(folder), ..options }).expect("an adapter opens");
    assert!(gpu.report().refused.is_empty(), "{:#?}", gpu.report());
    gpu
}
