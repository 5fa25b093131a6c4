//! `/v1/policies`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::policy::{CreateRule, Explain, ExplainedLevel, ExplainedRule, Explanation, Rule, RuleQuery};
use ryokan_app::Error;
use ryokan_app::policies::{LevelOf, Supposed};
use ryokan_model::Millis;
use ryokan_model::policy::{Level, RuleBody, Subject};
use ryokan_store::policies::StoredRule;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::router::limit;

fn view(stored: StoredRule, warning: Option<String>) -> Rule {
    let StoredRule { rule, approval, created_by, created_at } = stored;
    let body = rule.body;
    Rule {
        id: rule.id,
        level: rule.scope.level(),
        project: rule.scope.project(),
        instance: rule.scope.instance(),
        effect: body.effect,
        action: body.action,
        subject: body.subject,
        resources: body.resources,
        conditions: body.conditions,
        note: body.note,
        approval,
        created_by,
        created_at: created_at.0,
        warning,
    }
}

fn level_of(level: Level, project: Option<String>, instance: Option<String>) -> Result<LevelOf, Error> {
    match (level, project, instance) {
        (Level::System, None, None) => Ok(LevelOf::System),
        (Level::Project, Some(project), None) => Ok(LevelOf::Project(project)),
        (Level::Instance, None, Some(instance)) => Ok(LevelOf::Instance(instance)),
        (Level::System, ..) => {
            Err(Error::invalid("level", "rules of the system are of no project or instance"))
        }
        (Level::Project, ..) => {
            Err(Error::invalid("project", "a rule of a project names it, and no instance"))
        }
        (Level::Instance, ..) => {
            Err(Error::invalid("instance", "a rule of an instance names it, and no project"))
        }
    }
}

/// Adds a rule: operators the system's, admins their project's, developers an instance's. It is in force when this answers;
/// `warning` says so when it has no effect as things are.
#[utoipa::path(post, path = "/v1/policies", tag = "policies", params(IdempotencyHeader), request_body = CreateRule, responses((status = 201, body = Rule)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateRule>,
) -> ApiResult<(StatusCode, Json<Rule>)> {
    let of = level_of(request.level, request.project, request.instance)?;
    let body = RuleBody {
        effect: request.effect,
        action: request.action,
        subject: Subject::Everybody,
        resources: request.resources,
        conditions: request.conditions,
        note: request.note,
    };
    let subject = request.subject.as_deref().unwrap_or("everybody");
    let made = context.app.create_rule(&caller, of, subject, body, key).await?;
    Ok((StatusCode::CREATED, Json(view(made.rule, made.warning))))
}

/// Rules by id, which is by age: of a project with its instances, of an instance, or for operators all.
#[utoipa::path(get, path = "/v1/policies", tag = "policies", params(RuleQuery), responses((status = 200, body = Page<Rule>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(query): Query<RuleQuery>,
) -> ApiResult<Json<Page<Rule>>> {
    let of = match (query.level, query.project, query.instance) {
        (None, None, None) => None,
        (None | Some(Level::Project), Some(project), None) => Some(LevelOf::Project(project)),
        (None, None, Some(instance)) => Some(LevelOf::Instance(instance)),
        (Some(level), project, instance) => Some(level_of(level, project, instance)?),
        (None, Some(_), Some(_)) => {
            return Err(Error::invalid("project", "name a project or an instance, not both").into());
        }
    };
    let page = context.app.list_rules(&caller, of, query.after, limit(query.limit)?).await?;
    let items = page.items.into_iter().map(|stored| view(stored, None)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// Takes a rule away; not in force any more when this answers.
#[utoipa::path(delete, path = "/v1/policies/{rule}", tag = "policies", params(("rule", description = "Id")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(rule): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_rule(&caller, &rule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What would be decided, by which rule and why, with all levels that were considered. Nothing is done or recorded.
#[utoipa::path(post, path = "/v1/policies/explain", tag = "policies", request_body = Explain, responses((status = 200, body = Explanation)))]
pub(crate) async fn explain(
    State(context): State<Context>,
    Auth(caller): Auth,
    Body(request): Body<Explain>,
) -> ApiResult<Json<Explanation>> {
    let supposed = Supposed {
        instance: request.instance,
        role: request.role,
        task: None,
        tainted: request.tainted,
        budgets: request.budgets,
        at: request.at.map(Millis),
        addresses: request.addresses,
    };
    let found = context.app.explain_policy(&caller, request.action, &request.resource, supposed).await?;
    let rule = |rule: ryokan_model::policy::MatchedRule| ExplainedRule {
        id: rule.id,
        effect: rule.effect,
        grant: rule.grant,
        note: rule.note,
    };
    let level = |level: ryokan_model::policy::LevelView| ExplainedLevel {
        level: level.level,
        says: level.says.to_owned(),
        rules: level.rules.into_iter().map(rule).collect(),
    };
    Ok(Json(Explanation {
        decision: found.decision.verdict,
        rule: found.decision.rule,
        level: found.decision.level,
        why: found.decision.why,
        levels: found.levels.into_iter().map(level).collect(),
    }))
}
