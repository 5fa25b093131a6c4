//! The machine's rules for projects' bridges: one nftables table of our own, named after the server.
//!
//! A bridge's rules are written before the bridge is made, each change is one transaction, and what somebody else has
//! done to the table is undone by the next [`Firewall::reconcile`]. Rules stay when the server ends, since what runs
//! goes on; with the last bridge the table goes. Where rules cannot be written, that is said and never overlooked.

mod nft;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ryokan_model::{ProjectId, ServerId};
use ryokan_ports::edge::{Drops, Reason};
use serde_json::Value;
use tokio::sync::Mutex;

use nft::Failure;
pub use rules::resolvers;

/// What the rules let through besides what is the same everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The port of our door on each closed bridge; all are shut without one.
    pub door: Option<u16>,
    /// Name servers that instances with a route may ask although their addresses are not public.
    pub resolvers: Vec<IpAddr>,
}

/// What a bridge may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Closed,
    Routed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// At most 15 characters.
    pub(crate) name: String,
    pub(crate) project: ProjectId,
    pub(crate) kind: Kind,
}

/// Whether rules are in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Enforcement {
    Enforced,
    /// And why not, for people.
    Unenforced(String),
}

/// The table of one server.
pub(crate) struct Firewall {
    table: String,
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bridges: BTreeMap<String, Bridge>,
    /// How chains and rules looked when they had just been written; absent until then.
    written: Option<Vec<Value>>,
}

impl Firewall {
    pub(crate) fn new(server: ServerId, settings: Settings) -> Self {
        let table = format!("ryokan_{}", server.0.simple());
        Self { table, settings, state: Mutex::default() }
    }

    /// Whether rules can be written here.
    pub(crate) async fn enforcement(&self) -> Enforcement {
        match nft::table(&self.table).await {
            Ok(_) => Enforcement::Enforced,
            Err(failure) => Enforcement::Unenforced(failure.to_string()),
        }
    }

    /// Sees to it that a bridge's rules are there, whether it is there itself or not.
    pub(crate) async fn open(&self, bridge: Bridge) -> Result<Enforcement, String> {
        let mut state = self.state.lock().await;
        if state.written.is_some() && state.bridges.get(&bridge.name) == Some(&bridge) {
            return Ok(Enforcement::Enforced);
        }
        let added = rules::add_bridge(&self.table, &bridge);
        state.bridges.insert(bridge.name.clone(), bridge);
        // Most often the rest is as it should be, and need not be written again.
        if state.written.is_some() && nft::run(&added).await.is_ok() {
            return Ok(Enforcement::Enforced);
        }
        self.write(&mut state).await
    }

    /// Forgets bridges that are no more.
    pub(crate) async fn close(&self, names: &[String]) -> Result<(), String> {
        let mut state = self.state.lock().await;
        let known = names.iter().filter(|name| state.bridges.remove(*name).is_some()).count();
        if known == 0 { Ok(()) } else { self.write(&mut state).await.map(drop) }
    }

    /// Makes the table what it should be for exactly these bridges, if it is not.
    pub(crate) async fn reconcile(&self, bridges: Vec<Bridge>) -> Result<Enforcement, String> {
        let mut state = self.state.lock().await;
        state.bridges = bridges.into_iter().map(|bridge| (bridge.name.clone(), bridge)).collect();
        let there = match nft::table(&self.table).await {
            Ok(there) => there,
            Err(failure) => return unenforced(failure),
        };
        let as_it_should_be = match (&there, &state.written) {
            (None, _) => state.bridges.is_empty(),
            (Some(there), Some(written)) => {
                !state.bridges.is_empty()
                    && rules::fixed_parts(there) == *written
                    && rules::elements(there) == rules::elements(&self.desired(&state))
            }
            (Some(_), None) => false,
        };
        if as_it_should_be {
            return Ok(Enforcement::Enforced);
        }
        if state.written.is_some() {
            tracing::warn!(
                table = self.table,
                "somebody changed the rules of the firewall; putting them back"
            );
        }
        self.write(&mut state).await
    }

    /// What was dropped, by project and reason.
    pub(crate) async fn drops(&self) -> Result<Vec<Drops>, String> {
        let state = self.state.lock().await;
        let there = match nft::table(&self.table).await {
            Ok(there) => there.unwrap_or_default(),
            Err(Failure::Absent | Failure::Denied(_)) => Vec::new(),
            Err(failure) => return Err(failure.to_string()),
        };
        let mut sums: BTreeMap<(ProjectId, Reason), (u64, u64)> = BTreeMap::new();
        for (name, packets, bytes) in rules::counters(&there) {
            let Some((bridge, reason)) = rules::read_counter(name) else { continue };
            let Some(bridge) = state.bridges.get(bridge) else { continue };
            let sum = sums.entry((bridge.project, reason)).or_default();
            *sum = (sum.0.saturating_add(packets), sum.1.saturating_add(bytes));
        }
        let drops = sums.into_iter();
        Ok(drops
            .map(|((project, reason), (packets, bytes))| Drops { project, reason, packets, bytes })
            .collect())
    }

    fn desired(&self, state: &State) -> Vec<Value> {
        rules::whole(&self.table, &self.settings, state.bridges.values())
    }

    /// Writes the whole table. Counters of bridges that stay keep their numbers.
    async fn write(&self, state: &mut State) -> Result<Enforcement, String> {
        state.written = None;
        let there = match nft::table(&self.table).await {
            Ok(there) => there,
            Err(failure) => return unenforced(failure),
        };
        if state.bridges.is_empty() {
            if there.is_some() {
                nft::run(&rules::delete(&self.table)).await.map_err(|f| f.to_string())?;
            }
            return Ok(Enforcement::Enforced);
        }
        let desired = self.desired(state);
        let wanted: BTreeSet<&str> = rules::added_counters(&desired).collect();
        let there = there.unwrap_or_default();
        let stale = rules::counters(&there).map(|(name, ..)| name).filter(|name| !wanted.contains(name));
        let change =
            [rules::emptied(&self.table), desired.clone(), rules::delete_counters(&self.table, stale)];
        if let Err(failure) = nft::run(&change.concat()).await {
            // A table of another make: replaced, in one step as well.
            tracing::debug!(error = %failure, "the firewall's table cannot be changed; replacing it");
            let replaced = [rules::delete(&self.table), desired].concat();
            if let Err(failure) = nft::run(&replaced).await {
                return unenforced(failure);
            }
        }
        match nft::table(&self.table).await {
            Ok(Some(there)) => state.written = Some(rules::fixed_parts(&there)),
            Ok(None) => return Err("the firewall's rules are gone as soon as they are written".to_owned()),
            Err(failure) => return unenforced(failure),
        }
        Ok(Enforcement::Enforced)
    }
}

/// Nothing to write with and no right to are states of the machine; all else must not be passed over.
fn unenforced(failure: Failure) -> Result<Enforcement, String> {
    match failure {
        Failure::Absent | Failure::Denied(_) => Ok(Enforcement::Unenforced(failure.to_string())),
        Failure::Failed(_) => Err(failure.to_string()),
    }
}
