//! How large a request's head may be. The gateway lets half a megabyte through to us, for wallets pay in a header: with the
//! transaction come all that prove it. Everything else has to be as small as an agent's.

use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use ryokan_brc::payment::names::PAYMENT;

use super::brc::refusal;

/// Of a whole head without its payment.
const PLAIN: usize = 64 * 1024;
/// Of a payment.
const LONGEST_PAYMENT: usize = 400 * 1024;

/// The answer to a head that is too large.
pub(super) fn too_large(parts: &Parts) -> Option<Response> {
    let payment: usize = parts.headers.get_all(PAYMENT).iter().map(HeaderValue::len).sum();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let all =
        parts.headers.iter().fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4);
    let pays = parts.uri.path().starts_with("/api/v1/project/") && parts.uri.path().ends_with("/pay");
    let allowed = if pays { PLAIN + payment.min(LONGEST_PAYMENT) } else { PLAIN };
    (all > allowed).then(|| {
        refusal(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            format!(
                "headers have at most {PLAIN} bytes together, and `{PAYMENT}` of a payment {LONGEST_PAYMENT}"
            ),
        )
    })
}
