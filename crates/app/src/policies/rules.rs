//! `create`, `list` and `delete` of rules. Operators write the system's, a project's admins the project's, and who may
//! change an instance its own; none of the lower ones can allow what those above do not.

use ryokan_model::RuleId;
use ryokan_model::permission::{Caller, Role};
use ryokan_model::policy::{Level, Rule, RuleBody, Scope, Subject};
use ryokan_store::Tx;
use ryokan_store::policies::{RuleFilter, StoredRule};
use serde::Serialize;
use serde_json::json;

use crate::idempotency::{self, IdempotencyKey};
use crate::page::one_more;
use crate::system::operators;
use crate::{App, Error, Page, Result, events};

/// Of which level, by names or ids.
#[derive(Debug, Clone, Serialize)]
pub enum LevelOf {
    System,
    Project(String),
    Instance(String),
}

/// Bounds of what every server holds in memory.
const fn most(level: Level) -> i64 {
    match level {
        Level::System => 1_000,
        Level::Project => 200,
        Level::Instance => 100,
    }
}

/// A rule that was made, and what is odd about it.
#[derive(Debug)]
pub struct Made {
    pub rule: StoredRule,
    pub warning: Option<String>,
}

impl App {
    /// In force on this server when it answers, on others a moment later. `subject` may name accounts, groups, projects and
    /// instances as people do.
    pub async fn create_rule(
        &self,
        caller: &Caller,
        of: LevelOf,
        subject: &str,
        mut body: RuleBody,
        key: Option<IdempotencyKey>,
    ) -> Result<Made> {
        let scope = self.rule_scope(caller, &of).await?;
        body.subject = self.named_subject(caller, subject).await?;
        body.validate()?;
        let now = self.clock.now();
        if body.conditions.until.is_some_and(|until| until <= now) {
            return Err(Error::invalid("conditions.until", "is over already"));
        }
        let once = self.once(caller, key, "policies.create", &(&of, subject, &body))?;
        let rule = Rule { id: RuleId::from_parts(now, self.entropy.bytes()), scope, body, grant: false };
        let warning = self.policies().idle(&rule);
        let (by, new) = (
            caller.clone(),
            StoredRule { rule, approval: None, created_by: caller.login.clone(), created_at: now },
        );
        let rule = self
            .store
            .write(move |tx| {
                let id = new.rule.id;
                if let Some(made) = once.claim(tx, &id.to_string(), now)? {
                    let made: Option<RuleId> = made.parse().ok();
                    let made = made.map(|id| tx.rule(id)).transpose()?.flatten();
                    return made.ok_or_else(idempotency::gone);
                }
                tx.lock("policies")?;
                let most = most(scope.level());
                if tx.count_rules(scope)? >= most {
                    return Err(Error::QuotaExceeded(format!(
                        "there are {most} rules at this level already; delete some first"
                    )));
                }
                tx.insert_rule(&new)?;
                record(tx, now, &by, &new, "policy.rule_created")?;
                Ok(new)
            })
            .await?;
        self.refresh_policies().await?;
        Ok(Made { rule, warning })
    }

    /// Those that the caller may see: operators all; others those of their projects and what is in them.
    pub async fn list_rules(
        &self,
        caller: &Caller,
        of: Option<LevelOf>,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<StoredRule>> {
        let mut filter = RuleFilter::default();
        match of {
            None => operators(caller)?,
            Some(LevelOf::System) => {
                operators(caller)?;
                filter.level = Some(Level::System);
            }
            Some(LevelOf::Project(project)) => {
                filter.project = Some(self.find_project_as(caller, Role::Viewer, &project).await?.id);
            }
            Some(LevelOf::Instance(instance)) => {
                let row = self.instance_as(caller, Role::Viewer, &instance).await?;
                (filter.level, filter.instance) = (Some(Level::Instance), Some(row.id));
            }
        }
        let (after, wanted) = (after.unwrap_or_default(), one_more(limit));
        let rows = self.store.read(move |tx| tx.rules(&filter, &after, wanted)).await?;
        Ok(Page::cut(rows, limit, |row| row.rule.id.to_string()))
    }

    pub async fn delete_rule(&self, caller: &Caller, id: &str) -> Result<()> {
        let missing = || Error::not_found("rule", id);
        let wanted: RuleId = id.parse().map_err(|_| missing())?;
        let found = self.store.read(move |tx| tx.rule(wanted)).await?.ok_or_else(missing)?;
        match (found.rule.scope.level(), found.rule.scope.project()) {
            (Level::Project, Some(project)) => {
                caller.may_as(Role::Admin, project).map_err(|r| Error::refused(r, "rule", id))?;
            }
            (Level::Instance, Some(project)) => {
                caller.may_as(Role::Developer, project).map_err(|r| Error::refused(r, "rule", id))?;
            }
            _ if caller.is_operator() => {}
            _ => return Err(missing()),
        }
        let (now, by, id) = (self.clock.now(), caller.clone(), id.to_owned());
        self.store
            .write(move |tx| {
                if !tx.delete_rule(wanted)? {
                    return Err(Error::not_found("rule", id));
                }
                record(tx, now, &by, &found, "policy.rule_deleted")
            })
            .await?;
        self.refresh_policies().await
    }

    /// Where a rule of this level would stand, if the caller may write one.
    async fn rule_scope(&self, caller: &Caller, of: &LevelOf) -> Result<Scope> {
        Ok(match of {
            LevelOf::System => {
                operators(caller)?;
                Scope::System
            }
            LevelOf::Project(project) => {
                Scope::Project(self.find_project_as(caller, Role::Admin, project).await?.id)
            }
            LevelOf::Instance(instance) => {
                let row = self.instance_as(caller, Role::Developer, instance).await?;
                Scope::Instance(row.project, row.id)
            }
        })
    }

    /// `user:ada` and the like with the ids that rules go by. What the caller may not know of does not exist.
    async fn named_subject(&self, caller: &Caller, text: &str) -> Result<Subject> {
        let under = |error: Error| match error {
            Error::NotFound { kind, id } => Error::invalid("subject", format!("there is no {kind} `{id}`")),
            other => other,
        };
        Ok(match text.split_once(':') {
            Some(("user", user)) => {
                let found = self.find_user(user).await.map_err(under)?;
                Subject::User(found.id)
            }
            Some(("group", group)) => Subject::Group(self.find_group(group).await.map_err(under)?.id),
            Some(("project", project)) => {
                Subject::Project(self.find_project_as(caller, Role::Viewer, project).await.map_err(under)?.id)
            }
            Some(("instance", instance)) => {
                Subject::Instance(self.instance_as(caller, Role::Viewer, instance).await.map_err(under)?.id)
            }
            _ => text.parse()?,
        })
    }
}

pub(crate) fn record(
    tx: &mut Tx<'_>,
    now: ryokan_model::Millis,
    by: &Caller,
    stored: &StoredRule,
    kind: &str,
) -> Result<()> {
    let Rule { id, scope, body, .. } = &stored.rule;
    let data = json!({"level": scope.level(), "instance": scope.instance(), "rule": body});
    events::by_caller(tx, now, by, scope.project(), kind, "rule", &id.to_string(), "", data)
}
