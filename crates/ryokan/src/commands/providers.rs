//! `ryokan providers`.

use std::path::PathBuf;

use clap::Subcommand;
use ryokan_api::models::{
    CreateProvider, Provider, ProviderDetail, ProviderKind, ProviderOptions, UpdateProvider,
};

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

const NO_PROVIDER: &str = "`ryokan providers ls` lists them";

/// Who answers calls of models. For operators.
#[derive(Debug, clap::Args)]
pub(crate) struct Providers {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List providers
    Ls,
    /// Add a provider
    Add {
        /// What it is called here
        name: String,
        /// What it speaks: ollama, openai (any compatible server) or anthropic
        kind: ProviderKind,
        #[arg(
            value_name = "URL",
            help = "Where it is, as in http://127.0.0.1:11434, https://api.openai.com/v1 or https://api.anthropic.com"
        )]
        address: String,
        /// Read its key from a file; - is the standard input
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Show a provider and its models
    Show {
        /// Provider
        provider: String,
    },
    /// Ask a provider again what it offers
    Refresh {
        /// Provider
        provider: String,
    },
    /// Give a provider another key
    Key {
        /// Provider
        provider: String,
        /// Where the key is; - is the standard input
        file: PathBuf,
    },
    /// Let a provider answer calls again
    Enable {
        /// Provider
        provider: String,
    },
    /// Let a provider answer no calls
    Disable {
        /// Provider
        provider: String,
    },
    /// Remove a provider with its key
    Rm {
        /// Provider
        provider: String,
    },
}

impl Providers {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e| Failure::from(e).missing(NO_PROVIDER);
        match self.action {
            Action::Ls => list(cx, client.providers().await?.items),
            Action::Add { name, kind, address, key_file } => {
                let key = key_file.as_ref().map(read_key).transpose()?;
                let request = CreateProvider {
                    name,
                    kind,
                    base_url: address,
                    key,
                    enabled: true,
                    local: None,
                    options: ProviderOptions::default(),
                };
                list(cx, vec![client.create_provider(&request).await?])
            }
            Action::Show { provider } => show(cx, &client.provider(&provider).await.map_err(missing)?),
            Action::Refresh { provider } => {
                show(cx, &client.refresh_provider(&provider).await.map_err(missing)?)
            }
            Action::Key { provider, file } => {
                let change = UpdateProvider { key: Some(read_key(&file)?), ..unchanged() };
                list(cx, vec![client.update_provider(&provider, &change).await.map_err(missing)?])
            }
            Action::Enable { provider } => {
                let change = UpdateProvider { enabled: Some(true), ..unchanged() };
                list(cx, vec![client.update_provider(&provider, &change).await.map_err(missing)?])
            }
            Action::Disable { provider } => {
                let change = UpdateProvider { enabled: Some(false), ..unchanged() };
                list(cx, vec![client.update_provider(&provider, &change).await.map_err(missing)?])
            }
            Action::Rm { provider } => {
                client.delete_provider(&provider).await.map_err(missing)?;
                cx.out.line(provider)
            }
        }
    }
}

const fn unchanged() -> UpdateProvider {
    UpdateProvider { base_url: None, key: None, enabled: None, local: None, options: None }
}

/// Keys come by files: arguments are seen by everybody on the machine.
fn read_key(file: &PathBuf) -> Result<String, Failure> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text =
        text.map_err(|e| Failure::new(format!("the key cannot be read from {}: {e}", file.display())))?;
    Ok(text.trim().to_owned())
}

fn list(cx: &Context, providers: Vec<Provider>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(providers);
    }
    let mut table = Table::new(&cx.out, &["NAME", "KIND", "ADDRESS", "WHERE", "KEY", "STATE"]);
    for p in providers {
        let state = match (p.enabled, p.problem) {
            (false, _) => "disabled".to_owned(),
            (true, Some(problem)) => problem,
            (true, None) => "ready".to_owned(),
        };
        let place = if p.local { "local" } else { "external" };
        let key = if p.key { "yes" } else { "-" };
        table.row([p.name, p.kind.to_string(), p.base_url, place.to_owned(), key.to_owned(), state]);
    }
    table.print(&cx.out)
}

fn show(cx: &Context, detail: &ProviderDetail) -> Outcome {
    if cx.out.json {
        return cx.out.json(detail);
    }
    let mut table = Table::new(&cx.out, &["MODEL", ">CONTEXT", "TOOLS", "IMAGES", "STATE"]);
    let said = |value: Option<bool>| value.map_or("?", |yes| if yes { "yes" } else { "no" }).to_owned();
    for model in &detail.models {
        let state = match (model.enabled, model.offered) {
            (false, _) => "disabled",
            (true, false) => "gone",
            (true, true) => "offered",
        };
        table.row([
            model.name.clone(),
            model.capabilities.context.map_or("?".to_owned(), |n| n.to_string()),
            said(model.capabilities.tools),
            said(model.capabilities.images),
            state.to_owned(),
        ]);
    }
    table.print(&cx.out)
}
