//! `ryokan projects quotas`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::model::quantity::{Bytes, Cpus};
use ryokan_api::project::ProjectQuotas;

use super::not_found;
use crate::Context;
use crate::failure::Outcome;
use crate::table::Table;
use crate::text::bytes;

#[derive(Debug, Subcommand)]
pub(super) enum Quotas {
    /// Show the most that a project may have, and what it has
    Show {
        /// Project
        project: String,
    },
    /// Set all bounds at once; those that are not given are lifted. Operators only
    Set {
        /// Project
        project: String,
        /// Instances, stopped ones too
        #[arg(long, value_name = "N")]
        instances: Option<u32>,
        /// Cores of all running instances together
        #[arg(long, value_name = "CORES")]
        cpus: Option<Cpus>,
        /// Memory of all running instances together, as in 4Gi
        #[arg(long, value_name = "SIZE")]
        memory: Option<Bytes>,
        /// All volumes together, as in 100Gi
        #[arg(long, value_name = "SIZE")]
        disk: Option<Bytes>,
        /// Tasks that are not finished
        #[arg(long, value_name = "N")]
        tasks: Option<u32>,
    },
}

impl Quotas {
    pub(super) async fn run(self, cx: &Context, client: &Client) -> Outcome {
        let quotas = match self {
            Self::Show { project } => client.quotas(&project).await,
            Self::Set { project, instances, cpus, memory, disk, tasks } => {
                let quotas = ryokan_api::model::project::Quotas { instances, cpus, memory, disk, tasks };
                client.put_quotas(&project, &quotas).await
            }
        };
        let quotas = quotas.map_err(not_found)?;
        if cx.out.json { cx.out.json(&quotas) } else { table(cx, &quotas) }
    }
}

fn table(cx: &Context, quotas: &ProjectQuotas) -> Outcome {
    let (limits, used) = (&quotas.limits, &quotas.used);
    let mut table = Table::new(&cx.out, &["WHAT", "USED", "LIMIT"]);
    let mut row = |what: &str, used: String, limit: Option<String>| {
        table.row([what.to_owned(), used, limit.unwrap_or_else(|| "-".to_owned())]);
    };
    row("instances", used.instances.to_string(), limits.instances.map(|n| n.to_string()));
    row("cpus", used.cpus.to_string(), limits.cpus.map(|n| n.to_string()));
    row("memory", used.memory.to_string(), limits.memory.map(|n| n.to_string()));
    row("disk", bytes(used.disk.get()), limits.disk.map(|n| n.to_string()));
    row("tasks", "0".to_owned(), limits.tasks.map(|n| n.to_string()));
    table.print(&cx.out)
}
