//! scratch
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let b = std::fs::read(&a[1]).unwrap();
    let bytes = if a[2] == "orig" {
        b
    } else {
        samebit_rewrite::prepare_library(&b, &{
            let mut s = samebit_rewrite::Settings::PROFILE;
            if a[2].contains('k') {
                s.nan = samebit_rewrite::Nan::Keep;
            }
            if a[2].contains('m') {
                s.meter = false;
            }
            if a[2].contains('s') {
                s.stack = false;
            }
            s
        })
        .unwrap()
        .bytes
    };
    let mut c = wasmtime::Config::new();
    c.wasm_multi_memory(true).wasm_branch_hinting(true).memory_reservation(4 << 30).memory_may_move(false);
    let e = wasmtime::Engine::new(&c).unwrap();
    let m = wasmtime::Module::from_binary(&e, &bytes).unwrap();
    let f: u32 = a[3].parse().unwrap();
    for x in m.functions() {
        if x.index.as_u32() == f {
            println!("{} {}", x.offset, x.len);
            std::fs::write(&a[4], &m.text()[x.offset..x.offset + x.len]).unwrap();
        }
    }
}
