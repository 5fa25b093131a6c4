//! `ryokan rm`.

use futures_util::{StreamExt as _, stream};
use ryokan_api::instance::DeleteQuery;
use ryokan_api::model::quantity::Span;

use super::NO_INSTANCE;
use super::lifecycle::{AT_A_TIME, report};
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::Board;
use crate::terminal;
use crate::wait::{Goal, Wait};

/// Delete instances with their disks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Asks first when there is a terminal to ask on.")]
pub(crate) struct Rm {
    /// Instances
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Gone at once, also when the engine hangs or is down; what it still holds is removed when it can be
    #[arg(short, long)]
    force: bool,
    /// Leave the volumes on the engine
    #[arg(long)]
    keep_volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Wait no longer than this, as in 5m
    #[arg(long, value_name = "SPAN", conflicts_with = "no_wait")]
    timeout: Option<Span>,
}

impl Rm {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        if !self.yes && terminal::can_ask() {
            let disks = if self.keep_volumes { "" } else { " with all data on their disks" };
            let answer = terminal::ask(&format!("Delete {}{disks}? [y/N]", self.names.join(", "))).await?;
            if !matches!(answer.to_lowercase().as_str(), "y" | "yes") {
                return Err(Failure::new("nothing was deleted"));
            }
        }
        let query = DeleteQuery { force: self.force, keep_volumes: self.keep_volumes };
        let board = Board::new(&cx.out);
        let one = async |name: &String| {
            let operation = client
                .delete_instance(name, &query, !self.no_wait)
                .await
                .map_err(|e| Failure::from(e).missing(NO_INSTANCE))?;
            if self.no_wait {
                return Ok(name.clone());
            }
            let mut line = board.line(name);
            let wait = Wait {
                client: &client,
                out: &cx.out,
                goal: Goal::Deleted,
                timeout: self.timeout,
                update: false,
            };
            Ok(wait.for_operation(operation, Some(name), &mut line).await?.name)
        };
        let results = stream::iter(&self.names).map(one).buffered(AT_A_TIME);
        report(cx, &client, results).await
    }
}
