//! The job `instance.image`: makes an instance's image present on the engine and records what it is. One for each
//! generation of an instance; the engine itself joins pulls of the same layers.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::instance::{Desired, State};
use ryokan_model::{InstanceId, JobId};
use ryokan_ports::runtime::RuntimeError;
use ryokan_store::NewJob;
use ryokan_store::instances::Instance;
use serde::{Deserialize, Serialize};

use crate::instances::beside::rolls_beside;
use crate::instances::enter;
use crate::jobs::{JobError, NewJobParts};
use crate::{App, Error, Result};

pub const KIND: &str = "instance.image";

/// How often in a row the engine may lose an image, crashes included, if the restart policy does not allow more.
const MAX_LOSSES: u32 = 10;
/// The longest wait before it is fetched again.
pub(crate) const MAX_WAIT: Duration = Duration::from_mins(1);

#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    instance: InstanceId,
    generation: i64,
}

impl App {
    pub(crate) fn image_job(&self, row: &Instance) -> NewJob {
        self.image_job_maker()(row)
    }

    /// For use inside a transaction, where the row's generation is known.
    pub(crate) fn image_job_maker(&self) -> impl Fn(&Instance) -> NewJob + Clone + Send + 'static {
        let now = self.clock.now();
        let random: [u8; 10] = self.entropy.bytes();
        move |row| {
            // Each row its own: one transaction may renew many.
            let own = row.id.0.as_bytes();
            let mixed = std::array::from_fn(|i| random[i] ^ own[own.len() - random.len() + i]);
            crate::jobs::new_job(NewJobParts {
                id: JobId::from_parts(now, mixed),
                kind: KIND,
                key: format!("{}:{}", row.id, row.generation),
                payload: serde_json::json!({"instance": row.id, "generation": row.generation}),
                run_at: now,
                // A registry may be away for a good while.
                max_attempts: 8,
            })
        }
    }

    /// Runs the job. An instance that is gone or has moved on makes it a success.
    pub(crate) async fn run_image_job(
        self: &Arc<Self>,
        payload: serde_json::Value,
        last_try: bool,
    ) -> Result<(), JobError> {
        let payload: Payload =
            serde_json::from_value(payload).map_err(|e| JobError::fatal(format!("payload: {e}")))?;
        let (id, generation) = (payload.instance, payload.generation);
        let Some(row) = self.store.read(move |tx| tx.instance(id)).await.map_err(JobError::retry)? else {
            return Ok(());
        };
        if row.generation != generation
            || row.image_generation >= generation
            || row.desired == Desired::Deleted
        {
            return Ok(());
        }
        if row.desired == Desired::Running
            && matches!(row.state, State::Pending | State::Starting | State::Ready | State::Unhealthy)
        {
            self.change_instance(id, move |_, row, now| {
                if row.generation == generation
                    && row.desired == Desired::Running
                    && row.state == State::Pending
                {
                    let message = format!("fetching image {}", row.spec.image);
                    enter(row, State::Building, Some(message), now)?;
                }
                Ok(())
            })
            .await
            .map_err(JobError::retry)?;
        }
        crate::crash::point("image.pulling");
        match self.obtain_image(&row).await.map_err(JobError::retry)? {
            Ok(image) => {
                crate::crash::point("image.present");
                self.change_instance(id, move |_, row, now| {
                    if row.generation != generation {
                        return Ok(());
                    }
                    row.image_generation = generation;
                    row.image_id = Some(image.id.clone());
                    row.image_digest.clone_from(&image.digest);
                    if let Some(previous) = row.previous.as_mut() {
                        previous.since = now;
                    }
                    match row.state {
                        // What runs goes on, and the new one starts beside it.
                        _ if rolls_beside(row) => {}
                        State::Building => enter(row, State::Pending, None, now)?,
                        // An update: from here on the old container is being replaced.
                        State::Starting | State::Ready | State::Unhealthy => {
                            enter(row, State::Pending, Some("replacing its container".into()), now)?;
                        }
                        _ => {}
                    }
                    Ok(())
                })
                .await
                .map_err(JobError::retry)?;
                Ok(())
            }
            Err(error) => {
                // An engine that is away says nothing about the image; it comes back.
                let patient = matches!(error, RuntimeError::Unavailable(_));
                let transient = patient || error.is_transient() && !last_try;
                let message = error.to_string();
                if !transient {
                    crate::crash::point("update.giving_up");
                    let taken_back = self.give_up_update(id, generation, false, &message).await;
                    crate::crash::point("update.given_up");
                    if taken_back.map_err(JobError::retry)? {
                        return Ok(());
                    }
                }
                self.change_instance(id, move |_, row, now| {
                    if row.generation != generation || row.desired != Desired::Running {
                        return Ok(());
                    }
                    if transient {
                        if matches!(row.state, State::Pending | State::Building) {
                            let state = row.state;
                            enter(row, state, Some(format!("{message}; trying again")), now)?;
                        }
                        return Ok(());
                    }
                    enter(row, State::Failed, Some(message.clone()), now)
                })
                .await
                .map_err(JobError::retry)?;
                match error {
                    e if patient => Err(JobError::patient(e)),
                    e if transient => Err(JobError::retry(e)),
                    // The instance says why; there is nothing for an operator to do about the job.
                    RuntimeError::Image { .. } | RuntimeError::Refused { .. } => Ok(()),
                    e => Err(JobError::fatal(e)),
                }
            }
        }
    }

    /// The engine lost the image between its fetch and the start (somebody prunes): fetches it again, at first at
    /// once. An engine that loses it again and again is not asked for ever.
    pub(crate) async fn image_vanished(&self, row: &Instance) -> Result<()> {
        let losses = row.crashes.saturating_add(1);
        if losses > MAX_LOSSES.max(row.spec.restart.max_crashes) {
            let why = format!(
                "its image {} vanishes from the engine between its fetch and the start",
                row.spec.image
            );
            return self.fail(row, format!("{why}; does something prune images there?")).await;
        }
        let (generation, job_for, wait) = (row.generation, self.image_job_maker(), wait_before(losses));
        self.change_instance(row.id, move |tx, row, now| {
            if row.generation != generation || row.desired != Desired::Running {
                return Ok(());
            }
            row.image_generation = 0;
            row.image_id = None;
            row.crashes = losses;
            row.retry_at = Some(now.plus(wait));
            let when = if wait.is_zero() { String::new() } else { format!(" in {} s", wait.as_secs()) };
            let message = format!("its image is gone from the engine; fetching it again{when}");
            let state = if rolls_beside(row) { row.state } else { State::Pending };
            enter(row, state, Some(message), now)?;
            let job = NewJob { run_at: now.plus(wait).0, ..job_for(row) };
            tx.enqueue_job(&job, now.0)?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Makes sure that an instance that waits for its image has a live job. The reconciler's safety net.
    pub(crate) async fn ensure_image_job(&self, row: &Instance) -> Result<()> {
        let (job, now) = (self.image_job(row), self.clock.now());
        self.store.write(move |tx| tx.enqueue_job(&job, now.0).map(drop)).await.map_err(Error::from)
    }
}

/// Nothing, then a second, doubling to a minute.
fn wait_before(loss: u32) -> Duration {
    match loss {
        0 | 1 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 2).min(6)).min(MAX_WAIT),
    }
}
