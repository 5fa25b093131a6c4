//! A rule: at which level, about whom, what, on what, when; and what follows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ActionPattern, Conditions, Resources, Subject, Who};
use crate::{InstanceId, Invalid, ProjectId, RuleId};

/// What follows where a rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyEffect))]
pub enum Effect {
    /// Refused, whatever else there is.
    Deny,
    /// Refused until a person grants it for a time.
    Ask,
    /// Allowed, if the levels above leave it to this one.
    Allow,
    /// Left to the levels below.
    Delegate,
}

impl Effect {
    pub const ALL: [Self; 4] = [Self::Deny, Self::Ask, Self::Allow, Self::Delegate];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Ask => "ask",
            Self::Allow => "allow",
            Self::Delegate => "delegate",
        }
    }

    /// Whether it can only take away, so that doubt is a reason for it.
    pub const fn restricts(self) -> bool {
        matches!(self, Self::Deny | Self::Ask)
    }
}

impl FromStr for Effect {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|effect| effect.as_str() == text)
            .ok_or_else(|| Invalid::new("effect", "must be allow, deny, ask or delegate"))
    }
}

/// From the top down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyLevel))]
pub enum Level {
    System,
    Project,
    Instance,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::System, Self::Project, Self::Instance];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Project => "project",
            Self::Instance => "instance",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| Invalid::new("level", "must be system, project or instance"))
    }
}

/// A level, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    System,
    Project(ProjectId),
    /// Of an instance, in its project.
    Instance(ProjectId, InstanceId),
}

impl Scope {
    pub const fn level(self) -> Level {
        match self {
            Self::System => Level::System,
            Self::Project(_) => Level::Project,
            Self::Instance(..) => Level::Instance,
        }
    }

    pub const fn project(self) -> Option<ProjectId> {
        match self {
            Self::System => None,
            Self::Project(project) | Self::Instance(project, _) => Some(project),
        }
    }

    pub const fn instance(self) -> Option<InstanceId> {
        match self {
            Self::Instance(_, instance) => Some(instance),
            _ => None,
        }
    }

    /// Whether rules of it concern somebody.
    pub fn fits(self, who: &Who) -> bool {
        match self {
            Self::System => true,
            Self::Project(project) => who.project == Some(project),
            Self::Instance(project, instance) => {
                who.project == Some(project) && who.instance == Some(instance)
            }
        }
    }
}

/// What people write of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyRuleBody))]
pub struct RuleBody {
    pub effect: Effect,
    pub action: ActionPattern,
    #[serde(default)]
    pub subject: Subject,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub conditions: Conditions,
    /// Why it is there, for people.
    #[serde(default)]
    pub note: String,
}

impl RuleBody {
    pub fn validate(&self) -> Result<(), Invalid> {
        self.resources.validate(self.action).map_err(|invalid| {
            if invalid.field == "action" { invalid } else { invalid.under("resources") }
        })?;
        self.conditions.validate().map_err(|invalid| invalid.under("conditions"))?;
        if self.note.len() > 500 || self.note.chars().any(char::is_control) {
            return Err(Invalid::new("note", "must be one line of at most 500 bytes"));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: RuleId,
    pub scope: Scope,
    pub body: RuleBody,
    /// A person's answer to a question: it also lifts `ask` at its own level and below.
    pub grant: bool,
}
