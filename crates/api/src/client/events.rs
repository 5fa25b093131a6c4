//! The event log: pages of it, and a stream that survives broken connections.

use std::time::Duration;

use reqwest::Method;

use super::connection::{Client, EVENT_STREAM};
use super::error::ClientError;
use super::reconnect::{Backoff, Followed};
use super::sse::SseStream;
use crate::Page;
use crate::event::{Event, EventQuery};

impl Client {
    /// One page.
    pub async fn events(&self, query: &EventQuery) -> Result<Page<Event>, ClientError> {
        self.get(&["v1", "events"], query).await
    }

    /// Events as they happen. The first connection's failure is an error; later ones are retried for ever.
    pub async fn follow_events(&self, query: EventQuery) -> Result<EventFollower, ClientError> {
        let mut follower = EventFollower {
            client: self.clone(),
            query,
            resume_after: None,
            stream: None,
            backoff: Backoff::default(),
        };
        follower.stream = Some(follower.open().await?);
        Ok(follower)
    }
}

/// Resumes by `Last-Event-ID`, so that no event is missed or told twice.
#[derive(Debug)]
pub struct EventFollower {
    client: Client,
    query: EventQuery,
    resume_after: Option<String>,
    stream: Option<SseStream>,
    backoff: Backoff,
}

impl EventFollower {
    async fn open(&self) -> Result<SseStream, ClientError> {
        let mut query = self.query.clone();
        if self.resume_after.is_some() {
            query.after = None;
        }
        let mut request = self
            .client
            .request(Method::GET, self.client.url(&["v1", "events"], &query)?)
            .header("accept", EVENT_STREAM);
        if let Some(id) = &self.resume_after {
            request = request.header("last-event-id", id);
        }
        Ok(SseStream::new(self.client.open(request).await?))
    }

    /// May be dropped and called again. An error is final.
    pub async fn next(&mut self) -> Result<Followed<Event>, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.backoff.wait().await;
                match self.open().await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        return Ok(Followed::Resumed);
                    }
                    Err(error) if error.is_transient() => {
                        self.backoff.failed(retry_after(&error));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            let why = match stream.next().await {
                Ok(Some(event)) => {
                    self.backoff.worked();
                    if event.id.is_some() {
                        self.resume_after.clone_from(&event.id);
                    }
                    let event: Event = serde_json::from_str(&event.data).map_err(|e| {
                        ClientError::Protocol(format!(
                            "the server sent an event that is not as documented: {e}"
                        ))
                    })?;
                    return Ok(Followed::Item(event));
                }
                Ok(None) => None,
                Err(ClientError::Unreachable { why, .. }) => Some(why),
                Err(error) => return Err(error),
            };
            if let Some(id) = stream.last_id() {
                self.resume_after = Some(id.to_owned());
            }
            self.stream = None;
            self.backoff.failed(None);
            return Ok(Followed::Lost { why });
        }
    }
}

pub(super) fn retry_after(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Problem(problem) => problem.retry_after.map(|s| Duration::from_secs(s.min(60))),
        _ => None,
    }
}
