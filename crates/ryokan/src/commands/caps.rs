//! `ryokan caps`.

use std::collections::BTreeMap;

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::ledger::{Cap, SetCap};
use ryokan_api::model::Sats;
use ryokan_api::model::billing::{Period, Spend};

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

const NO_PROJECT: &str = "`ryokan projects list` shows yours, `ryokan ps` their instances";

/// The most that a project, or one of its instances, may spend. Amounts are satoshis.
#[derive(Debug, clap::Args)]
pub(crate) struct Caps {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List a project's caps, with what was spent
    Ls {
        /// Project
        project: String,
    },
    /// Set a cap
    Set {
        /// Project
        project: String,
        /// What it is for: compute, models, tools or funding
        kind: Spend,
        /// Over which time: day, month (UTC) or total
        period: Period,
        /// Satoshis
        amount: Sats,
        /// Of one instance only
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
    },
    /// Take a cap away
    Rm {
        /// Project
        project: String,
        /// What it is for: compute, models, tools or funding
        kind: Spend,
        /// Over which time: day, month or total
        period: Period,
        /// Of one instance only
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
    },
}

impl Caps {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let caps = match self.action {
            Action::Ls { project } => client.caps(&project).await,
            Action::Set { project, kind, period, amount, instance } => {
                client.set_cap(&project, &SetCap { instance, kind, period, amount: Some(amount) }).await
            }
            Action::Rm { project, kind, period, instance } => {
                client.set_cap(&project, &SetCap { instance, kind, period, amount: None }).await
            }
        };
        let caps = caps.map_err(|e| Failure::from(e).missing(NO_PROJECT))?.items;
        if cx.out.json {
            return cx.out.json_list(caps);
        }
        table(cx, &client, caps).await
    }
}

async fn table(cx: &Context, client: &Client, caps: Vec<Cap>) -> Outcome {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut table = Table::new(&cx.out, &["OF", "KIND", "PERIOD", ">SPENT", ">RESERVED", ">CAP", "STATE"]);
    for cap in caps {
        let of = match cap.instance {
            None => "project".to_owned(),
            Some(id) => match names.get(&id) {
                Some(name) => name.clone(),
                // One that is deleted is known by its id only.
                None => {
                    let name = client.instance(&id).await.map_or_else(|_| id.clone(), |i| i.name.to_string());
                    names.entry(id).or_insert(name).clone()
                }
            },
        };
        table.row([
            of,
            cap.kind.to_string(),
            cap.period.to_string(),
            cap.spent.to_string(),
            cap.reserved.to_string(),
            cap.amount.to_string(),
            if cap.reached { "reached" } else { "open" }.to_owned(),
        ]);
    }
    table.print(&cx.out)
}
