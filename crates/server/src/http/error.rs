//! The one mapping of errors to status, code and message. What is internal is logged here, once, with its whole chain.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ryokan_api::Problem;
use ryokan_app::Error;

tokio::task_local! {
    /// The id of the request that this task answers.
    pub(crate) static REQUEST_ID: String;
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Error);

impl<E: Into<Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// Status and code of an error.
pub(crate) fn classify(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
        Error::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Error::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        Error::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Error::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
        Error::QuotaExceeded(_) => (StatusCode::FORBIDDEN, "quota_exceeded"),
        Error::PaymentRequired(_) => (StatusCode::PAYMENT_REQUIRED, "payment_required"),
        Error::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        Error::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Error::AuditUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable"),
        Error::NotImplemented(_) => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// Logs what an operator should see of an error.
pub(crate) fn log(error: &Error) {
    use std::error::Error as _;
    match error {
        Error::Internal(source) => tracing::error!(error = format!("{source:#}"), "a request failed"),
        Error::Unavailable { message, .. } => {
            let mut chain = message.clone();
            let mut source = error.source();
            while let Some(inner) = source {
                chain.push_str(": ");
                chain.push_str(&inner.to_string());
                source = inner.source();
            }
            tracing::warn!(error = chain, "a request could not be served");
        }
        Error::AuditUnavailable(source) => {
            tracing::error!(
                error = format!("{source:#}"),
                "a decision could not be recorded, and was refused"
            );
        }
        _ => {}
    }
}

pub(crate) fn problem(error: &Error) -> Problem {
    let (status, code) = classify(error);
    Problem {
        kind: Problem::blank(),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        code: code.to_owned(),
        detail: match error {
            Error::Invalid(invalid) => invalid.problem.clone(),
            other => other.to_string(),
        },
        field: match error {
            Error::Invalid(invalid) if !invalid.field.is_empty() => Some(invalid.field.clone()),
            _ => None,
        },
        request_id: REQUEST_ID.try_with(Clone::clone).ok(),
        retry_after: match error {
            Error::TooManyRequests { retry_after, .. } => Some(*retry_after),
            Error::Unavailable { .. } => Some(2),
            _ => None,
        },
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        log(&self.0);
        let problem = problem(&self.0);
        let mut response = (classify(&self.0).0, Json(problem)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        advise(&self.0, &mut response);
        response
    }
}

/// The headers that say what to do about an error, in whatever shape its body is.
pub(crate) fn advise(error: &Error, response: &mut Response) {
    let headers = response.headers_mut();
    if let Some(seconds) = problem(error).retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(error, Error::Unauthenticated) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ryokan\""));
    }
}
