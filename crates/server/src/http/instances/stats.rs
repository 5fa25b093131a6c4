//! Stats: one sample, or a stream of them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use ryokan_api::instance::Stats;
use ryokan_app::Error;

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::stream::{event, sse, wants_stream};
use crate::ports::until_stop;

fn view(stats: ryokan_ports::runtime::Stats) -> Stats {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let cpu_percent = stats.cpu_centipercent as f64 / 100.0;
    Stats {
        at: stats.at.0,
        cpu_percent,
        cpu_nanos: stats.cpu_nanos,
        memory_bytes: stats.memory_bytes,
        memory_limit_bytes: stats.memory_limit_bytes,
        network_rx_bytes: stats.network_rx_bytes,
        network_tx_bytes: stats.network_tx_bytes,
        block_read_bytes: stats.block_read_bytes,
        block_write_bytes: stats.block_write_bytes,
        pids: stats.pids,
    }
}

/// What a running instance uses.
#[utoipa::path(get, path = "/v1/instances/{instance}/stats", tag = "instances", params(("instance", description = "Id or name")), responses((status = 200, body = Stats)))]
pub(crate) async fn stats(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let mut samples = context.app.instance_stats(&caller, &name).await?;
    if wants_stream(&headers) {
        let samples = samples.filter_map(|s| std::future::ready(s.ok())).map(|s| event("stats", &view(s)));
        return Ok(sse(until_stop(samples, context.stop.clone())));
    }
    // The first sample has nothing to compare the CPU with, so the second one is the answer.
    let second = async {
        let first = samples.next().await;
        match samples.next().await {
            Some(second) => Some(second),
            None => first,
        }
    };
    match tokio::time::timeout(Duration::from_secs(8), second).await {
        Ok(Some(sample)) => Ok(Json(view(sample?)).into_response()),
        Ok(None) => Err(Error::Conflict("the instance is not running; start it first".into()).into()),
        Err(_) => Err(Error::unavailable("the container engine gives no figures now").into()),
    }
}
