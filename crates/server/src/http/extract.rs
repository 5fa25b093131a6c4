//! Extractors that refuse in our own words: JSON bodies with the path of the refused field, query strings, the
//! `Idempotency-Key`.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ryokan_app::Error;
use ryokan_app::idempotency::IdempotencyKey;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A JSON body of at most 1 MiB, whatever its `Content-Type` says (Crabshack's README sends some without).
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| {
            let too_large = e.status() == http::StatusCode::PAYLOAD_TOO_LARGE;
            Error::invalid(
                "",
                if too_large {
                    "the body is larger than 1 MiB"
                } else {
                    "the body could not be read to its end"
                },
            )
        })?;
        Ok(Self(from_json(&bytes)?))
    }
}

/// Parses JSON; the error names the field. The value itself is not repeated: it may be a secret.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { b"{}".as_slice() } else { bytes };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        let text = inner.to_string();
        // serde_json adds the place; the field's path says more.
        let text = text.split(" at line ").next().unwrap_or("is not valid").to_owned();
        if let Some(name) = missing_field(&text) {
            let field = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
            return Error::invalid(field, "is missing");
        }
        let (field, problem) =
            match text.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`')) {
                Some((name, _)) if path == "." || !path.ends_with(name) => (
                    if path == "." { name.to_owned() } else { format!("{path}.{name}") },
                    "is not a known field".to_owned() + &expected(&text),
                ),
                Some((_, _)) => (path, "is not a known field".to_owned() + &expected(&text)),
                None => (if path == "." { String::new() } else { path }, text),
            };
        Error::invalid(field, problem)
    })?;
    reader.end().map_err(|_| Error::invalid("", "the body holds more than one JSON value"))?;
    Ok(value)
}

/// The field that serde's message says is not there.
fn missing_field(text: &str) -> Option<&str> {
    text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
}

/// serde's list of what would have been right.
fn expected(text: &str) -> String {
    text.split_once(", expected ")
        .map_or_else(String::new, |(_, list)| format!("; known are {}", list.trim_start_matches("one of ")))
}

/// The client's address as the audit shows it.
pub(crate) struct PeerAddress(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PeerAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(super::auth::address(parts)))
    }
}

/// A query string; unknown and repeated parameters are refused by name.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(reader).map(Self).map_err(|e| {
            let path = e.path().to_string();
            let text = e.into_inner().to_string();
            if let Some(name) = missing_field(&text) {
                return Error::invalid(name, "is missing").into();
            }
            Error::invalid(if path == "." { String::new() } else { path }, text).into()
        })
    }
}

/// The `Idempotency-Key` of a request that makes something.
pub(crate) struct Idempotency(pub(crate) Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(idempotency_key(&parts.headers)?))
    }
}

pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Error> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=200).contains(&key.len()) => {
            Ok(Some(IdempotencyKey { key: key.to_owned(), asked: None }))
        }
        _ => Err(Error::invalid("Idempotency-Key", "must have 1 to 200 visible characters")),
    }
}

/// How the header is described on every route that takes it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyHeader {
    /// 1 to 200 characters. For a day, the same key and request of the same credential give the same answer, and make
    /// nothing new; the same key with another request is a `conflict`.
    #[param(rename = "Idempotency-Key", required = false)]
    #[expect(dead_code, reason = "it only describes")]
    key: Option<String>,
}

#[cfg(test)]
mod tests {
    use ryokan_model::request::InstanceRequest;

    use super::*;

    fn refused(json: &str) -> String {
        match from_json::<InstanceRequest>(json.as_bytes()) {
            Err(Error::Invalid(invalid)) => invalid.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_field_is_named_by_its_path() {
        assert!(
            refused(r#"{"ports":[{"name":"a","port":99999}]}"#).starts_with("ports[0].port: "),
            "{}",
            refused(r#"{"ports":[{"name":"a","port":99999}]}"#)
        );
        assert!(refused(r#"{"memory":"lots"}"#).starts_with("memory: `lots` is not an amount of memory"));
        assert!(
            refused(r#"{"nmae":"x"}"#).starts_with("nmae: is not a known field; known are `name`"),
            "{}",
            refused(r#"{"nmae":"x"}"#)
        );
        assert!(
            refused(r#"{"ports":[{"name":"a","prt":1}]}"#).starts_with("ports[0].prt: is not a known field")
        );
        assert!(refused(r#"{"ports":[{"port":1}]}"#).starts_with("ports[0].name: is missing"));
        assert!(refused("{").contains("EOF"));
        assert!(refused("{} {}").contains("more than one"));
    }

    #[test]
    fn a_secret_is_not_repeated() {
        assert!(!refused(r#"{"secret_env":{"K":["hunter2"]}}"#).contains("hunter2"));
    }
}
