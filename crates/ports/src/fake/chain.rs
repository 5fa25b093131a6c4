//! A chain in memory: outputs that a test makes, transactions that spend them, and what addresses hold. It signs nothing;
//! what it makes stands for a transaction, and the same inputs and outputs make the same one.
//!
//! It takes no transaction that spends what another one spends, or that creates money, and remembers that one was tried.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ryokan_model::project::Network;

use crate::payment::{Output, PaymentError, PaymentProvider, Signed, Spent, Verified};

/// Clones share everything.
#[derive(Clone, Default)]
pub struct FakeChain(Arc<Mutex<State>>);

type Point = (String, u32);

#[derive(Clone)]
struct Made {
    spends: Vec<(Point, u64)>,
    outputs: Vec<Output>,
}

#[derive(Default)]
struct State {
    /// All that were made, by id: whoever broadcasts shows the id.
    made: BTreeMap<String, Made>,
    outputs: BTreeMap<Point, Output>,
    spent: BTreeMap<Point, String>,
    taken: BTreeSet<String>,
    /// Which script pays to a key's address.
    addresses: BTreeMap<String, Vec<u8>>,
    looks: u64,
    broadcasts: u64,
    wrongs: Vec<String>,
    fault: Option<PaymentError>,
    deaf: bool,
    blind: Option<PaymentError>,
}

impl FakeChain {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An output that was paid to somebody.
    pub fn mint(&self, txid: &str, satoshis: u64) {
        self.state().outputs.insert((txid.to_owned(), 0), Output { script: Vec::new(), satoshis });
    }

    /// What pays to `script` is held by the address of `key`.
    pub fn watch(&self, key: &str, script: &[u8]) {
        self.state().addresses.insert(key.to_owned(), script.to_vec());
    }

    /// Every broadcast fails so, until `None`.
    pub fn fail(&self, fault: Option<PaymentError>) {
        self.state().fault = fault;
    }

    /// Broadcasts are taken, and nobody hears that they were.
    pub fn deafen(&self, deaf: bool) {
        self.state().deaf = deaf;
    }

    /// Every look at an address fails so, until `None`.
    pub fn blind(&self, fault: Option<PaymentError>) {
        self.state().blind = fault;
    }

    /// How often addresses were looked up.
    pub fn looks(&self) -> u64 {
        self.state().looks
    }

    pub fn broadcasts(&self) -> u64 {
        self.state().broadcasts
    }

    /// Ids of what was taken.
    pub fn taken(&self) -> Vec<String> {
        self.state().taken.iter().cloned().collect()
    }

    /// What somebody tried that no wallet may: to spend what is spent, or what is not there, or to create money.
    pub fn wrongs(&self) -> Vec<String> {
        self.state().wrongs.clone()
    }

    /// What the address of `key` holds.
    pub fn held(&self, key: &str) -> u64 {
        let state = self.state();
        let Some(script) = state.addresses.get(key) else { return 0 };
        let theirs = |(point, output): &(&Point, &Output)| {
            output.script == *script && !state.spent.contains_key(*point)
        };
        state.outputs.iter().filter(theirs).map(|(_, output)| output.satoshis).sum()
    }

    /// The address's owner spends all of it.
    pub fn empty(&self, key: &str) {
        let mut state = self.state();
        let Some(script) = state.addresses.get(key).cloned() else { return };
        let points: Vec<Point> = state
            .outputs
            .iter()
            .filter(|(_, o)| o.script == script)
            .map(|(point, _)| point.clone())
            .collect();
        for point in points {
            state.spent.entry(point).or_insert_with(|| "theirs".into());
        }
    }
}

impl State {
    fn take(&mut self, txid: &str) -> Result<(), PaymentError> {
        if self.taken.contains(txid) {
            return Ok(());
        }
        let made = self.made.get(txid).cloned();
        let made = made.ok_or_else(|| PaymentError::Refused("nobody made it".into()))?;
        let mut taken = 0;
        let mut wrong = None;
        for (point, satoshis) in &made.spends {
            match self.outputs.get(point) {
                Some(output) if output.satoshis == *satoshis => taken += satoshis,
                _ => wrong = Some(format!("{point:?} does not hold {satoshis}")),
            }
            if let Some(other) = self.spent.get(point) {
                wrong = Some(format!("{point:?} is spent by {other}"));
            }
        }
        if made.outputs.iter().map(|o| o.satoshis).sum::<u64>() > taken {
            wrong = Some("it creates money".into());
        }
        if let Some(wrong) = wrong {
            self.wrongs.push(wrong.clone());
            return Err(PaymentError::Refused(wrong));
        }
        for (point, _) in made.spends {
            self.spent.insert(point, txid.to_owned());
        }
        for (place, output) in (0..).zip(made.outputs) {
            self.outputs.insert((txid.to_owned(), place), output);
        }
        self.taken.insert(txid.to_owned());
        Ok(())
    }
}

#[async_trait]
impl PaymentProvider for FakeChain {
    async fn verify(&self, _: Network, _: Vec<u8>, _: &[u8]) -> Result<Verified, PaymentError> {
        Err(PaymentError::Malformed("this chain knows no proofs".into()))
    }

    async fn broadcast(&self, _: Network, extended: &[u8]) -> Result<(), PaymentError> {
        let mut state = self.state();
        state.broadcasts += 1;
        let txid = String::from_utf8_lossy(extended);
        if let Some(fault) = state.fault.clone() {
            // Of what it has it does not say that it will not have it.
            let has = state.taken.contains(txid.as_ref()) && !matches!(fault, PaymentError::Unavailable(_));
            return if has { Ok(()) } else { Err(fault) };
        }
        state.take(&txid)?;
        if state.deaf {
            return Err(PaymentError::Unavailable("the answer was lost".into()));
        }
        Ok(())
    }

    async fn funds(&self, _: Network, key: &str) -> Result<u64, PaymentError> {
        let blind = {
            let mut state = self.state();
            state.looks += 1;
            state.blind.clone()
        };
        blind.map_or_else(|| Ok(self.held(key)), Err)
    }

    async fn sign(&self, inputs: Vec<Spent>, outputs: Vec<Output>) -> Result<Signed, PaymentError> {
        let part = |part: u8| {
            let mut hasher = DefaultHasher::new();
            part.hash(&mut hasher);
            for input in &inputs {
                (&input.txid, input.output, input.satoshis).hash(&mut hasher);
            }
            for output in &outputs {
                (&output.script, output.satoshis).hash(&mut hasher);
            }
            format!("{:016x}", hasher.finish())
        };
        let txid = (0..4).map(part).collect::<String>();
        let spends = inputs.into_iter().map(|i| ((i.txid, i.output), i.satoshis)).collect();
        self.state().made.insert(txid.clone(), Made { spends, outputs });
        Ok(Signed { extended: txid.clone().into_bytes(), txid })
    }
}
