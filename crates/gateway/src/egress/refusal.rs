//! What the proxy says when it does not pass something on: a problem document (RFC 9457) and `Proxy-Status` (RFC 9209),
//! so that a program can tell our answers from the host's. The only place that decides status, code and words. None of
//! them holds a secret, an address that was looked up, or an error of the system.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::body::Body;

/// Everything that can stand in the way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(&'static str),
    /// No or no valid token, for the proxy.
    WhoAsks,
    /// The same for what the door itself offers.
    WhoAsksInside,
    Denied {
        code: String,
        sentence: String,
    },
    NotResolved,
    AddressNotPublic,
    Unreachable,
    CertificateRefused,
    TooSlow,
    NoAnswer,
    HostMismatch,
    BodyTooLarge,
    AnswerTooLarge,
    Busy,
    NoLongerAllowed,
    NotForThisHost,
    NotHere,
    NeedsTls,
    Unusable,
    NotScrubbable,
    NotSignable(&'static str),
}

impl Refusal {
    fn words(&self) -> (u16, &str, &str, &'static str) {
        match self {
            Self::BadRequest(detail) => (400, "bad_request", detail, "http_request_error"),
            Self::WhoAsks => (
                407,
                "proxy_authentication_required",
                "Send this instance's own token to the proxy, as the variables HTTP_PROXY and HTTPS_PROXY of its environment do. A token counts only from the address of its instance.",
                "http_request_denied",
            ),
            Self::WhoAsksInside => (
                401,
                "not_authenticated",
                "Send this instance's own token as a bearer token. It counts only from the address of its instance.",
                "http_request_denied",
            ),
            Self::Denied { code, sentence } => (403, code, sentence, "http_request_denied"),
            Self::NotResolved => {
                (502, "name_not_resolved", "The host's name has no address. Check its spelling.", "dns_error")
            }
            Self::AddressNotPublic => (
                403,
                "address_not_public",
                "The host is, or its name leads to, an address that is not public. Only an operator can allow such addresses.",
                "destination_ip_prohibited",
            ),
            Self::Unreachable => {
                (502, "host_unreachable", "The host refused or broke the connection.", "connection_refused")
            }
            Self::CertificateRefused => (
                502,
                "certificate_refused",
                "The host's certificate is not valid for its name, or not from an authority that is trusted here.",
                "tls_certificate_error",
            ),
            Self::TooSlow => (504, "host_timeout", "The host took too long.", "connection_timeout"),
            Self::NoAnswer => {
                (502, "host_answer_broken", "The host did not answer in HTTP.", "http_protocol_error")
            }
            Self::HostMismatch => (
                421,
                "host_mismatch",
                "The request names another host than the connection was opened for. Open a connection for each host.",
                "http_request_error",
            ),
            Self::BodyTooLarge => (
                413,
                "body_too_large",
                "The request's body is larger than allowed here.",
                "http_request_error",
            ),
            Self::AnswerTooLarge => (
                502,
                "answer_too_large",
                "The host's answer is larger than allowed here.",
                "http_response_body_size",
            ),
            Self::Busy => (
                503,
                "too_many_requests",
                "This instance has too many requests and connections open.",
                "connection_limit_reached",
            ),
            Self::NoLongerAllowed => (
                403,
                "no_longer_allowed",
                "What allowed this was withdrawn while it ran.",
                "http_request_denied",
            ),
            Self::NotForThisHost => (
                403,
                "credential_not_for_host",
                "The request carries the placeholder of a credential that is not bound to this host. It was not sent.",
                "http_request_denied",
            ),
            Self::NotHere => (
                403,
                "credential_not_here",
                "The credential is not good for this method, path, or part of the request. The request was not sent.",
                "http_request_denied",
            ),
            Self::NeedsTls => {
                (403, "credential_needs_tls", "This credential is only sent by https.", "http_request_denied")
            }
            Self::Unusable => (
                502,
                "credential_unusable",
                "The credential's value could not be had or does not fit where it belongs. Whoever looks after it finds the reason in its record.",
                "proxy_internal_error",
            ),
            Self::NotScrubbable => (
                502,
                "answer_encoded",
                "The host compressed its answer although it was asked not to, so that it cannot be searched for the credential.",
                "http_protocol_error",
            ),
            Self::NotSignable(detail) => (400, "request_not_signable", detail, "http_request_error"),
        }
    }

    /// For `Outcome::ended` and `Rebuff`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::WhoAsks => "proxy_authentication_required",
            Self::WhoAsksInside => "not_authenticated",
            Self::Denied { .. } => "denied",
            Self::NotResolved => "name_not_resolved",
            Self::AddressNotPublic => "address_not_public",
            Self::Unreachable => "host_unreachable",
            Self::CertificateRefused => "certificate_refused",
            Self::TooSlow => "host_timeout",
            Self::NoAnswer => "host_answer_broken",
            Self::HostMismatch => "host_mismatch",
            Self::BodyTooLarge => "body_too_large",
            Self::AnswerTooLarge => "answer_too_large",
            Self::Busy => "too_many_requests",
            Self::NoLongerAllowed => "no_longer_allowed",
            Self::NotForThisHost => "credential_not_for_host",
            Self::NotHere => "credential_not_here",
            Self::NeedsTls => "credential_needs_tls",
            Self::Unusable => "credential_unusable",
            Self::NotScrubbable => "answer_encoded",
            Self::NotSignable(_) => "request_not_signable",
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.words().0
    }

    pub(crate) fn answer(&self, method: &Method) -> Response<Body> {
        let (status, code, detail, proxy_error) = self.words();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let problem = format!(
            "{{\"type\":\"about:blank\",\"title\":{},\"status\":{},\"code\":{},\"detail\":{}}}\n",
            quoted("The egress proxy did not pass this on"),
            status.as_u16(),
            quoted(code),
            quoted(detail)
        );
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let name: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if let Ok(value) = HeaderValue::try_from(format!("ryokan; error={proxy_error}; details=\"{name}\"")) {
            headers.insert("proxy-status", value);
        }
        match self {
            Self::WhoAsks => {
                headers
                    .insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ryokan\""));
            }
            Self::WhoAsksInside => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ryokan\""));
            }
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::BadRequest(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        if method != Method::HEAD {
            *response.body_mut() = Body::full(Bytes::from(problem));
        }
        response
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
