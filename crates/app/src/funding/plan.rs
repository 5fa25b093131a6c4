//! Which outputs a transaction spends, what it costs, and what comes back. Pure: all sums are whole satoshis, and what is
//! taken is what is given, the fee and the change.

/// The most outputs that one transaction spends.
const MOST: usize = 100;
/// Of a transaction that spends and makes outputs that pay to the hash of a key: the rest of it, an input with a
/// signature of the longest kind, and an output.
const BASE: u64 = 10;
const INPUT: u64 = 149;
const OUTPUT: u64 = 34;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Which of the outputs, by their places.
    pub(super) spends: Vec<usize>,
    pub(super) fee: u64,
    /// Zero: no output for it, as it is worth less than it costs to spend.
    pub(super) change: u64,
}

/// What a transaction of so many inputs and outputs costs, rounded up.
pub(super) fn fee(inputs: usize, outputs: u64, per_kb: u64) -> Option<u64> {
    let size = INPUT.checked_mul(inputs as u64)?.checked_add(BASE + OUTPUT * outputs)?;
    Some(size.checked_mul(per_kb)?.div_ceil(1_000).max(1))
}

/// Pays `amount` from `coins`, which are sorted, the largest first: from the smallest single one that suffices, else from
/// as few as possible. `None` when there is not enough.
pub(super) fn plan(coins: &[u64], amount: u64, per_kb: u64) -> Option<Plan> {
    let least = amount.checked_add(fee(1, 1, per_kb)?)?;
    if let Some(single) = coins.iter().rposition(|coin| *coin >= least) {
        return finish(vec![single], coins[single], amount, per_kb);
    }
    let mut taken = 0u64;
    for (place, coin) in coins.iter().enumerate().take(MOST) {
        taken = taken.checked_add(*coin)?;
        if taken >= amount.checked_add(fee(place + 1, 1, per_kb)?)? {
            return finish((0..=place).collect(), taken, amount, per_kb);
        }
    }
    None
}

fn finish(spends: Vec<usize>, taken: u64, amount: u64, per_kb: u64) -> Option<Plan> {
    let rest = taken.checked_sub(amount)?;
    let with_change = fee(spends.len(), 2, per_kb)?;
    let worth_it = INPUT.checked_mul(per_kb)?.div_ceil(1_000);
    Some(match rest.checked_sub(with_change) {
        Some(change) if change > worth_it => Plan { spends, fee: with_change, change },
        _ => Plan { spends, fee: rest, change: 0 },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_taken_is_what_is_given(
            mut coins in prop::collection::vec(1u64..2_000_000, 0..150),
            amount in 1u64..5_000_000,
            per_kb in prop_oneof![Just(0u64), Just(1), 1u64..1_000],
        ) {
            coins.sort_unstable_by(|a, b| b.cmp(a));
            let all = coins.iter().take(MOST).sum::<u64>();
            match plan(&coins, amount, per_kb) {
                Some(plan) => {
                    let taken: u64 = plan.spends.iter().map(|place| coins[*place]).sum();
                    prop_assert_eq!(taken, amount + plan.fee + plan.change);
                    let mut places = plan.spends.clone();
                    places.dedup();
                    prop_assert_eq!(places.len(), plan.spends.len(), "no output twice");
                    let outputs = 1 + u64::from(plan.change > 0);
                    let least = fee(plan.spends.len(), outputs, per_kb).unwrap();
                    prop_assert!(plan.fee >= least, "miners get what they ask for");
                    // Nothing is given to them that is worth an output of its own.
                    let most = fee(plan.spends.len(), 2, per_kb).unwrap() + (INPUT * per_kb).div_ceil(1_000);
                    prop_assert!(plan.fee <= most, "{} > {most}", plan.fee);
                }
                None => {
                    let cost = fee(coins.len().clamp(1, MOST), 1, per_kb).unwrap();
                    prop_assert!(all < amount + cost, "{all} would have paid {amount}");
                }
            }
        }
    }

    #[test]
    fn one_output_that_suffices_is_enough() {
        let found = plan(&[10_000, 600, 520, 100], 500, 100).unwrap();
        // 193 bytes for 520 − 500 = 20 satoshis: just enough, and nothing comes back.
        assert_eq!(found, Plan { spends: vec![2], fee: 20, change: 0 });
        assert_eq!(plan(&[519], 500, 100), None);
        let both = plan(&[300, 300], 500, 100).unwrap();
        assert_eq!(both, Plan { spends: vec![0, 1], fee: 38, change: 62 });
        assert_eq!(plan(&[u64::MAX, u64::MAX], u64::MAX, 100), None);
        assert_eq!(plan(&[], 1, 100), None);
    }
}
