//! `/v1/tokens`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::token::{CreateToken, CreatedToken, Token};
use ryokan_api::{Page, Paging};
use ryokan_app::Error;
use ryokan_app::identity::tokens::NewToken;
use ryokan_model::permission::Scope;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::router::limit;

async fn views(context: &Context, tokens: Vec<ryokan_store::tokens::Token>) -> Result<Vec<Token>, Error> {
    let names = context
        .app
        .store
        .read(|tx| {
            let projects: HashMap<_, _> =
                tx.projects()?.into_iter().map(|p| (p.id, p.name.to_string())).collect();
            Ok::<_, ryokan_store::StoreError>(projects)
        })
        .await?;
    let snapshot = context.app.identity();
    Ok(tokens
        .into_iter()
        .map(|t| Token {
            id: t.id,
            label: t.label,
            user: snapshot.login(t.user).unwrap_or_else(|| t.user.to_string()),
            scope: t.scope,
            project: t.project.map(|p| names.get(&p).cloned().unwrap_or_else(|| p.to_string())),
            created_at: t.created_at.0,
            expires_at: t.expires_at.map(|x| x.0),
            last_used_at: t.last_used_at.map(|x| x.0),
        })
        .collect())
}

/// Makes a token. The answer holds its secret, and so does its repetition by `Idempotency-Key`; no other does.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", params(IdempotencyHeader), request_body = CreateToken, responses((status = 201, body = CreatedToken)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateToken>,
) -> ApiResult<(StatusCode, Json<CreatedToken>)> {
    let new = NewToken {
        label: request.label,
        scope: request.scope.unwrap_or(Scope::Write.min(caller.scope)),
        project: request.project,
        expires_in: request.expires_in,
        user: request.user,
    };
    let (token, secret) = context.app.create_token(&caller, new, key).await?;
    let token =
        views(&context, vec![token]).await?.pop().ok_or_else(|| Error::internal("a token vanished"))?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token, secret: secret.expose().to_owned() })))
}

/// Lists the caller's tokens (an operator's: everybody's), oldest first.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(Paging), responses((status = 200, body = Page<Token>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<Token>>> {
    let limit = limit(paging.limit)?;
    let page = context.app.list_tokens(&caller, paging.after, limit).await?;
    Ok(Json(Page { items: views(&context, page.items).await?, next: page.next }))
}

/// Revokes a token: refused from the next request on.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id", description = "Token id")), responses((status = 204, description = "Revoked")))]
pub(crate) async fn revoke(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.revoke_token(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
