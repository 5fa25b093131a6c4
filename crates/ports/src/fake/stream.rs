//! What goes on while somebody looks: log lines and samples of use, until the container ends.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::FakeRuntime;
use crate::runtime::{BoxStream, LogLine, LogOptions, Result, RuntimeError, Stats, Target};

impl FakeRuntime {
    pub(super) fn log_lines(&self, of: Target, options: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        let (id, lines) = {
            let state = self.state();
            let of_generation = |g| state.of(self.server, of.instance).find(|c| c.workload.generation == g);
            let container = match options.generation {
                None => self.meant(&state, of)?,
                Some(generation) => of_generation(generation).ok_or_else(|| {
                    RuntimeError::NotFound(format!("generation {generation} of {}", of.instance))
                })?,
            };
            (container.id, container.logs.clone())
        };
        let seen = lines.len();
        let wanted = move |line: &LogLine| {
            options.since.is_none_or(|t| line.at >= t) && options.until.is_none_or(|t| line.at <= t)
        };
        let mut lines: Vec<LogLine> = lines.into_iter().filter(|l| wanted(l)).collect();
        if let Some(tail) = options.tail {
            lines.drain(..lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        }
        let history = stream::iter(lines);
        if !options.follow {
            return Ok(Box::pin(history.map(Ok)));
        }
        let state = (self.clone(), self.engine.version.subscribe(), seen);
        let rest = stream::unfold(state, move |(fake, mut versions, seen)| async move {
            loop {
                {
                    let state = fake.state();
                    let container = state.containers.iter().find(|c| c.id == id)?;
                    if let Some(line) = container.logs.get(seen) {
                        let line = line.clone();
                        drop(state);
                        return Some((line, (fake, versions, seen + 1)));
                    }
                    if !container.phase.is_running() {
                        return None;
                    }
                }
                versions.changed().await.ok()?;
            }
        });
        Ok(Box::pin(history.chain(rest).filter(move |l| std::future::ready(wanted(l))).map(Ok)))
    }

    pub(super) fn samples(&self, of: Target) -> Result<BoxStream<Result<Stats>>> {
        let id = self.live(&self.state(), of)?.id;
        let state = (self.clone(), self.engine.version.subscribe(), 0_u64);
        Ok(Box::pin(stream::unfold(state, move |(fake, mut versions, count)| async move {
            let second = tokio::time::sleep(Duration::from_secs(u64::from(count > 0)));
            let ended = async { while fake.state().runs(id) && versions.changed().await.is_ok() {} };
            tokio::select! {
                biased;
                () = ended => return None,
                () = second => {}
            }
            let sample = {
                let mut state = fake.state();
                let at = fake.now(&mut state);
                let limit = state.container(id).ok()?.workload.spec.resources.memory.get();
                Stats {
                    at,
                    cpu_nanos: count + 1,
                    cpu_centipercent: 100,
                    memory_bytes: limit / 4,
                    memory_limit_bytes: limit,
                    pids: 2,
                    ..Stats::default()
                }
            };
            Some((Ok(sample), (fake, versions, count + 1)))
        })))
    }
}
