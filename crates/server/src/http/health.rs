//! `/health`, `/healthz`: the process is there. `/readyz`: what it can do now, capability by capability. `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ryokan_api::system::{Capability, Readiness};
use ryokan_app::{App, EngineHealth, Error};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;

/// The process answers. No credentials.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, description = "It runs")), security(()))]
pub(crate) async fn health() -> Json<serde_json::Value> {
    Json(json!({"status": "ok"}))
}

/// The same, by another name.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It runs")), security(()))]
pub(crate) async fn healthz() -> Json<serde_json::Value> {
    health().await
}

/// What was found at the last look, and when. Looking costs a durable write and anybody may ask, so that there is at most
/// one look a second; whoever asks meanwhile gets its result.
pub(crate) type LastLook = Arc<Mutex<Option<(Instant, Vec<Capability>)>>>;
const FRESH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);

/// 200 when every capability works, else 503; each says why not. No credentials, no internals.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Readiness), (status = 503, body = Readiness)), security(()))]
pub(crate) async fn readyz(State(context): State<Context>) -> ApiResult<Response> {
    let mut last = context.readiness.clone().lock_owned().await;
    let capabilities = match &*last {
        Some((at, found)) if at.elapsed() < FRESH => found.clone(),
        _ => {
            let app = context.app.clone();
            // By itself: or whoever hangs up at once would make the next one look again.
            let looking = context.writes.spawn(async move {
                let found = look(&app).await;
                *last = Some((Instant::now(), found.clone()));
                found
            });
            looking.await.map_err(|error| Error::internal(format!("looking failed: {error}")))?
        }
    };
    let ready = capabilities.iter().all(|c| c.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Readiness { ready, capabilities })).into_response())
}

async fn look(app: &App) -> Vec<Capability> {
    let store = match tokio::time::timeout(PATIENCE, app.check_store()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the database does not answer within 3 s".to_owned()),
    };
    let runtime = match app.engine_health() {
        EngineHealth::Up => None,
        // Only the leader of several servers follows the engine; the others ask.
        EngineHealth::Unknown => match tokio::time::timeout(PATIENCE, app.engine_info()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the container engine does not answer within 3 s".to_owned()),
        },
        // Why exactly is in the server's log: this page is open to everybody.
        EngineHealth::Down(_) => {
            Some("the container engine does not answer; the server's log says why".to_owned())
        }
    };
    [("store", store), ("runtime", runtime), ("gateway", None)]
        .into_iter()
        .map(|(name, reason)| Capability { name: name.to_owned(), ready: reason.is_none(), reason })
        .collect()
}

/// Prometheus text. Operators only: it names instances of every tenant.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Prometheus text", body = String)))]
pub(crate) async fn metrics(State(context): State<Context>, Auth(caller): Auth) -> ApiResult<Response> {
    context.app.list_reconcilers(&caller).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], context.metrics.render()).into_response())
}
