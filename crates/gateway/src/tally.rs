//! Counts one exchange and reports it to the `Meter`: at the end, and every few MiB of a long one.

use std::sync::Arc;

use crate::ports::{Meter, Usage};
use crate::route::Route;

const REPORT_EVERY: u64 = 4 * 1024 * 1024;

/// The running count of one request or tunnel.
pub(crate) struct Tally {
    meter: Arc<dyn Meter>,
    route: Arc<Route>,
    pending: Usage,
    seen_in: u64,
}

impl Tally {
    /// Counts one request from here on.
    pub(crate) fn request(meter: &Arc<dyn Meter>, route: &Arc<Route>) -> Self {
        Self {
            meter: Arc::clone(meter),
            route: Arc::clone(route),
            pending: Usage { requests: 1, ..Usage::default() },
            seen_in: 0,
        }
    }

    /// Another count of the same exchange, for its other direction: not one more request.
    pub(crate) fn continuation(&self) -> Self {
        Self {
            meter: Arc::clone(&self.meter),
            route: Arc::clone(&self.route),
            pending: Usage::default(),
            seen_in: 0,
        }
    }

    pub(crate) fn add_in(&mut self, bytes: u64) {
        self.pending.bytes_in += bytes;
        self.report_if_due();
    }

    pub(crate) fn add_out(&mut self, bytes: u64) {
        self.pending.bytes_out += bytes;
        self.report_if_due();
    }

    /// For a counter that someone else runs: `total` so far.
    pub(crate) fn set_in(&mut self, total: u64) {
        let more = total.saturating_sub(self.seen_in);
        self.seen_in = total;
        self.add_in(more);
    }

    fn report_if_due(&mut self) {
        if self.pending.bytes_in + self.pending.bytes_out >= REPORT_EVERY {
            self.report();
        }
    }

    fn report(&mut self) {
        let usage = std::mem::take(&mut self.pending);
        if usage != Usage::default() {
            self.meter.record(&self.route.instance_id, usage);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.report();
    }
}
