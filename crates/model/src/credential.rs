//! Credentials that agents use and never see: where each may go, how it is put into a request, and for whom.
//!
//! A sandbox holds a placeholder. The value is sealed, and leaves the server only in requests to the hosts that the
//! credential is bound to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::DomainName;
use crate::policy::PathPattern;
use crate::spec::env_name;
use crate::{Invalid, Name};

/// How every placeholder begins; what follows are 32 hexadecimal digits.
pub const PLACEHOLDER: &str = "ryk_cred_";

const MOST_HOSTS: usize = 32;
const MOST_PATHS: usize = 32;
const LONGEST: usize = 1024;

/// What a credential is, without its value and its placeholder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub kind: Kind,
    /// The only hosts that its value is ever sent to.
    pub hosts: Vec<Binding>,
    /// As in `GET`; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// All when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
    /// The instances that may use it; all of the project when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Name>,
    /// The variable by which they are given its placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// How the value is put into a request. Wherever the kind looks, a placeholder that stands there is replaced, and what
/// the request has there already is overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CredentialKind))]
pub enum Kind {
    /// Only where its placeholder stands: in headers and the query, and in bodies when `body` says so.
    Placeholder {
        #[serde(default)]
        body: bool,
    },
    /// `Authorization: Bearer VALUE`.
    Bearer,
    /// `Authorization: Basic`, the value being the password. Git over HTTPS wants this, with the user name that the
    /// forge asks for (`x-access-token`, `oauth2`, …).
    Basic { username: String },
    /// A header of this name; its value begins with `prefix`.
    Header {
        name: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// A parameter of the query.
    Query { name: String },
    /// An access token of the client credentials grant (RFC 6749 §4.4) as `Authorization: Bearer`; the value is the
    /// client's secret, and is sent to `token_url` alone.
    OauthClient {
        token_url: String,
        client_id: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        scope: String,
    },
    /// AWS Signature Version 4; the value is the secret access key. Agents sign with the placeholder, for the region and
    /// service that they mean, and the request is signed anew.
    AwsSigv4 { access_key_id: String },
}

/// A host, or with `*.` in front all names below it, and the port there: 443 when none is given. Only what begins with
/// `http://` is served without encryption, at port 80 when none is given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Binding {
    /// In ASCII, lower case, without the `*.`.
    pub host: String,
    /// Whether names below `host` are meant, and not itself.
    pub below: bool,
    pub port: Option<u16>,
    /// Whether the value may travel there without encryption.
    pub clear: bool,
}

impl Binding {
    /// Whether a request to this host (ASCII, lower case, no dot at the end) and port is meant.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let named = if self.below {
            host.strip_suffix(self.host.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.host
        };
        named && port == self.port.unwrap_or(if self.clear { 80 } else { 443 })
    }
}

impl FromStr for Binding {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = || {
            Invalid::new(
                "hosts",
                format!(
                    "`{text}` is not a host as in \"api.github.com\", \"*.example.com\" or \"10.0.0.7:8443\""
                ),
            )
        };
        let (clear, rest) = text.strip_prefix("http://").map_or((false, text), |rest| (true, rest));
        let (name, port) = match rest.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                let port: u16 = port.parse().map_err(|_| no())?;
                (name, (port > 0).then_some(port).ok_or_else(no).map(Some)?)
            }
            _ => (rest, None),
        };
        let (below, name) = name.strip_prefix("*.").map_or((false, name), |rest| (true, rest));
        let address: Option<std::net::IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        let host = match address {
            Some(_) if below => return Err(no()),
            Some(address) => address.to_string(),
            None if name == "localhost" && !below => name.to_owned(),
            None => name.parse::<DomainName>().map_err(|_| no())?.to_string(),
        };
        Ok(Self { host, below, port, clear })
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = match (self.clear, self.below) {
            (false, false) => "",
            (false, true) => "*.",
            (true, false) => "http://",
            (true, true) => "http://*.",
        };
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "{star}[{}]:{port}", self.host),
            Some(port) => write!(f, "{star}{}:{port}", self.host),
            None => write!(f, "{star}{}", self.host),
        }
    }
}

impl From<Binding> for String {
    fn from(binding: Binding) -> Self {
        binding.to_string()
    }
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Credential {
    /// Checks every field; the error names the first that is wrong by its path.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.hosts.is_empty() || self.hosts.len() > MOST_HOSTS {
            return Err(Invalid::new("hosts", format!("must name 1 to {MOST_HOSTS} hosts")));
        }
        self.kind.validate().map_err(|e| e.under("kind"))?;
        for (i, method) in self.methods.iter().enumerate() {
            if method.is_empty()
                || method.len() > 32
                || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
            {
                return Err(Invalid::new(format!("methods[{i}]"), "must be a method as in \"GET\""));
            }
        }
        if self.paths.len() > MOST_PATHS {
            return Err(Invalid::new("paths", format!("must name at most {MOST_PATHS} paths")));
        }
        if let Some(name) = &self.env {
            env_name("env", name)?;
        }
        Ok(())
    }
}

impl Kind {
    /// For lists.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Placeholder { .. } => "placeholder",
            Self::Bearer => "bearer",
            Self::Basic { .. } => "basic",
            Self::Header { .. } => "header",
            Self::Query { .. } => "query",
            Self::OauthClient { .. } => "oauth_client",
            Self::AwsSigv4 { .. } => "aws_sigv4",
        }
    }

    fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Placeholder { .. } | Self::Bearer => Ok(()),
            Self::Basic { username } => {
                word("username", username)?;
                if username.contains(':') {
                    return Err(Invalid::new(
                        "username",
                        "has a colon, which ends it in Basic authentication",
                    ));
                }
                Ok(())
            }
            Self::Header { name, prefix } => {
                let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
                    return Err(Invalid::new("name", "must be a header's name as in \"X-Api-Key\""));
                }
                let ours =
                    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"];
                if ours.contains(&name.to_ascii_lowercase().as_str())
                    || name.to_ascii_lowercase().starts_with("proxy-")
                {
                    return Err(Invalid::new("name", "is a header of the connection, not of the request"));
                }
                if prefix.len() > 64 || !prefix.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                    return Err(Invalid::new("prefix", "must have at most 64 printable ASCII characters"));
                }
                Ok(())
            }
            Self::Query { name } => word("name", name),
            Self::OauthClient { token_url, client_id, scope } => {
                let host = token_url.strip_prefix("https://").or_else(|| token_url.strip_prefix("http://"));
                let fine = host.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '#']));
                if !fine || token_url.len() > LONGEST || !token_url.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(Invalid::new(
                        "token_url",
                        "must be a URL as in \"https://auth.example.com/token\"",
                    ));
                }
                word("client_id", client_id)?;
                if scope.len() > LONGEST || !scope.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                    return Err(Invalid::new("scope", "must be scopes with spaces between them"));
                }
                Ok(())
            }
            Self::AwsSigv4 { access_key_id } => word("access_key_id", access_key_id),
        }
    }
}

fn word(field: &str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Invalid::new(field, "must have 1 to 256 printable ASCII characters without spaces"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(text: &str) -> Binding {
        text.parse().unwrap()
    }

    #[test]
    fn a_binding_covers_its_host_and_nothing_that_only_looks_like_it() {
        let exact = binding("API.GitHub.com");
        assert!(exact.covers("api.github.com", 443));
        for (host, port) in [
            ("api.github.com", 80),
            ("api.github.com", 8443),
            ("github.com", 443),
            ("x.api.github.com", 443),
            ("api.github.com.evil.example", 443),
            ("evilapi.github.com", 443),
        ] {
            assert!(!exact.covers(host, port), "{host}:{port}");
        }
        let below = binding("*.example.com:8443");
        assert!(below.covers("a.example.com", 8443) && below.covers("a.b.example.com", 8443));
        for host in ["example.com", ".example.com", "badexample.com", "example.com.evil.example"] {
            assert!(!below.covers(host, 8443), "{host}");
        }
        assert!(binding("10.0.0.7:8443").covers("10.0.0.7", 8443));
        assert!(binding("[::1]:8443").covers("::1", 8443));
        let clear = binding("http://tea.example");
        assert!(clear.clear && clear.covers("tea.example", 80) && !clear.covers("tea.example", 443));
    }

    #[test]
    fn bindings_are_read_and_written_alike() {
        for text in [
            "api.github.com",
            "*.example.com",
            "*.example.com:8443",
            "10.0.0.7:8443",
            "[2001:db8::1]:443",
            "http://*.example.com",
            "http://10.0.0.7:8080",
        ] {
            assert_eq!(binding(text).to_string(), text);
        }
        for text in [
            "",
            "*",
            "*.",
            "https://a.example",
            "a.example/x",
            "a.example:0",
            "a.example:99999",
            "*.10.0.0.7",
            "a b.example",
            "user@a.example",
        ] {
            assert!(text.parse::<Binding>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        let good = Credential {
            kind: Kind::Bearer,
            hosts: vec![binding("api.github.com")],
            methods: vec!["GET".into()],
            paths: vec!["/repos/**".parse().unwrap()],
            instances: vec![],
            env: Some("GITHUB_TOKEN".into()),
        };
        assert_eq!(good.validate(), Ok(()));
        let field = |change: &dyn Fn(&mut Credential)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.validate().unwrap_err().field
        };
        assert_eq!(field(&|c| c.hosts.clear()), "hosts");
        assert_eq!(field(&|c| c.methods.push("get".into())), "methods[1]");
        assert_eq!(field(&|c| c.env = Some("1".into())), "env");
        assert_eq!(field(&|c| c.kind = Kind::Basic { username: "a:b".into() }), "kind.username");
        for name in ["", "a b", "Host", "Proxy-Authorization", "a\r\nb"] {
            let kind = Kind::Header { name: name.into(), prefix: String::new() };
            assert_eq!(field(&|c| c.kind = kind.clone()), "kind.name", "{name}");
        }
        let oauth = |url: &str| Kind::OauthClient {
            token_url: url.into(),
            client_id: "a".into(),
            scope: String::new(),
        };
        assert_eq!(field(&|c| c.kind = oauth("ftp://a")), "kind.token_url");
    }
}
