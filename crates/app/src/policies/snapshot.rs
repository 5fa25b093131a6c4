//! The rules in memory.

use std::sync::Arc;

use ryokan_model::policy::PolicySet;

use crate::background::Simple;
use crate::{App, Result};

impl App {
    /// The rules as they are now. Asking them decides, but records nothing: who acts on the answer asks [`App::judge`].
    pub fn policies(&self) -> arc_swap::Guard<Arc<PolicySet>> {
        self.policies.load()
    }

    /// Reads the rules anew. Called after every change of one, and by notification.
    pub async fn refresh_policies(&self) -> Result<()> {
        let now = self.clock.now();
        // One at a time, so that older rules never replace newer ones.
        let _turn = self.policies_turn.lock().await;
        let rules = self.store.read(move |tx| tx.rules_in_force(now)).await?;
        self.policies.store(Arc::new(PolicySet::new(rules.iter().map(|stored| &stored.rule))));
        Ok(())
    }
}

/// Keeps the rules fresh when another server has changed them.
pub fn keeper() -> Simple {
    Simple {
        name: "policies",
        topics: &[ryokan_store::policies::POLICIES],
        every: std::time::Duration::from_secs(30),
        // Nothing is ever left over: the rules are read whole or not at all.
        once: |app| Box::pin(async move { app.refresh_policies().await.map(|()| 0) }),
    }
}
