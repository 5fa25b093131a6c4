//! `ryokan rollback`.

use ryokan_api::deployment::Rollback as Request;
use ryokan_api::model::deployment::RevisionState;

use super::NO_INSTANCE;
use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::progress::Board;
use crate::table::{Column, Table};
use crate::text::age;
use crate::wait::{Goal, Wait};

/// Go back to an earlier revision of an instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The earlier revision becomes a new one. Secrets keep the values that they have.

Examples:
  ryokan rollback bot --list
  ryokan rollback bot --to 3")]
pub(crate) struct Rollback {
    /// Instance
    name: String,
    /// Revision (the last that was ready before the present one when absent)
    #[arg(long, value_name = "REVISION")]
    to: Option<i64>,
    /// List its revisions, and change nothing
    #[arg(long, conflicts_with = "to")]
    list: bool,
}

impl Rollback {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e| Failure::from(e).missing(NO_INSTANCE);
        if self.list {
            let revisions = client.revisions(&self.name).await.map_err(missing)?;
            if cx.out.json {
                return cx.out.json_list(revisions);
            }
            let now = now();
            let mut table = Table::new(&cx.out, &["REVISION", "STATE", "AGE", "IMAGE"]);
            for r in revisions {
                let tone = match r.state {
                    RevisionState::Live => Tone::Good,
                    RevisionState::Failed => Tone::Bad,
                    _ => Tone::Faint,
                };
                table.row([
                    Column::from(r.number.to_string()),
                    Column::new(r.state.as_str(), tone),
                    age(r.created_at, now).into(),
                    r.image.as_str().into(),
                ]);
            }
            return table.print(&cx.out);
        }
        let board = Board::new(&cx.out);
        let mut line = board.line(&self.name);
        let request = Request { revision: self.to };
        let operation = client.rollback_watched(&self.name, &request).await.map_err(missing)?;
        let wait = Wait { client: &client, out: &cx.out, goal: Goal::Ready, timeout: None, update: true };
        let reached = wait.for_operation(operation, Some(&self.name), &mut line).await?;
        drop(line);
        cx.out.on_interrupt(None);
        if cx.out.json {
            return cx.out.json(&client.instance(&reached.name).await?);
        }
        cx.out.note(format!("{} is ready.", reached.name));
        cx.out.line(client.instance(&reached.name).await?.url)
    }
}
