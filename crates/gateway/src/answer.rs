//! What the gateway says when it cannot pass on an agent's answer: a small page for browsers, a problem
//! document (RFC 9457) for programs. The only place that decides status, code and words; none of them names an
//! address, an error of the system, or anything that the asker may not know.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::body::Body;
use crate::route::Suspended;

/// Everything that can stand in the way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Malformed or ambiguous; the connection is closed after the answer.
    BadRequest(&'static str),
    UnknownHost,
    NoSuchAgent,
    NotAuthenticated,
    TooManyGuesses {
        seconds: u64,
    },
    CrossSite,
    TicketRefused,
    Starting,
    Waking,
    Stopped,
    Suspended(Suspended),
    Failed {
        reason: String,
    },
    /// The agent did not answer, and was known to be unwell.
    Unhealthy,
    /// Refused, reset, or answered in something that is not HTTP.
    Unreachable,
    Timeout,
    Busy,
    NoWebSocket,
    BodyTooLarge,
    HeadTooLarge,
}

struct Words {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
    retry_after: Option<&'static str>,
}

impl Obstacle {
    fn words(&self) -> Words {
        let (status, code, title, detail, retry_after) = match self {
            Self::BadRequest(detail) => (400, "bad_request", "Bad request", *detail, None),
            Self::UnknownHost => (
                421,
                "unknown_host",
                "Unknown host",
                "No site is served under this host name. Check the address.",
                None,
            ),
            Self::NoSuchAgent => (
                404,
                "agent_not_found",
                "No such agent",
                "There is no agent here, or you may not use it.",
                None,
            ),
            Self::NotAuthenticated => {
                (401, "not_authenticated", "Sign in", "Send a token of this agent, or sign in first.", None)
            }
            Self::TooManyGuesses { .. } => (
                429,
                "too_many_requests",
                "Too many attempts",
                "Too many wrong credentials came from your address. Wait a while and try again.",
                None,
            ),
            Self::CrossSite => (
                403,
                "cross_site_request",
                "Cross-site request",
                "A page of another site may not use your session here.",
                None,
            ),
            Self::TicketRefused => (
                403,
                "ticket_refused",
                "Link expired",
                "This sign-in link was used or is too old. Open the agent again.",
                None,
            ),
            Self::Starting => (
                503,
                "agent_starting",
                "Starting",
                "The agent is starting. This takes a few seconds.",
                Some("3"),
            ),
            Self::Waking => {
                (503, "agent_waking", "Waking up", "The agent was asleep and is being woken.", Some("3"))
            }
            Self::Stopped => {
                (503, "agent_stopped", "Stopped", "The agent is stopped. Its owner can start it.", Some("30"))
            }
            Self::Suspended(Suspended { reason: "cap", .. }) => (
                402,
                "payment_required",
                "Suspended",
                "The agent is suspended because it reached a limit on what it may spend. It goes on by itself when the limit is raised or its period is over. All its data is kept.",
                None,
            ),
            Self::Suspended(_) => (
                402,
                "payment_required",
                "Payment required",
                "The agent is suspended because its project owes money. It goes on by itself once that is paid. All its data is kept.",
                None,
            ),
            Self::Failed { .. } => (
                503,
                "agent_failed",
                "Failed",
                "The agent could not be started. Its owner finds the reason in its log.",
                Some("30"),
            ),
            Self::Unhealthy => (
                502,
                "agent_unhealthy",
                "Not well",
                "The agent runs, but does not pass its health check and did not answer.",
                Some("10"),
            ),
            Self::Unreachable => (
                502,
                "agent_unreachable",
                "No answer",
                "The agent did not answer as expected. Try again in a moment.",
                Some("3"),
            ),
            Self::Timeout => (504, "agent_timeout", "Too slow", "The agent took too long to answer.", None),
            Self::Busy => {
                (503, "busy", "Busy", "Too many requests are under way. Try again in a moment.", Some("1"))
            }
            Self::NoWebSocket => {
                (400, "no_websocket", "No WebSocket", "This agent does not take WebSocket connections.", None)
            }
            Self::HeadTooLarge => (
                431,
                "head_too_large",
                "Too large",
                "The request's headers and address are larger than allowed.",
                None,
            ),
            Self::BodyTooLarge => {
                (413, "body_too_large", "Too large", "The request body is larger than allowed.", None)
            }
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        Words { status, code, title, detail, retry_after }
    }

    /// Whether a page about it reloads itself.
    fn passes(&self) -> bool {
        matches!(self, Self::Starting | Self::Waking)
    }

    fn suspended(&self) -> Option<&Suspended> {
        match self {
            Self::Suspended(why) => Some(why),
            _ => None,
        }
    }

    /// The answer, in the form that suits the asker.
    pub(crate) fn answer(&self, asker: Asker) -> Response<Body> {
        let words = self.words();
        let detail = match self {
            Self::Failed { reason } if !reason.is_empty() => reason.as_str(),
            _ => words.detail,
        };
        let (content_type, text) = match asker {
            Asker::Browser => {
                ("text/html; charset=utf-8", page(&words, detail, self.passes(), self.suspended()))
            }
            Asker::Program => ("application/problem+json", problem(&words, detail, self.suspended())),
        };
        let mut response = Response::new(Body::full(Bytes::from(text)));
        *response.status_mut() = words.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if asker == Asker::Browser {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'";
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        if let Some(seconds) = words.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        match self {
            Self::NotAuthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ryokan\""));
            }
            Self::TooManyGuesses { seconds } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::BadRequest(_) | Self::BodyTooLarge => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Browser,
    Program,
}

impl Asker {
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let reads_html = headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        if reads_html && (method == Method::GET || method == Method::HEAD) {
            Self::Browser
        } else {
            Self::Program
        }
    }
}

fn problem(words: &Words, detail: &str, suspended: Option<&Suspended>) -> String {
    let challenge = suspended.map_or_else(String::new, |why| {
        format!(
            r#","reason":"{}","project":"{}","pay":"{}""#,
            escape_json(why.reason),
            escape_json(&why.project),
            escape_json(&why.pay)
        )
    });
    format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"code":"{}","detail":"{}"{challenge}}}"#,
        escape_json(words.title),
        words.status.as_u16(),
        words.code,
        escape_json(detail)
    )
}

fn page(words: &Words, detail: &str, reload: bool, suspended: Option<&Suspended>) -> String {
    let pay = suspended.map_or_else(String::new, |why| {
        format!(r#"<p><a href="{0}">Pay or raise the limit</a></p>"#, escape_html(&why.pay))
    });
    let refresh = if reload { r#"<meta http-equiv="refresh" content="3">"# } else { "" };
    format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">{refresh}<title>{title}</title><style>body{{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0;background:#fafafa;color:#222}}main{{max-width:28rem;padding:2rem}}h1{{font-size:1.5rem;margin:0 0 .5rem}}small{{color:#777}}@media(prefers-color-scheme:dark){{body{{background:#161616;color:#eee}}}}</style></head><body><main><h1>{title}</h1><p>{detail}</p>{pay}<small>{status} {code}</small></main></body></html>"#,
        title = escape_html(words.title),
        detail = escape_html(detail),
        status = words.status.as_u16(),
        code = words.code,
    )
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn escape_json(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(obstacle: Obstacle, asker: Asker) -> (Response<()>, String) {
        let (parts, body) = obstacle.answer(asker).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn reasons_are_escaped() {
        let failed = Obstacle::Failed { reason: "<script>\"a\\b\"\n".into() };
        let (_, html) = text(failed.clone(), Asker::Browser).await;
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"));
        let (response, json) = text(failed, Asker::Program).await;
        assert!(json.contains(r#""detail":"<script>\"a\\b\"\u000a""#), "{json}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[tokio::test]
    async fn who_is_suspended_is_told_how_to_pay() {
        let suspended = |reason| {
            Obstacle::Suspended(Suspended {
                reason,
                project: "p-1".into(),
                pay: "https://zone.example/projects/p-1/billing?\"<x>".into(),
            })
        };
        let (response, json) = text(suspended("balance"), Asker::Program).await;
        assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
        for part in
            [r#""code":"payment_required""#, r#""reason":"balance""#, r#""project":"p-1""#, r#""pay":"https"#]
        {
            assert!(json.contains(part), "{json}");
        }
        let (response, html) = text(suspended("cap"), Asker::Browser).await;
        assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
        assert!(html.contains("reached a limit") && html.contains("/billing?&quot;&lt;x&gt;\">"), "{html}");
    }

    #[tokio::test]
    async fn only_passing_states_reload() {
        let (response, html) = text(Obstacle::Starting, Asker::Browser).await;
        assert!(html.contains("http-equiv=\"refresh\""));
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        let (response, html) = text(Obstacle::Stopped, Asker::Browser).await;
        assert!(!html.contains("http-equiv=\"refresh\""));
        assert_eq!(response.headers()[header::RETRY_AFTER], "30");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
