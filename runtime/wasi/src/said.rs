//! What a guest says of its progress: a line on stderr of a form of its own (`spec/06-wasi.md`, section 6.6).
//!
//! It is for people alone. It is no part of stderr, of a root or of an outcome, and what has not its form is stderr like
//! any other.

use crate::{GuestMemory, Halt, layout::Iovecs};
use samebit_spec::abi;

/// How far a guest says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of what it has to do, in a unit of its own: what is done.
    pub done: u64,
    /// All that there is to do. 0: it does not know.
    pub total: u64,
    /// What it is doing: no control characters, at most [`abi::PROGRESS_TEXT_MAX`] bytes.
    pub text: String,
}

impl Said {
    /// What a write to stderr says, if it is of the form.
    pub(crate) fn of(buffers: &Iovecs, memory: &dyn GuestMemory) -> Result<Option<Self>, Halt> {
        // Two numbers of 20 digits, two spaces and the newline.
        let most = abi::PROGRESS_MARK.len() + abi::PROGRESS_TEXT_MAX + 43;
        if buffers.total as usize > most || (buffers.total as usize) < abi::PROGRESS_MARK.len() {
            return Ok(None);
        }
        let mut line = Vec::with_capacity(buffers.total as usize);
        buffers.pieces(memory, |piece| line.extend_from_slice(piece))?;
        Ok(Self::parse(&line))
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = line.strip_prefix(abi::PROGRESS_MARK)?.strip_suffix(b"\n")?;
        let mut words = str::from_utf8(line).ok()?.splitn(3, ' ');
        let mut number = || {
            let word = words.next()?;
            let digits = word.bytes().all(|byte| byte.is_ascii_digit());
            if digits { word.parse().ok() } else { None }
        };
        let (done, total) = (number()?, number()?);
        let text = words.next()?;
        let fits = text.len() <= abi::PROGRESS_TEXT_MAX && !text.chars().any(char::is_control);
        fits.then(|| Self { done, total, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_form_is_progress_and_any_other_is_not() {
        let line = |text: &str| [abi::PROGRESS_MARK, text.as_bytes()].concat();
        let said = |done, total, text: &str| Some(Said { done, total, text: text.into() });
        assert_eq!(Said::parse(&line("3 10 rows of the picture\n")), said(3, 10, "rows of the picture"));
        assert_eq!(Said::parse(&line("18446744073709551615 0 \n")), said(u64::MAX, 0, ""));
        for other in [
            "3 10 x",
            "3 10\n",
            "-3 10 x\n",
            "+3 10 x\n",
            "18446744073709551616 1 x\n",
            "1 2 a\x1bb\n",
            "1 2 a\nb\n",
            "\n",
        ] {
            assert_eq!(Said::parse(&line(other)), None, "{other:?}");
        }
        assert_eq!(Said::parse(b"3 10 x\n"), None);
        assert_eq!(Said::parse(&line(&format!("1 2 {}\n", "x".repeat(abi::PROGRESS_TEXT_MAX + 1)))), None);
    }
}
