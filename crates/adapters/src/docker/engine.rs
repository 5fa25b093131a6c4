//! What the engine is: version, runtimes, size, and how its containers are reached. Asked anew every half minute.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::models::SystemInfo;
use ryokan_model::spec::{InstanceSpec, Security};
use ryokan_ports::runtime::{EngineInfo, Reach, Result, RuntimeError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Inner;
use super::podman::PODMAN;
use crate::firewall::Enforcement;

/// What a small agent and gVisor's kernel need together.
const GVISOR_PIDS: u32 = 256;
const FRESH: Duration = Duration::from_secs(30);

/// What `info` said last, in our terms.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) info: EngineInfo,
    default_runtime: String,
    /// Whether the engine has an init to put before the agent.
    pub(super) init: bool,
    /// Which of the spec's resources the engine's kernel or user cannot limit.
    unlimited: Vec<&'static str>,
    /// Why its networks are not this machine's, so that neither our rules nor our door are at them.
    pub(super) elsewhere: Option<String>,
    /// Whether containers may run without them all the same.
    allow_unlimited: bool,
}

#[derive(Default)]
pub(super) struct Cache(Mutex<Option<(Instant, Arc<Facts>)>>);

impl Inner {
    pub(super) async fn facts(&self) -> Result<Arc<Facts>> {
        let patience = self.link.patience;
        let lock = tokio::time::timeout(patience * 2, self.facts.0.lock()).await;
        let mut cached = lock.map_err(|_| self.link.silent(patience))?;
        if let Some((at, facts)) = &*cached
            && at.elapsed() < FRESH
        {
            return Ok(facts.clone());
        }
        let facts = Box::pin(self.learn()).await?;
        *cached = Some((Instant::now(), facts.clone()));
        Ok(facts)
    }

    /// As they are now. Podman, which takes long to describe itself, is asked only whether it is there when it has done
    /// so a moment ago.
    pub(super) async fn current_facts(&self) -> Result<Arc<Facts>> {
        let cached = self.facts.0.lock().await.clone();
        if let Some((at, facts)) = cached
            && facts.is_podman()
            && at.elapsed() < FRESH
            && self.introduced().await? == (PODMAN.to_owned(), facts.info.version.clone())
        {
            return Ok(facts);
        }
        self.fresh_facts().await
    }

    pub(super) async fn fresh_facts(&self) -> Result<Arc<Facts>> {
        let facts = Box::pin(self.learn()).await?;
        *self.facts.0.lock().await = Some((Instant::now(), facts.clone()));
        Ok(facts)
    }

    /// Asks, and says what people should know of the engine whenever it is something new.
    async fn learn(&self) -> Result<Arc<Facts>> {
        let facts = Arc::new(Box::pin(self.ask()).await?);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != facts.info.warnings {
            for warning in &facts.info.warnings {
                tracing::warn!("engine: {warning}");
            }
            said.clone_from(&facts.info.warnings);
        }
        drop(said);
        Ok(facts)
    }

    async fn ask(&self) -> Result<Facts> {
        let (engine, version, info, rootless, unlimited) = match self.podman().await? {
            Some(podman) => (PODMAN, podman.version, podman.info, podman.rootless, podman.unlimited),
            None => {
                let api = self.link.api().await?;
                let info = self.link.call("the engine", api.info()).await?;
                let version = info.server_version.clone().unwrap_or_default();
                let (rootless, unlimited) = (says_rootless(&info), says_unlimited(&info));
                ("docker", version, info, rootless, unlimited)
            }
        };
        let podman = engine == PODMAN;
        let elsewhere = match () {
            () if rootless => Some("a rootless engine keeps its networks to itself; use a rootful one"),
            () if is_desktop(&info) => {
                Some("Docker Desktop's networks are in a virtual machine; use an engine on Linux")
            }
            () if podman && self.podman_is_our_neighbour(&info).await => None,
            () if !podman && self.bridge_is_ours().await? => None,
            () => Some("the engine's networks are not this machine's; run the server where the engine is"),
        };
        let reach = match self.options.reach {
            Some(reach) => reach,
            None if elsewhere.is_some() => Reach::Loopback,
            None => Reach::Bridge,
        };
        let mut warnings = Vec::new();
        let enforcement = match elsewhere {
            Some(why) => Enforcement::Unenforced(why.to_owned()),
            None => self.firewall.enforcement().await,
        };
        if let Enforcement::Unenforced(why) = enforcement {
            warnings.push(unfiltered(&why));
        }
        if !unlimited.is_empty() {
            warnings.push(unlimited_warning(&unlimited, self.options.allow_unlimited));
        }
        let default_runtime = info.default_runtime.clone().unwrap_or_else(|| "runc".to_owned());
        let mut facts = EngineInfo {
            engine: engine.to_owned(),
            version,
            // Podman's Docker-compatible call overlooks the runtime that it is asked for, and lists many that are
            // not even installed: it has its default one and no other, and that only if it is plain.
            isolations: match podman {
                true if !is_plain(&default_runtime) => Vec::new(),
                true => isolations(vec![default_runtime.clone()], &default_runtime),
                false => isolations(named(&info), &default_runtime),
            },
            rootless,
            reach,
            cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            memory: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            no_gpus: self.why_no_gpus(&info, podman).await,
            unlimited: unlimited.iter().map(|r| (*r).to_owned()).collect(),
            warnings,
        };
        if podman && !is_plain(&default_runtime) {
            facts.warnings.push(foreign_runtime(&default_runtime));
        }
        if podman {
            facts.warnings.extend(self.networks_that_are_open(&facts, &info).await);
        }
        Ok(Facts {
            init: info.init_commit.as_ref().and_then(|c| c.id.as_deref()) != Some("N/A")
                && !self.no_init.load(Ordering::Relaxed),
            info: facts,
            default_runtime,
            unlimited,
            elsewhere: elsewhere.map(str::to_owned),
            allow_unlimited: self.options.allow_unlimited,
        })
    }

    /// Whether the engine's bridge is an interface of this machine (and network namespace).
    async fn bridge_is_ours(&self) -> Result<bool> {
        let api = self.link.api().await?;
        let network = match self.link.call("bridge", api.inspect_network("bridge", None)).await {
            Ok(network) => network,
            Err(RuntimeError::NotFound(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        let subnets = network.ipam.and_then(|i| i.config).unwrap_or_default();
        Ok(subnets.iter().filter_map(|c| c.subnet.as_deref()).any(is_local))
    }
}

/// Whether this machine has an address of its own in an IPv4 subnet. The kernel is asked for the address from which
/// it would send to a neighbour there; nothing is sent.
fn is_local(subnet: &str) -> bool {
    let Some((Ok(network), Ok(length))) =
        subnet.split_once('/').map(|(n, l)| (n.parse::<Ipv4Addr>(), l.parse::<u32>()))
    else {
        return false;
    };
    let own = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::from(u32::from(network) + 2), 9)).ok()?;
        match socket.local_addr().ok()?.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    };
    let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
    own().is_some_and(|own| u32::from(own) & mask == u32::from(network) & mask)
}

fn says_rootless(info: &SystemInfo) -> bool {
    let options = info.security_options.iter().flatten();
    options.flat_map(|option| option.split(',')).any(|o| o == "name=rootless")
}

fn says_unlimited(info: &SystemInfo) -> Vec<&'static str> {
    let limits = [("memory", info.memory_limit), ("cpus", info.cpu_cfs_quota), ("pids", info.pids_limit)];
    limits.into_iter().filter(|(_, can)| *can == Some(false)).map(|(resource, _)| resource).collect()
}

fn unlimited_warning(unlimited: &[&str], allowed: bool) -> String {
    let what = unlimited.join(", ");
    if allowed {
        format!(
            "it does not limit {what}: any agent can take all of the machine; use cgroup v2, or a rootful engine"
        )
    } else {
        format!(
            "it cannot limit {what}, so it is given no instance to run; use cgroup v2, a rootful engine, or \
             `engine.allow_unlimited`"
        )
    }
}

fn unfiltered(why: &str) -> String {
    format!(
        "what agents send is not filtered, so services of this machine are open to them, and `ports` is refused: {why}"
    )
}

fn foreign_runtime(runtime: &str) -> String {
    format!(
        "Podman cannot open terminals or write files under its own runtime `{runtime}`, so it is given no instance to \
         run; set `runtime` to `crun` or `runc` in its containers.conf, or use Docker for `{runtime}`"
    )
}

fn is_desktop(info: &SystemInfo) -> bool {
    info.operating_system.as_deref().is_some_and(|os| os.contains("Docker Desktop"))
}

/// Plain containers, whichever program makes them: they are all as strong as `runc`.
fn is_plain(runtime: &str) -> bool {
    matches!(runtime, "runc" | "crun" | "youki") || runtime.starts_with("io.containerd.runc.")
}

/// Every runtime that the engine names.
fn named(info: &SystemInfo) -> Vec<String> {
    info.runtimes.iter().flat_map(|runtimes| runtimes.keys()).cloned().collect()
}

fn isolations(named: Vec<String>, default_runtime: &str) -> Vec<String> {
    let mut names: BTreeSet<String> =
        named.into_iter().filter(|name| !name.starts_with("io.containerd.")).collect();
    if is_plain(default_runtime) {
        names.insert(Security::DEFAULT_ISOLATION.to_owned());
    }
    names.into_iter().collect()
}

impl Facts {
    pub(super) fn is_podman(&self) -> bool {
        self.info.engine == PODMAN
    }

    /// The `Runtime` of a container with this spec; `None` leaves the engine's default.
    pub(super) fn runtime(&self, spec: &InstanceSpec) -> Result<Option<String>> {
        let wanted = &spec.security.isolation;
        if self.is_podman() && !is_plain(&self.default_runtime) {
            return Err(RuntimeError::Refused {
                field: "security.isolation".to_owned(),
                reason: foreign_runtime(&self.default_runtime),
            });
        }
        if !self.info.isolations.contains(wanted) {
            return Err(RuntimeError::Refused {
                field: "security.isolation".to_owned(),
                reason: format!(
                    "`{wanted}` is not installed in this engine; it has {}",
                    self.info.isolations.join(", ")
                ),
            });
        }
        let by_default = wanted == Security::DEFAULT_ISOLATION && is_plain(&self.default_runtime)
            || *wanted == self.default_runtime;
        Ok((!by_default).then(|| wanted.clone()))
    }

    /// Refuses what no amount of waiting makes possible.
    pub(super) fn fits(&self, spec: &InstanceSpec) -> Result<()> {
        let refuse = |field: &str, reason: String| {
            Err(RuntimeError::Refused { field: format!("resources.{field}"), reason })
        };
        // Such an engine takes the limit, says so in a warning, and forgets it.
        if let Some(resource) = self.unlimited.first()
            && !self.allow_unlimited
        {
            return refuse(
                resource,
                "this engine cannot limit it (a rootless engine needs cgroup v2 with delegated controllers); \
                 `engine.allow_unlimited` runs agents without limits"
                    .to_owned(),
            );
        }
        // Fewer, and it dies at random, with the exit code 2 of its Go.
        if spec.security.isolation == "runsc" && spec.resources.pids < GVISOR_PIDS {
            let reason = format!("gVisor's own threads are counted too: give it at least {GVISOR_PIDS}");
            return refuse("pids", reason);
        }
        if spec.resources.gpus > 0
            && let Some(why) = &self.info.no_gpus
        {
            return refuse("gpus", why.clone());
        }
        if spec.resources.memory.get() > self.info.memory {
            return refuse(
                "memory",
                format!(
                    "{} is more than the engine's host has ({})",
                    spec.resources.memory,
                    mebibytes(self.info.memory)
                ),
            );
        }
        if u64::from(spec.resources.cpus.millis()) > u64::from(self.info.cpus) * 1000 {
            return refuse(
                "cpus",
                format!("{} is more than the engine's host has ({})", spec.resources.cpus, self.info.cpus),
            );
        }
        Ok(())
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}Mi", bytes / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(runtimes: &[&str], default: &str) -> Facts {
        let runtimes = runtimes.iter().map(|n| (*n).to_owned()).collect();
        Facts {
            init: true,
            info: EngineInfo {
                engine: "docker".to_owned(),
                version: String::new(),
                isolations: isolations(runtimes, default),
                rootless: false,
                reach: Reach::Bridge,
                cpus: 2,
                memory: 1 << 30,
                no_gpus: Some("it has none; buy some".to_owned()),
                unlimited: Vec::new(),
                warnings: Vec::new(),
            },
            default_runtime: default.to_owned(),
            unlimited: Vec::new(),
            elsewhere: None,
            allow_unlimited: false,
        }
    }

    fn wants(isolation: &str) -> InstanceSpec {
        let mut spec = InstanceSpec::new("x".parse().unwrap());
        isolation.clone_into(&mut spec.security.isolation);
        spec
    }

    #[test]
    fn isolation_is_never_downgraded() {
        let docker = facts(&["runc", "io.containerd.runc.v2", "runsc"], "runc");
        assert_eq!(docker.info.isolations, ["runc", "runsc"]);
        assert_eq!(docker.runtime(&wants("runc")).unwrap(), None);
        assert_eq!(docker.runtime(&wants("runsc")).unwrap().as_deref(), Some("runsc"));
        let refused = docker.runtime(&wants("kata")).unwrap_err().to_string();
        assert!(refused.contains("security.isolation") && refused.contains("runc, runsc"), "{refused}");

        let podman = facts(&["crun"], "crun");
        assert_eq!(podman.runtime(&wants("runc")).unwrap(), None);

        let mut foreign = facts(&["runsc"], "runsc");
        foreign.info.engine = "podman".to_owned();
        for isolation in ["runsc", "runc"] {
            let refused = foreign.runtime(&wants(isolation)).unwrap_err().to_string();
            assert!(
                refused.starts_with("security.isolation: ") && refused.contains("use Docker for `runsc`"),
                "{refused}"
            );
        }

        let strict = facts(&["runc", "runsc"], "runsc");
        assert_eq!(strict.runtime(&wants("runc")).unwrap().as_deref(), Some("runc"));
        assert_eq!(strict.runtime(&wants("runsc")).unwrap(), None);
    }

    #[test]
    fn own_networks_are_known() {
        assert!(is_local("127.0.0.0/8"));
        for foreign in ["203.0.113.0/24", "", "x/8", "10.0.0.0", "1.2.3.4/x"] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn what_the_host_does_not_have_is_refused_by_field() {
        let mut spec = wants("runc");
        spec.resources.memory = ryokan_model::quantity::Bytes::mebi(4096);
        assert!(facts(&[], "runc").fits(&spec).unwrap_err().to_string().starts_with("resources.memory: 4Gi"));
        spec.resources.memory = ryokan_model::quantity::Bytes::mebi(64);
        let rootless = Facts { unlimited: vec!["pids"], ..facts(&[], "runc") };
        assert!(
            rootless.fits(&spec).unwrap_err().to_string().starts_with("resources.pids: this engine cannot")
        );
        let allowed = Facts { allow_unlimited: true, ..rootless };
        assert!(allowed.fits(&spec).is_ok());
        let mut narrow = wants("runsc");
        narrow.resources.pids = 64;
        assert!(
            facts(&["runsc"], "runc")
                .fits(&narrow)
                .unwrap_err()
                .to_string()
                .starts_with("resources.pids: gVisor")
        );
        spec.resources.gpus = 1;
        let refused = facts(&[], "runc").fits(&spec).unwrap_err().to_string();
        assert_eq!(refused, "resources.gpus: it has none; buy some");
        spec.resources.gpus = 0;
        spec.resources.cpus = ryokan_model::quantity::Cpus::from_millis(2001);
        assert!(facts(&[], "runc").fits(&spec).unwrap_err().to_string().starts_with("resources.cpus: 2001m"));
    }
}
