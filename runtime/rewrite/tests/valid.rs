//! What the rewriter writes is valid WebAssembly of the profile and one further memory, whatever it was made of.

use samebit_rewrite::{Nan, Settings, prepare_library};
use wasmparser::{Validator, WasmFeatures};

fn valid(text: &str) {
    let module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let features = WasmFeatures::WASM2 | WasmFeatures::EXTENDED_CONST | WasmFeatures::MULTI_MEMORY;
    for nan in [Nan::Keep, Nan::Eager, Nan::Lazy] {
        for (meter, stack) in [(true, true), (true, false), (false, false)] {
            let settings = Settings { nan, meter, stack, ..Settings::PROFILE };
            let rewritten = prepare_library(&module, &settings).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"));
            Validator::new_with_features(features).validate_all(&rewritten.bytes).unwrap_or_else(|error| {
                panic!("{settings:?}: {error}\n{text}\n{}", wasmprinter(&rewritten.bytes));
            });
        }
    }
}

/// The bytes, for whoever reads the failure with a disassembler.
fn wasmprinter(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_form_of_control_stays_valid() {
    let bodies = [
        "(func (export \"f\") (param i32) (result i32) local.get 0)",
        "(func (export \"f\") (param i32) (result i32) (return (local.get 0)))",
        "(func (export \"f\") (param i32) (result i32) (if (local.get 0) (then (return (i32.const 1)))) i32.const 2)",
        "(func (export \"f\") (param i32) (result i32) (br_if 0 (i32.const 7) (local.get 0)) drop i32.const 2)",
        "(func (export \"f\") (param i32) (result i32 i64) (br_if 0 (i32.const 7) (i64.const 3) (local.get 0)))",
        "(func (export \"f\") (param i32) (result i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) local.get 0)",
        "(func (export \"f\") (param i32) (result i32) (block (block (br_table 0 1 0 (local.get 0)))) i32.const 1)",
        "(func (export \"f\") (param i32) (result i32) (block (br_table 1 1 1 (i32.const 5) (local.get 0))) i32.const 1)",
        "(func (export \"f\") (param i32) (result i32) (local f64 v128 i64) (if (result i32) (local.get 0) (then i32.const 1) (else unreachable)))",
        "(func (export \"f\") (param f32 f64) (result f32) (f32.add (local.get 0) (f32.demote_f64 (f64.sqrt (local.get 1)))))",
        "(func (export \"f\") (param v128) (result v128) (f64x2.add (f32x4.mul (local.get 0) (local.get 0)) (local.get 0)))",
        "(func (export \"f\") unreachable (i32.add) drop (block (result i64) (br 1)) drop)",
        "(func $f (export \"f\") (param i32) (result i32) (if (result i32) (local.get 0) (then (call $f (i32.const 0))) (else (i32.const 1))))",
    ];
    for body in bodies {
        valid(&format!("(module {body})"));
    }
}

#[test]
fn imports_tables_memories_globals_and_starts_stay_valid() {
    valid(
        r#"(module
            (import "env" "give" (func $give (param i32 f64) (result i64)))
            (import "env" "take" (func $take))
            (type $t (func (param i32) (result i32)))
            (memory (export "memory") 1 4)
            (global $g (mut i32) (i32.const 1)) (global $h (export "h") f32 (f32.const 2))
            (table 6 funcref) (elem (i32.const 0) $give $take $flat $f $main)
            (func $flat (type $t) (i32.add (local.get 0) (i32.const 1)))
            (func $f (type $t) (call_indirect (type $t) (call $flat (local.get 0)) (global.get $g)))
            (func $main (export "main") (export "other")
                (drop (call $give (i32.const 1) (f64.const 2))) (call $take)
                (memory.copy (i32.const 0) (i32.const 8) (i32.const 8))
                (memory.fill (i32.const 0) (i32.const 8) (global.get $g))
                (drop (memory.grow (i32.const 1)))
                (global.set $g (call $f (i32.const 3))))
            (start $main) (data (i32.const 4) "abc"))"#,
    );
    valid(r#"(module (import "env" "take" (func $take)) (export "again" (func $take)) (start $take))"#);
    valid("(module)");
}
