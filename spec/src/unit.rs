//! Quantities with their units. None converts to another by accident.

use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// Sum, or `None` when it does not fit.
            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Difference, or `None` when `other` is larger.
            #[must_use]
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(rest) => Some(Self(rest)),
                    None => None,
                }
            }

            /// `self` taken `times` times, or `None` when that does not fit.
            #[must_use]
            pub const fn checked_mul(self, times: u64) -> Option<Self> {
                match self.0.checked_mul(times) {
                    Some(product) => Some(Self(product)),
                    None => None,
                }
            }

            /// Sum, held at the largest value.
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// Difference, held at zero.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

quantity! {
    /// Metered work. One unit is one fuel unit of the profile's cost table; not time, not money.
    Fuel
}
quantity! {
    /// Money. One unit is one millionth of a credit.
    MicroCredits
}
quantity! {
    /// A length in bytes.
    Bytes
}
quantity! {
    /// A span of ledger time in milliseconds.
    Millis
}
quantity! {
    /// A moment of ledger time: milliseconds since the Unix epoch, as the block's proposer stamped it.
    Time
}
quantity! {
    /// A block's place in the chain. Genesis is 0, the first block 1.
    Height
}

impl Time {
    /// The moment `span` later, held at the end of time.
    #[must_use]
    pub const fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl MicroCredits {
    /// `share` of this amount, rounded down.
    #[must_use]
    pub fn share(self, share: BasisPoints) -> Self {
        let scaled = u128::from(self.0) * u128::from(share.0) / 10_000;
        // A share above one whole is cut there, so the result always fits.
        Self(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

/// A share in ten-thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct BasisPoints(pub u16);

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// A price: micro-credits per [`crate::param::FUEL_PER_PRICE_UNIT`] fuel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct FuelPrice(pub u64);

impl FuelPrice {
    /// Cost of `fuel`, rounded up so that a host is never paid less than its ask.
    ///
    /// Returns `None` when the cost does not fit [`MicroCredits`].
    #[must_use]
    pub fn cost(self, fuel: Fuel) -> Option<MicroCredits> {
        let scaled = u128::from(self.0) * u128::from(fuel.0);
        let cost = scaled.div_ceil(u128::from(crate::param::FUEL_PER_PRICE_UNIT.0));
        u64::try_from(cost).ok().map(MicroCredits)
    }
}

impl fmt::Display for FuelPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
