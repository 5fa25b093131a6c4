//! What is taken out of, and put into, the headers of requests to agents and of their answers.
//!
//! An agent is hostile: it gets no credential of ours and nothing that a client made up about itself; its
//! answers cannot touch our cookies, other agents, or (on the path route) the dashboard whose origin they share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::cookie;
use crate::peer::is_forwarding;
use crate::ports::Peer;
use crate::route::{OriginPolicy, Route, UpstreamAuth};

/// Prefix of every bearer token of ours.
const TOKEN_PREFIX: &str = "ryk_";
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Answers of an agent must not set policy for whole hosts or for other ports.
const HOST_WIDE: [HeaderName; 3] =
    [header::ALT_SVC, header::STRICT_TRANSPORT_SECURITY, header::PUBLIC_KEY_PINS];
/// On the path route they would act on the dashboard's origin.
const ORIGIN_WIDE: [&str; 12] = [
    "set-cookie",
    "set-cookie2",
    "set-login",
    "clear-site-data",
    "service-worker-allowed",
    "www-authenticate",
    "report-to",
    "reporting-endpoints",
    "nel",
    "accept-ch",
    "critical-ch",
    "origin-agent-cluster",
];
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-scripts allow-forms allow-popups allow-downloads allow-modals");

/// What a request to an agent is made of besides the client's own headers.
pub(crate) struct Context<'a> {
    pub(crate) route: &'a Route,
    pub(crate) endpoint: SocketAddr,
    pub(crate) peer: &'a Peer,
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
    remove_hop_by_hop(headers);
    headers.remove(header::EXPECT);
    headers.remove("http2-settings");
    remove_claims(headers, context.route);
    remove_credentials(headers, context);
    if context.prefix.is_some() {
        headers.remove(header::COOKIE);
    } else {
        cookie::strip_ours(headers);
    }
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
        insert_forwarding(headers, context);
    }
    insert_credentials(headers, context);
}

/// Removes what concerns one connection only, including what `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
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
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what a client says about itself: addresses, identities, anything of ours.
fn remove_claims(headers: &mut HeaderMap, route: &Route) {
    let is_identity = |name: &str| match &route.upstream_auth {
        UpstreamAuth::TrustedProxy { user_header, headers, .. } => {
            user_header.as_str() == name || headers.iter().any(|(known, _)| known.as_str() == name)
        }
        _ => false,
    };
    let is_claim = |name: &HeaderName| {
        let text = name.as_str();
        if text.contains('_') {
            // Servers that make variables of headers read `x_forwarded_for` as `x-forwarded-for`.
            let dashed = text.replace('_', "-");
            return dashed.starts_with("x-ryokan-")
                || is_identity(&dashed)
                || HeaderName::try_from(dashed.as_str()).is_ok_and(|name| is_forwarding(&name));
        }
        text.starts_with("x-ryokan-") || is_forwarding(name) || is_identity(text)
    };
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn remove_credentials(headers: &mut HeaderMap, context: &Context<'_>) {
    for name in
        [header::AUTHORIZATION, HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")]
    {
        let is_used = context.authorization_used && name == header::AUTHORIZATION;
        let holds_ours = |value: &HeaderValue| holds_ours(value.as_bytes(), context.is_secret);
        if headers.contains_key(&name) && (is_used || headers.get_all(&name).iter().any(holds_ours)) {
            headers.remove(name);
        }
    }
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

/// In place of a loopback address, which would be the agent itself where the agent is, and so be trusted by it: the
/// dummy address of RFC 7600, which belongs to nobody.
const THIS_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

fn insert_forwarding(headers: &mut HeaderMap, context: &Context<'_>) {
    let ip = context.peer.ip.to_canonical();
    let ip = if ip.is_loopback() { THIS_MACHINE } else { ip };
    if let Ok(address) = HeaderValue::try_from(ip.to_string()) {
        headers.insert("x-real-ip", address.clone());
        headers.insert("x-forwarded-for", address);
    }
    let (proto, default_port) = if context.peer.secure { ("https", 443) } else { ("http", 80) };
    headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
    headers.insert("x-forwarded-host", context.host.clone());
    headers.insert("x-forwarded-port", HeaderValue::from(context.port.unwrap_or(default_port)));
    let host = context.host.to_str().unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(forwarded(context.peer.ip, host, proto)) {
        headers.insert(header::FORWARDED, value);
    }
    if let Some(prefix) = context.prefix.and_then(|prefix| HeaderValue::try_from(prefix).ok()) {
        headers.insert("x-forwarded-prefix", prefix);
    }
}

/// The one hop that we vouch for, after RFC 7239: an IPv6 address stands in brackets, and what is no token in quotes.
fn forwarded(client: IpAddr, host: &str, proto: &str) -> String {
    let client = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    // A host that got here has letters, digits and `-_.:[]` alone: nothing that a quoted string would have to escape.
    format!("for={client};host=\"{host}\";proto={proto}")
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
            if extra.iter().any(|(name, _)| is_forwarding(name)) {
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
    remove_hop_by_hop(headers);
    for name in &HOST_WIDE {
        headers.remove(name);
    }
    if let Some(prefix) = context.prefix {
        for name in ORIGIN_WIDE {
            headers.remove(name);
        }
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
            let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
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
pub(crate) fn target(route: &Route, path_and_query: &str) -> Option<Uri> {
    let UpstreamAuth::Query { name, value } = &route.upstream_auth else {
        return path_and_query.parse().ok();
    };
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
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
