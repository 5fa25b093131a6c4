//! The HTTP server: accepts, dispatches, logs one line a request, and drains when told to end.
//! An agent keeps no state that a restart would miss: only whether it calls itself healthy.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{pages, socket};

const DEFAULT_PORT: u16 = 3000;
/// How long open requests may take to end after SIGTERM; streams are told and end at once.
const DRAIN: Duration = Duration::from_secs(2);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTerm {
    Exit,
    Ignore,
}

/// What every request sees.
pub(crate) struct Agent {
    pub(crate) name: String,
    /// What the page says first: `GREETING`.
    pub(crate) greeting: String,
    /// No line a request: `HELLO_QUIET`, for who measures.
    pub(crate) quiet: bool,
    pub(crate) healthy: AtomicBool,
    pub(crate) ending: CancellationToken,
    /// `/exit` puts the exit code here.
    pub(crate) exit: mpsc::UnboundedSender<u8>,
    pub(crate) tasks: TaskTracker,
}

/// An unreadable `PORT` must not look like a server that is up on another port. `0` lets the kernel choose.
pub(crate) fn port() -> std::io::Result<u16> {
    match std::env::var("PORT") {
        Err(_) => Ok(DEFAULT_PORT),
        Ok(text) => text.parse().map_err(|_| std::io::Error::other(format!("PORT `{text}` is not a port"))),
    }
}

fn name() -> String {
    std::env::var("RYOKAN_INSTANCE_NAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .map_or_else(|_| "hello".to_owned(), |name| name.trim().to_owned())
}

pub(crate) async fn run(on_term: OnTerm) -> std::io::Result<u8> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port()?)).await?;
    let (exit, mut exits) = mpsc::unbounded_channel();
    let agent = Arc::new(Agent {
        name: name(),
        greeting: std::env::var("GREETING").unwrap_or_default(),
        quiet: std::env::var_os("HELLO_QUIET").is_some(),
        healthy: AtomicBool::new(true),
        ending: CancellationToken::new(),
        exit,
        tasks: TaskTracker::new(),
    });
    println!("hello: {} listens on {}", agent.name, listener.local_addr()?);

    let code = loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    agent.tasks.spawn(connection(agent.clone(), stream, peer));
                }
                Err(error) => {
                    // Out of descriptors: connections that end give some back.
                    println!("hello: accept: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(code) = exits.recv() => break code,
            _ = terminate.recv() => {
                if on_term == OnTerm::Exit {
                    break 0;
                }
                println!("hello: SIGTERM ignored");
            }
            _ = interrupt.recv() => break 0,
        }
    };
    println!("hello: ending with code {code}");
    agent.ending.cancel();
    agent.tasks.close();
    // Whatever has not drained by then is cut: ending promptly matters more.
    let _ = tokio::time::timeout(DRAIN, agent.tasks.wait()).await;
    Ok(code)
}

async fn connection(agent: Arc<Agent>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(agent.clone(), request, peer));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    // Errors are the client's doing (it hung up, it spoke no HTTP); there is nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = agent.ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn respond(
    agent: Arc<Agent>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Body>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match path.as_str() {
        "/" => pages::index(&agent),
        "/health" => pages::health(&agent),
        "/unhealthy" => {
            agent.healthy.fetch_xor(true, Ordering::Relaxed);
            pages::health(&agent)
        }
        "/ws" => socket::accept(&agent, request),
        "/clock" => pages::clock(&agent, &request),
        "/env" => pages::environment(),
        "/headers" => pages::headers(&request, peer),
        "/upload" => pages::upload(request).await,
        "/bytes" => pages::bytes(&request),
        "/exit" => pages::exit(&agent, &request),
        _ => pages::not_found(&path),
    };
    if !agent.quiet {
        println!("{method} {path} {}", response.status().as_u16());
    }
    Ok(response)
}
