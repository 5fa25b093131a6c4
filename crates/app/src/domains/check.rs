//! `check`: asks DNS for the records and notes what it says. Two checks at once are two notes; of two projects that
//! prove the same domain at once, one gets it.

use futures_util::future::join;
use ryokan_model::domain::{Finding, Proof};
use ryokan_model::permission::{Caller, Role};
use ryokan_ports::dns::DnsError;
use ryokan_store::domains::Domain;
use serde_json::json;

use super::lock_of;
use crate::{App, Error, Result, events};

impl App {
    /// Now, whenever the next check would be. What DNS says is in the answer, not an error.
    pub async fn check_domain(&self, caller: &Caller, instance: &str, domain: &str) -> Result<Domain> {
        let row = self.find_domain(caller, Role::Admin, instance, domain).await?;
        let checked = self.recheck(row).await?;
        checked.ok_or_else(|| Error::not_found("domain", domain))
    }

    /// `None` when it was removed meanwhile.
    pub(super) async fn recheck(&self, row: Domain) -> Result<Option<Domain>> {
        let asked = self.clock.now();
        let finding = self.look_up(&row).await;
        crate::crash::point("domain.looked_up");
        let now = self.clock.now();
        self.store
            .write(move |tx| {
                tx.lock(&lock_of(&row.domain))?;
                let found = tx.domain(row.project, &row.domain)?;
                // The finding is about the record that was asked for.
                let Some(mut domain) = found.filter(|d| d.token == row.token && d.instance == row.instance)
                else {
                    return Ok(None);
                };
                // Somebody who asked later has been answered sooner: what was missing then may have come since.
                let outdated = domain.standing.last_check.is_some_and(|at| at > asked);
                if outdated && finding != Finding::Proven {
                    return Ok(Some(domain));
                }
                let taken = tx.domain_holder(&domain.domain)?.is_some_and(|d| d.project != domain.project);
                let after = domain.standing.after(&finding, taken, now);
                let before = std::mem::replace(&mut domain.standing, after);
                let after = &domain.standing;
                tx.put_domain_standing(domain.project, &domain.domain, after)?;
                if before.state != after.state {
                    tx.notify("domains");
                }
                let kind = match (before.state != after.state, after.state.holds()) {
                    (true, true) => Some("domain.verified"),
                    (true, false) => Some("domain.failed"),
                    (false, true) if before.wrong_since.is_none() && after.wrong_since.is_some() => {
                        Some("domain.record_missing")
                    }
                    _ => None,
                };
                if let Some(kind) = kind {
                    let data = json!({"domain": domain.domain, "reason": after.reason});
                    let (id, name) = (domain.instance.to_string(), domain.instance_name.as_str());
                    events::system(tx, now, kind, "instance", &id, name, Some(domain.project), data)?;
                }
                Ok(Some(domain))
            })
            .await
    }

    async fn look_up(&self, domain: &Domain) -> Finding {
        let [ours, mandala] = self.domain_records(domain).proofs;
        let (by_ours, by_mandala) = join(self.dns.txt(&ours.name), self.dns.txt(&mandala.name)).await;
        let shown = |proof: &Proof, answer: &Result<Vec<String>, DnsError>| {
            answer.as_ref().is_ok_and(|texts| proof.is_shown_by(texts))
        };
        if shown(&ours, &by_ours) || shown(&mandala, &by_mandala) {
            return Finding::Proven;
        }
        let unanswered = [&by_ours, &by_mandala].into_iter().find_map(|answer| match answer {
            Err(error @ (DnsError::Timeout | DnsError::ServerFailure(_))) => Some(error.to_string()),
            Ok(_) | Err(DnsError::NoRecord) => None,
        });
        if let Some(why) = unanswered {
            return Finding::Unknown(format!("`{}` cannot be looked up: {why}", ours.name));
        }
        let value = ours.values.first().map_or("", String::as_str);
        let found = match &by_ours {
            Ok(_) => "has another value",
            Err(_) => "does not exist",
        };
        Finding::Wrong(format!("the TXT record `{}` {found}; it should hold `{value}`", ours.name))
    }
}
