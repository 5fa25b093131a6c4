//! What the gateway serves under custom domains, and that it does.

use ryokan_model::InstanceId;
use ryokan_model::domain::DomainName;
use ryokan_store::Tx;

use super::lock_of;
use crate::{App, Result};

/// A domain that leads to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedDomain {
    pub domain: DomainName,
    pub instance: InstanceId,
    /// Whether it is marked as served already.
    pub active: bool,
}

impl App {
    /// All that are proven. What has become the server's own since is left out.
    pub async fn served_domains(&self) -> Result<Vec<ServedDomain>> {
        let rows = self.store.read(|tx| tx.served_domains()).await?;
        let rows = rows.into_iter().filter(|(domain, ..)| !self.domain_is_ours(domain));
        Ok(rows.map(|(domain, instance, active)| ServedDomain { domain, instance, active }).collect())
    }

    /// Notes that a gateway serves them now. A check that is being noted meanwhile would otherwise take it back.
    pub async fn domains_are_served(&self, served: Vec<(DomainName, InstanceId)>) -> Result<()> {
        // One after the other: whoever deletes many at once waits for none of these while it is waited for.
        for (name, instance) in served {
            let write = move |tx: &mut Tx<'_>| {
                tx.lock(&lock_of(&name))?;
                tx.activate_domain(&name, instance).map(drop)
            };
            self.store.write(write).await?;
        }
        Ok(())
    }

    /// Whether browsers may be signed in to the instance at this host: it is a domain of the instance's, and its record
    /// was right at the last check, so that it has hardly changed hands.
    pub async fn may_sign_in_at(&self, instance: InstanceId, host: &str) -> Result<bool> {
        let Ok(name) = host.parse::<DomainName>() else { return Ok(false) };
        if self.domain_is_ours(&name) {
            return Ok(false);
        }
        let holder = self.store.read(move |tx| tx.domain_holder(&name)).await?;
        Ok(holder.is_some_and(|d| d.instance == instance && d.standing.wrong_since.is_none()))
    }
}
