//! `/v1/events`: the log of what happened, as a page of JSON or as a resumable stream. Followed by tailing the table,
//! so that nothing is lost or doubled however the connection breaks.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use ryokan_api::Page;
use ryokan_api::event::{Event, EventQuery, Order};
use ryokan_app::Error;
use ryokan_app::events::Order::{Newest, Oldest};
use ryokan_model::event::Outcome;
use ryokan_store::{EVENTS, EventFilter, EventOutcome, LoggedEvent};

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::Query;
use super::router::limit;
use super::stream::{sse, wants_stream};

fn view(logged: LoggedEvent) -> Event {
    let event = logged.event;
    Event {
        seq: logged.seq,
        at: event.at,
        kind: event.kind,
        project: event.project,
        subject: event.subject_kind,
        subject_id: Some(event.subject_id).filter(|s| !s.is_empty()),
        subject_name: Some(event.subject_name).filter(|s| !s.is_empty()),
        actor: event.actor,
        address: event.source_address,
        request_id: event.request_id,
        outcome: match event.outcome {
            EventOutcome::Allowed => Outcome::Allowed,
            EventOutcome::Denied => Outcome::Denied,
            EventOutcome::Done => Outcome::Done,
            EventOutcome::Failed => Outcome::Failed,
        },
        data: event.data,
    }
}

/// Events of the caller's projects (an operator's: all), oldest or newest first. As SSE when the client accepts it:
/// from now on, or after `after` or `Last-Event-ID`.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventQuery), responses((status = 200, body = Page<Event>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> ApiResult<Response> {
    let stream = wants_stream(&headers);
    answer(&context, &caller, stream, &headers, query).await
}

pub(crate) async fn answer(
    context: &Context,
    caller: &ryokan_model::permission::Caller,
    stream: bool,
    headers: &HeaderMap,
    query: EventQuery,
) -> ApiResult<Response> {
    let limit = limit(query.limit)?;
    let wanted =
        ryokan_app::events::EventQuery { kind: query.kind, instance: query.instance, project: query.project };
    let filter = context.app.event_filter(caller, wanted).await?;
    if !stream {
        let order = if query.order == Some(Order::Desc) { Newest } else { Oldest };
        let page = context.app.list_events(filter, order, query.after, limit).await?;
        let items = page.items.into_iter().map(view).collect();
        return Ok(Json(Page { items, next: page.next }).into_response());
    }
    if query.order == Some(Order::Desc) {
        return Err(Error::invalid("order", "a stream tells events as they happen; leave this out").into());
    }
    let resumed = match headers
        .get("last-event-id")
        .map(|v| v.to_str().ok().and_then(|v| v.parse::<i64>().ok()))
    {
        Some(None) => return Err(Error::invalid("Last-Event-ID", "must be the number of an event").into()),
        Some(Some(seq)) => Some(seq),
        None => None,
    };
    let after = match resumed.or(query.after) {
        Some(seq) => seq,
        None => context.app.latest_event().await?,
    };
    Ok(sse(tail(context.clone(), filter, after)))
}

struct Tail {
    context: Context,
    filter: EventFilter,
    after: i64,
    changes: ryokan_store::Changes,
}

fn tail(
    context: Context,
    filter: EventFilter,
    after: i64,
) -> impl futures_util::Stream<Item = axum::response::sse::Event> + Send + 'static {
    let stop = context.stop.clone();
    let start = Tail { changes: context.app.store.subscribe(), context, filter, after };
    let batches = stream::unfold(start, |mut tail| async move {
        loop {
            match tail.context.app.events_after(tail.filter.clone(), tail.after, 200).await {
                Ok(page) => {
                    tail.after = page.next;
                    if !page.events.is_empty() {
                        return Some((stream::iter(page.events), tail));
                    }
                }
                // The database is away: the stream waits and goes on where it was.
                Err(error) => tracing::debug!(error = %error, "tailing events"),
            }
            tokio::select! {
                more = tail.changes.wait_for(EVENTS) => if !more { return None },
                () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
            }
        }
    });
    let events = batches.flatten().map(view).map(|e| {
        let data = serde_json::to_string(&e).unwrap_or_else(|_| "{}".into());
        axum::response::sse::Event::default().id(e.seq.to_string()).event(e.kind).data(data)
    });
    crate::ports::until_stop(events, stop)
}
