//! `POST /api/v1/register`, as `MandalaNode` has it: an account for the identity key that signed the request.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{BrcIdentity, refusal};
use crate::http::Context;
use crate::http::error::ApiError;
use crate::http::extract::PeerAddress;

pub(super) async fn register(
    State(context): State<Context>,
    PeerAddress(address): PeerAddress,
    identity: Option<Extension<BrcIdentity>>,
) -> Result<Response, ApiError> {
    let Some(Extension(identity)) = identity else {
        let why = "only a request that is signed by an identity key (BRC-104) can register it";
        return Ok(refusal(StatusCode::UNAUTHORIZED, "unauthenticated", why));
    };
    // Whoever is known already makes nothing.
    if context.app.identity_caller(&identity.key, &address).is_none() {
        context.wallets.admit(&address)?;
    }
    let registered = context.app.register_identity(&identity.key, &address).await?;
    // Looked at last: clients send their certificates beside their first request, and neither may miss the other.
    let email = context.wallets.sessions().email(&identity.session);
    if let Some(email) = email {
        context.app.certified_email(&identity.key, &email).await?;
    }
    let message = if registered.created { "User registered" } else { "User already registered" };
    Ok(Json(json!({"message": message, "userCount": registered.user_count})).into_response())
}
