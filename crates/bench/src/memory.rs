//! How much memory the server takes: idle after its start, and with fifty idle agents.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::engine::Engine;
use crate::report::{Goal, Line};
use crate::server::{Server, request};
use crate::{Setting, process};

pub(crate) async fn run(setting: &Setting, scratch: &Path) -> Result<Vec<Line>> {
    let mut engine = Engine::new(&setting.engine);
    let server = Server::start(&setting.ryokan, &scratch.join("memory"), None).await?;
    let outcome = measure(setting, &server).await;
    let id = server.id()?;
    drop(server);
    engine.purge(&id).await?;
    outcome
}

async fn measure(setting: &Setting, server: &Server) -> Result<Vec<Line>> {
    const BOUND: f64 = 50.0;
    let mut api = server.api();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = process::memory(server.pid())?;
    let instances = if setting.quick { 10 } else { 50 };
    for number in 0..instances {
        server.create(&mut api, &request(&format!("idle-{number}"), &setting.image)).await?;
    }
    // Longer than the reconciler's full look at the engine, so that its memory is counted.
    tokio::time::sleep(Duration::from_secs(25)).await;
    let full = process::memory(server.pid())?;
    let line = |what: String, (now, most): (f64, f64)| Line {
        what,
        ours: format!("{now:.1} MiB (peak {most:.1})"),
        theirs: format!("{BOUND} MiB"),
        ratios: vec![now / BOUND],
        goal: Some(Goal::AtMost(1.0)),
    };
    Ok(vec![
        line("server's memory (PSS), idle after its start".into(), idle),
        line(format!("server's memory (PSS) with {instances} idle instances"), full),
    ])
}
