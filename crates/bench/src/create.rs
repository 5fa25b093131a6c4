//! From the call that creates an instance to its first 200 through the gateway, against the engine alone: create,
//! start, and the first 200 at the container's own address. Same image, a network of the same kind that is there
//! already, and the same client. Once with nothing but image and network, once with exactly the options that ryokan
//! gives its containers (limits, capabilities, init).

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

use crate::Setting;
use crate::engine::{Engine, address, until_200};
use crate::http::Client;
use crate::report::{Goal, Line, quantile, ratios, spread};
use crate::server::{Server, request};

const NETWORK: &str = "ryokan-bench";

pub(crate) async fn run(setting: &Setting, scratch: &Path) -> Result<Vec<Line>> {
    let mut engine = Engine::new(&setting.engine);
    let server = Server::start(&setting.ryokan, &scratch.join("create"), None).await?;
    let outcome = rounds(setting, &server, &mut engine).await;
    let id = server.id()?;
    drop(server);
    engine.purge(&id).await?;
    let _ = engine.remove_network(NETWORK).await;
    outcome
}

async fn rounds(setting: &Setting, server: &Server, engine: &mut Engine) -> Result<Vec<Line>> {
    let mut api = server.api();
    let _ = engine.remove_network(NETWORK).await;
    engine.make_network(NETWORK).await?;
    // Keeps the project's network alive, as the bare one is; and shows what options ryokan gives.
    server.create(&mut api, &request("keeper", &setting.image)).await?;
    let keeper = engine.of_instance(&server.id()?, "keeper").await?;
    let fenced = same_options(&engine.inspect(&keeper).await?);
    let plain = json!({"Image": setting.image, "HostConfig": {"NetworkMode": NETWORK}});

    let (mut ours, mut bare, mut same) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms caches on all sides and is not counted.
    for round in 0..=setting.rounds(25) {
        let times = [
            through_ryokan(setting, server, &mut api, round).await?,
            by_hand(engine, &plain, round).await?,
            by_hand(engine, &fenced, round).await?,
        ];
        if round > 0 {
            ours.push(times[0]);
            bare.push(times[1]);
            same.push(times[2]);
        }
    }
    let p90 = format!(
        "p90: ours {:.0} ms, bare {:.0} ms, same options {:.0} ms",
        quantile(&ours, 0.9),
        quantile(&bare, 0.9),
        quantile(&same, 0.9)
    );
    Ok(vec![
        Line {
            what: format!("create → first 200, against bare Docker create+start, n={} ({p90})", ours.len()),
            ours: spread(&ours, "ms"),
            theirs: spread(&bare, "ms"),
            ratios: ratios(&ours, &bare),
            goal: Some(Goal::AtMost(1.10)),
        },
        Line {
            what: "… against Docker with the same container options".into(),
            ours: spread(&ours, "ms"),
            theirs: spread(&same, "ms"),
            ratios: ratios(&ours, &same),
            goal: None,
        },
    ])
}

async fn through_ryokan(setting: &Setting, server: &Server, api: &mut Client, round: usize) -> Result<f64> {
    let name = format!("create-{round}");
    let began = Instant::now();
    server.create(api, &request(&name, &setting.image)).await?;
    until_200(&mut server.agent(&name), "/health").await?;
    let took = milliseconds(began);
    server.delete(api, &name).await?;
    Ok(took)
}

async fn by_hand(engine: &mut Engine, body: &Value, round: usize) -> Result<f64> {
    let began = Instant::now();
    let id = engine.create(&format!("ryokan-bench-{round}"), body).await?;
    engine.start(&id).await?;
    let address = address(&engine.inspect(&id).await?, 3000)?;
    until_200(&mut Client::tcp(address, &address.to_string()), "/health").await?;
    let took = milliseconds(began);
    engine.remove(&id).await?;
    Ok(took)
}

/// The call that makes a container like this one, in our network and without its marks.
fn same_options(container: &Value) -> Value {
    let mut body = container["Config"].clone();
    let mut host = container["HostConfig"].clone();
    host["NetworkMode"] = json!(NETWORK);
    body["HostConfig"] = host;
    body["Labels"] = json!({});
    body["Hostname"] = json!("bench");
    body
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Asks `path` once and says how long it took, in milliseconds.
pub(crate) async fn timed(client: &mut Client, path: &str) -> Result<f64> {
    let began = Instant::now();
    client.call(Method::GET, path, None).await?;
    Ok(milliseconds(began))
}
