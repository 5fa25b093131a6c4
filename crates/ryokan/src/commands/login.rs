//! `ryokan login` and `ryokan logout`. A token is never an argument: other users of the machine could read it there.

use ryokan_api::client::{Client, ClientError, Credential};
use ryokan_api::model::Secret;
use ryokan_api::model::permission::Scope;
use ryokan_api::session::CreateSession;
use ryokan_api::token::CreateToken;

use crate::Context;
use crate::connection::{self, Stored};
use crate::failure::{Failure, Outcome};
use crate::terminal;

/// Sign in to a server and remember it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The address comes from --url, RYOKAN_URL or the last login. Without options a token is asked for, and typed unseen.

Example: ryokan login --url https://rooms.example.com --token-stdin < token.txt")]
pub(crate) struct Login {
    /// Read the token from standard input
    #[arg(long, conflicts_with_all = ["password", "user", "password_stdin"])]
    token_stdin: bool,
    /// Sign in with login and password; a token is made for this machine
    #[arg(long)]
    password: bool,
    /// Whose password (asked for when absent)
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "user")]
    password_stdin: bool,
}

/// Forget the server.
#[derive(Debug, clap::Args)]
#[command(after_help = "A token that `login --password` has made is revoked.")]
pub(crate) struct Logout {}

impl Login {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let path = connection::login_path(&cx.environment)?;
        let url = connection::login_url(&cx.globals, &cx.environment)?;
        // A wrong address is told before a secret is asked for.
        let anonymous = Client::new(&url, Credential::None)?;
        if !is_private(&anonymous) {
            cx.out.warn(&format!("{url} is not encrypted: what you type and do can be read on the way"));
        }
        let stored = if self.password || self.user.is_some() || self.password_stdin {
            self.by_password(&anonymous).await?
        } else {
            let token = match (&cx.globals.token_file, self.token_stdin) {
                (Some(file), false) => {
                    let text = std::fs::read_to_string(file)
                        .map_err(|e| Failure::usage(format!("--token-file {}: {e}", file.display())))?;
                    Secret::new(text.trim())
                }
                _ => {
                    terminal::secret(&format!("Token for {url}:"), self.token_stdin, "--token-stdin").await?
                }
            };
            Stored { url: anonymous.base(), token: token.expose().trim().to_owned(), token_id: None }
        };
        let client = Client::new(&url, Credential::Token(Secret::new(stored.token.as_str())))?;
        let user = match client.me().await {
            Ok(user) => user,
            Err(error) if error.status() == Some(401) => {
                return Err(
                    Failure::from(error).hint("check the token: it may be mistyped, expired or revoked")
                );
            }
            Err(error) => return Err(error.into()),
        };
        connection::store(&path, &stored)?;
        if cx.out.json {
            return cx.out.json(&user);
        }
        cx.out.note(format!("Signed in to {} as {}.", stored.url, user.login));
        if cx.environment.token.is_some() {
            cx.out.warn("RYOKAN_TOKEN is set and goes before this login");
        }
        Ok(())
    }

    async fn by_password(&self, anonymous: &Client) -> Outcome<Stored> {
        let login = match &self.user {
            Some(login) => login.clone(),
            None if terminal::can_ask() => terminal::ask("Login:").await?,
            None => {
                return Err(Failure::usage("there is no terminal to ask on")
                    .hint("name the account with --user, and give the password with --password-stdin"));
            }
        };
        let password = terminal::secret("Password:", self.password_stdin, "--password-stdin").await?;
        let request =
            CreateSession { login: Some(login), password: Some(password.expose().to_owned()), link: None };
        let (_, session) = match anonymous.sign_in(&request).await {
            Err(error) if error.status() == Some(401) => {
                return Err(Failure::from(error).hint("check login and password"));
            }
            result => result?,
        };
        let client = Client::new(&anonymous.base(), session)?;
        let request = CreateToken {
            label: "ryokan login".to_owned(),
            scope: Some(Scope::Admin),
            project: None,
            expires_in: None,
            user: None,
        };
        let made = client.create_token(&request).await;
        // The session has done its work; that it lasts on would be harmless.
        let _ = client.sign_out().await;
        let made = made?;
        Ok(Stored { url: client.base(), token: made.secret, token_id: Some(made.token.id.to_string()) })
    }
}

impl Logout {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let path = connection::login_path(&cx.environment)?;
        if let Ok(Some(Stored { url, token, token_id: Some(id) })) = connection::load(&path) {
            let client = Client::new(&url, Credential::Token(Secret::new(token)))?;
            match client.revoke_token(&id).await {
                Ok(()) => {}
                Err(error) if matches!(error.status(), Some(401 | 404)) => {}
                Err(error @ ClientError::Unreachable { .. }) => {
                    cx.out.warn(&format!("the token stays valid: {error}"));
                }
                Err(error) => cx.out.warn(&format!("the token stays valid: {error}")),
            }
        }
        match std::fs::remove_file(&path) {
            Ok(()) => cx.out.note("Signed out."),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => cx.out.note("Not signed in."),
            Err(error) => {
                return Err(Failure::new(format!("{} cannot be removed: {error}", path.display())));
            }
        }
        Ok(())
    }
}

/// Nobody between us and the server can listen.
fn is_private(client: &Client) -> bool {
    client.base().starts_with("https:") || client.is_loopback()
}
