//! What must hold after every crash, once the server is back. What does not is a [`Violation`] of one of five kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::rig::{Rig, settle};

/// How long the engine and the queue may take once all instances are as they are wanted.
const AFTERWARDS: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Something does not come to rest.
    Stuck,
    /// The engine holds what no row wants.
    Orphaned,
    /// What was acknowledged is not there, or what was deleted is.
    Lost,
    /// Something is there, or was told, twice.
    Duplicated,
    /// The server holds on to more than it began with.
    Leaked,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Stuck, Self::Orphaned, Self::Lost, Self::Duplicated, Self::Leaked];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Orphaned => "orphaned",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Leaked => "leaked",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    /// The instance's name, if it is about one.
    pub(crate) about: Option<String>,
}

/// What the clients know: names whose creation, or deletion, was acknowledged, and the last that was acknowledged of
/// those that live.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    pub(crate) created: BTreeSet<String>,
    pub(crate) deleted: BTreeSet<String>,
    pub(crate) told: BTreeMap<String, Told>,
}

/// The last acknowledged wishes; `None` where an answer did not come since.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told {
    pub(crate) desired: Option<&'static str>,
    /// The variable `MARK`.
    pub(crate) mark: Option<String>,
}

/// Everything, or the test fails.
pub(crate) fn check(rig: &Rig, known: &Known) {
    let violations = Findings::new(rig).all(known, Duration::from_secs(90));
    let text: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.kind.word(), v.what)).collect();
    assert!(violations.is_empty(), "{}\n{}", text.join("\n"), rig.log());
}

pub(crate) struct Findings<'a> {
    rig: &'a Rig,
    found: Vec<Violation>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(rig: &'a Rig) -> Self {
        Self { rig, found: Vec::new() }
    }

    fn add(&mut self, kind: Kind, about: Option<&str>, what: String) {
        self.found.push(Violation { kind, what, about: about.map(str::to_owned) });
    }

    /// Waits until every instance is as it is wanted, then checks everything.
    pub(crate) fn all(mut self, known: &Known, within: Duration) -> Vec<Violation> {
        let rig = self.rig;
        // As they were then: a restart that was asked for before the crash may only now begin.
        let settled = settle(within, || rig.instances().filter(|all| all.iter().all(converged)));
        let Some(instances) = settled.or_else(|| rig.instances()) else {
            self.add(Kind::Stuck, None, "the API does not list the instances".into());
            return self.found;
        };
        for i in instances.iter().filter(|i| !converged(i)) {
            let what =
                format!("{} wants {} and is {}: {}", i["name"], i["desired"], i["state"], i["message"]);
            self.add(Kind::Stuck, i["name"].as_str(), what);
        }
        self.check_rows(&instances, known);
        self.check_engine(&instances);
        self.check_events(known);
        self.check_jobs();
        self.found
    }

    /// Nothing acknowledged is lost, nothing deleted comes back.
    fn check_rows(&mut self, instances: &[Value], known: &Known) {
        let rows: BTreeMap<String, &Value> = instances.iter().map(|i| (text(i, "name"), i)).collect();
        for name in known.created.difference(&known.deleted).filter(|name| !rows.contains_key(*name)) {
            self.add(Kind::Lost, Some(name), format!("{name} was created and is gone"));
        }
        for name in known.deleted.iter().filter(|name| rows.contains_key(*name)) {
            self.add(Kind::Lost, Some(name), format!("{name} was deleted and is back"));
        }
        for (name, told) in &known.told {
            let Some(row) = rows.get(name) else { continue };
            if let Some(desired) = told.desired.filter(|d| row["desired"] != *d) {
                let what = format!("{name} was to be {desired} and wants {}", row["desired"]);
                self.add(Kind::Lost, Some(name), what);
            }
            let has = &row["spec"]["env"]["MARK"];
            // An update that could not be carried out is taken back, and says so.
            if told.mark.is_some() && has.as_str() != told.mark.as_deref() && row["update_error"].is_null() {
                self.add(
                    Kind::Lost,
                    Some(name),
                    format!("{name} was updated to {:?} and has {has}", told.mark),
                );
            }
        }
    }

    /// One container for each live instance, running exactly when it should; no orphan of any kind.
    fn check_engine(&mut self, instances: &[Value]) {
        let rig = self.rig;
        let names: BTreeMap<String, String> =
            instances.iter().map(|i| (text(i, "id"), text(i, "name"))).collect();
        // Of those that are stuck nothing more is asked.
        let wanted: BTreeMap<String, bool> = instances
            .iter()
            .filter(|i| converged(i))
            .map(|i| (text(i, "id"), i["desired"] == "running"))
            .collect();
        let differences = || {
            let template = "{{index .Config.Labels \"ryokan.instance\"}} {{.State.Running}} {{.Name}}";
            let mut seen = BTreeMap::<String, Vec<(bool, String)>>::new();
            for line in rig.inspected("containers", template) {
                let mut words = line.splitn(3, ' ');
                let (instance, running) = (words.next().unwrap_or_default(), words.next() == Some("true"));
                let container = words.next().unwrap_or_default().to_owned();
                seen.entry(instance.to_owned()).or_default().push((running, container));
            }
            let mut found = Vec::new();
            for (id, containers) in &seen {
                match names.get(id) {
                    None => found.push((
                        Kind::Orphaned,
                        None,
                        format!("containers without a row: {containers:?}"),
                    )),
                    name if containers.len() > 1 => {
                        found.push((Kind::Duplicated, name, format!("it has containers {containers:?}")));
                    }
                    _ => {}
                }
            }
            for (id, running) in &wanted {
                let name = names.get(id);
                // A stopped instance may never have had a container.
                let difference = match (seen.get(id).map(|all| all.iter().any(|c| c.0)), running) {
                    (Some(true), true) | (Some(false) | None, false) => continue,
                    (None, true) => (Kind::Lost, "it is ready and has no container"),
                    (Some(true), false) => (Kind::Orphaned, "it is stopped and runs"),
                    (Some(false), true) => (Kind::Stuck, "it is ready and does not run"),
                };
                found.push((difference.0, name, difference.1.into()));
            }
            for line in rig.inspected("volumes", "{{index .Labels \"ryokan.instance\"}} {{.Name}}") {
                let (owner, volume) = line.split_once(' ').unwrap_or(("", &line));
                let owner = names.keys().find(|id| *id == owner || torn_from(id, volume));
                if owner.is_none() {
                    found.push((Kind::Orphaned, None, format!("the volume {volume} has no row")));
                }
            }
            let projects: BTreeSet<String> = instances.iter().map(|i| text(i, "project")).collect();
            let networks = rig.holdings("networks");
            if networks.len() > projects.len() {
                found.push((Kind::Orphaned, None, format!("networks are left: {networks:?}")));
            }
            found
        };
        if settle(AFTERWARDS, || differences().is_empty().then_some(())).is_none() {
            for (kind, name, what) in differences() {
                let what = name.map_or_else(|| what.clone(), |name| format!("{name}: {what}"));
                self.add(kind, name.map(String::as_str), what);
            }
        }
    }

    /// The log has no gaps in its order, no doubles, and tells each life once.
    fn check_events(&mut self, known: &Known) {
        let Some(events) = all_events(self.rig) else {
            self.add(Kind::Stuck, None, "the events cannot be read".into());
            return;
        };
        let numbers: Vec<i64> = events.iter().filter_map(|e| e["seq"].as_i64()).collect();
        if numbers.len() != events.len() || !numbers.windows(2).all(|w| w[0] < w[1]) {
            self.add(Kind::Duplicated, None, "events are out of order or doubled".into());
        }
        let mut lives = BTreeMap::<(&str, String), u32>::new();
        for event in &events {
            for kind in ["instance.created", "instance.deleted"] {
                if event["kind"] == kind {
                    *lives.entry((kind, text(event, "subject_name"))).or_default() += 1;
                }
            }
        }
        for ((kind, name), times) in lives.iter().filter(|(_, times)| **times > 1) {
            self.add(Kind::Duplicated, Some(name), format!("{name} has {times} events {kind}"));
        }
        for (kind, names) in [("instance.created", &known.created), ("instance.deleted", &known.deleted)] {
            for name in names.iter().filter(|name| !lives.contains_key(&(kind, (*name).clone()))) {
                self.add(Kind::Lost, Some(name), format!("{name} has no event {kind}"));
            }
        }
        // Each instance's states follow one another: no step is doubled, none is missing.
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        for event in &events {
            let (kind, id) = (text(event, "kind"), text(event, "subject_id"));
            let (Some(state), Some(from)) = (kind.strip_prefix("instance."), event["data"]["from"].as_str())
            else {
                continue;
            };
            let before = last.insert(id, state.to_owned()).unwrap_or_else(|| "pending".into());
            if before != from {
                let name = text(event, "subject_name");
                let what = format!("{name} goes from {from} to {state}, but was {before}");
                let kind = if before == state { Kind::Duplicated } else { Kind::Lost };
                self.add(kind, Some(&name), what);
            }
        }
    }

    /// No job is stuck or dead.
    fn check_jobs(&mut self) {
        let rig = self.rig;
        let unfinished = || {
            let (_, body) = rig.get("/v1/system/jobs?limit=500")?;
            let page: Value = serde_json::from_str(&body).ok()?;
            Some(
                page["items"]
                    .as_array()?
                    .iter()
                    .filter(|j| j["state"] != "done")
                    .cloned()
                    .collect::<Vec<_>>(),
            )
        };
        if settle(AFTERWARDS, || unfinished().filter(Vec::is_empty)).is_none() {
            for job in unfinished().unwrap_or_default() {
                self.add(Kind::Stuck, None, format!("a job is left: {job}"));
            }
        }
    }
}

/// All events that there are.
pub(crate) fn all_events(rig: &Rig) -> Option<Vec<Value>> {
    let (mut after, mut events) = (0, Vec::new());
    loop {
        let path = format!("/v1/events?after={after}&limit=500");
        let (code, body) = settle(Duration::from_secs(10), || rig.get(&path))?;
        if code != 200 {
            return None;
        }
        let page: Value = serde_json::from_str(&body).ok()?;
        events.extend(page["items"].as_array()?.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = next.parse().ok()?,
            None => return Some(events),
        }
    }
}

pub(crate) fn converged(instance: &Value) -> bool {
    matches!(
        (instance["desired"].as_str(), instance["state"].as_str()),
        (Some("running"), Some("ready")) | (Some("stopped"), Some("stopped"))
    )
}

/// An engine that dies while it makes a volume forgets its labels, not its name, which holds the end of our id.
fn torn_from(id: &str, volume: &str) -> bool {
    id.get(24..).is_some_and(|end| volume.split('-').nth(2) == Some(end))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
