//! Following an instance until it is where somebody wants it: what progress streams and `--wait` are made of. Hanging
//! up cancels nothing; the stream always ends with a terminal step.

use std::time::Duration;

use futures_util::Stream;
use ryokan_model::InstanceId;
use ryokan_model::instance::{Desired, State};
use ryokan_ports::runtime::PullProgress;
use ryokan_store::Changes;
use ryokan_store::instances::Instance;
use tokio::sync::broadcast;

use crate::{App, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Ready,
    Stopped,
    Deleted,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// On its way.
    Pending { state: State, message: Option<String>, pull: Option<PullProgress> },
    /// There. The row is absent after a deletion.
    Reached(Option<Box<Instance>>),
    /// It will not get there by itself.
    Failed(String),
}

impl Step {
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Pending { .. })
    }
}

struct Follow {
    app: std::sync::Arc<App>,
    id: InstanceId,
    goal: Goal,
    /// The generation that was asked for.
    generation: i64,
    changes: Changes,
    pulls: broadcast::Receiver<(InstanceId, PullProgress)>,
    last: Option<(State, Option<String>)>,
    ended: bool,
}

impl App {
    /// Steps towards `goal`, the first at once.
    pub fn follow(
        self: &std::sync::Arc<Self>,
        row: &Instance,
        goal: Goal,
    ) -> impl Stream<Item = Step> + Send + use<> {
        let follow = Follow {
            changes: self.store.subscribe(),
            pulls: self.pulls.subscribe(),
            app: self.clone(),
            id: row.id,
            generation: row.generation,
            goal,
            last: None,
            ended: false,
        };
        futures_util::stream::unfold(follow, |mut follow| async move {
            if follow.ended {
                return None;
            }
            let step = follow.next().await;
            follow.ended = step.is_terminal();
            Some((step, follow))
        })
    }
}

impl Follow {
    async fn next(&mut self) -> Step {
        loop {
            match self.look().await {
                Ok(Some(step)) => return step,
                Ok(None) => {}
                // The database may be away for a while; the instance's way goes on when it is back.
                Err(error) => tracing::debug!(error = %error, "following an instance"),
            }
            tokio::select! {
                more = self.changes.wait_for("instances") => if !more {
                    return Step::Failed("the server is shutting down; the operation goes on when it is back".into());
                },
                pull = self.pulls.recv() => if let Ok((id, pull)) = pull && id == self.id {
                    let (state, message) = self.last.clone().unwrap_or((State::Building, None));
                    return Step::Pending { state, message, pull: Some(pull) };
                },
                // Signals may be lost when another server dies.
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Step>> {
        let id = self.id;
        let Some(row) = self.app.store.read(move |tx| tx.instance(id)).await? else {
            return Ok(Some(match self.goal {
                Goal::Deleted => Step::Reached(None),
                Goal::Ready | Goal::Stopped => Step::Failed("the instance was deleted".into()),
            }));
        };
        // While there is something to go back to, it is the old container that is ready.
        let settled = row.image_generation == row.generation
            && row.restart_done == row.restart_wanted
            && row.previous.is_none();
        if let Some(taken_back) = row.taken_back.as_ref().filter(|t| t.generation == self.generation)
            && self.goal == Goal::Ready
        {
            let why = format!("the update failed and was taken back: {}", taken_back.reason);
            return Ok(Some(Step::Failed(why)));
        }
        let step = match (self.goal, row.goal(), row.state) {
            (Goal::Ready, Desired::Stopped, State::Stopped) if row.suspended.is_some() => Some(Step::Failed(
                "the instance is suspended: its project owes money, or a cap is reached".into(),
            )),
            (Goal::Ready, Desired::Running, State::Ready) if settled => {
                Some(Step::Reached(Some(Box::new(row.clone()))))
            }
            (Goal::Ready, Desired::Running, State::Failed) => {
                Some(Step::Failed(row.message.clone().unwrap_or_else(|| "it failed".into())))
            }
            (Goal::Ready, Desired::Stopped, State::Stopped) => {
                Some(Step::Failed(row.message.clone().unwrap_or_else(|| "the instance was stopped".into())))
            }
            (Goal::Ready | Goal::Stopped, Desired::Deleted, _) => {
                Some(Step::Failed("the instance is being deleted".into()))
            }
            (Goal::Stopped, Desired::Stopped, State::Stopped) => {
                Some(Step::Reached(Some(Box::new(row.clone()))))
            }
            (Goal::Stopped, Desired::Stopped, State::Failed) => {
                Some(Step::Failed(row.message.clone().unwrap_or_else(|| "it could not be stopped".into())))
            }
            (Goal::Stopped, Desired::Running, _) => {
                Some(Step::Failed("the instance was started again".into()))
            }
            _ => None,
        };
        if let Some(Step::Reached(Some(ready))) = &step
            && self.goal == Goal::Ready
            && ready.addon.is_none()
        {
            self.app.wait_for_routes(id, ready.version).await;
        }
        if step.is_some() {
            return Ok(step);
        }
        let now = (row.state, row.message);
        if self.last.as_ref() == Some(&now) {
            return Ok(None);
        }
        self.last = Some(now.clone());
        Ok(Some(Step::Pending { state: now.0, message: now.1, pull: None }))
    }
}
