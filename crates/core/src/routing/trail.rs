//! What became of a shift after it was published: who answered first, when the last of the old requests ended, what failed.
//!
//! A trail belongs to the entry that changed the weights and to those after it that did not: what is published meanwhile
//! for another reason does not end it. Moments are microseconds by the data plane's own clock, which nobody sets.

use std::sync::{Arc, OnceLock};

use crate::environment::{Environment, PerEnvironment};
use crate::epoch::Epoch;
use crate::receipt::ShiftReport;
use crate::routing::renewal::Renewal;
use crate::routing::table::Target;
use crate::statistics::{Counters, Marks};
use crate::sync::{AtomicU64, Ordering};

/// Not yet.
const NEVER: u64 = u64::MAX;

/// The trail of one shift.
#[derive(Debug)]
pub(crate) struct Trail {
    epoch: Epoch,
    /// Who has all the traffic since, or had it last.
    settled: Option<Environment>,
    /// All the traffic was one environment's, and is the other's now: also by steps, but not by a share that came and went.
    is_switch: bool,
    /// When its table was stored.
    stored_us: AtomicU64,
    first_answer_us: PerEnvironment<AtomicU64>,
    emptied_us: PerEnvironment<AtomicU64>,
    /// Those who were fenced with the shift.
    fenced: OnceLock<PerEnvironment<Vec<Arc<Target>>>>,
    counted: PerEnvironment<(Arc<Counters>, Marks)>,
    /// How clients that were there before it are told to connect anew.
    renewal: OnceLock<Renewal>,
    observed: Arc<ServiceObserved>,
    /// What was sent away and held before.
    before: (u64, u64),
}

/// What is observed about a service, shared by all its entries.
#[derive(Debug, Default)]
pub struct ServiceObserved {
    /// Requests that got no instance: there was none, or no room to wait for one.
    turned_away: AtomicU64,
    /// Requests that have waited.
    held: AtomicU64,
    /// Requests that wait.
    waiting: AtomicU64,
    /// Bytes that those keep.
    waiting_bytes: AtomicU64,
    /// Connections on which clients were told to connect anew.
    renewed: AtomicU64,
}

impl ServiceObserved {
    /// Counts a request that no instance was asked for.
    pub fn note_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a place among those that wait, if there is one for a request of so many bytes.
    #[must_use]
    pub fn begin_waiting(&self, bytes: u64, most: u32, most_bytes: u64) -> bool {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let kept = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        if waiting < u64::from(most) && kept.saturating_add(bytes) <= most_bytes {
            return true;
        }
        self.end_waiting(bytes);
        false
    }

    /// Counts a request that goes on after it has waited.
    pub fn note_waited(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the place back.
    pub fn end_waiting(&self, bytes: u64) {
        self.waiting.fetch_sub(1, Ordering::Release);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Release);
    }

    /// Counts a connection that is older than a shift, on which its client was told to connect anew.
    pub fn note_renewed(&self) {
        self.renewed.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections on which clients were told so.
    #[must_use]
    pub fn renewed(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Requests that wait now.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }

    fn totals(&self) -> (u64, u64) {
        (self.turned_away.load(Ordering::Relaxed), self.held.load(Ordering::Relaxed))
    }
}

impl Trail {
    pub(crate) fn new(
        epoch: Epoch,
        counters: PerEnvironment<Arc<Counters>>,
        observed: Arc<ServiceObserved>,
        before: Option<Environment>,
        sole: Option<Environment>,
    ) -> Self {
        let never = || PerEnvironment::from_fn(|_| AtomicU64::new(NEVER));
        let PerEnvironment { blue, green } = counters;
        let marked = |counters: Arc<Counters>| {
            let marks = counters.marks();
            (counters, marks)
        };
        let counted_before = observed.totals();
        Self {
            epoch,
            settled: sole.or(before),
            is_switch: before.is_some() && sole.is_some() && sole != before,
            stored_us: AtomicU64::new(NEVER),
            first_answer_us: never(),
            emptied_us: never(),
            fenced: OnceLock::new(),
            counted: PerEnvironment { blue: marked(blue), green: marked(green) },
            renewal: OnceLock::new(),
            observed,
            before: counted_before,
        }
    }

    /// Notes that its table is stored; the first time counts.
    pub(crate) fn note_stored(&self, now_us: u64) {
        let _ = self.stored_us.compare_exchange(NEVER, now_us, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Who has all the traffic, or had it last.
    pub(crate) fn settled(&self) -> Option<Environment> {
        self.settled
    }

    /// Says how clients that were there before it are told to connect anew, if it is a switch; the first word counts.
    pub(crate) fn renew_clients(&self, renewal: Renewal) {
        if self.is_switch {
            let _ = self.renewal.set(renewal);
        }
    }

    /// Their turns, for one who has been there since this moment.
    pub(crate) fn renewal(&self, since_us: u64) -> Option<&Renewal> {
        if self.stored_us.load(Ordering::Relaxed) <= since_us {
            return None;
        }
        self.renewal.get()
    }

    /// Notes who was fenced with it, before anybody looks.
    pub(crate) fn note_fenced(&self, fenced: PerEnvironment<Vec<Arc<Target>>>) {
        let _ = self.fenced.set(fenced);
    }

    /// Whether nobody of this environment has answered yet.
    pub(crate) fn awaits_answer(&self, environment: Environment) -> bool {
        self.first_answer_us[environment].load(Ordering::Relaxed) == NEVER
    }

    pub(crate) fn note_answer(&self, environment: Environment, now_us: u64) {
        let first = &self.first_answer_us[environment];
        let _ = first.compare_exchange(NEVER, now_us, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Requests that were in flight at the shift and still are.
    fn left(&self, environment: Environment) -> u64 {
        let fenced = self.fenced.get().map(|fenced| &fenced[environment]);
        fenced.into_iter().flatten().map(|target| target.fence.held()).sum()
    }

    /// Looks whether the last of them has ended; `true` if there is nothing left to look for.
    pub(crate) fn look(&self, now_us: u64) -> bool {
        if self.fenced.get().is_none() {
            // It is just being published.
            return false;
        }
        let mut is_done = true;
        for environment in Environment::ALL {
            let emptied = &self.emptied_us[environment];
            if emptied.load(Ordering::Relaxed) != NEVER {
                continue;
            }
            if self.left(environment) == 0 {
                emptied.store(now_us, Ordering::Relaxed);
            } else {
                is_done = false;
            }
        }
        is_done
    }

    pub(crate) fn report(&self) -> ShiftReport {
        let stored = self.stored_us.load(Ordering::Acquire);
        let after = |moment: &AtomicU64| match moment.load(Ordering::Relaxed) {
            NEVER => None,
            moment => Some(moment.saturating_sub(stored)),
        };
        let (turned_away, held) = self.observed.totals();
        ShiftReport {
            epoch: self.epoch,
            boot_id: String::new(),
            first_answer_us: PerEnvironment::from_fn(|environment| after(&self.first_answer_us[environment])),
            emptied_us: PerEnvironment::from_fn(|environment| after(&self.emptied_us[environment])),
            left: PerEnvironment::from_fn(|environment| self.left(environment)),
            sides: PerEnvironment::from_fn(|environment| {
                let (counters, before) = &self.counted[environment];
                counters.marks().since(before).into()
            }),
            turned_away: turned_away - self.before.0,
            held: held - self.before.1,
        }
    }
}
