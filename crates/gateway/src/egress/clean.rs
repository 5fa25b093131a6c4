//! Headers of requests and answers on their way through: what concerns one connection only, or us only, stays here.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::headers::remove_hop_by_hop;

/// Makes a caller's headers fit for the next connection. `websocket` keeps its handshake whole.
pub(crate) fn request(headers: &mut HeaderMap, websocket: bool, is_h2: bool) {
    let wants_trailers = headers.get_all(header::TE).iter().any(|te| {
        te.to_str().is_ok_and(|te| te.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    remove_hop_by_hop(headers);
    let proxied: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    for name in proxied {
        headers.remove(name);
    }
    // hyper answers `Expect` itself, once the host begins to take the body.
    for name in ["expect", "http2-settings", "x-ryokan-token"] {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if !is_h2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Makes a host's headers fit for the caller.
pub(crate) fn response(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // It was read by its coding; a length beside that is a lie.
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    // It would send callers to ports and protocols that are closed.
    headers.remove(header::ALT_SVC);
}
