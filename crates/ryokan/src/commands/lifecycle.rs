//! `ryokan stop`, `start` and `restart`: several instances at a time, told in the order that they were named.

use futures_util::{StreamExt as _, stream};
use ryokan_api::client::Client;
use ryokan_api::model::quantity::Span;

use super::NO_INSTANCE;
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::Board;
use crate::wait::{Goal, Wait};

pub(crate) const AT_A_TIME: usize = 8;

#[derive(Debug, clap::Args)]
struct Which {
    /// Instances
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Wait no longer than this, as in 5m
    #[arg(long, value_name = "SPAN", conflicts_with = "no_wait")]
    timeout: Option<Span>,
}

/// Stop instances; their disks stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    which: Which,
}

/// Start stopped instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    #[command(flatten)]
    which: Which,
}

/// Stop and start instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    which: Which,
}

impl Stop {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        self.which.run(cx, "stop", Goal::Stopped).await
    }
}

impl Start {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        self.which.run(cx, "start", Goal::Ready).await
    }
}

impl Restart {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        self.which.run(cx, "restart", Goal::Ready).await
    }
}

impl Which {
    async fn run(self, cx: &Context, verb: &str, goal: Goal) -> Outcome {
        let client = cx.client()?;
        let board = Board::new(&cx.out);
        let results = stream::iter(&self.names)
            .map(|name| self.one(cx, &client, &board, name, verb, goal))
            .buffered(AT_A_TIME);
        report(cx, &client, results).await
    }

    async fn one(
        &self,
        cx: &Context,
        client: &Client,
        board: &Board<'_>,
        name: &str,
        verb: &str,
        goal: Goal,
    ) -> Outcome<String> {
        let operation = client
            .move_instance(name, verb, !self.no_wait)
            .await
            .map_err(|e| Failure::from(e).missing(NO_INSTANCE))?;
        if self.no_wait {
            return Ok(name.to_owned());
        }
        let mut line = board.line(name);
        let wait = Wait { client, out: &cx.out, goal, timeout: self.timeout, update: false };
        Ok(wait.for_operation(operation, Some(name), &mut line).await?.name)
    }
}

/// Prints each name that is done. One that is not does not keep the others; the first of them decides the exit code.
pub(crate) async fn report(
    cx: &Context,
    client: &Client,
    results: impl stream::Stream<Item = Outcome<String>>,
) -> Outcome {
    let mut results = std::pin::pin!(results);
    let mut failed = None;
    while let Some(result) = results.next().await {
        match result {
            Ok(name) if cx.out.json => match client.instance(&name).await {
                Ok(instance) => cx.out.json_line(&instance)?,
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error.into()),
            },
            Ok(name) => cx.out.line(name)?,
            Err(failure) => {
                cx.out.report(&failure);
                failed.get_or_insert(failure.code);
            }
        }
    }
    match failed {
        Some(code) => Err(Failure::silent(code)),
        None => Ok(()),
    }
}
