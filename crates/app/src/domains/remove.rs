//! `remove`: the gateway forgets the domain, and it is free for whoever shows that it is theirs.

use ryokan_model::permission::{Caller, Role};
use serde_json::json;

use super::lock_of;
use crate::{App, Error, Result, events};

impl App {
    pub async fn remove_domain(&self, caller: &Caller, instance: &str, domain: &str) -> Result<()> {
        let row = self.find_domain(caller, Role::Admin, instance, domain).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock(&lock_of(&row.domain))?;
                let still = tx.domain(row.project, &row.domain)?.is_some_and(|d| d.instance == row.instance);
                if !still || !tx.delete_domain(row.project, &row.domain)? {
                    return Err(Error::not_found("domain", row.domain.as_str()));
                }
                let (id, name) = (row.instance.to_string(), row.instance_name.as_str());
                let data = json!({"domain": row.domain});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    "domain.removed",
                    "instance",
                    &id,
                    name,
                    data,
                )
            })
            .await
    }
}
