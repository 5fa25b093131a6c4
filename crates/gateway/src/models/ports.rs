//! What the model gateway asks of the rest. `server` implements it over the use cases.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ryokan_model::models::{Call, Need, Offer, Snapshot, Subject};
use ryokan_model::{Millis, ModelCallId};

use super::fault::Fault;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The judge, the till and the record of calls.
pub trait Books: Send + Sync + 'static {
    fn snapshot(&self) -> Arc<Snapshot>;

    fn now(&self) -> Millis;

    /// Whether `subject` may call `model` of this provider; why not, in a sentence. Asked for each that could answer.
    fn may_call(&self, subject: &Subject, model: &str, offer: &Offer) -> Result<(), String>;

    /// Sets aside what a call may use at most, durably, or refuses it. Asked only where the snapshot says so.
    fn reserve<'a>(&'a self, subject: &'a Subject, need: Need) -> BoxFuture<'a, Result<ModelCallId, Fault>>;

    /// What came of a call, with what is to be settled. Returns at once; it is written down soon.
    fn finish(&self, call: Call);
}
