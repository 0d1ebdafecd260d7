//! A running load: started from a plan, asked for its report at any time, stopped without cutting a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::expectation::{Expectation, Judgement};
use crate::life;
use crate::over::Over;
use crate::plan::Plan;
use crate::report::{ClientCount, Report};
use crate::tally::{Ended, Tally};

/// How often [`Load::wait_for`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Client traffic under way. Dropping it ends its tasks at once, in the middle of their requests; see
/// [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// A condition did not become true in time.
#[derive(Debug, thiserror::Error)]
#[error("not reached within {within:?}: {report}")]
pub struct NotReached {
    /// The time that was given.
    pub within: Duration,
    /// What the load had seen at the end of it.
    pub report: Box<Report>,
}

/// What all clients of a load share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) expectation: Expectation,
    pub(crate) started: Instant,
    ends: Option<Instant>,
    claimed: AtomicU64,
    /// Told to all clients when no further request is to begin.
    stop: watch::Sender<bool>,
    tally: Mutex<Tally>,
}

impl Load {
    /// Starts one task for each client on the present tokio runtime, of whatever flavour.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and IO enabled.
    #[must_use = "a load that is dropped ends at once"]
    pub fn start(plan: Plan) -> Self {
        let started = Instant::now();
        let clients_planned = plan.clients.clone();
        let (stop, told) = watch::channel(false);
        let shared = Arc::new(Shared {
            expectation: Expectation::default(),
            started,
            ends: plan.max_time.map(|time| started + time),
            claimed: AtomicU64::new(0),
            stop,
            tally: Mutex::new(Tally::new(plan.answered_by_header.clone(), plan.counted_headers.clone())),
            plan,
        });
        let over = Over::new(told, shared.ends);
        let mut clients = JoinSet::new();
        for client in clients_planned {
            clients.spawn(life::run(client, Arc::clone(&shared), over.clone()));
        }
        Self { shared, clients }
    }

    /// Answers of every environment are right from now on: call it before a switch is asked for.
    pub fn expect_nothing(&self) {
        self.shared.expectation.set(None);
    }

    /// Only answers of `environment` are right for requests whose head is written from now on: call it once
    /// the switch was answered. Others count as [`FailureClass::Stale`](crate::FailureClass::Stale), unless
    /// the expectation was set again before they arrived.
    pub fn expect(&self, environment: &str) {
        self.shared.expectation.set(Some(environment));
    }

    /// What has been seen so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Waits until `condition` holds, and gives the report for which it did.
    ///
    /// # Errors
    ///
    /// [`NotReached`] with the last report if it does not hold `within` that time.
    pub async fn wait_for(
        &self,
        within: Duration,
        condition: impl Fn(&Report) -> bool,
    ) -> Result<Report, NotReached> {
        let deadline = Instant::now() + within;
        loop {
            let report = self.report();
            if condition(&report) {
                return Ok(report);
            }
            if Instant::now() >= deadline {
                return Err(NotReached { within, report: Box::new(report) });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Starts no further request, waits for those in flight (at most the plan's timeout), and gives the last
    /// report.
    pub async fn stop(self) -> Report {
        self.shared.stop.send_replace(true);
        self.finish().await
    }

    /// Waits until the plan's own bounds end the load. Without `max_requests` and `max_time` it would not
    /// end, so it then behaves as [`Load::stop`] does. `max_requests` alone does not end a session that its server
    /// keeps, unless another client finds the bound reached.
    pub async fn finish(mut self) -> Report {
        if self.shared.ends.is_none() && self.shared.plan.max_requests.is_none() {
            self.shared.stop.send_replace(true);
        }
        while self.clients.join_next().await.is_some() {}
        self.shared.report()
    }
}

impl Shared {
    /// Takes one request from what the bounds allow; its serial number, or nothing if the load is over.
    pub(crate) fn claim_request(&self) -> Option<u64> {
        let serial = self.claimed.fetch_add(1, Ordering::Relaxed);
        let in_time = self.ends.is_none_or(|ends| Instant::now() < ends);
        if in_time && self.plan.max_requests.is_none_or(|most| serial < most) {
            return Some(serial);
        }
        // Sessions claim nothing more by themselves and have to be told.
        self.stop.send_replace(true);
        None
    }

    pub(crate) fn count(&self, ended: Ended) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(ended);
    }

    /// Changes what is counted of one kind of client.
    pub(crate) fn note(&self, client: &'static str, change: impl FnOnce(&mut ClientCount)) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).note(client, change);
    }

    /// A server has asked a client to leave.
    pub(crate) fn asked_to_leave(&self, client: &'static str) {
        let at = self.started.elapsed();
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).asked_to_leave(client, at);
    }

    /// A session stands; its opening was answered with these headers.
    pub(crate) fn session_opened(
        &self,
        client: &'static str,
        headers: &[(String, String)],
        judgement: &Judgement,
    ) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).session_opened(client, headers, judgement);
    }

    fn report(&self) -> Report {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).report(self.started.elapsed())
    }
}
