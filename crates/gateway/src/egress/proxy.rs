//! Where a caller's request meets its way: who asks, and what for. Nothing is decided here but what is malformed.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, Method, Request, Response, header};
use hyper::body::Incoming;

use super::door::House;
use super::host::RemoteHost;
use super::ports::{Caller, Rebuff, Scheme};
use super::refusal::Refusal;
use super::upstream::{Links, Pinned};
use super::{connect, exchange};
use crate::body::Body;
use crate::client::Watch;

/// No token of ours is as long.
const LONGEST_TOKEN: usize = 512;

/// Where clients of model services put their token.
static API_KEYS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// A connection of a caller, and what is known of it.
pub(crate) struct Visit {
    pub(crate) house: Arc<House>,
    pub(crate) source: SocketAddr,
    pub(crate) watch: Arc<Watch>,
    pub(crate) place: Place,
    pub(crate) links: Links,
}

pub(crate) enum Place {
    /// The listener itself: each request says who asks and where it goes.
    Door,
    /// A tunnel whose HTTP we speak ourselves: caller and host are settled.
    Within { caller: Caller, way: Way },
}

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) scheme: Scheme,
    pub(crate) host: RemoteHost,
    pub(crate) port: u16,
    /// In a tunnel, its addresses: none is looked up again.
    pub(crate) pinned: Option<Pinned>,
    pub(crate) is_h2: bool,
}

/// A refusal that no judge was asked about.
pub(crate) struct Turned {
    pub(crate) refusal: Refusal,
    pub(crate) caller: Option<Caller>,
    pub(crate) host: Option<RemoteHost>,
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, caller: None, host: None }
    }
}

impl Turned {
    pub(crate) fn of(refusal: Refusal, caller: &Caller, host: &RemoteHost) -> Self {
        Self { refusal, caller: Some(caller.clone()), host: Some(host.clone()) }
    }
}

impl Visit {
    /// Answers any request. Never fails: what goes wrong becomes an answer.
    pub(crate) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let serving = self.watch.serving();
        let method = request.method().clone();
        let response = match self.route(request).await {
            Ok(response) => response,
            Err(turned) => {
                let response = turned.refusal.answer(&method);
                self.report(turned);
                response
            }
        };
        response.map(|body| body.holding(serving))
    }

    /// Tells the judge of what it was not asked about.
    pub(crate) fn report(&self, turned: Turned) {
        if matches!(turned.refusal, Refusal::Denied { .. }) {
            return;
        }
        self.house.shared.judge.rebuffed(Rebuff {
            door: self.house.door.clone(),
            source: self.source,
            caller: turned.caller,
            code: turned.refusal.code(),
            host: turned.host,
        });
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Turned> {
        match &self.place {
            Place::Door if request.method() == Method::CONNECT => {
                let caller = self.identify(request.headers()).await?;
                connect::open(self, caller, request).await
            }
            Place::Door if request.uri().authority().is_none() => self.inside(request).await,
            Place::Door => {
                let caller = self.identify(request.headers()).await?;
                let way = absolute(&request).map_err(|refusal| Turned {
                    refusal,
                    caller: Some(caller.clone()),
                    host: None,
                })?;
                exchange::run(self, caller, way, request).await
            }
            Place::Within { caller, way } => {
                if request.method() == Method::CONNECT {
                    let refusal = Refusal::BadRequest("A tunnel within a tunnel is not possible.");
                    return Err(Turned::of(refusal, caller, &way.host));
                }
                agrees(&request, way).map_err(|refusal| Turned::of(refusal, caller, &way.host))?;
                exchange::run(self, caller.clone(), way.clone(), request).await
            }
        }
    }

    /// Who asks to be passed on.
    async fn identify(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = single(headers, &header::PROXY_AUTHORIZATION).and_then(token).ok_or(Refusal::WhoAsks)?;
        self.recognise(&token).await.ok_or(Refusal::WhoAsks)
    }

    async fn recognise(&self, token: &str) -> Option<Caller> {
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return None;
        }
        self.house.shared.callers.identify(token, self.source, &self.house.door).await
    }

    /// A request for what the door itself offers.
    async fn inside(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Turned> {
        if !request.uri().path().starts_with('/') {
            return Err(Refusal::BadRequest("A path is missing.").into());
        }
        let headers = request.headers();
        let mut tokens: Vec<String> = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION]
            .iter()
            .filter_map(|name| single(headers, name).and_then(token))
            .collect();
        let keys = API_KEYS.iter().filter_map(|name| single(headers, name));
        tokens.extend(keys.map(|key| key.trim().to_owned()));
        let mut found = None;
        for token in tokens {
            found = self.recognise(&token).await;
            if found.is_some() {
                break;
            }
        }
        let caller = found.ok_or(Refusal::WhoAsksInside)?;
        for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION].iter().chain(&API_KEYS) {
            request.headers_mut().remove(name);
        }
        Ok(self.house.shared.inside.handle(caller, request).await)
    }
}

/// The value of a header that is there exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The token in `Basic agent:TOKEN` (or `TOKEN:`) or `Bearer TOKEN`.
fn token(value: &str) -> Option<String> {
    let (scheme, credential) = value.trim().split_once(' ')?;
    let credential = credential.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credential.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") || credential.len() > 2 * LONGEST_TOKEN {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credential).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some(if password.is_empty() { user } else { password }.to_owned())
}

/// Where a request in absolute form goes.
fn absolute(request: &Request<Incoming>) -> Result<Way, Refusal> {
    let uri = request.uri();
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(Refusal::BadRequest("For https, open a tunnel with CONNECT."));
        }
        _ => return Err(Refusal::BadRequest("Only http and https are passed on.")),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let (host, port) = RemoteHost::parse_authority(authority, Some(80))
        .ok_or(Refusal::BadRequest("The URL's host cannot be read, or it holds a user name."))?;
    let way = Way { scheme: Scheme::Http, host, port, pinned: None, is_h2: false };
    named_by_header(request, &way)?;
    Ok(way)
}

/// Whether a request within a tunnel is for the tunnel's host and for nobody else.
fn agrees(request: &Request<Incoming>, way: &Way) -> Result<(), Refusal> {
    let uri = request.uri();
    if let Some(scheme) = uri.scheme_str()
        && scheme != way.scheme.as_str()
    {
        return Err(Refusal::HostMismatch);
    }
    if let Some(authority) = uri.authority() {
        same(authority.as_str(), way)?;
    } else if !request.headers().contains_key(header::HOST) {
        return Err(Refusal::BadRequest("The request does not say which host it is for."));
    }
    named_by_header(request, way)
}

/// `Host` may be missing where the target names the host; it may not differ.
fn named_by_header(request: &Request<Incoming>, way: &Way) -> Result<(), Refusal> {
    for value in request.headers().get_all(header::HOST) {
        same(value.to_str().map_err(|_| Refusal::HostMismatch)?, way)?;
    }
    Ok(())
}

fn same(authority: &str, way: &Way) -> Result<(), Refusal> {
    let named = RemoteHost::parse_authority(authority, Some(way.scheme.default_port()));
    let is_same = named.is_some_and(|(host, port)| host == way.host && port == way.port);
    if is_same { Ok(()) } else { Err(Refusal::HostMismatch) }
}
