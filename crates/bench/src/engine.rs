//! The Docker Engine API, spoken as plainly as it can be: what ryokan's own way of starting containers is measured against.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::Method;
use serde_json::{Value, json};

use crate::http::Client;

/// The label by which ryokan marks what is a server's on an engine.
const SERVER_LABEL: &str = "ryokan.server";

pub(crate) struct Engine(Client);

impl Engine {
    pub(crate) fn new(socket: &Path) -> Self {
        Self(Client::unix(socket))
    }

    pub(crate) async fn version(&mut self) -> Result<String> {
        let version = self.0.get("/version").await?;
        Ok(version["Version"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn create(&mut self, name: &str, body: &Value) -> Result<String> {
        let path = format!("/containers/create?name={name}");
        let made = self.0.call(Method::POST, &path, Some(body)).await?;
        Ok(made["Id"].as_str().context("a container without an id")?.to_owned())
    }

    pub(crate) async fn start(&mut self, id: &str) -> Result<()> {
        self.0.call(Method::POST, &format!("/containers/{id}/start"), None).await.map(drop)
    }

    pub(crate) async fn inspect(&mut self, id: &str) -> Result<Value> {
        self.0.get(&format!("/containers/{id}/json")).await
    }

    pub(crate) async fn remove(&mut self, id: &str) -> Result<()> {
        self.0.call(Method::DELETE, &format!("/containers/{id}?force=true&v=true"), None).await.map(drop)
    }

    pub(crate) async fn make_network(&mut self, name: &str) -> Result<()> {
        let body = json!({"Name": name, "Driver": "bridge"});
        self.0.call(Method::POST, "/networks/create", Some(&body)).await.map(drop)
    }

    pub(crate) async fn remove_network(&mut self, name: &str) -> Result<()> {
        self.0.call(Method::DELETE, &format!("/networks/{name}"), None).await.map(drop)
    }

    /// The running container of an instance.
    pub(crate) async fn of_instance(&mut self, server: &str, name: &str) -> Result<String> {
        let found = self.ours("containers/json?all=true&", server).await?;
        let found = found.as_array().into_iter().flatten();
        let is_it = |container: &&Value| container["Labels"]["ryokan.name"] == name;
        let id = found.filter(is_it).find_map(|container| container["Id"].as_str());
        Ok(id.with_context(|| format!("no container of {name}"))?.to_owned())
    }

    /// What a server has on the engine, by one of the engine's lists.
    async fn ours(&mut self, list: &str, server: &str) -> Result<Value> {
        // `{"label":["KEY=ID"]}`, percent-encoded.
        self.0.get(&format!("/{list}filters=%7B%22label%22%3A%5B%22{SERVER_LABEL}%3D{server}%22%5D%7D")).await
    }

    /// Removes whatever a server has left behind.
    pub(crate) async fn purge(&mut self, server: &str) -> Result<()> {
        for container in
            self.ours("containers/json?all=true&", server).await?.as_array().into_iter().flatten()
        {
            self.remove(container["Id"].as_str().unwrap_or_default()).await?;
        }
        for volume in self.ours("volumes?", server).await?["Volumes"].as_array().into_iter().flatten() {
            let name = volume["Name"].as_str().unwrap_or_default();
            self.0.call(Method::DELETE, &format!("/volumes/{name}"), None).await?;
        }
        for network in self.ours("networks?", server).await?.as_array().into_iter().flatten() {
            self.remove_network(network["Id"].as_str().unwrap_or_default()).await?;
        }
        Ok(())
    }
}

/// The address of a container in its one network.
pub(crate) fn address(container: &Value, port: u16) -> Result<SocketAddr> {
    let networks =
        container["NetworkSettings"]["Networks"].as_object().context("a container without networks")?;
    let ip = networks.values().find_map(|network| network["IPAddress"].as_str()).context("no address")?;
    Ok(SocketAddr::new(ip.parse()?, port))
}

/// Asks every millisecond until the answer is 200.
pub(crate) async fn until_200(client: &mut Client, path: &str) -> Result<()> {
    let asking = async {
        loop {
            if let Ok((status, _)) = client.ask(Method::GET, path, None).await
                && status == 200
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.context("no 200 within 30 s")
}
