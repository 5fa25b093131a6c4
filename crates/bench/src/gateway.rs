//! The data plane: requests through the gateway against nginx and HAProxy in front of the same container, with the same
//! load. Each proxy has a worker for each core, and shares the machine with the load and the agent.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::engine::{Engine, address};
use crate::proxies::Proxy;
use crate::report::{Goal, Line, ratios, spread};
use crate::server::{Server, request};
use crate::{Setting, load, process};

/// What is asked of each proxy where all get the same.
const STEADY: u32 = 8_000;

/// Somebody who passes requests on to the agent, or the agent itself.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    host: String,
    pid: Option<u32>,
}

pub(crate) async fn run(setting: &Setting, scratch: &Path) -> Result<Vec<Line>> {
    let mut engine = Engine::new(&setting.engine);
    let server = Server::start(&setting.ryokan, &scratch.join("gateway"), None).await?;
    let outcome = measure(setting, scratch, &server, &mut engine).await;
    let id = server.id()?;
    drop(server);
    engine.purge(&id).await?;
    outcome
}

async fn measure(
    setting: &Setting,
    scratch: &Path,
    server: &Server,
    engine: &mut Engine,
) -> Result<Vec<Line>> {
    server.create(&mut server.api(), &request("backend", &setting.image)).await?;
    let container = engine.of_instance(&server.id()?, "backend").await?;
    let agent = address(&engine.inspect(&container).await?, 3000)?;
    let nginx = Proxy::nginx(scratch, agent).await?;
    let haproxy = Proxy::haproxy(scratch, agent).await?;
    let behind = |proxy: &Proxy| Way {
        address: proxy.address,
        host: proxy.address.to_string(),
        pid: Some(proxy.pid()),
    };
    let ways = [
        Way { address: server.address, host: server.host("backend"), pid: Some(server.pid()) },
        behind(&nginx),
        behind(&haproxy),
        Way { address: agent, host: agent.to_string(), pid: None },
    ];
    let mut lines = small(setting, &ways).await?;
    lines.extend(steady(setting, &ways).await?);
    lines.push(large(setting, &ways).await?);
    lines.push(websocket(setting, &ways).await?);
    Ok(lines)
}

/// One figure of each way and round.
type Figures = [Vec<f64>; 4];

/// As many requests as will go, with a small answer.
async fn small(setting: &Setting, ways: &[Way; 4]) -> Result<Vec<Line>> {
    let (mut rates, mut tails, mut costs) = (Figures::default(), Figures::default(), Figures::default());
    for round in 0..setting.rounds(7) {
        for (turn, way) in in_turn(ways, round) {
            let before = way.pid.map(process::cpu_seconds).transpose()?;
            let measured = wrk(way, "/bytes?n=12", 64, setting.seconds(4)).await?;
            rates[turn].push(measured.rate);
            tails[turn].push(measured.p99);
            if let (Some(pid), Some(before)) = (way.pid, before) {
                costs[turn].push((process::cpu_seconds(pid)? - before) * 1e6 / measured.requests);
            }
        }
    }
    let versus = |what: &str, other: usize, goal| Line {
        what: format!("requests/s, 12-byte answer, 64 connections, against {what}"),
        ours: spread(&rates[0], "/s"),
        theirs: spread(&rates[other], "/s"),
        ratios: ratios(&rates[0], &rates[other]),
        goal,
    };
    Ok(vec![
        versus("nginx", 1, Some(Goal::AtLeast(1.0))),
        versus("HAProxy", 2, None),
        versus("the agent itself", 3, None),
        Line {
            what: "processor time a request, nginx by ours".into(),
            ours: spread(&costs[0], "µs"),
            theirs: spread(&costs[1], "µs"),
            ratios: ratios(&costs[1], &costs[0]),
            goal: None,
        },
        Line {
            what: "p99 at each one's full rate, nginx by ours".into(),
            ours: spread(&tails[0], "ms"),
            theirs: spread(&tails[1], "ms"),
            ratios: ratios(&tails[1], &tails[0]),
            goal: None,
        },
    ])
}

/// The same number of requests for all.
async fn steady(setting: &Setting, ways: &[Way; 4]) -> Result<Vec<Line>> {
    let (mut middles, mut tails) = (Figures::default(), Figures::default());
    for round in 0..setting.rounds(7) {
        for (turn, way) in in_turn(ways, round) {
            let path = "/bytes?n=12";
            let latency = load::steady(way.address, &way.host, path, 32, STEADY, setting.seconds(3)).await?;
            middles[turn].push(latency.p50);
            tails[turn].push(latency.p99);
        }
    }
    let line = |name: &str, figures: &Figures, goal| Line {
        what: format!("{name} at {STEADY} requests/s over 32 connections, nginx by ours"),
        ours: spread(&figures[0], "ms"),
        theirs: spread(&figures[1], "ms"),
        ratios: ratios(&figures[1], &figures[0]),
        goal,
    };
    Ok(vec![line("p50", &middles, None), line("p99", &tails, Some(Goal::AtLeast(1.0)))])
}

/// Answers of 10 MiB.
async fn large(setting: &Setting, ways: &[Way; 4]) -> Result<Line> {
    let mut rates = Figures::default();
    for round in 0..setting.rounds(7) {
        for (turn, way) in in_turn(ways, round) {
            let measured = wrk(way, "/bytes?n=10485760", 4, setting.seconds(3)).await?;
            rates[turn].push(measured.rate * 10.0);
        }
    }
    Ok(Line {
        what: "answers of 10 MiB, 4 connections, against HAProxy".into(),
        ours: spread(&rates[0], "MiB/s"),
        theirs: spread(&rates[2], "MiB/s"),
        ratios: ratios(&rates[0], &rates[2]),
        goal: Some(Goal::AtLeast(1.0)),
    })
}

/// Messages that an agent sends back, each connection one after the other.
async fn websocket(setting: &Setting, ways: &[Way; 4]) -> Result<Line> {
    let mut rates = Figures::default();
    for round in 0..setting.rounds(7) {
        for (turn, way) in in_turn(ways, round) {
            rates[turn].push(load::echoes(way.address, &way.host, 32, setting.seconds(3)).await?);
        }
    }
    Ok(Line {
        what: "WebSocket messages of 64 bytes echoed, 32 connections, against nginx".into(),
        ours: spread(&rates[0], "/s"),
        theirs: spread(&rates[1], "/s"),
        ratios: ratios(&rates[0], &rates[1]),
        goal: Some(Goal::AtLeast(1.0)),
    })
}

/// The ways with their index, beginning with another one in each round.
fn in_turn(ways: &[Way; 4], round: usize) -> impl Iterator<Item = (usize, &Way)> {
    (0..4).map(move |n| (n + round) % 4).map(|turn| (turn, &ways[turn]))
}

struct Measured {
    rate: f64,
    requests: f64,
    /// Milliseconds.
    p99: f64,
}

async fn wrk(way: &Way, path: &str, connections: u32, lasting: Duration) -> Result<Measured> {
    let output = Command::new("wrk")
        .args(["-t1", "--latency", "--timeout", "30s"])
        .arg(format!("-c{connections}"))
        .arg(format!("-d{}s", lasting.as_secs().max(1)))
        .args(["-H", &format!("Host: {}", way.host)])
        .arg(format!("http://{}{path}", way.address))
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(&text).with_context(|| format!("wrk said: {text}"))
}

fn parse(text: &str) -> Option<Measured> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return None;
    }
    let after = |label: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(label)?.split_whitespace().next())
    };
    let rate: f64 = after("Requests/sec:")?.parse().ok()?;
    let requests =
        text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse::<f64>().ok())?;
    let tail = after("99%")?;
    let digits = tail.trim_end_matches(char::is_alphabetic);
    let unit = match &tail[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(Measured { rate, requests, p99: digits.parse::<f64>().ok()? * unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_prints() {
        let text = "  Latency Distribution\n     50%  602.00us\n     99%    1.72ms\n  \
            400158 requests in 5.10s, 50.00MB read\nRequests/sec:  78462.40\nTransfer/sec:     10.10MB\n";
        let measured = parse(text).unwrap();
        assert!((measured.rate - 78462.4).abs() < 0.1 && (measured.p99 - 1.72).abs() < 0.001);
        assert!((measured.requests - 400_158.0).abs() < 0.1);
        assert!(parse("  Non-2xx or 3xx responses: 3\n").is_none());
    }
}
