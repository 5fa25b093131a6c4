//! Name lookups that a test commands.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::dns::{DnsError, DnsResolver};

/// No name has a record until it is given one. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct FakeDns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Vec<String>>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    fault: Option<DnsError>,
    asked: Vec<String>,
}

impl FakeDns {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a TXT record.
    pub fn set(&self, name: &str, text: &str) {
        self.state().records.entry(name.to_owned()).or_default().push(text.to_owned());
    }

    /// Gives a name these addresses, and no others.
    pub fn lead(&self, name: &str, to: &[IpAddr]) {
        self.state().addresses.insert(name.to_owned(), to.to_vec());
    }

    /// Takes all records of a name away.
    pub fn remove(&self, name: &str) {
        self.state().records.remove(name);
        self.state().addresses.remove(name);
    }

    /// Every lookup fails so, until `None`.
    pub fn fail(&self, fault: Option<DnsError>) {
        self.state().fault = fault;
    }

    /// The names that were asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }
}

#[async_trait]
impl DnsResolver for FakeDns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let mut state = self.state();
        state.asked.push(name.to_owned());
        match &state.fault {
            Some(fault) => Err(fault.clone()),
            None => state.records.get(name).cloned().ok_or(DnsError::NoRecord),
        }
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let mut state = self.state();
        state.asked.push(name.to_owned());
        match &state.fault {
            Some(fault) => Err(fault.clone()),
            None => state.addresses.get(name).cloned().ok_or(DnsError::NoRecord),
        }
    }
}
