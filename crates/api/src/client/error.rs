//! What can go wrong between a client and the server, told apart by what the caller can do about it.

use std::error::Error as _;

use crate::Problem;

/// No variant ever holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused; it says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No connection, or one that broke. Another try may help.
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    /// The server took longer than a plain call may take.
    #[error("{url} did not answer in time")]
    Timeout { url: String },
    /// The answer is not one of this API's.
    #[error("{0}")]
    Protocol(String),
    /// The request cannot be made as asked: a bad address, an empty name.
    #[error("{0}")]
    Invalid(String),
    /// A local file could not be read.
    #[error("{0}")]
    File(#[source] std::io::Error),
}

impl ClientError {
    pub(super) fn problem(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }

    pub(super) fn from_reqwest(url: &str, error: &reqwest::Error) -> Self {
        if error.is_connect() && error.is_timeout() {
            return Self::Unreachable { url: url.to_owned(), why: "no connection in time".to_owned() };
        }
        if error.is_timeout() {
            return Self::Timeout { url: url.to_owned() };
        }
        if error.is_builder() {
            return Self::Invalid(root_cause(error));
        }
        Self::Unreachable { url: url.to_owned(), why: root_cause(error) }
    }

    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Problem(problem) => matches!(problem.status, 408 | 429 | 500..=599),
            Self::Protocol(_) | Self::Invalid(_) | Self::File(_) => false,
        }
    }

    /// The status of the server's refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            _ => None,
        }
    }
}

/// The innermost cause, without the operating system's number.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.source().is_none() {
        return "the connection failed".to_owned();
    }
    if cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::UnexpectedEof) {
        return "the connection broke off".to_owned();
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "the connection failed".to_owned(),
    }
}
