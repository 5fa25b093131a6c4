//! Progress streams: the steps of an instance towards a goal, as SSE. Keep-alive every 3 s, always a terminal event,
//! and a client that hangs up cancels nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, stream};
use ryokan_api::instance::Progress;
use ryokan_app::instances::follow::{Goal, Step};
use ryokan_store::instances::Instance;

use super::Context;
use super::revocable::LastWords;

/// Whether the client asked for a stream.
pub(crate) fn wants_stream(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|v| v.to_str().is_ok_and(|v| v.contains("text/event-stream")))
}

pub(crate) fn sse<S>(events: S) -> Response
where
    S: Stream<Item = Event> + Send + 'static,
{
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(3)).text("keep-alive");
    let mut response = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response();
    // Proxies in front must not collect events.
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}

/// An event with JSON data.
pub(crate) fn event<T: serde::Serialize>(name: &str, data: &T) -> Event {
    // Our own types always serialise; an empty object is the least bad of what cannot happen.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_else(|_| "{}".into()))
}

/// `first` at once, then every step; when the server stops, an `error` that says that the operation goes on.
pub(crate) fn progress(
    context: &Context,
    row: &Instance,
    goal: Goal,
    first: Option<Event>,
    url: fn(&Context, &Instance) -> String,
) -> Response {
    let name = row.name.to_string();
    let stop = context.stop.clone();
    let steps = context.app.follow(row, goal);
    let context = context.clone();
    let ended_name = name.clone();
    let ended = {
        let name = name.clone();
        stream::once(async move { stopping(&name) })
    };
    let mut terminal = false;
    let steps = steps
        .map(move |step| (step.is_terminal(), to_event(&context, &name, goal, step, url)))
        .take_until(stop.cancelled_owned())
        .chain(ended.map(|event| (true, event)))
        // After the terminal event nothing more, neither from the steps nor from the stop.
        .take_while(move |(last, _)| {
            let go_on = !terminal;
            terminal |= *last;
            std::future::ready(go_on)
        })
        .map(|(_, event)| event);
    let mut response = sse(stream::iter(first).chain(steps));
    response.extensions_mut().insert(revoked(&ended_name));
    response
}

/// What a stream ends with whose credential is good no more.
fn revoked(name: &str) -> LastWords {
    let message = "the credential that opened this stream is no longer valid; the operation goes on";
    let last = Progress { name: name.to_owned(), message: Some(message.into()), ..Progress::default() };
    let data = serde_json::to_string(&last).unwrap_or_else(|_| "{}".into());
    LastWords(format!("event: error\ndata: {data}\n\n").into())
}

fn stopping(name: &str) -> Event {
    let message = "the server is shutting down; the operation goes on when it is back";
    event("error", &Progress { name: name.to_owned(), message: Some(message.into()), ..Progress::default() })
}

fn to_event(
    context: &Context,
    name: &str,
    goal: Goal,
    step: Step,
    url: fn(&Context, &Instance) -> String,
) -> Event {
    let base = Progress { name: name.to_owned(), ..Progress::default() };
    match step {
        Step::Pending { state, message, pull } => {
            let (done, total) = pull.as_ref().map_or((None, None), |p| (Some(p.done), Some(p.total)));
            let message = pull.map(|p| p.message).or(message).or_else(|| Some(state.to_string()));
            event("pending", &Progress { state: Some(state), message, done, total, ..base })
        }
        Step::Reached(row) => {
            let name = match goal {
                Goal::Ready => "ready",
                Goal::Stopped => "stopped",
                Goal::Deleted => "deleted",
            };
            let url = row.as_ref().filter(|_| goal == Goal::Ready).map(|row| url(context, row));
            event(name, &Progress { state: row.map(|r| r.state), url, ..base })
        }
        Step::Failed(message) => event("error", &Progress { message: Some(message), ..base }),
    }
}
