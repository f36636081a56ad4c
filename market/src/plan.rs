//! Says how many hosts and how many audits an order needs so that lying does not pay (`spec/04-verification.md`,
//! section 11). It advises a buyer; the ledger takes any order.
//!
//! Integers in ten-thousandths, so that two buyers who ask the same are told the same.

use crate::verdict::Panel;
use samebit_spec::{
    param::{Params, REPLICAS_MAX},
    unit::{BasisPoints, MicroCredits},
};

const ONE: u128 = 10_000;

/// What a wrong result is worth, and whom the buyer reckons with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Risk {
    /// What somebody gains when a unit's wrong result becomes final.
    pub value: MicroCredits,
    /// What they gain already when the buyer acts on it before it is final. At most `value`.
    pub provisional: MicroCredits,
    /// An honest host's cost, as a share of its reward.
    pub cost: BasisPoints,
    /// Share of all bond that belongs to one who lies.
    pub adversary: BasisPoints,
    /// What the least chance of an audit is multiplied by; at least one whole.
    pub margin: BasisPoints,
}

impl Default for Risk {
    /// A fifth of all bond with one liar who gains nothing but the work it saves, at a margin of a quarter. Source:
    /// `market.md`, section 5.4.
    fn default() -> Self {
        Self {
            value: MicroCredits::ZERO,
            provisional: MicroCredits::ZERO,
            cost: BasisPoints(8_000),
            adversary: BasisPoints(2_000),
            margin: BasisPoints(12_500),
        }
    }
}

/// What an order should ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Hosts for each unit.
    pub replicas: u8,
    /// The chance of an audit.
    pub audit: BasisPoints,
    /// Runs of a unit on average when nobody lies, in ten-thousandths: `replicas + audit`.
    pub runs: u32,
}

/// No plan covers the risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a wrong result worth {value} is more than bonds cover: at most {covered} with {replicas} hosts, every unit audited"
)]
pub struct Uncovered {
    /// What was said to be at risk.
    pub value: MicroCredits,
    /// The most that is covered.
    pub covered: MicroCredits,
    /// By so many hosts.
    pub replicas: u8,
}

/// The cheapest plan, in runs on average, for units that earn at most `reward` each and have at least `least` hosts.
///
/// # Errors
/// [`Uncovered`] when every unit audited is not enough.
pub fn plan(reward: MicroCredits, least: u8, params: &Params, risk: &Risk) -> Result<Plan, Uncovered> {
    let plans = (least.max(1)..=REPLICAS_MAX).filter_map(|replicas| {
        let audit = least_audit(replicas, reward, params, risk)?;
        Some(Plan { replicas, audit, runs: u32::from(replicas) * 10_000 + u32::from(audit.0) })
    });
    plans.min_by_key(|plan| plan.runs).ok_or_else(|| {
        let covered = |replicas: &u8| covered(*replicas, reward, params, risk);
        let replicas = (least.max(1)..=REPLICAS_MAX).max_by_key(covered).unwrap_or(REPLICAS_MAX);
        Uncovered { value: risk.value, covered: covered(&replicas), replicas }
    })
}

/// The least chance of an audit at which `replicas` hosts of one owner do not gain by lying together: with the margin,
/// rounded up. `None`: above one.
#[must_use]
pub fn least_audit(replicas: u8, reward: MicroCredits, params: &Params, risk: &Risk) -> Option<BasisPoints> {
    let Terms { gain, loss, honest } = terms(replicas, reward, params, risk);
    let loss = loss.checked_add(wide(risk.value))?.checked_sub(wide(risk.provisional.min(risk.value)))?;
    let asked = gain.checked_mul(margin(risk))?.checked_mul(ONE)?;
    let share = asked.div_ceil(honest.checked_mul(loss)?.max(1));
    u16::try_from(share).ok().filter(|share| *share <= 10_000).map(BasisPoints)
}

/// The share of disputes in which the referees side with the truth, when those who lie hold `adversary` of all bond, vote
/// together, and `liars` parties of `liars + 1` lie.
#[must_use]
pub fn decided(panel: Panel, liars: usize, adversary: BasisPoints) -> BasisPoints {
    let honest = 10_000 - u128::from(adversary.0.min(10_000));
    let (first, all) = (panel.first, panel.all);
    let most = (1 + first) * 2 > liars + 1 + first;
    let of_one_mind = if most { tail(first, first, honest) } else { 0 };
    // All decide when most of them are honest, unless the first have decided already.
    let by_all = tail(all, panel.agree, honest);
    let already = of_one_mind * tail(all - first, panel.agree.saturating_sub(first), honest) / ONE;
    BasisPoints(u16::try_from((of_one_mind + by_all - already).min(ONE)).unwrap_or(10_000))
}

struct Terms {
    /// What lying saves and wins, without the chance of being audited: `k C + V`.
    gain: u128,
    /// What a lie that is found loses, `V - V_prov` aside: `k (d S_b + R)`.
    loss: u128,
    /// The share of auditors that are honest.
    honest: u128,
}

fn terms(replicas: u8, reward: MicroCredits, params: &Params, risk: &Risk) -> Terms {
    let k = u128::from(replicas);
    let bond = MicroCredits(reward.0.saturating_mul(params.bond_multiple));
    let found = decided(Panel::of(params), replicas.into(), risk.adversary);
    let burned = bond.share(params.slash_burned).share(found);
    Terms {
        gain: k * wide(reward.share(risk.cost)) + wide(risk.value),
        loss: k * (wide(burned) + wide(reward)),
        honest: ONE - u128::from(risk.adversary.0.min(10_000)),
    }
}

/// The value that `replicas` hosts cover when every unit is audited and the same share of it is acted on before it is final.
fn covered(replicas: u8, reward: MicroCredits, params: &Params, risk: &Risk) -> MicroCredits {
    let Terms { gain, loss, honest } = terms(replicas, reward, params, &Risk { value: MicroCredits::ZERO, ..*risk });
    let early = (wide(risk.provisional.min(risk.value)) * ONE).div_ceil(wide(risk.value).max(1));
    let (have, costs) = (honest.saturating_mul(loss), gain.saturating_mul(margin(risk)));
    let each = margin(risk) * ONE - honest * (ONE - early);
    let value = have.saturating_sub(costs).saturating_mul(ONE) / each.max(1);
    MicroCredits(u64::try_from(value).unwrap_or(u64::MAX))
}

fn margin(risk: &Risk) -> u128 {
    u128::from(risk.margin.0).max(ONE)
}

fn wide(amount: MicroCredits) -> u128 {
    amount.0.into()
}

/// The chance, in ten-thousandths and rounded down, that at least `least` of `count` are honest.
fn tail(count: usize, least: usize, honest: u128) -> u128 {
    // Within 27 referees the sums stay exact enough in 10^-8 steps, rounded down at each.
    const STEP: u128 = 100_000_000;
    let (yes, no) = (honest * (STEP / ONE), (ONE - honest) * (STEP / ONE));
    let mut chances = vec![STEP];
    for _ in 0..count {
        let mut next = vec![0; chances.len() + 1];
        for (n, chance) in chances.iter().enumerate() {
            next[n] += chance * no / STEP;
            next[n + 1] += chance * yes / STEP;
        }
        chances = next;
    }
    chances.iter().skip(least).sum::<u128>() * ONE / STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWARD: MicroCredits = MicroCredits(1_000_000);

    fn at(value: u64) -> Risk {
        Risk { value: MicroCredits(value * REWARD.0), ..Risk::default() }
    }

    #[test]
    fn the_referees_side_with_the_truth_as_often_as_the_binomials_say() {
        let panel = Panel::of(&Params::PUBLIC);
        // 0.8^5 = 0.32768; at least 7 of 9: 0.7382; less 0.32768 x 0.9728, those whom the first five have decided.
        assert!(
            decided(panel, 1, BasisPoints(2_000)).0.abs_diff(7_471) <= 2,
            "{}",
            decided(panel, 1, BasisPoints(2_000))
        );
        assert_eq!(decided(panel, 1, BasisPoints(0)).0, 10_000);
        assert_eq!(decided(panel, 1, BasisPoints(10_000)).0, 0);
        // Six liars outnumber an auditor and five referees: all nine are asked.
        assert!(decided(panel, 6, BasisPoints(2_000)).0.abs_diff(7_382) <= 2);
    }

    #[test]
    fn the_least_chance_is_the_closed_form() {
        let exact = |k: f64, value: f64, provisional: f64| {
            let (burned, found) = (16.0, 0.7471);
            1.25 * (k * 0.8 + value) / (0.8 * (k * (found * burned + 1.0) + value - provisional))
        };
        for (k, value) in [(1, 0), (2, 0), (3, 0), (1, 1), (2, 5), (3, 5)] {
            let ours = least_audit(k, REWARD, &Params::PUBLIC, &at(value)).expect("covered");
            let theirs = exact(f64::from(k), value as f64, 0.0) * 10_000.0;
            assert!((f64::from(ours.0) - theirs).abs() < 8.0, "k = {k}, V = {value}: {ours}, {theirs}");
        }
        let risk = Risk { provisional: MicroCredits(5 * REWARD.0), ..at(5) };
        let ours = least_audit(2, REWARD, &Params::PUBLIC, &risk).expect("covered");
        assert!((f64::from(ours.0) - exact(2.0, 5.0, 5.0) * 10_000.0).abs() < 8.0, "{ours}");
    }

    #[test]
    fn more_at_risk_never_costs_less_and_too_much_is_refused_with_what_is_covered() {
        let params = Params::PUBLIC;
        let mut last = 0;
        for value in 0..400 {
            match plan(REWARD, 1, &params, &at(value)) {
                Ok(plan) => {
                    assert!(plan.runs >= last, "{value}");
                    last = plan.runs;
                }
                Err(uncovered) => {
                    assert!(uncovered.covered < at(value).value, "{uncovered}");
                    let risk = Risk { value: uncovered.covered, ..Risk::default() };
                    plan(REWARD, 1, &params, &risk).expect("what is said to be covered is");
                    return;
                }
            }
        }
        panic!("everything is covered");
    }

    #[test]
    fn what_is_said_to_be_covered_counts_what_is_acted_on_early() {
        let params = Params::PUBLIC;
        let acted =
            |value: u64| Risk { value: MicroCredits(value), provisional: MicroCredits(value), ..Risk::default() };
        let uncovered = plan(REWARD, 2, &params, &acted(1_000 * REWARD.0)).expect_err("far too much");
        plan(REWARD, 2, &params, &acted(uncovered.covered.0)).expect("what is said to be covered is");
        plan(REWARD, 2, &params, &acted(uncovered.covered.0 * 11 / 10)).expect_err("a tenth more is not");
    }

    #[test]
    fn a_plan_has_at_least_the_hosts_that_were_asked_for() {
        assert_eq!(plan(REWARD, 1, &Params::PUBLIC, &Risk::default()).expect("covered").replicas, 1);
        assert_eq!(plan(REWARD, 3, &Params::PUBLIC, &Risk::default()).expect("covered").replicas, 3);
    }
}
