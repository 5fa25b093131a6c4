//! What usage costs. A charge is a pure function of usage, rates and the remainders carried from the interval before, so
//! that `verify` can compute it again.
//!
//! Amounts are exact: one satoshi is split into [`GRAINS`], which every unit of every resource divides evenly. Whole
//! satoshis are charged, what is left is carried by project and resource, and nothing is ever rounded up.

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::money::Sats;
use crate::usage::Usage;

/// Parts of a satoshi: 10^9 bytes times the milliseconds of an interval.
pub const GRAINS: i64 = 300_000_000_000_000;

/// What is metered and charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Resource {
    Cpu,
    Memory,
    Disk,
    Network,
    Gpu,
}

impl Resource {
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Disk, Self::Network, Self::Gpu];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Gpu => "gpu",
        }
    }

    /// The metered quantity, and how many grains one unit of it costs at a rate of one satoshi.
    const fn quantity(self, usage: &Usage) -> (u64, i128) {
        match self {
            Self::Cpu => (usage.cpu_nanos, 1_000),
            Self::Memory => (usage.memory_byte_millis, 1),
            Self::Disk => (usage.disk_byte_millis, 1),
            Self::Network => (usage.network_bytes, 300_000),
            Self::Gpu => (usage.gpu_millis, 1_000_000_000),
        }
    }
}

/// Satoshis for five minutes of one core, of 10^9 bytes of memory, of 10^9 bytes of disk, for 10^9 bytes over the
/// network, and for five minutes of one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rates {
    pub core: i64,
    pub memory_gb: i64,
    pub disk_gb: i64,
    pub network_gb: i64,
    pub gpu: i64,
}

impl Default for Rates {
    /// The first four as `MandalaNode` has them, which gives GPUs away; here one costs as much as twenty cores.
    fn default() -> Self {
        Self { core: 1_000, memory_gb: 500, disk_gb: 10, network_gb: 200, gpu: 20_000 }
    }
}

impl Rates {
    pub const FREE: Self = Self { core: 0, memory_gb: 0, disk_gb: 0, network_gb: 0, gpu: 0 };
    /// Ten coins for five minutes of anything.
    pub const MOST: i64 = 1_000_000_000;

    pub const fn of(&self, resource: Resource) -> i64 {
        match resource {
            Resource::Cpu => self.core,
            Resource::Memory => self.memory_gb,
            Resource::Disk => self.disk_gb,
            Resource::Network => self.network_gb,
            Resource::Gpu => self.gpu,
        }
    }

    pub fn validate(&self, field: &str) -> Result<(), Invalid> {
        for (name, rate) in [
            ("core", self.core),
            ("memory_gb", self.memory_gb),
            ("disk_gb", self.disk_gb),
            ("network_gb", self.network_gb),
            ("gpu", self.gpu),
        ] {
            if !(0..=Self::MOST).contains(&rate) {
                return Err(Invalid::new(
                    format!("{field}.{name}"),
                    format!("must be from 0 to {} satoshis", Self::MOST),
                ));
            }
        }
        Ok(())
    }
}

/// What is left of a satoshi of each resource, in grains, below [`GRAINS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Carried(pub [i64; 5]);

/// What an interval costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    pub amounts: [Sats; 5],
    /// For the interval after.
    pub carried: Carried,
}

impl Charge {
    /// `None` when it does not fit: more than all coins that there will be.
    pub fn of(usage: &Usage, rates: &Rates, carried: Carried) -> Option<Self> {
        let mut charge = Self { amounts: [Sats::ZERO; 5], carried };
        for (index, resource) in Resource::ALL.into_iter().enumerate() {
            let grains = i128::from(carried.0[index]).checked_add(cost(resource, usage, rates)?)?;
            charge.amounts[index] = Sats(i64::try_from(grains / i128::from(GRAINS)).ok()?);
            charge.carried.0[index] = i64::try_from(grains % i128::from(GRAINS)).ok()?;
        }
        charge.total().filter(|total| *total <= Sats::SUPPLY)?;
        Some(charge)
    }

    pub fn total(&self) -> Option<Sats> {
        Sats::sum(self.amounts)
    }

    pub fn by_resource(&self) -> impl Iterator<Item = (Resource, Sats)> {
        Resource::ALL.into_iter().zip(self.amounts)
    }
}

/// In grains. Never negative.
fn cost(resource: Resource, usage: &Usage, rates: &Rates) -> Option<i128> {
    let (quantity, unit) = resource.quantity(usage);
    i128::from(quantity).checked_mul(unit)?.checked_mul(i128::from(rates.of(resource)))
}

/// What usage costs in millionths of a satoshi, rounded down: for one instance's share, which is shown and capped, while
/// the project is what is charged.
pub fn microsats(usage: &Usage, rates: &Rates) -> i64 {
    let grains = Resource::ALL
        .into_iter()
        .filter_map(|resource| cost(resource, usage, rates))
        .fold(0i128, i128::saturating_add);
    i64::try_from(grains / (i128::from(GRAINS) / 1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn one_unit_for_one_interval_costs_its_rate() {
        let usage = Usage {
            cpu_nanos: 300 * GB,
            memory_byte_millis: GB * 300_000,
            disk_byte_millis: GB * 300_000,
            network_bytes: GB,
            gpu_millis: 300_000,
        };
        let charge = Charge::of(&usage, &Rates::default(), Carried::default()).unwrap();
        assert_eq!(charge.amounts.map(|s| s.0), [1_000, 500, 10, 200, 20_000]);
        assert_eq!(charge.carried, Carried::default());
        assert_eq!(microsats(&usage, &Rates::default()), 21_710_000_000);
    }

    /// Fault of the seed: each resource was rounded up to a whole satoshi, five minutes of next to nothing cost four.
    #[test]
    fn fault_remainders_are_carried_and_not_rounded_up() {
        let usage = Usage { cpu_nanos: 1, network_bytes: 1, ..Usage::default() };
        let charge = Charge::of(&usage, &Rates::default(), Carried::default()).unwrap();
        assert_eq!(charge.total(), Some(Sats::ZERO));
        assert_ne!(charge.carried, Carried::default());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let usage = Usage { gpu_millis: u64::MAX, ..Usage::default() };
        assert_eq!(Charge::of(&usage, &Rates { gpu: Rates::MOST, ..Rates::FREE }, Carried::default()), None);
        assert!(Rates { core: -1, ..Rates::FREE }.validate("rates").is_err());
    }

    fn usage() -> impl Strategy<Value = Usage> {
        (0..1u64 << 50, 0..1u64 << 56, 0..1u64 << 56, 0..1u64 << 44, 0..1u64 << 30).prop_map(
            |(cpu_nanos, memory_byte_millis, disk_byte_millis, network_bytes, gpu_millis)| Usage {
                cpu_nanos,
                memory_byte_millis,
                disk_byte_millis,
                network_bytes,
                gpu_millis,
            },
        )
    }

    fn rates() -> impl Strategy<Value = Rates> {
        (0..100_000i64, 0..100_000i64, 0..10_000i64, 0..10_000i64, 0..1_000_000i64).prop_map(
            |(core, memory_gb, disk_gb, network_gb, gpu)| Rates { core, memory_gb, disk_gb, network_gb, gpu },
        )
    }

    proptest! {
        /// However usage is cut into intervals, the sum is what it costs in one piece, to the satoshi and the grain.
        #[test]
        fn any_split_costs_the_same(parts in proptest::collection::vec(usage(), 1..50), rates in rates()) {
            let whole = parts.iter().fold(Usage::default(), |total, part| total.plus(*part));
            let once = Charge::of(&whole, &rates, Carried::default()).unwrap();
            let (mut carried, mut sums) = (Carried::default(), [Sats::ZERO; 5]);
            for part in &parts {
                let charge = Charge::of(part, &rates, carried).unwrap();
                for (sum, amount) in sums.iter_mut().zip(charge.amounts) {
                    prop_assert!(!amount.is_negative());
                    *sum = sum.plus(amount).unwrap();
                }
                prop_assert!(charge.carried.0.iter().all(|c| (0..GRAINS).contains(c)));
                carried = charge.carried;
            }
            prop_assert_eq!(sums, once.amounts);
            prop_assert_eq!(carried, once.carried);
        }

        #[test]
        fn it_can_be_computed_again(usage in usage(), rates in rates(), rest in 0..GRAINS) {
            let carried = Carried([rest; 5]);
            prop_assert_eq!(Charge::of(&usage, &rates, carried), Charge::of(&usage, &rates, carried));
        }
    }
}
