//! Which host and path means what: pure functions from a request's authority and path to a `Target`.
//!
//! Names compare without case, port and trailing dot. An address literal is the control plane: it is how a
//! new installation is reached. Anything else that is not known is `Unknown`, never a default agent, so
//! that DNS rebinding finds nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::route::{Route, Snapshot};

/// Lower case, without one trailing dot.
pub(crate) fn normalise(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// An authority taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Lower case, no port, no trailing dot; an IPv6 literal keeps its brackets.
    pub name: String,
    pub port: Option<u16>,
    /// Whether `name` is an address rather than a name.
    pub is_address: bool,
}

impl Host {
    /// Parses `host[:port]`; `None` for what no client of good will sends.
    pub fn parse(authority: &str) -> Option<Self> {
        if authority.is_empty() || authority.len() > 300 {
            return None;
        }
        let (name, port) = if authority.starts_with('[') {
            let end = authority.find(']')?;
            let (literal, rest) = authority.split_at(end + 1);
            literal[1..end].parse::<Ipv6Addr>().ok()?;
            match rest.strip_prefix(':') {
                Some(port) => (literal, Some(port)),
                None if rest.is_empty() => (literal, None),
                None => return None,
            }
        } else {
            match authority.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (authority, None),
            }
        };
        let port = match port {
            None | Some("") => None,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
        };
        let is_bracketed = name.starts_with('[');
        let name = normalise(name);
        let is_address = is_bracketed || name.parse::<IpAddr>().is_ok();
        let well_formed = is_address
            || (!name.is_empty()
                && name.len() <= 253
                && name.split('.').all(|label| !label.is_empty() && label.len() <= 63)
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.'));
        well_formed.then_some(Self { name, port, is_address })
    }
}

/// Which part of the control plane a host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlHost {
    /// The zone itself, an address literal, or a configured extra host.
    Zone,
    Admin,
    Api,
}

/// Where a request goes by its host.
#[derive(Clone, Debug)]
pub enum Target {
    Control(ControlHost),
    /// An agent; `port` names a further port, `None` is the main one.
    Agent {
        route: Arc<Route>,
        port: Option<String>,
    },
    /// A name under the zone that no instance has.
    NoSuchAgent,
    /// Not a host of ours.
    Unknown,
}

/// Finds what a host leads to.
pub fn resolve(snapshot: &Snapshot, host: &Host) -> Target {
    let zone = snapshot.zone();
    if host.is_address || host.name == zone || snapshot.is_control_host(&host.name) {
        return Target::Control(ControlHost::Zone);
    }
    let label = host.name.strip_suffix(zone).and_then(|rest| rest.strip_suffix('.'));
    match label {
        Some("admin") => Target::Control(ControlHost::Admin),
        Some("api") => Target::Control(ControlHost::Api),
        Some(label) if !label.contains('.') => resolve_label(snapshot, label),
        _ => match snapshot.by_domain(&host.name) {
            Some(route) => Target::Agent { route: Arc::clone(route), port: None },
            None if label.is_some() => Target::NoSuchAgent,
            None => Target::Unknown,
        },
    }
}

/// `NAME`, `PORT--NAME` or `frontend-NAME`; an instance that is literally called so comes first.
fn resolve_label(snapshot: &Snapshot, label: &str) -> Target {
    if let Some(route) = snapshot.by_name(label) {
        return Target::Agent { route: Arc::clone(route), port: None };
    }
    if let Some((port, name)) = label.split_once("--")
        && let Some(route) = snapshot.by_name(name)
        && route.ports.contains_key(port)
    {
        return Target::Agent { route: Arc::clone(route), port: Some(port.to_owned()) };
    }
    if let Some(route) = label.strip_prefix("frontend-").and_then(|name| snapshot.by_name(name)) {
        let port = route.ports.contains_key("frontend").then(|| "frontend".to_owned());
        return Target::Agent { route: Arc::clone(route), port };
    }
    Target::NoSuchAgent
}

/// Splits `/gateway/NAME/rest` into the name in lower case and the rest, which always starts with `/`.
/// `path_and_query` may carry a query; a name with anything but letters, digits, `-` and `_` is no match.
pub fn split_gateway_path(path_and_query: &str) -> Option<(String, String)> {
    let rest = path_and_query.strip_prefix("/gateway/")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let is_name = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !is_name {
        return None;
    }
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Some((name.to_ascii_lowercase(), rest))
}

/// Whether a `return` target stays on this host: one leading slash, nothing a browser could read as an authority.
pub fn is_local_path(path: &str) -> bool {
    path.len() <= 4096
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|b| b > 0x20 && b < 0x7f && b != b'\\')
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::route::RouteState;

    fn snapshot() -> Snapshot {
        let endpoint: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut claw = Route::new("i-1", "claw", RouteState::Ready { endpoint });
        claw.ports.insert("ssh".into(), endpoint);
        let mut app = Route::new("i-2", "app", RouteState::Ready { endpoint });
        app.ports.insert("frontend".into(), endpoint);
        Snapshot::new("agents.example.com")
            .route(claw)
            .route(app)
            .route(Route::new("i-3", "frontend-odd", RouteState::Stopped))
            .route(Route::new("i-4", "odd", RouteState::Stopped))
            .domain("Claw.Example.ORG.", "claw")
            .control_host("panel.example.net")
    }

    fn kind(authority: &str) -> String {
        let Some(host) = Host::parse(authority) else { return "bad".into() };
        match resolve(&snapshot(), &host) {
            Target::Control(control) => format!("{control:?}"),
            Target::Agent { route, port } => {
                format!("{}{}", route.name, port.map_or(String::new(), |p| format!(":{p}")))
            }
            Target::NoSuchAgent => "none".into(),
            Target::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn hosts_lead_where_the_api_document_says() {
        for (authority, expected) in [
            ("agents.example.com", "Zone"),
            ("AGENTS.example.com.:7700", "Zone"),
            ("admin.agents.example.com", "Admin"),
            ("api.agents.example.com:80", "Api"),
            ("claw.agents.example.com", "claw"),
            ("CLAW.Agents.Example.Com.:7700", "claw"),
            ("ssh--claw.agents.example.com", "claw:ssh"),
            ("nope--claw.agents.example.com", "none"),
            ("frontend-claw.agents.example.com", "claw"),
            ("frontend-app.agents.example.com", "app:frontend"),
            ("frontend-odd.agents.example.com", "frontend-odd"),
            ("nobody.agents.example.com", "none"),
            ("a.claw.agents.example.com", "none"),
            ("claw.example.org", "claw"),
            ("panel.example.net:1", "Zone"),
            ("127.0.0.1:7700", "Zone"),
            ("[::1]:7700", "Zone"),
            ("[::1]", "Zone"),
            ("evil.com", "unknown"),
            ("xagents.example.com", "unknown"),
            ("localhost", "unknown"),
            ("", "bad"),
            (".", "bad"),
            ("a..b", "bad"),
            ("a b", "bad"),
            ("user@agents.example.com", "bad"),
            ("agents.example.com:x", "bad"),
            ("agents.example.com:99999", "bad"),
            ("[::1", "bad"),
            ("[::1]x", "bad"),
            ("[claw]", "bad"),
        ] {
            assert_eq!(kind(authority), expected, "{authority}");
        }
    }

    #[test]
    fn gateway_paths_split() {
        let split = |path| split_gateway_path(path).map(|(name, rest)| format!("{name} {rest}"));
        assert_eq!(split("/gateway/Claw/a/b?c=d").as_deref(), Some("claw /a/b?c=d"));
        assert_eq!(split("/gateway/claw").as_deref(), Some("claw /"));
        assert_eq!(split("/gateway/claw?x=1").as_deref(), Some("claw /?x=1"));
        assert_eq!(split("/gateway/claw//evil").as_deref(), Some("claw //evil"));
        assert_eq!(split("/gateway/../v1"), None);
        assert_eq!(split("/gateway/%2e%2e/v1"), None);
        assert_eq!(split("/gateway/"), None);
        assert_eq!(split("/gatewayx/claw"), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in "\\PC{0,80}") {
            if let Some(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.name).map(|again| again.name), Some(host.name.clone()));
                prop_assert!(!host.name.ends_with('.') && host.name == host.name.to_ascii_lowercase());
                let _ = resolve(&snapshot(), &host);
            }
        }

        #[test]
        fn case_port_and_dot_do_not_matter(upper in any::<bool>(), dot in any::<bool>(), port in any::<Option<u16>>()) {
            let mut text = String::from("claw.agents.example.com");
            if upper { text = text.to_ascii_uppercase(); }
            if dot { text.push('.'); }
            if let Some(port) = port { text = format!("{text}:{port}"); }
            prop_assert_eq!(kind(&text), "claw");
        }

        #[test]
        fn only_one_label_under_the_zone_can_be_an_agent(label in "[a-z0-9.-]{1,30}") {
            let found = kind(&format!("{label}.agents.example.com"));
            if found.starts_with("claw") {
                prop_assert!(["claw", "ssh--claw", "frontend-claw"].contains(&label.as_str()));
            }
        }

        #[test]
        fn the_rest_of_a_gateway_path_is_a_path(name in "[A-Za-z0-9_-]{1,40}", rest in "(/[a-z?/%]{0,20})?") {
            let (found, left) = split_gateway_path(&format!("/gateway/{name}{rest}")).unwrap();
            prop_assert_eq!(found, name.to_ascii_lowercase());
            prop_assert!(left.starts_with('/') && left.ends_with(rest.as_str()));
        }

        #[test]
        fn local_paths_have_no_authority(path in "\\PC{0,40}") {
            if is_local_path(&path) {
                let base = http::Uri::try_from(path.as_str());
                if let Ok(uri) = base { prop_assert!(uri.authority().is_none()); }
                prop_assert!(!path.contains('\\') && !path[1..].starts_with('/'));
            }
        }
    }

    #[test]
    fn open_redirects_are_refused() {
        for bad in [
            "",
            "//evil.com",
            "/\\evil.com",
            "https://evil.com",
            "/a\r\nb",
            "/a\tb",
            "javascript:x",
            "/\u{e9}",
        ] {
            assert!(!is_local_path(bad), "{bad:?}");
        }
        assert!(is_local_path("/") && is_local_path("/a?b=//c#d"));
    }
}
