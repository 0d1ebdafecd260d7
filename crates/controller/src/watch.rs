//! Watches the health of what runs, and tells the service's loop when the conclusion changes.

mod parting;
mod shifts;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use cutover_core::health::{HealthCheck, HealthTracker};
use cutover_core::service::{Deployment, Effect, Event, Health, Instance, ServiceState, Watched};
use cutover_core::{Environment, InstanceId};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::journal::Journal;
use crate::ports::{Exit, Ports};

/// What is watched, each with a task of its own.
#[derive(Default)]
pub(crate) struct Watches {
    instances: Vec<Watch>,
    workers: Option<workers::Watch>,
    parting: Option<parting::Watch>,
    shift: Option<shifts::Watch>,
}

struct Watch {
    environment: Environment,
    instances: Vec<Instance>,
    check: HealthCheck,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    /// Ends the watches that the state no longer asks for and begins those that it does.
    pub(crate) fn follow(
        &mut self,
        state: &ServiceState,
        ports: &Ports,
        events: &mpsc::UnboundedSender<Event>,
    ) {
        let wanted: Vec<_> = state
            .watched()
            .into_iter()
            // What is being started again is watched anew afterwards: its first conclusion has to be told, and a
            // watch that noticed nothing would have nothing to tell.
            .filter(|watched| !is_being_started(state, watched))
            .map(|watched| {
                let check = watched.release.configuration.health_check();
                (watched.environment, watched.instances.to_vec(), check)
            })
            .collect();
        let is =
            |watch: &Watch, (environment, instances, check): &(Environment, Vec<Instance>, HealthCheck)| {
                watch.environment == *environment && watch.instances == *instances && watch.check == *check
            };
        self.instances.retain(|watch| wanted.iter().any(|wanted| is(watch, wanted)));
        for wanted in wanted {
            if !self.instances.iter().any(|watch| is(watch, &wanted)) {
                let (environment, instances, check) = wanted;
                let following = environment_health(
                    ports.clone(),
                    environment,
                    instances.clone(),
                    check.clone(),
                    events.clone(),
                );
                let task = tokio::spawn(following).abort_handle();
                self.instances.push(Watch { environment, instances, check, task });
            }
        }
        self.follow_workers(state, ports, events);
        let parting = state.parting();
        if self.parting.as_ref().map(|watch| &watch.parting) != parting.as_ref() {
            self.parting = parting.map(|parting| parting::Watch::begin(parting, ports.clone()));
        }
    }

    /// Looks what becomes of the newest shift.
    pub(crate) fn follow_shift(
        &mut self,
        state: &ServiceState,
        newest: Option<&Deployment>,
        ports: &Ports,
        journal: &Arc<dyn Journal>,
        events: &mpsc::UnboundedSender<Event>,
    ) {
        let Some(shift) = newest.and_then(shifts::Shift::of) else { return };
        // One that was looked at to its end is not begun again before that is recorded.
        if self.shift.as_ref().is_none_or(|watch| *watch.shift() != shift) {
            let (ports, journal, events) = (ports.clone(), Arc::clone(journal), events.clone());
            self.shift = Some(shifts::Watch::begin(shift, state, ports, journal, events));
        }
    }

    fn follow_workers(&mut self, state: &ServiceState, ports: &Ports, events: &mpsc::UnboundedSender<Event>) {
        let wanted = state.watched_workers();
        if self.workers.as_ref().map(workers::Watch::watched) == wanted.as_ref() {
            return;
        }
        self.workers = wanted.map(|wanted| workers::Watch::begin(wanted, ports.clone(), events.clone()));
    }
}

fn is_being_started(state: &ServiceState, watched: &Watched<'_>) -> bool {
    let starts = |effect: &Effect| match effect {
        Effect::Provision { instances, .. } => {
            watched.instances.iter().any(|watched| instances.contains(&watched.id))
        }
        _ => false,
    };
    state.pending.iter().any(|pending| starts(&pending.effect))
}

/// Joins what the checks of each instance say into what is said of the environment.
async fn environment_health(
    ports: Ports,
    environment: Environment,
    instances: Vec<Instance>,
    check: HealthCheck,
    events: mpsc::UnboundedSender<Event>,
) {
    let (conclusions, mut news) = mpsc::unbounded_channel();
    let mut checks = JoinSet::new();
    for (index, instance) in instances.iter().enumerate() {
        let (ports, instance, check) = (ports.clone(), instance.clone(), check.clone());
        let conclusions = conclusions.clone();
        checks.spawn(async move {
            instance_health(&ports, &instance, &check, |health| conclusions.send((index, health)).is_ok())
                .await;
        });
    }
    let ids: Vec<InstanceId> = instances.iter().map(|instance| instance.id.clone()).collect();
    let mut each = vec![Health::Unknown; instances.len()];
    let mut told = Health::Unknown;
    while let Some((index, health)) = news.recv().await {
        each[index] = health;
        let health = joined(&each);
        if health != told {
            told = health.clone();
            let event = Event::HealthChanged { environment, instances: ids.clone(), health };
            if events.send(event).is_err() {
                return;
            }
        }
    }
}

/// One sick instance makes the environment sick; one that nobody has asked yet leaves it unknown.
fn joined(each: &[Health]) -> Health {
    let sick = each.iter().find(|health| matches!(health, Health::Unhealthy { .. }));
    let unknown = each.iter().find(|health| matches!(health, Health::Unknown));
    sick.or(unknown).cloned().unwrap_or(Health::Healthy)
}

async fn instance_health(
    ports: &Ports,
    instance: &Instance,
    check: &HealthCheck,
    mut tell: impl FnMut(Health) -> bool,
) {
    // It passed its gate to be here: it takes `fall` failures to call it sick.
    let mut tracker = HealthTracker::new(check.policy.rise, check.policy.fall, true);
    let mut known = false;
    let mut told = None;
    let mut ticks = tokio::time::interval(check.policy.interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let checked = ports.check_health(instance, check).await;
        let changed = tracker.record(checked.is_ok());
        let health = match (changed, checked) {
            (Some(false) | None, Err(reason)) if !tracker.is_healthy() => {
                let exit = ports.executor.last_exit(&instance.id).await;
                // A loop is news when it begins and when it has become twice as long; that is few records.
                let mark = exit.as_ref().map(|exit| (exit.how.clone(), exit.restarts.next_power_of_two()));
                if changed.is_none() && mark == told {
                    continue;
                }
                told = mark;
                explained(instance, &reason, exit)
            }
            (Some(true), _) => Health::Healthy,
            (None, Ok(())) if !known => Health::Healthy,
            _ => continue,
        };
        known = true;
        if !tell(health) {
            return;
        }
    }
}

/// Why an instance is unhealthy: what its check said, and if its program keeps ending, that.
fn explained(instance: &Instance, reason: &str, exit: Option<Exit>) -> Health {
    let reason = format!("instance `{}`: {reason}", instance.id);
    let Some(exit) = exit else { return Health::unhealthy(reason) };
    let times = match exit.restarts {
        0 => "is not started again yet".to_owned(),
        1 => "was started again once".to_owned(),
        restarts => format!("was started again {restarts} times"),
    };
    let reason = format!("{reason}; its program ended ({}) and {times}", exit.how);
    Health::Unhealthy { reason, last_lines: exit.last_lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_healthy_only_when_every_instance_is_known_to_be() {
        let sick = Health::unhealthy("x");
        assert_eq!(joined(&[Health::Healthy, Health::Healthy]), Health::Healthy);
        assert_eq!(joined(&[Health::Healthy, Health::Unknown]), Health::Unknown);
        assert_eq!(joined(&[Health::Unknown, sick.clone()]), sick);
    }
}
