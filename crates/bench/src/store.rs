//! Getting and listing instances with few rows and with many, over the API, on both stores. The rows are stopped
//! instances, a hundred to a project, written past the API; nothing of them is on the engine.

use std::path::Path;

use anyhow::{Context as _, Result};
use hyper::Method;
use ryokan_model::instance::{Desired, State};
use ryokan_model::spec::{InstanceSpec, Port, Protocol};
use ryokan_model::{InstanceId, Millis, ProjectId, UserId};
use ryokan_store::instances::Instance;
use ryokan_store::{Options, Store, StoreError, StoreUrl};

use crate::create::timed;
use crate::http::Client;
use crate::report::{Goal, Line, median, quantile};
use crate::server::Server;
use crate::{Setting, process};

const A_PROJECT: u32 = 100;
/// When all the rows were made.
const THEN: Millis = Millis(1_750_000_000_000);

/// What is asked, and of how many rows.
struct Cell {
    question: &'static str,
    /// Milliseconds.
    p50: f64,
    p90: f64,
}

/// All answers at one number of rows.
struct Column {
    rows: u32,
    cells: Vec<Cell>,
    /// Seconds until the server answered, and MiB that it had after the questions.
    started: f64,
    memory: f64,
}

pub(crate) async fn run(setting: &Setting, scratch: &Path) -> Result<Vec<Line>> {
    let mut lines = on(setting, scratch, "SQLite", None).await?;
    match &setting.postgres {
        Some(url) => lines.extend(on(setting, scratch, "PostgreSQL", Some(url)).await?),
        None => eprintln!("no --postgres: only SQLite is measured"),
    }
    Ok(lines)
}

async fn on(setting: &Setting, scratch: &Path, store: &str, url: Option<&str>) -> Result<Vec<Line>> {
    let data = scratch.join(format!("store-{}", store.to_lowercase()));
    let sizes: &[u32] = if setting.quick { &[100, 10_000] } else { &[100, 10_000, 100_000] };
    // The first start makes schema and operator.
    drop(Server::start(&setting.ryokan, &data, url).await?);
    let place: StoreUrl = match url {
        Some(url) => StoreUrl::postgres(url),
        None => StoreUrl::Sqlite(data.join("ryokan.db")),
    };
    let (mut columns, mut seeded) = (Vec::new(), 0);
    for rows in sizes {
        seed(&place, seeded, *rows).await.context("seeding")?;
        seeded = *rows;
        columns.push(ask(setting, &data, url, *rows).await?);
        if let Some(column) = columns.last() {
            eprintln!(
                "{store}, {rows} rows: answers after {:.2} s, {:.0} MiB; {}",
                column.started,
                column.memory,
                column
                    .cells
                    .iter()
                    .map(|c| format!("{} {:.2} ms", c.question, c.p50))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
    }
    Ok(lines(store, &columns))
}

fn lines(store: &str, columns: &[Column]) -> Vec<Line> {
    let [first, .., last] = columns else { return Vec::new() };
    let mut lines = Vec::new();
    for (small, big) in first.cells.iter().zip(&last.cells) {
        lines.push(Line {
            what: format!("{store}: {}, {} rows against {}", small.question, last.rows, first.rows),
            ours: format!("p50 {:.2} ms, p90 {:.2} ms", big.p50, big.p90),
            theirs: format!("p50 {:.2} ms, p90 {:.2} ms", small.p50, small.p90),
            ratios: vec![big.p50 / small.p50],
            goal: Some(Goal::AtMost(1.3)),
        });
    }
    lines.push(Line {
        what: format!("{store}: start until it answers, {} rows against {}", last.rows, first.rows),
        ours: format!("{:.2} s, {:.0} MiB", last.started, last.memory),
        theirs: format!("{:.2} s, {:.0} MiB", first.started, first.memory),
        ratios: vec![last.started / first.started],
        goal: None,
    });
    lines
}

/// Makes the rows from `from` up to `to`.
async fn seed(place: &StoreUrl, from: u32, to: u32) -> Result<()> {
    let store = Store::open(Options::new(place.clone())).await?;
    let owner: UserId = store
        .read(|tx| Ok::<_, StoreError>(tx.users("", 1)?.into_iter().next().map(|user| user.id)))
        .await?
        .context("no user")?;
    for project in from / A_PROJECT..to / A_PROJECT {
        store
            .write(move |tx| {
                let id = ProjectId::from_parts(THEN, mark(project));
                let name = format!("project-{project:05}");
                tx.insert_project(
                    id,
                    &parsed(&name)?,
                    owner,
                    false,
                    ryokan_model::project::Network::default(),
                    THEN,
                )?;
                for number in project * A_PROJECT..(project + 1) * A_PROJECT {
                    tx.insert_instance(&row(id, &name, number)?)?;
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    if let StoreUrl::Postgres(_) = place {
        store
            .write(|tx| {
                // What autovacuum does within a minute, and after so many new rows would do while questions are asked.
                tx.execute("ALTER TABLE instances SET (autovacuum_enabled = false)", &[])?;
                tx.execute("ALTER TABLE projects SET (autovacuum_enabled = false)", &[])?;
                tx.execute("ANALYZE", &[]).map(drop)
            })
            .await?;
    }
    store.close().await;
    Ok(())
}

fn row(project: ProjectId, project_name: &str, number: u32) -> Result<Instance, StoreError> {
    let mut spec = InstanceSpec::new(parsed("ryokan/hello:dev")?);
    spec.ports = vec![Port { name: "http".into(), port: 3000, protocol: Protocol::Http }];
    let (id, name) = (InstanceId::from_parts(THEN, mark(number)), parsed(&instance_name(number))?);
    Ok(Instance {
        project_name: project_name.to_owned(),
        template: "custom".into(),
        desired: Desired::Stopped,
        state: State::Stopped,
        image_generation: 1,
        version: 1,
        ..Instance::new(id, project, name, spec, THEN)
    })
}

/// Names in an order that has nothing to do with ids and projects: multiplication by an odd number permutes.
fn instance_name(number: u32) -> String {
    format!("agent-{:08x}", number.wrapping_mul(0x9E37_79B1))
}

fn mark(number: u32) -> [u8; 10] {
    let mut bytes = [7; 10];
    bytes[6..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Other(format!("`{text}` is not what it should be")))
}

async fn ask(setting: &Setting, data: &Path, url: Option<&str>, rows: u32) -> Result<Column> {
    let server = Server::start(&setting.ryokan, data, url).await?;
    // A start reads all rows for reconciler and routes; that is not what is asked here.
    let settled = process::settled(server.pid()).await?;
    eprintln!("{rows} rows: at rest after {:.0} s", settled.as_secs_f64());
    let mut operator = server.api();
    let made = operator
        .call(Method::POST, "/v1/tokens", Some(&serde_json::json!({"label": format!("bench-{rows}"), "scope": "read", "project": "project-00000"})))
        .await?;
    let token = made["secret"].as_str().context("no token")?;
    let mut member = Client::tcp(server.address, &server.address.to_string()).bearer(token);
    let deep = deep_cursor(rows);
    let samples = setting.rounds(300);
    let mut cells = Vec::new();
    let middle = instance_name(rows / 2);
    let questions = [
        ("get by name", false, format!("/v1/instances/{middle}")),
        ("first page of 20 as operator", false, "/v1/instances?limit=20".to_owned()),
        ("deep page of 20 as operator", false, format!("/v1/instances?limit=20&after={deep}")),
        ("first page of 20 of a project", false, "/v1/instances?limit=20&project=project-00000".to_owned()),
        ("first page of 20 as a project's member", true, "/v1/instances?limit=20".to_owned()),
        ("first page of 20 by state", false, "/v1/instances?limit=20&state=stopped".to_owned()),
        ("/v1/system", false, "/v1/system".to_owned()),
    ];
    for (question, as_member, path) in questions {
        let client = if as_member { &mut member } else { &mut operator };
        // Whatever is read for the first time is not counted.
        for _ in 0..5 {
            timed(client, &path).await?;
        }
        let mut times = Vec::new();
        for _ in 0..samples {
            times.push(timed(client, &path).await?);
        }
        cells.push(Cell { question, p50: median(&times), p90: quantile(&times, 0.9) });
    }
    let (memory, _) = process::memory(server.pid())?;
    Ok(Column { rows, cells, started: server.started_in.as_secs_f64(), memory })
}

/// The name behind which a tenth of all rows is left, and a full page at least.
fn deep_cursor(rows: u32) -> String {
    let mut names: Vec<String> = (0..rows).map(instance_name).collect();
    names.sort();
    names.swap_remove((names.len() * 9 / 10).min(names.len().saturating_sub(30)))
}
