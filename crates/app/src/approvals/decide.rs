//! `grant` and `refuse`: of two who decide at the same moment one does, and the other is told who was first.

use std::time::Duration;

use ryokan_model::permission::{Caller, Role};
use ryokan_model::policy::{Conditions, Level, Rule, RuleBody, Scope};
use ryokan_model::{ApprovalId, RuleId};
use ryokan_store::Tx;
use ryokan_store::approvals::{Answer, Approval, ApprovalState};
use ryokan_store::policies::StoredRule;
use serde_json::json;

use crate::{App, Error, Result, events};

const USUAL: Duration = Duration::from_mins(15);
const LONGEST: Duration = Duration::from_hours(24);

impl App {
    /// Allows what was asked for a time, 15 minutes where none is given. In force when it answers.
    pub async fn grant_approval(
        &self,
        caller: &Caller,
        id: &str,
        span: Option<Duration>,
    ) -> Result<Approval> {
        let span = span.unwrap_or(USUAL);
        if span < Duration::from_secs(1) || span > LONGEST {
            return Err(Error::invalid("for", "must be between a second and 24 hours"));
        }
        let asked = self.answerable(caller, id).await?;
        let now = self.clock.now();
        let (until, rule_id) = (now.plus(span), RuleId::from_parts(now, self.entropy.bytes()));
        let rule = granted(&asked, rule_id, until, caller)?;
        let by = caller.clone();
        let rule =
            StoredRule { rule, approval: Some(asked.id), created_by: by.login.clone(), created_at: now };
        let answer = Answer {
            state: ApprovalState::Granted,
            by: by.login.clone(),
            at: now,
            grant: Some((until, rule_id)),
        };
        let approval = self
            .store
            .write(move |tx| {
                let done = decided(tx, asked.id, &answer)?;
                tx.insert_rule(&rule)?;
                tell(tx, &by, &done, "approval.granted")?;
                Ok::<_, Error>(done)
            })
            .await?;
        self.refresh_policies().await?;
        Ok(approval)
    }

    /// The same is not asked again for an hour.
    pub async fn refuse_approval(&self, caller: &Caller, id: &str) -> Result<Approval> {
        let asked = self.answerable(caller, id).await?;
        let by = caller.clone();
        let answer =
            Answer { state: ApprovalState::Refused, by: by.login.clone(), at: self.clock.now(), grant: None };
        self.store
            .write(move |tx| {
                let done = decided(tx, asked.id, &answer)?;
                tell(tx, &by, &done, "approval.refused")?;
                Ok(done)
            })
            .await
    }

    /// One that the caller may answer.
    async fn answerable(&self, caller: &Caller, id: &str) -> Result<Approval> {
        let approval = self.get_approval(caller, id).await?;
        let refused = |refused| Error::refused(refused, "approval", id);
        match (approval.level, approval.project) {
            (Level::Project, Some(project)) => caller.may_as(Role::Admin, project).map_err(refused)?,
            (Level::Instance, Some(project)) => caller.may_as(Role::Developer, project).map_err(refused)?,
            _ if caller.is_operator() => {}
            _ => {
                return Err(Error::Forbidden(
                    "this is for an operator of the installation to decide: a rule of the system asks for it, or none leaves it to projects"
                        .into(),
                ));
            }
        }
        Ok(approval)
    }
}

fn granted(asked: &Approval, id: RuleId, until: ryokan_model::Millis, by: &Caller) -> Result<Rule> {
    let scope = match (asked.level, asked.project, asked.instance) {
        (Level::System, ..) => Scope::System,
        (Level::Instance, Some(project), Some(instance)) => Scope::Instance(project, instance),
        (_, Some(project), _) => Scope::Project(project),
        _ => return Err(Error::internal("a question of a project without one")),
    };
    let conditions = Conditions { until: Some(until), ..Conditions::default() };
    let note = format!("granted by {}", by.login);
    Ok(Rule { id, scope, body: RuleBody { conditions, note, ..asked.body.clone() }, grant: true })
}

fn decided(tx: &mut Tx<'_>, id: ApprovalId, answer: &Answer) -> Result<Approval> {
    if let Some(done) = tx.decide_approval(id, answer)? {
        return Ok(done);
    }
    let now = tx.approval(id)?.ok_or_else(|| Error::not_found("approval", id.to_string()))?;
    Err(Error::Conflict(match (now.state, now.decided_by) {
        (ApprovalState::Granted, Some(by)) => format!("{by} has granted it already"),
        (ApprovalState::Refused, Some(by)) => format!("{by} has refused it already"),
        _ => "nobody has answered in time, and it has expired; it can be asked again".into(),
    }))
}

fn tell(tx: &mut Tx<'_>, by: &Caller, done: &Approval, kind: &str) -> Result<()> {
    let data = json!({"action": done.action, "resource": done.resource, "level": done.level, "actor": done.actor,
        "instance": done.instance, "until": done.until, "rule": done.rule});
    let at = done.decided_at.unwrap_or(done.asked_at);
    events::by_caller(tx, at, by, done.project, kind, "approval", &done.id.to_string(), "", data)
}
