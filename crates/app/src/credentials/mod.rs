//! Credentials that agents use and never see: write-only values, bound to hosts. What a sandbox is given is a
//! placeholder; the egress proxy reads the rest from the [`Keyring`], a snapshot.

mod change;
mod create;
mod keyring;

pub use change::CredentialChanges;
pub use create::NewCredential;
pub use keyring::{Held, Keyring};

use ryokan_model::permission::{Caller, Role};
use ryokan_model::{CredentialId, Millis, Secret};
use ryokan_store::Tx;
use ryokan_store::credentials::CredentialRow;
use serde_json::Value;

use crate::page::one_more;
use crate::{App, Error, Page, Result, events};

const SHORTEST_VALUE: usize = 6;
const LONGEST_VALUE: usize = 16 * 1024;

impl App {
    /// A page of what the caller may see: those of its projects, and for operators those of the installation; oldest
    /// first, after the id `after`. Values are in none.
    pub async fn list_credentials(
        &self,
        caller: &Caller,
        project: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<CredentialRow>> {
        let mut rows = self.visible_credentials(caller, project).await?;
        if let Some(after) = after {
            let after: CredentialId = after
                .parse()
                .map_err(|_| Error::invalid("after", "must be the `next` of the page before"))?;
            rows.retain(|row| row.id > after);
        }
        rows.truncate(one_more(limit) as usize);
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }

    async fn visible_credentials(
        &self,
        caller: &Caller,
        project: Option<&str>,
    ) -> Result<Vec<CredentialRow>> {
        let only = match project {
            Some(project) => Some(self.find_project_as(caller, Role::Viewer, project).await?.id),
            None => None,
        };
        let rows = self.store.read(|tx| tx.credentials()).await?;
        let shown = |row: &CredentialRow| match (row.project, only) {
            (Some(project), Some(only)) => project == only,
            (Some(project), None) => caller.role_in(project).is_some(),
            (None, only) => only.is_none() && caller.is_operator(),
        };
        Ok(rows.into_iter().filter(shown).collect())
    }

    /// By id, or by a name that only one that the caller sees has.
    pub async fn find_credential(&self, caller: &Caller, id_or_name: &str) -> Result<CredentialRow> {
        let id: Option<CredentialId> = id_or_name.parse().ok();
        let visible = self.visible_credentials(caller, None).await?;
        let mut found =
            visible.into_iter().filter(|row| id.map_or(row.name.as_str() == id_or_name, |id| row.id == id));
        match (found.next(), found.next()) {
            (Some(row), None) => Ok(row),
            (None, _) => Err(Error::not_found("credential", id_or_name)),
            (Some(_), Some(_)) => Err(Error::Conflict(format!(
                "several projects have a credential `{id_or_name}`; name it by its id"
            ))),
        }
    }

    async fn own_credential(&self, caller: &Caller, id_or_name: &str) -> Result<CredentialRow> {
        let row = self.find_credential(caller, id_or_name).await?;
        match row.project {
            Some(project) => caller
                .may_as(Role::Developer, project)
                .map_err(|refused| Error::refused(refused, "credential", id_or_name))?,
            None if caller.is_operator() => {}
            None => return Err(Error::operators_only()),
        }
        Ok(row)
    }

    /// Its value goes with it, and so does what is under way with it.
    pub async fn delete_credential(&self, caller: &Caller, id_or_name: &str) -> Result<()> {
        let row = self.own_credential(caller, id_or_name).await?;
        let (now, by, asked) = (self.clock.now(), caller.clone(), id_or_name.to_owned());
        self.store
            .write(move |tx| {
                if !tx.delete_credential(row.id)? {
                    return Err(Error::not_found("credential", asked));
                }
                record(tx, now, &by, &row, "credential.deleted", Value::Null)
            })
            .await?;
        self.refresh_keyring().await
    }
}

fn check_value(value: &Secret) -> Result<()> {
    let text = value.expose();
    // Shorter ones cannot be told from chance in what comes back.
    if !(SHORTEST_VALUE..=LONGEST_VALUE).contains(&text.len()) {
        return Err(Error::invalid(
            "value",
            format!(
                "must have {SHORTEST_VALUE} to {LONGEST_VALUE} bytes: a shorter one could not be kept out of answers"
            ),
        ));
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(Error::invalid(
            "value",
            "has a control character, perhaps a line end; it must be one line, as it stands in a request",
        ));
    }
    Ok(())
}

fn record(
    tx: &mut Tx<'_>,
    now: Millis,
    by: &Caller,
    row: &CredentialRow,
    kind: &str,
    data: Value,
) -> Result<()> {
    let data = if data.is_null() { serde_json::json!({}) } else { data };
    events::by_caller(
        tx,
        now,
        by,
        row.project,
        kind,
        "credential",
        &row.id.to_string(),
        row.name.as_str(),
        data,
    )
}
