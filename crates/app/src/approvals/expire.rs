//! Questions that nobody answers end by themselves.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::Millis;
use ryokan_store::Tx;
use ryokan_store::approvals::Approval;
use serde_json::json;

use crate::background::Simple;
use crate::{App, Result, events};

const BATCH: u32 = 100;

pub fn reconciler() -> Simple {
    Simple { name: "approvals", topics: &[], every: Duration::from_secs(30), once: |app| Box::pin(once(app)) }
}

async fn once(app: Arc<App>) -> Result<i64> {
    let now = app.clock.now();
    loop {
        let expired: usize = app
            .store
            .write(move |tx| {
                let lapsed = tx.expire_approvals(now, BATCH)?;
                lapsed.iter().try_for_each(|approval| tell(tx, approval, now))?;
                Ok::<_, crate::Error>(lapsed.len())
            })
            .await?;
        if expired < BATCH as usize {
            return Ok(0);
        }
    }
}

pub(super) fn tell(tx: &mut Tx<'_>, lapsed: &Approval, now: Millis) -> Result<()> {
    let data = json!({"action": lapsed.action, "resource": lapsed.resource, "actor": lapsed.actor});
    let id = lapsed.id.to_string();
    events::system(tx, now, "approval.expired", "approval", &id, "", lapsed.project, data)
}
