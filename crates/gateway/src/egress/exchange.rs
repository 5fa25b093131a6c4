//! One request to a host and its answer: judged, given its credentials, sent, scrubbed, and ended when what allowed it
//! is gone. The only place where a request leaves.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::apply::{self, Prepared};
use super::bodies::{Answer, Faults, Outgoing};
use super::course::Course;
use super::leave::Leave;
use super::ports::{Ask, Caller, Judgement, Scheme};
use super::proxy::{Turned, Visit, Way};
use super::refusal::Refusal;
use super::scrub::{Patterns, Scrubber};
use super::tunnel::{self, Early};
use super::upstream::{Link, LinkKey, OutBody, locate};
use super::{clean, tls};
use crate::body::Body;
use crate::forward::asks_for_websocket;
use crate::inflight::InFlight;

/// A request that is under way.
struct Exchange<'a> {
    visit: &'a Arc<Visit>,
    caller: Caller,
    way: Way,
    ask: Ask,
    course: Arc<Course>,
    in_flight: InFlight,
}

pub(crate) async fn run(
    visit: &Arc<Visit>,
    caller: Caller,
    way: Way,
    request: Request<Incoming>,
) -> Result<Response<Body>, Turned> {
    let shared = &visit.house.shared;
    let limit = shared.limits.in_flight_per_instance;
    let Some(in_flight) = shared.in_flight.enter(Arc::clone(&caller.instance), limit) else {
        return Err(Turned::of(Refusal::Busy, &caller, &way.host));
    };
    let method = request.method().clone();
    let ask = Ask::Request {
        method: method.clone(),
        scheme: way.scheme,
        host: way.host.clone(),
        port: way.port,
        path: request.uri().path().to_owned(),
    };
    let record = match shared.judge.judge(&caller, &ask).await {
        Judgement::Allowed { record } => record,
        Judgement::Denied { code, sentence } => {
            return Err(Turned::of(Refusal::Denied { code, sentence }, &caller, &way.host));
        }
    };
    let course = Course::new(&shared.judge, record);
    let exchange = Exchange { visit, caller, way, ask, course: Arc::clone(&course), in_flight };
    let answered = Box::pin(exchange.pass_on(request)).await;
    Ok(answered.unwrap_or_else(|refusal| {
        course.refused(&refusal);
        refusal.answer(&method)
    }))
}

impl Exchange<'_> {
    async fn pass_on(self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let shared = &self.visit.house.shared;
        // A connection that is there already was judged for another request.
        if let Some(pinned) = &self.way.pinned {
            pinned.check(shared, &self.caller, &self.ask)?;
        }
        let upgrade = asks_for_websocket_of(&request).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        parts.extensions = http::Extensions::new();
        let announced =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > shared.limits.request_body) {
            return Err(Refusal::BodyTooLarge);
        }
        clean::request(&mut parts.headers, upgrade.is_some(), self.way.is_h2);
        parts.headers.remove(header::HOST);
        parts.uri = origin_form(&parts.uri).ok_or(Refusal::BadRequest("The path is malformed."))?;

        let bound = shared.keys.bound(&self.caller, &self.way.host, self.way.port);
        let prepared = apply::prepare(&mut parts, self.way.scheme, &bound.credentials).await?;
        let leave =
            self.visit.house.leaves.grant(self.caller.clone(), self.ask.clone(), prepared.keys.clone());
        let faults = Arc::new(Faults::default());
        // Where no credential is bound, a placeholder has no business in the body either.
        let is_guarded = bound.credentials.is_empty();
        let sending = async {
            let body = self.body(&mut parts, body, &prepared, &faults, is_guarded).await?;
            self.address(&mut parts)?;
            self.send(Request::from_parts(parts, body), &prepared, &faults).await
        };
        let sent = tokio::select! {
            biased;
            () = leave.ended() => Err(Refusal::NoLongerAllowed),
            sent = sending => sent,
        };
        match sent {
            Ok((response, link)) => self.complete(response, link, prepared, leave, upgrade),
            Err(refusal) => Err(faults.refusal().unwrap_or(refusal)),
        }
    }

    /// The body as it goes out: a stream, or, where it is rewritten or signed, a whole.
    async fn body(
        &self,
        parts: &mut request::Parts,
        incoming: Incoming,
        prepared: &Prepared,
        faults: &Arc<Faults>,
        is_guarded: bool,
    ) -> Result<OutBody, Refusal> {
        let limits = &self.visit.house.shared.limits;
        let signing = prepared.signing.as_ref();
        let authority = self.way.host.authority(self.way.port, self.way.scheme.default_port());
        let is_whole = !prepared.body.is_empty() || signing.is_some_and(super::sigv4::Signing::needs_body);
        if !is_whole {
            if let Some(signing) = signing {
                signing.sign(parts, &authority, None)?;
            }
            let outgoing = Outgoing::new(
                incoming,
                limits.request_body,
                Arc::clone(&self.course),
                Arc::clone(faults),
                is_guarded,
            );
            return Ok(outgoing.boxed_unsync());
        }
        let is_empty = http_body::Body::is_end_stream(&incoming);
        let collected = Limited::new(incoming, limits.rewritten_body).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                Refusal::BodyTooLarge
            } else {
                Refusal::BadRequest("The request body broke off.")
            }
        })?;
        let content_type = apply::content_type(parts);
        let body = apply::rewrite_body(collected.to_bytes(), &prepared.body, content_type.as_deref());
        self.course.add_up(body.len());
        if !is_empty {
            parts.headers.remove(header::TRANSFER_ENCODING);
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if let Some(signing) = signing {
            signing.sign(parts, &authority, Some(&body))?;
        }
        Ok(Full::new(body).map_err(|never| match never {}).boxed_unsync())
    }

    /// Says where it goes, in the way of the HTTP that is spoken.
    fn address(&self, parts: &mut request::Parts) -> Result<(), Refusal> {
        const ODD: Refusal = Refusal::BadRequest("The path is malformed.");
        let way = &self.way;
        let authority = way.host.authority(way.port, way.scheme.default_port());
        if way.is_h2 {
            parts.version = Version::HTTP_2;
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            parts.uri = format!("{}://{authority}{target}", way.scheme.as_str()).parse().map_err(|_| ODD)?;
        } else {
            parts.version = Version::HTTP_11;
            parts.headers.insert(header::HOST, HeaderValue::try_from(authority).map_err(|_| ODD)?);
        }
        Ok(())
    }

    async fn send(
        &self,
        request: Request<OutBody>,
        prepared: &Prepared,
        faults: &Faults,
    ) -> Result<(Response<Incoming>, Link), Refusal> {
        let key = LinkKey {
            scheme: self.way.scheme,
            host: self.way.host.clone(),
            port: self.way.port,
            keys: prepared.keys.clone(),
        };
        let mut request = request;
        loop {
            let (mut link, is_fresh) = match self.visit.links.take(&key).await {
                Some(link) => (link, false),
                None => (self.dial().await?, true),
            };
            match self.wait_for(&mut link, request).await? {
                Ok(response) => {
                    if is_fresh && let Link::H2(sender) = &link {
                        self.visit.links.put(key, Link::H2(sender.clone()));
                    }
                    return Ok((response, link));
                }
                // Not a byte of it went out: a connection that had ended meanwhile.
                Err(Some(unsent)) if !is_fresh => request = unsent,
                Err(_) => return Err(faults.refusal().unwrap_or(Refusal::NoAnswer)),
            }
        }
    }

    /// The answer's head, or the request if none of it was sent.
    async fn wait_for(
        &self,
        link: &mut Link,
        request: Request<OutBody>,
    ) -> Result<Result<Response<Incoming>, Option<Request<OutBody>>>, Refusal> {
        let patience = self.visit.house.shared.limits.response_timeout;
        let mut sending = std::pin::pin!(link.send(request));
        let mut seen = 0;
        loop {
            match tokio::time::timeout(patience, sending.as_mut()).await {
                Ok(Ok(response)) => return Ok(Ok(response)),
                Ok(Err(mut error)) => return Ok(Err(error.take_message())),
                // An upload that moves may take its time; the host's time begins when it is complete.
                Err(_) if self.course.bytes_up() > seen => seen = self.course.bytes_up(),
                Err(_) => return Err(Refusal::TooSlow),
            }
        }
    }

    async fn dial(&self) -> Result<Link, Refusal> {
        let house = &self.visit.house;
        let (shared, way) = (&house.shared, &self.way);
        let pinned = match &way.pinned {
            Some(pinned) => pinned.clone(),
            None => locate(shared, &self.caller, &self.ask).await?,
        };
        let stream = pinned.connect(shared.limits.connect_timeout).await?;
        let head = shared.limits.head();
        match way.scheme {
            Scheme::Http => Link::handshake(stream, way.is_h2, &house.tracker, head).await,
            Scheme::Https => {
                let protocol = if way.is_h2 { tls::H2 } else { tls::H1 };
                let offered = vec![protocol.to_vec()];
                let stream = shared.tls.connect(stream, &way.host, offered, &shared.limits).await?;
                if tls::is_h2(&stream) != way.is_h2 {
                    return Err(Refusal::NoAnswer);
                }
                Link::handshake(stream, way.is_h2, &house.tracker, head).await
            }
        }
    }

    fn complete(
        self,
        mut response: Response<Incoming>,
        link: Link,
        prepared: Prepared,
        leave: Leave,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Refusal> {
        let shared = &self.visit.house.shared;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(caller) = upgrade else { return Err(Refusal::NoAnswer) };
            let host = hyper::upgrade::on(&mut response);
            let (mut parts, _) = response.into_parts();
            parts.extensions = http::Extensions::new();
            clean::response(&mut parts.headers);
            scrub_headers(&mut parts.headers, &prepared.patterns);
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            self.course.answered(101);
            self.go_on(caller, host, prepared.patterns, leave);
            return Ok(Response::from_parts(parts, Body::empty()));
        }
        if !link.is_h2() {
            let key = LinkKey {
                scheme: self.way.scheme,
                host: self.way.host.clone(),
                port: self.way.port,
                keys: prepared.keys,
            };
            self.visit.links.put(key, link);
        }
        let (mut parts, incoming) = response.into_parts();
        if http_body::Body::size_hint(&incoming).lower() > shared.limits.response_body {
            return Err(Refusal::AnswerTooLarge);
        }
        // A reason phrase is a place for an echo that nobody needs.
        parts.extensions = http::Extensions::new();
        clean::response(&mut parts.headers);
        let scrubber = if prepared.patterns.is_empty() {
            None
        } else {
            if is_encoded(&parts.headers) && !http_body::Body::is_end_stream(&incoming) {
                return Err(Refusal::NotScrubbable);
            }
            scrub_headers(&mut parts.headers, &prepared.patterns);
            Some((Scrubber::new(prepared.patterns.clone()), prepared.patterns))
        };
        self.course.answered(parts.status.as_u16());
        let limits = &shared.limits;
        let answer = Answer::new(incoming, scrubber, self.course, leave, limits, self.in_flight);
        Ok(Response::from_parts(parts, Body::boxed(answer)))
    }

    /// A WebSocket: from here on, bytes.
    fn go_on(self, caller: OnUpgrade, host: OnUpgrade, patterns: Patterns, leave: Leave) {
        let watch = Arc::clone(&self.visit.watch);
        watch.enter_tunnel();
        let (course, in_flight) = (self.course, self.in_flight);
        let limits = self.visit.house.shared.limits.clone();
        self.visit.house.tracker.spawn(async move {
            // Both count as long as it lives.
            let _held = (in_flight, watch.serving());
            let living = std::pin::pin!(async {
                let Ok(caller) = caller.await else { return };
                let Ok(host) = host.await else { return };
                let scrubber = (!patterns.is_empty()).then(|| Scrubber::new(patterns));
                let early = Early { scrubber, ..Early::default() };
                tokio::select! {
                    () = leave.ended() => course.ended_by("no_longer_allowed"),
                    () = tokio::time::sleep(limits.total) => course.ended_by("too_long"),
                    () = tunnel::run(TokioIo::new(caller), TokioIo::new(host), early, &course, &limits) => {}
                }
            });
            watch.supervise(living, |_| {}).await;
        });
    }
}

fn asks_for_websocket_of(request: &Request<Incoming>) -> bool {
    let mut probe = Request::new(());
    *probe.method_mut() = request.method().clone();
    *probe.version_mut() = request.version();
    for name in [header::UPGRADE, header::CONNECTION] {
        for value in request.headers().get_all(&name) {
            probe.headers_mut().append(name.clone(), value.clone());
        }
    }
    request.method() == Method::GET && asks_for_websocket(&probe.into_parts().0)
}

fn origin_form(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if target == "*" {
        return Uri::try_from("*").ok();
    }
    let target = if target.starts_with('?') { format!("/{target}") } else { target.to_owned() };
    target.starts_with('/').then(|| target.parse().ok()).flatten()
}

fn is_encoded(headers: &http::HeaderMap) -> bool {
    let names = [header::CONTENT_ENCODING, header::HeaderName::from_static("grpc-encoding")];
    names.iter().flat_map(|name| headers.get_all(name)).any(|value| {
        !value
            .to_str()
            .is_ok_and(|value| value.trim().is_empty() || value.trim().eq_ignore_ascii_case("identity"))
    })
}

/// Whatever name a secret comes back under.
pub(crate) fn scrub_headers(headers: &mut http::HeaderMap, patterns: &Patterns) {
    if patterns.is_empty() {
        return;
    }
    for value in headers.values_mut() {
        let mut bytes = value.as_bytes().to_vec();
        if patterns.mask(&mut bytes) {
            *value =
                HeaderValue::from_maybe_shared(Bytes::from(bytes)).unwrap_or(HeaderValue::from_static("*"));
        }
    }
}
