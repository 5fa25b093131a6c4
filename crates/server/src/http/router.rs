//! All routes in one table, and what every request passes: an id, rate limits, the audit of refusals, and for writes
//! a life of their own that does not end when the client hangs up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota};
use ryokan_app::{App, Error};
use ryokan_gateway::Peer;
use ryokan_model::permission::Caller;
use tracing::Instrument as _;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, REQUEST_ID};
use super::{
    Context, approvals, audit, auth, brc, crabshack, credentials, deployments, domains, events, gateway,
    groups, heads, health, instances, keys, ledger, mandala, models, openapi, policies, projects, revocable,
    sessions, system, templates, tokens, ui, users,
};

/// Requests by credential or address. A new rate begins with fresh budgets.
pub(crate) struct RateLimiter {
    per_second: AtomicU32,
    limiter: ArcSwap<DefaultKeyedRateLimiter<String>>,
}

impl RateLimiter {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self { per_second: per_second.get().into(), limiter: ArcSwap::from_pointee(keyed(per_second)) }
    }

    /// Takes effect with the next request. The same rate again changes nothing.
    pub(crate) fn set(&self, per_second: NonZeroU32) {
        if self.per_second.swap(per_second.get(), Ordering::Relaxed) != per_second.get() {
            self.limiter.store(Arc::new(keyed(per_second)));
        }
    }

    /// Seconds to wait, when there were too many.
    fn check(&self, key: String) -> Result<(), u64> {
        let limiter = self.limiter.load();
        if limiter.len() > 50_000 {
            limiter.retain_recent();
        }
        limiter.check_key(&key).map_err(|not_until| {
            not_until.wait_time_from(governor::clock::DefaultClock::default().now()).as_secs() + 1
        })
    }
}

fn keyed(per_second: NonZeroU32) -> DefaultKeyedRateLimiter<String> {
    let burst = per_second.saturating_mul(NonZeroU32::new(10).unwrap_or(per_second));
    governor::RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst))
}

/// A page's size.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Error> {
    match asked {
        None => Ok(100),
        Some(n @ 1..=500) => Ok(n),
        Some(_) => Err(Error::invalid("limit", "must be between 1 and 500")),
    }
}

/// Every documented route.
pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(sessions::create, sessions::delete))
        .routes(routes!(sessions::current))
        .routes(routes!(users::create, users::list))
        .routes(routes!(users::get, users::update, users::delete))
        .routes(routes!(users::login_link))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::delete))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::get, projects::update, projects::delete))
        .routes(routes!(projects::registries::list))
        .routes(routes!(projects::registries::put, projects::registries::delete))
        .routes(routes!(projects::members::list))
        .routes(routes!(projects::members::put, projects::members::delete))
        .routes(routes!(projects::env::get, projects::env::patch, projects::env::put))
        .routes(routes!(projects::env::list_secrets))
        .routes(routes!(projects::env::put_secret, projects::env::delete_secret))
        .routes(routes!(projects::quotas::get, projects::quotas::put))
        .routes(routes!(ledger::balance))
        .routes(routes!(ledger::list))
        .routes(routes!(ledger::credit))
        .routes(routes!(ledger::refund))
        .routes(routes!(ledger::usage))
        .routes(routes!(ledger::invoice))
        .routes(routes!(ledger::prices, ledger::set_prices))
        .routes(routes!(ledger::caps, ledger::set_cap))
        .routes(routes!(ledger::settings, ledger::set_settings))
        .routes(routes!(ledger::verify))
        .routes(routes!(ledger::left_over))
        .routes(routes!(models::manage::create, models::manage::list))
        .routes(routes!(models::manage::get, models::manage::update, models::manage::delete))
        .routes(routes!(models::manage::refresh))
        .routes(routes!(models::manage::put_model))
        .routes(routes!(models::manage::routes))
        .routes(routes!(models::manage::put_route, models::manage::delete_route))
        .routes(routes!(models::manage::prices, models::manage::set_price))
        .routes(routes!(models::manage::all_rules, models::manage::set_all_rules))
        .routes(routes!(models::manage::project_rules, models::manage::set_project_rules))
        .routes(routes!(models::manage::project_budgets, models::manage::set_project_budget))
        .routes(routes!(models::manage::user_budgets, models::manage::set_user_budget))
        .routes(routes!(models::manage::project_usage))
        .routes(routes!(models::manage::all_usage))
        .routes(routes!(models::manage::calls))
        .routes(routes!(templates::create, templates::list))
        .routes(routes!(templates::checks))
        .routes(routes!(templates::get, templates::update, templates::delete))
        .routes(routes!(instances::manage::create, instances::manage::list))
        .routes(routes!(instances::manage::get, instances::manage::update, instances::manage::delete))
        .routes(routes!(instances::manage::stop))
        .routes(routes!(instances::manage::start))
        .routes(routes!(instances::manage::restart))
        .routes(routes!(instances::manage::events))
        .routes(routes!(instances::manage::ports))
        .routes(routes!(instances::logs::logs))
        .routes(routes!(instances::exec::run, instances::exec::attach))
        .routes(routes!(instances::stats::stats))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(instances::files::read, instances::files::write))
                .routes(routes!(deployments::upload))
                .layer(DefaultBodyLimit::disable()),
        )
        .routes(routes!(domains::add, domains::list))
        .routes(routes!(domains::get, domains::remove))
        .routes(routes!(domains::check))
        .routes(routes!(credentials::create, credentials::list))
        .routes(routes!(credentials::get, credentials::update, credentials::delete))
        .routes(routes!(deployments::revisions))
        .routes(routes!(deployments::rollback))
        .routes(routes!(deployments::create, deployments::list))
        .routes(routes!(deployments::get))
        .routes(routes!(deployments::cancel))
        .routes(routes!(deployments::logs))
        .routes(routes!(deployments::schema))
        .routes(routes!(events::list))
        .routes(routes!(policies::create, policies::list))
        .routes(routes!(policies::delete))
        .routes(routes!(policies::explain))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::get))
        .routes(routes!(approvals::grant))
        .routes(routes!(approvals::refuse))
        .routes(routes!(groups::create, groups::list))
        .routes(routes!(groups::get, groups::delete))
        .routes(routes!(groups::put_member, groups::delete_member))
        .routes(routes!(groups::of_project))
        .routes(routes!(groups::put_in_project, groups::delete_in_project))
        .routes(routes!(system::get))
        .routes(routes!(system::config))
        .routes(routes!(system::jobs))
        .routes(routes!(system::retry_job))
        .routes(routes!(system::reconcilers))
        .routes(routes!(gateway::authorize))
}

pub(crate) fn router(context: Context) -> Router {
    let (router, _) = routes().split_for_parts();
    let description: Arc<str> = openapi::description().to_pretty_json().unwrap_or_default().into();
    let serve_description =
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], description.to_string()) });
    let router = router
        .route("/v1/openapi.json", serve_description)
        .merge(crabshack::router())
        .merge(brc::router())
        .merge(mandala::router())
        .merge(models::router())
        .merge(ui::router())
        .fallback(|| async { ApiError(Error::not_found("page", "here")) })
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(1024 * 1024))
        .layer(from_fn_with_state(context.clone(), answer));
    brc::around(router, &context).layer(from_fn_with_state(context.clone(), around)).with_state(context)
}

fn method_not_allowed() -> Response {
    let mut response =
        ApiError(Error::invalid("", "this method is not allowed here; `/v1/openapi.json` lists what is"))
            .into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// What every request passes, whatever comes of it.
async fn around(State(context): State<Context>, request: Request, next: Next) -> Response {
    let id = format!("{:016x}", u64::from_be_bytes(context.app.nonce()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id = %id, %method, path = %path);
    let (parts, body) = request.into_parts();
    let mut response = match heads::too_large(&parts) {
        Some(refused) => refused,
        None => {
            let request = Request::from_parts(parts, body);
            REQUEST_ID.scope(id.clone(), next.run(request)).instrument(span).await
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-request-id", HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-")));
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Who asks, how often, and a life of its own for what writes. A wallet's request has been verified by then.
async fn answer(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    models::take_api_key(&mut request);
    let dialect = models::dialect_of(&path, request.headers());
    let address = request.extensions().get::<Peer>().map(|p| p.ip.to_string()).unwrap_or_default();
    let secure = request.extensions().get::<Peer>().is_some_and(|p| p.secure);
    // A credential that counts has a budget of its own; everything else shares its address's.
    let signed = request.extensions().get::<auth::Identity>().cloned();
    let identity =
        signed.unwrap_or_else(|| auth::identify(request.headers(), &method, &address, secure, &context));
    let mut caller = identity.caller().cloned();
    request.extensions_mut().insert(identity.clone());
    let key = caller.as_ref().map_or_else(|| format!("address:{address}"), |c| format!("user:{}", c.user));
    if let Err(retry_after) = context.rate.check(key) {
        let message = format!("too many requests; wait {retry_after} s");
        let error = Error::TooManyRequests { message, retry_after };
        return match dialect {
            Some(dialect) => models::refuse(&error, dialect),
            None => ApiError(error).into_response(),
        };
    }
    // A command over a WebSocket begins as a `GET`.
    let upgrade = request.headers().contains_key(header::UPGRADE);
    // A call of a model ends with its client, which has to pay for what is made; its account is closed all the same.
    let read_only = dialect.is_some() || matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let started = std::time::Instant::now();
    let asked = caller.clone();
    let response = if read_only && !upgrade {
        next.run(request).await
    } else {
        // A client that hangs up must stop neither a write half-way nor the record of its refusal.
        let id = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
        if let Some(caller) = &mut caller {
            caller.request_id = Some(id.clone());
        }
        let app = context.app.clone();
        let action = format!("{method} {path}");
        let work = async move {
            let response = next.run(request).await;
            if let Some(caller) = caller {
                record_refusal(&app, &caller, action, &path, response.status()).await;
            }
            response
        };
        match context.writes.spawn(REQUEST_ID.scope(id, work).in_current_span()).await {
            Ok(response) => response,
            Err(error) => ApiError(Error::internal(format!("a handler panicked: {error}"))).into_response(),
        }
    };
    // A token that was a moment old is known by now.
    let response = match asked.or_else(|| identity.again(&context.app, &address)) {
        Some(caller) => revocable::bind(response, &context.app, caller),
        None => response,
    };
    let status = response.status();
    metrics::counter!("ryokan_api_requests_total", "method" => label(&method), "status" => status.as_u16().to_string()).increment(1);
    metrics::histogram!("ryokan_api_seconds").record(started.elapsed().as_secs_f64());
    if started.elapsed() > Duration::from_secs(5) && !read_only {
        tracing::info!(%status, seconds = started.elapsed().as_secs(), "a slow write");
    }
    response
}

/// A method for the metrics. Clients may make up methods, and each would be a series for ever.
fn label(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.iter().position(|known| known == method).map_or("other", |at| NAMES[at])
}

/// What a known caller tried and was refused goes into the audit; strangers only into the throttle and the metrics.
async fn record_refusal(app: &App, caller: &Caller, action: String, path: &str, status: StatusCode) {
    let reason = match status {
        StatusCode::FORBIDDEN => Error::Forbidden("not allowed".into()),
        StatusCode::NOT_FOUND => Error::not_found("thing", path),
        _ => return,
    };
    app.record_denied(caller, action, &reason).await;
}
