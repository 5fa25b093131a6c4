//! The life of a deployment: from the promise of an upload to a release, or to the reason why there is none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeploymentState {
    /// Its upload URL may be used.
    Waiting,
    /// The artifact is here; its turn comes.
    Queued,
    /// Being unpacked, checked and built.
    Building,
    /// Its instances are being made or changed; they have to become ready.
    Releasing,
    Succeeded,
    /// The message says why. What ran before goes on.
    Failed,
    Cancelled,
}

use DeploymentState::{Building, Cancelled, Failed, Queued, Releasing, Succeeded, Waiting};

impl DeploymentState {
    pub const ALL: [Self; 7] = [Waiting, Queued, Building, Releasing, Succeeded, Failed, Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Waiting => "waiting",
            Queued => "queued",
            Building => "building",
            Releasing => "releasing",
            Succeeded => "succeeded",
            Failed => "failed",
            Cancelled => "cancelled",
        }
    }

    /// Nothing follows.
    pub const fn is_over(self) -> bool {
        matches!(self, Succeeded | Failed | Cancelled)
    }

    /// A state may follow itself: a job that is run again begins where it was. One that is run again after a kill
    /// builds again, even when it had begun to release.
    pub fn may_become(self, next: Self) -> bool {
        self == next
            || match self {
                Waiting => matches!(next, Queued | Failed | Cancelled),
                Queued => matches!(next, Building | Failed | Cancelled),
                Building => matches!(next, Releasing | Failed | Cancelled),
                Releasing => matches!(next, Building | Succeeded | Failed | Cancelled),
                Succeeded | Failed | Cancelled => false,
            }
    }
}

impl fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeploymentState {
    type Err = crate::Invalid;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| crate::Invalid::new("state", format!("`{s}` is not a deployment's state")))
    }
}

/// What became of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RevisionState {
    /// Asked for; it was not ready yet.
    Rolling,
    /// It serves, or did last.
    Live,
    /// Another one took its place.
    Superseded,
    /// It never became ready, and what was before it was brought back.
    Failed,
}

impl RevisionState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Live => "live",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for RevisionState {
    type Err = crate::Invalid;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [Self::Rolling, Self::Live, Self::Superseded, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| crate::Invalid::new("state", format!("`{s}` is not a revision's state")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_so_and_all_else_can_end() {
        for state in DeploymentState::ALL {
            assert_eq!(state.as_str().parse::<DeploymentState>().unwrap(), state);
            assert_eq!(state.may_become(Failed) && state.may_become(Cancelled), !state.is_over(), "{state}");
            assert!(
                DeploymentState::ALL
                    .into_iter()
                    .all(|n| n == state || !state.is_over() || !state.may_become(n))
            );
        }
    }
}
