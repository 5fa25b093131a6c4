//! `ryokan system`.

use clap::Subcommand;
use ryokan_api::system::{Job, Readiness, Reconciler};

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Sheet, Table};
use crate::text::{age, bytes};

/// The server's state, for operators.
#[derive(Debug, clap::Args)]
pub(crate) struct System {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Version, store and engine (what `ryokan system` shows)
    Status,
    /// The settings in force, secrets left out
    Config,
    /// Durable jobs
    Jobs {
        #[command(subcommand)]
        action: Option<Jobs>,
        /// Only in this state: ready, running, done or dead
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// The loops that make what is what should be
    Reconcilers,
    /// Whether every part works; ends with 1 when one does not
    Ready,
}

#[derive(Debug, Subcommand)]
enum Jobs {
    /// Try dead jobs again
    Retry {
        /// Ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

impl System {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action.unwrap_or(Action::Status) {
            Action::Status => {
                let system = client.system().await?;
                if cx.out.json { cx.out.json(&system) } else { status(cx, &system) }
            }
            Action::Config => {
                let config = client.system_config().await?;
                if cx.out.json {
                    return cx.out.json(&config);
                }
                let text = toml::to_string_pretty(&set(config)).map_err(|e| {
                    Failure::new(format!("the settings cannot be shown: {e}")).hint("use --json")
                })?;
                cx.out.line(text.trim_end())
            }
            Action::Jobs { action: Some(Jobs::Retry { ids }), .. } => {
                for id in ids {
                    client.retry_job(&id).await?;
                    cx.out.note(format!("{id} is tried again."));
                }
                Ok(())
            }
            Action::Jobs { action: None, state } => {
                let mut all = client.jobs().await?;
                all.retain(|job| state.as_ref().is_none_or(|state| job.state == *state));
                jobs(cx, all)
            }
            Action::Reconcilers => reconcilers(cx, client.reconcilers().await?),
            Action::Ready => ready(cx, &client.readiness().await?),
        }
    }
}

/// Without what is not set, for which TOML has no word.
fn set(config: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match config {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(n, v)| (n, set(v))).collect()
        }
        Value::Array(items) => items.into_iter().filter(|v| !v.is_null()).map(set).collect(),
        other => other,
    }
}

fn limits(unlimited: &[String]) -> String {
    if unlimited.is_empty() { "enforced".to_owned() } else { format!("none on {}", unlimited.join(", ")) }
}

fn status(cx: &Context, system: &ryokan_api::system::System) -> Outcome {
    let mut sheet = Sheet::new();
    sheet
        .line("version", system.version.as_str())
        .line("server", system.server_id.as_str())
        .line("zone", system.zone.as_str())
        .line("store", system.store.as_str())
        .line("up", age(system.started_at, now()));
    match &system.engine {
        Some(engine) => {
            sheet
                .line(
                    "engine",
                    format!(
                        "{} {}{}",
                        engine.name,
                        engine.version,
                        if engine.rootless { ", rootless" } else { "" }
                    ),
                )
                .line("isolation", engine.isolations.join(" "))
                .line("reach", engine.reach.as_str())
                .line("cpus", engine.cpus.to_string())
                .line("memory", bytes(engine.memory_bytes))
                .line("limits", limits(&engine.unlimited));
            for warning in &engine.warnings {
                sheet.line("warning", warning.as_str());
            }
        }
        None => {
            sheet.line("engine", "none answers");
        }
    }
    sheet.print(&cx.out)
}

fn jobs(cx: &Context, jobs: Vec<Job>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(jobs);
    }
    if jobs.is_empty() {
        cx.out.note("No jobs.");
        return Ok(());
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["ID", "KIND", "KEY", "STATE", "TRIES", "AGE", "ERROR"]);
    for job in jobs {
        let tone = match job.state.as_str() {
            "dead" => Tone::Bad,
            "done" => Tone::Faint,
            "running" => Tone::Busy,
            _ => Tone::Plain,
        };
        table.row([
            Column::from(job.id.to_string()),
            job.kind.into(),
            job.key.unwrap_or_default().into(),
            Column::new(job.state, tone),
            format!("{}/{}", job.attempt, job.max_attempts).into(),
            age(job.created_at, now).into(),
            first_words(&job.error.unwrap_or_default()).into(),
        ]);
    }
    table.print(&cx.out)
}

fn reconcilers(cx: &Context, reconcilers: Vec<Reconciler>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(reconcilers);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["NAME", "OUTCOME", "LAST", ">BACKLOG", "ERROR"]);
    for reconciler in reconcilers {
        let tone = if reconciler.outcome == "ok" { Tone::Good } else { Tone::Bad };
        table.row([
            Column::from(reconciler.name),
            Column::new(reconciler.outcome, tone),
            age(reconciler.finished_at.unwrap_or(reconciler.started_at), now).into(),
            reconciler.backlog.to_string().into(),
            first_words(&reconciler.error.unwrap_or_default()).into(),
        ]);
    }
    table.print(&cx.out)
}

fn ready(cx: &Context, readiness: &Readiness) -> Outcome {
    if cx.out.json {
        cx.out.json(readiness)?;
    } else {
        let mut table = Table::new(&cx.out, &["PART", "READY", "REASON"]);
        for part in &readiness.capabilities {
            let (word, tone) = if part.ready { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
            table.row([
                Column::from(part.name.as_str()),
                Column::new(word, tone),
                part.reason.clone().unwrap_or_default().into(),
            ]);
        }
        table.print(&cx.out)?;
    }
    if readiness.ready { Ok(()) } else { Err(Failure::new("the server is not ready")) }
}

/// `--json` has the whole.
fn first_words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 80 { line.chars().take(79).chain(['…']).collect() } else { line.to_owned() }
}
