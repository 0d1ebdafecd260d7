//! One request and its answer, from the claim to the last byte in both directions.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cutover_core::routing::Lease;
use cutover_core::statistics::{Counters, Failure};

/// Held by the request's body and by the answer's; the lease ends when both are gone.
#[derive(Debug)]
pub(crate) struct Exchange {
    lease: Lease,
    began: Instant,
    /// When the last piece of the request's body was taken, while it is being sent.
    request_progress: Cell<Instant>,
    request_sent: Cell<bool>,
    /// Whether it is known how the request went, so that it was counted.
    counted: Cell<bool>,
}

impl Exchange {
    pub(crate) fn new(lease: Lease, began: Instant) -> Rc<Self> {
        Rc::new(Self {
            lease,
            began,
            request_progress: Cell::new(began),
            request_sent: Cell::new(false),
            counted: Cell::new(false),
        })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    fn counters(&self) -> &Counters {
        self.lease.target().counters()
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.lease.service().desired().timeouts.idle
    }

    /// Counts the answer's head.
    pub(crate) fn answered(&self, status: u16) {
        self.counted.set(true);
        self.counters().answered(status, self.began.elapsed());
    }

    /// Counts that there is no answer.
    pub(crate) fn unanswered(&self, failure: Failure) {
        self.counted.set(true);
        self.counters().unanswered(failure);
    }

    /// Counts that the request is sent once more, as another exchange.
    pub(crate) fn retried(&self) {
        self.counted.set(true);
        self.counters().retried();
    }

    /// Counts a failure after the answer's head.
    pub(crate) fn failed(&self, failure: Failure) {
        self.counters().failed(failure);
    }

    pub(crate) fn request_moved(&self) {
        self.request_progress.set(Instant::now());
    }

    pub(crate) fn request_ended(&self) {
        self.request_progress.set(Instant::now());
        self.request_sent.set(true);
    }

    /// Whether the whole request was handed to the connection: only then can it be used again.
    pub(crate) fn is_request_sent(&self) -> bool {
        self.request_sent.get()
    }

    /// How long nothing more of the request was taken.
    pub(crate) fn stood_still(&self) -> Duration {
        self.request_progress.get().elapsed()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Neither answered nor failed: the client went away while it waited.
        if !self.counted.get() {
            self.counters().unanswered(Failure::ClientGone);
        }
    }
}
