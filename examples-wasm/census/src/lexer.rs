//! Just enough of Rust's lexical rules to tell code from comments and strings.
//!
//! It knows nested block comments, strings with escapes, raw strings with any number of `#`, byte and C strings,
//! character literals beside lifetimes, and raw identifiers. It takes any text and never fails: what is not closed
//! ends with the file.

/// What is in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines with code on them.
    pub code: u64,
    /// Lines with comment and no code.
    pub comment: u64,
    /// Lines with neither.
    pub blank: u64,
    /// The keyword `unsafe`.
    pub unsafe_uses: u64,
    /// Whether `forbid(unsafe_code)` is said.
    pub forbids_unsafe: bool,
}

/// Counts lines and uses of `unsafe` in `text`.
///
/// A line with code and comment is code. A line of a string is code, even an empty one; an empty line of a block
/// comment is blank.
#[must_use]
pub fn count(text: &str) -> Counts {
    let mut lexer = Lexer::new(text.to_owned());
    while !lexer.advance(text.len()) {}
    lexer.counts
}

/// What is on the current line so far. Later variants win.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Blank,
    Comment,
    Code,
}

/// A file that is being counted.
pub(crate) struct Lexer {
    text: String,
    /// A character boundary of `text`.
    at: usize,
    line: Line,
    pub(crate) counts: Counts,
    /// Between `forbid` and the end of its list.
    forbidding: bool,
}

impl Lexer {
    pub(crate) fn new(text: String) -> Self {
        let mut lexer = Self { text, at: 0, line: Line::Blank, counts: Counts::default(), forbidding: false };
        // A first line `#!...` that is no attribute is for a shell.
        if lexer.text.starts_with("#!") && !lexer.text[2..].trim_start().starts_with('[') {
            lexer.line_comment();
        }
        lexer
    }

    /// How far it is.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Reads about `bytes` further, to the end of the comment or literal that passes them. Says whether that was
    /// all.
    pub(crate) fn advance(&mut self, bytes: usize) -> bool {
        let end = self.at.saturating_add(bytes);
        while self.at < end
            && let Some(next) = self.peek()
        {
            match next {
                '/' if self.rest().starts_with("//") => self.line_comment(),
                '/' if self.rest().starts_with("/*") => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                _ if is_word(next) => self.word(),
                _ => {
                    if matches!(next, ')' | ']') {
                        self.forbidding = false;
                    }
                    self.bump(Line::Code);
                }
            }
        }
        let is_all = self.at == self.text.len();
        // A last line without a line feed is a line.
        if is_all && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.end_line();
        }
        is_all
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes one character, which counts as `kind` unless it is white space.
    fn bump(&mut self, kind: Line) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        if next == '\n' {
            self.end_line();
        } else if !next.is_whitespace() {
            self.line = self.line.max(kind);
        }
        Some(next)
    }

    /// Takes one character of a literal: the line is code even if it is white space.
    fn bump_literal(&mut self) -> Option<char> {
        self.line = Line::Code;
        self.bump(Line::Code)
    }

    fn end_line(&mut self) {
        match self.line {
            Line::Blank => self.counts.blank += 1,
            Line::Comment => self.counts.comment += 1,
            Line::Code => self.counts.code += 1,
        }
        self.line = Line::Blank;
    }

    fn line_comment(&mut self) {
        while self.peek().is_some_and(|next| next != '\n') {
            self.bump(Line::Comment);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0u64;
        loop {
            if self.rest().starts_with("/*") {
                self.bump(Line::Comment);
                depth += 1;
            } else if self.rest().starts_with("*/") {
                self.bump(Line::Comment);
                depth -= 1;
            }
            if self.bump(Line::Comment).is_none() || depth == 0 {
                return;
            }
        }
    }

    /// A string with escapes, from its opening quote.
    fn string(&mut self) {
        self.bump_literal();
        while let Some(next) = self.bump_literal() {
            match next {
                '"' => return,
                '\\' => {
                    self.bump_literal();
                }
                _ => {}
            }
        }
    }

    /// A raw string, from its first `#` or its quote; `hashes` of them close it.
    fn raw_string(&mut self, hashes: usize) {
        for _ in 0..=hashes {
            self.bump_literal();
        }
        while let Some(next) = self.bump_literal() {
            if next == '"' && self.rest().bytes().take(hashes).filter(|byte| *byte == b'#').count() == hashes {
                for _ in 0..hashes {
                    self.bump_literal();
                }
                return;
            }
        }
    }

    /// A character literal or a lifetime, from its quote.
    fn quote(&mut self) {
        self.bump_literal();
        let mut ahead = self.rest().chars();
        match (ahead.next(), ahead.next()) {
            (Some('\\'), _) => {
                self.bump_literal();
                self.bump_literal();
                // `\u{1F600}` and `\x41` go on to the closing quote, never past the line.
                while let Some(next) = self.peek() {
                    if next == '\n' {
                        return;
                    }
                    self.bump_literal();
                    if next == '\'' {
                        return;
                    }
                }
            }
            (Some(_), Some('\'')) => {
                self.bump_literal();
                self.bump_literal();
            }
            // A lifetime. Its name is no keyword: `'unsafe` is not even legal.
            _ => {
                self.skip_word();
            }
        }
    }

    /// An identifier, a keyword, a number, or the prefix of a literal.
    fn word(&mut self) {
        let start = self.at;
        self.skip_word();
        let word = &self.text[start..self.at];
        let is_plain = word == "r";
        if matches!(word, "r" | "br" | "cr") {
            let hashes = self.rest().bytes().take_while(|byte| *byte == b'#').count();
            let after = self.rest()[hashes..].chars().next();
            if after == Some('"') {
                self.raw_string(hashes);
            } else if hashes == 1 && is_plain && after.is_some_and(is_word) {
                self.bump(Line::Code);
                self.skip_word();
            }
            return;
        }
        match word {
            "unsafe" => self.counts.unsafe_uses += 1,
            "forbid" => self.forbidding = true,
            "unsafe_code" if self.forbidding => self.counts.forbids_unsafe = true,
            _ => {}
        }
    }

    fn skip_word(&mut self) {
        while self.peek().is_some_and(is_word) {
            self.bump(Line::Code);
        }
    }
}

fn is_word(next: char) -> bool {
    next == '_' || next.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks cases of `text` against `code comment blank unsafe`.
    fn check(text: &str, expected: [u64; 4]) {
        let counts = count(text);
        assert_eq!([counts.code, counts.comment, counts.blank, counts.unsafe_uses], expected, "of {text:?}");
    }

    #[test]
    fn lines_are_code_comment_or_blank() {
        check("", [0, 0, 0, 0]);
        check("\n", [0, 0, 1, 0]);
        check("fn f() {}", [1, 0, 0, 0]);
        check("fn f() {} // why\n", [1, 0, 0, 0]);
        check("/// What.\nfn f() {}\r\n\r\n", [1, 1, 1, 0]);
        check("#!/usr/bin/env run \"\nfn f() {}\n", [1, 1, 0, 0]);
        check("#![no_std]\n", [1, 0, 0, 0]);
    }

    #[test]
    fn block_comments_nest() {
        check("/* a /* b */ unsafe\n\n*/ fn f() {}\n", [1, 1, 1, 0]);
        check("/* a /* b */\nunsafe", [0, 2, 0, 0]);
        check("/*/ unsafe */ unsafe {}", [1, 0, 0, 1]);
        check("/**/ unsafe {}", [1, 0, 0, 1]);
    }

    #[test]
    fn unsafe_in_strings_and_comments_is_no_use() {
        check("unsafe { f() } // unsafe\n", [1, 0, 0, 1]);
        check("let s = \"unsafe \\\" unsafe\"; unsafe {}\n", [1, 0, 0, 1]);
        check("let s = r#\"unsafe \" unsafe\"#; unsafe {}\n", [1, 0, 0, 1]);
        check("let s = br##\"unsafe \"# // \"##; unsafe {}\n", [1, 0, 0, 1]);
        check("let s = r\"\\\"; unsafe {}\n", [1, 0, 0, 1]);
        check("let s = c\"unsafe\"; let t = b\"unsafe\";\n", [1, 0, 0, 0]);
        check("fn r#unsafe() { unsafe_code(); not_unsafe(); }\n", [1, 0, 0, 0]);
        check("#[unsafe(no_mangle)]\nunsafe extern \"C\" {}\n", [2, 0, 0, 2]);
    }

    #[test]
    fn a_line_within_a_string_is_code() {
        check("let s = \"a\n\n// b\n\";\n", [4, 0, 0, 0]);
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        check("let c = '\"'; unsafe {} // '\n", [1, 0, 0, 1]);
        check("let c = '\\''; unsafe {}\n", [1, 0, 0, 1]);
        check("let c = b'\\\\'; unsafe {}\n", [1, 0, 0, 1]);
        check("let c = '\\u{1F600}'; unsafe {}\n", [1, 0, 0, 1]);
        check("let c = 'é'; let d = '\u{1F600}'; unsafe {}\n", [1, 0, 0, 1]);
        check("fn f<'a, 'b: 'a>(x: &'a str) { unsafe {} }\n", [1, 0, 0, 1]);
        check("'outer: loop { break 'outer; } // \"\nunsafe {}\n", [2, 0, 0, 1]);
    }

    #[test]
    fn where_a_file_is_interrupted_changes_nothing() {
        let text = include_str!("lexer.rs");
        let whole = count(text);
        assert!(whole.code > 200 && whole.comment > 20 && whole.unsafe_uses == 0, "{whole:?}");
        for bytes in [1, 7, 1_000] {
            let mut lexer = Lexer::new(text.to_owned());
            while !lexer.advance(bytes) {}
            assert_eq!(lexer.counts, whole, "{bytes} at a time");
        }
    }

    #[test]
    fn forbidding_unsafe_code_is_seen_in_its_list() {
        assert!(count("#![forbid(missing_docs, unsafe_code)]").forbids_unsafe);
        assert!(!count("#![deny(unsafe_code)]").forbids_unsafe);
        assert!(!count("// #![forbid(unsafe_code)]").forbids_unsafe);
        assert!(!count("#![forbid(missing_docs)] #![warn(unsafe_code)]").forbids_unsafe);
    }

    #[test]
    fn no_text_makes_it_fail_and_every_line_is_counted_once() {
        let parts = ["\"", "'", "\\", "/*", "*/", "//", "\n", "r#", "r\"", "#", "é", "unsafe", " ", "b'", "\r"];
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(parts[usize::try_from(state >> 40).unwrap() % parts.len()]);
            }
            let counts = count(&text);
            let lines = text.split_inclusive('\n').count() as u64;
            assert_eq!(counts.code + counts.comment + counts.blank, lines, "of {text:?}");
        }
    }
}
