//! `ryokan projects`.

mod env;
mod members;
mod quotas;
mod registries;

use clap::Subcommand;
use ryokan_api::client::ClientError;
use ryokan_api::model::Name;
use ryokan_api::model::project::Network;
use ryokan_api::project::{CreateProject, DeleteProject, Project, UpdateProject};

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::table::Table;
use crate::text::age;

/// What owns instances. Everybody has one of their own.
#[derive(Debug, clap::Args)]
pub(crate) struct Projects {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List projects
    List,
    /// Create a project
    Create {
        /// Its name
        name: Name,
        /// The chain that it pays on: mainnet or testnet
        #[arg(long, default_value = "mainnet", value_name = "NETWORK")]
        network: Network,
    },
    /// Give a project another name
    Rename {
        /// Project
        project: String,
        /// Its new name
        name: Name,
    },
    /// Delete a project
    Delete {
        /// Project
        project: String,
        /// Its instances go with it, and their volumes
        #[arg(long)]
        cascade: bool,
    },
    /// Who belongs to a project, and as what
    Members {
        #[command(subcommand)]
        action: members::Members,
    },
    /// Variables of all its instances; a change restarts them behind their health checks
    Env {
        #[command(subcommand)]
        action: env::Env,
    },
    /// Secret variables of all its instances
    Secrets {
        #[command(subcommand)]
        action: env::Secrets,
    },
    /// The most that it may have
    Quotas {
        #[command(subcommand)]
        action: quotas::Quotas,
    },
    /// Credentials for image pulls
    Registries {
        #[command(subcommand)]
        action: registries::Registries,
    },
}

/// For a project that is not there.
fn not_found(error: ClientError) -> Failure {
    Failure::from(error).missing("`ryokan projects list` shows yours")
}

impl Projects {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action {
            Action::List => list(cx, client.projects().await?),
            Action::Create { name, network } => {
                show(cx, &client.create_project(&CreateProject { name, network }).await?)
            }
            Action::Rename { project, name } => {
                let request = UpdateProject { name: Some(name), ..UpdateProject::default() };
                show(cx, &client.update_project(&project, &request).await.map_err(not_found)?)
            }
            Action::Delete { project, cascade } => {
                client.delete_project(&project, DeleteProject { cascade }).await.map_err(not_found)?;
                cx.out.note(format!("{project} is deleted."));
                Ok(())
            }
            Action::Members { action } => action.run(cx, &client).await,
            Action::Env { action } => action.run(cx, &client).await,
            Action::Secrets { action } => action.run(cx, &client).await,
            Action::Quotas { action } => action.run(cx, &client).await,
            Action::Registries { action } => action.run(cx, &client).await,
        }
    }
}

fn list(cx: &Context, projects: Vec<Project>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(projects);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["NAME", "OWNER", "YOU", "KIND", "AGE"]);
    for project in projects {
        table.row([
            project.name.to_string(),
            project.owner,
            project.role.to_string(),
            if project.personal { "personal" } else { "shared" }.to_owned(),
            age(project.created_at, now),
        ]);
    }
    table.print(&cx.out)
}

fn show(cx: &Context, project: &Project) -> Outcome {
    if cx.out.json { cx.out.json(project) } else { cx.out.line(project.name.as_str()) }
}
