//! `ryokan prices`.

use clap::Subcommand;
use ryokan_api::ledger::{Price, Prices as Found, SetPrices};
use ryokan_api::model::Millis;
use ryokan_api::model::price::Rates;

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

const NO_PROJECT: &str = "`ryokan projects list` shows yours";

/// What a project pays: satoshis for five minutes of a core, of a GB of memory or disk, of a GPU, and for a GB sent.
#[derive(Debug, clap::Args)]
pub(crate) struct Prices {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the versions of a project's price, the newest first
    Ls {
        /// Project
        project: String,
    },
    /// Give a project rates of its own from now on; those that are not named stay (operators)
    Set {
        /// Project
        project: String,
        #[command(flatten)]
        rates: Change,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let a project pay what the server charges, from now on (operators)
    Clear {
        /// Project
        project: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// All rates at zero, but for those that are named
    #[arg(long)]
    free: bool,
    /// For five minutes of one core
    #[arg(long, value_name = "SATOSHIS")]
    core: Option<i64>,
    /// For five minutes of 10^9 bytes of memory
    #[arg(long, value_name = "SATOSHIS")]
    memory_gb: Option<i64>,
    /// For five minutes of 10^9 bytes of disk
    #[arg(long, value_name = "SATOSHIS")]
    disk_gb: Option<i64>,
    /// For 10^9 bytes over the network, in or out
    #[arg(long, value_name = "SATOSHIS")]
    network_gb: Option<i64>,
    /// For five minutes of one GPU
    #[arg(long, value_name = "SATOSHIS")]
    gpu: Option<i64>,
}

impl Change {
    fn of(&self, before: Rates) -> Rates {
        let before = if self.free { Rates::FREE } else { before };
        Rates {
            core: self.core.unwrap_or(before.core),
            memory_gb: self.memory_gb.unwrap_or(before.memory_gb),
            disk_gb: self.disk_gb.unwrap_or(before.disk_gb),
            network_gb: self.network_gb.unwrap_or(before.network_gb),
            gpu: self.gpu.unwrap_or(before.gpu),
        }
    }

    /// Whether nothing is kept of what was before.
    fn is_whole(&self) -> bool {
        let named = [self.core, self.memory_gb, self.disk_gb, self.network_gb, self.gpu];
        self.free || named.iter().all(Option::is_some)
    }
}

impl Prices {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let not_found = |e| Failure::from(e).missing(NO_PROJECT);
        match self.action {
            Action::Ls { project } => list(cx, &client.prices(&project).await.map_err(not_found)?),
            Action::Set { project, rates, reason } => {
                let before = if rates.is_whole() {
                    Rates::FREE
                } else {
                    let current = client.prices(&project).await.map_err(not_found)?.current;
                    current.ok_or_else(|| Failure::new("the project has no price yet; name all rates"))?.rates
                };
                let request = SetPrices { rates: Some(rates.of(before)), reason };
                set(cx, &client.set_prices(&project, &request).await.map_err(not_found)?)
            }
            Action::Clear { project, reason } => {
                let request = SetPrices { rates: None, reason };
                set(cx, &client.set_prices(&project, &request).await.map_err(not_found)?)
            }
        }
    }
}

fn list(cx: &Context, found: &Found) -> Outcome {
    if cx.out.json {
        return cx.out.json(found);
    }
    let header = ["VERSION", "FROM", ">CORE", ">MEMORY", ">DISK", ">NETWORK", ">GPU", "WHOSE", "REASON"];
    let mut table = Table::new(&cx.out, &header);
    let current = found.current.as_ref();
    // The server's own is in force while the project has none.
    let inherited = current.filter(|now| found.versions.iter().all(|version| version.version != now.version));
    for version in inherited.into_iter().chain(&found.versions) {
        row(&mut table, version, current.is_some_and(|now| now.version == version.version));
    }
    table.print(&cx.out)
}

fn row(table: &mut Table, version: &Price, in_force: bool) {
    let rate = |rate: i64| if version.cleared { "-".to_owned() } else { rate.to_string() };
    let whose = match (version.own, version.cleared) {
        (true, false) => "its own",
        (true, true) => "given up",
        (false, _) => "the server's",
    };
    table.row([
        format!("{}{}", version.version, if in_force { " *" } else { "" }),
        Millis(version.from).to_string(),
        rate(version.rates.core),
        rate(version.rates.memory_gb),
        rate(version.rates.disk_gb),
        rate(version.rates.network_gb),
        rate(version.rates.gpu),
        whose.to_owned(),
        version.reason.clone(),
    ]);
}

fn set(cx: &Context, price: &Price) -> Outcome {
    if cx.out.json { cx.out.json(price) } else { cx.out.line(price.version.to_string()) }
}
