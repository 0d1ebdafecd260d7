//! Deadlines by the hundred thousand for nearly nothing: each is a number in a list that one timer goes through twenty
//! times a second. A request sets several and reaches none of them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use slab::Slab;

/// How exact deadlines are: one is reached at most two of these late.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// More than this at once has not passed for those who wait: this process was stopped, or its machine, and nobody is late who
/// could not have been heard.
const MOST_AT_ONCE: u64 = 20;

/// No deadline.
const NEVER: u64 = u64::MAX;
/// A deadline that nobody has set: those that are set lie in the future.
const EXPIRED: u64 = 0;

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    /// Ticks since the start in which this process was there.
    now: Cell<u64>,
    /// How often a connection has become idle: tells within a tick too which one was first.
    idled: Cell<u64>,
    slots: RefCell<Slab<Slot>>,
}

#[derive(Debug)]
struct Slot {
    due: Cell<u64>,
    /// Since when its connection has no request: lower is longer.
    idle: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// One deadline, which can be set again and again.
#[derive(Debug)]
pub(crate) struct Alarm {
    watchdog: Rc<Watchdog>,
    key: usize,
}

/// The time was over first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl Watchdog {
    /// Wakes whoever waited too long, for as long as it is polled.
    pub(crate) async fn watch(self: Rc<Self>) {
        let mut last = tokio::time::Instant::now();
        let mut ticks = tokio::time::interval_at(last, TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let at = ticks.tick().await;
            let passed = ticks_in(at.duration_since(std::mem::replace(&mut last, at)));
            self.turn_to(self.now.get() + passed.min(MOST_AT_ONCE));
        }
    }

    fn turn_to(&self, now: u64) {
        self.now.set(now);
        for (_, slot) in self.slots.borrow().iter() {
            if slot.due.get() <= now
                && let Some(waker) = slot.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }

    /// Ticks since the start.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Has the one that has been idle for longest reach its deadline now; `false` if none is idle.
    pub(crate) fn expire_longest_idle(&self) -> bool {
        let slots = self.slots.borrow();
        let longest = slots.iter().map(|(_, slot)| slot).min_by_key(|slot| slot.idle.get());
        let Some(slot) = longest.filter(|slot| slot.idle.get() != NEVER) else { return false };
        slot.idle.set(NEVER);
        slot.due.set(EXPIRED);
        if let Some(waker) = slot.waker.borrow_mut().take() {
            waker.wake();
        }
        true
    }

    pub(crate) fn alarm(self: &Rc<Self>) -> Alarm {
        let slot = Slot { due: Cell::new(NEVER), idle: Cell::new(NEVER), waker: RefCell::new(None) };
        let key = self.slots.borrow_mut().insert(slot);
        Alarm { watchdog: Rc::clone(self), key }
    }
}

pub(crate) fn ticks_in(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(NEVER)
}

impl Alarm {
    /// Sets it to `after` from now.
    pub(crate) fn set(&self, after: Duration) {
        // The present tick is partly over.
        let due = self.watchdog.now.get().saturating_add(ticks_in(after)).saturating_add(1);
        self.watchdog.slots.borrow()[self.key].due.set(due);
    }

    /// What waits for it from now on has no request, and may have to go for one that has.
    pub(crate) fn begin_idle(&self) {
        let idled = self.watchdog.idled.get();
        self.watchdog.idled.set(idled + 1);
        self.watchdog.slots.borrow()[self.key].idle.set(idled);
    }

    pub(crate) fn end_idle(&self) {
        self.watchdog.slots.borrow()[self.key].idle.set(NEVER);
    }

    /// Whether its time was ended early, for the sake of a client that has a request.
    pub(crate) fn was_expired(&self) -> bool {
        self.watchdog.slots.borrow()[self.key].due.get() == EXPIRED
    }

    pub(crate) fn clear(&self) {
        self.watchdog.slots.borrow()[self.key].due.set(NEVER);
    }

    /// One more of the same worker.
    pub(crate) fn another(&self) -> Self {
        self.watchdog.alarm()
    }

    /// Ticks since the start of the worker.
    pub(crate) fn now(&self) -> u64 {
        self.watchdog.now()
    }

    /// Whether the time is over; whoever polls is woken then.
    pub(crate) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        let slots = self.watchdog.slots.borrow();
        let slot = &slots[self.key];
        if slot.due.get() <= self.watchdog.now.get() {
            return Poll::Ready(());
        }
        let mut waker = slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// What `future` answers within `limit`.
    pub(crate) fn within<F: Future>(&self, limit: Duration, future: F) -> Within<'_, F> {
        Within { alarm: self, limit, is_set: false, future }
    }
}

pin_project! {
    /// A future with a deadline that begins when it first has to wait.
    ///
    /// Not an `async fn`: that would hold the future twice, and every idle connection would pay for it.
    pub(crate) struct Within<'a, F> {
        alarm: &'a Alarm,
        limit: Duration,
        is_set: bool,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            if *this.is_set {
                this.alarm.clear();
            }
            return Poll::Ready(Ok(output));
        }
        if !*this.is_set {
            this.alarm.set(*this.limit);
            *this.is_set = true;
        }
        this.alarm.poll_due(cx).map(|()| Err(Elapsed))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.watchdog.slots.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_reached_once_its_time_is_over_and_not_before() {
        let watchdog = Rc::<Watchdog>::default();
        let alarm = watchdog.alarm();
        let waited = async {
            let began = tokio::time::Instant::now();
            let never = alarm.within(Duration::from_secs(1), std::future::pending::<()>()).await;
            (never, began.elapsed())
        };
        let (outcome, elapsed) = tokio::select! {
            waited = waited => waited,
            () = Rc::clone(&watchdog).watch() => unreachable!("it never ends"),
        };
        assert_eq!(outcome, Err(Elapsed));
        assert!(
            elapsed >= Duration::from_secs(1) && elapsed <= Duration::from_secs(1) + 2 * TICK,
            "{elapsed:?}"
        );
        assert_eq!(alarm.within(Duration::from_secs(1), async { 5 }).await, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_could_be_heard_is_not_counted() {
        let watchdog = Rc::<Watchdog>::default();
        let alarm = watchdog.alarm();
        alarm.set(Duration::from_secs(5));
        let mut watch = Box::pin(Rc::clone(&watchdog).watch());
        let mut turn = async || {
            let polled = std::future::poll_fn(|cx| Poll::Ready(watch.as_mut().poll(cx).is_pending()));
            assert!(polled.await);
            std::future::poll_fn(|cx| Poll::Ready(alarm.poll_due(cx).is_ready())).await
        };
        assert!(!turn().await);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!turn().await, "a minute at once is a second");
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!turn().await);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(turn().await);
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_goes_first_also_within_a_tick() {
        let watchdog = Rc::<Watchdog>::default();
        let alarms: Vec<_> = (0..4).map(|_| watchdog.alarm()).collect();
        for index in [2, 0, 3] {
            alarms[index].begin_idle();
        }
        alarms[2].end_idle();
        alarms[2].begin_idle();
        let mut order = Vec::new();
        while watchdog.expire_longest_idle() {
            order.push(
                (0..4).filter(|index| alarms[*index].was_expired() && !order.contains(index)).sum::<usize>(),
            );
        }
        assert_eq!(order, [0, 3, 2]);
    }

    #[tokio::test]
    async fn an_alarm_that_is_gone_leaves_nothing() {
        let watchdog = Rc::<Watchdog>::default();
        drop(watchdog.alarm());
        assert!(watchdog.slots.borrow().is_empty());
    }
}
