//! The durable queue: work that must happen after a commit, at least once, by whoever is there.
//!
//! A job is claimed under a lease; a worker that falls silent loses it to the next. The attempt's number is the fence:
//! it grows at each claim, and a write that carries an older one fails with [`StoreError::Fenced`], which rolls back
//! the transaction it is part of. So put a job's effects and its completion in one transaction, or make the effects
//! idempotent. Finished rows stay until purged, so that their outcome can be seen. Retry delays are the caller's.

use serde_json::{Value as Json, json};

use crate::dialect::Dialect;
use crate::error::{Result, StoreError};
use crate::params;
use crate::row::Row;
use crate::tx::Tx;

/// Signalled when jobs become claimable.
pub const JOBS: &str = "jobs";

/// How many jobs that lost their last attempt to a silent worker are given up in one claim.
const ABANDONED: i64 = 100;

/// How far ahead a job may be put off, in milliseconds. What waits longer was put off by a clock that has gone back
/// since, and is due at once; whoever wants to wait longer keeps that time in a table of its own.
pub const FURTHEST: i64 = 10 * 60 * 1000;

/// A job to enqueue.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Unique; a `UUIDv7`, so that lists are in order of creation.
    pub id: String,
    /// What is to be done; workers claim by kind.
    pub kind: String,
    /// At most one live job (ready or running) a kind and key. A job that runs already still counts: what it must
    /// not miss belongs into desired state, not into a second job.
    pub key: Option<String>,
    /// The kind's parameters.
    pub payload: Json,
    /// Greater goes first; 0 is normal.
    pub priority: i64,
    /// Not before this time, UTC milliseconds, at most [`FURTHEST`] ahead.
    pub run_at: i64,
    /// How many claims before a silent worker's job is given up, at least 1; the worker compares it too.
    pub max_attempts: i64,
}

/// What became of [`Tx::enqueue_job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue.
    Enqueued,
    /// A live job of this kind and key is there already: its id.
    Duplicate(String),
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for its time and a worker.
    Ready,
    /// Under a lease.
    Running,
    /// Succeeded.
    Done,
    /// Given up; an operator may requeue it.
    Dead,
}

impl JobState {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

impl std::str::FromStr for JobState {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Ready, Self::Running, Self::Done, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StoreError::Other("not a job's state".into()))
    }
}

/// A job as stored. Times are UTC milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub key: Option<String>,
    pub payload: Json,
    pub priority: i64,
    pub state: JobState,
    /// When it may be claimed: its time if ready, the end of the lease if running.
    pub due_at: i64,
    /// Number of claims so far, and the fence of the latest.
    pub attempt: i64,
    pub max_attempts: i64,
    pub worker: Option<String>,
    /// The latest error, whole.
    pub error: Option<String>,
    pub created_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub kind: Option<String>,
}

/// How many jobs of a kind are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCount {
    pub kind: String,
    pub state: JobState,
    pub count: i64,
    /// The smallest `due_at`: for ready jobs, how late the queue is.
    pub oldest_due_at: i64,
}

macro_rules! columns {
    () => {
        "id, kind, key, payload, priority, state, due_at, attempt, max_attempts, worker, error, created_at,
         started_at, finished_at"
    };
}

/// The claim, which differs only in how kinds are given and in that other servers' rows are skipped.
macro_rules! claim {
    ($kinds:literal, $lock:literal) => {
        concat!(
            "WITH picked AS MATERIALIZED (
                SELECT id FROM jobs
                WHERE finished_at IS NULL AND due_at <= $1 AND (state = 'ready' OR attempt < max_attempts)
                  AND kind ",
            $kinds,
            " ORDER BY priority DESC, due_at, id LIMIT $3 ",
            $lock,
            ")
             UPDATE jobs SET state = 'running', attempt = attempt + 1, worker = $4, due_at = $5, started_at = $1
             WHERE id IN (SELECT id FROM picked) RETURNING ",
            columns!()
        )
    };
}

/// Gives up what a silent worker held on its last attempt.
macro_rules! abandon {
    ($lock:literal) => {
        concat!(
            "UPDATE jobs SET state = 'dead', finished_at = $1,
                error = coalesce(error || '; ', '') || 'the worker fell silent on the last attempt'
             WHERE id IN (SELECT id FROM jobs
                WHERE finished_at IS NULL AND due_at <= $1 AND state = 'running' AND attempt >= max_attempts
                LIMIT $2 ",
            $lock,
            ")"
        )
    };
}

/// Makes due what a clock that has gone back since had put off: leases that end later than any lease of now could,
/// and waits longer than any. Two leases, since the clocks of several servers differ by less than one.
macro_rules! recall {
    ($lock:literal) => {
        concat!(
            "UPDATE jobs SET due_at = $1
             WHERE id IN (SELECT id FROM jobs
                WHERE finished_at IS NULL AND due_at > $2 AND (state = 'running' OR due_at > $3)
                LIMIT $4 ",
            $lock,
            ")"
        )
    };
}

impl Tx<'_> {
    /// Adds a job unless a live one has its kind and key. Fails with a unique violation of `jobs_pkey` if the id is
    /// taken.
    pub fn enqueue_job(&mut self, job: &NewJob, now_ms: i64) -> Result<Enqueued> {
        // A live duplicate may finish between the two statements (PostgreSQL), so more than one round may be needed.
        for _ in 0..8 {
            let added = self.execute(
                "INSERT INTO jobs (id, kind, key, payload, priority, state, due_at, attempt, max_attempts, created_at)
                 VALUES ($1, $2, $3, $4, $5, 'ready', $6, 0, $7, $8)
                 ON CONFLICT (kind, key) WHERE key IS NOT NULL AND finished_at IS NULL DO NOTHING",
                params![
                    &job.id,
                    &job.kind,
                    &job.key,
                    &job.payload,
                    job.priority,
                    job.run_at,
                    job.max_attempts.max(1),
                    now_ms
                ],
            )?;
            if added == 1 {
                self.notify(JOBS);
                return Ok(Enqueued::Enqueued);
            }
            let live = self.query_opt(
                "SELECT id FROM jobs WHERE kind = $1 AND key = $2 AND finished_at IS NULL",
                params![&job.kind, &job.key],
            )?;
            if let Some(live) = live {
                return Ok(Enqueued::Duplicate(live.text("id")?));
            }
        }
        Err(StoreError::Busy)
    }

    /// Claims up to `limit` due jobs of `kinds` for `worker` until `now_ms + lease_ms`: the greatest priority first,
    /// then the longest due. Expired leases are claimed again, or given up after `max_attempts`; so are leases that no
    /// clock of now can have given.
    pub fn claim_jobs(
        &mut self,
        kinds: &[&str],
        worker: &str,
        limit: u32,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<Vec<Job>> {
        let (recall, abandon, claim) = match self.dialect() {
            Dialect::Sqlite => {
                (recall!(""), abandon!(""), claim!("IN (SELECT value FROM json_each(CAST($2 AS TEXT)))", ""))
            }
            Dialect::Postgres => (
                recall!("FOR UPDATE SKIP LOCKED"),
                abandon!("FOR UPDATE SKIP LOCKED"),
                claim!(
                    "= ANY (ARRAY(SELECT value FROM json_each(CAST($2 AS TEXT))))",
                    "FOR UPDATE SKIP LOCKED"
                ),
            ),
        };
        let (lease, wait) =
            (now_ms.saturating_add(lease_ms.saturating_mul(2)), now_ms.saturating_add(FURTHEST));
        self.execute(recall, params![now_ms, lease, wait, ABANDONED])?;
        self.execute(abandon, params![now_ms, ABANDONED])?;
        let until = now_ms.saturating_add(lease_ms);
        let rows = self.query(claim, params![now_ms, &json!(kinds), limit, worker, until])?;
        let mut jobs = rows.iter().map(job).collect::<Result<Vec<Job>>>()?;
        // `RETURNING` has no order, and `due_at` is the lease now: ids are in order of creation.
        jobs.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
        Ok(jobs)
    }

    /// Extends the lease of a running attempt to `until_ms`.
    pub fn renew_job(&mut self, id: &str, attempt: i64, until_ms: i64) -> Result<()> {
        self.fenced(
            "UPDATE jobs SET due_at = $3 WHERE id = $1 AND attempt = $2 AND state = 'running'",
            id,
            attempt,
            until_ms,
            None,
        )
    }

    /// Ends a running attempt with success.
    pub fn complete_job(&mut self, id: &str, attempt: i64, now_ms: i64) -> Result<()> {
        self.fenced(
            "UPDATE jobs SET state = 'done', finished_at = $3, error = NULL
             WHERE id = $1 AND attempt = $2 AND state = 'running'",
            id,
            attempt,
            now_ms,
            None,
        )
    }

    /// Ends a running attempt with `error`; the job is ready again at `run_at_ms`.
    pub fn retry_job(&mut self, id: &str, attempt: i64, run_at_ms: i64, error: &str) -> Result<()> {
        self.notify(JOBS);
        self.fenced(
            "UPDATE jobs SET state = 'ready', due_at = $3, worker = NULL, error = $4
             WHERE id = $1 AND attempt = $2 AND state = 'running'",
            id,
            attempt,
            run_at_ms,
            Some(error),
        )
    }

    /// Gives a running attempt's job up, keeping `error` whole.
    pub fn dead_letter_job(&mut self, id: &str, attempt: i64, error: &str, now_ms: i64) -> Result<()> {
        self.fenced(
            "UPDATE jobs SET state = 'dead', finished_at = $3, error = $4
             WHERE id = $1 AND attempt = $2 AND state = 'running'",
            id,
            attempt,
            now_ms,
            Some(error),
        )
    }

    /// Gives back all that `worker` holds, at its shutdown: ready at once, and the attempt does not count against
    /// `max_attempts`. The number of jobs.
    pub fn release_jobs(&mut self, worker: &str, now_ms: i64) -> Result<u64> {
        self.notify(JOBS);
        self.execute(
            "UPDATE jobs SET state = 'ready', due_at = $2, worker = NULL, max_attempts = max_attempts + 1
             WHERE worker = $1 AND state = 'running' AND finished_at IS NULL",
            params![worker, now_ms],
        )
    }

    /// Makes a dead job ready again with as many attempts as it had. `false`: there is no such dead job. Fails with
    /// a unique violation of `jobs_live_key` if a live job has its key.
    pub fn requeue_job(&mut self, id: &str, now_ms: i64) -> Result<bool> {
        self.notify(JOBS);
        let changed = self.execute(
            "UPDATE jobs SET state = 'ready', due_at = $2, worker = NULL, finished_at = NULL,
                max_attempts = max_attempts + attempt
             WHERE id = $1 AND state = 'dead'",
            params![id, now_ms],
        )?;
        Ok(changed == 1)
    }

    /// One job.
    pub fn job(&mut self, id: &str) -> Result<Option<Job>> {
        let row = self.query_opt(concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1"), params![id])?;
        row.as_ref().map(job).transpose()
    }

    /// Up to `limit` jobs, the newest first, older than the job `before` (the last of the page before).
    pub fn list_jobs(&mut self, filter: &JobFilter, before: Option<&str>, limit: u32) -> Result<Vec<Job>> {
        let rows = self.query(
            concat!(
                "SELECT ",
                columns!(),
                " FROM jobs WHERE (CAST($1 AS TEXT) IS NULL OR state = $1) AND (CAST($2 AS TEXT) IS NULL OR kind = $2)
                  AND (CAST($3 AS TEXT) IS NULL OR id < $3) ORDER BY id DESC LIMIT $4"
            ),
            params![filter.state.map(JobState::as_str), &filter.kind, before, limit],
        )?;
        rows.iter().map(job).collect()
    }

    /// How many jobs there are, by kind and state.
    pub fn count_jobs(&mut self) -> Result<Vec<JobCount>> {
        let rows = self.query(
            "SELECT kind, state, count(*) AS count, min(due_at) AS oldest FROM jobs GROUP BY kind, state
             ORDER BY kind, state",
            params![],
        )?;
        let count = |row: &Row| {
            Ok(JobCount {
                kind: row.text("kind")?,
                state: row.parse("state")?,
                count: row.int("count")?,
                oldest_due_at: row.int("oldest")?,
            })
        };
        rows.iter().map(count).collect()
    }

    /// When the next live job becomes claimable (a lease's end included), UTC milliseconds: how long a worker may
    /// sleep.
    pub fn next_job_due(&mut self) -> Result<Option<i64>> {
        let row =
            self.query_one("SELECT min(due_at) AS due FROM jobs WHERE finished_at IS NULL", params![])?;
        row.opt_int("due")
    }

    /// Deletes up to `limit` jobs in `state` (done or dead) that finished before `before_ms`; the number deleted.
    pub fn purge_jobs(&mut self, state: JobState, before_ms: i64, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM jobs WHERE id IN
                (SELECT id FROM jobs WHERE finished_at IS NOT NULL AND finished_at < $1 AND state = $2 LIMIT $3)",
            params![before_ms, state.as_str(), limit],
        )
    }

    fn fenced(
        &mut self,
        sql: &'static str,
        id: &str,
        attempt: i64,
        time_ms: i64,
        error: Option<&str>,
    ) -> Result<()> {
        let changed = match error {
            None => self.execute(sql, params![id, attempt, time_ms])?,
            Some(error) => self.execute(sql, params![id, attempt, time_ms, error])?,
        };
        if changed == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }
}

fn job(row: &Row) -> Result<Job> {
    Ok(Job {
        id: row.text("id")?,
        kind: row.text("kind")?,
        key: row.opt_text("key")?,
        payload: row.json("payload")?,
        priority: row.int("priority")?,
        state: row.parse("state")?,
        due_at: row.int("due_at")?,
        attempt: row.int("attempt")?,
        max_attempts: row.int("max_attempts")?,
        worker: row.opt_text("worker")?,
        error: row.opt_text("error")?,
        created_at: row.int("created_at")?,
        started_at: row.opt_int("started_at")?,
        finished_at: row.opt_int("finished_at")?,
    })
}
