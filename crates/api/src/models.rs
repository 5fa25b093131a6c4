//! Providers of models, their prices, routes, budgets, and what was spent. Calls themselves are in the dialects of their
//! clients.

use ryokan_model::billing::Period;
pub use ryokan_model::models::{
    BudgetScope, BudgetUnit, CallOutcome, Candidate, Capabilities, ProviderKind, ProviderOptions,
    TokenPrices, Tokens,
};
use ryokan_model::{ModelCallId, ProjectId};
use serde::{Deserialize, Serialize};

macro_rules! wire {
    ($(#[$doc:meta])* in $name:ident $body:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[derive(utoipa::ToSchema)]
        pub struct $name $body
    };
    ($(#[$doc:meta])* out $name:ident $body:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[derive(utoipa::ToSchema)]
        pub struct $name $body
    };
}

const fn yes() -> bool {
    true
}

wire! {
    /// Adds a provider.
    in CreateProvider {
        pub name: String,
        pub kind: ProviderKind,
        /// As its own clients have it: `http://127.0.0.1:11434` (ollama), `https://api.openai.com/v1` (openai),
        /// `https://api.anthropic.com` (anthropic).
        pub base_url: String,
        /// Sealed; no answer ever holds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub key: Option<String>,
        #[serde(default = "yes")]
        pub enabled: bool,
        /// Whether what is sent to it stays here; by its address when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub local: Option<bool>,
        #[serde(default)]
        pub options: ProviderOptions,
    }
}

wire! {
    /// Changes a provider; what is absent stays.
    in UpdateProvider {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub base_url: Option<String>,
        /// An empty one takes the key away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub key: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub enabled: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub local: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub options: Option<ProviderOptions>,
    }
}

wire! {
    out Provider {
        pub name: String,
        pub kind: ProviderKind,
        pub base_url: String,
        /// Whether it has a key.
        pub key: bool,
        pub enabled: bool,
        pub local: bool,
        pub options: ProviderOptions,
        /// The last look at what it offers, UTC milliseconds.
        pub checked_at: Option<i64>,
        /// Why it could not be asked then.
        pub problem: Option<String>,
        pub created_at: i64,
    }
}

wire! {
    /// A model of a provider.
    out ProviderModel {
        pub name: String,
        pub enabled: bool,
        /// The provider has it now.
        pub offered: bool,
        /// What it can do, as far as anybody says.
        pub capabilities: Capabilities,
        /// What of that an operator says.
        pub stated: Capabilities,
    }
}

wire! {
    out ProviderDetail {
        pub provider: Provider,
        pub models: Vec<ProviderModel>,
    }
}

wire! {
    /// What an operator says of a model.
    in PutModel {
        pub name: String,
        #[serde(default = "yes")]
        pub enabled: bool,
        /// Instead of what the provider says.
        #[serde(default)]
        pub capabilities: Capabilities,
    }
}

wire! {
    in PullModel {
        pub model: String,
    }
}

wire! {
    /// How far a pull is. The last one has `done`, and an `error` if it failed.
    out PullProgress {
        pub status: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub completed: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub total: Option<i64>,
        #[serde(default)]
        pub done: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub error: Option<String>,
    }
}

wire! {
    /// A name for models of providers.
    out ModelRoute {
        pub name: String,
        pub candidates: Vec<Candidate>,
    }
}

wire! {
    in PutModelRoute {
        /// In the order in which they are tried; local ones come first.
        pub candidates: Vec<Candidate>,
    }
}

wire! {
    /// A version of a price.
    out ModelPrice {
        pub version: i64,
        pub provider: String,
        /// Absent: of all models of the provider that have none of their own.
        pub model: Option<String>,
        /// In force from then on, UTC milliseconds.
        pub from: i64,
        pub prices: TokenPrices,
        pub reason: String,
    }
}

wire! {
    in SetModelPrice {
        pub provider: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
        /// Satoshis for a million tokens.
        pub prices: TokenPrices,
        #[serde(default)]
        pub reason: String,
    }
}

wire! {
    /// What is decided about all calls of a project, or of everybody.
    out ModelRules {
        /// Since when calls are stopped, UTC milliseconds.
        pub stopped_at: Option<i64>,
        pub stopped_by: Option<String>,
        /// Calls may go to providers outside.
        pub external: bool,
        pub keep_prompts: bool,
    }
}

wire! {
    in SetModelRules {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stopped: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub external: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub keep_prompts: Option<bool>,
    }
}

wire! {
    /// A budget, and what counts against it now.
    out ModelBudget {
        pub scope: BudgetScope,
        pub unit: BudgetUnit,
        pub period: Period,
        pub amount: i64,
        /// Whole tokens or satoshis.
        pub spent: i64,
        /// Set aside for calls that are under way.
        pub held: i64,
    }
}

wire! {
    in SetModelBudget {
        /// Of one instance of the project.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub instance: Option<String>,
        pub unit: BudgetUnit,
        pub period: Period,
        /// Absent takes the budget away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<i64>,
    }
}

wire! {
    /// Calls of one model of one provider in one day.
    out ModelUsage {
        /// The day's start, UTC milliseconds.
        pub day: i64,
        pub model: String,
        pub provider: String,
        pub calls: i64,
        /// Of these, those that did not end well.
        pub failed: i64,
        pub tokens: Tokens,
        /// What they cost, in millionths of a satoshi.
        pub microsats: i64,
        /// What was charged; the rest is carried on.
        pub satoshis: i64,
    }
}

wire! {
    /// One call.
    out ModelCall {
        pub id: ModelCallId,
        pub at: i64,
        pub project: ProjectId,
        pub user: Option<String>,
        pub instance: Option<String>,
        pub endpoint: String,
        pub model: String,
        pub provider: String,
        pub upstream_model: String,
        /// Why this provider.
        pub reason: String,
        pub outcome: CallOutcome,
        pub status: i64,
        pub tokens: Tokens,
        /// Tokens were counted by us, since the provider did not say.
        pub estimated: bool,
        pub microsats: i64,
        pub satoshis: i64,
        pub price_version: Option<i64>,
        pub millis: i64,
        pub first_byte_millis: Option<i64>,
    }
}
