//! `ryokan users`.

use clap::Subcommand;
use ryokan_api::user::{CreateUser, UpdateUser, User};

use super::keys::Keys;
use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Sheet, Table};
use crate::terminal;
use crate::text::{age, span, time};

/// Accounts.
#[derive(Debug, clap::Args)]
pub(crate) struct Users {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List accounts
    List,
    /// Create an account
    Create(Create),
    /// Show an account
    Show {
        /// Account (your own when absent)
        user: Option<String>,
    },
    /// Change a password
    Password(Password),
    /// End an account's sessions and refuse its tokens
    Disable {
        /// Account
        user: String,
    },
    /// Let a disabled account in again
    Enable {
        /// Account
        user: String,
    },
    /// Delete an account
    Delete {
        /// Account
        user: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Public keys that an account proves itself with
    Keys(Keys),
    /// Make a link that signs in once
    LoginLink {
        /// Account
        user: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Name to sign in with: 1 to 40 lower-case letters, digits, `-`, `_`, `.`
    login: String,
    /// Name to show
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// May see and change everything
    #[arg(long)]
    operator: bool,
    /// Ask for a password
    #[arg(long)]
    password: bool,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, clap::Args)]
struct Password {
    /// Account (your own when absent)
    user: Option<String>,
    /// Read it from standard input; for your own account the current one first, each on a line
    #[arg(long)]
    password_stdin: bool,
}

const NO_USER: &str = "`ryokan users list` shows all";

impl Users {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let not_found = |e| Failure::from(e).missing(NO_USER);
        match self.action {
            Action::List => list(cx, client.users().await?),
            Action::Create(create) => {
                let password = if create.password || create.password_stdin {
                    Some(new_password(create.password_stdin).await?)
                } else {
                    None
                };
                let request = CreateUser {
                    login: create.login,
                    name: create.name,
                    password,
                    operator: create.operator,
                };
                let user = client.create_user(&request).await?;
                if !user.has_password {
                    cx.out.note(format!(
                        "{} has no password; `ryokan users login-link {}` lets them in.",
                        user.login, user.login
                    ));
                }
                show(cx, &user)
            }
            Action::Show { user: None } => show(cx, &client.me().await?),
            Action::Show { user: Some(user) } => show(cx, &client.user(&user).await.map_err(not_found)?),
            Action::Password(password) => {
                let (user, request) = match password.user {
                    Some(user) => {
                        let new = new_password(password.password_stdin).await?;
                        (user, UpdateUser { password: Some(new), ..UpdateUser::default() })
                    }
                    None => ("me".to_owned(), own_password(password.password_stdin).await?),
                };
                let user = client.update_user(&user, &request).await.map_err(not_found)?;
                cx.out.note(format!("The password of {} is changed.", user.login));
                if cx.out.json { cx.out.json(&user) } else { Ok(()) }
            }
            Action::Disable { user } => {
                let request = UpdateUser { disabled: Some(true), ..UpdateUser::default() };
                show(cx, &client.update_user(&user, &request).await.map_err(not_found)?)
            }
            Action::Enable { user } => {
                let request = UpdateUser { disabled: Some(false), ..UpdateUser::default() };
                show(cx, &client.update_user(&user, &request).await.map_err(not_found)?)
            }
            Action::Delete { user, yes } => {
                if !yes && terminal::can_ask() {
                    let answer = terminal::ask(&format!("Delete the account {user}? [y/N]")).await?;
                    if !matches!(answer.to_lowercase().as_str(), "y" | "yes") {
                        return Err(Failure::new("nothing was deleted"));
                    }
                }
                client.delete_user(&user).await.map_err(not_found)?;
                cx.out.note(format!("{user} is deleted."));
                Ok(())
            }
            Action::Keys(keys) => keys.run(cx).await,
            Action::LoginLink { user } => {
                let link = client.create_login_link(&user).await.map_err(not_found)?;
                if cx.out.json {
                    return cx.out.json(&link);
                }
                let left = ryokan_api::model::Millis(link.expires_at).since(now());
                cx.out.note(format!("It signs in once, within {}.", span(left)));
                cx.out.line(link.url)
            }
        }
    }
}

async fn new_password(from_stdin: bool) -> Outcome<String> {
    let password = terminal::secret("New password:", from_stdin, "--password-stdin").await?;
    if !from_stdin {
        let again = terminal::secret("Once more:", false, "--password-stdin").await?;
        if again != password {
            return Err(Failure::usage("the two are not the same"));
        }
    }
    Ok(password.expose().to_owned())
}

async fn own_password(from_stdin: bool) -> Outcome<UpdateUser> {
    let (current, new) = if from_stdin {
        let both = terminal::secret("", true, "--password-stdin").await?;
        match both.expose().split_once('\n') {
            Some((current, new)) => (current.trim_end_matches('\r').to_owned(), new.to_owned()),
            None => {
                return Err(Failure::usage("standard input holds only one line")
                    .hint("give the current password on the first line and the new one on the second"));
            }
        }
    } else {
        let current = terminal::secret("Current password:", false, "--password-stdin").await?;
        (current.expose().to_owned(), new_password(false).await?)
    };
    Ok(UpdateUser { password: Some(new), current_password: Some(current), ..UpdateUser::default() })
}

fn standing(user: &User) -> Column {
    match (user.disabled, user.operator) {
        (true, _) => Column::new("disabled", Tone::Bad),
        (false, true) => "operator".into(),
        (false, false) => "user".into(),
    }
}

fn list(cx: &Context, users: Vec<User>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(users);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["LOGIN", "NAME", "STANDING", "PASSWORD", "PROJECT", "AGE"]);
    for user in users {
        let standing = standing(&user);
        table.row([
            Column::from(user.login),
            user.name.into(),
            standing,
            if user.has_password { "yes" } else { "no" }.into(),
            user.default_project.into(),
            age(user.created_at, now).into(),
        ]);
    }
    table.print(&cx.out)
}

fn show(cx: &Context, user: &User) -> Outcome {
    if cx.out.json {
        return cx.out.json(user);
    }
    let standing = match (user.disabled, user.operator) {
        (true, true) => "disabled operator",
        (true, false) => "disabled",
        (false, true) => "operator",
        (false, false) => "user",
    };
    let mut sheet = Sheet::new();
    sheet
        .line("login", user.login.as_str())
        .line("id", user.id.to_string())
        .line("name", user.name.as_str())
        .line("standing", standing)
        .line("password", if user.has_password { "yes" } else { "no" })
        .line("project", user.default_project.as_str())
        .line("created", time(user.created_at));
    sheet.print(&cx.out)
}
