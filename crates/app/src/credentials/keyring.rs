//! All credentials with their opened values, in memory: an agent's request waits for no database. Read anew after every
//! change here, and when another server says that it made one.

use std::collections::BTreeMap;
use std::sync::Arc;

use ryokan_model::{CredentialId, Name, ProjectId, Secret};
use ryokan_store::credentials::CredentialRow;

use crate::{App, Error, Result};

/// One with its value.
#[derive(Debug, Clone)]
pub struct Held {
    pub row: CredentialRow,
    pub value: Secret,
}

/// By project; `None` for those of the whole installation.
#[derive(Debug, Default)]
pub struct Keyring {
    held: BTreeMap<Option<ProjectId>, Vec<Arc<Held>>>,
    revisions: BTreeMap<CredentialId, i64>,
}

impl Keyring {
    /// What an instance of the project may use, its project's own first.
    pub fn of<'a>(
        &'a self,
        project: ProjectId,
        instance: &'a Name,
    ) -> impl Iterator<Item = &'a Arc<Held>> + 'a {
        [Some(project), None]
            .into_iter()
            .filter_map(|owner| self.held.get(&owner))
            .flatten()
            .filter(move |held| held.row.enabled && held.row.may_be_used_by(instance))
    }

    /// Whether nothing about it has changed since, and it may be used.
    pub fn is_current(&self, id: CredentialId, revision: i64) -> bool {
        self.revisions.get(&id) == Some(&revision)
    }
}

impl App {
    pub fn keyring(&self) -> arc_swap::Guard<Arc<Keyring>> {
        self.keyring.load()
    }

    /// Reads all anew.
    pub async fn refresh_keyring(&self) -> Result<()> {
        let _turn = self.keyring_turn.lock().await;
        let seal = self.seal.clone();
        let keyring = self
            .store
            .read(move |tx| {
                let mut keyring = Keyring::default();
                for row in tx.credentials()? {
                    let Some(value) = tx.credential_value(&seal, row.id)? else {
                        return Err(Error::internal(format!(
                            "the value of credential {} is missing",
                            row.id
                        )));
                    };
                    if row.enabled {
                        keyring.revisions.insert(row.id, row.revision);
                    }
                    keyring.held.entry(row.project).or_default().push(Arc::new(Held { row, value }));
                }
                Ok(keyring)
            })
            .await?;
        self.keyring.store(Arc::new(keyring));
        Ok(())
    }

    /// The variables by which an instance is given the placeholders of what it may use.
    pub(crate) fn placeholders(&self, project: ProjectId, instance: &Name) -> BTreeMap<String, String> {
        let keyring = self.keyring();
        let mut given = BTreeMap::new();
        for held in keyring.of(project, instance) {
            if let Some(name) = &held.row.credential.env {
                given.entry(name.clone()).or_insert_with(|| held.row.placeholder.clone());
            }
        }
        given
    }
}
