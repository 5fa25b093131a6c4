//! Cookies: our own on agents' hosts, and keeping ours and the agents' apart.
//!
//! The agent cookie is host-only, bound to instance, user and session, and lives one hour. An agent never
//! sees a cookie of ours, and can never set one.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

use crate::signed::SigningKey;
use crate::ticket::seconds;

/// Name of the session cookie on agents' hosts.
pub const AGENT_COOKIE: &str = "ryokan_agent";
/// How long an agent session lasts; then the browser passes by the zone again.
pub const AGENT_SESSION_LIFETIME: Duration = Duration::from_hours(1);
const PURPOSE: &str = "ryokan agent cookie v1";
/// How many cookies of one name are tried: a neighbour's page may toss false ones at a browser.
const MAX_SAME_NAME: usize = 8;

/// What an agent cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSession {
    pub user: String,
    pub session: String,
}

/// The cookie's value.
pub fn encode_agent_cookie(
    key: &SigningKey,
    instance_id: &str,
    session: &AgentSession,
    now: SystemTime,
) -> String {
    let expires = seconds(now) + AGENT_SESSION_LIFETIME.as_secs();
    key.seal(
        PURPOSE,
        &[
            instance_id.as_bytes(),
            session.user.as_bytes(),
            session.session.as_bytes(),
            &expires.to_be_bytes(),
        ],
    )
}

/// The session again, if the value is ours, for this instance, and not too old.
pub fn decode_agent_cookie(
    key: &SigningKey,
    instance_id: &str,
    value: &str,
    now: SystemTime,
) -> Option<AgentSession> {
    let [instance, user, session, expires] = key.open(PURPOSE, value)?;
    let expires = u64::from_be_bytes(expires.try_into().ok()?);
    if instance != instance_id.as_bytes() || seconds(now) >= expires {
        return None;
    }
    Some(AgentSession { user: String::from_utf8(user).ok()?, session: String::from_utf8(session).ok()? })
}

/// The `Set-Cookie` value: no `Domain`, hence for this host only.
pub(crate) fn set_agent_cookie(value: &str, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let age = AGENT_SESSION_LIFETIME.as_secs();
    HeaderValue::try_from(format!(
        "{AGENT_COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"
    ))
    .ok()
}

/// Whether a cookie name is the control plane's, in any case and with any prefix that browsers know.
pub(crate) fn is_ours(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("__host-").or_else(|| name.strip_prefix("__secure-")).unwrap_or(&name);
    name.starts_with("ryokan")
}

/// All values of one cookie, at most `MAX_SAME_NAME`.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches('"'))
        })
        .take(MAX_SAME_NAME)
}

/// Removes our cookies from a request, and joins the rest to one header (HTTP/2 may send several).
pub(crate) fn strip_ours(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    let Some(first) = lines.next() else { return };
    let is_single = lines.next().is_none();
    let mentions_us =
        |value: &HeaderValue| value.as_bytes().windows(6).any(|part| part.eq_ignore_ascii_case(b"ryokan"));
    if is_single && !mentions_us(first) {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
            // A name that is not text is nobody's of ours.
            if pair.is_empty() || std::str::from_utf8(name).is_ok_and(is_ours) {
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    headers.remove(header::COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&kept)
    {
        headers.insert(header::COOKIE, value);
    }
}

/// Makes an agent's `Set-Cookie` headers harmless: `Domain` cut out, cookies with our names dropped.
pub(crate) fn confine_set_cookies(headers: &mut HeaderMap) {
    if !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let confined: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().filter_map(confine).collect();
    headers.remove(header::SET_COOKIE);
    for value in confined {
        headers.append(header::SET_COOKIE, value);
    }
}

fn confine(value: &HeaderValue) -> Option<HeaderValue> {
    let bytes = value.as_bytes();
    let mut parts = bytes.split(|b| *b == b';');
    let pair = parts.next()?;
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
    // A pair without `=` sets a nameless cookie, which some parsers read as a name.
    if std::str::from_utf8(name).is_ok_and(is_ours) || pair.trim_ascii().starts_with(b"=") {
        return None;
    }
    let is_domain = |part: &[u8]| {
        let name = part.split(|b| *b == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"domain")
    };
    let mut kept = pair.to_vec();
    for part in parts.filter(|part| !is_domain(part)) {
        kept.push(b';');
        kept.extend_from_slice(part);
    }
    HeaderValue::from_bytes(&kept).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::new(&[3; 32])
    }

    #[test]
    fn agent_cookie_is_bound_and_ages() {
        let session = AgentSession { user: "u".into(), session: "s".into() };
        let now = UNIX_EPOCH + Duration::from_secs(10);
        let value = encode_agent_cookie(&key(), "i-1", &session, now);
        assert_eq!(decode_agent_cookie(&key(), "i-1", &value, now), Some(session));
        assert_eq!(decode_agent_cookie(&key(), "i-2", &value, now), None);
        assert_eq!(decode_agent_cookie(&key(), "i-1", &value, now + AGENT_SESSION_LIFETIME), None);
        assert_eq!(decode_agent_cookie(&SigningKey::new(&[4; 32]), "i-1", &value, now), None);
        assert_eq!(decode_agent_cookie(&key(), "i-1", &format!("{value}A"), now), None);
        let sealed_elsewhere = key().seal("ryokan ticket v1", &[b"i-1", b"u", b"s", &u64::MAX.to_be_bytes()]);
        assert_eq!(decode_agent_cookie(&key(), "i-1", &sealed_elsewhere, now), None);
    }

    #[test]
    fn agents_get_only_their_own_cookies() {
        let mut headers = HeaderMap::new();
        for value in
            ["a=1; ryokan_session=x; b=2", "RYOKAN_agent=y;__Host-ryokan_session=z", "__Secure-Ryokan=q; c=3"]
        {
            headers.append(header::COOKIE, value.parse().unwrap());
        }
        strip_ours(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "ryokan_session=x".parse().unwrap());
        strip_ours(&mut headers);
        assert!(!headers.contains_key(header::COOKIE));
    }

    #[test]
    fn agents_set_cookies_for_themselves_only() {
        let mut headers = HeaderMap::new();
        for value in [
            "a=1; Domain=.example.com; Path=/; HttpOnly",
            "b=2;domain = x;Secure",
            "ryokan_session=evil; Path=/",
            " __Host-ryokan_session=evil",
            "=ryokan_session=evil",
            "c=3",
        ] {
            headers.append(header::SET_COOKIE, value.parse().unwrap());
        }
        confine_set_cookies(&mut headers);
        let left: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(left, ["a=1; Path=/; HttpOnly", "b=2;Secure", "c=3"]);
    }
}
