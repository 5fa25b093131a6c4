//! `ryokan approvals`.

use clap::Subcommand;
use ryokan_api::approval::{Approval, ApprovalQuery, ApprovalState, Grant};
use ryokan_api::client::{Client, ClientError};
use ryokan_api::model::quantity::Span;

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;
use crate::text::{one_line, time};

/// What agents ask people for.
#[derive(Debug, clap::Args)]
pub(crate) struct Approvals {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List open questions; also without a subcommand
    List {
        /// Only of this project
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
        /// Answered and expired ones as well
        #[arg(long)]
        all: bool,
    },
    /// Allow what was asked, for a time
    Grant {
        /// Id
        id: String,
        /// For how long, at most 24h (15m when absent)
        #[arg(long = "for", value_name = "TIME")]
        lasts: Option<Span>,
    },
    /// Refuse what was asked
    Refuse {
        /// Id
        id: String,
    },
}

impl Approvals {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e: ClientError| Failure::from(e).missing("`ryokan approvals` lists open ones");
        match self.action.unwrap_or(Action::List { project: None, all: false }) {
            Action::List { project, all } => list(cx, &client, project, all).await,
            Action::Grant { id, lasts } => {
                let done = client.grant_approval(&id, &Grant { span: lasts }).await.map_err(missing)?;
                let until = done.until.map(|at| format!(" until {}", time(at))).unwrap_or_default();
                answered(cx, &done, &format!("may {} {}{until}.", done.action, one_line(&done.resource)))
            }
            Action::Refuse { id } => {
                let done = client.refuse_approval(&id).await.map_err(missing)?;
                answered(cx, &done, &format!("may not {} {}.", done.action, one_line(&done.resource)))
            }
        }
    }
}

fn answered(cx: &Context, done: &Approval, what: &str) -> Outcome {
    if cx.out.json {
        return cx.out.json(done);
    }
    cx.out.note(format!("{} {what}", one_line(&done.actor)));
    Ok(())
}

async fn list(cx: &Context, client: &Client, project: Option<String>, all: bool) -> Outcome {
    let state = (!all).then_some(ApprovalState::Open);
    let approvals = client.approvals(&ApprovalQuery { project, state, ..ApprovalQuery::default() }).await?;
    if cx.out.json {
        return cx.out.json_list(approvals);
    }
    if approvals.is_empty() {
        cx.out.note("Nobody asks for anything.");
        return Ok(());
    }
    let mut table =
        Table::new(&cx.out, &["ID", "STATE", "WHO ANSWERS", "ASKED BY", "ACTION", "RESOURCE", "IT SAYS"]);
    for approval in approvals {
        let state = match approval.state {
            ApprovalState::Open => "open",
            ApprovalState::Granted => "granted",
            ApprovalState::Refused => "refused",
            ApprovalState::Expired => "expired",
        };
        table.row([
            approval.id.to_string(),
            state.to_owned(),
            approval.level.to_string(),
            one_line(&approval.actor),
            approval.action,
            one_line(&approval.resource),
            one_line(&approval.untrusted_reason),
        ]);
    }
    table.print(&cx.out)
}
