//! What is said of instances that get no more requests: until when those that last may stay, and how fast they are asked.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cutover_core::drain::{Departure, Rate};
use cutover_core::statistics::DrainReport;
use cutover_core::{InstanceId, Timestamp};

/// What calls get to be asked in, where plain requests and those that last have the same time.
const CALLS: Duration = Duration::from_secs(3);

/// One drain, shared by its instances and by all workers.
#[derive(Debug)]
pub(crate) struct Drain {
    began: Instant,
    pub(crate) until: Timestamp,
    limit: Duration,
    requests: Duration,
    /// What was said, and what is made of it.
    said: Rate,
    rate: u32,
    credit: Mutex<Credit>,
    asked: AtomicU64,
    /// Where its instances are.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Drain {
    /// Whether whoever is left has to go.
    pub(crate) fn is_over(&self) -> bool {
        self.began.elapsed() >= self.limit
    }

    /// The same of calls: they are only asked when they have had their time, and then need some.
    pub(crate) fn is_over_for_calls(&self) -> bool {
        self.began.elapsed() >= self.limit.max(self.requests.saturating_add(CALLS))
    }

    /// Whether calls have had their time.
    pub(crate) fn calls_have_had_their_time(&self) -> bool {
        self.began.elapsed() >= self.requests
    }

    /// How many of `most` may be asked now; they count as asked. What was not used in time is not saved up: no more than
    /// a tenth of a second's may be asked at once.
    pub(crate) fn take(&self, most: u64) -> u64 {
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let rate = f64::from(self.rate);
        let earned = now.duration_since(credit.since).as_secs_f64() * rate;
        credit.since = now;
        credit.turns = (credit.turns + earned).min((rate / 10.0).max(1.0));
        let taken = (credit.turns.floor() as u64).min(most);
        credit.turns -= taken as f64;
        self.asked.fetch_add(taken, Ordering::AcqRel);
        taken
    }

    fn is_as(&self, wanted: &Departure) -> bool {
        self.limit == wanted.limit && self.said == wanted.rate && self.requests == wanted.requests
    }

    fn report(&self) -> DrainReport {
        DrainReport { until: self.until, asked: self.asked.load(Ordering::Acquire) }
    }
}

/// Turns that were earned and not used.
#[derive(Debug)]
struct Credit {
    turns: f64,
    since: Instant,
}

/// All drains of a data plane.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    of: Mutex<HashMap<InstanceId, Arc<Drain>>>,
    /// Nearly always, and then nothing else is looked at.
    are_some: AtomicBool,
}

impl Drains {
    /// Begins one, or goes on with it if the same is said again: its time counts from when it was first said.
    ///
    /// `lasting` is how many are there. Where the rate is the highest that can be said, nobody has said one, and they are
    /// spread over most of the time that they have.
    pub(crate) fn begin(&self, wanted: &Departure, addresses: Vec<SocketAddr>, lasting: u64) {
        let mut of = self.lock();
        let all_know = wanted
            .instances
            .iter()
            .all(|instance| of.get(instance).is_some_and(|present| present.is_as(wanted)));
        if all_know {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let until = now.saturating_add(wanted.limit);
        let drain = Arc::new(Drain {
            began: Instant::now(),
            until: Timestamp::from_millis(u64::try_from(until.as_millis()).unwrap_or(u64::MAX)),
            limit: wanted.limit,
            requests: wanted.requests,
            said: wanted.rate,
            rate: rate(wanted, lasting),
            credit: Mutex::new(Credit { turns: 1.0, since: Instant::now() }),
            asked: AtomicU64::new(0),
            addresses,
        });
        for instance in &wanted.instances {
            of.insert(instance.clone(), Arc::clone(&drain));
        }
        self.are_some.store(!of.is_empty(), Ordering::Release);
    }

    /// Ends those of instances for which `goes_on` does not hold.
    pub(crate) fn retain(&self, goes_on: impl Fn(&InstanceId) -> bool) {
        if !self.are_some.load(Ordering::Acquire) {
            return;
        }
        let mut of = self.lock();
        of.retain(|instance, _| goes_on(instance));
        self.are_some.store(!of.is_empty(), Ordering::Release);
    }

    /// Every instance that is drained; nothing if none is.
    pub(crate) fn all(&self) -> Option<HashMap<InstanceId, Arc<Drain>>> {
        self.are_some.load(Ordering::Acquire).then(|| self.lock().clone())
    }

    /// The instances that are drained.
    pub(crate) fn instances(&self) -> HashSet<InstanceId> {
        self.all().map(|all| all.into_keys().collect()).unwrap_or_default()
    }

    pub(crate) fn report(&self, instance: &InstanceId) -> Option<DrainReport> {
        if !self.are_some.load(Ordering::Acquire) {
            return None;
        }
        self.lock().get(instance).map(|drain| drain.report())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Arc<Drain>>> {
        // Each change of it is whole.
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rate(wanted: &Departure, lasting: u64) -> u32 {
    let said = wanted.rate.per_second();
    if said < Rate::MOST {
        return said;
    }
    let time = (wanted.limit.as_secs_f64() * 0.8).max(1.0);
    ((lasting as f64 / time).ceil() as u32).clamp(10, Rate::MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(limit: Duration) -> Departure {
        Departure {
            instances: vec!["a".parse().unwrap()],
            limit,
            requests: Duration::ZERO,
            rate: Rate::new(10).unwrap(),
            clients: cutover_core::drain::Clients::Stay,
        }
    }

    #[test]
    fn the_same_word_again_gives_no_more_time_and_another_does() {
        let drains = Drains::default();
        let until = || drains.report(&"a".parse().unwrap()).unwrap().until;
        drains.begin(&wanted(Duration::from_secs(10)), Vec::new(), 0);
        let first = until();
        std::thread::sleep(Duration::from_millis(2));
        drains.begin(&wanted(Duration::from_secs(10)), Vec::new(), 0);
        assert_eq!(until(), first);
        drains.begin(&wanted(Duration::from_secs(20)), Vec::new(), 0);
        assert!(until() > first);
        drains.retain(|_| false);
        assert!(drains.all().is_none());
    }

    #[test]
    fn what_was_not_used_is_not_saved_up_and_what_nobody_has_said_is_spread() {
        let drains = Drains::default();
        drains.begin(&wanted(Duration::from_secs(10)), Vec::new(), 0);
        let drain = drains.all().unwrap().into_values().next().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(drain.take(1000), 1);
        let quick = Departure { rate: Rate::new(Rate::MOST).unwrap(), ..wanted(Duration::from_secs(30)) };
        assert_eq!((rate(&quick, 10_000), rate(&quick, 3)), (417, 10));
    }

    #[test]
    fn no_more_are_asked_than_the_rate_allows() {
        let drains = Drains::default();
        drains.begin(&wanted(Duration::from_secs(10)), Vec::new(), 0);
        let drain = drains.all().unwrap().into_values().next().unwrap();
        let mut asked = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            asked += drain.take(1000);
            let most = began.elapsed().as_secs_f64() * 10.0 + 2.0;
            assert!(asked as f64 <= most, "{asked} after {:?}", began.elapsed());
        }
        assert!(asked >= 3, "{asked}");
    }
}
