//! Options that `run` and `job submit` share, so that what runs here can be ordered with the same words.

use clap::builder::RangedU64ValueParser;
use samebit_spec::param;

/// Fuel of a run or a step.
pub fn fuel() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=param::FUEL_MAX.0)
}

/// Bytes of linear memory.
pub fn memory() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=param::MEMORY_MAX.0)
}

/// Micro-credits per million fuel.
pub fn price() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=param::PRICE_MAX.0)
}

/// Up to 64 hexadecimal digits: an odd digit gets a zero before it, the rest is zeros.
pub fn seed(digits: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    match hex::decode(&even) {
        Ok(given) if given.len() <= bytes.len() => {
            bytes[..given.len()].copy_from_slice(&given);
            Ok(bytes)
        }
        _ => Err("expected up to 64 hexadecimal digits".to_owned()),
    }
}

/// `NAME=VALUE`.
pub fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Of several values for one name the last, where the first was.
pub fn last_wins(given: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in given {
        match kept.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => kept.push((name, value)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_filled_up_with_zeros() {
        assert_eq!(seed(""), Ok([0; 32]), "none is all zeros");
        assert_eq!(seed("ff01").expect("two bytes")[..3], [0xff, 1, 0]);
        assert_eq!(seed("f").expect("one digit")[..2], [0x0f, 0]);
        assert_eq!(seed(&"11".repeat(32)), Ok([0x11; 32]));
        for bad in ["xy", &"00".repeat(33), "-1", "\u{e9}"] {
            assert!(seed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_variable_has_a_name_and_the_last_value_counts() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        for bad in ["A", "=b", ""] {
            assert!(variable(bad).is_err(), "{bad}");
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let given = vec![pair("A", "1"), pair("B", "2"), pair("A", "3")];
        assert_eq!(last_wins(given), [pair("A", "3"), pair("B", "2")]);
    }
}
