//! A small HTTP/1.1 client: one connection, used for one request after the other, over TCP or a Unix socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Where a client connects to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Speaks to one server; connects when it has to.
pub(crate) struct Client {
    target: Target,
    host: String,
    token: Option<String>,
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The task that moves the bytes; ends with this.
    _driver: JoinSet<()>,
}

impl Client {
    pub(crate) fn tcp(address: SocketAddr, host: &str) -> Self {
        Self { target: Target::Tcp(address), host: host.to_owned(), token: None, connection: None }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let target = Target::Unix(path.to_owned());
        Self { target, host: "engine".to_owned(), token: None, connection: None }
    }

    #[must_use]
    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    async fn connect(&self) -> Result<Connection> {
        match &self.target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                open(stream).await
            }
            Target::Unix(path) => open(UnixStream::connect(path).await?).await,
        }
    }

    /// Sends one request; the answer's body is still to be read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        stream: bool,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if stream {
            request = request.header("accept", "text/event-stream");
        }
        let bytes = body.map_or_else(Bytes::new, |value| Bytes::from(value.to_string()));
        let request = request.body(Full::new(bytes))?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if connection.sender.ready().await.is_err() {
            // The server has closed it since.
            connection = self.connect().await?;
        }
        let response = connection.sender.send_request(request).await?;
        self.connection = Some(connection);
        Ok(response)
    }

    /// One request and its whole answer.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let response = self.send(method, path, body, false).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// One request that must succeed; its answer as JSON, `null` when there is none.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, bytes) = self.ask(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).with_context(|| format!("{method} {path}: no JSON"))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }
}

async fn open<S>(stream: S) -> Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ends is seen by the next request.
        let _ = connection.await;
    });
    Ok(Connection { sender, _driver: driver })
}
