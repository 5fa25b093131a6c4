//! `/v1/credentials`: values go in and never come out.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::credential::{CreateCredential, Credential, UpdateCredential};
use ryokan_app::Error;
use ryokan_app::credentials::{CredentialChanges, NewCredential};
use ryokan_model::Secret;
use ryokan_store::credentials::CredentialRow;
use serde::Deserialize;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::router::limit;

/// Which credentials to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Of {
    /// Id or name of a project; all that you see when absent.
    project: Option<String>,
    /// At most this many, 1 to 500; 100 when absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

async fn views(context: &Context, rows: Vec<CredentialRow>) -> Result<Vec<Credential>, Error> {
    let projects = context.app.store.read(|tx| tx.projects()).await?;
    let names: HashMap<_, _> = projects.into_iter().map(|p| (p.id, p.name.to_string())).collect();
    let view = |row: CredentialRow| Credential {
        id: row.id,
        name: row.name,
        project: row.project.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string())),
        kind: row.credential.kind,
        hosts: row.credential.hosts,
        methods: row.credential.methods,
        paths: row.credential.paths,
        instances: row.credential.instances,
        env: row.credential.env,
        placeholder: row.placeholder,
        enabled: row.enabled,
        created_at: row.created_at.0,
        rotated_at: row.rotated_at.0,
        last_used_at: row.last_used_at.map(|at| at.0),
    };
    Ok(rows.into_iter().map(view).collect())
}

async fn view(context: &Context, row: CredentialRow) -> ApiResult<Json<Credential>> {
    let view = views(context, vec![row]).await?.pop();
    Ok(Json(view.ok_or_else(|| Error::internal("a credential vanished"))?))
}

/// Seals a value. Agents are given its placeholder; the value leaves only in requests to `hosts`.
#[utoipa::path(post, path = "/v1/credentials", tag = "credentials", params(IdempotencyHeader), request_body = CreateCredential, responses((status = 201, body = Credential)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateCredential>,
) -> ApiResult<(StatusCode, Json<Credential>)> {
    let new = NewCredential {
        name: request.name,
        project: request.project,
        system: request.system,
        credential: ryokan_model::credential::Credential {
            kind: request.kind,
            hosts: request.hosts,
            methods: request.methods,
            paths: request.paths,
            instances: request.instances,
            env: request.env,
        },
        value: Secret::new(request.value),
    };
    let made = context.app.create_credential(&caller, new, key).await?;
    Ok((StatusCode::CREATED, view(&context, made).await?))
}

/// Lists credentials, oldest first, without their values.
#[utoipa::path(get, path = "/v1/credentials", tag = "credentials", params(Of), responses((status = 200, body = Page<Credential>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(of): Query<Of>,
) -> ApiResult<Json<Page<Credential>>> {
    let (project, after) = (of.project.as_deref(), of.after.as_deref());
    let page = context.app.list_credentials(&caller, project, after, limit(of.limit)?).await?;
    Ok(Json(Page { items: views(&context, page.items).await?, next: page.next }))
}

/// One credential, without its value.
#[utoipa::path(get, path = "/v1/credentials/{credential}", tag = "credentials", params(("credential", description = "Id or name")), responses((status = 200, body = Credential)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(credential): Path<String>,
) -> ApiResult<Json<Credential>> {
    let row = context.app.find_credential(&caller, &credential).await?;
    view(&context, row).await
}

/// Rotates its value, changes what it is good for, switches it off or on. In force with the answer, also for what is
/// under way.
#[utoipa::path(patch, path = "/v1/credentials/{credential}", tag = "credentials", params(("credential", description = "Id or name")), request_body = UpdateCredential, responses((status = 200, body = Credential)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(credential): Path<String>,
    Body(request): Body<UpdateCredential>,
) -> ApiResult<Json<Credential>> {
    let changes = CredentialChanges {
        value: request.value.map(Secret::new),
        enabled: request.enabled,
        kind: request.kind,
        hosts: request.hosts,
        methods: request.methods,
        paths: request.paths,
        instances: request.instances,
        env: request.env.map(|env| (!env.is_empty()).then_some(env)),
    };
    let row = context.app.update_credential(&caller, &credential, changes).await?;
    view(&context, row).await
}

/// Deletes it with its value, and cuts what is under way with it.
#[utoipa::path(delete, path = "/v1/credentials/{credential}", tag = "credentials", params(("credential", description = "Id or name")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(credential): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_credential(&caller, &credential).await?;
    Ok(StatusCode::NO_CONTENT)
}
