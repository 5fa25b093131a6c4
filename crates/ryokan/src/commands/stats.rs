//! `ryokan stats`: redrawn in place on a terminal, one table otherwise.

use std::io::Write as _;
use std::time::Duration;

use crossterm::cursor::MoveUp;
use crossterm::queue;
use crossterm::terminal::{Clear, ClearType};
use futures_util::stream::{self, SelectAll, StreamExt as _};
use ryokan_api::client::{Client, ClientError};
use ryokan_api::instance::{InstanceQuery, Stats as Sample};
use ryokan_api::model::instance::State;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::NO_INSTANCE;
use super::lifecycle::AT_A_TIME;
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::{Column, Table};
use crate::terminal;
use crate::text::bytes;

const REDRAW: Duration = Duration::from_millis(500);

/// Show what instances use.
#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// Instances (all that run when absent)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// One sample
    #[arg(long)]
    no_stream: bool,
}

/// A sample with whose it is.
#[derive(Serialize)]
struct Named<'a> {
    instance: &'a str,
    #[serde(flatten)]
    sample: &'a Sample,
}

type Row = (String, Option<Sample>);

impl Stats {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let names = if self.names.is_empty() { running(&client).await? } else { self.names };
        if names.is_empty() {
            cx.out.note("No instance runs.");
            return Ok(());
        }
        if self.no_stream || !(cx.out.terminal || cx.out.json) {
            let samples = stream::iter(&names).map(|name| client.stats(name)).buffered(AT_A_TIME);
            let samples: Vec<Result<Sample, ClientError>> = samples.collect().await;
            let mut rows = Vec::new();
            for (name, sample) in names.into_iter().zip(samples) {
                rows.push((name, Some(sample.map_err(|e| Failure::from(e).missing(NO_INSTANCE))?)));
            }
            return if cx.out.json { lines(cx, &rows) } else { table(cx, &rows).print(&cx.out) };
        }
        live(cx, &client, names).await
    }
}

async fn running(client: &Client) -> Outcome<Vec<String>> {
    let instances = client.instances(&InstanceQuery::default()).await?;
    let runs = |state| matches!(state, State::Starting | State::Ready | State::Unhealthy);
    Ok(instances.into_iter().filter(|i| runs(i.state)).map(|i| i.name.to_string()).collect())
}

async fn live(cx: &Context, client: &Client, names: Vec<String>) -> Outcome {
    let mut samples = SelectAll::new();
    for (index, name) in names.iter().enumerate() {
        let stream = client.stats_stream(name).await.map_err(|e| Failure::from(e).missing(NO_INSTANCE))?;
        samples.push(Box::pin(stream::unfold(Some(stream), move |stream| async move {
            let mut stream = stream?;
            match stream.next().await {
                Ok(Some(sample)) => Some(((index, Ok(Some(sample))), Some(stream))),
                // It has stopped.
                Ok(None) => Some(((index, Ok(None)), None)),
                Err(error) => Some(((index, Err(error)), None)),
            }
        })));
    }
    let mut rows: Vec<Row> = names.into_iter().map(|name| (name, None)).collect();
    let mut screen = Screen::default();
    let mut redraw = tokio::time::interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed = true;
    loop {
        tokio::select! {
            sample = samples.next() => match sample {
                None => break,
                Some((_, Err(error))) => return Err(error.into()),
                Some((index, Ok(sample))) => {
                    rows[index].1 = sample;
                    if cx.out.json {
                        lines(cx, &rows[index..=index])?;
                    }
                    changed = true;
                }
            },
            _ = redraw.tick(), if changed && !cx.out.json => {
                screen.draw(&table(cx, &rows).text())?;
                changed = false;
            }
        }
    }
    if !cx.out.json {
        screen.draw(&table(cx, &rows).text())?;
    }
    cx.out.note("Nothing of it runs any more.");
    Ok(())
}

fn lines(cx: &Context, rows: &[Row]) -> Outcome {
    rows.iter().try_for_each(|(name, sample)| match sample {
        Some(sample) => cx.out.json_line(&Named { instance: name, sample }),
        None => Ok(()),
    })
}

fn table(cx: &Context, rows: &[Row]) -> Table {
    let columns =
        ["NAME", ">CPU", ">MEMORY", ">LIMIT", ">NET IN", ">NET OUT", ">DISK READ", ">DISK WRITE", ">PIDS"];
    let mut table = Table::new(&cx.out, &columns);
    for (name, sample) in rows {
        let mut cells = vec![Column::from(name.as_str())];
        match sample {
            Some(s) => {
                cells.push(format!("{:.1}%", s.cpu_percent).into());
                let sizes = [
                    s.memory_bytes,
                    s.memory_limit_bytes,
                    s.network_rx_bytes,
                    s.network_tx_bytes,
                    s.block_read_bytes,
                    s.block_write_bytes,
                ];
                cells.extend(sizes.map(|size| Column::from(bytes(size))));
                cells.push(s.pids.to_string().into());
            }
            None => cells.extend((0..8).map(|_| Column::from("-"))),
        }
        table.row(cells);
    }
    table
}

/// The lines that are ours on the terminal.
#[derive(Default)]
struct Screen {
    height: u16,
}

impl Screen {
    /// Only as many lines as fit: what has scrolled away cannot be redrawn.
    fn draw(&mut self, text: &str) -> Outcome {
        let fits = terminal::size().map_or(24, |(_, rows)| rows).saturating_sub(1).max(1);
        let lines: Vec<&str> = text.lines().take(usize::from(fits)).collect();
        let mut out = std::io::stdout().lock();
        if self.height > 0 {
            queue!(out, MoveUp(self.height), Clear(ClearType::FromCursorDown))?;
        }
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        self.height = u16::try_from(lines.len()).unwrap_or(fits);
        Ok(out.flush()?)
    }
}
