//! Caps: the most that a project or one instance may spend on something in a period.

use std::sync::Arc;

use ryokan_model::billing::{Period, Spend};
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{InstanceId, Sats};
use ryokan_store::StoreError;
use ryokan_store::billing::CapUse;
use serde_json::json;

use crate::{App, Error, Result, events};

impl App {
    pub async fn list_caps(&self, caller: &Caller, project: &str) -> Result<Vec<CapUse>> {
        let project = self.find_project(caller, Scope::Read, project).await?.id;
        let now = self.clock.now();
        Ok(self.store.read(move |tx| tx.caps(project, now)).await?)
    }

    /// Sets a cap, or takes it away. It takes effect with the next look at the project, within seconds.
    pub async fn set_cap(
        self: &Arc<Self>,
        caller: &Caller,
        project: &str,
        instance: Option<&str>,
        kind: Spend,
        period: Period,
        amount: Option<Sats>,
    ) -> Result<Vec<CapUse>> {
        let project = self.find_project(caller, Scope::Admin, project).await?;
        if kind == Spend::Funding && instance.is_some() {
            let why = "agents of a project share one address, so only the project has a cap for `funding`; leave it out";
            return Err(Error::invalid("instance", why));
        }
        let instance: Option<InstanceId> = match instance {
            Some(name) => {
                let row = self.find_instance(caller, Scope::Admin, name).await?;
                if row.project != project.id {
                    return Err(Error::not_found("instance", name));
                }
                Some(row.id)
            }
            None => None,
        };
        if amount.is_some_and(|amount| amount.is_negative() || amount > Sats(1_000_000_000_000)) {
            return Err(Error::invalid("amount", "must be from 0 to 1000000000000 satoshis"));
        }
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock(&format!("caps:{}", project.id))?;
                tx.put_cap(project.id, instance, kind, period, amount, now)?;
                let data = json!({"instance": instance, "kind": kind, "period": period, "amount": amount});
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(project.id),
                    "project.capped",
                    "project",
                    &project.id.to_string(),
                    project.name.as_str(),
                    data,
                )?;
                Ok::<_, Error>(tx.caps(project.id, now)?)
            })
            .await
            .map_err(|error: Error| error)
    }
}

/// What is full of these caps for `more` satoshis of `kind`, in words.
pub(crate) fn full(
    caps: &[CapUse],
    instance: Option<InstanceId>,
    kind: Spend,
    more: Sats,
) -> Result<Option<String>, StoreError> {
    let micros = more
        .0
        .checked_mul(ryokan_store::billing::MICROS)
        .ok_or_else(|| StoreError::Other("an amount is larger than all money".into()))?;
    let full = caps.iter().find(|c| {
        c.cap.kind == kind && (c.cap.instance.is_none() || c.cap.instance == instance) && !c.has_room(micros)
    });
    Ok(full.map(|c| {
        let whose = if c.cap.instance.is_some() { "instance" } else { "project" };
        format!(
            "the {whose}'s cap for {kind} ({}, {} satoshis) leaves no room for {more}",
            c.cap.period, c.cap.amount
        )
    }))
}
