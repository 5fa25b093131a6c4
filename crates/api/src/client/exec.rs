//! A command inside an instance, over a WebSocket, as [`ExecQuery`] documents it.
//!
//! The handshake goes through the same HTTP client as every other call, so that TLS, proxies, credentials and refusals
//! behave the same.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Upgraded;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::connection::Client;
use super::error::ClientError;
use crate::instance::{ExecControl, ExecQuery, ExecStatus};

const HANDSHAKE: Duration = Duration::from_secs(30);
/// What one frame of input holds at most.
const CHUNK: usize = 32 * 1024;

/// What the command has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecFrame {
    Stdout(Bytes),
    Stderr(Bytes),
    /// It ended by itself; nothing follows.
    Exit(i64),
    /// The server could not start it or lost it; nothing follows.
    Failed(String),
}

/// The command's standard input and terminal size.
#[derive(Debug)]
pub struct ExecInput {
    sink: SplitSink<WebSocketStream<Upgraded>, Message>,
    url: String,
}

/// The command's output and end.
#[derive(Debug)]
pub struct ExecOutput {
    stream: SplitStream<WebSocketStream<Upgraded>>,
    url: String,
}

impl Client {
    pub async fn exec(&self, name: &str, query: &ExecQuery) -> Result<(ExecInput, ExecOutput), ClientError> {
        let url = self.url(&["v1", "instances", name, "exec"], query)?;
        let key = generate_key();
        let request = self
            .http1_get(url)?
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key);
        let response = tokio::time::timeout(HANDSHAKE, request.send())
            .await
            .map_err(|_| ClientError::Timeout { url: self.base() })?
            .map_err(|e| ClientError::from_reqwest(&self.base(), &e))?;
        let response = self.check(response).await?;
        let accepted = response.status().as_u16() == 101
            && response
                .headers()
                .get("sec-websocket-accept")
                .is_some_and(|v| v.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
        if !accepted {
            return Err(ClientError::Protocol(format!(
                "{} did not open a WebSocket: does a proxy in front of it allow them?",
                self.base()
            )));
        }
        let upgraded = response.upgrade().await.map_err(|e| ClientError::from_reqwest(&self.base(), &e))?;
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        let (sink, stream) = socket.split();
        Ok((ExecInput { sink, url: self.base() }, ExecOutput { stream, url: self.base() }))
    }
}

impl ExecInput {
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            self.send(Message::Binary(chunk)).await?;
        }
        Ok(())
    }

    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ClientError> {
        self.control(&ExecControl::Resize { columns, rows }).await
    }

    /// No more input comes.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        self.control(&ExecControl::Eof {}).await
    }

    async fn control(&mut self, control: &ExecControl) -> Result<(), ClientError> {
        let text = serde_json::to_string(control)
            .map_err(|e| ClientError::Invalid(format!("a control frame cannot be written: {e}")))?;
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ClientError> {
        self.sink.send(message).await.map_err(|e| broken(&self.url, &e))
    }
}

impl ExecOutput {
    /// The next frame. A connection that ends before `Exit` or `Failed` is an error. May be dropped and called again.
    pub async fn next(&mut self) -> Result<ExecFrame, ClientError> {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(broken(&self.url, &error)),
                None => return Err(lost(&self.url)),
            };
            match message {
                Message::Binary(mut bytes) if !bytes.is_empty() => match bytes.split_to(1)[0] {
                    1 => return Ok(ExecFrame::Stdout(bytes)),
                    2 => return Ok(ExecFrame::Stderr(bytes)),
                    other => {
                        return Err(ClientError::Protocol(format!(
                            "the server sent output of unknown kind {other}"
                        )));
                    }
                },
                Message::Text(text) => {
                    return match serde_json::from_str(&text) {
                        Ok(ExecStatus::Exit { code }) => Ok(ExecFrame::Exit(code)),
                        Ok(ExecStatus::Error { message }) => Ok(ExecFrame::Failed(message)),
                        Err(e) => Err(ClientError::Protocol(format!(
                            "the server sent a status that is not as documented: {e}"
                        ))),
                    };
                }
                Message::Close(_) => return Err(lost(&self.url)),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn lost(url: &str) -> ClientError {
    ClientError::Unreachable {
        url: url.to_owned(),
        why: "the connection ended before the command did".to_owned(),
    }
}

fn broken(url: &str, error: &WsError) -> ClientError {
    match error {
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Io(_)
        | WsError::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => lost(url),
        other => ClientError::Protocol(format!("the WebSocket failed: {other}")),
    }
}
