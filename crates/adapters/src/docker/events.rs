//! Changes, as the engine's event stream tells them. It is opened at the engine's own time of a moment ago, so that
//! nothing falls between `Resync` and the first event; an engine that hangs is noticed by asking it now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::EventsOptions;
use futures_util::{StreamExt, stream};
use ryokan_ports::runtime::{BoxStream, Change, Result, RuntimeError};
use tokio::time::MissedTickBehavior;

use super::{Inner, error, label};

const HEARTBEAT: Duration = Duration::from_secs(10);
/// What changes what [`ryokan_ports::runtime::Observed`] says. The last three are Podman's words.
const ACTIONS: [&str; 13] = [
    "create", "start", "die", "oom", "kill", "stop", "destroy", "pause", "unpause", "restart", "died",
    "cleanup", "remove",
];

impl Inner {
    pub(super) async fn watch(self: Arc<Self>) -> Result<BoxStream<Result<Change>>> {
        let api = self.link.api().await?;
        let info = self.link.call("the engine", api.info()).await?;
        let since = info
            .system_time
            .and_then(|t| t.parse::<jiff::Timestamp>().ok())
            .map(|t| format!("{}.{:09}", t.as_second(), t.subsec_nanosecond().max(0)));
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![format!("{}={}", label::SERVER, self.server)]),
            ("event".to_owned(), ACTIONS.iter().map(|a| (*a).to_owned()).collect()),
        ]);
        let options = EventsOptions { since, until: None, filters: Some(filters) };
        let events = Box::pin(api.events(Some(options)));
        let mut heartbeat = tokio::time::interval(HEARTBEAT.min(self.link.patience));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rest = stream::unfold(Some((events, heartbeat, self)), |state| async move {
            let (mut events, mut heartbeat, inner) = state?;
            loop {
                let failure = tokio::select! {
                    event = events.next() => match event {
                        Some(Ok(event)) => {
                            let labels = event.actor.and_then(|a| a.attributes).unwrap_or_default();
                            if labels.contains_key(label::PURPOSE) {
                                continue;
                            }
                            let Some(id) = labels.get(label::INSTANCE).and_then(|id| id.parse().ok()) else {
                                continue;
                            };
                            return Some((Ok(Change::Instance(id)), Some((events, heartbeat, inner))));
                        }
                        Some(Err(e)) => inner.link.explain(error::map(e, "events")),
                        None => RuntimeError::Unavailable(format!("{} ended its events", inner.link.address)),
                    },
                    _ = heartbeat.tick() => match inner.alive().await {
                        Ok(()) => continue,
                        Err(e) => e,
                    },
                };
                return Some((Err(failure), None));
            }
        });
        Ok(Box::pin(stream::iter([Ok(Change::Resync)]).chain(rest)))
    }

    async fn alive(&self) -> Result<()> {
        let api = self.link.api().await?;
        self.link.call("the engine", api.ping()).await.map(drop)
    }
}
