//! All rules, made ready, and the one decision over them.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compiled::Compiled;
use super::request::{Request, Resource, Target};
use super::{Action, Effect, Kind, Level, Rule, Scope, Who};
use crate::{InstanceId, Millis, ProjectId, RuleId};

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyVerdict))]
pub enum Verdict {
    Allow,
    Deny,
    /// Refused for now: a person may grant it.
    Ask,
}

impl Verdict {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Ask];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
        }
    }
}

impl std::str::FromStr for Verdict {
    type Err = crate::Invalid;
    fn from_str(text: &str) -> Result<Self, crate::Invalid> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or_else(|| crate::Invalid::new("decision", "must be allow, deny or ask"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// The rule that decided; none where none allows it.
    pub rule: Option<RuleId>,
    /// Where it was decided: the level of the rule, or the first that leaves it to nobody. A grant of this level allows
    /// what was asked about or not allowed.
    pub level: Level,
    /// A sentence for people.
    pub why: String,
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// The rules of one level for one project or instance, by action.
#[derive(Debug, Default, Clone)]
struct Table([Index; Action::ALL.len()]);

/// Those of one action: by the host or name that they are about, and all that are about more than a few.
#[derive(Debug, Default, Clone)]
struct Index {
    exact: HashMap<String, Vec<Arc<Compiled>>>,
    rest: Vec<Arc<Compiled>>,
}

/// The first of each kind, by id, of what fits at one level.
#[derive(Default)]
pub(super) struct Found<'a> {
    deny: Option<&'a Compiled>,
    ask: Option<&'a Compiled>,
    grant: Option<&'a Compiled>,
    allow: Option<&'a Compiled>,
    delegate: Option<&'a Compiled>,
}

impl<'a> Found<'a> {
    fn add(&mut self, rule: &'a Compiled) {
        let slot = match rule.effect {
            Effect::Deny => &mut self.deny,
            Effect::Ask => &mut self.ask,
            Effect::Allow if rule.grant => &mut self.grant,
            Effect::Allow => &mut self.allow,
            Effect::Delegate => &mut self.delegate,
        };
        if slot.is_none_or(|first| rule.id < first.id) {
            *slot = Some(rule);
        }
    }
}

/// All rules. Cheap to ask, made anew when a rule changes.
#[derive(Debug, Default, Clone)]
pub struct PolicySet {
    system: Table,
    projects: HashMap<ProjectId, Table>,
    instances: HashMap<InstanceId, Table>,
    pub(super) rules: Vec<Arc<Compiled>>,
}

impl PolicySet {
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let mut set = Self::default();
        for rule in rules {
            let compiled = Arc::new(Compiled::new(rule));
            let table = match rule.scope {
                Scope::System => &mut set.system,
                Scope::Project(project) => set.projects.entry(project).or_default(),
                Scope::Instance(_, instance) => set.instances.entry(instance).or_default(),
            };
            for action in rule.body.action.actions() {
                let index = &mut table.0[action as usize];
                match compiled.exact() {
                    Some(names) => names.into_iter().for_each(|name| {
                        index.exact.entry(name.to_owned()).or_default().push(compiled.clone());
                    }),
                    None => index.rest.push(compiled.clone()),
                }
            }
            set.rules.push(compiled);
        }
        set
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The one decision.
    pub fn judge(&self, request: &Request) -> Decision {
        if let Some(refusal) = malformed(request) {
            return refusal;
        }
        let found = Level::ALL.map(|level| {
            let mut found = Found::default();
            self.fitting(level, request).for_each(|rule| found.add(rule));
            found
        });
        decide(&found)
    }

    /// Whether some rule for these askers can be decided only by seeing the requests of a connection to the target.
    pub fn looks_into(&self, who: &Who, target: &Target, now: Millis) -> bool {
        Level::ALL.into_iter().any(|level| {
            self.candidates(level, who, Action::EgressRequest, target.host.name())
                .any(|rule| rule.concerns(who, now) && rule.looks_into(target))
        })
    }

    /// Whether some rule for these askers names paths of the target.
    pub fn names_paths(&self, who: &Who, target: &Target, now: Millis) -> bool {
        Level::ALL.into_iter().any(|level| {
            self.candidates(level, who, Action::EgressRequest, target.host.name())
                .any(|rule| rule.concerns(who, now) && rule.names_paths(target))
        })
    }

    pub(super) fn fitting<'a>(
        &'a self,
        level: Level,
        request: &'a Request,
    ) -> impl Iterator<Item = &'a Compiled> {
        let key = match &request.resource {
            Resource::Named(name) => Some(name.as_str()),
            Resource::Network(target) => target.host.name(),
        };
        self.candidates(level, &request.who, request.action, key).filter(|rule| rule.fits(request))
    }

    fn candidates<'a>(
        &'a self,
        level: Level,
        who: &Who,
        action: Action,
        key: Option<&str>,
    ) -> impl Iterator<Item = &'a Compiled> {
        let table = match level {
            Level::System => Some(&self.system),
            Level::Project => who.project.and_then(|id| self.projects.get(&id)),
            Level::Instance => who.instance.and_then(|id| self.instances.get(&id)),
        };
        let index = table.map(|table| &table.0[action as usize]);
        let exact = index.zip(key).and_then(|(index, key)| index.exact.get(key)).into_iter().flatten();
        exact.chain(index.into_iter().flat_map(|index| &index.rest)).map(Arc::as_ref)
    }
}

/// A resource that is not of its action's kind is nothing that rules could speak of.
pub(super) fn malformed(request: &Request) -> Option<Decision> {
    let matches = matches!(
        (request.action.kind(), &request.resource),
        (Kind::Network, Resource::Network(_)) | (Kind::Named, Resource::Named(_))
    );
    (!matches).then(|| Decision {
        verdict: Verdict::Deny,
        rule: None,
        level: Level::System,
        why: format!("`{}` is not done to such a resource", request.action),
    })
}

fn decide(found: &[Found<'_>; 3]) -> Decision {
    if let Some(rule) = found.iter().find_map(|level| level.deny) {
        return by(rule, Verdict::Deny);
    }
    let mut permitted: Option<&Compiled> = None;
    // A grant speaks for its own level and for those below.
    let mut granted = false;
    for (level, found) in Level::ALL.into_iter().zip(found) {
        granted |= found.grant.is_some();
        if let Some(rule) = found.ask
            && !granted
        {
            return by(rule, Verdict::Ask);
        }
        if permitted.is_some() {
            continue;
        }
        permitted = found.allow.or(found.grant);
        if permitted.is_none() && found.delegate.is_none() {
            return silent(level);
        }
    }
    permitted.map_or_else(|| silent(Level::Instance), |rule| by(rule, Verdict::Allow))
}

fn by(rule: &Compiled, verdict: Verdict) -> Decision {
    let level = rule.level();
    let what = match verdict {
        Verdict::Deny => "a rule of the LEVEL refuses it",
        Verdict::Ask => "a rule of the LEVEL wants a person to grant it first",
        Verdict::Allow if rule.grant => "a person has granted it for a time, at the level of the LEVEL",
        Verdict::Allow => "a rule of the LEVEL allows it",
    };
    let mut why = what.replace("LEVEL", level.as_str());
    if !rule.note.is_empty() {
        why.push_str(": ");
        why.push_str(&rule.note);
    }
    Decision { verdict, rule: Some(rule.id), level, why }
}

fn silent(level: Level) -> Decision {
    let why = match level {
        Level::System => "no rule of the system allows it or leaves it to projects",
        Level::Project => {
            "the system leaves it to the project, and no rule of the project allows it or leaves it to instances"
        }
        Level::Instance => {
            "system and project leave it to the instance, and no rule of the instance allows it"
        }
    };
    Decision { verdict: Verdict::Deny, rule: None, level, why: why.to_owned() }
}
