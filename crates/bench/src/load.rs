//! Load of our own, where wrk cannot give it: a fixed rate, and WebSocket messages. Bare sockets and bytes made once, so that
//! the client takes as little of the machine as it can.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant as Tick, MissedTickBehavior};

use crate::report::quantile;

/// In milliseconds.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Sends `rate` requests a second over so many connections, evenly, and times each from its first byte out to its last
/// byte in. A connection that falls behind skips, so that everybody's load has the same shape.
pub(crate) async fn steady(
    address: SocketAddr,
    host: &str,
    path: &str,
    connections: u32,
    rate: u32,
    lasting: Duration,
) -> Result<Latency> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let every = Duration::from_secs(1) * connections / rate;
    let begin = Tick::now() + Duration::from_millis(50);
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let request = request.clone();
        // Each begins a little later than the one before, so that requests come one by one.
        let offset = every * number / connections;
        tasks.spawn(async move {
            let mut stream = connect(address).await?;
            let mut ticks = tokio::time::interval_at(begin + offset, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let (mut times, mut buffer) = (Vec::new(), vec![0; 4096]);
            while begin.elapsed() < lasting {
                ticks.tick().await;
                let sent = Instant::now();
                stream.write_all(request.as_bytes()).await?;
                answer(&mut stream, &mut buffer).await?;
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            Ok::<_, anyhow::Error>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    Ok(Latency { p50: quantile(&times, 0.5), p99: quantile(&times, 0.99) })
}

/// Reads one answer of known length.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("the connection ended within an answer");
        }
        filled += read;
        let text = &buffer[..filled];
        let Some(head) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head_text = std::str::from_utf8(&text[..head])?.to_ascii_lowercase();
        if !head_text.starts_with("http/1.1 200") {
            bail!("{head_text}");
        }
        let length = head_text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("no length")?.trim().parse()?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}

/// How many messages a second come back from `/ws`, with one under way on each connection.
pub(crate) async fn echoes(
    address: SocketAddr,
    host: &str,
    connections: u32,
    lasting: Duration,
) -> Result<f64> {
    const LENGTH: usize = 64;
    // A final text frame of 64 bytes under a mask of zeros, and its echo, which has no mask.
    let mut frame = vec![0x81, 0x80 | 64, 0, 0, 0, 0];
    frame.extend([b'x'; LENGTH]);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (frame, handshake) = (frame.clone(), handshake(host));
        tasks.spawn(async move {
            let mut stream = connect(address).await?;
            stream.write_all(handshake.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            if !head.starts_with(b"HTTP/1.1 101") {
                bail!("{}", String::from_utf8_lossy(&head));
            }
            let (mut echo, mut count) = ([0; LENGTH + 2], 0u32);
            while began.elapsed() < lasting {
                stream.write_all(&frame).await?;
                stream.read_exact(&mut echo).await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut total = 0;
    while let Some(task) = tasks.join_next().await {
        total += task??;
    }
    Ok(f64::from(total) / began.elapsed().as_secs_f64())
}

fn handshake(host: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cnlva2FuLWJlbmNobWFyaw==\r\n\r\n"
    )
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
