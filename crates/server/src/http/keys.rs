//! `/v1/users/{user}/keys`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::key::{CreateKey, Key};
use ryokan_app::identity::keys::NewIdentityKey;
use ryokan_store::identity_keys::IdentityKey;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader};

fn view(key: IdentityKey) -> Key {
    Key {
        id: key.id,
        kind: key.kind,
        key: key.public_key,
        label: key.label,
        created_at: key.created_at.0,
        last_used_at: key.last_used_at.map(|at| at.0),
    }
}

/// Gives an account a key to prove itself with. Its owner adds the key's own signature; an operator needs none.
#[utoipa::path(post, path = "/v1/users/{user}/keys", tag = "users", params(("user", description = "`me`, id or login"), IdempotencyHeader), request_body = CreateKey, responses((status = 201, body = Key)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateKey>,
) -> ApiResult<(StatusCode, Json<Key>)> {
    let new =
        NewIdentityKey { kind: request.kind, key: request.key, label: request.label, proof: request.proof };
    let key = context.app.add_identity_key(&caller, &user, new, key).await?;
    Ok((StatusCode::CREATED, Json(view(key))))
}

/// Lists an account's keys, oldest first; there are never more than a page.
#[utoipa::path(get, path = "/v1/users/{user}/keys", tag = "users", params(("user", description = "`me`, id or login")), responses((status = 200, body = Page<Key>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
) -> ApiResult<Json<Page<Key>>> {
    let keys = context.app.list_identity_keys(&caller, &user).await?;
    Ok(Json(Page { items: keys.into_iter().map(view).collect(), next: None }))
}

/// Takes a key away: refused from the next request on.
#[utoipa::path(delete, path = "/v1/users/{user}/keys/{key}", tag = "users", params(("user", description = "`me`, id or login"), ("key", description = "Id, or the key itself")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((user, key)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.remove_identity_key(&caller, &user, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
