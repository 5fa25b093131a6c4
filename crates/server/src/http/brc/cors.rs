//! What a wallet in a browser needs to call us from a page of its own: the handshake, the routes of `MandalaNode`, and
//! signed requests are open to every origin. Never with cookies, so that no page acts for whoever is signed in.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ryokan_brc::message::names;

use super::WELL_KNOWN;
use super::signed::is_signed;

/// How long a browser may remember that it may ask.
const REMEMBERED: &str = "3600";

pub(super) async fn layer(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = path == WELL_KNOWN || path.starts_with("/api/v1/");
    let headers = request.headers();
    if !headers.contains_key(header::ORIGIN) || !(open || is_signed(headers) || will_be_signed(headers)) {
        return next.run(request).await;
    }
    let preflight =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if preflight {
        return allow(headers);
    }
    let mut response = next.run(request).await;
    let exposed: Vec<&str> =
        response.headers().keys().map(|name| name.as_str()).filter(|n| n.starts_with("x-bsv-")).collect();
    let exposed = HeaderValue::try_from(exposed.join(", "));
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(exposed) = exposed
        && !exposed.is_empty()
    {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// Whether a browser asks for leave to send a signed request.
fn will_be_signed(headers: &HeaderMap) -> bool {
    wanted(headers).any(|name| name.eq_ignore_ascii_case(names::SIGNATURE))
}

fn wanted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok());
    all.unwrap_or_default().split(',').map(str::trim)
}

fn allow(headers: &HeaderMap) -> Response {
    let ours = |name: &&str| {
        let name = name.to_ascii_lowercase();
        name == "content-type" || name.starts_with("x-bsv-")
    };
    let allowed: Vec<&str> = wanted(headers).filter(ours).collect();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
    headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response
}
