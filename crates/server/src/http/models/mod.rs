//! The model API in the dialects of its clients: OpenAI's and Anthropic's. Thin: who calls and for which project is
//! decided here, all else by the gateway. Errors are in the dialect of the route; these routes are not in our description,
//! since they are described elsewhere.

pub(crate) mod manage;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use ryokan_app::Error;
use ryokan_gateway::models::{Dialect, Endpoint, Fault, Kind};
use ryokan_model::models::{Snapshot, Subject};
use serde_json::{Value, json};

use super::Context;
use super::auth::Auth;
use super::error::{self, ApiError};
use crate::models::fault;

/// Of a request with images.
const LARGEST: usize = 32 * 1024 * 1024;
const API_KEY: &str = "x-api-key";

pub(super) fn router() -> Router<Context> {
    Router::new()
        .route("/v1/chat/completions", post(call))
        .route("/v1/embeddings", post(call))
        .route("/v1/responses", post(call))
        .route("/v1/messages", post(call))
        .route("/v1/messages/count_tokens", post(call))
        .layer(DefaultBodyLimit::max(LARGEST))
        .route("/v1/models", get(list))
        // Names of models may have slashes in them.
        .route("/v1/models/{*id}", get(one))
}

/// The same for instances, at the door of their network: who asks is known, and told by an extension.
pub(crate) fn at_doors(context: Context) -> Router {
    Router::new().merge(router()).with_state(context)
}

/// Whether a path is of this API, whose clients expect errors of their own dialect.
pub(super) fn dialect_of(path: &str, headers: &HeaderMap) -> Option<Dialect> {
    match Endpoint::of_path(path) {
        Some(endpoint) => Some(endpoint.dialect()),
        None if path == "/v1/models" || path.starts_with("/v1/models/") => {
            let anthropic = headers.contains_key("anthropic-version");
            Some(if anthropic { Dialect::Anthropic } else { Dialect::Openai })
        }
        None => None,
    }
}

/// Anthropic's clients send the token in a header of its own.
pub(super) fn take_api_key(request: &mut Request) {
    if dialect_of(request.uri().path(), request.headers()).is_none()
        || request.headers().contains_key(AUTHORIZATION)
    {
        return;
    }
    let key = request.headers_mut().remove(API_KEY);
    let bearer =
        key.as_ref().and_then(|key| HeaderValue::try_from(format!("Bearer {}", key.to_str().ok()?)).ok());
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
}

/// An error of ours in the dialect of the route.
pub(super) fn refuse(error: &Error, dialect: Dialect) -> Response {
    error::log(error);
    let mut response = fault(error).into_response(dialect).map(Body::new);
    error::advise(error, &mut response);
    response
}

/// Who calls, for which project: the one of `OpenAI-Project`, else the token's, else the caller's own.
async fn subject(
    context: &Context,
    auth: Result<Auth, ApiError>,
    headers: &HeaderMap,
) -> Result<Subject, Error> {
    let Auth(caller) = auth.map_err(|ApiError(error)| error)?;
    let named = headers.get("x-ryokan-project").or(headers.get("openai-project"));
    let named = named.map(|name| name.to_str().map_err(|_| Error::invalid("OpenAI-Project", "is no name")));
    context.app.model_subject(&caller, named.transpose()?).await
}

async fn call(
    State(context): State<Context>,
    door: Option<Extension<Subject>>,
    auth: Result<Auth, ApiError>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(endpoint) = Endpoint::of_path(parts.uri.path()) else {
        return ApiError(Error::not_found("page", "here")).into_response();
    };
    let dialect = endpoint.dialect();
    let subject = match door {
        Some(Extension(subject)) => subject,
        None => match subject(&context, auth, &parts.headers).await {
            Ok(subject) => subject,
            Err(error) => return refuse(&error, dialect),
        },
    };
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        let message = format!("the body is larger than {LARGEST} bytes, or broke off");
        return Fault::new(Kind::TooLarge, message).into_response(dialect).map(Body::new);
    };
    context.models.call(&subject, endpoint, &parts.headers, body).await.map(Body::new)
}

/// All names that a call may use: routes, models, and models of one provider.
fn names(snapshot: &Snapshot) -> Vec<(String, Vec<&ryokan_model::models::Offer>)> {
    let offers = || snapshot.offers.values().flatten();
    let find = |provider: &str, model: &str| {
        offers().find(|offer| offer.provider.name == provider && offer.model == model).map(|offer| &**offer)
    };
    let routes = snapshot.routes.iter().map(|(name, candidates)| {
        (name.clone(), candidates.iter().filter_map(|c| find(&c.provider, &c.model)).collect::<Vec<_>>())
    });
    let routes: Vec<_> = routes.filter(|(_, offers)| !offers.is_empty()).collect();
    let models = snapshot.offers.iter().filter(|(name, _)| !snapshot.routes.contains_key(*name));
    let models = models.map(|(name, offers)| (name.clone(), offers.iter().map(|o| &**o).collect()));
    routes.iter().cloned().chain(models).collect()
}

fn view(name: &str, offers: &[&ryokan_model::models::Offer], dialect: Dialect) -> Value {
    match dialect {
        Dialect::Anthropic => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        }
        Dialect::Openai => {
            let first = offers.first();
            let owner = first.map_or("", |offer| offer.provider.name.as_str());
            let context = offers.iter().filter_map(|offer| offer.can.context).max();
            let local = offers.iter().any(|offer| offer.provider.local);
            json!({"id": name, "object": "model", "created": 0, "owned_by": owner, "context_length": context, "local": local})
        }
    }
}

async fn list(
    State(context): State<Context>,
    door: Option<Extension<Subject>>,
    auth: Result<Auth, ApiError>,
    headers: HeaderMap,
) -> Response {
    let dialect = dialect_of("/v1/models", &headers).unwrap_or(Dialect::Openai);
    if let (None, Err(ApiError(error))) = (door, auth) {
        return refuse(&error, dialect);
    }
    let snapshot = context.app.models_snapshot();
    let data: Vec<Value> =
        names(&snapshot).iter().map(|(name, offers)| view(name, offers, dialect)).collect();
    axum::Json(match dialect {
        Dialect::Openai => json!({"object": "list", "data": data}),
        Dialect::Anthropic => {
            let end = |at: Option<&Value>| at.map_or(Value::Null, |model| model["id"].clone());
            let (first, last) = (end(data.first()), end(data.last()));
            json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        }
    })
    .into_response()
}

async fn one(
    State(context): State<Context>,
    door: Option<Extension<Subject>>,
    auth: Result<Auth, ApiError>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let dialect = dialect_of("/v1/models", &headers).unwrap_or(Dialect::Openai);
    if let (None, Err(ApiError(error))) = (door, auth) {
        return refuse(&error, dialect);
    }
    let snapshot = context.app.models_snapshot();
    let found = names(&snapshot).into_iter().find(|(name, _)| *name == id);
    let of_one = || {
        let (provider, model) = id.split_once('/')?;
        let offer = snapshot.offers.get(model)?.iter().find(|offer| offer.provider.name == provider)?;
        Some((id.clone(), vec![&**offer]))
    };
    match found.or_else(of_one) {
        Some((name, offers)) => axum::Json(view(&name, &offers, dialect)).into_response(),
        None => refuse(&Error::not_found("model", id), dialect),
    }
}
