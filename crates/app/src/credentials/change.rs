//! `update`: another value, other bindings, on or off. In force before it is answered: requests under way with what it
//! was are cut, and the next one is made with what it is.

use ryokan_model::credential::{Binding, Kind};
use ryokan_model::permission::Caller;
use ryokan_model::policy::PathPattern;
use ryokan_model::{Name, Secret};
use ryokan_store::credentials::CredentialRow;
use serde_json::json;

use super::{check_value, record};
use crate::{App, Error, Result};

/// What is absent stays.
#[derive(Default)]
pub struct CredentialChanges {
    pub value: Option<Secret>,
    pub enabled: Option<bool>,
    pub kind: Option<Kind>,
    pub hosts: Option<Vec<Binding>>,
    pub methods: Option<Vec<String>>,
    pub paths: Option<Vec<PathPattern>>,
    pub instances: Option<Vec<Name>>,
    /// `Some(None)` takes it away.
    pub env: Option<Option<String>>,
}

impl App {
    pub async fn update_credential(
        &self,
        caller: &Caller,
        id_or_name: &str,
        changes: CredentialChanges,
    ) -> Result<CredentialRow> {
        let id = self.own_credential(caller, id_or_name).await?.id;
        if let Some(value) = &changes.value {
            check_value(value)?;
        }
        let (now, by, seal, asked) =
            (self.clock.now(), caller.clone(), self.seal.clone(), id_or_name.to_owned());
        let changed = self
            .store
            .write(move |tx| {
                tx.lock(&format!("credential:{id}"))?;
                let before = tx.credential(id)?.ok_or_else(|| Error::not_found("credential", &asked))?;
                let mut row = before.clone();
                apply(&mut row, &changes);
                row.credential.validate()?;
                let value = changes.value.as_ref();
                if value.is_none() && reaches_further(&before, &row) {
                    return Err(Error::invalid(
                        "value",
                        "must be given again with another kind or further hosts: whoever may change those may not \
                         thereby send it where they can read it",
                    ));
                }
                if value.is_some() {
                    row.rotated_at = now;
                } else if row == before {
                    return Ok(before);
                }
                tx.update_credential(&row, value.map(|value| (&*seal, value)))?;
                row.revision += 1;
                let data = json!({
                    "rotated": value.is_some(),
                    "enabled": row.enabled,
                    "kind": row.credential.kind.as_str(),
                    "hosts": row.credential.hosts,
                });
                record(tx, now, &by, &row, "credential.changed", data)?;
                Ok::<_, Error>(row)
            })
            .await?;
        crate::crash::point("credential.changed");
        self.refresh_keyring().await?;
        Ok(changed)
    }
}

/// Whether the value would be sent where it was not.
fn reaches_further(before: &CredentialRow, after: &CredentialRow) -> bool {
    let known = |host: &Binding| before.credential.hosts.contains(host);
    after.credential.kind != before.credential.kind || !after.credential.hosts.iter().all(known)
}

fn apply(row: &mut CredentialRow, changes: &CredentialChanges) {
    fn take<T: Clone>(to: &mut T, from: Option<&T>) {
        if let Some(new) = from {
            to.clone_from(new);
        }
    }
    take(&mut row.enabled, changes.enabled.as_ref());
    take(&mut row.credential.kind, changes.kind.as_ref());
    take(&mut row.credential.hosts, changes.hosts.as_ref());
    take(&mut row.credential.methods, changes.methods.as_ref());
    take(&mut row.credential.paths, changes.paths.as_ref());
    take(&mut row.credential.instances, changes.instances.as_ref());
    take(&mut row.credential.env, changes.env.as_ref());
}
