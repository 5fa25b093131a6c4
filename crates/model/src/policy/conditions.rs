//! When a rule holds.

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::{Invalid, Millis};

/// All that are given must hold. What cannot be told (a budget that nobody knows) holds for rules that refuse or ask.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyConditions))]
pub struct Conditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Only once (`true`), or only as long as not (`false`), the asker has read what nobody vouches for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tainted: Option<bool>,
    /// Only while at least so much is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Until then, and not at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyBudget))]
pub struct Budget {
    /// Which, as `tokens` or `satoshis`.
    pub name: String,
    pub at_least: u64,
}

impl Conditions {
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(window) = &self.window {
            window.validate()?;
        }
        if let Some(budget) = &self.budget {
            let name = &budget.name;
            let ok = (1..=40).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !ok {
                return Err(Invalid::new(
                    "budget.name",
                    "must be 1 to 40 lower-case letters, digits and `_`",
                ));
            }
        }
        Ok(())
    }
}
