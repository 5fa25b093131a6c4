//! What a credential let in goes on only while the credential is good.
//!
//! Every exchange that a credential opened holds a `Pass`. The supervisor's rounds ask the `Authenticator` about all of
//! them, about once a second, and end those that are good no more: no timer and no second check in a request's path, and
//! no secret kept. What is open to everybody has no pass.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::ports::Authenticator;
use crate::route::Route;

/// The passes in use.
#[derive(Debug, Default)]
pub(crate) struct Passes(Mutex<InUse>);

#[derive(Debug, Default)]
struct InUse {
    next: u64,
    held: HashMap<u64, Arc<Held>>,
}

#[derive(Debug)]
struct Held {
    credential: String,
    route: Arc<Route>,
    ended: AtomicBool,
    waker: AtomicWaker,
}

/// Held by one exchange. Dropping it hands it in.
#[derive(Debug)]
pub(crate) struct Pass {
    passes: Arc<Passes>,
    number: u64,
    held: Arc<Held>,
}

impl Passes {
    /// For whoever `credential` let in; it is what `Verdict::Allowed` named.
    pub(crate) fn issue(self: &Arc<Self>, credential: String, route: &Arc<Route>) -> Pass {
        let held = Arc::new(Held {
            credential,
            route: Arc::clone(route),
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = in_use.next;
        in_use.next += 1;
        in_use.held.insert(number, Arc::clone(&held));
        drop(in_use);
        Pass { passes: Arc::clone(self), number, held }
    }

    /// Ends every pass whose credential is good no more.
    pub(crate) fn review(&self, authenticator: &dyn Authenticator) {
        let in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for held in in_use.held.values() {
            if !authenticator.is_still_good(&held.credential, &held.route) {
                held.ended.store(true, SeqCst);
                held.waker.wake();
            }
        }
    }
}

impl Pass {
    /// Whether it has ended; else whoever polls is woken when it does. One task at a time.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        self.held.waker.register(cx.waker());
        if self.held.ended.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Waits for the end of a pass; for ever where none was needed.
pub(crate) async fn ended(pass: Option<&Pass>) {
    match pass {
        Some(pass) => std::future::poll_fn(|cx| pass.poll_ended(cx)).await,
        None => std::future::pending().await,
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.passes.0.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&self.number);
    }
}
