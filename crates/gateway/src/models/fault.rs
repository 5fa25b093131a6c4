//! What went wrong, said in the dialect of whoever asked. Messages hold nothing of a prompt, no key, and no address of a
//! provider.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::body::Body;

/// The two families of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Openai,
    Anthropic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong, or cannot be served as it is.
    Invalid,
    Unauthenticated,
    /// No money.
    Payment,
    Forbidden,
    NotFound,
    TooLarge,
    /// A budget is used up; waiting a little does not help.
    Budget,
    /// Too many calls wait.
    RateLimit,
    Internal,
    /// The provider failed.
    Upstream,
    /// Nobody can answer now.
    Overloaded,
    Timeout,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl Fault {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None }
    }

    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        let message = format!("{param}: {}", message.into());
        Self { param: Some(param.to_owned()), ..Self::new(Kind::Invalid, message) }
    }

    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Status, and the type and code of OpenAI's errors.
    const fn openai(&self) -> (u16, &'static str, Option<&'static str>) {
        match self.kind {
            Kind::Invalid => (400, "invalid_request_error", None),
            Kind::Unauthenticated => (401, "invalid_request_error", Some("invalid_api_key")),
            Kind::Payment => (402, "insufficient_quota", Some("payment_required")),
            Kind::Forbidden => (403, "permission_error", Some("forbidden")),
            Kind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
            Kind::TooLarge => (413, "invalid_request_error", Some("request_too_large")),
            Kind::Budget => (429, "insufficient_quota", Some("insufficient_quota")),
            Kind::RateLimit => (429, "rate_limit_error", Some("rate_limit_exceeded")),
            Kind::Internal => (500, "server_error", Some("internal")),
            Kind::Upstream => (502, "server_error", Some("provider_failed")),
            Kind::Overloaded => (503, "server_error", Some("overloaded")),
            Kind::Timeout => (504, "server_error", Some("timeout")),
        }
    }

    const fn anthropic(&self) -> (u16, &'static str) {
        match self.kind {
            Kind::Invalid => (400, "invalid_request_error"),
            Kind::Unauthenticated => (401, "authentication_error"),
            Kind::Payment => (402, "billing_error"),
            Kind::Forbidden => (403, "permission_error"),
            Kind::NotFound => (404, "not_found_error"),
            Kind::TooLarge => (413, "request_too_large"),
            Kind::Budget | Kind::RateLimit => (429, "rate_limit_error"),
            Kind::Internal => (500, "api_error"),
            Kind::Upstream => (502, "api_error"),
            Kind::Overloaded => (529, "overloaded_error"),
            Kind::Timeout => (504, "timeout_error"),
        }
    }

    pub const fn status(&self, dialect: Dialect) -> u16 {
        match dialect {
            Dialect::Openai => self.openai().0,
            Dialect::Anthropic => self.anthropic().0,
        }
    }

    /// The error object.
    pub fn to_json(&self, dialect: Dialect) -> Value {
        match dialect {
            Dialect::Openai => {
                let (_, kind, code) = self.openai();
                json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": code}})
            }
            Dialect::Anthropic => {
                json!({"type": "error", "error": {"type": self.anthropic().1, "message": self.message}})
            }
        }
    }

    /// As the last event of a stream.
    pub fn to_event(&self, dialect: Dialect) -> Bytes {
        let json = self.to_json(dialect);
        match dialect {
            Dialect::Openai => format!("data: {json}\n\n").into(),
            Dialect::Anthropic => format!("event: error\ndata: {json}\n\n").into(),
        }
    }

    pub fn into_response(self, dialect: Dialect) -> Response<Body> {
        let mut response = Response::new(Body::full(self.to_json(dialect).to_string()));
        let status = StatusCode::from_u16(self.status(dialect)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ryokan\""));
        }
        if matches!(self.kind, Kind::Budget | Kind::Payment | Kind::Upstream) {
            // The SDKs of both families heed it: trying again at once is of no use.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}
