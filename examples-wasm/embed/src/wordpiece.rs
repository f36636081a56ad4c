//! WordPiece as BERT's uncased models were trained with (Devlin et al. 2018; Wu et al. 2016): text is cleaned, accents
//! are dropped, case is folded, words are cut at spaces and punctuation, and each word into the longest pieces that the
//! vocabulary has.

use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Longest word that is cut into pieces, in characters; a longer one is unknown.
const WORD_MAX: usize = 100;

/// A vocabulary.
#[derive(Debug)]
pub struct Vocabulary {
    ids: HashMap<String, i32>,
    unknown: i32,
    first: i32,
    last: i32,
}

/// A vocabulary without one of the tokens that every text needs.
#[derive(Debug, PartialEq, Eq)]
pub struct MissingToken(pub &'static str);

impl std::fmt::Display for MissingToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the vocabulary has no {}", self.0)
    }
}

impl Vocabulary {
    /// Reads one: a token in each line, whose number is the line's.
    ///
    /// # Errors
    /// [`MissingToken`] when it has no `[UNK]`, `[CLS]` or `[SEP]`.
    pub fn new(lines: &str) -> Result<Self, MissingToken> {
        let ids: HashMap<String, i32> = lines.lines().map(str::to_owned).zip(0..).collect();
        let id = |token: &'static str| ids.get(token).copied().ok_or(MissingToken(token));
        let (unknown, first, last) = (id("[UNK]")?, id("[CLS]")?, id("[SEP]")?);
        Ok(Self { ids, unknown, first, last })
    }

    /// The tokens of a text, those around it included; at most `most` of them.
    #[must_use]
    pub fn encode(&self, text: &str, most: usize) -> Vec<i32> {
        let mut tokens = vec![self.first];
        for word in words(text) {
            self.pieces(&word, &mut tokens);
            if tokens.len() >= most {
                break;
            }
        }
        tokens.truncate(most.saturating_sub(1));
        tokens.push(self.last);
        tokens
    }

    fn pieces(&self, word: &str, tokens: &mut Vec<i32>) {
        if word.chars().count() > WORD_MAX {
            tokens.push(self.unknown);
            return;
        }
        let (begun, mut rest) = (tokens.len(), word);
        let mut piece = String::new();
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, char)| at + char.len_utf8()).rev();
            let longest = ends.into_iter().find_map(|end| {
                piece.clear();
                if rest.len() < word.len() {
                    piece.push_str("##");
                }
                piece.push_str(&rest[..end]);
                Some((end, *self.ids.get(&piece)?))
            });
            let Some((end, id)) = longest else {
                // One part that is not known makes the whole word so.
                tokens.truncate(begun);
                tokens.push(self.unknown);
                return;
            };
            tokens.push(id);
            rest = &rest[end..];
        }
    }
}

/// Words and punctuation marks, without accents and in lower case.
fn words(text: &str) -> Vec<String> {
    let cleaned = text.chars().filter_map(clean).flat_map(|char| {
        let around = if is_ideograph(char) { Some(' ') } else { None };
        [around, Some(char), around].into_iter().flatten()
    });
    let plain = cleaned.nfd().filter(|char| char.general_category() != GeneralCategory::NonspacingMark);
    let mut words = Vec::new();
    let mut word = String::new();
    for char in plain.flat_map(char::to_lowercase) {
        let ends = char.is_whitespace() || is_punctuation(char);
        if ends && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_punctuation(char) {
            words.push(char.to_string());
        } else if !ends {
            word.push(char);
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Without what is no text; any space is a space.
fn clean(char: char) -> Option<char> {
    match char {
        '\t' | '\n' | '\r' => Some(' '),
        '\0' | '\u{fffd}' => None,
        _ if char.is_whitespace() => Some(' '),
        _ if char.general_category_group() == GeneralCategoryGroup::Other => None,
        _ => Some(char),
    }
}

/// Every ASCII mark counts, `$` and `^` too.
fn is_punctuation(char: char) -> bool {
    char.is_ascii_punctuation() || char.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// Chinese characters, which stand for words: the blocks that the model was trained with.
fn is_ideograph(char: char) -> bool {
    matches!(u32::from(char),
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x2_0000..=0x2_a6df | 0x2_a700..=0x2_b73f | 0x2_b740..=0x2_b81f
        | 0x2_b920..=0x2_ceaf | 0xf900..=0xfaff | 0x2_f800..=0x2_fa1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let tokens =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", "!", "日", "本", "##s", "straße"];
        Vocabulary::new(&tokens.join("\n")).unwrap()
    }

    #[test]
    fn words_are_cut_into_the_longest_pieces_and_accents_case_and_spaces_do_not_count() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary.encode("Unaffable", 10), [2, 4, 5, 6, 3]);
        assert_eq!(vocabulary.encode(" CAFÉS\u{a0}cafe\u{301}!!", 10), [2, 7, 11, 7, 8, 8, 3]);
        assert_eq!(vocabulary.encode("日本", 10), [2, 9, 10, 3]);
        assert_eq!(vocabulary.encode("Straße\u{200b}\0", 10), [2, 12, 3]);
        assert_eq!(vocabulary.encode("", 10), [2, 3]);
    }

    #[test]
    fn a_word_that_is_not_known_to_its_end_is_unknown_whole_and_so_is_a_very_long_one() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary.encode("unaffabled", 10), [2, 1, 3]);
        assert_eq!(vocabulary.encode(&"un".repeat(60), 10), [2, 1, 3]);
    }

    #[test]
    fn no_text_has_more_tokens_than_asked_for() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary.encode("! ! ! ! ! ! !", 5), [2, 8, 8, 8, 3]);
        assert_eq!(vocabulary.encode("unaffable unaffable", 5), [2, 4, 5, 6, 3]);
        assert_eq!(Vocabulary::new("[UNK]\n[CLS]").unwrap_err(), MissingToken("[SEP]"));
    }
}
