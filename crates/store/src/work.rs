//! A unit of work on its way to a thread that owns a connection, and its answer on the way back.
//!
//! The answer is sent only once the thread knows whether the unit's changes are durable. A unit that was accepted
//! runs to its end whether or not anyone still waits for the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::tx::Tx;

/// One call of `write` or `read`, with its types erased.
pub(crate) trait Unit: Send {
    /// Runs the closure once. `true`: its changes are to be committed.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;

    /// Answers the caller: with the closure's result, or with `failed` if the changes could not be made durable.
    fn finish(self: Box<Self>, failed: Option<StoreError>);
}

struct Call<T, E, F> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

/// A unit for `closure` and where its answer will arrive.
pub(crate) fn unit<T, E, F>(closure: F) -> (Box<dyn Unit>, oneshot::Receiver<Result<T, E>>)
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    (Box::new(Call { closure: Some(closure), result: None, answer }), receiver)
}

impl<T, E, F> Unit for Call<T, E, F>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        // A panic in a use case must not take the only writer down; the transaction is rolled back, so what the
        // closure left behind cannot be observed.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let value = closure(tx)?;
            tx.flush().map_err(E::from)?;
            Ok(value)
        }));
        let result = outcome.unwrap_or_else(|_| Err(E::from(StoreError::Panicked)));
        let commit = result.is_ok();
        self.result = Some(result);
        commit
    }

    fn finish(self: Box<Self>, failed: Option<StoreError>) {
        let result = match (self.result, failed) {
            (Some(Ok(_)) | None, Some(error)) => Err(E::from(error)),
            (Some(result), _) => result,
            (None, None) => Err(E::from(StoreError::Closed)),
        };
        // The caller may have gone; the work is done all the same.
        let _ = self.answer.send(result);
    }
}
