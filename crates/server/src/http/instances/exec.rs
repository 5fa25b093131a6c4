//! Commands inside an instance: one-shot with its output, or over a WebSocket with a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use ryokan_api::instance::{ExecControl, ExecQuery, ExecRequest, ExecResult, ExecStatus};
use ryokan_app::Error;
use ryokan_model::quantity::Span;
use ryokan_ports::runtime::{Exec, ExecInput, ExecSpec, Output, RuntimeError};
use tokio_util::sync::CancellationToken;

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Body;

const MAX_OUTPUT: usize = 1024 * 1024;
const MAX_TIME: Span = Span::seconds(600);

/// Runs a command to its end and returns what it wrote.
#[utoipa::path(post, path = "/v1/instances/{instance}/exec", tag = "instances", params(("instance", description = "Id or name")), request_body = ExecRequest, responses((status = 200, body = ExecResult)))]
pub(crate) async fn run(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Body(request): Body<ExecRequest>,
) -> ApiResult<Json<ExecResult>> {
    let timeout = request.timeout.unwrap_or(Span::seconds(60));
    if timeout > MAX_TIME {
        return Err(Error::invalid("timeout", "at most 10m; use the WebSocket for longer commands").into());
    }
    let spec = ExecSpec {
        command: request.command,
        stdin: request.stdin.is_some(),
        tty: None,
        env: request.env,
        workdir: request.workdir,
        user: request.user,
    };
    let exec = context.app.exec_in_instance(&caller, &name, spec).await?;
    let finished = tokio::time::timeout(timeout.duration(), collect(exec, request.stdin));
    match finished.await {
        Ok(result) => Ok(Json(result?)),
        Err(_) => Err(Error::Conflict(format!("the command did not end within {timeout} and was cut off; give it more `timeout` or use the WebSocket")).into()),
    }
}

async fn collect(exec: Exec, stdin: Option<String>) -> Result<ExecResult, RuntimeError> {
    let Exec { input, mut output, exit } = exec;
    let feed = async move {
        if let Some(text) = stdin {
            // A command that does not read its input closes it; that is its right.
            let _ = input.send(ExecInput::Data(Bytes::from(text))).await;
        }
        let _ = input.send(ExecInput::Eof).await;
        // Kept open until the command ends: dropping it would detach.
        std::future::pending::<()>().await;
    };
    let read = async {
        let (mut out, mut err, mut truncated) = (Vec::new(), Vec::new(), false);
        while let Some(chunk) = output.next().await {
            let (which, bytes) = chunk?;
            let buffer = if which == Output::Stdout { &mut out } else { &mut err };
            let room = MAX_OUTPUT.saturating_sub(buffer.len());
            truncated |= bytes.len() > room;
            buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        Ok::<_, RuntimeError>((out, err, truncated))
    };
    let (out, err, truncated) = tokio::select! {
        result = read => result?,
        () = feed => (Vec::new(), Vec::new(), false),
    };
    let exit_code = exit.await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(ExecResult { exit_code, stdout: text(out), stderr: text(err), truncated })
}

/// The same over a WebSocket, with standard input and a terminal. See `ExecQuery` for the frames.
#[utoipa::path(get, path = "/v1/instances/{instance}/exec", tag = "instances", params(("instance", description = "Id or name"), ExecQuery), responses((status = 101, description = "A WebSocket")))]
pub(crate) async fn attach(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    socket: WebSocketUpgrade,
) -> ApiResult<Response> {
    let query = parse(&query.unwrap_or_default())?;
    let tty = query.tty.then(|| (query.columns.unwrap_or(80), query.rows.unwrap_or(24)));
    let env = if query.tty {
        BTreeMap::from([("TERM".to_owned(), "xterm-256color".to_owned())])
    } else {
        BTreeMap::new()
    };
    let spec = ExecSpec { command: query.command, stdin: query.stdin, tty, env, workdir: None, user: None };
    let exec = context.app.exec_in_instance(&caller, &name, spec).await?;
    let (stop, revoked) = (context.stop.clone(), context.app.clone().until_revoked(caller));
    Ok(socket.max_message_size(1024 * 1024).on_upgrade(move |socket| serve(socket, exec, stop, revoked)))
}

/// `command` may be repeated, which the usual query parsers cannot do.
fn parse(text: &str) -> Result<ExecQuery, Error> {
    let mut query = ExecQuery::default();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let flag = || match value.as_ref() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(Error::invalid(name.as_ref(), "must be `true` or `false`")),
        };
        let size = || {
            value
                .parse::<u16>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Error::invalid(name.as_ref(), "must be a number from 1 to 65535"))
        };
        match name.as_ref() {
            "command" => query.command.push(value.into_owned()),
            "tty" => query.tty = flag()?,
            "stdin" => query.stdin = flag()?,
            "columns" => query.columns = Some(size()?),
            "rows" => query.rows = Some(size()?),
            other => {
                return Err(Error::invalid(
                    other,
                    "is not a known parameter; known are command, tty, stdin, columns, rows",
                ));
            }
        }
    }
    Ok(query)
}

async fn serve(socket: WebSocket, exec: Exec, stop: CancellationToken, revoked: impl Future<Output = ()>) {
    let Exec { input, mut output, exit } = exec;
    let (mut to_client, mut from_client) = socket.split();
    let receive = async {
        while let Some(Ok(message)) = from_client.next().await {
            let next = match message {
                Message::Binary(bytes) => ExecInput::Data(bytes),
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(ExecControl::Resize { columns, rows }) => ExecInput::Resize(columns, rows),
                    Ok(ExecControl::Eof {}) => ExecInput::Eof,
                    // A frame that we do not know must not end somebody's shell.
                    Err(_) => continue,
                },
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if input.send(next).await.is_err() {
                // The command takes no more input; it may still be writing.
                std::future::pending::<()>().await;
            }
        }
    };
    let send = async {
        let mut ping = tokio::time::interval(Duration::from_secs(20));
        ping.tick().await;
        loop {
            let message = tokio::select! {
                chunk = output.next() => match chunk {
                    Some(Ok((which, bytes))) => frame(which, &bytes),
                    Some(Err(error)) => return finish(&mut to_client, ExecStatus::Error { message: error.to_string() }).await,
                    None => break,
                },
                _ = ping.tick() => Message::Ping(Bytes::new()),
            };
            if to_client.send(message).await.is_err() {
                return;
            }
        }
        let status = match exit.await {
            Ok(code) => ExecStatus::Exit { code },
            Err(error) => ExecStatus::Error { message: error.to_string() },
        };
        finish(&mut to_client, status).await;
    };
    let cut = tokio::select! {
        () = receive => return,
        () = send => false,
        () = stop.cancelled() => return,
        () = revoked => true,
    };
    if cut {
        drop((input, output));
        let message = "the credential that opened this is no longer valid".to_owned();
        let last = finish(&mut to_client, ExecStatus::Error { message });
        // Whoever does not read must not stay for that.
        let _ = tokio::time::timeout(Duration::from_secs(1), last).await;
    }
    // A connection that is closed while input lies unread is reset, and the end of the command with it.
    let rest = async { while let Some(Ok(_)) = from_client.next().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
}

fn frame(which: Output, bytes: &Bytes) -> Message {
    let mut frame = BytesMut::with_capacity(bytes.len() + 1);
    frame.put_u8(match which {
        Output::Stdout => 1,
        Output::Stderr => 2,
    });
    frame.extend_from_slice(bytes);
    Message::Binary(frame.freeze())
}

async fn finish(to_client: &mut futures_util::stream::SplitSink<WebSocket, Message>, status: ExecStatus) {
    let text = serde_json::to_string(&status).unwrap_or_else(|_| "{}".into());
    if to_client.send(Message::Text(text.into())).await.is_ok() {
        let _ = to_client.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_repeated_parameters() {
        let query =
            parse("command=sh&command=-c&command=echo+hi%26bye&tty=true&columns=100&rows=30").unwrap();
        assert_eq!(query.command, ["sh", "-c", "echo hi&bye"]);
        assert!(query.tty && !query.stdin && query.columns == Some(100));
        assert!(parse("tty=maybe").is_err());
        assert!(parse("cmd=x").is_err());
        assert!(parse("rows=0").is_err());
    }
}
