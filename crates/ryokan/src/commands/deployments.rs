//! `ryokan deployments`.

use clap::Subcommand;
use ryokan_api::deployment::DeploymentLogQuery;
use ryokan_api::model::deployment::DeploymentState;

use super::deploy::{follow, own_project};
use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::age;

const NONE: &str = "`ryokan deployments ls` lists them";

/// What was deployed.
#[derive(Debug, clap::Args)]
pub(crate) struct Deployments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List deployments, the newest first
    Ls {
        /// Of this project (your own when absent)
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Show what a deployment said
    Logs {
        /// Id
        id: String,
        /// Go on until it is over
        #[arg(short, long)]
        follow: bool,
    },
    /// End a deployment that is under way
    Cancel {
        /// Id
        id: String,
    },
}

impl Deployments {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e| Failure::from(e).missing(NONE);
        match self.action {
            Action::Ls { project } => {
                let project = match project {
                    Some(project) => project,
                    None => own_project(&client).await?,
                };
                let deployments = client.deployments(&project).await?;
                if cx.out.json {
                    return cx.out.json_list(deployments);
                }
                let now = now();
                let mut table = Table::new(&cx.out, &["ID", "NAME", "STATE", "AGE", "MESSAGE"]);
                for d in deployments {
                    let tone = match d.state {
                        DeploymentState::Succeeded => Tone::Good,
                        DeploymentState::Failed => Tone::Bad,
                        _ => Tone::Faint,
                    };
                    let message = d.message.unwrap_or_default();
                    let message =
                        message.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
                    table.row([
                        Column::from(d.id.to_string()),
                        d.name.unwrap_or_default().into(),
                        Column::new(d.state.as_str(), tone),
                        age(d.created_at, now).into(),
                        message.into(),
                    ]);
                }
                table.print(&cx.out)
            }
            Action::Logs { id, follow: true } if !cx.out.json => {
                let done = follow(&client, &id, 0, |line| drop(cx.out.line(line))).await?;
                cx.out.note(format!("The deployment {}.", done.state));
                Ok(())
            }
            Action::Logs { id, follow } => {
                let query = DeploymentLogQuery { follow, after: 0 };
                let mut lines = client.deployment_logs(&id, &query).await.map_err(missing)?;
                while let Some(line) = lines.next().await? {
                    if cx.out.json { cx.out.json_line(&line)? } else { cx.out.line(&line.text)? }
                }
                Ok(())
            }
            Action::Cancel { id } => {
                let row = client.cancel_deployment(&id).await.map_err(missing)?;
                if cx.out.json {
                    return cx.out.json(&row);
                }
                cx.out.note(format!("{id} is being cancelled."));
                Ok(())
            }
        }
    }
}
