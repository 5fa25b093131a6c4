//! The networks of a project. All of its instances are in a closed one, which has no route: they see each other by
//! name, no other project's see them. Those that may use the web directly have a leg in a second one, which has a route
//! and is made for the first of them.
//!
//! Before a network is made the machine's rules for its bridge are there, and before anything runs in it whoever stands
//! at the edge has been told. What carries no word of which it is was made when a project had one network with a route
//! to everywhere: nothing is started in it any more, and it is removed when it is empty.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bollard::models::{
    EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::ListNetworksOptions;
use ryokan_model::ProjectId;
use ryokan_model::spec::EgressProfile;
use ryokan_ports::edge::EdgeNetwork;
use ryokan_ports::runtime::{Reach, Result, RuntimeError, Workload};

use super::engine::Facts;
use super::{Inner, creation, label, look};
use crate::firewall::{self, Enforcement, Kind};

/// The engine's own pools hold about thirty networks. After those, /22 blocks of this /9, chosen by the project's id.
const BLOCKS: u32 = 1 << 13;
const TRIES: u32 = 64;
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// Where an instance is, as its container sees it.
pub(super) struct Place {
    /// The closed network's name.
    pub(super) closed: String,
    /// The other one's, if it has a leg there.
    pub(super) routed: Option<String>,
    /// This machine's address in the closed one: the gateway's connections come from there. Absent if the engine does
    /// not say.
    pub(super) host: Option<String>,
    /// The same where our door and our name server can be there.
    pub(super) door: Option<String>,
}

/// What an engine says of a network.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) labels: label::Labels,
    /// This machine's address in it.
    pub(super) gateway: Option<String>,
}

/// A network that is to be made.
pub(super) struct Wanted<'a> {
    pub(super) name: String,
    pub(super) bridge: String,
    /// Without any route, by the engine's own means.
    pub(super) internal: bool,
    pub(super) icc: bool,
    pub(super) labels: label::Labels,
    pub(super) subnet: Option<&'a str>,
}

/// One of ours.
struct Found {
    id: String,
    project: ProjectId,
    /// `None` of one from before there were two.
    kind: Option<Kind>,
    host: Option<String>,
}

pub(super) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Closed => "closed",
        Kind::Routed => "routed",
    }
}

fn kind(labels: &label::Labels) -> Option<Kind> {
    let word_of = labels.get(label::NETWORK)?;
    [Kind::Closed, Kind::Routed].into_iter().find(|kind| word(*kind) == word_of)
}

/// Whether a closed network cannot do without the engine's ordinary kind, which has a route. The machine's rules then
/// close it.
///
/// Engines publish no port out of an internal network, but for a user's Podman. And rootful Podman lets nothing through
/// its internal ones by name, so that siblings cannot reach each other where what passes a bridge is filtered and
/// somebody (Docker, most often) has made it the rule to let nothing through.
fn needs_a_route(facts: &Facts, enforced: bool) -> bool {
    let published = facts.info.reach == Reach::Loopback;
    let filtered = || {
        let setting = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        enforced && setting.is_ok_and(|setting| setting.trim() == "1")
    };
    match (facts.is_podman(), facts.info.rootless) {
        (true, true) => false,
        (true, false) => published || filtered(),
        (false, _) => published,
    }
}

fn block(n: u32) -> String {
    let address = std::net::Ipv4Addr::from((10 << 24) + (128 << 16) + ((n % BLOCKS) << 10));
    format!("{address}/22")
}

/// The first address in a block.
pub(super) fn first_in(block: &str) -> Option<String> {
    let network = block.split('/').next()?.parse::<std::net::Ipv4Addr>().ok()?;
    Some(std::net::Ipv4Addr::from(u32::from(network).checked_add(1)?).to_string())
}

impl Inner {
    /// Makes the networks that a workload is to be in.
    pub(super) async fn ensure_networks(self: &Arc<Self>, workload: &Workload) -> Result<Place> {
        let project = workload.project;
        let facts = self.facts().await?;
        if facts.elsewhere.is_none() && !self.firewall.is_settled().await {
            self.survey_networks().await?;
        }
        // An engine may make two networks of one name when asked at the same time.
        let _lock = self.locks.lock(project.0).await;
        let _making = self.making.read().await;
        let found = self.found(Some(project)).await?;
        let closed = self.ensure_network(&facts, project, Kind::Closed, &found).await?;
        let routed = workload.spec.egress == EgressProfile::Ports;
        if routed {
            self.ensure_network(&facts, project, Kind::Routed, &found).await?;
        }
        let has_routed = routed || found.iter().any(|f| f.kind == Some(Kind::Routed));
        let at = self.edge_network(&facts, project, closed.as_deref(), has_routed);
        if let Some(edge) = self.edge.get() {
            let patience = self.link.patience;
            let opened = tokio::time::timeout(patience, edge.open(&at)).await;
            let slow =
                |_| Err(format!("the edge of the network was not ready within {} s", patience.as_secs()));
            opened.unwrap_or_else(slow).map_err(RuntimeError::Other)?;
        }
        if let Some(host) = at.host {
            self.serve_names(project, host, facts.is_podman());
        }
        let name = |kind| label::network_name(self.server, project, word(kind));
        // A user's Podman connects from inside the container, by an address that nobody knows before its start.
        let own = facts.is_podman() && facts.info.rootless;
        Ok(Place {
            closed: name(Kind::Closed),
            routed: routed.then(|| name(Kind::Routed)),
            door: closed.clone().filter(|_| facts.elsewhere.is_none()),
            host: closed.filter(|_| !own),
        })
    }

    /// This machine's address in one of a project's networks, which is made if it is not among those found.
    async fn ensure_network(
        &self,
        facts: &Facts,
        project: ProjectId,
        kind: Kind,
        found: &[Found],
    ) -> Result<Option<String>> {
        let enforced = self.guard(facts, project, kind).await?;
        if let Some(found) = found.iter().find(|f| f.kind == Some(kind)) {
            return Ok(found.host.clone());
        }
        self.make_network(facts, project, kind, enforced).await?;
        // The engine chose the addresses.
        let found = self.found(Some(project)).await?;
        Ok(found.into_iter().find(|f| f.kind == Some(kind)).and_then(|f| f.host))
    }

    /// The machine's rules for one of a project's bridges; whether they are in force. A way out that nobody watches is
    /// refused.
    async fn guard(&self, facts: &Facts, project: ProjectId, kind: Kind) -> Result<bool> {
        let enforcement = match &facts.elsewhere {
            Some(why) => Enforcement::Unenforced(why.clone()),
            None => self.firewall.open(self.bridge(project, kind)).await.map_err(RuntimeError::Other)?,
        };
        match enforcement {
            Enforcement::Unenforced(why) if kind == Kind::Routed => Err(RuntimeError::Refused {
                field: "egress".to_owned(),
                reason: format!("`ports` would be open to everything here: {why}; or use `proxy`"),
            }),
            other => Ok(other == Enforcement::Enforced),
        }
    }

    fn bridge(&self, project: ProjectId, kind: Kind) -> firewall::Bridge {
        let name = label::bridge_name(self.server, project, word(kind));
        firewall::Bridge { name, project, kind }
    }

    async fn make_network(
        &self,
        facts: &Facts,
        project: ProjectId,
        kind: Kind,
        enforced: bool,
    ) -> Result<()> {
        let create = async |subnet: Option<&str>| {
            let mut labels = label::of_project(self.server, project);
            labels.insert(label::NETWORK.to_owned(), word(kind).to_owned());
            let name = label::network_name(self.server, project, word(kind));
            let bridge = label::bridge_name(self.server, project, word(kind));
            let icc = kind == Kind::Closed;
            let internal = icc && !needs_a_route(facts, enforced);
            self.create_network(facts, Wanted { name, bridge, internal, icc, labels, subnet }).await
        };
        // Left to itself, Podman gives this machine no address in an internal network without its name server.
        if !facts.is_podman() {
            match create(None).await {
                Err(RuntimeError::Exhausted(_)) => {}
                other => return other,
            }
        }
        let start = project.0.as_u128();
        for offset in 0..TRIES {
            let number = u32::try_from(start % u128::from(BLOCKS)).unwrap_or(0) + offset;
            match create(Some(&block(number))).await {
                // Taken by another network, of ours or not.
                Err(RuntimeError::Other(why))
                    if why.to_ascii_lowercase().contains("overlap")
                        || why.contains("already used on the host") => {}
                other => return other,
            }
        }
        Err(RuntimeError::Exhausted("network addresses".to_owned()))
    }

    async fn create_network(&self, facts: &Facts, wanted: Wanted<'_>) -> Result<()> {
        if facts.is_podman() {
            return self.create_isolated_network(wanted).await;
        }
        let ipam = wanted.subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() }]),
            ..Ipam::default()
        });
        let mut options = HashMap::from([
            (BRIDGE_OPTION.to_owned(), wanted.bridge),
            ("com.docker.network.bridge.enable_icc".to_owned(), wanted.icc.to_string()),
        ]);
        if wanted.icc && !wanted.internal {
            // Then nobody translates its addresses at least.
            options.insert("com.docker.network.bridge.enable_ip_masquerade".to_owned(), "false".to_owned());
        }
        let request = NetworkCreateRequest {
            name: wanted.name.clone(),
            driver: Some("bridge".to_owned()),
            internal: Some(wanted.internal),
            labels: Some(wanted.labels),
            ipam,
            options: Some(options),
            ..NetworkCreateRequest::default()
        };
        let api = self.link.api().await?;
        self.link.call(&format!("network {}", wanted.name), api.create_network(request)).await.map(drop)
    }

    /// Attaches a container that does not run to the project's networks in place of earlier ones of their names.
    pub(super) async fn attach_again(
        &self,
        workload: &Workload,
        place: &Place,
        container: &str,
    ) -> Result<()> {
        let api = self.link.api().await?;
        for name in [Some(&place.closed), place.routed.as_ref()].into_iter().flatten() {
            let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
            match self.link.call(name, api.disconnect_network(name, request)).await {
                // Nothing to detach it from.
                Ok(()) | Err(RuntimeError::NotFound(_) | RuntimeError::Other(_)) => {}
                Err(e) => return Err(e),
            }
        }
        self.attach_to(&place.closed, container, creation::endpoint(workload)).await?;
        self.attach_routed(place, container).await
    }

    /// Gives a container its leg in the network that has a route, if it is to have one.
    pub(super) async fn attach_routed(&self, place: &Place, container: &str) -> Result<()> {
        let Some(routed) = &place.routed else { return Ok(()) };
        match self.attach_to(routed, container, EndpointSettings::default()).await {
            // By an earlier call.
            Err(RuntimeError::Other(why))
                if why.contains("already exists") || why.contains("already connected") =>
            {
                Ok(())
            }
            other => other,
        }
    }

    async fn attach_to(&self, network: &str, container: &str, endpoint: EndpointSettings) -> Result<()> {
        let api = self.link.api().await?;
        let request =
            NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(endpoint) };
        self.link.call(network, api.connect_network(network, request)).await
    }

    async fn found(&self, project: Option<ProjectId>) -> Result<Vec<Found>> {
        let mut wanted = vec![(label::SERVER, Some(self.server.to_string()))];
        wanted.push((label::PROJECT, project.map(|p| p.to_string())));
        let filters = label::filter(&wanted);
        let networks: Vec<Listed> = if self.facts().await?.is_podman() {
            self.list_isolated_networks(&look::escape(&serde_json::json!(filters).to_string())).await?
        } else {
            let api = self.link.api().await?;
            let options = ListNetworksOptions { filters: Some(filters) };
            let listed = self.link.call("networks", api.list_networks(Some(options))).await?;
            listed
                .into_iter()
                .filter_map(|network| {
                    let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
                    let gateway = pools.into_iter().find_map(|pool| pool.gateway);
                    Some(Listed { id: network.id?, labels: network.labels?, gateway })
                })
                .collect()
        };
        Ok(networks
            .into_iter()
            .filter(|network| label::carries(&network.labels, &wanted))
            .filter_map(|network| {
                let project = network.labels.get(label::PROJECT)?.parse().ok()?;
                let kind = kind(&network.labels);
                // `172.18.0.1`; some engines write it with the width of its net.
                let host = network.gateway.map(|host| host.split('/').next().unwrap_or_default().to_owned());
                Some(Found { id: network.id, project, kind, host })
            })
            .collect())
    }

    fn edge_network(
        &self,
        facts: &Facts,
        project: ProjectId,
        host: Option<&str>,
        has_routed: bool,
    ) -> EdgeNetwork {
        let bridge = |kind| label::bridge_name(self.server, project, word(kind));
        let ours = facts.elsewhere.is_none();
        EdgeNetwork {
            project,
            bridge: ours.then(|| bridge(Kind::Closed)),
            host: host.and_then(|host| host.parse::<IpAddr>().ok()).filter(|_| ours),
            routed_bridge: (ours && has_routed).then(|| bridge(Kind::Routed)),
        }
    }

    pub(super) async fn edge_networks(&self) -> Result<Vec<EdgeNetwork>> {
        let facts = self.facts().await?;
        let found = self.found(None).await?;
        let closed = found.iter().filter(|f| f.kind == Some(Kind::Closed));
        let has_routed = |project| found.iter().any(|f| f.project == project && f.kind == Some(Kind::Routed));
        Ok(closed
            .map(|f| self.edge_network(&facts, f.project, f.host.as_deref(), has_routed(f.project)))
            .collect())
    }

    /// The projects that have networks. The machine's rules are made to be those for just these networks, and networks
    /// of old that nobody uses any more are removed.
    pub(super) async fn survey_networks(self: &Arc<Self>) -> Result<Vec<ProjectId>> {
        let facts = self.facts().await?;
        let _alone = self.making.write().await;
        let found = self.found(None).await?;
        let api = self.link.api().await?;
        for old in found.iter().filter(|f| f.kind.is_none()) {
            // Refused as long as anything runs in it.
            if self.link.call("network", api.remove_network(&old.id)).await.is_ok() {
                tracing::info!(project = %old.project, "removed its network of old, which was open");
            }
        }
        if facts.elsewhere.is_none() {
            for closed in found.iter().filter(|f| f.kind == Some(Kind::Closed)) {
                if let Some(host) = closed.host.as_deref().and_then(|host| host.parse().ok()) {
                    self.serve_names(closed.project, host, facts.is_podman());
                }
            }
            let ours = found.iter().filter_map(|f| Some(self.bridge(f.project, f.kind?)));
            if let Err(error) = self.firewall.reconcile(ours.collect()).await {
                tracing::error!(error, "the machine's rules cannot be put right");
            }
        }
        let projects: BTreeSet<_> = found.into_iter().map(|found| found.project).collect();
        Ok(projects.into_iter().collect())
    }

    pub(super) async fn remove_network(&self, project: ProjectId) -> Result<()> {
        let _lock = self.locks.lock(project.0).await;
        let networks = self.found(Some(project)).await?;
        if networks.is_empty() {
            return Ok(());
        }
        // The engine looks at running containers only; a stopped one could not be started again without its network.
        let attached = self.containers(&[(label::PROJECT, Some(project.to_string()))]).await?;
        if !attached.is_empty() {
            return Err(RuntimeError::Other(format!(
                "the network of project {project} still has {} container(s)",
                attached.len()
            )));
        }
        let api = self.link.api().await?;
        for network in networks {
            match self.link.call("network", api.remove_network(&network.id)).await {
                Ok(()) | Err(RuntimeError::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
        }
        self.names.close(project);
        if let Some(edge) = self.edge.get() {
            edge.close(project).await;
        }
        self.firewall.close(&[Kind::Closed, Kind::Routed].map(|kind| self.bridge(project, kind))).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_inside_their_range() {
        assert_eq!(block(0), "10.128.0.0/22");
        assert_eq!(block(1), "10.128.4.0/22");
        assert_eq!(block(BLOCKS - 1), "10.255.252.0/22");
        assert_eq!(block(BLOCKS), "10.128.0.0/22");
        assert_eq!(first_in(&block(1)).as_deref(), Some("10.128.4.1"));
    }
}
