//! What is done to an agent is done to its databases: before it, in the same transaction, so that quotas are checked with
//! all of them as they are to be.

use ryokan_model::Millis;
use ryokan_model::instance::State;
use ryokan_model::permission::Caller;
use ryokan_store::instances::Instance;
use ryokan_store::{NewJob, Tx};

use crate::Error;
use crate::instances::delete::{DeleteOptions, ask_deletion};
use crate::instances::lifecycle::{Steered, Verb, steer_row};
use crate::instances::{Raced, keep};

/// The agent's databases, under the project's lock: cascades never wait for each other's rows.
fn beside(tx: &mut Tx<'_>, agent: &Instance) -> Result<Vec<Instance>, Raced> {
    if agent.addon.is_some() || tx.addons_of(agent.id)?.is_empty() {
        return Ok(Vec::new());
    }
    tx.lock(&format!("project:{}", agent.project))?;
    Ok(tx.addons_of(agent.id)?)
}

/// Stops or starts the agent's databases. A restart of the agent leaves those that run alone.
pub(crate) fn steer_beside(
    tx: &mut Tx<'_>,
    agent: &Instance,
    verb: Verb,
    by: &Caller,
    job_for: &impl Fn(&Instance) -> NewJob,
    now: Millis,
) -> Result<(), Raced> {
    let verb = if verb == Verb::Stop { Verb::Stop } else { Verb::Start };
    for mut row in beside(tx, agent)? {
        // It may have a cap of its own.
        if row.state == State::Deleting || (verb == Verb::Start && row.suspended.is_some()) {
            continue;
        }
        let before = row.clone();
        steer_row(
            tx,
            &mut row,
            &Steered { verb, by, with: Some(&agent.name), most_gpus: None },
            job_for,
            now,
        )?;
        keep(tx, &before, &mut row, now)?;
    }
    Ok(())
}

/// Deletes the agent's databases as it is deleted itself.
pub(crate) fn delete_beside(
    tx: &mut Tx<'_>,
    agent: &Instance,
    options: DeleteOptions,
    by: &Caller,
    now: Millis,
) -> Result<(), Raced> {
    for mut row in beside(tx, agent)? {
        let before = row.clone();
        ask_deletion(tx, &mut row, options, by, Some(&agent.name), now)?;
        keep(tx, &before, &mut row, now)?;
    }
    Ok(())
}

/// Refuses to delete a database by itself while its agent lives, unless that is forced.
pub(crate) fn must_not_be_needed(
    tx: &mut Tx<'_>,
    row: &Instance,
    options: DeleteOptions,
) -> Result<(), Error> {
    if row.addon.is_none() || options.force {
        return Ok(());
    }
    let Some(agent) = row.addon_of.map(|agent| tx.instance(agent)).transpose()?.flatten() else {
        return Ok(());
    };
    if agent.state == State::Deleting {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "it is the database of `{}` and goes with it; `ryokan rm --force {}` deletes it with its data while `{}` lives",
        agent.name, row.name, agent.name
    )))
}
