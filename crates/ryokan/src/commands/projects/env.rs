//! `ryokan projects env` and `ryokan projects secrets`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::project::{PatchEnv, PutSecret};

use super::not_found;
use crate::environment::now;
use crate::failure::Outcome;
use crate::table::Table;
use crate::text::{age, one_line};
use crate::{Context, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum Env {
    /// List a project's variables; secrets by name only
    List {
        /// Project
        project: String,
    },
    /// Set variables
    Set {
        /// Project
        project: String,
        /// NAME=VALUE
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = assignment)]
        variables: Vec<(String, String)>,
    },
    /// Remove variables
    Rm {
        /// Project
        project: String,
        /// Names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Secrets {
    /// List the names of a project's secrets
    List {
        /// Project
        project: String,
    },
    /// Set a secret; its value is asked for, or read from standard input
    Set {
        /// Project
        project: String,
        /// Name of the variable
        name: String,
        /// Read the value from standard input
        #[arg(long)]
        stdin: bool,
    },
    /// Forget a secret
    Rm {
        /// Project
        project: String,
        /// Name of the variable
        name: String,
    },
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Env {
    pub(super) async fn run(self, cx: &Context, client: &Client) -> Outcome {
        let (project, env) = match self {
            Self::List { project } => return list(cx, client, &project).await,
            Self::Set { project, variables } => {
                (project, variables.into_iter().map(|(name, value)| (name, Some(value))).collect())
            }
            Self::Rm { project, names } => (project, names.into_iter().map(|name| (name, None)).collect()),
        };
        let env = client.patch_project_env(&project, &PatchEnv { env }).await.map_err(not_found)?;
        if cx.out.json {
            return cx.out.json(&env);
        }
        cx.out.note(format!("The instances of {project} are being updated."));
        Ok(())
    }
}

async fn list(cx: &Context, client: &Client, project: &str) -> Outcome {
    let found = client.project_env(project).await.map_err(not_found)?;
    if cx.out.json {
        return cx.out.json(&found);
    }
    let mut table = Table::new(&cx.out, &["NAME", "VALUE"]);
    for (name, value) in &found.env {
        table.row([name.clone(), one_line(value)]);
    }
    for name in found.secrets {
        table.row([name, "(secret)".to_owned()]);
    }
    table.print(&cx.out)
}

impl Secrets {
    pub(super) async fn run(self, cx: &Context, client: &Client) -> Outcome {
        match self {
            Self::List { project } => {
                let secrets = client.project_secrets(&project).await.map_err(not_found)?;
                if cx.out.json {
                    return cx.out.json_list(secrets);
                }
                let mut table = Table::new(&cx.out, &["NAME", "SET"]);
                for secret in secrets {
                    table.row([secret.name, age(secret.updated_at, now())]);
                }
                table.print(&cx.out)
            }
            Self::Set { project, name, stdin } => {
                let value = terminal::secret(&format!("Value of {name}:"), stdin, "--stdin").await?;
                let request = PutSecret { value: value.expose().to_owned() };
                client.put_project_secret(&project, &name, &request).await.map_err(not_found)?;
                cx.out.note(format!("The instances of {project} are being updated."));
                Ok(())
            }
            Self::Rm { project, name } => {
                client.delete_project_secret(&project, &name).await.map_err(not_found)?;
                cx.out.note(format!("The instances of {project} are being updated."));
                Ok(())
            }
        }
    }
}
