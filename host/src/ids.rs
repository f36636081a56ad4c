//! Ids as people type them: any prefix that fits one thing only, with or without the word before the dash.

use crate::{exit::Exit, report::Failure};
use std::fmt::Display;

/// How many candidates an ambiguous prefix lists.
const LISTED_MAX: usize = 8;

/// The one of `among` whose id begins with `given`. `kind` is the word before the dash.
///
/// # Errors
/// Exit 3: nothing fits, or more than one does; then the candidates are listed.
pub fn one<T: Display>(kind: &str, given: &str, among: impl IntoIterator<Item = T>) -> Result<T, Failure> {
    let wanted = given.trim().to_ascii_lowercase();
    let digits = wanted.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')).unwrap_or(&wanted);
    let noun = format!("{kind} list");
    let none = || {
        Failure::new(Exit::NotFound, format!("no {kind} {given:?} on this network")).help(format!(
            "`samebit {}` shows what there is",
            if kind == "key" { "ledger show" } else { noun.as_str() }
        ))
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none());
    }
    let mut fitting: Vec<(String, T)> = among
        .into_iter()
        .map(|item| (item.to_string(), item))
        .filter(|(id, _)| id.split_once('-').is_some_and(|(_, hex)| hex.starts_with(digits)))
        .collect();
    match fitting.len() {
        0 => Err(none()),
        1 => Ok(fitting.remove(0).1),
        count => {
            let mut listed: Vec<_> = fitting.into_iter().map(|(id, _)| id).take(LISTED_MAX).collect();
            if count > LISTED_MAX {
                listed.push(format!("and {} more", count - LISTED_MAX));
            }
            Err(Failure::new(Exit::NotFound, format!("{given:?} fits {count} {kind}s: {}", listed.join(", ")))
                .help("type more of its digits"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::id::JobId;

    fn jobs() -> Vec<JobId> {
        let job = |first, second| {
            let mut bytes = [7; 32];
            (bytes[0], bytes[1]) = (first, second);
            JobId(bytes)
        };
        vec![job(0xab, 0x01), job(0xab, 0x02), job(0xcd, 0x03)]
    }

    #[test]
    fn a_unique_prefix_is_enough_with_or_without_its_kind() {
        for given in ["cd", "job-cd", "CD03", "c", " job-cd03 "] {
            assert_eq!(one("job", given, jobs()).expect("one fits"), jobs()[2], "{given}");
        }
    }

    #[test]
    fn an_ambiguous_prefix_lists_the_candidates() {
        let failure = one("job", "job-ab", jobs()).expect_err("two fit");
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.what.contains(&jobs()[0].to_string()) && failure.what.contains(&jobs()[1].to_string()));
    }

    #[test]
    fn what_is_no_id_is_not_found() {
        for given in ["", "job-", "task-cd", "zz", "ef", "../cd"] {
            assert_eq!(one("job", given, jobs()).expect_err("none fits").exit, Exit::NotFound, "{given}");
        }
    }
}
