//! How far a task is, for people.

use samebit_spec::abi;
use std::io::Write;

/// Tells whoever watches the run how far it is: `done` of `total` (0: not known), and what is being done. `samebit run`
/// shows the last one. It is part of no output, root or outcome, and costs what a line on stderr costs: call it once a
/// step or so, not for each piece. On a host that does not know it, it is a line on stderr.
///
/// ```
/// samebit_sdk::progress(3, 10, "rows");
/// ```
pub fn progress(done: u64, total: u64, text: &str) {
    // One write, which is what a host takes for one line. What cannot be said is not.
    let _ = std::io::stderr().write_all(&line(done, total, text));
}

fn line(done: u64, total: u64, text: &str) -> Vec<u8> {
    let mut shown = String::new();
    for letter in text.chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if shown.len() + letter.len_utf8() > abi::PROGRESS_TEXT_MAX {
            break;
        }
        shown.push(letter);
    }
    [abi::PROGRESS_MARK, format!("{done} {total} {shown}\n").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_that_hosts_know_whatever_the_text() {
        assert_eq!(line(3, 10, "rows"), b"\x1eprogress 3 10 rows\n");
        assert_eq!(line(0, 0, "a\nb\x1b[31m"), b"\x1eprogress 0 0 a b [31m\n");
        let long = line(1, 2, &"\u{e9}".repeat(300));
        assert_eq!(long.len(), abi::PROGRESS_MARK.len() + 4 + abi::PROGRESS_TEXT_MAX + 1);
    }
}
