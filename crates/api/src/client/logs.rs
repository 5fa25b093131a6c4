//! An instance's output. A follower that loses its connection comes back to the same line: it asks again for the last
//! two seconds that it has seen and drops the lines that it has told already.
//!
//! Two seconds, because the engine writes standard output and error side by side and their times may be out of order
//! by a little.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use reqwest::Method;
use ryokan_model::quantity::Span;
use tokio::time::Instant;

use super::connection::Client;
use super::error::ClientError;
use super::events::retry_after;
use super::ndjson::NdjsonStream;
use super::reconnect::{Backoff, Followed};
use crate::instance::{LogLine, LogQuery};

const WINDOW_MS: i64 = 2000;

impl Client {
    /// The output as it is now, or with `follow` until the connection breaks.
    pub async fn logs(&self, name: &str, query: &LogQuery) -> Result<NdjsonStream<LogLine>, ClientError> {
        let url = self.url(&["v1", "instances", name, "logs"], query)?;
        let request = self.request(Method::GET, url).header("accept", "application/x-ndjson");
        Ok(NdjsonStream::new(self.open(request).await?))
    }

    /// The output as it is written. The first connection's failure is an error; later ones are retried for ever.
    pub async fn follow_logs(&self, name: &str, mut query: LogQuery) -> Result<LogFollower, ClientError> {
        query.follow = true;
        let stream = self.logs(name, &query).await?;
        Ok(LogFollower {
            client: self.clone(),
            name: name.to_owned(),
            query,
            begun: Instant::now(),
            told: Told::default(),
            repeats: Repeats::default(),
            stream: Some(stream),
            backoff: Backoff::default(),
        })
    }
}

/// Lines in order, none missed and none twice, over any number of connections.
#[derive(Debug)]
pub struct LogFollower {
    client: Client,
    name: String,
    query: LogQuery,
    begun: Instant,
    told: Told,
    repeats: Repeats,
    stream: Option<NdjsonStream<LogLine>>,
    backoff: Backoff,
}

impl LogFollower {
    /// May be dropped and called again. An error is final. [`Followed::Ended`] comes when the instance is gone.
    pub async fn next(&mut self) -> Result<Followed<LogLine>, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.backoff.wait().await;
                match self.client.logs(&self.name, &self.resumption()).await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.repeats = self.told.repeats();
                        return Ok(Followed::Resumed);
                    }
                    Err(error) if error.is_transient() => {
                        self.backoff.failed(retry_after(&error));
                        continue;
                    }
                    Err(error) if error.status() == Some(404) => return Ok(Followed::Ended),
                    Err(error) => return Err(error),
                }
            };
            let why = match stream.next().await {
                Ok(Some(line)) => {
                    if self.repeats.take(&line) {
                        continue;
                    }
                    self.backoff.worked();
                    self.told.add(&line);
                    return Ok(Followed::Item(line));
                }
                Ok(None) => None,
                Err(ClientError::Unreachable { why, .. }) => Some(why),
                Err(error) => return Err(error),
            };
            self.stream = None;
            self.backoff.failed(None);
            return Ok(Followed::Lost { why });
        }
    }

    fn resumption(&self) -> LogQuery {
        if let Some(since) = self.told.since() {
            return LogQuery { follow: true, tail: None, since: Some(since.to_string()) };
        }
        let mut query = self.query.clone();
        // Nothing told yet: spans count back from now, so they grow by the time that has gone by.
        let gone = Span::millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        if query.tail == Some(0) && query.since.is_none() {
            query = LogQuery { follow: true, tail: None, since: Some(gone.to_string()) };
        } else if let Some(span) = query.since.as_deref().and_then(|s| s.parse::<Span>().ok()) {
            let total = (span.duration() + gone.duration()).as_millis();
            query.since = Some(format!("{total}ms"));
        }
        query
    }
}

/// The lines of the last two seconds that were told.
#[derive(Debug, Default)]
struct Told {
    latest: Option<i64>,
    recent: VecDeque<(i64, u64)>,
}

impl Told {
    fn since(&self) -> Option<i64> {
        self.latest.map(|latest| (latest - WINDOW_MS).max(0))
    }

    fn add(&mut self, line: &LogLine) {
        self.latest = Some(self.latest.map_or(line.at, |latest| latest.max(line.at)));
        self.recent.push_back(key(line));
        while self.recent.front().is_some_and(|(at, _)| Some(*at) < self.since()) {
            self.recent.pop_front();
        }
    }

    fn repeats(&self) -> Repeats {
        let mut left = HashMap::new();
        for key in &self.recent {
            *left.entry(*key).or_insert(0) += 1;
        }
        Repeats { before: self.since(), left }
    }
}

/// What a resumed stream tells again.
#[derive(Debug, Default)]
struct Repeats {
    /// An engine that counts in whole seconds may begin earlier than it was asked to.
    before: Option<i64>,
    left: HashMap<(i64, u64), u32>,
}

impl Repeats {
    /// Whether the line was told before; each counts once.
    fn take(&mut self, line: &LogLine) -> bool {
        if Some(line.at) < self.before {
            return true;
        }
        match self.left.get_mut(&key(line)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

fn key(line: &LogLine) -> (i64, u64) {
    let mut hasher = DefaultHasher::new();
    line.stream.hash(&mut hasher);
    line.text.hash(&mut hasher);
    (line.at, hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: i64, stream: &str, text: &str) -> LogLine {
        LogLine { at, stream: stream.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_resumed_stream_repeats_nothing_and_misses_nothing() {
        let whole = [
            line(1000, "stdout", "a"),
            line(4000, "stdout", "tick"),
            line(4000, "stdout", "tick"),
            line(4500, "stdout", "b"),
            line(4400, "stderr", "late"),
            line(4500, "stdout", "b"),
            line(4600, "stdout", "tick"),
        ];
        for told_before in 1..=whole.len() {
            let mut told = Told::default();
            whole[..told_before].iter().for_each(|line| told.add(line));
            // Asked for the window, the server answers from the beginning of the second before.
            let since = told.since().unwrap() / 1000 * 1000 - 1000;
            let mut repeats = told.repeats();
            let again: Vec<String> = whole
                .iter()
                .filter(|line| line.at >= since && !repeats.take(line))
                .map(|line| format!("{line:?}"))
                .collect();
            let rest: Vec<String> = whole[told_before..].iter().map(|line| format!("{line:?}")).collect();
            assert_eq!(again, rest, "told before: {told_before}");
        }
    }
}
