//! Options that `run` and `job submit` share, so that what runs here can be ordered with the same words.

use clap::builder::RangedU64ValueParser;
use samebit_spec::{
    offer::{AdapterClass, AdapterOffer, Kinds, TensorNeed},
    param,
    unit::{BasisPoints, MicroCredits},
};
use std::path::PathBuf;

/// Fuel of a run or a step.
pub fn fuel() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=param::FUEL_MAX.0)
}

/// Bytes of linear memory.
pub fn memory() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=param::MEMORY_MAX.0)
}

/// Bytes of files that a run writes.
pub fn files() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=param::FILES_MAX.0)
}

/// Bytes of the files of an input.
pub fn inputs() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=param::INPUTS_MAX.0)
}

/// What must compute tensors: `any`, `cpu`, or an adapter with its kinds, as in `gpu:f32,i8`.
pub fn tensors(text: &str) -> Result<TensorNeed, String> {
    let (word, kinds) = text.split_once(':').map_or((text, None), |(word, kinds)| (word, Some(kinds)));
    let class = match word {
        "any" | "cpu" if kinds.is_some() => return Err(format!("{word} is of no kind")),
        "any" => return Ok(TensorNeed::Any),
        "cpu" => return Ok(TensorNeed::Cpu),
        "adapter" => AdapterClass::Software,
        "gpu" => AdapterClass::Integrated,
        "discrete" => AdapterClass::Discrete,
        _ => {
            return Err(
                "expected any, cpu, adapter, gpu or discrete, the last three with kinds as in gpu:f32,i8".into()
            );
        }
    };
    let mut asked = Kinds::default();
    for kind in kinds.unwrap_or("f32").split(',') {
        asked = asked.with(Kinds::named(kind).ok_or_else(|| format!("{kind:?} is no kind: f32, f16, i8"))?);
    }
    Ok(TensorNeed::Adapter(AdapterOffer { class, kinds: asked }))
}

/// A share with at most two digits after the point, as `5%` or `0.25%`.
pub fn share(text: &str) -> Result<BasisPoints, String> {
    let expected = || String::from("expected a share, as 5% or 0.25%");
    let number = text.strip_suffix('%').ok_or_else(expected)?;
    let points = decimal(number, 2).ok_or_else(expected)?;
    u16::try_from(points).ok().filter(|points| *points <= 10_000).map(BasisPoints).ok_or_else(expected)
}

/// Credits with at most six digits after the point.
pub fn credits(text: &str) -> Result<MicroCredits, String> {
    decimal(text, 6).map(MicroCredits).ok_or_else(|| String::from("expected credits, as 50 or 0.5"))
}

/// A decimal number in units of its last digit, of which there may be `digits` after the point.
fn decimal(text: &str, digits: usize) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let sound = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !sound(whole) || !sound(rest) || rest.len() > digits {
        return None;
    }
    format!("{whole}{rest:0<digits$}").parse().ok()
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

/// A path below a unit's input.
pub fn below_input(text: &str) -> Result<String, String> {
    let sound = |part: &str| !part.is_empty() && part != "." && part != "..";
    if text.split('/').all(sound) {
        Ok(text.to_owned())
    } else {
        Err("expected a path below /in, such as texts".into())
    }
}

/// `NAME=PATH`: what every unit gets.
pub fn shared(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    Ok((below_input(name)?, PathBuf::from(path)))
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
    fn shares_and_credits_are_decimals() {
        assert_eq!(share("5%"), Ok(BasisPoints(500)));
        assert_eq!(share("0.25%"), Ok(BasisPoints(25)));
        assert_eq!(share("100%"), Ok(BasisPoints(10_000)));
        for bad in ["5", "100.01%", "0.001%", "-1%", "%", ".5%", "1e2%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert_eq!(credits("0.5"), Ok(MicroCredits(500_000)));
        assert_eq!(credits("50"), Ok(MicroCredits(50_000_000)));
        for bad in ["", "-1", "1.0000001", "99999999999999999999", "1,5"] {
            assert!(credits(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_every_unit_gets_has_a_place_below_its_input() {
        assert_eq!(shared("model=a/b=c"), Ok(("model".to_owned(), PathBuf::from("a/b=c"))));
        assert_eq!(shared("deep/er=x"), Ok(("deep/er".to_owned(), PathBuf::from("x"))));
        for bad in ["model", "=x", "/model=x", "../model=x", "a//b=x", "a/=x", ".=x"] {
            assert!(shared(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_computes_tensors_is_a_word_and_kinds() {
        let adapter = |class, kinds| Ok(TensorNeed::Adapter(AdapterOffer { class, kinds }));
        assert_eq!(tensors("any"), Ok(TensorNeed::Any));
        assert_eq!(tensors("cpu"), Ok(TensorNeed::Cpu));
        assert_eq!(tensors("adapter"), adapter(AdapterClass::Software, Kinds::F32));
        assert_eq!(tensors("gpu:f16,i8"), adapter(AdapterClass::Integrated, Kinds(6)));
        assert_eq!(tensors("discrete:f32,f16,i8"), adapter(AdapterClass::Discrete, Kinds::ALL));
        for bad in ["", "tpu", "gpu:", "gpu:f64", "gpu:f32,", "cpu:f32", "any:f32"] {
            assert!(tensors(bad).is_err(), "{bad}");
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
