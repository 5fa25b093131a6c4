//! Puts credentials into a request, and placeholders to shame that are where they may not be.
//!
//! Runs after the judge, for one request to one host. What it put in is known afterwards (`Prepared::patterns`), so that
//! the answer can be searched for it. A secret is only ever put into the request that is passed in.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, header, request};
use ryokan_model::Secret;

use super::keys::{Credential, Inject, PLACEHOLDER, Source};
use super::ports::Scheme;
use super::refusal::Refusal;
use super::scrub::{Patterns, find};
use super::sigv4;
use crate::query;

/// What a request became.
#[derive(Default)]
pub(crate) struct Prepared {
    /// What must not come back.
    pub(crate) patterns: Patterns,
    /// Credentials that went in, with their revision.
    pub(crate) keys: Vec<(Arc<str>, u64)>,
    /// Credentials whose placeholders are to be replaced in the body, which is then held back whole.
    pub(crate) body: Vec<(Arc<str>, Secret)>,
    /// To be done once the body is known.
    pub(crate) signing: Option<sigv4::Signing>,
}

/// Applies what is bound to the host. `parts.uri` is in origin form.
pub(crate) async fn prepare(
    parts: &mut request::Parts,
    scheme: Scheme,
    bound: &[Arc<Credential>],
) -> Result<Prepared, Refusal> {
    let mut prepared = Prepared::default();
    let path = parts.uri.path().to_owned();
    let content_type = content_type(parts);
    for credential in bound {
        if let Source::Fixed(secret) = &credential.source {
            // Also where it does not go in now: the host may know it from another request.
            prepared.patterns.add_secret(secret.expose());
        }
        let is_sent = credential.in_the_clear || scheme == Scheme::Https;
        let is_fit = credential.fits(&parts.method, &path);
        let found = credential.placeholder.as_ref().map(|text| Found::look(parts, text)).unwrap_or_default();
        let is_signed = found.headers && matches!(credential.inject, Some(Inject::SigV4 { .. }));
        if found.any() {
            if !is_sent {
                return Err(Refusal::NeedsTls);
            }
            let places = &credential.places;
            let is_in_place = (!found.headers || places.headers || is_signed)
                && (!found.path || places.path)
                && (!found.query || places.query);
            if !is_fit || !is_in_place {
                return Err(Refusal::NotHere);
            }
        }
        let in_body = credential.places.body.iter().any(|allowed| Some(allowed) == content_type.as_ref());
        let is_used = found.any() || credential.inject.is_some() || in_body;
        if !is_fit || !is_sent || !is_used {
            continue;
        }
        let secret = value(&credential.source).await?;
        prepared.patterns.add_secret(secret.expose());
        prepared.keys.push((Arc::clone(&credential.id), credential.revision));
        if let Some(placeholder) = &credential.placeholder {
            if !is_signed {
                found.replace(parts, placeholder, secret.expose(), &mut prepared.patterns)?;
            }
            if in_body {
                prepared.body.push((Arc::clone(placeholder), secret.clone()));
            }
        }
        match &credential.inject {
            None => {}
            Some(Inject::SigV4 { access_key, session_token }) => {
                let signing = sigv4::Signing::read(
                    parts,
                    access_key,
                    secret,
                    session_token.clone(),
                    &mut prepared.patterns,
                )?;
                prepared.signing = Some(signing);
            }
            Some(inject) => put_in(parts, inject, secret.expose(), &mut prepared.patterns)?,
        }
    }
    // Whatever is left does not belong here: not to this host, or to one that is not good for this request.
    if Found::look(parts, PLACEHOLDER).any() {
        return Err(Refusal::NotForThisHost);
    }
    if !prepared.patterns.is_empty() {
        keep_readable(parts);
    }
    Ok(prepared)
}

/// Replaces placeholders in a body that was held back.
pub(crate) fn rewrite_body(body: Bytes, keys: &[(Arc<str>, Secret)], content_type: Option<&str>) -> Bytes {
    let mut body = body;
    for (placeholder, secret) in keys {
        let secret = match content_type {
            Some("application/x-www-form-urlencoded") => query::encode(secret.expose()),
            Some(kind) if kind.ends_with("json") => in_json(secret.expose()),
            _ => secret.expose().to_owned(),
        };
        if let Some(replaced) = replaced(&body, placeholder.as_bytes(), secret.as_bytes()) {
            body = Bytes::from(replaced);
        }
    }
    body
}

pub(crate) fn content_type(parts: &request::Parts) -> Option<String> {
    let value = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

async fn value(source: &Source) -> Result<Secret, Refusal> {
    match source {
        Source::Fixed(secret) => Ok(secret.clone()),
        Source::Token(tokens) => tokens.token().await.map_err(|_| Refusal::Unusable),
    }
}

/// In which parts of a request a text is.
#[derive(Clone, Copy, Default)]
struct Found {
    headers: bool,
    path: bool,
    query: bool,
}

impl Found {
    fn look(parts: &request::Parts, text: &str) -> Self {
        let needle = text.as_bytes();
        let in_header = |value: &HeaderValue| {
            find(value.as_bytes(), needle).is_some()
                || basic_pair(value).is_some_and(|pair| pair.contains(text))
        };
        let in_url = |part: &str| part.contains(text) || query::decode(part).contains(text);
        Self {
            headers: parts.headers.values().any(in_header)
                || parts.headers.keys().any(|name| find(name.as_str().as_bytes(), needle).is_some()),
            path: in_url(parts.uri.path()),
            query: parts.uri.query().is_some_and(in_url),
        }
    }

    fn any(self) -> bool {
        self.headers || self.path || self.query
    }

    fn replace(
        self,
        parts: &mut request::Parts,
        placeholder: &str,
        secret: &str,
        patterns: &mut Patterns,
    ) -> Result<(), Refusal> {
        if self.headers {
            for value in parts.headers.values_mut() {
                let new = if let Some(pair) = basic_pair(value).filter(|pair| pair.contains(placeholder)) {
                    let pair = replaced(pair.as_bytes(), placeholder.as_bytes(), secret.as_bytes());
                    pair.map(|pair| {
                        let encoded = STANDARD.encode(pair);
                        patterns.add(encoded.as_bytes());
                        format!("Basic {encoded}").into_bytes()
                    })
                } else {
                    replaced(value.as_bytes(), placeholder.as_bytes(), secret.as_bytes())
                };
                if let Some(new) = new {
                    *value = sensitive(&new)?;
                }
            }
        }
        if self.path || self.query {
            let path = text_replaced(parts.uri.path(), placeholder, &in_path(secret));
            let query =
                parts.uri.query().map(|query| text_replaced(query, placeholder, &query::encode(secret)));
            patterns.add(in_path(secret).as_bytes());
            set_target(parts, &path, query.as_deref())?;
        }
        Ok(())
    }
}

fn put_in(
    parts: &mut request::Parts,
    inject: &Inject,
    secret: &str,
    patterns: &mut Patterns,
) -> Result<(), Refusal> {
    let (name, value) = match inject {
        Inject::Bearer => (header::AUTHORIZATION, format!("Bearer {secret}")),
        Inject::Basic { user } => {
            let encoded = STANDARD.encode(format!("{user}:{secret}"));
            patterns.add(encoded.as_bytes());
            (header::AUTHORIZATION, format!("Basic {encoded}"))
        }
        Inject::Header { name, prefix } => (name.clone(), format!("{prefix}{secret}")),
        Inject::Query { name } => {
            let is_other = |pair: &&str| query::decode(pair.split('=').next().unwrap_or_default()) != *name;
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let mut pairs: Vec<String> = query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .filter(is_other)
                .map(str::to_owned)
                .collect();
            pairs.push(format!("{}={}", query::encode(name), query::encode(secret)));
            let path = parts.uri.path().to_owned();
            return set_target(parts, &path, Some(&pairs.join("&")));
        }
        Inject::SigV4 { .. } => return Ok(()),
    };
    parts.headers.insert(name, sensitive(value.as_bytes())?);
    Ok(())
}

pub(crate) fn sensitive(value: &[u8]) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| Refusal::Unusable)?;
    value.set_sensitive(true);
    Ok(value)
}

fn set_target(parts: &mut request::Parts, path: &str, query: Option<&str>) -> Result<(), Refusal> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.uri = PathAndQuery::try_from(target).map_err(|_| Refusal::Unusable)?.into();
    Ok(())
}

/// Asks for an answer that can be searched: compressed ones would have to be unpacked and packed again.
fn keep_readable(parts: &mut request::Parts) {
    const GRPC: HeaderName = HeaderName::from_static("grpc-accept-encoding");
    let plain = HeaderValue::from_static("identity");
    parts.headers.insert(header::ACCEPT_ENCODING, plain.clone());
    if parts.headers.contains_key(&GRPC) {
        parts.headers.insert(GRPC, plain);
    }
    // Compression of WebSocket frames.
    parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
}

/// `user:password` of an `Authorization: Basic`.
fn basic_pair(value: &HeaderValue) -> Option<String> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

/// `text` with every `from` replaced that does not go on (`ryk_cred_a` is not `ryk_cred_ab`); `None` if there is none.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + to.len());
    let (mut rest, mut is_changed) = (text, false);
    while let Some(at) = find(rest, from) {
        let end = at + from.len();
        let goes_on = rest.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(if goes_on { from } else { to });
        is_changed |= !goes_on;
        rest = &rest[end..];
    }
    out.extend_from_slice(rest);
    is_changed.then_some(out)
}

fn text_replaced(text: &str, from: &str, to: &str) -> String {
    replaced(text.as_bytes(), from.as_bytes(), to.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| text.to_owned())
}

/// Percent-encoded as far as a path segment needs it; some hosts compare it as it stands.
fn in_path(text: &str) -> String {
    text.chars()
        .map(|c| {
            if ":@!$&'()*+,;=".contains(c) {
                c.to_string()
            } else {
                query::encode(c.encode_utf8(&mut [0; 4]))
            }
        })
        .collect()
}

fn in_json(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if u32::from(c) < 0x20 => format!("\\u{:04x}", u32::from(c)).chars().collect(),
            c => vec![c],
        })
        .collect()
}
