//! Logs as one text each, bounded.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use futures_util::StreamExt as _;
use ryokan_app::Error;
use ryokan_app::events::EventQuery;
use ryokan_model::Millis;
use ryokan_model::addon::Addon;
use ryokan_model::permission::Scope;
use ryokan_ports::runtime::LogOptions;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Known, MandalaResult, Old, Workloads, time};
use crate::http::Context;

/// The most of one answer, in bytes; the oldest lines go.
const LONGEST: usize = 1024 * 1024;
const LINES: u32 = 500;
/// How long an engine may take for its lines.
const PATIENCE: Duration = Duration::from_secs(20);

fn keep_the_end(text: &mut String) {
    let mut cut = text.len().saturating_sub(LONGEST);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    text.drain(..cut);
}

/// What happened to the project.
pub(super) async fn project(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let project = context.app.find_project(&caller, Scope::Read, &id).await?;
    let query = EventQuery { project: Some(project.id.to_string()), ..EventQuery::default() };
    let filter = context.app.event_filter(&caller, query).await?;
    let mut events = context.app.events_after(filter, 0, LINES).await?.events;
    events.truncate(LINES as usize);
    let lines = events.into_iter().map(|logged| {
        format!(
            "[{}] {} {} by {}",
            time(Millis(logged.event.at)),
            logged.event.kind,
            logged.event.subject_name,
            logged.event.actor
        )
    });
    Ok(Json(json!({"logs": lines.collect::<Vec<_>>().join("\n")})))
}

/// The steps of a deployment.
pub(super) async fn deployment(
    State(context): State<Context>,
    Known(caller): Known,
    Path((id, deployment)): Path<(String, String)>,
) -> MandalaResult<Json<Value>> {
    let project = context.app.find_project(&caller, Scope::Read, &id).await?;
    let row = context.app.find_deployment(&caller, Scope::Read, &deployment).await?;
    if row.project != project.id {
        return Err(Error::not_found("deployment", deployment).into());
    }
    let (mut after, mut text) = (0, String::new());
    loop {
        let (_, lines) = context.app.deployment_lines(row.id, after).await?;
        let Some(last) = lines.last() else { break };
        after = last.number;
        for line in lines {
            text.extend(["[", &time(line.at), "] ", &line.text, "\n"]);
        }
        keep_the_end(&mut text);
    }
    Ok(Json(json!({ "logs": text })))
}

#[derive(Deserialize, Default)]
pub(super) struct Wanted {
    since: Option<String>,
    tail: Option<u64>,
    level: Option<String>,
}

const SPANS: [(&str, u64); 10] = [
    ("5m", 5),
    ("15m", 15),
    ("30m", 30),
    ("1h", 60),
    ("2h", 120),
    ("6h", 360),
    ("12h", 720),
    ("1d", 1440),
    ("2d", 2880),
    ("7d", 10080),
];

/// Whether a line is of the level: by the words that programs use.
fn is_of(level: &str, line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    match level {
        "error" => has(&["error", "fatal", "panic", "exception"]),
        "warn" => has(&["warn"]),
        "info" => has(&["info"]),
        _ => true,
    }
}

/// What an agent, a frontend or a database has written.
pub(super) async fn resource(
    State(context): State<Context>,
    Known(caller): Known,
    Path((id, resource)): Path<(String, String)>,
    Old(wanted): Old<Wanted>,
) -> MandalaResult<Json<Value>> {
    let since = wanted.since.as_deref().unwrap_or("1h");
    let minutes = SPANS.iter().find(|(name, _)| *name == since).map(|(_, minutes)| *minutes);
    let minutes = minutes.ok_or_else(|| {
        let known: Vec<_> = SPANS.iter().map(|(name, _)| *name).collect();
        Error::invalid("since", format!("must be one of {}", known.join(", ")))
    })?;
    let tail = wanted.tail.unwrap_or(1000);
    if !(1..=10_000).contains(&tail) {
        return Err(Error::invalid("tail", "must be between 1 and 10000").into());
    }
    let level = wanted.level.as_deref().unwrap_or("all");
    if !["all", "error", "warn", "info"].contains(&level) {
        return Err(Error::invalid("level", "must be all, error, warn or info").into());
    }
    if !["frontend", "agent", "backend"].contains(&resource.as_str()) && resource.parse::<Addon>().is_err() {
        let must = "must be frontend, agent, mongo, mysql, postgres or redis";
        return Err(Error::invalid("resource", must).into());
    }
    let (_, found) = Workloads::find(&context.app, &caller, Scope::Read, &id).await?;
    let row = found.named(&resource).ok_or_else(|| Error::not_found("resource", resource.clone()))?;
    let from = Millis(context.app.clock.now().0 - i64::try_from(minutes * 60_000).unwrap_or(i64::MAX));
    let options =
        LogOptions { follow: false, tail: Some(tail), since: Some(from), until: None, generation: None };
    let mut lines = context.app.instance_logs(&caller, &row.id.to_string(), options).await?;
    let mut kept = Vec::new();
    let reading = async {
        while let Some(Ok(line)) = lines.next().await {
            if is_of(level, &line.text) {
                kept.push(format!("{} {}", time(line.at), line.text));
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    let mut text = kept.join("\n");
    keep_the_end(&mut text);
    Ok(Json(json!({"resource": resource, "logs": text,
        "metadata": {"since": since, "tail": tail, "level": level}})))
}
