//! The worker: claims what is due, runs it, renews its leases, and lets go of everything when the server stops.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::Millis;
use ryokan_store::StoreError;
use ryokan_store::{JOBS, Job};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::JobError;
use crate::billing::notify;
use crate::deployments;
use crate::instances::images;
use crate::ledger::settle;
use crate::{App, Result};

/// Which jobs are run together, and how many at a time. What waits for other jobs has a pool of its own, or it would
/// hold the place of what it waits for.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    name: &'static str,
    kinds: &'static [&'static str],
    at_a_time: usize,
}

/// All kinds that this binary knows.
pub const POOLS: [Pool; 2] = [
    Pool { name: "", kinds: &[images::KIND, notify::MAIL, notify::WEBHOOK, settle::KIND], at_a_time: 8 },
    Pool { name: "/deployments", kinds: &[deployments::run::KIND], at_a_time: 2 },
];
const LEASE: Duration = Duration::from_secs(30);
/// The most that a patient job waits between two tries.
const PATIENT_RETRY: Duration = Duration::from_secs(5);

impl Pool {
    fn worker(self, app: &App) -> String {
        format!("{}{}", app.settings.worker, self.name)
    }
}

/// Runs until `stop`; then running jobs are given up and released, so that another worker (or the next start) takes
/// them at once instead of after their lease.
pub async fn run(app: Arc<App>, pool: Pool, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(pool.at_a_time));
    let mut changes = app.store.subscribe();
    loop {
        let wait = match claim(&app, pool, &slots).await {
            Ok(jobs) if jobs.is_empty() => next_due(&app).await,
            Ok(jobs) => {
                for job in jobs {
                    // Taken here, not in the task: what is claimed must be worked on, or its lease would run out.
                    let (app, slot, stop) =
                        (app.clone(), slots.clone().try_acquire_owned().ok(), stop.clone());
                    tracker.spawn(async move {
                        let _slot = slot;
                        tokio::select! {
                            () = work(&app, job) => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(error = %error, "jobs cannot be claimed; trying again");
                Duration::from_secs(1)
            }
        };
        let full = slots.available_permits() == 0;
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(if full { Duration::from_millis(100) } else { wait }) => {}
            more = changes.wait_for(JOBS) => if !more { break },
        }
    }
    tracker.close();
    tracker.wait().await;
    let (worker, now) = (pool.worker(&app), app.clock.now());
    if let Err(error) = app.store.write(move |tx| tx.release_jobs(&worker, now.0)).await {
        tracing::warn!(error = %error, "jobs could not be released; their leases will expire");
    }
}

async fn claim(app: &App, pool: Pool, slots: &Semaphore) -> Result<Vec<Job>> {
    let free = u32::try_from(slots.available_permits()).unwrap_or(0);
    if free == 0 {
        return Ok(Vec::new());
    }
    let (worker, now) = (pool.worker(app), app.clock.now());
    let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    Ok(app.store.write(move |tx| tx.claim_jobs(pool.kinds, &worker, free, now.0, lease)).await?)
}

/// Until the next job is due, at most some seconds: leases of dead workers expire without a signal.
async fn next_due(app: &App) -> Duration {
    const MOST: Duration = Duration::from_secs(5);
    match app.store.read(|tx| tx.next_job_due()).await {
        Ok(Some(at)) => Millis(at).since(app.clock.now()).clamp(Duration::from_millis(10), MOST),
        _ => MOST,
    }
}

async fn work(app: &Arc<App>, job: Job) {
    let last_try = job.attempt >= job.max_attempts;
    let outcome = tokio::select! {
        outcome = dispatch(app, &job, last_try) => outcome,
        () = keep_lease(app, &job) => {
            tracing::warn!(job = %job.id, kind = %job.kind, "lost its lease; another worker has it");
            return;
        }
    };
    crate::crash::point("job.worked");
    let now = app.clock.now();
    let jitter: [u8; 1] = app.entropy.bytes();
    let (id, attempt, kind) = (job.id.clone(), job.attempt, job.kind.clone());
    let written = app
        .store
        .write(move |tx| match outcome {
            Ok(()) => tx.complete_job(&id, attempt, now.0),
            Err(JobError { retry: true, patient, error }) if patient || !last_try => {
                tracing::info!(job = %id, kind = %kind, attempt, error = format!("{error:#}"), "a job failed; it is tried again");
                let wait = backoff(attempt, jitter[0]);
                let wait = if patient { wait.min(PATIENT_RETRY) } else { wait };
                tx.retry_job(&id, attempt, now.plus(wait).0, &format!("{error:#}"))
            }
            Err(JobError { error, .. }) => {
                tracing::error!(job = %id, kind = %kind, attempt, error = format!("{error:#}"), "a job is given up");
                tx.dead_letter_job(&id, attempt, &format!("{error:?}"), now.0)
            }
        })
        .await;
    match written {
        Ok(()) | Err(StoreError::Fenced) => {}
        Err(error) => {
            tracing::warn!(job = %job.id, error = %error, "a job's end could not be recorded; it will run again");
        }
    }
}

async fn dispatch(app: &Arc<App>, job: &Job, last_try: bool) -> Result<(), JobError> {
    match job.kind.as_str() {
        images::KIND => app.run_image_job(job.payload.clone(), last_try).await,
        notify::MAIL => app.run_mail_job(job.payload.clone()).await,
        settle::KIND => app.run_settlement_job(job.payload.clone()).await,
        notify::WEBHOOK => app.run_webhook_job(&job.id, job.payload.clone()).await,
        deployments::run::KIND => app.run_deployment_job(job.payload.clone(), last_try).await,
        other => Err(JobError::fatal(format!("no job of kind {other} is known"))),
    }
}

/// Returns when the lease is lost.
async fn keep_lease(app: &App, job: &Job) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        let (id, attempt, until) = (job.id.clone(), job.attempt, app.clock.now().plus(LEASE));
        match app.store.write(move |tx| tx.renew_job(&id, attempt, until.0)).await {
            Err(StoreError::Fenced) => return,
            Ok(()) => {}
            Err(error) => tracing::warn!(job = %job.id, error = %error, "a lease could not be renewed"),
        }
    }
}

/// 1 s doubling to 5 minutes, and up to a quarter more by chance.
fn backoff(attempt: i64, jitter: u8) -> Duration {
    let doublings = u32::try_from(attempt.clamp(1, 16) - 1).unwrap_or(0);
    let base = Duration::from_secs(1u64 << doublings).min(Duration::from_mins(5));
    base + base.mul_f64(f64::from(jitter) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_a_bound() {
        assert_eq!(backoff(1, 0), Duration::from_secs(1));
        assert_eq!(backoff(4, 0), Duration::from_secs(8));
        assert_eq!(backoff(99, 0), Duration::from_mins(5));
        assert!(backoff(1, 255) < Duration::from_millis(1250));
    }
}
