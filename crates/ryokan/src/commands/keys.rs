//! `ryokan users keys`.

use clap::Subcommand;
use ryokan_api::key::{CreateKey, Key};

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::table::{Column, Table};
use crate::text::age;

/// Public keys that an account proves itself with.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List keys
    Ls {
        /// Account (your own when absent)
        #[arg(default_value = "me", hide_default_value = true)]
        user: String,
    },
    /// Add a wallet's identity key (BRC)
    Add(Add),
    /// Remove a key
    Rm {
        /// The key, or its id
        key: String,
        /// Account (your own when absent)
        #[arg(default_value = "me", hide_default_value = true)]
        user: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The key: 66 hexadecimal digits
    key: String,
    /// Account (your own when absent)
    #[arg(default_value = "me", hide_default_value = true)]
    user: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// The key's signature for the account; operators need none
    #[arg(long, value_name = "HEX")]
    proof: Option<String>,
}

impl Keys {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action {
            Action::Ls { user } => list(cx, client.keys(&user).await?),
            Action::Add(add) => {
                let request =
                    CreateKey { kind: "brc".to_owned(), key: add.key, label: add.label, proof: add.proof };
                let key = client.create_key(&add.user, &request).await?;
                if cx.out.json {
                    return cx.out.json(&key);
                }
                cx.out.note("Requests that it signs act as this account from now on.");
                cx.out.line(key.key)
            }
            Action::Rm { key, user } => {
                let missing = |e| Failure::from(e).missing("`ryokan users keys ls` shows all");
                client.delete_key(&user, &key).await.map_err(missing)?;
                cx.out.note(format!("{key} is removed."));
                Ok(())
            }
        }
    }
}

fn list(cx: &Context, keys: Vec<Key>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(keys);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["KEY", "KIND", "LABEL", "USED", "AGE"]);
    for key in keys {
        table.row([
            Column::from(key.key),
            key.kind.into(),
            key.label.into(),
            key.last_used_at.map_or_else(|| "never".to_owned(), |at| age(at, now)).into(),
            age(key.created_at, now).into(),
        ]);
    }
    table.print(&cx.out)
}
