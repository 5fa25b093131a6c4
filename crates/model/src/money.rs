//! Money: whole satoshis, signed, with checked arithmetic only. There is no float anywhere near it, and no operator that
//! could wrap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// An amount in satoshis. Negative is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sats(pub i64);

impl Sats {
    pub const ZERO: Self = Self(0);
    /// All that will ever be: 21 million coins. Nobody can pay more at once.
    pub const SUPPLY: Self = Self(2_100_000_000_000_000);

    #[must_use]
    pub const fn plus(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    #[must_use]
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// `None` only for the one amount that has no opposite.
    #[must_use]
    pub const fn negated(self) -> Option<Self> {
        Self::ZERO.minus(self)
    }

    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum, unless it does not fit.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }

    /// Refuses what nobody can pay: nothing, less than nothing, more than there is.
    pub fn payable(self, field: &str) -> Result<Self, Invalid> {
        if self > Self::ZERO && self <= Self::SUPPLY {
            return Ok(self);
        }
        Err(Invalid::new(field, format!("must be from 1 to {} satoshis", Self::SUPPLY)))
    }
}

impl fmt::Display for Sats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Sats {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        s.parse().map(Self).map_err(|_| Invalid::new("", "is not a whole number of satoshis"))
    }
}

/// Balances whose crossing downwards is told to the project.
pub const THRESHOLDS: [Sats; 10] = [
    Sats(1_000_000_000),
    Sats(200_000_000),
    Sats(30_000_000),
    Sats(10_000_000),
    Sats(0),
    Sats(-1_000_000),
    Sats(-20_000_000),
    Sats(-100_000_000),
    Sats(-1_000_000_000),
    Sats(-10_000_000_000),
];

/// Below this a message is urgent.
pub const URGENT: Sats = Sats(10_000_000);

/// The thresholds that a balance has fallen through, the highest first. It depends on nothing but the two balances,
/// which the ledger keeps in order, so each crossing is told exactly once.
pub fn crossed(before: Sats, after: Sats) -> impl Iterator<Item = Sats> {
    THRESHOLDS.into_iter().filter(move |threshold| before >= *threshold && after < *threshold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(Sats(i64::MAX).plus(Sats(1)), None);
        assert_eq!(Sats(i64::MIN).negated(), None);
        assert_eq!(Sats(i64::MIN).minus(Sats(1)), None);
        assert_eq!(Sats::sum([Sats(5), Sats(-7)]), Some(Sats(-2)));
        assert!(Sats(0).payable("amount").is_err() && Sats(-1).payable("amount").is_err());
        assert!(Sats(1).payable("amount").is_ok() && Sats(Sats::SUPPLY.0 + 1).payable("amount").is_err());
    }

    #[test]
    fn a_crossing_is_downwards_and_below() {
        let of = |before, after| crossed(Sats(before), Sats(after)).map(|t| t.0).collect::<Vec<_>>();
        assert_eq!(of(0, -1), [0]);
        assert_eq!(of(1, 0), [0i64; 0]);
        assert_eq!(of(-1, 5), [0i64; 0]);
        assert_eq!(of(30_000_001, -2_000_000), [30_000_000, 10_000_000, 0, -1_000_000]);
    }

    proptest! {
        /// However a fall is cut into steps, each threshold is told once.
        #[test]
        fn each_crossing_is_told_once(steps in proptest::collection::vec(0i64..400_000_000, 1..60)) {
            let (mut at, mut told) = (Sats(1_500_000_000), Vec::new());
            for step in steps {
                let next = at.minus(Sats(step)).unwrap();
                told.extend(crossed(at, next));
                at = next;
            }
            let wanted: Vec<_> = crossed(Sats(1_500_000_000), at).collect();
            prop_assert_eq!(told, wanted);
        }
    }
}
