//! What operators look at: jobs, reconcilers, the engine.

use ryokan_model::permission::Caller;
use ryokan_ports::runtime::EngineInfo;
use ryokan_store::ReconcilerRun;
use ryokan_store::{Job, JobFilter, JobState};
use serde_json::json;

use crate::page::one_more;
use crate::{App, Error, Page, Result, events};

impl App {
    pub async fn list_jobs(
        &self,
        caller: &Caller,
        state: Option<JobState>,
        before: Option<String>,
        limit: u32,
    ) -> Result<Page<Job>> {
        operators(caller)?;
        let filter = JobFilter { state, ..JobFilter::default() };
        let rows =
            self.store.read(move |tx| tx.list_jobs(&filter, before.as_deref(), one_more(limit))).await?;
        Ok(Page::cut(rows, limit, |job| job.id.clone()))
    }

    /// Puts a dead job back into the queue.
    pub async fn retry_job(&self, caller: &Caller, id: &str) -> Result<Job> {
        operators(caller)?;
        let (now, by, id) = (self.clock.now(), caller.clone(), id.to_owned());
        self.store
            .write(move |tx| {
                let job = tx.job(&id)?.ok_or_else(|| Error::not_found("job", &id))?;
                if !tx.requeue_job(&id, now.0)? {
                    return Err(Error::Conflict(format!(
                        "the job is {}; only a dead one can be tried again",
                        job.state.as_str()
                    )));
                }
                events::by_caller(tx, now, &by, None, "job.requeued", "job", &id, &job.kind, json!({}))?;
                tx.job(&id)?.ok_or_else(|| Error::not_found("job", &id))
            })
            .await
    }

    pub async fn list_reconcilers(&self, caller: &Caller) -> Result<Vec<ReconcilerRun>> {
        operators(caller)?;
        Ok(self.store.read(|tx| tx.list_reconcilers()).await?)
    }

    /// The engine as it answers now.
    pub async fn engine_info(&self) -> Result<EngineInfo> {
        Ok(self.runtime.info().await?)
    }

    /// Whether the database takes a write and gives it back.
    pub async fn check_store(&self) -> Result<()> {
        let now = self.clock.now();
        self.store.write(move |tx| tx.put_setting("last-check", &now.0.to_string(), now.0)).await?;
        Ok(())
    }
}

/// For use cases that only operators may call.
pub(crate) fn operators(caller: &Caller) -> Result<()> {
    if caller.is_operator() { Ok(()) } else { Err(Error::operators_only()) }
}
