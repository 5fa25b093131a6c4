//! Models: who answers calls of them, what they cost, who may spend how much, and what was spent.
//!
//! Calls themselves go by the gateway, which decides from [`Desk`]'s snapshot. What may cost something is set aside in one
//! durable transaction before it is sent, and settled after; each call becomes one row, in batches.

mod budgets;
mod prices;
mod providers;
pub mod record;
pub mod redact;
mod reserve;
mod routes;
mod rules;
mod snapshot;
mod usage;

pub use budgets::{BudgetOf, BudgetUse};
pub use providers::{NewProvider, ProviderChanges};
pub use snapshot::{providers, reconciler};

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use ryokan_model::models::{Call, Snapshot};
use tokio::sync::mpsc;

use crate::App;

/// Calls that wait to be written down. More than that, and those that cost nothing are lost from the record.
const WAITING: usize = 20_000;

/// What the gateway reads, and where it leaves what came of calls.
pub struct Desk {
    snapshot: ArcSwap<Snapshot>,
    /// One refresh at a time: an older state must not overwrite a newer one.
    turn: tokio::sync::Mutex<()>,
    calls: mpsc::Sender<Call>,
    /// For whoever records them.
    inbox: Mutex<Option<mpsc::Receiver<Call>>>,
}

impl Default for Desk {
    fn default() -> Self {
        let (calls, inbox) = mpsc::channel(WAITING);
        Self {
            snapshot: ArcSwap::default(),
            turn: tokio::sync::Mutex::default(),
            calls,
            inbox: Mutex::new(Some(inbox)),
        }
    }
}

impl App {
    /// What calls are decided by.
    pub fn models_snapshot(&self) -> Arc<Snapshot> {
        self.models.snapshot.load_full()
    }

    /// Takes what came of a call. It is written down soon; what was set aside for one that is lost here is given back
    /// when it expires.
    pub fn model_call_ended(&self, call: Call) {
        if self.models.calls.try_send(call).is_err() {
            tracing::error!("too many calls of models wait to be written down; one is lost from the record");
        }
    }
}
