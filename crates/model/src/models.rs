//! The model gateway's words: who answers calls of models, what they offer, which of them a name leads to, what tokens
//! cost, who calls, and what came of it. Pure: the snapshot that the data plane reads is made of these.
//!
//! Money is counted in millionths of a satoshi until it is charged: a price is satoshis for a million tokens, so that a
//! token costs exactly that many millionths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::billing::words;
use crate::{InstanceId, Invalid, Millis, ModelCallId, ProjectId, Secret, UserId};

words!(
    /// What a provider speaks.
    ProviderKind, "kind",
    /// Ollama: its own API for lists and pulls, OpenAI's for calls.
    Ollama = "ollama",
    /// Any server with OpenAI's API.
    Openai = "openai",
    Anthropic = "anthropic",
);

words!(
    /// What a budget is for.
    BudgetScope, "scope",
    Project = "project",
    /// A user, over all projects.
    User = "user",
    Instance = "instance",
);

words!(
    /// What a budget counts.
    BudgetUnit, "unit",
    Tokens = "tokens",
    Satoshis = "satoshis",
);

words!(
    /// How a call ended.
    CallOutcome, "outcome",
    Ok = "ok",
    /// Refused before anything was sent: budget, policy, stop, or a request that cannot be served.
    Refused = "refused",
    /// The provider refused or failed.
    Failed = "failed",
    /// The client went away.
    Cancelled = "cancelled",
    /// The stream broke off, or a time was over.
    Broken = "broken",
    /// The server died; nobody knows what was used.
    Lost = "lost",
);

/// Tokens of one call. `cached` are among `input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    pub input: i64,
    pub cached: i64,
    pub output: i64,
}

impl Tokens {
    pub const fn total(self) -> i64 {
        self.input.saturating_add(self.output)
    }
}

/// Satoshis for a million tokens of each kind: millionths of a satoshi for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenPrices {
    pub input: i64,
    /// Input that the provider had in its cache.
    #[serde(default)]
    pub cached: i64,
    pub output: i64,
}

impl TokenPrices {
    /// A thousand coins for a million tokens.
    const MOST: i64 = 100_000_000_000;

    pub fn validate(&self, field: &str) -> Result<(), Invalid> {
        for (name, price) in [("input", self.input), ("cached", self.cached), ("output", self.output)] {
            if !(0..=Self::MOST).contains(&price) {
                return Err(Invalid::new(
                    format!("{field}.{name}"),
                    format!("must be from 0 to {} satoshis for a million tokens", Self::MOST),
                ));
            }
        }
        Ok(())
    }

    pub const fn is_free(&self) -> bool {
        self.input == 0 && self.cached == 0 && self.output == 0
    }

    /// Millionths of a satoshi; saturates, so that what is too much to count is refused rather than free.
    pub fn cost(&self, tokens: Tokens) -> i64 {
        let cached = tokens.cached.clamp(0, tokens.input.max(0));
        let part = |count: i64, price: i64| i128::from(count.max(0)) * i128::from(price.max(0));
        let sum = part(tokens.input - cached, self.input)
            + part(cached, self.cached)
            + part(tokens.output, self.output);
        i64::try_from(sum).unwrap_or(i64::MAX)
    }

    /// The most that so many tokens may cost, however many of them turn out to be cached.
    pub fn most(&self, input: i64, output: i64) -> i64 {
        let dearest = Self { input: self.input.max(self.cached), cached: 0, output: self.output };
        dearest.cost(Tokens { input, cached: 0, output })
    }
}

/// What a model can do, as far as anybody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capabilities {
    /// Tokens of input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<i64>,
    /// Tokens of output at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<bool>,
    /// Bytes on the provider's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

impl Capabilities {
    /// What `stated` says where it says something.
    #[must_use]
    pub fn with(self, stated: Self) -> Self {
        Self {
            context: stated.context.or(self.context),
            max_output: stated.max_output.or(self.max_output),
            tools: stated.tools.or(self.tools),
            images: stated.images.or(self.images),
            embeddings: stated.embeddings.or(self.embeddings),
            bytes: self.bytes,
        }
    }

    pub fn validate(&self, field: &str) -> Result<(), Invalid> {
        for (name, value) in [("context", self.context), ("max_output", self.max_output)] {
            if value.is_some_and(|n| !(1..=100_000_000).contains(&n)) {
                return Err(Invalid::new(format!("{field}.{name}"), "must be from 1 to 100000000 tokens"));
            }
        }
        if self.bytes.is_some() {
            return Err(Invalid::new(format!("{field}.bytes"), "is what the provider says; leave it out"));
        }
        Ok(())
    }
}

/// How a provider is called. Times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderOptions {
    pub connect_ms: u64,
    /// Until the first byte of an answer: a large model is loaded in this time.
    pub first_byte_ms: u64,
    /// Between two pieces of a streamed answer.
    pub idle_ms: u64,
    /// For all of a call.
    pub total_ms: u64,
    /// Calls at once.
    pub concurrency: u32,
    /// Calls that wait for a place, of all projects and of one.
    pub waiting: u32,
    pub waiting_per_project: u32,
    /// The longest wait for a place.
    pub wait_ms: u64,
    /// Bytes of models that may be pulled onto it; pulls are refused where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_bytes: Option<i64>,
}

impl Default for ProviderOptions {
    fn default() -> Self {
        Self {
            connect_ms: 3_000,
            first_byte_ms: 120_000,
            idle_ms: 60_000,
            total_ms: 900_000,
            concurrency: 64,
            waiting: 256,
            waiting_per_project: 64,
            wait_ms: 30_000,
            pull_bytes: None,
        }
    }
}

impl ProviderOptions {
    pub fn validate(&self) -> Result<(), Invalid> {
        let hour = 3_600_000;
        let times = [
            ("connect_ms", self.connect_ms, 60_000),
            ("first_byte_ms", self.first_byte_ms, hour),
            ("idle_ms", self.idle_ms, hour),
            ("total_ms", self.total_ms, hour),
            ("wait_ms", self.wait_ms, 600_000),
            ("concurrency", self.concurrency.into(), 100_000),
        ];
        for (name, value, most) in times {
            if value == 0 || value > most {
                return Err(Invalid::new(format!("options.{name}"), format!("must be from 1 to {most}")));
            }
        }
        if self.waiting > 100_000 || self.waiting_per_project > 100_000 {
            return Err(Invalid::new("options.waiting", "must be from 0 to 100000"));
        }
        if self.pull_bytes.is_some_and(|bytes| bytes < 0) {
            return Err(Invalid::new("options.pull_bytes", "must not be negative"));
        }
        Ok(())
    }
}

/// Somebody who answers calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub name: String,
    pub kind: ProviderKind,
    /// Without a trailing slash, as the families' own clients have it: for `openai` with the version's part (`…/v1`), for
    /// the others without.
    pub base_url: String,
    pub key: Option<Secret>,
    pub enabled: bool,
    /// What is sent to it stays with us.
    pub local: bool,
    pub options: ProviderOptions,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub provider: Arc<Provider>,
    pub model: String,
    pub can: Capabilities,
    /// The version in force, and what it says; free without one.
    pub price_version: Option<i64>,
    pub prices: TokenPrices,
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    pub provider: String,
    pub model: String,
}

/// What is decided about the calls of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub stopped: bool,
    pub external: bool,
    pub keep_prompts: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { stopped: false, external: true, keep_prompts: false }
    }
}

/// Everything that a call is decided by.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Of enabled providers, by the model's name: local ones first, then by provider.
    pub offers: BTreeMap<String, Vec<Arc<Offer>>>,
    pub routes: BTreeMap<String, Vec<Candidate>>,
    pub stopped: bool,
    pub rules: BTreeMap<ProjectId, Rules>,
    /// Whoever has a budget: as [`Subject::scopes`] has them.
    pub budgeted: BTreeSet<(BudgetScope, String)>,
    /// Whether tokens are charged at all.
    pub charging: bool,
}

impl Snapshot {
    pub fn rules_of(&self, project: ProjectId) -> Rules {
        self.rules.get(&project).copied().unwrap_or_default()
    }

    /// Whether something has to be set aside before a call.
    pub fn must_hold(&self, subject: &Subject, prices: &TokenPrices) -> bool {
        (self.charging && !prices.is_free()) || subject.scopes().any(|scope| self.budgeted.contains(&scope))
    }
}

/// Who calls: somebody with a token, or an instance. Whoever makes one has checked that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub project: ProjectId,
    pub user: Option<UserId>,
    pub instance: Option<InstanceId>,
}

impl Subject {
    /// What its budgets and spending are kept under.
    pub fn scopes(&self) -> impl Iterator<Item = (BudgetScope, String)> {
        [
            Some((BudgetScope::Project, self.project.to_string())),
            self.user.map(|user| (BudgetScope::User, user.to_string())),
            self.instance.map(|instance| (BudgetScope::Instance, instance.to_string())),
        ]
        .into_iter()
        .flatten()
    }
}

/// What a call may use at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub model: String,
    pub tokens: i64,
    pub microsats: i64,
    /// Until when it is over, whatever happens.
    pub expires: std::time::Duration,
}

/// What came of a call: one row, without a word of what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Of what was set aside for it.
    pub hold: Option<ModelCallId>,
    pub at: Millis,
    pub subject: Subject,
    pub endpoint: &'static str,
    pub model: String,
    pub provider: String,
    pub upstream_model: String,
    pub reason: String,
    pub outcome: CallOutcome,
    pub status: u16,
    pub tokens: Tokens,
    pub estimated: bool,
    pub microsats: i64,
    pub price_version: Option<i64>,
    pub millis: i64,
    pub first_byte_millis: Option<i64>,
}

/// A name for a provider or a route: also a label of metrics and a part of `provider/model`.
pub fn check_name(field: &str, name: &str) -> Result<(), Invalid> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let ok = (1..=63).contains(&name.len())
        && name.bytes().all(good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            "must be 1 to 63 of a-z, 0-9, `-`, `.` and `_`, and begin with a letter or digit",
        ))
    }
}

/// A model's name as a provider gives it.
pub fn check_model(field: &str, name: &str) -> Result<(), Invalid> {
    let ok = (1..=200).contains(&name.len()) && name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if ok { Ok(()) } else { Err(Invalid::new(field, "must have 1 to 200 visible characters")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_costs_its_price_in_millionths() {
        let prices = TokenPrices { input: 3, cached: 1, output: 15 };
        assert_eq!(prices.cost(Tokens { input: 10, cached: 4, output: 2 }), 6 * 3 + 4 + 30);
        // Nonsense from a provider is neither a gain nor an overflow.
        assert_eq!(prices.cost(Tokens { input: 1, cached: 9, output: -5 }), 1);
        assert_eq!(prices.cost(Tokens { input: i64::MAX, cached: 0, output: i64::MAX }), i64::MAX);
    }

    proptest! {
        #[test]
        fn nothing_costs_more_than_the_most(
            input in 0i64..1_000_000, cached in 0i64..2_000_000, output in 0i64..1_000_000,
            a in 0i64..1_000_000, b in 0i64..1_000_000, c in 0i64..1_000_000,
        ) {
            let prices = TokenPrices { input: a, cached: b, output: c };
            let cost = prices.cost(Tokens { input, cached, output });
            prop_assert!(cost >= 0 && cost <= prices.most(input, output));
        }
    }

    #[test]
    fn names() {
        for good in ["a", "gpt-5", "llama3.2", "0x"] {
            assert!(check_name("name", good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a/b", "-a", "a b", &"a".repeat(64)] {
            assert!(check_name("name", bad).is_err(), "{bad}");
        }
        assert!(check_model("model", "qwen/qwen3:8b").is_ok() && check_model("model", "a b").is_err());
    }
}
