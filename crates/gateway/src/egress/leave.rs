//! What was allowed goes on only while it would be allowed.
//!
//! Every tunnel and exchange holds a `Leave`. The supervisor's rounds look at all of them, about once a second, and end
//! those whose caller, allowance or credential is gone: no timer and no second question in a request's path.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::keys::Treatment;
use super::ports::{Ask, Caller, Callers, Judge, Keys};

/// The leaves in use at one door.
#[derive(Debug, Default)]
pub(crate) struct Leaves(Mutex<InUse>);

#[derive(Debug, Default)]
struct InUse {
    next: u64,
    held: HashMap<u64, Arc<Held>>,
}

#[derive(Debug)]
struct Held {
    caller: Caller,
    ask: Ask,
    /// Credentials in use, with their revision.
    keys: Vec<(Arc<str>, u64)>,
    /// A tunnel that nobody looks into.
    untouched: AtomicBool,
    ended: AtomicBool,
    waker: AtomicWaker,
}

/// Held by one tunnel or exchange. Dropping it hands it in.
#[derive(Debug)]
pub(crate) struct Leave {
    leaves: Arc<Leaves>,
    number: u64,
    held: Arc<Held>,
}

impl Leaves {
    pub(crate) fn grant(self: &Arc<Self>, caller: Caller, ask: Ask, keys: Vec<(Arc<str>, u64)>) -> Leave {
        let held = Arc::new(Held {
            caller,
            ask,
            keys,
            untouched: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = in_use.next;
        in_use.next += 1;
        in_use.held.insert(number, Arc::clone(&held));
        drop(in_use);
        Leave { leaves: Arc::clone(self), number, held }
    }

    /// Ends what would not be allowed now.
    pub(crate) fn review(&self, callers: &dyn Callers, judge: &dyn Judge, keys: &dyn Keys) {
        let in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<_> = in_use.held.values().cloned().collect();
        drop(in_use);
        for held in open {
            let is_good = callers.is_still(&held.caller)
                && judge.is_still_allowed(&held.caller, &held.ask)
                && held.keys.iter().all(|(id, revision)| keys.is_good(&held.caller, id, *revision))
                && held.is_rightly_untouched(keys);
            if !is_good {
                held.ended.store(true, SeqCst);
                held.waker.wake();
            }
        }
    }
}

impl Held {
    /// A tunnel that was opened before its host was to be looked into would pass by every rule about requests.
    fn is_rightly_untouched(&self, keys: &dyn Keys) -> bool {
        !self.untouched.load(SeqCst)
            || keys.bound(&self.caller, self.ask.host(), self.ask.port()).treatment == Treatment::Tunnel
    }
}

impl Leave {
    /// From here on its bytes pass untouched.
    pub(crate) fn passes_untouched(&self) {
        self.held.untouched.store(true, SeqCst);
    }

    /// Whether it has ended; else whoever polls is woken when it does. One task at a time.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        self.held.waker.register(cx.waker());
        if self.held.ended.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) async fn ended(&self) {
        std::future::poll_fn(|cx| self.poll_ended(cx)).await;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.leaves.0.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&self.number);
    }
}
