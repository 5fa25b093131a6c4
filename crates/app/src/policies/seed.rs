//! The rules that an installation begins with. They are seeded once: an operator who deletes one does not get it back.

use ryokan_model::RuleId;
use ryokan_model::policy::{Rule, RuleBody, Scope};
use ryokan_store::policies::StoredRule;
use serde_json::json;

use crate::events::SYSTEM;
use crate::{App, Error, Result};

const SEEDED: &str = "policies-seeded";

/// Projects decide about the public internet by HTTP; only operators about anything else. What is ours and has limits of
/// its own (models, tools, credentials bound to hosts, registered operations, searching) is left to projects too, and
/// allowed inside a project where it was allowed before there was a policy: models and tools.
fn rules() -> Result<Vec<RuleBody>> {
    let rules = [
        json!({"effect": "delegate", "action": "egress.*", "resources": {"ports": ["80", "443"]},
            "note": "projects decide about public addresses on the ports of HTTP and HTTPS"}),
        json!({"effect": "delegate", "action": "web.*", "note": "projects decide what may be fetched and searched"}),
        json!({"effect": "delegate", "action": "git.*", "note": "projects decide about repositories"}),
        json!({"effect": "delegate", "action": "api.call", "note": "projects decide about registered operations"}),
        json!({"effect": "allow", "action": "credential.use",
            "note": "a credential is bound to its hosts and to who may use it"}),
        json!({"effect": "allow", "action": "model.call", "note": "models have budgets and limits of their own"}),
        json!({"effect": "allow", "action": "tool.invoke", "note": "tools are listed by role, and judged by what they do"}),
        json!({"effect": "allow", "action": "image.use", "note": "images are bounded by the templates and their settings"}),
    ];
    rules
        .into_iter()
        .map(|rule| {
            let body: RuleBody =
                serde_json::from_value(rule).map_err(|e| Error::internal(format!("a seeded rule: {e}")))?;
            body.validate().map_err(|e| Error::internal(format!("a seeded rule: {e}")))?;
            Ok(body)
        })
        .collect()
}

impl App {
    /// Makes the system's rules at the first start, and reads all rules. Servers that start at once make them once.
    pub async fn start_policies(&self) -> Result<()> {
        let now = self.clock.now();
        let rules: Vec<StoredRule> = rules()?
            .into_iter()
            .map(|body| StoredRule {
                rule: Rule {
                    id: RuleId::from_parts(now, self.entropy.bytes()),
                    scope: Scope::System,
                    body,
                    grant: false,
                },
                approval: None,
                created_by: SYSTEM.to_owned(),
                created_at: now,
            })
            .collect();
        let token = RuleId::from_parts(now, self.entropy.bytes()).to_string();
        self.store
            .write(move |tx| {
                tx.lock(SEEDED)?;
                if tx.setting_or(SEEDED, &token, now.0)? != token {
                    return Ok(());
                }
                rules.iter().try_for_each(|rule| tx.insert_rule(rule))
            })
            .await?;
        self.refresh_policies().await
    }
}
