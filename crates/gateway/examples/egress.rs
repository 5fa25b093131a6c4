//! How much a tunnel through the egress proxy costs: the same bytes and round trips, direct and through `CONNECT`, in one
//! run. `cargo run --release -p ryokan-gateway --example egress`

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use ryokan_gateway::egress::{
    Ask, Authority, Bound, Caller, Callers, DoorId, Egress, EgressLimits, EgressParts, Inside, Judge,
    Judgement, Keys, Later, Outcome, Record, RemoteHost, Resolver, TlsParts,
};
use ryokan_gateway::{Body, Clock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const BYTES: usize = 512 * 1024 * 1024;
const TRIPS: usize = 20_000;
const OPENINGS: usize = 2_000;

/// Allows everything to everybody.
struct Everything;

impl Callers for Everything {
    fn identify<'a>(&'a self, token: &'a str, _: SocketAddr, door: &'a DoorId) -> Later<'a, Option<Caller>> {
        Box::pin(async {
            Some(Caller { project: door.0.clone(), instance: "one".into(), token: token.into() })
        })
    }

    fn is_still(&self, _: &Caller) -> bool {
        true
    }
}

impl Judge for Everything {
    fn judge<'a>(&'a self, _: &'a Caller, _: &'a Ask) -> Later<'a, Judgement> {
        Box::pin(async { Judgement::Allowed { record: Record("r".into()) } })
    }

    fn is_still_allowed(&self, _: &Caller, _: &Ask) -> bool {
        true
    }

    fn done(&self, _: Record, _: Outcome) {}
}

impl Keys for Everything {
    fn bound(&self, _: &Caller, _: &RemoteHost, _: u16) -> Bound {
        Bound::default()
    }

    fn is_good(&self, _: &Caller, _: &str, _: u64) -> bool {
        true
    }
}

impl Resolver for Everything {
    fn resolve<'a>(&'a self, _: &'a str) -> Later<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

impl Inside for Everything {
    fn handle(&self, _: Caller, _: Request<Incoming>) -> Later<'_, Response<Body>> {
        Box::pin(async { Response::new(Body::empty()) })
    }
}

impl Clock for Everything {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 56)
    }
}

async fn open(to: SocketAddr, through: Option<SocketAddr>) -> io::Result<TcpStream> {
    let Some(proxy) = through else {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        return Ok(stream);
    };
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let authority = format!("host.test:{}", to.port());
    let head =
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Bearer x\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    Ok(stream)
}

/// What a host does is told by the first byte: echo, swallow, or close.
async fn host(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    stream.set_nodelay(true)?;
    let is_echo = stream.read_u8().await? == 1;
    stream.write_all(&[1]).await?;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.write_all(&[2]).await;
        }
        if is_echo {
            stream.write_all(&buffer[..read]).await?;
        }
    }
}

/// Seconds for bulk, for round trips, and for openings.
async fn measure(to: SocketAddr, through: Option<SocketAddr>) -> io::Result<[f64; 3]> {
    let piece = vec![0; 64 * 1024];
    let mut stream = open(to, through).await?;
    stream.write_all(&[3]).await?;
    stream.read_u8().await?;
    let began = Instant::now();
    for _ in 0..BYTES / piece.len() {
        stream.write_all(&piece).await?;
    }
    stream.shutdown().await?;
    stream.read_u8().await?;
    let bulk = began.elapsed().as_secs_f64();

    let mut stream = open(to, through).await?;
    stream.write_all(&[1]).await?;
    stream.read_u8().await?;
    let began = Instant::now();
    for _ in 0..TRIPS {
        stream.write_all(&[0; 100]).await?;
        stream.read_exact(&mut [0; 100]).await?;
    }
    let trips = began.elapsed().as_secs_f64();

    let began = Instant::now();
    for _ in 0..OPENINGS {
        let mut stream = open(to, through).await?;
        stream.write_all(&[1]).await?;
        stream.read_u8().await?;
    }
    Ok([bulk, trips, began.elapsed().as_secs_f64()])
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "its report")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = TaskTracker::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let to = listener.local_addr()?;
    let tasks_too = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks_too.spawn(host(stream));
        }
    });
    let all = Arc::new(Everything);
    let authority = Authority::create(all.now())?;
    let limits = EgressLimits::default();
    let egress = Egress::new(EgressParts {
        callers: all.clone(),
        judge: all.clone(),
        keys: all.clone(),
        resolver: all.clone(),
        inside: all.clone(),
        clock: all.clone(),
        authority: Arc::new(Authority::load(&authority.certificate, &authority.key, limits.certificates)?),
        tls: TlsParts::default(),
        exceptions: vec!["127.0.0.1".parse()?],
        limits,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = listener.local_addr()?;
    let stop = CancellationToken::new();
    let stop_too = stop.clone();
    let serving = tasks.spawn(async move {
        egress.serve(listener, DoorId("p".into()), stop_too.clone(), stop_too).await;
    });
    println!("one connection; median of {ROUNDS} rounds, direct and through the proxy by turns");
    let (mut direct, mut tunnelled) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        direct.push(measure(to, None).await?);
        tunnelled.push(measure(to, Some(proxy)).await?);
    }
    let median = |rounds: &[[f64; 3]], which: usize| {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[which]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    for (which, (name, count, unit)) in [
        ("bulk, one way", 512.0, "MiB/s"),
        ("round trips of 100 bytes", 20_000.0, "/s"),
        ("openings with one byte back", 2_000.0, "/s"),
    ]
    .into_iter()
    .enumerate()
    {
        let (plain, proxied) = (count / median(&direct, which), count / median(&tunnelled, which));
        println!(
            "{name:28} direct {plain:9.0} {unit:6} proxy {proxied:9.0} {unit:6} ratio {:.2}",
            proxied / plain
        );
    }
    stop.cancel();
    serving.await?;
    Ok(())
}
