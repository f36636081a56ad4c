//! Cases that are kept: what was once found, and what is worth running every time.

use samebit_differential::{on_big_stack, targets::Target};

fn replay(kind: &str) -> usize {
    let kind = kind.to_owned();
    on_big_stack(move || {
        let mut count = 0;
        for target in Target::ALL {
            for (path, case) in target.kept(&kind) {
                if let Err(what) = target.run(&case) {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let name = target.name();
                    panic!("{what}\nreplay: cargo xtask fuzz {name} --replay tests/fuzz/{kind}/{name}/{file}");
                }
                count += 1;
            }
        }
        count
    })
}

#[test]
fn what_fuzzing_once_broke_holds() {
    println!("{} crash files", replay("crashes"));
}

#[test]
fn the_corpus_holds() {
    let count = replay("corpus");
    assert!(count >= 8, "{count} cases are kept in tests/fuzz/corpus");
}
