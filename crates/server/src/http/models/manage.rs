//! Providers of models, what they offer and cost, routes, rules, budgets, and what was spent.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::models as wire;
use ryokan_api::{Page, Paging};
use ryokan_app::models::{BudgetOf, BudgetUse, NewProvider, ProviderChanges};
use ryokan_model::Secret;
use ryokan_model::models::BudgetUnit;
use ryokan_store::billing::MICROS;
use ryokan_store::model_calls::{CallRow, CallSum};
use ryokan_store::models::{ModelRow, PriceRow, ProviderRow, RulesRow};
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::super::auth::Auth;
use super::super::error::ApiResult;
use super::super::extract::{Body, Query};
use super::super::router::limit;

fn provider(row: ProviderRow) -> wire::Provider {
    wire::Provider {
        name: row.name,
        kind: row.kind,
        base_url: row.base_url,
        key: row.has_key,
        enabled: row.enabled,
        local: row.local,
        options: row.options,
        checked_at: row.checked_at.map(|t| t.0),
        problem: row.problem,
        created_at: row.created_at.0,
    }
}

fn model(row: ModelRow) -> wire::ProviderModel {
    wire::ProviderModel {
        name: row.name,
        enabled: row.enabled,
        offered: row.offered,
        capabilities: row.found.with(row.stated),
        stated: row.stated,
    }
}

fn detail((row, models): (ProviderRow, Vec<ModelRow>)) -> Json<wire::ProviderDetail> {
    Json(wire::ProviderDetail { provider: provider(row), models: models.into_iter().map(model).collect() })
}

fn price(row: PriceRow) -> wire::ModelPrice {
    wire::ModelPrice {
        version: row.version,
        provider: row.provider,
        model: Some(row.model).filter(|model| !model.is_empty()),
        from: row.from.0,
        prices: row.prices,
        reason: row.reason,
    }
}

fn rules(row: RulesRow) -> Json<wire::ModelRules> {
    Json(wire::ModelRules {
        stopped_at: row.stopped_at.map(|t| t.0),
        stopped_by: row.stopped_by,
        external: row.external,
        keep_prompts: row.keep_prompts,
    })
}

fn budgets(all: Vec<BudgetUse>) -> Json<Page<wire::ModelBudget>> {
    let view = |BudgetUse { budget, spent }: BudgetUse| {
        let (used, held) = match budget.unit {
            BudgetUnit::Tokens => (spent.tokens, spent.tokens_held),
            BudgetUnit::Satoshis => (spent.microsats / MICROS, spent.microsats_held / MICROS),
        };
        wire::ModelBudget {
            scope: budget.scope,
            unit: budget.unit,
            period: budget.period,
            amount: budget.amount,
            spent: used,
            held,
        }
    };
    Json(Page { items: all.into_iter().map(view).collect(), next: None })
}

fn usage(sum: CallSum) -> wire::ModelUsage {
    wire::ModelUsage {
        day: sum.day.0,
        model: sum.model,
        provider: sum.provider,
        calls: sum.calls,
        failed: sum.failed,
        tokens: sum.tokens,
        microsats: sum.microsats,
        satoshis: sum.satoshis,
    }
}

fn call(row: CallRow) -> wire::ModelCall {
    wire::ModelCall {
        id: row.id,
        at: row.at.0,
        project: row.project,
        user: row.user,
        instance: row.instance,
        endpoint: row.endpoint,
        model: row.model,
        provider: row.provider,
        upstream_model: row.upstream_model,
        reason: row.reason,
        outcome: row.outcome,
        status: row.status,
        tokens: row.tokens,
        estimated: row.estimated,
        microsats: row.microsats,
        satoshis: row.satoshis,
        price_version: row.price_version,
        millis: row.millis,
        first_byte_millis: row.first_byte_millis,
    }
}

/// Lists providers by name. Operators only.
#[utoipa::path(get, path = "/v1/providers", tag = "models", responses((status = 200, body = Page<wire::Provider>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<wire::Provider>>> {
    let rows = context.app.list_providers(&caller).await?;
    Ok(Json(Page { items: rows.into_iter().map(provider).collect(), next: None }))
}

/// Adds a provider and looks at what it offers; that it cannot be asked is its `problem`. Repeating it under the same name
/// is a conflict. Operators only.
#[utoipa::path(post, path = "/v1/providers", tag = "models", request_body = wire::CreateProvider, responses((status = 200, body = wire::Provider)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Body(request): Body<wire::CreateProvider>,
) -> ApiResult<Json<wire::Provider>> {
    let new = NewProvider {
        name: request.name,
        kind: request.kind,
        base_url: request.base_url,
        key: request.key.map(Secret::new),
        enabled: request.enabled,
        local: request.local,
        options: request.options,
    };
    Ok(Json(provider(context.app.create_provider(&caller, new).await?)))
}

/// One provider with its models. Operators only.
#[utoipa::path(get, path = "/v1/providers/{provider}", tag = "models", params(("provider", description = "Provider")), responses((status = 200, body = wire::ProviderDetail)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<wire::ProviderDetail>> {
    Ok(detail(context.app.get_provider(&caller, &name).await?))
}

/// Changes a provider; calls that are under way end as they began. Operators only.
#[utoipa::path(patch, path = "/v1/providers/{provider}", tag = "models", params(("provider", description = "Provider")), request_body = wire::UpdateProvider, responses((status = 200, body = wire::Provider)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Body(request): Body<wire::UpdateProvider>,
) -> ApiResult<Json<wire::Provider>> {
    let changes = ProviderChanges {
        base_url: request.base_url,
        key: request.key.map(Secret::new),
        enabled: request.enabled,
        local: request.local,
        options: request.options,
    };
    Ok(Json(provider(context.app.update_provider(&caller, &name, changes).await?)))
}

/// Removes a provider with its key. Prices and calls stay. Operators only.
#[utoipa::path(delete, path = "/v1/providers/{provider}", tag = "models", params(("provider", description = "Provider")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_provider(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a provider what it offers. Operators only.
#[utoipa::path(post, path = "/v1/providers/{provider}/refresh", tag = "models", params(("provider", description = "Provider")), responses((status = 200, body = wire::ProviderDetail)))]
pub(crate) async fn refresh(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<wire::ProviderDetail>> {
    Ok(detail(context.app.refresh_provider(&caller, &name).await?))
}

/// Says of a model what the provider does not, or whether it may be called. Operators only.
#[utoipa::path(put, path = "/v1/providers/{provider}/models", tag = "models", params(("provider", description = "Provider")), request_body = wire::PutModel, responses((status = 200, body = Page<wire::ProviderModel>)))]
pub(crate) async fn put_model(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Body(request): Body<wire::PutModel>,
) -> ApiResult<Json<Page<wire::ProviderModel>>> {
    let rows =
        context.app.put_model(&caller, &name, &request.name, request.capabilities, request.enabled).await?;
    Ok(Json(Page { items: rows.into_iter().map(model).collect(), next: None }))
}

/// Lists routes by name. Operators only.
#[utoipa::path(get, path = "/v1/model-routes", tag = "models", responses((status = 200, body = Page<wire::ModelRoute>)))]
pub(crate) async fn routes(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<wire::ModelRoute>>> {
    let rows = context.app.list_model_routes(&caller).await?;
    let items = rows.into_iter().map(|(name, candidates)| wire::ModelRoute { name, candidates }).collect();
    Ok(Json(Page { items, next: None }))
}

/// Sets a route: a name for models of providers. Operators only.
#[utoipa::path(put, path = "/v1/model-routes/{route}", tag = "models", params(("route", description = "Route")), request_body = wire::PutModelRoute, responses((status = 200, body = wire::ModelRoute)))]
pub(crate) async fn put_route(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Body(request): Body<wire::PutModelRoute>,
) -> ApiResult<Json<wire::ModelRoute>> {
    context.app.put_model_route(&caller, &name, request.candidates.clone()).await?;
    Ok(Json(wire::ModelRoute { name, candidates: request.candidates }))
}

/// Removes a route. Operators only.
#[utoipa::path(delete, path = "/v1/model-routes/{route}", tag = "models", params(("route", description = "Route")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete_route(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_model_route(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists versions of prices, the newest first.
#[utoipa::path(get, path = "/v1/model-prices", tag = "models", responses((status = 200, body = Page<wire::ModelPrice>)))]
pub(crate) async fn prices(
    State(context): State<Context>,
    _caller: Auth,
) -> ApiResult<Json<Page<wire::ModelPrice>>> {
    let rows = context.app.list_model_prices().await?;
    Ok(Json(Page { items: rows.into_iter().map(price).collect(), next: None }))
}

/// Sets the price of a model, or of all of a provider, from now on. Operators only.
#[utoipa::path(put, path = "/v1/model-prices", tag = "models", request_body = wire::SetModelPrice, responses((status = 200, body = wire::ModelPrice)))]
pub(crate) async fn set_price(
    State(context): State<Context>,
    Auth(caller): Auth,
    Body(request): Body<wire::SetModelPrice>,
) -> ApiResult<Json<wire::ModelPrice>> {
    let (of, model) = (request.provider, request.model);
    let row =
        context.app.set_model_prices(&caller, &of, model.as_deref(), request.prices, request.reason).await?;
    Ok(Json(price(row)))
}

/// What is decided about everybody's calls. Operators only.
#[utoipa::path(get, path = "/v1/model-rules", tag = "models", responses((status = 200, body = wire::ModelRules)))]
pub(crate) async fn all_rules(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<wire::ModelRules>> {
    Ok(rules(context.app.model_rules(&caller, None).await?))
}

/// Stops everybody's calls, or lets them go on. Operators only.
#[utoipa::path(put, path = "/v1/model-rules", tag = "models", request_body = wire::SetModelRules, responses((status = 200, body = wire::ModelRules)))]
pub(crate) async fn set_all_rules(
    State(context): State<Context>,
    Auth(caller): Auth,
    Body(r): Body<wire::SetModelRules>,
) -> ApiResult<Json<wire::ModelRules>> {
    Ok(rules(context.app.set_model_rules(&caller, None, r.stopped, r.external, r.keep_prompts).await?))
}

/// What is decided about a project's calls.
#[utoipa::path(get, path = "/v1/projects/{project}/model-rules", tag = "models", params(("project", description = "Project")), responses((status = 200, body = wire::ModelRules)))]
pub(crate) async fn project_rules(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<wire::ModelRules>> {
    Ok(rules(context.app.model_rules(&caller, Some(&project)).await?))
}

/// Stops a project's calls or lets them go on, and whether they may go outside. An operator's stop only operators undo.
#[utoipa::path(put, path = "/v1/projects/{project}/model-rules", tag = "models", params(("project", description = "Project")), request_body = wire::SetModelRules, responses((status = 200, body = wire::ModelRules)))]
pub(crate) async fn set_project_rules(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(r): Body<wire::SetModelRules>,
) -> ApiResult<Json<wire::ModelRules>> {
    Ok(rules(
        context.app.set_model_rules(&caller, Some(&project), r.stopped, r.external, r.keep_prompts).await?,
    ))
}

#[derive(Debug, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BudgetsQuery {
    /// Of one instance of the project.
    instance: Option<String>,
}

fn budget_of<'a>(project: &'a str, instance: Option<&'a str>) -> BudgetOf<'a> {
    match instance {
        Some(instance) => BudgetOf::Instance { project, instance },
        None => BudgetOf::Project(project),
    }
}

/// Lists budgets of a project, or of one instance.
#[utoipa::path(get, path = "/v1/projects/{project}/model-budgets", tag = "models", params(("project", description = "Project"), BudgetsQuery), responses((status = 200, body = Page<wire::ModelBudget>)))]
pub(crate) async fn project_budgets(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(query): Query<BudgetsQuery>,
) -> ApiResult<Json<Page<wire::ModelBudget>>> {
    let of = budget_of(&project, query.instance.as_deref());
    Ok(budgets(context.app.list_model_budgets(&caller, of).await?))
}

/// Sets a budget of a project or of one instance, or takes it away. It is hard, from the next call on.
#[utoipa::path(put, path = "/v1/projects/{project}/model-budgets", tag = "models", params(("project", description = "Project")), request_body = wire::SetModelBudget, responses((status = 200, body = Page<wire::ModelBudget>)))]
pub(crate) async fn set_project_budget(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(r): Body<wire::SetModelBudget>,
) -> ApiResult<Json<Page<wire::ModelBudget>>> {
    let of = budget_of(&project, r.instance.as_deref());
    Ok(budgets(context.app.set_model_budget(&caller, of, r.unit, r.period, r.amount).await?))
}

/// Lists a user's budgets, which are over all projects. Operators only.
#[utoipa::path(get, path = "/v1/users/{user}/model-budgets", tag = "models", params(("user", description = "Login or id")), responses((status = 200, body = Page<wire::ModelBudget>)))]
pub(crate) async fn user_budgets(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
) -> ApiResult<Json<Page<wire::ModelBudget>>> {
    Ok(budgets(context.app.list_model_budgets(&caller, BudgetOf::User(&user)).await?))
}

/// Sets a user's budget, or takes it away. Operators only.
#[utoipa::path(put, path = "/v1/users/{user}/model-budgets", tag = "models", params(("user", description = "Login or id")), request_body = wire::SetModelBudget, responses((status = 200, body = Page<wire::ModelBudget>)))]
pub(crate) async fn set_user_budget(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(user): Path<String>,
    Body(r): Body<wire::SetModelBudget>,
) -> ApiResult<Json<Page<wire::ModelBudget>>> {
    if r.instance.is_some() {
        return Err(ryokan_app::Error::invalid(
            "instance",
            "belongs to a project, not to a user; leave it out",
        )
        .into());
    }
    Ok(budgets(
        context.app.set_model_budget(&caller, BudgetOf::User(&user), r.unit, r.period, r.amount).await?,
    ))
}

#[derive(Debug, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// The last so many days, at most 400; 30 when absent.
    days: Option<u32>,
}

/// What a project spent on models, by day, model and provider, the newest first.
#[utoipa::path(get, path = "/v1/projects/{project}/model-usage", tag = "models", params(("project", description = "Project"), UsageQuery), responses((status = 200, body = Page<wire::ModelUsage>)))]
pub(crate) async fn project_usage(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(query): Query<UsageQuery>,
) -> ApiResult<Json<Page<wire::ModelUsage>>> {
    let rows = context.app.model_usage(&caller, Some(&project), query.days.unwrap_or(30)).await?;
    Ok(Json(Page { items: rows.into_iter().map(usage).collect(), next: None }))
}

/// What all projects spent on models. Operators only.
#[utoipa::path(get, path = "/v1/model-usage", tag = "models", params(UsageQuery), responses((status = 200, body = Page<wire::ModelUsage>)))]
pub(crate) async fn all_usage(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(query): Query<UsageQuery>,
) -> ApiResult<Json<Page<wire::ModelUsage>>> {
    let rows = context.app.model_usage(&caller, None, query.days.unwrap_or(30)).await?;
    Ok(Json(Page { items: rows.into_iter().map(usage).collect(), next: None }))
}

/// A project's calls of models, the newest first. What was said is kept nowhere.
#[utoipa::path(get, path = "/v1/projects/{project}/model-calls", tag = "models", params(("project", description = "Project"), Paging), responses((status = 200, body = Page<wire::ModelCall>)))]
pub(crate) async fn calls(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<wire::ModelCall>>> {
    let limit = limit(paging.limit)?;
    let page = context.app.list_model_calls(&caller, &project, paging.after, limit).await?;
    Ok(Json(Page { items: page.items.into_iter().map(call).collect(), next: page.next }))
}
