//! One question to an agent, bounded in time as a whole. An agent is hostile: of its answer 64 KiB are read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ryokan_model::probe::Check;
use ryokan_ports::runtime::{ExecSpec, Observed, Reach, Result, RuntimeError};
use tokio::net::TcpStream;

use super::Inner;

const MAX_BODY: usize = 64 * 1024;
/// Of a command's output, in the reason.
const MAX_SAID: usize = 200;

/// In which a proxy on this machine finds out that nobody listens behind it. A user's Podman has taken more than a
/// quarter of it on a busy machine; every check of such a port takes this long, so it is no longer.
const PROXY: Duration = Duration::from_secs(1);

type Answer = std::result::Result<(), String>;

impl Inner {
    pub(super) async fn probe(
        self: Arc<Self>,
        observed: &Observed,
        check: &Check,
        timeout: Duration,
    ) -> Result<Answer> {
        if !observed.phase.is_running() {
            return Ok(Err("is not running".to_owned()));
        }
        let late = || Err(format!("gave no answer within {}", seconds(timeout)));
        let address = |port: &str| {
            observed.endpoints.get(port).copied().ok_or_else(|| format!("its port `{port}` has no address"))
        };
        match check {
            Check::Tcp { port } => {
                let connect = async {
                    let stream = connect(address(port)?).await?;
                    if observed.reach == Reach::Loopback {
                        stays_open(&stream, PROXY.min(timeout / 2)).await
                    } else {
                        Ok(())
                    }
                };
                Ok(tokio::time::timeout(timeout, connect).await.unwrap_or_else(|_| late()))
            }
            Check::Http { port, path, body, headers } => {
                let ask = async { get(address(port)?, path, headers, body.as_deref()).await };
                Ok(tokio::time::timeout(timeout, ask).await.unwrap_or_else(|_| late()))
            }
            Check::Command { command } => {
                let run = self.command(observed, command);
                tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| Ok(late()))
            }
        }
    }

    async fn command(self: Arc<Self>, observed: &Observed, command: &[String]) -> Result<Answer> {
        let spec = ExecSpec { command: command.to_vec(), ..ExecSpec::default() };
        let mut exec = match self.exec_in(observed.engine_id.clone(), spec).await {
            Ok(exec) => exec,
            Err(RuntimeError::NotRunning) => return Ok(Err("is not running".to_owned())),
            Err(e @ (RuntimeError::NotFound(_) | RuntimeError::Refused { .. })) => {
                return Ok(Err(e.to_string()));
            }
            Err(e) => return Err(e),
        };
        let mut said = Vec::new();
        while let Some(chunk) = exec.output.next().await {
            let (_, chunk) = chunk?;
            let room = MAX_SAID.saturating_sub(said.len()).min(chunk.len());
            said.extend_from_slice(&chunk[..room]);
        }
        Ok(match exec.exit.await? {
            0 => Ok(()),
            code => {
                let said = String::from_utf8_lossy(&said);
                Err(format!("its command ended with {code}: {}", said.trim())
                    .trim_end_matches(": ")
                    .to_owned())
            }
        })
    }
}

fn seconds(timeout: Duration) -> String {
    if timeout.subsec_millis() == 0 {
        format!("{} s", timeout.as_secs())
    } else {
        format!("{} ms", timeout.as_millis())
    }
}

async fn connect(address: SocketAddr) -> std::result::Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|e| format!("refuses a connection to {address}: {e}"))
}

/// A published port is opened by the engine's proxy, which accepts before it knows whether the agent does, and then
/// hangs up at once. An agent that has nothing to say is well.
async fn stays_open(stream: &TcpStream, patience: Duration) -> Answer {
    match tokio::time::timeout(patience, stream.peek(&mut [0])).await {
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0) | Err(_)) => Err("refuses connections".to_owned()),
    }
}

async fn get(address: SocketAddr, path: &str, headers: &[(String, String)], wanted: Option<&str>) -> Answer {
    let stream = connect(address).await?;
    let no_http = |e: hyper::Error| format!("does not speak HTTP: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    let mut request =
        hyper::Request::get(path).header("connection", "close").header("user-agent", "ryokan-probe");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| format!("cannot be asked: {e}"))?;
    let ask = async {
        let response = sender.send_request(request).await.map_err(no_http)?;
        let status = response.status();
        if status.as_u16() >= 400 {
            return Err(format!("answers {path} with {status}"));
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let mut body = response.into_body();
        let mut read = Vec::new();
        while read.len() < MAX_BODY
            && let Some(frame) = body.frame().await
        {
            if let Ok(data) = frame.map_err(no_http)?.into_data() {
                let room = (MAX_BODY - read.len()).min(data.len());
                read.extend_from_slice(&data[..room]);
            }
        }
        if String::from_utf8_lossy(&read).contains(wanted) {
            Ok(())
        } else {
            Err(format!("answers {path} with {status}, but without `{wanted}`"))
        }
    };
    // The connection works only while it is polled; it ends with the question.
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        answer = &mut ask => answer,
        ended = &mut connection => match ended {
            Ok(()) => ask.await,
            Err(e) => Err(no_http(e)),
        },
    }
}
