//! Custom domains: somebody shows by a TXT record that a domain is theirs, and the gateway serves an instance there.
//!
//! Several projects may wait for the same domain; one holds it. It is held until its project removes it, or its record
//! has been wrong at every answered check of three days. Nothing here asks DNS within a transaction.

mod add;
mod check;
mod recheck;
mod remove;
mod serve;

pub use recheck::reconciler;
use ryokan_model::domain::{DomainName, Proof, proofs};
use ryokan_model::permission::{Caller, Role, Scope};
use ryokan_store::domains::Domain;
use ryokan_store::instances::Instance;
pub use serve::ServedDomain;

use crate::{App, Error, Result};

/// What somebody has to set in the domain's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// TXT; any one of them is enough. Each has the value to set first, and others that count as well.
    pub proofs: [Proof; 2],
    /// Where the domain leads, as a CNAME; or by A and AAAA records with the addresses of this host.
    pub target: String,
}

/// What changes a domain's standing takes this lock, before it reads.
fn lock_of(domain: &DomainName) -> String {
    format!("domain:{domain}")
}

impl App {
    /// What the domain needs in DNS.
    pub fn domain_records(&self, domain: &Domain) -> Records {
        let frontend = domain.instance_name.is_frontend();
        Records {
            proofs: proofs(&domain.domain, &domain.token, domain.project, frontend),
            target: format!("{}.{}", domain.instance_name, self.settings.zone),
        }
    }

    /// The instance's domains, by name.
    pub async fn list_domains(&self, caller: &Caller, instance: &str) -> Result<Vec<Domain>> {
        let row = self.find_instance(caller, Scope::Read, instance).await?;
        Ok(self.store.read(move |tx| tx.domains_of(row.id)).await?)
    }

    pub async fn get_domain(&self, caller: &Caller, instance: &str, domain: &str) -> Result<Domain> {
        self.find_domain(caller, Role::Viewer, instance, domain).await
    }

    async fn find_domain(&self, caller: &Caller, need: Role, instance: &str, domain: &str) -> Result<Domain> {
        let row = self.instance_as(caller, need, instance).await?;
        let missing = || Error::not_found("domain", domain);
        let name: DomainName = domain.parse().map_err(|_| missing())?;
        let found = self.store.read(move |tx| tx.domain(row.project, &name)).await?;
        found.filter(|found| found.instance == row.id).ok_or_else(missing)
    }

    /// By id or name, if the caller may do there what members with the role `need` may.
    pub(crate) async fn instance_as(&self, caller: &Caller, need: Role, instance: &str) -> Result<Instance> {
        let row = self.find_instance(caller, Scope::Read, instance).await?;
        caller.may_as(need, row.project).map_err(|refused| Error::refused(refused, "instance", instance))?;
        Ok(row)
    }
}
