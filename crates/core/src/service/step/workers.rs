//! Workers follow what is live: what they lack is decided at the end of every step, from the state alone.
//!
//! Nothing here asks how live became another: a cutover, a rollback, a hand at the router, a restart of the host. In
//! order: the old ones that may not overlap stop; the new ones that may overlap start; the old ones that may stop;
//! the new ones that may not start. So workers of two releases are there at once only if both say that they may.

use std::collections::BTreeSet;

use crate::environment::Environment;
use crate::names::InstanceId;
use crate::service::deployment::Outcome;
use crate::service::effect::{Effect, Purpose};
use crate::service::state::Health;
use crate::service::step::draft::{Draft, LONGEST_PAUSE, RETRY_PAUSE};
use crate::service::workers::{WorkerInstance, Workers};

/// The line of a deployment's report.
const STEP: &str = "workers";

impl Draft {
    /// Asks for whatever workers lack or have too much.
    pub(super) fn follow_with_workers(&mut self) {
        let (live, wanted) = (self.state.live, self.state.wanted_workers());
        // A start that is for nobody any more is not waited for: the stop comes after it.
        self.forget(|pending| match &pending.effect {
            Effect::StartWorkers { environment, workers, .. } => {
                *environment != live || !workers.iter().all(|worker| is_among(&wanted, worker))
            }
            _ => false,
        });
        self.stop_workers_but(&wanted);
        self.start_workers(&wanted);
        if self.state.workers_are_settled() {
            let count = wanted.len();
            let detail = format!("{count} running for {live}");
            self.end_step(STEP, Outcome::Passed, detail);
        }
    }

    fn stop_workers_but(&mut self, wanted: &[WorkerInstance]) {
        let live = &self.state.workers[self.state.live];
        let is_up = |worker: &WorkerInstance| live.started.contains(&worker.id);
        // Where the new ones cannot be started nobody waits for them.
        let relieved = live.tries > 0 || wanted.iter().filter(|worker| worker.overlap).all(is_up);
        for environment in Environment::ALL {
            let crew = &self.state.workers[environment];
            let leaves = |worker: &&WorkerInstance| {
                let unwanted = !is_among(wanted, worker) && (relieved || !worker.overlap);
                unwanted || crew.outworn.contains(&worker.id)
            };
            let workers: Vec<_> = crew.asked.iter().filter(leaves).cloned().collect();
            if workers.is_empty() || !self.may_change_workers(environment) {
                continue;
            }
            let crew = &mut self.state.workers[environment];
            crew.started.retain(|id| workers.iter().all(|worker| worker.id != *id));
            self.ask(Purpose::Upkeep, Effect::StopWorkers { environment, workers });
        }
    }

    fn start_workers(&mut self, wanted: &[WorkerInstance]) {
        let environment = self.state.live;
        let asked = self.state.workers.iter().flat_map(|(_, workers)| &workers.asked);
        let leaving: Vec<_> = asked.filter(|worker| !is_among(wanted, worker)).collect();
        let alone = leaving.is_empty();
        let beside_willing = leaving.iter().all(|worker| worker.overlap);
        let crew = &self.state.workers[environment];
        let lacks = |worker: &&WorkerInstance| {
            !crew.started.contains(&worker.id) && !crew.outworn.contains(&worker.id)
        };
        let may = |worker: &&WorkerInstance| if worker.overlap { beside_willing } else { alone };
        let workers: Vec<_> = wanted.iter().filter(lacks).filter(may).cloned().collect();
        if workers.is_empty() || !self.may_change_workers(environment) {
            return;
        }
        let Some(release) = self.slot(environment).release.clone().map(Box::new) else {
            return;
        };
        let crew = &mut self.state.workers[environment];
        crew.asked.extend(
            workers.iter().filter(|worker| !is_among(&crew.asked, worker)).cloned().collect::<Vec<_>>(),
        );
        self.ask(Purpose::Upkeep, Effect::StartWorkers { environment, release, workers });
    }

    /// Has every worker of live stopped and started afresh, as soon as their last change is over.
    pub(super) fn renew_workers(&mut self) {
        let crew = &mut self.state.workers[self.state.live];
        crew.outworn = crew.asked.iter().map(|worker| worker.id.clone()).collect();
    }

    /// One change of a slot's workers at a time, and after a failure a pause.
    fn may_change_workers(&self, environment: Environment) -> bool {
        let waits = self.state.workers[environment].retry_at.is_some_and(|at| at > self.now);
        !waits && !self.state.workers_are_changing(environment)
    }

    /// Another environment is live: what was in the way of the last change is no reason to wait with this one.
    pub(super) fn workers_change_hands(&mut self) {
        for environment in Environment::ALL {
            let workers = &mut self.state.workers[environment];
            workers.health = Health::Unknown;
            workers.retry_at = None;
            workers.tries = 0;
        }
        if !self.state.workers_are_settled() {
            self.begin_step(STEP);
        }
    }

    pub(super) fn workers_started(&mut self, environment: Environment, started: &[WorkerInstance]) {
        let workers = &mut self.state.workers[environment];
        workers.started.extend(started.iter().map(|worker| worker.id.clone()));
        workers.health = Health::Unknown;
        // What could not be stopped runs because it shall.
        workers.trouble = None;
        workers.retry_at = None;
        workers.tries = 0;
        self.weigh_health();
    }

    pub(super) fn workers_stopped(&mut self, environment: Environment, stopped: &[WorkerInstance]) {
        let workers = &mut self.state.workers[environment];
        workers.asked.retain(|worker| !is_among(stopped, worker));
        workers.outworn.retain(|id| stopped.iter().all(|worker| worker.id != *id));
        workers.trouble = None;
        workers.retry_at = None;
        workers.tries = 0;
        if workers.asked.is_empty() {
            *workers = Workers::default();
        }
        self.weigh_health();
    }

    pub(super) fn workers_not_started(
        &mut self,
        environment: Environment,
        reason: &str,
        last_lines: &[String],
    ) {
        self.change_workers_later(environment);
        let health = Health::Unhealthy { reason: reason.to_owned(), last_lines: last_lines.to_vec() };
        self.state.workers[environment].health = health;
        self.weigh_health();
    }

    pub(super) fn workers_not_stopped(&mut self, environment: Environment, reason: &str) {
        self.change_workers_later(environment);
        self.state.workers[environment].trouble = Some(format!("its workers could not be stopped: {reason}"));
        self.weigh_health();
    }

    /// Why the workers are not as they shall be, if something is in their way. Old ones that do not stop are no fault
    /// of the new release, which would not be rid of them by going back either.
    pub(super) fn trouble_with_workers(&self) -> Option<String> {
        let stopping = |environment: &Environment| {
            let trouble = self.state.workers[*environment].trouble.as_ref()?;
            Some(format!("{environment}: {trouble}"))
        };
        let starting = || match &self.workers().health {
            Health::Unhealthy { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        Environment::ALL.iter().find_map(stopping).or_else(starting)
    }

    /// What their line of the report says when the deployment ends before they are settled.
    pub(super) fn end_step_of_workers(&mut self) {
        if let Some(trouble) = self.trouble_with_workers() {
            self.end_step(STEP, Outcome::Failed, trouble);
        }
    }

    fn change_workers_later(&mut self, environment: Environment) {
        let now = self.now;
        let workers = &mut self.state.workers[environment];
        let pause = RETRY_PAUSE.saturating_mul(1 << workers.tries.min(10)).min(LONGEST_PAUSE);
        workers.tries = workers.tries.saturating_add(1);
        workers.retry_at = Some(now + pause);
    }

    /// What the watch of workers says.
    pub(super) fn workers_changed(
        &mut self,
        environment: Environment,
        workers: &[InstanceId],
        health: &Health,
    ) {
        let watched = self.state.watched_workers();
        let present = watched.is_some_and(|w| w.environment == environment && w.workers == workers);
        if present {
            self.state.workers[environment].health = health.clone();
            self.weigh_health();
        }
    }

    /// Workers of live that are gone are asked for again; says so.
    pub(super) fn miss_workers(&mut self, running: &BTreeSet<&InstanceId>) -> Option<String> {
        let live = self.state.live;
        if self.state.workers_are_changing(live) {
            return None;
        }
        let started = &mut self.state.workers[live].started;
        let before = started.len();
        started.retain(|id| running.contains(id));
        let gone = before - started.len();
        let noun = if gone == 1 { "worker" } else { "workers" };
        (gone > 0).then(|| format!("{gone} {noun} of {live} had ended and are started again"))
    }

    /// The workers of the live slot.
    pub(super) fn workers(&self) -> &Workers {
        &self.state.workers[self.state.live]
    }
}

fn is_among(workers: &[WorkerInstance], wanted: &WorkerInstance) -> bool {
    workers.iter().any(|worker| worker.id == wanted.id)
}
