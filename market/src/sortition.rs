//! Decides which hosts run a unit: a weighted draw that anyone can repeat (`spec/04-verification.md`, section 4).
//!
//! Each candidate gets the ticket `-ln(u) / w`, where `u` in (0, 1] is made of the block's beacon, the job, the
//! unit and the host, and `w` is the host's whole bond. The smallest tickets win. The smallest of independent
//! exponential variables belongs to a host with probability `w / sum of w`, so splitting a bond over many hosts
//! gains nothing. Source: Efraimidis and Spirakis, *Weighted random sampling with a reservoir*, 2006.
//!
//! Integers only, so that every node gets the same bits: `-ln(u)` has [`FRACTION_BITS`] fractional bits.
//! Its error is below 2^-46: the logarithm to base 2 is cut after 48 bits, each of the 48 squarings loses less
//! than 2^-62 relative, and the factor ln 2 is rounded at 2^-62.

use samebit_spec::{
    id::{Beacon, JobId},
    sign::PublicKey,
    unit::MicroCredits,
    wire,
};

/// Fractional bits of [`neg_ln`].
pub const FRACTION_BITS: u32 = 48;

/// Fractional bits of the mantissa while squaring; two of them multiplied fit `u128`.
const MANTISSA_BITS: u32 = 62;

/// ln 2 with [`MANTISSA_BITS`] fractional bits, rounded: floor(0.693147180559945309417232 * 2^62 + 1/2).
const LN_2: u64 = 3_196_577_161_300_663_915;

/// A host that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its account.
    pub host: PublicKey,
    /// Its whole bond. A host without bond is never drawn.
    pub weight: MicroCredits,
}

/// `-ln(n / 2^64)` with [`FRACTION_BITS`] fractional bits, for `n` from 1 to 2^64.
///
/// `n` outside that range is held at its nearer end.
#[must_use]
pub fn neg_ln(n: u128) -> u64 {
    let n = n.clamp(1, 1 << 64);
    let whole = n.ilog2();
    // The mantissa is in [1, 2): n / 2^whole. Bits below 2^-62 are cut.
    let mut mantissa = if whole <= MANTISSA_BITS { n << (MANTISSA_BITS - whole) } else { n >> (whole - MANTISSA_BITS) };
    let mut log2 = u64::from(whole) << FRACTION_BITS;
    for bit in (0..FRACTION_BITS).rev() {
        mantissa = (mantissa * mantissa) >> MANTISSA_BITS;
        if mantissa >> (MANTISSA_BITS + 1) != 0 {
            mantissa >>= 1;
            log2 |= 1 << bit;
        }
    }
    let neg_log2 = (64_u64 << FRACTION_BITS) - log2;
    let scaled = (u128::from(neg_log2) * u128::from(LN_2)) >> MANTISSA_BITS;
    u64::try_from(scaled).expect("at most 64 ln 2 with 48 fractional bits")
}

/// A host's ticket in the draw of a unit: smaller is sooner. 64 bits after the point beyond [`FRACTION_BITS`].
///
/// `None` for a weight of zero.
#[must_use]
pub fn ticket(beacon: Beacon, job: JobId, unit: u32, candidate: &Candidate) -> Option<u128> {
    let digest = wire::derive("samebit/v1/draw", &wire::encode(&(beacon, job, unit, candidate.host)));
    let (head, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    let n = u128::from(u64::from_le_bytes(*head)) + 1;
    (u128::from(neg_ln(n)) << 64).checked_div(u128::from(candidate.weight.0))
}

/// The `count` candidates with the smallest tickets, in the order of their tickets; ties go to the smaller key.
/// All of them when there are fewer.
#[must_use]
pub fn draw(beacon: Beacon, job: JobId, unit: u32, candidates: &[Candidate], count: usize) -> Vec<PublicKey> {
    let mut tickets: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| ticket(beacon, job, unit, candidate).map(|ticket| (ticket, candidate.host)))
        .collect();
    tickets.sort_unstable();
    tickets.into_iter().take(count).map(|(_, host)| host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_the_logarithm_are_exact() {
        assert_eq!(neg_ln(1 << 64), 0);
        assert_eq!(neg_ln(u128::MAX), 0);
        assert_eq!(neg_ln(0), neg_ln(1));
        let largest = (64.0 * std::f64::consts::LN_2 * 2_f64.powi(48)).round();
        assert!((neg_ln(1) as f64 - largest).abs() <= 4.0, "{} is not {largest}", neg_ln(1));
    }

    proptest! {
        /// The stated error, against `f64`, whose own error near 44 is below 2^-47.
        #[test]
        fn the_logarithm_is_the_logarithm(n in prop_oneof![1_u128..=(1 << 64), (0_u32..=64).prop_map(|bit| 1_u128 << bit)]) {
            let exact = -((n as f64) / 2_f64.powi(64)).ln();
            let ours = neg_ln(n) as f64 / 2_f64.powi(48);
            prop_assert!((exact - ours).abs() < 2_f64.powi(-45), "-ln({n} / 2^64) is {exact}, not {ours}");
        }

        #[test]
        fn a_smaller_number_never_has_a_smaller_logarithm(a in 1_u128..=(1 << 64), b in 1_u128..=(1 << 64)) {
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(neg_ln(a) >= neg_ln(b));
        }

        #[test]
        fn a_draw_names_each_host_once_and_none_without_bond(
            weights in prop::collection::vec(0_u64..1_000, 0..12), count in 0_usize..14, seed in any::<[u8; 32]>()
        ) {
            let candidates: Vec<_> = weights.iter().zip(0_u8..)
                .map(|(&weight, n)| Candidate { host: PublicKey([n; 32]), weight: MicroCredits(weight) }).collect();
            let drawn = draw(Beacon(seed), JobId([1; 32]), 0, &candidates, count);
            let mut unique = drawn.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), drawn.len());
            prop_assert_eq!(drawn.len(), count.min(weights.iter().filter(|&&weight| weight > 0).count()));
            prop_assert!(drawn.iter().all(|host| weights[usize::from(host.0[0])] > 0));
        }
    }

    /// Pearson's statistic over 8000 draws of one host; 3 degrees of freedom, 27.9 is the 10^-5 point.
    #[test]
    fn a_host_is_drawn_in_proportion_to_its_bond() {
        let weights = [1_u64, 2, 4, 8].map(|weight| weight * 10_000_000);
        let candidates: Vec<_> = weights
            .iter()
            .zip(1_u8..)
            .map(|(&weight, n)| Candidate { host: PublicKey([n; 32]), weight: MicroCredits(weight) })
            .collect();
        let mut seen = [0_u32; 4];
        let draws = 8000_u32;
        for n in 0..draws {
            let beacon = Beacon(wire::derive("test", &n.to_le_bytes()));
            let winner = draw(beacon, JobId([7; 32]), n % 5, &candidates, 1)[0];
            seen[usize::from(winner.0[0]) - 1] += 1;
        }
        let total: u64 = weights.iter().sum();
        let pearson: f64 = seen
            .iter()
            .zip(weights)
            .map(|(&seen, weight)| {
                let expected = f64::from(draws) * weight as f64 / total as f64;
                (f64::from(seen) - expected).powi(2) / expected
            })
            .sum();
        assert!(pearson < 27.9, "drawn {seen:?} of {draws} for weights 1:2:4:8, statistic {pearson}");
    }

    /// Pinned: another value here is another draw on every chain.
    #[test]
    fn a_ticket_is_the_same_for_ever() {
        let candidate = Candidate { host: PublicKey([3; 32]), weight: MicroCredits(10_000_000) };
        assert_eq!(neg_ln(1 << 63), 195_103_586_505_167);
        assert_eq!(ticket(Beacon([1; 32]), JobId([2; 32]), 4, &candidate), Some(1_503_322_938_195_100_800_592_351_735));
    }

    #[test]
    fn beacon_job_and_unit_each_change_the_draw() {
        let candidate = Candidate { host: PublicKey([3; 32]), weight: MicroCredits(5) };
        let base = ticket(Beacon([1; 32]), JobId([1; 32]), 0, &candidate);
        assert_ne!(base, ticket(Beacon([2; 32]), JobId([1; 32]), 0, &candidate));
        assert_ne!(base, ticket(Beacon([1; 32]), JobId([2; 32]), 0, &candidate));
        assert_ne!(base, ticket(Beacon([1; 32]), JobId([1; 32]), 1, &candidate));
    }
}
