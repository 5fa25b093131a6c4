//! Credentials that agents use and never see. Their values are sealed in `secrets`, under the scope `scope`; nothing
//! here holds one.

use ryokan_model::credential::Credential;
use ryokan_model::{CredentialId, Millis, Name, ProjectId, Secret};

use crate::{Result, Row, Scope, Seal, StoreError, Tx, params};

/// The name under which the value is sealed.
const VALUE: &str = "value";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRow {
    pub id: CredentialId,
    /// Absent for one of the whole installation.
    pub project: Option<ProjectId>,
    pub name: Name,
    pub credential: Credential,
    pub placeholder: String,
    pub enabled: bool,
    /// Grows with each change of anything.
    pub revision: i64,
    pub created_at: Millis,
    /// When its value was last set.
    pub rotated_at: Millis,
    pub last_used_at: Option<Millis>,
}

impl CredentialRow {
    /// Whether it is for the instance of this name, which is in its project.
    pub fn may_be_used_by(&self, instance: &Name) -> bool {
        self.credential.instances.is_empty() || self.credential.instances.contains(instance)
    }
}

fn credential(row: &Row) -> Result<CredentialRow> {
    Ok(CredentialRow {
        id: row.parse("id")?,
        project: row.opt_parse("project_id")?,
        name: row.parse("name")?,
        credential: row.json("spec")?,
        placeholder: row.text("placeholder")?,
        enabled: row.bool("enabled")?,
        revision: row.int("revision")?,
        created_at: Millis(row.int("created_at")?),
        rotated_at: Millis(row.int("rotated_at")?),
        last_used_at: row.opt_int("last_used_at")?.map(Millis),
    })
}

fn scope(id: CredentialId) -> Scope {
    Scope::new("credential", id.to_string())
}

fn spec(of: &CredentialRow) -> Result<String> {
    serde_json::to_string(&of.credential)
        .map_err(|e| StoreError::Other(format!("a credential cannot be written as JSON: {e}")))
}

impl Tx<'_> {
    /// A taken name is a `UniqueViolation`.
    pub fn insert_credential(&mut self, new: &CredentialRow, seal: &Seal, value: &Secret) -> Result<()> {
        self.execute(
            "INSERT INTO credentials (id, project_id, name, spec, placeholder, enabled, revision, created_at, rotated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            params![
                new.id.to_string(),
                new.project.map(|p| p.to_string()),
                new.name.as_str(),
                spec(new)?,
                &new.placeholder,
                new.enabled,
                new.revision,
                new.created_at.0,
                new.rotated_at.0
            ],
        )?;
        self.notify("credentials");
        self.put_secret(seal, &scope(new.id), VALUE, value, new.created_at.0)
    }

    /// Writes what may change, with the next revision; the value too, when there is a new one.
    pub fn update_credential(&mut self, row: &CredentialRow, value: Option<(&Seal, &Secret)>) -> Result<()> {
        if let Some((seal, value)) = value {
            self.put_secret(seal, &scope(row.id), VALUE, value, row.rotated_at.0)?;
        }
        self.notify("credentials");
        self.execute(
            "UPDATE credentials SET spec = $2, enabled = $3, revision = revision + 1, rotated_at = $4 WHERE id = $1",
            params![row.id.to_string(), spec(row)?, row.enabled, row.rotated_at.0],
        )
        .map(drop)
    }

    pub fn credential(&mut self, id: CredentialId) -> Result<Option<CredentialRow>> {
        let row = self.query_opt("SELECT * FROM credentials WHERE id = $1", params![id.to_string()])?;
        row.as_ref().map(credential).transpose()
    }

    /// All, oldest first.
    pub fn credentials(&mut self) -> Result<Vec<CredentialRow>> {
        self.query("SELECT * FROM credentials ORDER BY id", params![])?.iter().map(credential).collect()
    }

    pub fn count_credentials(&mut self, project: Option<ProjectId>) -> Result<i64> {
        let row = self.query_one(
            "SELECT COUNT(*) AS n FROM credentials WHERE COALESCE(project_id, '') = $1",
            params![project.map(|p| p.to_string()).unwrap_or_default()],
        )?;
        row.int("n")
    }

    pub fn credential_value(&mut self, seal: &Seal, id: CredentialId) -> Result<Option<Secret>> {
        self.get_secret(seal, &scope(id), VALUE)
    }

    /// With its value; whether there was one.
    pub fn delete_credential(&mut self, id: CredentialId) -> Result<bool> {
        self.notify("credentials");
        self.delete_secrets(&scope(id))?;
        Ok(self.execute("DELETE FROM credentials WHERE id = $1", params![id.to_string()])? > 0)
    }

    /// All of a project, with their values.
    pub fn delete_credentials_of(&mut self, project: ProjectId) -> Result<()> {
        let all = self.credentials()?;
        for row in all.into_iter().filter(|row| row.project == Some(project)) {
            self.delete_credential(row.id)?;
        }
        Ok(())
    }

    /// Not signalled: nobody waits for it.
    pub fn touch_credential(&mut self, id: CredentialId, now: Millis) -> Result<()> {
        self.execute("UPDATE credentials SET last_used_at = $2 WHERE id = $1", params![id.to_string(), now.0])
            .map(drop)
    }
}
