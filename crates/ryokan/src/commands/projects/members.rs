//! `ryokan projects members`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::model::permission::Role;
use ryokan_api::project::PutMember;

use super::not_found;
use crate::Context;
use crate::failure::Outcome;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(super) enum Members {
    /// List a project's members
    List {
        /// Project
        project: String,
    },
    /// Add a member, or give it another role
    Set {
        /// Project
        project: String,
        /// Login
        user: String,
        /// viewer, developer, admin or owner
        #[arg(long, default_value = "developer", value_name = "ROLE")]
        role: Role,
    },
    /// Take a member out
    Rm {
        /// Project
        project: String,
        /// Login, or `me`
        user: String,
    },
}

impl Members {
    pub(super) async fn run(self, cx: &Context, client: &Client) -> Outcome {
        match self {
            Self::List { project } => {
                let members = client.members(&project).await.map_err(not_found)?;
                if cx.out.json {
                    return cx.out.json_list(members);
                }
                let mut table = Table::new(&cx.out, &["LOGIN", "ROLE", "NAME"]);
                for member in members {
                    table.row([member.login, member.role.to_string(), member.name]);
                }
                table.print(&cx.out)
            }
            Self::Set { project, user, role } => {
                let member =
                    client.put_member(&project, &user, &PutMember { role }).await.map_err(not_found)?;
                if cx.out.json {
                    return cx.out.json(&member);
                }
                cx.out.note(format!("{} is {} of {project} now.", member.login, member.role));
                Ok(())
            }
            Self::Rm { project, user } => {
                client.delete_member(&project, &user).await.map_err(not_found)?;
                let who = if user == "me" { "You are" } else { &format!("{user} is") };
                cx.out.note(format!("{who} no member of {project} any more."));
                Ok(())
            }
        }
    }
}
