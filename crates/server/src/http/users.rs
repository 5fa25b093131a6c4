//! `/v1/users`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::user::{CreateUser, LoginLink, UpdateUser, User};
use ryokan_api::{Page, Paging};
use ryokan_app::Error;
use ryokan_app::identity::users::{NewUser, UserChanges};
use ryokan_model::Secret;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::router::limit;

pub(crate) async fn view(context: &Context, user: ryokan_store::users::User) -> Result<User, Error> {
    Ok(User {
        default_project: context.app.default_project_name(user.id).await?,
        id: user.id,
        login: user.login,
        name: user.name,
        operator: user.operator,
        has_password: user.password_hash.is_some(),
        disabled: user.disabled,
        email: user.email,
        created_at: user.created_at.0,
    })
}

/// Makes an account with a personal project. Operators only.
#[utoipa::path(post, path = "/v1/users", tag = "users", params(IdempotencyHeader), request_body = CreateUser, responses((status = 201, body = User)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateUser>,
) -> ApiResult<(StatusCode, Json<User>)> {
    let new = NewUser {
        login: request.login,
        name: request.name,
        password: request.password.map(Secret::new),
        operator: request.operator,
    };
    let user = context.app.create_user(&caller, new, key).await?;
    Ok((StatusCode::CREATED, Json(view(&context, user).await?)))
}

/// Lists accounts by login. Operators only.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(Paging), responses((status = 200, body = Page<User>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<User>>> {
    let limit = limit(paging.limit)?;
    let page = context.app.list_users(&caller, paging.after, limit).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for user in page.items {
        items.push(view(&context, user).await?);
    }
    Ok(Json(Page { items, next: page.next }))
}

/// `me`, an id or a login. Others exist only for operators.
#[utoipa::path(get, path = "/v1/users/{user}", tag = "users", params(("user", description = "`me`, id or login")), responses((status = 200, body = User)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
) -> ApiResult<Json<User>> {
    let user = context.app.get_user(&caller, &user).await?;
    Ok(Json(view(&context, user).await?))
}

/// Changes a name or password; operators also role and lock.
#[utoipa::path(patch, path = "/v1/users/{user}", tag = "users", params(("user", description = "`me`, id or login")), request_body = UpdateUser, responses((status = 200, body = User)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
    Body(request): Body<UpdateUser>,
) -> ApiResult<Json<User>> {
    let changes = UserChanges {
        name: request.name,
        password: request.password.map(Secret::new),
        current_password: request.current_password.map(Secret::new),
        operator: request.operator,
        disabled: request.disabled,
    };
    let user = context.app.update_user(&caller, &user, changes).await?;
    Ok(Json(view(&context, user).await?))
}

/// Removes an account that owns no instances. Operators only.
#[utoipa::path(delete, path = "/v1/users/{user}", tag = "users", params(("user", description = "Id or login")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_user(&caller, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A link that signs the user in once, within 15 minutes. Operators only.
#[utoipa::path(post, path = "/v1/users/{user}/login-link", tag = "users", params(("user", description = "Id or login"), IdempotencyHeader), responses((status = 201, body = LoginLink)))]
pub(crate) async fn login_link(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
    Idempotency(key): Idempotency,
) -> ApiResult<(StatusCode, Json<LoginLink>)> {
    let (secret, expires_at) = context.app.login_link(&caller, &user, key).await?;
    let url = format!("{}/login?link={}", context.app.settings.public_url, secret.expose());
    Ok((StatusCode::CREATED, Json(LoginLink { url, expires_at: expires_at.0 })))
}
