//! The one way into the event log: who did what to which thing, from where, and how it ended. No payloads, no secrets.

use ryokan_model::permission::Caller;
use ryokan_model::{Millis, ProjectId};
use ryokan_store::Tx;
use ryokan_store::{Event, EventFilter, EventOutcome, EventsPage, LoggedEvent};
use serde_json::Value;

use crate::page::one_more;
use crate::{App, Error, Page, Result};

/// The actor of what the server does by itself.
pub const SYSTEM: &str = "system";

/// Who acts, when there is no [`Caller`] yet.
pub struct Actor<'a> {
    pub login: &'a str,
    pub address: Option<&'a str>,
    pub request_id: Option<&'a str>,
}

#[expect(
    clippy::too_many_arguments,
    reason = "an event has these parts; naming them at each of thirty calls would hide what they say"
)]
fn append(
    tx: &mut Tx<'_>,
    now: Millis,
    actor: &Actor<'_>,
    project: Option<ProjectId>,
    kind: &str,
    subject: &str,
    id: &str,
    name: &str,
    outcome: EventOutcome,
    data: Value,
) {
    tx.append_event(Event {
        at: now.0,
        kind: kind.to_owned(),
        project: project.map(|p| p.to_string()),
        subject_kind: subject.to_owned(),
        subject_id: id.to_owned(),
        subject_name: name.to_owned(),
        actor: actor.login.to_owned(),
        source_address: actor.address.map(str::to_owned),
        request_id: actor.request_id.map(str::to_owned),
        outcome,
        data,
    });
}

/// Something a caller asked for and was allowed.
#[expect(clippy::too_many_arguments, reason = "see `append`")]
pub fn by_caller(
    tx: &mut Tx<'_>,
    now: Millis,
    caller: &Caller,
    project: Option<ProjectId>,
    kind: &str,
    subject: &str,
    id: &str,
    name: &str,
    mut data: Value,
) -> Result<()> {
    if let Some(object) = data.as_object_mut() {
        object.insert("credential".into(), caller.credential.clone().into());
    }
    let actor = Actor {
        login: &caller.login,
        address: Some(&caller.address),
        request_id: caller.request_id.as_deref(),
    };
    append(tx, now, &actor, project, kind, subject, id, name, EventOutcome::Allowed, data);
    Ok(())
}

/// The same without a caller: signing in.
#[expect(clippy::too_many_arguments, reason = "see `append`")]
pub fn allowed(
    tx: &mut Tx<'_>,
    now: Millis,
    actor: &Actor<'_>,
    project: Option<ProjectId>,
    kind: &str,
    subject: &str,
    id: &str,
    name: &str,
    data: Value,
) -> Result<()> {
    append(tx, now, actor, project, kind, subject, id, name, EventOutcome::Allowed, data);
    Ok(())
}

/// Something that was refused.
#[expect(clippy::too_many_arguments, reason = "see `append`")]
pub fn denied(
    tx: &mut Tx<'_>,
    now: Millis,
    kind: &str,
    subject: &str,
    id: &str,
    login: &str,
    address: &str,
    request_id: Option<&str>,
    data: Value,
) -> Result<()> {
    append(
        tx,
        now,
        &Actor { login, address: Some(address), request_id },
        None,
        kind,
        subject,
        id,
        "",
        EventOutcome::Denied,
        data,
    );
    Ok(())
}

/// Something the server did.
#[expect(clippy::too_many_arguments, reason = "see `append`")]
pub fn system(
    tx: &mut Tx<'_>,
    now: Millis,
    kind: &str,
    subject: &str,
    id: &str,
    name: &str,
    project: Option<ProjectId>,
    data: Value,
) -> Result<()> {
    append(
        tx,
        now,
        &Actor { login: SYSTEM, address: None, request_id: None },
        project,
        kind,
        subject,
        id,
        name,
        EventOutcome::Done,
        data,
    );
    Ok(())
}

/// Which end of the log a page begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Oldest,
    Newest,
}

/// Which events somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// One kind, or with a trailing `.` all that begin so.
    pub kind: Option<String>,
    pub instance: Option<String>,
    pub project: Option<String>,
}

impl App {
    /// Turns a query into a filter that shows the caller only what it may see: events of its projects, and those
    /// without a project only to operators.
    pub async fn event_filter(&self, caller: &Caller, query: EventQuery) -> Result<EventFilter> {
        use ryokan_model::permission::Scope;
        let mut filter = EventFilter::default();
        match query.kind {
            Some(kind) if kind.ends_with('.') => filter.kind_prefix = Some(kind),
            kind => filter.kinds = kind.map(|kind| vec![kind]),
        }
        filter.projects = caller.visible_projects().map(|set| set.iter().map(ToString::to_string).collect());
        if let Some(project) = query.project {
            filter.projects =
                Some(vec![self.find_project(caller, Scope::Read, &project).await?.id.to_string()]);
        }
        if let Some(instance) = query.instance {
            filter.subject_id =
                Some(self.find_instance(caller, Scope::Read, &instance).await?.id.to_string());
        }
        Ok(filter)
    }

    /// A page of the log, of what comes after the event `after` in this order.
    pub async fn list_events(
        &self,
        filter: EventFilter,
        order: Order,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Page<LoggedEvent>> {
        let most = one_more(limit);
        let rows = match order {
            Order::Oldest => self.events_after(filter, after.unwrap_or(0), most).await?.events,
            Order::Newest => {
                let before = after.unwrap_or(i64::MAX);
                self.store.read(move |tx| tx.events_before(before, &filter, most)).await?
            }
        };
        Ok(Page::cut(rows, limit, |event| event.seq.to_string()))
    }

    /// What comes after the event `after`, for whoever tails the log.
    pub async fn events_after(&self, filter: EventFilter, after: i64, limit: u32) -> Result<EventsPage> {
        Ok(self.store.read(move |tx| tx.events_after(after, &filter, limit)).await?)
    }

    pub async fn latest_event(&self) -> Result<i64> {
        Ok(self.store.read(|tx| tx.latest_event_seq()).await?)
    }

    /// Records that a caller's write was refused. A failure to record is logged, not returned: the refusal stands.
    pub async fn record_denied(&self, caller: &Caller, action: String, reason: &Error) {
        let (now, by, reason) = (self.clock.now(), caller.clone(), reason.to_string());
        let data = serde_json::json!({"action": action, "reason": reason, "credential": by.credential});
        let written = self
            .store
            .write(move |tx| {
                let request = by.request_id.as_deref();
                denied(tx, now, "request.denied", "request", "", &by.login, &by.address, request, data)
            })
            .await;
        if let Err(error) = written {
            tracing::error!(error = %error, "a refusal could not be recorded");
        }
    }
}
