//! A ryokan server under measurement: a process of its own on a data folder of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};

use crate::http::Client;

pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    /// From the start of the process to the first answer to `/healthz`.
    pub(crate) started_in: Duration,
    data: PathBuf,
}

impl Server {
    /// Starts the binary and waits until it answers. `database` is a PostgreSQL URL.
    pub(crate) async fn start(binary: &Path, data: &Path, database: Option<&str>) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        // The command line's file says where the server was last time, so the port is ours to choose.
        let address = free_address()?;
        let began = Instant::now();
        let mut command = Command::new(binary);
        command
            .args(["server", "--listen", &address.to_string(), "--data-dir"])
            .arg(data)
            .env("RYOKAN_REQUESTS_PER_SECOND", "1000000")
            .env("RYOKAN_INSTANCES_PER_PROJECT", "1000000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(data.join("server.log"))?);
        if let Some(url) = database {
            command.env("RYOKAN_DATABASE_URL", url);
        }
        let process = command.spawn().with_context(|| format!("cannot run {}", binary.display()))?;
        let mut server = Self {
            process,
            address,
            token: String::new(),
            started_in: Duration::ZERO,
            data: data.to_owned(),
        };
        let mut client = Client::tcp(address, &address.to_string());
        while !client.ask(Method::GET, "/healthz", None).await.is_ok_and(|(status, _)| status == 200) {
            if server.process.try_wait()?.is_some() || began.elapsed() > Duration::from_mins(2) {
                bail!("the server did not start: {}", std::fs::read_to_string(data.join("server.log"))?);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.started_in = began.elapsed();
        let access: Value = serde_json::from_str(&std::fs::read_to_string(data.join("cli.json"))?)?;
        access["token"].as_str().context("no token in cli.json")?.clone_into(&mut server.token);
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The id that marks what is this server's on an engine.
    pub(crate) fn id(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.data.join("server-id"))?)
    }

    /// The API, as the first operator.
    pub(crate) fn api(&self) -> Client {
        Client::tcp(self.address, &self.address.to_string()).bearer(&self.token)
    }

    /// The host under which an instance answers.
    pub(crate) fn host(&self, instance: &str) -> String {
        format!("{instance}.localhost:{}", self.address.port())
    }

    /// A client of an instance, through the gateway.
    pub(crate) fn agent(&self, instance: &str) -> Client {
        Client::tcp(self.address, &self.host(instance))
    }

    /// Creates an instance and waits until it is ready.
    pub(crate) async fn create(&self, api: &mut Client, request: &Value) -> Result<()> {
        let response = api.send(Method::POST, "/v1/instances", Some(request), true).await?;
        let status = response.status();
        let stream = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&stream);
        if !status.is_success() || !text.contains("event: ready") {
            bail!("creating {}: {status} {text}", request["name"]);
        }
        Ok(())
    }

    /// Deletes an instance and waits until it is gone.
    pub(crate) async fn delete(&self, api: &mut Client, name: &str) -> Result<()> {
        let path = format!("/v1/instances/{name}");
        let response = api.send(Method::DELETE, &path, None, true).await?;
        response.into_body().collect().await?;
        Ok(())
    }

    /// Stops it softly.
    pub(crate) fn stop(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// An address on loopback that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What every measurement asks for: an instance of `image` that everybody may talk to.
pub(crate) fn request(name: &str, image: &str) -> Value {
    json!({
        "name": name,
        "template": "custom",
        "image": image,
        "cpus": "2",
        "ports": [{"name": "http", "port": 3000}],
        "env": {"HELLO_QUIET": "1"},
        "gateway": {"access": "public"},
    })
}
