//! `ryokan domains`.

use clap::Subcommand;
use ryokan_api::domain::{AddDomain, Domain};
use ryokan_api::model::domain::State;

use super::NO_INSTANCE;
use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::age;

/// Domains of your own that lead to an instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A domain is served once a TXT record shows that it is yours.

Examples:
  ryokan domains add bot agent.example.com
  ryokan domains check bot agent.example.com
  ryokan domains ls bot")]
pub(crate) struct Domains {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the domains of an instance
    Ls {
        /// Instance
        instance: String,
    },
    /// Add a domain, and show which records to set
    Add {
        /// Instance
        instance: String,
        /// Domain, as in agent.example.com
        domain: String,
    },
    /// Look for the record now
    Check {
        /// Instance
        instance: String,
        /// Domain
        domain: String,
    },
    /// Remove a domain
    Rm {
        /// Instance
        instance: String,
        /// Domain
        domain: String,
    },
}

impl Domains {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e| Failure::from(e).missing(NO_INSTANCE);
        match self.action {
            Action::Ls { instance } => list(cx, client.domains(&instance).await.map_err(missing)?),
            Action::Add { instance, domain } => {
                let added = client.add_domain(&instance, &AddDomain { domain }).await.map_err(missing)?;
                show(cx, &added)
            }
            Action::Check { instance, domain } => {
                let missing = |e| Failure::from(e).missing("`ryokan domains ls` shows an instance's");
                let checked = client.check_domain(&instance, &domain).await.map_err(missing)?;
                show(cx, &checked)?;
                match checked.state {
                    State::Verified | State::Active => Ok(()),
                    State::Pending | State::Failed => {
                        Err(Failure::new(format!("{} is {}", checked.domain, checked.state)))
                    }
                }
            }
            Action::Rm { instance, domain } => {
                let missing = |e| Failure::from(e).missing("`ryokan domains ls` shows an instance's");
                client.remove_domain(&instance, &domain).await.map_err(missing)?;
                cx.out.note(format!("{domain} does not lead to {instance} any more."));
                Ok(())
            }
        }
    }
}

fn column(state: State) -> Column {
    let tone = match state {
        State::Verified | State::Active => Tone::Good,
        State::Failed => Tone::Bad,
        State::Pending => Tone::Faint,
    };
    Column::new(state.as_str(), tone)
}

fn list(cx: &Context, domains: Vec<Domain>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(domains);
    }
    let now = now();
    let mut table = Table::new(&cx.out, &["DOMAIN", "STATE", "CHECKED", "REASON"]);
    for domain in domains {
        table.row([
            Column::from(domain.domain),
            column(domain.state),
            domain.last_check.map_or_else(|| "never".to_owned(), |at| age(at, now)).into(),
            domain.reason.unwrap_or_default().into(),
        ]);
    }
    table.print(&cx.out)
}

/// The state, and the records while they are needed.
fn show(cx: &Context, domain: &Domain) -> Outcome {
    if cx.out.json {
        return cx.out.json(domain);
    }
    if matches!(domain.state, State::Verified | State::Active) {
        cx.out.note(format!("{} is {}.", domain.domain, domain.state));
        return cx.out.line(&domain.url);
    }
    cx.out.note(format!("Set one of the TXT records to show that {} is yours, and the last one to lead it here. Where no CNAME can be, set A and AAAA records with the addresses of {} instead.", domain.domain, domain.target.value));
    let mut table = Table::new(&cx.out, &["TYPE", "NAME", "VALUE"]);
    for record in domain.verification.iter().chain([&domain.target]) {
        table.row([record.kind.as_str(), record.name.as_str(), record.value.as_str()]);
    }
    table.print(&cx.out)?;
    if let Some(reason) = &domain.reason {
        cx.out.note(format!("Not yet: {reason}."));
    }
    Ok(())
}
