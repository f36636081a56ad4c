//! Decides what the receipts of a unit say (`spec/04-verification.md`, section 5).
//!
//! - V1: a verdict names a receipt that was revealed by a strict majority of the runs that revealed.
//! - V2: receipts that differ are decided only after a freshly drawn host has re-run the unit, while the unit has
//!   time for one. When its time is over, V1 with at least two votes decides among what was revealed.
//! - V3: without comparison (one replica), the one receipt stands.

use samebit_spec::id::ReceiptId;

/// What the revealed receipts of a unit come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// Fewer have revealed than were ordered.
    Incomplete,
    /// This receipt stands; whoever revealed another is slashed.
    Stands(ReceiptId),
    /// Receipts differ: one more host must run the unit.
    Rerun,
    /// Receipts differ after the last re-run: nobody is believed.
    Undecided,
}

/// Judges `revealed`, the receipt of each run that has revealed, where `replicas` were ordered and at most
/// `reruns` may follow.
pub fn judge(revealed: &[ReceiptId], replicas: usize, reruns: usize) -> Judgement {
    let count = revealed.len();
    let Some(first) = revealed.first().filter(|_| count >= replicas) else {
        return Judgement::Incomplete;
    };
    if revealed.iter().all(|receipt| receipt == first) {
        return Judgement::Stands(*first);
    }
    if count > replicas
        && let Some(winner) = judge_last(revealed)
    {
        return Judgement::Stands(winner);
    }
    if count < replicas + reruns { Judgement::Rerun } else { Judgement::Undecided }
}

/// Judges `revealed` where nobody further can be asked: the receipt that a strict majority and at least two runs
/// show. One run alone is never believed here, since it was to be compared.
#[must_use]
pub fn judge_last(revealed: &[ReceiptId]) -> Option<ReceiptId> {
    let votes = |receipt: &ReceiptId| revealed.iter().filter(|other| *other == receipt).count();
    revealed.iter().find(|receipt| votes(receipt) >= 2 && votes(receipt) * 2 > revealed.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Letters are receipts; replicas and reruns follow.
    #[track_caller]
    fn check(receipts: &str, replicas: usize, expected: &str) {
        let ids: Vec<_> = receipts.bytes().map(|letter| ReceiptId([letter; 32])).collect();
        let said = match judge(&ids, replicas, 3) {
            Judgement::Incomplete => "incomplete".to_owned(),
            Judgement::Stands(id) => format!("{} stands", char::from(id.0[0])),
            Judgement::Rerun => "rerun".to_owned(),
            Judgement::Undecided => "undecided".to_owned(),
        };
        assert_eq!(said, expected, "{receipts:?} of {replicas} replicas");
    }

    #[test]
    fn agreement_needs_everyone_and_a_lie_needs_a_majority_against_it() {
        check("", 2, "incomplete");
        check("a", 2, "incomplete");
        check("a", 1, "a stands");
        check("aa", 2, "a stands");
        check("ab", 2, "rerun");
        check("aba", 2, "a stands");
        check("abb", 2, "b stands");
        check("abc", 2, "rerun");
        check("abcc", 2, "rerun");
        check("abccc", 2, "c stands");
        check("abccd", 2, "undecided");
        check("aab", 3, "rerun");
        check("aaba", 3, "a stands");
        check("aabb", 3, "rerun");
        check("aabba", 3, "a stands");
        check("aabbcc", 3, "undecided");
    }

    #[test]
    fn when_time_is_over_a_majority_of_at_least_two_stands() {
        for (receipts, expected) in [
            ("", None),
            ("a", None),
            ("aa", Some(b'a')),
            ("ab", None),
            ("aab", Some(b'a')),
            ("abbb", Some(b'b')),
            ("aabb", None),
            ("aabbc", None),
        ] {
            let ids: Vec<_> = receipts.bytes().map(|letter| ReceiptId([letter; 32])).collect();
            assert_eq!(judge_last(&ids).map(|id| id.0[0]), expected, "{receipts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_verdict_is_a_revealed_majority_whatever_the_order(
            receipts in prop::collection::vec(0_u8..4, 0..10), replicas in 1_usize..5, reruns in 1_usize..4, turn in 0_usize..10
        ) {
            let ids: Vec<_> = receipts.iter().map(|&n| ReceiptId([n; 32])).collect();
            let mut turned = ids.clone();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            let said = judge(&ids, replicas, reruns);
            prop_assert_eq!(said, judge(&turned, replicas, reruns));
            if let Judgement::Stands(winner) = said {
                let votes = ids.iter().filter(|id| **id == winner).count();
                prop_assert!(votes * 2 > ids.len() && ids.len() >= replicas);
            }
        }
    }
}
