//! Runs small tasks on the interpreter, as the contract of a rewritten module says.
#![allow(dead_code, reason = "each test file uses a part")]

use samebit_rewrite::{EXPORT_START, prepare};
use wasmi::{Config, Engine, Error, Instance, Linker, Module, Store, Val};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Returned,
    Trapped,
    Uncaught,
}

/// What a run did.
pub(crate) struct Found {
    pub(crate) ended: Ended,
    /// The numbers that the program wrote from address 0 on; its first mutable global counts them.
    pub(crate) trace: Vec<i32>,
}

pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Fuel of a run: more than any of these programs needs.
const FUEL: i64 = 1 << 40;

/// Prepares a command and runs it.
pub(crate) fn run(bytes: &[u8]) -> Found {
    let executable = prepare(bytes).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut config = Config::default();
    config.wasm_multi_memory(true).set_max_recursion_depth(1 << 20);
    config.set_max_stack_height(64 << 20);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, &executable.bytes).unwrap_or_else(|error| panic!("{error}"));
    let mut store = Store::new(&engine, ());
    let instance =
        Linker::new(&engine).instantiate_and_start(&mut store, &module).unwrap_or_else(|error| panic!("{error}"));
    set(&mut store, instance, samebit_rewrite::EXPORT_FUEL, Val::I64(FUEL));
    set(&mut store, instance, samebit_rewrite::EXPORT_PAGES, Val::I32(16));
    let mut result = Ok(());
    for name in [EXPORT_START, "_start"] {
        if let (Ok(()), Some(function)) = (&result, instance.get_func(&store, name)) {
            result = function.call(&mut store, &[], &mut []);
        }
    }
    let halt = number(&store, instance, samebit_rewrite::EXPORT_HALT);
    let said = number(&store, instance, &samebit_rewrite::global_export(0));
    let memory = instance.get_memory(&store, "memory").expect("memory").data(&store);
    let trace = memory
        .chunks_exact(4)
        .take(usize::try_from(said).expect("a count"))
        .map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")))
        .collect();
    Found { ended: ended(&result, halt), trace }
}

fn ended(result: &Result<(), Error>, halt: i32) -> Ended {
    match (result, halt) {
        (Ok(()), 0) => Ended::Returned,
        (Err(_), 0) => Ended::Trapped,
        (Err(_), 5) => Ended::Uncaught,
        (result, halt) => panic!("halt {halt}: {result:?}"),
    }
}

fn set(store: &mut Store<()>, instance: Instance, name: &str, value: Val) {
    let global = instance.get_global(&*store, name).unwrap_or_else(|| panic!("no global {name}"));
    global.set(&mut *store, value).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn number(store: &Store<()>, instance: Instance, name: &str) -> i32 {
    match instance.get_global(store, name).map(|global| global.get(store)) {
        Some(Val::I32(value)) => value,
        other => panic!("{name}: {other:?}"),
    }
}
