//! What happens when the container ends by itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::quantity::Span;

/// What happens when the container ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestartPolicy {
    #[serde(default)]
    pub mode: RestartMode,
    /// Exit codes after which a restart cannot help; the instance fails at once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fatal_exit_codes: BTreeSet<i64>,
    /// Crashes without a stable run in between until the instance fails.
    #[serde(default = "RestartPolicy::default_max_crashes")]
    pub max_crashes: u32,
    /// A run of this length forgives earlier crashes.
    #[serde(default = "RestartPolicy::default_stable_after")]
    pub stable_after: Span,
    #[serde(default = "RestartPolicy::default_backoff")]
    pub backoff: Span,
    #[serde(default = "RestartPolicy::default_max_backoff")]
    pub max_backoff: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RestartMode {
    #[default]
    Always,
    /// An exit with 0 is the end of its work: the instance is `stopped`.
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn default_max_crashes() -> u32 {
        10
    }
    fn default_stable_after() -> Span {
        Span::seconds(600)
    }
    fn default_backoff() -> Span {
        Span::seconds(1)
    }
    fn default_max_backoff() -> Span {
        Span::seconds(60)
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.max_crashes == 0 {
            return Err(Invalid::new("restart.max_crashes", "must be at least 1"));
        }
        if self.backoff > self.max_backoff || self.max_backoff > Span::seconds(3600) {
            return Err(Invalid::new("restart.max_backoff", "must be between `restart.backoff` and 1h"));
        }
        Ok(())
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            mode: RestartMode::default(),
            fatal_exit_codes: BTreeSet::new(),
            max_crashes: Self::default_max_crashes(),
            stable_after: Self::default_stable_after(),
            backoff: Self::default_backoff(),
            max_backoff: Self::default_max_backoff(),
        }
    }
}
