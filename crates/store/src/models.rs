//! Providers of models, what they offer, routes, prices, rules, and budgets: all that the snapshot of the model gateway
//! is made of. Keys are sealed elsewhere ([`provider_secrets`]); a row says only that there is one.

use ryokan_model::billing::Period;
use ryokan_model::models::{
    BudgetScope, BudgetUnit, Candidate, Capabilities, ProviderKind, ProviderOptions, Rules, TokenPrices,
};
use ryokan_model::{Millis, ProjectId};

use crate::{Result, Row, Scope, StoreError, Tx, params};

/// What the gateway's snapshot follows.
pub const MODELS: &str = "models";

/// Where a provider's key is sealed.
pub fn provider_secrets(provider: &str) -> Scope {
    Scope::new("model_provider", provider)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRow {
    pub name: String,
    pub kind: ProviderKind,
    pub base_url: String,
    pub has_key: bool,
    pub enabled: bool,
    pub local: bool,
    pub options: ProviderOptions,
    pub checked_at: Option<Millis>,
    pub problem: Option<String>,
    pub created_at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    pub provider: String,
    pub name: String,
    pub found: Capabilities,
    pub stated: Capabilities,
    pub enabled: bool,
    pub offered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub version: i64,
    pub provider: String,
    /// Empty: of all that have none of their own.
    pub model: String,
    pub from: Millis,
    pub prices: TokenPrices,
    pub actor: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesRow {
    /// `None` for all.
    pub project: Option<ProjectId>,
    pub stopped_at: Option<Millis>,
    pub stopped_by: Option<String>,
    pub external: bool,
    pub keep_prompts: bool,
}

impl RulesRow {
    pub fn rules(&self) -> Rules {
        Rules { stopped: self.stopped_at.is_some(), external: self.external, keep_prompts: self.keep_prompts }
    }
}

/// The most that may be spent in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub scope: BudgetScope,
    pub scope_id: String,
    pub unit: BudgetUnit,
    pub period: Period,
    pub amount: i64,
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::Other(e.to_string()))
}

fn provider(row: &Row) -> Result<ProviderRow> {
    Ok(ProviderRow {
        name: row.text("name")?,
        kind: row.parse("kind")?,
        base_url: row.text("base_url")?,
        has_key: row.bool("has_key")?,
        enabled: row.bool("enabled")?,
        local: row.bool("local")?,
        options: row.json("options")?,
        checked_at: row.opt_int("checked_at")?.map(Millis),
        problem: row.opt_text("problem")?,
        created_at: Millis(row.int("created_at")?),
    })
}

fn model(row: &Row) -> Result<ModelRow> {
    Ok(ModelRow {
        provider: row.text("provider")?,
        name: row.text("name")?,
        found: row.json("found")?,
        stated: row.json("stated")?,
        enabled: row.bool("enabled")?,
        offered: row.bool("offered")?,
    })
}

fn price(row: &Row) -> Result<PriceRow> {
    Ok(PriceRow {
        version: row.int("version")?,
        provider: row.text("provider")?,
        model: row.text("model")?,
        from: Millis(row.int("from_at")?),
        prices: TokenPrices {
            input: row.int("input")?,
            cached: row.int("cached")?,
            output: row.int("output")?,
        },
        actor: row.text("actor")?,
        reason: row.text("reason")?,
    })
}

fn rules(row: &Row) -> Result<RulesRow> {
    let project = row.text("project_id")?;
    Ok(RulesRow {
        project: if project.is_empty() { None } else { Some(row.parse("project_id")?) },
        stopped_at: row.opt_int("stopped_at")?.map(Millis),
        stopped_by: row.opt_text("stopped_by")?,
        external: row.bool("external")?,
        keep_prompts: row.bool("keep_prompts")?,
    })
}

impl Tx<'_> {
    pub fn insert_model_provider(&mut self, p: &ProviderRow) -> Result<()> {
        self.execute(
            "INSERT INTO model_providers (name, kind, base_url, has_key, enabled, local, options, created_at,
                updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
            params![
                &p.name,
                p.kind.as_str(),
                &p.base_url,
                p.has_key,
                p.enabled,
                p.local,
                to_json(&p.options)?,
                p.created_at.0
            ],
        )?;
        self.notify(MODELS);
        Ok(())
    }

    pub fn update_model_provider(&mut self, p: &ProviderRow, now: Millis) -> Result<bool> {
        let changed = self.execute(
            "UPDATE model_providers SET base_url = $2, has_key = $3, enabled = $4, local = $5, options = $6,
                updated_at = $7
             WHERE name = $1",
            params![&p.name, &p.base_url, p.has_key, p.enabled, p.local, to_json(&p.options)?, now.0],
        )?;
        self.notify(MODELS);
        Ok(changed > 0)
    }

    /// With its models. Prices and calls stay.
    pub fn delete_model_provider(&mut self, name: &str) -> Result<bool> {
        self.execute("DELETE FROM models WHERE provider = $1", params![name])?;
        let gone = self.execute("DELETE FROM model_providers WHERE name = $1", params![name])?;
        self.notify(MODELS);
        Ok(gone > 0)
    }

    pub fn model_providers(&mut self) -> Result<Vec<ProviderRow>> {
        self.query("SELECT * FROM model_providers ORDER BY name", params![])?.iter().map(provider).collect()
    }

    pub fn model_provider(&mut self, name: &str) -> Result<Option<ProviderRow>> {
        self.query_opt("SELECT * FROM model_providers WHERE name = $1", params![name])?
            .as_ref()
            .map(provider)
            .transpose()
    }

    /// What a look at a provider found: its models, or why it could not be asked. What it offers no more is kept,
    /// unoffered, for what an operator said of it.
    pub fn put_found_models(
        &mut self,
        of: &str,
        found: &Result<Vec<(String, Capabilities)>, String>,
        now: Millis,
    ) -> Result<()> {
        let problem = found.as_ref().err();
        let known = self.execute(
            "UPDATE model_providers SET checked_at = $2, problem = $3 WHERE name = $1",
            params![of, now.0, problem.cloned()],
        )?;
        if let (1.., Ok(found)) = (known, found) {
            self.execute("UPDATE models SET offered = $2 WHERE provider = $1", params![of, false])?;
            for (name, can) in found {
                self.execute(
                    "INSERT INTO models (provider, name, found, stated, enabled, offered, updated_at)
                     VALUES ($1, $2, $3, '{}', $4, $4, $5)
                     ON CONFLICT (provider, name) DO UPDATE SET found = excluded.found, offered = excluded.offered,
                        updated_at = excluded.updated_at",
                    params![of, name, to_json(can)?, true, now.0],
                )?;
            }
        }
        self.notify(MODELS);
        Ok(())
    }

    /// What an operator says of a model, which need not be offered.
    pub fn put_model(
        &mut self,
        of: &str,
        name: &str,
        stated: &Capabilities,
        enabled: bool,
        now: Millis,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO models (provider, name, found, stated, enabled, offered, updated_at)
             VALUES ($1, $2, '{}', $3, $4, $5, $6)
             ON CONFLICT (provider, name) DO UPDATE SET stated = excluded.stated, enabled = excluded.enabled,
                updated_at = excluded.updated_at",
            params![of, name, to_json(stated)?, enabled, false, now.0],
        )?;
        self.notify(MODELS);
        Ok(())
    }

    /// Of one provider, or of all.
    pub fn models(&mut self, of: Option<&str>) -> Result<Vec<ModelRow>> {
        self.query(
            "SELECT * FROM models WHERE (CAST($1 AS TEXT) IS NULL OR provider = $1) ORDER BY provider, name",
            params![of],
        )?
        .iter()
        .map(model)
        .collect()
    }

    pub fn put_model_route(&mut self, name: &str, candidates: &[Candidate], now: Millis) -> Result<()> {
        self.execute(
            "INSERT INTO model_routes (name, candidates, updated_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET candidates = excluded.candidates, updated_at = excluded.updated_at",
            params![name, to_json(&candidates)?, now.0],
        )?;
        self.notify(MODELS);
        Ok(())
    }

    pub fn delete_model_route(&mut self, name: &str) -> Result<bool> {
        let gone = self.execute("DELETE FROM model_routes WHERE name = $1", params![name])?;
        self.notify(MODELS);
        Ok(gone > 0)
    }

    pub fn model_routes(&mut self) -> Result<Vec<(String, Vec<Candidate>)>> {
        let rows = self.query("SELECT name, candidates FROM model_routes ORDER BY name", params![])?;
        rows.iter().map(|row| Ok((row.text("name")?, row.json("candidates")?))).collect()
    }

    pub fn add_model_price(
        &mut self,
        provider: &str,
        model: &str,
        prices: TokenPrices,
        actor: &str,
        reason: &str,
        now: Millis,
    ) -> Result<i64> {
        self.lock("model_prices")?;
        let next =
            self.query_one("SELECT coalesce(max(version), 0) + 1 AS next FROM model_prices", params![])?;
        let version = next.int("next")?;
        self.execute(
            "INSERT INTO model_prices (version, provider, model, from_at, input, cached, output, actor, reason,
                created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $4)",
            params![version, provider, model, now.0, prices.input, prices.cached, prices.output, actor, reason],
        )?;
        self.notify(MODELS);
        Ok(version)
    }

    /// The newest of each provider and model.
    pub fn model_prices(&mut self) -> Result<Vec<PriceRow>> {
        self.query(
            "SELECT * FROM model_prices p WHERE version = (SELECT max(version) FROM model_prices q
                WHERE q.provider = p.provider AND q.model = p.model)
             ORDER BY provider, model",
            params![],
        )?
        .iter()
        .map(price)
        .collect()
    }

    /// All versions, the newest first.
    pub fn model_price_versions(&mut self, limit: u32) -> Result<Vec<PriceRow>> {
        self.query("SELECT * FROM model_prices ORDER BY version DESC LIMIT $1", params![limit])?
            .iter()
            .map(price)
            .collect()
    }

    /// Of all projects that have some, and of all together first.
    pub fn model_rules(&mut self) -> Result<Vec<RulesRow>> {
        self.query("SELECT * FROM model_rules ORDER BY project_id", params![])?.iter().map(rules).collect()
    }

    pub fn put_model_rules(&mut self, r: &RulesRow) -> Result<()> {
        self.execute(
            "INSERT INTO model_rules (project_id, stopped_at, stopped_by, external, keep_prompts, rest)
             VALUES ($1, $2, $3, $4, $5, 0)
             ON CONFLICT (project_id) DO UPDATE SET stopped_at = excluded.stopped_at,
                stopped_by = excluded.stopped_by, external = excluded.external,
                keep_prompts = excluded.keep_prompts",
            params![
                r.project.map(|id| id.to_string()).unwrap_or_default(),
                r.stopped_at.map(|t| t.0),
                &r.stopped_by,
                r.external,
                r.keep_prompts
            ],
        )?;
        self.notify(MODELS);
        Ok(())
    }

    /// Sets a budget, or takes it away.
    pub fn put_model_budget(&mut self, b: &Budget, amount: Option<i64>, now: Millis) -> Result<()> {
        match amount {
            Some(amount) => self.execute(
                "INSERT INTO model_budgets (scope, scope_id, unit, period, amount, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (scope, scope_id, unit, period) DO UPDATE SET amount = excluded.amount,
                    updated_at = excluded.updated_at",
                params![b.scope.as_str(), &b.scope_id, b.unit.as_str(), b.period.as_str(), amount, now.0],
            )?,
            None => self.execute(
                "DELETE FROM model_budgets WHERE scope = $1 AND scope_id = $2 AND unit = $3 AND period = $4",
                params![b.scope.as_str(), &b.scope_id, b.unit.as_str(), b.period.as_str()],
            )?,
        };
        self.notify(MODELS);
        Ok(())
    }

    pub fn model_budgets(&mut self, scope: BudgetScope, id: &str) -> Result<Vec<Budget>> {
        let rows = self.query(
            "SELECT * FROM model_budgets WHERE scope = $1 AND scope_id = $2 ORDER BY unit, period",
            params![scope.as_str(), id],
        )?;
        rows.iter()
            .map(|row| {
                Ok(Budget {
                    scope: row.parse("scope")?,
                    scope_id: row.text("scope_id")?,
                    unit: row.parse("unit")?,
                    period: row.parse("period")?,
                    amount: row.int("amount")?,
                })
            })
            .collect()
    }

    /// Whoever has a budget.
    pub fn model_budgeted(&mut self) -> Result<Vec<(BudgetScope, String)>> {
        let rows = self.query("SELECT DISTINCT scope, scope_id FROM model_budgets", params![])?;
        rows.iter().map(|row| Ok((row.parse("scope")?, row.text("scope_id")?))).collect()
    }
}
