//! `ryokan projects`.

use clap::Subcommand;
use ryokan_api::model::Name;
use ryokan_api::project::{CreateProject, Project, PutRegistry, UpdateProject};

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::table::Table;
use crate::terminal;
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
    },
    /// Give a project another name
    Rename {
        /// Project
        project: String,
        /// Its new name
        name: Name,
    },
    /// Delete an empty project
    Delete {
        /// Project
        project: String,
    },
    /// Credentials for image pulls
    Registries {
        #[command(subcommand)]
        action: Registries,
    },
}

#[derive(Debug, Subcommand)]
enum Registries {
    /// List a project's registries
    List {
        /// Project
        project: String,
    },
    /// Set the credentials for a registry
    Set {
        /// Project
        project: String,
        /// Registry, as in registry.example.com:5000, or docker.io
        host: String,
        /// User name there
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Forget the credentials for a registry
    Rm {
        /// Project
        project: String,
        /// Registry
        host: String,
    },
}

const NO_PROJECT: &str = "`ryokan projects list` shows yours";

impl Projects {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let not_found = |e| Failure::from(e).missing(NO_PROJECT);
        match self.action {
            Action::List => list(cx, client.projects().await?),
            Action::Create { name } => show(cx, &client.create_project(&CreateProject { name }).await?),
            Action::Rename { project, name } => {
                let request = UpdateProject { name };
                show(cx, &client.update_project(&project, &request).await.map_err(not_found)?)
            }
            Action::Delete { project } => {
                client.delete_project(&project).await.map_err(not_found)?;
                cx.out.note(format!("{project} is deleted."));
                Ok(())
            }
            Action::Registries { action: Registries::List { project } } => {
                let registries = client.registries(&project).await.map_err(not_found)?;
                if cx.out.json {
                    return cx.out.json_list(registries);
                }
                let mut table = Table::new(&cx.out, &["REGISTRY", "USER"]);
                for registry in registries {
                    table.row([registry.host, registry.username]);
                }
                table.print(&cx.out)
            }
            Action::Registries { action: Registries::Set { project, host, username, password_stdin } } => {
                let question = format!("Password of {username} at {host}:");
                let password = terminal::secret(&question, password_stdin, "--password-stdin").await?;
                let request = PutRegistry { username, password: password.expose().to_owned() };
                client.put_registry(&project, &host, &request).await.map_err(not_found)?;
                cx.out.note(format!("Images of {host} are pulled with these credentials from now on."));
                Ok(())
            }
            Action::Registries { action: Registries::Rm { project, host } } => {
                client.delete_registry(&project, &host).await.map_err(not_found)?;
                cx.out.note(format!("The credentials for {host} are forgotten."));
                Ok(())
            }
        }
    }
}

fn list(cx: &Context, projects: Vec<Project>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(projects);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["NAME", "OWNER", "KIND", "AGE"]);
    for project in projects {
        table.row([
            project.name.to_string(),
            project.owner,
            if project.personal { "personal" } else { "shared" }.to_owned(),
            age(project.created_at, now),
        ]);
    }
    table.print(&cx.out)
}

fn show(cx: &Context, project: &Project) -> Outcome {
    if cx.out.json { cx.out.json(project) } else { cx.out.line(project.name.as_str()) }
}
