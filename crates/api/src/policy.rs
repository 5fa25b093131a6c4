//! Rules of the policy, and why something is decided as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ryokan_model::policy::{
    Action, ActionPattern, AgentRole, Conditions, Effect, Level, Resources, Subject, Verdict,
};
use ryokan_model::{ApprovalId, InstanceId, ProjectId, RuleId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/policies`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRule {
    pub level: Level,
    /// Id or name; for a rule of a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Id or name; for a rule of an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub effect: Effect,
    pub action: ActionPattern,
    /// `everybody` when absent; or `user:`, `group:`, `project:`, `instance:` with an id or name, `task:` with an id, `role:`
    /// with `worker`, `manager`, `analyst` or `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub conditions: Conditions,
    /// Why it is there, for people: one line.
    #[serde(default)]
    pub note: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    pub id: RuleId,
    pub level: Level,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    pub effect: Effect,
    pub action: ActionPattern,
    pub subject: Subject,
    pub resources: Resources,
    pub conditions: Conditions,
    pub note: String,
    /// The question that it answers; such a rule lifts `ask` and ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    pub created_by: String,
    pub created_at: i64,
    /// In the answer to making it: why it has no effect as things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Which rules.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RuleQuery {
    /// `system`: only those; operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub level: Option<Level>,
    /// Of this project, and of the instances in it (id or name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Of this instance alone (id or name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// At most this many, 1 to 500; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// `POST /v1/policies/explain`. Nothing is done, and nothing recorded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Id or name of who would ask; the caller in person when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub action: Action,
    /// `GET https://api.github.com/user`, `api.github.com:443` for a connection, or a name.
    pub resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<AgentRole>,
    /// Supposing that it has read what nobody vouches for.
    #[serde(default)]
    pub tainted: bool,
    /// Supposing that so much is left.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, u64>,
    /// Supposing this time; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// Supposing that the name leads to these addresses; judged by the name alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub addresses: Option<Vec<IpAddr>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyExplanation)]
pub struct Explanation {
    pub decision: Verdict,
    /// The rule that decided; absent where none allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// Where it was decided.
    pub level: Level,
    pub why: String,
    /// All levels from the top down, with every rule that fits.
    pub levels: Vec<ExplainedLevel>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExplainedLevel {
    pub level: Level,
    /// What the level says by itself.
    pub says: String,
    pub rules: Vec<ExplainedRule>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExplainedRule {
    pub id: RuleId,
    pub effect: Effect,
    /// A person has granted it for a time.
    pub grant: bool,
    pub note: String,
}
