//! AWS Signature Version 4: a request that was signed with a placeholder is signed anew with the key.
//!
//! Source: "Create a signed AWS API request", AWS General Reference. Region, service, date and the list of signed
//! headers are the caller's; only key and signature change. Bodies signed piece by piece cannot be signed anew.

use hmac::{Hmac, Mac as _};
use http::{HeaderName, HeaderValue, request};
use ryokan_model::Secret;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::apply::sensitive;
use super::refusal::Refusal;
use super::scrub::Patterns;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A signature to be made, once the body's hash is known.
pub(crate) struct Signing {
    access_key: String,
    secret: Secret,
    scope: String,
    signed: Vec<String>,
    /// Known already if the caller said so in a header.
    payload: Option<String>,
}

impl Signing {
    /// Reads what the caller signed, and takes its signature out.
    pub(crate) fn read(
        parts: &mut request::Parts,
        access_key: &str,
        secret: Secret,
        session_token: Option<Secret>,
        patterns: &mut Patterns,
    ) -> Result<Self, Refusal> {
        const UNREADABLE: Refusal = Refusal::NotSignable(
            "Sign the request with AWS Signature Version 4 in the Authorization header, with the placeholder as both keys.",
        );
        let value = parts.headers.remove(http::header::AUTHORIZATION).ok_or(UNREADABLE)?;
        let text = value.to_str().map_err(|_| UNREADABLE)?;
        let fields = text.strip_prefix(ALGORITHM).ok_or(UNREADABLE)?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let credential = field("Credential").ok_or(UNREADABLE)?;
        let (_, scope) = credential.split_once('/').ok_or(UNREADABLE)?;
        if scope.split('/').count() != 4 || !scope.ends_with("/aws4_request") {
            return Err(UNREADABLE);
        }
        let signed = field("SignedHeaders").ok_or(UNREADABLE)?;
        let mut signed: Vec<String> = signed.split(';').map(str::to_ascii_lowercase).collect();
        if !parts.headers.contains_key(&DATE) || !signed.iter().any(|name| name == "host") {
            return Err(UNREADABLE);
        }
        let payload = parts.headers.get(&CONTENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if payload.as_ref().is_some_and(|payload| payload.starts_with("STREAMING-")) {
            return Err(Refusal::NotSignable(
                "A body that is signed piece by piece cannot be signed anew. Switch chunked signing off (S3: sign the whole payload, or leave it unsigned).",
            ));
        }
        parts.headers.remove(&TOKEN);
        signed.retain(|name| name != TOKEN.as_str());
        if let Some(token) = session_token {
            patterns.add_secret(token.expose());
            parts.headers.insert(TOKEN, sensitive(token.expose().as_bytes())?);
            signed.push(TOKEN.as_str().to_owned());
        }
        signed.sort();
        signed.dedup();
        Ok(Self { access_key: access_key.to_owned(), secret, scope: scope.to_owned(), signed, payload })
    }

    /// Whether the body's own bytes have to be hashed.
    pub(crate) fn needs_body(&self) -> bool {
        self.payload.is_none()
    }

    /// Signs. `host` is the value of the `Host` header as it goes out.
    pub(crate) fn sign(
        &self,
        parts: &mut request::Parts,
        host: &str,
        body: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        const ODD: Refusal = Refusal::NotSignable("A signed header is missing.");
        let payload = match (&self.payload, body) {
            (Some(payload), _) => payload.clone(),
            (None, Some(body)) => hex(&Sha256::digest(body)),
            (None, None) => UNSIGNED.to_owned(),
        };
        let is_s3 = self.scope.split('/').nth(2) == Some("s3");
        let mut canonical = format!(
            "{}\n{}\n{}\n",
            parts.method,
            canonical_path(parts.uri.path(), is_s3),
            canonical_query(parts.uri.query().unwrap_or_default())
        );
        for name in &self.signed {
            let value = if name == "host" {
                host.to_owned()
            } else {
                let values: Option<Vec<String>> = parts
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| Some(folded(value.to_str().ok()?)))
                    .collect();
                let values = values.filter(|values| !values.is_empty()).ok_or(ODD)?;
                values.join(",")
            };
            canonical.extend([name.as_str(), ":", &value, "\n"]);
        }
        let signed = self.signed.join(";");
        canonical.extend(["\n", &signed, "\n", &payload]);
        let date = parts.headers.get(&DATE).and_then(|date| date.to_str().ok()).ok_or(ODD)?;
        let to_sign =
            format!("{ALGORITHM}\n{date}\n{}\n{}", self.scope, hex(&Sha256::digest(canonical.as_bytes())));
        let mut key = Zeroizing::new(format!("AWS4{}", self.secret.expose()).into_bytes());
        for part in self.scope.split('/') {
            key = Zeroizing::new(mac(&key, part.as_bytes()));
        }
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        let value = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={signed}, Signature={signature}",
            self.access_key, self.scope
        );
        let value: HeaderValue = sensitive(value.as_bytes())?;
        parts.headers.insert(http::header::AUTHORIZATION, value);
        Ok(())
    }
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Without blanks at the ends, and with single ones within.
fn folded(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// S3 takes the path as sent; everybody else encodes it once more.
fn canonical_path(path: &str, is_s3: bool) -> String {
    let path = if path.is_empty() { "/" } else { path };
    if is_s3 {
        return path.to_owned();
    }
    path.split('/').map(crate::query::encode).collect::<Vec<_>>().join("/")
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| crate::query::encode(&crate::query::decode(&text.replace('+', "%2B")));
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(name), encode(value))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `get-vanilla-query-order-key-case` and `get-vanilla` cases of AWS's own test suite.
    #[test]
    fn signs_as_aws_does() {
        for (target, expected) in [
            ("/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            let request = http::Request::get(target)
                .header("x-amz-date", "20150830T123600Z")
                .header(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=ryk_cred_x/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=0",
                )
                .body(())
                .unwrap();
            let (mut parts, ()) = request.into_parts();
            let secret = Secret::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
            let signing =
                Signing::read(&mut parts, "AKIDEXAMPLE", secret, None, &mut Patterns::default()).unwrap();
            signing.sign(&mut parts, "example.amazonaws.com", Some(b"")).unwrap();
            let value = parts.headers["authorization"].to_str().unwrap();
            assert!(value.ends_with(expected), "{target} {value}");
            assert!(value.contains("Credential=AKIDEXAMPLE/"));
        }
    }
}
