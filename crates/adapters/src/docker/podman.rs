//! What Podman does otherwise than Docker behind the same API, and where its own API must be asked: networks that
//! are kept apart, limits that it would forget, an init that may be missing. See `docs/engines.md`.

use std::collections::HashMap;

use bollard::models::SystemInfo;
use bytes::Bytes;
use http_body_util::Full;
use ryokan_ports::runtime::{Result, RuntimeError};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Inner;
use super::connect::{self, Address};
use super::label::Labels;
use super::network;

pub(super) const PODMAN: &str = "podman";
/// Any 4.x or 5.x answers to it.
const API: &str = "/v4.0.0/libpod";
/// Of its description.
const WANTED: [&str; 7] =
    ["DefaultRuntime", "MemTotal", "Name", "NCPU", "OperatingSystem", "Runtimes", "SystemTime"];

/// What Podman says of itself: Docker's words, and what those leave out. They do not say that it is rootless, and they
/// say that it limits memory, processors and processes even where it drops the limits.
pub(super) struct Podman {
    pub(super) version: String,
    pub(super) info: SystemInfo,
    pub(super) rootless: bool,
    /// Limits that it would forget.
    pub(super) unlimited: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Extra {
    #[serde(default)]
    rootless: bool,
    #[serde(default)]
    cgroup_version: String,
}

#[derive(Deserialize)]
struct OwnInfo {
    host: OwnHost,
}

#[derive(Deserialize)]
struct OwnHost {
    #[serde(rename = "cgroupControllers", default)]
    controllers: Vec<String>,
}

/// From headers like `Libpod-Api-Version: 4.3.1` and `Server: Docker/20.10.24 (linux)`.
fn introduction(libpod: Option<&str>, server: Option<&str>) -> (String, String) {
    if let Some(version) = libpod {
        return (PODMAN.to_owned(), version.to_owned());
    }
    let version = server.and_then(|s| s.strip_prefix("Docker/")?.split_whitespace().next());
    ("docker".to_owned(), version.unwrap_or_default().to_owned())
}

/// A user's Podman has the controllers that cgroup v2 delegates.
fn unlimited(controllers: &[String]) -> Vec<&'static str> {
    let needed = [("memory", "memory"), ("cpus", "cpu"), ("pids", "pids")];
    let lacking = needed.iter().filter(|(_, controller)| !controllers.iter().any(|c| c == controller));
    lacking.map(|(resource, _)| *resource).collect()
}

impl Inner {
    /// `None` when the engine is not Podman. Its `version` is never asked, and its own `info` only where it must be:
    /// each starts a dozen programs to learn their versions, and takes seconds on a busy machine.
    pub(super) async fn podman(&self) -> Result<Option<Podman>> {
        let (name, version) = self.introduced().await?;
        if name != PODMAN {
            return Ok(None);
        }
        let path = self.link.versioned("/info").await?;
        let mut info: Value = self.link.get("the engine", &path).await?;
        let unknown =
            |e| RuntimeError::Other(format!("Podman describes itself in words that we do not know: {e}"));
        let extra = Extra::deserialize(&info).map_err(unknown)?;
        // The rest is not always what bollard expects.
        if let Some(fields) = info.as_object_mut() {
            fields.retain(|name, _| WANTED.contains(&name.as_str()));
        }
        let info = SystemInfo::deserialize(info).map_err(unknown)?;
        let unlimited = match (extra.rootless, extra.cgroup_version.as_str()) {
            (false, _) => Vec::new(),
            (true, "1") => unlimited(&[]),
            (true, _) => {
                let own: OwnInfo = self.link.get("the engine", &format!("{API}/info")).await?;
                unlimited(&own.host.controllers)
            }
        };
        Ok(Some(Podman { version, info, rootless: extra.rootless, unlimited }))
    }

    /// The engine's name and version by its answer to a ping; nothing is cheaper to ask.
    pub(super) async fn introduced(&self) -> Result<(String, String)> {
        let request = hyper::Request::get("/_ping")
            .body(http_body_util::Either::Left(Full::new(Bytes::new())))
            .map_err(|e| RuntimeError::Other(e.to_string()))?;
        let ask = async {
            let response = self.link.send(request).await?;
            if !response.status().is_success() {
                return Err(connect::refusal(response).await);
            }
            let header = |name: &str| response.headers().get(name)?.to_str().ok();
            Ok(introduction(header("libpod-api-version"), header("server")))
        };
        self.link.call("the engine", ask).await
    }

    /// A bridge network that Podman keeps apart from its other ones. Its Docker-compatible call cannot say so, and
    /// without it every network reaches every other.
    pub(super) async fn create_isolated_network(&self, wanted: network::Wanted<'_>) -> Result<()> {
        let mut body = serde_json::json!({
            "name": wanted.name,
            "driver": "bridge",
            "network_interface": wanted.bridge,
            "internal": wanted.internal,
            // Its name server asks the world for what it does not know, and no rule can tell whom it asks for.
            "dns_enabled": false,
            "labels": wanted.labels,
            "options": HashMap::from([("isolate", "true")]),
        });
        if let Some(subnet) = wanted.subnet {
            body["subnets"] = serde_json::json!([{ "subnet": subnet, "gateway": network::first_in(subnet) }]);
        }
        let request = hyper::Request::post(format!("{API}/networks/create"))
            .header("content-type", "application/json")
            .body(http_body_util::Either::Left(Full::new(Bytes::from(body.to_string()))))
            .map_err(|e| RuntimeError::Other(e.to_string()))?;
        let create = async {
            let response = self.link.send(request).await?;
            if response.status().is_success() { Ok(()) } else { Err(connect::refusal(response).await) }
        };
        match self.link.call(&format!("network {}", wanted.name), create).await {
            Err(RuntimeError::Other(why)) if why.contains("option isolate") => Err(RuntimeError::Other(
                "this Podman cannot keep the networks of projects apart; set `network_backend = \"netavark\"` in \
                 its containers.conf"
                    .to_owned(),
            )),
            other => other,
        }
    }

    /// The networks with these labels. Podman 4.3's Docker-compatible list must not be asked: what it lists is not kept
    /// apart any more for containers that are started from then on.
    pub(super) async fn list_isolated_networks(&self, filters: &str) -> Result<Vec<network::Listed>> {
        #[derive(Deserialize)]
        struct Listed {
            id: String,
            #[serde(default)]
            labels: Option<Labels>,
            #[serde(default)]
            subnets: Option<Vec<Subnet>>,
        }
        #[derive(Deserialize)]
        struct Subnet {
            #[serde(default)]
            gateway: Option<String>,
        }
        let path = format!("{API}/networks/json?filters={filters}");
        let listed: Vec<Listed> = self.link.get("networks", &path).await?;
        Ok(listed
            .into_iter()
            .map(|network| network::Listed {
                id: network.id,
                labels: network.labels.unwrap_or_default(),
                gateway: network.subnets.unwrap_or_default().into_iter().find_map(|subnet| subnet.gateway),
            })
            .collect())
    }

    /// Whether Podman's bridges are interfaces of this machine and network namespace. They do not exist before the
    /// first container runs, so it is asked of the process that listens on the socket. Unsure means no.
    pub(super) async fn podman_is_our_neighbour(&self, info: &SystemInfo) -> bool {
        let Address::Unix(path) = &self.link.address else { return false };
        // Podman in a virtual machine has a socket here too, but another name.
        if info.name.as_deref() != rustix::system::uname().nodename().to_str().ok() {
            return false;
        }
        let Ok(socket) = UnixStream::connect(path).await else { return false };
        let Some(pid) = socket.peer_cred().ok().and_then(|peer| peer.pid()) else { return false };
        let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        network("self").is_some_and(|own| network(&pid.to_string()) == Some(own))
    }
}

/// What Podman says when it should put an init before the agent and has none (Debian's package `catatonit`).
pub(super) fn lacks_init(why: &str) -> bool {
    why.contains("container-init binary not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_introduce_themselves() {
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(introduction(Some("4.3.1"), Some("Libpod/4.3.1 (linux)")), pair("podman", "4.3.1"));
        assert_eq!(
            introduction(None, Some("Docker/20.10.24+dfsg1 (linux)")),
            pair("docker", "20.10.24+dfsg1")
        );
        assert_eq!(introduction(None, None), pair("docker", ""));
    }

    #[test]
    fn limits_that_a_users_podman_forgets_are_known() {
        let of = |controllers: &[&str]| {
            unlimited(&controllers.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), ["memory", "cpus", "pids"]);
        assert_eq!(of(&["memory", "pids"]), ["cpus"]);
        assert!(of(&["cpu", "io", "memory", "pids"]).is_empty());
    }
}
