//! Corners of Rust's lexical rules. Nothing here is `unsafe` but what says so.
#![allow(dead_code)]

mod deep;

/* A block comment /* with another one in it, unsafe */

   and an empty line above. */
pub fn strings() -> [&'static str; 5] {
    [
        "unsafe // not a comment",
        "a quote \" and unsafe",
        r"C:\unsafe\",
        r#"raw "unsafe" /* no comment */"#,
        "two lines,

the second unsafe",
    ]
}

pub fn characters<'a>(text: &'a str) -> usize {
    let quote = '"'; // '"' again, unsafe
    let tick = '\'';
    let smile = '\u{1F600}';
    'outer: for (at, next) in text.char_indices() {
        if next == quote || next == tick || next == smile || next == 'é' {
            break 'outer;
        }
        if at > 10 {
            return at;
        }
    }
    0
}

pub fn r#unsafe(byte: *const u8) -> u8 {
    // SAFETY: none, this is a corner.
    unsafe { *byte }
}
