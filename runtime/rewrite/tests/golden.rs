//! The rewriter is consensus code: these modules become these bytes, on every machine and in every build.
//!
//! A change here is a change of the profile: every executable id of the network changes with it.

use samebit_rewrite::prepare;

#[test]
fn known_modules_have_their_recorded_executable_ids() {
    let recorded = [
        (
            r#"(module (memory (export "memory") 1) (func (export "_start")))"#,
            "exec-ca8201170fea7052348529d22f3d6606bf77ae5aae6c914a8360ad0ea9610d03",
        ),
        (
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 2 17)
                (global $sp (mut i32) (i32.const 65536))
                (global $scale (mut f64) (f64.const 0.5))
                (table 3 funcref) (elem (i32.const 1) $begin $start)
                (data (i32.const 8) "\10\00\00\00\03\00\00\00hi\0a")
                (func $begin (global.set $sp (i32.const 1024)))
                (func $start (export "_start")
                    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
                (start $begin))"#,
            "exec-38a866c2d5339d7a6969882251c615bc2a2f8196c6e1204a8c79476678ae91c2",
        ),
        (
            r#"(module (memory (export "memory") 1)
                (global $n (mut i64) (i64.const 0)) (global $v (mut v128) (v128.const i32x4 1 2 3 4))
                (func (export "_initialize"))
                (func (export "samebit_init") (result i32) i32.const 1)
                (func (export "samebit_step") (param i64) (result i32)
                    (global.set $n (i64.add (global.get $n) (i64.const 1)))
                    (global.set $v (i32x4.add (global.get $v) (i32x4.splat (i32.const 7))))
                    (block (br_if 0 (i64.lt_u (global.get $n) (i64.const 9))) (return (i32.const 0)))
                    (memory.fill (i32.const 0) (i32.const 1) (i32.const 16))
                    i32.const 1)
                (func (export "samebit_finish") (result i32) i32.const 0))"#,
            "exec-997df5b0fffb4a3d258f63d61825ae36416dd6cd6343efe6d52ed742e78a1418",
        ),
    ];
    let id = |text: &str| prepare(&wat::parse_str(text).expect("text")).expect("admitted").id.to_string();
    assert_eq!(recorded.map(|(text, _)| id(text)), recorded.map(|(_, id)| id.to_string()));
}
