//! `/v1/projects/{project}/quotas`.

use axum::Json;
use axum::extract::{Path, State};
use ryokan_api::project::{ProjectQuotas, QuotaUse};
use ryokan_model::permission::Caller;
use ryokan_model::project::Quotas;

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Body;

async fn view(context: &Context, caller: &Caller, project: &str) -> ApiResult<Json<ProjectQuotas>> {
    let (limits, used) = context.app.get_quotas(caller, project).await?;
    let used = QuotaUse { instances: used.instances, cpus: used.cpus, memory: used.memory, disk: used.disk };
    Ok(Json(ProjectQuotas { limits, used }))
}

/// The most that the project may have, and what it has.
#[utoipa::path(get, path = "/v1/projects/{project}/quotas", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = ProjectQuotas)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<ProjectQuotas>> {
    view(&context, &caller, &project).await
}

/// Sets all bounds; what is absent is bounded by the installation only. Operators only.
#[utoipa::path(put, path = "/v1/projects/{project}/quotas", tag = "projects", params(("project", description = "Id or name")), request_body = Quotas, responses((status = 200, body = ProjectQuotas)))]
pub(crate) async fn put(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(quotas): Body<Quotas>,
) -> ApiResult<Json<ProjectQuotas>> {
    context.app.put_quotas(&caller, &project, quotas).await?;
    view(&context, &caller, &project).await
}
