//! Waiting for an operation on an instance: along the server's stream of progress, and by asking again when that
//! stream breaks. The operation goes on whether anybody waits or not.

use std::time::Duration;

use ryokan_api::client::{Client, ClientError, Operation, ProgressKind, ProgressStream};
use ryokan_api::instance::{Instance, LogQuery, Progress};
use ryokan_api::model::instance::{Desired, State};
use ryokan_api::model::quantity::Span;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress::Line;

const ASK_AGAIN: Duration = Duration::from_millis(500);
const LOG_LINES: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Ready,
    Stopped,
    Deleted,
}

/// How it ended well.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) name: String,
    pub(crate) url: Option<String>,
    /// A program that ran to its end is `stopped`, and that is no failure.
    pub(crate) kind: ProgressKind,
}

pub(crate) struct Wait<'a> {
    pub(crate) client: &'a Client,
    pub(crate) out: &'a Output,
    pub(crate) goal: Goal,
    pub(crate) timeout: Option<Span>,
    /// The operation is an update: one that was taken back leaves the instance ready, as it was.
    pub(crate) update: bool,
}

impl Wait<'_> {
    /// Until the goal is reached. `name` is the instance's when it is known beforehand.
    pub(crate) async fn for_operation(
        &self,
        operation: Operation,
        name: Option<&str>,
        line: &mut Line<'_>,
    ) -> Outcome<Reached> {
        let mut name = name.map(str::to_owned);
        let steps = self.steps(operation, &mut name, line);
        let Some(limit) = self.timeout else { return steps.await };
        let result = tokio::time::timeout(limit.duration(), steps).await;
        result.unwrap_or_else(|_| {
            let name = name.as_deref().unwrap_or("the instance");
            Err(Failure::with(Exit::Timeout, format!("{name} is not {} after {limit}", self.goal_word()))
                .hint("the operation goes on; look with `ryokan ps`"))
        })
    }

    async fn steps(
        &self,
        operation: Operation,
        name: &mut Option<String>,
        line: &mut Line<'_>,
    ) -> Outcome<Reached> {
        if let Some(name) = &name {
            self.goes_on(name);
        }
        match operation {
            Operation::Stream(stream) => {
                if let Some(reached) = self.follow(*stream, name, line).await? {
                    return Ok(reached);
                }
            }
            Operation::Accepted(instance) => {
                self.learn(instance.name.as_str(), name, line);
                line.show(&progress_of(&instance));
            }
            Operation::Done if self.goal == Goal::Deleted => {
                let name = name.clone().unwrap_or_default();
                return Ok(Reached { name, url: None, kind: ProgressKind::Deleted });
            }
            Operation::Done => {}
        }
        let Some(name) = name.as_deref() else {
            return Err(Failure::with(Exit::Unreachable, "the connection broke before the server answered")
                .hint("look with `ryokan ps` whether the instance was created"));
        };
        self.ask(name, line).await
    }

    /// `None` when the stream ended early.
    async fn follow(
        &self,
        mut stream: ProgressStream,
        name: &mut Option<String>,
        line: &mut Line<'_>,
    ) -> Outcome<Option<Reached>> {
        loop {
            let event = match stream.next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(None),
                Err(ClientError::Unreachable { why, .. }) => {
                    line.remark(&format!("connection lost ({why}), asking again"));
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            self.learn(&event.data.name, name, line);
            match event.kind {
                ProgressKind::Error => {
                    let words = event.data.message.as_deref().unwrap_or("no reason was given");
                    return self.ended_badly(&event.data.name, words, line).await;
                }
                ProgressKind::Ready | ProgressKind::Stopped | ProgressKind::Deleted => {
                    return Ok(Some(Reached {
                        name: event.data.name,
                        url: event.data.url,
                        kind: event.kind,
                    }));
                }
                ProgressKind::Created if event.data.state.is_none() && event.data.message.is_none() => {
                    line.show(&Progress { message: Some("created".to_owned()), ..event.data });
                }
                ProgressKind::Created | ProgressKind::Pending => line.show(&event.data),
            }
        }
    }

    /// The server also ends its streams with an error when it is shut down, and then the operation goes on: what the
    /// instance itself says counts. `None` when there is still something to wait for.
    async fn ended_badly(&self, name: &str, words: &str, line: &Line<'_>) -> Outcome<Option<Reached>> {
        match self.client.instance(name).await {
            Ok(instance) => {
                if self.taken_back(&instance).is_some() {
                    return Err(self.failed(name, words).await);
                }
                if let Some(kind) = self.reached(&instance) {
                    let name = instance.name.to_string();
                    return Ok(Some(Reached { name, url: Some(instance.url), kind }));
                }
                let moving = match self.goal {
                    Goal::Ready => instance.desired == Desired::Running,
                    Goal::Stopped => instance.desired == Desired::Stopped,
                    Goal::Deleted => true,
                };
                if !moving || instance.state.is_at_rest() {
                    return Err(self.failed(name, words).await);
                }
            }
            Err(error) if error.is_transient() => {}
            Err(_) => return Err(self.failed(name, words).await),
        }
        line.remark(words);
        Ok(None)
    }

    /// Why the update was taken back, if it was. Each update forgets what was said of the one before.
    fn taken_back<'a>(&self, instance: &'a Instance) -> Option<&'a str> {
        instance.update_error.as_deref().filter(|_| self.update)
    }

    async fn ask(&self, name: &str, line: &mut Line<'_>) -> Outcome<Reached> {
        let mut told = false;
        loop {
            match self.client.instance(name).await {
                Ok(instance) => {
                    if let Some(why) = self.taken_back(&instance) {
                        let words = format!("the update failed and was taken back: {why}");
                        return Err(self.failed(name, &words).await);
                    }
                    if let Some(kind) = self.reached(&instance) {
                        let name = instance.name.to_string();
                        return Ok(Reached { name, url: Some(instance.url), kind });
                    }
                    let ended = match self.goal {
                        Goal::Ready => matches!(instance.state, State::Failed | State::Stopped),
                        Goal::Stopped => instance.state == State::Failed,
                        Goal::Deleted => false,
                    };
                    if ended {
                        let words = instance.message.as_deref().unwrap_or("no reason was given");
                        return Err(self.failed(name, words).await);
                    }
                    line.show(&progress_of(&instance));
                }
                Err(error) if error.status() == Some(404) => {
                    if self.goal == Goal::Deleted {
                        let name = name.to_owned();
                        return Ok(Reached { name, url: None, kind: ProgressKind::Deleted });
                    }
                    return Err(Failure::with(Exit::NotFound, format!("{name} was deleted meanwhile")));
                }
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut told, true) {
                        line.remark(&format!("{error}, asking again"));
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn reached(&self, instance: &Instance) -> Option<ProgressKind> {
        match (self.goal, instance.state) {
            (Goal::Ready, State::Ready | State::Sleeping) if instance.desired == Desired::Running => {
                Some(ProgressKind::Ready)
            }
            // It ran to its end.
            (Goal::Ready, State::Stopped) if instance.exit_code == Some(0) => Some(ProgressKind::Stopped),
            (Goal::Stopped, State::Stopped) => Some(ProgressKind::Stopped),
            _ => None,
        }
    }

    fn learn(&self, told: &str, name: &mut Option<String>, line: &mut Line<'_>) {
        if name.as_deref() != Some(told) {
            line.rename(told);
            self.goes_on(told);
            *name = Some(told.to_owned());
        }
    }

    fn goes_on(&self, name: &str) {
        self.out.on_interrupt(Some(format!(
            "Not waiting any longer. On the server it goes on until {name} is {}; `ryokan ps` shows how far it is.",
            self.goal_word()
        )));
    }

    fn goal_word(&self) -> &'static str {
        match self.goal {
            Goal::Ready => "ready",
            Goal::Stopped => "stopped",
            Goal::Deleted => "deleted",
        }
    }

    /// Why, the last lines of the log, and what to do.
    async fn failed(&self, name: &str, words: &str) -> Failure {
        let verb = match self.goal {
            Goal::Ready => "is not running",
            Goal::Stopped => "was not stopped",
            Goal::Deleted => "was not deleted",
        };
        let mut lines = words.trim().lines();
        let mut failure = Failure::new(format!("{name} {verb}: {}", lines.next().unwrap_or_default()));
        failure.detail.extend(lines.map(str::to_owned));
        if self.goal != Goal::Ready {
            return failure
                .hint(format!("see `ryokan inspect {name}`; `ryokan rm --force {name}` always works"));
        }
        let log = self.last_lines(name).await;
        if !log.is_empty() && failure.detail.is_empty() {
            failure.detail.push("The last lines of its log:".to_owned());
            failure.detail.extend(log.iter().map(|line| format!("  {line}")));
        }
        failure.hint(format!(
            "see `ryokan logs {name}`, correct it with `ryokan update {name}`, or remove it with `ryokan rm {name}`"
        ))
    }

    async fn last_lines(&self, name: &str) -> Vec<String> {
        let read = async {
            let query = LogQuery { follow: false, tail: Some(LOG_LINES), since: None };
            let mut lines = Vec::new();
            let mut stream = self.client.logs(name, &query).await?;
            while let Some(line) = stream.next().await? {
                lines.push(line.text);
            }
            Ok::<_, ClientError>(lines)
        };
        // The failure is the news; a log that cannot be had must not hide it.
        match tokio::time::timeout(Duration::from_secs(5), read).await {
            Ok(Ok(lines)) => lines,
            _ => Vec::new(),
        }
    }
}

fn progress_of(instance: &Instance) -> Progress {
    Progress {
        name: instance.name.to_string(),
        state: Some(instance.state),
        message: instance.message.clone(),
        ..Progress::default()
    }
}
