//! The event log: append-only, numbered, read by tailing.
//!
//! Rules a reader may rest on: whoever was told by [`EventsPage::next`] to go on after n never misses an event at or
//! below n, and what follows from another event has the greater number. PostgreSQL gives numbers before commits, out
//! of their order. So appends wait until the end of the transaction, where the writer first shows, by a shared lock
//! that ends with its commit, below which number it will not write; a reader looks at these locks before it takes
//! its snapshot and trusts numbers only as far. Neither waits for the other, and commits stay concurrent. Numbers may
//! be missing (rollbacks), never late. Triggers refuse any change, but for the oldest events that are
//! purged behind a horizon.

use serde_json::{Value as Json, json};

use crate::dialect::Dialect;
use crate::error::{Result, StoreError};
use crate::params;
use crate::row::Row;
use crate::tx::Tx;

/// Signalled when events were appended.
pub const EVENTS: &str = "events";

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventOutcome {
    /// A request was permitted.
    Allowed,
    /// A request was refused.
    Denied,
    /// Something happened.
    Done,
    /// Something was tried in vain.
    Failed,
}

impl EventOutcome {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for EventOutcome {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Allowed, Self::Denied, Self::Done, Self::Failed]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| StoreError::Other("not an event's outcome".into()))
    }
}

/// What happened. Nothing in it may be secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, UTC milliseconds.
    pub at: i64,
    /// `instance.created`: subject and past tense.
    pub kind: String,
    /// Whose; `None` for what belongs to the server.
    pub project: Option<String>,
    /// To what: its noun in the singular, id, and name at that time.
    pub subject_kind: String,
    pub subject_id: String,
    pub subject_name: String,
    /// Who did it: `user:…`, `token:…`, `system:…`.
    pub actor: String,
    /// Where the request came from, if it was one.
    pub source_address: Option<String>,
    /// Which request.
    pub request_id: Option<String>,
    pub outcome: EventOutcome,
    /// More, by kind; an object.
    pub data: Json,
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedEvent {
    pub seq: i64,
    pub event: Event,
}

/// Which events to read; the default is all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of these projects only (then without the server's own).
    pub projects: Option<Vec<String>>,
    /// Of these kinds only.
    pub kinds: Option<Vec<String>>,
    /// Of kinds that begin so only.
    pub kind_prefix: Option<String>,
    /// About the subject with this id only.
    pub subject_id: Option<String>,
}

/// Some events and where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsPage {
    pub events: Vec<LoggedEvent>,
    /// The `after` of the next call: beyond all that was looked at, matching or not.
    pub next: i64,
    /// Greater numbers are being committed this very moment: look again soon (a few milliseconds), since nobody may
    /// signal when they are there.
    pub settling: bool,
}

macro_rules! columns {
    () => {
        "seq, at, kind, project, subject_kind, subject_id, subject_name, actor, source_address, request_id, outcome,
         data"
    };
}

macro_rules! matching {
    () => {
        "(CAST($3 AS TEXT) IS NULL OR project IN (SELECT value FROM json_each(CAST($3 AS TEXT))))
         AND (CAST($4 AS TEXT) IS NULL OR kind IN (SELECT value FROM json_each(CAST($4 AS TEXT))))
         AND (CAST($5 AS TEXT) IS NULL OR subject_id = $5)
         AND (CAST($6 AS TEXT) IS NULL OR substr(kind, 1, length(CAST($6 AS TEXT))) = $6)"
    };
}

impl Tx<'_> {
    /// Appends an event. It is written, and gets its number, at the end of the transaction: this transaction cannot
    /// read it.
    pub fn append_event(&mut self, event: Event) {
        self.notify(EVENTS);
        self.events.push(event);
    }

    /// Up to `limit` events after `after` (0: from the first), the oldest first. Pass `next` on, so that a filter
    /// that rarely matches does not search the same stretch again. In `read`, it must come before other statements.
    pub fn events_after(&mut self, after: i64, filter: &EventFilter, limit: u32) -> Result<EventsPage> {
        let (settled, latest) = self.event_bound()?;
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM events WHERE seq > $1 AND seq <= $2 AND ",
            matching!(),
            " ORDER BY seq LIMIT $7"
        );
        let events = self.select_events(sql, after, settled, filter, limit)?;
        let full = events.len() >= limit as usize;
        let next = events.last().filter(|_| full).map_or(settled.max(after), |last| last.seq);
        Ok(EventsPage { events, next, settling: settled < latest })
    }

    /// Up to `limit` events before `before` (`i64::MAX`: from the last), the newest first: for people.
    pub fn events_before(
        &mut self,
        before: i64,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM events WHERE seq > $1 AND seq < $2 AND ",
            matching!(),
            " ORDER BY seq DESC LIMIT $7"
        );
        self.select_events(sql, 0, before, filter, limit)
    }

    /// Where a new tail starts: all events up to this number are there, 0 if there are none. In `read`, it must come
    /// before other statements.
    pub fn latest_event_seq(&mut self) -> Result<i64> {
        Ok(self.event_bound()?.0)
    }

    /// Deletes events older than `before_ms`, from the first on, up to `limit`; the number deleted. It stops at the
    /// first one that is younger, whatever comes behind it. A reader's place in the log stays good.
    pub fn purge_events(&mut self, before_ms: i64, limit: u32) -> Result<u64> {
        let row = self.query_one(
            "SELECT min(CASE WHEN at >= $1 THEN seq END) AS young, max(seq) AS last
             FROM (SELECT seq, at FROM events ORDER BY seq LIMIT $2) AS oldest",
            params![before_ms, limit],
        )?;
        let horizon = match (row.opt_int("young")?, row.opt_int("last")?) {
            (Some(young), _) => young - 1,
            (None, Some(last)) => last,
            (None, None) => return Ok(0),
        };
        // Never back: the triggers would refuse it, and there is nothing to delete then.
        self.execute("UPDATE event_horizon SET seq = $1 WHERE seq < $1", params![horizon])?;
        self.execute("DELETE FROM events WHERE seq <= $1", params![horizon])
    }

    /// Up to which number the log is settled, and the last number given.
    fn event_bound(&mut self) -> Result<(i64, i64)> {
        if let Some(bound) = self.event_bound {
            return Ok(bound);
        }
        let row = match self.dialect() {
            Dialect::Sqlite => {
                let sql =
                    "SELECT coalesce(max(seq), 0) AS settled, coalesce(max(seq), 0) AS latest FROM events";
                self.query_one(sql, params![])?
            }
            Dialect::Postgres => self.before_snapshot("SELECT settled, latest FROM event_bound()")?,
        };
        let bound = (row.int("settled")?, row.int("latest")?);
        if self.read_only {
            // The snapshot stays, and so does the bound.
            self.event_bound = Some(bound);
        }
        Ok(bound)
    }

    fn select_events(
        &mut self,
        sql: &'static str,
        low: i64,
        high: i64,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>> {
        let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| json!(list).to_string());
        let (projects, kinds) = (list(&filter.projects), list(&filter.kinds));
        let (subject, prefix) = (&filter.subject_id, &filter.kind_prefix);
        let rows = self.query(sql, params![low, high, projects, kinds, subject, prefix, limit])?;
        rows.iter().map(logged).collect()
    }

    /// Writes what was appended: the last statements of a transaction.
    pub(crate) fn flush_events(&mut self) -> Result<()> {
        let events = std::mem::take(&mut self.events);
        if events.is_empty() {
            return Ok(());
        }
        if self.dialect() == Dialect::Postgres {
            self.execute("SELECT begin_events()", params![])?;
        }
        for event in events {
            self.execute(
                "INSERT INTO events (at, kind, project, subject_kind, subject_id, subject_name, actor,
                    source_address, request_id, outcome, data)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                params![
                    event.at,
                    event.kind,
                    event.project,
                    event.subject_kind,
                    event.subject_id,
                    event.subject_name,
                    event.actor,
                    event.source_address,
                    event.request_id,
                    event.outcome.as_str(),
                    &event.data
                ],
            )?;
        }
        Ok(())
    }
}

fn logged(row: &Row) -> Result<LoggedEvent> {
    Ok(LoggedEvent {
        seq: row.int("seq")?,
        event: Event {
            at: row.int("at")?,
            kind: row.text("kind")?,
            project: row.opt_text("project")?,
            subject_kind: row.text("subject_kind")?,
            subject_id: row.text("subject_id")?,
            subject_name: row.text("subject_name")?,
            actor: row.text("actor")?,
            source_address: row.opt_text("source_address")?,
            request_id: row.opt_text("request_id")?,
            outcome: row.parse("outcome")?,
            data: row.json("data")?,
        },
    })
}
