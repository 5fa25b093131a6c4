//! Logs: whole lines, as NDJSON or SSE.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use ryokan_api::instance::{LogLine, LogQuery};
use ryokan_app::Error;
use ryokan_model::Millis;
use ryokan_model::quantity::Span;
use ryokan_ports::runtime::{LogOptions, Output};

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Query;
use crate::http::stream::{event, sse, wants_stream};
use crate::ports::until_stop;

/// Standard output and error, with times. `follow` goes on until the container ends.
#[utoipa::path(get, path = "/v1/instances/{instance}/logs", tag = "instances", params(("instance", description = "Id or name"), LogQuery),
    responses((status = 200, description = "NDJSON of lines, or SSE", body = LogLine, content_type = "application/x-ndjson")))]
pub(crate) async fn logs(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let since = query.since.as_deref().map(|text| since(text, context.app.clock.now())).transpose()?;
    let options = LogOptions { follow: query.follow, tail: query.tail, since, until: None, generation: None };
    let lines = context.app.instance_logs(&caller, &name, options).await?;
    let lines = lines.filter_map(|line| {
        // The engine went away in the middle: what was read so far stands, and the stream ends.
        std::future::ready(line.ok().map(|line| LogLine {
            at: line.at.0,
            stream: match line.output {
                Output::Stdout => "stdout".into(),
                Output::Stderr => "stderr".into(),
            },
            text: line.text,
        }))
    });
    let lines = until_stop(lines, context.stop.clone());
    if wants_stream(&headers) {
        return Ok(sse(lines.map(|line| event("log", &line))));
    }
    let bytes = lines.map(|line| {
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(text))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(bytes)).into_response())
}

/// UTC milliseconds, or a span back from now.
fn since(text: &str, now: Millis) -> Result<Millis, Error> {
    if let Ok(at) = text.parse::<i64>() {
        return Ok(Millis(at));
    }
    let span: Span = text
        .parse()
        .map_err(|_| Error::invalid("since", "must be UTC milliseconds or a span such as \"10m\""))?;
    Ok(Millis(now.0.saturating_sub(i64::try_from(span.duration().as_millis()).unwrap_or(i64::MAX))))
}
