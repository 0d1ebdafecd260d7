//! The one place where a service changes: event in, decision, record, effects out.
//!
//! Each service has its own loop, so that services step independently; the journal commits what waits together.
//! The loop awaits nothing but its next input and the record of its decision.

mod trouble;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cutover_core::ServiceName;
use cutover_core::service::{
    Deployment, Effect, EffectId, Event, PendingEffect, Refusal, ServiceState, step,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::crash;
use crate::journal::{Importance, Journal, JournalError, Record};
use crate::perform::{Former, Lane, Performer};
use crate::ports::Ports;
use crate::watch::Watches;

/// After a decision could not be recorded, it is tried again this much later.
const JOURNAL_PAUSE: Duration = Duration::from_millis(500);
/// With nothing to record, it is tried this often whether the trouble is over.
const PROBE_PAUSE: Duration = Duration::from_secs(2);

/// A service as it is, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Sequence of the record that made it so.
    pub sequence: u64,
    /// The state.
    pub state: ServiceState,
    /// The deployment that ended last while this controller ran.
    pub last_closed: Option<Deployment>,
    /// What the open deployment waits for, as far as that is worth telling.
    pub waiting_for: Option<String>,
    /// Why decisions cannot be recorded, while that is so.
    pub journal_trouble: Option<String>,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfulfilled {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the service has changed since it was looked at")]
    Overtaken,
}

/// A request that waits for its decision.
pub(crate) struct Request {
    pub(crate) event: Event,
    /// The record it was made for, if it makes no sense after another: what was observed then is old news now.
    pub(crate) seen: Option<u64>,
    /// Whether it is part of a rescue although the event alone is not.
    pub(crate) rescues: bool,
    pub(crate) reply: oneshot::Sender<Result<Arc<Snapshot>, Unfulfilled>>,
}

/// What a loop is asked from outside.
pub(crate) enum Wish {
    /// To decide.
    Request(Box<Request>),
    /// To end, once what it has started or stopped is done.
    End,
}

/// The way to a service's loop.
#[derive(Clone)]
pub(crate) struct ServiceHandle {
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
}

struct ServiceLoop {
    snapshot: Arc<Snapshot>,
    ports: Ports,
    journal: Arc<dyn Journal>,
    performer: Performer,
    watches: Watches,
    /// Answers and news come back here.
    events: mpsc::UnboundedSender<Event>,
    /// What could not be recorded yet, oldest first.
    unrecorded: VecDeque<Event>,
    /// Whether the last append may have been recorded although it failed: the journal says so before anything
    /// else is decided.
    uncertain: bool,
    /// Another controller has taken over: this one decides nothing any more.
    deposed: bool,
    deposing: Deposing,
    changed: Arc<Notify>,
    running: HashMap<EffectId, JoinHandle<()>>,
    /// The last start or stop in each lane: the next one waits for its end.
    lanes: HashMap<Lane, JoinHandle<()>>,
    publish: watch::Sender<Arc<Snapshot>>,
}

/// Where it is told that another controller has taken over, with the reason.
pub(crate) type Deposing = watch::Sender<Option<String>>;

/// What the loops of all services share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) ports: Ports,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) deposing: Deposing,
    /// Told whenever a service has changed.
    pub(crate) changed: Arc<Notify>,
}

/// The handle of a service that cannot be controlled, with the reason: it has no loop.
pub(crate) fn without_control(name: ServiceName, sequence: u64, reason: String) -> ServiceHandle {
    let snapshot = Snapshot {
        sequence,
        state: ServiceState::new(name),
        last_closed: None,
        waiting_for: None,
        journal_trouble: Some(reason),
    };
    let (wishes, _) = mpsc::channel(1);
    let (_, snapshots) = watch::channel(Arc::new(snapshot));
    ServiceHandle { wishes, snapshots }
}

/// Starts the loop of a service from what it was last; `first` is its first event.
pub(crate) fn start(common: Common, sequence: u64, state: ServiceState, first: Event) -> ServiceHandle {
    let Common { ports, journal, deposing, changed } = common;
    let name = state.name.clone();
    let snapshot =
        Arc::new(Snapshot { sequence, state, last_closed: None, waiting_for: None, journal_trouble: None });
    let (publish, snapshots) = watch::channel(Arc::clone(&snapshot));
    let (wishes, wished) = mpsc::channel(16);
    let (events, happened) = mpsc::unbounded_channel();
    let (waiting_for, waits) = mpsc::unbounded_channel();
    let service = ServiceLoop {
        snapshot,
        performer: Performer::new(ports.clone(), name, waiting_for),
        ports,
        journal,
        watches: Watches::default(),
        events,
        unrecorded: VecDeque::new(),
        uncertain: false,
        deposed: false,
        deposing,
        changed,
        running: HashMap::new(),
        lanes: HashMap::new(),
        publish,
    };
    let told = service.publish.clone();
    tokio::spawn(async move {
        let ended = tokio::spawn(service.run(first, wished, happened, waits)).await;
        if ended.is_err_and(|error| error.is_panic()) {
            // A bug must not look like a service at rest.
            told.send_modify(|snapshot| {
                let mut failed = Snapshot::clone(snapshot);
                failed.journal_trouble =
                    Some("a bug has ended the control of this service; restart the controller".to_owned());
                *snapshot = Arc::new(failed);
            });
        }
    });
    ServiceHandle { wishes, snapshots }
}

impl ServiceLoop {
    async fn run(
        mut self,
        first: Event,
        mut wished: mpsc::Receiver<Wish>,
        mut happened: mpsc::UnboundedReceiver<Event>,
        mut waits: mpsc::UnboundedReceiver<String>,
    ) {
        self.handle(first).await;
        self.watches.follow(&self.snapshot.state, &self.ports, &self.events);
        self.look_at_the_newest_shift().await;
        while !self.deposed {
            let wait = self.wait();
            tokio::select! {
                // People first: a rescue never waits behind news. A fixed order can also be played again.
                biased;
                wish = wished.recv() => match wish {
                    Some(Wish::Request(request)) => {
                        let result = self.fulfil(&request).await;
                        // Whoever asked may be gone; what was decided stands.
                        let _ = request.reply.send(result);
                    }
                    // Nobody can ask any more: the controller ends.
                    Some(Wish::End) | None => break,
                },
                // Before the answer that ends the wait.
                Some(waiting_for) = waits.recv() => self.revise(|snapshot| snapshot.waiting_for = Some(waiting_for)),
                Some(event) = happened.recv() => self.handle(event).await,
                () = tokio::time::sleep(wait) => self.handle(Event::TimePassed).await,
            }
        }
        // What is cut short ends what it has started, before whoever comes next begins it again.
        for (_, task) in self.running.drain() {
            task.abort();
            let _ = task.await;
        }
        // Until these have ended the receiver lives, which tells whoever waits for the end.
        for (_, task) in self.lanes.drain() {
            let _ = task.await;
        }
    }

    /// Until something is due.
    fn wait(&self) -> Duration {
        if self.uncertain || !self.unrecorded.is_empty() {
            return JOURNAL_PAUSE;
        }
        if self.snapshot.journal_trouble.is_some() {
            return PROBE_PAUSE;
        }
        // A wait in the far future is cut: a minute at most is lost to a timer that fails.
        let due = self.snapshot.state.next_deadline().map(|due| due.since(self.ports.clock.now()));
        due.unwrap_or(Duration::MAX).min(Duration::from_secs(60)) + Duration::from_millis(1)
    }

    async fn fulfil(&mut self, request: &Request) -> Result<Arc<Snapshot>, Unfulfilled> {
        // Whoever rescues does not wait for the disk, and neither does what has to be recorded first.
        let rescues = request.rescues || request.event.is_rescue();
        let importance = if rescues { Importance::Rescue } else { Importance::Ordinary };
        self.catch_up(importance).await?;
        self.make_certain().await?;
        if request.seen.is_some_and(|seen| seen != self.snapshot.sequence) {
            return Err(Unfulfilled::Overtaken);
        }
        self.decide(&request.event, importance).await?;
        Ok(Arc::clone(&self.snapshot))
    }

    /// A controller that died may not have looked what became of the last shift.
    async fn look_at_the_newest_shift(&mut self) {
        let state = &self.snapshot.state;
        if state.deployment.is_some() {
            return;
        }
        let newest = self.journal.history(&state.name, 1).await.unwrap_or_default();
        let (ports, journal, events) = (&self.ports, &self.journal, &self.events);
        self.watches.follow_shift(state, newest.first(), ports, journal, events);
    }

    /// News of a deployment that has ended meanwhile come with its record.
    fn completed(&self, event: Event) -> Event {
        match event {
            Event::ShiftTraced { deployment, trace, ended: None } => {
                let last = self.snapshot.last_closed.as_ref().filter(|closed| closed.id == deployment);
                Event::ShiftTraced { deployment, trace, ended: last.cloned().map(Box::new) }
            }
            event => event,
        }
    }

    /// Takes in what happened; what cannot be recorded now is kept and tried again.
    async fn handle(&mut self, event: Event) {
        if event == Event::TimePassed {
            // Time passes again: there is nothing to keep of it.
            if self.catch_up(self.importance_of_news()).await.is_ok() {
                let _ = self.decide(&event, Importance::Ordinary).await;
                self.look_whether_the_trouble_is_over().await;
            }
            return;
        }
        let event = self.completed(event);
        self.unrecorded.push_back(event);
        // What is left stays queued, and the trouble was noted.
        let _ = self.catch_up(self.importance_of_news()).await;
    }

    /// What could not be recorded because the disk is full is recorded all the same if it leads to something being
    /// taken back.
    fn importance_of_news(&self) -> Importance {
        let now = self.ports.clock.now();
        let mut state = self.snapshot.state.clone();
        for event in &self.unrecorded {
            let Ok(transition) = step(&state, event, now) else { continue };
            if transition.is_rescue {
                return Importance::Rescue;
            }
            state = transition.state;
        }
        Importance::Ordinary
    }

    /// Decides what could not be recorded before, in the order it happened: nothing newer is decided ahead of it,
    /// least of all ahead of what a starting controller saw.
    async fn catch_up(&mut self, importance: Importance) -> Result<(), Unfulfilled> {
        while let Some(event) = self.unrecorded.front().cloned() {
            match self.decide(&event, importance).await {
                Err(journal @ Unfulfilled::Journal(_)) => return Err(journal),
                Err(refused) => tracing::error!(%refused, ?event, "news were refused"),
                Ok(()) => {}
            }
            self.unrecorded.pop_front();
        }
        Ok(())
    }

    /// Decides, records, tells, acts: in this order. It is recorded with this importance, or as what it is if that
    /// is more.
    async fn decide(&mut self, event: &Event, importance: Importance) -> Result<(), Unfulfilled> {
        self.make_certain().await?;
        let now = self.ports.clock.now();
        let transition = step(&self.snapshot.state, event, now)?;
        if transition.is_noop() {
            return Ok(());
        }
        let record = Record::new(now, event, &self.snapshot.state, &transition);
        // Without the record of a start there is no rescue either; a mere look can wait.
        let starts = transition.state.term > self.snapshot.state.term;
        let rescues = transition.is_rescue || starts;
        let importance = if rescues { Importance::Rescue } else { importance };
        let name = self.snapshot.state.name.clone();
        crash::point("before append", || crash::decision(&self.snapshot.state, event));
        let sequence = match self.journal.append(&name, self.snapshot.sequence, record, importance).await {
            Ok(sequence) => sequence,
            Err(error) => {
                self.note_trouble(&name, &error);
                self.uncertain = true;
                return Err(error.into());
            }
        };
        crash::point("after append", || crash::decision(&self.snapshot.state, event));
        let last_closed = transition.closed.last().or(self.snapshot.last_closed.as_ref());
        // There may be more to tell of it since.
        let told = |closed: &&Deployment| transition.told.iter().rev().find(|told| told.id == closed.id);
        let last_closed = last_closed.map(|closed| told(&closed).unwrap_or(closed)).cloned();
        // What was waited for still is, if the deployment is where it was.
        let stage = |state: &ServiceState| {
            state.deployment.as_ref().map(|open| (open.id.clone(), open.stage, open.gates.len()))
        };
        let stays = stage(&transition.state) == stage(&self.snapshot.state);
        self.snapshot = Arc::new(Snapshot {
            sequence,
            state: transition.state,
            last_closed,
            waiting_for: self.snapshot.waiting_for.clone().filter(|_| stays),
            journal_trouble: None,
        });
        self.publish.send_replace(Arc::clone(&self.snapshot));
        self.changed.notify_one();
        self.forget_what_nobody_awaits();
        for effect in transition.effects {
            self.start(effect);
        }
        self.watches.follow(&self.snapshot.state, &self.ports, &self.events);
        let newest = self.snapshot.state.deployment.as_ref().or(self.snapshot.last_closed.as_ref());
        let newest = newest.cloned();
        self.watches.follow_shift(
            &self.snapshot.state,
            newest.as_ref(),
            &self.ports,
            &self.journal,
            &self.events,
        );
        Ok(())
    }

    /// Changes what is told beside the state.
    fn revise(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(&self.snapshot);
        change(&mut snapshot);
        self.snapshot = Arc::new(snapshot);
        self.publish.send_replace(Arc::clone(&self.snapshot));
    }

    fn forget_what_nobody_awaits(&mut self) {
        let pending = &self.snapshot.state.pending;
        self.running.retain(|id, task| {
            let awaited = pending.iter().any(|pending| pending.id == *id);
            if !awaited {
                task.abort();
            }
            awaited
        });
    }

    fn start(&mut self, pending: PendingEffect) {
        let (performer, events) = (self.performer.clone(), self.events.clone());
        let id = pending.id.clone();
        let lane = Performer::lane(&pending.effect);
        let former = lane.and_then(|lane| self.lanes.remove(&lane)).map(Former::new);
        // Asked again, it does not begin before what was begun for it has ended.
        let interrupted = self.running.remove(&id).inspect(JoinHandle::abort);
        tracing::debug!(service = %id.service, sequence = id.sequence, effect = label(&pending.effect), "performing");
        let patience = pending.deadline.since(self.ports.clock.now());
        let task = tokio::spawn(async move {
            let performed = async {
                if let Some(former) = former {
                    former.end().await;
                }
                if let Some(interrupted) = interrupted {
                    let _ = interrupted.await;
                }
                crash::point("before effect", || crash::word(&pending.effect));
                performer.perform(&pending).await
            };
            // A port that never answers is given up, so that what comes after it can begin. That the deadline has
            // passed is decided by the loop, which may have set a later one since.
            let Ok(answer) = tokio::time::timeout(patience, performed).await else { return };
            crash::point("after effect", || crash::word(&pending.effect));
            // The loop has ended if nobody takes the answer; the next start asks again.
            let _ = events.send(Event::Answered { effect: pending.id, answer });
        });
        match lane {
            Some(lane) => {
                self.lanes.insert(lane, task);
            }
            None => {
                self.running.insert(id, task);
            }
        }
    }
}

fn label(effect: &Effect) -> &'static str {
    match effect {
        Effect::Provision { .. } => "provision",
        Effect::AwaitHealthy { .. } => "await_healthy",
        Effect::Shift { .. } => "shift",
        Effect::Drain { .. } => "drain",
        Effect::Retire { .. } => "retire",
        Effect::StartWorkers { .. } => "start_workers",
        Effect::StopWorkers { .. } => "stop_workers",
        Effect::Unroute { .. } => "unroute",
        Effect::RunGate { .. } => "run_gate",
        Effect::Prioritise { .. } => "prioritise",
    }
}
