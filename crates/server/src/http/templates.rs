//! `/v1/templates`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::template::TemplateCheck;
use ryokan_model::template::Template;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader};

/// Lists templates by name.
#[utoipa::path(get, path = "/v1/templates", tag = "templates", responses((status = 200, body = Page<Template>)))]
pub(crate) async fn list(State(context): State<Context>, _caller: Auth) -> ApiResult<Json<Page<Template>>> {
    Ok(Json(Page { items: context.app.list_templates().await?, next: None }))
}

/// Whether each template can run on this server, and what would help if not; by name.
#[utoipa::path(get, path = "/v1/template-checks", tag = "templates", responses((status = 200, body = Page<TemplateCheck>)))]
pub(crate) async fn checks(
    State(context): State<Context>,
    _caller: Auth,
) -> ApiResult<Json<Page<TemplateCheck>>> {
    let checked = context.app.check_templates().await?;
    let items = checked.into_iter().map(|c| TemplateCheck {
        template: c.template.name,
        runnable: c.problems.is_empty(),
        problems: c.problems,
        image_present: c.image_present,
    });
    Ok(Json(Page { items: items.collect(), next: None }))
}

/// One template.
#[utoipa::path(get, path = "/v1/templates/{name}", tag = "templates", params(("name", description = "Template name")), responses((status = 200, body = Template)))]
pub(crate) async fn get(
    State(context): State<Context>,
    _caller: Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<Template>> {
    Ok(Json(context.app.get_template(&name).await?))
}

/// Adds a template. Operators only.
#[utoipa::path(post, path = "/v1/templates", tag = "templates", params(IdempotencyHeader), request_body = Template, responses((status = 201, body = Template)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(template): Body<Template>,
) -> ApiResult<(StatusCode, Json<Template>)> {
    Ok((StatusCode::CREATED, Json(context.app.create_template(&caller, template, key).await?)))
}

/// Replaces a template; instances made from it stay as they are. Operators only.
#[utoipa::path(put, path = "/v1/templates/{name}", tag = "templates", params(("name", description = "Template name")), request_body = Template, responses((status = 200, body = Template)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Body(template): Body<Template>,
) -> ApiResult<Json<Template>> {
    Ok(Json(context.app.update_template(&caller, &name, template).await?))
}

/// Removes a template; a builtin one comes back at the next start. Operators only.
#[utoipa::path(delete, path = "/v1/templates/{name}", tag = "templates", params(("name", description = "Template name")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_template(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
