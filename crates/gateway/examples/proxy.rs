//! The data plane alone, before one agent that runs already: a build of a minute to profile and to compare with.
//!
//! `cargo run --release --example proxy -- 127.0.0.1:8100 127.0.0.1:3000` serves every host under `localhost`'s name
//! `agent` (`agent.localhost`) with a worker for each core, as the server does.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use http::{Request, Response};
use hyper::body::Incoming;
use ryokan_gateway::{
    Authenticator, Body, Clock, ControlPlane, Gateway, Limits, Meter, Parts, Peer, ResponseFuture, Route,
    RouteState, RouteTable, SigningKey, Snapshot, Usage, Verdict,
};
use socket2::{Domain, Socket, Type};
use tokio_util::sync::CancellationToken;

/// As in the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Nobody;

impl Authenticator for Nobody {
    fn bearer(&self, _: &str, _: IpAddr, _: &Route) -> Verdict {
        Verdict::NotAuthenticated
    }
    fn refused(&self, _: &str, _: IpAddr) -> Option<u64> {
        None
    }
    fn is_secret(&self, _: &str) -> bool {
        false
    }
    fn agent_session(&self, _: &str, _: &str, _: &Route) -> Verdict {
        Verdict::NotAuthenticated
    }
    fn dashboard_session(&self, _: &str, _: &Route) -> Verdict {
        Verdict::NotAuthenticated
    }
    fn is_still_good(&self, _: &str, _: &Route) -> bool {
        false
    }
}

impl ControlPlane for Nobody {
    fn handle(&self, _: Request<Incoming>, _: Peer) -> ResponseFuture<'_> {
        Box::pin(async { Response::new(Body::full("no control plane here\n")) })
    }
    fn use_ticket(&self, _: [u8; 16]) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { false })
    }
}

impl Clock for Nobody {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

#[derive(Default)]
struct Sum([AtomicU64; 3]);

impl Meter for Sum {
    fn record(&self, _: &str, usage: Usage) {
        for (sum, more) in self.0.iter().zip([usage.requests, usage.bytes_in, usage.bytes_out]) {
            sum.fetch_add(more, Relaxed);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> Result<SocketAddr, Box<dyn std::error::Error>> {
        Ok(arguments.next().ok_or("usage: proxy LISTEN AGENT")?.parse()?)
    };
    let (listen, agent) = (address()?, address()?);
    // As many as a small server has.
    let mut snapshot = Snapshot::new("localhost");
    for number in 0..1000 {
        let name = if number == 0 { "agent".to_owned() } else { format!("agent-{number}") };
        snapshot.insert(Route::new(name.clone(), name, RouteState::Ready { endpoint: agent }));
    }
    let gateway = Gateway::new(Parts {
        routes: Arc::new(RouteTable::new(snapshot)),
        control_plane: Arc::new(Nobody),
        authenticator: Arc::new(Nobody),
        meter: Arc::new(Sum::default()),
        clock: Arc::new(Nobody),
        key: SigningKey::new(&[7; 32]),
        trusted_proxies: Vec::new(),
        limits: Limits::default(),
    });
    let cores = std::thread::available_parallelism()?.get();
    let workers: Vec<_> = (0..cores)
        .map(|_| {
            let gateway = gateway.worker();
            std::thread::spawn(move || -> std::io::Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async move {
                    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, None)?;
                    socket.set_reuse_port(true)?;
                    socket.set_nonblocking(true)?;
                    socket.bind(&listen.into())?;
                    socket.listen(4096)?;
                    let listener = tokio::net::TcpListener::from_std(socket.into())?;
                    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
                    gateway.serve(listener, soft, hard).await;
                    Ok(())
                })
            })
        })
        .collect();
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    Ok(())
}
