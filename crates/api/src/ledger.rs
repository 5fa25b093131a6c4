//! Money: balances, statements, usage, invoices, prices, caps. Amounts are whole satoshis.

use ryokan_model::billing::{Period, Spend, Suspension};
use ryokan_model::price::Rates;
use ryokan_model::{ProjectId, Sats, TransactionId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Where a project stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    pub project: ProjectId,
    /// Negative is owed.
    pub balance: Sats,
    /// Of it, set aside for what is being done.
    pub reserved: Sats,
    /// Usage is charged here. Where it is not, it is metered all the same.
    pub billing: bool,
    /// Since when the balance has been below zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_for: Option<Suspension>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<i64>,
    /// When the cap's period turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_until: Option<i64>,
    /// Of a project that asks for blockchain funding, once its agents' address was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<AgentFunds>,
}

/// What the address of a project's agents holds on the chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentFunds {
    /// When it was last looked up and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Sats>,
    pub checked_at: i64,
    /// Why it is not topped up, although it is low.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// One line of a statement.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerLine {
    /// Counts the project's lines, without gaps.
    pub seq: i64,
    pub transaction: TransactionId,
    /// `usage`, `payment`, `credit`, `refund`, `models`, `tools`, `funding`.
    pub kind: String,
    pub amount: Sats,
    pub balance_after: Sats,
    /// Of usage: when its five minutes began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<i64>,
    pub reason: String,
    pub actor: String,
    pub at: i64,
}

/// `POST /v1/projects/{p}/credits` and `/refunds`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveMoney {
    /// At least 1.
    pub amount: Sats,
    pub reason: String,
}

/// A deleted project that still has money, or owes some.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeftOver {
    pub project: ProjectId,
    pub name: String,
    /// Who owned it last.
    pub owner: String,
    pub deleted_at: i64,
    pub balance: Sats,
}

/// How usage is summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageStep {
    /// Five minutes.
    Interval,
    #[default]
    Hour,
    Day,
}

/// `GET /v1/projects/{p}/usage`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Of one instance only: id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// UTC milliseconds; a day before `to` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// UTC milliseconds, itself not included; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// `interval`, `hour` (if absent) or `day`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub step: Option<UsageStep>,
}

/// What was used in one step. Only what is closed: the last five minutes and a few seconds are missing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UsageSum {
    pub start: i64,
    /// Seconds of one core, in thousandths.
    pub cpu_millis: u64,
    /// Megabytes (10^6) times seconds.
    pub memory_mb_seconds: u64,
    /// Megabytes (10^6) times seconds.
    pub disk_mb_seconds: u64,
    /// In and out.
    pub network_bytes: u64,
    pub gpu_millis: u64,
    /// What it came to, in millionths of a satoshi; zero where it was not charged.
    pub microsats: i64,
}

/// A month. The current one is what it comes to so far.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invoice {
    pub project: ProjectId,
    /// `2026-11`, UTC.
    pub month: String,
    pub opening_balance: Sats,
    pub closing_balance: Sats,
    pub lines: Vec<InvoiceLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageSum>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InvoiceLine {
    /// `usage`, `payment`, ...
    pub kind: String,
    /// The account at the other end: `revenue:cpu`, `payments`, ...
    pub account: String,
    pub entries: i64,
    /// As it changed the project's balance: charges are negative.
    pub amount: Sats,
}

/// `GET /v1/projects/{p}/invoices`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvoiceQuery {
    /// `2026-11`.
    pub month: String,
}

/// A version of a price.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Price {
    pub version: i64,
    /// The project's own; else the server's.
    pub own: bool,
    /// From when on.
    pub from: i64,
    /// The project went back to the server's price; then `rates` mean nothing.
    pub cleared: bool,
    pub rates: Rates,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Prices {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Price>,
    /// The newest first.
    pub versions: Vec<Price>,
}

/// `PUT /v1/projects/{p}/prices`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPrices {
    /// The server's again when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    #[serde(default)]
    pub reason: String,
}

/// The most that may be spent in a period.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Cap {
    /// Id of the instance; of the whole project when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub kind: Spend,
    pub period: Period,
    pub amount: Sats,
    /// In the current period, rounded down.
    pub spent: Sats,
    pub reserved: Sats,
    pub reached: bool,
}

/// `PUT /v1/projects/{p}/caps`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCap {
    /// Id or name; the whole project when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub kind: Spend,
    pub period: Period,
    /// No cap any more when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Sats>,
}

/// Whom to tell when the balance falls.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct BillingSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
}

/// `PUT /v1/projects/{p}/billing`. What is not given is taken away.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBillingSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// 16 to 512 characters; needed when a webhook is first set, and shown never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
}

/// What recomputing the whole ledger found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    pub intervals: u64,
    /// Of these, summed up again from their samples.
    pub from_samples: u64,
    pub accounts: u64,
    /// Zero is how it must be.
    pub differences: u64,
    /// The first hundred.
    pub examples: Vec<String>,
}
