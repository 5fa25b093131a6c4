//! `ryokan projects registries`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::project::PutRegistry;

use super::not_found;
use crate::failure::Outcome;
use crate::table::Table;
use crate::{Context, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum Registries {
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

impl Registries {
    pub(super) async fn run(self, cx: &Context, client: &Client) -> Outcome {
        match self {
            Self::List { project } => {
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
            Self::Set { project, host, username, password_stdin } => {
                let question = format!("Password of {username} at {host}:");
                let password = terminal::secret(&question, password_stdin, "--password-stdin").await?;
                let request = PutRegistry { username, password: password.expose().to_owned() };
                client.put_registry(&project, &host, &request).await.map_err(not_found)?;
                cx.out.note(format!("Images of {host} are pulled with these credentials from now on."));
                Ok(())
            }
            Self::Rm { project, host } => {
                client.delete_registry(&project, &host).await.map_err(not_found)?;
                cx.out.note(format!("The credentials for {host} are forgotten."));
                Ok(())
            }
        }
    }
}
