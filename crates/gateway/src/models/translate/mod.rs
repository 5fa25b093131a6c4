//! Between the dialects. Each direction is a pure function of JSON for requests and whole answers, and a small machine for
//! streams. What has no counterpart is refused by its field's name rather than dropped, unless it changes nothing that
//! the caller could rely on; `docs/models.md` lists what is lost.

use http::{HeaderValue, Response, header};
use ryokan_model::models::{Offer, ProviderKind};
use serde_json::{Value, json};

use super::asked::Asked;
use super::fault::{Dialect, Fault};
use super::relay::Translate;
use super::upstream::Wire;
use crate::body::Body;

/// How an answer is to be told.
pub(crate) enum Translation {}

impl Translation {
    pub(crate) fn whole(self, _model: &str, _answer: &Value) -> Result<Value, Fault> {
        match self {}
    }

    pub(crate) fn stream(self, _model: &str) -> Box<dyn Translate> {
        match self {}
    }
}

/// The request in the provider's dialect; `None` where it is the caller's own.
pub(crate) fn request(asked: &Asked, dialect: Dialect) -> Result<Option<(Translation, Value)>, Fault> {
    if asked.endpoint.dialect() == dialect {
        return Ok(None);
    }
    Err(Fault::invalid("model", "speaks another dialect"))
}

/// The field that limits output.
pub(crate) fn limit_field(offer: &Offer, wire: Wire) -> &'static str {
    let host = offer.provider.base_url.contains("//api.openai.com");
    if wire == Wire::Chat && offer.provider.kind == ProviderKind::Openai && host {
        "max_completion_tokens"
    } else {
        "max_tokens"
    }
}

/// What depends on who is asked.
pub(crate) fn finish(request: &mut Value, offer: &Offer, limit: Option<i64>) {
    request["model"] = json!(offer.model);
    let _ = limit;
}

/// The answer to `count_tokens` where nobody counts: an estimate, and said to be one.
pub(crate) fn counted(estimate: i64) -> Response<Body> {
    let mut response = Response::new(Body::full(json!({"input_tokens": estimate}).to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-ryokan-estimated", HeaderValue::from_static("true"));
    response
}
