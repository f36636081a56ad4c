//! Decides what the receipts of a unit say (`spec/04-verification.md`, section 5).
//!
//! - V1: receipts of all who were ordered that are one receipt stand. With one run and no audit that is belief.
//! - V2: where they differ, referees decide: fresh hosts, bound before they see each other. The parties' own receipts
//!   never outvote them. A first few decide when they are of one mind, and together with the parties who say the same
//!   are most of all; else all are asked, and most of them must agree.
//! - V3: when the unit's time is over before that, nobody is slashed. What all show, two at least, is still paid.

use samebit_spec::{id::ReceiptId, param::Params};

/// How many referees are asked, and how many of them must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panel {
    /// Asked first.
    pub first: usize,
    /// Asked in all when the first are not of one mind.
    pub all: usize,
    /// Of all, those who must agree.
    pub agree: usize,
}

impl Panel {
    /// That of a parameter set.
    #[must_use]
    pub fn of(params: &Params) -> Self {
        Self { first: params.referees.into(), all: params.referees_all.into(), agree: params.referees_agree.into() }
    }
}

/// What the revealed receipts of a unit come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// Fewer have revealed than were ordered.
    Incomplete,
    /// This receipt stands; whoever revealed another is slashed.
    Stands(ReceiptId),
    /// Receipts differ: so many referees in all must have revealed before there is more to say.
    Ask {
        /// In all, those who have revealed among them.
        referees: usize,
    },
    /// Receipts differ, and so do those of all referees: nobody is believed.
    Undecided,
}

/// Judges a unit of which `ordered` runs were ordered. `parties` are the receipts that those runs have revealed,
/// `referees` those of referees, in the order in which they were drawn.
pub fn judge(parties: &[ReceiptId], ordered: usize, referees: &[ReceiptId], panel: Panel) -> Judgement {
    let Some(claim) = parties.first().filter(|_| parties.len() >= ordered) else {
        return Judgement::Incomplete;
    };
    if parties.iter().all(|receipt| receipt == claim) {
        return Judgement::Stands(*claim);
    }
    let votes = |receipt: &ReceiptId| referees.iter().filter(|other| *other == receipt).count();
    let Some(voice) = referees.first().filter(|_| referees.len() >= panel.first) else {
        return Judgement::Ask { referees: panel.first };
    };
    let supporters = parties.iter().filter(|receipt| *receipt == voice).count() + referees.len();
    let most = supporters * 2 > parties.len() + referees.len();
    if referees.len() == panel.first && referees.iter().all(|receipt| receipt == voice) && most {
        return Judgement::Stands(*voice);
    }
    if referees.len() < panel.all {
        return Judgement::Ask { referees: panel.all };
    }
    let winner = referees.iter().find(|receipt| votes(receipt) >= panel.agree);
    winner.map_or(Judgement::Undecided, |receipt| Judgement::Stands(*receipt))
}

/// What is paid where nobody further can be asked: the one receipt that all who have revealed show, two at least. Where
/// receipts differ nobody is, since most of the parties may be one liar's.
#[must_use]
pub fn judge_late(revealed: &[ReceiptId]) -> Option<ReceiptId> {
    let (first, others) = revealed.split_first()?;
    (!others.is_empty() && others.iter().all(|other| other == first)).then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVNET: Panel = Panel { first: 1, all: 3, agree: 2 };
    const PUBLIC: Panel = Panel { first: 5, all: 9, agree: 7 };

    fn ids(letters: &str) -> Vec<ReceiptId> {
        letters.bytes().map(|letter| ReceiptId([letter; 32])).collect()
    }

    /// Letters are receipts: of those ordered, of referees.
    #[track_caller]
    fn check(panel: Panel, parties: &str, ordered: usize, referees: &str, expected: &str) {
        let said = match judge(&ids(parties), ordered, &ids(referees), panel) {
            Judgement::Incomplete => "incomplete".to_owned(),
            Judgement::Stands(id) => format!("{} stands", char::from(id.0[0])),
            Judgement::Ask { referees } => format!("ask {referees}"),
            Judgement::Undecided => "undecided".to_owned(),
        };
        assert_eq!(said, expected, "{parties:?} of {ordered}, referees {referees:?}");
    }

    #[test]
    fn agreement_needs_everyone_who_was_ordered() {
        check(PUBLIC, "", 2, "", "incomplete");
        check(PUBLIC, "a", 2, "", "incomplete");
        check(PUBLIC, "a", 1, "", "a stands");
        check(PUBLIC, "aa", 2, "", "a stands");
        check(PUBLIC, "ab", 2, "", "ask 5");
    }

    #[test]
    fn five_referees_of_one_mind_decide_and_else_seven_of_nine() {
        check(PUBLIC, "ab", 2, "bbbb", "ask 5");
        check(PUBLIC, "ab", 2, "bbbbb", "b stands");
        check(PUBLIC, "ab", 2, "bbabb", "ask 9");
        check(PUBLIC, "ab", 2, "bbabbbbb", "ask 9");
        check(PUBLIC, "ab", 2, "bbabbbbba", "b stands");
        check(PUBLIC, "ab", 2, "bbabbbaba", "undecided");
    }

    #[test]
    fn parties_never_outvote_all_referees_but_many_of_them_call_for_all() {
        check(PUBLIC, "aaaaaab", 7, "bbbbb", "ask 9");
        check(PUBLIC, "aaaaaab", 7, "bbbbbbbbb", "b stands");
        check(PUBLIC, "aaaaaab", 7, "bbbbbbbaa", "b stands");
        // Two colluders against an honest auditor.
        check(PUBLIC, "aab", 3, "bbbbb", "b stands");
    }

    #[test]
    fn a_receipt_that_no_party_showed_needs_more_than_the_first_referees() {
        check(PUBLIC, "ab", 2, "ccccc", "c stands");
        check(DEVNET, "ab", 2, "c", "ask 3");
        check(DEVNET, "ab", 2, "cc", "ask 3");
        check(DEVNET, "ab", 2, "ccd", "c stands");
        check(DEVNET, "ab", 2, "cde", "undecided");
    }

    #[test]
    fn one_referee_is_enough_where_everything_is_ones_own() {
        check(DEVNET, "ab", 2, "", "ask 1");
        check(DEVNET, "ab", 2, "b", "b stands");
        check(DEVNET, "aab", 3, "a", "a stands");
        check(DEVNET, "aab", 3, "b", "ask 3");
    }

    #[test]
    fn when_time_is_over_those_who_all_agree_are_paid_and_nobody_who_differs() {
        for (receipts, expected) in
            [("", None), ("a", None), ("aa", Some(b'a')), ("aaa", Some(b'a')), ("ab", None), ("aab", None)]
        {
            assert_eq!(judge_late(&ids(receipts)).map(|id| id.0[0]), expected, "{receipts:?}");
        }
    }

    /// The first may decide alone; once all are asked, all are waited for.
    #[test]
    fn of_more_than_the_first_none_decide_before_all_have_spoken() {
        check(DEVNET, "aab", 3, "bb", "ask 3");
        check(PUBLIC, "ab", 2, "bbbbbb", "ask 9");
    }

    proptest! {
        #[test]
        fn a_verdict_against_a_party_is_that_of_referees_whatever_the_order(
            parties in prop::collection::vec(0_u8..4, 1..6),
            referees in prop::collection::vec(0_u8..4, 0..=9),
            turn in 0_usize..10,
        ) {
            let ids = |letters: &[u8]| letters.iter().map(|&n| ReceiptId([n; 32])).collect::<Vec<_>>();
            let (parties, referees) = (ids(&parties), ids(&referees));
            let said = judge(&parties, parties.len(), &referees, PUBLIC);
            let mut turned = parties.clone();
            turned.rotate_left(turn % parties.len());
            prop_assert_eq!(said, judge(&turned, turned.len(), &referees, PUBLIC));
            if let Judgement::Stands(winner) = said && parties.iter().any(|receipt| *receipt != winner) {
                let votes = referees.iter().filter(|receipt| **receipt == winner).count();
                prop_assert!(votes >= 7 || (votes >= 5 && votes == referees.len()), "{} votes", votes);
            }
        }
    }
}
