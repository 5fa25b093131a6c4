//! GPUs of the machine, counted where whoever runs the server says how many there are. In the transaction that would take
//! one, under one lock, so that two instances never get the last together.

use ryokan_model::instance::Desired;
use ryokan_store::Tx;
use ryokan_store::instances::Instance;

use crate::{Error, Result};

/// Refuses what would hold more than there are with `candidate` as it is to be.
pub(crate) fn check(tx: &mut Tx<'_>, candidate: &Instance, most: Option<u32>) -> Result<()> {
    let wanted = candidate.spec.resources.gpus;
    let Some(most) = most.filter(|_| wanted > 0 && candidate.desired == Desired::Running) else {
        return Ok(());
    };
    // Always in this order, or two could wait for each other.
    tx.lock(&format!("project:{}", candidate.project))?;
    tx.lock("gpus")?;
    let held = tx.gpus_held(candidate.id)?;
    if held.saturating_add(wanted) <= most {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "gpus: {wanted} are asked for, and of the {most} that there are running instances hold {held}; stop one of those, or ask for fewer"
    )))
}
