//! The machine's rules for projects' bridges: one nftables table of our own, named after the server.
//!
//! A bridge's rules are written before the bridge is made, each change is one transaction, and what somebody else has
//! done to the table is undone by the next `Firewall::reconcile`. Rules stay when the server ends, since what runs
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The port of our door on each closed bridge; all are shut without one.
    pub door: Option<u16>,
    /// The port of our name server on each closed bridge, to which port 53 is led there.
    pub names: Option<u16>,
    /// Name servers that instances with a route may ask although their addresses are not public.
    pub resolvers: Vec<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { door: None, names: Some(7753), resolvers: Vec::new() }
    }
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
    settled: bool,
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

    /// Whether all bridges are known, by a first `Firewall::reconcile`. Before that, nothing may be opened.
    pub(crate) async fn is_settled(&self) -> bool {
        self.state.lock().await.settled
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

    /// Forgets bridges that are no more. What cannot be forgotten now is by the next reconciliation.
    pub(crate) async fn close(&self, bridges: &[Bridge]) {
        let mut state = self.state.lock().await;
        for bridge in bridges {
            if state.bridges.remove(&bridge.name).is_none() {
                continue;
            }
            let outcome = if state.bridges.is_empty() {
                self.write(&mut state).await.map(drop)
            } else {
                nft::run(&rules::remove_bridge(&self.table, bridge)).await.map_err(|f| f.to_string())
            };
            if let Err(error) = outcome {
                tracing::debug!(error, bridge = bridge.name, "its rules cannot be removed yet");
            }
        }
    }

    /// Makes the table what it should be for exactly these bridges, if it is not.
    pub(crate) async fn reconcile(&self, bridges: Vec<Bridge>) -> Result<Enforcement, String> {
        let mut state = self.state.lock().await;
        state.bridges = bridges.into_iter().map(|bridge| (bridge.name.clone(), bridge)).collect();
        state.settled = true;
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A firewall with a table of its own, which goes with it; `None` where no rules can be written.
    async fn firewall(settings: Settings) -> Option<Firewall> {
        let id = uuid::Uuid::from_u128(u128::from(std::process::id()) << 64 | u128::from(line_of_time()));
        let firewall = Firewall::new(ServerId(id), settings);
        match firewall.enforcement().await {
            Enforcement::Enforced => Some(firewall),
            Enforcement::Unenforced(why) => {
                skip(&why);
                None
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "another table for each test and run")]
    fn line_of_time() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap()
    }

    #[expect(clippy::print_stdout, reason = "a test's word to whoever runs it")]
    #[expect(clippy::disallowed_methods, reason = "how CI refuses skips")]
    fn skip(reason: &str) {
        println!("SKIPPED: {reason}");
        assert!(std::env::var("RYOKAN_REFUSE_SKIPS").as_deref() != Ok("1"), "SKIPPED: {reason}");
    }

    fn bridge(number: u128, kind: Kind) -> Bridge {
        let letter = if kind == Kind::Closed { 'c' } else { 'r' };
        let name = format!("rk{letter}-test{number}");
        Bridge { name, project: ProjectId(uuid::Uuid::from_u128(number)), kind }
    }

    fn hand(words: &str) {
        let done = Command::new("nft").args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
    }

    async fn listed(firewall: &Firewall) -> Option<Vec<Value>> {
        nft::table(&firewall.table).await.unwrap()
    }

    /// Whether the table is what it should be, by its own account.
    async fn is_whole(firewall: &Firewall) -> bool {
        let state = firewall.state.lock().await;
        let there = listed(firewall).await.unwrap_or_default();
        Some(rules::fixed_parts(&there)) == state.written
            && rules::elements(&there) == rules::elements(&firewall.desired(&state))
    }

    #[tokio::test]
    async fn what_is_done_to_the_table_is_undone() {
        let settings =
            Settings { door: Some(7780), resolvers: vec![[10, 0, 0, 53].into()], ..Settings::default() };
        let Some(firewall) = firewall(settings).await else { return };
        let bridges = vec![bridge(1, Kind::Closed), bridge(1, Kind::Routed), bridge(2, Kind::Closed)];
        for bridge in &bridges {
            assert_eq!(firewall.open(bridge.clone()).await, Ok(Enforcement::Enforced));
        }
        assert!(is_whole(&firewall).await);
        let table = firewall.table.clone();
        for meddling in [
            format!("delete table inet {table}"),
            format!("flush table inet {table}"),
            format!("flush chain inet {table} closed_to_host"),
            format!("flush set inet {table} closed"),
            format!("flush map inet {table} by_dns"),
            format!("delete element inet {table} within {{ rkc-test1 . rkc-test1 }}"),
            format!("add element inet {table} within {{ rkc-test1 . rkc-test2 }}"),
            format!("add element inet {table} door {{ 22 }}"),
            format!("delete element inet {table} not_public4 {{ 10.0.0.0/8 }}"),
            format!("add element inet {table} not_public4 {{ 8.8.0.0/16 }}"),
            format!("insert rule inet {table} from_closed accept"),
            format!("add element inet {table} closed {{ eth0 }}"),
        ] {
            hand(&meddling);
            assert!(!is_whole(&firewall).await, "{meddling}");
            assert_eq!(firewall.reconcile(bridges.clone()).await, Ok(Enforcement::Enforced), "{meddling}");
            assert!(is_whole(&firewall).await, "{meddling}");
        }
        firewall.reconcile(Vec::new()).await.unwrap();
        assert_eq!(listed(&firewall).await, None);
    }

    #[tokio::test]
    async fn numbers_outlive_all_but_their_bridge() {
        let Some(firewall) = firewall(Settings::default()).await else { return };
        let (first, second) = (bridge(1, Kind::Closed), bridge(2, Kind::Closed));
        firewall.open(first.clone()).await.unwrap();
        let table = firewall.table.clone();
        // As if something had been counted.
        hand(&format!("flush map inet {table} by_host"));
        hand(&format!("delete counter inet {table} {}.host", first.name));
        hand(&format!("add counter inet {table} {}.host {{ packets 7 bytes 700 }}", first.name));
        let of = |drops: Vec<Drops>, number: u128| {
            let project = ProjectId(uuid::Uuid::from_u128(number));
            let mut of = drops.into_iter().filter(|d| d.project == project && d.reason == Reason::Host);
            of.next().map(|d| (d.packets, d.bytes))
        };
        firewall.reconcile(vec![first.clone(), second.clone()]).await.unwrap();
        assert!(is_whole(&firewall).await);
        let drops = firewall.drops().await.unwrap();
        assert_eq!((of(drops.clone(), 1), of(drops, 2)), (Some((7, 700)), Some((0, 0))));
        // Another process of this server finds them.
        let again = Firewall { table, settings: Settings::default(), state: Mutex::default() };
        again.reconcile(vec![first.clone(), second.clone()]).await.unwrap();
        assert_eq!(of(again.drops().await.unwrap(), 1), Some((7, 700)));
        again.close(&[first]).await;
        let there = listed(&again).await.unwrap();
        assert!(rules::counters(&there).all(|(name, ..)| name.starts_with(&second.name)));
        assert!(is_whole(&again).await);
        again.close(&[second]).await;
        assert_eq!(listed(&again).await, None);
    }

    #[tokio::test]
    async fn a_table_of_another_make_is_replaced() {
        let Some(firewall) = firewall(Settings::default()).await else { return };
        let table = firewall.table.clone();
        hand(&format!("add table inet {table}"));
        hand(&format!("add set inet {table} closed {{ type ipv4_addr ; }}"));
        firewall.open(bridge(1, Kind::Closed)).await.unwrap();
        assert!(is_whole(&firewall).await);
        firewall.reconcile(Vec::new()).await.unwrap();
        assert_eq!(listed(&firewall).await, None);
    }

    #[test]
    fn name_servers_of_the_machine() {
        let text = "# made by\nsearch x\nnameserver 10.0.0.2\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fd00::1 # x\noptions y\nnameserver\nnameserver z\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(resolvers(text), expected);
    }
}
