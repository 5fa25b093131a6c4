//! `ryokan events`.

use ryokan_api::client::Followed;
use ryokan_api::event::{Event, EventQuery, Order};
use ryokan_api::model::event::Outcome as Result;

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::{one_line, time};

/// What happened.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: ryokan events -f --kind instance.")]
pub(crate) struct Events {
    /// Go on as it happens, over broken connections
    #[arg(short, long)]
    follow: bool,
    /// Only this kind; with a dot at the end all that begin so, as in instance.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only of this instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Only of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// All after this number; 0 for all that there are
    #[arg(long, value_name = "SEQ")]
    since_seq: Option<i64>,
    /// At most this many: the newest, or with --since-seq the next (100 when neither is given)
    #[arg(long, value_name = "COUNT", conflicts_with = "follow")]
    limit: Option<u32>,
}

impl Events {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let query = EventQuery {
            order: None,
            after: self.since_seq,
            limit: None,
            kind: self.kind.clone(),
            instance: self.instance.clone(),
            project: self.project.clone(),
        };
        if self.follow { follow(cx, query).await } else { self.list(cx, query).await }
    }

    async fn list(&self, cx: &Context, mut query: EventQuery) -> Outcome {
        let client = cx.client()?;
        let mut left = match (self.limit, self.since_seq) {
            (Some(limit), _) => limit,
            (None, Some(_)) => u32::MAX,
            (None, None) => 100,
        };
        // Told oldest first either way; the newest are asked for backwards, and kept until all are there.
        let newest = self.since_seq.is_none();
        query.order = newest.then_some(Order::Desc);
        let (mut kept, mut any) = (Vec::new(), false);
        let mut table = Table::new(&cx.out, &[">SEQ", "TIME", "KIND", "SUBJECT", "ACTOR", "OUTCOME"]);
        while left > 0 {
            query.limit = Some(left.min(500));
            let page = client.events(&query).await?;
            left = left.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
            any |= !page.items.is_empty();
            if newest || !cx.out.json {
                kept.extend(page.items);
            } else {
                page.items.iter().try_for_each(|event| cx.out.json_line(event))?;
            }
            let Some(next) = page.next else { break };
            query.after =
                Some(next.parse().map_err(|_| {
                    Failure::new(format!("the server sent `{next}` as the next page of events"))
                })?);
        }
        if newest {
            kept.reverse();
        }
        for event in &kept {
            if cx.out.json {
                cx.out.json_line(event)?;
            } else {
                table.row(row(event));
            }
        }
        match (cx.out.json, any) {
            (true, _) => Ok(()),
            (false, true) => table.print(&cx.out),
            (false, false) => {
                cx.out.note("No events.");
                Ok(())
            }
        }
    }
}

async fn follow(cx: &Context, query: EventQuery) -> Outcome {
    let mut follower = cx.client()?.follow_events(query).await?;
    let mut told = false;
    loop {
        match follower.next().await? {
            Followed::Item(event) if cx.out.json => cx.out.json_line(&event)?,
            Followed::Item(event) => cx.out.line(line(cx, &event))?,
            Followed::Lost { why } => {
                if let Some(why) = why {
                    cx.out.note(format!("connection lost ({why}), trying again"));
                    told = true;
                }
            }
            Followed::Resumed => {
                if std::mem::take(&mut told) {
                    cx.out.note("connected again");
                }
            }
            Followed::Ended => return Ok(()),
        }
    }
}

fn subject(event: &Event) -> String {
    let which = event.subject_name.as_ref().or(event.subject_id.as_ref());
    which.map_or_else(|| event.subject.clone(), |which| format!("{} {which}", event.subject))
}

fn tone(outcome: Result) -> Tone {
    match outcome {
        Result::Allowed | Result::Done => Tone::Plain,
        Result::Denied | Result::Failed => Tone::Bad,
    }
}

fn row(event: &Event) -> [Column; 6] {
    [
        event.seq.to_string().into(),
        time(event.at).into(),
        event.kind.as_str().into(),
        subject(event).into(),
        event.actor.as_str().into(),
        Column::new(event.outcome.as_str(), tone(event.outcome)),
    ]
}

/// A line that stands by itself, since what follows is not known.
fn line(cx: &Context, event: &Event) -> String {
    let words = format!("{} {} {} by {}", time(event.at), event.kind, subject(event), event.actor);
    format!("{} {}", one_line(&words), cx.out.paint(event.outcome.as_str(), tone(event.outcome)))
}
