//! `ryokan ledger` and `ryokan usage`.

use clap::{Subcommand, ValueEnum};
use ryokan_api::ledger::{Balance, LedgerLine, LeftOver, MoveMoney, UsageQuery, UsageStep};
use ryokan_api::model::{Millis, Sats};

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::table::Table;
use crate::text::age;

const NO_PROJECT: &str = "`ryokan projects list` shows yours";

/// What projects have, owe and get. Amounts are satoshis.
#[derive(Debug, clap::Args)]
pub(crate) struct Ledger {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a project's statement, the newest line first
    Ls {
        /// Project
        project: String,
        /// Lines at most, 1 to 500
        #[arg(long, value_name = "N", default_value = "50")]
        limit: u32,
    },
    /// Show what a project has
    Balance {
        /// Project
        project: String,
    },
    /// Give a project money that was not paid here (operators)
    Credit {
        /// Project
        project: String,
        /// Satoshis
        amount: Sats,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take money out that was given back to whoever paid it (operators)
    Refund {
        /// Project; the id of one that is deleted
        project: String,
        /// Satoshis
        amount: Sats,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List deleted projects that still have money, or owe some (operators)
    LeftOver,
    /// Recompute the whole ledger and list every difference (operators)
    Verify,
}

/// Show what a project used.
#[derive(Debug, clap::Args)]
pub(crate) struct Usage {
    /// Project
    project: String,
    /// Only of this instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// How it is summed up
    #[arg(long, value_name = "STEP", default_value = "hour")]
    by: By,
    /// Over so many hours up to now
    #[arg(long, value_name = "HOURS", default_value = "24", value_parser = clap::value_parser!(u32).range(1..=8784))]
    hours: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Interval,
    Hour,
    Day,
}

impl Ledger {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let not_found = |e| Failure::from(e).missing(NO_PROJECT);
        match self.action {
            Action::Ls { project, limit } => {
                list(cx, client.ledger(&project, limit).await.map_err(not_found)?.items)
            }
            Action::Balance { project } => balance(cx, &client.balance(&project).await.map_err(not_found)?),
            Action::Credit { project, amount, reason } => {
                let request = MoveMoney { amount, reason };
                moved(cx, &client.credit(&project, &request).await.map_err(not_found)?)
            }
            Action::Refund { project, amount, reason } => {
                let request = MoveMoney { amount, reason };
                moved(cx, &client.refund(&project, &request).await.map_err(not_found)?)
            }
            Action::LeftOver => left_over(cx, client.left_over().await?.items),
            Action::Verify => verify(cx, &client.verify_ledger().await?),
        }
    }
}

fn list(cx: &Context, lines: Vec<LedgerLine>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(lines);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["#", "KIND", "AMOUNT", "BALANCE", "AGE", "REASON"]);
    for line in lines {
        table.row([
            line.seq.to_string(),
            line.kind,
            line.amount.to_string(),
            line.balance_after.to_string(),
            age(line.at, now),
            line.reason,
        ]);
    }
    table.print(&cx.out)
}

fn balance(cx: &Context, balance: &Balance) -> Outcome {
    if cx.out.json {
        return cx.out.json(balance);
    }
    cx.out.line(balance.balance.to_string())?;
    if let Some(why) = balance.suspended_for {
        cx.out.note(format!("The project is suspended: {why}."));
    }
    if let Some(agents) = &balance.agents {
        if let Some(held) = agents.balance {
            cx.out.note(format!("Its agents' address holds {held} satoshis."));
        }
        if let Some(why) = &agents.refused {
            cx.out.note(format!("It is not topped up: {why}."));
        }
    }
    if !balance.billing {
        cx.out.note("Billing is off on this server: usage is metered, and nothing is charged.");
    }
    Ok(())
}

fn moved(cx: &Context, line: &LedgerLine) -> Outcome {
    if cx.out.json {
        return cx.out.json(line);
    }
    cx.out.line(line.balance_after.to_string())
}

fn left_over(cx: &Context, found: Vec<LeftOver>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(found);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["PROJECT", "NAME", "OWNER", "DELETED", ">BALANCE"]);
    for project in found {
        table.row([
            project.project.to_string(),
            project.name,
            project.owner,
            age(project.deleted_at, now),
            project.balance.to_string(),
        ]);
    }
    table.print(&cx.out)
}

fn verify(cx: &Context, found: &ryokan_api::ledger::Verification) -> Outcome {
    if cx.out.json {
        cx.out.json(found)?;
    } else {
        cx.out.line(format!(
            "{} intervals ({} from their samples), {} accounts: {} differences",
            found.intervals, found.from_samples, found.accounts, found.differences
        ))?;
        for example in &found.examples {
            cx.out.line(example)?;
        }
    }
    if found.differences > 0 {
        return Err(Failure::new("the ledger is not what it must be"));
    }
    Ok(())
}

impl Usage {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let to = now().0;
        let step = match self.by {
            By::Interval => UsageStep::Interval,
            By::Hour => UsageStep::Hour,
            By::Day => UsageStep::Day,
        };
        let query = UsageQuery {
            instance: self.instance,
            from: Some(to.saturating_sub(i64::from(self.hours) * 3_600_000)),
            to: Some(to),
            step: Some(step),
        };
        let sums = client
            .usage(&self.project, &query)
            .await
            .map_err(|e| Failure::from(e).missing(NO_PROJECT))?
            .items;
        if cx.out.json {
            return cx.out.json_list(sums);
        }
        let header = ["FROM", "CPU s", "MEMORY GB·h", "DISK GB·h", "NETWORK MB", "GPU s", "SATOSHIS"];
        let mut table = Table::new(&cx.out, &header);
        for sum in sums {
            table.row([
                Millis(sum.start).to_string(),
                decimal(sum.cpu_millis, 1_000),
                decimal(sum.memory_mb_seconds, 3_600_000),
                decimal(sum.disk_mb_seconds, 3_600_000),
                decimal(sum.network_bytes, 1_000_000),
                decimal(sum.gpu_millis, 1_000),
                decimal(sum.microsats.unsigned_abs(), 1_000_000),
            ]);
        }
        table.print(&cx.out)
    }
}

/// With three places, rounded down.
fn decimal(value: u64, unit: u64) -> String {
    let rest = u128::from(value % unit) * 1_000 / u128::from(unit);
    format!("{}.{rest:03}", value / unit)
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn decimals_are_cut() {
        assert_eq!(decimal(1_999_999, 1_000_000), "1.999");
        assert_eq!(decimal(5, 1_000), "0.005");
        assert_eq!(decimal(0, 3_600_000), "0.000");
    }
}
