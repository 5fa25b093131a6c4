//! Signing in and out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use ryokan_api::session::{CreateSession, Session};
use ryokan_app::Error;
use ryokan_app::identity::sessions::NewSession;
use ryokan_model::Secret;

use super::Context;
use super::auth::{self, Auth};
use super::error::ApiResult;
use super::extract::Body;
use super::users::view;

/// Signs in by password or one-time link. The session's secret is only in the cookie. A page elsewhere is refused: it
/// must not sign a browser in as somebody else.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = CreateSession, responses((status = 201, body = Session)), security(()))]
pub(crate) async fn create(
    State(context): State<Context>,
    parts: Parts,
    jar: CookieJar,
    Body(request): Body<CreateSession>,
) -> ApiResult<(StatusCode, CookieJar, Json<Session>)> {
    if auth::foreign(&parts.headers) {
        return Err(Error::Forbidden("sign in from our own page, not from another site".into()).into());
    }
    let session = sign_in(&context, &parts, request).await?;
    let cookie = auth::session_cookie(&session.secret, auth::secure(&parts));
    let expires_at = session.expires_at.0;
    let user = view(&context, session.user).await?;
    Ok((StatusCode::CREATED, jar.add(cookie), Json(Session { user, expires_at })))
}

async fn sign_in(context: &Context, parts: &Parts, request: CreateSession) -> Result<NewSession, Error> {
    let address = auth::address(parts);
    match (request.login, request.password, request.link) {
        (Some(login), Some(password), None) => {
            context.app.sign_in(&login, Secret::new(password), &address).await
        }
        (None, None, Some(link)) => context.app.sign_in_by_link(&link, &address).await,
        _ => Err(Error::invalid("login", "send either `login` and `password`, or `link`")),
    }
}

/// Who is signed in.
#[utoipa::path(get, path = "/v1/sessions/current", tag = "sessions", responses((status = 200, body = ryokan_api::user::User)))]
pub(crate) async fn current(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<ryokan_api::user::User>> {
    let user = context.app.get_user(&caller, "me").await?;
    Ok(Json(view(&context, user).await?))
}

/// Signs out: the session is refused from now on, here and on agents' hosts.
#[utoipa::path(delete, path = "/v1/sessions", tag = "sessions", responses((status = 204, description = "Signed out")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    parts: Parts,
    jar: CookieJar,
    Auth(caller): Auth,
) -> ApiResult<(StatusCode, CookieJar)> {
    let Some((_, session)) = auth::navigating_session(&parts, &context) else {
        return Err(Error::Conflict(
            "this request has a token, not a session; revoke the token instead".into(),
        )
        .into());
    };
    context.app.sign_out(&caller, session).await?;
    Ok((StatusCode::NO_CONTENT, jar.add(auth::removed_cookie(auth::secure(&parts)))))
}
