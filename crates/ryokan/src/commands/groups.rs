//! `ryokan groups`.

use clap::Subcommand;
use ryokan_api::client::ClientError;
use ryokan_api::group::{CreateGroup, Group, PutProjectGroup};
use ryokan_api::model::permission::Role;

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

/// Accounts that are given roles in projects together.
#[derive(Debug, clap::Args)]
pub(crate) struct Groups {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List groups; of a project with their roles
    List {
        /// Of this project
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Make a group
    Create {
        /// Name
        name: String,
    },
    /// Delete a group, and what it gave its members
    Rm {
        /// Name
        name: String,
    },
    /// Put somebody into a group
    Add {
        /// Group
        group: String,
        /// Login
        user: String,
    },
    /// Take somebody out of a group
    Remove {
        /// Group
        group: String,
        /// Login
        user: String,
    },
    /// Give a group a role in a project
    Grant {
        /// Group
        group: String,
        /// Project
        project: String,
        /// viewer, developer or admin
        #[arg(long, default_value = "developer", value_name = "ROLE")]
        role: Role,
    },
    /// Take a group's role in a project away
    Revoke {
        /// Group
        group: String,
        /// Project
        project: String,
    },
}

impl Groups {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e: ClientError| Failure::from(e).missing("`ryokan groups list` shows groups");
        let told = match self.action {
            Action::List { project: None } => {
                let groups = client.groups().await?;
                if cx.out.json {
                    return cx.out.json_list(groups);
                }
                let mut table = Table::new(&cx.out, &["NAME", "MEMBERS"]);
                for group in groups {
                    table.row([group.name, group.members.join(", ")]);
                }
                return table.print(&cx.out);
            }
            Action::List { project: Some(project) } => {
                let groups = client.project_groups(&project).await.map_err(missing)?;
                if cx.out.json {
                    return cx.out.json_list(groups);
                }
                let mut table = Table::new(&cx.out, &["NAME", "ROLE"]);
                for group in groups {
                    table.row([group.name, group.role.to_string()]);
                }
                return table.print(&cx.out);
            }
            Action::Create { name } => return made(cx, &client.create_group(&CreateGroup { name }).await?),
            Action::Add { group, user } => {
                return made(cx, &client.put_group_member(&group, &user).await.map_err(missing)?);
            }
            Action::Rm { name } => {
                client.delete_group(&name).await.map_err(missing)?;
                format!("The group {name} is gone.")
            }
            Action::Remove { group, user } => {
                client.delete_group_member(&group, &user).await.map_err(missing)?;
                format!("{user} is not in {group} any more.")
            }
            Action::Grant { group, project, role } => {
                let request = PutProjectGroup { role };
                let done = client.put_project_group(&project, &group, &request).await.map_err(missing)?;
                if cx.out.json {
                    return cx.out.json(&done);
                }
                format!("{} is {} of {project} now.", done.name, done.role)
            }
            Action::Revoke { group, project } => {
                client.delete_project_group(&project, &group).await.map_err(missing)?;
                format!("{group} has no role in {project} any more.")
            }
        };
        cx.out.note(told);
        Ok(())
    }
}

fn made(cx: &Context, group: &Group) -> Outcome {
    if cx.out.json {
        return cx.out.json(group);
    }
    let members = if group.members.is_empty() { "nobody".to_owned() } else { group.members.join(", ") };
    cx.out.note(format!("In {}: {members}.", group.name));
    Ok(())
}
