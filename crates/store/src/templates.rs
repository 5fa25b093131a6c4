//! Templates as rows. The body is the template's JSON; builtin ones follow the binary until somebody edits them.

use ryokan_model::Millis;
use ryokan_model::template::Template;

use crate::{Result, Row, StoreError, Tx, params};

fn body(template: &Template) -> Result<String> {
    serde_json::to_string(template)
        .map_err(|e| StoreError::Other(format!("a template cannot be written as JSON: {e}")))
}

/// Rows that were written before the spec had `egress` have one beside it, which was enforced by nobody: what it said
/// is kept, but for `open`, which there is no more.
fn template(row: &Row) -> Result<Template> {
    let mut body: serde_json::Value = row.json("body")?;
    let old = body.as_object_mut().and_then(|body| body.remove("egress"));
    if let Some(old) = old.filter(|old| old != "open")
        && let Some(spec) = body.get_mut("spec").and_then(|spec| spec.as_object_mut())
    {
        spec.entry("egress").or_insert(old);
    }
    // serde's message would quote the content.
    serde_json::from_value(body).map_err(|_| StoreError::Other("a template's row is none".to_owned()))
}

impl Tx<'_> {
    /// Writes a builtin template unless it was edited here.
    pub fn seed_template(&mut self, template: &Template, now: Millis) -> Result<()> {
        self.execute(
            "INSERT INTO templates (name, body, builtin, edited, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
             ON CONFLICT (name) DO UPDATE SET body = $2, updated_at = $5 WHERE templates.edited = $4 AND templates.builtin = $3 AND templates.body <> $2",
            params![template.name.as_str(), body(template)?, true, false, now.0],
        )
        .map(drop)
    }

    /// A taken name is a `UniqueViolation`.
    pub fn insert_template(&mut self, template: &Template, now: Millis) -> Result<()> {
        self.notify("templates");
        self.execute(
            "INSERT INTO templates (name, body, builtin, edited, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)",
            params![template.name.as_str(), body(template)?, false, true, now.0],
        )
        .map(drop)
    }

    /// Whether there was one.
    pub fn update_template(&mut self, template: &Template, now: Millis) -> Result<bool> {
        self.notify("templates");
        let n = self.execute(
            "UPDATE templates SET body = $2, edited = $3, updated_at = $4 WHERE name = $1",
            params![template.name.as_str(), body(template)?, true, now.0],
        )?;
        Ok(n > 0)
    }

    pub fn delete_template(&mut self, name: &str) -> Result<bool> {
        self.notify("templates");
        Ok(self.execute("DELETE FROM templates WHERE name = $1", params![name])? > 0)
    }

    pub fn template(&mut self, name: &str) -> Result<Option<Template>> {
        self.query_opt("SELECT body FROM templates WHERE name = $1", params![name])?
            .as_ref()
            .map(template)
            .transpose()
    }

    pub fn templates(&mut self) -> Result<Vec<Template>> {
        self.query("SELECT body FROM templates ORDER BY name", params![])?.iter().map(template).collect()
    }
}
