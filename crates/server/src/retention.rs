//! The section `[retention]`: for how long what has happened is kept.

use std::time::Duration;

use ryokan_app::housekeeping::Retention;
use ryokan_model::quantity::Span;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time, or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(Option<Span>);

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "forever" {
            return Ok(Self(None));
        }
        let span = text.parse::<Span>();
        span.map(|s| Self(Some(s)))
            .map_err(|e| serde::de::Error::custom(format!("{}, or \"forever\"", e.problem)))
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(span) => span.serialize(serializer),
            None => "forever".serialize(serializer),
        }
    }
}

impl From<Duration> for Keep {
    fn from(time: Duration) -> Self {
        Self(Some(Span::seconds(time.as_secs())))
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSection {
    pub events: Keep,
    /// Jobs that did their work.
    pub done_jobs: Keep,
    /// Jobs that were given up.
    pub dead_jobs: Keep,
    /// The record of decisions.
    pub audit: Keep,
}

impl Default for RetentionSection {
    fn default() -> Self {
        let Retention { events, done_jobs, dead_jobs, audit } = Retention::default();
        let keep = |time: Option<Duration>| time.map_or(Keep(None), Keep::from);
        Self {
            events: keep(events),
            done_jobs: keep(done_jobs),
            dead_jobs: keep(dead_jobs),
            audit: keep(audit),
        }
    }
}

impl RetentionSection {
    const LEAST: Span = Span::seconds(3600);

    /// The first key whose span is too short: what nobody had the time to read is of no use.
    pub fn too_short(&self) -> Option<&'static str> {
        [
            ("events", self.events),
            ("done_jobs", self.done_jobs),
            ("dead_jobs", self.dead_jobs),
            ("audit", self.audit),
        ]
        .into_iter()
        .find(|(_, keep)| keep.0.is_some_and(|span| span < Self::LEAST))
        .map(|(key, _)| key)
    }

    pub fn settings(&self) -> Retention {
        let time = |keep: Keep| keep.0.map(|span| span.duration());
        Retention {
            events: time(self.events),
            done_jobs: time(self.done_jobs),
            dead_jobs: time(self.dead_jobs),
            audit: time(self.audit),
        }
    }
}
