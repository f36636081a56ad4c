//! Which units are run once more by a stranger, and the buyer's part in that draw
//! (`spec/04-verification.md`, section 10).
//!
//! The buyer fixes one secret per unit with the order, as leaves of a tree whose root, the *seal*, is in it. Once every
//! host of a unit is bound, a later block's beacon and the unit's secret together say whether it is audited: whoever
//! makes blocks does not know the secret, and the buyer does not know the beacon.

use crate::{
    id::{AuditSeal, Beacon, JobId},
    param,
    unit::{BasisPoints, Time},
    wire,
};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// A hash of the tree.
type Node = [u8; 32];

/// What the draw of a unit's audit has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Audit {
    /// Not drawn yet, or the order asks for none.
    #[default]
    Undrawn,
    /// Drawn: none.
    Spared {
        /// By which beacon.
        beacon: Beacon,
        /// And which secret, where the order has a seal.
        secret: Option<[u8; 32]>,
    },
    /// Drawn: one more host runs the unit, blind.
    Ordered {
        /// By which beacon.
        beacon: Beacon,
        /// And which secret. None though the order has a seal: the buyer was silent.
        secret: Option<[u8; 32]>,
        /// When.
        at: Time,
    },
}

impl Audit {
    /// Whether the unit is audited.
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        matches!(self, Self::Ordered { .. })
    }
}

/// A unit's secret, with the hashes beside its way to the seal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuditOpening {
    /// The secret.
    pub secret: [u8; 32],
    /// The other half at each level, from the leaf up. At most ten for [`param::UNITS_MAX`] units.
    pub path: Vec<Node>,
}

/// The secret of a unit, of the buyer's own for the whole order.
#[must_use]
pub fn unit_secret(master: &[u8; 32], unit: u32) -> [u8; 32] {
    wire::derive_all("samebit/v1/audit-secret", &[master, &unit.to_le_bytes()])
}

/// The seal over the secrets of `units` units.
#[must_use]
pub fn seal(master: &[u8; 32], units: u32) -> AuditSeal {
    let mut level = leaves(master, units);
    while level.len() > 1 {
        level = above(&level);
    }
    AuditSeal(level.first().copied().unwrap_or_default())
}

impl AuditOpening {
    /// Opens the secret of `unit`. `None` when there are not so many.
    #[must_use]
    pub fn of(master: &[u8; 32], units: u32, unit: u32) -> Option<Self> {
        if unit >= units {
            return None;
        }
        let mut at = usize::try_from(unit).ok()?;
        let mut level = leaves(master, units);
        let mut path = Vec::new();
        while level.len() > 1 {
            path.push(level[at ^ 1]);
            level = above(&level);
            at /= 2;
        }
        Some(Self { secret: unit_secret(master, unit), path })
    }

    /// Whether it is the secret that `seal` holds for `unit` of `units`.
    #[must_use]
    pub fn opens(&self, seal: &AuditSeal, units: u32, unit: u32) -> bool {
        let width = units.max(1).next_power_of_two();
        if unit >= units || self.path.len() != usize::try_from(width.ilog2()).unwrap_or(usize::MAX) {
            return false;
        }
        let mut at = unit;
        let mut node = leaf(&self.secret);
        for other in &self.path {
            node = if at.is_multiple_of(2) { join(&node, other) } else { join(other, &node) };
            at /= 2;
        }
        node == seal.0
    }
}

/// Whether a unit is audited that asks for it with a chance of `share`: `n < share x 2^64 / 10^4`, rounded down, where
/// `n` is the first 8 bytes, little-endian, of the hash of beacon, secret, job and unit.
#[must_use]
pub fn is_drawn(share: BasisPoints, beacon: Beacon, secret: Option<&[u8; 32]>, job: JobId, unit: u32) -> bool {
    let digest = wire::derive("samebit/v1/audit-draw", &wire::encode(&(beacon, secret, job, unit)));
    let (head, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    u128::from(u64::from_le_bytes(*head)) < (u128::from(share.0) << 64) / 10_000
}

fn leaves(master: &[u8; 32], units: u32) -> Vec<Node> {
    let width = units.max(1).next_power_of_two();
    (0..width).map(|unit| if unit < units { leaf(&unit_secret(master, unit)) } else { [0; 32] }).collect()
}

fn leaf(secret: &[u8; 32]) -> Node {
    wire::derive("samebit/v1/audit-leaf", secret)
}

fn join(left: &Node, right: &Node) -> Node {
    wire::derive_all("samebit/v1/audit-node", &[left, right])
}

fn above(level: &[Node]) -> Vec<Node> {
    level.chunks_exact(2).map(|pair| join(&pair[0], &pair[1])).collect()
}

const _: () = assert!(param::UNITS_MAX <= 1 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_opened_by_each_units_own_secret_and_by_nothing_else() {
        let master = [7; 32];
        for units in [1, 2, 3, 5, 8, 1024] {
            let root = seal(&master, units);
            for unit in [0, units / 2, units - 1] {
                let opening = AuditOpening::of(&master, units, unit).expect("a unit of the order");
                assert!(opening.opens(&root, units, unit), "{unit} of {units}");
                assert!(!opening.opens(&root, units, unit + 1), "another unit's place");
                assert!(!opening.opens(&seal(&[8; 32], units), units, unit), "another order");
                let other = AuditOpening { secret: [1; 32], ..opening.clone() };
                assert!(!other.opens(&root, units, unit), "another secret");
                let mut long = opening;
                long.path.push([0; 32]);
                assert!(!long.opens(&root, units, unit), "a longer way");
            }
            assert_eq!(AuditOpening::of(&master, units, units), None);
        }
    }

    #[test]
    fn units_are_drawn_as_often_as_was_asked() {
        let count = |share| {
            let drawn =
                |unit: &u32| is_drawn(BasisPoints(share), Beacon([3; 32]), Some(&[4; 32]), JobId([5; 32]), *unit);
            (0..20_000).filter(drawn).count()
        };
        assert_eq!(count(0), 0);
        assert_eq!(count(10_000), 20_000);
        // Five standard deviations of 20,000 draws with a chance of 5 %: 154.
        assert!(count(500).abs_diff(1_000) < 154, "{}", count(500));
    }
}
