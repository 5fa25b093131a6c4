//! `ryokan tokens`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::model::TokenId;
use ryokan_api::model::permission::Scope;
use ryokan_api::model::quantity::Span;
use ryokan_api::token::CreateToken;

use crate::Context;
use crate::environment::now;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::{age, span};

/// API tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Tokens {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List tokens
    List,
    /// Create a token and print its secret, this once
    Create(Create),
    /// Refuse tokens from now on
    Revoke {
        /// Ids, or labels that only one token has
        #[arg(required = true, value_name = "TOKEN")]
        tokens: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for
    label: String,
    /// What it may do: read, write or admin (write when absent)
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// The one project that it is for
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// How long it is good, as in 30d (for ever when absent)
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// Of another account; operators only
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
}

impl Tokens {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action {
            Action::List => list(cx, &client).await,
            Action::Create(create) => {
                let request = CreateToken {
                    label: create.label,
                    scope: create.scope,
                    project: create.project,
                    expires_in: create.expires,
                    user: create.user,
                };
                let created = client.create_token(&request).await?;
                if cx.out.json {
                    return cx.out.json(&created);
                }
                cx.out.note("This is shown only now. Keep it where others cannot read it.");
                cx.out.line(created.secret)
            }
            Action::Revoke { tokens } => {
                for token in tokens {
                    let id = id(&client, &token).await?;
                    client
                        .revoke_token(&id)
                        .await
                        .map_err(|e| Failure::from(e).missing("`ryokan tokens list` shows yours"))?;
                    cx.out.note(format!("{token} is revoked."));
                }
                Ok(())
            }
        }
    }
}

/// An id as it is, or the id of the one token with that label.
async fn id(client: &Client, token: &str) -> Outcome<String> {
    if token.parse::<TokenId>().is_ok() {
        return Ok(token.to_owned());
    }
    let tokens = client.tokens().await?;
    let mut labelled = tokens.iter().filter(|t| t.label == token);
    match (labelled.next(), labelled.next()) {
        (Some(found), None) => Ok(found.id.to_string()),
        (Some(_), Some(_)) => Err(Failure::usage(format!("several tokens have the label `{token}`"))
            .hint("name it by its id: `ryokan tokens list`")),
        (None, _) => Err(Failure::with(Exit::NotFound, format!("there is no token `{token}`"))
            .hint("`ryokan tokens list` shows yours")),
    }
}

async fn list(cx: &Context, client: &Client) -> Outcome {
    let tokens = client.tokens().await?;
    if cx.out.json {
        return cx.out.json_list(tokens);
    }
    let now = now();
    let mut table =
        Table::new(&cx.out, &["ID", "LABEL", "USER", "SCOPE", "PROJECT", "AGE", "USED", "EXPIRES"]);
    for token in tokens {
        let expires = match token.expires_at {
            None => Column::new("never", Tone::Faint),
            Some(at) if at <= now.0 => Column::new("expired", Tone::Bad),
            Some(at) => format!("in {}", span(ryokan_api::model::Millis(at).since(now))).into(),
        };
        let used = token.last_used_at.map_or_else(|| "never".to_owned(), |at| age(at, now));
        table.row([
            Column::from(token.id.to_string()),
            token.label.into(),
            token.user.into(),
            token.scope.as_str().into(),
            token.project.unwrap_or_else(|| "all".to_owned()).into(),
            age(token.created_at, now).into(),
            used.into(),
            expires,
        ]);
    }
    table.print(&cx.out)
}
