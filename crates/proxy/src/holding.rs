//! Requests that wait for the end of a hold, within its bounds, and the end of holds whose time is over.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use cutover_core::routing::table::ServiceEntry;
use cutover_core::routing::{Hold, Lease, NoTarget, Pause, Private, ServiceObserved, TableCell};
use cutover_core::{ServiceName, Timestamp};

use crate::answering::{AnswerSink, Leaving};
use crate::head::{Framing, Prepared};
use crate::plane::Plane;
use crate::worker::Worker;

/// What a client may have sent of a body of which nothing is said, before somebody takes it.
const BODY: u64 = 256 * 1024;
/// Nothing waits longer, whatever a table says and whoever sets the clock.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why a request got no instance after all.
pub(crate) enum Nowhere {
    /// There is none for it.
    Turned(NoTarget),
    /// The client has gone, or seems to: what it asked for is not done behind its back.
    Left(Leaving),
}

/// A place among those that wait.
struct Place {
    observed: Arc<ServiceObserved>,
    bytes: u64,
}

impl Place {
    /// One for a request, if there is room.
    fn take(entry: &ServiceEntry, request: &Prepared) -> Option<Self> {
        let Some(Pause::Hold(Hold { requests, bytes: most, .. })) = entry.desired().pause.as_ref() else {
            return None;
        };
        let body = match request.framing {
            Framing::Empty => 0,
            Framing::Length(length) => length.min(BODY),
            Framing::Chunked | Framing::UntilClose => BODY,
        };
        let bytes = request.head.len() as u64 + body;
        let observed = Arc::clone(entry.observed());
        // Made only if there is one: it is given back when it is dropped.
        observed.begin_waiting(bytes, *requests, *most).then(|| Self { observed, bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.observed.end_waiting(self.bytes);
    }
}

impl Worker {
    /// Waits until the hold is over, if there is room for one more.
    pub(crate) async fn wait_for_the_end<K: AnswerSink>(
        &self,
        request: &Prepared,
        private: Option<Private<'_>>,
        sink: &mut K,
    ) -> Result<Lease, Nowhere> {
        let place = {
            let table = self.cell.load();
            let entry = table.find(request.host(), request.path());
            // Between the two looks it may have ended: then there is a way below.
            entry.filter(|entry| entry.is_held()).map(|entry| Place::take(entry, request))
        };
        if matches!(place, Some(None)) {
            return Err(Nowhere::Turned(NoTarget::Held));
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            // Armed before it is looked again, so that no end falls between.
            changed.as_mut().enable();
            match self.claim(request, private, false, &[]) {
                Ok(lease) => {
                    lease.service().observed().note_waited();
                    return Ok(lease);
                }
                // What goes on after this process is not known here.
                Err(NoTarget::Held) if self.closing.get() => return Err(Nowhere::Turned(NoTarget::Held)),
                Err(NoTarget::Held) => {}
                Err(nowhere) => return Err(Nowhere::Turned(nowhere)),
            }
            let left = poll_fn(|cx| {
                // Somebody who has gone a moment ago shall not have it done either.
                let is_over = changed.as_mut().poll(cx).is_ready();
                let leaving = if is_over { sink.leaving_now(cx) } else { sink.poll_leaving(cx) };
                match leaving {
                    Poll::Ready(leaving) => Poll::Ready(Some(leaving)),
                    Poll::Pending if is_over => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            if let Some(leaving) = left.await {
                return Err(Nowhere::Left(leaving));
            }
        }
    }
}

/// What is left of a hold.
pub(crate) fn time_left(hold: &Hold) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    hold.until.since(now).min(LONGEST)
}

/// Ends holds when their time is over, for as long as it is polled. Nobody has to be there for that.
pub(crate) async fn end_in_time(plane: Arc<Plane>) {
    // From the moment at which a hold is seen first the wall clock has no say.
    let mut ends: HashMap<(ServiceName, Timestamp), Instant> = HashMap::new();
    loop {
        let mut changed = pin!(plane.changed.notified());
        changed.as_mut().enable();
        let next = {
            let table = plane.cell.load();
            let mut next: Option<Duration> = None;
            let mut ended = false;
            let mut present = HashMap::new();
            for entry in table.services().iter().filter(|entry| entry.is_held()) {
                let Some(Pause::Hold(hold)) = &entry.desired().pause else { continue };
                let key = (entry.desired().name.clone(), hold.until);
                let end = ends.remove(&key).unwrap_or_else(|| Instant::now() + time_left(hold));
                let left = end.saturating_duration_since(Instant::now());
                present.insert(key, end);
                if left.is_zero() {
                    entry.end_hold();
                    ended = true;
                    tracing::info!(service = %entry.desired().name, "the hold is over: its time has come");
                } else {
                    next = Some(next.map_or(left, |next| next.min(left)));
                }
            }
            ends = present;
            if ended {
                plane.changed.notify_waiters();
            }
            next
        };
        match next {
            // A moment later than it could be is better than twice.
            Some(left) => {
                let _ = tokio::time::timeout(left + Duration::from_millis(1), changed).await;
            }
            None => changed.await,
        }
    }
}
