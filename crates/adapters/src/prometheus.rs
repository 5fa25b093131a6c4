//! Metering by Prometheus, which scrapes cAdvisor: its counters of our containers. Which containers run, and since when,
//! is the engine's to say, and sizes of volumes are measured by it, because cAdvisor knows neither.
//!
//! A value counts for the run of a container within which it was measured, and for no other; series are named as the
//! engine's own are, so that a change of the source counts nothing twice. What Prometheus does not know, or knows only in
//! part, is no reading: later ones make up for it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use ryokan_model::{Millis, Secret};
use ryokan_ports::runtime::{Result, RuntimeError};
use ryokan_ports::usage::{Reading, UsageSource};
use serde::Deserialize;

use crate::docker::Docker;
use crate::docker::usage::{Counters, Run};

/// The age at which a value is none any more: scrapes are to be closer together.
const WINDOW: &str = "60s";
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
/// Containers in one question.
const ASKED: usize = 200;

const CPU: &str = "container_cpu_usage_seconds_total";
const MEMORY: &str = "container_memory_working_set_bytes";
const RECEIVED: &str = "container_network_receive_bytes_total";
const SENT: &str = "container_network_transmit_bytes_total";

/// Where Prometheus is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Without a trailing slash.
    pub url: String,
    /// A bearer token.
    pub token: Option<Secret>,
    /// A run's counters count from so long after its start on: its clock is the engine's, and Prometheus has another one.
    pub apart: Duration,
}

impl Options {
    pub fn new(url: String, token: Option<Secret>) -> Self {
        Self { url, token, apart: Duration::from_secs(30) }
    }
}

/// Counters by Prometheus, everything else by the engine.
pub struct PrometheusUsage {
    docker: Docker,
    options: Options,
    http: reqwest::Client,
}

impl PrometheusUsage {
    pub fn new(docker: Docker, options: Options) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| RuntimeError::Unavailable(e.to_string()))?;
        Ok(Self { docker, options, http })
    }

    async fn counters(&self, containers: &[String]) -> Result<HashMap<String, Counters>, String> {
        let mut found = HashMap::new();
        for some in containers.chunks(ASKED) {
            let mut body = String::from("query=");
            body.extend(form_urlencoded::byte_serialize(question(some).as_bytes()));
            let mut request = self
                .http
                .post(format!("{}/api/v1/query", self.options.url))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
            if let Some(token) = &self.options.token {
                request = request.bearer_auth(token.expose());
            }
            // Without the address, which is the operator's business.
            let mut response = request.send().await.map_err(|e| e.without_url().to_string())?;
            let mut bytes = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|e| e.without_url().to_string())? {
                if bytes.len() + piece.len() > LONGEST_ANSWER {
                    return Err("its answer is too long".into());
                }
                bytes.extend_from_slice(&piece);
            }
            let status = response.status();
            let answer: Answer = serde_json::from_slice(&bytes)
                .map_err(|_| format!("it answered {status} without its JSON"))?;
            if answer.status != "success" {
                return Err(answer.error.unwrap_or_else(|| format!("it answered {status}")));
            }
            found.extend(read(answer.data.result, some));
        }
        Ok(found)
    }
}

#[async_trait]
impl UsageSource for PrometheusUsage {
    async fn read(&self) -> Result<Vec<Reading>> {
        let containers: Vec<String> =
            self.docker.runs().await?.into_iter().map(|run| run.container).collect();
        let mut readings = self.docker.volumes_measured();
        let counted = match self.counters(&containers).await {
            Ok(counted) => counted,
            Err(error) => {
                tracing::warn!(
                    error,
                    "Prometheus tells no counters; what was used meanwhile is counted when it does"
                );
                return Ok(readings);
            }
        };
        // Asked again: what runs now ran when it was counted, or began after it.
        readings.extend(
            self.docker.runs().await?.iter().filter_map(|run| reading(run, &counted, self.options.apart)),
        );
        Ok(readings)
    }
}

/// `None` for what was counted before this run, or is not known whole.
fn reading(run: &Run, counted: &HashMap<String, Counters>, apart: Duration) -> Option<Reading> {
    let counters = counted.get(&run.container)?;
    if counters.at < run.started.plus(apart) {
        return None;
    }
    Some(run.reading(counters))
}

/// All four at once, with when each was measured. Ids are hexadecimal: nothing in them needs quotes.
fn question(containers: &[String]) -> String {
    let names = [CPU, MEMORY, RECEIVED, SENT].join("|");
    let ids = containers.join("|");
    format!("{{__name__=~\"{names}\",id=~\".*({ids}).*\"}}[{WINDOW}]")
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Seconds, and the value as text.
    values: Vec<(f64, String)>,
}

/// What one target has counted of one container.
#[derive(Default)]
struct Counted {
    /// By core; `total` where there is one.
    cpu: BTreeMap<String, (Millis, f64)>,
    memory: Option<(Millis, f64)>,
    /// By interface.
    received: BTreeMap<String, (Millis, f64)>,
    sent: BTreeMap<String, (Millis, f64)>,
}

impl Counted {
    /// As of the oldest of its parts, by Prometheus' clock; `None` unless all four are there.
    fn whole(&self) -> Option<Counters> {
        let cores: Vec<(Millis, f64)> = match self.cpu.get("total") {
            Some(total) => vec![*total],
            None => self.cpu.values().copied().collect(),
        };
        let memory = self.memory?;
        let parts = cores.iter().chain(self.received.values()).chain(self.sent.values()).chain([&memory]);
        let at = parts.map(|(at, _)| *at).min()?;
        if cores.is_empty() || self.received.is_empty() || self.sent.is_empty() {
            return None;
        }
        let sum = |parts: &mut dyn Iterator<Item = f64>| parts.sum::<f64>();
        let bytes = self.received.values().chain(self.sent.values()).map(|(_, value)| *value);
        Some(Counters {
            at,
            cpu_nanos: whole(sum(&mut cores.iter().map(|(_, value)| *value)) * 1e9)?,
            memory_bytes: whole(memory.1)?,
            network_bytes: whole(sum(&mut { bytes }))?,
        })
    }
}

/// Rounding never makes a growing counter fall.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just before")]
fn whole(value: f64) -> Option<u64> {
    (0.0..1e18).contains(&value).then_some(value as u64)
}

/// The newest value of each series, by container. Of several targets that count the same container one is believed: the
/// one that counted last.
fn read(series: Vec<Series>, containers: &[String]) -> HashMap<String, Counters> {
    let mut counted: BTreeMap<(String, String), Counted> = BTreeMap::new();
    for one in series {
        let label = |name: &str| one.metric.get(name).map(String::as_str).unwrap_or_default();
        let Some(container) = containers.iter().find(|id| is_of(label("id"), id)) else { continue };
        let Some((at, Ok(value))) = one.values.last().map(|(at, value)| (*at, value.parse::<f64>())) else {
            continue;
        };
        let Some(at) = whole(at * 1e3).and_then(|at| i64::try_from(at).ok()) else { continue };
        let target = format!("{} {}", label("job"), label("instance"));
        let entry = counted.entry((container.clone(), target)).or_default();
        let last = (Millis(at), value);
        match label("__name__") {
            CPU => drop(entry.cpu.insert(label("cpu").to_owned(), last)),
            MEMORY => entry.memory = Some(last),
            RECEIVED => drop(entry.received.insert(label("interface").to_owned(), last)),
            SENT => drop(entry.sent.insert(label("interface").to_owned(), last)),
            _ => {}
        }
    }
    let mut found: HashMap<String, Counters> = HashMap::new();
    for ((container, _), counted) in counted {
        let Some(counters) = counted.whole() else { continue };
        if found.get(&container).is_none_or(|known| known.at < counters.at) {
            found.insert(container, counters);
        }
    }
    found
}

/// Whether a control group is a container's own: `/docker/ID`, `/system.slice/docker-ID.scope`, `libpod-ID.scope`; not
/// one inside of it.
fn is_of(group: &str, container: &str) -> bool {
    let last = group.rsplit('/').next().unwrap_or_default();
    let last = last.strip_suffix(".scope").unwrap_or(last);
    last.rsplit('-').next() == Some(container)
}

#[cfg(test)]
mod tests {
    use ryokan_model::{InstanceId, ProjectId};

    use super::*;

    const APART: Duration = Duration::from_secs(30);
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn series(name: &str, labels: &[(&str, &str)], at: f64, value: &str) -> Series {
        let mut metric: BTreeMap<String, String> =
            labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        metric.insert("__name__".into(), name.into());
        metric.entry("id".into()).or_insert_with(|| format!("/docker/{ID}"));
        Series { metric, values: vec![(at - 15.0, "1".into()), (at, value.into())] }
    }

    fn whole_set(target: &str, at: f64, cpu: &str) -> Vec<Series> {
        vec![
            series(CPU, &[("cpu", "total"), ("instance", target)], at, cpu),
            series(MEMORY, &[("instance", target)], at, "5e+06"),
            series(RECEIVED, &[("interface", "eth0"), ("instance", target)], at, "100"),
            series(RECEIVED, &[("interface", "eth1"), ("instance", target)], at, "20"),
            series(SENT, &[("interface", "eth0"), ("instance", target)], at, "3"),
        ]
    }

    fn found(series: Vec<Series>) -> Option<Counters> {
        read(series, &[ID.to_owned()]).remove(ID)
    }

    #[test]
    fn the_newest_values_of_a_container() {
        let counters = found(whole_set("a", 1_000.5, "1.5")).unwrap();
        let expected = Counters {
            at: Millis(1_000_500),
            cpu_nanos: 1_500_000_000,
            memory_bytes: 5_000_000,
            network_bytes: 123,
        };
        assert_eq!(counters, expected);
        // Cores one by one, where there is no total.
        let mut cores = whole_set("a", 1_000.5, "1.5");
        cores.remove(0);
        for (core, seconds) in [("cpu00", "1"), ("cpu01", "0.25")] {
            cores.push(series(CPU, &[("cpu", core), ("instance", "a")], 1_000.5, seconds));
        }
        assert_eq!(found(cores).unwrap().cpu_nanos, 1_250_000_000);
    }

    #[test]
    fn what_is_known_in_part_is_not_known() {
        for missing in [CPU, MEMORY, RECEIVED, SENT] {
            let mut some = whole_set("a", 1_000.0, "1.5");
            some.retain(|s| s.metric["__name__"] != missing);
            assert_eq!(found(some), None, "{missing}");
        }
        for nonsense in ["NaN", "-1", "+Inf", "", "1e30"] {
            assert_eq!(found(whole_set("a", 1_000.0, nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn two_targets_that_count_the_same_count_once() {
        let mut both = whole_set("b", 1_000.0, "1.5");
        both.extend(whole_set("a", 1_007.0, "1.75"));
        both.extend(whole_set("c", 990.0, "1.4"));
        assert_eq!(found(both).unwrap().cpu_nanos, 1_750_000_000);
    }

    #[test]
    fn groups_are_a_container_s_own_or_nobody_s() {
        for own in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope"),
        ] {
            assert!(is_of(&own, ID), "{own}");
        }
        for other in [format!("/docker/{ID}/init"), format!("/docker/0{ID}"), "/".into(), String::new()] {
            assert!(!is_of(&other, ID), "{other}");
        }
    }

    #[test]
    fn a_value_from_before_a_restart_is_not_of_the_new_run() {
        let run = |started| Run {
            container: ID.into(),
            instance: InstanceId::from_parts(Millis(1), [1; 10]),
            project: ProjectId::from_parts(Millis(1), [2; 10]),
            started: Millis(started),
            gpus: 1,
        };
        let counted = read(whole_set("a", 1_000.0, "1.5"), &[ID.to_owned()]);
        let old = reading(&run(900_000), &counted, APART).unwrap();
        assert_eq!((old.cpu_nanos, old.epoch.as_str()), (1_500_000_000, "0123456789ab@900000"));
        assert_eq!(old.gpu_millis, 100_000, "for as long as it is held");
        // Begun after it was counted, or so near that the clocks may lie.
        for started in [1_000_001, 999_999, 970_001] {
            assert_eq!(reading(&run(started), &counted, APART), None, "{started}");
        }
        assert!(reading(&run(970_000), &counted, APART).is_some());
    }
}
