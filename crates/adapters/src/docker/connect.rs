//! The way to the engine's API: a Unix socket or a loopback TCP port, one connection a request, no pool.
//!
//! Nothing is dialled before the first call, so the server starts while its engine is down. The API version is
//! negotiated once. Every call that is not a stream goes through [`Link::call`], which bounds it in time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::{BollardRequest, ClientVersion};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use ryokan_ports::runtime::{Io, Result, RuntimeError};
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error;

/// The newest API that we were written against; the engine's own is used when it is older.
const NEWEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 48 };
/// Connecting to a socket of this machine takes microseconds; a full backlog is all that can hold it up.
const CONNECT: Duration = Duration::from_secs(5);
/// bollard bounds only the time until headers, and for all calls alike; our own bounds are always shorter.
const BOLLARD_SECONDS: u64 = 2 * 3600;

/// A list of ten thousand containers is a fraction of it.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

pub(super) const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    /// Takes what `DOCKER_HOST` may hold. A remote engine is refused: its containers could not be reached from here,
    /// and its API without TLS is an open door; a node of ours belongs there.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse =
            |reason: String| Err(RuntimeError::Refused { field: "engine.socket".to_owned(), reason });
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.starts_with('/').then_some(text)) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let Some(host) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) else {
            return refuse(format!(
                "`{text}` is not an address of an engine: write unix:///path/to/socket or tcp://127.0.0.1:PORT"
            ));
        };
        let host = host.trim_end_matches('/').replacen("localhost:", "127.0.0.1:", 1);
        match host.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            Ok(_) => refuse(format!("`{text}` is another machine; run a ryokan node there instead")),
            Err(_) => refuse(format!("`{text}` has no loopback address and port after tcp://")),
        }
    }

    pub(super) async fn dial(&self) -> std::io::Result<Box<dyn Io>> {
        let dial = async {
            Ok::<Box<dyn Io>, std::io::Error>(match self {
                Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Self::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            })
        };
        tokio::time::timeout(CONNECT, dial).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// One request over one new connection, which lives as long as the response's body (or its upgrade) does.
async fn request(
    address: Address,
    tasks: TaskTracker,
    ending: CancellationToken,
    mut request: BollardRequest,
) -> Result<hyper::Response<Incoming>, BollardError> {
    // What a pooling client would have done.
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    request.headers_mut().insert(HOST, HeaderValue::from_static("engine"));
    let io = address.dial().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tasks.spawn(async move {
        // Its failures reach whoever reads the response.
        tokio::select! {
            _ = connection.with_upgrades() => {}
            () = ending.cancelled() => {}
        }
    });
    Ok(sender.send_request(request).await?)
}

/// What the engine says in an answer that is no success.
pub(super) async fn refusal(response: hyper::Response<Incoming>) -> BollardError {
    let status_code = response.status().as_u16();
    let body = Limited::new(response.into_body(), 64 * 1024).collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    let message = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|v| Some(v.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    BollardError::DockerResponseServerError { status_code, message }
}

/// bollard encodes the header in the standard alphabet, engines up to 20.10 decode the URL-safe one only: a password
/// whose encoding holds `+` or `/` would be taken for none at all.
fn url_safe_registry_auth(mut request: BollardRequest) -> BollardRequest {
    const HEADER: &str = "x-registry-auth";
    if let Some(value) = request.headers().get(HEADER).and_then(|v| v.to_str().ok()) {
        let safe = value.replace('+', "-").replace('/', "_");
        if let Ok(safe) = HeaderValue::from_str(&safe) {
            request.headers_mut().insert(HEADER, safe);
        }
    }
    request
}

/// The engine's API.
pub(super) struct Link {
    pub(super) address: Address,
    tasks: TaskTracker,
    ending: CancellationToken,
    docker: bollard::Docker,
    negotiated: OnceCell<()>,
    /// How long a plain call may take.
    pub(super) patience: Duration,
}

impl Link {
    pub(super) fn new(
        address: Address,
        patience: Duration,
        tasks: TaskTracker,
        ending: CancellationToken,
    ) -> Result<Self> {
        let (target, owner, end) = (address.clone(), tasks.clone(), ending.clone());
        let transport = move |r: BollardRequest| request(target.clone(), owner.clone(), end.clone(), r);
        let docker = bollard::Docker::connect_with_custom_transport(
            transport,
            Some("http://engine"),
            BOLLARD_SECONDS,
            &NEWEST,
        )
        .map_err(|e| error::map(e, "the engine"))?
        .with_request_modifier(url_safe_registry_auth);
        Ok(Self { address, tasks, ending, docker, negotiated: OnceCell::new(), patience })
    }

    /// The client, once it speaks the engine's version of the API.
    pub(super) async fn api(&self) -> Result<&bollard::Docker> {
        let negotiate = self.negotiated.get_or_try_init(|| async {
            // The version is shared by all clones of the client.
            match self.docker.clone().negotiate_version().await {
                Ok(_) => Ok(()),
                Err(e) => Err(self.explain(error::map(e, "the engine"))),
            }
        });
        // One asks while the others wait, all of them no longer than for an answer of their own.
        match tokio::time::timeout(self.patience, negotiate).await {
            Ok(negotiated) => negotiated?,
            Err(_) => return Err(self.silent(self.patience)),
        };
        Ok(&self.docker)
    }

    /// A request of our own making.
    pub(super) async fn send(&self, r: BollardRequest) -> Result<hyper::Response<Incoming>, BollardError> {
        request(self.address.clone(), self.tasks.clone(), self.ending.clone(), r).await
    }

    /// An answer in JSON to a plain question of our own. `path` and what follows it are encoded already.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T> {
        let request = hyper::Request::get(path)
            .body(http_body_util::Either::Left(Full::new(Bytes::new())))
            .map_err(|e| RuntimeError::Other(e.to_string()))?;
        let ask = async {
            let response = self.send(request).await?;
            if !response.status().is_success() {
                return Err(refusal(response).await);
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            body.map(Collected::to_bytes)
                .map_err(|e| BollardError::IOError { err: std::io::Error::other(e.to_string()) })
        };
        let body = self.call(what, ask).await?;
        serde_json::from_slice(&body)
            .map_err(|e| RuntimeError::Other(format!("{what}: an answer that we do not understand: {e}")))
    }

    /// The path of a call in the version of the API that was agreed on.
    pub(super) async fn versioned(&self, path: &str) -> Result<String> {
        let version = self.api().await?.client_version();
        Ok(format!("/v{}.{}{path}", version.major_version, version.minor_version))
    }

    /// Awaits a plain call. `what` is named when it does not exist.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T> {
        self.call_within(self.patience, what, call).await
    }

    pub(super) async fn call_within<T>(
        &self,
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(self.explain(error::map(e, what))),
            Err(_) => Err(self.silent(limit)),
        }
    }

    pub(super) fn silent(&self, limit: Duration) -> RuntimeError {
        RuntimeError::Unavailable(format!("{} gave no answer within {} s", self.address, limit.as_secs()))
    }

    /// Says where we knocked, and what an administrator can do.
    pub(super) fn explain(&self, e: RuntimeError) -> RuntimeError {
        match e {
            RuntimeError::Unavailable(why) => RuntimeError::Unavailable(format!("{}: {why}", self.address)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for ok in ["/var/run/docker.sock", "unix:///run/podman/podman.sock"] {
            assert!(matches!(Address::parse(ok), Ok(Address::Unix(_))), "{ok}");
        }
        for ok in ["tcp://127.0.0.1:2375", "tcp://localhost:2375/", "http://[::1]:1"] {
            assert!(matches!(Address::parse(ok), Ok(Address::Tcp(_))), "{ok}");
        }
        for bad in ["tcp://10.0.0.1:2375", "tcp://example.com:1", "npipe://x", "", "docker.sock", "ssh://h"] {
            assert!(matches!(Address::parse(bad), Err(RuntimeError::Refused { .. })), "{bad}");
        }
    }
}
