//! From a workload to the engine's create call. Pure: everything that fences a container in is decided here.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    Mount, MountType, NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use ryokan_model::ServerId;
use ryokan_model::spec::{EgressProfile, Resources};
use ryokan_ports::runtime::{PROXY, Reach, Result, TRUST, Workload};

use super::engine::Facts;
use super::network::{self, Place};
use super::{door, label};
use crate::firewall::Kind;

const LOG_FILE_SIZE: &str = "10m";
const LOG_FILES: &str = "3";
/// Of the container's own loopback, where nobody answers.
const NOBODY: &str = "127.0.0.254";

/// The whole call but for the container's name.
pub(super) fn body(
    server: ServerId,
    workload: &Workload,
    facts: &Facts,
    place: &Place,
    resolvers: &[IpAddr],
) -> Result<ContainerCreateBody> {
    let spec = &workload.spec;
    let reach = facts.info.reach;
    let env = known(workload, place)
        .chain(
            door::variables(workload, place.door.as_deref())
                .into_iter()
                .map(|(name, value)| format!("{name}={value}")),
        )
        .chain(spec.env.iter().map(|(name, value)| format!("{name}={value}")))
        .chain(workload.secret_env.iter().map(|(name, value)| format!("{name}={}", value.expose())))
        .collect();
    Ok(ContainerCreateBody {
        hostname: Some(spec.hostname.clone().unwrap_or_else(|| workload.name.to_string())),
        user: spec.security.user.clone(),
        env: Some(env),
        entrypoint: spec.command.clone(),
        cmd: spec.args.clone(),
        image: Some(workload.image_id.clone()),
        labels: Some(labels(server, workload, reach, place)),
        exposed_ports: Some(spec.ports.iter().map(|p| format!("{}/tcp", p.port)).collect()),
        // We ask ourselves, by the spec's probes. Podman 4.3 would make a timer for the check that is none.
        healthcheck: (!facts.is_podman())
            .then(|| HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        // What the engine grants when it is shut down itself.
        stop_timeout: i64::try_from(spec.stop_grace.duration().as_secs()).ok(),
        host_config: Some(host(server, workload, facts, place, resolvers)?),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(place.closed.clone(), endpoint(workload))])),
        }),
        ..ContainerCreateBody::default()
    })
}

/// Its place in the project's closed network, where siblings find it by its name.
pub(super) fn endpoint(workload: &Workload) -> EndpointSettings {
    let name = &workload.name;
    let aliases = Some(vec![name.to_string(), format!("{name}.internal")]);
    EndpointSettings { aliases, ..EndpointSettings::default() }
}

/// The facts and the address of our end of the network, as `NAME=VALUE`, but for names that the spec gives itself.
fn known(workload: &Workload, place: &Place) -> impl Iterator<Item = String> {
    let proxy = place.host.iter().map(|host| (PROXY.to_owned(), host.clone()));
    let own = |name: &str| workload.spec.env.contains_key(name) || workload.spec.secret_env.contains(name);
    let facts: BTreeMap<String, String> = workload.facts.clone().into_iter().chain(proxy).collect();
    facts.into_iter().filter(move |(name, _)| !own(name)).map(|(name, value)| format!("{name}={value}"))
}

/// What a container was told of its surroundings when it was made: another text, other surroundings.
pub(super) fn surroundings(workload: &Workload, place: &Place) -> String {
    let door = door::described(workload, place.door.as_deref());
    known(workload, place).chain(door).collect::<Vec<_>>().join("\n")
}

fn labels(server: ServerId, workload: &Workload, reach: Reach, place: &Place) -> label::Labels {
    let mut labels = label::of_instance(server, workload.project, workload.instance);
    labels.insert(label::GENERATION.to_owned(), workload.generation.to_string());
    labels.insert(label::NAME.to_owned(), workload.name.to_string());
    labels.insert(label::FACTS.to_owned(), surroundings(workload, place));
    labels.insert(label::NETWORK.to_owned(), network::word(Kind::Closed).to_owned());
    // Also when there are none: an image may claim what it likes.
    labels.insert(label::GPUS.to_owned(), workload.spec.resources.gpus.to_string());
    labels.insert(label::REACH.to_owned(), reach.as_str().to_owned());
    for port in &workload.spec.ports {
        labels.insert(format!("{}{}", label::PORT, port.name), port.port.to_string());
    }
    labels
}

fn host(
    server: ServerId,
    workload: &Workload,
    facts: &Facts,
    place: &Place,
    resolvers: &[IpAddr],
) -> Result<HostConfig> {
    let spec = &workload.spec;
    let security = &spec.security;
    let trust = workload.trust.as_ref().map(|folder| Mount {
        typ: Some(MountType::BIND),
        source: Some(folder.display().to_string()),
        target: Some(TRUST.to_owned()),
        read_only: Some(true),
        ..Mount::default()
    });
    let mounts = spec
        .volumes
        .iter()
        .map(|volume| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(label::volume_name(server, workload.instance, &volume.name)),
            target: Some(volume.path.clone()),
            read_only: Some(volume.read_only),
            ..Mount::default()
        })
        .chain(trust)
        .collect();
    let (dns, dns_search) = names(workload, facts, place, resolvers);
    Ok(HostConfig {
        runtime: facts.runtime(spec)?,
        init: Some(facts.init),
        network_mode: Some(place.closed.clone()),
        dns,
        dns_search,
        port_bindings: published(workload, facts.info.reach),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        mounts: Some(mounts),
        tmpfs: Some(tmpfs(&security.tmpfs, &spec.resources)),
        readonly_rootfs: Some(security.read_only_root),
        privileged: Some(false),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(security.capabilities.iter().cloned().collect()),
        ipc_mode: Some("private".to_owned()),
        memory: Some(spec.resources.memory.signed()),
        // The same again: no swap.
        memory_swap: Some(spec.resources.memory.signed()),
        nano_cpus: Some(spec.resources.cpus.nanos()),
        pids_limit: Some(i64::from(spec.resources.pids)),
        device_requests: gpus(spec.resources.gpus),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    })
}

/// Whom it asks for names, and what is tried after them.
///
/// Docker's name server knows siblings and asks others for the rest: from the container, but those of the machine's
/// loopback from the machine, past all walls. So a closed container is never left with the machine's: it is told of ours
/// (see `names`), or of its own loopback. Podman's own name server is not used: it asks the world, whoever asks it.
fn names(
    workload: &Workload,
    facts: &Facts,
    place: &Place,
    resolvers: &[IpAddr],
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let podman = facts.is_podman().then(|| place.door.clone()).flatten();
    if workload.spec.egress == EgressProfile::Ports {
        let servers: Vec<String> =
            podman.into_iter().chain(resolvers.iter().map(IpAddr::to_string)).collect();
        return ((!servers.is_empty()).then_some(servers), None);
    }
    let server = place.door.clone().unwrap_or_else(|| NOBODY.to_owned());
    (Some(vec![server]), Some(vec![".".to_owned()]))
}

/// As `docker run --gpus N` asks for them. Which ones it gets is the engine's affair.
fn gpus(count: u32) -> Option<Vec<DeviceRequest>> {
    (count > 0).then(|| {
        vec![DeviceRequest {
            driver: Some("nvidia".to_owned()),
            count: Some(i64::from(count)),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        }]
    })
}

/// Programs unpack and run things in `/tmp`, so `noexec` is lifted. What is in it counts as the container's memory.
fn tmpfs(paths: &[String], resources: &Resources) -> HashMap<String, String> {
    let size = resources.memory.get() / 2;
    paths.iter().map(|path| (path.clone(), format!("rw,exec,nosuid,nodev,mode=1777,size={size}"))).collect()
}

fn published(workload: &Workload, reach: Reach) -> Option<PortMap> {
    if reach == Reach::Bridge {
        return None;
    }
    let binding = || PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
    Some(workload.spec.ports.iter().map(|p| (format!("{}/tcp", p.port), Some(vec![binding()]))).collect())
}
