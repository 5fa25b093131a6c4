//! Instances: use cases that write what is wanted, and the reconciler that makes it so.

mod act;
pub mod create;
pub mod delete;
pub mod find;
pub mod follow;
pub mod images;
pub mod inside;
pub mod lifecycle;
pub mod orphans;
pub mod plan;
pub mod reconcile;
pub mod routes;
pub mod update;

use ryokan_model::instance::State;
use ryokan_model::{InstanceId, Millis, Secret};
use ryokan_store::instances::Instance;
use ryokan_store::{StoreError, Tx};
use serde_json::json;

use crate::{App, Error, Result, events};

/// The kind of scope under which an instance's secrets are sealed.
pub(crate) const SECRETS: &str = "instance";

/// How often a lost race against another writer of the same row is tried again.
const TRIES: usize = 8;

/// Moves a row to `next` as the state machine allows. A forbidden step is a bug and is refused.
pub(crate) fn enter(row: &mut Instance, next: State, message: Option<String>, now: Millis) -> Result<()> {
    if !row.state.may_become(next) {
        return Err(Error::internal(format!("{} may not become {next} (instance {})", row.state, row.id)));
    }
    if row.state != next {
        row.state = next;
        row.since = now;
    }
    row.message = message;
    Ok(())
}

impl App {
    /// Reads a live instance, lets `change` alter it, and writes it with an event when its state became another one.
    /// A race with another writer is run again from the start. `None` when the instance is gone.
    pub(crate) async fn change_instance<F>(&self, id: InstanceId, change: F) -> Result<Option<Instance>>
    where
        F: Fn(&mut Tx<'_>, &mut Instance, Millis) -> Result<()> + Clone + Send + 'static,
    {
        for _ in 0..TRIES {
            let (change, now) = (change.clone(), self.clock.now());
            let outcome = self
                .store
                .write(move |tx| {
                    let Some(mut row) = tx.instance(id)? else { return Ok::<_, Error>(Ok(None)) };
                    let before = row.clone();
                    change(tx, &mut row, now)?;
                    if row == before {
                        return Ok(Ok(Some(row)));
                    }
                    match tx.update_instance(&mut row, now) {
                        Ok(()) => {}
                        Err(StoreError::Fenced) => return Ok(Err(())),
                        Err(other) => return Err(other.into()),
                    }
                    if row.state != before.state {
                        let kind = format!("instance.{}", row.state);
                        let data = json!({"from": before.state, "message": row.message, "exit_code": row.exit_code});
                        events::system(tx, now, &kind, "instance", &row.id.to_string(), row.name.as_str(), Some(row.project), data)?;
                    }
                    Ok(Ok(Some(row)))
                })
                .await?;
            if let Ok(row) = outcome {
                return Ok(row);
            }
        }
        Err(Error::Conflict("the instance changes too fast; try again".into()))
    }

    /// Seals one secret variable of an instance.
    pub(crate) fn seal_variable(&self, id: InstanceId, name: &str, value: &Secret) -> Result<Vec<u8>> {
        Ok(self.seal.seal(SECRETS, &id.to_string(), name, value, &self.nonce())?)
    }

    /// The values of an instance's secret variables.
    pub(crate) async fn open_variables(&self, row: &Instance) -> Result<std::collections::BTreeMap<String, Secret>> {
        if row.spec.secret_env.is_empty() {
            return Ok(std::collections::BTreeMap::new());
        }
        let (id, names) = (row.id.to_string(), row.spec.secret_env.clone());
        let sealed = self
            .store
            .read(move |tx| {
                names
                    .into_iter()
                    .map(|name| Ok::<_, StoreError>((tx.get_secret(SECRETS, &id, &name)?, name)))
                    .collect::<std::result::Result<Vec<_>, _>>()
            })
            .await?;
        sealed
            .into_iter()
            .map(|(sealed, name)| {
                let sealed = sealed.ok_or_else(|| Error::internal(format!("secret {name} of instance {} is missing", row.id)))?;
                Ok((name.clone(), self.seal.open(SECRETS, &row.id.to_string(), &name, &sealed)?))
            })
            .collect()
    }
}
