//! What is taken out of, and put into, the headers of requests to agents and of their answers.
//!
//! An agent is hostile: it gets no credential of ours and nothing that a client made up about itself; its
//! answers cannot touch our cookies, other agents, or (on the path route) the dashboard whose origin they share.

use std::net::SocketAddr;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, Entry};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::cookie;
use crate::introduction::Introduction;
use crate::peer::is_forwarding;
use crate::ports::Peer;
use crate::route::{OriginPolicy, Route, UpstreamAuth};

/// Prefix of every bearer token of ours.
const TOKEN_PREFIX: &str = "ryk_";
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-scripts allow-forms allow-popups allow-downloads allow-modals");

/// What a request to an agent is made of besides the client's own headers.
pub(crate) struct Context<'a> {
    pub(crate) route: &'a Route,
    pub(crate) endpoint: SocketAddr,
    pub(crate) peer: &'a Peer,
    /// What agents were told last about clients of this connection.
    pub(crate) introduction: &'a OnceLock<Introduction>,
    /// The client's `Host`, as it was sent.
    pub(crate) host: &'a HeaderValue,
    pub(crate) port: Option<u16>,
    /// `/gateway/NAME` on the path route.
    pub(crate) prefix: Option<&'a str>,
    /// Whether the `Authorization` header was ours.
    pub(crate) authorization_used: bool,
    /// Whether a text is a secret of ours that has no prefix.
    pub(crate) is_secret: &'a (dyn Fn(&str) -> bool + Sync),
    pub(crate) user: Option<&'a str>,
    pub(crate) websocket: bool,
}

/// Turns a client's request headers into those for the agent.
pub(crate) fn to_agent(headers: &mut HeaderMap, context: &Context<'_>) {
    // Room for ours at once: a map that grows in steps is built anew at each.
    headers.reserve(10);
    let wants_trailers = headers.get_all(header::TE).iter().any(|te| {
        te.to_str().is_ok_and(|te| te.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    remove_what_connection_names(headers);
    remove_where(headers, |headers, name| {
        let text = name.as_str();
        is_hop_by_hop(text)
            || matches!(text, "expect" | "http2-settings")
            || is_claim(text, context.route)
            || is_credential_of_ours(headers, name, context)
            || (context.prefix.is_some() && *name == header::COOKIE)
    });
    cookie::strip_ours(headers);
    apply_origin(headers, context);

    headers.insert(header::HOST, context.host.clone());
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if context.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if context.route.forwarded {
        Introduction::insert(headers, context.introduction, context.peer, context.host, context.port);
        if let Some(prefix) = context.prefix.and_then(|prefix| HeaderValue::try_from(prefix).ok()) {
            headers.insert(X_FORWARDED_PREFIX, prefix);
        }
    }
    insert_credentials(headers, context);
}

/// Removes what concerns one connection only, including what `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_what_connection_names(headers);
    remove_where(headers, |_, name| is_hop_by_hop(name.as_str()));
}

/// One look at each name there is, which are fewer than those that there might be.
fn remove_where(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderMap, &HeaderName) -> bool) {
    // Most heads have none, and then this takes no memory.
    let unwanted: Vec<HeaderName> =
        headers.keys().filter(|name| is_unwanted(headers, name)).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
    )
}

/// Whether an answer would set policy for whole hosts or for other ports by it.
fn is_host_wide(name: &str) -> bool {
    matches!(name, "alt-svc" | "strict-transport-security" | "public-key-pins")
}

/// Whether it would act on the dashboard's origin, which answers on the path route share.
fn is_origin_wide(name: &str) -> bool {
    matches!(
        name,
        "set-cookie"
            | "set-cookie2"
            | "set-login"
            | "clear-site-data"
            | "service-worker-allowed"
            | "www-authenticate"
            | "report-to"
            | "reporting-endpoints"
            | "nel"
            | "accept-ch"
            | "critical-ch"
            | "origin-agent-cluster"
    )
}

fn remove_what_connection_names(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Whether a client says something about itself by it: addresses, identities, anything of ours.
fn is_claim(name: &str, route: &Route) -> bool {
    let is_one = |name: &str| {
        let is_identity = match &route.upstream_auth {
            UpstreamAuth::TrustedProxy { user_header, headers, .. } => {
                user_header.as_str() == name || headers.iter().any(|(known, _)| known.as_str() == name)
            }
            _ => false,
        };
        name.starts_with("x-ryokan-") || is_forwarding(name) || is_identity
    };
    if name.contains('_') {
        // Servers that make variables of headers read `x_forwarded_for` as `x-forwarded-for`.
        return is_one(&name.replace('_', "-"));
    }
    is_one(name)
}

fn is_credential_of_ours(headers: &HeaderMap, name: &HeaderName, context: &Context<'_>) -> bool {
    if !matches!(name.as_str(), "authorization" | "x-api-key" | "api-key") {
        return false;
    }
    let is_used = context.authorization_used && *name == header::AUTHORIZATION;
    is_used || headers.get_all(name).iter().any(|value| holds_ours(value.as_bytes(), context.is_secret))
}

/// Whether a credential of ours is in a header: a token anywhere, a secret without a mark of its own where one would be.
fn holds_ours(value: &[u8], is_secret: impl Fn(&str) -> bool) -> bool {
    let is_marked =
        |text: &[u8]| text.windows(TOKEN_PREFIX.len()).any(|part| part == TOKEN_PREFIX.as_bytes());
    let is_secret = |text: &[u8]| std::str::from_utf8(text.trim_ascii()).is_ok_and(&is_secret);
    if is_marked(value) || is_secret(value) {
        return true;
    }
    let Some(space) = value.iter().position(|byte| *byte == b' ') else { return false };
    let (scheme, credential) = (&value[..space], value[space..].trim_ascii());
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return is_secret(credential);
    }
    STANDARD
        .decode(credential)
        .is_ok_and(|pair| is_marked(&pair) || pair.splitn(2, |byte| *byte == b':').any(is_secret))
}

fn apply_origin(headers: &mut HeaderMap, context: &Context<'_>) {
    let set = |headers: &mut HeaderMap, origin: HeaderValue| match headers.entry(header::ORIGIN) {
        Entry::Occupied(mut entry) => {
            entry.insert(origin);
        }
        Entry::Vacant(entry) if context.websocket => {
            entry.insert(origin);
        }
        Entry::Vacant(_) => {}
    };
    match &context.route.origin {
        OriginPolicy::Keep => {}
        OriginPolicy::Remove => {
            headers.remove(header::ORIGIN);
        }
        OriginPolicy::Set(origin) => set(headers, origin.clone()),
        OriginPolicy::RewriteLoopback => {
            if let Ok(origin) = HeaderValue::try_from(format!("http://127.0.0.1:{}", context.endpoint.port()))
            {
                set(headers, origin);
            }
        }
    }
}

fn insert_credentials(headers: &mut HeaderMap, context: &Context<'_>) {
    let authorization = |text: String| {
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let value = match &context.route.upstream_auth {
        UpstreamAuth::Bearer { token } => authorization(format!("Bearer {}", token.expose())),
        UpstreamAuth::Basic { user, password } => {
            authorization(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose()))))
        }
        UpstreamAuth::TrustedProxy { user_header, headers: extra, identity } => {
            let user = identity.as_deref().or(context.user).and_then(|user| HeaderValue::try_from(user).ok());
            if let Some(user) = user {
                headers.insert(user_header, user);
            }
            if extra.iter().any(|(name, _)| is_forwarding(name.as_str())) {
                // It would contradict what the template says in another header.
                headers.remove(header::FORWARDED);
            }
            for (name, value) in extra {
                headers.insert(name, value.clone());
            }
            None
        }
        UpstreamAuth::None | UpstreamAuth::Query { .. } => None,
    };
    if let Some(value) = value {
        headers.insert(header::AUTHORIZATION, value);
    }
}

/// What an agent's answer is judged by.
pub(crate) struct AnswerContext<'a> {
    pub(crate) endpoint: SocketAddr,
    pub(crate) host: &'a str,
    pub(crate) prefix: Option<&'a str>,
    /// Who may frame the answer: set when it was shown by virtue of a cookie.
    pub(crate) framing: Option<HeaderValue>,
}

/// Makes an agent's answer harmless to everyone but the agent.
pub(crate) fn from_agent(headers: &mut HeaderMap, context: &AnswerContext<'_>) {
    remove_what_connection_names(headers);
    remove_where(headers, |_, name| {
        let name = name.as_str();
        is_hop_by_hop(name) || is_host_wide(name) || (context.prefix.is_some() && is_origin_wide(name))
    });
    if let Some(prefix) = context.prefix {
        headers.append(header::CONTENT_SECURITY_POLICY, SANDBOX);
        rewrite_location(headers, context, prefix);
    } else {
        cookie::confine_set_cookies(headers);
        rewrite_location(headers, context, "");
    }
    if let Some(framing) = &context.framing {
        headers.append(header::CONTENT_SECURITY_POLICY, framing.clone());
    }
}

/// Keeps redirects on the route they came by, and the agent's own address to ourselves.
fn rewrite_location(headers: &mut HeaderMap, context: &AnswerContext<'_>, prefix: &str) {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(text) = headers.get(&name).and_then(|value| value.to_str().ok()) else { continue };
        let is_local = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
        let path = if is_local {
            if prefix.is_empty() {
                continue;
            }
            text.to_owned()
        } else {
            let Ok(uri) = text.parse::<Uri>() else { continue };
            let Some(authority) = uri.authority() else { continue };
            let is_self = !prefix.is_empty() && authority.as_str().eq_ignore_ascii_case(context.host);
            let is_endpoint = authority.as_str() == context.endpoint.to_string();
            if !(is_self || is_endpoint) {
                continue;
            }
            // `http::Uri` drops the fragment; it is the browser's affair and worth keeping.
            let fragment = text.split_once('#').map_or(String::new(), |(_, fragment)| format!("#{fragment}"));
            let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
            // `//evil` as a path would become a host once the authority is gone.
            format!("/{}{fragment}", path.trim_start_matches('/'))
        };
        // What already carries the prefix came from an agent that knows where it is mounted.
        let has_prefix =
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let path = if prefix.is_empty() || has_prefix { path } else { format!("{prefix}{path}") };
        if let Ok(value) = HeaderValue::try_from(path) {
            headers.insert(name, value);
        }
    }
}

/// The request target for the agent: `path_and_query`, with the query credential if there is one.
pub(crate) fn target(route: &Route, target: &PathAndQuery) -> Option<Uri> {
    let UpstreamAuth::Query { name, value } = &route.upstream_auth else {
        return Some(target.clone().into());
    };
    let (path, query) = (target.path(), target.query().unwrap_or_default());
    // A client's own parameter of that name would be read first by some and last by others.
    let is_same = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        crate::query::decode(key) != *name
    };
    let mut pairs: Vec<String> =
        query.split('&').filter(|pair| !pair.is_empty()).filter(is_same).map(str::to_owned).collect();
    pairs.push(format!("{}={}", crate::query::encode(name), crate::query::encode(value.expose())));
    format!("{path}?{}", pairs.join("&")).parse().ok()
}
