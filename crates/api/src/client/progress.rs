//! Operations that take a while: the server answers with a stream of their progress, or only accepts them.

use reqwest::Response;

use super::connection::{Client, EVENT_STREAM, has_type};
use super::error::ClientError;
use super::sse::SseStream;
use crate::Problem;
use crate::instance::{Instance, Progress};

/// What a step of an operation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    Created,
    Pending,
    Ready,
    Stopped,
    Deleted,
    Error,
}

impl ProgressKind {
    /// No further step follows.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Created | Self::Pending)
    }
}

#[derive(Debug, Clone)]
pub struct ProgressEvent {
    pub kind: ProgressKind,
    pub data: Progress,
}

/// The steps of one operation. That it is dropped stops nothing on the server.
#[derive(Debug)]
pub struct ProgressStream {
    events: SseStream,
}

impl ProgressStream {
    /// The next step; `None` when the server ended the stream, which is only right after a final one.
    pub async fn next(&mut self) -> Result<Option<ProgressEvent>, ClientError> {
        let Some(event) = self.events.next().await? else { return Ok(None) };
        let kind = match event.event.as_str() {
            "created" => ProgressKind::Created,
            "ready" => ProgressKind::Ready,
            "stopped" => ProgressKind::Stopped,
            "deleted" => ProgressKind::Deleted,
            "error" => ProgressKind::Error,
            _ => ProgressKind::Pending,
        };
        match serde_json::from_str(&event.data) {
            Ok(data) => Ok(Some(ProgressEvent { kind, data })),
            Err(error) => match serde_json::from_str::<Problem>(&event.data) {
                Ok(problem) => Err(ClientError::problem(problem)),
                Err(_) => Err(ClientError::Protocol(format!(
                    "the server sent a `{}` event that is not as documented: {error}",
                    event.event
                ))),
            },
        }
    }
}

/// How the server took a long operation.
#[derive(Debug)]
pub enum Operation {
    Stream(Box<ProgressStream>),
    /// Accepted; the instance as it is now.
    Accepted(Box<Instance>),
    /// Accepted, or done, without a body.
    Done,
}

impl Client {
    pub(super) async fn operation(&self, response: Response) -> Result<Operation, ClientError> {
        if has_type(&response, EVENT_STREAM) {
            return Ok(Operation::Stream(Box::new(ProgressStream { events: SseStream::new(response) })));
        }
        if has_type(&response, "application/json") {
            return Ok(Operation::Accepted(self.decode(response).await?));
        }
        Ok(Operation::Done)
    }
}
