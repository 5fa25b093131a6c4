//! What `Keys` says about a host: whether it is looked into, and with which credentials.

use std::sync::Arc;

use http::{HeaderName, Method};
use ryokan_model::Secret;
use ryokan_model::policy::{Path, PathPattern};

use super::ports::Later;

/// How every placeholder begins. A request that carries one where it may not be is refused.
pub const PLACEHOLDER: &str = "ryk_cred_";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Treatment {
    /// Bytes pass untouched; the certificate that the caller sees is the host's own.
    #[default]
    Tunnel,
    /// TLS ends here and begins anew; every request is judged.
    Inspect,
}

/// What holds for one caller, host and port.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    pub treatment: Treatment,
    /// Only counts where the host is looked into, or HTTP is spoken in the clear.
    pub credentials: Vec<Arc<Credential>>,
}

/// A credential as the proxy uses it.
#[derive(Clone, Debug)]
pub struct Credential {
    pub id: Arc<str>,
    /// Changes with every rotation. Connections are never shared between revisions.
    pub revision: u64,
    /// What the sandbox holds in its place; begins with `PLACEHOLDER`.
    pub placeholder: Option<Arc<str>>,
    /// Where the placeholder is replaced.
    pub places: Places,
    /// How it goes into every request that it is good for, placeholder or not.
    pub inject: Option<Inject>,
    /// Empty: all.
    pub methods: Vec<Method>,
    /// Empty: all.
    pub paths: Vec<PathPattern>,
    /// Whether it may travel without TLS.
    pub in_the_clear: bool,
    pub source: Source,
}

#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Any header, also within `Authorization: Basic`.
    pub headers: bool,
    pub path: bool,
    pub query: bool,
    /// Content types (such as `application/json`; a parameter does not matter) of bodies, which are held back whole, up
    /// to `EgressLimits::rewritten_body`.
    pub body: Vec<String>,
}

/// Where the secret comes from.
#[derive(Clone)]
pub enum Source {
    Fixed(Secret),
    Token(Arc<dyn TokenSource>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source(…)")
    }
}

#[derive(Clone, Debug)]
pub enum Inject {
    /// `Authorization: Bearer SECRET`.
    Bearer,
    /// `Authorization: Basic base64(USER:SECRET)`; also what Git over HTTPS wants.
    Basic { user: String },
    /// `NAME: PREFIX SECRET`, where `prefix` contains its own blank if there is one.
    Header { name: HeaderName, prefix: String },
    /// `?NAME=SECRET`.
    Query { name: String },
    /// The caller signs with its placeholder; the request is signed anew.
    SigV4 { access_key: String, session_token: Option<Secret> },
}

/// No token could be got; says nothing about why to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken;

/// The current access token of OAuth client credentials. See `CachedToken`.
pub trait TokenSource: Send + Sync + 'static {
    fn token(&self) -> Later<'_, Result<Secret, NoToken>>;
}

impl Credential {
    /// Whether it is good for such a request at all.
    pub fn fits(&self, method: &Method, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.paths.is_empty()
                || plain(path).is_some_and(|path| self.paths.iter().any(|p| p.fits(path))))
    }
}

/// A path that means the same to everybody, without its query: one that is in its one form already, since it is sent on
/// as it is.
fn plain(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    (Path::parse(path).clear() == Some(path)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_whole_segments_and_hides_nothing() {
        let credential = Credential {
            id: "c".into(),
            revision: 1,
            placeholder: None,
            places: Places::default(),
            inject: None,
            methods: vec![Method::GET],
            paths: vec!["/v1/**".parse().unwrap()],
            in_the_clear: false,
            source: Source::Fixed(Secret::from("s")),
        };
        for path in ["/v1", "/v1/", "/v1/x", "/v1/x?y"] {
            assert!(credential.fits(&Method::GET, path), "{path}");
        }
        for path in ["/", "/v10", "/v1/../admin", "/v1/%2e%2E/admin", "/v1//x", "/v1\\x", "/v1/%2Fx", "/V1"] {
            assert!(!credential.fits(&Method::GET, path), "{path}");
        }
        assert!(!credential.fits(&Method::POST, "/v1"));
    }
}
