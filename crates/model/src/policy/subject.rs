//! Whom a rule is about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::request::Who;
use super::text_form;
use crate::{GroupId, InstanceId, Invalid, ProjectId, TaskId, UserId};

/// What an agent is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AgentRole {
    /// Does a part of a task, in a sandbox.
    Worker,
    /// Plans, and gives parts away.
    Manager,
    /// Judges what others did.
    Analyst,
    /// A person, by a client of its own.
    User,
}

impl AgentRole {
    pub const ALL: [Self; 4] = [Self::Worker, Self::Manager, Self::Analyst, Self::User];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
            Self::Analyst => "analyst",
            Self::User => "user",
        }
    }
}

impl FromStr for AgentRole {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Invalid::new("subject", "is no role of agents: worker, manager, analyst or user"))
    }
}

/// `everybody`, or one kind with its id: `user:…`, `group:…`, `project:…`, `task:…`, `instance:…`, `role:worker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Subject {
    #[default]
    Everybody,
    User(UserId),
    Group(GroupId),
    Project(ProjectId),
    Task(TaskId),
    Instance(InstanceId),
    Role(AgentRole),
}

impl Subject {
    pub fn fits(self, who: &Who) -> bool {
        match self {
            Self::Everybody => true,
            Self::User(id) => who.user == Some(id),
            Self::Group(id) => who.groups.contains(&id),
            Self::Project(id) => who.project == Some(id),
            Self::Task(id) => who.task == Some(id),
            Self::Instance(id) => who.instance == Some(id),
            Self::Role(role) => who.role == Some(role),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Group(id) => write!(f, "group:{id}"),
            Self::Project(id) => write!(f, "project:{id}"),
            Self::Task(id) => write!(f, "task:{id}"),
            Self::Instance(id) => write!(f, "instance:{id}"),
            Self::Role(role) => write!(f, "role:{}", role.as_str()),
        }
    }
}

impl FromStr for Subject {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = || {
            Invalid::new(
                "subject",
                "must be `everybody`, or one of user:, group:, project:, task:, instance: with an id, or role: with worker, manager, analyst or user",
            )
        };
        if text == "everybody" {
            return Ok(Self::Everybody);
        }
        let (kind, id) = text.split_once(':').ok_or_else(no)?;
        let bad = |_| no();
        Ok(match kind {
            "user" => Self::User(id.parse().map_err(bad)?),
            "group" => Self::Group(id.parse().map_err(bad)?),
            "project" => Self::Project(id.parse().map_err(bad)?),
            "task" => Self::Task(id.parse().map_err(bad)?),
            "instance" => Self::Instance(id.parse().map_err(bad)?),
            "role" => Self::Role(id.parse()?),
            _ => return Err(no()),
        })
    }
}

text_form!(Subject, "everybody");
