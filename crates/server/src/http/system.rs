//! `/v1/system`: for operators.

use axum::Json;
use axum::extract::{Path, State};
use ryokan_api::system::{Engine, Job, Reconciler, System};
use ryokan_api::{Page, Paging};
use ryokan_app::Error;
use ryokan_store::Dialect;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::Query;
use super::router::limit;

/// Version, zone, store and engine. Everybody with an account may know.
#[utoipa::path(get, path = "/v1/system", tag = "system", responses((status = 200, body = System)))]
pub(crate) async fn get(State(context): State<Context>, _caller: Auth) -> ApiResult<Json<System>> {
    let engine = context.app.engine_info().await.ok().map(|info| Engine {
        name: info.engine,
        version: info.version,
        isolations: info.isolations,
        rootless: info.rootless,
        reach: info.reach.as_str().into(),
        cpus: info.cpus,
        memory_bytes: info.memory,
        unlimited: info.unlimited,
        warnings: info.warnings,
    });
    Ok(Json(System {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        server_id: context.app.settings.worker.split('/').next().unwrap_or_default().to_owned(),
        zone: context.app.settings.zone.clone(),
        store: match context.app.store.dialect() {
            Dialect::Sqlite => "sqlite".into(),
            Dialect::Postgres => "postgresql".into(),
        },
        engine,
        started_at: context.started_at,
    }))
}

/// The configuration in force, without secrets. Operators only.
#[utoipa::path(get, path = "/v1/system/config", tag = "system", responses((status = 200, body = Object)))]
pub(crate) async fn config(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<serde_json::Value>> {
    if !caller.is_operator() {
        return Err(Error::operators_only().into());
    }
    Ok(Json((*context.config).clone()))
}

fn view(job: ryokan_store::Job) -> Result<Job, Error> {
    Ok(Job {
        id: job.id.parse().map_err(|_| Error::internal("a job's id is no UUID"))?,
        kind: job.kind,
        key: job.key,
        state: job.state.as_str().to_owned(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        run_at: job.due_at,
        created_at: job.created_at,
        worker: job.worker,
        error: job.error,
    })
}

/// Durable jobs, newest first. Operators only.
#[utoipa::path(get, path = "/v1/system/jobs", tag = "system", params(Paging), responses((status = 200, body = Page<Job>)))]
pub(crate) async fn jobs(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<Job>>> {
    let limit = limit(paging.limit)?;
    let page = context.app.list_jobs(&caller, None, paging.after, limit).await?;
    let items = page.items.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next: page.next }))
}

/// Puts a dead job back into the queue. Operators only.
#[utoipa::path(post, path = "/v1/system/jobs/{id}/retry", tag = "system", params(("id", description = "Job id")), responses((status = 200, body = Job)))]
pub(crate) async fn retry_job(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> ApiResult<Json<Job>> {
    Ok(Json(view(context.app.retry_job(&caller, &id).await?)?))
}

/// The last run and backlog of each reconciler. Operators only.
#[utoipa::path(get, path = "/v1/system/reconcilers", tag = "system", responses((status = 200, body = Page<Reconciler>)))]
pub(crate) async fn reconcilers(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<Reconciler>>> {
    let runs = context.app.list_reconcilers(&caller).await?;
    let items = runs
        .into_iter()
        .map(|run| Reconciler {
            name: run.name,
            started_at: run.started_at,
            finished_at: run.finished_at,
            outcome: if run.succeeded.unwrap_or(true) { "ok".into() } else { "failed".into() },
            backlog: run.backlog,
            error: run.error,
        })
        .collect();
    Ok(Json(Page { items, next: None }))
}
