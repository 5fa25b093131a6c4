//! Who may do what: the scopes of a token, the roles of a member, and the one rule that joins them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Invalid, ProjectId, UserId};

/// What a token may be used for. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    Read,
    Write,
    Admin,
}

impl Scope {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Invalid;
    fn from_str(s: &str) -> Result<Self, Invalid> {
        match s {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(Invalid::new("scope", format!("`{s}` is not a scope: read, write or admin"))),
        }
    }
}

/// Somebody whose credential was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: UserId,
    pub login: String,
    /// The account is an operator of this installation.
    pub operator: bool,
    /// What the credential allows; a session allows all that the account may.
    pub scope: Scope,
    /// The one project that the credential is for; all of the account's when absent.
    pub only_project: Option<ProjectId>,
    /// The account's own projects.
    pub projects: BTreeSet<ProjectId>,
    /// When the credential ends; what it makes must not outlive it.
    pub expires_at: Option<crate::Millis>,
    /// What the credential was, for the audit: `token:…` or `session:…`.
    pub credential: String,
    /// From where, for the audit.
    pub address: String,
    /// The id of the request, for the audit.
    pub request_id: Option<String>,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The caller may not know that it exists: answer as if it did not.
    Hidden,
    /// The caller may see it, but this credential does not allow the action.
    Scope(Scope),
}

impl Caller {
    /// Whether the caller's credential acts as an operator: the account is one, and a scoped credential says so.
    pub fn is_operator(&self) -> bool {
        self.operator && self.scope == Scope::Admin && self.only_project.is_none()
    }

    /// Whether `need` is allowed on something of `project`.
    pub fn may(&self, need: Scope, project: ProjectId) -> Result<(), Refused> {
        let inside = self.only_project.is_none_or(|only| only == project);
        let member = self.projects.contains(&project) || self.is_operator();
        if !inside || !member {
            return Err(Refused::Hidden);
        }
        if self.scope < need {
            return Err(Refused::Scope(need));
        }
        Ok(())
    }

    /// The projects that the caller may list; `None` means all of the installation.
    pub fn visible_projects(&self) -> Option<BTreeSet<ProjectId>> {
        if self.is_operator() {
            return None;
        }
        Some(
            self.projects
                .iter()
                .copied()
                .filter(|p| self.only_project.is_none_or(|only| only == *p))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Scope, operator: bool, only: Option<ProjectId>) -> Caller {
        Caller {
            user: UserId(uuid::Uuid::from_u128(1)),
            login: "a".into(),
            operator,
            scope,
            only_project: only,
            projects: [project(1)].into(),
            expires_at: None,
            credential: "token:x".into(),
            address: "127.0.0.1".into(),
            request_id: None,
        }
    }

    fn project(n: u128) -> ProjectId {
        ProjectId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn rules() {
        let read = caller(Scope::Read, false, None);
        assert_eq!(read.may(Scope::Read, project(1)), Ok(()));
        assert_eq!(read.may(Scope::Write, project(1)), Err(Refused::Scope(Scope::Write)));
        assert_eq!(read.may(Scope::Read, project(2)), Err(Refused::Hidden));
        // An operator's narrow token is no operator's credential.
        assert_eq!(caller(Scope::Read, true, None).may(Scope::Read, project(2)), Err(Refused::Hidden));
        assert_eq!(
            caller(Scope::Admin, true, Some(project(1))).may(Scope::Read, project(2)),
            Err(Refused::Hidden)
        );
        assert_eq!(caller(Scope::Admin, true, None).may(Scope::Write, project(2)), Ok(()));
        // A plain user's admin token reaches no further than the user.
        assert_eq!(caller(Scope::Admin, false, None).may(Scope::Read, project(2)), Err(Refused::Hidden));
        assert!(!caller(Scope::Admin, false, None).is_operator());
    }
}
