//! Instances: use cases that write what is wanted, and the reconciler that makes it so.

mod act;
pub(crate) mod beside;
pub mod create;
pub mod delete;
pub mod find;
pub(crate) mod fit;
pub mod follow;
pub(crate) mod gpus;
pub mod images;
pub mod inside;
mod jump;
pub mod lifecycle;
mod obtain;
pub mod orphans;
mod perform;
pub mod plan;
pub mod reconcile;
pub mod rollback;
pub mod routes;
mod rows;
pub mod token;
pub mod update;

use std::collections::BTreeMap;

use ryokan_model::instance::State;
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{InstanceId, Millis, Secret};
use ryokan_store::instances::Instance;
use ryokan_store::{Scope as SealScope, StoreError, Tx};
use serde_json::json;

use crate::addons::given_name;
use crate::projects::inherited_name;
use crate::{App, Error, Result, events};

/// The variable with which an agent made by Crabshack's call knows its gateway.
pub const INSTANCE_TOKEN: &str = "INSTANCE_TOKEN";

/// Where an instance's secret variables are sealed.
pub(crate) fn secrets_of(id: InstanceId) -> SealScope {
    SealScope::new("instance", id.to_string())
}

/// Where the secrets of what ran before an update are kept, until it is known that nothing goes back to it.
pub(crate) fn previous_secrets_of(id: InstanceId) -> SealScope {
    SealScope::new("instance-previous", id.to_string())
}

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

/// Writes a changed row, with an event when its state became another one. A lost race rolls everything back, so that it
/// leaves no event and no job behind.
pub(crate) fn keep(tx: &mut Tx<'_>, before: &Instance, row: &mut Instance, now: Millis) -> Result<(), Raced> {
    if row == before {
        return Ok(());
    }
    tx.update_instance(row, now).map_err(Raced::by)?;
    if row.state != before.state {
        let kind = format!("instance.{}", row.state);
        let data = json!({"from": before.state, "message": row.message, "exit_code": row.exit_code});
        let (id, name) = (row.id.to_string(), row.name.as_str());
        events::system(tx, now, &kind, "instance", &id, name, Some(row.project), data)?;
    }
    Ok(())
}

/// Why one try of [`App::write_raced`] did not commit.
pub(crate) enum Raced {
    Again,
    Failed(Error),
}

impl Raced {
    /// For writes of rows that somebody else may have written meanwhile.
    pub(crate) fn by(error: StoreError) -> Self {
        if error == StoreError::Fenced { Self::Again } else { Self::Failed(error.into()) }
    }
}

impl<E: Into<Error>> From<E> for Raced {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl App {
    /// Runs a transaction that writes instances, and again from the start when it lost a race for one of them.
    pub(crate) async fn write_raced<T, F>(&self, transaction: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx<'_>, Millis) -> Result<T, Raced> + Clone + Send + 'static,
    {
        for _ in 0..TRIES {
            let (transaction, now) = (transaction.clone(), self.clock.now());
            match self.store.write(move |tx| transaction(tx, now)).await {
                Ok(done) => return Ok(done),
                Err(Raced::Again) => {}
                Err(Raced::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Conflict("the instance changes too fast; try again".into()))
    }

    /// Reads a live instance, lets `change` alter it, and writes it with an event when its state became another one.
    /// A race with another writer is run again from the start. `None` when the instance is gone.
    pub(crate) async fn change_instance<F>(&self, id: InstanceId, change: F) -> Result<Option<Instance>>
    where
        F: Fn(&mut Tx<'_>, &mut Instance, Millis) -> Result<()> + Clone + Send + 'static,
    {
        self.write_raced(move |tx, now| {
            let Some(mut row) = tx.instance(id)? else { return Ok(None) };
            let before = row.clone();
            change(tx, &mut row, now)?;
            keep(tx, &before, &mut row, now)?;
            Ok(Some(row))
        })
        .await
    }

    /// The token that a Crabshack client expects to read back, for callers who may change the instance. Only instances
    /// that were made by Crabshack's call have one.
    pub async fn instance_token(&self, caller: &Caller, row: &Instance) -> Result<Option<Secret>> {
        if !row.spec.secret_env.contains(INSTANCE_TOKEN) || caller.may(Scope::Write, row.project).is_err() {
            return Ok(None);
        }
        Ok(self.open_variables(row).await?.remove(INSTANCE_TOKEN))
    }

    /// The values of an instance's secret variables, and of those that it has of its project and its databases.
    pub(crate) async fn open_variables(&self, row: &Instance) -> Result<BTreeMap<String, Secret>> {
        let own = row.spec.secret_env.iter().map(|name| (name.clone(), name.clone()));
        let theirs = row.spec.inherited_secrets().map(|name| (name.clone(), inherited_name(name)));
        let given = row.spec.addon_secrets().map(|name| (name.clone(), given_name(name)));
        let wanted: Vec<(String, String)> = own.chain(theirs).chain(given).collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (seal, scope) = (self.seal.clone(), secrets_of(row.id));
        let opened = self.store.read(move |tx| tx.get_secrets(&seal, &scope)).await?;
        let mut opened: BTreeMap<_, _> = opened.into_iter().collect();
        let value = |(name, sealed_as): (String, String)| match opened.remove(&sealed_as) {
            Some(value) => Ok((name, value)),
            None => Err(Error::internal(format!("secret {name} of instance {} is missing", row.id))),
        };
        wanted.into_iter().map(value).collect()
    }
}
