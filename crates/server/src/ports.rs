//! What the gateway asks of us, answered from memory: the API behind its hosts, credentials from the snapshot, the
//! clock, the meter. And the reconciler that turns rows into the gateway's routes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use ::http::{HeaderName, HeaderValue, Request};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use ryokan_app::background::{Report, Simple};
use ryokan_app::domains::ServedDomain;
use ryokan_app::instances::routes::{RouteChanges, RouteSource, RouteSources};
use ryokan_app::{App, Error};
use ryokan_gateway as gateway;
use ryokan_gateway::{
    Authenticator, Body, ControlPlane, Meter, Peer, ResponseFuture, Route, RouteState, Snapshot, Usage,
    Verdict,
};
use ryokan_model::billing::Suspension;
use ryokan_model::instance::State;
use ryokan_model::permission::{Caller, Role, Scope};
use ryokan_model::spec::{Access, OriginPolicy, UpstreamAuth};
use ryokan_model::{InstanceId, ProjectId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// The axum router behind the zone's own hosts.
///
/// The gateway runs on threads of its own, one a core; what the API does is handed to the main runtime, so that a heavy
/// request never holds up an agent's.
pub(crate) struct Api {
    pub(crate) app: Arc<App>,
    pub(crate) router: axum::Router,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) requests: TaskTracker,
}

impl ControlPlane for Api {
    fn use_ticket(&self, nonce: [u8; 16]) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            match self.app.use_ticket(nonce).await {
                Ok(first) => first,
                Err(error) => {
                    tracing::warn!(error = %error, "a ticket cannot be used up; refused");
                    false
                }
            }
        })
    }

    fn handle(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture<'_> {
        let router = self.router.clone();
        let answer = async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer);
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            response.map(Body::boxed)
        };
        // A client that hangs up ends a read; writes live on by themselves.
        let task = AbortOnDrop(self.requests.spawn_on(answer, &self.runtime));
        Box::pin(async move {
            match task.await {
                Ok(response) => response,
                Err(error) => {
                    tracing::error!(error = %error, "a request's task failed");
                    let mut response =
                        ::http::Response::new(Body::full("the server failed; its log has more\n"));
                    *response.status_mut() = ::http::StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        })
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks credentials by the identity snapshot.
pub(crate) struct Credentials(pub(crate) Arc<App>);

impl Credentials {
    fn judge(caller: Option<Caller>, route: &Route) -> Verdict {
        let Some(caller) = caller else { return Verdict::NotAuthenticated };
        let Ok(project) = route.owner_hint.parse::<ProjectId>() else { return Verdict::Unknown };
        // Whoever talks to an agent makes it act: that is more than looking, whatever the credential's scope.
        let enough = caller.role_in(project).is_some_and(|role| role >= Role::Developer);
        match caller.may(Scope::Read, project) {
            Ok(()) if enough => Verdict::Allowed { user: caller.login, credential: caller.credential },
            _ => Verdict::Unknown,
        }
    }
}

impl Authenticator for Credentials {
    fn bearer(&self, token: &str, address: IpAddr, route: &Route) -> Verdict {
        Self::judge(self.0.bearer(token, &address.to_string()), route)
    }

    fn refused(&self, token: &str, address: IpAddr) -> Option<u64> {
        match self.0.refuse_bearer(token, &address.to_string()) {
            Err(Error::TooManyRequests { retry_after, .. }) => Some(retry_after),
            _ => None,
        }
    }

    fn is_secret(&self, text: &str) -> bool {
        self.0.is_admin_secret(text)
    }

    fn agent_session(&self, user: &str, session: &str, route: &Route) -> Verdict {
        let caller = self.0.renewed(&format!("session:{session}"));
        Self::judge(caller.filter(|caller| caller.user.to_string() == user), route)
    }

    fn dashboard_session(&self, cookie: &str, route: &Route) -> Verdict {
        Self::judge(self.0.authenticate_session(cookie, "").map(|(caller, _)| caller), route)
    }

    fn is_still_good(&self, credential: &str, route: &Route) -> bool {
        matches!(Self::judge(self.0.renewed(credential), route), Verdict::Allowed { .. })
    }
}

/// Counts into the process's metrics; billing reads the same figures in a later step.
///
/// The metrics keep a counter for each instance that ever had a request; so does this, to find them at once.
#[derive(Default)]
pub(crate) struct Counters(RwLock<HashMap<String, Traffic>>);

/// What is counted of one instance.
struct Traffic {
    requests: metrics::Counter,
    bytes_in: metrics::Counter,
    bytes_out: metrics::Counter,
}

impl Traffic {
    fn of(instance_id: &str) -> Self {
        let labels = [("instance", instance_id.to_owned())];
        Self {
            requests: metrics::counter!("ryokan_gateway_requests_total", &labels),
            bytes_in: metrics::counter!("ryokan_gateway_in_bytes_total", &labels),
            bytes_out: metrics::counter!("ryokan_gateway_out_bytes_total", &labels),
        }
    }

    fn add(&self, usage: Usage) {
        self.requests.increment(usage.requests);
        self.bytes_in.increment(usage.bytes_in);
        self.bytes_out.increment(usage.bytes_out);
    }
}

impl Meter for Counters {
    fn record(&self, instance_id: &str, usage: Usage) {
        if let Some(traffic) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(instance_id) {
            return traffic.add(usage);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(instance_id.to_owned()).or_insert_with(|| Traffic::of(instance_id)).add(usage);
    }
}

/// The app's clock as the gateway wants it.
pub(crate) struct WallClock(pub(crate) Arc<dyn ryokan_model::Clock>);

impl gateway::Clock for WallClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(self.0.now().0).unwrap_or(0))
    }
}

/// Keeps the gateway's routes equal to the rows. While the database is away the last snapshot is served.
pub(crate) async fn keep_routes(app: Arc<App>, table: Arc<gateway::RouteTable>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(10);
    let mut sources = RouteSources::new(&app);
    let mut domain_changes = app.store.subscribe();
    let (mut names, mut domains, mut domains_due) = (BTreeMap::new(), Vec::new(), true);
    let report = Report::new("routes");
    let mut compare = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    compare.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let started = app.clock.now();
        let mut changes = RoutesDue::default();
        let outcome = loop {
            if !sources.is_behind() {
                break Ok(i64::try_from(sources.left_out()).unwrap_or(i64::MAX));
            }
            match sources.look(&app).await {
                Ok(some) => changes.add(some, &app.settings.public_url),
                Err(error) => {
                    tracing::warn!(error = %error, "routes cannot be refreshed; the last ones are served");
                    break Err(error);
                }
            }
        };
        let outcome = if domains_due {
            match app.served_domains().await {
                Ok(now) => {
                    changes.other_domains = domains != now;
                    (domains, domains_due) = (now, false);
                    outcome
                }
                Err(error) => {
                    tracing::warn!(error = %error, "custom domains cannot be refreshed; the last ones are served");
                    outcome.and(Err(error))
                }
            }
        } else {
            outcome
        };
        changes.apply(&app, &table, &mut names, &domains);
        note_served(&app, &names, &mut domains).await;
        // A database that hangs must not hold up the stop.
        tokio::select! {
            () = stop.cancelled() => return,
            () = report.finished(&app, started, outcome) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            more = sources.changed() => if !more { return },
            more = domain_changes.wait_for("domains") => if more { domains_due = true } else { return },
            _ = compare.tick() => {
                sources.compare();
                domains_due = true;
            }
        }
    }
}

/// What is to be changed in the routes in one go.
#[derive(Default)]
struct RoutesDue {
    /// With the version of the row.
    changed: BTreeMap<InstanceId, (i64, Route)>,
    gone: BTreeSet<InstanceId>,
    /// Whether custom domains are other ones than in the last snapshot.
    other_domains: bool,
}

impl RoutesDue {
    /// What is said later holds.
    fn add(&mut self, changes: RouteChanges, public_url: &str) {
        for source in changes.changed {
            self.gone.remove(&source.row.id);
            self.changed.insert(source.row.id, (source.row.version, route(source, public_url)));
        }
        for id in changes.gone {
            self.changed.remove(&id);
            self.gone.insert(id);
        }
    }

    /// Makes the next snapshot and tells who waits for it. `names` are those of the instances that are served.
    fn apply(
        self,
        app: &App,
        table: &gateway::RouteTable,
        names: &mut BTreeMap<InstanceId, String>,
        domains: &[ServedDomain],
    ) {
        if self.changed.is_empty() && self.gone.is_empty() && !self.other_domains {
            return;
        }
        let last = table.load();
        let any_gone = self.gone.iter().filter(|id| names.remove(id).is_some()).count() > 0;
        let mut next = if any_gone {
            let mut next = Snapshot::new(&app.settings.zone);
            let kept = names.values().filter_map(|name| last.by_name(name));
            kept.for_each(|route| next.insert(Route::clone(route)));
            next
        } else {
            Snapshot::clone(&last)
        };
        let mut versions = Vec::with_capacity(self.changed.len());
        for (id, (version, route)) in self.changed {
            names.entry(id).or_insert_with(|| route.name.to_ascii_lowercase());
            next.insert(route);
            versions.push((id, version));
        }
        // By id, so that a domain never leads to a later instance of the same name.
        let served =
            domains.iter().filter_map(|d| Some((d.domain.as_str(), names.get(&d.instance)?.as_str())));
        next.set_domains(served);
        table.store(next);
        app.served.send_modify(|served| {
            for id in &self.gone {
                served.remove(id);
            }
            served.extend(versions);
        });
    }
}

/// Marks domains that this gateway has just begun to serve. What fails is tried again at the next look.
async fn note_served(app: &App, names: &BTreeMap<InstanceId, String>, domains: &mut [ServedDomain]) {
    let is_fresh = |d: &ServedDomain| !d.active && names.contains_key(&d.instance);
    let fresh: Vec<_> =
        domains.iter().filter(|d| is_fresh(d)).map(|d| (d.domain.clone(), d.instance)).collect();
    if fresh.is_empty() {
        return;
    }
    match app.domains_are_served(fresh).await {
        Ok(()) => domains.iter_mut().filter(|d| is_fresh(d)).for_each(|d| d.active = true),
        Err(error) => {
            tracing::warn!(error = %error, "that custom domains are served cannot be written down; trying again");
        }
    }
}

/// Keeps callers' snapshot fresh when another server has changed credentials.
pub(crate) async fn keep_identity(app: Arc<App>, stop: CancellationToken) {
    let reconciler = Simple {
        name: "identity",
        topics: &["users", "tokens", "sessions", "projects", "groups"],
        every: Duration::from_secs(30),
        // Nothing is ever left over: a snapshot is read whole or not at all.
        once: |app| Box::pin(async move { app.refresh_identity().await.map(|()| 0) }),
    };
    reconciler.run(app, stop).await;
}

/// Keeps what agents may use in step with the database, whichever server changed it.
pub(crate) async fn keep_keyring(app: Arc<App>, stop: CancellationToken) {
    let reconciler = Simple {
        name: "keyring",
        topics: &["credentials", "projects"],
        every: Duration::from_secs(30),
        // Nothing is ever left over: a snapshot is read whole or not at all.
        once: |app| Box::pin(async move { app.refresh_keyring().await.map(|()| 0) }),
    };
    reconciler.run(app, stop).await;
}

fn route(source: RouteSource, public_url: &str) -> Route {
    let RouteSource { row, upstream_secret } = source;
    let endpoint: Option<SocketAddr> =
        row.spec.gateway_port().and_then(|port| row.endpoints.get(&port.name)).copied();
    let state = match (row.state, endpoint) {
        (state, _) if row.suspended.is_some() && state != State::Deleting => {
            RouteState::Suspended(gateway::Suspended {
                reason: row.suspended.map_or("", Suspension::as_str),
                project: row.project.to_string(),
                pay: format!("{public_url}/projects/{}/billing", row.project),
            })
        }
        (State::Ready, Some(endpoint)) => RouteState::Ready { endpoint },
        (State::Unhealthy, Some(endpoint)) => RouteState::Unhealthy { endpoint },
        (State::Ready | State::Unhealthy, None) => {
            RouteState::Failed { reason: "It has no port that could be opened in a browser.".into() }
        }
        (State::Pending | State::Building, _) => RouteState::Pending,
        (State::Starting, _) => RouteState::Starting,
        (State::Sleeping, _) => RouteState::Sleeping,
        (State::Stopping, _) => RouteState::Stopping,
        (State::Stopped, _) => RouteState::Stopped,
        // Strangers may look at a public agent; why it failed is for its owner, in the API.
        (State::Failed, _) => RouteState::Failed {
            reason: "Its owner finds out why with `ryokan inspect` and `ryokan logs`.".into(),
        },
        (State::Deleting, _) => RouteState::Deleting,
    };
    let policy = &row.spec.gateway;
    let mut route = Route::new(row.id.to_string(), row.name.as_str(), state);
    route.owner_hint = row.project.to_string();
    route.access = match policy.access {
        Access::Public => gateway::Access::Public,
        Access::Token => gateway::Access::Token,
        Access::Private => gateway::Access::Private,
    };
    let secret = || gateway::Secret::new(upstream_secret.as_ref().map_or("", |s| s.expose()));
    route.upstream_auth = match &policy.upstream_auth {
        UpstreamAuth::Bearer { .. } => gateway::UpstreamAuth::Bearer { token: secret() },
        UpstreamAuth::Basic { user, .. } => {
            gateway::UpstreamAuth::Basic { user: user.clone(), password: secret() }
        }
        UpstreamAuth::Query { parameter, .. } => {
            gateway::UpstreamAuth::Query { name: parameter.clone(), value: secret() }
        }
        UpstreamAuth::TrustedProxy { user_header, headers } => match HeaderName::try_from(user_header) {
            Ok(user_header) => gateway::UpstreamAuth::TrustedProxy {
                user_header,
                headers: headers
                    .iter()
                    .filter_map(|(n, v)| {
                        Some((HeaderName::try_from(n).ok()?, HeaderValue::try_from(v).ok()?))
                    })
                    .collect(),
                identity: None,
            },
            Err(_) => gateway::UpstreamAuth::None,
        },
        UpstreamAuth::None | UpstreamAuth::TokenInFrame | UpstreamAuth::SignedJwt { .. } => {
            gateway::UpstreamAuth::None
        }
    };
    route.origin = match &policy.origin {
        OriginPolicy::Keep => gateway::OriginPolicy::Keep,
        OriginPolicy::Loopback => gateway::OriginPolicy::RewriteLoopback,
        OriginPolicy::Set(origin) => {
            HeaderValue::try_from(origin).map_or(gateway::OriginPolicy::Keep, gateway::OriginPolicy::Set)
        }
        OriginPolicy::Remove => gateway::OriginPolicy::Remove,
    };
    route.websocket = policy.websocket;
    route.ports = row.endpoints.into_iter().collect();
    route
}

/// A stream that ends when the server stops, so that an open one does not hold up the drain.
pub(crate) fn until_stop<S: futures_util::Stream + Send>(
    stream: S,
    stop: CancellationToken,
) -> impl futures_util::Stream<Item = S::Item> + Send {
    stream.take_until(stop.cancelled_owned())
}
