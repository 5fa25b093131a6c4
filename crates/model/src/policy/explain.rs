//! Why something is decided as it is: every rule that fits, level by level.

use super::set::malformed;
use super::{Decision, Effect, Level, PolicySet, Request};
use crate::RuleId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub decision: Decision,
    /// From the top down.
    pub levels: Vec<LevelView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelView {
    pub level: Level,
    /// By id.
    pub rules: Vec<MatchedRule>,
    /// What the level says by itself.
    pub says: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRule {
    pub id: RuleId,
    pub effect: Effect,
    pub grant: bool,
    pub note: String,
}

impl PolicySet {
    /// The decision of [`Self::judge`], with all that was weighed.
    pub fn explain(&self, request: &Request) -> Explanation {
        let decision = self.judge(request);
        if malformed(request).is_some() {
            return Explanation { decision, levels: Vec::new() };
        }
        let levels = Level::ALL.map(|level| {
            let mut rules: Vec<MatchedRule> = self
                .fitting(level, request)
                .map(|rule| MatchedRule {
                    id: rule.id,
                    effect: rule.effect,
                    grant: rule.grant,
                    note: rule.note.clone(),
                })
                .collect();
            rules.sort_by_key(|rule| rule.id);
            LevelView { level, says: says(&rules), rules }
        });
        Explanation { decision, levels: levels.into() }
    }
}

fn says(rules: &[MatchedRule]) -> &'static str {
    let has = |effect: Effect| rules.iter().any(|rule| rule.effect == effect);
    if has(Effect::Deny) {
        "refuses it"
    } else if has(Effect::Ask) && !rules.iter().any(|rule| rule.grant) {
        "wants it granted first"
    } else if has(Effect::Allow) {
        "allows it"
    } else if has(Effect::Delegate) {
        "leaves it to the levels below"
    } else {
        "says nothing"
    }
}
