//! One bridge network for each project: its instances see each other by name, no other project's see them.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{
    Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::ListNetworksOptions;
use ryokan_model::ProjectId;
use ryokan_ports::runtime::{Result, RuntimeError, Workload};

use super::{Inner, creation, label, look};

/// The engine's own pools hold about thirty networks. After those, /22 blocks of this /9, chosen by the project's id.
const BLOCKS: u32 = 1 << 13;
const TRIES: u32 = 64;

/// A project's network, as its containers see it.
pub(super) struct Bridge {
    pub(super) name: String,
    /// This machine's address in it: the gateway's connections come from there. Absent if the engine does not say.
    pub(super) host: Option<String>,
}

/// What an engine says of a network.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) labels: label::Labels,
    /// This machine's address in it.
    pub(super) gateway: Option<String>,
}

/// One of ours.
struct Found {
    id: String,
    project: ProjectId,
    host: Option<String>,
}

fn block(n: u32) -> String {
    let address = std::net::Ipv4Addr::from((10 << 24) + (128 << 16) + ((n % BLOCKS) << 10));
    format!("{address}/22")
}

impl Inner {
    /// Makes the project's network.
    pub(super) async fn ensure_network(&self, project: ProjectId) -> Result<Bridge> {
        let name = label::network_name(self.server, project);
        // An engine may make two networks of one name when asked at the same time.
        let _lock = self.locks.lock(project.0).await;
        let mut found = self.networks(Some(project)).await?.into_iter().next();
        if found.is_none() {
            self.make_network(&name, project).await?;
            // The engine chose the addresses.
            found = self.networks(Some(project)).await?.into_iter().next();
        }
        let facts = self.facts().await?;
        // A user's Podman connects from inside the container, by an address that nobody knows before its start.
        let own = facts.is_podman() && facts.info.rootless;
        Ok(Bridge { name, host: found.and_then(|found| found.host).filter(|_| !own) })
    }

    async fn make_network(&self, name: &str, project: ProjectId) -> Result<()> {
        match self.create_network(name, project, None).await {
            Err(RuntimeError::Exhausted(_)) => {}
            other => return other,
        }
        let start = project.0.as_u128();
        for offset in 0..TRIES {
            let number = u32::try_from(start % u128::from(BLOCKS)).unwrap_or(0) + offset;
            match self.create_network(name, project, Some(block(number))).await {
                // Taken by another network, of ours or not.
                Err(RuntimeError::Other(why))
                    if why.to_ascii_lowercase().contains("overlap")
                        || why.contains("already used on the host") => {}
                other => return other,
            }
        }
        Err(RuntimeError::Exhausted("network addresses".to_owned()))
    }

    async fn create_network(&self, name: &str, project: ProjectId, subnet: Option<String>) -> Result<()> {
        let labels = label::of_project(self.server, project);
        if self.facts().await?.is_podman() {
            return self.create_isolated_network(name, labels, subnet).await;
        }
        let ipam = subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet), ..IpamConfig::default() }]),
            ..Ipam::default()
        });
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels),
            ipam,
            options: Some(HashMap::from([(
                "com.docker.network.bridge.enable_icc".to_owned(),
                "true".to_owned(),
            )])),
            ..NetworkCreateRequest::default()
        };
        let api = self.link.api().await?;
        self.link.call(&format!("network {name}"), api.create_network(request)).await.map(drop)
    }

    /// Attaches a container that does not run to the project's network in place of an earlier one of that name.
    pub(super) async fn attach_again(&self, workload: &Workload, container: &str) -> Result<()> {
        let name = label::network_name(self.server, workload.project);
        let api = self.link.api().await?;
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        match self.link.call(&name, api.disconnect_network(&name, request)).await {
            // Nothing to detach it from.
            Ok(()) | Err(RuntimeError::NotFound(_) | RuntimeError::Other(_)) => {}
            Err(e) => return Err(e),
        }
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(creation::endpoint(workload)),
        };
        self.link.call(&name, api.connect_network(&name, request)).await
    }

    async fn networks(&self, project: Option<ProjectId>) -> Result<Vec<Found>> {
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
                // `172.18.0.1`; some engines write it with the width of its net.
                let host = network.gateway.map(|host| host.split('/').next().unwrap_or_default().to_owned());
                Some(Found { id: network.id, project, host })
            })
            .collect())
    }

    pub(super) async fn projects_with_networks(&self) -> Result<Vec<ProjectId>> {
        let projects: BTreeSet<_> =
            self.networks(None).await?.into_iter().map(|found| found.project).collect();
        Ok(projects.into_iter().collect())
    }

    pub(super) async fn remove_network(&self, project: ProjectId) -> Result<()> {
        let _lock = self.locks.lock(project.0).await;
        let networks = self.networks(Some(project)).await?;
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
    }
}
