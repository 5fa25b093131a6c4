//! Who may do what: the scopes of a token, the roles of a member, and the one rule that joins them.

use std::collections::{BTreeMap, BTreeSet};
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

/// What a member may do in a project. Each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Looks: states, logs, usage. Not into private agents, whose pages make them act.
    Viewer,
    /// Makes, changes, enters and deletes what is in the project; sets its variables and secrets.
    Developer,
    /// Members below owners, settings, domains, registries, money.
    Admin,
    /// Owners, and the project's end.
    Owner,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Developer, Self::Admin, Self::Owner];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// What a credential would need for the same.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Viewer => Scope::Read,
            Self::Developer => Scope::Write,
            Self::Admin | Self::Owner => Scope::Admin,
        }
    }

    /// The least role that reaches as far as a scope.
    pub const fn least(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Viewer,
            Scope::Write => Self::Developer,
            Scope::Admin => Self::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Invalid;
    fn from_str(s: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|role| role.as_str() == s).ok_or_else(|| {
            Invalid::new("role", format!("`{s}` is not a role: viewer, developer, admin or owner"))
        })
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
    /// The projects that the account is a member of.
    pub projects: BTreeMap<ProjectId, Role>,
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
    /// The caller may see it, but is not enough of a member for the action.
    Role(Role),
}

impl Caller {
    /// Whether the caller's credential acts as an operator: the account is one, and a scoped credential says so.
    pub fn is_operator(&self) -> bool {
        self.operator && self.scope == Scope::Admin && self.only_project.is_none()
    }

    /// Whether `need` is allowed on something of `project`.
    pub fn may(&self, need: Scope, project: ProjectId) -> Result<(), Refused> {
        self.may_as(Role::least(need), project)
    }

    /// Whether the caller may do what members with the role `need` may.
    pub fn may_as(&self, need: Role, project: ProjectId) -> Result<(), Refused> {
        let Some(role) = self.role_in(project) else { return Err(Refused::Hidden) };
        if self.scope < need.scope() {
            return Err(Refused::Scope(need.scope()));
        }
        if role < need {
            return Err(Refused::Role(need));
        }
        Ok(())
    }

    /// The caller's role in a project that this credential reaches. Operators are owners everywhere.
    pub fn role_in(&self, project: ProjectId) -> Option<Role> {
        if self.only_project.is_some_and(|only| only != project) {
            return None;
        }
        if self.is_operator() { Some(Role::Owner) } else { self.projects.get(&project).copied() }
    }

    /// The projects that the caller may list; `None` means all of the installation.
    pub fn visible_projects(&self) -> Option<BTreeSet<ProjectId>> {
        if self.is_operator() {
            return None;
        }
        Some(
            self.projects
                .keys()
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
            projects: [(project(1), Role::Owner)].into(),
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

    #[test]
    fn a_role_and_a_scope_must_both_reach() {
        for role in Role::ALL {
            for scope in [Scope::Read, Scope::Write, Scope::Admin] {
                let mut caller = caller(scope, false, None);
                caller.projects = [(project(1), role)].into();
                for need in Role::ALL {
                    let may = caller.may_as(need, project(1));
                    let expected = if scope < need.scope() {
                        Err(Refused::Scope(need.scope()))
                    } else if role < need {
                        Err(Refused::Role(need))
                    } else {
                        Ok(())
                    };
                    assert_eq!(may, expected, "{role} with {scope} for {need}");
                    assert_eq!(caller.may_as(need, project(2)), Err(Refused::Hidden));
                }
            }
        }
        assert_eq!("viewer".parse(), Ok(Role::Viewer));
        assert!("root".parse::<Role>().is_err());
    }
}
