//! `add`: says which record to set. Whose the domain is shows only by the record, so anybody may wait for any.

use ryokan_model::domain::{DomainName, Standing, State};
use ryokan_model::instance;
use ryokan_model::permission::{Caller, Role};
use ryokan_store::domains::Domain;
use serde_json::json;

use super::lock_of;
use crate::{App, Error, Result, events};

/// For each project.
const MOST: i64 = 100;

impl App {
    /// Again for the same instance changes nothing, but that one that failed begins anew with the same record.
    pub async fn add_domain(&self, caller: &Caller, instance: &str, domain: &str) -> Result<Domain> {
        let row = self.instance_as(caller, Role::Admin, instance).await?;
        if row.addon.is_some() {
            return Err(Error::Conflict("a database has no address outside of its project".into()));
        }
        let name: DomainName = domain.parse()?;
        self.is_not_ours(&name)?;
        let (now, by) = (self.clock.now(), caller.clone());
        let new = Domain {
            project: row.project,
            domain: name,
            instance: row.id,
            instance_name: row.name.clone(),
            token: hex::encode(self.entropy.bytes::<16>()),
            standing: Standing::new(now),
            created_at: now,
        };
        self.store
            .write(move |tx| {
                tx.lock(&format!("project:{}", new.project))?;
                tx.lock(&lock_of(&new.domain))?;
                match tx.instance(new.instance)? {
                    None => return Err(Error::not_found("instance", row.name.as_str())),
                    Some(row) if row.state == instance::State::Deleting => {
                        return Err(Error::Conflict("the instance is being deleted".into()));
                    }
                    Some(_) => {}
                }
                match tx.domain(new.project, &new.domain)? {
                    Some(known) if known.instance != new.instance => {
                        return Err(Error::Conflict(format!(
                            "the instance `{}` of this project has this domain; remove it there first",
                            known.instance_name
                        )));
                    }
                    Some(known) if known.standing.state != State::Failed => return Ok(known),
                    Some(known) => {
                        let again = Domain { standing: Standing::new(now), ..known };
                        tx.put_domain_standing(again.project, &again.domain, &again.standing)?;
                        tx.notify("domains");
                        return Ok(again);
                    }
                    // What an instance left that was deleted while it was added.
                    None => drop(tx.delete_domain(new.project, &new.domain)?),
                }
                if tx.count_domains(new.project)? >= MOST {
                    return Err(Error::QuotaExceeded(format!(
                        "a project has at most {MOST} domains; remove one first"
                    )));
                }
                tx.insert_domain(&new)?;
                let (id, data) = (new.instance.to_string(), json!({"domain": new.domain}));
                let name = new.instance_name.as_str();
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(new.project),
                    "domain.added",
                    "instance",
                    &id,
                    name,
                    data,
                )?;
                Ok(new)
            })
            .await
    }

    /// The dashboard's hosts and the zone are nobody's to add.
    fn is_not_ours(&self, name: &DomainName) -> Result<()> {
        if self.domain_is_ours(name) {
            return Err(Error::invalid(
                "domain",
                format!("is this server's own: every instance has `NAME.{}` already", self.settings.zone),
            ));
        }
        Ok(())
    }

    /// Whether it is the zone, the dashboard's host, or below one of them.
    pub(super) fn domain_is_ours(&self, name: &DomainName) -> bool {
        let url = &self.settings.public_url;
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = authority.split(['/', ':']).next().unwrap_or_default();
        name.is_within(&self.settings.zone) || name.is_within(host)
    }
}
