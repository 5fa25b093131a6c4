//! The WebSocket (RFC 6455): what comes in, text or binary, goes back. Pings and closes are answered by the library.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};
use tokio_util::sync::CancellationToken;

use crate::pages;
use crate::serve::{Agent, Body};

pub(crate) fn accept(agent: &Arc<Agent>, mut request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let says = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let asked = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let (true, Some(key)) = (asked, headers.get(header::SEC_WEBSOCKET_KEY)) else {
        let mut response =
            pages::json(StatusCode::UPGRADE_REQUIRED, &json!({ "error": "speak WebSocket, version 13" }));
        response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    let protocol = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| {
        let first = value.to_str().ok()?.split(',').next()?.trim();
        header::HeaderValue::from_str(first).ok()
    });

    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    answer.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    if let Ok(accept) = header::HeaderValue::from_str(&accept) {
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }

    let ending = agent.ending.clone();
    let upgrade = hyper::upgrade::on(&mut request);
    agent.tasks.spawn(async move {
        if let Ok(stream) = upgrade.await {
            let stream = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
            echo(stream, &ending).await;
        }
    });
    response
}

async fn echo<S>(mut stream: WebSocketStream<S>, ending: &CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = ending.cancelled() => {
                let frame = CloseFrame { code: CloseCode::Away, reason: "the agent is ending".into() };
                let _ = stream.close(Some(frame)).await;
                return;
            }
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if stream.send(message).await.is_err() {
                    return;
                }
            }
            // The next read sends the pong or the closing frame that is due.
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}
