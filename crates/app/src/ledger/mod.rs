//! The ledger as use cases: what projects have, owe, get and pay. Every change of a balance is a posting with a reason and
//! an actor, and goes through `App::post`, which also tells of the thresholds that it crossed.

pub mod credit;
pub mod pay;
pub mod prices;
pub mod settle;
pub mod verify;
pub mod view;

use ryokan_model::money::{URGENT, crossed};
use ryokan_store::Tx;
use ryokan_store::ledger::{Posted, Posting};
use serde_json::json;

use crate::billing::notify;
use crate::{App, Result, events};

impl App {
    /// Posts, and tells of each threshold that the balance fell through: an event, and a job for each way in which the
    /// project wants to be told. All of it commits with the posting or not at all, so each crossing is told once.
    pub(crate) fn post(&self, tx: &mut Tx<'_>, posting: &Posting) -> Result<Posted> {
        let posted = tx.post(posting)?;
        let told: Vec<_> = crossed(posted.before, posted.after).collect();
        if told.is_empty() {
            return Ok(posted);
        }
        let name = tx.project(posting.project)?.map(|p| p.name.to_string()).unwrap_or_default();
        for threshold in told {
            let data = json!({
                "threshold": threshold, "balance": posted.after, "urgent": threshold <= URGENT,
                "transaction": posting.id,
            });
            let id = posting.project.to_string();
            events::system(
                tx,
                posting.at,
                notify::BALANCE_CROSSED,
                "project",
                &id,
                &name,
                Some(posting.project),
                data.clone(),
            )?;
            let key = format!("{}:{threshold}", posting.id);
            self.tell_project(tx, posting.project, notify::BALANCE_CROSSED, &key, data, posting.at)?;
        }
        Ok(posted)
    }
}
