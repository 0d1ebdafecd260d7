//! One request and its answer, from the claim to the last byte in both directions: the lease and its counts.

use std::cell::Cell;
use std::time::{Duration, Instant};

use cutover_core::routing::{Lease, Timeouts, Upstream};
use cutover_core::statistics::{Counters, Failure};

use crate::answering::AnswerSink;
use crate::clock;
use crate::rewind::Kept;

/// A client that gives up sooner tells nothing of an instance.
const BLAMED_DEADLINE: Duration = Duration::from_secs(1);

/// Holds the lease; what becomes of the request is counted here, once.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    lease: Lease,
    /// What is kept of the request's body for another exchange.
    kept: &'a Kept<'a>,
    began: Instant,
    /// When the client gives up, if it has said so.
    deadline: Option<Duration>,
    /// When the client's connection began, by the data plane's clock.
    client_since_us: u64,
    /// Whether it comes from one of us who wants to know which release answers.
    asks_who: bool,
    /// Whether it is known how the request went, so that it was counted.
    counted: Cell<bool>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        lease: Lease,
        kept: &'a Kept<'a>,
        began: Instant,
        deadline: Option<Duration>,
        client_since_us: u64,
        asks_who: bool,
    ) -> Self {
        Self { lease, kept, began, deadline, client_since_us, asks_who, counted: Cell::new(false) }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn service(&self) -> &str {
        self.lease.service().desired().name.as_str()
    }

    fn counters(&self) -> &Counters {
        self.lease.target().counters()
    }

    /// The tag of the release, if a token led to it or asks for it.
    pub(crate) fn preview(&self) -> Option<&str> {
        if self.asks_who {
            let tag = self.lease.service().desired().tags[self.lease.environment()].as_str();
            // Whatever it is, it must be able to stand in a field.
            return Some(tag).filter(|tag| tag.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        self.lease.target().preview()
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.lease.service().desired().timeouts
    }

    /// What the instance speaks.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.lease.service().desired().upstream[self.lease.environment()]
    }

    /// Counts the answer's head. With it no other exchange can follow.
    pub(crate) fn answered(&self, status: u16) {
        self.kept.lose();
        self.counted.set(true);
        self.counters().answered(status, self.began.elapsed());
        let (service, environment) = (self.lease.service(), self.lease.environment());
        if service.awaits_answer(environment) && self.preview().is_none() {
            service.note_answer(environment, clock::now_us());
        }
    }

    /// Tells the client with the answer, before its head, to connect anew, if its connection is older than the last shift and
    /// it is its turn.
    pub(crate) fn renew<K: AnswerSink>(&self, sink: &mut K) {
        let service = self.lease.service();
        let Some(renewal) = service.renewal(self.client_since_us) else { return };
        if renewal.is_over() {
            return;
        }
        let now_us = clock::now_us();
        if renewal.is_due(now_us) && sink.renew() {
            renewal.note(now_us);
            service.observed().note_renewed();
        }
    }

    /// Counts a failure: of the request where there was no answer yet, else of its answer.
    pub(crate) fn failed(&self, failure: Failure) {
        if self.counted.replace(true) {
            self.counters().failed(failure);
        } else {
            self.counters().unanswered(failure);
        }
    }

    /// Counts that the request waits for another exchange.
    pub(crate) fn given_back(&self) {
        self.counted.set(true);
        self.counters().retried();
    }

    /// Counts that the request is sent once more, as another exchange: there, or in the other environment.
    pub(crate) fn sent_on(&self, next: &Lease) {
        self.counted.set(true);
        if next.environment() == self.lease.environment() {
            self.counters().retried();
        } else {
            self.counters().replayed();
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.counted.get() {
            return;
        }
        // Neither answered nor failed: it was given up. An instance is blamed if it had time.
        let had_time = self
            .deadline
            .is_some_and(|deadline| deadline >= BLAMED_DEADLINE && self.began.elapsed() >= deadline);
        let failure = if had_time { Failure::FirstByteTimeout } else { Failure::ClientGone };
        self.counters().unanswered(failure);
    }
}
